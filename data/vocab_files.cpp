#include "data/vocab_files.h"

#include <array>
#include <optional>
#include <unordered_map>

#include "autograd/base/error.h"
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

std::vector<std::string> read_tokens(const fs::path& path) {
  const std::string where = path.string();
  const Json json = Json::parse(read_file(path, kMaxFileBytes), where);
  const Json::Object& entries = json.as_object(where);
  if (entries.empty() || entries.size() > kMaxTokens) {
    fail(where, "the number of tokens is out of range", "", str(entries.size()),
         str("1 to ", kMaxTokens));
  }
  std::vector<std::string> tokens(entries.size());
  std::vector<bool> seen(entries.size());
  for (const auto& [spelling, value] : entries) {
    const std::int64_t id = value.as_int(str(where, ": token ", json_quote(spelling)));
    if (id < 0 || id >= static_cast<std::int64_t>(entries.size())) {
      fail(where, "the ids must be 0 to n-1 without a gap", spelling, str(id),
           str("0 to ", entries.size() - 1));
    }
    const auto index = static_cast<std::size_t>(id);
    if (seen[index])
      fail(where, "two tokens have the same id", spelling, str(id), "one token per id");
    const std::optional<std::string> bytes = unspell(spelling);
    if (!bytes || bytes->empty()) {
      fail(where, "the token is not spelled in GPT-2's byte alphabet", spelling,
           bytes ? "an empty token" : "a character outside the alphabet",
           "one character of the alphabet per byte");
    }
    seen[index] = true;
    tokens[index] = *bytes;
  }
  return tokens;
}

/// Joins the merges to the tokens; `made[id]` becomes true for results.
class MergeReader {
 public:
  MergeReader(std::string file, const std::vector<std::string>& tokens)
      : file_(std::move(file)), tokens_(tokens), made_(tokens.size()) {
    for (std::size_t i = 0; i < tokens.size(); ++i) ids_[tokens[i]] = static_cast<std::int32_t>(i);
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
  const std::vector<std::string>& tokens_;
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

std::string vocab_json(const Vocabulary& vocabulary) {
  std::string out = "{";
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    out += str(id == 0 ? "" : ", ", json_quote(spell(vocabulary.tokens[id])), ": ", id);
  }
  return out + "}\n";
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
  Vocabulary v;
  v.tokens = read_tokens(directory / "vocab.json");
  const fs::path merges = directory / "merges.txt";
  MergeReader reader(merges.string(), v.tokens);
  v.merges = reader.read(read_file(merges, kMaxFileBytes));
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.tokens[id].size() == 1 || reader.made(id) || v.tokens[id] == kEndOfText) continue;
    fail((directory / "vocab.json").string(), "no merge makes the token", spell(v.tokens[id]),
         str("id ", id), str("a byte, the result of a merge, or ", kEndOfText));
  }
  return v;
}

}  // namespace notch::data
