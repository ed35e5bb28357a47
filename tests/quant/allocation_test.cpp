// Which layer gets how many bytes: against every possible choice, and rules worked out by hand.
#include "quant/methods/allocation.h"

#include <cmath>
#include <limits>

#include "autograd/base/rng.h"
#include "nn/text_loss.h"
#include "quant/methods/mixed.h"
#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace allocation_test {

using namespace notch;
using namespace notch::quant;

struct Sum {
  std::int64_t bytes = 0;
  double cost = 0;
};

Sum sum_of(const std::vector<std::vector<Choice>>& layers, const std::vector<std::size_t>& chosen) {
  Sum sum;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    sum.bytes += layers[l][chosen[l]].bytes;
    sum.cost += layers[l][chosen[l]].cost;
  }
  return sum;
}

/// Every combination of choices.
template <class Visit>
void for_all(const std::vector<std::vector<Choice>>& layers, const Visit& visit) {
  std::vector<std::size_t> chosen(layers.size(), 0);
  for (;;) {
    visit(sum_of(layers, chosen));
    std::size_t l = 0;
    while (l < layers.size() && ++chosen[l] == layers[l].size()) chosen[l++] = 0;
    if (l == layers.size()) return;
  }
}

std::vector<std::vector<Choice>> random_layers(std::uint64_t seed) {
  Rng rng(seed, 1);
  std::vector<std::vector<Choice>> layers(6);
  for (auto& layer : layers) {
    std::int64_t bytes = 1 + static_cast<std::int64_t>(rng.below(40));
    for (int c = 0; c < 4; ++c) {
      // Costs that do not always fall with the bytes, and some below zero.
      layer.push_back({.bytes = bytes, .cost = rng.normal()});
      bytes += 1 + static_cast<std::int64_t>(rng.below(40));
    }
  }
  return layers;
}

TEST_CASE("the least cost within some bytes is that of every choice tried") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto layers = random_layers(seed);
    for (const std::int64_t bytes : {200, 300, 450, 100'000}) {
      double least = std::numeric_limits<double>::infinity();
      for_all(layers, [&](const Sum& s) {
        if (s.bytes <= bytes) least = std::min(least, s.cost);
      });
      if (std::isinf(least)) {
        CHECK_THROWS_AS(least_cost(layers, bytes), Error);
        continue;
      }
      const Sum found = sum_of(layers, least_cost(layers, bytes));
      INFO("seed " << seed << ", " << bytes << " bytes");
      CHECK(found.bytes <= bytes);
      CHECK(found.cost == Approx(least));
      // The textbook's rule keeps within the bytes and is never better.
      const Sum textbook = sum_of(layers, by_threshold(layers, bytes));
      CHECK(textbook.bytes <= bytes);
      CHECK(textbook.cost >= found.cost - 1e-12);
    }
  }
}

TEST_CASE("the fewest bytes for a cost are those of every choice tried") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto layers = random_layers(seed);
    for (const double cost : {-4.0, -1.0, 0.0, 3.0}) {
      std::int64_t least = std::numeric_limits<std::int64_t>::max();
      for_all(layers, [&](const Sum& s) {
        if (s.cost <= cost) least = std::min(least, s.bytes);
      });
      INFO("seed " << seed << ", cost " << cost);
      if (least == std::numeric_limits<std::int64_t>::max()) {
        CHECK_THROWS_AS(least_bytes(layers, cost), Error);
      } else {
        const Sum found = sum_of(layers, least_bytes(layers, cost));
        CHECK(found.bytes == least);
        CHECK(found.cost <= cost);
      }
    }
  }
}

TEST_CASE("a cost that estimates miss holds as measured") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    const auto layers = random_layers(seed);
    double best = 0;
    for (const auto& choices : layers) best += std::ranges::min(choices, {}, &Choice::cost).cost;
    const double most = best + 2;
    const auto bytes_at = [&](double cost) {
      return sum_of(layers, least_bytes(layers, cost)).bytes;
    };
    int calls = 0;
    // What a choice really costs is `times` as far above the best as estimated.
    const auto found = [&](double cost, double times, double more = 0) {
      calls = 0;
      return least_bytes(layers, cost, [&](const std::vector<std::size_t>& chosen) {
        ++calls;
        return best + times * (sum_of(layers, chosen).cost - best) + more;
      });
    };
    // Estimates that hold, and those that promise too little, are taken as they are.
    for (const double times : {1.0, 0.5}) {
      const MeasuredChoice as_told = found(most, times);
      CHECK(as_told.choices == least_bytes(layers, most));
      CHECK(as_told.measured == 1);
    }
    // Twice as far: the estimate may be at best + 1, found to a 64th of the way from best to most.
    const MeasuredChoice twice = found(most, 2);
    CHECK(calls == twice.measured);
    CHECK(calls <= kMostMeasured);
    CHECK(twice.cost <= most);
    CHECK(twice.cost ==
          Approx(best + 2 * (sum_of(layers, twice.choices).cost - best)).margin(1e-12));
    CHECK(sum_of(layers, twice.choices).bytes >= bytes_at(best + 1));
    CHECK(sum_of(layers, twice.choices).bytes <= bytes_at(best + 1 - 2.0 / 64));
    // Below every estimate, and yet reached; and never reached.
    CHECK(found(best - 1, 1, -2).cost == Approx(best - 2));
    const ErrorParts e = test::error_of([&] { found(most, 1, 3); });
    CHECK(e.found == str(most));
    CHECK(e.expected == str("at least ", best + 3, ", as measured"));
    CHECK(calls <= 3);
    // The choice of most bytes is tried although the estimates prefer another.
    const auto largest = least_bytes(layers, best - 1, [&](const std::vector<std::size_t>& chosen) {
      return best - (chosen == std::vector<std::size_t>(layers.size(), 3) ? 1 : 0);
    });
    CHECK(largest.choices == std::vector<std::size_t>(layers.size(), 3));
  }
}

TEST_CASE("a threshold serves the most sensitive layers first") {
  // Costs at 2 bits 5, 1, 3; each layer 10 bytes, 20 at the larger width.
  const std::vector<std::vector<Choice>> layers = {
      {{10, 5}, {20, 0.5}}, {{10, 1}, {20, 0.1}}, {{10, 3}, {20, 0.3}}};
  CHECK(by_threshold(layers, 30) == std::vector<std::size_t>{0, 0, 0});
  CHECK(by_threshold(layers, 49) == std::vector<std::size_t>{1, 0, 0});
  CHECK(by_threshold(layers, 50) == std::vector<std::size_t>{1, 0, 1});
  CHECK(by_threshold(layers, 60) == std::vector<std::size_t>{1, 1, 1});
  CHECK_THROWS_AS(by_threshold(layers, 29), Error);
}

TEST_CASE("rank correlation of worked examples") {
  const std::vector<double> a = {1, 2, 3, 4, 5};
  CHECK(rank_correlation(a, std::vector<double>{10, 20, 30, 40, 500}) == Approx(1));
  CHECK(rank_correlation(a, std::vector<double>{5, 4, 3, 2, 1}) == Approx(-1));
  // d = 1 1 1 1 0: 1 - 6 Σd² / n(n² - 1) = 1 - 24/120
  CHECK(rank_correlation(a, std::vector<double>{2, 1, 4, 3, 5}) == Approx(0.8));
  // Ranks 1.5 1.5 3 4 5 against 1 .. 5: cov 9.5, variances 9.5 and 10.
  CHECK(rank_correlation(a, std::vector<double>{7, 7, 8, 9, 10}) == Approx(9.5 / std::sqrt(95.0)));
  CHECK(std::isnan(rank_correlation(a, std::vector<double>(5, 1))));
}

struct MixedProblem {
  std::unique_ptr<nn::Gpt> model = test::make_gpt();
  std::vector<std::int32_t> ids;
  std::vector<nn::Tokens> text;
  Plan plan{.weights = {.bits = 4}, .table = Spec{.bits = 8}};
  PostTrainingOptions options{};

  MixedProblem() {
    Rng rng(8, 8);
    for (int i = 0; i < 64; ++i) ids.push_back(static_cast<std::int32_t>(rng.below(11)));
    text.push_back({ids, 8, 8});
    options.mixed.widths = {8, 2, 4};
  }
  Mixed mix(MixedGoal goal = {}, const SensitivityStore& store = {}) {
    goal.file_bytes = [&](const Plan& all) {
      return predict_file_bytes(*model, resolve(all, *model));
    };
    return quant::mix(*model, method("rtn"), plan, {}, text, options, goal, store);
  }
};

TEST_CASE("a layer's sensitivity is the loss with that layer alone rounded") {
  MixedProblem p;
  const Mixed mixed = p.mix();
  REQUIRE(mixed.measured.size() == 8 * 3);  // 2 blocks of 4 linears
  std::vector<std::int32_t> targets(64, -1);
  for (std::size_t t = 0; t + 1 < 64; ++t) {
    if (t % 8 != 7) targets[t] = p.ids[t + 1];
  }
  const auto loss = [&](nn::Model& model) {
    Graph g;
    g.begin(Graph::Mode::inference);
    return static_cast<double>(
        model.loss(g, {.tokens = p.text[0], .targets = targets}).value().flat()[0]);
  };
  const double base = loss(*p.model);
  for (const Sensitivity& s : mixed.measured) {
    INFO(s.layer << " at " << s.bits);
    const auto alone = nn::clone(*p.model);
    Plan plan{.weights = {.bits = s.bits}};
    plan.rules = {{.pattern = "*"}, {.pattern = s.layer, .spec = Spec{.bits = s.bits}}};
    const std::vector<Target> targets_alone = resolve(plan, *alone);
    REQUIRE(targets_alone.size() == 1);
    post_training(*alone, method("rtn"), targets_alone, {}, {});
    CHECK(s.rise == Approx(loss(*alone) - base).margin(1e-6));
    const Tensor& w = targets_alone[0].weight->value;
    CHECK(s.bytes == w.rows() * (w.cols() * s.bits / 8 + 4));  // codes, one float scale per row
    CHECK(s.hessian > 0);
    CHECK(s.fisher > 0);
  }
  // The bytes of the plan's own 4 bits, and every layer has one of the widths.
  std::int64_t uniform = 0;
  for (const Sensitivity& s : mixed.measured) uniform += s.bits == 4 ? s.bytes : 0;
  CHECK(mixed.allowed == uniform);
  CHECK(mixed.bytes <= mixed.allowed);
  CHECK(mixed.rules.size() == 8);
  // A plan of 8 bits, as its table has: the table does not vary with it.
  p.plan.weights.bits = 8;
  p.options.mixed.widths = {8, 2};
  CHECK(p.mix().measured.size() == 8 * 2);
  p.options.mixed.widths = {8, 2, 4};
  p.plan.weights.bits = 4;
  // Rounding with those rules gives the widths that were chosen.
  p.plan.rules = mixed.rules;
  for (const Target& t : resolve(p.plan, *p.model)) {
    for (const Sensitivity& s : mixed.chosen) {
      if (s.layer == t.name) CHECK(t.spec.bits == s.bits);
    }
  }
}

TEST_CASE("a measurement that was kept is not made again") {
  MixedProblem p;
  std::vector<Sensitivity> kept;
  SensitivityStore store;
  store.keep = [&](const Sensitivity& s) { kept.push_back(s); };
  store.find = [&](std::string_view layer, int bits) -> std::optional<Sensitivity> {
    for (const Sensitivity& s : kept) {
      if (s.layer == layer && s.bits == bits) return s;
    }
    return std::nullopt;
  };
  const Mixed first = p.mix({}, store);
  CHECK(kept.size() == 24);
  const Mixed again = p.mix({}, store);
  CHECK(kept.size() == 24);
  CHECK(again.rise == first.rise);
  // A rise is taken from the store, whatever the model would say.
  for (Sensitivity& s : kept) s.rise = s.bits == 2 ? 0 : 1;
  const Mixed told = p.mix({}, store);
  for (const Sensitivity& s : told.chosen) CHECK(s.bits == 2);
  const Json json = to_json(kept[3]);
  const Sensitivity read = sensitivity_from_json(Json::parse(json.dump(), "line"), "line");
  CHECK(read.layer == kept[3].layer);
  CHECK(read.bytes == kept[3].bytes);
  CHECK(read.fisher == kept[3].fisher);
  // 2^32 + 4 is not 4.
  for (const std::int64_t none : {std::int64_t{4294967300}, std::int64_t{0}, std::int64_t{-4}}) {
    Json other = json;
    other.set("bits", none);
    const ErrorParts e = test::error_of([&] { sensitivity_from_json(other, "line"); });
    CHECK(e.fault == Fault::input);
    CHECK(e.found == str(none));
  }
}

TEST_CASE("a target in bytes holds for the file that is written") {
  const test::TemporaryDirectory dir;
  const auto file_of = [&](MixedProblem& p, const Mixed& mixed) {
    Plan plan = p.plan;
    plan.rules = mixed.rules;
    const auto own = nn::clone(*p.model);
    const Quantized quantized = post_training(*own, method("rtn"), resolve(plan, *own), p.text, {});
    save_quantized(*own, quantized, dir.path());
    return static_cast<std::int64_t>(fs::file_size(dir / "model.safetensors"));
  };
  std::vector<std::int64_t> leasts;
  for (const bool bias : {true, false}) {
    for (const bool static_range : {false, true}) {
      CAPTURE(bias, static_range);
      MixedProblem p;
      nn::GptConfig config = test::tiny_config();
      config.bias = bias;
      config.n_embd = 24;
      p.model = test::make_gpt(config);
      if (static_range) p.plan.activations = ActivationSpec{.range = ActivationRange::fixed};
      // Wider is better, whatever the random model says: the largest sizes are chosen where they fit.
      std::vector<Sensitivity> known = p.mix().measured;
      for (Sensitivity& s : known) s.rise = -s.bits;
      const SensitivityStore store{.find = [&](std::string_view layer, int bits) {
        return std::optional(*std::ranges::find_if(
            known, [&](const Sensitivity& s) { return s.layer == layer && s.bits == bits; }));
      }};
      const auto mix = [&](std::int64_t bytes) { return p.mix({.bytes = bytes}, store); };
      // All at 2 bits, and not a byte less.
      const ErrorParts e = test::error_of([&] { mix(1); });
      CHECK(e.found == "1");
      const std::int64_t least =
          std::stoll(e.expected.substr(std::string_view("at least ").size()));
      const Mixed smallest = mix(least);
      for (const Sensitivity& s : smallest.chosen) CHECK(s.bits == 2);
      CHECK(file_of(p, smallest) == least);
      leasts.push_back(least);
      CHECK(smallest.bytes == smallest.allowed);
      CHECK(test::error_of([&] { mix(least - 1); }).found == str(least - 1));
      const auto check_target = [&](std::int64_t target) {
        CAPTURE(target);
        const Mixed mixed = mix(target);
        CHECK(file_of(p, mixed) == target - mixed.allowed + mixed.bytes);
        CHECK(file_of(p, mixed) <= target);
      };
      check_target(least + 100);
      check_target(least + 500);
      // The header grows with the digits of the sizes in it, by more than the byte that is missing.
      const Mixed largest = mix(1'000'000);
      const std::int64_t most = file_of(p, largest);
      REQUIRE(most - largest.bytes > least - smallest.bytes);
      check_target(most - 1);
    }
  }
  CHECK(leasts[0] == leasts[2]);  // GPT-2's files hold zeros in the place of biases
}

TEST_CASE("a target of a rise holds for the model that is made") {
  MixedProblem p;
  const auto loss_by = [&](const Plan& plan) {
    const auto own = nn::clone(*p.model);
    post_training(*own, method("rtn"), resolve(plan, *own), {}, {});
    Graph g;
    return nn::mean_loss(g, *own, p.text);
  };
  Graph g;
  const double before = nn::mean_loss(g, *p.model, p.text);
  int made = 0;
  const auto mix = [&](double rise, double more) {
    made = 0;
    return p.mix({.rise = rise, .made_rise = [&](const Plan& plan) {
                    ++made;
                    return loss_by(plan) - before + more;
                  }});
  };
  // What estimates cannot know: 0.01 nats in every made model.
  Plan at_eight = p.plan;
  at_eight.weights.bits = 8;
  const double least = loss_by(at_eight) - before;
  for (const double rise : {least + 0.1, least + 0.02}) {
    CAPTURE(rise);
    const Mixed mixed = mix(rise, 0.01);
    REQUIRE(mixed.made_rise);
    CHECK(*mixed.made_rise <= rise);
    CHECK(mixed.made == made);
    Plan plan = p.plan;
    plan.rules = mixed.rules;
    CHECK(*mixed.made_rise == Approx(loss_by(plan) - before + 0.01).margin(1e-12));
    CHECK(mixed.allowed == 0);
  }
  CHECK(test::error_of([&] { mix(least, 1); }).found == str(least));
  CHECK(made <= 3);
  CHECK_FALSE(p.mix().made_rise);
}

TEST_CASE("mixed widths refuse what cannot be weighed") {
  MixedProblem p;
  p.options.mixed.widths = {4, 4};
  CHECK(test::error_of([&] { p.mix(); }).field == "mixed.widths");
  p.options.mixed.widths = {2, 4};
  CHECK(test::error_of([&] { p.mix({.bytes = 10}); }).found == "10");
  p.options.prune.method = "magnitude";
  CHECK(test::error_of([&] { p.mix({.bytes = 100'000}); }).field == "prune.method");
  p.options.prune.method = "none";
  CHECK_THROWS_AS(quant::mix(*p.model, method("awq"), p.plan, p.text, p.text, p.options), Error);
  CHECK_THROWS_AS(quant::mix(*p.model, method("qat-ste"), p.plan, p.text, p.text, p.options),
                  Error);
}

}  // namespace allocation_test
