#include "quant/methods/methods.h"

#include <algorithm>
#include <array>

#include "autograd/base/error.h"
#include "quant/methods/adaround.h"
#include "quant/methods/aqlm.h"
#include "quant/methods/awq.h"
#include "quant/methods/block_ap.h"
#include "quant/methods/factored.h"
#include "quant/methods/gptaq.h"
#include "quant/methods/gptq.h"
#include "quant/methods/gsq.h"
#include "quant/methods/hadamard.h"
#include "quant/methods/hqq.h"
#include "quant/methods/llm_int8.h"
#include "quant/methods/lqer.h"
#include "quant/methods/prune.h"
#include "quant/methods/rtn.h"
#include "quant/methods/signround.h"
#include "quant/methods/smoothquant.h"
#include "quant/methods/spqr.h"
#include "quant/methods/trained.h"
#include "quant/numbers/format.h"

namespace notch::quant {
namespace {

constexpr std::array kMethods{
    &kRtn,      &kRtnMse,      &kRtnPercentile, &kRtnEntropy, &kGptq,         &kGptaq,  &kHqq,
    &kAwq,      &kSmoothQuant, &kRtnHadamard,   &kLlmInt8,    &kGptqHadamard, &kLqer,   &kSpqr,
    &kAqlm,     &kAdaRound,    &kSignRound,     &kGsq,        &kBlockAp,      &kQatSte, &kQatLsq,
    &kQatSteKd, &kQatLsqKd,    &kQatQuest,      &kQlora,      &kEfficientQat};

}  // namespace

std::span<const Method* const> methods() { return kMethods; }

void require_grid(const Method& method, const Spec& spec, std::string_view where) {
  const Format& format = format_of(spec.grid);
  // Lists of levels are trained, words are not.
  const auto known = [&](const Method& m) {
    return m.own_levels && (!m.grid || *m.grid == spec.grid) && !(m.trains() && format.has_words());
  };
  if (!format.has_own_levels() || known(method)) return;
  std::string can;
  for (const Method* m : kMethods) {
    if (known(*m)) can += str(can.empty() ? "" : ", ", m->name);
  }
  throw Error(
      {.where = std::string(where),
       .what = str(method.name, " has no codes of a grid whose levels are the matrix's own"),
       .field = "grid",
       .found = std::string(name_of(spec.grid)),
       .expected = grids_with([](const Format& f) { return !f.has_own_levels(); }),
       .hint = "of this grid have " + can});
}

void require_grids(const Method& method, const Plan& plan, std::span<const Target> targets) {
  for (const Target& t : targets) require_grid(method, t.spec, t.name);
  if (!method.grid || plan.weights.grid == *method.grid) return;
  throw Error(
      {.where = std::string(method.name),
       .what = str(method.name, "'s codes are of a grid of its own"),
       .field = "grid",
       .found = std::string(name_of(plan.weights.grid)),
       .expected = std::string(name_of(*method.grid)),
       .hint = "a row of its own in [[row]], or --grid; experiments/codebooks.toml has one"});
}

const Method* find_method(std::string_view name) {
  const auto at = std::ranges::find(kMethods, name, &Method::name);
  return at == kMethods.end() ? nullptr : *at;
}

const Method& method(std::string_view name) {
  if (const Method* found = find_method(name)) return *found;
  throw Error({.where = "method",
               .what = str("\"", name, "\" is not a method"),
               .field = std::string(name),
               .expected = method_list(),
               .hint = method_hint(name)});
}

const Method* start_of(const Method& method, std::string_view from) {
  if (!method.trains()) return nullptr;
  const Method* named = find_method(from);
  return named ? named : method.base;
}

std::string method_hint(std::string_view name) {
  if (name.starts_with("rtn-moving")) {
    return "a moving average follows batches; a matrix of weights is there at once, and its "
           "extremes "
           "are \"rtn\"";
  }
  const std::string close = did_you_mean(name, method_names());
  return close.empty() ? "" : str("did you mean \"", close, "\"?");
}

std::vector<std::string> method_names(Methods which) {
  std::vector<std::string> names;
  for (const Method* m : kMethods) {
    if (which == Methods::all || m->trains() == (which == Methods::trained))
      names.emplace_back(m->name);
  }
  return names;
}

const std::string& method_list(Methods which) {
  static const std::array<std::string, 3> lists = [] {
    std::array<std::string, 3> made;
    for (const Methods each : {Methods::all, Methods::post_training, Methods::trained})
      made[static_cast<std::size_t>(each)] = joined(method_names(each));
    return made;
  }();
  return lists[static_cast<std::size_t>(which)];
}

const std::vector<RowFigure>& row_figures() {
  static const std::vector<RowFigure> all = [] {
    std::vector<RowFigure> figures;
    for (const Method* m : kMethods) {
      for (const RowFigure& f : m->row_figures) {
        if (std::ranges::find(figures, f.key, &RowFigure::key) == figures.end())
          figures.push_back(f);
      }
    }
    figures.push_back(kPrunedFigure);
    figures.push_back(kLeftFigure);
    figures.push_back(kMergeFigure);
    return figures;
  }();
  return all;
}

}  // namespace notch::quant
