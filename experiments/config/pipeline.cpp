#include "experiments/config/pipeline.h"

#include <optional>

#include "autograd/base/error.h"
#include "experiments/config/row_names.h"

namespace notch::experiments {
namespace {

using StageKind = PipelineStage::Kind;

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
      case StageKind::prune:
        return prune(s);
      case StageKind::heads:
      case StageKind::neurons:
      case StageKind::layers:
      case StageKind::svd:
        refuse_after_integers(s.kind == StageKind::svd
                                  ? "make factors first"
                                  : "take out heads, channels and blocks first");
        if (zeros_ > 0) refuse("comes after single weights were pruned", "do it first");
        if (factored_) {
          refuse("comes after the matrices became two factors",
                 s.kind == StageKind::svd ? "leave one out" : "do it first");
        }
        structured_ = true;
        factored_ = s.kind == StageKind::svd;
        return;
      case StageKind::rewind:
      case StageKind::redraw:
        refuse_after_integers("rewind before rounding");
        if (structured_)
          refuse("fp32's training has no weights of a smaller model", "prune single weights");
        if (zeros_ == 0) refuse("nothing is pruned, so it would be fp32 once more", "prune first");
        if (at_ + 1 == stages_.size() || stages_[at_ + 1].kind != StageKind::train)
          refuse("nothing trains these weights", "\"train\" comes next");
        return;
      case StageKind::train:
      case StageKind::distill:
        return refuse_after_integers(str("through their rounding: \"qat-lsq",
                                         s.kind == StageKind::distill ? "-kd " : " ",
                                         integers_ ? integers().bits : 4, "\""));
      case StageKind::round:
        return round(s);
    }
  }

  void prune(const PipelineStage& s) {
    const quant::Pruner& by = *quant::find_pruner(s.prune.method);
    const auto leaves = [](const quant::Pruner& p) { return p.chooses && !p.moves_weights; };
    if (integers_ && by.moves_weights) {
      refuse(str(by.name, " moves the weights that stay, and integers stay where they are"),
             str("prune them by ", quant::pruner_list(leaves), ", or before they are rounded"));
    }
    if (integers_ && leaves_more(*integers().method)) {
      refuse(str(integers().method->name, " has changed what the weights mean"),
             "prune before it rounds");
    }
    if (zeros_ > 0 && by.moves_weights) {
      refuse(str(by.name, " would move what is pruned already"),
             "go on by " + quant::pruner_list(leaves));
    }
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
  return kind == StageKind::train || kind == StageKind::distill || (method && method->trains());
}

bool PipelineStage::resizes() const {
  return kind == StageKind::heads || kind == StageKind::neurons || kind == StageKind::layers ||
         kind == StageKind::svd;
}

bool PipelineStage::reads_text() const {
  return resizes() && (kind != StageKind::svd || svd.whitened);
}

bool PipelineStage::has_teacher() const {
  return kind == StageKind::distill || (method && method->distills);
}

void check_order(std::span<const PipelineStage> stages) { Order(stages).check(); }

void imply_pipelines(std::vector<RowConfig>& rows) {
  for (RowConfig& row : rows) {
    if (row.pipeline.empty()) continue;
    std::vector<PipelineStage> stages;
    try {
      stages = parse_pipeline(row.pipeline);
    } catch (const Error&) {
      continue;  // check_pipelines says it with its line
    }
    std::string method(kHalfMethod), title;
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
