#include "experiments/run/metrics.h"

#include <algorithm>
#include <optional>

#include "autograd/base/error.h"
#include "autograd/base/files.h"

namespace notch::experiments {

namespace {

bool is_histogram(const Json& entry) {
  return entry.is_array() && std::ranges::all_of(entry.as_array(""), &Json::is_number);
}

/// What quant::to_json writes of the layers, with any names.
bool is_quantizer_report(const Json& report) {
  if (!report.is_object()) return false;
  return std::ranges::all_of(report.as_object(""), [](const Json::Member& list) {
    return list.second.is_array() &&
           std::ranges::all_of(list.second.as_array(""), [](const Json& entry) {
             return entry.is_null() || entry.is_number() || entry.is_string() ||
                    is_histogram(entry);
           });
  });
}

std::optional<MetricsLine> metrics_line(std::string_view text) {
  try {
    MetricsLine line{.fields = Json::parse(text, "metrics")};
    line.run = line.fields.at("run", "metrics").as_string("metrics");
    line.step = line.fields.at("step", "metrics").as_int("metrics");
    for (const char* key : {"loss", "val_loss"}) {
      const Json* loss = line.fields.find(key);
      if (loss && !loss->is_number() && !loss->is_null()) return std::nullopt;
    }
    const Json* report = line.fields.find("quantizer");
    if (line.step < 0 || (report && !is_quantizer_report(*report))) return std::nullopt;
    return line;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

void read_metrics(std::string_view text, const std::function<void(const MetricsLine&)>& take) {
  check(static_cast<bool>(take), "metrics", "nobody takes the lines");
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::optional<MetricsLine> line = metrics_line(text.substr(0, end));
    if (!line) return;
    line->text = text.substr(0, end);
    take(*line);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
}

void Metrics::append(std::string_view run, std::int64_t step, const Json& fields) const {
  Json line = Json::object();
  line.set("run", run);
  line.set("step", step);
  for (const auto& [key, value] : fields.as_object("metrics")) line.set(key, value);
  append_file(file_, line.dump() + "\n");
}

void Metrics::tell_layers(std::string_view run,
                          const std::vector<quant::LayerReport>& layers) const {
  resume(run, -1);
  for (const quant::LayerReport& l : layers) {
    if (l.measures.empty()) continue;
    Json line = Json::object();
    line.set("layer", l.name);
    for (const quant::Measure& m : l.measures) line.set(m.key, m.value);
    append(run, 0, line);
  }
}

bool Metrics::resume(std::string_view run, std::int64_t step) const {
  if (!fs::exists(file_)) return false;
  const std::string text = read_file(file_);
  std::string kept;
  bool told = false;
  for (std::size_t at = 0, newline; (newline = text.find('\n', at)) != text.npos;
       at = newline + 1) {
    const std::string_view written(text.data() + at, newline + 1 - at);
    const std::optional<MetricsLine> line = metrics_line(written.substr(0, written.size() - 1));
    if (!line || (line->run == run && line->step > step)) continue;
    told = told || line->run == run;
    kept += written;
  }
  if (kept.size() < text.size()) write_file(file_, kept);
  return told;
}

}  // namespace notch::experiments
