// The program refuses what cannot work: one error, the right exit code, nothing left behind.
#include "autograd/kernels/bf16_matmul.h"
#include "experiments/program/commands.h"
#include "experiments/run/setup.h"
#include "tests/experiments/program.h"

namespace cli_refusals_test {

using namespace notch;
using namespace notch::experiments;
using test::check_refused;
using test::Outcome;
using test::Program;

TEST_CASE("an unusable text is refused before anything is written") {
  const Program program;
  struct Bad {
    const char* name;
    std::string text;
  };
  const auto bad =
      GENERATE(values<Bad>({{"empty", ""},
                            {"one byte", "x"},
                            {"not UTF-8", "abc \xff def"},
                            {"shorter than the context", "hello"},
                            {"evaluated on what it trains on", std::string(900, 'x')}}));
  CAPTURE(bad.name);
  program.write("bad.txt", bad.text);
  const auto before = program.entries();
  for (const char* verb : {"run", "train"}) {
    check_refused(program.notch(str(verb, " tiny.toml data.path=./bad.txt")), 3);
  }
  CHECK(program.entries() == before);
}

TEST_CASE("a missing text or configuration is a fault of the system") {
  const Program program;
  const auto before = program.entries();
  check_refused(program.notch("run tiny.toml data.path=./nowhere.txt"), 4);
  CHECK(program.notch("run nowhere.toml").code == 4);
  CHECK(program.entries() == before);
}

TEST_CASE("misfit values are refused before anything is written") {
  const Program program;
  const auto* bad = GENERATE(
      "model.n_layr=2", "model.n_head=3", "model.n_head=two",
      "quant.granularity=group quant.group_size=5", "quant.bits=9", "quant.bits=1",
      "quant.methods=rtm", "train.lr=-1", "model.dropout=1", "--threads=-1", "--resume", "--bogus",
      "data.test_fraction=0.95", "qat.inputs=pact", "quant.methods=rtn-moving-average",
      "quant.grid=asymmetric quant.methods=qat-lsq qat.lsq_init=paper",
      "quant.grid=ternary quant.bits=4", "'quant.layers=[{pattern=\"h.7.*\", bits=4}]'");
  CAPTURE(bad);
  const auto before = program.entries();
  check_refused(program.notch(str("run tiny.toml ", bad)), 2);
  CHECK(program.entries() == before);
}

TEST_CASE("bf16 products are refused where the processor has none") {
  const LoadedConfig loaded = parse_config("name = \"x\"\n[train]\nmatmul = \"bf16\"\n", "x.toml");
  check_processor(loaded.config, true, loaded.origins);
  ExperimentConfig full = loaded.config;
  full.train.matmul = kernels::Precision::full;
  check_processor(full, false);
  full.train.products = "portable";
  check_processor(full, false);
  full.train.matmul = kernels::Precision::bf16;
  CHECK(test::error_of([&] { check_processor(full, true); }).field == "train.products");
  const ErrorParts parts =
      test::error_of([&] { check_processor(loaded.config, false, loaded.origins); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.where.find("x.toml:3") != std::string::npos);
  CHECK(parts.field == "train.matmul");
  CHECK(parts.found == "bf16");
  CHECK(parts.expected.find("AVX512-BF16") != std::string::npos);
  CHECK(parts.hint.find("fp32") != std::string::npos);
  // What only reads settings, as a report does, asks nothing of the processor.
  CHECK(base_settings(loaded.config, 1).precision == kernels::Precision::bf16);
}

TEST_CASE("training in bf16 works or is refused before any writing") {
  const Program program;
  const auto before = program.entries();
  for (const char* command : {"train tiny.toml --out out train.matmul=bf16",
                              "bench train --shape N -r 1 --steps 1 train.matmul=bf16"}) {
    const Outcome outcome = program.notch(command);
    if (kernels::bf16_available()) {
      CHECK(outcome.code == 0);
    } else {
      check_refused(outcome, 2);
      CHECK(outcome.err.find("train.matmul") != std::string::npos);
      CHECK(program.entries() == before);
    }
  }
}

TEST_CASE("an unknown key shows its line and suggests the nearest") {
  const Program program;
  program.write("typo.toml", "[model]\nn_layr = 4\n");
  const Outcome outcome = program.notch("config typo.toml");
  check_refused(outcome, 2);
  CHECK(outcome.err.find("typo.toml:2:1") != std::string::npos);
  CHECK(outcome.err.find("n_layer") != std::string::npos);
}

TEST_CASE("an earlier run is not overwritten unless asked for") {
  const Program program;
  program.train();
  check_refused(program.notch("train tiny.toml"), 2);
  CHECK(program.notch("train tiny.toml --force -q").code == 0);
}

TEST_CASE("every verb ends with one quiet code if its reader left") {
  const Program program;
  const std::string model = program.train();
  REQUIRE(program.notch("quantize " + model + " --method rtn -b 4 --out q4 -q").code == 0);
  for (const std::string& command :
       {std::string("config"), std::string("-h"), std::string("--version"), "inspect " + model,
        "eval " + model + " --text text.txt -q", "sample " + model + " -n 5 -q",
        "quantize " + model + " --method rtn -b 8 --out q8 -q", "graph " + model + " -q",
        std::string("export q4 --format coded --out coded -q"),
        "bench " + model + " -r 1 --batch 1 -q -o csv", std::string("doctor -q"),
        std::string("train tiny.toml --force -q"), std::string("run tiny.toml --out other -q")}) {
    CAPTURE(command);
    // The FIFO's reader opens it and is gone before the program starts.
    const Outcome outcome = program.shell(
        "rm -f pipe; mkfifo pipe; true <pipe & exec 3>pipe; wait; notch " + command + " >&3");
    CHECK(outcome.code == 141);
    CHECK(outcome.err.empty());
  }
}

TEST_CASE("a directory to write is refused before the work and named") {
  const Program program;
  const std::string model = program.train();
  program.shell("mkdir full empty; touch full/x; ln -s nowhere dangling");
  const std::string out = "quantize " + model + " --method rtn --bits 4 --out ";
  for (const char* bad : {"''", "full", "text.txt", "dangling"}) {
    const Outcome outcome = program.notch(out + bad);
    CAPTURE(bad, outcome.err);
    check_refused(outcome, 2);
    if (bad[0] != '\'') CHECK(outcome.err.find(bad) != std::string::npos);
  }
  CHECK(program.notch(out + "empty").code == 0);
  CHECK(program.notch(out + "new/.").code == 0);
  CHECK(fs::exists(program / "new/config.json"));
}

TEST_CASE("a file to write has a directory and is not stdout") {
  const Program program;
  CHECK(program.notch("train tiny.toml -q").code == 0);
  const auto before = program.entries();
  const std::string model = "run/models/fp32-seed1";
  for (const char* command : {"bench MODEL --svg ", "graph MODEL --dot ", "export MODEL --gguf "}) {
    INFO(command);
    std::string words = command;
    words.replace(words.find("MODEL"), 5, model);
    const Outcome missing = program.notch(words + "nowhere/file");
    check_refused(missing, 4);
    CHECK(missing.err.find("nowhere/file") != std::string::npos);
    CHECK(missing.err.find("tmp-") == std::string::npos);
    check_refused(program.notch(words + "-"), 2);
  }
  const Outcome widths =
      program.notch(str("quantize ", model, " --method rtn --bits 2,4 --out small"));
  check_refused(widths, 2);
  CHECK(widths.err.find("--target-bytes") != std::string::npos);
  CHECK(program.entries() == before);
}

TEST_CASE("a run without its models says what to name instead") {
  const Program program;
  CHECK(program.notch("train tiny.toml -q").code == 0);
  CHECK(program.shell("rm -r run/models").code == 0);
  const Outcome outcome = program.notch("bench run");
  check_refused(outcome, 3);
  CHECK(outcome.err.find("a report of a run's parts") != std::string::npos);
}

TEST_CASE("flags without effect are refused and values explained") {
  const Program program;
  const std::string model = program.train();
  check_refused(program.notch("inspect " + model + " --context 8"), 2);
  const std::string quantize = "quantize " + model + " --method rtn --bits 4 --out q ";
  check_refused(program.notch(quantize + "--activations 8 --observer mse"), 2);
  CHECK(program.notch(quantize + "-g -1").err.find("leave --group out") != std::string::npos);
  CHECK(program.notch("run tiny.toml --train.lr=1e-3").err.find("train.lr=") != std::string::npos);
  CHECK(program.notch("run tiny.toml train.steps=4294967416").err.find("2147483647") !=
        std::string::npos);
  program.write("nbsp.toml", "name\xC2\xA0= \"x\"\n");
  CHECK(program.notch("config nbsp.toml").err.find("no-break space") != std::string::npos);
  const Outcome overflow = program.notch(
      "run tiny.toml quant.methods=qat-lsq qat.steps=20 qat.lr_scale=1e30 --out overflow");
  CHECK(overflow.code == 5);
  CHECK(overflow.err.find("lower qat.lr_scale") != std::string::npos);
}

TEST_CASE("unknown verbs and flags are refused with a suggestion") {
  const Program program;
  const Outcome verb = program.notch("evil");
  check_refused(verb, 2);
  CHECK(verb.err.find("eval") != std::string::npos);
  const Outcome flag = program.notch("eval m --txt x");
  check_refused(flag, 2);
  CHECK(flag.err.find("--text") != std::string::npos);
  check_refused(program.notch("quantize"), 2);
  check_refused(program.notch("config a.toml b.toml"), 2);
  CHECK(program.notch("").code == 2);
}

TEST_CASE("every verb refuses a model that is missing or damaged") {
  const Program program;
  const std::string model = program.train();
  program.shell("cp -r " + model + " cut && truncate -s -40 cut/model.safetensors");
  program.shell("cp -r " + model + " junk && echo nonsense > junk/model.safetensors");
  program.shell("cp -r " + model + " json && echo '{' > json/config.json");
  program.shell("cp -r " + model + " words && rm words/tokenizer.json words/vocab.json");
  const auto before = program.entries();
  for (const char* verb :
       {"eval @ --text text.txt", "eval @ --text text.txt --dump-logits d", "sample @", "inspect @",
        "graph @", "quantize @ --method rtn --bits 8 --out small"}) {
    const auto with = [&](const std::string& name) {
      std::string arguments = verb;
      return program.notch(arguments.replace(arguments.find('@'), 1, name));
    };
    CAPTURE(verb);
    CHECK(with("nowhere").code == 4);
    for (const char* name : {"cut", "junk", "json"}) {
      CAPTURE(name);
      const Outcome outcome = with(name);
      CHECK(outcome.code == 3);
      CHECK(outcome.err.starts_with("error: "));
    }
    CHECK(with("words").code == 4);
    // graph draws configurations, too: a wrong one is the user's.
    CHECK(with("text.txt").code == (std::string_view(verb).starts_with("graph") ? 2 : 3));
    CHECK(with("run").err.find("run/models/fp32-seed1337") != std::string::npos);
  }
  CHECK(program.entries() == before);
}

TEST_CASE("a damaged checkpoint is named") {
  const Program program;
  // A run that is stopped leaves a checkpoint.
  const Outcome stopped = program.shell(
      "exec \"$NOTCH\" train tiny.toml train.steps=1000000 train.checkpoint_every=1 -q & pid=$!; "
      "until ls -d run/seed-1337/ckpt/fp32/step-*[0-9]; do kill -0 $pid || break; done; "
      "kill -TERM $pid; wait $pid");
  REQUIRE(stopped.code == 143);
  const Outcome good = program.notch("inspect run/seed-1337/ckpt/fp32");
  CAPTURE(good.err);
  CHECK(good.code == 0);
  program.shell("for f in run/seed-1337/ckpt/fp32/step-*/*.safetensors; do echo x >> $f; done");
  const Outcome damaged =
      program.shell("for d in run/seed-1337/ckpt/fp32/step-*; do notch inspect $d; done");
  CHECK(damaged.code == 3);
  CHECK(damaged.err.find(".safetensors") != std::string::npos);
  CHECK(program.notch("inspect run/seed-1337/ckpt/fp32").code == 3);
}

TEST_CASE("a refused command leaves nothing behind") {
  const Program program;
  const std::string model = program.train();
  program.write("short.txt", "the");
  program.write("empty.txt", "");
  program.write("latin1.txt", "caf\xe9 caf\xe9 caf\xe9");
  program.write("unknown.txt", "the quick UNKNOWN letters of a text");
  CHECK(program.notch("quantize " + model + " --method rtn --bits 8 --out q8").code == 0);
  const auto before = program.entries();

  for (const char* text : {"short.txt", "empty.txt", "latin1.txt", "unknown.txt"}) {
    CAPTURE(text);
    check_refused(program.notch("eval " + model + " --text " + text), 3);
    check_refused(
        program.notch("quantize " + model + " --method gptq --bits 4 --out q --text " + text), 3);
  }
  check_refused(program.notch("eval " + model), 2);
  check_refused(program.notch("eval " + model + " --text text.txt --val-fraction 0.5"), 2);
  check_refused(program.notch("eval " + model + " --text text.txt --split test"), 2);
  check_refused(
      program.notch("eval " + model + " --text text.txt --dump-logits d --windows 100000"), 2);
  check_refused(program.notch("sample " + model + " -p UNKNOWN"), 3);
  check_refused(program.notch("sample " + model + " --temperature -1"), 2);
  check_refused(program.notch("sample " + model + " --top-p 0"), 2);

  check_refused(program.notch("bench gptq -q --shape T --layer attn.c_proj,nothing"), 2);

  const std::string out = "quantize " + model + " --out q ";
  check_refused(program.notch(out + "--bits 4"), 2);
  check_refused(program.notch(out + "--method rtn"), 2);
  check_refused(program.notch(out + "--method rtn --bits 9"), 2);
  check_refused(program.notch(out + "--method rtn --bits 1"), 2);
  check_refused(program.notch(out + "--method rtm --bits 4"), 2);
  check_refused(program.notch(out + "--method qat-lsq --bits 4"), 2);
  check_refused(program.notch(out + "--method gptq --bits 4"), 2);
  check_refused(program.notch(out + "--method rtn --bits 4 --group 5"), 2);
  check_refused(program.notch(out + "--method rtn --bits 4 --skip 'h.7.*'"), 2);
  check_refused(program.notch(out + "--method rtn --bits 4 --tensor 'h.0.*=9'"), 2);
  for (const char* key : {"gptq.damp=0.5", "train.lr=1", "qat.ste=plain", "quant.bits=8",
                          "threads=1", "quant.methods=gptq", "quant.control=true", "gptq.dampen=1",
                          "activations.bits=8,4", "calib.windows=4", "row={method='rtn',bits=4}"}) {
    CAPTURE(key);
    check_refused(program.notch(str(out, "--method rtn --bits 4 \"", key, '"')), 2);
  }
  check_refused(program.notch("quantize " + model + " --method rtn --bits 8 --out q8"), 2);
  check_refused(program.notch("quantize q8 --method rtn --bits 4 --out q"), 3);
  CHECK(program.entries() == before);
}

TEST_CASE("an empty value is refused by its name for every flag") {
  const Program program;
  const auto before = program.entries();
  for (const Command& command : commands()) {
    const Verb& verb = command.verb;
    for (const Flag& flag : verb.flags) {
      if (flag.value.empty() || flag.value == "TEXT") continue;
      CAPTURE(verb.name, flag.name);
      const Outcome outcome = program.notch(str(verb.name, " x --", flag.name, "="));
      check_refused(outcome, 2);
      CHECK(outcome.err.find(str("--", flag.name, ": is empty")) != std::string::npos);
    }
    if (verb.positionals.empty()) continue;
    CAPTURE(verb.name);
    const Outcome outcome = program.notch(str(verb.name, " ''"));
    check_refused(outcome, 2);
    CHECK(outcome.err.find("is empty") != std::string::npos);
  }
  CHECK(program.entries() == before);
}

TEST_CASE("a flag and the key that it sets are not both given") {
  const Program program;
  const auto before = program.entries();
  for (const char* both : {"--bits 4 quant.bits=8", "--bits 4 'quant.bits = 4'",
                           "quant.group_size=8 --group 4", "--methods rtn quant.methods=gptq"}) {
    for (const char* verb : {"run", "train", "config"}) {
      CAPTURE(both, verb);
      const Outcome outcome = program.notch(str(verb, " tiny.toml ", both));
      check_refused(outcome, 2);
      CHECK(outcome.err.find("give one of them") != std::string::npos);
    }
  }
  CHECK(program.entries() == before);
}

TEST_CASE("widths without methods are refused, and the reverse") {
  const Program program;
  const auto before = program.entries();
  for (const char* none : {"quant.methods=[] quant.bits=4", "quant.methods=[]", "quant.bits=[]"}) {
    CAPTURE(none);
    const Outcome outcome = program.notch(str("run tiny.toml ", none));
    check_refused(outcome, 2);
    CHECK(outcome.err.find("the list is empty") != std::string::npos);
  }
  CHECK(program.entries() == before);
  CHECK(program.notch("config tiny.toml -q 'row=[{method=\"fp32\"}]'").code == 0);
}

TEST_CASE("config refuses the rows that run refuses") {
  const Program program;
  for (const auto& [keys, field] :
       {std::pair{"quant.methods=adaround prune.method=wanda", "prune.method"},
        {"quant.methods=lqer lqer.rank=17", "lqer.rank"},  // the channels are 16
        {"quant.methods=qlora qlora.rank=17", "qlora.rank"},
        {"quant.methods=rtn quant.group_size=16 quant.granularity=tensor", "quant.group_size"}}) {
    for (const char* verb : {"config", "run"}) {
      INFO(verb << ' ' << keys);
      const Outcome outcome = program.notch(str(verb, " tiny.toml -q ", keys));
      check_refused(outcome, 2);
      CHECK(outcome.err.find(field) != std::string::npos);
    }
  }
  CHECK(program.notch("config tiny.toml -q quant.methods=lqer lqer.rank=16").code == 0);
}

TEST_CASE("the methods that are listed as expected are accepted") {
  const Program program;
  for (const char* reference : {"fp32", "fp16"}) {
    const Outcome outcome = program.notch(str("run tiny.toml --methods ", reference));
    check_refused(outcome, 2);
    const std::size_t expected = outcome.err.find("expected rtn");
    CHECK(outcome.err.find("quant.methods") != std::string::npos);
    REQUIRE(expected != std::string::npos);
    const std::string list = outcome.err.substr(expected, outcome.err.find(", found") - expected);
    CHECK(list.find(reference) == std::string::npos);
  }
}

TEST_CASE("a run given as an experiment is told what it goes on from") {
  const Program program;
  CHECK(program.notch("train tiny.toml -q").code == 0);
  for (const char* verb : {"run", "train", "config"}) {
    const Outcome outcome = program.notch(str(verb, " run"));
    check_refused(outcome, 4);
    CHECK(outcome.err.find("run/config.resolved.toml") != std::string::npos);
  }
  CHECK(program.notch("train run/config.resolved.toml --resume --out run -q").code == 0);
  check_refused(program.notch("run ."), 4);
}

}  // namespace cli_refusals_test
