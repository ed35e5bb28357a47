// Writes texts to compare tokenizers on, the same on every machine:
//
//   node mixed_text.mjs mixed MB      many scripts, emoji with joiners, code, runs of white space,
//                                     control characters, combining marks
//   node mixed_text.mjs lines MB      the same, but lines that are neither empty nor begin with
//                                     white space: split alike by whoever reads line by line
//   node mixed_text.mjs all           every code point between letters, digits and punctuation
//
// The characters of the first two mean the same in Unicode 6 and in all later versions. U+0085 and
// U+FEFF are only in the third: to JavaScript's \s the one is no white space and the other is, to
// Unicode's White_Space and every other reference it is the other way round.
import { writeSync } from 'node:fs';

// mulberry32
let state = 20240607;
const random = () => {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const times = (n, make) => Array.from({ length: n }, make).join('');
const from = (first, last) => String.fromCodePoint(first + below(last - first + 1));

const scripts = [
  [0x61, 0x7a], [0x61, 0x7a], [0x41, 0x5a], [0xc0, 0xd6], [0xe0, 0xf6], [0x100, 0x17f],
  [0x391, 0x3a1], [0x3b1, 0x3c9], [0x400, 0x45f], [0x531, 0x556], [0x561, 0x586], [0x5d0, 0x5ea],
  [0x621, 0x64a], [0x905, 0x939], [0x985, 0x98c], [0xb95, 0xb95], [0xe01, 0xe3a], [0xf40, 0xf47],
  [0x10d0, 0x10f0], [0x1100, 0x1159], [0x1200, 0x1206], [0x1780, 0x17b3], [0x1820, 0x1877],
  [0x1e00, 0x1eff], [0x3041, 0x3096], [0x30a1, 0x30fa], [0x4e00, 0x9fa5], [0xac00, 0xd7a3],
  [0xff21, 0xff3a], [0x10330, 0x10340], [0x12000, 0x12300], [0x1d400, 0x1d454], [0x20000, 0x2a6d6],
];
const digits = [
  [0x30, 0x39], [0x30, 0x39], [0x660, 0x669], [0x966, 0x96f], [0x17e0, 0x17e9], [0xff10, 0xff19],
  [0x2160, 0x2188], [0x2460, 0x249b], [0xb2, 0xb3], [0xbc, 0xbe], [0x3021, 0x3029],
];
const marks = [[0x300, 0x36f], [0x591, 0x5bd], [0x64b, 0x65f], [0x93e, 0x94d], [0x20d0, 0x20f0], [0xfe00, 0xfe0f]];
const punctuation = [
  [0x21, 0x2f], [0x3a, 0x40], [0x5b, 0x60], [0x7b, 0x7e], [0xa1, 0xa9], [0x2010, 0x2027],
  [0x2030, 0x205e], [0x20a0, 0x20b9], [0x2190, 0x21ff], [0x2200, 0x22ff], [0x3001, 0x3003],
];
const controls = [[0, 8], [0xe, 0x1f], [0x7f, 0x84], [0x86, 0x9f], [0x200b, 0x200f], [0x202a, 0x202e],
                  [0x2060, 0x2063], [0xe000, 0xe0ff], [0xfff9, 0xfffd], [0xfdd0, 0xfdef], [0xe0020, 0xe007e]];
const spaces = [' ', ' ', ' ', '\t', '\n', '\r', '\r\n', '\v', '\f', '\u00a0', '\u1680', '\u2003', '\u2009',
                '\u2028', '\u2029', '\u202f', '\u205f', '\u3000'];
const emoji = () => pick([
  () => from(0x1f600, 0x1f64f),
  () => from(0x1f44a, 0x1f450) + from(0x1f3fb, 0x1f3ff),
  () => '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}\u200d\u{1f466}',
  () => '\u2764\ufe0f\u200d\u{1f525}',
  () => from(0x1f1e6, 0x1f1ff) + from(0x1f1e6, 0x1f1ff),
  () => from(0x31, 0x39) + '\ufe0f\u20e3',
])();
const word = () => {
  const [first, last] = pick(scripts);
  return times(1 + below(9), () => from(first, last) + (below(12) === 0 ? from(...pick(marks)) : ''));
};
const common = ['the', 'of', 'and', 'quantized', 'weights', "don't", "we'll", "they're", "I've", "it's", "I'M", "HE'S",
                "'tis", "'S", "y'all", 'naïve', 'São', 'Привет', 'ελληνικά', '你好', 'こんにちは', '안녕', 'שלום', 'مرحبا'];
const code = [
  'for (int i = 0; i < n; ++i) {\n    sum += x[i] * w[i];  // dot\n}\n', 'def f(x):\n\treturn x**2 + 1\n',
  '{"key": [1, 2.5, null], "a": "\\u00e9"}\n', '<div class="a">&amp;</div>', 'SELECT * FROM t WHERE id=42;\r\n',
  '    if x == None:\n        pass\n\n\n', '#include <vector>\n', 'a->b::c<d>(e)&&!f;', '0xDEADBEEF 1e-05 3.14159',
  '$\\frac{a}{b}$', 'https://example.org/?q=1&r=%20#x', '/* \t */', '<|endoftext', '<|', '\\n\\t',
];
const piece = () => pick([
  () => pick(common), () => pick(common), () => pick(common), word, word, word,
  () => times(1 + below(6), () => from(...pick(digits))),
  () => times(1 + below(4), () => from(...pick(punctuation))),
  emoji,
  () => times(1 + below(3), () => from(...pick(controls))),
  () => pick(code),
  () => "'" + pick(['s', 't', 're', 've', 'm', 'll', 'd', 'S', 'RE', 'LL', 'x', '\u017f', '']),
  () => from(...pick(marks)),
])();
const space = () => below(3) > 0 ? ' ' : below(4) > 0 ? '' : times(1 + below(5), () => pick(spaces));
const line = () => times(4 + below(20), () => piece() + space()) + '\n';

const [kind, size] = process.argv.slice(2);
if (kind === 'all') {
  let out = '';
  for (let c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const x = String.fromCodePoint(c);
    out += `a${x}1${x}!${x} ${x}\n`;
  }
  writeSync(1, out);
} else {
  const lines = [];
  for (let bytes = 0; bytes < Number(size) * 1e6;) {
    let next = line();
    if (kind === 'lines') next = next.replace(/[\r\n\v\f\u2028\u2029]/g, '').trim() + '\n';
    if (next === '\n') continue;
    lines.push(next);
    bytes += Buffer.byteLength(next);
  }
  process.stdout.write(lines.join(''));
}
