// Arena: the memory of one step. It grows in the first step and is handed out again in the next.
//
// allocate() takes a released block of exactly the wanted size, else moves a bump pointer. A
// training step repeats its shapes, so exact sizes are enough: activation gradients take the blocks
// that backward has just released, and after the first step nothing is asked of the heap.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "autograd/base/large_block.h"

namespace notch {

class Arena {
 public:
  /// Hands out at least `bytes` bytes at a multiple of 64. Contents are unspecified.
  void* allocate(std::size_t bytes);
  /// Returns a block for reuse in this step. `bytes` as given to allocate.
  void release(void* block, std::size_t bytes);
  /// Forgets all blocks and keeps the memory.
  void reset();

  std::size_t bytes_reserved() const { return reserved_; }
  std::size_t bytes_in_use() const { return in_use_; }
  std::size_t peak_bytes() const { return peak_; }  ///< since construction

 private:
  struct Chunk {
    LargeBlock data;
    std::size_t bytes = 0;
  };
  struct Bucket {
    std::size_t bytes = 0;
    std::vector<void*> free;
  };
  Bucket& bucket(std::size_t bytes);

  std::vector<Chunk> chunks_;
  std::vector<Bucket> buckets_;  // sorted by bytes
  // Where the bucket of a size was, by the size: a step repeats its sizes.
  std::array<std::size_t, 256> last_{};
  std::size_t chunk_ = 0, offset_ = 0;
  std::size_t reserved_ = 0, in_use_ = 0, peak_ = 0;
};

}  // namespace notch
