#include "autograd/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/panel.h"
#include "autograd/kernels/vmath.h"

namespace notch::kernels {
namespace {

constexpr Index kBlock = 64;  // query rows per block
constexpr Index kTiles = 16;  // workspaces; (b, head of keys) pairs are dealt to them in runs

Index tiles(const AttentionShape& s) { return std::min(kTiles, s.B * s.kv_heads()); }

/// Where one head's scratch matrices lie in a tile's workspace: operands packed once per head, then
/// what belongs to one block of query rows.
struct Layout {
  Index hs = 0;  // row distance over channels: HS in whole panels
  Index ld = 0;  // row distance over keys: an odd number of cache lines, so that the rows of a
                 // column do not fall into one set of the cache
  Index kt = 0;  // kᵀ [HS, ld]
  Index vt = 0;  // vᵀ [HS, ld]; backward
  Index kv = 0;  // forward v, backward k [T, hs]
  Index dk = 0;  // [T in whole groups of rows, hs]; backward, where dk and dv have no whole ones
  Index dv = 0;
  Index q = 0;        // scale · q [kBlock, hs]
  Index dout = 0;     // [kBlock, hs]; backward
  Index o = 0;        // forward out before division, backward dq [kBlock, hs]
  Index scores = 0;   // [kBlock, ld]
  Index dscores = 0;  // backward
  Index rows = 0;     // forward Σ exp, backward delta [kBlock]
  Index size = 0;

  explicit Layout(const AttentionShape& s)
      : hs(round_up(s.HS, kPanelCols)), ld(round_up(s.T, kPanelCols) + 16) {
    const auto take = [this](Index n) {
      const Index at = size;
      size += round_up(n, 16);
      return at;
    };
    kt = take(s.HS * ld);
    kv = take(s.T * hs);
    q = take(kBlock * hs);
    o = take(kBlock * hs);
    scores = take(kBlock * ld);
    rows = take(kBlock);
    vt = take(s.HS * ld);
    dk = take(round_up(s.T, kPanelRows) * hs);
    dv = take(round_up(s.T, kPanelRows) * hs);
    dout = take(kBlock * hs);
    dscores = take(kBlock * ld);
  }
};

/// The query rows t .. t + rows of head `head` = b · NH + h, against the keys 0 .. t + rows.
struct Block {
  Index t = 0;
  Index rows = 0;
  Index head = 0;
  Index keys() const { return t + rows; }
  Index padded_rows() const { return round_up(rows, kPanelRows); }
  /// Keys that row i computes: those it sees, up to a whole panel. What lies beyond is never read.
  Index width(Index i) const { return round_up(t + i + 1, kPanelCols); }
};

/// out [rows, hs] = x [rows, HS], zero in the columns from HS on.
NOTCH_VECTOR(void, pack, real* out, const real* x, Index rows, Index HS, Index hs, Index ldx) {
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < HS; ++c) out[r * hs + c] = x[r * ldx + c];
    for (Index c = HS; c < hs; ++c) out[r * hs + c] = 0;
  }
}

/// Sets the columns after `last` of a row's last panel. A loop over the whole panel: scalar stores
/// that a vector load follows would stall it.
NOTCH_INLINE void set_after(real* panel, Index last, real value) {
  for (std::int32_t l = 0; l < static_cast<std::int32_t>(kPanelCols); ++l)
    panel[l] = l > static_cast<std::int32_t>(last) ? value : panel[l];
}

/// A matrix of channels [rows, hs] and its row distance.
struct Rows {
  const real* at = nullptr;
  Index ld = 0;
};

/// A matrix of channels that products are written to, or added to once it is begun.
struct Sum {
  real* at = nullptr;
  Index ld = 0;
  bool begun = false;
};

/// Whether `rows` rows of HS channels are whole groups and panels, which products can use in place.
bool is_whole(Index rows, Index HS) { return HS % kPanelCols == 0 && rows % kPanelRows == 0; }

/// x [rows, HS] where it lies if it consists of whole groups and panels, otherwise a completed
/// copy.
Rows whole(real* copy, const real* x, Index rows, Index HS, Index hs, Index ldx) {
  if (is_whole(rows, HS)) return {x, ldx};
  pack(copy, x, rows, HS, hs, ldx);
  return {copy, hs};
}

/// The same for the right operand, whose rows need not be whole groups.
Rows panels(real* copy, const real* x, Index rows, Index HS, Index hs, Index ldx) {
  if (HS == hs) return {x, ldx};
  pack(copy, x, rows, HS, hs, ldx);
  return {copy, hs};
}

/// Products q kᵀ to e^(scale · (product - max)), 0 after the row's own position; sums [rows] of
/// them and lse [rows] of the scores.
NOTCH_VECTOR(void, exponentials, real* scores, real* sums, real* lse, const Block& block, Index ld,
             real scale) {
  for (Index i = 0; i < block.rows; ++i) {
    real* p = scores + i * ld;
    const Index width = block.width(i);
    const Index panel = width - kPanelCols;
    set_after(p + panel, block.t + i - panel, -std::numeric_limits<real>::infinity());
    const real m = lane_max(p, width);
    const double sum =
        lane_sum(width, [=](Index j) { return p[j] = vmath::exp_nonpositive(scale * (p[j] - m)); });
    sums[i] = static_cast<real>(sum);
    lse[i] = static_cast<real>(static_cast<double>(scale) * static_cast<double>(m) +
                               elementary::log(sum));
  }
}

/// out rows = o rows / sums: cheaper here than on the probabilities.
NOTCH_VECTOR(void, normalize, real* out, const real* o, const real* sums, Index rows, Index HS,
             Index ld_out, Index hs) {
  for (Index i = 0; i < rows; ++i) {
    const real factor = 1 / sums[i];
    for (Index c = 0; c < HS; ++c) out[i * ld_out + c] = o[i * hs + c] * factor;
  }
}

/// Products q kᵀ to probabilities and dp to dscores:
///   p = exp(s - lse), s = scale · q kᵀ;  ds = scale · p · (dp - delta), delta = Σ dp p
NOTCH_VECTOR(void, softmax_gradient, real* scores, real* dscores, const real* lse,
             const real* delta, const Block& block, Index ld, real scale) {
  for (Index i = 0; i < block.rows; ++i) {
    real *p = scores + i * ld, *ds = dscores + i * ld;
    const real l = lse[i], d = delta[i];
    const Index width = block.width(i);
    const Index panel = width - kPanelCols;
    set_after(p + panel, block.t + i - panel, -std::numeric_limits<real>::infinity());
    set_after(ds + panel, block.t + i - panel, real{0});
    for (Index j = 0; j < width; ++j) {
      const real pj = vmath::exp_nonpositive(scale * p[j] - l);
      p[j] = pj;
      ds[j] = scale * pj * (ds[j] - d);
    }
  }
}

/// delta [rows] = Σ_c dout · out of each row, which equals Σ dp p.
NOTCH_VECTOR(void, row_dots, real* delta, const real* dout, const real* out, Index rows, Index HS,
             Index ld) {
  for (Index i = 0; i < rows; ++i) {
    const real *a = dout + i * ld, *b = out + i * ld;
    delta[i] = static_cast<real>(lane_sum(HS, [=](Index c) { return a[c] * b[c]; }));
  }
}

/// y rows += x rows, or = where y is fresh.
NOTCH_VECTOR(void, add_rows, real* y, const real* x, Index rows, Index HS, Index ldy, Index hs,
             bool fresh) {
  for (Index r = 0; r < rows; ++r) {
    if (fresh) {
      for (Index c = 0; c < HS; ++c) y[r * ldy + c] = x[r * hs + c];
    } else {
      for (Index c = 0; c < HS; ++c) y[r * ldy + c] += x[r * hs + c];
    }
  }
}

/// Multiplies a block's probabilities (or their gradients) by the dropout mask / (1 - p).
NOTCH_VECTOR(void, drop, real* p, const Block& block, const AttentionShape& s, Index ld) {
  const float limit = static_cast<float>(s.dropout);
  const real keep = static_cast<real>(1 / (1 - s.dropout));
  const std::uint64_t key = s.dropout_key;
  for (Index i = 0; i < block.rows; ++i) {
    real* row = p + i * ld;
    const auto base = static_cast<std::uint64_t>((block.head * s.T + block.t + i) * s.T);
    for (Index j = 0; j <= block.t + i; ++j)
      row[j] *= counter_uniform(key, base + static_cast<std::uint64_t>(j)) < limit ? real{0} : keep;
  }
}

/// Asks for the keys and values of a head, and for the queries that share it.
void prefetch_qkv(const Qkv& x, const AttentionShape& s, Index b, Index kv) {
  const Index queries = s.group() * s.HS;
  prefetch<false>(x.q.data() + b * s.T * x.q_row + kv * queries, s.T, queries, x.q_row);
  for (const real* rows : {x.k.data(), x.v.data()})
    prefetch<false>(rows + b * s.T * x.kv_row + kv * s.HS, s.T, s.HS, x.kv_row);
}

/// Calls body(b, kv, scratch) for every head of keys of every sequence, and before that
/// ahead(b, kv) for the one that comes next: a head's rows are short pieces far apart, which no
/// hardware foresees.
template <class Ahead, class Body>
void for_heads(const AttentionShape& s, std::span<real> workspace, const Ahead& ahead,
               const Body& body) {
  check(std::ssize(workspace) >= attention_workspace(s), "attention", "workspace holds ",
        workspace.size(), " elements, needs ", attention_workspace(s));
  const Index heads = s.kv_heads(), pairs = s.B * heads, n = tiles(s), size = Layout(s).size;
  parallel_for(n, [&](Index tile) {
    real* scratch = workspace.data() + tile * size;
    const Index end = pairs * (tile + 1) / n;
    for (Index i = pairs * tile / n; i < end; ++i) {
      if (i + 1 < end) ahead((i + 1) / heads, (i + 1) % heads);
      body(i / heads, i % heads, scratch);
    }
  });
}

/// Calls body(block) for the blocks of query rows of one head. The last comes first: it sees all
/// keys, so what is collected by keys starts there and needs no clearing.
template <class Body>
void for_blocks(Index T, Index head, const Body& body) {
  for (Index t = (T - 1) / kBlock * kBlock; t >= 0; t -= kBlock)
    body(Block{.t = t, .rows = std::min(kBlock, T - t), .head = head});
}

/// scores = a bᵀ for the keys that each group of rows sees; bt is b transposed, [HS, ld].
void multiply_by_keys(real* scores, const Rows& a, const real* bt, const Block& block, Index HS,
                      const Layout& l) {
  panel_product({.out = scores,
                 .a = a.at,
                 .b = bt,
                 .M = block.padded_rows(),
                 .N = round_up(block.keys(), kPanelCols),
                 .K = HS,
                 .ld_out = l.ld,
                 .a_row = a.ld,
                 .a_k = 1,
                 .ldb = l.ld,
                 .n_end = block.t});
}

/// out [rows, hs] = p b over the keys that each group of rows sees, or +=.
void multiply_by_values(const Sum& out, const real* p, const Rows& b, const Block& block,
                        const Layout& l) {
  panel_product({.out = out.at,
                 .a = p,
                 .b = b.at,
                 .M = block.padded_rows(),
                 .N = l.hs,
                 .K = block.keys(),
                 .ld_out = out.ld,
                 .a_row = l.ld,
                 .a_k = 1,
                 .ldb = b.ld,
                 .accumulate = out.begun,
                 .k_end = block.t});
}

/// out [keys, hs] = pᵀ b, or +=: each group of keys collects from the rows that see it.
void collect_by_keys(const Sum& out, const real* p, const Rows& b, const Block& block,
                     const Layout& l) {
  panel_product({.out = out.at,
                 .a = p,
                 .b = b.at,
                 .M = round_up(block.keys(), kPanelRows),
                 .N = l.hs,
                 .K = block.rows,
                 .ld_out = out.ld,
                 .a_row = 1,
                 .a_k = l.ld,
                 .ldb = b.ld,
                 .accumulate = out.begun,
                 .k_begin = -block.t});
}

enum class Wanted : std::uint8_t { yes, maybe };  // an empty gradient is not wanted

/// Rows of `heads` heads, `distance` apart.
void require_rows(const AttentionShape& s, std::span<const real> x, Index distance, Index heads,
                  Wanted wanted) {
  if (wanted == Wanted::maybe && x.empty()) return;
  const Index rows = extent("attention", {s.B, s.T}), width = extent("attention", {heads, s.HS});
  check(distance >= width, "attention", "rows of ", width, " values lie ", distance, " apart");
  const Index n = rows == 0 ? 0 : extent("attention", {rows - 1, distance}) + width;
  require_extent("attention", n, x);
}

void require_heads(const AttentionShape& s) {
  check(s.NH > 0 && s.KV >= 0 && s.NH % s.kv_heads() == 0, "attention", s.NH, " heads with ", s.KV,
        " of keys");
  extent("attention", {s.B, s.T, s.NH, s.HS});
}

void require_attention(const AttentionShape& s, std::span<const real> out,
                       std::span<const real> lse, const Qkv& x) {
  require_heads(s);
  require_extent("attention", extent("attention", {s.B, s.T, s.NH, s.HS}), out);
  require_extent("attention", extent("attention", {s.B, s.NH, s.T}), lse);
  require_rows(s, x.q, x.q_row, s.NH, Wanted::yes);
  require_rows(s, x.k, x.kv_row, s.kv_heads(), Wanted::yes);
  require_rows(s, x.v, x.kv_row, s.kv_heads(), Wanted::yes);
  check(s.dropout >= 0 && s.dropout < 1, "attention", "dropout = ", s.dropout, " is not in [0, 1)");
}

}  // namespace

std::int64_t attention_workspace(const AttentionShape& s) {
  require_heads(s);
  constexpr Index kPadding = kPanelCols + kPanelRows + kBlock;  // nothing in the layout adds more
  extent("attention", {s.T + kPadding, s.HS + kPadding, 8 * kTiles});
  return tiles(s) * Layout(s).size;
}

void attention_forward(std::span<real> out, std::span<real> lse, const Qkv& x,
                       const AttentionShape& s, std::span<real> workspace) {
  require_attention(s, out, lse, x);
  const Index C = s.NH * s.HS, T = s.T, group = s.group();
  const Layout l(s);
  const real scale = static_cast<real>(1 / std::sqrt(static_cast<double>(s.HS)));
  const auto ahead = [&](Index b, Index kv) { prefetch_qkv(x, s, b, kv); };
  for_heads(s, workspace, ahead, [&](Index b, Index kv, real* w) {
    const Index keys = b * T * x.kv_row + kv * s.HS;
    transpose(w + l.kt, x.k.data() + keys, T, s.HS, l.ld, x.kv_row);
    const Rows v_rows = panels(w + l.kv, x.v.data() + keys, T, s.HS, l.hs, x.kv_row);
    for (Index h = kv * group; h < (kv + 1) * group; ++h) {
      const real* q = x.q.data() + b * T * x.q_row + h * s.HS;
      real* o = out.data() + b * T * C + h * s.HS;
      for_blocks(T, b * s.NH + h, [&](const Block& block) {
        const Index t = block.t, rows = block.rows;
        const Rows q_rows = whole(w + l.q, q + t * x.q_row, rows, s.HS, l.hs, x.q_row);
        multiply_by_keys(w + l.scores, q_rows, w + l.kt, block, s.HS, l);
        exponentials(w + l.scores, w + l.rows, lse.data() + block.head * T + t, block, l.ld, scale);
        if (s.dropout > 0) drop(w + l.scores, block, s, l.ld);
        multiply_by_values({w + l.o, l.hs}, w + l.scores, v_rows, block, l);
        normalize(o + t * C, w + l.o, w + l.rows, rows, s.HS, C, l.hs);
      });
    }
  });
}

void attention_backward(const QkvGradient& dx, std::span<const real> dout, const Qkv& x,
                        std::span<const real> out, std::span<const real> lse,
                        const AttentionShape& s, std::span<real> workspace, bool fresh) {
  require_attention(s, out, lse, x);
  require_extent("attention backward", std::ssize(out), dout);
  require_rows(s, dx.q, x.q_row, s.NH, Wanted::maybe);
  require_rows(s, dx.k, x.kv_row, s.kv_heads(), Wanted::maybe);
  require_rows(s, dx.v, x.kv_row, s.kv_heads(), Wanted::maybe);
  const Index C = s.NH * s.HS, T = s.T, group = s.group();
  const Layout l(s);
  const real scale = static_cast<real>(1 / std::sqrt(static_cast<double>(s.HS)));
  const auto ahead = [&](Index b, Index kv) {
    prefetch_qkv(x, s, b, kv);
    for (const real* rows : {out.data(), dout.data()})
      prefetch<false>(rows + b * T * C + kv * group * s.HS, T, group * s.HS, C);
  };
  for_heads(s, workspace, ahead, [&](Index b, Index kv, real* w) {
    const Index keys = b * T * x.kv_row + kv * s.HS;
    transpose(w + l.kt, x.k.data() + keys, T, s.HS, l.ld, x.kv_row);
    transpose(w + l.vt, x.v.data() + keys, T, s.HS, l.ld, x.kv_row);
    const Rows k_rows = panels(w + l.kv, x.k.data() + keys, T, s.HS, l.hs, x.kv_row);
    // dk and dv collect from every head of the group: where they lie, or in scratch.
    real* dk = dx.k.empty() ? nullptr : dx.k.data() + keys;
    real* dv = dx.v.empty() ? nullptr : dx.v.data() + keys;
    const bool in_place = is_whole(T, s.HS);
    Sum dk_sum = in_place && dk ? Sum{dk, x.kv_row, !fresh} : Sum{w + l.dk, l.hs};
    Sum dv_sum = in_place && dv ? Sum{dv, x.kv_row, !fresh} : Sum{w + l.dv, l.hs};
    for (Index h = kv * group; h < (kv + 1) * group; ++h) {
      const Index queries = b * T * x.q_row + h * s.HS;
      const real* q = x.q.data() + queries;
      real* dq = dx.q.empty() ? nullptr : dx.q.data() + queries;
      const real* o = out.data() + b * T * C + h * s.HS;
      const real* d_o = dout.data() + b * T * C + h * s.HS;
      for_blocks(T, b * s.NH + h, [&](const Block& block) {
        const Index t = block.t, rows = block.rows;
        const Rows q_rows = whole(w + l.q, q + t * x.q_row, rows, s.HS, l.hs, x.q_row);
        const Rows dout_rows = whole(w + l.dout, d_o + t * C, rows, s.HS, l.hs, C);
        row_dots(w + l.rows, d_o + t * C, o + t * C, rows, s.HS, C);
        // out = drop(p) v: dp = drop(dout vᵀ), dv += drop(p)ᵀ dout
        multiply_by_keys(w + l.scores, q_rows, w + l.kt, block, s.HS, l);
        multiply_by_keys(w + l.dscores, dout_rows, w + l.vt, block, s.HS, l);
        if (s.dropout > 0) drop(w + l.dscores, block, s, l.ld);
        softmax_gradient(w + l.scores, w + l.dscores, lse.data() + block.head * T + t, w + l.rows,
                         block, l.ld, scale);
        if (s.dropout > 0) drop(w + l.scores, block, s, l.ld);
        collect_by_keys(dv_sum, w + l.scores, dout_rows, block, l);
        // s = scale · q kᵀ: dq += ds k, dk += dsᵀ q
        if (in_place && dq) {
          multiply_by_values({dq + t * x.q_row, x.q_row, !fresh}, w + l.dscores, k_rows, block, l);
        } else if (dq) {
          multiply_by_values({w + l.o, l.hs}, w + l.dscores, k_rows, block, l);
          add_rows(dq + t * x.q_row, w + l.o, rows, s.HS, x.q_row, l.hs, fresh);
        }
        collect_by_keys(dk_sum, w + l.dscores, q_rows, block, l);
        dk_sum.begun = dv_sum.begun = true;
      });
    }
    if (in_place) return;
    if (dk) add_rows(dk, w + l.dk, T, s.HS, x.kv_row, l.hs, fresh);
    if (dv) add_rows(dv, w + l.dv, T, s.HS, x.kv_row, l.hs, fresh);
  });
}

}  // namespace notch::kernels
