// LQER: low-rank quantization error reconstruction (Zhang et al. 2024, arXiv:2402.02446), with the
// Hessian for the weight of an error.
//
//   y = x ŵᵀ + (x downᵀ) upᵀ,   tr((E - up down) H (E - up down)ᵀ) least for that rank
// for E = w - ŵ and the second moments H of the inputs, with codes ŵ by GPTQ. With U the eigenvectors
// of E H Eᵀ that belong to its largest eigenvalues, the minimum is at up = U, down = Uᵀ E (Eckart and
// Young, of E H^½), which needs no root of H.
// Deviations: the paper weighs E by the size of each input channel, L²QER, and rounds both factors; here
// H itself is the weight, both factors are float16, and the codes are GPTQ's. A table that is the head
// as well has no factors: what is looked up would lack them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct LqerOptions {
  int rank = 4;
  bool operator==(const LqerOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.rank, {"rank", "rank of each matrix's correction; both factors are 16-bit floats",
                  between(1, 1024)});
  }
};

struct LowRank {
  SideProduct side{};
  double caught = 0;  ///< what of tr(E H Eᵀ) the factors take away, before they are rounded
};

/// The product for the error E [rows, cols] with H [cols, cols] (symmetric): min(rank, rows, cols)
/// factors, by subspace iteration from fixed random vectors. Numeric error naming `where` for what
/// is not finite or no float16.
LowRank low_rank(std::span<const real> error, std::int64_t rows, std::int64_t cols,
                 std::span<const double> H, int rank, std::string_view where);

extern const Method kLqer;

}  // namespace notch::quant
