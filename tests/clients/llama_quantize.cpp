// What `llama-quantize --pure [--imatrix IMATRIX.gguf] IN.gguf OUT.gguf` does: the npm package has llama.cpp's libraries
// without that program.
//
//   llama_quantize IN.gguf OUT.gguf FTYPE [IMATRIX.gguf]    FTYPE: a number of llama.h's llama_ftype, as file_type in
//                                                           a GGUF
//
// Compiled by run.sh against the package's libllama and libllama-common, which come without headers: four of their
// functions are declared here. All versions since 2024 begin the parameters alike; importances are an array that ends
// with a null since 2026.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

struct llama_model_imatrix_data {
  const char* name;
  const float* data;
  std::size_t size;
};
extern "C" {
struct llama_model_quantize_params {
  std::int32_t threads;
  std::int32_t type;
  std::int32_t output_type, table_type;  // as `type` where they are what the default has
  bool allow_requantize, quantize_output, only_copy, pure, keep_split, dry_run;
  const llama_model_imatrix_data* imatrix;
  alignas(8) char rest[1024];  // more than any version has: the library fills in what it knows
};
llama_model_quantize_params llama_model_quantize_default_params();
std::uint32_t llama_model_quantize(const char* in, const char* out,
                                   const llama_model_quantize_params*);
}

struct common_imatrix_entry {
  std::vector<float> sums;
  std::vector<std::int64_t> counts;
};
struct common_imatrix {
  std::map<std::string, common_imatrix_entry> entries;
  alignas(8) char rest[1024] = {};
};
bool common_imatrix_load(const std::string& file, common_imatrix& imatrix);

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: llama_quantize IN.gguf OUT.gguf FTYPE [IMATRIX.gguf]\n");
    return 2;
  }
  llama_model_quantize_params how = llama_model_quantize_default_params();
  how.threads = 1;
  how.type = std::atoi(argv[3]);
  how.pure = true;
  auto& imatrix = *new common_imatrix;  // not destroyed: its end is not known here
  std::vector<llama_model_imatrix_data> importances;
  if (argc == 5) {
    if (!common_imatrix_load(argv[4], imatrix) || imatrix.entries.empty()) return 1;
    for (auto& [name, entry] : imatrix.entries) {
      if (entry.counts.size() != 1) return 1;
      for (float& sum : entry.sums) sum /= static_cast<float>(entry.counts[0]);
      importances.push_back({name.c_str(), entry.sums.data(), entry.sums.size()});
    }
    std::printf("importances of %zu tensors\n", importances.size());
    importances.push_back({});
    how.imatrix = importances.data();
  }
  return llama_model_quantize(argv[1], argv[2], &how) == 0 ? 0 : 1;
}
