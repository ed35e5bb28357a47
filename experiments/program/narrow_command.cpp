// notch narrow: a smaller model of a floating-point one, without the blocks, the heads and the channels of
// its MLPs that text needs least, or with its matrices as products of two.
#include <algorithm>
#include <numeric>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/config/pipeline.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "nn/heads.h"
#include "nn/narrow.h"
#include "nn/shallow.h"
#include "quant/methods/factored.h"

namespace notch::experiments {
namespace {

/// Windows of the model's context from the text's start, `n` at most.
struct Windows {
  std::vector<std::int32_t> ids{};
  std::vector<nn::Tokens> batches{};

  Windows(const std::vector<std::int32_t>& tokens, std::int64_t T, std::int64_t n) {
    n = std::min(n, std::ssize(tokens) / T);
    ids.assign(tokens.begin(), tokens.begin() + n * T);
    constexpr std::int64_t kPerBatch = 16;
    for (std::int64_t w = 0; w < n; w += kPerBatch) {
      const std::int64_t B = std::min(kPerBatch, n - w);
      batches.push_back(
          {std::span(ids).subspan(static_cast<std::size_t>(w * T), static_cast<std::size_t>(B * T)),
           B, T});
    }
  }
};

/// The share that the most important keep of a block's importance, in percent.
double kept_of(const std::vector<double>& importance, const std::vector<std::int64_t>& keep) {
  double kept = 0;
  for (const std::int64_t i : keep) kept += importance[static_cast<std::size_t>(i)];
  const double all = std::accumulate(importance.begin(), importance.end(), 0.0);
  return all > 0 ? 100 * kept / all : 100;
}

/// What --svd says, a stage's words after "svd", for a model of these sizes: ranks are multiples of 32, of a
/// smaller power of two where the smallest such factors had more than half of the bytes.
quant::FactorOptions factor_options(const std::string& words, const nn::Sizes& sizes) {
  quant::FactorOptions options;
  try {
    const std::vector<std::string> stage{"svd " + words};
    options = parse_pipeline(stage)[0].svd;
  } catch (const Error& e) {
    ErrorParts parts = e.parts();
    parts.where = "--svd";
    parts.field.clear();
    throw Error(std::move(parts));
  }
  const auto least = [&](std::int64_t unit) {
    return quant::weights_share(sizes, quant::least_ranks(sizes, unit));
  };
  options.unit = 32;
  while (options.unit > 1 && least(options.unit) > 0.5) options.unit /= 2;
  if (options.weights && options.share < least(options.unit)) {
    throw Error({.where = "--svd",
                 .what = str("the smallest factors, of rank ", options.unit, ", have more"),
                 .found = words,
                 .expected = str("at least ", printed("%.1f", 100 * least(options.unit)), "%")});
  }
  return options;
}

}  // namespace

Verb narrow_verb() {
  return {
      .name = "narrow",
      .summary =
          "a smaller model without the blocks, heads and MLP channels that a text needs "
          "least, or with matrices in two factors",
      .examples = {"notch narrow MODEL_DIR --inner 192 --text train.txt --out narrow",
                   "notch narrow MODEL_DIR --layers 10 --heads 8 --text train.txt --out small",
                   "notch narrow MODEL_DIR --svd 90% --text train.txt --out factored"},
      .positionals = {{.name = "MODEL_DIR", .help = "a model in floating point"}},
      .flags = {
          {.name = "inner", .value = "N", .help = "channels in each MLP that are left"},
          {.name = "layers",
           .value = "N",
           .help = "blocks that are left; they are chosen before heads and channels"},
          {.name = "heads",
           .value = "N",
           .help = "heads that are left, with all that share one of keys"},
          {.name = "svd",
           .value = "SHARE",
           .help = "then matrices as two factors that hold this share of their energy on the text, "
                   "90%, or take this share of their bytes, \"bytes 50%\"; ranks are multiples of "
                   "32, in small models of less"},
          {.name = "text",
           .value = "FILE",
           .help = "what they are measured on: the training text",
           .path = PathUse::read},
          {.name = "windows", .value = "N", .help = "of it, from the start", .fallback = "128"},
          {.name = "out",
           .value = "DIR",
           .help = "the directory to write",
           .path = PathUse::filled},
          no_verify_flag(),
          threads_flag(),
          output_flag()}};
}

int narrow_command(const Args& args) {
  const fs::path out = new_directory(args);
  if (!args.has("text")) {
    throw Error({.where = "--text",
                 .what = "missing",
                 .hint = "what stays is measured on the text the model was trained on"});
  }
  use_threads(args);
  const Artefact from = open_artefact(args, args.positionals[0]);
  const nn::Sizes& sizes = from.model().sizes();
  if (!from.loaded.tensors.empty() || !from.loaded.masks.empty() || !sizes.ranks.empty()) {
    throw Error({.fault = Fault::input,
                 .where = from.path.string(),
                 .what = "quantized, pruned or in two factors already",
                 .hint = "narrow the model it was made from"});
  }
  if (!args.has("inner") && !args.has("layers") && !args.has("heads") && !args.has("svd")) {
    throw Error(
        {.where = "--inner",
         .what = "missing, and no --layers, --heads or --svd",
         .expected = str("1 to ", sizes.n_inner, ", the channels that are left, --layers 1 to ",
                         sizes.n_layer, ", --heads 1 to ", sizes.n_head, ", or --svd 90%"),
         .hint = "groups of 32 fit a multiple of 32"});
  }
  const std::int64_t heads = args.integer("heads", sizes.n_head, 1, sizes.n_head);
  const std::int64_t sharing = sizes.n_head / sizes.n_kv_head;
  if (heads % sharing != 0) {
    throw Error({.where = "--heads",
                 .what = "heads that share one of keys go together",
                 .found = str(heads),
                 .expected = str("a multiple of ", sharing)});
  }
  const std::int64_t left = args.integer("inner", sizes.n_inner, 1, sizes.n_inner);
  const std::int64_t layers = args.integer("layers", sizes.n_layer, 1, sizes.n_layer);
  const std::pair<const char*, std::int64_t> cuts[] = {
      {"layers", sizes.n_layer}, {"heads", sizes.n_head}, {"inner", sizes.n_inner}};
  for (const auto& [flag, all] : cuts) {
    if (args.integer(flag, 0, 1, all) != all) continue;
    throw Error({.where = str("--", flag),
                 .what = "nothing to cut: the model has as many",
                 .found = str(all),
                 .expected = all > 1 ? str("1 to ", all - 1) : "",
                 .hint = "leave it out"});
  }
  const TokenizedText read = open_text(args, *args.value("text"), from);
  const Windows windows(read.tokens, from.model().sizes().block_size,
                        args.integer("windows", 128, 1, 1'000'000));
  nn::Shallow shallow = nn::shallow(from.model(), layers, windows.batches);
  std::unique_ptr<nn::Model> small = std::move(shallow.model);
  std::vector<double> heads_kept(static_cast<std::size_t>(layers), 100);
  if (args.has("heads")) {
    const auto importance = nn::head_importance(*small, windows.batches);
    const auto keep = nn::most_important(importance, heads / sharing);
    std::ranges::transform(importance, keep, heads_kept.begin(), kept_of);
    small = nn::with_heads_of(*small, keep);
  }
  const auto importance = nn::inner_importance(*small, windows.batches);
  const auto keep = nn::most_important(importance, left);
  small = nn::narrowed(*small, keep);
  std::vector<quant::FactoredMatrix> matrices;
  if (const auto words = args.value("svd")) {
    quant::Factored made =
        quant::factored(*small, factor_options(*words, small->sizes()), windows.batches);
    small = std::move(made.model);
    matrices = std::move(made.matrices);
  }
  write_directory(out, [&](const fs::path& dir) {
    from.tokenizer.save(dir);
    nn::save_model(*small, dir);
  });
  Table table(
      {{.key = "block", .decimals = 0},
       {.key = "heads_kept_pct", .title = "of the attention's power kept, %", .decimals = 2},
       {.key = "kept_pct", .title = "of the output's power kept, %", .decimals = 2},
       {.key = "loss_rise", .title = "loss without it", .decimals = 4, .sign = true}});
  std::vector<std::int64_t> stays;
  for (std::int64_t b = 0; b < sizes.n_layer; ++b)
    if (std::ranges::find(shallow.removed, b, &nn::RemovedBlock::block) == shallow.removed.end())
      stays.push_back(b);
  for (std::size_t b = 0; b < keep.size(); ++b) {
    table.add_row({number(static_cast<double>(stays[b])),
                   args.has("heads") ? number(heads_kept[b]) : missing(),
                   number(kept_of(importance[b], keep[b])), missing()});
  }
  for (const nn::RemovedBlock& r : shallow.removed)
    table.add_row({number(static_cast<double>(r.block)), missing(), missing(), number(r.rise)});
  // One table for a program that reads it.
  if (matrices.empty() || !args.has("output")) print_table(args, table);
  if (!matrices.empty()) {
    Table ranks({{.key = "matrix", .text = true},
                 {.key = "rows", .decimals = 0},
                 {.key = "columns", .decimals = 0},
                 {.key = "rank", .decimals = 0},
                 {.key = "energy_pct", .title = "of its energy kept, %", .decimals = 2}});
    for (const quant::FactoredMatrix& m : matrices) {
      ranks.add_row(
          {text(m.name), number(static_cast<double>(m.rows)), number(static_cast<double>(m.cols)),
           m.rank > 0 ? number(static_cast<double>(m.rank)) : missing(), number(100 * m.kept)});
    }
    print_table(args, ranks);
  }
  for (const std::string& line : size_lines(open_artefact(args, out))) say(args, line);
  note(args, str("written to ", printable(out.string()), "; ", from.file_bytes, " bytes before"));
  return 0;
}

}  // namespace notch::experiments
