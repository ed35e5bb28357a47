// notch sample: text from a model, as it comes.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <iostream>
#include <memory>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/printable.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/signals.h"
#include "nn/reader.h"
#include "nn/speculate.h"
#include "quant/serve/kv_cache.h"

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

/// Writes tokens as they come; false when nobody wants more.
class Stream {
 public:
  explicit Stream(const data::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  bool operator()(std::int32_t id) {
    if (count_++ == 0) first_ = seconds_now();
    errno = 0;
    if (terminal_) {
      show(tokenizer_.token(id));
    } else {
      std::cout << tokenizer_.token(id) << std::flush;
    }
    reader_left_ = !std::cout.good() && errno == EPIPE;
    last_ = seconds_now();
    return std::cout.good() && !stop_requested();
  }
  bool reader_left() const { return reader_left_; }
  double first() const { return first_; }
  std::int64_t count() const { return count_; }
  /// Without the first token, which waits for the prompt.
  double tokens_per_second() const {
    return static_cast<double>(count_ - 1) / std::max(last_ - first_, 1e-9);
  }

 private:
  /// A model's text may hold what steers a terminal. A character that a token has begun waits for
  /// the next one.
  void show(std::string_view token) {
    constexpr std::size_t kMostBytes = 3;  // of a character that lacks its end
    begun_ += token;
    std::size_t valid = begun_.size();
    const bool whole = is_utf8(begun_, &valid) || begun_.size() - valid > kMostBytes;
    const std::size_t shown = whole ? begun_.size() : valid;
    std::cout << printable_lines(std::string_view(begun_).substr(0, shown)) << std::flush;
    begun_.erase(0, shown);
  }

  const data::Tokenizer& tokenizer_;
  const bool terminal_ = ::isatty(STDOUT_FILENO) == 1;
  std::string begun_{};
  std::int64_t count_ = 0;
  double first_ = 0, last_ = 0;
  bool reader_left_ = false;
};

std::string rate(double per_second) { return str(std::llround(per_second), " tokens/s"); }

/// A model and its cache.
struct Generator {
  RunnableArtefact artefact;
  std::unique_ptr<nn::KvCache> cache{};

  Generator(const Args& args, const fs::path& dir) : artefact(open_runnable(args, dir)) {}
  const nn::Model& model() const { return *artefact.runnable.model; }
  /// What a text of so many tokens needs, not the model's whole context.
  void make_cache(quant::KvKind kind, std::size_t prompt, std::int64_t n) {
    nn::KvShape shape = nn::kv_shape(model().sizes());
    shape.capacity = nn::positions_needed(model().sizes(), static_cast<std::int64_t>(prompt), n);
    cache = quant::make_kv_cache(kind, shape);
  }
};

constexpr std::int64_t kTimed = 8;  // tokens

/// Tokens per second of the model by itself, where its cache stands.
double plain_rate(Generator& g, std::int32_t token) {
  nn::Reader reader(g.model(), *g.cache);
  const std::int64_t steps = std::min(kTimed, reader.room());
  double best = 0;
  for (std::int64_t i = 0; i < steps; ++i) {
    const double start = seconds_now();
    reader.read({&token, 1});
    best = std::max(best, 1 / (seconds_now() - start));
  }
  return best;
}

void require_same_tokenizer(const RunnableArtefact& model, const RunnableArtefact& draft) {
  if (model.tokenizer.definition_hash() == draft.tokenizer.definition_hash()) return;
  throw Error(
      {.fault = Fault::input,
       .where = draft.path.string(),
       .what = "a draft needs the tokenizer of the model it drafts for",
       .found =
           str(draft.tokenizer.vocab_size(), " tokens, other than those of ", model.path.string()),
       .hint = "take a smaller or lower-bit model that was trained on the same vocabulary"});
}

/// A pass takes as long as its weights take to be read. One more token to judge in it took, of a
/// pass of one, 0.1 to 0.35 where weights are floats, 0.2 to 0.6 where they are integers, which are
/// read so fast that arithmetic counts (768 x 3072, rows 1 and 4).
double proposal_cost(const RunnableArtefact& model, const RunnableArtefact& draft) {
  const double judged = model.runnable.served ? 0.6 : 0.2;
  return judged + static_cast<double>(draft.runnable.weight_bytes) /
                      static_cast<double>(model.runnable.weight_bytes);
}

int sample_command(const Args& args) {
  nn::Sampling sampling{
      .temperature = args.number("temperature", 0.8, between(0, 100)),
      .top_k = static_cast<int>(args.integer("top-k", 0, 0, 1'000'000'000)),
      .top_p = args.number("top-p", 1, Domain{.low = 0, .high = 1, .low_open = true})};
  nn::check_sampling(sampling);
  for (const char* flag : {"top-k", "top-p", "seed"}) {
    if (sampling.temperature > 0 || !args.has(flag)) continue;
    throw Error({.where = "notch sample",
                 .what = "has no effect with --temperature 0, which takes the most probable token",
                 .field = str("--", flag),
                 .hint = "leave one of them out"});
  }
  const std::int64_t n = args.integer("tokens", 200, 0, 1'000'000'000);
  Rng rng(static_cast<std::uint64_t>(args.integer("seed", 1337, 0, 9'000'000'000'000'000'000)));
  use_threads(args);
  const quant::KvKind kv = kv_kind(args);
  Generator large(args, args.positionals[0]);
  const data::Tokenizer& tokenizer = large.artefact.tokenizer;
  // A model may have more ids than its tokenizer (a padded table); those have no text.
  sampling.ids = tokenizer.vocab_size();
  std::unique_ptr<Generator> small;
  if (const auto draft = args.value("draft")) {
    small = std::make_unique<Generator>(args, *draft);
    require_same_tokenizer(large.artefact, small->artefact);
  }
  const std::string begun = args.value("prompt").value_or("");
  std::vector<std::int32_t> prompt = default_prompt(tokenizer);
  if (!begun.empty()) prompt = about("--prompt", [&] { return tokenizer.encode(begun); });
  large.make_cache(kv, prompt.size(), small ? n + kTimed : n);
  if (small) small->make_cache(kv, prompt.size(), n);

  install_signal_handlers();
  std::cout << begun << std::flush;
  Stream stream(tokenizer);
  const auto on_token = [&](std::int32_t id) { return stream(id); };
  const double start = seconds_now();
  nn::Speculation speculation;
  if (small) {
    const nn::Draft draft{.model = small->model(),
                          .cache = *small->cache,
                          .cost = proposal_cost(large.artefact, small->artefact)};
    speculation =
        nn::speculate(large.model(), *large.cache, draft, prompt, n, sampling, rng, on_token);
  } else {
    nn::generate(large.model(), prompt, n, sampling, rng, on_token, large.cache.get());
  }
  if (stream.reader_left()) return 0;  // `| head`: main has the answer of every verb
  std::cout << std::endl;
  if (stream.count() > 0) {
    const double waited = stream.first() - start;
    note(args, str("prompt ", prompt.size(), " tokens in ", std::llround(1e3 * waited),
                   " ms: ", rate(static_cast<double>(prompt.size()) / std::max(waited, 1e-9))));
  }
  if (stream.count() > 1)
    note(args, str(stream.count(), " tokens: ", rate(stream.tokens_per_second())));
  if (small && speculation.proposed > 0 && stream.count() > 1) {
    const double plain = plain_rate(large, prompt.back());
    note(args,
         str("draft: ", speculation.accepted, " of ", speculation.proposed, " proposals accepted (",
             std::llround(100.0 * static_cast<double>(speculation.accepted) /
                          static_cast<double>(speculation.proposed)),
             " %), ", speculation.passes, " passes of the model"));
    if (plain > 0)
      note(args, str("speed-up ", std::round(100 * stream.tokens_per_second() / plain) / 100,
                     " over the model alone (", rate(plain), ")"));
  }
  return stop_exit_code();
}

}  // namespace

Command sample_verb() {
  return {
      {.name = "sample",
       .summary = "write text",
       .examples = {"notch sample MODEL_DIR -p 'She has' -n 100",
                    "notch sample MODEL_DIR --draft SMALL_DIR --kv-cache int8"},
       .positionals = {model_positional()},
       .flags =
           {{.name = "prompt", .letter = 'p', .value = "TEXT", .help = "what the text begins with"},
            {.name = "tokens", .letter = 'n', .value = "N", .help = "how many", .fallback = "200"},
            {.name = "temperature",
             .value = "X",
             .help = "0 = always the most probable token",
             .fallback = "0.8"},
            {.name = "top-k",
             .value = "N",
             .help = "of the N most probable tokens",
             .fallback = "all"},
            {.name = "top-p",
             .value = "X",
             .help = "of the most probable tokens that have this much together",
             .fallback = "1"},
            {.name = "seed", .value = "N", .help = "of the choices", .fallback = "1337"},
            kv_cache_flag(),
            {.name = "draft",
             .value = "MODEL_DIR",
             .help = "a faster model of the same tokenizer that proposes tokens; the text's "
                     "distribution stays the same",
             .path = PathUse::read},
            no_verify_flag(),
            threads_flag()}},
      sample_command};
}

}  // namespace notch::experiments
