#include "experiments/run/metrics.h"

#include "autograd/base/error.h"
#include "autograd/base/files.h"

namespace notch::experiments {

namespace {

/// Whether the line may stay: a valid line that is not past the resumed step of its run.
bool keeps(std::string_view line, std::string_view run, std::int64_t step) {
  try {
    const Json json = Json::parse(line, "metrics");
    const std::int64_t line_step = json.at("step", "metrics").as_int("metrics");
    return json.at("run", "metrics").as_string("metrics") != run || line_step <= step;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

void Metrics::append(std::string_view run, std::int64_t step, const Json& fields) const {
  Json line = Json::object();
  line.set("run", run);
  line.set("step", step);
  for (const auto& [key, value] : fields.as_object("metrics")) line.set(key, value);
  append_file(file_, line.dump() + "\n");
}

void Metrics::resume(std::string_view run, std::int64_t step) const {
  if (!fs::exists(file_)) return;
  const std::string text = read_file(file_);
  std::size_t end = 0;
  for (std::size_t newline = text.find('\n'); newline != std::string::npos;
       newline = text.find('\n', end)) {
    if (!keeps(std::string_view(text).substr(end, newline - end), run, step)) break;
    end = newline + 1;
  }
  if (end < text.size()) write_file(file_, std::string_view(text).substr(0, end));
}

}  // namespace notch::experiments
