#include "experiments/run/dry_run.h"

#include <algorithm>
#include <cctype>
#include <numeric>

#include "autograd/base/files.h"
#include "autograd/base/temporary_folder.h"
#include "autograd/base/unsynced_writes.h"
#include "experiments/config/pipeline.h"
#include "experiments/run/compare.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/signals.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

constexpr int kWidth = 64, kContext = 16, kBlocks = 2, kSteps = 2, kVocabulary = 512;
constexpr int kLeastSide = 2;  // of matrices: a head of keys has two channels at least

/// The narrowest width that powers of two up to kWidth and all groups divide as they divide the
/// model's.
int narrow_width(const ExperimentConfig& config) {
  const int n = config.model.n_embd;
  std::int64_t step = std::gcd(n, kWidth);
  for (const RowConfig& row : planned_rows(config)) {
    if (row.granularity == "group") step = std::lcm(step, std::int64_t{row.group_size});
  }
  for (std::int64_t width = step; width < n; width += step) {
    if (width >= kWidth && n % width == 0) return static_cast<int>(width);
  }
  return n;
}

/// Whether a pattern names a block, so that all have to be there.
bool names_blocks(const ExperimentConfig& config) {
  const auto numbered = [](const std::string& pattern) {
    return std::ranges::any_of(pattern, [](unsigned char c) { return std::isdigit(c) != 0; });
  };
  return std::ranges::any_of(config.quant.layers, numbered, &LayerRule::pattern) ||
         std::ranges::any_of(config.activations.asymmetric, numbered);
}

/// The most blocks and the most parts of a training that the stages of a row take.
struct Takes {
  int blocks = 0, parts = 0;
};
Takes takes_of(const RowConfig& row) {
  Takes out;
  for (const PipelineStage& s : parse_pipeline(row.pipeline)) {
    if (s.kind == PipelineStage::Kind::layers) out.blocks += static_cast<int>(s.count);
    out.parts += s.trains();
  }
  return out;
}

/// The run with a small model and as little of everything as each part of it needs.
ExperimentConfig small(const ExperimentConfig& config, int context) {
  ExperimentConfig out = config;
  out.model.from.clear();  // whose values decide nothing
  out.distill.teacher.clear();
  out.model.block_size = context;
  out.model.n_embd = narrow_width(config);
  const bool pairs = config.model.architecture == "llama";  // of channels, that a head consists of
  out.model.n_head = std::gcd(config.model.n_head, pairs ? out.model.n_embd / 2 : out.model.n_embd);
  out.model.n_kv_head = std::gcd(config.model.n_kv_head, out.model.n_head);
  if (!names_blocks(config)) out.model.n_layer = std::min(config.model.n_layer, kBlocks);
  TrainConfig& t = out.train;
  t.steps = kSteps;
  t.warmup = 0;
  t.batch_size = t.grad_accum = t.eval_windows = t.keep_last = 1;
  t.eval_every = t.checkpoint_every = 0;
  // Rates that suit a thousand steps may tear a model apart in two: that is no contradiction.
  constexpr double kRate = 1e-4;
  const double slower = std::min(1.0, kRate / t.lr);
  t.lr *= slower;
  t.min_lr *= slower;
  out.qat.step_lr = std::min(out.qat.step_lr, kRate);
  out.qat.steps = kSteps;
  out.qat.batch_size = 0;
  out.calib.windows = 1;
  out.row = planned_rows(config);
  for (RowConfig& row : out.row) {
    const Takes takes = takes_of(row);
    if (takes.blocks > 0) out.model.n_layer = std::max(out.model.n_layer, takes.blocks + 1);
    out.qat.steps = std::max(out.qat.steps, takes.parts);
    for (std::string& stage : row.pipeline)
      if (stage.starts_with("rewind ")) stage = "rewind 1";
    // Ranks that fit the model, which check_rows has looked at, need not fit this one.
    if (const quant::Method* m = quant::find_method(row.method);
        m && m->training == quant::Training::adapters)
      row.set.emplace_back(str("qlora.rank=", kLeastSide));
    // Of two steps the second must see the rounding.
    if (row_config(config, row).qat.start > 0) row.set.emplace_back("qat.start=0.5");
  }
  out.row.push_back({.method = std::string(kBaseRow)});  // an empty list would mean quant.methods
  return out;
}

/// A question of the task and, of each split, what the context needs. A large vocabulary is one of
/// bytes here: which tokens these are decides nothing.
Data small(const Data& data, bool bytes) {
  Data out;
  out.source.corpus = data.source.corpus;
  out.source.tokenizer = bytes ? data::Tokenizer::bytes() : data.source.tokenizer;
  if (!data.task.empty()) out.task.push_back(data.task.front());
  return out;
}

data::TokenData small(const data::TokenData& all, int vocab_size, std::ptrdiff_t context) {
  const auto take = [&](const std::vector<std::int32_t>& from, std::ptrdiff_t windows) {
    const std::ptrdiff_t n = std::min(windows * context + 1, std::ssize(from));
    std::vector some(from.begin(), from.begin() + n);
    for (std::int32_t& id : some) id %= vocab_size;
    return some;
  };
  return {.train = take(all.train, kSteps),
          .val = take(all.val, 1),
          .test = take(all.test, 1),
          .vocab_size = vocab_size,
          .val_bytes_per_token = all.val_bytes_per_token,
          .test_bytes_per_token = all.test_bytes_per_token};
}

/// The context in which the labels of the task fit as they fit the run's.
int narrow_context(const ExperimentConfig& config, const Data& small) {
  int context = std::min(config.model.block_size, kContext);
  for (const data::TenseExample& e : small.task) {
    for (const std::string& label : e.candidates) {
      context = std::max(context, static_cast<int>(small.source.tokenizer.encode(label).size()));
    }
  }
  return context;
}

/// The key of the row that this artefact is of, "row[3]", or where the methods are listed.
std::string key_of(const ExperimentConfig& config, std::string_view artefact) {
  std::string key = config.row.empty() ? "quant.methods" : "row";
  std::size_t longest = 0;
  for (std::size_t i = 0; i < config.row.size(); ++i) {
    ExperimentConfig alone = config;
    alone.row = {config.row[i]};
    for (const RowConfig& planned : planned_rows(alone)) {
      // Rows of a control have a longer name, which ends so.
      const std::string name = row_name(config, planned);
      if (!artefact.ends_with(name) || name.size() <= longest) continue;
      longest = name.size();
      key = str("row[", i, "]");
    }
  }
  return key;
}

/// The same error at the line of the value that it names, or else of the row.
[[noreturn]] void refuse(const ExperimentConfig& config, const Origins& origins,
                         const ErrorParts& parts) {
  // compare() puts the row before what went wrong in it.
  const std::size_t colon = parts.where.find(": ");
  const std::string row = parts.where.substr(0, colon);
  const std::string place = colon == std::string::npos ? "" : ": " + parts.where.substr(colon + 2);
  ErrorParts out = parts;
  out.what = str("row ", row, " cannot be made", place, ": ", parts.what);
  if (out.hint.empty()) {
    out.hint = "its values do not work together: change one, or leave the row out";
  }
  origins.fail(is_key(parts.field) ? parts.field : key_of(config, row), std::move(out));
}

}  // namespace

void dry_run(const ExperimentConfig& config, const Data& data, const Origins& origins) {
  try {
    encoded_task(data.source.tokenizer, data.task, config.model.block_size);
  } catch (const Error& e) {
    const std::string& field = e.parts().field;
    origins.fail(is_key(field) ? field : "data.task_examples", e.parts());
  }
  Data little = small(data, data.source.tokenizer.vocab_size() > kVocabulary);
  const int context = narrow_context(config, little);
  little.source.tokens = small(data.source.tokens, little.source.tokenizer.vocab_size(), context);
  const ExperimentConfig narrow = small(config, context);
  // The folder is removed on return, on a throw and for signals: what is in it needs no disk.
  const QuitLater tidy;
  const UnsyncedWrites fast;
  const DirectoryWriter folder = temporary_directory("notch-dry-run");
  const RunDir dir(folder.temporary() / "run", Earlier::refuse);
  Progress progress({.quiet = true});
  try {
    compare({narrow, little, dir, progress}, 0);
  } catch (const Error& e) {
    if (e.fault() != Fault::io) refuse(config, origins, e.parts());
    ErrorParts parts = e.parts();
    // What it read elsewhere failed elsewhere.
    if (parts.where.find(folder.temporary().string()) == std::string::npos) throw;
    parts.hint += str(parts.hint.empty() ? "" : "; ", "this was tried out in ",
                      folder.temporary().parent_path().string(),
                      ", the folder for temporary files that TMPDIR names");
    throw Error(std::move(parts));
  }
}

}  // namespace notch::experiments
