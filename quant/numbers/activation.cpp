#include "quant/numbers/activation.h"

#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "quant/numbers/names.h"

namespace notch::quant {
namespace {

[[noreturn]] void refuse_activation(std::string_view where, const char* field, std::string found,
                                    std::string expected) {
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "not a quantization of activations that this program reads",
               .field = field,
               .found = std::move(found),
               .expected = std::move(expected)});
}

bool has_percentile(const ActivationSpec& spec) {
  return spec.range == ActivationRange::fixed && spec.observer == ObserverRule::percentile;
}

}  // namespace

void validate(const ActivationSpec& spec, std::string_view where) {
  if (!spec.is_integer() &&
      (spec.bits != 8 || !spec.symmetric || spec.range != ActivationRange::dynamic)) {
    throw Error({.where = std::string(where),
                 .what = str("activations on ", word_of(spec.grid),
                             " have 8 bits, no zero point and ", "every token's own range"),
                 .field = "input grid",
                 .found = str(spec.bits, " bits, ", spec.symmetric ? "symmetric, " : "asymmetric, ",
                              word_of(spec.range)),
                 .expected = "bits = 8, symmetric = true, range = \"dynamic\""});
  }
  const bool width = spec.bits >= 2 && spec.bits <= 8;
  if (width && spec.percentile > 50 && spec.percentile <= 100) return;
  throw Error({.where = std::string(where),
               .what = "out of range for activations",
               .field = width ? "percentile" : "bits",
               .found = width ? str(spec.percentile) : str(spec.bits),
               .expected = width ? "above 50, up to 100" : "2 to 8"});
}

void validate(const InputQuantizer& input, std::string_view where) {
  if (input.spec.range == ActivationRange::dynamic) return;
  const auto [scale, zero] = input.at;
  if (!(scale > 0) || !std::isfinite(scale)) {
    refuse_activation(where, "input_scale", str(scale), "positive and finite");
  }
  const Grid grid = grid_of(unit_spec(input.spec));
  const bool code = input.spec.symmetric ? zero == 0 : zero >= grid.qmin && zero <= grid.qmax;
  if (!code) {
    refuse_activation(where, "input_zero", str(zero),
                      input.spec.symmetric ? "0" : str(grid.qmin, " to ", grid.qmax));
  }
}

void check_calibrated(const ActivationSpec& spec, const UnitScale& at, std::string_view op) {
  validate(spec, op);
  check(spec.range == ActivationRange::dynamic || at.scale > 0, op,
        "the static range of the input has scale ", at.scale, "; calibrate it first");
}

RowGrid row_grid(const ActivationSpec& spec, const UnitScale& at) {
  check(spec.is_integer(), "row grid", "codes of ", word_of(spec.grid), " are no integers");
  const Grid grid = grid_of(unit_spec(spec));
  if (spec.range == ActivationRange::dynamic) {
    return {.qmin = grid.qmin, .qmax = grid.qmax, .asymmetric = !spec.symmetric};
  }
  return {.qmin = grid.qmin,
          .qmax = grid.qmax,
          .static_scale = static_cast<float>(at.scale),
          .static_zero_point = at.zero_point};
}

std::string name_of(const ActivationSpec& spec) {
  if (!spec.is_integer()) return str(word_of(spec.grid), ' ', word_of(spec.range));
  const std::string name =
      str("int", spec.bits, spec.symmetric ? " symmetric " : " asymmetric ", word_of(spec.range));
  if (spec.range == ActivationRange::dynamic) return name;
  return str(name, ' ', word_of(spec.observer),
             has_percentile(spec) ? str(' ', spec.percentile) : "");
}

Json to_json(const ActivationSpec& spec) {
  Json json = Json::object();
  json.set("bits", spec.bits).set("symmetric", spec.symmetric).set("range", word_of(spec.range));
  if (spec.range == ActivationRange::fixed) json.set("observer", word_of(spec.observer));
  if (has_percentile(spec)) json.set("percentile", spec.percentile);
  if (!spec.is_integer()) json.set("grid", word_of(spec.grid));
  return json;
}

ActivationSpec activation_spec_from_json(const Json& json, std::string_view where) {
  for (const auto& [key, value] : json.as_object(where)) {
    if (key != "bits" && key != "symmetric" && key != "range" && key != "observer" &&
        key != "percentile" && key != "grid") {
      refuse_activation(where, "activations", key,
                        "bits, symmetric, range, observer, percentile, grid");
    }
  }
  const auto word = [&](const char* key, auto parse) {
    const std::string& text = json.at(key, where).as_string(str(where, ": ", key));
    try {
      return parse(text, where);
    } catch (const Error& e) {
      refuse_activation(where, key, text, e.parts().expected);
    }
  };
  ActivationSpec spec;
  const std::int64_t bits = json.at("bits", where).as_int(str(where, ": bits"));
  if (bits < 2 || bits > 8) refuse_activation(where, "bits", str(bits), "2 to 8");
  spec.bits = static_cast<int>(bits);
  spec.symmetric = json.at("symmetric", where).as_bool(str(where, ": symmetric"));
  spec.range = word("range", parse_name<ActivationRange>);
  if (spec.range == ActivationRange::fixed)
    spec.observer = word("observer", parse_name<ObserverRule>);
  if (has_percentile(spec)) {
    spec.percentile = json.at("percentile", where).as_number(str(where, ": percentile"));
    if (!(spec.percentile > 50 && spec.percentile <= 100)) {
      refuse_activation(where, "percentile", str(spec.percentile), "above 50, up to 100");
    }
  }
  if (json.find("grid")) {
    spec.grid = word("grid", parse_name<InputGrid>);
    try {
      validate(spec, where);
    } catch (const Error& e) {
      refuse_activation(where, "grid", e.parts().found, e.parts().expected);
    }
  }
  // Nothing is silently skipped: a key that means nothing here was meant for something else.
  if (to_json(spec).as_object(where).size() != json.as_object(where).size()) {
    refuse_activation(where, "activations", json.dump(), to_json(spec).dump());
  }
  return spec;
}

}  // namespace notch::quant
