// SHA-256 by the processor's own instructions: ten times the portable code, so that whether a model
// is what was written costs little next to reading it.
#pragma once

#include "autograd/base/sha256.h"

namespace notch::kernels {

/// The fastest that this processor has, for Sha256: the SHA extensions of x86-64, or the portable
/// code.
Sha256Blocks sha256_blocks();
/// notch::Sha256 by them.
struct Sha256 : notch::Sha256 {
  Sha256() : notch::Sha256(sha256_blocks()) {}
};
/// notch::sha256_file by them.
inline std::string sha256_file(const std::filesystem::path& path) {
  return notch::sha256_file(path, sha256_blocks());
}

}  // namespace notch::kernels
