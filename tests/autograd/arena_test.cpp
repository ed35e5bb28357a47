// Arena and Shape: the memory of a step and the extents of what lies in it.

#include "autograd/arena.h"

#include <cstdint>
#include <cstring>

#include "autograd/tensor.h"
#include "tests/catch.h"

namespace notch::arena_test {

TEST_CASE("arena blocks are aligned, do not overlap, and are whole") {
  Arena arena;
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (const int n : {1, 0, 64, 65, 3 << 20, 100, 5 << 20, 1 << 20}) {
    const auto bytes = static_cast<std::size_t>(n);
    auto* p = static_cast<unsigned char*>(arena.allocate(bytes));
    CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
    std::memset(p, static_cast<int>(blocks.size() + 1), bytes);
    blocks.emplace_back(p, bytes);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto [p, bytes] = blocks[i];
    bool intact = true;
    for (std::size_t j = 0; j < bytes; ++j) intact &= p[j] == i + 1;
    CHECK(intact);
  }
}

TEST_CASE("an arena reuses released blocks by size and counts its use") {
  Arena arena;
  void* a = arena.allocate(1000);
  arena.allocate(2000);
  const std::size_t both = arena.bytes_in_use();
  CHECK(both >= 3000);
  arena.release(a, 1000);
  CHECK(arena.bytes_in_use() < both);
  CHECK(arena.allocate(2000) != a);
  CHECK(arena.allocate(1000) == a);
  arena.reset();
  CHECK(arena.bytes_in_use() == 0);
  CHECK(arena.peak_bytes() >= 5000);
}

TEST_CASE("an arena that repeats itself gives the same blocks again") {
  Arena arena;
  std::vector<void*> first;
  std::size_t reserved = 0;
  for (int run = 0; run < 3; ++run) {
    arena.reset();
    std::vector<void*> blocks;
    for (std::size_t i = 1; i < 50; ++i) {
      blocks.push_back(arena.allocate(i * 50000));
      if (i % 3 == 0) arena.release(blocks[i / 2], (i / 2 + 1) * 50000);
    }
    if (run == 0) {
      first = blocks;
      reserved = arena.bytes_reserved();
    }
    CHECK(blocks == first);
    CHECK(arena.bytes_reserved() == reserved);
  }
}

TEST_CASE("shapes count, flatten and drop axes") {
  const Shape s{2, 3, 4};
  CHECK(s.size() == 24);
  CHECK(s.last() == 4);
  CHECK(s.with(1, 7) == Shape{2, 7, 4});
  CHECK(s.without(1) == Shape{2, 4});
  CHECK(Shape{5}.without(0) == Shape{1});
  CHECK(Shape{}.size() == 1);
  CHECK(str(s) == "[2, 3, 4]");
  const Tensor t{nullptr, s};
  CHECK(t.rows() == 6);
  CHECK(t.cols() == 4);
  CHECK(Tensor{nullptr, {3, 0}}.rows() == 0);
  CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5}), Error);
  CHECK_THROWS_AS((Shape{2, -1}), Error);
}

}  // namespace notch::arena_test
