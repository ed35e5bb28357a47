// Sample text: what a row's model writes, so that rows can be read side by side.
//
// Every row of a seed goes on from the same prompt with the same random numbers: where two texts
// part, their models do.
#pragma once

#include <cstdint>
#include <span>

#include "data/tokenizer.h"
#include "experiments/run/results.h"
#include "nn/model.h"

namespace notch::experiments {

inline constexpr double kSampleTemperature = 0.8;

/// 160 tokens (kSampleTemperature, nothing cut off) after a prompt of at most 16 tokens, half the
/// context at most: the first line of `scored`, or its beginning where no line ends in the first
/// thousand tokens. What is not UTF-8 in the bytes that a model writes becomes U+FFFD.
TextSample sample_text(const nn::Model& model, const data::Tokenizer& tokenizer,
                       std::span<const std::int32_t> scored, std::uint64_t seed);

}  // namespace notch::experiments
