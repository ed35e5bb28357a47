// Texts as bytes: what is UTF-8, and a character as its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace notch {

/// Whether `text` is valid UTF-8 (no overlong forms, no surrogates, at most U+10FFFF); else the
/// byte offset of the first bad sequence is stored in `bad_offset`.
bool is_utf8(std::string_view text, std::size_t* bad_offset = nullptr);

/// Appends the character U+`code`. Usage error for a surrogate and above U+10FFFF.
void append_utf8(std::string& out, std::uint32_t code);

}  // namespace notch
