#include "quant/ops/input_ops.h"

#include <array>
#include <cmath>

#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/ops.h"
#include "quant/kernels/input_gradients.h"
#include "quant/kernels/integer_gradients.h"
#include "quant/kernels/quantize_rows.h"
#include "quant/ops/rotation.h"

namespace notch::quant {
namespace {

/// The inputs of an op that quantizes its first one; those that it lacks have index 0.
struct Inputs {
  int w = 0, bias = 0, log_scale = 0, offset = 0;
};

/// The quantizer of an op's input and its gradient: what quantize_input and quantized_linear share.
struct RoundedInput {
  ActivationSpec spec{};
  UnitScale at{};
  Ste ste = Ste::clipped;
  bool clipping_only = false;
  Inputs inputs{};
  real offset_steps = 0;
  bool offset_is_free = false;

  void find_range(Forward& f) {
    if (inputs.log_scale == 0) return;
    const real l = f.in(inputs.log_scale).data[0];
    const InputQuantizer start{spec, at};
    at = range_of(start, l, {});
    if (inputs.offset == 0) return;
    const real offset = f.in(inputs.offset).data[0];
    at = range_of(start, l, offset);
    const Grid grid = grid_of(unit_spec(spec));
    const real z = static_cast<real>(grid.qmin) - offset / at.scale;
    offset_is_free = z >= static_cast<real>(grid.qmin) && z <= static_cast<real>(grid.qmax);
    offset_steps = offset_is_free ? offset / at.scale : 0;
  }

  bool is_learned() const { return inputs.log_scale != 0; }
  bool is_masked() const { return spec.range == ActivationRange::fixed && ste == Ste::clipped; }
  /// Whether ∂L/∂x differs from ∂L/∂x̂, or ∂L/∂x̂ is needed besides.
  bool has_backward() const { return is_learned() || is_masked(); }

  /// dx: ∂L/∂x̂ becomes ∂L/∂x, and the learned range gets its gradients.
  void backward(Backward& b, std::span<real> dx) const {
    const Tensor x = b.in(0);  // may be made again: asked for only where it is needed
    const Grid grid = grid_of(unit_spec(spec));
    const InputRange range{.scale = at.scale,
                           .zero_point = at.zero_point,
                           .qmin = grid.qmin,
                           .qmax = grid.qmax,
                           .offset_steps = offset_steps,
                           .clipping_only = clipping_only,
                           .low_end_held = clipping_only && offset_is_free};
    if (!is_learned()) {
      mask_input_gradient(dx, x.flat(), range);
      return;
    }
    const RangeSums sums = input_backward(dx, x.flat(), range, is_masked());
    const int codes = spec.symmetric ? grid.qmax : grid.qmax - grid.qmin;
    const double factor =
        clipping_only ? 1
                      : 1 / std::sqrt(static_cast<double>(x.cols()) * static_cast<double>(codes));
    const auto add = [&](int input, double gradient) {
      const std::span<real> to = input ? b.grad(input) : std::span<real>{};
      if (!to.empty()) to[0] += static_cast<real>(factor * gradient);
    };
    add(inputs.log_scale, static_cast<double>(at.scale) * sums.scale);
    if (offset_is_free && !clipping_only) add(inputs.offset, sums.offset);
  }
};

#ifdef NOTCH_DOUBLE
/// quantize_rows in double: x̂ of x [M, K].
void round_rows(std::span<real> out, std::span<const real> x, std::int64_t K,
                const ActivationSpec& spec, const UnitScale& frozen) {
  const Spec unit = unit_spec(spec);
  const Grid grid = grid_of(unit);
  for (std::size_t i = 0; i < x.size(); i += static_cast<std::size_t>(K)) {
    const auto row = x.subspan(i, static_cast<std::size_t>(K));
    const UnitScale at =
        spec.range == ActivationRange::fixed ? frozen : scale_range(min_max(row), unit, 1);
    const std::array<std::int8_t, 1> zero{static_cast<std::int8_t>(at.zero_point)};
    fake_quant(out.subspan(i, row.size()), row, {{&at.scale, 1}, zero, K}, grid);
  }
}
#endif

struct QuantizeInput {
  static constexpr std::string_view name = "quantize_input";
  RoundedInput input;

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    check(x.cols() > 0, name, "x is ", x.shape, ", whose tokens have no features");
    input.find_range(f);
    check_calibrated(input.spec, input.at, name);
    const Tensor y = f.out(x.shape);
    if (!input.spec.is_integer()) {
      round_rows_to_floats(y.flat(), x.flat(), x.rows(), x.cols(), grid_of(unit_spec(input.spec)));
      return y;
    }
#ifdef NOTCH_DOUBLE
    round_rows(y.flat(), x.flat(), x.cols(), input.spec, input.at);
#else
    const IntegerShape shape{.N = 1, .K = x.cols()};
    const ActivationCodes codes{f.scratch<std::uint8_t>(x.rows() * shape.row_codes()),
                                f.scratch<float>(x.rows()), f.scratch<std::uint8_t>(x.rows())};
    quantize_rows(codes, y.flat(), x.flat(), x.rows(), shape, row_grid(input.spec, input.at));
#endif
    return y;
  }
  void backward(Backward& b) const {
    if (!input.has_backward()) {
      b.pass_dout(0);
      return;
    }
    const auto dx = b.scratch(b.in(0).size());
    std::ranges::copy(b.dout(), dx.begin());
    input.backward(b, dx);
    if (b.wants_grad(0)) kernels::accumulate(b.grad(0), dx);
  }
};

struct QuantizedLinear {
  static constexpr std::string_view name = "quantized_linear";
  RoundedInput input;
  std::optional<PackedWeights> packed;
  bool integer_backward = false;
  std::int64_t M = 0, K = 0;
  std::uint64_t key = 0;     // of the gradient's rounding
  std::span<real> values{};  // x̂, in the double build
  ActivationCodes codes{};   // kept

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    input.find_range(f);
    check_calibrated(input.spec, input.at, name);
    M = x.rows();
    K = x.cols();
    key = f.key();
    const auto bias = input.inputs.bias ? f.in(input.inputs.bias).flat() : std::span<real>{};
    // Read here although integers stand for it: the graph then gives its memory back until
    // backward.
    const Tensor w = f.in(input.inputs.w);
    check(input.inputs.w && w.shape.rank() == 2 && w.cols() == K, name, "x is ", x.shape,
          " but w is ", w.shape);
#ifdef NOTCH_DOUBLE
    values = f.keep(M * K);
    round_rows(values, x.flat(), K, input.spec, input.at);
    const Tensor y = f.out(x.shape.with(x.shape.rank() - 1, w.shape[0]));
    kernels::linear_forward(y.flat(), values, w.flat(), bias, M, w.shape[0], K);
#else
    check(packed && packed->shape.K == K, name, "x is ", x.shape, " but the weights have ",
          packed ? packed->shape.K : 0, " inputs");
    const IntegerShape& shape = packed->shape;
    codes = {f.keep<std::uint8_t>(M * shape.row_codes()), f.keep<float>(M),
             f.keep<std::uint8_t>(M)};
    ActivationCodes summed = codes;  // the sums are for the product alone
    summed.sums = f.scratch<std::int32_t>(shape.needs_sums() ? M * shape.units() : 0);
    quantize_rows(summed, {}, x.flat(), M, shape, row_grid(input.spec, input.at));
    const Tensor y = f.out(x.shape.with(x.shape.rank() - 1, shape.N));
    integer_linear(y.flat(), summed, *packed, bias, M);
#endif
    return y;
  }

  void backward(Backward& b) const {
    const Inputs& at = input.inputs;
    const Tensor w = b.in(at.w);
    const std::int64_t N = w.rows();
    // Nothing is learned from an x̂ gradient that nobody asked for, except by the range.
    if (b.wants_grad(0) || input.is_learned()) backward_input(b, w);
    if (b.wants_grad(at.w)) {
      const auto dw = b.first_grad(at.w);
      kernels::gemm(dw.values, b.dout(), rounded(b), N, K, M,
                    {.trans_a = true, .accumulate = !dw.fresh, .precision = b.precision()});
    }
    if (at.bias) kernels::linear_backward({}, {}, b.grad(at.bias), b.dout(), {}, {}, M, N, K);
  }

 private:
  void backward_input(Backward& b, const Tensor& w) const {
    const auto to = b.wants_grad(0) ? b.first_grad(0) : Backward::Gradient{};
    // Where the product cannot go straight into the gradient, it needs a place of its own.
    const bool direct = !to.values.empty() && (to.fresh || !input.has_backward());
    const auto dx = direct ? to.values : b.scratch(M * K);
    multiply_back(b, dx, w, direct && !to.fresh);
    if (input.has_backward()) input.backward(b, dx);
    if (!direct && !to.values.empty()) kernels::accumulate(to.values, dx);
  }

  /// dx (+)= dy ŵ
  void multiply_back(Backward& b, std::span<real> dx, const Tensor& w, bool accumulate) const {
    const std::int64_t N = w.rows();
#ifndef NOTCH_DOUBLE
    if (integer_backward) {
      const IntegerShape shape = transposed_shape(N, K);
      const PackedWeights turned = lay_out(shape, b.scratch<std::byte>(packed_bytes(shape)));
      transpose_weights(turned, w.flat(), b.scratch(transpose_scratch(N, K)));
      const ActivationCodes dy{b.scratch<std::uint8_t>(M * shape.row_codes()), b.scratch<float>(M),
                               b.scratch<std::uint8_t>(M)};
      round_gradients(dy, b.dout(), M, shape, key);
      const auto product = accumulate ? b.scratch(M * K) : dx;
      integer_linear(product, dy, turned, {}, M);
      if (accumulate) kernels::accumulate(dx, product);
      return;
    }
#endif
    kernels::gemm(dx, b.dout(), w.flat(), M, K, N,
                  {.accumulate = accumulate, .precision = b.precision()});
  }

  std::span<const real> rounded(Backward& b) const {
#ifdef NOTCH_DOUBLE
    static_cast<void>(b);
    return values;
#else
    const auto x = b.scratch(M * K);
    dequantize_rows(x, codes, M, packed->shape);
    return x;
#endif
  }
};

/// Appends the learned range's Vars to an op's inputs and notes where they are.
struct InputList {
  std::array<Var, 5> vars{};
  std::size_t count = 0;
  int add(Var v) {
    vars[count++] = v;
    return static_cast<int>(count) - 1;
  }
  std::span<const Var> all() const { return {vars.data(), count}; }
};

RoundedInput rounded_input(const StepInput& how, InputList& list, std::string_view op) {
  const ActivationSpec& spec = how.input.spec;
  check(!how.log_scale || spec.range == ActivationRange::fixed, op,
        "a dynamic range is not learned");
  check(!how.offset || (how.log_scale && !spec.symmetric), op,
        "an offset belongs to a learned asymmetric range");
  RoundedInput input{
      .spec = spec, .at = how.input.at, .ste = how.ste, .clipping_only = how.clipping_only};
  if (how.log_scale) input.inputs.log_scale = list.add(*how.log_scale);
  if (how.offset) input.inputs.offset = list.add(*how.offset);
  return input;
}

}  // namespace

UnitScale range_of(const InputQuantizer& start, real log_scale, std::optional<real> offset) {
  UnitScale at{.scale = lsq_step(start.at.scale, log_scale, ScaleType::f32)};
  if (!offset) return at;
  const Grid grid = grid_of(unit_spec(start.spec));
  const real lo = static_cast<real>(grid.qmin), hi = static_cast<real>(grid.qmax);
  at.zero_point = static_cast<int>(round_clamped(lo - *offset / at.scale, lo, hi));
  return at;
}

Var quantize_input(Var x, const StepInput& how) {
  InputList list;
  list.add(x);
  const RoundedInput input = rounded_input(how, list, QuantizeInput::name);
  return x.tape().record(QuantizeInput{input}, list.all());
}

Var apply(Var x, const InputMap& how) {
  if (!how.multiply.empty()) {
    const auto n = std::ssize(how.multiply);
    real* const values = const_cast<real*>(how.multiply.data());
    x = mul(x, x.tape().constant({values, {n}}, "input multiplier"));
  }
  if (!how.signs.empty()) x = rotate(x, how.signs);
  return how.round ? quantize_input(x, {.input = *how.round}) : x;
}

Var quantized_linear(Var x, Var w, std::optional<Var> bias, const StepInput& how,
                     const PackedWeights* packed) {
  // The name is made only where it is wanted: a step allocates nothing.
  if (!how.input.spec.is_integer()) {
    check(false, QuantizedLinear::name, "codes of ", name_of(how.input.spec), " are no integers");
  }
  InputList list;
  list.add(x);
  const int w_at = list.add(w), bias_at = bias ? list.add(*bias) : 0;
  RoundedInput input = rounded_input(how, list, QuantizedLinear::name);
  input.inputs.w = w_at;
  input.inputs.bias = bias_at;
  const auto integers = packed ? std::optional(*packed) : std::nullopt;
  return x.tape().record(QuantizedLinear{input, integers, how.integer_backward}, list.all());
}

}  // namespace notch::quant
