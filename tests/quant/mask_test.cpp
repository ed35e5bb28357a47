// Pruned weights: which they are, that they stay zero through rounding and training, and that a masked
// model in training is the model that ships.
#include "quant/train/mask.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "quant/kernels/hadamard.h"
#include "quant/methods/hadamard.h"
#include "quant/methods/magnitude.h"
#include "quant/store/model_files.h"
#include "quant/train/qat.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"
#include "tests/quant/tiny_models.h"

namespace mask_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

Keep kept_by_sorting(std::span<const double> scores, std::int64_t rows, std::int64_t cols,
                     std::int64_t n, std::int64_t zeros) {
  // By sorting each run of n scores: of equal ones the first is kept.
  Keep keep(at(rows * cols), 1);
  for (std::int64_t first = 0; first < rows * cols; first += n) {
    std::vector<std::int64_t> order(at(n));
    std::iota(order.begin(), order.end(), first);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int64_t a, std::int64_t b) { return scores[at(a)] > scores[at(b)]; });
    for (std::int64_t i = n - zeros; i < n; ++i) keep[at(order[at(i)])] = 0;
  }
  return keep;
}

TEST_CASE("the largest scores are kept: of a matrix, a row, 2 of 4, 4 of 8") {
  constexpr std::int64_t kRows = 5, kCols = 24;
  std::vector<double> scores;
  Rng rng(3, 1);
  for (std::int64_t i = 0; i < kRows * kCols; ++i)
    scores.push_back(static_cast<double>(rng.below(9)));  // with ties
  const auto kept = [&](PruneOptions options, Within within) {
    return keep_largest(scores, kRows, kCols, options, within, "t");
  };
  const auto sorted = [&](std::int64_t n, std::int64_t zeros) {
    return kept_by_sorting(scores, kRows, kCols, n, zeros);
  };
  CHECK(kept({.sparsity = 0.5}, Within::matrix) == sorted(kRows * kCols, 60));
  CHECK(kept({.sparsity = 0.3}, Within::matrix) == sorted(kRows * kCols, 36));
  CHECK(kept({.sparsity = 0.7}, Within::row) == sorted(kCols, 17));
  CHECK(kept({.sparsity = 0}, Within::row) == Keep(scores.size(), 1));
  for (const Within within : {Within::matrix, Within::row}) {
    CHECK(kept({.pattern = Pattern::two_of_four}, within) == sorted(4, 2));
    CHECK(kept({.pattern = Pattern::four_of_eight}, within) == sorted(8, 4));
  }
  const ErrorParts parts = error_of([] {
    keep_largest(std::vector<double>(12, 1.0), 2, 6, {.pattern = Pattern::two_of_four}, Within::row,
                 "layer");
  });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.where == "layer");
}

TEST_CASE("GPTQ under a mask is OBQ with its pruned weights at zero") {
  constexpr std::int64_t kRows = 10, kCols = 24;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const std::vector<real> w = normal_matrix(kRows * kCols, 100 + seed, 0.1);
    const Matrix H = hessian_of(correlated_inputs(200, kCols, seed), kCols);
    for (const Pattern pattern : {Pattern::unstructured, Pattern::two_of_four}) {
      const Keep keep =
          keep_largest(magnitudes_of(w), kRows, kCols, {.pattern = pattern}, Within::matrix, "t");
      const GptqOptions options{.act_order = false, .clip = Clip::absmax};
      const GptqResult g = gptq(w, kRows, kCols, {.bits = 4}, H, options, "t", keep);
      CHECK(g.q.codes ==
            reference::gptq(w, kRows, kCols, kCols, 7, H, 0.01, ascending(kCols), keep));
      CHECK(g.report.error == Approx(output_error(w, g.q, H)).epsilon(1e-4));
    }
    CHECK(gptq(w, kRows, kCols, {.bits = 4}, H, {}, "t", Keep(w.size(), 1)).q ==
          gptq(w, kRows, kCols, {.bits = 4}, H, {}, "t").q);
  }
}

TEST_CASE("after a rotation the mask is that of rotated weights") {
  nn::GptConfig config = tiny_config();
  config.n_embd = 32;
  const auto original = make_gpt(config), model = make_gpt(config);
  const Text text(20, 8);
  const nn::Tokens tokens = text.tokens();
  Plan plan{.weights = {.bits = 4}, .rules = {{"wte", {}}, {"wpe", {}}}};
  const Quantized q = post_training(
      *model, method("gptq-hadamard"), resolve(plan, *model), {&tokens, 1},
      {.gptq = {.act_order = false, .clip = Clip::absmax}, .prune = {.method = "magnitude"}});
  // The matrix of the definition, signs first: its 32 columns are one block.
  constexpr std::int64_t K = 32;
  const std::vector<std::int8_t> signs = rotation_signs(K);
  REQUIRE(hadamard_block(K) == K);
  const auto rotated = [&](std::span<const real> rows) {
    std::vector<double> out(rows.size(), 0.0);
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (std::size_t j = 0; j < at(K); ++j) {
        const std::size_t k = i % at(K);
        const double sign = signs[j] * (std::popcount(j & k) % 2 == 0 ? 1 : -1);
        out[i] += sign * double(rows[i - k + j]) / std::sqrt(double(K));
      }
    return out;
  };
  const nn::Linear& first = *original->linears()[0];  // its inputs are not rounded yet
  std::vector<double> x;
  const nn::Attachment seeing = original->hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& l, Var in, const auto& next) {
        if (&l == &first) x = rotated(in.value().flat());
        return next(g, l, in);
      });
  logits_of(*original, text);
  Matrix H(at(K * K), 0.0);
  for (std::size_t t = 0; t < x.size(); t += at(K))
    for (std::size_t i = 0; i < H.size(); ++i)
      H[i] += x[t + i / at(K)] * x[t + i % at(K)] / (double(x.size()) / double(K));
  const std::vector<double> w = rotated(first.weight->value.flat());
  std::vector<double> sizes;
  for (const double v : w) sizes.push_back(std::abs(v));
  std::ranges::nth_element(sizes, sizes.begin() + std::ssize(sizes) / 2);
  Keep keep;
  for (const double v : w) keep.push_back(std::abs(v) >= sizes[sizes.size() / 2]);
  REQUIRE(q.masks[0].name == first.weight->name);
  CHECK(q.masks[0].keep == keep);
  const std::vector<real> narrow(w.begin(), w.end());
  CHECK(q.tensors[0].change.signs == signs);
  CHECK(q.tensors[0].q.codes ==
        reference::gptq(narrow, std::ssize(w) / K, K, K, 7, H, 0.01, ascending(K), keep));
}

TEST_CASE("under a mask all rules leave zeros and the search helps") {
  constexpr std::int64_t kRows = 70, kCols = 48;
  const std::vector<real> w = normal_matrix(kRows * kCols, 5, 0.1);
  const Matrix H = hessian_of(correlated_inputs(200, kCols, 5), kCols);
  const Keep keep = keep_largest(magnitudes_of(w), kRows, kCols,
                                 {.pattern = Pattern::four_of_eight}, Within::matrix, "t");
  for (const Spec& spec : all_specs(16)) {
    if (spec.grid == GridKind::seq || spec.scale != ScaleType::f32 || spec.bits > 4) continue;
    INFO(name_of(spec));
    double absmax = 0;
    for (const Clip clip : {Clip::absmax, Clip::mse, Clip::output, Clip::deviations}) {
      for (const bool ordered : {false, true}) {
        const GptqOptions options{.act_order = ordered, .clip = clip};
        const GptqResult g = gptq(w, kRows, kCols, spec, H, options, "t", keep);
        const std::vector<real> rounded = dequantize(g.q);
        for (std::size_t i = 0; i < w.size(); ++i) REQUIRE((keep[i] != 0 || rounded[i] == 0));
        CHECK(g.report.error == Approx(output_error(w, g.q, H)).epsilon(1e-3));
        CHECK_FALSE(g.report.static_groups);  // columns in their own order
        if (ordered) continue;
        if (clip == Clip::absmax) absmax = g.report.error;
        if (clip == Clip::output) CHECK(g.report.error < absmax);
      }
    }
  }
}

struct Calibrated {
  std::vector<std::int32_t> ids = Text(5, 8).ids;
  std::vector<nn::Tokens> batches{{ids, 8, 8}};
};

Plan plan_of(int bits) {
  const Spec spec{.bits = bits};
  return {.weights = spec, .table = Spec{.bits = 8}};
}

TEST_CASE("every method leaves pruned weights at zero") {
  const Calibrated text;
  for (const Method* m : methods()) {
    if (m->trains()) continue;
    INFO(m->name);
    const auto model = make_gpt();
    const std::vector<Target> targets = resolve(plan_of(4), *model);
    const PostTrainingOptions options{
        .prune = {.method = "magnitude", .pattern = Pattern::two_of_four}};
    if (m->refine) {  // it would fill them
      CHECK_THROWS_AS(post_training(*model, *m, targets, text.batches, options), Error);
      continue;
    }
    const Quantized q = post_training(*model, *m, targets, text.batches, options);
    CHECK(q.masks.size() == 8);  // four Linears of two blocks; not the table
    for (const NamedMask& mask : q.masks) {
      const std::span<const real> w = model->params().find(mask.name)->value.flat();
      for (std::size_t i = 0; i < w.size(); i += 4)
        CHECK(std::accumulate(mask.keep.begin() + std::ptrdiff_t(i),
                              mask.keep.begin() + std::ptrdiff_t(i + 4), 0) == 2);
      for (std::size_t i = 0; i < w.size(); ++i) REQUIRE((mask.keep[i] != 0 || w[i] == 0));
    }
  }
}

TEST_CASE("pruning alone zeroes the smallest weights and nothing else") {
  const auto model = make_gpt();
  const auto dense = nn::clone(*model);
  const std::vector<Target> targets = resolve(plan_of(8), *model);
  const Quantized q =
      prune(*model, targets, {}, {.prune = {.method = "magnitude", .sparsity = 0.25}});
  CHECK(q.tensors.empty());
  std::size_t pruned = 0;
  for (const Param& p : model->params().params()) {
    const std::span<const real> now = p.value.flat(),
                                was = dense->params().find(p.name)->value.flat();
    const auto mask = std::ranges::find(q.masks, p.name, &NamedMask::name);
    if (mask == q.masks.end()) {
      CHECK(same_bits(now, was));
      continue;
    }
    ++pruned;
    std::vector<real> sizes;
    for (const real v : was) sizes.push_back(std::abs(v));
    std::ranges::sort(sizes);
    const real least = sizes[sizes.size() / 4];  // no two weights are equal
    for (std::size_t i = 0; i < was.size(); ++i) {
      REQUIRE(mask->keep[i] == (std::abs(was[i]) >= least));
      REQUIRE(now[i] == (mask->keep[i] != 0 ? was[i] : 0));
    }
  }
  CHECK(pruned == 8);
}

TEST_CASE("a grid without a zero holds no pruned weight") {
  const auto model = make_gpt();
  const std::vector<Target> targets =
      resolve({.weights = {.bits = 2, .grid = GridKind::seq}}, *model);
  const std::vector<real> before = values_of(model->params());
  const ErrorParts parts = error_of([&] {
    post_training(*model, method("rtn"), targets, {}, {.prune = {.method = "magnitude"}});
  });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.field == "grid");
  CHECK(same_bits(values_of(model->params()), before));
}

/// Logits of the model in training and of the file that it ships.
void check_ships(nn::Model& model, FakeQuantizer& fake, const Mask& mask, bool rounds_inputs) {
  Quantized shipped = fake.convert();
  shipped.masks = mask.masks();
  for (const NamedMask& m : shipped.masks) {
    const auto at = std::ranges::find(shipped.tensors, m.name, &NamedQTensor::name);
    const std::vector<real> w = dequantize(at->q);
    for (std::size_t i = 0; i < w.size(); ++i) REQUIRE((m.keep[i] != 0 || w[i] == 0));
  }
  const TemporaryDirectory directory;
  save_quantized(model, shipped, directory.path());
  const LoadedModel loaded = load_any(directory.path());
  const std::vector<real> seen = logits_of(model, Text(7));
  CHECK(same_bits(seen, logits_of(*loaded.model, Text(7))));
  // Served from packed matrices: integers meet integers in the same order; floats do not.
  const RunnableModel served = load_runnable(directory.path());
  if (rounds_inputs) CHECK(same_bits(seen, logits_of(*served.model, Text(7))));
}

TEST_CASE("a masked model in training is the one that its file serves") {
  for (const Training training : {Training::ste, Training::lsq}) {
    for (const bool rounds_inputs : {false, true}) {
      for (const int rounds : {1, 3}) {
        INFO((training == Training::ste ? "ste" : "lsq")
             << " inputs " << rounds_inputs << " rounds " << rounds);
        const auto model = make_gpt();
        Plan plan = plan_of(4);
        if (rounds_inputs) plan.activations = ActivationSpec{.bits = 8};
        const std::vector<Target> targets = resolve(plan, *model);
        const PruneOptions options{
            .method = "magnitude", .pattern = Pattern::two_of_four, .rounds = rounds};
        std::vector<NamedMask> masks = whole_masks(*model, targets);
        if (rounds == 1) masks = prune(*model, targets, {}, {.prune = options}).masks;
        FakeQuantizer fake(*model, training, targets, {});
        Mask mask(*model, masks, rounds > 1 ? std::optional(options) : std::nullopt);
        if (rounds == 1) check_ships(*model, fake, mask, rounds_inputs);
        const auto zeros = [&] {
          std::int64_t n = 0;
          for (const NamedMask& m : mask.masks()) n += std::ranges::count(m.keep, 0);
          return n;
        };
        std::int64_t weights = 0;
        for (const NamedMask& m : masks) weights += std::ssize(m.keep);
        const std::vector<NamedMask> first = mask.masks();
        for (int step = 0; step < 6; ++step) {
          train(*model, &fake.params(), Text(3), 5);
          mask.before_update(step / 6.0);
          check_ships(*model, fake, mask, rounds_inputs);
          // 2 of 4: the third pruning is the last, at half of the training; before it
          // round(2 (1 - (1 - k/3)³)) = round(1.41), round(1.93) of 2
          if (rounds == 3) CHECK(zeros() == (step == 0 ? weights / 4 : weights / 2));
        }
        CHECK(zeros() == weights / 2);
        if (rounds == 1) {
          const std::vector<NamedMask> last = mask.masks();
          for (std::size_t i = 0; i < first.size(); ++i) CHECK(first[i].keep == last[i].keep);
        }
      }
    }
  }
}

TEST_CASE("what is pruned in rounds stays pruned and gets no gradient") {
  const auto model = make_gpt();
  const std::vector<Target> targets = resolve(plan_of(4), *model);
  const PruneOptions options{.method = "magnitude", .sparsity = 0.8, .rounds = 4};
  Mask mask(*model, whole_masks(*model, targets), options);
  Keep before = mask.masks()[0].keep;
  const Param& p = *model->params().find(mask.masks()[0].name);
  for (int step = 0; step < 8; ++step) {
    mask.before_update(step / 8.0);
    const Keep now = mask.masks()[0].keep;
    for (std::size_t i = 0; i < now.size(); ++i) REQUIRE((before[i] != 0 || now[i] == 0));
    // Zhu and Gupta's share after k of n rounds, k = 1, 2, 3, 4, 4 …
    const double k = std::min(4, step + 1), share = 0.8 * (1 - std::pow(1 - k / 4, 3));
    CHECK(std::ranges::count(now, 0) == std::llround(share * double(now.size())));
    before = now;
    train(*model, nullptr, Text(3), 3);
    for (std::size_t i = 0; i < now.size(); ++i) REQUIRE((now[i] != 0 || p.grad.flat()[i] == 0));
  }
  mask.settle();
  for (std::size_t i = 0; i < before.size(); ++i)
    CHECK((p.value.flat()[i] == 0) == (before[i] == 0));
}

TEST_CASE("a mask that is none of the model's is refused") {
  const auto model = make_gpt();
  const std::vector<NamedMask> other{{"h.0.attn.c_attn.weight", Keep(3, 1)}};
  CHECK(error_of([&] { Mask(*model, other); }).where == "h.0.attn.c_attn.weight");
  CHECK(model->hooks().weight_chain.empty());
}

}  // namespace mask_test
