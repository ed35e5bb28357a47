#include "experiments/report/parts.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/shell_word.h"
#include "experiments/config/config_items.h"
#include "experiments/run/metrics.h"
#include "experiments/run/resume.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/row_files.h"

namespace notch::experiments {
namespace {

template <class T>
void add_new(std::vector<T>& all, const std::vector<T>& more) {
  for (const T& item : more) {
    if (std::ranges::find(all, item) == all.end()) all.push_back(item);
  }
}

/// A run keeps the settings that none of its rows uses at their defaults; here they become those of
/// a part whose rows use them.
void take_unset(ExperimentConfig& all, const ExperimentConfig& more) {
  LoadedConfig loaded{.config = std::move(all)};
  const std::vector<Item> none = items_of({}), own = items_of(loaded.config),
                          theirs = items_of(more);
  for (const Item& item : theirs) {
    const auto same_key = [&](const Item& other) { return other.key() == item.key(); };
    const auto unset = std::ranges::find_if(none, same_key),
               mine = std::ranges::find_if(own, same_key);
    const bool plain = item.kind != ItemKind::section && item.kind != ItemKind::table_list;
    if (!plain || unset == none.end() || mine == own.end()) continue;
    if (mine->value == unset->value && item.value != unset->value) {
      apply_override(loaded, str(item.key(), '=', item.value));
    }
  }
  all = std::move(loaded.config);
}

void require_parts(const std::vector<RunPart>& parts) {
  check(!parts.empty(), "report", "no run to report; name its directory");
}

std::string inputs_of(const RunPart& part) {
  const fs::path file = part.directory / "inputs.json";
  return fs::exists(file) ? read_file(file) : "";
}

[[noreturn]] void refuse(const RunPart& part, const RunPart& other, const Override& difference) {
  throw Error({.fault = Fault::mismatch,
               .where = part.directory.string(),
               .what = str("is not of the configuration of ", other.directory.string()),
               .field = difference.key,
               .found = difference.after,
               .expected = difference.before,
               .hint = "merge runs that differ in seeds and rows only"});
}

/// What of a seed a part should have and no part has.
struct Missing {
  std::int64_t seed = 0;
  std::size_t rows = 0, of = 0;
  std::string first{};
};

/// The part that was to make a row: the first with its seed and the row in its plan, or with its
/// seed.
class Owners {
 public:
  explicit Owners(const std::vector<RunPart>& parts) : parts_(parts) {
    for (const RunPart& p : parts) {
      std::set<std::pair<std::int64_t, std::string>>& rows = rows_.emplace_back();
      for (const std::int64_t seed : seeds_of(p.config, p.shard)) {
        for (const std::string& name : rows_of(p.config, p.shard, seed)) rows.emplace(seed, name);
      }
    }
  }
  const RunPart& of(std::int64_t seed, const std::string& row) const {
    const RunPart *with_seed = &parts_.front(), *with_row = nullptr;
    for (std::size_t i = parts_.size(); i-- > 0;) {
      const std::vector<std::int64_t> seeds = seeds_of(parts_[i].config, parts_[i].shard);
      if (std::ranges::find(seeds, seed) == seeds.end()) continue;
      if (rows_[i].contains({seed, row})) with_row = &parts_[i];
      with_seed = &parts_[i];
    }
    return with_row ? *with_row : *with_seed;
  }

 private:
  const std::vector<RunPart>& parts_;
  std::vector<std::set<std::pair<std::int64_t, std::string>>> rows_{};
};

/// Where the run goes whose shard this is.
std::string out_of(const RunPart& part) {
  const std::string name = part.directory.lexically_normal().string();
  const std::string suffix = shard_directory("", part.shard).string();
  const std::size_t end = name.rfind(suffix);
  return end == std::string::npos ? name : name.substr(0, end);
}

/// Whether `notch train` wrote the run, and its fp32 models are not all there: `notch run` would
/// make more than was asked for.
bool is_training(const RunPart& part) {
  const fs::path file = part.directory / "env.json";
  if (!fs::exists(file)) return false;
  const Json env = Json::parse(read_file(file), file.string());
  const Json* command = env.find("command_line");
  if (!command || !command->is_array()) return false;
  const Json::Array& words = command->as_array("command_line");
  const bool trains =
      words.size() > 1 && words[1].is_string() && words[1].as_string("command_line") == "train";
  return trains && std::ranges::any_of(part.config.seeds, [&](std::int64_t seed) {
           return !fs::exists(row_file(part.directory, seed, kBaseRow));
         });
}

/// A complete table or none: an average over what happens to be there would compare rows of
/// different seeds.
[[noreturn]] void refuse_missing(const std::map<const RunPart*, std::vector<Missing>>& missing,
                                 const std::vector<RunPart>& parts,
                                 const std::vector<std::int64_t>& complete) {
  std::string what = "not finished: ";
  std::string hint;
  bool first = true;
  for (const RunPart& p : parts) {  // in the order they were given
    const auto found = missing.find(&p);
    if (found == missing.end()) continue;
    std::string absent;
    for (const Missing& m : found->second) {
      if (m.rows == m.of) {
        absent += str(absent.empty() ? "" : ", ", m.seed);
        continue;
      }
      what += str(first ? "" : "; ", p.directory.string(), ": seed ", m.seed, " lacks ", m.rows,
                  " of ", m.of, " rows, ", m.first, " first");
      first = false;
    }
    if (!absent.empty()) {
      what += str(first ? "" : "; ", p.directory.string(), ": nothing of seed ", absent);
      first = false;
    }
    hint +=
        str(hint.empty() ? "finish with: " : "; ", is_training(p) ? "notch train " : "notch run ",
            shell_word((p.directory / kResolvedConfig).string()),
            p.shard.is_whole()
                ? " --resume"
                : str(" --resume --shard ", name_of(p.shard), " --out ", shell_word(out_of(p))));
  }
  if (!complete.empty())
    hint += "; or report the finished seeds alone: seeds=" + joined(complete, ",");
  throw Error({.fault = Fault::input, .where = "report", .what = what, .hint = hint});
}

}  // namespace

RunPart open_part(const fs::path& directory, const std::vector<std::string>& overrides) {
  const fs::path file = directory / kResolvedConfig;
  if (!fs::exists(file)) {
    const bool exists = fs::exists(directory);
    throw Error(
        {.fault = exists ? Fault::input : Fault::io,
         .where = directory.string(),
         .what = exists ? "there is no run here" : "there is no such directory",
         .expected = str("a directory with ", kResolvedConfig, ", as `notch run` makes it")});
  }
  return {.directory = directory,
          .config = load_config(file, overrides).config,
          .shard = shard_in(directory)};
}

void require_own_seeds(const std::vector<RunPart>& parts) {
  std::vector<std::int64_t> own;
  for (const RunPart& p : parts)
    add_new(own, load_config(p.directory / kResolvedConfig).config.seeds);
  std::ranges::sort(own);
  for (const RunPart& p : parts) {
    for (const std::int64_t seed : p.config.seeds) {
      if (std::ranges::binary_search(own, seed)) continue;
      throw Error(
          {.where = "notch report",
           .what = parts.size() == 1 ? "the run has no such seed" : "no part has such a seed",
           .field = "seeds",
           .found = str(seed),
           .expected = "of " + joined(own, ","),
           .hint =
               str("`notch run ", shell_word((parts.front().directory / kResolvedConfig).string()),
                   " seeds=", seed, " --out NEW` makes it")});
    }
  }
}

void sort_shards(std::vector<RunPart>& parts) {
  const auto whole = [](const RunPart& p) { return p.shard.is_whole(); };
  for (const RunPart& p : parts) require_shard(p.shard);
  if (std::ranges::all_of(parts, whole)) return;
  const int of = std::ranges::find_if_not(parts, whole)->shard.of;
  std::vector<const RunPart*> found(static_cast<std::size_t>(of));
  for (const RunPart& p : parts) {
    if (p.shard.of != of) {
      throw Error({.fault = Fault::mismatch,
                   .where = p.directory.string(),
                   .what = "is a part of a run that was cut in another way",
                   .found = "shard " + name_of(p.shard),
                   .expected = str("a shard of ", of),
                   .hint = "merge the parts of one `notch run --shard i/n`"});
    }
    const RunPart*& place = found[static_cast<std::size_t>(p.shard.index) - 1];
    if (place) {
      throw Error({.fault = Fault::input,
                   .where = p.directory.string(),
                   .what = "is the same part as " + place->directory.string(),
                   .found = "shard " + name_of(p.shard),
                   .expected = "each shard once"});
    }
    place = &p;
  }
  std::string missing;
  int first = 0;
  for (int i = 1; i <= of; ++i) {
    if (found[static_cast<std::size_t>(i) - 1]) continue;
    missing += str(missing.empty() ? "shard " : ", ", i, '/', of);
    if (first == 0) first = i;
  }
  if (!missing.empty()) {
    const RunPart& any = parts.front();
    throw Error({.fault = Fault::input,
                 .where = "report",
                 .what = "missing: " + missing,
                 .hint = str("make it with: notch run ",
                             shell_word((any.directory / kResolvedConfig).string()), " --shard ",
                             first, '/', of, " --out ", shell_word(out_of(any)))});
  }
  std::ranges::stable_sort(parts, {}, [](const RunPart& p) { return p.shard.index; });
}

ExperimentConfig merged_config(const std::vector<RunPart>& parts) {
  require_parts(parts);
  ExperimentConfig all = parts.front().config;
  for (const RunPart& p : parts) {
    const ExperimentConfig& c = p.config;
    if (inputs_of(p) != inputs_of(parts.front())) {
      throw Error({.fault = Fault::mismatch,
                   .where = (p.directory / "inputs.json").string(),
                   .what = str("names another text, tokenizer or model than that of ",
                               parts.front().directory.string()),
                   .hint = "merge runs on one text"});
    }
    if (c.row.empty() != all.row.empty()) {
      refuse(p, parts.front(),
             {.key = "row",
              .before = all.row.empty() ? "none" : "rows of their own",
              .after = c.row.empty() ? "none" : "rows of their own"});
    }
    if (const auto d = first_conflict(parts.front().config, c)) refuse(p, parts.front(), *d);
    add_new(all.seeds, c.seeds);
    add_new(all.quant.methods, c.quant.methods);
    add_new(all.quant.bits, c.quant.bits);
    add_new(all.row, c.row);
    all.quant.control = all.quant.control || c.quant.control;
    take_unset(all, c);
  }
  for (const RunPart& p : parts) {
    if (const auto d = first_conflict(all, p.config)) refuse(p, parts.front(), *d);
  }
  return all;
}

std::vector<SeedResults> read_results(const std::vector<RunPart>& parts,
                                      const ExperimentConfig& config,
                                      const std::string& scored_on) {
  require_parts(parts);
  const std::vector<RowResult> planned = planned_results(config);
  const Owners owners(parts);
  std::vector<SeedResults> out;
  std::map<const RunPart*, std::vector<Missing>> missing;
  std::vector<std::int64_t> complete;
  for (const std::int64_t seed : config.seeds) {
    SeedResults& results = out.emplace_back();
    results.seed = seed;
    for (const RowResult& plan : planned) {
      std::optional<RowResult> made;
      for (const RunPart& p : parts) {
        const fs::path file = row_file(p.directory, seed, plan.name);
        if (!fs::exists(file)) continue;
        RowResult found = read_row(file);
        if (!found.scored_on.empty() && found.scored_on != scored_on) {
          throw Error({.fault = Fault::mismatch,
                       .where = file.string(),
                       .what = "the row was scored on another text",
                       .found = "sha256 " + found.scored_on,
                       .expected = "sha256 " + scored_on,
                       .hint = "put the text of then in its place; `notch run --resume` scores the "
                               "models on this one"});
        }
        if (!made) {
          made = std::move(found);
        } else if (made->sha256 != found.sha256) {
          throw Error({.fault = Fault::mismatch,
                       .where = file.string(),
                       .what = "another part made another model of this row",
                       .found = "sha256 " + found.sha256,
                       .expected = "sha256 " + made->sha256,
                       .hint = "merge parts that one kind of processor made"});
        }
      }
      if (made) {
        follow_plan(*made, plan);
        results.rows.push_back(std::move(*made));
        continue;
      }
      std::vector<Missing>& of_part = missing[&owners.of(seed, plan.name)];
      if (of_part.empty() || of_part.back().seed != seed) {
        of_part.push_back({.seed = seed, .of = planned.size(), .first = plan.name});
      }
      ++of_part.back().rows;
    }
    if (results.rows.size() == planned.size()) complete.push_back(seed);
  }
  if (!missing.empty()) refuse_missing(missing, parts, complete);
  return out;
}

std::string merged_metrics(const std::vector<RunPart>& parts) {
  std::string out;
  std::set<std::string> told;
  for (const RunPart& p : parts) {
    const fs::path file = p.directory / kMetricsFile;
    if (!fs::exists(file)) continue;
    std::set<std::string> here;
    const std::string text = read_file(file);
    read_metrics(text, [&](const MetricsLine& line) {
      if (told.contains(line.run)) return;
      here.insert(line.run);
      out += str(line.text, '\n');
    });
    told.merge(here);
  }
  return out;
}

}  // namespace notch::experiments
