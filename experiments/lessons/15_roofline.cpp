// Lesson 15. Why fewer bits make a model faster: the roofline (Williams, Waterman and Patterson 2009),
// and the key/value cache, which grows with every token.
#include <cmath>
#include <vector>

#include "experiments/lessons/lesson.h"
#include "nn/gpt.h"
#include "quant/serve/kv_cache.h"

namespace notch::lessons {
namespace {

/// A machine of 312 tera-operations per second (fp16) that reads 2 terabytes per second: an A100.
constexpr double kPeak = 312e12, kBandwidth = 2e12;

/// Llama 2 with 7 billion weights: 32 layers of 4096 channels.
constexpr double kModelWeights = 7e9, kLayers = 32, kChannels = 4096;

/// Operations of the matrices for one token: a layer has 12 channels² weights, each is one
/// multiplication and one addition. (Its real layers have a few more.)
constexpr double kOperations = kLayers * 12 * kChannels * kChannels * 2;

/// Largest difference of logits: 16 tokens at once, and one after the other through a cache.
double cache_difference() {
  nn::Gpt model({.vocab_size = 16, .block_size = 16, .n_layer = 2, .n_head = 2, .n_embd = 16});
  model.init(15);
  const std::vector<std::int32_t> ids{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
  Graph at_once, one_by_one;
  at_once.begin(Graph::Mode::inference);
  const Var all = model.logits(at_once, {ids, 1, 16});
  at_once.keep(all);
  nn::Fp32KvCache cache(2, 2, 16, 16);
  double largest = 0;
  for (std::size_t t = 0; t < 16; ++t) {
    one_by_one.begin(Graph::Mode::inference);
    const Var next = model.logits(one_by_one, {std::span(ids).subspan(t, 1), 1, 1}, &cache);
    for (std::size_t v = 0; v < 16; ++v) {
      const real difference = next.value().flat()[v] - all.value().flat()[16 * t + v];
      largest = std::fmax(largest, std::fabs(static_cast<double>(difference)));
    }
  }
  return largest;
}

}  // namespace

void roofline(Page& page) {
  page.say(
      "To write one token, a model reads each of its weights once and computes twice per weight: "
      "one multiplication, one addition. Take a machine that computes 312e12 times and reads 2e12 "
      "bytes in a second, and Llama 2 with 7e9 weights of 2 bytes (fp16). An operation is a FLOP.");
  const double bytes = kModelWeights * 2, compute = kOperations / kPeak,
               memory = bytes / kBandwidth;
  page.number("operations", "FLOP for one token, 24 · 4096² · 32", kOperations, 5);
  page.number("compute", "time to compute, milliseconds", 1000 * compute, 3);
  page.number("memory", "time to read, milliseconds", 1000 * memory, 3);
  page.number("ratio", "reading / computing", memory / compute, 3);
  page.say(
      "The processor waits almost all the time. The intensity is FLOP per byte; the ridge is the "
      "intensity at which reading and computing take equally long, 312/2. Below the ridge a "
      "program is bound by memory, above it by computation. The speed is the smaller of peak and "
      "intensity · bandwidth: drawn, a roof.");
  page.number("intensity", "intensity of one token, FLOP/byte", kOperations / bytes, 3);
  page.number("ridge", "the ridge", kPeak / kBandwidth);
  page.number("tokens", "tokens at once that reach the ridge",
              kPeak / kBandwidth * bytes / kOperations, 4);
  page.say(
      "A prompt of 512 tokens goes through at once: one reading serves them all, and it is bound "
      "by computation. An answer comes token by token. There the bytes are all that counts, so 4 "
      "bits are four times as fast as 16, although no operation was saved:");
  page.number("per_second", "tokens per second, fp16", 1 / memory, 4);
  page.number("per_second_4", "tokens per second, 4 bits", kBandwidth / (kModelWeights / 2), 4);

  page.say(
      "Attention needs the keys and values of all tokens before. Kept, they are the KV cache: a "
      "new token is then one row of work. Without it token n costs n rows. It changes no result:");
  page.number("rows", "rows for 64 tokens without a cache", 64 * 65 / 2);
  page.number("difference", "largest change of a logit, small GPT, × 1e5",
              std::floor(1e5 * cache_difference()));
  const nn::KvShape llama{.n_layer = 32, .n_head = 32, .channels = 4096, .capacity = 4096};
  const double per_token = 2 * kLayers * kChannels * 2, mib = 1024.0 * 1024;
  page.say("Two vectors (key, value) of 4096 numbers of 2 bytes, in 32 layers, for each token:");
  page.number("per_token", "bytes of one token", per_token, 6);
  page.number("fp16", "MiB of 4096 tokens, by the engine",
              static_cast<double>(quant::kv_cache_bytes(quant::KvKind::fp16, llama)) / mib);
  page.number("int8", "the same in 8 bits with scales",
              static_cast<double>(quant::kv_cache_bytes(quant::KvKind::int8, llama)) / mib);
  page.number("equal", "tokens whose cache equals the 4-bit weights", kModelWeights / 2 / per_token,
              4);
  page.say(
      "The cache is read for every token as well. Beyond that length it costs more than the "
      "weights, and quantizing weights further helps little: then it is the cache that wants fewer "
      "bits.");

  experiments::PlotSeries roof{.name = "the roof", .color = "#000000", .line = true};
  experiments::PlotSeries dots{.name = "1 token fp16, 1 token 4 bits, 512 tokens fp16",
                               .color = "#D55E00",
                               .mark = experiments::Mark::circle};
  const auto speed = [](double x) { return std::log10(std::fmin(kPeak, kBandwidth * x)); };
  for (double x = -1; x <= 3.51; x += 0.05) roof.points.push_back({x, speed(std::pow(10, x))});
  for (const double x : {1.0, 4.0, 512.0}) {
    const double at = x * kOperations / bytes;
    dots.points.push_back({std::log10(at), speed(at)});
  }
  page.picture("15_roofline", {.title = "Roofline",
                               .x_label = "log10 of FLOP per byte",
                               .y_label = "log10 of FLOP per second",
                               .series = {roof, dots}});
  page.say(
      "Try: `notch bench MODEL_DIR` measures the two numbers of your own machine. Where is its "
      "ridge?");
}

}  // namespace notch::lessons
