#include "data/text_source.h"

#include <utility>

#include "autograd/base/error.h"

namespace notch::data {
namespace {

Tokenizer make_tokenizer(const SourceOptions& options, const Corpus& corpus) {
  switch (tokenizer_kind(options.tokenizer)) {
    case TokenizerKind::byte_level:
      return Tokenizer::bytes();
    case TokenizerKind::character:
      return Tokenizer::characters(corpus.text);
    case TokenizerKind::bpe:
      break;
  }
  return Tokenizer::train(corpus.train(), options.bpe_vocab);
}

TextSource finish(const SourceOptions& options, const Corpus& corpus, Tokenizer tokenizer) {
  TextSource source;
  source.corpus = {corpus.name,           corpus.sha256,       corpus.text.size(),
                   corpus.train().size(), corpus.val().size(), corpus.test().size(),
                   corpus.marked};
  source.tokens = tokenize(corpus, tokenizer, options.cache);
  source.tokenizer = std::move(tokenizer);
  require_block(source.tokens, options.block_size, corpus.name);
  return source;
}

}  // namespace

Corpus source_corpus(const SourceOptions& options) {
  if (options.kind == "text") return load_corpus(options.path, options.splits);
  if (options.kind == "verbs") {
    return make_corpus("verbs", generate(options.seed, options.sentences), options.splits, "verbs");
  }
  const std::string close = did_you_mean(options.kind, {"verbs", "text"});
  throw Error({.fault = Fault::usage,
               .where = "data",
               .what = "unknown kind of data",
               .field = "kind",
               .found = options.kind,
               .expected = "verbs or text",
               .hint = close.empty() ? "" : str("did you mean \"", close, "\"?")});
}

TextSource load_source(const SourceOptions& options) {
  const Corpus corpus = source_corpus(options);
  return finish(options, corpus, make_tokenizer(options, corpus));
}

TextSource load_source(const SourceOptions& options, Tokenizer tokenizer) {
  const Corpus corpus = source_corpus(options);
  return finish(options, corpus, std::move(tokenizer));
}

}  // namespace notch::data
