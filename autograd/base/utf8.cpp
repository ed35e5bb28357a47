// is_utf8 of autograd/base/files.h.
#include "autograd/base/files.h"

namespace notch {

bool is_utf8(std::string_view text, std::size_t* bad_offset) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  std::size_t i = 0;
  while (i < text.size()) {
    // Unicode 15, table 3-7: the length follows from the first byte, which also narrows the second.
    const unsigned char first = byte(i);
    std::size_t length = 0;
    unsigned char low = 0x80, high = 0xbf;
    if (first < 0x80) {
      ++i;
      continue;
    }
    if (first >= 0xc2 && first <= 0xdf) length = 2;
    if (first >= 0xe0 && first <= 0xef) length = 3;
    if (first >= 0xf0 && first <= 0xf4) length = 4;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    bool valid =
        length > 0 && i + length <= text.size() && byte(i + 1) >= low && byte(i + 1) <= high;
    for (std::size_t k = 2; valid && k < length; ++k) {
      valid = byte(i + k) >= 0x80 && byte(i + k) <= 0xbf;
    }
    if (!valid) {
      if (bad_offset) *bad_offset = i;
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace notch
