#include "autograd/kernels/dropout.h"

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/rng.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

NOTCH_VECTOR(void, forward_loop, real* out, const real* x, real keep, float p, std::uint64_t key,
             Index first, Index last) {
  for (Index i = first; i < last; ++i)
    out[i] = counter_uniform(key, static_cast<std::uint64_t>(i)) < p ? real{0} : x[i] * keep;
}
NOTCH_VECTOR(void, backward_loop, real* dx, const real* dout, real keep, float p, std::uint64_t key,
             Index first, Index last) {
  // out = u < p ? 0 : x / (1 - p)
  for (Index i = first; i < last; ++i)
    dx[i] += counter_uniform(key, static_cast<std::uint64_t>(i)) < p ? real{0} : dout[i] * keep;
}

void require_share(double p) {
  check(p >= 0 && p < 1, "dropout", "p = ", p, " is not in [0, 1)");
}

}  // namespace

void dropout_forward(std::span<real> out, std::span<const real> x, double p, std::uint64_t key) {
  require_share(p);
  require_extent("dropout", std::ssize(x), out, x);
  for_chunks(std::ssize(x), [&](Index first, Index last) {
    forward_loop(out.data(), x.data(), static_cast<real>(1 / (1 - p)), static_cast<float>(p), key,
                 first, last);
  });
}

void dropout_backward(std::span<real> dx, std::span<const real> dout, double p, std::uint64_t key) {
  require_share(p);
  require_extent("dropout backward", std::ssize(dx), dx, dout);
  for_chunks(std::ssize(dx), [&](Index first, Index last) {
    backward_loop(dx.data(), dout.data(), static_cast<real>(1 / (1 - p)), static_cast<float>(p),
                  key, first, last);
  });
}

}  // namespace notch::kernels
