#include "quant/serve/packed_matrix.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"

namespace notch::quant {
namespace {

using Index = std::int64_t;

constexpr Index kTileWeights = 65536;    // of a parallel tile of packed rows
constexpr Index kPieceWeights = 786432;  // dequantized at a time for gemm: 3 MiB
constexpr Index kPad = 16;               // what packed_gemv wants rows of x to be a multiple of

std::size_t reals_of(Index bytes) {
  return (static_cast<std::size_t>(bytes) + sizeof(real) - 1) / sizeof(real);
}

/// Runs body(begin, end) over rows of `cols` weights in parallel tiles.
template <class Body>
void for_row_tiles(Index rows, Index cols, const Body& body) {
  const Index step = std::max<Index>(4, kTileWeights / std::max<Index>(1, cols) / 4 * 4);
  parallel_for((rows + step - 1) / step,
               [&](Index i) { body(i * step, std::min(rows, (i + 1) * step)); });
}

/// `x` as floats: itself, or a copy in the double build.
template <class T>
std::span<const float> as_floats(const Forward& f, std::span<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    const std::span<float> copy = f.scratch<float>(std::ssize(x));
    std::ranges::transform(x, copy.begin(), [](T v) { return static_cast<float>(v); });
    return copy;
  }
}

/// Memory for floats that end up in `out`: itself, or in the double build something to be copied.
template <class T>
std::span<float> float_memory(const Forward& f, std::span<T> out) {
  if constexpr (std::is_same_v<T, float>)
    return out;
  else
    return f.scratch<float>(std::ssize(out));
}

template <class T>
void copy_unless_same(std::span<T> out, std::span<const float> y) {
  if (static_cast<const void*>(out.data()) != y.data()) std::ranges::copy(y, out.begin());
}

/// Rows of x [M, K] with zeros behind them, `ld` apart.
std::span<const float> padded(const Forward& f, std::span<const float> x, Index M, Index K,
                              Index ld) {
  if (ld == K) return x;
  const std::span<float> wide = f.scratch<float>(M * ld);
  std::ranges::fill(wide, 0.0f);
  for (Index m = 0; m < M; ++m) std::copy_n(x.data() + m * K, K, wide.data() + m * ld);
  return wide;
}

void few_rows(const Forward& f, std::span<float> y, std::span<const float> x, Index M,
              const PackedRows& w, const float* bias) {
  const Index ld = (w.cols + kPad - 1) / kPad * kPad;
  const std::span<const float> wide = padded(f, x, M, w.cols, ld);
  for_row_tiles(w.rows, w.cols, [&](Index begin, Index end) {
    packed_gemv(y.data(), w.rows, wide.data(), ld, M, w, bias, begin, end);
  });
}

void many_rows(const Forward& f, std::span<float> y, std::span<const float> x, Index M,
               const PackedRows& w, const float* bias) {
  const Index N = w.rows, K = w.cols;
  const Index piece = std::min(N, std::max<Index>(64, kPieceWeights / std::max<Index>(1, K)));
  const std::span<float> weights = f.scratch<float>(piece * K);
  if (bias)
    for (Index m = 0; m < M; ++m) std::copy_n(bias, N, y.data() + m * N);
  for (Index first = 0; first < N; first += piece) {
    const Index rows = std::min(piece, N - first);
    for_row_tiles(rows, K, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r)
        dequantize_row({weights.data() + r * K, static_cast<std::size_t>(K)}, w, first + r);
    });
    kernels::gemm(y.subspan(static_cast<std::size_t>(first)), x, weights, M, rows, K,
                  {.trans_b = true, .accumulate = bias != nullptr, .ld_out = N});
  }
}

[[noreturn]] void refuse_backward(std::string_view name) {
  throw Error({.where = std::string(name),
               .what = "packed weights are for inference; they have no gradient"});
}

struct PackedProduct {
  static constexpr std::string_view name = "packed_product";
  const PackedMatrix* matrix;
  bool has_bias;
  Tensor forward(Forward& f) {
    const PackedRows& w = matrix->rows();
    const Tensor x = f.in(0);
    check(x.shape.rank() >= 1 && x.cols() == w.cols, name, "x is ", x.shape, " but w is [", w.rows,
          ", ", w.cols, "]");
    check(!has_bias || f.in(1).size() == w.rows, name, "w has ", w.rows, " rows, the bias is ",
          has_bias ? f.in(1).shape : Shape{});
    const Index M = x.rows();
    const Tensor out = f.out(x.shape.with(x.shape.rank() - 1, w.rows));
    const std::span<float> y = float_memory(f, out.flat());
    const std::span<const float> xs = as_floats(f, x.flat());
    const float* bias = has_bias ? as_floats(f, f.in(1).flat()).data() : nullptr;
    (M <= kPackedRows ? few_rows : many_rows)(f, y, xs, M, w, bias);
    copy_unless_same(out.flat(), y);
    return out;
  }
  void backward(Backward&) const { refuse_backward(name); }
};

struct PackedLookup {
  static constexpr std::string_view name = "packed_lookup";
  const PackedMatrix* table;
  nn::Tokens tokens;
  Tensor forward(Forward& f) {
    const PackedRows& w = table->rows();
    const Tensor out = f.out({tokens.B, tokens.T, w.cols});
    const std::span<float> y = float_memory(f, out.flat());
    for (const std::int32_t id : tokens.ids)
      check(id >= 0 && id < w.rows, name, "token ", id, " is not in 0 .. ", w.rows - 1);
    for_row_tiles(std::ssize(tokens.ids), w.cols, [&](Index begin, Index end) {
      for (Index t = begin; t < end; ++t)
        dequantize_row({y.data() + t * w.cols, static_cast<std::size_t>(w.cols)}, w,
                       tokens.ids[static_cast<std::size_t>(t)]);
    });
    copy_unless_same(out.flat(), y);
    return out;
  }
  void backward(Backward&) const { refuse_backward(name); }
};

}  // namespace

StoredScale stored_scale(ScaleType type) {
  switch (type) {
    case ScaleType::f16:
      return StoredScale::f16;
    case ScaleType::bf16:
      return StoredScale::bf16;
    case ScaleType::f32:
      break;
  }
  return StoredScale::f32;
}

int held_bits(const Spec& spec) {
  const Grid grid = grid_of(spec);
  const int indices = grid.levels.empty() ? grid.qmax - grid.qmin : kMostLevels - 1;
  return std::bit_width(static_cast<unsigned>(indices));
}

PackedMatrix::PackedMatrix(const Spec& spec, Index rows, Index cols)
    : spec_(spec), codes_(reals_of(rows * repacked_row_bytes(cols, held_bits(spec)))) {
  validate(spec, cols, "packed matrix");
  const bool per_tensor = spec.granularity == Granularity::tensor;
  rows_ = {.codes = reinterpret_cast<const std::uint8_t*>(codes_.flat().data()),
           .scale = stored_scale(spec.scale),
           .bits = held_bits(spec),
           .qmin = grid_of(spec).qmin,
           .rows = rows,
           .cols = cols,
           .unit = per_tensor ? cols : unit_size(spec, rows, cols)};
  const auto units = static_cast<std::size_t>(per_tensor ? rows : unit_count(spec, rows, cols));
  scales_.resize(units * static_cast<std::size_t>(scale_bytes(spec.scale)));
  if (has_zero_points(spec)) zeros_.resize(units);
  if (const Grid grid = grid_of(spec); !grid.levels.empty()) {
    levels_.assign(kMostLevels, 0);
    std::ranges::transform(grid.levels, levels_.begin(), [](real v) { return float(v); });
    rows_.levels = levels_.data();
  }
  rows_.scales = scales_.data();
  rows_.zeros = zeros_.empty() ? nullptr : zeros_.data();
}

PackedMatrix::PackedMatrix(const QTensor& q) : PackedMatrix(q.spec, q.rows, q.cols) {
  set_rows(0, q);
}

void PackedMatrix::set_rows(Index first_row, const QTensor& part) {
  const Index cols = rows_.cols;
  check(part.spec == spec_ && part.cols == cols && first_row >= 0 &&
            first_row + part.rows <= rows_.rows,
        "packed matrix", name_of(part.spec), " [", part.rows, ", ", part.cols, "] from row ",
        first_row, " on does not fit ", name_of(spec_), " [", rows_.rows, ", ", cols, "]");
  require_whole(part, "packed matrix");
  const Index bytes = repacked_row_bytes(cols, rows_.bits);
  auto* memory = reinterpret_cast<std::uint8_t*>(codes_.flat().data());
  const std::span<const std::int8_t> codes(part.codes);
  for_row_tiles(part.rows, cols, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      repack_row({memory + (first_row + r) * bytes, static_cast<std::size_t>(bytes)},
                 codes.subspan(static_cast<std::size_t>(r * cols), static_cast<std::size_t>(cols)),
                 rows_.bits, rows_.qmin);
  });
  // One scale per tensor is one for each row here.
  const Index copies = spec_.granularity == Granularity::tensor ? part.rows : 1;
  const std::vector<std::uint8_t> scales = pack_scales(part.at.scales, spec_.scale);
  const Index units = first_row * (cols / rows_.unit);
  std::byte* scale_to = scales_.data() + units * scale_bytes(spec_.scale);
  std::int8_t* zero_to = zeros_.data() + units;
  for (Index i = 0; i < copies; ++i) {
    std::memcpy(scale_to + i * std::ssize(scales), scales.data(), scales.size());
    std::ranges::copy(part.at.zero_points, zero_to + i * std::ssize(part.at.zero_points));
  }
}

Index PackedMatrix::bytes() const {
  return static_cast<Index>(codes_.size() * sizeof(real) + scales_.size() + zeros_.size() +
                            levels_.size() * sizeof(float));
}

Var packed_product(Var x, std::optional<Var> bias, const PackedMatrix& w) {
  if (bias) return x.tape().record(PackedProduct{&w, true}, {x, *bias});
  return x.tape().record(PackedProduct{&w, false}, {x});
}

Var packed_lookup(Graph& g, const nn::Tokens& tokens, const PackedMatrix& table) {
  return g.record(PackedLookup{&table, tokens}, std::span<const Var>{});
}

}  // namespace notch::quant
