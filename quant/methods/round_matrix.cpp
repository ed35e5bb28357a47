#include "quant/methods/round_matrix.h"

#include <algorithm>
#include <utility>

#include "autograd/base/error.h"
#include "quant/numbers/nested_scales.h"

namespace notch::quant {

RoundedMatrix round_matrix(const Target& t, const Hessian* H, const Method& method,
                           const Pruner* pruner, const PostTrainingOptions& options) {
  check(t.weight && t.weight->value.data, t.name, "has no values to round");
  RoundedMatrix out;
  const std::span<real> w = t.weight->value.flat();
  std::vector<real> dense;
  if (pruner) {
    Pruned pruned = pruner->prune({.target = t, .w = w, .H = H}, options.prune);
    dense.assign(w.begin(), w.end());
    std::ranges::copy(pruned.w, w.begin());
    out.keep = std::move(pruned.keep);
  }
  if (!method.round) return out;
  const MatrixView matrix{.target = t, .w = w, .H = H, .keep = out.keep, .dense = dense};
  Rounded chosen = method.round(matrix, options);
  nest_scales(chosen.q);
  out.report = {.name = t.name, .spec = t.spec, .measures = std::move(chosen.measures)};
  const std::vector<real> rounded = dequantize(chosen.q);
  for (std::size_t i = 0; i < out.keep.size(); ++i)
    check(out.keep[i] != 0 || rounded[i] == 0, t.name, method.name, " moved a pruned weight");
  measure_rounding(matrix.before(), rounded, out.report);
  std::ranges::copy(rounded, w.begin());
  out.codes = std::move(chosen.q);
  out.side = std::move(chosen.side);
  return out;
}

}  // namespace notch::quant
