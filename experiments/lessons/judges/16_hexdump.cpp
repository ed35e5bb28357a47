#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_hexdump(Judge& judge, double (*f16)(std::uint8_t low, std::uint8_t high),
                   Vector (*weights)(const Bytes& codes, const Bytes& scales, std::size_t rows,
                                     std::size_t cols, int bits)) {
  judge.equal("f16 of bytes 00 3c", f16(0x00, 0x3c), 1, 0, "3c00: e = 15, m = 0");
  judge.equal("f16 of bytes 66 2e", f16(0x66, 0x2e), 0.0999755859375, 0,
              "2e66: e = 11, m = 614, so (1 + 614/1024) / 16; in integers 614 / 1024 is 0");
  judge.equal("f16 of bytes 00 c2", f16(0x00, 0xc2), -3, 0,
              "c200: the highest bit is the sign, e = 16, m = 512");

  // By hand: Σ (q + qmax) · 2^(bits · column) of each row, low byte first. 00 3c is the scale 1.
  const Bytes one{0x00, 0x3c};
  judge.equal("4 bits, row 3e 78 01, scale 1", weights({0x3e, 0x78, 0x01}, one, 1, 5, 4),
              {7, -4, 1, 0, -6}, 0, "the first code is in the low nibble: e = 14 = 7 + 7");
  judge.equal("4 bits, row 3e, scale bytes 66 2e", weights({0x3e}, {0x66, 0x2e}, 1, 2, 4),
              {7 * 0.0999755859375, -4 * 0.0999755859375}, 1e-12,
              "each code times the row's scale");
  judge.equal("8 bits, row fe 00 7f, scale 1", weights({0xfe, 0x00, 0x7f}, one, 1, 3, 8),
              {127, -127, 0}, 0, "a code of 8 bits is a byte: 254 - 127");
  judge.equal("6 bits, row 3e f0 91, scale 1", weights({0x3e, 0xf0, 0x91}, one, 1, 4, 6),
              {31, -31, 0, 5}, 0, "the number 91f03e is 62 + 0 · 2^6 + 31 · 2^12 + 36 · 2^18");
  judge.equal("3 bits, row 88 c6 02, scale 1", weights({0x88, 0xc6, 0x02}, one, 1, 6, 3),
              {-3, -2, -1, 0, 1, 2}, 0,
              "code 2 is bits 6, 7 and 8: its highest bit is the lowest of the second byte");
  // Rows (-7, 7, 1) and (0, -1, 2), scales 1 and -3: stored 0 14 8, and 7 6 9.
  judge.equal("4 bits, two rows of three, e0 08 67 09, scales 00 3c 00 c2",
              weights({0xe0, 0x08, 0x67, 0x09}, {0x00, 0x3c, 0x00, 0xc2}, 2, 3, 4),
              {-7, 7, 1, 0, 3, -6}, 0, "three nibbles take two bytes; every row begins a new byte");
}

}  // namespace notch::lessons
