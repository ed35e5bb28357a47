// Param: a named tensor that lives for the run. ParamStore: the flat memory that holds them.
//
// A model declares its parameters once (name, shape); optimizer, checkpoint, count and copy walk
// the store. Values of all parameters declared before `allocate_values` lie in one block, in order,
// each at a multiple of 64 bytes, and never move; gradients likewise, and only when an optimizer
// asks. A parameter without values (`value.data == nullptr`) has a shape only: a packed layer holds
// its codes elsewhere.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "autograd/base/large_block.h"
#include "autograd/tensor.h"

namespace notch {

struct Param {
  std::string name{};
  Tensor value{};
  Tensor grad{};  ///< data is null until ParamStore::allocate_gradients
};

/// `n` reals, zeroed, at a multiple of 64 bytes.
class FlatBlock {
 public:
  FlatBlock() = default;
  explicit FlatBlock(std::size_t n);
  std::span<real> flat() const { return {reinterpret_cast<real*>(data_.get()), n_}; }
  std::size_t size() const { return n_; }

 private:
  LargeBlock data_;
  std::size_t n_ = 0;
};

class ParamStore {
 public:
  ParamStore() = default;
  ParamStore(const ParamStore&) = delete;  // Params are referred to by address
  ParamStore& operator=(const ParamStore&) = delete;
  ParamStore(ParamStore&&) = default;
  ParamStore& operator=(ParamStore&&) = default;

  /// Declares a parameter; it has no values yet. Names are unique.
  Param& add(std::string name, Shape shape);
  /// Gives values (zeros) to the parameters that have none and satisfy `wanted`, in one block.
  void allocate_values(const std::function<bool(const Param&)>& wanted = {});
  /// Gives gradients (zeros) to every parameter that has values.
  void allocate_gradients();
  void zero_gradients();

  std::deque<Param>& params() { return params_; }
  const std::deque<Param>& params() const { return params_; }
  Param* find(std::string_view name);
  const Param* find(std::string_view name) const;
  std::int64_t count() const;  ///< number of elements of all parameters

  /// Copies the values of equally named parameters; throws (usage) when names or shapes differ.
  void copy_values(const ParamStore& from);

 private:
  std::deque<Param> params_;
  std::unordered_map<std::string_view, Param*> by_name_;  // views of the names in params_
  std::vector<FlatBlock> values_, gradients_;
};

}  // namespace notch
