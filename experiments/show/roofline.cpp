#include "experiments/show/roofline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "autograd/base/error.h"
#include "experiments/show/palette.h"
#include "experiments/show/svg.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

constexpr double kRoofWidth = 800, kRoofHeight = 460, kRoofLeft = 70, kRoofRight = 230,
                 kRoofTop = 40, kRoofBottom = 50;

// What no machine measures would let axes grow without end.
constexpr double kLeastMeasured = 1e-9, kMostMeasured = 1e18;
constexpr int kMostProducts = 64;
bool is_measured(double v) { return v >= kLeastMeasured && v <= kMostMeasured; }

/// What the roofline and its dots are made of, by their keys in JSON.
constexpr std::pair<const char*, double Roofline::*> kRoofs[] = {{"sgemm", &Roofline::sgemm},
                                                                 {"integer", &Roofline::integer}};
constexpr std::pair<const char*, double RooflineDot::*> kParts[] = {
    {"tokens", &RooflineDot::tokens},
    {"seconds", &RooflineDot::seconds},
    {"operations", &RooflineDot::operations},
    {"bytes", &RooflineDot::bytes},
    {"roof_seconds", &RooflineDot::roof_seconds}};

std::string whole(double v) { return printed("%.0f", v); }

struct LogAxes {
  double x_low, x_high, y_low, y_high;
  double x(double v) const {
    return kRoofLeft +
           (kRoofWidth - kRoofLeft - kRoofRight) * std::log(v / x_low) / std::log(x_high / x_low);
  }
  double y(double v) const {
    return kRoofHeight - kRoofBottom -
           (kRoofHeight - kRoofTop - kRoofBottom) * std::log(v / y_low) / std::log(y_high / y_low);
  }
};

std::string ticks(const LogAxes& a) {
  std::string out;
  for (double v = a.x_low; v <= a.x_high * 1.001; v *= 4) {
    out += svg::line_from(a.x(v), kRoofTop, a.x(v), kRoofHeight - kRoofBottom, "#e5e5e5", 1);
    out += svg::text_at(a.x(v), kRoofHeight - kRoofBottom + 16, str(v),
                        {.anchor = "middle", .size = 11});
  }
  for (double v = a.y_low; v <= a.y_high * 1.001; v *= 10) {
    out += svg::line_from(kRoofLeft, a.y(v), kRoofWidth - kRoofRight, a.y(v), "#e5e5e5", 1);
    out += svg::text_at(kRoofLeft - 6, a.y(v) + 4, str(v), {.anchor = "end", .size = 11});
  }
  out += svg::text_at((kRoofLeft + kRoofWidth - kRoofRight) / 2, kRoofHeight - 12,
                      "operations per byte", {.anchor = "middle"});
  out += svg::text_at(kRoofLeft, kRoofTop - 10, "Gops/s", {.anchor = "middle"});
  return out;
}

/// A peak, and the slope of a bandwidth (GB/s) up to it.
std::string roof(const LogAxes& a, double bandwidth, double peak, const std::string& color) {
  const double from = std::max(a.x_low, a.y_low / bandwidth);
  const double knee = std::min(peak / bandwidth, a.x_high);
  return svg::line_from(a.x(from), a.y(from * bandwidth), a.x(knee), a.y(knee * bandwidth), color,
                        1.5);
}

std::string level(const LogAxes& a, double peak, const std::string& name) {
  return svg::line_from(kRoofLeft, a.y(peak), kRoofWidth - kRoofRight, a.y(peak), svg::kInk, 1.5,
                        " stroke-dasharray=\"5 3\"") +
         svg::text_at(kRoofWidth - kRoofRight + 6, a.y(peak) + 4, name, {.size = 11});
}

std::string description(const Roofline& roofline) {
  std::string out =
      str("Gops per second over operations per byte. Peaks: ", whole(roofline.sgemm / 1e9),
          " of sgemm, ", whole(roofline.integer / 1e9), " of 8-bit integers.");
  for (const RooflineDot& d : roofline.dots) {
    out += str(' ', d.name, ", ", d.phase, ", batch ", d.batch, ": ", whole(d.tokens_per_second()),
               " tokens/s, ", whole(100 * roofline.share(d)), " % of the roof.");
  }
  return out;
}

}  // namespace

void require_measured(const Roofline& roofline) {
  const auto require = [](std::string_view of, const char* key, double v) {
    check(is_measured(v), "roofline", of, key, " is ", v, ", which no machine measures");
  };
  for (const auto& [key, roof] : kRoofs) require("", key, roofline.*roof);
  for (const RooflineDot& d : roofline.dots) {
    for (const auto& [key, part] : kParts) require(d.name + ": ", key, d.*part);
    check(d.products >= 0 && d.products <= kMostProducts, "roofline", d.name, ": ", d.products,
          " products per weight and token, not 0 to ", kMostProducts);
  }
}

double Roofline::share(const RooflineDot& dot) const {
  const double bandwidth = dot.bytes / dot.roof_seconds;
  const double roof = std::min(peak(dot), bandwidth * dot.intensity());
  return dot.operations / dot.seconds / roof;
}

std::string roofline_svg(const Roofline& roofline) {
  require_measured(roofline);
  constexpr std::array kMarks{Mark::circle,      Mark::square,        Mark::diamond,
                              Mark::triangle_up, Mark::triangle_down, Mark::star};
  LogAxes a{.x_low = 0.25, .x_high = 1024, .y_low = 1, .y_high = 10};
  for (const RooflineDot& row : roofline.dots) {
    while (row.intensity() > a.x_high) a.x_high *= 4;
    // Every slope is seen up to its knee: in caches that may be far to the left.
    const double knee = roofline.peak(row) / (row.bytes / row.roof_seconds);
    while (std::min(knee, row.intensity()) < 2 * a.x_low) a.x_low /= 4;
    while (row.operations / row.seconds / 1e9 < a.y_low) a.y_low /= 10;
  }
  while (std::max(roofline.sgemm, roofline.integer) / 1e9 > a.y_high) a.y_high *= 10;

  std::string out = svg::opening(str(kRoofWidth), str(kRoofHeight),
                                 "Speed under the roofs of this machine", description(roofline));
  out += ticks(a);
  out += level(a, roofline.sgemm / 1e9, str("sgemm ", whole(roofline.sgemm / 1e9), " Gops/s"));
  out += level(a, roofline.integer / 1e9, str("int8 ", whole(roofline.integer / 1e9), " Gops/s"));
  // Below the names of the peaks.
  const double legend = a.y(std::min(roofline.sgemm, roofline.integer) / 1e9) + 60;
  std::vector<std::string> names;
  for (const RooflineDot& row : roofline.dots) {
    auto known = std::ranges::find(names, row.name);
    const bool is_new = known == names.end();
    if (is_new) known = names.insert(names.end(), row.name);
    const auto i = static_cast<std::size_t>(known - names.begin());
    const std::string color(series_color(i));
    const svg::MarkStyle style{
        .mark = kMarks[i % kMarks.size()], .color = color, .hollow = row.phase == "prompt"};
    if (is_new) {  // the bandwidth of its own working set
      const double bandwidth = row.bytes / row.roof_seconds / 1e9;
      out += roof(a, bandwidth, roofline.peak(row) / 1e9, color);
      const double y = legend + 18 * static_cast<double>(i);
      out += svg::mark_at(kRoofWidth - kRoofRight + 14, y - 4, style, row.name);
      out += svg::text_at(kRoofWidth - kRoofRight + 26, y,
                          str(row.name, " (", whole(bandwidth), " GB/s)"), {.size = 11});
    }
    out += svg::mark_at(
        a.x(row.intensity()), a.y(row.operations / row.seconds / 1e9), style, row.name,
        str(row.name, ", ", row.phase, ", batch ", row.batch, ": ", whole(row.tokens_per_second()),
            " tokens/s, ", whole(100 * roofline.share(row)), " % of the roof"));
  }
  out += svg::text_at(kRoofWidth - kRoofRight + 6, legend - 20, "hollow: prompt, filled: decode",
                      {.size = 11});
  return out + "</svg>\n";
}

Json to_json(const Roofline& roofline) {
  Json::Array dots;
  for (const RooflineDot& d : roofline.dots) {
    Json dot = Json::object();
    dot.set("name", d.name).set("phase", d.phase).set("batch", d.batch);
    for (const auto& [key, part] : kParts) dot.set(key, d.*part);
    dots.push_back(std::move(dot.set("products", d.products)));
  }
  Json out = Json::object();
  for (const auto& [key, roof] : kRoofs) out.set(key, roofline.*roof);
  out.set("dots", Json(std::move(dots)));
  return out;
}

Roofline roofline_from_json(const Json& json, std::string_view where) {
  const auto within = [&](const Json& in, const char* key, double low, double high) {
    const double v = in.at(key, where).as_number(where);
    if (v >= low && v <= high) return v;
    refuse_file(where, key, "not a measurement", str(v), str(low, " to ", high),
                "measure again: notch bench RUN_DIR");
  };
  const auto positive = [&](const Json& in, const char* key) {
    return within(in, key, kLeastMeasured, kMostMeasured);
  };
  Roofline out;
  for (const auto& [key, roof] : kRoofs) out.*roof = positive(json, key);
  for (const Json& d : json.at("dots", where).as_array(where)) {
    RooflineDot& dot = out.dots.emplace_back();
    dot.name = d.at("name", where).as_string(where);
    dot.phase = d.at("phase", where).as_string(where);
    dot.batch = d.at("batch", where).as_int(where);
    for (const auto& [key, part] : kParts) dot.*part = positive(d, key);
    dot.products = static_cast<int>(within(d, "products", 0, kMostProducts));
  }
  return out;
}

}  // namespace notch::experiments
