#include "data/vocab_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <unordered_map>

#include "autograd/base/error.h"
#include "autograd/base/file_form.h"
#include "autograd/base/json.h"
#include "data/known_ids.h"

namespace notch::data {
namespace {

constexpr std::string_view kVersionLine = "#version: 0.2";

/// An object of tokens and ids.
std::vector<std::pair<std::string, std::int64_t>> read_ids(const fs::path& path) {
  const std::string text = read_vocabulary_text(path, "a JSON object of tokens and ids");
  const Json json = Json::parse(text, path.string());
  std::vector<std::pair<std::string, std::int64_t>> ids;
  for (const auto& [spelling, id] : json.as_object(path.string())) {
    ids.emplace_back(spelling, id.as_int(str(path.string(), ": token ", json_quote(spelling))));
  }
  return ids;
}

/// Of vocab.json and added_tokens.json.
void read_tokens(const fs::path& directory, VocabularyText& text) {
  const std::string where = (directory / "vocab.json").string();
  auto ids = read_ids(directory / "vocab.json");
  const fs::path added = directory / "added_tokens.json";
  if (fs::exists(added)) {
    const std::unordered_map<std::string, std::int64_t> known(ids.begin(), ids.end());
    for (const auto& [spelling, id] : read_ids(added)) {
      text.specials.insert(spelling);
      const auto at = known.find(spelling);
      if (at == known.end()) {
        ids.emplace_back(spelling, id);
      } else if (at->second != id) {
        refuse_vocabulary(added.string(), "vocab.json has another id for the token", spelling,
                          str(id), str(at->second));
      }
    }
  }
  text.spellings = by_id(where, ids);
}

std::vector<Merge> read_merges(const std::string& file, std::string_view text,
                               MergeReader& reader) {
  std::vector<Merge> merges;
  std::size_t line_number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    // No token has the character itself: the alphabet spells it U+010D.
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++line_number;
    if (line_number == 1 && line.starts_with("#version:")) continue;
    const std::string where = str(file, ":", line_number);
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      refuse_vocabulary(where, "the line is not a merge", "", std::string(line.substr(0, 60)),
                        "two tokens with one space between them");
    }
    merges.push_back(reader.merge(line.substr(0, space), line.substr(space + 1), where));
  }
  return merges;
}

/// Other programs' tokenizers, by their files.
struct ForeignFile {
  std::string_view name{};  ///< or its end, from a '.' on
  std::string_view what{};
  std::string_view hint{};
};
constexpr std::string_view kConvert =
    "transformers' AutoTokenizer.from_pretrained(DIR).save_pretrained(OUT) may write a "
    "tokenizer.json; byte-level BPE can be read from it";
constexpr std::string_view kNotBytes = "use a model whose tokenizer is byte-level BPE";
constexpr std::array kForeignFiles{
    ForeignFile{"encoder.json", "of GPT-2's first release",
                "encoder.json and vocab.bpe are vocab.json and merges.txt by their first names: "
                "rename them"},
    ForeignFile{"tokenizer.model", "of SentencePiece or tiktoken", kConvert},
    ForeignFile{".tiktoken", "of tiktoken", kConvert},
    ForeignFile{"spiece.model", "of SentencePiece", kNotBytes},
    ForeignFile{"sentencepiece.bpe.model", "of SentencePiece", kNotBytes},
    ForeignFile{"vocab.txt", "of WordPiece", kNotBytes},
};

}  // namespace

std::string read_vocabulary_text(const fs::path& path, std::string expected) {
  std::string text = read_file(path, kMaxVocabularyBytes);
  refuse_known_form(path.string(), text, std::move(expected));
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
  return text;
}

std::string vocab_json(const Vocabulary& vocabulary) {
  std::string out = "{";
  for (std::int32_t id = 0; id < std::ssize(vocabulary.tokens); ++id) {
    out += str(id == 0 ? "" : ", ", json_quote(spelling_of(vocabulary, id)), ": ", id);
  }
  return out + "}\n";
}

std::string added_tokens_json(const Vocabulary& vocabulary) {
  require_known_ids(vocabulary);
  std::string out = "{";
  bool needed = false;
  for (const AddedToken& added : vocabulary.added) {
    const std::string& token = vocabulary.tokens[static_cast<std::size_t>(added.id)];
    needed = needed || !looks_special(token);
    out += str(out.size() == 1 ? "" : ", ", json_quote(token), ": ", added.id);
  }
  return needed ? out + "}\n" : "";
}

std::string merges_text(const Vocabulary& vocabulary) {
  require_known_ids(vocabulary);
  const auto token = [&](std::int32_t id) {
    return spell(vocabulary.tokens[static_cast<std::size_t>(id)]);
  };
  std::string out(kVersionLine);
  out += '\n';
  for (const Merge& m : vocabulary.merges) out += token(m.left) + ' ' + token(m.right) + '\n';
  return out;
}

bool fits_vocab_files(const Vocabulary& vocabulary) {
  const std::vector<bool> ordinary = reachable(vocabulary);
  for (std::int32_t id = 0; id < std::ssize(vocabulary.tokens); ++id) {
    if (ordinary[static_cast<std::size_t>(id)] == vocabulary.is_added(id)) return false;
  }
  return !vocabulary.ignore_merges && !vocabulary.nfc && vocabulary.pre_tokenizer == PreTokenizer{};
}

Vocabulary parse_vocabulary(const VocabularyText& text, const std::string& where,
                            const std::string& merges) {
  std::vector<std::optional<std::string>> bytes;  // that a token is spelled for
  for (const std::string& spelling : text.spellings) {
    bytes.push_back(unspell(spelling));
    const bool may_be_special = looks_special(spelling) || text.specials.contains(spelling);
    if (spelling.empty() || (!bytes.back() && !may_be_special)) {
      refuse_vocabulary(where, "the token is not spelled in GPT-2's byte alphabet", spelling,
                        spelling.empty() ? "an empty token" : "a character outside the alphabet",
                        "one character of the alphabet per byte, or a special token in <> or []");
    }
  }
  MergeReader reader(bytes, MergeReader::Parts::made_before);
  Vocabulary v;
  v.merges = read_merges(merges, text.merges, reader);
  for (std::size_t id = 0; id < bytes.size(); ++id) {
    const std::string& spelling = text.spellings[id];
    const MergeReader::Kind kind = reader.kind(id, spelling);
    const bool ordinary = kind == MergeReader::Kind::ordinary;
    if (kind == MergeReader::Kind::unreachable && !text.specials.contains(spelling)) {
      refuse_vocabulary(where, "no merge makes the token", spelling, str("id ", id),
                        "a byte, the result of a merge, or a special token in <> or []",
                        "use the vocab.json and merges.txt that were saved together; another "
                        "special token is listed with its id in added_tokens.json");
    }
    v.tokens.push_back(ordinary ? *bytes[id] : spelling);
    if (!ordinary) v.added.push_back({.id = static_cast<std::int32_t>(id)});
  }
  return v;
}

Vocabulary read_vocab_files(const fs::path& directory) {
  VocabularyText text;
  read_tokens(directory, text);
  const fs::path merges = directory / "merges.txt";
  text.merges = read_vocabulary_text(merges, "two tokens per line");
  return parse_vocabulary(text, (directory / "vocab.json").string(), merges.string());
}

void require_vocab_files(const fs::path& directory) {
  std::set<std::string> names;  // links that lead nowhere too: reading them says so
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    names.insert(entry.path().filename().string());
  }
  const bool words = names.contains("vocab.json"), merges = names.contains("merges.txt");
  if (words && merges) return;
  constexpr std::string_view kExpected = "tokenizer.json, or vocab.json and merges.txt";
  if (words || merges) {
    refuse_vocabulary(directory.string(), "half of the tokenizer is missing",
                      words ? "merges.txt" : "vocab.json",
                      words ? "vocab.json alone" : "merges.txt alone", std::string(kExpected));
  }
  for (const ForeignFile& foreign : kForeignFiles) {
    const auto at = std::ranges::find_if(names, [&](const std::string& name) {
      return foreign.name.starts_with('.') ? name.ends_with(foreign.name) : name == foreign.name;
    });
    if (at == names.end()) continue;
    refuse_vocabulary(directory.string(), "a tokenizer that this program cannot read", *at,
                      str(*at, ", ", foreign.what), std::string(kExpected),
                      std::string(foreign.hint));
  }
  refuse_vocabulary(directory.string(), "there is no tokenizer", "tokenizer.json", "no such file",
                    std::string(kExpected), "copy the tokenizer's files beside the model's");
}

bool is_meant(const fs::path& file) { return fs::exists(file) || fs::is_symlink(file); }

std::string read_tokenizer_config(const fs::path& directory) {
  const fs::path path = directory / "tokenizer_config.json";
  if (!is_meant(path)) return {};
  std::string text = read_vocabulary_text(path, "a JSON object");
  const Json json = Json::parse(text, path.string(), NonFinite::allowed);
  json.as_object(path.string());
  const Json* prefix = json.find("add_prefix_space");
  if (!prefix || prefix->is_null() || !prefix->as_bool(str(path.string(), ": add_prefix_space")))
    return text;
  refuse_vocabulary(path.string(), "not supported: a space before every text", "add_prefix_space",
                    "true", "false", "where the model was not trained so, set it to false");
}

}  // namespace notch::data
