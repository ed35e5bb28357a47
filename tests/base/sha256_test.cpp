// SHA-256 against the examples of FIPS 180-2 appendix B and NIST's CAVS files, and properties of
// the incremental interface.
#include "autograd/base/sha256.h"

#include "autograd/base/files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace sha256_test {

using namespace notch;

TEST_CASE("sha256 gives the digests of the published examples") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
               "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu") ==
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  CHECK(sha256(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("the digest does not depend on how the bytes are cut into updates") {
  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>(i * 7);
  const std::string whole = sha256(text);
  for (std::size_t first = 0; first <= text.size(); ++first) {
    Sha256 hash;
    hash.update(text.substr(0, first));
    hash.update(std::string_view());
    hash.update(text.substr(first));
    REQUIRE(hash.hex() == whole);
  }
  Sha256 bytewise;
  for (const char c : text) bytewise.update(&c, 1);
  CHECK(bytewise.hex() == whole);
}

TEST_CASE("the padding is right for every length around a block") {
  // sha256 of the concatenated digests of 'x' * n for n = 0..130, from Python's hashlib.
  std::string digests;
  for (std::size_t n = 0; n <= 130; ++n) digests += sha256(std::string(n, 'x'));
  CHECK(sha256(digests) == "87aca1c44bc7ba8897768170211f0a02063de70801131ff86c7edb9ce32c6a50");
}

TEST_CASE("sha256_file is sha256 of the bytes and reports unreadable files") {
  const test::TemporaryDirectory directory;
  const std::string bytes(200001, '\x80');
  write_file(directory / "f", bytes);
  CHECK(sha256_file(directory / "f") == sha256(bytes));
  CHECK(test::error_of([&] { sha256_file(directory / "absent"); }).fault == Fault::io);
  CHECK(test::error_of([&] { sha256_file(directory.path()); }).fault == Fault::io);
}

}  // namespace sha256_test
