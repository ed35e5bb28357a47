// Calibration text that the model writes itself.
#include <algorithm>
#include <span>
#include <vector>

#include "experiments/run/setup.h"
#include "tests/catch.h"

namespace notch::experiments {
namespace {

TEST_CASE("calibration text of the model is repeatable and recorded") {
  ExperimentConfig config;
  config.data.sentences = 300;
  config.model = {.n_layer = 1, .n_head = 2, .n_embd = 16, .block_size = 32, .bias = true};
  config.calib.windows = 8;
  config.calib.source = "self";
  const Data data = load_data(config, {});
  nn::Gpt model(model_config(config, data.source.tokenizer.vocab_size()));
  model.init(3);
  const auto ids = [&](const ExperimentConfig& c, std::uint64_t seed) {
    const Calibration calibration(c, model, data.source.tokens.train, seed);
    std::vector<std::int32_t> all;
    for (const nn::Tokens& batch : calibration.batches()) {
      all.insert(all.end(), batch.ids.begin(), batch.ids.end());
    }
    CHECK(calibration.tokens() == config.calib.windows * config.model.block_size);
    return all;
  };
  const std::vector<std::int32_t> text = ids(config, 1);
  CHECK(ids(config, 1) == text);
  CHECK(ids(config, 2) != text);
  // Nearly greedy text: the token after every prefix is the most probable one.
  config.calib.temperature = 1e-6;
  const std::vector<std::int32_t> greedy = ids(config, 1);
  const std::int64_t T = config.model.block_size;
  Graph g;
  g.begin(Graph::Mode::inference);
  const Tensor logits =
      model.logits(g, {std::span(greedy).first(static_cast<std::size_t>(T)), 1, T}).value();
  const std::int64_t V = model.config().vocab_size;
  for (std::int64_t t = 0; t + 1 < T; ++t) {
    const auto row =
        logits.flat().subspan(static_cast<std::size_t>(t * V), static_cast<std::size_t>(V));
    CHECK(std::ranges::max_element(row) - row.begin() == greedy[static_cast<std::size_t>(t + 1)]);
  }
}

}  // namespace
}  // namespace notch::experiments
