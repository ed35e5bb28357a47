// FP8 activations: E4M3 per token, against a decoder of its bits; trained, evaluated and served alike.
#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/thread_pool.h"
#include "quant/kernels/quantize_rows.h"
#include "quant/ops/input_ops.h"
#include "quant/serve/served_layers.h"
#include "quant/train/qat.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"

namespace float_inputs_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

constexpr ActivationSpec kFp8{.grid = InputGrid::e4m3};

/// All finite values of the 256 bytes, in double: bias 7, S.1111.111 is no number (Micikevicius et al.
/// 2022, arXiv:2209.05433, table 1).
std::vector<double> e4m3_values() {
  std::vector<double> all;
  for (int byte = 0; byte < 256; ++byte) {
    const int exponent = byte >> 3 & 15, fraction = byte & 7;
    if (exponent == 15 && fraction == 7) continue;
    const double magnitude = exponent == 0 ? std::ldexp(fraction, -9)
                                           : std::ldexp(8 + fraction, exponent - 10);
    all.push_back(byte & 128 ? -magnitude : magnitude);
  }
  return all;
}

std::vector<real> rounded_rows(std::span<const real> x, std::int64_t K) {
  std::vector<real> out(x.size());
  round_rows_to_floats(out, x, std::ssize(x) / K, K, grid_of(unit_spec(kFp8)));
  return out;
}

TEST_CASE("a token whose largest value is 448 keeps every E4M3 number") {
  const std::vector<double> values = e4m3_values();
  REQUIRE(values.size() == 254);
  std::vector<real> row(values.begin(), values.end());
  const std::vector<real> got = rounded_rows(row, std::ssize(row));
  for (std::size_t i = 0; i < row.size(); ++i) CHECK(double(got[i]) == values[i]);
  // Scaled by a power of two, too.
  for (real& v : row) v *= real(0x1p-20);
  const std::vector<real> small = rounded_rows(row, std::ssize(row));
  for (std::size_t i = 0; i < row.size(); ++i) CHECK(small[i] == row[i]);
}

TEST_CASE("every value becomes the nearest E4M3 number") {
  const std::vector<double> values = e4m3_values();
  constexpr std::int64_t kRows = 9, kCols = 33;
  std::vector<real> x = normal_matrix(kRows * kCols, 5);
  for (std::int64_t r = 0; r < kRows; ++r)  // tokens of very different size, and spread
    for (std::int64_t c = 0; c < kCols; ++c)
      x[std::size_t(r * kCols + c)] *=
          static_cast<real>(std::pow(10, double(r) - 4) * std::exp(-0.3 * double(c)));
  const std::vector<real> got = rounded_rows(x, kCols);
  for (std::int64_t r = 0; r < kRows; ++r) {
    const std::span<const real> row = std::span(x).subspan(std::size_t(r * kCols), kCols);
    double largest = 0;
    for (const real v : row) largest = std::max(largest, std::fabs(double(v)));
    const double scale = largest / 448;
    for (std::size_t c = 0; c < row.size(); ++c) {
      double least = 1e300;
      for (const double v : values) least = std::min(least, std::fabs(v * scale - double(row[c])));
      const double error = std::fabs(double(got[std::size_t(r) * kCols + c]) - double(row[c]));
      CHECK(error <= least + 1e-6 * std::fabs(double(row[c])));
    }
  }
}

TEST_CASE("tokens of zeros stay, broken ones become NaN as a whole") {
  std::vector<real> x(12, real{0});
  x[5] = std::numeric_limits<real>::infinity();
  x[8] = real(1e-45);  // the smallest number there is: its scale would be 0
  const std::vector<real> got = rounded_rows(x, 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(got[i] == 0);
  for (std::size_t i = 4; i < 8; ++i) CHECK(std::isnan(got[i]));
  for (std::size_t i = 8; i < 12; ++i) CHECK(std::isfinite(got[i]));
}

TEST_CASE("FP8 activations are dynamic, of 8 bits, and say so in files") {
  CHECK_NOTHROW(validate(kFp8, "t"));
  ActivationSpec spec = kFp8;
  spec.bits = 4;
  CHECK(error_of([&] { validate(spec, "t"); }).field == "input grid");
  spec = kFp8;
  spec.symmetric = false;
  CHECK(error_of([&] { validate(spec, "t"); }).field == "input grid");
  spec = kFp8;
  spec.range = ActivationRange::fixed;
  CHECK(error_of([&] { validate(spec, "t"); }).field == "input grid");
  CHECK(name_of(kFp8) == "e4m3 dynamic");
  CHECK(activation_spec_from_json(to_json(kFp8), "t") == kFp8);
  CHECK(to_json(ActivationSpec{}).find("grid") == nullptr);  // files of integers stay what they were
  Json json = to_json(kFp8);
  json.set("bits", 4);
  CHECK(error_of([&] { activation_spec_from_json(json, "t"); }).fault == Fault::input);
  json = to_json(kFp8);
  json.set("grid", "e9m9");
  CHECK(error_of([&] { activation_spec_from_json(json, "t"); }).fault == Fault::input);
}

TEST_CASE("FP8 activations go with weights on any grid") {
  for (const Spec& spec :
       {Spec{.bits = 8, .grid = GridKind::e4m3}, Spec{.bits = 8, .grid = GridKind::e5m2},
        Spec{.bits = 4, .grid = GridKind::nf4, .granularity = Granularity::group, .group_size = 4},
        Spec{.bits = 8}}) {
    INFO(name_of(spec));
    const auto original = make_gpt();
    nn::Model& model = *original;
    const Text text(20, 8);
    const nn::Tokens tokens = text.tokens();
    const Plan plan{.weights = spec, .table = spec, .activations = kFp8};
    const auto work = make_gpt();
    const Quantized q = post_training(*work, method("gptq"), resolve(plan, *work), {&tokens, 1}, {});
    for (const NamedQTensor& t : q.tensors)
      if (t.input) CHECK(t.input->spec == kFp8);
    const TemporaryDirectory dir;
    save_quantized(*work, q, dir.path());
    const LoadedModel loaded = load_any(dir.path());
    const std::vector<real> scored = logits(*loaded.model);
    CHECK(same_bits(scored, logits(*load_runnable(dir.path()).model)));
    // The same by hand: dequantized weights, and each product's input rounded in front of it.
    std::size_t rounded_inputs = 0;
    const auto link = work->hooks().linear_chain.attach(
        [&](Graph& g, const nn::Linear& layer, Var x, const auto& next) -> Var {
          ++rounded_inputs;
          const std::vector<real> by_hand = rounded_rows(x.value().flat(), x.value().cols());
          const Var y = quantize_input(x, {.input = {.spec = kFp8}});
          CHECK(same_bits(by_hand, {y.value().flat().begin(), y.value().flat().end()}));
          return next(g, layer, y);
        });
    const std::vector<real> by_hand = logits(*work);
    CHECK(rounded_inputs == q.tensors.size());
    for (std::size_t i = 0; i < by_hand.size(); ++i)
      CHECK(scored[i] == Approx(by_hand[i]).epsilon(1e-4).margin(1e-4));
    CHECK_FALSE(same_bits(scored, logits(model)));
  }
}

TEST_CASE("training sees FP8 activations as they are scored") {
  for (const Training training : {Training::ste, Training::lsq}) {
    AnyModel model{make_gpt()};
    Plan plan{.weights = {.bits = 8, .grid = GridKind::e4m3}, .table = Spec{.bits = 8},
              .activations = kFp8};
    const std::vector<Target> targets = resolve(plan, model.get());
    FakeQuantizer quantizer(model.get(), training, targets, {});
    const Text text(3), other(9);
    const std::vector<real> before = values_of(model.params());
    train(model.get(), &quantizer.params(), text, 5);
    CHECK_FALSE(same_bits(before, values_of(model.params())));
    const std::vector<real> seen = logits_of(model.get(), other);
    const Quantized quantized = quantizer.convert();
    const TemporaryDirectory dir;
    save_quantized(model.get(), quantized, dir.path());
    const LoadedModel loaded = load_any(dir.path());
    const std::vector<real> scored = logits_of(*loaded.model, other);
    for (std::size_t i = 0; i < seen.size(); ++i)
      CHECK(scored[i] == Approx(seen[i]).epsilon(1e-4).margin(1e-4));
    Graph g;
    g.begin(Graph::Mode::inference);
    const double loss = loaded.model->loss(g, other.batch()).item();
    g.begin(Graph::Mode::training);
    CHECK(model.get().loss(g, other.batch(), {}).item() == Approx(loss).epsilon(1e-4));
  }
}

TEST_CASE("integer activations still refuse codebooks, FP8 ones do not") {
  const auto model = make_gpt();
  const Spec nf4{.bits = 4, .grid = GridKind::nf4};
  CHECK(error_of([&] { resolve({.weights = nf4, .activations = ActivationSpec{}}, *model); }).field ==
        "grid");
  CHECK_NOTHROW(resolve({.weights = nf4, .activations = kFp8}, *model));
  Plan patterns{.weights = nf4, .activations = kFp8, .asymmetric = {"*.mlp.c_proj"}};
  for (const Target& t : resolve(patterns, *model))  // its numbers lie on both sides of 0 anyway
    if (t.input) CHECK(t.input->spec.symmetric);
}

}  // namespace float_inputs_test
