// Exercises: what a student's file is written against, and how it is judged.
//
// A skeleton in exercises/ has functions whose bodies say BLANK("what belongs here") and ends with
//   EXERCISE(judge_order, order)
// which hands the functions to their judge (judges/NN_name.cpp). A BLANK compiles, and throws where
// it is reached, so that a half-finished file can be tried. `notch lesson check NAME [FILE]` compiles
// the file against the built libraries and runs it; the tests link solutions and skeletons together.
#pragma once

#include <functional>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace notch::lessons {

/// What a BLANK throws.
struct Unfinished : std::runtime_error {
  Unfinished(int at, const char* task) : std::runtime_error(task), line(at) {}
  int line;
};

/// Compares what a student's function returned with what it should have.
class Judge {
 public:
  explicit Judge(std::ostream& out) : out_(out) {}

  /// Passes when |received - expected| <= tolerance. `hint` is printed when it fails.
  void equal(std::string_view what, double received, double expected, double tolerance,
             std::string_view hint);
  /// Element by element; the first that differs is named.
  void equal(std::string_view what, std::span<const double> received,
             std::span<const double> expected, double tolerance, std::string_view hint);
  template <class Values>
  requires(!std::is_arithmetic_v<Values>) void equal(std::string_view what, const Values& received,
                                                     const std::vector<double>& expected,
                                                     double tolerance, std::string_view hint) {
    std::vector<double> values;
    for (const auto& v : received) values.push_back(static_cast<double>(v));
    equal(what, std::span<const double>(values), std::span<const double>(expected), tolerance,
          hint);
  }
  void holds(std::string_view what, bool ok, std::string_view hint);

  int failed() const { return failed_; }
  int asked() const { return asked_; }

 private:
  void fail(std::string_view what, std::string_view received, std::string_view expected,
            std::string_view hint);
  std::ostream& out_;
  int failed_ = 0, asked_ = 0;
};

/// A file with an EXERCISE line.
struct Exercise {
  std::string_view file{};
  std::function<void(Judge&)> run{};
};

/// Those of all files that are linked.
std::vector<Exercise>& exercises();

/// Runs one, says what is wrong and whether all is right: whether it passed.
bool judge(const Exercise& exercise, std::ostream& out);
/// The program of a student's file: judges it; 0, or 6 when it does not pass.
int judge_main();

struct Registration {
  Registration(std::string_view file, std::function<void(Judge&)> run) {
    exercises().push_back({file, std::move(run)});
  }
};

#define BLANK(task) throw ::notch::lessons::Unfinished(__LINE__, task)

#define NOTCH_REGISTER(judge_name, ...)                     \
  static const ::notch::lessons::Registration registration( \
      __FILE__,                                             \
      [](::notch::lessons::Judge& judge) { ::notch::lessons::judge_name(judge, __VA_ARGS__); });
#ifdef NOTCH_STUDENT
#define EXERCISE(judge_name, ...)         \
  NOTCH_REGISTER(judge_name, __VA_ARGS__) \
  int main() { return ::notch::lessons::judge_main(); }
#else
#define EXERCISE(judge_name, ...) NOTCH_REGISTER(judge_name, __VA_ARGS__)
#endif

}  // namespace notch::lessons
