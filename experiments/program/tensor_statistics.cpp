#include "experiments/program/tensor_statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

namespace notch::experiments {
namespace {

constexpr std::int64_t kPiece = std::int64_t{1} << 16;  // elements read at a time

template <class Integer>
double integer_at(const std::vector<std::byte>& bytes, std::int64_t i) {
  Integer x{};
  std::memcpy(&x, bytes.data() + static_cast<std::size_t>(i) * sizeof x, sizeof x);
  return static_cast<double>(x);
}

double integer_at(nn::DType dtype, const std::vector<std::byte>& bytes, std::int64_t i) {
  switch (dtype) {
    case nn::DType::i64:
      return integer_at<std::int64_t>(bytes, i);
    case nn::DType::u64:
      return integer_at<std::uint64_t>(bytes, i);
    case nn::DType::i32:
      return integer_at<std::int32_t>(bytes, i);
    case nn::DType::u32:
      return integer_at<std::uint32_t>(bytes, i);
    case nn::DType::i16:
      return integer_at<std::int16_t>(bytes, i);
    case nn::DType::u16:
      return integer_at<std::uint16_t>(bytes, i);
    case nn::DType::i8:
      return integer_at<std::int8_t>(bytes, i);
    default:
      return integer_at<std::uint8_t>(bytes, i);
  }
}

bool is_integer(nn::DType dtype) {
  constexpr std::array kIntegers{nn::DType::i64, nn::DType::u64, nn::DType::i32,
                                 nn::DType::u32, nn::DType::i16, nn::DType::u16,
                                 nn::DType::i8,  nn::DType::u8,  nn::DType::boolean};
  return std::ranges::find(kIntegers, dtype) != kIntegers.end();
}

}  // namespace

void StatisticsSum::add(double x) {
  const bool first = s_.elements == s_.not_finite;
  ++s_.elements;
  if (!std::isfinite(x)) {
    ++s_.not_finite;
    return;
  }
  s_.min = first ? x : std::min(s_.min, x);
  s_.max = first ? x : std::max(s_.max, x);
  sum_ += x;
  squares_ += x * x;
}

TensorStatistics StatisticsSum::result() const {
  TensorStatistics out = s_;
  const auto n = static_cast<double>(std::max<std::int64_t>(1, s_.elements - s_.not_finite));
  out.mean = sum_ / n;
  out.rms = std::sqrt(squares_ / n);
  return out;
}

std::optional<TensorStatistics> statistics(const nn::SafetensorsFile& file,
                                           const nn::TensorEntry& entry) {
  if (!nn::is_real(entry.dtype) && !is_integer(entry.dtype)) return std::nullopt;
  StatisticsSum sum;
  std::vector<real> reals;
  std::vector<std::byte> bytes;
  for (std::int64_t first = 0; first < entry.size(); first += kPiece) {
    const std::int64_t n = std::min(kPiece, entry.size() - first);
    if (nn::is_real(entry.dtype)) {
      reals.resize(static_cast<std::size_t>(n));
      file.read(entry, reals, first);
      for (const real x : reals) sum.add(static_cast<double>(x));
      continue;
    }
    const std::int64_t width = nn::element_bits(entry.dtype) / 8;
    bytes.resize(static_cast<std::size_t>(n * width));
    file.read_bytes(entry, bytes, static_cast<std::uint64_t>(first * width));
    for (std::int64_t i = 0; i < n; ++i) sum.add(integer_at(entry.dtype, bytes, i));
  }
  return sum.result();
}

TensorStatistics statistics(std::span<const real> values) {
  StatisticsSum sum;
  for (const real x : values) sum.add(static_cast<double>(x));
  return sum.result();
}

}  // namespace notch::experiments
