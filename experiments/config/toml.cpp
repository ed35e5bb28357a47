// The grammar: one pass over the text, one function per production of TOML 1.0.
#include "experiments/config/toml.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "autograd/base/files.h"
#include "autograd/base/utf8.h"
#include "experiments/config/toml_scalar.h"

namespace notch::experiments::toml {

namespace {

constexpr int kMaxKeys = 10'000;
// What editors and web pages leave in a text and a message cannot show.
constexpr std::pair<std::string_view, std::string_view> kInvisible[] = {
    {"\u00A0", "U+00A0, a no-break space"},   {"\u00AD", "U+00AD, a soft hyphen"},
    {"\u200B", "U+200B, a zero-width space"}, {"\u202F", "U+202F, a narrow no-break space"},
    {"\u2060", "U+2060, a word joiner"},      {"\uFEFF", "U+FEFF, a byte order mark"}};
constexpr int kMaxNesting = 16;

bool is_bare(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}
bool is_control(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

int count_characters(std::string_view bytes) {
  int n = 0;
  for (const char c : bytes) n += (static_cast<unsigned char>(c) & 0xC0u) != 0x80u;
  return n;
}

struct KeyPart {
  std::string name{};
  Mark mark{};
};

class Parser {
 public:
  explicit Parser(const Source& source) : source_(source), text_(source.text) {}

  Table document() {
    check_text();
    Value root{.data = Table{}, .mark = {}, .form = Form::header};
    Value* current = &root;
    int depth = 0;
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") at_ = line_begin_ = 3;
    for (skip_blank_lines(); !at_end(); skip_blank_lines()) {
      if (peek() == '[') {
        current = header(root, depth);
      } else {
        key_value(*current, depth);
      }
      end_of_line();
    }
    return std::move(std::get<Table>(root.data));
  }

 private:
  // --- places and errors
  // ---------------------------------------------------------------------------

  Mark mark(std::size_t begin, std::size_t end) const {
    const int width = count_characters(text_.substr(begin, end - begin));
    return {line_, column_of(begin), std::max(width, 1)};
  }
  /// Counts on from the last place of the line: marks come in order, but for those of errors, and
  /// a line may be the whole text.
  int column_of(std::size_t at) const {
    if (counted_to_ < line_begin_ || counted_to_ > at) {
      counted_to_ = line_begin_;
      counted_ = 0;
    }
    counted_ += count_characters(text_.substr(counted_to_, at - counted_to_));
    counted_to_ = at;
    return 1 + counted_;
  }
  [[noreturn]] void fail_at(Mark at, std::string what, std::string hint = {}) const {
    fail(source_, at, {.what = std::move(what), .hint = std::move(hint)});
  }
  [[noreturn]] void fail_here(std::string what, std::string hint = {}) const {
    fail_at(mark(at_, at_), std::move(what), std::move(hint));
  }
  std::string next_character() const {
    if (at_end()) return "the end of the text";
    if (peek() == '\n' || peek() == '\r') return "the end of the line";
    std::size_t end = at_ + 1;
    while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xC0u) == 0x80u) ++end;
    const std::string_view character = text_.substr(at_, end - at_);
    for (const auto& [bytes, name] : kInvisible) {
      if (character == bytes) return std::string(name);
    }
    return str("'", character, "'");
  }

  /// What holds for the whole text: size, UTF-8, no control characters, no CR without LF.
  void check_text() {
    if (text_.size() > kMaxBytes)
      fail_here(str("the text has ", text_.size(), " bytes, more than 1 MiB"));
    std::size_t bad = 0;
    const bool utf8 = is_utf8(text_, &bad);
    const std::size_t end = utf8 ? text_.size() : bad;
    for (; at_ < end; ++at_) {
      const char c = text_[at_];
      if (c == '\n') {
        new_line(at_ + 1);
      } else if (c == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n') {
        continue;
      } else if (c == '\r') {
        fail_here("carriage return without line feed", "save the file with LF or CRLF line ends");
      } else if (is_control(c)) {
        char code[8];
        std::snprintf(code, sizeof code, "U+%04X",
                      static_cast<unsigned>(static_cast<unsigned char>(c)));
        fail_here(str("control character ", code), "write it as an escape, or remove it");
      }
    }
    if (!utf8) fail_here(str("invalid UTF-8 at byte ", bad), "save the file as UTF-8");
    at_ = line_begin_ = 0;
    line_ = 1;
  }

  // --- characters and lines
  // ------------------------------------------------------------------------

  bool at_end() const { return at_ >= text_.size(); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool take(char c) {
    if (at_end() || peek() != c) return false;
    ++at_;
    return true;
  }
  void new_line(std::size_t begin) {
    ++line_;
    line_begin_ = begin;
  }
  void skip_spaces() {
    while (peek() == ' ' || peek() == '\t') ++at_;
  }
  void skip_comment() {
    if (peek() == '#') {
      while (!at_end() && peek() != '\n') ++at_;
    }
  }
  bool take_newline() {
    if (peek() == '\r' && peek(1) == '\n') ++at_;
    if (!take('\n')) return false;
    new_line(at_);
    return true;
  }
  void skip_blank_lines() {
    do {
      skip_spaces();
      skip_comment();
    } while (take_newline());
  }
  void end_of_line() {
    skip_spaces();
    skip_comment();
    if (!at_end() && !take_newline()) {
      fail_here(str("expected the end of the line, found ", next_character()),
                "one key per line; text after a value starts with #");
    }
  }

  // --- keys and tables
  // -----------------------------------------------------------------------------

  std::vector<KeyPart> key() {
    std::vector<KeyPart> parts;
    do {
      skip_spaces();
      const std::size_t begin = at_;
      KeyPart part;
      if (peek() == '"' || peek() == '\'') {
        part.name = string();
      } else {
        while (is_bare(peek())) ++at_;
        part.name = text_.substr(begin, at_ - begin);
        if (at_ == begin) fail_here(str("expected a key, found ", next_character()));
      }
      part.mark = mark(begin, at_);
      parts.push_back(std::move(part));
      skip_spaces();
    } while (take('.'));
    return parts;
  }

  static Entry* find_entry(Value& table, std::string_view name) {
    for (Entry& entry : std::get<Table>(table.data)) {
      if (entry.key == name) return &entry;
    }
    return nullptr;
  }

  Value& add(Value& table, const KeyPart& part, Value value) {
    if (++keys_ > kMaxKeys) fail_at(part.mark, str("more than ", kMaxKeys, " keys"));
    auto& entries = std::get<Table>(table.data);
    entries.push_back({part.name, part.mark, std::move(value)});
    return entries.back().value;
  }

  [[noreturn]] void fail_redefined(const KeyPart& part, const Entry& earlier) const {
    fail_at(part.mark, str(quote(part.name), " is already defined on line ", earlier.mark.line),
            "define each key and table once");
  }

  /// [a.b] or [[a.b]]: the table that the following lines fill.
  Value* header(Value& root, int& depth) {
    const std::size_t begin = at_;
    ++at_;
    const bool element = take('[');
    const std::vector<KeyPart> parts = key();
    if (!take(']') || (element && !take(']'))) {
      fail_here(str("expected ", element ? "']]'" : "']'", " after the table's name, found ",
                    next_character()));
    }
    depth = static_cast<int>(parts.size());
    if (depth > kMaxNesting) fail_nesting(mark(begin, at_));
    Value* table = &root;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) table = &descend(*table, parts[i]);
    const KeyPart& last = parts.back();
    Entry* entry = find_entry(*table, last.name);
    if (element) return &append_element(*table, last, entry);
    if (!entry)
      return &add(*table, last, {.data = Table{}, .mark = last.mark, .form = Form::header});
    if (entry->value.form != Form::implicit) fail_redefined(last, *entry);
    entry->value.form = Form::header;
    return &entry->value;
  }

  Value& descend(Value& table, const KeyPart& part) {
    Entry* entry = find_entry(table, part.name);
    if (!entry)
      return add(table, part, {.data = Table{}, .mark = part.mark, .form = Form::implicit});
    if (entry->value.form == Form::closed) fail_redefined(part, *entry);
    if (entry->value.form == Form::array_of_tables)
      return std::get<Array>(entry->value.data).back();
    return entry->value;
  }

  Value& append_element(Value& table, const KeyPart& name, Entry* entry) {
    if (entry && entry->value.form != Form::array_of_tables) fail_redefined(name, *entry);
    if (entry && ++keys_ > kMaxKeys) fail_at(name.mark, str("more than ", kMaxKeys, " keys"));
    Value& value = entry ? entry->value
                         : add(table, name,
                               {.data = Array{}, .mark = name.mark, .form = Form::array_of_tables});
    auto& elements = std::get<Array>(value.data);
    elements.push_back({.data = Table{}, .mark = name.mark, .form = Form::header});
    return elements.back();
  }

  /// `key = value` in a table with `nesting` tables and arrays around its entries.
  void key_value(Value& table, int nesting) {
    const std::vector<KeyPart> parts = key();
    nesting += static_cast<int>(parts.size()) - 1;
    if (nesting > kMaxNesting) fail_nesting(parts.front().mark);
    if (!take('=')) fail_here(str("expected '=' after the key, found ", next_character()));
    skip_spaces();
    Value* target = &table;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      Entry* entry = find_entry(*target, parts[i].name);
      if (entry && entry->value.form != Form::dotted) fail_redefined(parts[i], *entry);
      target = entry ? &entry->value
                     : &add(*target, parts[i],
                            {.data = Table{}, .mark = parts[i].mark, .form = Form::dotted});
    }
    if (const Entry* entry = find_entry(*target, parts.back().name))
      fail_redefined(parts.back(), *entry);
    add(*target, parts.back(), value(nesting));
  }

  [[noreturn]] void fail_nesting(Mark at) const {
    fail_at(at, str("tables and arrays nested more than ", kMaxNesting, " deep"));
  }

  // --- values
  // --------------------------------------------------------------------------------------

  Value value(int nesting) {
    const std::size_t begin = at_;
    if (peek() == '[' || peek() == '{') {
      if (nesting == kMaxNesting) fail_nesting(mark(at_, at_ + 1));
      return peek() == '[' ? array(nesting + 1) : inline_table(nesting + 1);
    }
    Value out;
    if (peek() == '"' || peek() == '\'') {
      out.data = string();
    } else {
      while (is_bare(peek()) || peek() == '+' || peek() == '.' || peek() == ':') ++at_;
      if (at_ == begin) fail_here(str("expected a value, found ", next_character()));
      out.data = scalar(begin);
    }
    out.mark = mark(begin, at_);
    return out;
  }

  decltype(Value::data) scalar(std::size_t begin) const {
    const Scalar read = read_scalar(text_.substr(begin, at_ - begin));
    if (!read.error.empty()) fail_at(mark(begin, at_), read.error, read.hint);
    return std::visit([](auto x) { return decltype(Value::data)(x); }, read.value);
  }

  Value array(int nesting) {
    const Mark open = mark(at_, at_ + 1);
    Array elements;
    ++at_;
    for (skip_blank_lines(); !take(']'); skip_blank_lines()) {
      if (at_end()) fail_at(open, "this array has no closing ']'");
      elements.push_back(value(nesting));
      skip_blank_lines();
      if (take(',') || at_end() || peek() == ']') continue;
      fail_here(str("expected ',' or ']' in the array, found ", next_character()));
    }
    return {.data = std::move(elements), .mark = open};
  }

  Value inline_table(int nesting) {
    const std::size_t begin = at_;
    Value table{.data = Table{}, .mark = mark(at_, at_ + 1), .form = Form::header};
    ++at_;
    skip_spaces();
    if (!take('}')) {
      do {
        skip_spaces();
        key_value(table, nesting);
        skip_spaces();
      } while (take(','));
      if (!take('}')) {
        fail_here(str("expected ',' or '}' in the inline table, found ", next_character()),
                  "an inline table stands on one line, without a trailing comma");
      }
    }
    close(table);
    table.mark.width = count_characters(text_.substr(begin, at_ - begin));
    return table;
  }

  static void close(Value& table) {
    table.form = Form::closed;
    for (Entry& entry : std::get<Table>(table.data)) {
      if (entry.value.form == Form::dotted) close(entry.value);
    }
  }

  std::string string() {
    const std::size_t begin = at_;
    const char quote_mark = peek();
    if (peek(1) == quote_mark && peek(2) == quote_mark) {
      fail_here("multi-line strings are not supported",
                "write it on one line, with \\n for line ends");
    }
    ++at_;
    std::string out;
    while (!at_end() && peek() != '\n' && peek() != '\r') {
      if (take(quote_mark)) return out;
      if (quote_mark == '"' && peek() == '\\') {
        escape(out);
      } else {
        out += text_[at_++];
      }
    }
    fail_at(mark(begin, at_), str("this string has no closing ", quote_mark));
  }

  void escape(std::string& out) {
    const std::size_t begin = at_++;
    const char kind = at_end() ? '\n' : text_[at_++];
    static constexpr std::string_view kPlain = "btnfr\"\\";
    static constexpr std::string_view kMeaning = "\b\t\n\f\r\"\\";
    if (const std::size_t i = kPlain.find(kind); i != std::string_view::npos) {
      out += kMeaning[i];
      return;
    }
    const std::size_t digits = kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    std::uint32_t code = 0;
    const std::string_view hex = text_.substr(std::min(at_, text_.size()), digits);
    const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
    at_ = std::min(at_ + digits, text_.size());
    if (kind == '\n' || kind == '\r') at_ = begin + 1;
    if (digits == 0 || hex.size() != digits || error != std::errc{} || end != hex.data() + digits) {
      fail_at(mark(begin, at_), "unknown escape in a string",
              "escapes are \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX \\UXXXXXXXX; 'single quotes' take "
              "text as it is");
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      fail_at(mark(begin, at_), "this escape is not a Unicode character");
    }
    append_utf8(out, code);
  }

  const Source& source_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_begin_ = 0;
  int line_ = 1;
  int keys_ = 0;
  mutable std::size_t counted_to_ = 0;  // characters from line_begin_ up to here:
  mutable int counted_ = 0;
};

}  // namespace

Table parse(const Source& source) { return Parser(source).document(); }

}  // namespace notch::experiments::toml
