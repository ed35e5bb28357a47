// config.json of a model directory: what transformers' GPT2Config says, checked against what this
// Gpt computes.
#include <algorithm>
#include <array>

#include "autograd/base/file_form.h"
#include "nn/model_dir.h"

namespace notch::nn {
namespace {

constexpr double kEpsilon = 1e-5;  // GPT2Config's layer_norm_epsilon
constexpr std::int64_t kFormatVersion = 1;

[[noreturn]] void refuse(const fs::path& path, std::string_view key, std::string what,
                         std::string found, std::string expected, std::string hint = "") {
  throw Error({.fault = Fault::input,
               .where = path.string(),
               .what = std::move(what),
               .field = std::string(key),
               .found = std::move(found),
               .expected = std::move(expected),
               .hint = std::move(hint)});
}

// Reads members of one object; the path and the key are in every error.
class Reader {
 public:
  Reader(const Json& json, const fs::path& path) : json_(json), path_(path) {}

  // Present and not null.
  const Json* find(std::string_view key) const {
    const Json* value = json_.find(key);
    return value && !value->is_null() ? value : nullptr;
  }
  std::int64_t size(std::string_view key, std::int64_t max) const {
    const std::int64_t value = json_.at(key, path_.string()).as_int(where(key));
    if (value < 1 || value > max) {
      refuse(path_, key, "out of range", std::to_string(value), str("1 to ", max));
    }
    return value;
  }
  // The same under the name that transformers takes for it as well.
  std::int64_t size(std::string_view key, std::string_view alias, std::int64_t max) const {
    if (!find(alias)) return size(key, max);
    const std::int64_t value = size(alias, max);
    if (find(key) && size(key, max) != value) {
      refuse(path_, alias, str("differs from ", key), std::to_string(value),
             std::to_string(size(key, max)));
    }
    return value;
  }
  double number(std::string_view key, double otherwise) const {
    const Json* value = find(key);
    return value ? value->as_number(where(key)) : otherwise;
  }
  bool flag(std::string_view key, bool otherwise) const {
    const Json* value = find(key);
    return value ? value->as_bool(where(key)) : otherwise;
  }
  std::string text(std::string_view key, std::string_view otherwise) const {
    const Json* value = find(key);
    return value ? value->as_string(where(key)) : std::string(otherwise);
  }
  std::string where(std::string_view key) const { return str(path_.string(), ": ", key); }

 private:
  const Json& json_;
  const fs::path& path_;
};

Gelu parse_activation(const Reader& in, const fs::path& path) {
  const std::string text = in.text("activation_function", "gelu_new");
  // transformers' ACT2FN: ways of computing one of two functions.
  constexpr std::array<std::string_view, 2> kExact{"gelu", "gelu_python"};
  constexpr std::array<std::string_view, 5> kTanh{"gelu_new", "gelu_pytorch_tanh", "gelu_fast",
                                                  "gelu_python_tanh", "gelu_accurate"};
  if (std::ranges::find(kExact, text) != kExact.end()) return Gelu::exact;
  if (std::ranges::find(kTanh, text) != kTanh.end()) return Gelu::tanh;
  refuse(path, "activation_function", "unknown activation", json_quote(text),
         "\"gelu\" (exact) or \"gelu_new\" (tanh)");
}

// Notch has one rate. GPT-2's three may differ: only training would tell, and what is read from a
// directory is not trained.
double parse_dropout(const Reader& in, const fs::path& path) {
  double rate = 0;
  for (const std::string_view key : {"attn_pdrop", "resid_pdrop", "embd_pdrop"}) {
    rate = in.number(key, 0.1);
    if (!(rate >= 0 && rate < 1)) refuse(path, key, "out of range", str(rate), "0 <= rate < 1");
  }
  return rate;  // of the embeddings
}

double parse_epsilon(const Reader& in, const fs::path& path) {
  const double epsilon = in.number("layer_norm_epsilon", kEpsilon);
  if (!(epsilon > 0 && epsilon < 1)) {
    refuse(path, "layer_norm_epsilon", "out of range", str(epsilon), "between 0 and 1");
  }
  // Programs that keep it as a float write 9.999999747378752e-06.
  return static_cast<float>(epsilon) == static_cast<float>(kEpsilon) ? kEpsilon : epsilon;
}

// What GPT2Config can ask for and this model does not compute.
void check_variant(const Reader& in, const fs::path& path) {
  if (!in.flag("scale_attn_weights", true)) {
    refuse(path, "scale_attn_weights", "not supported", "false", "true");
  }
  // reorder_and_upcast_attn asks for attention in fp32, which is what there is.
  for (const std::string_view key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    if (in.flag(key, false)) refuse(path, key, "not supported", "true", "false");
  }
  const Json* pruned = in.find("pruned_heads");
  if (pruned && pruned->dump() != "{}" && pruned->dump() != "[]") {
    refuse(path, "pruned_heads", "not supported", pruned->dump(), "none");
  }
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
      .set("bos_token_id", Json())
      .set("eos_token_id", Json())
      .set("torch_dtype", "float32");
  Json notch = Json::object();
  notch.set("version", kFormatVersion).set("bias", c.bias);
  json.set("notch", std::move(notch));
  return json;
}

Json read_config_json(const fs::path& dir) {
  const fs::path path = dir / kConfigFile;
  const std::string bytes = read_file(path, 1 << 20);
  refuse_known_form(path.string(), bytes, "a JSON object");
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string_view text = bytes;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return Json::parse(text, path.string(), true);
}

const Json* quantization_config(const Json& config) {
  const Json* about = config.find("quantization_config");
  return about && !about->is_null() ? about : nullptr;
}

GptConfig parse_config(const Json& json, const fs::path& path) {
  json.as_object(path.string());
  const Reader in(json, path);
  const std::string type = in.text("model_type", "");
  if (type != "gpt2") {
    refuse(path, "model_type", "not a GPT-2", json_quote(type), "\"gpt2\"",
           "only models of GPT-2's architecture can be read");
  }
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
  if (c.n_embd % c.n_head != 0) {
    refuse(path, "n_head", "does not divide n_embd", std::to_string(c.n_head),
           str("a divisor of ", c.n_embd));
  }
  check_variant(in, path);
  if (in.find("n_inner")) c.n_inner = in.size("n_inner", 1 << 22);
  if (c.n_inner == 4 * c.n_embd) c.n_inner = 0;
  c.layer_norm_epsilon = parse_epsilon(in, path);
  c.gelu = parse_activation(in, path);
  c.dropout = parse_dropout(in, path);
  c.tie_embeddings = in.flag("tie_word_embeddings", true);
  c.bias = true;
  if (const Json* notch = in.find("notch")) {
    notch->as_object(in.where("notch"));
    const Reader own(*notch, path);
    const std::int64_t version =
        notch->at("version", in.where("notch")).as_int(in.where("notch.version"));
    if (version != kFormatVersion) {
      refuse(path, "notch.version", "written by another version of Notch", std::to_string(version),
             std::to_string(kFormatVersion));
    }
    c.bias = own.flag("bias", true);
  }
  return c;
}

GptConfig read_config(const fs::path& dir) {
  return parse_config(read_config_json(dir), dir / kConfigFile);
}

}  // namespace notch::nn
