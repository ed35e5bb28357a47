#include "autograd/base/large_block.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <new>

#include "autograd/base/error.h"

namespace notch {
namespace {

constexpr std::size_t kLine = 64, kHugePage = std::size_t{1} << 21;
constexpr std::size_t kAddressSpace = std::size_t{1} << 57;

}  // namespace

void LargeBlockFree::operator()(std::byte* block) const { ::operator delete[](block, alignment); }

LargeBlock allocate_large(std::size_t bytes) {
  check(bytes <= kAddressSpace, "memory", "a block of ", bytes, " bytes; no address space has more than ",
        kAddressSpace);
  const std::align_val_t alignment{bytes < kHugePage ? kLine : kHugePage};
  auto* block = static_cast<std::byte*>(::operator new[](bytes, alignment));
#if defined(__linux__)
  // A last page that would not be full stays small.
  if (bytes >= kHugePage) ::madvise(block, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return {block, {alignment}};
}

}  // namespace notch
