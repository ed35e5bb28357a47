// notch narrow: a smaller model of a floating-point one, without the blocks, the heads and the channels of
// its MLPs that text needs least, or with its matrices as products of two.
#include <algorithm>
#include <numeric>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/config/pipeline.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/shared_flags.h"
#include "nn/heads.h"
#include "nn/narrow.h"
#include "nn/shallow.h"
#include "quant/methods/factored.h"

namespace notch::experiments {
namespace {

/// Windows of T tokens from the text's start, `n` at most.
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

/// The share of each block's importance that is kept, in percent.
std::vector<double> kept_of(const std::vector<std::vector<double>>& importance,
                            const std::vector<std::vector<std::int64_t>>& keep) {
  std::vector<double> shares;
  for (std::size_t b = 0; b < keep.size(); ++b) {
    double kept = 0;
    for (const std::int64_t i : keep[b]) kept += importance[b][static_cast<std::size_t>(i)];
    const double all = std::accumulate(importance[b].begin(), importance[b].end(), 0.0);
    shares.push_back(all > 0 ? 100 * kept / all : 100);
  }
  return shares;
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

/// A model in floating point, with all its weights.
Artefact open_whole(const Args& args) {
  Artefact from = open_artefact(args, args.positionals[0]);
  if (from.loaded.tensors.empty() && from.loaded.masks.empty() &&
      from.model().sizes().ranks.empty())
    return from;
  throw Error({.fault = Fault::input,
               .where = from.path.string(),
               .what = "quantized, pruned or in two factors already",
               .hint = "narrow the model it was made from"});
}

/// What is left of a model: blocks, heads, and channels in each MLP.
struct Left {
  std::int64_t layers = 0, heads = 0, inner = 0;
};

Left left_of(const Args& args, const nn::Sizes& sizes) {
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
  const std::int64_t inner = args.integer("inner", sizes.n_inner, 1, sizes.n_inner);
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
  return {.layers = layers, .heads = heads, .inner = inner};
}

/// The smaller model, and how much it kept of what.
struct Narrow {
  std::unique_ptr<nn::Model> model{};
  std::vector<nn::RemovedBlock> removed{};
  std::vector<double> heads_kept{};  ///< %, of the blocks that stay; empty: all heads do
  std::vector<double> inner_kept{};
  std::vector<quant::FactoredMatrix> matrices{};
};

Narrow narrow(const Args& args, nn::Model& model, const Left& left,
              std::span<const nn::Tokens> text) {
  nn::Shallow shallow = nn::shallow(model, left.layers, text);
  Narrow out{.model = std::move(shallow.model), .removed = std::move(shallow.removed)};
  if (args.has("heads")) {
    const nn::Sizes& sizes = model.sizes();
    const auto importance = nn::head_importance(*out.model, text);
    const auto keep = nn::most_important(importance, left.heads / (sizes.n_head / sizes.n_kv_head));
    out.heads_kept = kept_of(importance, keep);
    out.model = nn::with_heads_of(*out.model, keep);
  }
  const auto importance = nn::inner_importance(*out.model, text);
  const auto keep = nn::most_important(importance, left.inner);
  out.inner_kept = kept_of(importance, keep);
  out.model = nn::narrowed(*out.model, keep);
  if (const auto words = args.value("svd")) {
    quant::Factored made =
        quant::factored(*out.model, factor_options(*words, out.model->sizes()), text);
    out.model = std::move(made.model);
    out.matrices = std::move(made.matrices);
  }
  return out;
}

/// The blocks that stay, then those that went.
Table block_table(const Narrow& made, std::int64_t blocks) {
  Table table(
      {{.key = "block", .decimals = 0},
       {.key = "heads_kept_pct", .title = "of the attention's power kept, %", .decimals = 2},
       {.key = "kept_pct", .title = "of the output's power kept, %", .decimals = 2},
       {.key = "loss_rise", .title = "loss without it", .decimals = 4, .sign = true}});
  std::size_t left = 0;
  for (std::int64_t b = 0; b < blocks; ++b) {
    if (std::ranges::find(made.removed, b, &nn::RemovedBlock::block) != made.removed.end())
      continue;
    table.add_row({number(static_cast<double>(b)),
                   made.heads_kept.empty() ? missing() : number(made.heads_kept[left]),
                   number(made.inner_kept[left]), missing()});
    ++left;
  }
  for (const nn::RemovedBlock& r : made.removed)
    table.add_row({number(static_cast<double>(r.block)), missing(), missing(), number(r.rise)});
  return table;
}

Table rank_table(const std::vector<quant::FactoredMatrix>& matrices) {
  Table table({{.key = "matrix", .text = true},
               {.key = "rows", .decimals = 0},
               {.key = "columns", .decimals = 0},
               {.key = "rank", .decimals = 0},
               {.key = "energy_pct", .title = "of its energy kept, %", .decimals = 2}});
  for (const quant::FactoredMatrix& m : matrices) {
    table.add_row(
        {text(m.name), number(static_cast<double>(m.rows)), number(static_cast<double>(m.cols)),
         m.rank > 0 ? number(static_cast<double>(m.rank)) : missing(), number(100 * m.kept)});
  }
  return table;
}

int narrow_command(const Args& args) {
  const fs::path out = new_directory(args);
  if (!args.has("text")) {
    throw Error({.where = "--text",
                 .what = "missing",
                 .hint = "what stays is measured on the text the model was trained on"});
  }
  use_threads(args);
  const Artefact from = open_whole(args);
  const nn::Sizes& sizes = from.model().sizes();
  const Left left = left_of(args, sizes);
  const std::int64_t T = window_length(args, from);
  const TokenizedText read = open_text(args, *args.value("text"), from, {.window = T});
  const Windows windows(read.tokens, T, args.integer("windows", 128, 1, 1'000'000));
  const Narrow made = narrow(args, from.model(), left, windows.batches);
  write_directory(out, [&](const fs::path& dir) {
    from.tokenizer.save(dir);
    nn::save_model(*made.model, dir);
  });
  // One table for a program that reads it.
  if (made.matrices.empty() || !args.has("output"))
    print_table(args, block_table(made, sizes.n_layer));
  if (!made.matrices.empty()) print_table(args, rank_table(made.matrices));
  for (const std::string& line : size_lines(open_artefact(args, out))) say(args, line);
  note(args, str("written to ", printable(out.string()), "; ", from.file_bytes, " bytes before"));
  return 0;
}

}  // namespace

Command narrow_verb() {
  return {
      {.name = "narrow",
       .summary = "a smaller model without the blocks, heads and MLP channels that a text needs "
                  "least, or with matrices in two factors",
       .examples = {"notch narrow MODEL_DIR --inner 192 --text train.txt --out narrow",
                    "notch narrow MODEL_DIR --layers 10 --heads 8 --text train.txt --out small",
                    "notch narrow MODEL_DIR --svd 90% --text train.txt --out factored"},
       .positionals = {{.name = "MODEL_DIR", .help = "a model in floating point"}},
       .flags =
           {{.name = "inner", .value = "N", .help = "channels in each MLP that are left"},
            {.name = "layers",
             .value = "N",
             .help = "blocks that are left; they are chosen before heads and channels"},
            {.name = "heads",
             .value = "N",
             .help = "heads that are left, with all that share one of keys"},
            {.name = "svd",
             .value = "SHARE",
             .help =
                 "then matrices as two factors that hold this share of their energy on the text, "
                 "90%, or take this share of their bytes, \"bytes 50%\"; ranks are multiples of "
                 "32, in small models of less"},
            {.name = "text",
             .value = "FILE",
             .help = "what they are measured on: the training text",
             .path = PathUse::read},
            {.name = "windows", .value = "N", .help = "of it, from the start", .fallback = "128"},
            ctx_flag("tokens of a window; the smaller model keeps its context"),
            out_flag(),
            no_verify_flag(),
            threads_flag(),
            output_flag()}},
      narrow_command};
}

}  // namespace notch::experiments
