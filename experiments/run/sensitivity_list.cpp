#include "experiments/run/sensitivity_list.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/file_lock.h"
#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "autograd/base/orphans.h"
#include "autograd/base/sha256.h"

namespace notch::experiments {
namespace {

constexpr const char* kLineDigest = "sha256";

/// A line of the file; `entry` says what was measured, of what, and how it came out.
std::string line_of(Json entry) {
  return entry.set(kLineDigest, sha256(entry.dump())).dump() + "\n";
}

/// What a line says; nothing when it is none of a list's, or not as it was written.
std::optional<Json> entry_of(const std::string& line) {
  try {
    const Json json = Json::parse(line, "sensitivity");
    Json entry = Json::object();
    for (const auto& [name, value] : json.as_object("sensitivity"))
      if (name != kLineDigest) entry.set(name, value);
    if (line + "\n" == line_of(entry)) return entry;
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

SensitivityList::SensitivityList(const fs::path& file, std::string key)
    : file_(behind_link(file)), key_(std::move(key)) {
  read();
}

void SensitivityList::read() {
  others_.clear();
  known_.clear();
  if (!fs::exists(file_)) return;
  std::istringstream lines(read_file(file_));
  for (std::string line; std::getline(lines, line);) {
    const std::optional<Json> entry = entry_of(line);
    if (!entry) continue;
    try {
      if (entry->at("key", file_.string()).as_string(file_.string()) != key_) {
        others_ += line + "\n";
        continue;
      }
      known_.push_back(quant::sensitivity_from_json(*entry, file_.string()));
    } catch (const Error&) {
    }
  }
}

std::optional<quant::Sensitivity> SensitivityList::find(std::string_view layer, int bits) const {
  const auto at = std::ranges::find_if(
      known_, [&](const quant::Sensitivity& s) { return s.layer == layer && s.bits == bits; });
  if (at == known_.end()) return std::nullopt;
  return *at;
}

void SensitivityList::keep(const quant::Sensitivity& s) {
  // Now that something is written: a command may have been refused.
  if (!std::exchange(written_, true)) remove_orphans(file_);
  const FileLock lock(file_);
  read();
  if (!find(s.layer, s.bits)) known_.push_back(s);
  std::string lines = others_;
  for (const quant::Sensitivity& k : known_) lines += line_of(quant::to_json(k).set("key", key_));
  write_file(file_, lines);
}

void verify_sensitivities(const fs::path& file) {
  std::istringstream lines(read_file(file));
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (entry_of(line)) continue;
    refuse_file(file, str("line ", number), "is not as it was written, or half of a line",
                json_quote(line.substr(0, 60)), "an entry and its SHA-256",
                "what uses the list measures it again");
  }
}

void require_sensitivities(const fs::path& file) {
  if (file.empty() || !fs::exists(file)) return;
  const std::string text = read_file(file);
  if (text.empty()) return;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    try {
      quant::sensitivity_from_json(Json::parse(line, file.string()), file.string());
      return;
    } catch (const Error&) {
    }
  }
  throw Error({.fault = Fault::input,
               .where = file.string(),
               .what = "is no list of sensitivities, and would be replaced by one",
               .hint = "name a new file, or one that this flag has written"});
}

}  // namespace notch::experiments
