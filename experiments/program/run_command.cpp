// notch run: an experiment from its configuration to its table, or a part of it. notch train: only its fp32 models.

#include <algorithm>
#include <iostream>

#include "autograd/base/shell_word.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/report_command.h"
#include "experiments/program/session.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/row_files.h"
#include "experiments/run/run_digests.h"
#include "experiments/run/signals.h"

namespace notch::experiments {
namespace {

/// Whether a continuation finds a row or a checkpoint.
bool has_made(const Session& session) {
  return std::ranges::any_of(session.config().seeds, [&](std::int64_t seed) {
    const fs::path& run = session.dir().path();
    return !finished_entries(rows_folder(run, seed)).empty() ||
           std::ranges::any_of(
               entries_of(checkpoints_folder(run, seed)),
               [](const fs::path& phase) { return !finished_entries(phase).empty(); });
  });
}

int interrupted(const Args& args, const Session& session) {
  if (!session.begun()) {
    std::cerr << "stopped before the run began; nothing was written\n";
    return stop_exit_code();
  }
  std::cerr << (has_made(session) ? "stopped; the state is saved. Resume with: notch "
                                  : "stopped before anything was made. Begin again with: notch ")
            << args.verb << ' ' << shell_word(args.positionals.at(0));
  for (const std::string& o : overrides_of(args)) std::cerr << ' ' << shell_word(o);
  const bool whole = session.shard().is_whole();
  if (!whole) std::cerr << " --shard " << name_of(session.shard());
  std::cerr << " --resume --out "
            << shell_word(whole ? session.dir().path().string() : session.config().out) << '\n';
  return stop_exit_code();
}

TableFormat format_of(const Args& args) {
  const auto word = args.value("output");
  return word ? parse_table_format(*word) : TableFormat::screen;
}

int run_command(const Args& args) {
  format_of(args);  // a wrong one is refused before anything is trained
  install_signal_handlers();
  Session session(args);
  if (!session.begun()) return interrupted(args, session);
  std::vector<SeedResults> seeds;
  for (const std::int64_t seed : seeds_of(session.config(), session.shard())) {
    std::optional<SeedResults> results = compare(session.context(), seed);
    if (!results) return interrupted(args, session);
    if (!session.shard().is_whole()) continue;
    seeds.push_back(std::move(*results));
    Report(session.config(), session.data(), seeds).write(session.dir().path());
  }
  keep_digests(session.dir().path());
  if (!session.shard().is_whole()) {
    say(args, str("shard ", name_of(session.shard()), " is done: ", session.dir().path().string(),
                  "\nwhen all are: notch report ", shell_word(session.config().out), "-shard-*-of-",
                  session.shard().of, " --out ", shell_word(session.config().out)));
    return 0;
  }
  const Report report(session.config(), session.data(), seeds);
  print_report(args, report, seeds, session.dir().path());
  return 0;
}

int train_command(const Args& args) {
  const TableFormat format = format_of(args);
  install_signal_handlers();
  Session session(args);
  if (!session.begun()) return interrupted(args, session);
  Table table({{.key = "seed", .decimals = 0},
               {.key = "loss", .decimals = 4},
               {.key = "bits_per_byte", .title = "bits/byte", .decimals = 4},
               {.key = "perplexity", .title = "ppl", .decimals = 3},
               {.key = "accuracy_percent", .title = "task %", .decimals = 1},
               {.key = "seconds", .decimals = 1},
               {.key = "model", .text = true},
               {.key = "sha256", .text = true}});
  for (const std::int64_t seed : session.config().seeds) {
    const std::optional<RowResult> row = train_base(session.context(), seed);
    if (!row) return interrupted(args, session);
    table.add_row({number(static_cast<double>(seed)), number(row->eval.loss),
                   number(row->eval.bits_per_byte), number(row->eval.perplexity),
                   row->accuracy ? number(100 * *row->accuracy) : missing(), number(row->seconds),
                   text(model_folder(session.dir().path(), seed, row->name).string()),
                   text(row->sha256)});
  }
  keep_digests(session.dir().path());
  std::cout << render(table, format);
  return 0;
}

/// The flags that run and train share, then `more`.
std::vector<Flag> session_flags(const std::vector<Flag>& more) {
  std::vector<Flag> flags = value_flags();
  flags.insert(
      flags.end(),
      {{.name = "out",
        .value = "DIR",
        .help = "run directory; default: runs/<name> beside the EXP.toml, or here for a text",
        .path = PathUse::filled},
       {.name = "resume", .help = "go on where an interrupted run stopped"},
       {.name = "profile", .help = "tell where the time of a training step went, op by op"},
       {.name = "force", .help = "replace the results of an earlier run"},
       threads_flag()});
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

}  // namespace

Command run_verb() {
  return {
      {.name = "run",
       .summary = "train, quantize by every method, and print the table",
       .examples = {"notch run experiments/quick.toml",
                    "notch run book.txt --bits 4 --group 32 --methods gptq,qat-lsq",
                    "notch run experiments/quick.toml quant.bits=4,3 train.steps=1000 --out out",
                    "notch run experiments/quick.toml seeds=1,2,3 --shard 2/3"},
       .positionals = {experiment_positional()},
       .flags = session_flags({{.name = "shard",
                                .value = "I/N",
                                .help = "make the I-th of N parts of the run, in OUT-shard-I-of-N; "
                                        "`notch report` puts them together"},
                               wide_flag(),
                               output_flag()}),
       .overrides = true},
      run_command};
}

Command train_verb() {
  return {{.name = "train",
           .summary = "only the fp32 model of an experiment",
           .examples = {"notch train experiments/quick.toml seeds=1,2", "notch train book.txt"},
           .positionals = {experiment_positional()},
           .flags = session_flags({output_flag()}),
           .overrides = true},
          train_command};
}

}  // namespace notch::experiments
