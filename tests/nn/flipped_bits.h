// Whether every flipped bit of a file is noticed.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "autograd/base/files.h"
#include "nn/integrity.h"
#include "tests/catch.h"

namespace notch::test {

/// Whether `check` throws what damage is told by.
template <class Check>
bool notices(const Check& check) {
  try {
    check();
  } catch (const Error& e) {
    return e.fault() == Fault::input;
  }
  return false;
}

/// Flips each bit of `file` in turn, in place, and gives it back as it was.
template <class Check>
void check_flips_noticed(const fs::path& file, const Check& check) {
  const std::string good = read_file(file);
  REQUIRE_FALSE(good.empty());
  std::fstream flipped(file, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](std::size_t at, unsigned bits) {
    flipped.seekp(static_cast<std::streamoff>(at));
    flipped.put(static_cast<char>(static_cast<unsigned char>(good[at]) ^ bits));
    flipped.flush();
  };
  std::string unnoticed;  // one assertion per file: Catch keeps a record of each
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (unsigned bit = 1; bit < 256; bit *= 2) {
      put(at, bit);
      if (!notices(check)) unnoticed += str(" byte ", at, " bit ", bit);
    }
    put(at, 0);
  }
  REQUIRE(flipped.good());
  CAPTURE(file);
  CHECK(unnoticed.empty());
  CHECK(read_file(file) == good);
  CHECK_FALSE(notices(check));
}

/// Of every file of a model directory, as opening the model does.
inline void check_flips_noticed(const fs::path& dir) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(dir)) files.push_back(entry.path());
  REQUIRE(files.size() >= 3);  // weights, configuration, manifest
  for (const fs::path& file : files) check_flips_noticed(file, [&] { nn::require_intact(dir); });
}

}  // namespace notch::test
