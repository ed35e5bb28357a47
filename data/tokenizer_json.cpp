#include "data/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>

#include "autograd/base/error.h"
#include "autograd/base/file_form.h"
#include "data/known_ids.h"
#include "data/unicode.h"
#include "data/vocab_files.h"

namespace notch::data {
namespace {

struct NamedPattern {
  SplitPattern pattern = SplitPattern::gpt2;
  std::string_view regex{};
};

/// The first of a pattern is written; the others say the same.
constexpr std::array kPatterns{
    NamedPattern{SplitPattern::gpt2,
                 R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    NamedPattern{SplitPattern::llama3,
                 R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                 R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    NamedPattern{SplitPattern::qwen2,
                 R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
                 R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    NamedPattern{SplitPattern::gpt2,  // tiktoken's
                 R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}};

/// One object of the file, with the keys that lead to it in every error.
class Part {
 public:
  Part(const Json& json, std::string file, std::string key)
      : json_(json), file_(std::move(file)), key_(std::move(key)) {
    json_.as_object(where(key_));
  }

  [[noreturn]] void refuse(std::string_view key, const Json& found, std::string expected) const {
    std::string shown = found.dump();
    if (shown.size() > 160) shown = shown.substr(0, 157) + "...";
    refuse_vocabulary(file_, "not supported", path(key), shown, std::move(expected),
                      "byte-level BPE as GPT-2, Llama 3, Qwen 2 and SmolLM2 have it can be read");
  }
  /// Absent is null.
  const Json& get(std::string_view key) const {
    static const Json null;
    const Json* value = json_.find(key);
    return value ? *value : null;
  }
  std::string type() const {
    const Json& type = get("type");
    return type.is_string() ? type.as_string(key_) : "";
  }
  bool flag(std::string_view key, bool otherwise) const {
    const Json& value = get(key);
    return value.is_null() ? otherwise : value.as_bool(where(path(key)));
  }
  void require(std::string_view key, bool wanted, bool otherwise) const {
    if (flag(key, otherwise) != wanted) refuse(key, get(key), wanted ? "true" : "false");
  }
  /// Every key must be one of these: others may change the tokens.
  void only(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : json_.as_object(key_)) {
      if (std::ranges::find(known, key) == known.end()) refuse(key, value, "no such key");
    }
  }
  Part part(std::string_view key) const { return {get(key), file_, path(key)}; }
  std::string path(std::string_view key) const {
    return key_.empty() ? std::string(key) : str(key_, '.', key);
  }
  std::string where(std::string_view path) const {
    return path.empty() ? file_ : str(file_, ": ", path);
  }
  const std::string& file() const { return file_; }
  const Json& json() const { return json_; }

 private:
  const Json& json_;
  std::string file_, key_;
};

/// The members of a Sequence, or the one thing that is there.
std::vector<Part> sequence(const Part& part, std::string_view list) {
  if (part.type() != "Sequence") return {part};
  std::vector<Part> all;
  part.only({"type", list});
  const Json::Array& members = part.get(list).as_array(part.where(part.path(list)));
  for (std::size_t i = 0; i < members.size(); ++i) {
    all.emplace_back(members[i], part.file(), part.path(str(list, '[', i, ']')));
  }
  return all;
}

SplitPattern read_split(const Part& split) {
  split.only({"type", "pattern", "behavior", "invert"});
  if (split.get("behavior").dump() != "\"Isolated\"") {
    split.refuse("behavior", split.get("behavior"), "\"Isolated\"");
  }
  split.require("invert", false, false);
  const Json& regex = split.part("pattern").get("Regex");
  for (const NamedPattern& named : kPatterns) {
    if (regex.is_string() && regex.as_string("pattern") == named.regex) return named.pattern;
  }
  split.refuse("pattern", split.get("pattern"), "the pattern of GPT-2, of Llama 3 or of Qwen 2");
}

/// Whether texts become NFC first. A sequence of nothing changes nothing.
bool read_normalizer(const Part& root) {
  const Json& whole = root.get("normalizer");
  if (whole.is_null()) return false;
  const std::vector<Part> parts = sequence(root.part("normalizer"), "normalizers");
  for (const Part& part : parts) {
    if (part.type() != "NFC") root.refuse("normalizer", whole, "null or NFC");
    part.only({"type"});
  }
  return !parts.empty();
}

PreTokenizer read_pre_tokenizer(const Part& root) {
  constexpr std::string_view kExpected = "ByteLevel, [Digits, ByteLevel] or [Split, ByteLevel]";
  const Json& whole = root.get("pre_tokenizer");
  if (!whole.is_object()) root.refuse("pre_tokenizer", whole, std::string(kExpected));
  const std::vector<Part> parts = sequence(root.part("pre_tokenizer"), "pretokenizers");
  PreTokenizer out;
  const bool known = !parts.empty() && parts.size() <= 2 && parts.back().type() == "ByteLevel";
  if (!known) root.refuse("pre_tokenizer", whole, std::string(kExpected));
  const Part& bytes = parts.back();
  bytes.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  bytes.require("add_prefix_space", false, true);
  bool has_pattern = false;
  if (parts.size() == 2) {
    const Part& first = parts.front();
    if (first.type() == "Digits") {
      first.only({"type", "individual_digits"});
      out.digits = first.flag("individual_digits", false) ? DigitSplit::single : DigitSplit::runs;
    } else if (first.type() == "Split") {
      out.pattern = read_split(first);
      has_pattern = true;
    } else {
      first.refuse("type", first.get("type"), "\"Digits\" or \"Split\"");
    }
  }
  bytes.require("use_regex", !has_pattern, true);
  return out;
}

void check_post_processor(const Part& root) {
  if (root.get("post_processor").is_null()) return;
  for (const Part& part : sequence(root.part("post_processor"), "processors")) {
    if (part.type() != "ByteLevel" && part.type() != "TemplateProcessing") {
      part.refuse("type", part.get("type"), "\"ByteLevel\" or \"TemplateProcessing\"");
    }
  }
}

void check_model(const Part& model) {
  const Json& type = model.get("type");  // old files have none
  if (!type.is_null() && model.type() != "BPE") model.refuse("type", type, "\"BPE\"");
  model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  const Json& dropout = model.get("dropout");
  if (!dropout.is_null() && !(dropout.is_number() && dropout.as_number("dropout") == 0)) {
    model.refuse("dropout", dropout, "null");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& text = model.get(key);
    if (!text.is_null() && text.dump() != "\"\"") model.refuse(key, text, "null");
  }
  model.require("byte_fallback", false, false);
}

/// What NFC makes of a token that is searched for behind it is not known, unless it is kept.
bool is_searched_as_written(const AddedToken& token, std::string_view content) {
  for (std::size_t at = 0; token.normalized && at < content.size();) {
    const Char c = char_at(content, at);
    if (!is_kept_by_nfc(c.code_point)) return false;
    at += c.bytes;
  }
  return true;
}

/// Added tokens with their texts; only the id and the flags are filled in.
std::vector<std::pair<AddedToken, std::string>> read_added(const Part& root, bool nfc) {
  std::vector<std::pair<AddedToken, std::string>> all;
  if (root.get("added_tokens").is_null()) return all;
  const Json::Array& tokens = root.get("added_tokens").as_array(root.where("added_tokens"));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Part token(tokens[i], root.file(), str("added_tokens[", i, ']'));
    token.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    for (const char* key : {"single_word", "lstrip", "rstrip"}) token.require(key, false, false);
    const std::string& content = token.get("content").as_string(token.where(token.path("content")));
    if (content.empty()) token.refuse("content", token.get("content"), "a text");
    const std::int64_t id = token.get("id").as_int(token.where(token.path("id")));
    if (id < 0 || id >= std::int64_t{kMaxTokens}) {
      token.refuse("id", token.get("id"), str("0 to ", kMaxTokens - 1));
    }
    all.push_back({{.id = static_cast<std::int32_t>(id),
                    .special = token.flag("special", false),
                    .normalized = token.flag("normalized", true)},
                   content});
    if (nfc && !is_searched_as_written(all.back().first, content)) {
      token.refuse("content", token.get("content"), "characters that NFC leaves as they are");
    }
  }
  return all;
}

/// ["a", "b"], or "a b" in older files.
std::pair<std::string_view, std::string_view> parts_of(const Json& merge,
                                                       const std::string& where) {
  if (merge.is_array()) {
    const Json::Array& pair = merge.as_array(where);
    if (pair.size() == 2) return {pair[0].as_string(where), pair[1].as_string(where)};
  } else {
    const std::string_view text = merge.as_string(where);
    const std::size_t space = text.find(' ');
    if (space != text.npos) return {text.substr(0, space), text.substr(space + 1)};
  }
  refuse_vocabulary(where, "not a merge", "", merge.dump(), "two tokens");
}

Json pre_tokenizer_json(const PreTokenizer& pre) {
  const bool by_regex = pre.pattern != SplitPattern::gpt2;
  Json bytes = Json::object();
  bytes.set("type", "ByteLevel")
      .set("add_prefix_space", false)
      .set("trim_offsets", true)
      .set("use_regex", !by_regex);
  Json first = Json::object();
  if (by_regex) {
    Json pattern = Json::object();
    pattern.set("Regex", std::ranges::find(kPatterns, pre.pattern, &NamedPattern::pattern)->regex);
    first.set("type", "Split")
        .set("pattern", std::move(pattern))
        .set("behavior", "Isolated")
        .set("invert", false);
  } else if (pre.digits != DigitSplit::none) {
    first.set("type", "Digits").set("individual_digits", pre.digits == DigitSplit::single);
  } else {
    return bytes;
  }
  Json both = Json::object();
  both.set("type", "Sequence").set("pretokenizers", Json(Json::Array{first, bytes}));
  return both;
}

}  // namespace

std::string tokenizer_json(const Vocabulary& vocabulary) {
  require_known_ids(vocabulary);
  Json added = Json::array();
  for (const AddedToken& a : vocabulary.added) {
    Json token = Json::object();
    token.set("id", a.id)
        .set("content", vocabulary.tokens[static_cast<std::size_t>(a.id)])
        .set("single_word", false)
        .set("lstrip", false)
        .set("rstrip", false)
        .set("normalized", a.normalized)
        .set("special", a.special);
    added.push(std::move(token));
  }
  Json::Object vocab;
  for (std::int32_t id = 0; id < std::ssize(vocabulary.tokens); ++id) {
    vocab.emplace_back(spelling_of(vocabulary, id), id);
  }
  Json::Array merges;
  for (const Merge& m : vocabulary.merges) {
    const auto bytes = [&](std::int32_t id) {
      return vocabulary.tokens[static_cast<std::size_t>(id)];
    };
    merges.emplace_back(str(spell(bytes(m.left)), ' ', spell(bytes(m.right))));
  }
  Json model = Json::object();
  model.set("type", "BPE")
      .set("dropout", Json())
      .set("unk_token", Json())
      .set("continuing_subword_prefix", Json())
      .set("end_of_word_suffix", Json())
      .set("fuse_unk", false)
      .set("byte_fallback", false)
      .set("ignore_merges", vocabulary.ignore_merges)
      .set("vocab", Json(std::move(vocab)))
      .set("merges", Json(std::move(merges)));
  Json decoder = Json::object();
  decoder.set("type", "ByteLevel")
      .set("add_prefix_space", true)
      .set("trim_offsets", true)
      .set("use_regex", true);
  Json normalizer;
  if (vocabulary.nfc) normalizer.set("type", "NFC");
  Json json = Json::object();
  json.set("version", "1.0")
      .set("truncation", Json())
      .set("padding", Json())
      .set("added_tokens", std::move(added))
      .set("normalizer", std::move(normalizer))
      .set("pre_tokenizer", pre_tokenizer_json(vocabulary.pre_tokenizer))
      .set("post_processor", vocabulary.post_processor)
      .set("decoder", std::move(decoder))
      .set("model", std::move(model));
  return json.dump() + "\n";
}

std::string tokenizer_config_json(const Vocabulary& vocabulary) {
  require_known_ids(vocabulary);
  Json json = Json::object();
  json.set("tokenizer_class", "PreTrainedTokenizerFast").set("clean_up_tokenization_spaces", false);
  for (const AddedToken& a : vocabulary.added) {
    if (vocabulary.tokens[static_cast<std::size_t>(a.id)] != kEndOfText) continue;
    const std::string end(kEndOfText);  // GPT-2's convention, as in config.json
    json.set("bos_token", end).set("eos_token", end);
  }
  return with_kept(json, vocabulary.companions);
}

Vocabulary read_tokenizer_json(const fs::path& path) {
  const std::string file = path.string();
  const std::string text = read_vocabulary_text(path, "a JSON object");
  const Json json = Json::parse(text, file);
  const Part root(json, file, "");
  // truncation and padding are of batches: what uses the file sets them anew.
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});
  const Part model = root.part("model");
  check_model(model);
  if (!root.get("decoder").is_null() && root.part("decoder").type() != "ByteLevel") {
    root.refuse("decoder", root.get("decoder"), "ByteLevel");
  }
  check_post_processor(root);

  Vocabulary v;
  v.nfc = read_normalizer(root);
  v.pre_tokenizer = read_pre_tokenizer(root);
  v.ignore_merges = model.flag("ignore_merges", false);
  v.post_processor = root.get("post_processor");
  std::vector<std::pair<std::string, std::int64_t>> ids;
  std::unordered_map<std::string, std::int64_t> known;
  const std::string vocab_key = "model.vocab";
  for (const auto& [spelling, id] : model.get("vocab").as_object(root.where(vocab_key))) {
    ids.emplace_back(spelling, id.as_int(str(root.where(vocab_key), ": ", json_quote(spelling))));
    known.insert(ids.back());
  }
  const std::size_t in_model = ids.size();
  for (auto& [token, content] : read_added(root, v.nfc)) {
    const auto at = known.find(content);
    if (at == known.end()) {
      ids.emplace_back(content, token.id);
    } else if (at->second != token.id) {
      refuse_vocabulary(file, "the added token has another id in model.vocab", content,
                        str(token.id), str(at->second));
    }
    v.added.push_back(token);
  }
  std::ranges::sort(v.added, {}, &AddedToken::id);
  const std::vector<std::string> spellings = by_id(file, ids);
  std::vector<std::optional<std::string>> bytes(spellings.size());
  for (std::size_t i = 0; i < in_model; ++i) {
    // An added token stands for itself, also where it looks like the spelling of other bytes.
    std::optional<std::string> spelled = unspell(ids[i].first);
    const bool itself = v.is_added(static_cast<std::int32_t>(ids[i].second));
    if (!itself || spelled == ids[i].first) {
      bytes[static_cast<std::size_t>(ids[i].second)] = std::move(spelled);
    }
  }
  std::array<bool, 256> has_byte{};
  for (std::size_t id = 0; id < spellings.size(); ++id) {
    const bool added = v.is_added(static_cast<std::int32_t>(id));
    if (spellings[id].empty() || (!bytes[id] && !added)) {
      refuse_vocabulary(file, "the token is not spelled in the byte alphabet", spellings[id],
                        str("id ", id),
                        "one character of the alphabet per byte, or an added token");
    }
    v.tokens.push_back(added ? spellings[id] : *bytes[id]);
    if (bytes[id] && bytes[id]->size() == 1) {
      has_byte[static_cast<unsigned char>(bytes[id]->front())] = true;
    }
  }
  if (!model.get("unk_token").is_null() && !std::ranges::all_of(has_byte, std::identity{})) {
    model.refuse("unk_token", model.get("unk_token"), "null, or a token for each of the 256 bytes");
  }
  MergeReader reader(bytes, MergeReader::Parts::any);
  const Json::Array& merges = model.get("merges").as_array(root.where("model.merges"));
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string where = str(file, ": model.merges[", i, ']');
    const auto [left, right] = parts_of(merges[i], where);
    v.merges.push_back(reader.merge(left, right, where));
  }
  return v;
}

}  // namespace notch::data
