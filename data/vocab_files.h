// vocab.json and merges.txt: the files in which GPT-2, and everything compatible with it, keeps a
// byte-level tokenizer. All three kinds of Tokenizer use this one writer and this one reader.
//
// A token is spelled with one printable code point per byte: bytes 33..126, 161..172 and 174..255
// stand for themselves, the other 68 are U+0100 and up in ascending order (a space is U+0120).
// Source: Radford et al. 2019, bytes_to_unicode in their encoder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/files.h"
#include "data/bpe.h"

namespace notch::data {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

/// What the files hold: the bytes of every token by id, the merges by rank, and the ids, ascending,
/// of special tokens: those that a text's bytes never merge into, and that stand for themselves.
struct Vocabulary {
  std::vector<std::string> tokens{};
  std::vector<Merge> merges{};
  std::vector<std::int32_t> specials{};
};

/// The printable UTF-8 spelling of `bytes`.
std::string spell(std::string_view bytes);

/// The text of vocab.json: one object, token to id, ids ascending.
std::string vocab_json(const Vocabulary& vocabulary);

/// The text of merges.txt: `#version: 0.2`, then `left right` per line in rank order.
std::string merges_text(const Vocabulary& vocabulary);

/// The text of added_tokens.json: the special tokens and their ids; empty where their look tells
/// what they are, so that vocab.json says enough.
std::string added_tokens_json(const Vocabulary& vocabulary);

/// Reads vocab.json, merges.txt and, where there is one, added_tokens.json of `directory`. A token
/// of more than one byte that no merge makes is special if added_tokens.json lists it or if it is
/// in <> or in [], as <|endoftext|> and [PAD] are; its spelling is its text. Strict, Fault::input
/// naming the file, and the line of merges.txt: ids must be 0..n-1 without gap or duplicate,
/// n <= 65536; every other spelling in the alphabet; a merge joins two bytes or results of earlier
/// merges into a token that no other merge makes. A missing file is Fault::io.
Vocabulary read_vocabulary(const fs::path& directory);

}  // namespace notch::data
