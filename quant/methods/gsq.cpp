#include "quant/methods/gsq.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <numbers>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/methods/gptq.h"
#include "quant/methods/options.h"
#include "quant/methods/shipped_inputs.h"
#include "quant/methods/text_states.h"
#include "quant/methods/update_rules.h"
#include "quant/ops/soft_codes.h"

namespace notch::quant {
namespace {

/// Logits of a code that a grid does not have: its share is 0 at any temperature.
constexpr real kNever = -1000;

/// One matrix while its codes are learned.
class Matrix {
 public:
  Matrix(QTensor& q, std::span<const real> original, const std::string& name, ParamStore& store)
      : q_(&q),
        grid_(grid_of(q.spec)),
        unit_(unit_size(q.spec, q.rows, q.cols)),
        logits_(&store.add(name + ".logits", {q.rows * q.cols, kNeighbours})),
        log_scales_(&store.add(name + ".log_scales", {std::ssize(q.at.scales)})),
        original_(original) {}

  /// After the store has memory.
  void begin() {
    levels_.resize(at(kNeighbours * q_->rows * q_->cols));
    parallel_for(q_->rows, [&](Index row) {
      for (Index i = row * q_->cols; i < (row + 1) * q_->cols; ++i) begin(i);
    });
  }

  Var weights(Graph& g, double temperature) const {
    const SoftCodes codes{.rows = q_->rows,
                          .cols = q_->cols,
                          .unit = unit_,
                          .levels = levels_,
                          .scales = q_->at.scales};
    return soft_codes(g.param(*logits_), g.param(*log_scales_), codes, temperature);
  }

  /// The likeliest codes, and the scales as they are stored.
  QTensor settled() const {
    QTensor q = *q_;
    parallel_for(q.rows, [&](Index row) {
      for (Index i = row * q.cols; i < (row + 1) * q.cols; ++i) {
        const real* const l = logits_->value.data + kNeighbours * i;
        const auto k = std::max_element(l, l + kNeighbours) - l;
        q.codes[at(i)] = static_cast<std::int8_t>(q.codes[at(i)] + (k - 1) * grid_.step);
      }
    });
    for (std::size_t u = 0; u < q.at.scales.size(); ++u)
      q.at.scales[u] =
          round_scale(q.at.scales[u] * elementary::exp(log_scales_->value.data[u]), q.spec.scale);
    return q;
  }

  Param& logits() { return *logits_; }
  Param& log_scales() { return *log_scales_; }
  QTensor& codes() { return *q_; }

 private:
  void begin(Index i) {
    const std::size_t u = at(i / unit_);
    const int zero = q_->at.zero_points.empty() ? 0 : q_->at.zero_points[u],
              code = q_->codes[at(i)];
    const auto level = [&](int step) {
      const int c = std::clamp(code + step * grid_.step, grid_.qmin, grid_.qmax);
      return static_cast<double>(grid_.level(c, zero));
    };
    const double v = static_cast<double>(original_[at(i)]) / static_cast<double>(q_->at.scales[u]);
    // In codes from the present one, at most half a code to either side.
    const double here = level(0), gap = v > here ? level(1) - here : here - level(-1);
    const double place = gap > 0 ? std::clamp((v - here) / gap, -0.5, 0.5) : 0;
    for (int k = 0; k < kNeighbours; ++k) {
      const int step = k - 1;
      const bool exists = grid_.has(code + step * grid_.step);
      levels_[at(kNeighbours * i + k)] = static_cast<real>(level(step));
      logits_->value.data[kNeighbours * i + k] =
          exists ? static_cast<real>(-kGsqSpread * (step - place) * (step - place)) : kNever;
    }
  }

  QTensor* q_;
  Grid grid_;
  Index unit_;
  Param *logits_, *log_scales_;
  std::span<const real> original_;
  std::vector<real> levels_;
};

/// Windows of calibration text and the hidden states of the reference at the end of them.
struct Lesson {
  nn::Tokens tokens{};
  std::vector<real> hidden{};
  std::vector<std::int32_t> targets{};  ///< which positions count: all of them
};

std::vector<Lesson> lessons(const nn::Model& reference, std::span<const nn::Tokens> text,
                            Index windows) {
  std::vector<Lesson> all;
  Graph g;
  for (const nn::Tokens& part : in_pieces(text, windows)) {
    g.begin(Graph::Mode::inference);
    const std::span<const real> h = reference.hidden(g, part).value().flat();
    all.push_back({.tokens = part,
                   .hidden = {h.begin(), h.end()},
                   .targets = std::vector<std::int32_t>(part.ids.size(), 0)});
  }
  return all;
}

class Refiner {
 public:
  Refiner(const Refinement& work, const GsqOptions& options)
      : work_(work),
        options_(options),
        lessons_(lessons(work.reference, work.text, options.windows)),
        inputs_(work.model, work.targets, work.quantized) {
    for (std::size_t i = 0; i < work.targets.size(); ++i) {
      const Target& t = work.targets[i];
      NamedQTensor& tensor = work.quantized.tensors[i];
      const std::span<const real> original =
          work.reference.params().find(t.weight->name)->value.flat();
      Matrix& made = matrices_.emplace_back(tensor.q, original, tensor.name, store_);
      by_weight_[t.weight] = &made;
    }
    store_.allocate_values();
    store_.allocate_gradients();
    for (Matrix& m : matrices_) m.begin();
    attach();
  }

  void run() {
    const double before = loss_of_codes();
    check(std::isfinite(before), "gsq", "the quantized model's output is not finite");
    std::vector<Lion> of_logits, of_scales;
    for (Matrix& m : matrices_) {
      of_logits.emplace_back(m.logits());
      of_scales.emplace_back(m.log_scales());
    }
    learning_ = true;
    for (int step = 0; step < options_.steps; ++step) {
      const double done = static_cast<double>(step) / options_.steps;
      temperature_ = elementary::pow(options_.temperature, done);
      store_.zero_gradients();
      graph_.begin(Graph::Mode::training);
      const Var loss = loss_of(lessons_[static_cast<std::size_t>(step) % lessons_.size()]);
      graph_.backward(loss);
      const double rate = 0.55 + 0.45 * elementary::cos(std::numbers::pi * done);
      for (Lion& l : of_logits) l.step(rate * options_.lr);
      for (Lion& l : of_scales) l.step(rate * options_.scale_lr);
    }
    learning_ = false;
    std::vector<QTensor> first;
    for (Matrix& m : matrices_) {
      first.push_back(m.codes());
      m.codes() = m.settled();
    }
    put_codes();
    const double after = loss_of_codes();
    const bool better = after < before;
    if (!better) {
      for (std::size_t i = 0; i < matrices_.size(); ++i) matrices_[i].codes() = std::move(first[i]);
      put_codes();
    }
    work_.quantized.layers[0].measures.push_back({"kl_start", before});
    work_.quantized.layers[0].measures.push_back({"kl_end", better ? after : before});
    work_.quantized.layers[0].measures.push_back({"taken", better ? 1.0 : 0.0});
  }

 private:
  void attach() {
    weight_ = work_.model.hooks().weight_chain.attach(
        [this](Graph& g, Param& p, const auto& next) -> Var {
          const auto at = by_weight_.find(&p);
          if (!learning_ || at == by_weight_.end()) return next(g, p);
          return at->second->weights(g, temperature_);
        });
  }

  Var loss_of(const Lesson& lesson) {
    const Param& head = *work_.reference.head().weight;
    const Index C = work_.reference.head().in_features();
    const Index n = std::ssize(lesson.hidden) / C;
    const Teacher teacher{.x = {const_cast<real*>(lesson.hidden.data()), {n, C}},
                          .head = head.value};
    return work_.model.loss(graph_, {lesson.tokens, lesson.targets}, teacher);
  }

  /// Mean over the text, of the parameters as they are.
  double loss_of_codes() {
    double sum = 0, tokens = 0;
    for (const Lesson& lesson : lessons_) {
      graph_.begin(Graph::Mode::inference);
      const auto n = static_cast<double>(lesson.targets.size());
      sum += n * static_cast<double>(loss_of(lesson).item());
      tokens += n;
    }
    return sum / tokens;
  }

  void put_codes() {
    for (std::size_t i = 0; i < work_.targets.size(); ++i)
      dequantize(work_.quantized.tensors[i].q, work_.targets[i].weight->value.flat());
  }

  const Refinement& work_;
  const GsqOptions& options_;
  std::vector<Lesson> lessons_;
  ParamStore store_;
  std::deque<Matrix> matrices_;
  std::map<const Param*, Matrix*> by_weight_;
  ShippedInputs inputs_;
  Graph graph_;
  double temperature_ = 1;
  bool learning_ = false;
  nn::Attachment weight_;
};

constexpr LayerFigure kLayerFigures[] = {{"output_error", "output error of gptq", 6}};
constexpr RowFigure kRowFigures[] = {
    {"gsq_kl_start", "KL on calibration text, gptq", 5, false,
     [](std::span<const LayerReport> layers) { return total(layers, "kl_start"); }},
    {"gsq_kl_end", "refined", 5, false,
     [](std::span<const LayerReport> layers) { return total(layers, "kl_end"); }},
    {"gsq_taken", "learned codes taken, not gptq's kept, %", 0, true,
     [](std::span<const LayerReport> layers) { return total(layers, "taken"); }}};

}  // namespace

constinit const Method kGsq{
    .name = "gsq",
    .source = "IST Austria 2026",
    .needs = {.hessian = true},
    .round = round_by_gptq,
    .refine = [](const Refinement& work,
                 const PostTrainingOptions& options) { Refiner(work, options.gsq).run(); },
    .section = "gsq",
    .base_section = "gptq",
    .layer_figures = kLayerFigures,
    .row_figures = kRowFigures};

}  // namespace notch::quant
