// Logits of long texts, a piece at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "nn/model.h"

namespace notch::experiments {

/// Tokens of a forward pass that scores a text, at most (one window at least).
inline constexpr std::int64_t kTokensPerBatch = 4096;

/// Logits of a model in pieces of rows: those of a whole batch of GPT-2's vocabulary would take a
/// gigabyte.
class LogitPieces {
 public:
  explicit LogitPieces(nn::Model& model) : model_(model) {}

  /// Rows of a piece: 64 MB of floats, at least one.
  static std::int64_t rows(const nn::Model& model) {
    return std::max<std::int64_t>(1, (std::int64_t{1} << 24) / model.sizes().vocab_size);
  }
  void read(const nn::Tokens& tokens, nn::KvCache* cache = nullptr) {
    graph_.begin(Graph::Mode::inference);
    hidden_ = model_.hidden(graph_, tokens, cache).value();
  }
  /// [n, V] of rows [first, first + n) of what was read last.
  std::span<const real> logits(std::int64_t first, std::int64_t n) {
    check(hidden_.data && first >= 0 && n > 0 && n <= hidden_.rows() - first, "logits", "rows ",
          first, " and ", n, " more of ", hidden_.data ? hidden_.rows() : 0, " that were read");
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

/// The logits of one text that is read again and again, window after window and piece after piece:
/// those that fit into `bytes` are computed once, the others every time.
class KeptLogits {
 public:
  KeptLogits(nn::Model& model, std::span<const std::int32_t> text,
             std::size_t bytes = std::size_t{1} << 28)
      : model_(model), text_(text), pieces_(model), left_(bytes) {}

  nn::Model& model() const { return model_; }
  std::span<const std::int32_t> text() const { return text_; }

  /// The text is read from its beginning.
  void restart() { window_ = -1; }
  /// [n, V] of rows [first, first + n) of `batch`, windows of the text from number `window` on.
  std::span<const real> logits(const nn::Tokens& batch, std::int64_t window, std::int64_t first,
                               std::int64_t n) {
    const auto kept = kept_.find({window, first});
    const auto size = static_cast<std::size_t>(n * model_.sizes().vocab_size);
    if (kept != kept_.end() && kept->second.size() == size) return kept->second;
    if (window_ != window) pieces_.read(batch);
    window_ = window;
    const std::span<const real> made = pieces_.logits(first, n);
    if (kept == kept_.end() && made.size_bytes() <= left_) {
      left_ -= made.size_bytes();
      kept_.emplace(std::pair{window, first}, std::vector<real>(made.begin(), made.end()));
    }
    return made;
  }

 private:
  nn::Model& model_;
  std::span<const std::int32_t> text_;
  LogitPieces pieces_;
  std::size_t left_;
  std::int64_t window_ = -1;  // the batch that has been read begins with it
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<real>> kept_;
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
