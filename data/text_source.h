// TextSource: the one entry point of experiments: from a few settings to a tokenizer and token ids.
//
// data/ makes token ids of text: corpora, tokenizers, batches. Nothing in it computes with floats.
// May include: data/verbs, autograd/base.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/base/files.h"
#include "data/corpus.h"
#include "data/tokenizer.h"
#include "data/verbs/verbs.h"

namespace notch::data {

struct SourceOptions {
  std::string kind = "verbs";  // verbs (built in) | text (a file)
  fs::path path{};             // text: resolved by find_text
  std::string tokenizer = "char";
  int bpe_vocab = 512;  // bpe only
  Splits splits{};
  std::uint64_t seed = 1337;                   // verbs only
  std::int64_t sentences = kDefaultSentences;  // verbs only
  std::int64_t block_size = 1;                 // each split must hold one window of this
  fs::path cache{};                            // directory of the token cache; empty: none
};

/// What a report says about the data.
struct CorpusInfo {
  std::string name{}, sha256{};
  std::size_t bytes = 0, train_bytes = 0, val_bytes = 0, test_bytes = 0;
  bool marked = false;  // Corpus::marked
};

struct TextSource {
  CorpusInfo corpus{};
  Tokenizer tokenizer = Tokenizer::bytes();
  TokenData tokens{};
};

/// The text of the options, split. Errors as load_corpus; Fault::usage for an unknown kind.
Corpus source_corpus(const SourceOptions& options);

/// Text, tokenizer and tokens. char knows the bytes of the whole text, so that the other splits
/// have no unknown one; bpe is trained on the training split alone. Errors as source_corpus,
/// Tokenizer and require_block.
TextSource load_source(const SourceOptions& options);

/// The same text with a tokenizer that exists already (that of a saved model).
TextSource load_source(const SourceOptions& options, Tokenizer tokenizer);

}  // namespace notch::data
