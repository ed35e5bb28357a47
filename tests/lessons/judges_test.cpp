// The mistakes that students make most often, and the hint that each is answered with.
#include "experiments/lessons/judges.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "tests/catch.h"

namespace judges_test {

using namespace notch;
using lessons::AdamState;
using lessons::Bytes;
using lessons::Difference;
using lessons::Floats;
using lessons::Judge;
using lessons::Machine;
using lessons::Pass;
using lessons::ScalarTape;
using lessons::SeedLosses;
using lessons::Served;
using lessons::Vector;
using Row = lessons::ScalarGpt::Row;

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

TEST_CASE("the judge of entropy finds nats and scales left out") {
  const auto nats = [](const std::vector<int>& codes) {
    std::map<int, double> counts;
    double sum = 0;
    for (const int code : codes) counts[code] += 1 / static_cast<double>(codes.size());
    for (const auto& [code, p] : counts) sum -= p * std::log(p);
    return sum;
  };
  const auto decimal = [](double weights, double bits, int scale_bits, int group) {
    return weights * (bits + double(scale_bits) / group) / 8e9;
  };
  const std::string text = answer(lessons::judge_entropy, nats, decimal);
  CHECK(says(text, "log2, not the natural logarithm"));
  CHECK(says(text, "10^9 bytes are a GB"));
  const auto in_integers = [](double weights, double bits, int scale_bits, int group) {
    return weights * (bits + scale_bits / group) / 8 / 1073741824;
  };
  CHECK(says(answer(lessons::judge_entropy, nats, in_integers), "received 4, expected 4.5"));
}

TEST_CASE("the judge of roofs finds times added and weights read again") {
  const auto keys_only = [](const Served& model, double tokens) {
    return model.layers * model.channels * model.cache_bytes * tokens;
  };
  const auto added = [](const Machine& machine, const Served& model, double at_once, double) {
    return Pass{model.weights * model.weight_bytes / machine.bandwidth +
                    2 * model.weights * at_once / machine.peak,
                true};
  };
  const std::string sum = answer(lessons::judge_roofline, keys_only, added);
  CHECK(says(sum, "received 262144, expected 524288"));
  CHECK(says(sum, "so do not add them"));
  CHECK(says(sum, "512 tokens at once: waits for memory (1: yes): received 1, expected 0"));
  CHECK(says(sum, "another 2e9 to read"));
  const auto each = [](const Machine& machine, const Served& model, double at_once, double) {
    return Pass{at_once * model.weights * model.weight_bytes / machine.bandwidth, true};
  };
  CHECK(says(answer(lessons::judge_roofline, keys_only, each), "one reading of the weights"));
}

TEST_CASE("the judge of packed rows finds wrong orders") {
  const auto big_endian = [](std::uint8_t low, std::uint8_t high) {
    const int word = high + 256 * low;
    return (1 + word % 1024 / 1024.0) * std::pow(2, word / 1024 % 32 - 15);
  };
  const auto high_first = [](const Bytes& codes, const Bytes&, std::size_t, std::size_t cols, int) {
    Vector w;
    for (std::size_t c = 0; c < cols; ++c) {
      w.push_back((c % 2 == 0 ? codes[c / 2] / 16 : codes[c / 2] % 16) - 7);
    }
    return w;
  };
  const std::string text = answer(lessons::judge_hexdump, big_endian, high_first);
  CHECK(says(text, "3c00: e = 15"));
  CHECK(says(text, "row 3e 78 01, scale 1, element 0: received -4, expected 7"));
  const auto run_on = [](const Bytes& codes, const Bytes&, std::size_t rows, std::size_t cols,
                         int bits) {
    Vector w;
    for (std::size_t i = 0; i < rows * cols; ++i) {
      int stored = 0;
      for (std::size_t k = 0, n = i * std::size_t(bits); k < std::size_t(bits); ++k, ++n) {
        stored += (codes[n / 8] >> n % 8 & 1) << k;
      }
      w.push_back(stored - (1 << (bits - 1)) + 1);
    }
    return w;
  };
  CHECK(says(answer(lessons::judge_hexdump, big_endian, run_on), "every row begins a new byte"));
}

TEST_CASE("the judge of controls finds the wrong row") {
  const auto from_fp32 = [](const std::vector<SeedLosses>& seeds) {
    Difference out;
    for (const SeedLosses& s : seeds) out.mean += (s.qat - s.fp32) / double(seeds.size());
    return out;
  };
  const auto of_fp32 = [](const std::vector<SeedLosses>& seeds) {
    double saved = 0, lost = 0;
    for (const SeedLosses& s : seeds) saved += s.rtn - s.qat, lost += s.rtn - s.fp32;
    return saved / lost;
  };
  const std::string text = answer(lessons::judge_controls, from_fp32, of_fp32);
  CHECK(says(text, "received -0.9, expected 0.1"));
  CHECK(says(text, "is the control\n"));
  CHECK(says(text, "longer training is not recovery"));
  const auto unpaired = [](const std::vector<SeedLosses>& seeds) {
    const double n = double(seeds.size());
    double qat = 0, control = 0, squares = 0;
    for (const SeedLosses& s : seeds) qat += s.qat / n, control += s.control / n;
    for (const SeedLosses& s : seeds) {
      squares += std::pow(s.qat - qat, 2) + std::pow(s.control - control, 2);
    }
    return Difference{qat - control, std::sqrt(squares / (n - 1) / n)};
  };
  CHECK(says(answer(lessons::judge_controls, unpaired, of_fp32), "subtract first"));
}

TEST_CASE("the judge of the scalar GPT finds numbers that are not nodes") {
  const auto cut_off = [](ScalarTape& tape, const Row& x) {
    double squares = 0;
    for (const int node : x) squares += tape.value(node) * tape.value(node) / double(x.size());
    Row y;
    for (const int node : x) y.push_back(tape.scale(node, 1 / std::sqrt(squares + 1e-5)));
    return y;
  };
  const auto unscaled = [](ScalarTape& tape, const Row& q, const std::vector<Row>& keys,
                           const std::vector<Row>& values) {
    Row weights, out;
    for (const Row& key : keys) {
      Row products;
      for (std::size_t i = 0; i < q.size(); ++i) products.push_back(tape.mul(q[i], key[i]));
      weights.push_back(tape.exp(tape.sum(products)));
    }
    const int inverse = tape.power(tape.sum(weights), -1);
    for (std::size_t c = 0; c < values[0].size(); ++c) {
      Row parts;
      for (std::size_t t = 0; t < keys.size(); ++t) {
        parts.push_back(tape.mul(tape.mul(weights[t], inverse), values[t][c]));
      }
      out.push_back(tape.sum(parts));
    }
    return out;
  };
  const auto everywhere = [](ScalarTape& tape, int w, double s) {
    return tape.make(std::clamp(std::nearbyint(tape.value(w) / s), -7.0, 7.0) * s, w, 1);
  };
  const std::string text = answer(lessons::judge_names, cut_off, unscaled, everywhere);
  CHECK(says(text, "gradient of rms_norm at (3, -1, 1, 1)"));
  CHECK(says(text, "a number is not a node made from the others"));
  CHECK(says(text, "scores are divided by √size"));
  CHECK(says(text, "their gradients, element 3: received 1, expected 0"));
}

}  // namespace judges_test
