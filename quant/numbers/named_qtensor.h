// A quantized weight with the name of its parameter: what every method's result is made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/numbers/activation.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// A thin product in floating point beside a layer's quantized one:
///   y = x' ŵᵀ + b + (x downᵀ) upᵀ,   or with channels   y = x' ŵᵀ + b + x[channels] upᵀ
/// where x' has zeros in those channels, or a sparse one, with starts,   y = x' ŵᵀ + b + x Sᵀ
/// where row r of S has values[starts[r] … starts[r + 1]) in the columns beside them, which ascend.
/// Numbers are of float16.
struct SideProduct {
  std::vector<std::int32_t> channels{};  ///< ascending
  std::vector<real> down{};              ///< [rank, cols]; empty with channels
  std::vector<real> up{};                ///< [rows, rank]
  std::int64_t rank = 0;                 ///< 0 of a sparse one
  std::vector<std::int32_t> starts{};    ///< [rows + 1]
  std::vector<std::uint16_t> columns{};  ///< [starts.back()]
  std::vector<real> values{};

  bool is_sparse() const { return !starts.empty(); }
  bool operator==(const SideProduct&) const = default;
};

/// What a method that changed a layer's inputs left to be done when the layer runs, before its input
/// is rounded, in this order.
struct InputChange {
  std::optional<SideProduct> side{};  ///< of the input as it was
  std::vector<real> multiply{};       ///< by these, channel by channel [cols]; empty: by 1
  std::vector<std::int8_t>
      signs{};  ///< of a rotation (quant/kernels/hadamard.h) [cols]; empty: none

  bool empty() const { return !side && multiply.empty() && signs.empty(); }
  bool operator==(const InputChange&) const = default;
};

/// A quantized weight of a model, by the name of its parameter ("h.0.attn.c_attn.weight"), and what
/// its layer multiplies it with: codes if `input` is there, floats otherwise.
struct NamedQTensor {
  std::string name{};
  QTensor q{};
  std::optional<InputQuantizer> input{};
  InputChange change{};
};

}  // namespace notch::quant
