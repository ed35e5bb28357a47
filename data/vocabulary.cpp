#include "data/vocabulary.h"

#include <algorithm>
#include <array>

#include "autograd/base/error.h"
#include "data/known_ids.h"

namespace notch::data {
namespace {

/// Byte to code point (all below 0x144) and back.
struct Alphabet {
  std::array<char32_t, 256> code_point{};
  std::array<int, 0x144> byte{};
  Alphabet() {
    byte.fill(-1);
    char32_t extra = 256;
    for (char32_t b = 0; b < 256; ++b) {
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

}  // namespace

bool Vocabulary::is_added(std::int32_t id) const {
  return std::ranges::binary_search(added, id, {}, &AddedToken::id);
}

char32_t letter_of(unsigned char byte) { return alphabet().code_point[byte]; }

std::string spell(std::string_view bytes) {
  std::string out;
  for (char c : bytes) {
    const char32_t point = letter_of(static_cast<unsigned char>(c));
    if (point < 0x80) {
      out += static_cast<char>(point);
    } else {
      out += static_cast<char>(0xC0 | point >> 6);
      out += static_cast<char>(0x80 | (point & 0x3F));
    }
  }
  return out;
}

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

void require_known_ids(const Vocabulary& vocabulary) {
  const auto known = [&](std::int32_t id) {
    check(id >= 0 && id < std::ssize(vocabulary.tokens), "vocabulary", "token ", id, " of ",
          vocabulary.tokens.size());
  };
  for (const Merge& m : vocabulary.merges) known(m.left), known(m.right), known(m.result);
  for (const AddedToken& added : vocabulary.added) known(added.id);
}

std::string spelling_of(const Vocabulary& vocabulary, std::int32_t id) {
  check(id >= 0 && id < std::ssize(vocabulary.tokens), "vocabulary", "token ", id, " of ",
        vocabulary.tokens.size());
  const std::string& token = vocabulary.tokens[static_cast<std::size_t>(id)];
  return vocabulary.is_added(id) ? token : spell(token);
}

bool looks_special(std::string_view spelling) {
  return spelling.size() > 2 && ((spelling.starts_with('<') && spelling.ends_with('>')) ||
                                 (spelling.starts_with('[') && spelling.ends_with(']')));
}

std::vector<bool> reachable(const Vocabulary& vocabulary) {
  require_known_ids(vocabulary);
  std::vector<bool> out;
  for (const std::string& token : vocabulary.tokens) out.push_back(token.size() == 1);
  for (const Merge& m : vocabulary.merges) out[static_cast<std::size_t>(m.result)] = true;
  return out;
}

void refuse_vocabulary(std::string where, std::string what, std::string field, std::string found,
                       std::string expected, std::string hint) {
  throw Error({.fault = Fault::input,
               .where = std::move(where),
               .what = std::move(what),
               .field = std::move(field),
               .found = std::move(found),
               .expected = std::move(expected),
               .hint = std::move(hint)});
}

std::vector<std::string> by_id(const std::string& where,
                               const std::vector<std::pair<std::string, std::int64_t>>& ids) {
  if (ids.empty() || ids.size() > kMaxTokens) {
    refuse_vocabulary(where, "the number of tokens is out of range", "", str(ids.size()),
                      str("1 to ", kMaxTokens));
  }
  std::vector<std::string> names(ids.size());
  std::vector<bool> seen(ids.size());
  for (const auto& [name, id] : ids) {
    if (id < 0 || id >= std::ssize(ids)) {
      refuse_vocabulary(where, "the ids must be 0 to n-1 without a gap", name, str(id),
                        str("0 to ", ids.size() - 1));
    }
    const auto index = static_cast<std::size_t>(id);
    if (seen[index]) {
      refuse_vocabulary(where, "two tokens have the same id", name, str(id), "one token per id");
    }
    seen[index] = true;
    names[index] = name;
  }
  return names;
}

MergeReader::MergeReader(const std::vector<std::optional<std::string>>& bytes, Parts parts)
    : parts_(parts), made_(bytes.size()) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    tokens_.push_back(bytes[i].value_or(""));
    if (bytes[i]) ids_.emplace(*bytes[i], static_cast<std::int32_t>(i));
  }
}

std::int32_t MergeReader::part(std::string_view spelling, const std::string& where) const {
  const std::optional<std::string> bytes = unspell(spelling);
  const auto found = bytes ? ids_.find(*bytes) : ids_.end();
  if (found == ids_.end()) {
    refuse_vocabulary(where, "the merge names a token that the vocabulary does not have",
                      std::string(spelling), std::string(spelling), "a token of the vocabulary");
  }
  const auto id = static_cast<std::size_t>(found->second);
  if (parts_ == Parts::made_before && tokens_[id].size() > 1 && !made_[id]) {
    refuse_vocabulary(where, "the merge uses a token before it is made", std::string(spelling),
                      std::string(spelling), "a byte or the result of an earlier merge");
  }
  return found->second;
}

Merge MergeReader::merge(std::string_view left, std::string_view right, const std::string& where) {
  Merge m;
  m.left = part(left, where);
  m.right = part(right, where);
  const std::string joined =
      tokens_[static_cast<std::size_t>(m.left)] + tokens_[static_cast<std::size_t>(m.right)];
  const auto result = ids_.find(joined);
  if (result == ids_.end()) {
    refuse_vocabulary(where, "the merge makes a token that the vocabulary does not have",
                      str(left, ' ', right), spell(joined), "a token of the vocabulary");
  }
  if (!pairs_.emplace(m.left, m.right).second) {
    refuse_vocabulary(where, "the merge is there twice", str(left, ' ', right),
                      str(left, ' ', right), "every merge once");
  }
  m.result = result->second;
  made_[static_cast<std::size_t>(m.result)] = true;
  return m;
}

MergeReader::Kind MergeReader::kind(std::size_t id, std::string_view spelling) const {
  if (tokens_[id].size() == 1 || made_[id]) return Kind::ordinary;
  return looks_special(spelling) ? Kind::special : Kind::unreachable;
}

}  // namespace notch::data
