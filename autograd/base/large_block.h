// Memory for arrays that a step or a token reads from end to end.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace notch {

struct LargeBlockFree {
  std::align_val_t alignment{};
  void operator()(std::byte* block) const;
};
using LargeBlock = std::unique_ptr<std::byte[], LargeBlockFree>;

/// Allocates at least `bytes` bytes at a multiple of 64, unspecified. From 2 MiB on they lie at a
/// multiple of 2 MiB and Linux is asked for huge pages: a training step and the decoding of a token
/// read tens of megabytes once, and with small pages the translation of their addresses was 1 to
/// 7 % of a step (4 layers x 128 channels to 6 x 384). A refusal costs speed, nothing else.
LargeBlock allocate_large(std::size_t bytes);

}  // namespace notch
