#include "autograd/base/clock.h"

#include <atomic>
#include <chrono>

namespace notch {

double seconds_now() {
  static std::atomic<double> latest{0};
  const double now =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  double before = latest.load(std::memory_order_relaxed);
  while (now > before && !latest.compare_exchange_weak(before, now, std::memory_order_relaxed)) {
  }
  return now > before ? now : before;
}

}  // namespace notch
