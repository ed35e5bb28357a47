#include "quant/kernels/integer_linear.h"

#include <algorithm>

#include "autograd/base/cpu.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/integer_tile.h"

namespace notch::quant {
namespace {

// A task is a block of tokens times a chunk of columns. The block is walked in a kernel's tile
// heights, each over the whole chunk: the chunk stays in the second-level cache, and the output is
// written in long runs of few rows (columns first, with 200 rows, ran at a third of the speed).
struct Task {
  Index rows;         // a multiple of the kernel's tiles
  Index chunk_bytes;  // of packed weights
};
constexpr Task kVectorTask{.rows = 96, .chunk_bytes = 512 << 10};
constexpr Task kTileTask{.rows = 192, .chunk_bytes = 1 << 20};  // needs more work per byte
constexpr Index kTasks = 16;  // columns are split further when there are fewer tasks

IntegerBlock block_of(IntegerKernel kernel) {
#if defined(__x86_64__)
  switch (kernel) {
    case IntegerKernel::portable:
      break;
    case IntegerKernel::avx2:
      return integer_block_avx2;
    case IntegerKernel::avx_vnni:
      return integer_block_avx_vnni;
    case IntegerKernel::avx512_vnni:
      return integer_block_avx512_vnni;
    case IntegerKernel::amx:
      return integer_block_amx;
  }
#endif
  static_cast<void>(kernel);
  return integer_block_portable;
}

}  // namespace

bool available(IntegerKernel kernel) {
  const CpuFeatures& cpu = cpu_features();
  switch (kernel) {
    case IntegerKernel::portable:
      return true;
    case IntegerKernel::avx2:
      return cpu.avx2;
    case IntegerKernel::avx_vnni:
      return cpu.avx_vnni;
    case IntegerKernel::avx512_vnni:
      return cpu.avx512_vnni;
    case IntegerKernel::amx:
      return cpu.amx_int8;
  }
  return false;
}

IntegerKernel best_integer_kernel() {
  for (const IntegerKernel kernel : {IntegerKernel::amx, IntegerKernel::avx512_vnni,
                                     IntegerKernel::avx_vnni, IntegerKernel::avx2})
    if (available(kernel)) return kernel;
  return IntegerKernel::portable;
}

void integer_linear(std::span<float> out, const ActivationCodes& x, const PackedWeights& w,
                    std::span<const float> bias, std::int64_t M, IntegerKernel kernel) {
  constexpr const char* kWhere = "integer_linear";
  const IntegerShape& s = w.shape;
  check(s.K >= 1 && s.group >= 0, kWhere, "rows of ", s.K, " inputs in groups of ", s.group);
  const Index sums = s.zero_points ? M * s.units() : 0;
  check(M >= 0 && std::ssize(out) == M * s.N && std::ssize(x.codes) == M * s.row_codes() &&
            std::ssize(x.scales) == M && std::ssize(x.zero_points) == M &&
            std::ssize(x.sums) >= sums && (bias.empty() || std::ssize(bias) == s.N),
        kWhere, "out has ", out.size(), " values, x ", x.codes.size(), " codes, ", x.scales.size(),
        " scales and ", x.sums.size(), " sums, bias ", bias.size(), "; wanted [", M, ", ", s.N,
        "], [", M, ", ", s.row_codes(), "], ", M, ", ", sums, " and ", s.N, " or none");
  check(available(kernel), kWhere, "this processor lacks the instructions of kernel ",
        static_cast<int>(kernel));
  const IntegerProduct p{.out = out.data(),
                         .codes = x.codes.data(),
                         .scales = x.scales.data(),
                         .zero_points = x.zero_points.data(),
                         .sums = s.zero_points ? x.sums.data() : nullptr,
                         .bias = bias.empty() ? nullptr : bias.data(),
                         .w = w};
  const IntegerBlock run = block_of(kernel);
  const Task task = kernel == IntegerKernel::amx ? kTileTask : kVectorTask;
  const Index blocks = quotient_up(M, task.rows), panels = s.panels(),
              runs = quotient_up(panels, kTogether);
  const Index chunks = quotient_up(panels * kPanel * s.row_codes(), task.chunk_bytes);
  // Panels of long rows are more than a chunk.
  const Index splits = std::min(std::max(kTasks / std::max<Index>(blocks, 1), chunks), runs);
  parallel_for(blocks * splits, [&](Index i) {
    const Index row = i / splits * task.rows, part = i % splits;
    run(p, row, std::min(task.rows, M - row), runs * part / splits * kTogether,
        std::min(runs * (part + 1) / splits * kTogether, panels));
  });
}

void integer_linear(std::span<float> out, const ActivationCodes& x, const PackedWeights& w,
                    std::span<const float> bias, std::int64_t M) {
  // Tile registers hold 16 tokens by 64 inputs: with less, or with a float sum after every 32
  // inputs, AVX-512 is as fast or faster.
  const IntegerKernel best = best_integer_kernel();
  const bool small = best == IntegerKernel::amx && (M < 16 || w.shape.step() < 48);
  integer_linear(out, x, w, bias, M, small ? IntegerKernel::avx512_vnni : best);
}

}  // namespace notch::quant
