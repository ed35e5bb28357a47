#include "nn/onnx.h"

#include <bit>
#include <cstring>
#include <limits>
#include <memory>

namespace notch::nn {
namespace {

// ---- protobuf ----

enum Wire : std::uint8_t { kVarint = 0, kBytes = 2, kFourBytes = 5 };

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 128; value >>= 7) out += static_cast<char>(value % 128 + 128);
  out += static_cast<char>(value);
}

void put_tag(std::string& out, int field, Wire wire) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | wire);
}

void put_int(std::string& out, int field, std::int64_t value) {
  put_tag(out, field, kVarint);
  put_varint(out, static_cast<std::uint64_t>(value));
}

void put_float(std::string& out, int field, float value) {
  put_tag(out, field, kFourBytes);
  const auto word = std::bit_cast<std::uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(word >> shift);
}

/// A string or a nested message.
void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_tag(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

// ---- messages of onnx.proto ----

namespace model {
constexpr int kIrVersion = 1, kProducer = 2, kGraph = 7, kOpsets = 8;
}
namespace opset {
constexpr int kDomain = 1, kVersion = 2;
}
namespace graph {
constexpr int kNode = 1, kName = 2, kInitializer = 5, kInput = 11, kOutput = 12;
}
namespace node {
constexpr int kInput = 1, kOutput = 2, kName = 3, kOp = 4, kAttribute = 5, kDomain = 7;
}
namespace attribute {
constexpr int kName = 1, kFloat = 2, kInt = 3, kInts = 8, kType = 20;
constexpr int kFloatType = 1, kIntType = 2, kIntsType = 7;
}  // namespace attribute
namespace tensor_proto {
constexpr int kDims = 1, kType = 2, kName = 8, kRaw = 9;
}
namespace value {
constexpr int kName = 1, kType = 2, kTensor = 1, kElement = 1, kShape = 2, kDim = 1;
constexpr int kDimValue = 1, kDimName = 2;
}  // namespace value

std::string attribute_message(const OnnxAttribute& a) {
  std::string out;
  put_bytes(out, attribute::kName, a.name);
  if (const auto* f = std::get_if<float>(&a.value)) {
    put_float(out, attribute::kFloat, *f);
    put_int(out, attribute::kType, attribute::kFloatType);
  } else if (const auto* i = std::get_if<std::int64_t>(&a.value)) {
    put_int(out, attribute::kInt, *i);
    put_int(out, attribute::kType, attribute::kIntType);
  } else {
    for (const std::int64_t v : std::get<std::vector<std::int64_t>>(a.value))
      put_int(out, attribute::kInts, v);
    put_int(out, attribute::kType, attribute::kIntsType);
  }
  return out;
}

std::int64_t element_bytes(OnnxType type) {
  return type == OnnxType::i64 ? 8 : type == OnnxType::f32 ? 4 : 1;
}

/// A source of bytes that it owns.
template <class T>
std::function<void(const ByteSink&)> owned(std::vector<T> values) {
  const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
  return [kept](const ByteSink& sink) { sink(std::as_bytes(std::span(*kept))); };
}

constexpr std::int64_t kOpset = 21, kIr = 10;  // of ONNX 1.16

}  // namespace

std::string OnnxGraph::fresh(std::string_view stem) { return str(stem, '_', fresh_++); }

void OnnxGraph::value_info(int field, const std::string& name, OnnxType type,
                           const std::vector<OnnxExtent>& shape) {
  std::string dims;
  for (const OnnxExtent& extent : shape) {
    std::string dim;
    if (const auto* n = std::get_if<std::int64_t>(&extent)) {
      put_int(dim, value::kDimValue, *n);
    } else {
      put_bytes(dim, value::kDimName, std::get<std::string>(extent));
    }
    put_bytes(dims, value::kDim, dim);
  }
  std::string tensor, outer, info;
  put_int(tensor, value::kElement, static_cast<std::int64_t>(type));
  put_bytes(tensor, value::kShape, dims);
  put_bytes(outer, value::kTensor, tensor);
  put_bytes(info, value::kName, name);
  put_bytes(info, value::kType, outer);
  put_bytes(ends_, field, info);
}

void OnnxGraph::input(const std::string& name, OnnxType type,
                      const std::vector<OnnxExtent>& shape) {
  value_info(graph::kInput, name, type, shape);
}

void OnnxGraph::output(const std::string& name, OnnxType type,
                       const std::vector<OnnxExtent>& shape) {
  value_info(graph::kOutput, name, type, shape);
}

std::string OnnxGraph::add(std::string_view op, const std::vector<std::string>& inputs,
                           const std::vector<OnnxAttribute>& attributes, std::string_view domain) {
  return add_as(fresh(op), op, inputs, attributes, domain);
}

std::string OnnxGraph::add_as(const std::string& output, std::string_view op,
                              const std::vector<std::string>& inputs,
                              const std::vector<OnnxAttribute>& attributes,
                              std::string_view domain) {
  std::string n;
  for (const std::string& in : inputs) put_bytes(n, node::kInput, in);
  put_bytes(n, node::kOutput, output);
  put_bytes(n, node::kName, output);
  put_bytes(n, node::kOp, op);
  for (const OnnxAttribute& a : attributes) put_bytes(n, node::kAttribute, attribute_message(a));
  if (!domain.empty()) put_bytes(n, node::kDomain, domain);
  put_bytes(nodes_, graph::kNode, n);
  return output;
}

std::vector<std::string> OnnxGraph::split(const std::string& x, std::int64_t n) {
  constexpr std::int64_t kMost = 1 << 16;
  check(n >= 1 && n <= kMost, "onnx", "a split into ", n, " parts; expected 1 to ", kMost);
  const std::string stem = fresh("Split");
  std::vector<std::string> outputs;
  std::string message;
  put_bytes(message, node::kInput, x);
  for (std::int64_t i = 0; i < n; ++i) {
    put_bytes(message, node::kOutput, outputs.emplace_back(str(stem, '_', i)));
  }
  put_bytes(message, node::kName, stem);
  put_bytes(message, node::kOp, "Split");
  put_bytes(message, node::kAttribute, attribute_message({"axis", std::int64_t{-1}}));
  put_bytes(message, node::kAttribute, attribute_message({"num_outputs", n}));
  put_bytes(nodes_, graph::kNode, message);
  return outputs;
}

std::string OnnxGraph::tensor(const std::string& name, OnnxType type, const FileShape& shape,
                              std::function<void(const ByteSink&)> write) {
  check(tensors_by_name_.insert(name).second, "onnx", "two tensors are named ", name);
  Initializer t{.name = name, .bytes = element_bytes(type), .write = std::move(write)};
  for (const std::int64_t extent : shape) {
    put_int(t.head, tensor_proto::kDims, extent);
    check(extent > 0 && t.bytes <= std::numeric_limits<std::int64_t>::max() / extent, "onnx", name,
          " has the shape ", to_text(shape));
    t.bytes *= extent;
  }
  put_int(t.head, tensor_proto::kType, static_cast<std::int64_t>(type));
  put_bytes(t.head, tensor_proto::kName, name);
  put_tag(t.head, tensor_proto::kRaw, kBytes);
  put_varint(t.head, static_cast<std::uint64_t>(t.bytes));
  tensors_.push_back(std::move(t));
  return name;
}

std::string OnnxGraph::number(float value) { return reals(fresh("number"), {}, {value}); }

std::string OnnxGraph::integers(const std::vector<std::int64_t>& values) {
  return tensor(fresh("integers"), OnnxType::i64, {std::ssize(values)}, owned(values));
}

std::string OnnxGraph::integer(std::int64_t value) {
  return tensor(fresh("integer"), OnnxType::i64, {}, owned(std::vector{value}));
}

std::string OnnxGraph::reals(const std::string& name, const FileShape& shape,
                             std::vector<float> values) {
  return tensor(name, OnnxType::f32, shape, owned(std::move(values)));
}

std::string OnnxGraph::bytes(const std::string& name, OnnxType type, const FileShape& shape,
                             std::vector<std::uint8_t> values) {
  return tensor(name, type, shape, owned(std::move(values)));
}

void OnnxGraph::write(const fs::path& path, std::string_view name, Existing existing) const {
  std::string before = nodes_;
  put_bytes(before, graph::kName, name);
  before += ends_;
  // Every length stands before what it is of.
  std::uint64_t graph_bytes = before.size();
  std::vector<std::string> heads;
  for (const Initializer& t : tensors_) {
    const std::uint64_t own = t.head.size() + static_cast<std::uint64_t>(t.bytes);
    std::string& head = heads.emplace_back();
    put_tag(head, graph::kInitializer, kBytes);
    put_varint(head, own);
    graph_bytes += head.size() + own;
  }
  std::string file;
  put_int(file, model::kIrVersion, kIr);
  put_bytes(file, model::kProducer, "notch");
  const auto operators = [&](std::string_view domain, std::int64_t version) {
    std::string message;
    if (!domain.empty()) put_bytes(message, opset::kDomain, domain);
    put_int(message, opset::kVersion, version);
    put_bytes(file, model::kOpsets, message);
  };
  operators("", kOpset);
  operators(kMicrosoft, 1);
  put_tag(file, model::kGraph, kBytes);
  put_varint(file, graph_bytes);
  const std::uint64_t all = file.size() + graph_bytes;
  if (all >= std::uint64_t{1} << 31) {
    throw Error({.fault = Fault::input,
                 .where = path.string(),
                 .what = "a protobuf file has less than 2 GiB",
                 .found = str(all, " bytes"),
                 .expected = str("at most ", (std::uint64_t{1} << 31) - 1),
                 .hint = "export a quantized model, or --format f32"});
  }
  for (const Initializer& t : tensors_)
    check(t.write != nullptr, "onnx", "nothing writes ", t.name);
  FileWriter out(path, existing);
  out.write(file);
  out.write(before);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Initializer& t = tensors_[i];
    out.write(heads[i]);
    out.write(t.head);
    const std::uint64_t begin = out.bytes_written();
    t.write([&](std::span<const std::byte> bytes) { out.write(bytes.data(), bytes.size()); });
    check(static_cast<std::int64_t>(out.bytes_written() - begin) == t.bytes, path.string(), t.name,
          " has ", t.bytes, " bytes, but ", out.bytes_written() - begin, " were given");
  }
  out.commit();
}

}  // namespace notch::nn
