// The GPT of scalar_gpt.h on tensors: read the two side by side. RMSNorm is an op that the engine
// lacks; lesson 04 tells how to add one.
#pragma once

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "experiments/lessons/scalar_gpt.h"
#include "optim/adamw.h"
#include "quant/numbers/ranges.h"
#include "quant/ops/fake_quant.h"

namespace notch::lessons {

/// y = x r with r = 1 / √(mean x² + 1e-5) for each row;  dx = r (dy - y mean(dy y)).
struct RmsNorm {
  static constexpr std::string_view name = "rms_norm";
  std::span<real> r{};

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), y = f.out(x.shape);
    r = f.keep(x.rows());
    for (std::int64_t row = 0; row < x.rows(); ++row) {
      const real* in = x.data + row * x.cols();
      double squares = 0;
      for (std::int64_t c = 0; c < x.cols(); ++c) squares += static_cast<double>(in[c] * in[c]);
      real& factor = r[static_cast<std::size_t>(row)];
      factor = static_cast<real>(1 / std::sqrt(squares / static_cast<double>(x.cols()) + 1e-5));
      for (std::int64_t c = 0; c < x.cols(); ++c) y.data[row * x.cols() + c] = in[c] * factor;
    }
    return y;
  }
  void backward(const Backward& b) const {
    const Tensor y = b.out();
    const auto dx = b.grad(0);
    for (std::size_t row = 0, C = static_cast<std::size_t>(y.cols()); row < r.size(); ++row) {
      const real *dy = &b.dout()[row * C], *out = &y.flat()[row * C];
      real mean = 0;
      for (std::size_t c = 0; c < C; ++c) mean += dy[c] * out[c] / static_cast<real>(C);
      for (std::size_t c = 0; c < C; ++c) dx[row * C + c] += r[row] * (dy[c] - out[c] * mean);
    }
  }
};
inline Var rms_norm(Var x) { return x.tape().record(RmsNorm{}, {x}); }

/// One block, as the scalar program has it. After round() all matrices are rounded in every pass.
class TensorGpt : NamesGpt {
 public:
  TensorGpt() {
    constexpr std::int64_t V = kTokens, T = kLongest, C = kChannels, H = kHidden;
    const char* names[] = {"wte", "wpe", "q", "k", "v", "o", "fc", "proj", "head"};
    const Shape shapes[] = {{V, C}, {T, C}, {C, C}, {C, C}, {C, C}, {C, C}, {H, C}, {C, H}, {V, C}};
    for (std::size_t i = 0; i < 9; ++i) store_.add(names[i], shapes[i]);
    store_.allocate_values();
    store_.allocate_gradients();
    Rng rng(18);
    for (Param& p : store_.params()) {
      for (real& v : p.value.flat()) v = static_cast<real>(0.1 * rng.normal());
    }
    adam_ = std::make_unique<optim::AdamW>(optim::decay_matrices(store_, 0),
                                           optim::AdamWConfig{.beta1 = 0.9, .beta2 = 0.95});
  }
  ParamStore& params() { return store_; }

  Var logits(Graph& g, std::span<const std::int32_t> ids) {
    const Var tokens = embedding(weight(g, 0), ids, 1, std::ssize(ids));
    const Var positions = slice(weight(g, 1), 0, 0, std::ssize(ids));
    Var x = rms_norm(add(tokens, positions));
    Var h = rms_norm(x);
    const Var q = linear(h, weight(g, 2));
    const Var k = linear(h, weight(g, 3));
    const std::array parts{q, k, linear(h, weight(g, 4))};
    x = add(x, linear(causal_attention(concat(parts, 2), kHeads), weight(g, 5)));
    h = relu(linear(rms_norm(x), weight(g, 6)));
    x = add(x, linear(h, weight(g, 7)));
    return linear(x, weight(g, 8));
  }
  Var loss(Graph& g, const std::string& name) {
    const auto ids = tokens_of(name);
    const Var scores = logits(g, std::span(ids).first(ids.size() - 1));
    return cross_entropy(scores, std::span(ids).subspan(1));
  }
  double train(const std::string& name, double lr) {
    Graph g;
    store_.zero_gradients();
    g.begin(Graph::Mode::training);
    const Var mean = loss(g, name);
    const double value = static_cast<double>(mean.item());
    g.backward(mean);
    adam_->step(lr);
    return value;
  }
  /// To `bits` bits with a scale per row, by lesson 09's search; training goes on through lesson 10.
  std::int64_t round(int bits) {
    spec_ = {.bits = bits};
    std::int64_t bytes = 0;
    for (Param& p : store_.params()) {
      const auto w = p.value.flat();
      const std::int64_t rows = p.value.rows(), cols = p.value.cols();
      const auto found = quant::choose_scales(w, rows, cols, spec_, quant::RangeRule::mse, p.name);
      ranges_.push_back(quant::anchor_ranges(w, found.at, spec_));
      bytes += quant::storage_bytes(spec_, rows, cols).total();
    }
    return bytes;
  }

 private:
  Var weight(Graph& g, std::size_t i) {
    const Var exact = g.param(store_.params()[i]);
    if (ranges_.empty()) return exact;
    return quant::fake_quant_ste(exact, spec_, ranges_[i], quant::Ste::clipped);
  }
  ParamStore store_;
  quant::Spec spec_{};
  std::vector<std::vector<quant::RangeAnchor>> ranges_;
  std::unique_ptr<optim::AdamW> adam_;
};

}  // namespace notch::lessons
