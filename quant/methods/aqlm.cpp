#include "quant/methods/aqlm.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "quant/methods/gptq.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

using Doubles = std::vector<double>;

constexpr int kGradientSteps = 20;
constexpr double kLeastGain = 0.01;
constexpr Index kTileRows = 16;  // parallel tiles: of the shape only

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

class Improvement {
 public:
  Improvement(QTensor& q, std::span<const real> w, std::span<const double> H, int beam)
      : q_(q),
        w_(w.begin(), w.end()),
        H_(H),
        rows_(q.rows),
        cols_(q.cols),
        unit_(unit_size(q.spec, q.rows, q.cols)),
        words_(at(rows_ * groups())),
        beam_(beam) {
    for (Index i = 0; i < std::ssize(words_); ++i)
      words_[at(i)] = code_word(q_.codes.data() + i * kWordColumns, q_.spec.bits);
  }

  double error() const {
    const Doubles E = errors();
    return dot(E, times_H(E));
  }

  /// Conjugate gradients for Σ over rows of (w - ŵ) H (w - ŵ)ᵀ as a function of the codebooks' numbers, in which
  /// ŵ is linear. The numbers are rounded at the end.
  void fit_codebooks() {
    const Doubles E = errors();
    Doubles step(q_.at.codebooks.size());
    Doubles rest = gathered(times_H(E)), direction = rest;
    double size = dot(rest, rest);
    const double small = 1e-12 * size;
    for (int i = 0; i < kGradientSteps && size > small; ++i) {
      const Doubles across = gathered(times_H(spread(direction)));
      const double curvature = dot(direction, across);
      if (!(curvature > 0)) break;  // codebooks can move against each other and change nothing
      const double by = size / curvature;
      for (std::size_t j = 0; j < step.size(); ++j) {
        step[j] += by * direction[j];
        rest[j] -= by * across[j];
      }
      const double before = std::exchange(size, dot(rest, rest));
      for (std::size_t j = 0; j < step.size(); ++j)
        direction[j] = rest[j] + size / before * direction[j];
    }
    for (std::size_t j = 0; j < step.size(); ++j) {
      q_.at.codebooks[j] = round_level(
          static_cast<real>(static_cast<double>(q_.at.codebooks[j]) + step[j]), ScaleType::f16);
    }
  }

  /// Scale after scale of a row, with the others as they are. One for the whole matrix stays.
  void fit_scales() {
    if (q_.spec.granularity == Granularity::tensor) return;
    const Codebooks books(q_.spec, q_.at.codebooks);
    for_rows([&](Index r) {
      Doubles G = row_gradient(r);
      for (Index begin = 0; begin < cols_; begin += unit_) {
        Doubles v(at(unit_)), vH(at(cols_));
        for (Index j = 0; j < unit_; j += kWordColumns) {
          const Vector8 sum = books.sum(words_[at((r * cols_ + begin + j) / kWordColumns)]);
          std::ranges::copy(sum, v.begin() + j);
        }
        add_rows(vH, v, begin, 1);
        const double along = dot(v, std::span(G).subspan(at(begin), at(unit_)));
        const double size = dot(v, std::span(vH).subspan(at(begin), at(unit_)));
        real& scale = q_.at.scales[at((r * cols_ + begin) / unit_)];
        if (!(size > 0)) continue;
        const auto wanted = static_cast<real>(static_cast<double>(scale) + along / size);
        if (!std::isfinite(wanted) || wanted <= 0) continue;
        const real stored = round_scale(wanted, q_.spec.scale);
        const double by = static_cast<double>(stored) - static_cast<double>(scale);
        if (by * by * size - 2 * by * along >= 0) continue;  // rounding took the gain
        scale = stored;
        for (std::size_t j = 0; j < G.size(); ++j) G[j] -= by * vH[j];
      }
    });
  }

  /// Word after word of a row. With G = (w - ŵ) H, of which word J has a part G_J, moving ŵ_J by d changes the error
  /// by d H_JJ dᵀ - 2 G_J dᵀ, so that the best ŵ_J is nearest to ŵ_J + G_J H_JJ⁻¹ in the metric H_JJ.
  void search_codes() {
    const Codebooks books(q_.spec, q_.at.codebooks);
    std::vector<BeamSearch> searches;
    std::vector<Doubles> blocks, factors;
    for (Index J = 0; J < groups(); ++J) {
      blocks.push_back(block(J));
      searches.emplace_back(books, blocks.back(), beam_);
      factors.push_back(blocks.back());
      const int failed = kernels::cholesky(factors.back(), kWordColumns);
      check(failed == 0, "aqlm", "the Hessian is not positive definite");
    }
    for_rows([&](Index r) {
      Doubles G = row_gradient(r);
      for (Index J = 0; J < groups(); ++J) {
        std::uint32_t& word = words_[at(r * groups() + J)];
        const Index column = J * kWordColumns;
        const auto scale = static_cast<double>(q_.at.scales[at((r * cols_ + column) / unit_)]);
        const auto g = std::span(G).subspan(at(column), at(kWordColumns));
        Doubles target(g.begin(), g.end());
        kernels::cholesky_solve_serial(target, factors[at(J)], 1, kWordColumns);
        const Vector8 now = books.sum(word);
        BeamSearch::Target t{};
        for (std::size_t i = 0; i < t.size(); ++i)
          t[i] = static_cast<double>(now[i]) + target[i] / scale;
        const std::uint32_t found = searches[at(J)].nearest(t);
        const Vector8 then = books.sum(found);
        Doubles moved(at(kWordColumns));
        for (std::size_t i = 0; i < moved.size(); ++i)
          moved[i] = scale * (static_cast<double>(then[i]) - static_cast<double>(now[i]));
        double change = -2 * dot(moved, g);
        for (std::size_t i = 0; i < moved.size(); ++i)
          for (std::size_t j = 0; j < moved.size(); ++j)
            change += moved[i] * blocks[at(J)][i * moved.size() + j] * moved[j];
        if (!(change < 0)) continue;
        word = found;
        add_rows(G, moved, column, -1);
      }
    });
    for (Index i = 0; i < std::ssize(words_); ++i)
      put_word(q_.codes.data() + i * kWordColumns, words_[at(i)], q_.spec.bits);
  }

 private:
  Index groups() const { return cols_ / kWordColumns; }

  template <class Body>
  void for_rows(const Body& body) const {
    parallel_for(quotient_up(rows_, kTileRows), [&](Index tile) {
      for (Index r = tile * kTileRows; r < std::min(rows_, (tile + 1) * kTileRows); ++r) body(r);
    });
  }

  Doubles errors() const {
    Doubles E = w_;
    const std::vector<real> rounded = dequantize(q_);
    for (std::size_t i = 0; i < E.size(); ++i) E[i] -= static_cast<double>(rounded[i]);
    return E;
  }

  Doubles times_H(const Doubles& E) const {
    Doubles out(E.size());
    kernels::gemm(out, std::span<const double>(E), H_, rows_, cols_, cols_);
    return out;
  }

  /// (w - ŵ) H of a row.
  Doubles row_gradient(Index r) const {
    const Codebooks books(q_.spec, q_.at.codebooks);
    Doubles e(at(cols_)), G(at(cols_));
    for (Index c = 0; c < cols_; c += kWordColumns) {
      const Vector8 v = books.sum(words_[at((r * cols_ + c) / kWordColumns)]);
      const real scale = q_.at.scales[at((r * cols_ + c) / unit_)];
      for (Index j = 0; j < kWordColumns; ++j)
        e[at(c + j)] = w_[at(r * cols_ + c + j)] - static_cast<double>(v[at(j)] * scale);
    }
    add_rows(G, e, 0, 1);
    return G;
  }

  /// G += by · v H[first …], v over columns from `first` on.
  void add_rows(Doubles& G, std::span<const double> v, Index first, double by) const {
    for (std::size_t i = 0; i < v.size(); ++i) {
      const double factor = by * v[i];
      if (factor == 0) continue;
      const double* const h = H_.data() + (first + static_cast<Index>(i)) * cols_;
      for (std::size_t j = 0; j < G.size(); ++j) G[j] += factor * h[j];
    }
  }

  Doubles block(Index J) const {
    Doubles B;
    for (Index i = J * kWordColumns; i < (J + 1) * kWordColumns; ++i)
      for (Index j = J * kWordColumns; j < (J + 1) * kWordColumns; ++j)
        B.push_back(H_[at(i * cols_ + j)]);
    return B;
  }

  /// body(word's first weight, scale, first number of a codebook's vector) for each vector of each word.
  template <class Body>
  void for_vectors(const Body& body) const {
    const Codebooks books(q_.spec, q_.at.codebooks);
    for (Index i = 0; i < std::ssize(words_); ++i) {
      const auto scale = static_cast<double>(q_.at.scales[at(i * kWordColumns / unit_)]);
      for (Index m = 0; m < books.books; ++m)
        body(i * kWordColumns, scale,
             books.vector(m, books.code_of(words_[at(i)], m)) - books.values.data());
    }
  }

  /// The change of ŵ when codebooks change by `numbers`.
  Doubles spread(const Doubles& numbers) const {
    Doubles out(w_.size());
    for_vectors([&](Index weight, double scale, Index number) {
      for (Index j = 0; j < kWordColumns; ++j)
        out[at(weight + j)] += scale * numbers[at(number + j)];
    });
    return out;
  }

  /// Its transpose.
  Doubles gathered(const Doubles& weights) const {
    Doubles out(q_.at.codebooks.size());
    for_vectors([&](Index weight, double scale, Index number) {
      for (Index j = 0; j < kWordColumns; ++j)
        out[at(number + j)] += scale * weights[at(weight + j)];
    });
    return out;
  }

  QTensor& q_;
  Doubles w_;
  std::span<const double> H_;
  Index rows_, cols_, unit_;
  std::vector<std::uint32_t> words_;
  int beam_;
};

/// H with a part of its mean diagonal added: unseen inputs, too, keep their weights.
Doubles damped(Doubles H, Index K, double damp) {
  double trace = 0;
  for (Index i = 0; i < K; ++i) trace += H[at(i * K + i)];
  const double mean = trace > 0 ? trace / static_cast<double>(K) : 1;
  for (Index i = 0; i < K; ++i) H[at(i * K + i)] += std::max(damp, 1e-6) * mean;
  return H;
}

double output_error(std::span<const real> w, const QTensor& q, std::span<const double> H) {
  const std::vector<real> rounded = dequantize(q);
  Doubles E(w.size()), EH(w.size());
  for (std::size_t i = 0; i < E.size(); ++i)
    E[i] = static_cast<double>(w[i]) - static_cast<double>(rounded[i]);
  kernels::gemm(EH, std::span<const double>(E), H, q.rows, q.cols, q.cols);
  return dot(E, EH);
}

Rounded round(const MatrixView& matrix, const PostTrainingOptions& options) {
  const Target& t = matrix.target;
  if (t.spec.grid != GridKind::additive) return round_by_gptq(matrix, options);
  Rounded out{.q = round_nearest(t, RangeRule::absmax)};
  if (matrix.H == nullptr || matrix.w.empty()) return out;
  const Doubles H = matrix.H->matrix();
  const double before = output_error(matrix.w, out.q, H);
  check(std::isfinite(before), t.name, "the Hessian is not finite");
  improve_additive(out.q, matrix.w, damped(H, matrix.cols(), options.gptq.damp), options.aqlm);
  out.measures = {{"output_error", output_error(matrix.w, out.q, H)}, {"rtn_output_error", before}};
  return out;
}

constexpr LayerFigure kLayerFigures[] = {{"output_error", "output error", 6},
                                         {"rtn_output_error", "of k-means", 6}};
constexpr RowFigure kRowFigures[] = {
    {"aqlm_error_share", "output error, % of k-means'", 1, true,
     [](std::span<const LayerReport> layers) {
       const double first = total(layers, "rtn_output_error");
       return first > 0 ? total(layers, "output_error") / first : 1;
     }}};

}  // namespace

double improve_additive(QTensor& q, std::span<const real> w, std::span<const double> H,
                        const AqlmOptions& options) {
  require_whole(q, "aqlm");
  check(q.spec.grid == GridKind::additive && w.size() == q.codes.size() &&
            std::ssize(H) == q.cols * q.cols,
        "aqlm", "got ", w.size(), " weights and ", H.size(), " second moments for ",
        name_of(q.spec), " [", q.rows, ", ", q.cols, "]");
  Improvement improvement(q, w, H, options.beam);
  double least = improvement.error();
  // The numbers are rounded to 16 bits: what that takes may be more than a step gains.
  const auto keep_if_better = [&](const auto& step) {
    const Scales before = q.at;
    step();
    if (const double error = improvement.error(); error < least) {
      least = error;
    } else {
      q.at = before;
    }
  };
  for (int round = 0; round < options.rounds && least > 0; ++round) {
    const double before = least;
    keep_if_better([&] { improvement.fit_codebooks(); });
    keep_if_better([&] { improvement.fit_scales(); });
    improvement.search_codes();
    least = improvement.error();
    if (before - least < kLeastGain * before) break;
  }
  return least;
}

constinit const Method kAqlm{.name = "aqlm",
                             .source = "Egiazarian et al. 2024",
                             .needs = {.hessian = true},
                             .round = round,
                             .own_levels = true,
                             .grid = GridKind::additive,
                             .section = "aqlm",
                             .base_section = "gptq",
                             .layer_figures = kLayerFigures,
                             .row_figures = kRowFigures};

}  // namespace notch::quant
