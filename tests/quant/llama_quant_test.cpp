// A Llama through every method: rounded or trained, written, read, and run.

#include <algorithm>
#include <cmath>
#include <map>

#include "nn/generate.h"
#include "nn/reader.h"
#include "quant/methods/calibration.h"
#include "quant/serve/input_changes.h"
#include "quant/serve/kv_cache.h"
#include "quant/store/model_files.h"
#include "quant/train/qat.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace llama_quant_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

const Spec kInt4{.bits = 4};

/// The head untied or tied, everything at 4 bits.
Plan plan_of(bool inputs = false) {
  Plan plan{.weights = kInt4, .table = kInt4};
  if (inputs) plan.activations = ActivationSpec{};
  return plan;
}

void check_file(nn::Model& model, const Quantized& quantized, const std::vector<real>& expected) {
  const TemporaryDirectory dir;
  save_quantized(model, quantized, dir.path());
  const Text text(9);
  const LoadedModel back = load_any(dir.path());
  CHECK(back.tensors.size() == quantized.tensors.size());
  CHECK(same_bits(logits_of(*back.model, text), expected));
  const RunnableModel packed = load_runnable(dir.path());
  const std::vector<real> served = logits_of(*packed.model, text);
  double error = 0, largest = 0;
  for (std::size_t i = 0; i < served.size(); ++i) {
    error = std::max(error, std::fabs(static_cast<double>(served[i] - expected[i])));
    largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
  }
  CHECK(error < 1e-4 * largest);  // the same products, summed in another order
}

TEST_CASE("every post-training method rounds a Llama, as its file says") {
  const std::vector<Text> texts{Text(20, 8), Text(21, 8)};
  const std::vector<nn::Tokens> calibration{texts[0].tokens(), texts[1].tokens()};
  for (const Method* m : methods()) {
    if (m->trains()) continue;
    for (const bool tied : {false, true}) {
      INFO(m->name << (tied ? ", tied" : ", untied"));
      const auto model = make_llama(tied);
      const std::vector<Target> targets = resolve(plan_of(), *model);
      CHECK(targets.size() == (tied ? 15u : 16u));
      const std::vector<real> before = logits_of(*model, Text(9));
      const Quantized quantized = post_training(*model, *m, targets, calibration, {});
      std::map<const Param*, InputChange> changes;  // what the file says of inputs
      for (const NamedQTensor& t : quantized.tensors)
        if (!t.change.empty()) changes.emplace(model->params().find(t.name), t.change);
      const InputChanges changed(*model, changes);
      const std::vector<real> rounded = logits_of(*model, Text(9));
      CHECK_FALSE(same_bits(rounded, before));
      check_file(*model, quantized, rounded);
    }
  }
}

TEST_CASE("a Llama trained through rounding ships what its forward saw") {
  for (const Training training : {Training::ste, Training::lsq}) {
    const auto model = make_llama(true);
    FakeQuantizer quantizer(*model, training, resolve(plan_of(), *model), {});
    const std::vector<double> losses = train(*model, &quantizer.params(), Text(3), 60, 3e-3);
    CHECK(losses.back() < losses.front());
    const std::vector<real> seen = logits_of(*model, Text(9));
    check_file(*model, quantizer.convert(), seen);
  }
}

TEST_CASE("a Llama with INT8 inputs ships the integers it trained with") {
  const auto model = make_llama(false);
  std::vector<Target> targets = resolve(plan_of(true), *model);
  FakeQuantizer quantizer(*model, Training::ste, targets, {});
  train(*model, &quantizer.params(), Text(3), 10);
  const std::vector<real> seen = logits_of(*model, Text(9));
  const TemporaryDirectory dir;
  save_quantized(*model, quantizer.convert(), dir.path());
  CHECK(same_bits(logits_of(*load_any(dir.path()).model, Text(9)), seen));
}

TEST_CASE("a packed Llama writes the same text with and without a cache") {
  const auto model = make_llama(false);
  const Quantized quantized =
      post_training(*model, method("rtn"), resolve(plan_of(), *model), {}, {});
  const TemporaryDirectory dir;
  save_quantized(*model, quantized, dir.path());
  const RunnableModel packed = load_runnable(dir.path());
  const std::vector<std::int32_t> prompt{1, 4, 2};
  const auto cache = make_kv_cache(KvKind::fp32, nn::kv_shape(packed.model->sizes()));
  Rng rng(1);
  const nn::Sampling greedy{.temperature = 0};
  // Window by window without a cache: the last position's largest logit.
  std::vector<std::int32_t> text = prompt;
  while (text.size() < 8) {
    Graph g;
    g.begin(Graph::Mode::inference);
    const auto row = packed.model->next_logits(g, {text, 1, std::ssize(text)}).value().flat();
    text.push_back(static_cast<std::int32_t>(std::ranges::max_element(row) - row.begin()));
  }
  const auto written = nn::generate(*packed.model, prompt, 5, greedy, rng, {}, cache.get());
  CHECK(written == std::vector<std::int32_t>(text.begin() + 3, text.end()));
}

}  // namespace llama_quant_test
