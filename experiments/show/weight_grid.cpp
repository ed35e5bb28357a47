#include "experiments/show/weight_grid.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/json.h"
#include "experiments/show/svg.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

// The script draws in the same places.
constexpr double kHistogramLeft = 20, kHistogramRight = 420, kHistogramTop = 34,
                 kHistogramBottom = 184;                                    // histogram
constexpr double kNoiseLeft = 480, kNoiseRight = 640, kNoiseDecibels = 60;  // noise
constexpr int kLowest = 2;
constexpr std::size_t kMostWidths = 7;  // to 8 bits

double noise_x(std::size_t i, std::size_t n) {
  return kNoiseLeft + (kNoiseRight - kNoiseLeft) * static_cast<double>(i) /
                          static_cast<double>(std::max<std::size_t>(n - 1, 1));
}

/// As JSON and pictures have numbers: without noise the end of the axis, without a signal its beginning.
double finite(double db) {
  if (std::isfinite(db)) return db;
  return db > 0 ? kNoiseDecibels : 0;
}

double noise_y(double db) {
  return kHistogramBottom - (kHistogramBottom - kHistogramTop) *
                                std::clamp(finite(db), 0.0, kNoiseDecibels) / kNoiseDecibels;
}

/// Heights of bars, in thousandths of the highest.
std::vector<int> heights(const std::vector<double>& shares) {
  const double most = shares.empty() ? 0 : std::ranges::max(shares);
  std::vector<int> out;
  for (const double s : shares)
    out.push_back(most > 0 ? static_cast<int>(std::lround(1000 * s / most)) : 0);
  return out;
}

std::string bars(const std::vector<int>& h) {
  const double width = (kHistogramRight - kHistogramLeft) / static_cast<double>(h.size());
  std::string d = str("M", svg::px(kHistogramLeft), ' ', svg::px(kHistogramBottom));
  for (std::size_t i = 0; i < h.size(); ++i) {
    const std::string y =
        svg::px(kHistogramBottom - (kHistogramBottom - kHistogramTop) * h[i] / 1000);
    d += str("V", y, "H", svg::px(kHistogramLeft + width * static_cast<double>(i + 1)));
  }
  return d + str("V", svg::px(kHistogramBottom), "Z");
}

std::string grid(int bits) {
  const int most = (1 << (bits - 1)) - 1;
  std::string d;
  for (int k = -most; k <= most; ++k) {
    const double x =
        (kHistogramLeft + kHistogramRight) / 2 + (kHistogramRight - kHistogramLeft) / 2 * k / most;
    d += str("M", svg::px(x), ' ', svg::px(kHistogramTop - 6), "V", svg::px(kHistogramBottom));
  }
  return d;
}

std::string noise(const std::vector<double>& db) {
  std::string d;
  for (std::size_t i = 0; i < db.size(); ++i) {
    d += str(i == 0 ? "M" : "L", svg::px(noise_x(i, db.size())), ' ', svg::px(noise_y(db[i])));
  }
  return d;
}

std::string told(const WeightHistogram& h, int bits) {
  return str(h.name, " at ", bits, " bits: ", (1 << bits) - 1, " values, signal to noise ",
             printed("%.1f", h.sqnr_db[static_cast<std::size_t>(bits - kLowest)]), " dB");
}

/// [["name",[heights],[dB]],…]
std::string data_of(const std::vector<WeightHistogram>& all) {
  std::string out = "[";
  for (const WeightHistogram& h : all) {
    out += str(out.size() > 1 ? "," : "", "[", json_quote(h.name), ",[");
    for (const int v : heights(h.shares)) out += str(out.back() == '[' ? "" : ",", v);
    out += "],[";
    for (const double v : h.sqnr_db)
      out += str(out.back() == '[' ? "" : ",", printed("%.2f", finite(v)));
    out += "]]";
  }
  return out + "]";
}

}  // namespace

std::string weight_grid(const std::vector<WeightHistogram>& all, int bits) {
  check(!all.empty(), "weight_grid", "no histogram");
  const WeightHistogram& first = all.front();
  for (const WeightHistogram& h : all) {
    check(h.sqnr_db.size() == first.sqnr_db.size() && h.sqnr_db.size() <= kMostWidths,
          "weight_grid", h.name, " has ", h.sqnr_db.size(), " widths, ", first.name, ' ',
          first.sqnr_db.size(), ", and there are at most ", kMostWidths);
    const bool counted = std::ranges::all_of(h.shares, [](double s) { return s >= 0 && s <= 1; });
    check(counted && !h.shares.empty(), "weight_grid", h.name, " has shares that are none");
  }
  const int highest = kLowest + static_cast<int>(first.sqnr_db.size()) - 1;
  check(bits >= kLowest && bits <= highest, "weight_grid", bits, " bits; it has ", kLowest, " to ",
        highest);
  const auto label = [](double x, double y, std::string_view words, const char* anchor) {
    return svg::text_at(x, y, words, {.anchor = anchor});
  };
  const auto path = [](const char* name, const std::string& d, const char* look) {
    return str("<path class=\"", name, "\" d=\"", d, "\" ", look, "/>\n");
  };
  const double at = noise_x(static_cast<std::size_t>(bits - kLowest), first.sqnr_db.size());
  const double db = first.sqnr_db[static_cast<std::size_t>(bits - kLowest)];
  std::string out = str("<figure id=\"weights\" data-weights=\"", escaped_markup(data_of(all)),
                        "\" data-bits=\"", bits, "\">\n<div class=\"plot\">\n");
  out += svg::opening(
      "680", "230", "Weights and the values of a grid",
      told(first, bits) +
          ". Left: how often weights lie where in the range of their scale, and a line for every "
          "value that a weight can be rounded to. Right: signal to rounding noise over the width.");
  out += path("bars", bars(heights(first.shares)), "fill=\"#b5cfe2\"");
  out += path("grid", grid(bits), "fill=\"none\" stroke=\"#c04600\" stroke-width=\"1\"");
  for (const auto& [x, name] : {std::pair{kHistogramLeft, "−1"},
                                {(kHistogramLeft + kHistogramRight) / 2, "0"},
                                {kHistogramRight, "1"}}) {
    out += label(x, kHistogramBottom + 16, name, "middle");
  }
  out += label((kHistogramLeft + kHistogramRight) / 2, kHistogramBottom + 34,
               "weight ÷ largest of its scale", "middle");
  for (const double v : {0.0, 20.0, 40.0, 60.0}) {
    out += svg::line_from(kNoiseLeft, noise_y(v), kNoiseRight, noise_y(v), "#e6e6e6", 1);
    out += label(kNoiseLeft - 6, noise_y(v) + 4, str(v), "end");
  }
  for (std::size_t i = 0; i < first.sqnr_db.size(); ++i) {
    out +=
        label(noise_x(i, first.sqnr_db.size()), kHistogramBottom + 16, str(kLowest + i), "middle");
  }
  out += label((kNoiseLeft + kNoiseRight) / 2, kHistogramBottom + 34, "bits", "middle");
  out += label(kNoiseLeft - 24, 18, "signal to noise, dB", "start");
  out +=
      path("noise", noise(first.sqnr_db), "fill=\"none\" stroke=\"#0062a3\" stroke-width=\"1.5\"");
  out += str("<circle class=\"now\" cx=\"", svg::px(at), "\" cy=\"", svg::px(noise_y(db)),
             "\" r=\"5\" fill=\"#c04600\"/>\n</svg>\n</div>\n");
  return out + str("<figcaption aria-live=\"polite\">", escaped_markup(told(first, bits)),
                   "</figcaption>\n</figure>\n");
}

const std::string_view kWeightGridScript = R"(
(function () {
  "use strict";
  var figure = document.getElementById("weights");
  if (!figure) return;
  var all = JSON.parse(figure.dataset.weights), chosen = 0, bits = Number(figure.dataset.bits);
  var said = figure.querySelector("figcaption"), now = figure.querySelector(".now");
  function part(name) { return figure.querySelector("path." + name); }
  function px(x) { return x.toFixed(1); }
  function noiseX(i) { return 480 + 160 * i / Math.max(all[chosen][2].length - 1, 1); }
  function noiseY(db) { return 184 - 150 * Math.min(Math.max(db, 0), 60) / 60; }
  function draw() {
    var heights = all[chosen][1], noise = all[chosen][2], most = Math.pow(2, bits - 1) - 1;
    var bars = "M20 184", grid = "", k;
    heights.forEach(function (h, i) {
      bars += "V" + px(184 - 150 * h / 1000) + "H" + px(20 + 400 * (i + 1) / heights.length);
    });
    for (k = -most; most >= k; k += 1) grid += "M" + px(220 + 200 * k / most) + " 28V184";
    part("bars").setAttribute("d", bars + "V184Z");
    part("grid").setAttribute("d", grid);
    part("noise").setAttribute("d", noise.map(function (db, i) {
      return (i ? "L" : "M") + px(noiseX(i)) + " " + px(noiseY(db));
    }).join(""));
    now.setAttribute("cx", px(noiseX(bits - 2)));
    now.setAttribute("cy", px(noiseY(noise[bits - 2])));
    said.textContent = all[chosen][0] + " at " + bits + " bits: " + (2 * most + 1) +
                       " values, signal to noise " + noise[bits - 2].toFixed(1) + " dB";
  }
  var bar = document.createElement("p"), label = document.createElement("label");
  var slider = document.createElement("input");
  slider.type = "range";
  slider.min = 2;
  slider.max = 1 + all[0][2].length;
  slider.value = bits;
  slider.oninput = function () { bits = Number(slider.value); draw(); };
  label.append("bits ", slider);
  bar.append(label);
  if (all.length > 1) {
    var pick = document.createElement("select"), whose = document.createElement("label");
    all.forEach(function (one, i) { pick.add(new Option(one[0], i)); });
    pick.onchange = function () { chosen = Number(pick.value); draw(); };
    whose.append("matrix ", pick);
    bar.append(whose);
  }
  figure.prepend(bar);
})();
)";

}  // namespace notch::experiments
