#include "experiments/run/results.h"

#include <algorithm>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/sha256.h"
#include "experiments/machine/machine.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

/// One walk over the members of a row serves both directions, so that they cannot disagree. `later`:
/// files of earlier builds lack it.
template <class Row, class Visitor>
void visit(Row& r, const Visitor& v) {
  v("name", r.name);
  v("method", r.method);
  v.later("label", r.label);
  v("bits", r.bits);
  v("granularity", r.granularity);
  v("grid", r.grid);
  v("on_control", r.on_control);
  v("trained", r.trained);
  v("distilled", r.distilled);
  v.later("aims_at_data", r.aims_at_data);
  v.later("control", r.control);
  v.later("unlike_control", r.unlike_control);
  v("loss", r.eval.loss);
  v("bits_per_byte", r.eval.bits_per_byte);
  v("perplexity", r.eval.perplexity);
  v("from_base", r.eval.from_base);
  v("accuracy", r.accuracy);
  v("weights", r.size.weights);
  v("quantized_weights", r.size.quantized);
  v("code_bytes", r.size.code_bytes);
  v("scale_bytes", r.size.scale_bytes);
  v.later("level_bytes", r.size.level_bytes);
  v("zero_point_bytes", r.size.zero_point_bytes);
  v.later("mask_bytes", r.size.mask_bytes);
  v("table_bytes", r.size.table_bytes);
  v.later("side_bytes", r.size.side_bytes);
  v("float_bytes", r.size.float_bytes);
  v("header_bytes", r.size.header_bytes);
  v("coded_bytes", r.size.coded_bytes);
  v("code_entropy", r.size.code_entropy);
  v("file_bytes", r.file_bytes);
  v("layers", r.layers);
  v("moved", r.moved);
  v("seconds", r.seconds);
  v.figures(r.figures);
  v("sha256", r.sha256);
  v.later("build", r.build);
  v.later("scored_on", r.scored_on);
  v.later("prompt", r.sample.prompt);
  v.later("sample", r.sample.text);
  v("window_losses", r.eval.window_losses);
  v("window_tokens", r.eval.window_tokens);
}

struct Writer {
  Json& out;
  template <class T>
  void operator()(std::string_view key, const T& value) const {
    out.set(key, Json(value));
  }
  void operator()(std::string_view key, const std::optional<double>& value) const {
    out.set(key, value ? Json(*value) : Json());
  }
  void operator()(std::string_view key, const std::optional<Divergence>& value) const {
    if (!value) {
      out.set(key, Json());
      return;
    }
    Json members = Json::object();
    members.set("kl_mean", value->kl_mean)
        .set("kl_99", value->kl_99)
        .set("same_top", value->same_top);
    out.set(key, members);
  }
  template <class T>
  void later(std::string_view key, const T& value) const {
    (*this)(key, value);
  }
  /// Every row has the keys of all methods.
  void figures(const Figures& figures) const {
    for (const quant::RowFigure& f : quant::row_figures()) {
      const auto at = figures.find(f.key);
      out.set(f.key, at == figures.end() ? Json() : Json(at->second));
    }
  }
  template <class T>
  void operator()(std::string_view key, const std::vector<T>& values) const {
    Json::Array items;
    for (const T& v : values) items.emplace_back(v);
    out.set(key, Json(std::move(items)));
  }
};

struct Reader {
  const Json& in;
  std::string_view where;

  static void read(const Json& json, std::string_view at, std::string& out) {
    out = json.as_string(at);
  }
  static void read(const Json& json, std::string_view at, bool& out) { out = json.as_bool(at); }
  static void read(const Json& json, std::string_view at, int& out) {
    constexpr std::int64_t kLeast = std::numeric_limits<int>::min(),
                           kMost = std::numeric_limits<int>::max();
    out = static_cast<int>(std::clamp(json.as_int(at), kLeast, kMost));  // refused later
  }
  static void read(const Json& json, std::string_view at, std::int64_t& out) {
    out = json.as_int(at);
  }
  static void read(const Json& json, std::string_view at, double& out) { out = json.as_number(at); }
  static void read(const Json& json, std::string_view at, Divergence& out) {
    out = {.kl_mean = json.at("kl_mean", at).as_number(at),
           .kl_99 = json.at("kl_99", at).as_number(at),
           .same_top = json.at("same_top", at).as_number(at)};
  }
  template <class T>
  static void read(const Json& json, std::string_view at, std::optional<T>& out) {
    out.reset();
    if (!json.is_null()) read(json, at, out.emplace());
  }
  template <class T>
  static void read(const Json& json, std::string_view at, std::vector<T>& out) {
    out.clear();
    for (const Json& item : json.as_array(at)) read(item, at, out.emplace_back());
  }
  void figures(Figures& figures) const {
    for (const quant::RowFigure& f : quant::row_figures()) {
      const Json* value = in.find(f.key);
      if (value && !value->is_null())
        figures.emplace(f.key, value->as_number(str(where, ": ", f.key)));
    }
  }
  template <class T>
  void operator()(std::string_view key, T& value) const {
    read(in.at(key, where), str(where, ": ", key), value);
  }
  template <class T>
  void later(std::string_view key, T& value) const {
    if (in.find(key)) (*this)(key, value);
  }
};

}  // namespace

std::string control_title(std::string_view name) {
  const std::string_view settings = name.substr(std::min(name.size(), kControlRow.size()));
  return settings.empty() ? "control" : str("control ", settings.substr(1));
}

std::vector<const RowResult*> controls_of(const SeedResults& results) {
  std::vector<const RowResult*> out;
  for (const RowResult& r : results.rows) {
    if (r.granularity.empty() && r.name.starts_with(kControlRow)) out.push_back(&r);
  }
  return out;
}

const std::string& shown_method(const RowResult& row) {
  return row.label.empty() ? row.method : row.label;
}

std::string label(const RowResult& row) {
  // Grids may stand beside one another; the usual one goes without saying.
  const std::string grid = row.grid.substr(0, row.grid.find(' '));
  const bool named = !grid.empty() && grid != "narrow";
  return str(shown_method(row), named ? " " : "", named ? grid : "", row.on_control ? " of " : "",
             row.on_control ? control_title(row.control) : "");
}

double worst_window(const RowResult& row, const RowResult& base) {
  check(row.eval.window_tokens == base.eval.window_tokens, row.name,
        "scored on other windows than ", base.name);
  const std::size_t windows = row.eval.window_tokens.size();
  check(windows > 0 && row.eval.window_losses.size() == windows &&
            base.eval.window_losses.size() == windows,
        row.name, "lacks the losses of some of its ", windows, " windows");
  double worst = -std::numeric_limits<double>::infinity();
  for (std::size_t w = 0; w < windows; ++w) {
    // The last window is what was left of the text: a mean over a few tokens is no window's.
    if (row.eval.window_tokens[w] < row.eval.window_tokens.front()) continue;
    worst = std::max(worst, (row.eval.window_losses[w] - base.eval.window_losses[w]) /
                                static_cast<double>(row.eval.window_tokens[w]));
  }
  return worst;
}

Json to_json(const RowResult& row) {
  Json out = Json::object();
  visit(row, Writer{out});
  return out;
}

namespace {

/// What statistics and tables take for granted.
void require_possible(const RowResult& row, std::string_view where) {
  const auto require = [&](bool ok, const char* field, std::string found, std::string expected) {
    if (ok) return;
    throw Error({.fault = Fault::input,
                 .where = std::string(where),
                 .what = "a value that no row can have",
                 .field = field,
                 .found = std::move(found),
                 .expected = std::move(expected),
                 .hint = "the file is damaged; a run that is resumed makes the row again"});
  };
  require(!row.name.empty(), "name", "none", "a row's");
  const std::vector<std::int64_t>& tokens = row.eval.window_tokens;
  require(row.eval.window_losses.size() == tokens.size(), "window_losses",
          str(row.eval.window_losses.size()), str("one for each of ", tokens.size(), " windows"));
  constexpr std::int64_t kMost = std::int64_t{1} << 40;  // their sum stays an integer
  for (const std::int64_t n : tokens) {
    require(n > 0 && n <= kMost, "window_tokens", str(n), str("1 to ", kMost));
  }
  require(row.bits >= 1 && row.bits <= 32, "bits", str(row.bits), "1 to 32");
  const std::pair<const char*, std::int64_t> counts[] = {
      {"weights", row.size.weights},           {"quantized_weights", row.size.quantized},
      {"code_bytes", row.size.code_bytes},     {"scale_bytes", row.size.scale_bytes},
      {"level_bytes", row.size.level_bytes},   {"zero_point_bytes", row.size.zero_point_bytes},
      {"mask_bytes", row.size.mask_bytes},     {"table_bytes", row.size.table_bytes},
      {"side_bytes", row.size.side_bytes},     {"float_bytes", row.size.float_bytes},
      {"header_bytes", row.size.header_bytes}, {"coded_bytes", row.size.coded_bytes},
      {"file_bytes", row.file_bytes},          {"layers", row.layers}};
  for (const auto& [field, n] : counts) {
    require(n >= 0 && n <= kMost, field, str(n), str("0 to ", kMost));
  }
}

}  // namespace

RowResult row_from_json(const Json& json, std::string_view where) {
  RowResult row;
  visit(row, Reader{json, where});
  row.seconds = std::max(row.seconds, 0.0);  // of a build whose clock could go back
  require_possible(row, where);
  if (!json.find("control")) {
    // Of a build with one control. It called what it judged by fp32 distilled.
    row.aims_at_data = row.trained && !row.distilled;
    const bool is_control = row.name == kControlRow;
    if (!is_control && (row.on_control || row.aims_at_data)) row.control = kControlRow;
  }
  return row;
}

namespace {

constexpr std::string_view kDigest = "digest";

}  // namespace

std::string row_text(const RowResult& row) {
  Json json = to_json(row);
  const std::string digest = sha256(json.dump());
  return json.set(kDigest, digest).dump() + "\n";
}

RowResult row_from_text(std::string_view text, const std::string& where, bool* has_digest) {
  const Json json = Json::parse(text, where);
  const Json known = to_json(RowResult{});
  Json row = Json::object();
  const Json* digest = nullptr;
  for (const auto& [key, value] : json.as_object(where)) {
    if (key == kDigest) {
      digest = &value;
      continue;
    }
    if (!known.find(key)) {
      throw Error({.fault = Fault::input,
                   .where = where,
                   .what = "a member that no row of this build has",
                   .field = key,
                   .hint = "the file is damaged or of a newer build; a run that is resumed makes "
                           "the row again"});
    }
    row.set(key, value);
  }
  if (has_digest) *has_digest = digest != nullptr;
  if (digest) {
    const std::string found = sha256(row.dump());
    const std::string& expected = digest->as_string(where + ": digest");
    if (found != expected) {
      throw Error({.fault = Fault::input,
                   .where = where,
                   .what = "damaged: its SHA-256 is not what it says",
                   .field = std::string(kDigest),
                   .found = found,
                   .expected = expected,
                   .hint = "a run that is resumed makes the row again"});
    }
  }
  return row_from_json(row, where);
}

const RowResult* find_row(const SeedResults& results, std::string_view name) {
  const auto at = std::ranges::find(results.rows, name, &RowResult::name);
  return at == results.rows.end() ? nullptr : &*at;
}

const RowResult& row_of(const SeedResults& results, std::string_view name) {
  const RowResult* row = find_row(results, name);
  check(row != nullptr, name, "is not a row of seed ", results.seed);
  return *row;
}

const SeedResults& first_seed(const std::vector<SeedResults>& seeds, std::string_view where) {
  check(!seeds.empty() && !seeds.front().rows.empty(), where, "there are no rows");
  return seeds.front();
}

std::string build_notes(const std::vector<SeedResults>& seeds) {
  struct Build {
    std::string text{};
    std::size_t rows = 0;
    std::vector<std::string> names{};
  };
  std::vector<Build> builds;
  for (const SeedResults& s : seeds) {
    for (const RowResult& r : s.rows) {
      auto at = std::ranges::find(builds, r.build, &Build::text);
      if (at == builds.end()) at = builds.insert(at, {.text = r.build});
      ++at->rows;
      if (std::ranges::find(at->names, r.name) == at->names.end()) at->names.push_back(r.name);
    }
  }
  const auto mixed = [](const Build& b) { return b.text.find(kThenBuild) != std::string::npos; };
  if (builds.size() < 2 && std::ranges::none_of(builds, mixed)) return "";
  std::string out =
      "Several builds of notch made these rows, which may differ for that alone; `notch run "
      "--force` makes all anew:\n";
  for (const Build& b : builds) {
    out += str("  ", b.text.empty() ? "unknown" : b.text, ": ", b.rows,
               b.rows == 1 ? " row" : " rows");
    for (const std::string& name : b.names) out += (name == b.names.front() ? ": " : ", ") + name;
    out += '\n';
  }
  return out;
}

std::string results_hash(const std::vector<SeedResults>& seeds) {
  Sha256 hash;
  for (const SeedResults& s : seeds) {
    for (const RowResult& r : s.rows) {
      hash.update(str(s.seed, ' ', r.name, ' ', r.sha256, ' ', json_number(r.eval.loss), '\n'));
    }
  }
  return hash.hex();
}

}  // namespace notch::experiments
