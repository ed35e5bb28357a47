// Training through rounding: the model that is trained is the model that is shipped, bit for bit;
// the seam leaves no trace; steps, weights and distillation learn what they should.
#include "quant/train/qat.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "autograd/base/thread_pool.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace qat_test {

using namespace notch;
using namespace notch::quant;
using notch::test::any_model;
using notch::test::AnyModel;
using notch::test::copy;
using notch::test::copy_of;
using notch::test::error_of;
using notch::test::logits_of;
using notch::test::make_gpt;
using notch::test::make_mlp;
using notch::test::same_bits;
using notch::test::Text;
using notch::test::tiny_config;
using notch::test::train;
using notch::test::values_of;

const Spec kInt4{.bits = 4};

AnyModel tied_gpt() {
  return any_model([] { return make_gpt(); });
}
AnyModel untied_gpt() {
  return any_model([] {
    nn::GptConfig config = tiny_config();
    config.tie_embeddings = config.bias = false;
    return make_gpt(config);
  });
}
AnyModel mlp() {
  return any_model([] { return make_mlp(); });
}

/// A model with its targets and the quantizer attached.
struct Quantizing {
  AnyModel model{};
  std::vector<Target> targets{};
  std::unique_ptr<FakeQuantizer> quantizer{};
};

Quantizing attach(AnyModel model, Training training, const Spec& spec,
                  const QatOptions& options = {}) {
  Quantizing q{.model = std::move(model)};
  // The table in other integers than the matrices; the position table too, where there is one.
  Plan plan{.weights = spec, .table = Spec{.bits = 6, .scale = ScaleType::f16}};
  if (q.model.get().embeddings().size() > 1) plan.rules.push_back({"wpe", Spec{.bits = 8}});
  q.targets = resolve(plan, q.model.get());
  q.quantizer = std::make_unique<FakeQuantizer>(q.model.get(), training, q.targets, options);
  return q;
}

Quantizing attach(AnyModel model, Training training) {
  return attach(std::move(model), training, kInt4);
}

/// The forward through the hook against plain weights from the integers, to the last bit.
void check_parity(const Quantizing& q, std::string_view when) {
  INFO(when);
  const Text text(7);
  const std::vector<real> before = values_of(q.model.params());
  const Quantized integers = q.quantizer->convert();
  CHECK(same_bits(values_of(q.model.params()), before));  // the model is left as it is
  REQUIRE(integers.tensors.size() == q.targets.size());
  const AnyModel shipped = copy_of(q.model);
  test::put_dequantized(integers, shipped.params());
  for (const auto mode : {Graph::Mode::training, Graph::Mode::inference}) {
    const std::vector<real> seen = logits_of(q.model.get(), text, mode);
    CHECK(same_bits(seen, logits_of(shipped.get(), text, mode)));
    CHECK_FALSE(same_bits(seen, logits_of(copy_of(q.model).get(), text, mode)));
  }
}

void check_parity_through_training(AnyModel model, Training training, const Spec& spec) {
  INFO((training == Training::ste ? "ste " : "lsq ") << name_of(spec));
  Quantizing q = attach(std::move(model), training, spec);
  check_parity(q, "before training");
  const Quantized start = q.quantizer->convert();
  train(q.model.get(), &q.quantizer->params(), Text(3), 30);
  check_parity(q, "after training");
  const Quantized end = q.quantizer->convert();
  for (std::size_t i = 0; i < start.tensors.size(); ++i) {
    INFO(start.tensors[i].name);
    CHECK(start.tensors[i].q.codes != end.tensors[i].q.codes);
  }
}

std::vector<Spec> specs() {
  return {kInt4,
          {.bits = 2, .grid = GridKind::full, .granularity = Granularity::tensor},
          {.bits = 3, .granularity = Granularity::group, .group_size = 4, .scale = ScaleType::f16},
          {.bits = 8, .grid = GridKind::full, .scale = ScaleType::bf16},
          {.bits = 2, .grid = GridKind::ternary},
          {.bits = 2, .grid = GridKind::seq, .scale = ScaleType::f16},
          {.bits = 1, .grid = GridKind::seq},
          {.bits = 4,
           .grid = GridKind::nf4,
           .granularity = Granularity::group,
           .group_size = 4,
           .scale = ScaleType::bf16},
          {.bits = 4, .grid = GridKind::signed_max, .scale = ScaleType::f16},
          {.bits = 4,
           .grid = GridKind::asymmetric,
           .granularity = Granularity::group,
           .group_size = 4,
           .scale = ScaleType::f16_7}};
}

TEST_CASE("a model in training computes with the weights convert() ships") {
  for (const Training training : {Training::ste, Training::lsq}) {
    for (const Spec& spec : specs()) {
      check_parity_through_training(tied_gpt(), training, spec);
      check_parity_through_training(untied_gpt(), training, spec);
      check_parity_through_training(mlp(), training, spec);
    }
  }
}

TEST_CASE("integers are of the weights that later links hand to rounding") {
  for (const Training training : {Training::ste, Training::lsq}) {
    Quantizing q = attach(untied_gpt(), training);
    const nn::Attachment halves =
        q.model.get().hooks().weight_chain.attach([&](Graph& g, Param& p, const auto& next) -> Var {
          const Var w = next(g, p);
          const bool ours = std::ranges::find(q.targets, &p, &Target::weight) != q.targets.end();
          return ours ? scale(w, real{0.5}) : w;
        });
    check_parity(q, "half the parameters");
    QatOptions dampens;
    dampens.dampen = 1;
    Quantizing other = attach(mlp(), training, kInt4, dampens);
    const nn::Attachment same = other.model.get().hooks().weight_chain.attach(
        [](Graph& g, Param& p, const auto& next) -> Var { return next(g, p); });
    CHECK(test::error_of([&] { other.quantizer->before_update(0.5); }).fault == Fault::usage);
  }
}

TEST_CASE("detaching gives the floating-point model back") {
  const Text text(1);
  for (const Training training : {Training::ste, Training::lsq}) {
    for (AnyModel model : {tied_gpt(), mlp()}) {
      const auto before = logits_of(model.get(), text);
      const auto values = values_of(model.params());
      Quantizing q = attach(model, training);
      CHECK_FALSE(same_bits(logits_of(model.get(), text), before));
      q.quantizer.reset();
      CHECK(model.get().hooks().weight_chain.empty());
      CHECK(same_bits(values_of(model.params()), values));
      CHECK(same_bits(logits_of(model.get(), text), before));
    }
  }
}

TEST_CASE("a tied table is rounded once a step for lookup and head") {
  for (const Training training : {Training::ste, Training::lsq}) {
    const Quantizing q = attach(tied_gpt(), training);
    Graph g;
    g.begin(Graph::Mode::training);
    q.model.get().logits(g, Text(1).tokens());
    const Param* table = q.model.get().head().weight;
    std::vector<std::uint32_t> rounded;
    std::size_t roundings = 0;
    for (std::uint32_t id = 0; id < g.nodes().size(); ++id) {
      const Node& n = g.nodes()[id];
      if (!n.op || !n.op->name.starts_with("fake_quant")) continue;
      ++roundings;
      if (g.nodes()[g.inputs(n)[0]].param == table) rounded.push_back(id);
    }
    CHECK(roundings == q.targets.size());
    REQUIRE(rounded.size() == 1);
    std::multiset<std::string_view> readers;
    for (const Node& n : g.nodes()) {
      if (n.op && std::ranges::count(g.inputs(n), rounded[0])) readers.insert(n.op->name);
    }
    CHECK(readers == std::multiset<std::string_view>{"embedding", "linear"});
  }
}

TEST_CASE("gradients reach all steps and weights, training moves steps") {
  for (AnyModel model : {tied_gpt(), untied_gpt(), mlp()}) {
    Quantizing q = attach(model, Training::lsq);
    ParamStore& steps = q.quantizer->params();
    REQUIRE(steps.params().size() == q.targets.size());
    const std::vector<real> before = values_of(steps);
    train(model.get(), &steps, Text(2), 1, 0);  // no step: gradients of the start
    for (std::size_t i = 0; i < q.targets.size(); ++i) {
      const Param& step = steps.params()[i];
      const Param& weight = *q.targets[i].weight;
      INFO(step.name);
      CHECK(step.name == weight.name + ".log_scale");
      CHECK(step.value.shape == Shape{weight.value.rows()});
      CHECK(std::ranges::any_of(step.grad.flat(), [](real d) { return d != 0; }));
      CHECK(std::ranges::any_of(weight.grad.flat(), [](real d) { return d != 0; }));
    }
    CHECK(same_bits(values_of(steps), before));
    train(model.get(), &steps, Text(2), 5);
    const std::vector<real> after = values_of(steps);
    double largest = 0;
    std::size_t moved = 0;
    for (std::size_t i = 0; i < after.size(); ++i) {
      moved += after[i] != before[i];
      largest = std::max(largest, std::abs(static_cast<double>(after[i] - before[i])));
    }
    CHECK(moved > after.size() / 2);
    CHECK(largest > 0.01);  // a percent: it is log s that has the learning rate
    CHECK(largest < 1);
  }
}

TEST_CASE("STE learns no steps, its fixed anchors restore a checkpoint") {
  Quantizing q = attach(tied_gpt(), Training::ste, {.bits = 3});
  CHECK(q.quantizer->params().params().empty());
  const auto anchors_of = [](const Quantizing& of) {
    std::vector<nn::NamedValues> all = of.quantizer->state();
    std::erase_if(all, [](const auto& v) { return !v.name.ends_with(".anchor"); });
    return all;
  };
  auto fixed = anchors_of(q);
  REQUIRE(fixed.size() == q.targets.size());
  std::vector<std::vector<real>> before;
  for (const auto& f : fixed) before.push_back(copy(f.values));
  CHECK(fixed[0].name == "h.0.attn.c_attn.weight.anchor");
  CHECK(fixed[0].values.size() == 4 * 36);  // scale, zero point and extremes of a row
  train(q.model.get(), nullptr, Text(4), 20, 1e-2);
  for (std::size_t i = 0; i < fixed.size(); ++i) CHECK(same_bits(fixed[i].values, before[i]));

  // Attached again, ranges are searched on the trained weights: others, until restored.
  Quantizing resumed = attach(copy_of(q.model), Training::ste, {.bits = 3});
  const Text text(5);
  CHECK_FALSE(same_bits(logits_of(resumed.model.get(), text), logits_of(q.model.get(), text)));
  auto restored = anchors_of(resumed);
  for (std::size_t i = 0; i < fixed.size(); ++i) {
    std::ranges::copy(fixed[i].values, restored[i].values.begin());
  }
  CHECK(same_bits(logits_of(resumed.model.get(), text), logits_of(q.model.get(), text)));
  CHECK(anchors_of(attach(tied_gpt(), Training::lsq)).empty());
}

/// Trains with the quantizer's two calls around each update; plain steps against the gradient.
void train_watched(const Quantizing& q, int steps, double lr) {
  ParamStore& params = q.model.params();
  params.allocate_gradients();
  q.quantizer->params().allocate_gradients();
  Graph g;
  const Text text(6);
  for (int step = 0; step < steps; ++step) {
    params.zero_gradients();
    q.quantizer->params().zero_gradients();
    g.begin(Graph::Mode::training, static_cast<std::uint64_t>(step));
    g.backward(q.model.get().loss(g, text.batch(), std::nullopt));
    q.quantizer->before_update(double(step) / steps);
    for (Param& p : params.params()) {
      for (std::size_t i = 0; i < p.value.flat().size(); ++i) {
        p.value.data[i] -= static_cast<real>(lr) * p.grad.data[i];
      }
    }
    q.quantizer->after_update({});
  }
}

TEST_CASE("oscillating weights are frozen, and shipped at their codes") {
  for (const Training training : {Training::ste, Training::lsq}) {
    Quantizing held = attach(tied_gpt(), training, {.bits = 2}, {.freeze = 0.02});
    train_watched(held, 80, 1.0);
    CHECK(held.quantizer->frozen_share() > 0.005);
    check_parity(held, "held");
  }
}

TEST_CASE("dampening leaves weights nearer to their codes") {
  const auto distance = [](double dampen) {
    Quantizing q = attach(tied_gpt(), Training::lsq, {.bits = 3}, {.dampen = dampen});
    train_watched(q, 60, 0.1);
    double error = 0;
    for (const LayerReport& layer : q.quantizer->convert().layers) error += layer.weight_error;
    return error;
  };
  CHECK(distance(1) < 0.7 * distance(0));
}

TEST_CASE("the first learned steps are those of the chosen range rule") {
  for (const auto& [init, rule] : {std::pair{LsqInit::mse, RangeRule::mse},
                                   {LsqInit::absmax, RangeRule::absmax},
                                   {LsqInit::paper, RangeRule::lsq_paper}}) {
    const Quantizing q = attach(tied_gpt(), Training::lsq, kInt4, {.lsq_init = init});
    for (std::size_t i = 0; i < q.targets.size(); ++i) {
      const Target& t = q.targets[i];
      const Tensor& w = t.weight->value;
      const Ranges ranges = choose_scales(w.flat(), w.rows(), w.cols(), t.spec, rule, t.name);
      const Param* logs = q.quantizer->params().find(t.weight->name + ".log_scale");
      for (std::size_t u = 0; u < ranges.at.scales.size(); ++u) {
        CHECK(logs->value.data[u] == 0);
        CHECK(q.quantizer->scales(i).scales[u] == ranges.at.scales[u]);
      }
    }
  }
}

TEST_CASE("reports of convert() say how much moved and how far") {
  const Quantizing q = attach(mlp(), Training::ste);
  const Quantized integers = q.quantizer->convert();
  for (std::size_t i = 0; i < q.targets.size(); ++i) {
    const Tensor& w = q.targets[i].weight->value;
    const std::vector<real> rounded = dequantize(integers.tensors[i].q);
    double error = 0, power = 0;
    for (std::size_t j = 0; j < rounded.size(); ++j) {
      error += std::pow(static_cast<double>(w.data[j]) - static_cast<double>(rounded[j]), 2);
      power += std::pow(static_cast<double>(w.data[j]), 2);
    }
    CHECK(integers.layers[i].name == q.targets[i].name);
    CHECK(integers.layers[i].spec == q.targets[i].spec);
    CHECK(integers.layers[i].weight_error == Approx(error / power));
    CHECK(integers.layers[i].moved > 0.9);
    CHECK(integers.layers[i].moved <= 1);
  }
  CHECK(require_activity(integers, "t") > 0.9);
}

/// The model's last hidden states and head: what a teacher hands over.
struct Taught {
  std::vector<real> hidden{}, head{};
  Teacher teacher{};
};
std::unique_ptr<Taught> teach(const AnyModel& model, const Text& text, double tau) {
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var x = model.get().hidden(g, text.tokens());
  const Tensor& head = model.get().head().weight->value;
  auto t = std::make_unique<Taught>(Taught{copy(x.value().flat()), copy(head.flat())});
  t->teacher = {{t->hidden.data(), x.shape()}, {t->head.data(), head.shape}, tau, 1};
  return t;
}

double gradient_norm(const AnyModel& model) {
  double sum = 0;
  for (const Param& p : model.params().params()) {
    for (const real d : p.grad.flat()) sum += static_cast<double>(d) * static_cast<double>(d);
  }
  return std::sqrt(sum);
}

TEST_CASE("a student equal to its teacher learns only from rounding") {
  const Text text(6);
  for (const AnyModel& model : {tied_gpt(), mlp()}) {
    const auto taught = teach(model, text, 2);
    CHECK(train(model.get(), nullptr, text, 1, 0, taught->teacher)[0] == Approx(0).margin(1e-6));
    CHECK(gradient_norm(model) < 1e-6);
    train(model.get(), nullptr, text, 1, 0);  // cross-entropy, for the scale of gradients
    CHECK(gradient_norm(model) > 0.1);

    for (const Training training : {Training::ste, Training::lsq}) {
      const Quantizing q = attach(copy_of(model), training, {.bits = 3});
      const auto losses =
          train(q.model.get(), &q.quantizer->params(), text, 60, 1e-3, taught->teacher);
      CHECK(losses.front() > 1e-3);
      CHECK(losses.back() < losses.front() / 2);
    }
  }
}

TEST_CASE("one batch is memorised through four bits with learned steps") {
  for (const AnyModel& model : {tied_gpt(), untied_gpt(), mlp()}) {
    Text text(8, 2);
    // The Mlp sees one token: only a rule that never changes can be memorised.
    for (std::size_t i = 0; i < text.ids.size(); ++i) text.targets[i] = (3 * text.ids[i] + 1) % 11;
    const Quantizing q = attach(model, Training::lsq);
    const auto losses = train(q.model.get(), &q.quantizer->params(), text, 150, 1e-2);
    CHECK(losses.front() > 1.5);
    CHECK(losses.back() < 0.1);
    check_parity(q, "after memorising");
  }
}

TEST_CASE("training through rounding has the same bits with any threads") {
  const int before = threads();
  for (const Training training : {Training::ste, Training::lsq}) {
    std::vector<real> reference;
    for (const int n : {1, 2, 3, 7}) {
      set_threads(n);
      const Quantizing q = attach(tied_gpt(), training);
      train(q.model.get(), &q.quantizer->params(), Text(9), 10);
      const std::vector<real> values = values_of(q.model.params());
      if (reference.empty()) reference = values;
      CHECK(same_bits(values, reference));
    }
  }
  set_threads(before);
}

TEST_CASE("what cannot be trained is refused on attaching the quantizer") {
  AnyModel model = tied_gpt();
  const ErrorParts e = error_of([&] {
    const Plan plan{.weights = {.bits = 4, .grid = GridKind::asymmetric}};
    FakeQuantizer(model.get(), Training::lsq, resolve(plan, model.get()),
                  {.lsq_init = LsqInit::paper});
  });
  CHECK(e.fault == Fault::usage);
  CHECK(e.where == "h.0.attn.c_attn");
  CHECK(error_of([&] { attach(model, Training::none); }).where == "qat");
  CHECK(error_of([&] { FakeQuantizer(model.get(), Training::ste, {}, {}); }).where == "qat");
  CHECK(model.get().hooks().weight_chain.empty());
}

}  // namespace qat_test
