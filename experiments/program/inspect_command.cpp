// notch inspect: what is in a model directory, a checkpoint or a .safetensors file. Nothing in it
// is executed, and every check of the readers is made.
#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/bench/memory_report.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/gguf_files.h"
#include "experiments/program/inspect_spectrum.h"
#include "experiments/program/shared_flags.h"
#include "experiments/program/tensor_statistics.h"
#include "nn/checkpoint.h"
#include "nn/manifest.h"
#include "quant/numbers/find_named.h"
#include "quant/numbers/format.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/pack.h"
#include "quant/store/pruned_tensor.h"

namespace notch::experiments {
namespace {

Table make_table() {
  return Table({{.key = "name", .text = true},
                {.key = "type", .text = true},
                {.key = "shape", .text = true},
                {.key = "bytes", .decimals = 0},
                {.key = "min", .decimals = 5},
                {.key = "max", .decimals = 5},
                {.key = "mean", .decimals = 5},
                {.key = "rms", .decimals = 5},
                {.key = "not_finite", .title = "not finite", .decimals = 0},
                {.key = "scale_min", .title = "scale min", .decimals = 6},
                {.key = "scale_max", .title = "scale max", .decimals = 6},
                {.key = "level_min", .title = "level min", .decimals = 5},
                {.key = "level_max", .title = "level max", .decimals = 5},
                {.key = "codes_used", .title = "codes used", .text = true},
                {.key = "entropy", .decimals = 3},
                {.key = "histogram_pct", .title = "codes %", .text = true}});
}

Cell count_if_any(std::int64_t n) {
  if (n == 0) return missing();
  return number(static_cast<double>(n));
}

Cell text_if_any(const std::string& words) {
  if (words.empty()) return missing();
  return text(words);
}

void add_entry(Table& table, const nn::SafetensorsFile& file, const nn::TensorEntry& entry,
               const std::string& prefix = "") {
  const std::optional<TensorStatistics> s = statistics(file, entry);
  const auto known = [&](double TensorStatistics::*member) {
    return s ? number((*s).*member) : missing();
  };
  table.add_row({text(prefix + entry.name), text(nn::name(entry.dtype)),
                 text(nn::to_text(entry.shape)), number(static_cast<double>(entry.bytes)),
                 known(&TensorStatistics::min), known(&TensorStatistics::max),
                 known(&TensorStatistics::mean), known(&TensorStatistics::rms),
                 s ? count_if_any(s->not_finite) : missing(), missing(), missing(), missing(),
                 missing(), missing(), missing(), missing()});
}

/// A quantized matrix: its weights as the model sees them, and its codes.
void add_quantized(Table& table, const std::string& name, const quant::QTensor& q,
                   const quant::LoadedModel& loaded, const std::string& param) {
  const quant::Grid grid = quant::grid_of(q.spec);
  std::array<std::int64_t, 256> counts{};
  for (const std::int8_t code : q.codes) ++counts[static_cast<std::size_t>(code + 128)];
  const auto used = 256 - std::ranges::count(counts, 0);
  std::string histogram;  // of few codes only
  if (q.spec.bits <= 4) {
    for (int code = grid.qmin; code <= grid.qmax; code += grid.step) {
      const auto n = static_cast<double>(counts[static_cast<std::size_t>(code + 128)]);
      histogram += str(histogram.empty() ? "" : " ",
                       std::lround(100 * n / static_cast<double>(q.codes.size())));
    }
  }
  quant::StorageBytes bytes = quant::storage_bytes(q.spec, q.rows, q.cols);
  std::vector<std::int8_t> codes = q.codes;
  if (const quant::NamedMask* mask = quant::find_named(loaded.masks, param)) {
    codes = quant::kept_of<std::int8_t>(q.codes, mask->keep);  // the mask has a line of its own
    bytes.codes = quant::packed_bytes(q.spec, std::ssize(codes));
  }
  if (loaded.coding == quant::Coding::entropy) {
    bytes.codes = std::ssize(loaded.streams.at(param));
  }
  // Levels of a matrix's own stand where other grids have scales, or in codebooks.
  const bool lists = quant::format_of(q.spec.grid).levels == quant::Levels::unit;
  const auto extremes = [](bool shown, const std::vector<real>& of) {
    if (!shown || of.empty()) return std::pair{missing(), missing()};
    const auto [low, high] = std::ranges::minmax(of);
    return std::pair{number(static_cast<double>(low)), number(static_cast<double>(high))};
  };
  const auto [scale_low, scale_high] = extremes(!lists, q.at.scales);
  const auto [level_low, level_high] = extremes(true, lists ? q.at.scales : q.at.codebooks);
  const TensorStatistics s = statistics(quant::dequantize(q));
  table.add_row({text(name), text(quant::name_of(q.spec)),
                 text(str("[", q.rows, ", ", q.cols, "]")),
                 number(static_cast<double>(bytes.total())), number(s.min), number(s.max),
                 number(s.mean), number(s.rms), missing(), scale_low, scale_high, level_low,
                 level_high, text(str(used, "/", grid.size())),
                 number(quant::code_entropy(q.codes)), text_if_any(histogram)});
}

void say_file(const Args& args, const nn::SafetensorsFile& file) {
  say(args, str(printable(file.path().string()), ": ", file.entries().size(), " tensors, ",
                fs::file_size(file.path()), " bytes"));
  for (const auto& [key, value] : file.metadata()) say(args, str("  ", key, " = ", value));
  if (!file.digest().empty()) say(args, "  digest = " + file.digest());
}

void inspect_file(const Args& args, const fs::path& path) {
  const nn::SafetensorsFile file = nn::SafetensorsFile::open(path);
  say_file(args, file);
  Table table = make_table();
  for (const nn::TensorEntry& entry : file.entries()) add_entry(table, file, entry);
  print_table(args, table);
}

bool ends_with_part(std::string_view name, const std::vector<std::string>& stems) {
  return quant::is_gptq_part(name) || std::ranges::any_of(stems, [&](const std::string& stem) {
           return name.starts_with(stem) &&
                  (name.substr(stem.size()) == ".codes" || name.substr(stem.size()) == ".coded" ||
                   name.substr(stem.size()).starts_with(".scale") ||
                   name.substr(stem.size()) == ".zero" || name.substr(stem.size()) == ".codebooks");
         });
}

void inspect_model(const Args& args, const fs::path& dir) {
  require_model_directory(dir);
  const Json config = nn::read_config_json(dir);
  const auto shapes = nn::make_model(config, dir, nn::Model::Values::shapes_only);
  const nn::Sizes& c = shapes->sizes();
  say(args,
      str(nn::architecture_of(config, dir / nn::kConfigFile).title, ": ", c.n_layer, " layers, ",
          c.n_head, " heads, ", c.n_kv_head == c.n_head ? "" : str(c.n_kv_head, " heads of keys, "),
          c.n_embd, " channels, context ", c.block_size, ", vocabulary ", c.vocab_size, ", ",
          shapes->description()));
  const std::vector<nn::SafetensorsFile> files = nn::open_weights(dir);
  for (const nn::SafetensorsFile& file : files) say_file(args, file);
  Table table = make_table();
  if (nn::quantization_config(config) || quant::gptq_config(dir, config)) {
    const Artefact artefact = open_artefact(args, dir);
    std::vector<std::string> stems;
    for (const nn::FileTensor& t : artefact.model().file_tensors()) {
      for (const quant::NamedQTensor& q : artefact.loaded.tensors) {
        if (!t.param || t.param->name != q.name) continue;
        add_quantized(table, t.name, q.q, artefact.loaded, q.name);
        stems.push_back(t.name);
      }
    }
    for (const nn::TensorEntry& entry : files.front().entries()) {
      if (!ends_with_part(entry.name, stems)) add_entry(table, files.front(), entry);
    }
  } else {
    for (const nn::SafetensorsFile& file : files) {
      for (const nn::TensorEntry& entry : file.entries()) add_entry(table, file, entry);
    }
  }
  print_table(args, table);
  // After the table, so that a model that cannot be used is shown before it is refused.
  for (const std::string& line : size_lines(open_artefact(args, dir))) say(args, line);
}

/// What it takes to run the model: as it is stored, and shapes one has heard of beside it.
void inspect_memory(const Args& args, const fs::path& dir) {
  std::int64_t file_bytes = 0;
  std::unique_ptr<nn::Model> model;
  if (nn::is_gguf(dir)) {
    Artefact artefact = open_artefact(args, dir);
    file_bytes = artefact.file_bytes;
    model = std::move(artefact.loaded.model);
  } else {
    require_model_directory(dir);
    model = nn::make_model(nn::read_config_json(dir), dir, nn::Model::Values::shapes_only);
    for (const nn::SafetensorsFile& file : nn::open_weights(dir))
      file_bytes += static_cast<std::int64_t>(fs::file_size(file.path()));
  }
  const std::int64_t longest = model->sizes().block_size;
  const std::int64_t context = args.integer("context", 0, 1, 10'000'000);
  const std::int64_t batch = args.integer("batch", 1, 1, 100'000);
  const std::int64_t own_context = context == 0 ? longest : std::min(context, longest);
  const MemoryShape shape = memory_shape(*model, dir.filename().string());
  Table table = memory_table();
  for (const quant::KvKind kv : {quant::KvKind::fp32, quant::KvKind::fp16, quant::KvKind::int8}) {
    const MemoryUse use{.weights = "as stored", .kv = kv};
    MemoryNeed need = memory_need(shape, use, own_context, batch);
    need.weights = file_bytes;
    add_memory_row(table, shape, use, need);
  }
  std::vector<std::string> kv_notes;
  const auto note_kv = [&](const MemoryShape& s, std::int64_t tokens) {
    if (std::string line = kv_note(s, tokens, batch); !line.empty())
      kv_notes.push_back(std::move(line));
  };
  note_kv(shape, own_context);
  constexpr std::int64_t kUsualContext = 4096;
  const std::int64_t other_context = context == 0 ? kUsualContext : context;
  for (const MemoryShape& other : named_shapes()) {
    for (const MemoryUse& use : usual_uses()) {
      add_memory_row(table, other, use, memory_need(other, use, other_context, batch));
    }
    note_kv(other, other_context);
  }
  say(args,
      str("batch ", batch, "; context ", own_context, " here, ", other_context,
          " of the others; kB, MB, GB = 10^3, 10^6, 10^9 bytes, KiB, MiB, GiB = 2^10, 2^20, 2^30"));
  print_table(args, table);
  for (const std::string& line : kv_notes) say(args, line);
}

void inspect_checkpoint(const Args& args, const fs::path& dir) {
  const Json state = nn::load_checkpoint(dir, {});
  say(args, str(printable(dir.string()), ": every file has the size and SHA-256 of the manifest"));
  say(args, "state " + state.dump());
  std::vector<fs::path> parts;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() == ".safetensors") parts.push_back(entry.path());
  }
  std::ranges::sort(parts);
  Table table = make_table();
  for (const fs::path& part : parts) {
    const nn::SafetensorsFile file = nn::SafetensorsFile::open(part);
    for (const nn::TensorEntry& entry : file.entries()) {
      add_entry(table, file, entry, part.stem().string() + ": ");
    }
  }
  print_table(args, table);
}

bool has_checkpoints(const fs::path& dir) {
  return std::ranges::any_of(finished_entries(dir), [](const fs::path& entry) {
    return entry.filename().string().starts_with("step-");
  });
}

/// A directory of checkpoints: the newest one that holds.
void inspect_latest(const Args& args, const fs::path& root) {
  const nn::LatestCheckpoint latest = nn::latest_checkpoint(root);
  for (const nn::DamagedCheckpoint& d : latest.skipped) say(args, "damaged: " + d.reason);
  if (!latest.path) {
    throw Error({.fault = Fault::input,
                 .where = root.string(),
                 .what = "none of the checkpoints is complete"});
  }
  inspect_checkpoint(args, *latest.path);
}

int inspect_command(const Args& args) {
  const fs::path path = args.positionals[0];
  for (const char* flag : {"context", "batch"}) {
    if (args.has("memory") || !args.has(flag)) continue;
    throw Error({.where = "notch inspect",
                 .what = "has no effect without --memory",
                 .field = str("--", flag),
                 .hint = "give --memory too, or leave it out"});
  }
  if (args.has("memory") && args.has("svd")) {
    throw Error({.where = "notch inspect",
                 .what = "two questions at a time",
                 .field = "--svd",
                 .found = "--memory --svd",
                 .expected = "one of them"});
  }
  if (args.has("memory")) {
    inspect_memory(args, path);
  } else if (args.has("svd")) {
    inspect_spectrum(args, path);
  } else if (nn::is_gguf(path)) {
    inspect_gguf(args, path);
  } else if (!fs::is_directory(path)) {
    inspect_file(args, path);
  } else if (is_one_checkpoint(path)) {
    inspect_checkpoint(args, path);
  } else if (has_checkpoints(path)) {
    inspect_latest(args, path);
  } else {
    inspect_model(args, path);
  }
  return 0;
}

}  // namespace

Command inspect_verb() {
  return {
      {.name = "inspect",
       .summary = "tensors, ranges, codes and sizes of a model, checkpoint or .safetensors file",
       .examples = {"notch inspect MODEL_DIR", "notch inspect runs/quick/seed-1337/ckpt/fp32",
                    "notch inspect MODEL_DIR --memory --batch 8", "notch inspect MODEL_DIR --svd"},
       .positionals = {{.name = "PATH", .help = "a directory or a .safetensors file"}},
       .flags =
           {{.name = "memory", .help = "what running it takes: weights, KV cache, activations"},
            {.name = "context",
             .value = "N",
             .help = "with --memory: tokens of a sequence",
             .fallback = "the model's; 4096"},
            {.name = "batch", .value = "N", .help = "with --memory: sequences", .fallback = "1"},
            {.name = "svd",
             .help =
                 "the singular values of every Linear: where they bend, and the ranks that hold "
                 "90 and 99 % of their energy"},
            no_verify_flag(),
            output_flag()}},
      inspect_command};
}

}  // namespace notch::experiments
