#include "quant/store/gguf_encode.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "quant/store/gguf_blocks.h"

namespace notch::quant {
namespace {

using Block = std::span<const float, kSmallBlock>;

/// Half to even; |v| is below 2^22. llama.cpp's nearest_int.
int nearest(float v) { return static_cast<int>((v + 0x1.8p23f) - 0x1.8p23f); }

float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

float extreme_of(Block x) {
  float extreme = 0;
  for (const float v : x)
    if (std::abs(v) > std::abs(extreme)) extreme = v;
  return extreme;
}

SmallBlock q8(Block x) {
  const float d = std::abs(extreme_of(x)) / 127, id = reciprocal(d);
  SmallBlock block{.d = d};
  std::ranges::transform(x, block.q.begin(),
                         [id](float v) { return static_cast<int>(std::round(v * id)); });
  return block;
}

SmallBlock signed_max(Block x, int half) {
  const float d = extreme_of(x) / static_cast<float>(-half), id = reciprocal(d);
  SmallBlock block{.d = d};
  std::ranges::transform(x, block.q.begin(), [&](float v) {
    const int code = static_cast<int>(v * id + (static_cast<float>(half) + 0.5f));
    return std::min(2 * half - 1, code) - half;
  });
  return block;
}

SmallBlock from_minimum(Block x, int top) {
  const auto [low, high] = std::ranges::minmax(x);
  const float d = (high - low) / static_cast<float>(top), id = reciprocal(d);
  SmallBlock block{.d = d, .m = low};
  std::ranges::transform(x, block.q.begin(), [&, low = low](float v) {
    return std::min(top, static_cast<int>((v - low) * id + 0.5f));
  });
  return block;
}

/// make_qx_quants(32, half, x, L, 1, weight).
SmallBlock fitted_scale(Block x, int half, Block weight) {
  constexpr float kNothing = 1e-15f;
  const float extreme = extreme_of(x);
  SmallBlock block;
  if (std::abs(extreme) < kNothing) {
    block.q.fill(-half);  // their codes are 0, and d too
    return block;
  }
  const auto code = [&](float inverse, float v) {
    return std::clamp(nearest(inverse * v), -half, half - 1);
  };
  float best = 0;
  const auto attempt = [&](float inverse, bool first) {
    float wxq = 0, wqq = 0;
    for (std::size_t j = 0; j < kSmallBlock; ++j) {
      const auto q = static_cast<float>(code(inverse, x[j]));
      wxq += weight[j] * x[j] * q;
      wqq += weight[j] * q * q;
    }
    if (!first && !(wqq > 0 && wxq * wxq > best * wqq)) return;
    block.d = wqq != 0 ? wxq / wqq : 0;
    best = block.d * wxq;
    for (std::size_t j = 0; j < kSmallBlock; ++j) block.q[j] = code(inverse, x[j]);
  };
  attempt(static_cast<float>(-half) / extreme, true);
  for (int i = -9; i <= 9; ++i) {
    if (i != 0)
      attempt(-(static_cast<float>(half) + 0.1f * static_cast<float>(i)) / extreme, false);
  }
  return block;
}

/// make_qkx3_quants(32, top, x, weight, L, &m, Laux, -0.9, 0.05, 36, false).
SmallBlock fitted_range(Block x, int top, Block weight) {
  constexpr int kSteps = 36;
  constexpr float kFirst = -0.9f, kStep = 0.05f;
  const auto range = std::ranges::minmax(x);
  float low = std::min(range.min, 0.0f);
  const float high = range.max;
  float sum_w = 0, sum_wx = 0;
  for (std::size_t j = 0; j < kSmallBlock; ++j) sum_w += weight[j], sum_wx += weight[j] * x[j];
  SmallBlock block{.m = low};
  if (high <= low) return block;
  std::array<int, kSmallBlock> codes{};
  const auto round_all = [&](float inverse) {
    for (std::size_t j = 0; j < kSmallBlock; ++j)
      codes[j] = std::clamp(nearest(inverse * (x[j] - low)), 0, top);
  };
  const auto error = [&](float d, float m) {
    float sum = 0;
    for (std::size_t j = 0; j < kSmallBlock; ++j) {
      const float off = d * static_cast<float>(codes[j]) + m - x[j];
      sum += weight[j] * (off * off);
    }
    return sum;
  };
  const float inverse = static_cast<float>(top) / (high - low);
  block.d = 1 / inverse;
  round_all(inverse);
  block.q = codes;
  float best = error(block.d, block.m);
  for (int i = 0; i <= kSteps; ++i) {
    // The range that is cut follows the best minimum so far.
    low = block.m;
    round_all((kFirst + kStep * static_cast<float>(i) + static_cast<float>(top)) / (high - low));
    float wq = 0, wqq = 0, wxq = 0;
    for (std::size_t j = 0; j < kSmallBlock; ++j) {
      const auto q = static_cast<float>(codes[j]);
      wq += weight[j] * q;
      wqq += weight[j] * q * q;
      wxq += weight[j] * q * x[j];
    }
    const float determinant = sum_w * wqq - wq * wq;
    if (!(determinant > 0)) continue;
    float d = (sum_w * wxq - sum_wx * wq) / determinant;
    float m = (wqq * sum_wx - wq * wxq) / determinant;
    if (m > 0) m = 0, d = wxq / wqq;
    if (const float now = error(d, m); now < best) {
      best = now;
      block = {.d = d, .m = m, .q = codes};
    }
  }
  return block;
}

void encode_float(const nn::GgufType& type, float v, std::vector<std::byte>& out) {
  const auto put = [&](const auto& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  if (type.name == "F32") return put(v);
  put(type.name == "F16" ? to_f16(v) : to_bf16(v));
}

SmallBlock encode_block(const nn::GgufType& type, Block x, Block weight, bool weighted) {
  const int half = type.name.starts_with("Q4") ? 8 : 16, top = 2 * half - 1;
  if (type.name == "Q8_0") return q8(x);
  if (type.name.ends_with("_0"))
    return weighted ? fitted_scale(x, half, weight) : signed_max(x, half);
  return weighted ? fitted_range(x, top, weight) : from_minimum(x, top);
}

}  // namespace

bool has_encoder(const nn::GgufType& type) {
  return std::ranges::count(std::array{0u, 1u, 2u, 3u, 6u, 7u, 8u, 30u}, type.id) > 0;
}

void encode_blocks(const nn::GgufType& type, std::span<const real> row, std::vector<std::byte>& out,
                   std::span<const float> importance) {
  check(has_encoder(type), type.name, "has no encoder here");
  const auto block = static_cast<std::size_t>(type.block);
  check(row.size() % block == 0, type.name, "stores blocks of ", block, ", and the row has ",
        row.size());
  check(importance.empty() || importance.size() == row.size(), type.name, "the row has ",
        row.size(), " columns, and their importances are ", importance.size());
  if (block == 1) {
    for (const real v : row) encode_float(type, static_cast<float>(v), out);
    return;
  }
  float squares = 0;
  for (const real v : row) squares += static_cast<float>(v) * static_cast<float>(v);
  const float mean_square = squares / static_cast<float>(row.size());
  std::array<float, kSmallBlock> x{}, weight{};
  for (std::size_t i = 0; i < row.size(); i += kSmallBlock) {
    for (std::size_t j = 0; j < kSmallBlock; ++j) {
      x[j] = static_cast<float>(row[i + j]);
      if (!importance.empty()) weight[j] = importance[i + j] * std::sqrt(mean_square + x[j] * x[j]);
    }
    pack_small(type, encode_block(type, x, weight, !importance.empty()), out);
  }
}

}  // namespace notch::quant
