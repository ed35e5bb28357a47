#include "data/companions.h"

#include <utility>

#include "data/vocab_files.h"

namespace notch::data {
namespace {

constexpr std::string_view kTokenizerConfig = "tokenizer_config.json";
constexpr std::string_view kJinja = kCompanionFiles[2], kTemplateJson = kCompanionFiles[3];

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
  if (!all.tokenizer_config.is_null())
    all.tokenizer_config_text = read_file(directory / kTokenizerConfig, kMaxCompanionBytes);
  for (const std::string_view name : kCompanionFiles) {
    const fs::path path = directory / name;
    if (is_meant(path)) all.files.emplace(name, read_file(path, kMaxCompanionBytes));
  }
  return all;
}

void write_companions(const Companions& companions, const fs::path& directory) {
  for (const auto& [name, bytes] : companions.files) write_file(directory / name, bytes);
}

std::string with_kept(const Json& own, const Companions& companions) {
  const Json& kept = companions.tokenizer_config;
  if (kept.is_null()) return own.dump() + "\n";
  const std::string text = companions.tokenizer_config_text.empty()
                               ? kept.dump() + "\n"
                               : companions.tokenizer_config_text;
  Json lacking = Json::object();
  for (const auto& [key, value] : own.as_object("own"))
    if (!kept.find(key)) lacking.set(key, value);
  if (lacking.as_object("own").empty()) return text;
  std::string members = lacking.dump();
  members.pop_back();
  if (!kept.as_object(std::string(kTokenizerConfig)).empty()) members += ", ";
  const std::size_t open = text.find('{');
  return text.substr(0, open) + members + text.substr(open + 1);
}

std::string chat_template(const Companions& companions) {
  const auto& files = companions.files;
  if (const auto jinja = files.find(std::string(kJinja)); jinja != files.end())
    return jinja->second;
  std::string text = template_in(companions.tokenizer_config, std::string(kTokenizerConfig));
  const auto older = files.find(std::string(kTemplateJson));
  if (!text.empty() || older == files.end()) return text;
  const std::string where(kTemplateJson);
  const Json json = Json::parse(older->second, where, NonFinite::allowed);
  json.as_object(where);
  return template_in(json, where);
}

}  // namespace notch::data
