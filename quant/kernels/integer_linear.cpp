#include "quant/kernels/integer_linear.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

using Index = std::int64_t;

constexpr Index kPanel = IntegerShape::kPanel;

/// One token times one panel: the contract, term by term.
void portable_panel(float* out, const ActivationCodes& x, const PackedWeights& w, const float* bias,
                    Index t, Index panel) {
  const IntegerShape& s = w.shape;
  const Index padded = s.padded_unit(), units = s.units();
  const std::uint8_t* codes = x.codes.data() + t * s.row_codes();
  const std::int8_t* weights = w.panels + panel * s.row_codes() * kPanel;
  const int zx = x.zero_points[static_cast<std::size_t>(t)];
  float sum[kPanel] = {};
  for (Index u = 0; u < units; ++u, codes += padded, weights += padded * kPanel) {
    const Index table = (panel * units + u) * kPanel;
    // Σ (qx - zx)(qw - zw) = Σ qx qw - zw Σ qx - zx Σ (qw - zw). Unsigned: a partial sum may wrap.
    std::uint32_t acc[kPanel] = {}, codes_sum = 0;
    for (Index k = 0; k < padded; k += 4) {
      for (Index j = 0; j < 4; ++j) codes_sum += codes[k + j];
      for (Index lane = 0; lane < kPanel; ++lane)
        for (Index j = 0; j < 4; ++j)
          acc[lane] +=
              static_cast<std::uint32_t>(codes[k + j] * weights[k * kPanel + lane * 4 + j]);
    }
    for (Index lane = 0; lane < kPanel; ++lane) {
      acc[lane] -=
          static_cast<std::uint32_t>(zx) * static_cast<std::uint32_t>(w.sums[table + lane]);
      if (s.zero_points)
        acc[lane] -= codes_sum * static_cast<std::uint32_t>(w.zero_points[table + lane]);
      const float term =
          static_cast<float>(static_cast<std::int32_t>(acc[lane])) * w.scales[table + lane];
      sum[lane] = s.group > 0 ? sum[lane] + term : term;
    }
  }
  const Index width = std::min(kPanel, s.N - panel * kPanel);
  for (Index lane = 0; lane < width; ++lane) {
    const float y = sum[lane] * x.scales[static_cast<std::size_t>(t)];
    out[lane] = bias ? y + bias[lane] : y;
  }
}

}  // namespace

bool available(IntegerKernel kernel) { return kernel == IntegerKernel::portable; }

void integer_linear(std::span<float> out, const ActivationCodes& x, const PackedWeights& w,
                    std::span<const float> bias, std::int64_t M, IntegerKernel kernel) {
  constexpr const char* kWhere = "integer_linear";
  const IntegerShape& s = w.shape;
  check(M >= 0 && std::ssize(out) == M * s.N && std::ssize(x.codes) == M * s.row_codes() &&
            std::ssize(x.scales) == M && std::ssize(x.zero_points) == M &&
            (bias.empty() || std::ssize(bias) == s.N),
        kWhere, "out has ", out.size(), " values, x ", x.codes.size(), " codes and ",
        x.scales.size(), " scales, bias ", bias.size(), "; wanted [", M, ", ", s.N, "], [", M, ", ",
        s.row_codes(), "], ", M, " and ", s.N, " or none");
  check(available(kernel), kWhere, "this processor lacks the instructions of kernel ",
        static_cast<int>(kernel));
  constexpr Index kRows = 32;
  const Index blocks = (M + kRows - 1) / kRows;
  parallel_for(blocks * s.panels(), [&](Index task) {
    const Index panel = task % s.panels(), first = task / s.panels() * kRows;
    for (Index t = first; t < std::min(M, first + kRows); ++t)
      portable_panel(out.data() + t * s.N + panel * kPanel, x, w,
                     bias.empty() ? nullptr : bias.data() + panel * kPanel, t, panel);
  });
}

void integer_linear(std::span<float> out, const ActivationCodes& x, const PackedWeights& w,
                    std::span<const float> bias, std::int64_t M) {
  integer_linear(out, x, w, bias, M, IntegerKernel::portable);
}

}  // namespace notch::quant
