// GGUF files: models of every block type, of both architectures.
#include <cmath>

#include "autograd/base/unsynced_writes.h"
#include "data/tokenizer.h"
#include "experiments/program/gguf_vocabulary.h"
#include "nn/gguf.h"
#include "nn/llama.h"
#include "quant/numbers/presets.h"
#include "quant/store/gguf_importance.h"
#include "quant/store/gguf_model.h"
#include "tests/fuzz/targets.h"
#include "tests/nn/plain_file.h"
#include "tests/quant/quantized_models.h"

namespace notch::test::fuzz {
namespace {

int fuzz_gguf(const std::uint8_t* data, std::size_t size) {
  const fs::path path = scratch() / "a.gguf";
  put_file(path, text_of(data, size));
  taken([&] {
    const quant::GgufModel read = quant::load_gguf(path);
    answer_a_token(*read.model);
    check_tokenizer(experiments::gguf_tokenizer(read.vocabulary, path), "a bab <|endoftext|>");
  });
  return 0;
}

int fuzz_imatrix(const std::uint8_t* data, std::size_t size) {
  const fs::path path = scratch() / "imatrix.gguf";
  put_file(path, text_of(data, size));
  taken([&] {
    for (const auto& [tensor, columns] : quant::load_importance(path)) {
      for (const float x : columns) require(x >= 0 && std::isfinite(x), tensor, ": ", x);
    }
  });
  return 0;
}

std::vector<std::string> imatrix_seeds() {
  const UnsyncedWrites fast;
  const fs::path path = scratch() / "seed.gguf";
  quant::ImportanceMatrix matrix{.text = "a.txt", .chunks = 1, .chunk_tokens = 8};
  matrix.of["blk.0.attn_q.weight"] = {.sums = {1, 0.5, 1e-9, 4}, .tokens = 8};
  matrix.of["blk.0.ffn_down.weight"] = {.sums = {2, 3}, .tokens = 0};
  quant::save_importance(matrix, path);
  return {read_file(path)};
}

std::string saved(const nn::Model& model, const std::vector<quant::NamedQTensor>& tensors,
                  std::string_view floats) {
  const fs::path path = scratch() / "seed.gguf";
  quant::save_gguf(model, tensors,
                   {.tokens = {"a", "b", "ab", "<|endoftext|>"},
                    .kinds = {1, 1, 1, 3},
                    .merges = {"a b"},
                    .bos = 3,
                    .eos = 3},
                   {.type = nn::gguf_type(floats)}, "tiny", path);
  return read_file(path);
}

/// The file with the blocks of a tensor in another type: zeros.
std::string with_zeros(const std::string& bytes, std::string_view tensor, std::string_view type) {
  const fs::path path = scratch() / "seed.gguf", changed = scratch() / "changed.gguf";
  put_file(path, bytes);
  const nn::GgufFile file = nn::GgufFile::open(path);
  std::vector<nn::GgufEntry> metadata = file.metadata();
  std::erase_if(metadata, [](const nn::GgufEntry& e) { return e.key.starts_with("notch."); });
  std::vector<nn::GgufSource> sources;
  for (const nn::GgufTensor& t : file.tensors()) {
    const bool zeros = t.name == tensor;
    const nn::GgufType* kind = zeros ? nn::gguf_type(type) : t.type;
    const std::int64_t cols = t.extents[0], vector = t.extents.size() == 1;
    const auto row = static_cast<std::size_t>(cols / kind->block * kind->bytes);
    const auto write = [=, &file, &t](std::int64_t first, std::int64_t n,
                                      std::vector<std::byte>& out) {
      std::vector<std::byte> rows(static_cast<std::size_t>(n) * row);
      if (!zeros) file.read(t, rows, static_cast<std::size_t>(first) * row);
      out.insert(out.end(), rows.begin(), rows.end());
    };
    sources.push_back({t.name, kind, vector ? 1 : t.extents[1], cols, vector != 0, write});
  }
  nn::write_gguf(changed, metadata, sources);
  return read_file(changed);
}

std::vector<std::string> gguf_seeds() {
  using namespace notch::quant;
  const UnsyncedWrites fast;
  std::vector<std::string> seeds;
  const auto gpt =
      make_gpt({.vocab_size = 4, .block_size = 4, .n_layer = 1, .n_head = 1, .n_embd = 32});
  for (const char* type : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"})
    seeds.push_back(saved(*gpt, {}, type));
  // Superblocks of 256 weights: in the matrix that multiplies the inner channels.
  for (const std::string_view type : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "tq2_0"}) {
    nn::Llama llama({.vocab_size = 4,
                     .block_size = 4,
                     .n_layer = 1,
                     .n_head = 2,
                     .n_kv_head = 1,
                     .n_embd = 32,
                     .n_inner = 256,
                     .tie_embeddings = true});
    randomise(llama.params(), 1);
    const Quantized q =
        rounded(llama, {.rules = {{"*", {}}, {"*.down_proj", find_preset(type)->spec}}});
    seeds.push_back(saved(llama, q.tensors, "Q4_0"));
  }
  seeds.push_back(with_zeros(seeds.back(), "blk.0.ffn_down.weight", "TQ1_0"));
  // rope_freqs.weight: of these eight pairs four stay, one lies between and three are divided by 8. The
  // rest is small, that changes meet it.
  nn::Llama scaled({.vocab_size = 4,
                    .block_size = 4,
                    .n_layer = 1,
                    .n_head = 1,
                    .n_kv_head = 1,
                    .n_embd = 16,
                    .n_inner = 2,
                    .rope_theta = 5e5,
                    .rope_scaling = {.factor = 8}});
  randomise(scaled.params(), 1);
  seeds.push_back(saved(scaled, {}, "F32"));
  return seeds;
}

const bool gguf_added = add_targets(
    {{"gguf", fuzz_gguf, gguf_seeds, none}, {"imatrix", fuzz_imatrix, imatrix_seeds, none}});

}  // namespace
}  // namespace notch::test::fuzz
