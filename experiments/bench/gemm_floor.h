// GemmFloor: the matrix products of one training step and nothing else, the time below which a step
// made of them cannot go on this machine.
//
// Every product of forward, dgrad and wgrad runs by kernels::gemm (our own product or OpenBLAS,
// whichever it takes in the step too) in the shapes and over the weights of the model, on as many
// threads as the step. Attention is counted full: one T x T product per head and use, not only the
// half that the causal mask leaves; a kernel that skips the other half can lie below the floor.
#pragma once

#include <string>
#include <vector>

#include "nn/model.h"

namespace notch::experiments {

/// Multiplications and additions of one step over B windows, full attention:
///   tokens · (6 · matrix parameters, head included + 12 · n_layer · A · T)
/// with A the channels of all heads, n_embd as a rule (2 per weight forward, 4 backward; scores and their
/// use are 4 · T · A forward, twice that backward).
double step_flops(const nn::Model& model, std::int64_t B);

class GemmFloor {
 public:
  /// Works on the model's weights, and writes to their gradients. The model must outlive this.
  GemmFloor(nn::Model& model, std::int64_t B);

  /// Milliseconds of the products of one layer over all blocks.
  struct Row {
    std::string op{}, layer{};  ///< as in StepSplit: "linear" "mlp.c_fc"
    double ms = 0;
  };
  /// Runs all products once.
  std::vector<Row> run();

 private:
  void linear(const Param& weight, std::int64_t rows);
  void attention();

  nn::Model& model_;
  std::int64_t B_, head_rows_;
  std::vector<float> x_, y_, dx_, scores_;
};

}  // namespace notch::experiments
