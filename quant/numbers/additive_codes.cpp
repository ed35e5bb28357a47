#include "quant/numbers/additive_codes.h"

#include <algorithm>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/rng.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

constexpr Index kMostVectors = 16384;  // of which codebooks are made
constexpr int kSteps = 12;             // of Lloyd's algorithm
constexpr int kMostWidth = 32;

/// errors[k] = own[k] + 2 Σ_i rest_i products_i[k]
NOTCH_CLONES void add_products(double* errors, const double* rest, const double* products,
                               const double* own, Index entries) {
  for (Index k = 0; k < entries; ++k) errors[k] = own[k];
  for (Index i = 0; i < kWordColumns; ++i) {
    const double twice = 2 * rest[i];
    const double* const p = products + i * entries;
    for (Index k = 0; k < entries; ++k) errors[k] += twice * p[k];
  }
}

/// `entries` vectors for those of x [n, 8] by Lloyd's algorithm, from n different ones of them.
std::vector<real> k_means(std::span<const real> x, Index entries, Rng& rng) {
  const Index n = std::ssize(x) / kWordColumns;
  std::vector<Index> order(at(n));
  for (Index i = 0; i < n; ++i) order[at(i)] = i;
  std::vector<real> centres(at(entries * kWordColumns));
  for (Index k = 0; k < std::min(n, entries); ++k) {
    std::swap(order[at(k)], order[at(k) + rng.below(static_cast<std::uint64_t>(n - k))]);
    std::copy_n(x.begin() + order[at(k)] * kWordColumns, kWordColumns,
                centres.begin() + k * kWordColumns);
  }
  std::vector<std::uint32_t> nearest(at(n));
  for (int step = 0; step < kSteps; ++step) {
    const BeamSearch search(Codebooks(1, entries, centres), {}, 1);
    constexpr Index kTile = 256;
    parallel_for(quotient_up(n, kTile), [&](Index tile) {
      for (Index i = tile * kTile; i < std::min(n, (tile + 1) * kTile); ++i) {
        BeamSearch::Target t{};
        std::copy_n(x.begin() + i * kWordColumns, kWordColumns, t.begin());
        nearest[at(i)] = search.nearest(t);
      }
    });
    std::vector<double> sums(centres.size());
    std::vector<Index> counts(at(entries));
    for (Index i = 0; i < n; ++i) {
      const Index k = nearest[at(i)];
      ++counts[at(k)];
      for (Index j = 0; j < kWordColumns; ++j)
        sums[at(k * kWordColumns + j)] += static_cast<double>(x[at(i * kWordColumns + j)]);
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const Index members = counts[i / at(kWordColumns)];
      // What no vector is nearest to stays where it is.
      if (members > 0) centres[i] = static_cast<real>(sums[i] / static_cast<double>(members));
    }
  }
  for (real& c : centres) c = round_level(c, ScaleType::f16);
  return centres;
}

}  // namespace

Codebooks::Codebooks(const Spec& spec, std::span<const real> all) : values(all) {
  const Index numbers = std::ssize(all);
  for (const Index each : {Index{256}, Index{16}}) {
    const Index n = each == 256 ? spec.bits : 2 * spec.bits;
    if (numbers == n * each * kWordColumns) books = n, entries = each;
  }
  check(books > 0, "codebooks", "got ", numbers, " numbers of codebooks of ", spec.bits, " bits");
}

Vector8 Codebooks::sum(std::uint32_t word) const {
  Vector8 v{};
  for (Index m = 0; m < books; ++m) {
    const real* const c = vector(m, code_of(word, m));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] += c[i];
  }
  return v;
}

BeamSearch::BeamSearch(const Codebooks& codebooks, std::span<const double> metric, int width)
    : books_(codebooks.books),
      entries_(codebooks.entries),
      code_bits_(codebooks.code_bits()),
      width_(width),
      vectors_(codebooks.values.size()),
      products_(codebooks.values.size()),
      own_(at(extent("beam search", {books_, entries_}))) {
  check(width >= 1 && width <= kMostWidth && (metric.empty() || std::ssize(metric) == 64),
        "beam search", "got a width of ", width, " and a metric of ", metric.size(), " numbers");
  check(books_ >= 1 && (entries_ == 16 || entries_ == 256) && books_ * code_bits_ <= 32 &&
            std::ssize(codebooks.values) == books_ * entries_ * kWordColumns,
        "beam search", "got ", codebooks.values.size(), " numbers for ", books_, " codebooks of ",
        entries_, " vectors");
  for (Index m = 0; m < books_; ++m) {
    for (Index k = 0; k < entries_; ++k) {
      const real* const c = codebooks.vector(m, k);
      for (Index i = 0; i < kWordColumns; ++i) {
        double product = static_cast<double>(c[i]);
        if (!metric.empty()) {
          product = 0;
          for (Index j = 0; j < kWordColumns; ++j)
            product += metric[at(i * kWordColumns + j)] * static_cast<double>(c[j]);
        }
        const std::size_t to = at((m * kWordColumns + i) * entries_ + k);
        vectors_[to] = static_cast<double>(c[i]);
        products_[to] = product;
        own_[at(m * entries_ + k)] += product * static_cast<double>(c[i]);
      }
    }
  }
}

std::uint32_t BeamSearch::nearest(const Target& t) const {
  struct Sum {
    Target rest{};  ///< the sum less t
    double error = std::numeric_limits<double>::infinity();  ///< less that of no vector
    std::uint32_t word = 0;
  };
  struct Next {
    double error = std::numeric_limits<double>::infinity();
    int from = 0;
    Index code = 0;
  };
  std::array<Sum, kMostWidth> beam{}, longer{};
  std::array<double, 256> errors;
  for (std::size_t i = 0; i < t.size(); ++i) beam[0].rest[i] = -t[i];
  beam[0].error = 0;
  int sums = 1;
  for (Index m = 0; m < books_; ++m) {
    const double* const products = products_.data() + m * kWordColumns * entries_;
    const double* const vectors = vectors_.data() + m * kWordColumns * entries_;
    std::array<Next, kMostWidth> best{};  // ascending
    const int kept = static_cast<int>(std::min<Index>(width_, sums * entries_));
    for (int from = 0; from < sums; ++from) {
      const Sum& sum = beam[at(from)];
      add_products(errors.data(), sum.rest.data(), products, own_.data() + m * entries_, entries_);
      for (Index k = 0; k < entries_; ++k) {
        const double error = sum.error + errors[at(k)];
        if (!(error < best[at(kept - 1)].error)) continue;
        int place = kept - 1;
        for (; place > 0 && error < best[at(place - 1)].error; --place)
          best[at(place)] = best[at(place - 1)];
        best[at(place)] = {.error = error, .from = from, .code = k};
      }
    }
    for (int i = 0; i < kept; ++i) {
      const Next& next = best[at(i)];
      Sum& sum = longer[at(i)];
      sum = beam[at(next.from)];
      sum.error = next.error;
      sum.word |= static_cast<std::uint32_t>(next.code) << (m * code_bits_);
      for (Index j = 0; j < kWordColumns; ++j)
        sum.rest[at(j)] += vectors[j * entries_ + next.code];
    }
    std::swap(beam, longer);
    sums = kept;
  }
  return beam[0].word;
}

std::vector<real> residual_codebooks(std::span<const real> vectors, const Spec& spec,
                                     std::int64_t rows, std::int64_t cols) {
  const Index n = std::ssize(vectors) / kWordColumns, used = std::min(n, kMostVectors);
  std::vector<real> rest;
  for (Index i = 0; i < used; ++i) {
    const auto v = vectors.subspan(at(i * n / used * kWordColumns), at(kWordColumns));
    rest.insert(rest.end(), v.begin(), v.end());
  }
  constexpr std::uint64_t kSeed = 0x61716c6d;
  Rng rng(kSeed, static_cast<std::uint64_t>(cols));
  std::vector<real> all(at(codebook_numbers(spec, rows, cols)));
  const Codebooks shape(spec, all);
  const Index size = shape.entries * kWordColumns;
  for (Index m = 0; m < shape.books; ++m) {
    const std::vector<real> book = k_means(rest, shape.entries, rng);
    std::ranges::copy(book, all.begin() + m * size);
    const Codebooks one(1, shape.entries, book);
    const BeamSearch search(one, {}, 1);
    for (Index i = 0; i < used; ++i) {
      real* const v = rest.data() + i * kWordColumns;
      BeamSearch::Target t{};
      std::copy_n(v, kWordColumns, t.begin());
      const real* const taken = one.vector(0, search.nearest(t));
      for (Index j = 0; j < kWordColumns; ++j) v[j] -= taken[j];
    }
  }
  return all;
}

}  // namespace notch::quant
