// GSQ: mixtures of codes by their formula, and what refining may and may not do to a model.
#include "quant/methods/gsq.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/base/thread_pool.h"
#include "quant/methods/post_training.h"
#include "quant/numbers/format.h"
#include "quant/ops/soft_codes.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/rounded_copy.h"

namespace gsq_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

RoundedCopy run(const AnyModel& original, std::string_view name, const Spec& spec,
                const GsqOptions& options = {}, bool rounds_inputs = false) {
  Plan plan{.weights = spec, .table = spec};
  if (rounds_inputs) plan.activations = ActivationSpec{};
  return rounded_copy(original, name, plan, {.gsq = options});
}

/// Mean KL(fp32 || quantized) over texts, in double.
double kl(const AnyModel& original, nn::Model& quantized, std::uint64_t first, int texts) {
  double sum = 0, n = 0;
  for (int t = 0; t < texts; ++t) {
    const Text text(first + static_cast<std::uint64_t>(t), 8);
    const std::vector<real> p = logits_of(original.get(), text), q = logits_of(quantized, text);
    constexpr std::size_t V = 11;
    for (std::size_t i = 0; i < p.size(); i += V) {
      double zp = 0, zq = 0;
      for (std::size_t v = 0; v < V; ++v)
        zp += std::exp(double(p[i + v])), zq += std::exp(double(q[i + v]));
      for (std::size_t v = 0; v < V; ++v) {
        const double share = std::exp(double(p[i + v])) / zp;
        sum += share * (double(p[i + v]) - std::log(zp) - double(q[i + v]) + std::log(zq));
      }
      ++n;
    }
  }
  return sum / n;
}

double figure(const Quantized& q, std::string_view key) {
  const auto at = std::ranges::find(kGsq.row_figures, key, &RowFigure::key);
  REQUIRE(at != kGsq.row_figures.end());
  return at->of(q.layers);
}

AnyModel trained() {
  return any_model([] {
    auto model = make_gpt();
    const Text text(1, 8);
    train(*model, nullptr, text, 40);
    return model;
  });
}

TEST_CASE("weights between codes are a mixture of three levels") {
  const std::vector<real> levels{-1, 0, 1, 2, 3, 4}, scales{2, real(0.5)};
  const real low = -1000;
  std::vector<real> logits{1, 0, -1, low, 2, 2}, logs{real(std::log(3.0)), 0};
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var w =
      soft_codes(g.constant({logits.data(), {2, 3}}), g.constant({logs.data(), {2}}),
                 {.rows = 2, .cols = 1, .unit = 1, .levels = levels, .scales = scales}, 0.5);
  const double a = std::exp(2.0), b = 1, c = std::exp(-2.0);
  CHECK(double(w.value().data[0]) == Approx(6 * (c - a) / (a + b + c)).epsilon(1e-6));
  CHECK(double(w.value().data[1]) == Approx(0.5 * 3.5).epsilon(1e-6));
}

TEST_CASE("refined codes are nearer to fp32's output than GPTQ's") {
  const AnyModel original = trained();
  for (const Spec& spec : {Spec{.bits = 3}, Spec{.bits = 2, .grid = GridKind::seq}}) {
    for (const bool rounds_inputs : {false, true}) {
      INFO(name_of(spec) << (rounds_inputs ? ", 8-bit inputs" : ""));
      const RoundedCopy gptq = run(original, "gptq", spec, {}, rounds_inputs);
      const RoundedCopy gsq = run(original, "gsq", spec, {}, rounds_inputs);
      const double start = total(gsq.q.layers, "kl_start"), end = total(gsq.q.layers, "kl_end");
      CHECK(end < 0.7 * start);
      CHECK(figure(gsq.q, "gsq_taken") == 1);
      if (rounds_inputs) continue;  // what follows has no rounded inputs
      AnyModel before = gptq.model, after = gsq.model;
      CHECK(kl(original, before.get(), 20, 2) == Approx(start).epsilon(1e-3));
      CHECK(kl(original, after.get(), 20, 2) == Approx(end).epsilon(1e-3));
      CHECK(kl(original, after.get(), 50, 4) < kl(original, before.get(), 50, 4));
    }
  }
}

TEST_CASE("a refined code is GPTQ's or a neighbour of it, on the grid") {
  const AnyModel original = trained();
  for (const Spec& spec :
       {Spec{.bits = 4}, Spec{.bits = 2, .grid = GridKind::seq},
        Spec{.bits = 4, .grid = GridKind::nf4},
        Spec{.bits = 3,
        .grid = GridKind::asymmetric,
        .granularity = Granularity::group,
        .group_size = 6},
        Spec{.bits = 2, .grid = GridKind::ternary, .granularity = Granularity::tensor}}) {
    INFO(name_of(spec));
    const RoundedCopy gptq = run(original, "gptq", spec),
                      gsq = run(original, "gsq", spec, {.lr = 0.1});
    const Grid grid = grid_of(spec);
    bool moved = false;
    for (std::size_t i = 0; i < gsq.q.tensors.size(); ++i) {
      const QTensor &a = gptq.q.tensors[i].q, &b = gsq.q.tensors[i].q;
      CHECK_NOTHROW(validate(b, "t"));
      CHECK(a.at.zero_points == b.at.zero_points);
      for (std::size_t k = 0; k < a.codes.size(); ++k) {
        CHECK(std::abs(a.codes[k] - b.codes[k]) <= grid.step);
        moved = moved || a.codes[k] != b.codes[k];
      }
    }
    CHECK(moved);
    AnyModel expected = copy_of(original);
    put_dequantized(gsq.q, expected.params());
    CHECK(same_bits(values_of(expected.params()), values_of(gsq.model.params())));
  }
}

TEST_CASE("refining that does not help leaves GPTQ's codes") {
  const AnyModel original = trained();
  const Spec spec{.bits = 8};
  // One step of enormous scales ruins the model, so the start is kept.
  const RoundedCopy gptq = run(original, "gptq", spec);
  const RoundedCopy gsq = run(original, "gsq", spec, {.steps = 1, .lr = 1, .scale_lr = 3});
  for (std::size_t i = 0; i < gptq.q.tensors.size(); ++i)
    CHECK(gptq.q.tensors[i].q == gsq.q.tensors[i].q);
  CHECK(total(gsq.q.layers, "kl_start") == total(gsq.q.layers, "kl_end"));
  CHECK(figure(gsq.q, "gsq_taken") == 0);
  CHECK(same_bits(values_of(gptq.model.params()), values_of(gsq.model.params())));
}

}  // namespace gsq_test
