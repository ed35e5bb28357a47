#include "experiments/program/gguf_files.h"

#include <type_traits>

#include "autograd/base/error.h"
#include "data/vocab_files.h"
#include "quant/store/gguf_blocks.h"
#include "quant/store/gguf_model.h"

namespace notch::experiments {
namespace {

quant::GgufVocabulary vocabulary_of(const data::Tokenizer& tokenizer) {
  const data::Vocabulary& v = tokenizer.vocabulary();
  if (!data::fits_vocab_files(v)) {
    throw Error({.where = "notch export",
                 .what =
                     "the tokenizer is more than vocab.json and merges.txt can say, and GGUF has "
                     "no more",
                 .hint = "export --format f16 writes a directory with its tokenizer.json"});
  }
  quant::GgufVocabulary out{.end_of_text = tokenizer.end_of_text()};
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    out.tokens.push_back(data::spelling_of(v, id));
  }
  const auto spelled = [&](std::int32_t id) { return data::spell(tokenizer.token(id)); };
  for (const data::Merge& m : v.merges) {
    out.merges.push_back(spelled(m.left) + ' ' + spelled(m.right));
  }
  for (const data::AddedToken& added : v.added) out.specials.push_back(added.id);
  return out;
}

data::Tokenizer tokenizer_of(const quant::GgufVocabulary& v, const fs::path& file) {
  data::VocabularyText text{.spellings = v.tokens};
  for (const std::int32_t id : v.specials) {
    text.specials.insert(v.tokens[static_cast<std::size_t>(id)]);
  }
  for (const std::string& merge : v.merges) text.merges += merge + "\n";
  return data::Tokenizer::of(data::parse_vocabulary(text, file.string() + ": tokenizer.ggml.tokens",
                                                    file.string() + ": tokenizer.ggml.merges"));
}

void require_intact(const Args& args, const nn::GgufFile& file) {
  if (!args.has("no-verify")) file.verify();
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

void save_gguf(const Artefact& artefact, std::string_view type, const fs::path& file) {
  const nn::GgufType* t = nn::gguf_type(type);
  if (!t || !quant::has_encoder(*t)) {
    throw Error({.where = "notch export",
                 .what = "no encoder of this type",
                 .field = "--gguf-type",
                 .found = std::string(type),
                 .expected = "F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0 or Q4_1"});
  }
  quant::save_gguf(artefact.model(), artefact.loaded.tensors, vocabulary_of(artefact.tokenizer), *t,
                   artefact.path.filename().string(), file);
}

Artefact open_gguf(const Args& args, const fs::path& file) {
  require_intact(args, nn::GgufFile::open(file));
  quant::GgufModel read = quant::load_gguf(file);
  Artefact a{.path = file, .tokenizer = tokenizer_of(read.vocabulary, file)};
  a.loaded.model = std::move(read.model);
  a.size = quant::predict_size(a.model(), {}, 32, a.loaded.coding);
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
