// Texts, vocabularies and clauses that callers put together wrongly are refused before anything is read
// behind them.
#include "tests/refused_calls.h"

#include <functional>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer_json.h"
#include "data/verbs/verb_grammar.h"
#include "data/vocab_files.h"
#include "tests/catch.h"

namespace notch::data::refused_calls_test {

TEST_CASE("ids of no token and splits beyond a text are refused") {
  const Vocabulary beyond{.tokens = {"a"}, .merges = {{0, 9, 0}}},
      below{.tokens = {"a"}, .merges = {{-1, 0, 0}}}, made{.tokens = {"a"}, .merges = {{0, 0, 9}}},
      added{.tokens = {"a"}, .added = {{.id = 9}}};
  std::vector<std::function<void()>> calls{
      [] { spelling_of({}, 0); },
      [] { spelling_of({.tokens = {"a"}}, -1); },
      [] { tokenize({.text = "abc", .train_bytes = 9}, Tokenizer::bytes()); },
      [] { tokenize({.text = "abc", .train_bytes = 2, .val_bytes = 2}, Tokenizer::bytes()); },
      [] { statement({}); },
      [] { question({}); },
  };
  for (const Vocabulary* v : {&beyond, &below, &made, &added}) {
    calls.push_back([v] { tokenizer_json(*v); });
    calls.push_back([v] { tokenizer_config_json(*v); });
    calls.push_back([v] { merges_text(*v); });
    calls.push_back([v] { added_tokens_json(*v); });
    calls.push_back([v] { fits_vocab_files(*v); });
  }
  test::check_refused(calls);
}

}  // namespace notch::data::refused_calls_test
