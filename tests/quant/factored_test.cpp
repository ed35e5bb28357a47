// Matrices in two factors: what they lose, which ranks they get, and that all else goes on working.
#include "quant/methods/factored.h"

#include <algorithm>
#include <cmath>

#include "nn/heads.h"
#include "nn/model_dir.h"
#include "nn/narrow.h"
#include "nn/onnx_model.h"
#include "nn/shallow.h"
#include "quant/kernels/singular_values.h"
#include "quant/methods/methods.h"
#include "quant/methods/post_training.h"
#include "quant/store/gguf_model.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/smaller_models.h"
#include "tests/quant/tiny_models.h"

namespace notch::quant::factored_test {

using test::error_of;
using test::logits_of;
using test::same_bits;
using test::Text;
using Matrix = std::vector<double>;

std::vector<std::unique_ptr<nn::Model>> models() {
  std::vector<std::unique_ptr<nn::Model>> all;
  all.push_back(test::make_gpt());
  nn::GptConfig bare = test::tiny_config();
  bare.bias = false;
  all.push_back(test::make_gpt(bare));
  all.push_back(test::make_llama());
  return all;
}

/// A B of the matrix, where it is in two factors, or the matrix itself: [rows, cols] as before.
Matrix product_of(nn::Model& model, const std::string& name, const std::string& down) {
  const Tensor& A = model.params().find(name)->value;
  const Param* B = model.params().find(down);
  if (!B) return Matrix(A.flat().begin(), A.flat().end());
  Matrix out;
  for (std::int64_t r = 0; r < A.rows(); ++r) {
    for (std::int64_t c = 0; c < B->value.cols(); ++c) {
      double sum = 0;
      for (std::int64_t k = 0; k < A.cols(); ++k)
        sum += double(A.data[r * A.cols() + k]) * double(B->value.data[k * B->value.cols() + c]);
      out.push_back(sum);
    }
  }
  return out;
}

/// What a linear of the model multiplies on the text, row after row.
std::vector<real> inputs_of(nn::Model& model, const std::string& name, const Text& text) {
  std::vector<real> seen;
  const nn::Attachment watch = model.hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& l, Var x, const auto& next) {
        if (l.weight->name == name) seen = test::copy(x.value().flat());
        return next(g, l, x);
      });
  logits_of(model, text);
  return seen;
}

/// Σ ‖D x‖² over rows x of X.
double output_power(const Matrix& D, std::span<const real> X, std::int64_t cols) {
  double sum = 0;
  for (std::size_t row = 0; row < X.size(); row += std::size_t(cols)) {
    for (std::size_t r = 0; r < D.size(); r += std::size_t(cols)) {
      double y = 0;
      for (std::size_t c = 0; c < std::size_t(cols); ++c) y += D[r + c] * double(X[row + c]);
      sum += y * y;
    }
  }
  return sum;
}

Matrix difference(const Matrix& a, const Matrix& b) {
  Matrix out = a;
  for (std::size_t i = 0; i < a.size(); ++i) out[i] -= b[i];
  return out;
}

double square(const Matrix& a) {
  double sum = 0;
  for (const double v : a) sum += v * v;
  return sum;
}

struct Place {
  const char *matrix, *down;
};
/// A wide, a square and a tall matrix of the last block.
constexpr Place kPlaces[] = {{"h.1.mlp.c_fc.weight", "h.1.mlp.c_fc.down.weight"},
                             {"h.1.attn.c_attn.weight", "h.1.attn.c_attn.down.weight"},
                             {"h.1.mlp.c_proj.weight", "h.1.mlp.c_proj.down.weight"}};

TEST_CASE("factors lose the power that their share leaves out") {
  const Text text(3, 16);
  const std::vector<nn::Tokens> batches{text.tokens()};
  const auto model = test::make_gpt();
  const Factored whitened = factored(*model, {.share = 0.8}, batches);
  for (const Place& place : kPlaces) {
    INFO(place.matrix);
    const Param& p = *model->params().find(place.matrix);
    const Matrix W(p.value.flat().begin(), p.value.flat().end());
    const auto of = std::ranges::find_if(whitened.matrices, [&](const FactoredMatrix& m) {
      return m.name + ".weight" == place.matrix;
    });
    REQUIRE(of != whitened.matrices.end());
    REQUIRE(of->rank > 0);
    CHECK(of->kept >= 0.8);
    const std::vector<real> X = inputs_of(*model, place.matrix, text);
    const std::int64_t cols = p.value.cols();
    const double lost =
        output_power(difference(W, product_of(*whitened.model, place.matrix, place.down)), X, cols);
    // Orthogonal projections: what is lost and what is kept add up.
    CHECK(lost / output_power(W, X, cols) == Approx(1 - of->kept).margin(1e-5));
  }
}

TEST_CASE("plain factors are the truncated singular value decomposition") {
  const Text text(3, 16);
  const std::vector<nn::Tokens> batches{text.tokens()};
  const auto model = test::make_gpt();
  const Factored plain = factored(*model, {.share = 0.7, .whitened = false}, {});
  for (const Place& place : kPlaces) {
    INFO(place.matrix);
    const Param& p = *model->params().find(place.matrix);
    const Matrix W(p.value.flat().begin(), p.value.flat().end());
    const std::vector<double> sigma =
        singular_values(p.value.flat(), p.value.rows(), p.value.cols(), place.matrix);
    const std::int64_t rank = rank_of_energy(sigma, 0.7);
    const auto of = std::ranges::find_if(plain.matrices, [&](const FactoredMatrix& m) {
      return m.name + ".weight" == place.matrix;
    });
    REQUIRE(of->rank == rank);
    // Eckart and Young: the squares of the rest of the singular values.
    double rest = 0;
    for (std::size_t i = std::size_t(rank); i < sigma.size(); ++i) rest += sigma[i] * sigma[i];
    const Matrix AB = product_of(*plain.model, place.matrix, place.down);
    CHECK(square(difference(W, AB)) == Approx(rest).epsilon(1e-4));
    // Each is the best by its own measure.
    const std::int64_t most = std::min(p.value.rows(), p.value.cols());
    FactorOptions same{.share = 1e-9, .unit = rank};
    REQUIRE(rank < most);
    const Factored other = factored(*model, same, batches);
    const Matrix by_text = product_of(*other.model, place.matrix, place.down);
    const std::vector<real> X = inputs_of(*model, place.matrix, text);
    CHECK(square(difference(W, by_text)) > square(difference(W, AB)));
    CHECK(output_power(difference(W, by_text), X, p.value.cols()) <
          output_power(difference(W, AB), X, p.value.cols()));
  }
}

TEST_CASE("matrices of rank 2 are found and change nothing") {
  for (const std::unique_ptr<nn::Model>& model : models()) {
    INFO(model->architecture());
    // Rows of all matrices of a step from the same two.
    Rng rng(5, 0);
    for (const nn::Stage& stage : model->stages()) {
      for (const nn::Step& step : stage.steps) {
        if (step.linears.empty()) continue;
        const std::int64_t cols = step.linears[0]->in_features();
        std::vector<real> two;
        for (std::int64_t i = 0; i < 2 * cols; ++i) two.push_back(real(rng.normal()));
        for (const nn::Linear* l : step.linears) {
          for (std::int64_t r = 0; r < l->out_features(); ++r) {
            const double a = 0.3 * rng.normal(), b = 0.3 * rng.normal();
            for (std::int64_t c = 0; c < cols; ++c)
              l->weight->value.data[r * cols + c] =
                  real(a * double(two[std::size_t(c)]) + b * double(two[std::size_t(cols + c)]));
          }
        }
      }
    }
    const Text text(4);
    const std::vector<nn::Tokens> batches{text.tokens()};
    const std::vector<real> was = logits_of(*model, text);
    for (const bool whitened : {true, false}) {
      const Factored made = factored(*model, {.share = 1 - 1e-9, .whitened = whitened},
                                     whitened ? batches : std::span<const nn::Tokens>{});
      for (const FactoredMatrix& m : made.matrices) CHECK(m.rank == 2);
      CHECK(made.model->sizes().ranks == std::vector<std::int64_t>(8, 2));
      const std::vector<real> now = logits_of(*made.model, text);
      for (std::size_t i = 0; i < was.size(); ++i)
        CHECK(double(now[i]) == Approx(double(was[i])).margin(1e-4));
      // In a file, and token by token.
      const test::TemporaryDirectory directory;
      nn::save_model(*made.model, directory.path());
      const std::unique_ptr<nn::Model> read = nn::load_model(directory.path());
      CHECK(same_bits(logits_of(*read, text), now));
      const std::vector<real> one_by_one = test::logits_by_token(*read, text);
      REQUIRE(one_by_one.size() == now.size());
      for (std::size_t i = 0; i < now.size(); ++i)
        CHECK(double(one_by_one[i]) == Approx(double(now[i])).margin(1e-4));
    }
  }
}

TEST_CASE("a share of the bytes gets the largest energy that fits") {
  const auto model = test::make_gpt();
  const auto share = [&](const FactorOptions& options) {
    return weights_share(model->sizes(), factored(*model, options, {}).model->sizes().ranks);
  };
  for (const double wanted : {0.3, 0.55, 0.8}) {
    const double got = share({.share = wanted, .weights = true, .whitened = false});
    CHECK(got <= wanted);
    for (double energy = 0.05; energy < 0.87; energy += 0.05) {  // more leaves every matrix whole
      const double other = share({.share = energy, .whitened = false});
      CHECK((other <= got || other > wanted));
    }
  }
  // c_attn [36, 12], c_proj [12, 12], c_fc [48, 12], c_proj [12, 48] and ranks of 4: 4 · 48, 4 · 24, 4 · 60
  // twice, of 36 · 12 + 12 · 12 + 2 · 48 · 12.
  CHECK(least_ranks(model->sizes(), 4) == std::vector<std::int64_t>(8, 4));
  CHECK(weights_share(model->sizes(), least_ranks(model->sizes(), 4)) == Approx(768.0 / 1728));
  // 6 · 24 = 12 · 12: no smaller.
  CHECK(least_ranks(model->sizes(), 6) == std::vector<std::int64_t>{6, 0, 6, 6, 6, 0, 6, 6});
  const Factored in_sixes = factored(*model, {.share = 0.6, .whitened = false, .unit = 6}, {});
  for (const FactoredMatrix& m : in_sixes.matrices) CHECK(m.rank % 6 == 0);
}

TEST_CASE("factors are rounded, packed and served as other matrices are") {
  const Text text(6);
  const std::vector<nn::Tokens> batches{text.tokens()};
  for (const std::unique_ptr<nn::Model>& model : models()) {
    INFO(model->architecture());
    const Factored made = factored(*model, {.share = 0.6, .weights = true, .unit = 2}, batches);
    const std::vector<real> floats = logits_of(*made.model, text);
    for (const int bits : {4, 8}) {
      const auto rounded = nn::clone(*made.model);
      const Plan plan{
          .weights = {.bits = bits, .granularity = Granularity::group, .group_size = 2}};
      const std::vector<Target> targets = resolve(plan, *rounded);
      const Quantized quantized = post_training(*rounded, method("gptq"), targets, batches, {});
      const test::TemporaryDirectory directory;
      save_quantized(*rounded, quantized, directory.path());  // or its bytes are not as predicted
      const LoadedModel loaded = load_any(directory.path());
      CHECK(same_bits(logits_of(*loaded.model, text), logits_of(*rounded, text)));
      CHECK(loaded.model->sizes() == made.model->sizes());
      const std::vector<real> served = logits_of(*load_runnable(directory.path()).model, text),
                              read = logits_of(*loaded.model, text);
      for (std::size_t i = 0; i < served.size(); ++i)
        CHECK(double(served[i]) == Approx(double(read[i])).epsilon(1e-3).margin(1e-3));
      if (bits < 8) continue;
      double worst = 0;
      for (std::size_t i = 0; i < read.size(); ++i)
        worst = std::max(worst, std::fabs(double(read[i]) - double(floats[i])));
      CHECK(worst < 0.2);
      CHECK(worst > 0);
    }
  }
}

TEST_CASE("factors that cannot be made or written are refused") {
  const Text text(6);
  const std::vector<nn::Tokens> batches{text.tokens()};
  const auto model = test::make_gpt();
  const auto fault = [&](const FactorOptions& options, std::span<const nn::Tokens> on) {
    return error_of([&] { factored(*model, options, on); }).fault;
  };
  CHECK(fault({.share = 0}, batches) == Fault::usage);
  CHECK(fault({.share = 1.1}, batches) == Fault::usage);
  CHECK(fault({.share = 1}, batches) == Fault::usage);  // no matrix would get smaller
  CHECK(fault({.share = 0.5}, {}) == Fault::usage);
  CHECK(fault({.share = 0.5, .unit = 0}, batches) == Fault::usage);
  const Factored made = factored(*model, {.share = 0.5}, batches);
  nn::Model& small = *made.model;
  CHECK(error_of([&] { factored(small, {.share = 0.5}, batches); }).fault == Fault::usage);
  CHECK(error_of([&] { nn::inner_importance(small, batches); }).fault == Fault::usage);
  CHECK(error_of([&] { nn::head_importance(small, batches); }).fault == Fault::usage);
  CHECK(error_of([&] { nn::shallow(small, 1, batches); }).fault == Fault::usage);
  const test::TemporaryDirectory directory;
  nn::OnnxWeights weights;
  CHECK(error_of([&] { nn::onnx_graph(small, weights, false); }).field == "notch.ranks");
  CHECK(error_of([&] {
          save_gguf(small, {}, {}, {.type = nn::gguf_type("F32")}, "x", directory / "x.gguf");
        }).field == "notch.ranks");
  const auto rounded = nn::clone(small);
  const std::vector<Target> targets = resolve(Plan{.weights = {.bits = 4}}, *rounded);
  const Quantized codes = post_training(*rounded, method("rtn"), targets, {}, {});
  CHECK(error_of([&] { save_gptq(*rounded, codes, directory.path(), GptqZeros::v1); }).field ==
        "notch.ranks");
}

TEST_CASE("ranks of a config that do not fit its matrices are refused") {
  const auto parse = [](Json config) {
    return error_of([&] { nn::make_model(config, "m", nn::Model::Values::shapes_only); });
  };
  const Text text(6);
  const std::vector<nn::Tokens> batches{text.tokens()};
  for (const std::unique_ptr<nn::Model>& model : models()) {
    const Json good = factored(*model, {.share = 0.5}, batches).model->config_json();
    const auto with = [&](const char* ranks) {
      Json notch = good.at("notch", "");
      notch.set("ranks", Json::parse(ranks, "ranks"));
      Json config = good;
      config.set("notch", notch);
      return config;
    };
    CHECK(nn::make_model(with("[[1,0,2,0],[0,0,0,1]]"), "m", nn::Model::Values::shapes_only)
              ->sizes()
              .ranks == std::vector<std::int64_t>{1, 0, 2, 0, 0, 0, 0, 1});
    for (const char* bad : {"[[1,0,2,0]]", "[[1,0,2],[0,0,0,1]]", "[[-1,0,2,0],[0,0,0,1]]",
                            "[[17,0,2,0],[0,0,0,1]]", "[[1,0,2,0],[0,0,0,99]]"}) {
      INFO(bad);
      const ErrorParts parts = parse(with(bad));
      CHECK(parts.fault == Fault::input);
      CHECK(parts.field == "notch.ranks");
    }
  }
}

}  // namespace notch::quant::factored_test
