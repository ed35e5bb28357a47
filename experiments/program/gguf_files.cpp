#include "experiments/program/gguf_files.h"

#include <type_traits>

#include "autograd/base/error.h"
#include "experiments/program/gguf_vocabulary.h"
#include "nn/architectures.h"
#include "quant/store/gguf_encode.h"
#include "quant/store/gguf_importance.h"

namespace notch::experiments {
namespace {

/// What the model says its tokens are goes before what its tokenizer lets guess. Of several ends a GGUF
/// file names one.
void take_token_ids(const nn::TokenIds& said, quant::GgufVocabulary& vocabulary) {
  if (said.bos && !vocabulary.add_bos) vocabulary.bos = said.bos;
  if (!said.eos.empty()) vocabulary.eos = said.eos.front();
}

void require_intact(const Args& args, const nn::GgufFile& file) {
  if (!args.has("no-verify")) note_rewritten(file.path(), file.verify());
}

std::string shown(const nn::GgufValue& value) {
  return std::visit(
      []<class T>(const T& v) -> std::string {
        if constexpr (std::is_same_v<T, std::string>) {
          return v.size() > 60 ? str(std::string_view(v).substr(0, 57), "…") : v;
        } else if constexpr (std::is_same_v<T, bool>) {
          return v ? "true" : "false";
        } else if constexpr (std::is_arithmetic_v<T>) {
          return str(+v);
        } else if constexpr (std::is_same_v<T, Nothing>) {
          return "";
        } else {
          return str(v.size(), " entries");
        }
      },
      value);
}

}  // namespace

std::vector<quant::Requantized> save_gguf(const Artefact& artefact, const GgufExport& how,
                                          const fs::path& file) {
  const nn::GgufType* t = nn::gguf_type(how.type);
  if (!t || !quant::has_encoder(*t)) {
    throw Error({.where = "notch export",
                 .what = "no encoder of this type",
                 .field = "--gguf-type",
                 .found = std::string(how.type),
                 .expected = joined(quant::encoder_names())});
  }
  quant::GgufVocabulary vocabulary = gguf_vocabulary(artefact.tokenizer);
  take_token_ids(artefact.model().token_ids(), vocabulary);
  gguf_tokenizer(vocabulary, file);  // what would not be read back is refused here
  quant::GgufOptions options{.type = t, .requantize = how.requantize};
  const bool weighs = artefact.loaded.tensors.empty() && quant::weighs_columns(*t);
  if (!how.imatrix.empty() && !weighs) {
    throw Error({.where = "notch export",
                 .what = artefact.loaded.tensors.empty()
                             ? "has no effect: this type's blocks do not weigh columns"
                             : "has no effect: codes are written as they are",
                 .field = "--imatrix",
                 .found = str("--gguf-type ", t->name),
                 .expected = "a model in floating point and one of " +
                             joined(quant::encoder_names(quant::Columns::weighed))});
  }
  if (!how.imatrix.empty()) {
    options.importance = [of = quant::load_importance(how.imatrix)](const std::string& tensor) {
      const auto at = of.find(tensor);
      return at == of.end() ? std::span<const float>{} : std::span<const float>(at->second);
    };
  }
  return quant::save_gguf(artefact.model(), artefact.loaded.tensors, vocabulary, options,
                          artefact.path.filename().string(), file, Existing::refuse);
}

Artefact open_gguf(const Args& args, const fs::path& file) {
  const nn::GgufFile gguf = nn::GgufFile::open(file);
  require_intact(args, gguf);
  quant::GgufModel read = quant::load_gguf(file);
  Artefact a{.path = file, .tokenizer = gguf_tokenizer(read.vocabulary, file)};
  a.loaded.model = std::move(read.model);
  a.size = quant::predict_size(a.model(), {});
  a.size.float_bytes = 0;  // blocks, whatever is in them
  for (const nn::GgufTensor& tensor : gguf.tensors())
    a.size.float_bytes += static_cast<std::int64_t>(tensor.bytes);
  a.file_bytes = static_cast<std::int64_t>(fs::file_size(file));
  return a;
}

void inspect_gguf(const Args& args, const fs::path& file) {
  const nn::GgufFile gguf = nn::GgufFile::open(file);
  require_intact(args, gguf);
  say(args, str(file.string(), ": GGUF, ", gguf.tensors().size(), " tensors, ", gguf.file_bytes(),
                " bytes"));
  for (const nn::GgufEntry& e : gguf.metadata()) say(args, str("  ", e.key, " = ", shown(e.value)));
  Table table({{.key = "tensor", .text = true},
               {.key = "type", .text = true},
               {.key = "shape", .text = true},
               {.key = "bytes", .decimals = 0}});
  for (const nn::GgufTensor& t : gguf.tensors()) {
    std::string shape;  // as everywhere here: the contiguous extent last
    for (const std::int64_t n : t.extents) shape = str(n, shape.empty() ? "" : ", ", shape);
    table.add_row({text(t.name), text(t.type->name), text(str("[", shape, "]")),
                   number(static_cast<double>(t.bytes))});
  }
  print_table(args, table);
}

}  // namespace notch::experiments
