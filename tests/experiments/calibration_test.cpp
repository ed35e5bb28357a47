// Calibration text that the model writes itself.
#include <algorithm>
#include <span>
#include <vector>

#include "experiments/run/setup.h"
#include "tests/catch.h"

namespace notch::experiments::calibration_test {

TEST_CASE("calibration text of the model is repeatable and recorded") {
  ExperimentConfig config;
  config.data.sentences = 300;
  config.model = {.n_layer = 1, .n_head = 2, .n_embd = 16, .block_size = 32, .bias = true};
  config.calib.windows = 8;
  config.calib.source = "self";
  const Data data = load_data(config, {});
  const auto model = make_model(config, data.source.tokenizer.vocab_size());
  model->init(3);
  const auto ids = [&](const ExperimentConfig& c, std::uint64_t seed) {
    const Calibration calibration(c, *model, data.source.tokens.train, seed);
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
      model->logits(g, {std::span(greedy).first(static_cast<std::size_t>(T)), 1, T}).value();
  const std::int64_t V = model->sizes().vocab_size;
  for (std::int64_t t = 0; t + 1 < T; ++t) {
    const auto row =
        logits.flat().subspan(static_cast<std::size_t>(t * V), static_cast<std::size_t>(V));
    CHECK(std::ranges::max_element(row) - row.begin() == greedy[static_cast<std::size_t>(t + 1)]);
  }
}

TEST_CASE("calibration text is at most the training text, once") {
  ExperimentConfig config;
  config.model = {.n_layer = 1, .n_head = 1, .n_embd = 2, .block_size = 5};
  const auto model = make_model(config, 50);
  std::vector<std::int32_t> train;
  for (std::int32_t t = 0; t < 43; ++t) train.push_back(t);  // 8 windows of 5, and 3 tokens more
  const auto ids = [&](int windows) {
    config.calib.windows = windows;
    std::vector<std::int32_t> all;
    const Calibration calibration(config, *model, train, 1);
    for (const nn::Tokens& batch : calibration.batches()) {
      all.insert(all.end(), batch.ids.begin(), batch.ids.end());
    }
    return all;
  };
  CHECK(ids(7).size() == 7 * 5);
  const std::vector<std::int32_t> whole = ids(8);
  REQUIRE(whole.size() == 8 * 5);
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(whole[i] == static_cast<std::int32_t>(i));
  CHECK(ids(9) == whole);
  CHECK(ids(1'000'000) == whole);
  config.calib.source = "self";  // of which there is no end
  CHECK(calibration_windows(config, train.size()) == 1'000'000);
}

TEST_CASE("calibration text beyond the memory is refused at its line") {
  LoadedConfig loaded = parse_config(
      "[model]\nn_embd = 32\nn_head = 1\nblock_size = 10\n[calib]\nwindows = 1000\n", "x.toml");
  // 1000 windows of 10 tokens: 32 channels of 4 bytes and four times as much beside them.
  constexpr double kBytes = 1000.0 * 10 * 32 * 4 * 5;
  const auto fits = [&](double memory, std::size_t train = 1'000'000) {
    check_calibration(loaded.config, train, memory, loaded.origins);
  };
  CHECK_NOTHROW(fits(kBytes));
  CHECK_NOTHROW(fits(0));                   // a system that does not say
  CHECK_NOTHROW(fits(0.2 * kBytes, 2001));  // 200 windows are all there are
  const ErrorParts parts = test::error_of([&] { fits(0.9 * kBytes); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.field == "calib.windows");
  CHECK(parts.where == "x.toml:6:1");
  CHECK(parts.found.find("1000 windows") != std::string::npos);
  CHECK(parts.hint.find(" 450 ") != std::string::npos);  // half of 900
}

TEST_CASE("rows that want the same calibration text share it") {
  ExperimentConfig config;
  config.model = {.n_layer = 1, .n_head = 1, .n_embd = 2, .block_size = 5};
  config.calib.windows = 3;
  const auto a = make_model(config, 50), b = make_model(config, 50);
  a->init(1);
  b->init(2);
  std::vector<std::int32_t> train;
  for (std::int32_t t = 0; t < 43; ++t) train.push_back(t);
  CalibrationTexts texts(train, 1);
  const auto of_train = texts.of(config, *a);
  CHECK(of_train->sha256() == Calibration(config, *a, train, 1).sha256());
  CHECK(texts.of(config, *b) == of_train);  // nobody writes it

  config.calib.source = "self";
  const auto by_a = texts.of(config, *a), by_b = texts.of(config, *b);
  CHECK(by_a != of_train);
  CHECK(by_a != by_b);
  CHECK(by_b->sha256() == Calibration(config, *b, train, 1).sha256());
  CHECK(texts.of(config, *a) == by_a);
  const auto alone = texts.alone(config, *a);
  CHECK(alone != by_a);
  CHECK(alone->sha256() == by_a->sha256());
  config.calib.temperature = 0.5;
  CHECK(texts.of(config, *a) != by_a);
}

}  // namespace notch::experiments::calibration_test
