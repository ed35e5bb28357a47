#include "quant/methods/zeros.h"

namespace notch::quant {

constinit const Pruner kZeros{.name = "zeros",
                              .source = "the zeros that the model has",
                              .chooses = false,
                              .prune = [](const MatrixView& m, const PruneOptions&) -> Pruned {
                                Pruned all{.w = {m.w.begin(), m.w.end()}};
                                for (const real w : m.w) all.keep.push_back(w != 0);
                                return all;
                              }};

}  // namespace notch::quant
