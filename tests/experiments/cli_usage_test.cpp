// What a user types beside the experiments: help, lists of methods, loops, the same command twice.
#include "autograd/base/sha256.h"
#include "experiments/program/commands.h"
#include "quant/methods/methods.h"
#include "tests/experiments/program.h"
#include "tests/folders.h"

namespace cli_usage_test {

using namespace notch;
using namespace notch::experiments;
using test::first_row;
using test::Outcome;
using test::Program;
using test::value;

TEST_CASE("help is a verb too") {
  const Program program;
  CHECK(program.notch("help").out == program.notch("-h").out);
  CHECK(program.notch("help").code == 0);
  for (const Command& command : commands()) {
    const std::string verb(command.verb.name);
    CHECK(program.notch("help " + verb).out == program.notch(verb + " -h").out);
  }
  CHECK(program.notch("help nothing").code == 2);
  CHECK(program.notch("help run train").code == 2);
}

TEST_CASE("every list of methods comes from the table of methods") {
  const Program program;
  const std::string quantize = program.notch("quantize -h").out, run = program.notch("run -h").out,
                    bench = program.notch("bench -h").out, config = program.notch("config").out;
  const std::string missing = program.notch("quantize m --bits 4 --out x").err,
                    unknown = program.notch("quantize m --method nosuch --bits 4 --out x").err;
  for (const quant::Method* method : quant::methods()) {
    const std::string name(method->name);
    CAPTURE(name);
    const bool trains = method->trains();
    for (const std::string* text : {&run, &config}) CHECK(text->find(name) != std::string::npos);
    for (const std::string* text : {&quantize, &missing, &unknown}) {
      if (!trains) CHECK(text->find(name) != std::string::npos);
    }
    if (trains) CHECK(bench.find(name) != std::string::npos);
    CHECK((quantize.find(" " + name + ",") != std::string::npos ||
           quantize.find(" " + name + "\n") != std::string::npos) == !trains);
  }
  // The README's table has a line of every method, in their order.
  std::istringstream readme(read_file(test::source_dir() / "README.md"));
  std::vector<std::string> names;
  bool inside = false;
  for (std::string line; std::getline(readme, line);) {
    if (line.starts_with("| method | what it does")) inside = true;
    if (inside && line.empty()) break;
    if (inside && line.starts_with("| `")) names.push_back(line.substr(3, line.find('`', 3) - 3));
  }
  CHECK(names == quant::method_names());
  CHECK(program.notch("quantize m --method GPTQ --bits 4 --out x").err.find("\"gptq\"") !=
        std::string::npos);
}

TEST_CASE("a loop over methods quantizes with one command line") {
  const Program program;
  const std::string model = program.train();
  for (const char* method : {"rtn", "gptq"}) {
    const Outcome made =
        program.notch(str("quantize ", model, " --method ", method,
                          " --bits 4 --text text.txt --calib-windows 4 --out q-", method));
    CAPTURE(made.err);
    CHECK(made.code == 0);
    CHECK((made.err.find("--text is not read") != std::string::npos) == (method[0] == 'r'));
  }
  REQUIRE(program.notch("quantize " + model + " --method rtn --bits 4 --out plain").code == 0);
  CHECK(sha256_file(program / "q-rtn/model.safetensors") ==
        sha256_file(program / "plain/model.safetensors"));
}

TEST_CASE("memory is shown in units that fit the model") {
  const Program program;
  const std::string model = program.train();
  const std::string shown = program.notch("inspect " + model + " --memory").out;
  CAPTURE(shown);
  CHECK(shown.find(" kB") != std::string::npos);
  CHECK(shown.find(" GB") != std::string::npos);
  CHECK(shown.find("0.000") == std::string::npos);
  CHECK(shown.find("note: for 8 tokens the int8 cache") != std::string::npos);
  const Json own = first_row(program.notch("inspect " + model + " --memory -o json"));
  CHECK(value(own, "weights_bytes") ==
        static_cast<double>(fs::file_size(program / model / "model.safetensors")));
  CHECK(value(own, "total_bytes") ==
        value(own, "weights_bytes") + value(own, "kv_bytes") + value(own, "activations_bytes"));
}

TEST_CASE("a finished run started again prints its table only") {
  const Program program;
  const Outcome first = program.notch("run tiny.toml -q");
  REQUIRE(first.code == 0);
  const std::string model = "run/models/rtn-int8-seed1337/model.safetensors";
  const auto made = fs::last_write_time(program / model);
  const Outcome again = program.notch("run tiny.toml -q");
  CAPTURE(again.err);
  CHECK(again.code == 0);
  CHECK(again.out == first.out);
  CHECK(fs::last_write_time(program / model) == made);
  CHECK(program.notch("run tiny.toml -q train.steps=7").code == 2);
  CHECK(program.notch("run tiny.toml -q train.log_every=7").out == first.out);
  CHECK(fs::last_write_time(program / model) == made);
  fs::remove(program / "run/seed-1337/rows/rtn-int8.json");
  CHECK(program.notch("run tiny.toml -q").code == 2);
}

TEST_CASE("a file that graph cannot draw is told from what it can") {
  const Program program;
  const Outcome of_text = program.notch("graph text.txt");
  check_refused(of_text, 2);
  CHECK(of_text.err.find("EXP.toml") != std::string::npos);
  CHECK(of_text.err.find("`notch config text.txt > my.toml`") != std::string::npos);
  program.shell("cp tiny.toml experiment");
  CHECK(program.notch("graph experiment -q").out == program.notch("graph tiny.toml -q").out);
  CHECK(program.notch("graph nowhere.toml").err.find("nowhere.toml") != std::string::npos);
}

TEST_CASE("quantize --sensitivity replaces no file of something else") {
  const Program program;
  const std::string model = program.train();
  const auto quantize = [&](const std::string& file, const std::string& out) {
    return program.notch("quantize " + model +
                         " --method rtn -b 4,8 --target-bytes 1000000 --text " +
                         "text.txt -q --sensitivity " + file + " --out " + out);
  };
  const std::string text = read_file(program / "text.txt");
  program.shell("cp text.txt notes");
  check_refused(quantize("notes", "q"), 3);
  CHECK(read_file(program / "notes") == text);
  // Its own, another model's or an empty one is taken.
  program.shell("touch list");
  REQUIRE(quantize("list", "q").code == 0);
  CHECK(quantize("list", "again").code == 0);
  // What it says of others stays.
  const std::string known = read_file(program / "list");
  REQUIRE(program
              .notch("quantize " + model +
                     " --method rtn --group 4 -b 4,8 --target-bytes 1000000 --text text.txt -q"
                     " --sensitivity list --out other")
              .code == 0);
  const std::string both = read_file(program / "list");
  CHECK(both.starts_with(known));
  CHECK(both.size() > known.size());
}

TEST_CASE("quantize's targets hold for what it writes") {
  const Program program;
  const std::string quantize =
      "quantize " + program.train() + " --method rtn -b 2,4,8 --text text.txt";
  const auto bytes = [&](const std::string& out) {
    return fs::file_size(program / (out + "/model.safetensors"));
  };
  REQUIRE(program.notch(quantize + " --target-loss 1000 --out least").code == 0);
  const auto target = bytes("least") + 300;
  REQUIRE(program.notch(quantize + str(" --target-bytes ", target, " --out some")).code == 0);
  CHECK(bytes("some") <= target);
  CHECK(bytes("some") > bytes("least"));
  // Half of what the smallest widths were measured to cost is reached with more bytes.
  const auto measured = [&](const std::string& out) {
    const std::string file = (program / (out + "/config.json")).string();
    const Json config = Json::parse(read_file(file), file);
    const Json& about = config.at("quantization_config", file).at("mixed", file);
    return about.at("measured_rise", file).as_number(file);
  };
  const double half = measured("least") / 2;
  REQUIRE(half > 0);
  const Outcome made = program.notch(quantize + str(" --target-loss ", half, " --out half"));
  INFO(made.err);
  REQUIRE(made.code == 0);
  CHECK(measured("half") <= half);
  CHECK(bytes("half") > bytes("least"));
  CHECK(made.out.find("measured on the same text") != std::string::npos);
  check_refused(program.notch(quantize + " --target-loss -5 --out none"), 2);
}

TEST_CASE("a key says what its flag would") {
  const Program program;
  const std::string model = program.train();
  const std::string quantize = "quantize " + model + " -q --method rtn --out ";
  for (const char* bad : {"--format q4_0 quant.bits=8", "--format q4_0 quant.grid=full",
                          "--format q4_0 quant.scale=f32", "--format q4_0 quant.group_size=16",
                          "--format q4_0 quant.granularity=channel", "-b 8 quant.format=q4_0",
                          "-b 4 quant.format=q4_0 --target-bytes 1MB"}) {
    CAPTURE(bad);
    const Outcome outcome = program.notch(quantize + "q " + bad);
    test::check_refused(outcome, 2);
    CHECK(outcome.err.find("groups do") == std::string::npos);
  }
  CHECK(program.notch(quantize + "by-key quant.bits=4").code == 0);
  REQUIRE(program.notch(quantize + "by-flag -b 4").code == 0);
  CHECK(read_file(program / "by-key/model.safetensors") ==
        read_file(program / "by-flag/model.safetensors"));
  CHECK(program.notch(quantize + "q quant.bits=8,4").err.find("--bits") != std::string::npos);
}

TEST_CASE("a rule whose layers later rules take is refused") {
  const Program program;
  const std::string model = program.train();
  const std::string quantize = "quantize " + model + " -q --method rtn -b 4 --out q ";
  const std::string rules =
      "'quant.layers=[{pattern=\"h.0.*\", bits=8}, {pattern=\"h.*\", bits=2}]'";
  for (const std::string& bad :
       {std::string("--tensor 'h.0.*=8,h.0.*=4'"), std::string("--skip 'h.0.*,h.*'"),
        std::string("--tensor 'h.0.*=8' --skip 'h.0.*'"),
        std::string("--tensor 'h.0.*=8' 'quant.layers=[]'"), rules}) {
    CAPTURE(bad);
    test::check_refused(program.notch(quantize + bad), 2);
  }
  CHECK(program.notch(quantize + "--tensor 'h.*=8,h.0.*=2'").code == 0);
  CHECK(program.notch("config tiny.toml " + rules).err.find("quant.layers[0]") !=
        std::string::npos);
}

TEST_CASE("quotes that a shell took and such have a hint") {
  const Program program;
  const auto has = [&](const std::string& command, const std::string& hint) {
    const Outcome outcome = program.notch(command);
    CAPTURE(command, outcome.err);
    CHECK(outcome.code == 2);
    CHECK(outcome.err.find(hint) != std::string::npos);
  };
  has("config tiny.toml quant.methods=[\"rtn\",\"gptq\"]",
      "'quant.methods=[\"rtn\",\"gptq\"]', or write quant.methods=rtn,gptq");
  has("config tiny.toml 'row=[{method=fp32}]'", "'row=[{method=\"fp32\"}]'");
  program.write("a.toml", "[quant]\nmethods = \"rtn,gptq\"\n");
  has("config a.toml", "[\"rtn\", \"gptq\"]");
  program.write("b.toml", "[quant]\nbits = \"8,4\"\n");
  has("config b.toml", "[8,4]");
  program.write("a=b.toml", "");
  program.write("-x.toml", "");
  has("config a=b.toml", "./a=b.toml");
  has("run -x.toml", "./-x.toml");
  has("export m --format x --out y", "expected ");
  CHECK(program.notch("export m --format x").err.find("place for results") == std::string::npos);
  CHECK(program.notch("eval m -o results").err.find("--out results") == std::string::npos);
  CHECK(program.notch("run tiny.toml -o results").err.find("--out results") != std::string::npos);
  has("eval m --text text.txt --split val --val-fraction 1", "< 1");
  has("sample m --top-p 0", "--top-p");
  program.write("file", "");
  has("train tiny.toml --out file", "--out");
  has("run tiny.toml --out file", "--out");
  has("bench --shape N --batch 1,1", "twice");
}

TEST_CASE("what leaves all as it is is refused") {
  const Program program;
  const std::string model = program.train();
  for (const char* flag : {"--layers 2", "--heads 2", "--inner 64"}) {
    CAPTURE(flag);
    test::check_refused(program.notch("narrow " + model + " --text text.txt --out n " + flag), 2);
  }
  for (const char* key : {"quant.bits=2,3", "quant.methods=rtn"}) {
    CAPTURE(key);
    const std::string graph = "graph -q tiny.toml --recipe qat-ste ";
    test::check_refused(program.notch(graph + key), 2);
  }
}

}  // namespace cli_usage_test
