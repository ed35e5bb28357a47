// The words of the built-in corpus other than verbs: nouns by class, subjects, time expressions and
// events. Tables only; verb_grammar.cpp makes sentences of them.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace notch::data {

/// The twelve combinations of time and aspect; time = value % 3, aspect = value / 3.
enum class Tense {
  present_simple,
  past_simple,
  future_simple,
  present_progressive,
  past_progressive,
  future_progressive,
  present_perfect,
  past_perfect,
  future_perfect,
  present_perfect_progressive,
  past_perfect_progressive,
  future_perfect_progressive,
};
inline constexpr int kTenses = 12;
constexpr auto names(Tense) {
  return std::array<std::string_view, kTenses>{
      "present simple",
      "past simple",
      "future simple",
      "present progressive",
      "past progressive",
      "future progressive",
      "present perfect",
      "past perfect",
      "future perfect",
      "present perfect progressive",
      "past perfect progressive",
      "future perfect progressive",
  };
}

enum class NounKind {
  count,  // takes any determiner and has a plural
  mass,   // the water, her water, water
  bare,   // never takes a determiner: football, Paris
  fixed,  // written out with its determiner: "the market"
};

struct Noun {
  std::string singular{}, plural{};
  NounKind kind = NounKind::count;
};

struct NounClass {
  std::string name{};
  std::vector<std::string> adjectives{};
  std::vector<Noun> nouns{};
};

/// The class of that name; throws Fault::usage when there is none. "person" is not in it.
const NounClass& noun_class(std::string_view name);

/// A subject with what the verb and the words around it must agree with.
struct Subject {
  std::string text{};        // in the middle of a sentence: "she", "the children", "I"
  std::string possessive{};  // "her"
  std::string object{};      // "her"; for anything but a pronoun the same as text
  int person = 3;            // 1, 2, 3
  bool plural = false;
};

std::span<const Subject> pronouns();  // I you he she it we they
std::span<const Subject> people();    // names and noun phrases
std::span<const Subject> animals();

/// Something that happens by itself: "the phone" + "ring" + "".
struct Event {
  Subject subject{};
  std::string base{}, tail{};
};
std::span<const Event> events();

/// Time expressions. Placeholders in braces are filled by the generator: {n} 2 to 10, {units} and
/// {unit} days and the like, {day}, {month}, {season}, {part} of a day, {clock}, {year} past,
/// {future} year.
enum class Polarity { affirmative, negative, question };
std::span<const std::string_view> time_expressions(Tense tense, Polarity polarity, bool stative);

/// Adverbs between auxiliary and verb: "already", "usually". May be empty.
std::span<const std::string_view> mid_adverbs(Tense tense, Polarity polarity, bool stative);

std::span<const std::string_view> thing_locations();
std::span<const std::string_view> body_locations();
std::span<const std::string_view> closings();  // "again", "with a friend"
std::span<const std::string_view> states();    // what be takes: "tired", "at home"

/// The choices for one placeholder, without its braces.
std::span<const std::string_view> placeholder(std::string_view name);

}  // namespace notch::data
