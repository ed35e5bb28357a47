// notch export: a quantized model with its codes stored another way. The integers stay the same.
#include "autograd/base/error.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"

namespace notch::experiments {
namespace {

[[noreturn]] void fail(std::string field, std::string what, std::string hint) {
  throw Error({.where = "notch export",
               .what = std::move(what),
               .field = std::move(field),
               .hint = std::move(hint)});
}

/// What the quantization says about itself, without what the new file says anew.
Json about(const Json& quantization) {
  Json out = Json::object();
  for (const auto& [key, value] : quantization.as_object("quantization_config")) {
    const bool anew = key == "quant_method" || key == "version" || key == "bits" ||
                      key == "coding" || key == "tensors";
    if (!anew) out.set(key, value);
  }
  return out;
}

}  // namespace

int export_command(const Args& args) {
  const std::optional<std::string> format = args.value("format");
  if (!format) fail("--format", "missing", "--format coded or packed");
  const fs::path out = new_directory(args);
  const Artefact from = open_artefact(args.positionals[0]);
  if (from.loaded.tensors.empty()) {
    throw Error({.fault = Fault::input,
                 .where = from.path.string(),
                 .what = "not quantized: it has no codes",
                 .hint = "`notch quantize` makes a quantized model of it"});
  }
  std::error_code ignored;  // DirectoryWriter says what is wrong
  fs::create_directories(out.parent_path(), ignored);
  {
    DirectoryWriter dir(out);
    from.tokenizer.save(dir.temporary());
    quant::save_quantized(from.model(), {.tensors = from.loaded.tensors}, dir.temporary(),
                          about(from.loaded.quantization_config),
                          *format == "coded" ? quant::Coding::entropy : quant::Coding::packed);
    dir.commit();
  }
  const Artefact written = open_artefact(out);
  for (const std::string& line : size_lines(written)) say(args, line);
  note(args, str("written to ", out.string(), "; ", from.file_bytes, " bytes before"));
  return 0;
}

}  // namespace notch::experiments
