#include "autograd/kernels/attention.h"

#include <cmath>
#include <utility>

#include "autograd/kernels/reference.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace attention_test {

using namespace notch;
using namespace notch::test;
using kernels::AttentionShape;
namespace ref = notch::kernels::reference;

struct Result {
  Reals out, lse, dqkv;
};

kernels::Qkv packed(const Reals& qkv, const AttentionShape& s) {
  return kernels::packed_qkv(std::span<const real>(qkv), s.NH * s.HS);
}
kernels::QkvGradient packed(Reals& dqkv, const AttentionShape& s) {
  return kernels::packed_qkv(std::span<real>(dqkv), s.NH * s.HS);
}

Result run(const Reals& qkv, const Reals& dout, const AttentionShape& s) {
  Result r{Reals(dout.size()), Reals(static_cast<std::size_t>(s.B * s.NH * s.T)),
           Reals(qkv.size(), real{1})};
  Reals workspace(static_cast<std::size_t>(kernels::attention_workspace(s)),
                  static_cast<real>(NAN));
  kernels::attention_forward(r.out, r.lse, packed(qkv, s), s, workspace);
  kernels::attention_backward(packed(r.dqkv, s), dout, packed(qkv, s), r.out, r.lse, s, workspace);
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
      kernels::attention_backward(packed(fresh, s), dout, packed(qkv, s), found.out, found.lse, s,
                                  workspace, true);
      kernels::attention_backward(packed(zeroed, s), dout, packed(qkv, s), found.out, found.lse, s,
                                  workspace);
      CHECK(fresh == zeroed);  // a fresh gradient is overwritten, whatever it held
    }
}

TEST_CASE("grouped queries equal attention of repeated keys and values") {
  for (AttentionShape s : kShapes)
    for (const std::int64_t group : {1, 2, 3}) {
      // transformers' repeat_kv: query head h reads head h / group of keys
      s.KV = s.NH;
      s.NH *= group;
      s.dropout = group == 3 ? 0.3 : 0;
      s.dropout_key = 5;
      const std::int64_t C = s.NH * s.HS, KC = s.KV * s.HS, rows = s.B * s.T;
      INFO("B " << s.B << ", T " << s.T << ", NH " << s.NH << ", KV " << s.KV << ", HS " << s.HS);
      const Reals q = normals(rows * C, 1), k = normals(rows * KC, 2), v = normals(rows * KC, 3);
      const Reals dout = normals(rows * C, 4);
      Reals repeated(static_cast<std::size_t>(rows * 3 * C));
      const auto at = [&](std::int64_t part, std::int64_t r, std::int64_t c) {
        return static_cast<std::size_t>((r * 3 + part) * C + c);
      };
      const auto shared = [&](std::int64_t r, std::int64_t c) {
        return static_cast<std::size_t>(r * KC + c / s.HS / group * s.HS + c % s.HS);
      };
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < C; ++c) {
          repeated[at(0, r, c)] = q[static_cast<std::size_t>(r * C + c)];
          repeated[at(1, r, c)] = k[shared(r, c)];
          repeated[at(2, r, c)] = v[shared(r, c)];
        }
      const ref::Attention expected =
          ref::attention(repeated, s.B, s.T, s.NH, s.HS, s.dropout, s.dropout_key);
      const ref::Values dqkv =
          ref::attention_backward(dout, repeated, s.B, s.T, s.NH, s.HS, s.dropout, s.dropout_key);
      ref::Values want_q(q.size(), 1), want_k(k.size(), 1), want_v(v.size(), 1);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < C; ++c) {
          want_q[static_cast<std::size_t>(r * C + c)] += dqkv[at(0, r, c)];
          want_k[shared(r, c)] += dqkv[at(1, r, c)];
          want_v[shared(r, c)] += dqkv[at(2, r, c)];
        }

      Reals out(dout.size()), lse(static_cast<std::size_t>(s.B * s.NH * s.T));
      Reals workspace(static_cast<std::size_t>(kernels::attention_workspace(s)),
                      static_cast<real>(NAN));
      Reals dq(q.size(), 1), dk(k.size(), 1), dv(v.size(), 1);
      const kernels::Qkv x{q, k, v, C, KC};
      kernels::attention_forward(out, lse, x, s, workspace);
      CHECK(worst_error(out, expected.out, 1) < 1e-5);
      CHECK(worst_error(lse, expected.lse, 1) < 1e-5);
      kernels::attention_backward({dq, dk, dv, C, KC}, dout, x, out, lse, s, workspace);
      CHECK(worst_error(dq, want_q, 1) < 4e-5);
      CHECK(worst_error(dk, want_k, 1) < 4e-5);
      CHECK(worst_error(dv, want_v, 1) < 4e-5);

      Reals only(k.size(), 1);
      kernels::attention_backward({{}, only, {}, C, KC}, dout, x, out, lse, s, workspace);
      CHECK(only == dk);
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
  CHECK(error_of([&] {
          kernels::attention_forward(out, lse, packed(std::as_const(qkv), s), s, workspace);
        }).fault == Fault::usage);
}

}  // namespace attention_test
