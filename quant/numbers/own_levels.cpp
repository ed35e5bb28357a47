#include "quant/numbers/own_levels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/names.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/numbers/format.h"
#include "quant/numbers/learned_levels.h"

namespace notch::quant {
namespace {

constexpr int kBeam = 8;
constexpr int kLowestTwentieth = 14, kHighestTwentieth = 26;  // of the root mean square: 0.7 to 1.3

void require_storable(std::span<const real> w, Index cols, ScaleType type, std::string_view where) {
  const auto largest = std::ranges::max_element(w, {}, [](real v) { return std::fabs(v); });
  if (largest == w.end() || std::fabs(*largest) <= max_scale(type)) return;
  throw Error({.fault = Fault::numeric,
               .where = std::string(where),
               .what = "a level does not fit its stored type",
               .field = str("row ", (largest - w.begin()) / std::max<Index>(cols, 1)),
               .found = str(*largest),
               .expected = str("at most ", max_scale(type), " for ", word_of(type)),
               .hint = "store scales as f32 or bf16"});
}

/// The 2^bits levels of a unit that begins at column `column` of its row.
void learn_unit(std::span<real> levels, std::span<const real> unit, ScaleType type, Index column,
                std::span<const double> column_weights) {
  std::vector<std::pair<double, double>> all;
  for (std::size_t i = 0; i < unit.size(); ++i) {
    const double weight =
        column_weights.empty() ? 1 : column_weights[(at(column) + i) % column_weights.size()];
    all.emplace_back(static_cast<double>(unit[i]), weight);
  }
  std::ranges::sort(all);
  std::vector<double> x, weights;
  for (const auto& [value, weight] : all) x.push_back(value), weights.push_back(weight);
  const std::vector<double> best = best_levels(x, weights, static_cast<int>(levels.size()));
  for (std::size_t i = 0; i < levels.size(); ++i)
    levels[i] = round_level(static_cast<real>(best[i]), type);
}

real root_mean_square(std::span<const real> unit) {
  double squares = 0;
  for (const real v : unit) squares += static_cast<double>(v) * static_cast<double>(v);
  return static_cast<real>(std::sqrt(squares / static_cast<double>(unit.size())));
}

/// body(first column, weights) for every word of the unit.
template <class Body>
void for_words(std::span<const real> unit, const Body& body) {
  for (std::size_t i = 0; i < unit.size(); i += at(kWordColumns)) {
    Vector8 v{};
    std::copy_n(unit.begin() + static_cast<std::ptrdiff_t>(i), v.size(), v.begin());
    body(i, v);
  }
}

/// The squared error of a unit on the lattice with that scale.
double lattice_error(std::span<const real> unit, real scale) {
  double error = 0;
  for_words(unit, [&](std::size_t, const Vector8& w) {
    Vector8 v = w;
    for (real& c : v) c /= scale;
    const Vector8 point = e8p_point(e8p_nearest(v));
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double d = static_cast<double>(w[i]) - static_cast<double>(point[i] * scale);
      error += d * d;
    }
  });
  return error;
}

/// Tries its scales in parallel: the unit may be the whole matrix.
real lattice_scale(std::span<const real> unit, ScaleType type) {
  const real size = root_mean_square(unit);
  if (size == 0) return round_scale(size, type);
  constexpr Index kTrials = kHighestTwentieth - kLowestTwentieth + 1;
  std::array<real, at(kTrials)> scales{};
  std::array<double, at(kTrials)> errors{};
  parallel_for(kTrials, [&](Index i) {
    scales[at(i)] = round_scale(size * static_cast<real>(kLowestTwentieth + i) / 20, type);
    errors[at(i)] = lattice_error(unit, scales[at(i)]);
  });
  real best = round_scale(size, type);
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < errors.size(); ++i)
    if (errors[i] < least) least = errors[i], best = scales[i];
  return best;
}

/// Runs body(first, end) over the rows of words of a matrix, in parallel.
template <class Body>
void for_rows(Index rows, Index cols, const Body& body) {
  constexpr Index kTileWeights = 4096;
  const Index run = std::max<Index>(1, kTileWeights / std::max<Index>(1, cols));
  parallel_for(quotient_up(rows, run), [&](Index tile) {
    for (Index r = tile * run; r < std::min(rows, (tile + 1) * run); ++r) body(r);
  });
}

constexpr real kOne = 1;

/// unit(first, size, its grid) for every unit of learned levels, or word(coder, first, scale) for every
/// word of eight columns, in parallel.
template <class OfUnit, class OfWord>
void for_parts(const QTensor& q, const OfUnit& unit, const OfWord& word) {
  if (!has_words(q.spec)) {
    const LevelLists lists(q.spec, q.rows, q.cols);
    lists.for_units([&](Index u) { unit(u * lists.unit, lists.unit, unit_grid(q, u)); });
    return;
  }
  const Index units = unit_count(q.spec, q.rows, q.cols);
  const Index size = units == 0 ? 1 : unit_size(q.spec, q.rows, q.cols);
  const WordCoder coder(q.spec, q.at.codebooks);
  for_rows(q.rows, q.cols, [&](Index r) {
    for (Index i = r * q.cols; i < (r + 1) * q.cols; i += kWordColumns)
      word(coder, i, q.at.scales[at(i / size)]);
  });
}

}  // namespace

bool has_own_levels(const Spec& spec) { return format_of(spec.grid).has_own_levels(); }
bool has_words(const Spec& spec) { return format_of(spec.grid).has_words(); }

LevelLists::LevelLists(const Spec& spec, Index rows, Index cols)
    : units(unit_count(spec, rows, cols)),
      unit(units == 0 ? 1 : unit_size(spec, rows, cols)),
      levels(scales_per_unit(spec)) {}

Scales choose_levels(std::span<const real> w, Index rows, Index cols, const Spec& spec,
                     std::string_view where, std::span<const double> column_weights) {
  check(has_own_levels(spec), where, "the levels of the ", name_of(spec.grid), " grid are given");
  check(std::ssize(w) == extent(where, {rows, cols}), where, w.size(), " weights for [", rows, ", ",
        cols, "]");
  require_storable(w, cols, spec.scale, where);
  const Index units = unit_count(spec, rows, cols);
  const Index size = units == 0 ? 1 : unit_size(spec, rows, cols);
  const Index each = scales_per_unit(spec);
  Scales scales;
  scales.scales.resize(at(units * each));
  parallel_for(units, [&](Index u) {
    const auto unit = part(w, u * size, size);
    const auto to = part(scales.scales, u * each, each);
    switch (format_of(spec.grid).levels) {
      case Levels::unit:
        learn_unit(to, unit, spec.scale, cols == 0 ? 0 : u * size % cols, column_weights);
        break;
      case Levels::lattice:
        to[0] = lattice_scale(unit, spec.scale);
        break;
      case Levels::codebooks:
        to[0] = round_scale(root_mean_square(unit), spec.scale);
        break;
      case Levels::grid:
        break;
    }
  });
  if (format_of(spec.grid).levels != Levels::codebooks) return scales;
  std::vector<real> vectors(w.begin(), w.end());
  for (Index u = 0; u < units; ++u)
    for (real& v : part(vectors, u * size, size)) v /= scales.scales[at(u)];
  scales.codebooks = residual_codebooks(vectors, spec, rows, cols);
  return scales;
}

Grid unit_grid(const QTensor& q, Index unit) {
  const Index each = scales_per_unit(q.spec);
  check(unit >= 0 && unit < std::ssize(q.at.scales) / each, "levels", "unit ", unit, " of ",
        std::ssize(q.at.scales) / each);
  return {.qmin = 0,
          .qmax = static_cast<int>(each) - 1,
          .levels = part(q.at.scales, unit * each, each)};
}

WordCoder::WordCoder(const Spec& spec, std::span<const real> codebooks) {
  check(has_words(spec), "words", "columns of the ", name_of(spec.grid), " grid share none");
  if (format_of(spec.grid).levels != Levels::codebooks) return;
  codebooks_.emplace(spec, codebooks);
  search_.emplace(*codebooks_, std::span<const double>{}, kBeam);
}

Vector8 WordCoder::vector(std::uint32_t word) const {
  return codebooks_ ? codebooks_->sum(word) : e8p_point(static_cast<std::uint16_t>(word));
}

std::uint32_t WordCoder::nearest(const Vector8& v) const {
  if (!search_) return e8p_nearest(v);
  BeamSearch::Target t{};
  std::ranges::copy(v, t.begin());
  return search_->nearest(t);
}

std::uint32_t code_word(const std::int8_t* codes, int bits) {
  std::uint32_t word = 0;
  for (int i = 0; i < kWordColumns; ++i) {
    word |= static_cast<std::uint32_t>(codes[i]) << (i * bits);
  }
  return word;
}

void put_word(std::int8_t* codes, std::uint32_t word, int bits) {
  const std::uint32_t mask = (1u << bits) - 1;
  for (int i = 0; i < kWordColumns; ++i)
    codes[i] = static_cast<std::int8_t>(word >> (i * bits) & mask);
}

void encode(QTensor& q, std::span<const real> w) {
  check(std::ssize(w) == extent("encode", {q.rows, q.cols}), "encode", w.size(), " weights for [",
        q.rows, ", ", q.cols, "]");
  q.codes.resize(w.size());
  require_whole(q, "encode");
  for_parts(
      q,
      [&](Index first, Index size, const Grid& levels) {
        round_codes(part(q.codes, first, size), part(w, first, size),
                    {.scales = {&kOne, 1}, .size = size}, levels);
      },
      [&](const WordCoder& coder, Index first, real scale) {
        Vector8 v{};
        for (Index j = 0; j < kWordColumns; ++j) v[at(j)] = w[at(first + j)] / scale;
        put_word(q.codes.data() + first, coder.nearest(v), q.spec.bits);
      });
}

void decode(const QTensor& q, std::span<real> out) {
  require_whole(q, "decode");
  require_extent("decode", std::ssize(q.codes), out);
  for_parts(
      q,
      [&](Index first, Index size, const Grid& levels) {
        dequantize_codes(part(out, first, size), part(q.codes, first, size),
                         {.scales = {&kOne, 1}, .size = size}, levels);
      },
      [&](const WordCoder& coder, Index first, real scale) {
        const Vector8 v = coder.vector(code_word(q.codes.data() + first, q.spec.bits));
        for (Index j = 0; j < kWordColumns; ++j) out[at(first + j)] = v[at(j)] * scale;
      });
}

}  // namespace notch::quant
