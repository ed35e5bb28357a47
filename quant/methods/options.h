// The options of the methods that round after training: each method's own, beside its code.
#pragma once

#include "quant/methods/gptq.h"
#include "quant/methods/hqq.h"
#include "quant/methods/mixed.h"
#include "quant/methods/prune.h"
#include "quant/methods/rtn.h"

namespace notch::quant {

struct PostTrainingOptions {
  RtnOptions rtn{};  ///< a section of configurations has them among its own keys
  GptqOptions gptq{};
  HqqOptions hqq{};
  MixedOptions mixed{};
  PruneOptions prune{};
  bool operator==(const PostTrainingOptions&) const = default;

  /// The sections. Their names are what rows of methods refer to (Method::section).
  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v.section(self.gptq, {.name = "gptq",
                          .help = "post-training rounding with second-order information",
                          .of_rows = true});
    v.section(self.hqq,
              {.name = "hqq", .help = "half-quadratic rounding, without text", .of_rows = true});
    v.section(self.mixed, {.name = "mixed",
                           .help = "widths that differ from layer to layer, by any method that rounds",
                           .of_rows = true});
    v.section(self.prune, {.name = "prune",
                           .help = "weights that become zero before the rest is rounded",
                           .of_rows = true});
  }
};

}  // namespace notch::quant
