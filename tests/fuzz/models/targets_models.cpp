// Model directories of every kind.
#include <algorithm>

#include "autograd/base/unsynced_writes.h"
#include "nn/integrity.h"
#include "quant/methods/options.h"
#include "quant/numbers/format.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/model_files.h"
#include "tests/fuzz/targets.h"
#include "tests/nn/plain_file.h"
#include "tests/quant/quantized_models.h"

namespace notch::test::fuzz {
namespace {

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
              back.masks.size() == loaded.masks.size() &&
              back.model->config_json().dump() == loaded.model->config_json().dump(),
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
  // rope_type llama3, and where transformers 5 keeps it. 2 pi positions to the first pair's turn, 20 pi
  // to the second's: of a context of 32 one stays, the other is divided by 8.
  nn::Llama scaled({.vocab_size = 5,
                    .block_size = 4,
                    .n_layer = 1,
                    .n_head = 1,
                    .n_kv_head = 1,
                    .n_embd = 4,
                    .n_inner = 2,
                    .rope_theta = 100,
                    .rope_scaling = {.factor = 8, .original_context = 32}});
  randomise(scaled.params(), 1);
  seeds.push_back(saved(scaled));
  Files newer;
  for (auto& [name, bytes] : unpack(seeds.back())) {
    if (name == "manifest.json") continue;  // its digests are of the file as it was
    if (name == "config.json") {
      Json config = Json::parse(bytes, name);
      Json rotary = config.at("rope_scaling", name);
      rotary.set("rope_theta", 100);
      config.set("rope_scaling", Json()).set("rope_parameters", std::move(rotary));
      bytes = config.dump();
    }
    newer.emplace_back(name, bytes);
  }
  seeds.push_back(pack(newer));
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

const bool models_added = add_targets({{"float_model", fuzz_model, float_seeds, float_past},
                                       {"packed_model", fuzz_model, packed_seeds, none},
                                       {"coded_model", fuzz_model, coded_seeds, none},
                                       {"gptq_model", fuzz_model, gptq_seeds, none}});

}  // namespace

void answer_a_token(const nn::Model& model) {
  const std::vector<std::int32_t> ids{0};
  Graph g;
  g.begin(Graph::Mode::inference);
  static_cast<void>(model.logits(g, {ids, 1, 1}).value().flat());
}

}  // namespace notch::test::fuzz
