// How far the logits of two computations of one model may lie apart when each rounds every sum in
// an order of its own: derived from the model's weights and gradients, not from what was observed.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <list>
#include <span>
#include <vector>

#include "nn/model.h"

namespace notch::test {

/// Per logit, to first order:  2 Σ_e |∂logit/∂e| δ_e.
/// e runs over what leaves every Linear, δ = (K + 4) ε Σ_k |w_k x_k| (+ |bias|): a sum of K
/// products in any order, a scale and a bias (Higham, Accuracy and Stability, section 3.1); and
/// over what enters it, δ = `roundings` ε times the row's largest input: everything computed since
/// the Linear before it (norms, GELU, residuals, and attention's sums over at most `roundings`
/// terms). Both computations may be that far from the exact one: the factor 2. The gradients are
/// autograd's, read at leaves of zeros that are added to both places; a logit costs a pass forward
/// and back.
inline std::vector<double> rounding_bounds(nn::Model& model, const nn::Tokens& tokens,
                                           std::int64_t roundings) {
  constexpr double kEpsilon = std::numeric_limits<real>::epsilon();
  struct Leaf {
    Var at{};
    std::vector<real> zeros{};
    std::vector<double> error{};
  };
  std::list<Leaf> leaves;
  const auto add_leaf = [&](Graph& g, Var v, std::vector<double> error) {
    Leaf& leaf = leaves.emplace_back();
    leaf.zeros.resize(error.size());
    leaf.error = std::move(error);
    leaf.at = g.input({leaf.zeros.data(), v.shape()});
    return add(v, leaf.at);
  };
  const nn::Attachment watch = model.hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto K = static_cast<std::size_t>(linear.in_features());
        const auto N = static_cast<std::size_t>(linear.out_features());
        const std::span<const real> in = x.value().flat(), w = linear.weight->value.flat();
        const std::size_t rows = in.size() / K;
        std::vector<double> entering(in.size()), leaving(rows * N);
        for (std::size_t r = 0; r < rows; ++r) {
          double largest = 0;
          for (std::size_t k = 0; k < K; ++k)
            largest = std::fmax(largest, std::fabs(static_cast<double>(in[r * K + k])));
          for (std::size_t k = 0; k < K; ++k)
            entering[r * K + k] = static_cast<double>(roundings) * kEpsilon * largest;
          for (std::size_t o = 0; o < N; ++o) {
            double sum =
                linear.bias ? std::fabs(static_cast<double>(linear.bias->value.data[o])) : 0;
            for (std::size_t k = 0; k < K; ++k)
              sum +=
                  std::fabs(static_cast<double>(w[o * K + k]) * static_cast<double>(in[r * K + k]));
            leaving[r * N + o] = static_cast<double>(K + 4) * kEpsilon * sum;
          }
        }
        const Var y = next(g, linear, add_leaf(g, x, std::move(entering)));
        return add_leaf(g, y, std::move(leaving));
      });
  std::vector<double> bounds;
  std::vector<real> wanted;
  do {
    leaves.clear();
    Graph g;
    g.begin(Graph::Mode::training);
    const Var logits = model.logits(g, tokens);
    wanted.assign(static_cast<std::size_t>(logits.value().size()), 0);
    wanted[bounds.size()] = 1;
    g.backward(logits, wanted);
    double bound = 0;
    for (const Leaf& leaf : leaves) {
      const std::span<const real> gradient = g.grad(leaf.at);
      for (std::size_t i = 0; i < gradient.size(); ++i)
        bound += std::fabs(static_cast<double>(gradient[i])) * leaf.error[i];
    }
    bounds.push_back(2 * bound);
  } while (bounds.size() < wanted.size());
  return bounds;
}

}  // namespace notch::test
