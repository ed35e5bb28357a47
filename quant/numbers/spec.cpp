#include "quant/numbers/spec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/names.h"
#include "quant/numbers/format.h"
#include "quant/numbers/names.h"

namespace notch::quant {
namespace {

constexpr int kBiasE8m0 = 127;

bool is_unsigned(ScaleType type) { return type == ScaleType::e8m0 || has_scales_of_scales(type); }

/// Rejects a spec that no matrix could have; what validate checks besides the shape.
void check_fields(const Spec& spec, Fault fault, std::string_view where) {
  const auto fail = [&](const char* field, std::int64_t found, const char* what,
                        std::string_view expected) {
    throw Error({.fault = fault,
                 .where = std::string(where),
                 .what = what,
                 .field = field,
                 .found = str(found),
                 .expected = std::string(expected)});
  };
  if (const Format& format = format_of(spec.grid); !format.has_bits(spec.bits)) {
    fail("bits", spec.bits, "bits out of range",
         str(format.bits_text(), " for the ", format.name, " grid"));
  }
  if (format_of(spec.grid).has_signed_scale() && is_unsigned(spec.scale)) {
    throw Error({.fault = fault,
                 .where = std::string(where),
                 .what = str("scales of the ", name_of(spec.grid), " grid have a sign"),
                 .field = "scale",
                 .found = std::string(word_of(spec.scale)),
                 .expected = "f32, f16, bf16 or f16_7"});
  }
  const bool lists = format_of(spec.grid).levels == Levels::unit;
  if (lists && (is_unsigned(spec.scale) || spec.scale == ScaleType::f16_7)) {
    throw Error({.fault = fault,
                 .where = std::string(where),
                 .what = str("levels of the ", name_of(spec.grid), " grid are any numbers"),
                 .field = "scale",
                 .found = std::string(word_of(spec.scale)),
                 .expected = "f32, f16 or bf16"});
  }
  if (spec.granularity == Granularity::group) {
    if (spec.group_size < 1) {
      fail("group_size", spec.group_size, "granularity group needs a group size", "at least 1");
    }
  } else if (spec.group_size != 0) {
    fail("group_size", spec.group_size, "a group size needs granularity group", "0");
  }
}

/// The largest number of seven bits that fifteen times is a half: 68 · 2^6.
constexpr real kMaxShortF16 = 4352;

/// Rounded half to even to seven significant bits, and to a multiple of the smallest half.
[[maybe_unused]] real to_short_f16(real s) {
  if (s == 0 || std::isinf(s)) return s;
  const double place = std::max(std::ldexp(1.0, std::ilogb(s) - 6), 0x1p-24);
  return static_cast<real>(std::nearbyint(static_cast<double>(s) / place) * place);
}

}  // namespace

Grid grid_of(const Spec& spec) {
  const Format& format = format_of(spec.grid);
  // Asked for every product: the error's text is made for an error alone.
  if (!format.has_bits(spec.bits)) {
    check(false, "grid", "bits = ", spec.bits, "; the ", format.name, " grid has ",
          format.bits_text());
  }
  return format.grid(spec.bits);
}

bool has_zero_points(const Spec& spec) { return format_of(spec.grid).has_zero_points(); }

std::int64_t nested_blocks(std::int64_t units) { return quotient_up(units, kNestedBlock); }

Spec held_spec(Spec spec) {
  if (spec.scale == ScaleType::e8m0) spec.scale = ScaleType::bf16;
  if (has_scales_of_scales(spec.scale)) spec.scale = ScaleType::f32;
  return spec;
}

Spec with_bits(Spec spec, int bits) {
  spec.bits = bits;
  if (!format_of(spec.grid).has_bits(bits)) spec.grid = GridKind::narrow;
  return spec;
}

void validate(const Spec& spec, std::int64_t in_features, std::string_view where) {
  check_fields(spec, Fault::usage, where);
  if (spec.granularity == Granularity::group && in_features % spec.group_size != 0) {
    throw Error({.fault = Fault::usage,
                 .where = std::string(where),
                 .what = "the group size does not divide the layer's inputs",
                 .field = "group_size",
                 .found = str(spec.group_size),
                 .expected = str("a divisor of ", in_features),
                 .hint = "choose a divisor, or granularity channel"});
  }
  const bool groups = spec.granularity == Granularity::group;
  const std::int64_t together = groups ? spec.group_size : in_features;
  if (format_of(spec.grid).has_words() && together % kWordColumns != 0) {
    throw Error({.fault = Fault::usage,
                 .where = std::string(where),
                 .what = str("words of the ", name_of(spec.grid), " grid have eight columns each"),
                 .field = groups ? "group_size" : "grid",
                 .found = groups ? str("groups of ", together) : str(together, " inputs"),
                 .expected = str("a multiple of ", kWordColumns)});
  }
}

std::int64_t unit_size(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  check_fields(spec, Fault::usage, "spec");
  switch (spec.granularity) {
    case Granularity::tensor:
      return rows * cols;
    case Granularity::channel:
      return cols;
    case Granularity::group:
      return spec.group_size;
  }
  return 0;
}

std::int64_t unit_count(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  const std::int64_t weights = extent("spec", {rows, cols});
  return weights == 0 ? 0 : weights / unit_size(spec, rows, cols);
}

std::int64_t scales_per_unit(const Spec& spec) {
  return format_of(spec.grid).levels == Levels::unit ? std::int64_t{1} << spec.bits : 1;
}

std::int64_t codebook_numbers(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  if (format_of(spec.grid).levels != Levels::codebooks) return 0;
  const bool large = extent("spec", {rows, cols}) >= kManyWeights;
  return kWordColumns * spec.bits * (large ? 256 : 2 * 16);
}

std::int64_t packed_bytes(const Spec& spec, std::int64_t n) {
  check_fields(spec, Fault::usage, "spec");
  extent("spec", {n, spec.bits});
  switch (format_of(spec.grid).packing) {
    case Packing::bits:
      return (n * spec.bits + 7) / 8;
    case Packing::trits:
      return (n + 4) / 5;
  }
  return 0;
}

StorageBytes storage_bytes(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  const std::int64_t units = unit_count(spec, rows, cols);
  StorageBytes bytes{.codes = rows * packed_bytes(spec, cols),
                     .codebooks = codebook_numbers(spec, rows, cols) * scale_bytes(ScaleType::f16)};
  const std::int64_t unit_rows =
      spec.granularity == Granularity::tensor ? 1 : std::max<std::int64_t>(rows, 1);
  const std::int64_t per_row = units / unit_rows;
  if (spec.scale == ScaleType::bilevel) {
    const std::int64_t blocks = quotient_up(unit_rows, kBilevelRows);
    bytes.scales = unit_rows * ((per_row * kBilevelBits + 7) / 8) + 4 * blocks * per_row;
  } else {
    bytes.scales = units * scales_per_unit(spec) * scale_bytes(spec.scale);
    if (spec.scale == ScaleType::nested) bytes.scales += 4 * nested_blocks(units) + 4;
  }
  if (has_zero_points(spec)) bytes.zero_points = unit_rows * packed_bytes(spec, per_row);
  return bytes;
}

double bits_per_weight(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  return 8.0 * static_cast<double>(storage_bytes(spec, rows, cols).total()) /
         static_cast<double>(rows * cols);
}

real max_scale(ScaleType type) {
  if (sizeof(real) > sizeof(float)) return std::numeric_limits<real>::max();
  switch (type) {
    case ScaleType::f32:
    case ScaleType::nested:
    case ScaleType::bilevel:
      break;
    case ScaleType::f16:
      return kMaxF16;
    case ScaleType::bf16:
      return kMaxBf16;
    case ScaleType::f16_7:
      return kMaxShortF16;
    case ScaleType::e8m0:
      return static_cast<real>(0x1p127);
  }
  return std::numeric_limits<real>::max();
}

real round_scale(real s, ScaleType type) {
  if (std::isnan(s)) return s;
  real stored = s;
  real smallest = std::numeric_limits<real>::denorm_min();
#ifndef NOTCH_DOUBLE
  if (type == ScaleType::f16) {
    stored = from_f16(to_f16(s));
    smallest = kMinF16;
  } else if (type == ScaleType::bf16) {
    stored = from_bf16(to_bf16(s));
    smallest = kMinBf16;
  } else if (type == ScaleType::f16_7) {
    stored = to_short_f16(s);
    smallest = kMinF16;
  } else if (type == ScaleType::e8m0) {
    smallest = 0x1p-127f;
    const real size = std::fabs(s);
    if (size < smallest) {
      stored = 0;
    } else if (size <= max_scale(type)) {
      stored = std::copysign(std::ldexp(real{1}, std::ilogb(size * real(1.5))), s);
    }
  }
#endif
  if (stored == 0) return std::copysign(smallest, s);
  if (std::fabs(stored) > max_scale(type)) return std::copysign(max_scale(type), s);
  return stored;
}

real round_level(real level, ScaleType type) { return level == 0 ? 0 : round_scale(level, type); }

std::int64_t scale_bytes(ScaleType type) {
  switch (type) {
    case ScaleType::f32:
      break;
    case ScaleType::f16:
    case ScaleType::bf16:
    case ScaleType::f16_7:
      return 2;
    case ScaleType::e8m0:
    case ScaleType::nested:
      return 1;
    case ScaleType::bilevel:
      check(false, "scales", "bilevel ones share bytes: ask storage_bytes");
  }
  return 4;
}

std::string grid_text(const Spec& spec) {
  const Grid grid = grid_of(spec);
  if (!grid.levels.empty()) return std::string(name_of(spec.grid));
  if (grid.step == 1) return str(name_of(spec.grid), " [", grid.qmin, ',', grid.qmax, ']');
  std::string text = str(name_of(spec.grid), " ±1");
  for (int q = 3; q <= grid.qmax; q += 2) text += str(',', q);
  return text;
}

std::string name_of(const Spec& spec) {
  std::string name = grid_of(spec).levels.empty() ? str("int", spec.bits) : str(spec.bits, "-bit");
  name += str(' ', grid_text(spec), ' ', word_of(spec.granularity));
  if (spec.granularity == Granularity::group) name += str(' ', spec.group_size);
  return str(name, ' ', word_of(spec.scale));
}

Json to_json(const Spec& spec) {
  Json json = Json::object();
  json.set("bits", spec.bits);
  json.set("grid", name_of(spec.grid));
  json.set("granularity", word_of(spec.granularity));
  if (spec.granularity == Granularity::group) json.set("group_size", spec.group_size);
  json.set("scale", word_of(spec.scale));
  return json;
}

Spec spec_from_json(const Json& json, std::string_view where) {
  const auto input_error = [&](std::string_view key, std::string_view found, std::string what) {
    return Error({.fault = Fault::input,
                  .where = std::string(where),
                  .what = std::move(what),
                  .field = std::string(key),
                  .found = std::string(found)});
  };
  for (const auto& [key, value] : json.as_object(where)) {
    if (key != "bits" && key != "grid" && key != "granularity" && key != "group_size" &&
        key != "scale") {
      throw input_error(key, key, "unknown key in a quantization spec");
    }
  }
  const auto name = [&](std::string_view key, auto parse) {
    const std::string& text = json.at(key, where).as_string(str(where, ": ", key));
    try {
      return parse(text, where);
    } catch (const Error& e) {
      throw input_error(key, text, e.parts().what);
    }
  };
  Spec spec;
  const std::int64_t bits = json.at("bits", where).as_int(str(where, ": bits"));
  spec.bits = bits < 1 || bits > 8 ? 0 : static_cast<int>(bits);
  spec.grid = name("grid", parse_grid);
  spec.granularity = name("granularity", parse_name<Granularity>);
  if (const Json* group = json.find("group_size")) {
    spec.group_size = group->as_int(str(where, ": group_size"));
  }
  spec.scale = name("scale", parse_name<ScaleType>);
  if (spec.bits == 0) throw input_error("bits", str(bits), "bits out of range");
  check_fields(spec, Fault::input, where);
  return spec;
}

std::vector<std::uint8_t> pack_scales(std::span<const real> scales, ScaleType type) {
  check(!has_scales_of_scales(type), "scales", word_of(type),
        " ones are packed together with their quantizer");
  const std::size_t width = static_cast<std::size_t>(scale_bytes(type));
  std::vector<std::uint8_t> bytes(scales.size() * width);
  for (std::size_t u = 0; u < scales.size(); ++u) {
    const float s = static_cast<float>(scales[u]);
    const std::uint32_t word = type == ScaleType::f32 ? std::bit_cast<std::uint32_t>(s)
                               : type == ScaleType::f16 || type == ScaleType::f16_7 ? to_f16(s)
                               : type == ScaleType::bf16
                                   ? to_bf16(s)
                                   : static_cast<std::uint32_t>(std::ilogb(s) + kBiasE8m0);
    for (std::size_t b = 0; b < width; ++b) {
      bytes[u * width + b] = static_cast<std::uint8_t>(word >> (8 * b));
    }
  }
  return bytes;
}

std::vector<real> unpack_scales(std::span<const std::uint8_t> bytes, ScaleType type) {
  const std::size_t width = static_cast<std::size_t>(scale_bytes(type));
  std::vector<real> scales(bytes.size() / width);
  for (std::size_t u = 0; u < scales.size(); ++u) {
    std::uint32_t word = 0;
    for (std::size_t b = 0; b < width; ++b) word |= std::uint32_t{bytes[u * width + b]} << (8 * b);
    scales[u] = type == ScaleType::f32 ? std::bit_cast<float>(word)
                : type == ScaleType::f16 || type == ScaleType::f16_7
                    ? from_f16(static_cast<std::uint16_t>(word))
                : type == ScaleType::bf16 ? from_bf16(static_cast<std::uint16_t>(word))
                : word == 0xff            ? std::numeric_limits<float>::quiet_NaN()
                                          : std::ldexp(1.0f, static_cast<int>(word) - kBiasE8m0);
  }
  return scales;
}

}  // namespace notch::quant
