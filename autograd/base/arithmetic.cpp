#include "autograd/base/arithmetic.h"

#include <algorithm>

namespace notch {
namespace {

std::atomic<Arithmetic> chosen{Arithmetic::native};
std::atomic<Isa> most{Isa::avx512};

Isa find_best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // What -march=x86-64-v3 and v4 add beyond these comes with them in every such processor.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
    return Isa::portable;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl")
             ? Isa::avx512
             : Isa::avx2;
#else
  return Isa::portable;
#endif
}

}  // namespace

Arithmetic arithmetic() { return chosen.load(std::memory_order_relaxed); }

void set_arithmetic(Arithmetic a) {
  chosen = a;
  detail::find_loop_code();
}

Isa best_isa() {
  static const Isa best = find_best();
  return best;
}

Isa isa() { return std::min(best_isa(), most.load(std::memory_order_relaxed)); }

ForcedIsa::ForcedIsa(Isa isa) : before_(most) {
  most = isa;
  detail::find_loop_code();
}

ForcedIsa::~ForcedIsa() {
  most = before_;
  detail::find_loop_code();
}

LoopCode detail::find_loop_code() {
  const bool contracts = !is_portable();
  const Isa set = isa();
  const LoopCode code =
      set == Isa::avx512 ? (contracts ? LoopCode::contracted_avx512 : LoopCode::avx512)
      : set == Isa::avx2 ? (contracts ? LoopCode::contracted_avx2 : LoopCode::avx2)
                         : LoopCode::plain;
  loop_code = code;
  return code;
}

}  // namespace notch
