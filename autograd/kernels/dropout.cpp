#include "autograd/kernels/dropout.h"

#include "autograd/base/rng.h"
#include "autograd/kernels/chunks.h"

namespace notch::kernels {

using Index = std::int64_t;

void dropout_forward(std::span<real> out, std::span<const real> x, double p, std::uint64_t key) {
  const real keep = static_cast<real>(1 / (1 - p));
  const float limit = static_cast<float>(p);
  for_chunks(std::ssize(x), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i)
      out.data()[i] = counter_uniform(key, static_cast<std::uint64_t>(i)) < limit
                          ? real{0}
                          : x.data()[i] * keep;
  });
}

void dropout_backward(std::span<real> dx, std::span<const real> dout, double p, std::uint64_t key) {
  const real keep = static_cast<real>(1 / (1 - p));
  const float limit = static_cast<float>(p);
  for_chunks(std::ssize(dx), [&](Index first, Index last) {
    // out = u < p ? 0 : x / (1 - p)
    for (Index i = first; i < last; ++i)
      dx.data()[i] += counter_uniform(key, static_cast<std::uint64_t>(i)) < limit
                          ? real{0}
                          : dout.data()[i] * keep;
  });
}

}  // namespace notch::kernels
