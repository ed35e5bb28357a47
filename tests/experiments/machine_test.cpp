#include "experiments/machine/machine.h"

#include "tests/catch.h"

namespace machine_test {

using namespace notch::experiments;

Cpu avx512() { return {.model = "x", .flags = {"avx2", "avx512f", "avx512dq"}}; }
Cpu avx2() { return {.model = "x", .flags = {"avx2"}}; }

std::vector<std::string> warnings(std::string_view core, const Cpu& cpu,
                                  const std::string& name = "", const std::string& value = "") {
  return openblas_warnings(
      core, cpu, [&](const std::string& wanted) { return wanted == name ? value : std::string{}; });
}

bool mentions(const std::vector<std::string>& lines, std::string_view words) {
  return lines.size() == 1 && lines[0].find(words) != std::string::npos;
}

TEST_CASE("kernels as wide as the processor need no warning") {
  CHECK(warnings("SkylakeX", avx512()).empty());
  CHECK(warnings("SAPPHIRERAPIDS", avx512()).empty());
  CHECK(warnings("Haswell", avx2()).empty());
  CHECK(warnings("Zen", avx2()).empty());
  CHECK(warnings("Nehalem", {}).empty());
  CHECK(warnings("neoversen1", {.flags = {"asimd"}}).empty());
}

TEST_CASE("narrower kernels are told with a remedy for the cause") {
  CHECK(mentions(warnings("Haswell", avx512()), "OPENBLAS_CORETYPE=SkylakeX"));
  CHECK(mentions(warnings("Prescott", avx2()), "OPENBLAS_CORETYPE=Haswell"));
  CHECK(mentions(warnings("Haswell", avx512(), "OPENBLAS_CORETYPE", "Haswell"),
                 "unset OPENBLAS_CORETYPE"));
  CHECK(mentions(warnings("Zen", avx512()), "newer OpenBLAS"));
  CHECK(mentions(warnings("armv8", {.flags = {"asimd"}}), "OPENBLAS_CORETYPE=NEOVERSEN1"));
  CHECK(mentions(warnings("armv8", {}, "OPENBLAS_CORETYPE", "ARMV8"), "unset it"));
}

TEST_CASE("variables that steer OpenBLAS are always told") {
  CHECK(mentions(warnings("SkylakeX", avx512(), "OPENBLAS_CORETYPE", "SkylakeX"), "CORETYPE"));
  CHECK(mentions(warnings("SkylakeX", avx512(), "OPENBLAS_L2_SIZE", "262144"), "L2_SIZE=262144"));
  CHECK(mentions(warnings("SkylakeX", avx512(), "OPENBLAS_NUM_THREADS", "4"), "--threads"));
}

TEST_CASE("the processor is read from Linux on x86 and aarch64") {
  const Cpu x86 = parse_cpuinfo(
      "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 avx512_vnni\n\n"
      "processor\t: 1\nmodel name\t: Other\nflags\t\t: fpu\n");
  CHECK(x86.model == "Some CPU @ 2GHz");
  CHECK(x86.has("avx512_vnni"));
  CHECK_FALSE(x86.has("avx512"));
  const Cpu arm = parse_cpuinfo("processor\t: 0\nFeatures\t: fp asimd i8mm\n");
  CHECK(arm.has("i8mm"));
  CHECK(parse_cpuinfo("").flags.empty());
}

}  // namespace machine_test
