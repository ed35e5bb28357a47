// notch doctor: is this machine fit, and is something holding it back?
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <limits>
#include <sstream>
#include <thread>

#include "autograd/base/arithmetic.h"
#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/sha256.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/self_test.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/shared_flags.h"
#include "nn/gpt.h"
#include "quant/kernels/self_test.h"

namespace notch::experiments {
namespace {

void line(std::string_view what, std::string_view says) {
  std::cout << std::left << std::setw(10) << what << says << '\n';
}

std::string gib(double bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << bytes / 1073741824.0 << " GiB";
  return out.str();
}

std::string features(const Cpu& cpu) {
  struct Feature {
    std::string_view name{};
    std::vector<std::string_view> flags{};
  };
  static const std::vector<Feature> all = {{"AVX2", {"avx2"}},
                                           {"FMA", {"fma"}},
                                           {"AVX-512", {"avx512f"}},
                                           {"VNNI", {"avx512_vnni", "avx_vnni"}},
                                           {"BF16", {"avx512_bf16", "bf16"}},
                                           {"AMX", {"amx_int8"}},
                                           {"NEON", {"asimd"}},
                                           {"DOTPROD", {"asimddp"}},
                                           {"I8MM", {"i8mm"}},
                                           {"SVE", {"sve"}}};
  std::string out;
  for (const Feature& f : all) {
    if (std::ranges::any_of(f.flags, [&](std::string_view flag) { return cpu.has(flag); })) {
      out += str(out.empty() ? "" : " ", f.name);
    }
  }
  return out.empty() ? "no vector extensions that are used here" : out;
}

std::string locale_text() {
  for (const char* name : {"LC_ALL", "LC_NUMERIC", "LANG"}) {
    const char* value = std::getenv(name);
    if (value && *value) return str(name, "=", value);
  }
  return "none set";
}

/// Loss and gradients of a small model, as one hash of all their bits.
std::string bits_with(int n_threads) {
  set_threads(n_threads);
  nn::Gpt model({.vocab_size = 64, .block_size = 64, .n_layer = 2, .n_head = 2, .n_embd = 64});
  model.init(1);
  model.params().allocate_gradients();
  constexpr std::int64_t B = 12, T = 64;  // rows enough for several tiles
  std::vector<std::int32_t> ids(B * T + 1);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * i % 61);
  const std::span<const std::int32_t> all(ids);
  Graph graph;
  graph.begin(Graph::Mode::training);
  const Var loss =
      model.loss(graph, {.tokens = {all.first(B * T), B, T}, .targets = all.subspan(1, B * T)});
  Sha256 hash;
  const real value = loss.item();
  hash.update(&value, sizeof value);
  graph.backward(loss);
  for (const Param& p : model.params().params()) {
    hash.update(p.grad.data, p.grad.flat().size_bytes());
  }
  return hash.hex();
}

void require(bool ok, std::string_view says, std::string what, std::string hint) {
  if (ok) {
    if (!says.empty()) line("ok", says);
    return;
  }
  throw Error({.fault = Fault::mismatch,
               .where = "notch doctor",
               .what = std::move(what),
               .hint = std::move(hint)});
}

/// What `train.products = "portable"` promises: each kernel of training against plain C++, and the
/// gradients of a whole model in every variant.
void check_portable(int n_threads) {
  constexpr std::int64_t kTrials = 3;
  std::string names;
  for (const KernelTrial& trial : kernels::try_portable_kernels(kTrials, 1)) {
    names += str(names.empty() ? "" : ", ", trial.kernel);
    require(trial.difference.empty(), {},
            str("portable ", trial.kernel, " differ from plain C++: ", trial.difference),
            "train.products = \"portable\" does not hold here: report this with the lines above");
  }
  const ScopedArithmetic portable(Arithmetic::portable);
  std::string expected;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (isa > best_isa()) continue;
    const ForcedIsa forced(isa);
    const std::string found = bits_with(n_threads);
    if (isa == Isa::portable) expected = found;
    require(found == expected, {}, "a model's portable gradients differ between kernels",
            "train.products = \"portable\" does not hold here: report this with the lines above");
  }
  line("ok",
       str("portable products: a model's gradients and the kernels have the bits of plain C++",
           names.empty() ? "; this processor has no others" : ": ", names));
}

int doctor_command(const Args& args) {
  use_threads(args);
  const int n = threads();
  const Cpu cpu = this_cpu();
  line("program", version_text());
  line("cpu", str(cpu.model.empty() ? "unknown" : cpu.model, ", ",
                  std::thread::hardware_concurrency(), " cores; ", features(cpu)));
  line("threads", str(n));
  const auto memory = [](const char* key) { return gib(proc_bytes("/proc/meminfo", key)); };
  line("memory", str(memory("MemTotal:"), ", ", memory("MemAvailable:"), " available"));
  std::error_code error;
  const fs::space_info space = fs::space(".", error);
  line("disk", error ? "unknown: " + error.message()
                     : gib(static_cast<double>(space.available)) + " free here");
  const kernels::BlasInfo blas = kernels::blas_info();
  line("openblas", str(blas.config, "; runs ", blas.corename, " kernels, ", blas.parallel, ", ",
                       blas.threads, " thread per call"));
  line("locale", locale_text() + "; numbers are read and written as in C");

  const volatile double zero = 0;
  const volatile double huge = std::numeric_limits<double>::max();
  require(std::isnan(zero / zero) && !std::isfinite(huge * 2) && !std::isnan(zero),
          "NaN and infinity are recognised", "NaN is not recognised: training could not notice it",
          "build without -ffast-math, -Ofast and -ffinite-math-only");
  const std::string one = bits_with(1), two = bits_with(2), many = bits_with(std::max(3, n));
  set_threads(n);
  require(one == two && one == many,
          str("the same bits with 1, 2 and ", std::max(3, n), " threads"),
          "the number of threads changes results",
          "report this with the lines above; --threads 1 is safe");
  constexpr std::int64_t kProducts = 50;
  std::string kernels;
  for (const quant::KernelTrial& trial : quant::try_kernels(kProducts, 1)) {
    kernels += str(kernels.empty() ? "" : ", ", trial.kernel);
    if (trial.difference.empty()) continue;
    require(false, {}, str("kernel ", trial.kernel, " differs from plain C++: ", trial.difference),
            "no result of this build on this machine can be trusted: report this with the lines "
            "above");
  }
  require(true, str("the bits of plain C++ in random products: ", kernels), {}, {});
  check_portable(n);
  for (const std::string& warning : openblas_warnings()) line("warning", warning);
  return 0;
}

}  // namespace

Command doctor_verb() {
  return {{.name = "doctor",
           .summary = "what this machine has, and what slows it",
           .examples = {"notch doctor"},
           .flags = {threads_flag()}},
          doctor_command};
}

}  // namespace notch::experiments
