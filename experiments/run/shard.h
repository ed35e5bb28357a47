// Shard: a part of a run that a machine makes by itself.
//
// The parts of a run are its seeds, and where there are more parts than seeds, pieces of a seed's
// rows; each trains the fp32 model of its seeds anew, which gives the same bits on the same kind of
// processor. The configuration is that of the whole run, and which part of it a directory holds
// stands in shard.json beside it: `notch report` puts the parts together again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/config/config.h"

namespace notch::experiments {

inline constexpr const char* kShardFile = "shard.json";

struct Shard {
  int index = 1, of = 1;  ///< from 1; 1 of 1 is the whole run
  bool is_whole() const { return of == 1; }
  bool operator==(const Shard&) const = default;
};

/// "2/4". Usage error for any other text, and for i < 1, i > n or n > 10,000.
Shard parse_shard(std::string_view text);
/// Usage error for what is none: i < 1, i > n, n > 10,000.
void require_shard(const Shard& shard);

/// The reverse.
std::string name_of(const Shard& shard);

/// Usage error where a run has not enough seeds and rows for so many parts.
void check_shard(const ExperimentConfig& config, const Shard& shard);

/// The seeds of a part, in the order of the run.
std::vector<std::int64_t> seeds_of(const ExperimentConfig& config, const Shard& shard);
/// What it makes of one of them: all names in the order of the table, fp32 first; controls are made
/// by the first piece of a seed, and where rows are made of them.
std::vector<std::string> rows_of(const ExperimentConfig& config, const Shard& shard,
                                 std::int64_t seed);

/// Where a part of the run that goes to `out` is kept: "<out>-shard-2-of-4".
std::filesystem::path shard_directory(const std::filesystem::path& out, const Shard& shard);

/// Which part a directory holds: 1 of 1 where nothing says so. Fault::input for a damaged file.
Shard shard_in(const std::filesystem::path& directory);
/// Makes `directory` that of the part. Usage error where it is another's.
void keep_shard(const std::filesystem::path& directory, const Shard& shard);

}  // namespace notch::experiments
