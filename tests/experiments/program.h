// Runs the built program in a directory of its own and keeps what it said.
#pragma once

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/folders.h"

namespace notch::test {

struct Outcome {
  int code = -1;
  std::string out{}, err{};
};

/// A directory with a text and an experiment so small that it trains in a blink.
class Program {
 public:
  Program() {
    std::string text;
    for (int i = 0; i < 40; ++i)
      text += "the quick brown fox jumps over " + std::to_string(i) + "\n";
    write("text.txt", text);
    write("tiny.toml", R"(name = "tiny"
out = "run"
[data]
kind = "text"
path = "text.txt"
tokenizer = "char"
[model]
n_layer = 2
n_head = 2
n_embd = 16
block_size = 8
bias = true
[train]
steps = 6
batch_size = 4
warmup = 1
lr = 1e-2
eval_every = 3
[quant]
bits = [8]
methods = ["rtn"]
control = false
[calib]
windows = 4
)");
  }

  const fs::path& path() const { return directory_.path(); }
  fs::path operator/(std::string_view name) const { return directory_ / name; }
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }

  /// `script` for sh, in the directory. "notch" is the program; `exec "$NOTCH" … &` starts it in
  /// the background with its own process id in $!.
  Outcome shell(const std::string& script) const {
    const fs::path out = outputs_ / "out", err = outputs_ / "err";
    const std::string command = "unset NOTCH_DATA; NOTCH='" + binary_dir().string() +
                                "/notch'; notch() { \"$NOTCH\" \"$@\"; }; cd '" +
                                directory_.path().string() + "' && { " + script + "\n} >'" +
                                out.string() + "' 2>'" + err.string() + "' </dev/null";
    const int status = std::system(command.c_str());
    return {.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            .out = read_file(out),
            .err = read_file(err)};
  }
  Outcome notch(const std::string& arguments) const { return shell("notch " + arguments); }

  /// The model of `notch train tiny.toml`, relative to the directory.
  std::string train() const {
    const Outcome trained = notch("train tiny.toml -q");
    INFO(trained.err);
    REQUIRE(trained.code == 0);
    return "run/models/fp32-seed1337";
  }

  /// Every file and directory below, sorted.
  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(path())) {
      names.push_back(fs::relative(entry.path(), path()).string());
    }
    std::ranges::sort(names);
    return names;
  }

 private:
  TemporaryDirectory directory_{}, outputs_{};
};

/// The rows of the one document that `-o json` prints.
inline std::vector<Json> rows_of(const Outcome& outcome) {
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const Json all = Json::parse(outcome.out, "stdout");
  const Json::Array& rows = all.as_array("stdout");
  return {rows.begin(), rows.end()};
}
inline Json first_row(const Outcome& outcome) { return rows_of(outcome).at(0); }

inline double value(const Json& row, std::string_view key) {
  return row.at(key, "row").as_number(key);
}

/// One error on stderr with what to do about it, nothing on stdout, and the exit code.
inline void check_refused(const Outcome& outcome, int code) {
  CAPTURE(outcome.err, outcome.out);
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.starts_with("error: "));
  CHECK(outcome.err.find("error: ", 1) == std::string::npos);
  CHECK((outcome.err.find("hint: ") != std::string::npos ||
         outcome.err.find("expected ") != std::string::npos));
}

}  // namespace notch::test
