// What a terminal would act on is shown as an escape; all other text is itself.
#include "autograd/base/printable.h"

#include "tests/catch.h"

namespace printable_test {

using namespace notch;

TEST_CASE("controls, marks of direction and stray bytes are escaped") {
  CHECK(printable("plain, ß, 語, 😀, \\n") == "plain, ß, 語, 😀, \\n");
  CHECK(printable("a\x1b[31mred") == "a\\u001B[31mred");
  CHECK(printable(std::string_view("\0\x7f", 2)) == "\\u0000\\u007F");
  CHECK(printable("two\nlines\tand\rback") == "two\\nlines\\tand\\u000Dback");
  CHECK(printable("\u0085\u009b") == "\\u0085\\u009B");
  CHECK(printable("a\u202e\u2066\u200f\u061c\u2028z") == "a\\u202E\\u2066\\u200F\\u061C\\u2028z");
  CHECK(printable("\u2010\u202f\u206a") == "\u2010\u202f\u206a");  // neighbours stay
  CHECK(printable("a\xff\xc3") == "a\\xFF\\xC3");
  CHECK(printable_lines("two\n\tlines\x1b") == "two\n\tlines\\u001B");
}

TEST_CASE("an error's text makes no lines of its own, its parts stay") {
  const Error e(
      {.where = "a\nhint: b", .what = "is\x1b[2J wrong", .field = "\u202e", .found = "x\ny"});
  CHECK(std::string(e.what()) == "a\\nhint: b: \\u202E: is\\u001B[2J wrong; found x\\ny");
  CHECK(e.parts().where == "a\nhint: b");
}

}  // namespace printable_test
