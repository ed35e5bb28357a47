// Reading, checking and printing configurations. The keys themselves are in config_schema.h.
//
// Precedence: defaults, then the file, then `dotted.key=value` overrides. An unknown key, a wrong
// type or a value out of range is Fault::usage with file:line:column, the line itself and a
// suggestion; so is a combination of values that cannot work (`validate`), before anything runs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/config_schema.h"
#include "experiments/toml.h"

namespace notch::experiments {

/// Where each value came from, by dotted key ("quant.layers[1].bits"). Defaults have no origin.
class Origins {
 public:
  Origins() = default;
  explicit Origins(std::shared_ptr<const toml::Source> file) : file_(std::move(file)) {}
  void set(std::string key, std::shared_ptr<const toml::Source> source, toml::Mark mark);
  /// Throws Error(parts), pointing at the line that set `key` if there is one. Sets `parts.field`.
  [[noreturn]] void fail(const std::string& key, ErrorParts parts) const;

 private:
  struct Origin {
    std::string key{};
    std::shared_ptr<const toml::Source> source{};
    toml::Mark mark{};
  };
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
};

/// The file with its overrides, complete (name, absolute paths) and validated: what a run starts
/// from. Relative paths in the file start at the file's directory, those of overrides at the
/// current one.
LoadedConfig load_config(const std::filesystem::path& file,
                         const std::vector<std::string>& overrides = {});

/// Keys, types and ranges only. Missing keys keep their defaults.
LoadedConfig parse_config(std::string text, std::string name);

/// Applies one `dotted.key=value` and records it. The value is TOML; a string needs no quotes, and
/// a list of plain values no brackets (`quant.bits=8,4`).
void apply_override(LoadedConfig& loaded, std::string_view argument);

/// For the screen: `override  train.lr  0.001 -> 0.003`.
std::string describe(const Override& change);

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
/// their place.
ExperimentConfig row_config(const ExperimentConfig& config, const RowConfig& row);

/// Updates after the fork: qat.steps, or the fraction of train.steps, at least 1.
int qat_steps(const ExperimentConfig& config);

}  // namespace notch::experiments
