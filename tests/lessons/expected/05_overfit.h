#pragma once

#include <cctype>
#include <set>

#include "tests/lessons/expected.h"

namespace notch::test {

inline Table overfit() {
  Table t;
  const std::string sentence = "a small model learns one line by heart";
  const double V = static_cast<double>(std::set<char>(sentence.begin(), sentence.end()).size());
  const double T = static_cast<double>(sentence.size()) - 1, C = 32;
  // GPT-2's parameters: tables (V + T) C; per block two norms 4C, attention 3C² + 3C and C² + C, MLP
  // 4C² + 4C and 4C² + C, together 12C² + 13C; the last norm 2C. The head is the token table.
  t << exactly("vocabulary", V)
    << exactly("weights", (V + T) * C + 2 * (12 * C * C + 13 * C) + 2 * C)
    << near("ln", std::log(V), 1e-12);
  // Weights of deviation 0.02 give logits far below 1, so the loss is near ln V.
  t << near("first", std::log(V), 0.1) << between("last", 0, 0.05) << text("written", sentence);
  return t;
}

}  // namespace notch::test
