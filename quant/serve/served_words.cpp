#include "quant/serve/served_words.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/numbers/format.h"

namespace notch::quant {

ServedWords::ServedWords(const Spec& spec, Index rows, Index cols)
    : spec_(held_spec(spec)),
      rows_(rows),
      cols_(cols),
      words_(at(extent("served words", {rows, packed_bytes(spec, cols)}))),
      scales_(at(unit_count(spec, rows, cols))),
      codebooks_(at(codebook_numbers(spec, rows, cols))) {
  validate(spec, cols, "served words");
  check(has_words(spec), "served words", "columns of the ", name_of(spec.grid), " grid share none");
}

void ServedWords::set_rows(Index first_row, const QTensor& part) {
  check(held_spec(part.spec) == spec_ && part.cols == cols_ && first_row >= 0 &&
            first_row + part.rows <= rows_ && part.at.codebooks.size() == codebooks_.size(),
        "served words", name_of(part.spec), " [", part.rows, ", ", part.cols, "] from row ",
        first_row, " on does not fit ", name_of(spec_), " [", rows_, ", ", cols_, "]");
  require_whole(part, "served words");
  const Index words = cols_ / kWordColumns;
  parallel_for(part.rows, [&](Index r) {
    for (Index i = 0; i < words; ++i) {
      const std::uint32_t word =
          code_word(part.codes.data() + r * cols_ + i * kWordColumns, spec_.bits);
      std::uint8_t* const to = words_.data() + ((first_row + r) * words + i) * spec_.bits;
      for (int b = 0; b < spec_.bits; ++b) to[b] = static_cast<std::uint8_t>(word >> (8 * b));
    }
  });
  const Index per_row =
      spec_.granularity == Granularity::tensor || rows_ == 0 ? 0 : std::ssize(scales_) / rows_;
  std::ranges::copy(part.at.scales, scales_.begin() + first_row * per_row);
  std::ranges::copy(part.at.codebooks, codebooks_.begin());
}

void ServedWords::dequantize_row(std::span<float> out, Index row) const {
  check(row >= 0 && row < rows_, "served words", "row ", row, " of ", rows_);
  require_extent("served words", cols_, out);
  const Index words = cols_ / kWordColumns;
  const Index unit = cols_ == 0 ? 1 : unit_size(spec_, rows_, cols_);
  std::optional<Codebooks> sums;  // none: the words are points of the lattice
  if (!codebooks_.empty()) sums.emplace(spec_, codebooks_);
  const std::uint8_t* from = words_.data() + row * words * spec_.bits;
  for (Index i = 0; i < words; ++i, from += spec_.bits) {
    std::uint32_t word = 0;
    for (int b = 0; b < spec_.bits; ++b) word |= std::uint32_t{from[b]} << (8 * b);
    const Vector8 v = sums ? sums->sum(word) : e8p_point(static_cast<std::uint16_t>(word));
    const real scale = scales_[at((row * cols_ + i * kWordColumns) / unit)];
    for (Index j = 0; j < kWordColumns; ++j)
      out[at(i * kWordColumns + j)] = static_cast<float>(v[at(j)] * scale);
  }
}

Index ServedWords::bytes() const {
  return std::ssize(words_) + (std::ssize(scales_) + std::ssize(codebooks_)) * Index{sizeof(real)};
}

}  // namespace notch::quant
