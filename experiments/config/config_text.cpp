// A text where an experiment is expected: how it is told from a configuration, and the usual
// experiment on it.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

#include "autograd/base/error.h"
#include "autograd/base/file_steps.h"
#include "autograd/base/shell_word.h"
#include "data/corpus.h"
#include "experiments/config/config.h"
#include "experiments/config/config_items.h"
#include "nn/gguf.h"

namespace notch::experiments {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestName = 60;

/// The file's name without its ending, as a directory can be called.
std::string name_of(const fs::path& file) {
  std::string name;
  for (const char c : file.stem().string()) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += letter || c == '.' || c == '_' || c == '-' ? c : '-';
  }
  name.erase(0, name.find_first_not_of(".-"));
  name.resize(std::min(name.size(), kLongestName));
  return name.empty() ? "text" : name;
}

/// Whether the text reads as TOML and names a key of experiments.
bool reads_as_configuration(const toml::Source& source) {
  try {
    const toml::Table table = toml::parse(source);
    for (const Item& item : items_of({})) {
      if (toml::find(table, item.section.empty() ? item.name : item.section)) return true;
    }
  } catch (const Error&) {
  }
  return false;
}
bool reads_as_configuration(const fs::path& file) {
  try {
    return reads_as_configuration(toml::read_source(file));
  } catch (const Error&) {
    return false;
  }
}

fs::path opened_path(const fs::path& file) {
  return file == data::kStdin ? fs::path("/dev/stdin") : file;
}

/// The number of the descriptor that a path stands for, or -1.
int descriptor_of(const fs::path& file) {
  const fs::path path = fs::absolute(opened_path(file)).lexically_normal();
  if (path == "/dev/stdin") return STDIN_FILENO;
  if (path.parent_path() != "/dev/fd" && path.parent_path() != "/proc/self/fd") return -1;
  const std::string name = path.filename().string();
  int number = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc{} && end == name.data() + name.size() ? number : -1;
}

/// What comes through it can be read once.
bool is_pipe(const fs::path& file) {
  std::error_code error;
  const fs::file_type type = fs::status(opened_path(file), error).type();
  return type == fs::file_type::fifo || (file == data::kStdin && type == fs::file_type::socket);
}

/// A path at which `text`, all that came through the pipe, is read from its beginning: the pipe's
/// own where that names a descriptor, which then is a file in memory.
std::string read_again(const fs::path& pipe, const std::string& text) {
  const auto require = [&](bool done) {
    if (done) return;
    throw Error({.fault = Fault::io,
                 .where = pipe.string(),
                 .what = "cannot be kept to be read again",
                 .found = std::generic_category().message(errno),
                 .hint = "write it to a file"});
  };
  const int copy = ::memfd_create("notch-text", MFD_CLOEXEC);
  require(copy >= 0);
  write_all(copy, pipe, text.data(), text.size());
  require(::lseek(copy, 0, SEEK_SET) == 0);
  const int number = descriptor_of(pipe);
  if (number < 0) return str("/dev/fd/", copy);  // open to the program's end
  require(::dup2(copy, number) == number);
  ::close(copy);
  return pipe.string();
}

}  // namespace

bool is_text(const fs::path& file) {
  const fs::path path = opened_path(file);
  if (path.extension() == ".toml" || fs::is_directory(path)) return false;
  return !fs::is_regular_file(path) || !reads_as_configuration(path);
}

ExperimentFile open_experiment(const fs::path& file) {
  if (nn::is_gguf(file)) {
    throw Error({.fault = Fault::input,
                 .where = file.string(),
                 .what = "a GGUF file, not an experiment",
                 .expected = "a configuration or a text",
                 .hint = str("`notch export ", shell_word(file.string()),
                             " --format f32 --out DIR` makes a model directory of it, which "
                             "`notch run TEXT model.from=DIR` begins with")});
  }
  ExperimentFile out{.data = file.string(), .is_open = descriptor_of(file) >= 0};
  if (is_pipe(file)) {
    out.is_open = true;
    out.source = {.name = file == data::kStdin ? "stdin" : file.string(), .text = read_input(file)};
    out.is_text = file.extension() != ".toml" && !reads_as_configuration(out.source);
    if (out.is_text) out.data = read_again(file, out.source.text);
  } else {
    out.is_text = is_text(file);
    if (!out.is_text) out.source = toml::read_source(opened_path(file));
  }
  return out;
}

ExperimentConfig text_experiment(const fs::path& file) {
  // quick.toml need not lie beside the program: its values again, with a context of any text and as
  // many tokens per step (tests/experiments/text_experiment_test.cpp compares them).
  check(!file.empty(), "text experiment", "no text is named");
  ExperimentConfig config;
  config.name = name_of(file);
  config.data.kind = "text";
  config.data.path = file == "-" ? "-" : fs::absolute(file).lexically_normal().string();
  config.data.test_fraction = 0.1;
  config.model = {.n_layer = 3, .n_head = 4, .n_embd = 64, .block_size = 64, .bias = true};
  config.train.batch_size = 16;
  config.train.lr = 2e-3;
  config.train.min_lr = 2e-4;
  config.train.eval_every = 500;
  config.train.eval_windows = 64;
  config.train.log_every = 50;
  config.calib.windows = 64;
  return config;
}

}  // namespace notch::experiments
