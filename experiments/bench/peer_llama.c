// peer_llama MODEL.gguf THREADS PROMPT DECODE REPEATS: llama.cpp's "<prompt tokens/s> <decode tokens/s>".
//
// Links against a built llama.cpp of any recent version. Its parameter structs are passed by value and differ between
// versions; here they are opaque and larger than any of them, which the calling conventions of x86-64 and aarch64 allow:
// only the callee's part of the copy is read. As `notch bench`: the logits of the prompt's last position only, one
// token per pass after it, and the fastest pass of each kind.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { uint64_t opaque[128]; } Params;
typedef struct {
  int32_t n_tokens;
  int32_t* token;
  float* embd;
  int32_t* pos;
  int32_t* n_seq_id;
  int32_t** seq_id;
  int8_t* logits;
} Batch;

void ggml_backend_load_all_from_path(const char* dir);
void llama_log_set(void (*log)(int level, const char* text, void* data), void* data);
Params llama_model_default_params(void);
Params llama_context_default_params(void);
void* llama_model_load_from_file(const char* path, Params params);
void* llama_init_from_model(void* model, Params params);
void llama_set_n_threads(void* context, int32_t n_threads, int32_t n_threads_batch);
Batch llama_batch_get_one(int32_t* tokens, int32_t n);
int32_t llama_decode(void* context, Batch batch);
float* llama_get_logits_ith(void* context, int32_t i);
void* llama_get_memory(void* context);
void llama_memory_clear(void* memory, _Bool data);

static void log_errors(int level, const char* text, void* data) {
  (void)data;
  if (level == 4) fputs(text, stderr);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double pass(void* context, int32_t* tokens, int32_t n) {
  const double start = now();
  if (llama_decode(context, llama_batch_get_one(tokens, n)) != 0 || !llama_get_logits_ith(context, -1)) {
    fprintf(stderr, "llama_decode failed\n");
    exit(1);
  }
  return now() - start;
}

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const int threads = atoi(argv[2]), prompt = atoi(argv[3]), decode = atoi(argv[4]), repeats = atoi(argv[5]);
  llama_log_set(log_errors, NULL);
  if (getenv("GGML_BACKENDS")) ggml_backend_load_all_from_path(getenv("GGML_BACKENDS"));
  void* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  void* context = model ? llama_init_from_model(model, llama_context_default_params()) : NULL;
  if (!context) return 1;
  llama_set_n_threads(context, threads, threads);
  int32_t* tokens = malloc((size_t)prompt * sizeof *tokens);
  for (int i = 0; i < prompt; ++i) tokens[i] = i * 7 % 256;
  double best_prompt = 1e30, best_decode = 1e30;
  for (int r = 0; r <= repeats; ++r) {  // the first one warms up
    llama_memory_clear(llama_get_memory(context), 1);
    const double p = pass(context, tokens, prompt);
    if (r > 0 && p < best_prompt) best_prompt = p;
    for (int i = 0; i < decode; ++i) {
      const double d = pass(context, tokens, 1);
      if (r > 0 && d < best_decode) best_decode = d;
    }
  }
  printf("%.1f %.1f\n", prompt / best_prompt, 1 / best_decode);
  return 0;
}
