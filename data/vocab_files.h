// vocab.json, merges.txt and added_tokens.json: the files in which GPT-2 keeps a byte-level
// tokenizer. They do not say how a text is split into words: that is GPT-2's way, always.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "autograd/base/files.h"
#include "data/vocabulary.h"

namespace notch::data {

/// The largest file of a tokenizer that is read.
inline constexpr std::uint64_t kMaxVocabularyBytes = std::uint64_t{64} << 20;

/// The text of a tokenizer's file, without the byte order mark that some editors put before it.
/// Fault::input for a known other form (file_form.h) than `expected`; Fault::io.
std::string read_vocabulary_text(const fs::path& path, std::string expected);

/// The text of vocab.json: one object, token to id, ids ascending.
std::string vocab_json(const Vocabulary& vocabulary);

/// The text of merges.txt: `#version: 0.2`, then `left right` per line in rank order.
std::string merges_text(const Vocabulary& vocabulary);

/// The text of added_tokens.json: the special tokens and their ids; empty where their look tells
/// what they are, so that vocab.json says enough.
std::string added_tokens_json(const Vocabulary& vocabulary);

/// Whether the three files say everything about `vocabulary`.
bool fits_vocab_files(const Vocabulary& vocabulary);

/// What the files say, from their parts: the spelling of every token by id, which of them are special,
/// and the text of merges.txt. Errors as below, naming `where` for tokens and `merges` for lines.
struct VocabularyText {
  std::vector<std::string> spellings{};
  std::set<std::string> specials{};
  std::string merges{};
};
Vocabulary parse_vocabulary(const VocabularyText& text, const std::string& where,
                            const std::string& merges);

/// Reads vocab.json, merges.txt and, where there is one, added_tokens.json of `directory`. A token
/// of more than one byte that no merge makes is special if added_tokens.json lists it or if it is
/// in <> or in [], as <|endoftext|> and [PAD] are; its spelling is its text. Strict, Fault::input
/// naming the file, and the line of merges.txt: ids must be 0..n-1 without gap or duplicate; every
/// other spelling in the alphabet; a merge joins two bytes or results of earlier merges into a
/// token. Lines of merges.txt may end as Windows has it. A missing file is Fault::io.
Vocabulary read_vocab_files(const fs::path& directory);

/// Throws Fault::input where `directory` lacks one of the two files, naming the files of another
/// tokenizer that stand there in their place.
void require_vocab_files(const fs::path& directory);

/// Whether there is a file to read: a link that leads nowhere is one, so that reading it says so.
bool is_meant(const fs::path& file);

/// The text of tokenizer_config.json, which is an object; empty where there is none. Throws Fault::input where it
/// says what would change the tokens: that a space is put before every text.
std::string read_tokenizer_config(const fs::path& directory);

}  // namespace notch::data
