// The container: bytes laid out by hand from the format's description (ggml-org/ggml, docs/gguf.md).
#include "nn/gguf.h"

#include <cstring>

#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/flipped_bits.h"
#include "tests/nn/plain_file.h"

namespace gguf_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::put_file;
using notch::test::TemporaryDirectory;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void text(std::string& out, std::string_view s) {
  put(out, std::uint64_t{s.size()});
  out += s;
}

/// One key of each kind that models use, the digest if any, a vector of 3 floats and a matrix of 2
/// rows of Q8_0. `more`: the bytes of `n_more` other entries.
std::string by_hand(const std::string& sha256 = "", const std::string& more = "",
                    std::uint64_t n_more = 0) {
  std::string f = "GGUF";
  put(f, std::uint32_t{3});
  put(f, std::uint64_t{2});
  put(f, std::uint64_t{sha256.empty() ? 4u : 6u} + n_more);
  text(f, "a.name"), put(f, std::uint32_t{8}), text(f, "tiny");
  text(f, "a.count"), put(f, std::uint32_t{4}), put(f, std::uint32_t{7});
  text(f, "a.flag"), put(f, std::uint32_t{7}), f += '\1';
  text(f, "a.words"), put(f, std::uint32_t{9}), put(f, std::uint32_t{8}), put(f, std::uint64_t{2});
  text(f, "x"), text(f, "yz");
  f += more;
  if (!sha256.empty()) {
    text(f, "notch.digest"), put(f, std::uint32_t{8});
    text(f, "sha256 of 1 MiB pieces of 00000000000000000576 bytes");
    text(f, "notch.sha256"), put(f, std::uint32_t{8});
    text(f, sha256 + " of 00000000000000000576 bytes");
  }
  text(f, "v"), put(f, std::uint32_t{1}), put(f, std::uint64_t{3}), put(f, std::uint32_t{0});
  put(f, std::uint64_t{0});
  text(f, "m"), put(f, std::uint32_t{2}), put(f, std::uint64_t{32}), put(f, std::uint64_t{2});
  put(f, std::uint32_t{8}), put(f, std::uint64_t{32});
  f.resize((f.size() + 31) / 32 * 32, '\0');
  for (const float x : {1.0f, 2.0f, 3.0f}) put(f, x);
  f.append(20, '\0');
  for (int i = 0; i < 68; ++i) f += static_cast<char>(i);
  f.resize((f.size() + 31) / 32 * 32, '\0');
  return f;
}

std::vector<GgufEntry> entries() {
  return {{"a.name", std::string("tiny")},
          {"a.count", std::uint32_t{7}},
          {"a.flag", true},
          {"a.words", std::vector<std::string>{"x", "yz"}}};
}

std::vector<GgufSource> sources() {
  return {{"v", gguf_type("F32"), 1, 3, true,
           [](std::int64_t, std::int64_t, std::vector<std::byte>& out) {
             for (const float x : {1.0f, 2.0f, 3.0f}) {
               const auto bytes = std::as_bytes(std::span(&x, 1));
               out.insert(out.end(), bytes.begin(), bytes.end());
             }
           }},
          {"m", gguf_type("Q8_0"), 2, 32, false,
           [](std::int64_t first, std::int64_t n, std::vector<std::byte>& out) {
             for (std::int64_t i = 34 * first; i < 34 * (first + n); ++i)
               out.push_back(static_cast<std::byte>(i));
           }}};
}

TEST_CASE("a GGUF file is byte for byte what its description says") {
  const TemporaryDirectory dir;
  write_gguf(dir / "f.gguf", entries(), sources());
  // Python's hashlib: sha256(sha256(the file with zeros for digits)), as it is one piece.
  CHECK(read_file(dir / "f.gguf") ==
        by_hand("67894102c28b58c09e817659aeec41b11c87472426e39e44c45baa0eaa5d218e"));
  CHECK(is_gguf(dir / "f.gguf"));
  const GgufFile file = GgufFile::open(dir / "f.gguf");
  CHECK(std::get<std::string>(*file.find("a.name")) == "tiny");
  CHECK(std::get<std::uint32_t>(*file.find("a.count")) == 7);
  CHECK(std::get<bool>(*file.find("a.flag")));
  CHECK(std::get<std::vector<std::string>>(*file.find("a.words")) ==
        std::vector<std::string>{"x", "yz"});
  CHECK(file.find("a.other") == nullptr);
  const GgufTensor* m = file.tensor("m");
  REQUIRE(m);
  CHECK(m->extents == std::vector<std::int64_t>{32, 2});
  CHECK(m->bytes == 68);
  std::array<std::byte, 4> bytes{};
  file.read(*m, bytes, 64);
  CHECK(bytes[3] == std::byte{67});
}

TEST_CASE("a GGUF file that is cut or that contradicts itself is refused") {
  const TemporaryDirectory dir;
  const std::string whole = by_hand();
  const auto fault_of = [&](const std::string& bytes) {
    write_file(dir / "f.gguf", bytes);
    return error_of([&] { GgufFile::open(dir / "f.gguf"); }).fault;
  };
  for (std::size_t n = 0; n + 28 < whole.size(); ++n)
    CHECK(fault_of(whole.substr(0, n)) == Fault::input);
  const auto changed = [&](std::string_view after, std::size_t skip, std::uint64_t value,
                           std::size_t bytes) {
    std::string f = whole;
    const std::size_t at = f.find(after) + after.size() + skip;
    std::memcpy(f.data() + at, &value, bytes);
    return f;
  };
  CHECK(fault_of(changed("GGUF", 0, 9, 4)) == Fault::input);                     // version
  CHECK(fault_of(changed("GGUF", 4, ~std::uint64_t{0}, 8)) == Fault::input);     // tensors
  CHECK(fault_of(changed("GGUF", 12, ~std::uint64_t{0}, 8)) == Fault::input);    // keys
  CHECK(fault_of(changed("a.words", 8, ~std::uint64_t{0}, 8)) == Fault::input);  // entries
  CHECK(fault_of(changed("a.count", 0, 99, 4)) == Fault::input);                 // type
  CHECK(fault_of(changed("a.flag", 4, 2, 1)) == Fault::input);                   // not a bool
  std::string twice = whole;
  twice.replace(twice.find("a.flag"), 6, "a.name");
  CHECK(fault_of(twice) == Fault::input);
  const std::string tensor("m\2\0\0\0", 5);
  CHECK(fault_of(changed(tensor, 0, std::uint64_t{1} << 62, 8)) == Fault::input);  // extent
  CHECK(fault_of(changed(tensor, 0, 33, 8)) == Fault::input);   // not whole blocks
  CHECK(fault_of(changed(tensor, 16, 77, 4)) == Fault::input);  // type
  CHECK(fault_of(changed(tensor, 20, 64, 8)) == Fault::input);  // offset
}

/// An array of `n` entries that take `bytes`; its key is a.more.
std::string array_entry(std::uint32_t type, std::uint64_t n, const std::string& bytes) {
  std::string out;
  text(out, "a.more"), put(out, std::uint32_t{9}), put(out, type), put(out, n);
  return out + bytes;
}

TEST_CASE("arrays that no model is read from are passed over") {
  const TemporaryDirectory dir;
  const auto opened = [&](const std::string& entry) {
    write_file(dir / "f.gguf", by_hand("", entry, 1));
    return GgufFile::open(dir / "f.gguf");
  };
  const auto length = [&](const std::string& entry) {
    const GgufFile file = opened(entry);
    CHECK(file.tensor("m")->bytes == 68);  // what follows is where it should be
    return std::get<GgufSkipped>(*file.find("a.more")).length;
  };
  // Types and their bytes as docs/gguf.md has them: u8, i8, u16, i16, bool, u64, i64, f64.
  const std::vector<std::pair<std::uint32_t, std::size_t>> types{{0, 1}, {1, 1},  {2, 2},  {3, 2},
                                                                 {7, 1}, {10, 8}, {11, 8}, {12, 8}};
  for (const auto& [type, bytes] : types) {
    for (const std::uint64_t n : {0, 1, 70000}) {  // the last is longer than a piece of the reader
      CAPTURE(type, n);
      CHECK(length(array_entry(type, n, std::string(n * bytes, '\1'))) == n);
    }
  }
  std::string inner;  // [[7, 8], ["ab"], []]
  put(inner, std::uint32_t{4}), put(inner, std::uint64_t{2}),
      put(inner, std::uint64_t{7 | 8ull << 32});
  put(inner, std::uint32_t{8}), put(inner, std::uint64_t{1}), text(inner, "ab");
  put(inner, std::uint32_t{0}), put(inner, std::uint64_t{0});
  CHECK(length(array_entry(9, 3, inner)) == 3);
  // Nothing is allocated or walked for what the file cannot hold.
  for (const std::uint32_t type : {0, 2, 7, 8, 9, 12}) {
    for (const std::uint64_t n : {std::uint64_t{2000}, ~std::uint64_t{0} / 8, ~std::uint64_t{0}}) {
      CAPTURE(type, n);
      CHECK(error_of([&] { opened(array_entry(type, n, "")); }).fault == Fault::input);
    }
  }
  CHECK(error_of([&] { opened(array_entry(13, 0, "")); }).found == "13");
  const auto nested = [](int depth) {
    std::string out;
    for (int i = 1; i < depth; ++i) put(out, std::uint32_t{9}), put(out, std::uint64_t{1});
    put(out, std::uint32_t{0}), put(out, std::uint64_t{0});
    return array_entry(9, 1, out);
  };
  CHECK(length(nested(7)) == 1);
  CHECK(error_of([&] { opened(nested(8)); }).field == "array type");
  CHECK(error_of([&] { opened(nested(100000)); }).field == "array type");
  // And such a value cannot be written.
  auto e = entries();
  e[3].value = GgufSkipped{2};
  CHECK(error_of([&] { write_gguf(dir / "g.gguf", e, sources()); }).fault == Fault::usage);
}

TEST_CASE("what llama.cpp would not load is not written") {
  const TemporaryDirectory dir;
  const auto refused = [&](auto change) {
    auto e = entries();
    auto s = sources();
    change(e, s);
    return error_of([&] { write_gguf(dir / "f.gguf", e, s); }).fault == Fault::usage;
  };
  CHECK(refused([](auto& e, auto&) { e[1].key = "a.name"; }));
  CHECK(refused([](auto&, auto& s) { s[1].name = "v"; }));
  CHECK(refused([](auto&, auto& s) { s[1].name = std::string(64, 'n'); }));
  CHECK(refused([](auto&, auto& s) { s[1].cols = 33; }));
  CHECK_FALSE(fs::exists(dir / "f.gguf"));
}

TEST_CASE("every flipped bit of a GGUF file is noticed") {
  const TemporaryDirectory dir;
  const fs::path file = dir / "f.gguf";
  write_gguf(file, entries(), sources());
  CHECK(GgufFile::open(file).verify() == Digest::holds);
  test::check_flips_noticed(file, [&] { GgufFile::open(file).verify(); });
}

TEST_CASE("a GGUF file without a digest of its own has none") {
  const TemporaryDirectory dir;
  put_file(dir / "f.gguf", by_hand());
  CHECK(GgufFile::open(dir / "f.gguf").verify() == Digest::none);
  // Another program's, with all of our metadata and a size of another file.
  const std::string digits(64, 'a');
  std::string bytes = by_hand(digits);
  put_file(dir / "f.gguf", bytes);
  CHECK(error_of([&] { GgufFile::open(dir / "f.gguf").verify(); }).found.size() == 64);
  put_file(dir / "f.gguf", bytes + std::string(1, '\0'));
  CHECK(error_of([&] { GgufFile::open(dir / "f.gguf"); }).what == "bytes after the last tensor");
  const std::string size = "00000000000000000576 bytes";
  for (std::size_t at = bytes.find(size); at != bytes.npos; at = bytes.find(size, at)) bytes[at + 19] = '7';
  put_file(dir / "f.gguf", bytes);
  CHECK(GgufFile::open(dir / "f.gguf").verify() == Digest::rewritten);
}

}  // namespace gguf_test
