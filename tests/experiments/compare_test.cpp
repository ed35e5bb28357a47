// A whole comparison, so small that it takes a moment: its rows, what an interrupted run finds
// again, and the table in every format.
#include "experiments/run/compare.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "autograd/base/files.h"
#include "autograd/base/sha256.h"
#include "experiments/report/report.h"
#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::compare_test {

using test::error_of;
using test::run_all;
using test::tiny_experiment;

/// The tiny experiment, run once for all tests of a process: under ctest each test case is one, so
/// what only looks at the results is a section.
struct Finished {
  ExperimentConfig config = tiny_experiment();
  Data data = load_data(config, {});
  test::TemporaryDirectory directory{};
  std::vector<SeedResults> seeds = run_all(config, data, directory / "run", Earlier::refuse);

  fs::path path() const { return directory / "run"; }
  fs::path weights(std::string_view row, int seed = 1) const {
    return path() / "models" / str(row, "-seed", seed) / nn::kWeightsFile;
  }
  fs::path row_file(std::string_view row, int seed = 1) const {
    return path() / str("seed-", seed) / "rows" / str(row, ".json");
  }
};

const Finished& finished() {
  static const Finished run;
  return run;
}

TEST_CASE("A finished or interrupted comparison says the same") {
  SECTION(
      "every method has a row at every width, and post-training ones a second from the control") {
    const Finished& run = finished();
    REQUIRE(run.seeds.size() == 2);
    std::vector<std::string> names{"fp32", "fp32-continue"};
    for (const int bits : {8, 4, 2}) {
      for (const quant::Method* method : quant::methods()) {
        if (method->grid) continue;
        names.push_back(str(method->name, "-int", bits));
        if (!method->trains()) names.push_back("control-" + names.back());
      }
    }
    for (const SeedResults& seed : run.seeds) {
      std::vector<std::string> found;
      for (const RowResult& row : seed.rows) found.push_back(row.name);
      CHECK(found == names);
      for (const RowResult& row : seed.rows) {
        INFO(row.name);
        const int s = static_cast<int>(seed.seed);
        CHECK(fs::exists(run.row_file(row.name, s)));
        CHECK(row.sha256 == sha256_file(run.weights(row.name, s)));
        CHECK(row.file_bytes == static_cast<std::int64_t>(fs::file_size(run.weights(row.name, s))));
        CHECK(row.eval.from_base.has_value() == (row.name != "fp32"));
        CHECK(row.eval.window_losses.size() == seed.rows[0].eval.window_losses.size());
        CHECK(row.accuracy.has_value());
        CHECK(row.on_control == row.name.starts_with("control-"));
        CHECK((row.bits == 32 || row.moved > 0));
        const bool has_hessian = row.method.starts_with("gpt");  // gptq, gptaq, gptq-hadamard
        CHECK(row.figures.contains("gptq_error_share") == has_hessian);
        if (has_hessian) {
          CHECK(row.figures.at("gptq_error_share") > 0);
          CHECK(row.figures.at("gptq_error_share") < 1);
          CHECK(row.figures.at("gptq_condition") >= 1);
          CHECK(row.figures.at("gptq_damp") == run.config.quant.options.gptq.damp);
        }
      }
      CHECK(find_row(seed, "no-such-row") == nullptr);
      CHECK(find_row(seed, "rtn-int2")->eval.loss > find_row(seed, "rtn-int8")->eval.loss);
      CHECK(find_row(seed, "rtn-int2")->file_bytes < find_row(seed, "rtn-int4")->file_bytes);
      CHECK(find_row(seed, "rtn-int4")->file_bytes < find_row(seed, "rtn-int8")->file_bytes);
      CHECK(find_row(seed, "rtn-int8")->file_bytes < find_row(seed, "fp32")->file_bytes);
      // The artefacts have taken the checkpoints' place, but for fp32's.
      for (const auto& entry :
           fs::directory_iterator(run.path() / str("seed-", seed.seed) / "ckpt")) {
        CHECK(entry.path().filename() == "fp32");
      }
    }
    CHECK(run.seeds[0].rows[0].eval.loss != run.seeds[1].rows[0].eval.loss);
  }
  SECTION("metrics.jsonl has every layer of every GPTQ row, and they add up to the row") {
    const Finished& run = finished();
    std::istringstream metrics(read_file(run.path() / "metrics.jsonl"));
    std::map<std::string, std::pair<double, double>> errors;
    std::map<std::string, std::set<std::string>> layers;
    for (std::string line; std::getline(metrics, line);) {
      const Json json = Json::parse(line, "metrics");
      if (json.find("output_error") == nullptr) continue;
      const std::string row = json.at("run", "t").as_string("t");
      CHECK(layers[row].insert(json.at("layer", "t").as_string("t")).second);
      errors[row].first += json.at("output_error", "t").as_number("t");
      errors[row].second += json.at("rtn_output_error", "t").as_number("t");
      CHECK(json.at("damp", "t").as_number("t") == run.config.quant.options.gptq.damp);
      CHECK(json.at("condition", "t").as_number("t") >= 1);
      CHECK(json.at("dead_inputs", "t").as_int("t") == 0);
    }
    // gptq, gptaq, gptq-hadamard, lqer, spqr and gsq; 2 seeds, 3 widths, fp32 and its control
    CHECK(layers.size() == 6 * 12);
    for (const SeedResults& seed : run.seeds) {
      for (const RowResult& row : seed.rows) {
        const auto share = row.figures.find("gptq_error_share");
        if (share == row.figures.end()) continue;
        const auto [error, rtn_error] = errors.at(str("seed-", seed.seed, "/", row.name));
        CHECK(layers.at(str("seed-", seed.seed, "/", row.name)).size() ==
              5);  // 4 linears, the head
        CHECK(error / rtn_error == Approx(share->second));
      }
    }
  }
  SECTION("a row reads back from its file as it was") {
    for (const SeedResults& seed : finished().seeds) {
      for (const RowResult& row : seed.rows) {
        INFO(row.name);
        const std::string text = to_json(row).dump();
        const RowResult back = row_from_json(Json::parse(text, "row"), "row");
        CHECK(to_json(back).dump() == text);
        CHECK(back.eval.loss == row.eval.loss);
        CHECK(back.eval.window_losses == row.eval.window_losses);
        CHECK(back.eval.window_tokens == row.eval.window_tokens);
        CHECK(back.accuracy == row.accuracy);
        CHECK(back.size.bytes() == row.size.bytes());
        CHECK(back.sha256 == row.sha256);
      }
    }
    const RowResult plain{.name = "fp32"};  // no task, no base
    const RowResult back = row_from_json(Json::parse(to_json(plain).dump(), "row"), "row");
    CHECK_FALSE(back.accuracy);
    CHECK_FALSE(back.eval.from_base);
  }
  SECTION("a row file that lacks a member, or has another type there, is named") {
    Json whole = to_json(finished().seeds[0].rows[1]);
    Json lacking = Json::object();
    for (const auto& [key, value] : whole.as_object("row")) {
      if (key != "sha256") lacking.set(key, value);
    }
    CHECK(error_of([&] { row_from_json(lacking, "r.json"); }).fault == Fault::input);
    Json wrong = whole;
    wrong.set("bits", Json("eight"));
    const ErrorParts parts = error_of([&] { row_from_json(wrong, "r.json"); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.where.find("r.json") != std::string::npos);
    Json short_of_windows = whole;
    short_of_windows.set("window_losses", Json(Json::Array{1.0}));
    CHECK(error_of([&] { row_from_json(short_of_windows, "r.json"); }).field == "window_losses");
    for (const char* count : {"bits", "weights", "layers", "file_bytes"}) {
      Json negative = whole;
      negative.set(count, -1);
      CAPTURE(count);
      CHECK(error_of([&] { row_from_json(negative, "r.json"); }).field == count);
    }
    Json wrapped = whole;  // 2^32 + 4 is no 4
    wrapped.set("bits", (std::int64_t{1} << 32) + 4);
    CHECK(error_of([&] { row_from_json(wrapped, "r.json"); }).field == "bits");
  }
  SECTION("the hash depends on every row's artefact and loss, and on nothing that time changes") {
    std::vector<SeedResults> seeds = finished().seeds;
    const std::string hash = results_hash(seeds);
    seeds[0].rows[3].seconds += 1;
    CHECK(results_hash(seeds) == hash);
    const auto differs = [&](auto change) {
      std::vector<SeedResults> other = finished().seeds;
      change(other);
      return results_hash(other) != hash;
    };
    CHECK(differs([](auto& s) { s[1].rows[2].sha256[0] ^= 1; }));
    CHECK(differs(
        [](auto& s) { s[0].rows[2].eval.loss = std::nextafter(s[0].rows[2].eval.loss, 9); }));
    CHECK(differs([](auto& s) { std::swap(s[0].rows[2], s[0].rows[3]); }));
    CHECK(differs([](auto& s) { s[0].rows.pop_back(); }));
  }
  SECTION("the table has its columns in every format, one line per row") {
    const Finished& run = finished();
    const Statistics statistics(run.seeds);
    const Table table = results_table(statistics);
    const std::size_t rows = run.seeds[0].rows.size();
    std::vector<std::string> keys;
    // Whether a share can be given with two seeds is up to the numbers.
    const Table shown = table.without_empty_columns();
    for (const Column& c : shown.columns()) {
      if (!c.key.ends_with("recovery_percent")) keys.push_back(c.key);
    }
    CHECK(keys == std::vector<std::string>{
                      "method", "bits", "granularity", "bits_per_weight", "coded_bits_per_weight",
                      "bytes", "loss", "loss_change", "bits_per_byte", "perplexity",
                      "perplexity_change_percent", "kl_mean", "kl_99", "same_top_percent",
                      "worst_window", "accuracy_percent", "seconds"});
    const auto lines = [](const std::string& text) {
      return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    };
    const std::string csv = read_file(run.path() / "results.csv");
    CHECK(csv == render(table, TableFormat::csv));
    CHECK(lines(csv) == rows + 1);
    for (const Column& c : table.columns())  // those without a value, too
      CHECK(csv.substr(0, csv.find('\n')).find(c.key) != std::string::npos);
    const std::string jsonl = read_file(run.path() / "results.jsonl");
    CHECK(lines(jsonl) == rows);
    for (std::size_t at = 0, i = 0; i < rows; ++i) {
      const std::size_t end = jsonl.find('\n', at);
      const Json line = Json::parse(jsonl.substr(at, end - at), "results.jsonl");
      at = end + 1;
      const RowResult &a = run.seeds[0].rows[i], &b = *find_row(run.seeds[1], a.name);
      const auto value = [&](const char* key) { return line.at(key, a.name).as_number(key); };
      CHECK(value("bits") == a.bits);
      CHECK(value("loss") == Approx((a.eval.loss + b.eval.loss) / 2));
      CHECK(value("loss_sd") == Approx(std::abs(a.eval.loss - b.eval.loss) / std::sqrt(2.0)));
      CHECK(value("perplexity") == Approx(std::exp((a.eval.loss + b.eval.loss) / 2)));
      CHECK(value("bytes") == static_cast<double>(a.file_bytes + b.file_bytes) / 2);
      CHECK(value("bits_per_weight") ==
            Approx((a.size.bits_per_weight() + b.size.bits_per_weight()) / 2));
      CHECK(value("accuracy_percent") == Approx(50 * (*a.accuracy + *b.accuracy)));
      if (a.name == "fp32") continue;
      CHECK(value("kl_mean") ==
            Approx((a.eval.from_base->kl_mean + b.eval.from_base->kl_mean) / 2));
      CHECK(value("loss_change") ==
            Approx((a.eval.loss + b.eval.loss - run.seeds[0].rows[0].eval.loss -
                    run.seeds[1].rows[0].eval.loss) /
                   2)
                .margin(1e-9));
    }

    const std::string screen = render(table, TableFormat::screen);
    CHECK(lines(screen) >= rows + 1);
    const std::string markdown = read_file(run.path() / "results.md");
    CHECK(markdown.find(render(table, TableFormat::markdown)) != std::string::npos);
    CHECK(markdown.find(results_hash(run.seeds)) != std::string::npos);
  }
  SECTION("the size of a row is the sum of its parts, and the report has them") {
    const SeedResults& seed = finished().seeds[0];
    const Table table = size_table(seed);
    std::size_t at = 0;
    for (const RowResult& row : seed.rows) {
      if (row.bits == 32) continue;
      INFO(row.name);
      const auto cell = [&](std::string_view key) {
        const auto column = std::ranges::find(table.columns(), key, &Column::key);
        REQUIRE(column != table.columns().end());
        const Cell& c = table.rows().at(at)[std::size_t(column - table.columns().begin())];
        return std::holds_alternative<Number>(c) ? std::get<Number>(c).value : 0;
      };
      CHECK(cell("codes") + cell("scales") + cell("side_products") + cell("rest") ==
            Approx(cell("bits_per_weight")));
      CHECK(cell("coded_per_code") >= cell("code_entropy"));
      CHECK(cell("file_bytes") == static_cast<double>(row.file_bytes));
      ++at;
    }
    CHECK(at == table.rows().size());
    CHECK(read_file(finished().path() / "results.md").find(render(table, TableFormat::markdown)) !=
          std::string::npos);
  }
  SECTION("the header says what was measured") {
    const Finished& run = finished();
    const std::string header = table_header(run.config, run.data, run.seeds);
    for (const std::string& part :
         {run.config.name, run.data.source.corpus.sha256.substr(0, 12), str("context ", 32),
          str(run.data.source.tokens.val.size() - 1), str("2 seeds"), str("[-7,7]"),
          str("in fp32: wpe, norms, biases;")}) {
      INFO(part);
      CHECK(header.find(part) != std::string::npos);
    }
    // Calibration is that of a row.
    ExperimentConfig config = run.config;
    for (const std::string method : {"gptq", "rtn", "qat-ste"}) {
      for (const int bits : {0, 8}) {
        config.quant.methods = {method};
        config.activations.bits = {bits};
        config.activations.spec.range = quant::ActivationRange::fixed;
        INFO(method << " with activations of " << bits << " bits");
        CHECK((table_header(config, run.data, run.seeds).find("calibration") !=
               std::string::npos) == (method != "rtn" || bits > 0));
      }
    }
  }
  SECTION("an interrupted run goes on to the same hash") {
    ExperimentConfig config = tiny_experiment();
    config.seeds = {1};
    const Data& data = finished().data;
    const test::TemporaryDirectory directory;
    const fs::path path = directory / "run";
    fs::copy(finished().path(), path, fs::copy_options::recursive);
    std::ofstream(path / "config.resolved.toml", std::ios::binary) << to_toml(config);
    const std::string expected = results_hash({finished().seeds[0]});
    const auto weights = [&](std::string_view row) {
      return path / "models" / str(row, "-seed1") / nn::kWeightsFile;
    };
    const auto row_file = [&](std::string_view row) {
      return path / "seed-1" / "rows" / str(row, ".json");
    };

    std::set<std::string> remade;
    SECTION("nothing is missing") {}
    SECTION("killed after an artefact, before its row") {
      for (const char* row : {"qat-lsq-int4", "rtn-int8", "control-gptq-int2"}) {
        fs::remove(row_file(row));
        remade.insert(row);
      }
    }
    SECTION("artefacts that are gone or damaged") {
      fs::remove_all(weights("gptq-int8").parent_path());
      fs::resize_file(weights("qat-ste-kd-int2"), fs::file_size(weights("qat-ste-kd-int2")) / 2);
      std::fstream(weights("rtn-int4"), std::ios::in | std::ios::out | std::ios::binary)
          .seekp(-1, std::ios::end)
          .put('\x55');
      remade = {"gptq-int8", "qat-ste-kd-int2", "rtn-int4"};
    }
    SECTION("fp32 and the control themselves") {
      fs::resize_file(weights("fp32"), 10);
      fs::resize_file(weights("fp32-continue"), fs::file_size(weights("fp32-continue")) - 1);
      fs::remove(row_file("gptq-int4"));
      remade = {"fp32", "fp32-continue", "gptq-int4"};
    }
    SECTION("killed early: no row of the last width") {
      for (const RowResult& row : finished().seeds[0].rows) {
        if (row.bits != 2) continue;
        fs::remove(row_file(row.name));
        fs::remove_all(weights(row.name).parent_path());
        remade.insert(row.name);
      }
    }
    SECTION("temporaries of a writer that was killed") {
      fs::create_directories(path / "models" / "gptq-int4-seed1.tmp-1");
      std::ofstream(path / "seed-1" / "rows" / "gptq-int4.json.tmp-1") << "{";
      fs::remove(row_file("gptq-int4"));
      remade = {"gptq-int4"};
    }

    std::map<std::string, fs::file_time_type> before;
    for (const RowResult& row : finished().seeds[0].rows) {
      if (fs::exists(row_file(row.name))) {
        fs::last_write_time(row_file(row.name), fs::file_time_type{});  // long ago
        before[row.name] = fs::last_write_time(row_file(row.name));
      }
    }
    const std::vector<SeedResults> again = run_all(config, data, path, Earlier::resume);
    CHECK(results_hash(again) == expected);
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      INFO(entry.path().string());
      CHECK(entry.path().filename().string().find(".tmp-") == std::string::npos);
    }
    for (const RowResult& row : again[0].rows) {
      INFO(row.name);
      const bool kept = before.contains(row.name) &&
                        before.at(row.name) == fs::last_write_time(row_file(row.name));
      CHECK(kept != remade.contains(row.name));
      CHECK(row.sha256 == sha256_file(weights(row.name)));
    }
  }
}

TEST_CASE("train_base makes only the fp32 model, compare finds it") {
  ExperimentConfig config = tiny_experiment();
  config.row = {{.method = "rtn", .bits = 8}};
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const RunDir dir(directory / "run", Earlier::refuse);
  dir.write_config(to_toml(config));
  Progress progress({.quiet = true});
  const RunContext run{config, data, dir, progress};
  const std::optional<RowResult> base = train_base(run, 1);
  REQUIRE(base);
  const std::optional<SeedResults> all = compare(run, 1);
  REQUIRE(all);
  REQUIRE(all->rows.size() == 4);  // and the control, and the row made from both
  CHECK(all->rows[0].sha256 == base->sha256);
  CHECK(all->rows[0].eval.window_losses == base->eval.window_losses);
  CHECK(all->rows[0].seconds == base->seconds);  // read, not trained again
}

TEST_CASE("Explicit rows: half precision, per-tensor scales, groups") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.quant.control = false;
  config.row = {{.method = "fp32"},
                {.method = "fp16"},
                {.method = "rtn", .bits = 8, .granularity = "tensor"},
                {.method = "rtn", .bits = 8},
                {.method = "gptq", .bits = 4, .granularity = "group", .group_size = 8},
                {.method = "qat-lsq", .bits = 3, .granularity = "group", .group_size = 16}};
  const test::TemporaryDirectory directory;
  const std::vector<SeedResults> seeds =
      run_all(config, load_data(config, {}), directory / "run", Earlier::refuse);
  std::vector<std::string> names, granularities;
  for (const RowResult& row : seeds[0].rows) {
    names.push_back(row.name);
    granularities.push_back(row.granularity);
  }
  CHECK(names == std::vector<std::string>{"fp32", "fp16", "rtn-int8-tensor", "rtn-int8",
                                          "gptq-int4-g8", "qat-lsq-int3-g16"});
  CHECK(granularities ==
        std::vector<std::string>{"", "", "tensor", "channel", "group 8", "group 16"});
  const RowResult &fp32 = seeds[0].rows[0], &fp16 = seeds[0].rows[1];
  CHECK(fp16.bits == 16);
  CHECK(fp16.size.bits_per_weight() == Approx(16));
  CHECK(fp16.file_bytes < fp32.file_bytes);
  CHECK(fp16.eval.loss == Approx(fp32.eval.loss).margin(1e-3));
  CHECK(fp16.eval.loss != fp32.eval.loss);
  CHECK(seeds[0].rows[2].size.scale_bytes < seeds[0].rows[3].size.scale_bytes);
  CHECK(fs::exists(directory / "run" / "results.md"));
}

}  // namespace notch::experiments::compare_test
