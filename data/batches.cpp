#include "data/batches.h"

#include "autograd/base/error.h"
#include "autograd/base/rng.h"

namespace notch::data {
namespace {

/// Keeps the streams of batches away from those that other parts of the program draw from the same
/// seed.
constexpr std::uint64_t kBatchStreams = 0x6261746368657321u;  // "batches!"

std::uint64_t stream_of(std::int64_t step, std::int64_t micro) {
  const std::uint64_t s = mix64(kBatchStreams + static_cast<std::uint64_t>(step));
  return mix64(s + static_cast<std::uint64_t>(micro));
}

}  // namespace

void batch(std::span<const std::int32_t> tokens, const BatchSpec& spec, std::int64_t step,
           std::int64_t micro, std::span<std::int32_t> inputs, std::span<std::int32_t> targets) {
  const auto N = static_cast<std::int64_t>(tokens.size());
  const std::int64_t B = spec.B, T = spec.T;
  check(B >= 1 && T >= 1, "batch", "B and T must be at least 1, found B = ", B, ", T = ", T);
  check(N > T, "batch", "the split has ", N, " tokens, a window and its targets need ", T + 1);
  check(static_cast<std::int64_t>(inputs.size()) == B * T && targets.size() == inputs.size(),
        "batch", "inputs and targets hold ", inputs.size(), " and ", targets.size(),
        " tokens, B T = ", B * T);
  check(step >= 0 && micro >= 0 && micro < spec.micro_steps, "batch", "step ", step,
        ", micro-step ", micro, " of ", spec.micro_steps, " is out of range");
  const auto size = static_cast<std::size_t>(T);
  Rng rng(spec.seed, stream_of(step, micro));
  for (std::int64_t b = 0; b < B; ++b) {
    std::int64_t start = 0;
    if (spec.order == Order::random) {
      start = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(N - T)));
    } else {
      const std::int64_t windows = (N - 1) / T;
      start = ((step * spec.micro_steps + micro) * B + b) % windows * T;
    }
    const auto at = static_cast<std::size_t>(b) * size;
    fill_window(tokens, {start, T}, inputs.subspan(at, size), targets.subspan(at, size));
  }
}

EvalWindows::EvalWindows(std::int64_t n_tokens, std::int64_t T) : T_(T), full_(0), tail_(0) {
  check(n_tokens >= 2 && T >= 1, "evaluation windows", "n_tokens = ", n_tokens, ", T = ", T,
        "; at least 2 tokens and T = 1 are needed");
  full_ = (n_tokens - 1) / T;
  tail_ = (n_tokens - 1) % T;
}

Window EvalWindows::operator[](std::int64_t i) const {
  check(i >= 0 && i < size(), "evaluation windows", "window ", i, " of ", size());
  return {i * T_, i < full_ ? T_ : tail_};
}

void fill_window(std::span<const std::int32_t> tokens, Window window,
                 std::span<std::int32_t> inputs, std::span<std::int32_t> targets) {
  const auto start = static_cast<std::size_t>(window.start);
  const auto length = static_cast<std::size_t>(window.length);
  check(window.start >= 0 && window.length >= 1 && start + length < tokens.size() &&
            inputs.size() == length && targets.size() == length,
        "window", "start ", window.start, ", length ", window.length, " does not fit ",
        tokens.size(), " tokens and buffers of ", inputs.size(), " and ", targets.size());
  for (std::size_t t = 0; t < length; ++t) {
    inputs[t] = tokens[start + t];
    targets[t] = tokens[start + t + 1];
  }
}

}  // namespace notch::data
