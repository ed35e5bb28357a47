// E8P: what the paper says of its points, the nearest one by trying all, and the grid in memory, in bytes and
// under GPTQ.
#include "quant/kernels/e8p.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "quant/numbers/own_levels.h"
#include "quant/store/pack.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"
#include "tests/quant/tiny_models.h"

namespace e8p_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

constexpr int kPoints = 65536;

const std::vector<E8pPoint>& points() {
  static const std::vector<E8pPoint> all = [] {
    std::vector<E8pPoint> made;
    for (int word = 0; word < kPoints; ++word)
      made.push_back(e8p_point(static_cast<std::uint16_t>(word)));
    return made;
  }();
  return all;
}

double squared_distance(const E8pPoint& a, const E8pPoint& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = double(a[i]) - double(b[i]);
    sum += d * d;
  }
  return sum;
}

E8pPoint normal_point(Rng& rng, double size) {
  E8pPoint v{};
  for (real& c : v) c = static_cast<real>(size * rng.normal());
  return v;
}

Spec e8p(Granularity g = Granularity::channel, std::int64_t group = 0) {
  return {.bits = 2,
          .grid = GridKind::e8p,
          .granularity = g,
          .group_size = group,
          .scale = ScaleType::f16};
}

TEST_CASE("E8P has 65,536 points, all of E8 + 1/4") {
  const std::set<E8pPoint> different(points().begin(), points().end());
  CHECK(different.size() == kPoints);
  for (const E8pPoint& x : points()) {
    // Less a quarter the coordinates are all integers or all halves of odd numbers, and their sum is even.
    int doubled[8], sum = 0, odd = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double twice = 2 * (double(x[i]) - 0.25);
      doubled[i] = static_cast<int>(twice);
      REQUIRE(double(doubled[i]) == twice);
      sum += doubled[i];
      odd += doubled[i] % 2 != 0 ? 1 : 0;
    }
    REQUIRE((odd == 0 || odd == 8));
    REQUIRE(sum % 4 == 0);
  }
}

TEST_CASE("E8P's norms are the paper's and no two points nearer than √2") {
  std::map<int, std::set<E8pPoint>> patterns;  // by |p|²
  for (const E8pPoint& x : points()) {
    // Which of x - 1/4 and x + 1/4 has halves of odd numbers: their doubles are odd.
    const real shift =
        std::fmod(std::fabs(double(x[0]) - 0.25) * 2, 2) == 1 ? real(0.25) : real(-0.25);
    E8pPoint p{};
    double squares = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      p[i] = std::fabs(x[i] - shift);
      squares += double(p[i]) * double(p[i]);
    }
    patterns[static_cast<int>(std::lround(squares))].insert(p);
  }
  // By counting: coordinates 1/2, 3/2 and 5/2; C(8,k) of k times 3/2; 8 with a 5/2, 56 with a 3/2 as well.
  const std::map<int, std::size_t> expected{{2, 1},      {4, 8},        {6, 28},
                                            {8, 56 + 8}, {10, 70 + 56}, {12, 29}};
  CHECK(patterns.size() == expected.size());
  for (const auto& [norm, count] : expected) CHECK(patterns[norm].size() == count);
  for (const E8pPoint& p : patterns[12]) CHECK(std::ranges::count(p, real(1.5)) == 5);
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 60; ++i) {
    const std::size_t word = static_cast<std::size_t>(i) * 1093;
    for (std::size_t other = 0; other < points().size(); ++other)
      if (other != word) least = std::min(least, squared_distance(points()[word], points()[other]));
  }
  CHECK(least == 2);
}

TEST_CASE("the nearest point of E8P is the nearest of all 65,536") {
  Rng rng(17);
  for (int i = 0; i < 150; ++i) {
    const E8pPoint v =
        normal_point(rng, std::array{0.3, 1.0, 1.3, 3.0}[static_cast<std::size_t>(i % 4)]);
    double least = std::numeric_limits<double>::infinity();
    for (const E8pPoint& p : points()) least = std::min(least, squared_distance(v, p));
    // Two distances are compared in `real`.
    CHECK(squared_distance(v, e8p_point(e8p_nearest(v))) == Approx(least).epsilon(1e-5));
  }
}

TEST_CASE("every point of E8P is nearest to itself") {
  int others = 0;
  for (int word = 0; word < kPoints; ++word)
    others += e8p_nearest(points()[static_cast<std::size_t>(word)]) == word ? 0 : 1;
  CHECK(others == 0);
}

TEST_CASE("E8P loses less than two scalar bits and more than Shannon's") {
  const std::vector<real> w = normal_matrix(64 * 512, 4, 0.02);
  const QTensor q = rtn(w, 64, 512, e8p(), RangeRule::mse);
  double power = 0;
  for (const real v : w) power += double(v) * double(v);
  const double share = test::output_error(w, q, identity(512, 1)) / power;
  CHECK(share < 0.9 * 0.1175);  // the best scalar quantizer's: Max 1960
  CHECK(share > 0.0625);        // 2^-2R at R = 2
}

TEST_CASE("a word of E8P is stored as sixteen bits, lowest first") {
  std::vector<real> w;
  for (const std::uint16_t word : {std::uint16_t{0x1234}, std::uint16_t{0xfedc}})
    for (const real c : e8p_point(word)) w.push_back(c * 2);
  const QTensor q = quantize(w, 1, 16, e8p(), {.scales = {2}}, "t");
  CHECK(pack(q).codes == std::vector<std::uint8_t>{0x34, 0x12, 0xdc, 0xfe});
  CHECK(dequantize(q) == w);
  CHECK(unpack(pack(q), "t") == q);
}

TEST_CASE("E8P takes two bits a weight and its scales") {
  const StorageBytes bytes = storage_bytes(e8p(Granularity::group, 16), 6, 32);
  CHECK(bytes.codes == 6 * 32 / 4);
  CHECK(bytes.scales == 12 * 2);
  CHECK(bytes.total() == 48 + 24);
  CHECK(bits_per_weight(e8p(), 64, 256) == 2 + 16 / 256.0);
  for (const Spec& spec : {e8p(), e8p(Granularity::group, 16), e8p(Granularity::tensor)}) {
    INFO(name_of(spec));
    const QTensor q = rtn(normal_matrix(6 * 32, 9), 6, 32, spec, RangeRule::mse);
    CHECK(std::ssize(pack(q).codes) == storage_bytes(spec, 6, 32).codes);
    CHECK(std::ssize(pack(q).scales) == storage_bytes(spec, 6, 32).scales);
    CHECK(unpack(pack(q), "t") == q);
  }
}

TEST_CASE("columns that cannot share words are refused") {
  CHECK(test::error_of([] { validate(e8p(), 12, "t"); }).field == "grid");
  CHECK(test::error_of([] { validate(e8p(Granularity::group, 12), 24, "t"); }).field ==
        "group_size");
  CHECK_NOTHROW(validate(e8p(Granularity::group, 8), 24, "t"));
  Spec four = e8p();
  four.bits = 4;
  CHECK(test::error_of([&] { validate(four, 16, "t"); }).field == "bits");
}

TEST_CASE("GPTQ of uncorrelated inputs takes the nearest points of E8P") {
  const std::vector<real> w = normal_matrix(70 * 24, 3);
  const GptqResult found =
      gptq(w, 70, 24, e8p(Granularity::group, 8), identity(24, 3), {.clip = Clip::mse}, "t");
  CHECK(found.q == rtn(w, 70, 24, e8p(Granularity::group, 8), RangeRule::mse));
  CHECK(found.report.static_groups);
}

/// x = b A⁻¹ for a symmetric A [n, n], by elimination.
Matrix solved(Matrix A, Matrix b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t r = i + 1; r < n; ++r) {
      const double by = A[r * n + i] / A[i * n + i];
      for (std::size_t c = i; c < n; ++c) A[r * n + c] -= by * A[i * n + c];
      b[r] -= by * b[i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t c = i + 1; c < n; ++c) b[i] -= A[i * n + c] * b[c];
    b[i] /= A[i * n + i];
  }
  return b;
}

TEST_CASE("GPTQ's later words make up for the first one's error") {
  // With d = w - ŵ of the columns before, the best real-valued d of the block B and all after it is
  // -d H_before,rest H_rest,rest⁻¹: the block's part of it is what its weights move by (BlockLDLQ, eq. 3).
  const std::int64_t K = 32, rows = 3;
  const std::vector<real> w = normal_matrix(rows * K, 21);
  Matrix H = hessian_of(correlated_inputs(400, K, 22), K);
  const GptqResult found = gptq(w, rows, K, e8p(), H, {.damp = 0.01}, "t");
  double mean = 0;
  for (std::int64_t i = 0; i < K; ++i) mean += H[at(i * K + i)] / double(K);
  for (std::int64_t i = 0; i < K; ++i) H[at(i * K + i)] += 0.01 * mean;
  const std::vector<real> back = dequantize(found.q);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t B = 8; B < K; B += 8) {
      const std::int64_t n = K - B;
      Matrix A(at(n * n)), b(at(n));
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) A[at(i * n + j)] = H[at((B + i) * K + B + j)];
        for (std::int64_t j = 0; j < B; ++j)
          b[at(i)] +=
              (double(w[at(r * K + j)]) - double(back[at(r * K + j)])) * H[at(j * K + B + i)];
      }
      const Matrix move = solved(A, b);  // w + move is the target
      const double scale = double(found.q.at.scales[at(r)]);
      E8pPoint target{}, chosen{};
      for (std::int64_t i = 0; i < 8; ++i) {
        target[at(i)] = static_cast<real>((double(w[at(r * K + B + i)]) + move[at(i)]) / scale);
        chosen[at(i)] = static_cast<real>(double(back[at(r * K + B + i)]) / scale);
      }
      const double least = squared_distance(target, e8p_point(e8p_nearest(target)));
      CHECK(squared_distance(target, chosen) == Approx(least).epsilon(1e-3));
    }
  }
  Matrix plain = hessian_of(correlated_inputs(400, K, 22), K);
  CHECK(found.report.error == Approx(test::output_error(w, found.q, plain)).epsilon(1e-3));
  CHECK(found.report.error < found.report.rtn_error);
  // Scales that the sweep is tried with lose no more than the first ones, row by row.
  const GptqResult first = gptq(w, rows, K, e8p(), plain, {.damp = 0.01, .clip = Clip::mse}, "t");
  CHECK(found.report.damped_error < first.report.damped_error);
  CHECK(first.q.at.scales == rtn(w, rows, K, e8p(), RangeRule::mse).at.scales);
}

}  // namespace e8p_test
