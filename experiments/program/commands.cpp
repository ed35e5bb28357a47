#include "experiments/program/commands.h"

#include "autograd/base/names.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/report_command.h"
#include "experiments/program/session.h"
#include "quant/methods/methods.h"
#include "quant/numbers/activation.h"
#include "quant/numbers/format.h"
#include "quant/store/gguf_encode.h"

namespace notch::experiments {
namespace {

std::vector<Flag> with_output(std::vector<Flag> flags) {
  flags.push_back(output_flag());
  return flags;
}

std::vector<std::string_view> methods_with_statistics() {
  std::vector<std::string_view> names;
  for (const quant::Method* m : quant::methods()) {
    if (m->needs.reads_text()) names.push_back(m->name);
  }
  return names;
}

std::vector<Flag> quantize_flags() {
  constexpr quant::ActivationSpec kInput;
  static const std::string observers =
      "of static ranges: " + listed(words_of<quant::ObserverRule>());
  static const std::string text = str("calibration text, for ", listed(methods_with_statistics()),
                                      " and static ranges; others do not read it; - is stdin");
  return with_output(
      {{.name = "method",
        .value = "NAME",
        .help = quant::method_list(quant::Methods::post_training)},
       {.name = "bits",
        .letter = 'b',
        .value = "N",
        .help = "1 to 8; with a target a list, of which every layer gets one"},
       {.name = "target-bytes",
        .value = "SIZE",
        .help = "widths that raise the loss least, model.safetensors in SIZE: 500000, 500kB, 2MiB"},
       {.name = "target-loss",
        .value = "NATS",
        .help = "the fewest bytes that raise the loss by at most NATS, measured on up to 8 models"},
       {.name = "sensitivity",
        .value = "FILE",
        .help = "with a target: what each layer costs at each width, kept to go on from",
        .path = PathUse::added_to},
       {.name = "format",
        .value = "NAME",
        .help = quant::preset_help(),
        .words = quant::preset_names()},
       {.name = "group",
        .letter = 'g',
        .value = "N",
        .help = "a scale for every N weights of a row",
        .fallback = "one per row"},
       {.name = "per-tensor", .help = "one scale for a whole matrix"},
       {.name = "grid",
        .value = "NAME",
        .help = quant::grid_help(),
        .fallback = "narrow",
        .words = quant::grid_names()},
       {.name = "scale",
        .value = "TYPE",
        .help = "stored type of scales; f16_7: halves of seven bits, e8m0: powers of two, nested, "
                "bilevel: scales of scales",
        .fallback = "f32",
        .words = words_of<quant::ScaleType>()},
       {.name = "embedding",
        .value = "WORD",
        .help = "the token table: int8, same (as --bits) or fp32",
        .fallback = "int8",
        .words = {"int8", "same", "fp32"}},
       {.name = "activations",
        .letter = 'a',
        .value = "N",
        .help = "bits of what enters the layers, 2 to 8; the model then multiplies integers",
        .fallback = "fp32"},
       {.name = "activation-range",
        .value = "WORD",
        .help = "of activations: dynamic (every token's own) or static (from --text)",
        .fallback = word_of(kInput.range),
        .words = words_of<quant::ActivationRange>()},
       {.name = "observer",
        .value = "NAME",
        .help = observers,
        .fallback = word_of(kInput.observer),
        .words = words_of<quant::ObserverRule>()},
       {.name = "tensor",
        .value = "LIST",
        .help = "other bits for layers by name: 'h.0.*=8,h.*.mlp.c_proj=6'"},
       {.name = "skip", .value = "LIST", .help = "layers that stay in fp32: 'h.0.*,wte'"},
       {.name = "text", .value = "FILE", .help = text, .path = PathUse::read},
       {.name = "calib-windows",
        .value = "N",
        .help = "contexts of calibration text",
        .fallback = "128"},
       {.name = "seed", .value = "N", .help = "which contexts", .fallback = "1337"},
       {.name = "out", .value = "DIR", .help = "the directory to write", .path = PathUse::filled},
       no_verify_flag(),
       threads_flag()});
}

std::vector<Flag> bench_flags() {
  static const std::string recipes =
      "train: fp32, " + quant::method_list(quant::Methods::trained) + ": compared with the first";
  return with_output(
      {{.name = "shape",
        .value = "LIST",
        .help = "N, T, S, M or an EXP.toml: models to train (T); S or M: weights to run (S)"},
       {.name = "recipe", .value = "LIST", .help = recipes, .fallback = "fp32"},
       {.name = "rounds", .letter = 'r', .value = "N", .help = "interleaved", .fallback = "5"},
       {.name = "steps",
        .value = "N",
        .help = "train: of every recipe in a round",
        .fallback = "half a second's worth"},
       {.name = "layer",
        .value = "LIST",
        .help = "gptq: only layers whose names end so, and not the whole model"},
       {.name = "ops", .help = "train, with -o csv and json: the split by op, not the summary"},
       {.name = "batch",
        .value = "LIST",
        .help = "sequences that run together",
        .fallback = "1,4,8"},
       {.name = "prompt",
        .value = "N",
        .help = "tokens of the prompt",
        .fallback = "256, or what fits"},
       {.name = "sweep",
        .value = "[CONTEXTS]",
        .help = "instead: prompts, decoding, keys and values and training memory by context and "
                "batch (1,4,16,64), those that fit this memory",
        .fallback = "256,512,1024,2048,4096,8192"},
       kv_cache_flag(),
       {.name = "svg",
        .value = "FILE",
        .help = "the roofline with the models under it, or the sweep",
        .path = PathUse::written},
       no_verify_flag(),
       threads_flag()});
}

std::vector<Flag> run_flags() {
  std::vector<Flag> flags = session_flags();
  flags.push_back(shard_flag());
  flags.push_back(wide_flag());
  return flags;
}

std::vector<Command> make_commands() {
  static const std::string trained_recipes =
      "a step that trains through rounding: " + quant::method_list(quant::Methods::trained);
  static const std::string gguf_types =
      str("of what is not quantized already (default F16): ", listed(quant::encoder_names()),
          "; quantized codes stay what they are (TQ1_0: in such blocks where they are ternary)");
  const Positional experiment{.name = "EXP.toml|TEXT",
                              .help = "the configuration, or a text to train on"};
  const Positional model{.name = "MODEL_DIR", .help = "a model, as `notch run` writes them"};
  return {
      {{.name = "run",
        .summary = "train, quantize by every method, and print the table",
        .examples = {"notch run experiments/quick.toml",
                     "notch run book.txt --bits 4 --group 32 --methods gptq,qat-lsq",
                     "notch run experiments/quick.toml quant.bits=4,3 train.steps=1000 --out out",
                     "notch run experiments/quick.toml seeds=1,2,3 --shard 2/3"},
        .positionals = {experiment},
        .flags = with_output(run_flags()),
        .overrides = true},
       run_command},
      {{.name = "train",
        .summary = "only the fp32 model of an experiment",
        .examples = {"notch train experiments/quick.toml seeds=1,2", "notch train book.txt"},
        .positionals = {experiment},
        .flags = with_output(session_flags()),
        .overrides = true},
       train_command},
      {{.name = "report",
        .summary =
            "the report of a finished run again, or one of the parts of a run, or of several sizes",
        .examples = {"notch report runs/quick", "notch report runs/quick-shard-*-of-3 --out all",
                     "notch report runs/headtohead seeds=1337,42 --out two",
                     "notch report --sizes runs/small runs/large --out sizes",
                     "notch report runs/headtohead --methods 'qat-*,gptq*'"},
        .positionals = {{.name = "RUN_DIR",
                         .help = "directories of `notch run`, of one configuration but for seeds, "
                                 "methods and rows; with --sizes of several",
                         .repeated = true}},
        .flags =
            with_output({{.name = "out",
                          .value = "DIR",
                          .help = "the directory to write",
                          .fallback = "the run's own",
                          .path = PathUse::filled},
                         {.name = "sizes",
                          .help = "runs of models of different sizes, scored on one text: "
                                  "their fronts in one plot, each beside its own control"},
                         {.name = "methods",
                          .value = "LIST",
                          .help = "these rows alone, by method, label or name ('qat-*,gptq*'), "
                                  "with fp32 and their controls; files are written to --out"},
                         wide_flag()}),
        .overrides = true},
       report_command},
      {advise_verb(), advise_command},
      {{.name = "quantize",
        .summary = "put a model on fewer bits, without training",
        .examples =
            {"notch quantize MODEL_DIR --method rtn --bits 8 --out small",
             "notch quantize MODEL_DIR --method gptq --bits 4 --text train.txt --out small",
             "notch quantize MODEL_DIR --method gptq --bits 2,3,4,6,8 --target-bytes 500000 "
             "--text train.txt --out small"},
        .positionals = {model},
        .flags = quantize_flags(),
        .overrides = true},
       quantize_command},
      {narrow_verb(), narrow_command},
      {{.name = "export",
        .summary =
            "the same model stored another way: its codes as short as they can be, or floats "
            "for other programs",
        .examples = {"notch export runs/quick/models/gptq-int4-seed1337 --format coded --out small",
                     "notch export INT4_DIR --format gptq --out gptq",
                     "notch export MODEL_DIR --gguf model.gguf --gguf-type Q8_0",
                     "notch export INT4_DIR --onnx model.onnx"},
        .positionals = {model},
        .flags = {{.name = "format",
                   .value = "NAME",
                   .help =
                       "of a quantized model coded (smallest), packed (as `notch run` writes) or "
                       "gptq (gptq_v2), for other programs; of any f32, f16 or bf16",
                   .words = {"coded", "packed", "gptq", "gptq_v2", "f32", "f16", "bf16"}},
                  {.name = "out",
                   .value = "DIR",
                   .help = "the directory to write",
                   .path = PathUse::filled},
                  {.name = "gguf",
                   .value = "FILE",
                   .help = "write one file for llama.cpp instead",
                   .path = PathUse::written},
                  {.name = "gguf-type",
                   .value = "TYPE",
                   .help = gguf_types,
                   .words = quant::encoder_names()},
                  {.name = "onnx",
                   .value = "FILE",
                   .help = "write one file for ONNX Runtime instead; codes stay what they are",
                   .path = PathUse::written},
                  {.name = "onnx-cache",
                   .help = "of keys and values as inputs and outputs, to write a text with"},
                  {.name = "imatrix",
                   .value = "FILE",
                   .help = "with --gguf: weigh the columns by this importance matrix, of notch "
                           "imatrix or llama.cpp's",
                   .path = PathUse::read},
                  {.name = "requantize",
                   .help = "with --gguf, round to --gguf-type what no GGUF type holds exactly, and "
                           "say what it costs, instead of refusing"},
                  no_verify_flag()}},
       export_command},
      {imatrix_verb(model), imatrix_command},
      {{.name = "eval",
        .summary = "loss, bits per byte and perplexity of a model on a text",
        .examples = {"notch eval MODEL_DIR --text book.txt",
                     "notch eval small --base MODEL_DIR --text book.txt --split val -o json",
                     "notch eval small.gguf --protocol llama --ctx 512 --kl-base MODEL_DIR --text "
                     "book.txt"},
        .positionals = {model},
        .flags = eval_flags()},
       eval_command},
      {{.name = "sample",
        .summary = "write text",
        .examples = {"notch sample MODEL_DIR -p 'She has' -n 100",
                     "notch sample MODEL_DIR --draft SMALL_DIR --kv-cache int8"},
        .positionals = {model},
        .flags = sample_flags()},
       sample_command},
      {{.name = "tokenize",
        .summary = "the tokens of a text, one on a line: id, and the token as vocab.json has it",
        .examples = {"notch tokenize MODEL_DIR --text book.txt",
                     "echo 'Hello world' | notch tokenize gpt2 --text -"},
        .positionals = {{.name = "MODEL_DIR",
                         .help = "a model, or any directory with a tokenizer.json or with a "
                                 "vocab.json and a merges.txt"}},
        .flags = {{.name = "text",
                   .value = "FILE",
                   .help = "the text, of any bytes; - is stdin",
                   .path = PathUse::read}}},
       tokenize_command},
      {{.name = "inspect",
        .summary = "tensors, ranges, codes and sizes of a model, checkpoint or .safetensors file",
        .examples = {"notch inspect MODEL_DIR", "notch inspect runs/quick/seed-1337/ckpt/fp32",
                     "notch inspect MODEL_DIR --memory --batch 8", "notch inspect MODEL_DIR --svd"},
        .positionals = {{.name = "PATH", .help = "a directory or a .safetensors file"}},
        .flags = with_output(
            {{.name = "memory", .help = "what running it takes: weights, KV cache, activations"},
             {.name = "context",
              .value = "N",
              .help = "with --memory: tokens of a sequence",
              .fallback = "the model's; 4096"},
             {.name = "batch", .value = "N", .help = "with --memory: sequences", .fallback = "1"},
             {.name = "svd",
              .help =
                  "the singular values of every Linear: where they bend, and the ranks that hold "
                  "90 and 99 % of their energy"},
             no_verify_flag()})},
       inspect_command},
      {{.name = "verify",
        .summary =
            "whether every file of a model, a checkpoint, a run or a report is what was written",
        .examples = {"notch verify MODEL_DIR", "notch verify runs/quick --evaluate"},
        .positionals = {{.name = "PATH",
                         .help = "a model, a run, a report, a checkpoint, a row, .safetensors or "
                                 ".gguf; what a run tells of itself (configuration, metrics, "
                                 "results, report and the like) has digests when it is finished"}},
        .flags = with_output(
            {{.name = "evaluate", .help = "of a run: also score every row again"}, threads_flag()}),
        .overrides = true},
       verify_command},
      {{.name = "graph",
        .summary = "the tape of one small training step, with gradient norms",
        .examples = {"notch graph experiments/quick.toml --block 0 --dot block.dot",
                     "notch graph MODEL_DIR --recipe qat-ste quant.bits=2 quant.grid=seq"},
        .positionals = {{.name = "MODEL_DIR|EXP.toml", .help = "a model, or one at its start"}},
        .flags = {{.name = "recipe", .value = "NAME", .help = trained_recipes},
                  {.name = "block", .value = "N", .help = "only this block, from 0"},
                  {.name = "dot",
                   .value = "FILE",
                   .help = "also as a picture for Graphviz",
                   .path = PathUse::written},
                  no_verify_flag(),
                  threads_flag()},
        .overrides = true},
       graph_command},
      {{.name = "lesson",
        .summary = "learn how it works: short programs that explain what they compute",
        .examples = {"notch lesson list", "notch lesson 01", "notch lesson check 02",
                     "notch lesson check 02 mine.cpp", "notch lesson --html pages"},
        .positionals = {{.name = "list|NAME|check",
                         .help =
                             "the names (so without); a lesson, by number or name; or judge its "
                             "exercise",
                         .required = false},
                        {.name = "NAME", .help = "with check: the lesson", .required = false},
                        {.name = "FILE",
                         .help = "with check: your version; without: the skeleton in "
                                 "experiments/lessons/exercises",
                         .required = false}},
        .flags = {{.name = "out",
                   .value = "DIR",
                   .help = "where pictures go",
                   .fallback = "this directory",
                   .path = PathUse::filled},
                  {.name = "html",
                   .value = "DIR",
                   .help = "write four lessons as pages for a browser, to be touched",
                   .path = PathUse::filled}}},
       lesson_command},
      {{.name = "new",
        .summary = "a folder with a small program of your own that is linked against Notch",
        .examples = {"notch new mynet"},
        .positionals = {{.name = "DIR", .help = "the folder to write; its name is the program's"}}},
       new_command},
      {{.name = "config",
        .summary = "all keys with their meaning, or the values an experiment resolves to",
        .examples = {"notch config > my.toml", "notch config experiments/quick.toml train.lr=3e-4",
                     "notch config book.txt --bits 4 --group 32 > book.toml"},
        .positionals = {{.name = "EXP.toml|TEXT",
                         .help = "the configuration, or a text to train on",
                         .required = false}},
        .flags = value_flags(),
        .overrides = true},
       config_command},
      {{.name = "bench",
        .summary =
            "how fast models run here beside the machine's roofs, or what training or GPTQ costs",
        .examples = {"notch bench --shape M --batch 1,4,8 --svg roofline.svg",
                     "notch bench runs/quick && notch report runs/quick",
                     "notch bench --shape S --sweep --svg growth.svg",
                     "notch bench train --shape T,S",
                     "notch bench train --shape S --recipe fp32,qat-ste,qat-lsq quant.bits=8,4",
                     "notch bench gptq --shape M quant.granularity=group quant.group_size=128"},
        .positionals = {{.name = "train|gptq|MODEL_DIR",
                         .help = "training steps, GPTQ, models to run, or a run, whose report "
                                 "shows it; without: random weights",
                         .required = false,
                         .repeated = true}},
        .flags = bench_flags(),
        .overrides = true},
       bench_command},
      {{.name = "doctor",
        .summary = "what this machine has, and what slows it",
        .examples = {"notch doctor"},
        .flags = {threads_flag()}},
       doctor_command},
  };
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> all = make_commands();
  return all;
}

}  // namespace notch::experiments
