// Time expressions and adverbs for each tense, apart from the nouns because they carry the grammar:
// an expression stands under a tense only where the combination is correct English.
#include <array>

#include "autograd/base/error.h"
#include "data/verbs/verb_lexicon.h"

namespace notch::data {
namespace {

using Words = std::span<const std::string_view>;

template <std::size_t N>
Words words(const std::array<std::string_view, N>& list) {
  return {list.data(), N};
}

template <class... Text>
constexpr std::array<std::string_view, sizeof...(Text)> list(Text... text) {
  return {std::string_view(text)...};
}

constexpr auto kPresentSimple =
    list("every {part}", "every {day}", "every {season}", "on {day}s", "once a {unit}",
         "twice a {unit}", "{n} times a {unit}", "every {unit}", "every {n} {units}");
constexpr auto kPresentState = list("these days", "now");
constexpr auto kPastSimple =
    list("yesterday", "yesterday {part}", "last {unit}", "last night", "last {season}",
         "last {day}", "{n} {units} ago", "in {year}", "a {unit} ago", "last {month}",
         "at {clock} yesterday", "the other day");
constexpr auto kFutureSimple = list("tomorrow", "tomorrow {part}", "next {unit}", "next {season}",
                                    "next {day}", "in {n} {units}", "soon", "in {future}",
                                    "one day", "next {month}", "at {clock} tomorrow", "later");
constexpr auto kPresentProgressive = list("now", "right now", "at the moment", "today",
                                          "this {part}", "this week", "at this moment");
constexpr auto kPastProgressive =
    list("at {clock} yesterday", "at that time", "at that moment", "at {clock} last {day}",
         "all {part}", "at this time last {unit}", "the whole {part}");
constexpr auto kFutureProgressive = list(
    "at {clock} tomorrow", "at this time tomorrow", "at this time next {unit}", "all day tomorrow",
    "at {clock} next {day}", "all {part} tomorrow", "this time next {season}");
constexpr auto kPresentPerfect = list("recently", "today", "this {unit}", "{n} times", "twice",
                                      "several times", "once before", "this {part}");
constexpr auto kPresentPerfectNot =
    list("yet", "since {day}", "so far", "for {n} {units}", "recently", "this {unit}",
         "since last {unit}", "since {month}", "since {year}");
constexpr auto kPresentPerfectAsk =
    list("yet", "before", "this {unit}", "recently", "today", "since {day}");
constexpr auto kPerfectState = list("for {n} {units}", "since {year}", "since {month}",
                                    "since last {unit}", "for a long time", "since {day}");
constexpr auto kPastPerfect =
    list("by then", "by {clock}", "before that day", "by the end of the {unit}", "before {year}",
         "twice before", "before {clock}", "by {month}", "{n} times by then");
constexpr auto kPastPerfectNot =
    list("by then", "by {clock}", "before that day", "by the end of the {unit}", "before {year}");
constexpr auto kPastPerfectState =
    list("for {n} {units} by then", "for a long time before that", "since {year}", "since {month}");
constexpr auto kFuturePerfect =
    list("by {clock} tomorrow", "by next {day}", "by next {unit}", "by the end of the {unit}",
         "by {future}", "by then", "by tomorrow {part}", "by next {season}", "before next {month}");
constexpr auto kFuturePerfectState =
    list("for {n} {units} by then", "for {n} years by {future}", "for {n} months by next {season}");
constexpr auto kPresentPerfectProgressive =
    list("for {n} {units}", "since {day}", "since {clock}", "all day", "all {part}", "lately",
         "since {year}", "since last {unit}", "for a long time", "since yesterday");
constexpr auto kPastPerfectProgressive =
    list("for {n} {units}", "since the {part}", "all day", "for {n} {units} by then",
         "for {n} {units} before that", "since {clock}", "since {year}", "for a long time");
constexpr auto kFuturePerfectProgressive =
    list("for {n} {units} by then", "for {n} hours by {clock} tomorrow",
         "for {n} years by {future}", "for {n} months by next {season}",
         "for {n} weeks by next {month}", "for {n} days by next {day}");

constexpr auto kFrequency =
    list("always", "usually", "often", "sometimes", "rarely", "never", "seldom");
constexpr auto kFrequencyAsk = list("always", "usually", "often", "ever");
constexpr auto kFrequencyNot = list("always", "usually", "often");
constexpr auto kPastFrequency = list("never", "often", "finally", "almost", "suddenly", "once");
constexpr auto kFutureAdverbs = list("never", "soon", "probably", "certainly", "always");
constexpr auto kPresentPerfectMid = list("already", "just", "never", "finally", "almost", "often");
constexpr auto kPerfectAsk = list("already", "ever");
constexpr auto kPastPerfectMid = list("already", "just", "never", "almost");
constexpr auto kFuturePerfectMid = list("already", "almost", "probably");
constexpr auto kProgressiveMid = list("still", "already", "probably");
constexpr auto kPastProgressiveMid = list("still", "already", "quietly", "happily");
constexpr auto kPerfectStateMid = list("always", "never");
constexpr auto kStateMid = list("always", "really", "never");
constexpr auto kAlready = list("already");
constexpr auto kProbably = list("probably");

constexpr auto kThingLocations =
    list("on the table", "in the box", "under the bed", "behind the door", "on the shelf",
         "in the drawer", "next to the window", "in the closet", "on the chair", "near the lamp",
         "on the wall", "in the hall");
constexpr auto kBodyLocations =
    list("on the sofa", "in the garden", "under a tree", "on the floor", "by the window",
         "near the fire", "on the grass", "beside the river", "in the shade", "next to the stove",
         "on the beach", "in the hall");
constexpr auto kClosings =
    list("again", "alone", "with a friend", "as usual", "without help", "with great care",
         "in silence", "for fun", "with pleasure", "in the rain");
constexpr auto kStates =
    list("tired", "hungry", "thirsty", "happy", "sad", "angry", "busy", "late", "ready", "sick",
         "afraid", "absent", "at home", "at school", "at work", "in London", "in the garden",
         "alone", "nervous", "very quiet", "bored");

constexpr auto kNumbers =
    list("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten");
constexpr auto kUnits = list("minutes", "hours", "days", "weeks", "months", "years");
constexpr auto kUnit = list("week", "month", "year");
constexpr auto kDays =
    list("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday");
constexpr auto kMonths = list("January", "February", "March", "April", "May", "June", "July",
                              "August", "September", "October", "November", "December");
constexpr auto kSeasons = list("spring", "summer", "fall", "winter");
constexpr auto kParts = list("morning", "afternoon", "evening");
constexpr auto kClocks =
    list("noon", "midnight", "six o'clock", "seven o'clock", "eight o'clock", "nine o'clock",
         "half past two", "half past three", "a quarter to five", "ten thirty");
constexpr auto kYears = list("1984", "1991", "1996", "1999", "2001", "2004", "2008", "2010", "2013",
                             "2015", "2017", "2018", "2019", "2020", "2021", "2022");
constexpr auto kFutureYears = list("2030", "2031", "2033", "2035", "2038", "2040", "2045", "2050");

}  // namespace

Words time_expressions(Tense tense, Polarity polarity, bool stative) {
  switch (tense) {
    case Tense::present_simple:
      return stative ? words(kPresentState) : words(kPresentSimple);
    case Tense::past_simple:
      return words(kPastSimple);
    case Tense::future_simple:
      return words(kFutureSimple);
    case Tense::present_progressive:
      return words(kPresentProgressive);
    case Tense::past_progressive:
      return words(kPastProgressive);
    case Tense::future_progressive:
      return words(kFutureProgressive);
    case Tense::present_perfect:
      if (stative) return words(kPerfectState);
      if (polarity == Polarity::negative) return words(kPresentPerfectNot);
      return polarity == Polarity::question ? words(kPresentPerfectAsk) : words(kPresentPerfect);
    case Tense::past_perfect:
      if (stative) return words(kPastPerfectState);
      return polarity == Polarity::affirmative ? words(kPastPerfect) : words(kPastPerfectNot);
    case Tense::future_perfect:
      return stative ? words(kFuturePerfectState) : words(kFuturePerfect);
    case Tense::present_perfect_progressive:
      return words(kPresentPerfectProgressive);
    case Tense::past_perfect_progressive:
      return words(kPastPerfectProgressive);
    case Tense::future_perfect_progressive:
      break;
  }
  return words(kFuturePerfectProgressive);
}

Words mid_adverbs(Tense tense, Polarity polarity, bool stative) {
  const bool affirmative = polarity == Polarity::affirmative;
  const bool question = polarity == Polarity::question;
  switch (tense) {
    case Tense::present_simple:
      if (stative) return affirmative ? words(kStateMid) : Words();
      if (question) return words(kFrequencyAsk);
      return affirmative ? words(kFrequency) : words(kFrequencyNot);
    case Tense::past_simple:
      return affirmative && !stative ? words(kPastFrequency) : Words();
    case Tense::future_simple:
      return affirmative ? words(kFutureAdverbs) : Words();
    case Tense::present_progressive:
      return affirmative ? words(kProgressiveMid) : Words();
    case Tense::past_progressive:
      return affirmative ? words(kPastProgressiveMid) : Words();
    case Tense::future_progressive:
      return affirmative ? words(kProbably) : Words();
    case Tense::present_perfect:
      if (stative) return affirmative ? words(kPerfectStateMid) : Words();
      if (question) return words(kPerfectAsk);
      return affirmative ? words(kPresentPerfectMid) : Words();
    case Tense::past_perfect:
      if (stative) return affirmative ? words(kPerfectStateMid) : Words();
      if (question) return words(kAlready);
      return affirmative ? words(kPastPerfectMid) : Words();
    case Tense::future_perfect:
      return affirmative && !stative ? words(kFuturePerfectMid) : Words();
    case Tense::present_perfect_progressive:
    case Tense::past_perfect_progressive:
    case Tense::future_perfect_progressive:
      break;
  }
  return {};
}

Words thing_locations() { return words(kThingLocations); }
Words body_locations() { return words(kBodyLocations); }
Words closings() { return words(kClosings); }
Words states() { return words(kStates); }

Words placeholder(std::string_view name) {
  if (name == "n") return words(kNumbers);
  if (name == "units") return words(kUnits);
  if (name == "unit") return words(kUnit);
  if (name == "day") return words(kDays);
  if (name == "month") return words(kMonths);
  if (name == "season") return words(kSeasons);
  if (name == "part") return words(kParts);
  if (name == "clock") return words(kClocks);
  if (name == "year") return words(kYears);
  if (name == "future") return words(kFutureYears);
  throw Error({.fault = Fault::usage,
               .where = "verb lexicon",
               .what = "unknown placeholder",
               .field = "placeholder",
               .found = std::string(name)});
}

}  // namespace notch::data
