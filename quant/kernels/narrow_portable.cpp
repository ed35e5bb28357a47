// narrow_linear without instructions of its own.
#include <cstdint>
#include <type_traits>

#include "quant/kernels/narrow_isa.h"

#define NOTCH_ISA_FUNCTION
#define NOTCH_ISA inline

namespace notch::quant {
namespace {

typedef std::uint16_t Codes __attribute__((vector_size(64)));
typedef std::uint32_t Sums __attribute__((vector_size(64)));
typedef float Reals __attribute__((vector_size(64)));

constexpr int kMostTokens = 8;

NOTCH_ISA void load(Codes& v, const std::uint8_t* p) { __builtin_memcpy(&v, p, sizeof v); }

NOTCH_ISA void prefetch(const std::uint8_t* p) { __builtin_prefetch(p); }

NOTCH_ISA void add_products(Sums& acc, const Codes& u, const std::int8_t* x) {
  std::uint8_t codes[64];
  __builtin_memcpy(codes, &u, sizeof u);
  for (int o = 0; o < 16; ++o)
    for (int j = 0; j < 4; ++j) acc[o] += static_cast<std::uint32_t>(codes[4 * o + j] * x[j]);
}

}  // namespace
}  // namespace notch::quant

#include "quant/kernels/narrow_tile.h"

namespace notch::quant {

void narrow_block_portable(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                           std::int64_t first, std::int64_t last) {
  narrow_block(p, row, rows, first, last);
}

}  // namespace notch::quant
