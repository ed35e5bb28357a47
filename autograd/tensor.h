// Tensor: a contiguous, row-major view of `real`. It owns nothing and is copied like a span.
//
// There are no strides and no hidden copies: a reader who sees a pointer and a shape has seen it
// all. Memory is owned by a ParamStore (lives for the run) or by a Graph's arena (lives for a
// step).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

#include "autograd/base/error.h"
#include "autograd/base/real.h"

namespace notch {

/// Up to four extents, outermost first. The empty shape has one element (a scalar is [1] by
/// convention).
class Shape {
 public:
  static constexpr int kMaxRank = 4;
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const {
    if (axis < 0 || axis >= rank_) throw_no_axis(axis);
    return dims_[static_cast<std::size_t>(axis)];
  }
  std::int64_t last() const { return rank_ ? (*this)[rank_ - 1] : 1; }
  std::int64_t size() const;
  /// The same shape with axis `axis` replaced by `extent`.
  Shape with(int axis, std::int64_t extent) const;
  /// The same shape without axis `axis`; a vector becomes [1].
  Shape without(int axis) const;
  bool operator==(const Shape&) const = default;

 private:
  [[noreturn]] void throw_no_axis(int axis) const;

  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);  ///< "[2, 3]"

struct Tensor {
  real* data = nullptr;
  Shape shape{};

  std::int64_t size() const { return shape.size(); }
  /// Columns: the last extent. Rows: everything before it, flattened.
  std::int64_t cols() const { return shape.last(); }
  std::int64_t rows() const { return shape.last() ? size() / shape.last() : 0; }
  /// Throws Fault::usage for a shape that has no values yet.
  std::span<real> flat() const {
    const std::int64_t n = size();
    if (data == nullptr && n > 0) throw_no_values();
    return {data, static_cast<std::size_t>(n)};
  }

 private:
  [[noreturn]] void throw_no_values()
      const;  // apart, so that flat() stays small where it is inlined
};

}  // namespace notch
