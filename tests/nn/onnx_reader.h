// The protobuf of an ONNX file taken apart, as far as tests ask.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/files.h"
#include "tests/catch.h"

namespace notch::test {

struct ProtoField {
  int number = 0;
  std::uint64_t value = 0;   ///< of a varint
  std::string_view bytes{};  ///< of a nested message or string
};

inline std::uint64_t take_varint(std::string_view& in) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    REQUIRE_FALSE(in.empty());
    const auto byte = static_cast<std::uint8_t>(in.front());
    in.remove_prefix(1);
    value |= std::uint64_t{byte % 128u} << shift;
    if (byte < 128) return value;
  }
}

inline std::vector<ProtoField> proto_fields(std::string_view in) {
  std::vector<ProtoField> out;
  while (!in.empty()) {
    const std::uint64_t tag = take_varint(in);
    ProtoField field{.number = static_cast<int>(tag >> 3)};
    if (tag % 8 == 0) {
      field.value = take_varint(in);
    } else {
      const std::size_t n = tag % 8 == 5 ? 4 : take_varint(in);
      REQUIRE(n <= in.size());
      field.bytes = in.substr(0, n);
      in.remove_prefix(n);
    }
    out.push_back(field);
  }
  return out;
}

struct OnnxNode {
  std::string op{};
  std::vector<std::string> inputs{}, outputs{};
};
struct OnnxTensor {
  std::string name{};
  std::vector<std::int64_t> shape{};
  int type = 0;
  std::string bytes{};
};

class OnnxFile {
 public:
  explicit OnnxFile(const fs::path& path) : bytes_(read_file(path)) {
    for (const ProtoField& m : proto_fields(bytes_)) {
      if (m.number != 7) continue;
      for (const ProtoField& f : proto_fields(m.bytes)) {
        if (f.number == 1) add_node(f.bytes);
        if (f.number == 5) add_tensor(f.bytes);
        if (f.number == 11) inputs.push_back(name_of(f.bytes));
        if (f.number == 12) outputs.push_back(name_of(f.bytes));
      }
    }
  }
  const OnnxTensor& tensor(std::string_view name) const {
    const auto at = std::ranges::find(tensors, name, &OnnxTensor::name);
    CAPTURE(name);
    REQUIRE(at != tensors.end());
    return *at;
  }
  std::ptrdiff_t count(std::string_view op) const {
    return std::ranges::count(nodes, op, &OnnxNode::op);
  }

  std::vector<OnnxNode> nodes{};
  std::vector<OnnxTensor> tensors{};
  std::vector<std::string> inputs{}, outputs{};

 private:
  static std::string name_of(std::string_view info) {
    return std::string(proto_fields(info).at(0).bytes);
  }
  void add_node(std::string_view bytes) {
    OnnxNode& n = nodes.emplace_back();
    for (const ProtoField& f : proto_fields(bytes)) {
      if (f.number == 1) n.inputs.emplace_back(f.bytes);
      if (f.number == 2) n.outputs.emplace_back(f.bytes);
      if (f.number == 4) n.op = f.bytes;
    }
  }
  void add_tensor(std::string_view bytes) {
    OnnxTensor& t = tensors.emplace_back();
    for (const ProtoField& f : proto_fields(bytes)) {
      if (f.number == 1) t.shape.push_back(static_cast<std::int64_t>(f.value));
      if (f.number == 2) t.type = static_cast<int>(f.value);
      if (f.number == 8) t.name = f.bytes;
      if (f.number == 9) t.bytes = f.bytes;
    }
  }

  std::string bytes_;
};

}  // namespace notch::test
