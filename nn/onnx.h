// ONNX: a computation graph with its weights in one file, for ONNX Runtime and what else reads it.
//
// The file is a protobuf message (https://protobuf.dev/programming-guides/encoding): fields of
// varints, four bytes or a length and so many bytes, which nest. Field numbers are those of
// onnx/onnx.proto. Weights are raw_data, little-endian, at the end; they are written piece by piece
// and never held together.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "nn/safetensors.h"

namespace notch::nn {

/// TensorProto.DataType.
enum class OnnxType : std::uint8_t { f32 = 1, u8 = 2, i8 = 3, i64 = 7 };

/// A name and an integer, a float or integers.
struct OnnxAttribute {
  std::string_view name{};
  std::variant<std::int64_t, float, std::vector<std::int64_t>> value{};
};

/// An extent that is known, or the name of one that the caller chooses.
using OnnxExtent = std::variant<std::int64_t, std::string>;

class OnnxGraph {
 public:
  /// What MatMulNBits is in: operators of ONNX Runtime.
  static constexpr std::string_view kMicrosoft = "com.microsoft";

  void input(const std::string& name, OnnxType type, const std::vector<OnnxExtent>& shape);
  void output(const std::string& name, OnnxType type, const std::vector<OnnxExtent>& shape);

  /// Appends a node; the name of its output, which is made of the operator's unless it is given.
  std::string add(std::string_view op, const std::vector<std::string>& inputs,
                  const std::vector<OnnxAttribute>& attributes = {}, std::string_view domain = "");
  std::string add_as(const std::string& output, std::string_view op,
                     const std::vector<std::string>& inputs,
                     const std::vector<OnnxAttribute>& attributes = {},
                     std::string_view domain = "");
  /// The outputs of a Split of the last dimension into `n` equal parts.
  std::vector<std::string> split(const std::string& x, std::int64_t n);

  /// A tensor of the file. `write` is called when the graph is written, as a TensorSource's is; what
  /// it refers to must live until then. Names are unique.
  std::string tensor(const std::string& name, OnnxType type, const FileShape& shape,
                     std::function<void(const ByteSink&)> write);
  bool has_tensor(std::string_view name) const { return tensors_by_name_.contains(name); }
  /// Constants: a number, whole numbers (a list or one), and the reals of a tensor of any shape.
  std::string number(float value);
  std::string integers(const std::vector<std::int64_t>& values);
  std::string integer(std::int64_t value);
  std::string reals(const std::string& name, const FileShape& shape, std::vector<float> values);
  std::string bytes(const std::string& name, OnnxType type, const FileShape& shape,
                    std::vector<std::uint8_t> values);

  /// Writes the file atomically, for operator set 21. Throws Fault::input when it would have 2 GiB
  /// or more, which protobuf does not know; Fault::usage when a source hands over other bytes than
  /// its shape has.
  void write(const fs::path& path, std::string_view name,
             Existing existing = Existing::replace) const;

 private:
  struct Initializer {
    std::string name{};
    std::string head{};  ///< the TensorProto up to the raw data
    std::int64_t bytes = 0;
    std::function<void(const ByteSink&)> write{};
  };
  void value_info(int field, const std::string& name, OnnxType type,
                  const std::vector<OnnxExtent>& shape);
  std::string fresh(std::string_view stem);

  std::string nodes_, ends_;  ///< fields of a GraphProto
  std::vector<Initializer> tensors_;
  std::set<std::string, std::less<>> tensors_by_name_;
  std::int64_t fresh_ = 0;
};

}  // namespace notch::nn
