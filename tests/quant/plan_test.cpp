// Plans: which matrices are quantized, under which names, in which order, and what is refused.
#include "quant/methods/plan.h"

#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace plan_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;
using notch::test::make_gpt;
using notch::test::make_mlp;
using notch::test::tiny_config;

using Names = std::vector<std::string>;
const Spec kInt4{.bits = 4}, kInt8{.bits = 8}, kInt2{.bits = 2};

std::unique_ptr<nn::Gpt> untied_gpt() {
  nn::GptConfig config = tiny_config();
  config.tie_embeddings = false;
  return make_gpt(config);
}

std::vector<Target> resolve_in(nn::Model& model, const Plan& plan) { return resolve(plan, model); }

/// "name:bits" of every target, in order.
Names summary(const std::vector<Target>& targets) {
  Names names;
  for (const Target& t : targets) names.push_back(str(t.name, ":", t.spec.bits));
  return names;
}

Names blocks(int layers, const char* bits) {
  Names names;
  for (int l = 0; l < layers; ++l) {
    for (const char* part : {".attn.c_attn", ".attn.c_proj", ".mlp.c_fc", ".mlp.c_proj"}) {
      names.push_back(str("h.", l, part, ":", bits));
    }
  }
  return names;
}

TEST_CASE("patterns: a star stands for any text, also none or many times") {
  CHECK(matches("wte", "wte"));
  CHECK_FALSE(matches("wte", "wte2"));
  CHECK_FALSE(matches("wte", "wt"));
  CHECK(matches("*", ""));
  CHECK(matches("*", "h.0.attn.c_attn"));
  CHECK(matches("h.*.mlp.c_proj", "h.11.mlp.c_proj"));
  CHECK_FALSE(matches("h.*.mlp.c_proj", "h.11.attn.c_proj"));
  CHECK(matches("*c_proj", "h.0.mlp.c_proj"));
  CHECK_FALSE(matches("*c_proj", "h.0.mlp.c_proj.x"));
  CHECK(matches("h.0*", "h.0"));
  CHECK(matches("*a*a*", "banana"));
  CHECK_FALSE(matches("*a*b", "banana"));
  CHECK(matches("**", "x"));
  CHECK(matches("", ""));
  CHECK_FALSE(matches("", "x"));
  CHECK_FALSE(matches("x*x", "x"));
}

TEST_CASE("by default the blocks' Linears and the tied table, in run order") {
  const auto model = make_gpt();
  Names expected = blocks(2, "4");
  expected.push_back("wte:8");
  const std::vector<Target> targets = resolve_in(*model, {.weights = kInt4, .table = kInt8});
  CHECK(summary(targets) == expected);
  // Codes of the tied table are chosen for the head that multiplies with it.
  CHECK(targets.back().linear == &model->head());
  CHECK(targets.back().weight == model->params().find("wte.weight"));
  for (std::size_t i = 0; i + 1 < targets.size(); ++i) {
    CHECK(targets[i].linear == model->linears()[i]);
    CHECK(targets[i].weight == model->linears()[i]->weight);
  }
}

TEST_CASE("an untied head is a matrix before the looked-up table") {
  const auto model = untied_gpt();
  Names expected = blocks(2, "4");
  expected.push_back("lm_head:8");
  expected.push_back("wte:8");
  const std::vector<Target> targets = resolve_in(*model, {.weights = kInt4, .table = kInt8});
  CHECK(summary(targets) == expected);
  CHECK(targets[8].linear == &model->head());
  CHECK(targets[9].linear == nullptr);
}

TEST_CASE("without a table spec the table and head stay floating point") {
  CHECK(summary(resolve_in(*make_gpt(), {.weights = kInt4})) == blocks(2, "4"));
  CHECK(summary(resolve_in(*untied_gpt(), {.weights = kInt4})) == blocks(2, "4"));
}

TEST_CASE("an Mlp is planned like a Gpt") {
  const auto model = make_mlp();
  nn::Model& view = *model;
  CHECK(summary(resolve({.weights = kInt4, .table = kInt8}, view)) ==
        Names{"h.0.fc:4", "h.0.proj:4", "h.1.fc:4", "h.1.proj:4", "lm_head:8", "wte:8"});
}

TEST_CASE("of several rules for a layer the last one holds") {
  const auto model = make_gpt();
  const Plan plan{.weights = kInt4,
                  .table = kInt8,
                  .rules = {{"h.*", kInt2}, {"h.1.*", kInt8}, {"h.1.mlp.c_proj", {}}}};
  CHECK(summary(resolve_in(*model, plan)) ==
        Names{"h.0.attn.c_attn:2", "h.0.attn.c_proj:2", "h.0.mlp.c_fc:2", "h.0.mlp.c_proj:2",
              "h.1.attn.c_attn:8", "h.1.attn.c_proj:8", "h.1.mlp.c_fc:8", "wte:8"});
  Plan reversed = plan;
  std::swap(reversed.rules[0], reversed.rules[2]);
  Names expected = blocks(2, "2");
  expected.push_back("wte:8");
  CHECK(summary(resolve_in(*model, reversed)) == expected);
}

TEST_CASE("a tied table answers to its own name and to the head's") {
  const auto model = make_gpt();
  for (const char* name : {"wte", "lm_head"}) {
    const auto targets = resolve_in(*model, {.weights = kInt4, .rules = {{name, kInt2}}});
    CHECK(summary(targets).back() == "wte:2");
    CHECK(targets.size() == 9);
  }
  const auto untied = untied_gpt();
  CHECK(summary(resolve_in(*untied, {.weights = kInt4, .rules = {{"lm_head", kInt2}}})).back() ==
        "lm_head:2");
  CHECK(summary(resolve_in(*untied, {.weights = kInt4, .rules = {{"wte", kInt2}}})).back() ==
        "wte:2");
}

TEST_CASE("a rule may name the position table, which is only looked up") {
  const auto targets = resolve_in(*make_gpt(), {.weights = kInt4, .rules = {{"wpe", kInt8}}});
  CHECK(summary(targets).back() == "wpe:8");
  CHECK(targets.back().linear == nullptr);
}

TEST_CASE("a rule that matches nothing is an error listing what there is") {
  const auto model = make_gpt();
  const ErrorParts e = error_of([&] {
    resolve_in(*model, {.weights = kInt4, .rules = {{"h.*", kInt4}, {"h.7.mlp.*", kInt8}}});
  });
  CHECK(e.fault == Fault::usage);
  CHECK(e.where == "plan");
  CHECK(e.field == "rules[1]");
  CHECK(e.what.find("h.7.mlp.*") != std::string::npos);
  for (const char* name : {"h.0.attn.c_attn", "h.1.mlp.c_proj", "wte", "wpe"}) {
    CHECK(e.hint.find(name) != std::string::npos);
  }
}

TEST_CASE("a group must divide a layer's inputs, or the layer is named") {
  const auto model = make_gpt();  // 12 channels
  const Spec group8{.bits = 4, .granularity = Granularity::group, .group_size = 8};
  const ErrorParts e = error_of([&] { resolve_in(*model, {.weights = group8}); });
  CHECK(e.fault == Fault::usage);
  CHECK(e.where == "h.0.attn.c_attn");
  CHECK(e.field == "group_size");
  // Layers in floating point are not asked: mlp.c_proj alone has 48 inputs.
  const Plan fits{.weights = group8, .rules = {{"*", {}}, {"h.*.mlp.c_proj", group8}}};
  CHECK(resolve_in(*model, fits).size() == 2);
}

TEST_CASE("bits out of range and plans that quantize nothing are errors") {
  const auto model = make_gpt();
  const ErrorParts bits = error_of([&] { resolve_in(*model, {.weights = {.bits = 9}}); });
  CHECK(bits.where == "h.0.attn.c_attn");
  CHECK(bits.field == "bits");
  const ErrorParts nothing = error_of([&] {
    resolve_in(*model, {.weights = kInt4, .rules = {{"*", {}}}});
  });
  CHECK(nothing.fault == Fault::usage);
  CHECK(nothing.where == "plan");
  CHECK(nothing.field == "rules");
  CHECK_FALSE(nothing.hint.empty());
}

}  // namespace plan_test
