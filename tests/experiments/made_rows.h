// Rows of a table with any loss.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "experiments/run/results.h"

namespace notch::test {

/// A row as a run names it, trained and judged as its method is, scored on windows of ten tokens: the
/// loss of each is `loss`, plus what `noises` has for it.
inline experiments::RowResult made_row(std::string name, std::string method, int bits, double loss,
                                       const std::vector<double>& noises) {
  experiments::RowResult r{.name = std::move(name), .method = std::move(method), .bits = bits};
  if (bits < 16) r.granularity = "channel";
  r.on_control = r.name.starts_with("control-");
  r.trained = r.aims_at_data = r.method.starts_with("qat") || r.method == "fp32-continue";
  if (r.on_control || (r.trained && bits < 16)) r.control = experiments::kControlRow;
  r.eval.loss = loss;
  for (const double noise : noises) {
    r.eval.window_tokens.push_back(10);
    r.eval.window_losses.push_back(10 * (loss + noise));
  }
  r.size = {.weights = 1000, .quantized = 900};
  r.size.code_bytes = 900 * bits / 8;
  r.size.float_bytes = 400;
  r.file_bytes = 1000 + 100 * bits;
  r.sha256 = std::string(64, 'a');
  return r;
}

}  // namespace notch::test
