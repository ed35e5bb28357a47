// A text where an experiment is expected is one.
#include "experiments/config/config.h"
#include "tests/experiments/program.h"
#include "tests/folders.h"

namespace text_experiment_test {

using namespace notch;
using namespace notch::experiments;
using test::check_refused;
using test::first_row;
using test::Outcome;
using test::Program;
using test::rows_of;

TEST_CASE("a text is told from a configuration by what is in it") {
  const Program program;
  program.write("exp.conf", "[train]\nsteps = 3\n");
  program.write("comments.txt", "# a poem\n# about nothing\n");
  program.write("equation.txt", "x = 3\n");
  CHECK(is_text(program / "text.txt"));
  CHECK(is_text(program / "comments.txt"));
  CHECK(is_text(program / "equation.txt"));
  CHECK_FALSE(is_text(program / "exp.conf"));
  CHECK_FALSE(is_text(program / "tiny.toml"));
  CHECK_FALSE(is_text(program / "nowhere.toml"));
  CHECK_FALSE(is_text(program.path()));
}

TEST_CASE("an experiment from a pipe is told from a text") {
  const Program program;
  const std::string plain = program.notch("config tiny.toml -q out=o").out;
  for (const char* command :
       {"cat tiny.toml | notch config - -q out=o", "notch config - -q out=o <tiny.toml",
        "cat tiny.toml | notch config /dev/stdin -q out=o",
        "notch config /dev/stdin -q out=o <tiny.toml",
        "notch config /dev/fd/5 -q out=o 5<tiny.toml",
        "mkfifo p; cat tiny.toml >p & notch config p -q out=o"}) {
    CAPTURE(command);
    const Outcome outcome = program.shell(command);
    CAPTURE(outcome.err);
    CHECK(outcome.out == plain);
  }
  // Named by its descriptor it lies beside nothing: its run is in the current directory.
  program.write("bare.toml", "[train]\nsteps = 3\n[model]\nblock_size = 8\n");
  for (const char* command :
       {"notch config /dev/stdin -q <bare.toml", "cat bare.toml | notch config - -q"}) {
    CAPTURE(command);
    const ExperimentConfig config = parse_config(program.shell(command).out, "x").config;
    CHECK(config.out == (program / "runs/stdin").string());
    CHECK(config.data.kind == "verbs");
  }
  // A text from a pipe is read after it was looked into.
  const std::string small = " -q -o csv train.steps=2 model.n_layer=1 model.n_embd=16 --out ";
  for (const char* command :
       {"cat text.txt | notch train -", "cat text.txt | notch train /dev/stdin",
        "mkfifo q; cat text.txt >q & notch train q"}) {
    CAPTURE(command);
    const std::string out = str("o", std::string_view(command).size());
    const Outcome outcome = program.shell(command + small + out);
    CAPTURE(outcome.err);
    CHECK(outcome.code == 0);
  }
}

TEST_CASE("what is no text is refused by config as by run") {
  const Program program;
  program.write("model.gguf", "GGUF and more");
  program.write("config.json", "{\"model_type\": \"gpt2\"}");
  for (const auto& [file, code] :
       {std::pair{"tiny.tom", 4}, {"/dev/null", 4}, {"model.gguf", 3}, {"config.json", 3}}) {
    CAPTURE(file);
    check_refused(program.notch(str("config ", file)), code);
    check_refused(program.notch(str("run ", file)), code);
  }
  CHECK(program.notch("run model.gguf").err.find("notch export model.gguf --format f32") !=
        std::string::npos);
  CHECK(program.notch("config tiny.toml data.kind=text data.path=").err.find("default:") ==
        std::string::npos);
}

TEST_CASE("an experiment on a text is valid and named after it") {
  const Program program;
  program.write(".my book é.txt", "words");
  const LoadedConfig loaded = load_config(program / ".my book é.txt");
  CHECK(loaded.from_text);
  CHECK(loaded.config.name == "my-book---");
  CHECK(loaded.config.out == (fs::current_path() / "runs" / "my-book---").string());
  CHECK(loaded.config.data.path == (program / ".my book é.txt").string());
  CHECK(loaded.config.data.kind == "text");
  const Outcome config = program.notch("config text.txt -q");
  ExperimentConfig printed = parse_config(config.out, "x").config;
  CHECK(printed.out == (program / "runs/text").string());
  printed.out = load_config(program / "text.txt").config.out;
  CHECK(printed == load_config(program / "text.txt").config);
}

TEST_CASE("a text run without a schedule can be repeated") {
  const Program program;
  const Outcome config = program.notch("config text.txt train.schedule=constant -q");
  REQUIRE(config.code == 0);
  program.write("printed.toml", config.out);
  CHECK(program.notch("config printed.toml").code == 0);
}

TEST_CASE("the usual experiment on a text has quick.toml's values") {
  const Program program;
  const ExperimentConfig text = load_config(program / "text.txt").config;
  ExperimentConfig quick = load_config(test::source_dir() / "experiments/quick.toml").config;
  // Tokens of a step, in windows of the context.
  CHECK(text.train.batch_size * text.model.block_size ==
        Approx(quick.train.batch_size * quick.model.block_size).epsilon(0.25));
  CHECK(warmup_steps(text.train) == warmup_steps(quick.train));
  quick.model.block_size = text.model.block_size;
  quick.train.batch_size = text.train.batch_size;
  quick.train.warmup = text.train.warmup;
  CHECK(text.model == quick.model);
  CHECK(text.train == quick.train);
  CHECK(text.quant == quick.quant);
  CHECK(text.calib == quick.calib);
  quick.qat.from = kAuto;  // quick.toml shows the plainest form
  CHECK(text.qat == quick.qat);
}

TEST_CASE("a text is trained on and quantized by flags, announced") {
  const Program program;
  std::string book;
  for (int i = 0; i < 300; ++i) book += str("Zeile ", i * 7919 % 1000, " – çà et là\n");
  program.write("book.txt", book);
  const std::string small = " train.steps=5 model.n_layer=1 model.n_embd=32 -o json";
  const Outcome outcome = program.notch(
      "run book.txt --bits 4 --group 32 --methods rtn,qat-lsq quant.control=false" + small);
  CHECK(outcome.err.find("a text ") < outcome.err.find("steps in"));
  CHECK(outcome.err.find("model    1 layers") < outcome.err.find("steps in"));
  std::vector<std::string> rows;
  for (const Json& row : rows_of(outcome)) {
    rows.push_back(row.at("method", "row").as_string("row"));
    if (rows.size() > 1) CHECK(row.at("granularity", "row").as_string("row") == "group 32");
  }
  CHECK(rows == std::vector<std::string>{"fp32", "rtn", "qat-lsq"});
  CHECK(fs::exists(program / "runs/book/models/qat-lsq-int4-seed1337/model.safetensors"));
  CHECK(fs::exists(program / "runs/book/report.html"));
  CHECK(program.notch("train book.txt -q --out trained" + small).code == 0);
}

TEST_CASE("every verb that makes an experiment takes the same flags") {
  const Program program;
  const std::string flags = " --bits 4,3 --group 32 --methods gptq,qat-lsq",
                    keys = " quant.bits=4,3 quant.group_size=32 quant.methods=gptq,qat-lsq";
  for (const char* experiment : {"", " text.txt", " tiny.toml model.n_embd=32"}) {
    CAPTURE(experiment);
    const Outcome by_flags = program.notch(str("config -q", experiment, flags));
    CHECK(by_flags.code == 0);
    CHECK(by_flags.out == program.notch(str("config -q", experiment, keys)).out);
    CHECK(by_flags.out != program.notch(str("config -q", experiment)).out);
  }
  const Outcome trained = program.notch("train tiny.toml -q model.n_embd=32" + flags);
  CAPTURE(trained.err);
  CHECK(trained.code == 0);
  const std::string resolved = read_file(program / "run/config.resolved.toml");
  CHECK(resolved.find("methods = [\"gptq\", \"qat-lsq\"]") != std::string::npos);
}

TEST_CASE("a text that is too small is refused with what would do") {
  const Program program;
  program.write("note.txt", "A short note, of which a tenth is not a window of the model.");
  const auto before = program.entries();
  const Outcome outcome = program.notch("run note.txt");
  check_refused(outcome, 3);
  CHECK(outcome.err.find("model.block_size=4") != std::string::npos);
  CHECK(program.entries() == before);
  check_refused(program.notch("run nowhere.txt"), 4);
}

TEST_CASE("a text is named once, and a name of its own names its run") {
  const Program program;
  program.write("other.txt", "words");
  const auto before = program.entries();
  for (const char* contradiction : {"data.kind=verbs", "data.path=other.txt", "data.path=-"}) {
    CAPTURE(contradiction);
    const Outcome outcome = program.notch(str("run text.txt ", contradiction));
    check_refused(outcome, 2);
    CHECK(outcome.err.find("contradicts the text") != std::string::npos);
  }
  CHECK(program.entries() == before);
  CHECK(program.notch("config text.txt -q data.path=text.txt").code == 0);
  const Outcome named = program.notch("config text.txt -q name=mine");
  CHECK(parse_config(named.out, "x").config.out == (program / "runs/mine").string());
}

}  // namespace text_experiment_test
