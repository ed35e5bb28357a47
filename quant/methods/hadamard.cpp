#include "quant/methods/hadamard.h"

#include "autograd/base/rng.h"
#include "quant/methods/gptq.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"

namespace notch::quant {
namespace {

Transform rotated(std::span<const Target* const>, const Hessian& H, const PostTrainingOptions&) {
  return {.signs = rotation_signs(H.in_features())};
}

}  // namespace

std::vector<std::int8_t> rotation_signs(std::int64_t cols) {
  check(cols >= 0 && cols <= std::int64_t{1} << 32, "rotation", "of ", cols, " channels");
  constexpr std::uint64_t kSeed = 0x68616461;
  Rng rng(kSeed, static_cast<std::uint64_t>(cols));
  std::vector<std::int8_t> signs(static_cast<std::size_t>(cols));
  for (std::int8_t& s : signs) s = rng.below(2) == 0 ? std::int8_t{1} : std::int8_t{-1};
  return signs;
}

constinit const Method kRtnHadamard{
    .name = "rtn-hadamard",
    .source = "Ashkboos et al. 2024",
    .transform = rotated,
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      return {.q = round_nearest(matrix.target, RangeRule::absmax)};
    },
    .own_levels = true};

constinit const Method kGptqHadamard{.name = "gptq-hadamard",
                                     .source = "Frantar et al. 2022, Ashkboos et al. 2024",
                                     .needs = {.hessian = true},
                                     .transform = rotated,
                                     .round = round_by_gptq,
                                     .own_levels = true,
                                     .section = "gptq",
                                     .layer_figures = kGptqLayerFigures,
                                     .row_figures = kGptqRowFigures};

}  // namespace notch::quant
