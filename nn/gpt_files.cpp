// GPT-2's files: config.json as transformers' GPT2Config says it, checked against what Gpt computes,
// and the names and orientation of the tensors.
#include <algorithm>
#include <array>

#include "nn/config_reader.h"
#include "nn/gpt.h"

namespace notch::nn {
namespace {

constexpr double kEpsilon = 1e-5;  // GPT2Config's layer_norm_epsilon
constexpr std::string_view kPrefix = "transformer.";
constexpr std::int64_t kUnsaidToken = 50256;  // GPT2Config's for both, whatever the vocabulary

Gelu parse_activation(const ConfigReader& in) {
  const std::string text = in.text("activation_function", "gelu_new");
  // transformers' ACT2FN: ways of computing one of two functions.
  constexpr std::array<std::string_view, 2> kExact{"gelu", "gelu_python"};
  constexpr std::array<std::string_view, 5> kTanh{"gelu_new", "gelu_pytorch_tanh", "gelu_fast",
                                                  "gelu_python_tanh", "gelu_accurate"};
  if (std::ranges::find(kExact, text) != kExact.end()) return Gelu::exact;
  if (std::ranges::find(kTanh, text) != kTanh.end()) return Gelu::tanh;
  in.refuse("activation_function", "unknown activation", json_quote(text),
            "\"gelu\" (exact) or \"gelu_new\" (tanh)");
}

// Notch has one rate. GPT-2's three may differ: only training would tell, and what is read from a
// directory is not trained.
double parse_dropout(const ConfigReader& in) {
  double rate = 0;
  for (const std::string_view key : {"attn_pdrop", "resid_pdrop", "embd_pdrop"}) {
    rate = in.number(key, 0.1);
    if (!(rate >= 0 && rate < 1)) in.refuse(key, "out of range", str(rate), "0 <= rate < 1");
  }
  return rate;  // of the embeddings
}

double parse_epsilon(const ConfigReader& in) {
  const double epsilon = in.number("layer_norm_epsilon", kEpsilon);
  if (!(epsilon > 0 && epsilon < 1)) {
    in.refuse("layer_norm_epsilon", "out of range", str(epsilon), "between 0 and 1");
  }
  // Programs that keep it as a float write 9.999999747378752e-06.
  return static_cast<float>(epsilon) == static_cast<float>(kEpsilon) ? kEpsilon : epsilon;
}

// What GPT2Config can ask for and this model does not compute.
void check_variant(const ConfigReader& in) {
  if (!in.flag("scale_attn_weights", true)) {
    in.refuse("scale_attn_weights", "not supported", "false", "true");
  }
  // reorder_and_upcast_attn asks for attention in fp32, which is what there is.
  for (const std::string_view key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    if (in.flag(key, false)) in.refuse(key, "not supported", "true", "false");
  }
  const Json* pruned = in.find("pruned_heads");
  if (pruned && pruned->dump() != "{}" && pruned->dump() != "[]") {
    in.refuse("pruned_heads", "not supported", pruned->dump(), "none");
  }
}

// h.<digits>.attn.bias or h.<digits>.attn.masked_bias: the causal mask, which older versions of
// transformers stored.
bool is_mask_buffer(std::string_view name) {
  if (!name.starts_with("h.")) return false;
  name.remove_prefix(2);
  const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  name.remove_prefix(digits);
  return digits > 0 && (name == ".attn.bias" || name == ".attn.masked_bias");
}

}  // namespace

Json config_json(const GptConfig& c) {
  Json json = Json::object();
  json.set("model_type", "gpt2")
      .set("architectures", Json(Json::Array{"GPT2LMHeadModel"}))
      .set("n_layer", c.n_layer)
      .set("n_head", c.n_head)
      .set("n_embd", c.n_embd)
      .set("n_inner", c.n_inner > 0 ? Json(c.n_inner) : Json())
      .set("n_positions", c.block_size)
      .set("n_ctx", c.block_size)
      .set("vocab_size", c.vocab_size)
      .set("layer_norm_epsilon", c.layer_norm_epsilon)
      .set("activation_function", c.gelu == Gelu::exact ? "gelu" : "gelu_new")
      .set("tie_word_embeddings", c.tie_embeddings)
      .set("embd_pdrop", c.dropout)
      .set("attn_pdrop", c.dropout)
      .set("resid_pdrop", c.dropout)
      .set(kBosKey, bos_json(c.token_ids))
      .set(kEosKey, eos_json(c.token_ids))
      .set("torch_dtype", "float32");
  Json notch = Json::object();
  notch.set("version", kFormatVersion).set("bias", c.bias);
  if (c.head_dim > 0) notch.set("head_dim", c.head_dim);
  if (!c.ranks.empty()) notch.set("ranks", ranks_json(c.ranks));
  json.set("notch", std::move(notch));
  return json;
}

GptConfig parse_gpt_config(const Json& json, const fs::path& path) {
  const ConfigReader in(json, path);
  // Bounds that keep every product of sizes far inside 64 bits; the file's size bounds memory.
  GptConfig c;
  c.vocab_size = in.size("vocab_size", 1 << 24);
  // n_ctx is the same number under its first name; what reads n_positions does not read it.
  const bool first_name =
      in.find("n_ctx") && !json.find("n_positions") && !in.find("max_position_embeddings");
  c.block_size = first_name ? in.size("n_ctx", 1 << 24)
                            : in.size("n_positions", "max_position_embeddings", 1 << 24);
  c.n_layer = static_cast<int>(in.size("n_layer", "num_hidden_layers", 1 << 12));
  c.n_embd = in.size("n_embd", "hidden_size", 1 << 20);
  c.n_head = static_cast<int>(in.size("n_head", "num_attention_heads", c.n_embd));
  const Json* notch = in.notch();
  if (notch && notch->find("head_dim")) {
    c.head_dim = notch->at("head_dim", "").as_int(in.where("notch.head_dim"));
    if (c.head_dim < 1 || c.head_dim > 1 << 16) {
      in.refuse("notch.head_dim", "out of range", std::to_string(c.head_dim),
                str("1 to ", 1 << 16));
    }
    if (c.head_dim * c.n_head == c.n_embd) c.head_dim = 0;
  } else if (c.n_embd % c.n_head != 0) {
    in.refuse("n_head", "does not divide n_embd", std::to_string(c.n_head),
              str("a divisor of ", c.n_embd));
  }
  check_variant(in);
  if (in.find("n_inner")) c.n_inner = in.size("n_inner", 1 << 22);
  if (c.n_inner == 4 * c.n_embd) c.n_inner = 0;
  c.layer_norm_epsilon = parse_epsilon(in);
  c.gelu = parse_activation(in);
  c.dropout = parse_dropout(in);
  c.tie_embeddings = in.flag("tie_word_embeddings", true);
  c.token_ids = in.token_ids(c.vocab_size, kUnsaidToken);
  c.bias = true;
  if (notch) {
    c.bias = ConfigReader(*notch, path).flag("bias", true);
    c.ranks = in.ranks([&] { return Gpt(c, Model::Values::shapes_only).sizes(); });
  }
  return c;
}

Json Gpt::config_json() const { return nn::config_json(config_); }

std::string Gpt::description() const {
  return str(config_.tie_embeddings ? "tied head" : "own head", config_.bias ? "" : ", no biases",
             config_.gelu == Gelu::exact ? ", exact GELU" : ", tanh GELU", parts_text(sizes_));
}

FileNames Gpt::file_names() const {
  return {.prefix = kPrefix,
          .table = "wte.weight",
          .is_buffer = is_mask_buffer,
          .reversed =
              "GPT-2's files hold c_attn, c_proj and c_fc as [in, out]; transpose those of "
              "a model with nn.Linear, as nanoGPT's is"};
}

std::vector<FileTensor> Gpt::file_tensors() const {
  const auto file_name = [&](const std::string& name) {
    const bool bare = config_.tie_embeddings || name == file_names().head;
    return bare ? name : std::string(kPrefix) + name;
  };
  std::vector<FileTensor> tensors;
  for (const Param& p : params_.params()) {
    const Shape& shape = p.value.shape;
    const bool layer =
        p.name.starts_with("h.") || p.name.starts_with("ln_f.");  // no table, no head
    const bool transposed = layer && shape.rank() == 2;
    const bool weight = p.name.ends_with(".weight");
    tensors.push_back(
        {&p, file_name(p.name), transposed ? Shape{shape[1], shape[0]} : shape, transposed});
    if (!config_.bias && layer && weight && !p.name.ends_with(".down.weight")) {
      const std::string stem = p.name.substr(0, p.name.size() - std::string_view("weight").size());
      tensors.push_back({nullptr, file_name(stem + "bias"), Shape{shape[0]}, false});
    }
  }
  return tensors;
}

}  // namespace notch::nn
