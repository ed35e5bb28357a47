// The thread pool: every tile once, the same results for any number of threads, errors, nesting.
// Build with -DNOTCH_SANITIZE=thread to check its memory ordering.
#include "autograd/base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/catch.h"

namespace thread_pool_test {

using namespace notch;

constexpr int kThreadCounts[] = {1, 2, 3, 7};

struct AllThreadsAfterwards {
  ~AllThreadsAfterwards() { set_threads(0); }
};

// Returns once `count` tiles are here: so many threads must take part for the region to end.
void meet(std::atomic<int>& arrived, int count) {
  ++arrived;
  while (arrived < count) std::this_thread::yield();
}

TEST_CASE("parallel_for runs every index exactly once") {
  const AllThreadsAfterwards restore;
  for (const int count : kThreadCounts) {
    set_threads(count);
    CHECK(threads() == count);
    for (const std::int64_t n : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(n));
      parallel_for(n, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& r : runs) REQUIRE(r == 1);
    }
  }
}

TEST_CASE("what a region wrote is visible after it in thousands of regions") {
  const AllThreadsAfterwards restore;
  for (const int count : kThreadCounts) {
    set_threads(count);
    std::vector<std::int64_t> values(16, 0);  // not atomic: the pool must order the accesses
    for (int region = 0; region < 3000; ++region) {
      parallel_for(16, [&](std::int64_t i) { values[static_cast<std::size_t>(i)] += i; });
    }
    for (std::size_t i = 0; i < 16; ++i) {
      REQUIRE(values[i] == static_cast<std::int64_t>(i) * 3000);
    }
  }
}

TEST_CASE("a region ends only when the slowest thread has left its tile") {
  const AllThreadsAfterwards restore;
  set_threads(2);
  const auto caller = std::this_thread::get_id();
  for (int repeat = 0; repeat < 5; ++repeat) {
    bool finished = false;
    std::atomic<int> arrived{0};
    parallel_for(2, [&](std::int64_t) {
      meet(arrived, 2);
      if (std::this_thread::get_id() == caller) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      finished = true;
    });
    REQUIRE(finished);
  }
}

TEST_CASE("sleeping threads are woken for a region") {
  const AllThreadsAfterwards restore;
  set_threads(2);
  parallel_for(2, [](std::int64_t) {});
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // far longer than the spinning
    std::atomic<int> arrived{0};
    parallel_for(2, [&](std::int64_t) { meet(arrived, 2); });
    CHECK(arrived == 2);
  }
}

TEST_CASE("a sum of tiles has the same bits for every number of threads") {
  const AllThreadsAfterwards restore;
  std::vector<float> x(10000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i)) * 1e3f;
  const auto sum = [&] {
    std::vector<float> partial(10);
    parallel_for(10, [&](std::int64_t tile) {
      const std::size_t t = static_cast<std::size_t>(tile);
      for (std::size_t i = t * 1000; i < (t + 1) * 1000; ++i) partial[t] += x[i];
    });
    float total = 0;
    for (const float p : partial) total += p;
    return total;
  };
  set_threads(1);
  const float serial = sum();
  for (const int count : kThreadCounts) {
    set_threads(count);
    for (int repeat = 0; repeat < 50; ++repeat) REQUIRE(sum() == serial);
  }
}

TEST_CASE("the lowest failing tile's exception is rethrown to the caller") {
  const AllThreadsAfterwards restore;
  for (const int count : kThreadCounts) {
    set_threads(count);
    for (int repeat = 0; repeat < 100; ++repeat) {
      std::int64_t failed = -1;
      try {
        parallel_for(100, [](std::int64_t i) {
          if (i >= 20) throw i;
        });
      } catch (const std::int64_t i) {
        failed = i;
      }
      REQUIRE(failed == 20);
      std::atomic<int> runs{0};
      parallel_for(10, [&](std::int64_t) { ++runs; });
      REQUIRE(runs == 10);
    }
  }
}

TEST_CASE("of two failures the lower index wins, whichever comes first") {
  const AllThreadsAfterwards restore;
  set_threads(2);
  for (const std::int64_t late : {0, 1}) {
    std::atomic<int> arrived{0};
    std::int64_t failed = -1;
    try {
      parallel_for(2, [&](std::int64_t i) {
        meet(arrived, 2);
        if (i == late) std::this_thread::sleep_for(std::chrono::milliseconds(3));
        throw i;
      });
    } catch (const std::int64_t i) {
      failed = i;
    }
    CHECK(failed == 0);
  }
}

TEST_CASE("a nested region runs inline in order and passes exceptions on") {
  const AllThreadsAfterwards restore;
  for (const int count : kThreadCounts) {
    set_threads(count);
    std::vector<std::vector<std::int64_t>> orders(8);
    std::atomic<bool> moved{false};
    parallel_for(8, [&](std::int64_t outer) {
      const auto self = std::this_thread::get_id();
      parallel_for(5, [&](std::int64_t inner) {
        if (std::this_thread::get_id() != self) moved = true;
        orders[static_cast<std::size_t>(outer)].push_back(inner);
      });
    });
    CHECK_FALSE(moved);
    for (const auto& order : orders) CHECK(order == std::vector<std::int64_t>{0, 1, 2, 3, 4});
    CHECK_THROWS_AS(parallel_for(4,
                                 [](std::int64_t) {
                                   parallel_for(
                                       3, [](std::int64_t) { throw std::runtime_error("inner"); });
                                 }),
                    std::runtime_error);
  }
}

TEST_CASE("below a region of one tile the pool is free") {
  const AllThreadsAfterwards restore;
  set_threads(2);
  std::atomic<int> arrived{0};
  parallel_for(1, [&](std::int64_t) {
    parallel_for(2, [&](std::int64_t) { meet(arrived, 2); });
  });
  CHECK(arrived == 2);
}

TEST_CASE("regions of several threads at once do not disturb each other") {
  const AllThreadsAfterwards restore;
  set_threads(3);
  std::vector<std::int64_t> sums(4, 0);
  std::vector<std::thread> callers;
  for (std::size_t c = 0; c < sums.size(); ++c) {
    callers.emplace_back([&sums, c] {
      for (int region = 0; region < 300; ++region) {
        std::atomic<std::int64_t> sum{0};
        parallel_for(20, [&](std::int64_t i) { sum += i; });
        sums[c] += sum;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::int64_t sum : sums) CHECK(sum == 300 * 190);
}

TEST_CASE("set_threads refuses impossible numbers and calls in a region") {
  const AllThreadsAfterwards restore;
  CHECK(test::error_of([] { set_threads(-1); }).fault == Fault::usage);
  CHECK(test::error_of([] { set_threads(1 << 30); }).fault == Fault::usage);
  set_threads(2);
  CHECK(test::error_of([] { parallel_for(4, [](std::int64_t) { set_threads(1); }); }).fault ==
        Fault::usage);
  CHECK(threads() == 2);
  set_threads(0);
  CHECK(threads() >= 1);
}

}  // namespace thread_pool_test
