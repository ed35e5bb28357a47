// notch narrow: a smaller model of a floating-point one, without the blocks and the channels of its MLPs
// that text needs least.
#include <algorithm>
#include <numeric>

#include "autograd/base/error.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "nn/narrow.h"
#include "nn/shallow.h"

namespace notch::experiments {
namespace {

/// Windows of the model's context from the text's start, `n` at most.
struct Windows {
  std::vector<std::int32_t> ids{};
  std::vector<nn::Tokens> batches{};

  Windows(const std::vector<std::uint16_t>& tokens, std::int64_t T, std::int64_t n) {
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

}  // namespace

Verb narrow_verb() {
  return {.name = "narrow",
          .summary = "a smaller model without the blocks and MLP channels that a text needs least",
          .examples = {"notch narrow MODEL_DIR --inner 192 --text train.txt --out narrow",
                       "notch narrow MODEL_DIR --layers 10 --text train.txt --out shallow"},
          .positionals = {{.name = "MODEL_DIR", .help = "a model in floating point"}},
          .flags = {
              {.name = "inner", .value = "N", .help = "channels in each MLP that are left"},
              {.name = "layers",
               .value = "N",
               .help = "blocks that are left; they are chosen before channels"},
              {.name = "text",
               .value = "FILE",
               .help = "what they are measured on: the training text",
               .reads = true},
              {.name = "windows", .value = "N", .help = "of it, from the start", .fallback = "128"},
              {.name = "out", .value = "DIR", .help = "the directory to write"},
              no_verify_flag(),
              threads_flag(),
              output_flag()}};
}

int narrow_command(const Args& args) {
  const fs::path out = new_directory(args);
  if (!args.has("text")) {
    throw Error({.where = "--text",
                 .what = "missing",
                 .hint = "channels are measured on the text the model was trained on"});
  }
  use_threads(args);
  const Artefact from = open_artefact(args, args.positionals[0]);
  if (!from.loaded.tensors.empty() || !from.loaded.masks.empty()) {
    throw Error({.fault = Fault::input,
                 .where = from.path.string(),
                 .what = "quantized or pruned already",
                 .hint = "narrow the model it was made from"});
  }
  const nn::Sizes& sizes = from.model().sizes();
  if (!args.has("inner") && !args.has("layers")) {
    throw Error({.where = "--inner",
                 .what = "missing, and no --layers",
                 .expected = str("1 to ", sizes.n_inner,
                                 ", the channels that are left, or --layers 1 to ", sizes.n_layer),
                 .hint = "groups of 32 fit a multiple of 32"});
  }
  const std::int64_t left = args.integer("inner", sizes.n_inner, 1, sizes.n_inner);
  const std::int64_t layers = args.integer("layers", sizes.n_layer, 1, sizes.n_layer);
  const TokenizedText text = open_text(args, *args.value("text"), from);
  const Windows windows(text.tokens, from.model().sizes().block_size,
                        args.integer("windows", 128, 1, 1'000'000));
  const nn::Shallow shallow = nn::shallow(from.model(), layers, windows.batches);
  const std::vector<std::vector<double>> importance =
      nn::inner_importance(*shallow.model, windows.batches);
  const std::vector<std::vector<std::int64_t>> keep = nn::most_important(importance, left);
  const std::unique_ptr<nn::Model> small = nn::narrowed(*shallow.model, keep);
  std::error_code ignored;  // DirectoryWriter says what is wrong
  fs::create_directories(out.parent_path(), ignored);
  {
    DirectoryWriter dir(out);
    from.tokenizer.save(dir.temporary());
    nn::save_model(*small, dir.temporary());
    dir.commit();
  }
  Table table({{.key = "block", .decimals = 0},
               {.key = "kept_pct", .title = "of the output's power kept, %", .decimals = 2},
               {.key = "loss_rise", .title = "loss without it", .decimals = 4, .sign = true}});
  std::vector<std::int64_t> stays;
  for (std::int64_t b = 0; b < sizes.n_layer; ++b)
    if (std::ranges::find(shallow.removed, b, &nn::RemovedBlock::block) == shallow.removed.end())
      stays.push_back(b);
  for (std::size_t b = 0; b < keep.size(); ++b) {
    double kept = 0;
    for (const std::int64_t i : keep[b]) kept += importance[b][static_cast<std::size_t>(i)];
    const double all = std::accumulate(importance[b].begin(), importance[b].end(), 0.0);
    table.add_row({number(static_cast<double>(stays[b])), number(all > 0 ? 100 * kept / all : 100),
                   missing()});
  }
  for (const nn::RemovedBlock& r : shallow.removed)
    table.add_row({number(static_cast<double>(r.block)), missing(), number(r.rise)});
  print_table(args, table);
  for (const std::string& line : size_lines(open_artefact(args, out))) say(args, line);
  note(args, str("written to ", out.string(), "; ", from.file_bytes, " bytes before"));
  return 0;
}

}  // namespace notch::experiments
