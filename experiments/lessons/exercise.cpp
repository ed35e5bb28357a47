#include "experiments/lessons/exercise.h"

#include <cmath>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "autograd/base/error.h"

namespace notch::lessons {
namespace {

std::string written(double value) {
  std::ostringstream out;
  out << std::setprecision(9) << value;
  return out.str();
}

bool close(double received, double expected, double tolerance) {
  return std::fabs(received - expected) <= tolerance || received == expected;
}

}  // namespace

void Judge::fail(std::string_view what, std::string_view received, std::string_view expected,
                 std::string_view hint) {
  ++failed_;
  out_ << "wrong: " << what << ": received " << received << ", expected " << expected
       << "\n  hint: " << hint << '\n';
}

void Judge::equal(std::string_view what, double received, double expected, double tolerance,
                  std::string_view hint) {
  ++asked_;
  if (!close(received, expected, tolerance)) {
    fail(what, written(received), written(expected), hint);
  }
}

void Judge::equal(std::string_view what, std::span<const double> received,
                  std::span<const double> expected, double tolerance, std::string_view hint) {
  ++asked_;
  if (received.size() != expected.size()) {
    fail(what, str(received.size(), " elements"), str(expected.size()), hint);
    return;
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (close(received[i], expected[i], tolerance)) continue;
    fail(str(what, ", element ", i), written(received[i]), written(expected[i]), hint);
    return;
  }
}

void Judge::holds(std::string_view what, bool ok, std::string_view hint) {
  ++asked_;
  if (!ok) fail(what, "no", "yes", hint);
}

std::vector<Exercise>& exercises() {
  static std::vector<Exercise> all;
  return all;
}

bool judge(const Exercise& exercise, std::ostream& out) {
  Judge judge(out);
  try {
    exercise.run(judge);
  } catch (const Unfinished& blank) {
    out << exercise.file << ':' << blank.line << ": still blank: " << blank.what() << '\n';
    return false;
  } catch (const std::exception& e) {
    out << "stopped by an exception: " << e.what() << '\n';
    return false;
  }
  if (judge.failed() == 0) {
    out << "right: all " << judge.asked() << " checks pass\n";
  } else {
    out << judge.failed() << " of " << judge.asked() << " checks fail\n";
  }
  return judge.failed() == 0;
}

int judge_main() {
  for (const Exercise& exercise : exercises()) {
    if (!judge(exercise, std::cout)) return static_cast<int>(Fault::mismatch);
  }
  return 0;
}

}  // namespace notch::lessons
