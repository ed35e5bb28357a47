// The files of these tests are put together here byte by byte, from the format's description, so
// that reader and writer do not only agree with each other.
#include "nn/safetensors.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "autograd/base/json.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/plain_file.h"
#include "tests/nn/safetensors_bytes.h"

namespace safetensors_test {

using namespace notch;
using namespace notch::nn;
using notch::test::bytes_of;
using notch::test::entry;
using notch::test::error_of;
using notch::test::file_bytes;
using notch::test::put_file;
using notch::test::TemporaryDirectory;

// The parts of the error that opening a file of these bytes must give.
ErrorParts refusal(const TemporaryDirectory& dir, const std::string& bytes) {
  const fs::path path = dir / "bad.safetensors";
  put_file(path, bytes);
  return error_of([&] { SafetensorsFile::open(path); });
}

TEST_CASE("a written file has the layout of the format, byte for byte") {
  const TemporaryDirectory dir;
  const std::vector<real> w{1, -2};
  const std::string codes = "abc";
  write_safetensors(dir / "a.safetensors",
                    {raw_tensor("codes", DType::u8, {3}, bytes_of(codes)),
                     real_tensor("w", {1, 2}, w), real_tensor("b", {}, std::span(w).first(1))},
                    {{"format", "pt"}});
  std::string header =
      "{\"__metadata__\": {\"format\": \"pt\", \"notch.digest\": \"sha256 of 000000000374\", "
      // Python's hashlib: sha256(header without this member, as of earlier builds || sha256(data))
      "\"notch.sha256\": \"16b61aabf7a327a8543f9ba00486b5df92d1ce77b9c72463cd64e794238d5edd\"}, "
      "\"b\": {\"dtype\": \"F32\", \"shape\": [], \"data_offsets\": [0, 4]}, "
      "\"w\": {\"dtype\": \"F32\", \"shape\": [1, 2], \"data_offsets\": [4, 12]}, "
      "\"codes\": {\"dtype\": \"U8\", \"shape\": [3], \"data_offsets\": [12, 15]}}";
  CHECK(8 + header.size() + 15 == 374);
  while (header.size() % 8 != 0) header += ' ';
  // IEEE 754: 1.0f = 3f800000, -2.0f = c0000000.
  const std::string data(
      "\x00\x00\x80\x3f\x00\x00\x80\x3f\x00\x00\x00\xc0"
      "abc",
      15);
  CHECK(read_file(dir / "a.safetensors") == file_bytes(header, 0) + data);
}

TEST_CASE("every floating dtype reads back what its format can hold") {
  const TemporaryDirectory dir;
  // 1/3 in each format, from its definition: 24, 11 and 8 significant bits; and values at the
  // edges.
  const std::vector<real> values{0, -real(0), 1, real(1) / 3, real(65504), real(-0x1p-24f)};
  write_safetensors(
      dir / "a",
      {real_tensor("d", {6}, values, DType::f64), real_tensor("f", {2, 3}, values, DType::f32),
       real_tensor("h", {3, 2}, values, DType::f16), real_tensor("b", {6}, values, DType::bf16)});
  const SafetensorsFile file = SafetensorsFile::open(dir / "a");
  const auto read = [&](std::string_view name) {
    std::vector<real> out(6);
    file.read(*file.find(name), out);
    return out;
  };
  CHECK(read("d") == values);
  CHECK(std::signbit(read("f")[1]));
  CHECK(read("f")[3] == real(1.0f / 3));
  CHECK(read("h")[3] == real(1365.0 / 4096));  // in [1/4, 1/2): 2^-12 steps
  CHECK(read("b")[3] == real(171.0 / 512));    // 2^-9 steps
  CHECK(read("h")[4] == 65504);
  CHECK(read("b")[4] == 65536);  // 65280 and 65536 are the neighbours
  CHECK(read("h")[5] == real(-0x1p-24f));
}

TEST_CASE("reals survive a round trip bit for bit, in pieces too") {
  const TemporaryDirectory dir;
  std::vector<real> values(100'001);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<real>(std::sin(0.5 + static_cast<int>(i)) *
                                  std::pow(10.0, static_cast<int>(i % 60) - 30));
  }
  values[7] = std::numeric_limits<real>::quiet_NaN();
  values[8] = -std::numeric_limits<real>::infinity();
  values[9] = std::numeric_limits<real>::denorm_min();
  const auto n = static_cast<std::int64_t>(values.size());
  write_safetensors(dir / "a", {real_tensor("x", {n}, values, kRealType)});
  const SafetensorsFile file = SafetensorsFile::open(dir / "a");
  std::vector<real> out(values.size());
  file.read(file.entries().front(), out);
  CHECK(std::memcmp(out.data(), values.data(), sizeof(real) * out.size()) == 0);
  std::vector<real> part(10);
  file.read(file.entries().front(), part, 99'990);
  CHECK(std::equal(part.begin(), part.end(), values.begin() + 99'990));
  CHECK(error_of([&] { file.read(file.entries().front(), part, n - 9); }).fault == Fault::usage);
  CHECK(error_of([&] { file.read(file.entries().front(), part, -1); }).fault == Fault::usage);
}

TEST_CASE("integers, empty tensors, an empty file and metadata read back") {
  const TemporaryDirectory dir;
  const std::vector<std::int32_t> ids{1, -1, 1 << 30};
  write_safetensors(
      dir / "a",
      {raw_tensor("ids", DType::i32, {3}, std::as_bytes(std::span(ids))),
       raw_tensor("none", DType::i8, {0, 7}, {}), raw_tensor("empty", DType::f32, {0}, {})},
      {{"k", "v\n\""}});
  const SafetensorsFile file = SafetensorsFile::open(dir / "a");
  CHECK(file.metadata() == Metadata{{"k", "v\n\""}});
  std::vector<std::int32_t> out(3);
  file.read_bytes(*file.find("ids"), std::as_writable_bytes(std::span(out)));
  CHECK(out == ids);
  CHECK(file.find("none")->size() == 0);
  CHECK(file.find("absent") == nullptr);
  std::vector<real> wrong(3);
  const ErrorParts e = error_of([&] { file.read(*file.find("ids"), wrong); });
  CHECK(e.fault == Fault::input);
  CHECK(e.field == "ids");
  CHECK(e.found == "I32");

  write_safetensors(dir / "b", {});
  const SafetensorsFile none = SafetensorsFile::open(dir / "b");
  CHECK(none.entries().empty());
}

TEST_CASE("a file cut at any byte is refused as input") {
  const TemporaryDirectory dir;
  const std::vector<real> w{1, 2, 3};
  write_safetensors(dir / "a",
                    {real_tensor("w", {3}, w), real_tensor("v", {2}, std::span(w).first(2))},
                    {{"format", "pt"}});
  const std::string whole = read_file(dir / "a");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CHECK(refusal(dir, whole.substr(0, n)).fault == Fault::input);
  }
  CHECK(refusal(dir, whole + '\0').fault == Fault::input);
}

TEST_CASE("a header with any bit flipped is refused or means the same sizes") {
  const TemporaryDirectory dir;
  const std::vector<real> w{1, 2, 3};
  write_safetensors(dir / "a", {real_tensor("w", {3}, w)});
  const std::string whole = read_file(dir / "a");
  const std::size_t header_end = whole.size() - 12;
  for (std::size_t bit = 0; bit < 8 * header_end; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    put_file(dir / "bad", damaged);
    try {
      const SafetensorsFile file = SafetensorsFile::open(dir / "bad");
      // What still opens is another name, or another type of the same size: F32 against I32.
      REQUIRE(file.entries().size() == 1);
      CHECK(file.entries()[0].bytes == 12);
    } catch (const Error& e) {
      CHECK(e.fault() == Fault::input);
    }
  }
}

TEST_CASE("bad boundary values in a header are refused by tensor name") {
  const TemporaryDirectory dir;
  const auto with = [&](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return refusal(dir, file_bytes("{\"w\":" + entry(dtype, shape, offsets) + "}", 24));
  };
  write_file(dir / "good", file_bytes("{\"w\":" + entry("\"F32\"", "[2,3]", "[0,24]") + "}", 24));
  CHECK(SafetensorsFile::open(dir / "good").find("w")->shape == FileShape{2, 3});

  for (const char* dtype :
       {"\"\"", "\"f32\"", "\"F33\"", "32", "null", "[]", "\"F64\"", "\"U8\""}) {
    const ErrorParts e = with(dtype, "[2,3]", "[0,24]");
    CHECK(e.fault == Fault::input);
    CHECK(e.field == "w");
  }
  for (const char* shape :
       {"[]", "[2]", "[2,4]", "[0]", "[2,-3]", "[-2,-3]", "[2.0,3]", "[\"2\",3]", "6", "{}", "null",
        "[9223372036854775807]", "[9223372036854775808]", "[4611686018427387904,4]",
        "[4294967296,4294967296]", "[2,3,0,9223372036854775807]",
        "[9223372036854775807,9223372036854775807,0]", "[true,6]", "[1e99]"}) {
    const ErrorParts e = with("\"F32\"", shape, "[0,24]");
    CHECK(e.fault == Fault::input);
    CHECK(e.field == "w");
  }
  CHECK(with("\"F32\"", "[2.0,3]", "[0,24]").found == "[2.0,3]");
  for (const char* offsets :
       {"[]", "[24]", "[0,24,24]", "[24,0]", "[0,23]", "[0,25]", "[1,25]", "[-1,23]", "[-24,0]",
        "[0,-24]", "[0,9223372036854775807]", "[9223372036854775783,9223372036854775807]",
        "[0,18446744073709551615]", "[18446744073709551592,0]", "[0.0,24]", "\"0,24\"", "null"}) {
    const ErrorParts e = with("\"F32\"", "[2,3]", offsets);
    CHECK(e.fault == Fault::input);
    CHECK(e.field == "w");
  }
}

TEST_CASE("headers that are no map of tensors are refused") {
  const TemporaryDirectory dir;
  const std::string w = entry("\"F32\"", "[1]", "[0,4]");
  for (const std::string& header :
       {std::string(""), std::string(" "), std::string("[]"), std::string("null"),
        std::string(" {}"), std::string("{"), std::string("{}x"), std::string("{\"w\":{}}"),
        std::string("{\"w\":[]}"), std::string("{\"w\":1}"), "{\"w\":" + w + ",\"w\":" + w + "}",
        std::string("{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}"),
        "{\"w\":" + w.substr(0, w.size() - 1) + ",\"more\":1}}",
        "{\"__metadata__\":[],\"w\":" + w + "}", "{\"__metadata__\":{\"k\":1},\"w\":" + w + "}",
        "{\"\xff\":" + w + "}"}) {
    CHECK(refusal(dir, file_bytes(header, 4)).fault == Fault::input);
  }
  // Lengths that point outside the file, up to 2^64 - 1.
  for (const std::uint64_t n :
       {std::uint64_t{3}, std::uint64_t{1} << 20, std::uint64_t{100'000'001},
        std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &n, 8);
    CHECK(refusal(dir, bytes + "{}").fault == Fault::input);
  }
}

TEST_CASE("overlaps, holes and bytes that belong to nobody are refused") {
  const TemporaryDirectory dir;
  const auto two = [&](const std::string& a, const std::string& b, std::size_t data_bytes) {
    return refusal(dir, file_bytes("{\"a\":" + entry("\"F32\"", "[1]", a) +
                                       ",\"b\":" + entry("\"F32\"", "[1]", b) + "}",
                                   data_bytes));
  };
  CHECK(two("[0,4]", "[0,4]", 8).field == "b");
  CHECK(two("[0,4]", "[2,6]", 6).field == "b");
  CHECK(two("[4,8]", "[2,6]", 8).field == "b");
  const ErrorParts hole = two("[0,4]", "[5,9]", 9);
  CHECK(hole.field == "b");
  CHECK(hole.found == "offset 5");
  CHECK(hole.expected == "offset 4");
  CHECK(two("[4,8]", "[8,12]", 12).field == "a");
  CHECK(two("[0,4]", "[4,8]", 9).fault == Fault::input);
  CHECK(refusal(dir, file_bytes("{}", 1)).fault == Fault::input);
}

TEST_CASE("the header's order is free, the data's is that of the offsets") {
  const TemporaryDirectory dir;
  write_file(dir / "a", file_bytes("{\"z\":" + entry("\"U8\"", "[2]", "[4,6]") +
                                       ",\"a\":" + entry("\"U8\"", "[4]", "[0,4]") +
                                       ",\"e\":" + entry("\"F32\"", "[0]", "[4,4]") + "}  ",
                                   6));
  const SafetensorsFile file = SafetensorsFile::open(dir / "a");
  REQUIRE(file.entries().size() == 3);
  CHECK(file.entries()[0].name == "a");
  CHECK(file.entries()[2].name == "z");
  std::array<std::byte, 2> z{};
  file.read_bytes(*file.find("z"), z);
  CHECK(z[0] == std::byte{4});
  CHECK(z[1] == std::byte{5});
}

TEST_CASE("what is no file is an I/O error") {
  const TemporaryDirectory dir;
  CHECK(error_of([&] { SafetensorsFile::open(dir / "absent"); }).fault == Fault::io);
  CHECK(error_of([&] { SafetensorsFile::open(dir.path()); }).fault == Fault::io);
}

TEST_CASE("the writer refuses bad tensors and leaves what was there") {
  const TemporaryDirectory dir;
  const fs::path path = dir / "a";
  write_file(path, "before");
  const std::vector<real> w{1, 2};
  const auto refused = [&](std::vector<TensorSource> tensors) {
    CHECK(error_of([&] { write_safetensors(path, tensors); }).fault == Fault::usage);
    CHECK(read_file(path) == "before");
    CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);
  };
  refused({real_tensor("w", {2}, w), real_tensor("w", {2}, w)});
  refused({real_tensor("", {2}, w)});
  refused({real_tensor("__metadata__", {2}, w)});
  refused({real_tensor("\xff", {2}, w)});
  refused({real_tensor("w", {3}, w)});
  refused({real_tensor("w", {1}, w)});
  refused({real_tensor("w", {-2, -1}, w)});
  refused({real_tensor("w", {std::int64_t{1} << 62, 4}, w)});
  refused({real_tensor("w", {2}, w, DType::i16)});
}

TEST_CASE("every type of the format opens with the size that its bits give") {
  const TemporaryDirectory dir;
  // Bits of an element, from the format's reference implementation.
  const std::vector<std::pair<std::string, std::size_t>> types{
      {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},   {"I8", 8},
      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"I16", 16}, {"U16", 16},
      {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},        {"F32", 32}, {"C64", 64},
      {"F64", 64},    {"I64", 64},    {"U64", 64},    {"F8_E5M2FNUZ", 8}};
  for (const auto& [type, bits] : types) {
    CAPTURE(type);
    const std::size_t bytes = 3 * 4 * bits / 8;
    const std::string offsets = "[0," + std::to_string(bytes) + "]";
    put_file(dir / "a",
             file_bytes("{\"w\":" + entry("\"" + type + "\"", "[3,4]", offsets) + "}", bytes));
    const SafetensorsFile file = SafetensorsFile::open(dir / "a");
    const TensorEntry& w = *file.find("w");
    CHECK(name(w.dtype) == type);
    CHECK(w.bytes == bytes);
    CHECK(w.size() == 12);
    CHECK(element_bits(w.dtype) == static_cast<std::int64_t>(bits));
    std::vector<std::byte> back(bytes);
    file.read_bytes(w, back);
    CHECK(back.back() == static_cast<std::byte>(bytes - 1));
    // A byte less or more, and elements that end inside a byte, are refused.
    const std::string less = "[0," + std::to_string(bytes - 1) + "]";
    CHECK(refusal(dir,
                  file_bytes("{\"w\":" + entry("\"" + type + "\"", "[3,4]", less) + "}", bytes - 1))
              .field == "w");
    if (bits % 8 == 0) continue;
    CHECK(refusal(dir, file_bytes("{\"w\":" + entry("\"" + type + "\"", "[3]", "[0,2]") + "}", 2))
              .field == "w");
  }
}

TEST_CASE("what lies in a safetensors file's place is named with advice") {
  const TemporaryDirectory dir;
  const auto named = [&](const std::string& bytes, std::string_view word) {
    const ErrorParts e = refusal(dir, bytes);
    CAPTURE(bytes);
    CHECK(e.fault == Fault::input);
    CHECK(e.found.find(word) != std::string::npos);
    CHECK_FALSE(e.hint.empty());
  };
  named("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 117056\n", "Git LFS");
  named("<!DOCTYPE html><html></html>", "web page");
  named("<html>", "web page");  // shorter than the length of a header
  named("GGUF\x03", "GGUF");
  named(std::string("PK\x03\x04\0\0\0\0archive/data.pkl", 24), "PyTorch");
}

}  // namespace safetensors_test
