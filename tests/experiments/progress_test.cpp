#include "experiments/show/progress.h"

#include <algorithm>
#include <sstream>

#include "tests/catch.h"

namespace progress_test {

using namespace notch;
using namespace notch::experiments;

/// A progress display on a string with a clock that the test moves.
struct Screen {
  double now = 100;
  std::ostringstream out{};
  Progress progress;
  explicit Screen(bool bar, bool quiet = false, int columns = 120)
      : progress({.bar = bar,
                  .quiet = quiet,
                  .columns = columns,
                  .seconds = [this] { return now; },
                  .out = &out}) {}
  std::string take() {
    std::string text = out.str();
    out.str({});
    return text;
  }
};

StepReport step(int i, double loss) {
  return {.step = i, .loss = loss, .val = {}, .lr = 9.1e-4, .gnorm = 0.87, .tokens = 768};
}

TEST_CASE("plain lines carry every field and no control characters") {
  Screen screen(false);
  screen.progress.begin("train fp32", 2000, 100, 10);
  CHECK(screen.take() == "train fp32\n");
  for (int i = 101; i < 120; ++i) {
    screen.now += 0.0625;
    screen.progress.report(step(i, 2.5));
  }
  screen.take();
  screen.now += 0.0625;
  screen.progress.report(step(120, 2.45114));
  // 768 tokens per 62.5 ms = 12288 per second; 1880 steps of 62.5 ms are 117.5 s.
  CHECK(screen.take() ==
        "step:120/2000 loss:2.4511 val:- lr:9.1e-04 gnorm:0.87 tok/s:12288 ms:62.5 eta:1m58s\n");
  screen.now += 0.0625;
  StepReport with_val = step(121, 2.4);
  with_val.val = 2.5;
  screen.progress.report(with_val);
  CHECK(screen.take().find("step:121/2000 loss:2.4000 val:2.5000") == 0);
  screen.progress.end();
  CHECK(screen.take().empty());
}

TEST_CASE("a phase without a loss is named by its label") {
  Screen screen(false);
  screen.progress.begin("calibrate", 4, 0, 2);
  for (int i = 1; i <= 4; ++i) {
    screen.now += 1;
    screen.progress.report({.step = i});
  }
  CHECK(screen.take() ==
        "calibrate\ncalibrate:2/4 ms:1000.0 eta:2.0s\ncalibrate:4/4 ms:1000.0 eta:0.0s\n");
}

TEST_CASE("the bar redraws ten times a second at most, and at last") {
  Screen screen(true);
  screen.progress.begin("", 1000);
  for (int i = 1; i <= 1000; ++i) {
    screen.now += 1.0 / 128;
    screen.progress.report(step(i, 2.0));
  }
  const std::string text = screen.take();
  const auto draws = std::count(text.begin(), text.end(), '\r');
  // 1000 steps take 7.8 s.
  CHECK(draws >= 70);
  CHECK(draws <= 80);
  CHECK(text.find("100% |##############################| 1000/1000") != std::string::npos);
}

TEST_CASE("the bar fits any width and drops unimportant fields first") {
  for (int columns = 20; columns < 140; ++columns) {
    Screen screen(true, false, columns);
    screen.progress.begin("", 2000, 919);
    screen.now += 0.07;
    StepReport report = step(920, 2.0113);
    report.val = 2.0478;
    screen.progress.report(report);
    const std::string text = screen.take();
    INFO(text);
    CHECK(text.size() - std::string("\r\x1b[K").size() <
          static_cast<std::size_t>(std::max(columns, 21)));
    if (columns >= 60) CHECK(text.find("46% |") != std::string::npos);
    if (columns >= 120) CHECK(text.find("|g| 0.87") != std::string::npos);
    if (text.find("|g|") != std::string::npos) CHECK(text.find("loss 2.0113") != std::string::npos);
  }
}

TEST_CASE("a note stands above the bar, which leaves no trace") {
  Screen screen(true);
  screen.progress.begin("", 10);
  screen.now += 1;
  screen.progress.report(step(1, 2));
  screen.take();
  screen.progress.note("saved");
  CHECK(screen.take() == "\r\x1b[Ksaved\n");
  screen.now += 0.01;
  screen.progress.report(step(2, 2));
  CHECK_FALSE(screen.take().empty());
  screen.progress.end("done");
  CHECK(screen.take() == "\r\x1b[Kdone\n");
}

TEST_CASE("quiet progress writes nothing") {
  for (const bool bar : {false, true}) {
    Screen screen(bar, true);
    screen.progress.begin("train", 1);
    screen.progress.report(step(1, 2));
    screen.progress.note("x");
    screen.progress.end("y");
    CHECK(screen.take().empty());
  }
}

TEST_CASE("a NaN loss, no time and no steps are shown all the same") {
  Screen screen(false);
  screen.progress.begin("", 1);
  screen.progress.report({.step = 1, .loss = std::nan("")});
  CHECK(screen.take() == "step:1/1 loss:nan val:- lr:- gnorm:- tok/s:0 ms:0.0 eta:0.0s\n");
  Screen bar(true);
  bar.progress.begin("", 0);
  bar.progress.report({.step = 0});
  CHECK(bar.take().find("100%") != std::string::npos);
}

TEST_CASE("durations and counts are short") {
  CHECK(format_duration(0.12) == "0.1s");
  CHECK(format_duration(9.96) == "10s");
  CHECK(format_duration(45) == "45s");
  CHECK(format_duration(138) == "2m18s");
  CHECK(format_duration(3725) == "1h02m");
  CHECK(format_duration(100 * 3600) == "4d04h");
  CHECK(format_duration(std::nan("")) == "?");
  CHECK(format_count(950) == "950");
  CHECK(format_count(10412) == "10.4k");
  CHECK(format_count(1.23e6) == "1.2M");
}

TEST_CASE("progress tells how much of the whole run is left") {
  Screen screen(false);
  screen.progress.begin("train", 100, 0, 10);
  screen.progress.run({.row = 3, .rows = 8, .seconds = 60, .steps = 40});
  for (int i = 1; i <= 10; ++i) {
    screen.now += 0.5;
    screen.progress.report(step(i, 2));
  }
  // 90 steps of half a second in this phase; 40 such and a minute in the rows after it.
  CHECK(screen.take().find(" eta:45s row:3/8 run_eta:2m05s\n") != std::string::npos);
  Screen bar(true, false, 120);
  bar.progress.run({.row = 3, .rows = 8, .seconds = 60, .steps = 40});
  bar.progress.begin("", 100);
  bar.now += 0.5;
  bar.progress.report(step(1, 2));
  CHECK(bar.take().find("row 3/8 2m10s left") != std::string::npos);
  Screen narrow(true, false, 40);
  narrow.progress.run({.row = 3, .rows = 8, .seconds = 60, .steps = 40});
  narrow.progress.begin("", 100);
  narrow.now += 0.5;
  narrow.progress.report(step(1, 2));
  CHECK(narrow.take() == "\r  1%    1/100  row 3/8 2m10s left\x1b[K");
}

}  // namespace progress_test
