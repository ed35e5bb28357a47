// The methods that train through rounding, by what they learn and from whom. quant/train/qat.h has the code.
#pragma once

#include "quant/methods/method.h"

namespace notch::quant {

extern const Method kQatSte, kQatLsq, kQatSteKd, kQatLsqKd;

}  // namespace notch::quant
