// Random tokens: the same for a seed and a stream.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/base/rng.h"

namespace notch::test {

template <class Id = std::int32_t>
std::vector<Id> random_ids(std::size_t n, std::uint64_t vocab, std::uint64_t seed,
                           std::uint64_t stream = 0) {
  Rng rng(seed, stream);
  std::vector<Id> ids(n);
  for (Id& id : ids) id = static_cast<Id>(rng.below(vocab));
  return ids;
}

}  // namespace notch::test
