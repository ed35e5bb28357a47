// Models that run on packed weights: the same tokens as their dequantized weights give.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "quant/store/model_files.h"
#include "quant/store/pack_weights.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/rounding_bound.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace served_layers_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

/// A directory with the model rounded to nearest by `plan`; the model's values are changed.
void save(nn::Model& model, const Plan& plan, const fs::path& dir) {
  save_quantized(model, post_training(model, method("rtn"), resolve(plan, model), {}, {}), dir);
}

/// Logits of eight positions: few enough for the kernels of decoding.
std::vector<real> eight_logits(nn::Model& model) { return logits_of(model, Text(3, 1)); }

TEST_CASE("a codebook in groups is served bit for bit as dequantized") {
  for (const Spec& spec : all_specs(4)) {
    if (spec.granularity != Granularity::group || grid_of(spec).levels.empty()) continue;
    const auto model = make_gpt();
    const TemporaryDirectory dir;
    save(*model, {.weights = spec, .table = spec}, dir.path());
    const RunnableModel packed = load_runnable(dir.path());
    INFO(name_of(spec));
    CHECK(packed.served != nullptr);
    CHECK(same_bits(eight_logits(*packed.model), eight_logits(*load_any(dir.path()).model)));
  }
}

TEST_CASE("a model that is replaced outlives the links to it") {
  const auto model = make_gpt();
  const TemporaryDirectory first, second;
  save(*model, {.weights = {.bits = 8}}, first.path());
  save(*model, {.weights = {.bits = 3}}, second.path());
  const std::vector<real> expected = eight_logits(*load_runnable(second.path()).model);
  const auto check = [&](auto loaded, auto other) {
    const nn::Model* const replaced = loaded.model.get();
    REQUIRE(loaded.model->hooks().linear_chain.empty() == (loaded.served == nullptr));
    loaded = std::move(other);
    // Where the links of before were detached it was still there, and now has none.
    REQUIRE(other.model.get() == replaced);
    CHECK(other.model->hooks().linear_chain.empty());
    CHECK(same_bits(eight_logits(*loaded.model), expected));
  };
  check(load_runnable(first.path()), load_runnable(second.path()));
}

TEST_CASE("a served model differs from dequantized by rounding only") {
  for (const bool tied : {true, false}) {
    for (const Spec& spec : all_specs(4)) {
      if (spec.scale != ScaleType::f32) continue;
      nn::GptConfig config = tiny_config();
      config.tie_embeddings = tied;
      const auto model = make_gpt(config);
      const TemporaryDirectory dir;
      // Positions are quantized, too: they are added, and so dequantized at once.
      save(*model, {.weights = spec, .table = spec, .rules = {{"wpe", spec}}}, dir.path());
      const RunnableModel packed = load_runnable(dir.path());
      const std::vector<real> expected = eight_logits(*load_any(dir.path()).model);
      const std::vector<real> found = eight_logits(*packed.model);
      // One rounding per weight is moved to one per sum, and inputs are in fixed point.
      const LoadedModel plain = load_any(dir.path());
      nn::Model& view = *plain.model;
      const std::vector<double> bounds = rounding_bounds(view, Text(3, 1).tokens(), 16);
      REQUIRE(bounds.size() == found.size());
      double worst = 0, largest = 0, logit = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        const double difference =
            std::fabs(static_cast<double>(expected[i]) - static_cast<double>(found[i]));
        worst = std::fmax(worst, difference / bounds[i]);
        largest = std::fmax(largest, bounds[i]);
        logit = std::fmax(logit, std::fabs(static_cast<double>(expected[i])));
      }
      INFO(name_of(spec) << " uses " << worst << " of its bound, the largest being " << largest);
      CHECK(worst <= 1);
      CHECK(largest < 1e-2 * logit);
    }
  }
}

TEST_CASE("a floating-point directory runs, packed in memory as on disk") {
  const auto model = make_gpt();
  const TemporaryDirectory floats, packed;
  nn::save_model(*model, floats.path());
  const RunnableModel plain = load_runnable(floats.path());
  CHECK(plain.served == nullptr);
  CHECK(plain.weight_bytes == model->params().count() * std::int64_t{sizeof(real)});
  CHECK(same_bits(eight_logits(*plain.model), eight_logits(*model)));

  const Plan plan{.weights = {.bits = 4, .granularity = Granularity::group, .group_size = 6},
                  .table = Spec{.bits = 8}};
  const RunnableModel in_memory = pack_weights(*model, plan);
  save(*model, plan, packed.path());
  const RunnableModel on_disk = load_runnable(packed.path());
  CHECK(same_bits(eight_logits(*in_memory.model), eight_logits(*on_disk.model)));
  CHECK(in_memory.weight_bytes == on_disk.weight_bytes);
  CHECK(in_memory.model->params().find("wte.weight")->value.data == nullptr);
}

TEST_CASE("a code outside its grid is refused with the tensor's name") {
  const auto model = make_gpt();
  const TemporaryDirectory dir;
  save(*model, {.weights = {.bits = 4}, .table = Spec{.bits = 8}}, dir.path());
  const std::string name = "h.1.mlp.c_fc.weight.codes";
  std::uint64_t at = 0;
  {
    const auto file = nn::SafetensorsFile::open(dir.path() / nn::kWeightsFile);
    at = file.find(name)->offset;
  }
  std::fstream file(dir.path() / nn::kWeightsFile, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.put('\x0f');  // u = 15: 8 on the narrow grid, which ends at 7
  file.close();
  const ErrorParts error = error_of([&] { load_runnable(dir.path()); });
  CHECK(error.fault == Fault::input);
  CHECK(error.where.find("h.1.mlp.c_fc.weight") != std::string::npos);
  CHECK(error.found == "8");
}

}  // namespace served_layers_test
