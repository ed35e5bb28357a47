// Post-training methods: each statistic comes from the model as it will be when the layer runs, and
// the codes are those of the quantizer applied by hand.
#include "quant/methods/methods.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "autograd/base/thread_pool.h"
#include "quant/methods/gptaq.h"
#include "quant/methods/tied_table.h"
#include "quant/ops/input_ops.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace methods_test {

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
using notch::test::values_of;

const Spec kInt3{.bits = 3};
const Plan kPlan{.weights = kInt3, .table = Spec{.bits = 4}};

AnyModel gpt(bool tied = true, bool large = false) {
  return any_model([=] {
    nn::GptConfig config = tiny_config();
    config.tie_embeddings = tied;
    if (large) config.n_layer = 3, config.n_embd = 24, config.bias = false;
    return make_gpt(config);
  });
}
AnyModel mlp(bool large = false) {
  return any_model([=] {
    return make_mlp({.vocab_size = 11,
                     .channels = large ? 24 : 12,
                     .hidden = large ? 40 : 20,
                     .layers = large ? 3 : 2});
  });
}
std::vector<AnyModel> models() { return {gpt(), gpt(true, true), gpt(false), mlp(), mlp(true)}; }

/// Calibration text of three batches, and its views.
struct Calibration {
  std::vector<Text> texts{};
  std::vector<nn::Tokens> tokens{};
  explicit Calibration(std::uint64_t seed = 20) {
    for (std::uint64_t i = 0; i < 3; ++i) texts.emplace_back(seed + i, 8);
    for (const Text& t : texts) tokens.push_back(t.tokens());
  }
};

Quantized run(AnyModel& model, std::string_view name, const Plan& plan = kPlan,
              const PostTrainingOptions& options = {}) {
  const Calibration calibration;
  const std::vector<Target> targets = resolve(plan, model.get());
  return post_training(model.get(), method(name), targets, calibration.tokens, options);
}

bool equal(const Quantized& a, const Quantized& b) {
  return std::ranges::equal(a.tensors, b.tensors, [](const NamedQTensor& x, const NamedQTensor& y) {
    return x.name == y.name && x.q == y.q;
  });
}

QTensor nearest(const Param& p, const Spec& spec, RangeRule rule) {
  const Tensor& w = p.value;
  return quantize(w.flat(), w.rows(), w.cols(), spec,
                  choose_scales(w.flat(), w.rows(), w.cols(), spec, rule, "t").at, "t");
}

/// What reaches `layer` when `model` reads the calibration text, batch by batch.
std::vector<std::vector<real>> inputs_of(const AnyModel& model, std::string_view layer) {
  const nn::Linear* head = &model.get().head();
  const auto linears = model.get().linears();
  const auto found = std::ranges::find(linears, layer, [](const nn::Linear* l) { return l->name; });
  const nn::Linear* wanted = found == linears.end() ? head : *found;
  std::vector<std::vector<real>> inputs;
  const nn::Attachment observer = model.get().hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
        if (&linear == wanted) inputs.push_back(copy(x.value().flat()));
        return next(g, linear, x);
      });
  for (const Text& text : Calibration().texts) logits_of(model.get(), text);
  return inputs;
}

TEST_CASE("round-to-nearest methods quantize every matrix alone") {
  for (AnyModel& model : models()) {
    for (const auto& [name, rule] : {std::pair{"rtn", RangeRule::absmax},
                                     {"rtn-mse", RangeRule::mse},
                                     {"rtn-percentile", RangeRule::percentile},
                                     {"rtn-entropy", RangeRule::entropy}}) {
      AnyModel work = copy_of(model);
      const Quantized q = run(work, name);
      const std::vector<Target> targets = resolve(kPlan, model.get());
      REQUIRE(q.tensors.size() == targets.size());
      AnyModel expected = copy_of(model);
      for (std::size_t i = 0; i < targets.size(); ++i) {
        CHECK(q.tensors[i].name == targets[i].weight->name);
        CHECK(q.layers[i].name == targets[i].name);
        CHECK(q.tensors[i].q == nearest(*targets[i].weight, targets[i].spec, rule));
        CHECK(q.layers[i].measures.empty());
      }
      test::put_dequantized(q, expected.params());
      CHECK(same_bits(values_of(work.params()), values_of(expected.params())));
    }
  }
}

/// Every layer's codes from GPTQ by hand. The layer sees `before`: the model in which the layers
/// that were done earlier have their rounded weights, and tables their round-to-nearest ones.
void check_codes_by_hand(const AnyModel& original, const Plan& plan,
                         const PostTrainingOptions& options, std::string_view name = "gptq") {
  AnyModel work = copy_of(original), before = copy_of(original);
  const Quantized q = run(work, name, plan, options);
  const std::vector<Target> targets = resolve(plan, before.get());
  std::set<const Param*> tables;
  for (const nn::Embedding* e : before.get().embeddings()) tables.insert(e->weight);
  std::map<const Param*, std::vector<real>> table_values;
  // Attached first, so that what looks at inputs later sees them rounded: by each token's own range.
  const nn::Attachment rounding = before.get().hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
        const auto at = std::ranges::find(targets, &linear, &Target::linear);
        const bool rounds = at != targets.end() && at->input;
        return next(g, linear, rounds ? quantize_input(x, {.input = *at->input}) : x);
      });
  const Calibration calibration;
  const Hessian lookups = lookup_moment(before.get(), calibration.tokens);
  for (const Target& t : targets) {
    if (!tables.contains(t.weight)) continue;
    table_values[t.weight] = copy(t.weight->value.flat());
    dequantize(nearest(*t.weight, t.spec, options.gptq.range()), t.weight->value.flat());
  }
  const auto check_target = [&](const Target& t) {
    INFO(t.name << (options.gptq.true_sequential ? " true-sequential" : " block-sequential"));
    const auto at = std::ranges::find(q.tensors, t.weight->name, &NamedQTensor::name);
    REQUIRE(at != q.tensors.end());
    std::vector<real> w =
        tables.contains(t.weight) ? table_values.at(t.weight) : copy(t.weight->value.flat());
    const std::int64_t rows = t.weight->value.rows(), cols = t.weight->value.cols();
    const auto inputs = inputs_of(before, t.linear->name);
    const auto reference = inputs_of(original, t.linear->name);
    const bool drifts = name == "gptaq" && !tables.contains(t.weight);  // not of a tied table
    Hessian H(cols);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (drifts) {
        H.accumulate(inputs[i], reference[i]);
      } else {
        H.accumulate(inputs[i]);
      }
    }
    if (tables.contains(t.weight)) H.add(lookups);
    if (drifts) {
      const ColumnOrder order = gptq_order(H.matrix(), cols, t.spec, options.gptq, t.name);
      w = asymmetric_target(w, rows, damped_cholesky(H.matrix(), order, options.gptq.damp, t.name),
                            H.drift(), options.gptq.asymmetric, t.name);
    }
    const GptqResult expected = gptq(w, rows, cols, t.spec, H.matrix(), options.gptq, t.name);
    CHECK(at->q == expected.q);
    const LayerReport& report = q.layers[static_cast<std::size_t>(at - q.tensors.begin())];
    CHECK(measure(report, "output_error") == expected.report.error);
    CHECK(measure(report, "damp") == options.gptq.damp);
  };
  const auto apply = [&](const Target& t) {
    const auto at = std::ranges::find(q.tensors, t.weight->name, &NamedQTensor::name);
    dequantize(at->q, t.weight->value.flat());
  };
  for (const nn::Stage& stage : before.get().stages()) {
    std::vector<const Target*> group;
    for (const Target& t : targets) {
      if (std::ranges::count(stage.linears(), t.linear)) group.push_back(&t);
    }
    for (const Target* t : group) {
      check_target(*t);
      if (options.gptq.true_sequential) apply(*t);
    }
    for (const Target* t : group) apply(*t);
  }
  for (const Target& t : targets) {
    if (t.linear == &before.get().head()) check_target(t);
    if (t.linear) continue;  // tables that are only looked up: to nearest, on their own values
    std::ranges::copy(table_values.at(t.weight), t.weight->value.data);
    const auto at = std::ranges::find(q.tensors, t.weight->name, &NamedQTensor::name);
    CHECK(at->q == nearest(*t.weight, t.spec, options.gptq.range()));
  }
}

TEST_CASE("GPTQ's statistics come from quantized predecessors") {
  for (const AnyModel& model : models()) {
    for (const bool true_sequential : {false, true}) {
      check_codes_by_hand(model, kPlan, {.gptq = {.true_sequential = true_sequential}});
    }
  }
}

TEST_CASE("with rounded inputs every statistic is that of the rounded ones") {
  // A tied table's codes also follow what lookups weigh, which is found on a pass of its own.
  Plan plan = kPlan;
  plan.activations = ActivationSpec{.bits = 3};
  for (const bool tied : {true, false}) check_codes_by_hand(gpt(tied), plan, {});
}

TEST_CASE("GPTAQ's target knows what a layer got before any rounding") {
  for (const AnyModel& model : models()) {
    for (const bool true_sequential : {false, true}) {
      check_codes_by_hand(model, kPlan, {.gptq = {.true_sequential = true_sequential}}, "gptaq");
    }
  }
  check_codes_by_hand(gpt(), kPlan, {.gptq = {.asymmetric = 1}}, "gptaq");
  // The target's factor is also that of the sweep, whose order it has here.
  check_codes_by_hand(gpt(), kPlan, {.gptq = {.act_order = false}}, "gptaq");
}

TEST_CASE("without a share of the drift, or before any, GPTAQ is GPTQ") {
  AnyModel plain = gpt(), none = gpt(), all = gpt();
  const Plan blocks{.weights = kInt3};  // the tables stay, so the first block sees its own inputs
  const Quantized q = run(plain, "gptq", blocks), full = run(all, "gptaq", blocks);
  CHECK(equal(q, run(none, "gptaq", blocks, {.gptq = {.asymmetric = 0}})));
  CHECK(q.tensors[0].q == full.tensors[0].q);
  CHECK_FALSE(equal(q, full));
}

TEST_CASE("GPTQ's order holds with groups and a model partly in fp32") {
  Plan plan{.weights = {.bits = 4, .granularity = Granularity::group, .group_size = 4},
            .table = Spec{.bits = 4, .grid = GridKind::asymmetric, .scale = ScaleType::f16},
            .rules = {{"wpe", Spec{.bits = 2}}, {"h.0.attn.c_proj", {}}, {"h.1.mlp.*", {}}}};
  for (const Clip clip : {Clip::mse, Clip::absmax}) {
    for (const bool tied : {true, false}) {
      check_codes_by_hand(gpt(tied), plan, {.gptq = {.act_order = true, .clip = clip}});
    }
  }
}

TEST_CASE("a looked-up table is rounded from its own values") {
  const Spec spec{.bits = 3, .grid = GridKind::full};
  for (const bool tied : {true, false}) {
    AnyModel model = gpt(tied);
    const Plan plan{.weights = kInt3, .rules = {{"wpe", spec}}};
    const Quantized q = run(model, "gptq", plan);
    CHECK(q.layers.back().name == "wpe");
    CHECK(q.layers.back().moved > 0.9);
    const AnyModel original = gpt(tied);
    CHECK(q.tensors.back().q ==
          nearest(*original.params().find("wpe.weight"), spec, RangeRule::mse));
  }
}

TEST_CASE("layer by layer differs from block by block in later layers") {
  AnyModel block = gpt(), layer = gpt();
  const Quantized a = run(block, "gptq");
  const Quantized b = run(layer, "gptq", kPlan, {.gptq = {.true_sequential = true}});
  CHECK(a.tensors[0].q == b.tensors[0].q);
  CHECK_FALSE(a.tensors[1].q == b.tensors[1].q);
}

TEST_CASE("on return parameters are their codes, the rest untouched") {
  for (const AnyModel& model : models()) {
    for (const std::string_view name : {"rtn", "rtn-mse", "gptq", "gptaq"}) {
      AnyModel work = copy_of(model), expected = copy_of(model);
      const Quantized q = run(work, name);
      test::put_dequantized(q, expected.params());
      CHECK(same_bits(values_of(work.params()), values_of(expected.params())));
      CHECK(work.get().hooks().linear_chain.empty());
    }
  }
  AnyModel head_in_fp32 = gpt(), expected = gpt();
  test::put_dequantized(run(head_in_fp32, "gptq", {.weights = kInt3}), expected.params());
  CHECK(same_bits(values_of(head_in_fp32.params()), values_of(expected.params())));
}

double squared_distance(const std::vector<real>& a, const std::vector<real>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  }
  return sum;
}

TEST_CASE("GPTQ's output errors are below round-to-nearest's") {
  for (const AnyModel& model : models()) {
    AnyModel rtn = copy_of(model), gptq = copy_of(model);
    run(rtn, "rtn-mse");
    const Quantized q = run(gptq, "gptq");
    double error = 0, rtn_error = 0;
    for (const LayerReport& layer : q.layers) {
      INFO(layer.name);
      if (layer.name == "wte" && !model.get().head_is_tied()) continue;  // looked up, no Hessian
      CHECK(measure(layer, "output_error") < measure(layer, "rtn_output_error"));
      error += measure(layer, "output_error");
      rtn_error += measure(layer, "rtn_output_error");
    }
    CHECK(error < 0.8 * rtn_error);
    const auto change = [&](const AnyModel& m, std::uint64_t seed) {
      double sum = 0;
      for (const Text& text : Calibration(seed).texts) {
        sum += squared_distance(logits_of(m.get(), text), logits_of(model.get(), text));
      }
      return sum;
    };
    CHECK(change(gptq, 20) < change(rtn, 20));    // the calibration text
    CHECK(change(gptq, 500) < change(rtn, 500));  // other text of the same source
  }
}

TEST_CASE("reports of a method say what share moved and by how much") {
  AnyModel model = gpt(), before = gpt();
  const Quantized q = run(model, "gptq");
  double moved = 0, all = 0;
  for (std::size_t i = 0; i < q.tensors.size(); ++i) {
    const auto w = before.params().find(q.tensors[i].name)->value.flat();
    const auto back = dequantize(q.tensors[i].q);
    double count = 0, power = 0;
    for (std::size_t j = 0; j < w.size(); ++j) {
      count += std::abs(w[j] - back[j]) > 1e-6f * std::abs(w[j]);
      power += std::pow(static_cast<double>(w[j]), 2);
    }
    CHECK(q.layers[i].moved == Approx(count / static_cast<double>(w.size())));
    CHECK(q.layers[i].weight_error ==
          Approx(squared_distance(copy(w), back) / power).epsilon(1e-6));
    moved += count;
    all += static_cast<double>(w.size());
  }
  CHECK(require_activity(q, "t") == Approx(moved / all));
}

TEST_CASE("quantizing a quantized model moves nothing and is an error") {
  for (const std::string_view name : {"rtn", "rtn-mse", "gptq"}) {
    AnyModel model = gpt();
    CHECK(require_activity(run(model, "rtn-mse"), "t") > 0.9);
    const Quantized again = run(model, name);
    const ErrorParts e = error_of([&] { require_activity(again, "there"); });
    CHECK(e.fault == Fault::numeric);
    CHECK(e.where == "there");
  }
  CHECK(error_of([] { require_activity({}, "t"); }).fault == Fault::numeric);
}

TEST_CASE("the number of threads changes no code, scale or report") {
  const int before = threads();
  for (const bool true_sequential : {false, true}) {
    std::optional<Quantized> reference;
    std::vector<real> values;
    for (const int n : {1, 2, 3, 7}) {
      set_threads(n);
      AnyModel model = gpt(true, true);
      const Quantized q = run(model, "gptq", kPlan, {.gptq = {.true_sequential = true_sequential}});
      if (!reference) {
        reference = q;
        values = values_of(model.params());
      }
      CHECK(equal(q, *reference));
      CHECK(same_bits(values_of(model.params()), values));
      for (std::size_t i = 0; i < q.layers.size(); ++i) {
        CHECK(measure(q.layers[i], "output_error") ==
              measure(reference->layers[i], "output_error"));
        CHECK(q.layers[i].weight_error == reference->layers[i].weight_error);
      }
    }
  }
  set_threads(before);
}

TEST_CASE("methods that only train or lack calibration text are refused") {
  AnyModel model = gpt();
  const auto values = values_of(model.params());
  const std::vector<Target> targets = resolve(kPlan, model.get());
  const auto refused = [&](std::string_view name) {
    return error_of([&] { post_training(model.get(), method(name), targets, {}, {}); });
  };
  for (const std::string_view name : {"gptq", "gptaq", "qat-ste", "qat-lsq-kd"}) {
    CHECK(refused(name).fault == Fault::usage);
    CHECK(refused(name).where == name);
  }
  CHECK(same_bits(values_of(model.params()), values));
  CHECK(post_training(model.get(), method("rtn"), targets, {}, {}).tensors.size() == 9);
}

TEST_CASE("methods have unique names and either round or train") {
  std::set<std::string> names;
  for (const Method* m : methods()) {
    INFO(m->name);
    CHECK(names.insert(std::string(m->name)).second);
    CHECK(&method(m->name) == m);
    CHECK((m->round != nullptr) == !m->trains());
    CHECK((m->family == Family::trained) == m->trains());
    CHECK((!m->distills || m->trains()));
    CHECK((!m->needs.drift || m->needs.hessian));
    CHECK_FALSE(m->source.empty());
  }
  const ErrorParts e = error_of([] { method("gtpq"); });
  CHECK(e.fault == Fault::usage);
  CHECK(e.field == "gtpq");
  CHECK(e.hint.find("\"gptq\"") != std::string::npos);
  // Of weights a moving average has no meaning, and that is what the refusal says.
  CHECK(error_of([] { method("rtn-moving-average"); }).hint.find("batches") != std::string::npos);
}

}  // namespace methods_test
