// Products of bfloat16 operands against sums in double of operands that are rounded here, by
// rounding to a multiple of the last place: another way than the kernel's arithmetic on bits.
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/cpu.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/bf16_tile.h"
#include "autograd/kernels/blas.h"
#include "tests/catch.h"

namespace bf16_test {

using namespace notch;
using kernels::Bf16Product;

using Floats = std::vector<float>;

/// bfloat16 has 8 significant bits: x = f · 2^e with 1/2 <= f < 1 is rounded to a multiple of
/// 2^(e-8).
double nearest_bf16(float x) {
  int e = 0;
  std::frexp(x, &e);
  const double unit = std::ldexp(1.0, e - 8);
  return std::nearbyint(static_cast<double>(x) / unit) * unit;
}

Floats normals(std::int64_t n, std::uint64_t seed) {
  Rng rng(seed, 0);
  Floats x(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>(rng.normal());
  return x;
}

std::vector<const kernels::Bf16Kernel*> available() {
  std::vector<const kernels::Bf16Kernel*> all;
  if (cpu_features().avx512_bf16) all.push_back(&kernels::bf16_avx512());
  if (cpu_features().amx_bf16) all.push_back(&kernels::bf16_amx());
  return all;
}

float at(const Floats& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; }

TEST_CASE("bf16 products are sums of products of rounded operands") {
  struct Shape {
    std::int64_t M, N, K;
  };
  for (const auto* kernel : available()) {
    for (const auto& [M, N, K] : {Shape{1, 1, 1},
                                  {5, 33, 7},
                                  {32, 32, 32},
                                  {65, 70, 129},
                                  {130, 31, 513},
                                  {16, 4100, 40},
                                  {33, 64, 1100},
                                  {64, 40, 2500}}) {
      for (int layout = 0; layout < 12; ++layout) {
        const bool trans_a = layout & 1, trans_b = layout & 2, accumulate = layout & 4;
        const bool biased = layout & 8;
        const Floats a = normals(M * K, 1), b = normals(K * N, 2), bias = normals(N, 4);
        Floats out = normals(M * N, 3);
        const Floats before = out;
        kernels::bf16_matmul({.out = out.data(),
                              .a = a.data(),
                              .b = b.data(),
                              .bias = biased ? bias.data() : nullptr,
                              .M = M,
                              .N = N,
                              .K = K,
                              .ld_out = N,
                              .lda = trans_a ? M : K,
                              .ldb = trans_b ? K : N,
                              .trans_a = trans_a,
                              .trans_b = trans_b,
                              .accumulate = accumulate},
                             *kernel);
        double worst = 0;
        for (std::int64_t i = 0; i < M; ++i)
          for (std::int64_t j = 0; j < N; j += 1 + N / 50) {
            double sum = accumulate ? at(before, i * N + j) : biased ? at(bias, j) : 0;
            double size = 1 + std::abs(sum);
            for (std::int64_t k = 0; k < K; ++k) {
              const double term = nearest_bf16(at(a, trans_a ? k * M + i : i * K + k)) *
                                  nearest_bf16(at(b, trans_b ? j * K + k : k * N + j));
              sum += term;
              size += std::abs(term);
            }
            // K float additions in any order: at most K · 2^-24 of the terms' sizes.
            const double bound = static_cast<double>(K + 2) * 0x1p-24 * size;
            worst = std::max(worst, std::abs(at(out, i * N + j) - sum) / bound);
          }
        INFO("M " << M << " N " << N << " K " << K << " layout " << layout);
        CHECK(worst <= 1);
      }
    }
  }
}

TEST_CASE("operands round to bfloat16, ties to even, non-finite stays") {
  if (!kernels::bf16_available()) return;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto rounded = [](float x) {
    float out = 0;
    const float one = 1;
    kernels::bf16_matmul(
        {.out = &out, .a = &x, .b = &one, .M = 1, .N = 1, .K = 1, .ld_out = 1, .lda = 1, .ldb = 1});
    return out;
  };
  CHECK(rounded(1 + 0x1p-8f) == 1);                // half way between 1 and 1 + 2^-7: to even
  CHECK(rounded(1 + 3 * 0x1p-8f) == 1 + 0x1p-6f);  // half way the other way
  CHECK(rounded(1 + 0x1p-8f + 0x1p-20f) == 1 + 0x1p-7f);
  CHECK(rounded(-3.0e38f) == static_cast<float>(nearest_bf16(-3.0e38f)));
  CHECK(rounded(kInfinity) == kInfinity);
  CHECK(rounded(std::numeric_limits<float>::max()) == kInfinity);  // beyond the largest bfloat16
  CHECK(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("bf16 products have the same bits for any number of threads") {
  if (!kernels::bf16_available()) return;
  const std::int64_t M = 300, N = 200, K = 700;
  const Floats a = normals(M * K, 4), b = normals(K * N, 5);
  const int before = threads();
  Floats results[3];
  for (int t = 1; t <= 3; ++t) {
    set_threads(t);
    Floats& out = results[t - 1];
    out.resize(static_cast<std::size_t>(M * N));
    kernels::gemm(out, a, b, M, N, K, {.precision = kernels::Precision::bf16});
  }
  set_threads(before);
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

}  // namespace bf16_test
