#include "quant/methods/spqr.h"

#include <cstdint>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "quant/methods/gptq.h"
#include "quant/methods/options.h"

namespace notch::quant {
namespace {

Rounded round(const MatrixView& matrix, const PostTrainingOptions& options) {
  GptqOptions own = options.gptq;
  own.act_order = own.static_groups = false;
  if (matrix.H == nullptr || matrix.is_table()) return round_by_gptq(matrix, matrix.before(), own);
  if (matrix.target.spec.scale == ScaleType::nested) {
    throw Error({.where = matrix.target.name,
                 .what =
                     "what spqr keeps apart makes up for the scales that codes were chosen with, "
                     "and nested ones change after that",
                 .field = "scale",
                 .found = "nested",
                 .expected = "bilevel, f32, f16, bf16 or e8m0"});
  }
  std::vector<real> rests;
  Rounded out = round_by_gptq(matrix, matrix.before(), own,
                              {.threshold = options.spqr.threshold, .rests = &rests});
  SideProduct side = sparse_product(rests, matrix.rows(), matrix.cols(), matrix.target.name);
  out.measures.push_back({"outliers", static_cast<double>(side.values.size())});
  if (!side.values.empty()) out.side = std::move(side);
  return out;
}

constexpr LayerFigure kLayerFigures[] = {{"output_error", "output error", 6},
                                         {"rtn_output_error", "of rtn", 6},
                                         {"outliers", "outliers", 0}};
constexpr RowFigure kRowFigures[] = {
    {"spqr_outliers", "outlier weights", 0, false,
     [](std::span<const LayerReport> layers) { return total(layers, "outliers"); }}};

}  // namespace

SideProduct sparse_product(std::span<const real> values, std::int64_t rows, std::int64_t cols,
                           std::string_view where) {
  constexpr std::int64_t kMostColumns = 65536;
  check(cols <= kMostColumns, where, "has ", cols, " columns; outliers are kept in at most ",
        kMostColumns, ": round this layer by gptq");
  check(std::ssize(values) == extent(where, {rows, cols}), where, "got ", values.size(),
        " values of a matrix of [", rows, ", ", cols, "]");
  SideProduct side{.starts = {0}};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      const real v = values[static_cast<std::size_t>(r * cols + c)];
      if (v == 0) continue;
      side.columns.push_back(static_cast<std::uint16_t>(c));
      side.values.push_back(v);
    }
    side.starts.push_back(static_cast<std::int32_t>(side.values.size()));
  }
  constexpr auto kMost = std::numeric_limits<std::int32_t>::max();  // what the starts count to
  check(std::ssize(side.values) <= kMost, where, "has ", side.values.size(), " outliers; at most ",
        kMost, " are kept: raise the threshold");
  return side;
}

constinit const Method kSpqr{.name = "spqr",
                             .source = "Dettmers et al. 2023",
                             .needs = {.hessian = true},
                             .round = round,
                             .adds_side_products = true,
                             .section = "spqr",
                             .base_section = "gptq",
                             .layer_figures = kLayerFigures,
                             .row_figures = kRowFigures};

}  // namespace notch::quant
