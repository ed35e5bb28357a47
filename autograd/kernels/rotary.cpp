#include "autograd/kernels/rotary.h"

#include <cmath>
#include <vector>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

NOTCH_VECTOR(void, turn_row, real* out, const real* x, const real* angles, Index H, Index HS) {
  const Index half = HS / 2;
  const real *cosines = angles, *sines = angles + half;
  for (Index h = 0; h < H; ++h) {
    const real *a = x + h * HS, *b = a + half;
    real *y = out + h * HS, *z = y + half;
    for (Index i = 0; i < half; ++i) {
      y[i] = a[i] * cosines[i] - b[i] * sines[i];
      z[i] = b[i] * cosines[i] + a[i] * sines[i];
    }
  }
}

NOTCH_VECTOR(void, add_turned_back, real* dx, const real* dout, const real* angles, Index H,
             Index HS) {
  const Index half = HS / 2;
  const real *cosines = angles, *sines = angles + half;
  for (Index h = 0; h < H; ++h) {
    const real *a = dout + h * HS, *b = a + half;
    real *y = dx + h * HS, *z = y + half;
    for (Index i = 0; i < half; ++i) {
      y[i] += a[i] * cosines[i] + b[i] * sines[i];
      z[i] += b[i] * cosines[i] - a[i] * sines[i];
    }
  }
}

/// body(row, angles) for the rows of each tile; angles are those of the row's position.
template <class Body>
void for_positions(std::span<const real> table, const RotaryShape& s, const Body& body) {
  for_rows(s.B * s.T, s.H * s.HS, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) body(r, table.data() + r % s.T * s.HS);
  });
}

void require_pairs(Index HS) {
  check(HS % 2 == 0, "rotary", "heads of ", HS, " channels have no pairs; expected an even number");
}

void require_rotary(std::span<const real> out, std::span<const real> x, std::span<const real> table,
                    const RotaryShape& s) {
  require_extent("rotary", extent("rotary", {s.B, s.T, s.H, s.HS}), out, x);
  require_extent("rotary", extent("rotary", {s.T, s.HS}), table);
  require_pairs(s.HS);
}

}  // namespace

void rotary_table(std::span<real> table, std::int64_t positions, std::int64_t HS, double theta,
                  std::span<const double> divisors) {
  require_extent("rotary", extent("rotary", {positions, HS}), table);
  require_pairs(HS);
  check(theta > 0 && std::isfinite(theta), "rotary", "theta = ", theta, " is not above 0 and finite");
  const Index half = HS / 2;
  check(divisors.empty() || std::ssize(divisors) == half, "rotary", divisors.size(),
        " divisors of ", half, " angles");
  std::vector<double> speeds;
  for (Index i = 0; i < half; ++i) {
    const double divisor = divisors.empty() ? 1 : divisors[static_cast<std::size_t>(i)];
    check(divisor > 0 && std::isfinite(divisor), "rotary", "divisor ", divisor,
          " is not above 0 and finite");
    speeds.push_back(elementary::pow(theta, -2 * static_cast<double>(i) / static_cast<double>(HS)) /
                     divisor);
  }
  for_rows(positions, 64 * HS, [&](Index first, Index last) {
    for (Index t = first; t < last; ++t) {
      real* row = table.data() + t * HS;
      for (Index i = 0; i < half; ++i) {
        const double angle = static_cast<double>(t) * speeds[static_cast<std::size_t>(i)];
        row[i] = static_cast<real>(elementary::cos(angle));
        row[i + half] = static_cast<real>(elementary::sin(angle));
      }
    }
  });
}

void rotary_forward(std::span<real> out, std::span<const real> x, std::span<const real> table,
                    const RotaryShape& s) {
  require_rotary(out, x, table, s);
  const Index C = s.H * s.HS;
  for_positions(table, s, [&](Index r, const real* angles) {
    turn_row(out.data() + r * C, x.data() + r * C, angles, s.H, s.HS);
  });
}

void rotary_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> table,
                     const RotaryShape& s) {
  require_rotary(dx, dout, table, s);
  const Index C = s.H * s.HS;
  for_positions(table, s, [&](Index r, const real* angles) {
    add_turned_back(dx.data() + r * C, dout.data() + r * C, angles, s.H, s.HS);
  });
}

}  // namespace notch::kernels
