// Time that passes: durations are differences of two calls, and none is negative.
#pragma once

namespace notch {

/// Seconds since some moment before the program began. Never less than an earlier call gave in any
/// thread, even where a virtual machine or a debugger sets the monotonic clock back.
double seconds_now();

}  // namespace notch
