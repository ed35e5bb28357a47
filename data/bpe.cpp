#include "data/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <queue>
#include <tuple>
#include <unordered_map>

#include "autograd/base/error.h"
#include "data/vocabulary.h"

namespace notch::data {
namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

struct Word {
  std::vector<std::int32_t> ids;
  std::int64_t count = 0;
};

/// A pair of adjacent ids: how often it occurs, and every word that holds it (words that no longer
/// do may stay in the list).
struct Pair {
  std::int64_t count = 0;
  std::vector<std::int32_t> words;
};

/// The place of a token in ties. The reference numbers the characters that spell the bytes in the
/// order of their code points.
std::int32_t place(std::int32_t id) {
  constexpr std::int32_t kAfterBytes = 1024;
  return id < 256 ? static_cast<std::int32_t>(letter_of(static_cast<unsigned char>(id)))
                  : kAfterBytes + id;
}

struct Candidate {
  std::int64_t count = 0;
  std::int32_t left = 0, right = 0;
  /// Heap order: the best candidate is the greatest.
  bool operator<(const Candidate& other) const {
    if (count != other.count) return count < other.count;
    return std::make_tuple(place(other.left), place(other.right)) <
           std::make_tuple(place(left), place(right));
  }
};

std::vector<Word> count_words(std::string_view text) {
  std::unordered_map<std::string_view, std::int64_t> counts;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = PreTokenizer{}.word_end(text, begin);
    ++counts[text.substr(begin, end - begin)];
    begin = end;
  }
  std::vector<Word> words;
  words.reserve(counts.size());
  for (const auto& [bytes, count] : counts) {
    Word word{.ids = {}, .count = count};
    word.ids.reserve(bytes.size());
    for (char c : bytes) word.ids.push_back(static_cast<unsigned char>(c));
    words.push_back(std::move(word));
  }
  return words;
}

/// The words of a text and the counts of their pairs, kept up to date merge by merge.
class Trainer {
 public:
  explicit Trainer(std::string_view text) : words_(count_words(text)) {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      const std::vector<std::int32_t>& ids = words_[w].ids;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) add(w, ids[i], ids[i + 1]);
    }
    for (const auto& [key, pair] : pairs_) push(key, pair.count);
  }

  /// The most frequent pair; count < 2 when there is nothing left to merge.
  Candidate best() {
    while (!heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      const std::int64_t count = pairs_[pair_key(top.left, top.right)].count;
      if (count == top.count) return top;
      // The count fell since the candidate was pushed (it never rises): try again at its true
      // place.
      if (count > 1) heap_.push({count, top.left, top.right});
    }
    return {};
  }

  void merge(const Merge& m) {
    const auto node = pairs_.extract(pair_key(m.left, m.right));
    created_.clear();
    for (const std::int32_t w : node.mapped().words) merge_word(static_cast<std::size_t>(w), m);
    pairs_.erase(pair_key(m.left, m.right));  // runs like "aaa" have touched it again
    std::sort(created_.begin(), created_.end());
    created_.erase(std::unique(created_.begin(), created_.end()), created_.end());
    for (const std::uint64_t key : created_) push(key, pairs_[key].count);
  }

 private:
  /// Counts one occurrence of a pair in word `w`.
  void add(std::size_t w, std::int32_t left, std::int32_t right) {
    Pair& pair = pairs_[pair_key(left, right)];
    pair.count += words_[w].count;
    const auto index = static_cast<std::int32_t>(w);
    if (pair.words.empty() || pair.words.back() != index) pair.words.push_back(index);
  }

  /// One occurrence of the pair (old_left, old_right) in word `w` becomes (left, right).
  void change(std::size_t w, std::int32_t old_left, std::int32_t old_right, std::int32_t left,
              std::int32_t right) {
    pairs_[pair_key(old_left, old_right)].count -= words_[w].count;
    add(w, left, right);
    created_.push_back(pair_key(left, right));
  }

  /// Merges from left to right in place; only pairs beside a merge change their counts.
  void merge_word(std::size_t w, const Merge& m) {
    std::vector<std::int32_t>& ids = words_[w].ids;
    const auto matches = [&](std::size_t i) {
      return i + 1 < ids.size() && ids[i] == m.left && ids[i + 1] == m.right;
    };
    std::size_t out = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!matches(i)) {
        ids[out++] = ids[i];
        continue;
      }
      if (out > 0) {
        const std::int32_t before = ids[out - 1];
        change(w, before == m.result ? m.right : before, m.left, before, m.result);
      }
      if (i + 2 < ids.size() && !matches(i + 2)) {
        change(w, m.right, ids[i + 2], m.result, ids[i + 2]);
      }
      ids[out++] = m.result;
      ++i;
    }
    ids.resize(out);
  }

  void push(std::uint64_t key, std::int64_t count) {
    if (count < 2) return;
    heap_.push({count, static_cast<std::int32_t>(key >> 32), static_cast<std::int32_t>(key)});
  }

  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, Pair> pairs_;
  std::vector<std::uint64_t> created_;  // pairs that the current merge made
  std::priority_queue<Candidate> heap_;
};

constexpr std::size_t kShort = 64;

/// Where a pair is looked for first, in a table of a power of two.
std::size_t slot(std::uint64_t pair, std::size_t places) {
  return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> 32) & (places - 1);
}

}  // namespace

std::vector<Merge> train_bpe(std::string_view text, int vocab_size) {
  if (vocab_size < 257 || vocab_size > 65536) {
    throw Error({.fault = Fault::usage,
                 .where = "bpe",
                 .what = "the vocabulary size is out of range",
                 .field = "bpe_vocab",
                 .found = str(vocab_size),
                 .expected = "257 to 65536",
                 .hint = "256 ids are the bytes; use tokenizer \"byte\" for no merges"});
  }
  Trainer trainer(text);
  std::vector<Merge> merges;
  while (static_cast<int>(merges.size()) < vocab_size - 256) {
    const Candidate best = trainer.best();
    if (best.count < 2) break;
    merges.push_back({best.left, best.right, 256 + static_cast<std::int32_t>(merges.size())});
    trainer.merge(merges.back());
  }
  return merges;
}

MergeTable::MergeTable(std::span<const Merge> merges) {
  if (merges.empty()) return;
  rules_.resize(std::bit_ceil(2 * merges.size()));
  std::int32_t rank = 0;
  for (const Merge& m : merges) {
    const std::uint64_t pair = pair_key(m.left, m.right);
    std::size_t at = slot(pair, rules_.size());
    while (rules_[at].rank >= 0 && rules_[at].pair != pair) at = (at + 1) & (rules_.size() - 1);
    rules_[at] = {pair, rank++, m.result};
  }
}

const MergeTable::Rule* MergeTable::find(std::int32_t left, std::int32_t right) const {
  if (rules_.empty()) return nullptr;
  const std::uint64_t pair = pair_key(left, right);
  for (std::size_t at = slot(pair, rules_.size());; at = (at + 1) & (rules_.size() - 1)) {
    if (rules_[at].rank < 0) return nullptr;
    if (rules_[at].pair == pair) return &rules_[at];
  }
}

void MergeTable::apply(std::vector<std::int32_t>& ids) const {
  if (ids.size() <= kShort) {
    apply_to_short(ids);
  } else {
    apply_to_long(ids);
  }
}

void MergeTable::apply_to_short(std::vector<std::int32_t>& ids) const {
  // Quadratic, and faster than a heap for words: ranks[i] is that of the pair (i, i + 1).
  constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
  std::array<std::int32_t, kShort> ranks;
  std::size_t n = ids.size();
  const auto rank_at = [&](std::size_t i) {
    const Rule* rule = i + 1 < n ? find(ids[i], ids[i + 1]) : nullptr;
    return rule ? rule->rank : kNone;
  };
  for (std::size_t i = 0; i < n; ++i) ranks[i] = rank_at(i);
  while (n > 1) {
    const auto end = ranks.begin() + static_cast<std::ptrdiff_t>(n - 1);
    const auto best = std::min_element(ranks.begin(), end);  // the leftmost of the lowest
    if (*best == kNone) break;
    const auto i = static_cast<std::size_t>(best - ranks.begin());
    ids[i] = find(ids[i], ids[i + 1])->result;
    const auto offset = static_cast<std::ptrdiff_t>(i + 1);
    ids.erase(ids.begin() + offset);
    std::copy(best + 2, ranks.begin() + static_cast<std::ptrdiff_t>(n), best + 1);
    --n;
    ranks[i] = rank_at(i);
    if (i > 0) ranks[i - 1] = rank_at(i - 1);
  }
}

void MergeTable::apply_to_long(std::vector<std::int32_t>& ids) const {
  // A linked list over the positions, and a heap of (rank, left position); entries whose pair has
  // changed since are recognised by their rank and skipped.
  const std::size_t n = ids.size();
  std::vector<std::size_t> next(n), previous(n);
  using Entry = std::pair<std::int32_t, std::size_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap;
  const auto offer = [&](std::size_t i) {
    if (i >= n || next[i] >= n) return;
    if (const Rule* rule = find(ids[i], ids[next[i]])) heap.push({rule->rank, i});
  };
  for (std::size_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i == 0 ? n : i - 1;
  }
  for (std::size_t i = 0; i < n; ++i) offer(i);
  while (!heap.empty()) {
    const auto [rank, i] = heap.top();
    heap.pop();
    if (ids[i] < 0 || next[i] >= n) continue;
    const std::size_t j = next[i];
    const Rule* rule = find(ids[i], ids[j]);
    if (rule == nullptr || rule->rank != rank) continue;
    ids[i] = rule->result;
    ids[j] = -1;  // merged into its left neighbour
    next[i] = next[j];
    if (next[j] < n) previous[next[j]] = i;
    offer(previous[i]);
    offer(i);
  }
  ids.erase(std::remove(ids.begin(), ids.end(), -1), ids.end());
}

}  // namespace notch::data
