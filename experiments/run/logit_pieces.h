// Logits of long texts, a piece at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "nn/model.h"

namespace notch::experiments {

/// Logits of a model in pieces of rows: those of a whole batch of GPT-2's vocabulary would take a
/// gigabyte.
class LogitPieces {
 public:
  explicit LogitPieces(nn::Model& model) : model_(model) {}

  /// Rows of a piece: 64 MB of floats, at least one.
  static std::int64_t rows(const nn::Model& model) {
    return std::max<std::int64_t>(1, (std::int64_t{1} << 24) / model.sizes().vocab_size);
  }
  void read(const nn::Tokens& tokens) {
    graph_.begin(Graph::Mode::inference);
    hidden_ = model_.hidden(graph_, tokens).value();
  }
  /// [n, V] of rows [first, first + n) of what was read last.
  std::span<const real> logits(std::int64_t first, std::int64_t n) {
    const std::int64_t C = hidden_.cols();
    head_graph_.begin(Graph::Mode::inference);
    const Var x = head_graph_.constant({hidden_.data + first * C, {n, C}}, "hidden");
    return model_.head()(head_graph_, x).value().flat();
  }

 private:
  nn::Model& model_;
  Graph graph_, head_graph_;
  Tensor hidden_{};
};

/// body(first row, rows) for all pieces.
template <class Body>
void for_pieces(const nn::Model& model, std::int64_t rows, const Body& body) {
  const std::int64_t most = LogitPieces::rows(model);
  for (std::int64_t first = 0; first < rows; first += most) {
    body(first, std::min(most, rows - first));
  }
}

}  // namespace notch::experiments
