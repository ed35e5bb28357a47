// Specs of activations as text, and what of them is refused.
#include "quant/numbers/activation.h"

#include <limits>

#include "quant/numbers/names.h"
#include "tests/catch.h"

namespace activation_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;

TEST_CASE("a spec of activations survives its JSON") {
  for (const bool symmetric : {true, false}) {
    for (const ActivationRange range : {ActivationRange::dynamic, ActivationRange::fixed}) {
      for (const ObserverRule rule : {ObserverRule::percentile, ObserverRule::entropy}) {
        ActivationSpec spec{.bits = 5, .symmetric = symmetric, .range = range};
        if (range == ActivationRange::fixed) spec.observer = rule;
        if (spec.observer == ObserverRule::percentile && range == ActivationRange::fixed) {
          spec.percentile = 99.9;
        }
        CHECK(activation_spec_from_json(to_json(spec), "t") == spec);
      }
    }
  }
}

TEST_CASE("a meaningless spec of activations is refused by its key") {
  const auto field = [](const char* text) {
    return error_of([&] { activation_spec_from_json(Json::parse(text, "t"), "t"); });
  };
  CHECK(field(R"({"bits":9,"symmetric":true,"range":"dynamic"})").field == "bits");
  CHECK(field(R"({"bits":8,"symmetric":true,"range":"statik"})").field == "range");
  CHECK(field(R"({"bits":8,"symmetric":true,"range":"static","observer":"max"})").field ==
        "observer");
  CHECK(field(R"({"bits":8,"symmetric":true,"range":"dynamic","observer":"mse"})").fault ==
        Fault::input);
  CHECK(field(R"({"bits":8,"symmetric":true,"range":"static","observer":"percentile",
                  "percentile":20})")
            .field == "percentile");
  CHECK(field(R"({"bits":8,"symmetric":true,"range":"dynamic","scale":1})").found == "scale");
  CHECK(error_of([] { validate(ActivationSpec{.bits = 1}, "t"); }).field == "bits");
  CHECK(error_of([] { validate(ActivationSpec{.percentile = 50}, "t"); }).field == "percentile");
}

TEST_CASE("a frozen range has a positive scale and a zero point in range") {
  InputQuantizer input{.spec = {.range = ActivationRange::fixed}, .at = {.scale = real(0.5)}};
  validate(input, "t");
  for (const real bad : {real(0), real(-1), std::numeric_limits<real>::infinity(),
                         std::numeric_limits<real>::quiet_NaN()}) {
    input.at.scale = bad;
    CHECK(error_of([&] { validate(input, "t"); }).field == "input_scale");
  }
  input.at = {.scale = 1, .zero_point = 1};
  CHECK(error_of([&] { validate(input, "t"); }).field == "input_zero");
  input.spec.symmetric = false;
  validate(input, "t");
  input.spec.bits = 4;
  input.at.zero_point = 8;
  CHECK(error_of([&] { validate(input, "t"); }).expected == "-8 to 7");
  input.spec.range = ActivationRange::dynamic;  // then there is nothing to check
  validate(input, "t");
}

TEST_CASE("names of activation specs say width, symmetry and range source") {
  CHECK(name_of(ActivationSpec{}) == "int8 symmetric dynamic");
  CHECK(name_of(ActivationSpec{.bits = 4,
                               .symmetric = false,
                               .range = ActivationRange::fixed,
                               .observer = ObserverRule::mse}) == "int4 asymmetric static mse");
  CHECK(parse_name<ActivationRange>("static", "t") == ActivationRange::fixed);
  CHECK(parse_name<ObserverRule>("moving_average", "t") == ObserverRule::moving_average);
}

}  // namespace activation_test
