// Batches: which tokens a training step sees, and the windows an evaluation scores.
//
// Everything is a pure function of its arguments, so that a resumed run, and every method of a
// comparison, sees the same data without a cursor to save. Nothing here allocates.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace notch::data {

enum class Order {
  random,      // windows that start anywhere, uniform and independent
  sequential,  // the split cut into windows, in order, again and again
};
constexpr auto names(Order) { return std::array<std::string_view, 2>{"random", "sequential"}; }

/// What a batch depends on besides the tokens.
struct BatchSpec {
  std::int64_t B = 0, T = 0;  // windows, and tokens per window
  Order order = Order::random;
  std::uint64_t seed = 0;        // random only
  std::int64_t micro_steps = 1;  // gradient accumulation: batches per step
};

/// Fills inputs and targets, int32 [B, T]: inputs[b, t] = tokens[s_b + t], targets[b, t] =
/// tokens[s_b + t + 1]. With N = tokens.size():
///   random      s_b uniform in [0, N - T - 1], each (step, micro) from its own stream of `seed`
///   sequential  s_b = (w mod M) T  with  w = (step micro_steps + micro) B + b
///               over the M = floor((N - 1) / T) windows
/// Throws Fault::usage when N < T + 1, a size does not fit or an index is out of range.
void batch(std::span<const std::int32_t> tokens, const BatchSpec& spec, std::int64_t step,
           std::int64_t micro, std::span<std::int32_t> inputs, std::span<std::int32_t> targets);

/// One evaluation window: `length` inputs from `start`, and the tokens after each as targets.
struct Window {
  std::int64_t start = 0, length = 0;
};

/// Non-overlapping windows that predict each token but the first of a split exactly once:
/// floor((N - 1) / T) of length T, then one of length (N - 1) mod T when that is not 0.
class EvalWindows {
 public:
  /// Throws Fault::usage unless n_tokens >= 2 and T >= 1.
  EvalWindows(std::int64_t n_tokens, std::int64_t T);

  std::int64_t size() const { return full_ + (tail_ > 0 ? 1 : 0); }
  std::int64_t full() const { return full_; }  ///< windows of length T
  std::int64_t tail() const { return tail_; }  ///< length of the last, shorter one; 0 when none
  std::int64_t predicted() const { return full_ * T_ + tail_; }  ///< tokens scored: N - 1
  Window operator[](std::int64_t i) const;                       ///< 0 <= i < size()

 private:
  std::int64_t T_, full_, tail_;
};

/// Copies one window; inputs and targets have its length.
void fill_window(std::span<const std::int32_t> tokens, Window window,
                 std::span<std::int32_t> inputs, std::span<std::int32_t> targets);

}  // namespace notch::data
