// The layers of the repository, read from its include lines: arrows point down only. CMake's link
// graph says the same for symbols; this says it for headers, and names the file and the line to
// change.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.h"
#include "tests/folders.h"

namespace layering_test {

namespace fs = std::filesystem;

struct Include {
  std::string name;
  bool angled = false;  // <name>, else "name"
};

struct Room {
  std::string folder;
  std::string main_header;               // says what the room is for and repeats may_include
  std::vector<std::string> may_include;  // besides itself; a folder stands for its rooms as well
};

// Top to bottom. A file belongs to the longest folder that contains it.
const std::vector<Room>& rooms() {
  static const std::string base = "autograd/base", x = "experiments/", q = "quant/";
  static const std::vector<Room> table = {
      {"tests", "", {"experiments", "quant", "nn", "optim", "data", "autograd"}},
      {x + "program",
       "commands.h",
       {x + "lessons", x + "bench", x + "report", x + "run", x + "train", x + "config", x + "show",
        x + "machine", "quant", "optim", "nn", "data", "autograd"}},
      {x + "lessons",
       "lesson.h",
       {x + "config", x + "show", x + "machine", "quant", "optim", "nn", "data", "autograd"}},
      {x + "report",
       "report.h",
       {x + "run", x + "config", x + "show", x + "machine", "quant", base}},
      {x + "bench",
       "training_bench.h",
       {x + "run", x + "train", x + "config", x + "show", x + "machine", "quant", "optim", "nn",
        "data", "autograd"}},
      {x + "run",
       "compare.h",
       {x + "train", x + "config", x + "show", x + "machine", "quant", "optim", "nn", "data",
        "autograd"}},
      // What takes part in training besides the model is an nn::Addition, whatever it is.
      {x + "train", "training_phase.h", {x + "machine", "optim", "nn", "data", "autograd"}},
      {x + "config", "config.h", {"quant", "optim", "nn", "data", "autograd"}},
      {x + "show", "table.h", {base}},
      {x + "machine", "machine.h", {q + "kernels", "autograd"}},
      {q + "store",
       "model_files.h",
       {q + "serve", q + "methods", q + "numbers", q + "kernels", "nn", "autograd"}},
      {q + "train",
       "qat.h",
       {q + "serve", q + "methods", q + "ops", q + "numbers", q + "kernels", "nn", "autograd"}},
      {q + "methods", "method.h", {q + "ops", q + "numbers", q + "kernels", "nn", "autograd"}},
      {q + "serve", "served_matrix.h", {q + "ops", q + "numbers", q + "kernels", "nn", "autograd"}},
      {q + "ops", "fake_quant.h", {q + "numbers", q + "kernels", "autograd"}},
      {q + "numbers", "spec.h", {q + "kernels", "autograd"}},
      {q + "kernels", "grid.h", {base}},
      {"optim", "optimizer.h", {"autograd"}},
      {"nn", "model.h", {"autograd"}},
      {"data/verbs", "verbs.h", {base}},
      {"data", "text_source.h", {"data/verbs", base}},
      {"autograd", "graph.h", {"autograd/kernels", base}},
      {"autograd/kernels", "reference.h", {base}},
      {base, "error.h", {}},
  };
  return table;
}

bool is_inside(const std::string& path, const std::string& folder) {
  return path == folder || path.rfind(folder + "/", 0) == 0;
}

// The folder of rooms() that `file` (a path from the repository's root) lies in, or "".
std::string layer_of(const std::string& file) {
  std::string longest;
  for (const Room& room : rooms()) {
    if (is_inside(file, room.folder) && room.folder.size() > longest.size()) longest = room.folder;
  }
  return longest;
}

std::string listed(const Room& room) {
  std::string list;
  for (const std::string& folder : room.may_include) list += (list.empty() ? "" : ", ") + folder;
  return list.empty() ? "nothing of Notch" : list;
}

bool in_kernels(const std::string& file) {
  return layer_of(file) == "autograd/kernels" || layer_of(file) == "quant/kernels";
}

// What is wrong with `file` including `include`, or "".
std::string violation(const std::string& file, const Include& include) {
  static const std::set<std::string> posix = {
      "dirent.h",       "errno.h",       "fcntl.h",      "poll.h",     "sched.h",
      "signal.h",       "stdlib.h",      "termios.h",    "time.h",     "unistd.h",
      "sys/file.h",     "sys/ioctl.h",   "sys/mman.h",   "sys/stat.h", "sys/time.h",
      "sys/resource.h", "sys/statvfs.h", "sys/types.h",  "sys/wait.h", "sys/sysinfo.h",
      "sys/utsname.h",  "sys/ptrace.h",  "sys/syscall.h"};
  static const std::set<std::string> processor = {"immintrin.h", "arm_neon.h", "cpuid.h",
                                                  "sys/auxv.h", "asm/hwcap.h"};
  const std::string says = file + " includes " + include.name;
  if (include.angled) {
    const std::string& name = include.name;
    if (name.find_first_of("./") == name.npos) return "";  // the standard library
    if (posix.count(name)) return in_kernels(file) ? says + "; kernels make no system calls" : "";
    if (processor.count(name)) {
      return in_kernels(file) ? "" : says + "; only the kernels are written for a processor";
    }
    if (name == "cblas.h") {
      return file == "autograd/kernels/blas.cpp" ? "" : says + "; only blas.cpp may";
    }
    if (name.rfind("catch2/", 0) == 0) {
      const bool may = file == "tests/catch.h" || file == "tests/catch_main.cpp";
      return may ? "" : says + "; include tests/catch.h";
    }
    return says + "; allowed are the standard library, POSIX, OpenBLAS and Catch2";
  }
  const std::string from = layer_of(file), to = layer_of(include.name);
  if (to.empty()) return says + "; includes are rooted at the repository";
  if (from == to) return "";
  const auto room = std::ranges::find(rooms(), from, &Room::folder);
  if (room == rooms().end()) return says + "; " + file + " is in no room";
  for (const std::string& folder : room->may_include) {
    if (is_inside(to, folder)) return "";
  }
  return says + "; " + from + " may include: " + listed(*room);
}

// The comment that `file` begins with, as one line.
std::string leading_comment(const fs::path& file) {
  std::ifstream in(file);
  std::string all;
  for (std::string line; std::getline(in, line) && line.rfind("//", 0) == 0;) {
    all += line.substr(2);
  }
  return all;
}

struct Source {
  std::string path;  // from the repository's root
  int lines = 0;
  std::vector<Include> includes;
};

Source read_source(const fs::path& root, const fs::path& path) {
  Source source{fs::relative(path, root).generic_string(), 0, {}};
  std::ifstream in(path);
  for (std::string line; std::getline(in, line); ++source.lines) {
    const auto word = [&line](std::size_t from) { return line.find_first_not_of(" \t", from); };
    const std::size_t hash = word(0);
    if (hash == line.npos || line[hash] != '#') continue;
    const std::size_t keyword = word(hash + 1);
    if (keyword == line.npos || line.compare(keyword, 7, "include") != 0) continue;
    const std::size_t open = word(keyword + 7);
    if (open == line.npos || (line[open] != '"' && line[open] != '<')) continue;
    const bool angled = line[open] == '<';
    const std::size_t close = line.find(angled ? '>' : '"', open + 1);
    source.includes.push_back({line.substr(open + 1, close - open - 1), angled});
  }
  return source;
}

using Extensions = std::set<fs::path>;

std::vector<Source> all_sources(const Extensions& extensions = {".h", ".cpp"}) {
  const fs::path root = notch::test::source_dir();
  std::vector<Source> sources;
  for (const char* folder : {"autograd", "nn", "optim", "quant", "data", "experiments", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file() && extensions.contains(entry.path().extension())) {
        sources.push_back(read_source(root, entry.path()));
      }
    }
  }
  return sources;
}

TEST_CASE("no file includes from a layer above or beside its own") {
  std::size_t includes = 0;
  for (const Source& source : all_sources()) {
    for (const Include& include : source.includes) {
      ++includes;
      const std::string wrong = violation(source.path, include);
      if (!wrong.empty()) FAIL_CHECK(wrong);
    }
  }
  CHECK(includes > 100);  // the files were found and read
}

TEST_CASE("each room's main header says what it may include") {
  const fs::path root = notch::test::source_dir();
  for (const Room& room : rooms()) {
    if (room.main_header.empty()) continue;
    const std::string header = room.folder + "/" + room.main_header;
    const std::string says = leading_comment(root / header);
    INFO(header);
    CHECK(says.find(" " + room.folder + "/ ") != says.npos);
    CHECK(says.find(" May include: " + listed(room) + ".") != says.npos);
  }
}

TEST_CASE("no source file or script is much longer than 400 lines") {
  const std::vector<Source> all = all_sources({".h", ".cpp", ".sh", ".py", ".mjs", ".toml"});
  for (const Source& source : all) {
    if (source.lines > 420) FAIL_CHECK(source.path << " has " << source.lines << " lines");
  }
  CHECK(std::ranges::any_of(all, [](const Source& s) { return s.path == "tests/run.sh"; }));
}

TEST_CASE("quoted includes name files of the repository") {
  for (const Source& source : all_sources()) {
    for (const Include& include : source.includes) {
      if (include.angled || fs::exists(notch::test::source_dir() / include.name)) continue;
      FAIL_CHECK(source.path << " includes " << include.name << ", which does not exist");
    }
  }
}

TEST_CASE("the rules accept arrows down and no others") {
  const auto quoted = [](const char* file, const char* name) {
    return violation(file, {name, false});
  };
  const auto angled = [](const char* file, const char* name) {
    return violation(file, {name, true});
  };
  CHECK(quoted("nn/linear.cpp", "autograd/graph.h").empty());
  CHECK(quoted("autograd/graph.cpp", "autograd/ops/add.h").empty());
  CHECK(quoted("data/corpus.cpp", "autograd/base/files.h").empty());
  CHECK(quoted("quant/methods/gptq.cpp", "quant/kernels/int8.h").empty());
  CHECK(quoted("experiments/run/seed.cpp", "quant/numbers/spec.h").empty());
  CHECK(angled("autograd/kernels/blas.cpp", "cblas.h").empty());
  CHECK(angled("nn/gpt.cpp", "vector").empty());

  CHECK(quoted("nn/linear.cpp", "quant/numbers/spec.h") ==
        "nn/linear.cpp includes quant/numbers/spec.h; nn may include: autograd");
  for (const auto& [file, name] : std::vector<std::pair<const char*, const char*>>{
           {"autograd/base/json.cpp", "autograd/tensor.h"},
           {"autograd/kernels/norm.cpp", "autograd/graph.h"},
           {"autograd/ops/add.cpp", "nn/linear.h"},
           {"data/corpus.cpp", "autograd/tensor.h"},
           {"nn/gpt.cpp", "optim/adamw.h"},
           {"optim/adamw.cpp", "nn/gpt.h"},
           {"quant/methods/gptq.cpp", "optim/adamw.h"},
           {"quant/methods/gptq.cpp", "experiments/config/config.h"},
           {"quant/train/qat.cpp", "data/batches.h"},
           {"quant/kernels/int8.cpp", "quant/numbers/spec.h"},
           {"quant/numbers/spec.cpp", "quant/store/pack.h"},
           {"quant/methods/gptq.cpp", "quant/train/qat.h"},
           {"quant/serve/kv.cpp", "quant/methods/gptq.h"},
           {"experiments/run/seed.cpp", "experiments/report/report.h"},
           {"experiments/train/training_phase.cpp", "quant/train/qat.h"},
           {"experiments/train/training_phase.cpp", "experiments/config/config.h"},
           {"experiments/show/plot.cpp", "experiments/run/results.h"},
           {"experiments/loose.cpp", "nn/gpt.h"},
           {"experiments/run/seed.cpp", "tests/catch.h"},
           {"nn/bpe.cpp", "linear.h"}}) {
    CAPTURE(file, name);
    CHECK_FALSE(quoted(file, name).empty());
  }
  CHECK_FALSE(angled("autograd/kernels/linear.cpp", "cblas.h").empty());
  CHECK_FALSE(angled("quant/methods/gptq.cpp", "Eigen/Dense").empty());
  CHECK_FALSE(angled("tests/nn/gpt_test.cpp", "catch2/catch.hpp").empty());
  CHECK_FALSE(angled("nn/gpt.cpp", "immintrin.h").empty());
  CHECK_FALSE(angled("autograd/kernels/norm.cpp", "unistd.h").empty());
}

}  // namespace layering_test
