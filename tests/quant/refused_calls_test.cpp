// Group sizes of nothing, tensors that lack parts and grids without steps are refused in every
// build, by all that would divide by them or read past them.
#include "tests/refused_calls.h"

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "quant/kernels/bits.h"
#include "quant/kernels/fake_quant.h"
#include "quant/kernels/hadamard.h"
#include "quant/kernels/input_gradients.h"
#include "quant/kernels/integer_gradients.h"
#include "quant/kernels/packed.h"
#include "quant/kernels/round.h"
#include "quant/kernels/singular_values.h"
#include "quant/kernels/split_rows.h"
#include "quant/methods/allocation.h"
#include "quant/methods/gptq.h"
#include "quant/methods/gptq_factor.h"
#include "quant/methods/hadamard.h"
#include "quant/methods/leave_one_out.h"
#include "quant/methods/wanda.h"
#include "quant/numbers/additive_codes.h"
#include "quant/numbers/gaussian_fit.h"
#include "quant/numbers/learned_levels.h"
#include "quant/numbers/nested_scales.h"
#include "quant/numbers/observers.h"
#include "quant/numbers/own_levels.h"
#include "quant/ops/changed_input.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/input_ops.h"
#include "quant/ops/learned_codebook.h"
#include "quant/ops/soft_codes.h"
#include "quant/ops/sparse_linear.h"
#include "quant/serve/kv_cache.h"
#include "quant/serve/served_matrix.h"
#include "quant/store/entropy_coder.h"
#include "quant/store/gguf_blocks.h"
#include "quant/store/gguf_superblocks.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/pack.h"
#include "quant/store/pruned_tensor.h"
#include "tests/catch.h"

namespace notch::quant::refused_calls_test {

using test::check_refused;

TEST_CASE("calls that no quantized tensor can have are refused") {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  const Spec no_group{.granularity = Granularity::group}, bits{.bits = 0}, wide{.bits = 40};
  const Spec spec{.bits = 4};
  const auto tensor = [&](std::size_t codes, std::size_t scales) {
    QTensor q{.spec = spec, .rows = 2, .cols = 4};
    q.codes.resize(codes);
    q.at.scales.assign(scales, real{1});
    return q;
  };
  const std::vector<real> w(8, real{1}), scales(2, real{1});
  std::vector<real> out(8);
  std::vector<std::int8_t> codes(8);
  std::vector<std::uint8_t> bytes(2);
  const std::vector<std::function<void()>> calls{
      [&] { unit_size(no_group, 2, 4); },
      [&] { unit_count(no_group, 2, 4); },
      [&] { unit_count(spec, kHuge, kHuge); },
      [&] { unit_count(spec, -2, -4); },
      [&] { packed_bytes(bits, 4); },
      [&] { packed_bytes(wide, 4); },
      [&] { packed_bytes(spec, -1); },
      [&] { storage_bytes(no_group, 2, 4); },
      [&] { quantize(w, 2, 4, no_group, {}, "w"); },
      [&] { dequantize(tensor(8, 1)); },
      [&] { dequantize(tensor(0, 2), {}); },
      [&] { pack(tensor(8, 0)); },
      [&] { pack(tensor(7, 2)); },
      [&] { ServedLanes matrix(tensor(4, 2)); },
      [&] { ServedLanes matrix(tensor(8, 1)); },
      [&] { ServedPanels matrix(tensor(8, 3)); },
      [&] {
        round_codes(codes, w, {scales, {}, 0}, grid_of(spec));
      },
      [&] {
        round_codes(codes, w, {scales, {}, 5}, grid_of(spec));
      },
      [&] {
        fake_quant(out, w, {scales, codes, -4}, grid_of(spec));
      },
      [&] {
        dequantize_codes(std::span(out).first(4), codes, {scales, {}, 4}, grid_of(spec));
      },
      [&] {
        lsq_backward(out, std::span(out).first(1), w, w, {scales, {}, 4}, grid_of(spec), 1);
      },
      [&] { pack_row(bytes, codes, 4, grid_of(spec)); },
      [&] { unpack_row(codes, bytes, 0, grid_of(spec)); },
      [&] { rotate_rows(out, std::span(codes).first(3)); },
      [&] { rotate_rows_back(out, {}); },
      [&] { pack_trits(std::span(bytes).first(1), codes); },
      [&] { encode_codes(codes, {.qmin = 0, .qmax = 0, .step = 0}); },
      [&] { decode_codes(bytes, -1, grid_of(spec), "stream"); },
      [&] { Hessian hessian(-1); },
      [&] { Hessian hessian(kHuge); },
  };
  check_refused(calls);
}

constexpr std::int64_t kHuge = std::int64_t{1} << 40;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

TEST_CASE("kernels of integers refuse shapes and memory of none") {
  const IntegerShape none{}, narrow{.N = 16, .K = 32, .bits = 4};
  std::vector<real> out(64);
  std::vector<double> doubles(16);
  std::vector<std::int8_t> codes(16, 1);
  std::vector<std::uint8_t> bytes(256);
  const std::span<const real> x(out);
  const PackedRows unset{}, no_unit{.rows = 1, .cols = 16},
      no_memory{.rows = 1, .cols = 16, .unit = 16};
  const nn::GgufType no_block{.id = 99, .name = "X", .block = 0, .bytes = 0};
  check_refused({
      [&] { quantize_rows({}, {}, {}, 0, none, {}); },
      [&] { split_rows({}, {}, 0, none); },
      [&] { round_gradients({}, {}, 0, none, 1); },
      [&] { dequantize_rows({}, {}, 0, none); },
      [&] { integer_linear({}, {}, {.shape = none}, {}, 0); },
      [&] { narrow_linear({}, {}, {.shape = none}, {}, 0); },
      [&] { dequantize_narrow_row(out, {.shape = narrow}, 0); },
      [&] { dequantize_narrow_row(out, {.shape = narrow, .memory = bytes.data()}, 16); },
      [&] { dequantize_row(out, unset, 0); },
      [&] { dequantize_row(out, no_unit, 0); },
      [&] { dequantize_row(out, no_memory, 0); },
      [&] { packed_gemv(out.data(), 1, out.data(), 16, 1, no_memory, nullptr, 0, 1); },
      [&] { packed_gemv(nullptr, 0, nullptr, 0, 1, unset, nullptr, 0, 1); },
      [&] { repack_row({}, codes, 4, -8); },
      [&] { repack_row(bytes, codes, 0, 0); },
      [&] { input_backward({}, x, {}, true); },
      [&] { orthonormalise(doubles, 5, 5); },
      [&] { singular_values({}, kHuge, kHuge, "test"); },
      [&] { decode_super({}, {}); },
      [&] { decode_blocks(no_block, {}, out); },
      [&] { gptq_stream(bytes, 0); },
      [&] { gptq_stream(bytes, -1); },
      [&] { gptq_values({}, 0); },
  });
}

TEST_CASE("grids of widths that no format has are refused") {
  std::vector<real> unit{1, -2};
  for (const Spec& spec :
       {Spec{.bits = 0}, Spec{.bits = -1}, Spec{.bits = 9, .grid = GridKind::learned}}) {
    check_refused({[&] { grid_of(spec); }, [&] { scale_unit(unit, spec, 1); },
                   [&] { best_ratio(unit, spec); }, [&] { held_bits(spec); },
                   [&] { leave_one_out_gains(unit, {}, spec); }});
  }
  check_refused({[] { gaussian_error(grid_of({.bits = 4}), 0); },
                 [] { gaussian_scale({.qmin = 0, .qmax = 0}); },
                 [] { gaussian_scale({.qmin = -7, .qmax = 7, .step = 0}); }});
}

TEST_CASE("tensors that lack their parts are refused") {
  const Spec words{.bits = 2, .grid = GridKind::e8p}, nested{.bits = 4, .scale = ScaleType::nested},
      bilevel{.bits = 4, .scale = ScaleType::bilevel}, four{.bits = 4};
  const std::vector<real> w(16, real{1});
  std::vector<real> out(16);
  const std::vector<std::uint8_t> keep(16, 1);
  const auto bare = [](const Spec& spec) { return QTensor{.spec = spec, .rows = 2, .cols = 8}; };
  QTensor lattice = bare(words), pair = bare(bilevel), scaled = bare(nested);
  const QTensor whole = quantize(w, 2, 8, four, {std::vector<real>(2, real{1})}, "test");
  const ServedLanes lanes(whole);
  const ServedPanels panels(whole);
  check_refused({
      [&] { encode(lattice, w); },
      [&] { decode(bare(words), out); },
      [&] { choose_levels(std::span(w).first(5), 2, 8, words, "test"); },
      [&] { nest_scales(scaled); },
      [&] { round_bilevel(pair, 0, 0, {}); },
      [&] { unit_grid({.spec = {.bits = 4, .grid = GridKind::learned}, .rows = 1, .cols = 8}, 0); },
      [&] { pack_mask({}, 2, 2); },
      [&] { pack_mask(keep, kHuge, kHuge); },
      [&] { unpack_mask({}, -1, -1, "test"); },
      [&] { spread_codes({}, keep, four, 2, 8, {}); },
      [&] { lanes.dequantize_row({}, 0); },
      [&] { lanes.dequantize_row(out, 2); },
      [&] { panels.dequantize_row({}, 0); },
      [&] { panels.dequantize_row(out, -1); },
      [&] { ServedWords(words, 2, 8).dequantize_row(out, 7); },
      [&] { ServedMatrix matrix(four, 0, 0); },
      [&] { ServedMatrix matrix(four, 2, 0); },
      [&] { ServedMatrix matrix(four, kHuge, kHuge); },
      [&] { ServedLanes matrix({.bits = 4, .granularity = Granularity::tensor}, -2, -8); },
      [&] { BeamSearch search(Codebooks(2, 16, w), {}, 1); },
      [&] { BeamSearch search(Codebooks(-1, 16, {}), {}, 1); },
      [&] {
        best_levels(std::vector<double>{1, 2}, {}, 1 << 30);
      },
      [&] { Observer({.range = ActivationRange::fixed}, kMost); },
      [&] { Observer({.range = ActivationRange::fixed}, 2).range(2); },
      [&] { refit_levels({}, {}, w, ScaleType::f32); },
      [&] { shift_levels(std::span(out).first(2), std::span(w).first(2), {}, ScaleType::f32); },
      [&] { kv_cache_bytes(KvKind::int8, {}); },
      [&] { make_kv_cache(KvKind::fp16, {}); },
      [&] {
        make_kv_cache(KvKind::int8, {1, 1, 4, kMost});
      },
  });
}

TEST_CASE("ops refuse side products and masks of another input") {
  std::vector<real> values(18, real{1}), two{1, 1};
  Graph g;
  g.begin(Graph::Mode::training);
  const Var x = g.input({values.data(), {2, 8}}), empty = g.input({nullptr, {0, 8}});
  const Var logits = g.input({values.data(), {6, 3}}), logs = g.input({two.data(), {2}});
  const std::vector<std::uint16_t> column{1}, outside{9};
  const std::vector<real> one{1};
  const auto sparse = [&](const std::vector<std::int32_t>& starts,
                          const std::vector<std::uint16_t>& columns) {
    sparse_linear(x, {starts, columns, one, 8});
  };
  const auto beside = [](SideProduct side) { RunnableChange change({.side = std::move(side)}, 4); };
  const SoftCodes soft{.rows = 2, .cols = 3, .unit = 3, .levels = values, .scales = two};
  SoftCodes no_unit = soft;
  no_unit.unit = 0;
  check_refused({
      [&] { sparse_linear(x, {}); },
      [&] {
        sparse({0, 5}, column);
      },
      [&] {
        sparse({0, -1}, column);
      },
      [&] {
        sparse({0, 1}, outside);
      },
      [&] { beside({.channels = {99}, .up = {1}, .rank = 1}); },
      [&] { beside({.channels = {-1}, .up = {1}, .rank = 1}); },
      [&] { beside({.down = {1}, .up = {1}, .rank = 9}); },
      [&] { beside({.down = {1}, .up = {1}, .rank = -1}); },
      [&] { fake_quant_ste(empty, {.bits = 4}, {}, Ste::clipped); },
      [&] { soft_codes(logits, logs, no_unit, 1); },
      [&] { soft_codes(logits, logs, soft, 0); },
      [&] {
        quantize_input(g.input({nullptr, {2, 0}}), {});
      },
  });
}

TEST_CASE("searches refuse layers without choices, and NaN costs") {
  using Layers = std::vector<std::vector<Choice>>;
  const Layers none{{}}, huge{{{kMost, 1}}, {{kMost, 1}}}, negative{{{-1, 1}}};
  const std::vector<double> nan{std::nan(""), 1}, two{1, 2}, H(16, 1);
  const std::vector<real> w(16);
  check_refused({
      [&] { least_cost(none, 5); },
      [&] { least_bytes(none, 5); },
      [&] { by_threshold(none, 5); },
      [&] { least_cost(huge, kMost); },
      [&] { by_threshold(huge, kMost); },
      [&] { least_cost(negative, 5); },
      [&] { rank_correlation(nan, two); },
      [&] { order_columns({}, 4, true, "test"); },
      [&] { order_columns(H, -4, true, "test"); },
      [&] { order_columns(H, kHuge, false, "test"); },
      [&] { damped_cholesky({}, order_columns(H, 4, false, "test"), 0.01, "test"); },
      [&] { damped_cholesky(H, order_columns(H, 4, false, "test"), -1, "test"); },
      [&] { damped_cholesky(H, order_columns(H, 4, false, "test"), std::nan(""), "test"); },
      [&] { pack_factor({.K = 4}); },
      [&] { wanda_scores(w, 0, {}); },
      [&] { wanda_scores(w, kHuge, {}); },
      [&] { rotation_signs(-1); },
      [&] { rotation_signs(kMost); },
  });
}

}  // namespace notch::quant::refused_calls_test
