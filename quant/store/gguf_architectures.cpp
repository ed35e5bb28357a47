#include "quant/store/gguf_architectures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <span>

#include "autograd/base/error.h"
#include "nn/gpt.h"
#include "nn/llama.h"
#include "nn/safetensors.h"

namespace notch::quant {
namespace {

using Names = std::map<std::string, std::string, std::less<>>;

/// `param` without its last part is a whole name, or `blocks`N.in_block.
std::string translated(const std::string& param, const Names& whole, std::string_view blocks,
                       const Names& in_block) {
  const std::size_t dot = param.rfind('.');
  const std::string layer = param.substr(0, dot), kind = param.substr(dot);
  if (!layer.starts_with(blocks)) return whole.at(layer) + kind;
  const std::size_t begin = blocks.size(), end = layer.find('.', begin);
  return "blk." + layer.substr(begin, end - begin) + "." + in_block.at(layer.substr(end + 1)) +
         kind;
}

std::string gpt2_tensor(const std::string& param) {
  static const Names kWhole = {{"wte", "token_embd"},
                               {"wpe", "position_embd"},
                               {"ln_f", "output_norm"},
                               {"lm_head", "output"}};
  static const Names kInBlock = {{"ln_1", "attn_norm"},          {"attn.c_attn", "attn_qkv"},
                                 {"attn.c_proj", "attn_output"}, {"ln_2", "ffn_norm"},
                                 {"mlp.c_fc", "ffn_up"},         {"mlp.c_proj", "ffn_down"}};
  return translated(param, kWhole, "h.", kInBlock);
}

std::string llama_tensor(const std::string& param) {
  static const Names kWhole = {
      {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};
  static const Names kInBlock = {
      {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  return translated(param, kWhole, "model.layers.", kInBlock);
}

std::int64_t llama_row(const nn::Model& model, const std::string& param, std::int64_t row) {
  if (!param.ends_with("q_proj.weight") && !param.ends_with("k_proj.weight")) return row;
  const std::int64_t S = model.sizes().head_dim, at = row % S;
  return row - at + at % 2 * (S / 2) + at / 2;
}

std::uint32_t u32(std::int64_t n) { return static_cast<std::uint32_t>(n); }

/// What a number of the metadata may be as a float: beyond that it would not be read back.
struct Range {
  double low = 0, high = 0;
};
constexpr Range kRopeBases{1e-30, 1e30}, kEpsilons{std::numeric_limits<float>::denorm_min(), 1};

nn::GgufEntry float_entry(const char* key, double value, const Range& range) {
  const bool fits = value >= range.low && value <= range.high;
  const float stored = fits ? static_cast<float>(value) : 0;  // which may round out of the range
  if (stored >= range.low && stored <= range.high) return {key, stored};
  throw Error({.fault = Fault::input,
               .where = "gguf",
               .what = "a number that the file cannot hold",
               .field = key,
               .found = str(value),
               .expected = str("between ", range.low, " and ", range.high)});
}

std::vector<nn::GgufEntry> gpt2_configuration(const nn::Model& model) {
  const nn::GptConfig& c = dynamic_cast<const nn::Gpt&>(model).config();
  if (c.head_dim > 0) {
    throw Error({.fault = Fault::input,
                 .where = "gguf",
                 .what = "llama.cpp's gpt2 has heads of n_embd / n_head channels",
                 .field = "notch.head_dim",
                 .found = str(c.n_head, " heads of ", c.head_dim, " with ", c.n_embd, " channels"),
                 .hint = "a llama model says the channels of a head"});
  }
  return {{"gpt2.context_length", u32(c.block_size)},
          {"gpt2.embedding_length", u32(c.n_embd)},
          {"gpt2.block_count", u32(c.n_layer)},
          {"gpt2.feed_forward_length", u32(c.hidden())},
          {"gpt2.attention.head_count", u32(c.n_head)},
          float_entry("gpt2.attention.layer_norm_epsilon", c.layer_norm_epsilon, kEpsilons)};
}

constexpr const char* kRopeDivisors = "rope_freqs.weight";
/// What the divisors were made from, in files of ours.
constexpr const char* kScalingKeys[] = {
    "notch.rope_scaling.factor", "notch.rope_scaling.low_freq_factor",
    "notch.rope_scaling.high_freq_factor", "notch.rope_scaling.original_max_position_embeddings"};

std::vector<nn::GgufEntry> llama_configuration(const nn::Model& model) {
  const nn::LlamaConfig& c = dynamic_cast<const nn::Llama&>(model).config();
  std::vector<nn::GgufEntry> own;
  if (c.head_dim > 0) {  // else llama.cpp divides embedding_length by head_count
    for (const char* key : {"llama.attention.key_length", "llama.attention.value_length"})
      own.push_back({key, u32(c.head_dim)});
  }
  std::vector<nn::GgufEntry> all{
      {"llama.vocab_size", u32(c.vocab_size)},
      {"llama.context_length", u32(c.block_size)},
      {"llama.embedding_length", u32(c.n_embd)},
      {"llama.block_count", u32(c.n_layer)},
      {"llama.feed_forward_length", u32(c.n_inner)},
      {"llama.attention.head_count", u32(c.n_head)},
      {"llama.attention.head_count_kv", u32(c.n_kv_head)},
      float_entry("llama.attention.layer_norm_rms_epsilon", c.rms_norm_eps, kEpsilons),
      {"llama.rope.dimension_count", u32(model.sizes().head_dim)},
      float_entry("llama.rope.freq_base", c.rope_theta, kRopeBases)};
  if (const nn::RopeScaling& r = c.rope_scaling; r.factor != 1) {
    own.insert(own.end(), {{kScalingKeys[0], r.factor},
                           {kScalingKeys[1], r.low_freq_factor},
                           {kScalingKeys[2], r.high_freq_factor},
                           {kScalingKeys[3], u32(r.original_context)}});
  }
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

std::vector<GgufConstant> llama_constants(const nn::Model& model) {
  const nn::LlamaConfig& c = dynamic_cast<const nn::Llama&>(model).config();
  const std::vector<double> divisors =
      nn::rope_divisors(c.rope_scaling, model.sizes().head_dim, c.rope_theta);
  if (divisors.empty()) return {};
  return {{kRopeDivisors, {divisors.begin(), divisors.end()}}};
}

std::int64_t count(const nn::GgufFile& file, const std::string& key, std::int64_t most = 1 << 24) {
  const std::uint32_t n = gguf_value<std::uint32_t>(file, key);
  if (n == 0 || n > most) refuse_file(file.path(), key, "out of range", str(n), str("1 to ", most));
  return n;
}
/// The same where a missing key has a meaning.
std::int64_t count_or(const nn::GgufFile& file, const std::string& key, std::int64_t otherwise) {
  return file.find(key) ? count(file, key) : otherwise;
}

/// The decimal number that a float was written for: 1e-05, not 9.99999974738e-06.
double number(const nn::GgufFile& file, const std::string& key, double low, double high) {
  const float value = gguf_value<float>(file, key);
  if (!(value >= low && value <= high)) {
    refuse_file(file.path(), key, "out of range", str(value), str("between ", low, " and ", high));
  }
  return std::stod(str(value));
}

double epsilon(const nn::GgufFile& file, const std::string& key) {
  const double value = number(file, key, 0, 1);
  if (value == 0) refuse_file(file.path(), key, "out of range", "0", "above 0, up to 1");
  return value;
}

/// Refuses a key of the architecture that is not among these: it may change what is computed.
void require_known(const nn::GgufFile& file, std::string_view prefix,
                   std::span<const std::string_view> known) {
  for (const nn::GgufEntry& e : file.metadata()) {
    if (!e.key.starts_with(prefix)) continue;
    const std::string_view rest = std::string_view(e.key).substr(prefix.size());
    if (std::ranges::count(known, rest) == 0)
      refuse_file(file.path(), e.key, "a key that this program does not know");
  }
}

/// Of a vocabulary of that size. llama.cpp has one end.
nn::TokenIds token_ids_of(const nn::GgufFile& file, std::int64_t vocab_size) {
  const auto id = [&](const char* key) -> std::optional<std::int32_t> {
    if (!file.find(key)) return {};
    const std::uint32_t found = gguf_value<std::uint32_t>(file, key);
    if (found >= vocab_size)
      refuse_file(file.path(), key, "no token", str(found), str("below ", vocab_size));
    return static_cast<std::int32_t>(found);
  };
  nn::TokenIds ids{.bos = id(kGgufBosKey)};
  if (const auto eos = id(kGgufEosKey)) ids.eos.push_back(*eos);
  return ids;
}

/// Rows of the token table, and a number of heads that divides the channels.
std::int64_t vocabulary_of(const nn::GgufFile& file) {
  const nn::GgufTensor* table = file.tensor("token_embd.weight");
  if (!table || table->extents.size() != 2)
    refuse_file(file.path(), "token_embd.weight", "no such matrix");
  return table->extents[1];
}
void require_divisor(const nn::GgufFile& file, const std::string& key, std::int64_t n,
                     std::int64_t of, const char* what) {
  if (of % n != 0) refuse_file(file.path(), key, what, str(n), str("a divisor of ", of));
}

/// Refuses positions that are scaled. As llama.cpp has it (src/llama-model.cpp, llama-context.cpp):
/// without a type it is "linear", "none" does not look at the factor, and 0 is 1.
void require_unscaled(const nn::GgufFile& file) {
  const std::string type_key = "llama.rope.scaling.type";
  const std::string type =
      file.find(type_key) ? gguf_value<std::string>(file, type_key) : std::string("linear");
  if (type == "none") return;
  if (type != "linear") {
    refuse_file(file.path(), type_key, "positions are scaled in a way this program does not know",
                type, "none");
  }
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    if (!file.find(key)) continue;
    const float factor = gguf_value<float>(file, key);
    if (factor != 0 && factor != 1)
      refuse_file(file.path(), key, "positions are scaled", str(factor), "1");
  }
}

/// By our own keys or, in a file of another program, the scaling whose factor is the largest divisor and
/// whose other numbers are Llama 3.1's; that the divisors follow from it is asked later.
nn::RopeScaling scaling_of(const nn::GgufFile& file, std::int64_t head_dim) {
  nn::RopeScaling scaling;
  const nn::GgufTensor* divisors = file.tensor(kRopeDivisors);
  if (!divisors) return scaling;
  const std::vector<std::int64_t> expected{head_dim / 2};
  if (divisors->type != nn::gguf_type("F32") || divisors->extents != expected) {
    refuse_file(file.path(), kRopeDivisors, "of another type or shape than llama.cpp writes",
                str(divisors->type->name, " ", nn::to_text(divisors->extents)),
                "F32 " + nn::to_text(expected));
  }
  if (file.find(kScalingKeys[0])) {
    const auto own = [&](const char* key, double least) {
      const double value = gguf_value<double>(file, key);
      if (!(value >= least && value > 0 && value <= 1e6))
        refuse_file(file.path(), key, "out of range", str(value), "above 0, up to 1e+06");
      return value;
    };
    scaling.factor = own(kScalingKeys[0], 1);
    scaling.low_freq_factor = own(kScalingKeys[1], 0);
    scaling.high_freq_factor = own(kScalingKeys[2], 0);
    scaling.original_context = count(file, kScalingKeys[3]);
    if (scaling.low_freq_factor >= scaling.high_freq_factor)
      refuse_file(file.path(), kScalingKeys[1], "not below high_freq_factor",
                  str(scaling.low_freq_factor), str("below ", scaling.high_freq_factor));
    return scaling;
  }
  const float largest = std::ranges::max(gguf_floats(file, *divisors));
  if (!(largest >= 1 && largest <= 1e6f)) {
    refuse_file(file.path(), kRopeDivisors, "not divisors of angles", str(largest),
                "the largest between 1 and 1e+06");
  }
  scaling.factor = std::stod(str(largest));  // the decimal number it was written for
  return scaling;
}

std::unique_ptr<nn::Model> make_gpt2(const nn::GgufFile& file, bool tied) {
  static constexpr std::array<std::string_view, 6> kKnown{
      "context_length",      "embedding_length",     "block_count",
      "feed_forward_length", "attention.head_count", "attention.layer_norm_epsilon"};
  require_known(file, "gpt2.", kKnown);
  nn::GptConfig c{.vocab_size = vocabulary_of(file),
                  .block_size = count(file, "gpt2.context_length"),
                  .n_layer = static_cast<int>(count(file, "gpt2.block_count", 1 << 12)),
                  .n_head = static_cast<int>(count(file, "gpt2.attention.head_count")),
                  .n_embd = count(file, "gpt2.embedding_length"),
                  .gelu = Gelu::tanh,
                  .tie_embeddings = tied};
  require_divisor(file, "gpt2.attention.head_count", c.n_head, c.n_embd,
                  "does not cut the channels into heads");
  c.n_inner = count(file, "gpt2.feed_forward_length");
  c.token_ids = token_ids_of(file, c.vocab_size);
  c.layer_norm_epsilon = epsilon(file, "gpt2.attention.layer_norm_epsilon");
  return std::make_unique<nn::Gpt>(c, nn::Model::Values::shapes_only);
}

std::unique_ptr<nn::Model> make_llama(const nn::GgufFile& file, bool tied) {
  static constexpr std::array<std::string_view, 15> kKnown{"vocab_size",
                                                           "context_length",
                                                           "embedding_length",
                                                           "block_count",
                                                           "feed_forward_length",
                                                           "attention.head_count",
                                                           "attention.head_count_kv",
                                                           "attention.layer_norm_rms_epsilon",
                                                           "attention.key_length",
                                                           "attention.value_length",
                                                           "rope.dimension_count",
                                                           "rope.freq_base",
                                                           "rope.scaling.type",
                                                           "rope.scaling.factor",
                                                           "rope.scale_linear"};
  require_known(file, "llama.", kKnown);
  require_unscaled(file);
  nn::LlamaConfig c{.vocab_size = vocabulary_of(file),
                    .block_size = count(file, "llama.context_length"),
                    .n_layer = static_cast<int>(count(file, "llama.block_count", 1 << 12)),
                    .n_head = static_cast<int>(count(file, "llama.attention.head_count")),
                    .n_embd = count(file, "llama.embedding_length"),
                    .n_inner = count(file, "llama.feed_forward_length"),
                    .tie_embeddings = tied};
  c.n_kv_head = static_cast<int>(count_or(file, "llama.attention.head_count_kv", c.n_head));
  if (file.find("llama.attention.key_length")) {
    c.head_dim = count(file, "llama.attention.key_length", 1 << 16);
    if (c.head_dim % 2 != 0) {
      refuse_file(file.path(), "llama.attention.key_length", "heads have pairs of channels",
                  str(c.head_dim), "an even number");
    }
    if (c.head_dim * c.n_head == c.n_embd) c.head_dim = 0;
  }
  if (c.head_dim == 0) {
    if (c.n_embd % 2 != 0) {
      refuse_file(file.path(), "llama.embedding_length", "heads have pairs of channels",
                  str(c.n_embd), "an even number");
    }
    require_divisor(file, "llama.attention.head_count", c.n_head, c.n_embd / 2,
                    "does not cut the channels into heads of an even size");
  }
  require_divisor(file, "llama.attention.head_count_kv", c.n_kv_head, c.n_head,
                  "does not divide the heads");
  const std::int64_t S = c.head_dim > 0 ? c.head_dim : c.n_embd / c.n_head;
  for (const char* key : {"llama.rope.dimension_count", "llama.attention.value_length"}) {
    const std::int64_t n = count_or(file, key, S);
    if (n != S) refuse_file(file.path(), key, "not the channels of a head", str(n), str(S));
  }
  c.token_ids = token_ids_of(file, c.vocab_size);
  c.rms_norm_eps = epsilon(file, "llama.attention.layer_norm_rms_epsilon");
  c.rope_theta = file.find("llama.rope.freq_base")
                     ? number(file, "llama.rope.freq_base", kRopeBases.low, kRopeBases.high)
                     : 10000;  // llama.cpp's
  c.rope_scaling = scaling_of(file, S);
  return std::make_unique<nn::Llama>(c, nn::Model::Values::shapes_only);
}

constexpr std::array kArchitectures{
    GgufArchitecture{.name = "gpt2",
                     .biases = true,
                     .head_twice = true,
                     .positions = "wpe.weight",
                     .tensor = gpt2_tensor,
                     .configuration = gpt2_configuration,
                     .make = make_gpt2},
    GgufArchitecture{.name = "llama",
                     .tensor = llama_tensor,
                     .constants = llama_constants,
                     .configuration = llama_configuration,
                     .make = make_llama,
                     .row = llama_row},
};

}  // namespace

std::vector<float> gguf_floats(const nn::GgufFile& file, const nn::GgufTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.extents[0]));
  file.read(tensor, std::as_writable_bytes(std::span(values)));
  return values;
}

const GgufArchitecture* gguf_architecture(std::string_view name) {
  const auto at = std::ranges::find(kArchitectures, name, &GgufArchitecture::name);
  return at == kArchitectures.end() ? nullptr : &*at;
}

const GgufArchitecture& gguf_architecture_of(const nn::Model& model) {
  const GgufArchitecture* found = gguf_architecture(model.architecture());
  if (!found) {
    throw Error({.fault = Fault::input,
                 .where = "gguf",
                 .what = "llama.cpp has no names for this architecture",
                 .found = model.architecture(),
                 .expected = gguf_architecture_names()});
  }
  if (!model.sizes().ranks.empty()) {
    throw Error({.fault = Fault::input,
                 .where = "gguf",
                 .what = "llama.cpp has no matrices in two factors",
                 .field = "notch.ranks",
                 .hint = "take the model that they were made of"});
  }
  return *found;
}

std::string gguf_architecture_names() {
  std::string names;
  for (const GgufArchitecture& a : kArchitectures)
    names.append(names.empty() ? "" : " or ").append(a.name);
  return names;
}

}  // namespace notch::quant
