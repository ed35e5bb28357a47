#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "autograd/base/error.h"
#include "autograd/base/sha256.h"
#include "tests/fuzz/changes.h"
#include "tests/fuzz/files.h"

namespace notch::test::fuzz {
namespace {

constexpr std::size_t kLength = sizeof(std::uint64_t);

/// The header of a safetensors file, if it is one.
std::optional<Json> header_of(std::string_view bytes, std::uint64_t& length) {
  if (bytes.size() < kLength) return std::nullopt;
  std::memcpy(&length, bytes.data(), kLength);
  if (length > bytes.size() - kLength) return std::nullopt;
  return json_of(bytes.substr(kLength, length));
}

std::string one_change(std::string_view input, std::string_view other, Rng& rng);

/// A checkpoint's, or a model's.
void make_manifest_right(Files& files) {
  for (auto& [name, manifest] : files) {
    if (name != "manifest.json") continue;
    const std::optional<Json> json = json_of(manifest);
    const Json* listed = json ? json->find("files") : nullptr;
    if (!listed || !listed->is_object()) return;
    Json right = Json::object();
    for (const auto& [file, entry] : listed->as_object("")) {
      Json sums = entry;
      for (const auto& [other, bytes] : files) {
        if (other != file || !entry.is_object()) continue;
        sums = Json::object();
        sums.set("bytes", std::uint64_t{bytes.size()}).set("sha256", sha256(bytes));
      }
      if (!right.find(file)) right.set(file, sums);
    }
    Json all = Json::object();
    all.set("version", 1).set("files", std::move(right));
    manifest = all.dump();
  }
}

std::string change_files(Files files, std::string_view other, Rng& rng) {
  if (files.empty()) return change_bytes("", other, rng);
  const std::size_t at = rng.below(files.size());
  auto& [name, bytes] = files[at];
  std::string_view twin;
  const Files others = unpack(other);
  for (const auto& [other_name, other_bytes] : others) {
    if (other_name == name) twin = other_bytes;
  }
  switch (rng.below(16)) {
    case 0:
      files.erase(files.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      bytes = twin;
      break;
    default:
      bytes = one_change(bytes, twin, rng);
  }
  if (!coin(rng, 4)) make_manifest_right(files);
  return pack(files);
}

std::string one_change(std::string_view input, std::string_view other, Rng& rng) {
  if (coin(rng, 8)) return change_bytes(std::string(input), other, rng);
  if (input.starts_with('@')) return change_files(unpack(input), other, rng);
  std::uint64_t length = 0, other_length = 0;
  if (const std::optional<Json> header = header_of(input, length)) {
    std::string_view data = input.substr(kLength + length);
    std::string text = std::string(input.substr(kLength, length));
    std::string changed(data);
    if (coin(rng)) {
      text = change_json(*header, header_of(other, other_length), rng).dump();
    } else {
      changed = change_bytes(std::move(changed), other, rng);
    }
    length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), kLength) + text + changed;
  }
  if (!coin(rng, 3)) {
    if (const std::optional<Json> json = json_of(input)) {
      return change_json(*json, json_of(other), rng).dump(coin(rng) ? 2 : -1);
    }
  }
  const std::string_view start = input.substr(0, 512);
  const bool is_text =
      std::ranges::count_if(start, [](char c) { return static_cast<unsigned char>(c) < 9; }) == 0;
  return is_text && !coin(rng, 4) ? change_text(input, other, rng)
                                  : change_bytes(std::string(input), other, rng);
}

}  // namespace

std::string mutate(std::string_view input, std::string_view other, Rng& rng,
                   std::size_t max_bytes) {
  std::string out(input);
  do {
    out = one_change(out, other, rng);
  } while (rng.below(3) == 0);
  if (out.size() > max_bytes) out.resize(max_bytes);
  return out;
}

}  // namespace notch::test::fuzz
