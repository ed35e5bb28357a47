#include "quant/ops/soft_codes.h"

#include <algorithm>

#include "autograd/base/elementary.h"
#include "autograd/base/extents.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

struct SoftCodesOp {
  static constexpr std::string_view name = "soft_codes";
  SoftCodes codes;
  real temperature;
  std::span<real> shares{}, scales{};  // p, exp(c) s

  Tensor forward(Forward& f) {
    const std::int64_t n = extent(name, {codes.rows, codes.cols});
    check(codes.unit > 0 && n == extent(name, {std::ssize(codes.scales), codes.unit}) &&
              temperature > 0,
          name, codes.scales.size(), " scales of units of ", codes.unit, " for [", codes.rows, ", ",
          codes.cols, "] at a temperature of ", temperature);
    check(f.in(0).size() == kNeighbours * n && std::ssize(codes.levels) == kNeighbours * n, name,
          "got logits ", f.in(0).shape, " and ", codes.levels.size(), " levels for [", codes.rows,
          ", ", codes.cols, "]");
    check(f.in(1).size() == std::ssize(codes.scales), name, "got ", f.in(1).size(),
          " logarithms of ", codes.scales.size(), " scales");
    const Tensor out = f.out({codes.rows, codes.cols});
    shares = f.keep(kNeighbours * n);
    const real* const logits = f.in(0).data;
    scales = f.keep(std::ssize(codes.scales));
    for (std::size_t u = 0; u < scales.size(); ++u)
      scales[u] = codes.scales[u] * elementary::exp(f.in(1).data[u]);
    parallel_for(codes.rows, [&](std::int64_t row) {
      for (std::int64_t i = row * codes.cols; i < (row + 1) * codes.cols; ++i) {
        const real* const l = logits + kNeighbours * i;
        real* const p = shares.data() + kNeighbours * i;
        const real top = std::max({l[0], l[1], l[2]});
        real sum = 0, level = 0;
        for (std::int64_t k = 0; k < kNeighbours; ++k) {
          p[k] = elementary::exp((l[k] - top) / temperature);
          sum += p[k];
        }
        for (std::int64_t k = 0; k < kNeighbours; ++k) {
          p[k] /= sum;
          level += p[k] * codes.levels.data()[kNeighbours * i + k];
        }
        out.data[i] = level * scale(i);
      }
    });
    return out;
  }

  void backward(Backward& b) const {
    const std::span<const real> dout = b.dout();
    const std::span<real> dlogits = b.grad(0), dlogs = b.grad(1);
    const auto mean = [&](std::int64_t i) {
      real level = 0;
      for (std::int64_t k = kNeighbours * i; k < kNeighbours * (i + 1); ++k)
        level += shares.data()[k] * codes.levels.data()[k];
      return level;
    };
    if (!dlogits.empty()) {
      parallel_for(codes.rows, [&](std::int64_t row) {
        for (std::int64_t i = row * codes.cols; i < (row + 1) * codes.cols; ++i) {
          const real m = mean(i), slope = dout.data()[i] * scale(i) / temperature;
          for (std::int64_t k = kNeighbours * i; k < kNeighbours * (i + 1); ++k)
            dlogits.data()[k] += slope * shares.data()[k] * (codes.levels.data()[k] - m);
        }
      });
    }
    if (dlogs.empty()) return;
    parallel_for(std::ssize(codes.scales), [&](std::int64_t u) {
      double sum = 0;
      for (std::int64_t i = u * codes.unit; i < (u + 1) * codes.unit; ++i)
        sum += static_cast<double>(dout.data()[i] * mean(i) * scale(i));
      dlogs.data()[u] += static_cast<real>(sum);
    });
  }

  real scale(std::int64_t i) const { return scales.data()[i / codes.unit]; }
};

}  // namespace

Var soft_codes(Var logits, Var log_scales, const SoftCodes& codes, double temperature) {
  return logits.tape().record(SoftCodesOp{codes, static_cast<real>(temperature)},
                              {logits, log_scales});
}

}  // namespace notch::quant
