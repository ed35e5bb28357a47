// notch bench train, and notch bench gptq: what training and GPTQ cost on this machine, and where
// the time goes. (Without either: inference_command.cpp.)
#include <iostream>
#include <optional>
#include <sstream>

#include "autograd/kernels/bf16_matmul.h"
#include "experiments/bench/gptq_bench.h"
#include "experiments/bench/training_bench.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/run/setup.h"

namespace notch::experiments {
namespace {

std::vector<std::string> listed(const std::string& words) {
  std::vector<std::string> all;
  std::istringstream in(words);
  for (std::string word; std::getline(in, word, ',');) all.push_back(word);
  return all;
}

BenchSubject subject_of(const std::string& name, const std::vector<std::string>& overrides) {
  if (is_bench_shape(name) || !name.ends_with(".toml")) return bench_shape(name, overrides);
  const LoadedConfig loaded = load_config(name, overrides, Rows::other);
  const ExperimentConfig& config = loaded.config;
  check_processor(config, kernels::bf16_available(), loaded.origins);
  Data data = load_data(config, token_cache());
  return {.name = config.name,
          .config = config,
          .vocab_size = data.source.tokenizer.vocab_size(),
          .tokens = std::move(data.source.tokens.train)};
}

/// Every form of the verb measures something else: what it does not read is refused.
void require_flags(const Args& args, const std::string& what) {
  const bool trains = what == "train" || what == "gptq";
  const std::string form = trains ? what : args.has("sweep") ? "--sweep" : "models";
  const auto refuse = [&](std::string field, std::string hint) {
    throw Error({.where = "notch bench",
                 .what = "has no effect on a measurement of " + form,
                 .field = std::move(field),
                 .hint = std::move(hint)});
  };
  struct Reads {
    std::string_view flag, forms;
  };
  constexpr Reads kReads[] = {
      {"recipe", "train"},
      {"steps", "train"},
      {"ops", "train"},
      {"layer", "gptq"},
      {"rounds", "train gptq models"},
      {"batch", "models --sweep"},
      {"prompt", "models"},
      {"sweep", "--sweep"},
      {"kv-cache", "models --sweep"},
      {"svg", "models --sweep"},
  };
  for (const Reads& r : kReads) {
    if (!args.has(std::string(r.flag)) || r.forms.find(form) != std::string_view::npos) continue;
    refuse(str("--", r.flag), str("it is for ", r.forms));
  }
  if (!trains && !args.overrides.empty())
    refuse(args.overrides.front(), "keys are for notch bench train and gptq");
}

}  // namespace

int bench_command(const Args& args) {
  const std::string what = args.positionals.empty() ? "" : args.positionals[0];
  require_flags(args, what);
  if (what != "train" && what != "gptq") return bench_inference_command(args);
  const BenchOptions options{.recipes = listed(args.value("recipe").value_or("fp32")),
                             .rounds = static_cast<int>(args.integer("rounds", 5, 1, 1000)),
                             .steps = static_cast<int>(args.integer("steps", 0, 1, 100'000))};
  use_threads(args);
  std::vector<BenchSubject> subjects;
  for (const std::string& name : listed(args.value("shape").value_or("T"))) {
    subjects.push_back(subject_of(name, args.overrides));
  }
  note(args, banner());
  for (const std::string& warning : openblas_warnings()) note(args, "warning  " + warning);
  if (what == "gptq") {
    const std::vector<std::string> layers = listed(args.value("layer").value_or(""));
    std::optional<Table> table;
    for (const BenchSubject& subject : subjects) {
      const Table one = bench_gptq(subject, options.rounds, layers);
      table ? table->append(one) : void(table = one);
    }
    print_table(args, *table);
    return 0;
  }
  std::vector<TrainingBench> benches;
  for (const BenchSubject& subject : subjects) {
    benches.push_back(bench_training(subject, options));
    for (const std::string& line : describe(benches.back())) say(args, line);
  }
  say(args, str("median of ", options.rounds,
                " interleaved rounds, each the fastest of its steps; forward to other: ms of the "
                "fastest step;\nGEMM floor: the products alone, full attention\n"));
  const std::string format = args.value("output").value_or("");
  const bool machine = format == "csv" || format == "json";
  if (!machine || !args.has("ops")) print_table(args, bench_table(benches));
  if (!machine) std::cout << '\n';
  if (!machine || args.has("ops")) print_table(args, bench_split_table(benches));
  return 0;
}

}  // namespace notch::experiments
