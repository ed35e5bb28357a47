// Words of configurations and files, read as the values of enumerations (autograd/base/names.h).
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "autograd/base/error.h"
#include "autograd/base/names.h"

namespace notch::quant {

/// Which of `words` is `text`; usage error naming `where`, with a suggestion, if none is.
inline std::size_t find_word(std::span<const std::string_view> words, std::string_view text,
                             std::string_view where) {
  const auto at = std::ranges::find(words, text);
  if (at != words.end()) return static_cast<std::size_t>(at - words.begin());
  const std::string near = did_you_mean(text, {words.begin(), words.end()});
  throw Error({.fault = Fault::usage,
               .where = std::string(where),
               .what = "unknown name",
               .found = std::string(text),
               .expected = joined(words),
               .hint = near.empty() ? "" : str("did you mean \"", near, "\"?")});
}

/// The value of that name; errors are those of find_word.
template <Named E>
E parse_name(std::string_view text, std::string_view where) {
  return static_cast<E>(find_word(words_of<E>(), text, where));
}

}  // namespace notch::quant
