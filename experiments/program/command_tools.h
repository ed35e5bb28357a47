// What the verbs share: threads, output, and opening a model with its tokenizer and a text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/base/error.h"
#include "data/corpus.h"
#include "data/tokenizer.h"
#include "experiments/program/args.h"
#include "experiments/show/table.h"
#include "nn/digest.h"
#include "quant/serve/kv_cache.h"
#include "quant/store/model_files.h"

namespace notch::experiments {

/// Throws Fault::usage when a file that `args` asks to write is one that the command reads (a
/// positional or the value of a flag that reads, or a file of a model directory there), or is asked
/// for twice.
void require_inputs_kept(const Verb& verb, const Args& args);

/// Before anything is read: throws Fault::usage where a file that `args` asks to write is there already, or is
/// "-", and Fault::io where its directory is not.
void require_outputs_possible(const Verb& verb, const Args& args);

/// Applies --threads; without it `fallback`, 0 = all cores.
void use_threads(const Args& args, int fallback = 0);

/// --kv-cache; without it fp32.
quant::KvKind kv_kind(const Args& args);

/// A line on stderr, unless --quiet.
void note(const Args& args, std::string_view line);
/// What is said on stderr when the command is done: of little weight beside what it says itself.
std::vector<std::string>& last_notes();
/// Notes, as one of these, a file that was rewritten since it was written here.
void note_rewritten(const fs::path& file, nn::Digest digest);
/// What lies directly below `directory`, sorted, without what writers have not finished: the temporaries of a
/// run that goes on, or that was interrupted.
std::vector<std::filesystem::path> finished_entries(const std::filesystem::path& directory);

/// Whether the directory has a report and is no run: one of some of a run's rows, or of several sizes.
bool is_report(const fs::path& dir);
/// Whether it is a checkpoint: a manifest, and neither a model, nor a report, nor what a run tells of itself.
bool is_one_checkpoint(const fs::path& dir);

/// Throws for a damaged file of a model directory and notes what was rewritten; --no-verify does neither.
void require_intact(const Args& args, const fs::path& dir);

/// A line beside a table: on stdout for people, on stderr when -o asks for a table alone.
void say(const Args& args, std::string_view line);

/// A directory to write, where a link leads. Usage error for one that holds something, and for what cannot
/// become one.
std::filesystem::path new_directory(const std::filesystem::path& named);
/// The same of what a flag names; usage error for none.
std::filesystem::path new_directory(const Args& args, std::string_view flag = "out");

/// The directory that new_directory gave, with everything that `write` puts into the one it is given, or not
/// there at all, nor folders above that were made for it, but for those that another command uses by then.
/// Usage error where another command has made one there meanwhile.
void write_directory(const std::filesystem::path& out,
                     const std::function<void(const std::filesystem::path&)>& write);

/// The table on stdout: as -o says, or aligned for the screen. People see the columns that have a
/// value, programs all.
void print_table(const Args& args, const Table& table);

/// A model directory, read and checked.
struct Artefact {
  std::filesystem::path path{};
  quant::LoadedModel loaded{};
  data::Tokenizer tokenizer = data::Tokenizer::bytes();
  quant::SizeReport size{};     ///< of the tensors; of packed codes without their entropy
  std::int64_t file_bytes = 0;  ///< model.safetensors with its header

  nn::Model& model() const { return *loaded.model; }
};

/// A model directory, ready to run: quantized layers stay packed.
struct RunnableArtefact {
  std::filesystem::path path{};
  quant::RunnableModel runnable{};
  data::Tokenizer tokenizer = data::Tokenizer::bytes();
};

/// Throws Fault::input: the run has none of its models.
[[noreturn]] void refuse_without_models(const std::filesystem::path& run);

/// Unless `dir` has a config.json throws Fault::io, Fault::input for a file; for the directory of a
/// run the hint names its models.
void require_model_directory(const std::filesystem::path& dir);

/// Throws Fault::io or Fault::input; also where the files are not those that were written, unless
/// --no-verify.
Artefact open_artefact(const Args& args, const std::filesystem::path& dir);
RunnableArtefact open_runnable(const Args& args, const std::filesystem::path& dir);

/// Where the bytes of its weights are, line by line, for people.
std::vector<std::string> size_lines(const Artefact& artefact);

/// A text as one model sees it.
struct TokenizedText {
  std::string name{}, sha256{};
  std::vector<std::int32_t> tokens{};
  std::int64_t bytes = 0;      ///< that the scored tokens stand for: all but the first token's
  double bytes_per_token = 0;  ///< of those
};

/// What `body` gives; an error of it is about `where`.
template <class Body>
auto about(const std::string& where, const Body& body) {
  try {
    return body();
  } catch (const Error& e) {
    ErrorParts parts = e.parts();
    parts.where = str(where, ": ", parts.where);
    throw Error(std::move(parts));
  }
}

/// The ids of `text`, to score; an error is about `where`.
std::vector<std::int32_t> encode(const data::Tokenizer& tokenizer, std::string_view text,
                                 const std::string& where);

/// What --ctx may be, and is without being said: at most `usual`, where the model's context is longer.
struct WindowRule {
  /// Attention grows with its square, and a text may be shorter than a context.
  std::int64_t usual = 4096;
  std::int64_t least = 2;
  /// A note says that it is not the context; where the flag's help names a number it need not.
  bool told = true;
};
/// As llama.cpp's tools cut a text.
inline constexpr WindowRule kLlamaWindows{.usual = 512, .told = false};

/// Tokens of the windows that a text is cut in for a model: --ctx. Throws Fault::usage for what does not lie
/// between the least and the model's context.
std::int64_t window_length(const Args& args, const Artefact& artefact, const WindowRule& rule = {});

/// What of a text is wanted.
struct TextPart {
  std::int64_t window = 0;         ///< tokens; it has one and its last target at least
  std::string_view split = "all";  ///< "all", "val" or "test"
  data::Splits splits{};
  std::int64_t max_windows = 0;  ///< from the start; 0: all
};

/// A file as tokens of the artefact's tokenizer. Says so where a byte order mark is left out.
/// Throws Fault::io, and Fault::input for a text that is not UTF-8, has a byte the tokenizer does
/// not know, or is shorter than one window.
TokenizedText open_text(const Args& args, const std::filesystem::path& file,
                        const Artefact& artefact, const TextPart& part);

}  // namespace notch::experiments
