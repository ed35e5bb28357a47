// Every key of a configuration: named in visit(), changed from its default, printed and read back.
#include <algorithm>
#include <set>
#include <sstream>
#include <string>

#include "experiments/config/config.h"
#include "experiments/config/config_items.h"
#include "tests/catch.h"

namespace config_keys_test {

using namespace notch;
using namespace notch::experiments;

ExperimentConfig parse(std::string text) { return parse_config(std::move(text), "x.toml").config; }

constexpr const char* kEverySection = R"(
name = "all \"odd\" \u00e9"
seeds = [1, 9_000_000_000]
out = "/tmp/x"
threads = 3
row = [{method = "fp16"}, {method = "rtn", bits = 4, granularity = "group", group_size = 32}]
[data]
kind = "text"
path = "a/b.txt"
tokenizer = "bpe"
bpe_vocab = 300
val_fraction = 0.25
test_fraction = 0.125
score = "val"
sentences = 100
task_examples = 0
seed = 5
[model]
from = "a/model"
architecture = "llama"
n_layer = 2
n_head = 3
n_kv_head = 1
n_embd = 96
n_inner = 64
block_size = 32
bias = true
dropout = 0.1
gelu = "tanh"
tie_embeddings = false
rope_theta = 500
rms_norm_eps = 1e-6
outliers = 3
[train]
steps = 7
batch_size = 2
grad_accum = 3
lr = 3.3e-3
min_lr = 0
warmup = 1
schedule = "linear"
optimizer = "sgd"
beta1 = 0.5
beta2 = 0.999
eps = 1e-10
momentum = 0.5
weight_decay = 0.2
clip = 0
ema = 0.99
order = "sequential"
eval_every = 1
eval_windows = 4
checkpoint_every = 2
keep_last = 1
log_every = 1
matmul = "bf16"
products = "portable"
backward = "int8"
[quant]
format = "q8_0"
bits = [2]
grid = "full"
granularity = "group"
group_size = 16
scale = "f16"
embedding = "same"
layers = [{pattern = "h.0.*", bits = 8}, {pattern = "h.*.mlp.c_proj", bits = 0}]
percentile = 99
at = [{bits = 2, grid = "asymmetric", set = ["qat.ema=0.5"]}]
methods = ["rtn"]
control = false
[activations]
bits = [6]
grid = "e4m3"
range = "static"
symmetric = false
asymmetric = []
observer = "mse"
percentile = 99
[calib]
windows = 4
source = "self"
temperature = 0.5
[gptq]
damp = 0.1
act_order = false
true_sequential = true
static_groups = true
clip = "deviations"
deviations = 2.5
asymmetric = 0.5
block = 16
[hqq]
p = 0.5
beta = 4
kappa = 1.5
iterations = 5
[mixed]
widths = [2, 8]
rule = "threshold"
windows = 9
[prune]
method = "wanda"
pattern = "2:4"
sparsity = 0.25
rounds = 3
[smoothquant]
alpha = 0.5
[llm_int8]
threshold = 4
[lqer]
rank = 2
[spqr]
threshold = 0.5
[aqlm]
rounds = 5
beam = 7
[adaround]
steps = 3
windows = 2
lr = 0.1
lambda = 2
[signround]
steps = 3
windows = 2
ranges = false
[gsq]
steps = 3
windows = 2
lr = 0.1
scale_lr = 0.01
temperature = 0.1
[block_ap]
steps = 3
windows = 2
lr = 0.1
scale_lr = 0.01
[qat]
steps = 3
fraction = 0.5
batch_size = 1
lr_scale = 0.5
min_lr_scale = 0.25
schedule = "constant"
ste = "plain"
lsq_init = "paper"
step_lr = 0.01
weight_decay = 0.01
from = "scratch"
start = 0.5
freeze = 0.02
dampen = 0.1
cage = 50
ema = 0.9
inputs = "pact"
pact_decay = 0.01
[distill]
teacher = "a/teacher"
reverse = 0.5
hidden = 0.5
lr_scale = 0.5
temperature = 2
alpha = 0.5
[qlora]
rank = 2
alpha = 4
lr_scale = 2
merge = true
)";

TEST_CASE("a configuration of all keys changes each and prints back") {
  const ExperimentConfig config = parse(kEverySection);
  CHECK(config.train.lr == 3.3e-3);
  CHECK(config.seeds == std::vector<std::int64_t>{1, 9'000'000'000});
  CHECK(config.quant.layers[1].pattern == "h.*.mlp.c_proj");
  CHECK(config.row[1].group_size == 32);
  CHECK(parse(to_toml(config)) == config);
  CHECK(parse(annotated_toml(config)) == config);
  // Every line changes, so none of them can be forgotten in visit().
  std::istringstream lines(to_toml(config)), defaults(to_toml({}));
  std::set<std::string> default_lines;
  for (std::string line; std::getline(defaults, line);) default_lines.insert(line);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" = ") == std::string::npos) continue;
    if (line.starts_with("bits = 0") || line.starts_with("granularity = \"inherit\"") ||
        line == "group_size = 0")
      continue;
    INFO(line);
    CHECK_FALSE(default_lines.count(line));
  }
}

TEST_CASE("every word of a key reads and prints as it was written") {
  int words = 0;
  for (const Item& item : items_of({})) {
    if (item.kind != ItemKind::string) continue;
    for (const std::string_view word : item.domain.words) {
      LoadedConfig loaded;
      apply_override(loaded, str(item.key(), '=', word));
      INFO(item.key() << ' ' << word);
      CHECK(loaded.overrides.back().after == toml::quote(word));
      ++words;
    }
  }
  CHECK(words > 60);
}

TEST_CASE("a row sets keys of every method's section, of no other") {
  const std::string row = "[[row]]\nmethod = \"gptq\"\nbits = 4\nlabel = \"a\"\nset = ['";
  const std::vector<Item> items = items_of({});
  for (const Item& item : items) {
    if (item.kind == ItemKind::section || item.section.empty()) continue;
    const bool trained_alike = item.key() == "qat.steps" || item.key() == "qat.fraction" ||
                               item.key() == "qat.batch_size" || item.key() == "distill.teacher";
    const bool of_method = item.section == "calib" || item.section == "distill" ||
                           item.section == "mixed" || item.section == "prune" ||
                           std::ranges::find(quant::methods(), item.section,
                                             &quant::Method::section) != quant::methods().end();
    INFO(item.key());
    const LoadedConfig loaded =
        parse_config(str(row, item.key(), '=', item.value, "']\n"), "x.toml");
    if (of_method && !trained_alike) {
      CHECK_NOTHROW(validate(loaded.config, loaded.origins));
    } else {
      CHECK(test::error_of([&] { validate(loaded.config, loaded.origins); }).field == "row[0].set");
    }
  }
}

}  // namespace config_keys_test
