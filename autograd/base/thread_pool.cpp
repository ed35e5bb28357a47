// The pool behind parallel_for. A training step runs hundreds of regions of some ten microseconds,
// so threads spin for a moment before they sleep, and a region neither allocates nor waits for a
// thread that has not joined it: a descheduled thread costs its help, never a stall.
//
// One word holds (region number, open, joined threads). A thread joins by compare-and-swap while
// the region is open; the caller closes the region when no tile is left and waits for the joined to
// leave.
//
// Every thread begins with its own contiguous share of the tiles and then helps the others. Regions
// over the same rows follow one another, so a thread mostly finds its rows in its own cache; taken
// turn by turn, half of them lie in another core's (a training step of 4 x 128 channels and 768
// tokens took 2 % longer on two cores).
#include "autograd/base/thread_pool.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "autograd/base/error.h"

namespace notch {
namespace {

constexpr std::uint64_t kJoined = 0xffff;   // low 16 bits: how many pool threads are inside
constexpr std::uint64_t kOpen = 0x10000;    // tiles may be left
constexpr std::uint64_t kRegion = 0x20000;  // one region further
constexpr int kMaxThreads = 4096;
constexpr std::chrono::microseconds kSpin{60};  // longer keeps a shared core from who is waited for

thread_local bool inside_region = false;

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `done` or the spinning time is over; returns done().
template <class Done>
bool spin_until(const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

int available_cores() {
  int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    cores = std::min(cores, std::max(1, CPU_COUNT(&allowed)));
  }
  return std::min(cores, kMaxThreads);
}

// Sets inside_region for a scope, so that parallel_for below it runs inline.
class Inside {
 public:
  Inside() : before_(std::exchange(inside_region, true)) {}
  ~Inside() { inside_region = before_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  bool before_;
};

class Pool {
 public:
  int size() const { return size_.load(std::memory_order_relaxed); }

  void resize(int n) {
    const std::lock_guard<std::mutex> lock(region_);
    stop();
    size_.store(n, std::memory_order_relaxed);
  }

  void shut_down() {
    const std::unique_lock<std::mutex> lock(region_, std::try_to_lock);
    if (!lock || inside_region || ::getpid() != owner_) return;
    stop();
    size_.store(1, std::memory_order_relaxed);
  }

  void run(std::int64_t n, void (*call)(const void*, std::int64_t), const void* body) {
    // A single tile occupies no thread but this one: regions below it still have the pool.
    if (n == 1) return call(body, 0);
    if (inside_region || size() == 1) return run_inline(n, call, body);
    const std::unique_lock<std::mutex> lock(region_, std::try_to_lock);
    if (!lock) return run_inline(n, call, body);  // another thread's region has the pool
    start();

    call_ = call;
    body_ = body;
    const int count = size();
    for (int i = 0; i < count; ++i) {
      Share& share = shares_[static_cast<std::size_t>(i)];
      share.next.store(n * i / count, std::memory_order_relaxed);
      share.end = n * (i + 1) / count;
    }
    const std::uint64_t region =
        (state_.load(std::memory_order_relaxed) & ~(kJoined | kOpen)) + kRegion;
    state_.store(region | kOpen, std::memory_order_seq_cst);
    wake(n - 1);
    work(0);
    state_.fetch_and(~kOpen, std::memory_order_seq_cst);
    wait_until_empty();
    if (error_) {
      failed_at_.store(kNone, std::memory_order_relaxed);
      std::rethrow_exception(std::exchange(error_, nullptr));
    }
  }

 private:
  // Not inlined: its name in a profile is what experiments/bench/serial_share.py looks for.
  [[gnu::noinline]] static void run_inline(std::int64_t n, void (*call)(const void*, std::int64_t),
                                           const void* body) {
    const Inside inside;
    for (std::int64_t i = 0; i < n; ++i) call(body, i);
  }

  // Claims and runs tiles until none is left. After a failure only tiles with a higher index are
  // left out, so the failing tile with the lowest index is always run: keeping its exception makes
  // the error the same for every number of threads.
  void work(int self) {
    const Inside inside;
    const int count = size();
    for (int k = 0; k < count; ++k) {
      Share& share = shares_[static_cast<std::size_t>((self + k) % count)];
      while (true) {
        const std::int64_t i = share.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= share.end) break;
        if (i > failed_at_.load(std::memory_order_relaxed)) continue;
        try {
          call_(body_, i);
        } catch (...) {
          const std::lock_guard<std::mutex> lock(error_mutex_);
          if (i < failed_at_.load(std::memory_order_relaxed)) {
            failed_at_.store(i, std::memory_order_relaxed);
            error_ = std::current_exception();
          }
        }
      }
    }
  }

  void wake(std::int64_t helpers) {
    const int asleep = asleep_.load(std::memory_order_seq_cst);
    if (asleep == 0) return;
    // Taking the mutex waits for a thread that is between its last look at state_ and its sleep.
    { const std::lock_guard<std::mutex> lock(sleep_mutex_); }
    if (helpers >= asleep) {
      wake_.notify_all();
    } else {
      for (std::int64_t k = 0; k < helpers; ++k) wake_.notify_one();
    }
  }

  void wait_until_empty() {
    const auto empty = [&] { return (state_.load(std::memory_order_seq_cst) & kJoined) == 0; };
    if (spin_until(empty)) return;
    std::unique_lock<std::mutex> lock(sleep_mutex_);
    caller_asleep_.store(true, std::memory_order_seq_cst);
    empty_.wait(lock, empty);
    caller_asleep_.store(false, std::memory_order_relaxed);
  }

  bool join(std::uint64_t seen) {
    return (seen & kOpen) &&
           state_.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel,
                                          std::memory_order_relaxed);
  }

  void leave() {
    const std::uint64_t before = state_.fetch_sub(1, std::memory_order_seq_cst);
    const bool last = (before & kJoined) == 1 && !(before & kOpen);
    if (last && caller_asleep_.load(std::memory_order_seq_cst)) {
      { const std::lock_guard<std::mutex> lock(sleep_mutex_); }
      empty_.notify_one();
    }
  }

  void thread_main(int self) {
    std::uint64_t finished = 0;  // the last region this thread has worked in
    const auto called = [&] {
      const std::uint64_t s = state_.load(std::memory_order_seq_cst);
      return stopping_.load(std::memory_order_seq_cst) ||
             ((s & kOpen) && (s & ~(kJoined | kOpen)) != finished);
    };
    while (true) {
      if (!spin_until(called)) {
        std::unique_lock<std::mutex> lock(sleep_mutex_);
        asleep_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, called);
        asleep_.fetch_sub(1, std::memory_order_relaxed);
      }
      if (stopping_.load(std::memory_order_seq_cst)) return;
      const std::uint64_t seen = state_.load(std::memory_order_relaxed);
      if (!join(seen)) continue;  // closed meanwhile, or another thread joined first: look again
      finished = seen & ~(kJoined | kOpen);
      work(self);
      leave();
    }
  }

  void start() {
    if (!workers_.empty() || size() == 1) return;
    owner_ = ::getpid();
    shares_ = std::make_unique<Share[]>(static_cast<std::size_t>(size()));
    try {
      for (int i = 1; i < size(); ++i) workers_.emplace_back([this, i] { thread_main(i); });
    } catch (const std::system_error&) {
      // The system allows fewer threads. Results do not depend on their number: go on with these.
      size_.store(static_cast<int>(workers_.size()) + 1, std::memory_order_relaxed);
    }
  }

  void stop() {
    stopping_.store(true, std::memory_order_seq_cst);
    { const std::lock_guard<std::mutex> lock(sleep_mutex_); }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_.store(false, std::memory_order_seq_cst);
  }

  std::mutex region_;  // held by the thread whose region runs
  std::atomic<int> size_{available_cores()};
  std::vector<std::thread> workers_;
  ::pid_t owner_ = 0;
  std::atomic<bool> stopping_{false};

  void (*call_)(const void*, std::int64_t) = nullptr;
  const void* body_ = nullptr;
  struct alignas(64) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };
  std::unique_ptr<Share[]> shares_;  // one per thread

  std::mutex sleep_mutex_;
  std::condition_variable wake_, empty_;
  std::atomic<int> asleep_{0};
  std::atomic<bool> caller_asleep_{false};

  std::mutex error_mutex_;
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> failed_at_{kNone};
  std::exception_ptr error_;

  alignas(64) std::atomic<std::uint64_t> state_{0};
};

// Never destroyed: a static of another file may run a region in its destructor, and after fork the
// child must not touch the parent's threads. Only the threads are joined, when the program ends.
Pool& pool() {
  static Pool* const instance = new Pool;
  static const struct Closer {
    ~Closer() { instance->shut_down(); }
  } closer;
  return *instance;
}

}  // namespace

int threads() { return pool().size(); }

void set_threads(int n) {
  check(!inside_region, "threads", "set_threads called inside parallel_for");
  check(n >= 0 && n <= kMaxThreads, "threads", n, " is not between 0 (all cores) and ",
        kMaxThreads);
  pool().resize(n == 0 ? available_cores() : n);
}

void detail::parallel_run(std::int64_t n, void (*call)(const void* body, std::int64_t i),
                          const void* body) {
  if (n > 0) pool().run(n, call, body);
}

}  // namespace notch
