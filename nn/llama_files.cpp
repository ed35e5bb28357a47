#include <algorithm>
#include <cmath>

#include "nn/config_reader.h"
#include "nn/llama.h"

namespace notch::nn {
namespace {

constexpr std::string_view kLlama3 = "llama3";
constexpr std::string_view kOriginalContext = "original_max_position_embeddings";
constexpr double kMostFactor = 1e6;  // divisors stay far inside a float

/// The value of rope_scaling; null where nothing is scaled.
Json rope_scaling_json(const RopeScaling& s) {
  if (s.factor == 1) return {};
  Json json = Json::object();
  json.set("rope_type", kLlama3)
      .set("factor", s.factor)
      .set("low_freq_factor", s.low_freq_factor)
      .set("high_freq_factor", s.high_freq_factor)
      .set("original_max_position_embeddings", s.original_context);
  return json;
}

/// Members that say how positions are scaled, which the default way does not look at.
constexpr std::string_view kOfScaling[] = {"factor",           "original_max_position_embeddings",
                                           "attention_factor", "beta_fast",
                                           "beta_slow",        "short_factor",
                                           "long_factor",      "low_freq_factor",
                                           "high_freq_factor", "mscale",
                                           "mscale_all_dim",   "truncate"};

/// transformers takes the model's context where the original one is missing: here all four must be there.
RopeScaling read_llama3(const ConfigReader& own) {
  for (const std::string_view member :
       {std::string_view("factor"), std::string_view("low_freq_factor"),
        std::string_view("high_freq_factor"), kOriginalContext}) {
    if (!own.find(member)) own.refuse(member, "missing", "", "a number");
  }
  const auto number = [&](std::string_view member, double least) {
    const double value = own.number(member, 0);
    if (!(value >= least && value > 0 && value <= kMostFactor)) {
      own.refuse(member, "out of range", str(value),
                 str(least > 0 ? "at least 1" : "above 0", ", up to ", kMostFactor));
    }
    return value;
  };
  RopeScaling s{.factor = number("factor", 1),
                .low_freq_factor = number("low_freq_factor", 0),
                .high_freq_factor = number("high_freq_factor", 0),
                .original_context = own.size(kOriginalContext, 1 << 24)};
  if (s.low_freq_factor >= s.high_freq_factor) {
    own.refuse("low_freq_factor", "not below high_freq_factor", str(s.low_freq_factor),
               str("below ", s.high_freq_factor));
  }
  return s;
}

/// What an object says of the rotary positions, under `key` of a config.json: rope_scaling or, where
/// newer versions of transformers keep it and the base, rope_parameters.
void read_rotary(const ConfigReader& in, std::string_view key, const std::filesystem::path& path,
                 LlamaConfig& c) {
  const Json* object = in.object(key);
  if (!object) return;
  const ConfigReader own(*object, path, str(key, '.'));
  const bool has_base = key == "rope_parameters";
  // The second is the older name of the key.
  const std::string type = own.text("rope_type", own.text("type", has_base ? "default" : ""));
  if (type.empty() && !has_base) {
    in.refuse(key, "does not say which way", object->dump(),
              R"(a "rope_type", which older files call "type": "llama3" or "default")");
  }
  const bool linear = type == "linear" && own.number("factor", 0) == 1;
  if (type != "default" && type != kLlama3 && !linear) {
    in.refuse(has_base ? "rope_parameters.rope_type" : key, "not supported", object->dump(),
              has_base ? R"("default" or "llama3")" : R"(null, or of rope_type "llama3")");
  }
  for (const auto& [member, value] : object->as_object(key)) {
    if (value.is_null() || member == "rope_type" || member == "type") continue;
    if (member == "rope_theta" && has_base) {
      c.rope_theta = own.number("rope_theta", c.rope_theta);
    } else if (member == "partial_rotary_factor") {
      if (own.number(member, 1) != 1) own.refuse(member, "not supported", value.dump(), "1");
    } else if (std::ranges::count(kOfScaling, member) == 0) {
      own.refuse(member, "not supported", value.dump(), "no such key");
    } else if (value.is_object()) {
      own.number(member, 0);  // the wrong JSON type, whichever member it is
    }
  }
  if (type != kLlama3) return;
  c.rope_scaling = read_llama3(own);
  // Of the model's own one transformers and llama.cpp make different things.
  const std::int64_t context = c.rope_scaling.original_context;
  if (in.find(kOriginalContext) && in.size(kOriginalContext, 1 << 24) != context)
    own.refuse(kOriginalContext, "not the model's own", str(context),
               str(in.size(kOriginalContext, 1 << 24)));
}

}  // namespace

Json Llama::config_json() const {
  const LlamaConfig& c = config_;
  Json json = Json::object();
  json.set("model_type", "llama")
      .set("architectures", Json(Json::Array{"LlamaForCausalLM"}))
      .set("num_hidden_layers", c.n_layer)
      .set("num_attention_heads", c.n_head)
      .set("num_key_value_heads", c.n_kv_head)
      .set("hidden_size", c.n_embd)
      .set("intermediate_size", c.n_inner)
      .set("max_position_embeddings", c.block_size)
      .set("vocab_size", c.vocab_size)
      .set("rms_norm_eps", c.rms_norm_eps)
      .set("rope_theta", c.rope_theta)
      .set("rope_scaling", rope_scaling_json(c.rope_scaling))
      .set("hidden_act", "silu")
      .set("attention_bias", false)
      .set("mlp_bias", false)
      .set("attention_dropout", 0.0)
      .set("tie_word_embeddings", c.tie_embeddings)
      .set(kBosKey, bos_json(c.token_ids))
      .set(kEosKey, eos_json(c.token_ids))
      .set("torch_dtype", "float32");
  // LlamaConfig's own key; where it says nothing new it stays out, as transformers takes it.
  if (c.head_dim > 0) json.set("head_dim", c.head_dim);
  if (!c.ranks.empty()) {
    Json notch = Json::object();
    notch.set("version", kFormatVersion).set("ranks", ranks_json(c.ranks));
    json.set("notch", std::move(notch));
  }
  return json;
}

std::string Llama::description() const {
  return str(
      config_.tie_embeddings ? "tied head" : "own head", ", ", config_.n_inner,
      " channels in the MLP, rotary base ", config_.rope_theta,
      config_.rope_scaling.factor == 1 ? "" : str(" scaled by ", config_.rope_scaling.factor),
      parts_text(sizes_));
}

FileNames Llama::file_names() const {
  return {.prefix = "model.",
          .table = "embed_tokens.weight",
          // The angles' speeds, which older versions of transformers stored.
          .is_buffer = [](std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }};
}

LlamaConfig parse_llama_config(const Json& json, const std::filesystem::path& path) {
  const ConfigReader in(json, path);
  // Bounds that keep every product of sizes far inside 64 bits; the file's size bounds memory.
  LlamaConfig c;
  c.vocab_size = in.size("vocab_size", 1 << 24);
  c.block_size = in.size("max_position_embeddings", 1 << 20);
  c.n_layer = static_cast<int>(in.size("num_hidden_layers", 1 << 12));
  c.n_embd = in.size("hidden_size", 1 << 16);
  c.n_inner = in.size("intermediate_size", 1 << 20);
  c.n_head = static_cast<int>(in.size("num_attention_heads", c.n_embd));
  c.n_kv_head = in.find("num_key_value_heads")
                    ? static_cast<int>(in.size("num_key_value_heads", c.n_head))
                    : c.n_head;
  if (in.find("head_dim")) c.head_dim = in.size("head_dim", 1 << 16);
  if (c.head_dim % 2 != 0) {
    in.refuse("head_dim", "heads have pairs of channels", std::to_string(c.head_dim),
              "an even number");
  }
  if (c.head_dim == 0 && (c.n_embd % c.n_head != 0 || c.n_embd / c.n_head % 2 != 0)) {
    in.refuse("num_attention_heads", "does not cut hidden_size into heads of an even size",
              std::to_string(c.n_head), str("a divisor of ", c.n_embd / 2, ", or a head_dim"));
  }
  if (c.head_dim * c.n_head == c.n_embd) c.head_dim = 0;
  if (c.n_head % c.n_kv_head != 0) {
    in.refuse("num_key_value_heads", "does not divide num_attention_heads",
              std::to_string(c.n_kv_head), str("a divisor of ", c.n_head));
  }
  if (const std::string act = in.text("hidden_act", "silu"); act != "silu" && act != "swish") {
    in.refuse("hidden_act", "unknown activation", json_quote(act), "\"silu\"");
  }
  // rope_interleaved pairs channels as the paper does, which needs other rows of q and k.
  for (const std::string_view key : {"attention_bias", "mlp_bias", "rope_interleaved"}) {
    if (in.flag(key, false)) in.refuse(key, "not supported", "true", "false");
  }
  if (const double part = in.number("partial_rotary_factor", 1); part != 1) {
    in.refuse("partial_rotary_factor", "not supported", str(part), "1");
  }
  // A window as long as the context hides nothing.
  if (in.find("sliding_window") && in.flag("use_sliding_window", true)) {
    const std::int64_t window = in.size("sliding_window", std::int64_t{1} << 32);
    if (window < c.block_size) {
      in.refuse("sliding_window", "not supported", std::to_string(window),
                str("null, or at least ", c.block_size));
    }
  }
  c.rope_theta = in.number("rope_theta", 10000);
  LlamaConfig other = c;
  read_rotary(in, "rope_scaling", path, c);
  read_rotary(in, "rope_parameters", path, other);
  // transformers takes the first of the two, whole.
  if (in.find("rope_scaling") && in.find("rope_parameters") && !(other == c)) {
    in.refuse("rope_parameters", "says something else than rope_scaling",
              in.find("rope_parameters")->dump(), in.find("rope_scaling")->dump());
  }
  if (in.find("rope_parameters")) c = other;
  c.rms_norm_eps = in.number("rms_norm_eps", 1e-6);
  if (!(c.rope_theta > 0)) in.refuse("rope_theta", "out of range", str(c.rope_theta), "above 0");
  if (!(c.rms_norm_eps >= 0 && std::isfinite(c.rms_norm_eps))) {
    in.refuse("rms_norm_eps", "out of range", str(c.rms_norm_eps), "at least 0");
  }
  c.tie_embeddings = in.flag("tie_word_embeddings", false);
  c.token_ids = in.token_ids(c.vocab_size);
  c.ranks = in.ranks([&] { return Llama(c, Model::Values::shapes_only).sizes(); });
  return c;
}

}  // namespace notch::nn
