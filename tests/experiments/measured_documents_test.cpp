// What the README and RESULTS.md say of speed and of other programs is what was recorded in experiments/results/: rounds
// where they were kept, else the medians that a script printed, with day and commit; machines.jsonl has the rest.
#include <set>

#include "tests/experiments/documents.h"

namespace measured_documents_test {

using namespace notch;
using namespace notch::test;

std::string text(const Json& record, const char* key) {
  return record.at(key, "record").as_string("record");
}

std::vector<double> list(const Json& record, const char* key) {
  std::vector<double> out;
  const Json* value = record.find(key);
  if (!value || value->is_null()) return out;
  if (value->is_number()) return {value->as_number(key)};
  for (const Json& each : value->as_array(key)) out.push_back(each.as_number(key));
  return out;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  REQUIRE(n > 0);
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Notch's tokens/s over the peer's: the median of what rounds had, or as it was printed.
double ratio(const Json& record) {
  if (record.find("ratio")) return record.at("ratio", "record").as_number("ratio");
  const std::vector<double> ours = list(record, "tokens_per_s");
  const std::vector<double> theirs = list(record, "peer_tokens_per_s");
  REQUIRE(ours.size() == theirs.size());
  std::vector<double> ratios;
  for (std::size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i] / theirs[i]);
  return median(ratios);
}

/// "W4A8, groups of 32 (Q4_0)" is of W4A8, "W8, fp32 activations" of W8.
std::string weights_of(const std::string& cell) {
  return cell.substr(0, cell.find_first_of(", ("));
}

/// None or one.
std::vector<double> inference(const std::vector<Json>& all, const std::string& shape,
                              const std::string& phase, const std::string& weights,
                              const std::string& peer) {
  for (const Json& r : all) {
    if (text(r, "shape") == shape && text(r, "phase") == phase && text(r, "weights") == weights &&
        text(r, "peer") == peer)
      return {ratio(r)};
  }
  return {};
}

TEST_CASE("RESULTS.md has the recorded speed beside other engines") {
  const std::vector<Json> all = records("peers_inference.jsonl");
  std::size_t compared = 0;
  for (const auto& [phase, first] :
       {std::pair{"prompt", "| prompt of 256 |"}, std::pair{"decode", "| decoding |"}}) {
    for (const auto& cells : table("experiments/RESULTS.md", first)) {
      REQUIRE(cells.size() == 7);
      std::size_t at = 1;
      for (const char* peer : {"llama.cpp", "ik_llama.cpp", "ONNX Runtime"}) {
        for (const char* shape : {"S", "M"}) {
          CAPTURE(phase, cells[0], peer, shape);
          const auto expected = inference(all, shape, phase, weights_of(cells[0]), peer);
          check_cell(cells[at++], expected);
          compared += expected.size();
        }
      }
    }
  }
  CHECK(compared == all.size());
}

TEST_CASE("the README has the recorded speed at M") {
  const std::vector<Json> all = records("peers_inference.jsonl");
  const auto lines = table("README.md", "| tokens/s at M over |");
  REQUIRE(lines.size() == 5);
  for (const auto& cells : lines) {
    REQUIRE(cells.size() == 5);
    CAPTURE(cells[0]);
    const std::string weights = weights_of(cells[0]);
    check_cell(cells[1], inference(all, "M", "prompt", weights, "llama.cpp"));
    check_cell(cells[2], inference(all, "M", "decode", weights, "llama.cpp"));
    check_cell(cells[3], inference(all, "M", "prompt", weights, "ik_llama.cpp"));
    check_cell(cells[4], inference(all, "M", "decode", weights, "ik_llama.cpp"));
  }
}

TEST_CASE("the documents have the recorded speed of training") {
  const std::vector<Json> all = records("training_speed.jsonl");
  const auto lines = table("experiments/RESULTS.md", "| shape | PyTorch");
  REQUIRE(lines.size() == all.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Json& r = all[i];
    const auto pair = [&](const char* ste, const char* lsq) {
      std::vector<double> both = list(r, ste);
      for (const double x : list(r, lsq)) both.push_back(x);
      return both;
    };
    CAPTURE(lines[i][0]);
    CHECK(lines[i][0] == text(r, "shape"));
    check_cell(lines[i][1], list(r, "over_pytorch"));
    check_cell(lines[i][2], list(r, "over_llm_c"));
    check_cell(lines[i][3], list(r, "gemm_floor_percent"));
    check_cell(lines[i][4], pair("w4_ste", "w4_lsq"));
    check_cell(lines[i][5], pair("w8a8_ste", "w8a8_lsq"));
    check_cell(lines[i][6], pair("w4a8_ste", "w4a8_lsq"));
    check_cell(lines[i][7], list(r, "bf16_over_pytorch"));
    check_cell(lines[i][8], pair("peak_mb", "qat_peak_mb"));
  }
  // The README's sentence: the least and the most of what the table has.
  const auto extremes = [&](std::initializer_list<const char*> keys) {
    std::vector<double> values;
    for (const Json& r : all) {
      for (const char* key : keys) {
        for (const double x : list(r, key)) values.push_back(x);
      }
    }
    const auto [low, high] = std::ranges::minmax(values);
    return std::vector{low, high};
  };
  check_cell(passage("README.md", "trains at", " times PyTorch"), extremes({"over_pytorch"}));
  check_cell(passage("README.md", "PyTorch 1.13's tokens/s and", " times llm.c's"), [&] {
    std::vector<double> both{1.13};
    for (const double x : extremes({"over_llm_c"})) both.push_back(x);
    return both;
  }());
  check_cell(passage("README.md", "a QAT step with 4-bit weights takes", " of fp32's"), [&] {
    std::vector<double> both{4};
    for (const double x : extremes({"w4_ste", "w4_lsq"})) both.push_back(x);
    return both;
  }());
  check_cell(passage("README.md", "8-bit activations as well", " (the"), [&] {
    std::vector<double> both{8};
    for (const double x : extremes({"w8a8_ste", "w8a8_lsq", "w4a8_ste", "w4a8_lsq"}))
      both.push_back(x);
    return both;
  }());
}

TEST_CASE("RESULTS.md has the recorded instructions outside of tiles") {
  for (const Json& r : records("serial_instructions.jsonl")) {
    const std::vector<double> tokens = list(r, "tokens"), all = list(r, "instructions"),
                              tiles = list(r, "in_tiles");
    const double n = tokens.at(1) - tokens.at(0);
    const double each = (all.at(1) - all.at(0)) / n, inside = (tiles.at(1) - tiles.at(0)) / n;
    const std::string model = text(r, "model");
    CAPTURE(model);
    check_cell(passage("experiments/RESULTS.md", model + " has", " million instructions"),
               {100 * (1 - inside / each), each / 1e6});
  }
}

TEST_CASE("the documents have what llama.cpp made of our files") {
  const std::vector<Json> all = records("gguf.jsonl");
  std::size_t compared = 0;
  // Types across, so that a table is read by its columns.
  const auto check = [&](const std::string& first, const std::string& written_by) {
    const std::vector<std::string> lines = lines_of("README.md");
    const auto head =
        std::ranges::find_if(lines, [&](const auto& l) { return l.starts_with(first); });
    REQUIRE(head != lines.end());
    const auto rows = table("README.md", first);
    REQUIRE(rows.size() == 3);
    for (const Json& r : all) {
      if (text(r, "written_by") != written_by) continue;
      const std::string type = str("| ", text(r, "type"), " |");
      CAPTURE(type, written_by);
      const std::size_t at = head->find(type);
      REQUIRE(at != head->npos);
      const auto column = static_cast<std::size_t>(
          std::count(head->begin(), head->begin() + static_cast<std::ptrdiff_t>(at), '|'));
      check_cell(rows[0].at(column), list(r, "perplexity"));
      check_cell(rows[1].at(column), list(r, "llama_cpp"));
      check_cell(rows[2].at(column), list(r, "same_top_percent"));
      ++compared;
    }
  };
  check("| perplexity | F32 |", "notch");
  check("| perplexity | Q6_K |", "llama.cpp");
  std::string said = passage("README.md", "ours / llama.cpp's: ", ".  Trained on");
  double apart = 0;
  std::vector<double> numbers;
  for (const Json& r : all) {
    apart = std::max(apart, list(r, "apart_nats").at(0));
    if (!text(r, "written_by").ends_with("codes of rtn-mse")) continue;
    const std::string type = text(r, "type") + " ";
    CAPTURE(type, said);
    REQUIRE(said.find(type) != said.npos);
    said.replace(said.find(type), type.size(), "");
    numbers.push_back(list(r, "perplexity").at(0));
    numbers.push_back(list(r, "llama_cpp").at(0));
    ++compared;
  }
  check_cell(said, numbers);
  CHECK(compared == all.size());
  check_cell(passage("README.md", "of the two are at most", " nats apart"),
             {std::ceil(100 * apart) / 100});
}

TEST_CASE("the README has what training on q4_0 took back") {
  std::map<std::string, double> perplexity;
  for (const Json& r : records("trained_gguf.jsonl")) {
    perplexity[text(r, "model")] = r.at("perplexity", "record").as_number("record");
  }
  const auto cost = [&](const char* model) {
    return std::log(perplexity.at(model)) - std::log(perplexity.at("control"));
  };
  const auto taken = [&](const char* model) { return 100 * (1 - cost(model) / cost("Q4_0")); };
  check_cell(passage("README.md", "too): the control", " % of the loss"),
             {perplexity.at("control"), perplexity.at("Q4_0"), perplexity.at("qat-lsq"),
              perplexity.at("qat-ste"), taken("qat-lsq"), taken("qat-ste")});
}

TEST_CASE("the README has what training on q2_k took back") {
  // By the perplexities of the log's table: "6.021 (6.570)" is a model and its Q2_K.
  const auto rows = table("experiments/LOG.md", "| seed | fp32 | control at 1/4 |");
  REQUIRE(rows.size() == 4);
  std::vector<double> of_fp32, of_control;
  for (const auto& cells : {rows[0], rows[1]}) {  // the rows of fp32
    const auto taken = [&](const std::string& reference) {
      const double whole = std::stod(reference), trained = std::stod(cells.at(6));
      const double rounded = std::stod(reference.substr(reference.find('(') + 1));
      return 100 * (1 - std::log(trained / whole) / std::log(rounded / whole));
    };
    of_fp32.push_back(taken(cells[1]));
    of_control.push_back(taken(cells[3]));
  }
  check_cell(passage("README.md", "`qat-lsq-kd` takes back", " % of what it adds to fp32"),
             of_fp32);
  check_cell(passage("README.md", "to fp32 and", " % of what it adds to the control"), of_control);
}

TEST_CASE("the README has how often rounded inputs change a token") {
  const std::vector<Json> all = records("rounded_inputs.jsonl");
  REQUIRE(all.size() == 4);
  check_cell(passage("README.md", "2,000 steps, ", " positions"),
             {2000, list(all[0], "positions").at(0)});
  check_cell(passage("README.md", "llama.cpp finds", " in Q6_K"),
             list(all[0], "llama_cpp_percent"));
  check_cell(passage("README.md", "in Q6_K and", " in Q4_K and Q2_K"),
             list(all[1], "llama_cpp_percent"));
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(list(all[i], "pytorch_percent") == list(all[i], "llama_cpp_percent"));
    check_cell(passage("README.md", "llama.cpp's token in", ". Of"), list(all[i], "both_percent"));
  }
  CHECK(list(all[2], "llama_cpp_percent") == list(all[1], "llama_cpp_percent"));
  check_cell(passage("README.md", "in Q8_0 it is", " of both"),
             {list(all[3], "llama_cpp_percent").at(0), list(all[3], "pytorch_percent").at(0),
              list(all[3], "both_percent").at(0)});
}

TEST_CASE("the README says what its first commands take") {
  for (const Json& r : records("times.jsonl")) {
    check_cell(passage("README.md", text(r, "of"), " in `"), list(r, "figures"));
  }
}

TEST_CASE("every record says when, where and of which build") {
  std::set<std::string> told;
  for (const Json& r : records("machines.jsonl")) {
    const std::string record = text(r, "record");
    CAPTURE(record);
    CHECK(fs::exists(file_of("experiments/results") / record));
    CHECK(text(r, "date").starts_with("2026-"));
    for (const char* key : {"cpu", "command", "build"}) CHECK_FALSE(text(r, key).empty());
    told.insert(record);
  }
  for (const auto& entry : fs::directory_iterator(file_of("experiments/results"))) {
    const std::string name = entry.path().filename().string();
    CAPTURE(name);
    CHECK((name == "machines.jsonl" || told.contains(name)));
  }
}

}  // namespace measured_documents_test
