#include "experiments/run/sample_text.h"

#include <algorithm>
#include <string_view>

#include "autograd/base/files.h"
#include "nn/generate.h"

namespace notch::experiments {
namespace {

constexpr std::int64_t kTokens = 160, kPrompt = 16, kSearched = 1000;

std::string as_utf8(std::string_view bytes) {
  std::string out;
  std::size_t bad = 0;
  while (!is_utf8(bytes, &bad)) {
    out += bytes.substr(0, bad);
    out += "\uFFFD";
    bytes.remove_prefix(bad + 1);
  }
  return out.append(bytes);
}

/// After the end of the first line.
std::size_t begin_of_line(const data::Tokenizer& tokenizer, std::span<const std::int32_t> text) {
  const std::size_t searched = std::min<std::size_t>(text.size(), kSearched);
  for (std::size_t i = 0; i + 1 < searched; ++i) {
    if (tokenizer.token(text[i]).ends_with('\n')) return i + 1;
  }
  return 0;
}

}  // namespace

TextSample sample_text(const nn::Model& model, const data::Tokenizer& tokenizer,
                       std::span<const std::int32_t> scored, std::uint64_t seed) {
  const std::int64_t half = std::max<std::int64_t>(model.sizes().block_size / 2, 1);
  const auto rest = scored.subspan(begin_of_line(tokenizer, scored));
  const auto length = static_cast<std::size_t>(std::min({kPrompt, half, std::ssize(rest)}));
  const std::vector<std::int32_t> prompt(rest.begin(),
                                         rest.begin() + static_cast<std::ptrdiff_t>(length));
  Rng rng(seed);
  const nn::Sampling sampling{.temperature = kSampleTemperature, .ids = tokenizer.vocab_size()};
  return {.prompt = as_utf8(tokenizer.decode(prompt)),
          .text = as_utf8(tokenizer.decode(nn::generate(model, prompt, kTokens, sampling, rng)))};
}

}  // namespace notch::experiments
