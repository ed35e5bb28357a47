// A strict reader for the part of TOML 1.0 that experiments need.
//
// Supported: tables, arrays of tables, dotted keys, basic and literal strings, integers (1_000,
// 0xff, 0o17, 0b11), floats, booleans, arrays over several lines with a trailing comma, inline
// tables on one line, comments, LF or CRLF. Deviations from TOML (toml.io/en/v1.0.0), each with an
// error that names it:
//   1. no dates or times, no multi-line strings, no inf and nan;
//   2. at most 1 MiB of text, 10,000 keys, 16 levels of nesting;
//   3. a number outside int64 or double (too large or too small) is an error, never rounded to 0 or
//   inf;
//   4. a UTF-8 byte order mark at the start is skipped.
// Every value and key remembers its place, so that whoever reads it can point at it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/nothing.h"

namespace notch::experiments::toml {

inline constexpr std::size_t kMaxBytes = std::size_t{1} << 20;  ///< of a text

/// A place in a text. Lines and columns count from 1; columns and width count characters, not
/// bytes.
struct Mark {
  int line = 0;
  int column = 0;
  int width = 1;
};

/// A text and what to call it in messages. The command line is one line of text and has no numbers.
struct Source {
  std::string name{};
  std::string text{};
  bool command_line = false;

  /// "file:line:column", or just the name on the command line.
  std::string where(Mark mark) const;
  /// The line with a caret below the place:
  ///      23 | n_layr = 4
  ///         | ^^^^^^
  std::string excerpt(Mark mark) const;
};

/// Throws Error(parts) with `where` and `excerpt` set to the place.
[[noreturn]] void fail(const Source& source, Mark mark, ErrorParts parts);

struct Value;
struct Entry;
using Array = std::vector<Value>;
using Table = std::vector<Entry>;  // in file order

/// How a table or array came to be: decides what may still be added to it.
enum class Form {
  closed,    // written out as a value: nothing can be added
  implicit,  // named on the way by a header [a.b]: may still get its own header
  header,    // has had its header
  dotted,    // made by a dotted key: only dotted keys of the same section add to it
  array_of_tables,
};

struct Value {
  std::variant<std::string, std::int64_t, double, bool, Array, Table, Nothing> data;
  Mark mark{};
  Form form = Form::closed;

  const Table* table() const { return std::get_if<Table>(&data); }
  const Array* array() const { return std::get_if<Array>(&data); }
  /// What the value is, for messages: `string "many"`, `integer 3`, `array`.
  std::string describe() const;
};

struct Entry {
  std::string key{};
  Mark mark{};
  Value value{};
};

/// The value under `key`, or nullptr.
const Value* find(const Table& table, std::string_view key);

/// Parses a whole document. Throws Fault::usage with file:line:column and the line.
Table parse(const Source& source);

/// Reads `path` (at most 1 MiB) into a Source. Throws Fault::io when it cannot be read,
/// Fault::usage when it is too large.
Source read_source(const std::filesystem::path& path);

/// `text` as a TOML basic string with its quotes, what is not printable escaped.
std::string quote(std::string_view text);

}  // namespace notch::experiments::toml
