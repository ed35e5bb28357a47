// Random matrices for the tests of quant/.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/base/real.h"
#include "autograd/base/rng.h"
#include "quant/numbers/format.h"

namespace notch::test {

inline std::vector<real> normal_matrix(std::int64_t n, std::uint64_t seed, double std_dev = 1) {
  Rng rng(seed, 99);
  std::vector<real> w(static_cast<std::size_t>(n));
  for (real& v : w) v = static_cast<real>(std_dev * rng.normal());
  return w;
}

/// Rows of inputs [n, K] whose features are correlated: neighbours share most of their variance.
inline std::vector<real> correlated_inputs(std::int64_t n, std::int64_t K, std::uint64_t seed) {
  Rng rng(seed, 98);
  std::vector<real> x(static_cast<std::size_t>(n * K));
  for (std::int64_t t = 0; t < n; ++t) {
    double state = rng.normal();
    for (std::int64_t k = 0; k < K; ++k) {
      state = 0.9 * state + 0.43588989435 * rng.normal();  // variance 1, correlation 0.9^|i-j|
      x[static_cast<std::size_t>(t * K + k)] = static_cast<real>(state);
    }
  }
  return x;
}

/// Every grid of given levels, width, granularity and scale type, for matrices whose cols `group` divides.
inline std::vector<quant::Spec> all_specs(std::int64_t group) {
  using namespace quant;
  std::vector<Spec> specs;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const Format& format : formats()) {
      if (!format.has_bits(bits) || format.has_own_levels()) continue;
      for (const Granularity g : {Granularity::tensor, Granularity::channel, Granularity::group}) {
        for (const ScaleType scale :
             {ScaleType::f32, ScaleType::f16, ScaleType::bf16, ScaleType::e8m0}) {
          if (scale == ScaleType::e8m0 && format.has_signed_scale()) continue;
          specs.push_back({.bits = bits,
                           .grid = format.kind,
                           .granularity = g,
                           .group_size = g == Granularity::group ? group : 0,
                           .scale = scale});
        }
      }
    }
  }
  return specs;
}

}  // namespace notch::test
