// Progress of a run on stderr: a bar that redraws itself on a terminal, plain `key:value` lines
// elsewhere.
//
// The bar is ASCII, has no colour, and is redrawn at most ten times a second. Without a terminal,
// with TERM=dumb, NO_COLOR or --quiet no control character is written. Times come from a clock that
// can be replaced, so that the output is testable.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

namespace notch::experiments {

struct ProgressOptions {
  bool bar = false;                   ///< redraw one line; otherwise whole lines
  bool quiet = false;                 ///< write nothing
  int columns = 80;                   ///< of the terminal
  std::function<double()> seconds{};  ///< a monotonic clock; empty = the system's
  std::ostream* out = nullptr;        ///< null = stderr
};

/// What stderr is: a terminal of so many columns that can redraw a line, or a file or pipe.
ProgressOptions detect_progress(bool quiet);

/// Columns of the terminal that stdout is; 80 where it is none.
int terminal_columns();

/// State after a step. What is absent is not shown.
struct StepReport {
  int step = 0;  ///< steps done, from 1
  std::optional<double> loss{};
  std::optional<double> val{};
  std::optional<double> lr{};
  std::optional<double> gnorm{};
  std::int64_t tokens = 0;  ///< in this step
  double seconds = 0;       ///< of this step alone; 0 = since the last report
};

/// Of a run of many rows: the row that is made now, and what the rows after it take, in seconds and
/// in steps of the phase that runs.
struct RunLeft {
  int row = 0, rows = 0;  ///< from 1; no rows: nothing is said of the run
  double seconds = 0;
  double steps = 0;
};

class Progress {
 public:
  explicit Progress(ProgressOptions options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Starts a phase of `total` steps, `done` of them earlier (a resumed run). Lines are written
  /// every `line_every` steps, at the last step, and whenever a report has `val`.
  void begin(std::string_view label, int total, int done = 0, int line_every = 1);
  /// Call after every step. The time left is (steps left) x an exponential mean of the time between
  /// reports, validations included.
  void report(const StepReport& step);
  /// A line of its own; the bar moves below it.
  void note(std::string_view line);
  /// Ends the phase: removes the bar and writes `summary` unless it is empty.
  void end(std::string_view summary = {});

  double tokens_per_second() const;

  /// From now on reports say how much of the run is left, too: at the mean pace of the phase so far,
  /// validations included.
  void run(const RunLeft& left) { run_ = left; }

 private:
  void draw(const StepReport& step, double elapsed, double left);
  void write_line(const StepReport& step, double left);
  double run_left() const;
  void clear_bar();

  ProgressOptions options_;
  RunLeft run_{};
  std::string label_{};
  int total_ = 0, done_ = 0, line_every_ = 1;
  int first_ = 0;  // steps done before this session
  double begin_time_ = 0, last_time_ = 0, last_draw_ = -1;
  double mean_seconds_ = 0, mean_weight_ = 0;  // of the time between reports
  double line_seconds_ = 0, line_tokens_ = 0;  // since the last line
  int line_steps_ = 0;
  double tokens_per_second_ = 0, step_ms_ = 0;
  std::optional<double> last_val_{};
  bool bar_shown_ = false;
};

/// "0.1s", "45s", "2m18s", "1h02m", "3d04h". Not finite or negative: "?".
std::string format_duration(double seconds);
/// "950", "10.4k", "1.2M"
std::string format_count(double n);

}  // namespace notch::experiments
