// Seven common mistakes as programs, each beside the right version: what lesson 19 prints. The wrong
// lines are marked.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "autograd/base/rng.h"
#include "experiments/lessons/random_layer.h"
#include "quant/methods/reference.h"
#include "quant/numbers/qtensor.h"
#include "quant/numbers/ranges.h"

namespace notch::lessons::measured {

/// Errors relative to those of the nearest codes (1), or as a function says.
struct Damage {
  double right = 0, wrong = 0;
};

inline Matrix gptq(const RandomLayer& layer, const Matrix& H, double sign = 1) {
  constexpr std::size_t K = RandomLayer::K;
  Matrix Hinv = quant::reference::inverse(H, K), W = layer.W, Q(W.size());
  for (std::size_t c = 0; c < K; ++c) {
    for (std::size_t row = 0; row < W.size(); row += K) {
      Q[row + c] = nearest(W[row + c], layer.steps[row / K]);
      const double e = sign * (W[row + c] - Q[row + c]) / Hinv[c * K + c];
      for (std::size_t j = c + 1; j < K; ++j) W[row + j] -= e * Hinv[j * K + c];
    }
    const Matrix old = Hinv;
    for (std::size_t i = 0; i < K * K; ++i)
      Hinv[i] -= old[i / K * K + c] * old[c * K + i % K] / old[c * K + c];
  }
  return Q;
}

inline double share(const RandomLayer& layer, const Matrix& Q, const Matrix& H) {
  constexpr std::size_t K = RandomLayer::K;
  return output_error(layer.W, Q, H, K) /
         output_error(layer.W, nearest(layer.W, K, layer.steps), H, K);
}

/// GPTQ adds where it must subtract. 50 layers.
inline Damage gptq_sign() {
  Damage mean;
  Rng rng(1);
  for (int n = 0; n < 50; ++n) {
    const RandomLayer layer(rng);
    const Matrix H = layer.moment(rng, 128);
    mean.right += share(layer, gptq(layer, H), H) / 50;
    mean.wrong += share(layer, gptq(layer, H, -1), H) / 50;  // WRONG
  }
  return mean;
}

/// The clip mask of an 8-bit grid with a zero point: (0.5, 1.2, -0.3, 0.8) shall move to
/// (0.4, 1.0, -0.2, 0.7). The loss Σ (ŵ - target)² after 200 steps of the straight-through estimator.
inline Damage clip_mask() {
  const std::vector<double> target{0.4, 1.0, -0.2, 0.7};
  const double s = 1.5 / 255, z = -128 + std::nearbyint(0.3 / s);
  Damage loss;
  for (const bool right : {true, false}) {
    std::vector<double> w{0.5, 1.2, -0.3, 0.8};
    double& sum = right ? loss.right : loss.wrong;
    for (int step = 0; step <= 200; ++step) {
      sum = 0;
      for (std::size_t i = 0; i < 4; ++i) {
        const double q = std::clamp(std::nearbyint(w[i] / s) + z, -128.0, 127.0);
        const double off = (q - z) * s - target[i];
        const double v = w[i] / s + (right ? z : 0);  // WRONG without z
        if (v >= -128 && v <= 127) w[i] -= 0.05 * 2 * off;
        sum += off * off;
      }
    }
  }
  return loss;
}

/// AWQ (Lin et al. 2023, arXiv:2306.00978): multiply the input channels of W by a power α of the size
/// of their inputs, round, divide; the α with the least output error of a list. 200 layers: mean error,
/// and how many are worse than without AWQ.
struct Awq {
  Damage error{}, worse{};
};
inline Awq awq_identity() {
  constexpr std::size_t K = RandomLayer::K;
  Awq out;
  Rng rng(3);
  for (int n = 0; n < 200; ++n) {
    const RandomLayer layer(rng);
    const Matrix H = layer.moment(rng, 128);
    double best = 1e300, best_without = 1e300;
    for (int tenth = 0; tenth <= 10; ++tenth) {
      Matrix Q = layer.W;
      for (std::size_t row = 0; row < Q.size(); row += K) {
        double largest = 0;
        for (std::size_t c = 0; c < K; ++c) {
          Q[row + c] *= std::pow(H[c * K + c], 0.05 * tenth);  // √H_cc: the size of input c
          largest = std::fmax(largest, std::fabs(Q[row + c]));
        }
        for (std::size_t c = 0; c < K; ++c) {
          Q[row + c] = nearest(Q[row + c], largest / 7) / std::pow(H[c * K + c], 0.05 * tenth);
        }
      }
      const double error = share(layer, Q, H);
      best = std::fmin(best, error);
      if (tenth > 0) best_without = std::fmin(best_without, error);  // WRONG: α = 0 is not tried
    }
    out.error.right += best / 200, out.error.wrong += best_without / 200;
    out.worse.right += best > 1 + 1e-9, out.worse.wrong += best_without > 1 + 1e-9;
  }
  return out;
}

/// Learning a step with Adam, rate 0.01, for 256 weights of deviation 0.0007 on 4 bits: as log s, and
/// as s = |p|. The step at the start and after one update; Σ (ŵ - w)² / Σ w² then; that of log s after
/// 200 updates; and the share of these 200 after which every weight was 0.
struct Step {
  double start = 0, last = 0;
  Damage step{}, error{}, lost{};
};
inline Step step_through_abs() {
  Rng rng(4);
  std::vector<double> w(256);
  double largest = 0, squares = 0;
  for (double& x : w) {
    x = 0.0007 * rng.normal();
    largest = std::fmax(largest, std::fabs(x)), squares += x * x;
  }
  Step out{.start = largest / 7};
  for (const bool right : {true, false}) {
    double p = right ? std::log(out.start) : out.start, m = 0, v = 0;
    for (int t = 1; t <= 201; ++t) {
      const double s = right ? std::exp(p) : std::fabs(p);  // WRONG: |p|
      double error = 0, gradient = 0;
      for (const double x : w) {
        const double off = nearest(x, s) - x, u = x / s;
        gradient +=
            2 * off * (std::fabs(u) < 7 ? off / s : std::copysign(7, u)) / 256;  // lesson 11
        error += off * off / squares;
      }
      if (t == 2) (right ? out.step.right : out.step.wrong) = s;
      if (t == 2) (right ? out.error.right : out.error.wrong) = error;
      if (t == 201 && right) out.last = error;
      if (t > 1 && error > 1 - 1e-9) (right ? out.lost.right : out.lost.wrong) += 1.0 / 200;
      gradient *= right ? s : std::copysign(1, p);
      m = 0.9 * m + 0.1 * gradient, v = 0.999 * v + 0.001 * gradient * gradient;
      const double root = std::sqrt(v / (1 - std::pow(0.999, t)));
      p -= 0.01 * m / (1 - std::pow(0.9, t)) / (root + 1e-15);
    }
  }
  return out;
}

/// 8 bits with a bf16 scale per row: codes chosen for the exact scale, then stored with the rounded
/// one. 64 rows of 256 normal weights: the mean square error over that of the right order.
inline double scale_rounded_late() {
  Rng rng(5);
  std::vector<real> w(64 * 256);
  for (real& x : w) x = static_cast<real>(rng.normal());
  const auto error = [&](const quant::QTensor& q) {
    double sum = 0;
    const auto back = quant::dequantize(q);
    for (std::size_t i = 0; i < w.size(); ++i)
      sum += std::pow(static_cast<double>(back[i]) - static_cast<double>(w[i]), 2);
    return sum;
  };
  const auto rounded = [&](quant::ScaleType type) {
    const quant::Spec spec{.bits = 8, .scale = type};
    const auto found = quant::choose_scales(w, 64, 256, spec, quant::RangeRule::absmax, "scales");
    return quant::quantize(w, 64, 256, spec, found.at, "scales");
  };
  const quant::QTensor right = rounded(quant::ScaleType::bf16);
  quant::QTensor wrong = rounded(quant::ScaleType::f32);
  for (real& s : wrong.at.scales)
    s = quant::round_scale(s, quant::ScaleType::bf16);  // WRONG: too late
  return error(wrong) / error(right);
}

/// QAT of a layer, 200 steps of the straight-through estimator towards the outputs of W; then rounded
/// once more from the moving average of the exact weights. 20 layers.
struct Average {
  double trained = 0, short_memory = 0, long_memory = 0;
};
inline Average averaged_latents() {
  constexpr std::size_t K = RandomLayer::K;
  Average mean;
  Rng rng(6);
  for (int n = 0; n < 20; ++n) {
    const RandomLayer layer(rng);
    const Matrix H = layer.moment(rng, 128);
    Matrix w = layer.W, quick = w, slow = w;
    for (int step = 0; step < 200; ++step) {
      const Matrix Q = nearest(w, K, layer.steps);
      for (std::size_t i = 0; i < w.size(); ++i) {
        double gradient = 0;
        for (std::size_t j = 0; j < K; ++j)
          gradient += 2 * (Q[i / K * K + j] - layer.W[i / K * K + j]) * H[j * K + i % K];
        if (std::fabs(w[i]) <= 7 * layer.steps[i / K]) w[i] -= 0.01 * (1 - step / 200.0) * gradient;
      }
      for (std::size_t i = 0; i < w.size(); ++i) {
        quick[i] = 0.9 * quick[i] + 0.1 * w[i];
        slow[i] = 0.999 * slow[i] + 0.001 * w[i];
      }
    }
    mean.trained += share(layer, nearest(w, K, layer.steps), H) / 20;
    mean.short_memory += share(layer, nearest(quick, K, layer.steps), H) / 20;
    mean.long_memory += share(layer, nearest(slow, K, layer.steps), H) / 20;
  }
  return mean;
}

/// GPTQ calibrated on 40 inputs. Error on 40 test inputs when the calibration inputs are others, and
/// when they are the test inputs; and the latter model's error on new inputs. 50 layers.
struct Leak {
  double honest = 0, leaked = 0, truth = 0;
};
inline Leak calibrated_on_test() {
  Leak mean;
  Rng rng(7);
  for (int n = 0; n < 50; ++n) {
    const RandomLayer layer(rng);
    const Matrix calibration = layer.moment(rng, 40), test = layer.moment(rng, 40),
                 fresh = layer.moment(rng, 2000);
    mean.honest += share(layer, gptq(layer, calibration), test) / 50;
    mean.leaked += share(layer, gptq(layer, test), test) / 50;  // WRONG
    mean.truth += share(layer, gptq(layer, test), fresh) / 50;
  }
  return mean;
}

}  // namespace notch::lessons::measured
