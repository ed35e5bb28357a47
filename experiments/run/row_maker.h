// Making rows one after the other: each becomes an artefact, which is read back and scored, or is found
// done. How its model comes about is experiments/run/compare.cpp's.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "experiments/run/compare.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/row_files.h"

namespace notch::experiments {

class RowMaker {
 public:
  RowMaker(const RunContext& run, std::int64_t seed);

  /// Fills a model directory and the row, and says whether it came to its end.
  using Build = std::function<bool(RowResult& row, const std::filesystem::path& dir)>;

  /// Makes an artefact, reads it back, scores it and writes its row file; or finds that done. False when
  /// a stop was requested. Errors name the row.
  bool make(RowResult row, const Build& build);

  /// From now on rows are compared with this model token by token.
  void compare_with(nn::Model& base);

  std::filesystem::path model(std::string_view row) const {
    return model_folder(run_.dir.path(), seed_, row);
  }
  const std::filesystem::path& folder() const { return folder_; }  ///< of the seed
  SeedResults& results() { return results_; }

 private:
  void score(RowResult& row);
  /// The artefact has replaced its checkpoints. fp32's stay: a longer training would start from their
  /// moments.
  void forget_training(const std::string& row) const;

  RunContext run_;
  std::int64_t seed_;
  std::filesystem::path folder_;
  std::string scored_on_;
  SeedResults results_;
  std::optional<KeptLogits> base_;  ///< on what rows are scored on
};

}  // namespace notch::experiments
