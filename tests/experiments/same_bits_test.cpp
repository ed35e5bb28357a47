// What a run's bits do not depend on: threads, where it lies, and how numbers are written in the
// user's language; fp32 and rows of every kind at once.
#include <clocale>
#include <locale>
#include <sstream>

#include "autograd/base/thread_pool.h"
#include "tests/base/temporary_directory.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::same_bits_test {

/// Wide enough that its work is cut into several tiles.
ExperimentConfig every_kind() {
  ExperimentConfig c = test::tiny_experiment();
  c.seeds = {1};
  c.data.task_examples = 4;
  c.model.n_embd = 64;
  c.model.block_size = 64;
  c.train.steps = 6;
  c.train.batch_size = 8;
  c.quant.bits = {4};
  c.quant.methods = {"gptq", "gptaq", "awq", "qat-ste", "qat-lsq", "qat-lsq-kd", "qlora"};
  c.qat.steps = 2;
  return c;
}

/// 1.234.567,5
struct CommaForPoint : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

/// While one lives: another language, in C++ and, where the system has one with a comma, in C.
class OtherLanguage {
 public:
  OtherLanguage() {
    for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8", "pt_BR.UTF-8"})
      if (std::setlocale(LC_ALL, name)) break;
    std::locale::global(std::locale(std::locale::classic(), new CommaForPoint));
  }
  ~OtherLanguage() {
    std::locale::global(before_);
    std::setlocale(LC_ALL, "C");
  }
  OtherLanguage(const OtherLanguage&) = delete;
  OtherLanguage& operator=(const OtherLanguage&) = delete;

 private:
  std::locale before_ = std::locale();
};

TEST_CASE("a run of every kind of row has one hash anywhere") {
  const ExperimentConfig config = every_kind();
  const test::TemporaryDirectory directory;
  const auto hash = [&](std::string_view place) {
    const Data data = load_data(config, {});
    return results_hash(test::run_all(config, data, directory / place, Earlier::refuse));
  };
  const int before = threads();
  set_threads(1);
  const std::string expected = hash("1");
  for (int n = 2; n <= 7; ++n) {
    set_threads(n);
    INFO(n << " threads");
    CHECK(hash(str(n)) == expected);
  }
  set_threads(before);
  CHECK(hash("a folder, d\xc3\xa9j\xc3\xa0 vu/below/it") == expected);
  {
    const OtherLanguage other;
    std::ostringstream numbers;
    numbers << 1234567;
    CHECK(numbers.str() == "1.234.567");  // the comparison can fail
    CHECK(hash("language") == expected);
  }
}

}  // namespace notch::experiments::same_bits_test
