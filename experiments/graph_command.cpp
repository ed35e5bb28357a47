// notch graph: the tape of one small step, forward and backward, as text and as a picture.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/print.h"
#include "experiments/command_tools.h"
#include "experiments/commands.h"
#include "experiments/setup.h"

namespace notch::experiments {
namespace {

constexpr std::int64_t kPositions = 8;

/// A character tokenizer's size follows from the text, which is not needed to draw a graph.
constexpr int kCharacters = 64;

std::unique_ptr<nn::Gpt> model_of(const Args& args) {
  const fs::path path = args.positionals[0];
  if (path.extension() != ".toml") {
    check(args.overrides.empty(), "notch graph", "values can only be replaced in an EXP.toml");
    return std::move(open_artefact(path).loaded.model);
  }
  const ExperimentConfig config = load_config(path, args.overrides).config;
  const int vocab_size = config.data.tokenizer == "byte"  ? 256
                         : config.data.tokenizer == "bpe" ? config.data.bpe_vocab
                                                          : kCharacters;
  if (config.data.tokenizer == "char") {
    note(args, str("a vocabulary of ", kCharacters, " stands in for the text's characters"));
  }
  auto model = std::make_unique<nn::Gpt>(model_config(config, vocab_size));
  model->init(static_cast<std::uint64_t>(config.seeds.at(0)));
  return model;
}

/// One sequence through the whole model; the mean loss is the root.
void record_model(Graph& graph, const nn::Gpt& model, std::vector<std::int32_t>& ids) {
  const nn::GptConfig& config = model.config();
  const std::int64_t T = std::min(kPositions, config.block_size);
  for (std::int64_t t = 0; t <= T; ++t) {
    ids.push_back(static_cast<std::int32_t>((7 * t + 1) % config.vocab_size));
  }
  const std::span<const std::int32_t> all(ids);
  const auto n = static_cast<std::size_t>(T);
  graph.backward(model.loss(graph, {.tokens = {all.first(n), 1, T}, .targets = all.subspan(1, n)}));
}

/// One block on standard normal hidden states, with ones as the gradient of its output.
void record_block(Graph& graph, const nn::Stage& stage, std::int64_t channels,
                  std::int64_t positions, FlatBlock& memory) {
  const Shape shape{1, positions, channels};
  memory = FlatBlock(2 * static_cast<std::size_t>(shape.size()));
  const auto n = static_cast<std::size_t>(shape.size());
  const std::span<real> x = memory.flat().first(n), dout = memory.flat().subspan(n);
  Rng rng(1337);
  for (real& value : x) value = static_cast<real>(rng.normal());
  std::ranges::fill(dout, real{1});
  graph.backward(stage.run(graph, graph.input({x.data(), shape}, "hidden")), dout);
}

}  // namespace

int graph_command(const Args& args) {
  const std::unique_ptr<nn::Gpt> model = model_of(args);
  const nn::GptConfig& config = model->config();
  model->params().allocate_gradients();
  Graph graph;
  graph.set_trace(true);
  graph.begin(Graph::Mode::training);
  std::vector<std::int32_t> ids;
  FlatBlock memory;
  const std::vector<nn::Stage> stages = model->stages();
  if (args.has("block")) {
    const std::int64_t block = args.integer("block", 0, 0, config.n_layer - 1);
    record_block(graph, stages.at(static_cast<std::size_t>(block)), config.n_embd,
                 std::min(kPositions, config.block_size), memory);
  } else {
    record_model(graph, *model, ids);
  }
  if (const auto file = args.value("dot")) {
    write_file(*file, to_dot(graph));
    note(args, str("picture: dot -Tsvg ", *file, " > graph.svg"));
  }
  std::cout << print(graph);
  return 0;
}

}  // namespace notch::experiments
