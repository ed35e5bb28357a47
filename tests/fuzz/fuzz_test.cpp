// Every target on inputs that the mutator makes of its seeds: 2,000 of each, the same every time.
//
// $NOTCH_FUZZ_INPUTS is another number, and then an input may also take no more than a second of the
// processor, ten under sanitizers; $NOTCH_FUZZ_SEED other inputs (tests/soak.sh fuzz). What an input
// holds at most is bounded always, except under sanitizers: 64 MiB and twice its size. An input that crashes the program is left in the
// directory for temporary files as notch-fuzz-<target>-<process>.
#include <unistd.h>

#include <cstdlib>
#include <ctime>

#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "tests/catch.h"
#include "tests/count_allocations.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/targets.h"
#include "tests/nn/plain_file.h"

namespace notch::test::fuzz {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 16, kFreeBytes = std::size_t{64} << 20;
constexpr double kMostSeconds = kCountsAllocations ? 1 : 10;  // a sanitizer's ten are one without

std::uint64_t number_of(const char* variable, std::uint64_t fallback) {
  const char* text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : fallback;
}

/// What is wrong with the answer to an input, or "".
std::string trouble_with(const Target& target, const std::string& input, double most_seconds) {
  const long before = held_bytes;
  const std::clock_t began = std::clock();
  std::string trouble;
  const auto run = [&] {
    try {
      target.run(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
    } catch (const Finding& finding) {
      trouble = finding.what();
    } catch (const std::exception& e) {
      trouble = str("an exception that is no answer: ", e.what());
    }
  };
  allocations_of(run);
  if (!trouble.empty()) return trouble;
  const long held = most_held_bytes - before;
  if (held > static_cast<long>(kFreeBytes + 2 * input.size())) return str("held ", held, " bytes");
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  if (seconds > most_seconds) return str("took ", seconds, " s");
  return "";
}

}  // namespace

void fuzz(std::string_view name) {
  const Target* target = find_target(name);
  REQUIRE(target);
  const std::uint64_t inputs = number_of("NOTCH_FUZZ_INPUTS", 2000);
  const double most_seconds = std::getenv("NOTCH_FUZZ_INPUTS") ? kMostSeconds : 1e9;
  const fs::path current = fs::temp_directory_path() / str("notch-fuzz-", name, "-", ::getpid());
  const auto check = [&](const std::string& input, const auto& which) {
    put_file(current, input);
    const std::string trouble = trouble_with(*target, input, most_seconds);
    if (trouble.empty()) return;
    INFO(str(name, ", input ", which, ", kept in ", current.string(), ": ", trouble));
    FAIL(input.substr(0, 2000));
  };
  std::vector<std::string> pool = target->seeds();
  for (const std::string& input : pool) {
    const long before = times_taken();
    check(input, "of a seed");
    CHECK(times_taken() > before);
  }
  for (std::string& input : target->past()) {
    check(input, "of the past");
    if (input.size() <= kMaxBytes) pool.push_back(std::move(input));
  }
  // Beside the seeds are inputs that have been changed before and were taken.
  const std::size_t seeds = pool.size(), most = seeds + 40;
  Rng rng(number_of("NOTCH_FUZZ_SEED", 1));
  const long before = times_taken();
  for (std::uint64_t i = 0; i < inputs; ++i) {
    const long then = times_taken();
    const std::string& from = pool[rng.below(rng.below(2) ? pool.size() : seeds)];
    const std::string& other = pool[rng.below(pool.size())];
    std::string input = mutate(from, other, rng, kMaxBytes);
    check(input, i);
    if (times_taken() == then) continue;
    if (pool.size() < most) {
      pool.push_back(std::move(input));
    } else {
      pool[seeds + rng.below(most - seeds)] = std::move(input);
    }
  }
  CHECK(times_taken() - before > static_cast<long>(inputs / 100));
  fs::remove(current);
}

std::set<std::string_view>& fuzzed() {
  static std::set<std::string_view> names;
  return names;
}

}  // namespace notch::test::fuzz

namespace notch::test::fuzz::fuzz_test {

NOTCH_FUZZ(json)
NOTCH_FUZZ(toml)
NOTCH_FUZZ(vocabulary)
NOTCH_FUZZ(tokenizer_json)
NOTCH_FUZZ(corpus)
NOTCH_FUZZ(token_cache)
NOTCH_FUZZ(safetensors)
NOTCH_FUZZ(gguf_file)
NOTCH_FUZZ(coded_stream)
NOTCH_FUZZ(checkpoint)

TEST_CASE("every target is fuzzed and has seeds") {
  std::set<std::string_view> names;
  for (const Target& target : targets()) {
    names.insert(target.name);
    CHECK_FALSE(target.seeds().empty());
  }
  CHECK(names == fuzzed());
}

TEST_CASE("the mutator is a function of its numbers") {
  const std::string input = pack(
      {{"a.json", R"({"a": [1, 2, {"b": "c"}], "d": 1.5})"}, {"b.txt", "x = 1\ny = [2, 3]\n"}});
  Rng first(5), second(5);
  int files = 0, json = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string changed = mutate(input, input, first, 4096);
    REQUIRE(changed == mutate(input, input, second, 4096));
    REQUIRE(changed.size() <= 4096);
    const Files parts = unpack(changed);
    files += parts.size() == 2;
    for (const auto& [name, bytes] : parts) {
      try {
        if (name == "a.json") Json::parse(bytes, name), ++json;
      } catch (const Error&) {
      }
    }
  }
  CHECK(files > 150);
  CHECK(json > 150);
}

}  // namespace notch::test::fuzz::fuzz_test
