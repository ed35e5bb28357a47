// What a safetensors file says of its own bytes.
#include <cstring>

#include "autograd/base/json.h"
#include "nn/safetensors.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/plain_file.h"
#include "tests/nn/safetensors_bytes.h"

namespace safetensors_digest_test {

using namespace notch;
using namespace notch::nn;
using notch::test::bytes_of;
using notch::test::entry;
using notch::test::error_of;
using notch::test::file_bytes;
using notch::test::put_file;
using notch::test::TemporaryDirectory;

TEST_CASE("the digest is that of its definition, over pieces and without data") {
  const TemporaryDirectory dir;
  std::string data;  // two pieces and a half; sent in portions that divide neither
  for (std::size_t i = 0; i < (5u << 19) + 12; ++i) data += static_cast<char>(7 * i + i / 256);
  const auto write = [&](const ByteSink& sink) {
    for (std::size_t at = 0; at < data.size(); at += 777'777) {
      sink(bytes_of(data).subspan(at, std::min<std::size_t>(777'777, data.size() - at)));
    }
  };
  write_safetensors(dir / "a", {{"x", DType::u8, {std::ssize(data)}, write}});
  write_safetensors(dir / "b", {});
  // From the definition in nn/safetensors.h by Python's hashlib.
  const SafetensorsFile a = SafetensorsFile::open(dir / "a"), b = SafetensorsFile::open(dir / "b");
  CHECK(a.digest() == "99b17c2b320154a561fa9dcb5c875b2f4efca46867aace9fc26354b07a5108f7");
  CHECK(b.digest() == "6b4f853aa23ce8b491dcba63ad40aad0e985704c9720745d7ee48cf2c40ace95");
  CHECK(a.verify() == Digest::holds);
  CHECK(b.verify() == Digest::holds);
  std::string bytes = read_file(dir / "a");
  for (const std::size_t at :
       {bytes.size() - 1, bytes.size() - (3u << 19), bytes.size() - 2'000'000}) {
    bytes[at] = static_cast<char>(bytes[at] ^ 64);
    put_file(dir / "a", bytes);
    const SafetensorsFile damaged = SafetensorsFile::open(dir / "a");
    const ErrorParts parts = error_of([&] { damaged.verify(); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.where == dir / "a");
    CHECK(parts.expected == a.digest());
    bytes[at] = static_cast<char>(bytes[at] ^ 64);
  }
}

TEST_CASE("a file without a digest has none, one with half of it is damaged") {
  const TemporaryDirectory dir;
  const auto opened = [&](const std::string& metadata) {
    put_file(dir / "a",
             file_bytes("{" + metadata + "\"w\":" + entry("\"U8\"", "[4]", "[0,4]") + "}", 4));
    return SafetensorsFile::open(dir / "a");
  };
  CHECK(opened("").verify() == Digest::none);
  CHECK(opened("\"__metadata__\":{\"format\":\"pt\",\"sha256\":\"00\"},").verify() == Digest::none);
  for (const char* metadata :
       {R"("__metadata__":{"notch.digest":"sha256 of 1 MiB pieces"},)",
        R"("__metadata__":{"notch.sha256":"00"},)",
        R"("__metadata__":{"notch.sha256":"00","notch.digest":"sha256 of 1 MiB pieces"},)",
        R"("__metadata__":{"notch.sha256":"00","notch.digest":"sha512"},)",
        R"("__metadata__":{"notch.sha256":"00","notch.digest":"sha256 of 00000000012"},)",
        R"("__metadata__":{"notch.sha256":"00","notch.digest":"sha256 of 0000000001x2"},)"}) {
    CAPTURE(metadata);
    const SafetensorsFile file = opened(metadata);
    CHECK(error_of([&] { file.verify(); }).fault == Fault::input);
  }
}

TEST_CASE("another program may lay the header out anew") {
  const TemporaryDirectory dir;
  const std::vector<real> w{1, 2, 3};
  write_safetensors(dir / "a",
                    {real_tensor("w", {3}, w), real_tensor("v\u00e9", {1}, std::span(w).first(1))},
                    {{"k", "v"}});
  const std::string bytes = read_file(dir / "a");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const Json header = Json::parse(bytes.substr(8, header_bytes), "header");
  Json::Object members = header.as_object("header");
  std::ranges::reverse(members);
  put_file(dir / "b", file_bytes(Json(members).dump(3), 0) + bytes.substr(8 + header_bytes));
  CHECK(SafetensorsFile::open(dir / "b").verify() == Digest::holds);
}

TEST_CASE("a digest that came with copied metadata says nothing") {
  const TemporaryDirectory dir;
  const std::vector<real> w{1, 2, 3};
  write_safetensors(dir / "a", {real_tensor("w", {3}, w)}, {{"k", "v"}});
  const std::string bytes = read_file(dir / "a");
  const std::size_t unpadded = bytes.rfind('}') + 1 + 3 * sizeof(float);
  CHECK(bytes.find(str("sha256 of 000000000", unpadded, '"')) != std::string::npos);
  const std::string metadata = bytes.substr(8, bytes.find('}') - 7);
  const auto state_of = [&](const std::string& tensors, std::size_t data) {
    put_file(dir / "b", file_bytes(str(metadata, ", ", tensors, "}"), data));
    return SafetensorsFile::open(dir / "b").verify();
  };
  // Another name, another shape; the same ones with other values are damage.
  CHECK(state_of("\"_orig_mod.w\":" + entry("\"F32\"", "[3]", "[0,12]"), 12) == Digest::rewritten);
  CHECK(state_of("\"w\":" + entry("\"F32\"", "[16]", "[0,64]"), 64) == Digest::rewritten);
  const ErrorParts parts =
      error_of([&] { state_of("\"w\":" + entry("\"F32\"", "[3]", "[0,12]"), 12); });
  CHECK(parts.fault == Fault::input);
}

}  // namespace safetensors_digest_test
