// Fuzz targets: every parser of a file or of the command line, with libFuzzer's signature.
//
// A target takes any bytes and returns 0: what is no input of its parser has been refused by an Error
// that says so, and of what it has read the properties hold that its own writer promises. Anything
// else leaves it: another exception, a Finding, or a crash. Parsers that need no engine stand in
// tests/fuzz/, where every build runs them under sanitizers too (test_parsers), the others in
// tests/fuzz/models/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/error.h"
#include "tests/fuzz/files.h"

namespace notch::data {
class Tokenizer;
}
namespace notch::nn {
class Model;
}

namespace notch::test::fuzz {

/// A property that does not hold.
struct Finding : std::logic_error {
  using std::logic_error::logic_error;
};

template <class... Parts>
void require(bool holds, const Parts&... what) {
  if (!holds) throw Finding(str(what...));
}

struct Target {
  std::string_view name{};
  int (*run)(const std::uint8_t* data, std::size_t size) = nullptr;
  std::vector<std::string> (*seeds)() = nullptr;  ///< inputs that a parser takes, to be changed
  /// What has once been answered wrongly, made anew: run as it is, and changed where it is small.
  std::vector<std::string> (*past)() = nullptr;
};

const std::vector<Target>& targets();
const Target* find_target(std::string_view name);

/// Of a file targets_*.cpp, before main: a program has the targets of those that it links. Returns true.
bool add_targets(std::vector<Target> some);

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}
inline std::vector<std::string> none() { return {}; }

/// Whether `parse` took the input; false where it threw an Error that tells what is wrong and where.
bool taken(const std::function<void()>& parse);
/// How often it did, so far: a fuzzer whose inputs are all refused at the first check finds nothing.
long times_taken();

/// A tokenizer gives back the text that it takes, and any text's first token, if it has one, is its own.
void check_tokenizer(const data::Tokenizer& tokenizer, std::string_view text);

/// Logits of one token: of a model of any values.
void answer_a_token(const nn::Model& model);

/// A directory of this process for the files of an input, in memory where the system has such a one.
const std::filesystem::path& scratch();

}  // namespace notch::test::fuzz
