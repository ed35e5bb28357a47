// The verbs that run a model: sample with caches and drafts, bench, inspect --memory.
#include <algorithm>
#include <utility>

#include "autograd/base/files.h"
#include "data/tokenizer.h"
#include "experiments/bench/inference_bench.h"
#include "nn/gpt.h"
#include "nn/model_dir.h"
#include "nn/safetensors.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"

namespace inference_cli_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

TEST_CASE("greedy samples are the same with a draft model") {
  const Program program;
  const std::string model = program.train();
  const std::string quantize = "quantize " + model + " --method rtn -q --bits ";
  REQUIRE(program.notch(quantize + "8 --out int8").code == 0);
  REQUIRE(program.notch(quantize + "2 --out int2").code == 0);
  const std::string greedy = " -n 30 --temperature 0 -p 'the quick'";
  const Outcome plain = program.notch("sample int8" + greedy);
  REQUIRE(plain.code == 0);
  CHECK(plain.err.find("tokens/s") != std::string::npos);
  const Outcome drafted = program.notch("sample int8 --draft int2" + greedy);
  REQUIRE(drafted.code == 0);
  CHECK(drafted.out == plain.out);
  CHECK(drafted.err.find("proposals accepted") != std::string::npos);
  for (const char* kind : {"fp16", "int8"})
    CHECK(program.notch("sample int8 --kv-cache " + std::string(kind) + greedy).code == 0);
  CHECK(program.notch("sample int8 --kv-cache int3" + greedy).code == 2);
}

TEST_CASE("bench measures models beside their roofs and draws them") {
  const Program program;
  const std::string model = program.train();
  REQUIRE(program.notch("quantize " + model + " --method rtn -q --bits 8 --out int8").code == 0);
  const Outcome bench =
      program.notch("bench " + model + " int8 -r 1 --batch 1,2 --svg roof.svg -o csv");
  REQUIRE(bench.code == 0);
  CHECK(std::ranges::count(bench.out, '\n') == 1 + 2 * 2 * 2);  // models, phases, batches
  const std::string svg = read_file(program / "roof.svg");
  CHECK(svg.starts_with("<svg"));
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
  CHECK(program.notch("bench --shape Q").code == 2);
  CHECK(program.notch("bench " + model + " --batch 0").code == 2);
  // What a form of the verb does not read is no silent part of it.
  for (const std::string& other : {model + " --recipe qat-ste", model + " quant.bits=3",
                                   std::string("train --shape N --sweep=8"), model + " --sweep=8 --prompt 4"}) {
    CAPTURE(other);
    test::check_refused(program.notch("bench -q -r 1 " + other), 2);
  }
  CHECK(program.notch("inspect " + model + " --memory --batch 2 -o csv").code == 0);
}

TEST_CASE("bench gptq times the matrices that are asked for") {
  const Program program;
  const Outcome bench =
      program.notch("bench gptq -q --shape N --layer mlp.c_fc -r 1 calib.windows=4 -o csv");
  CHECK(bench.code == 0);
  CHECK(bench.out.find("mlp.c_fc") != std::string::npos);
  CHECK(bench.out.find("c_attn") == std::string::npos);
}

TEST_CASE("the roof share is the smaller of compute and memory") {
  Roofline bench{.sgemm = 100e9, .integer = 400e9};
  // 1 operation per byte at 10 GB/s allows 10 Gops/s; half of it is reached.
  const RooflineDot memory_bound{
      .tokens = 1, .seconds = 2, .operations = 10e9, .bytes = 10e9, .roof_seconds = 1};
  CHECK(bench.share(memory_bound) == Approx(0.5));
  // 100 operations per byte at 10 GB/s would allow 1000 Gops/s: sgemm is the roof.
  const RooflineDot compute_bound{
      .tokens = 1, .seconds = 20, .operations = 1000e9, .bytes = 10e9, .roof_seconds = 1};
  CHECK(bench.share(compute_bound) == Approx(0.5));
  // Integer products, or three of them for one of floats.
  RooflineDot integers = compute_bound;
  integers.products = 1;
  CHECK(bench.share(integers) == Approx(0.125));
  integers.products = 3;
  CHECK(bench.share(integers) == Approx(0.375));
}

TEST_CASE("tokenize prints ids and tokens of a text, one on a line") {
  const Program program;
  program.shell("mkdir words");
  program.write("words/vocab.json", R"({"a": 0, "b": 1, "ab": 2, "\u0120": 3, "<s>": 4})");
  program.write("words/merges.txt", "#version: 0.2\na b\n");
  const Outcome tokens = program.shell("printf 'ab<s> a' | notch tokenize words --text -");
  CHECK(tokens.code == 0);
  CHECK(tokens.out == "2\tab\n4\t<s>\n3\t\u0120\n0\ta\n");
  CHECK(tokens.err == "4 tokens for 7 bytes: 1.75 bytes per token\n");
  CHECK(program.shell("printf abx | notch tokenize words --text -").code == 3);
  CHECK(program.notch("tokenize words").code == 2);
  CHECK(program.notch("tokenize nowhere --text text.txt").code == 4);
}

TEST_CASE("a run's report draws what was measured of its models") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml quant.bits=8,4 -q").code == 0);
  const auto page = [&] { return read_file(program / "run/report.html"); };
  CHECK(page().find("Not measured") != std::string::npos);
  const Outcome bench = program.notch("bench run -r 1 --batch 1 -o csv");
  REQUIRE(bench.code == 0);
  CHECK(std::ranges::count(bench.out, '\n') == 1 + 3 * 2);  // fp32 and two widths, two phases
  REQUIRE(program.notch("report run -q").code == 0);
  const std::string drawn = page();
  CHECK(drawn.find("Not measured") == std::string::npos);
  CHECK(drawn.find("rtn-int4-seed1337, decode, batch 1: ") != std::string::npos);
  REQUIRE(program.notch("report run -q").code == 0);
  CHECK(page() == drawn);
  // Of a run that something else is writing nothing is measured that could not be kept.
  program.write("run/run.lock", "1 elsewhere 5\n");
  const std::string kept = read_file(program / "run/roofline.json");
  check_refused(program.notch("bench run -r 1 --batch 1"), 2);
  CHECK(read_file(program / "run/roofline.json") == kept);
  CHECK(program.notch("verify run").code == 0);
  fs::remove(program / "run/run.lock");
  program.write("run/roofline.json", R"({"sgemm": 0, "integer": 1, "dots": []})");
  check_refused(program.notch("report run"), 3);
}

TEST_CASE("a vocabulary beyond 16 bits is scored and trained") {
  const Program program;
  data::Vocabulary vocabulary;
  for (int b = 0; b < 256; ++b) vocabulary.tokens.push_back(std::string(1, static_cast<char>(b)));
  for (int i = 0; i < 65536; ++i) {
    vocabulary.tokens.push_back(str("<", i, ">"));
    vocabulary.added.push_back({.id = 256 + i});
  }
  const data::Tokenizer tokenizer = data::Tokenizer::of(std::move(vocabulary));
  nn::Gpt model({.vocab_size = tokenizer.vocab_size(),
                 .block_size = 8,
                 .n_layer = 1,
                 .n_head = 1,
                 .n_embd = 4});
  model.init(1);
  tokenizer.save(program / "wide");
  nn::save_model(model, program / "wide");
  const Outcome sampled = program.notch("sample wide -p 'a<65535>' -n 3");
  CAPTURE(sampled.err);
  CHECK(sampled.code == 0);
  CHECK(sampled.out.starts_with("a<65535>"));
  CHECK(sampled.err.find("prompt 2 tokens") != std::string::npos);
  std::string text;
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 200; ++i) {
    text += str("a<", 65535 - i, ">b");
    ids.insert(ids.end(), {'a', 256 + 65535 - i, 'b'});
  }
  CHECK(tokenizer.encode(text) == ids);
  program.write("wide.txt", text);
  // Logits of a model that was not trained are all but equal: a loss of ln 65792 = 11.094.
  const Json row = first_row(
      program.notch("eval wide --text wide.txt -q -o json --windows 3 --dump-logits logits.st"));
  CHECK(value(row, "loss") == Approx(11.094).margin(0.01));
  CHECK(value(row, "tokens") == 599);
  // That loss is the same for any ids: those that were scored are in the dump.
  const auto dump = nn::SafetensorsFile::open(program / "logits.st");
  for (const auto& [name, from] : {std::pair{"tokens", 0}, {"targets", 1}}) {
    CAPTURE(name);
    const nn::TensorEntry* entry = dump.find(name);
    REQUIRE(entry);
    REQUIRE(entry->dtype == nn::DType::i32);
    REQUIRE(entry->shape == nn::FileShape{3, 8});
    std::vector<std::int32_t> scored(3 * 8);
    dump.read_bytes(*entry, std::as_writable_bytes(std::span(scored)));
    CHECK(std::equal(scored.begin(), scored.end(), ids.begin() + from));
  }
  for (const char* command :
       {"quantize wide --bits 4 --method gptq --text wide.txt --out small",
        "run wide.txt --bits 4 --methods gptq,qat-ste model.from=wide model.block_size=8 "
        "train.steps=2 train.warmup=1 train.batch_size=1 qat.fraction=1 calib.windows=4"}) {
    const Outcome outcome = program.notch(command);
    CAPTURE(outcome.err);
    CHECK(outcome.code == 0);
  }
}

}  // namespace inference_cli_test
