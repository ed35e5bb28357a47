// What `llama-quantize --pure IN.gguf OUT.gguf` does: the npm package has llama.cpp's library without that program.
//
//   llama_quantize IN.gguf OUT.gguf FTYPE        FTYPE: a number of llama.h's llama_ftype, as file_type in a GGUF
//
// Compiled by run.sh against the package's libllama, which comes without headers: two of its functions are declared
// here. All versions since 2024 begin the parameters alike.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" {
struct llama_model_quantize_params {
  std::int32_t threads;
  std::int32_t type;
  std::int32_t output_type, table_type;  // as `type` where they are what the default has
  bool allow_requantize, quantize_output, only_copy, pure;
  alignas(8) char rest[1024];  // more than any version has: the library fills in what it knows
};
llama_model_quantize_params llama_model_quantize_default_params();
std::uint32_t llama_model_quantize(const char* in, const char* out,
                                   const llama_model_quantize_params*);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: llama_quantize IN.gguf OUT.gguf FTYPE\n");
    return 2;
  }
  llama_model_quantize_params how = llama_model_quantize_default_params();
  how.threads = 1;
  how.type = std::atoi(argv[3]);
  how.pure = true;
  return llama_model_quantize(argv[1], argv[2], &how) == 0 ? 0 : 1;
}
