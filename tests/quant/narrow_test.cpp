// Narrower models: the same function where what is taken out does nothing, and the right choice.
#include "nn/narrow.h"

#include <algorithm>
#include <cmath>

#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/smaller_models.h"
#include "tests/quant/tiny_models.h"

namespace notch::nn::narrow_test {

using test::error_of;
using test::logits_of;
using test::same_bits;
using test::Text;

/// The matrices that read the inner channels.
std::vector<Param*> readers(Model& model) {
  std::vector<Param*> out;
  for (Param& p : model.params().params())
    if (p.name.ends_with("mlp.c_proj.weight") || p.name.ends_with("mlp.down_proj.weight"))
      out.push_back(&p);
  return out;
}

TEST_CASE("channels that nothing reads are taken out and change nothing") {
  for (const std::unique_ptr<Model>& model : test::gpt_and_llama(2)) {
    INFO(model->architecture());
    const std::int64_t inner = model->sizes().n_inner;
    const std::vector<Param*> all = readers(*model);
    REQUIRE(all.size() == 2);
    for (std::size_t b = 0; b < all.size(); ++b)  // every third channel, from b on
      for (std::int64_t r = 0; r < all[b]->value.rows(); ++r)
        for (std::int64_t i = static_cast<std::int64_t>(b); i < inner; i += 3)
          all[b]->value.data[r * inner + i] = 0;
    const Text text(3);
    const std::vector<Tokens> batches{text.tokens()};
    const auto importance = inner_importance(*model, batches);
    const std::int64_t left = inner - (inner + 2) / 3;
    const auto keep = most_important(importance, left);
    for (std::size_t b = 0; b < 2; ++b)
      for (const std::int64_t i : keep[b]) CHECK((i - static_cast<std::int64_t>(b)) % 3 != 0);
    const auto small = narrowed(*model, keep);
    CHECK(small->sizes().n_inner == left);
    CHECK(small->params().count() < model->params().count());
    // The same sums without the zeros; BLAS may add what is left in another order.
    const std::vector<real> was = logits_of(*model, text), now = logits_of(*small, text);
    for (std::size_t i = 0; i < was.size(); ++i)
      CHECK(double(now[i]) == Approx(double(was[i])).margin(1e-5));
    const test::TemporaryDirectory directory;
    save_model(*small, directory.path());
    CHECK(same_bits(logits_of(*load_model(directory.path()), text), now));
  }
}

TEST_CASE("importance is the mean square of what a channel adds") {
  for (const std::unique_ptr<Model>& model : test::gpt_and_llama(2)) {
    INFO(model->architecture());
    const Text text(3);
    const std::vector<Tokens> batches{text.tokens()};
    const auto importance = inner_importance(*model, batches);
    // The last block's reader, seen from outside: its output with and without one channel.
    const std::vector<Param*> all = readers(*model);
    const Param* reader = all.back();
    const std::vector<real> whole = test::output_of(*model, *reader, text);
    const std::int64_t inner = model->sizes().n_inner, C = reader->value.rows();
    for (const std::int64_t i : {std::int64_t{0}, inner / 2, inner - 1}) {
      std::vector<real> column;
      for (std::int64_t r = 0; r < C; ++r) {
        column.push_back(reader->value.data[r * inner + i]);
        reader->value.data[r * inner + i] = 0;
      }
      const std::vector<real> without = test::output_of(*model, *reader, text);
      for (std::int64_t r = 0; r < C; ++r)
        reader->value.data[r * inner + i] = column[static_cast<std::size_t>(r)];
      CHECK(importance.back()[static_cast<std::size_t>(i)] ==
            Approx(test::mean_square(whole, without, text)).epsilon(1e-3));
    }
  }
}

TEST_CASE("lists that do not fit a model are refused") {
  const auto model = test::make_gpt();
  CHECK(error_of([&] { inner_importance(*model, {}); }).fault == Fault::usage);
  const std::vector<std::vector<std::int64_t>> one{{0, 1}}, unequal{{0, 1}, {0}},
      twice{{0, 0}, {0, 1}}, far{{0, 48}, {0, 1}};
  for (const auto& keep : {one, unequal, twice, far})
    CHECK(error_of([&] { narrowed(*model, keep); }).fault == Fault::usage);
  CHECK(error_of([] {
          most_important(std::vector<std::vector<double>>{{1, 2}}, 3);
        }).fault == Fault::usage);
}

}  // namespace notch::nn::narrow_test
