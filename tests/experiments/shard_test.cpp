// Which part of a run makes what.
#include "experiments/run/shard.h"

#include <map>

#include "autograd/base/files.h"
#include "experiments/run/row_facts.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace shard_test {

using namespace notch;
using namespace notch::experiments;

ExperimentConfig example(std::vector<std::int64_t> seeds) {
  ExperimentConfig config;
  config.seeds = std::move(seeds);
  config.quant.bits = {8, 4};
  config.quant.methods = {"rtn", "gptq", "qat-ste"};
  return config;
}

TEST_CASE("a shard is written i/n") {
  CHECK(parse_shard("2/4") == Shard{2, 4});
  CHECK(parse_shard("1/1").is_whole());
  CHECK(name_of({3, 7}) == "3/7");
  for (const char* bad : {"", "2", "0/4", "5/4", "2/4/", "a/b", "-1/2", "1/0", "1/10001", "1 /2"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_shard(bad), Error);
  }
}

TEST_CASE("the parts of a run make every row, quantized ones once") {
  for (const std::vector<std::int64_t>& seeds :
       {std::vector<std::int64_t>{5}, {5, 6}, {5, 6, 7, 8, 9}}) {
    const ExperimentConfig config = example(seeds);
    const std::vector<std::string> all = all_row_names(config);
    const int most = static_cast<int>(seeds.size()) * 6;
    for (int n = 1; n <= most; ++n) {
      CAPTURE(seeds.size(), n);
      std::map<std::pair<std::int64_t, std::string>, int> made;
      for (int i = 1; i <= n; ++i) {
        const Shard shard{i, n};
        check_shard(config, shard);
        REQUIRE_FALSE(seeds_of(config, shard).empty());
        for (const std::int64_t seed : seeds_of(config, shard)) {
          const std::vector<std::string> rows = rows_of(config, shard, seed);
          CHECK(rows.front() == kBaseRow);
          CHECK(rows.size() >= 2);  // a part that makes nothing but fp32 is no use
          for (const std::string& row : rows) ++made[{seed, row}];
        }
      }
      CHECK(made.size() == seeds.size() * all.size());
      for (const auto& [row, times] : made) {
        const bool shared = row.second == kBaseRow || row.second == kControlRow;
        if (!shared) CHECK(times == 1);
      }
    }
    CHECK_THROWS_AS(check_shard(config, {1, most + 1}), Error);
  }
}

TEST_CASE("five seeds in two parts, and the pieces of one seed") {
  const ExperimentConfig five = example({1, 2, 3, 4, 5});
  CHECK(seeds_of(five, {1, 2}) == std::vector<std::int64_t>{1, 2});
  CHECK(seeds_of(five, {2, 2}) == std::vector<std::int64_t>{3, 4, 5});
  CHECK(rows_of(five, {1, 2}, 3).empty());
  const ExperimentConfig one = example({1});
  // The first piece makes the control; of the others only those whose rows are made of it.
  using Names = std::vector<std::string>;
  CHECK(rows_of(one, {1, 3}, 1) == Names{"fp32", "fp32-continue", "rtn-int8", "control-rtn-int8",
                                         "gptq-int8", "control-gptq-int8"});
  CHECK(rows_of(one, {6, 6}, 1) == Names{"fp32", "qat-ste-int4"});
  CHECK(rows_of(one, {1, 1}, 1) == all_row_names(one));
  CHECK(rows_of(one, {1, 1}, 99) == all_row_names(one));  // the dry run's seed is none of the run's
}

TEST_CASE("a directory holds one part") {
  const test::TemporaryDirectory scratch;
  CHECK(shard_in(scratch.path()).is_whole());
  keep_shard(scratch.path(), {2, 3});
  CHECK(shard_in(scratch.path()) == Shard{2, 3});
  keep_shard(scratch.path(), {2, 3});
  CHECK_THROWS_AS(keep_shard(scratch.path(), {1, 3}), Error);
  CHECK_THROWS_AS(keep_shard(scratch.path(), {}), Error);
  write_file(scratch / "shard.json", "{\"shard\": 4, \"of\": 3}");
  CHECK_THROWS_AS(shard_in(scratch.path()), Error);
  // 2^32 + 2 and 2^32 + 3 are not 2 and 3.
  write_file(scratch / "shard.json", "{\"shard\": 4294967298, \"of\": 4294967299}");
  CHECK_THROWS_AS(shard_in(scratch.path()), Error);
  CHECK(shard_directory("runs/a", {2, 3}) == "runs/a-shard-2-of-3");
  CHECK(shard_directory("runs/a", {}) == "runs/a");
}

}  // namespace shard_test
