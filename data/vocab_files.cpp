#include "data/vocab_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "autograd/base/error.h"
#include "autograd/base/file_form.h"
#include "autograd/base/json.h"

namespace notch::data {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{64} << 20;
constexpr std::size_t kMaxTokens = 65536;  // ids are stored in 16 bits
constexpr std::string_view kVersionLine = "#version: 0.2";

/// Byte to code point (all below 0x144) and back.
struct Alphabet {
  std::array<std::uint32_t, 256> code_point{};
  std::array<int, 0x144> byte{};
  Alphabet() {
    byte.fill(-1);
    std::uint32_t extra = 256;
    for (std::uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      code_point[b] = printable ? b : extra++;
      byte[code_point[b]] = static_cast<int>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

/// The bytes that `spelling` (valid UTF-8) stands for; nothing when a code point is not in the
/// alphabet.
std::optional<std::string> unspell(std::string_view spelling) {
  std::string bytes;
  for (std::size_t i = 0; i < spelling.size(); ++i) {
    std::uint32_t point = static_cast<unsigned char>(spelling[i]);
    if (point >= 0xC0 && point < 0xE0 && i + 1 < spelling.size()) {
      point = (point & 0x1Fu) << 6 | (static_cast<unsigned char>(spelling[++i]) & 0x3Fu);
    } else if (point >= 0x80) {
      return {};
    }
    if (point >= alphabet().byte.size() || alphabet().byte[point] < 0) return {};
    bytes += static_cast<char>(alphabet().byte[point]);
  }
  return bytes;
}

[[noreturn]] void fail(std::string where, std::string what, std::string field, std::string found,
                       std::string expected) {
  throw Error({.fault = Fault::input,
               .where = std::move(where),
               .what = std::move(what),
               .field = std::move(field),
               .found = std::move(found),
               .expected = std::move(expected),
               .hint = "use the vocab.json and merges.txt that were saved together"});
}

/// A token as the files have it.
struct Entry {
  std::string spelling{};
  std::optional<std::string> bytes{};  ///< what it is spelled for; nothing outside the alphabet
  bool listed = false;                 ///< in added_tokens.json
};

bool looks_special(std::string_view spelling) {
  return spelling.size() > 2 && ((spelling.starts_with('<') && spelling.ends_with('>')) ||
                                 (spelling.starts_with('[') && spelling.ends_with(']')));
}

/// An object of tokens and ids.
Json::Object read_ids(const fs::path& path) {
  const std::string text = read_file(path, kMaxFileBytes);
  refuse_known_form(path.string(), text, "a JSON object of tokens and ids");
  return Json::parse(text, path.string()).as_object(path.string());
}

std::vector<Entry> read_entries(const fs::path& directory) {
  const std::string where = (directory / "vocab.json").string();
  if (!fs::exists(directory / "vocab.json") && fs::exists(directory / "tokenizer.json")) {
    throw Error({.fault = Fault::io,
                 .where = where,
                 .what = "there is no such file",
                 .found = "the tokenizer in another form: tokenizer.json",
                 .expected = "vocab.json and merges.txt",
                 .hint = "in Python, tokenizers.Tokenizer.from_file(\"DIR/tokenizer.json\")"
                         ".model.save(\"DIR\") writes both"});
  }
  Json::Object ids = read_ids(directory / "vocab.json");
  const fs::path added = directory / "added_tokens.json";
  std::unordered_set<std::string> listed;
  if (fs::exists(added)) {
    std::unordered_map<std::string_view, const Json*> known;
    for (const auto& [spelling, id] : ids) known.emplace(spelling, &id);
    Json::Object more;
    for (auto& [spelling, id] : read_ids(added)) {
      listed.insert(spelling);
      const auto at = known.find(spelling);
      if (at == known.end()) {
        more.emplace_back(spelling, id);
      } else if (at->second->dump() != id.dump()) {
        fail(added.string(), "vocab.json has another id for the token", spelling, id.dump(),
             at->second->dump());
      }
    }
    known.clear();  // its views die with the growing
    for (Json::Member& member : more) ids.push_back(std::move(member));
  }
  if (ids.empty() || ids.size() > kMaxTokens) {
    fail(where, "the number of tokens is out of range", "", str(ids.size()),
         str("1 to ", kMaxTokens));
  }
  std::vector<Entry> entries(ids.size());
  std::vector<bool> seen(ids.size());
  for (const auto& [spelling, value] : ids) {
    const std::int64_t id = value.as_int(str(where, ": token ", json_quote(spelling)));
    if (id < 0 || id >= std::ssize(ids)) {
      fail(where, "the ids must be 0 to n-1 without a gap", spelling, str(id),
           str("0 to ", ids.size() - 1));
    }
    const auto index = static_cast<std::size_t>(id);
    if (seen[index])
      fail(where, "two tokens have the same id", spelling, str(id), "one token per id");
    seen[index] = true;
    entries[index] = {spelling, unspell(spelling), listed.contains(spelling)};
    const bool may_be_special = looks_special(spelling) || (entries[index].listed);
    if (spelling.empty() || (!entries[index].bytes && !may_be_special)) {
      fail(where, "the token is not spelled in GPT-2's byte alphabet", spelling,
           spelling.empty() ? "an empty token" : "a character outside the alphabet",
           "one character of the alphabet per byte, or a special token in <> or []");
    }
  }
  return entries;
}

/// Joins the merges to the tokens; `made[id]` becomes true for results.
class MergeReader {
 public:
  MergeReader(std::string file, const std::vector<Entry>& entries)
      : file_(std::move(file)), made_(entries.size()) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      tokens_.push_back(entries[i].bytes.value_or(""));
      if (entries[i].bytes) ids_[*entries[i].bytes] = static_cast<std::int32_t>(i);
    }
  }

  std::vector<Merge> read(std::string_view text) {
    std::vector<Merge> merges;
    std::size_t line_number = 0;
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      ++line_number;
      if (line_number == 1 && line.substr(0, 9) == "#version:") continue;
      merges.push_back(merge(line, str(file_, ":", line_number)));
    }
    return merges;
  }

  bool made(std::size_t id) const { return made_[id]; }

 private:
  std::int32_t part(std::string_view spelling, const std::string& where) const {
    const std::optional<std::string> bytes = unspell(spelling);
    const auto found = bytes ? ids_.find(*bytes) : ids_.end();
    if (found == ids_.end()) {
      fail(where, "the merge names a token that vocab.json does not have", std::string(spelling),
           std::string(spelling), "a token of vocab.json");
    }
    const auto id = static_cast<std::size_t>(found->second);
    if (tokens_[id].size() > 1 && !made_[id]) {
      fail(where, "the merge uses a token before it is made", std::string(spelling),
           std::string(spelling), "a byte or the result of an earlier line");
    }
    return found->second;
  }

  Merge merge(std::string_view line, const std::string& where) {
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      fail(where, "the line is not a merge", "", std::string(line.substr(0, 60)),
           "two tokens with one space between them");
    }
    Merge m;
    m.left = part(line.substr(0, space), where);
    m.right = part(line.substr(space + 1), where);
    const std::string joined =
        tokens_[static_cast<std::size_t>(m.left)] + tokens_[static_cast<std::size_t>(m.right)];
    const auto result = ids_.find(joined);
    if (result == ids_.end()) {
      fail(where, "the merge makes a token that vocab.json does not have", std::string(line),
           spell(joined), "a token of vocab.json");
    }
    m.result = result->second;
    const auto index = static_cast<std::size_t>(m.result);
    if (made_[index]) {
      fail(where, "two merges make the same token", std::string(line), spell(joined),
           "one merge per token");
    }
    made_[index] = true;
    return m;
  }

  std::string file_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::vector<bool> made_;
};

}  // namespace

std::string spell(std::string_view bytes) {
  std::string out;
  for (char c : bytes) {
    const std::uint32_t point = alphabet().code_point[static_cast<unsigned char>(c)];
    if (point < 0x80) {
      out += static_cast<char>(point);
    } else {
      out += static_cast<char>(0xC0 | point >> 6);
      out += static_cast<char>(0x80 | (point & 0x3F));
    }
  }
  return out;
}

namespace {

/// As vocab.json has it: special tokens stand for themselves.
std::string spelling_of(const Vocabulary& vocabulary, std::int32_t id) {
  const std::string& token = vocabulary.tokens[static_cast<std::size_t>(id)];
  return std::ranges::binary_search(vocabulary.specials, id) ? token : spell(token);
}

}  // namespace

std::string vocab_json(const Vocabulary& vocabulary) {
  std::string out = "{";
  for (std::int32_t id = 0; id < std::ssize(vocabulary.tokens); ++id) {
    out += str(id == 0 ? "" : ", ", json_quote(spelling_of(vocabulary, id)), ": ", id);
  }
  return out + "}\n";
}

std::string added_tokens_json(const Vocabulary& vocabulary) {
  std::string out = "{";
  bool needed = false;
  for (const std::int32_t id : vocabulary.specials) {
    const std::string& token = vocabulary.tokens[static_cast<std::size_t>(id)];
    needed = needed || !looks_special(token);
    out += str(out.size() == 1 ? "" : ", ", json_quote(token), ": ", id);
  }
  return needed ? out + "}\n" : "";
}

std::string merges_text(const Vocabulary& vocabulary) {
  const auto token = [&](std::int32_t id) {
    return spell(vocabulary.tokens[static_cast<std::size_t>(id)]);
  };
  std::string out(kVersionLine);
  out += '\n';
  for (const Merge& m : vocabulary.merges) out += token(m.left) + ' ' + token(m.right) + '\n';
  return out;
}

Vocabulary read_vocabulary(const fs::path& directory) {
  const std::vector<Entry> entries = read_entries(directory);
  const fs::path merges = directory / "merges.txt";
  const std::string lines = read_file(merges, kMaxFileBytes);
  refuse_known_form(merges.string(), lines, "two tokens per line");
  MergeReader reader(merges.string(), entries);
  Vocabulary v;
  v.merges = reader.read(lines);
  for (std::size_t id = 0; id < entries.size(); ++id) {
    const Entry& e = entries[id];
    const bool ordinary = e.bytes && (e.bytes->size() == 1 || reader.made(id));
    if (!ordinary && !e.listed && !looks_special(e.spelling)) {
      throw Error({.fault = Fault::input,
                   .where = (directory / "vocab.json").string(),
                   .what = "no merge makes the token",
                   .field = e.spelling,
                   .found = str("id ", id),
                   .expected = "a byte, the result of a merge, or a special token in <> or []",
                   .hint = "use the vocab.json and merges.txt that were saved together; another "
                           "special token is listed with its id in added_tokens.json"});
    }
    v.tokens.push_back(ordinary ? *e.bytes : e.spelling);
    if (!ordinary) v.specials.push_back(static_cast<std::int32_t>(id));
  }
  return v;
}

}  // namespace notch::data
