#include "quant/store/onnx_codes.h"

#include <algorithm>
#include <bit>

#include "autograd/base/index.h"
#include "quant/numbers/find_named.h"
#include "quant/numbers/format.h"

namespace notch::quant {
namespace {

using nn::OnnxGraph;
using nn::OnnxType;
using Ints = std::vector<std::int64_t>;
using Bytes = std::vector<std::uint8_t>;

constexpr std::int64_t kSmallestBlock = 16, kLargestBlock = 256;

/// Inputs of a block of MatMulNBits: a group, or the most that divide a row; 0 where none do.
std::int64_t block_of(const Spec& spec, std::int64_t cols) {
  if (spec.granularity == Granularity::group) {
    const std::int64_t size = spec.group_size;
    const bool fits = std::has_single_bit(static_cast<std::uint64_t>(size));
    return fits && size >= kSmallestBlock && size <= kLargestBlock ? size : 0;
  }
  const auto power = std::int64_t{1} << std::countr_zero(static_cast<std::uint64_t>(cols));
  return power < kSmallestBlock ? 0 : std::min(power, kLargestBlock);
}

void check_tensor(const NamedQTensor& t) {
  const auto refuse = [&](std::string what, std::string found, std::string expected) {
    throw Error({.fault = Fault::input,
                 .where = "onnx",
                 .what = std::move(what),
                 .field = t.name,
                 .found = std::move(found),
                 .expected = std::move(expected)});
  };
  const Spec& spec = t.q.spec;
  if (!grid_of(spec).levels.empty()) {
    refuse("a codebook, which MatMulNBits does not look up", std::string(name_of(spec.grid)),
           "a grid of whole numbers");
  }
  if (spec.granularity == Granularity::group && block_of(spec, t.q.cols) == 0) {
    refuse("no size of MatMulNBits' blocks", str("groups of ", spec.group_size),
           "16, 32, 64, 128 or 256, or one scale per row");
  }
  if (!t.change.signs.empty() || t.change.side) {
    refuse("an input that is rotated or multiplied beside the codes, which is not written as ONNX",
           t.change.side ? "a product beside it" : "rotated channels",
           "a method that changes no inputs, or multiplies them");
  }
  if (t.input && t.input->spec.range != ActivationRange::fixed) {
    refuse("every token has its own range of activations, for which ONNX has no operator",
           "dynamic", "static: --activation-range static, or activations.range");
  }
}

std::int64_t units_per_row(const QTensor& q) {
  return q.spec.granularity == Granularity::tensor ? 1
                                                   : unit_count(q.spec, q.rows, q.cols) / q.rows;
}

std::vector<float> floats(const std::vector<real>& values) {
  std::vector<float> out;
  for (const real v : values) out.push_back(static_cast<float>(v));
  return out;
}

Bytes bytes_of(std::span<const std::int8_t> values) {
  Bytes out;
  for (const std::int8_t v : values) out.push_back(static_cast<std::uint8_t>(v));
  return out;
}

std::string scalar_i8(OnnxGraph& g, const std::string& name, std::int8_t value) {
  return g.bytes(name, OnnxType::i8, {}, {static_cast<std::uint8_t>(value)});
}

/// Rows of `width` codes each, q + 2^(bits-1) in `bits` bits, the first of a byte in its low bits.
Bytes packed(std::span<const std::int8_t> codes, std::int64_t width, int bits) {
  const std::int64_t per_byte = 8 / bits, row = quotient_up(width, per_byte);
  const std::int64_t rows = std::ssize(codes) / width;
  Bytes out(static_cast<std::size_t>(rows * row));
  for (std::int64_t i = 0; i < std::ssize(codes); ++i) {
    const int u = codes[static_cast<std::size_t>(i)] + (1 << (bits - 1));
    const std::int64_t at = i % width;
    std::uint8_t& byte = out[static_cast<std::size_t>(i / width * row + at / per_byte)];
    byte = static_cast<std::uint8_t>(byte | u << (at % per_byte * bits));
  }
  return out;
}

/// What a unit has, once for every block of `block` inputs in it.
template <class T>
std::vector<T> of_blocks(const std::vector<T>& units, const QTensor& q, std::int64_t block) {
  std::vector<T> out;
  for (std::int64_t at = 0; at < q.rows * q.cols; at += block)
    out.push_back(units[static_cast<std::size_t>(at / unit_size(q.spec, q.rows, q.cols))]);
  return out;
}

std::string multiply_blocks(OnnxGraph& g, const std::string& name, const QTensor& q,
                            std::int64_t block, const std::string& x) {
  const Grid grid = grid_of(q.spec);
  const int bits = grid.qmin >= -8 && grid.qmax <= 7 ? 4 : 8;
  const std::int64_t blocks = q.cols / block;
  std::vector<std::string> inputs{
      x,
      g.bytes(name + ".codes", OnnxType::u8, {q.rows, blocks, block * bits / 8},
              packed(q.codes, q.cols, bits)),
      g.reals(name + ".scale", {q.rows * blocks}, floats(of_blocks(q.at.scales, q, block)))};
  if (has_zero_points(q.spec)) {
    Bytes zeros = packed(of_blocks(q.at.zero_points, q, block), blocks, bits);
    const std::int64_t n = std::ssize(zeros);
    inputs.push_back(g.bytes(name + ".zero", OnnxType::u8, {n}, std::move(zeros)));
  }
  return g.add("MatMulNBits", inputs,
               {{"K", q.cols}, {"N", q.rows}, {"bits", std::int64_t{bits}}, {"block_size", block}},
               OnnxGraph::kMicrosoft);
}

std::string multiply_rows(OnnxGraph& g, const std::string& name, const QTensor& q,
                          const std::string& x) {
  Bytes codes(q.codes.size());  // [in, out]
  for (std::int64_t out = 0; out < q.rows; ++out) {
    for (std::int64_t in = 0; in < q.cols; ++in) {
      codes[static_cast<std::size_t>(in * q.rows + out)] =
          static_cast<std::uint8_t>(q.codes[static_cast<std::size_t>(out * q.cols + in)]);
    }
  }
  const bool one = q.spec.granularity == Granularity::tensor;
  const nn::FileShape units = one ? nn::FileShape{} : nn::FileShape{q.rows};
  std::vector<std::string> inputs{
      g.bytes(name + ".codes", OnnxType::i8, {q.cols, q.rows}, std::move(codes)),
      g.reals(name + ".scale", units, floats(q.at.scales))};
  if (has_zero_points(q.spec)) {
    inputs.push_back(g.bytes(name + ".zero", OnnxType::i8, units, bytes_of(q.at.zero_points)));
  }
  std::vector<nn::OnnxAttribute> axis;
  if (!one) axis.push_back({"axis", std::int64_t{1}});
  return g.add("MatMul", {x, g.add("DequantizeLinear", inputs, axis)});
}

/// (q - z) · s of a table's rows `ids`, or of all of them.
std::string table_values(OnnxGraph& g, const std::string& name, const QTensor& q,
                         const std::string& ids, int rank) {
  const std::int64_t units = units_per_row(q);
  const bool one = q.spec.granularity == Granularity::tensor, groups = units > 1;
  const auto part = [&](const char* ending) { return name + ending; };
  if (!g.has_tensor(part(".codes"))) {
    const nn::FileShape shape = one ? nn::FileShape{1} : nn::FileShape{q.rows, units};
    g.bytes(part(".codes"), OnnxType::i8, {q.rows, q.cols}, bytes_of(q.codes));
    g.reals(part(".scale"), shape, floats(q.at.scales));
    if (has_zero_points(q.spec))
      g.bytes(part(".zero"), OnnxType::i8, shape, bytes_of(q.at.zero_points));
  }
  const auto chosen = [&](const std::string& tensor, bool shared) {
    return ids.empty() || shared ? tensor : g.add("Gather", {tensor, ids});
  };
  const auto reals = [&](const std::string& x) {
    return g.add("Cast", {x}, {{"to", static_cast<std::int64_t>(OnnxType::f32)}});
  };
  // Units of a row beside its codes: [.., units, width] with [.., units, 1].
  const auto per_unit = [&](const std::string& x) {
    return groups ? g.add("Unsqueeze", {x, g.integers({-1})}) : x;
  };
  Ints cut(static_cast<std::size_t>(rank), 0), whole = cut;
  cut.insert(cut.end(), {units, q.cols / units});
  whole.push_back(q.cols);
  std::string x = reals(chosen(part(".codes"), false));
  if (groups) x = g.add("Reshape", {x, g.integers(cut)});
  if (has_zero_points(q.spec)) x = g.add("Sub", {x, per_unit(reals(chosen(part(".zero"), one)))});
  x = g.add("Mul", {x, per_unit(chosen(part(".scale"), one))});
  return groups ? g.add("Reshape", {x, g.integers(whole)}) : x;
}

/// x as its layer gets it: multiplied, then rounded.
std::string input_of(OnnxGraph& g, const NamedQTensor& t, std::string x) {
  if (!t.change.multiply.empty()) {
    const std::int64_t n = std::ssize(t.change.multiply);
    x = g.add("Mul", {x, g.reals(t.name + ".input_multiplier", {n}, floats(t.change.multiply))});
  }
  if (!t.input) return x;
  const auto scale = static_cast<float>(t.input->at.scale);
  const int zero = t.input->at.zero_point;
  const Grid grid = grid_of(unit_spec(t.input->spec));
  const auto bound = [&](int code) { return g.number(static_cast<float>(code - zero) * scale); };
  const std::string s = g.reals(t.name + ".input_scale", {}, {scale});
  const std::string z = scalar_i8(g, t.name + ".input_zero", static_cast<std::int8_t>(zero));
  x = g.add("Clip", {x, bound(grid.qmin), bound(grid.qmax)});
  return g.add("DequantizeLinear", {g.add("QuantizeLinear", {x, s, z}), s, z});
}

}  // namespace

OnnxCodes::OnnxCodes(const std::vector<NamedQTensor>& tensors) : tensors_(tensors) {
  for (const NamedQTensor& t : tensors) check_tensor(t);
}

const NamedQTensor* OnnxCodes::find(const Param& p) const { return find_named(tensors_, p.name); }

std::string OnnxCodes::product(nn::OnnxGraph& g, const Param& weight, const std::string& x) {
  const NamedQTensor* t = find(weight);
  if (!t) return OnnxWeights::product(g, weight, x);
  const std::string input = input_of(g, *t, x);
  if (g.has_tensor(t->name + ".codes")) {  // a tied table
    return g.add("MatMul", {input, g.add("Transpose", {table_values(g, t->name, t->q, "", 1)},
                                         {{"perm", Ints{1, 0}}})});
  }
  const std::int64_t block = block_of(t->q.spec, t->q.cols);
  const bool integers = t->input && t->q.spec.granularity != Granularity::group;
  return block > 0 && !integers ? multiply_blocks(g, t->name, t->q, block, input)
                                : multiply_rows(g, t->name, t->q, input);
}

std::string OnnxCodes::rows(nn::OnnxGraph& g, const Param& table, const std::string& ids,
                            int rank) {
  const NamedQTensor* t = find(table);
  return t ? table_values(g, t->name, t->q, ids, rank) : OnnxWeights::rows(g, table, ids, rank);
}

}  // namespace notch::quant
