// Error: everything that can be the user's to fix. `main` prints it and exits with its fault's code.
//
// One form: `where: what is wrong, with both values; what to do`. The parts stay apart in the object,
// so that tests compare fields and never wording.
//
// autograd/base/ is what every program needs: errors, files, text forms, random numbers, threads.
// May include: nothing of Notch.
#pragma once

#include <filesystem>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace notch {

/// What went wrong; the value is the exit code of the program.
enum class Fault {
  usage = 2,     // command line, config, a shape the caller got wrong
  input = 3,     // a file or text that cannot be used
  io = 4,        // the operating system refused: disk full, permission, missing
  numeric = 5,   // a loss, gradient or statistic is not finite
  mismatch = 6,  // a verification found something else than it was promised
};

/// The parts of an error. `where` is a file with line or offset, a config key, an op or a layer;
/// `field` names the offending item inside it.
struct ErrorParts {
  Fault fault = Fault::usage;
  std::string where{};
  std::string what{};
  std::string field{};
  std::string found{};
  std::string expected{};
  std::string hint{};
  std::string excerpt{};  ///< the source line with a caret, printed between what and hint
};

class Error : public std::runtime_error {
 public:
  explicit Error(ErrorParts parts);
  const ErrorParts& parts() const { return parts_; }
  Fault fault() const { return parts_.fault; }

 private:
  ErrorParts parts_;
};

/// Concatenates its arguments as a stream of the "C" locale would: texts go into files. (GCC 12 has no
/// <format>.)
template <class... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  (out << ... << parts);
  return out.str();
}

/// "a, b or c" of `words` with ", " and " or "; each is written as str() does.
template <class Words>
std::string joined(const Words& words, std::string_view between, std::string_view before_last) {
  std::string out;
  std::size_t left = std::size(words);
  for (const auto& word : words) {
    out += str(word);
    if (--left > 0) out += left == 1 ? before_last : between;
  }
  return out;
}
template <class Words>
std::string joined(const Words& words, std::string_view between = ", ") {
  return joined(words, between, between);
}

/// Throws a usage Error `where: parts...` unless `ok`. The text is only built on failure.
template <class... Parts>
void check(bool ok, std::string_view where, const Parts&... parts) {
  if (!ok) throw Error({.fault = Fault::usage, .where = std::string(where), .what = str(parts...)});
}

/// Throws the Error of a file that cannot be used (Fault::input), about `field` inside it.
[[noreturn]] void refuse_file(const std::filesystem::path& file, std::string_view field,
                              std::string what, std::string found = "", std::string expected = "",
                              std::string hint = "");

/// The candidate closest to `word` by edit distance, whatever the case, or else one that has all its
/// words or only words of it ("group" for "group_size", "lr_min" for "min_lr"); "" when none is near
/// (distance > 1/2 length).
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace notch
