// A student that learns from a larger model: what it comes close to, what a run remembers of its teacher, and
// which models cannot teach.
#include "experiments/run/teacher.h"

#include <algorithm>
#include <cmath>

#include "experiments/run/evaluate.h"
#include "experiments/train/training_phase.h"
#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"
#include "tests/quant/tiny_models.h"

namespace notch::experiments::teacher_test {

using test::error_of;
using test::run_all;
using test::tiny_experiment;

ExperimentConfig alone(int channels, int steps) {
  ExperimentConfig c = tiny_experiment();
  c.seeds = {1};
  c.model.n_embd = channels;
  c.train.steps = steps;
  c.quant.control = false;
  c.row = {{.method = "fp32"}};
  return c;
}

/// A model of 32 channels, trained, in a directory.
struct Taught {
  test::TemporaryDirectory directory{};
  ExperimentConfig config = alone(32, 150);
  Data data = load_data(config, {});
  std::string teacher{};
  Taught() {
    run_all(config, data, directory / "teacher", Earlier::refuse);
    teacher = (directory / "teacher" / "models" / "fp32-seed1").string();
  }
  ExperimentConfig student(int channels = 16) const {
    ExperimentConfig c = alone(channels, 150);
    c.distill.teacher = teacher;
    return c;
  }
  double distance(const fs::path& run) const {
    const auto student = nn::load_model(run / "models" / "fp32-seed1"),
               from = nn::load_model(teacher);
    const data::TokenData& t = data.source.tokens;
    return evaluate(*student, t.val, t.val_bytes_per_token, from.get()).from_base->kl_mean;
  }
};

TEST_CASE("a smaller student comes close to its teacher") {
  const Taught taught;
  ExperimentConfig config = taught.student();
  config.row.push_back({.method = "qat-lsq-kd", .bits = 4});
  const std::vector<SeedResults> seeds =
      run_all(config, load_data(config, {}), taught.directory / "student", Earlier::refuse);
  run_all(alone(16, 150), taught.data, taught.directory / "labels", Earlier::refuse);
  CHECK(taught.distance(taught.directory / "student") <
        0.8 * taught.distance(taught.directory / "labels"));
  CHECK(seeds[0].rows.size() == 2);
  const std::string results = read_file(taught.directory / "student" / "results.md");
  CHECK(results.find("taught by fp32-seed1") != std::string::npos);

  // Found again, wherever the teacher lies now; not with another one in its place.
  const fs::path moved = taught.directory / "moved";
  fs::copy(taught.teacher, moved, fs::copy_options::recursive);
  ExperimentConfig elsewhere = config;
  elsewhere.distill.teacher = moved.string();
  const auto again = [&](const ExperimentConfig& c) {
    return results_hash(
        run_all(c, load_data(c, {}), taught.directory / "student", Earlier::resume));
  };
  CHECK(again(elsewhere) == results_hash(seeds));
  ExperimentConfig other = elsewhere;
  other.distill.teacher = (taught.directory / "student" / "models" / "fp32-seed1").string();
  CHECK(error_of([&] { again(other); }).field == "teacher");
  other = elsewhere;
  other.distill.alpha = 0.5;
  CHECK(error_of([&] { again(other); }).field == "distill.alpha");
}

TEST_CASE("hidden states are drawn to the teacher's") {
  const auto model = test::make_gpt(), teacher = test::make_gpt(test::tiny_config(), 2);
  std::vector<std::int32_t> tokens;
  Rng rng(3, 1);
  for (int i = 0; i < 900; ++i) tokens.push_back(static_cast<std::int32_t>(rng.below(11)));
  const test::Text text(5);
  const auto gap = [&](nn::Model& student) {
    Graph a, b;
    a.begin(Graph::Mode::inference), b.begin(Graph::Mode::inference);
    const Var x = student.hidden(a, text.tokens()), y = teacher->hidden(b, text.tokens());
    double sum = 0;
    for (std::size_t i = 0; i < x.value().flat().size(); ++i)
      sum += std::pow(double(x.value().flat()[i]) - double(y.value().flat()[i]), 2);
    return sum / double(x.value().flat().size());
  };
  std::vector<double> left;
  for (const double weight : {0.0, 1.0}) {
    const auto student = nn::clone(*model);
    const TrainSettings settings{.phase = "phase",
                                 .schedule = {.lr = 3e-3, .min_lr = 3e-3, .steps = 60},
                                 .batch_size = 8,
                                 .seed = 11};
    TrainingPhase phase(settings, taught({.model = *student, .tokens = tokens},
                                         {.alpha = 0.5, .hidden = weight}, teacher.get()));
    // The first loss has the weighed gap of its batch on top.
    const double first = phase.step().loss;
    left.push_back(first);
    for (int i = 1; i < 60; ++i) phase.step();
    left.push_back(gap(*student));
  }
  CHECK(left[2] > left[0] + 0.1 * gap(*model));
  CHECK(left[3] < 0.5 * left[1]);
}

TEST_CASE("a teacher of other tokens or channels is refused") {
  const Taught taught;
  const auto refused = [&](const ExperimentConfig& c) {
    const ErrorParts parts = error_of([&] { load_data(c, {}); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.field == "distill.teacher");
    return parts;
  };
  ExperimentConfig config = taught.student();
  config.data.tokenizer = "byte";
  CHECK(refused(config).expected.starts_with("256 tokens"));
  config = taught.student();
  config.model.block_size = 64;
  CHECK(refused(config).found == "32");
  config = taught.student();
  config.distill.hidden = 1;
  CHECK(refused(config).expected == "16");
  config.model.n_embd = 32;
  CHECK_NOTHROW(load_data(config, {}));
  config.distill.teacher = (taught.directory / "nowhere").string();
  CHECK_THROWS_AS(load_data(config, {}), Error);
  // Of single rows it is no setting.
  config = taught.student();
  config.row.push_back(
      {.method = "qat-lsq-kd", .bits = 4, .label = "a", .set = {"distill.teacher=\"x\""}});
  CHECK(error_of([&] { validate(config); }).field == "row[1].set");
}

}  // namespace notch::experiments::teacher_test
