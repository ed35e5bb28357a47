#include "data/tokenizer.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <unordered_map>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/sha256.h"
#include "data/tokenizer_json.h"
#include "data/unicode.h"
#include "data/vocab_files.h"

namespace notch::data {
namespace {

Vocabulary byte_vocabulary() {
  Vocabulary v;
  for (int b = 0; b < 256; ++b) v.tokens.push_back(std::string(1, static_cast<char>(b)));
  return v;
}

/// Without merges every token is a byte or added.
TokenizerKind kind_of(const Vocabulary& v) {
  if (!v.merges.empty() || v.ignore_merges) return TokenizerKind::bpe;
  std::size_t bytes = 0;
  bool byte_order = true;
  for (std::int32_t id = 0; id < std::ssize(v.tokens); ++id) {
    if (v.is_added(id)) continue;
    const std::string& token = v.tokens[static_cast<std::size_t>(id)];
    byte_order = byte_order && token.size() == 1 && static_cast<unsigned char>(token[0]) == bytes++;
  }
  return byte_order && bytes == 256 ? TokenizerKind::byte_level : TokenizerKind::character;
}

}  // namespace

std::string_view name(TokenizerKind kind) {
  switch (kind) {
    case TokenizerKind::byte_level:
      return "byte";
    case TokenizerKind::character:
      return "char";
    case TokenizerKind::bpe:
      break;
  }
  return "bpe";
}

TokenizerKind tokenizer_kind(std::string_view text) {
  for (const TokenizerKind kind :
       {TokenizerKind::byte_level, TokenizerKind::character, TokenizerKind::bpe}) {
    if (name(kind) == text) return kind;
  }
  const std::string close = did_you_mean(text, {"byte", "char", "bpe"});
  throw Error({.fault = Fault::usage,
               .where = "tokenizer",
               .what = "unknown kind",
               .field = "tokenizer",
               .found = std::string(text),
               .expected = "byte, char or bpe",
               .hint = close.empty() ? "" : str("did you mean \"", close, "\"?")});
}

Tokenizer::Tokenizer(TokenizerKind kind, Vocabulary vocabulary)
    : kind_(kind), vocabulary_(std::move(vocabulary)), merges_(vocabulary_.merges) {
  byte_ids_.fill(-1);
  for (std::int32_t id = 0; id < vocab_size(); ++id) {
    const std::string_view bytes = token(id);
    const bool added = vocabulary_.is_added(id);
    if (bytes.size() == 1) {
      std::int32_t& known = byte_ids_[static_cast<unsigned char>(bytes[0])];
      if (known < 0 || !added) known = id;
    }
    if (vocabulary_.ignore_merges && !added) whole_.emplace(bytes, id);
  }
  for (const AddedToken& added : vocabulary_.added) {
    searches_[added.normalized ? 1 : 0].ids.push_back(added.id);
    if (token(added.id) == kEndOfText) end_of_text_ = added.id;
  }
  for (Search& search : searches_) {
    const auto length = [&](std::int32_t id) { return token(id).size(); };
    std::ranges::stable_sort(search.ids, std::greater<>(), length);
    for (const std::int32_t id : search.ids) {
      if (search.starts.find(token(id)[0]) == std::string::npos) search.starts += token(id)[0];
    }
  }
}

Tokenizer Tokenizer::bytes() { return {TokenizerKind::byte_level, byte_vocabulary()}; }

Tokenizer Tokenizer::characters(std::string_view text) {
  if (text.empty()) {
    throw Error({.fault = Fault::input,
                 .where = "char tokenizer",
                 .what = "the text is empty",
                 .field = "text",
                 .found = "0 bytes",
                 .expected = "at least 1 byte",
                 .hint = "give a text with content"});
  }
  std::array<bool, 256> occurs{};
  for (char c : text) occurs[static_cast<unsigned char>(c)] = true;
  Vocabulary v;
  for (std::size_t b = 0; b < 256; ++b) {
    if (occurs[b]) v.tokens.push_back(std::string(1, static_cast<char>(b)));
  }
  // A text with all 256 bytes makes the byte tokenizer, and is called so after a reload too.
  const TokenizerKind kind = kind_of(v);
  return {kind, std::move(v)};
}

Tokenizer Tokenizer::train(std::string_view text, int vocab_size) {
  Vocabulary v = byte_vocabulary();
  v.merges = train_bpe(text, vocab_size);
  if (v.merges.empty()) {
    throw Error({.fault = Fault::input,
                 .where = "bpe",
                 .what = "no pair of bytes occurs twice in the text",
                 .field = "text",
                 .found = str(text.size(), " bytes"),
                 .expected = "a text with repetitions",
                 .hint = "give more text, or use tokenizer \"byte\""});
  }
  for (const Merge& m : v.merges) {
    v.tokens.push_back(v.tokens[static_cast<std::size_t>(m.left)] +
                       v.tokens[static_cast<std::size_t>(m.right)]);
  }
  return {TokenizerKind::bpe, std::move(v)};
}

Tokenizer Tokenizer::load(const fs::path& directory) {
  const fs::path whole = directory / "tokenizer.json", words = directory / "vocab.json";
  Companions companions = read_companions(directory);
  const auto with_companions = [&](Vocabulary read) {
    read.companions = std::move(companions);
    return of(std::move(read));
  };
  if (!is_meant(whole)) {
    if (fs::is_directory(directory)) require_vocab_files(directory);
    return with_companions(read_vocab_files(directory));
  }
  Vocabulary vocabulary = read_tokenizer_json(whole);
  // Scripts that add tokens edit vocab.json; the tokenizer.json that we wrote is then the older of the two.
  const bool was_edited = fits_vocab_files(vocabulary) && fs::exists(words) &&
                          read_file(words) != vocab_json(vocabulary) &&
                          read_file(whole) == tokenizer_json(vocabulary);
  return with_companions(was_edited ? read_vocab_files(directory) : std::move(vocabulary));
}

Tokenizer Tokenizer::of(Vocabulary vocabulary) {
  const TokenizerKind kind = kind_of(vocabulary);
  return {kind, std::move(vocabulary)};
}

void Tokenizer::save(const fs::path& directory) const {
  make_directories(directory);
  write_file(directory / "tokenizer.json", tokenizer_json(vocabulary_));
  write_file(directory / "tokenizer_config.json", tokenizer_config_json(vocabulary_));
  write_companions(vocabulary_.companions, directory);
  if (!fits_vocab_files(vocabulary_)) return;
  write_file(directory / "vocab.json", vocab_json(vocabulary_));
  write_file(directory / "merges.txt", merges_text(vocabulary_));
  const std::string added = added_tokens_json(vocabulary_);
  if (!added.empty()) write_file(directory / "added_tokens.json", added);
}

std::string_view Tokenizer::token(std::int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    throw Error({.fault = Fault::usage,
                 .where = "tokenizer",
                 .what = "the id is not in the vocabulary",
                 .field = "id",
                 .found = str(id),
                 .expected = str("0 to ", vocab_size() - 1),
                 .hint = "use the tokenizer that the model was trained with"});
  }
  return vocabulary_.tokens[static_cast<std::size_t>(id)];
}

std::int32_t Tokenizer::id_of_byte(std::string_view text, std::size_t offset) const {
  const auto byte = static_cast<unsigned char>(text[offset]);
  const std::int32_t id = byte_ids_[byte];
  if (id >= 0) return id;
  char hex[8];
  std::snprintf(hex, sizeof hex, "0x%02X", static_cast<unsigned>(byte));
  const bool printable = byte >= 0x20 && byte < 0x7F;
  throw Error({.fault = Fault::input,
               .where = str("text: byte offset ", offset),
               .what = str("the ", name(kind_), " tokenizer has no id for this byte"),
               .field = "text",
               .found = printable ? str(hex, " '", text[offset], "'") : std::string(hex),
               .expected = "only bytes that occurred in the tokenizer's text",
               .hint = "remove the character, or train with tokenizer \"byte\" or \"bpe\""});
}

void Tokenizer::require_nfc(std::string_view text, std::size_t begin, std::size_t end) const {
  text = text.substr(0, end);
  for (std::size_t at = begin; at < end;) {
    const Char c = char_at(text, at);
    if (!is_kept_by_nfc(c.code_point)) {
      char code[16];
      std::snprintf(code, sizeof code, "U+%04X", static_cast<unsigned>(c.code_point));
      throw Error({.fault = Fault::input,
                   .where = str("text: byte offset ", at),
                   .what = "this tokenizer puts texts into Unicode's NFC first, which is not done "
                           "here: it may change this character or the one before it",
                   .field = "text",
                   .found = str(code, " '", text.substr(at, c.bytes), "'"),
                   .expected = "characters that NFC leaves as they are: composed letters, "
                               "ideographs, punctuation, pictures",
                   .hint = "if none is left after unicodedata.normalize(\"NFC\", text) in Python, "
                           "use that; else leave the character out"});
    }
    at += c.bytes;
  }
}

std::pair<std::size_t, std::int32_t> Tokenizer::next_added(const Search& search,
                                                           std::string_view text, std::size_t from,
                                                           std::size_t end) const {
  text = text.substr(0, end);
  for (std::size_t at = from; at < end; ++at) {
    at = text.find_first_of(search.starts, at);
    if (at == text.npos) break;
    for (const std::int32_t id : search.ids) {
      if (text.substr(at).starts_with(token(id))) return {at, id};
    }
  }
  return {end, -1};
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> out;
  out.reserve(kind_ == TokenizerKind::bpe ? text.size() / 3 : text.size());
  // Words repeat: each distinct one is merged once per call, and its ids are a part of `merged`.
  struct Ids {
    std::size_t begin = 0, end = 0;
  };
  std::unordered_map<std::string_view, Ids> words;
  std::vector<std::int32_t> merged;
  std::vector<std::int32_t> ids;
  const auto merge_word = [&](std::size_t begin, std::size_t end) {
    ids.clear();
    const auto whole =
        whole_.empty() ? whole_.end() : whole_.find(std::string(text.substr(begin, end - begin)));
    if (whole != whole_.end()) {
      ids.push_back(whole->second);
    } else {
      for (std::size_t i = begin; i < end; ++i) ids.push_back(id_of_byte(text, i));
      merges_.apply(ids);
    }
    const std::size_t before = merged.size();
    merged.insert(merged.end(), ids.begin(), ids.end());
    return Ids{before, merged.size()};
  };
  const auto encode_words = [&](std::size_t begin, std::size_t text_end) {
    const std::string_view before = text.substr(0, text_end);
    while (begin < text_end) {
      const std::size_t end = vocabulary_.pre_tokenizer.word_end(before, begin);
      const auto [entry, is_new] = words.try_emplace(text.substr(begin, end - begin));
      if (is_new) entry->second = merge_word(begin, end);
      const auto at = [&](std::size_t i) {
        return merged.begin() + static_cast<std::ptrdiff_t>(i);
      };
      out.insert(out.end(), at(entry->second.begin), at(entry->second.end));
      begin = end;
    }
  };
  const auto encode_rest = [&](std::size_t begin, std::size_t end) {
    if (kind_ == TokenizerKind::bpe) return encode_words(begin, end);
    for (std::size_t i = begin; i < end; ++i) out.push_back(id_of_byte(text, i));
  };
  // Calls rest(begin, end) for what is between the tokens of `search` in [begin, end).
  const auto split = [&](const Search& search, std::size_t begin, std::size_t end,
                         const auto& rest) {
    while (begin < end) {
      const auto [at, id] = next_added(search, text, begin, end);
      rest(begin, at);
      begin = at;
      if (id < 0) break;
      out.push_back(id);
      begin += token(id).size();
    }
  };
  split(searches_[0], 0, text.size(), [&](std::size_t begin, std::size_t end) {
    if (vocabulary_.nfc) require_nfc(text, begin, end);
    split(searches_[1], begin, end, encode_rest);
  });
  return out;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string out;
  for (const std::int32_t id : ids) out += token(id);
  return out;
}

std::string Tokenizer::definition_hash() const {
  std::string rest;
  for (const AddedToken& added : vocabulary_.added) {
    rest += str(added.id, added.normalized ? " normalized\n" : "\n");
  }
  if (kind_ == TokenizerKind::bpe) {
    const PreTokenizer& pre = vocabulary_.pre_tokenizer;
    rest += str("Unicode 16.0, words ", static_cast<int>(pre.pattern), ' ',
                static_cast<int>(pre.digits), vocabulary_.ignore_merges ? " whole\n" : "\n");
  }
  return sha256(str(name(kind_), "\n", vocab_json(vocabulary_), merges_text(vocabulary_), rest));
}

}  // namespace notch::data
