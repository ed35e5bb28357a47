// ConfigReader: members of a config.json, for the architectures that read one. Internal to nn/.
#pragma once

#include <string>
#include <string_view>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/json.h"

namespace notch::nn {

/// Reads members of one object; the path and the key are in every error.
class ConfigReader {
 public:
  /// Both must outlive this. Throws Fault::input when `json` is no object.
  ConfigReader(const Json& json, const fs::path& path) : json_(json), path_(path) {
    json.as_object(path.string());
  }

  /// Present and not null.
  const Json* find(std::string_view key) const {
    const Json* value = json_.find(key);
    return value && !value->is_null() ? value : nullptr;
  }
  /// A whole number from 1 to max, which must be there.
  std::int64_t size(std::string_view key, std::int64_t max) const {
    const std::int64_t value = json_.at(key, path_.string()).as_int(where(key));
    if (value < 1 || value > max) {
      refuse(key, "out of range", std::to_string(value), str("1 to ", max));
    }
    return value;
  }
  /// The same under the name that transformers takes for it as well.
  std::int64_t size(std::string_view key, std::string_view alias, std::int64_t max) const {
    if (!find(alias)) return size(key, max);
    const std::int64_t value = size(alias, max);
    if (find(key) && size(key, max) != value) {
      refuse(alias, str("differs from ", key), std::to_string(value),
             std::to_string(size(key, max)));
    }
    return value;
  }
  double number(std::string_view key, double otherwise) const {
    const Json* value = find(key);
    return value ? value->as_number(where(key)) : otherwise;
  }
  bool flag(std::string_view key, bool otherwise) const {
    const Json* value = find(key);
    return value ? value->as_bool(where(key)) : otherwise;
  }
  std::string text(std::string_view key, std::string_view otherwise) const {
    const Json* value = find(key);
    return value ? value->as_string(where(key)) : std::string(otherwise);
  }
  /// A member that is an object; nullptr when it is absent.
  const Json* object(std::string_view key) const {
    const Json* value = find(key);
    if (value) value->as_object(where(key));
    return value;
  }
  [[noreturn]] void refuse(std::string_view key, std::string what, std::string found,
                           std::string expected, std::string hint = "") const {
    refuse_file(path_, key, std::move(what), std::move(found), std::move(expected),
                std::move(hint));
  }
  std::string where(std::string_view key) const { return str(path_.string(), ": ", key); }

 private:
  const Json& json_;
  const fs::path& path_;
};

}  // namespace notch::nn
