#include "quant/methods/plan.h"

#include <algorithm>

#include "quant/numbers/format.h"

namespace notch::quant {

bool matches(std::string_view pattern, std::string_view name) {
  // The last star takes what is needed: an earlier one that took more would leave it no more.
  std::size_t p = 0, n = 0, after_star = pattern.npos, taken_to = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      after_star = ++p;
      taken_to = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (after_star != pattern.npos) {
      p = after_star;
      n = ++taken_to;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

bool is_named(const Target& matrix, std::string_view pattern) {
  return matches(pattern, matrix.name) || (matrix.linear && matches(pattern, matrix.linear->name));
}

namespace {

struct Candidate {
  Target target{};
  std::optional<Spec> spec{};
  std::optional<ActivationSpec> input{};
};

/// `field`: of the plan, "rules[0]".
[[noreturn]] void fail_without_match(const std::string& field, const std::string& pattern,
                                     std::span<const Candidate> all) {
  std::string known;
  for (const Candidate& c : all) known += (known.empty() ? "" : ", ") + c.target.name;
  throw Error({.where = "plan",
               .what = str("the pattern \"", pattern, "\" matches no layer"),
               .field = field,
               .hint = "the model has " + known});
}

/// Gives every candidate that multiplies the plan's activations, asymmetric where a pattern says
/// so.
void plan_inputs(const Plan& plan, std::span<Candidate> all) {
  if (!plan.activations) return;
  validate(*plan.activations, "plan");
  for (Candidate& c : all) {
    if (c.target.linear) c.input = plan.activations;
  }
  for (std::size_t i = 0; i < plan.asymmetric.size(); ++i) {
    const std::string& pattern = plan.asymmetric[i];
    bool hit = false;
    for (Candidate& c : all) {
      if (!c.input || !is_named(c.target, pattern)) continue;
      hit = true;
      c.input->symmetric = !c.input->is_integer();
    }
    if (!hit) fail_without_match(str("asymmetric[", i, "]"), pattern, all);
  }
}

/// Every matrix of the model with its default spec, in the order of resolve().
std::vector<Candidate> candidates(const Plan& plan, nn::Model& model) {
  std::vector<Candidate> all;
  for (nn::Linear* l : model.linears()) {
    all.push_back({{.name = l->name, .weight = l->weight, .linear = l}, plan.weights});
  }
  nn::Linear& head = model.head();
  if (!model.head_is_tied()) {
    all.push_back({{.name = head.name, .weight = head.weight, .linear = &head}, plan.table});
  }
  for (const nn::Embedding* e : model.embeddings()) {
    const bool heads = e->weight == head.weight;
    all.push_back({{.name = e->name, .weight = e->weight, .linear = heads ? &head : nullptr},
                   e == model.position_table() ? std::nullopt : plan.table});
  }
  return all;
}

}  // namespace

std::vector<Target> matrices_of(nn::Model& model) {
  std::vector<Target> all;
  for (Candidate& c : candidates({}, model)) all.push_back(std::move(c.target));
  return all;
}

std::vector<Target> resolve(const Plan& plan, nn::Model& model) {
  std::vector<Candidate> all = candidates(plan, model);
  plan_inputs(plan, all);
  for (std::size_t i = 0; i < plan.rules.size(); ++i) {
    const PlanRule& rule = plan.rules[i];
    bool hit = false;
    for (Candidate& c : all) {
      if (!is_named(c.target, rule.pattern)) continue;
      hit = true;
      c.spec = rule.spec;
      if (!rule.activation_bits || !c.target.linear) continue;
      if (*rule.activation_bits == 0) {
        c.input.reset();
        continue;
      }
      if (!c.input) c.input.emplace();
      c.input->bits = *rule.activation_bits;
      validate(*c.input, c.target.name);
    }
    if (!hit) fail_without_match(str("rules[", i, "]"), rule.pattern, all);
  }
  std::vector<Target> targets;
  for (Candidate& c : all) {
    if (!c.spec) continue;
    c.target.spec = *c.spec;
    validate(c.target.spec, c.target.weight->value.cols(), c.target.name);
    if (c.input && c.input->is_integer() && !grid_of(c.target.spec).levels.empty()) {
      throw Error({.where = c.target.name,
                   .what = "quantized activations are multiplied with integers, which this grid's "
                           "levels are not",
                   .field = "grid",
                   .found = std::string(name_of(c.target.spec.grid)),
                   .expected = grids_with(
                       [](const Format& f) { return f.grid(f.most_bits).levels.empty(); }),
                   .hint = "or leave the activations of this layer in fp32"});
    }
    if (c.input) c.target.input = InputQuantizer{.spec = *c.input, .at = {.scale = 0}};
    targets.push_back(std::move(c.target));
  }
  if (targets.empty()) {
    throw Error({.where = "plan",
                 .what = "quantizes nothing: every layer stays in floating point",
                 .field = "rules",
                 .hint = "give at least one layer bits"});
  }
  return targets;
}

}  // namespace notch::quant
