#include "autograd/tensor.h"

namespace notch {

Shape::Shape(std::initializer_list<std::int64_t> dims) {
  check(dims.size() <= kMaxRank, "shape", "rank ", dims.size(), " is above ", kMaxRank);
  for (const std::int64_t d : dims) {
    check(d >= 0, "shape", "extent ", d, " is negative");
    dims_[static_cast<std::size_t>(rank_++)] = d;
  }
}

std::int64_t Shape::size() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

Shape Shape::with(int axis, std::int64_t extent) const {
  Shape s = *this;
  s.dims_[static_cast<std::size_t>(axis)] = extent;
  return s;
}

Shape Shape::without(int axis) const {
  Shape s;
  for (int i = 0; i < rank_; ++i) {
    if (i != axis) s.dims_[static_cast<std::size_t>(s.rank_++)] = (*this)[i];
  }
  return s.rank_ ? s : Shape{1};
}

void Tensor::throw_no_values() const {
  throw Error({.where = "tensor",
               .what = str("a tensor of shape ", shape, " has no values"),
               .hint =
                   "a parameter gets them from ParamStore::allocate_values(), its gradient from "
                   "allocate_gradients()"});
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int i = 0; i < shape.rank(); ++i) out << (i ? ", " : "") << shape[i];
  return out << ']';
}

}  // namespace notch
