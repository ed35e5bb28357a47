// Integer products without instructions of their own: what every other kernel must equal.
#include "quant/kernels/integer_tile.h"

namespace notch::quant {

void integer_block_portable(const IntegerProduct& p, std::int64_t row, std::int64_t rows,
                            std::int64_t first, std::int64_t last) {
  const IntegerShape& s = p.w.shape;
  const std::int64_t padded = s.padded_unit(), stride = s.row_codes();
  for (std::int64_t panel = first; panel < last; ++panel) {
    PanelOutput output;
    load_output(output, p, panel);
    for (std::int64_t t = row; t < row + rows; ++t) {
      const std::uint8_t* x = p.codes + t * stride;
      const std::int8_t* w = p.w.panels + panel * stride * kPanel;
      Float16 sum = {};
      for (std::int64_t u = 0; u < s.units(); ++u) {
        UnitTables tables;
        load_unit(tables, p.w, panel, u);
        Uint16 acc;
        start_unit(acc, tables, p.zero_points[t]);
        for (std::int64_t k = 0; k < padded; k += 4, x += 4, w += 4 * kPanel)
          for (std::int64_t lane = 0; lane < kPanel; ++lane)
            for (std::int64_t j = 0; j < 4; ++j)
              acc[lane] += static_cast<std::uint32_t>(x[j] * w[lane * 4 + j]);
        add_unit(sum, acc, tables, codes_sum_of(p, t, u), s.group > 0);
      }
      finish(output, sum, t, p.scales[t]);
    }
  }
}

}  // namespace notch::quant
