#include "quant/store/gguf_encode.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "quant/store/gguf_blocks.h"
#include "quant/store/gguf_superblocks.h"

namespace notch::quant {
namespace {

using Bytes = std::vector<std::byte>;
using Block = std::span<const float, kSmallBlock>;

/// A block of a row, as encoders see it.
struct Source {
  std::span<const float> x{};
  std::span<const float> importance{};  // of its columns; empty: there is none
  float variance = 0;                   // mean square of the row, where there is an importance

  Block small() const { return x.first<kSmallBlock>(); }
  /// What errors weigh by their importance.
  std::array<float, kSmallBlock> weights(float square) const {
    std::array<float, kSmallBlock> w{};
    for (std::size_t j = 0; j < kSmallBlock; ++j)
      w[j] = importance[j] * std::sqrt(square + x[j] * x[j]);
    return w;
  }
};

/// Half to even; |v| is below 2^22. llama.cpp's nearest_int.
int nearest(float v) { return static_cast<int>((v + 0x1.8p23f) - 0x1.8p23f); }

float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

float extreme_of(std::span<const float> x) {
  float extreme = 0;
  for (const float v : x)
    if (std::abs(v) > std::abs(extreme)) extreme = v;
  return extreme;
}

SmallBlock q8(const Source& in) {
  const Block x = in.small();
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

float mean_square(std::span<const float> x) {
  float sum = 0;
  for (const float v : x) sum += v * v;
  return sum / static_cast<float>(x.size());
}

template <int half>
SmallBlock by_scale(const Source& in) {
  if (in.importance.empty()) return signed_max(in.small(), half);
  return fitted_scale(in.small(), half, in.weights(in.variance));
}

template <int top>
SmallBlock by_range(const Source& in) {
  if (in.importance.empty()) return from_minimum(in.small(), top);
  return fitted_range(in.small(), top, in.weights(in.variance));
}

SmallBlock by_levels(const Source& in) {
  if (!in.importance.empty()) return fitted_levels(in.small(), in.weights(2 * mean_square(in.x)));
  std::array<float, kSmallBlock> squares{};
  std::ranges::transform(in.x, squares.begin(), [](float v) { return v * v; });
  return fitted_levels(in.small(), squares);
}

template <auto to>
void value(const nn::GgufType&, const Source& in, Bytes& out) {
  const auto stored = to(in.x[0]);
  const auto bytes = std::as_bytes(std::span(&stored, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}
float to_f32(float v) { return v; }

template <SmallBlock (*round)(const Source&)>
void small(const nn::GgufType& type, const Source& in, Bytes& out) {
  pack_small(type, round(in), out);
}

void super(const nn::GgufType& type, const Source& in, Bytes& out) {
  pack_super(type, ternary(in.x.first<kSuperBlock>()), out);
}

struct Encoder {
  std::string_view name{};
  bool weighs = false;
  void (*encode)(const nn::GgufType& type, const Source& in, Bytes& out) = nullptr;
};
constexpr Encoder kEncoders[] = {{"F32", false, value<to_f32>},
                                 {"F16", false, value<to_f16>},
                                 {"BF16", false, value<to_bf16>},
                                 {"Q8_0", false, small<q8>},
                                 {"Q5_1", true, small<by_range<31>>},
                                 {"Q5_0", true, small<by_scale<16>>},
                                 {"Q4_1", true, small<by_range<15>>},
                                 {"Q4_0", true, small<by_scale<8>>},
                                 {"IQ4_NL", true, small<by_levels>},
                                 {"TQ2_0", false, super},
                                 {"TQ1_0", false, super}};

const Encoder* encoder_of(const nn::GgufType& type) {
  const auto at = std::ranges::find(kEncoders, type.name, &Encoder::name);
  return at == std::end(kEncoders) ? nullptr : at;
}

}  // namespace

std::vector<std::string_view> encoder_names(Columns columns) {
  std::vector<std::string_view> names;
  for (const Encoder& e : kEncoders)
    if (columns == Columns::any || e.weighs) names.push_back(e.name);
  return names;
}

bool has_encoder(const nn::GgufType& type) { return encoder_of(type) != nullptr; }

bool weighs_columns(const nn::GgufType& type) {
  const Encoder* encoder = encoder_of(type);
  return encoder && encoder->weighs;
}

void require_whole_blocks(const nn::GgufType& type, std::int64_t cols, std::string_view where) {
  if (cols % type.block == 0) return;
  std::vector<std::string_view> any;
  for (const std::string_view name : encoder_names())
    if (nn::gguf_type(name)->block == 1) any.push_back(name);
  throw Error(
      {.where = std::string(where),
       .what = str(type.name, " stores blocks of ", type.block),
       .found = str("rows of ", cols, " weights"),
       .expected = str("a multiple of ", type.block),
       .hint = str("--gguf-type ", joined(any, ", ", " or "), ", which take rows of any length")});
}

void encode_blocks(const nn::GgufType& type, std::span<const real> row, std::vector<std::byte>& out,
                   std::span<const float> importance) {
  const Encoder* const encoder = encoder_of(type);
  check(encoder != nullptr, type.name, "has no encoder here");
  const auto block = static_cast<std::size_t>(type.block);
  require_whole_blocks(type, std::ssize(row), type.name);
  check(importance.empty() || importance.size() == row.size(), type.name, "the row has ",
        row.size(), " columns, and their importances are ", importance.size());
  std::array<float, kSuperBlock> x{};
  Source in{.x = std::span(x).first(block)};
  if (!importance.empty()) {
    for (const real v : row) in.variance += static_cast<float>(v) * static_cast<float>(v);
    in.variance /= static_cast<float>(row.size());
  }
  for (std::size_t i = 0; i < row.size(); i += block) {
    std::ranges::transform(row.subspan(i, block), x.begin(),
                           [](real v) { return static_cast<float>(v); });
    if (!importance.empty()) in.importance = importance.subspan(i, block);
    encoder->encode(type, in, out);
  }
}

}  // namespace notch::quant
