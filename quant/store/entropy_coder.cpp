#include "quant/store/entropy_coder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>

#include "autograd/base/error.h"

namespace notch::quant {
namespace {

constexpr int kProbabilityBits = 14;
constexpr std::uint32_t kTotal = 1u << kProbabilityBits;
constexpr std::uint32_t kLow = 1u << 23;  // the state stays in [kLow, 256 kLow)
constexpr std::array kStepsPerOctave{1, 2, 4};
constexpr int kMaxOrder = 7;
constexpr int kMaxOctave = 40;
constexpr std::size_t kStateBytes = 4;

/// Levels of the codes from qmin to qmax, and how they are written.
struct CodeLevels {
  int step = 0;   // index into kStepsPerOctave
  int order = 0;  // of the Golomb code
  std::vector<int> of_code{};
};

int max_level(int step) {
  return 1 + kMaxOctave * kStepsPerOctave.at(static_cast<std::size_t>(step));
}

/// Of the levels, frequencies that sum to kTotal, at least 1 where the level is not 0. Integers
/// only: every machine gets the same. Empty when no code occurs.
std::vector<std::uint32_t> frequencies(const CodeLevels& levels) {
  constexpr std::array<std::uint64_t, 4> kQuarters{16777216, 19951585, 23726566,
                                                   28215802};  // 2^(k/4) in 24 bits
  const int to_quarters = 4 / kStepsPerOctave.at(static_cast<std::size_t>(levels.step));
  const int top = *std::ranges::max_element(levels.of_code);
  if (top == 0) return {};
  std::vector<std::uint64_t> weights;  // 2^(level / steps) in 48 bits of the largest
  for (const int level : levels.of_code) {
    const int below = (top - level) * to_quarters, octaves = (below + 3) / 4;
    const std::uint64_t mantissa = kQuarters.at(static_cast<std::size_t>(4 * octaves - below));
    weights.push_back(level == 0 ? 0 : std::max<std::uint64_t>(1, (mantissa << 24) >> octaves));
  }
  // Codes whose share is below 1 get 1; the others share what that leaves.
  std::uint64_t sum = 0, sum_of_larger = 0;
  std::uint32_t budget = kTotal;
  for (const std::uint64_t w : weights) sum += w;
  const auto is_small = [&](std::uint64_t w) { return w * kTotal < sum; };
  for (const std::uint64_t w : weights) {
    if (is_small(w)) {
      budget -= w > 0 ? 1 : 0;
    } else {
      sum_of_larger += w;
    }
  }
  std::vector<std::uint32_t> out;
  std::uint32_t total = 0;
  for (const std::uint64_t w : weights) {
    const std::uint64_t share = is_small(w) ? 0 : w * budget / sum_of_larger;
    out.push_back(w == 0 ? 0 : std::max(1u, static_cast<std::uint32_t>(share)));
    total += out.back();
  }
  // What rounding left, or took, is the most frequent code's.
  std::uint32_t& largest = *std::ranges::max_element(out);
  largest = largest + kTotal - total;
  return out;
}

// ---- the table ----

class BitWriter {
 public:
  void put(std::uint32_t bits, int count) {
    for (int i = 0; i < count; ++i) {
      if (used_ % 8 == 0) bytes_.push_back(0);
      bytes_.back() = static_cast<std::uint8_t>(bytes_.back() | ((bits >> i & 1u) << used_ % 8));
      ++used_;
    }
  }
  std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_{};
  std::size_t used_ = 0;
};

class BitReader {
 public:
  explicit BitReader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  /// The next bits, or nothing at the end.
  std::optional<std::uint32_t> get(int count) {
    if (used_ + static_cast<std::size_t>(count) > 8 * bytes_.size()) return std::nullopt;
    std::uint32_t bits = 0;
    for (int i = 0; i < count; ++i, ++used_) {
      bits |= (bytes_[used_ / 8] >> used_ % 8 & 1u) << i;
    }
    return bits;
  }
  std::size_t bytes() const { return (used_ + 7) / 8; }
  bool padding_is_zero() const { return used_ % 8 == 0 || bytes_[used_ / 8] >> used_ % 8 == 0; }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t used_ = 0;
};

/// Exponential Golomb of order k: (v >> k) + 1 in Elias gamma, then the k low bits.
void put_golomb(BitWriter& out, std::uint32_t v, int k) {
  const std::uint32_t high = (v >> k) + 1;
  const int length = static_cast<int>(std::bit_width(high));
  out.put(0, length - 1);
  for (int i = length - 1; i >= 0; --i) out.put(high >> i, 1);
  out.put(v, k);
}

std::optional<std::uint32_t> get_golomb(BitReader& in, int k) {
  int zeros = 0;
  for (std::optional<std::uint32_t> bit = in.get(1); bit != 1u; bit = in.get(1)) {
    if (!bit || ++zeros > 16) return std::nullopt;
  }
  std::uint32_t high = 1;
  for (int i = 0; i < zeros; ++i) {
    const std::optional<std::uint32_t> bit = in.get(1);
    if (!bit) return std::nullopt;
    high = high << 1 | *bit;
  }
  const std::optional<std::uint32_t> low = in.get(k);
  if (!low) return std::nullopt;
  return ((high - 1) << k) + *low;
}

std::vector<std::uint8_t> write_table(const CodeLevels& levels) {
  BitWriter out;
  out.put(static_cast<std::uint32_t>(levels.step), 2);
  out.put(static_cast<std::uint32_t>(levels.order), 6);
  int before = 0;
  for (const int level : levels.of_code) {
    const int d = level - before;
    put_golomb(out, static_cast<std::uint32_t>(d > 0 ? 2 * d - 1 : -2 * d), levels.order);
    before = level;
  }
  return out.take();
}

[[noreturn]] void refuse_stream(std::string_view where, std::string_view what) {
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "not a stream of entropy-coded codes",
               .field = "coded",
               .found = std::string(what),
               .hint = "the file is damaged; write it again"});
}

struct Table {
  std::vector<std::uint32_t> frequency{};
  std::size_t bytes = 0;
};

Table read_table(std::span<const std::uint8_t> stream, const Grid& grid, std::string_view where) {
  BitReader in(stream);
  const std::optional<std::uint32_t> step = in.get(2), order = in.get(6);
  if (!step || !order || *step >= kStepsPerOctave.size() || *order > kMaxOrder) {
    refuse_stream(where, "a head that has no meaning");
  }
  CodeLevels levels{.step = static_cast<int>(*step), .order = static_cast<int>(*order)};
  std::int64_t level = 0;
  for (int code = grid.qmin; code <= grid.qmax; code += grid.step) {
    const std::optional<std::uint32_t> d = get_golomb(in, levels.order);
    if (!d) refuse_stream(where, "a table that does not end");
    level += *d % 2 == 1 ? (std::int64_t{*d} + 1) / 2 : -(std::int64_t{*d} / 2);
    if (level < 0 || level > max_level(levels.step))
      refuse_stream(where, "a frequency out of range");
    levels.of_code.push_back(static_cast<int>(level));
  }
  if (!in.padding_is_zero()) refuse_stream(where, "a table with bits after its end");
  Table table{.frequency = frequencies(levels), .bytes = in.bytes()};
  if (table.frequency.empty()) refuse_stream(where, "a table without codes");
  return table;
}

std::vector<std::uint32_t> starts_of(const std::vector<std::uint32_t>& frequency) {
  std::vector<std::uint32_t> starts{0};
  for (const std::uint32_t f : frequency) starts.push_back(starts.back() + f);
  return starts;
}

/// The table that makes table and symbols shortest together.
CodeLevels best_levels(const std::vector<std::int64_t>& counts) {
  std::optional<CodeLevels> best;
  double least = 0;
  for (std::size_t step = 0; step < kStepsPerOctave.size(); ++step) {
    CodeLevels levels{.step = static_cast<int>(step)};
    for (const std::int64_t n : counts) {
      levels.of_code.push_back(
          n == 0 ? 0
                 : 1 + static_cast<int>(
                           std::lround(kStepsPerOctave[step] * std::log2(static_cast<double>(n)))));
    }
    const std::vector<std::uint32_t> f = frequencies(levels);
    double symbols = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) {
        symbols += static_cast<double>(counts[i]) *
                   (kProbabilityBits - std::log2(static_cast<double>(f[i])));
      }
    }
    for (levels.order = 0; levels.order <= kMaxOrder; ++levels.order) {
      const double bits = symbols + 8 * static_cast<double>(write_table(levels).size());
      if (!best || bits < least) {
        best = levels;
        least = bits;
      }
    }
  }
  return *best;
}

void check_grid(const Grid& grid, std::string_view where) {
  check(grid.step >= 1 && grid.qmin <= grid.qmax && grid.qmin >= -128 && grid.qmax <= 127, where,
        "a grid from ", grid.qmin, " to ", grid.qmax, " in steps of ", grid.step);
}

}  // namespace

std::vector<std::uint8_t> encode_codes(std::span<const std::int8_t> codes, const Grid& grid) {
  check_grid(grid, "encode_codes");
  if (codes.empty()) return {};
  const auto symbol = [&](std::int8_t code) {
    return static_cast<std::size_t>((code - grid.qmin) / grid.step);
  };
  std::vector<std::int64_t> counts(static_cast<std::size_t>(grid.size()), 0);
  for (const std::int8_t code : codes) {
    check(grid.has(code), "encode_codes", "code ", int{code}, " is not of the grid");
    ++counts[symbol(code)];
  }
  const CodeLevels levels = best_levels(counts);
  const std::vector<std::uint32_t> frequency = frequencies(levels);
  const std::vector<std::uint32_t> starts = starts_of(frequency);
  std::vector<std::uint8_t> backwards;  // encoding starts where decoding ends
  std::uint32_t x = kLow;
  for (auto code = codes.rbegin(); code != codes.rend(); ++code) {
    const std::size_t i = symbol(*code);
    const std::uint64_t limit = std::uint64_t{(kLow >> kProbabilityBits) << 8} * frequency[i];
    for (; x >= limit; x >>= 8) backwards.push_back(static_cast<std::uint8_t>(x));
    x = (x / frequency[i] << kProbabilityBits) + x % frequency[i] + starts[i];
  }
  std::vector<std::uint8_t> stream = write_table(levels);
  for (std::size_t b = 0; b < kStateBytes; ++b) {
    stream.push_back(static_cast<std::uint8_t>(x >> 8 * b));
  }
  stream.insert(stream.end(), backwards.rbegin(), backwards.rend());
  return stream;
}

std::vector<std::int8_t> decode_codes(std::span<const std::uint8_t> stream, std::int64_t count,
                                      const Grid& grid, std::string_view where) {
  check(count >= 0, where, "asked for ", count, " codes");
  check_grid(grid, where);
  if (count == 0) {
    if (!stream.empty()) refuse_stream(where, "bytes without a symbol");
    return {};
  }
  const Table table = read_table(stream, grid, where);
  std::size_t at = table.bytes + kStateBytes;
  if (stream.size() < at) refuse_stream(where, "a stream that ends before its symbols");
  std::uint32_t x = 0;
  for (std::size_t b = 0; b < kStateBytes; ++b) {
    x |= std::uint32_t{stream[table.bytes + b]} << 8 * b;
  }
  if (x < kLow || x >= kLow << 8) refuse_stream(where, "a state out of range");
  const std::vector<std::uint32_t> starts = starts_of(table.frequency);
  std::vector<std::uint8_t> symbol_at(kTotal);
  for (std::size_t i = 0; i < table.frequency.size(); ++i) {
    std::fill(symbol_at.begin() + starts[i], symbol_at.begin() + starts[i + 1],
              static_cast<std::uint8_t>(i));
  }
  std::vector<std::int8_t> codes(static_cast<std::size_t>(count));
  for (std::int8_t& code : codes) {
    const std::uint32_t slot = x % kTotal;
    const std::size_t i = symbol_at[slot];
    code = static_cast<std::int8_t>(grid.qmin + grid.step * static_cast<int>(i));
    x = table.frequency[i] * (x >> kProbabilityBits) + slot - starts[i];
    for (; x < kLow; x = x << 8 | stream[at++]) {
      if (at == stream.size()) refuse_stream(where, "a stream that ends before its last symbol");
    }
  }
  if (x != kLow) refuse_stream(where, "symbols that do not end where encoding began");
  if (at != stream.size()) refuse_stream(where, "bytes after the last symbol");
  return codes;
}

std::int64_t table_bytes(std::span<const std::uint8_t> stream, const Grid& grid,
                         std::string_view where) {
  if (stream.empty()) return 0;
  return static_cast<std::int64_t>(read_table(stream, grid, where).bytes + kStateBytes);
}

}  // namespace notch::quant
