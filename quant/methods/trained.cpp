#include "quant/methods/trained.h"

#include "quant/methods/block_ap.h"
#include "quant/methods/rtn.h"

namespace notch::quant {

constinit const Method kQatSte{.name = "qat-ste",
                               .source = "Bengio et al. 2013",
                               .family = Family::trained,
                               .own_levels = true,
                               .training = Training::ste,
                               .section = "qat"};
constinit const Method kQatLsq{.name = "qat-lsq",
                               .source = "Esser et al. 2020",
                               .family = Family::trained,
                               .own_levels = true,
                               .training = Training::lsq,
                               .section = "qat"};
constinit const Method kQatSteKd{.name = "qat-ste-kd",
                                 .source = "STE, distilled from the fp32 model",
                                 .family = Family::trained,
                                 .own_levels = true,
                                 .training = Training::ste,
                                 .distills = true,
                                 .section = "qat"};
constinit const Method kQatLsqKd{.name = "qat-lsq-kd",
                                 .source = "LSQ, distilled from the fp32 model",
                                 .family = Family::trained,
                                 .own_levels = true,
                                 .training = Training::lsq,
                                 .distills = true,
                                 .section = "qat"};
constinit const Method kQatQuest{.name = "qat-quest",
                                 .source = "Panferov et al. 2025",
                                 .family = Family::trained,
                                 .training = Training::gaussian,
                                 .section = "qat"};
constinit const Method kQlora{.name = "qlora",
                              .source = "Dettmers et al. 2023",
                              .family = Family::trained,
                              .training = Training::adapters,
                              .base = &kRtn,
                              .section = "qlora",
                              .base_section = "qat"};
constinit const Method kEfficientQat{.name = "efficient-qat",
                                     .source = "Chen et al. 2024",
                                     .family = Family::trained,
                                     .training = Training::scales,
                                     .base = &kBlockAp,
                                     .section = "qat"};

}  // namespace notch::quant
