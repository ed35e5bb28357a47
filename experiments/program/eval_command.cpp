// notch eval: how well a model predicts a text, and how far it is from a base model.
#include "autograd/base/error.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/eval_dump.h"
#include "experiments/run/evaluate.h"

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
  const data::Splits splits{.val = args.number("val-fraction", 0.1, 1e-9, 1 - 1e-9),
                            .test = args.number("test-fraction", 0, 0, 1 - 1e-9)};
  if (split == "test" && splits.test == 0) {
    throw Error({.where = "notch eval",
                 .what = "missing",
                 .field = "--test-fraction",
                 .hint = "data.test_fraction of the experiment: --test-fraction 0.1"});
  }
  return splits;
}

void require_same_text_units(const Artefact& model, const Artefact& base) {
  const std::int64_t T = model.model().sizes().block_size;
  const bool same_tokens = model.tokenizer.definition_hash() == base.tokenizer.definition_hash() &&
                           model.model().sizes().vocab_size == base.model().sizes().vocab_size;
  if (same_tokens && base.model().sizes().block_size >= T) return;
  throw Error(
      {.fault = Fault::input,
       .where = base.path.string(),
       .what = same_tokens ? "the base has a shorter context than the model"
                           : "the base has another tokenizer than the model",
       .found = same_tokens ? str(base.model().sizes().block_size) : "",
       .expected = same_tokens ? str("at least ", T) : "",
       .hint = "compare models that were trained on the same text with the same tokenizer"});
}

Table make_table(const Artefact& model, const TokenizedText& text, const Evaluation& e,
                 const std::optional<Evaluation>& base) {
  Table table({{.key = "model", .text = true},
               {.key = "loss", .decimals = 4},
               {.key = "bits_per_byte", .title = "bits/byte", .decimals = 4},
               {.key = "perplexity", .title = "ppl", .decimals = 4},
               {.key = "perplexity_change_pct", .title = "ppl %", .decimals = 2, .sign = true},
               {.key = "kl", .title = "KL", .decimals = 5},
               {.key = "kl_99", .title = "KL 99%", .decimals = 4},
               {.key = "same_top_pct", .title = "top-1 %", .decimals = 2},
               {.key = "tokens", .decimals = 0},
               {.key = "text_bytes", .title = "text bytes", .decimals = 0},
               {.key = "bits_per_weight", .title = "bits/weight", .decimals = 3},
               {.key = "file_bytes", .title = "file bytes", .decimals = 0}});
  std::int64_t tokens = 0;
  for (const std::int64_t n : e.window_tokens) tokens += n;
  const auto from_base = [&](double Divergence::*member, double scale) {
    return e.from_base ? number(scale * (*e.from_base).*member) : missing();
  };
  table.add_row({experiments::text(model.path.string()), number(e.loss), number(e.bits_per_byte),
                 number(e.perplexity),
                 base ? number(100 * (e.perplexity / base->perplexity - 1)) : missing(),
                 from_base(&Divergence::kl_mean, 1), from_base(&Divergence::kl_99, 1),
                 from_base(&Divergence::same_top, 100), number(static_cast<double>(tokens)),
                 number(static_cast<double>(text.bytes)), number(model.size.bits_per_weight()),
                 number(static_cast<double>(model.file_bytes))});
  return table.without_empty_columns();
}

}  // namespace

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
  const bool dumps = args.has("dump-logits") || args.has("dump-grads");
  const std::int64_t N = args.integer("windows", dumps ? 1 : 0, 1, 1'000'000'000);
  use_threads(args);
  const Artefact model = open_artefact(args, args.positionals[0]);
  const TokenizedText text = open_text(
      args, *text_file, model, {.split = split, .splits = splits, .max_windows = dumps ? 0 : N});
  std::optional<Artefact> base;
  if (args.has("base")) {
    base = open_artefact(args, *args.value("base"));
    require_same_text_units(model, *base);
  }
  if (dumps) {
    const DumpWindows windows(text.tokens, model.model().sizes().block_size, N);
    if (const auto file = args.value("dump-logits")) dump_logits(model.model(), windows, *file);
    if (const auto file = args.value("dump-grads")) dump_gradients(model.model(), windows, *file);
  }
  std::optional<Evaluation> base_alone;
  if (base) base_alone = evaluate(base->model(), text.tokens, text.bytes_per_token);
  const Evaluation e =
      evaluate(model.model(), text.tokens, text.bytes_per_token, base ? &base->model() : nullptr);
  note(args, str(text.name, ": SHA-256 ", text.sha256.substr(0, 16), ", windows of ",
                 model.model().sizes().block_size, " tokens; loss in nats per token"));
  print_table(args, make_table(model, text, e, base_alone));
  return 0;
}

}  // namespace notch::experiments
