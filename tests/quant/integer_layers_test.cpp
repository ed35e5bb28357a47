// Train/deploy parity on integers: with quantized activations a model in training, the model it is
// converted to, and the file read back compute the same logits, bit for bit, at any number of
// threads.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <thread>

#include "autograd/base/thread_pool.h"
#include "quant/methods/calibration.h"
#include "quant/serve/served_layers.h"
#include "quant/store/model_files.h"
#include "quant/train/qat.h"
#include "quant/train/trained_inputs.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace integer_layers_test {

using namespace notch;
using namespace notch::quant;
using notch::test::any_model;
using notch::test::AnyModel;
using notch::test::copy_of;
using notch::test::error_of;
using notch::test::logits_of;
using notch::test::make_gpt;
using notch::test::make_mlp;
using notch::test::same_bits;
using notch::test::TemporaryDirectory;
using notch::test::Text;
using notch::test::tiny_config;
using notch::test::train;

constexpr ActivationSpec kDynamic{};
constexpr ActivationSpec kStatic{.range = ActivationRange::fixed};

/// W·A on a GPT: rows of blocks as `weights`, the table at 8 bits.
Plan plan_of(const Spec& weights, const ActivationSpec& activations) {
  return {.weights = weights,
          .table = Spec{.bits = 8},
          .activations = activations,
          .asymmetric = {"*.mlp.c_proj"}};
}

std::vector<Spec> weight_specs() {
  std::vector<Spec> all;
  for (const int bits : {8, 6, 4}) {
    all.push_back({.bits = bits});
    all.push_back({.bits = bits, .granularity = Granularity::group, .group_size = 4});
    all.push_back({.bits = bits, .grid = GridKind::asymmetric});  // zero points: sums of codes
    all.push_back({.bits = bits,
                   .grid = GridKind::asymmetric,
                   .granularity = Granularity::group,
                   .group_size = 4});
  }
  all.push_back({.bits = 4, .grid = GridKind::signed_max});
  all.push_back({.bits = 2, .grid = GridKind::seq});
  return all;
}

std::vector<real> shipped_logits(const AnyModel& trained, const Quantized& quantized,
                                 const Text& text) {
  const AnyModel plain = copy_of(trained);
  // What is not quantized comes from the copy; integers answer for the rest.
  for (const NamedQTensor& t : quantized.tensors) {
    Param& p = *plain.params().find(t.name);
    if (t.input) {
      std::ranges::fill(p.value.flat(), std::nanf(""));
    } else {
      dequantize(t.q, p.value.flat());
    }
  }
  nn::Model& view = plain.get();
  const ServedLayers layers(view, quantized.tensors);
  return logits_of(view, text);
}

TEST_CASE("W8A8, W6A8 and W4A8 logits are equal trained and reloaded") {
  const int before = threads();
  for (const Spec& weights : weight_specs()) {
    for (const ActivationSpec& activations : {kDynamic, kStatic}) {
      for (const Training training : {Training::ste, Training::lsq}) {
        INFO(name_of(weights) << ", " << name_of(activations)
                              << (training == Training::ste ? ", ste" : ", lsq"));
        AnyModel model{make_gpt()};
        std::vector<Target> targets = resolve(plan_of(weights, activations), model.get());
        const Text text(3), other(9);
        const std::vector<nn::Tokens> calibration{text.tokens()};
        calibrate(model.get(), targets, calibration);
        FakeQuantizer quantizer(model.get(), training, targets, {});
        train(model.get(), &quantizer.params(), text, 15);

        const std::vector<real> seen = logits_of(model.get(), other);
        const Quantized quantized = quantizer.convert();
        REQUIRE(same_bits(seen, shipped_logits(model, quantized, other)));
        CHECK_FALSE(same_bits(seen, logits_of(copy_of(model).get(), other)));

        const TemporaryDirectory dir;
        save_quantized(model.get(), quantized, dir.path());
        LoadedModel loaded = load_any(dir.path());
        nn::Model& view = *loaded.model;
        for (int n = 1; n <= 7; ++n) {
          set_threads(n);
          CHECK(same_bits(seen, logits_of(view, other)));
          CHECK(same_bits(seen, logits_of(model.get(), other)));
        }
        set_threads(before);
        // The loss inside training sees the same logits as the loaded model's.
        Graph g;
        g.begin(Graph::Mode::inference);
        const double loss = loaded.model->loss(g, other.batch()).item();
        g.begin(Graph::Mode::training);
        CHECK(model.get().loss(g, other.batch(), {}).item() == Approx(loss).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("integer layers keep no second copy of their weights") {
  auto gpt = make_gpt();
  nn::Model& view = *gpt;
  Plan plan = plan_of({.bits = 4}, kDynamic);
  plan.rules = {{.pattern = "h.1.*", .spec = Spec{.bits = 4}, .activation_bits = 0},
                {.pattern = "h.0.attn.c_proj", .spec = Spec{.bits = 4}, .activation_bits = 6}};
  const std::vector<Target> targets = resolve(plan, view);
  const Quantized quantized = post_training(view, method("rtn"), targets, {}, {});
  const TemporaryDirectory dir;
  save_quantized(*gpt, quantized, dir.path());
  const LoadedModel loaded = load_any(dir.path());
  const auto values = [&](const char* name) {
    return loaded.model->params().find(name)->value.data != nullptr;
  };
  CHECK_FALSE(values("wte.weight"));
  CHECK_FALSE(values("h.0.mlp.c_fc.weight"));
  CHECK(values("h.1.mlp.c_fc.weight"));  // multiplied in floating point
  CHECK(values("h.0.mlp.c_fc.bias"));
  const auto input = [&](const char* name) {
    return std::ranges::find(loaded.tensors, name, &NamedQTensor::name)->input;
  };
  CHECK(input("h.0.attn.c_proj.weight")->spec.bits == 6);
  CHECK_FALSE(input("h.0.mlp.c_proj.weight")->spec.symmetric);
  CHECK(input("h.0.mlp.c_fc.weight")->spec.symmetric);
  CHECK_FALSE(input("h.1.attn.c_attn.weight"));
  // Values exist where they are needed: the model runs.
  CHECK(std::ranges::all_of(logits_of(*loaded.model, Text(1)),
                            [](real v) { return std::isfinite(v); }));
}

TEST_CASE("static ranges take five counted bytes and come back exactly") {
  auto gpt = make_gpt();
  nn::Model& view = *gpt;
  const std::vector<Target> targets = resolve(plan_of({.bits = 4}, kStatic), view);
  const Text text(2);
  const std::vector<nn::Tokens> calibration{text.tokens()};
  const Quantized quantized = post_training(view, method("gptq"), targets, calibration, {});
  Quantized dynamic = quantized;
  for (NamedQTensor& t : dynamic.tensors) {
    if (t.input) t.input->spec.range = ActivationRange::dynamic;
  }
  const std::int64_t layers = 9;  // four per block and the head
  CHECK(predict_size(*gpt, quantized).bytes() == predict_size(*gpt, dynamic).bytes() + 5 * layers);
  const TemporaryDirectory dir;
  save_quantized(*gpt, quantized, dir.path());  // compares the prediction with the file
  const LoadedModel loaded = load_any(dir.path());
  for (const NamedQTensor& t : quantized.tensors) {
    if (!t.input) continue;
    INFO(t.name);
    const auto back = std::ranges::find(loaded.tensors, t.name, &NamedQTensor::name);
    REQUIRE(back->input);
    CHECK(back->input->spec == t.input->spec);
    CHECK(back->input->at.scale == t.input->at.scale);
    CHECK(back->input->at.zero_point == t.input->at.zero_point);
    CHECK(t.input->at.scale > 0);
  }
}

TEST_CASE("quantization_config activations must fit the tensors") {
  auto gpt = make_gpt();
  nn::Model& view = *gpt;
  Plan plan = plan_of({.bits = 8}, kDynamic);
  plan.rules = {{.pattern = "wpe", .spec = Spec{.bits = 8}}};
  const Quantized quantized = post_training(view, method("rtn"), resolve(plan, view), {}, {});
  const auto refused = [&](const std::function<void(Json&)>& change) {
    const TemporaryDirectory dir;
    save_quantized(*gpt, quantized, dir.path());
    Json config = nn::read_config_json(dir.path());
    Json quantization = *config.find("quantization_config");
    Json inputs = *quantization.find("activations");
    change(inputs);
    quantization.set("activations", inputs);
    config.set("quantization_config", quantization);
    write_file(dir.path() / nn::kConfigFile, config.dump());
    return error_of([&] { load_any(dir.path()); });
  };
  const Json spec = to_json(ActivationSpec{});
  CHECK(refused([&](Json& j) { j.set("h.0.ln_1.weight", spec); }).fault == Fault::input);
  CHECK(refused([&](Json& j) { j.set("wpe.weight", spec); }).field ==
        "quantization_config.activations.wpe.weight");
  CHECK(refused([&](Json& j) {
          j.set("wte.weight", to_json(ActivationSpec{.range = ActivationRange::fixed}));
        }).fault == Fault::input);  // no wte.weight.input_scale in the file
}

TEST_CASE("a static range without calibration is refused before attaching") {
  AnyModel model = any_model([] { return make_gpt(); });
  const std::vector<Target> targets = resolve(plan_of({.bits = 8}, kStatic), model.get());
  CHECK(error_of([&] { FakeQuantizer(model.get(), Training::ste, targets, {}); }).fault ==
        Fault::usage);
  CHECK(model.get().hooks().linear_chain.empty());
  CHECK(model.get().hooks().weight_chain.empty());
  CHECK(error_of([&] { post_training(model.get(), method("rtn"), targets, {}, {}); }).fault ==
        Fault::usage);
}

TEST_CASE("a plan's asymmetric pattern must match a layer with an input") {
  AnyModel model = any_model([] { return make_mlp(); });
  Plan plan{.weights = {.bits = 8}, .activations = kDynamic, .asymmetric = {"*.proj"}};
  std::vector<Target> targets = resolve(plan, model.get());
  const auto proj = std::ranges::find(targets, "h.0.proj", &Target::name);
  CHECK_FALSE(proj->input->spec.symmetric);
  CHECK(std::ranges::find(targets, "h.0.fc", &Target::name)->input->spec.symmetric);
  plan.asymmetric = {"*.mlp.c_proj"};
  CHECK(error_of([&] { resolve(plan, model.get()); }).field == "asymmetric[0]");
}

TEST_CASE("GPTQ's statistics are those of the rounded inputs") {
  // With 2-bit inputs of one stage, H is the second moment of at most 3 values per token: seen in
  // the codes, which differ from those of exact inputs.
  const Text text(5);
  const std::vector<nn::Tokens> calibration{text.tokens()};
  const auto codes_with = [&](std::optional<ActivationSpec> activations) {
    AnyModel model = any_model([] { return make_gpt(); });
    Plan plan{.weights = {.bits = 3}, .activations = activations};
    const std::vector<Target> targets = resolve(plan, model.get());
    return post_training(model.get(), method("gptq"), targets, calibration, {}).tensors[0].q.codes;
  };
  CHECK(codes_with(ActivationSpec{.bits = 2}) != codes_with({}));
  CHECK(codes_with(ActivationSpec{.bits = 2}) == codes_with(ActivationSpec{.bits = 2}));
}

TEST_CASE("PACT learns where ranges end with either weight training") {
  for (const Training training : {Training::ste, Training::lsq}) {
    AnyModel model = any_model([] { return make_gpt(); });
    std::vector<Target> targets = resolve(plan_of({.bits = 4}, kStatic), model.get());
    const Text text(3);
    calibrate(model.get(), targets, std::vector<nn::Tokens>{text.tokens()});
    // Ranges that clip: PACT learns nothing from one that does not.
    for (Target& t : targets) {
      if (t.input) t.input->at.scale *= real(0.5);
    }
    FakeQuantizer quantizer(model.get(), training, targets, {.inputs = InputLearning::pact});
    const auto of = [&](std::string_view what) {
      std::vector<real> all;
      for (const Param& p : quantizer.params().params()) {
        if (p.name.ends_with(what)) all.push_back(p.value.data[0]);
      }
      return all;
    };
    const std::vector<real> ends = of(".input_log_scale"), offsets = of(".input_offset");
    REQUIRE_FALSE(offsets.empty());
    train(model.get(), &quantizer.params(), text, 30);
    CHECK(of(".input_offset") == offsets);
    const std::vector<real> moved = of(".input_log_scale");
    for (std::size_t i = 0; i < ends.size(); ++i) CHECK(moved[i] != ends[i]);
  }
}

TEST_CASE("threads may share a model with integer layers in training") {
  AnyModel model = any_model([] { return make_gpt(); });
  std::vector<Target> targets = resolve(plan_of({.bits = 4}, kStatic), model.get());
  const Text text(3);
  calibrate(model.get(), targets, std::vector<nn::Tokens>{text.tokens()});
  const FakeQuantizer quantizer(model.get(), Training::ste, targets, {});
  const auto loss = [&](const Text& of) {
    Graph g;
    g.begin(Graph::Mode::inference);
    return model.get().loss(g, of.batch(), std::nullopt).item();
  };
  std::vector<Text> texts;
  std::vector<real> alone, together(8);
  for (std::uint64_t seed = 0; seed < together.size(); ++seed) {
    texts.emplace_back(seed);
    alone.push_back(loss(texts.back()));
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([&, i] { together[i] = loss(texts[i]); });
  }
  for (std::thread& t : threads) t.join();
  CHECK(same_bits(together, alone));
}

TEST_CASE("PACT's decay is the gradient of the squared clipping level") {
  AnyModel model = any_model([] { return make_gpt(); });
  std::vector<Target> targets = resolve(plan_of({.bits = 4}, kStatic), model.get());
  const Text text(3);
  calibrate(model.get(), targets, std::vector<nn::Tokens>{text.tokens()});
  const auto gradients = [&](InputLearning inputs) {
    FakeQuantizer quantizer(model.get(), Training::lsq, targets,
                            {.inputs = inputs, .pact_decay = 0.25});
    quantizer.params().allocate_gradients();
    quantizer.params().zero_gradients();
    quantizer.before_update(0);
    std::map<std::string, real> all;
    for (const Param& p : quantizer.params().params()) {
      if (p.name.ends_with(".input_log_scale")) all[p.name] = p.grad.data[0];
    }
    return all;
  };
  const std::map<std::string, real> decay = gradients(InputLearning::pact);
  for (const Target& t : targets) {
    if (!t.input) continue;
    const ActivationSpec& spec = t.input->spec;
    const Grid grid = grid_of(unit_spec(spec));
    const auto squared = [&](double l) {
      const double s = t.input->at.scale;
      const double low = spec.symmetric ? 0 : (grid.qmin - t.input->at.zero_point) * s;
      const double alpha =
          low + s * std::exp(l) * (spec.symmetric ? grid.qmax : grid.qmax - grid.qmin);
      return 0.25 * alpha * alpha;
    };
    const double l = 0, step = 1e-5;
    INFO(t.name);
    CHECK(decay.at(t.weight->name + ".input_log_scale") ==
          Approx((squared(l + step) - squared(l - step)) / (2 * step)).epsilon(1e-3));
  }
  for (const auto& [name, gradient] : gradients(InputLearning::method)) CHECK(gradient == 0);
  CHECK(gradients(InputLearning::fixed).empty());
}

TEST_CASE("learned input ranges move, offsets only if asymmetric") {
  AnyModel model = any_model([] { return make_gpt(); });
  std::vector<Target> targets = resolve(plan_of({.bits = 4}, kStatic), model.get());
  const Text text(3);
  const std::vector<nn::Tokens> calibration{text.tokens()};
  calibrate(model.get(), targets, calibration);
  FakeQuantizer quantizer(model.get(), Training::lsq, targets, {});
  CHECK(quantizer.params().find("h.0.attn.c_attn.weight.input_offset") == nullptr);
  REQUIRE(quantizer.params().find("h.1.mlp.c_proj.weight.input_offset") != nullptr);
  const std::vector<real> start = notch::test::values_of(quantizer.params());
  const std::vector<double> losses = train(model.get(), &quantizer.params(), text, 30);
  CHECK(losses.back() < losses.front());
  for (const Param& p : quantizer.params().params()) {
    if (p.name.find("input_log_scale") == std::string::npos) continue;
    INFO(p.name);
    const auto at = std::ranges::find(targets, p.name.substr(0, p.name.rfind(".input")),
                                      [](const Target& t) { return t.weight->name; });
    CHECK(std::exp(p.value.data[0]) != Approx(at->input->at.scale).epsilon(1e-5));
  }
}

}  // namespace integer_layers_test
