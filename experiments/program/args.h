// The command line: `notch <verb> [positional ...] [--flag[=value] | --flag value]
// [dotted.key=value ...]`.
//
// A verb is declared as data; parsing, `-h` and suggestions follow from the declaration. Flags and
// other arguments may come in any order; after `--` everything is positional.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/base/field.h"

namespace notch::experiments {

/// What a verb does with the path that a flag's value is.
enum class PathUse : std::uint8_t {
  none,      ///< it is no path
  read,      ///< a file or a model directory
  written,   ///< a file, that may not be there yet
  added_to,  ///< a file, that may
  filled,    ///< a directory
};

struct Flag {
  std::string_view name{};  ///< without the dashes
  char letter = 0;          ///< for -x; 0 = none
  std::string_view
      value{};  ///< what the value is, "N" or "FILE"; "" = a switch; "[DIR]" = optional after '='
  std::string_view help{};
  std::string_view fallback{};            ///< shown as default
  std::vector<std::string_view> words{};  ///< allowed values; empty = any
  PathUse path = PathUse::none;
};

struct Positional {
  std::string_view name{};  ///< "EXP.toml"
  std::string_view help{};
  bool required = true;
  bool repeated = false;  ///< only the last one
};

struct Verb {
  std::string_view name{};
  std::string_view summary{};
  std::vector<std::string_view> examples{};  ///< shown first by -h
  std::vector<Positional> positionals{};
  std::vector<Flag> flags{};  ///< besides those that every verb has
  bool overrides = false;     ///< takes dotted.key=value
};

/// Flags of every verb: -h, -q.
const std::vector<Flag>& common_flags();

class Args {
 public:
  std::string verb{};
  std::vector<std::string> positionals{};
  std::vector<std::string> overrides{};

  bool has(std::string_view flag) const;
  /// The value of a flag that was given, or nothing.
  std::optional<std::string> value(std::string_view flag) const;
  /// The value as a number in [low, high], or `fallback`; Fault::usage for anything else.
  std::int64_t integer(std::string_view flag, std::int64_t fallback, std::int64_t low,
                       std::int64_t high) const;
  double number(std::string_view flag, double fallback, const Domain& domain) const;
  /// The value as an amount, "2GiB", "500 MB", "65536", at least one byte, or `fallback`.
  double bytes(std::string_view flag, double fallback) const;
  bool help() const { return has("help"); }

  void set(std::string_view flag, std::string value);

 private:
  std::vector<std::pair<std::string, std::string>> flags_{};
};

/// Parses what follows the program's name. `arguments` empty, or only -h or help: an Args without a
/// verb; `help VERB` is `VERB -h`.
/// With -h after a verb, the rest is not checked. Throws Fault::usage, with a suggestion for an
/// unknown verb or flag.
Args parse_args(const std::vector<Verb>& verbs, const std::vector<std::string>& arguments);

/// The text of `notch -h` and of `notch <verb> -h`.
std::string help_text(const std::vector<Verb>& verbs);
std::string help_text(const Verb& verb);

}  // namespace notch::experiments
