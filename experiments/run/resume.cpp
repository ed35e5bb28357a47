#include "experiments/run/resume.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/printable.h"
#include "experiments/config/config_effects.h"
#include "experiments/run/metrics.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/row_files.h"
#include "experiments/run/run_digests.h"
#include "experiments/run/run_dir.h"

namespace notch::experiments {
namespace {

/// What an artefact is made from, by its name: a configuration with everything else at its default.
using Artefacts = std::map<std::string, ExperimentConfig, std::less<>>;

/// Of the fp32 models. `with_path`: for runs that kept no hash of their text.
ExperimentConfig of_base(const ExperimentConfig& config, bool with_path) {
  ExperimentConfig used = numbers_of(config);
  used.seeds.clear();  // each is a run of its own
  if (!with_path) {
    used.data.path.clear();
    for (std::string* from : {&used.model.from, &used.distill.teacher})
      if (!from->empty()) *from = "a directory";
  }
  // Of the scoring: rows know what they were scored on.
  used.data.task_examples = DataConfig{}.task_examples;
  used.data.score = DataConfig{}.score;
  used.train.backward = TrainConfig{}.backward;
  used.quant = {};
  used.activations = {};
  used.calib = {};
  used.qat = {};
  if (used.distill.teacher.empty()) used.distill = {};
  used.distill.lr_scale = DistillConfig{}.lr_scale;
  used.qlora = {};
  used.row = {};
  return used;
}

/// Of what is made from fp32: the settings of `rows` that they use.
ExperimentConfig of_rows(ExperimentConfig config, std::vector<RowConfig> rows, bool control) {
  ExperimentConfig used = numbers_of(std::move(config));
  used.seeds.clear();
  used.data = {};  // fp32's
  used.model = {};
  used.train = {.products = used.train.products, .backward = used.train.backward};
  if (!used.distill.teacher.empty()) used.distill.teacher = "a directory";
  used.quant.at.clear();  // they are in the sections, as those of `set`
  for (RowConfig& row : rows) row.set.clear();
  used.quant.control = control;
  used.row = std::move(rows);
  return effective(std::move(used));
}

Artefacts artefacts_of(const ExperimentConfig& config) {
  Artefacts all;
  // A control's name has what it has of its own.
  const ExperimentConfig shared = of_rows(config, {{.method = std::string(kBaseRow)}}, true);
  for (const Control& c : controls(config, 0)) all[c.name] = shared;
  for (const RowConfig& planned : planned_rows(config)) {
    const RowResult row = planned_result(config, planned);
    const ExperimentConfig used = all[row.name] =
        of_rows(row_config(config, planned), {planned}, false);
    for (const RowResult& of_control : of_controls(config, row)) {
      all[of_control.name] = used;
      all[of_control.name].qat = shared.qat;
    }
  }
  return all;
}

Json hashes_of(const ExperimentConfig& config, const Data& data) {
  const data::TextSource& source = data.source;
  Json text = Json::object(), tokenizer = Json::object(), all = Json::object();
  text.set("name", source.corpus.name)
      .set("bytes", static_cast<std::int64_t>(source.corpus.bytes))
      .set("sha256", source.corpus.sha256);
  tokenizer.set("name", std::string(data::name(source.tokenizer.kind())))
      .set("sha256", source.tokenizer.definition_hash());
  all.set("text", text).set("tokenizer", tokenizer);
  const auto add = [&](const char* what, const std::string& dir, const std::string& sha256) {
    if (dir.empty()) return;
    Json model = Json::object();
    model.set("name", fs::path(dir).filename().string()).set("sha256", sha256);
    all.set(what, std::move(model));
  };
  add("model", config.model.from, data.model_sha256);
  add("teacher", config.distill.teacher, data.teacher_sha256);
  return all;
}

void require_same_contents(const Json& before, const Json& now, const ExperimentConfig& config,
                           const std::string& where) {
  const std::string& text_path = config.data.path;
  for (const auto& [what, input] : before.as_object(where)) {
    const std::string& was = input.at("sha256", where).as_string(where);
    const Json* present = now.find(what);
    const std::string is = present ? present->at("sha256", where).as_string(where) : "nothing";
    if (is == was) continue;
    const bool text = what == "text";
    if (what == "model" || what == "teacher") {
      const bool first = what == "model";
      const std::string& dir = first ? config.model.from : config.distill.teacher;
      throw Error({.fault = Fault::mismatch,
                   .where = dir.empty() ? where : dir,
                   .what = str("the ", what, " is not the one that the run to resume began with"),
                   .field = what,
                   .found = "sha256 " + is,
                   .expected = "sha256 " + was,
                   .hint = str("put the ", what, " of then in its place (it may lie anywhere: ",
                               first ? "model.from" : "distill.teacher",
                               "), or start a new run with --out")});
    }
    throw Error({.fault = Fault::mismatch,
                 .where = text && !text_path.empty() ? text_path : what,
                 .what = text ? "the text is not the one that the run to resume was begun with"
                              : str("this build makes another ", what,
                                    " of the text than the run to resume has"),
                 .field = what,
                 .found = "sha256 " + is,
                 .expected = "sha256 " + was,
                 .hint = text ? "put the text of then in its place (it may lie anywhere: "
                                "data.path), or start a new run with --out"
                              : "resume with the build of then, or start a new run with --out"});
  }
}

/// "rtn-int4-seed7": the row it is of.
std::string without_seed(const std::string& name) { return name.substr(0, name.rfind("-seed")); }

/// Removes what was made of other settings; the rows of which something was there. A row that is
/// not in the table any more keeps its model, not its results: nothing says later what they mean.
/// What has no name that a run gives is someone else's and stays. Nothing is removed behind a link,
/// where it may be another run's too, and nothing outdated may stay.
std::set<std::string> remove_outdated(const fs::path& run, const Artefacts& before,
                                      const Artefacts& now) {
  const auto outdated = [&](const std::string& name) {
    const auto was = before.find(name), is = now.find(name);
    if (name == kBaseRow || (was == before.end() && is == now.end())) return false;
    return was == before.end() || is == now.end() || was->second != is->second;
  };
  std::vector<std::pair<fs::path, std::string>> found;
  const auto look = [&](const fs::path& folder, const auto& row_of) {
    const bool of_seed = folder.parent_path() != run;  // the run itself may be a link
    const bool linked = fs::is_symlink(folder) || (of_seed && fs::is_symlink(folder.parent_path()));
    for (const fs::path& entry : entries_of(folder)) {
      const std::string row = row_of(entry);
      if (!outdated(row)) continue;
      if (linked) {
        throw Error({.where = folder.string(),
                     .what = "lies behind a link and has something of other settings",
                     .found = entry.filename().string(),
                     .hint = "put the folder itself in the link's place, or start a new run with "
                             "--out"});
      }
      found.emplace_back(entry, row);
    }
  };
  std::vector<fs::path> seeds;
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    if (RunDir::is_seed(entry.path().filename().string())) seeds.push_back(entry.path());
  }
  for (const fs::path& seed : seeds) {
    look(seed / kRowsFolder, [](const fs::path& file) {
      const bool ours =
          file.extension() == kRowExtension || file.extension() == kSensitivityExtension;
      return ours ? file.stem().string() : std::string();
    });
    look(seed / kCheckpointsFolder,
         [](const fs::path& folder) { return row_of_phase(folder.filename().string()); });
  }
  look(run / kModelsFolder, [&](const fs::path& folder) {
    const std::string name = folder.filename().string(), row = without_seed(name);
    if (!RunDir::is_model(name)) return std::string();
    return now.contains(row) ? row : std::string(kBaseRow);
  });
  std::set<std::string> removed;
  for (const auto& [entry, row] : found) {
    fs::remove_all(entry);
    removed.insert(row);
  }
  return removed;
}

/// Compares with the configuration of then, and makes room for what has to be made again.
std::vector<std::string> compare_configurations(const RunDir& dir, const ExperimentConfig& now,
                                                bool with_path) {
  const fs::path file = dir.config_file();
  const ExperimentConfig before = parse_config(read_file(file), file.string()).config;
  if (const std::optional<Override> other =
          first_difference(of_base(before, with_path), of_base(now, with_path))) {
    throw Error({.where = file.string(),
                 .what = "the run to resume trained fp32 with other settings",
                 .field = other->key,
                 .found = other->after,
                 .expected = other->before,
                 .hint =
                     "resume with the same value (settings of rows may change), start a new run "
                     "with --out, or replace this one with --force"});
  }
  const Artefacts was = artefacts_of(before), is = artefacts_of(now);
  std::vector<std::string> notes;
  for (const std::string& name : remove_outdated(dir.path(), was, is)) {
    if (!is.contains(name)) continue;
    const std::optional<Override> change =
        was.contains(name) ? first_difference(was.at(name), is.at(name)) : std::nullopt;
    notes.push_back(str("resume   ", name, " is made again: ",
                        change ? str(change->key, "  ", change->before, " -> ", change->after)
                               : "it was not in the table"));
  }
  return notes;
}

/// Of the rows that are there, those that were trained and are not told of any more.
std::string lost_curves(const RunDir& dir, const ExperimentConfig& config) {
  std::vector<SeedResults> made;
  for (const std::int64_t seed : config.seeds) {
    SeedResults& of = made.emplace_back(SeedResults{.seed = seed});
    for (RowResult& row : planned_results(config)) {
      if (has_row(dir, seed, row.name)) of.rows.push_back(std::move(row));
    }
  }
  const fs::path file = dir.path() / kMetricsFile;
  return rows_without_curve(config, made, fs::exists(file) ? read_file(file) : "");
}

}  // namespace

std::optional<Override> first_conflict(const ExperimentConfig& a, const ExperimentConfig& b) {
  if (const auto base = first_difference(of_base(a, false), of_base(b, false))) return base;
  const Artefacts of_a = artefacts_of(a), of_b = artefacts_of(b);
  for (const auto& [name, used] : of_a) {
    const auto other = of_b.find(name);
    if (other == of_b.end()) continue;
    if (const auto difference = first_difference(used, other->second)) return difference;
  }
  return std::nullopt;
}

std::vector<std::string> begin_run(const RunDir& dir, const ExperimentConfig& config,
                                   const Data& data) {
  std::vector<std::string> notes;
  const Json hashes = hashes_of(config, data);
  if (dir.resumes()) {
    const Json before = dir.inputs();
    if (before.is_null()) {
      notes.push_back(
          "warning  the run was begun by a build that kept no hashes of what it read: its "
          "configuration is compared, its text is not");
    } else {
      require_same_contents(before, hashes, config, dir.path().string());
    }
    for (std::string& note : compare_configurations(dir, config, before.is_null())) {
      notes.push_back(std::move(note));
    }
  }
  if (const std::string lost = lost_curves(dir, config); !lost.empty()) {
    notes.push_back(str("warning  ", printable((dir.path() / kMetricsFile).string()),
                        " has no line of ", lost, ": the report will have no curve of it"));
  }
  forget_digests(dir.path());
  ExperimentConfig kept = config;
  kept.out.clear();  // where the file lies
  dir.write_config(to_toml(kept));
  dir.write_inputs(hashes);
  return notes;
}

}  // namespace notch::experiments
