// notch report: the report of a finished run again, or one of several parts of a run or of runs of several sizes.
#include "experiments/program/report_command.h"

#include <iostream>
#include <optional>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/printable.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/shared_flags.h"
#include "experiments/report/chosen_rows.h"
#include "experiments/report/parts.h"
#include "experiments/report/sizes.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/run_digests.h"
#include "experiments/run/run_dir.h"
#include "experiments/show/progress.h"

namespace notch::experiments {
namespace {

/// Everything else was decided when the rows were made.
void require_report_keys(const Args& args) {
  for (const std::string& override : args.overrides) {
    const std::string key = override.substr(0, override.find_first_of(" ="));
    if (key == "seeds" || key == "data.path" || key == "model.from") continue;
    throw Error({.where = "notch report",
                 .what = "cannot change what was run",
                 .found = key,
                 .expected =
                     "seeds (which of them), data.path or model.from (where the text or the "
                     "model lies now)"});
  }
}

void require_out(const Args& args) {
  if (args.has("out")) return;
  throw Error({.where = "notch report",
               .what = "missing",
               .field = "--out",
               .hint = "name the directory for the report of all of them: --out DIR"});
}

/// No directory: nothing was written.
std::string where_it_lies(const std::string& hash, const fs::path& directory) {
  const std::string out = str("\nhash     ", hash, '\n');
  if (directory.empty()) return out;
  return str(out, "results  ", printable((directory / "results.md").string()), "\nreport   ",
             printable((directory / "report.html").string()), '\n');
}

/// The directory of one run from several parts, so that its report can be made again from there.
void write_parts(const RunDir& dir, const std::vector<RunPart>& parts, ExperimentConfig config,
                 const std::vector<SeedResults>& seeds) {
  config.out.clear();  // where the file lies
  dir.write_config(to_toml(config));
  for (const char* name : {"inputs.json", "env.json"}) {
    const fs::path file = parts.front().directory / name;
    if (!fs::exists(file)) continue;
    const std::string text = read_file(file);
    Json::parse(text, file.string());  // of damage here, where it is
    write_file(dir.path() / name, text);
  }
  for (const SeedResults& s : seeds) {
    make_directories(rows_folder(dir.path(), s.seed));
    for (const RowResult& r : s.rows) write_file(row_file(dir.path(), s.seed, r.name), row_text(r));
  }
  const fs::path study = fs::path(seed_name(seeds.front().seed)) / kLayerStudy;
  for (const RunPart& p : parts) {
    if (!fs::exists(p.directory / study)) continue;
    write_file(dir.path() / study, read_file(p.directory / study));
    break;
  }
  if (const std::string metrics = merged_metrics(parts); !metrics.empty()) {
    write_file(dir.path() / kMetricsFile, metrics);
  }
}

/// In a folder that stands for no run.
template <class AnyReport>
void write_report(const AnyReport& report, const fs::path& out) {
  write_directory(out, [&](const fs::path& dir) {
    report.write(dir);
    keep_report_digests(dir);
  });
}

/// One report of runs that are of models of different sizes.
int report_sizes(const Args& args) {
  std::vector<SizedRun> runs;
  for (const std::string& directory : args.positionals) {
    const RunPart part = open_part(directory, args.overrides);
    require_own_seeds({part});
    if (!part.shard.is_whole()) {
      throw Error({.where = directory,
                   .what = "is a part of a run",
                   .found = "shard " + name_of(part.shard),
                   .expected = "a whole run",
                   .hint = "put its parts together first: notch report PART… --out DIR"});
    }
    const Data data = load_data(part.config, token_cache());
    SizedRun run{.directory = directory,
                 .config = part.config,
                 .scored_on = scored_hash(part.config, data),
                 .questions = data.task.size()};
    run.seeds = read_results({part}, part.config, run.scored_on);
    if (const fs::path file = part.directory / "env.json"; fs::exists(file)) {
      run.environment = Json::parse(read_file(file), file.string());
    }
    runs.push_back(std::move(run));
  }
  require_out(args);
  const SizesReport report(std::move(runs));
  const fs::path directory = new_directory(args);
  write_report(report, directory);
  if (const auto format = args.value("output")) {
    std::cout << render(report.table(), parse_table_format(*format));
    return 0;
  }
  std::cout << '\n'
            << (args.has("wide") ? render(report.table(), TableFormat::screen)
                                 : report.screen(terminal_columns()))
            << where_it_lies(report.hash(), directory);
  return 0;
}

int report_command(const Args& args) {
  require_report_keys(args);
  if (args.has("sizes")) {
    if (args.has("methods")) {
      throw Error({.where = "notch report",
                   .what = "--sizes shows each run's own best rows",
                   .field = "--methods",
                   .hint = "leave one of the two out"});
    }
    return report_sizes(args);
  }
  std::vector<RunPart> parts;
  for (const std::string& directory : args.positionals) {
    parts.push_back(open_part(directory, args.overrides));
  }
  require_own_seeds(parts);
  sort_shards(parts);
  if (parts.size() > 1 && !args.has("methods")) require_out(args);
  const ExperimentConfig config = merged_config(parts);
  const Data data = load_data(config, token_cache());
  std::vector<SeedResults> seeds = read_results(parts, config, scored_hash(config, data));
  const std::optional<std::string> patterns = args.value("methods");
  if (patterns) seeds = chosen_rows(std::move(seeds), *patterns, "notch report");
  const Report report(config, data, seeds);
  if (patterns) {  // the run's own report has all rows, and so has a directory that stands for it
    fs::path out;
    if (args.has("out")) {
      out = new_directory(args);
      write_report(report, out);
    }
    print_report(args, report, seeds, out);
    return 0;
  }
  const fs::path out = args.has("out") ? new_directory(args) : parts.front().directory;
  if (args.has("out")) {
    write_directory(out, [&](const fs::path& directory) {
      const RunDir dir(directory, Earlier::refuse);
      write_parts(dir, parts, config, seeds);
      report.write(directory);
      keep_digests(directory);
    });
  } else {
    const RunDir dir(out, Earlier::resume);
    write_anew(dir, kReportFiles, [&] { report.write(out); });
  }
  print_report(args, report, seeds, out);
  return 0;
}

}  // namespace

void print_report(const Args& args, const Report& report, const std::vector<SeedResults>& seeds,
                  const fs::path& directory) {
  if (const auto format = args.value("output")) {
    std::cout << render(report.table(), parse_table_format(*format));
    if (const std::string builds = build_notes(seeds); !builds.empty()) note(args, builds);
    return;
  }
  std::cout << '\n'
            << (args.has("wide") ? report.wide_screen() : report.screen(terminal_columns()))
            << where_it_lies(results_hash(seeds), directory);
}

Command report_verb() {
  return {
      {.name = "report",
       .summary =
           "the report of a finished run again, or one of the parts of a run, or of several sizes",
       .examples = {"notch report runs/quick", "notch report runs/quick-shard-*-of-3 --out all",
                    "notch report runs/headtohead seeds=1337,42 --out two",
                    "notch report --sizes runs/small runs/large --out sizes",
                    "notch report runs/headtohead --methods 'qat-*,gptq*'"},
       .positionals = {{.name = "RUN_DIR",
                        .help = "directories of `notch run`, of one configuration but for seeds, "
                                "methods and rows; with --sizes of several",
                        .repeated = true}},
       .flags = {{.name = "out",
                  .value = "DIR",
                  .help = "the directory to write",
                  .fallback = "the run's own",
                  .path = PathUse::filled},
                 {.name = "sizes",
                  .help = "runs of models of different sizes, scored on one text: "
                          "their fronts in one plot, each beside its own control"},
                 {.name = "methods",
                  .value = "LIST",
                  .help = "these rows alone, by method, label or name ('qat-*,gptq*'), "
                          "with fp32 and their controls; files are written to --out"},
                 wide_flag(),
                 output_flag()},
       .overrides = true},
      report_command};
}

}  // namespace notch::experiments
