#include <cmath>

#include "experiments/lessons/judges.h"

namespace notch::lessons {
namespace {

/// What the three weights are when each is rounded, step 1. With H = (1 + 4 J) · unit², J all ones,
/// H⁻¹ = (1 - 4/13 J) / unit²: of inputs that are measured in other units.
std::vector<double> trace(const GptqVersion& version, const std::vector<double>& w, double unit) {
  const double on = 9.0 / 13 / (unit * unit), beside = -4.0 / 13 / (unit * unit);
  GptqRow row{
      .w = w, .original = w, .Hinv = {on, beside, beside, beside, on, beside, beside, beside, on}};
  std::vector<double> seen;
  for (std::size_t c = 0; c < w.size(); ++c) {
    seen.push_back(row.w[c]);
    version(row, c, std::nearbyint(row.w[c]));
  }
  return seen;
}

}  // namespace

void GptqRow::take_out(std::size_t c) {
  const std::vector<double> old = Hinv;
  const std::size_t K = w.size();
  for (std::size_t i = 0; i < K * K; ++i) {
    Hinv[i] -= old[i / K * K + c] * old[c * K + i % K] / old[c * K + c];
  }
}

void judge_gptq(Judge& judge, const std::vector<GptqVersion>& versions,
                double (*output_error)(const std::vector<double>&, const std::vector<double>&,
                                       const std::vector<double>&)) {
  // By hand: factors -H⁻¹_jc/H⁻¹_cc are 4/9 for the first column and, once it is out, 4/5.
  for (std::size_t v = 0; v < versions.size(); ++v) {
    const std::string name = std::string("version_") + static_cast<char>('a' + v);
    const int failed = judge.failed();
    judge.equal(
        name + ": (0.1, 0.2, 0.3) when rounded", trace(versions[v], {0.1, 0.2, 0.3}, 1),
        {0.1, 0.2 + 0.4 / 9, 0.54}, 1e-9,
        "what the first weight loses, the others must add. Element 1 is wrong: look at the sign "
        "and the division. Only element 2: at H⁻¹, and at the weight that e is taken from");
    if (judge.failed() > failed) continue;
    judge.equal(name + ": the same, inputs ten times larger",
                trace(versions[v], {0.1, 0.2, 0.3}, 10), {0.1, 0.2 + 0.4 / 9, 0.54}, 1e-9,
                "units of the inputs must not matter");
    judge.equal(name + ": (0.9, 0.8, 0.7) when rounded", trace(versions[v], {0.9, 0.8, 0.7}, 1),
                {0.9, 0.8 - 0.4 / 9, 0.46}, 1e-9, "errors up and down are treated alike");
  }
  const std::vector<double> H{5, 4, 4, 4, 5, 4, 4, 4, 5};
  judge.equal("output_error of (0.1, 0.2, 0.3) and (0, 0, 0)",
              output_error({0.1, 0.2, 0.3}, {0, 0, 0}, H), 1.58, 1e-9, "4 · 0.6² + 0.14");
  judge.equal("output_error of (0.1, 0.2, 0.3) and (0, 0, 1)",
              output_error({0.1, 0.2, 0.3}, {0, 0, 1}, H), 1.18, 1e-9, "4 · 0.4² + 0.54");
  judge.equal("output_error, H not the same everywhere", output_error({1, 1}, {0, 2}, {3, 1, 1, 2}),
              3, 1e-9, "e = (1, -1): 3 - 1 - 1 + 2");
}

}  // namespace notch::lessons
