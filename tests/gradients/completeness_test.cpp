// Every op has a gradient row: op names are read from the sources, rows from the test tables.
//
// Text, and not a registry, because a row in a test file nobody ran would then count as nothing,
// and because an op that is never recorded by a test would never register itself.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>

#include "autograd/ops.h"
#include "nn/kv_cache.h"
#include "tests/catch.h"
#include "tests/folders.h"

namespace notch::completeness_test {

namespace fs = std::filesystem;

/// Ops without a gradient, and why.
const std::map<std::string, std::string> kWithoutGradient = {
    {"cached_attention", "inference only; its backward throws"},
    {"served_lookup", "rows of a packed table, which is not trained; its backward throws"},
};

/// What the first group of `pattern` matches in the files of `folder` that end in `suffix`.
std::set<std::string> names_in(const fs::path& folder, const std::string& suffix,
                               const std::regex& pattern) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(test::source_dir() / folder)) {
    if (!entry.path().filename().string().ends_with(suffix)) continue;
    std::ifstream file(entry.path());
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    for (std::sregex_iterator match(text.begin(), text.end(), pattern), end; match != end; ++match)
      names.insert((*match)[1]);
  }
  return names;
}

std::set<std::string> op_names() {
  const std::regex name(R"re(static constexpr std::string_view name\s*=\s*"([^"]+)")re");
  std::set<std::string> all;
  for (const char* folder : {"autograd/ops", "nn", "quant"})
    all.merge(names_in(folder, ".cpp", name));
  return all;
}

TEST_CASE("every op has a gradient row") {
  const std::set<std::string> ops = op_names();
  REQUIRE(ops.size() >= 25);  // the scan found the ops at all
  const std::set<std::string> rows =
      names_in("tests/gradients", "_test.cpp", std::regex(R"re(\.op = "([^"]+)")re"));
  for (const std::string& op : ops) {
    INFO("no table in tests/gradients/*_test.cpp has a row .op = \"" << op << "\"");
    CHECK((rows.contains(op) || kWithoutGradient.contains(op)));
  }
}

TEST_CASE("exceptions from the gradient rows are ops that exist") {
  const std::set<std::string> ops = op_names();
  for (const auto& [op, why] : kWithoutGradient) {
    INFO(op << ": " << why);
    CHECK(ops.contains(op));
  }
}

TEST_CASE("cached attention refuses to be differentiated") {
  std::vector<real> qkv(2 * 3 * 4, 0.5);
  nn::Fp32KvCache cache(1, 2, 4, 8);
  Graph g;
  g.begin(Graph::Mode::training);
  const Var x = g.input({qkv.data(), {1, 2, 12}});
  const Var y = nn::cached_attention(x, cache, 0);
  CHECK(test::error_of([&] { g.backward(sum(y)); }).where == "cached_attention");
}

}  // namespace notch::completeness_test
