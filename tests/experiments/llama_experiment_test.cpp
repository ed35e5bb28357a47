// A Llama through the program: configured, trained, quantized by every method, and every verb on it.
#include <cmath>
#include <set>

#include "experiments/config/config_effects.h"
#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"
#include "tests/experiments/tiny_experiment.h"

namespace llama_experiment_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

ErrorParts refusal(const std::string& model) {
  return error_of([&] {
    const LoadedConfig loaded = parse_config("[model]\n" + model, "x.toml");
    validate(loaded.config, loaded.origins);
  });
}

TEST_CASE("keys of one architecture are refused for the other") {
  const Program program;
  const auto refused = [&](const std::string& settings, const std::string& key,
                           const std::string& needs) {
    const Outcome outcome = program.notch("config " + settings);
    CAPTURE(outcome.err);
    CHECK(outcome.code == 2);
    CHECK(outcome.err.find(key) != std::string::npos);
    CHECK(outcome.err.find(needs) != std::string::npos);
  };
  program.write("gpt.toml", "[model]\nn_embd = 32\n");
  program.write("llama.toml", "[model]\narchitecture = 'llama'\n");
  for (const char* set : {"n_kv_head=2", "rope_theta=500", "rms_norm_eps=1e-6"})
    refused(str("gpt.toml model.", set), str("model.", set).substr(0, 10), "\"llama\"");
  for (const char* set : {"bias=true", "dropout=0.1", "gelu=tanh"})
    refused(str("llama.toml model.", set), str("model.", set).substr(0, 10), "\"gpt2\"");
  CHECK(program.notch("config llama.toml model.n_kv_head=2").code == 0);
}

TEST_CASE("heads that a Llama cannot have are refused") {
  const std::string llama = "architecture = 'llama'\nn_embd = 12\n";
  const ErrorParts odd = refusal(llama + "n_head = 4\n");
  CHECK(odd.field == "model.n_head");
  CHECK(odd.hint.find("1, 2, 3, 6") != std::string::npos);
  const ErrorParts shared = refusal(llama + "n_head = 6\nn_kv_head = 4\n");
  CHECK(shared.field == "model.n_kv_head");
  CHECK(shared.hint.find("1, 2, 3, 6") != std::string::npos);
  CHECK_NOTHROW(
      validate(parse_config("[model]\n" + llama + "n_head = 6\nn_kv_head = 2\n", "x").config));
}

TEST_CASE("every method runs on a Llama, and its rows are Llamas") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.model = {.architecture = "llama",
                  .n_layer = 2,
                  .n_head = 4,
                  .n_kv_head = 2,
                  .n_embd = 16,
                  .block_size = 32};
  config.train.steps = 60;
  config.quant.bits = {4};
  config.activations.bits = {0, 8};
  config.quant.control = false;
  const Data data = load_data(config, {});
  const TemporaryDirectory directory;
  const fs::path path = directory / "run";
  const std::vector<SeedResults> seeds = run_all(config, data, path, Earlier::refuse);
  std::set<std::string> methods;
  for (const RowResult& row : seeds[0].rows) {
    INFO(row.name);
    methods.insert(row.method);
    CHECK(std::isfinite(row.eval.loss));
    CHECK(row.eval.loss < std::log(60.0));  // better than one character as likely as another
  }
  CHECK(methods.size() == config.quant.methods.size() + 1);
  CHECK(nn::load_model(path / "models/fp32-seed1")->architecture() == "llama");
  // Killed and begun again, nothing is made anew.
  CHECK(results_hash(run_all(config, data, path, Earlier::resume)) == results_hash(seeds));
}

TEST_CASE("the verbs take a Llama as they take a GPT") {
  const Program program;
  program.write("x.toml", R"(seeds = [1]
row = {method = "fp32"}
[data]
sentences = 300
task_examples = 0
[model]
architecture = "llama"
n_layer = 1
n_head = 4
n_kv_head = 2
n_embd = 32
block_size = 64
[train]
steps = 20
batch_size = 4
)");
  const auto run = [&](const std::string& command) {
    const Outcome outcome = program.notch(command);
    CAPTURE(command, outcome.err);
    CHECK(outcome.code == 0);
    return outcome.out + outcome.err;
  };
  CHECK(run("train x.toml --out run").find("llama") != std::string::npos);
  const std::string model = "run/models/fp32-seed1";
  REQUIRE(fs::exists(program / model / "config.json"));
  CHECK(run("inspect " + model).find("Llama: 1 layers, 4 heads, 2 heads of keys") !=
        std::string::npos);
  run("inspect --memory " + model);
  run("quantize " + model + " --method rtn --bits 4 --group 32 --out int4");
  run("quantize " + model + " --method rtn --bits 8 --activations 8 --out int8");
  run("export int4 --format coded --out coded");
  run("graph " + model + " --recipe qat-lsq --block 0");
  const std::string greedy = " -n 20 --temperature 0 -p 'the'";
  const std::string text = program.notch("sample int4" + greedy).out;
  CHECK(program.notch("sample coded" + greedy).out == text);
  CHECK(program.notch("sample int4 --draft int8" + greedy).out == text);
  run("sample int4 --kv-cache int8" + greedy);
  run("bench " + model + " int4 --prompt 16 --batch 1 --rounds 1");
}

}  // namespace llama_experiment_test
