// The study of single matrices, against plain loops in double.
#include "experiments/run/layer_study.h"

#include <cmath>

#include "experiments/run/evaluate.h"
#include "experiments/run/sample_text.h"
#include "tests/base/temporary_directory.h"
#include "tests/experiments/tiny_experiment.h"

namespace layer_study_test {

using namespace notch;
using namespace notch::experiments;

struct Subject {
  ExperimentConfig config = test::tiny_experiment();
  Data data{};
  std::unique_ptr<nn::Model> model{};

  Subject() {
    config.quant.bits = {8, 2};
    config.quant.methods = {"rtn", "gptq"};
    data = load_data(config, {});
    model = make_model(config, data.source.tokenizer.vocab_size());
    model->init(3);
  }
  Param& weight(std::string_view name) { return *model->params().find(name); }
};

/// Nearest of -1, 0, 1 times the row's largest magnitude: narrow grid of 2 bits, a scale per row.
std::vector<double> two_bits(const Tensor& w) {
  std::vector<double> out;
  for (std::int64_t r = 0; r < w.rows(); ++r) {
    double most = 0;
    for (std::int64_t c = 0; c < w.cols(); ++c) {
      most = std::max(most, std::abs(static_cast<double>(w.data[r * w.cols() + c])));
    }
    for (std::int64_t c = 0; c < w.cols(); ++c) {
      const double x = static_cast<double>(w.data[r * w.cols() + c]) / most;
      out.push_back(std::abs(x) <= 0.5 ? 0 : std::copysign(most, x));
    }
  }
  return out;
}

TEST_CASE("a layer's noise, cost and histogram are plain loops'") {
  Subject s;
  const ModelStudy study = *study_layers(s.config, s.data, *s.model);
  REQUIRE(study.bits == std::vector<int>{8, 2});
  CHECK(study.layers.size() == 4 + 1);  // of the block, and the token table
  const auto layer = std::ranges::find(study.layers, "h.0.attn.c_attn", &LayerStudy::name);
  REQUIRE(layer != study.layers.end());
  Tensor& w = s.weight("h.0.attn.c_attn.weight").value;
  CHECK(layer->weights == w.size());
  const std::vector<double> rounded = two_bits(w);
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    const auto x = static_cast<double>(w.flat()[i]);
    signal += x * x;
    noise += (x - rounded[i]) * (x - rounded[i]);
  }
  REQUIRE(layer->sqnr_db.size() == 7);
  CHECK(layer->sqnr_db[0] == Approx(10 * std::log10(signal / noise)).margin(1e-3));
  // A bit halves the step: about 6 dB.
  CHECK(layer->sqnr_db[6] - layer->sqnr_db[5] == Approx(6.02).margin(1));
  double sum = 0;
  for (const double share : layer->histogram) sum += share;
  CHECK(sum == Approx(1));
  // The largest of each row lies at an end.
  const double ends = layer->histogram.front() + layer->histogram.back();
  CHECK(ends * static_cast<double>(w.size()) >= static_cast<double>(w.rows()) - 0.5);

  const auto loss = [&] {
    const data::TokenData& tokens = s.data.source.tokens;
    return evaluate(*s.model, tokens.val, tokens.val_bytes_per_token, nullptr, {.windows = 16});
  };
  const Evaluation before = loss();
  std::int64_t scored = 0;
  for (const std::int64_t n : before.window_tokens) scored += n;
  CHECK(study.tokens == scored);
  for (std::size_t i = 0; i < rounded.size(); ++i) w.flat()[i] = static_cast<real>(rounded[i]);
  CHECK(layer->loss_change.at(1) == Approx(loss().loss - before.loss).margin(1e-5));
  CHECK(std::abs(layer->loss_change.at(0)) < std::abs(layer->loss_change.at(1)) / 10);
}

TEST_CASE("a study leaves the model as it was") {
  Subject s;
  std::vector<std::vector<real>> before;
  for (const Param& p : s.model->params().params()) {
    before.emplace_back(p.value.flat().begin(), p.value.flat().end());
  }
  study_layers(s.config, s.data, *s.model);
  std::size_t i = 0;
  for (const Param& p : s.model->params().params()) {
    CAPTURE(p.name);
    CHECK(std::ranges::equal(p.value.flat(), before[i++]));
  }
}

TEST_CASE("a channel a hundred times as loud is the one outlier") {
  Subject s;
  s.weight("h.0.ln_1.weight").value.data[5] = 100;
  const ModelStudy study = *study_layers(s.config, s.data, *s.model);
  const auto layer = std::ranges::find(study.layers, "h.0.attn.c_attn", &LayerStudy::name);
  // Normalised channels have root mean squares near 1, whatever the text.
  CHECK(layer->loudest > 30);
  CHECK(layer->loudest < 300);
  CHECK(layer->outliers == 1);
}

TEST_CASE("a kept study is made again for other rows") {
  Subject s;
  const test::TemporaryDirectory folder;
  const fs::path file = folder.path() / "layers.json";
  SeedResults seed{.seed = s.config.seeds.front()};
  seed.rows.push_back({.name = std::string(kBaseRow), .sha256 = "abc"});
  Progress progress({.quiet = true});
  const auto keep = [&] {
    REQUIRE(keep_study(folder.path(), seed, s.config, s.data, *s.model, progress));
    return read_file(file);
  };
  const std::string first = keep();
  // What stands there for these rows is not made again: another number in it stays.
  Json marked = Json::parse(first, "layers.json");
  marked.set("tokens", std::int64_t{1});
  write_file(file, marked.dump() + "\n");
  CHECK(keep() == marked.dump() + "\n");
  s.config.quant.bits = {4, 2};
  const std::string other = keep();
  CHECK(study_from_json(Json::parse(other, "l"), "l").bits == std::vector<int>{4, 2});
  write_file(file, other.substr(0, other.size() / 2));
  CHECK(keep() == other);
  // Only the first seed of a run has one.
  seed.seed += 1;
  write_file(file, "");
  CHECK(keep().empty());
}

TEST_CASE("a study is kept to four digits, a damaged one refused") {
  Subject s;
  ModelStudy study = *study_layers(s.config, s.data, *s.model);
  study.sha256 = "abc";
  study.layers[0].loss_change[0] = std::nan("");
  const std::string text = to_json(study).dump();
  const ModelStudy back = study_from_json(Json::parse(text, "layers.json"), "layers.json");
  CHECK(to_json(back).dump() == text);
  CHECK(back.sha256 == "abc");
  CHECK(std::isnan(back.layers[0].loss_change[0]));
  CHECK(back.layers[1].sqnr_db[2] == Approx(study.layers[1].sqnr_db[2]).epsilon(1e-3));
  study.layers[2].histogram.pop_back();
  const Json damaged = Json::parse(to_json(study).dump(), "layers.json");
  const ErrorParts refused = test::error_of([&] { study_from_json(damaged, "layers.json"); });
  CHECK(refused.field == "histogram");
  CHECK(refused.found == "63");
}

TEST_CASE("rows go on from one prompt with the same numbers") {
  Subject s;
  const std::vector<std::int32_t>& text = s.data.source.tokens.val;
  const data::Tokenizer& tokenizer = s.data.source.tokenizer;
  const TextSample a = sample_text(*s.model, tokenizer, text, 1);
  // The second line of the text; half the context of 32 are 16 tokens.
  const std::vector<std::int32_t> ids(text.begin(), text.end());
  const std::string all = tokenizer.decode(ids);
  CHECK(a.prompt == all.substr(all.find('\n') + 1, 16));
  CHECK(tokenizer.encode(a.text).size() == 160);
  CHECK(sample_text(*s.model, tokenizer, text, 1).text == a.text);
  CHECK(sample_text(*s.model, tokenizer, text, 2).text != a.text);
  // Bytes that are no characters: an untrained model of bytes writes many.
  const data::Tokenizer bytes = data::Tokenizer::bytes();
  const auto model = make_model(s.config, bytes.vocab_size());
  model->init(1);
  const TextSample b = sample_text(*model, bytes, text, 1);
  CHECK(is_utf8(b.text));
  CHECK(b.text.find("\uFFFD") != std::string::npos);
}

}  // namespace layer_study_test
