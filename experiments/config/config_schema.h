// The configuration of an experiment: one plain struct per section, and one `visit` per struct that
// names every field once. Parsing, printing, the reference listing, overrides and suggestions all
// walk `visit` (experiments/config/config.h), so they cannot disagree. A key: a member, a line there.
//
// What a method reads is a struct beside its code (GptqOptions, QatOptions), with its own `visit`.
// Other choices are kept as the words the user wrote.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/field.h"
#include "autograd/base/names.h"
#include "experiments/config/config_training.h"
#include "optim/schedule.h"
#include "quant/methods/methods.h"
#include "quant/methods/options.h"
#include "quant/numbers/activation.h"
#include "quant/numbers/format.h"
#include "quant/numbers/presets.h"
#include "quant/train/adapters.h"
#include "quant/train/qat.h"

namespace notch::experiments {

/// A plan rule: layers whose name matches get these bits. Later rules win.
struct LayerRule {
  std::string pattern{};
  int bits = 0;
  int activations = -1;
  bool operator==(const LayerRule&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.pattern, {"pattern", "layer names, * for any text: h.*.mlp.c_proj"});
    v(self.bits, {"bits", "1 to 8; 0 = stay in fp32", between(0, 8)});
    v(self.activations,
      {"activations", "bits of the layer's input; 0 = fp32, -1 = as the row's", between(-1, 8)});
  }
};

inline Domain or_inherit(std::vector<std::string_view> words) {
  words.insert(words.begin(), "inherit");
  return one_of(std::move(words));
}

inline std::vector<std::string_view> format_words() {
  std::vector<std::string_view> words = quant::preset_names();
  words.insert(words.begin(), "none");
  return words;
}

/// What rows of one width use instead of the experiment's settings.
struct WidthSettings {
  int bits = 0;
  std::string grid = "inherit";
  std::vector<std::string> set{};
  bool operator==(const WidthSettings&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.bits, {"bits", "of the rows", between(1, 8)});
    v(self.grid, {"grid", "inherit = as in [quant]; 2 bits have more levels with seq",
                  or_inherit(quant::grid_names())});
    v(self.set, {"set", "as a row's: [\"qat.lr_scale=1\", \"distill.alpha=0.5\"]"});
  }
};

struct QuantConfig {
  std::string format = "none";
  std::vector<int> bits{8, 6, 4};
  std::string grid = "narrow";
  std::string granularity = "channel";
  int group_size = 0;
  std::string scale = "f32";
  std::string embedding = "int8";
  std::vector<LayerRule> layers{};
  std::vector<WidthSettings> at{};
  quant::PostTrainingOptions options{};  ///< of the methods; percentile is among them
  std::vector<std::string> methods{"rtn", "rtn-mse", "gptq", "qat-ste", "qat-lsq", "qat-lsq-kd"};
  bool control = true;
  bool operator==(const QuantConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.format, {"format", quant::preset_help(), one_of(format_words())});
    v(self.bits, {"bits", "widths; each method runs at each", between(1, 8)});
    v(self.grid, {"grid", quant::grid_help(), one_of(quant::grid_names())});
    v(self.granularity,
      {"granularity", "weights that share a scale", one_of({"channel", "tensor", "group"})});
    v(self.group_size,
      {"group_size", "weights per group; implies granularity group", between(0, 65536)});
    v(self.scale, {"scale",
                   "stored type of scales; e8m0: powers of two, nested and bilevel: scales of scales, "
                   "8 and 3 bits each (post-training)",
                   one_of(words_of<quant::ScaleType>())});
    v(self.embedding, {"embedding", "token table: 8 bits, the row's bits, or fp32",
                       one_of({"int8", "same", "fp32"})});
    v(self.layers,
      {"layers",
       "rules {pattern, bits} in order; none = every Linear of the blocks at the row's bits"});
    v(self.at, {"at", "settings of a width, {bits, grid, set}: what suits 8 bits does not suit 2"});
    quant::RtnOptions::visit(self.options.rtn, v);
    v(self.methods, {"methods", quant::method_list()});
    v(self.control,
      {"control",
       "add fp32-continue (the steps of QAT without a quantizer, one for each setting that rows "
       "train with) and its RTN and GPTQ rows"});
  }
};

struct ActivationsConfig {
  std::vector<int> bits{0};
  quant::ActivationSpec spec{};  ///< of rows with activations, at their bits
  std::vector<std::string> asymmetric{"*.mlp.c_proj"};
  bool operator==(const ActivationsConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.bits,
      {"bits", "2 to 8; each width of quant.bits runs with each; 0 = fp32", between(0, 8)});
    v(self.spec.grid, {"grid",
                       "integer: the model multiplies integers; e4m3: rounded to FP8 (8 bits, range "
                       "dynamic), the model multiplies fp32, by weights on any grid"});
    v(self.spec.range, {"range", "every token's own, or one per layer from calibration text"});
    v(self.spec.symmetric, {"symmetric", "about 0; false = with a zero point"});
    v(self.asymmetric,
      {"asymmetric", "layers whose input has a zero point all the same: behind the GELU"});
    v(self.spec.observer, {"observer", "of static ranges"});
    v(self.spec.percentile, {"percentile",
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
      {"windows", "contexts of text that methods and observers see", between(1, 1'000'000)});
    v(self.source, {"source",
                    "the training split, or text that the model writes itself; never text "
                    "that is scored",
                    one_of({"train", "self"})});
    v(self.temperature,
      {"temperature", "source = \"self\": temperature of the sampling", above(0)});
  }
};

/// Of qat.from: what a row can begin with, gptq or else fp32.
inline constexpr std::string_view kAuto = "auto";
/// Words of qat.from: auto, fp32, scratch and the methods whose codes training can begin with.
std::vector<std::string_view> first_weights();

/// What there is to say of RowConfig::pipeline: how each stage is written (experiments/config/pipeline.h).
std::string_view pipeline_help();

/// Training through rounding: what happens in a step, and the loop around it.
struct QatConfig : quant::QatOptions {
  int steps = 0;
  double fraction = 0.1;
  int batch_size = 0;
  double lr_scale = 0.0;
  double min_lr_scale = 0.0;
  optim::Decay schedule = optim::Decay::cosine;
  double step_lr = 1e-3;
  double weight_decay = 0.0;
  std::string from{kAuto};
  double start = 0.0;
  double ema = 0.0;
  bool operator==(const QatConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.steps,
      {"steps", "updates after the fork; 0 = fraction of train.steps", between(0, kMaxCount)});
    v(self.fraction, {"fraction", "of train.steps, where steps is 0", above(0)});
    v(self.batch_size, {"batch_size", "windows; 0 = train.batch_size", between(0, 65536)});
    v(self.lr_scale,
      {"lr_scale",
       "peak learning rate, times train.lr; 0 = 0.25 for 3 blocks of 64 channels or less, half of "
       "that for eight times as many weights",
       at_least(0)});
    v(self.min_lr_scale,
      {"min_lr_scale", "learning rate at the end, times the peak", between(0, 1)});
    v(self.schedule, {"schedule", "from the first step, no warm-up"});
    QatOptions::visit_gradients(self, v);
    v(self.step_lr, {"step_lr", "learning rate of log(step size)", at_least(0)});
    v(self.weight_decay,
      {"weight_decay", "after the fork, the control's too; decay moves weights off their codes",
       at_least(0)});
    v(self.from, {"from",
                  "first weights: fp32, those a post-training method gives with its options, or "
                  "scratch = fp32's whole training again, with its schedule and data; auto = gptq, "
                  "or fp32 where a row cannot begin with its codes",
                  one_of(first_weights())});
    v(self.start, {"start",
                   "share of the schedule before rounding begins; from scratch, 0.7 is late in the "
                   "learning rate's decay",
                   from_below(0, 1)});
    QatOptions::visit_oscillation(self, v);
    v(self.ema,
      {"ema", "decay of averaged weights after the fork, rounded when they are evaluated; 0 = off",
       from_below(0, 1)});
    QatOptions::visit_inputs(self, v);
  }
};

struct DistillConfig {
  std::string teacher{};
  double temperature = 1.0;
  double alpha = 1.0;
  double reverse = 0.0;
  double hidden = 0.0;
  double lr_scale = 0.0;
  bool operator==(const DistillConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.teacher,
      {"teacher",
       "model directory with the run's tokenizer, of any size: fp32's training learns from it, and "
       "methods ending in -kd do in place of fp32"});
    v(self.temperature, {"temperature", "of teacher and student", above(0)});
    v(self.alpha,
      {"alpha", "weight of KL(teacher || student); cross-entropy gets 1 - alpha", between(0, 1)});
    v(self.reverse, {"reverse", "of which this share is KL(student || teacher)", between(0, 1)});
    v(self.hidden,
      {"hidden",
       "added to the loss, times this: mean square between the last hidden states of both, where "
       "they have equally many channels",
       at_least(0)});
    v(self.lr_scale,
      {"lr_scale", "peak learning rate of distilled rows, times train.lr; 0 = qat.lr_scale",
       at_least(0)});
  }
};

/// One explicit row of the results table.
struct RowConfig {
  std::string method{};
  int bits = 0;
  std::string grid = "inherit";
  std::string granularity = "inherit";
  int group_size = 0;
  std::string scale = "inherit";
  int activations = 0;
  std::string label{};
  std::vector<std::string> set{};
  std::vector<std::string> pipeline{};  ///< experiments/config/pipeline.h
  bool operator==(const RowConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.method, {"method", "fp32, fp16 or the name of a method"});
    v(self.bits, {"bits", "1 to 8; leave out for fp32 and fp16", between(0, 8)});
    v(self.grid, {"grid", "inherit = as in [quant], or as quant.at has it for the width",
                  or_inherit(quant::grid_names())});
    v(self.granularity,
      {"granularity", "inherit = as in [quant]", or_inherit({"channel", "tensor", "group"})});
    v(self.group_size,
      {"group_size", "weights per group; implies granularity group", between(0, 65536)});
    v(self.scale, {"scale", "inherit = as in [quant]", or_inherit(words_of<quant::ScaleType>())});
    v(self.activations, {"activations", "bits of what enters the layers; 0 = fp32", between(0, 8)});
    v(self.label, {"label", "shown in place of the method, where rows differ in settings alone"});
    v(self.set,
      {"set",
       "settings of this row alone, of [calib] and of methods' sections: [\"qat.start=0.5\"]"});
    v(self.pipeline, {"pipeline", pipeline_help()});
  }
};

struct ExperimentConfig {
  std::string name{};
  std::vector<std::int64_t> seeds{1337};
  std::string out{};
  int threads = 0;
  DataConfig data{};
  ModelConfig model{};
  TrainConfig train{};
  QuantConfig quant{};
  ActivationsConfig activations{};
  CalibConfig calib{};
  QatConfig qat{};
  DistillConfig distill{};
  quant::QloraOptions qlora{};
  std::vector<RowConfig> row{};
  bool operator==(const ExperimentConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.name, {"name", "of the experiment; default: the file's name"});
    v(self.seeds, {"seeds", "one complete run each; results are mean and spread", at_least(0)});
    v(self.out, {"out", "run directory, relative to this file; default: runs/<name>"});
    v(self.threads,
      {"threads", "0 = all cores; the results do not depend on it", between(0, 1024)});
    v.section(self.data, {"data", "the text"});
    v.section(self.model, {"model", "the language model"});
    v.section(self.train, {"train", "training in fp32"});
    v.section(self.quant, {"quant", "what the methods share"});
    v.section(self.activations, {"activations", "what enters quantized layers"});
    v.section(self.calib, {.name = "calib", .help = "calibration text", .of_rows = true});
    quant::PostTrainingOptions::visit(self.quant.options, v);
    v.section(self.qat, {.name = "qat",
                         .help = "quantization-aware training, and the control row beside it",
                         .of_rows = true});
    v.section(self.distill, {.name = "distill",
                             .help = "what learns from another model, and how",
                             .of_rows = true});
    v.section(self.qlora, {.name = "qlora",
                           .help = "low-rank products trained beside codes that stay",
                           .of_rows = true});
    v(self.row, {"row", "explicit rows of the table instead of quant.bits x quant.methods"});
  }
};

}  // namespace notch::experiments
