// The inner loops of bf16_matmul, one per instruction set: a 32 x 32 tile of the output.
#pragma once

#include <cstdint>

#include "autograd/kernels/bf16_matmul.h"

namespace notch::kernels {

inline constexpr std::int64_t kBf16Tile = 32;      ///< rows and columns of a tile
inline constexpr std::int64_t kBf16Pairs = 256;    ///< pairs of k per pass: row distance of `a`
inline constexpr std::int64_t kBf16PairStep = 16;  ///< pairs come in multiples of it

struct Bf16Kernel {
  /// out [32, 32] = a · b (+ out with `resume`), a [32, kBf16Pairs] and b [pairs, 32] of pairs.
  void (*multiply)(float* out, std::int64_t ld_out, bool resume, const std::uint32_t* a,
                   const std::uint32_t* b, std::int64_t pairs) = nullptr;
  /// Around the calls of multiply in one thread: AMX's registers are configured and given back.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;
};

/// May be called where cpu_features() has avx512_bf16, or amx_bf16.
const Bf16Kernel& bf16_avx512();
const Bf16Kernel& bf16_amx();

/// bf16_matmul by one of them.
void bf16_matmul(const Bf16Product& product, const Bf16Kernel& kernel);

}  // namespace notch::kernels
