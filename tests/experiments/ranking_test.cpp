// Who beats whom: order, correction, references and words, on losses made by hand.
#include "experiments/report/ranking.h"

#include <algorithm>
#include <set>

#include "experiments/report/report.h"
#include "tests/catch.h"

namespace notch::experiments::ranking_test {

/// Rows of `windows` windows of ten tokens each; a row's loss moves by ±spread every five
/// window.
RowResult row(std::string method, double loss, int bits, double spread = 0) {
  RowResult out{.name = bits == 32 ? method : method + "-int" + std::to_string(bits),
                .method = method,
                .bits = bits,
                .granularity = bits == 32 ? "" : "channel",
                .trained = method.starts_with("qat") || method == "fp32-continue"};
  out.distilled = method.ends_with("-kd");
  out.aims_at_data = out.trained && !out.distilled;
  if (out.aims_at_data && bits < 32) out.control = kControlRow;
  for (int w = 0; w < 20; ++w) {
    out.eval.window_losses.push_back(10 * (loss + (w / 5 % 2 == 0 ? spread : -spread)));
    out.eval.window_tokens.push_back(10);
  }
  out.eval.loss = loss;
  return out;
}

RowResult of_control(RowResult r) {
  r.name = "control-" + r.name;
  r.on_control = true;
  r.control = kControlRow;
  return r;
}

std::vector<SeedResults> one_seed() {
  return {{1,
           {row("fp32", 2.0, 32), row("fp32-continue", 1.95, 32), row("rtn", 2.4, 4),
            row("gptq", 2.1, 4), of_control(row("gptq", 2.05, 4)), row("qat-ste", 2.04, 4, 1),
            row("qat-lsq-kd", 2.01, 4), row("rtn", 2.0005, 8), row("gptq", 2.01, 8)}}};
}

TEST_CASE("Widths keep the table's order, rows go by their loss") {
  const std::vector<SeedResults> seeds = one_seed();
  const Statistics statistics(seeds);
  const std::vector<WidthRanking> all = rankings(statistics);
  REQUIRE(all.size() == 2);
  CHECK(all[0].title == "INT4 channel");
  CHECK(all[1].title == "INT8 channel");
  std::vector<std::string> order;
  for (const RowResult* r : all[0].rows) order.push_back(label(*r));
  CHECK(order ==
        std::vector<std::string>{"qat-lsq-kd", "qat-ste", "gptq of control", "gptq", "rtn"});
  CHECK(all[0].pairs.size() == 10);
  std::vector<double> p, adjusted;
  for (const Pair& pair : all[0].pairs) {
    CHECK(pair.difference.mean >= 0);
    p.push_back(pair.difference.p());
    adjusted.push_back(pair.p);
  }
  CHECK(adjusted == holm(p));
  const Pair& pair = all[0].pair(all[0].rows[4], all[0].rows[0]);
  CHECK(pair.better == all[0].rows[0]);
  CHECK(pair.difference.mean == Approx(0.39));
  CHECK(pair.resolved());
}

TEST_CASE("A row is measured against its equals in tokens and aim") {
  const std::vector<SeedResults> seeds = one_seed();
  const Statistics statistics(seeds);
  const auto of = [&](std::string_view name) {
    return statistics.reference_of(*find_row(seeds[0], name));
  };
  CHECK(of("gptq-int4") == "fp32");
  CHECK(of("qat-lsq-kd-int4") == "fp32");
  CHECK(of("control-gptq-int4") == "fp32-continue");
  CHECK(of("qat-ste-int4") == "fp32-continue");
  std::vector<SeedResults> alone{{1, {row("fp32", 2, 32), row("qat-ste", 2, 4)}}};
  const Statistics without(alone);
  CHECK(without.reference_of(alone[0].rows[1]) == "fp32");
  CHECK(verdict(without, rankings(without)).find("No control was made: what qat-ste INT4 gain") ==
        0);
}

TEST_CASE("The matrix has effects above and p-values below") {
  const std::vector<SeedResults> seeds = one_seed();
  const Statistics statistics(seeds);
  const WidthRanking w = rankings(statistics)[0];
  const Table table = matrix(w);
  REQUIRE(table.rows().size() == 5);
  REQUIRE(table.columns().size() == 6);
  const auto cell = [&](std::size_t r, std::size_t c) {
    return std::get<std::string>(table.rows()[r][c + 1]);
  };
  CHECK(cell(0, 4) == "0.3900 *");
  CHECK(cell(4, 0) == "<1e-4");
  CHECK(cell(0, 1) == "0.0300");  // qat-ste's windows disagree
  CHECK(cell(2, 2) == "-");
  CHECK(pairs_table(rankings(statistics)).rows().size() == 11);
}

TEST_CASE("Rows of unequal bytes are compared with these beside") {
  std::vector<SeedResults> seeds = one_seed();
  seeds[0].rows.push_back(of_control(row("rtn", 2.3, 4)));
  const auto bytes = [&](std::string_view name, std::int64_t n) {
    std::ranges::find(seeds[0].rows, name, &RowResult::name)->file_bytes = n;
  };
  for (RowResult& r : seeds[0].rows) r.file_bytes = 1000;
  {
    bytes("qat-lsq-kd-int4", 1020);  // 2 % more count as equal
    const Statistics statistics(seeds);
    CHECK(statistics.other_bytes("qat-lsq-kd-int4", "rtn-int4").empty());
    CHECK(verdict(statistics, rankings(statistics)).find("bytes") == std::string::npos);
    CHECK(matrix(rankings(statistics)[0]).columns().size() == 7);
  }
  bytes("qat-lsq-kd-int4", 1250);
  const Statistics statistics(seeds);
  CHECK(statistics.other_bytes("qat-lsq-kd-int4", "rtn-int4") == " (+25 % bytes)");
  CHECK(statistics.other_bytes("rtn-int4", "qat-lsq-kd-int4") == " (-20 % bytes)");
  const std::string text = verdict(statistics, rankings(statistics));
  INFO(text);
  const auto says = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  CHECK(says("It beats gptq of control (-20 % bytes) by 0.0400 nats"));
  CHECK(says("Not resolvable from it: qat-ste (-20 % bytes)."));
  CHECK(says("qat-lsq-kd beats gptq (-20 % bytes) by 0.0900 nats"));
  CHECK(says("qat-ste not resolvable from gptq of control, -0.0100"));
  CHECK(says("with other bytes than it: qat-lsq-kd INT4 (+25 % bytes).\n"));
  const Table table = matrix(rankings(statistics)[0]);
  CHECK(table.columns().at(1).key == "bytes");
  CHECK(std::get<Number>(table.rows().at(0).at(1)).value == 1250);
  CHECK(std::get<std::string>(table.rows().at(0).at(7)) == "0.3900 *");
  CHECK(matrix(rankings(statistics)[1]).columns().at(1).key != "bytes");  // 8 bits
  const std::string pairs = render(pairs_table(rankings(statistics)), TableFormat::csv);
  CHECK(pairs.find("INT4 channel,qat-lsq-kd,rtn,1250,1000,") != std::string::npos);
}

TEST_CASE("Equivalence is tested from 6 bits upwards") {
  const std::vector<SeedResults> seeds = one_seed();
  const Table table = equivalence_table(Statistics(seeds));
  REQUIRE(table.rows().size() == 2);
  const auto verdict_of = [&](std::size_t r) {
    return std::get<std::string>(table.rows()[r].back());
  };
  CHECK(verdict_of(0) == "equivalent");  // 0.0005 nats
  CHECK(verdict_of(1) == "not shown");   // 0.01 nats
}

TEST_CASE("The verdict names best, beaten and tied rows per width") {
  const std::vector<SeedResults> seeds = one_seed();
  const Statistics statistics(seeds);
  const std::string text = verdict(statistics, rankings(statistics));
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);  // control, two widths, the size
  CHECK(text.starts_with("Control: "));
  const std::size_t at = text.find("INT4 channel: qat-lsq-kd has the lowest loss, +0.0100 nats");
  REQUIRE(at != std::string::npos);
  const std::string int4 = text.substr(at, text.find('\n', at) - at);
  CHECK(int4.find("It beats gptq of control by 0.0400 nats") != std::string::npos);
  CHECK(int4.find("Not resolvable from it: qat-ste.") != std::string::npos);
  // The distilled row aims at fp32 and is set against its GPTQ, the other against the control's.
  CHECK(int4.find("qat-lsq-kd beats gptq by 0.0900 nats") != std::string::npos);
  CHECK(text.find("All this is of one model of ") != std::string::npos);
  CHECK(int4.find("qat-ste not resolvable from gptq of control, -0.0100 nats") !=
        std::string::npos);
  CHECK(text.find("INT8 channel: rtn has the lowest loss") != std::string::npos);
}

TEST_CASE("The intervals of a verdict are those of its pairs") {
  std::vector<SeedResults> seeds = one_seed();
  seeds.push_back(one_seed()[0]);
  seeds[1].seed = 2;
  // Of this pair alone the seeds disagree, so that its own seeds and those of all pairs say other things.
  for (double& loss : seeds[1].rows[5].eval.window_losses) loss += 10 * 0.03;
  seeds[1].rows[5].eval.loss += 0.03;
  const Statistics statistics(seeds);
  const std::vector<WidthRanking> all = rankings(statistics);
  const auto of = [&](std::string_view name) {
    return *std::ranges::find(all[0].rows, name, [](const RowResult* r) { return label(*r); });
  };
  const Pair& pair = all[0].pair(of("qat-ste"), of("gptq of control"));
  const Difference own = statistics.difference("qat-ste-int4", "control-gptq-int4");
  REQUIRE(std::abs(own.high - own.low) != Approx(pair.difference.high - pair.difference.low));
  const bool is_worse = pair.worse == of("qat-ste");
  const double mean = is_worse ? pair.difference.mean : -pair.difference.mean;
  const double low = is_worse ? pair.difference.low : -pair.difference.high;
  const double high = is_worse ? pair.difference.high : -pair.difference.low;
  const std::string text = verdict(statistics, all);
  INFO(text);
  CHECK(text.find(str("qat-ste not resolvable from gptq of control, ", printed("%+.4f", mean),
                      " nats [", printed("%+.4f", low), ", ", printed("%+.4f", high), "]")) !=
        std::string::npos);
}

TEST_CASE("A row is compared with its own control and its GPTQ") {
  std::vector<SeedResults> seeds = one_seed();
  std::vector<RowResult>& rows = seeds[0].rows;
  RowResult other = row("fp32-continue", 1.97, 32);
  other.name = "fp32-continue-lr=0.0005";
  other.method = "fp32-continue lr=0.0005";
  RowResult gptq = of_control(row("gptq", 2.06, 4));
  gptq.name = "control-lr=0.0005-gptq-int4";
  gptq.control = other.name;
  const auto kd = std::ranges::find(rows, "qat-lsq-kd-int4", &RowResult::name);
  kd->aims_at_data = true;  // labels beside the teacher
  kd->control = other.name;
  rows.push_back(gptq);
  rows.insert(rows.begin() + 2, other);
  const Statistics statistics(seeds);
  CHECK(label(gptq) == "gptq of control lr=0.0005");
  const std::string text = verdict(statistics, rankings(statistics));
  INFO(text);
  const auto says = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  CHECK(says("Control: the extra steps alone change fp32 by -0.0500"));
  CHECK(says("Trained like it: qat-ste INT4.\n"));
  CHECK(says("Control lr=0.0005: the extra steps alone change fp32 by -0.0300"));
  CHECK(says("Trained like it: qat-lsq-kd INT4.\n"));
  CHECK(
      says("+0.0100 nats [+0.0100, +0.0100] from fp32 and +0.0400 nats [+0.0400, +0.0400] from "
           "the control lr=0.0005."));
  CHECK(says("qat-lsq-kd beats gptq of control lr=0.0005 by 0.0500 nats"));
  CHECK(says("qat-ste not resolvable from gptq of control, -0.0100 nats"));
  CHECK_FALSE(says("qat-lsq-kd beats gptq by"));

  const Table table = results_table(statistics);
  const auto column = std::ranges::find(table.columns(), "control", &Column::key);
  REQUIRE(column != table.columns().end());
  const auto c = static_cast<std::size_t>(column - table.columns().begin());
  const auto cell = [&](std::string_view name) {
    const auto at = std::ranges::find(seeds[0].rows, name, &RowResult::name);
    return table.rows()[static_cast<std::size_t>(at - seeds[0].rows.begin())][c];
  };
  CHECK(std::get<std::string>(cell("qat-lsq-kd-int4")) == "control lr=0.0005");
  CHECK(std::get<std::string>(cell("qat-ste-int4")) == "control");
  CHECK(cell("gptq-int4").index() == 0);
}

TEST_CASE("Rows of one width on two grids have two labels") {
  RowResult narrow = row("gptq", 2.1, 4), full = narrow;
  narrow.grid = "narrow [-7,7]";
  full.grid = "full [-8,7]";
  CHECK(label(narrow) == "gptq");
  CHECK(label(full) == "gptq full");
}

TEST_CASE("The time beside a control is of rows that forked") {
  std::vector<SeedResults> seeds = one_seed();
  RowResult scratch = row("qat-ste", 2.2, 2);
  scratch.control = kBaseRow;
  scratch.seconds = 97;
  seeds[0].rows.push_back(scratch);
  seeds[0].rows[1].seconds = 2;  // the control
  std::ranges::find(seeds[0].rows, "qat-ste-int4", &RowResult::name)->seconds = 3;
  const std::string text = budget_notes({}, seeds);
  INFO(text);
  CHECK(text.find("qat-ste 50.0 (1.50 x the control)") != std::string::npos);
}

TEST_CASE("Notes explain the columns that the table has") {
  struct Term {
    std::string_view words, column;
  };
  const std::vector<Term> terms = {
      {"R: ", "recovery_percent"},          {"R_c: ", "control_recovery_percent"},
      {"coded: ", "coded_bits_per_weight"}, {"KL", "kl_mean"},
      {"worst window: ", "worst_window"},   {"[ ]: ", "loss_change"}};
  std::vector<SeedResults> all = one_seed();
  all[0].rows.push_back(of_control(row("rtn", 2.3, 4)));
  std::vector<SeedResults> only_fp32 = all, no_rtn = all, no_control = all, scored = all;
  only_fp32[0].rows.resize(1);
  std::erase_if(no_rtn[0].rows, [](const RowResult& r) { return r.method == "rtn"; });
  std::erase_if(no_control[0].rows,
                [](const RowResult& r) { return r.on_control || r.name == kControlRow; });
  for (RowResult& r : scored[0].rows) {
    r.eval.from_base = Divergence{};
    r.size.quantized = 1;
  }
  std::set<std::string_view> seen;
  for (const auto& seeds : {all, only_fp32, no_rtn, no_control, scored}) {
    const Table table = results_table(Statistics(seeds)).without_empty_columns();
    const std::string notes = column_notes(table, seeds);
    CAPTURE(notes);
    for (const auto& [words, column] : terms) {
      CAPTURE(words);
      const bool shown =
          std::ranges::find(table.columns(), column, &Column::key) != table.columns().end();
      if (shown) seen.insert(column);
      CHECK((notes.find(words) != std::string::npos) == shown);
    }
    CHECK(notes.find("+-") == std::string::npos);  // one seed has no spread
  }
  CHECK(seen.size() == terms.size());
  const auto budget = [](const std::vector<SeedResults>& seeds) { return budget_notes({}, seeds); };
  CHECK(budget(all).find("the control, rows of the control and trained rows saw") !=
        std::string::npos);
  CHECK(budget(no_control).find("the control") == std::string::npos);
  CHECK(budget(no_control).find("trained rows saw") != std::string::npos);
}

TEST_CASE("A row that trained unlike its comparison says so") {
  std::vector<SeedResults> seeds = one_seed();
  RowResult& ste = *std::ranges::find(seeds[0].rows, "qat-ste-int4", &RowResult::name);
  ste.control = kBaseRow;  // from scratch
  ste.unlike_control = "ema=0.98";
  const Statistics statistics(seeds);
  CHECK(
      verdict(statistics, rankings(statistics))
          .find("qat-ste INT4 was trained with ema=0.98, and fp32, which it is compared with, was "
                "not.\n") != std::string::npos);
  CHECK(render(results_table(statistics), TableFormat::csv).find("fp32 without ema=0.98") !=
        std::string::npos);
}

}  // namespace notch::experiments::ranking_test
