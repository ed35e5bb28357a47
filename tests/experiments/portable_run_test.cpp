// train.products = "portable": what a run computes, training and every method, is the same bits on
// every variant of the kernels and with any number of threads.
#include "autograd/base/arithmetic.h"
#include "autograd/base/thread_pool.h"
#include "tests/base/temporary_directory.h"
#include "tests/experiments/tiny_experiment.h"

namespace portable_run_test {

using namespace notch;
using namespace notch::test;

TEST_CASE("a portable run has one hash on any processor") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.train.steps = 20;
  config.qat.steps = 2;
  config.quant.bits = {4};
  config.quant.methods = {"rtn",  "gptq", "gptaq",         "hqq",     "awq",
                          "lqer", "gsq",  "gptq-hadamard", "qat-ste", "qat-lsq-kd"};
  config.quant.options.gsq.steps = 4;
  const ScopedArithmetic restored(arithmetic());
  const int before = threads();
  const TemporaryDirectory directory;
  const auto hash = [&](const std::string& name, std::string products, Isa isa, int n_threads) {
    config.train.products = std::move(products);
    use_products(config);
    const ForcedIsa forced(isa);
    set_threads(n_threads);
    const Data data = load_data(config, {});
    const std::string found =
        results_hash(run_all(config, data, directory / name, Earlier::refuse));
    set_threads(before);
    return found;
  };
  const std::string plain = hash("plain", "portable", Isa::portable, 1);
  CHECK(read_file(directory / "plain/results.md").find("; portable products") != std::string::npos);
  CHECK(hash("avx2", "portable", Isa::avx2, 2) == plain);
  CHECK(hash("avx512", "portable", Isa::avx512, 3) == plain);
  config.quant.methods = {"rtn"};
  const std::string rows = hash("portable", "portable", Isa::avx512, 1);
  // The comparison can fail: contraction, and OpenBLAS's order, make other numbers.
  CHECK(hash("native", "openblas", Isa::avx512, 1) != rows);
}

}  // namespace portable_run_test
