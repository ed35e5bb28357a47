// Tokenizer: text to ids and back, in three kinds that share one interface and one file format.
//
//   byte  256 ids, id = byte. Reads anything.
//   char  one id per distinct byte of a text, ascending by byte value: what most character-level
//         examples call "char", exact for ASCII text and a byte tokenizer with fewer ids elsewhere.
//   bpe   byte-level BPE with the words of GPT-2, or of the file it is read from (pre_tokenizer.h).
//         Reads anything.
// A tokenizer is a value: copies are independent, and the const functions may run in several
// threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/base/files.h"
#include "data/vocabulary.h"

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

  /// Reads tokenizer.json or, in a directory without it, vocab.json and merges.txt: what `save`
  /// wrote, or another program. These two also where tokenizer.json is as `save` wrote it and vocab.json
  /// is not: scripts that add tokens edit that one. The kind follows from the vocabulary: merges mean bpe; none and,
  /// but for added tokens, the 256 bytes in their order mean byte; none and other bytes mean char.
  /// Errors as read_tokenizer_json and read_vocab_files; Fault::input, too, for a directory without
  /// either (require_vocab_files) and as read_companions, whose files go where this one is saved.
  static Tokenizer load(const fs::path& directory);
  /// The same of a vocabulary that was read from elsewhere.
  static Tokenizer of(Vocabulary vocabulary);

  /// Writes tokenizer.json into `directory`, which is created when absent, and, where they say
  /// everything as well, vocab.json, merges.txt and added_tokens.json (only where a special token's
  /// look does not tell); and beside them what came with the vocabulary (companions.h).
  void save(const fs::path& directory) const;

  TokenizerKind kind() const { return kind_; }
  int vocab_size() const { return static_cast<int>(vocabulary_.tokens.size()); }
  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// The id of `<|endoftext|>`; -1 when there is none.
  std::int32_t end_of_text() const { return end_of_text_; }

  /// The bytes of one token. Throws Fault::usage when `id` is outside [0, vocab_size()).
  std::string_view token(std::int32_t id) const;

  /// Added tokens that are written in the text become their ids, the leftmost first and of several
  /// the longest; what is between them is encoded as a text of its own.
  /// decode(encode(x)) == x for every x without an error. Throws Fault::input naming the byte and
  /// its offset when the vocabulary lacks one, or a character that NFC may change (Vocabulary::nfc).
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// The bytes of `ids`; a prefix of a text may end inside a UTF-8 sequence. Errors as `token`.
  std::string decode(std::span<const std::int32_t> ids) const;

  /// SHA-256 of what encode depends on: two tokenizers with the same one encode alike what both take
  /// (Vocabulary::nfc is left out, as GGUF does not say it).
  std::string definition_hash() const;

 private:
  /// Added tokens that a text is searched for at the same time.
  struct Search {
    std::vector<std::int32_t> ids{};  // the longest token first
    std::string starts{};             // their first bytes
  };

  Tokenizer(TokenizerKind kind, Vocabulary vocabulary);
  std::int32_t id_of_byte(std::string_view text, std::size_t offset) const;
  /// Throws Fault::input for a character of [begin, end) that is not is_kept_by_nfc.
  void require_nfc(std::string_view text, std::size_t begin, std::size_t end) const;
  /// Where the next of the tokens is in [from, end), and its id; `end` and -1 when there is none.
  std::pair<std::size_t, std::int32_t> next_added(const Search& search, std::string_view text,
                                                  std::size_t from, std::size_t end) const;

  TokenizerKind kind_;
  Vocabulary vocabulary_;
  MergeTable merges_;
  std::array<std::int32_t, 256> byte_ids_;               // -1: the vocabulary has no such byte
  std::unordered_map<std::string, std::int32_t> whole_;  // words that are tokens (ignore_merges)
  std::int32_t end_of_text_ = -1;
  std::array<Search, 2> searches_;  // the second between the matches of the first
};

}  // namespace notch::data
