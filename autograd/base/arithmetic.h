// How the kernels compute: with which instructions, and whether results must be the same bits on
// every processor.
//
// `native` is as fast as this machine can: OpenBLAS where it wins, a*b+c in one rounding where a
// loop's instruction set has it, and the C library's logarithms. Its bits hold for one type of CPU.
// `portable` gives the same bits on every CPU and with every variant of a kernel: products are chains
// of fused multiply-adds over ascending k (autograd/kernels/matmul.h), no other loop is contracted,
// reductions have a fixed number of lanes, and base/elementary.h stands for the C library.
//
// Process-wide, like the number of threads (base/thread_pool.h), and to be set where that is.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace notch {

enum class Arithmetic : std::uint8_t { native, portable };
Arithmetic arithmetic();
/// Sets the arithmetic of all kernels; not to be called while kernels run.
void set_arithmetic(Arithmetic a);
inline bool is_portable() { return arithmetic() == Arithmetic::portable; }

/// While it lives, another arithmetic. Not to be made or destroyed while kernels run.
class ScopedArithmetic {
 public:
  explicit ScopedArithmetic(Arithmetic a) : before_(arithmetic()) { set_arithmetic(a); }
  ~ScopedArithmetic() { set_arithmetic(before_); }
  ScopedArithmetic(const ScopedArithmetic&) = delete;
  ScopedArithmetic& operator=(const ScopedArithmetic&) = delete;

 private:
  Arithmetic before_;
};

/// Variants of the kernels: plain C++; AVX2 with FMA; AVX-512 (F, BW, CD, DQ, VL).
enum class Isa : std::uint8_t { portable, avx2, avx512 };
constexpr auto names(Isa) { return std::array<std::string_view, 3>{"portable", "avx2", "avx512"}; }
/// The best that this CPU has.
Isa best_isa();
/// What kernels use: the best, unless a ForcedIsa says less.
Isa isa();

/// While it lives, kernels use at most `isa`, so that variants can be compared on one machine. Not
/// to be made or destroyed while kernels run.
class ForcedIsa {
 public:
  explicit ForcedIsa(Isa isa);
  ~ForcedIsa();
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  Isa before_;
};

/// The code of a vectorised loop (kernels/lanes.h): an instruction set, with or without contraction.
/// Plain C++ has one code: there is nothing to contract to.
enum class LoopCode : std::uint8_t {
  unknown,
  plain,
  avx2,
  avx512,
  contracted_avx2,
  contracted_avx512
};

namespace detail {
inline std::atomic<LoopCode> loop_code{LoopCode::unknown};
LoopCode find_loop_code();
}  // namespace detail

/// What isa() and arithmetic() come to.
inline LoopCode loop_code() {
  const LoopCode code = detail::loop_code.load(std::memory_order_relaxed);
  return code != LoopCode::unknown ? code : detail::find_loop_code();
}

}  // namespace notch
