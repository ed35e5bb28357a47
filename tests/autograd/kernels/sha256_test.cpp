// The processor's SHA-256 is the portable one, whose digests tests/base/sha256_test.cpp knows.
#include "autograd/kernels/sha256.h"

#include <string>

#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace sha256_test {

using namespace notch;

TEST_CASE("the fastest blocks hash as the portable ones, at any length") {
  Rng rng(3);
  std::string text;
  for (int i = 0; i < 700; ++i) text += static_cast<char>(rng.next());
  for (std::size_t n = 0; n <= text.size(); ++n) {
    Sha256 portable;
    kernels::Sha256 fast;
    portable.update(text.data(), n);
    fast.update(text.data(), n);
    REQUIRE(fast.hex() == portable.hex());
  }
  kernels::Sha256 fast;
  fast.update(std::string(1000000, 'a'));  // FIPS 180-2, appendix B.3
  CHECK(fast.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace sha256_test
