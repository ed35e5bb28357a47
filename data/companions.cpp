#include "data/companions.h"

#include <array>
#include <utility>

#include "data/vocab_files.h"

namespace notch::data {
namespace {

constexpr std::string_view kJinja = "chat_template.jinja", kTemplateJson = "chat_template.json";
constexpr std::array kCarried{std::string_view("generation_config.json"),
                              std::string_view("special_tokens_map.json"), kJinja, kTemplateJson};

/// The template in an object of the file `where`: a text, or a list of objects with a name and a text.
std::string template_in(const Json& object, const std::string& where) {
  const Json* value = object.find(kChatTemplateKey);
  if (!value || value->is_null()) return {};
  const std::string key = where + ": " + std::string(kChatTemplateKey);
  if (!value->is_array()) return value->as_string(key);
  for (const Json& each : value->as_array(key)) {
    if (each.at("name", key).as_string(key) == "default")
      return each.at("template", key).as_string(key);
  }
  return {};
}

}  // namespace

Companions read_companions(const fs::path& directory) {
  Companions all{.tokenizer_config = read_tokenizer_config(directory)};
  for (const std::string_view name : kCarried) {
    const fs::path path = directory / name;
    if (is_meant(path)) all.files.emplace(name, read_file(path, kMaxCompanionBytes));
  }
  return all;
}

void write_companions(const Companions& companions, const fs::path& directory) {
  for (const auto& [name, bytes] : companions.files) write_file(directory / name, bytes);
}

Json with_kept(Json own, const Companions& companions) {
  if (companions.tokenizer_config.is_null()) return own;
  for (const auto& [key, value] : companions.tokenizer_config.as_object("tokenizer_config.json"))
    own.set(key, value);
  return own;
}

std::string chat_template(const Companions& companions) {
  const auto& files = companions.files;
  if (const auto jinja = files.find(std::string(kJinja)); jinja != files.end())
    return jinja->second;
  std::string text = template_in(companions.tokenizer_config, "tokenizer_config.json");
  const auto older = files.find(std::string(kTemplateJson));
  if (!text.empty() || older == files.end()) return text;
  const std::string where(kTemplateJson);
  const Json json = Json::parse(older->second, where, NonFinite::allowed);
  json.as_object(where);
  return template_in(json, where);
}

}  // namespace notch::data
