// The layers of a model whose weights are served, not floats: links that answer for the matrices
// they hold, so that the model's parameters of these names need no values. The head is one of them,
// inside the loss and outside of it; no model file knows this.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "nn/model.h"
#include "quant/numbers/named_qtensor.h"
#include "quant/serve/input_changes.h"
#include "quant/serve/served_matrix.h"

namespace notch::quant {

class ServedLayers {
 public:
  using Matrices = std::map<const Param*, ServedMatrix>;
  /// Attaches to the model, which must outlive this.
  ServedLayers(nn::Model& model, Matrices matrices);
  /// Serves the tensors that have an input: layers that multiply integers.
  ServedLayers(nn::Model& model, std::span<const NamedQTensor> tensors);
  ServedLayers(const ServedLayers&) = delete;  // the links refer to this object
  ServedLayers& operator=(const ServedLayers&) = delete;

  std::int64_t bytes() const;  ///< of the matrices
  int products() const;        ///< of the largest matrix, as its own

 private:
  Matrices matrices_;
  nn::Attachment linear_, loss_, embedding_;
};

/// A model that links are attached to. What an assignment replaces goes to the other side, where links
/// that are assigned after it can still let go of it; a plain pointer would have freed it.
class LinkedModel : public std::unique_ptr<nn::Model> {
 public:
  using std::unique_ptr<nn::Model>::unique_ptr;
  LinkedModel(std::unique_ptr<nn::Model> model) noexcept : unique_ptr(std::move(model)) {}
  LinkedModel(LinkedModel&&) noexcept = default;
  LinkedModel& operator=(LinkedModel&& other) noexcept {
    swap(other);
    return *this;
  }
};

/// A model ready to run: what is quantized is served, what is not has values.
struct RunnableModel {
  LinkedModel model{};
  std::unique_ptr<InputChanges> changes{};  ///< null where no method has changed an input
  std::unique_ptr<ServedLayers> served{};   ///< null where nothing is quantized
  std::int64_t weight_bytes = 0;            ///< in memory
};

}  // namespace notch::quant
