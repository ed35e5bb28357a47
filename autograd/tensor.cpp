#include "autograd/tensor.h"

#include "autograd/base/extents.h"

namespace notch {

Shape::Shape(std::initializer_list<std::int64_t> dims) {
  check(dims.size() <= kMaxRank, "shape", "rank ", dims.size(), " is above ", kMaxRank);
  for (const std::int64_t d : dims) {
    dims_[static_cast<std::size_t>(rank_++)] = d;
  }
  extent("shape", dims);
}

std::int64_t Shape::size() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

Shape Shape::with(int axis, std::int64_t extent) const {
  check(axis >= 0 && axis < rank_, "shape", "axis ", axis, " of ", *this);
  Shape s = *this;
  s.dims_[static_cast<std::size_t>(axis)] = extent;
  notch::extent("shape", {s.dims_[0], rank_ > 1 ? s.dims_[1] : 1, rank_ > 2 ? s.dims_[2] : 1,
                          rank_ > 3 ? s.dims_[3] : 1});
  return s;
}

void Shape::throw_no_axis(int axis) const {
  throw Error({.where = "shape", .what = str("axis ", axis, " of ", *this)});
}

Shape Shape::without(int axis) const {
  check(axis >= 0 && axis < rank_, "shape", "axis ", axis, " of ", *this);
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
