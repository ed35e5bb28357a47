// The sections of a configuration up to the fp32 model: text, model, training.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/base/field.h"
#include "autograd/kernels/activation.h"
#include "autograd/kernels/precision.h"
#include "data/batches.h"
#include "optim/schedule.h"
#include "quant/train/trained_inputs.h"

namespace notch::experiments {

struct DataConfig {
  std::string kind = "verbs";
  std::string path{};
  std::string tokenizer = "char";
  int bpe_vocab = 512;
  double val_fraction = 0.1;
  double test_fraction = 0.0;
  std::string score = "test";
  int sentences = 5500;
  int task_examples = 400;
  std::int64_t seed = 1;
  bool operator==(const DataConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.kind, {"kind", "built-in English verb sentences, or a text file, as path implies",
                  one_of({"verbs", "text"})});
    v(self.path, {"path", "UTF-8 text, relative to this file; in $NOTCH_DATA too; - is stdin"});
    v(self.tokenizer, {"tokenizer", "units of text", one_of({"byte", "char", "bpe"})});
    v(self.bpe_vocab, {"bpe_vocab", "tokens of the bpe tokenizer", between(257, 65536)});
    v(self.val_fraction,
      {"val_fraction", "share of the text for curves and tuning: its end, or before the test split",
       inside(0, 1)});
    v(self.test_fraction,
      {"test_fraction", "share of the text, at its end, that only the final table reads; 0 = none",
       from_below(0, 1)});
    v(self.score,
      {"score", "split the table is scored on: test, where there is one, or val, to tune on",
       one_of({"test", "val"})});
    v(self.sentences, {"sentences", "verbs: sentences to generate", between(100, 10'000'000)});
    v(self.task_examples,
      {"task_examples", "verbs: questions of the tense task; 0 = no task", between(0, 1'000'000)});
    v(self.seed, {"seed", "verbs: seed of the generator", at_least(0)});
  }
};

struct ModelConfig {
  std::string from{};
  std::string architecture = "gpt2";
  int n_layer = 4;
  int n_head = 4;
  int n_kv_head = 0;
  int n_embd = 128;
  int n_inner = 0;
  int block_size = 64;
  bool bias = false;
  double dropout = 0.0;
  kernels::Gelu gelu = kernels::Gelu::exact;
  bool tie_embeddings = true;
  double rope_theta = 10000;
  double rms_norm_eps = 1e-5;
  int outliers = 0;
  bool operator==(const ModelConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.from, {"from",
                  "model directory, ours or Hugging Face's, that fp32 begins as; it has the "
                  "sizes and the tokenizer, of which a run may use a shorter context"});
    v(self.architecture,
      {"architecture", "gpt2, or llama: RMSNorm, rotary positions, a gated MLP, no biases",
       one_of({"gpt2", "llama"})});
    v(self.n_layer, {"n_layer", "transformer blocks", between(1, 1024)});
    v(self.n_head, {"n_head", "attention heads; must divide n_embd", between(1, 1024)});
    v(self.n_kv_head,
      {"n_kv_head", "llama: heads of keys and values, which queries share; 0 = n_head",
       between(0, 1024)});
    v(self.n_embd, {"n_embd", "channels", between(1, 16384)});
    v(self.n_inner,
      {"n_inner", "channels inside the MLP; 0 = 4 n_embd (llama: 8/3, to 32s)", between(0, 65536)});
    v(self.block_size, {"block_size", "context length in tokens", between(1, 1 << 20)});
    v(self.bias, {"bias", "gpt2: biases in Linear and LayerNorm"});
    v(self.dropout, {"dropout", "gpt2: probability", from_below(0, 1)});
    v(self.gelu, {"gelu", "gpt2: exact, or GPT-2's tanh form"});
    v(self.tie_embeddings, {"tie_embeddings", "the head uses the token table"});
    v(self.rope_theta, {"rope_theta", "llama: base of the rotary positions", above(0)});
    v(self.rms_norm_eps, {"rms_norm_eps", "llama: added to the mean square", at_least(0)});
    v(self.outliers,
      {"outliers",
       "after training: channels of every norm that are made 30 to 100 times as large and divided "
       "by as much in the next weights, the same function in fp32; for methods that meet outliers",
       between(0, 16384)});
  }
};

struct TrainConfig {
  int steps = 2000;
  int batch_size = 12;
  int grad_accum = 1;
  double lr = 1e-3;
  double min_lr = -1;
  int warmup = -1;
  optim::Decay schedule = optim::Decay::cosine;
  std::string optimizer = "adamw";
  double beta1 = 0.9;
  double beta2 = 0.99;
  double eps = 1e-8;
  double momentum = 0.9;
  double weight_decay = 0.1;
  double clip = 1.0;
  double ema = 0.0;
  data::Order order = data::Order::random;
  int eval_every = 250;
  int eval_windows = 0;
  int checkpoint_every = 250;
  int keep_last = 2;
  int log_every = 10;
  kernels::Precision matmul = kernels::Precision::full;
  std::string products = "openblas";
  quant::InputBackward backward = quant::InputBackward::fp32;
  bool operator==(const TrainConfig&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.steps, {"steps", "optimizer updates; 0 = none, of a model.from", between(0, kMaxCount)});
    v(self.batch_size, {"batch_size", "windows per forward pass", between(1, 65536)});
    v(self.grad_accum, {"grad_accum", "forward passes per update", between(1, 65536)});
    v(self.lr, {"lr", "peak learning rate", above(0)});
    v(self.min_lr, {"min_lr", "last rate; -1 = a tenth of lr, at most 1e-4", at_least(-1)});
    v(self.warmup,
      {"warmup", "steps of linear increase; the last has the peak; -1 = a tenth, at most 100",
       between(-1, kMaxCount)});
    v(self.schedule, {"schedule", "after the warm-up"});
    v(self.optimizer, {"optimizer", "update rule", one_of({"adamw", "sgd"})});
    v(self.matmul, {"matmul", "operands of the products with weights"});
    v(self.products,
      {"products", "by OpenBLAS, or portable: every number the same bits on any x86-64 CPU",
       one_of({"openblas", "portable"})});
    v(self.backward, {"backward", "qat- rows: products for gradients of rounded inputs"});
    v(self.beta1, {"beta1", "adamw: decay of the first moment", from_below(0, 1)});
    v(self.beta2, {"beta2", "adamw: decay of the second moment", from_below(0, 1)});
    v(self.eps, {"eps", "adamw: added to the root", above(0)});
    v(self.momentum, {"momentum", "sgd", from_below(0, 1)});
    v(self.weight_decay, {"weight_decay", "decoupled, on matrices only", at_least(0)});
    v(self.clip, {"clip", "largest global gradient norm; 0 = off", at_least(0)});
    v(self.ema, {"ema", "decay of the averaged weights; 0 = off", from_below(0, 1)});
    v(self.order, {"order", "windows of a batch"});
    v(self.eval_every,
      {"eval_every", "steps between validations; 0 = at the end", between(0, kMaxCount)});
    v(self.eval_windows,
      {"eval_windows", "windows of a validation while training; 0 = the whole split",
       between(0, kMaxCount)});
    v(self.checkpoint_every,
      {"checkpoint_every", "steps between checkpoints; 0 = at the end", between(0, kMaxCount)});
    v(self.keep_last, {"keep_last", "checkpoints to keep", between(1, 1000)});
    v(self.log_every, {"log_every", "steps between lines of the log", between(1, kMaxCount)});
  }
};

}  // namespace notch::experiments
