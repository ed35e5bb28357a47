#include "quant/methods/factored.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "nn/resized.h"
#include "quant/kernels/singular_values.h"
#include "quant/methods/double_product.h"
#include "quant/methods/gptq.h"
#include "quant/methods/text_states.h"

namespace notch::quant {
namespace {

using Doubles = std::vector<double>;

constexpr const char* kSvd = "svd";

/// What is known of the matrices of a step before ranks are chosen.
struct Spectrum {
  std::string name{};
  std::vector<nn::Linear*> linears{};
  Index rows = 0, cols = 0;
  Doubles energies{};  ///< largest first
  Doubles U{};         ///< [min(rows, cols), rows]: their directions
  Doubles kept{};      ///< by the first r + 1 of them, as a share

  Index most() const { return std::min(rows, cols); }
  /// The least rank that is a multiple of `unit` and holds this share; 0 where it saves nothing.
  Index rank(double share, Index unit) const {
    for (Index r = unit; r <= most() && r * (rows + cols) < rows * cols; r += unit)
      if (kept[at(r - 1)] >= share) return r;
    return 0;
  }
  Index weights(Index r) const { return r > 0 ? r * (rows + cols) : rows * cols; }
};

Doubles stacked(const std::vector<nn::Linear*>& linears) {
  Doubles W;
  for (const nn::Linear* l : linears)
    for (const real w : l->weight->value.flat()) W.push_back(static_cast<double>(w));
  return W;
}

/// Of W H Wᵀ. Where W has more rows than columns, in a basis of its columns: R = B W, B Bᵀ = I.
Spectrum spectrum(const std::vector<nn::Linear*>& linears, const std::optional<Hessian>& H) {
  Spectrum s{.name = linears[0]->name, .linears = linears, .cols = linears[0]->in_features()};
  for (const nn::Linear* l : linears) s.rows += l->out_features();
  const Doubles W = stacked(linears);
  const Index m = s.rows, n = s.cols, p = s.most();
  Doubles basis, R = W;
  if (m > n) {
    basis.resize(W.size());
    for (Index r = 0; r < m; ++r)
      for (Index c = 0; c < n; ++c) basis[at(c * m + r)] = W[at(r * n + c)];
    orthonormalise(basis, n, m);
    R = times(basis, W, n, n, m);
  }
  const Doubles RH = H ? times(R, H->matrix(), p, n, n) : R;
  Eigenvectors found = eigenvectors_of(times(RH, R, p, p, n, true), p, s.name);
  s.U = basis.empty() ? std::move(found.vectors) : times(found.vectors, basis, p, m, p);
  s.energies = std::move(found.values);
  double all = 0, sum = 0;
  for (const double e : s.energies) all += e;
  for (const double e : s.energies) s.kept.push_back(all > 0 ? (sum += e) / all : 1);
  // In the sums' rounding the whole spectrum is the whole.
  s.kept.back() = 1;
  return s;
}

/// Of the matrices of every step of the blocks, in order.
std::vector<Spectrum> spectra(nn::Model& model, bool whitened, std::span<const nn::Tokens> text) {
  std::vector<Spectrum> all;
  std::optional<TextStates> states;
  if (whitened) states.emplace(model, text);
  for (const nn::Stage& stage : model.stages()) {
    if (stage.linears().empty()) continue;
    check(std::ssize(stage.steps) == nn::kStepsOfBlock, stage.name, "has ", stage.steps.size(),
          " steps");
    std::vector<std::optional<Hessian>> moments(stage.steps.size());
    if (whitened) {
      for (std::size_t i = 0; i < moments.size(); ++i)
        moments[i].emplace(stage.steps[i].linears[0]->in_features());
      const auto see = [&](const nn::Linear& l, Var x) {
        for (std::size_t i = 0; i < moments.size(); ++i)
          if (stage.steps[i].linears[0] == &l) moments[i]->accumulate(x.value().flat());
      };
      const TextStates::Input as_it_is = [](const nn::Linear&, Var x) { return x; };
      for (std::size_t b = 0; b < states->batches(); ++b)
        states->advance(stage.steps, b, as_it_is, see);
    }
    for (std::size_t i = 0; i < stage.steps.size(); ++i)
      all.push_back(spectrum(stage.steps[i].linears, moments[i]));
  }
  check(!all.empty(), kSvd, "the model has no blocks");
  return all;
}

std::vector<Index> ranks_of(std::span<const Spectrum> all, double share, Index unit) {
  std::vector<Index> ranks;
  for (const Spectrum& s : all) ranks.push_back(s.rank(share, unit));
  return ranks;
}

/// The largest share of the energies whose factors have at most `share` of the weights; the least that
/// there is where all have more.
double energy_of_weights(std::span<const Spectrum> all, double share, Index unit) {
  Doubles candidates{0};
  double whole = 0;
  for (const Spectrum& s : all) {
    whole += static_cast<double>(s.weights(0));
    for (Index r = unit; r <= s.most(); r += unit) candidates.push_back(s.kept[at(r - 1)]);
  }
  std::ranges::sort(candidates);
  const auto fits = [&](double energy) {
    double weights = 0;
    for (const Spectrum& s : all) weights += static_cast<double>(s.weights(s.rank(energy, unit)));
    return weights <= share * whole;
  };
  // More energy takes more weights: the fitting ones come first.
  const auto end = std::ranges::partition_point(candidates, fits);
  return end == candidates.begin() ? candidates.front() : *(end - 1);
}

/// The factors of a step: A [rows, r] cut into its matrices, B [r, cols].
void put_factors(const Spectrum& s, Index r, ParamStore& to, const std::string& down) {
  const Doubles W = stacked(s.linears);
  const std::span<const double> U = std::span(s.U).first(at(r * s.rows));
  Doubles B = times(U, W, r, s.cols, s.rows), lengths(at(r), 0.0);
  real* out = to.find(down)->value.data;
  for (Index k = 0; k < r; ++k) {
    double square = 0;
    for (Index c = 0; c < s.cols; ++c) square += B[at(k * s.cols + c)] * B[at(k * s.cols + c)];
    // √‖B_k‖, which both factors then have for a length, as U's rows have 1.
    const double length = lengths[at(k)] = std::sqrt(std::sqrt(square));
    for (Index c = 0; c < s.cols; ++c)
      *out++ = static_cast<real>(length > 0 ? B[at(k * s.cols + c)] / length : 0);
  }
  Index first = 0;
  for (const nn::Linear* l : s.linears) {
    real* A = to.find(l->weight->name)->value.data;
    for (Index row = first; row < first + l->out_features(); ++row)
      for (Index k = 0; k < r; ++k)
        *A++ = static_cast<real>(lengths[at(k)] * U[at(k * s.rows + row)]);
    first += l->out_features();
  }
}

}  // namespace

Factored factored(nn::Model& model, const FactorOptions& options,
                  std::span<const nn::Tokens> text) {
  check(options.share > 0 && options.share <= 1, kSvd, "a share of ", options.share,
        " is not above 0 and at most 1");
  check(options.unit >= 1, kSvd, "ranks in units of ", options.unit);
  check(model.sizes().ranks.empty(), kSvd, "the matrices are in two factors already");
  check(!options.whitened || !text.empty(), kSvd, "needs text and got none");
  for (const nn::Linear* l : model.linears())
    check(l->weight->value.data != nullptr, l->name, "has a shape and no values to factor");
  const std::vector<Spectrum> all = spectra(model, options.whitened, text);
  const double energy =
      options.weights ? energy_of_weights(all, options.share, options.unit) : options.share;
  const std::vector<Index> ranks = ranks_of(all, energy, options.unit);
  if (std::ranges::all_of(ranks, [](Index r) { return r == 0; })) {
    throw Error({.where = std::string(kSvd),
                 .what = "no matrix gets smaller: so much of their energy takes all of their ranks",
                 .found = str(options.share),
                 .expected = "a smaller share",
                 .hint = "notch inspect MODEL_DIR --svd shows their spectra"});
  }
  Factored out{.model = nn::with_ranks(model, ranks, nn::Model::Values::allocate)};
  ParamStore& to = out.model->params();
  nn::copy_alike(model.params(), to);
  std::vector<const nn::Step*> downs;
  const std::vector<nn::Stage> stages = out.model->stages();
  for (const nn::Stage& stage : stages)
    for (const nn::Step& step : stage.steps)
      if (!step.linears.empty()) downs.push_back(&step);
  auto next = downs.begin();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Index r = ranks[i];
    if (r > 0) put_factors(all[i], r, to, (*next++)->linears[0]->weight->name);
    ++next;
    out.matrices.push_back({.name = all[i].name,
                            .rows = all[i].rows,
                            .cols = all[i].cols,
                            .rank = r,
                            .kept = r > 0 ? all[i].kept[at(r - 1)] : 1});
  }
  return out;
}

std::vector<Index> least_ranks(const nn::Sizes& sizes, Index unit) {
  check(unit >= 1, kSvd, "ranks in units of ", unit);
  std::vector<Index> ranks;
  for (int block = 0; block < sizes.n_layer; ++block) {
    for (const nn::StepShape& s : nn::step_shapes(sizes)) {
      const bool smaller =
          unit <= std::min(s.rows, s.cols) && unit * (s.rows + s.cols) < s.rows * s.cols;
      ranks.push_back(smaller ? unit : 0);
    }
  }
  return ranks;
}

double weights_share(const nn::Sizes& sizes, std::span<const Index> ranks) {
  const std::vector<nn::StepShape> shapes = nn::step_shapes(sizes);
  check(!shapes.empty() && ranks.size() % shapes.size() == 0, kSvd, ranks.size(), " ranks of ",
        shapes.size(), " matrices a block");
  double weights = 0, whole = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const nn::StepShape& s = shapes[i % shapes.size()];
    const auto dense = static_cast<double>(s.rows * s.cols);
    whole += dense;
    weights += ranks[i] > 0 ? static_cast<double>(ranks[i] * (s.rows + s.cols)) : dense;
  }
  return whole > 0 ? weights / whole : 1;
}

}  // namespace notch::quant
