// Gradient checks: every op and both models against central differences, in the double build.
//
// Every element of every input is moved, cotangents are random, and each output element is
// differenced on its own before it is weighted, so that outputs that stay where they are add no
// rounding. With the step at the cube root of the machine epsilon, truncation and rounding are
// both about 1e-10, four digits below the tolerance.
//
// A row is checked three ways, because an op has three ways to go wrong: all gradients wanted;
// gradients that already hold something (backward adds, it never writes); one gradient wanted and
// the others not.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/ops.h"

namespace notch::test {

inline constexpr double kStep = 6e-6;       ///< times max(1, |x|)
inline constexpr double kTolerance = 1e-6;  ///< of max(|expected|, |received|, kFloor)
/// Smaller gradients are compared absolutely, to 1e-8: a hundred times the rounding of the
/// differences of an output of size one.
inline constexpr double kFloor = 1e-2;

/// How an input is drawn. Differences across a kink are no derivatives, so inputs stay off them.
enum class Fill {
  plain,     ///< uniform in [-1, 1]
  positive,  ///< uniform in [0.5, 1.5]
  off_zero,  ///< uniform in ±[0.1, 1]: relu, denominators
  distinct,  ///< multiples of 0.1 in random order: no two are close, so max has one winner
};

struct Input {
  Shape shape{};
  Fill fill = Fill::plain;
};

/// One check. `op` is the op's `name`; the completeness test looks for `.op = "name"` in any table
/// of tests/gradients/*_test.cpp, this one or another (straight-through ops: frozen_rounding.h).
struct OpRow {
  std::string op{};
  std::string what{};  ///< which variant, for the failure message
  std::vector<Input> inputs{};
  std::function<Var(Graph&, std::span<const Var>)> recipe{};
};

/// Values for constants of a recipe: a function of (input, seed) only.
std::vector<real> draw(const Input& input, std::uint64_t seed);

struct Mismatch {
  std::string op{}, pass{}, input{};
  std::int64_t index = 0;
  double expected = 0;  ///< central difference
  double received = 0;  ///< the op's backward
};
std::string describe(const Mismatch& m);

/// The first disagreement, if any. Throws a usage Error when the recipe records no op of the row's
/// name: such a row would check something else.
std::optional<Mismatch> check_gradients(const OpRow& row, std::uint64_t seed = 1);

/// The same for a scalar `loss` and every parameter of `params`, which must have values and
/// gradients. Dropout is on and draws the masks of `key`.
std::optional<Mismatch> check_parameter_gradients(std::string_view name, ParamStore& params,
                                                  const std::function<Var(Graph&)>& loss,
                                                  std::uint64_t key = 1);

/// Catch2 assertion: fails with the mismatch's parts.
void require_gradients(const OpRow& row);

}  // namespace notch::test
