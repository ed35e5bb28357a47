// What this processor may be used for: the instruction sets that a kernel asks about and the
// compilers' own __builtin_cpu_supports does not know in every supported version.
//
// In base, because kernels make no system calls, and AMX needs one: its registers are 8 KiB per
// thread, so Linux wants a process to ask before the first use (5.16 and newer).
#pragma once

namespace notch {

struct CpuFeatures {
  bool avx2 = false;         ///< with FMA
  bool avx_vnni = false;     ///< 256-bit vpdpbusd
  bool avx512_vnni = false;  ///< 512-bit vpdpbusd, with AVX-512 F, BW and VL
  bool avx512_bf16 = false;  ///< vdpbf16ps, with the same
  bool sha = false;          ///< sha256rnds2 and the like, with SSE 4.1
  bool amx_int8 = false;     ///< tdpbusd, granted by the operating system; with AVX-512 VNNI
  bool amx_bf16 = false;     ///< tdpbf16ps, likewise with AVX-512 BF16
};

/// Found at the first call, which also asks Linux for AMX; a refusal is a processor without it. All
/// false on other architectures. Thread-safe.
const CpuFeatures& cpu_features();

}  // namespace notch
