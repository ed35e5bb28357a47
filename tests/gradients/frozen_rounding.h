// The function of which a straight-through gradient is the exact derivative.
//
// Rounding has no useful derivative. A straight-through estimator (Bengio, Léonard and Courville
// 2013, arXiv:1308.3432) differentiates another function: the rounding residual at the current
// point, r = round(v) - v, is taken as a constant. With v = w/s + z and q = clip(v, qmin - reach,
// qmax + reach), rounding to the codes qmin, qmin + step, …, qmax, or to levels that are listed:
//   clipped   ŵ = s · (q + r - z)        r = round(q) - q        dŵ/dw = 0 where v is clipped
//   plain     ŵ = s · (v + r - z)        r = round(q) - v        dŵ/dw = 1 everywhere
// Both equal the fake-quantized weight at the point. That turns "is this backward right?" into an
// ordinary check against differences, for w and for s (LSQ: Esser et al. 2020, arXiv:1902.08153,
// equation 3, is dŵ/ds of the clipped form).
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace notch::test {

enum class StraightThrough { clipped, plain };

struct FrozenRounding {
  int qmin = 0, qmax = 0;
  StraightThrough form = StraightThrough::clipped;
  /// Weights that share a scale are `unit` neighbours; `zeros` has one zero point per scale, or is
  /// empty.
  std::size_t unit = 1;
  std::vector<double> zeros{};
  int step = 1;
  double reach = 0;
  std::vector<double> levels{};  ///< ascending; empty: the codes

  /// r at (w, s), one per weight. Ties (between whole codes) round to even,
  /// the rule of the quantizer.
  std::vector<double> residuals(std::span<const double> w, std::span<const double> s) const {
    std::vector<double> r(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double v = code(w, s, i), q = clip(v);
      r[i] = rounded(q) - (form == StraightThrough::clipped ? q : v);
    }
    return r;
  }

  /// ŵ at (w, s) with the residuals `r` of another point.
  std::vector<double> value(std::span<const double> w, std::span<const double> s,
                            std::span<const double> r) const {
    std::vector<double> out(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double v = code(w, s, i);
      out[i] = s[i / unit] * ((form == StraightThrough::clipped ? clip(v) : v) + r[i] - zero(i));
    }
    return out;
  }

  struct Gradients {
    std::vector<double> dw, ds;
  };
  /// d(Σ dout · ŵ)/dw and /ds by central differences, residuals held at (w, s).
  Gradients differentiate(std::vector<double> w, std::vector<double> s,
                          std::span<const double> dout) const {
    const std::vector<double> r = residuals(w, s);
    const auto slope = [&](double& x) {
      const double at = x, delta = 1e-6 * std::max(1e-3, std::abs(at));
      const double up = x = at + delta;
      const auto above = value(w, s, r);
      const double down = x = at - delta;
      const auto below = value(w, s, r);
      x = at;
      double sum = 0;
      for (std::size_t i = 0; i < dout.size(); ++i)
        sum += dout[i] * ((above[i] - below[i]) / (up - down));
      return sum;
    };
    Gradients g;
    for (double& x : w) g.dw.push_back(slope(x));
    for (double& x : s) g.ds.push_back(slope(x));
    return g;
  }

  /// Moves weights whose code is within `margin` of a rounding tie or of an end of the grid: there
  /// the fake-quantized weight has no derivative, or a jump. Returns how many were moved.
  int nudge(std::span<double> w, std::span<const double> s, double margin = 0.02) const {
    int moved = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double v = code(w, s, i);
      const double tie = nearest_tie(v);
      const double edge =
          std::abs(v - first()) < std::abs(v - last()) ? first() - reach : last() + reach;
      const double from = std::abs(v - tie) < margin    ? tie
                          : std::abs(v - edge) < margin ? edge
                                                        : std::nan("");
      if (std::isnan(from)) continue;
      w[i] = s[i / unit] * (from + (v < from ? -2 : 2) * margin - zero(i));
      ++moved;
    }
    return moved;
  }

 private:
  double zero(std::size_t i) const { return zeros.empty() ? 0 : zeros[i / unit]; }
  double code(std::span<const double> w, std::span<const double> s, std::size_t i) const {
    return w[i] / s[i / unit] + zero(i);
  }
  double first() const { return levels.empty() ? qmin : levels.front(); }
  double last() const { return levels.empty() ? qmax : levels.back(); }
  double clip(double v) const { return std::clamp(v, first() - reach, last() + reach); }
  double nearest_tie(double v) const {
    if (levels.empty()) return qmin + step * (std::floor((v - qmin) / step) + 0.5);
    double nearest = (levels[0] + levels[1]) / 2;
    for (std::size_t i = 1; i + 1 < levels.size(); ++i) {
      const double tie = (levels[i] + levels[i + 1]) / 2;
      if (std::abs(v - tie) < std::abs(v - nearest)) nearest = tie;
    }
    return nearest;
  }
  double rounded(double v) const {
    if (!levels.empty()) {
      const auto distance = [v](double level) { return std::abs(level - v); };
      return *std::ranges::min_element(levels, {}, distance);
    }
    const double q = qmin + step * std::nearbyint((v - qmin) / step);
    return std::clamp(q, double(qmin), double(qmax));
  }
};

}  // namespace notch::test
