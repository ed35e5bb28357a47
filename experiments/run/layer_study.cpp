#include "experiments/run/layer_study.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "autograd/base/files.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/signals.h"
#include "experiments/show/table.h"
#include "quant/methods/rtn.h"
#include "quant/numbers/width.h"

namespace notch::experiments {
namespace {

constexpr std::int64_t kWindows = 16;  // at most; a matrix is scored once per width
constexpr double kOutlier = 6;         // times the median (LLM.int8(), arXiv:2208.07339, takes 6.0)

/// Σ x² of every channel of a layer's input.
using Squares = std::map<const nn::Linear*, std::vector<double>>;

double sqnr_db(std::span<const real> w, const quant::QTensor& q) {
  const std::vector<real> rounded = quant::dequantize(q);
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double error = static_cast<double>(w[i]) - static_cast<double>(rounded[i]);
    signal += static_cast<double>(w[i]) * static_cast<double>(w[i]);
    noise += error * error;
  }
  return 10 * std::log10(signal / noise);
}

std::vector<double> histogram(std::span<const real> w, std::int64_t unit) {
  std::vector<double> shares(kStudyBins);
  for (std::int64_t first = 0; first < std::ssize(w); first += unit) {
    const auto part = w.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(unit));
    double most = 0;
    for (const real x : part) most = std::max(most, std::abs(static_cast<double>(x)));
    for (const real x : part) {
      const double share = most > 0 ? static_cast<double>(x) / most : 0;
      const double at = (share + 1) / 2 * kStudyBins;
      ++shares[std::min(static_cast<std::size_t>(at), shares.size() - 1)];
    }
  }
  for (double& s : shares) s /= static_cast<double>(w.size());
  return shares;
}

void describe_input(LayerStudy& layer, std::vector<double> squares) {
  std::ranges::sort(squares);
  const double median = std::sqrt(squares[squares.size() / 2]);
  if (median <= 0) return;
  layer.loudest = std::sqrt(squares.back()) / median;
  layer.outliers =
      std::ranges::count_if(squares, [&](double s) { return std::sqrt(s) > kOutlier * median; });
}

/// The first row of each width, narrowest last.
std::vector<RowConfig> rows_of_widths(const ExperimentConfig& config) {
  std::vector<RowConfig> out;
  for (const RowConfig& row : planned_rows(config)) {
    if (row.bits == 0) continue;
    if (std::ranges::find(out, row.bits, &RowConfig::bits) == out.end()) out.push_back(row);
  }
  std::ranges::sort(out, std::greater<>{}, &RowConfig::bits);
  return out;
}

std::vector<std::string> names_of_widths(const ExperimentConfig& config) {
  std::vector<std::string> names;
  for (const RowConfig& row : rows_of_widths(config)) names.push_back(row_name(config, row));
  return names;
}

}  // namespace

std::optional<ModelStudy> study_layers(const ExperimentConfig& config, const Data& data,
                                       nn::Model& model) {
  ModelStudy study;
  const std::vector<RowConfig> rows = rows_of_widths(config);
  if (rows.empty()) return study;
  const auto score = [&] {
    return evaluate(model, data.source.tokens.val, data.source.tokens.val_bytes_per_token, nullptr,
                    {.windows = kWindows});
  };
  Squares squares;
  Evaluation base;
  {
    const nn::Attachment link = model.hooks().linear_chain.attach(
        [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
          std::vector<double>& sums = squares[&linear];
          const Tensor& in = x.value();
          sums.resize(static_cast<std::size_t>(in.cols()));
          const std::span<const real> values = in.flat();
          for (std::size_t i = 0; i < values.size(); ++i) {
            sums[i % sums.size()] +=
                static_cast<double>(values[i]) * static_cast<double>(values[i]);
          }
          return next(g, linear, x);
        });
    base = score();
  }
  for (const std::int64_t n : base.window_tokens) study.tokens += n;
  study.rows = names_of_widths(config);
  std::map<std::string, std::size_t> place;
  for (std::size_t width = 0; width < rows.size(); ++width) {
    study.bits.push_back(rows[width].bits);
    for (quant::Target& target : quant::resolve(row_plan(config, rows[width]), model)) {
      const std::span<real> w = target.weight->value.flat();
      const auto [at, is_new] = place.try_emplace(target.name, study.layers.size());
      if (is_new) {
        LayerStudy& layer = study.layers.emplace_back();
        layer.name = target.name;
        layer.weights = std::ssize(w);
        const std::int64_t unit =
            quant::unit_size(target.spec, target.weight->value.rows(), target.weight->value.cols());
        layer.histogram = histogram(w, unit);
        quant::Target narrow = target;
        for (int bits = kStudyLowest; bits <= kStudyHighest; ++bits) {
          narrow.spec.grid = quant::GridKind::narrow;
          narrow.spec.bits = bits;
          layer.sqnr_db.push_back(
              sqnr_db(w, quant::round_nearest(narrow, quant::RangeRule::absmax)));
        }
        if (const auto in = squares.find(target.linear); in != squares.end()) {
          describe_input(layer, in->second);
        }
      }
      LayerStudy& layer = study.layers[at->second];
      // A plan may leave a matrix in floating point at another width.
      layer.loss_change.resize(width, std::nan(""));
      if (stop_requested()) return std::nullopt;
      const std::vector<real> kept(w.begin(), w.end());
      quant::dequantize(quant::round_nearest(target, quant::RangeRule::absmax), w);
      layer.loss_change.push_back(score().loss - base.loss);
      std::ranges::copy(kept, w.begin());
    }
  }
  for (LayerStudy& layer : study.layers) layer.loss_change.resize(rows.size(), std::nan(""));
  return study;
}

namespace {

/// Four significant digits are more than anybody sees; not finite is null.
Json rounded(double value) {
  if (!std::isfinite(value)) return {};
  return Json(std::strtod(printed("%.4g", value).c_str(), nullptr));
}
Json rounded(const std::vector<double>& values) {
  Json::Array out;
  for (const double v : values) out.push_back(rounded(v));
  return Json(std::move(out));
}

std::vector<double> numbers(const Json& list, std::string_view where) {
  std::vector<double> out;
  for (const Json& v : list.as_array(where)) {
    out.push_back(v.is_null() ? std::nan("") : v.as_number(where));
  }
  return out;
}

void require_size(const std::vector<double>& values, std::size_t expected, std::string_view where,
                  const char* field) {
  if (values.size() == expected) return;
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "a list of another length",
               .field = field,
               .found = str(values.size()),
               .expected = str(expected),
               .hint = "remove the file; `notch run --resume` makes it again"});
}

}  // namespace

Json to_json(const ModelStudy& study) {
  Json::Array bits, layers;
  for (const int b : study.bits) bits.emplace_back(b);
  for (const LayerStudy& l : study.layers) {
    Json layer = Json::object();
    layer.set("name", l.name)
        .set("weights", l.weights)
        .set("loudest", rounded(l.loudest))
        .set("outliers", l.outliers)
        .set("histogram", rounded(l.histogram))
        .set("sqnr_db", rounded(l.sqnr_db))
        .set("loss_change", rounded(l.loss_change));
    layers.push_back(std::move(layer));
  }
  Json out = Json::object();
  Json::Array rows;
  for (const std::string& row : study.rows) rows.emplace_back(row);
  out.set("sha256", study.sha256)
      .set("rows", Json(std::move(rows)))
      .set("tokens", study.tokens)
      .set("bits", Json(std::move(bits)))
      .set("layers", Json(std::move(layers)));
  return out;
}

ModelStudy study_from_json(const Json& json, std::string_view where) {
  ModelStudy out{.sha256 = json.at("sha256", where).as_string(where),
                 .tokens = json.at("tokens", where).as_int(where)};
  for (const Json& row : json.at("rows", where).as_array(where)) {
    out.rows.push_back(row.as_string(where));
  }
  for (const Json& b : json.at("bits", where).as_array(where)) {
    out.bits.push_back(quant::width_from_json(b, where));
  }
  for (const Json& l : json.at("layers", where).as_array(where)) {
    LayerStudy& layer = out.layers.emplace_back();
    layer.name = l.at("name", where).as_string(where);
    layer.weights = l.at("weights", where).as_int(where);
    layer.loudest = l.at("loudest", where).as_number(where);
    layer.outliers = l.at("outliers", where).as_int(where);
    layer.histogram = numbers(l.at("histogram", where), where);
    layer.sqnr_db = numbers(l.at("sqnr_db", where), where);
    layer.loss_change = numbers(l.at("loss_change", where), where);
    require_size(layer.histogram, kStudyBins, where, "histogram");
    require_size(layer.sqnr_db, kStudyHighest - kStudyLowest + 1, where, "sqnr_db");
    require_size(layer.loss_change, out.bits.size(), where, "loss_change");
  }
  if (!out.layers.empty() && out.bits.empty()) require_size({}, 1, where, "bits");
  return out;
}

bool keep_study(const std::filesystem::path& folder, const SeedResults& seed,
                const ExperimentConfig& config, const Data& data, nn::Model& model,
                Progress& progress) {
  if (seed.seed != config.seeds.front()) return true;
  const std::filesystem::path file = folder / kLayerStudy;
  const std::string& sha256 = seed.rows.front().sha256;
  if (std::filesystem::exists(file)) {
    try {
      const Json found = Json::parse(read_file(file), file.string());
      const ModelStudy study = study_from_json(found, file.string());
      if (study.sha256 == sha256 && study.rows == names_of_widths(config)) return true;
    } catch (const Error& e) {  // damaged, or of an earlier build: made again, as a row is
      if (e.fault() != Fault::input) throw;
    }
  }
  progress.note("fp32: what each of its matrices loses alone, for the report");
  std::optional<ModelStudy> study = study_layers(config, data, model);
  if (!study) return false;
  study->sha256 = sha256;
  write_file(file, to_json(*study).dump() + "\n");
  return true;
}

}  // namespace notch::experiments
