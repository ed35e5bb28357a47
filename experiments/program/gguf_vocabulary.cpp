#include "experiments/program/gguf_vocabulary.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/utf8.h"
#include "data/companions.h"

namespace notch::experiments {
namespace {

using TokenKind = quant::GgufVocabulary::Kind;
constexpr std::int32_t kUndefined = 0;  // llama.cpp: whoever wrote the file said nothing of the token

/// llama.cpp's names (src/llama-vocab.cpp) for the words of data::PreTokenizer. Of several names for
/// one way the first is written.
struct Pre {
  std::string_view name{};
  data::PreTokenizer words{};
  bool ignore_merges = false;
};
constexpr std::array kPres{
    Pre{"gpt-2", {data::SplitPattern::gpt2}},
    Pre{"smollm", {data::SplitPattern::gpt2, data::DigitSplit::single}},
    Pre{"llama-bpe", {data::SplitPattern::llama3}, true},
    Pre{"llama3", {data::SplitPattern::llama3}, true},
    Pre{"llama-v3", {data::SplitPattern::llama3}, true},
    Pre{"smaug-bpe", {data::SplitPattern::llama3}},
    Pre{"dbrx", {data::SplitPattern::llama3}},
    Pre{"qwen2", {data::SplitPattern::qwen2}},
};

std::string pre_of(const data::Vocabulary& v) {
  // Words do not matter without merges, and GPT-2's rules would eat spaces before punctuation when ids
  // become text.
  if (v.merges.empty() && !v.ignore_merges) return "qwen2";
  for (const Pre& pre : kPres) {
    if (pre.words == v.pre_tokenizer && pre.ignore_merges == v.ignore_merges)
      return std::string(pre.name);
  }
  throw Error(
      {.where = "notch export",
       .what = "llama.cpp has no name for the way this tokenizer cuts words",
       .expected = "the words of GPT-2, with or without single digits, of Llama 3 or of Qwen 2",
       .hint = "export --format f16 writes a directory with its tokenizer.json"});
}

/// A post-processor that puts a token before a text.
Json template_of(const std::string& token, std::int32_t id) {
  const auto part = [](const char* kind, const std::string& name) {
    Json inner = Json::object();
    inner.set("id", name).set("type_id", 0);
    Json outer = Json::object();
    outer.set(kind, std::move(inner));
    return outer;
  };
  const Json::Array single{part("SpecialToken", token), part("Sequence", "A")};
  Json::Array pair = single;
  pair.push_back(part("Sequence", "B"));
  Json about = Json::object();
  about.set("id", token)
      .set("ids", Json(Json::Array{Json(id)}))
      .set("tokens", Json(Json::Array{Json(token)}));
  Json specials = Json::object();
  specials.set(token, std::move(about));
  Json all = Json::object();
  all.set("type", "TemplateProcessing")
      .set("single", Json(single))
      .set("pair", Json(std::move(pair)))
      .set("special_tokens", std::move(specials));
  return all;
}

/// What tokenizer_config.json says beyond a tokenizer's own: the chat template, and the tokens that it may
/// name. A text's own token would be taken out of texts there, so that of those none is named.
Json tokenizer_config_of(const quant::GgufVocabulary& v, const data::Vocabulary& tokens,
                         const std::filesystem::path& file) {
  Json config = Json::object();
  const auto name = [&](const char* key, const std::optional<std::int32_t>& id) {
    if (id && tokens.is_added(*id)) config.set(key, v.tokens[static_cast<std::size_t>(*id)]);
  };
  name("bos_token", v.bos);
  name("eos_token", v.eos);
  if (v.chat_template.empty()) return config;
  if (v.chat_template.size() > data::kMaxCompanionBytes || !is_utf8(v.chat_template)) {
    refuse_file(file, quant::kGgufChatTemplateKey, "no template",
                str(v.chat_template.size(), " bytes"),
                str("UTF-8 of at most ", data::kMaxCompanionBytes, " bytes"));
  }
  config.set(data::kChatTemplateKey, v.chat_template);
  return config;
}

/// `tokens`: how many there are.
std::optional<std::int32_t> first_of_template(const Json& processor, std::int64_t tokens) {
  constexpr std::string_view kWhere = "tokenizer.json: post_processor";
  const Json* type = processor.find("type");
  if (!type || !type->is_string()) return {};
  if (type->as_string(kWhere) == "Sequence") {
    for (const Json& each : processor.at("processors", kWhere).as_array(kWhere)) {
      if (const auto found = first_of_template(each, tokens)) return found;
    }
    return {};
  }
  if (type->as_string(kWhere) != "TemplateProcessing") return {};
  const Json::Array& single = processor.at("single", kWhere).as_array(kWhere);
  const Json* token = single.empty() ? nullptr : single.front().find("SpecialToken");
  if (!token) return {};
  const std::string& name = token->at("id", kWhere).as_string(kWhere);
  const Json::Array& ids =
      processor.at("special_tokens", kWhere).at(name, kWhere).at("ids", kWhere).as_array(kWhere);
  if (ids.size() != 1) return {};
  const std::int64_t first = ids.front().as_int(kWhere);
  if (first < 0 || first >= tokens) {
    throw Error({.fault = Fault::input,
                 .where = std::string(kWhere),
                 .what = "puts a token before every text that the tokenizer does not have",
                 .field = name,
                 .found = str(first),
                 .expected = str("an id from 0 to ", tokens - 1)});
  }
  return static_cast<std::int32_t>(first);
}

}  // namespace

std::optional<std::int32_t> token_before(const data::Vocabulary& vocabulary) {
  if (!vocabulary.post_processor.is_object()) return {};
  return first_of_template(vocabulary.post_processor, std::ssize(vocabulary.tokens));
}

quant::GgufVocabulary gguf_vocabulary(const data::Tokenizer& tokenizer) {
  const data::Vocabulary& v = tokenizer.vocabulary();
  const std::optional<std::int32_t> before = token_before(v);
  quant::GgufVocabulary out{.pre = pre_of(v),
                            .bos = before,
                            .add_bos = before.has_value(),
                            .chat_template = data::chat_template(v.companions)};
  if (const std::int32_t end = tokenizer.end_of_text(); end >= 0) {  // GPT-2's convention
    if (!before) out.bos = end;
    out.eos = end;
  }
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    out.tokens.push_back(data::spelling_of(v, id));
  }
  const auto spelled = [&](std::int32_t id) { return data::spell(tokenizer.token(id)); };
  for (const data::Merge& m : v.merges) {
    out.merges.push_back(spelled(m.left) + ' ' + spelled(m.right));
  }
  out.kinds.assign(out.tokens.size(), TokenKind::kNormal);
  const std::vector<bool> reachable = data::reachable(v);
  for (std::size_t id = 0; id < reachable.size() && !v.ignore_merges; ++id) {
    if (!reachable[id]) out.kinds[id] = TokenKind::kUnused;
  }
  for (const data::AddedToken& added : v.added) {
    out.kinds[static_cast<std::size_t>(added.id)] =
        added.special ? TokenKind::kControl : TokenKind::kUserDefined;
  }
  return out;
}

data::Tokenizer gguf_tokenizer(const quant::GgufVocabulary& v, const std::filesystem::path& file) {
  const auto pre = std::ranges::find(kPres, v.pre, &Pre::name);
  if (pre == kPres.end()) {
    std::string known;
    for (const Pre& each : kPres) known.append(known.empty() ? "" : ", ").append(each.name);
    const bool unsaid = v.pre.empty() || v.pre == "default";
    refuse_file(file, "tokenizer.ggml.pre",
                unsaid ? "the file does not say how words are cut"
                       : "words are cut in a way this program does not know",
                v.pre, known,
                unsaid
                    ? "files of before May 2024 have no such key: convert the model again, or add "
                      "its tokenizer's: gguf-py's gguf_new_metadata.py --pre-tokenizer NAME IN "
                      "OUT"
                    : "");
  }
  data::Vocabulary out;
  std::vector<std::optional<std::string>> bytes;  // of tokens that merges may name
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    const std::string& spelling = v.tokens[id];
    const std::int32_t kind = v.kinds.empty() ? TokenKind::kNormal : v.kinds[id];
    if (kind < kUndefined || kind > TokenKind::kByte) {
      refuse_file(file, str("tokenizer.ggml.token_type[", id, "]"), "no kind of token", str(kind),
                  str(kUndefined, " to ", int{TokenKind::kByte}));
    }
    if (const auto [first, is_new] = ids.emplace(spelling, id); !is_new) {
      refuse_file(file, str("tokenizer.ggml.tokens[", id, "]"), "a token that appears twice",
                  str(spelling, " as token ", first->second, ", too"), "another for every id");
    }
    // Of an undefined one the spelling tells: llama.cpp looks for text among all of them.
    const bool ordinary =
        kind == TokenKind::kNormal || kind == TokenKind::kUnused || kind == kUndefined;
    bytes.push_back(ordinary ? data::unspell(spelling) : std::nullopt);
    if (spelling.empty() || (kind == TokenKind::kNormal && !bytes.back())) {
      refuse_file(file, str("tokenizer.ggml.tokens[", id, "]"),
                  "an ordinary token that is not spelled in GPT-2's byte alphabet", spelling,
                  "one character of the alphabet per byte");
    }
  }
  data::MergeReader reader(bytes, data::MergeReader::Parts::any);
  for (std::size_t i = 0; i < v.merges.size(); ++i) {
    const std::string key = str("tokenizer.ggml.merges[", i, "]");
    const std::size_t space = v.merges[i].find(' ');
    if (space == std::string::npos) {
      refuse_file(file, key, "no merge", v.merges[i], "two tokens with one space between them");
    }
    const std::string_view merge = v.merges[i];
    out.merges.push_back(reader.merge(merge.substr(0, space), merge.substr(space + 1),
                                      str(file.string(), ": ", key)));
  }
  // Of these every word that is a token is found, but not what is a part of a word.
  const bool whole_words = pre->ignore_merges && !v.merges.empty();
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    const std::string& spelling = v.tokens[id];
    const std::int32_t kind = v.kinds.empty() ? TokenKind::kNormal : v.kinds[id];
    bool ordinary = bytes[id].has_value();
    if (ordinary && kind != TokenKind::kUnused && !whole_words) {
      const data::MergeReader::Kind found = reader.kind(id, spelling);
      if (found == data::MergeReader::Kind::unreachable) {
        refuse_file(file, str("tokenizer.ggml.tokens[", id, "]"), "no merge makes the token",
                    spelling, "a byte, the result of a merge, or a special token in <> or []",
                    v.merges.empty()
                        ? "tokenizer.ggml.merges is missing or empty: convert the model again"
                        : "tokenizer.ggml.merges is of another tokenizer, or not whole");
      }
      ordinary = found == data::MergeReader::Kind::ordinary;
    }
    out.tokens.push_back(ordinary ? *bytes[id] : spelling);
    if (!ordinary) {
      out.added.push_back(
          {.id = static_cast<std::int32_t>(id), .special = kind != TokenKind::kUserDefined});
    }
  }
  out.ignore_merges = pre->ignore_merges;
  if (!out.merges.empty() || out.ignore_merges) out.pre_tokenizer = pre->words;
  if (v.add_bos && v.bos) {
    out.post_processor = template_of(v.tokens[static_cast<std::size_t>(*v.bos)], *v.bos);
  }
  out.companions.tokenizer_config = tokenizer_config_of(v, out, file).dump() + "\n";
  return data::Tokenizer::of(std::move(out));
}

}  // namespace notch::experiments
