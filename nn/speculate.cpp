#include "nn/speculate.h"

#include <algorithm>

#include "nn/reader.h"

namespace notch::nn {
namespace {

constexpr std::int64_t kMostProposed = KvCache::kFewQueries - 1;

/// A model that follows the text: what of it has been read is in its cache.
class Follower {
 public:
  Follower(const Model& model, KvCache& cache, const Sampling& sampling)
      : reader_(model, cache), sampler_(sampling), vocab_(model.sizes().vocab_size) {
    reader_.forget();
  }

  std::int64_t read_to() const { return start_ + reader_.length(); }
  /// The text before `start` is out of the window.
  void restart(std::int64_t start) {
    start_ = start;
    reader_.forget();
  }
  void take_back(std::int64_t position) {
    if (position < read_to()) reader_.forget(position - start_);
  }
  /// The distribution after all of `text`, whose unread rest is read.
  std::span<const double> after(std::span<const std::int32_t> text) {
    const auto unread = static_cast<std::size_t>(std::ssize(text) - read_to());
    return normalised(reader_.read(text.last(unread)));
  }
  /// The logits after each of the last `n` tokens of `text`, at least as many as are unread. What
  /// precedes them is read together with the first of them, in one pass, as generate reads a prompt:
  /// a cache of 8 bits gives the positions of one pass to each other exactly.
  std::span<const real> after_each(std::span<const std::int32_t> text, std::int64_t n) {
    const std::int64_t unread = std::ssize(text) - read_to();
    const auto last = [&](std::int64_t count) {
      return text.last(static_cast<std::size_t>(count));
    };
    if (unread == n) return reader_.read_all(last(n));
    const std::span<const real> first =
        reader_.read(last(unread).first(static_cast<std::size_t>(unread - n + 1)));
    logits_.assign(first.begin(), first.end());
    if (n > 1) {
      const std::span<const real> rest = reader_.read_all(last(n - 1));
      logits_.insert(logits_.end(), rest.begin(), rest.end());
    }
    return logits_;
  }
  std::span<const double> normalised(std::span<const real> logits) {
    const std::span<const double> weights = sampler_.weights(logits);
    probabilities_.assign(weights.begin(), weights.end());
    for (double& p : probabilities_) p /= sampler_.total();
    return probabilities_;
  }
  std::span<const double> row(std::span<const real> logits, std::int64_t i) {
    return normalised(
        logits.subspan(static_cast<std::size_t>(i * vocab_), static_cast<std::size_t>(vocab_)));
  }

 private:
  Reader reader_;
  Sampler sampler_;
  std::int64_t vocab_, start_ = 0;
  std::vector<double> probabilities_;
  std::vector<real> logits_;
};

/// How many tokens to propose next.
class Pace {
 public:
  explicit Pace(const Draft& draft) : most_(draft.tokens), cost_(draft.cost) {}

  std::int64_t next() {
    const std::int64_t n = best_draft_length(accepted_ / judged_, cost_, most_);
    if (n > 0) return n;
    constexpr int kFirst = 8;
    if (known_ < kFirst) return 1;
    constexpr int kPause = 32;  // a try every so many passes costs a 32nd of `cost`
    idle_ = (idle_ + 1) % kPause;
    return idle_ == 0 ? 1 : 0;
  }
  /// Of `proposals` the first `kept` were accepted; those after a refusal were not judged.
  void note(std::int64_t proposals, std::int64_t kept) {
    constexpr double kMemory = 0.95;  // per judgement: the last twenty or so decide
    for (std::int64_t i = 0; i < std::min(proposals, kept + 1); ++i) {
      accepted_ = kMemory * accepted_ + (i < kept ? 1 : 0);
      judged_ = kMemory * judged_ + 1;
      ++known_;
    }
  }

 private:
  std::int64_t most_;
  double cost_;
  double accepted_ = 3, judged_ = 4;  // before anything is known
  int known_ = 0, idle_ = 0;
};

double total(std::span<const double> weights) {
  double sum = 0;
  for (const double w : weights) sum += w;
  return sum;
}

std::int32_t draw(std::span<const double> probabilities, Rng& rng) {
  return draw_from(probabilities, total(probabilities), rng);
}

/// From max(0, p - q), normalised. Where rounding leaves nothing of it, p and q are equal: from p.
std::int32_t draw_difference(std::span<const double> p, std::span<const double> q,
                             std::vector<double>& weights, Rng& rng) {
  weights.resize(p.size());
  for (std::size_t i = 0; i < p.size(); ++i) weights[i] = std::max(0.0, p[i] - q[i]);
  return total(weights) > 0 ? draw(weights, rng) : draw(p, rng);
}

}  // namespace

std::int64_t best_draft_length(double acceptance, double cost, std::int64_t most) {
  constexpr std::int64_t kMost = 1 << 20;
  check(acceptance >= 0 && acceptance <= 1 && cost >= 0 && most >= 0 && most <= kMost, "speculate",
        "acceptance = ", acceptance, ", cost = ", cost, " and most = ", most,
        "; expected a share, a cost of at least 0, and 0 to ", kMost);
  std::int64_t best = 0;
  double tokens = 1, power = 1, best_rate = 1;
  for (std::int64_t n = 1; n <= most; ++n) {
    power *= acceptance;
    tokens += power;
    const double rate = tokens / (1 + static_cast<double>(n) * cost);
    if (rate < best_rate) continue;
    best = n;
    best_rate = rate;
  }
  return best;
}

Speculation speculate(const Model& model, KvCache& cache, const Draft& draft,
                      std::span<const std::int32_t> prompt, std::int64_t n,
                      const Sampling& sampling, Rng& rng, const OnToken& on_token) {
  check_prompt(model.sizes(), prompt);
  const auto ids = [&](const Model& m) {
    const std::int64_t V = m.sizes().vocab_size;
    return sampling.ids == 0 ? V : std::min<std::int64_t>(V, sampling.ids);
  };
  check(ids(model) == ids(draft.model), "speculate", "the model has ", ids(model),
        " tokens, the draft ", ids(draft.model));
  check(draft.cost >= 0, "speculate", "a proposal cannot cost ", draft.cost);
  check(draft.tokens >= 1 && draft.tokens <= kMostProposed, "speculate", draft.tokens,
        " proposals per pass; expected 1 to ", kMostProposed);
  check(n >= 0, "speculate", "n is ", n, "; expected at least 0");
  const std::int64_t block = std::min(model.sizes().block_size, draft.model.sizes().block_size);
  const std::int64_t needed = positions_needed({.block_size = block}, std::ssize(prompt), n);
  check(cache.capacity() >= needed && draft.cache.capacity() >= needed, "speculate",
        "the caches hold ", cache.capacity(), " and ", draft.cache.capacity(), " of ", needed,
        " positions");

  Follower large(model, cache, sampling), small(draft.model, draft.cache, sampling);
  std::vector<std::int32_t> text(prompt.begin(), prompt.end());
  std::vector<std::vector<double>> q(static_cast<std::size_t>(draft.tokens));
  std::vector<double> difference;
  Speculation result;
  Pace pace(draft);
  std::int64_t start = std::max<std::int64_t>(0, std::ssize(text) - block);
  large.restart(start);
  small.restart(start);

  bool wanted = true;
  while (wanted && std::ssize(result.tokens) < n) {
    if (std::ssize(text) - start > block) {
      start = std::ssize(text) - std::max<std::int64_t>(1, block / 2);
      large.restart(start);
      small.restart(start);
    }
    const std::int64_t known = std::ssize(text);
    const std::int64_t proposals =
        std::min({pace.next(), block - (known - start), n - std::ssize(result.tokens) - 1});
    for (std::int64_t i = 0; i < proposals; ++i) {
      const std::span<const double> p = small.after(text);
      q[static_cast<std::size_t>(i)].assign(p.begin(), p.end());
      text.push_back(draw(p, rng));
    }
    const std::span<const real> logits = large.after_each(text, proposals + 1);
    ++result.passes;
    result.proposed += proposals;

    std::int64_t kept = 0;
    std::int32_t next = -1;
    for (; kept < proposals; ++kept) {
      const std::span<const double> p = large.row(logits, kept);
      const std::vector<double>& proposed = q[static_cast<std::size_t>(kept)];
      const auto id = static_cast<std::size_t>(text[static_cast<std::size_t>(known + kept)]);
      if (rng.uniform() * proposed[id] < p[id]) continue;
      next = draw_difference(p, proposed, difference, rng);
      break;
    }
    if (next < 0) next = draw(large.row(logits, proposals), rng);
    result.accepted += kept;
    pace.note(proposals, kept);
    text.resize(static_cast<std::size_t>(known + kept));
    large.take_back(known + kept);
    small.take_back(known + kept);
    text.push_back(next);
    for (std::int64_t i = known; wanted && i < std::ssize(text); ++i) {
      result.tokens.push_back(text[static_cast<std::size_t>(i)]);
      wanted = !on_token || on_token(result.tokens.back());
    }
  }
  return result;
}

}  // namespace notch::nn
