#include "experiments/bench/inference_bench.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "experiments/machine/roofs.h"
#include "nn/gpt.h"
#include "nn/reader.h"
#include "quant/store/pack_weights.h"

namespace notch::experiments {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

quant::Plan plan_of(int bits, std::int64_t group, int table_bits, bool integers = false) {
  const auto spec = [](int b, std::int64_t g) {
    quant::Spec s{.bits = b};
    if (g > 0) {
      s.granularity = quant::Granularity::group;
      s.group_size = g;
      s.scale = quant::ScaleType::f16;
    }
    return s;
  };
  quant::Plan plan{.weights = spec(bits, group),
                   .table = spec(table_bits, table_bits < 8 ? group : 0)};
  if (integers) plan.activations = quant::ActivationSpec{};
  return plan;
}

/// What one model needs to be measured at one batch size.
struct Lane {
  std::size_t subject = 0;
  std::int64_t batch = 1;
  std::unique_ptr<nn::KvCache> cache{};
  std::unique_ptr<nn::Reader> reader{};
  std::vector<std::int32_t> prompt{}, next{};
  double prompt_seconds = kNever, decode_seconds = kNever;
};

std::vector<std::int32_t> some_ids(std::int64_t n, std::int64_t vocab) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
  Rng rng(1);
  for (std::int32_t& id : ids)
    id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab)));
  return ids;
}

/// Bytes of weights that a pass reads: all but the rows of tables that are only looked up.
std::int64_t pass_bytes(const quant::RunnableModel& m) {
  std::int64_t looked_up = 0;
  for (const nn::Embedding* e : m.model->embeddings())
    if (e->weight != m.model->head().weight) looked_up += e->weight->value.size();
  return m.weight_bytes - looked_up * static_cast<std::int64_t>(sizeof(real));
}

void run(Lane& lane, const InferenceOptions& options) {
  nn::Reader& reader = *lane.reader;
  reader.forget();
  double start = seconds_now();
  reader.read(lane.prompt);
  lane.prompt_seconds = std::min(lane.prompt_seconds, seconds_now() - start);
  for (std::int64_t i = 0; i < options.decode; ++i) {
    start = seconds_now();
    reader.read(lane.next);
    lane.decode_seconds = std::min(lane.decode_seconds, seconds_now() - start);
  }
}

/// The rows of one lane; their roof is filled in by the caller.
void add_rows(Roofline& bench, const Lane& lane, const InferenceSubject& subject,
              const InferenceOptions& o) {
  const nn::Model& model = *subject.model.model;
  const nn::Sizes& c = model.sizes();
  const auto B = static_cast<double>(lane.batch), T = static_cast<double>(o.prompt);
  const double weights = static_cast<double>(model.matrix_weights());
  const double head = static_cast<double>(c.vocab_size * c.n_embd);
  const double per_key = 4.0 * c.n_layer * static_cast<double>(c.attention());
  const double held = T + static_cast<double>(o.decode) / 2;  // positions, on average
  const double cache_row =
      static_cast<double>(lane.cache->bytes()) / static_cast<double>(lane.cache->capacity());
  const double read = static_cast<double>(pass_bytes(subject.model));
  bench.dots.push_back(
      {.name = subject.name,
       .phase = "prompt",
       .batch = lane.batch,
       .tokens = B * T,
       .seconds = lane.prompt_seconds,
       .operations = B * (2 * (weights - head) * T + 2 * head + per_key * T * T / 2),
       .bytes = read + T * cache_row});
  bench.dots.push_back({.name = subject.name,
                        .phase = "decode",
                        .batch = lane.batch,
                        .tokens = B,
                        .seconds = lane.decode_seconds,
                        .operations = B * (2 * weights + per_key * held),
                        .bytes = read + held * cache_row});
}

}  // namespace

std::vector<InferenceSubject> shape_subjects(const std::string& shape,
                                             std::optional<std::int64_t> context) {
  nn::GptConfig config;
  if (shape == "S") {
    config = {.vocab_size = 256, .block_size = 512, .n_layer = 6, .n_head = 6, .n_embd = 384};
  } else if (shape == "M") {
    config = {.vocab_size = 50257, .block_size = 1024, .n_layer = 12, .n_head = 12, .n_embd = 768};
  } else {
    throw Error({.fault = Fault::usage,
                 .where = "notch bench",
                 .what = "there is no such shape to run",
                 .found = shape,
                 .expected = "S or M"});
  }
  constexpr std::int64_t kMostContext = 65536;
  check(!context || (*context > 0 && *context <= kMostContext), "notch bench", "a context of ",
        context.value_or(0), " tokens, not 1 to ", kMostContext);
  if (context) config.block_size = static_cast<int>(*context);
  std::vector<InferenceSubject> all;
  auto model = std::make_unique<nn::Gpt>(config);
  model->init(1);
  all.push_back({"fp32", {}});
  all.push_back({"int8", quant::pack_weights(*model, plan_of(8, 0, 8))});
  all.push_back({"int8, int8 inputs", quant::pack_weights(*model, plan_of(8, 0, 8, true))});
  all.push_back({"int6", quant::pack_weights(*model, plan_of(6, 0, 8))});
  all.push_back({"int4 g32", quant::pack_weights(*model, plan_of(4, 32, 8))});
  all.push_back({"int4 g32, head too", quant::pack_weights(*model, plan_of(4, 32, 4))});
  all.push_back({"int4 g32, int8 inputs", quant::pack_weights(*model, plan_of(4, 32, 4, true))});
  all.push_back({"int2 g32", quant::pack_weights(*model, plan_of(2, 32, 8))});
  all[0].model = {.model = std::move(model)};
  all[0].model.weight_bytes =
      all[0].model.model->params().count() * static_cast<std::int64_t>(sizeof(real));
  return all;
}

Roofline bench_inference(std::vector<InferenceSubject>& subjects, const InferenceOptions& options) {
  constexpr std::int64_t kMostTokens = 1 << 24;
  const auto counted = [](std::int64_t n) { return n > 0 && n <= kMostTokens; };
  check(counted(options.prompt) && counted(options.decode) && options.rounds > 0, "notch bench",
        "a prompt of ", options.prompt, " tokens and ", options.decode, " more in ", options.rounds,
        " rounds is nothing to measure");
  check(!subjects.empty() && !options.batches.empty() &&
            std::ranges::all_of(options.batches, counted),
        "notch bench", "models and batches of at least one are measured");
  for (const InferenceSubject& s : subjects)
    check(s.model.model != nullptr, "notch bench", s.name, " has no model");
  std::vector<Lane> lanes;
  for (const std::int64_t batch : options.batches) {
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      const nn::Model& model = *subjects[i].model.model;
      const std::int64_t positions = options.prompt + options.decode;
      check(positions <= model.sizes().block_size, "notch bench", "a prompt of ", options.prompt,
            " and ", options.decode, " more tokens do not fit the context of ",
            model.sizes().block_size);
      nn::KvShape shape = nn::kv_shape(model.sizes(), batch);
      shape.capacity = positions;
      Lane lane{.subject = i, .batch = batch, .cache = quant::make_kv_cache(options.kv, shape)};
      lane.reader = std::make_unique<nn::Reader>(model, *lane.cache);
      lane.prompt = some_ids(batch * options.prompt, model.sizes().vocab_size);
      lane.next = some_ids(batch, model.sizes().vocab_size);
      lanes.push_back(std::move(lane));
    }
  }
  std::vector<double> read_seconds(subjects.size(), kNever);
  Roofline bench;
  for (int round = 0; round < options.rounds; ++round) {
    bench.sgemm = std::max(bench.sgemm, sgemm_roof());
    bench.integer = std::max(bench.integer, integer_roof());
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      ReadRoof roof(pass_bytes(subjects[i].model));
      for (int pass = 0; pass < 4; ++pass) read_seconds[i] = std::min(read_seconds[i], roof.pass());
    }
    for (Lane& lane : lanes) run(lane, options);
  }
  for (const Lane& lane : lanes) {
    add_rows(bench, lane, subjects[lane.subject], options);
    const double per_byte =
        read_seconds[lane.subject] / static_cast<double>(pass_bytes(subjects[lane.subject].model));
    for (RooflineDot& row : std::span(bench.dots).last(2)) {
      row.roof_seconds = per_byte * row.bytes;
      const auto& served = subjects[lane.subject].model.served;
      row.products = served ? served->products() : 0;
    }
  }
  return bench;
}

Table inference_table(const Roofline& bench) {
  require_measured(bench);
  Table table({{.key = "model", .text = true},
               {.key = "phase", .text = true},
               {.key = "batch", .decimals = 0},
               {.key = "tokens_per_s", .title = "tokens/s", .decimals = 0},
               {.key = "speedup", .title = "× first", .decimals = 2},
               {.key = "mb_per_pass", .title = "MB/pass", .decimals = 1},
               {.key = "ops_per_byte", .title = "ops/byte", .decimals = 1},
               {.key = "gops", .title = "Gops/s", .decimals = 1},
               {.key = "gb_per_s", .title = "GB/s", .decimals = 1},
               {.key = "read_gb_per_s", .title = "roof GB/s", .decimals = 1},
               {.key = "roof_pct", .title = "% of roof", .decimals = 0}});
  for (const char* phase : {"prompt", "decode"}) {
    for (const RooflineDot& row : bench.dots) {
      if (row.phase != phase) continue;
      const auto first = std::ranges::find_if(bench.dots, [&](const RooflineDot& r) {
        return r.phase == row.phase && r.batch == row.batch;
      });
      table.add_row({text(row.name), text(row.phase), number(static_cast<double>(row.batch)),
                     number(row.tokens_per_second()),
                     number(row.tokens_per_second() / first->tokens_per_second()),
                     number(row.bytes / 1e6), number(row.intensity()),
                     number(row.operations / row.seconds / 1e9),
                     number(row.bytes / row.seconds / 1e9),
                     number(row.bytes / row.roof_seconds / 1e9), number(100 * bench.share(row))});
    }
  }
  return table;
}

}  // namespace notch::experiments
