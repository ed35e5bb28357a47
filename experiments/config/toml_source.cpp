// Places in a text and the messages that point at them, apart from the grammar in toml.cpp.
#include <algorithm>

#include "autograd/base/files.h"
#include "autograd/base/printable.h"
#include "experiments/config/toml.h"

namespace notch::experiments::toml {

namespace {

constexpr std::size_t kExcerptCharacters = 96;

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }

/// The characters of line `number`; tabs become spaces, what cannot be shown becomes '?'.
std::vector<std::string> characters_of_line(std::string_view text, int number) {
  std::size_t begin = 0;
  for (int line = 1; line < number && begin < text.size(); ++line) {
    const std::size_t newline = text.find('\n', begin);
    begin = newline == std::string_view::npos ? text.size() : newline + 1;
  }
  std::string_view line = text.substr(begin, text.find('\n', begin) - begin);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  std::vector<std::string> characters;
  for (std::size_t i = 0; i < line.size();) {
    std::size_t end = i + 1;
    while (end < line.size() && !starts_character(line[end])) ++end;
    std::string one(line.substr(i, end - i));
    const auto first = static_cast<unsigned char>(one[0]);
    if (one == "\t") one = " ";
    if (first < 0x20 || first == 0x7f || !is_utf8(one)) one = one == " " ? one : "?";
    characters.push_back(std::move(one));
    i = end;
  }
  return characters;
}

}  // namespace

std::string Source::where(Mark mark) const {
  if (command_line || mark.line == 0) return name;
  return str(name, ":", mark.line, ":", mark.column);
}

std::string Source::excerpt(Mark mark) const {
  if (mark.line == 0) return {};
  const std::vector<std::string> characters = characters_of_line(text, mark.line);
  // A long line is shown from shortly before the place.
  const auto column = static_cast<std::size_t>(std::max(mark.column, 1)) - 1;
  std::size_t first = 0;
  if (column >= kExcerptCharacters * 3 / 4) first = column - kExcerptCharacters / 4;
  const std::size_t last = std::min(characters.size(), first + kExcerptCharacters);
  std::string shown;
  for (std::size_t i = first; i < last; ++i) shown += characters[i];
  const std::string number = command_line ? std::string{} : str(mark.line);
  const std::string margin(number.size() < 5 ? 5 - number.size() : 0, ' ');
  const std::size_t room =
      first + kExcerptCharacters > column ? first + kExcerptCharacters - column : 1;
  const auto width = std::min(static_cast<std::size_t>(std::max(mark.width, 1)), room);
  return str(margin, number, " | ", shown, "\n", std::string(margin.size() + number.size(), ' '),
             " | ", std::string(column - first, ' '), std::string(width, '^'));
}

void fail(const Source& source, Mark mark, ErrorParts parts) {
  parts.where = source.where(mark);
  parts.excerpt = source.excerpt(mark);
  throw Error(std::move(parts));
}

std::string Value::describe() const {
  switch (data.index()) {
    case 0:
      return str("string ", quote(std::get<std::string>(data)));
    case 1:
      return str("integer ", std::get<std::int64_t>(data));
    case 2:
      return str("number ", std::get<double>(data));
    case 3:
      return std::get<bool>(data) ? "true" : "false";
    case 4:
      return "an array";
    default:
      return "a table";
  }
}

const Value* find(const Table& table, std::string_view key) {
  const auto at = std::find_if(table.begin(), table.end(),
                               [&](const Entry& entry) { return entry.key == key; });
  return at == table.end() ? nullptr : &at->value;
}

Source read_source(const std::filesystem::path& path) {
  try {
    return {.name = path.string(), .text = read_file(path, kMaxBytes)};
  } catch (const Error& e) {
    if (e.fault() != Fault::input) throw;
    ErrorParts parts = e.parts();
    parts.fault = Fault::usage;
    parts.hint = "a configuration has at most 1 MiB; is this the right file?";
    throw Error(std::move(parts));
  }
}

std::string quote(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return str('"', is_utf8(out) ? printable(out) : out, '"');  // what is not UTF-8 is no TOML either
}

}  // namespace notch::experiments::toml
