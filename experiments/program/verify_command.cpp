// notch verify: whether files are what was written: their digests, what every reader checks, and for
// a run also that its rows are those of its models. --evaluate scores the models again.
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <string>

#include "autograd/base/error.h"
#include "autograd/kernels/sha256.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/results.h"
#include "experiments/run/row_files.h"
#include "experiments/run/run_dir.h"
#include "experiments/run/sensitivity_list.h"
#include "experiments/run/setup.h"
#include "nn/checkpoint.h"
#include "nn/gguf.h"
#include "nn/integrity.h"
#include "nn/manifest.h"

namespace notch::experiments {
namespace {

/// Losses of the same bits on the same machine; another processor may round otherwise.
constexpr double kSameLoss = 1e-5;

constexpr std::string_view kWhatIsVerified =
    "a model, a run, a report, a checkpoint, a row, .safetensors, .gguf or .sensitivity";

class Findings {
 public:
  explicit Findings(fs::path root) : root_(std::move(root)) {}

  /// What `check` says of it; a thrown Error says what is wrong.
  void examine(const fs::path& file, const std::function<std::string()>& check) {
    try {
      add(file, check(), "");
    } catch (const Error& e) {
      damaged(file, e);
    }
  }
  void damaged(const fs::path& file, const Error& e) {
    const ErrorParts& p = e.parts();
    std::string note = p.field.empty() ? p.what : str(p.field, ": ", p.what);
    if (!p.found.empty()) note += "; found " + p.found;
    if (!p.expected.empty()) note += str("; expected ", p.expected);
    ++damaged_;
    add(file, "damaged", note);
  }
  void add(const fs::path& file, const std::string& state, const std::string& note) {
    const fs::path below = file.lexically_relative(root_);
    const bool inside = !below.empty() && below != "." && *below.begin() != "..";
    table_.add_row({text((inside ? below : file).string()), text(state),
                    note.empty() ? missing() : text(note)});
    ++files_;
  }

  std::int64_t files() const { return files_; }
  std::int64_t damaged() const { return damaged_; }
  const Table& table() const { return table_; }

 private:
  fs::path root_;
  Table table_ = Table({{.key = "file", .text = true},
                        {.key = "state", .text = true},
                        {.key = "note", .text = true}});
  std::int64_t files_ = 0, damaged_ = 0;
};

std::string state(nn::Digest digest) {
  switch (digest) {
    case nn::Digest::none:
      return "no digest";
    case nn::Digest::rewritten:
      return "rewritten";
    case nn::Digest::holds:
      break;
  }
  return "ok";
}

void verify_model(Findings& findings, const fs::path& dir) {
  bool whole = true;
  for (const nn::FileState& file : nn::check_model(dir)) {
    whole = whole && !file.damage;
    if (file.damage) {
      findings.damaged(dir / file.file, *file.damage);
    } else {
      findings.add(dir / file.file, state(file.digest), "");
    }
  }
  if (!whole) return;
  try {
    quant::load_any(dir);
    data::Tokenizer::load(dir);
  } catch (const Error& e) {
    findings.damaged(dir, e);
  }
}

/// What manifest.json lists: the names, for who knows of more. A run that goes on removes its older
/// checkpoints: of what is gone by now there is nothing to say.
std::set<std::string> verify_listed(Findings& findings, const fs::path& dir) {
  std::set<std::string> names;
  try {
    for (const nn::ListedFile& file : nn::read_manifest(dir)) {
      const fs::path at = dir / file.name;
      names.insert(file.name);
      try {
        nn::check_listed(dir, file);
        findings.add(at, state(nn::Digest::holds), "");
      } catch (const Error& e) {
        if (fs::exists(dir)) findings.damaged(at, e);
      }
    }
  } catch (const Error& e) {
    if (fs::exists(dir)) findings.damaged(dir / nn::kManifestFile, e);
  }
  return names;
}

bool is_checkpoint(const fs::path& dir) {
  return dir.filename().string().starts_with("step-") && fs::is_directory(dir);
}

void verify_checkpoints(Findings& findings, const fs::path& root) {
  for (const fs::path& dir : finished_entries(root)) {
    if (is_checkpoint(dir)) verify_listed(findings, dir);
  }
}

/// Scores again what a run has scored.
class Rescore {
 public:
  Rescore(const fs::path& run, const std::vector<std::string>& overrides)
      : config_(load_config(run / kResolvedConfig, overrides).config),
        data_(load_data(config_, token_cache())) {
    use_products(config_);
  }

  std::string row(const RowResult& row, const fs::path& model) const {
    if (!row.scored_on.empty() && row.scored_on != scored_hash(config_, data_)) {
      throw Error({.fault = Fault::mismatch,
                   .what = "scored on another text than the configuration names",
                   .found = scored_hash(config_, data_).substr(0, 16),
                   .expected = row.scored_on.substr(0, 16)});
    }
    const ScoredText scored = scored_text(config_, data_);
    quant::LoadedModel loaded = quant::load_any(model);
    const double loss = evaluate(*loaded.model, scored.tokens, scored.bytes_per_token).loss;
    if (std::abs(loss - row.eval.loss) <= kSameLoss) return "ok, same loss";
    throw Error({.fault = Fault::mismatch,
                 .what = "the model has another loss",
                 .found = str(loss),
                 .expected = str(row.eval.loss)});
  }

 private:
  ExperimentConfig config_;
  Data data_;
};

void verify_row(Findings& findings, const fs::path& file, const fs::path& model,
                const Rescore* rescore) {
  findings.examine(file, [&] {
    bool has_digest = false;
    const RowResult row = read_row(file, &has_digest);
    const std::string whole = state(has_digest ? nn::Digest::holds : nn::Digest::none);
    // A report of several parts keeps their rows, not their models.
    if (!fs::exists(model.parent_path())) return whole + "; no models here";
    if (!fs::exists(model / nn::kWeightsFile)) {
      if (!fs::exists(model / nn::kConfigFile)) {  // or it was told of with the models
        findings.damaged(model / nn::kWeightsFile, Error({.what = "there is no such file"}));
      }
      return whole + "; its model is missing";
    }
    const std::string found = kernels::sha256_file(model / nn::kWeightsFile);
    if (found != row.sha256) {
      throw Error({.fault = Fault::mismatch,
                   .where = model.string(),
                   .what = "the row was scored on other weights",
                   .found = found,
                   .expected = row.sha256});
    }
    return rescore ? rescore->row(row, model) : whole;
  });
}

/// What a run tells of itself in `folder`, whose digests are kept when it is finished; or a report.
void verify_told(Findings& findings, const fs::path& folder) {
  const bool listed = fs::exists(folder / nn::kManifestFile);
  const std::set<std::string> names =
      listed ? verify_listed(findings, folder) : std::set<std::string>{};
  for (const fs::path& file : entries_of(folder)) {
    const std::string name = file.filename().string();
    if (names.contains(name) || !fs::is_regular_file(file)) continue;
    if (RunDir::is_told(name) || name == kLayerStudy)
      findings.add(file, state(nn::Digest::none), "");
  }
}

void verify_list(Findings& findings, const fs::path& file) {
  findings.examine(file, [&] {
    verify_sensitivities(file);
    return state(nn::Digest::holds);
  });
}

void verify_run(Findings& findings, const fs::path& run, const Rescore* rescore) {
  verify_told(findings, run);
  for (const fs::path& model : finished_entries(run / kModelsFolder)) {
    if (fs::exists(model / nn::kConfigFile)) verify_model(findings, model);
  }
  for (const fs::path& seed : entries_of(run)) {
    if (!RunDir::is_seed(seed.filename().string())) continue;
    for (const fs::path& row : entries_of(seed / kRowsFolder)) {
      if (row.extension() == kSensitivityExtension) verify_list(findings, row);
      if (row.extension() != kRowExtension) continue;
      const std::string model = model_name(row.stem().string(), seed.filename().string());
      verify_row(findings, row, run / kModelsFolder / model, rescore);
    }
    verify_told(findings, seed);
    for (const fs::path& phase : finished_entries(seed / kCheckpointsFolder))
      verify_checkpoints(findings, phase);
  }
}

/// One file by itself: those of a model or a checkpoint have their digests in a manifest beside them.
void verify_file(Findings& findings, const fs::path& file) {
  if (nn::is_gguf(file) || file.extension() == ".gguf") {
    findings.examine(file, [&] { return state(nn::GgufFile::open(file).verify()); });
  } else if (nn::is_safetensors(file) || file.extension() == ".safetensors") {
    findings.examine(file, [&] { return state(nn::SafetensorsFile::open(file).verify()); });
  } else if (file.extension() == kRowExtension &&
             fs::absolute(file).parent_path().filename() == kRowsFolder) {
    findings.examine(file, [&] {
      bool has_digest = false;
      read_row(file, &has_digest);
      return state(has_digest ? nn::Digest::holds : nn::Digest::none);
    });
  } else if (file.extension() == kSensitivityExtension) {
    verify_list(findings, file);
  } else {
    throw Error({.fault = Fault::input,
                 .where = file.string(),
                 .what = "a file that has no digest in it",
                 .expected = std::string(kWhatIsVerified)});
  }
}

int verify_command(const Args& args) {
  const fs::path path = fs::path(args.positionals[0]).lexically_normal();
  if (!fs::exists(path)) {
    throw Error({.fault = Fault::io,
                 .where = path.string(),
                 .what = "there is no such file",
                 .expected = std::string(kWhatIsVerified)});
  }
  const bool is_run = fs::exists(path / kResolvedConfig);
  if (is_run && !args.has("evaluate") && !args.overrides.empty()) {
    throw Error({.where = "notch verify",
                 .what = "settings say how rows are scored again, and digests need none",
                 .field = args.overrides[0],
                 .hint = "give --evaluate too, or leave it out"});
  }
  if (!is_run && (args.has("evaluate") || !args.overrides.empty())) {
    throw Error({.where = "notch verify",
                 .what = "only a run has scores",
                 .field = args.has("evaluate") ? "--evaluate" : args.overrides[0],
                 .found = path.string(),
                 .expected = "the directory of a run",
                 .hint = "`notch eval MODEL_DIR --text FILE` scores a model"});
  }
  use_threads(args);
  Findings findings(path);
  if (is_run) {
    std::optional<Rescore> rescore;
    if (args.has("evaluate")) rescore.emplace(path, args.overrides);
    verify_run(findings, path, rescore ? &*rescore : nullptr);
  } else if (!fs::is_directory(path)) {
    verify_file(findings, path);
  } else if (is_report(path)) {
    verify_told(findings, path);
  } else if (is_one_checkpoint(path)) {
    verify_listed(findings, path);
  } else if (std::ranges::any_of(finished_entries(path), is_checkpoint)) {
    verify_checkpoints(findings, path);
  } else {
    require_model_directory(path);
    verify_model(findings, path);
  }
  print_table(args, findings.table());
  if (findings.damaged() == 0) return 0;
  throw Error(
      {.fault = Fault::mismatch,
       .where = path.string(),
       .what = str(findings.damaged(), " of ", findings.files(),
                   findings.files() == 1 ? " file is" : " files are", " not what was written"),
       .hint = "get them again, or make them again: a run without a row or a model makes it "
               "anew, `notch report` its tables"});
}

}  // namespace

Command verify_verb() {
  return {
      {.name = "verify",
       .summary =
           "whether every file of a model, a checkpoint, a run or a report is what was written",
       .examples = {"notch verify MODEL_DIR", "notch verify runs/quick --evaluate"},
       .positionals = {{.name = "PATH",
                        .help = "a model, a run, a report, a checkpoint, a row, .safetensors or "
                                ".gguf; what a run tells of itself (configuration, metrics, "
                                "results, report and the like) has digests when it is finished"}},
       .flags = {{.name = "evaluate", .help = "of a run: also score every row again"},
                 threads_flag(),
                 output_flag()},
       .overrides = true},
      verify_command};
}

}  // namespace notch::experiments
