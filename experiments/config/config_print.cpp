// Configurations as text: TOML, the annotated reference, and what a field accepts.
#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/json.h"
#include "autograd/base/names.h"
#include "experiments/config/config.h"
#include "experiments/config/config_items.h"

namespace notch::experiments {

namespace {

constexpr std::size_t kCommentColumn = 34;

std::string number_text(double x) {
  std::string text = json_number(x);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}
/// Bounds of domains: whole numbers without ".0" or an exponent.
std::string bound_text(double x) {
  return x == static_cast<double>(static_cast<std::int64_t>(x)) ? str(static_cast<std::int64_t>(x))
                                                                : json_number(x);
}

std::string inline_table(const std::vector<Item>& fields) {
  std::string out;
  for (const Item& item : fields)
    out += (out.empty() ? "{" : ", ") + item.name + " = " + item.value;
  return out + "}";
}

class Lister {
 public:
  explicit Lister(std::string section) : section_(std::move(section)) {}

  void operator()(const bool& x, const Field& f) {
    add(ItemKind::boolean, f, x ? "true" : "false");
  }
  void operator()(const int& x, const Field& f) { add(ItemKind::integer, f, str(x)); }
  void operator()(const std::int64_t& x, const Field& f) { add(ItemKind::integer, f, str(x)); }
  void operator()(const double& x, const Field& f) { add(ItemKind::number, f, number_text(x)); }
  void operator()(const std::string& x, const Field& f) {
    add(ItemKind::string, f, toml::quote(x));
  }
  template <Named E>
  void operator()(const E& x, Field f) {
    f.domain = one_of(words_of<E>());
    add(ItemKind::string, f, toml::quote(word_of(x)));
  }

  template <class T>
  void operator()(const std::vector<T>& list, const Field& f) {
    constexpr bool kStrings = std::is_same_v<T, std::string>;
    constexpr bool kTables = std::is_class_v<T> && !kStrings;
    std::string text;
    std::vector<std::vector<Item>> elements;
    for (const T& x : list) {
      text += text.empty() ? "" : ", ";
      if constexpr (kTables) {
        elements.push_back(fields_of(x));
        text += inline_table(elements.back());
      } else if constexpr (kStrings) {
        text += toml::quote(x);
      } else {
        text += str(x);
      }
    }
    add(kTables    ? ItemKind::table_list
        : kStrings ? ItemKind::string_list
                   : ItemKind::list,
        f, "[" + text + "]");
    items_.back().elements = std::move(elements);
    if constexpr (kTables) items_.back().element_fields = fields_of(T{});
  }

  template <class S>
  void section(const S& section, const Field& f) {
    add(ItemKind::section, f, {});
    Lister inner{std::string(f.name)};
    S::visit(section, inner);
    items_.insert(items_.end(), inner.items_.begin(), inner.items_.end());
  }

  std::vector<Item> take() { return std::move(items_); }

 private:
  template <class T>
  static std::vector<Item> fields_of(const T& x) {
    Lister inner{{}};
    T::visit(x, inner);
    return inner.take();
  }

  void add(ItemKind kind, const Field& f, std::string value) {
    items_.push_back({.kind = kind,
                      .section = section_,
                      .name = std::string(f.name),
                      .help = f.help,
                      .domain = f.domain,
                      .value = std::move(value),
                      .of_rows = f.of_rows});
  }

  std::string section_;
  std::vector<Item> items_{};
};

std::string comment(const Item& item, std::string_view default_value) {
  std::string out(item.help);
  if (const std::string range = range_text(item.domain); !range.empty()) out += "; " + range;
  if (item.value != default_value) out += str("; default ", default_value);
  return out;
}

std::string with_comment(std::string line, const std::string& text) {
  line.resize(std::max(line.size() + 1, kCommentColumn), ' ');
  return line + "# " + text + "\n";
}

/// [[row]] blocks; in the annotated text also a commented-out one that explains the fields.
std::string table_blocks(const Item& list, bool annotated) {
  std::string out;
  if (annotated) {
    out += str("\n# ", list.help, "\n# [[", list.name, "]]\n");
    for (const Item& f : list.element_fields) {
      out += with_comment("# " + f.name + " = " + f.value, comment(f, f.value));
    }
  }
  for (const std::vector<Item>& element : list.elements) {
    out += "\n[[" + list.name + "]]\n";
    for (const Item& field : element) out += field.name + " = " + field.value + "\n";
  }
  return out;
}

std::string print(const ExperimentConfig& config, bool annotated) {
  const std::vector<Item> items = items_of(config);
  const std::vector<Item> defaults = items_of({});
  std::string out;
  std::string blocks;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    if (item.kind == ItemKind::section) {
      const std::string header = str('[', item.name, ']');
      out += str('\n', annotated ? with_comment(header, std::string(item.help)) : header + "\n");
    } else if (item.kind == ItemKind::table_list && item.section.empty()) {
      blocks += table_blocks(item, annotated);
    } else {
      const std::string line = item.name + " = " + item.value;
      out += annotated ? with_comment(line, comment(item, defaults[i].value)) : line + "\n";
    }
  }
  return out + blocks;
}

}  // namespace

std::vector<Item> items_of(const ExperimentConfig& config) {
  Lister lister{{}};
  ExperimentConfig::visit(config, lister);
  return lister.take();
}

std::string range_text(const Domain& d) {
  if (!d.words.empty()) return joined(d.words, " | ");
  const bool low = d.low > -std::numeric_limits<double>::infinity();
  const bool high = d.high < kMaxCount;
  if (low && high) {
    return bound_text(d.low) + (d.low_open ? " < x" : " <= x") + (d.high_open ? " < " : " <= ") +
           bound_text(d.high);
  }
  if (low) return (d.low_open ? "> " : ">= ") + bound_text(d.low);
  return {};
}

std::string accepts(ItemKind kind, const Domain& domain) {
  std::string range = range_text(domain);
  if (kind == ItemKind::integer && domain.high == kMaxCount)
    range = str(bound_text(domain.low), " <= x <= ", bound_text(domain.high));
  const auto with_range = [&](const std::string& what) {
    return range.empty() ? what : what + (range[0] == '>' ? " " : ", ") + range;
  };
  switch (kind) {
    case ItemKind::boolean:
      return "true or false";
    case ItemKind::integer:
      return with_range("an integer");
    case ItemKind::number:
      return with_range("a number");
    case ItemKind::string:
      return domain.words.empty() ? "a string" : joined(domain.words, ", ", " or ");
    case ItemKind::list:
    case ItemKind::string_list:
      return "a list, or one of its values";
    case ItemKind::table_list:
      return "a list of tables, or one table";
    case ItemKind::section:
      return "a section";
  }
  return {};
}

std::string suggest_key(std::string_view section, std::string_view name) {
  std::vector<std::string> here;
  std::vector<std::string> keys;
  std::string elsewhere;  // the same name in other sections
  for (const Item& item : items_of({})) {
    if (item.section == section) here.push_back(item.name);
    if (item.kind != ItemKind::section) keys.push_back(item.key());
    if (item.kind != ItemKind::section && item.section != section && item.name == name) {
      elsewhere += (elsewhere.empty() ? "" : ", ") + item.key();
    }
  }
  const std::string near = did_you_mean(name, here);
  std::string hint;
  if (!near.empty()) {
    hint = str("did you mean ", section, section.empty() ? "" : ".", near, "?");
  }
  if (!elsewhere.empty()) {
    hint = str(hint, hint.empty() ? "" : " ", "other sections have ", elsewhere);
  }
  if (hint.empty()) {
    const std::string any = did_you_mean(name, keys);
    if (!any.empty()) hint = str("did you mean ", any, "?");
  }
  return hint;
}

std::optional<Override> first_difference(const ExperimentConfig& before,
                                         const ExperimentConfig& after) {
  const std::vector<Item> was = items_of(before), is = items_of(after);
  const auto [a, b] = std::ranges::mismatch(was, is, {}, &Item::value, &Item::value);
  if (a == was.end()) return std::nullopt;
  return Override{.key = a->key(), .before = a->value, .after = b->value};
}

bool is_key(std::string_view name) {
  return std::ranges::any_of(items_of({}), [&](const Item& item) {
    return item.kind != ItemKind::section && item.key() == name;
  });
}

std::string to_toml(const ExperimentConfig& config) { return print(config, false); }
std::string annotated_toml(const ExperimentConfig& config) { return print(config, true); }

std::string describe(const Override& change) {
  return str("override  ", change.key, "  ", change.before, " -> ", change.after);
}

std::vector<std::string> notes(const LoadedConfig& loaded) {
  std::vector<std::string> lines;
  for (const Override& change : loaded.overrides) lines.push_back(describe(change));
  if (!loaded.unused.empty())
    lines.push_back("unused    no row or value of this run needs " + joined(loaded.unused));
  return lines;
}

}  // namespace notch::experiments
