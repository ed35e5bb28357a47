#include "experiments/program/inspect_spectrum.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "experiments/program/command_tools.h"
#include "experiments/show/table.h"
#include "quant/kernels/singular_values.h"
#include "quant/numbers/find_named.h"

namespace notch::experiments {
namespace {

/// σ at places spread evenly from the first to the last, by height between 0 and σ_1; the bar at the
/// elbow stands between points.
std::string bars(std::span<const double> sigma, std::int64_t bend) {
  constexpr std::array<const char*, 9> kHeights{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::int64_t kMost = 32;
  const std::int64_t n = std::ssize(sigma), shown = std::min(n, kMost);
  std::string out;
  std::int64_t before = -1;
  for (std::int64_t i = 0; i < shown; ++i) {
    const std::int64_t k = shown == 1 ? 0 : i * (n - 1) / (shown - 1);
    const double height = sigma[static_cast<std::size_t>(k)] / sigma[0];
    const auto step = static_cast<std::size_t>(std::ceil(8 * height));
    const bool bends = before < bend - 1 && bend - 1 <= k;
    out += str(bends ? "·" : "", kHeights[std::min<std::size_t>(step, 8)], bends ? "·" : "");
    before = k;
  }
  return out;
}

/// Numbers of two factors of that rank, in percent of the matrix's.
double share(std::int64_t rank, std::int64_t rows, std::int64_t cols) {
  return 100 * static_cast<double>(rank * (rows + cols)) / static_cast<double>(rows * cols);
}

}  // namespace

void inspect_spectrum(const Args& args, const std::filesystem::path& dir) {
  const Artefact artefact = open_artefact(args, dir);
  Table table({{.key = "matrix", .text = true},
               {.key = "shape", .text = true},
               {.key = "largest", .decimals = 3},
               {.key = "least", .decimals = 5},
               {.key = "elbow", .decimals = 0},
               {.key = "rank_90", .title = "rank of 90 %", .decimals = 0},
               {.key = "size_90", .title = "size, %", .decimals = 1},
               {.key = "rank_99", .title = "rank of 99 %", .decimals = 0},
               {.key = "size_99", .title = "size, %", .decimals = 1},
               {.key = "spectrum", .title = "singular values", .text = true}});
  std::vector<nn::Linear*> linears = artefact.model().linears();
  if (!artefact.model().head_is_tied()) linears.push_back(&artefact.model().head());
  for (const nn::Linear* l : linears) {
    const std::int64_t rows = l->weight->value.rows(), cols = l->weight->value.cols();
    const quant::NamedQTensor* const at =
        quant::find_named(artefact.loaded.tensors, l->weight->name);
    const bool quantized = at != nullptr;  // it may have no other values
    const std::vector<real> values = quantized ? quant::dequantize(at->q) : std::vector<real>{};
    const std::vector<double> sigma = quant::singular_values(
        quantized ? std::span<const real>(values) : l->weight->value.flat(), rows, cols, l->name);
    const std::int64_t bend = quant::elbow(sigma), most = quant::rank_of_energy(sigma, 0.9),
                       nearly_all = quant::rank_of_energy(sigma, 0.99);
    const auto count = [](std::int64_t n) { return number(static_cast<double>(n)); };
    table.add_row({text(l->name), text(str("[", rows, ", ", cols, "]")), number(sigma.front()),
                   number(sigma.back()), count(bend), count(most), number(share(most, rows, cols)),
                   count(nearly_all), number(share(nearly_all, rows, cols)),
                   sigma.front() > 0 ? text(bars(sigma, bend)) : missing()});
  }
  print_table(args, table);
  say(args,
      "size: numbers of two factors of that rank, of the matrix's; · ·: where the singular values bend.");
}

}  // namespace notch::experiments
