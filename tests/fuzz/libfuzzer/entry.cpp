// libFuzzer's entry: the target that $NOTCH_FUZZ_TARGET names, with our mutator for every second
// change. tests/fuzz.sh builds and runs it.
#include <cstdlib>
#include <iostream>

#include "tests/fuzz/mutate.h"
#include "tests/fuzz/targets.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace {

const notch::test::fuzz::Target& chosen() {
  static const notch::test::fuzz::Target* const target = [] {
    const char* name = std::getenv("NOTCH_FUZZ_TARGET");
    const auto* found = notch::test::fuzz::find_target(name ? name : "");
    if (!found) {
      std::cerr << "NOTCH_FUZZ_TARGET is none of:";
      for (const auto& t : notch::test::fuzz::targets()) std::cerr << ' ' << t.name;
      std::cerr << '\n';
      std::exit(2);
    }
    return found;
  }();
  return *target;
}

const std::vector<std::string>& seeds() {
  static const std::vector<std::string> made = chosen().seeds();
  return made;
}

}  // namespace

/// Seeds are made before libFuzzer counts memory: making some of them takes OpenBLAS's buffers.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  seeds();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return chosen().run(data, size);
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned seed) {
  using namespace notch::test::fuzz;
  notch::Rng rng(seed);
  if (rng.below(2) == 0) return LLVMFuzzerMutate(data, size, max);
  const std::string& other = seeds()[rng.below(seeds().size())];
  const std::string_view from = size < 4 ? std::string_view(other) : text_of(data, size);
  const std::string out = mutate(from, other, rng, max);
  std::copy(out.begin(), out.end(), data);
  return out.size();
}
