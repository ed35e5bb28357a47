// The targets that need the engine: models and what a run writes.
#include "tests/fuzz/fuzzing.h"

namespace notch::test::fuzz::models_fuzz_test {

NOTCH_FUZZ(config)
NOTCH_FUZZ(overrides)
NOTCH_FUZZ(float_model)
NOTCH_FUZZ(packed_model)
NOTCH_FUZZ(coded_model)
NOTCH_FUZZ(gptq_model)
NOTCH_FUZZ(gguf)
NOTCH_FUZZ(imatrix)
NOTCH_FUZZ(row)
NOTCH_FUZZ(metrics)
NOTCH_FUZZ(kept)

}  // namespace notch::test::fuzz::models_fuzz_test
