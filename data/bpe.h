// Byte-level byte-pair encoding: the pre-tokenizer of GPT-2, the trainer and the merge loop.
//
// Apart from Tokenizer because it knows nothing of files, spellings or kinds: it sees bytes and
// ids. Source: Sennrich, Haddow and Birch 2016 (arXiv:1508.07909), algorithm 1; the byte alphabet
// and the splitting pattern are those of Radford et al. 2019 (GPT-2). Deviations: 1) character
// classes are ASCII; every byte >= 0x80 counts as a letter, so that a UTF-8 sequence is never cut
// and no Unicode table is needed (GPT-2 treats, for example, U+2019 as punctuation and U+00A0 as
// space: such text is tokenized differently, and still decodes to itself). 2) Training stops when
// no pair occurs twice, because a pair seen once compresses nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace notch::data {

/// One merge rule; its rank is its position in the list of merges.
struct Merge {
  std::int32_t left = 0, right = 0, result = 0;
};

/// The end (one past) of the pre-token that starts at `begin` < text.size(). The pattern is
/// GPT-2's, first alternative that matches, hand-written:
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t word_end(std::string_view text, std::size_t begin);

/// Learns up to vocab_size - 256 merges. Ids 0..255 are the bytes, merge i makes id 256 + i.
/// The pair with the highest count is merged first (a run "aaa" counts (a, a) twice); ties go to
/// the smallest left id, then the smallest right id. Pairs never cross pre-tokens. Throws
/// Fault::usage unless 257 <= vocab_size <= 65536.
std::vector<Merge> train_bpe(std::string_view text, int vocab_size);

/// The merges, ready to be applied.
class MergeTable {
 public:
  MergeTable() = default;
  explicit MergeTable(std::span<const Merge> merges);

  /// Applies the merges to the ids of one pre-token: the lowest rank first, from left to right.
  /// O(n log n) for n ids, so a megabyte without a space is no problem.
  void apply(std::vector<std::int32_t>& ids) const;

 private:
  struct Rule {
    std::int32_t rank = 0, result = 0;
  };
  const Rule* find(std::int32_t left, std::int32_t right) const;
  std::unordered_map<std::uint64_t, Rule> rules_;
};

}  // namespace notch::data
