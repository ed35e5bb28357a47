#include "data/companions.h"

#include <utility>

#include "data/vocab_files.h"

namespace notch::data {
namespace {

constexpr std::string_view kJinja = kCompanionFiles[2], kTemplateJson = kCompanionFiles[3];

/// The object in a text of the file `where`.
Json parsed(const std::string& text, const std::string& where) {
  Json json = Json::parse(text, where, NonFinite::allowed);
  json.as_object(where);
  return json;
}

/// The template in an object of the file `where`: a text, or a list of objects with a name and a text.
std::string template_in(const std::string& text, const std::string& where) {
  const Json object = parsed(text, where);
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
  const std::string& text = companions.tokenizer_config;
  if (text.empty()) return own.dump() + "\n";
  const Json kept = parsed(text, "tokenizer_config.json");
  Json lacking = Json::object();
  for (const auto& [key, value] : own.as_object("own"))
    if (!kept.find(key)) lacking.set(key, value);
  if (lacking.as_object("own").empty()) return text;
  std::string members = lacking.dump();
  members.pop_back();
  if (!kept.as_object("kept").empty()) members += ", ";
  const std::size_t open = text.find('{');
  return text.substr(0, open) + members + text.substr(open + 1);
}

std::string chat_template(const Companions& companions) {
  const auto& files = companions.files;
  if (const auto jinja = files.find(std::string(kJinja)); jinja != files.end())
    return jinja->second;
  if (const std::string& config = companions.tokenizer_config; !config.empty()) {
    std::string text = template_in(config, "tokenizer_config.json");
    if (!text.empty()) return text;
  }
  const auto older = files.find(std::string(kTemplateJson));
  return older == files.end() ? "" : template_in(older->second, older->first);
}

}  // namespace notch::data
