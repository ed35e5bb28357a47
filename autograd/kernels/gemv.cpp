#include "autograd/kernels/gemv.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/register_tile.h"

namespace notch::kernels {
namespace {

constexpr Index kLaneCount = 16;
constexpr Index kTileWeights = 65536;

typedef real Lanes __attribute__((vector_size(kLaneCount * sizeof(real))));

NOTCH_INLINE void load(Lanes& v, const real* p) { std::memcpy(&v, p, sizeof v); }

/// sum = fl(a·b + sum) in every lane. Inside NOTCH_TARGET the compiler fuses (and std::fma would be
/// taken lane by lane); elsewhere nothing may be fused that is not asked for.
template <bool kTarget>
NOTCH_INLINE void add_product(Lanes& sum, const Lanes& a, const Lanes& b) {
#if defined(__clang__)
#pragma clang fp contract(fast)
#endif
  if constexpr (kTarget && kContracts) {
    sum += a * b;
  } else {
    for (Index l = 0; l < kLaneCount; ++l) sum[l] = std::fma(a[l], b[l], sum[l]);
  }
}

NOTCH_INLINE real fold_lanes(const Lanes& sum) {
  real lanes[kLaneCount];
  std::memcpy(lanes, &sum, sizeof sum);
  return fold<kLaneCount / 2>(lanes, [](real a, real b) { return a + b; });
}

/// One row of w times kM rows of x. One row at a time, so that a core reads memory in order: four
/// rows side by side reached two thirds of the bandwidth. (A row's sum is a chain of additions, but
/// the next row's begins before it ends.)
template <bool kTarget, int kM>
NOTCH_INLINE void dots(real* out, Index ld_out, const real* x, const real* w, const real* bias,
                       Index K) {
  Lanes sum[kM] = {};
  const Index whole = K / kLaneCount * kLaneCount;
  for (Index k = 0; k < whole; k += kLaneCount) {
    Lanes row;
    load(row, w + k);
    for (int m = 0; m < kM; ++m) {
      Lanes xm;
      load(xm, x + m * K + k);
      add_product<kTarget>(sum[m], row, xm);
    }
  }
  if (whole < K) {  // completed with zeros
    const auto n = static_cast<std::size_t>(K - whole) * sizeof(real);
    Lanes row{};
    std::memcpy(&row, w + whole, n);
    for (int m = 0; m < kM; ++m) {
      Lanes xm{};
      std::memcpy(&xm, x + m * K + whole, n);
      add_product<kTarget>(sum[m], row, xm);
    }
  }
  for (int m = 0; m < kM; ++m) out[m * ld_out] = fold_lanes(sum[m]) + (bias ? *bias : real{0});
}

struct Product {
  real* out;
  const real *x, *w, *bias;
  Index M, N, K;
};

template <bool kTarget>
NOTCH_INLINE void tile(const Product& p, Index begin, Index end) {
  for (Index n = begin; n < end; ++n) {
    const real* w = p.w + n * p.K;
    const real* bias = p.bias ? p.bias + n : nullptr;
    Index m = 0;
    for (; m + 4 <= p.M; m += 4)
      dots<kTarget, 4>(p.out + m * p.N + n, p.N, p.x + m * p.K, w, bias, p.K);
    for (; m + 2 <= p.M; m += 2)
      dots<kTarget, 2>(p.out + m * p.N + n, p.N, p.x + m * p.K, w, bias, p.K);
    for (; m < p.M; ++m) dots<kTarget, 1>(p.out + m * p.N + n, p.N, p.x + m * p.K, w, bias, p.K);
  }
}

using RunTile = void (*)(const Product&, Index, Index);

#if defined(__x86_64__)
NOTCH_TARGET("avx512f,fma") void tile_512(const Product& p, Index begin, Index end) {
  tile<true>(p, begin, end);
}
NOTCH_TARGET("avx2,fma") void tile_256(const Product& p, Index begin, Index end) {
  tile<true>(p, begin, end);
}
#endif
void tile_portable(const Product& p, Index begin, Index end) { tile<false>(p, begin, end); }

RunTile choose_tile() {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return tile_512;
  if (isa() == Isa::avx2) return tile_256;
#endif
  return tile_portable;
}

}  // namespace

void gemv(std::span<real> out, std::span<const real> x, std::span<const real> w,
          std::span<const real> bias, Index M, Index N, Index K) {
  extent("gemv", {M, N, K});
  check(std::ssize(out) >= M * N && std::ssize(x) >= M * K && std::ssize(w) >= N * K &&
            (bias.empty() || std::ssize(bias) == N),
        "gemv", "out, x, w and bias hold ", out.size(), ", ", x.size(), ", ", w.size(), " and ",
        bias.size(), " values; wrong for M = ", M, ", N = ", N, ", K = ", K);
  const Product p{out.data(), x.data(), w.data(), bias.empty() ? nullptr : bias.data(), M, N, K};
  const RunTile run = choose_tile();
  const Index rows = std::max<Index>(1, kTileWeights / std::max<Index>(1, K));
  parallel_for(quotient_up(N, rows),
               [&](Index i) { run(p, i * rows, std::min(N, (i + 1) * rows)); });
}

}  // namespace notch::kernels
