// What a text must be: UTF-8. What is something else is said to be it.
#pragma once

#include <string_view>

namespace notch::data {

/// Throws Fault::input, with the way to UTF-8, for compressed data, pointers to files elsewhere,
/// UTF-16 and UTF-32, a text that was cut inside a character, and any other byte that is not UTF-8
/// (where = `where` and the byte's offset). `where` names the text.
void require_utf8(std::string_view text, std::string_view where);

}  // namespace notch::data
