#include "experiments/show/plot.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/error.h"
#include "experiments/show/plot_axis.h"
#include "experiments/show/svg.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

constexpr double kPlotLeft = 78, kPlotRight = 132, kPlotTop = 44, kAxis = 46, kRow = 19;  // pixels
constexpr const char* kFaint = "#e6e6e6";

/// Labels at heights at least `distance` apart, as near to where they belong as their order allows.
std::vector<double> spread_out(const std::vector<double>& wanted, double distance, double bottom) {
  std::vector<std::size_t> order(wanted.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return wanted[i]; });
  std::vector<double> y = wanted;
  for (std::size_t i = 1; i < order.size(); ++i) {
    y[order[i]] = std::max(y[order[i]], y[order[i - 1]] + distance);
  }
  double limit = bottom;
  for (std::size_t i = order.size(); i-- > 0; limit -= distance) {
    y[order[i]] = std::min(y[order[i]], limit);
  }
  return y;
}

/// Not beyond it: differences of such numbers are numbers.
constexpr double kReach = 1e300;

bool has_place(const Plot& plot, double x) {
  return std::abs(x) <= kReach && (x > 0 || !plot.x_is_log);
}
bool has_height(double y) { return std::abs(y) <= kReach; }

bool is_shown(const Plot& plot, const PlotPoint& p) {
  return has_place(plot, p.x) && has_height(p.y);
}

std::string between(double low, double high) {
  return low == high ? general(low) : str(general(low), " to ", general(high));
}

/// What can be seen, in words: the axes, and where every series and level is.
std::string description(const Plot& plot) {
  std::string out = str(plot.y_label, " over ", plot.x_label, ".");
  for (const PlotSeries& s : plot.series) {
    Range x, y;
    std::size_t points = 0;
    for (const PlotPoint& p : s.points) {
      if (!is_shown(plot, p)) continue;
      x.add(p.x);
      y.add(p.y);
      ++points;
    }
    if (points == 0) continue;
    const std::string& name = s.end_label.empty() ? s.name : s.end_label;
    out +=
        str(' ', name.empty() ? "A line" : name, ": ", points, points == 1 ? " point" : " points",
            ", x ", between(x.low, x.high), ", y ", between(y.low, y.high), ".");
  }
  for (const PlotLevel& l : plot.levels) {
    if (has_height(l.y)) out += str(" A level line: ", l.name, " at ", general(l.y), ".");
  }
  return out;
}

class Drawing {
 public:
  explicit Drawing(const Plot& plot) : plot_(plot), scale_(choose_scale(plot)) {
    for (const PlotSeries& s : plot.series) {
      const bool known = std::ranges::any_of(
          legend_, [&](const PlotSeries* other) { return other->name == s.name; });
      if (!s.name.empty() && !known) legend_.push_back(&s);
    }
    place_legend();
    // The plot area keeps its height, however long the legend.
    bottom_ = plot.height - kAxis - kRow;
    height_ = bottom_ + kAxis + kRow * std::max(1.0, static_cast<double>(legend_rows_));
    // The margin is for names that stand there.
    double margin = 14;
    const auto make_room = [&](std::string_view name) {
      if (!name.empty()) margin = std::max({margin, kPlotRight, svg::text_width(name) + 20});
    };
    for (const PlotLevel& level : plot.levels) make_room(level.name);
    for (const PlotSeries& series : plot.series) make_room(series.end_label);
    right_ = plot.width - std::min(margin, 0.4 * plot.width);
    measure();
  }

  std::string text() {
    out_ = svg::opening(str(plot_.width), svg::px(height_), plot_.title, description(plot_));
    out_ += svg::text_at(kPlotLeft, 20, plot_.title, {.size = 14, .more = " font-weight=\"bold\""});
    axes();
    places();
    for (const PlotLevel& level : plot_.levels) {
      if (!has_height(level.y)) continue;
      out_ += svg::line_from(kPlotLeft, y(level.y), right_, y(level.y), level.color, 1.4,
                             " stroke-dasharray=\"6 4\"");
    }
    for (const PlotSeries& s : plot_.series) draw(s);
    for (const PlotSeries& s : plot_.series) marks(s);
    right_margin();
    legend();
    return out_ + "</svg>\n";
  }

 private:
  /// What grows evenly along the x axis.
  double across(double v) const { return plot_.x_is_log ? std::log10(v) : v; }
  double x(double v) const {
    return kPlotLeft + margin_ +
           (across(v) - x_.low) / (x_.high - x_.low) * (right_ - kPlotLeft - 2 * margin_);
  }
  double y(double v) const {
    return bottom_ - (scale_(v) - y_.low) / (y_.high - y_.low) * (bottom_ - kPlotTop);
  }

  /// Of an error bar.
  std::pair<double, double> ends(const PlotPoint& p) const {
    const double error = has_height(p.error) ? std::max(p.error, 0.0) : 0.0;
    return {std::max(p.y - error, std::min(p.y, plot_.y_least)),
            std::min(p.y + error, std::max(p.y, plot_.y_most))};
  }

  void measure() {
    bool has_marks = false;
    for (const PlotSeries& s : plot_.series) {
      has_marks = has_marks || s.mark != Mark::none;
      for (const PlotPoint& p : s.points) {
        if (!is_shown(plot_, p)) continue;
        x_.add(across(p.x));
        const auto [low, high] = ends(p);
        y_.add(scale_(low));
        y_.add(scale_(high));
      }
    }
    for (const PlotLevel& level : plot_.levels)
      if (has_height(level.y)) y_.add(scale_(level.y));
    for (const PlotPlace& place : plot_.places)
      if (has_place(plot_, place.x)) x_.add(across(place.x));
    if (x_.empty) x_.add(0);
    if (y_.empty) y_.add(0);
    x_.widen(0, 1);
    y_.widen(has_marks ? 0.08 : 0.03, std::max(std::abs(y_.high) * 0.1, 1e-6));
    margin_ = has_marks ? 16 : 0;
  }

  void axes() {
    for (const Tick& t : ticks_of(scale_, y_)) {
      out_ += svg::line_from(kPlotLeft, y(t.value), right_, y(t.value), kFaint, 1);
      out_ += svg::text_at(kPlotLeft - 8, y(t.value) + 4, t.label, {.anchor = "end"});
    }
    const double unit = (x_.high - x_.low) / (right_ - kPlotLeft - 2 * margin_);
    const double low = x_.low - margin_ * unit, high = x_.high + margin_ * unit;
    for (const double v : plot_.x_is_log ? log_numbers(low, high) : round_numbers(low, high, 7)) {
      out_ += svg::line_from(x(v), bottom_, x(v), bottom_ + 5, svg::kInk, 1);
      out_ += svg::text_at(x(v), bottom_ + 18, general(v), {.anchor = "middle"});
    }
    out_ += str("<rect class=\"area\" x=\"", svg::px(kPlotLeft), "\" y=\"", svg::px(kPlotTop),
                "\" width=\"", svg::px(right_ - kPlotLeft), "\" height=\"",
                svg::px(bottom_ - kPlotTop), "\" fill=\"none\" stroke=\"#888888\"/>\n");
    std::string across = plot_.x_label, label = plot_.y_label;
    if (scale_.linear_to > 0) {
      const std::string note = str("linear to ±", general(scale_.linear_to), ", then log");
      const bool fits = svg::text_width(label + "; " + note) < height_;
      if (fits) label += "; " + note;
      if (!fits) across += str(" (y: ", note, ')');
    }
    out_ += svg::text_at((kPlotLeft + right_) / 2, bottom_ + 36, across, {.anchor = "middle"});
    const double middle = (kPlotTop + bottom_) / 2;
    const std::string turn = str(" transform=\"rotate(-90 12 ", svg::px(middle), ")\"");
    out_ += svg::text_at(12, middle, label, {.anchor = "middle", .more = turn});
  }

  /// Names of places in one line; those that would run into each other share a label.
  void places() {
    std::vector<const PlotPlace*> sorted;
    for (const PlotPlace& p : plot_.places) {
      if (has_place(plot_, p.x)) sorted.push_back(&p);
    }
    std::ranges::stable_sort(sorted, {}, [](const PlotPlace* p) { return p->x; });
    struct Label {
      std::string name{};
      double first = 0, last = 0;  // pixels
      double middle() const { return (first + last) / 2; }
    };
    std::vector<Label> labels;
    double free = 0;
    for (const PlotPlace* p : sorted) {
      const double at = x(p->x);
      if (labels.empty() || at - svg::text_width(p->name) / 2 >= free) {
        labels.push_back({p->name, at, at});
      } else {
        labels.back().name += " / " + p->name;
        labels.back().last = at;
      }
      free = labels.back().middle() + svg::text_width(labels.back().name) / 2 + 8;
    }
    for (const Label& label : labels) {
      out_ += svg::text_at(label.middle(), kPlotTop - 6, label.name,
                           {.anchor = "middle", .color = "#555555"});
    }
  }

  /// Attributes that tell a page's script whose line, bar or mark this is.
  static std::string known_by(const PlotPoint& p, bool width) {
    if (p.method.empty()) return "";
    return str(p.model.empty() ? "" : str(" data-model=\"", escaped_markup(p.model), '"'),
               " data-method=\"", escaped_markup(p.method), '"',
               width ? str(" data-bits=\"", escaped_markup(p.bits), '"') : "");
  }

  void draw(const PlotSeries& s) {
    std::string path;
    for (const PlotPoint& p : s.points) {
      if (!is_shown(plot_, p)) continue;
      if (s.line) path += str(path.empty() ? "M" : "L", svg::px(x(p.x)), ' ', svg::px(y(p.y)));
      if (!has_height(p.error) || p.error <= 0) continue;
      const auto [least, most] = ends(p);
      const double at = x(p.x), low = y(least), high = y(most);
      const std::string whose = known_by(p, true);
      out_ += svg::line_from(at, low, at, high, s.color, 1.3, whose);
      out_ += svg::line_from(at - 3, low, at + 3, low, s.color, 1.3, whose);
      out_ += svg::line_from(at - 3, high, at + 3, high, s.color, 1.3, whose);
    }
    if (path.empty()) return;
    const bool faint = s.mark != Mark::none;
    out_ +=
        str("<path d=\"", path, "\" fill=\"none\" stroke=\"", escaped_markup(s.color),
            "\" stroke-width=\"1.3\" stroke-linejoin=\"round\"",
            faint ? " stroke-opacity=\"0.35\"" : "", s.hollow ? " stroke-dasharray=\"3 3\"" : "",
            known_by(s.points.front(), false), "/>\n");
  }

  void marks(const PlotSeries& s) {
    if (s.mark == Mark::none) return;
    for (const PlotPoint& p : s.points) {
      if (!is_shown(plot_, p)) continue;
      const svg::MarkStyle style{s.mark, s.color, s.hollow};
      out_ += svg::mark_at(x(p.x), y(p.y), style, "mark", p.note, known_by(p, true));
    }
  }

  void right_margin() {
    struct Label {
      std::string_view name{}, color{};
    };
    std::vector<Label> labels;
    std::vector<double> wanted;
    for (const PlotLevel& level : plot_.levels) {
      if (!has_height(level.y)) continue;
      labels.push_back({level.name, level.color});
      wanted.push_back(y(level.y));
    }
    for (const PlotSeries& s : plot_.series) {
      if (s.end_label.empty() || s.points.empty() || !is_shown(plot_, s.points.back())) continue;
      labels.push_back({s.end_label, s.color});
      wanted.push_back(y(s.points.back().y));
    }
    const std::vector<double> at = spread_out(
        wanted,
        std::min(14.0, (bottom_ - kPlotTop) / std::max(1.0, static_cast<double>(wanted.size()))),
        bottom_ - 2);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      out_ += svg::line_from(right_, wanted[i], right_ + 9, at[i], labels[i].color, 1);
      out_ += svg::text_at(right_ + 12, at[i] + 4, labels[i].name, {.color = labels[i].color});
    }
  }

  double entry_width() const {
    double widest = 0;
    for (const PlotSeries* s : legend_) widest = std::max(widest, svg::text_width(s->name));
    return widest + 36;
  }
  void place_legend() {
    columns_ = std::max<std::size_t>(
        1, static_cast<std::size_t>((plot_.width - kPlotLeft - 8) / entry_width()));
    legend_rows_ = (legend_.size() + columns_ - 1) / columns_;
  }
  void legend() {
    for (std::size_t i = 0; i < legend_.size(); ++i) {
      const double left = kPlotLeft + entry_width() * static_cast<double>(i % columns_);
      const double at = bottom_ + kAxis + 8 + kRow * static_cast<double>(i / columns_);
      const PlotSeries& s = *legend_[i];
      if (s.line) out_ += svg::line_from(left, at - 4, left + 18, at - 4, s.color, 1.3);
      if (s.mark != Mark::none)
        out_ += svg::mark_at(left + 9, at - 4, {s.mark, s.color, s.hollow}, "key");
      out_ += svg::text_at(left + 24, at, s.name);
    }
  }

  const Plot& plot_;
  Scale scale_;
  std::vector<const PlotSeries*> legend_{};
  std::size_t columns_ = 1, legend_rows_ = 0;
  double bottom_ = 0, right_ = 0, height_ = 0, margin_ = 0;
  Range x_{}, y_{};
  std::string out_{};
};

}  // namespace

std::string svg_of(const Plot& plot) {
  constexpr int kLeastWidth = 200, kLeastHeight = 120, kMost = 20'000;
  check(plot.width >= kLeastWidth && plot.width <= kMost && plot.height >= kLeastHeight &&
            plot.height <= kMost,
        "plot", plot.title, " is ", plot.width, " x ", plot.height, " pixels, not ", kLeastWidth,
        " x ", kLeastHeight, " to ", kMost, " each");
  return Drawing(plot).text();
}

}  // namespace notch::experiments
