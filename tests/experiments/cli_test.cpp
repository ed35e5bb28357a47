// The program from end to end on a model that trains in a blink.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>

#include "autograd/base/sha256.h"
#include "experiments/machine/machine.h"
#include "experiments/program/commands.h"
#include "nn/safetensors.h"
#include "tests/experiments/program.h"
#include "tests/folders.h"

namespace cli_test {

using namespace notch;
using namespace notch::experiments;
using test::first_row;
using test::Outcome;
using test::Program;
using test::rows_of;
using test::value;

std::vector<real> reals(const nn::SafetensorsFile& file, std::string_view name) {
  const nn::TensorEntry* entry = file.find(name);
  INFO(name);
  REQUIRE(entry != nullptr);
  std::vector<real> values(static_cast<std::size_t>(entry->size()));
  file.read(*entry, values);
  return values;
}

std::vector<std::int32_t> ids(const nn::SafetensorsFile& file, std::string_view name) {
  const nn::TensorEntry* entry = file.find(name);
  REQUIRE(entry != nullptr);
  REQUIRE(entry->dtype == nn::DType::i32);
  std::vector<std::int32_t> values(static_cast<std::size_t>(entry->size()));
  file.read_bytes(*entry, std::as_writable_bytes(std::span(values)));
  return values;
}

/// Mean cross-entropy from the definition.
double loss_of(const std::vector<real>& logits, const std::vector<std::int32_t>& targets) {
  const std::size_t V = logits.size() / targets.size();
  double total = 0;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    double sum = 0;
    for (std::size_t v = 0; v < V; ++v) sum += std::exp(static_cast<double>(logits[t * V + v]));
    total +=
        std::log(sum) - static_cast<double>(logits[t * V + static_cast<std::size_t>(targets[t])]);
  }
  return total / static_cast<double>(targets.size());
}

TEST_CASE("help of every verb starts with an example, on stdout") {
  const Program program;
  for (const Command& command : commands()) {
    const std::string verb(command.verb.name);
    for (const char* flag : {" -h", " --help"}) {
      const Outcome outcome = program.notch(verb + flag);
      CAPTURE(verb, flag);
      CHECK(outcome.code == 0);
      CHECK(outcome.err.empty());
      CHECK(outcome.out.starts_with("notch " + verb));
      for (const Flag& f : command.verb.flags) {
        CHECK(outcome.out.find("--" + std::string(f.name)) != std::string::npos);
      }
    }
  }
  const Outcome all = program.notch("--help");
  CHECK(all.code == 0);
  for (const Command& command : commands()) {
    CHECK(all.out.find("\n  " + std::string(command.verb.name)) != std::string::npos);
  }
}

TEST_CASE("the version is the project's") {
  const Program program;
  const std::string cmake = read_file(test::source_dir() / "CMakeLists.txt");
  CHECK(cmake.find("project(notch VERSION " + std::string(kVersion)) != std::string::npos);
  CHECK(program.notch("--version").out.starts_with("notch " + std::string(kVersion)));
  CHECK(program.notch("-v").out == program.notch("--version").out);
}

TEST_CASE("config prints what it reads, and a valid reference") {
  const Program program;
  REQUIRE(program
              .shell("notch config > all.toml && notch config all.toml > one.toml && "
                     "notch config one.toml > two.toml")
              .code == 0);
  CHECK(read_file(program / "one.toml") == read_file(program / "two.toml"));
  const Outcome changed = program.notch("config tiny.toml train.lr=0.25");
  CHECK(changed.out.find("lr = 0.25") != std::string::npos);
  CHECK(changed.err.find("train.lr") != std::string::npos);
}

TEST_CASE("eval on validation gives the loss that training reported") {
  const Program program;
  const Json trained = first_row(program.notch("train tiny.toml -q -o json"));
  const std::string model = trained.at("model", "row").as_string("model");
  CHECK(sha256_file(fs::path(model) / "model.safetensors") ==
        trained.at("sha256", "row").as_string("sha256"));
  const Json row =
      first_row(program.notch("eval " + model + " --text text.txt --split val -q -o json"));
  CHECK(value(row, "loss") == value(trained, "loss"));
  CHECK(value(row, "bits_per_byte") == value(trained, "bits_per_byte"));
  CHECK(value(row, "perplexity") == value(trained, "perplexity"));
  CHECK(value(row, "bits_per_weight") == 32);

  const Json whole = first_row(program.notch("eval " + model + " --text text.txt -q -o json"));
  const double bytes = static_cast<double>(fs::file_size(program / "text.txt"));
  CHECK(value(whole, "text_bytes") == bytes - 1);  // nothing predicts the first
  CHECK(value(whole, "tokens") == bytes - 1);      // one token per byte
  CHECK(value(whole, "bits_per_byte") == Approx(value(whole, "loss") / std::log(2.0)));

  const Json self = first_row(
      program.notch("eval " + model + " --base " + model + " --text text.txt -q -o json"));
  CHECK(value(self, "kl") == 0);
  CHECK(value(self, "same_top_pct") == 100);
  CHECK(value(self, "perplexity_change_pct") == 0);
}

TEST_CASE("dumped logits and gradients belong to the loss of eval") {
  const Program program;
  const bool biases = GENERATE(true, false);
  CAPTURE(biases);
  const std::string change = biases ? "" : "model.bias=false model.tie_embeddings=false";
  REQUIRE(program.notch("train tiny.toml -q model.dropout=0.5 " + change).code == 0);
  const std::string model = "run/models/fp32-seed1337";
  REQUIRE(program
              .notch("eval " + model +
                     " --text text.txt -q --windows 3 --dump-logits l.st --dump-grads g.st")
              .code == 0);
  const auto logits = nn::SafetensorsFile::open(program / "l.st");
  const auto gradients = nn::SafetensorsFile::open(program / "g.st");
  const auto weights = nn::SafetensorsFile::open(program / model / "model.safetensors");
  REQUIRE(logits.find("logits")->shape.size() == 3);
  CHECK(logits.find("tokens")->shape == nn::FileShape{3, 8});
  const std::vector<std::int32_t> tokens = ids(logits, "tokens"), targets = ids(logits, "targets");
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) CHECK(targets[i] == tokens[i + 1]);
  CHECK(ids(gradients, "tokens") == tokens);
  CHECK(ids(gradients, "targets") == targets);

  const auto loss = [&](const std::string& dir) {
    return value(
        first_row(program.notch("eval " + dir + " --text text.txt -q --windows 3 -o json")),
        "loss");
  };
  const double at = loss(model);
  CHECK(loss_of(reals(logits, "logits"), targets) == Approx(at).epsilon(1e-6));

  // A small step against the gradient, both as the files have them, lowers the loss by step·|g|².
  double squared = 0;
  std::map<std::string, std::vector<real>> moved;
  for (const nn::TensorEntry& entry : weights.entries()) {
    moved[entry.name] = reals(weights, entry.name);
    if (!gradients.find(entry.name)) {  // a bias that the model does not have
      CHECK(!biases);
      continue;
    }
    CHECK(gradients.find(entry.name)->shape == entry.shape);
    for (const real g : reals(gradients, entry.name)) squared += static_cast<double>(g) * g;
  }
  const double step = 2e-3 / squared;
  const auto loss_at = [&](double direction) {
    std::vector<nn::TensorSource> tensors;
    std::map<std::string, std::vector<real>> values = moved;
    for (const nn::TensorEntry& entry : weights.entries()) {
      std::vector<real>& w = values[entry.name];
      if (gradients.find(entry.name)) {
        const std::vector<real> g = reals(gradients, entry.name);
        for (std::size_t i = 0; i < w.size(); ++i)
          w[i] += static_cast<real>(direction * step * static_cast<double>(g[i]));
      }
      tensors.push_back(nn::real_tensor(entry.name, entry.shape, w));
    }
    fs::create_directory(program / "moved");
    for (const char* name : {"config.json", "tokenizer.json"}) {
      fs::copy_file(program / model / name, program / "moved" / name,
                    fs::copy_options::overwrite_existing);
    }
    nn::write_safetensors(program / "moved" / "model.safetensors", std::move(tensors));
    return loss("moved");
  };
  CHECK((loss_at(1) - loss_at(-1)) / (2 * step) == Approx(squared).epsilon(0.01));
}

TEST_CASE("a run keeps what it was started with") {
  const Program program;
  program.train();
  const Json env = Json::parse(read_file(program / "run/env.json"), "env.json");
  const Json::Array& words = env.at("command_line", "env").as_array("command_line");
  REQUIRE(words.size() == 4);
  CHECK(words[1].as_string("") == "train");
  CHECK(words[2].as_string("") == "tiny.toml");
  CHECK(env.at("openblas", "env").find("core") != nullptr);
}

TEST_CASE("quantize makes the artefact of an experiment's row") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  const std::string model = "run/models/fp32-seed1337";
  REQUIRE(program.notch("quantize " + model + " --method rtn --bits 8 --out small/q8").code == 0);
  CHECK(sha256_file(program / "small/q8/model.safetensors") ==
        sha256_file(program / "run/models/rtn-int8-seed1337/model.safetensors"));
}

TEST_CASE("quantize takes the keys of a method as an experiment does") {
  const Program program;
  const std::string model = program.train(), keys = "gptq.damp=0.5 calib.windows=4";
  const std::string quantize = "quantize " + model + " --method gptq --bits 3 -q ";
  const auto quantized = [&](const std::string& with, const std::string& name) {
    return first_row(program.notch(str(quantize, with, " --text text.txt -o json --out ", name)));
  };
  CHECK(value(quantized("gptq.damp=0.5 --calib-windows 4", "by-flag"), "damp") == 0.5);
  CHECK(value(quantized("calib.windows=4", "usual"), "damp") == 0.01);
  quantized(keys, "by-key");
  const auto hash = [&](const std::string& dir) {
    return sha256_file(program / dir / "model.safetensors");
  };
  CHECK(hash("by-key") == hash("by-flag"));
  CHECK(hash("by-key") != hash("usual"));
  quantized("quant.group_size=8 calib.windows=4", "group-key");
  quantized("--group 8 calib.windows=4", "group-flag");
  CHECK(hash("group-key") == hash("group-flag"));
  quantized("calib.windows=4 quant.at='[{bits = 3, set = [\"gptq.damp=0.5\"]}]'", "at-width");
  CHECK(hash("at-width") == hash("by-key"));
  CHECK(program.notch(quantize + "calib.source=self calib.windows=2 --out own").code == 0);
}

TEST_CASE("fewer bits make models smaller and further away") {
  const Program program;
  const std::string model = program.train();
  double last_kl = 0, last_bytes = 1e9;
  for (const std::string bits : {"8", "4", "2"}) {
    const std::string out = "q" + bits;
    const Outcome made = program.notch("quantize " + model + " --method gptq --bits " + bits +
                                       " --group 8 --scale f16 --embedding same --text text.txt" +
                                       " --calib-windows 8 -q -o json --out " + out);
    const Json layer = first_row(made);
    CHECK(value(layer, "output_error") <= value(layer, "rtn_output_error"));
    CHECK(rows_of(made).size() == 9);  // four matrices in each of two blocks, and the table
    const Json row = first_row(
        program.notch("eval " + out + " --base " + model + " --text text.txt -q -o json"));
    CHECK(value(row, "kl") > last_kl);
    CHECK(value(row, "file_bytes") < last_bytes);
    last_kl = value(row, "kl");
    last_bytes = value(row, "file_bytes");

    const Outcome inspected = program.notch("inspect " + out + " -q -o json");
    double bytes = 0;
    for (const Json& tensor : rows_of(inspected)) {
      bytes += value(tensor, "bytes");
      const std::string type = tensor.at("type", "tensor").as_string("type");
      if (type.starts_with("int")) CHECK(value(tensor, "entropy") <= std::stod(bits));
    }
    const std::string text = read_file(program / "text.txt");
    const auto V = static_cast<double>(std::set<char>(text.begin(), text.end()).size());
    const double C = 16, T = 8, weights = (V + T + 2) * C + 2 * (12 * C * C + 13 * C);
    CHECK(value(row, "bits_per_weight") == Approx(8 * bytes / weights));
  }
}

TEST_CASE("export codes a quantized model shorter, without loss") {
  const Program program;
  const std::string model = program.train();
  const Outcome quantized = program.notch("quantize " + model + " --method rtn --bits 4 --out q");
  REQUIRE(quantized.code == 0);
  CHECK(quantized.err.find("with --activations 8 its products would be") != std::string::npos);
  REQUIRE(program.notch("export q --format coded --out coded").code == 0);
  REQUIRE(program.notch("export coded --format packed --out back").code == 0);
  CHECK(sha256_file(program / "back/model.safetensors") ==
        sha256_file(program / "q/model.safetensors"));
  CHECK(read_file(program / "back/config.json") == read_file(program / "q/config.json"));
  const Json q = first_row(program.notch("eval q --text text.txt -q -o json"));
  const Json coded = first_row(program.notch("eval coded --text text.txt -q -o json"));
  CHECK(value(coded, "loss") == value(q, "loss"));
  CHECK(value(coded, "file_bytes") ==
        static_cast<double>(fs::file_size(program / "coded/model.safetensors")));
  // A few hundred codes of 8 bits do not pay for a table of their frequencies.
  REQUIRE(program.notch("quantize " + model + " --method rtn --bits 8 --out wide").code == 0);
  const Outcome larger = program.notch("export wide --format coded --out larger");
  CAPTURE(larger.err);
  CHECK(fs::file_size(program / "larger/model.safetensors") >=
        fs::file_size(program / "wide/model.safetensors"));
  CHECK(larger.err.find(str("--format packed, which takes ",
                            fs::file_size(program / "wide/model.safetensors"))) !=
        std::string::npos);
  const Outcome inspected = program.notch("inspect coded");
  REQUIRE(inspected.code == 0);
  for (const char* part : {"codes", "tables", "scales", "fp32", "header"}) {
    INFO(part);
    CHECK(inspected.out.find(str("\n  ", part, ' ')) != std::string::npos);
  }
  CHECK(program.notch("export " + model + " --format coded --out no").code == 3);
  CHECK(program.notch("export q --format coded --out back").code == 2);
  CHECK(program.notch("export q --out no").code == 2);
  CHECK_FALSE(fs::exists(program / "no"));
}

TEST_CASE("export writes a model as floats of 16 or 32 bits") {
  const Program program;
  const std::string model = program.train();
  REQUIRE(program.notch("export " + model + " --format bf16 --out half").code == 0);
  REQUIRE(program.notch("export half --format f32 --out back").code == 0);
  const auto full = nn::SafetensorsFile::open(program / model / "model.safetensors");
  const auto back = nn::SafetensorsFile::open(program / "back/model.safetensors");
  for (const nn::TensorEntry& entry : full.entries()) {
    const std::vector<real> before = reals(full, entry.name), after = reals(back, entry.name);
    for (std::size_t i = 0; i < before.size(); ++i) {
      const auto value = static_cast<float>(after[i]);
      REQUIRE((std::bit_cast<std::uint32_t>(value) & 0xFFFFu) ==
              0);  // 8 bits of a fraction are left
      REQUIRE(std::abs(after[i] - before[i]) <= std::abs(before[i]) / 256);
    }
  }
  const auto loss = [&](const std::string& name) {
    return value(first_row(program.notch("eval " + name + " --text text.txt -q -o json")), "loss");
  };
  CHECK(loss("half") == loss("back"));
  CHECK(static_cast<double>(fs::file_size(program / "half/model.safetensors")) <
        0.6 * static_cast<double>(fs::file_size(program / model / "model.safetensors")));

  const std::string quantize = "quantize " + model + " --method rtn --bits 4 -q --out ";
  REQUIRE(program.notch(quantize + "q").code == 0);
  REQUIRE(program.notch("export q --format f32 --out plain").code == 0);
  CHECK(loss("plain") == Approx(loss("q")).epsilon(1e-5));
  CHECK(loss("plain") != loss(model));
  REQUIRE(program.notch(quantize + "a8 --activations 8").code == 0);
  CHECK(program.notch("export a8 --format f16 --out no").code == 3);
  CHECK_FALSE(fs::exists(program / "no"));
}

TEST_CASE("layers can be skipped and given other bits") {
  const Program program;
  const std::string model = program.train();
  const Outcome made = program.notch(
      "quantize " + model +
      " --method rtn-mse --bits 4 --tensor 'h.0.*=8,h.0.mlp.c_fc=6' --skip 'h.1.*,wte' -q -o json"
      " --out q");
  std::map<std::string, std::string> specs;
  for (const Json& row : rows_of(made)) {
    specs[row.at("layer", "row").as_string("layer")] =
        row.at("spec", "row").as_string("spec").substr(0, 4);
  }
  CHECK(specs == std::map<std::string, std::string>{{"h.0.attn.c_attn", "int8"},
                                                    {"h.0.attn.c_proj", "int8"},
                                                    {"h.0.mlp.c_fc", "int6"},
                                                    {"h.0.mlp.c_proj", "int8"}});
}

TEST_CASE("samples repeat with the seed and go on from the prompt") {
  const Program program;
  const std::string model = program.train();
  const Outcome one = program.notch("sample " + model + " -p 'the quick' -n 40 --seed 5");
  CHECK(one.code == 0);
  CHECK(one.out.starts_with("the quick"));
  CHECK(one.out.size() == 9 + 40 + 1);  // one byte per token, and a last newline
  CHECK(program.notch("sample " + model + " -p 'the quick' -n 40 --seed 5 -t 1").out == one.out);
  CHECK(program.notch("sample " + model + " -p 'the quick' -n 40 --seed 6").out != one.out);
  const std::string greedy = "sample " + model + " --temperature 0 -n 20";
  CHECK(program.notch(greedy).out == program.notch(greedy + " -t 1").out);
  for (const char* flag : {" --seed 1", " --top-k 5", " --top-p 0.5"})
    test::check_refused(program.notch(greedy + flag), 2);
  CHECK(program.shell("notch sample " + model + " -q -n 5000 | head -c 10").err.empty());
}

TEST_CASE("a killed or stopped run resumes to the same weights") {
  const Program program;
  const std::string experiment = "train tiny.toml train.steps=400 train.checkpoint_every=20 -q ";
  const auto wait_for_checkpoint = [](const std::string& run) {
    return "until ls -d " + run +
           "/seed-1337/ckpt/fp32/step-*[0-9] >ls.log 2>&1; do "
           "kill -0 $pid 2>kill.log || break; done; ";
  };
  const Json undisturbed = first_row(program.notch(experiment + "--out other -o json"));
  program.shell("exec \"$NOTCH\" " + experiment + "& pid=$!; " + wait_for_checkpoint("run") +
                "kill -9 $pid; wait $pid");
  const Json resumed = first_row(program.notch(experiment + "--resume -o json"));
  CHECK(resumed.at("sha256", "row").as_string("") == undisturbed.at("sha256", "row").as_string(""));
  CHECK(read_file(program / "run/metrics.jsonl") == read_file(program / "other/metrics.jsonl"));

  const Outcome stopped = program.shell(
      "exec \"$NOTCH\" train tiny.toml train.steps=1000000 train.checkpoint_every=1 --out stopped "
      "-q & "
      "pid=$!; " +
      wait_for_checkpoint("stopped") + "kill -TERM $pid; wait $pid");
  CAPTURE(stopped.err);
  CHECK(stopped.code == 143);
  CHECK(stopped.err.find("--resume") != std::string::npos);
  CHECK(fs::exists(program / "stopped/seed-1337/ckpt/fp32"));
}

TEST_CASE("doctor finds the machine of the tests fit") {
  const Program program;
  const Outcome outcome = program.notch("doctor");
  CAPTURE(outcome.out, outcome.err);
  CHECK(outcome.code == 0);
  CHECK(outcome.out.find("OpenBLAS") != std::string::npos);
  CHECK(outcome.out.find("the bits of plain C++ in random products") != std::string::npos);
}

}  // namespace cli_test
