// What a method that trains adds to the training of a model, whichever method it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "quant/methods/method.h"
#include "quant/methods/prune.h"
#include "quant/train/adapters.h"
#include "quant/train/diagnostics.h"
#include "quant/train/mask.h"
#include "quant/train/qat.h"
#include "quant/train/scale_training.h"

namespace notch::quant {

struct TrainingOptions {
  QatOptions qat{};
  QloraOptions qlora{};
  std::uint64_t seed = 0;  ///< of first values
};

class QuantizedTraining {
 public:
  /// Attaches to the model, which must outlive this. `start`: the codes that training begins with, null
  /// for none, which only methods that train weights can do without.
  QuantizedTraining(nn::Model& model, const Method& method, std::span<const Target> targets,
                    const TrainingOptions& options, const Quantized* start = nullptr);

  /// Weights of `targets` that are pruned stay so (quant/train/mask.h). Usage error where weights are
  /// rotated, for a grid without a zero, or for masks that grow in codes that stay.
  void hold(std::span<const Target> targets, std::span<const NamedMask> masks,
            const std::optional<PruneOptions>& growing = {});
  /// Figures of the quantizer, where weights are trained. Once, after hold.
  void watch();

  std::vector<nn::Addition*> additions();
  /// What ships.
  Quantized convert();

 private:
  nn::Model& model_;
  Training training_;
  std::optional<FakeQuantizer> fake_;
  std::optional<ScaleTraining> scales_;
  std::optional<Adapters> adapters_;
  std::optional<Mask> mask_;
  std::optional<Diagnostics> diagnostics_;
  std::vector<NamedMask> held_;
};

}  // namespace notch::quant
