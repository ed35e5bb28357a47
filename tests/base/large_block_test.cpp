#include "autograd/base/large_block.h"

#include <cstdint>
#include <cstring>

#include "tests/catch.h"

namespace large_block_test {

using namespace notch;

TEST_CASE("a large block is writable to its last byte and is aligned") {
  constexpr std::size_t kHugePage = std::size_t{1} << 21;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, kHugePage - 1, kHugePage,
                                  kHugePage + 1, 3 * kHugePage + 4096}) {
    const LargeBlock block = allocate_large(bytes);
    CAPTURE(bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(block.get()) % (bytes < kHugePage ? 64 : kHugePage) ==
          0);
    std::memset(block.get(), 0x5a, bytes);
    if (bytes > 0) CHECK(block[bytes - 1] == std::byte{0x5a});
  }
}

}  // namespace large_block_test
