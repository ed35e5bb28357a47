// tokenizer.json: the one file in which Hugging Face's tokenizers library keeps everything of a
// tokenizer (https://github.com/huggingface/tokenizers). Of its many kinds this one is read and
// written: byte-level BPE with the words of PreTokenizer.
#pragma once

#include <string>

#include "autograd/base/files.h"
#include "data/vocabulary.h"

namespace notch::data {

/// The text of the file.
std::string tokenizer_json(const Vocabulary& vocabulary);

/// The text of tokenizer_config.json, which Tokenizer::save puts beside it: without it transformers'
/// JavaScript opens no tokenizer. It names the class that has no rules besides tokenizer.json's, says
/// that text is decoded as it was (the default takes spaces away before punctuation), and what ends
/// a text if there is such a token; but what the file said that the vocabulary came with stays as it was.
std::string tokenizer_config_json(const Vocabulary& vocabulary);

/// Reads the file. What would change the tokens and is not one of these is refused by its key and
/// name (Fault::input): model BPE; pre-tokenizer ByteLevel, alone or after Digits or after a Split
/// with one of the patterns of SplitPattern; no normalizer, or NFC (Qwen 2's: Vocabulary::nfc);
/// decoder ByteLevel; added tokens that take no spaces with them. Of the post-processors ByteLevel and TemplateProcessing are known:
/// both leave the tokens of a text as they are. Ids must be 0..n-1 without gap or duplicate, and a
/// merge join two tokens into one. A missing file is Fault::io.
Vocabulary read_tokenizer_json(const fs::path& path);

}  // namespace notch::data
