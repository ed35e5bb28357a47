// The table of lessons. A row here makes a lesson known to `notch lesson` and to the tests.
#include <algorithm>
#include <array>

#include "experiments/lessons/lesson.h"

namespace notch::lessons {

void scalars(Page& page);
void order(Page& page);
void gradcheck(Page& page);
void own_op(Page& page);
void overfit(Page& page);
void adamw(Page& page);
void quantize(Page& page);
void granularity(Page& page);
void range(Page& page);
void ste(Page& page);
void lsq(Page& page);
void gptq(Page& page);
void distillation(Page& page);
void entropy(Page& page);
void roofline(Page& page);
void hexdump(Page& page);
void controls(Page& page);
void names(Page& page);
void mistakes(Page& page);

std::span<const Lesson> lessons() {
  static const std::array all = {
      Lesson{"01", "scalars", "Scalars and the tape",
             "what a derivative tells, and how a program finds it by walking back over a list of "
             "the operations it made",
             scalars},
      Lesson{"02", "order", "Order, accumulation, zeroing",
             "in which order gradients are passed on, why they are added up, and when they must be "
             "set to zero",
             order},
      Lesson{"03", "gradcheck", "Tensors and gradient checks",
             "what a tensor is, and how to check a gradient so that a mistake cannot hide",
             gradcheck},
      Lesson{"04", "own_op", "Write your own op",
             "what an op is: a name, a forward and a backward; and why backward adds", own_op},
      Lesson{"05", "overfit", "A GPT overfits one batch",
             "what a language model, its loss and a training loop are, and the first test of every "
             "model",
             overfit},
      Lesson{"06", "adamw", "AdamW by hand",
             "what the optimizer does with a gradient, number by number", adamw},
      Lesson{"07", "quantize", "Quantize: scales, zero points, ties",
             "how a weight becomes an integer, what rounding costs, and why two programs may round "
             "differently",
             quantize},
      Lesson{"08", "granularity", "Granularity and outliers",
             "how many weights may share a scale, and what one large weight does to the others",
             granularity},
      Lesson{"09", "range", "Choosing the range",
             "why the largest weight should often be clipped, and how a good range is found",
             range},
      Lesson{"10", "ste", "Fake quantization and the straight-through estimator",
             "how one trains through rounding, what the gradient pretends, and why weights "
             "oscillate",
             ste},
      Lesson{"11", "lsq", "LSQ: learn the step",
             "where the gradient of a step comes from, and that it finds a good step by itself",
             lsq},
      Lesson{"12", "gptq", "GPTQ by hand",
             "how one column's rounding error is made up for by the next, and four ways to get it "
             "wrong",
             gptq},
      Lesson{"13", "distillation", "Distillation, and why T²",
             "how a student learns from a teacher's probabilities, and what the temperature does",
             distillation},
      Lesson{"14", "entropy", "Bits, bytes, entropy",
             "what a quantized model weighs, scales included, and how far codes can be compressed",
             entropy},
      Lesson{"15", "roofline", "Roofline and KV cache",
             "why fewer bits are faster, and when they are not", roofline},
      Lesson{"16", "hexdump", "A packed tensor, byte by byte",
             "how codes and scales lie in a file, and which damage a reader can see", hexdump},
      Lesson{"17", "controls", "Head-to-head: the missing control",
             "how to read a table of methods, and which row to ask for", controls},
      Lesson{"18", "names", "The 200-line GPT, rebuilt",
             "that a GPT of single numbers and one on tensors are the same, and what 4 bits do to it",
             names},
      Lesson{"19", "mistakes", "Common mistakes",
             "seven mistakes that give no error message, and what each of them costs", mistakes},
  };
  return all;
}

}  // namespace notch::lessons
