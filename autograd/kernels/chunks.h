// How the kernels cut flat memory and rows into parallel pieces: by the shape only, so that the
// pieces, and with them every bit of a reduction, are the same for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"

namespace notch::kernels {

/// Elements of a chunk: large enough to hide the hand-over of a tile (about a microsecond).
inline constexpr std::int64_t kChunk = 16384;

/// body(begin, end) in parallel over [0, n) in chunks of kChunk elements.
template <class Body>
void for_chunks(std::int64_t n, const Body& body) {
  parallel_for(quotient_up(n, kChunk),
               [&](std::int64_t i) { body(i * kChunk, std::min(n, (i + 1) * kChunk)); });
}

/// Rows per tile when a row costs about `cost` element visits.
constexpr std::int64_t rows_per_tile(std::int64_t cost) {
  return std::max<std::int64_t>(1, kChunk / std::max<std::int64_t>(1, cost));
}

/// body(first, last) in parallel over rows of `cost` elements each.
template <class Body>
void for_rows(std::int64_t rows, std::int64_t cost, const Body& body) {
  const std::int64_t step = rows_per_tile(cost);
  parallel_for(quotient_up(rows, step),
               [&](std::int64_t i) { body(i * step, std::min(rows, (i + 1) * step)); });
}

/// Sums partial(begin, end) over at most 64 pieces of [0, n), in ascending order, in double.
template <class Partial>
double sum_chunks(std::int64_t n, const Partial& partial) {
  constexpr std::int64_t kPieces = 64;
  const std::int64_t step = std::max(kChunk, round_up(quotient_up(n, kPieces), kChunk));
  const std::int64_t pieces = quotient_up(n, step);
  double partials[kPieces] = {};
  parallel_for(pieces, [&](std::int64_t i) {
    partials[i] = partial(i * step, std::min(n, (i + 1) * step));
  });
  double total = 0;
  for (std::int64_t i = 0; i < pieces; ++i) total += partials[i];
  return total;
}

}  // namespace notch::kernels
