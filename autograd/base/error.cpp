// Error text and spelling suggestions. Separate from the header so that only the fields, never the
// wording, are part of the interface.
#include "autograd/base/error.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "autograd/base/printable.h"

namespace notch {
namespace {

/// Whether one of the parts of `where`, "book.txt: text: byte offset 5", is the field itself.
bool names(std::string_view where, std::string_view field) {
  for (std::size_t begin = 0; begin <= where.size();) {
    const std::size_t end = std::min(where.find(": ", begin), where.size());
    if (where.substr(begin, end - begin) == field) return true;
    begin = end + 2;
  }
  return false;
}

// where: [field: ]what[; expected X, found Y][\nexcerpt][\nhint: ...]. What comes from files may hold
// anything; it does not get at the terminal, nor make lines of its own.
std::string format(const ErrorParts& p) {
  std::string text;
  if (!p.where.empty()) text += printable(p.where) + ": ";
  if (!p.field.empty() && !names(p.where, p.field)) text += printable(p.field) + ": ";
  text += printable_lines(p.what);
  if (!p.expected.empty()) text += "; expected " + printable(p.expected);
  if (!p.found.empty()) text += (p.expected.empty() ? "; found " : ", found ") + printable(p.found);
  if (!p.excerpt.empty()) text += "\n" + printable_lines(p.excerpt);
  if (!p.hint.empty()) text += "\nhint: " + printable_lines(p.hint);
  return text;
}

// Levenshtein 1966: insertions, deletions and substitutions cost 1; one row of the table at a time.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string lower(std::string_view word) {
  std::string out(word);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

/// The parts between '_', '-' and '.', sorted.
std::vector<std::string> words_of(std::string_view compound) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < compound.size();) {
    const std::size_t end = std::min(compound.find_first_of("_-.", begin), compound.size());
    if (end > begin) words.push_back(lower(compound.substr(begin, end - begin)));
    begin = end + 1;
  }
  std::sort(words.begin(), words.end());
  return words;
}

bool shares_words(std::string_view a, std::string_view b) {
  const std::vector<std::string> x = words_of(a), y = words_of(b);
  const auto has_all = [](const std::vector<std::string>& of, const std::vector<std::string>& in) {
    return !of.empty() && std::includes(in.begin(), in.end(), of.begin(), of.end());
  };
  return has_all(x, y) || has_all(y, x);
}

}  // namespace

Error::Error(ErrorParts parts) : std::runtime_error(format(parts)), parts_(std::move(parts)) {}

void refuse_file(const std::filesystem::path& file, std::string_view field, std::string what,
                 std::string found, std::string expected, std::string hint) {
  throw Error({.fault = Fault::input,
               .where = file.string(),
               .what = std::move(what),
               .field = std::string(field),
               .found = std::move(found),
               .expected = std::move(expected),
               .hint = std::move(hint)});
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string sought = lower(word);
  std::size_t best_distance = word.size() / 2 + 1;
  const std::string* best = nullptr;
  for (const std::string& candidate : candidates) {
    const std::size_t longer = std::max(word.size(), candidate.size()),
                      shorter = std::min(word.size(), candidate.size());
    if (longer - shorter >= best_distance) continue;  // no distance is less
    const std::size_t distance = edit_distance(sought, lower(candidate));
    if (distance < best_distance) {
      best_distance = distance;
      best = &candidate;
    }
  }
  if (best) return *best;
  for (const std::string& candidate : candidates) {
    if (shares_words(word, candidate)) return candidate;
  }
  return {};
}

}  // namespace notch
