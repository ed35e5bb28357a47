#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "autograd/base/rng.h"
#include "experiments/lessons/scalar_gpt.h"
#include "tests/lessons/expected.h"

namespace notch::test {

/// The forward pass of the names GPT in plain loops of double: no tape, no cache, no op.
class PlainGpt {
 public:
  explicit PlainGpt(const std::vector<double>& weights) : w_(weights) {}

  double loss(const std::vector<std::int32_t>& ids) const {
    const std::size_t T = ids.size() - 1;
    std::vector<std::vector<double>> x(T), q(T), k(T), v(T);
    double sum = 0;
    for (std::size_t t = 0; t < T; ++t) {
      x[t].resize(C);
      for (std::size_t c = 0; c < C; ++c) {
        x[t][c] = w_[static_cast<std::size_t>(ids[t]) * C + c] + w_[kWpe + t * C + c];
      }
      x[t] = normed(x[t]);
      const auto h = normed(x[t]);
      q[t] = times(kQ, C, h), k[t] = times(kQ + C * C, C, h), v[t] = times(kQ + 2 * C * C, C, h);
    }
    for (std::size_t t = 0; t < T; ++t) {
      std::vector<double> mixed(C, 0);
      for (std::size_t c = 0; c < C; ++c) {  // channel c belongs to head c / 4
        double total = 0;
        for (std::size_t s = 0; s <= t; ++s) {
          double score = 0;
          for (std::size_t i = c / 4 * 4; i < c / 4 * 4 + 4; ++i) score += q[t][i] * k[s][i] / 2;
          total += std::exp(score), mixed[c] += std::exp(score) * v[s][c];
        }
        mixed[c] /= total;
      }
      auto y = plus(x[t], times(kQ + 3 * C * C, C, mixed));
      auto h = times(kFc, 64, normed(y));
      for (double& a : h) a = std::max(a, 0.0);
      y = plus(y, times(kFc + 64 * C, C, h));
      const auto logits = times(kFc + 2 * 64 * C, 27, y);
      double total = 0;
      for (const double a : logits) total += std::exp(a);
      sum += std::log(total) - logits[static_cast<std::size_t>(ids[t + 1])];
    }
    return sum / static_cast<double>(T);
  }

 private:
  static constexpr std::size_t C = 16, kWpe = 27 * C, kQ = kWpe + 12 * C, kFc = kQ + 4 * C * C;
  static std::vector<double> plus(std::vector<double> a, const std::vector<double>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
  }
  static std::vector<double> normed(std::vector<double> x) {
    double squares = 0;
    for (const double a : x) squares += a * a / static_cast<double>(x.size());
    for (double& a : x) a /= std::sqrt(squares + 1e-5);
    return x;
  }
  std::vector<double> times(std::size_t first, std::size_t rows,
                            const std::vector<double>& x) const {
    std::vector<double> y(rows, 0);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < x.size(); ++c) y[r] += w_[first + r * x.size() + c] * x[c];
    }
    return y;
  }
  std::vector<double> w_;
};

/// 4128 normal numbers of deviation 0.1, rounded to float.
inline std::vector<double> names_start() {
  Rng rng(18);
  std::vector<double> w(4128);
  for (double& v : w) v = static_cast<double>(static_cast<float>(0.1 * rng.normal()));
  return w;
}
inline std::string syllables(Rng& rng) {
  std::string name;
  const std::uint64_t count = 2 + rng.below(2);
  for (std::uint64_t i = 0; i < count; ++i) {
    const char first = std::string("bdklmnrs")[rng.below(8)];
    name += std::string{first, std::string("aeio")[rng.below(4)]};
  }
  return name;
}

// Weights: 27 · 16 + 12 · 16 + 4 · 16² + 2 · 64 · 16 + 27 · 16. Bytes: half or a quarter of one per
// weight, and a float for each of 27 + 12 + 4 · 16 + 64 + 16 + 27 rows. The first loss from plain
// loops, the others from the scalar GPT run here in double (its gradients have a test of their own);
// the tensors' float follows it. Floor: a name is ln 2 (its length) and 2.5 ln 32 (its syllables) on
// average, in 6 tokens with its end. 200 names have 2.5 ± 0.035 syllables on average, so a perfect
// model scores within 0.01 of it. What training and rounding reach are properties.
inline Table names() {
  Table t;
  Rng rng(19);
  lessons::ScalarGpt scalar(names_start());
  std::vector<double> losses;
  std::string first;
  for (int step = 0; step < 20; ++step) {
    const std::string name = syllables(rng);
    if (step == 0) first = name;
    losses.push_back(scalar.loss(name));
    scalar.adam(0.01);
  }
  const double floor = (std::log(2.0) + 2.5 * std::log(32.0)) / 6;
  t << exactly("weights", 4128)
    << near("loss.0", PlainGpt(names_start()).loss(lessons::tokens_of(first)), 1e-5)
    << near("loss.1", losses[1], 1e-5) << near("loss.2", losses[19], 1e-4) << exactly("apart", 0)
    << near("floor", floor, 1e-12) << between("fp32", floor - 0.01, floor + 0.04)
    << exactly("4.bytes", 4128 / 2 + 210 * 4) << exactly("2.bytes", 4128 / 4 + 210 * 4)
    << between("4.rounded", floor - 0.01, floor + 0.08) << between("4.cost", 0.001, 0.06)
    << between("2.cost", 0.02, 0.3) << between("4.trained", floor - 0.01, floor + 0.04)
    << between("2.rounded", floor + 0.02, floor + 0.3)
    << between("2.trained", floor + 0.012, floor + 0.08)
    << between("32.trained", floor - 0.01, floor + 0.04);
  return t;
}

}  // namespace notch::test
