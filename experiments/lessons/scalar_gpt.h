// The GPT that students arrive with: every number is a node of its own, and the whole program fits on
// two pages. Lesson 18 rebuilds it on tensors.
//
// Tape: nodes in the order in which they were made, so backward is a loop from the last (lessons 01
// and 02). The model: one block with RMSNorm and without biases, as in the short scalar programs that
// teach GPTs (Karpathy's micrograd 2020 and what followed it); the code is our own.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace notch::lessons {

/// Names are letters a … z; token 26 stands at the beginning and at the end.
struct NamesGpt {
  static constexpr std::size_t kTokens = 27, kLongest = 12, kChannels = 16, kHeads = 4,
                               kHidden = 64;
};

/// The token ids of "anna": 26 0 13 13 0 26. All but the last are read, all but the first predicted.
inline std::vector<std::int32_t> tokens_of(const std::string& name) {
  std::vector<std::int32_t> ids{26};
  for (const char letter : name) ids.push_back(letter - 'a');
  ids.push_back(26);
  return ids;
}

class ScalarTape {
 public:
  int make(double value, int a = 0, double da = 0, int b = 0, double db = 0) {
    nodes_.push_back({value, 0, a, b, da, db});
    return static_cast<int>(nodes_.size()) - 1;
  }
  int add(int a, int b) { return make(value(a) + value(b), a, 1, b, 1); }
  int mul(int a, int b) { return make(value(a) * value(b), a, value(b), b, value(a)); }
  int scale(int a, double by) { return make(value(a) * by, a, by); }
  int exp(int a) { return make(std::exp(value(a)), a, std::exp(value(a))); }
  int log(int a) { return make(std::log(value(a)), a, 1 / value(a)); }
  int relu(int a) { return make(std::fmax(value(a), 0), a, value(a) > 0 ? 1 : 0); }
  int power(int a, double p) {
    return make(std::pow(value(a), p), a, p * std::pow(value(a), p - 1));
  }
  int sum(std::span<const int> all) {
    int total = all[0];
    for (const int node : all.subspan(1)) total = add(total, node);
    return total;
  }

  void backward(int last) {
    for (Node& node : nodes_) node.grad = 0;
    nodes_[at(last)].grad = 1;
    for (std::size_t i = at(last) + 1; i-- > 0;) {
      const Node& node = nodes_[i];
      if (node.da != 0) nodes_[at(node.a)].grad += node.da * node.grad;
      if (node.db != 0) nodes_[at(node.b)].grad += node.db * node.grad;
    }
  }
  double value(int node) const { return nodes_[at(node)].value; }
  double grad(int node) const { return nodes_[at(node)].grad; }
  void set(int node, double value) { nodes_[at(node)].value = value; }
  void keep_first(std::size_t count) { nodes_.resize(count); }

 private:
  struct Node {
    double value = 0, grad = 0;
    int a = 0, b = 0;  // what it was made from
    double da = 0, db = 0;
  };
  static std::size_t at(int node) { return static_cast<std::size_t>(node); }
  std::vector<Node> nodes_;
};

class ScalarGpt : NamesGpt {
 public:
  using Row = std::vector<int>;  // of nodes

  /// Matrices in the order wte, wpe, q, k, v, o, fc, proj, head, row-major, as one list of numbers.
  explicit ScalarGpt(std::span<const double> start) : parameters_(start.size()) {
    for (const double v : start) tape_.make(v);
    int next = 0;
    const auto matrix = [&](std::size_t rows, std::size_t cols) {
      std::vector<Row> m(rows, Row(cols));
      for (Row& row : m) {
        for (int& node : row) node = next++;
      }
      return m;
    };
    wte_ = matrix(kTokens, kChannels), wpe_ = matrix(kLongest, kChannels);
    for (auto* m : {&q_, &k_, &v_, &o_}) *m = matrix(kChannels, kChannels);
    fc_ = matrix(kHidden, kChannels), proj_ = matrix(kChannels, kHidden);
    head_ = matrix(kTokens, kChannels);
  }

  /// Mean loss of a name; the gradients stay on the tape.
  double loss(const std::string& name) {
    tape_.keep_first(parameters_);
    const auto ids = tokens_of(name);
    std::vector<Row> keys, values;
    Row losses;
    for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
      const Row logits = next(static_cast<std::size_t>(ids[t]), t, keys, values);
      losses.push_back(
          tape_.scale(tape_.log(softmax(logits)[static_cast<std::size_t>(ids[t + 1])]), -1));
    }
    const int mean = tape_.scale(tape_.sum(losses), 1 / static_cast<double>(losses.size()));
    const double value = tape_.value(mean);
    tape_.backward(mean);
    return value;
  }
  std::vector<double> gradients() const {
    std::vector<double> all;
    for (std::size_t i = 0; i < parameters_; ++i) all.push_back(tape_.grad(static_cast<int>(i)));
    return all;
  }
  /// One step of Adam (lesson 06 without decay).
  void adam(double lr) {
    first_.resize(parameters_), second_.resize(parameters_);
    ++steps_;
    for (std::size_t i = 0; i < parameters_; ++i) {
      const int node = static_cast<int>(i);
      const double g = tape_.grad(node);
      double &m = first_[i], &v = second_[i];
      m = 0.9 * m + 0.1 * g, v = 0.95 * v + 0.05 * g * g;
      const double mean = m / (1 - std::pow(0.9, steps_)),
                   square = v / (1 - std::pow(0.95, steps_));
      tape_.set(node, tape_.value(node) - lr * mean / (std::sqrt(square) + 1e-8));
    }
  }

 private:
  int dot(const Row& a, const Row& b) {
    Row products;
    for (std::size_t i = 0; i < a.size(); ++i) products.push_back(tape_.mul(a[i], b[i]));
    return tape_.sum(products);
  }
  Row times(const std::vector<Row>& matrix, const Row& x) {
    Row out;
    for (const Row& row : matrix) out.push_back(dot(row, x));
    return out;
  }
  Row plus(const Row& a, const Row& b) {
    Row out;
    for (std::size_t i = 0; i < a.size(); ++i) out.push_back(tape_.add(a[i], b[i]));
    return out;
  }
  /// x / √(mean x² + 1e-5)
  Row rms_norm(const Row& x) {
    const int mean = tape_.scale(dot(x, x), 1 / static_cast<double>(x.size()));
    const int factor = tape_.power(tape_.add(mean, tape_.make(1e-5)), -0.5);
    Row out;
    for (const int node : x) out.push_back(tape_.mul(node, factor));
    return out;
  }
  Row softmax(const Row& x) {
    Row out;
    for (const int node : x) out.push_back(tape_.exp(node));
    const int inverse = tape_.power(tape_.sum(out), -1);
    for (int& node : out) node = tape_.mul(node, inverse);
    return out;
  }
  /// The logits of what follows `token` at position t. `keys` and `values` are those of all before.
  Row next(std::size_t token, std::size_t t, std::vector<Row>& keys, std::vector<Row>& values) {
    Row x = rms_norm(plus(wte_[token], wpe_[t]));
    Row h = rms_norm(x);
    const Row q = times(q_, h);
    keys.push_back(times(k_, h)), values.push_back(times(v_, h));
    constexpr std::size_t kSize = kChannels / kHeads;
    Row attended;
    for (std::size_t first = 0; first < kChannels; first += kSize) {
      const auto head = [&](const Row& row) {
        return Row(row.begin() + static_cast<std::ptrdiff_t>(first),
                   row.begin() + static_cast<std::ptrdiff_t>(first + kSize));
      };
      Row scores;
      for (const Row& key : keys)
        scores.push_back(
            tape_.scale(dot(head(q), head(key)), 1 / std::sqrt(static_cast<double>(kSize))));
      const Row weights = softmax(scores);
      for (std::size_t c = first; c < first + kSize; ++c) {
        Row parts;
        for (std::size_t s = 0; s <= t; ++s) parts.push_back(tape_.mul(weights[s], values[s][c]));
        attended.push_back(tape_.sum(parts));
      }
    }
    x = plus(x, times(o_, attended));
    h = times(fc_, rms_norm(x));
    for (int& node : h) node = tape_.relu(node);
    x = plus(x, times(proj_, h));
    return times(head_, x);
  }

  std::size_t parameters_;
  ScalarTape tape_;
  std::vector<Row> wte_, wpe_, q_, k_, v_, o_, fc_, proj_, head_;
  std::vector<double> first_, second_;  // Adam's moments
  int steps_ = 0;
};

}  // namespace notch::lessons
