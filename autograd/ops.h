// Every op of the engine: signature, formula, shapes. Each is one struct in autograd/ops/.
//
// Shapes are checked when an op is recorded; a mismatch is a usage Error that names the op and both
// shapes. Token ids are copied, so a caller's buffer may be reused at once. B batch, T time, C
// channels, NH heads, V vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "autograd/graph.h"
#include "autograd/kernels/activation.h"

namespace notch {

using Gelu = kernels::Gelu;

// ---- elementwise. `b` has a's shape, or the shape of a's last dimensions and is then repeated
// over the first ones (a bias, a position table); [1] is a scalar ----
Var add(Var a, Var b);
Var sub(Var a, Var b);
Var mul(Var a, Var b);
Var div(Var a, Var b);
Var scale(Var x, double factor);
Var exp(Var x);
Var log(Var x);  ///< natural; -inf at 0 and NaN below, as std::log
Var tanh(Var x);
Var relu(Var x);  ///< max(x, 0); the derivative at 0 is 0
Var sigmoid(Var x);
Var gelu(Var x, Gelu form = Gelu::exact);
/// Zeroes elements with probability p and scales the others by 1/(1-p); the identity in inference.
Var dropout(Var x, double p);

// ---- reductions and softmax ----
inline constexpr int kAllAxes = -1;
Var sum(Var x, int axis = kAllAxes);  ///< the axis is dropped; of all axes: [1]
Var mean(Var x, int axis = kAllAxes);
Var max(Var x, int axis = kAllAxes);  ///< the gradient goes to the first of equal maxima
Var softmax(Var x);                   ///< over the last dimension

// ---- shape ----
Var reshape(Var x, Shape shape);               ///< same memory, same number of elements
Var transpose(Var x, int axis_a, int axis_b);  ///< copies
Var slice(Var x, int axis, std::int64_t begin,
          std::int64_t end);  ///< [begin, end) of one axis; copies
Var concat(std::span<const Var> parts, int axis);

// ---- products ----
/// a [.., M, K] · b [K, N] -> [.., M, N], or a [B, M, K] · b [B, K, N] -> [B, M, N].
Var matmul(Var a, Var b);
/// y = x wᵀ + bias: x [.., K], w [N, K], bias [N] -> [.., N].
Var linear(Var x, Var w, std::optional<Var> bias = {});

// ---- transformer ----
/// y = (x - mean) / √(var + eps) · gamma + beta over the last dimension; beta may be absent.
Var layernorm(Var x, Var gamma, std::optional<Var> beta, double eps = 1e-5);
/// rows of `table` [V, C] for ids [B, T] (flat, row-major) -> [B, T, C].
Var embedding(Var table, std::span<const std::int32_t> ids, std::int64_t B, std::int64_t T);
/// y = x / √(mean(x²) + eps) · gamma over the last dimension.
Var rmsnorm(Var x, Var gamma, double eps);
/// Causal self-attention over packed projections: qkv [B, T, 3C] -> [B, T, C].
///   softmax(q kᵀ / √(C/NH) + mask) v per head; `dropout` on the probabilities.
Var causal_attention(Var qkv, int n_head, double dropout = 0);
/// The same of queries [B, T, C] and of keys and values [B, T, KV · HS], HS = C / n_head, KV a
/// divisor of n_head: query head h reads head h / (n_head / KV) of keys.
Var causal_attention(Var q, Var k, Var v, int n_head, double dropout = 0);
/// Turns each head of x [B, T, H · HS] by its position's angles (kernels/rotary.h has the formula
/// and the convention): position t by row first + t of `table` [positions, HS], made by
/// kernels::rotary_table, which must outlive the step.
Var rotary(Var x, const Tensor& table, std::int64_t first = 0);
/// silu(gate) · up, silu(x) = x · sigmoid(x); equal shapes.
Var swiglu(Var gate, Var up);

// ---- losses: mean over the targets that are not -1, in nats -> [1] ----
/// -log softmax(logits)[target]: logits [.., V], one target per row.
Var cross_entropy(Var logits, std::span<const std::int32_t> targets);

/// What a student is distilled from: the teacher's last hidden states and its head.
///   loss = (1 - alpha) CE + alpha tau² ((1 - reverse) KL(p || q) + reverse KL(q || p)),
///   p = softmax(teacher/tau), q = softmax(student/tau)
struct Teacher {
  Tensor x{};     ///< [.., C_teacher], as many rows as the student's
  Tensor head{};  ///< [V, C_teacher]
  double tau = 1;
  double alpha = 1;
  double reverse = 0;
};
/// Another way to logits than x headᵀ (on integers, for example): rows [first, first + n) into
/// `out` [n, V]. Gradients stay those of the product. `self` must live until the op is recorded.
struct HeadProduct {
  void (*logits)(const void* self, std::span<real> out, std::int64_t first,
                 std::int64_t n) = nullptr;
  const void* self = nullptr;
};
/// cross_entropy(linear(x, head), targets), or the distillation loss, without ever holding the
/// logits of all tokens: chunks of rows run the head, the loss and their gradients.
///   x [.., C], head [V, C]. The gradient is computed in forward and scaled by dout in backward.
Var head_loss(Var x, Var head, std::span<const std::int32_t> targets,
              const std::optional<Teacher>& teacher = {}, const HeadProduct& product = {});

}  // namespace notch
