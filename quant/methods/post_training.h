// Post-training quantization of a model: the walk that gives every method its statistics.
#pragma once

#include <span>

#include "quant/methods/method.h"
#include "quant/methods/options.h"

namespace notch::quant {

/// Quantizes the targets after training, stage after stage: the statistics of a stage see its
/// quantized predecessors. Hidden states are kept per stage; every stage runs once to observe and
/// once to go on, and with a method that needs the drift also as it was before rounding, on hidden
/// states of its own. `calibration` is token batches. While the walk runs, a table that is
/// looked up stands at its round-to-nearest values; the codes of a tied table are chosen last, for
/// both its uses (quant/methods/tied_table.h). On return the parameters hold the dequantized weights.
/// With options.prune each matrix is pruned before it is rounded (quant/methods/prune.h).
Quantized post_training(nn::Model& model, const Method& method, std::span<const Target> targets,
                        std::span<const nn::Tokens> calibration,
                        const PostTrainingOptions& options);

/// The same walk where nothing is rounded: on return the parameters hold the pruned weights, and of the
/// result there are only `masks`.
Quantized prune(nn::Model& model, std::span<const Target> targets,
                std::span<const nn::Tokens> calibration, const PostTrainingOptions& options);

/// Whether either reads calibration text; `method` is null for prune.
bool needs_text(const Method* method, std::span<const Target> targets,
                const PostTrainingOptions& options);

}  // namespace notch::quant
