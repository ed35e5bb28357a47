// What the reader and the writer of GPTQ checkpoints share. Internal to the two.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quant/store/gptq_checkpoint.h"

namespace notch::quant::gptq_file {

inline constexpr std::string_view kQuantMethod = "gptq";
inline constexpr std::string_view kWeight = ".weight";
inline constexpr std::string_view kOlderConfig = "quantize_config.json";
inline constexpr std::array<std::string_view, 4> kParts{".qweight", ".qzeros", ".scales", ".g_idx"};
inline constexpr int kWord = 32;

inline bool has_width(std::int64_t bits) {
  return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

inline std::string stem_of(std::string_view weight) {
  return std::string(weight.substr(0, weight.size() - kWeight.size()));
}

/// A matrix as the format has it. Units are groups of inputs, all of them or `group` each.
struct Layer {
  int bits = 0;
  std::int64_t out = 0, in = 0, group = 0;
  GptqZeros zeros = GptqZeros::v1;

  std::int64_t groups() const { return in / group; }
  int half() const { return 1 << (bits - 1); }
  nn::FileShape codes_shape() const { return {in * bits / kWord, out}; }
  nn::FileShape zeros_shape() const { return {groups(), out * bits / kWord}; }
  nn::FileShape scales_shape() const { return {groups(), out}; }
};

/// to [n, m] <- from [m, n].
template <class T>
std::vector<T> transposed(const std::vector<T>& from, std::int64_t m, std::int64_t n) {
  std::vector<T> to(from.size());
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      to[static_cast<std::size_t>(j * m + i)] = from[static_cast<std::size_t>(i * n + j)];
    }
  }
  return to;
}

/// The matrices that the format has on integers, by name: those of the blocks, and perhaps an
/// untied head.
struct Linears {
  std::set<std::string, std::less<>> blocks{};
  std::string head{};

  explicit Linears(const nn::Model& model) {
    const auto shapes = model.twin(nn::Model::Values::shapes_only);
    for (const nn::Linear* l : shapes->linears()) blocks.insert(l->weight->name);
    if (!model.head_is_tied()) head = model.head().weight->name;
  }
  bool has(const Param* p, bool with_head) const {
    return p && (blocks.contains(p->name) || (with_head && p->name == head));
  }
};

}  // namespace notch::quant::gptq_file
