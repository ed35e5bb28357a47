#include "quant/serve/served_matrix.h"

#include <algorithm>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "quant/kernels/integer_limits.h"
#include "quant/kernels/quantize_rows.h"
#include "quant/kernels/split_rows.h"

namespace notch::quant {
namespace {

constexpr Index kFewRows = 16;           // of floats: beyond, dequantizing for gemm pays
constexpr Index kPieceWeights = 786432;  // dequantized at a time: 3 MiB
constexpr Index kWideRows = 4096;        // of products: more are a head's

/// Whether the kernels' integers can hold it.
bool fits_panels(const Spec& spec, Index rows, Index cols) {
  if (!grid_of(spec).levels.empty() || cols > kMostInputs) return false;
  const Index unit = spec.granularity == Granularity::group ? spec.group_size : cols;
  if (has_zero_points(spec) && unit > kMostWithZeroPoints) return false;
  return 4 * ServedPanels::bytes(spec, rows, cols) <= 5 * ServedLanes::bytes(spec, rows, cols);
}

std::variant<ServedPanels, ServedLanes, ServedWords> layout_of(const Spec& spec, Index rows,
                                                               Index cols, bool rounds_inputs) {
  check(rows >= 0 && cols > 0, "served matrix", "a matrix of [", rows, ", ", cols,
        "] has no weights");
  extent("served matrix", {rows, cols, 8});
  validate(spec, cols, "served matrix");
  if (!rounds_inputs && has_words(spec)) return ServedWords(spec, rows, cols);
  if (rounds_inputs || fits_panels(spec, rows, cols)) return ServedPanels(spec, rows, cols);
  return ServedLanes(spec, rows, cols);
}

/// Whether three 8-bit products take less time than one of floats.
[[maybe_unused]] bool digits_pay(Index M) {
  return M <= kFewRows || best_integer_kernel() >= IntegerKernel::avx_vnni;
}

/// Tokens whose digits and three products each are held at a time: the kernels read weights once for
/// so many rows; fewer where a token's products are many.
[[maybe_unused]] Index split_tokens(Index rows) { return rows > kWideRows ? 32 : 96; }

template <class Context>
ActivationCodes codes_for(const Context& c, const IntegerShape& shape, Index tokens) {
  return {c.template scratch<std::uint8_t>(tokens * shape.row_codes()),
          c.template scratch<float>(tokens), c.template scratch<std::uint8_t>(tokens),
          c.template scratch<std::int32_t>(shape.needs_sums() ? tokens * shape.units() : 0)};
}

/// The first `tokens` of them.
ActivationCodes first_of(const ActivationCodes& all, const IntegerShape& shape, Index tokens) {
  return {part_if_any(all.codes, 0, tokens * shape.row_codes()), part_if_any(all.scales, 0, tokens),
          part_if_any(all.zero_points, 0, tokens),
          part_if_any(all.sums, 0, tokens * shape.units())};
}

}  // namespace

ServedMatrix::ServedMatrix(const Spec& spec, Index rows, Index cols,
                           const std::optional<InputQuantizer>& input)
    : rows_(rows),
      cols_(cols),
      input_(input),
      matrix_(layout_of(spec, rows, cols, input && input->spec.is_integer())) {}

ServedMatrix::ServedMatrix(const QTensor& q, const std::optional<InputQuantizer>& input)
    : ServedMatrix(q.spec, q.rows, q.cols, input) {
  set_rows(0, q);
}

void ServedMatrix::set_rows(Index first_row, const QTensor& rows) {
  std::visit([&](auto& m) { m.set_rows(first_row, rows); }, matrix_);
}

Index ServedMatrix::bytes() const {
  return std::visit([](const auto& m) { return m.bytes(); }, matrix_);
}

int ServedMatrix::products() const {
  if (!std::holds_alternative<ServedPanels>(matrix_)) return 0;
  return multiplies_codes() ? 1 : static_cast<int>(kDigits);
}

void ServedMatrix::dequantize_row(std::span<float> out, Index row) const {
  std::visit([&](const auto& m) { m.dequantize_row(out, row); }, matrix_);
}

/// body(first row, rows, their weights [rows, cols]) from the first piece to the last.
template <class Context, class Body>
void ServedMatrix::for_pieces(const Context& context, const Body& body) const {
  const Index K = cols_;
  const Index piece = std::min(rows_, std::max<Index>(64, kPieceWeights / std::max<Index>(1, K)));
  const std::span<real> weights = context.scratch(piece * K);
  for (Index first = 0; first < rows_; first += piece) {
    const Index rows = std::min(piece, rows_ - first);
    parallel_for((rows + kRowStep - 1) / kRowStep, [&](Index i) {
      for (Index r = i * kRowStep; r < std::min(rows, (i + 1) * kRowStep); ++r) {
        const std::span<real> to = part(weights, r * K, K);
#ifdef NOTCH_DOUBLE
        std::vector<float> row(static_cast<std::size_t>(K));
        dequantize_row(row, first + r);
        std::ranges::copy(row, to.begin());
#else
        dequantize_row(to, first + r);
#endif
      }
    });
    body(first, rows, std::span<const real>(part(weights, 0, rows * K)));
  }
}

void ServedMatrix::multiply(const Forward& f, std::span<real> y, std::span<const real> x,
                            std::span<const real> bias, Index M) const {
#ifdef NOTCH_DOUBLE
  check(!multiplies_codes(), "served_product", "the double build multiplies no integers");
#else
  if (multiplies_codes()) return multiply_codes(f, y, x, bias, M);
#endif
  if (input_) {
    const std::span<real> rounded = f.scratch(M * cols_);
    round_rows_to_floats(rounded, x, M, cols_, grid_of(unit_spec(input_->spec)));
    x = rounded;
  }
#ifndef NOTCH_DOUBLE
  if (const auto* lanes = std::get_if<ServedLanes>(&matrix_)) {
    if (M <= kFewRows) return lanes->multiply(f, y, x, bias, M);
  } else if (std::holds_alternative<ServedPanels>(matrix_) && digits_pay(M)) {
    return multiply_digits(f, y, x, bias, M);
  }
#endif
  for (Index m = 0; m < M && !bias.empty(); ++m) std::ranges::copy(bias, y.begin() + m * rows_);
  for_pieces(f, [&](Index first, Index rows, std::span<const real> w) {
    kernels::gemm(y.subspan(static_cast<std::size_t>(first)), x, w, M, rows, cols_,
                  {.trans_b = true, .accumulate = !bias.empty(), .ld_out = rows_});
  });
}

void ServedMatrix::multiply_codes(const Forward& f, std::span<float> y, std::span<const float> x,
                                  std::span<const float> bias, Index M) const {
  const auto& panels = std::get<ServedPanels>(matrix_);
  const ActivationCodes codes = codes_for(f, panels.shape(), M);
  quantize_rows(codes, {}, x, M, panels.shape(), row_grid(input_->spec, input_->at));
  panels.multiply(y, codes, bias, M);
}

void ServedMatrix::multiply_digits(const Forward& f, std::span<float> y, std::span<const float> x,
                                   std::span<const float> bias, Index M) const {
  const auto& panels = std::get<ServedPanels>(matrix_);
  const Index step = split_tokens(rows_), most = kDigits * std::min(M, step);
  const ActivationCodes digits = codes_for(f, panels.shape(), most);
  const std::span<float> products = f.scratch<float>(most * rows_);
  for (Index t = 0; t < M; t += step) {
    const Index n = std::min(step, M - t);
    const ActivationCodes now = first_of(digits, panels.shape(), kDigits * n);
    const std::span<float> three = part(products, 0, kDigits * n * rows_);
    split_rows(now, part(x, t * cols_, n * cols_), n, panels.shape());
    panels.multiply(three, now, {}, kDigits * n);
    join_rows(part(y, t * rows_, n * rows_), three, bias, n, rows_);
  }
}

void ServedMatrix::multiply_back(const Backward& b, std::span<real> dx, std::span<const real> dy,
                                 Index M, bool accumulate) const {
  for_pieces(b, [&](Index first, Index rows, std::span<const real> w) {
    kernels::gemm(dx, dy.subspan(static_cast<std::size_t>(first)), w, M, cols_, rows,
                  {.accumulate = accumulate || first > 0, .lda = rows_});
  });
}

namespace {

struct ServedProduct {
  static constexpr std::string_view name = "served_product";
  const ServedMatrix* w;
  bool has_bias;

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    check(x.shape.rank() >= 1 && x.cols() == w->cols(), name, "x is ", x.shape, " but w is [",
          w->rows(), ", ", w->cols(), "]");
    check(!has_bias || f.in(1).size() == w->rows(), name, "w has ", w->rows(),
          " rows, the bias is ", has_bias ? f.in(1).shape : Shape{});
    const Tensor y = f.out(x.shape.with(x.shape.rank() - 1, w->rows()));
    w->multiply(f, y.flat(), x.flat(), has_bias ? f.in(1).flat() : std::span<real>{}, x.rows());
    return y;
  }
  void backward(Backward& b) const {
    const Tensor x = b.in(0);
    check(!w->rounds_inputs() || !b.wants_grad(0), name, "a rounded input has no gradient here");
    if (b.wants_grad(0)) {
      const auto dx = b.first_grad(0);
      w->multiply_back(b, dx.values, b.dout(), x.rows(), !dx.fresh);
    }
    if (has_bias)
      kernels::linear_backward({}, {}, b.grad(1), b.dout(), {}, {}, x.rows(), w->rows(), w->cols());
  }
};

struct ServedLookup {
  static constexpr std::string_view name = "served_lookup";
  const ServedMatrix* table;
  nn::Tokens tokens;

  Tensor forward(Forward& f) {
    const Index C = table->cols(), n = std::ssize(tokens.ids);
    const Tensor y = f.out({tokens.B, tokens.T, C});
    for (const std::int32_t id : tokens.ids)
      check(id >= 0 && id < table->rows(), name, "token ", id, " is not in 0 .. ",
            table->rows() - 1);
#ifdef NOTCH_DOUBLE
    const std::span<float> rows = f.scratch<float>(n * C);
#else
    const std::span<float> rows = y.flat();
#endif
    parallel_for(n, [&](Index t) {
      table->dequantize_row(part(rows, t * C, C), tokens.ids[static_cast<std::size_t>(t)]);
    });
#ifdef NOTCH_DOUBLE
    std::ranges::copy(rows, y.flat().begin());
#endif
    return y;
  }
  void backward(Backward&) const { check(false, name, "a served table is not trained"); }
};

}  // namespace

Var served_product(Var x, std::optional<Var> bias, const ServedMatrix& w) {
  if (bias) return x.tape().record(ServedProduct{&w, true}, {x, *bias});
  return x.tape().record(ServedProduct{&w, false}, {x});
}

Var served_lookup(Graph& g, const nn::Tokens& tokens, const ServedMatrix& table) {
  return g.record(ServedLookup{&table, tokens}, std::span<const Var>{});
}

}  // namespace notch::quant
