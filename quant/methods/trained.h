// The methods that train, by what they learn and from whom. Their code is in quant/train: qat.h trains
// weights through rounding, scale_training.h and adapters.h beside codes that stay.
#pragma once

#include "quant/methods/method.h"

namespace notch::quant {

extern const Method kQatSte, kQatLsq, kQatSteKd, kQatLsqKd, kQatQuest, kQlora, kEfficientQat;

/// What merging the products of qlora into integers adds to the loss on the validation split.
inline constexpr RowFigure kMergeFigure{"qlora_merge_cost", "loss added by merging", 4, false,
                                        nullptr};

}  // namespace notch::quant
