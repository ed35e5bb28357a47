#include "nn/resized.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "nn/gpt.h"
#include "nn/llama.h"

namespace notch::nn {
namespace {

constexpr const char* kResized = "resized";

/// A model of what `change` makes of the configuration, whichever it is.
template <class Change>
std::unique_ptr<Model> changed(const Model& model, Model::Values values, const Change& change) {
  if (const auto* gpt = dynamic_cast<const Gpt*>(&model)) {
    GptConfig config = gpt->config();
    change(config);
    return std::make_unique<Gpt>(config, values);
  }
  if (const auto* llama = dynamic_cast<const Llama*>(&model)) {
    LlamaConfig config = llama->config();
    change(config);
    return std::make_unique<Llama>(config, values);
  }
  throw Error({.where = kResized,
               .what = "not an architecture of blocks with attention",
               .found = model.architecture(),
               .expected = "gpt2 or llama"});
}

}  // namespace

std::unique_ptr<Model> with_heads(const Model& model, std::int64_t heads, Model::Values values) {
  const Sizes& s = model.sizes();
  check(heads >= 1 && heads <= s.n_kv_head, kResized, heads, " heads of keys; the model has ",
        s.n_kv_head);
  const auto queries = static_cast<int>(heads * (s.n_head / s.n_kv_head));
  return changed(model, values, [&](auto& config) {
    config.head_dim = queries * s.head_dim == s.n_embd ? 0 : s.head_dim;
    config.n_head = queries;
    if constexpr (requires { config.n_kv_head; }) config.n_kv_head = static_cast<int>(heads);
  });
}

std::unique_ptr<Model> with_ranks(const Model& model, std::span<const std::int64_t> ranks,
                                  Model::Values values) {
  check(model.sizes().ranks.empty(), kResized, "the matrices are in two factors already");
  return changed(model, values, [&](auto& config) {
    // Whole matrices alone are the model as it was.
    if (std::ranges::count(ranks, 0) < std::ssize(ranks))
      config.ranks.assign(ranks.begin(), ranks.end());
  });
}

std::vector<StepShape> step_shapes(const Sizes& s) {
  const std::int64_t C = s.n_embd, A = s.attention(), keys = s.n_kv_head * s.head_dim;
  return {{A + 2 * keys, C}, {C, A}, {(s.mlp_matrices - 1) * s.n_inner, C}, {C, s.n_inner}};
}

void copy_alike(const ParamStore& from, ParamStore& to) {
  for (Param& p : to.params()) {
    const Param* same = from.find(p.name);
    if (same && same->value.shape == p.value.shape)
      std::ranges::copy(same->value.flat(), p.value.data);
  }
}

std::int64_t require_kept(std::span<const std::vector<std::int64_t>> keep, std::int64_t blocks,
                          std::int64_t all, std::string_view where, std::string_view units) {
  check(std::ssize(keep) == blocks, where, "got lists for ", keep.size(), " of ", blocks,
        " blocks");
  const std::int64_t n = std::ssize(keep[0]);
  for (const std::vector<std::int64_t>& block : keep) {
    check(n >= 1 && std::ssize(block) == n && std::ranges::is_sorted(block) && block[0] >= 0 &&
              block.back() < all && std::ranges::adjacent_find(block) == block.end(),
          where, "a block keeps other than ", n, " of ", all, ' ', units, ", ascending");
  }
  return n;
}

void take_rows(const Param* from, ParamStore& to, std::span<const std::int64_t> rows) {
  if (!from) return;
  real* out = to.find(from->name)->value.data;
  const std::int64_t width = from->value.size() / from->value.shape[0];
  for (const std::int64_t r : rows) out = std::copy_n(from->value.data + r * width, width, out);
}

void take_columns(const Param& from, ParamStore& to, std::span<const std::int64_t> columns) {
  real* out = to.find(from.name)->value.data;
  for (std::int64_t r = 0; r < from.value.rows(); ++r)
    for (const std::int64_t c : columns) *out++ = from.value.data[r * from.value.cols() + c];
}

}  // namespace notch::nn
