// The only file that includes cblas.h. See blas.h.
#include "autograd/kernels/blas.h"

#define FORCE_OPENBLAS_COMPLEX_STRUCT  // not C's _Complex, which C++ does not have
#include <cblas.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <new>
#include <type_traits>
#include <vector>

#include "autograd/base/arithmetic.h"
#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/bf16_matmul.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/gemv.h"
#include "autograd/kernels/matmul.h"
#include "autograd/kernels/portable_gemm.h"
#include "autograd/kernels/triangular.h"

// LAPACK lives in libopenblas as well, but Debian ships no LAPACKE there.
extern "C" {
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
// Of the library, not of its header; other flavours may lack them.
__attribute__((weak)) void* blas_memory_alloc(int place);
__attribute__((weak)) void blas_memory_free(void* buffer);
}

namespace notch::kernels {
namespace {

// Tiles are large because every call of OpenBLAS packs its operands again: against one call for the
// whole product, halves of 1024 rows cost 4 %, quarters of 512 rows 7 %, eighths of 256 rows 15 to
// 25 %, and pieces of columns more than pieces of rows (AVX-512, training shapes of 128 to 768
// channels).
constexpr Index kTileRows = 512;
constexpr Index kTileCols = 1024;
/// Where there are too few rows for two such tiles, one of the edges is halved down to this...
constexpr Index kSmallEdge = 64;
/// ... unless the product is too small (about 20 µs of one core) for a second thread to pay.
constexpr double kSmallProduct = 1e6;

void cblas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int M, int N, int K, float alpha,
                const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  cblas_sgemm(CblasRowMajor, ta, tb, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc);
}
void cblas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int M, int N, int K, double alpha,
                const double* a, int lda, const double* b, int ldb, double beta, double* c,
                int ldc) {
  cblas_dgemm(CblasRowMajor, ta, tb, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc);
}

void cblas_gemv(CBLAS_TRANSPOSE t, int rows, int cols, float alpha, const float* a, int lda,
                const float* x, int step, float* y) {
  cblas_sgemv(CblasRowMajor, t, rows, cols, alpha, a, lda, x, step, 1, y, 1);
}
void cblas_gemv(CBLAS_TRANSPOSE t, int rows, int cols, double alpha, const double* a, int lda,
                const double* x, int step, double* y) {
  cblas_dgemv(CblasRowMajor, t, rows, cols, alpha, a, lda, x, step, 1, y, 1);
}

template <class Real>
void call(Real* out, const Real* a, const Real* b, Index M, Index N, Index K,
          const GemmOptions& o) {
  pin_blas();
  if (M == 1) {  // decoding; gemm would pack all of b for one row
    if (!o.accumulate) std::fill_n(out, N, Real{0});
    cblas_gemv(o.trans_b ? CblasNoTrans : CblasTrans, static_cast<int>(o.trans_b ? N : K),
               static_cast<int>(o.trans_b ? K : N), static_cast<Real>(o.alpha), b,
               static_cast<int>(o.ldb), a, o.trans_a ? static_cast<int>(o.lda) : 1, out);
    return;
  }
  cblas_gemm(o.trans_a ? CblasTrans : CblasNoTrans, o.trans_b ? CblasTrans : CblasNoTrans,
             static_cast<int>(M), static_cast<int>(N), static_cast<int>(K),
             static_cast<Real>(o.alpha), a, static_cast<int>(o.lda), b, static_cast<int>(o.ldb),
             o.accumulate ? Real{1} : Real{0}, out, static_cast<int>(o.ld_out));
}

/// Fills in the contiguous row distances and checks every span against its shape.
template <class Real>
GemmOptions resolve(std::span<Real> out, std::span<const Real> a, std::span<const Real> b, Index M,
                    Index N, Index K, GemmOptions o) {
  constexpr Index kMost = std::numeric_limits<int>::max();  // OpenBLAS counts with int
  for (const Index size : {M, N, K, o.ld_out, o.lda, o.ldb}) {
    check(size >= 0 && size <= kMost, "gemm", "M = ", M, ", N = ", N, ", K = ", K,
          " and row distances ", o.ld_out, ", ", o.lda, " and ", o.ldb, ": each must be from 0 to ",
          kMost);
  }
  const Index a_rows = o.trans_a ? K : M, a_cols = o.trans_a ? M : K;
  const Index b_rows = o.trans_b ? N : K, b_cols = o.trans_b ? K : N;
  if (o.ld_out == 0) o.ld_out = std::max<Index>(N, 1);
  if (o.lda == 0) o.lda = std::max<Index>(a_cols, 1);
  if (o.ldb == 0) o.ldb = std::max<Index>(b_cols, 1);
  const auto needed = [](Index rows, Index cols, Index ld) {
    return rows == 0 || cols == 0 ? 0 : (rows - 1) * ld + cols;
  };
  check(o.ld_out >= N && o.lda >= a_cols && o.ldb >= b_cols, "gemm", "row distances ", o.ld_out,
        ", ", o.lda, " and ", o.ldb, " are shorter than rows for M = ", M, ", N = ", N,
        ", K = ", K);
  check(holds(out, needed(M, N, o.ld_out)) && holds(a, needed(a_rows, a_cols, o.lda)) &&
            holds(b, needed(b_rows, b_cols, o.ldb)),
        "gemm", "out, a and b hold ", out.size(), ", ", a.size(), " and ", b.size(),
        " values; too few for M = ", M, ", N = ", N, ", K = ", K);
  return o;
}

/// A product over nothing.
template <class Real>
void clear(std::span<Real> out, Index M, Index N, const GemmOptions& o) {
  if (o.accumulate) return;
  for (Index r = 0; r < M; ++r) std::fill_n(out.data() + r * o.ld_out, N, Real{0});
}

template <class Real>
void serial(std::span<Real> out, std::span<const Real> a, std::span<const Real> b, Index M, Index N,
            Index K, const GemmOptions& options) {
  const GemmOptions o = resolve(out, a, b, M, N, K, options);
  if (M == 0 || N == 0) return;
  if (K == 0) return clear(out, M, N, o);
  if (is_portable()) return portable_gemm(out.data(), a.data(), b.data(), M, N, K, o);
  call(out.data(), a.data(), b.data(), M, N, K, o);
}

struct Tiling {
  Index m = 1;
  Index n = 1;
};

/// How many pieces an [M, N] product over K is cut into: from the shape alone.
Tiling tiling(Index M, Index N, Index K) {
  if (static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K) < kSmallProduct)
    return {};
  Tiling large{std::max<Index>(1, M / kTileRows), std::max<Index>(1, N / kTileCols)};
  if (large.m * large.n > 1) {
    if (large.m * large.n % 2 == 1) ++(M >= N ? large.m : large.n);  // no thread of two idles
    return large;
  }
  if (M >= N && M >= 2 * kSmallEdge) return {2, 1};
  if (N >= 2 * kSmallEdge) return {1, 2};
  return {};
}

/// Runs body(row, rows, col, cols) for every tile of an [M, N] product over K.
template <class Body>
void for_tiles(Index M, Index N, Index K, const Body& body) {
  const Tiling tiles = tiling(M, N, K);
  parallel_for(tiles.m * tiles.n, [&](Index i) {
    const Index tm = i / tiles.n, tn = i % tiles.n;
    const Index row = M * tm / tiles.m, rows = M * (tm + 1) / tiles.m - row;
    const Index col = N * tn / tiles.n, cols = N * (tn + 1) / tiles.n - col;
    body(row, rows, col, cols);
  });
}

template <class Real>
void tiled(std::span<Real> out, std::span<const Real> a, std::span<const Real> b, Index M, Index N,
           Index K, const GemmOptions& options) {
  const GemmOptions o = resolve(out, a, b, M, N, K, options);
  if (M == 0 || N == 0) return;
  if (K == 0) return clear(out, M, N, o);
  if (is_portable()) return portable_gemm(out.data(), a.data(), b.data(), M, N, K, o);
  if constexpr (std::is_same_v<Real, real>)
    if (o.alpha == 1 && matmul_pays(M, N, K, o.trans_a))
      return matmul(matmul_of(out.data(), a.data(), b.data(), M, N, K, o));
  for_tiles(M, N, K, [&](Index row, Index rows, Index col, Index cols) {
    const Real* a_tile = a.data() + (o.trans_a ? row : row * o.lda);
    const Real* b_tile = b.data() + (o.trans_b ? col * o.ldb : col);
    call(out.data() + row * o.ld_out + col, a_tile, b_tile, rows, cols, K, o);
  });
}

}  // namespace

void gemm(std::span<float> out, std::span<const float> a, std::span<const float> b, Index M,
          Index N, Index K, const GemmOptions& options) {
  if (options.precision == Precision::full || K == 0) return tiled(out, a, b, M, N, K, options);
  const GemmOptions o = resolve(out, a, b, M, N, K, options);
  check(o.alpha == 1, "gemm", "bf16 products have no alpha, got ", o.alpha);
  bf16_matmul(matmul_of(out.data(), a.data(), b.data(), M, N, K, o));
}
void gemm(std::span<double> out, std::span<const double> a, std::span<const double> b, Index M,
          Index N, Index K, const GemmOptions& options) {
  tiled(out, a, b, M, N, K, options);
}
void gemm_serial(std::span<float> out, std::span<const float> a, std::span<const float> b, Index M,
                 Index N, Index K, const GemmOptions& options) {
  serial(out, a, b, M, N, K, options);
}
void gemm_serial(std::span<double> out, std::span<const double> a, std::span<const double> b,
                 Index M, Index N, Index K, const GemmOptions& options) {
  serial(out, a, b, M, N, K, options);
}

void linear_forward(std::span<real> out, std::span<const real> x, std::span<const real> w,
                    std::span<const real> bias, Index M, Index N, Index K, Precision precision) {
  const GemmOptions o = resolve(out, x, w, M, N, K, {.trans_b = true, .accumulate = !bias.empty()});
  check(bias.empty() || (std::ssize(bias) == N && bias.data()), "linear", "bias has ", bias.size(),
        " values, out has N = ", N, " columns");
  if (M == 0 || N == 0) return;
  if (K == 0) {
    for (Index r = 0; r < M; ++r) {
      real* row = out.data() + r * N;
      bias.empty() ? std::fill_n(row, N, real{0}) : std::copy_n(bias.data(), N, row);
    }
    return;
  }
  Matmul product = matmul_of(out.data(), x.data(), w.data(), M, N, K, o);
  product.bias = bias.empty() ? nullptr : bias.data();
  product.accumulate = false;
#ifndef NOTCH_DOUBLE
  if (precision == Precision::bf16) return bf16_matmul(product);
#else
  static_cast<void>(precision);  // for gradient checks everything is double
#endif
  if (M <= kGemvRows) return gemv(out, x, w, bias, M, N, K);
  if (is_portable() || matmul_pays(M, N, K)) return matmul(product);
  for_tiles(M, N, K, [&](Index row, Index rows, Index col, Index cols) {
    real* tile = out.data() + row * N + col;
    // OpenBLAS clears or scales the output in a pass of its own, so the bias takes that pass's
    // place.
    if (!bias.empty())
      for (Index r = 0; r < rows; ++r) std::copy_n(bias.data() + col, cols, tile + r * N);
    call(tile, x.data() + row * K, w.data() + col * K, rows, cols, K, o);
  });
}

void linear_backward(std::span<real> dx, std::span<real> dw, std::span<real> dbias,
                     std::span<const real> dout, std::span<const real> x, std::span<const real> w,
                     Index M, Index N, Index K, FreshGradients fresh, Precision precision) {
  // out = x wᵀ + bias
  if (!dw.empty())
    gemm(dw, dout, x, N, K, M, {.trans_a = true, .accumulate = !fresh.dw, .precision = precision});
  if (!dx.empty()) gemm(dx, dout, w, M, K, N, {.accumulate = !fresh.dx, .precision = precision});
  if (!dbias.empty()) bias_backward(dbias, dout, M, N);
}

namespace {

constexpr Index kCholeskyTile = 256;  // the diagonal blocks are one thread's work, so not larger

}  // namespace

// By blocks, right-looking. LAPACK is column-major: a row-major lower triangle is its upper one.
int cholesky(std::span<double> a, Index N) {
  require_extent("cholesky", extent("cholesky", {N, N}), a);
  check(N <= std::numeric_limits<int>::max(), "cholesky", "N = ", N);
  pin_blas();
  const int ld = static_cast<int>(std::max<Index>(1, N));
  const Index tiles = quotient_up(N, kCholeskyTile);
  const auto first = [&](Index tile) { return std::min(N, tile * kCholeskyTile); };
  const auto size = [&](Index tile) { return static_cast<int>(first(tile + 1) - first(tile)); };
  const auto block = [&](Index r, Index c) { return a.data() + first(r) * N + first(c); };
  for (Index k = 0; k < tiles; ++k) {
    const char uplo = 'U';
    const int n = size(k);
    int info = 0;
    if (is_portable())
      info = factor_lower(block(k, k), n, N);
    else
      dpotrf_(&uplo, &n, block(k, k), &ld, &info);
    for (int i = 0; info == 0 && i < n; ++i)  // LAPACK lets a NaN pass
      if (!(block(k, k)[i * N + i] > 0)) info = i + 1;
    if (info != 0) return static_cast<int>(first(k)) + info;
    const Index below = tiles - k - 1;
    parallel_for(below, [&](Index i) {  // A_rk = A_rk L_kk⁻ᵀ
      const Index r = k + 1 + i;
      if (is_portable()) return divide_by_transpose(block(r, k), N, size(r), block(k, k), N, n);
      pin_blas();
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, size(r), n, 1.0,
                  block(k, k), ld, block(r, k), ld);
    });
    parallel_for(below * (below + 1) / 2, [&](Index i) {  // A_rc -= A_rk A_ckᵀ for c <= r
      Index r = k + 1, left = i;
      while (left > r - k - 1) left -= r++ - k;
      const Index c = k + 1 + left;
      if (is_portable()) {
        subtract_product(block(r, c), N, block(r, k), block(c, k), N, size(r), size(c), n, r == c);
        return;
      }
      pin_blas();
      if (r == c) {
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, size(r), n, -1.0, block(r, k), ld, 1.0,
                    block(r, r), ld);
      } else {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size(r), size(c), n, -1.0, block(r, k),
                    ld, block(c, k), ld, 1.0, block(r, c), ld);
      }
    });
  }
  return 0;
}

void cholesky_solve_serial(std::span<double> b, std::span<const double> l, Index M, Index N) {
  require_extent("cholesky_solve", extent("cholesky_solve", {M, N}), b);
  require_extent("cholesky_solve", extent("cholesky_solve", {N, N}), l);
  check(std::max(M, N) <= std::numeric_limits<int>::max(), "cholesky_solve", "M = ", M,
        ", N = ", N);
  if (is_portable()) {
    divide_by_transpose(b.data(), N, M, l.data(), N, N);
    divide_by(b.data(), N, M, l.data(), N, N);
    return;
  }
  pin_blas();
  for (const CBLAS_TRANSPOSE transpose : {CblasTrans, CblasNoTrans})
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, transpose, CblasNonUnit, static_cast<int>(M),
                static_cast<int>(N), 1.0, l.data(), static_cast<int>(std::max<Index>(1, N)),
                b.data(), static_cast<int>(std::max<Index>(1, N)));
}

namespace {

/// OpenBLAS tries for ever to get the buffer of a call's packed operands, so that without memory no
/// call returns. Asked for and given back at once: for all threads at the first call, and for every
/// thread that comes later.
void require_buffer() {
  constexpr std::size_t kBuffer = std::size_t{1} << 27;  // the largest of 0.3.21, and its alignment
  static std::mutex mutex;
  static int counted = 0, covered = 0;
  const std::lock_guard lock(mutex);
  if (++counted <= covered) return;
  const int more = std::max(1, threads() - covered);
  covered = counted - 1 + more;
  const std::size_t bytes = static_cast<std::size_t>(more) * (kBuffer + (std::size_t{1} << 14));
  void* probe = ::operator new(bytes, std::nothrow);
  if (!probe) {
    throw Error({.fault = Fault::io,
                 .where = "OpenBLAS",
                 .what = "not enough memory for the buffers of its calls",
                 .expected = str(bytes >> 20, " MiB of address space for ", more,
                                 more == 1 ? " thread" : " threads"),
                 .hint = "raise the limit (ulimit -v), or use fewer threads"});
  }
  ::operator delete(probe);
  // OpenBLAS keeps those it has made, 50 at least: taken now, none is asked for without memory later.
  if (!blas_memory_alloc || !blas_memory_free) return;
  std::vector<void*> buffers(static_cast<std::size_t>(std::min(threads(), 32)));
  for (void*& buffer : buffers) buffer = blas_memory_alloc(0);
  for (void* const buffer : buffers) blas_memory_free(buffer);
}

}  // namespace

void pin_blas() {
  // Per thread: the OpenMP flavour keeps its thread count in each thread's own environment. Set
  // again only if something changed it, so a call costs a thread-local load.
  thread_local const bool pinned = [] {
    require_buffer();
    openblas_set_num_threads(1);
    return openblas_get_num_threads() == 1;
  }();
  check(pinned, "blas", "OpenBLAS ignores openblas_set_num_threads(1); set OPENBLAS_NUM_THREADS=1");
}

BlasInfo blas_info() {
  pin_blas();
  const int parallel = openblas_get_parallel();
  return {.config = openblas_get_config(),
          .corename = openblas_get_corename(),
          .parallel = parallel == 0   ? "sequential"
                      : parallel == 1 ? "pthread"
                                      : "openmp",
          .threads = openblas_get_num_threads()};
}

}  // namespace notch::kernels
