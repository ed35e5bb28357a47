// The training loop of a run: what it writes down, and that a dead one is gone on with.
#include "experiments/run/fit.h"

#include <stdexcept>

#include "autograd/base/files.h"
#include "experiments/run/evaluate.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"
#include "tests/quant/tiny_models.h"

namespace notch::experiments::fit_test {

/// Ends the program, as far as the training is concerned, after so many updates.
class PowerCut final : public nn::Addition {
 public:
  explicit PowerCut(int after) : left_(after) {}
  void after_update(const nn::Moment&) override {
    if (left_-- == 1) throw std::runtime_error("power cut");
  }

 private:
  int left_;
};

/// A run of eight steps and its directory.
struct Run {
  static ExperimentConfig configuration() {
    ExperimentConfig c = test::tiny_experiment();
    c.train.steps = 8;
    c.train.log_every = 3;
    c.train.eval_every = 4;
    c.train.checkpoint_every = 3;
    c.train.ema = 0.5;
    return c;
  }

  /// Trains from the start, or from what an earlier call left, until `after` more updates are made.
  RowResult train(int after) {
    model = make_model(config, data.source.tokenizer.vocab_size());
    model->init(1);
    PowerCut cut(after);
    RowResult row;
    const bool finished = fit({config, data, dir, progress}, 1, settings,
                              {.model = *model, .additions = {&cut}}, row);
    CHECK(finished);
    return row;
  }
  std::string metrics() const { return read_file(dir.path() / "metrics.jsonl"); }

  ExperimentConfig config = configuration();
  Data data = load_data(config, {});
  test::TemporaryDirectory scratch{};
  RunDir dir{scratch / "run", Earlier::refuse};
  Progress progress{{.quiet = true}};
  TrainSettings settings = base_settings(config, 1);
  std::unique_ptr<nn::Model> model{};
};

TEST_CASE("a training writes down what is due, and checkpoints") {
  Run run;
  const RowResult row = run.train(0);
  CHECK(row.seconds > 0);
  std::vector<std::string> lines;
  double validated = 0;
  read_metrics(run.metrics(), [&](const MetricsLine& line) {
    CHECK(line.run == "seed-1/fp32");
    const Json* val = line.fields.find("val_loss");
    if (val) validated = val->as_number("val_loss");
    lines.push_back(str(line.step, val ? " validated" : line.fields.find("loss") ? " loss" : " ?"));
  });
  CHECK(lines ==
        std::vector<std::string>{"3 loss", "4 validated", "6 loss", "8 loss", "8 validated"});
  // The last validation saw the averages, which are what the phase ends with.
  const data::TokenData& text = run.data.source.tokens;
  const Evaluation last = evaluate(*run.model, text.val, text.val_bytes_per_token, nullptr,
                                   {.windows = run.config.train.eval_windows});
  CHECK(validated == last.loss);
  CHECK(nn::latest_checkpoint(run.dir.checkpoints(1) / "fp32").step == 8);
}

TEST_CASE("a training that died goes on to the same bits") {
  Run whole, died;
  whole.train(0);
  CHECK_THROWS_AS(died.train(5), std::runtime_error);
  CHECK(died.metrics() != whole.metrics());
  died.train(0);
  CHECK(died.metrics() == whole.metrics());
  CHECK(test::same_bits(test::values_of(died.model->params()),
                        test::values_of(whole.model->params())));
}

}  // namespace notch::experiments::fit_test
