#include "experiments/program/command_tools.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <iostream>
#include <optional>
#include <span>
#include <sstream>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/printable.h"
#include "autograd/base/thread_pool.h"
#include "data/companions.h"
#include "experiments/program/gguf_files.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/run_dir.h"
#include "nn/integrity.h"
#include "nn/manifest.h"
#include "quant/store/gptq_checkpoint.h"

namespace notch::experiments {
namespace {

/// For someone who named a run: "its models are …".
std::string models_of_run(const fs::path& dir) {
  const std::vector<fs::path> models = finished_entries(dir / kModelsFolder);
  if (models.empty()) return "";
  std::string hint = "this is a run; its models are";
  constexpr std::size_t kShown = 4;
  for (std::size_t i = 0; i < std::min(models.size(), kShown); ++i) {
    hint += (i == 0 ? " " : ", ") + models[i].string();
  }
  return models.size() > kShown ? str(hint, ", … (", models.size(), ")") : hint;
}

bool is_half(const std::vector<nn::SafetensorsFile>& files) {
  return std::ranges::all_of(files, [](const nn::SafetensorsFile& file) {
    return std::ranges::all_of(file.entries(), [](const auto& e) {
      const bool mask = e.dtype == nn::DType::u8 && e.name.ends_with(".mask");
      return mask || nn::element_bits(e.dtype) == 16;
    });
  });
}

/// Whether two paths are one file, that may not be there yet.
bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  if (fs::equivalent(a, b, error)) return true;
  const fs::path at = fs::weakly_canonical(fs::absolute(a), error);
  return !error && at == fs::weakly_canonical(fs::absolute(b), error) && !error;
}

bool has_any(const fs::path& dir, std::span<const std::string_view> names) {
  return std::ranges::any_of(names, [&](std::string_view name) { return fs::exists(dir / name); });
}

bool would_replace(const fs::path& output, const fs::path& input) {
  constexpr std::array<std::string_view, 8> kRead{
      nn::kConfigFile, nn::kWeightsFile, nn::kManifestFile,   "tokenizer.json",
      "vocab.json",    "merges.txt",     "added_tokens.json", "tokenizer_config.json"};
  std::error_code error;
  if (!fs::is_directory(input, error)) return same_file(output, input);
  const auto replaced = [&](std::string_view name) { return same_file(output, input / name); };
  // Every .safetensors file may be a part of the weights.
  return std::ranges::any_of(kRead, replaced) ||
         std::ranges::any_of(data::kCompanionFiles, replaced) ||
         (output.extension() == ".safetensors" &&
          same_file(fs::absolute(output).parent_path(), input) && fs::exists(output, error));
}

}  // namespace

void require_inputs_kept(const Verb& verb, const Args& args) {
  std::vector<std::string> inputs = args.positionals, outputs;
  for (const Flag& flag : verb.flags) {
    if (flag.path == PathUse::read && args.has(flag.name)) inputs.push_back(*args.value(flag.name));
  }
  for (const Flag& flag : verb.flags) {
    const bool is_file = flag.path == PathUse::written || flag.path == PathUse::added_to;
    if (!is_file || !args.has(flag.name)) continue;
    const std::string output = *args.value(flag.name);
    const bool replaces = std::ranges::any_of(
        inputs, [&](const std::string& input) { return would_replace(output, input); });
    const bool again = std::ranges::any_of(
        outputs, [&](const std::string& other) { return same_file(output, other); });
    if (replaces || again) {
      throw Error({.where = str("notch ", verb.name),
                   .what = replaces ? "would replace what this command reads"
                                    : "would replace what this command writes beside it",
                   .field = str("--", flag.name),
                   .found = output,
                   .expected = "a file of its own",
                   .hint = "choose another name"});
    }
    outputs.push_back(output);
  }
}

std::vector<fs::path> finished_entries(const fs::path& directory) {
  std::vector<fs::path> entries = entries_of(directory);
  std::erase_if(entries, [](const fs::path& entry) {
    std::string base;
    return is_temporary_name(entry.filename().native(), base);
  });
  return entries;
}

void require_outputs_possible(const Verb& verb, const Args& args) {
  for (const Flag& flag : verb.flags) {
    if (flag.path == PathUse::none || flag.path == PathUse::read || !args.has(flag.name)) continue;
    const fs::path output = *args.value(flag.name);
    const std::string named = str("--", flag.name);
    if (output == "-") {
      throw Error({.where = named,
                   .what = "writes what it names, not standard output",
                   .found = "-",
                   .hint = "name it; ./- if that is its name"});
    }
    if (flag.path == PathUse::filled) continue;
    if (flag.path == PathUse::written) require_absent(output);
    std::error_code error;
    if (output.has_parent_path() && !fs::is_directory(output.parent_path(), error)) {
      throw Error({.fault = Fault::io,
                   .where = output.string(),
                   .what = "cannot be written",
                   .field = named,
                   .found = str("no directory ", output.parent_path().string()),
                   .hint = "make it first"});
    }
  }
}

bool is_report(const fs::path& dir) {
  return !fs::exists(dir / kResolvedConfig) && has_any(dir, kReportFiles);
}

bool is_one_checkpoint(const fs::path& dir) {
  constexpr std::array<std::string_view, 3> kOthers{nn::kConfigFile, kResolvedConfig, kLayerStudy};
  return fs::exists(dir / nn::kManifestFile) && !has_any(dir, kOthers) && !is_report(dir);
}

void refuse_without_models(const fs::path& run) {
  throw Error({.fault = Fault::input,
               .where = run.string(),
               .what = "none of the run's models is there",
               .hint = "a report of a run's parts has them in the parts: name one; "
                       "`notch run --resume` makes lost ones again"});
}

void require_model_directory(const fs::path& dir) {
  if (fs::exists(dir / nn::kConfigFile)) return;
  const bool exists = fs::exists(dir);
  const nn::OtherWeights other = nn::other_weights(dir);
  const std::string run = models_of_run(dir);
  const bool is_file = exists && !fs::is_directory(dir);
  std::string hint = run.empty() ? other.remedy : run;
  for (const fs::path& entry : is_file || !exists ? std::vector<fs::path>{} : entries_of(dir))
    if (run.empty() && nn::is_gguf(entry)) hint = str("give ", entry.string(), " itself");
  throw Error(
      {.fault = is_file ? Fault::input : Fault::io,
       .where = dir.string(),
       .what = !exists   ? "there is no such directory"
               : is_file ? "a file, neither GGUF nor a model directory"
                         : "not a model directory",
       .found = exists && !is_file
                    ? str("no config.json", other.form.empty() ? "" : ", but ", other.form)
                    : "",
       .expected =
           "config.json, model.safetensors and tokenizer.json, or vocab.json and merges.txt",
       .hint = hint});
}

void use_threads(const Args& args, int fallback) {
  set_threads(static_cast<int>(args.integer("threads", fallback, 0, 1024)));
}

quant::KvKind kv_kind(const Args& args) {
  return *value_of<quant::KvKind>(args.value("kv-cache").value_or("fp32"));  // one of Flag::words
}

void note(const Args& args, std::string_view line) {
  if (!args.has("quiet")) std::cerr << printable_lines(line) << '\n';
}

void say(const Args& args, std::string_view line) {
  if (args.has("output")) {
    note(args, line);
  } else {
    std::cout << printable_lines(line) << '\n';
  }
}

fs::path new_directory(const Args& args, std::string_view flag) {
  const std::optional<std::string> given = args.value(flag);
  if (!given || given->empty()) {
    throw Error({.where = "notch " + args.verb,
                 .what = given ? "is empty" : "missing",
                 .field = str("--", flag),
                 .hint = str("name the directory to write: --", flag, " DIR")});
  }
  return new_directory(fs::path(*given));
}

fs::path new_directory(const fs::path& named) {
  fs::path out = named.lexically_normal();
  if (!out.has_filename()) out = out.parent_path();
  std::error_code error;
  if (!fs::exists(fs::symlink_status(out, error))) return out;
  if (!fs::exists(out, error)) {
    throw Error({.where = out.string(),
                 .what = "is a link to something that is not there",
                 .hint = "choose another name, or remove it"});
  }
  if (!fs::is_directory(out, error) || !fs::is_empty(out, error)) refuse_existing(out);
  return behind_link(out);
}

void write_directory(const fs::path& out, const std::function<void(const fs::path&)>& write) {
  const fs::path above = out.parent_path();
  std::vector<fs::path> made;
  try {
    std::optional<DirectoryWriter> directory;
    while (!directory) {
      make_directories(above, &made);
      try {
        directory.emplace(out, Existing::refuse);
      } catch (const Error&) {
        // A command that had made it and is refused takes it away again.
        if (above.empty() || fs::exists(above)) throw;
      }
    }
    write(directory->temporary());
    directory->commit();
  } catch (...) {  // what is refused leaves nothing of its own
    std::error_code ignored;
    for (auto folder = made.rbegin(); folder != made.rend(); ++folder) fs::remove(*folder, ignored);
    throw;
  }
}

void print_table(const Args& args, const Table& table) {
  const auto format = args.value("output");
  std::cout << render(table, format ? parse_table_format(*format) : TableFormat::screen);
}

std::vector<std::string>& last_notes() {
  static std::vector<std::string> notes;
  return notes;
}

void note_rewritten(const fs::path& file, nn::Digest digest) {
  if (digest != nn::Digest::rewritten) return;
  last_notes().push_back(str("note: ", printable(file.string()),
                             " was rewritten by hand or by another program; taken as it is"));
}

void require_intact(const Args& args, const fs::path& dir) {
  if (args.has("no-verify")) return;
  for (const std::string& file : nn::require_intact(dir))
    note_rewritten(dir / file, nn::Digest::rewritten);
}

RunnableArtefact open_runnable(const Args& args, const fs::path& dir) {
  if (nn::is_gguf(dir)) {
    Artefact a = open_gguf(args, dir);
    quant::RunnableModel model{.model = std::move(a.loaded.model)};
    for (const Param& p : model.model->params().params())
      model.weight_bytes += p.value.size() * std::int64_t{sizeof(real)};
    return {.path = dir, .runnable = std::move(model), .tokenizer = std::move(a.tokenizer)};
  }
  require_model_directory(dir);
  require_intact(args, dir);
  RunnableArtefact a{
      .path = dir, .runnable = quant::load_runnable(dir), .tokenizer = data::Tokenizer::load(dir)};
  nn::require_tokens(*a.runnable.model, a.tokenizer.vocab_size(), dir);
  return a;
}

namespace {

/// Of the tensors of a model directory.
quant::SizeReport size_of(const Artefact& a, quant::Entropy entropy) {
  const quant::SizeReport size = quant::predict_size(
      a.model(), {.tensors = a.loaded.tensors, .masks = a.loaded.masks},
      is_half(nn::open_weights(a.path)) ? 16 : 32, a.loaded.coding, entropy, a.loaded.streams);
  return quant::gptq_config(a.path, nn::read_config_json(a.path)) ? quant::gptq_size(size, a.path)
                                                                  : size;
}

}  // namespace

Artefact open_artefact(const Args& args, const fs::path& dir) {
  if (nn::is_gguf(dir)) return open_gguf(args, dir);
  require_model_directory(dir);
  require_intact(args, dir);
  Artefact a{.path = dir, .loaded = quant::load_any(dir), .tokenizer = data::Tokenizer::load(dir)};
  nn::require_tokens(a.model(), a.tokenizer.vocab_size(), dir);
  a.size = size_of(a, quant::Entropy::unknown);
  for (const nn::SafetensorsFile& file : nn::open_weights(dir)) {
    a.file_bytes += static_cast<std::int64_t>(fs::file_size(file.path()));
  }
  return a;
}

namespace {

std::string fixed3(double x) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(3) << x;
  return out.str();
}

/// "  codes          12345  12.3 %   3.456  note"
std::string part_line(std::string_view part, std::int64_t bytes, const quant::SizeReport& size,
                      const std::string& remark) {
  const auto b = static_cast<double>(bytes);
  std::ostringstream out;
  out << "  " << std::left << std::setw(12) << part << std::right << std::setw(12) << bytes
      << std::fixed << std::setprecision(1) << std::setw(7)
      << 100 * b / static_cast<double>(size.file_bytes()) << " %" << std::setprecision(3)
      << std::setw(9) << 8 * b / static_cast<double>(size.weights);
  if (!remark.empty()) out << "  " << remark;
  return out.str();
}

}  // namespace

std::vector<std::string> size_lines(const Artefact& artefact) {
  const quant::SizeReport s =
      artefact.size.quantized == 0 ? artefact.size : size_of(artefact, quant::Entropy::measured);
  std::vector<std::string> lines = {
      str(artefact.file_bytes, " bytes in model.safetensors; without its header ",
          fixed3(s.bits_per_weight()), " bits per weight over ", s.weights, " weights")};
  if (s.quantized == 0) return lines;
  lines[0] += str(", ", fixed3(32 / s.bits_per_weight()), " times smaller than fp32");
  const bool coded = artefact.loaded.coding == quant::Coding::entropy;
  const auto per_code = [&](std::int64_t bytes) {
    return fixed3(8 * static_cast<double>(bytes) / static_cast<double>(s.quantized));
  };
  lines.push_back("                      bytes           bits per weight");
  lines.push_back(
      part_line("codes", s.code_bytes, s,
                str(s.quantized, " weights, entropy ", fixed3(s.code_entropy), " bits per code, ",
                    coded ? "with tables " : "entropy-coded ", per_code(s.coded_bytes))));
  if (coded) lines.push_back(part_line("tables", s.table_bytes, s, "frequencies of the codes"));
  if (s.mask_bytes > 0)
    lines.push_back(part_line("masks", s.mask_bytes, s, "one bit per weight of pruned matrices"));
  if (s.scale_bytes > 0) lines.push_back(part_line("scales", s.scale_bytes, s, ""));
  if (s.level_bytes > 0)
    lines.push_back(part_line("levels", s.level_bytes, s, "and codebooks, the matrices' own"));
  if (s.zero_point_bytes > 0) lines.push_back(part_line("zero points", s.zero_point_bytes, s, ""));
  if (s.side_bytes > 0)
    lines.push_back(part_line("beside", s.side_bytes, s, "products and factors of inputs"));
  lines.push_back(part_line("fp32", s.float_bytes, s,
                            str(s.weights - s.quantized, " weights that are not quantized")));
  lines.push_back(part_line("header", s.header_bytes, s, "names and shapes"));
  return lines;
}

}  // namespace notch::experiments
