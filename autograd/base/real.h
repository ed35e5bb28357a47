// `real`: float in the shipped build, double in the build of the gradient checks (NOTCH_DOUBLE).
// The whole engine is compiled twice from the same sources, which is why nothing in it is a template
// over the number type.
#pragma once

namespace notch {
#ifdef NOTCH_DOUBLE
using real = double;
#else
using real = float;
#endif
}  // namespace notch
