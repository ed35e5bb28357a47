// Lessons: short programs that teach one thing each and print what they claim.
//
// A lesson is one page of C++, `NN_name.cpp`, read beside its output. It uses the engine's public
// headers, and only what earlier lessons taught. Every number goes through its Page, which prints it
// and keeps it under a key: tests/lessons/ runs every lesson and compares all of them with values
// that were derived in another way. To add a lesson: its file, its row in lessons.cpp, its table in
// tests/lessons/expected/.
//
// experiments/lessons/ is these pages and their exercises.
// May include: experiments/config, experiments/show, experiments/machine, quant, optim, nn, data,
// autograd.
#pragma once

#include <filesystem>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/show/plot.h"

namespace notch::lessons {

namespace fs = std::filesystem;

/// What a lesson has said and can be held to: a number, or a text that is shown as it is.
struct Claim {
  std::string key{};
  double number = 0;
  std::string text{};
};

/// Where a lesson writes: prose, claims and pictures.
class Page {
 public:
  /// Prose and claims go to `out`, pictures into the directory `pictures`.
  Page(std::ostream& out, fs::path pictures) : out_(out), pictures_(std::move(pictures)) {}
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  /// A paragraph, broken into lines. A blank line stands before it.
  void say(std::string_view text);
  /// A line "label   value" with `digits` significant digits; the number is kept under `key`.
  void number(std::string_view key, std::string_view label, double value, int digits = 6);
  /// The same for several: "label   [a, b, c]", kept as key.0, key.1, …
  template <class Values>
  void numbers(std::string_view key, std::string_view label, const Values& values, int digits = 6) {
    std::vector<double> all;
    for (const auto& value : values) all.push_back(static_cast<double>(value));
    print_numbers(key, label, all, digits);
  }
  /// A text as it is, indented: a printed tape, a table, a sample.
  void show(std::string_view key, std::string_view text);
  /// Writes NAME.svg. Throws Fault::io, and Fault::usage where another file has the name.
  void picture(std::string_view name, const experiments::Plot& plot);

  const std::vector<Claim>& claims() const { return claims_; }

 private:
  void print_numbers(std::string_view key, std::string_view label, std::span<const double> values,
                     int digits);
  void print_line(std::string_view label, std::string_view value);

  std::ostream& out_;
  fs::path pictures_;
  bool in_claims_ = false;  // the line above is a claim
  std::vector<Claim> claims_;
};

struct Lesson {
  std::string_view number{};   ///< "01"
  std::string_view name{};     ///< "scalars": with the number the name of its file
  std::string_view title{};    ///< "Scalars and the tape"
  std::string_view teaches{};  ///< what one knows afterwards
  void (*run)(Page& page) = nullptr;

  /// From the repository's root: "experiments/lessons/01_scalars.cpp".
  std::string source() const;
};

/// All lessons, in their order.
std::span<const Lesson> lessons();

/// The lesson of that number ("1", "01") or name; usage error, with a suggestion, for any other.
const Lesson& find_lesson(std::string_view text);

}  // namespace notch::lessons
