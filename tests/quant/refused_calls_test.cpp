// Group sizes of nothing, tensors that lack parts and grids without steps are refused in every
// build, by all that would divide by them or read past them.
#include <functional>
#include <vector>

#include "quant/kernels/bits.h"
#include "quant/kernels/fake_quant.h"
#include "quant/kernels/hadamard.h"
#include "quant/kernels/round.h"
#include "quant/methods/gptq.h"
#include "quant/serve/served_matrix.h"
#include "quant/store/entropy_coder.h"
#include "quant/store/pack.h"
#include "tests/catch.h"

namespace notch::quant {
namespace {

using test::error_of;

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
      [&] { round_codes(codes, w, {scales, {}, 0}, grid_of(spec)); },
      [&] { round_codes(codes, w, {scales, {}, 5}, grid_of(spec)); },
      [&] { fake_quant(out, w, {scales, codes, -4}, grid_of(spec)); },
      [&] { dequantize_codes(std::span(out).first(4), codes, {scales, {}, 4}, grid_of(spec)); },
      [&] { lsq_backward(out, std::span(out).first(1), w, w, {scales, {}, 4}, grid_of(spec), 1); },
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
  for (std::size_t i = 0; i < calls.size(); ++i) {
    CAPTURE(i);
    CHECK(error_of(calls[i]).fault == Fault::usage);
  }
}

}  // namespace
}  // namespace notch::quant
