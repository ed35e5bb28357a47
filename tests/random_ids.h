// Random tokens: the same for a seed and a stream.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/base/rng.h"

namespace notch::test {

inline std::vector<std::int32_t> random_ids(std::size_t n, std::uint64_t vocab, std::uint64_t seed,
                                            std::uint64_t stream = 0) {
  Rng rng(seed, stream);
  std::vector<std::int32_t> ids(n);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(rng.below(vocab));
  return ids;
}

}  // namespace notch::test
