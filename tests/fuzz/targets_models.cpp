// Weights: safetensors, model directories of every kind, coded streams, checkpoints.
#include <algorithm>
#include <cstring>

#include "autograd/base/unsynced_writes.h"
#include "nn/checkpoint.h"
#include "nn/integrity.h"
#include "nn/safetensors.h"
#include "quant/methods/options.h"
#include "quant/numbers/format.h"
#include "quant/store/entropy_coder.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/model_files.h"
#include "tests/fuzz/targets.h"
#include "tests/nn/plain_file.h"
#include "tests/quant/quantized_models.h"

namespace notch::test::fuzz {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const nn::SafetensorsFile& file, const nn::TensorEntry& entry) {
  Bytes bytes(entry.bytes);
  file.read_bytes(entry, bytes);
  return bytes;
}

int fuzz_safetensors(const std::uint8_t* data, std::size_t size) {
  const fs::path path = scratch() / "a.safetensors", again = scratch() / "b.safetensors";
  put_file(path, text_of(data, size));
  taken([&] {
    const nn::SafetensorsFile file = nn::SafetensorsFile::open(path);
    taken([&] { file.verify(); });
    std::vector<nn::TensorSource> sources;
    std::vector<Bytes> held;
    held.reserve(file.entries().size());
    for (const nn::TensorEntry& entry : file.entries()) {
      held.push_back(bytes_of(file, entry));
      std::vector<real> values(std::min<std::size_t>(static_cast<std::size_t>(entry.size()), 64));
      taken([&] { file.read(entry, values); });
      sources.push_back(nn::raw_tensor(entry.name, entry.dtype, entry.shape, held.back()));
    }
    const UnsyncedWrites fast;
    nn::write_safetensors(again, sources, file.metadata());
    const nn::SafetensorsFile back = nn::SafetensorsFile::open(again);
    require(back.verify() == nn::Digest::holds && back.metadata() == file.metadata(),
            "metadata does not come back");
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const nn::TensorEntry* entry = back.find(sources[i].name);
      require(entry && entry->dtype == sources[i].dtype && entry->shape == sources[i].shape &&
                  bytes_of(back, *entry) == held[i],
              "a tensor that does not come back: ", sources[i].name);
    }
  });
  return 0;
}

std::vector<std::string> safetensors_seeds() {
  const UnsyncedWrites fast;
  const fs::path path = scratch() / "seed.safetensors";
  const std::vector<real> w{1, -2, 3, 0.5f, 1e-30f, 65504};
  const std::vector<std::byte> codes(5, std::byte{7});
  nn::write_safetensors(
      path,
      {nn::real_tensor("w", {2, 3}, w), nn::real_tensor("h", {6}, w, nn::DType::f16),
       nn::real_tensor("b", {}, std::span(w).first(1), nn::DType::bf16),
       nn::raw_tensor("codes", nn::DType::u8, {5}, codes),
       nn::raw_tensor("none", nn::DType::i8, {0, 4}, {})},
      {{"format", "pt"}});
  const std::string header =
      R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"b":{"dtype":"F4","shape":[2],"data_offsets":[8,9]}})";
  const std::uint64_t length = header.size();
  std::string plain(reinterpret_cast<const char*>(&length), sizeof length);
  return {read_file(path), plain + header + std::string(9, '\1')};
}

/// A header of many values for few tensors.
std::vector<std::string> safetensors_past() {
  std::string header = R"({"__metadata__":{)";
  for (int i = 0; i < 100'000; ++i) header += str(i ? "," : "", "\"", i, "\":\"\"");
  header += "}}";
  const std::uint64_t length = header.size();
  return {std::string(reinterpret_cast<const char*>(&length), sizeof length) + header};
}

/// Every parameter that has values.
std::vector<real> all_values(const nn::Model& model) {
  std::vector<real> values;
  for (const Param& p : model.params().params()) {
    if (p.value.data) values.insert(values.end(), p.value.flat().begin(), p.value.flat().end());
  }
  return values;
}

/// Written again and read it is the same model.
void check_saved(const quant::LoadedModel& loaded) {
  const UnsyncedWrites fast;
  const fs::path dir = scratch() / "again";
  fs::remove_all(dir);
  fs::create_directories(dir);
  if (loaded.tensors.empty() && loaded.masks.empty()) {
    nn::save_model(*loaded.model, dir);
  } else {
    quant::save_quantized(*loaded.model, {.tensors = loaded.tensors, .masks = loaded.masks}, dir,
                          Json::object(), loaded.coding);
  }
  nn::require_intact(dir);
  const quant::LoadedModel back = quant::load_any(dir);
  require(same_bits(all_values(*back.model), all_values(*loaded.model)) &&
              back.tensors.size() == loaded.tensors.size() &&
              back.masks.size() == loaded.masks.size(),
          "a model that does not come back");
  for (std::size_t i = 0; i < back.tensors.size(); ++i) {
    require(back.tensors[i].q == loaded.tensors[i].q, "codes or scales that do not come back");
    require(back.tensors[i].change == loaded.tensors[i].change, "an input's change is another");
  }
  for (std::size_t i = 0; i < back.masks.size(); ++i) {
    require(back.masks[i].keep == loaded.masks[i].keep, "a mask that does not come back");
  }
}

int fuzz_model(const std::uint8_t* data, std::size_t size) {
  const fs::path dir = scratch() / "model";
  put_files(dir, unpack(text_of(data, size)));
  nn::check_model(dir);
  taken([&] {
    const quant::LoadedModel loaded = quant::load_any(dir);
    answer_a_token(*loaded.model);
    check_saved(loaded);
  });
  taken([&] { answer_a_token(*quant::load_runnable(dir).model); });
  return 0;
}

std::string saved(const nn::Model& model, const quant::Quantized* quantized = nullptr,
                  quant::Coding coding = quant::Coding::packed, nn::DType dtype = nn::DType::f32) {
  const UnsyncedWrites fast;
  const fs::path dir = scratch() / "seed";
  fs::remove_all(dir);
  fs::create_directories(dir);
  if (quantized) {
    quant::save_quantized(model, *quantized, dir, Json::object(), coding, dtype);
  } else {
    nn::save_model(model, dir, Json::object(), dtype);
  }
  return pack(files_of(dir));
}

std::unique_ptr<nn::Gpt> small_gpt() {
  return make_gpt({.vocab_size = 5, .block_size = 4, .n_layer = 1, .n_head = 1, .n_embd = 8});
}

std::vector<std::string> float_seeds() {
  const std::string gpt = saved(*small_gpt());
  std::vector<std::string> seeds{gpt, saved(*make_llama()),
                                 saved(*small_gpt(), nullptr, {}, nn::DType::f16)};
  Files parts;  // the weights in a file that an index names
  for (const auto& [name, bytes] : unpack(gpt)) {
    if (name == "manifest.json") continue;
    parts.emplace_back(name == "model.safetensors" ? "part-1.safetensors" : name, bytes);
  }
  Json map = Json::object();
  for (const nn::FileTensor& t : small_gpt()->file_tensors()) map.set(t.name, "part-1.safetensors");
  Json index = Json::object();
  index.set("metadata", Json::object()).set("weight_map", map);
  parts.emplace_back("model.safetensors.index.json", index.dump());
  seeds.push_back(pack(parts));
  return seeds;
}

/// A few bytes that claim a context of a million positions, whose angles were a table of 134 MB.
std::vector<std::string> float_past() {
  nn::Llama llama({.vocab_size = 3,
                   .block_size = 1 << 20,
                   .n_layer = 1,
                   .n_head = 1,
                   .n_kv_head = 1,
                   .n_embd = 32,
                   .n_inner = 2});
  randomise(llama.params(), 1);
  return {saved(llama, nullptr, {}, nn::DType::f16)};
}

std::vector<std::string> quantized_seeds(quant::Coding coding) {
  using namespace notch::quant;
  const Spec groups{
      .bits = 4, .grid = GridKind::asymmetric, .granularity = Granularity::group, .group_size = 8};
  const auto scaled = [&](GridKind grid, ScaleType scale) {
    Spec spec = groups;
    spec.grid = grid, spec.scale = scale;
    return spec;
  };
  const std::vector<Plan> plans{{.weights = {.bits = 4}},
                                {.weights = {.bits = 8, .granularity = Granularity::tensor},
                                 .activations = ActivationSpec{.bits = 8}},
                                {.weights = groups, .table = Spec{.bits = 3}},
                                {.weights = {.bits = 2, .grid = GridKind::ternary}},
                                {.weights = {.bits = 4, .grid = GridKind::nf4}},
                                {.weights = scaled(GridKind::nf4, ScaleType::nested)},
                                {.weights = scaled(GridKind::fp4, ScaleType::e8m0)},
                                {.weights = {.bits = 2, .grid = GridKind::learned},
                                 .table = Spec{.bits = 2, .grid = GridKind::additive}},
                                {.weights = {.bits = 2, .grid = GridKind::e8p}}};
  std::vector<std::string> seeds;
  for (const Plan& plan : plans) {
    const auto model = small_gpt();
    const Quantized q = rounded(*model, plan);
    seeds.push_back(saved(*model, &q, coding));
  }
  // What stands beside codes: masks, multipliers and signs of inputs, products of both kinds.
  const std::vector<std::int32_t> ids{0, 1, 2, 3, 4, 3, 2, 1};
  const std::vector<nn::Tokens> text{{ids, 2, 4}};
  const Plan int4{.weights = groups}, w8a8{.weights = {}, .activations = ActivationSpec{.bits = 8}};
  const PruneOptions half{.method = "magnitude"},
      fixed{.method = "magnitude", .pattern = Pattern::two_of_four};
  const auto add = [&](const char* name, const Plan& plan, const PostTrainingOptions& options) {
    const auto model = small_gpt();
    const Quantized q = post_training(*model, method(name), resolve(plan, *model), text, options);
    seeds.push_back(saved(*model, &q, coding));
  };
  add("rtn", int4, {.prune = half});
  add("rtn", {.weights = {.bits = 3}}, {.prune = fixed});
  add("smoothquant", w8a8, {.smoothquant = {.alpha = 0.5}});
  add("rtn-hadamard", w8a8, {});
  add("lqer", int4, {.lqer = {.rank = 2}});
  add("llm-int8", w8a8, {.llm_int8 = {.threshold = 0.5}});
  Spec bilevel = groups;
  bilevel.bits = 3;
  bilevel.scale = ScaleType::bilevel;
  add("spqr", {.weights = bilevel, .activations = ActivationSpec{.grid = InputGrid::e4m3}},
      {.spqr = {.threshold = 0.01}});
  const auto model = small_gpt();
  const Quantized pruned = prune(*model, resolve(int4, *model), text, {.prune = half});
  seeds.push_back(saved(*model, &pruned, quant::Coding::packed, nn::DType::f16));
  return seeds;
}
std::vector<std::string> packed_seeds() { return quantized_seeds(quant::Coding::packed); }
std::vector<std::string> coded_seeds() { return quantized_seeds(quant::Coding::entropy); }

/// As AutoGPTQ has them: of both formats of zero points, symmetric and not.
std::vector<std::string> gptq_seeds() {
  using namespace notch::quant;
  const UnsyncedWrites fast;
  std::vector<std::string> seeds;
  for (const GptqZeros zeros : {GptqZeros::v1, GptqZeros::v2}) {
    const auto model =
        make_gpt({.vocab_size = 32, .block_size = 4, .n_layer = 1, .n_head = 1, .n_embd = 32});
    const bool first = zeros == GptqZeros::v1;
    const Quantized q = rounded(
        *model, {.weights = {.bits = first ? 4 : 3,
                             .grid = first ? GridKind::narrow : GridKind::asymmetric,
                             .granularity = first ? Granularity::channel : Granularity::group,
                             .group_size = first ? 0 : 32,
                             .scale = ScaleType::f16}});
    const fs::path dir = scratch() / "seed";
    fs::remove_all(dir);
    fs::create_directories(dir);
    save_gptq(*model, q, dir, zeros);
    seeds.push_back(pack(files_of(dir)));
  }
  return seeds;
}

/// A number of codes and a grid, then a stream.
int fuzz_stream(const std::uint8_t* data, std::size_t size) {
  using namespace notch::quant;
  if (size < 4) return 0;
  const int bits = 2 + data[0] % 7;
  const bool asymmetric = data[0] >= 128;
  const Spec spec{.bits = bits, .grid = asymmetric ? GridKind::asymmetric : GridKind::narrow};
  const Grid grid = grid_of(spec);
  const std::int64_t count = data[1] + 256 * (data[2] % 8);
  const std::span<const std::uint8_t> stream(data + 3, size - 3);
  std::vector<std::int8_t> codes;
  if (taken([&] { codes = decode_codes(stream, count, grid, "stream"); })) {
    require(std::ssize(codes) == count, "another number of codes");
    require(decode_codes(encode_codes(codes, grid), count, grid, "stream") == codes,
            "decoded codes do not come back");
  }
  codes.clear();
  for (const std::uint8_t byte : stream) {
    codes.push_back(static_cast<std::int8_t>(grid.qmin + byte % (grid.qmax - grid.qmin + 1)));
  }
  require(decode_codes(encode_codes(codes, grid), std::ssize(codes), grid, "stream") == codes,
          "codes do not come back");
  return 0;
}

std::vector<std::string> stream_seeds() {
  using namespace notch::quant;
  std::vector<std::string> seeds;
  for (const int bits : {2, 4, 8}) {
    const Grid grid = grid_of({.bits = bits});
    std::vector<std::int8_t> codes;
    Rng rng(static_cast<std::uint64_t>(bits));
    for (int i = 0; i < 200; ++i) {
      const double code = rng.normal() * grid.qmax / 3;
      codes.push_back(static_cast<std::int8_t>(std::clamp<double>(code, grid.qmin, grid.qmax)));
    }
    const std::vector<std::uint8_t> stream = encode_codes(codes, grid);
    seeds.push_back(std::string{static_cast<char>(bits - 2), static_cast<char>(200), 0} +
                    std::string(stream.begin(), stream.end()));
  }
  return seeds;
}

std::vector<nn::CheckpointPart> parts_of(std::vector<real>& w, std::vector<real>& moments) {
  return {{.file = "model.safetensors", .tensors = {{"w", {2, 3}, w}}},
          {.file = "optimizer.safetensors", .tensors = {{"w.m", {6}, moments}, {"w.v", {0}, {}}}}};
}

int fuzz_checkpoint(const std::uint8_t* data, std::size_t size) {
  const fs::path root = scratch() / "ckpt", dir = root / "step-000002";
  put_files(dir, unpack(text_of(data, size)));
  std::vector<real> w(6), moments(6);
  bool whole = false;
  taken([&] {
    nn::load_checkpoint(dir, parts_of(w, moments));
    whole = true;
  });
  require(whole || (w == std::vector<real>(6) && moments == std::vector<real>(6)),
          "half a checkpoint was loaded");
  const nn::LatestCheckpoint latest = nn::latest_checkpoint(root);
  require(latest.path.has_value() || latest.skipped.size() == 1, "a checkpoint without a word");
  require(!whole || latest.path, "a whole checkpoint was passed over");
  return 0;
}

std::vector<std::string> checkpoint_seeds() {
  const UnsyncedWrites fast;
  std::vector<real> w{1, 2, 3, 4, 5, 6}, moments(6, 0.5f);
  const fs::path root = scratch() / "seed-ckpt";
  fs::remove_all(root);
  Json state = Json::object();
  state.set("step", 2).set("rng", Json::array());
  return {pack(files_of(nn::save_checkpoint(root, 2, parts_of(w, moments), state, 1)))};
}

}  // namespace

std::vector<Target> model_targets() {
  return {{"safetensors", fuzz_safetensors, safetensors_seeds, safetensors_past},
          {"float_model", fuzz_model, float_seeds, float_past},
          {"packed_model", fuzz_model, packed_seeds, none},
          {"coded_model", fuzz_model, coded_seeds, none},
          {"gptq_model", fuzz_model, gptq_seeds, none},
          {"coded_stream", fuzz_stream, stream_seeds, none},
          {"checkpoint", fuzz_checkpoint, checkpoint_seeds, none}};
}

}  // namespace notch::test::fuzz
