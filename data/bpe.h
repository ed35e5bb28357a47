// Byte-level byte-pair encoding: the trainer and the merge loop.
//
// Apart from Tokenizer because it knows nothing of files, spellings or kinds: it sees bytes and
// ids. Source: Sennrich, Haddow and Birch 2016 (arXiv:1508.07909), algorithm 1. The merges are those
// that the BpeTrainer of Hugging Face's tokenizers learns from the same words. Deviation: training
// stops when no pair occurs twice (its min_frequency = 2), because a pair seen once compresses
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace notch::data {

/// One merge rule; its rank is its position in the list of merges.
struct Merge {
  std::int32_t left = 0, right = 0, result = 0;
};

/// Learns up to vocab_size - 256 merges. Ids 0..255 are the bytes, merge i makes id 256 + i.
/// The pair with the highest count is merged first (a run "aaa" counts (a, a) twice); ties go to the
/// smaller left token, then the smaller right one: bytes before merged tokens, bytes in the order of
/// the characters that spell them (vocabulary.h), merged tokens by id. Pairs never cross GPT-2's
/// words. Throws Fault::usage unless 257 <= vocab_size <= 65536.
std::vector<Merge> train_bpe(std::string_view text, int vocab_size);

/// The merges, ready to be applied.
class MergeTable {
 public:
  MergeTable() = default;
  explicit MergeTable(std::span<const Merge> merges);

  /// Applies the merges to the ids of one word: the lowest rank first, from left to right.
  /// O(n log n) for n ids, so a megabyte without a space is no problem.
  void apply(std::vector<std::int32_t>& ids) const;

 private:
  struct Rule {
    std::uint64_t pair = 0;
    std::int32_t rank = -1, result = 0;  // rank -1: an empty place
  };
  const Rule* find(std::int32_t left, std::int32_t right) const;
  void apply_to_short(std::vector<std::int32_t>& ids) const;
  void apply_to_long(std::vector<std::int32_t>& ids) const;
  std::vector<Rule> rules_;  // a hash table: open addressing, a power of two, at most half full
};

}  // namespace notch::data
