#include "quant/methods/side_rank.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "autograd/base/error.h"

namespace notch::quant {

void require_side_rank(int rank, std::string_view key, const Param& weight,
                       std::string_view where) {
  const std::int64_t most = std::min(weight.value.rows(), weight.value.cols());
  if (rank >= 1 && rank <= most) return;
  throw Error({.where = std::string(where),
               .what = str("a product beside a matrix of ", weight.value.shape,
                           " has a rank, no more than its smaller side"),
               .field = std::string(key),
               .found = str(rank),
               .expected = rank < 1 ? "at least 1" : str("at most ", most)});
}

}  // namespace notch::quant
