// Backward of the ops that round activations: exact derivatives of the function with frozen
// rounding (frozen_rounding.h says why), for every input of both ops, learned ranges and offsets
// included.
//
// With v = x/s + z, q = clip(v) and z = qmin - offset/s + r_z, where r_z and r = rint(q) - q are
// taken as constants:  x̂ = s (q + r - z),  y = x̂ wᵀ + b.

#include "quant/ops/input_ops.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "tests/catch.h"
#include "tests/gradients/check_close.h"

namespace notch::quant::input_ops_test {

using Values = std::vector<double>;

constexpr std::int64_t kM = 5, kK = 6, kN = 3;

/// One op in one setting; `.op` is what the completeness test looks for.
struct Row {
  std::string op{};
  ActivationSpec spec{};
  bool learned = false;
  Ste ste = Ste::clipped;
};

std::vector<Row> rows() {
  std::vector<Row> all;
  for (const bool symmetric : {true, false}) {
    for (const int bits : {8, 3}) {
      const ActivationSpec dynamic{.bits = bits, .symmetric = symmetric};
      ActivationSpec fixed = dynamic;
      fixed.range = ActivationRange::fixed;
      for (const Ste ste : {Ste::clipped, Ste::plain}) {
        all.push_back({.op = "quantize_input", .spec = dynamic, .ste = ste});
        all.push_back({.op = "quantized_linear", .spec = dynamic, .ste = ste});
        for (const bool learned : {false, true}) {
          all.push_back({.op = "quantize_input", .spec = fixed, .learned = learned, .ste = ste});
          all.push_back({.op = "quantized_linear", .spec = fixed, .learned = learned, .ste = ste});
        }
      }
    }
  }
  return all;
}

/// Everything that can be moved.
struct Point {
  Values x{}, w{}, b{}, dout{};
  double scale = 0, offset = 0;
};

struct Frozen {
  const Row& row;
  Grid grid{};
  Values residuals{}, scales{}, zeros{};  // r per element; dynamic: s and z per token
  double zero_residual = 0;
  bool free_offset = false;

  double zero(const Point& p) const {
    return free_offset ? grid.qmin - p.offset / p.scale + zero_residual : zeros[0];
  }
  double clipped(double v) const { return std::clamp(v, double(grid.qmin), double(grid.qmax)); }

  /// x̂ and, with `freeze`, the residuals of this point.
  Values rounded(const Point& p, Values* freeze = nullptr) const {
    const bool dynamic = row.spec.range == ActivationRange::dynamic;
    Values out(p.x.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t t = i / std::size_t(kK);
      const double s = dynamic ? scales[t] : p.scale, z = dynamic ? zeros[t] : zero(p);
      const double v = p.x[i] / s + z;
      // A dynamic range clips nothing; plain has the derivative of the unclipped function.
      const bool clips = !dynamic && (row.ste == Ste::clipped);
      const double q = clips ? clipped(v) : v;
      const double code = std::nearbyint(clipped(v));
      if (freeze) (*freeze)[i] = code - q;
      out[i] = s * (q + (freeze ? code - q : residuals[i]) - z);
    }
    return out;
  }

  void freeze(const Point& p) {
    const Spec unit = unit_spec(row.spec);
    grid = grid_of(unit);
    if (row.spec.range == ActivationRange::dynamic) {
      for (std::int64_t t = 0; t < kM; ++t) {
        const auto token = std::span(p.x).subspan(std::size_t(t * kK), std::size_t(kK));
        const UnitScale at = scale_range(min_max(token), unit, 1);
        scales.push_back(at.scale);
        zeros.push_back(at.zero_point);
      }
    } else {
      const double z = row.spec.symmetric ? 0 : grid.qmin - p.offset / p.scale;
      zeros = {std::nearbyint(clipped(z))};
      free_offset = !row.spec.symmetric && row.learned;
      zero_residual = zeros[0] - z;
    }
    residuals.resize(p.x.size());
    rounded(p, &residuals);
  }

  double loss(const Point& p) const {
    const Values x = rounded(p);
    double sum = 0;
    if (row.op == "quantize_input") {
      for (std::size_t i = 0; i < x.size(); ++i) sum += p.dout[i] * x[i];
      return sum;
    }
    for (std::int64_t t = 0; t < kM; ++t) {
      for (std::int64_t o = 0; o < kN; ++o) {
        double y = p.b[std::size_t(o)];
        for (std::int64_t k = 0; k < kK; ++k) {
          y += x[std::size_t(t * kK + k)] * p.w[std::size_t(o * kK + k)];
        }
        sum += p.dout[std::size_t(t * kN + o)] * y;
      }
    }
    return sum;
  }
};

double slope(const Frozen& f, Point& p, double& at) {
  const double start = at, step = 1e-6;
  at = start + step;
  const double above = f.loss(p);
  at = start - step;
  const double below = f.loss(p);
  at = start;
  return (above - below) / (2 * step);
}

Values slopes(const Frozen& f, Point& p, Values& at) {
  Values out;
  for (double& v : at) out.push_back(slope(f, p, v));
  return out;
}

Values normals(std::size_t n, std::uint64_t seed) {
  Rng rng(seed);
  Values v(n);
  for (double& x : v) x = rng.normal();
  return v;
}

/// Ranges of about the spread of x, so that many values lie outside, off ties and ends.
Point point_of(const Row& row) {
  Point p{.x = normals(kM * kK, 1), .w = normals(kN * kK, 2), .b = normals(kN, 3)};
  p.dout = normals(row.op == "quantize_input" ? kM * kK : kM * kN, 4);
  const Grid grid = grid_of(unit_spec(row.spec));
  p.offset = -0.8;
  p.scale = row.spec.symmetric ? 0.9 / grid.qmax : 1.7 / (grid.qmax - grid.qmin);
  if (row.spec.range == ActivationRange::dynamic) return p;
  const double z = row.spec.symmetric ? 0 : std::nearbyint(grid.qmin - p.offset / p.scale);
  for (double& x : p.x) {
    const double v = x / p.scale + z, tie = std::floor(v) + 0.5;
    const double end = std::abs(v - grid.qmin) < std::abs(v - grid.qmax) ? grid.qmin : grid.qmax;
    if (std::abs(v - tie) < 1e-2) x = p.scale * (tie + 0.1 - z);
    if (std::abs(v - end) < 1e-2) x = p.scale * (end + 0.1 - z);
  }
  return p;
}

struct Received {
  Values out, dx, dw, db;
  double dlog = 0, doffset = 0;
};

Received run(const Row& row, Point& p, bool all_wanted = true) {
  Graph g;
  g.begin(Graph::Mode::training);
  const auto leaf = [&](double* data, Shape shape, bool wanted) {
    return wanted ? g.input({data, shape}) : g.constant({data, shape});
  };
  const Var x = leaf(p.x.data(), {kM, kK}, all_wanted);
  const Var w = leaf(p.w.data(), {kN, kK}, true), b = leaf(p.b.data(), {kN}, all_wanted);
  double log_scale = 0;  // of the range that the input begins with
  const Var l = leaf(&log_scale, {1}, true), o = leaf(&p.offset, {1}, true);
  const Grid grid = grid_of(unit_spec(row.spec));
  StepInput how{.input = {.spec = row.spec, .at = {.scale = p.scale}}, .ste = row.ste};
  if (!row.spec.symmetric) {
    how.input.at.zero_point = int(std::nearbyint(grid.qmin - p.offset / p.scale));
  }
  if (row.learned) how.log_scale = l;
  if (row.learned && !row.spec.symmetric) how.offset = o;
  const Var y =
      row.op == "quantize_input" ? quantize_input(x, how) : quantized_linear(x, w, b, how, nullptr);
  REQUIRE(g.nodes()[y.id].op->name == row.op);
  g.keep(y);
  if (row.learned || all_wanted || row.op != "quantize_input") g.backward(y, p.dout);
  const auto copy = [&](Var v) {
    const auto grad = g.grad(v);
    return Values(grad.begin(), grad.end());
  };
  const auto first = [&](Var v) { return g.grad(v).empty() ? 0.0 : g.grad(v)[0]; };
  return {Values(y.value().flat().begin(), y.value().flat().end()),
          copy(x),
          copy(w),
          copy(b),
          first(l),
          first(o)};
}

void check_close(const Values& received, const Values& expected, std::string_view what) {
  test::check_close(received, expected, what, 1e-7);
}

std::string describe(const Row& row) {
  return str(row.op, ", ", name_of(row.spec), row.learned ? ", learned" : ", frozen",
             row.ste == Ste::plain ? ", plain" : ", clipped");
}

TEST_CASE("gradients of rounded inputs are those of frozen rounding") {
  for (const Row& row : rows()) {
    INFO(describe(row));
    Point p = point_of(row);
    Frozen f{.row = row};
    f.freeze(p);
    const Received received = run(row, p);
    if (row.op == "quantize_input") check_close(received.out, f.rounded(p), "value");
    check_close(received.dx, slopes(f, p, p.x), "dx");
    if (row.op == "quantized_linear") {
      check_close(received.dw, slopes(f, p, p.w), "dw");
      check_close(received.db, slopes(f, p, p.b), "db");
    }
    if (!row.learned) continue;
    // The range is learned by the clipped form, whatever happens to dx; undo log s and the paper's
    // gradient scale.
    Row clipped = row;
    clipped.ste = Ste::clipped;
    Frozen range{.row = clipped};
    range.freeze(p);
    const double codes = row.spec.symmetric ? f.grid.qmax : f.grid.qmax - f.grid.qmin;
    const double factor = 1 / std::sqrt(double(kK) * codes);
    CHECK(received.dlog == Approx(factor * p.scale * slope(range, p, p.scale)).epsilon(1e-5));
    CHECK(std::abs(received.dlog) > 1e-4);
    if (row.spec.symmetric) continue;
    CHECK(received.doffset == Approx(factor * slope(range, p, p.offset)).epsilon(1e-5));
    CHECK(std::abs(received.doffset) > 1e-4);
  }
}

TEST_CASE("PACT's range is moved by what it clips, its start stays") {
  // y = clip(x, low, α) and rounding noise that is a constant: α = s · qmax and low = -α, or, where
  // the range is asymmetric, α = low + s (qmax - qmin).
  for (Row row : rows()) {
    if (!row.learned || row.op != "quantize_input") continue;
    INFO(describe(row));
    Point p = point_of(row);
    const Grid grid = grid_of(unit_spec(row.spec));
    const bool symmetric = row.spec.symmetric;
    const double z = symmetric ? 0 : std::nearbyint(grid.qmin - p.offset / p.scale);
    const double high = (grid.qmax - z) * p.scale, low = (grid.qmin - z) * p.scale;
    const double width = symmetric ? grid.qmax : grid.qmax - grid.qmin;
    const auto loss = [&](double scale) {
      const double alpha = high + width * (scale - p.scale);
      double sum = 0;
      for (std::size_t i = 0; i < p.x.size(); ++i) {
        sum += p.dout[i] * std::clamp(p.x[i], symmetric ? -alpha : low, alpha);
      }
      return sum;
    };
    Graph g;
    g.begin(Graph::Mode::training);
    double log_scale = std::log(p.scale);
    const Var x = g.input({p.x.data(), {kM, kK}});
    const Var l = g.input({&log_scale, {1}}), o = g.input({&p.offset, {1}});
    StepInput how{.input = {.spec = row.spec}, .log_scale = l, .clipping_only = true};
    how.ste = row.ste;
    if (!symmetric) how.offset = o;
    g.backward(quantize_input(x, how), p.dout);
    const double step = 1e-6;
    const double slope = (loss(p.scale + step) - loss(p.scale - step)) / (2 * step);
    CHECK(std::abs(slope) > 1e-3);
    CHECK(g.grad(l)[0] == Approx(p.scale * slope).epsilon(1e-6));
    if (!symmetric) CHECK((g.grad(o).empty() || g.grad(o)[0] == 0));
    for (std::size_t i = 0; i < p.x.size(); ++i) {
      const bool passes = row.ste == Ste::plain || (p.x[i] > low && p.x[i] < high);
      CHECK(g.grad(x)[i] == (passes ? p.dout[i] : 0));
    }
  }
}

TEST_CASE("weights and ranges get gradients if the input's is unwanted") {
  for (const Row& row : rows()) {
    if (row.op == "quantize_input" && !row.learned) continue;
    INFO(describe(row));
    Point p = point_of(row);
    const Received all = run(row, p), some = run(row, p, false);
    CHECK(some.dx.empty());
    CHECK(some.db.empty());
    CHECK(some.dw == all.dw);
    CHECK(some.dlog == all.dlog);
    CHECK(some.doffset == all.doffset);
  }
}

TEST_CASE("two uses of one input add their gradients") {
  for (const Row& row : rows()) {
    if (row.op != "quantized_linear" || row.learned) continue;
    INFO(describe(row));
    Point p = point_of(row);
    const Received once = run(row, p);
    Graph g;
    g.begin(Graph::Mode::training);
    const Var x = g.input({p.x.data(), {kM, kK}}), w = g.input({p.w.data(), {kN, kK}});
    StepInput how{.input = {.spec = row.spec, .at = {.scale = p.scale}}, .ste = row.ste};
    if (!row.spec.symmetric) {
      const int qmin = grid_of(unit_spec(row.spec)).qmin;
      how.input.at.zero_point = int(std::nearbyint(qmin - p.offset / p.scale));
    }
    const Var a = quantized_linear(x, w, {}, how, nullptr);
    const Var b = quantized_linear(x, w, {}, how, nullptr);
    g.backward(add(a, b), p.dout);
    for (std::size_t i = 0; i < once.dx.size(); ++i) CHECK(g.grad(x)[i] == Approx(2 * once.dx[i]));
    for (std::size_t i = 0; i < once.dw.size(); ++i) CHECK(g.grad(w)[i] == Approx(2 * once.dw[i]));
  }
}

}  // namespace notch::quant::input_ops_test
