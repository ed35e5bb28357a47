// ConfigReader: members of a config.json, for the architectures that read one. Internal to nn/.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "nn/model.h"
#include "nn/resized.h"

namespace notch::nn {

/// Of the member "notch" in a config.json, which says what other programs' keys do not.
inline constexpr std::int64_t kFormatVersion = 1;
inline constexpr std::string_view kBosKey = "bos_token_id", kEosKey = "eos_token_id";

/// Reads members of one object; the path and the key are in every error.
class ConfigReader {
 public:
  /// Reads `json`, of the file `path`; both must outlive this. Fault::input when it is no object.
  /// `prefix` stands before its keys in errors: "rope_scaling." of an object inside.
  ConfigReader(const Json& json, const fs::path& path, std::string prefix = "")
      : json_(json), path_(path), prefix_(std::move(prefix)) {
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
  /// The member "notch", which has this program's version; nullptr when it is absent.
  const Json* notch() const {
    const Json* own = object("notch");
    if (!own) return nullptr;
    const std::int64_t version = own->at("version", where("notch")).as_int(where("notch.version"));
    if (version == kFormatVersion) return own;
    refuse("notch.version", "written by another version of Notch", std::to_string(version),
           std::to_string(kFormatVersion));
  }
  /// Its "ranks" (Sizes::ranks): of each block four, at most the smaller side of what step_shapes has for
  /// `sizes()`, those of the model without ranks. None where it has no such key.
  template <class MakeSizes>
  std::vector<std::int64_t> ranks(const MakeSizes& sizes) const {
    constexpr std::string_view kKey = "notch.ranks";
    const Json* all = notch() ? notch()->find("ranks") : nullptr;
    std::vector<std::int64_t> out;
    if (!all) return out;
    const Sizes whole = sizes();
    const std::vector<StepShape> steps = step_shapes(whole);
    const Json::Array& blocks = all->as_array(where(kKey));
    if (std::ssize(blocks) != whole.n_layer) {
      refuse(kKey, "not of every block", str(blocks.size(), " lists"),
             str(whole.n_layer, " lists"));
    }
    for (const Json& block : blocks) {
      const Json::Array& four = block.as_array(where(kKey));
      if (four.size() != steps.size()) {
        refuse(kKey, "not of every step of a block", str(four.size(), " numbers"),
               str(steps.size(), " numbers"));
      }
      for (std::size_t i = 0; i < four.size(); ++i) {
        const std::int64_t rank = four[i].as_int(where(kKey)), most = steps[i].least_side();
        if (rank < 0 || rank > most)
          refuse(kKey, "out of range", std::to_string(rank), str("0 to ", most));
        out.push_back(rank);
      }
    }
    const bool factored = std::ranges::any_of(out, [](std::int64_t rank) { return rank > 0; });
    return factored ? out : std::vector<std::int64_t>{};
  }
  /// bos_token_id, a number, and eos_token_id, a number or a list, of a vocabulary of that size. `unsaid`:
  /// what the other program writes where nobody said any; outside the vocabulary it is none.
  TokenIds token_ids(std::int64_t vocab_size, std::int64_t unsaid = -1) const {
    TokenIds ids;
    const auto read = [&](std::string_view key, const Json& value, const auto& keep) {
      const std::int64_t id = value.as_int(where(key));
      if (id >= 0 && id < vocab_size) return keep(static_cast<std::int32_t>(id));
      if (id < 0 || id != unsaid) {
        refuse(key, "no token of the vocabulary", std::to_string(id), str("0 to ", vocab_size - 1));
      }
    };
    const auto add = [&](std::int32_t id) { ids.eos.push_back(id); };
    if (const Json* bos = find(kBosKey))
      read(kBosKey, *bos, [&](std::int32_t id) { ids.bos = id; });
    const Json* eos = find(kEosKey);
    if (eos && eos->is_array()) {
      for (const Json& each : eos->as_array(where(kEosKey))) read(kEosKey, each, add);
    } else if (eos) {
      read(kEosKey, *eos, add);
    }
    return ids;
  }
  [[noreturn]] void refuse(std::string_view key, std::string what, std::string found,
                           std::string expected, std::string hint = "") const {
    refuse_file(path_, prefix_ + std::string(key), std::move(what), std::move(found),
                std::move(expected), std::move(hint));
  }
  std::string where(std::string_view key) const { return str(path_.string(), ": ", prefix_, key); }

 private:
  const Json& json_;
  const fs::path& path_;
  std::string prefix_;
};

/// TokenIds as config.json has them: null where they are not said, a list only of several ends.
inline Json bos_json(const TokenIds& ids) { return ids.bos ? Json(*ids.bos) : Json(); }
inline Json eos_json(const TokenIds& ids) {
  if (ids.eos.size() <= 1) return ids.eos.empty() ? Json() : Json(ids.eos.front());
  return Json(Json::Array(ids.eos.begin(), ids.eos.end()));
}

/// Sizes::ranks as `notch.ranks` has them: a list per block.
inline Json ranks_json(std::span<const std::int64_t> ranks) {
  Json::Array blocks;
  for (std::size_t i = 0; i < ranks.size(); i += 4) {
    Json::Array block;
    for (const std::int64_t rank : ranks.subspan(i, 4)) block.emplace_back(rank);
    blocks.emplace_back(std::move(block));
  }
  return Json(std::move(blocks));
}

/// What a description says of heads and factors that are not the usual ones, "" for nothing.
inline std::string parts_text(const Sizes& s) {
  std::string out;
  if (s.attention() != s.n_embd) out += str(", heads of ", s.head_dim);
  if (!s.ranks.empty()) {
    const auto factored = std::ranges::count_if(s.ranks, [](std::int64_t r) { return r > 0; });
    out += str(", ", factored, " of ", s.ranks.size(), " steps in two factors");
  }
  return out;
}

}  // namespace notch::nn
