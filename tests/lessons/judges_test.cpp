// The mistakes that students make most often, and the hint that each is answered with.
#include "experiments/lessons/judges.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "tests/catch.h"

using namespace notch;
using lessons::AdamState;
using lessons::Floats;
using lessons::Judge;
using lessons::Vector;

namespace {

/// What the judge prints of a wrong version; it must not pass.
template <class... Functions>
std::string answer(void (*judge)(Judge&, Functions...), std::type_identity_t<Functions>... wrong) {
  std::ostringstream out;
  Judge student(out);
  judge(student, wrong...);
  CHECK(student.failed() > 0);
  return out.str();
}

bool says(const std::string& text, std::string_view words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("the judge of tapes finds gradients that are set, not added") {
  const auto wrong = [](std::vector<lessons::Line>& tape) {
    tape.back().grad = 1;
    for (auto line = tape.rbegin(); line != tape.rend(); ++line) {
      lessons::Line &a = tape[line->a], &b = tape[line->b];
      if (line->op == '+') a.grad = b.grad = line->grad;
      if (line->op == '*') a.grad = line->grad * b.value, b.grad = line->grad * a.value;
      if (line->op == 't') a.grad = line->grad * (1 - line->value * line->value);
    }
  };
  const std::string text = answer(lessons::judge_scalars, wrong);
  CHECK(says(text, "f = a a, gradients of the lines, element 0: received 3, expected 6"));
}

TEST_CASE("the judge of gradient checks finds a check that is blind") {
  const auto wrong = [](lessons::Function f, lessons::Rule rule, const Vector& x) {
    const Vector dx = rule(x, Vector(f(x).size(), 1));
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      Vector up = x, down = x;
      up[i] += 1e-5, down[i] -= 1e-5;
      double slope = 0;
      for (const double y : f(up)) slope += y / 2e-5;
      for (const double y : f(down)) slope -= y / 2e-5;
      worst = std::max(worst, std::fabs(slope - dx[i]));
    }
    return worst;
  };
  CHECK(says(answer(lessons::judge_gradcheck, wrong),
             "softmax without a rule is found: received no"));
}

TEST_CASE("the judge of AdamW finds what is forgotten") {
  const auto biased = [](double& w, AdamState& s, double g, double lr, double decay) {
    s.m = 0.9 * s.m + 0.1 * g, s.v = 0.999 * s.v + 0.001 * g * g;
    w -= lr * decay * w + lr * s.m / (std::sqrt(s.v) + 1e-8);
  };
  CHECK(says(answer(lessons::judge_adamw, biased), "m_hat = m / (1 - β1^t)"));
  const auto coupled = [](double& w, AdamState& s, double g, double lr, double decay) {
    g += decay * w, ++s.t;
    s.m = 0.9 * s.m + 0.1 * g, s.v = 0.999 * s.v + 0.001 * g * g;
    w -= lr * s.m / (1 - std::pow(0.9, s.t)) / (std::sqrt(s.v / (1 - std::pow(0.999, s.t))) + 1e-8);
  };
  CHECK(says(answer(lessons::judge_adamw, coupled), "must not go through m and v"));
}

TEST_CASE("the judge of codes finds wrong ties, zero points and ends") {
  const auto values = [](const std::vector<int>& codes, float s, int z) {
    Floats w;
    for (const int q : codes) w.push_back(static_cast<float>(q - z) * s);
    return w;
  };
  using Codes = std::vector<int>;
  const auto away = [](const Floats& w, float s, int z, int qmin, int qmax) {
    Codes q;
    for (const float v : w) q.push_back(std::clamp(int(std::round(v / s)) + z, qmin, qmax));
    return q;
  };
  CHECK(says(answer(lessons::judge_quantize, away, values), "element 0: received 1, expected 0"));
  const auto times = [](const Floats& w, float s, int z, int qmin, int qmax) {
    Codes q;
    for (const float v : w)
      q.push_back(std::clamp(int(std::nearbyint(v * (1 / s))) + z, qmin, qmax));
    return q;
  };
  CHECK(says(answer(lessons::judge_quantize, times, values), "received 64, expected 63"));
  const auto before = [](const Floats& w, float s, int z, int qmin, int qmax) {
    Codes q;
    for (const float v : w) {
      q.push_back(std::clamp(int(std::nearbyint(v / s + static_cast<float>(z))), qmin, qmax));
    }
    return q;
  };
  CHECK(says(answer(lessons::judge_quantize, before, values), "round first, then add z"));
  const auto endless = [](const Floats& w, float s, int z, int, int) {
    Codes q;
    for (const float v : w) q.push_back(int(std::nearbyint(v / s)) + z);
    return q;
  };
  CHECK(says(answer(lessons::judge_quantize, endless, values), "codes end at qmin and qmax"));
}

TEST_CASE("the judges of scales find signs, and ranges not searched") {
  const auto with_sign = [](const Floats& w, std::size_t group, int qmax) {
    Floats found;
    for (std::size_t i = 0; i < w.size(); i += group) {
      found.push_back(
          *std::max_element(w.begin() + std::ptrdiff_t(i), w.begin() + std::ptrdiff_t(i + group)) /
          static_cast<float>(qmax));
    }
    return found;
  };
  const auto in_integers = [](int bits, int scale_bits, std::size_t group) {
    return double(bits + scale_bits / int(group));
  };
  const std::string text = answer(lessons::judge_granularity, with_sign, in_integers);
  CHECK(says(text, "-2.1 of the second group"));
  CHECK(says(text, "in integers 16 / 32 is 0"));
  const auto absmax = [](const Floats& w, int qmax) {
    float largest = 0;
    for (const float v : w) largest = std::max(largest, std::fabs(v));
    return largest / static_cast<float>(qmax);
  };
  CHECK(says(answer(lessons::judge_range, absmax), "received 2, expected 1.12"));
}

TEST_CASE("the judge of loops finds gradients that are not zeroed") {
  const auto wrong = [](nn::Gpt& model, const nn::Batch& batch, int steps, double lr) {
    Graph g;
    double last = 0;
    for (int i = 0; i < steps; ++i) {
      g.begin(Graph::Mode::training);
      const Var loss = model.loss(g, batch);
      last = static_cast<double>(loss.item());
      g.backward(loss);
      for (Param& p : model.params().params()) {
        for (std::size_t k = 0; k < p.value.flat().size(); ++k) {
          p.value.flat()[k] -= static_cast<real>(lr) * p.grad.flat()[k];
        }
      }
    }
    return last;
  };
  CHECK(says(answer(lessons::judge_overfit, wrong), "set gradients to zero before each backward"));
}
