// What few seeds can say when differences borrow their spread from each other: as often wrong as
// promised, and far more often decided.
#include "experiments/report/moderation.h"

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/rng.h"
#include "experiments/report/ranking.h"
#include "tests/catch.h"

namespace notch::experiments::moderation_test {

double chi_square(Rng& rng, int df) {
  double sum = 0;
  for (int k = 0; k < df; ++k) {
    const double z = rng.normal();
    sum += z * z;
  }
  return sum;
}

TEST_CASE("A prior is found again in the variances drawn from it") {
  for (const int prior_df : {4, 12}) {
    for (const int df : {2, 4}) {
      Rng rng(3, static_cast<std::uint64_t>(prior_df * 100 + df));
      std::vector<double> variances;
      for (int k = 0; k < 40000; ++k) {
        variances.push_back(0.04 * prior_df / chi_square(rng, prior_df) * chi_square(rng, df) / df);
      }
      const SpreadPrior prior = spread_prior(variances, df);
      INFO(prior_df << " and " << df << " degrees of freedom");
      CHECK(prior.df == Approx(prior_df).epsilon(0.1));
      CHECK(prior.variance == Approx(0.04).epsilon(0.03));
    }
  }
}

TEST_CASE("Spreads that are all alike are pooled") {
  // Two degrees of freedom: log of a variance is on average log σ² - γ (Euler's), so σ² is e^γ of it.
  std::vector<ErrorPart> seeds(6, {.variance = 3, .df = 2});
  std::vector<double> scales(6, 1);
  scales[5] = 4;
  seeds[5].variance = 12;  // alike, on its own scale
  moderate(seeds, scales, 4);
  const double pooled = 3 * std::exp(0.5772156649015329);
  for (std::size_t p = 0; p < 6; ++p) {
    CHECK(seeds[p].df == Approx(6));  // (4 - 1) 2
    CHECK(seeds[p].variance == Approx((4 * pooled + 2 * 3) / 6 * scales[p]));
  }
}

TEST_CASE("What says nothing about a spread neither gives nor takes") {
  const double infinite = std::numeric_limits<double>::infinity();
  std::vector<ErrorPart> with{{1, 2}, {2, 2}, {0, 2}, {4, 2}, {infinite, 2}};
  std::vector<ErrorPart> without{{1, 2}, {2, 2}, {4, 2}};
  moderate(with, std::vector<double>(5, 1), 4);
  moderate(without, std::vector<double>(3, 1), 4);
  CHECK(with[0].variance == without[0].variance);
  CHECK(with[3].variance == without[2].variance);
  CHECK(with[2].variance == 0);
  CHECK(with[4].variance == infinite);
  CHECK(with[4].df == 2);
  std::vector<ErrorPart> few{{1, 2}, {9, 2}};
  moderate(few, std::vector<double>{1, 1}, 3);
  CHECK(few[0].variance == 1);
  CHECK(few[1].df == 2);
}

/// A width's rows as seeds vary them: what rounding costs a row has a deviation of `share` of its mean,
/// times a factor of the row's own (log-normal, `unlike`); half of the variance is shared by all rows.
struct Width {
  std::vector<double> costs{};
  double share = 0.15;
  double unlike = 0;
};

std::vector<SeedResults> draw(const Width& width, int seeds, std::uint64_t table) {
  constexpr int kWindows = 12;
  Rng rng(static_cast<std::uint64_t>(seeds), table);
  std::vector<double> deviation;
  for (const double cost : width.costs) {
    deviation.push_back(width.share * cost * std::exp(width.unlike * rng.normal()));
  }
  const std::vector<std::int64_t> ones(kWindows, 1);
  std::vector<SeedResults> out;
  for (int s = 0; s < seeds; ++s) {
    const double shared = rng.normal();
    SeedResults seed{.seed = s};
    RowResult base{.name = "fp32", .method = "fp32", .bits = 32};
    base.eval = {.window_losses = std::vector<double>(kWindows, 2), .window_tokens = ones};
    seed.rows.push_back(base);
    for (std::size_t r = 0; r < width.costs.size(); ++r) {
      const std::string name = "r" + std::to_string(r);
      RowResult row{.name = name, .method = name, .bits = 4, .granularity = "channel"};
      const double loss =
          2 + width.costs[r] + deviation[r] * std::sqrt(0.5) * (shared + rng.normal());
      for (int w = 0; w < kWindows; ++w) {
        row.eval.window_losses.push_back(loss + 1e-3 * width.costs[r] * rng.normal());
      }
      row.eval.window_tokens = ones;
      seed.rows.push_back(std::move(row));
    }
    out.push_back(std::move(seed));
  }
  return out;
}

struct Decided {
  double wrong = 0;  ///< share of tables that resolve two rows of equal cost
  double right = 0;  ///< share of the pairs of unequal cost that are resolved
  double alone = 0;  ///< the same by each pair's own seeds
};

Decided decided(const Width& width, int seeds, int tables, bool alone_too = false) {
  Decided out;
  double unequal = 0;
  for (int table = 0; table < tables; ++table) {
    const std::vector<SeedResults> drawn = draw(width, seeds, static_cast<std::uint64_t>(table));
    const Statistics statistics(drawn);
    const WidthRanking w = rankings(statistics).front();
    const auto cost = [&](const RowResult* r) { return width.costs[std::stoul(r->name.substr(1))]; };
    std::vector<double> alone;
    for (const Pair& pair : w.pairs) {
      const Difference own = statistics.difference(pair.worse->name, pair.better->name);
      alone.push_back(alone_too ? own.p() : 1);
    }
    alone = holm(alone);
    bool wrong = false;
    for (std::size_t k = 0; k < w.pairs.size(); ++k) {
      if (cost(w.pairs[k].better) == cost(w.pairs[k].worse)) {
        wrong |= w.pairs[k].resolved();
      } else {
        ++unequal;
        out.right += w.pairs[k].resolved();
        out.alone += alone[k] < 0.05;
      }
    }
    out.wrong += static_cast<double>(wrong) / tables;
  }
  if (unequal > 0) {
    out.right /= unequal;
    out.alone /= unequal;
  }
  return out;
}

TEST_CASE("Rows that are alike are told apart in 5 % of tables") {
  constexpr int kTables = 200;
  const double noise = 3 * std::sqrt(0.05 * 0.95 / kTables);
  for (const int seeds : {3, 5, 20}) {
    for (const double unlike : {0.0, 0.5}) {
      INFO(seeds << " seeds, rows unlike by " << unlike);
      // Labels that could be exchanged, as if each seed had permuted them; and among unequal rows.
      const Width alike{.costs = std::vector<double>(7, 0.1), .unlike = unlike};
      CHECK(decided(alike, seeds, kTables).wrong <= 0.05 + noise);
      const Width mixed{.costs = {0.5, 0.5, 0.1, 0.1, 0.02, 0.02, 0.02}, .unlike = unlike};
      CHECK(decided(mixed, seeds, kTables).wrong <= 0.05 + noise);
    }
  }
}

TEST_CASE("Three seeds resolve half a nat from a fiftieth of it") {
  // 2 bits: round-to-nearest twice, GPTQ twice, three trained rows.
  const Width width{.costs = {0.47, 0.47, 0.1, 0.1, 0.018, 0.018, 0.018}};
  const Decided three = decided(width, 3, 60, true), five = decided(width, 5, 60, true),
                twenty = decided(width, 20, 20);
  CHECK(three.right >= 0.7);
  CHECK(three.alone <= three.right / 2);
  CHECK(five.right >= 0.95);
  CHECK(twenty.right >= 0.99);
  CHECK(five.right >= five.alone);
}

}  // namespace notch::experiments::moderation_test
