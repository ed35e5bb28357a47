// Tokenizer: text to ids and back, in three kinds that share one interface and one file format.
//
//   byte  256 ids, id = byte. Reads anything.
//   char  one id per distinct byte of a text, ascending by byte value: what most character-level
//         examples call "char", exact for ASCII text and a byte tokenizer with fewer ids elsewhere.
//   bpe   byte-level BPE with GPT-2's pre-tokenization (bpe.h). Reads anything.
// A tokenizer is a value: copies are independent, and the const functions may run in several
// threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/base/files.h"
#include "data/bpe.h"
#include "data/vocab_files.h"

namespace notch::data {

enum class TokenizerKind { byte_level, character, bpe };

/// "byte", "char", "bpe": the spelling in configs and reports.
std::string_view name(TokenizerKind kind);

/// The kind of that name; Fault::usage with a suggestion for any other.
TokenizerKind tokenizer_kind(std::string_view name);

class Tokenizer {
 public:
  static Tokenizer bytes();

  /// One id per distinct byte of `text`. Throws Fault::input when it is empty.
  static Tokenizer characters(std::string_view text);

  /// Trains on `text`; see train_bpe for the rules. vocab_size() is smaller than asked for when the
  /// text has too few repeated pairs; Fault::input when it has none.
  static Tokenizer train(std::string_view text, int vocab_size);

  /// Reads what `save` wrote, or GPT-2's own vocab.json and merges.txt. The kind follows from the
  /// files: merges mean bpe; none and, but for special tokens, the 256 bytes in their order mean
  /// byte; none and other bytes mean char. Errors as read_vocabulary.
  static Tokenizer load(const fs::path& directory);

  /// Writes vocab.json, merges.txt and, where a special token's look does not tell,
  /// added_tokens.json into `directory`, which is created when absent.
  void save(const fs::path& directory) const;

  TokenizerKind kind() const { return kind_; }
  int vocab_size() const { return static_cast<int>(vocabulary_.tokens.size()); }
  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// The id of `<|endoftext|>`; -1 when there is none.
  std::int32_t end_of_text() const { return end_of_text_; }

  /// The bytes of one token. Throws Fault::usage when `id` is outside [0, vocab_size()).
  std::string_view token(std::int32_t id) const;

  /// Special tokens that are written in the text become their ids, the leftmost first and of several
  /// the longest; what is between them is encoded as a text of its own.
  /// decode(encode(x)) == x for every x without an error. Throws Fault::input naming the byte and
  /// its offset when the vocabulary lacks one (char only).
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// As encode, in 16 bits (vocab_size() <= 65536 always holds): for whole corpora.
  std::vector<std::uint16_t> encode16(std::string_view text) const;

  /// The bytes of `ids`; a prefix of a text may end inside a UTF-8 sequence. Errors as `token`.
  std::string decode(std::span<const std::int32_t> ids) const;

  /// SHA-256 of the kind and the files: equal if and only if encode is.
  std::string definition_hash() const;

 private:
  Tokenizer(TokenizerKind kind, Vocabulary vocabulary);
  template <class Id>
  std::vector<Id> encode_as(std::string_view text) const;
  std::int32_t id_of_byte(std::string_view text, std::size_t offset) const;
  /// Where the next special token is, and its id; the text's end and -1 when there is none.
  std::pair<std::size_t, std::int32_t> next_special(std::string_view text, std::size_t from) const;

  TokenizerKind kind_;
  Vocabulary vocabulary_;
  MergeTable merges_;
  std::array<std::int32_t, 256> byte_ids_;  // -1: the vocabulary has no such byte
  std::int32_t end_of_text_ = -1;
  std::vector<std::int32_t> specials_;  // the longest first
  std::string special_starts_;          // their first bytes
};

}  // namespace notch::data
