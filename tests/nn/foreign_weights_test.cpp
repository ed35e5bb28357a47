// Directories of GPT-2's shape as other programs write them, computed a second time: from the file's
// tensors, in double precision, by the formulas of Radford et al. 2019 and of transformers'
// modeling_gpt2.py, with nothing of the engine's.
#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/held_model.h"

namespace foreign_weights_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::Held;
using notch::test::held;
using notch::test::parse_config;
using notch::test::random_model;
using notch::test::same_bits;
using notch::test::small;
using notch::test::TemporaryDirectory;
using notch::test::write;

using Rows = std::vector<std::vector<double>>;  // [T][channels]

/// The logits of `ids`, from tensors with GPT-2's names and Conv1D's orientation, [in, out].
struct Formulas {
  std::map<std::string, Held> tensors{};
  std::size_t layers = 0, heads = 0;
  double eps = 1e-5;
  bool exact_gelu = false;

  const Held& at(const std::string& name) const { return tensors.at(name); }

  Rows norm(const Rows& x, const std::string& name) const {
    Rows y = x;
    for (std::vector<double>& row : y) {
      const auto n = static_cast<double>(row.size());
      double mean = 0, variance = 0;
      for (const double v : row) mean += v / n;
      for (const double v : row) variance += (v - mean) * (v - mean) / n;
      for (std::size_t c = 0; c < row.size(); ++c) {
        row[c] = (row[c] - mean) / std::sqrt(variance + eps) * at(name + ".weight").values[c] +
                 at(name + ".bias").values[c];
      }
    }
    return y;
  }

  Rows conv1d(const Rows& x, const std::string& name) const {
    const Held& w = at(name + ".weight");
    const auto out = static_cast<std::size_t>(w.shape[1]);
    Rows y;
    for (const std::vector<double>& row : x) {
      std::vector<double> sum(out);
      for (std::size_t o = 0; o < out; ++o) {
        sum[o] = at(name + ".bias").values[o];
        for (std::size_t i = 0; i < row.size(); ++i) sum[o] += row[i] * w.values[i * out + o];
      }
      y.push_back(sum);
    }
    return y;
  }

  double gelu(double x) const {
    if (exact_gelu) return x * 0.5 * (1 + std::erf(x / std::numbers::sqrt2));
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }

  Rows attention(const Rows& x, const std::string& name) const {
    const Rows qkv = conv1d(x, name + ".c_attn");
    const std::size_t C = x[0].size(), size = C / heads;
    Rows y(x.size(), std::vector<double>(C));
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < x.size(); ++t) {
        std::vector<double> p;
        double total = 0;
        for (std::size_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (std::size_t c = h * size; c < (h + 1) * size; ++c) dot += qkv[t][c] * qkv[s][C + c];
          p.push_back(std::exp(dot / std::sqrt(static_cast<double>(size))));
          total += p.back();
        }
        for (std::size_t s = 0; s <= t; ++s) {
          for (std::size_t c = h * size; c < (h + 1) * size; ++c) {
            y[t][c] += p[s] / total * qkv[s][2 * C + c];
          }
        }
      }
    }
    return conv1d(y, name + ".c_proj");
  }

  Rows logits(const std::vector<std::int32_t>& ids) const {
    const Held &wte = at("wte.weight"), &wpe = at("wpe.weight");
    const auto C = static_cast<std::size_t>(wte.shape[1]);
    Rows x(ids.size(), std::vector<double>(C));
    for (std::size_t t = 0; t < ids.size(); ++t) {
      for (std::size_t c = 0; c < C; ++c) {
        x[t][c] = wte.values[static_cast<std::size_t>(ids[t]) * C + c] + wpe.values[t * C + c];
      }
    }
    const auto add = [&](const Rows& more) {
      for (std::size_t t = 0; t < x.size(); ++t) {
        for (std::size_t c = 0; c < C; ++c) x[t][c] += more[t][c];
      }
    };
    for (std::size_t l = 0; l < layers; ++l) {
      const std::string name = "h." + std::to_string(l);
      add(attention(norm(x, name + ".ln_1"), name + ".attn"));
      Rows hidden = conv1d(norm(x, name + ".ln_2"), name + ".mlp.c_fc");
      for (std::vector<double>& row : hidden)
        std::ranges::transform(row, row.begin(), [&](double v) { return gelu(v); });
      add(conv1d(hidden, name + ".mlp.c_proj"));
    }
    x = norm(x, "ln_f");
    const Held& head = tensors.contains("lm_head.weight") ? at("lm_head.weight") : wte;
    Rows out;
    for (const std::vector<double>& row : x) {
      std::vector<double> y(static_cast<std::size_t>(head.shape[0]));
      for (std::size_t v = 0; v < y.size(); ++v) {
        for (std::size_t c = 0; c < C; ++c) y[v] += row[c] * head.values[v * C + c];
      }
      out.push_back(y);
    }
    return out;
  }
};

/// The tensors of all files of `dir`, without "transformer.".
std::map<std::string, Held> all_tensors(const fs::path& dir) {
  std::map<std::string, Held> all;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() != ".safetensors") continue;
    for (Held& t : held(entry.path())) {
      const std::string prefix = "transformer.";
      const std::string name = t.name.starts_with(prefix) ? t.name.substr(prefix.size()) : t.name;
      all[name] = std::move(t);
    }
  }
  return all;
}

/// The file of `dir` cut in two, with an index, as save_pretrained does above max_shard_size.
void shard(const fs::path& dir, DType dtype = DType::f32) {
  const std::vector<Held> tensors = held(dir / kWeightsFile);
  fs::remove(dir / kWeightsFile);
  Json map = Json::object();
  for (std::size_t part = 0; part < 2; ++part) {
    const std::string name = str("model-0000", part + 1, "-of-00002.safetensors");
    std::vector<Held> some;
    for (std::size_t i = part; i < tensors.size(); i += 2) {
      some.push_back(tensors[i]);
      map.set(tensors[i].name, name);
    }
    write(dir / name, some, dtype);
  }
  Json index = Json::object();
  index.set("metadata", Json::object().set("total_size", 1)).set("weight_map", std::move(map));
  write_file(dir / kIndexFile, index.dump(2));
}

/// Sizes of their own, so that nothing is right by accident.
GptConfig odd() {
  GptConfig config = small();
  config.n_inner = 10;
  config.layer_norm_epsilon = 0.125;
  config.gelu = Gelu::tanh;
  return config;
}

TEST_CASE("a GPT-2 directory is computed as its formulas say") {
  const std::vector<std::int32_t> ids{3, 10, 0, 7, 7};
  for (const bool tied : {true, false}) {
    for (const Gelu gelu : {Gelu::tanh, Gelu::exact}) {
      for (const bool sharded : {false, true}) {
        CAPTURE(tied, sharded);
        GptConfig config = odd();
        config.tie_embeddings = tied;
        config.gelu = gelu;
        const TemporaryDirectory dir;
        save_model(*random_model(config), dir.path());
        if (sharded) shard(dir.path());
        const auto model = load_model(dir.path());
        CHECK(dynamic_cast<const Gpt&>(*model).config() == config);
        const Formulas formulas{.tensors = all_tensors(dir.path()),
                                .layers = 2,
                                .heads = 2,
                                .eps = 0.125,
                                .exact_gelu = gelu == Gelu::exact};
        const Rows expected = formulas.logits(ids);
        Graph g;
        g.begin(Graph::Mode::inference);
        const Var logits = model->logits(g, {ids, 1, std::ssize(ids)});
        double largest = 0, error = 0;
        for (std::size_t t = 0; t < ids.size(); ++t) {
          for (std::size_t v = 0; v < expected[t].size(); ++v) {
            const double y = logits.value().flat()[t * expected[t].size() + v];
            largest = std::max(largest, std::abs(expected[t][v]));
            error = std::max(error, std::abs(y - expected[t][v]));
          }
        }
        CHECK(error < 1e-4 * largest);
      }
    }
  }
}

TEST_CASE("weights in several files are the weights in one") {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const TemporaryDirectory one, several;
    const auto model = random_model(odd());
    save_model(*model, one.path(), Json::object(), dtype);
    save_model(*model, several.path(), Json::object(), dtype);
    shard(several.path(), dtype);
    CHECK(same_bits(*load_model(several.path()), *load_model(one.path())));
  }
}

TEST_CASE("an index that does not fit its files is refused with the tensor") {
  const TemporaryDirectory dir;
  save_model(*random_model(odd()), dir.path());
  shard(dir.path());
  const std::string good = read_file(dir / kIndexFile);
  const std::string first = "model-00001-of-00002.safetensors";
  const std::string second = "model-00002-of-00002.safetensors";
  const auto refusal = [&](const std::string& tensor, const std::string& file) {
    Json index = Json::parse(good, "index");
    Json map = index.at("weight_map", "index");
    if (file.empty()) {
      Json::Object rest = map.as_object("index");
      std::erase_if(rest, [&](const Json::Member& m) { return m.first == tensor; });
      map = Json(std::move(rest));
    } else {
      map.set(tensor, file);
    }
    write_file(dir / kIndexFile, index.set("weight_map", std::move(map)).dump());
    const ErrorParts e = error_of([&] { load_model(dir.path()); });
    CHECK(e.field == tensor);
    return e;
  };
  const Json index = Json::parse(good, "index");
  const Json& map = index.at("weight_map", "index");
  const std::string other =
      map.at("wte.weight", "index").as_string("index") == first ? second : first;
  CHECK(refusal("wte.weight", other).fault == Fault::input);
  CHECK(refusal("wte.weight", "").found != "");                    // in a file, in no index
  CHECK(refusal("h.9.ln_1.weight", first).fault == Fault::input);  // in the index, in no file
  CHECK(refusal("wte.weight", "../" + first).found.find("..") != std::string::npos);
  write_file(dir / kIndexFile, R"({"weight_map": {}})");
  CHECK(error_of([&] { load_model(dir.path()); }).fault == Fault::input);
  write_file(dir / kIndexFile, good);
  fs::remove(dir / second);
  const ErrorParts missing = error_of([&] { load_model(dir.path()); });
  CHECK(missing.fault == Fault::io);
  CHECK(missing.where.find(second) != std::string::npos);
}

TEST_CASE("GPT-2's own sizes are not written, others are, and come back") {
  for (const GptConfig& config : {small(), odd()}) {
    const Json json = config_json(config);
    CHECK(json.at("n_inner", "c").is_null() == (config.n_inner == 0));
    CHECK(parse_config(json, "c.json") == config);
  }
  Json json = config_json(small());
  CHECK(parse_config(json.set("n_inner", 16), "c.json") == small());  // 4 n_embd
}

}  // namespace foreign_weights_test
