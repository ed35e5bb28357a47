// Models on grids whose levels are the matrices' own: what every method makes of them is stored in the bytes that
// were predicted, read back and served.
#include <algorithm>
#include <cmath>

#include "autograd/base/thread_pool.h"
#include "quant/numbers/format.h"
#include "quant/train/qat.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"

namespace own_levels_files_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

std::unique_ptr<nn::Gpt> make_wide() {
  return make_gpt({.vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 16});
}

std::vector<Spec> own_specs() {
  std::vector<Spec> specs;
  for (const Format& f : formats()) {
    if (!f.has_own_levels()) continue;
    for (int bits = f.fewest_bits; bits <= f.most_bits; ++bits) {
      for (const Granularity g : {Granularity::tensor, Granularity::channel, Granularity::group}) {
        specs.push_back({.bits = bits,
                         .grid = f.kind,
                         .granularity = g,
                         .group_size = g == Granularity::group ? 8 : 0,
                         .scale = ScaleType::f16});
      }
    }
  }
  return specs;
}

Quantized run(nn::Model& model, const Method& m, const Plan& plan) {
  const Text a(20, 8), b(21, 8);
  const std::vector<nn::Tokens> tokens{a.tokens(), b.tokens()};
  return post_training(model, m, resolve(plan, model), tokens, {.aqlm = {.rounds = 2}});
}

bool knows(const Method& m, const Spec& spec) {
  return m.round && m.own_levels && (!m.grid || *m.grid == spec.grid);
}

TEST_CASE("own levels come back from files of the predicted bytes") {
  for (const Spec& spec : own_specs()) {
    for (const Coding coding : {Coding::packed, Coding::entropy}) {
      INFO(name_of(spec) << (coding == Coding::packed ? "" : " coded"));
      const auto model = make_wide();
      const Quantized q = run(*model, method("rtn"), {.weights = spec, .table = spec});
      const TemporaryDirectory dir;
      save_quantized(*model, q, dir.path(), Json::object(),
                     coding);  // throws where the prediction is wrong
      const SizeReport size = predict_size(*model, q, 32, coding);
      CHECK(size.bytes() == tensor_bytes(dir.path()));
      std::int64_t levels = 0;
      for (const NamedQTensor& t : q.tensors)
        levels +=
            2 * std::ssize(t.q.at.codebooks) +
            (spec.grid == GridKind::learned ? scale_bytes(spec.scale) * std::ssize(t.q.at.scales)
                                            : 0);
      CHECK(size.level_bytes == levels);
      CHECK((size.scale_bytes == 0) == (spec.grid == GridKind::learned));
      const LoadedModel back = load_any(dir.path());
      REQUIRE(back.tensors.size() == q.tensors.size());
      for (const NamedQTensor& t : q.tensors) {
        const auto at = std::ranges::find(back.tensors, t.name, &NamedQTensor::name);
        REQUIRE(at != back.tensors.end());
        CHECK(at->q == t.q);
      }
      CHECK(same_bits(logits(*back.model), logits(*model)));
      const RunnableModel served = load_runnable(dir.path());
      const std::vector<real> runs = logits(*served.model), scored = logits(*back.model);
      for (std::size_t i = 0; i < runs.size(); ++i)
        CHECK(runs[i] == Approx(scored[i]).epsilon(1e-4).margin(1e-4));
    }
  }
}

TEST_CASE("every method's own levels run as their file says") {
  for (const GridKind grid : {GridKind::learned, GridKind::e8p, GridKind::additive}) {
    const Plan plan{.weights = {.bits = 2, .grid = grid, .scale = ScaleType::f16},
                    .table = Spec{.bits = 8}};
    for (const Method* m : methods()) {
      if (!knows(*m, plan.weights)) continue;
      INFO(m->name << " on " << name_of(grid));
      const auto model = make_wide();
      const Quantized q = run(*model, *m, plan);
      const TemporaryDirectory dir;
      save_quantized(*model, q, dir.path());
      const LoadedModel back = load_any(dir.path());
      const std::vector<real> runs = logits(*load_runnable(dir.path()).model),
                              scored = logits(*back.model);
      for (std::size_t i = 0; i < runs.size(); ++i)
        CHECK(runs[i] == Approx(scored[i]).epsilon(1e-4).margin(1e-4));
      for (std::size_t i = 0; i < q.layers.size(); ++i) {
        CHECK(q.layers[i].moved > 0);
        // Two bits: a third of the squared weights is more than any of them leaves of normal ones.
        if (q.layers[i].spec == plan.weights && !m->changes_inputs())
          CHECK(q.layers[i].weight_error < 0.34);
      }
    }
  }
}

TEST_CASE("own levels do not depend on the number of threads") {
  const int before = threads();
  for (const GridKind grid : {GridKind::learned, GridKind::e8p, GridKind::additive}) {
    for (const Method* m : methods()) {
      const Plan plan{.weights = {.bits = 2, .grid = grid}, .table = Spec{.bits = 8}};
      if (!knows(*m, plan.weights)) continue;
      INFO(m->name << " on " << name_of(grid));
      std::optional<Quantized> reference;
      for (const int n : {1, 3}) {
        set_threads(n);
        const auto model = make_wide();
        Quantized q = run(*model, *m, plan);
        if (reference) {
          for (std::size_t i = 0; i < q.tensors.size(); ++i)
            CHECK(q.tensors[i].q == reference->tensors[i].q);
        } else {
          reference = std::move(q);
        }
      }
    }
  }
  set_threads(before);
}

TEST_CASE("own levels that cannot be are refused, training too") {
  const auto model = make_wide();
  const Spec spec{
      .bits = 2, .grid = GridKind::e8p, .granularity = Granularity::group, .group_size = 8};
  const TemporaryDirectory dir;
  save_quantized(*model, run(*model, method("rtn"), {.weights = spec}), dir.path());
  // Another group in the configuration than columns of a word allow.
  std::string config = read_file(dir.path() / nn::kConfigFile);
  const std::string from = "\"group_size\": 8";
  REQUIRE(config.find(from) != std::string::npos);
  for (std::size_t i = 0; (i = config.find(from, i)) != config.npos;)
    config.replace(i, from.size(), "\"group_size\": 4");
  write_file(dir.path() / nn::kConfigFile, config);
  fs::remove(dir.path() / "manifest.json");
  const ErrorParts e = error_of([&] { load_any(dir.path()); });
  CHECK(e.fault == Fault::input);
  CHECK(e.expected == "a multiple of 8");
  const auto plain = make_wide();
  CHECK(error_of([&] {
          FakeQuantizer(*plain, Training::ste, resolve({.weights = spec}, *plain), {});
        }).what.find("e8p") != std::string::npos);
}

}  // namespace own_levels_files_test
