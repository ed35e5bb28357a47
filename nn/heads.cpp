#include "nn/heads.h"

#include <map>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "nn/resized.h"
#include "nn/watched_inputs.h"

namespace notch::nn {
namespace {

constexpr const char* kHeads = "heads";

/// The linears of a block that make queries, keys and values, and the one that reads what they mix.
struct Attention {
  std::vector<Linear*> writers{};
  Linear* reader = nullptr;
};

std::vector<Attention> attentions_of(Model& model) {
  const Sizes& s = model.sizes();
  check(s.n_head > 0, kHeads, "the model has no attention");
  check(s.ranks.empty(), kHeads, "the matrices are in two factors: take heads out before");
  std::vector<Attention> all;
  for (const Stage& stage : model.stages()) {
    if (stage.linears().empty()) continue;
    const Step &in = stage.steps.at(0), &out = stage.steps.at(1);
    check(out.linears.size() == 1 && out.linears[0]->in_features() == s.attention(), stage.name,
          "does not begin with an attention of ", s.attention(), " channels");
    all.push_back({in.linears, out.linears[0]});
  }
  return all;
}

/// What each head of a block adds, from the sum over positions of y_G y_Gᵀ of each: [heads][n, n].
std::vector<double> powers(const Linear& reader, const std::vector<double>& moments, Index heads,
                           Index n) {
  const Index cols = reader.in_features();
  std::vector<double> out(at(heads), 0.0);
  for (Index h = 0; h < heads; ++h) {
    const double* const M = moments.data() + h * n * n;
    for (Index r = 0; r < reader.out_features(); ++r) {
      const real* const w = reader.weight->value.data + r * cols + h * n;
      for (Index i = 0; i < n; ++i) {
        double along = 0;
        for (Index j = 0; j < n; ++j) along += M[i * n + j] * static_cast<double>(w[j]);
        out[at(h)] += static_cast<double>(w[i]) * along;
      }
    }
  }
  return out;
}

/// All indices below `size` in the parts of them, of which each has `heads` runs, that `keep` names.
std::vector<Index> runs_of(const std::vector<Index>& keep, Index size, Index parts, Index heads) {
  const Index part = size / parts, run = part / heads;
  std::vector<Index> out;
  for (Index p = 0; p < parts; ++p)
    for (const Index h : keep)
      for (Index i = 0; i < run; ++i) out.push_back(p * part + h * run + i);
  return out;
}

}  // namespace

std::vector<std::vector<double>> head_importance(Model& model, std::span<const Tokens> text) {
  const std::vector<Attention> blocks = attentions_of(model);
  const Index heads = model.sizes().n_kv_head, A = model.sizes().attention(), n = A / heads;
  std::map<const Linear*, std::vector<double>> moments;
  for (const Attention& b : blocks) moments[b.reader].assign(at(heads * n * n), 0.0);
  const auto see = [&](const Linear& linear, std::span<const real> all) {
    const auto found = moments.find(&linear);
    if (found == moments.end()) return;
    for (std::size_t row = 0; row < all.size(); row += at(A)) {
      for (Index h = 0; h < heads; ++h) {
        const real* const y = all.data() + row + h * n;
        double* const M = found->second.data() + h * n * n;
        for (Index i = 0; i < n; ++i)
          for (Index j = 0; j < n; ++j)
            M[i * n + j] += static_cast<double>(y[i]) * static_cast<double>(y[j]);
      }
    }
  };
  const double positions = watch_inputs(model, text, kHeads, see);
  std::vector<std::vector<double>> all;
  for (const Attention& b : blocks) {
    std::vector<double>& of_block =
        all.emplace_back(powers(*b.reader, moments.at(b.reader), heads, n));
    for (double& power : of_block) power /= positions;
    require_finite(of_block, *b.reader, "head");
  }
  return all;
}

std::unique_ptr<Model> with_heads_of(Model& model, std::span<const std::vector<Index>> keep) {
  const std::vector<Attention> blocks = attentions_of(model);
  const Index heads = model.sizes().n_kv_head;
  const Index n = require_kept(keep, std::ssize(blocks), heads, kHeads, "heads");
  std::unique_ptr<Model> out = with_heads(model, n, Model::Values::allocate);
  ParamStore& to = out->params();
  copy_alike(model.params(), to);
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const auto& [writers, reader] = blocks[b];
    for (const Linear* l : writers) {
      // One matrix makes queries, keys and values, or each has its own.
      const Index parts = writers.size() == 1 ? 3 : 1;
      const std::vector<Index> rows = runs_of(keep[b], l->out_features(), parts, heads);
      take_rows(l->weight, to, rows);
      take_rows(l->bias, to, rows);
    }
    take_columns(*reader->weight, to, runs_of(keep[b], reader->in_features(), 1, heads));
  }
  return out;
}

}  // namespace notch::nn
