#include "quant/methods/walked_text.h"

#include <algorithm>

#include "quant/methods/calibration.h"

namespace notch::quant {

const Target* target_of(std::span<const Target> targets, const nn::Linear& linear) {
  const auto at = std::ranges::find(targets, &linear, &Target::linear);
  return at == targets.end() ? nullptr : &*at;
}

std::vector<const Target*> targets_of(std::span<const Target> targets, Group group) {
  std::vector<const Target*> out;
  for (const nn::Step& step : group) {
    for (const nn::Linear* l : step.linears) {
      if (const Target* t = target_of(targets, *l)) out.push_back(t);
    }
  }
  return out;
}

/// As far as the input of the group's last target: no product is made that none of them needs.
void WalkedText::visit(Group group, std::size_t batch, const TextStates::Input& input,
                       const TextStates::Seen& seen) {
  while (!group.empty() && targets_of(targets_, group.last(1)).empty()) {
    group = group.first(group.size() - 1);
  }
  if (!group.empty()) states_.visit(group, batch, input, seen, beside_);
}

Moments WalkedText::none_yet(Group group, const KeptInputs& kept) const {
  Moments all;
  for (const Target* t : targets_of(targets_, group)) {
    all.emplace(t->linear, Hessian(t->linear->in_features(), kept));
  }
  return all;
}

Moments WalkedText::unrounded(Group group, const KeptInputs& kept) {
  Moments all = none_yet(group, kept);
  if (!kept.moments && !kept.magnitudes && kept.sample_every == 0) return all;
  for (std::size_t b = 0; b < states_.batches(); ++b) {
    visit(group, b, in_floats_, [&](const nn::Linear& l, Var x) {
      if (const auto H = all.find(&l); H != all.end()) H->second.accumulate(x.value().flat());
    });
  }
  return all;
}

void WalkedText::find_ranges(Group group) {
  std::map<const nn::Linear*, Observer> observers;
  for (const Target* t : targets_of(targets_, group)) {
    if (needs_calibration(*t)) observers.emplace(t->linear, Observer(t->input->spec));
  }
  if (observers.empty()) return;
  for (std::size_t b = 0; b < states_.batches(); ++b) {
    visit(group, b, shipped_, [&](const nn::Linear& l, Var x) {
      const auto at = observers.find(&l);
      if (at != observers.end()) at->second.observe(x.value().flat());
    });
  }
  for (const auto& [l, observer] : observers) {
    const ActivationSpec& spec = target_of(targets_, *l)->input->spec;
    inputs_.set_range(l, {spec, input_range(spec, observer, l->name)});
  }
}

Moments WalkedText::moments(Group group, bool drifts) {
  Moments all = none_yet(group, {});
  std::map<const nn::Linear*, std::vector<real>> reference;
  for (std::size_t b = 0; b < states_.batches(); ++b) {
    if (drifts) {
      reference_.advance(group, b, in_floats_, [&](const nn::Linear& l, Var x) {
        if (!all.contains(&l)) return;
        reference[&l].assign(x.value().flat().begin(), x.value().flat().end());
      });
    }
    visit(group, b, shipped_, [&](const nn::Linear& l, Var x) {
      const auto H = all.find(&l);
      if (H == all.end()) return;
      if (drifts) {
        H->second.accumulate(x.value().flat(), reference.at(&l));
      } else {
        H->second.accumulate(x.value().flat());
      }
    });
  }
  return all;
}

void WalkedText::advance(Group group) {
  for (std::size_t b = 0; b < states_.batches(); ++b)
    states_.advance(group, b, shipped_, {}, beside_);
}

}  // namespace notch::quant
