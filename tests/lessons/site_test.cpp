// The pages of lessons: what is stepped has the values that the lessons' tables derive.
#include "experiments/lessons/site.h"

#include <cmath>
#include <map>

#include "autograd/base/files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace site_test {

using namespace notch;
using namespace notch::lessons;

TEST_CASE("the tape's page has the values and slopes of tanh(w x + b)") {
  // At w = 0.5, x = 2, b = -0.5: z = 0.5, y = tanh(0.5), dy/dz = 1 - y y.
  const double y = std::tanh(0.5), slope = 1 - y * y;
  const std::map<std::string, double> values{{"w", 0.5},   {"x", 2},   {"b", -0.5},
                                             {"w x", 1.0}, {"z", 0.5}, {"y", y}};
  const std::map<std::string, double> slopes{{"y", 1},       {"z", slope},     {"b", slope},
                                             {"w x", slope}, {"w", 2 * slope}, {"x", 0.5 * slope}};
  std::size_t forward = 0, backward = 0;
  for (const TapeStep& s : tape_steps()) {
    CAPTURE(s.where, s.backward);
    CHECK((backward == 0 || s.backward));  // back only after all of the way forward
    ++(s.backward ? backward : forward);
    CHECK(s.number == Approx((s.backward ? slopes : values).at(s.where)).epsilon(1e-6));
  }
  CHECK(forward == values.size());
  CHECK(backward == slopes.size());
}

TEST_CASE("GPTQ's page rounds the columns by hand") {
  // H⁻¹ has 9/13 and -4/13, later 5/9 and -4/9, later 1/5: factors 4/9, then 4/5.
  const std::vector<ColumnStep> steps = column_steps();
  REQUIRE(steps.size() == 3);
  CHECK(steps[0].weight == Approx(0.1));
  CHECK(steps[0].scaled_error == Approx(0.1 * 13 / 9));
  CHECK(steps[1].weight == Approx(0.2 + 0.1 * 4 / 9));
  CHECK(steps[0].after[2] == Approx(0.3 + 0.1 * 4 / 9));
  CHECK(steps[2].weight == Approx(0.54));
  CHECK(steps[2].scaled_error == Approx((0.54 - 1) * 5));
  CHECK(steps[2].after[0] == 0);
  CHECK(steps[2].after[1] == 0);
  CHECK(steps[2].after[2] == 1);
}

TEST_CASE("the site is complete in itself") {
  const test::TemporaryDirectory scratch;
  const auto dir = scratch / "deep/pages";
  write_site(dir);
  std::size_t pages = 0, bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const std::string page = read_file(entry.path());
    CAPTURE(entry.path().string());
    ++pages;
    bytes += page.size();
    for (const char* outside : {"src=", "url(", "@import", "fetch(", "href=\"http"}) {
      CHECK(page.find(outside) == std::string::npos);
    }
    const std::size_t script = page.find("<script>");
    if (script == std::string::npos) continue;
    const std::string code = page.substr(script + 8, page.find("</script>") - script - 8);
    CHECK(code.size() < 6000);  // a few kilobytes, to be read
    CHECK(code.find_first_of("<&") == std::string::npos);
  }
  CHECK(pages == 5);
  CHECK(bytes < 200'000);
  const std::string before = read_file(dir / "width.html");
  write_site(dir);
  CHECK(read_file(dir / "width.html") == before);
}

}  // namespace site_test
