// From TOML to the typed configuration: types, ranges and unknown keys, each with its place.
#include <algorithm>
#include <cmath>
#include <span>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "experiments/config/config.h"
#include "experiments/config/config_items.h"
#include "experiments/config/pipeline.h"

namespace notch::experiments {

namespace {

/// Reads the entries of one table into the fields that visit() names.
class Reader {
 public:
  Reader(const toml::Table& table, std::string prefix, std::string section,
         const std::shared_ptr<const toml::Source>& source, Origins& origins)
      : table_(table),
        prefix_(std::move(prefix)),
        section_(std::move(section)),
        source_(source),
        origins_(origins) {}

  template <class T>
  void operator()(T& field, const Field& f) {
    const toml::Entry* entry = known(f);
    if (!entry) return;
    const std::string key = prefix_ + std::string(f.name);
    origins_.set(key, source_, entry->mark);
    read(field, entry->value, f.domain, key);
  }

  template <class S>
  void section(S& section, const Field& f) {
    const toml::Entry* entry = known(f);
    if (!entry) return;
    const std::string key(f.name);
    const toml::Table* table = entry->value.table();
    if (!table) fail_type(entry->value, ItemKind::section, {}, key);
    origins_.set(key, source_, entry->mark);
    Reader inner(*table, key + ".", key, source_, origins_);
    S::visit(section, inner);
    inner.reject_unknown(suggest_key);
  }

  template <class Suggest>
  void reject_unknown(const Suggest& suggest) const {
    for (const toml::Entry& entry : table_) {
      if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
      std::string hint = suggest(section_, entry.key);
      if (hint.empty()) hint = "`notch config` lists all keys";
      toml::fail(*source_, entry.mark,
                 {.what = "unknown key", .field = prefix_ + entry.key, .hint = std::move(hint)});
    }
  }

 private:
  const toml::Entry* known(const Field& f) {
    known_.push_back(f.name);
    const auto at = std::find_if(table_.begin(), table_.end(),
                                 [&](const toml::Entry& entry) { return entry.key == f.name; });
    return at == table_.end() ? nullptr : &*at;
  }

  [[noreturn]] void fail_type(const toml::Value& value, ItemKind kind, const Domain& domain,
                              const std::string& key, std::string hint = {}) const {
    toml::fail(*source_, value.mark,
               {.what = "wrong type",
                .field = key,
                .found = value.describe(),
                .expected = accepts(kind, domain),
                .hint = std::move(hint)});
  }
  [[noreturn]] void fail_range(const toml::Value& value, ItemKind kind, const Domain& domain,
                               const std::string& key, std::string hint = {}) const {
    toml::fail(
        *source_, value.mark,
        {.what = kind == ItemKind::string ? "unknown word" : "out of range",
         .field = key,
         .found = value.describe(),
         .expected = accepts(kind, domain),
         .hint = hint.empty() ? "`notch config` lists every key with its range" : std::move(hint)});
  }

  void read(bool& out, const toml::Value& value, const Domain& domain,
            const std::string& key) const {
    const bool* b = std::get_if<bool>(&value.data);
    if (!b) fail_type(value, ItemKind::boolean, domain, key);
    out = *b;
  }

  void read(std::int64_t& out, const toml::Value& value, const Domain& domain,
            const std::string& key) const {
    const std::int64_t* i = std::get_if<std::int64_t>(&value.data);
    if (!i) {
      const double* d = std::get_if<double>(&value.data);
      const bool whole = d && *d == std::trunc(*d) && std::abs(*d) < 1e15;
      fail_type(value, ItemKind::integer, domain, key,
                whole ? str("write ", static_cast<std::int64_t>(*d)) : std::string{});
    }
    if (!in_range(static_cast<double>(*i), domain))
      fail_range(value, ItemKind::integer, domain, key);
    out = *i;
  }

  void read(int& out, const toml::Value& value, const Domain& domain,
            const std::string& key) const {
    Domain limited = domain;
    limited.low = std::max(limited.low, -kMaxCount);
    limited.high = std::min(limited.high, kMaxCount);
    std::int64_t wide = 0;
    read(wide, value, limited, key);
    out = static_cast<int>(wide);
  }

  void read(double& out, const toml::Value& value, const Domain& domain,
            const std::string& key) const {
    if (const auto* i = std::get_if<std::int64_t>(&value.data)) {
      out = static_cast<double>(*i);
    } else if (const auto* d = std::get_if<double>(&value.data)) {
      out = *d;
    } else {
      fail_type(value, ItemKind::number, domain, key);
    }
    if (!in_range(out, domain)) fail_range(value, ItemKind::number, domain, key);
  }

  void read(std::string& out, const toml::Value& value, const Domain& domain,
            const std::string& key) const {
    const std::string* s = std::get_if<std::string>(&value.data);
    if (!s) fail_type(value, ItemKind::string, domain, key);
    const std::vector<std::string> words(domain.words.begin(), domain.words.end());
    if (!words.empty() && std::find(words.begin(), words.end(), *s) == words.end()) {
      const std::string near = did_you_mean(*s, words);
      fail_range(value, ItemKind::string, domain, key,
                 near.empty() ? std::string{} : "did you mean " + toml::quote(near) + "?");
    }
    out = *s;
  }

  template <Named E>
  void read(E& out, const toml::Value& value, const Domain&, const std::string& key) const {
    std::string word;
    read(word, value, one_of(words_of<E>()), key);
    out = *value_of<E>(word);
  }

  template <class T>
  void read(std::vector<T>& out, const toml::Value& value, const Domain& domain,
            const std::string& key) const {
    constexpr bool kTables = std::is_class_v<T> && !std::is_same_v<T, std::string>;
    const toml::Array* array = value.array();
    // One value is a list of one.
    if (!array && kTables != (value.table() != nullptr))
      fail_type(value, kTables ? ItemKind::table_list : ItemKind::list, domain, key);
    const std::string* words = std::get_if<std::string>(&value.data);
    if (!std::is_same_v<T, std::string> && words && words->find(',') != std::string::npos)
      fail_type(value, ItemKind::list, domain, key, str("a list has brackets: [", *words, ']'));
    const std::span<const toml::Value> elements =
        array ? std::span<const toml::Value>(*array) : std::span(&value, 1);
    std::vector<T> list;
    for (std::size_t i = 0; i < elements.size(); ++i) {
      const toml::Value& element = elements[i];
      const std::string name = array || kTables ? str(key, "[", i, "]") : key;
      T x{};
      if constexpr (kTables) {
        if (!element.table()) fail_type(element, ItemKind::section, {}, name);
        origins_.set(name, source_, element.mark);
        Reader inner(*element.table(), name + ".", {}, source_, origins_);
        T::visit(x, inner);
        inner.reject_unknown(
            [&](std::string_view, std::string_view word) { return inner.suggest(word); });
      } else {
        read(x, element, domain, name);
      }
      list.push_back(std::move(x));
    }
    out = std::move(list);
  }

  std::string suggest(std::string_view word) const {
    const std::string near = did_you_mean(word, {known_.begin(), known_.end()});
    return near.empty() ? near : "did you mean " + near + "?";
  }

  const toml::Table& table_;
  std::string prefix_, section_;
  std::shared_ptr<const toml::Source> source_;
  Origins& origins_;
  std::vector<std::string_view> known_{};
};

}  // namespace

bool in_range(double x, const Domain& d) {
  return (d.low_open ? x > d.low : x >= d.low) && (d.high_open ? x < d.high : x <= d.high);
}

bool implies(const Origins& origins, const std::string& value, const std::string& word) {
  if (!origins.has(value)) return false;
  return !origins.has(word) || (origins.is_override(value) && !origins.is_override(word));
}

namespace {

/// A path means text, a group size means groups, a format means all that its Spec says, and a model is
/// taken as it is.
void imply(ExperimentConfig& config, const Origins& origins) {
  DataConfig& d = config.data;
  if (implies(origins, "data.path", "data.kind") &&
      (!d.path.empty() || !origins.has("data.kind"))) {
    d.kind = d.path.empty() ? DataConfig{}.kind : "text";
  }
  const std::string& from = config.model.from;
  if (implies(origins, "model.from", "train.steps") &&
      (!from.empty() || !origins.has("train.steps"))) {
    config.train.steps = from.empty() ? TrainConfig{}.steps : 0;
  }
  QuantConfig& q = config.quant;
  if (implies(origins, "quant.group_size", "quant.granularity") &&
      (q.group_size > 0 || !origins.has("quant.granularity"))) {
    q.granularity = q.group_size > 0 ? "group" : QuantConfig{}.granularity;
  }
  const quant::Preset* format = quant::find_preset(q.format);
  const auto take = [&](const char* key, auto& to, auto value, const auto& otherwise) {
    if (implies(origins, "quant.format", key)) to = format ? std::move(value) : otherwise;
  };
  const quant::Spec spec = format ? format->spec : quant::Spec{};
  const QuantConfig usual;
  // Explicit rows have bits of their own.
  if (config.row.empty()) take("quant.bits", q.bits, std::vector{spec.bits}, usual.bits);
  take("quant.grid", q.grid, std::string(quant::name_of(spec.grid)), usual.grid);
  take("quant.granularity", q.granularity, std::string(word_of(spec.granularity)),
       usual.granularity);
  take("quant.group_size", q.group_size, static_cast<int>(spec.group_size), usual.group_size);
  take("quant.scale", q.scale, std::string(word_of(spec.scale)), usual.scale);
  for (RowConfig& row : config.row) {
    if (row.group_size > 0 && row.granularity == "inherit") row.granularity = "group";
  }
  imply_pipelines(config.row);
}

}  // namespace

void read_into(LoadedConfig& loaded, const toml::Table& table,
               const std::shared_ptr<const toml::Source>& source) {
  check(source != nullptr, "configuration", "its values come from no text");
  Reader reader(table, {}, {}, source, loaded.origins);
  ExperimentConfig::visit(loaded.config, reader);
  reader.reject_unknown(suggest_key);
  imply(loaded.config, loaded.origins);
}

LoadedConfig parse_config(std::string text, std::string name) {
  const auto source = std::make_shared<const toml::Source>(
      toml::Source{.name = std::move(name), .text = std::move(text)});
  LoadedConfig loaded;
  loaded.origins = Origins(source);
  read_into(loaded, toml::parse(*source), source);
  return loaded;
}

void Origins::forget(const std::string& key) {
  std::erase_if(origins_,
                [&](const Origin& o) { return o.key == key || o.key.starts_with(key + "["); });
}

void Origins::set(std::string key, std::shared_ptr<const toml::Source> source, toml::Mark mark) {
  check(source != nullptr, key, "comes from no text");
  forget(key);  // a new value of a list replaces all its elements, so their places go too
  origins_.push_back({std::move(key), std::move(source), mark});
}

const Origins::Origin* Origins::find(const std::string& key) const {
  const auto at =
      std::find_if(origins_.begin(), origins_.end(), [&](const Origin& o) { return o.key == key; });
  return at == origins_.end() ? nullptr : &*at;
}

bool Origins::is_override(const std::string& key) const {
  const Origin* origin = find(key);
  return origin && origin->source->command_line;
}

void Origins::fail(const std::string& key, ErrorParts parts) const {
  parts.field = key;
  // A default has no place of its own: its section or list has, or else the file.
  for (std::string at = key; !at.empty();) {
    if (const Origin* origin = find(at)) {
      toml::fail(*origin->source, origin->mark, std::move(parts));
    }
    const std::size_t cut = at.find_last_of(".[");
    at.resize(cut == std::string::npos ? 0 : cut);
  }
  parts.where = file_ ? file_->name : "config";
  throw Error(std::move(parts));
}

}  // namespace notch::experiments
