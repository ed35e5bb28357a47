#include "quant/serve/packed_ops.h"

#include "quant/kernels/quantize_rows.h"

namespace notch::quant {
namespace {

struct PackedLinear {
  static constexpr std::string_view name = "packed_linear";
  InputQuantizer input;
  const IntegerMatrix* w;
  bool has_bias;

  Tensor forward(Forward& f) {
    check_calibrated(input.spec, input.at, name);
    const Tensor x = f.in(0);
    const IntegerShape& shape = w->shape();
    check(x.cols() == shape.K, name, "x is ", x.shape, " but the weights have ", shape.K,
          " inputs");
    const Tensor y = f.out(x.shape.with(x.shape.rank() - 1, shape.N));
#ifdef NOTCH_DOUBLE
    check(false, name, "the double build multiplies no integers");
#else
    const std::int64_t M = x.rows();
    const ActivationCodes codes{
        f.scratch<std::uint8_t>(M * shape.row_codes()), f.scratch<float>(M),
        f.scratch<std::uint8_t>(M),
        f.scratch<std::int32_t>(shape.needs_sums() ? M * shape.units() : 0)};
    quantize_rows(codes, {}, x.flat(), M, shape, row_grid(input.spec, input.at));
    w->multiply(y.flat(), codes, has_bias ? f.in(1).flat() : std::span<real>{}, M);
#endif
    return y;
  }
  void backward(Backward&) const { check(false, name, "a packed layer cannot be trained"); }
};

}  // namespace

Var packed_linear(Var x, std::optional<Var> bias, const InputQuantizer& input,
                  const IntegerMatrix& w) {
  if (bias) return x.tape().record(PackedLinear{input, &w, true}, {x, *bias});
  return x.tape().record(PackedLinear{input, &w, false}, {x});
}

std::size_t packed_row_bytes(const IntegerShape& shape) {
  const std::int64_t sums = shape.needs_sums() ? shape.units() : 0;
  return static_cast<std::size_t>(4 + 4 * sums + shape.row_codes() + 1);
}

void packed_rows(std::span<real> out, const Tensor& x, const InputQuantizer& input,
                 const PackedWeights& packed, std::span<std::byte> codes, std::int64_t first,
                 std::int64_t n) {
#ifdef NOTCH_DOUBLE
  static_cast<void>(out), static_cast<void>(x), static_cast<void>(input);
  static_cast<void>(packed), static_cast<void>(codes), static_cast<void>(first);
  static_cast<void>(n);
  check(false, "packed_rows", "the double build multiplies no integers");
#else
  const std::int64_t row_codes = packed.shape.row_codes(), K = x.cols();
  const std::int64_t sums = packed.shape.needs_sums() ? n * packed.shape.units() : 0;
  auto* const bytes = reinterpret_cast<std::uint8_t*>(codes.data());
  auto* const first_code = bytes + 4 * (n + sums);
  const auto rows = static_cast<std::size_t>(n);
  const ActivationCodes part{
      {first_code, static_cast<std::size_t>(n * row_codes)},
      {reinterpret_cast<float*>(bytes), rows},
      {first_code + n * row_codes, rows},
      {reinterpret_cast<std::int32_t*>(bytes + 4 * n), static_cast<std::size_t>(sums)}};
  const std::span<const real> in =
      x.flat().subspan(static_cast<std::size_t>(first * K), static_cast<std::size_t>(n * K));
  quantize_rows(part, {}, in, n, packed.shape, row_grid(input.spec, input.at));
  integer_linear(out, part, packed, {}, n);
#endif
}

}  // namespace notch::quant
