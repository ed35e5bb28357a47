#include "quant/ops/offset_round.h"

#include <algorithm>

#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

/// A unit while it is worked on: w/s + V of its weights, and their codes less the zero point.
struct Unit {
  std::int64_t first = 0, size = 0;
  real scale = 1, lo = 0, hi = 0;

  Unit(const OffsetCodes& c, std::span<const real> factors, const Grid& grid, std::int64_t u,
       std::int64_t weights)
      : first(u * weights), size(weights) {
    const auto at = static_cast<std::size_t>(u);
    scale = round_scale(c.scales[at] * factors[at], c.spec.scale);
    const int z = c.zero_points.empty() ? 0 : c.zero_points[at];
    lo = grid.lowest(z);
    hi = grid.highest(z);
  }
  real place(const OffsetCodes& c, std::span<const real> offsets, std::int64_t i) const {
    return c.w.data()[i] / scale + offsets.data()[i];
  }
  real rounded(real v) const { return round_clamped(v, lo, hi); }
};

template <class Body>
void for_units(const OffsetCodes& c, std::span<const real> factors, const Body& body) {
  const Grid grid = grid_of(c.spec);
  const std::int64_t units = std::ssize(c.scales), size = unit_size(c.spec, c.rows, c.cols);
  const std::int64_t step = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, size));
  parallel_for(quotient_up(units, step), [&](std::int64_t i) {
    for (std::int64_t u = i * step; u < std::min(units, (i + 1) * step); ++u)
      body(u, Unit(c, factors, grid, u, size));
  });
}

struct OffsetRound {
  static constexpr std::string_view name = "offset_round";
  OffsetCodes codes;

  Tensor forward(Forward& f) {
    const std::span<const real> offsets = f.in(0).flat(), factors = f.in(1).flat();
    check(grid_of(codes.spec).is_every_integer(), name, "codes of the ", name_of(codes.spec.grid),
          " grid are not every integer");
    check(offsets.size() == codes.w.size() && factors.size() == codes.scales.size(), name, "got ",
          offsets.size(), " offsets and ", factors.size(), " factors for ", codes.w.size(),
          " weights in ", codes.scales.size(), " units");
    const Tensor out = f.out({codes.rows, codes.cols});
    for_units(codes, factors, [&](std::int64_t, const Unit& u) {
      for (std::int64_t i = u.first; i < u.first + u.size; ++i)
        out.data[i] = u.rounded(u.place(codes, offsets, i)) * u.scale;
    });
    return out;
  }

  void backward(Backward& b) const {
    const std::span<const real> offsets = b.in(0).flat(), factors = b.in(1).flat();
    const real* const dout = b.dout().data();
    const std::span<real> doffsets = b.grad(0), dfactors = b.grad(1);
    for_units(codes, factors, [&](std::int64_t at, const Unit& u) {
      double sum = 0;
      for (std::int64_t i = u.first; i < u.first + u.size; ++i) {
        const real v = u.place(codes, offsets, i), q = u.rounded(v);
        const bool inside = v >= u.lo && v <= u.hi;
        if (inside && !doffsets.empty()) doffsets.data()[i] += u.scale * dout[i];
        const real slope = inside ? q - codes.w.data()[i] / u.scale : q;
        sum += static_cast<double>(slope * dout[i]);
      }
      if (!dfactors.empty()) {
        dfactors.data()[at] += static_cast<real>(
            sum * static_cast<double>(codes.scales[static_cast<std::size_t>(at)]));
      }
    });
  }
};

}  // namespace

Var offset_round(Var offsets, Var factors, const OffsetCodes& codes) {
  return offsets.tape().record(OffsetRound{codes}, {offsets, factors});
}

void offset_codes(std::span<std::int8_t> out, std::span<const real> offsets,
                  std::span<const real> factors, const OffsetCodes& codes) {
  for_units(codes, factors, [&](std::int64_t at, const Unit& u) {
    const int z = codes.zero_points.empty() ? 0 : codes.zero_points[static_cast<std::size_t>(at)];
    for (std::int64_t i = u.first; i < u.first + u.size; ++i)
      out[static_cast<std::size_t>(i)] =
          static_cast<std::int8_t>(static_cast<int>(u.rounded(u.place(codes, offsets, i))) + z);
  });
}

}  // namespace notch::quant
