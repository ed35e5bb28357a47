// Wanda and SparseGPT against direct computations, their order, and pruned matrices in files.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/base/thread_pool.h"
#include "quant/methods/magnitude.h"
#include "quant/methods/sparsegpt.h"
#include "quant/methods/wanda.h"
#include "quant/numbers/find_named.h"
#include "quant/store/model_files.h"
#include "quant/store/pruned_tensor.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"
#include "tests/quant/tiny_models.h"

namespace sparsity_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

/// A layer whose inputs are correlated and of different sizes.
struct Layer {
  std::int64_t rows = 70, cols = 48;  // a strip of 64 rows and a part of one
  std::vector<real> w, x;
  Matrix H;

  explicit Layer(std::uint64_t seed, std::int64_t columns = 48) : cols(columns) {
    w = normal_matrix(rows * cols, 40 + seed, 0.1);
    x = correlated_inputs(300, cols, seed);
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] *= static_cast<real>(0.2 + static_cast<double>(i % at(cols) * 7 % 5));
    H = hessian_of(x, cols);
  }
  /// Σ over the text and the outputs of (x dwᵀ)², per row of text: by the inputs, not by H.
  double error(std::span<const real> after) const {
    double sum = 0;
    const std::int64_t n = std::ssize(x) / cols;
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t r = 0; r < rows; ++r) {
        double y = 0;
        for (std::int64_t c = 0; c < cols; ++c) {
          const std::size_t i = at(r * cols + c);
          y += double(x[at(t * cols + c)]) * (double(w[i]) - double(after[i]));
        }
        sum += y * y;
      }
    return sum / double(n);
  }
};

TEST_CASE("Wanda keeps each row's largest |w| times norm of the input") {
  const Layer l(1);
  std::vector<double> norms(at(l.cols));
  for (std::size_t i = 0; i < l.x.size(); ++i)
    norms[i % norms.size()] += double(l.x[i]) * double(l.x[i]);
  const Keep keep = keep_largest(wanda_scores(l.w, l.cols, l.H), l.rows, l.cols, {.sparsity = 0.75},
                                 Within::row, "t");
  for (std::int64_t r = 0; r < l.rows; ++r) {
    std::vector<std::pair<double, std::size_t>> scores;
    for (std::int64_t c = 0; c < l.cols; ++c) {
      const std::size_t i = at(r * l.cols + c);
      scores.emplace_back(std::abs(double(l.w[i])) * std::sqrt(norms[at(c)]), i);
    }
    std::ranges::sort(scores);
    for (std::size_t k = 0; k < scores.size(); ++k)
      CHECK(keep[scores[k].second] == (k >= 36));  // three quarters of 48 go
  }
}

TEST_CASE("SparseGPT with N:M is the OBS recursion") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Layer l(seed);
    for (const Pattern pattern : {Pattern::two_of_four, Pattern::four_of_eight}) {
      const auto [kept, of] = size_of(pattern);
      const Pruned p = sparsegpt(l.w, l.rows, l.cols, l.H, {.pattern = pattern}, "t");
      const reference::Values naive =
          reference::sparsegpt(l.w, l.rows, l.cols, kept, of, l.H, kSparseGptDamp);
      // Sums of up to 48 terms in single precision, of weights that stay below 2: 48 · 2^-24 · 2.
      for (std::size_t i = 0; i < naive.size(); ++i) {
        REQUIRE(double(p.w[i]) == Approx(naive[i]).margin(6e-6));
        REQUIRE((p.keep[i] != 0) == (naive[i] != 0));
      }
    }
  }
}

TEST_CASE("SparseGPT prunes the least errors of the next 128 columns") {
  const Layer l(3, 160);
  const Pruned p = sparsegpt(l.w, l.rows, l.cols, l.H, {.sparsity = 0.3}, "t");
  // Of the first 128 columns nothing has moved when their mask is chosen.
  const Matrix full = reference::damped(l.H, l.cols, kSparseGptDamp);
  std::vector<double> d(128);
  for (std::int64_t c = 0; c < 128; ++c) {
    // [H⁻¹]_cc once the columns before c are gone: of the lower right part of H + λI.
    const std::int64_t n = l.cols - c;
    Matrix part(at(n * n));
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j) part[at(i * n + j)] = full[at((c + i) * l.cols + c + j)];
    d[at(c)] = reference::inverse(part, n)[0];
  }
  std::vector<std::pair<double, std::size_t>> scores;
  for (std::int64_t r = 0; r < l.rows; ++r)
    for (std::int64_t c = 0; c < 128; ++c) {
      const std::size_t i = at(r * l.cols + c);
      scores.emplace_back(std::abs(double(l.w[i])) / std::sqrt(d[at(c)]), i);
    }
  std::ranges::sort(scores);
  const std::size_t zeros = 2688;  // 0.3 · 70 · 128
  for (std::size_t k = 0; k < scores.size(); ++k) {
    // In single precision neighbours may change places.
    if (k + 2 >= zeros && k < zeros + 2) continue;
    CHECK((p.keep[scores[k].second] != 0) == (k >= zeros));
  }
  CHECK(std::ranges::count(p.keep, 0) == 2688 + 672);  // and 0.3 · 70 · 32
}

TEST_CASE("where nothing is rounded pruning sees what tables hold") {
  const std::vector<std::int32_t> ids = Text(5, 8).ids;
  const std::vector<nn::Tokens> text{{ids, 8, 8}};
  const PostTrainingOptions options{.prune = {.method = "sparsegpt", .sparsity = 0.5}};
  const auto planned = make_gpt(), without = make_gpt();
  prune(*planned, resolve({.weights = {.bits = 8}, .table = Spec{.bits = 2}}, *planned), text,
        options);
  prune(*without, resolve({.weights = {.bits = 8}, .table = std::nullopt}, *without), text,
        options);
  for (const Param& p : planned->params().params())
    CHECK(same_bits(p.value.flat(), without->params().find(p.name)->value.flat()));
}

TEST_CASE("without pruned weights SparseGPT is GPTQ, to the bit") {
  const Layer l(2);
  const Pruned p = sparsegpt(l.w, l.rows, l.cols, l.H, {.sparsity = 0}, "t");
  CHECK(same_bits(p.w, l.w));
  CHECK(p.keep == Keep(l.w.size(), 1));
  for (const Spec& spec : all_specs(16)) {
    if (spec.scale != ScaleType::f32) continue;
    INFO(name_of(spec));
    CHECK(gptq(l.w, l.rows, l.cols, spec, l.H, {}, "t", p.keep).q ==
          gptq(l.w, l.rows, l.cols, spec, l.H, {}, "t").q);
  }
  const auto model = make_gpt(), pruned = make_gpt();
  const std::vector<std::int32_t> ids = Text(5, 8).ids;
  const std::vector<nn::Tokens> text{{ids, 8, 8}};
  const Plan plan{.weights = {.bits = 3}, .table = Spec{.bits = 8}};
  const Quantized a = post_training(*model, method("gptq"), resolve(plan, *model), text, {});
  const Quantized b = post_training(*pruned, method("gptq"), resolve(plan, *pruned), text,
                                    {.prune = {.method = "sparsegpt", .sparsity = 0}});
  for (std::size_t i = 0; i < a.tensors.size(); ++i) CHECK(a.tensors[i].q == b.tensors[i].q);
}

TEST_CASE("output errors: SparseGPT below Wanda below magnitude") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Layer l(seed);
    for (const PruneOptions& options :
         {PruneOptions{}, PruneOptions{.pattern = Pattern::two_of_four},
          PruneOptions{.pattern = Pattern::four_of_eight}}) {
      const Keep by_size =
                     keep_largest(magnitudes_of(l.w), l.rows, l.cols, options, Within::matrix, "t"),
                 by_input = keep_largest(wanda_scores(l.w, l.cols, l.H), l.rows, l.cols, options,
                                         Within::row, "t");
      const Pruned obs = sparsegpt(l.w, l.rows, l.cols, l.H, options, "t");
      const double magnitude = l.error(kept_weights(l.w, by_size)),
                   wanda = l.error(kept_weights(l.w, by_input)), sparse = l.error(obs.w);
      CHECK(sparse < wanda);
      CHECK(wanda < magnitude);
      // One sweep that rounds and prunes is better than rounding what was pruned.
      const Spec int4{.bits = 4};
      const GptqResult joint = gptq(l.w, l.rows, l.cols, int4, l.H, {}, "t", obs.keep);
      CHECK(l.error(dequantize(joint.q)) <
            l.error(dequantize(rtn(obs.w, l.rows, l.cols, int4, RangeRule::mse))));
    }
  }
}

TEST_CASE("SparseGPT gives the same bits for one, two and three threads") {
  const int before = threads();
  const Layer l(1, 160);
  std::vector<real> expected;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    const Pruned p = sparsegpt(l.w, l.rows, l.cols, l.H, {}, "t");
    if (expected.empty()) expected = p.w;
    CHECK(same_bits(p.w, expected));
  }
  set_threads(before);
}

TEST_CASE("masks in files: a bit per weight, nothing beyond a row") {
  const Keep keep{1, 0, 0, 1, 1, 0, 1, 1, 1, 0,  //
                  0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
  const std::vector<std::uint8_t> bytes = pack_mask(keep, 2, 10);
  CHECK(bytes == std::vector<std::uint8_t>{0b11011001, 0b01, 0b00000010, 0b10});
  CHECK(unpack_mask(bytes, 2, 10, "t") == keep);
  std::vector<std::uint8_t> bad = bytes;
  bad[1] |= 0b100;
  const ErrorParts parts = error_of([&] { unpack_mask(bad, 2, 10, "t"); });
  CHECK(parts.fault == Fault::input);
  CHECK(parts.found == "row 0, column 10");
}

std::int64_t bytes_of(const fs::path& dir, std::string_view name) {
  const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir / nn::kWeightsFile);
  const nn::TensorEntry* entry = file.find(name);
  return entry ? static_cast<std::int64_t>(entry->bytes) : -1;
}

TEST_CASE("a pruned model is read back, in the bytes that were predicted") {
  for (const Spec& spec :
       {Spec{.bits = 4}, Spec{.bits = 8}, Spec{.bits = 2, .grid = GridKind::ternary},
        Spec{.bits = 4, .grid = GridKind::nf4},
        Spec{.bits = 3,
        .grid = GridKind::asymmetric,
        .granularity = Granularity::group,
        .group_size = 4},
        Spec{.bits = 5, .grid = GridKind::asymmetric, .granularity = Granularity::tensor}}) {
    for (const PruneOptions& prune :
         {PruneOptions{.method = "magnitude", .pattern = Pattern::two_of_four},
          PruneOptions{.method = "magnitude", .sparsity = 0.6}}) {
      for (const Coding coding : {Coding::packed, Coding::entropy}) {
        INFO(name_of(spec) << (coding == Coding::packed ? "" : ", coded"));
        const auto model = make_gpt();
        const Plan plan{.weights = spec, .table = Spec{.bits = 8}};
        const Quantized q =
            post_training(*model, method("rtn"), resolve(plan, *model), {}, {.prune = prune});
        const TemporaryDirectory directory;
        save_quantized(*model, q, directory.path(), Json::object(), coding);
        const auto size = predict_size(*model, q, 32, coding);
        CHECK(size.file_bytes() ==
              static_cast<std::int64_t>(fs::file_size(directory / nn::kWeightsFile)));
        const LoadedModel loaded = load_any(directory.path());
        REQUIRE(loaded.tensors.size() == q.tensors.size());
        for (const NamedQTensor& t : loaded.tensors)  // in the file's order
          CHECK(t.q == std::ranges::find(q.tensors, t.name, &NamedQTensor::name)->q);
        REQUIRE(loaded.masks.size() == q.masks.size());
        for (const NamedMask& m : loaded.masks) CHECK(m.keep == find_named(q.masks, m.name)->keep);
        CHECK(same_bits(logits_of(*loaded.model, Text(3)), logits_of(*model, Text(3))));
        const RunnableModel runs = load_runnable(directory.path());
        const std::vector<real> served = logits_of(*runs.model, Text(3)),
                                expected = logits_of(*model, Text(3));
        for (std::size_t i = 0; i < served.size(); ++i)
          CHECK(double(served[i]) == Approx(double(expected[i])).margin(1e-4));
      }
    }
  }
}

TEST_CASE("2:4 takes two codes and four bits of mask per four weights") {
  const auto model = make_gpt();
  const Plan plan{.weights = {.bits = 4}, .table = Spec{.bits = 8}};
  const Quantized q =
      post_training(*model, method("rtn"), resolve(plan, *model), {},
                    {.prune = {.method = "magnitude", .pattern = Pattern::two_of_four}});
  const TemporaryDirectory directory;
  save_quantized(*model, q, directory.path());
  // mlp.c_fc is [48, 12]: 288 codes of 4 bits; 48 rows of 12 bits in 2 bytes.
  CHECK(bytes_of(directory.path(), "h.0.mlp.c_fc.weight.codes") == 144);
  CHECK(bytes_of(directory.path(), "h.0.mlp.c_fc.weight.mask") == 96);
}

TEST_CASE("a pruned model in half precision has the weights that are kept") {
  const auto model = make_gpt();
  const Plan plan{.weights = {.bits = 8}, .table = Spec{.bits = 8}};
  const Quantized q = prune(*model, resolve(plan, *model), {},
                            {.prune = {.method = "magnitude", .pattern = Pattern::two_of_four}});
  for (const nn::DType type : {nn::DType::f16, nn::DType::f32}) {
    const TemporaryDirectory directory;
    save_quantized(*model, q, directory.path(), Json::object(), Coding::packed, type);
    const int bits = type == nn::DType::f16 ? 16 : 32;
    CHECK(predict_size(*model, q, bits).file_bytes() ==
          static_cast<std::int64_t>(fs::file_size(directory / nn::kWeightsFile)));
    const LoadedModel loaded = load_any(directory.path());
    CHECK(loaded.tensors.empty());
    CHECK(loaded.masks.size() == 8);
    for (const Param& p : model->params().params()) {
      const std::span<const real> now = loaded.model->params().find(p.name)->value.flat();
      for (std::size_t i = 0; i < now.size(); ++i) {
        // 2^-11 of a weight: half a unit in the last place of half precision.
        const double unit = type == nn::DType::f16 ? std::abs(double(p.value.flat()[i])) / 2048 : 0;
        REQUIRE(double(now[i]) == Approx(double(p.value.flat()[i])).margin(unit).epsilon(0));
      }
    }
    CHECK(same_bits(logits_of(*load_runnable(directory.path()).model, Text(3)),
                    logits_of(*loaded.model, Text(3))));
  }
}

TEST_CASE("damaged pruned files are refused and name the tensor") {
  const auto model = make_gpt();
  const Plan plan{.weights = {.bits = 4}, .table = Spec{.bits = 8}};
  const Quantized q = post_training(*model, method("rtn"), resolve(plan, *model), {},
                                    {.prune = {.method = "magnitude"}});
  const TemporaryDirectory directory;
  Quantized alone = q;
  alone.tensors.clear();
  for (const Quantized& each : {q, alone}) {
    save_quantized(*model, each, directory.path());
    const fs::path weights = directory / nn::kWeightsFile;
    std::string bytes = read_file(weights);
    {
      // One weight more, or less, than the mask was written with.
      const nn::SafetensorsFile file = nn::SafetensorsFile::open(weights);
      const auto entry = std::ranges::find_if(
          file.entries(), [](const nn::TensorEntry& e) { return e.name.ends_with(".mask"); });
      REQUIRE(entry != file.entries().end());
      bytes[entry->offset] = static_cast<char>(bytes[entry->offset] ^ 1);
    }
    write_file(weights, bytes);
    CHECK(error_of([&] { load_any(directory.path()); }).fault == Fault::input);
  }
  save_quantized(*model, q, directory.path());
  Quantized wrong = q;
  *std::ranges::find(wrong.masks[0].keep, 1) = 0;  // prunes a weight that is not 0
  const ErrorParts parts = error_of([&] { save_quantized(*model, wrong, directory.path()); });
  CHECK(parts.fault == Fault::usage);
  Json config = Json::parse(read_file(directory / nn::kConfigFile), "t");
  std::string text = config.dump();
  const std::size_t at_masks = text.find("\"masks\"");
  REQUIRE(at_masks != std::string::npos);
  text.replace(text.find('[', at_masks), 1, "[\"no.such.tensor\",");
  write_file(directory / nn::kConfigFile, text);
  CHECK(error_of([&] { load_any(directory.path()); }).fault == Fault::input);
}

}  // namespace sparsity_test
