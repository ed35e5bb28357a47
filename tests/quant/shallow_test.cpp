// Shallower models: the same function where a block does nothing, and the right block goes.
#include "nn/shallow.h"

#include <cmath>

#include "nn/model_dir.h"
#include "nn/text_loss.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace notch::nn::shallow_test {

using test::error_of;
using test::logits_of;
using test::same_bits;
using test::Text;

/// Makes what a block adds to the stream zero.
void silence(Model& model, int block) {
  for (Param& p : model.params().params()) {
    const bool last = p.name.find("c_proj.") != p.name.npos ||
                      p.name.find("o_proj.") != p.name.npos ||
                      p.name.find("down_proj.") != p.name.npos;
    if (last && p.name.find(str('.', block, '.')) != p.name.npos)
      for (real& v : p.value.flat()) v = 0;
  }
}

TEST_CASE("the mean loss is that of the next tokens in a window") {
  const auto model = test::make_gpt();
  const Text text(3);
  const std::vector<real> logits = logits_of(*model, text);
  double sum = 0;
  for (std::int64_t t = 0; t < text.B * text.T; ++t) {
    if (t % text.T == text.T - 1) continue;
    const std::span<const real> row =
        std::span(logits).subspan(static_cast<std::size_t>(11 * t), 11);
    double all = 0;
    for (const real l : row) all += std::exp(double(l));
    const auto next = static_cast<std::size_t>(text.ids[static_cast<std::size_t>(t) + 1]);
    sum += std::log(all) - double(row[next]);
  }
  Graph g;
  const std::vector<Tokens> batches{text.tokens()};
  CHECK(mean_loss(g, *model, batches) == Approx(sum / double(text.B * (text.T - 1))).epsilon(1e-5));
  CHECK(successors(text.tokens())[7] == -1);
  CHECK(successors(text.tokens())[6] == text.ids[7]);
}

TEST_CASE("blocks that add nothing are taken out and change nothing") {
  for (const std::unique_ptr<Model>& model : test::gpt_and_llama(4)) {
    INFO(model->architecture());
    silence(*model, 1);
    silence(*model, 3);
    const Text text(3);
    const std::vector<Tokens> batches{text.tokens()};
    const auto small = with_blocks(*model, std::vector<std::int64_t>{0, 2});
    CHECK(small->sizes().n_layer == 2);
    CHECK(small->params().count() < model->params().count());
    CHECK(same_bits(logits_of(*small, text), logits_of(*model, text)));
    const test::TemporaryDirectory directory;
    save_model(*small, directory.path());
    CHECK(same_bits(logits_of(*load_model(directory.path()), text), logits_of(*model, text)));
    // Of equal ones the last goes first.
    for (const std::int64_t other : {0, 2}) silence(*model, static_cast<int>(other));
    const Shallow last = shallow(*model, 1, batches);
    REQUIRE(last.removed.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(last.removed[i].block == 3 - static_cast<std::int64_t>(i));
      CHECK(last.removed[i].rise == 0);
    }
  }
}

TEST_CASE("the block that the loss needs least goes first") {
  for (const std::unique_ptr<Model>& model : test::gpt_and_llama(4)) {
    INFO(model->architecture());
    const Text text(5);
    const std::vector<Tokens> batches{text.tokens()};
    Graph g;
    std::vector<std::int64_t> keep{0, 1, 2, 3};
    double loss = mean_loss(g, *model, batches);
    const Shallow small = shallow(*model, 1, batches);
    REQUIRE(small.removed.size() == 3);
    for (const RemovedBlock& r : small.removed) {
      const auto without = [&](std::int64_t block) {
        std::vector<std::int64_t> left = keep;
        std::erase(left, block);
        return mean_loss(g, *with_blocks(*model, left), batches);
      };
      for (const std::int64_t block : keep) CHECK(without(block) >= without(r.block));
      CHECK(r.rise == without(r.block) - loss);
      loss = without(r.block);
      std::erase(keep, r.block);
    }
    CHECK(same_bits(logits_of(*small.model, text), logits_of(*with_blocks(*model, keep), text)));
    CHECK(same_bits(logits_of(*with_blocks(*model, std::vector<std::int64_t>{0, 1, 2, 3}), text),
                    logits_of(*model, text)));
  }
}

TEST_CASE("blocks that a model has not are refused") {
  const auto model = test::make_gpt();
  const Text text(3);
  const std::vector<Tokens> batches{text.tokens()};
  const std::vector<std::int64_t> none{}, twice{0, 0}, back{1, 0}, far{0, 2};
  for (const auto& keep : {none, twice, back, far})
    CHECK(error_of([&] { with_blocks(*model, keep); }).fault == Fault::usage);
  CHECK(error_of([&] { shallow(*model, 0, batches); }).fault == Fault::usage);
  CHECK(error_of([&] { shallow(*model, 3, batches); }).fault == Fault::usage);
  CHECK(error_of([&] { shallow(*model, 1, {}); }).fault == Fault::usage);
}

}  // namespace notch::nn::shallow_test
