// Pruning: which weights of a matrix become zero, chosen by itself or before the rest is rounded.
//
// A pruner is a row beside the methods of rounding, and goes with any of them: the post-training walk
// prunes a matrix and hands what is left to the method, with the mask. Methods that make up for
// rounding errors (GPTQ) make up for pruned weights in the same sweep. Pruned are the Linears of the
// blocks that the plan names; tables and the head are not, as in the papers. A pruner is a file that
// ends in its row, `const Pruner kName{...}`; quant/methods/prune.cpp lists the rows.
//
// Patterns: unstructured, or N of every M consecutive weights of a row kept (N:M; Mishra et al. 2021,
// arXiv:2104.08378: 2:4 is what sparse tensor cores multiply).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/field.h"
#include "quant/methods/method.h"
#include "quant/numbers/named_mask.h"

namespace notch::quant {

enum class Pattern : std::uint8_t { unstructured, two_of_four, four_of_eight };
constexpr auto names(Pattern) {
  return std::array<std::string_view, 3>{"unstructured", "2:4", "4:8"};
}

struct PruneOptions {
  std::string method = "none";
  Pattern pattern = Pattern::unstructured;
  double sparsity = 0.5;
  int rounds = 1;
  bool operator==(const PruneOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.method, {"method", "which weights become zero", one_of(words())});
    v(self.pattern,
      {"pattern", "of the kept weights: any, or 2 of 4 or 4 of 8 neighbours in a row"});
    v(self.sparsity, {"sparsity", "pattern = \"unstructured\": share of zeros", from_below(0, 1)});
    v(self.rounds, {"rounds", rounds_help(), between(1, 1000)});
  }
  static std::vector<std::string_view> words();  ///< none, and the pruners
  static std::string_view rounds_help();         ///< names those that can
  bool on() const { return method != "none"; }
};

struct Pruned {
  Keep keep{};
  std::vector<real> w{};  ///< the weights that are left, 0 where they are pruned
};

struct Pruner {
  std::string_view name{};
  std::string_view source{};
  bool needs_inputs = false;   ///< their second moments
  bool chooses = true;         ///< by pattern and sparsity; else it takes the zeros that there are
  bool moves_weights = false;  ///< also those that stay, to make up for the others
  bool in_rounds = false;      ///< more and more while a row trains (quant/train/mask.h)
  /// `matrix` has the Hessian where the pruner needs it.
  Pruned (*prune)(const MatrixView& matrix, const PruneOptions& options) = nullptr;
};

/// All pruners, in the order in which lists name them.
std::span<const Pruner* const> pruners();
/// "magnitude, wanda or sparsegpt": those that `which` takes.
std::string pruner_list(bool (*which)(const Pruner& pruner));

/// The row of that name; null for "none"; usage error for any other.
const Pruner* find_pruner(std::string_view name);

/// Whether pruning takes a target: the Linears of the blocks.
bool is_prunable(nn::Model& model, const Target& target);
/// Masks of those that prune nothing yet.
std::vector<NamedMask> whole_masks(nn::Model& model, std::span<const Target> targets);

/// Among which weights scores are compared.
enum class Within : std::uint8_t {
  matrix,  ///< magnitude
  row,     ///< Wanda
};

/// Usage error naming `where` if the pattern's M does not divide cols.
void require_pattern(const PruneOptions& options, std::int64_t cols, std::string_view where);

/// Keeps the weights of the largest scores [rows, cols], of equal ones the first: of an unstructured
/// pattern all but round(sparsity · n) of the n weights compared, else N of every M, whatever
/// `within`. With a `share` below 1 only that share of the zeros. Errors as require_pattern's.
/// Parallel over rows.
Keep keep_largest(std::span<const double> scores, std::int64_t rows, std::int64_t cols,
                  const PruneOptions& options, Within within, std::string_view where,
                  double share = 1);

/// w where kept, else 0.
std::vector<real> kept_weights(std::span<const real> w, std::span<const std::uint8_t> keep);

/// What rows report of their matrices that are pruned.
inline constexpr RowFigure kPrunedFigure{"pruned", "zeros of pruned matrices, %", 1, true, nullptr};

/// How many weights are kept of every M, and M: 2 and 4; 0 and 0 for unstructured.
struct PatternSize {
  int kept = 0, of = 0;
};
PatternSize size_of(Pattern pattern);

/// Usage error naming `where` for a grid without a zero.
void require_zero(const Spec& spec, std::string_view where);

}  // namespace notch::quant
