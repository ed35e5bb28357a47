#include "experiments/config/pipeline.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

using Kind = PipelineStage::Kind;

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
    const std::string kind = next();
    if (kind == "prune") {
      read_prune();
    } else if (kind == "svd") {
      read_svd();
    } else if (kind == "train" || kind == "distill") {
      out_.kind = kind == "train" ? Kind::train : Kind::distill;
      read_share();
    } else if (kind == "rewind") {
      out_.kind = Kind::rewind;
      if (has_next()) read_count("the step of fp32's training, 0 for its first weights", 0);
    } else if (kind == "redraw") {
      out_.kind = Kind::redraw;
    } else {
      read_method(kind);
    }
    if (has_next()) refuse("a word too many", words_[at_], "nothing after " + words_[at_ - 1]);
    return std::move(out_);
  }

 private:
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
    if (what == "heads" || what == "neurons") {
      out_.kind = what == "heads" ? Kind::heads : Kind::neurons;
      const std::string share = next();
      const std::optional<double> gone = percent(share);
      if (!gone || *gone == 1) {
        refuse(what == "heads" ? "no share of the heads" : "no share of the channels", share,
               "1% to 99%");
      }
      out_.share = *gone;
      return;
    }
    if (what == "layers") {
      out_.kind = Kind::layers;
      return read_count("how many blocks go", 1);
    }
    if (const auto pattern = value_of<quant::Pattern>(what);
        pattern && *pattern != quant::Pattern::unstructured) {
      out_.prune.pattern = *pattern;
    } else if (const std::optional<double> zeros = percent(what); zeros && *zeros < 1) {
      out_.prune.sparsity = *zeros;
    } else {
      refuse("not what can be pruned", what, "2:4, 4:8, 1% to 99%, heads, neurons or layers");
    }
    const std::string by = has_next() ? next() : "sparsegpt";
    const std::vector<std::string_view> all = quant::PruneOptions::words();
    if (by == "none" || by == "zeros" || std::ranges::find(all, by) == all.end())
      refuse("not a way to choose weights", by, "magnitude, wanda or sparsegpt");
    out_.prune.method = by;
  }

  void read_svd() {
    out_.kind = Kind::svd;
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

  void read_method(const std::string& name) {
    out_.kind = Kind::round;
    out_.method = quant::find_method(name);
    if (!out_.method) {
      std::vector<std::string> known = quant::method_names();
      for (const char* word : {"prune", "svd", "train", "distill", "rewind", "redraw"})
        known.push_back(word);
      const std::string near = did_you_mean(name, known);
      refuse("an unknown stage", name,
             "prune, svd, train, distill, rewind, redraw or a method: " + quant::method_list(),
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

double zeros_of(const quant::PruneOptions& prune) {
  const auto [kept, of] = quant::size_of(prune.pattern);
  return of > 0 ? 1 - static_cast<double>(kept) / static_cast<double>(of) : prune.sparsity;
}

/// Whether it leaves more than codes of the weights that it began with.
bool leaves_more(const quant::Method& m) {
  return m.changes_inputs() || m.training == quant::Training::gaussian ||
         m.training == quant::Training::adapters;
}

/// What stages have done to a model, for what the next one can.
class Order {
 public:
  explicit Order(std::span<const PipelineStage> stages) : stages_(stages) {}

  void check() {
    for (at_ = 0; at_ < stages_.size(); ++at_) step(stages_[at_]);
    check_budget();
  }

 private:
  [[noreturn]] void refuse(std::string what, std::string hint) const {
    throw Error({.where = str("stage ", at_ + 1, ", \"", stages_[at_].text, "\""),
                 .what = std::move(what),
                 .field = str("pipeline[", at_, "]"),
                 .hint = std::move(hint)});
  }
  const PipelineStage& integers() const { return stages_[*integers_]; }

  void refuse_after_integers(const std::string& hint) const {
    if (integers_) refuse(str("comes after \"", integers().text, "\" has made integers"), hint);
  }

  void step(const PipelineStage& s) {
    switch (s.kind) {
      case Kind::prune:
        return prune(s);
      case Kind::heads:
      case Kind::neurons:
      case Kind::layers:
      case Kind::svd:
        refuse_after_integers(s.kind == Kind::svd ? "make factors first"
                                                  : "take out heads, channels and blocks first");
        if (zeros_ > 0) refuse("comes after single weights were pruned", "do it first");
        if (factored_) {
          refuse("comes after the matrices became two factors",
                 s.kind == Kind::svd ? "leave one out" : "do it first");
        }
        structured_ = true;
        factored_ = s.kind == Kind::svd;
        return;
      case Kind::rewind:
      case Kind::redraw:
        refuse_after_integers("rewind before rounding");
        if (structured_)
          refuse("fp32's training has no weights of a smaller model", "prune single weights");
        if (zeros_ == 0) refuse("nothing is pruned, so it would be fp32 once more", "prune first");
        if (at_ + 1 == stages_.size() || stages_[at_ + 1].kind != Kind::train)
          refuse("nothing trains these weights", "\"train\" comes next");
        return;
      case Kind::train:
      case Kind::distill:
        return refuse_after_integers(str("through their rounding: \"qat-lsq",
                                         s.kind == Kind::distill ? "-kd " : " ",
                                         integers_ ? integers().bits : 4, "\""));
      case Kind::round:
        return round(s);
    }
  }

  void prune(const PipelineStage& s) {
    const bool moves = s.prune.method == "sparsegpt";
    if (integers_ && moves) {
      refuse("sparsegpt moves the weights that stay, and integers stay where they are",
             "prune them by magnitude or wanda, or before they are rounded");
    }
    if (integers_ && leaves_more(*integers().method)) {
      refuse(str(integers().method->name, " has changed what the weights mean"),
             "prune before it rounds");
    }
    if (zeros_ > 0 && moves)
      refuse("sparsegpt would move what is pruned already", "go on by magnitude or wanda");
    if (zeros_of(s.prune) <= zeros_) {
      refuse(str("prunes no more than before: ", 100 * zeros_, " % are zero"),
             "give a larger share, or leave it out");
    }
    zeros_ = zeros_of(s.prune);
  }

  void round(const PipelineStage& s) {
    const quant::Method& m = *s.method;
    if (m.training == quant::Training::gaussian) {
      if (integers_)
        refuse(str("rotates weights, and the codes of \"", integers().text, "\" are of others"),
               "let it begin with floating point");
      if (zeros_ > 0) refuse("rotates weights, and zeros do not stay", "another method");
    }
    const quant::Method* filling = m.refine ? &m : integers_ || !m.base ? nullptr : m.base;
    if (zeros_ > 0 && filling && filling->refine)
      refuse(str(filling->name, " learns every code and would fill what is pruned"),
             m.refine ? "another method" : str("let it begin with \"gptq ", s.bits, "\""));
    if (integers_ && !m.trains()) {
      refuse(str("\"", integers().text, "\" has rounded already"),
             str("leave one out; to go on from integers: \"qat-lsq ", integers().bits, "\""));
    }
    if (integers_ && integers().bits != s.bits) {
      refuse(str("training through rounding goes on with the ", integers().bits, " bits of \"",
                 integers().text, "\""),
             "give both one width");
    }
    if (integers_ && leaves_more(*integers().method)) {
      const bool beside = integers().method->training == quant::Training::adapters;
      refuse(str(integers().method->name, " leaves ",
                 beside ? "products beside codes, which this would not see"
                        : "changed inputs, which are not trained"),
             "begin from another method's codes");
    }
    integers_ = at_;
  }

  /// All of the steps are used, and by one schedule.
  void check_budget() {
    double said = 0;
    bool all = true, any = false, again = false, forked = false;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      if (!stages_[i].trains()) continue;
      at_ = i;
      if (trains_again(stages_, i)) {
        again = true;
        if (stages_[i].share > 0)
          refuse("trains as long as fp32 did, not a share of [qat]", "leave the percents out");
        continue;
      }
      forked = any = true;
      said += stages_[i].share;
      all = all && stages_[i].share > 0;
    }
    if (again && forked)
      refuse("a row that begins fp32's training again has that training alone", "leave it out");
    constexpr double kSame = 1e-9;
    if (any && (said > 1 + kSame || (all && said < 1 - kSame) || (!all && said > 1 - kSame))) {
      refuse("all rows of a table train equally long",
             str("shares that say ", 100 * said, " % should leave none and miss none"));
    }
  }

  std::span<const PipelineStage> stages_;
  std::size_t at_ = 0;
  std::optional<std::size_t> integers_{};
  double zeros_ = 0;
  bool structured_ = false, factored_ = false;
};

}  // namespace

bool PipelineStage::trains() const {
  return kind == Kind::train || kind == Kind::distill || (method && method->trains());
}

bool PipelineStage::resizes() const {
  return kind == Kind::heads || kind == Kind::neurons || kind == Kind::layers || kind == Kind::svd;
}

bool PipelineStage::reads_text() const { return resizes() && (kind != Kind::svd || svd.whitened); }

bool PipelineStage::has_teacher() const {
  return kind == Kind::distill || (method && method->distills);
}

std::vector<PipelineStage> parse_pipeline(std::span<const std::string> words) {
  std::vector<PipelineStage> out;
  for (std::size_t i = 0; i < words.size(); ++i) out.push_back(StageReader(words[i], i).read());
  Order(out).check();
  return out;
}

void imply_pipelines(std::vector<RowConfig>& rows) {
  for (RowConfig& row : rows) {
    if (row.pipeline.empty()) continue;
    std::vector<PipelineStage> stages;
    try {
      stages = parse_pipeline(row.pipeline);
    } catch (const Error&) {
      continue;  // check_pipelines says it with its line
    }
    std::string method = "fp16", title;
    int bits = 0;
    for (const PipelineStage& s : stages) {
      if (s.method) {
        method = s.method->name;
        bits = s.bits;
      }
      for (const char c : s.method ? method : s.text) {
        if (c == ':') {
          title += "of";
        } else if (c != '%') {
          title += c == ' ' ? '-' : c;
        }
      }
      title += '-';
    }
    title.pop_back();
    if (row.method.empty()) row.method = method;
    if (row.bits == 0) row.bits = bits;
    if (row.label.empty()) row.label = title;
  }
}

}  // namespace notch::experiments
