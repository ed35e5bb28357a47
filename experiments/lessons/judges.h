// What every exercise asks for, and the judges that try it. A judge calls the student's functions on
// small cases whose results were derived by hand or from a closed form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "autograd/graph.h"
#include "experiments/lessons/exercise.h"
#include "experiments/lessons/scalar_gpt.h"
#include "nn/gpt.h"

namespace notch::lessons {

using Vector = std::vector<double>;
using Floats = std::vector<float>;

/// A line of a small tape. `op`: 'x' an input, '+', '*', or 't' for tanh, which reads a alone. a and b
/// are the places of the lines it reads.
struct Line {
  char op = 'x';
  std::size_t a = 0, b = 0;
  double value = 0, grad = 0;
};
/// 01. Fills every line's grad with d(last line)/d(this line). All are 0 at first.
void judge_scalars(Judge& judge, void (*backward)(std::vector<Line>& tape));

/// A graph whose node i reads the nodes inputs[i].
using Inputs = std::vector<std::vector<int>>;
/// 02. An order of `last` and of all it depends on in which each node comes after its inputs; and of
/// every node d(last)/d(node), where each node is the sum of its inputs.
void judge_order(Judge& judge, std::vector<int> (*order)(const Inputs& inputs, int last),
                 Vector (*gradients)(const Inputs& inputs, int last));

/// y = f(x), and dx = rule(x, dy).
using Function = Vector (*)(const Vector& x);
using Rule = Vector (*)(const Vector& x, const Vector& dy);
/// 03. The largest difference between dx of `rule` and finite differences of Σ r f(x), for some r
/// whose elements differ, over all elements of x.
void judge_gradcheck(Judge& judge, double (*error_of)(Function f, Rule rule, const Vector& x));

/// 04. y = log(1 + exp(x)) as an op, for x of any size.
void judge_own_op(Judge& judge, Var (*softplus)(Var x));

/// 05. `steps` steps of gradient descent with learning rate `lr`; the loss of the last forward.
void judge_overfit(Judge& judge,
                   double (*train)(nn::Gpt& model, const nn::Batch& batch, int steps, double lr));

struct AdamState {
  double m = 0, v = 0;
  int t = 0;  ///< steps made
};
/// 06. One step of AdamW with β1 = 0.9, β2 = 0.999, ε = 1e-8 on one weight with gradient g.
void judge_adamw(Judge& judge,
                 void (*step)(double& w, AdamState& state, double g, double lr, double decay));

/// 07. The codes of w, and the values that codes stand for.
void judge_quantize(Judge& judge,
                    std::vector<int> (*codes)(const Floats& w, float s, int z, int qmin, int qmax),
                    Floats (*values)(const std::vector<int>& codes, float s, int z));

/// 08. A scale for every `group` weights (1 for a group of zeros), and the bits that a weight costs.
void judge_granularity(Judge& judge, Floats (*scales)(const Floats& w, std::size_t group, int qmax),
                       double (*bits)(int bits, int scale_bits, std::size_t group));

/// 09. The scale with the least squared error, of 1.00, 0.99, …, 0.20 times max|w| / qmax; of equal
/// ones the largest.
void judge_range(Judge& judge, float (*best_scale)(const Floats& w, int qmax));

/// 10. ŵ; dL/dw; how often ŵ changes in training.
void judge_ste(Judge& judge, double (*rounded)(double w, double s, int qmin, int qmax),
               double (*straight_through)(double slope, double w, double s, int qmin, int qmax),
               int (*flips)(double w, double target, double s, double rate, int steps));

/// 11. dŵ/ds; dL/ds of a row; a step of log s.
void judge_lsq(Judge& judge, double (*step_slope)(double w, double s, int qmin, int qmax),
               double (*step_gradient)(const std::vector<double>& w,
                                       const std::vector<double>& slopes, double s, int qmin,
                                       int qmax),
               double (*move_log)(double s, double gradient, double rate));

/// A row of weights while GPTQ goes through it.
struct GptqRow {
  std::vector<double> w{}, original{};  ///< as they are now, and as they were
  std::vector<double> Hinv{};           ///< [K, K], of the columns that are left

  double h(std::size_t i, std::size_t j) const { return Hinv[i * w.size() + j]; }
  void take_out(std::size_t c);  ///< column c is done: Hinv of the columns that are left
};
using GptqVersion = void (*)(GptqRow& row, std::size_t c, double q);

/// 12. Four versions to be mended; e H eᵀ.
void judge_gptq(Judge& judge, const std::vector<GptqVersion>& versions,
                double (*output_error)(const std::vector<double>& w, const std::vector<double>& q,
                                       const std::vector<double>& H));

using DistillationLoss = double (*)(std::span<const double> student,
                                    std::span<const double> teacher,
                                    const std::vector<int>& targets, double T, double alpha);
using DistillationGradient = std::vector<double> (*)(std::span<const double> student,
                                                     std::span<const double> teacher,
                                                     const std::vector<int>& targets, double T,
                                                     double alpha);
/// 13. softmax(z / T); the loss of distillation; its gradient.
void judge_distillation(Judge& judge,
                        std::vector<double> (*softmax)(std::span<const double> z, double T),
                        DistillationLoss loss, DistillationGradient gradient);

/// 14. Bits per code that the best naming of these codes needs; GiB of a model whose codes cost `bits`
/// each and in which every `group` weights share a scale of `scale_bits`.
void judge_entropy(Judge& judge, double (*entropy)(const std::vector<int>& codes),
                   double (*gib)(double weights, double bits, int scale_bits, int group));

struct Machine {
  double peak = 0, bandwidth = 0;  ///< FLOP per second, bytes per second
};
struct Served {
  double weights = 0, weight_bytes = 0;  ///< how many, and bytes of each
  double layers = 0, channels = 0;
  double cache_bytes = 0;  ///< of one number in the KV cache
};
/// One pass of a model over some tokens.
struct Pass {
  double seconds = 0;
  bool waits_for_memory = false;
};
/// 15. Bytes of the keys and values of `tokens` tokens; a pass over `at_once` tokens behind `before`.
void judge_roofline(Judge& judge, double (*cache)(const Served& model, double tokens),
                    Pass (*pass)(const Machine& machine, const Served& model, double at_once,
                                 double before));

using Bytes = std::vector<std::uint8_t>;
/// 16. The number of a 16-bit float's two bytes; the weights of a packed matrix, row-major.
void judge_hexdump(Judge& judge, double (*f16)(std::uint8_t low, std::uint8_t high),
                   Vector (*weights)(const Bytes& codes, const Bytes& scales, std::size_t rows,
                                     std::size_t cols, int bits));

/// Losses of one seed: fp32; its nearest codes; QAT from it; and the control, fp32 trained for QAT's
/// steps, and that one's nearest codes.
struct SeedLosses {
  double fp32 = 0, rtn = 0, qat = 0, control = 0, control_rtn = 0;
};
struct Difference {
  double mean = 0, error = 0;  ///< error: standard error of the mean
};
/// 17. What the bits cost QAT; which share of that of rounding QAT recovers.
void judge_controls(Judge& judge, Difference (*cost)(const std::vector<SeedLosses>& seeds),
                    double (*recovered)(const std::vector<SeedLosses>& seeds));

/// 18. On the tape of scalar_gpt.h: RMSNorm of x; one head of attention; ŵ of a weight on 4 bits.
void judge_names(Judge& judge,
                 ScalarGpt::Row (*rms_norm)(ScalarTape& tape, const ScalarGpt::Row& x),
                 ScalarGpt::Row (*attend)(ScalarTape& tape, const ScalarGpt::Row& q,
                                          const std::vector<ScalarGpt::Row>& keys,
                                          const std::vector<ScalarGpt::Row>& values),
                 int (*rounded)(ScalarTape& tape, int w, double s));

/// A row as a file has it.
struct StoredRow {
  std::vector<int> codes{};
  float scale = 1;
};
/// 19. Three programs to be mended: whether a weight gets a gradient; codes with a scale of 16 bits;
/// the best of AWQ's powers. And the number that shows the second: Σ (ŵ - w)² of what is stored.
void judge_mistakes(Judge& judge,
                    bool (*has_gradient)(double w, double s, int z, int qmin, int qmax),
                    StoredRow (*stored)(const Floats& w, int qmax),
                    double (*best_power)(double (*error)(double power)),
                    double (*damage)(const Floats& w, const StoredRow& row));

}  // namespace notch::lessons
