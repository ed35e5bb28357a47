#include "quant/store/gguf_encode.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "quant/store/gguf_blocks.h"
#include "quant/store/gguf_superblocks.h"

namespace notch::quant {
namespace {

struct Encoder {
  std::uint32_t id = 0;
  bool weighs = false;
};
constexpr std::array kEncoders{Encoder{0},       Encoder{1},        Encoder{2, true},
                               Encoder{3, true}, Encoder{6, true},  Encoder{7, true},
                               Encoder{8},       Encoder{20, true}, Encoder{30},
                               Encoder{34},      Encoder{35}};
const Encoder* encoder_of(const nn::GgufType& type) {
  const auto at = std::ranges::find(kEncoders, type.id, &Encoder::id);
  return at == kEncoders.end() ? nullptr : &*at;
}

using Block = std::span<const float, kSmallBlock>;

/// Half to even; |v| is below 2^22. llama.cpp's nearest_int.
int nearest(float v) { return static_cast<int>((v + 0x1.8p23f) - 0x1.8p23f); }

float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

float extreme_of(std::span<const float> x) {
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

/// best_index_int8's level.
float nearest_level(float v) {
  const auto to_float = [](int level) { return static_cast<float>(level); };
  const auto above = std::ranges::upper_bound(kIq4NlLevels, v, {}, to_float);
  if (above == kIq4NlLevels.begin()) return to_float(kIq4NlLevels.front());
  if (above == kIq4NlLevels.end()) return to_float(kIq4NlLevels.back());
  const float lower = to_float(above[-1]), upper = to_float(*above);
  return v - lower < upper - v ? lower : upper;
}

/// quantize_row_iq4_nl_impl(32, 32, x, …, 7).
SmallBlock fitted_levels(Block x, Block weight) {
  constexpr float kNothing = 1e-15f, kFirst = kIq4NlLevels.front();
  constexpr int kTries = 7;
  const float extreme = extreme_of(x);
  SmallBlock block;
  float best = 0;
  const auto attempt = [&](float inverse, bool first) {
    float wqx = 0, wqq = 0;
    for (std::size_t j = 0; j < kSmallBlock; ++j) {
      const float q = nearest_level(inverse * x[j]);
      wqx += weight[j] * q * x[j];
      wqq += weight[j] * q * q;
    }
    if (!(wqq > 0) || (!first && !(wqx * wqx > best * wqq))) return;
    block.d = wqx / wqq;
    best = block.d * wqx;
  };
  if (std::abs(extreme) >= kNothing) {
    attempt(1 / (-extreme / kFirst), true);
    for (int i = -kTries; i <= kTries; ++i)
      attempt((static_cast<float>(i) + kFirst) / extreme, false);
  }
  const float id = reciprocal(block.d);
  std::ranges::transform(x, block.q.begin(),
                         [id](float v) { return static_cast<int>(nearest_level(id * v)); });
  return block;
}

/// quantize_row_tq1_0_ref and _tq2_0_ref.
SuperBlock ternary(std::span<const float, kSuperBlock> x) {
  SuperBlock block{.d = std::abs(extreme_of(x))};
  block.scale.fill(1);
  const float id = reciprocal(block.d);
  std::ranges::transform(x, block.q.begin(),
                         [id](float v) { return static_cast<int>(std::round(v * id)); });
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
  if (type.name == "IQ4_NL") return fitted_levels(x, weight);
  if (type.name.ends_with("_0"))
    return weighted ? fitted_scale(x, half, weight) : signed_max(x, half);
  return weighted ? fitted_range(x, top, weight) : from_minimum(x, top);
}

}  // namespace

bool has_encoder(const nn::GgufType& type) { return encoder_of(type) != nullptr; }

bool weighs_columns(const nn::GgufType& type) {
  const Encoder* encoder = encoder_of(type);
  return encoder && encoder->weighs;
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
  if (block == kSuperBlock) {
    std::array<float, kSuperBlock> x{};
    for (std::size_t i = 0; i < row.size(); i += kSuperBlock) {
      std::ranges::transform(row.subspan(i, kSuperBlock), x.begin(),
                             [](real v) { return static_cast<float>(v); });
      pack_super(type, ternary(x), out);
    }
    return;
  }
  const auto squares = [](std::span<const real> w) {
    float sum = 0;
    for (const real v : w) sum += static_cast<float>(v) * static_cast<float>(v);
    return sum;
  };
  const bool levels = type.name == "IQ4_NL";
  float variance = squares(row) / static_cast<float>(row.size());
  std::array<float, kSmallBlock> x{}, weight{};
  for (std::size_t i = 0; i < row.size(); i += kSmallBlock) {
    if (levels) variance = squares(row.subspan(i, kSmallBlock)) * (2.0f / kSmallBlock);
    for (std::size_t j = 0; j < kSmallBlock; ++j) {
      x[j] = static_cast<float>(row[i + j]);
      if (levels) weight[j] = x[j] * x[j];
      if (!importance.empty()) weight[j] = importance[i + j] * std::sqrt(variance + x[j] * x[j]);
    }
    pack_small(type, encode_block(type, x, weight, !importance.empty()), out);
  }
}

}  // namespace notch::quant
