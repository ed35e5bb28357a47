// Low rank: the matrices of the blocks as products of two smaller ones, W [m, n] ~ A [m, r] B [r, n].
//
// B takes the place of the input and A of the matrix, so everything that works on a model's Linears goes on
// working: training, rounding by any method, files, serving. Matrices that read one input (q, k, v; gate and
// up) are factored as one, stacked, and share B. Factors are kept where they are smaller: r (m + n) < m n.
//
// Which product: the one of rank r that changes the outputs least on text,
//   min E ‖(W - A B) x‖² = min tr((W - A B) H (W - A B)ᵀ),   H = E[x xᵀ],
// which is A B = U Uᵀ W with U the r leading eigenvectors of W H Wᵀ, the rest of whose eigenvalues is what
// is left of the error (Eckart and Young 1936 for W H^½). SVD-LLM (Wang et al. 2024, arXiv:2403.07378) gets
// the same from W L, H = L Lᵀ, and L⁻¹; here nothing is inverted and H may be singular. With H = I it is the
// truncated SVD of W itself, "plain". Columns of A and rows of B get equal lengths, as there.
// Deviations: H is that of the model before factoring, of all layers; no update of A after it, which is what
// training is for; of matrices that share their input one B (theirs: one each).
//
// Which rank: the least whose eigenvalues hold a share of their sum, the same for all matrices; or the
// largest such share with which the factors have no more than a share of the blocks' weights.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/model.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct FactorOptions {
  double share = 0;      ///< of each matrix' energy that stays, or
  bool weights = false;  ///< of the blocks' weights
  bool whitened = true;  ///< energy is that of outputs on text; else of the weights
  std::int64_t unit =
      1;  ///< ranks are multiples of it: of groups, and of what kernels take at once
  bool operator==(const FactorOptions&) const = default;
};

/// The matrices of a step.
struct FactoredMatrix {
  std::string name{};  ///< of the first
  std::int64_t rows = 0, cols = 0;
  std::int64_t rank = 0;  ///< 0: they stay whole
  double kept = 1;        ///< share of their energy
};

struct Factored {
  std::unique_ptr<nn::Model> model{};
  std::vector<FactoredMatrix> matrices{};
};

/// The model in factors. `text` is read where the options are whitened. Usage error for a share that is
/// not in (0, 1] or with which no matrix gets smaller, a unit below 1, factors already and missing text;
/// numeric for what is not finite.
Factored factored(nn::Model& model, const FactorOptions& options, std::span<const nn::Tokens> text);

/// The ranks of the smallest factors that a unit allows, as Sizes::ranks, and the share of the blocks'
/// weights that they have: what no share of the weights can be below.
std::vector<std::int64_t> least_ranks(const nn::Sizes& sizes, std::int64_t unit);
double weights_share(const nn::Sizes& sizes, std::span<const std::int64_t> ranks);

/// Weights of the blocks that a row's stages left, of those that the blocks had.
inline constexpr RowFigure kLeftFigure{"weights_left", "of the blocks' weights left, %", 1, true,
                                       nullptr};

}  // namespace notch::quant
