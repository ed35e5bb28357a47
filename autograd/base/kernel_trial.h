// What a differential test of a kernel says: quant/kernels/self_test.h, autograd/kernels/self_test.h.
#pragma once

#include <cstdint>
#include <string>

namespace notch {

struct KernelTrial {
  std::string kernel{};       ///< "integer avx512_vnni", "narrow avx2", "products avx512", …
  std::int64_t products = 0;  ///< that were compared
  std::string difference{};   ///< the first that was not the same; empty: none
};

}  // namespace notch
