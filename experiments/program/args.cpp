#include "experiments/program/args.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <system_error>

#include "autograd/base/error.h"
#include "autograd/base/shell_word.h"
#include "experiments/config/config_items.h"
#include "experiments/program/shared_flags.h"

namespace notch::experiments {

namespace {

constexpr std::size_t kHelpColumn = 26;

[[noreturn]] void fail(std::string where, std::string field, std::string what, std::string hint) {
  throw Error({.where = std::move(where),
               .what = std::move(what),
               .field = std::move(field),
               .hint = std::move(hint)});
}

std::string command(std::string_view verb) { return str("notch ", verb); }

std::vector<Flag> all_flags(const Verb& verb) {
  std::vector<Flag> flags = verb.flags;
  flags.insert(flags.end(), common_flags().begin(), common_flags().end());
  return flags;
}

bool takes_value(const Flag& flag) { return !flag.value.empty(); }
/// Only what is any text can be none; an empty path, list or word is an unset variable of a shell.
bool may_be_empty(const Flag& flag) { return !takes_value(flag) || flag.value == "TEXT"; }
bool value_is_optional(const Flag& flag) { return flag.value.substr(0, 1) == "["; }

/// dotted.key=value: a key of letters, digits, '_', '.' and '-' before the first '='.
bool is_override(std::string_view argument) {
  const std::size_t equals = argument.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  return std::all_of(
      argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(equals), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '.' || c == '-' || c == ' ';
      });
}

class Parser {
 public:
  Parser(const Verb& verb, const std::vector<std::string>& arguments)
      : verb_(verb), flags_(all_flags(verb)), arguments_(arguments), where_(command(verb.name)) {
    args_.verb = verb.name;
  }

  Args parse(std::size_t first) {
    for (at_ = first; at_ < arguments_.size(); ++at_) {
      const std::string& argument = arguments_[at_];
      if (argument == "--") {
        args_.positionals.insert(args_.positionals.end(),
                                 arguments_.begin() + static_cast<std::ptrdiff_t>(at_) + 1,
                                 arguments_.end());
        break;
      }
      if (argument.size() > 1 && argument[0] == '-') {
        flag(argument);
        if (args_.help()) return std::move(args_);
      } else if (verb_.overrides && is_override(argument)) {
        setting(argument);
      } else {
        args_.positionals.push_back(argument);
      }
    }
    check_positionals();
    return std::move(args_);
  }

 private:
  void setting(const std::string& argument) {
    const auto key_of = [](const std::string& a) {
      const std::size_t last = a.find_last_not_of(' ', a.find('=') - 1);
      return a.substr(0, last == a.npos ? 0 : last + 1);
    };
    const std::string key = key_of(argument);
    if (!is_key(key)) hint_at_file(argument, key, "unknown key");
    for (const std::string& given : args_.overrides) {
      if (key_of(given) == key) fail(where_, key, "given twice", "give it once");
    }
    args_.overrides.push_back(argument);
  }
  /// Throws where a file of that name is what was meant.
  void hint_at_file(const std::string& argument, std::string field, std::string what) const {
    std::error_code error;
    if (!std::filesystem::exists(argument, error)) return;
    fail(where_, std::move(field), std::move(what),
         str("the file of this name is ", shell_word("./" + argument)));
  }
  void flag(const std::string& argument) {
    const bool is_long = argument[1] == '-';
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(is_long ? 2 : 1, equals - (is_long ? 2 : 1));
    const auto found = std::find_if(flags_.begin(), flags_.end(), [&](const Flag& f) {
      return is_long ? f.name == name : name.size() == 1 && f.letter == name[0];
    });
    if (found == flags_.end()) {
      hint_at_file(argument, argument.substr(0, equals), "unknown flag");
      fail_unknown(argument.substr(0, equals), name);
    }
    const std::string shown = "--" + std::string(found->name);
    if (args_.has(found->name)) fail(where_, shown, "given twice", "give it once");
    std::string value;
    if (equals != std::string::npos) {
      if (!takes_value(*found)) fail(where_, shown, "takes no value", "write " + shown);
      value = argument.substr(equals + 1);
    } else if (takes_value(*found) && !value_is_optional(*found)) {
      // A value may begin with dashes ("-- He said"); one of this verb's own flags is no value.
      if (at_ + 1 >= arguments_.size() || is_long_flag(arguments_[at_ + 1])) {
        fail(where_, shown, "needs a value",
             str("write ", shown, " ", found->value, ", or ", shown, "=", found->value,
                 " for a value that reads like a flag"));
      }
      value = arguments_[++at_];
    }
    const bool left_out = value_is_optional(*found) && equals == std::string::npos;
    if (value.empty() && !may_be_empty(*found) && !left_out) {
      fail(where_, shown, "is empty", str("write ", shown, ' ', found->value, ", or leave it out"));
    }
    check_word(*found, shown, value);
    args_.set(found->name, std::move(value));
  }

  bool is_long_flag(const std::string& argument) const {
    if (!argument.starts_with("--")) return false;
    const std::string name = argument.substr(2, argument.find('=') - 2);
    return std::any_of(flags_.begin(), flags_.end(),
                       [&](const Flag& flag) { return flag.name == name; });
  }

  void check_word(const Flag& flag, const std::string& shown, const std::string& value) const {
    const std::vector<std::string> words(flag.words.begin(), flag.words.end());
    if (words.empty() || std::find(words.begin(), words.end(), value) != words.end()) return;
    const std::string near = did_you_mean(value, words);
    std::string hint = near.empty() ? std::string{} : "did you mean " + near + "?";
    // -o FOLDER is what many programs take.
    if (hint.empty() && flag.name == output_flag().name && is_long_flag("--out"))
      hint = "the place for results is --out " + value;
    throw Error({.where = where_,
                 .what = "unknown word",
                 .field = shown,
                 .found = value,
                 .expected = joined(words),
                 .hint = hint});
  }

  [[noreturn]] void fail_unknown(const std::string& shown, const std::string& name) const {
    std::vector<std::string> names;
    for (const Flag& f : flags_) names.emplace_back(f.name);
    if (verb_.overrides && name.find('.') != std::string::npos) {
      fail(where_, shown, "unknown flag", str("values are written without dashes: ", name, "=…"));
    }
    const std::string near = name.size() > 1 ? did_you_mean(name, names) : std::string{};
    fail(where_, shown, "unknown flag",
         near.empty() ? str("`", where_, " -h` lists the flags") : "did you mean --" + near + "?");
  }

  void check_positionals() const {
    const std::vector<Positional>& wanted = verb_.positionals;
    const std::size_t given = args_.positionals.size();
    if (given < wanted.size() && wanted[given].required) {
      fail(where_, std::string(wanted[given].name), "missing",
           verb_.examples.empty() ? str("`", where_, " -h` shows the usage")
                                  : str("for example: ", verb_.examples[0]));
    }
    for (std::size_t i = 0; i < given && !wanted.empty(); ++i) {
      if (!args_.positionals[i].empty()) continue;
      fail(where_, std::string(wanted[std::min(i, wanted.size() - 1)].name), "is empty",
           str("`", where_, " -h` shows the usage"));
    }
    const bool open_ended = !wanted.empty() && wanted.back().repeated;
    if (given > wanted.size() && !open_ended) {
      fail(where_, args_.positionals[wanted.size()], "one argument too many",
           str("`", where_, " -h` shows the usage"));
    }
  }

  const Verb& verb_;
  std::vector<Flag> flags_;
  const std::vector<std::string>& arguments_;
  std::string where_;
  Args args_{};
  std::size_t at_ = 0;
};

std::string help_line(std::string left, std::string_view right) {
  left = "  " + left;
  left.resize(std::max(left.size() + 2, kHelpColumn), ' ');
  return left + std::string(right) + "\n";
}

std::string usage(const Verb& verb) {
  std::string out = command(verb.name);
  for (const Positional& p : verb.positionals) {
    const std::string name = str(p.name, p.repeated ? " ..." : "");
    out += p.required ? " " + name : " [" + name + "]";
  }
  if (verb.overrides) out += " [dotted.key=value ...]";
  return out + " [flags]";
}

std::string flag_line(const Flag& flag) {
  std::string left = flag.letter ? str("-", std::string(1, flag.letter), ", --", flag.name)
                                 : str("    --", flag.name);
  if (value_is_optional(flag)) {
    left += str("[=", flag.value.substr(1));
  } else if (takes_value(flag)) {
    left += str(" ", flag.value);
  }
  std::string right(flag.help);
  if (!flag.fallback.empty()) right += str(" (default: ", flag.fallback, ")");
  return help_line(std::move(left), right);
}

}  // namespace

const std::vector<Flag>& common_flags() {
  static const std::vector<Flag> flags = {
      {.name = "quiet", .letter = 'q', .help = "no progress"},
      {.name = "help", .letter = 'h', .help = "this text"},
  };
  return flags;
}

bool Args::has(std::string_view flag) const {
  return std::any_of(flags_.begin(), flags_.end(), [&](const auto& f) { return f.first == flag; });
}

std::optional<std::string> Args::value(std::string_view flag) const {
  for (const auto& [name, value] : flags_) {
    if (name == flag) return value;
  }
  return std::nullopt;
}

void Args::set(std::string_view flag, std::string value) {
  flags_.emplace_back(flag, std::move(value));
}

std::int64_t Args::integer(std::string_view flag, std::int64_t fallback, std::int64_t low,
                           std::int64_t high) const {
  const std::optional<std::string> given = value(flag);
  if (!given) return fallback;
  std::int64_t x = 0;
  const char* const past = given->data() + given->size();
  const auto [end, code] = std::from_chars(given->data(), past, x);
  if (code == std::errc{} && end == past && x >= low && x <= high) return x;
  throw Error({.where = command(verb),
               .what = "not usable",
               .field = str("--", flag),
               .found = *given,
               .expected = str("an integer from ", low, " to ", high)});
}

double Args::number(std::string_view flag, double fallback, const Domain& domain) const {
  const std::optional<std::string> given = value(flag);
  if (!given) return fallback;
  double x = 0;
  const char* const past = given->data() + given->size();
  const auto [end, code] = std::from_chars(given->data(), past, x);
  if (code == std::errc{} && end == past && in_range(x, domain)) return x;
  throw Error({.where = command(verb),
               .what = "not usable",
               .field = str("--", flag),
               .found = *given,
               .expected = accepts(ItemKind::number, domain)});
}

double Args::bytes(std::string_view flag, double fallback) const {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},     {"B", 1},         {"kB", 1e3},      {"KB", 1e3},     {"MB", 1e6},
      {"GB", 1e9}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  const std::optional<std::string> given = value(flag);
  if (!given) return fallback;
  double amount = 0;
  const char* const past = given->data() + given->size();
  const auto [end, error] = std::from_chars(given->data(), past, amount);
  std::string_view unit(end, static_cast<std::size_t>(past - end));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto at = std::ranges::find(kUnits, unit, &std::pair<std::string_view, double>::first);
  const double bytes = at == std::end(kUnits) ? 0 : amount * at->second;
  if (error == std::errc{} && bytes >= 1 && std::isfinite(bytes)) return bytes;
  throw Error({.where = command(verb),
               .what = "no amount of bytes",
               .field = str("--", flag),
               .found = *given,
               .expected = "a number and B, kB, MB, GB, KiB, MiB or GiB: 2GiB"});
}

Args parse_args(const std::vector<Verb>& verbs, const std::vector<std::string>& arguments) {
  if (arguments.empty()) return {};
  const std::string& name = arguments[0];
  if (name == "help" && arguments.size() > 1) {
    check(arguments.size() == 2, "notch help", "explains one verb: notch help VERB");
    return parse_args(verbs, {arguments[1], "-h"});
  }
  if (name == "-h" || name == "--help" || name == "help") {
    Args args;
    args.set("help", {});
    return args;
  }
  const auto verb =
      std::find_if(verbs.begin(), verbs.end(), [&](const Verb& v) { return v.name == name; });
  if (verb != verbs.end()) return Parser(*verb, arguments).parse(1);
  std::vector<std::string> names;
  for (const Verb& v : verbs) names.emplace_back(v.name);
  const std::string near = did_you_mean(name, names);
  fail("notch", name, name.starts_with("-") ? "the verb comes first" : "unknown verb",
       near.empty() ? "`notch -h` lists the verbs" : "did you mean notch " + near + "?");
}

std::string help_text(const std::vector<Verb>& verbs) {
  std::string out;
  if (!verbs.empty() && !verbs[0].examples.empty()) out += str(verbs[0].examples[0], "\n\n");
  out += "usage: notch <verb> [arguments]\n\n";
  for (const Verb& verb : verbs) out += help_line(std::string(verb.name), verb.summary);
  return out +
         "\nA file or directory to be written must not be there yet, or be an empty directory; run "
         "and\n"
         "train replace an earlier run's results with --force.\n"
         "\nnotch <verb> -h, or notch help <verb>, explains a verb, beginning with an example;\n"
         "notch -v prints the version.\n"
         "\nExit codes: 0 done, 2 usage or configuration, 3 bad input, 4 operating system, 5 not "
         "finite,\n6 verification failed, 130 and 143 interrupted.\n";
}

std::string help_text(const Verb& verb) {
  std::string out;
  for (const std::string_view example : verb.examples) out += str(example, "\n");
  if (!verb.examples.empty()) out += "\n";
  out += str(verb.summary, "\n\nusage: ", usage(verb), "\n\n");
  for (const Positional& p : verb.positionals) out += help_line(std::string(p.name), p.help);
  if (verb.overrides)
    out += help_line("dotted.key=value", "replaces a value of the configuration: train.lr=3e-4");
  if (!verb.positionals.empty() || verb.overrides) out += "\n";
  for (const Flag& flag : all_flags(verb)) out += flag_line(flag);
  return out;
}

}  // namespace notch::experiments
