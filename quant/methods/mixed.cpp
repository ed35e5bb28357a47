#include "quant/methods/mixed.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "autograd/base/error.h"
#include "autograd/kernels/blas.h"
#include "nn/text_loss.h"
#include "quant/methods/allocation.h"
#include "quant/methods/post_training.h"
#include "quant/numbers/width.h"

namespace notch::quant {
namespace {

constexpr const char* kWhere = "mixed precision";

nn::Tokens window(const nn::Tokens& all, std::int64_t b) {
  const auto T = static_cast<std::size_t>(all.T);
  return {all.ids.subspan(static_cast<std::size_t>(b) * T, T), 1, all.T};
}

/// F of every weight of `layers`: T E[g²] over windows.
std::map<std::string, std::vector<real>> fisher(const nn::Model& model,
                                                std::span<const nn::Tokens> text,
                                                const std::vector<Target>& layers) {
  const auto own = nn::clone(model);
  own->params().allocate_gradients();
  std::map<std::string, std::vector<real>> sums;
  for (const Target& t : layers) sums[t.name].assign(t.weight->value.flat().size(), 0);
  Graph graph;
  std::int64_t windows = 0;
  for (const nn::Tokens& batch : text) {
    for (std::int64_t b = 0; b < batch.B; ++b, ++windows) {
      own->params().zero_gradients();
      graph.begin(Graph::Mode::training);
      const nn::Tokens one = window(batch, b);
      const std::vector<std::int32_t> targets = nn::successors(one);
      graph.backward(own->loss(graph, {.tokens = one, .targets = targets}));
      for (const Target& t : layers) {
        const std::span<const real> g = own->params().find(t.weight->name)->grad.flat();
        std::vector<real>& sum = sums[t.name];
        for (std::size_t i = 0; i < g.size(); ++i)
          sum[i] += static_cast<real>(batch.T) * g[i] * g[i];
      }
    }
  }
  for (auto& [name, sum] : sums) {
    for (real& f : sum) f /= static_cast<real>(windows);
  }
  return sums;
}

class Measurement {
 public:
  Measurement(nn::Model& model, const Method& method, const Plan& plan,
              std::span<const nn::Tokens> calibration, std::span<const nn::Tokens> text,
              const PostTrainingOptions& options)
      : model_(model),
        method_(method),
        plan_(plan),
        calibration_(calibration),
        text_(text),
        options_(options) {
    // Inputs stay in floating point while weights are weighed.
    plan_.activations.reset();
    for (PlanRule& rule : plan_.rules) rule.activation_bits.reset();
    // Those whose width follows the plan's, not a rule or the table's.
    const std::vector<Target> all = resolve(plan_, model);
    const std::vector<Target> other = resolve(at(plan_.weights.bits == 8 ? 4 : 8), model);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].spec != other[i].spec) layers_.push_back(all[i]);
    }
  }

  const std::vector<Target>& layers() const { return layers_; }

  Sensitivity stored(const Target& t, int bits) const {
    const Tensor& w = t.weight->value;
    const StorageBytes bytes = storage_bytes(with_bits(plan_.weights, bits), w.rows(), w.cols());
    return {.layer = t.name, .bits = bits, .bytes = bytes.total()};
  }

  Sensitivity smallest(const Target& t, std::span<const int> widths) const {
    std::vector<Sensitivity> all;
    for (const int bits : widths) all.push_back(stored(t, bits));
    return std::ranges::min(all, {}, &Sensitivity::bytes);
  }

  /// All layers of one width, except those that `store` knows.
  std::vector<Sensitivity> width(int bits, const SensitivityStore& store) {
    std::vector<Sensitivity> out;
    std::unique_ptr<nn::Model> rounded;
    std::map<std::string, double> output;
    for (const Target& t : layers_) {
      if (std::optional<Sensitivity> known; store.find && (known = store.find(t.name, bits))) {
        out.push_back(*known);
        continue;
      }
      if (!rounded) {
        rounded = at_width(bits);
        output = output_errors(*rounded);
      }
      if (!base_) {
        base_ = nn::mean_loss(graph_, model_, text_);
        fisher_ = fisher(model_, text_, layers_);
      }
      Sensitivity s = stored(t, bits);
      const std::span<real> w = t.weight->value.flat();
      const std::span<const real> moved = rounded->params().find(t.weight->name)->value.flat();
      const std::vector<real> before(w.begin(), w.end());
      const std::vector<real>& F = fisher_.at(t.name);
      for (std::size_t i = 0; i < w.size(); ++i) {
        const double dw = static_cast<double>(moved[i]) - static_cast<double>(w[i]);
        s.fisher += 0.5 * static_cast<double>(F[i]) * dw * dw;
      }
      std::ranges::copy(moved, w.begin());
      s.rise = nn::mean_loss(graph_, model_, text_) - *base_;
      std::ranges::copy(before, w.begin());
      s.hessian = output.at(t.name);
      if (store.keep) store.keep(s);
      out.push_back(std::move(s));
    }
    return out;
  }

 private:
  std::unique_ptr<nn::Model> at_width(int bits) const {
    auto copy = nn::clone(model_);
    post_training(*copy, method_, resolve(at(bits), *copy), calibration_, options_);
    return copy;
  }

  Plan at(int bits) const {
    Plan plan = plan_;
    plan.weights = with_bits(plan_.weights, bits);
    return plan;
  }

  /// E |x (w - ŵ)ᵀ|² of every layer, x as the model has it before rounding.
  std::map<std::string, double> output_errors(const nn::Model& rounded) {
    std::map<const nn::Linear*, std::vector<real>> moved;
    std::map<std::string, double> sums;
    for (const Target& t : layers_) {
      const std::span<const real> w = t.weight->value.flat();
      const std::span<const real> after = rounded.params().find(t.weight->name)->value.flat();
      std::vector<real>& dw = moved[t.linear];
      dw.resize(w.size());
      std::ranges::transform(w, after, dw.begin(), std::minus{});
      sums[t.name] = 0;
    }
    double tokens = 0;
    const nn::Attachment seen = model_.hooks().linear_chain.attach(
        [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
          if (const auto at = moved.find(&linear); at != moved.end()) {
            const std::int64_t K = linear.in_features(), N = linear.out_features();
            const std::span<const real> rows = x.value().flat();
            const std::int64_t M = std::ssize(rows) / K;
            std::vector<real> change(static_cast<std::size_t>(M * N));
            kernels::gemm(std::span(change), rows, std::span<const real>(at->second), M, N, K,
                          {.trans_b = true});
            double& sum = sums.at(linear.name);
            for (const real c : change) sum += static_cast<double>(c) * static_cast<double>(c);
          }
          return next(g, linear, x);
        });
    for (const nn::Tokens& batch : text_) {
      graph_.begin(Graph::Mode::inference);
      const std::vector<std::int32_t> targets = nn::successors(batch);
      model_.loss(graph_, {.tokens = batch, .targets = targets});
      tokens += static_cast<double>(batch.B * batch.T);
    }
    for (auto& [name, sum] : sums) sum /= tokens;
    return sums;
  }

  nn::Model& model_;
  const Method& method_;
  Plan plan_;
  std::span<const nn::Tokens> calibration_, text_;
  const PostTrainingOptions& options_;
  std::vector<Target> layers_;
  Graph graph_;
  std::optional<double> base_;
  std::map<std::string, std::vector<real>> fisher_;
};

std::vector<int> ordered_widths(const MixedOptions& options) {
  std::vector<int> widths = options.widths;
  std::ranges::sort(widths);
  widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
  if (widths.size() >= 2) return widths;
  throw Error({.where = kWhere,
               .what = "there is nothing to choose from",
               .field = "mixed.widths",
               .found = str(widths.size(), widths.size() == 1 ? " width" : " widths"),
               .expected = "at least two, for example [2, 3, 4, 6, 8]"});
}

/// The widths that a Mixed has chosen, as rules and in a plan.
void choose(Mixed& out, const Plan& plan, std::vector<Sensitivity> chosen) {
  out.bytes = 0;
  out.rise = 0;
  out.rules.clear();
  for (const Sensitivity& s : chosen) {
    out.bytes += s.bytes;
    out.rise += s.rise;
    PlanRule rule{.pattern = s.layer};
    rule.spec = with_bits(plan.weights, s.bits);
    out.rules.push_back(std::move(rule));
  }
  out.chosen = std::move(chosen);
}

Plan chosen_plan(const Plan& plan, const Mixed& mixed) {
  Plan out = plan;
  out.rules.insert(out.rules.end(), mixed.rules.begin(), mixed.rules.end());
  return out;
}

/// What the file has besides the layers' bytes: all other tensors, and the header.
std::int64_t rest_of_file(const Plan& plan, const Mixed& mixed, const MixedGoal& goal) {
  return goal.file_bytes(chosen_plan(plan, mixed)) - mixed.bytes;
}

/// What the layers may have together, and have at their smallest widths.
struct Room {
  std::int64_t most = 0, least = 0;
};
/// Usage error where the file has more bytes than the goal even at the smallest widths.
Room room_in_file(const Measurement& measurement, const Plan& plan, std::span<const int> widths,
                  const MixedGoal& goal) {
  std::vector<Sensitivity> smallest;
  for (const Target& t : measurement.layers()) smallest.push_back(measurement.smallest(t, widths));
  Mixed mixed;
  choose(mixed, plan, std::move(smallest));
  const std::int64_t rest = rest_of_file(plan, mixed, goal);
  if (*goal.bytes >= rest + mixed.bytes) return {.most = *goal.bytes - rest, .least = mixed.bytes};
  throw Error(
      {.where = kWhere,
       .what = "the model does not fit into so few bytes",
       .found = str(*goal.bytes),
       .expected = str("at least ", rest + mixed.bytes, ", each layer at its smallest width"),
       .hint = str("allow more bytes, or add a smaller width; ", rest,
                   " are of the token table, norms, biases, layers that are skipped or "
                   "have bits of their own, and the file's header, which do not vary")});
}

}  // namespace

Json to_json(const Sensitivity& s) {
  Json json = Json::object();
  json.set("layer", s.layer).set("bits", s.bits).set("bytes", s.bytes).set("rise", s.rise);
  return json.set("hessian", s.hessian).set("fisher", s.fisher);
}

Sensitivity sensitivity_from_json(const Json& json, std::string_view where) {
  return {.layer = json.at("layer", where).as_string(where),
          .bits = width_from_json(json.at("bits", where), where),
          .bytes = json.at("bytes", where).as_int(where),
          .rise = json.at("rise", where).as_number(where),
          .hessian = json.at("hessian", where).as_number(where),
          .fisher = json.at("fisher", where).as_number(where)};
}

Mixed mix(nn::Model& model, const Method& method, const Plan& plan,
          std::span<const nn::Tokens> calibration, std::span<const nn::Tokens> text,
          const PostTrainingOptions& options, const MixedGoal& goal,
          const SensitivityStore& store) {
  const std::vector<int> widths = ordered_widths(options.mixed);
  if (method.trains() || method.changes_inputs()) {
    throw Error({.where = kWhere,
                 .what = method.trains() ? "widths are chosen for rounding after training"
                                         : "the method changes inputs of layers or adds to their "
                                           "weights, so that none can be weighed alone",
                 .field = "mixed.widths",
                 .found = std::string(method.name),
                 .expected = "for example gptq"});
  }
  if (goal.bytes && options.prune.on()) {
    throw Error({.where = kWhere,
                 .what = "what a pruned matrix takes is known when it is pruned",
                 .field = "prune.method",
                 .found = options.prune.method,
                 .hint = "leave out the target in bytes, or prune nothing"});
  }
  for (const int bits : widths) {
    validate(with_bits(plan.weights, bits), std::max<std::int64_t>(plan.weights.group_size, 1),
             kWhere);
  }
  Measurement measurement(model, method, plan, calibration, text, options);
  const std::vector<Target>& layers = measurement.layers();
  check(!layers.empty(), kWhere, "no layer has the plan's own width");
  check(!goal.bytes || goal.file_bytes, kWhere, "a target in bytes without what counts a file's");
  check(!goal.rise || std::isfinite(*goal.rise), kWhere, "a rise of ", goal.rise.value_or(0));
  check(!goal.rise || goal.made_rise, kWhere, "a target of a rise without what measures it");
  Room room;
  if (goal.bytes) room = room_in_file(measurement, plan, widths, goal);
  std::vector<std::vector<Sensitivity>> of_width;
  for (const int bits : widths) of_width.push_back(measurement.width(bits, store));

  Mixed out;
  std::vector<std::vector<Choice>> choices(layers.size());
  std::vector<double> rises, hessians, fishers;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    for (const std::vector<Sensitivity>& all : of_width) {
      const Sensitivity& s = all[l];
      choices[l].push_back({.bytes = s.bytes, .cost = s.rise});
      rises.push_back(s.rise);
      hessians.push_back(s.hessian);
      fishers.push_back(s.fisher);
      out.measured.push_back(s);
    }
    if (!goal.bytes) room.most += measurement.stored(layers[l], plan.weights.bits).bytes;
  }
  const auto take = [&](const std::vector<std::size_t>& chosen) {
    std::vector<Sensitivity> all;
    for (std::size_t l = 0; l < layers.size(); ++l) all.push_back(of_width[chosen[l]][l]);
    choose(out, plan, std::move(all));
  };
  const auto allocated = [&](std::int64_t bytes) {
    return options.mixed.rule == AllocationRule::exact ? least_cost(choices, bytes)
                                                       : by_threshold(choices, bytes);
  };
  if (goal.rise) {
    const MeasuredChoice held = least_bytes(choices, *goal.rise, [&](const auto& chosen) {
      take(chosen);
      return goal.made_rise(chosen_plan(plan, out));
    });
    take(held.choices);
    out.made_rise = held.cost;
    out.made = held.measured;
  } else {
    take(allocated(out.allowed = room.most));
    // Headers differ by the digits of the sizes in them.
    while (goal.bytes) {
      out.allowed = *goal.bytes - rest_of_file(plan, out, goal);
      if (out.bytes <= out.allowed) break;
      take(allocated(std::min(out.bytes - 1, std::max(out.allowed, room.least))));
    }
  }
  out.hessian_rank = rank_correlation(hessians, rises);
  out.fisher_rank = rank_correlation(fishers, rises);
  return out;
}

}  // namespace notch::quant
