#include "experiments/machine/roofs.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/lanes.h"
#include "quant/kernels/integer_linear.h"

namespace notch::experiments {
namespace {

constexpr int kRepeats = 5;
constexpr std::int64_t kTileWords = 32768;  // a quarter of a mebibyte

/// Everything read, combined: the compiler must not leave a load out. With `ahead`, what lies that
/// many words further is prefetched.
NOTCH_VECTOR(std::uint64_t, read_words, const std::uint64_t* p, std::int64_t n,
             std::int64_t ahead) {
  constexpr std::int64_t kChains = 64, kLine = 8;
  std::uint64_t found[kChains] = {};
  for (std::int64_t i = 0; i + kChains <= n; i += kChains) {
    if (ahead > 0)
      for (std::int64_t j = 0; j < kChains; j += kLine) __builtin_prefetch(p + i + j + ahead);
    for (std::int64_t j = 0; j < kChains; ++j) found[j] |= p[i + j];
  }
  std::uint64_t all = 0;
  for (const std::uint64_t f : found) all |= f;
  return all;
}

std::size_t words_in(std::int64_t bytes) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  check(bytes > 0 && bytes <= kMost, "read roof", bytes, " bytes to read, not 1 to ", kMost);
  return static_cast<std::size_t>(bytes + 7) / 8;
}

/// The shortest of a few runs, in seconds.
template <class Action>
double shortest(const Action& action) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepeats; ++i) {
    const double start = seconds_now();
    action();
    best = std::min(best, seconds_now() - start);
  }
  return best;
}

}  // namespace

double sgemm_roof() {
  constexpr std::int64_t n = 1024;
  const std::vector<float> a(n * n, 1.0f), b(n * n, 1.0f);
  std::vector<float> out(n * n);
  return 2.0 * n * n * n / shortest([&] { kernels::gemm(out, a, b, n, n, n, {.trans_b = true}); });
}

double integer_roof() {
  constexpr std::int64_t n = 1024;
  const quant::IntegerShape shape{.N = n, .K = n};
  std::vector<std::byte> memory(static_cast<std::size_t>(quant::packed_bytes(shape)) + 64);
  std::byte* aligned = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64);
  const quant::PackedWeights weights =
      quant::lay_out(shape, {aligned, static_cast<std::size_t>(quant::packed_bytes(shape))});
  const std::vector<std::int8_t> codes(n * n, 1);
  const std::vector<float> scales(n, 1.0f);
  quant::pack(weights, codes, scales, {});
  std::vector<std::uint8_t> x(static_cast<std::size_t>(n * shape.row_codes()), 129), zeros(n, 128);
  std::vector<float> x_scales(n, 1.0f), out(n * n);
  const quant::ActivationCodes rows{.codes = x, .scales = x_scales, .zero_points = zeros};
  return 2.0 * n * n * n / shortest([&] { quant::integer_linear(out, rows, weights, {}, n); });
}

ReadRoof::ReadRoof(std::int64_t bytes)
    : memory_(words_in(bytes) * 8 / sizeof(real)),
      found_((memory_.size() * sizeof(real) / 8 + kTileWords - 1) / kTileWords) {}

double ReadRoof::pass() {
  const auto* const words = reinterpret_cast<const std::uint64_t*>(memory_.flat().data());
  const std::int64_t n = bytes() / 8;
  double best = std::numeric_limits<double>::infinity();
  for (const std::int64_t ahead : {0, 128, 512, 1024}) {  // 1, 4, 8 KiB
    const double start = seconds_now();
    parallel_for(std::ssize(found_), [&](std::int64_t i) {
      const std::int64_t begin = i * kTileWords;
      found_[static_cast<std::size_t>(i)] =
          read_words(words + begin, std::min(kTileWords, n - begin), ahead);
    });
    best = std::min(best, seconds_now() - start);
  }
  return best;
}

}  // namespace notch::experiments
