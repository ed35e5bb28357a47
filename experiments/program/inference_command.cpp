// notch bench MODEL_DIR…, RUN_DIR or --shape: how fast models read prompts and write, beside what this
// machine could do.
#include "experiments/program/inference_command.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/bench/inference_bench.h"
#include "experiments/bench/sweep.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/report/parts.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/run_digests.h"
#include "experiments/show/svg.h"

namespace notch::experiments {
namespace {

constexpr std::int64_t kMostSequences = 1024;

std::vector<std::int64_t> sizes_of(const std::string& list, std::string_view flag,
                                   std::int64_t most) {
  std::vector<std::int64_t> all;
  std::istringstream in(list);
  for (std::string word; std::getline(in, word, ',');) {
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), n);
    if (error != std::errc() || end != word.data() + word.size() || n < 1 || n > most) {
      throw Error(
          {.fault = Fault::usage,
           .where = str(flag),
           .what = "not a list of sizes",
           .found = list,
           .expected = str("numbers from 1 to ", most, " with commas between them: 1,4,8")});
    }
    if (std::ranges::find(all, n) != all.end()) {
      throw Error({.where = str(flag),
                   .what = str(n, " is listed twice"),
                   .found = list,
                   .hint = "give it once"});
    }
    all.push_back(n);
  }
  return all;
}

std::string giga(double per_second) { return str(std::llround(per_second / 1e9)); }

/// Of a run's first seed fp32, and the first row of every width that was made.
std::vector<fs::path> models_of(const RunPart& run) {
  std::vector<std::string> rows{std::string(kBaseRow)};
  std::vector<int> seen;
  const std::int64_t seed = seeds_of(run.config, run.shard).front();
  const std::vector<std::string> made = rows_of(run.config, run.shard, seed);
  for (const RowConfig& row : planned_rows(run.config)) {
    if (row.bits == 0 || std::ranges::find(seen, row.bits) != seen.end()) continue;
    const std::string name = row_name(run.config, row);
    if (std::ranges::find(made, name) == made.end()) continue;
    seen.push_back(row.bits);
    rows.push_back(name);
  }
  if (finished_entries(run.directory / kModelsFolder).empty()) refuse_without_models(run.directory);
  std::vector<fs::path> out;
  for (const std::string& row : rows) out.push_back(model_folder(run.directory, seed, row));
  return out;
}

/// --sweep: of models, or of a shape in fp32 and as most models are served.
int sweep_command(const Args& args) {
  constexpr double kShare = 0.5;  // of the memory that is free now
  constexpr std::int64_t kMostContext = 1 << 20;
  SweepOptions options{.kv = kv_kind(args),
                       .memory = kShare * proc_bytes("/proc/meminfo", "MemAvailable:")};
  if (const auto contexts = args.value("sweep"); contexts && !contexts->empty())
    options.contexts = sizes_of(*contexts, "--sweep", kMostContext);
  if (const auto batches = args.value("batch"))
    options.batches = sizes_of(*batches, "--batch", kMostSequences);
  const std::string shape = args.value("shape").value_or("S");
  std::vector<InferenceSubject> subjects;
  for (const std::string& dir : args.positionals) {
    RunnableArtefact artefact = open_runnable(args, dir);
    subjects.push_back({artefact.path.filename().string(), std::move(artefact.runnable)});
  }
  const bool of_shape = subjects.empty();
  if (of_shape) {
    for (InferenceSubject& s :
         shape_subjects(shape, std::ranges::max(options.contexts) + kSweepDecoded)) {
      if (s.name == "fp32" || s.name == "int4 g32, int8 inputs") subjects.push_back(std::move(s));
    }
  }
  note(args, banner());
  for (const std::string& warning : openblas_warnings()) note(args, "warning  " + warning);
  Sweep sweep;
  sweep_inference(sweep, subjects, options);
  if (of_shape) sweep_training(sweep, shape, options);
  if (sweep.cells.empty() && sweep.training.empty()) {
    throw Error({.where = "notch bench --sweep",
                 .what = "nothing was measured",
                 .found = sweep.left_out.front(),
                 .hint = "give shorter contexts or smaller batches: --sweep=N,… --batch N,…"});
  }
  say(args,
      "one pass each; predicted: operations at the measured peak or bytes at the measured "
      "bandwidth, the longer\n");
  const std::string format = args.value("output").value_or("");
  if (format == "csv" || format == "json") {
    print_table(args, sweep_records(sweep));
  } else {
    print_table(args, sweep_table(sweep));
    say(args, "\ntraining in fp32: memory of the process beside what a step must keep\n");
    if (!sweep.training.empty()) print_table(args, training_memory_table(sweep));
  }
  for (const std::string& what : sweep.left_out) note(args, "left out: " + what);
  if (const auto file = args.value("svg"))
    write_file(*file, svg::file_of(svg_of(sweep_plot(sweep))), Existing::refuse);
  return 0;
}

}  // namespace

int bench_inference_command(const Args& args) {
  use_threads(args);
  if (args.has("sweep")) return sweep_command(args);
  InferenceOptions options{
      .batches = sizes_of(args.value("batch").value_or("1,4,8"), "--batch", kMostSequences),
      .prompt = args.integer("prompt", 0, 1, 1'000'000),
      .rounds = static_cast<int>(args.integer("rounds", 5, 1, 1000)),
      .kv = kv_kind(args)};
  std::vector<InferenceSubject> subjects;
  std::vector<fs::path> models(args.positionals.begin(), args.positionals.end());
  const bool of_run = models.size() == 1 && fs::exists(models[0] / kResolvedConfig);
  const fs::path run = of_run ? models[0] : fs::path();
  std::optional<RunDir> locked;  // before anything is measured that could not be kept
  if (of_run) {
    models = models_of(open_part(run));
    locked.emplace(run, Earlier::resume);
  }
  for (const fs::path& dir : models) {
    RunnableArtefact artefact = open_runnable(args, dir);
    subjects.push_back({artefact.path.filename().string(), std::move(artefact.runnable)});
  }
  if (subjects.empty()) subjects = shape_subjects(args.value("shape").value_or("S"));
  std::int64_t context = subjects[0].model.model->sizes().block_size;
  for (const InferenceSubject& s : subjects)
    context = std::min(context, s.model.model->sizes().block_size);
  options.decode = std::min(options.decode, std::max<std::int64_t>(1, context / 4));
  if (options.prompt == 0) options.prompt = std::min<std::int64_t>(256, context - options.decode);
  note(args, banner());
  for (const std::string& warning : openblas_warnings()) note(args, "warning  " + warning);
  const Roofline bench = bench_inference(subjects, options);
  say(args, str("roofs: sgemm ", giga(bench.sgemm), " Gops/s, int8 products ", giga(bench.integer),
                " Gops/s; memory by working set, in the table"));
  say(args, str("prompt ", options.prompt, " tokens, then decoding; the best of ", options.rounds,
                " interleaved rounds\n"));
  print_table(args, inference_table(bench));
  if (of_run) {
    write_anew(*locked, std::array{std::string_view(kRoofline)},
               [&] { write_file(run / kRoofline, to_json(bench).dump() + "\n"); });
    note(args, str("kept in ", printable((run / kRoofline).string()), "; `notch report ",
                   printable(run.string()), "` draws it"));
  }
  if (const auto file = args.value("svg"))
    write_file(*file, svg::file_of(roofline_svg(bench)), Existing::refuse);
  return 0;
}

}  // namespace notch::experiments
