#include "quant/store/pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/bits.h"
#include "quant/numbers/format.h"
#include "quant/numbers/nested_scales.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kTileCodes = 65536;

/// Runs body(row) for every row, in parallel tiles that depend on the shape only.
template <class Body>
void for_rows(std::int64_t rows, std::int64_t cols, const Body& body) {
  const std::int64_t tile = std::max<std::int64_t>(1, kTileCodes / std::max<std::int64_t>(1, cols));
  parallel_for(quotient_up(rows, tile), [&](std::int64_t t) {
    const std::int64_t end = std::min(rows, (t + 1) * tile);
    for (std::int64_t row = t * tile; row < end; ++row) body(row);
  });
}

template <class T>
auto row_of(T&& all, std::int64_t row, std::int64_t width) {
  return std::span(all).subspan(static_cast<std::size_t>(row * width),
                                static_cast<std::size_t>(width));
}

/// Zero points are stored as a small matrix: one row per matrix row (per tensor: one in all).
std::int64_t zero_rows(const Spec& spec, std::int64_t rows) {
  return spec.granularity == Granularity::tensor ? std::min<std::int64_t>(rows, 1) : rows;
}

void check_length(std::size_t found, std::int64_t expected, const char* field,
                  std::string_view where) {
  if (static_cast<std::int64_t>(found) == expected) return;
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "wrong number of bytes",
               .field = field,
               .found = str(found),
               .expected = str(expected)});
}

}  // namespace

std::vector<std::uint8_t> pack_codes(std::span<const std::int8_t> codes, std::int64_t rows,
                                     std::int64_t cols, const Spec& spec) {
  check(std::ssize(codes) == rows * cols, "pack", "got ", codes.size(), " codes for a matrix of [",
        rows, ", ", cols, "]");
  const std::int64_t width = packed_bytes(spec, cols);
  const Grid grid = grid_of(spec);
  const Packing packing = format_of(spec.grid).packing;
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(rows * width));
  for_rows(rows, cols, [&](std::int64_t row) {
    const std::span<std::uint8_t> out = row_of(bytes, row, width);
    const auto in = row_of(codes, row, cols);
    packing == Packing::trits ? pack_trits(out, in) : pack_row(out, in, spec.bits, grid);
  });
  return bytes;
}

std::vector<std::int8_t> unpack_codes(std::span<const std::uint8_t> bytes, std::int64_t rows,
                                      std::int64_t cols, const Spec& spec, std::string_view where) {
  const std::int64_t width = packed_bytes(spec, cols);
  const Grid grid = grid_of(spec);
  const Packing packing = format_of(spec.grid).packing;
  check_length(bytes.size(), rows * width, "codes", where);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(rows * cols));
  for_rows(rows, cols, [&](std::int64_t row) {
    const std::span<std::int8_t> out = row_of(codes, row, cols);
    const std::span<const std::uint8_t> in = row_of(bytes, row, width);
    const bool padding_clear =
        packing == Packing::trits ? unpack_trits(out, in) : unpack_row(out, in, spec.bits, grid);
    const auto bad = std::find_if(out.begin(), out.end(),
                                  [&](std::int8_t c) { return c < grid.qmin || c > grid.qmax; });
    if (bad == out.end() && padding_clear) return;
    const bool code = bad != out.end();
    throw Error(
        {.fault = Fault::input,
         .where = std::string(where),
         .what = code ? "a code is outside the grid" : "bits after the last code are set",
         .field = code ? str("row ", row, ", column ", bad - out.begin()) : str("row ", row),
         .found = code ? str(int{*bad}) : "1",
         .expected = code ? str(grid.qmin, " to ", grid.qmax) : "0"});
  });
  return codes;
}

PackedTensor pack(const QTensor& q) {
  require_whole(q, "pack");
  PackedTensor packed{.spec = q.spec, .rows = q.rows, .cols = q.cols};
  packed.codes = pack_codes(q.codes, q.rows, q.cols, q.spec);
  if (has_scales_of_scales(q.spec.scale)) {
    packed.scales = q.at.nested;
    check_length(packed.scales.size(), storage_bytes(q.spec, q.rows, q.cols).scales, "nested scales",
                 "pack");
  } else {
    packed.scales = pack_scales(q.at.scales, q.spec.scale);
  }
  packed.codebooks = pack_scales(q.at.codebooks, ScaleType::f16);
  if (has_zero_points(q.spec) && !q.codes.empty()) {
    const std::int64_t rows = zero_rows(q.spec, q.rows);
    packed.zero_points =
        pack_codes(q.at.zero_points, rows, std::ssize(q.at.zero_points) / rows, q.spec);
  }
  return packed;
}

QTensor unpack(const PackedTensor& packed, std::string_view where) {
  QTensor q{.spec = packed.spec, .rows = packed.rows, .cols = packed.cols};
  // The spec and shape decide every size below: check them before they do.
  constexpr std::int64_t kMaxEdge = std::int64_t{1} << 31;  // keeps every product inside 64 bits
  if (q.rows < 0 || q.cols < 0 || q.rows > kMaxEdge || q.cols > kMaxEdge) {
    throw Error({.fault = Fault::input,
                 .where = std::string(where),
                 .what = "impossible shape",
                 .field = "shape",
                 .found = str("[", q.rows, ", ", q.cols, "]"),
                 .expected = str("0 to ", kMaxEdge)});
  }
  q.at.codebooks = unpack_scales(packed.codebooks, ScaleType::f16);
  validate(QTensor{.spec = packed.spec,
                   .rows = 0,
                   .cols = packed.cols,
                   .at = {.codebooks = q.at.codebooks}},
           where);
  const StorageBytes sizes = storage_bytes(packed.spec, packed.rows, packed.cols);
  check_length(packed.scales.size(), sizes.scales, "scales", where);
  check_length(packed.zero_points.size(), sizes.zero_points, "zero_points", where);
  q.codes = unpack_codes(packed.codes, q.rows, q.cols, q.spec, where);
  if (has_scales_of_scales(q.spec.scale)) {
    q.at.nested = packed.scales;
    q.at.scales = unnest_scales(packed.scales, q.spec, q.rows, q.cols, where);
  } else {
    q.at.scales = unpack_scales(packed.scales, q.spec.scale);
  }
  if (has_zero_points(q.spec) && !q.codes.empty()) {
    const std::int64_t rows = zero_rows(q.spec, q.rows);
    q.at.zero_points =
        unpack_codes(packed.zero_points, rows, std::ssize(q.at.scales) / rows, q.spec, where);
  }
  validate(q, where);
  return q;
}

double code_entropy(std::span<const std::int8_t> codes) {
  std::array<std::int64_t, 256> counts{};
  for (const std::int8_t code : codes) ++counts[static_cast<std::size_t>(code + 128)];
  const double n = static_cast<double>(codes.size());
  double bits = 0;
  for (const std::int64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / n;
    bits -= p * std::log2(p);
  }
  return bits;
}

}  // namespace notch::quant
