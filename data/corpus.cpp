#include "data/corpus.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/sha256.h"
#include "data/text_form.h"
#include "data/token_cache.h"

namespace notch::data {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

void check_splits(const Splits& s) {
  const auto fail = [](const char* field, double found, const char* expected, const char* hint) {
    throw Error({.fault = Fault::usage,
                 .where = "corpus",
                 .what = "the share of the text is out of range",
                 .field = field,
                 .found = str(found),
                 .expected = expected,
                 .hint = hint});
  };
  if (!(s.val > 0 && s.val < 1)) {
    fail("val_fraction", s.val, "more than 0 and less than 1",
         "0.1 keeps a tenth of the text for validation");
  }
  if (!(s.test >= 0 && s.val + s.test < 1)) {
    fail("test_fraction", s.test, "at least 0, and with val_fraction less than 1",
         "0.1 keeps the last tenth of the text for the final table");
  }
}

/// Bytes of `text` per token of `ids` that is predicted.
double bytes_per_token(std::string_view text, const std::vector<std::int32_t>& ids,
                       const Tokenizer& tokenizer) {
  if (ids.size() < 2) return 0;
  return static_cast<double>(text.size() - tokenizer.token(ids.front()).size()) /
         static_cast<double>(ids.size() - 1);
}

}  // namespace

std::size_t split_point(std::string_view text, double share) {
  auto at = static_cast<std::size_t>(std::floor(static_cast<double>(text.size()) * (1 - share)));
  const auto continues = [&](std::size_t i) {
    return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
  };
  while (at < text.size() && continues(at)) ++at;
  return at;
}

Corpus make_corpus(std::string name, std::string text, const Splits& splits,
                   std::string_view where) {
  check_splits(splits);
  require_utf8(text, where);
  const bool marked = text.starts_with(kByteOrderMark);
  if (marked) text.erase(0, kByteOrderMark.size());
  if (text.size() < 2) {
    throw Error({.fault = Fault::input,
                 .where = std::string(where),
                 .what = text.empty() ? "the text is empty" : "the text has a single byte",
                 .field = "size",
                 .found = str(text.size(), " bytes"),
                 .expected = "enough for a training and a validation split",
                 .hint = "give a longer text"});
  }
  Corpus corpus;
  corpus.marked = marked;
  corpus.name = std::move(name);
  corpus.sha256 = sha256(text);
  corpus.train_bytes = split_point(text, splits.val + splits.test);
  corpus.val_bytes = split_point(text, splits.test) - corpus.train_bytes;
  corpus.text = std::move(text);
  return corpus;
}

std::optional<fs::path> shelved_text(const fs::path& path) {
  const char* folder = std::getenv("NOTCH_DATA");
  if (folder == nullptr || *folder == '\0' || path.filename().empty()) return std::nullopt;
  const fs::path shelved = fs::path(folder) / path.filename();
  return is_file(shelved) ? std::optional(shelved) : std::nullopt;
}

fs::path find_text(const fs::path& path) {
  if (path == kStdin || is_file(path)) return path;
  const std::optional<fs::path> shelved = shelved_text(path);
  if (shelved && !path.has_parent_path()) return *shelved;
  throw Error({.fault = Fault::io,
               .where = path.string(),
               .what = "there is no such file",
               .field = "path",
               .found = shelved ? str("another of this name: ", shelved->string()) : "",
               .expected = "a UTF-8 text file, or - for stdin",
               .hint = shelved ? "give the path of the one that is meant"
                               : "check the path, set NOTCH_DATA to the folder that has it, or "
                                 "download a corpus with data/fetch.sh"});
}

Corpus load_corpus(const fs::path& path, const Splits& splits) {
  const fs::path found = find_text(path);
  std::string name = found == kStdin ? "stdin" : found.filename().string();
  if (found.parent_path() == "/dev/fd") name = found.string();  // a shell's <(...)
  return make_corpus(name, read_input(found), splits, found == kStdin ? name : found.string());
}

TokenData tokenize(const Corpus& corpus, const Tokenizer& tokenizer, const fs::path& cache) {
  check(corpus.train_bytes <= corpus.text.size() &&
            corpus.val_bytes <= corpus.text.size() - corpus.train_bytes,
        "tokenize", "splits of ", corpus.train_bytes, " and ", corpus.val_bytes,
        " bytes of a text of ", corpus.text.size());
  TokenData tokens;
  tokens.vocab_size = tokenizer.vocab_size();
  // A text that one tokenizer refuses must not come from the cache of another that takes it.
  const char* form = tokenizer.vocabulary().nfc ? "NFC\n" : "";
  const std::string key =
      cache.empty() ? ""
                    : sha256(str("tokens\n", corpus.sha256, "\n", tokenizer.definition_hash(), "\n",
                                 corpus.train_bytes, "\n", corpus.val_bytes, "\n", form));
  if (cache.empty() || !read_token_cache(cache, key, tokens)) {
    tokens.train = tokenizer.encode(corpus.train());
    tokens.val = tokenizer.encode(corpus.val());
    tokens.test = tokenizer.encode(corpus.test());
    if (!cache.empty()) write_token_cache(cache, key, tokens);
  }
  tokens.val_bytes_per_token = bytes_per_token(corpus.val(), tokens.val, tokenizer);
  tokens.test_bytes_per_token = bytes_per_token(corpus.test(), tokens.test, tokenizer);
  return tokens;
}

namespace {

/// "data.val_fraction=0.15", for the splits that are too short, where the training split has enough
/// to give; else "".
std::string larger_shares(const TokenData& tokens, std::int64_t block_size) {
  const auto total =
      static_cast<double>(tokens.train.size() + tokens.val.size() + tokens.test.size());
  std::string out;
  double evaluated = 0;
  const auto grow = [&](std::string_view key, std::size_t count) {
    double share = static_cast<double>(count) / total;
    if (static_cast<std::int64_t>(count) <= block_size) {
      // Tokens are not spread evenly over a text: a tenth more than they would take.
      share = std::ceil(110 * static_cast<double>(block_size + 1) / total) / 100;
      out += str(out.empty() ? "" : " ", key, '=', share);
    }
    evaluated += share;
  };
  grow("data.val_fraction", tokens.val.size());
  if (!tokens.test.empty()) grow("data.test_fraction", tokens.test.size());
  const bool left = (1 - evaluated) * total > 1.1 * static_cast<double>(block_size + 1);
  return left && evaluated <= 0.5 ? out : "";
}

}  // namespace

void require_block(const TokenData& tokens, std::int64_t block_size, std::string_view where) {
  const std::size_t total = tokens.train.size() + tokens.val.size() + tokens.test.size();
  const std::size_t least =
      std::min({tokens.train.size(), tokens.val.size(),
                tokens.test.empty() ? tokens.val.size() : tokens.test.size()});
  // The longest context that is a power of two and fits every split.
  std::size_t fits = 1;
  while (2 * fits < least) fits *= 2;
  const auto need = [&](std::string_view split, std::string_view key, std::size_t count) {
    if (static_cast<std::int64_t>(count) > block_size) return;
    std::string hint = least == 0
                           ? std::string("give more text")
                           : str("give about ", static_cast<std::size_t>(block_size) / least + 1,
                                 " times as much text");
    if (least >= 2) hint += str(", or a shorter context: model.block_size=", fits);
    if (const std::string shares = larger_shares(tokens, block_size); !shares.empty())
      hint += str(", or keep more of it for this: ", shares);
    throw Error({.fault = Fault::input,
                 .where = std::string(where),
                 .what = str("the ", split, " split is shorter than one window"),
                 .field = std::string(key),
                 .found = str(count, " of the text's ", total, " tokens"),
                 .expected = str("at least ", block_size + 1, " tokens (block size ", block_size,
                                 " and one target)"),
                 .hint = std::move(hint)});
  };
  need("training", "", tokens.train.size());
  need("validation", "data.val_fraction", tokens.val.size());
  if (!tokens.test.empty()) need("test", "data.test_fraction", tokens.test.size());
}

}  // namespace notch::data
