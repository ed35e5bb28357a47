#include "autograd/arena.h"

#include <algorithm>

#include "autograd/base/error.h"

namespace notch {
namespace {

constexpr std::size_t kAlign = 64;
constexpr std::size_t kFirstChunk = std::size_t{1} << 20;
constexpr std::size_t kMostBytes = std::size_t{1} << 62;

std::size_t rounded(std::size_t bytes) {
  return (std::max<std::size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

Arena::Bucket& Arena::bucket(std::size_t bytes) {
  std::size_t& last = last_[bytes / kAlign % last_.size()];
  if (last < buckets_.size() && buckets_[last].bytes == bytes) return buckets_[last];
  auto at = std::ranges::lower_bound(buckets_, bytes, {}, &Bucket::bytes);
  if (at == buckets_.end() || at->bytes != bytes) at = buckets_.insert(at, Bucket{bytes, {}});
  last = static_cast<std::size_t>(at - buckets_.begin());
  return *at;
}

void* Arena::allocate(std::size_t bytes) {
  check(bytes <= kMostBytes, "arena", bytes, " bytes are no size of memory");
  bytes = rounded(bytes);
  in_use_ += bytes;
  peak_ = std::max(peak_, in_use_);
  Bucket& b = bucket(bytes);
  if (!b.free.empty()) {
    void* block = b.free.back();
    b.free.pop_back();
    return block;
  }
  while (chunk_ < chunks_.size() && offset_ + bytes > chunks_[chunk_].bytes) {
    ++chunk_;
    offset_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    // Pages that are never touched cost nothing, so a chunk may be generous.
    const std::size_t size = std::max({bytes, reserved_ / 2, kFirstChunk});
    chunks_.push_back({allocate_large(size), size});
    reserved_ += size;
  }
  void* block = chunks_[chunk_].data.get() + offset_;
  offset_ += bytes;
  return block;
}

void Arena::release(void* block, std::size_t bytes) {
  bytes = rounded(bytes);
  in_use_ -= bytes;
  bucket(bytes).free.push_back(block);
}

void Arena::reset() {
  for (Bucket& b : buckets_) b.free.clear();
  chunk_ = offset_ = 0;
  in_use_ = 0;
}

}  // namespace notch
