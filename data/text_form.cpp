#include "data/text_form.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/file_form.h"
#include "autograd/base/files.h"

namespace notch::data {
namespace {

using namespace std::string_view_literals;

[[noreturn]] void refuse(std::string where, std::string what, std::string found, std::string hint) {
  throw Error({.fault = Fault::input,
               .where = std::move(where),
               .what = std::move(what),
               .field = "encoding",
               .found = std::move(found),
               .expected = "UTF-8",
               .hint = std::move(hint)});
}

/// As iconv calls it: by the mark at the beginning, which iconv then takes off, or by the zeros
/// that every second byte of UTF-16 is in most languages; "" for anything else.
std::string_view wide_encoding(std::string_view text) {
  if (text.starts_with("\xFF\xFE\0\0"sv)) return "utf-32";
  if (text.starts_with("\0\0\xFE\xFF"sv)) return "utf-32";
  if (text.starts_with("\xFF\xFE"sv) || text.starts_with("\xFE\xFF"sv)) return "utf-16";
  constexpr std::size_t kFewest = 4, kLooked = 256;  // pairs of bytes
  const std::size_t pairs = std::min(text.size() / 2, kLooked);
  if (pairs < kFewest) return "";
  std::size_t first = 0, second = 0;  // zeros in the places of a pair
  for (std::size_t i = 0; i < pairs; ++i) {
    first += text[2 * i] == '\0';
    second += text[2 * i + 1] == '\0';
  }
  if (first == 0 && 4 * second >= 3 * pairs) return "utf-16le";
  return second == 0 && 4 * first >= 3 * pairs ? "utf-16be" : "";
}

/// Whether the bytes from `at` on begin a character that the end of the text cuts off.
bool is_cut_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(at) >= 0xF0 ? 4 : byte(at) >= 0xE0 ? 3 : 2;
  if (byte(at) < 0xC2 || byte(at) > 0xF4 || text.size() - at >= length) return false;
  for (std::size_t i = at + 1; i < text.size(); ++i) {
    if ((byte(i) & 0xC0) != 0x80) return false;
  }
  return true;
}

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

void require_utf8(std::string_view text, std::string_view where) {
  std::size_t bad = 0;
  const bool valid = is_utf8(text, &bad);
  if (const std::optional<FileForm> form = known_form(text); form && (form->never_text || !valid)) {
    refuse(std::string(where), "not a text", std::string(form->name), std::string(form->remedy));
  }
  if (const std::string_view encoding = wide_encoding(text); !encoding.empty()) {
    refuse(std::string(where), "the text is not UTF-8", std::string(encoding),
           str("convert it: iconv -f ", encoding, " -t utf-8 IN > OUT"));
  }
  if (valid) return;
  const std::string at = str(where, ": byte offset ", bad);
  const std::string found = str("byte ", static_cast<int>(static_cast<unsigned char>(text[bad])));
  if (is_cut_at(text, bad)) {
    refuse(
        at, "the text ends inside a character", found,
        str("the file was cut; get it again, or keep what is whole: head -c ", bad, " IN > OUT"));
  }
  refuse(at, "the text is not valid UTF-8", found,
         is_ascii(text.substr(0, bad))
             ? "convert it from what it is, for example: iconv -f latin1 -t utf-8 IN > OUT"
             : "the text before it is UTF-8, so this is damage: iconv -f utf-8 -t utf-8 -c IN > "
               "OUT leaves out what is not");
}

}  // namespace notch::data
