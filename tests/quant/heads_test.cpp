// Fewer heads: the same function where what is taken out does nothing, the right choice, and files that say it.
#include "nn/heads.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "nn/model_dir.h"
#include "nn/narrow.h"
#include "quant/store/gguf_model.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/smaller_models.h"
#include "tests/quant/tiny_models.h"

namespace notch::nn::heads_test {

using test::error_of;
using test::logits_of;
using test::same_bits;
using test::Text;

/// 4 heads of 3 channels each, and 4 heads that share 2 of keys.
std::vector<std::unique_ptr<Model>> models() {
  std::vector<std::unique_ptr<Model>> all;
  GptConfig config = test::tiny_config();
  config.n_head = 4;
  all.push_back(test::make_gpt(config));
  all.push_back(test::make_llama());
  return all;
}

/// The matrices that read what the attentions mix.
std::vector<Param*> readers(Model& model) {
  std::vector<Param*> out;
  for (Param& p : model.params().params())
    if (p.name.ends_with("attn.c_proj.weight") || p.name.ends_with("o_proj.weight"))
      out.push_back(&p);
  return out;
}

/// Sets the columns of head `h` of keys to 0 and returns what they were.
std::vector<real> silence(Param& reader, std::int64_t h, std::int64_t heads) {
  const std::int64_t cols = reader.value.cols(), n = cols / heads;
  std::vector<real> was;
  for (std::int64_t r = 0; r < reader.value.rows(); ++r)
    for (std::int64_t i = 0; i < n; ++i)
      was.push_back(std::exchange(reader.value.data[r * cols + h * n + i], real{0}));
  return was;
}

TEST_CASE("heads that nothing reads are taken out and change nothing") {
  for (const std::unique_ptr<Model>& model : models()) {
    INFO(model->architecture());
    const Sizes sizes = model->sizes();
    const std::vector<Param*> all = readers(*model);
    REQUIRE(all.size() == 2);
    const std::int64_t heads = sizes.n_kv_head, last = heads - 1;
    silence(*all[0], 0, heads);
    silence(*all[1], last, heads);
    const Text text(3);
    const std::vector<Tokens> batches{text.tokens()};
    const auto importance = head_importance(*model, batches);
    const auto keep = most_important(importance, heads - 1);
    CHECK(std::ranges::find(keep[0], 0) == keep[0].end());
    CHECK(std::ranges::find(keep[1], last) == keep[1].end());
    const auto small = with_heads_of(*model, keep);
    CHECK(small->sizes().n_kv_head == heads - 1);
    CHECK(small->sizes().n_head == (heads - 1) * (sizes.n_head / heads));
    CHECK(small->sizes().head_dim == sizes.head_dim);
    CHECK(small->params().count() < model->params().count());
    // The same sums without the zeros; BLAS may add what is left in another order.
    const std::vector<real> was = logits_of(*model, text), now = logits_of(*small, text);
    for (std::size_t i = 0; i < was.size(); ++i)
      CHECK(double(now[i]) == Approx(double(was[i])).margin(1e-5));
    const test::TemporaryDirectory directory;
    save_model(*small, directory.path());
    const auto read = load_model(directory.path());
    CHECK(read->sizes() == small->sizes());
    CHECK(same_bits(logits_of(*read, text), now));
    // Through a cache, whose heads are as many.
    CHECK(kv_shape(read->sizes(), text.B).head_size() == sizes.head_dim);
    const std::vector<real> one_by_one = test::logits_by_token(*read, text);
    REQUIRE(one_by_one.size() == now.size());
    for (std::size_t i = 0; i < now.size(); ++i)
      CHECK(double(one_by_one[i]) == Approx(double(now[i])).margin(1e-4));
    // It is trained as any model.
    const std::vector<double> losses = test::train(*small, nullptr, text, 20);
    CHECK(losses.back() < losses.front());
  }
}

TEST_CASE("a head's importance is the mean square of what it adds") {
  for (const std::unique_ptr<Model>& model : models()) {
    INFO(model->architecture());
    const Text text(3);
    const std::vector<Tokens> batches{text.tokens()};
    const auto importance = head_importance(*model, batches);
    // The last attention's projection seen from outside, with and without one head.
    Param* reader = readers(*model).back();
    const std::vector<real> whole = test::output_of(*model, *reader, text);
    const std::int64_t heads = model->sizes().n_kv_head, cols = reader->value.cols();
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::vector<real> kept = test::copy(reader->value.flat());
      silence(*reader, h, heads);
      const std::vector<real> without = test::output_of(*model, *reader, text);
      std::ranges::copy(kept, reader->value.data);
      CHECK(importance.back()[std::size_t(h)] ==
            Approx(test::mean_square(whole, without, text)).epsilon(1e-3));
    }
    CHECK(cols == model->sizes().attention());
  }
}

TEST_CASE("all heads kept is the model itself") {
  for (const std::unique_ptr<Model>& model : models()) {
    const std::vector<std::int64_t> each = model->sizes().n_kv_head == 4
                                               ? std::vector<std::int64_t>{0, 1, 2, 3}
                                               : std::vector<std::int64_t>{0, 1};
    const auto same = with_heads_of(*model, std::vector{each, each});
    CHECK(same->config_json().dump() == model->config_json().dump());
    CHECK(same_bits(test::values_of(same->params()), test::values_of(model->params())));
  }
}

TEST_CASE("lists of heads that do not fit a model are refused") {
  const auto model = test::make_llama();
  using Lists = std::vector<std::vector<std::int64_t>>;
  for (const Lists& keep :
       {Lists{{0}}, Lists{{0, 1}, {0}}, Lists{{0, 0}, {0, 1}}, Lists{{2}, {0}}, Lists{{}, {}}})
    CHECK(error_of([&] { with_heads_of(*model, keep); }).fault == Fault::usage);
  CHECK(error_of([&] { head_importance(*model, {}); }).fault == Fault::usage);
}

TEST_CASE("GGUF has a key for the heads of a Llama alone") {
  quant::GgufVocabulary letters;
  for (char c = 'a'; c < 'a' + 11; ++c) {
    letters.tokens.push_back(std::string(1, c));
    letters.kinds.push_back(quant::GgufVocabulary::kNormal);
  }
  const test::TemporaryDirectory directory;
  const Text text(3);
  const std::vector<Tokens> batches{text.tokens()};
  for (const std::unique_ptr<Model>& model : models()) {
    const auto small = with_heads_of(*model, most_important(head_importance(*model, batches), 1));
    const auto save = [&] {
      quant::save_gguf(*small, {}, letters, {.type = gguf_type("F32")}, "x", directory / "x.gguf");
    };
    if (model->architecture() == "gpt2") {
      CHECK(error_of(save).field == "notch.head_dim");
      continue;
    }
    save();
    const quant::GgufModel read = quant::load_gguf(directory / "x.gguf");
    CHECK(read.model->sizes() == small->sizes());
    CHECK(same_bits(logits_of(*read.model, text), logits_of(*small, text)));
  }
}

}  // namespace notch::nn::heads_test
