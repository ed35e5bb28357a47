// notch advise: which model of a run to use in so much memory, and the command that makes it.
//
// It answers from what was measured: bytes and losses of the run's rows, speeds where `notch bench RUN_DIR`
// took them. Nothing is looked up in a table of other models; what was not measured is said.
#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/shell_word.h"
#include "autograd/base/temporary_folder.h"
#include "experiments/bench/memory_report.h"
#include "experiments/config/config_items.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/gguf_files.h"
#include "experiments/program/shared_flags.h"
#include "experiments/report/parts.h"
#include "experiments/report/statistics.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/row_files.h"
#include "experiments/show/roofline.h"
#include "nn/onnx_model.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/onnx_codes.h"

namespace notch::experiments {
namespace {

/// A run by its directory or that of one of its models.
RunPart run_of(const fs::path& path) {
  if (fs::exists(path / kResolvedConfig)) return open_part(path);
  const fs::path dir = fs::absolute(path).lexically_normal();
  const fs::path model = dir.has_filename() ? dir : dir.parent_path();
  const fs::path run = model.parent_path().parent_path();
  if (model.parent_path().filename() == kModelsFolder && fs::exists(run / kResolvedConfig))
    return open_part(run);
  if (nn::is_gguf(path)) {
    throw Error({.fault = Fault::input,
                 .where = path.string(),
                 .what = "a GGUF file, of which nothing was measured",
                 .expected = "a run's directory, or a model in one",
                 .hint = str("advise on the run it was exported from; `notch eval ",
                             shell_word(path.string()), " --text TEXT` scores this file alone")});
  }
  require_model_directory(path);
  throw Error({.fault = Fault::input,
               .where = path.string(),
               .what = "nothing was measured of this model",
               .expected = "a run's directory, or a model in one",
               .hint = str("`notch run TEXT model.from=", shell_word(path.string()),
                           " --bits 8,4 --methods rtn,gptq quant.control=false` measures; then "
                           "advise on its runs/TEXT")});
}

std::vector<SeedResults> results_of(const RunPart& run) {
  const fs::path first = row_file(run.directory, run.config.seeds.front(), kBaseRow);
  if (!fs::exists(first)) {
    throw Error({.fault = Fault::input,
                 .where = run.directory.string(),
                 .what = "the run has no rows yet",
                 .hint = "`notch run --resume` finishes it"});
  }
  const std::string scored_on = read_row(first).scored_on;
  return read_results({run}, run.config, scored_on);
}

struct Candidate {
  const RowResult* row = nullptr;
  fs::path model{};
  double loss = 0;                            ///< mean over seeds
  std::optional<double> memory{};             ///< nothing: the model is not there
  std::optional<double> tokens_per_second{};  ///< of decoding one sequence
};

std::vector<Candidate> candidates_of(const RunPart& run, const Statistics& statistics,
                                     std::int64_t context, std::int64_t batch) {
  Roofline speeds;
  if (const fs::path file = run.directory / kRoofline; fs::exists(file))
    speeds = roofline_from_json(Json::parse(read_file(file), file.string()), file.string());
  std::vector<Candidate> all;
  for (const RowResult& row : statistics.rows()) {
    Candidate& c = all.emplace_back(Candidate{.row = &row, .loss = statistics.loss(row.name)});
    c.model = model_folder(run.directory, run.config.seeds.front(), row.name);
    const std::string name = c.model.filename().string();
    for (const RooflineDot& dot : speeds.dots)
      if (dot.name == name && dot.phase == "decode" && dot.batch == batch)
        c.tokens_per_second = dot.tokens_per_second();
    if (!fs::exists(c.model / nn::kConfigFile)) continue;
    const auto shapes =
        nn::make_model(nn::read_config_json(c.model), c.model, nn::Model::Values::shapes_only);
    const std::int64_t longest = shapes->sizes().block_size;
    if (context > longest) {
      throw Error({.where = "--context",
                   .what = str("longer than that of ", name),
                   .found = str(context),
                   .expected = str("at most ", longest)});
    }
    const MemoryNeed need =
        memory_need(memory_shape(*shapes, name), {}, context > 0 ? context : longest, batch);
    c.memory = static_cast<double>(row.file_bytes + need.kv_cache + need.activations);
  }
  std::ranges::stable_sort(all, {}, [](const Candidate& c) {
    return std::isfinite(c.loss) ? c.loss : std::numeric_limits<double>::infinity();
  });
  return all;
}

/// What programs run, and how a model gets there without being rounded again.
struct Platform {
  std::string_view name{};
  std::string_view flags{};  ///< of `notch export`, with {} for the file or directory; "" for none
  /// Writes it as that program reads it, or throws what it cannot hold.
  void (*write)(const Artefact& from, const fs::path& to) = nullptr;
};

constexpr Platform kPlatforms[] = {
    {.name = "cpu"},
    {.name = "llama.cpp",
     .flags = "--gguf {}.gguf --gguf-type F32",
     .write = [](const Artefact& from,
                 const fs::path& to) { save_gguf(from, {.type = "F32"}, to / "model.gguf"); }},
    {.name = "gptq",
     .flags = "--format gptq --out {}-gptq",
     .write =
         [](const Artefact& from, const fs::path& to) {
           quant::save_gptq(from.model(), {.tensors = from.loaded.tensors}, to,
                            quant::GptqZeros::v1);
         }},
    {.name = "onnx",
     .flags = "--onnx {}.onnx",
     .write = [](const Artefact& from, const fs::path& to) {
       quant::OnnxCodes weights(from.loaded.tensors);
       nn::onnx_graph(from.model(), weights, false).write(to / "model.onnx", "model");
     }}};

const Platform& platform_of(const Args& args) {
  const std::string name = args.value("target").value_or("cpu");
  return *std::ranges::find(kPlatforms, name, &Platform::name);
}

/// Why the platform cannot hold the model as it is, or "": by writing it once.
std::string trouble_of(const Args& args, const Platform& platform, const fs::path& model) {
  const Artefact artefact = open_artefact(args, model);  // gone or damaged: nothing to advise
  if (!platform.write) return "";
  try {
    const DirectoryWriter folder = temporary_directory("notch-advise");
    platform.write(artefact, folder.temporary());
  } catch (const Error& e) {
    if (e.fault() == Fault::io) throw;
    return e.what();
  }
  return "";
}

/// [{method = "gptq", bits = 4}]: what the row does not take over from the run.
std::string inline_row(const ExperimentConfig& run, RowConfig row) {
  if (row.granularity == run.quant.granularity && row.group_size == run.quant.group_size) {
    row.granularity = RowConfig{}.granularity;
    row.group_size = 0;
  }
  if (row.grid == grid_of_width(run, row.bits)) row.grid = RowConfig{}.grid;
  if (row.scale == run.quant.scale) row.scale = RowConfig{}.scale;
  ExperimentConfig config;
  config.row = {row};
  for (const Item& item : items_of(config)) {
    if (item.name != "row" || !item.section.empty()) continue;
    std::string fields;
    for (std::size_t f = 0; f < item.element_fields.size(); ++f) {
      const Item& field = item.elements[0][f];
      if (field.value != item.element_fields[f].value)
        fields += str(fields.empty() ? "" : ", ", field.name, " = ", field.value);
    }
    return str("[{", fields, "}]");
  }
  return "[]";
}

/// The command that makes a row of the run again, and nothing else but what it is made of.
std::string command_for(const RunPart& run, const RowResult& row) {
  RowConfig made{.method = std::string(kBaseRow)};
  for (const RowConfig& planned : planned_rows(run.config)) {
    const RowResult result = planned_result(run.config, planned);
    const std::vector<RowResult> twins = of_controls(run.config, result);
    if (result.name == row.name ||
        std::ranges::find(twins, row.name, &RowResult::name) != twins.end())
      made = planned;
  }
  const std::string config = (run.directory / kResolvedConfig).string();
  const std::string seed = str(" seeds=", run.config.seeds.front());
  if (row.name == kBaseRow) return str("notch train ", shell_word(config), seed, " --out advised");
  return str("notch run ", shell_word(config), seed, ' ',
             shell_word("row=" + inline_row(run.config, made)), " --out advised");
}

std::string unmeasured(const RunPart& run, const std::vector<Candidate>& all,
                       const Platform& platform) {
  std::vector<std::string> out;
  const auto slow = std::ranges::count_if(
      all, [](const Candidate& c) { return !c.tokens_per_second.has_value(); });
  if (slow > 0) {
    out.push_back(str("the speed of ", slow, " of ", all.size(), " models (`notch bench ",
                      shell_word(run.directory.string()),
                      "` takes that of fp32 and one of each width)"));
  }
  if (platform.write) out.push_back(str("speed and memory in ", platform.name));
  if (run.config.seeds.size() == 1) out.emplace_back("how another seed orders the models");
  out.emplace_back("other texts than the run's, and methods and widths that it did not make");
  return and_list(out);
}

bool fits(const Candidate& c, double memory) {
  return c.memory && *c.memory <= memory && std::isfinite(c.loss);
}

Table candidate_table(const std::vector<Candidate>& all, double memory) {
  Table table({{.key = "row", .text = true},
               {.key = "loss", .decimals = 4},
               {.key = "bytes", .bytes = true},
               {.key = "memory", .bytes = true},
               {.key = "tokens_per_second", .title = "tokens/s", .decimals = 0},
               {.key = "fits", .text = true}});
  for (const Candidate& c : all) {
    table.add_row({text(c.row->name), number(c.loss),
                   number(static_cast<double>(c.row->file_bytes)),
                   c.memory ? number(*c.memory) : missing(),
                   c.tokens_per_second ? number(*c.tokens_per_second) : missing(),
                   text(!c.memory         ? "no model"
                        : fits(c, memory) ? "yes"
                                          : "no")});
  }
  return table;
}

/// Those that fit, the lowest loss first. Throws where none does.
std::vector<const Candidate*> fitting_of(const RunPart& run, const std::vector<Candidate>& all,
                                         double memory) {
  std::vector<const Candidate*> fitting;
  const Candidate* least = nullptr;
  for (const Candidate& c : all) {
    if (fits(c, memory)) fitting.push_back(&c);
    if (c.memory && (!least || *c.memory < *least->memory)) least = &c;
  }
  if (!least) refuse_without_models(run.directory);
  if (!fitting.empty()) return fitting;
  throw Error({.where = "--memory",
               .what = "no model of the run fits",
               .found = bytes_text(memory),
               .expected = str("at least ", bytes_text(*least->memory), ", which ",
                               least->row->name, " takes"),
               .hint = "run fewer bits or a smaller model, or give a shorter --context"});
}

/// What the choice is made of.
struct Choice {
  const RunPart& run;
  const Statistics& statistics;
  const std::vector<Candidate>& all;
  const std::vector<const Candidate*>& fitting;
  const Platform& platform;
  double memory = 0;

  const Candidate& lowest() const { return *fitting.front(); }
  Difference from_lowest(const Candidate& c) const {
    return statistics.difference(c.row->name, lowest().row->name);
  }
  /// Whether it cannot be told apart from the lowest loss.
  bool as_good(const Candidate& c) const { return &c == &lowest() || !from_lowest(c).resolved(); }
};

/// Of what is as good as the lowest loss the smallest goes first.
std::vector<const Candidate*> by_preference(const Choice& choice) {
  std::vector<const Candidate*> order = choice.fitting;
  const auto rest = std::stable_partition(order.begin(), order.end(),
                                          [&](const Candidate* c) { return choice.as_good(*c); });
  std::ranges::stable_sort(order.begin(), rest, {},
                           [](const Candidate* c) { return c->row->file_bytes; });
  return order;
}

std::string reason_for(const Choice& choice, const Candidate& c) {
  const std::string& lowest = choice.lowest().row->name;
  if (&c == &choice.lowest())
    return str("the lowest loss of the ", choice.fitting.size(), " that fit");
  const Difference d = choice.from_lowest(c);
  if (choice.as_good(c)) {
    return str("the smallest whose loss is not told apart from the lowest, ", lowest, "'s (",
               printed("%+.4f", d.mean), " [", printed("%+.4f", d.low), ", ",
               printed("%+.4f", d.high), "])");
  }
  return str("the lowest loss that ", choice.platform.name, " holds, ", printed("%+.4f", d.mean),
             " from ", lowest, "'s");
}

void say_choice(const Args& args, const Choice& choice, const Candidate& c) {
  say(args, str("\nuse      ", c.row->name, ": loss ", printed("%.4f", c.loss), ", ",
                bytes_text(static_cast<double>(c.row->file_bytes)), ", ", bytes_text(*c.memory),
                " of ", bytes_text(choice.memory), " in use"));
  say(args, "why      " + reason_for(choice, c));
  say(args, str("lies in  ", c.model.string()));
  say(args, str("made by  ", command_for(choice.run, *c.row)));
  if (!choice.platform.flags.empty()) {
    std::string flags(choice.platform.flags);
    flags.replace(flags.find("{}"), 2, c.row->name);
    say(args, str("then     notch export ", shell_word(c.model.string()), ' ', flags));
  }
  const std::vector<SeedResults>& seeds = choice.statistics.seeds();
  say(args,
      str("measured loss on the run's scored text",
          seeds.size() > 1 ? str(", the mean of ", seeds.size(),
                                 " seeds, and bytes, those of seed ", seeds.front().seed)
                           : " and bytes",
          "; memory is the file's with fp32 KV cache and activations, computed from the sizes"));
  say(args, str("not      ", unmeasured(choice.run, choice.all, choice.platform)));
}

int advise_command(const Args& args) {
  const double memory = args.bytes("memory", 0);
  if (memory == 0) {
    throw Error({.where = "--memory",
                 .what = "missing",
                 .expected = "what there is for weights, KV cache and activations: --memory 2GiB"});
  }
  const Platform& platform = platform_of(args);
  const std::int64_t context = args.integer("context", 0, 1, 10'000'000);
  const std::int64_t batch = args.integer("batch", 1, 1, 100'000);
  const RunPart run = run_of(args.positionals[0]);
  const std::vector<SeedResults> seeds = results_of(run);
  const Statistics statistics(seeds);
  const std::vector<Candidate> all = candidates_of(run, statistics, context, batch);
  const std::vector<const Candidate*> fitting = fitting_of(run, all, memory);
  print_table(args, candidate_table(all, memory));
  const Choice choice{run, statistics, all, fitting, platform, memory};
  for (const Candidate* c : by_preference(choice)) {
    const std::string trouble = trouble_of(args, platform, c->model);
    if (trouble.empty()) {
      say_choice(args, choice, *c);
      return 0;
    }
    say(args,
        str("passed over: ", c->row->name, ": ", platform.name, " cannot hold it: ", trouble));
  }
  throw Error({.fault = Fault::input,
               .where = str("--target ", platform.name),
               .what = str("none of the ", fitting.size(), " models that fit can be held exactly"),
               .hint = "`notch export --requantize` rounds once more, and says what that costs"});
}

}  // namespace

Command advise_verb() {
  std::vector<std::string_view> targets;
  for (const Platform& p : kPlatforms) targets.push_back(p.name);
  return {{.name = "advise",
           .summary = "which model of a run to use in so much memory, from what the run measured",
           .examples = {"notch advise runs/quick --memory 300kB",
                        "notch advise runs/book --memory 2GiB --target llama.cpp --context 512"},
           .positionals = {{.name = "RUN_DIR|MODEL_DIR",
                            .help = "a directory of `notch run`, or one of its models"}},
           .flags = {{.name = "memory",
                      .letter = 'm',
                      .value = "SIZE",
                      .help = "for weights, KV cache and activations: 2GiB, 500MB"},
                     {.name = "target",
                      .value = "NAME",
                      .help = "what runs it; others than notch on this CPU have to hold it exactly",
                      .fallback = "cpu",
                      .words = std::move(targets)},
                     {.name = "context",
                      .value = "N",
                      .help = "tokens of a sequence",
                      .fallback = "the model's"},
                     {.name = "batch", .value = "N", .help = "sequences", .fallback = "1"},
                     no_verify_flag(),
                     output_flag()}},
          advise_command};
}

}  // namespace notch::experiments
