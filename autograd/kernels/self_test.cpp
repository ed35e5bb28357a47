#include "autograd/kernels/self_test.h"

#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "autograd/base/arithmetic.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/names.h"
#include "autograd/base/rng.h"
#include "autograd/kernels/activation.h"
#include "autograd/kernels/adamw.h"
#include "autograd/kernels/attention.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/loss.h"
#include "autograd/kernels/norm.h"
#include "autograd/kernels/rotary.h"
#include "autograd/kernels/softmax.h"

namespace notch::kernels {
namespace {

using Reals = std::vector<real>;

std::size_t size(Index n) { return static_cast<std::size_t>(n); }

/// The bits of all results of a trial, one after the other.
class Bits {
 public:
  template <class T>
  void add(const std::vector<T>& values) {
    const std::size_t at = bytes_.size(), n = values.size() * sizeof(T);
    bytes_.resize(at + n);
    if (n > 0) std::memcpy(bytes_.data() + at, values.data(), n);
  }
  bool operator==(const Bits&) const = default;

 private:
  std::vector<std::byte> bytes_;
};

/// Sizes of a trial, and the stream of its random operands.
struct Case {
  std::uint64_t seed = 0;
  Index M = 0, N = 0, K = 0;
  std::string text() const { return str("M = ", M, ", N = ", N, ", K = ", K); }
};

template <class T>
std::vector<T> normals(Rng& rng, Index n) {
  std::vector<T> out(size(n));
  for (T& x : out) x = static_cast<T>(rng.normal());
  return out;
}

template <class T>
void gemms(Bits& bits, const Case& c) {
  Rng rng(c.seed, 1);
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true}) {
      const auto a = normals<T>(rng, c.M * c.K), b = normals<T>(rng, c.K * c.N);
      auto out = normals<T>(rng, c.M * c.N);
      const bool accumulate = rng.below(2) == 1;
      gemm(std::span(out), std::span(std::as_const(a)), std::span(std::as_const(b)), c.M, c.N, c.K,
           {.trans_a = trans_a,
            .trans_b = trans_b,
            .accumulate = accumulate,
            .alpha = rng.below(4) == 0 ? 0.3 : 1});
      bits.add(out);
    }
}

void products(Bits& bits, const Case& c) {
  gemms<float>(bits, c);
  gemms<double>(bits, c);
  Rng rng(c.seed, 2);
  const Reals x = normals<real>(rng, c.M * c.K), w = normals<real>(rng, c.N * c.K);
  const Reals bias = normals<real>(rng, c.N), dy = normals<real>(rng, c.M * c.N);
  Reals y(size(c.M * c.N)), dx(x.size()), dw(w.size()), dbias(bias.size());
  linear_forward(y, x, w, bias, c.M, c.N, c.K);
  linear_backward(dx, dw, dbias, dy, x, w, c.M, c.N, c.K);
  for (const Reals* part : {&y, &dx, &dw, &dbias}) bits.add(*part);
}

void factors(Bits& bits, const Case& c) {
  Rng rng(c.seed, 3);
  const Index N = 4 * c.N;  // more than one block of them at times
  std::vector<double> x = normals<double>(rng, N * N), a(x.size()), b = normals<double>(rng, 3 * N);
  gemm(std::span(a), std::span(std::as_const(x)), std::span(std::as_const(x)), N, N, N,
       {.trans_b = true});
  for (Index i = 0; i < N; ++i) a[size(i * N + i)] += 1;
  check(cholesky(a, N) == 0, "self test", "a positive matrix was refused");
  cholesky_solve_serial(b, a, 3, N);
  bits.add(a);
  bits.add(b);
}

void attention(Bits& bits, const Case& c) {
  Rng rng(c.seed, 4);
  const AttentionShape shape{.B = 2,
                             .T = c.M,
                             .NH = 4,
                             .HS = 8 * (1 + c.K % 9),
                             .dropout = rng.below(2) == 0 ? 0.0 : 0.2,
                             .dropout_key = c.seed,
                             .KV = rng.below(2) == 0 ? 4 : 2};
  const Index C = shape.NH * shape.HS, row = C + 2 * shape.KV * shape.HS;
  const Reals qkv = normals<real>(rng, shape.B * shape.T * row);
  const Reals dout = normals<real>(rng, shape.B * shape.T * C);
  Reals out(dout.size()), lse(size(shape.B * shape.NH * shape.T)), dqkv(qkv.size());
  Reals workspace(size(attention_workspace(shape)));
  const auto parts = [&](auto all) {
    return QkvRows<typename decltype(all)::element_type>{
        all, all.subspan(size(C)), all.subspan(size(C + shape.KV * shape.HS)), row, row};
  };
  const Qkv x = parts(std::span<const real>(qkv));
  attention_forward(out, lse, x, shape, workspace);
  attention_backward(parts(std::span<real>(dqkv)), dout, x, out, lse, shape, workspace);
  for (const Reals* part : {&out, &lse, &dqkv}) bits.add(*part);
}

void norms(Bits& bits, const Case& c) {
  Rng rng(c.seed, 5);
  const Index rows = c.M, C = c.N, n = rows * C;
  const Reals x = normals<real>(rng, n), dout = normals<real>(rng, n);
  const Reals gamma = normals<real>(rng, C), beta = normals<real>(rng, C);
  Reals out(size(n)), mean(size(rows)), rstd(size(rows)), dx(size(n)), dgamma(size(C)),
      dbeta(size(C));
  Reals workspace(size(layernorm_backward_workspace(rows, C)));
  layernorm_forward(out, mean, rstd, x, gamma, beta, rows, C, 1e-5);
  layernorm_backward(dx, dgamma, dbeta, dout, x, gamma, mean, rstd, rows, C, workspace);
  for (const Reals* part : {&out, &mean, &rstd, &dx, &dgamma, &dbeta}) bits.add(*part);
  rmsnorm_forward(out, rstd, x, gamma, rows, C, 1e-5);
  rmsnorm_backward(dx, dgamma, dout, x, gamma, rstd, rows, C, workspace);
  softmax_forward(mean, rstd, 1, rows);
  for (const Reals* part : {&out, &mean, &dx, &dgamma}) bits.add(*part);
}

void activations(Bits& bits, const Case& c) {
  Rng rng(c.seed, 6);
  const Index n = c.M * c.N;
  Reals x = normals<real>(rng, n);
  for (std::size_t i = 0; i < x.size(); i += 7) x[i] *= 10;
  const Reals dout = normals<real>(rng, n);
  for (const Gelu form : {Gelu::exact, Gelu::tanh}) {
    Reals y(size(n)), dx(size(n));
    gelu_forward(y, x, form);
    gelu_backward(dx, dout, x, form);
    bits.add(y);
    bits.add(dx);
  }
  Reals y(size(n)), dgate(size(n)), dup(size(n));
  swiglu_forward(y, x, dout);
  swiglu_backward(dgate, dup, dout, x, y);
  for (const Reals* part : {&y, &dgate, &dup}) bits.add(*part);
  for (const auto f : {exp_forward, tanh_forward, sigmoid_forward}) {
    f(y, x);
    bits.add(y);
  }
  const RotaryShape turn{.B = 1, .T = c.M, .H = 2, .HS = 2 * c.K};
  Reals table(size(turn.T * turn.HS)), turned(size(turn.T * turn.H * turn.HS));
  rotary_table(table, turn.T, turn.HS, 1e4);
  const Reals straight = normals<real>(rng, std::ssize(turned));
  rotary_forward(turned, straight, table, turn);
  rotary_backward(turned, straight, table, turn);
  bits.add(table);
  bits.add(turned);
}

void losses(Bits& bits, const Case& c) {
  Rng rng(c.seed, 7);
  const Index rows = c.M, V = c.N + 1;
  Reals student = normals<real>(rng, rows * V);
  const Reals teacher = normals<real>(rng, rows * V);
  std::vector<std::int32_t> targets(size(rows));
  for (std::int32_t& t : targets)
    t = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(V)));
  std::vector<double> loss(targets.size()), ce(targets.size());
  Reals logits = student;
  cross_entropy_forward_backward(loss, logits, targets, 0.5, rows, V);
  bits.add(loss);
  bits.add(logits);
  distillation_forward_backward(loss, ce, student, teacher, targets,
                                {.tau = 2, .alpha = 0.7, .reverse = 0.3}, 0.5, rows, V);
  bits.add(loss);
  bits.add(student);
}

void updates(Bits& bits, const Case& c) {
  Rng rng(c.seed, 8);
  const Index n = c.M * c.N;
  Reals w = normals<real>(rng, n), m(size(n)), v(size(n)), shadow = w;
  const Reals g = normals<real>(rng, n);
  for (int t = 1; t <= 3; ++t)
    adamw(w, m, v, g,
          {.lr = 1e-2,
           .weight_decay = 0.1,
           .bias_correction1 = 0.1 * t,
           .bias_correction2 = 0.01 * t,
           .grad_scale = 0.7});
  sgd(w, m, g, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  ema(shadow, w, 0.99);
  for (const Reals* part : {&w, &m, &v, &shadow}) bits.add(*part);
  bits.add(std::vector<double>{dot(w, g), sum(w)});
}

using Work = void (*)(Bits&, const Case&);
constexpr std::pair<Work, std::string_view> kWorks[] = {
    {products, "products"},       {factors, "factors"}, {attention, "attention"}, {norms, "norms"},
    {activations, "activations"}, {losses, "losses"},   {updates, "updates"}};
constexpr Isa kIsas[] = {Isa::avx2, Isa::avx512};

}  // namespace

std::vector<KernelTrial> try_portable_kernels(std::int64_t trials, std::uint64_t seed) {
  const ScopedArithmetic portable(Arithmetic::portable);
  std::vector<KernelTrial> all;
  for (const auto& [work, name] : kWorks) {
    for (const Isa isa : kIsas)
      if (isa <= best_isa()) all.push_back({.kernel = str(name, ' ', word_of(isa))});
  }
  Rng rng(seed, 4);
  const auto pick = [&](std::uint64_t most) { return static_cast<Index>(1 + rng.below(most)); };
  for (Index i = 0; i < trials; ++i) {
    const Case c{.seed = rng.next(), .M = pick(150), .N = pick(100), .K = pick(300)};
    auto trial = all.begin();
    for (const auto& [work, name] : kWorks) {
      const auto run = [&, work = work](Isa isa) {
        const ForcedIsa forced(isa);
        Bits bits;
        work(bits, c);
        return bits;
      };
      const Bits plain = run(Isa::portable);
      for (const Isa isa : kIsas) {
        if (isa > best_isa()) continue;
        ++trial->products;
        if (trial->difference.empty() && run(isa) != plain) trial->difference = c.text();
        ++trial;
      }
    }
  }
  return all;
}

}  // namespace notch::kernels
