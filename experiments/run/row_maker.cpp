#include "experiments/run/row_maker.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/clock.h"
#include "experiments/machine/machine.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/sample_text.h"
#include "experiments/run/setup.h"
#include "experiments/run/signals.h"
#include "nn/checkpoint.h"
#include "quant/store/model_files.h"

namespace notch::experiments {
namespace {

double round4(double x) { return std::round(1e4 * x) / 1e4; }

}  // namespace

RowMaker::RowMaker(const RunContext& run, std::int64_t seed)
    : run_(run),
      seed_(seed),
      folder_(run.dir.path() / seed_name(seed)),
      scored_on_(scored_hash(run.config, run.data)) {
  results_.seed = seed;
  make_directories(folder_ / kRowsFolder);
  remove_stale_temporaries(run.dir.path() / kModelsFolder, RunDir::is_model);
  remove_stale_temporaries(folder_, [](std::string_view name) { return name == kLayerStudy; });
  remove_stale_temporaries(folder_ / kRowsFolder, [](std::string_view name) {
    return name.ends_with(kRowExtension) || name.ends_with(kSensitivityExtension);
  });
  for (const fs::path& phase : entries_of(folder_ / kCheckpointsFolder))
    nn::remove_stale_checkpoints(phase);
}

void RowMaker::compare_with(nn::Model& base) {
  base_.emplace(base, scored_text(run_.config, run_.data).tokens);
}

bool RowMaker::make(RowResult row, const Build& build) {
  const fs::path file = row_file(run_.dir.path(), seed_, row.name);
  if (has_row(run_.dir, seed_, row.name)) {
    if (auto found = finished_row(file, model(row.name), row.name, run_.progress)) {
      follow_plan(*found, row);
      if (found->scored_on != scored_on_) {
        found->build = then_build(found->build, build_text());
        score(*found);
        write_file(file, row_text(*found));
      }
      if (run_.time) run_.time->found(seed_, row.name, found->seconds);
      forget_training(row.name);  // a kill may have come before
      results_.rows.push_back(std::move(*found));
      return true;
    }
  }
  if (stop_requested()) return false;
  const double began = seconds_now();
  double scoring = 0;
  if (run_.time) run_.progress.run(run_.time->begin(seed_, row.name));
  row.build = build_text();
  make_directories(model(row.name).parent_path());
  try {
    DirectoryWriter dir(model(row.name));
    run_.data.source.tokenizer.save(dir.temporary());
    if (!build(row, dir.temporary())) return false;
    dir.commit();
    scoring = seconds_now();
    score(row);
    scoring = seconds_now() - scoring;
  } catch (const Error& e) {
    ErrorParts parts = e.parts();
    if (parts.where != row.name) parts.where = str(row.name, ": ", parts.where);
    throw Error(std::move(parts));
  }
  write_file(file, row_text(row));
  forget_training(row.name);
  // Of a training that an earlier session began this one saw the rest alone.
  if (run_.time) run_.time->end(row.name, std::max(seconds_now() - began, row.seconds + scoring));
  results_.rows.push_back(std::move(row));
  return true;
}

void RowMaker::forget_training(const std::string& row) const {
  if (row != kBaseRow) remove_checkpoints(run_.dir, seed_, row);
}

void RowMaker::score(RowResult& row) {
  const quant::LoadedModel loaded = read_model(model(row.name), row);
  row.scored_on = scored_on_;
  const ScoredText text = scored_text(run_.config, run_.data);
  row.eval = base_ ? evaluate(*loaded.model, text.bytes_per_token, *base_)
                   : evaluate(*loaded.model, text.tokens, text.bytes_per_token);
  row.accuracy.reset();
  if (!run_.data.task.empty())
    row.accuracy = task_accuracy(*loaded.model, run_.data.source.tokenizer, run_.data.task);
  row.sample = sample_text(*loaded.model, run_.data.source.tokenizer, text.tokens,
                           static_cast<std::uint64_t>(seed_));
  run_.progress.note(str(row.name, ": ", text.name, " loss ", round4(row.eval.loss), ", ",
                         row.file_bytes, " bytes"));
}

}  // namespace notch::experiments
