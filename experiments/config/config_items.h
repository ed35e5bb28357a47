// Internal to config*.cpp: a configuration as a flat list of items, which printing, overrides and
// suggestions walk, and the reader that overrides share with files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/config/config.h"

namespace notch::experiments {

enum class ItemKind { section, boolean, integer, number, string, list, string_list, table_list };

struct Item {
  ItemKind kind = ItemKind::section;
  std::string section{};  ///< "" at the top
  std::string name{};
  std::string_view help{};
  Domain domain{};
  std::string value{};                        ///< TOML; empty for sections
  bool of_rows = false;                       ///< a section that single rows may set
  std::vector<std::vector<Item>> elements{};  ///< table_list: the fields of each element
  std::vector<Item> element_fields{};         ///< table_list: the fields of a default element

  std::string key() const { return section.empty() ? name : section + "." + name; }
};

/// All fields and sections in the order of visit().
std::vector<Item> items_of(const ExperimentConfig& config);

/// Whether the domain has the number; NaN is in none with a bound.
bool in_range(double x, const Domain& domain);
/// What the field accepts, in words: "an integer >= 1", "cosine, linear or constant".
std::string accepts(ItemKind kind, const Domain& domain);
/// The domain alone, for the reference: ">= 1", "0 < x < 1", "cosine | linear | constant", or "".
std::string range_text(const Domain& domain);

/// What is given where an experiment is expected.
struct ExperimentFile {
  bool is_text = false;   ///< to train on
  std::string data{};     ///< where that text can be read
  toml::Source source{};  ///< of a configuration
  bool is_open = false;   ///< named by its descriptor, so that it lies beside nothing
};
/// Looks into what is given. A pipe is read to its end, and a text from one can be read again: its
/// descriptor is open at the beginning of a copy in memory. Throws Fault::input for a GGUF file.
ExperimentFile open_experiment(const std::filesystem::path& file);

/// "did you mean ...?" for a key that does not exist in `section` ("" = top), or "" when nothing is
/// near.
std::string suggest_key(std::string_view section, std::string_view name);

/// Sets the fields that `table` names and their origins; all others keep their values.
void read_into(LoadedConfig& loaded, const toml::Table& table,
               const std::shared_ptr<const toml::Source>& source);

/// Whether a value decides a word that its own source, or a later one, does not set.
bool implies(const Origins& origins, const std::string& value, const std::string& word);

/// Sets [model] and data.tokenizer to what the directory model.from has, where there is one. Throws
/// Fault::usage at the line of a key that contradicts it; a shorter context does not.
void take_model(LoadedConfig& loaded);

}  // namespace notch::experiments
