// notch verify, and what other verbs say about files that are not what was written.
#include <array>
#include <fstream>
#include <set>

#include "experiments/run/results.h"
#include "experiments/run/run_digests.h"
#include "nn/manifest.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"

namespace notch::test::verify_test {

void flip_last_byte(const fs::path& file) {
  std::string bytes = read_file(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(file, std::ios::binary) << bytes;
}

/// "state file", for files that are not "ok", nor what a run tells of itself.
std::vector<std::string> troubles(const Outcome& outcome) {
  static const std::set<std::string> kTold = {
      "config.resolved.toml", "inputs.json", "env.json",    "metrics.jsonl", "results.csv",
      "results.jsonl",        "results.md",  "results.svg", "pairs.csv",     "report.html",
      "seed-1337/layers.json"};
  std::vector<std::string> out;
  const Json all = Json::parse(outcome.out, "stdout");
  for (const Json& row : all.as_array("stdout")) {
    const std::string& state = row.at("state", "row").as_string("row");
    const std::string& file = row.at("file", "row").as_string("row");
    if (state.starts_with("ok") || (state == "no digest" && kTold.contains(file))) continue;
    out.push_back(state + " " + file);
  }
  return out;
}

using Names = std::vector<std::string>;

TEST_CASE("a file of a run has no digest while it is written anew") {
  const TemporaryDirectory run;
  const experiments::RunDir locked(run.path(), experiments::Earlier::refuse);
  const auto put = [&](const char* name, const char* text) { std::ofstream(run / name) << text; };
  const auto listed = [&] {
    Names names;
    for (const nn::ListedFile& file : nn::read_manifest(run.path())) {
      names.push_back(file.name);
      nn::check_listed(run.path(), file);
    }
    return names;
  };
  const std::array<std::string_view, 1> anew{"results.md"};
  experiments::write_anew(locked, anew, [&] { put("results.md", "the run goes on"); });
  CHECK_FALSE(fs::exists(run / "manifest.json"));

  put("env.json", "{}");
  experiments::keep_digests(run.path());
  CHECK(listed() == Names{"env.json", "results.md"});
  const auto killed = [&] {
    put("results.md", "half");
    throw std::runtime_error("killed");
  };
  CHECK_THROWS_AS(experiments::write_anew(locked, anew, killed), std::runtime_error);
  CHECK(listed() == Names{"env.json"});
  experiments::write_anew(locked, anew, [&] { put("results.md", "whole"); });
  CHECK(listed() == Names{"env.json", "results.md"});

  // A seed's folder that has lost its study keeps no digest of it either.
  fs::create_directory(run / "seed-1");
  put("seed-1/layers.json", "{}");
  experiments::keep_digests(run.path());
  REQUIRE(fs::exists(run / "seed-1/manifest.json"));
  fs::remove(run / "seed-1/layers.json");
  experiments::forget_digests(run.path());
  CHECK_FALSE(fs::exists(run / "seed-1/manifest.json"));
  CHECK_FALSE(fs::exists(run / "manifest.json"));
}

TEST_CASE("verify tells which file of a run is damaged") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q train.checkpoint_every=3").code == 0);
  const auto verify = [&](const std::string& what) {
    return program.notch("verify " + what + " -o json");
  };
  const Outcome whole = verify("run");
  CHECK(whole.code == 0);
  CHECK(troubles(whole).empty());
  const Outcome scored = verify("run --evaluate");
  CHECK(scored.code == 0);
  CHECK(troubles(scored).empty());
  CHECK(scored.out.find("ok, same loss") != std::string::npos);

  const std::string q8 = "run/models/rtn-int8-seed1337";
  flip_last_byte(program / (q8 + "/model.safetensors"));
  flip_last_byte(program / "run/models/fp32-seed1337/merges.txt");
  flip_last_byte(program / "run/seed-1337/ckpt/fp32/step-000006/optimizer.safetensors");
  const Outcome damaged = verify("run");
  CHECK(damaged.code == 6);
  CHECK(damaged.err.starts_with("error: run: "));
  CHECK(troubles(damaged) ==
        Names{"damaged models/fp32-seed1337/merges.txt",
              "damaged models/rtn-int8-seed1337/model.safetensors",
              "damaged seed-1337/rows/rtn-int8.json",
              "damaged seed-1337/ckpt/fp32/step-000006/optimizer.safetensors"});
  CHECK(troubles(verify(q8)) == Names{"damaged model.safetensors"});
  CHECK(verify(q8 + "/model.safetensors").code == 6);
  CHECK(verify("run/seed-1337/ckpt/fp32").code == 6);
  CHECK(verify("run/models/fp32-seed1337").code == 6);

  SECTION("what opens a model refuses it, unless told not to look") {
    const std::string text = q8 + " --text text.txt -q";
    const Outcome refused = program.notch("eval " + text);
    check_refused(refused, 3);
    CHECK(refused.err.find("model.safetensors") != std::string::npos);
    CHECK(program.notch("eval " + text + " --no-verify").code == 0);
    check_refused(program.notch("sample run/models/fp32-seed1337 -n 3 -q"), 3);
    check_refused(program.notch("quantize run/models/fp32-seed1337 -b 4 --method rtn --out q"), 3);
    check_refused(program.notch("export " + q8 + " --format coded --out q"), 3);
  }
  SECTION("a report takes no row that was changed") {
    std::string row = read_file(program / "run/seed-1337/rows/rtn-int8.json");
    const std::size_t at = row.find("\"bits\": 8");
    REQUIRE(at != row.npos);
    row[at + 8] = '7';
    program.write("run/seed-1337/rows/rtn-int8.json", row);
    const Outcome refused = program.notch("report run --out all -q");
    check_refused(refused, 3);
    CHECK(refused.err.find("rtn-int8.json") != std::string::npos);
  }
  SECTION("a run that goes on makes anew what is damaged") {
    flip_last_byte(program / "run/seed-1337/rows/fp32.json");
    REQUIRE(program.notch("run tiny.toml --resume -q").code == 0);
    CHECK(troubles(verify("run")).empty());
  }
}

TEST_CASE("what a finished run tells of itself has digests") {
  const Program program;
  const auto verify = [&] { return program.notch("verify run -o json"); };
  const auto told = [&] {
    return program.shell("ls run/manifest.json run/seed-1337/manifest.json 2>/dev/null").out;
  };
  const std::string both = "run/manifest.json\nrun/seed-1337/manifest.json\n";
  REQUIRE(program.notch("run tiny.toml -q quant.bits=8,4").code == 0);
  CHECK(told() == both);
  CHECK(verify().out.find("no digest") == std::string::npos);
  for (const char* file : {"results.csv", "report.html", "metrics.jsonl", "env.json",
                           "config.resolved.toml", "seed-1337/layers.json"}) {
    CAPTURE(file);
    const std::string whole = read_file(program / "run" / file);
    program.write(std::string("run/") + file, whole + "\n");
    const Outcome damaged = verify();
    CHECK(damaged.code == 6);
    CHECK(troubles(damaged) == Names{std::string("damaged ") + file});
    program.shell(std::string("rm run/") + file);
    CHECK(troubles(verify()) == Names{std::string("damaged ") + file});
    program.write(std::string("run/") + file, whole);
    CHECK(verify().code == 0);
  }
  SECTION("a report made anew changes those of its files, and of no other") {
    program.shell("echo >>run/results.md; echo >>run/env.json");
    CHECK(troubles(verify()) == Names{"damaged env.json", "damaged results.md"});
    REQUIRE(program.notch("report run -q").code == 0);
    CHECK(troubles(verify()) == Names{"damaged env.json"});
    REQUIRE(program.notch("report run --out all -q").code == 0);
    CHECK(program.notch("verify all").code == 0);
    program.shell("echo >>all/report.html");
    CHECK(program.notch("verify all").code == 6);
  }
  SECTION("a run that goes on has none until it is finished") {
    program.shell("rm -r run/models && touch run/models");  // where its first row's model goes
    const Outcome refused = program.notch("run tiny.toml -q quant.bits=8,4 --resume");
    check_refused(refused, 4);
    CHECK(refused.err.find("run/models: cannot create") != std::string::npos);
    CHECK(told().empty());
    CHECK(program.notch("report run -q").code == 0);
    CHECK(told().empty());
    program.shell("rm run/models");
    REQUIRE(program.notch("run tiny.toml -q quant.bits=8,4 --resume").code == 0);
    CHECK(told() == both);
    CHECK(verify().code == 0);
  }
  SECTION("a finished run that is started again has them again") {
    REQUIRE(program.notch("run tiny.toml -q quant.bits=8,4").code == 0);
    CHECK(told() == both);
    CHECK(verify().code == 0);
    REQUIRE(program.notch("train tiny.toml -q --force").code == 0);
    CHECK(told() == "run/manifest.json\n");
    CHECK(verify().code == 0);
  }
}

TEST_CASE("a report in a folder of its own has digests") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  REQUIRE(program.notch("run tiny.toml model.n_embd=8 --out small -q").code == 0);
  REQUIRE(program.notch("report run --methods rtn --out some -q").code == 0);
  REQUIRE(program.notch("report run small --sizes --out sizes -q").code == 0);
  for (const char* file :
       {"some/report.html", "some/results.csv", "sizes/2.toml", "sizes/results.md"}) {
    CAPTURE(file);
    const fs::path path(file);
    const auto verify = [&] {
      return program.notch("verify " + path.parent_path().string() + " -o json");
    };
    const Outcome whole = verify();
    CHECK(whole.code == 0);
    CHECK(whole.out.find(path.filename().string()) != std::string::npos);
    CHECK(whole.out.find("no digest") == std::string::npos);
    const std::string text = read_file(program / file);
    program.write(file, text + "\n");
    const Outcome damaged = verify();
    CHECK(damaged.code == 6);
    CHECK(troubles(damaged) == Names{"damaged " + path.filename().string()});
    fs::remove(program / file);
    CHECK(verify().code == 6);
    program.write(file, text);
  }
  check_refused(program.notch("inspect some"), 4);  // no checkpoint
  // As earlier builds wrote them.
  fs::remove(program / "some/manifest.json");
  const Outcome old = program.notch("verify some -o json");
  CHECK(old.code == 0);
  CHECK(old.out.find("no digest") != std::string::npos);
}

TEST_CASE("verify knows weights by what is in the file") {
  const Program program;
  const std::string weights = program.train() + "/model.safetensors";
  program.shell("cp " + weights + " weights.bin; cp " + weights + " bare");
  for (const char* name : {"weights.bin", "bare"}) {
    CHECK(program.notch(std::string("verify ") + name).code == 0);
    flip_last_byte(program / name);
    CHECK(program.notch(std::string("verify ") + name).code == 6);
  }
  program.write("cut.bin", read_file(program / weights).substr(0, 7));
  check_refused(program.notch("verify cut.bin"), 3);
}

TEST_CASE("verify takes what no digest speaks of, and says so") {
  const Program program;
  program.shell("cp -r " + program.train() + " m && cp -r m copied && rm copied/manifest.json");
  CHECK(troubles(program.notch("verify copied -o json")).empty());
  // As another program leaves it: the header without the digest.
  const std::string bytes = read_file(program / "m/model.safetensors");
  std::uint64_t length = 0;
  for (int i = 0; i < 8; ++i)
    length |= std::uint64_t{static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)])}
              << 8 * i;
  const Json header = Json::parse(bytes.substr(8, length), "header");
  Json plain = Json::object();
  for (const auto& [name, entry] : header.as_object("header")) {
    if (name != "__metadata__") plain.set(name, entry);
  }
  std::string text = plain.dump();
  text.resize(length, ' ');
  program.write("m/model.safetensors", bytes.substr(0, 8) + text + bytes.substr(8 + length));
  const Outcome outcome = program.notch("verify m -o json");
  CHECK(outcome.code == 0);
  CHECK(troubles(outcome) == Names{"no digest model.safetensors"});
  CHECK(program.notch("eval m --text text.txt -q").code == 0);
}

TEST_CASE("verify refuses what it cannot look at") {
  const Program program;
  check_refused(program.notch("verify absent"), 4);
  check_refused(program.notch("verify ."), 4);
  program.train();
  check_refused(program.notch("verify run/models/fp32-seed1337 --evaluate"), 2);
}

TEST_CASE("verify passes over what a run has not finished") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q train.checkpoint_every=3").code == 0);
  const Outcome whole = program.notch("verify run -o json");
  const std::string step = "run/seed-1337/ckpt/fp32/step-000006";
  program.shell("mkdir " + step + ".tmp-1 run/models/rtn-int8-seed1337.tmp-1 && cp " + step +
                "/manifest.json " + step +
                ".tmp-1 && cp run/models/rtn-int8-seed1337/config.json "
                "run/models/rtn-int8-seed1337.tmp-1");
  const Outcome again = program.notch("verify run -o json");
  CHECK(again.code == 0);
  CHECK(again.out == whole.out);
  CHECK(whole.out.find("results.csv") != std::string::npos);
  CHECK(program.notch("verify run/seed-1337/ckpt/fp32").code == 0);
  CHECK(program.notch("inspect run").err.find(".tmp-") == std::string::npos);
  program.shell("rm -r run/seed-1337/ckpt/fp32/step-*[0-9]");
  CHECK(program.notch("inspect run/seed-1337/ckpt/fp32").err.find("checkpoints") ==
        std::string::npos);
}

TEST_CASE("verify names the file that is missing or is another's") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q quant.bits=8,4").code == 0);
  const std::string rows = "run/seed-1337/rows/";
  CHECK(program.notch("verify " + rows + "rtn-int8.json").code == 0);
  check_refused(program.notch("verify run data.score=val"), 2);
  for (const char* file : {"run/results.csv", "run/env.json", "text.txt"}) {
    const Outcome refused = program.notch(std::string("verify ") + file);
    check_refused(refused, 3);
    CHECK(refused.err.find("damaged") == std::string::npos);
  }
  program.shell("rm -r run/models/rtn-int8-seed1337 && cp " + rows + "rtn-int4.json " + rows +
                "fp32.json");
  const Outcome bad = program.notch("verify run -o json");
  CHECK(bad.code == 6);
  CHECK(troubles(bad) == Names{"damaged seed-1337/rows/fp32.json",
                               "damaged models/rtn-int8-seed1337/model.safetensors"});
  CHECK(program.notch("verify " + rows + "fp32.json").code == 6);
  // Its digest holds: it is a row of this run, not the one it is named as.
  check_refused(program.notch("report run --out all"), 3);
  check_refused(program.notch("advise run --memory 1GiB"), 3);
}

TEST_CASE("a row file notices every flipped bit") {
  experiments::RowResult row{.name = "rtn-int4", .method = "rtn", .bits = 4, .seconds = 0.25};
  row.eval = {.loss = 1.5, .window_losses = {3, 4.5}, .window_tokens = {2, 3}};
  const std::string good = experiments::row_text(row);
  CHECK(experiments::row_text(experiments::row_from_text(good, "r")) == good);
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(static_cast<unsigned char>(bad[bit / 8]) ^ (1u << bit % 8));
    CAPTURE(bad);
    REQUIRE(error_of([&] { experiments::row_from_text(bad, "r"); }).fault == Fault::input);
  }
  bool has_digest = true;
  const std::string old = experiments::to_json(row).dump() + "\n";
  CHECK(experiments::row_from_text(old, "r", &has_digest).name == "rtn-int4");
  CHECK_FALSE(has_digest);
}

TEST_CASE("bad lines of metrics keep no finished run from its report") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  for (const char* line :
       {R"({"run": "seed-1337/rtn-int8", "quantizer": {}})", R"({"run": 1, "step": "x"})",
        R"({"run": "seed-1337/fp32", "step": 4, "loss": [1]})",
        R"({"run": "seed-1337/fp32", "step": 4, "quantizer": {"reversals": [["a"]]}})"}) {
    program.write("run/metrics.jsonl", std::string(line) + "\n");
    fs::remove(program / "run/report.html");
    const Outcome again = program.notch("run tiny.toml -q");
    CAPTURE(line, again.err);
    CHECK(again.code == 0);
    CHECK(fs::exists(program / "run/report.html"));
  }
}

}  // namespace notch::test::verify_test
