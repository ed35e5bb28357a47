// A table that is both looked up and the head: what its rounding costs where it is looked up.
#pragma once

#include <span>

#include "nn/model.h"
#include "quant/methods/hessian.h"

namespace notch::quant {

/// The second moment G / a that stands for the lookups of a tied table beside the moment H of its
/// head's inputs, so that GPTQ of the sum weighs both uses of a row as the loss does.
///
/// To second order, and with Fisher information for the curvature, moving row v by e_v changes the
/// loss of a token by ½ e_vᵀ (E[(p_v - y_v)²] H + P(v) G) e_v: H = E[h hᵀ] for logits of the hidden
/// states h, P(v) how often v is looked up, G = E[g gᵀ] with g the gradient, by the embedding of a
/// token, of the losses of all tokens it reaches. GPTQ has one moment for all rows: their mean,
///   (a H + G) / V,   a = E Σ_v (p_v - y_v)² = E[1 - Σ p²] where labels follow the model,
/// and its codes do not depend on the factor a / V.
///
/// `model` is read as it is (the caller's fp32 weights), over the windows of about 1024 tokens,
/// from every part of the calibration text, and with each token's successor as its label; G by
/// backward passes from the loss, in which dropout, if the model has any, takes part. All zero when
/// the text has no token with a successor. H alone ignores the lookups: measured on 8-bit tables,
/// GPTQ of H was worse than rounding to nearest.
Hessian lookup_moment(nn::Model& model, std::span<const nn::Tokens> calibration);

}  // namespace notch::quant
