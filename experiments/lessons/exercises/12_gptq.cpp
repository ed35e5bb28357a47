// Exercise 12. Find the bug: four versions of GPTQ's step, one wrong line each.
//
//   notch lesson check 12                 judges this file
//   notch lesson check 12 mine.cpp        judges a copy of it
//
// Each version is called when weight c of a row has been rounded to q. It has to move the weights
// behind c so that the layer's output changes least, and to take column c out of Hinv, the inverse
// of H = mean x xᵀ. `original` is the row as it was before anything moved. Mend the four, and replace
// the BLANK: the measure that would have found them.
#include <cstddef>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::GptqRow;

void version_a(GptqRow& row, std::size_t c, double q) {
  const double e = (row.w[c] - q) / row.h(c, c);
  for (std::size_t j = c + 1; j < row.w.size(); ++j) row.w[j] += e * row.h(j, c);
  row.take_out(c);
}

void version_b(GptqRow& row, std::size_t c, double q) {
  const double e = (row.w[c] - q) / row.h(c, c);
  for (std::size_t j = c + 1; j < row.w.size(); ++j) row.w[j] -= e * row.h(j, c);
}

void version_c(GptqRow& row, std::size_t c, double q) {
  const double e = row.w[c] - q;
  for (std::size_t j = c + 1; j < row.w.size(); ++j) row.w[j] -= e * row.h(j, c);
  row.take_out(c);
}

void version_d(GptqRow& row, std::size_t c, double q) {
  const double e = (row.original[c] - q) / row.h(c, c);
  for (std::size_t j = c + 1; j < row.w.size(); ++j) row.w[j] -= e * row.h(j, c);
  row.take_out(c);
}

/// The mean square of the change of the output, e H eᵀ with e = w - q. H is row-major.
double output_error(const std::vector<double>& w, const std::vector<double>& q,
                    const std::vector<double>& H) {
  BLANK("the sum over i and j of e_i H_ij e_j");
}

}  // namespace

EXERCISE(judge_gptq, {version_a, version_b, version_c, version_d}, output_error)
