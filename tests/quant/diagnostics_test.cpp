// Diagnostics of training through rounding, on one matrix whose figures are known by hand.
#include "quant/train/diagnostics.h"

#include <algorithm>
#include <cmath>

#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace notch::quant::diagnostics_test {

using test::make_gpt;
using test::same_bits;
using test::values_of;

constexpr real kStep = 0.25;

/// h.0.mlp.c_fc, [48, 12], on 4-bit codes from -7 to 7 in steps of 0.25; every weight at `codes`.
struct Watched {
  std::unique_ptr<nn::Gpt> model = make_gpt();
  nn::Model& view = *model;
  std::unique_ptr<FakeQuantizer> fake{};
  std::unique_ptr<Diagnostics> diagnostics{};
  Param* weight = nullptr;

  explicit Watched(double codes = 1,
                   const Spec& spec = {.bits = 4, .granularity = Granularity::tensor}) {
    const Plan plan{.rules = {{"*", {}}, {"h.0.mlp.c_fc", spec}}};
    const std::vector<Target> targets = resolve(plan, view);
    weight = targets.at(0).weight;
    model->params().allocate_gradients();
    fake = std::make_unique<FakeQuantizer>(view, Training::lsq, targets, QatOptions{});
    // The first step is of random weights; this makes it kStep.
    fake->params().params().front().value.data[0] = std::log(kStep / fake->scales(0).scales[0]);
    put(codes);
    diagnostics = std::make_unique<Diagnostics>(*fake);
  }
  std::span<real> w() { return weight->value.flat(); }
  /// A weight, or all of them, at a place among the codes.
  void put(std::size_t i, double code) { w()[i] = static_cast<real>(code) * kStep; }
  void put(double code) { std::ranges::fill(w(), static_cast<real>(code) * kStep); }
  /// Backward of the loss Σ f(ŵ) through the weight as the model sees it, with slope(ŵ) = f'(ŵ).
  void backward(const std::function<real(real)>& slope) {
    Graph g;
    g.begin(Graph::Mode::training);
    const Var seen = model->hooks().weight(g, *weight);
    std::vector<real> dout;
    for (const real v : seen.value().flat()) dout.push_back(slope(v));
    g.backward(seen, dout);
  }

  LayerDiagnostics report(const std::function<void()>& gradients = [] {}) {
    const std::vector<LayerDiagnostics> all = diagnostics->report(gradients, 1);
    REQUIRE(all.size() == 1);
    CHECK(all[0].name == "h.0.mlp.c_fc");
    return all[0];
  }
};

constexpr double kN = 48 * 12;

TEST_CASE("Noise, clipping and steps of weights that are placed by hand") {
  Watched m(1.25);  // all at 1 + 1/4: half-way between code and boundary
  m.put(0, 9);      // clipped to 7
  m.put(1, 2.49);   // next to a boundary
  m.put(2, 3);      // on a code
  const LayerDiagnostics d = m.report();
  const double rest = kN - 3;
  const double power = rest * 1.5625 + 81 + 2.49 * 2.49 + 9,
               error = rest * 0.0625 + 4 + 0.49 * 0.49;
  CHECK(d.sqnr_db == Approx(10 * std::log10(power / error)).epsilon(1e-5));
  CHECK(d.clipped == Approx(1 / kN));
  CHECK(d.step == Approx(kStep).epsilon(1e-6));
  CHECK(d.boundary[0] == Approx(1 / (kN - 1)));
  CHECK(d.boundary[4] == Approx(rest / (kN - 1)));
  CHECK(d.boundary[7] == Approx(1 / (kN - 1)));
  CHECK(d.changed == 0);
  CHECK(d.reversals[0] == 1);
}

TEST_CASE("Codes that leave and come back are changes, turns, or neither") {
  Watched m(1);
  const auto visit = [&](std::size_t i, std::vector<double> codes) {
    std::vector<double> all(9, codes.back());
    std::ranges::copy(codes, all.begin());
    return std::pair{i, all};
  };
  const std::vector<std::pair<std::size_t, std::vector<double>>> paths{
      visit(0, {1.4, 0.6, 1.2}),              // never another code
      visit(1, {2, 3, 4, 5}),                 // away, no turn
      visit(2, {2, 1}),                       // away and back: one turn
      visit(3, {2, 1, 2}),                    // two turns
      visit(4, {2, 1, 2, 1, 0, 1, 2, 1, 2}),  // 2 1 2 1 0 | 1 2 | 1 | 2: three, four, five, six
      visit(5, {0, 2, 0, 2, 0, 2, 0, 2, 0}),  // eight
  };
  for (std::size_t step = 0; step < 9; ++step) {
    for (const auto& [i, codes] : paths) m.put(i, codes[step]);
    m.diagnostics->after_update({});
  }
  const LayerDiagnostics d = m.report();
  CHECK(d.changed == Approx(4 / kN));  // 1 to 5, 1 to 2 twice, 1 to 0
  CHECK(d.reversals[0] == Approx((kN - 4) / kN));
  CHECK(d.reversals[1] == Approx(1 / kN));
  CHECK(d.reversals[2] == Approx(1 / kN));
  CHECK(d.reversals[3] == Approx(1 / kN));
  CHECK(d.reversals[4] == Approx(1 / kN));

  SECTION("a report begins anew, but remembers the last direction") {
    CHECK(m.report().changed == 0);
    m.put(1, 4);  // it was going up
    m.put(6, 2);
    m.diagnostics->after_update({});
    const LayerDiagnostics later = m.report();
    CHECK(later.changed == Approx(2 / kN));
    CHECK(later.reversals[1] == Approx(1 / kN));
    CHECK(later.reversals[0] == Approx((kN - 1) / kN));
  }
  SECTION("what is saved is everything: another one goes on from it") {
    Watched other(1);
    for (std::size_t i = 0; i < m.w().size(); ++i) other.w()[i] = m.w()[i];
    std::ranges::copy(m.diagnostics->state()[0].values,
                      other.diagnostics->state()[0].values.begin());
    for (Watched* w : {&m, &other}) {
      w->put(4, 1);
      w->diagnostics->after_update({});
    }
    const LayerDiagnostics a = m.report(), b = other.report();
    CHECK(a.changed == b.changed);
    CHECK(a.reversals == b.reversals);
    CHECK(a.reversals[1] == Approx(1 / kN));
  }
}

TEST_CASE("A weight can turn more often than is counted") {
  Watched m(0);
  for (int step = 0; step < 300; ++step) {
    m.put(step % 2 == 0 ? -7 : 7);
    m.diagnostics->after_update({});
  }
  const auto state = m.diagnostics->state();
  for (const real v : state[0].values) {
    CHECK(v < 16777216);
    CHECK(v == std::trunc(v));
  }
  CHECK(m.report().reversals[4] == 1);
}

TEST_CASE("The cosine is between the gradient rounded and of expected loss") {
  // L = 1/2 Σ (ŵ - t)²: dL/dŵ = ŵ - t. All weights at 1.4: rounded to 1; expected under stochastic
  // rounding 1.4.
  Watched m(1.4);
  const std::vector<real> before = values_of(m.model->params());
  double target = 0;
  int calls = 0;
  std::vector<double> mean_code;
  const auto gradients = [&] {
    ++calls;
    double sum = 0;
    m.backward([&](real v) {
      sum += static_cast<double>(v / kStep);
      return v - static_cast<real>(target) * kStep;
    });
    mean_code.push_back(sum / kN);
  };
  SECTION("both point the same way far from the target") {
    target = -10;
    CHECK(m.report(gradients).ste_cosine > 0.99);
  }
  SECTION("with the target between them they point against one another") {
    target = 1.2;  // 1 - 1.2 and 1.4 - 1.2
    CHECK(m.report(gradients).ste_cosine < -0.7);
  }
  SECTION("at the minimum of the expected loss there is no direction to compare with") {
    target = 1.4;
    const double cosine = m.report(gradients).ste_cosine;
    CHECK((std::isnan(cosine) || std::abs(cosine) <= 1));
    CHECK(calls == 3);
  }
  if (target != 1.4) {
    REQUIRE(calls == 3);
    CHECK(mean_code[0] == Approx(1));
    // 576 draws: 1.4 with a standard error of √0.24 / 24 = 0.02.
    CHECK(std::abs(mean_code[1] - 1.4) < 0.1);
    CHECK(std::abs(mean_code[2] - 1.4) < 0.1);
    CHECK(mean_code[1] != mean_code[2]);
  }
  CHECK(same_bits(values_of(m.model->params()), before));
}

TEST_CASE("With a link below, gradients are compared at its output") {
  Watched m(1.4);
  const nn::Attachment doubled = m.model->hooks().weight_chain.attach(
      [](Graph& g, Param& p, const auto& next) { return scale(next(g, p), real{2}); });
  const std::vector<real> before = values_of(m.model->params());
  std::vector<double> mean_code;
  m.report([&] {
    double sum = 0;
    m.backward([&](real v) {
      sum += static_cast<double>(v / kStep);
      return v;
    });
    mean_code.push_back(sum / kN);
  });
  REQUIRE(mean_code.size() == 3);
  CHECK(mean_code[0] == Approx(3));  // 2 · 1.4 = 2.8, not the code of 1.4 and not twice that
  CHECK(std::abs(mean_code[1] - 2.8) < 0.1);
  CHECK(same_bits(values_of(m.model->params()), before));
}

TEST_CASE("Odd codes: a step of two, boundaries at even numbers") {
  Watched m(1.5, {.bits = 2, .grid = GridKind::seq, .granularity = Granularity::tensor});
  m.put(0, 1.95);  // next to the boundary at 2
  m.put(1, 3.5);   // beyond the last code, not clipped
  m.put(2, 4.5);   // clipped
  const LayerDiagnostics d = m.report();
  CHECK(d.clipped == Approx(1 / kN));
  CHECK(d.boundary[0] == Approx(1 / (kN - 2)));
  CHECK(d.boundary[4] == Approx((kN - 3) / (kN - 2)));
  std::vector<real> seen;
  m.report([&] {
    seen.clear();
    m.backward([&](real v) { return seen.emplace_back(v); });
  });
  for (const real v : seen) {  // the last call: a stochastic rounding
    const real code = v / kStep;
    CHECK((code == 1 || code == 3));
  }
}

TEST_CASE("The figures are in order of the layers, null without a number") {
  LayerDiagnostics a{.name = "a", .sqnr_db = std::numeric_limits<double>::infinity()};
  a.step = 0.123456;
  a.ste_cosine = std::nan("");
  const Json json = to_json({a, LayerDiagnostics{.name = "b", .sqnr_db = 20}});
  CHECK(json.at("layers", "").as_array("")[1].as_string("") == "b");
  CHECK(json.at("sqnr_db", "").as_array("")[0].is_null());
  CHECK(json.at("sqnr_db", "").as_array("")[1].as_number("") == 20);
  CHECK(json.at("step", "").as_array("")[0].as_number("") == 0.1235);
  CHECK(json.at("ste_cosine", "").as_array("")[0].is_null());
  CHECK(json.at("reversals", "").as_array("")[0].as_array("").size() == 5);
}

}  // namespace notch::quant::diagnostics_test
