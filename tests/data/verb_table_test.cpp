#include "data/verbs/verb_table.h"

#include <set>

#include "data/verbs/verb_grammar.h"
#include "data/verbs/verb_lexicon.h"
#include "tests/catch.h"

namespace verb_table_test {

using namespace notch;
using namespace notch::data;

TEST_CASE("the spelling rules of -s, -ing and -ed, by hand") {
  const struct {
    const char *base, *s, *ing, *ed;
  } rows[] = {
      {"walk", "walks", "walking", "walked"},
      {"bake", "bakes", "baking", "baked"},
      {"carry", "carries", "carrying", "carried"},
      {"play", "plays", "playing", "played"},
      {"tie", "ties", "tying", "tied"},
      {"agree", "agrees", "agreeing", "agreed"},
      {"dye", "dyes", "dyeing", "dyed"},
      {"tiptoe", "tiptoes", "tiptoeing", "tiptoed"},
      {"stop", "stops", "stopping", "stopped"},
      {"clean", "cleans", "cleaning", "cleaned"},
      {"fix", "fixes", "fixing", "fixed"},
      {"mow", "mows", "mowing", "mowed"},
      {"watch", "watches", "watching", "watched"},
      {"wash", "washes", "washing", "washed"},
      {"kiss", "kisses", "kissing", "kissed"},
      {"buzz", "buzzes", "buzzing", "buzzed"},
      {"mimic", "mimics", "mimicking", "mimicked"},
      {"visit", "visits", "visiting", "visited"},
      {"open", "opens", "opening", "opened"},
      {"help", "helps", "helping", "helped"},
      {"ski", "skis", "skiing", "skied"},
      {"echo", "echoes", "echoing", "echoed"},
      {"hug", "hugs", "hugging", "hugged"},
      {"use", "uses", "using", "used"},
      {"turn off", "turns off", "turning off", "turned off"},
  };
  for (const auto& r : rows) {
    CHECK(with_s(r.base) == r.s);
    CHECK(with_ing(r.base) == r.ing);
    CHECK(with_ed(r.base) == r.ed);
  }
  CHECK(with_ing("quit") == "quitting");
  CHECK(with_ing("be") == "being");
  CHECK(with_ing("see") == "seeing");
  CHECK(with_ing("lie") == "lying");
  CHECK(with_s("have") == "has");
  CHECK(with_s("go") == "goes");
  CHECK(with_s("bus") == "buses");
  CHECK(with_ed("admit", true) == "admitted");
  CHECK(with_ing("begin", true) == "beginning");
}

TEST_CASE("irregular verbs have their forms") {
  const struct {
    const char *base, *s, *ing, *past, *participle;
  } rows[] = {
      {"write", "writes", "writing", "wrote", "written"},
      {"go", "goes", "going", "went", "gone"},
      {"lie", "lies", "lying", "lay", "lain"},
      {"lay", "lays", "laying", "laid", "laid"},
      {"put", "puts", "putting", "put", "put"},
      {"swim", "swims", "swimming", "swam", "swum"},
      {"begin", "begins", "beginning", "began", "begun"},
      {"fly", "flies", "flying", "flew", "flown"},
      {"forget", "forgets", "forgetting", "forgot", "forgotten"},
      {"have", "has", "having", "had", "had"},
      {"do", "does", "doing", "did", "done"},
      {"withdraw", "withdraws", "withdrawing", "withdrew", "withdrawn"},
      {"be", "is", "being", "was", "been"},
  };
  for (const auto& r : rows) {
    const Verb v = verb_named(r.base);
    CHECK(v.third_person() == r.s);
    CHECK(v.gerund() == r.ing);
    CHECK(v.past == r.past);
    CHECK(v.participle == r.participle);
    CHECK(v.irregular());
  }
  CHECK_FALSE(verb_named("walk").irregular());
  CHECK(verb_named("bark").past == "barked");  // not listed
}

TEST_CASE("the table has hundreds of verbs, each once, and known nouns") {
  std::set<std::string> bases;
  int irregular = 0;
  for (const Verb& v : verbs()) {
    CAPTURE(v.base);
    CHECK(bases.insert(v.base).second);
    irregular += v.irregular() ? 1 : 0;
    CHECK_FALSE(v.complements.empty());
    for (const Complement& c : v.complements) {
      if (c.noun_class.empty() || c.noun_class == "person") continue;
      CHECK_FALSE(noun_class(c.noun_class).nouns.empty());
    }
  }
  CHECK(irregular >= 120);
  CHECK(bases.size() >= 300);
  CHECK(test::error_of([] { noun_class("nonsense"); }).fault == Fault::usage);
}

TEST_CASE("plurals follow the rules or the table") {
  const auto plural = [](std::string_view of, std::string_view singular) -> std::string {
    for (const Noun& n : noun_class(of).nouns) {
      if (n.singular == singular) return n.plural;
    }
    return "";
  };
  CHECK(plural("thing", "box") == "boxes");
  CHECK(plural("thing", "knife") == "knives");
  CHECK(plural("text", "poem") == "poems");
  CHECK(plural("tale", "story") == "stories");
  CHECK(plural("tale", "fairy tale") == "fairy tales");
  CHECK(plural("animal", "mouse") == "mice");
  CHECK(plural("fragile", "glass") == "glasses");
}

TEST_CASE("conjugation: the twelve tenses of write, by hand") {
  const Verb write = verb_named("write");
  const Subject she = pronouns()[3], they = pronouns()[6], i = pronouns()[0];
  REQUIRE(she.text == "she");
  const struct {
    Tense tense;
    const char *she, *they, *question, *negative;
  } rows[] = {
      {Tense::present_simple, "she writes", "they write", "does she write", "she does not write"},
      {Tense::past_simple, "she wrote", "they wrote", "did she write", "she did not write"},
      {Tense::future_simple, "she will write", "they will write", "will she write",
       "she will not write"},
      {Tense::present_progressive, "she is writing", "they are writing", "is she writing",
       "she is not writing"},
      {Tense::past_progressive, "she was writing", "they were writing", "was she writing",
       "she was not writing"},
      {Tense::future_progressive, "she will be writing", "they will be writing",
       "will she be writing", "she will not be writing"},
      {Tense::present_perfect, "she has written", "they have written", "has she written",
       "she has not written"},
      {Tense::past_perfect, "she had written", "they had written", "had she written",
       "she had not written"},
      {Tense::future_perfect, "she will have written", "they will have written",
       "will she have written", "she will not have written"},
      {Tense::present_perfect_progressive, "she has been writing", "they have been writing",
       "has she been writing", "she has not been writing"},
      {Tense::past_perfect_progressive, "she had been writing", "they had been writing",
       "had she been writing", "she had not been writing"},
      {Tense::future_perfect_progressive, "she will have been writing",
       "they will have been writing", "will she have been writing",
       "she will not have been writing"},
  };
  for (const auto& r : rows) {
    Clause c{.verb = &write, .tense = r.tense, .subject = she};
    CHECK(statement(c) == r.she);
    CHECK(question(c) == r.question);
    c.negation = Negation::full;
    CHECK(statement(c) == r.negative);
    CHECK(statement({.verb = &write, .tense = r.tense, .subject = they}) == r.they);
  }
  CHECK(statement({.verb = &write, .tense = Tense::present_progressive, .subject = i}) ==
        "I am writing");
  CHECK(statement({.verb = &write, .tense = Tense::present_simple, .subject = i}) == "I write");
}

TEST_CASE("contractions, adverbs and the copula stand where they must") {
  const Verb write = verb_named("write");
  const Subject i = pronouns()[0], you = pronouns()[1], she = pronouns()[3];
  const auto clause = [](const Verb& v, Tense t, const Subject& s, Negation n, std::string adverb) {
    return Clause{.verb = &v, .tense = t, .subject = s, .negation = n, .adverb = std::move(adverb)};
  };
  CHECK(statement(clause(write, Tense::future_simple, she, Negation::contracted, "")) ==
        "she won't write");
  CHECK(statement(clause(write, Tense::present_progressive, i, Negation::contracted, "")) ==
        "I am not writing");
  CHECK(question(clause(write, Tense::present_progressive, i, Negation::contracted, "")) ==
        "am I not writing");
  CHECK(question(clause(write, Tense::present_perfect, you, Negation::contracted, "")) ==
        "haven't you written");
  CHECK(question(clause(write, Tense::past_simple, you, Negation::full, "")) ==
        "did you not write");
  CHECK(statement(clause(write, Tense::present_simple, she, Negation::none, "often")) ==
        "she often writes");
  CHECK(statement(clause(write, Tense::present_simple, she, Negation::full, "often")) ==
        "she does not often write");
  CHECK(statement(clause(write, Tense::present_perfect, she, Negation::none, "already")) ==
        "she has already written");
  CHECK(question(clause(write, Tense::present_perfect, she, Negation::none, "ever")) ==
        "has she ever written");
  CHECK(statement(clause(copula(), Tense::past_simple, you, Negation::contracted, "")) ==
        "you weren't");
  CHECK(statement(clause(copula(), Tense::future_perfect, she, Negation::none, "")) ==
        "she will have been");
  CHECK(question(clause(copula(), Tense::present_simple, i, Negation::none, "")) == "am I");
}

TEST_CASE("a or an goes by the sound") {
  CHECK(article("apple") == "an");
  CHECK(article("letter") == "a");
  CHECK(article("uniform") == "a");
  CHECK(article("umbrella") == "an");
  CHECK(article("hour") == "an");
  CHECK(article("house") == "a");
}

}  // namespace verb_table_test
