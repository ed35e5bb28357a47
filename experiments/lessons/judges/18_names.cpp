#include <cmath>
#include <numbers>

#include "experiments/lessons/judges.h"

namespace notch::lessons {
namespace {

using Row = ScalarGpt::Row;

Row nodes(ScalarTape& tape, const Vector& values) {
  Row row;
  for (const double v : values) row.push_back(tape.make(v));
  return row;
}

Vector values(const ScalarTape& tape, const Row& row) {
  Vector all;
  for (const int node : row) all.push_back(tape.value(node));
  return all;
}

Vector gradients(const ScalarTape& tape, const Row& row) {
  Vector all;
  for (const int node : row) all.push_back(tape.grad(node));
  return all;
}

constexpr std::string_view kMissingNode =
    "the values are right: somewhere on the way a number is not a node made from the others, so "
    "nothing is passed back through it";

void judge_rms_norm(Judge& judge, Row (*rms_norm)(ScalarTape& tape, const Row& x)) {
  // y = x r, r = 1 / √(mean x² + 1e-5);  dx = r (dy - y mean(dy y)).
  const auto expect = [&](const std::string& name, const Vector& at, std::string_view hint) {
    const Vector dy{1, 2, -1, 0.5};
    ScalarTape tape;
    const Row x = nodes(tape, at), y = rms_norm(tape, x);
    Vector y_expected, dx;
    double squares = 0, mean = 0;
    for (const double v : at) squares += v * v / 4;
    const double r = 1 / std::sqrt(squares + 1e-5);
    for (std::size_t i = 0; i < 4; ++i) {
      y_expected.push_back(at[i] * r);
      mean += dy[i] * y_expected[i] / 4;
    }
    for (std::size_t i = 0; i < 4; ++i) dx.push_back(r * (dy[i] - y_expected[i] * mean));
    const int failed = judge.failed();
    judge.equal("rms_norm of " + name, values(tape, y), y_expected, 1e-9, hint);
    if (judge.failed() > failed) return;
    Row weighted;
    for (std::size_t i = 0; i < 4; ++i) weighted.push_back(tape.scale(y[i], dy[i]));
    tape.backward(tape.sum(weighted));
    judge.equal("gradient of rms_norm at " + name + ", dy = (1, 2, -1, 0.5)", gradients(tape, x),
                dx, 1e-7, kMissingNode);
  };
  expect("(3, -1, 1, 1)", {3, -1, 1, 1}, "the mean of the squares is 3: divide the sum by 4");
  expect("(0.003, 0, 0, 0.004)", {0.003, 0, 0, 0.004},
         "1e-5 is added to the mean of the squares, before the root");
}

void judge_attend(Judge& judge,
                  Row (*attend)(ScalarTape& tape, const Row& q, const std::vector<Row>& keys,
                                const std::vector<Row>& values)) {
  // By hand. q = (√2 ln 3, 0): the scores of (0, 0) and (1, 0) are 0 and ln 3, the weights 1/4 and 3/4.
  const double odds = std::numbers::sqrt2 * std::log(3.0);
  ScalarTape tape;
  const Row q = nodes(tape, {odds, 0});
  const std::vector<Row> keys{nodes(tape, {0, 0}), nodes(tape, {1, 0})};
  const std::vector<Row> v{nodes(tape, {4, 8, 0}), nodes(tape, {0, 4, 0})};
  const Row alone = attend(tape, q, {keys[1]}, {v[1]});
  judge.equal("attend to one token of value (0, 4, 0)", values(tape, alone), {0, 4, 0}, 1e-12,
              "the weights sum to 1: of one token the weight is 1");
  const Row out = attend(tape, q, keys, v);
  const int failed = judge.failed();
  judge.equal("attend to values (4, 8, 0) and (0, 4, 0), scores 0 and ln 3", values(tape, out),
              {1, 5, 0}, 1e-12,
              "weights 1/4 and 3/4; scores are divided by √size, size that of q (2)");
  if (judge.failed() > failed) return;
  // Of the first channel: d out/d value_t = weight_t, d out/d score_t = weight_t (value_t - out): 3/4
  // and -3/4; a score's slope is key/√2 for q and q/√2 for the key.
  tape.backward(out[0]);
  judge.equal("d(first channel)/d(first channel of the values)",
              Vector{tape.grad(v[0][0]), tape.grad(v[1][0])}, {0.25, 0.75}, 1e-12, kMissingNode);
  judge.equal("d(first channel)/dq", gradients(tape, q), {-0.75 / std::numbers::sqrt2, 0}, 1e-12,
              kMissingNode);
  judge.equal("d(first channel)/d(first channel of the keys)",
              Vector{tape.grad(keys[0][0]), tape.grad(keys[1][0])},
              {0.75 * std::log(3.0), -0.75 * std::log(3.0)}, 1e-12, kMissingNode);
}

}  // namespace

void judge_names(Judge& judge, Row (*rms_norm)(ScalarTape& tape, const Row& x),
                 Row (*attend)(ScalarTape& tape, const Row& q, const std::vector<Row>& keys,
                               const std::vector<Row>& values),
                 int (*rounded)(ScalarTape& tape, int w, double s)) {
  judge_rms_norm(judge, rms_norm);
  judge_attend(judge, attend);
  ScalarTape tape;
  const Row w = nodes(tape, {1.1, 1.25, -3.5, 3.6, -4});
  Row q;
  for (const int weight : w) q.push_back(rounded(tape, weight, 0.5));
  judge.equal("rounded (1.1, 1.25, -3.5, 3.6, -4), s = 0.5", values(tape, q),
              {1, 1, -3.5, 3.5, -3.5}, 1e-12,
              "nearest code times s; 2.5 goes to the even 2; codes end at -7 and 7");
  tape.backward(tape.sum(q));
  judge.equal("their gradients", gradients(tape, w), {1, 1, 1, 0, 0}, 0,
              "1 inside, its ends included; w/s = 7.2 and -8 are clipped: 0");
}

}  // namespace notch::lessons
