// notch sample: text from a model, as it comes.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <iostream>

#include "autograd/base/error.h"
#include "experiments/command_tools.h"
#include "experiments/commands.h"
#include "experiments/signals.h"
#include "nn/generate.h"

namespace notch::experiments {
namespace {

/// What a text that nobody began begins with: the end of another, a new line, or the first token.
std::vector<std::int32_t> default_prompt(const data::Tokenizer& tokenizer) {
  if (tokenizer.end_of_text() >= 0) return {tokenizer.end_of_text()};
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.token(id) == "\n") return {id};
  }
  return {0};
}

}  // namespace

int sample_command(const Args& args) {
  const nn::Sampling sampling{.temperature = args.number("temperature", 0.8, 0, 100),
                              .top_k = static_cast<int>(args.integer("top-k", 0, 0, 1'000'000'000)),
                              .top_p = args.number("top-p", 1, 0, 1)};
  nn::check_sampling(sampling);
  const std::int64_t n = args.integer("tokens", 200, 0, 1'000'000'000);
  Rng rng(static_cast<std::uint64_t>(args.integer("seed", 1337, 0, 9'000'000'000'000'000'000)));
  use_threads(args);
  const Artefact artefact = open_artefact(args.positionals[0]);
  const data::Tokenizer& tokenizer = artefact.tokenizer;
  const std::string begun = args.value("prompt").value_or("");
  std::vector<std::int32_t> prompt = default_prompt(tokenizer);
  if (!begun.empty()) {
    const std::vector<std::uint16_t> ids = encode(tokenizer, begun, "--prompt");
    prompt.assign(ids.begin(), ids.end());
  }

  install_signal_handlers();
  std::cout << begun << std::flush;
  const auto start = std::chrono::steady_clock::now();
  bool reader_left = false;
  const std::vector<std::int32_t> made =
      nn::generate(artefact.model(), prompt, n, sampling, rng, [&](std::int32_t id) {
        errno = 0;
        // A model may have more ids than its tokenizer (a padded table); those have no text.
        if (id < tokenizer.vocab_size()) std::cout << tokenizer.token(id) << std::flush;
        reader_left = !std::cout.good() && errno == EPIPE;
        return std::cout.good() && !stop_requested();
      });
  if (reader_left) {  // `| head`: no error
    std::cout.clear();
    return 0;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::cout << std::endl;
  note(args, str(made.size(), " tokens in ", std::round(1e3 * seconds) / 1e3,
                 " s: ", std::llround(static_cast<double>(made.size()) / std::max(seconds, 1e-9)),
                 " tokens/s"));
  return stop_exit_code();
}

}  // namespace notch::experiments
