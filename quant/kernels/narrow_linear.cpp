#include "quant/kernels/narrow_linear.h"

#include <algorithm>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/narrow_isa.h"

namespace notch::quant {
namespace {

constexpr Index kPanel = IntegerShape::kPanel, kBlock = IntegerShape::kBlock;
constexpr Index kRows = 96;               // tokens of a task
constexpr Index kChunkBytes = 256 << 10;  // of weights, likewise
constexpr Index kTasks = 8;               // columns are split further when there are fewer

/// The planes of b bits, widest first: bits each, and the position in u of the lowest.
struct Plane {
  int bits, position;
};
constexpr Plane kPlanes[] = {{4, 0}, {2, 4}, {1, 6}};

/// The 32 codes of channel o in a block, four at a time.
void channel_codes(std::uint8_t* codes, const std::uint8_t* block, Index o, int bits) {
  std::memset(codes, 0, kBlock);
  for (const Plane& plane : kPlanes) {
    if (!(bits & plane.bits)) continue;
    const Index per_byte = 8 / plane.bits;
    const std::uint32_t mask = ((1u << plane.bits) - 1) * 0x01010101u;
    for (Index j = 0; j < kBlock / 4; ++j) {
      std::uint32_t four = 0, all = 0;
      std::memcpy(&four, block + j / per_byte * 64 + o * 4, sizeof four);
      std::memcpy(&all, codes + 4 * j, sizeof all);
      all |= (four >> (j % per_byte * plane.bits) & mask) << (bits & plane.position);
      std::memcpy(codes + 4 * j, &all, sizeof all);
    }
    block += plane.bits * 64;
  }
}

/// Its inverse, into a block of zeros.
void set_channel_codes(std::uint8_t* block, const std::uint8_t* codes, Index o, int bits) {
  for (const Plane& plane : kPlanes) {
    if (!(bits & plane.bits)) continue;
    const Index per_byte = 8 / plane.bits;
    const std::uint32_t mask = ((1u << plane.bits) - 1) * 0x01010101u;
    for (Index j = 0; j < kBlock / 4; ++j) {
      std::uint8_t* const to = block + j / per_byte * 64 + o * 4;
      std::uint32_t four = 0, all = 0;
      std::memcpy(&four, codes + 4 * j, sizeof four);
      std::memcpy(&all, to, sizeof all);
      all |= (four >> (bits & plane.position) & mask) << (j % per_byte * plane.bits);
      std::memcpy(to, &all, sizeof all);
    }
    block += plane.bits * 64;
  }
}

NOTCH_CLONES void to_weights(float* out, const std::uint8_t* codes, Index n, int step, int below,
                             float scale) {
  for (Index i = 0; i < n; ++i) out[i] = static_cast<float>(codes[i] * step + below) * scale;
}

NarrowBlock block_of(IntegerKernel kernel) {
#if defined(__x86_64__)
  switch (kernel) {
    case IntegerKernel::portable:
      break;
    case IntegerKernel::avx2:
      return narrow_block_avx2;
    case IntegerKernel::avx_vnni:
      return narrow_block_avx_vnni;
    case IntegerKernel::avx512_vnni:
    case IntegerKernel::amx:
      return narrow_block_avx512_vnni;
  }
#endif
  static_cast<void>(kernel);
  return narrow_block_portable;
}

}  // namespace

void pack_narrow_panel(const NarrowWeights& w, std::int64_t panel,
                       std::span<const std::int8_t> codes, std::span<const std::uint8_t> scales,
                       std::span<const std::int8_t> zero_points) {
  const IntegerShape& s = w.shape;
  const Index K = s.K, unit = s.unit(), units = s.units(),
              rows = std::min(kPanel, s.N - panel * kPanel);
  const Index width = w.scale_bytes();
  check(std::ssize(codes) == rows * K && std::ssize(scales) == rows * units * width &&
            std::ssize(zero_points) == (s.zero_points ? rows * units : 0),
        "narrow weights", "got ", codes.size(), " codes, ", scales.size(), " bytes of scales and ",
        zero_points.size(), " zero points for ", rows, " rows of ", K, " with ", units, " units");
  std::uint8_t* const start = w.memory + panel * w.panel_bytes();
  std::memset(start, 0, static_cast<std::size_t>(w.panel_bytes()));
  for (Index o = 0; o < rows; ++o)
    for (Index u = 0; u < units; ++u)
      for (Index k = 0; k < unit; k += kBlock) {
        const std::int8_t* const from = codes.data() + o * K + u * unit + k;
        const Index n = std::min(kBlock, unit - k);
        std::uint8_t block[kBlock] = {};
        for (Index i = 0; i < n; ++i)  // steps are 1 or 2
          block[i] = static_cast<std::uint8_t>((from[i] - w.qmin) >> (w.step - 1));
        set_channel_codes(start + u * w.unit_bytes() + k / kBlock * 64 * s.bits, block, o, s.bits);
      }
  for (Index o = 0; o < rows; ++o)
    for (Index u = 0; u < units; ++u) {
      std::uint8_t* const tables = start + u * w.unit_bytes() + w.unit_codes();
      std::memcpy(tables + o * width, scales.data() + (o * units + u) * width,
                  static_cast<std::size_t>(width));
      if (s.zero_points)
        tables[kPanel * width + o] =
            static_cast<std::uint8_t>(zero_points[static_cast<std::size_t>(o * units + u)]);
    }
}

void dequantize_narrow_row(std::span<float> out, const NarrowWeights& w, std::int64_t row) {
  const IntegerShape& s = w.shape;
  check(w.memory && row >= 0 && row < s.N && s.K >= 1 && s.bits >= 1 && s.bits <= 7,
        "narrow weights", "row ", row, " of [", s.N, ", ", s.K, "] in ", s.bits, " bits");
  require_extent("narrow weights", s.K, out);
  const Index o = row % kPanel, unit = s.unit(), width = w.scale_bytes();
  const std::uint8_t* const start = w.memory + row / kPanel * w.panel_bytes();
  for (Index u = 0; u < s.units(); ++u) {
    const std::uint8_t* const codes = start + u * w.unit_bytes();
    const std::uint8_t* const tables = codes + w.unit_codes();
    float scale = 0;
    const std::uint8_t* const at = tables + o * width;
    std::uint16_t half = 0;
    if (w.scale == StoredScale::f32)
      std::memcpy(&scale, at, sizeof scale);
    else
      std::memcpy(&half, at, sizeof half);
    if (w.scale == StoredScale::f16) scale = from_f16(half);
    if (w.scale == StoredScale::bf16) scale = from_bf16(half);
    int below = w.qmin;
    if (s.zero_points) below -= static_cast<std::int8_t>(tables[kPanel * width + o]);
    constexpr Index kPiece = 16 * kBlock;
    std::uint8_t piece[kPiece];
    for (Index k = 0; k < unit; k += kPiece) {
      const Index n = std::min(kPiece, unit - k);
      for (Index b = 0; b < n; b += kBlock)
        channel_codes(piece + b, codes + (k + b) / kBlock * 64 * s.bits, o, s.bits);
      to_weights(out.data() + u * unit + k, piece, n, w.step, below, scale);
    }
  }
}

void narrow_linear(std::span<float> out, const ActivationCodes& x, const NarrowWeights& w,
                   std::span<const float> bias, std::int64_t M, IntegerKernel kernel) {
  constexpr const char* kWhere = "narrow_linear";
  const IntegerShape& s = w.shape;
  check(s.K >= 1 && s.group >= 0, kWhere, "rows of ", s.K, " inputs in groups of ", s.group);
  check(s.bits >= 1 && s.bits <= 7, kWhere, s.bits, " bits; this kernel has 1 to 7");
  check(w.step == 1 || (w.step == 2 && !s.zero_points), kWhere, "codes ", w.step,
        " apart; this kernel has 1, and 2 without zero points");
  check(M >= 0 && std::ssize(out) == M * s.N && std::ssize(x.codes) == M * s.row_codes() &&
            std::ssize(x.scales) == M && std::ssize(x.zero_points) == M &&
            std::ssize(x.sums) == M * s.units() && (bias.empty() || std::ssize(bias) == s.N),
        kWhere, "out has ", out.size(), " values, x ", x.codes.size(), " codes, ", x.scales.size(),
        " scales and ", x.sums.size(), " sums, bias ", bias.size(), "; wanted [", M, ", ", s.N,
        "], [", M, ", ", s.row_codes(), "], ", M, ", ", M * s.units(), " and ", s.N, " or none");
  check(available(kernel), kWhere, "this processor lacks the instructions of kernel ",
        static_cast<int>(kernel));
  const auto* const zeros = reinterpret_cast<const std::int8_t*>(x.zero_points.data());
  const std::int32_t times = s.zero_points ? 1 : w.qmin;
  for (Index t = 0; t < M; ++t)
    for (Index u = 0; u < s.units(); ++u) {
      std::int32_t& sum = x.sums[static_cast<std::size_t>(t * s.units() + u)];
      sum = (sum - static_cast<std::int32_t>(s.unit()) * zeros[t]) * times;
    }
  const NarrowProduct p{.out = out.data(),
                        .codes = reinterpret_cast<const std::int8_t*>(x.codes.data()),
                        .scales = x.scales.data(),
                        .zeros = zeros,
                        .sums = x.sums.data(),
                        .bias = bias.empty() ? nullptr : bias.data(),
                        .w = w};
  const NarrowBlock run = block_of(kernel);
  const Index blocks = quotient_up(M, kRows), panels = s.panels();
  const Index chunks = quotient_up(w.bytes(), kChunkBytes);
  const Index splits = std::min(std::max(kTasks / std::max<Index>(blocks, 1), chunks), panels);
  parallel_for(blocks * splits, [&](Index i) {
    const Index row = i / splits * kRows, part = i % splits;
    run(p, row, std::min(kRows, M - row), panels * part / splits, panels * (part + 1) / splits);
  });
}

void narrow_linear(std::span<float> out, const ActivationCodes& x, const NarrowWeights& w,
                   std::span<const float> bias, std::int64_t M) {
  narrow_linear(out, x, w, bias, M, best_integer_kernel());
}

}  // namespace notch::quant
