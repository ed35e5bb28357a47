// Scales of scales: the map by its published construction, sizes by QLoRA's and SpQR's figures, values
// by the formula.
#include "quant/numbers/nested_scales.h"

#include <algorithm>
#include <cmath>

#include "quant/methods/gptq.h"
#include "quant/numbers/ranges.h"
#include "quant/serve/served_matrix.h"
#include "quant/store/pack.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"

namespace nested_scales_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

const Spec kNf4 = nested_nf4(64);

/// Rows of very different size, so that scales are spread.
std::vector<real> uneven(std::int64_t rows, std::int64_t cols) {
  std::vector<real> w = normal_matrix(rows * cols, 3);
  for (std::int64_t i = 0; i < rows * cols; ++i)
    w[static_cast<std::size_t>(i)] *= static_cast<real>(std::exp(std::sin(double(i / 64))));
  return w;
}

QTensor unnested(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec) {
  return quantize(w, rows, cols, spec,
                  choose_scales(w, rows, cols, spec, RangeRule::absmax, "t").at, "t");
}

TEST_CASE("nested levels are bitsandbytes' dynamic map") {
  // create_dynamic_map(signed=True, max_exponent_bits=7, total_bits=8), in its own order.
  std::vector<double> expected{0, 1};
  for (int i = 0; i < 7; ++i) {
    const int items = (1 << i) + 1;
    for (int k = 0; k + 1 < items; ++k) {
      const double low = 0.1 + 0.9 * k / (items - 1), high = 0.1 + 0.9 * (k + 1) / (items - 1);
      const double mean = (low + high) / 2 * std::pow(10, -6 + i);
      expected.push_back(mean);
      expected.push_back(-mean);
    }
  }
  REQUIRE(expected.size() == 256);
  std::ranges::sort(expected);
  for (std::size_t i = 0; i < 256; ++i)
    CHECK(double(nested_levels()[i]) == Approx(expected[i]).epsilon(1e-6));
}

TEST_CASE("NF4 with nested scales takes 4.127 bits") {
  // 4 + 8/64 + 32/(64 · 256), and 32 bits of a mean for the matrix.
  const std::int64_t rows = 1024, cols = 1024;
  CHECK(bits_per_weight(kNf4, rows, cols) ==
        Approx(4 + 8.0 / 64 + 32.0 / (64 * 256) + 32.0 / (rows * cols)).epsilon(1e-12));
  CHECK(bits_per_weight(kNf4, rows, cols) == Approx(4.127).epsilon(1e-4));
}

TEST_CASE("a nested scale is the level nearest to it, codes stay") {
  const std::int64_t rows = 40, cols = 640;  // 400 units: two blocks
  const std::vector<real> w = uneven(rows, cols);
  const QTensor before = unnested(w, rows, cols, kNf4);
  QTensor q = before;
  nest_scales(q);
  CHECK(q.codes == before.codes);
  double mean = 0;
  for (const real s : before.at.scales) mean += double(s) / double(before.at.scales.size());
  for (std::size_t first = 0; first < 400; first += 256) {
    const std::size_t end = std::min<std::size_t>(400, first + 256);
    double absmax = 0;
    for (std::size_t u = first; u < end; ++u)
      absmax = std::max(absmax, std::fabs(double(before.at.scales[u]) - mean));
    for (std::size_t u = first; u < end; ++u) {
      double least = 1e9;
      for (const float level : nested_levels()) {
        const double value = mean + double(level) * absmax;
        if (value > 0) least = std::min(least, std::fabs(value - double(before.at.scales[u])));
      }
      CHECK(std::fabs(double(q.at.scales[u]) - double(before.at.scales[u])) <=
            least + 1e-5 * absmax);
    }
  }
  const QTensor once = q;
  nest_scales(q);  // as a method and then a file may: stored scales stay
  CHECK(q == once);
  CHECK(unpack(pack(q), "t") == once);
  CHECK(std::ssize(pack(q).scales) == storage_bytes(kNf4, rows, cols).scales);
}

TEST_CASE("units of zeros do not pull the mean, and scales stay positive") {
  std::vector<real> w = normal_matrix(8 * 128, 5, 0.02);
  std::fill(w.begin(), w.begin() + 256, real{0});
  std::fill(w.begin() + 256, w.begin() + 320, real(1e-7));
  QTensor q = unnested(w, 8, 128, kNf4);
  nest_scales(q);
  for (const real s : q.at.scales) {
    CHECK(s > 0);
    CHECK(s < real(0.2));  // not the 1 of units of zeros
  }
  const std::vector<real> back = dequantize(q);
  for (std::size_t i = 0; i < 256; ++i) CHECK(back[i] == 0);
}

TEST_CASE("a model with nested scales comes back whole and in pieces") {
  nn::GptConfig config = tiny_config();
  config.n_embd = 32;
  const auto model = make_gpt(config);
  Spec spec = kNf4;
  spec.group_size = 16;
  const Quantized q = rounded(*model, {.weights = spec, .table = spec});
  const TemporaryDirectory dir;
  save_quantized(*model, q, dir.path());
  const LoadedModel back = load_any(dir.path());
  for (std::size_t i = 0; i < q.tensors.size(); ++i) {
    const auto at = std::ranges::find(back.tensors, q.tensors[i].name, &NamedQTensor::name);
    REQUIRE(at != back.tensors.end());
    CHECK(at->q == q.tensors[i].q);
    CHECK_FALSE(at->q.at.nested.empty());
  }
  CHECK(same_bits(logits(*back.model), logits(*model)));
  const RunnableModel runnable = load_runnable(dir.path());
  const std::vector<real> got = logits(*runnable.model), wanted = logits(*model);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(wanted[i]).margin(1e-4));
}

Spec bilevel(std::int64_t group) {
  return {.bits = 3,
          .grid = GridKind::asymmetric,
          .granularity = Granularity::group,
          .group_size = group,
          .scale = ScaleType::bilevel};
}

TEST_CASE("3 bits in groups of 16 with bilevel scales take 3.5 bits") {
  // The paper's b + (b_s + b_z)/16 + 64/(16 · 16) less the half of the last that zero points, being
  // codes, do not have.
  CHECK(bits_per_weight(bilevel(16), 1024, 1024) ==
        Approx(3 + 6.0 / 16 + 32.0 / (16 * 16)).epsilon(1e-12));
  // A last block of few rows has a step and a minimum too, a row's codes fill whole bytes.
  CHECK(storage_bytes(bilevel(4), 17, 12).scales == 17 * 2 + 2 * 3 * 4);
}

TEST_CASE("a bilevel scale is the nearest of eight") {
  for (const std::int64_t rows : {std::int64_t{5}, std::int64_t{16}, std::int64_t{40}}) {
    const std::int64_t cols = 96, group = 8, per_row = cols / group;
    std::vector<real> w = normal_matrix(rows * cols, 8);
    for (std::size_t i = 0; i < w.size(); ++i)
      w[i] *= static_cast<real>(std::exp(std::sin(double(i / 8))));
    std::fill(w.begin(), w.begin() + group, real{0});  // its scale is 1
    const QTensor before = unnested(w, rows, cols, bilevel(group));
    QTensor q = before;
    nest_scales(q);
    CHECK(q.codes == before.codes);
    for (std::int64_t first = 0; first < rows; first += 16) {
      for (std::int64_t u = 0; u < per_row; ++u) {
        double lo = 1e9, hi = 0;
        const auto scale = [&](const QTensor& of, std::int64_t r) {
          return double(of.at.scales[std::size_t(r * per_row + u)]);
        };
        const std::int64_t end = std::min(rows, first + 16);
        for (std::int64_t r = first; r < end; ++r) {
          if (r == 0 && u == 0) continue;
          lo = std::min(lo, scale(before, r)), hi = std::max(hi, scale(before, r));
        }
        for (std::int64_t r = first; r < end; ++r) {
          CHECK(scale(q, r) >= lo * (1 - 1e-3));
          CHECK(scale(q, r) <= hi * (1 + 1e-3));
          if (r == 0 && u == 0) continue;
          // Half a step, and what float16 moves of minimum and step.
          CHECK(std::fabs(scale(q, r) - scale(before, r)) <= (hi - lo) / 14 + 2e-3 * hi);
        }
      }
    }
    const QTensor once = q;
    nest_scales(q);
    CHECK(q == once);
    CHECK(unpack(pack(q), "t") == once);
    CHECK(std::ssize(pack(q).scales) == storage_bytes(q.spec, rows, cols).scales);
    PackedTensor broken = pack(q);
    std::fill(broken.scales.end() - 2, broken.scales.end(), std::uint8_t{0});
    CHECK(error_of([&] { unpack(broken, "t"); }).fault == Fault::input);
    broken = pack(q);
    broken.scales[std::size_t(4)] |= 0xf0;  // 12 scales of 3 bits: 36 bits, and 4 behind them
    CHECK(error_of([&] { unpack(broken, "t"); }).fault == Fault::input);
  }
}

TEST_CASE("GPTQ chooses its codes for the bilevel scales that are stored") {
  // With a diagonal Hessian it rounds to nearest: by the scales of the file, whatever they were before.
  const std::int64_t rows = 20, cols = 32;
  const std::vector<real> w = normal_matrix(rows * cols, 12);
  std::vector<double> H(cols * cols, 0.0);
  for (std::size_t i = 0; i < std::size_t(cols); ++i) H[i * (cols + 1)] = 1;
  for (const bool act_order : {false, true}) {
    for (const Clip clip : {Clip::absmax, Clip::output}) {
      const QTensor q = gptq(w, rows, cols, bilevel(8), H,
                             {.act_order = act_order, .clip = clip}, "t").q;
      CHECK(unpack(pack(q), "t") == q);
      CHECK(quantize(w, rows, cols, q.spec, q.at, "t").codes == q.codes);
    }
  }
}

TEST_CASE("a model with bilevel scales comes back whole and in pieces") {
  for (const Granularity granularity : {Granularity::group, Granularity::channel, Granularity::tensor}) {
    const auto model = make_gpt();
    Spec spec = bilevel(4);
    spec.granularity = granularity;
    if (granularity != Granularity::group) spec.group_size = 0;
    const Quantized q = rounded(*model, {.weights = spec, .table = spec});
    const TemporaryDirectory dir;
    save_quantized(*model, q, dir.path());
    const LoadedModel back = load_any(dir.path());
    for (const NamedQTensor& t : q.tensors) {
      const auto at = std::ranges::find(back.tensors, t.name, &NamedQTensor::name);
      REQUIRE(at != back.tensors.end());
      CHECK(at->q == t.q);
    }
    CHECK(same_bits(logits(*back.model), logits(*model)));
    const RunnableModel runnable = load_runnable(dir.path());
    const std::vector<real> got = logits(*runnable.model), wanted = logits(*model);
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(wanted[i]).margin(1e-4));
  }
}

}  // namespace nested_scales_test
