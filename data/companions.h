// Companions: files beside a tokenizer in other programs' model directories that nothing here computes
// with, but that whoever opens the model elsewhere needs: how a chat becomes a text, how to sample.
// A tokenizer carries them from the directory it is read from into those that it is saved to.
#pragma once

#include <array>
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

/// Those that are carried byte for byte.
inline constexpr std::array<std::string_view, 4> kCompanionFiles{
    "generation_config.json", "special_tokens_map.json", "chat_template.jinja",
    "chat_template.json"};

struct Companions {
  /// kCompanionFiles as they are, those that are there.
  std::map<std::string, std::string> files{};
  /// The object of tokenizer_config.json as it stands there; empty where there is none.
  std::string tokenizer_config{};
};

/// Those in `directory`. Fault::input for one that is too large, and as read_tokenizer_config (vocab_files.h);
/// Fault::io.
Companions read_companions(const fs::path& directory);

/// Writes all but tokenizer_config.json, which has other members besides (tokenizer_config_json).
void write_companions(const Companions& companions, const fs::path& directory);

/// The text of tokenizer_config.json: as it was, behind the members of `own` that it lacks. Numbers keep their
/// digits: transformers writes one of 31 for "no limit".
std::string with_kept(const Json& own, const Companions& companions);

/// The template that transformers takes, of several the default one: of chat_template.jinja, else of
/// tokenizer_config.json, else of chat_template.json. Empty: there is none. Fault::input for what is no text.
std::string chat_template(const Companions& companions);

}  // namespace notch::data
