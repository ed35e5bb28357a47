#include "experiments/program/eval_dump.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "data/batches.h"
#include "experiments/program/command_tools.h"
#include "experiments/run/logit_pieces.h"
#include "nn/model_dir.h"

namespace notch::experiments {
namespace {

nn::TensorSource ids(std::string name, std::int64_t N, std::int64_t T,
                     const std::vector<std::int32_t>& values) {
  return nn::raw_tensor(std::move(name), nn::DType::i32, {N, T}, std::as_bytes(std::span(values)));
}

std::int64_t windows_per_batch(std::int64_t T) {
  return std::max<std::int64_t>(1, kTokensPerBatch / T);
}

}  // namespace

DumpWindows::DumpWindows(std::span<const std::int32_t> tokens, std::int64_t block_size,
                         std::int64_t N)
    : N_(N), T_(block_size) {
  const data::EvalWindows all(std::ssize(tokens), T_);
  if (N_ > all.full()) {
    throw Error({.where = "notch eval",
                 .what = "the text has fewer full windows",
                 .field = "--windows",
                 .found = std::to_string(N_),
                 .expected = str("at most ", all.full(), " of ", T_, " tokens")});
  }
  tokens_.resize(static_cast<std::size_t>(N_ * T_));
  targets_.resize(tokens_.size());
  const auto T = static_cast<std::size_t>(T_);
  for (std::int64_t w = 0; w < N_; ++w) {
    const std::size_t at = static_cast<std::size_t>(w) * T;
    data::fill_window(tokens, all[w], std::span(tokens_).subspan(at, T),
                      std::span(targets_).subspan(at, T));
  }
}

nn::Batch DumpWindows::batch(std::int64_t first, std::int64_t n) const {
  const auto at = static_cast<std::size_t>(first * T_), size = static_cast<std::size_t>(n * T_);
  return {.tokens = {std::span(tokens_).subspan(at, size), n, T_},
          .targets = std::span(targets_).subspan(at, size)};
}

void dump_logits(const nn::Model& model, const DumpWindows& windows, const fs::path& file) {
  const std::int64_t N = windows.N_, T = windows.T_, V = model.sizes().vocab_size;
  const auto write = [&](const nn::ByteSink& sink) {
    Graph graph;
    for (std::int64_t first = 0; first < N;) {
      const std::int64_t n = std::min(windows_per_batch(T), N - first);
      graph.begin(Graph::Mode::inference);
      const Var logits = model.logits(graph, windows.batch(first, n).tokens);
      nn::put_reals(sink, nn::DType::f32, logits.value().flat());
      first += n;
    }
  };
  nn::write_safetensors(file,
                        {ids("tokens", N, T, windows.tokens_),
                         ids("targets", N, T, windows.targets_),
                         {"logits", nn::DType::f32, {N, T, V}, write}},
                        {}, Existing::refuse);
}

void dump_gradients(const nn::Model& model, const DumpWindows& windows, const fs::path& file) {
  const std::int64_t N = windows.N_, T = windows.T_;
  const std::unique_ptr<nn::Model> twin = nn::clone(model);
  twin->set_dropout(0);
  twin->params().allocate_gradients();
  Graph graph;
  for (std::int64_t first = 0; first < N;) {
    const std::int64_t n = std::min(windows_per_batch(T), N - first);
    graph.begin(Graph::Mode::training);
    graph.backward(twin->loss(graph, windows.batch(first, n)),
                   static_cast<real>(static_cast<double>(n) / static_cast<double>(N)));
    first += n;
  }
  // The writer of model files knows names and orientations; it writes values, so these become the
  // gradients.
  for (Param& p : twin->params().params()) std::ranges::copy(p.grad.flat(), p.value.data);
  std::vector<nn::TensorSource> tensors;
  tensors.push_back(ids("tokens", N, T, windows.tokens_));
  tensors.push_back(ids("targets", N, T, windows.targets_));
  for (const nn::FileTensor& t : twin->file_tensors()) {
    if (t.param) tensors.push_back(nn::float_source(t));
  }
  nn::write_safetensors(file, std::move(tensors), {}, Existing::refuse);
}

}  // namespace notch::experiments
