#include "autograd/base/cpu.h"

#include <unistd.h>

#include <cstdint>

namespace notch {
namespace {

#if defined(__x86_64__) && defined(__linux__)

struct Registers {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Registers r;
  asm volatile("cpuid"
               : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
               : "a"(leaf), "c"(subleaf));
  return r;
}

/// arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), see Linux
/// Documentation/arch/x86/xstate.rst.
bool amx_granted() {
  constexpr long kArchPrctl = 158, kRequestPermission = 0x1023, kTileData = 18;
  return ::syscall(kArchPrctl, kRequestPermission, kTileData) == 0;
}

CpuFeatures find_features() {
  __builtin_cpu_init();
  CpuFeatures f;
  if (cpuid(0, 0).eax < 7) return f;
  const auto bit = [](std::uint32_t word, int i) { return (word >> i & 1u) != 0; };
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = seven.eax >= 1 ? cpuid(7, 1) : Registers{};
  // __builtin_cpu_supports also knows whether the operating system saves the registers.
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl");
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  f.sha = __builtin_cpu_supports("sse4.1") && bit(seven.ebx, 29);
  f.avx_vnni = f.avx2 && bit(seven_one.eax, 4);
  f.avx512_vnni = avx512 && bit(seven.ecx, 11);
  f.avx512_bf16 = avx512 && bit(seven_one.eax, 5);
  const bool amx = avx512 && bit(seven.edx, 24) && amx_granted();
  f.amx_int8 = amx && f.avx512_vnni && bit(seven.edx, 25);
  f.amx_bf16 = amx && f.avx512_bf16 && bit(seven.edx, 22);
  return f;
}

#else

CpuFeatures find_features() { return {}; }

#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = find_features();
  return features;
}

}  // namespace notch
