// The numbers of the README's and RESULTS' tables of runs are those of the recorded runs in experiments/results/, whose
// .jsonl and .md `notch run` wrote as results.jsonl and results.md; each is the recorded one, rounded to the decimals
// that are printed. What was measured beside other programs is in measured_documents_test.cpp.
#include "tests/experiments/documents.h"

#include <set>

#include "experiments/config/config.h"
#include "experiments/run/setup.h"
#include "quant/methods/methods.h"

namespace documents_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

/// Lines between the heading that begins so and the next one of its kind.
std::vector<std::string> section(const char* document, const std::string& heading) {
  std::vector<std::string> lines = lines_of(document);
  const auto begin = std::ranges::find(lines, heading);
  REQUIRE(begin != lines.end());
  const auto end =
      std::find_if(begin + 1, lines.end(), [](const auto& l) { return l.starts_with("## "); });
  return {begin + 1, end};
}

/// What a section quotes, in tables, between fences and behind >, stands so in the recorded results.md; how many lines.
std::size_t check_quoted(const std::vector<std::string>& lines, const char* record) {
  const std::vector<std::string> all = lines_of(str("experiments/results/", record).c_str());
  const std::set<std::string> written(all.begin(), all.end());
  bool fenced = false;
  std::size_t quoted = 0;
  for (const std::string& line : lines) {
    const bool cited = line.starts_with("> ");
    if (line.starts_with("```")) {
      fenced = !fenced;
    } else if ((fenced || cited || line.starts_with("| ")) && !line.empty()) {
      CAPTURE(record, line);
      CHECK(written.contains(cited ? line.substr(2) : line));
      ++quoted;
    }
  }
  return quoted;
}

double weights_of(const char* config, int vocabulary) {
  const ExperimentConfig c = parse_config(read_file(file_of(config)), config).config;
  return static_cast<double>(first_model(c, vocabulary, 1)->params().count());
}

TEST_CASE("RESULTS.md has the recorded head-to-head") {
  const auto rows = recorded("headtohead.jsonl");
  const auto lines = table("experiments/RESULTS.md", "| method | bits | bits/weight | bytes |");
  REQUIRE(lines.size() > 40);
  for (const auto& cells : lines) {
    REQUIRE(cells.size() == 11);
    CAPTURE(cells[0], cells[1]);
    REQUIRE(rows.contains(cells[0] + ", " + cells[1]));
    const Row& row = rows.at(cells[0] + ", " + cells[1]);
    check_cell(cells[2], numbers(row, {"bits_per_weight"}));
    check_cell(cells[3], numbers(row, {"bytes"}));
    check_cell(cells[4], numbers(row, {"loss", "loss_sd"}));
    check_cell(cells[5], numbers(row, {"loss_change", "loss_change_low", "loss_change_high"}));
    check_cell(cells[6], numbers(row, {"perplexity_change_percent"}));
    check_cell(cells[7], numbers(row, {"kl_mean"}));
    check_cell(cells[8], numbers(row, {"same_top_percent"}));
    check_cell(cells[9],
               numbers(row, {"recovery_percent", "recovery_percent_low", "recovery_percent_high"}));
    check_cell(cells[10], numbers(row, {"control_recovery_percent", "control_recovery_percent_low",
                                        "control_recovery_percent_high"}));
  }
}

TEST_CASE("RESULTS.md quotes the recorded runs") {
  CHECK(check_quoted(section("experiments/RESULTS.md", "## The quick experiment"), "quick.md") >
        30);
  std::vector<std::string> verdicts = section("experiments/RESULTS.md", "## The head-to-head");
  std::erase_if(verdicts, [](const std::string& line) { return line.starts_with("| "); });
  CHECK(check_quoted(verdicts, "headtohead.md") > 5);
}

TEST_CASE("RESULTS.md says of the head-to-head what was recorded") {
  const auto rows = recorded("headtohead.jsonl");
  const auto of = [&](const char* name, const char* key) { return rows.at(name).at(key); };
  const auto lead = [&](const char* rounded, const char* trained) {
    return of(rounded, "loss") - of(trained, "loss");
  };
  const char* document = "experiments/RESULTS.md";
  check_cell(passage(document, "QAT leads by", " nats"),
             {lead("gptaq of control, 3", "qat-lsq, 3")});
  const std::string beats =
      passage("experiments/results/headtohead.md", "qat-lsq beats gptaq of control by", ";");
  CHECK(beats.ends_with("p < 0.0001"));
  CHECK(passage(document, "at 3 bits QAT leads by", ", at 2 bits by").ends_with("(p < 0.0001)"));
  check_cell(passage(document, "at 2 bits by", ". Labels and"),
             {2, lead("gptaq seq of control, 2", "qat-lsq seq, 2")});
  check_cell(passage(document, "takes back", "% of what"),
             {of("gptaq, 4", "recovery_percent"), of("gptaq, 3", "recovery_percent"),
              of("gptaq seq, 2", "recovery_percent")});
  check_cell(passage(document, "(KL ", " at 4, 3 and 2 bits"),
             {of("qat-lsq-kd-alone, 4", "kl_mean"), of("qat-lsq-kd-alone, 3", "kl_mean"),
              of("qat-lsq-kd-alone seq, 2", "kl_mean")});
  check_cell(passage(document, "R 93", " %)"), {of("qat-lsq-kd-alone, 4", "recovery_percent"),
                                                of("qat-lsq-kd-alone, 3", "recovery_percent"),
                                                of("qat-lsq-kd-alone seq, 2", "recovery_percent")});
}

TEST_CASE("RESULTS.md says of other sizes what was recorded") {
  const auto lines = table("experiments/RESULTS.md", "| part | steps |");
  REQUIRE(lines.size() == 7);
  for (const auto& cells : lines) {
    REQUIRE(cells.size() == 6);
    CAPTURE(cells[0]);
    const auto rows = recorded(str("sizes-", cells[0], ".jsonl").c_str());
    const auto least = [&](const char* method, int bits) {
      double loss = 1e9;
      for (const auto& [name, row] : rows)
        if (name.starts_with(method) && row.at("bits") == bits)
          loss = std::min(loss, row.at("loss"));
      return loss;
    };
    check_cell(cells[2], {rows.at("fp32, 32").at("loss"), least("fp32", 32)});
    for (const int bits : {4, 3, 2}) {
      const std::string& cell = cells[static_cast<std::size_t>(7 - bits)];
      if (cell != "-")
        check_cell(cell, {least("lsq", bits), least("gpt", bits), least("rtn", bits)});
    }
  }
}

TEST_CASE("the README's first table is of the head-to-head") {
  const auto rows = recorded("headtohead.jsonl");
  const auto lines = table("README.md", "| tinyshakespeare");
  const char* names[] = {"fp32, 32", "fp32-continue, 32", "rtn-mse, 4", "gptaq of control, 4",
                         "qat-ste, 4"};
  REQUIRE(lines.size() == std::size(names) + 1);
  for (std::size_t i = 0; i < std::size(names); ++i) {
    const Row& row = rows.at(names[i]);
    check_cell(lines[i][1], numbers(row, {"bits"}));
    check_cell(lines[i][2], numbers(row, {"bytes"}));
    check_cell(lines[i][3], numbers(row, {"loss"}));
    check_cell(lines[i][4], numbers(row, {"loss_change", "loss_change_low", "loss_change_high"}));
  }
  const Row &rounded = rows.at("gptaq seq of control, 2"), &trained = rows.at("qat-lsq seq, 2");
  check_cell(lines.back()[2], numbers(rounded, {"bytes"}));
  check_cell(lines.back()[3], {rounded.at("loss"), trained.at("loss")});
  check_cell(lines.back()[4], {rounded.at("loss_change"), trained.at("loss_change")});
  // Of 65 characters.
  check_cell(passage("README.md", "| tinyshakespeare, ", " weights"),
             {weights_of("experiments/headtohead.toml", 65)});
}

TEST_CASE("the README's first screen has all that a stranger needs") {
  std::vector<std::string> lines = lines_of("README.md");
  lines.resize(25);
  const auto has = [&](const std::string& part) {
    return std::ranges::any_of(lines, [&](const auto& l) { return l.find(part) != l.npos; });
  };
  for (const char* part :
       {"# Notch", "](experiments/report/headtohead.svg)", "| tinyshakespeare",
        "experiments/run.sh", "tests/run.sh", "- **Learn**", "- **Compare**", "- **Extend**"}) {
    CAPTURE(part);
    CHECK(has(part));
  }
  CHECK(fs::exists(file_of("experiments/report/headtohead.svg")));
}

TEST_CASE("the README's table of methods is of methods.toml") {
  const auto rows = recorded("methods.jsonl");
  std::size_t compared = 0;
  for (const auto& cells : table("README.md", "| method | what it does")) {
    const std::string name = cells[0].substr(1, cells[0].size() - 2);  // between backticks
    const auto at = rows.find(name + ", 4");
    CAPTURE(name);
    CHECK((at == rows.end()) == (cells[2] == "-"));
    if (at == rows.end()) continue;
    const bool from_text = quant::method(name).trains() && !name.ends_with("-kd");
    const Row& fp32 = rows.at(from_text ? "fp32-continue, 32" : "fp32, 32");
    check_cell(cells[2], {at->second.at("loss") - fp32.at("loss")});
    check_cell(cells[3], {at->second.at("bytes") / 1000});
    ++compared;
  }
  CHECK(compared + 1 == quant::methods().size());  // all but aqlm, which has another grid
}

}  // namespace documents_test
