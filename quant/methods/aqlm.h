// AQLM: additive quantization of language models (Egiazarian et al. 2024, arXiv:2401.06118).
//
// Eight columns of a row are a sum of vectors of learned codebooks (quant/numbers/additive_codes.h). From residual
// k-means on, three steps take turns, each of which lowers the error of the output, tr(dW H dWᵀ), with the others
// held:
//   codebooks  the least squares problem of all their numbers, by conjugate gradients from where they are
//              (section 3.2, phase 2)
//   scales     of every unit by itself, in closed form
//   codes      of every row, group after group, by a beam search for the word that suits best what the other
//              groups left (phase 1); the one there was stays unless another is better
// until a round gains less than 1 %, as in the authors' code, or `rounds` are over.
//
// Deviations: (a) a beam is of one group of eight columns, with the other groups' words held, where the paper's
// goes through the whole row; (b) least squares are solved, where the paper takes 100 steps of Adam; (c) no
// gradients through blocks afterwards (phase 3); (d) small matrices have codebooks of 16 vectors. Layers on other grids
// are rounded by GPTQ, matrices that have no input by residual k-means alone.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct AqlmOptions {
  int rounds = 8;
  int beam = 4;
  bool operator==(const AqlmOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.rounds,
      {"rounds", "of training codebooks, scales and codes in turn, at most", between(0, 1000)});
    v(self.beam, {"beam", "sums that a search of codes keeps", between(1, 32)});
  }
};

/// Improves q, of an additive format, as an approximation of w [q.rows, q.cols] under H [q.cols, q.cols] (symmetric,
/// positive definite). The error never rises. Returns it: tr(dW H dWᵀ). Parallel.
double improve_additive(QTensor& q, std::span<const real> w, std::span<const double> H,
                        const AqlmOptions& options);

extern const Method kAqlm;

}  // namespace notch::quant
