#include "autograd/kernels/attention.h"

#include <cmath>

#include "autograd/kernels/reference.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace {

using namespace notch;
using namespace notch::test;
using kernels::AttentionShape;
namespace ref = notch::kernels::reference;

struct Result {
  Reals out, lse, dqkv;
};

Result run(const Reals& qkv, const Reals& dout, const AttentionShape& s) {
  Result r{Reals(dout.size()), Reals(static_cast<std::size_t>(s.B * s.NH * s.T)),
           Reals(qkv.size(), real{1})};
  Reals workspace(static_cast<std::size_t>(kernels::attention_workspace(s)),
                  static_cast<real>(NAN));
  kernels::attention_forward(r.out, r.lse, qkv, s, workspace);
  kernels::attention_backward(r.dqkv, dout, qkv, r.out, r.lse, s, workspace);
  return r;
}

const AttentionShape kShapes[] = {
    {.B = 1, .T = 1, .NH = 1, .HS = 1},
    {.B = 2, .T = 5, .NH = 3, .HS = 4},
    {.B = 1, .T = 64, .NH = 2, .HS = 32},
    {.B = 1, .T = 65, .NH = 1, .HS = 16},
    {.B = 2, .T = 150, .NH = 2, .HS = 24},
    // rows that are read and written in place, and rows too few for it
    {.B = 1, .T = 136, .NH = 2, .HS = 64},
    {.B = 1, .T = 70, .NH = 2, .HS = 32}};

}  // namespace

TEST_CASE("attention equals the naive reference, also with dropout") {
  for (AttentionShape s : kShapes)
    for (double p : {0.0, 0.3}) {
      s.dropout = p;
      s.dropout_key = 99;
      const std::int64_t C = s.NH * s.HS;
      INFO("B " << s.B << ", T " << s.T << ", NH " << s.NH << ", HS " << s.HS << ", dropout " << p);
      const Reals qkv = normals(s.B * s.T * 3 * C, 1, 1.5), dout = normals(s.B * s.T * C, 2);
      const Result found = run(qkv, dout, s);
      const ref::Attention forward = ref::attention(qkv, s.B, s.T, s.NH, s.HS, p, 99);
      CHECK(worst_error(found.out, forward.out, 1) < 1e-5);
      CHECK(worst_error(found.lse, forward.lse, 1) < 1e-5);
      ref::Values dqkv = ref::attention_backward(dout, qkv, s.B, s.T, s.NH, s.HS, p, 99);
      for (double& d : dqkv) d += 1;
      CHECK(worst_error(found.dqkv, dqkv, 1) < 4e-5);
      Reals fresh(qkv.size(), static_cast<real>(NAN)), zeroed(qkv.size(), real{0});
      Reals workspace(static_cast<std::size_t>(kernels::attention_workspace(s)));
      kernels::attention_backward(fresh, dout, qkv, found.out, found.lse, s, workspace, true);
      kernels::attention_backward(zeroed, dout, qkv, found.out, found.lse, s, workspace);
      CHECK(fresh == zeroed);  // a fresh gradient is overwritten, whatever it held
    }
}

TEST_CASE("attention is causal: later positions change nothing earlier") {
  const AttentionShape s{.B = 1, .T = 100, .NH = 2, .HS = 8};
  const std::int64_t C = s.NH * s.HS, changed = 70;
  Reals qkv = normals(s.T * 3 * C, 3);
  const Reals dout = normals(s.T * C, 4);
  const Result before = run(qkv, dout, s);
  for (auto i = static_cast<std::size_t>(changed * 3 * C); i < qkv.size(); ++i)
    qkv[i] = static_cast<real>(NAN);
  const Result after = run(qkv, dout, s);
  for (std::size_t i = 0; i < static_cast<std::size_t>(64 * C); ++i)
    CHECK(before.out[i] == after.out[i]);
  CHECK(std::isnan(after.out.back()));
}

TEST_CASE("attention stands scores far apart without overflow") {
  const AttentionShape s{.B = 1, .T = 80, .NH = 1, .HS = 16};
  const Reals qkv = normals(s.T * 48, 5, 30), dout = normals(s.T * 16, 6);
  const Result found = run(qkv, dout, s);
  for (real v : found.out) CHECK(std::isfinite(v));
  for (real v : found.dqkv) CHECK(std::isfinite(v));
}

TEST_CASE("attention gives the same bits for any number of threads") {
  const AttentionShape s{.B = 3, .T = 90, .NH = 7, .HS = 8};
  const Reals qkv = normals(s.B * s.T * 3 * 56, 7), dout = normals(s.B * s.T * 56, 8);
  require_same_bits_for_any_thread_count([&] {
    Result r = run(qkv, dout, s);
    r.dqkv.insert(r.dqkv.end(), r.out.begin(), r.out.end());
    return r.dqkv;
  });
}

TEST_CASE("attention refuses a workspace that is too small") {
  const AttentionShape s{.B = 1, .T = 8, .NH = 1, .HS = 4};
  Reals qkv(96), out(32), lse(8), workspace(3);
  CHECK(error_of([&] { kernels::attention_forward(out, lse, qkv, s, workspace); }).fault ==
        Fault::usage);
}
