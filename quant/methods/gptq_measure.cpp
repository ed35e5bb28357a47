// What GPTQ's sweep begins with and is measured by: quant/methods/gptq_sweep.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/methods/column_update.h"
#include "quant/methods/gptq_sweep.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {

std::vector<real> strip_of(std::span<const real> w, Index first, Index rows,
                           const ColumnOrder& order) {
  const Index K = std::ssize(order.perm);
  std::vector<real> strip(at(K * kStripRows));
  for (Index r = 0; r < rows; ++r)
    for (Index i = 0; i < K; ++i)
      strip[at(i * kStripRows + r)] = w[at((first + r) * K + order.perm[at(i)])];
  return strip;
}

real first_ratio(std::span<const real> unit, const Spec& spec, const GptqOptions& options) {
  if (options.clip != Clip::deviations) return choose_unit(unit, spec, options.range()).ratio;
  double sum = 0, squares = 0;
  for (const real w : unit) sum += static_cast<double>(w);
  const double mean = sum / static_cast<double>(unit.size());
  for (const real w : unit) {
    const double d = static_cast<double>(w) - mean;
    squares += d * d;
  }
  const MinMax extremes = min_max(unit);
  const real largest = std::max(extremes.hi, -extremes.lo);
  if (squares == 0 || largest == 0) return 1;
  const double deviation = std::sqrt(squares / static_cast<double>(unit.size()));
  return static_cast<real>(options.deviations * deviation / static_cast<double>(largest));
}

real searched_ratio(real first, double multiple) {
  const real ratio = static_cast<real>(static_cast<double>(first) * multiple);
  return multiple > 1 ? std::min(ratio, std::max(first, real{1})) : ratio;
}

void measure(const ColumnOrder& order, const HessianFactor& factor, std::span<const real> w,
             const QTensor& q, std::span<double> losses) {
  const Index K = q.cols;
  const std::vector<real> rounded = dequantize(q);
  parallel_for(quotient_up(q.rows, kStripRows), [&](Index strip) {
    const Index first = strip * kStripRows, rows = std::min(kStripRows, q.rows - first);
    std::vector<real> moves = strip_of(w, first, rows, order);
    const std::vector<real> to = strip_of(rounded, first, rows, order);
    for (std::size_t i = 0; i < moves.size(); ++i) moves[i] -= to[i];
    std::vector<real> moved(moves.size());
    std::array<double, kStripRows> sums{};
    for (Index begin = 0; begin < K; begin += kPanelCols) {
      // R has zeros below its diagonal and ones on it.
      const Index end = std::min(K, begin + kPanelCols);
      update_columns(moved.data(), moves.data(), factor.R, 0, end, begin, end);
      for (Index j = begin; j < end; ++j) {
        const double weight = order.live[at(j)] != 0 ? factor.diagonal[at(j)] : 0;
        for (std::size_t r = 0; r < sums.size(); ++r) {
          const double loss = weight * static_cast<double>(moved[at(j * kStripRows) + r]);
          sums[r] += loss * loss;
        }
      }
    }
    std::copy_n(sums.begin(), rows, losses.begin() + first);
  });
}

}  // namespace notch::quant
