// The sections of a configuration that belong to the methods: activations, calibration, GPTQ, QAT
// and distillation. experiments/config/config_schema.h has the rest and says how sections are written.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/config_fields.h"

namespace notch::experiments {

struct ActivationsConfig {
  std::vector<int> bits{0};
  std::string range = "dynamic";
  bool symmetric = true;
  std::vector<std::string> asymmetric{"*.mlp.c_proj"};
  std::string observer = "percentile";
  double percentile = 99.99;
  bool operator==(const ActivationsConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.bits,
      {"bits", "2 to 8; each width of quant.bits runs with each; 0 = fp32", between(0, 8)});
    v(self.range, {"range", "every token's own, or one per layer from calibration text",
                   one_of({"dynamic", "static"})});
    v(self.symmetric, {"symmetric", "about 0; false = with a zero point"});
    v(self.asymmetric,
      {"asymmetric", "layers whose input has a zero point all the same: behind the GELU"});
    v(self.observer, {"observer", "of static ranges",
                      one_of({"minmax", "moving_average", "percentile", "mse", "entropy"})});
    v(self.percentile, {"percentile",
                        "observer percentile: share of the values inside",
                        {.low = 50, .high = 100, .low_open = true}});
  }
};

struct CalibConfig {
  int windows = 128;
  std::string source = "train";
  double temperature = 1.0;
  bool operator==(const CalibConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.windows,
      {"windows", "contexts of text that observers and GPTQ see", between(1, 1'000'000)});
    v(self.source, {"source",
                    "the training split, or text that the model writes itself; never text "
                    "that is scored",
                    one_of({"train", "self"})});
    v(self.temperature, {"temperature", "source = \"self\": of its sampling", above(0)});
  }
};

struct GptqConfig {
  double damp = 0.01;
  bool act_order = true;
  bool true_sequential = false;
  bool static_groups = false;
  std::string clip = "output";
  double deviations = 3.0;
  double asymmetric = 0.25;
  int block = 128;
  bool operator==(const GptqConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.damp, {"damp", "times the mean of the Hessian's diagonal; raised by itself where needed",
                  between(0, 1)});
    v(self.act_order, {"act_order", "columns with the largest inputs first"});
    v(self.true_sequential, {"true_sequential", "layer after layer inside a block"});
    v(self.static_groups, {"static_groups", "group scales from the original weights"});
    v(self.clip, {"clip",
                  "ranges: absmax, least squares of the weights (mse), least error of the layer's "
                  "output, or standard deviations",
                  one_of({"absmax", "mse", "output", "deviations"})});
    v(self.deviations,
      {"deviations", "clip = \"deviations\": half the width of a range, in deviations", above(0)});
    v(self.asymmetric,
      {"asymmetric",
       "gptaq: share of the way to the weights that suit the quantized layers' inputs best",
       between(0, 1)});
    v(self.block, {"block", "columns per update; changes the speed only", between(1, 65536)});
  }
};

struct QatConfig {
  int steps = 0;
  double fraction = 0.1;
  int batch_size = 0;
  double lr_scale = 0.25;
  double min_lr_scale = 0.0;
  std::string schedule = "cosine";
  std::string ste = "clipped";
  std::string lsq_init = "mse";
  double step_lr = 1e-3;
  double weight_decay = 0.0;
  std::string from = "fp32";
  double start = 0.0;
  double freeze = 0.0;
  double dampen = 0.0;
  double ema = 0.0;
  std::string inputs = "method";
  double pact_decay = 1e-4;
  bool operator==(const QatConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.steps,
      {"steps", "updates after the fork; 0 = fraction of train.steps", between(0, kMaxCount)});
    v(self.fraction, {"fraction", "of train.steps, where steps is 0", above(0)});
    v(self.batch_size, {"batch_size", "windows; 0 = train.batch_size", between(0, 65536)});
    v(self.lr_scale, {"lr_scale", "peak learning rate, times train.lr", above(0)});
    v(self.min_lr_scale,
      {"min_lr_scale", "learning rate at the end, times the peak", between(0, 1)});
    v(self.schedule,
      {"schedule", "from the first step, no warm-up", one_of({"cosine", "linear", "constant"})});
    v(self.ste, {"ste", "gradient outside the range: 0 (clipped) or 1 (plain)",
                 one_of({"clipped", "plain"})});
    v(self.lsq_init, {"lsq_init", "first step sizes", one_of({"mse", "absmax", "paper"})});
    v(self.step_lr, {"step_lr", "learning rate of log(step size)", at_least(0)});
    v(self.weight_decay,
      {"weight_decay", "after the fork, the control's too; decay moves weights off their codes",
       at_least(0)});
    v(self.from, {"from",
                  "first weights: fp32, those a post-training method gives with its options, or "
                  "scratch = fp32's whole training again, with its schedule and data",
                  one_of({"fp32", "gptaq", "gptq", "rtn", "rtn-mse", "scratch"})});
    v(self.start, {"start",
                   "share of the schedule before rounding begins; from scratch, 0.7 is late in the "
                   "learning rate's decay",
                   from_below(0, 1)});
    v(self.freeze, {"freeze",
                    "how often a weight goes back and forth, per step, before it is frozen at its "
                    "average code (0.02 is often); 0 = never",
                    from_below(0, 1)});
    v(self.dampen, {"dampen", "last weight of the loss that draws weights to their codes; 0 = off",
                    at_least(0)});
    v(self.ema,
      {"ema", "decay of averaged weights after the fork, rounded when they are evaluated; 0 = off",
       from_below(0, 1)});
    v(self.inputs, {"inputs",
                    "static ranges of activations: as the method's weights (learned by lsq, else "
                    "fixed), or by lsq, by their clipping level alone (pact), or fixed",
                    one_of({"method", "lsq", "pact", "fixed"})});
    v(self.pact_decay,
      {"pact_decay", "inputs = \"pact\": times the square of the clipping level, in the loss",
       at_least(0)});
  }
};

struct DistillConfig {
  double temperature = 1.0;
  double alpha = 1.0;
  double reverse = 0.0;
  double lr_scale = 0.0;
  bool operator==(const DistillConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.temperature, {"temperature", "of teacher and student", above(0)});
    v(self.alpha,
      {"alpha", "weight of KL(teacher || student); cross-entropy gets 1 - alpha", between(0, 1)});
    v(self.reverse, {"reverse", "of which this share is KL(student || teacher)", between(0, 1)});
    v(self.lr_scale,
      {"lr_scale", "peak learning rate of distilled rows, times train.lr; 0 = qat.lr_scale",
       at_least(0)});
  }
};

}  // namespace notch::experiments
