// model.from: a directory decides [model], and a run goes on from its weights.
#include <algorithm>
#include <cmath>
#include <fstream>

#include "autograd/base/sha256.h"
#include "experiments/config/config_effects.h"
#include "nn/gpt.h"
#include "nn/llama.h"
#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"
#include "tests/experiments/tiny_experiment.h"

namespace starting_model_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

using Keys = std::vector<std::string>;

void save(const nn::Model& model, const data::Tokenizer& tokenizer, const fs::path& dir) {
  fs::create_directories(dir);
  nn::save_model(model, dir);
  tokenizer.save(dir);
}

/// A GPT of nobody's usual sizes and a Llama, as directories, and configurations that begin there.
struct Models {
  TemporaryDirectory directory{};

  Models() {
    nn::Gpt gpt({.vocab_size = 260,  // padded: the tokenizer has 256
                 .block_size = 24,
                 .n_layer = 2,
                 .n_head = 2,
                 .n_embd = 8,
                 .bias = true,
                 .gelu = Gelu::tanh,
                 .n_inner = 20,
                 .layer_norm_epsilon = 1e-3});
    gpt.init(3);
    save(gpt, data::Tokenizer::bytes(), directory / "gpt");
    nn::Llama llama({.vocab_size = 256,
                     .block_size = 24,
                     .n_layer = 1,
                     .n_head = 4,
                     .n_kv_head = 2,
                     .n_embd = 16,
                     .n_inner = 24,
                     .rope_theta = 500,
                     .rms_norm_eps = 1e-4,
                     .tie_embeddings = true});
    llama.init(4);
    save(llama, data::Tokenizer::bytes(), directory / "llama");
  }
  LoadedConfig load(const std::string& text, const Keys& overrides = {}) const {
    std::ofstream(directory / "x.toml") << text;
    return load_config(directory / "x.toml", overrides);
  }
  std::string at(const char* name) const { return (directory / name).string(); }
};

TEST_CASE("a starting model decides its keys, others are refused") {
  const Models models;
  const ExperimentConfig c = models.load("[model]\nfrom = 'gpt'\n[qat]\nsteps = 5\n").config;
  CHECK(c.model == ModelConfig{.from = models.at("gpt"),
                               .n_layer = 2,
                               .n_head = 2,
                               .n_embd = 8,
                               .n_inner = 20,
                               .block_size = 24,
                               .bias = true,
                               .gelu = Gelu::tanh});
  CHECK(c.data.tokenizer == "byte");
  CHECK(c.train.steps == 0);
  const ExperimentConfig llama = models.load("[model]\nfrom = 'llama/'\n").config;
  CHECK(llama.model == ModelConfig{.from = models.at("llama"),
                                   .architecture = "llama",
                                   .n_layer = 1,
                                   .n_head = 4,
                                   .n_kv_head = 2,
                                   .n_embd = 16,
                                   .n_inner = 24,
                                   .block_size = 24,
                                   .rope_theta = 500,
                                   .rms_norm_eps = 1e-4});

  for (const char* key : {"n_layer = 4", "n_embd = 16", "gelu = 'exact'", "bias = false",
                          "block_size = 25", "architecture = 'llama'"}) {
    const std::string set = key;
    CAPTURE(set);
    const ErrorParts e = error_of([&] { models.load("[model]\nfrom = 'gpt'\n" + set); });
    CHECK(e.fault == Fault::usage);
    CHECK(e.field == "model." + set.substr(0, set.find(' ')));
    CHECK(e.where.find("x.toml:3") != std::string::npos);
    const bool shorter_does = e.field == "model.block_size";
    CHECK(e.hint.starts_with(shorter_does ? "at most 24, or leave it out" : "leave it out"));
  }
  CHECK(error_of([&] {
          models.load("[model]\nfrom = 'gpt'\n[data]\ntokenizer = 'char'\n");
        }).field == "data.tokenizer");
  CHECK(error_of([&] { models.load("[model]\nfrom = 'gpt'\n", {"model.n_layer=3"}); }).where ==
        "command line");
  // The same said twice, a shorter context and training's dropout contradict nothing.
  CHECK(models.load("[model]\nfrom = 'gpt'\nn_embd = 8\nn_inner = 20\n").config.model == c.model);
  const ModelConfig own =
      models.load("[model]\nfrom = 'gpt'\nblock_size = 16\ndropout = 0.1\n").config.model;
  CHECK(own.block_size == 16);
  CHECK(own.dropout == 0.1);
  // The command line decides over the file, as with a text.
  const LoadedConfig over = models.load("[model]\nn_layer = 3\n[train]\nsteps = 9\nwarmup = 1\n",
                                        {"model.from=" + models.at("gpt")});
  CHECK(over.config.model == c.model);
  CHECK(over.config.train.steps == 0);
  CHECK(over.unused == Keys{"train.warmup"});
}

TEST_CASE("what a starting model rules out is refused") {
  const Models models;
  const std::string from = "[model]\nfrom = 'gpt'\n";
  CHECK(error_of([&] { models.load("[train]\nsteps = 0\n"); }).field == "train.steps");
  CHECK(error_of([&] { models.load(from + "[qat]\nfrom = 'scratch'\n"); }).field == "qat.from");
  const LoadedConfig endless = models.load(from);
  CHECK(error_of([&] { check_rows(endless.config, 256, endless.origins); }).field == "qat.steps");
  for (const char* key :
       {"warmup=3", "min_lr=1e-5", "schedule=linear", "ema=0.9", "weight_decay=0"}) {
    const std::string set = str("train.", key);
    CHECK(error_of([&] { models.load(from, {set}); }).field == set.substr(0, set.find('=')));
  }
  const LoadedConfig rounds =
      models.load(from + "[quant]\nmethods = ['rtn', 'gptq']\ncontrol = false\n");
  CHECK_NOTHROW(check_rows(rounds.config, 256, rounds.origins));
  // Nobody asked for a control, and no row trains: there are no steps that it could have.
  const std::string rounding = from + "[quant]\nmethods = ['rtn', 'gptq']\n";
  const LoadedConfig alone = models.load(rounding);
  CHECK(alone.config == rounds.config);
  CHECK_NOTHROW(check_rows(alone.config, 256, alone.origins));
  const LoadedConfig asked = models.load(rounding + "control = true\n");
  CHECK(error_of([&] { check_rows(asked.config, 256, asked.origins); }).field == "qat.steps");
  CHECK(models.load(rounding + "[qat]\nsteps = 3\n").config.quant.control);
  CHECK(models.load(rounding + "[train]\nsteps = 3\n").config.quant.control);
  CHECK(models.load(from + "[[row]]\nmethod = 'qat-ste'\nbits = 4\n").config.quant.control);
  CHECK_FALSE(models.load(from + "[[row]]\nmethod = 'rtn'\nbits = 4\n").config.quant.control);

  const auto refused = [&](const std::string& name) {
    return error_of([&] { models.load("[model]\nfrom = '" + name + "'\n"); });
  };
  CHECK(refused("nowhere").fault == Fault::io);
  CHECK(refused("nowhere").field == "model.from");
  std::ofstream(models.directory / "model.gguf") << "GGUF";
  CHECK(refused("model.gguf").hint.find("notch export") != std::string::npos);
  const Json config = nn::read_config_json(models.directory / "gpt");
  const auto spoil = [&](const char* key, const Json& value) {
    Json other = config;
    other.set(key, value);
    std::ofstream(models.directory / "gpt/config.json") << other.dump();
  };
  spoil("quantization_config", Json::parse("{\"quant_method\": \"notch\"}", ""));
  CHECK(refused("gpt").what.find("quantized already") != std::string::npos);
  // A directory that changed since its configuration was read.
  spoil("n_head", Json(std::int64_t{4}));
  const auto first = [&] { first_model(rounds.config, 256, 1); };
  CHECK(error_of(first).field == "model.from");
  spoil("n_head", Json(std::int64_t{2}));
  CHECK_NOTHROW(first());
  CHECK(error_of([&] { first_model(rounds.config, 261, 1); }).found == "261");
}

TEST_CASE("without steps fp32 is the directory's model, in context") {
  const Models models;
  for (const char* name : {"gpt", "llama"}) {
    CAPTURE(name);
    ExperimentConfig config =
        models
            .load(str("seeds = [1]\n[data]\nsentences = 100\ntask_examples = 0\n[model]\nfrom = '",
                      name,
                      "'\nblock_size = 16\n[quant]\nbits = 8\nmethods = ['rtn', 'qat-lsq']\n"
                      "[qat]\nsteps = 2\n"))
            .config;
    const Data data = load_data(config, {});
    const fs::path run = models.directory / str("run-", name);
    const std::vector<SeedResults> seeds = run_all(config, data, run, Earlier::refuse);
    const auto from = nn::load_model(models.directory / name),
               fp32 = nn::load_model(run / "models/fp32-seed1");
    CHECK(fp32->sizes().block_size == 16);
    CHECK(fp32->sizes().vocab_size == from->sizes().vocab_size);
    for (const Param& p : fp32->params().params()) {
      CAPTURE(p.name);
      const std::span<const real> values = from->params().find(p.name)->value.flat();
      CHECK(std::ranges::equal(p.value.flat(), values.first(p.value.flat().size())));
    }
    // Epsilons, activations: the same logits from the same tokens.
    const std::vector<std::int32_t> ids{1, 200, 77, 9};
    Graph a, b;
    a.begin(Graph::Mode::inference);
    b.begin(Graph::Mode::inference);
    CHECK(std::ranges::equal(from->logits(a, {ids, 1, 4}).value().flat(),
                             fp32->logits(b, {ids, 1, 4}).value().flat()));
    CHECK(seeds[0].rows.size() == 5);  // fp32, its control, rtn of both, qat-lsq
    for (const RowResult& row : seeds[0].rows) CHECK(std::isfinite(row.eval.loss));
    const std::string report = read_file(run / "results.md");
    CHECK(report.find(str("starting from ", name, " (sha256 ", data.model_sha256.substr(0, 12))) !=
          std::string::npos);
    CHECK(report.find(str("fp32 is ", name, " as it is")) != std::string::npos);
    // The run's own configuration, wherever the directory went, and then the run again.
    const LoadedConfig kept = load_config(run / kResolvedConfig);
    config.out = run.string();
    CHECK(kept.config == config);
  }
}

TEST_CASE("training goes on from a directory as from its numbers") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.data.task_examples = 0;
  config.train.steps = 5;
  config.quant.bits = {4};
  config.quant.methods = {"rtn", "qat-lsq"};
  const Data data = load_data(config, {});
  const TemporaryDirectory directory;
  const auto drawn = first_model(config, data.source.tokenizer.vocab_size(), 1);
  save(*drawn, data.source.tokenizer, directory / "drawn");
  ExperimentConfig from = config;
  from.model.from = (directory / "drawn").string();
  CHECK(results_hash(run_all(from, load_data(from, {}), directory / "a", Earlier::refuse)) ==
        results_hash(run_all(config, data, directory / "b", Earlier::refuse)));
}

TEST_CASE("a resumed run has its model's contents, wherever they lie") {
  const Models models;
  ExperimentConfig config = models
                                .load(
                                    "[data]\nsentences = 100\ntask_examples = 0\n[model]\nfrom = "
                                    "'gpt'\n[quant]\nmethods = 'rtn'\ncontrol = false\n")
                                .config;
  const fs::path run = models.directory / "run";
  const auto begin = [&](Earlier earlier) {
    const RunDir dir(run, earlier);
    return begin_run(dir, config, load_data(config, {}));
  };
  begin(Earlier::refuse);
  fs::copy(models.directory / "gpt", models.directory / "moved");
  config.model.from = models.at("moved");
  CHECK(begin(Earlier::resume).empty());
  // Without it the run is another one, even of the same sizes.
  ExperimentConfig drawn = config;
  drawn.model.from.clear();
  drawn.train.steps = 1;
  std::swap(config, drawn);
  CHECK(error_of([&] { begin(Earlier::resume); }).fault == Fault::mismatch);
  std::swap(config, drawn);

  const fs::path weights = models.directory / "moved/model.safetensors";
  const std::string was = read_file(weights);
  std::string other = was;
  other.back() = static_cast<char>(other.back() ^ 1);
  write_file(weights, other);
  const ErrorParts e = error_of([&] { begin(Earlier::resume); });
  CHECK(e.fault == Fault::mismatch);
  CHECK(e.field == "model");
  CHECK(e.where == config.model.from);
  // The hash is the one of the bytes: of config.json's digest and the weights' in hexadecimal.
  const std::string expected = sha256(sha256_file(models.directory / "gpt/config.json") +
                                      sha256_file(models.directory / "gpt/model.safetensors"));
  CHECK(e.expected == "sha256 " + expected);
}

TEST_CASE("a run says what it makes of a longer model in 16 bits") {
  const Program program;
  REQUIRE(program.notch("export " + program.train() + " --format bf16 --out half -q").code == 0);
  const std::string run = "run text.txt model.from=half --methods rtn --bits 4 --out ";
  const Outcome cut = program.notch(run + "cut model.block_size=4");
  CAPTURE(cut.err);
  REQUIRE(cut.code == 0);
  CHECK(cut.err.find("context  4 of the 8 that the model has") != std::string::npos);
  CHECK(cut.err.find("so many have the models that this run writes") != std::string::npos);
  CHECK(cut.err.find("stored as BF16, kept here in 32 bits") != std::string::npos);
  for (const char* row : {"fp32", "rtn-int4"}) {
    const auto model = nn::read_config_json(program / str("cut/models/", row, "-seed1337"));
    CHECK(model.at("n_positions", row).as_int(row) == 4);
  }
  // The table's 32 bits and bytes are those of the file that was scored.
  const auto file =
      nn::SafetensorsFile::open(program / "cut/models/fp32-seed1337/model.safetensors");
  for (const nn::TensorEntry& e : file.entries()) CHECK(e.dtype == nn::DType::f32);
  CHECK(read_file(program / "cut/results.md").find("stored as BF16, kept here in 32 bits") !=
        std::string::npos);
  const Outcome whole = program.notch(run + "whole");
  REQUIRE(whole.code == 0);
  CHECK(whole.err.find("that the model has") == std::string::npos);
}

TEST_CASE("notch run begins with a model of one's own") {
  const Program program;
  const auto notch = [&](const std::string& arguments) {
    const Outcome outcome = program.notch(arguments);
    CAPTURE(arguments, outcome.err);
    CHECK(outcome.code == 0);
    return outcome.out + outcome.err;
  };
  notch("train tiny.toml --out base");
  const std::string model = "base/models/fp32-seed1337";
  const std::string run =
      "run text.txt model.from=" + model + " qat.steps=2 --methods rtn,qat-lsq --bits 4 --out mine";
  const std::string said = notch(run);
  CHECK(said.find("Starting from fp32-seed1337. ") != std::string::npos);
  CHECK(said.find("it is fp32 as it is") != std::string::npos);
  CHECK(said.find("QAT and its control alone, 2 steps of 128 tokens") != std::string::npos);
  CHECK(sha256_file(program / model / "model.safetensors") ==
        sha256_file(program / "mine/models/fp32-seed1337/model.safetensors"));
  CHECK(read_file(program / "mine/report.html").find("Starting from fp32-seed1337. ") !=
        std::string::npos);
  CHECK(notch(run).find("\nhash ") != std::string::npos);  // found finished
  CHECK(notch("report mine").find("\nhash ") != std::string::npos);
  program.shell("mv base gone");
  CHECK(program.notch("report mine").code != 0);
  notch("report mine model.from=gone/models/fp32-seed1337");
  // What a run reads is not where it writes.
  const Outcome own = program.notch(
      "run text.txt model.from=mine/models/fp32-seed1337 qat.steps=2 "
      "--out mine --force");
  CHECK(own.code == 2);
  CHECK(own.err.find("--force would replace") != std::string::npos);
}

}  // namespace starting_model_test
