// notch bench train, and notch bench gptq: what training and GPTQ cost on this machine, and where
// the time goes. (Without either: inference_command.cpp.)
#include <algorithm>
#include <iostream>
#include <optional>
#include <span>
#include <sstream>

#include "autograd/kernels/bf16_matmul.h"
#include "experiments/bench/gptq_bench.h"
#include "experiments/bench/training_bench.h"
#include "experiments/config/config_effects.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/inference_command.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/setup.h"

namespace notch::experiments {
namespace {

std::vector<std::string> words_in(const std::string& words) {
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
          .tokens = std::move(data.source.tokens.train),
          .origins = loaded.origins};
}

/// What no bench looks at: it has one seed, a constant rate, and starts where nothing was trained.
constexpr std::string_view kOfRuns[] = {
    "seeds",          "out",           "threads",      "row",
    "quant.methods",  "quant.control", "mixed.",       "train.steps",
    "train.schedule", "train.warmup",  "train.min_lr", "train.eval_",
    "train.check",    "train.keep_",   "train.log_",   "qat.steps",
    "qat.fraction",   "qat.batch_",    "qat.lr_",      "qat.min_lr_",
    "qat.schedule",   "qat.weight_",   "qat.from",     "qat.start",
    "qat.ema",        "qlora.lr_",     "qlora.merge",  "distill.teacher",
    "distill.lr_"};
/// Nor where the tokens are random.
constexpr std::string_view kOfTexts[] = {"data.", "name", "model.from"};
/// Nor where no step is made, but train.products.
constexpr std::string_view kOfSteps[] = {"train.", "qat.", "qlora.", "distill.", "activations."};
/// Nor where single matrices are rounded, by quant::gptq alone.
constexpr std::string_view kOfModels[] = {"prune.", "calib.source", "calib.temperature",
                                          "gptq.true_sequential"};
/// Nor where steps are: zeros would cost nothing there, and codes to begin with are RTN's.
constexpr std::string_view kOfFirstCodes[] = {"prune.", "quant.percentile"};
/// Nor where nothing is rounded.
constexpr std::string_view kOfCodes[] = {"quant.", "activations.", "calib."};

/// Whether a key is of methods that round.
bool of_rounding(std::string_view key) {
  return !rounding_methods(key.substr(0, key.find('.'))).empty();
}

/// Values of the command line that change nothing of what is measured are refused: a bench runs
/// `recipes`, whatever the configuration's rows are. `shape` is what the subject was made from.
void require_effect(const BenchSubject& subject, const std::string& shape,
                    const std::vector<std::string>& overrides,
                    const std::vector<std::string>& recipes, bool trains, bool layers) {
  ExperimentConfig config = subject.config;
  config.row.clear();
  config.quant.control = false;
  config.quant.methods.clear();
  for (const std::string& name : recipes) {
    if (quant::find_method(name)) config.quant.methods.push_back(name);
  }
  const bool rounds = !config.quant.methods.empty();
  const std::string form = trains   ? "notch bench train"
                           : layers ? "notch bench gptq --layer"
                                    : "notch bench gptq";
  for (const std::string& change : overrides) {
    const std::string key = change.substr(0, change.find_first_of(" ="));
    const auto in = [&](std::span<const std::string_view> keys) {
      return std::ranges::any_of(keys, [&](std::string_view k) { return key.starts_with(k); });
    };
    const bool unread =
        in(kOfRuns) || (is_bench_shape(shape) && in(kOfTexts)) ||
        (!trains && key != "train.products" && in(kOfSteps)) || (layers && in(kOfModels)) ||
        (trains && (in(kOfFirstCodes) || of_rounding(key))) || (!rounds && in(kOfCodes));
    if (!unread) continue;
    subject.origins.fail(
        key, {.what = str("has no effect on ", form),
              .hint = layers && in(kOfModels)   ? "leave it out, or --layer"
                      : key == "quant.methods"  ? "--recipe names what is trained"
                      : !rounds && in(kOfCodes) ? "--recipe qat-ste, for example, rounds"
                                                : "leave it out"});
  }
  for (const Unused& u : unused_keys(config)) {
    if (!subject.origins.is_override(u.origin)) continue;
    subject.origins.fail(
        u.origin,
        {.what = str("has no effect on ", form),
         .expected = std::string(u.effect->needs),
         .hint = trains ? "leave it out, or name a --recipe that needs it" : "leave it out"});
  }
}

/// Every form of the verb measures something else: what it does not read is refused.
void require_flags(const Args& args, const std::string& what) {
  const bool trains = what == "train" || what == "gptq";
  const std::string form = trains ? what : args.has("sweep") ? "--sweep" : "models";
  const bool named = !trains && !args.positionals.empty();
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
  if (trains && args.positionals.size() > 1)
    refuse(args.positionals[1],
           str("what is measured follows --shape: --shape ", args.positionals[1]));
  if (named && args.has("shape")) refuse("--shape", "it stands for models, and some are named");
  if (!named && args.has("no-verify")) refuse("--no-verify", "no model directory is opened");
}

int bench_command(const Args& args) {
  const std::string what = args.positionals.empty() ? "" : args.positionals[0];
  require_flags(args, what);
  if (what != "train" && what != "gptq") return bench_inference_command(args);
  const BenchOptions options{.recipes = words_in(args.value("recipe").value_or("fp32")),
                             .rounds = static_cast<int>(args.integer("rounds", 5, 1, 1000)),
                             .steps = static_cast<int>(args.integer("steps", 0, 1, 100'000))};
  use_threads(args);
  std::vector<BenchSubject> subjects;
  for (const std::string& name : words_in(args.value("shape").value_or("T"))) {
    subjects.push_back(subject_of(name, args.overrides));
    require_effect(subjects.back(), name, args.overrides,
                   what == "gptq" ? std::vector<std::string>{what} : options.recipes,
                   what == "train", args.has("layer"));
  }
  note(args, banner());
  for (const std::string& warning : openblas_warnings()) note(args, "warning  " + warning);
  if (what == "gptq") {
    const std::vector<std::string> layers = words_in(args.value("layer").value_or(""));
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

}  // namespace

Command bench_verb() {
  static const std::string recipes =
      "train: fp32, " + quant::method_list(quant::Methods::trained) + ": compared with the first";
  return {
      {.name = "bench",
       .summary =
           "how fast models run here beside the machine's roofs, or what training or GPTQ costs",
       .examples = {"notch bench --shape M --batch 1,4,8 --svg roofline.svg",
                    "notch bench runs/quick && notch report runs/quick",
                    "notch bench --shape S --sweep --svg growth.svg",
                    "notch bench train --shape T,S",
                    "notch bench train --shape S --recipe fp32,qat-ste,qat-lsq quant.bits=8,4",
                    "notch bench gptq --shape M quant.granularity=group quant.group_size=128"},
       .positionals = {{.name = "train|gptq|MODEL_DIR",
                        .help = "training steps, GPTQ, models to run, or a run, whose report "
                                "shows it; without: random weights",
                        .required = false,
                        .repeated = true}},
       .flags =
           {{.name = "shape",
             .value = "LIST",
             .help = "N, T, S, M or an EXP.toml: models to train (T); S or M: weights to run (S)"},
            {.name = "recipe", .value = "LIST", .help = recipes, .fallback = "fp32"},
            {.name = "rounds", .letter = 'r', .value = "N", .help = "interleaved", .fallback = "5"},
            {.name = "steps",
             .value = "N",
             .help = "train: of every recipe in a round",
             .fallback = "half a second's worth"},
            {.name = "layer",
             .value = "LIST",
             .help = "gptq: only layers whose names end so, and not the whole model"},
            {.name = "ops",
             .help = "train, with -o csv and json: the split by op, not the summary"},
            {.name = "batch",
             .value = "LIST",
             .help = "sequences that run together",
             .fallback = "1,4,8"},
            {.name = "prompt",
             .value = "N",
             .help = "tokens of the prompt",
             .fallback = "256, or what fits"},
            {.name = "sweep",
             .value = "[CONTEXTS]",
             .help =
                 "instead: prompts, decoding, keys and values and training memory by context and "
                 "batch (1,4,16,64), those that fit this memory",
             .fallback = "256,512,1024,2048,4096,8192"},
            kv_cache_flag(),
            {.name = "svg",
             .value = "FILE",
             .help = "the roofline with the models under it, or the sweep",
             .path = PathUse::written},
            no_verify_flag(),
            threads_flag(),
            output_flag()},
       .overrides = true},
      bench_command};
}

}  // namespace notch::experiments
