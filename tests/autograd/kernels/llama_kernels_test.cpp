// The kernels that a Llama adds: rotary positions and the SwiGLU gate. (RMSNorm: reduce_test.cpp.)
#include <cmath>

#include "autograd/kernels/activation.h"
#include "autograd/kernels/reference.h"
#include "autograd/kernels/rotary.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace llama_kernels_test {

using namespace notch;
using namespace notch::test;
namespace ref = notch::kernels::reference;

Reals table(std::int64_t positions, std::int64_t HS, double theta) {
  Reals t(static_cast<std::size_t>(positions * HS));
  kernels::rotary_table(t, positions, HS, theta);
  return t;
}

TEST_CASE("the rotary embedding equals the naive reference") {
  for (const auto& s : {kernels::RotaryShape{.B = 1, .T = 1, .H = 1, .HS = 2},
                        {.B = 2, .T = 70, .H = 3, .HS = 10},
                        {.B = 1, .T = 200, .H = 2, .HS = 64}}) {
    INFO("T " << s.T << ", HS " << s.HS);
    const std::int64_t n = s.B * s.T * s.H * s.HS;
    const Reals x = normals(n, 1), angles = table(s.T, s.HS, 10000);
    Reals out(x.size());
    kernels::rotary_forward(out, x, angles, s);
    CHECK(worst_error(out, ref::rotary(x, s.B, s.T, s.H, s.HS, 10000), 1) < 8 * kEpsilon);
    // A rotation keeps lengths: turned back, the output is the input again.
    Reals back(x.size(), real{1});
    kernels::rotary_backward(back, out, angles, s);
    std::vector<double> expected;
    for (const real v : x) expected.push_back(1 + static_cast<double>(v));
    CHECK(worst_error(back, expected, 1) < 16 * kEpsilon);
  }
}

TEST_CASE("rotary positions by hand: only distances count") {
  // Two channels have one angle, t · theta^0 = t.
  const Reals angles = table(4, 2, 10000);
  CHECK(angles[2 * 3] == Approx(std::cos(3.0)));
  CHECK(angles[2 * 3 + 1] == Approx(std::sin(3.0)));
  // The second pair of four channels turns 100 times as slowly.
  CHECK(table(4, 4, 10000)[4 * 3 + 3] == Approx(std::sin(0.03)));
  const std::int64_t HS = 16, T = 12;
  const Reals q = normals(HS, 2), k = normals(HS, 3), turn = table(T, HS, 500);
  const auto at = [&](const Reals& x, std::int64_t t) {
    Reals y(x.size());
    kernels::rotary_forward(y, x, std::span(turn).subspan(static_cast<std::size_t>(t * HS)),
                            {.B = 1, .T = 1, .H = 1, .HS = HS});
    return y;
  };
  const auto product = [](const Reals& a, const Reals& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i] * b[i]);
    return sum;
  };
  CHECK(product(at(q, 9), at(k, 4)) == Approx(product(at(q, 5), at(k, 0))).margin(1e-5));
  CHECK(std::fabs(product(at(q, 9), at(k, 4)) - product(at(q, 9), at(k, 9))) > 1e-2);
}

TEST_CASE("SwiGLU equals the formula and skips empty gradients") {
  const Reals gate = normals(20000, 4, 4), up = normals(20000, 5), dout = normals(20000, 6);
  Reals out(gate.size());
  kernels::swiglu_forward(out, gate, up);
  std::vector<double> expected, want_gate, want_up;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const auto g = static_cast<double>(gate[i]), u = static_cast<double>(up[i]),
               d = static_cast<double>(dout[i]), s = 1 / (1 + std::exp(-g));
    expected.push_back(ref::swiglu(g, u));
    want_gate.push_back(1 + d * u * s * (1 + g * (1 - s)));
    want_up.push_back(1 + d * g * s);
  }
  CHECK(worst_error(out, expected, 1) < 16 * kEpsilon);
  Reals dgate(gate.size(), real{1}), dup(gate.size(), real{1}), only = dup;
  kernels::swiglu_backward(dgate, dup, dout, gate, up);
  CHECK(worst_error(dgate, want_gate, 1) < 32 * kEpsilon);
  CHECK(worst_error(dup, want_up, 1) < 32 * kEpsilon);
  kernels::swiglu_backward({}, only, dout, gate, up);
  CHECK(only == dup);
}

}  // namespace llama_kernels_test
