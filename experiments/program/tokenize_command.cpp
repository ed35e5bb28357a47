// notch tokenize: a text as the tokens of a model, one on a line.
#include <cmath>
#include <iostream>

#include "autograd/base/error.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/gguf_files.h"

namespace notch::experiments {
namespace {

int tokenize_command(const Args& args) {
  const auto file = args.value("text");
  if (!file) {
    throw Error({.where = "notch tokenize",
                 .what = "missing",
                 .field = "--text",
                 .hint = "the text to cut into tokens: --text book.txt"});
  }
  const std::string& path = args.positionals[0];
  const data::Tokenizer tokenizer =
      nn::is_gguf(path) ? open_gguf(args, path).tokenizer : data::Tokenizer::load(path);
  const std::string text = read_input(*file);
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  std::string lines;
  for (const std::int32_t id : ids) {
    lines += str(id, '\t', data::spelling_of(tokenizer.vocabulary(), id), '\n');
    if (lines.size() < std::size_t{1} << 16) continue;
    if (!std::cout.write(lines.data(), std::ssize(lines))) break;
    lines.clear();
  }
  std::cout << lines;
  const double each =
      ids.empty() ? 0 : static_cast<double>(text.size()) / static_cast<double>(ids.size());
  note(args, str(ids.size(), " tokens for ", text.size(), " bytes: ", std::round(100 * each) / 100,
                 " bytes per token"));
  return 0;
}

}  // namespace

Command tokenize_verb() {
  return {{.name = "tokenize",
           .summary = "the tokens of a text, one on a line: id, and the token as vocab.json has it",
           .examples = {"notch tokenize MODEL_DIR --text book.txt",
                        "echo 'Hello world' | notch tokenize gpt2 --text -"},
           .positionals = {{.name = "MODEL_DIR",
                            .help = "a model, or any directory with a tokenizer.json or with a "
                                    "vocab.json and a merges.txt"}},
           .flags = {{.name = "text",
                      .value = "FILE",
                      .help = "the text, of any bytes; - is stdin",
                      .path = PathUse::read}}},
          tokenize_command};
}

}  // namespace notch::experiments
