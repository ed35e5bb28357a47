// From the words of a configuration to the objects of the libraries.
//
// Everything that can be refused is refused here, before anything is trained.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_source.h"
#include "data/verbs/verbs.h"
#include "experiments/config/config.h"
#include "experiments/train/training_phase.h"
#include "nn/model.h"
#include "quant/methods/methods.h"
#include "quant/methods/plan.h"
#include "quant/train/quantized_training.h"

namespace notch::experiments {

/// Text, tokenizer, tokens and, for the verbs corpus, the questions of its task.
struct Data {
  data::TextSource source{};
  std::vector<data::TenseExample> task{};
  std::string model_sha256{};  ///< of the directory model.from; empty without one
  /// Types of fewer than 32 bits that it is stored in, "BF16"; empty where there is none. A run keeps fp32 in
  /// 32 bits whatever they are: training goes on in those.
  std::string model_stored{};
  std::string teacher_sha256{};  ///< likewise of distill.teacher
};

/// What the rows of a table are scored on.
struct ScoredText {
  std::string_view name{};  ///< "validation" or "test"
  std::span<const std::int32_t> tokens{};
  double bytes_per_token = 0;
};
ScoredText scored_text(const ExperimentConfig& config, const Data& data);

/// SHA-256 of all that a row is scored on: the tokens and the task's questions.
std::string scored_hash(const ExperimentConfig& config, const Data& data);

/// Loads and tokenizes, through the token cache in `cache` (empty: none). Where a table is scored
/// to tune by, other questions are asked than in the table of the test split. Throws Fault::input
/// when the text that is scored occurs in the training text, where calibration text comes from, and
/// for a teacher that cannot teach: of another tokenizer or with too short a context.
Data load_data(const ExperimentConfig& config, const std::filesystem::path& cache);

/// Where tokenized corpora are kept: the user's cache directory; "" without one.
std::filesystem::path token_cache();

/// The model of [model], without values until it is initialized. Of model.from it has what [model]
/// does not say: the vocabulary and the norms' epsilon.
std::unique_ptr<nn::Model> make_model(const ExperimentConfig& config, int vocab_size,
                                      nn::Model::Values values = nn::Model::Values::allocate);

/// What the fp32 training of a seed begins with: model.from's values with the context of the run,
/// or numbers drawn from `seed`. Throws as nn::load_model, and Fault::input for a model that is not
/// the one of [model] or has fewer tokens than its tokenizer.
std::unique_ptr<nn::Model> first_model(const ExperimentConfig& config, int vocab_size,
                                       std::uint64_t seed);

/// The fp32 phase, and the phases after the fork: the same method with qat's budget, in an order of
/// data of their own that all of them share.
TrainSettings base_settings(const ExperimentConfig& config, std::uint64_t seed);
TrainSettings fork_settings(const ExperimentConfig& config, std::uint64_t seed, std::string phase);

/// Of the weights that a stage "redraw" draws: other numbers than fp32 began with.
std::uint64_t redraw_seed(std::uint64_t seed);

/// What a row that trains through rounding does in a step: [qat], and of [train] the backward.
quant::QatOptions qat_options(const ExperimentConfig& config);
/// All that a method's training reads, for the run of a seed.
quant::TrainingOptions training_options(const ExperimentConfig& config,
                                        const quant::Method& method, std::uint64_t seed);

/// Peak learning rate of what a method trains besides the model's parameters.
double step_rate(const ExperimentConfig& config, const quant::Method& method);

/// Of a row that trains through rounding: fork_settings with the distilled rows' learning rate, or
/// base_settings from scratch; without the part before rounding begins.
TrainSettings rounding_settings(const ExperimentConfig& config, std::uint64_t seed,
                                const quant::Method& method, std::string phase);

/// The spec of a row and the plan around it.
quant::Spec row_spec(const RowConfig& row);
quant::Plan row_plan(const ExperimentConfig& config, const RowConfig& row);

/// calib.windows; of the training split at most those that lie side by side in it, floor((N - 1) / T)
/// of N tokens: more would be the same text again.
std::int64_t calibration_windows(const ExperimentConfig& config, std::size_t train_tokens);

/// Throws Fault::usage where the hidden states that a walk over so much calibration text keeps are
/// more than `memory` bytes; 0 = not known. They are, for every token, the state and the products
/// of a part of a block, at most four times as wide.
void check_calibration(const ExperimentConfig& config, std::size_t train_tokens, double memory,
                       const Origins& origins = {});

/// Calibration text drawn from `seed`: windows of the training split (all of it, in order, where it
/// has no more than are asked for) or, with calib.source = "self", windows that `model` writes: a
/// first token, every one equally probable, and what follows
/// it (LLM-QAT, Liu et al. 2023, arXiv:2305.17888, section 3.1). It owns its ids.
class Calibration {
 public:
  Calibration(const ExperimentConfig& config, const nn::Model& model,
              std::span<const std::int32_t> train, std::uint64_t seed);
  std::span<const nn::Tokens> batches() const { return batches_; }
  std::int64_t tokens() const { return static_cast<std::int64_t>(ids_.size()); }
  const std::string& sha256() const { return sha256_; }  ///< of the ids

 private:
  std::vector<std::int32_t> ids_;
  std::vector<nn::Tokens> batches_;
  std::string sha256_;
};

/// The calibration texts of a seed: one for all rows that want the same.
class CalibrationTexts {
 public:
  CalibrationTexts(std::span<const std::int32_t> train, std::uint64_t seed)
      : train_(train), seed_(seed) {}

  /// As Calibration; of one `writer`, which must outlive this, the same text is made once.
  std::shared_ptr<const Calibration> of(const ExperimentConfig& config, const nn::Model& writer);
  /// For a model that does not stay.
  std::shared_ptr<const Calibration> alone(const ExperimentConfig& config,
                                           const nn::Model& writer) const;

 private:
  struct Made {
    CalibConfig calib{};
    const nn::Model* writer = nullptr;  ///< null: nobody, it is of the training split
    std::shared_ptr<const Calibration> text{};
  };
  std::span<const std::int32_t> train_;
  std::uint64_t seed_;
  std::vector<Made> made_{};
};

/// Refuses to train what this processor cannot: train.matmul = "bf16" without instructions for it
/// (kernels::bf16_available), or portable products of bfloat16 numbers, whose bits every instruction
/// set has of its own. To read or report such a run nothing is needed.
void check_processor(const ExperimentConfig& config, bool has_bf16, const Origins& origins = {});

/// train.products: sets the arithmetic of this process (base/arithmetic.h).
void use_products(const ExperimentConfig& config);

/// Checks every row against a model's shapes (patterns, groups, widths, known methods) without
/// training.
/// `origins` lets an error point at the line that set the value.
void check_rows(const ExperimentConfig& config, int vocab_size, const Origins& origins = {});

}  // namespace notch::experiments
