#include "experiments/run/results.h"

#include <algorithm>
#include <limits>

#include "autograd/base/sha256.h"
#include "experiments/machine/machine.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

/// One walk over the members of a row serves both directions, so that they cannot disagree.
template <class Row, class Visitor>
void visit(Row& r, const Visitor& v) {
  v("name", r.name);
  v("method", r.method);
  v("label", r.label);
  v("bits", r.bits);
  v("granularity", r.granularity);
  v("grid", r.grid);
  v("on_control", r.on_control);
  v("trained", r.trained);
  v("distilled", r.distilled);
  v("aims_at_data", r.aims_at_data);
  v("control", r.control);
  v("unlike_control", r.unlike_control);
  v("loss", r.eval.loss);
  v("bits_per_byte", r.eval.bits_per_byte);
  v("perplexity", r.eval.perplexity);
  v("from_base", r.eval.from_base);
  v("accuracy", r.accuracy);
  v("weights", r.size.weights);
  v("quantized_weights", r.size.quantized);
  v("code_bytes", r.size.code_bytes);
  v("scale_bytes", r.size.scale_bytes);
  v("zero_point_bytes", r.size.zero_point_bytes);
  v("table_bytes", r.size.table_bytes);
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
  v("build", r.build);
  v("scored_on", r.scored_on);
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
    out = static_cast<int>(json.as_int(at));
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
    const bool added_later = key == "label" || key == "aims_at_data" || key == "control" ||
                             key == "unlike_control" || key == "build" || key == "scored_on";
    if (added_later && !in.find(key)) return;
    read(in.at(key, where), str(where, ": ", key), value);
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
  double worst = -std::numeric_limits<double>::infinity();
  for (std::size_t w = 0; w < row.eval.window_losses.size(); ++w) {
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

RowResult row_from_json(const Json& json, std::string_view where) {
  RowResult row;
  visit(row, Reader{json, where});
  if (!json.find("control")) {
    // Of a build with one control. It called what it judged by fp32 distilled.
    row.aims_at_data = row.trained && !row.distilled;
    const bool is_control = row.name == kControlRow;
    if (!is_control && (row.on_control || row.aims_at_data)) row.control = kControlRow;
  }
  return row;
}

const RowResult* find_row(const SeedResults& results, std::string_view name) {
  const auto at = std::ranges::find(results.rows, name, &RowResult::name);
  return at == results.rows.end() ? nullptr : &*at;
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
