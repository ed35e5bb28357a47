// What holds weights: safetensors, the container of GGUF, coded streams, checkpoints.
#include <algorithm>
#include <cstring>

#include "autograd/base/rng.h"
#include "autograd/base/unsynced_writes.h"
#include "nn/checkpoint.h"
#include "nn/gguf.h"
#include "nn/safetensors.h"
#include "quant/numbers/spec.h"
#include "quant/store/entropy_coder.h"
#include "tests/fuzz/targets.h"
#include "tests/nn/plain_file.h"

namespace notch::test::fuzz {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const nn::SafetensorsFile& file, const nn::TensorEntry& entry) {
  Bytes bytes(entry.bytes);
  file.read_bytes(entry, bytes);
  return bytes;
}

int fuzz_safetensors(const std::uint8_t* data, std::size_t size) {
  const fs::path path = scratch() / "a.safetensors", again = scratch() / "b.safetensors";
  put_file(path, text_of(data, size));
  taken([&] {
    const nn::SafetensorsFile file = nn::SafetensorsFile::open(path);
    taken([&] { file.verify(); });
    std::vector<nn::TensorSource> sources;
    std::vector<Bytes> held;
    held.reserve(file.entries().size());
    for (const nn::TensorEntry& entry : file.entries()) {
      held.push_back(bytes_of(file, entry));
      std::vector<real> values(std::min<std::size_t>(static_cast<std::size_t>(entry.size()), 64));
      taken([&] { file.read(entry, values); });
      sources.push_back(nn::raw_tensor(entry.name, entry.dtype, entry.shape, held.back()));
    }
    const UnsyncedWrites fast;
    nn::write_safetensors(again, sources, file.metadata());
    const nn::SafetensorsFile back = nn::SafetensorsFile::open(again);
    require(back.verify() == nn::Digest::holds && back.metadata() == file.metadata(),
            "metadata does not come back");
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const nn::TensorEntry* entry = back.find(sources[i].name);
      require(entry && entry->dtype == sources[i].dtype && entry->shape == sources[i].shape &&
                  bytes_of(back, *entry) == held[i],
              "a tensor that does not come back: ", sources[i].name);
    }
  });
  return 0;
}

std::vector<std::string> safetensors_seeds() {
  const UnsyncedWrites fast;
  const fs::path path = scratch() / "seed.safetensors";
  const std::vector<real> w{1, -2, 3, 0.5f, 1e-30f, 65504};
  const std::vector<std::byte> codes(5, std::byte{7});
  nn::write_safetensors(
      path,
      {nn::real_tensor("w", {2, 3}, w), nn::real_tensor("h", {6}, w, nn::DType::f16),
       nn::real_tensor("b", {}, std::span(w).first(1), nn::DType::bf16),
       nn::raw_tensor("codes", nn::DType::u8, {5}, codes),
       nn::raw_tensor("none", nn::DType::i8, {0, 4}, {})},
      {{"format", "pt"}});
  const std::string header =
      R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"b":{"dtype":"F4","shape":[2],"data_offsets":[8,9]}})";
  const std::uint64_t length = header.size();
  std::string plain(reinterpret_cast<const char*>(&length), sizeof length);
  return {read_file(path), plain + header + std::string(9, '\1')};
}

/// A header of many values for few tensors.
std::vector<std::string> safetensors_past() {
  std::string header = R"({"__metadata__":{)";
  for (int i = 0; i < 100'000; ++i) header += str(i ? "," : "", "\"", i, "\":\"\"");
  header += "}}";
  const std::uint64_t length = header.size();
  return {std::string(reinterpret_cast<const char*>(&length), sizeof length) + header};
}

int fuzz_gguf_file(const std::uint8_t* data, std::size_t size) {
  const fs::path path = scratch() / "a.gguf";
  put_file(path, text_of(data, size));
  taken([&] {
    const nn::GgufFile file = nn::GgufFile::open(path);
    taken([&] { file.verify(); });
    for (const nn::GgufTensor& t : file.tensors()) {
      std::vector<std::byte> bytes(t.bytes);
      file.read(t, bytes);
    }
  });
  return 0;
}

/// Every kind of value, and tensors of several types.
std::vector<std::string> gguf_file_seeds() {
  const UnsyncedWrites fast;
  const fs::path path = scratch() / "seed.gguf";
  const std::vector<nn::GgufEntry> metadata{
      {"general.type", std::string("model")},
      {"a.u32", std::uint32_t{7}},
      {"a.f32", 1e-5f},
      {"a.bool", true},
      {"a.texts", std::vector<std::string>{"x", "", "\xc3\xa9"}},
      {"a.ids", std::vector<std::int32_t>{1, -3}}};
  std::vector<nn::GgufSource> sources;
  for (const char* type : {"F32", "F16", "Q8_0", "Q4_0"}) {
    const nn::GgufType* kind = nn::gguf_type(type);
    const auto row = static_cast<std::size_t>(64 / kind->block * kind->bytes);
    sources.push_back({str("w.", type), kind, 2, 64, false,
                       [row](std::int64_t, std::int64_t n, std::vector<std::byte>& out) {
                         out.resize(out.size() + static_cast<std::size_t>(n) * row, std::byte{60});
                       }});
  }
  nn::write_gguf(path, metadata, sources);
  return {read_file(path)};
}

/// A number of codes and a grid, then a stream.
int fuzz_stream(const std::uint8_t* data, std::size_t size) {
  using namespace notch::quant;
  if (size < 4) return 0;
  const int bits = 2 + data[0] % 7;
  const bool asymmetric = data[0] >= 128;
  const Spec spec{.bits = bits, .grid = asymmetric ? GridKind::asymmetric : GridKind::narrow};
  const Grid grid = grid_of(spec);
  const std::int64_t count = data[1] + 256 * (data[2] % 8);
  const std::span<const std::uint8_t> stream(data + 3, size - 3);
  std::vector<std::int8_t> codes;
  if (taken([&] { codes = decode_codes(stream, count, grid, "stream"); })) {
    require(std::ssize(codes) == count, "another number of codes");
    require(decode_codes(encode_codes(codes, grid), count, grid, "stream") == codes,
            "decoded codes do not come back");
  }
  codes.clear();
  for (const std::uint8_t byte : stream) {
    codes.push_back(static_cast<std::int8_t>(grid.qmin + byte % (grid.qmax - grid.qmin + 1)));
  }
  require(decode_codes(encode_codes(codes, grid), std::ssize(codes), grid, "stream") == codes,
          "codes do not come back");
  return 0;
}

std::vector<std::string> stream_seeds() {
  using namespace notch::quant;
  std::vector<std::string> seeds;
  for (const int bits : {2, 4, 8}) {
    const Grid grid = grid_of({.bits = bits});
    std::vector<std::int8_t> codes;
    Rng rng(static_cast<std::uint64_t>(bits));
    for (int i = 0; i < 200; ++i) {
      const double code = rng.normal() * grid.qmax / 3;
      codes.push_back(static_cast<std::int8_t>(std::clamp<double>(code, grid.qmin, grid.qmax)));
    }
    const std::vector<std::uint8_t> stream = encode_codes(codes, grid);
    seeds.push_back(std::string{static_cast<char>(bits - 2), static_cast<char>(200), 0} +
                    std::string(stream.begin(), stream.end()));
  }
  return seeds;
}

std::vector<nn::CheckpointPart> parts_of(std::vector<real>& w, std::vector<real>& moments) {
  return {{.file = "model.safetensors", .tensors = {{"w", {2, 3}, w}}},
          {.file = "optimizer.safetensors", .tensors = {{"w.m", {6}, moments}, {"w.v", {0}, {}}}}};
}

int fuzz_checkpoint(const std::uint8_t* data, std::size_t size) {
  const fs::path root = scratch() / "ckpt", dir = root / "step-000002";
  put_files(dir, unpack(text_of(data, size)));
  std::vector<real> w(6), moments(6);
  bool whole = false;
  taken([&] {
    nn::load_checkpoint(dir, parts_of(w, moments));
    whole = true;
  });
  require(whole || (w == std::vector<real>(6) && moments == std::vector<real>(6)),
          "half a checkpoint was loaded");
  const nn::LatestCheckpoint latest = nn::latest_checkpoint(root);
  require(latest.path.has_value() || latest.skipped.size() == 1, "a checkpoint without a word");
  require(!whole || latest.path, "a whole checkpoint was passed over");
  return 0;
}

std::vector<std::string> checkpoint_seeds() {
  const UnsyncedWrites fast;
  std::vector<real> w{1, 2, 3, 4, 5, 6}, moments(6, 0.5f);
  const fs::path root = scratch() / "seed-ckpt";
  fs::remove_all(root);
  Json state = Json::object();
  state.set("step", 2).set("rng", Json::array());
  return {pack(files_of(nn::save_checkpoint(root, 2, parts_of(w, moments), state, 1)))};
}

const bool weights_added =
    add_targets({{"safetensors", fuzz_safetensors, safetensors_seeds, safetensors_past},
                 {"gguf_file", fuzz_gguf_file, gguf_file_seeds, none},
                 {"coded_stream", fuzz_stream, stream_seeds, none},
                 {"checkpoint", fuzz_checkpoint, checkpoint_seeds, none}});

}  // namespace
}  // namespace notch::test::fuzz
