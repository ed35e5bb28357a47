// notch eval: how well a model predicts a text, and how far it is from a base model.
#include <system_error>

#include "autograd/base/error.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/eval_dump.h"
#include "experiments/program/gguf_vocabulary.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/llama_perplexity.h"

namespace notch::experiments {
namespace {

data::Splits splits_of(const Args& args, const std::string& split) {
  const bool fractions = args.has("val-fraction") || args.has("test-fraction");
  if (split == "all" && fractions) {
    throw Error({.where = "notch eval",
                 .what = "only divides a text with --split",
                 .field = args.has("val-fraction") ? "--val-fraction" : "--test-fraction",
                 .hint = "add --split val or --split test, or leave it out"});
  }
  const data::Splits splits{.val = args.number("val-fraction", 0.1, inside(0, 1)),
                            .test = args.number("test-fraction", 0, from_below(0, 1))};
  if (split == "test" && splits.test == 0) {
    throw Error({.where = "notch eval",
                 .what = "missing",
                 .field = "--test-fraction",
                 .hint = "data.test_fraction of the experiment: --test-fraction 0.1"});
  }
  return splits;
}

void require_same_text_units(const Artefact& model, const Artefact& base, std::int64_t T) {
  const bool same_tokens = model.tokenizer.definition_hash() == base.tokenizer.definition_hash() &&
                           model.model().sizes().vocab_size == base.model().sizes().vocab_size;
  if (same_tokens && base.model().sizes().block_size >= T) return;
  throw Error(
      {.fault = Fault::input,
       .where = base.path.string(),
       .what = same_tokens ? "the base has a shorter context than the windows"
                           : "the base has another tokenizer than the model",
       .found = same_tokens ? str(base.model().sizes().block_size) : "",
       .expected = same_tokens ? str("at least ", T) : "",
       .hint = same_tokens
                   ? "--ctx N takes shorter windows, which both have"
                   : "compare models that were trained on the same text with the same tokenizer"});
}

Table make_table(const Artefact& model, const TokenizedText& text, std::int64_t window,
                 const Evaluation& e, const std::optional<Evaluation>& base) {
  Table table({{.key = "model", .text = true},
               {.key = "loss", .decimals = 4},
               {.key = "bits_per_byte", .title = "bits/byte", .decimals = 4},
               {.key = "perplexity", .title = "ppl", .decimals = 4},
               {.key = "perplexity_change_pct", .title = "ppl %", .decimals = 2, .sign = true},
               {.key = "kl", .title = "KL", .decimals = 5},
               {.key = "kl_99", .title = "KL 99%", .decimals = 4},
               {.key = "same_top_pct", .title = "top-1 %", .decimals = 2},
               {.key = "tokens", .decimals = 0},
               {.key = "ctx", .decimals = 0},
               {.key = "text_bytes", .title = "text bytes", .decimals = 0},
               {.key = "bits_per_weight", .title = "bits/weight", .decimals = 3},
               {.key = "file_bytes", .title = "file bytes", .decimals = 0}});
  std::int64_t tokens = 0;
  for (const std::int64_t n : e.window_tokens) tokens += n;
  const auto from_base = [&](double Divergence::*member, double scale) {
    return e.from_base ? number(scale * (*e.from_base).*member) : missing();
  };
  table.add_row(
      {experiments::text(model.path.string()), number(e.loss), number(e.bits_per_byte),
       number(e.perplexity), base ? number(100 * (e.perplexity / base->perplexity - 1)) : missing(),
       from_base(&Divergence::kl_mean, 1), from_base(&Divergence::kl_99, 1),
       from_base(&Divergence::same_top, 100), number(static_cast<double>(tokens)),
       number(static_cast<double>(window)), number(static_cast<double>(text.bytes)),
       number(model.size.bits_per_weight()), number(static_cast<double>(model.file_bytes))});
  return table;
}

/// What llama-perplexity prints, line by line.
Table llama_table(const LlamaPerplexity& e) {
  Table table({{.key = "quantity", .text = true},
               {.key = "value", .decimals = 6},
               {.key = "error", .title = "±", .decimals = 6}});
  const auto add = [&](std::string_view name, const Estimate& x, double scale = 1) {
    table.add_row({text(std::string(name)), number(scale * x.value), number(scale * x.error)});
  };
  const auto add_value = [&](std::string_view name, double value) {
    table.add_row({text(std::string(name)), number(value), missing()});
  };
  add("PPL", e.perplexity);
  add_value("tokens scored", static_cast<double>(e.scored));
  if (!e.from_base) return table;
  const BaseComparison& b = *e.from_base;
  add("PPL(base)", b.base_perplexity);
  add_value("correlation of ln PPL, %", 100 * b.correlation);
  add("ln(PPL/PPL(base))", b.log_ratio);
  const auto add_quantiles = [&](std::string_view name, const Quantiles& q, double scale) {
    for (const auto& [of, value] :
         std::initializer_list<std::pair<std::string_view, double>>{{"maximum", q.high},
                                                                    {"99.9 %", q.q999},
                                                                    {"99 %", q.q99},
                                                                    {"95 %", q.q95},
                                                                    {"90 %", q.q90},
                                                                    {"75 %", q.q75},
                                                                    {"median", q.median},
                                                                    {"25 %", q.q25},
                                                                    {"10 %", q.q10},
                                                                    {"5 %", q.q5},
                                                                    {"1 %", q.q1},
                                                                    {"minimum", q.low}}) {
      add_value(str(name, ", ", of), scale * value);
    }
  };
  add("KL, mean", b.kl);
  add_quantiles("KL", b.kl_quantiles, 1);
  add("Δp, mean, %", b.change, 100);
  add_quantiles("Δp, %", b.change_quantiles, 100);
  add("Δp, RMS, %", b.rms_change, 100);
  add("same top, %", b.same_top, 100);
  return table;
}

/// Scores as llama-perplexity does.
int eval_as_llama(const Args& args) {
  for (const char* flag :
       {"split", "val-fraction", "test-fraction", "base", "dump-logits", "dump-grads"}) {
    if (!args.has(flag)) continue;
    throw Error(
        {.where = "notch eval",
         .what = "is not of --protocol llama, which scores the whole text in its own windows",
         .field = str("--", flag),
         .hint = "leave one of them out; the base of --protocol llama is --kl-base"});
  }
  const Artefact model = open_artefact(args, args.positionals[0]);
  WindowRule rule = kLlamaWindows;
  rule.least = 4;  // as llama_perplexity needs them
  const LlamaProtocol protocol{.ctx = window_length(args, model, rule),
                               .before = token_before(model.tokenizer.vocabulary()),
                               .chunks = args.integer("windows", 0, 1, 1'000'000'000)};
  std::optional<Artefact> base;
  if (args.has("kl-base")) {
    base = open_artefact(args, *args.value("kl-base"));
    require_same_text_units(model, *base, protocol.ctx);
  }
  const data::Corpus corpus = data::load_corpus(*args.value("text"), {});
  std::string_view wanted = corpus.text;
  if (wanted.ends_with('\n')) wanted.remove_suffix(1);  // as llama.cpp reads a prompt's file
  std::vector<std::int32_t> tokens = encode(model.tokenizer, wanted, *args.value("text"));
  if (protocol.before) tokens.insert(tokens.begin(), *protocol.before);
  const LlamaPerplexity e =
      llama_perplexity(model.model(), tokens, protocol, base ? &base->model() : nullptr);
  note(args, str(corpus.name, ": SHA-256 ", corpus.sha256.substr(0, 16), ", ", e.chunks,
                 " chunks of ", protocol.ctx, " tokens, the second half of each scored",
                 protocol.before ? ", token " + str(*protocol.before) + " first" : ""));
  print_table(args, llama_table(e));
  return 0;
}

/// The files of --dump-*: all, or none.
void dump(const Args& args, const nn::Model& model, const DumpWindows& windows) {
  const auto logits = args.value("dump-logits"), gradients = args.value("dump-grads");
  if (logits) dump_logits(model, windows, *logits);
  if (!gradients) return;
  try {
    dump_gradients(model, windows, *gradients);
  } catch (...) {
    std::error_code ignored;
    if (logits) fs::remove(*logits, ignored);
    throw;
  }
}

int eval_command(const Args& args) {
  const std::string split = args.value("split").value_or("all");
  const data::Splits splits = splits_of(args, split);
  const std::optional<std::string> text_file = args.value("text");
  if (!text_file) {
    throw Error({.where = "notch eval",
                 .what = "missing",
                 .field = "--text",
                 .hint = "name the file to evaluate on: --text FILE"});
  }
  const bool as_llama = args.value("protocol").value_or("notch") == "llama";
  if (!as_llama && args.has("kl-base")) {
    throw Error({.where = "notch eval",
                 .what = "is of --protocol llama",
                 .field = "--kl-base",
                 .hint = "add --protocol llama, or leave it out; --base is the other protocol's"});
  }
  if (as_llama) {
    use_threads(args);
    return eval_as_llama(args);
  }
  const bool dumps = args.has("dump-logits") || args.has("dump-grads");
  const std::int64_t N = args.integer("windows", dumps ? 1 : 0, 1, 1'000'000'000);
  use_threads(args);
  const Artefact model = open_artefact(args, args.positionals[0]);
  const std::int64_t T = window_length(args, model);
  const TokenizedText text =
      open_text(args, *text_file, model,
                {.window = T, .split = split, .splits = splits, .max_windows = dumps ? 0 : N});
  std::optional<Artefact> base;
  if (args.has("base")) {
    base = open_artefact(args, *args.value("base"));
    require_same_text_units(model, *base, T);
  }
  std::optional<DumpWindows> windows;
  if (dumps) windows.emplace(text.tokens, T, N);
  const EvaluationLimits limits{.window = T};
  std::optional<Evaluation> base_alone;
  if (base)
    base_alone = evaluate(base->model(), text.tokens, text.bytes_per_token, nullptr, limits);
  const Evaluation e = evaluate(model.model(), text.tokens, text.bytes_per_token,
                                base ? &base->model() : nullptr, limits);
  if (windows) dump(args, model.model(), *windows);
  note(args, str(text.name, ": SHA-256 ", text.sha256.substr(0, 16), ", windows of ", T,
                 " tokens; loss in nats per token"));
  print_table(args, make_table(model, text, T, e, base_alone));
  return 0;
}

}  // namespace

Command eval_verb() {
  return {
      {.name = "eval",
       .summary = "loss, bits per byte and perplexity of a model on a text",
       .examples = {"notch eval MODEL_DIR --text book.txt",
                    "notch eval small --base MODEL_DIR --text book.txt --split val -o json",
                    "notch eval small.gguf --protocol llama --ctx 512 --kl-base MODEL_DIR --text "
                    "book.txt"},
       .positionals = {model_positional()},
       .flags =
           {{.name = "text",
             .value = "FILE",
             .help = "UTF-8 text to predict; - is stdin",
             .path = PathUse::read},
            {.name = "split",
             .value = "all|val|test",
             .help = "the whole text, or a split that an experiment would make",
             .fallback = "all",
             .words = {"all", "val", "test"}},
            {.name = "val-fraction",
             .value = "X",
             .help = "data.val_fraction of the experiment",
             .fallback = "0.1"},
            {.name = "test-fraction",
             .value = "X",
             .help = "data.test_fraction of the experiment",
             .fallback = "0"},
            {.name = "base",
             .value = "DIR",
             .help = "also the divergence from this model",
             .path = PathUse::read},
            {.name = "windows",
             .value = "N",
             .help = "evaluate the first N windows only; with a dump: dump N, evaluate all",
             .fallback = "all; dump 1"},
            {.name = "protocol",
             .value = "notch|llama",
             .help =
                 "llama: as llama.cpp's llama-perplexity, the second half of every chunk of --ctx "
                 "tokens; --windows counts chunks",
             .fallback = "notch",
             .words = {"notch", "llama"}},
            ctx_flag("tokens of a window, or of a chunk of --protocol llama",
                     "the model's context, at most 4096; of a chunk 512"),
            {.name = "kl-base",
             .value = "DIR",
             .help = "with --protocol llama: its KL divergence statistics against this model",
             .path = PathUse::read},
            {.name = "dump-logits",
             .value = "FILE",
             .help = "write --windows windows as safetensors: tokens and targets (I32 [N, T], the "
                     "targets one token on), logits (F32 [N, T, V], before the softmax); "
                     "safetensors.numpy.load_file reads it",
             .path = PathUse::written},
            {.name = "dump-grads",
             .value = "FILE",
             .help = "the same with the gradients of the mean loss (F32) in place of logits, under "
                     "the names and in the shapes of model.safetensors",
             .path = PathUse::written},
            no_verify_flag(),
            threads_flag(),
            output_flag()}},
      eval_command};
}

}  // namespace notch::experiments
