// Reading, checking and printing configurations. The keys themselves are in config_schema.h.
//
// Precedence: defaults, then the file, then `dotted.key=value` overrides. An unknown key, a wrong
// type or a value out of range is Fault::usage with file:line:column, the line itself and a
// suggestion; so is a combination of values that cannot work (`validate`), and a key that changes
// nothing (experiments/config/config_effects.h), before anything runs.
//
// experiments/config/ is keys, what they mean and whether they go together; it starts nothing.
// May include: quant, optim, nn, data, autograd.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/config/config_schema.h"
#include "experiments/config/toml.h"

namespace notch::experiments {

/// Where each value came from, by dotted key ("quant.layers[1].bits"). Defaults have no origin.
class Origins {
 public:
  Origins() = default;
  explicit Origins(std::shared_ptr<const toml::Source> file) : file_(std::move(file)) {}
  void set(std::string key, std::shared_ptr<const toml::Source> source, toml::Mark mark);
  /// The key has its default again.
  void forget(const std::string& key);
  /// Throws Error(parts), pointing at the line that set `key` if there is one. Sets `parts.field`.
  [[noreturn]] void fail(const std::string& key, ErrorParts parts) const;
  /// Whether a text set exactly this key, and whether that was the command line.
  bool has(const std::string& key) const { return find(key) != nullptr; }
  bool is_override(const std::string& key) const;

 private:
  struct Origin {
    std::string key{};
    std::shared_ptr<const toml::Source> source{};
    toml::Mark mark{};
  };
  const Origin* find(const std::string& key) const;
  std::shared_ptr<const toml::Source> file_{};
  std::vector<Origin> origins_{};
};

/// One `dotted.key=value` of the command line, with both values as TOML.
struct Override {
  std::string key{};
  std::string before{};
  std::string after{};
};

struct LoadedConfig {
  ExperimentConfig config{};
  Origins origins{};
  std::vector<Override> overrides{};
  std::vector<std::string> unused{};  ///< keys of the file without effect, left at their defaults
  bool from_text = false;             ///< the file is a text to train on, with usual settings
};

/// What the rows of the table are: those of the configuration, or what a verb makes of it, so that
/// any key may have an effect.
enum class Rows { planned, other };

/// The file with its overrides, complete (name, absolute paths) and validated: what a run starts
/// from. Relative paths in the file start at the file's directory, those of overrides at the
/// current one, and so do those of what comes from a descriptor ("-", /dev/stdin, a pipe). What is
/// no configuration is the text of text_experiment().
LoadedConfig load_config(const std::filesystem::path& file,
                         const std::vector<std::string>& overrides = {}, Rows rows = Rows::planned);

/// The configuration that a run keeps in its directory. It stands for the run there: `out` is the
/// directory it lies in, whatever it says.
inline constexpr std::string_view kResolvedConfig = "config.resolved.toml";

/// Whether a file given where an experiment is expected is a text to train on: not named .toml, and
/// not readable as a configuration. Of a pipe, which can be read once, load_config finds out.
bool is_text(const std::filesystem::path& file);
/// The usual experiment on a text: quick.toml's model and training, the last tenth for the table,
/// named after the file, in runs/ of the current directory.
ExperimentConfig text_experiment(const std::filesystem::path& file);

/// [model] as the directory `from` has it, with the whole context and no dropout, which is training's.
/// Throws Fault::io, or Fault::input for a quantized model and for what no [model] says.
ModelConfig model_of(const std::filesystem::path& from);

/// Keys, types and ranges only. Missing keys keep their defaults.
LoadedConfig parse_config(std::string text, std::string name);

/// Applies one `dotted.key=value` and records it. The value is TOML; a string needs no quotes, and
/// a list of plain values no brackets (`quant.bits=8,4`).
void apply_override(LoadedConfig& loaded, std::string_view argument);

/// For the screen: `override  train.lr  0.001 -> 0.003`.
std::string describe(const Override& change);
/// What there is to say about a configuration before it is used: overrides, keys without effect.
std::vector<std::string> notes(const LoadedConfig& loaded);

/// Throws Fault::usage for values that do not fit each other: heads and channels, groups and
/// channels, warm-up and steps, seeds that repeat, and so on.
void validate(const ExperimentConfig& config, const Origins& origins = {});

/// Throws Fault::usage with a suggestion when quant.methods or a row names a recipe that is not in
/// `known`.
void check_methods(const ExperimentConfig& config, const std::vector<std::string>& known,
                   const Origins& origins = {});

/// All values as TOML; parse_config gives the same configuration back.
std::string to_toml(const ExperimentConfig& config);

/// The first key, in the order of to_toml, whose value differs; nothing when all are equal.
std::optional<Override> first_difference(const ExperimentConfig& before,
                                         const ExperimentConfig& after);

/// Whether there is a key of that dotted name.
bool is_key(std::string_view name);

/// to_toml with every key's description and range as a comment: the reference and a file to start
/// from.
std::string annotated_toml(const ExperimentConfig& config = {});

/// The grid of rows of a width: quant.grid, or what quant.at has in its place.
const std::string& grid_of_width(const ExperimentConfig& config, int bits);

/// The quantized rows to make, in order: the explicit ones, or every method at each of quant.bits.
/// "inherit" is resolved. fp32 and the control rows are not listed, they follow from quant.control.
std::vector<RowConfig> planned_rows(const ExperimentConfig& config);

/// The configuration of one row: the experiment's, with the settings of its width and its own in
/// their place, and qat.from as it is for it.
ExperimentConfig row_config(const ExperimentConfig& config, const RowConfig& row);

/// Updates after the fork: qat.steps, or the fraction of train.steps, at least 1.
int qat_steps(const ExperimentConfig& config);
/// Peak learning rate of what follows the fork, over train.lr: qat.lr_scale, or what follows from the size.
/// With W the weights of the blocks, some 12 n_layer n_embd^2, and W0 those of 3 blocks of 64 channels:
///   min(0.25, 0.25 cbrt(W0 / W)),
/// which is near the best of trials at 0.1, 0.8, 2.7 and 10 M weights (experiments/LOG.md).
double peak_lr_scale(const ExperimentConfig& config);
/// train.warmup and train.min_lr, or what follows from the steps and the peak.
int warmup_steps(const TrainConfig& train);
double last_lr(const TrainConfig& train);

}  // namespace notch::experiments
