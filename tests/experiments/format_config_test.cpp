// quant.format: one word for bits, grid, groups and scale.
#include "experiments/config/config.h"
#include "experiments/run/setup.h"
#include "tests/catch.h"

namespace notch::experiments::format_config_test {

using test::error_of;

LoadedConfig load(const std::string& quant, const std::vector<std::string>& overrides = {}) {
  LoadedConfig loaded =
      parse_config("name = \"x\"\n[model]\nn_embd = 256\n[quant]\n" + quant, "x.toml");
  for (const std::string& o : overrides) apply_override(loaded, o);
  return loaded;
}

void check_q4_0(const LoadedConfig& loaded) {
  const QuantConfig& q = loaded.config.quant;
  CHECK(q.bits == std::vector<int>{4});
  CHECK(q.grid == "signed_max");
  CHECK(q.granularity == "group");
  CHECK(q.group_size == 32);
  CHECK(q.scale == "f16");
  validate(loaded.config, loaded.origins);
}

TEST_CASE("a format says bits, grid, groups and scale") {
  check_q4_0(load("format = \"q4_0\""));
  // The command line has the last word on what a file says.
  check_q4_0(load("bits = [8, 6]\ngrid = \"full\"\nscale = \"bf16\"", {"quant.format=q4_0"}));
  check_q4_0(load("format = \"q8_0\"", {"quant.format=q4_0"}));
  // What was resolved says everything, and means the same.
  const LoadedConfig loaded = load("format = \"q4_0\"");
  check_q4_0(parse_config(to_toml(loaded.config), "again.toml"));
  // The token table goes to Q8_0's blocks.
  const std::vector<RowConfig> rows = planned_rows(loaded.config);
  const quant::Plan plan = row_plan(loaded.config, rows.at(0));
  CHECK(quant::name_of(plan.weights) == "int4 signed_max [-8,7] group 32 f16");
  CHECK(quant::name_of(*plan.table) == "int8 narrow [-127,127] group 32 f16");
  const LoadedConfig rows_too = load("format = \"q4_0\"\n[[row]]\nmethod = \"rtn\"\nbits = 4\n");
  validate(rows_too.config, rows_too.origins);
  CHECK(planned_rows(rows_too.config).at(0).group_size == 32);
}

TEST_CASE("a format and a key that contradicts it are refused") {
  const auto field = [](const std::string& quant, const std::vector<std::string>& overrides = {}) {
    const LoadedConfig loaded = load(quant, overrides);
    return error_of([&] { validate(loaded.config, loaded.origins); }).field;
  };
  CHECK(field("format = \"q4_0\"\ngrid = \"full\"") == "quant.grid");
  CHECK(field("format = \"q4_0\"\nscale = \"f32\"") == "quant.scale");
  CHECK(field("format = \"q4_0\"\ngroup_size = 64") == "quant.group_size");
  CHECK(field("format = \"q4_0\"\nbits = [4, 8]") == "quant.bits");
  CHECK(field("format = \"q4_0\"", {"quant.bits=8"}) == "quant.bits");
  CHECK(field("format = \"q4_0\"\n[[row]]\nmethod = \"rtn\"\nbits = 8\n") == "row");
  CHECK(error_of([] { load("format = \"q4_9\""); }).hint.find("q4_") != std::string::npos);
}

TEST_CASE("a method without own levels is refused by the grid's key") {
  const auto checked = [](const std::string& quant) {
    const LoadedConfig loaded = load(quant + "\nscale = \"f16\"\ncontrol = false");
    validate(loaded.config, loaded.origins);
    check_rows(loaded.config, 64, loaded.origins);
  };
  const auto refused = [&](const std::string& quant) {
    return error_of([&] { checked(quant); });
  };
  CHECK(refused("methods = [\"hqq\"]\nbits = [2]\ngrid = \"learned\"").field == "quant.grid");
  CHECK(refused("methods = [\"qat-ste\"]\nbits = [2]\ngrid = \"e8p\"").field == "quant.grid");
  CHECK(refused("methods = [\"aqlm\"]\nbits = [2]\ngrid = \"e8p\"").field == "quant.grid");
  const ErrorParts e = refused("methods = [\"aqlm\"]\nbits = [2]");
  CHECK(e.field == "quant.grid");
  CHECK(e.expected == "additive");
  CHECK_NOTHROW(checked("methods = [\"aqlm\", \"gptq\"]\nbits = [2]\ngrid = \"additive\""));
  CHECK_NOTHROW(checked("methods = [\"gptq-hadamard\"]\nbits = [2]\ngrid = \"e8p\""));
}

}  // namespace notch::experiments::format_config_test
