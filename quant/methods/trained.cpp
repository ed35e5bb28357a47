#include "quant/methods/trained.h"

namespace notch::quant {

constinit const Method kQatSte{.name = "qat-ste",
                               .source = "Bengio et al. 2013",
                               .family = Family::trained,
                               .training = Training::ste,
                               .section = "qat"};
constinit const Method kQatLsq{.name = "qat-lsq",
                               .source = "Esser et al. 2020",
                               .family = Family::trained,
                               .training = Training::lsq,
                               .section = "qat"};
constinit const Method kQatSteKd{.name = "qat-ste-kd",
                                 .source = "STE, distilled from the fp32 model",
                                 .family = Family::trained,
                                 .training = Training::ste,
                                 .distills = true,
                                 .section = "qat"};
constinit const Method kQatLsqKd{.name = "qat-lsq-kd",
                                 .source = "LSQ, distilled from the fp32 model",
                                 .family = Family::trained,
                                 .training = Training::lsq,
                                 .distills = true,
                                 .section = "qat"};

}  // namespace notch::quant
