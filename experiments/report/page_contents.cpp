#include "experiments/report/page_contents.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "experiments/run/sample_text.h"

namespace notch::experiments {
namespace {

/// Length of the common beginning, which ends with a character.
std::size_t common(std::string_view a, std::string_view b) {
  auto n = static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  const auto is_inside = [&](std::string_view text) {
    return n < text.size() && (static_cast<unsigned char>(text[n]) & 0xC0u) == 0x80u;
  };
  while (n > 0 && (is_inside(a) || is_inside(b))) --n;
  return n;
}

}  // namespace

PageSamples page_samples(const SeedResults& seed, const std::vector<WidthSummary>& widths) {
  const RowResult& base = row_of(seed, kBaseRow);
  for (const WidthSummary& w : widths) require_whole(w);
  if (base.sample.text.empty()) return {};
  PageSamples out{
      .notes =
          str("What the models of seed ", seed.seed, " write after the same prompt with the ",
              "same random numbers, temperature ", kSampleTemperature,
              ". Where a text parts from that of its model in full precision, fp32 or the "
              "control, it is marked. One sample shows how a model sounds, not how good it is."),
      .prompt = base.sample.prompt};
  const auto add = [&](const RowResult* row, std::string title) {
    if (!row || row->sample.text.empty()) return;
    const RowResult* control = find_row(seed, row->control.empty() ? kBaseRow : row->control);
    const RowResult& whole = control && row->name != kControlRow ? *control : *row;
    out.samples.push_back({.title = std::move(title),
                           .text = row->sample.text,
                           .same = common(row->sample.text, whole.sample.text)});
  };
  add(&base, std::string(kBaseRow));
  add(find_row(seed, kControlRow), "control, fp32 trained on");
  for (const WidthSummary& w : widths) {
    for (const FamilyBest& f : w.families) {
      add(find_row(seed, f.row->name), str(w.title, ", ", label(*f.row)));
    }
  }
  return out;
}

HeatMap study_map(const ModelStudy& study) {
  HeatMap map{
      .title = "One matrix at a time",
      .notes = str("fp32 of the first seed with one matrix rounded to nearest and the others left "
                   "alone: signal to rounding noise in dB, on symmetric ranges that clip nothing; "
                   "the change of loss in thousandths of a nat, on the grid of the table, over ",
                   study.tokens,
                   " validation tokens; and of the input's channels how much louder "
                   "the loudest is than the median, and how many are louder than six times that. "
                   "Changes need not add up.")};
  for (const LayerStudy& l : study.layers) {
    check(l.sqnr_db.size() == std::size_t{kStudyHighest - kStudyLowest + 1} &&
              l.loss_change.size() == study.bits.size(),
          "layer study", l.name, " has ", l.sqnr_db.size(), " figures of noise and ",
          l.loss_change.size(), " losses of ", study.bits.size(), " widths");
  }
  for (const LayerStudy& l : study.layers) map.rows.push_back(l.name);
  const auto column = [&](HeatColumn c, const auto& value) {
    for (const LayerStudy& l : study.layers) c.values.push_back(value(l));
    map.columns.push_back(std::move(c));
  };
  for (const int bits : study.bits) {
    if (bits < kStudyLowest || bits > kStudyHighest) continue;
    column({.title = str("dB at ", bits, " bits"), .group = "sqnr", .low_is_bad = true},
           [&](const LayerStudy& l) {
             return l.sqnr_db[static_cast<std::size_t>(bits - kStudyLowest)];
           });
  }
  for (std::size_t i = 0; i < study.bits.size(); ++i) {
    column({.title = str("loss at ", study.bits[i], " bits"),
            .group = str("loss", study.bits[i]),
            .decimals = 2,
            .sign = true},
           [&](const LayerStudy& l) { return 1000 * l.loss_change[i]; });
  }
  const auto input = [](const LayerStudy& l, double v) { return l.loudest > 0 ? v : std::nan(""); };
  column({.title = "loudest ÷ median", .group = "loudest"},
         [&](const LayerStudy& l) { return input(l, l.loudest); });
  column({.title = "outlier channels", .group = "outliers", .decimals = 0},
         [&](const LayerStudy& l) { return input(l, static_cast<double>(l.outliers)); });
  return map;
}

std::vector<WeightHistogram> study_weights(const ModelStudy& study) {
  std::vector<WeightHistogram> out;
  for (const LayerStudy& l : study.layers) {
    out.push_back({.name = l.name, .shares = l.histogram, .sqnr_db = l.sqnr_db});
  }
  return out;
}

std::vector<std::string> limits(const ExperimentConfig& config, const Statistics& statistics) {
  const std::size_t seeds = statistics.seeds().size();
  const RowResult& base = row_of(statistics.seeds().front(), kBaseRow);
  std::vector<std::string> out{
      str("One text and one model of ", base.size.weights,
          " parameters: another text or another size may order the methods differently "
          "(experiments/sizes.sh repeats the comparison at four sizes).")};
  if (seeds == 1) {
    out.push_back(
        "One seed: the intervals are those of this trained model on other text of the "
        "kind, not of other trainings.");
  }
  if (config.data.test_fraction == 0) {
    out.push_back(
        "Rows are scored on the validation split, which one also watches while training: settings "
        "that were chosen by looking at it look better than they are (data.test_fraction keeps a "
        "split that nothing else reads).");
  }
  if (std::ranges::all_of(planned_rows(config),
                          [](const RowConfig& r) { return r.activations == 0; })) {
    out.push_back(
        "Only weights are quantized: what enters the layers is fp32 (a row has activations).");
  }
  out.push_back(
      "The same bits come again on the same kind of processor only, as OpenBLAS chooses its "
      "kernels by it; seconds are those of this machine and of what else ran on it.");
  return out;
}

}  // namespace notch::experiments
