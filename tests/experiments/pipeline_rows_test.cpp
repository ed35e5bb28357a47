// Rows made in stages: equal to rows that do the same in another way, and what stages leave to the next.
#include <algorithm>
#include <cmath>

#include "autograd/base/half.h"
#include "experiments/run/pipeline_row.h"
#include "nn/architectures.h"
#include "nn/narrow.h"
#include "nn/shallow.h"
#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::pipeline_rows_test {

using test::run_all;
using test::tiny_experiment;

ExperimentConfig with_rows(const std::string& rows) {
  ExperimentConfig c = tiny_experiment();
  c.seeds = {1};
  c.train.steps = 40;
  c.qat.steps = 6;
  c.row = parse_config(rows, "x.toml").config.row;
  return c;
}

std::string row(const std::string& label, const std::string& stages) {
  return str("[[row]]\nlabel = '", label, "'\npipeline = [", stages, "]\n");
}

/// A run of these rows in a directory of its own.
struct Finished {
  test::TemporaryDirectory directory{};
  ExperimentConfig config;
  Data data;
  std::vector<SeedResults> seeds;

  explicit Finished(ExperimentConfig c)
      : config(std::move(c)),
        data(load_data(config, {})),
        seeds(run_all(config, data, directory / "run", Earlier::refuse)) {}

  const RowResult& of(std::string_view name) const {
    const RowResult* found = find_row(seeds[0], name);
    REQUIRE(found);
    return *found;
  }
  quant::LoadedModel load(std::string_view name) const {
    return quant::load_any(directory / "run" / "models" / str(name, "-seed1"));
  }
};

std::span<const real> weights(const quant::LoadedModel& model, std::string_view name) {
  const Param* p = std::as_const(*model.model).params().find(name);
  REQUIRE(p);
  return p->value.flat();
}

TEST_CASE("a pipeline is the rows that do the same in another way") {
  const Finished run(with_rows(
      "[[row]]\nmethod = 'gptq'\nbits = 4\n"
      "[[row]]\nmethod = 'qat-lsq'\nbits = 4\nlabel = 'plain'\n"
      "set = ['qat.from=fp32']\n"
      "[[row]]\nmethod = 'qat-lsq'\nbits = 4\nlabel = 'warm'\nset = ['qat.from=gptq']\n"
      "[[row]]\nmethod = 'qat-lsq'\nbits = 4\nlabel = 'late'\nset = ['qat.start=0.5']\n"
      "[[row]]\nmethod = 'qat-ste-kd'\nbits = 4\nlabel = 'held'\n"
      "set = ['prune.method=wanda', 'prune.pattern=2:4', 'qat.from=fp32']\n"
      "[[row]]\nmethod = 'fp16'\nlabel = 'pruned'\n"
      "set = ['prune.method=sparsegpt', 'prune.sparsity=0.25']\n" +
      row("gptq-alone", "'gptq 4'") + row("qat-alone", "'qat-lsq 4'") +
      row("gptq-qat", "'gptq 4', 'qat-lsq 4'") + row("train-qat", "'train', 'qat-lsq 4'") +
      row("prune-qat", "'prune 2:4 wanda', 'qat-ste-kd 4'") + row("prune-alone", "'prune 25%'") +
      row("train-alone", "'train'")));
  const std::pair<const char*, const char*> same[] = {
      {"gptq-int4", "gptq-alone-int4"},
      {"plain-int4", "qat-alone-int4"},
      {"warm-int4", "gptq-qat-int4"},
      {"late-int4", "train-qat-int4"},
      {"held-int4", "prune-qat-int4"},
      {"pruned-fp16", "prune-alone-fp16"},
      // Of the control too.
      {"control-gptq-int4", "control-gptq-alone-int4"}};
  for (const auto& [one, other] : same) {
    INFO(one << ' ' << other);
    CHECK(run.of(one).eval.loss == run.of(other).eval.loss);
    CHECK(run.of(one).size.bytes() == run.of(other).size.bytes());
  }
  CHECK(run.of("train-qat-int4").control == "fp32-continue");
  CHECK(run.of("prune-qat-int4").control.empty());
  CHECK(run.of("prune-qat-int4").figures.at("pruned") == Approx(0.5));
  // Training alone is the control, in half precision.
  const quant::LoadedModel control = run.load("fp32-continue"), half = run.load("train-alone-fp16");
  for (const char* name : {"h.0.attn.c_attn.weight", "wte.weight", "ln_f.weight"}) {
    const std::span<const real> is = weights(half, name), was = weights(control, name);
    for (std::size_t i = 0; i < is.size(); ++i) REQUIRE(is[i] == from_f16(to_f16(was[i])));
  }
  CHECK(half.tensors.empty());
  CHECK(run.of("train-alone-fp16").file_bytes < run.of("fp32").file_bytes);
}

TEST_CASE("stages train beside codes and rotated weights as rows do") {
  const auto of = [](const char* method, const char* label, const char* set) {
    return str("[[row]]\nmethod = '", method, "'\nbits = 3\nlabel = '", label, "'\nset = [", set, "]\n");
  };
  ExperimentConfig config = with_rows(
      of("efficient-qat", "scales", "'block_ap.steps=4'") +
      of("efficient-qat", "gptq-scales", "'qat.from=gptq'") + of("qlora", "products", "") +
      of("qlora", "gptq-products", "'qat.from=gptq', 'qlora.rank=2', 'qlora.lr_scale=3'") +
      of("qat-quest", "quest", "") +
      "[[row]]\nlabel = 's'\npipeline = ['efficient-qat 3']\nset = ['block_ap.steps=4']\n" +
      row("gs", "'gptq 3', 'efficient-qat 3'") + row("p", "'qlora 3'") +
      "[[row]]\nlabel = 'gp'\npipeline = ['gptq 3', 'qlora 3']\n"
      "set = ['qlora.rank=2', 'qlora.lr_scale=3']\n" +
      row("q", "'qat-quest 3'") + row("qs", "'gptq 3', 'qat-lsq 3', 'efficient-qat 3'") +
      row("held", "'prune 2:4 magnitude', 'gptq 3', 'efficient-qat 3', 'qlora 3'"));
  config.quant.control = false;
  const Finished run(config);
  for (const auto& [one, other] : {std::pair{"scales-int3", "s-int3"},
                                   {"gptq-scales-int3", "gs-int3"},
                                   {"products-int3", "p-int3"},
                                   {"gptq-products-int3", "gp-int3"},
                                   {"quest-int3", "q-int3"}}) {
    INFO(one << ' ' << other);
    CHECK(run.of(one).eval.loss == run.of(other).eval.loss);
    CHECK(run.of(one).size.bytes() == run.of(other).size.bytes());
  }
  // Scales that are trained behind a training: its codes stay.
  const quant::LoadedModel scales = run.load("qs-int3"), held = run.load("held-int3");
  CHECK(std::ranges::all_of(scales.tensors, [](const auto& t) { return t.change.empty(); }));
  REQUIRE(held.masks.size() == 4);
  for (const quant::NamedMask& m : held.masks) {
    const auto at = std::ranges::find(held.tensors, m.name, &quant::NamedQTensor::name);
    CHECK(at->change.side.has_value());
    const std::vector<real> w = quant::dequantize(at->q);
    for (std::size_t i = 0; i < w.size(); ++i) REQUIRE((m.keep[i] != 0 || w[i] == 0));
    CHECK(std::ranges::count(m.keep, 0) == std::ssize(m.keep) / 2);
  }
}

TEST_CASE("a mask is held by every stage after it") {
  const Finished run(with_rows(
      row("floats", "'prune 2:4 magnitude', 'distill', 'gptq 4'") +
      row("twice", "'prune 25% magnitude', 'train', 'prune 50% wanda', 'train', 'hqq 4'") +
      row("start", "'prune 2:4', 'gptq 4', 'qat-lsq 4'") +
      row("half", "'prune 75% magnitude', 'train'") + "[[row]]\nmethod = 'gptq'\nbits = 4\n"));
  // What training moved is still zero where the mask is, and as many as it says.
  for (const auto& [name, zeros] : {std::pair{"floats-int4", 0.5}, std::pair{"twice-int4", 0.5},
                                    std::pair{"start-int4", 0.5}, std::pair{"half-fp16", 0.75}}) {
    INFO(name);
    const quant::LoadedModel loaded = run.load(name);
    REQUIRE(loaded.masks.size() == 4);
    for (const quant::NamedMask& m : loaded.masks) {
      const std::span<const real> w = weights(loaded, m.name);
      double n = 0;
      for (std::size_t i = 0; i < w.size(); ++i) {
        n += m.keep[i] == 0;
        REQUIRE((m.keep[i] != 0 || w[i] == 0));
      }
      // Rows of which the first pruning took more than half have more.
      CHECK(n / double(w.size()) ==
            Approx(zeros).margin(std::string_view(name) == "twice-int4" ? 0.03 : 0));
      CHECK(n / double(w.size()) >= zeros);
    }
  }
  // Magnitude's choice is fp32's: the mask has not moved while the rest was trained.
  const quant::LoadedModel base = run.load("fp32"), floats = run.load("floats-int4");
  for (const quant::NamedMask& m : floats.masks) {
    const std::span<const real> w = weights(base, m.name);
    for (std::size_t i = 0; i < w.size(); i += 4) {
      std::vector<std::size_t> order{i, i + 1, i + 2, i + 3};
      std::ranges::sort(order, [&](auto a, auto b) { return std::abs(w[a]) > std::abs(w[b]); });
      CHECK((m.keep[order[0]] && m.keep[order[1]] && !m.keep[order[2]] && !m.keep[order[3]]));
    }
  }
  // 16 · 16 · 12 weights of the block: half of their half bytes go, and a bit comes for each.
  constexpr std::int64_t kWeights = 12 * 16 * 16;
  CHECK(run.of("gptq-int4").size.bytes() - run.of("floats-int4").size.bytes() ==
        kWeights / 4 - kWeights / 8);
}

TEST_CASE("integers that are pruned keep their other codes") {
  for (const char* grid : {"narrow", "asymmetric"}) {
    INFO(grid);
    ExperimentConfig config = with_rows("[[row]]\nmethod = 'gptq'\nbits = 4\n" +
                                        row("after", "'gptq 4', 'prune 2:4 magnitude'") +
                                        row("on", "'gptq 4', 'prune 2:4 magnitude', 'qat-ste 4'"));
    config.quant.grid = grid;
    config.quant.control = false;
    const Finished run(config);
    const quant::LoadedModel whole = run.load("gptq-int4"), after = run.load("after-int4"),
                             on = run.load("on-int4");
    REQUIRE(after.masks.size() == 4);
    for (const quant::NamedMask& m : after.masks) {
      const auto codes = [&](const quant::LoadedModel& model) {
        return std::ranges::find(model.tensors, m.name, &quant::NamedQTensor::name)->q;
      };
      const quant::QTensor was = codes(whole), is = codes(after);
      CHECK(is.at.scales == was.at.scales);
      const std::span<const real> before = weights(whole, m.name), w = weights(after, m.name);
      for (std::size_t i = 0; i < w.size(); ++i) {
        REQUIRE(w[i] == (m.keep[i] != 0 ? before[i] : real{0}));
        REQUIRE((m.keep[i] == 0 || is.codes[i] == was.codes[i]));
      }
      for (std::size_t i = 0; i < w.size(); i += 4) {
        CHECK(m.keep[i] + m.keep[i + 1] + m.keep[i + 2] + m.keep[i + 3] == 2);
        for (std::size_t a = i; a < i + 4; ++a)
          for (std::size_t b = i; b < i + 4; ++b)
            if (m.keep[a] && !m.keep[b]) CHECK(std::abs(before[a]) >= std::abs(before[b]));
      }
    }
    CHECK(std::ranges::equal(on.masks, after.masks, {}, &quant::NamedMask::keep,
                             &quant::NamedMask::keep));
  }
}

TEST_CASE("smaller models are trained and rounded in stages") {
  ExperimentConfig config =
      with_rows(row("small", "'prune layers 1', 'prune neurons 25%', 'distill', 'gptq 4'") +
                row("alone", "'prune layers 1'"));
  config.model.n_layer = 3;
  config.calib.windows = 4;
  const Finished run(config);
  const quant::LoadedModel small = run.load("small-int4"), base = run.load("fp32"),
                           alone = run.load("alone-fp16");
  CHECK(small.model->sizes().n_layer == 2);
  CHECK(small.model->sizes().n_inner == 48);
  CHECK(alone.model->sizes().n_layer == 2);
  const Calibration text(config, *base.model, run.data.source.tokens.train, 1);
  const nn::Shallow expected = nn::shallow(*base.model, 2, text.batches());
  for (const Param& p : expected.model->params().params()) {
    const std::span<const real> is = weights(alone, p.name), was = p.value.flat();
    for (std::size_t i = 0; i < is.size(); ++i) REQUIRE(is[i] == from_f16(to_f16(was[i])));
  }
}

TEST_CASE("heads and low rank are stages of a row") {
  ExperimentConfig config =
      with_rows(row("heads", "'prune heads 50%'") + row("half", "'svd bytes 70%', 'distill'") +
                row("codes", "'svd bytes 70%', 'distill', 'gptq 4'") +
                row("trained", "'svd bytes 70% plain', 'qat-lsq 4'") +
                row("both", "'prune heads 50%', 'svd 60%', 'rtn 8'"));
  config.quant.control = false;
  config.calib.windows = 4;
  const Finished run(config);
  const quant::LoadedModel base = run.load("fp32"), heads = run.load("heads-fp16");
  CHECK(heads.model->sizes().n_head == 1);
  CHECK(heads.model->sizes().head_dim == 8);
  // Of [48, 16], [16, 16], [64, 16], [16, 64] half of the first two goes.
  CHECK(run.of("heads-fp16").figures.at("weights_left") == Approx(1 - 512.0 / 3072));
  for (const char* name : {"half-fp16", "codes-int4", "trained-int4"}) {
    INFO(name);
    const quant::LoadedModel small = run.load(name);
    // Ranks of 8: 8 (48 + 16), whole as 8 (16 + 16) = 16 · 16, 8 (64 + 16) twice, of 3,072.
    CHECK(small.model->sizes().ranks == std::vector<std::int64_t>{8, 0, 8, 8});
    CHECK(run.of(name).figures.at("weights_left") == Approx(2048.0 / 3072));
  }
  CHECK(run.load("half-fp16").tensors.empty());
  CHECK(run.of("half-fp16").file_bytes < run.of("heads-fp16").file_bytes);
  // Each factor has codes of its own: three pairs and a whole matrix.
  CHECK(std::ranges::count_if(run.load("codes-int4").tensors, [](const quant::NamedQTensor& t) {
          return t.name.starts_with("h.");
        }) == 7);
  CHECK(run.of("codes-int4").file_bytes < run.of("half-fp16").file_bytes);
  CHECK(run.load("both-int8").model->sizes().n_head == 1);
  // What is in floating point says how it was made, and in what.
  const Json made = nn::read_config_json(run.directory / "run/models/half-fp16-seed1");
  const Json stages = made.at("notch_row", "").at("pipeline", "");
  CHECK(stages.as_array("")[0].at("done", "").as_string("").starts_with("ranks 8 whole 8 8"));
  CHECK(stages.as_array("")[1].at("stage", "").as_string("") == "distill");
  CHECK(run_all(config, run.data, run.directory / "run", Earlier::resume)[0].rows.size() == 6);
}

TEST_CASE("a ticket goes back to where fp32 was") {
  ExperimentConfig config = with_rows(row("ticket", "'prune 50% magnitude', 'rewind', 'train'") +
                                      row("late", "'prune 50% magnitude', 'rewind 39', 'train'") +
                                      row("redrawn", "'prune 50% magnitude', 'redraw', 'train'"));
  config.quant.control = false;
  config.train.min_lr = 1e-4;
  const Finished run(config);
  const quant::LoadedModel base = run.load("fp32"), ticket = run.load("ticket-fp16"),
                           late = run.load("late-fp16"), redrawn = run.load("redrawn-fp16");
  const auto distance = [&](const quant::LoadedModel& model) {
    double largest = 0;
    for (const quant::NamedMask& m : model.masks) {
      const std::span<const real> w = weights(model, m.name), dense = weights(base, m.name);
      for (std::size_t i = 0; i < w.size(); ++i)
        if (m.keep[i] != 0) largest = std::max(largest, std::abs(double(w[i]) - double(dense[i])));
    }
    return largest;
  };
  // 39 of 40 steps are fp32's own. In the last a weight moves by the last rate and, as the moments
  // begin anew, by no more; fp32's moved by no more than five times that.
  const double last = base_settings(config, 1).schedule(39);
  CHECK(distance(late) < 7 * last + 1e-3);  // and half precision
  CHECK(distance(ticket) > 10 * last);
  CHECK(distance(redrawn) > 10 * last);
  for (const char* name : {"ticket-fp16", "late-fp16", "redrawn-fp16"}) {
    CHECK(run.of(name).control == "fp32");
    CHECK(run.of(name).figures.at("pruned") == Approx(0.5));
  }
  // One mask, fp32's; from other numbers other weights come.
  CHECK(std::ranges::equal(ticket.masks, redrawn.masks, {}, &quant::NamedMask::keep,
                           &quant::NamedMask::keep));
  CHECK(run.of("ticket-fp16").eval.loss != run.of("redrawn-fp16").eval.loss);
  CHECK(run_all(config, run.data, run.directory / "run", Earlier::resume)[0].rows.size() == 4);
}

TEST_CASE("stages are told with their steps and kept with the model") {
  const ExperimentConfig config =
      with_rows(row("x", "'train 50%', 'prune 2:4', 'distill', 'gptq 4'"));
  CHECK(describe_pipeline(config, config.row[0]) ==
        "train 50% (3 steps), prune 2:4, distill (3 steps), gptq 4; 6 steps of training");
  const Finished run(config);
  const Json stages = run.load("x-int4").quantization_config.at("pipeline", "config");
  std::vector<std::int64_t> steps;
  for (const Json& s : stages.as_array("pipeline")) steps.push_back(s.at("steps", "").as_int(""));
  CHECK(steps == std::vector<std::int64_t>{3, 0, 3, 0});
  for (const auto& entry : fs::directory_iterator(run.directory / "run/seed-1/ckpt"))
    CHECK(entry.path().filename() == "fp32");
}

}  // namespace notch::experiments::pipeline_rows_test
