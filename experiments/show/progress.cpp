#include "experiments/show/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/show/table.h"

namespace notch::experiments {

namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kMeanDecay = 0.95;  // of the mean time between reports: about the last 20
constexpr int kWidestBar = 30;

std::string printed_if(const char* format, const std::optional<double>& x) {
  return x ? printed(format, *x) : "-";
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value && *value;
}

}  // namespace

ProgressOptions detect_progress(bool quiet) {
  ProgressOptions options{.quiet = quiet};
  const char* terminal = std::getenv("TERM");
  const bool dumb = !terminal || !*terminal || std::string_view(terminal) == "dumb";
  options.bar = ::isatty(STDERR_FILENO) == 1 && !dumb && !is_set("NO_COLOR");
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    options.columns = size.ws_col;
  return options;
}

int terminal_columns() {
  winsize size{};
  const bool known = ::isatty(STDOUT_FILENO) == 1 &&
                     ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : ProgressOptions{}.columns;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return printed("%.1fs", seconds);
  const auto s = static_cast<long long>(std::min(std::round(seconds), 1e15));
  char buffer[64];
  if (s < 60) {
    std::snprintf(buffer, sizeof buffer, "%llds", s);
  } else if (s < 3600) {
    std::snprintf(buffer, sizeof buffer, "%lldm%02llds", s / 60, s % 60);
  } else if (s < 86400) {
    std::snprintf(buffer, sizeof buffer, "%lldh%02lldm", s / 3600, s / 60 % 60);
  } else {
    std::snprintf(buffer, sizeof buffer, "%lldd%02lldh", s / 86400, s / 3600 % 24);
  }
  return buffer;
}

std::string format_count(double n) {
  if (n < 1e3) return printed("%.0f", n);
  if (n < 1e6) return printed("%.1fk", n / 1e3);
  return printed("%.1fM", n / 1e6);
}

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {
  if (!options_.seconds) options_.seconds = seconds_now;
  if (!options_.out) options_.out = &std::cerr;
}

Progress::~Progress() { clear_bar(); }

void Progress::begin(std::string_view label, int total, int done, int line_every) {
  end();
  label_ = label;
  total_ = total;
  done_ = first_ = done;
  line_every_ = std::max(line_every, 1);
  begin_time_ = last_time_ = options_.seconds();
  last_draw_ = -1;
  mean_seconds_ = mean_weight_ = line_seconds_ = line_tokens_ = 0;
  line_steps_ = 0;
  tokens_per_second_ = step_ms_ = 0;
  last_val_.reset();
  if (!label.empty()) note(label);
}

void Progress::report(const StepReport& step) {
  const double now = std::max(options_.seconds(), last_time_);
  const int steps = std::max(step.step - done_, 1);
  const double between = now - last_time_;
  mean_seconds_ = kMeanDecay * mean_seconds_ + (1 - kMeanDecay) * between / steps;
  mean_weight_ = kMeanDecay * mean_weight_ + (1 - kMeanDecay);
  line_seconds_ += step.seconds > 0 ? step.seconds : between;
  line_tokens_ += static_cast<double>(step.tokens);
  line_steps_ += steps;
  last_time_ = now;
  done_ = step.step;
  if (step.val) last_val_ = step.val;
  if (line_seconds_ > 0) tokens_per_second_ = line_tokens_ / line_seconds_;
  step_ms_ = 1e3 * line_seconds_ / line_steps_;

  const double left = mean_seconds_ / mean_weight_ * std::max(total_ - step.step, 0);
  const bool line_due = step.step % line_every_ == 0 || step.step >= total_ || step.val;
  if (options_.bar) {
    if (last_draw_ < 0 || now - last_draw_ >= kRedrawSeconds || step.step >= total_) {
      last_draw_ = now;
      draw(step, now - begin_time_, left);
    }
  } else if (line_due) {
    write_line(step, left);
  }
  if (line_due) {
    line_seconds_ = line_tokens_ = 0;
    line_steps_ = 0;
  }
}

double Progress::tokens_per_second() const { return tokens_per_second_; }

double Progress::run_left() const {
  const double pace = (last_time_ - begin_time_) / std::max(done_ - first_, 1);
  return run_.seconds + (std::max(total_ - done_, 0) + run_.steps) * pace;
}

void Progress::write_line(const StepReport& step, double left) {
  if (options_.quiet) return;
  std::string line = str(step.loss ? "step" : label_, ":", step.step, "/", total_);
  if (step.loss) {
    line += printed(" loss:%.4f", *step.loss) + " val:" + printed_if("%.4f", step.val);
    line += " lr:" + printed_if("%.1e", step.lr) + " gnorm:" + printed_if("%.2f", step.gnorm);
    line += printed(" tok/s:%.0f", tokens_per_second_);
  }
  line += printed(" ms:%.1f", step_ms_) + " eta:" + format_duration(left);
  if (run_.rows > 0) {
    line += str(" row:", run_.row, "/", run_.rows, " run_eta:", format_duration(run_left()));
  }
  *options_.out << line << std::endl;
}

void Progress::draw(const StepReport& step, double elapsed, double left) {
  if (options_.quiet) return;
  const double share =
      total_ > 0 ? std::clamp(static_cast<double>(step.step) / total_, 0.0, 1.0) : 1.0;
  const std::string total = str(total_);
  const std::string count = str(step.step);
  const std::string head = printed("%3.0f%%", std::floor(100 * share));
  const std::string position =
      std::string(total.size() - std::min(total.size(), count.size()), ' ') + count + "/" + total;
  std::string times = "  " + format_duration(elapsed) + "<" + format_duration(left);
  const std::string run =
      str("  row ", run_.row, "/", run_.rows, " ", format_duration(run_left()), " left");
  const auto fit = [&](const std::string& text) {
    return head.size() + position.size() + text.size() + 2 <
           static_cast<std::size_t>(std::max(options_.columns, 1));
  };
  // On a narrow terminal the run's end tells more than the phase's.
  if (run_.rows > 0 && fit(times + run)) {
    times += run;
  } else if (run_.rows > 0 && fit(run)) {
    times = run;
  }
  // In order of importance; on a narrow terminal the last ones are left out.
  std::vector<std::string> fields;
  if (step.loss) fields.push_back(printed("  loss %.4f", *step.loss));
  if (last_val_) fields.push_back(printed("  val %.4f", *last_val_));
  if (tokens_per_second_ > 0) fields.push_back("  " + format_count(tokens_per_second_) + " tok/s");
  if (step.lr) fields.push_back(printed("  lr %.1e", *step.lr));
  if (step.gnorm) fields.push_back(printed("  |g| %.2f", *step.gnorm));
  const int room = std::max(options_.columns - 1, 20);
  const auto length = [&] {
    std::size_t n = head.size() + position.size() + times.size() + 2;
    for (const std::string& field : fields) n += field.size();
    return static_cast<int>(n);
  };
  constexpr int kNarrowestBar = 8;
  while (!fields.empty() && length() + kNarrowestBar + 2 > room) fields.pop_back();
  const int bar = std::clamp(room - length() - 2, 0, kWidestBar);
  std::string line = head + " ";
  if (bar >= kNarrowestBar) {
    const auto filled = static_cast<std::size_t>(share * bar);
    line += "|" + std::string(filled, '#') +
            std::string(static_cast<std::size_t>(bar) - filled, ' ') + "|";
  }
  line += " " + position;
  for (const std::string& field : fields) line += field;
  line += times;
  line.resize(std::min(line.size(), static_cast<std::size_t>(room)));
  *options_.out << "\r" << line << "\x1b[K" << std::flush;
  bar_shown_ = true;
}

void Progress::clear_bar() {
  if (bar_shown_) *options_.out << "\r\x1b[K" << std::flush;
  bar_shown_ = false;
}

void Progress::note(std::string_view line) {
  if (options_.quiet) return;
  clear_bar();
  last_draw_ = -1;
  *options_.out << printable_lines(line) << std::endl;
}

void Progress::end(std::string_view summary) {
  clear_bar();
  if (!summary.empty()) note(summary);
}

}  // namespace notch::experiments
