#include "nn/onnx_model.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/kernels/rotary.h"
#include "nn/gpt.h"
#include "nn/llama.h"
#include "nn/model_dir.h"

namespace notch::nn {
namespace {

using Names = std::vector<std::string>;
using Ints = std::vector<std::int64_t>;

/// What the graphs of both architectures are put together from.
class Builder {
 public:
  Builder(const Model& model, OnnxWeights& weights, bool cache, std::int64_t context)
      : model_(model),
        weights_(weights),
        cache_(cache),
        sizes_(model.sizes()),
        context_(context > 0 ? context : model.sizes().block_size) {
    check(context_ <= sizes_.block_size, "onnx", "a context of ", context_, ", the model's is ",
          sizes_.block_size);
    const OnnxExtent batch = std::string("batch"), sequence = std::string("sequence");
    g.input("input_ids", OnnxType::i64, {batch, sequence});
    const std::string length = extent("input_ids", 1), zero = g.integer(0), one = g.integer(1);
    std::string past = zero, total = length;
    if (cache) {
      for (int l = 0; l < sizes_.n_layer; ++l) {
        for (const char* part : {"key", "value"}) {
          g.input(past_name(l, part), OnnxType::f32, cached("past_sequence"));
          g.output(present_name(l, part), OnnxType::f32, cached("total_sequence"));
        }
      }
      past = extent(past_name(0, "key"), 2);
      total = g.add("Add", {past, length});
    }
    g.output("logits", OnnxType::f32, {batch, sequence, sizes_.vocab_size});
    positions = g.add("Range", {past, total, one});
    const std::string keys = g.add("Range", {zero, total, one});
    // [sequence, total]: keys that a query may see.
    allowed_ = g.add("GreaterOrEqual", {g.add("Unsqueeze", {positions, g.integers({1})}),
                                        g.add("Unsqueeze", {keys, g.integers({0})})});
    never_ = g.number(std::numeric_limits<float>::lowest());
  }

  std::string rows(const std::string& table, const std::string& ids, int rank) {
    return weights_.rows(g, param(table + ".weight"), ids, rank);
  }
  /// Those of the positions, of a table that ends with the context.
  std::string position_rows(const std::string& table) {
    const Param& p = param(table + ".weight");
    if (context_ == p.value.rows()) return weights_.rows(g, p, positions, 1);
    const std::int64_t C = p.value.cols();
    const auto first_rows = p.value.flat().first(static_cast<std::size_t>(context_ * C));
    const auto write = [first_rows](const ByteSink& sink) {
      put_reals(sink, DType::f32, first_rows);
    };
    return g.add("Gather", {g.tensor(p.name, OnnxType::f32, {context_, C}, write), positions});
  }
  std::string linear(const std::string& name, const std::string& x) {
    const Param* bias = model_.params().find(name + ".bias");
    const std::string y = weights_.product(g, param(name + ".weight"), x);
    return bias ? g.add("Add", {y, vector(*bias)}) : y;
  }
  std::string head(const std::string& x) { return weights_.product(g, *model_.head().weight, x); }
  std::string layer_norm(const std::string& name, const std::string& x, double eps) {
    const Param& weight = param(name + ".weight");
    const Param* bias = model_.params().find(name + ".bias");
    Names inputs{x, vector(weight)};
    if (bias) inputs.push_back(vector(*bias));
    return g.add("LayerNormalization", inputs,
                 {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(eps)}});
  }
  std::string rms_norm(const std::string& name, const std::string& x, double eps) {
    const std::string mean = g.add("ReduceMean", {g.add("Mul", {x, x}), g.integers({-1})},
                                   {{"keepdims", std::int64_t{1}}});
    const std::string root =
        g.add("Sqrt", {g.add("Add", {mean, g.number(static_cast<float>(eps))})});
    return g.add("Mul", {g.add("Div", {x, root}), vector(param(name + ".weight"))});
  }
  std::string gelu(const std::string& x, Gelu kind) {
    std::string inner;
    if (kind == Gelu::exact) {
      inner = g.add("Erf", {scaled(x, std::numbers::sqrt2 / 2)});
    } else {
      const std::string cube = g.add("Mul", {g.add("Mul", {x, x}), x});
      inner = g.add("Tanh", {scaled(g.add("Add", {x, scaled(cube, 0.044715)}),
                                    std::sqrt(2 / std::numbers::pi))});
    }
    return g.add("Mul", {scaled(x, 0.5), g.add("Add", {inner, g.number(1)})});
  }
  std::string swiglu(const std::string& gate, const std::string& up) {
    return g.add("Mul", {g.add("Mul", {gate, g.add("Sigmoid", {gate})}), up});
  }

  /// Tables of the positions' angles, once.
  void use_rotary(double theta, const RopeScaling& scaling) {
    const std::int64_t T = context_, HS = head_size();
    std::vector<real> table(static_cast<std::size_t>(T * HS));
    kernels::rotary_table(table, T, HS, theta, rope_divisors(scaling, HS, theta));
    std::vector<float> cosines, sines;
    for (std::size_t i = 0; i < table.size(); ++i) {
      const bool sine = static_cast<std::int64_t>(i) % HS >= HS / 2;
      (sine ? sines : cosines).push_back(static_cast<float>(table[i]));
    }
    const auto of_positions = [&](const char* name, std::vector<float>& values) {
      return g.add("Gather", {g.reals(name, {T, HS / 2}, std::move(values)), positions});
    };
    cosines_ = of_positions("rotary.cos", cosines);
    sines_ = of_positions("rotary.sin", sines);
  }

  /// q [B, T, C], k and v [B, T, KV·HS] -> [B, T, C].
  std::string attend(int layer, const std::string& q, const std::string& k, const std::string& v) {
    const std::int64_t H = sizes_.n_head, KV = sizes_.n_kv_head, HS = head_size();
    std::string queries = turned(heads(q, H)), keys = turned(heads(k, KV)), values = heads(v, KV);
    if (cache_) {
      keys = g.add_as(present_name(layer, "key"), "Concat", {past_name(layer, "key"), keys},
                      {{"axis", std::int64_t{2}}});
      values = g.add_as(present_name(layer, "value"), "Concat", {past_name(layer, "value"), values},
                        {{"axis", std::int64_t{2}}});
    }
    const bool shared = KV < H;  // heads of keys stand for groups of heads: [B, KV, H / KV, T, HS]
    if (shared) {
      queries = g.add("Reshape", {queries, g.integers({0, KV, H / KV, -1, HS})});
      keys = g.add("Unsqueeze", {keys, g.integers({2})});
      values = g.add("Unsqueeze", {values, g.integers({2})});
    }
    const std::string turned_keys =
        g.add("Transpose", {keys}, {{"perm", shared ? Ints{0, 1, 2, 4, 3} : Ints{0, 1, 3, 2}}});
    const std::string scores =
        scaled(g.add("MatMul", {queries, turned_keys}), 1 / std::sqrt(static_cast<double>(HS)));
    const std::string weights = g.add("Softmax", {g.add("Where", {allowed_, scores, never_})},
                                      {{"axis", std::int64_t{-1}}});
    std::string y = g.add("MatMul", {weights, values});
    if (shared) y = g.add("Reshape", {y, g.integers({0, H, -1, HS})});
    y = g.add("Transpose", {y}, {{"perm", Ints{0, 2, 1, 3}}});
    return g.add("Reshape", {y, g.integers({0, 0, H * HS})});
  }

  OnnxGraph g{};
  std::string positions{};  ///< [sequence]

 private:
  const Param& param(const std::string& name) const {
    const Param* p = model_.params().find(name);
    check(p, "onnx", "the model has no ", name);
    return *p;
  }
  std::string vector(const Param& p) {
    const TensorSource source = float_source({&p, p.name, p.value.shape, false});
    return g.tensor(p.name, OnnxType::f32, source.shape, source.write);
  }
  std::string scaled(const std::string& x, double factor) {
    return g.add("Mul", {x, g.number(static_cast<float>(factor))});
  }
  std::string extent(const std::string& x, std::int64_t axis) {
    return g.add("Gather", {g.add("Shape", {x}), g.integer(axis)});
  }
  std::int64_t head_size() const { return sizes_.head_dim; }
  /// [B, T, n·HS] -> [B, n, T, HS].
  std::string heads(const std::string& x, std::int64_t n) {
    return g.add("Transpose", {g.add("Reshape", {x, g.integers({0, 0, n, head_size()})})},
                 {{"perm", Ints{0, 2, 1, 3}}});
  }
  /// By the angles of the positions, where there are any.
  std::string turned(const std::string& x) {
    if (cosines_.empty()) return x;
    const Names half = g.split(x, 2);
    const auto product = [&](const std::string& a, const std::string& b) {
      return g.add("Mul", {a, b});
    };
    const std::string first = g.add("Sub", {product(half[0], cosines_), product(half[1], sines_)});
    const std::string second = g.add("Add", {product(half[1], cosines_), product(half[0], sines_)});
    return g.add("Concat", {first, second}, {{"axis", std::int64_t{-1}}});
  }
  std::vector<OnnxExtent> cached(const char* length) const {
    return {std::string("batch"), std::int64_t{sizes_.n_kv_head}, std::string(length), head_size()};
  }
  static std::string past_name(int layer, const char* part) {
    return str("past_key_values.", layer, '.', part);
  }
  static std::string present_name(int layer, const char* part) {
    return str("present.", layer, '.', part);
  }

  const Model& model_;
  OnnxWeights& weights_;
  bool cache_;
  Sizes sizes_;
  std::int64_t context_;
  std::string allowed_{}, never_{}, cosines_{}, sines_{};
};

std::string gpt(Builder& b, const GptConfig& c) {
  std::string x = b.g.add("Add", {b.rows("wte", "input_ids", 2), b.position_rows("wpe")});
  for (int l = 0; l < c.n_layer; ++l) {
    const std::string name = str("h.", l);
    const std::string normed = b.layer_norm(name + ".ln_1", x, c.layer_norm_epsilon);
    const Names qkv = b.g.split(b.linear(name + ".attn.c_attn", normed), 3);
    const std::string y = b.attend(l, qkv[0], qkv[1], qkv[2]);
    x = b.g.add("Add", {x, b.linear(name + ".attn.c_proj", y)});
    const std::string inner =
        b.linear(name + ".mlp.c_fc", b.layer_norm(name + ".ln_2", x, c.layer_norm_epsilon));
    x = b.g.add("Add", {x, b.linear(name + ".mlp.c_proj", b.gelu(inner, c.gelu))});
  }
  return b.layer_norm("ln_f", x, c.layer_norm_epsilon);
}

std::string llama(Builder& b, const LlamaConfig& c) {
  b.use_rotary(c.rope_theta, c.rope_scaling);
  std::string x = b.rows("model.embed_tokens", "input_ids", 2);
  for (int l = 0; l < c.n_layer; ++l) {
    const std::string name = str("model.layers.", l), attn = name + ".self_attn.",
                      mlp = name + ".mlp.";
    const std::string normed = b.rms_norm(name + ".input_layernorm", x, c.rms_norm_eps);
    const std::string y =
        b.attend(l, b.linear(attn + "q_proj", normed), b.linear(attn + "k_proj", normed),
                 b.linear(attn + "v_proj", normed));
    x = b.g.add("Add", {x, b.linear(attn + "o_proj", y)});
    const std::string inner = b.rms_norm(name + ".post_attention_layernorm", x, c.rms_norm_eps);
    const std::string gated =
        b.swiglu(b.linear(mlp + "gate_proj", inner), b.linear(mlp + "up_proj", inner));
    x = b.g.add("Add", {x, b.linear(mlp + "down_proj", gated)});
  }
  return b.rms_norm("model.norm", x, c.rms_norm_eps);
}

}  // namespace

std::string OnnxWeights::product(OnnxGraph& g, const Param& weight, const std::string& x) {
  // A tied table is in the file already, by rows.
  if (g.has_tensor(weight.name)) {
    return g.add("MatMul", {x, g.add("Transpose", {weight.name}, {{"perm", Ints{1, 0}}})});
  }
  const Shape& s = weight.value.shape;
  const TensorSource source = float_source({&weight, weight.name, Shape{s[1], s[0]}, true});
  return g.add("MatMul", {x, g.tensor(weight.name, OnnxType::f32, source.shape, source.write)});
}

std::string OnnxWeights::rows(OnnxGraph& g, const Param& table, const std::string& ids, int) {
  const TensorSource source = float_source({&table, table.name, table.value.shape, false});
  return g.add("Gather", {g.tensor(table.name, OnnxType::f32, source.shape, source.write), ids});
}

OnnxGraph onnx_graph(const Model& model, OnnxWeights& weights, bool cache, std::int64_t context) {
  if (!model.sizes().ranks.empty()) {
    throw Error({.fault = Fault::input,
                 .where = "onnx",
                 .what = "no graph of matrices in two factors",
                 .field = "notch.ranks",
                 .hint = "export the model that they were made of"});
  }
  Builder b(model, weights, cache, context);
  std::string x;
  if (const auto* g = dynamic_cast<const Gpt*>(&model)) {
    x = gpt(b, g->config());
  } else if (const auto* l = dynamic_cast<const Llama*>(&model)) {
    x = llama(b, l->config());
  } else {
    throw Error({.fault = Fault::input,
                 .where = "onnx",
                 .what = "no graph for this architecture",
                 .found = model.architecture(),
                 .expected = "gpt2 or llama"});
  }
  b.g.add_as("logits", "Identity", {b.head(x)});
  return std::move(b.g);
}

}  // namespace notch::nn
