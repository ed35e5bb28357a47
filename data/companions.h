// Companions: files beside a tokenizer in other programs' model directories that nothing here computes
// with, but that whoever opens the model elsewhere needs: how a chat becomes a text, how to sample.
// A tokenizer carries them from the directory it is read from into those that it is saved to.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "autograd/base/files.h"
#include "autograd/base/json.h"

namespace notch::data {

/// The largest that is read.
inline constexpr std::uint64_t kMaxCompanionBytes = std::uint64_t{16} << 20;

inline constexpr std::string_view kChatTemplateKey = "chat_template";

struct Companions {
  /// generation_config.json, special_tokens_map.json, chat_template.jinja and chat_template.json as they
  /// are, those that are there.
  std::map<std::string, std::string> files{};
  Json tokenizer_config{};  ///< of tokenizer_config.json; null where there is none
};

/// Those in `directory`. Fault::input for one that is too large, and as read_tokenizer_config (vocab_files.h);
/// Fault::io.
Companions read_companions(const fs::path& directory);

/// Writes all but tokenizer_config.json, which has other members besides (tokenizer_config_json).
void write_companions(const Companions& companions, const fs::path& directory);

/// `own` with the members that tokenizer_config.json had: in the place of one of the same name, or behind.
Json with_kept(Json own, const Companions& companions);

/// The template that transformers takes, of several the default one: of chat_template.jinja, else of
/// tokenizer_config.json, else of chat_template.json. Empty: there is none. Fault::input for what is no text.
std::string chat_template(const Companions& companions);

}  // namespace notch::data
