// --ctx: texts cut in windows shorter than a model's context, which is as reading a model of that context.
#include <algorithm>
#include <cmath>
#include <map>

#include "data/tokenizer.h"
#include "experiments/program/commands.h"
#include "nn/architectures.h"
#include "nn/model_dir.h"
#include "tests/experiments/program.h"

namespace ctx_cli_test {

using namespace notch;
using test::check_refused;
using test::first_row;
using test::Outcome;
using test::Program;
using test::value;

constexpr std::int64_t kContext = 8, kShort = 4;

/// The model of `dir` for sequences of at most kShort tokens, in the directory `name`.
void shorten(const Program& program, const std::string& dir, const std::string& name) {
  fs::create_directories(program / name);
  nn::save_model(*nn::shortened(nn::load_model(program / dir), kShort), program / name);
  data::Tokenizer::load(program / dir).save(program / name);
}

Json config_of(const Program& program, const std::string& dir) {
  return nn::read_config_json(program / dir);
}

std::int64_t context_of(const Program& program, const std::string& dir) {
  const Json config = config_of(program, dir);
  const nn::Architecture& architecture = nn::architecture_of(config, dir);
  return config.at(architecture.context, dir).as_int(dir);
}

Json calibration_of(const Program& program, const std::string& dir) {
  return config_of(program, dir).at("quantization_config", dir).at("calibration", dir);
}

void done(const Program& program, const std::string& arguments) {
  const Outcome outcome = program.notch(arguments);
  INFO(arguments << ": " << outcome.err);
  REQUIRE(outcome.code == 0);
}

TEST_CASE("eval in shorter windows is that of a shorter context") {
  const Program program;
  const std::string text = " --text text.txt -q -o json";
  for (const std::string architecture : {"gpt2", "llama"}) {
    CAPTURE(architecture);
    // GGUF knows GELU by tanh alone.
    done(program, "train tiny.toml -q --out " + architecture + " model.n_embd=32 " +
                      (architecture == "llama" ? "model.architecture=llama" : "model.gelu=tanh"));
    const std::string model = architecture + "/models/fp32-seed1337", cut = architecture + "-cut",
                      small = architecture + "-small", of_cut = small + "-cut",
                      gguf = architecture + ".gguf";
    shorten(program, model, cut);
    const std::string round = " --method rtn --bits 4 --group 32 --scale f16 --embedding int8 -q";
    done(program, "quantize " + model + round + " --out " + small);
    done(program, "quantize " + cut + round + " --out " + of_cut);
    done(program, "export " + model + " --gguf " + gguf + " --gguf-type F32 -q");
    // Weights in floating point, packed codes, and one file.
    for (const auto& [whole, other] :
         {std::pair{model, cut}, {small, of_cut}, {gguf, cut}, {model, model}}) {
      CAPTURE(whole);
      const std::string base = " --base " + model;
      const Json shorter = first_row(program.notch("eval " + whole + base + text + " --ctx 4"));
      CHECK(value(shorter, "ctx") == kShort);
      if (whole == other) {  // a context is the default
        const Json said = first_row(program.notch("eval " + whole + base + text + " --ctx 8"));
        const Json unsaid = first_row(program.notch("eval " + whole + base + text));
        CHECK(said.dump() == unsaid.dump());
        CHECK(value(said, "ctx") == kContext);
        CHECK(value(said, "loss") != value(shorter, "loss"));
        continue;
      }
      const Json expected = first_row(program.notch("eval " + other + " --base " + cut + text));
      CHECK(value(expected, "ctx") == kShort);
      for (const char* key : {"loss", "perplexity", "kl", "tokens", "text_bytes"}) {
        CAPTURE(key);
        CHECK(value(shorter, key) == value(expected, key));
      }
    }
  }
}

TEST_CASE("dumps have windows of --ctx tokens") {
  const Program program;
  const std::string model = program.train();
  done(program, "eval " + model + " --text text.txt --ctx 4 --windows 3 --dump-logits l -q");
  const auto dump = nn::SafetensorsFile::open(program / "l");
  CHECK(dump.find("tokens")->shape == nn::FileShape{3, kShort});
  CHECK(dump.find("targets")->shape == nn::FileShape{3, kShort});
  const nn::FileShape logits = dump.find("logits")->shape;
  CHECK(logits ==
        nn::FileShape{
            3, kShort,
            config_of(program, model).at("vocab_size", "config.json").as_int("vocab_size")});
  const std::string help = program.notch("eval -h").out;
  for (const char* said : {"safetensors", "I32 [N, T]", "F32 [N, T, V]", "before the softmax"})
    CHECK(help.find(said) != std::string::npos);
}

TEST_CASE("a model calibrated in shorter windows keeps its context") {
  const Program program;
  const std::string model = program.train();
  shorten(program, model, "cut");
  const std::string quantize = "quantize ", round =
                                                " --method gptq --bits 4 --text text.txt "
                                                "--calib-windows 6 -q --out ";
  done(program, quantize + model + round + "plain");
  done(program, quantize + model + round + "short --ctx 4");
  done(program, quantize + "cut" + round + "of-cut");
  CHECK(context_of(program, "short") == kContext);
  CHECK(context_of(program, "of-cut") == kShort);
  const Json own = calibration_of(program, "short"), other = calibration_of(program, "of-cut"),
             plain = calibration_of(program, "plain");
  for (const char* key : {"tokens", "sha256"})
    CHECK(own.at(key, "").dump() == other.at(key, "").dump());
  CHECK(own.at("tokens", "").as_int("") == 6 * kShort);
  CHECK(own.at("ctx", "").as_int("") == kShort);
  CHECK(plain.at("tokens", "").as_int("") == 6 * kContext);
  CHECK(plain.find("ctx") == nullptr);
  // The codes are those of the shorter model, whatever is read of the longer one.
  const std::string eval = " --text text.txt -q -o json --ctx 4";
  CHECK(value(first_row(program.notch("eval short" + eval)), "loss") ==
        value(first_row(program.notch("eval of-cut" + eval)), "loss"));
  CHECK(read_file(program / "short/model.safetensors") !=
        read_file(program / "plain/model.safetensors"));
  const Outcome unread =
      program.notch(quantize + model + " --method rtn --bits 4 --out rtn --ctx 4");
  CHECK(unread.code == 0);
  CHECK(unread.err.find("--ctx is not read") != std::string::npos);
}

TEST_CASE("layers are weighed anew in windows of another length") {
  const Program program;
  const std::string model = program.train();
  // 392 tokens and a target: 49 windows of 8 and 98 of 4, of the same tokens in the same order.
  program.shell("head -c 393 text.txt >part.txt");
  std::vector<std::size_t> lines;
  for (const char* ctx : {"", " --ctx 8", " --ctx 4", " --ctx 4"}) {
    done(program, "quantize " + model +
                      " --method rtn --bits 2,4 --target-bytes 1MB --text part.txt -q "
                      "--sensitivity kept --out q" +
                      std::to_string(lines.size()) + ctx);
    const std::string kept = read_file(program / "kept");
    lines.push_back(static_cast<std::size_t>(std::ranges::count(kept, '\n')));
  }
  CHECK(lines == std::vector<std::size_t>{16, 16, 32, 32});  // eight matrices at two widths
}

TEST_CASE("a model narrowed by shorter windows keeps its context") {
  const Program program;
  const std::string model = program.train();
  shorten(program, model, "cut");
  const std::string narrow = " --inner 32 --text text.txt -o json --out ";
  const Outcome own = program.notch("narrow " + model + narrow + "short --ctx 4"),
                of_cut = program.notch("narrow cut" + narrow + "of-cut"),
                plain = program.notch("narrow " + model + narrow + "plain");
  REQUIRE(own.code == 0);
  CHECK(own.out == of_cut.out);
  CHECK(own.out != plain.out);
  CHECK(context_of(program, "short") == kContext);
  CHECK(context_of(program, "of-cut") == kShort);
}

TEST_CASE("an ONNX file of a shorter context is smaller") {
  const Program program;
  const std::string model = program.train();
  done(program, "export " + model + " --onnx whole.onnx -q");
  done(program, "export " + model + " --onnx short.onnx --ctx 4 -q");
  // Four rows of positions fewer, of 16 floats.
  const auto size = [&](const char* name) {
    return static_cast<double>(fs::file_size(program / name));
  };
  CHECK(size("whole.onnx") - size("short.onnx") == Approx(4 * 16 * 4).margin(4));
  const Outcome other = program.notch("export " + model + " --format f16 --out half --ctx 4");
  check_refused(other, 2);
  CHECK(other.err.find("--ctx") != std::string::npos);
}

TEST_CASE("no verb takes windows beyond the context or of one token") {
  const Program program;
  const std::string model = program.train();
  const std::map<std::string, std::string> rest = {
      {"eval", " --text text.txt"},
      {"export", " --onnx out"},
      {"imatrix", " --text text.txt --out out"},
      {"narrow", " --inner 32 --text text.txt --out out"},
      {"quantize", " --method gptq --bits 4 --text text.txt --out out"}};
  std::size_t verbs = 0;
  for (const experiments::Command& command : experiments::commands()) {
    const auto& flags = command.verb.flags;
    if (std::ranges::find(flags, "ctx", &experiments::Flag::name) == flags.end()) continue;
    const std::string verb(command.verb.name);
    CAPTURE(verb);
    ++verbs;
    REQUIRE(rest.contains(verb));
    for (const char* wrong : {"9", "1", "0", "-1", "x"}) {
      const Outcome outcome = program.notch(verb + " " + model + rest.at(verb) + " --ctx=" + wrong);
      CAPTURE(wrong, outcome.err);
      check_refused(outcome, 2);
      CHECK(outcome.err.find("--ctx") != std::string::npos);
      CHECK(outcome.err.find("from 2 to 8") != std::string::npos);
      CHECK(outcome.err.find("hint: the model's context is 8") != std::string::npos);
    }
    CHECK_FALSE(fs::exists(program / "out"));
  }
  CHECK(verbs == rest.size());
  check_refused(program.notch("eval " + model + " --text text.txt --protocol llama --ctx 3"), 2);
}

TEST_CASE("a context beyond any text is read in windows of 4096") {
  const Program program;
  done(program,
       "train tiny.toml -q model.architecture=llama model.n_layer=1 --out run model.n_embd=16");
  const std::string model = "run/models/fp32-seed1337";
  const std::string text = "eval long --text text.txt -o json";
  const Json trained = first_row(program.notch("eval " + model + " --text text.txt -q -o json"));
  program.shell("cp -r " + model + " long");
  Json config = config_of(program, "long");
  config.set("max_position_embeddings", 131072);
  program.write("long/config.json", config.dump());
  // Rotary positions: the same model, of which windows of 8 say the same.
  const Outcome same = program.notch(text + " --ctx 8");
  CHECK(value(first_row(same), "loss") == value(trained, "loss"));
  CHECK(same.err.find("windows of 4096") == std::string::npos);
  // 1300 tokens are not one window, and the refusal says what to do.
  const Outcome few = program.notch(text);
  CHECK(few.code == 3);
  CHECK(few.err.find("at least 4097") != std::string::npos);
  CHECK(few.err.find("--ctx") != std::string::npos);
  program.shell("for i in 1 2 3 4; do cat text.txt; done >four.txt");
  const Outcome usual = program.notch("eval long --text four.txt -o json");
  CHECK(value(first_row(usual), "ctx") == 4096);
  CHECK(usual.err.find("note: windows of 4096 tokens; the model's context is 131072") !=
        std::string::npos);
  CHECK(usual.err.find("--ctx N") != std::string::npos);
  done(program, "quantize long --method gptq --bits 4 --text text.txt --ctx 8 -q --out small");
  CHECK(context_of(program, "small") == 131072);
  CHECK(std::isfinite(
      value(first_row(program.notch("eval small --text text.txt -o json --ctx 8")), "loss")));
}

}  // namespace ctx_cli_test
