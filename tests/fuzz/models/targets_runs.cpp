// What a run reads back of its own: rows and metrics.
#include "autograd/base/json.h"
#include "experiments/report/diagnostic_figures.h"
#include "experiments/report/figures.h"
#include "experiments/report/fronts.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/metrics.h"
#include "experiments/run/results.h"
#include "experiments/run/shard.h"
#include "experiments/show/plot.h"
#include "experiments/show/roofline.h"
#include "quant/methods/mixed.h"
#include "tests/fuzz/targets.h"

namespace notch::test::fuzz {
namespace {

using namespace notch::experiments;

RowResult a_row() {
  RowResult row{.name = "rtn-int4", .method = "rtn", .bits = 4, .seconds = 0.25};
  row.eval = {.loss = 1.5, .window_losses = {3, 4.5}, .window_tokens = {2, 3}};
  return row;
}

int fuzz_row(const std::uint8_t* data, std::size_t size) {
  RowResult row;
  if (!taken([&] { row = row_from_text(text_of(data, size), "row.json"); })) return 0;
  const std::string text = row_text(row);
  require(row_text(row_from_text(text, "written")) == text,
          "a row that does not come back: ", text);
  RowResult base = a_row();
  base.name = kBaseRow;
  const std::vector<SeedResults> seeds{{.seed = 1, .rows = {base, row}},
                                       {.seed = 2, .rows = {base, row}}};
  taken([&] { svg_of(loss_figure(Statistics(seeds)).plot); });
  return 0;
}

/// With a digest, and as earlier builds wrote it.
std::vector<std::string> row_seeds() { return {to_json(a_row()).dump(), row_text(a_row())}; }

std::vector<std::string> row_past() {
  Json row = to_json(a_row());
  std::vector<std::string> rows;
  for (const char* key : {"bits", "window_tokens", "weights", "layers"}) {
    Json bad = row;
    const bool list = row.at(key, "row").is_array();
    const Json huge(std::int64_t{1} << 62);
    rows.push_back(bad.set(key, list ? Json(Json::Array{huge, huge}) : huge).dump());
  }
  Json nameless = row;
  rows.push_back(nameless.set("name", "").dump());
  return rows;
}

int fuzz_metrics(const std::uint8_t* data, std::size_t size) {
  SeedResults seed{.seed = 1, .rows = {a_row()}};
  seed.rows[0].name = "qat-lsq-int4";
  seed.rows[0].trained = true;
  taken([&] {
    bool any = false;
    read_metrics(text_of(data, size), [&](const MetricsLine&) { any = true; });
    if (!any) throw Error({.where = "metrics", .what = "no line"});
  });
  for (const Figure& f : curve_figures(text_of(data, size), {seed})) svg_of(f.plot);
  for (const HeatMap& map : diagnostic_maps(text_of(data, size), {seed})) heat_map(map);
  for (const FigureGroup& group : diagnostic_figures(text_of(data, size), {seed})) {
    for (const Figure& f : group.figures) svg_of(f.plot);
  }
  return 0;
}

std::vector<std::string> metrics_seeds() {
  return {R"({"run":"seed-1/fp32","step":0,"loss":2.5,"lr":0.001}
{"run":"seed-1/fp32","step":5,"loss":2.25,"val_loss":2.5,"lr":0.001}
{"run":"seed-1/control-fp32","step":5,"loss":2.0,"lr":0.001}
{"run":"seed-1/qat-lsq-int4","step":5,"loss":2.125,"lr":0.001}
{"run":"seed-1/qat-lsq-int4","step":5,"quantizer":{"layers":["a","b"],"sqnr_db":[20.5,null],"changed":[0.1,0.2],"clipped":[0,0],"step":[0.01,0.02],"ste_cosine":[null,0.5],"reversals":[[5,3,2,1],[1,1]],"boundary":[[1,2,3],[4,5,6]]}}
)"};
}

std::vector<std::string> metrics_past() {
  std::string bins = "1";
  for (int i = 0; i < 80; ++i) bins += ",1";
  const std::string start = R"({"run":"seed-1/qat-lsq-int4",)";
  return {start + R"("quantizer":{}})", start + R"("step":"x","loss":1})",
          start + R"("step":1,"quantizer":{"reversals":[[)" + bins + "]]}}",
          start + R"("step":1,"quantizer":{"reversals":[["a"],[{}]]}})",
          start + R"("step":-9223372036854775808,"loss":1e308})",
          // A map of the layers' last report.
          start + R"("step":1,"quantizer":{"layers":["a"],"reversals":[[]]}})",
          start + R"("step":1,"quantizer":{"sqnr_db":[1]}})",
          start + R"("step":1,"quantizer":{"layers":[1]}})",
          start + R"("step":1,"quantizer":{"layers":["a"],"ste_cosine":["x"]}})",
          start + R"("step":1,"quantizer":{"layers":["a"],"reversals":[1]}})"};
}

/// What a run keeps for its report, and for measurements that go on.
int fuzz_kept(const std::uint8_t* data, std::size_t size) {
  Json json;
  if (!taken([&] { json = Json::parse(text_of(data, size), "kept.json"); })) return 0;
  ModelStudy study;
  if (taken([&] { study = study_from_json(json, "layers.json"); })) to_json(study);
  Roofline roofline;
  if (taken([&] { roofline = roofline_from_json(json, "roofline.json"); })) {
    roofline_svg(roofline);
    to_json(roofline);
  }
  taken([&] {
    const quant::Sensitivity layer = quant::sensitivity_from_json(json, "sensitivity");
    require(json.at("bits", "").as_int("") == layer.bits, "another width: ", layer.bits);
  });
  const fs::path dir = scratch() / "kept";
  put_files(dir, {{kShardFile, std::string(text_of(data, size))}});
  taken([&] {
    const Shard shard = shard_in(dir);
    require(json.at("of", "").as_int("") == shard.of && 1 <= shard.index && shard.index <= shard.of,
            "another part of a run: ", name_of(shard));
  });
  return 0;
}

std::vector<std::string> kept_seeds() {
  ModelStudy study{.sha256 = "0", .rows = {"rtn-int4"}, .tokens = 9, .bits = {4}};
  study.layers.push_back({.name = "h.0.attn.c_attn", .weights = 12, .loss_change = {0.5}});
  study.layers[0].histogram.assign(kStudyBins, 1.0 / kStudyBins);
  study.layers[0].sqnr_db.assign(kStudyHighest - kStudyLowest + 1, 20);
  Roofline roofline{.sgemm = 1e11, .integer = 4e11};
  roofline.dots.push_back({.name = "a",
                           .phase = "decode",
                           .tokens = 1,
                           .seconds = 1,
                           .operations = 2,
                           .bytes = 3,
                           .roof_seconds = 1,
                           .products = 1});
  const quant::Sensitivity layer{.layer = "h.0.mlp.c_fc", .bits = 3, .bytes = 9, .rise = 0.25};
  return {to_json(study).dump(), to_json(roofline).dump(), quant::to_json(layer).dump(),
          R"({"shard": 2, "of": 3})"};
}

/// Numbers that an int does not hold: they were taken without their upper half.
std::vector<std::string> kept_past() {
  return {R"({"shard":4294967298,"of":4294967299})",
          R"({"layer":"a","bits":4294967300,"bytes":1,"rise":0,"hessian":0,"fisher":0})"};
}

const bool runs_added = add_targets({{"row", fuzz_row, row_seeds, row_past},
                                     {"metrics", fuzz_metrics, metrics_seeds, metrics_past},
                                     {"kept", fuzz_kept, kept_seeds, kept_past}});

}  // namespace
}  // namespace notch::test::fuzz
