// Additive codebooks: the search of words against all words, the bytes, and what AQLM's three steps promise.
#include "quant/methods/aqlm.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/methods/methods.h"
#include "quant/methods/post_training.h"
#include "quant/numbers/own_levels.h"
#include "quant/store/pack.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"
#include "tests/quant/tiny_models.h"

namespace aqlm_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

Spec additive(int bits, Granularity g = Granularity::channel, std::int64_t group = 0) {
  return {.bits = bits,
          .grid = GridKind::additive,
          .granularity = g,
          .group_size = group,
          .scale = ScaleType::f16};
}

/// B Bᵀ of a random B [n, n], and a part of I.
Matrix random_metric(std::int64_t n, std::uint64_t seed) {
  const std::vector<real> B = normal_matrix(n * n, seed);
  Matrix A(at(n * n));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t k = 0; k < n; ++k)
        A[at(i * n + j)] += double(B[at(i * n + k)]) * double(B[at(j * n + k)]);
      if (i == j) A[at(i * n + j)] += 0.1;
    }
  return A;
}

double distance(const Vector8& v, const BeamSearch::Target& t, const Matrix& A) {
  double sum = 0;
  for (std::size_t i = 0; i < 8; ++i)
    for (std::size_t j = 0; j < 8; ++j)
      sum += (double(v[i]) - t[i]) * A[i * 8 + j] * (double(v[j]) - t[j]);
  return sum;
}

TEST_CASE("a beam as wide as a codebook finds the best pair") {
  const std::vector<real> values = normal_matrix(2 * 16 * 8, 1);
  const Codebooks two(2, 16, values);
  const Matrix A = random_metric(8, 2);
  const BeamSearch wide(two, A, 16), narrow(two, A, 1);
  Rng rng(3);
  double all = 0, greedy = 0;
  for (int i = 0; i < 200; ++i) {
    BeamSearch::Target t{};
    for (double& v : t) v = 1.5 * rng.normal();
    double least = std::numeric_limits<double>::infinity();
    for (std::uint32_t word = 0; word < 256; ++word)
      least = std::min(least, distance(two.sum(word), t, A));
    const double found = distance(two.sum(wide.nearest(t)), t, A);
    CHECK(found == Approx(least).epsilon(1e-6).margin(1e-9));
    all += found;
    greedy += distance(two.sum(narrow.nearest(t)), t, A);
  }
  CHECK(greedy > all);
}

TEST_CASE("an additive word has its first code lowest") {
  const Spec spec = additive(2);
  std::vector<real> values(at(codebook_numbers(spec, 1, 8)));
  REQUIRE(values.size() == 4 * 16 * 8);  // four codebooks of sixteen vectors
  // Vector k of codebook m is 16^m k in column 0 and 1 in column m + 1 where k is odd.
  for (std::size_t m = 0; m < 4; ++m)
    for (std::size_t k = 0; k < 16; ++k) {
      values[(m * 16 + k) * 8] = static_cast<real>(k << (m == 0 ? 0 : 4));
      values[(m * 16 + k) * 8 + m + 1] = static_cast<real>(k % 2);
    }
  QTensor q{.spec = spec,
            .rows = 1,
            .cols = 8,
            .codes = std::vector<std::int8_t>(8),
            .at = {.scales = {2}, .codebooks = values}};
  put_word(q.codes.data(), 0x3021, 2);  // codes 1, 2, 0, 3
  CHECK(code_word(q.codes.data(), 2) == 0x3021);
  CHECK(pack(q).codes == std::vector<std::uint8_t>{0x21, 0x30});
  CHECK(dequantize(q) == std::vector<real>{2 * (1 + 16 * 2 + 16 * 3), 2, 0, 0, 2, 0, 0, 0});
  CHECK(unpack(pack(q), "t") == q);
  q.at.codebooks[5] = std::numeric_limits<real>::infinity();
  CHECK(test::error_of([&] { validate(q, "t"); }).field == "codebook number 5");
  q.at.codebooks.pop_back();
  CHECK(test::error_of([&] { validate(q, "t"); }).field == "codebooks");
}

TEST_CASE("additive codes take the bytes of words, scales and codebooks") {
  // Small: 2 · 3 codebooks of 16 vectors of 8 numbers of two bytes; large: 3 of 256.
  const StorageBytes small = storage_bytes(additive(3), 64, 128),
                     large = storage_bytes(additive(3), 512, 256);
  CHECK(small.codes == 64 * 128 * 3 / 8);
  CHECK(small.scales == 64 * 2);
  CHECK(small.codebooks == 6 * 16 * 8 * 2);
  CHECK(large.codebooks == 3 * 256 * 8 * 2);
  CHECK(4 * large.codebooks == large.codes);
  CHECK(bits_per_weight(additive(3), 512, 256) == 3 + 16 / 256.0 + 0.75);
  CHECK(test::error_of([] { validate(additive(2), 20, "t"); }).field == "grid");
}

TEST_CASE("a part of a matrix has the codebooks of the whole") {
  const QTensor q = rtn(normal_matrix(6 * 16, 4), 6, 16, additive(2), RangeRule::mse);
  QTensor part{.spec = q.spec, .rows = 2, .cols = 16, .at = {.codebooks = q.at.codebooks}};
  part.codes.assign(q.codes.begin() + 32, q.codes.begin() + 64);
  part.at.scales.assign(q.at.scales.begin() + 2, q.at.scales.begin() + 4);
  const std::vector<real> all = dequantize(q), rows = dequantize(part);
  CHECK(std::equal(rows.begin(), rows.end(), all.begin() + 32));
  CHECK(unpack(pack(part), "t") == part);
}

TEST_CASE("residual k-means of few vectors meets them") {
  // Sixteen different words: the first codebook has each of them, up to float16.
  const std::vector<real> w = normal_matrix(16 * 8, 5);
  const QTensor q = rtn(w, 1, 128, additive(2), RangeRule::mse);
  const std::vector<real> back = dequantize(q);
  for (std::size_t i = 0; i < w.size(); ++i)
    CHECK(double(back[i]) == Approx(double(w[i])).margin(5e-3));
}

TEST_CASE("AQLM lowers the error of the output, and says by how much") {
  const std::int64_t rows = 24, K = 64;
  const std::vector<real> w = normal_matrix(rows * K, 6);
  const Matrix H = hessian_of(correlated_inputs(400, K, 7), K);
  for (const Spec& spec : {additive(2), additive(3), additive(2, Granularity::group, 16),
                           additive(2, Granularity::tensor)}) {
    INFO(name_of(spec));
    const QTensor first = rtn(w, rows, K, spec, RangeRule::mse);
    double before = test::output_error(w, first, H);
    QTensor q = first;
    for (const int rounds : {0, 1, 2, 8}) {
      q = first;
      const double after = improve_additive(q, w, H, {.rounds = rounds});
      CHECK(after == Approx(test::output_error(w, q, H)).epsilon(1e-4));
      CHECK(after <= before * (1 + 1e-6));
      before = after;
      CHECK_NOTHROW(validate(q, "t"));
    }
    CHECK(before < 0.5 * test::output_error(w, first, H));
  }
}

TEST_CASE("AQLM finds codebooks again that were moved a little") {
  const std::int64_t rows = 64, K = 64;
  const Matrix H = hessian_of(correlated_inputs(400, K, 8), K);
  const QTensor wanted = rtn(normal_matrix(rows * K, 9), rows, K, additive(2), RangeRule::mse);
  const std::vector<real> w = dequantize(wanted);
  QTensor q = wanted;
  const std::vector<real> noise = normal_matrix(std::ssize(q.at.codebooks), 10, 0.02);
  for (std::size_t i = 0; i < noise.size(); ++i)
    q.at.codebooks[i] = round_level(q.at.codebooks[i] + noise[i], ScaleType::f16);
  const double before = test::output_error(w, q, H);
  CHECK(improve_additive(q, w, H, {.rounds = 8}) < 0.01 * before);
}

TEST_CASE("AQLM beats nearest additive codes and GPTQ's on a layer") {
  const std::int64_t rows = 64, K = 64;
  const std::vector<real> w = normal_matrix(rows * K, 12);
  const Matrix H = hessian_of(correlated_inputs(600, K, 13), K);
  QTensor q = rtn(w, rows, K, additive(2), RangeRule::mse);
  improve_additive(q, w, H, {});
  const GptqResult fed_back = gptq(w, rows, K, additive(2), H, {}, "t");
  CHECK(test::output_error(w, q, H) < fed_back.report.error);
  CHECK(fed_back.report.error < fed_back.report.rtn_error);
}

TEST_CASE("a plan of another grid is none of AQLM's") {
  const auto model =
      make_gpt({.vocab_size = 11, .block_size = 8, .n_layer = 1, .n_head = 2, .n_embd = 16});
  const auto refused = [&](const Plan& plan) {
    return test::error_of([&] { require_grids(method("aqlm"), plan, resolve(plan, *model)); });
  };
  const ErrorParts e = refused({.weights = {.bits = 2}});
  CHECK(e.field == "grid");
  CHECK(e.found == "narrow");
  CHECK(e.expected == "additive");
  CHECK(refused({.weights = {.bits = 2, .grid = GridKind::e8p}}).field == "grid");
  // A table on eight bits is another matter.
  const Plan plan{.weights = additive(2), .table = Spec{.bits = 8}};
  CHECK_NOTHROW(require_grids(method("aqlm"), plan, resolve(plan, *model)));
  CHECK_NOTHROW(require_grids(method("gptq"), {.weights = {.bits = 2}}, {}));
}

TEST_CASE("methods say which grids of the matrix's own levels they know") {
  const auto model =
      make_gpt({.vocab_size = 11, .block_size = 8, .n_layer = 1, .n_head = 2, .n_embd = 16});
  for (const GridKind grid : {GridKind::learned, GridKind::e8p, GridKind::additive}) {
    const Spec spec{.bits = 2, .grid = grid, .scale = ScaleType::f16};
    const std::vector<Target> targets = resolve({.weights = spec}, *model);
    for (const Method* m : methods()) {
      INFO(m->name << " on " << name_of(grid));
      // Of what trains, lists of levels alone are known.
      const bool knows = m->own_levels && (!m->grid || *m->grid == grid) &&
                         (!m->trains() || grid == GridKind::learned);
      if (knows) {
        CHECK_NOTHROW(require_grid(*m, spec, "t"));
        continue;
      }
      const ErrorParts e = test::error_of([&] { require_grid(*m, spec, "t"); });
      CHECK(e.field == "grid");
      CHECK(e.hint.find("gptq") != std::string::npos);
      if (m->round) CHECK_THROWS_AS(post_training(*model, *m, targets, {}, {}), Error);
    }
    CHECK(test::error_of([&] {
            resolve({.weights = spec, .activations = ActivationSpec{}}, *model);
          }).field == "grid");
    CHECK(test::error_of([&] {
            post_training(*model, method("rtn"), targets, {}, {.prune = {.method = "magnitude"}});
          }).field == "grid");
  }
}

}  // namespace aqlm_test
