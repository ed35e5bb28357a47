// ServedMatrix: a quantized matrix as a model is run with it. There are no floats of it: one object
// in memory multiplies, is looked up, and gives the gradient of what it multiplied.
//
// How it lies, and so which kernel multiplies, is decided once, when it is made:
//   rounded inputs                panels, codes by codes (quant/kernels/integer_linear.h)
//   inputs in floating point,     panels, digits by codes (quant/kernels/split_rows.h)
//     or on a float type's numbers
//   … and a codebook, or units
//   that panels fill up too much  lanes, floats by unpacked weights (quant/kernels/packed.h)
//   … and columns that share
//   words                         as they are stored; products are of dequantized pieces (served_words.h)
//
// quant/serve/ runs models whose weights are codes.
// May include: quant/ops, quant/numbers, quant/kernels, nn, autograd.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "autograd/graph.h"
#include "nn/hooks.h"
#include "quant/numbers/activation.h"
#include "quant/serve/served_lanes.h"
#include "quant/serve/served_panels.h"
#include "quant/serve/served_words.h"

namespace notch::quant {

class ServedMatrix {
 public:
  /// Makes room, to be filled by set_rows. `input`: how a product's inputs are rounded, if they
  /// are; usage error for a codebook then.
  ServedMatrix(const Spec& spec, std::int64_t rows, std::int64_t cols,
               const std::optional<InputQuantizer>& input = {});
  explicit ServedMatrix(const QTensor& q, const std::optional<InputQuantizer>& input = {});

  /// Pieces start at a multiple of this many rows.
  static constexpr std::int64_t kRowStep = ServedPanels::kRowStep;
  /// Rows from `first_row` on, a matrix of the same spec and width. Parallel.
  void set_rows(std::int64_t first_row, const QTensor& part);

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  bool rounds_inputs() const { return input_.has_value(); }
  /// Whether they become integers.
  bool multiplies_codes() const { return input_ && input_->spec.is_integer(); }
  /// 8-bit products that one of a weight and an input takes: 1 of codes, 3 of digits; 0: it is one of
  /// floats.
  int products() const;
  std::int64_t bytes() const;  ///< of memory

  /// y [M, rows] = x [M, cols] ŵᵀ + bias [rows], or without where it is empty. A row's result does
  /// not depend on the others; of lanes, where there are at most 16 rows. (Without instructions for
  /// 8-bit products the same holds of panels: more rows of floats are multiplied with dequantized
  /// pieces of the matrix.) Parallel.
  void multiply(const Forward& f, std::span<real> y, std::span<const real> x,
                std::span<const real> bias, std::int64_t M) const;
  /// dx [M, cols] (+)= dy [M, rows] ŵ, ŵ being made piece by piece. Parallel.
  void multiply_back(const Backward& b, std::span<real> dx, std::span<const real> dy,
                     std::int64_t M, bool accumulate) const;
  /// out [cols] = level(q - z) · scale, bit for bit quant/numbers/qtensor.h's dequantize.
  void dequantize_row(std::span<float> out, std::int64_t row) const;

 private:
  template <class Context, class Body>
  void for_pieces(const Context& context, const Body& body) const;
  void multiply_codes(const Forward& f, std::span<float> y, std::span<const float> x,
                      std::span<const float> bias, std::int64_t M) const;
  void multiply_digits(const Forward& f, std::span<float> y, std::span<const float> x,
                       std::span<const float> bias, std::int64_t M) const;

  std::int64_t rows_ = 0, cols_ = 0;
  std::optional<InputQuantizer> input_;
  std::variant<ServedPanels, ServedLanes, ServedWords> matrix_;
};

/// y = x ŵᵀ + bias: x [.., K], bias [N] -> [.., N]; x is rounded first where `w` says so (bit for bit
/// quantized_linear's product, quant/ops/input_ops.h). `w` must outlive the step and is not trained;
/// x has a gradient if it is not rounded.
Var served_product(Var x, std::optional<Var> bias, const ServedMatrix& w);

/// Dequantized rows of a table [V, C] -> [B, T, C]. No gradient.
Var served_lookup(Graph& g, const nn::Tokens& tokens, const ServedMatrix& table);

}  // namespace notch::quant
