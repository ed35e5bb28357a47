#include "experiments/bench/memory_report.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/names.h"

namespace notch::experiments {
namespace {

constexpr std::int64_t kMostOfASize = std::int64_t{1} << 24;  // products of two are counts

struct Llama {
  const char* name;
  std::int64_t n_layer, channels, n_head, kv_heads, hidden;
};

MemoryShape llama(const Llama& l) {
  constexpr std::int64_t kVocab = 32000;
  const std::int64_t kv = l.channels / l.n_head * l.kv_heads;
  const std::int64_t attention = 2 * l.channels * l.channels + 2 * l.channels * kv;
  return {.name = l.name,
          .n_layer = l.n_layer,
          .channels = l.channels,
          .n_head = l.n_head,
          .head_dim = l.channels / l.n_head,
          .kv_heads = l.kv_heads,
          .hidden = l.hidden,
          .mlp_matrices = 3,
          .vocab = kVocab,
          .matrices = l.n_layer * (attention + 3 * l.channels * l.hidden) + 2 * kVocab * l.channels,
          .others = (2 * l.n_layer + 1) * l.channels};
}

/// A count of bytes that is one: no address reaches further.
std::int64_t counted(double bytes, std::string_view of) {
  constexpr double kMost = 0x1p62;
  check(bytes >= 0 && bytes <= kMost, "memory", of, " take ", bytes, " bytes, which is no size");
  return static_cast<std::int64_t>(std::ceil(bytes));
}

void require_shape(const MemoryShape& s) {
  const std::int64_t sizes[] = {s.n_layer,  s.channels, s.n_head,      s.head_dim,
                                s.kv_heads, s.hidden,   s.mlp_matrices};
  check(std::ranges::all_of(sizes, [](std::int64_t n) { return n >= 0 && n <= kMostOfASize; }) &&
            s.vocab >= 0 && s.matrices >= 0 && s.others >= 0,
        "memory", s.name, " has sizes that no model has");
}

double real_of(std::int64_t n) { return static_cast<double>(n); }

}  // namespace

std::vector<MemoryShape> named_shapes() {
  return {llama({"7B", 32, 4096, 32, 32, 11008}), llama({"13B", 40, 5120, 40, 40, 13824}),
          llama({"70B", 80, 8192, 64, 8, 28672})};
}

MemoryShape memory_shape(const nn::Model& model, std::string name) {
  const nn::Sizes& c = model.sizes();
  std::int64_t matrices = model.matrix_weights();
  if (!model.head_is_tied()) matrices += c.vocab_size * c.n_embd;
  return {.name = std::move(name),
          .n_layer = c.n_layer,
          .channels = c.n_embd,
          .n_head = c.n_head,
          .head_dim = c.head_dim,
          .kv_heads = c.n_kv_head,
          .hidden = c.n_inner,
          .mlp_matrices = c.mlp_matrices,
          .vocab = c.vocab_size,
          .matrices = matrices,
          .others = model.params().count() - matrices};
}

std::vector<MemoryUse> usual_uses() {
  using quant::KvKind;
  return {{"fp16", 16, 16, KvKind::fp16},
          {"int8", 8, 16, KvKind::fp16},
          {"int4 g32", 4.5, 16, KvKind::fp16},
          {"int4 g32", 4.5, 16, KvKind::int8}};
}

MemoryNeed memory_need(const MemoryShape& s, const MemoryUse& use, std::int64_t context,
                       std::int64_t batch) {
  require_shape(s);
  const nn::KvShape kv{.n_layer = static_cast<int>(s.n_layer),
                       .n_head = static_cast<int>(s.kv_heads),
                       .channels = s.kv_heads * s.head_dim,
                       .capacity = context,
                       .batch = batch};
  const double per_token =
      real_of(s.channels) + real_of(s.n_head * s.head_dim) + real_of(s.mlp_matrices * s.hidden);
  return {
      .weights = counted(real_of(s.matrices) * use.matrix_bits / 8, "the matrices") +
                 counted(real_of(s.others) * use.other_bits / 8, "the other weights"),
      .kv_cache = quant::kv_cache_bytes(use.kv, kv),
      .activations = counted(4 * real_of(batch) * (real_of(context) * per_token + real_of(s.vocab)),
                             "activations")};
}

std::int64_t training_need(const MemoryShape& s, std::int64_t parameters, std::int64_t tokens) {
  require_shape(s);
  check(parameters >= 0 && tokens > 0, "memory", "of ", parameters, " weights and ", tokens,
        " tokens a step");
  const std::int64_t kv = s.head_dim * s.kv_heads, heads = s.head_dim * s.n_head;
  // attn's input is normed x, its output the projection's input, and two sums of the residual stream
  const double kept =
      real_of(s.n_layer) * real_of(3 * s.channels + heads + 2 * kv + s.mlp_matrices * s.hidden);
  return counted(16 * real_of(parameters) + 4 * real_of(tokens) * kept, "a step's values");
}

std::string kv_note(const MemoryShape& shape, std::int64_t context, std::int64_t batch) {
  using quant::KvKind;
  const auto cache = [&](KvKind kind) {
    return memory_need(shape, {.kv = kind}, context, batch).kv_cache;
  };
  std::vector<std::string> smaller;
  for (const KvKind kind : {KvKind::fp32, KvKind::fp16}) {
    if (cache(kind) < cache(KvKind::int8)) smaller.emplace_back(word_of(kind));
  }
  if (smaller.empty()) return "";
  return str("note: for ", context, " tokens the int8 cache of ", shape.name, " is larger than in ",
             and_list(smaller), ": beside codes and scales it keeps ", quant::Int8KvCache::kRing,
             " positions in fp32");
}

Table memory_table() {
  return Table({{.key = "model", .text = true},
                {.key = "parameters", .decimals = 0},
                {.key = "weights", .text = true},
                {.key = "kv", .title = "KV", .text = true},
                {.key = "weights_bytes", .title = "weights' bytes", .bytes = true},
                {.key = "kv_bytes", .title = "KV bytes", .bytes = true},
                {.key = "activations_bytes", .title = "activations' bytes", .bytes = true},
                {.key = "total_bytes", .title = "total", .bytes = true},
                {.key = "total_binary", .title = "in binary units", .text = true}});
}

void add_memory_row(Table& table, const MemoryShape& shape, const MemoryUse& use,
                    const MemoryNeed& need) {
  const auto bytes_of = [](std::int64_t n) { return number(static_cast<double>(n)); };
  table.add_row({text(shape.name), number(static_cast<double>(shape.parameters())),
                 text(use.weights), text(word_of(use.kv)), bytes_of(need.weights),
                 bytes_of(need.kv_cache), bytes_of(need.activations), bytes_of(need.total()),
                 text(bytes_text(static_cast<double>(need.total()), true))});
}

}  // namespace notch::experiments
