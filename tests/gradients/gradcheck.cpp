#include "tests/gradients/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace notch::test {
namespace {

static_assert(sizeof(real) == sizeof(double), "gradient checks need the double build");

using Values = std::vector<double>;

std::size_t count(const Shape& shape) { return static_cast<std::size_t>(shape.size()); }

/// Weights of the outputs: never small, so that no output's gradient hides.
Values cotangent(std::size_t n, Rng& rng) {
  Values v(n);
  for (double& x : v) x = (0.5 + rng.uniform()) * (rng.uniform() < 0.5 ? -1 : 1);
  return v;
}

/// d(Σ weight · output)/dx by moving x, which `run` reads.
double central_difference(double& x, const Values& weight, const std::function<Values()>& run) {
  const double at = x, step = kStep * std::max(1.0, std::abs(at));
  x = at + step;
  const double up = x;
  const Values above = run();
  x = at - step;
  const double down = x;
  const Values below = run();
  x = at;
  double sum = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    sum += weight[i] * ((above[i] - below[i]) / (up - down));
  }
  return sum;
}

bool agree(double expected, double received) {
  const double size = std::max({std::abs(expected), std::abs(received), kFloor});
  return std::abs(expected - received) <= kTolerance * size;  // false for NaN
}

std::optional<Mismatch> compare(const Mismatch& where, const Values& expected,
                                const Values& received) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (agree(expected[i], received[i])) continue;
    Mismatch m = where;
    m.index = static_cast<std::int64_t>(i);
    m.expected = expected[i];
    m.received = received[i];
    return m;
  }
  return {};
}

/// A row's inputs, and its recipe run on them.
class Bench {
 public:
  Bench(const OpRow& row, std::uint64_t seed) : row_(row), rng_(seed) {
    for (const Input& input : row.inputs) values_.push_back(draw(input, rng_.next()));
    weight_ = cotangent(run().size(), rng_);
    bool recorded = false;
    for (const Node& n : graph_.nodes()) recorded |= n.op && n.op->name == row.op;
    check(recorded, row.op, "the row ", row.what, " records no op of this name");
  }

  std::vector<Values> numeric() {
    std::vector<Values> all;
    for (Values& input : values_) {
      Values& d = all.emplace_back();
      for (double& x : input) d.push_back(central_difference(x, weight_, [&] { return run(); }));
    }
    return all;
  }

  /// The engine's gradients; only input `only` wants one unless it is negative.
  std::vector<Values> backward(int only) {
    const Var out = record(only);
    graph_.backward(out, weight_);
    std::vector<Values> all;
    for (const Var& leaf : leaves_) all.push_back(gradient(leaf));
    return all;
  }

  /// Gradients when later nodes have already added `before` to each of them.
  std::vector<Values> backward_onto_something() {
    const Var out = record(-1);
    Var total = sum(mul(out, graph_.constant({weight_.data(), out.shape()})));
    std::vector<Values> before;
    before.reserve(leaves_.size());
    for (const Var& leaf : leaves_) {
      Values& b = before.emplace_back(cotangent(count(leaf.shape()), rng_));
      const Var constant = graph_.constant({b.data(), leaf.shape()});
      total = add(total, sum(mul(leaf, constant)));
    }
    graph_.backward(total);
    std::vector<Values> all;
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      Values& d = all.emplace_back(gradient(leaves_[i]));
      for (std::size_t j = 0; j < d.size(); ++j) d[j] -= before[i][j];
    }
    return all;
  }

 private:
  Var record(int only) {
    graph_.begin(Graph::Mode::training, /*key=*/7);
    leaves_.clear();
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const Tensor t{values_[i].data(), row_.inputs[i].shape};
      const bool wanted = only < 0 || i == static_cast<std::size_t>(only);
      leaves_.push_back(wanted ? graph_.input(t) : graph_.constant(t));
    }
    return row_.recipe(graph_, leaves_);
  }
  Values run() {
    const Tensor out = record(-1).value();
    return {out.flat().begin(), out.flat().end()};
  }
  Values gradient(Var leaf) const {
    const auto d = graph_.grad(leaf);
    if (d.empty()) return Values(graph_.nodes()[leaf.id].value.flat().size());
    return {d.begin(), d.end()};
  }

  const OpRow& row_;
  Rng rng_;
  Graph graph_;
  std::vector<Values> values_;
  std::vector<Var> leaves_;
  Values weight_;
};

}  // namespace

std::vector<real> draw(const Input& input, std::uint64_t seed) {
  Rng rng(seed);
  Values v(count(input.shape));
  if (input.fill == Fill::distinct) {
    std::iota(v.begin(), v.end(), -static_cast<double>(v.size() / 2));
    for (std::size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[rng.below(i)]);
    for (double& x : v) x *= 0.1;
    return v;
  }
  for (double& x : v) {
    const double u = rng.uniform();
    const double sign = rng.uniform() < 0.5 ? -1 : 1;
    x = input.fill == Fill::plain      ? 2 * u - 1
        : input.fill == Fill::positive ? 0.5 + u
                                       : sign * (0.1 + 0.9 * u);
  }
  return v;
}

std::string describe(const Mismatch& m) {
  std::ostringstream out;
  out.precision(12);
  out << m.op << " (" << m.pass << "): gradient of " << m.input << "[" << m.index << "] is "
      << m.received << ", differences give " << m.expected;
  return out.str();
}

std::optional<Mismatch> check_gradients(const OpRow& row, std::uint64_t seed) {
  Bench bench(row, seed);
  const std::vector<Values> expected = bench.numeric();
  const auto find = [&](const std::string& pass, const std::vector<Values>& received,
                        int only) -> std::optional<Mismatch> {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (only >= 0 && i != static_cast<std::size_t>(only)) continue;
      const std::string input = str("input ", i, " ", row.inputs[i].shape);
      const Mismatch where{
          .op = row.op + (row.what.empty() ? "" : " " + row.what), .pass = pass, .input = input};
      if (auto m = compare(where, expected[i], received[i])) return m;
    }
    return {};
  };
  if (auto m = find("all wanted", bench.backward(-1), -1)) return m;
  if (auto m = find("adding", bench.backward_onto_something(), -1)) return m;
  const int n = static_cast<int>(row.inputs.size());
  for (int only = 0; n > 1 && only < n; ++only) {
    if (auto m = find("alone", bench.backward(only), only)) return m;
  }
  return {};
}

std::optional<Mismatch> check_parameter_gradients(std::string_view name, ParamStore& params,
                                                  const std::function<Var(Graph&)>& loss,
                                                  std::uint64_t key) {
  constexpr double kBefore = 0.25;  // what every gradient holds before backward adds to it
  Graph graph;
  const auto run = [&] {
    graph.begin(Graph::Mode::training, key);
    return loss(graph);
  };
  for (Param& p : params.params()) std::ranges::fill(p.grad.flat(), kBefore);
  graph.backward(run());
  for (Param& p : params.params()) {
    Values expected, received;
    for (double& x : p.value.flat()) {
      expected.push_back(central_difference(x, {1.0}, [&] { return Values{run().item()}; }));
    }
    for (const double d : p.grad.flat()) received.push_back(d - kBefore);
    const Mismatch where{.op = std::string(name), .pass = "parameters", .input = p.name};
    if (auto m = compare(where, expected, received)) return m;
  }
  return {};
}

void require_gradients(const OpRow& row) {
  const auto m = check_gradients(row);
  INFO((m ? describe(*m) : row.op));
  CHECK_FALSE(m.has_value());
}

}  // namespace notch::test
