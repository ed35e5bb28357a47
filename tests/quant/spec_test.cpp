#include "quant/numbers/spec.h"

#include <cmath>
#include <limits>

#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace spec_test {

using namespace notch;
using namespace notch::quant;
using notch::test::all_specs;
using notch::test::error_of;

TEST_CASE("each grid kind has its codes at 4 and at 2 bits") {
  CHECK(grid_of({.bits = 4, .grid = GridKind::narrow}) == Grid{-7, 7});
  CHECK(grid_of({.bits = 4, .grid = GridKind::full}) == Grid{-8, 7});
  CHECK(grid_of({.bits = 4, .grid = GridKind::signed_max}) == Grid{-8, 7});
  CHECK(grid_of({.bits = 4, .grid = GridKind::asymmetric}) == Grid{-8, 7});
  CHECK(grid_of({.bits = 2, .grid = GridKind::narrow}) == Grid{-1, 1});
  CHECK(grid_of({.bits = 8, .grid = GridKind::full}) == Grid{-128, 127});
  // ParetoQ's levels ±0.5, ±1.5 are the odd numbers times half the spacing; 1 bit is the sign.
  CHECK(grid_of({.bits = 2, .grid = GridKind::seq}) == Grid{-3, 3, 2, 1});
  CHECK(grid_of({.bits = 1, .grid = GridKind::seq}) == Grid{-1, 1, 2, 1});
  CHECK(grid_of({.bits = 2, .grid = GridKind::ternary}) == Grid{-1, 1, 1, real(0.5)});
}

TEST_CASE("an unfit spec is a usage error naming field, value and layer") {
  const auto bits = error_of([] { validate({.bits = 9}, 64, "h.0.mlp.c_fc"); });
  CHECK(bits.fault == Fault::usage);
  CHECK(bits.where == "h.0.mlp.c_fc");
  CHECK(bits.field == "bits");
  CHECK(bits.found == "9");
  CHECK(error_of([] { validate({.bits = 1}, 64, "x"); }).field == "bits");
  CHECK(error_of([] { validate({.bits = 5, .grid = GridKind::seq}, 64, "x"); }).field == "bits");
  CHECK(error_of([] { validate({.bits = 3, .grid = GridKind::ternary}, 64, "x"); }).field ==
        "bits");
  CHECK_NOTHROW(validate({.bits = 1, .grid = GridKind::seq}, 64, "x"));
  CHECK(with_bits({.bits = 2, .grid = GridKind::seq}, 8).grid == GridKind::narrow);
  CHECK(with_bits({.bits = 2, .grid = GridKind::seq}, 4).grid == GridKind::seq);
  const Spec group{.granularity = Granularity::group, .group_size = 48};
  const auto divide = error_of([&] { validate(group, 64, "x"); });
  CHECK(divide.field == "group_size");
  CHECK(divide.found == "48");
  CHECK(error_of([] { validate({.granularity = Granularity::group}, 64, "x"); }).field ==
        "group_size");
  CHECK(error_of([] { validate({.group_size = 32}, 64, "x"); }).field == "group_size");
  CHECK_NOTHROW(validate(group, 96, "x"));
}

TEST_CASE("units are contiguous: tensor, rows, or groups within rows") {
  CHECK(unit_size({.granularity = Granularity::tensor}, 6, 10) == 60);
  CHECK(unit_count({.granularity = Granularity::tensor}, 6, 10) == 1);
  CHECK(unit_size({.granularity = Granularity::channel}, 6, 10) == 10);
  CHECK(unit_count({.granularity = Granularity::channel}, 6, 10) == 6);
  const Spec group{.granularity = Granularity::group, .group_size = 5};
  CHECK(unit_size(group, 6, 10) == 5);
  CHECK(unit_count(group, 6, 10) == 12);
  CHECK(unit_count(group, 0, 10) == 0);
}

TEST_CASE("bits per weight count scales and zero points") {
  const auto grouped = [](int bits, std::int64_t group, GridKind grid) {
    return Spec{.bits = bits,
                .grid = grid,
                .granularity = Granularity::group,
                .group_size = group,
                .scale = ScaleType::f16};
  };
  CHECK(bits_per_weight(grouped(4, 32, GridKind::narrow), 128, 512) == 4.5);
  CHECK(bits_per_weight(grouped(4, 64, GridKind::narrow), 128, 512) == 4.25);
  CHECK(bits_per_weight(grouped(4, 128, GridKind::narrow), 128, 512) == 4.125);
  CHECK(bits_per_weight(grouped(8, 64, GridKind::narrow), 128, 512) == 8.25);
  CHECK(bits_per_weight(grouped(6, 64, GridKind::narrow), 128, 512) == 6.25);
  CHECK(bits_per_weight(grouped(4, 32, GridKind::asymmetric), 128, 512) == 4.5 + 4.0 / 32);
  // Ternary: five codes in a byte, 1.6 bits; 1 bit with an f32 scale for 512 weights.
  CHECK(bits_per_weight({.bits = 2, .grid = GridKind::ternary}, 128, 640) ==
        Approx(1.65).epsilon(1e-12));
  CHECK(bits_per_weight({.bits = 1, .grid = GridKind::seq}, 128, 512) == 1 + 32.0 / 512);
  // Rows are byte-aligned: 3 codes of 3 bits take 2 bytes, and the f32 scale 4.
  const StorageBytes odd = storage_bytes({.bits = 3}, 5, 3);
  CHECK(odd.codes == 10);
  CHECK(odd.scales == 20);
  CHECK(odd.zero_points == 0);
  CHECK(storage_bytes({.bits = 3, .grid = GridKind::asymmetric}, 5, 3).zero_points == 5);
  CHECK(storage_bytes({.bits = 3, .grid = GridKind::asymmetric, .granularity = Granularity::tensor},
                      5, 3)
            .zero_points == 1);
}

TEST_CASE("stored scales are never zero and never infinite") {
  // 1 + 2^-11 is halfway between two f16 numbers, 1 is the even one; likewise 1 + 2^-8 in bf16.
  CHECK(round_scale(1 + 0x1p-11f, ScaleType::f16) == 1.0f);
  CHECK(round_scale(1 + 0x1p-8f, ScaleType::bf16) == 1.0f);
  CHECK(round_scale(0.1f, ScaleType::f16) == 0.0999755859375f);  // 1638.4 -> 1638 units of 2^-14
  CHECK(round_scale(0.1f, ScaleType::f32) == 0.1f);
  CHECK(round_scale(1e-12f, ScaleType::f16) == 0x1p-24f);
  CHECK(round_scale(-1e-12f, ScaleType::f16) == -0x1p-24f);
  CHECK(round_scale(1e-45f, ScaleType::bf16) == 0x1p-133f);
  CHECK(round_scale(0.0f, ScaleType::f32) == std::numeric_limits<float>::denorm_min());
  CHECK(round_scale(1e6f, ScaleType::f16) == 65504.0f);
  CHECK(round_scale(-1e6f, ScaleType::f16) == -65504.0f);
  CHECK(round_scale(3.4028234e38f, ScaleType::bf16) == max_scale(ScaleType::bf16));
  CHECK(std::isnan(round_scale(std::nanf(""), ScaleType::f16)));
}

TEST_CASE("a spec survives JSON, and its report name says the codes") {
  for (const Spec& spec : all_specs(32)) {
    CHECK(spec_from_json(Json::parse(to_json(spec).dump(), "spec"), "spec") == spec);
  }
  const Spec spec{.bits = 4,
                  .grid = GridKind::narrow,
                  .granularity = Granularity::group,
                  .group_size = 32,
                  .scale = ScaleType::f16};
  CHECK(name_of(spec) == "int4 narrow [-7,7] group 32 f16");
  CHECK(name_of(Spec{.bits = 2, .grid = GridKind::seq}) == "int2 seq ±1,3 channel f32");
  CHECK(name_of(Spec{}) == "int8 narrow [-127,127] channel f32");
}

TEST_CASE("a bad spec in a file is an input error with key and value") {
  const auto read = [](const char* text) {
    return error_of([&] { spec_from_json(Json::parse(text, "config.json"), "config.json"); });
  };
  const auto bits =
      read(R"({"bits":4294967300,"grid":"narrow","granularity":"channel","scale":"f32"})");
  CHECK(bits.fault == Fault::input);
  CHECK(bits.field == "bits");
  const auto grid = read(R"({"bits":4,"grid":"narow","granularity":"channel","scale":"f32"})");
  CHECK(grid.fault == Fault::input);
  CHECK(grid.found == "narow");
  CHECK(read(R"({"bits":4,"grid":"narrow","granularity":"channel","scale":"f32","zap":1})").field ==
        "zap");
  CHECK(read(R"({"bits":4,"grid":"narrow","granularity":"channel"})").fault == Fault::input);
  CHECK(read(R"({"bits":4,"grid":"narrow","granularity":"group","scale":"f32"})").field ==
        "group_size");
  CHECK(read("[4]").fault == Fault::input);
  CHECK(error_of([] { parse_grid("narow", "plan"); }).fault == Fault::usage);
}

}  // namespace spec_test
