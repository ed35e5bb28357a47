// Whether every flipped bit of a model directory is noticed.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "autograd/base/rng.h"
#include "nn/integrity.h"
#include "tests/catch.h"
#include "tests/nn/plain_file.h"

namespace notch::test {

/// Of every file a bit of each byte, and each bit of the first 400 bytes, where a header says what
/// the digest is; with $NOTCH_EVERY (tests/soak.sh flips) each bit of all.
inline void check_flips_noticed(const fs::path& dir) {
  const auto notices = [&] {
    try {
      nn::require_intact(dir);
    } catch (const Error& e) {
      return e.fault() == Fault::input || e.fault() == Fault::io;
    }
    return false;
  };
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(dir)) files.push_back(entry.path());
  const bool every = std::getenv("NOTCH_EVERY") != nullptr;
  Rng rng(11);
  std::int64_t flips = 0;
  for (const fs::path& file : files) {
    const std::string good = read_file(file);
    for (std::size_t at = 0; at < good.size(); ++at) {
      const unsigned some = 1u << (rng.next() % 8);
      for (unsigned bit = 1; bit < 256; bit *= 2) {
        if (at >= 400 && bit != some && !every) continue;
        std::string bad = good;
        bad[at] = static_cast<char>(static_cast<unsigned char>(bad[at]) ^ bit);
        put_file(file, bad);
        CAPTURE(file, at, bit);
        REQUIRE(notices());
        ++flips;
      }
    }
    put_file(file, good);
  }
  CHECK(flips > 3000);
  CHECK_FALSE(notices());
}

}  // namespace notch::test
