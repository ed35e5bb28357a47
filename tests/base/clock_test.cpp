#include "autograd/base/clock.h"

#include <thread>
#include <vector>

#include "tests/catch.h"

namespace clock_test {

TEST_CASE("time does not go back, in any thread") {
  double before = notch::seconds_now();
  CHECK(before > 0);
  std::vector<std::thread> threads;
  std::vector<int> backwards(4);
  for (int& count : backwards) {
    threads.emplace_back([&count] {
      double last = notch::seconds_now();
      for (int i = 0; i < 20'000; ++i) {
        const double now = notch::seconds_now();
        count += now < last;
        last = now;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(backwards == std::vector<int>(4, 0));
  CHECK(notch::seconds_now() >= before);
}

}  // namespace clock_test
