// notch narrow: a smaller model of a floating-point one, without the channels of its MLPs that text uses
// least.
#include <algorithm>
#include <numeric>

#include "autograd/base/error.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "nn/narrow.h"

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
          .summary = "a smaller model without the channels of its MLPs that a text uses least",
          .examples = {"notch narrow MODEL_DIR --inner 192 --text train.txt --out narrow"},
          .positionals = {{.name = "MODEL_DIR", .help = "a model in floating point"}},
          .flags = {
              {.name = "inner", .value = "N", .help = "channels that are left"},
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
  const std::int64_t inner = from.model().sizes().n_inner;
  if (!args.has("inner")) {
    throw Error({.where = "--inner",
                 .what = "missing",
                 .expected = str("1 to ", inner, ", the channels that are left"),
                 .hint = "groups of 32 fit a multiple of 32"});
  }
  const std::int64_t left = args.integer("inner", 0, 1, inner);
  const TokenizedText text = open_text(args, *args.value("text"), from);
  const Windows windows(text.tokens, from.model().sizes().block_size,
                        args.integer("windows", 128, 1, 1'000'000));
  const std::vector<std::vector<double>> importance =
      nn::inner_importance(from.model(), windows.batches);
  const std::vector<std::vector<std::int64_t>> keep = nn::most_important(importance, left);
  const std::unique_ptr<nn::Model> small = nn::narrowed(from.model(), keep);
  std::error_code ignored;  // DirectoryWriter says what is wrong
  fs::create_directories(out.parent_path(), ignored);
  {
    DirectoryWriter dir(out);
    from.tokenizer.save(dir.temporary());
    nn::save_model(*small, dir.temporary());
    dir.commit();
  }
  Table table({{.key = "block", .decimals = 0},
               {.key = "kept_pct", .title = "of the output's power kept, %", .decimals = 2}});
  for (std::size_t b = 0; b < keep.size(); ++b) {
    double kept = 0;
    for (const std::int64_t i : keep[b]) kept += importance[b][static_cast<std::size_t>(i)];
    const double all = std::accumulate(importance[b].begin(), importance[b].end(), 0.0);
    table.add_row({number(static_cast<double>(b)), number(all > 0 ? 100 * kept / all : 100)});
  }
  print_table(args, table);
  for (const std::string& line : size_lines(open_artefact(args, out))) say(args, line);
  note(args, str("written to ", out.string(), "; ", from.file_bytes, " bytes before"));
  return 0;
}

}  // namespace notch::experiments
