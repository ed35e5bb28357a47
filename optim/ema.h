// Exponential moving average of weights, for evaluation: it removes the noise of the last steps
// (Polyak and Juditsky 1992; in the exponential form of Kingma and Ba 2015, arXiv:1412.6980,
// section 7.2).
//
// Deviation: the average starts at the weights and not at zero, so it needs no bias correction.
#pragma once

#include <vector>

#include "optim/param_group.h"

namespace notch::optim {

class Ema {
 public:
  /// Averages the parameters of `groups`, starting from their present values. Throws (usage) unless
  /// 0 <= decay < 1, and as FlatLayout does.
  Ema(std::vector<ParamGroup> groups, double decay);
  Ema(const Ema&) = delete;
  Ema& operator=(const Ema&) = delete;

  /// average = decay · average + (1 - decay) · w; after each optimizer step. Allocates nothing.
  void update();
  /// Ends in the averages: the parameters hold them from here on.
  void take();
  /// The averages, "ema.<parameter>": all a resumed run needs (write into them to restore).
  std::vector<StateTensor> state();

 private:
  friend class EmaWeights;
  void swap();

  std::vector<ParamGroup> groups_;
  FlatLayout layout_;
  double decay_;
  FlatBlock average_;
  bool swapped_ = false;
};

/// While it lives the parameters hold the averages; then the trained weights, bit for bit, again.
/// Meanwhile update(), take(), state() and a second EmaWeights throw (usage).
class EmaWeights {
 public:
  explicit EmaWeights(Ema& ema);
  ~EmaWeights() { ema_.swap(); }
  EmaWeights(const EmaWeights&) = delete;
  EmaWeights& operator=(const EmaWeights&) = delete;

 private:
  Ema& ema_;
};

}  // namespace notch::optim
