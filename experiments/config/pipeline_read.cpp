// The words of a pipeline's stages: a table of what they begin with, and how the rest of each is read.
#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <ranges>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "experiments/config/config_items.h"
#include "experiments/config/pipeline.h"
#include "quant/methods/methods.h"
#include "quant/methods/sparsegpt.h"

namespace notch::experiments {
namespace {

using StageKind = PipelineStage::Kind;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(' ', at)) != std::string::npos) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

template <class T>
std::optional<T> number(std::string_view word) {
  T value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

/// "25%" as 0.25, above 0 and at most 1.
std::optional<double> percent(std::string_view word) {
  if (!word.ends_with('%')) return std::nullopt;
  const std::optional<double> value = number<double>(word.substr(0, word.size() - 1));
  if (!value || !(*value > 0 && *value <= 100)) return std::nullopt;
  return *value / 100;
}

/// One stage, word by word.
class StageReader {
 public:
  StageReader(const std::string& text, std::size_t index) : words_(split(text)), index_(index) {
    out_.text = text;
  }

  PipelineStage read() {
    // From the last: "prune heads" before "prune".
    const auto backwards = forms() | std::views::reverse;
    const auto form =
        std::ranges::find_if(backwards, [&](const Form& f) { return takes(f.words); });
    if (form == backwards.end()) {
      read_method();
    } else {
      out_.kind = form->kind;
      if (form->read) (this->*form->read)();
    }
    if (has_next()) refuse("a word too many", words_[at_], "nothing after " + words_[at_ - 1]);
    return std::move(out_);
  }

  /// Of all stages, for help texts.
  static std::string all_forms() {
    std::vector<std::string_view> choosing;
    for (const quant::Pruner* p : quant::pruners())
      if (p->chooses) choosing.push_back(p->name);
    std::string all;
    for (const Form& f : forms()) {
      all += str(f.words, f.rest.empty() ? "" : " ", f.rest);
      if (f.kind == StageKind::prune) all += str(" [", joined(choosing, "|"), ']');
      all += ", ";
    }
    return all + "METHOD BITS";
  }

 private:
  /// What a stage begins with, and how the rest is written and read.
  struct Form {
    std::string_view words{};
    StageKind kind = StageKind::prune;
    std::string_view rest{};
    void (StageReader::*read)() = nullptr;
  };
  static std::span<const Form> forms() {
    using S = StageReader;
    static constexpr std::array kForms{
        Form{"prune", StageKind::prune, "N:M|50%", &S::read_prune},
        Form{"prune heads", StageKind::heads, "25%", &S::read_part},
        Form{"prune neurons", StageKind::neurons, "25%", &S::read_part},
        Form{"prune layers", StageKind::layers, "1", &S::read_layers},
        Form{"svd", StageKind::svd, "90%|bytes 50% [whitened|plain]", &S::read_svd},
        Form{"train", StageKind::train, "", &S::read_share},
        Form{"distill", StageKind::distill, "", &S::read_share},
        Form{"rewind", StageKind::rewind, "[STEP]", &S::read_step},
        Form{"redraw", StageKind::redraw},
    };
    return kForms;
  }
  /// The words that stages begin with, each once; or those that follow the first one.
  enum class Which : std::uint8_t { first, second };
  static std::vector<std::string_view> form_words(Which which) {
    std::vector<std::string_view> all;
    for (const Form& f : forms()) {
      const std::size_t space = std::min(f.words.find(' '), f.words.size());
      const std::string_view word = which == Which::first     ? f.words.substr(0, space)
                                    : space == f.words.size() ? ""
                                                              : f.words.substr(space + 1);
      if (!word.empty() && std::ranges::find(all, word) == all.end()) all.push_back(word);
    }
    return all;
  }

  /// Goes on after `begin` where the stage begins so.
  bool takes(std::string_view begin) {
    const std::vector<std::string> expected = split(std::string(begin));
    if (expected.size() > words_.size() ||
        !std::ranges::equal(expected, words_ | std::views::take(expected.size())))
      return false;
    at_ = expected.size();
    return true;
  }

  bool has_next() const { return at_ < words_.size(); }
  std::string next() { return has_next() ? words_[at_++] : std::string{}; }

  [[noreturn]] void refuse(std::string what, const std::string& found, std::string expected,
                           std::string hint = {}) const {
    throw Error({.where = str("stage ", index_ + 1, ", \"", out_.text, "\""),
                 .what = std::move(what),
                 .field = str("pipeline[", index_, "]"),
                 .found = found.empty() ? "nothing" : found,
                 .expected = std::move(expected),
                 .hint = std::move(hint)});
  }

  void read_prune() {
    const std::string what = next();
    if (const auto pattern = value_of<quant::Pattern>(what);
        pattern && *pattern != quant::Pattern::unstructured) {
      out_.prune.pattern = *pattern;
    } else if (const std::optional<double> zeros = percent(what); zeros && *zeros < 1) {
      out_.prune.sparsity = *zeros;
    } else {
      std::vector<std::string_view> known = words_of<quant::Pattern>();
      std::erase(known, word_of(quant::Pattern::unstructured));
      known.push_back("1% to 99%");
      std::ranges::copy(form_words(Which::second), std::back_inserter(known));
      refuse("not what can be pruned", what, joined(known, ", ", " or "));
    }
    const std::string by = has_next() ? next() : std::string(quant::kSparseGpt.name);
    const auto chooses = [](const quant::Pruner& p) { return p.chooses; };
    if (std::ranges::none_of(quant::pruners(),
                             [&](const auto* p) { return chooses(*p) && p->name == by; }))
      refuse("not a way to choose weights", by, quant::pruner_list(chooses));
    out_.prune.method = by;
  }

  /// Heads or neurons.
  void read_part() {
    const bool heads = out_.kind == StageKind::heads;
    const std::string share = next();
    const std::optional<double> gone = percent(share);
    if (!gone || *gone == 1)
      refuse(heads ? "no share of the heads" : "no share of the channels", share, "1% to 99%");
    out_.share = *gone;
  }

  void read_layers() { read_count("how many blocks go", 1); }

  void read_step() {
    if (has_next()) read_count("the step of fp32's training, 0 for its first weights", 0);
  }

  void read_svd() {
    std::string word = next();
    out_.svd.weights = word == "bytes";
    if (out_.svd.weights) word = next();
    const std::optional<double> share = percent(word);
    if (!share || (out_.svd.weights && *share == 1)) {
      refuse(out_.svd.weights ? "no share of the matrices' bytes" : "no share of the energy", word,
             out_.svd.weights ? "1% to 99%" : "1% to 100%, or bytes and a share of them");
    }
    out_.svd.share = *share;
    if (!has_next()) return;
    const std::string by = next();
    if (by != "whitened" && by != "plain")
      refuse("not a way to weigh errors", by, "whitened, by text, or plain");
    out_.svd.whitened = by == "whitened";
  }

  void read_share() {
    if (!has_next()) return;
    const std::string word = next();
    const std::optional<double> share = percent(word);
    if (!share) refuse("no share of the row's steps", word, "1% to 100%");
    out_.share = *share;
  }

  void read_count(const char* what, std::int64_t least) {
    const std::string word = next();
    const std::optional<std::int64_t> n = number<std::int64_t>(word);
    if (!n || *n < least || *n > static_cast<std::int64_t>(kMaxCount))
      refuse("no number", word, str(what, ", at least ", least));
    out_.count = *n;
  }

  void read_method() {
    const std::string name = next();
    out_.kind = StageKind::round;
    out_.method = quant::find_method(name);
    if (!out_.method) {
      const std::vector<std::string_view> others = form_words(Which::first);
      std::vector<std::string> known = quant::method_names();
      known.insert(known.end(), others.begin(), others.end());
      const std::string near = did_you_mean(name, known);
      refuse("an unknown stage", name, str(joined(others), " or a method: ", quant::method_list()),
             near.empty() ? near : str("did you mean \"", near, "\"?"));
    }
    const std::string word = next();
    const std::optional<int> bits = number<int>(word);
    if (!bits || *bits < 1 || *bits > 8) refuse(name + " needs a width", word, "1 to 8 bits");
    out_.bits = *bits;
    if (out_.method->trains()) read_share();
  }

  std::vector<std::string> words_;
  std::size_t index_, at_ = 0;
  PipelineStage out_{};
};

}  // namespace

const std::string& stage_forms() {
  static const std::string all = StageReader::all_forms();
  return all;
}

std::string_view pipeline_help() {
  static const std::string help =
      str("in the place of method and bits, stages in order: [\"prune 2:4\", \"distill\", \"gptq "
          "4\"]; ",
          stage_forms());
  return help;
}

std::vector<PipelineStage> parse_pipeline(std::span<const std::string> words) {
  std::vector<PipelineStage> out;
  for (std::size_t i = 0; i < words.size(); ++i) out.push_back(StageReader(words[i], i).read());
  check_order(out);
  return out;
}

}  // namespace notch::experiments
