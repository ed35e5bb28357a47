// JSON and TOML.
#include "autograd/base/json.h"
#include "experiments/config/toml.h"
#include "tests/fuzz/targets.h"

namespace notch::test::fuzz {
namespace {

using namespace notch::experiments;

int fuzz_json(const std::uint8_t* data, std::size_t size) {
  Json json;
  if (!taken([&] { json = Json::parse(text_of(data, size), "input"); })) return 0;
  for (const int indent : {-1, 2}) {
    const std::string text = json.dump(indent);
    require(Json::parse(text, "written").dump(indent) == text, "JSON does not come back: ", text);
  }
  return 0;
}

std::vector<std::string> json_seeds() {
  return {R"({"a": [1, -2.5e3, true, false, null, "x\n\u00e9\ud83d\ude00"], "b": {"c": []}})",
          R"([{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, [[[0]]], 1e-7])",
          R"("a text alone")", "-0.0"};
}

/// A text of n values costs 20 times its size.
std::vector<std::string> json_past() {
  std::string many = "[", deep, keys = "{";
  for (int i = 0; i < 600'000; ++i) many += "1,";
  for (int i = 0; i < 100'000; ++i) deep += '[';
  for (int i = 0; i < 60'000; ++i) keys += str(i ? "," : "", "\"", i, "\":0");
  return {many + "1]", deep, keys + "}", "[" + std::string(1'000'000, ' ') + "]"};
}

int fuzz_toml(const std::uint8_t* data, std::size_t size) {
  const toml::Source source{.name = "x.toml", .text = std::string(text_of(data, size))};
  taken([&] { toml::parse(source); });
  return 0;
}

std::vector<std::string> toml_seeds() {
  return {
      "a = 1\nb = [1_000, 0xff, 0o17, 0b11, 2.5e-3]\n[c.d]\n'e' = \"x\\u00e9\\n\"\nf.g = true\n",
      "[[h]]\ni = {j = [{k = 'é'}, {}], l = false} # note\n[[h]]\n\n[m]\n\"n o\" = [\n 1,\n "
      "2,\n]\n"};
}

/// Columns were counted from the start of the line for every value of it.
std::vector<std::string> toml_past() {
  std::string numbers = "a = [", tables = "a = [", keys;
  for (int i = 0; i < 300'000; ++i) numbers += "1,";
  for (int i = 0; i < 200'000; ++i) tables += "{},";
  for (int i = 0; i < 9'999; ++i) keys += str("k", i, " = 1\n");
  return {numbers + "]", tables + "?]", keys, "a" + std::string(200'000, '.') + "b = 1"};
}

const bool text_added = add_targets(
    {{"json", fuzz_json, json_seeds, json_past}, {"toml", fuzz_toml, toml_seeds, toml_past}});

}  // namespace
}  // namespace notch::test::fuzz
