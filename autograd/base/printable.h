// Texts of files on a terminal: what would move the cursor, change colours, or reorder what stands
// beside it is shown as an escape.
#pragma once

#include <string>
#include <string_view>

namespace notch {

/// `text` with control characters (C0, DEL, C1), marks of direction and of lines (U+061C, U+200E,
/// U+200F, U+2028 to U+202E, U+2066 to U+2069) as \n, \t or \uXXXX, and bytes that are not UTF-8
/// as \xXX. For names and values within a line.
std::string printable(std::string_view text);

/// The same, but line feeds and tabs stay: for whole messages.
std::string printable_lines(std::string_view text);

}  // namespace notch
