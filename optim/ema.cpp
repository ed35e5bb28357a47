#include "optim/ema.h"

#include <algorithm>
#include <utility>

#include "autograd/kernels/adamw.h"

namespace notch::optim {

Ema::Ema(std::vector<ParamGroup> groups, double decay)
    : groups_(std::move(groups)),
      layout_(groups_, FlatLayout::Gradients::ignored),
      decay_(decay),
      average_(layout_.size()) {
  check(decay >= 0 && decay < 1, "ema", "decay = ", decay, " is not in [0, 1)");
  for (const FlatRun& run : layout_.runs()) {
    std::ranges::copy(run.values, FlatLayout::part(average_, run).begin());
  }
}

void Ema::update() {
  check(!swapped_, "ema", "update while the parameters hold the averages");
  for (const FlatRun& run : layout_.runs()) {
    kernels::ema(FlatLayout::part(average_, run), run.values, decay_);
  }
}

void Ema::take() {
  check(!swapped_, "ema", "take while the parameters hold the averages");
  for (const FlatRun& run : layout_.runs()) {
    std::ranges::copy(FlatLayout::part(average_, run), run.values.begin());
  }
}

std::vector<StateTensor> Ema::state() {
  check(!swapped_, "ema", "state while the parameters hold the averages");
  return layout_.views("ema", average_);
}

void Ema::swap() {
  for (const FlatRun& run : layout_.runs()) {
    std::ranges::swap_ranges(run.values, FlatLayout::part(average_, run));
  }
  swapped_ = !swapped_;
}

EmaWeights::EmaWeights(Ema& ema) : ema_(ema) {
  check(!ema.swapped_, "ema", "the parameters hold the averages already");
  ema_.swap();
}

}  // namespace notch::optim
