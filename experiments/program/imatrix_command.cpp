// notch imatrix: how large the inputs of each matrix are on a text, as llama.cpp's quantizers read it.
#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/gguf_vocabulary.h"
#include "experiments/program/shared_flags.h"
#include "quant/store/gguf_importance.h"

namespace notch::experiments {
namespace {

int imatrix_command(const Args& args) {
  const auto needed = [&](std::string_view flag, std::string_view hint) {
    if (const auto value = args.value(flag)) return *value;
    throw Error({.where = "notch imatrix",
                 .what = "missing",
                 .field = str("--", flag),
                 .hint = std::string(hint)});
  };
  const fs::path text = needed("text", "name the file to read: --text FILE");
  const fs::path out = needed("out", "name the file to write: --out FILE");
  use_threads(args);
  const Artefact artefact = open_artefact(args, args.positionals[0]);
  const std::int64_t ctx = window_length(args, artefact, kLlamaWindows);
  const data::Corpus corpus = data::load_corpus(text, {});
  std::vector<std::int32_t> tokens = encode(artefact.tokenizer, corpus.text, text.string());
  const auto before = token_before(artefact.tokenizer.vocabulary());
  if (before) tokens.insert(tokens.begin(), *before);
  const std::int64_t whole = std::ssize(tokens) / ctx;
  if (whole == 0) {
    throw Error({.fault = Fault::input,
                 .where = text.string(),
                 .what = "the text is shorter than one chunk",
                 .found = str(tokens.size(), " tokens"),
                 .expected = str("at least ", ctx),
                 .hint = "give more text, or a smaller --ctx"});
  }
  const std::int64_t chunks = std::min(whole, args.integer("windows", whole, 1, 1'000'000'000));
  quant::ImportanceMatrix matrix{.text = text.string(), .chunks = chunks, .chunk_tokens = ctx};
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < chunks; ++i) {
    const auto part =
        std::span(tokens).subspan(static_cast<std::size_t>(i * ctx), static_cast<std::size_t>(ctx));
    ids.assign(part.begin(), part.end());
    if (before) ids[0] = *before;
    quant::add_importance(artefact.model(), {ids, 1, ctx}, matrix);
  }
  quant::save_importance(matrix, out, Existing::refuse);
  note(args,
       str(corpus.name, ": SHA-256 ", corpus.sha256.substr(0, 16), ", ", chunks, " chunks of ", ctx,
           " tokens; ", matrix.of.size(), " matrices written to ", printable(out.string())));
  return 0;
}

}  // namespace

Command imatrix_verb() {
  return {
      {.name = "imatrix",
       .summary = "the importance matrix of a model on a text, which llama-quantize --imatrix and "
                  "notch export --imatrix read",
       .examples = {"notch imatrix MODEL_DIR --text train.txt --out model.imatrix.gguf"},
       .positionals = {model_positional()},
       .flags =
           {{.name = "text",
             .value = "FILE",
             .help = "UTF-8 text, of the kind the model was trained on; - is stdin",
             .path = PathUse::read},
            {.name = "out", .value = "FILE", .help = "the file to write", .path = PathUse::written},
            ctx_flag("tokens of a chunk", "512, or the model's context"),
            {.name = "windows",
             .value = "N",
             .help = "read the first N chunks only",
             .fallback = "all"},
            no_verify_flag(),
            threads_flag()}},
      imatrix_command};
}

}  // namespace notch::experiments
