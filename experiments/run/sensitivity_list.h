// What layers cost at the widths that they were measured at: a file of one line of JSON for each, which
// interrupted measurements go on from and several commands may add to at once.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quant/methods/mixed.h"

namespace notch::experiments {

class SensitivityList {
 public:
  /// `key` stands for what was measured: model, method and text. Each line has its digest; what does not
  /// read, or is not as it was written, is measured again.
  SensitivityList(const std::filesystem::path& file, std::string key);

  std::optional<quant::Sensitivity> find(std::string_view layer, int bits) const;
  /// Adds a line to those that the file has by now, of other keys too. Throws Fault::io.
  void keep(const quant::Sensitivity& s);

 private:
  void read();

  std::filesystem::path file_;
  std::string key_;
  std::string others_{};  // lines of other keys
  std::vector<quant::Sensitivity> known_{};
  bool written_ = false;
};

/// Throws Fault::input for the first line that is not as it was written.
void verify_sensitivities(const std::filesystem::path& file);

/// Throws Fault::input for a file that says something and has no line of such a list.
void require_sensitivities(const std::filesystem::path& file);

}  // namespace notch::experiments
