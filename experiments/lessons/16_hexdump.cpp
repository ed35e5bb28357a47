// Lesson 16. A packed tensor byte by byte: how codes of 4, 6 and 1.6 bits lie in memory and in files.
#include <vector>

#include "autograd/base/error.h"
#include "experiments/lessons/lesson.h"
#include "quant/store/pack.h"
#include "quant/numbers/ranges.h"

namespace notch::lessons {
namespace {

/// "3e 78 01": each byte as two hexadecimal digits (0 … 9, a … f: sixteen values, four bits).
std::string hex(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::uint8_t byte : bytes) {
    if (!out.empty()) out += ' ';
    out += kDigits[byte / 16];
    out += kDigits[byte % 16];
  }
  return out;
}

}  // namespace

void hexdump(Page& page) {
  page.say(
      "Two rows of five weights, 4 bits on the codes -7 … 7, one scale per row, stored in 16 bits. "
      "The scale is max|w| / 7, rounded to 16 bits before it is used: the codes are chosen for the "
      "scale that will be read back.");
  const std::vector<real> w{real(0.7), real(-0.35), real(0.1),   0,  real(-0.6),
                            1,         real(0.5),   real(-0.25), -1, real(0.75)};
  const quant::Spec spec{.bits = 4, .scale = quant::ScaleType::f16};
  const auto ranges = quant::choose_scales(w, 2, 5, spec, quant::RangeRule::absmax, "lesson 16");
  const quant::QTensor q = quant::quantize(w, 2, 5, spec, ranges.at, "lesson 16");
  page.numbers("codes", "codes", q.codes);
  page.numbers("scales", "scales", q.at.scales, 8);

  page.say(
      "A computer stores no -7. Stored is code + 7, so 0 … 14, which fits four bits, a nibble. Two "
      "nibbles share a byte, the first code in the low one. In hexadecimal a byte has two digits, "
      "the high nibble first. So 7 and -4 are stored as 14 (e) and 3: byte 3e. Every row begins a "
      "new byte; five codes leave a nibble of 0.");
  quant::PackedTensor packed = quant::pack(q);
  page.show("bytes", hex(packed.codes));
  page.say("Backwards: byte 3 is be. Low nibble e = 14, 14 - 7 = 7, times the scale of row 1:");
  page.number("low", "low nibble", packed.codes[3] % 16);
  page.number("high", "high nibble", packed.codes[3] / 16);
  page.number("weight", "the weight that comes back (it was 1)",
              static_cast<double>(packed.codes[3] % 16 - 7) * static_cast<double>(q.at.scales[1]),
              8);
  page.say(
      "A scale of 16 bits has 1 sign, 5 exponent and 10 mantissa bits: (1 + m/1024) · 2^(e - 15). "
      "Little-endian means: the low byte first. 66 2e is 2e66: e = 11, m = 614.");
  page.show("scale_bytes", hex(packed.scales));
  page.number("decoded", "(1 + 614/1024) / 16", (1 + 614.0 / 1024) / 16, 8);
  page.number("total", "bytes of codes and scales",
              static_cast<double>(quant::storage_bytes(spec, 2, 5).total()));
  page.number("per_weight", "bits per weight", quant::bits_per_weight(spec, 2, 5));
  page.say(
      "\"4 bits\" came out as 8, because rows of five are short: a scale and a half-empty byte "
      "each. The picture shows how that fades.");

  page.say(
      "6 bits: four codes are 24 bits, three bytes. (31, -31, 0, 5) are stored as 62, 0, 31, 36; "
      "the number 62 + 0 · 2^6 + 31 · 2^12 + 36 · 2^18, low byte first:");
  page.show("six",
            hex(quant::pack_codes(std::vector<std::int8_t>{31, -31, 0, 5}, 1, 4, {.bits = 6})));
  page.say(
      "Ternary codes -1, 0, 1: five of them have 3^5 = 243 values and share a byte, 8/5 = 1.6 bits "
      "each. (1, 0, -1, 1, 1) is 2 + 1 · 3 + 0 · 9 + 2 · 27 + 2 · 81 = 221:");
  const quant::Spec ternary{.bits = 2, .grid = quant::GridKind::ternary};
  page.show("ternary",
            hex(quant::pack_codes(std::vector<std::int8_t>{1, 0, -1, 1, 1}, 1, 5, ternary)));

  page.say(
      "Now break it. One bit of the first byte, 3e -> 3f: the low nibble is 15, which no code of "
      "this grid has. The reader says so:");
  packed.codes[0] = 0x3f;
  try {
    quant::unpack(packed, "row.weight");
  } catch (const Error& e) {
    page.show("refused", e.what());
  }
  packed.codes[0] = 0x3a;
  page.say(
      "Another bit, 3e -> 3a, gives a code that exists. Nobody can see it in the bytes alone:");
  page.number("unseen", "the first code, which was 7",
              quant::unpack(packed, "row.weight").codes[0]);
  page.say(
      "That is why a checkpoint carries a SHA-256 of every file, a number that changes with any "
      "bit. In a model directory the three parts stand in model.safetensors; `notch inspect` lists "
      "them.");
  experiments::PlotSeries curve{
      .name = "4 bits, one 16-bit scale per row", .color = "#0072B2", .line = true};
  for (std::int64_t n = 4; n <= 128; ++n) {
    curve.points.push_back({static_cast<double>(n), quant::bits_per_weight(spec, 1, n)});
  }
  page.picture("16_hexdump", {.title = "What a row costs",
                              .x_label = "weights per row",
                              .y_label = "bits per weight",
                              .series = {curve}});
  page.say("Try: pack the codes (1, 2, 3) in 3 bits by hand, then with pack_codes.");
}

}  // namespace notch::lessons
