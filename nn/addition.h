// Addition: what takes part in a training run beside the model.
//
// A fake quantizer, a mask, adapters, figures about a run: each attaches the links it needs to the
// model's Hooks, may bring parameters of its own, and keeps what a resumed run needs. The training
// loop knows no more of them than this. Where several take part they are asked in their order.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/json.h"
#include "autograd/param.h"

namespace notch::nn {

/// Numbers that training keeps besides parameters, by name.
struct NamedValues {
  std::string name{};
  std::span<real> values{};
};

/// What there is to say about a step, by its key in metrics.jsonl.
struct Remark {
  std::string_view key{};
  Json value{};
};

/// Where in its training an update stands.
struct Moment {
  double r = 0;   ///< it is that of step r · steps, 0 <= r < 1
  double lr = 0;  ///< the learning rate of the model's parameters
};

/// Usage error for what is no share of a training, 0 to 1.
inline void require_share(double r) {
  check(r >= 0 && r <= 1, "addition", r, " is no share of a training");
}

class Addition {
 public:
  Addition() = default;
  Addition(const Addition&) = delete;  // links refer to it
  Addition& operator=(const Addition&) = delete;
  virtual ~Addition() = default;

  /// Parameters that are trained with the model's, in a group of their own; null for none.
  virtual ParamStore* trained() { return nullptr; }
  /// What checkpoints keep besides those.
  virtual std::vector<NamedValues> state() { return {}; }
  /// Acts between backward and the update of step r · steps, 0 <= r < 1.
  virtual void before_update(double r) { static_cast<void>(r); }
  virtual void after_update(const Moment& at) { static_cast<void>(at); }
  /// Asked after some steps. `gradients` runs the model forward and backward over a batch, always
  /// the same, into the gradients of its parameters; what is random in it, and here, follows from
  /// `key`. Changes nothing that a later step sees.
  virtual std::optional<Remark> remark(const std::function<void()>& gradients, std::uint64_t key) {
    static_cast<void>(gradients), static_cast<void>(key);
    return std::nullopt;
  }
};

}  // namespace notch::nn
