// The error of a mean over windows of a text, had other stretches of such text been scored.
//
// Neighbouring windows depend on each other, so what varies freely is a block of them. Source: the
// circular block bootstrap (Politis and Romano 1992), of whose variance there is a closed form:
// that of a block's sum over every start, round the end. Deviation: a mean per token is a ratio, so
// its residuals take the place of the losses, which is the bootstrap's variance to first order.
#pragma once

#include <cstdint>
#include <span>

namespace notch::experiments {

/// A variance, and with how many degrees of freedom it is known.
struct ErrorPart {
  double variance = 0;
  double df = 1;
};

/// Windows per block: ⌊W^(1/3)⌋, the rate at which the error of a block bootstrap's variance is
/// least (Künsch 1989).
std::int64_t block_length(std::int64_t windows);

/// Of Σ sums / Σ tokens over W windows; unbiased for windows that do not depend on each other, with
/// a degree of freedom less than there are blocks. Infinite for one window, which says nothing
/// about its own error.
ErrorPart window_error(std::span<const double> sums, std::span<const double> tokens);

}  // namespace notch::experiments
