// Without memory, at whichever request: std::bad_alloc or an Error, nothing leaks, nothing is half done.
#include "tests/allocation_counters.h"
#include "tests/catch.h"
#include "tests/fuzz/targets.h"

namespace notch::test::fuzz::allocation_faults_test {

#ifndef NOTCH_SANITIZED  // whose operator new cannot be made to fail

/// Of one file, or none: what empties a directory is libstdc++'s, and ends the program without memory.
/// Of many requests one in so many is tried.
constexpr std::pair<std::string_view, long> kSwept[] = {
    {"json", 1}, {"toml", 1}, {"safetensors", 1}, {"coded_stream", 1}, {"gguf", 13}};

/// Makes the first request fail, then one `stride` further on, until one run asks for fewer.
void sweep(const Target& target, const std::string& input, long stride) {
  const auto run = [&] {
    target.run(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  };
  run();  // what is made once and kept
  const long requests = allocations_of(run);
  CHECK(requests > 0);
  for (const bool from_then_on : {false, true}) {
    for (long n = 1; n <= requests; n += stride) {
      CAPTURE(target.name, n, from_then_on);
      const long before = held_bytes;
      failing_allocation = n;
      failing_until = from_then_on ? 1'000'000'000 : n;
      std::string trouble;
      allocations_of([&] {
        try {
          run();
        } catch (const std::bad_alloc&) {
        } catch (const Error& e) {  // of a file that could not be held
          if (e.fault() != Fault::io) trouble = "another error";
        } catch (const Finding&) {  // a text of what was wrong could not be made
          trouble = "a wrong answer";
        }
      });
      failing_allocation = failing_until = 0;
      REQUIRE(trouble.empty());
      REQUIRE(held_bytes - before <= 0);
    }
  }
}

TEST_CASE("a reader without memory at any request ends in order") {
  for (const auto& [name, stride] : kSwept) {
    const Target* target = find_target(name);
    REQUIRE(target);
    for (const std::string& input : target->seeds()) sweep(*target, input, stride);
  }
}

#endif

}  // namespace notch::test::fuzz::allocation_faults_test
