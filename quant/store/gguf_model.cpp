#include "quant/store/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "autograd/base/error.h"
#include "nn/safetensors.h"
#include "quant/numbers/find_named.h"
#include "quant/store/gguf_architectures.h"
#include "quant/store/gguf_blocks.h"
#include "quant/store/gguf_encode.h"
#include "quant/store/gguf_exact.h"

namespace notch::quant {
namespace {

std::vector<nn::GgufEntry> metadata_of(const GgufArchitecture& architecture, const nn::Model& model,
                                       const GgufVocabulary& v, const nn::GgufType& type,
                                       const std::string& name) {
  // What most of the file is, by llama.cpp's numbers (enum llama_ftype); of K types the plain mixture.
  static const std::map<std::string_view, std::uint32_t> kFileTypes = {
      {"F32", 0},     {"F16", 1},   {"Q4_0", 2},   {"Q4_1", 3},  {"Q8_0", 7},  {"Q5_0", 8},
      {"Q5_1", 9},    {"Q2_K", 10}, {"Q3_K", 11},  {"Q4_K", 14}, {"Q5_K", 16}, {"Q6_K", 18},
      {"IQ4_NL", 25}, {"BF16", 32}, {"TQ1_0", 36}, {"TQ2_0", 37}};
  std::vector<nn::GgufEntry> all{{"general.architecture", std::string(architecture.name)},
                                 {"general.name", name},
                                 {"general.file_type", kFileTypes.at(type.name)},
                                 {"general.quantization_version", std::uint32_t{2}}};
  for (nn::GgufEntry& e : architecture.configuration(model)) all.push_back(std::move(e));
  std::vector<std::int32_t> kinds = v.kinds;
  kinds.resize(v.tokens.size(), GgufVocabulary::kNormal);
  const std::vector<nn::GgufEntry> vocabulary{{"tokenizer.ggml.model", std::string("gpt2")},
                                              {"tokenizer.ggml.pre", v.pre},
                                              {"tokenizer.ggml.tokens", v.tokens},
                                              {"tokenizer.ggml.merges", v.merges},
                                              {"tokenizer.ggml.token_type", kinds}};
  all.insert(all.end(), vocabulary.begin(), vocabulary.end());
  if (v.bos) all.push_back({kGgufBosKey, static_cast<std::uint32_t>(*v.bos)});
  if (v.eos) all.push_back({kGgufEosKey, static_cast<std::uint32_t>(*v.eos)});
  all.push_back({"tokenizer.ggml.add_bos_token", v.add_bos});
  if (!v.chat_template.empty()) all.push_back({kGgufChatTemplateKey, v.chat_template});
  return all;
}

/// A weight beyond the type's largest would be written as infinity, which no reader takes.
void require_held(std::span<const real> values, const std::string& tensor,
                  const nn::GgufType& type) {
  if (std::ranges::all_of(values, [](real v) { return std::isfinite(v); })) return;
  throw Error({.where = tensor,
               .what = str("has weights that ", type.name, " does not hold"),
               .expected = "a type of a wider range",
               .hint = "--gguf-type F32 holds every weight of a model"});
}

/// The sources of one file.
class Writer {
 public:
  Writer(const nn::Model& model, const GgufArchitecture& architecture,
         const std::vector<NamedQTensor>& tensors, const GgufOptions& options)
      : model_(model), architecture_(architecture), tensors_(tensors), options_(options) {}

  std::vector<nn::GgufSource> sources{};
  std::vector<Requantized> requantized{};
  const nn::GgufType* most = nullptr;  ///< of the matrices of blocks

  void add(const Param& p, const std::string& as) {
    const NamedQTensor* const quantized = find_named(tensors_, p.name);
    if (quantized && in_blocks(p)) {
      add_quantized(*quantized, as);
      return;
    }
    const bool matrix = p.value.shape.rank() == 2;
    const nn::GgufType& type = in_blocks(p) ? *options_.type : *nn::gguf_type("F32");
    const std::int64_t cols = p.value.cols();
    push(p.name, as, type, matrix ? p.value.rows() : 1, cols, !matrix,
         [&p, &type, cols, importance = importance_of(as, cols)](std::int64_t row, auto& out) {
           encode_blocks(type,
                         p.value.flat().subspan(static_cast<std::size_t>(row * cols),
                                                static_cast<std::size_t>(cols)),
                         out, importance);
         });
  }

  void add_constant(GgufConstant constant) {
    const std::int64_t n = std::ssize(constant.values);
    push("", constant.name, *nn::gguf_type("F32"), 1, n, true,
         [values = std::move(constant.values)](std::int64_t, auto& out) {
           const auto bytes = std::as_bytes(std::span(values));
           out.insert(out.end(), bytes.begin(), bytes.end());
         });
  }

 private:
  /// Whether the parameter is a matrix that blocks may hold; positions are read as floats.
  bool in_blocks(const Param& p) const {
    return p.value.shape.rank() == 2 && p.name != architecture_.positions;
  }

  void add_quantized(const NamedQTensor& t, const std::string& as) {
    check(!t.input, t.name,
          "multiplies rounded inputs, which a GGUF file cannot say; llama.cpp rounds them its way");
    check(t.change.empty(), t.name,
          "multiplies inputs that its method changed, which a GGUF file cannot say");
    const QTensor& q = t.q;
    const nn::GgufType* type = nullptr;
    try {
      type = &exact_type(q, t.name, options_.type);
    } catch (const Error& e) {
      if (!options_.requantize || e.parts().fault != Fault::usage) throw;
      add_again(t, as, e.parts().what);
      return;
    }
    push(t.name, as, *type, q.rows, q.cols, false,
         [&q, type](std::int64_t row, auto& out) { exact_blocks(*type, q, row, out); });
  }

  /// Rounded once more.
  void add_again(const NamedQTensor& t, const std::string& as, const std::string& why) {
    const nn::GgufType& type = *options_.type;
    require_whole_blocks(type, t.q.cols, t.name);
    const auto weights = std::make_shared<const std::vector<real>>(dequantize(t.q));
    const auto encode = [weights, &type, cols = static_cast<std::size_t>(t.q.cols),
                         importance = importance_of(as, t.q.cols)](std::int64_t row, auto& out) {
      encode_blocks(type, std::span(*weights).subspan(static_cast<std::size_t>(row) * cols, cols),
                    out, importance);
    };
    double squares = 0, error = 0;
    std::vector<std::byte> blocks;
    std::vector<real> again(static_cast<std::size_t>(t.q.cols));
    for (std::int64_t r = 0; r < t.q.rows; ++r) {
      blocks.clear();
      encode(r, blocks);
      decode_blocks(type, blocks, again);
      for (std::size_t c = 0; c < again.size(); ++c) {
        const double w = (*weights)[static_cast<std::size_t>(r * t.q.cols) + c];
        squares += w * w;
        error += (static_cast<double>(again[c]) - w) * (static_cast<double>(again[c]) - w);
      }
    }
    requantized.push_back({t.name, &type, why, squares > 0 ? std::sqrt(error / squares) : 0});
    push(t.name, as, type, t.q.rows, t.q.cols, false, encode);
  }

  std::span<const float> importance_of(const std::string& as, std::int64_t cols) const {
    if (!options_.importance) return {};
    const std::span<const float> all = options_.importance(as);
    check(all.empty() || std::ssize(all) == cols, as, "has ", cols,
          " columns, and the importance matrix ", all.size(), "; it is of another model");
    return all;
  }

  void push(const std::string& param, const std::string& as, const nn::GgufType& type,
            std::int64_t rows, std::int64_t cols, bool vector,
            const std::function<void(std::int64_t row, std::vector<std::byte>& out)>& write_row) {
    require_whole_blocks(type, cols, as);
    if (!vector && as.starts_with("blk.")) most = &type;
    const auto write = [this, param, as, cols, &type, write_row](std::int64_t first, std::int64_t n,
                                                                 auto& out) {
      std::vector<real> values(static_cast<std::size_t>(cols));
      for (std::int64_t r = first; r < first + n; ++r) {
        const std::size_t begin = out.size();
        write_row(architecture_.row ? architecture_.row(model_, param, r) : r, out);
        decode_blocks(type, std::span(out).subspan(begin), values);
        require_held(values, as, type);
      }
    };
    sources.push_back({as, &type, rows, cols, vector, write});
  }

  const nn::Model& model_;
  const GgufArchitecture& architecture_;
  const std::vector<NamedQTensor>& tensors_;
  const GgufOptions& options_;
};

/// llama.cpp's gguf-split cuts models into files; only the first has the metadata.
void require_one_file(const nn::GgufFile& file) {
  if (!file.find("split.count")) return;
  const std::uint16_t count = gguf_value<std::uint16_t>(file, "split.count");
  if (count <= 1) return;
  const std::uint16_t number =
      file.find("split.no") ? gguf_value<std::uint16_t>(file, "split.no") : std::uint16_t{0};
  refuse_file(file.path(), "split.count", "a part of a model",
              str("part ", number + 1, " of ", count), "a whole model in one file",
              "put the parts together: llama.cpp's llama-gguf-split --merge FIRST_PART OUT");
}

const GgufArchitecture& architecture_of(const nn::GgufFile& file) {
  const auto& name = gguf_value<std::string>(file, "general.architecture");
  if (const GgufArchitecture* known = gguf_architecture(name)) return *known;
  refuse_file(file.path(), "general.architecture",
              "not an architecture this program reads from GGUF", name, gguf_architecture_names());
}

/// A tied head is written a second time for older readers, or left out.
bool head_is_table(const nn::GgufFile& file) {
  const nn::GgufTensor* table = file.tensor("token_embd.weight");
  const nn::GgufTensor* head = file.tensor("output.weight");
  if (!head || !table) return true;
  if (head->type != table->type || head->extents != table->extents) return false;
  constexpr std::uint64_t kPiece = 1 << 20;
  std::vector<std::byte> a, b;
  for (std::uint64_t first = 0; first < head->bytes; first += kPiece) {
    a.resize(std::min(kPiece, head->bytes - first));
    b.resize(a.size());
    file.read(*table, a, first);
    file.read(*head, b, first);
    if (a != b) return false;
  }
  return true;
}

/// Row after row, each to where `place` says.
void read_tensor(const nn::GgufFile& file, const nn::GgufTensor& t, std::span<real> out,
                 const std::function<std::int64_t(std::int64_t)>& place) {
  constexpr std::uint64_t kPieceWeights = 1 << 18;
  const auto cols = static_cast<std::uint64_t>(t.extents[0]), rows = out.size() / cols;
  const std::uint64_t row_bytes = t.bytes / rows;
  const std::uint64_t piece_rows = std::max<std::uint64_t>(1, kPieceWeights / cols);
  std::vector<std::byte> piece;
  for (std::uint64_t first = 0; first < rows; first += piece_rows) {
    const std::uint64_t n = std::min(piece_rows, rows - first);
    piece.resize(n * row_bytes);
    file.read(t, piece, first * row_bytes);
    for (std::uint64_t r = 0; r < n; ++r) {
      const auto to = static_cast<std::uint64_t>(place(static_cast<std::int64_t>(first + r)));
      decode_blocks(*t.type, std::span(piece).subspan(r * row_bytes, row_bytes),
                    out.subspan(to * cols, cols));
    }
  }
  if (!std::ranges::all_of(out, [](real v) { return std::isfinite(v); }))
    refuse_file(file.path(), t.name, "has values that are not finite");
}

/// Other programs compute it in another precision.
void require_constant(const nn::GgufFile& file, const GgufConstant& constant) {
  const nn::GgufTensor* t = file.tensor(constant.name);
  if (!t) refuse_file(file.path(), constant.name, "no such tensor");
  const std::vector<float> found = gguf_floats(file, *t);
  const auto near = [](float a, float b) { return std::fabs(a - b) <= 1e-5f * std::fabs(b); };
  const auto [f, e] = std::ranges::mismatch(found, constant.values, near);
  if (f == found.end() && e == constant.values.end()) return;
  refuse_file(file.path(), constant.name, "of other values than this program computes with",
              f == found.end() ? str(found.size(), " values") : str(*f, " at ", f - found.begin()),
              e == constant.values.end() ? str(constant.values.size(), " values") : str(*e),
              "of scaled positions those of Llama 3.1 are read: low_freq_factor 1, "
              "high_freq_factor 4, a first context of 8192");
}

void require_tensors(const nn::GgufFile& file, const GgufArchitecture& architecture,
                     const nn::Model& model) {
  std::set<std::string> wanted;
  if (model.head_is_tied()) wanted.insert("output.weight");  // the table once more, or not there
  for (const Param& p : model.params().params()) {
    const std::string name = architecture.tensor(p.name);
    wanted.insert(name);
    const nn::GgufTensor* t = file.tensor(name);
    if (!t) refuse_file(file.path(), name, "no such tensor");
    std::vector<std::int64_t> extents;
    for (std::size_t d = static_cast<std::size_t>(p.value.shape.rank()); d-- > 0;)
      extents.push_back(p.value.shape[static_cast<int>(d)]);
    if (t->extents != extents) {
      refuse_file(file.path(), name, "of another shape than the metadata says",
                  nn::to_text(t->extents), nn::to_text(extents));
    }
  }
  if (architecture.constants) {
    for (const GgufConstant& constant : architecture.constants(model)) {
      wanted.insert(constant.name);
      require_constant(file, constant);
    }
  }
  for (const nn::GgufTensor& t : file.tensors()) {
    if (!wanted.contains(t.name))
      refuse_file(file.path(), t.name, "a tensor that this model does not have");
  }
}

GgufVocabulary vocabulary_of(const nn::GgufFile& file, std::int64_t size, const nn::TokenIds& ids) {
  if (const auto& model = gguf_value<std::string>(file, "tokenizer.ggml.model"); model != "gpt2") {
    refuse_file(file.path(), "tokenizer.ggml.model", "not a byte-level BPE tokenizer", model,
                "gpt2");
  }
  const auto optional = [&]<class T>(const std::string& key, T otherwise) {
    return file.find(key) ? gguf_value<T>(file, key) : otherwise;
  };
  GgufVocabulary v;
  v.tokens = gguf_value<std::vector<std::string>>(file, "tokenizer.ggml.tokens");
  if (std::ssize(v.tokens) != size) {
    refuse_file(file.path(), "tokenizer.ggml.tokens", "not one for each row of the table",
                str(v.tokens.size()), str(size));
  }
  v.kinds = optional("tokenizer.ggml.token_type", std::vector<std::int32_t>{});
  if (!v.kinds.empty() && v.kinds.size() != v.tokens.size()) {
    refuse_file(file.path(), "tokenizer.ggml.token_type", "not one for each token",
                str(v.kinds.size()), str(v.tokens.size()));
  }
  v.merges = optional("tokenizer.ggml.merges", std::vector<std::string>{});
  v.pre = optional("tokenizer.ggml.pre", std::string());
  v.bos = ids.bos;
  if (!ids.eos.empty()) v.eos = ids.eos.front();
  v.chat_template = optional(kGgufChatTemplateKey, std::string());
  v.add_bos = optional("tokenizer.ggml.add_bos_token", v.pre == "llama-bpe" || v.pre == "llama3");
  return v;
}

}  // namespace

std::vector<Requantized> save_gguf(const nn::Model& model, const std::vector<NamedQTensor>& tensors,
                                   const GgufVocabulary& vocabulary, const GgufOptions& options,
                                   const std::string& name, const fs::path& path,
                                   Existing existing) {
  const GgufArchitecture& architecture = gguf_architecture_of(model);
  check(options.type != nullptr, "gguf", "no type for matrices in floating point");
  check(std::ssize(vocabulary.tokens) == model.sizes().vocab_size, "gguf", "the vocabulary has ",
        vocabulary.tokens.size(), " tokens, the model ", model.sizes().vocab_size);
  Writer writer(model, architecture, tensors, options);
  for (const Param& p : model.params().params()) {
    writer.add(p, architecture.tensor(p.name));
    const bool table =
        model.token_table().weight == &p || model.head().weight == &p || p.name.starts_with("wpe.");
    if (!architecture.biases || table || !p.name.ends_with(".weight")) continue;
    const std::string bias = p.name.substr(0, p.name.size() - 6) + "bias";
    if (!model.params().find(bias))
      writer.add_constant({architecture.tensor(bias),
                           std::vector<float>(static_cast<std::size_t>(p.value.shape[0]))});
  }
  if (architecture.head_twice && model.head_is_tied()) {
    writer.add(*model.token_table().weight, "output.weight");
  }
  if (architecture.constants) {
    for (GgufConstant& constant : architecture.constants(model))
      writer.add_constant(std::move(constant));
  }
  nn::write_gguf(path,
                 metadata_of(architecture, model, vocabulary,
                             writer.most ? *writer.most : *options.type, name),
                 writer.sources, existing);
  return std::move(writer.requantized);
}

GgufModel load_gguf(const fs::path& path) {
  const nn::GgufFile file = nn::GgufFile::open(path);
  require_one_file(file);
  const GgufArchitecture& architecture = architecture_of(file);
  GgufModel out{.model = architecture.make(file, head_is_table(file))};
  nn::Model& model = *out.model;
  require_tensors(file, architecture, model);
  model.params().allocate_values();
  for (Param& p : model.params().params()) {
    read_tensor(file, *file.tensor(architecture.tensor(p.name)), p.value.flat(),
                [&](std::int64_t row) {
                  return architecture.row ? architecture.row(model, p.name, row) : row;
                });
  }
  out.vocabulary = vocabulary_of(file, model.sizes().vocab_size, model.token_ids());
  return out;
}

}  // namespace notch::quant
