#include "optim/clip.h"

#include <cmath>
#include <utility>

#include "autograd/kernels/elementwise.h"

namespace notch::optim {
namespace {

double squares_of_gradient(const Param* p) {
  check(p != nullptr, "clip", "a group holds a null parameter");
  return kernels::sum_of_squares(p->grad.flat());
}

}  // namespace

GradNorm grad_norm(const std::vector<ParamGroup>& groups, double clip) {
  check(clip >= 0, "clip", "clip = ", clip, " is negative; 0 turns clipping off");
  double inside = 0, outside = 0;
  for (const ParamGroup& group : groups) {
    for (const Param* p : group.params) {
      (group.clip ? inside : outside) += squares_of_gradient(p);
    }
  }
  GradNorm result{.norm = std::sqrt(inside), .norm_outside = std::sqrt(outside)};
  if (clip > 0 && result.norm > clip) result.scale = clip / result.norm;
  return result;
}

void require_finite(const GradNorm& norm, const std::vector<ParamGroup>& groups,
                    std::int64_t step) {
  if (std::isfinite(norm.norm) && std::isfinite(norm.norm_outside)) return;
  ErrorParts parts{.fault = Fault::numeric,
                   .where = str("step ", step),
                   .what = "the gradient norm is not finite",
                   .found = str(std::isfinite(norm.norm) ? norm.norm_outside : norm.norm),
                   .hint = "lower the learning rate or clip; the weights have not been changed"};
  for (const ParamGroup& group : groups) {
    for (const Param* p : group.params) {
      if (std::isfinite(squares_of_gradient(p))) continue;
      parts.field = p->name;
      throw Error(std::move(parts));
    }
  }
  throw Error(std::move(parts));
}

}  // namespace notch::optim
