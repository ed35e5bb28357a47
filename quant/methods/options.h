// The options of the methods that round after training: each method's own, beside its code.
#pragma once

#include "quant/methods/adaround.h"
#include "quant/methods/aqlm.h"
#include "quant/methods/block_ap.h"
#include "quant/methods/gptq.h"
#include "quant/methods/gsq.h"
#include "quant/methods/hqq.h"
#include "quant/methods/llm_int8.h"
#include "quant/methods/lqer.h"
#include "quant/methods/mixed.h"
#include "quant/methods/prune.h"
#include "quant/methods/rtn.h"
#include "quant/methods/signround.h"
#include "quant/methods/smoothquant.h"
#include "quant/methods/spqr.h"

namespace notch::quant {

struct PostTrainingOptions {
  RtnOptions rtn{};  ///< a section of configurations has them among its own keys
  GptqOptions gptq{};
  HqqOptions hqq{};
  MixedOptions mixed{};
  PruneOptions prune{};
  SmoothQuantOptions smoothquant{};
  LlmInt8Options llm_int8{};
  LqerOptions lqer{};
  SpqrOptions spqr{};
  AqlmOptions aqlm{};
  AdaRoundOptions adaround{};
  SignRoundOptions signround{};
  GsqOptions gsq{};
  BlockApOptions block_ap{};
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
    v.section(self.smoothquant, {.name = "smoothquant",
                                 .help = "large channels of inputs moved into the weights",
                                 .of_rows = true});
    v.section(self.llm_int8, {.name = "llm_int8",
                              .help = "large channels of inputs multiplied in 16 bits",
                              .of_rows = true});
    v.section(self.lqer, {.name = "lqer",
                          .help = "a low-rank correction of GPTQ's error, in 16 bits",
                          .of_rows = true});
    v.section(self.spqr, {.name = "spqr",
                          .help = "GPTQ with the worst weights kept in 16 bits beside the codes",
                          .of_rows = true});
    v.section(self.aqlm, {.name = "aqlm",
                          .help = "additive codebooks, trained on the output of each layer",
                          .of_rows = true});
    v.section(self.adaround, {.name = "adaround",
                              .help = "up or down, learned from the outputs of blocks",
                              .of_rows = true});
    v.section(self.signround, {.name = "signround",
                               .help = "offsets and ranges by signed gradients of blocks' outputs",
                               .of_rows = true});
    v.section(self.gsq, {.name = "gsq",
                         .help = "GPTQ's codes refined by gradients of the model's output",
                         .of_rows = true});
    v.section(self.block_ap, {.name = "block_ap",
                              .help = "weights and scales trained on the outputs of blocks",
                              .of_rows = true});
  }
};

}  // namespace notch::quant
