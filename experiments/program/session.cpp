#include "experiments/program/session.h"

#include <algorithm>

#include "autograd/base/arithmetic.h"
#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/printable.h"
#include "autograd/base/shell_word.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/bf16_matmul.h"
#include "experiments/config/config_effects.h"
#include "experiments/machine/environment.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/dry_run.h"
#include "experiments/run/pipeline_row.h"
#include "experiments/run/resume.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/row_files.h"
#include "experiments/run/signals.h"
#include "nn/integrity.h"

namespace notch::experiments {
namespace {

namespace fs = std::filesystem;

Earlier earlier_of(const Args& args) {
  check(!(args.has("resume") && args.has("force")), "--resume and --force",
        "contradict each other: give one");
  if (args.has("resume")) return Earlier::resume;
  return args.has("force") ? Earlier::replace : Earlier::refuse;
}

/// An earlier run's results make room for the new ones: neither the experiment nor its text or
/// model may be among them.
void require_inputs_kept(const Args& args, const ExperimentConfig& config,
                         const fs::path& directory) {
  if (!args.has("force")) return;
  for (const std::string& input : {args.positionals.at(0), config.data.path, config.model.from}) {
    if (input.empty() || !RunDir::replaces(directory, input)) continue;
    throw Error({.where = directory.string(),
                 .what = "--force would replace what this command reads",
                 .found = input,
                 .expected = "results of an earlier run that this one does not read",
                 .hint = "choose another directory with --out"});
  }
}

/// Each amount of calibration text that a row asks for, with the first row's configuration.
std::vector<ExperimentConfig> calibrations(const ExperimentConfig& config) {
  std::vector<ExperimentConfig> out;
  for (const Uses::Row& row : uses_of(config).rows) {
    if (!row.calibrates()) continue;
    const auto same = [&](const ExperimentConfig& c) { return c.calib == row.config.calib; };
    if (std::ranges::none_of(out, same)) out.push_back(row.config);
  }
  return out;
}

/// "64 windows of 152 tokens of the training split".
std::string calibration_text(const ExperimentConfig& config, std::size_t train_tokens) {
  const std::int64_t windows = calibration_windows(config, train_tokens);
  return str(windows, " windows of ", config.model.block_size, " tokens ",
             config.calib.source == "self" ? "that the model writes" : "of the training split",
             windows < config.calib.windows
                 ? str(", all that it has; calib.windows asks for ", config.calib.windows)
                 : "");
}

/// "2000 steps of 1024 tokens, 100 of them warm-up; first checkpoint at step 250", of fp32 or, where
/// that is not trained, of what is.
std::string training_text(const ExperimentConfig& config) {
  const auto steps_of = [&](const TrainSettings& s) {
    return str(s.schedule.steps, " steps of ",
               s.batch_size * s.grad_accum * config.model.block_size, " tokens");
  };
  const TrainConfig& t = config.train;
  if (t.steps == 0) {
    if (!uses_of(config).forks()) return "nothing";
    return str("QAT and its control alone, ", steps_of(fork_settings(config, 0, "")));
  }
  return str(steps_of(base_settings(config, 0)), ", ", warmup_steps(t),
             " of them warm-up; first checkpoint at step ",
             t.checkpoint_every > 0 ? std::min(t.checkpoint_every, t.steps) : t.steps);
}

/// Whether a configuration with these numbers was run here.
bool has_run(const ExperimentConfig& config, const fs::path& directory) {
  const fs::path earlier = directory / kResolvedConfig;
  if (!fs::exists(earlier)) return false;
  try {
    const ExperimentConfig then = parse_config(read_file(earlier), earlier.string()).config;
    return numbers_of(then) == numbers_of(config);
  } catch (const Error&) {
    return false;  // another build's; --resume says what is wrong with it
  }
}

/// Whether that run's part is complete: every row of every seed was made and scored.
bool is_finished(const ExperimentConfig& config, const Shard& shard, const fs::path& directory) {
  if (!has_run(config, directory) || shard_in(directory) != shard) return false;
  return std::ranges::all_of(seeds_of(config, shard), [&](std::int64_t seed) {
    return std::ranges::all_of(rows_of(config, shard, seed), [&](const std::string& name) {
      return fs::exists(row_file(directory, seed, name));
    });
  });
}

}  // namespace

int vocabulary_before_text(const ExperimentConfig& config) {
  constexpr int kCharacters = 64, kBytes = 256;
  return config.data.tokenizer == "byte"  ? kBytes
         : config.data.tokenizer == "bpe" ? config.data.bpe_vocab
                                          : kCharacters;
}

Session::Session(const Args& args) : progress_(detect_progress(args.has("quiet"))) {
  profile_ = args.has("profile");
  LoadedConfig loaded = load_config(args.positionals.at(0), overrides_of(args));
  config_ = loaded.config;
  if (const auto out = args.value("out"))
    config_.out = fs::absolute(*out).lexically_normal().string();
  if (const auto part = args.value("shard")) shard_ = parse_shard(*part);
  check_shard(config_, shard_);
  const fs::path directory = shard_directory(config_.out, shard_);
  require_inputs_kept(args, config_, directory);
  if (std::error_code error; fs::exists(directory, error) && !fs::is_directory(directory, error)) {
    throw Error({.where = directory.string(),
                 .what = "a file, where a run's directory was to be",
                 .hint = "choose another name with --out"});
  }
  check_processor(config_, kernels::bf16_available(), loaded.origins);
  use_threads(args, config_.threads);
  use_products(config_);
  data_ = load_data(config_, token_cache());
  check_rows(config_, data_.source.tokenizer.vocab_size(), loaded.origins);
  for (const ExperimentConfig& c : calibrations(config_)) {
    check_calibration(c, data_.source.tokens.train.size(), proc_bytes("/proc/meminfo", "MemTotal:"),
                      loaded.origins);
  }
  // Here too, so that a model that cannot be read is refused before the directory is made.
  if (!config_.model.from.empty()) {
    require_intact(args, config_.model.from);
    first_model(config_, data_.source.tokenizer.vocab_size(), 0);
  }
  dry_run(config_, data_, loaded.origins);
  if (stop_requested()) return;
  Earlier earlier = earlier_of(args);
  // Nothing would be overwritten: its table is what is asked for.
  if (args.verb == "run" && earlier == Earlier::refuse && is_finished(config_, shard_, directory)) {
    earlier = Earlier::resume;
  }
  time_.emplace(config_, read_tokens(config_, data_), shard_);
  dir_.emplace(directory, earlier);
  keep_shard(directory, shard_);
  const std::vector<std::string> changes = begin_run(*dir_, config_, data_);
  for (const std::int64_t seed : seeds_of(config_, shard_)) {
    for (const std::string& row : rows_of(config_, shard_, seed)) {
      if (has_row(*dir_, seed, row)) time_->there(seed, row);
    }
  }
  dir_->write_env(describe_environment({.command_line = command_line(),
                                        .threads = threads(),
                                        .products = config_.train.products,
                                        .openblas = openblas_facts()}));
  announce(args, loaded);
  for (const std::string& change : changes) note(args, change);
}

void Session::announce(const Args& args, const LoadedConfig& loaded) const {
  note(args, banner());
  if (is_portable()) {
    note(args, "products portable: the same bits on any x86-64 CPU, none of them by OpenBLAS");
  } else {
    for (const std::string& warning : openblas_warnings()) note(args, "warning  " + warning);
  }
  if (loaded.from_text) {
    note(args, str("a text    trained on with usual settings; `notch config ",
                   shell_word(args.positionals[0]), " > my.toml` writes them down"));
  }
  for (const std::string& line : notes(loaded)) note(args, line);
  const data::CorpusInfo& c = data_.source.corpus;
  const data::TokenData& tokens = data_.source.tokens;
  note(args,
       str("data     ", c.name, "  ", c.bytes, " bytes  ", config_.data.tokenizer, " tokenizer, ",
           tokens.vocab_size, " tokens  train ", tokens.train.size(), "  val ", tokens.val.size(),
           tokens.test.empty() ? "" : str("  test ", tokens.test.size()),
           "; the table is scored on ", scored_text(config_, data_).name,
           c.marked ? "; without the byte order mark before the text" : ""));
  const auto shapes = make_model(config_, tokens.vocab_size, nn::Model::Values::shapes_only);
  const std::string kind =
      config_.model.architecture == "gpt2" ? "" : shapes->architecture() + "  ";
  note(args, str("model    ", kind, config_.model.n_layer, " layers  ", config_.model.n_head,
                 " heads  ", config_.model.n_embd, " channels  context ", config_.model.block_size,
                 "  ", shapes->params().count(), " parameters"));
  if (const std::string& from = config_.model.from; !from.empty()) {
    note(args,
         str("from     ", from, "  sha256 ", data_.model_sha256.substr(0, 12),
             config_.train.steps > 0 ? "" : "; it is fp32 as it is",
             data_.model_stored.empty() ? ""
                                        : str("; stored as ", data_.model_stored,
                                              ", kept here in 32 bits, as the table counts")));
    const int own = model_of(from).block_size;
    if (config_.model.block_size < own) {
      note(args, str("context  ", config_.model.block_size, " of the ", own,
                     " that the model has (model.block_size): so many have the models that this "
                     "run writes, fp32 too"));
    }
  }
  note(args, str("train    ", training_text(config_), "; ", config_.seeds.size(),
                 config_.seeds.size() == 1 ? " seed" : " seeds"));
  for (const ExperimentConfig& each : calibrations(config_)) {
    note(args, "calib    " + calibration_text(each, tokens.train.size()));
  }
  for (const RowConfig& row : planned_rows(config_)) {
    if (row.pipeline.empty()) continue;
    note(args, str("stages   ", row_name(config_, row), ": ",
                   describe_pipeline(row_config(config_, row), row)));
  }
  if (!shard_.is_whole()) {
    std::size_t rows = 0;
    for (const std::int64_t seed : seeds_of(config_, shard_)) {
      rows += rows_of(config_, shard_, seed).size();
    }
    note(args, str("shard    ", name_of(shard_), ": ", rows, " rows of ",
                   seeds_of(config_, shard_).size(), " of the seeds"));
  }
  note(args, str("out      ", printable(dir_->path().string())));
}

}  // namespace notch::experiments
