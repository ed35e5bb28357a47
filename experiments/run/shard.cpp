#include "experiments/run/shard.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "experiments/run/row_facts.h"

namespace notch::experiments {
namespace {

constexpr int kMostShards = 10'000;

bool is_part(std::int64_t index, std::int64_t of) {
  return index >= 1 && index <= of && of <= kMostShards;
}

[[noreturn]] void refuse_part(std::string found) {
  throw Error(
      {.where = "--shard",
       .what = "not a part of a run",
       .found = std::move(found),
       .expected = str("i/n with 1 <= i <= n <= ", kMostShards, ": 2/4 is the second of four")});
}

/// A part: seeds [first, last) of the run, and of each of them piece `piece` of `pieces`.
struct Cut {
  std::size_t first = 0, last = 0, piece = 0, pieces = 1;
};

/// Seeds go to as many parts as there are, evenly; where there are more parts, the first seeds are
/// cut into one piece more than the last.
Cut cut_of(const ExperimentConfig& config, const Shard& shard) {
  require_shard(shard);
  check(!config.seeds.empty(), "--shard", "a run without seeds has no parts");
  const std::size_t seeds = config.seeds.size(), n = static_cast<std::size_t>(shard.of),
                    i = static_cast<std::size_t>(shard.index) - 1;
  if (n <= seeds) return {.first = i * seeds / n, .last = (i + 1) * seeds / n};
  std::size_t before = 0;
  for (std::size_t seed = 0;; ++seed) {
    const std::size_t pieces = n / seeds + (seed < n % seeds ? 1 : 0);
    if (i < before + pieces) {
      return {.first = seed, .last = seed + 1, .piece = i - before, .pieces = pieces};
    }
    before += pieces;
  }
}

}  // namespace

Shard parse_shard(std::string_view text) {
  Shard out{.index = 0, .of = 0};
  const std::size_t slash = text.find('/');
  const auto read = [](std::string_view digits, int& to) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), to);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  const bool reads = slash != std::string_view::npos && read(text.substr(0, slash), out.index) &&
                     read(text.substr(slash + 1), out.of);
  if (!reads || !is_part(out.index, out.of)) refuse_part(std::string(text));
  return out;
}

void require_shard(const Shard& shard) {
  if (!is_part(shard.index, shard.of)) refuse_part(name_of(shard));
}

std::string name_of(const Shard& shard) { return str(shard.index, '/', shard.of); }

void check_shard(const ExperimentConfig& config, const Shard& shard) {
  require_shard(shard);
  const std::size_t most =
      config.seeds.size() * std::max<std::size_t>(planned_rows(config).size(), 1);
  if (static_cast<std::size_t>(shard.of) <= most) return;
  throw Error({.where = "--shard",
               .what = "the run cannot be cut into so many parts",
               .found = str(shard.of),
               .expected = str("at most ", most, ": ", config.seeds.size(), " seeds times ",
                               planned_rows(config).size(), " rows")});
}

std::vector<std::int64_t> seeds_of(const ExperimentConfig& config, const Shard& shard) {
  const Cut cut = cut_of(config, shard);
  return {config.seeds.begin() + static_cast<std::ptrdiff_t>(cut.first),
          config.seeds.begin() + static_cast<std::ptrdiff_t>(cut.last)};
}

std::vector<std::string> rows_of(const ExperimentConfig& config, const Shard& shard,
                                 std::int64_t seed) {
  require_shard(shard);
  if (shard.is_whole()) return all_row_names(config);  // of any seed: a dry run has one of its own
  const std::vector<std::int64_t> seeds = seeds_of(config, shard);
  if (std::ranges::find(seeds, seed) == seeds.end()) return {};
  const Cut cut = cut_of(config, shard);
  const std::vector<RowConfig> planned = planned_rows(config);
  std::vector<std::string> rows;
  std::set<std::string> made_from;
  const std::size_t n = planned.size();
  for (std::size_t i = cut.piece * n / cut.pieces; i < (cut.piece + 1) * n / cut.pieces; ++i) {
    const RowResult row = planned_result(config, planned[i]);
    rows.push_back(row.name);
    for (const RowResult& r : of_controls(config, row)) {
      rows.push_back(r.name);
      made_from.insert(r.control);
    }
  }
  std::vector<std::string> out{std::string(kBaseRow)};
  for (const Control& c : controls(config, 0)) {
    if (cut.piece == 0 || made_from.contains(c.name)) out.push_back(c.name);
  }
  out.insert(out.end(), rows.begin(), rows.end());
  return out;
}

std::filesystem::path shard_directory(const std::filesystem::path& out, const Shard& shard) {
  require_shard(shard);
  if (shard.is_whole()) return out;
  return str(out.string(), "-shard-", shard.index, "-of-", shard.of);
}

Shard shard_in(const std::filesystem::path& directory) {
  const fs::path file = directory / kShardFile;
  if (!fs::exists(file)) return {};
  const std::string where = file.string();
  const Json json = Json::parse(read_file(file), where);
  const std::int64_t index = json.at("shard", where).as_int(where),
                     of = json.at("of", where).as_int(where);
  if (!is_part(index, of)) {
    throw Error({.fault = Fault::input,
                 .where = where,
                 .what = "not a part of a run",
                 .found = str(index, '/', of),
                 .expected = str("i/n with 1 <= i <= n <= ", kMostShards)});
  }
  return {.index = static_cast<int>(index), .of = static_cast<int>(of)};
}

void keep_shard(const std::filesystem::path& directory, const Shard& shard) {
  require_shard(shard);
  const fs::path file = directory / kShardFile;
  if (const Shard there = shard_in(directory); fs::exists(file) && there != shard) {
    throw Error({.where = directory.string(),
                 .what = "holds another part of the run",
                 .found = name_of(there),
                 .expected = name_of(shard),
                 .hint = "name another directory with --out"});
  }
  if (shard.is_whole()) return;
  Json json = Json::object();
  json.set("shard", shard.index).set("of", shard.of);
  write_file(file, json.dump() + "\n");
}

}  // namespace notch::experiments
