#include "quant/store/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "autograd/base/error.h"
#include "quant/store/gguf_blocks.h"

namespace notch::quant {
namespace {

constexpr std::int32_t kNormal = 1, kControl = 3;

/// llama.cpp's name of a parameter: "h.3.attn.c_attn.weight" -> "blk.3.attn_qkv.weight".
std::string gguf_name(const std::string& param) {
  static const std::map<std::string, std::string, std::less<>> kWhole = {{"wte", "token_embd"},
                                                                         {"wpe", "position_embd"},
                                                                         {"ln_f", "output_norm"},
                                                                         {"lm_head", "output"}};
  static const std::map<std::string, std::string, std::less<>> kInBlock = {
      {"ln_1", "attn_norm"}, {"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"},
      {"ln_2", "ffn_norm"},  {"mlp.c_fc", "ffn_up"},      {"mlp.c_proj", "ffn_down"}};
  const std::size_t dot = param.rfind('.');
  std::string layer = param.substr(0, dot);
  const std::string kind = param.substr(dot);
  if (!layer.starts_with("h.")) return kWhole.at(layer) + kind;
  const std::size_t second = layer.find('.', 2);
  return "blk." + layer.substr(2, second - 2) + "." + kInBlock.at(layer.substr(second + 1)) + kind;
}

bool is_matrix_of_blocks(const Param& p) {
  return p.value.shape.rank() == 2 && !p.name.starts_with("wpe");
}

std::vector<nn::GgufEntry> metadata_of(const nn::GptConfig& c, const GgufVocabulary& v,
                                       const nn::GgufType& type, const std::string& name) {
  const auto u32 = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
  // What most of the file is, by llama.cpp's numbers (enum llama_ftype).
  static const std::map<std::string_view, std::uint32_t> kFileTypes = {
      {"F32", 0},  {"F16", 1},  {"Q4_0", 2},  {"Q4_1", 3}, {"Q8_0", 7},
      {"Q5_0", 8}, {"Q5_1", 9}, {"Q6_K", 18}, {"BF16", 32}};
  std::vector<std::int32_t> kinds(v.tokens.size(), kNormal);
  for (const std::int32_t id : v.specials) kinds[static_cast<std::size_t>(id)] = kControl;
  const std::uint32_t end = u32(std::max(0, v.end_of_text));
  return {{"general.architecture", std::string("gpt2")},
          {"general.name", name},
          {"general.file_type", kFileTypes.at(type.name)},
          {"general.quantization_version", std::uint32_t{2}},
          {"gpt2.context_length", u32(c.block_size)},
          {"gpt2.embedding_length", u32(c.n_embd)},
          {"gpt2.block_count", u32(c.n_layer)},
          {"gpt2.feed_forward_length", u32(c.hidden())},
          {"gpt2.attention.head_count", u32(c.n_head)},
          {"gpt2.attention.layer_norm_epsilon", static_cast<float>(c.layer_norm_epsilon)},
          {"tokenizer.ggml.model", std::string("gpt2")},
          // Without merges GPT-2's rules would eat spaces before punctuation when ids become text.
          {"tokenizer.ggml.pre", std::string(v.merges.empty() ? "qwen2" : "gpt-2")},
          {"tokenizer.ggml.tokens", v.tokens},
          {"tokenizer.ggml.merges", v.merges},
          {"tokenizer.ggml.token_type", kinds},
          {"tokenizer.ggml.bos_token_id", end},
          {"tokenizer.ggml.eos_token_id", end},
          {"tokenizer.ggml.add_bos_token", false}};
}

[[noreturn]] void refuse(const fs::path& path, std::string field, std::string what,
                         std::string found = "", std::string expected = "") {
  throw Error({.fault = Fault::input,
               .where = path.string(),
               .what = std::move(what),
               .field = std::move(field),
               .found = std::move(found),
               .expected = std::move(expected)});
}

template <class T>
const T& value_of(const nn::GgufFile& file, const std::string& key) {
  const nn::GgufValue* value = file.find(key);
  if (!value) refuse(file.path(), key, "missing from the metadata");
  if (const T* typed = std::get_if<T>(value)) return *typed;
  refuse(file.path(), key, "of another type than llama.cpp writes");
}

std::int64_t count_of(const nn::GgufFile& file, const std::string& key) {
  const std::uint32_t n = value_of<std::uint32_t>(file, key);
  if (n == 0 || n > (1u << 24)) refuse(file.path(), key, "out of range", str(n), "1 to 2^24");
  return n;
}

nn::GptConfig config_of(const nn::GgufFile& file) {
  const auto& architecture = value_of<std::string>(file, "general.architecture");
  if (architecture != "gpt2") {
    refuse(file.path(), "general.architecture", "not an architecture this program reads from GGUF",
           architecture, "gpt2");
  }
  const nn::GgufTensor* table = file.tensor("token_embd.weight");
  if (!table || table->extents.size() != 2)
    refuse(file.path(), "token_embd.weight", "no such matrix");
  nn::GptConfig c{.vocab_size = table->extents[1],
                  .block_size = count_of(file, "gpt2.context_length"),
                  .n_layer = static_cast<int>(count_of(file, "gpt2.block_count")),
                  .n_head = static_cast<int>(count_of(file, "gpt2.attention.head_count")),
                  .n_embd = count_of(file, "gpt2.embedding_length"),
                  .gelu = Gelu::tanh,
                  .tie_embeddings = false};
  c.n_inner = count_of(file, "gpt2.feed_forward_length");
  const float epsilon = value_of<float>(file, "gpt2.attention.layer_norm_epsilon");
  if (!(epsilon > 0 && epsilon < 1)) {
    refuse(file.path(), "gpt2.attention.layer_norm_epsilon", "out of range", str(epsilon),
           "between 0 and 1");
  }
  c.layer_norm_epsilon = std::stod(str(epsilon));  // as people write it: 1e-05
  return c;
}

/// A tied head is written a second time for older readers, or left out.
bool head_is_table(const nn::GgufFile& file) {
  const nn::GgufTensor* table = file.tensor("token_embd.weight");
  const nn::GgufTensor* head = file.tensor("output.weight");
  if (!head) return true;
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

void read_tensor(const nn::GgufFile& file, const nn::GgufTensor& t, std::span<real> out) {
  constexpr std::uint64_t kPieceBlocks = 1 << 14;
  const auto block = static_cast<std::uint64_t>(t.type->block),
             bytes = static_cast<std::uint64_t>(t.type->bytes);
  std::vector<std::byte> piece;
  for (std::uint64_t first = 0; first * bytes < t.bytes; first += kPieceBlocks) {
    const std::uint64_t n = std::min(kPieceBlocks, t.bytes / bytes - first);
    piece.resize(n * bytes);
    file.read(t, piece, first * bytes);
    decode_blocks(*t.type, piece, out.subspan(first * block, n * block));
  }
  if (!std::ranges::all_of(out, [](real v) { return std::isfinite(v); }))
    refuse(file.path(), t.name, "has values that are not finite");
}

}  // namespace

void save_gguf(const nn::Model& model, const std::vector<NamedQTensor>& tensors,
               const GgufVocabulary& vocabulary, const nn::GgufType& type, const std::string& name,
               const fs::path& path) {
  const auto* gpt = dynamic_cast<const nn::Gpt*>(&model);
  if (!gpt) {
    throw Error({.where = "gguf",
                 .what = "only models of GPT-2's architecture are written as GGUF",
                 .found = model.architecture(),
                 .expected = "gpt2"});
  }
  const nn::GptConfig& config = gpt->config();
  check(std::ssize(vocabulary.tokens) == config.vocab_size, "gguf", "the vocabulary has ",
        vocabulary.tokens.size(), " tokens, the model ", config.vocab_size);
  std::vector<nn::GgufSource> sources;
  const nn::GgufType& f32 = *nn::gguf_type("F32");
  const nn::GgufType* most = &type;
  const auto add = [&](const Param& p, const std::string& as) {
    const auto quantized = std::ranges::find(tensors, p.name, &NamedQTensor::name);
    if (quantized != tensors.end() && is_matrix_of_blocks(p)) {
      check(
          !quantized->input, p.name,
          "multiplies rounded inputs, which a GGUF file cannot say; llama.cpp rounds them its way");
      const QTensor& q = quantized->q;
      const nn::GgufType& exact = exact_type(q, p.name);
      if (!p.name.starts_with("wte")) most = &exact;
      sources.push_back({as, &exact, q.rows, q.cols, false,
                         [&q, &exact](std::int64_t first, std::int64_t n, auto& out) {
                           for (std::int64_t r = first; r < first + n; ++r)
                             exact_blocks(exact, q, r, out);
                         }});
      return;
    }
    const bool matrix = p.value.shape.rank() == 2;
    const nn::GgufType& as_type = is_matrix_of_blocks(p) ? type : f32;
    const std::int64_t cols = p.value.cols();
    sources.push_back({as, &as_type, matrix ? p.value.rows() : 1, cols, !matrix,
                       [&p, &as_type, cols](std::int64_t first, std::int64_t n, auto& out) {
                         for (std::int64_t r = first; r < first + n; ++r)
                           encode_blocks(as_type,
                                         p.value.flat().subspan(static_cast<std::size_t>(r * cols),
                                                                static_cast<std::size_t>(cols)),
                                         out);
                       }});
  };
  const auto zeros = [&](const std::string& as, std::int64_t n) {
    sources.push_back({as, &f32, 1, n, true, [n](std::int64_t, std::int64_t, auto& out) {
                         out.resize(out.size() + static_cast<std::size_t>(4 * n));
                       }});
  };
  for (const Param& p : model.params().params()) {
    add(p, gguf_name(p.name));
    if (config.bias || !p.name.ends_with(".weight")) continue;
    const std::string layer = p.name.substr(0, p.name.size() - 7);
    if (layer == "wte" || layer == "wpe" || layer == "lm_head") continue;
    zeros(gguf_name(layer + ".bias"), p.value.shape[0]);
  }
  if (config.tie_embeddings) add(model.params().params().front(), "output.weight");
  nn::write_gguf(path, metadata_of(config, vocabulary, *most, name), sources);
}

GgufModel load_gguf(const fs::path& path) {
  const nn::GgufFile file = nn::GgufFile::open(path);
  nn::GptConfig config = config_of(file);
  config.tie_embeddings = head_is_table(file);
  GgufModel out{.model = std::make_unique<nn::Gpt>(config, nn::Gpt::Values::shapes_only)};
  std::set<std::string> wanted;
  if (config.tie_embeddings) wanted.insert("output.weight");  // the same once more, or not there
  for (const Param& p : out.model->params().params()) {
    const std::string name = gguf_name(p.name);
    wanted.insert(name);
    const nn::GgufTensor* t = file.tensor(name);
    if (!t) refuse(path, name, "no such tensor");
    std::vector<std::int64_t> extents;
    for (std::size_t d = static_cast<std::size_t>(p.value.shape.rank()); d-- > 0;)
      extents.push_back(p.value.shape[static_cast<int>(d)]);
    if (t->extents != extents) refuse(path, name, "of another shape than the metadata says");
  }
  for (const nn::GgufTensor& t : file.tensors()) {
    if (!wanted.contains(t.name)) refuse(path, t.name, "a tensor that this model does not have");
  }
  out.model->params().allocate_values();
  for (Param& p : out.model->params().params())
    read_tensor(file, *file.tensor(gguf_name(p.name)), p.value.flat());

  GgufVocabulary& v = out.vocabulary;
  v.tokens = value_of<std::vector<std::string>>(file, "tokenizer.ggml.tokens");
  if (std::ssize(v.tokens) != config.vocab_size) {
    refuse(path, "tokenizer.ggml.tokens", "not one for each row of the table", str(v.tokens.size()),
           str(config.vocab_size));
  }
  if (file.find("tokenizer.ggml.merges")) {
    v.merges = value_of<std::vector<std::string>>(file, "tokenizer.ggml.merges");
  }
  if (file.find("tokenizer.ggml.token_type")) {
    const auto& kinds = value_of<std::vector<std::int32_t>>(file, "tokenizer.ggml.token_type");
    for (std::size_t i = 0; i < std::min(kinds.size(), v.tokens.size()); ++i)
      if (kinds[i] == kControl) v.specials.push_back(static_cast<std::int32_t>(i));
  }
  const auto end = std::ranges::find(v.tokens, "<|endoftext|>");
  if (end != v.tokens.end()) v.end_of_text = static_cast<std::int32_t>(end - v.tokens.begin());
  return out;
}

}  // namespace notch::quant
