#include "quant/numbers/qtensor.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/numbers/format.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

/// Units are worked on in runs of about this many weights; a tile depends on the shape only.
constexpr std::int64_t kTileWeights = 16384;

/// Calls body(first_unit, units) for runs of units, in parallel.
template <class Body>
void for_unit_runs(std::int64_t units, std::int64_t unit, const Body& body) {
  if (units == 0) return;
  const std::int64_t run = std::max<std::int64_t>(1, kTileWeights / unit);
  parallel_for(quotient_up(units, run),
               [&](std::int64_t tile) { body(tile * run, std::min(run, units - tile * run)); });
}

/// `n` units from `first` on.
Units units_of(const Scales& at, std::int64_t first, std::int64_t n, std::int64_t size) {
  Units units{.scales = part(at.scales, first, n), .size = size};
  if (!at.zero_points.empty()) units.zeros = part(at.zero_points, first, n);
  return units;
}

/// A part of a matrix has the codebooks of the whole, of which it knows the two possible sizes.
bool has_codebooks(const Scales& at, const Spec& spec) {
  const std::int64_t numbers = std::ssize(at.codebooks);
  return numbers == codebook_numbers(spec, 1, 1) ||
         numbers == codebook_numbers(spec, 1, kManyWeights);
}

void check_scale_counts(const Scales& at, const Spec& spec, std::int64_t units, Fault fault,
                        std::string_view where) {
  const std::int64_t zeros = has_zero_points(spec) ? units : 0;
  if (!has_codebooks(at, spec)) {
    throw Error({.fault = fault,
                 .where = std::string(where),
                 .what = "wrong number of numbers in codebooks",
                 .field = "codebooks",
                 .found = str(at.codebooks.size()),
                 .expected = str(codebook_numbers(spec, 1, 1), " or ",
                                 codebook_numbers(spec, 1, kManyWeights))});
  }
  units *= scales_per_unit(spec);
  if (std::ssize(at.scales) == units && std::ssize(at.zero_points) == zeros) return;
  throw Error({.fault = fault,
               .where = std::string(where),
               .what = "wrong number of scales or zero points",
               .field = std::ssize(at.scales) == units ? "zero_points" : "scales",
               .found = str(at.scales.size(), " and ", at.zero_points.size()),
               .expected = str(units, " and ", zeros, " for ", name_of(spec))});
}

}  // namespace

void require_whole(const QTensor& q, std::string_view where) {
  check(std::ssize(q.codes) == extent(where, {q.rows, q.cols}), where, "got ", q.codes.size(),
        " codes for a matrix of [", q.rows, ", ", q.cols, "]");
  check_scale_counts(q.at, q.spec, unit_count(q.spec, q.rows, q.cols), Fault::usage, where);
}

bool QTensor::operator==(const QTensor& other) const {
  return spec == other.spec && rows == other.rows && cols == other.cols && codes == other.codes &&
         at.scales == other.at.scales && at.zero_points == other.at.zero_points &&
         at.nested == other.at.nested && at.codebooks == other.at.codebooks;
}

void require_finite(std::span<const real> w, std::int64_t cols, std::string_view where) {
  if (all_finite(w)) return;
  const auto bad = std::find_if(w.begin(), w.end(), [](real v) { return !std::isfinite(v); });
  const std::int64_t at = bad - w.begin();
  throw Error({.fault = Fault::numeric,
               .where = std::string(where),
               .what = str("weight at row ", at / cols, ", column ", at % cols, " is not finite"),
               .field = str("row ", at / cols),
               .found = str(*bad),
               .expected = "finite weights",
               .hint = "the model diverged; lower the learning rate"});
}

QTensor quantize(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
                 Scales scales, std::string_view where) {
  validate(spec, cols, where);
  check(rows >= 0 && cols >= 0 && std::ssize(w) == rows * cols, where, "got ", w.size(),
        " weights for a matrix of [", rows, ", ", cols, "]");
  const std::int64_t units = unit_count(spec, rows, cols);
  check_scale_counts(scales, spec, units, Fault::usage, where);
  require_finite(w, cols, where);
  for (std::size_t u = 0; u < scales.scales.size(); ++u) {
    const real s = scales.scales[u];
    if (std::isfinite(s) && (s != 0 || format_of(spec.grid).levels == Levels::unit)) continue;
    throw Error({.fault = Fault::numeric,
                 .where = std::string(where),
                 .what = str("scale ", u, " cannot be divided by"),
                 .field = str("scale ", u),
                 .found = str(s),
                 .expected = "finite and not 0"});
  }
  QTensor q{.spec = spec, .rows = rows, .cols = cols};
  q.codes.resize(w.size());
  q.at = std::move(scales);
  if (has_own_levels(spec)) {
    encode(q, w);
    return q;
  }
  const Grid grid = grid_of(spec);
  const std::int64_t unit = unit_size(spec, rows, cols);
  for_unit_runs(units, unit, [&](std::int64_t first, std::int64_t n) {
    round_codes(part(q.codes, first * unit, n * unit), part(w, first * unit, n * unit),
                units_of(q.at, first, n, unit), grid);
  });
  return q;
}

void dequantize(const QTensor& q, std::span<real> out) {
  check(out.size() == q.codes.size(), "dequantize", "got room for ", out.size(), " weights, need ",
        q.codes.size());
  require_whole(q, "dequantize");
  if (has_own_levels(q.spec)) return decode(q, out);
  const std::int64_t units = unit_count(q.spec, q.rows, q.cols);
  const std::int64_t unit = unit_size(q.spec, q.rows, q.cols);
  const Grid grid = grid_of(q.spec);
  for_unit_runs(units, unit, [&](std::int64_t first, std::int64_t n) {
    dequantize_codes(part(out, first * unit, n * unit), part(q.codes, first * unit, n * unit),
                     units_of(q.at, first, n, unit), grid);
  });
}

std::vector<real> dequantize(const QTensor& q) {
  std::vector<real> out(q.codes.size());
  dequantize(q, out);
  return out;
}

void validate(const QTensor& q, std::string_view where) {
  const auto fail = [&](std::string field, std::string found, std::string expected) {
    throw Error({.fault = Fault::input,
                 .where = std::string(where),
                 .what = "not a valid quantized tensor",
                 .field = std::move(field),
                 .found = std::move(found),
                 .expected = std::move(expected)});
  };
  try {
    validate(q.spec, q.cols, where);
  } catch (const Error& e) {
    fail(e.parts().field, e.parts().found, e.parts().expected);
  }
  if (q.rows < 0 || q.cols < 0 || std::ssize(q.codes) != q.rows * q.cols) {
    fail("codes", str(q.codes.size()), str(q.rows, " x ", q.cols));
  }
  check_scale_counts(q.at, q.spec, unit_count(q.spec, q.rows, q.cols), Fault::input, where);
  const Grid grid = grid_of(q.spec);
  const auto outside = [&](std::int8_t c) { return !grid.has(c); };
  const std::string range = str(grid.qmin, " to ", grid.qmax);
  if (const auto c = std::find_if(q.codes.begin(), q.codes.end(), outside); c != q.codes.end()) {
    const std::int64_t i = c - q.codes.begin();
    fail(str("code at row ", i / q.cols, ", column ", i % q.cols), str(int{*c}), range);
  }
  const auto& zeros = q.at.zero_points;
  if (const auto z = std::find_if(zeros.begin(), zeros.end(), outside); z != zeros.end()) {
    fail(str("zero point ", z - zeros.begin()), str(int{*z}), range);
  }
  for (std::size_t i = 0; i < q.at.codebooks.size(); ++i) {
    if (!std::isfinite(q.at.codebooks[i])) {
      fail(str("codebook number ", i), str(q.at.codebooks[i]), "finite");
    }
  }
  if (format_of(q.spec.grid).levels == Levels::unit) {
    const auto each = static_cast<std::size_t>(scales_per_unit(q.spec));
    for (std::size_t i = 0; i < q.at.scales.size(); ++i) {
      const real level = q.at.scales[i];
      const bool ascends = i % each == 0 || level >= q.at.scales[i - 1];
      if (!std::isfinite(level) || !ascends) {
        fail(str("level ", i % each, " of unit ", i / each), str(level),
             "finite and not below the one before");
      }
    }
    return;
  }
  const bool may_be_negative = format_of(q.spec.grid).has_signed_scale();
  for (std::size_t u = 0; u < q.at.scales.size(); ++u) {
    const real s = q.at.scales[u];
    if (!std::isfinite(s) || s == 0 || (s < 0 && !may_be_negative)) {
      fail(str("scale ", u), str(s), may_be_negative ? "finite and not 0" : "finite and positive");
    }
  }
}

}  // namespace notch::quant
