// The training bench: what is counted, what is measured, and what the program prints. No times.
#include "experiments/bench/training_bench.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "autograd/base/json.h"
#include "experiments/bench/gemm_floor.h"
#include "experiments/bench/gptq_bench.h"
#include "nn/gpt.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"

namespace training_bench_test {

using namespace notch;
using namespace notch::experiments;

/// T with two small layers.
BenchSubject tiny(const std::vector<std::string>& more = {}) {
  std::vector<std::string> changes = {"model.n_layer=2", "model.n_embd=16", "model.n_head=2",
                                      "model.block_size=8", "train.batch_size=3"};
  changes.insert(changes.end(), more.begin(), more.end());
  return bench_shape("T", changes);
}

const OpTime* find(const StepSplit& split, std::string_view op, std::string_view layer) {
  const auto at = std::ranges::find_if(
      split.ops, [&](const OpTime& o) { return o.op == op && o.layer == layer; });
  return at == split.ops.end() ? nullptr : &*at;
}

TEST_CASE("the FLOP of a step are those of its matrix products") {
  // 24 tokens. Per token and layer, multiply-adds: c_attn 16·48, c_proj 16·16, c_fc 16·64, mlp
  // c_proj 64·16 = 3072; head 11·16 = 176. Scores and their use over 8 positions: 2·8·16 = 256 per
  // layer. Each costs 2 FLOP forward and twice that backward.
  const nn::Gpt model({.vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 16});
  CHECK(step_flops(model, 3) == 24.0 * 6 * (2 * 3072 + 176 + 2 * 256));
}

TEST_CASE("the floor has every matrix product and leaves the model") {
  nn::Gpt model({.vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 16});
  model.init(1);
  model.params().allocate_gradients();
  const auto before = nn::clone(model);
  GemmFloor floor(model, 3);
  floor.run();
  std::set<std::string> names;
  for (const GemmFloor::Row& row : floor.run()) names.insert(row.op + " " + row.layer);
  CHECK(names == std::set<std::string>{"linear attn.c_attn", "linear attn.c_proj",
                                       "linear mlp.c_fc", "linear mlp.c_proj", "causal_attention ",
                                       "head_loss lm_head"});
  for (const Param& p : model.params().params()) {
    CHECK(std::ranges::equal(p.value.flat(), before->params().find(p.name)->value.flat()));
    CHECK(std::ranges::all_of(p.grad.flat(), [](real g) { return g == 0; }));
  }
}

TEST_CASE("a bench has every recipe, width and round") {
  const TrainingBench bench =
      bench_training(tiny({"quant.bits=8,4"}),
                     {.recipes = {"fp32", "qat-ste", "qat-lsq-kd"}, .rounds = 3, .steps = 2});
  std::vector<std::string> names;
  for (const BenchedRecipe& r : bench.recipes) {
    names.push_back(r.name);
    CHECK(r.ms.size() == 3);
    CHECK(r.min_ms() <= r.median_ms());
  }
  CHECK(names == std::vector<std::string>{"fp32", "qat-ste-int8", "qat-ste-int4", "qat-lsq-kd-int8",
                                          "qat-lsq-kd-int4"});
  CHECK(bench.floor_ms.size() == 3);
  CHECK(bench.ratio(0) == 1);
  CHECK(bench.tokens() == 24);
  CHECK(bench_table({bench}).rows().size() == 5);
}

TEST_CASE("a bench of what trains beside codes alone has a floor") {
  const TrainingBench floats =
      bench_training(tiny(), {.recipes = {"fp32"}, .rounds = 1, .steps = 1});
  for (const char* recipe : {"qlora", "efficient-qat"}) {
    INFO(recipe);
    const TrainingBench bench =
        bench_training(tiny(), {.recipes = {recipe}, .rounds = 1, .steps = 1});
    REQUIRE(bench.recipes.size() == 1);
    CHECK(bench.floor_ms.at(0) > 0);
    CHECK(bench.flops == floats.flops);
    CHECK(bench.parameters == floats.parameters);
    if (recipe != std::string_view("qlora")) continue;
    // The floor is that of the whole matrix' product, not of the small ones beside it.
    const StepSplit& split = bench.recipes[0].split;
    REQUIRE(find(split, "served_product", "mlp.c_fc"));
    REQUIRE(find(split, "linear", "mlp.c_fc"));
    CHECK(find(split, "served_product", "mlp.c_fc")->floor > 0);
    CHECK(find(split, "linear", "mlp.c_fc")->floor < 0);
  }
}

TEST_CASE("a bench's split names every op, with floors of products") {
  const TrainingBench bench =
      bench_training(tiny(), {.recipes = {"fp32", "qat-lsq-kd"}, .rounds = 1, .steps = 1});
  for (const BenchedRecipe& r : bench.recipes) {
    for (const char* layer : {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}) {
      const OpTime* linear = find(r.split, "linear", layer);
      REQUIRE(linear);
      CHECK(linear->floor > 0);
      CHECK((find(r.split, "fake_quant_lsq", layer) != nullptr) == (r.name != "fp32"));
    }
    for (const char* op : {"zero gradients", "gradient norm", "update"}) {
      REQUIRE(find(r.split, op, ""));
      CHECK(find(r.split, op, "")->optimizer > 0);
    }
    REQUIRE(find(r.split, "causal_attention", ""));
    CHECK(find(r.split, "causal_attention", "")->floor > 0);
    REQUIRE(find(r.split, "head_loss", "lm_head"));
    CHECK((find(r.split, "teacher", "") != nullptr) == (r.name != "fp32"));
    double sum = r.split.other;
    for (const OpTime& op : r.split.ops) sum += op.total();
    CHECK(sum == Approx(r.split.total));
    CHECK(r.split.other >= 0);
    CHECK((r.split.quantizer > 0) == (r.name != "fp32"));
  }
}

TEST_CASE("a bench counts every batch of a step") {
  const BenchOptions options{.recipes = {"fp32"}, .rounds = 1, .steps = 1};
  const TrainingBench one = bench_training(tiny(), options);
  const TrainingBench four = bench_training(tiny({"train.grad_accum=4"}), options);
  CHECK(four.tokens() == 4 * 3 * 8);  // batches, windows, context
  CHECK(four.flops == 4 * one.flops);
  CHECK(describe(four).at(0).find("batch 4 x 3,") != std::string::npos);
  CHECK(describe(four).at(0).find("96 tokens per step") != std::string::npos);
}

TEST_CASE("a floor is of the op that does its products") {
  CHECK(multiplies("linear", "linear"));
  CHECK(multiplies("quantized_linear", "linear"));
  CHECK(multiplies("served_product", "linear"));
  CHECK(multiplies("served_product", "head_loss"));
  CHECK(multiplies("causal_attention", "causal_attention"));
  CHECK_FALSE(multiplies("served_product", "causal_attention"));
  CHECK_FALSE(multiplies("linear", "head_loss"));
  CHECK_FALSE(multiplies("gelu", "linear"));
}

TEST_CASE("GPTQ is benched at every width of the configuration") {
  const auto specs = [](const std::vector<std::string>& changes) {
    std::vector<std::string> all = {"calib.windows=2"};
    all.insert(all.end(), changes.begin(), changes.end());
    std::vector<std::string> layer = {"c_fc"}, out;
    const Table table = bench_gptq(tiny(all), 1, layer);
    for (const std::vector<Cell>& row : table.rows())
      out.push_back(std::get<std::string>(row.at(2)));
    return out;
  };
  CHECK(specs({}) == std::vector<std::string>{"int4 narrow [-7,7] channel f32"});
  CHECK(specs({"quant.bits=4,3"}) == std::vector<std::string>{"int4 narrow [-7,7] channel f32",
                                                              "int3 narrow [-3,3] channel f32"});
  CHECK(specs({"quant.at=[{bits=4,grid=\"full\"}]"}) ==
        std::vector<std::string>{"int4 full [-8,7] channel f32"});
  CHECK(specs({"quant.at=[{bits=4,grid=\"full\"}]", "quant.bits=4,3", "activations.bits=8"}) ==
        std::vector<std::string>{"int4 full [-8,7] channel f32", "int3 narrow [-3,3] channel f32"});
}

TEST_CASE("what cannot be benched is refused") {
  CHECK(test::error_of([] { bench_shape("Q", {}); }).found == "Q");
  CHECK(test::error_of([] { bench_training(tiny(), {.recipes = {"rtn"}}); }).where == "--recipe");
  CHECK(test::error_of([] { tiny({"model.n_head=3"}); }).fault == Fault::usage);
}

TEST_CASE("notch bench train measures steps that need no heap") {
  test::Program program;
  const test::Outcome outcome = program.notch(
      "bench train --shape tiny.toml --recipe fp32,qat-ste,qat-lsq -r 2 --steps 3 --threads 1 -o "
      "json");
  const std::vector<Json> rows = test::rows_of(outcome);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].at("recipe", "row").as_string("row") == "fp32");
  CHECK(rows[1].at("recipe", "row").as_string("row") == "qat-ste-int8");
  CHECK(rows[2].at("recipe", "row").as_string("row") == "qat-lsq-int8");
  for (const Json& row : rows) {
    CHECK(row.at("tokens_per_s", "row").as_number("row") > 0);
    CHECK(row.at("peak_mb", "row").as_number("row") > 0);
#ifndef NOTCH_SANITIZED
    CHECK(row.at("allocations", "row").as_number("row") == 0);
#endif
  }
  const test::Outcome ops =
      program.notch("bench train --shape tiny.toml -r 1 --steps 1 --ops -o csv");
  CHECK(ops.code == 0);
  CHECK(ops.out.find("linear,mlp.c_fc") != std::string::npos);
}

TEST_CASE("notch bench refuses what it does not know") {
  test::Program program;
  CHECK(program.notch("bench sleep").code == 4);  // no such model directory
  CHECK(program.notch("bench train --shape X").code == 2);
  CHECK(program.notch("bench train --recipe gptq").code == 2);
}

TEST_CASE("a bench refuses what it does not look at") {
  test::Program program;
  const auto refused = [&](const std::string& arguments, const char* says) {
    INFO(arguments);
    const test::Outcome outcome = program.notch("bench " + arguments);
    CHECK(outcome.code == 2);
    CHECK(outcome.err.find(says) != std::string::npos);
  };
  refused("models/fp32 --shape S", "--shape");
  refused("models/fp32 --sweep --shape S", "--shape");
  refused("--shape S --no-verify", "--no-verify");
  refused("train tiny.toml", "--shape tiny.toml");
  const std::string tiny = "train --shape tiny.toml -r 1 --steps 1 ";
  refused(tiny + "quant.methods=qat-ste", "--recipe");
  refused(tiny + "quant.bits=3", "--recipe");      // fp32 has no codes
  refused(tiny + "train.steps=7", "train.steps");  // --steps are a bench's
  refused(tiny + "qat.lr_scale=2 --recipe qat-ste", "qat.lr_scale");
  refused(tiny + "qlora.rank=2 --recipe qat-ste", "qlora.rank");
  refused("train --shape N data.kind=verbs", "data.kind");  // random tokens
  refused("gptq --shape tiny.toml train.lr=1", "train.lr");
  refused("gptq --shape tiny.toml hqq.iterations=3", "hqq.iterations");
  refused(tiny + "prune.method=magnitude --recipe qat-ste", "prune.method");
  // Codes to begin with are RTN's, whatever qat.from of the file says.
  program.shell("{ cat tiny.toml; echo '[qat]'; echo 'from = \"gptq\"'; } >warm.toml");
  refused("train --shape warm.toml -r 1 --steps 1 --recipe qlora gptq.damp=0.02", "gptq.damp");
  const std::string layer = "gptq --shape tiny.toml --layer c_fc -r 1 ";
  for (const char* unread : {"prune.method=magnitude", "calib.source=self",
                             "gptq.true_sequential=false", "gptq.true_sequential=true"})
    refused(layer + unread, "bench gptq --layer");
  CHECK(program.notch("bench gptq --shape tiny.toml -r 1 prune.method=magnitude").code == 0);
  CHECK(program.notch("bench " + tiny + "train.lr=1e-4 qlora.rank=2 quant.bits=3 --recipe qlora")
            .code == 0);
  CHECK(
      program.notch("bench gptq --shape tiny.toml --layer c_fc -r 1 gptq.damp=0.02 calib.windows=2")
          .code == 0);
}

TEST_CASE("a profiled training tells its split on stderr") {
  test::Program program;
  const test::Outcome outcome = program.notch("train tiny.toml --profile");
  REQUIRE(outcome.code == 0);
  CHECK(outcome.err.find("quantizer 0.00") != std::string::npos);
  CHECK(outcome.err.find("causal_attention") != std::string::npos);
  CHECK(outcome.out.find("causal_attention") == std::string::npos);
}

}  // namespace training_bench_test
