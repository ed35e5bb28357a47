#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_roofline(Judge& judge, double (*cache)(const Served& model, double tokens),
                    Pass (*pass)(const Machine& machine, const Served& model, double at_once,
                                 double before)) {
  // By hand. The machine's ridge is 100 FLOP per byte. 2^30 numbers of the first cache are 2 GiB.
  const Served llama{7e9, 2, 32, 4096, 2};
  judge.equal("cache of 1 token, 32 layers of 4096 channels, 2 bytes", cache(llama, 1), 524288, 0,
              "a key and a value: 2 · 4096 · 32 numbers of 2 bytes");
  judge.equal("the same, 4096 tokens", cache(llama, 4096), 2147483648.0, 0, "it grows with tokens");
  Served small{1e9, 2, 10, 1000, 2};
  const Served eight{1e9, 2, 10, 1000, 1};
  judge.equal("cache of 50 tokens, 10 layers of 1000 channels, 1 byte", cache(eight, 50), 1e6, 0,
              "cache_bytes is the size of a number; weight_bytes is that of a weight");

  const Machine machine{1e14, 1e12};
  const auto expect = [&](const std::string& what, const Pass& received, double milliseconds,
                          bool memory, std::string_view hint) {
    judge.equal(what + ": milliseconds", 1000 * received.seconds, milliseconds, 1e-9, hint);
    judge.equal(what + ": waits for memory (1: yes)", received.waits_for_memory ? 1 : 0,
                memory ? 1 : 0, 0, "it waits for memory when reading takes longer than computing");
  };
  // 1e9 weights of 2 bytes are read in 2 ms; a token computes for 0.02 ms.
  expect(
      "1e9 weights of 2 bytes, 1 token", pass(machine, small, 1, 0), 2, true,
      "2e9 bytes / 1e12 per second; reading and computing go on side by side, so do not add them");
  expect("64 tokens at once", pass(machine, small, 64, 0), 2, true,
         "one reading of the weights serves all 64 tokens");
  expect("512 tokens at once", pass(machine, small, 512, 0), 10.24, false,
         "two FLOP per weight and token: 1.024e12 / 1e14 per second");
  expect("1 token behind 50000", pass(machine, small, 1, 50000), 4, true,
         "40000 bytes of cache per token before: another 2e9 to read");
  small.weight_bytes = 0.5;
  expect("4-bit weights, 1 token", pass(machine, small, 1, 0), 0.5, true,
         "a quarter of the bytes, a quarter of the time");
  expect("4-bit weights, 64 tokens at once", pass(machine, small, 64, 0), 1.28, false,
         "no operation is saved: now computing takes longer");
  expect("4-bit weights, 1 token behind 50000", pass(machine, small, 1, 50000), 2.5, true,
         "the cache keeps its bytes: 0.5e9 of weights, 2e9 of cache");
}

}  // namespace notch::lessons
