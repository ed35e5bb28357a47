// Attention of new queries against a cache of keys and values: decoding. See attention.h.
#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/attention.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/vmath.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

/// One query of one head: out [HS] over the keys 0 .. seen; p [seen] is scratch. Rows of k, v are
/// ld apart.
NOTCH_VECTOR void attend(real* out, real* p, const real* q, const real* k, const real* v,
                         Index seen, Index HS, Index ld) {
  const double scale = 1 / std::sqrt(static_cast<double>(HS));
  for (Index j = 0; j < seen; ++j) {
    const real* kj = k + j * ld;
    p[j] = static_cast<real>(scale * lane_sum(HS, [=](Index c) { return q[c] * kj[c]; }));
  }
  const real m = lane_max(p, seen);
  const double sum = lane_sum(seen, [=](Index j) { return p[j] = vmath::exp(p[j] - m); });
  const real factor = static_cast<real>(1 / sum);
  std::fill_n(out, HS, real{0});
  for (Index j = 0; j < seen; ++j) {
    const real pj = p[j] * factor;
    for (Index c = 0; c < HS; ++c) out[c] += pj * v[j * ld + c];
  }
}

}  // namespace

std::int64_t attention_cached_workspace(const CachedAttentionShape& s) {
  return s.NH * (s.n_past + s.Tq);
}

void attention_cached(std::span<real> out, std::span<const real> q, std::span<const real> k,
                      std::span<const real> v, const CachedAttentionShape& s,
                      std::span<real> workspace) {
  check(std::ssize(workspace) >= attention_cached_workspace(s), "attention_cached",
        "workspace holds ", workspace.size(), " elements, needs ", attention_cached_workspace(s));
  const Index C = s.NH * s.HS, ld_q = s.ld_q == 0 ? C : s.ld_q;
  parallel_for(s.NH, [&](Index h) {
    const Index at = h * s.HS;
    for (Index i = 0; i < s.Tq; ++i)
      attend(out.data() + i * C + at, workspace.data() + h * (s.n_past + s.Tq),
             q.data() + i * ld_q + at, k.data() + at, v.data() + at, s.n_past + i + 1, s.HS, C);
  });
}

}  // namespace notch::kernels
