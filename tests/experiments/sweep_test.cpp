// notch bench --sweep: what is predicted, by hand; which cells are left out; what the files hold.
#include "experiments/bench/sweep.h"

#include "experiments/bench/memory_report.h"
#include "nn/gpt.h"
#include "tests/experiments/program.h"

namespace sweep_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

TEST_CASE("a training step's memory is predicted from the shape") {
  // 2 layers of 8 channels, MLP of 32, one head: per token and layer 4·8 + 2·8 + 2·32 = 112 floats.
  const MemoryShape shape{.n_layer = 2,
                          .channels = 8,
                          .n_head = 1,
                          .head_dim = 8,
                          .kv_heads = 1,
                          .hidden = 32,
                          .mlp_matrices = 2,
                          .vocab = 10};
  CHECK(training_need(shape, 1000, 3) == 16 * 1000 + 4 * 3 * 2 * 112);
}

TEST_CASE("a sweep says which cells it left out") {
  nn::GptConfig config{.vocab_size = 32, .block_size = 40, .n_layer = 2, .n_head = 2, .n_embd = 16};
  auto model = std::make_unique<nn::Gpt>(config);
  model->init(1);
  std::vector<InferenceSubject> subjects;
  subjects.push_back({"tiny", {}});
  subjects[0].model.weight_bytes = model->params().count() * 4;
  subjects[0].model.model = std::move(model);
  // 36 positions of 2 layers · 2 heads of 8 channels: keys in blocks of 16 positions, values in 16
  // channels, 4 bytes each. Activations (memory_report.h) take 4 (36 (2·16 + 2·64) + 32) = 23168.
  const double kv = 4 * (48 * 8 + 36 * 16) * 4;
  Sweep sweep;
  sweep_inference(sweep, subjects, {.contexts = {16, 32, 64}, .batches = {1, 3}, .memory = 70000});
  REQUIRE(sweep.cells.size() == 3);  // 32 tokens of 3 sequences take more
  REQUIRE(sweep.left_out.size() == 2);
  CHECK(sweep.left_out[0].find("context 32 and batch 3") != std::string::npos);
  CHECK(sweep.left_out[1].find("64") != std::string::npos);
  CHECK(sweep.cells[2].context == 32);
  CHECK(sweep.cells[2].batch == 1);
  CHECK(sweep.cells[2].kv_predicted == kv);
  CHECK(sweep.cells[2].kv_bytes == kv);
  for (const SweepCell& c : sweep.cells) {
    CHECK(c.prompt_seconds > 0);
    CHECK(c.prompt_predicted > 0);
    CHECK(c.decode_predicted > 0);
  }
  CHECK(sweep_table(sweep).rows().size() == 3);
  CHECK(sweep_records(sweep).rows().size() == 9);
  const Plot plot = sweep_plot(sweep);
  CHECK(plot.series.size() == 8);  // two batches, prompts and decoding, measured and predicted
}

TEST_CASE("notch bench --sweep writes a table and a figure") {
  const Program program;
  const Outcome outcome =
      program.notch("bench --shape S --sweep=8,16 --batch 1,2 -o csv --svg growth.svg");
  CHECK(outcome.code == 0);
  // A head; prompt, decode and KV of fp32 and int4; and training; each in four cells.
  CHECK(std::ranges::count(outcome.out, '\n') == 1 + 4 * (3 * 2 + 1));
  CHECK(outcome.out.starts_with("model,what,context,batch,measured,predicted\n"));
  CHECK(outcome.out.find("fp32,training_bytes,16,2,") != std::string::npos);
  CHECK(read_file(program / "growth.svg").find("<svg") != std::string::npos);
  for (const char* bad : {"--sweep=0", "--sweep=8,x", "--sweep --batch 0", "--sweep="}) {
    CAPTURE(bad);
    CHECK(program.notch(str("bench --shape S ", bad)).code == 2);
  }
  // A context of 8 tokens has no room for any of these prompts.
  const Outcome nothing =
      program.notch(str("bench ", program.train(), " --sweep=8,16 --batch 1 -q"));
  check_refused(nothing, 2);
  CHECK(nothing.err.find("nothing was measured") != std::string::npos);
}

}  // namespace sweep_test
