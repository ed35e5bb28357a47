// notch export: a model stored another way: a quantized one with the same integers, or any in
// floating point, as other programs read it.
#include <system_error>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/gguf_files.h"
#include "experiments/program/shared_flags.h"
#include "nn/gpt.h"
#include "nn/model_dir.h"
#include "quant/store/gguf_encode.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/onnx_codes.h"

namespace notch::experiments {
namespace {

[[noreturn]] void refuse(std::string field, std::string what, std::string hint) {
  throw Error({.where = "notch export",
               .what = std::move(what),
               .field = std::move(field),
               .hint = std::move(hint)});
}

/// What the quantization says about itself, without what the new file says anew.
Json kept_keys(const Json& quantization) {
  Json out = Json::object();
  // Another program's keys say how it stored the codes, which is anew as well.
  if (const Json* method = quantization.find("quant_method");
      !method || method->dump() != "\"notch\"")
    return out;
  for (const auto& [key, value] : quantization.as_object("quantization_config")) {
    const bool anew = key == "quant_method" || key == "version" || key == "bits" ||
                      key == "coding" || key == "tensors" || key == "masks";
    if (!anew) out.set(key, value);
  }
  return out;
}

/// What --gguf and --onnx share: a file, and no directory.
void require_one_file(const Args& args, const char* flag) {
  if (args.value("format") || args.value("out") || (args.value("gguf") && args.value("onnx"))) {
    refuse(flag, "writes one file and takes no other format and no --out", "leave them out");
  }
}

/// One file for ONNX Runtime and what reads its files.
int export_onnx(const Args& args, const fs::path& file) {
  require_one_file(args, "--onnx");
  const Artefact from = open_artefact(args, args.positionals[0]);
  quant::OnnxCodes weights(from.loaded.tensors);
  const std::int64_t context =
      window_length(args, from, {.usual = from.model().sizes().block_size});
  nn::onnx_graph(from.model(), weights, args.has("onnx-cache"), context)
      .write(file, from.path.filename().string(), Existing::refuse);
  note(args, str("written to ", printable(file.string()), ", ", fs::file_size(file), " bytes; ",
                 from.file_bytes, " before"));
  return 0;
}

/// The file that was written; where it cannot be read it does not stay.
Artefact read_back(const Args& args, const fs::path& file) {
  try {
    return open_artefact(args, file);
  } catch (...) {
    std::error_code ignored;
    fs::remove(file, ignored);
    throw;
  }
}

/// One file for llama.cpp and what reads its files.
int export_gguf(const Args& args, const fs::path& file) {
  require_one_file(args, "--gguf");
  const Artefact from = open_artefact(args, args.positionals[0]);
  const std::vector<quant::Requantized> again =
      save_gguf(from,
                {.type = args.value("gguf-type").value_or("F16"),
                 .requantize = args.has("requantize"),
                 .imatrix = args.value("imatrix").value_or("")},
                file);
  const Artefact written = read_back(args, file);
  if (const auto* gpt = dynamic_cast<const nn::Gpt*>(&from.model());
      gpt && gpt->config().gelu == Gelu::exact) {
    note(args,
         "note: llama.cpp computes GELU by tanh, this model by erf; values differ by up to 0.0005");
  }
  if (!again.empty()) {
    Table table({{.key = "tensor", .text = true},
                 {.key = "type", .text = true},
                 {.key = "change_pct", .title = "change %", .decimals = 2},
                 {.key = "why", .text = true}});
    for (const quant::Requantized& r : again) {
      table.add_row({text(r.name), text(r.type->name), number(100 * r.change), text(r.why)});
    }
    print_table(args, table);
    note(args, str(again.size(),
                   " tensors were rounded once more; change: the root mean square "
                   "between the weights of the file and of the model, over the model's. What that "
                   "costs: notch eval ",
                   file.string(), " --base ", from.path.string(), " --text FILE"));
  }
  note(args, str("written to ", printable(file.string()), ", ", written.file_bytes, " bytes; ",
                 from.file_bytes, " before"));
  return 0;
}

void require_codes(const Artefact& from) {
  if (from.loaded.tensors.empty()) {
    throw Error({.fault = Fault::input,
                 .where = from.path.string(),
                 .what = "not quantized: it has no codes",
                 .hint = "`notch quantize` makes a quantized model of it; --format f16 stores it "
                         "in half the bytes"});
  }
}

void save_codes(const Artefact& from, quant::Coding coding, const fs::path& dir) {
  require_codes(from);
  quant::save_quantized(from.model(), {.tensors = from.loaded.tensors, .masks = from.loaded.masks},
                        dir, kept_keys(from.loaded.quantization_config), coding);
}

/// A quantized model's weights as they are multiplied.
void save_floats(const Artefact& from, nn::DType dtype, const fs::path& dir) {
  if (from.loaded.served) {
    throw Error(
        {.fault = Fault::input,
         .where = from.path.string(),
         .what = "multiplies quantized activations, which floating-point weights do not say",
         .hint = "--format packed or coded"});
  }
  Json more = Json::object();
  const std::int32_t end = from.tokenizer.end_of_text();
  if (end >= 0 && from.model().token_ids() == nn::TokenIds{}) {
    more.set("bos_token_id", end).set("eos_token_id", end);  // GPT-2's convention
  }
  nn::save_model(from.model(), dir, more, dtype);
}

int export_command(const Args& args) {
  for (const char* flag : {"onnx-cache", "ctx"}) {
    if (args.has(flag) && !args.has("onnx"))
      refuse(str("--", flag), "is of an ONNX file", "--onnx FILE");
  }
  for (const char* flag : {"gguf-type", "requantize", "imatrix"}) {
    if (args.has(flag) && !args.has("gguf"))
      refuse(str("--", flag), "is of a GGUF file", "--gguf FILE");
  }
  if (const auto file = args.value("onnx")) return export_onnx(args, *file);
  if (const auto file = args.value("gguf")) return export_gguf(args, *file);
  const std::optional<std::string> format = args.value("format");
  if (!format)
    refuse("--format", "missing", "--format f32, f16, bf16, coded, packed, gptq or gptq_v2");
  const fs::path out = new_directory(args);
  const Artefact from = open_artefact(args, args.positionals[0]);
  write_directory(out, [&](const fs::path& dir) {
    from.tokenizer.save(dir);
    if (*format == "coded" || *format == "packed") {
      save_codes(from, *format == "coded" ? quant::Coding::entropy : quant::Coding::packed, dir);
    } else if (*format == "gptq" || *format == "gptq_v2") {
      require_codes(from);
      quant::save_gptq(from.model(), {.tensors = from.loaded.tensors}, dir,
                       *format == "gptq" ? quant::GptqZeros::v1 : quant::GptqZeros::v2);
    } else {
      save_floats(from,
                  *format == "f16"    ? nn::DType::f16
                  : *format == "bf16" ? nn::DType::bf16
                                      : nn::DType::f32,
                  dir);
    }
  });
  const Artefact written = open_artefact(args, out);
  for (const std::string& line : size_lines(written)) say(args, line);
  if (written.loaded.coding == quant::Coding::entropy) {
    const std::int64_t packed =
        quant::predict_size(written.model(),
                            {.tensors = written.loaded.tensors, .masks = written.loaded.masks}, 32,
                            quant::Coding::packed, quant::Entropy::unknown)
            .file_bytes();
    // Few codes do not pay for the tables of their frequencies.
    if (packed <= written.file_bytes) {
      note(args,
           str("note: this is no smaller than --format packed, which takes ", packed, " bytes"));
    }
  }
  note(args, str("written to ", printable(out.string()), "; ", from.file_bytes, " bytes before"));
  return 0;
}

}  // namespace

Command export_verb() {
  static const std::string gguf_types =
      str("of what is not quantized already (default F16): ", joined(quant::encoder_names()),
          "; quantized codes stay what they are (TQ1_0: in such blocks where they are ternary)");
  return {
      {.name = "export",
       .summary = "the same model stored another way: its codes as short as they can be, or floats "
                  "for other programs",
       .examples = {"notch export runs/quick/models/gptq-int4-seed1337 --format coded --out small",
                    "notch export INT4_DIR --format gptq --out gptq",
                    "notch export MODEL_DIR --gguf model.gguf --gguf-type Q8_0",
                    "notch export INT4_DIR --onnx model.onnx"},
       .positionals = {model_positional()},
       .flags = {{.name = "format",
                  .value = "NAME",
                  .help =
                      "of a quantized model coded (smallest), packed (as `notch run` writes) or "
                      "gptq (gptq_v2), for other programs; of any f32, f16 or bf16",
                  .words = {"coded", "packed", "gptq", "gptq_v2", "f32", "f16", "bf16"}},
                 out_flag(),
                 {.name = "gguf",
                  .value = "FILE",
                  .help = "write one file for llama.cpp instead",
                  .path = PathUse::written},
                 {.name = "gguf-type",
                  .value = "TYPE",
                  .help = gguf_types,
                  .words = quant::encoder_names()},
                 {.name = "onnx",
                  .value = "FILE",
                  .help = "write one file for ONNX Runtime instead; codes stay what they are",
                  .path = PathUse::written},
                 {.name = "onnx-cache",
                  .help = "of keys and values as inputs and outputs, to write a text with"},
                 ctx_flag(
                     "with --onnx: positions that the file has, of which every one takes bytes",
                     "the model's context"),
                 {.name = "imatrix",
                  .value = "FILE",
                  .help = "with --gguf: weigh the columns by this importance matrix, of notch "
                          "imatrix or llama.cpp's",
                  .path = PathUse::read},
                 {.name = "requantize",
                  .help = "with --gguf, round to --gguf-type what no GGUF type holds exactly, and "
                          "say what it costs, instead of refusing"},
                 no_verify_flag()}},
      export_command};
}

}  // namespace notch::experiments
