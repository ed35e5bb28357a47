// A text as a model sees it, and the windows that it is cut in (experiments/program/command_tools.h).
#include <algorithm>
#include <span>

#include "autograd/base/error.h"
#include "data/corpus.h"
#include "experiments/program/command_tools.h"

namespace notch::experiments {

std::vector<std::int32_t> encode(const data::Tokenizer& tokenizer, std::string_view text,
                                 const std::string& where) {
  return about(where, [&] { return tokenizer.encode(text); });
}

std::int64_t window_length(const Args& args, const Artefact& artefact, const WindowRule& rule) {
  const std::int64_t context = artefact.model().sizes().block_size;
  const std::int64_t usual = std::min(rule.usual, context);
  if (args.has("ctx")) {
    try {
      return args.integer("ctx", usual, rule.least, context);
    } catch (const Error& e) {
      ErrorParts parts = e.parts();
      parts.hint = str("the model's context is ", context, "; without the flag it is ", usual);
      throw Error(std::move(parts));
    }
  }
  if (rule.told && usual < context) {
    note(args, str("note: windows of ", usual, " tokens; the model's context is ", context,
                   ", and --ctx N takes another length"));
  }
  return usual;
}

TokenizedText open_text(const Args& args, const fs::path& file, const Artefact& artefact,
                        const TextPart& part) {
  const data::Tokenizer& tokenizer = artefact.tokenizer;
  const data::Corpus corpus = data::load_corpus(file, part.splits);
  const std::string_view wanted = part.split == "val"    ? corpus.val()
                                  : part.split == "test" ? corpus.test()
                                                         : std::string_view(corpus.text);
  TokenizedText out{.name = corpus.name,
                    .sha256 = corpus.sha256,
                    .tokens = encode(tokenizer, wanted, file.string())};
  if (corpus.marked) note(args, str("note: ", corpus.name, " without its byte order mark"));
  const std::int64_t T = part.window;
  check(T > 0, "open_text", "windows of ", T, " tokens");
  if (std::ssize(out.tokens) <= T) {
    throw Error(
        {.fault = Fault::input,
         .where = file.string(),
         .what = str("the ", part.split == "all" ? "text" : str(part.split, " split"),
                     " is shorter than one window"),
         .found = str(out.tokens.size(), " tokens, in ", wanted.size(), " of the text's ",
                      corpus.text.size(), " bytes"),
         .expected = str("at least ", T + 1, " (a window of ", T, " and one target)"),
         .hint = str("give more text, ",
                     part.split == "all" ? "" : str("a larger --", part.split, "-fraction, "),
                     "or a smaller --ctx")});
  }
  if (part.max_windows > 0 && (std::ssize(out.tokens) - 1) / T >= part.max_windows) {
    out.tokens.resize(static_cast<std::size_t>(part.max_windows * T + 1));
  }
  for (const std::int32_t id : std::span(out.tokens).subspan(1)) {
    out.bytes += static_cast<std::int64_t>(tokenizer.token(id).size());
  }
  out.bytes_per_token = static_cast<double>(out.bytes) / static_cast<double>(out.tokens.size() - 1);
  return out;
}

}  // namespace notch::experiments
