// Adapters beside packed codes: gradients through them, what ships against what was trained, bytes, merging.
#include "quant/train/adapters.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/thread_pool.h"
#include "quant/serve/served_matrix.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace adapters_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

const Spec kNf4 = nested_nf4(4);

std::vector<Spec> specs() {
  return {
      kNf4,
      {.bits = 8},
      {.bits = 3, .grid = GridKind::asymmetric, .granularity = Granularity::group, .group_size = 4},
      {.bits = 2, .grid = GridKind::seq, .scale = ScaleType::f16},
      {.bits = 4, .grid = GridKind::fp4, .granularity = Granularity::group, .group_size = 4}};
}

/// A base of codes and the model that holds it, with adapters.
struct Tuning {
  AnyModel original{};
  Quantized base{};
  std::unique_ptr<nn::Model> model{};
  std::unique_ptr<Adapters> adapters{};
};

Tuning begin(AnyModel original, const Spec& spec, const QloraOptions& options = {.rank = 3},
             bool rounds_inputs = false) {
  Tuning t{.original = copy_of(original)};
  Plan plan{.weights = spec, .table = Spec{.bits = 6, .scale = ScaleType::f16}};
  if (original.get().position_table()) plan.rules.push_back({"wpe", Spec{.bits = 8}});
  if (rounds_inputs) plan.activations = ActivationSpec{};
  t.base = post_training(original.get(), method("rtn"), resolve(plan, original.get()), {}, {});
  t.model = packed_twin(original.get(), t.base);
  t.adapters = std::make_unique<Adapters>(*t.model, resolve(plan, *t.model), t.base, options, 7);
  return t;
}

/// AdamW on the adapters alone; the losses.
std::vector<double> tune(Tuning& t, int steps) {
  ParamStore& own = t.adapters->params();
  own.allocate_gradients();
  optim::ParamGroup group;
  for (Param& p : own.params()) group.params.push_back(&p);
  optim::AdamW optimizer(std::vector<optim::ParamGroup>{group});
  const Text text(3);
  Graph g;
  std::vector<double> losses;
  for (int i = 0; i < steps; ++i) {
    own.zero_gradients();
    g.begin(Graph::Mode::training);
    const Var loss = t.model->loss(g, text.batch());
    losses.push_back(loss.item());
    g.backward(loss);
    optimizer.step(1e-2);
  }
  return losses;
}

AnyModel gpt(bool tied = true) {
  return any_model([=] { return make_gpt(config_of(tied, true)); });
}
AnyModel llama() {
  return any_model([] { return make_llama(false); });
}

TEST_CASE("packed weights have the gradient of dequantized ones") {
  for (const Spec& spec : specs()) {
    for (const auto& [rows, cols] :
         {std::pair<std::int64_t, std::int64_t>{48, 64}, {192, 128}, {1024, 768}}) {
      const std::vector<real> w = normal_matrix(rows * cols, 5);
      const Scales at = choose_scales(w, rows, cols, spec, RangeRule::absmax, "t").at;
      const QTensor q = quantize(w, rows, cols, spec, at, "t");
      const ServedMatrix matrix(q);
      std::vector<real> dense = dequantize(q);
      for (const std::int64_t tokens : {1, 5, 64}) {
        INFO(name_of(spec) << ", " << rows << " x " << cols << ", " << tokens << " tokens");
        std::vector<real> x = normal_matrix(tokens * cols, 6), dy = normal_matrix(tokens * rows, 7);
        Graph g;
        g.begin(Graph::Mode::training);
        const Var a = g.input({x.data(), {tokens, cols}});
        g.backward(served_product(a, {}, matrix), dy);
        const std::vector<real> packed = copy(g.grad(a));
        g.begin(Graph::Mode::training);
        const Var c = g.input({x.data(), {tokens, cols}});
        g.backward(linear(c, g.constant({dense.data(), {rows, cols}})), dy);
        CHECK(same_bits(packed, g.grad(c)));
      }
    }
  }
}

TEST_CASE("training beside codes moves nothing but adapters") {
  for (const Spec& spec : specs()) {
    for (const AnyModel& kind : {gpt(), gpt(false), llama()}) {
      INFO(name_of(spec) << ", " << kind.get().architecture());
      Tuning t = begin(copy_of(kind), spec);
      const TemporaryDirectory dir;
      for (const char* name : {"base", "tuned"}) fs::create_directory(dir / name);
      save_quantized(*t.model, t.base, dir / "base");
      const Text text(9);
      CHECK(same_bits(logits_of(*t.model, text),
                      logits_of(*load_runnable(dir / "base").model, text)));
      std::vector<real> floats;
      for (const Param& p : t.model->params().params()) {
        const bool coded =
            std::ranges::find(t.base.tensors, p.name, &NamedQTensor::name) != t.base.tensors.end();
        CHECK((p.value.data == nullptr) == (coded && p.name != "wpe.weight"));
        if (p.value.data) floats.insert(floats.end(), p.value.flat().begin(), p.value.flat().end());
      }
      const std::vector<double> losses = tune(t, 40);
      CHECK(losses.back() < losses.front());
      std::vector<real> after;
      for (const Param& p : t.model->params().params())
        if (p.value.data) after.insert(after.end(), p.value.flat().begin(), p.value.flat().end());
      CHECK(same_bits(after, floats));
      const Quantized tuned = t.adapters->convert();
      std::int64_t factors = 0;
      for (std::size_t i = 0; i < tuned.tensors.size(); ++i) {
        const NamedQTensor& tensor = tuned.tensors[i];
        CHECK(tensor.q == t.base.tensors[i].q);
        const bool in_block =
            tensor.name.starts_with("h.") || tensor.name.starts_with("model.layers");
        REQUIRE(tensor.change.side.has_value() == in_block);
        if (in_block) factors += 2 * 3 * (tensor.q.rows + tensor.q.cols);
      }
      // The file has two bytes for each number of a factor, and is the model that was trained.
      CHECK(predict_size(*t.model, tuned).bytes() - predict_size(*t.model, t.base).bytes() ==
            factors);
      save_quantized(*t.model, tuned, dir / "tuned");
      const std::vector<real> trained = logits_of(*t.model, text);
      CHECK(same_bits(trained, logits_of(*load_runnable(dir / "tuned").model, text)));
      const std::vector<real> read = logits_of(*load_any(dir / "tuned").model, text);
      for (std::size_t i = 0; i < read.size(); ++i)
        CHECK(read[i] == Approx(trained[i]).epsilon(1e-4).margin(1e-4));
    }
  }
}

TEST_CASE("adapters learn beside rounded inputs") {
  Tuning t = begin(llama(), {.bits = 4}, {.rank = 3}, true);
  const std::vector<double> losses = tune(t, 40);
  CHECK(losses.back() < losses.front());
  const TemporaryDirectory dir;
  save_quantized(*t.model, t.adapters->convert(), dir.path());
  const Text text(9);
  const std::vector<real> trained = logits_of(*t.model, text),
                          served = logits_of(*load_runnable(dir.path()).model, text);
  for (std::size_t i = 0; i < served.size(); ++i)
    CHECK(served[i] == Approx(trained[i]).epsilon(1e-4).margin(1e-4));
}

TEST_CASE("adapters of a rank above a matrix' smaller side are refused") {
  CHECK_NOTHROW(begin(gpt(), kNf4, {.rank = 12}));
  const ErrorParts parts = error_of([] { begin(gpt(), kNf4, {.rank = 13}); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.field == "qlora.rank");
  CHECK(parts.found == "13");
  CHECK(parts.expected == "at most 12");
}

TEST_CASE("adapters are the same for every number of threads") {
  const int before = threads();
  std::vector<real> reference;
  for (const int n : {1, 3}) {
    set_threads(n);
    Tuning t = begin(gpt(), kNf4);
    tune(t, 5);
    const std::vector<real> values = values_of(t.adapters->params());
    if (reference.empty()) reference = values;
    CHECK(same_bits(values, reference));
  }
  set_threads(before);
}

// Of ŵ + up down to the nearest code on a range that clips nothing every weight moves by at most half a
// step, so the product of a row by at most Σ |x| s / 2.
TEST_CASE("merging moves each weight by half a step at most") {
  const Spec spec{.bits = 4, .granularity = Granularity::group, .group_size = 4};
  Tuning t = begin(gpt(), spec);
  tune(t, 40);
  const Quantized tuned = t.adapters->convert();
  AnyModel dense = copy_of(t.original);
  absorb_products(tuned, dense.params());
  const AnyModel sums = copy_of(dense);
  Plan plan{.weights = spec};
  const Quantized merged =
      post_training(dense.get(), method("rtn"), resolve(plan, dense.get()), {}, {});
  int moved = 0;
  for (const NamedQTensor& m : merged.tensors) {
    const auto at = std::ranges::find(tuned.tensors, m.name, &NamedQTensor::name);
    REQUIRE(at != tuned.tensors.end());
    const SideProduct& side = *at->change.side;
    const std::vector<real> base = dequantize(at->q), codes = dequantize(m.q);
    const std::span<const real> sum = sums.params().find(m.name)->value.flat();
    const std::vector<real> x = normal_matrix(m.q.cols, 11);
    for (std::int64_t r = 0; r < m.q.rows; ++r) {
      double unmerged = 0, ships = 0, bound = 0, size = 0;
      for (std::int64_t c = 0; c < m.q.cols; ++c) {
        const auto i = static_cast<std::size_t>(r * m.q.cols + c);
        double w = double(base[i]);
        for (std::int64_t k = 0; k < side.rank; ++k)
          w += double(side.up[std::size_t(r * side.rank + k)]) *
               double(side.down[std::size_t(k * m.q.cols + c)]);
        CHECK(double(sum[i]) == Approx(w).epsilon(1e-6).margin(1e-7));
        const double v = double(x[std::size_t(c)]);
        unmerged += v * w;
        ships += v * double(codes[i]);
        bound += std::abs(v) * double(m.q.at.scales[i / 4]) / 2;
        size += std::abs(v * w);
        moved += codes[i] != base[i];
      }
      CHECK(std::abs(ships - unmerged) <= bound + 1e-6 * size);
    }
  }
  CHECK(moved > 0);
}

TEST_CASE("adapters say what they cannot begin with") {
  AnyModel original = gpt();
  const Plan plan{.weights = {.bits = 4}};
  AnyModel model = copy_of(original);
  Quantized base = post_training(model.get(), method("rtn"), resolve(plan, model.get()), {}, {});
  const auto refused = [&](const Quantized& codes) {
    const std::unique_ptr<nn::Model> twin = packed_twin(model.get(), codes);
    return error_of([&] { Adapters(*twin, resolve(plan, *twin), codes, {}, 1); });
  };
  Quantized changed = base;
  changed.tensors[1].change.multiply.assign(std::size_t(changed.tensors[1].q.cols), 1);
  CHECK(refused(changed).fault == Fault::usage);
  base.tensors.pop_back();
  base.layers.pop_back();
  CHECK(refused(base).fault == Fault::usage);

  Tuning t = begin(gpt(), kNf4);
  t.adapters->params().params()[1].value.data[0] = 1e6;  // no float16
  CHECK(error_of([&] { static_cast<void>(t.adapters->convert()); }).fault == Fault::numeric);
}

}  // namespace adapters_test
