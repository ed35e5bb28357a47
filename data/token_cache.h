// The token cache's file; corpus.h says when it is used. Layout: a fixed header, the ids of the
// training, validation and test splits (32 bits each), then the SHA-256 (64 hexadecimal digits) of
// everything before it.
#pragma once

#include <string>

#include "data/corpus.h"

namespace notch::data {

/// Fills the splits of `tokens` from `directory`/`key`.bin. False, with all empty, when the
/// file is absent or anything about it is not as written; tokens.vocab_size bounds the ids.
bool read_token_cache(const fs::path& directory, const std::string& key, TokenData& tokens);

/// Writes the file; silent when the directory cannot be written, since the cache only saves time.
void write_token_cache(const fs::path& directory, const std::string& key, const TokenData& tokens);

}  // namespace notch::data
