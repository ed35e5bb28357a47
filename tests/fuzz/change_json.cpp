// Changes of JSON that leave it JSON.
#include <array>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "tests/fuzz/changes.h"

namespace notch::test::fuzz {
namespace {

std::size_t count(const Json& json) {
  std::size_t n = 1;
  if (json.is_array()) {
    for (const Json& item : json.as_array("")) n += count(item);
  } else if (json.is_object()) {
    for (const auto& [key, item] : json.as_object("")) n += count(item);
  }
  return n;
}

Json text_value(std::string_view text) { return Json(is_utf8(text) ? text : "\u202e"); }

Json any_value(Rng& rng) {
  switch (rng.below(12)) {
    case 0:
      return Json();
    case 1:
      return Json(coin(rng));
    case 2:
      return Json(-1);
    case 3:
      return Json(std::int64_t{1} << rng.below(63));
    case 4:
      return Json((std::int64_t{1} << 53) + 1);
    case 5:
      return Json(one_of(std::array{1e308, -1.5, 1e-320, 0.1}, rng));
    case 6:
      return Json("");
    case 7:
      return text_value(odd_word(rng));
    case 8:
      return Json::array();
    case 9:
      return Json::object();
    case 10: {
      Json deep;
      for (int i = 0; i < 70; ++i) deep = Json(Json::Array{deep});
      return deep;
    }
    default:
      return Json(static_cast<std::int64_t>(rng.below(40)));
  }
}

Json changed_node(const Json& node, const Json& other, Rng& rng) {
  if (node.is_int() && coin(rng)) {
    const std::int64_t n = node.as_int("");
    return coin(rng) ? Json(static_cast<std::int64_t>(edge(static_cast<std::uint64_t>(n), rng)))
                     : Json(static_cast<double>(n) + 0.5);
  }
  if (node.is_string() && coin(rng)) {
    return text_value(change_text(node.as_string(""), "", rng));
  }
  if (node.is_array() && !node.as_array("").empty() && coin(rng)) {
    Json::Array items = node.as_array("");
    const auto at = items.begin() + static_cast<std::ptrdiff_t>(rng.below(items.size()));
    switch (rng.below(3)) {
      case 0:
        items.erase(at);
        break;
      case 1:
        items.insert(at, coin(rng, 8) ? 100 : 1, Json(*at));
        break;
      default:
        std::iter_swap(at, items.begin() + static_cast<std::ptrdiff_t>(rng.below(items.size())));
    }
    return Json(std::move(items));
  }
  if (node.is_object() && !node.as_object("").empty() && coin(rng)) {
    Json::Object members = node.as_object("");
    const auto at = members.begin() + static_cast<std::ptrdiff_t>(rng.below(members.size()));
    const Json::Member copy = *at;
    switch (rng.below(4)) {
      case 0:
        members.erase(at);
        break;
      case 1:
        at->first += coin(rng) ? "x" : ".codes";
        break;
      case 2:
        members.insert(at, {coin(rng, 4) ? copy.first : copy.first + "2", copy.second});
        break;
      default:
        std::swap(at->second, members[rng.below(members.size())].second);
    }
    return Json(std::move(members));
  }
  return coin(rng, 4) ? other : any_value(rng);
}

/// With the node of that number (in the order of the text) changed.
Json with_change(const Json& json, std::size_t& number, const Json& other, Rng& rng) {
  if (number-- == 0) return changed_node(json, other, rng);
  if (json.is_array()) {
    Json::Array items = json.as_array("");
    for (Json& item : items) {
      const std::size_t here = count(item);
      if (number < here) {
        item = with_change(item, number, other, rng);
        break;
      }
      number -= here;
    }
    return Json(std::move(items));
  }
  if (!json.is_object()) return json;
  Json::Object members = json.as_object("");
  for (auto& [key, item] : members) {
    const std::size_t here = count(item);
    if (number < here) {
      item = with_change(item, number, other, rng);
      break;
    }
    number -= here;
  }
  return Json(std::move(members));
}

}  // namespace

std::optional<Json> json_of(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos || (text[first] != '{' && text[first] != '[')) return std::nullopt;
  try {
    return Json::parse(text, "input");
  } catch (const Error&) {
    return std::nullopt;
  }
}

Json change_json(const Json& json, const std::optional<Json>& other, Rng& rng) {
  std::size_t number = rng.below(count(json));
  return with_change(json, number, other ? *other : any_value(rng), rng);
}

}  // namespace notch::test::fuzz
