#include "quant/methods/targets.h"

#include <set>

#include "autograd/base/error.h"
#include "quant/numbers/find_named.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

void require_targets(nn::Model& model, std::span<const Target> targets, Weights weights) {
  std::set<const Param*> seen;
  for (const Target& t : targets) {
    check(t.weight && model.params().find(t.weight->name) == t.weight &&
              t.weight->value.shape.rank() == 2,
          t.name, "is no matrix of the model");
    check(!t.linear || t.linear->weight == t.weight, t.name, "the layer has another matrix");
    check(weights == Weights::of_shape || t.weight->value.data, t.name,
          "has a shape and no values to round");
    check(seen.insert(t.weight).second, t.name, "is to be quantized twice");
  }
}

void require_readers(std::span<const Target* const> targets, std::int64_t in_features,
                     std::string_view where) {
  check(!targets.empty() && in_features > 0, where, "nothing reads an input of ", in_features,
        " channels");
  for (const Target* t : targets) {
    check(t && t->weight && t->weight->value.data, where, "a matrix is not there");
    check(t->weight->value.cols() == in_features, t->name, "reads ", t->weight->value.cols(),
          " channels, what is known of its input is of ", in_features);
  }
}

const NamedQTensor& codes_of(const Quantized& codes, const Target& target, std::string_view whose) {
  const NamedQTensor* const at = find_named(codes.tensors, target.weight->name);
  check(at != nullptr, target.name, whose, " does not have it");
  require_whole(at->q, target.name);
  check(at->q.rows == target.weight->value.rows() && at->q.cols == target.weight->value.cols(),
        target.name, whose, " has it as [", at->q.rows, ", ", at->q.cols, "], the model as ",
        target.weight->value.shape);
  return *at;
}

}  // namespace notch::quant
