// Corpus: a text, its contiguous splits, and the tokens made from them.
//
// In order: training, validation (curves, and everything that is tuned) and, where one is wanted,
// test (scored once, at the end). Splits are made on bytes, before tokenization, so that every
// tokenizer sees the same texts and bits per byte compare across tokenizers. Token cache:
// `<cache>/<key>.bin`, key = SHA-256 over the text's hash, the tokenizer's definition and the
// splits. A cache file is used only when its magic, version, key, counts, id range and its own
// SHA-256 all hold; anything else is rebuilt without a word. Integers are in the byte order of the
// machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/files.h"
#include "data/tokenizer.h"

namespace notch::data {

/// Shares of a text that are never trained on: its last `test`, and the `val` before that.
struct Splits {
  double val = 0.1;
  double test = 0;
};

struct Corpus {
  std::string name{};           // the file's name, or what the caller calls it
  std::string sha256{};         // of the whole text
  std::string text{};           // valid UTF-8; may hold NUL bytes
  std::size_t train_bytes = 0;  // splits never end inside a UTF-8 sequence
  std::size_t val_bytes = 0;    // what is left is the test split
  bool marked = false;          // a byte order mark stood before the text, and is no part of it

  std::string_view train() const { return std::string_view(text).substr(0, train_bytes); }
  std::string_view val() const { return std::string_view(text).substr(train_bytes, val_bytes); }
  std::string_view test() const { return std::string_view(text).substr(train_bytes + val_bytes); }
};

/// Where the last `share` of `text` begins: floor(bytes * (1 - share)), moved forward to the start
/// of a UTF-8 character.
std::size_t split_point(std::string_view text, double share);

/// Checks and splits a text, without a byte order mark at its beginning: validation begins at split_point(val + test), test at
/// split_point(test). Throws Fault::usage unless 0 < val, 0 <= test and val + test < 1;
/// Fault::input when the text has less than 2 bytes or is not UTF-8 (with the byte offset). `where`
/// names the text in errors.
Corpus make_corpus(std::string name, std::string text, const Splits& splits,
                   std::string_view where);

inline constexpr std::string_view kStdin = "-";  ///< a text's path that means stdin

/// The file in $NOTCH_DATA of the name that `path` ends in, when there is one.
std::optional<fs::path> shelved_text(const fs::path& path);

/// `path` as given when it exists or is kStdin; for a name without a folder also shelved_text. A
/// path with a folder means that file and no other of its name. Throws Fault::io saying how to get
/// the file.
fs::path find_text(const fs::path& path);

/// make_corpus of what find_text finds, a file or a pipe.
Corpus load_corpus(const fs::path& path, const Splits& splits);

struct TokenData {
  std::vector<std::int32_t> train{}, val{}, test{};
  int vocab_size = 0;
  /// Bytes of a split's text per predicted token: all tokens but the first, which nothing predicts.
  /// bits per byte = loss in nats / ln 2 / this.
  double val_bytes_per_token = 0, test_bytes_per_token = 0;
};

/// Tokenizes the splits. An empty `cache` directory means no cache; a cache that cannot be written
/// is no error.
TokenData tokenize(const Corpus& corpus, const Tokenizer& tokenizer, const fs::path& cache = {});

/// Throws Fault::input unless each split, but an empty test split, has at least block_size + 1
/// tokens: one window and its targets. The field is the split's key in an experiment.
void require_block(const TokenData& tokens, std::int64_t block_size, std::string_view where);

}  // namespace notch::data
