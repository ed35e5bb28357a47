// What a run reads: its text, its task, and what it begins with (experiments/run/setup.h).
#include <algorithm>
#include <cstdlib>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/base/sha256.h"
#include "autograd/kernels/sha256.h"
#include "experiments/run/setup.h"
#include "experiments/run/teacher.h"
#include "nn/architectures.h"
#include "nn/model_dir.h"

namespace notch::experiments {
namespace {

constexpr std::uint64_t kTaskSeed = 3;  // one of the streams of setup.cpp

bool scores_test(const DataConfig& d) { return d.test_fraction > 0 && d.score == "test"; }

/// The questions of the task: n of them, or as many after those where they are to tune by.
std::vector<data::TenseExample> task_questions(const DataConfig& d) {
  const std::uint64_t seed = mix64(static_cast<std::uint64_t>(d.seed) + kTaskSeed);
  const bool tunes = d.test_fraction > 0 && d.score == "val";
  if (!tunes) return data::tense_examples(seed, d.task_examples);
  std::vector<data::TenseExample> all = data::tense_examples(seed, 2 * d.task_examples);
  const auto first = all.begin() + d.task_examples;
  const auto asked = [&](const data::TenseExample& e) {
    return std::find_if(all.begin(), first, [&](const data::TenseExample& other) {
             return other.prompt == e.prompt;
           }) != first;
  };
  return {first, std::remove_if(first, all.end(), asked)};
}

/// SHA-256 of a model directory's config.json and weights, in the order of the files' names.
std::string hash_of_model(const std::filesystem::path& dir) {
  Sha256 all;
  all.update(kernels::sha256_file(dir / nn::kConfigFile));
  for (const nn::SafetensorsFile& file : nn::open_weights(dir))
    all.update(kernels::sha256_file(file.path()));
  return all.hex();
}

/// Data::model_stored of a model directory.
std::string short_types(const std::filesystem::path& dir) {
  std::vector<std::string_view> types;
  for (const nn::SafetensorsFile& file : nn::open_weights(dir)) {
    for (const nn::TensorEntry& e : file.entries()) {
      const bool is_short = nn::is_real(e.dtype) && nn::element_bits(e.dtype) < 32;
      const std::string_view type = nn::name(e.dtype);
      if (is_short && std::ranges::find(types, type) == types.end()) types.push_back(type);
    }
  }
  return joined(types, ", ", " and ");
}

/// A text that was put together from copies has its end in its beginning too.
void require_unseen(const ExperimentConfig& config, const Data& data) {
  const ScoredText scored = scored_text(config, data);
  const std::vector<std::int32_t>& train = data.source.tokens.train;
  const auto at =
      std::search(train.begin(), train.end(), scored.tokens.begin(), scored.tokens.end());
  if (at == train.end()) return;
  throw Error(
      {.fault = Fault::input,
       .where = data.source.corpus.name,
       .what = str("the ", scored.name,
                   " split is part of the training text, from which calibration text comes"),
       .field = "data",
       .found = str("all its ", scored.tokens.size(), " tokens from training token ",
                    at - train.begin()),
       .expected = "evaluation text that training and calibration have not seen",
       .hint = "remove the copies from the file"});
}

}  // namespace

ScoredText scored_text(const ExperimentConfig& config, const Data& data) {
  const data::TokenData& t = data.source.tokens;
  if (scores_test(config.data)) return {"test", t.test, t.test_bytes_per_token};
  return {"validation", t.val, t.val_bytes_per_token};
}

std::string scored_hash(const ExperimentConfig& config, const Data& data) {
  const auto tokens = scored_text(config, data).tokens;
  Sha256 hash;
  if (data.source.tokens.vocab_size <= 65536) {  // as runs have it from when ids had 16 bits
    const std::vector<std::uint16_t> narrow(tokens.begin(), tokens.end());
    hash.update({reinterpret_cast<const char*>(narrow.data()), 2 * narrow.size()});
  } else {
    hash.update({reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()});
  }
  for (const data::TenseExample& e : data.task) {
    hash.update(str('\n', e.prompt, '\n', e.correct));
    for (const std::string& candidate : e.candidates) hash.update('\n' + candidate);
  }
  return hash.hex();
}

Data load_data(const ExperimentConfig& config, const std::filesystem::path& cache) {
  const DataConfig& d = config.data;
  const data::SourceOptions options{.kind = d.kind,
                                    .path = d.path,
                                    .tokenizer = d.tokenizer,
                                    .bpe_vocab = d.bpe_vocab,
                                    .splits = {.val = d.val_fraction, .test = d.test_fraction},
                                    .seed = static_cast<std::uint64_t>(d.seed),
                                    .sentences = d.sentences,
                                    .block_size = config.model.block_size,
                                    .cache = cache};
  Data out;
  if (const std::string& from = config.model.from; from.empty()) {
    out.source = data::load_source(options);
  } else {
    out.source = data::load_source(options, data::Tokenizer::load(from));
    out.model_sha256 = hash_of_model(from);
    out.model_stored = short_types(from);
  }
  if (!config.distill.teacher.empty()) {
    require_teacher(config, out.source.tokenizer);
    out.teacher_sha256 = hash_of_model(config.distill.teacher);
  }
  if (d.kind == "verbs" && d.task_examples > 0) out.task = task_questions(d);
  require_unseen(config, out);
  return out;
}

std::filesystem::path token_cache() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg) {
    return std::filesystem::path(xdg) / "notch";
  }
  if (const char* home = std::getenv("HOME"); home && *home) {
    return std::filesystem::path(home) / ".cache/notch";
  }
  return {};
}

}  // namespace notch::experiments
