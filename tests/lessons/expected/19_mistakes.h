#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tests/lessons/expected.h"
#include "tests/lessons/expected/11_lsq.h"
#include "tests/lessons/related_inputs.h"

namespace notch::test {

/// Half to even to the upper 16 bits of a float, by its bits.
inline float to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
}

/// AWQ of a layer: error on X over that of the nearest codes, with input channels times size^alpha.
inline double awq_share(const RelatedInputs& layer, const RelatedInputs::Rows& X, double alpha) {
  std::vector<double> factor;
  for (std::size_t c = 0; c < RelatedInputs::K; ++c) {
    double squares = 0;
    for (const auto& x : X) squares += x[c] * x[c] / static_cast<double>(X.size());
    factor.push_back(std::pow(std::sqrt(squares), alpha));
  }
  double error = 0, plain = 0;
  for (std::size_t r = 0; r < RelatedInputs::kRows; ++r) {
    const std::vector<double>& w = layer.W[r];
    std::vector<double> q = w, nearest = w;
    double largest = 0;
    for (std::size_t c = 0; c < q.size(); ++c)
      largest = std::max(largest, std::fabs(q[c] *= factor[c]));
    for (std::size_t c = 0; c < q.size(); ++c) {
      q[c] = std::nearbyint(q[c] / (largest / 7)) * (largest / 7) / factor[c];
      nearest[c] = std::nearbyint(w[c] / layer.step(r)) * layer.step(r);
    }
    error += change(w, q, X), plain += change(w, nearest, X);
  }
  return error / plain;
}

// 1 and 7 by the triangular forms; 2 by hand: two weights stay 0.2 and 0.1 away from their targets,
// 0.04 + 0.01, and the targets are points of the grid; 3 written anew with inputs instead of their
// second moment.
inline Table mistakes() {
  Table t;
  double right = 0, wrong = 0;
  Rng first(1);
  for (int n = 0; n < 50; ++n) {
    const RelatedInputs layer(first);
    const auto X = layer.inputs(first, 128);
    const TriangularGptq method(X);
    right += gptq_share(layer, method, 'r', X) / 50,
        wrong += gptq_share(layer, method, 'A', X) / 50;
  }
  t << near("sign.right", right, 1e-6) << near("sign.wrong", wrong, 1e-6)
    << near("mask.right", 0, 1e-12) << near("mask.wrong", 0.05, 1e-9);

  double from_0 = 0, from_1 = 0, worse_0 = 0, worse_1 = 0;
  Rng third(3);
  for (int n = 0; n < 200; ++n) {
    const RelatedInputs layer(third);
    const auto X = layer.inputs(third, 128);
    double best = 1e9;
    for (int tenth = 10; tenth >= 1; --tenth)
      best = std::min(best, awq_share(layer, X, tenth / 10.0));
    from_1 += best / 200, worse_1 += best > 1;
    best = std::min(best, 1.0);  // α = 0 is rounding to nearest
    from_0 += best / 200, worse_0 += best > 1;
  }
  t << near("awq.right", from_0, 1e-6) << near("awq.wrong", from_1, 1e-6)
    << exactly("awq.worse.right", worse_0) << exactly("awq.worse.wrong", worse_1);

  // 4. Adam's first step is the rate, whatever the gradient; the gradient is positive, as nothing is
  // clipped at absmax (lesson 11). A step of 0.0097 rounds all of 0.0007 to zero: the error is the
  // weights' squares. log s comes to rest where LSQ does, by halving.
  Rng fourth(4);
  std::vector<double> w(256);
  double largest = 0, squares = 0;
  for (double& x : w) {
    x = 0.0007 * fourth.normal();
    largest = std::max(largest, std::fabs(x)), squares += x * x / 256;
  }
  double low = largest / 70, high = largest / 7;
  for (int i = 0; i < 60; ++i) {
    (step_error(w, (low + high) / 2, 7).gradient > 0 ? high : low) = (low + high) / 2;
  }
  const double start = largest / 7;
  t << near("abs.start", start, 1e-12) << near("abs.step.right", start * std::exp(-0.01), 1e-9)
    << near("abs.step.wrong", 0.01 - start, 1e-9)
    << near("abs.error.right", step_error(w, start * std::exp(-0.01), 7).error / squares, 1e-6)
    << near("abs.error.wrong", 1, 1e-9)
    << near("abs.last", step_error(w, low, 7).error / squares,
            0.05 * step_error(w, low, 7).error / squares)
    << exactly("abs.lost.right", 0) << between("abs.lost.wrong", 0.2, 1);

  // 5. The same draws; bf16 by its bits, division and products in float as the layout says.
  Rng fifth(5);
  double on_time = 0, late = 0;
  for (int row = 0; row < 64; ++row) {
    std::vector<float> v(256);
    float top = 0;
    for (float& x : v) x = static_cast<float>(fifth.normal()), top = std::max(top, std::fabs(x));
    const float exact = top / 127, stored = to_bf16(exact);
    for (const float x : v) {
      const auto error = [&](float chosen_for) {
        const float code = std::nearbyint(std::clamp(x / chosen_for, -127.0f, 127.0f));
        return std::pow(static_cast<double>(code * stored) - static_cast<double>(x), 2);
      };
      on_time += error(stored), late += error(exact);
    }
  }
  t << near("late", late / on_time, 1e-6);

  // 6. What training reaches is a property; 0.999^200 = 0.82 of the long average is the start, whose
  // codes are the nearest (1).
  t << between("ema.trained", 0.2, 0.7) << between("ema.short", 0.2, 0.7)
    << between("ema.long", 0.9, 1.05);

  double honest = 0, leaked = 0, truth = 0;
  Rng seventh(7);
  for (int n = 0; n < 50; ++n) {
    const RelatedInputs layer(seventh);
    const auto calibration = layer.inputs(seventh, 40), test = layer.inputs(seventh, 40);
    const auto fresh = layer.inputs(seventh, 2000);
    const TriangularGptq fair(calibration), unfair(test);
    honest += gptq_share(layer, fair, 'r', test) / 50;
    leaked += gptq_share(layer, unfair, 'r', test) / 50;
    truth += gptq_share(layer, unfair, 'r', fresh) / 50;
  }
  t << near("leak.honest", honest, 1e-6) << near("leak.leaked", leaked, 1e-6)
    << near("leak.truth", truth, 1e-6);
  return t;
}

}  // namespace notch::test
