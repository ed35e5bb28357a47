#include "data/token_cache.h"

#include <algorithm>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/orphans.h"
#include "autograd/base/sha256.h"

namespace notch::data {
namespace {

constexpr std::size_t kHashDigits = 64;

struct Header {
  char magic[8] = {'N', 'O', 'T', 'C', 'H', 'T', 'O', 'K'};
  std::uint32_t version = 3;
  std::uint32_t vocab_size = 0;
  char key[kHashDigits] = {};
  std::uint64_t train = 0, val = 0, test = 0;
};

Header header_of(const std::string& key, const TokenData& tokens) {
  Header h;
  h.vocab_size = static_cast<std::uint32_t>(tokens.vocab_size);
  std::memcpy(h.key, key.data(), std::min(key.size(), kHashDigits));
  h.train = tokens.train.size();
  h.val = tokens.val.size();
  h.test = tokens.test.size();
  return h;
}

bool ids_below(const std::vector<std::int32_t>& ids, int vocab_size) {
  return std::all_of(ids.begin(), ids.end(),
                     [=](std::int32_t id) { return id >= 0 && id < vocab_size; });
}

std::string_view bytes_of(const std::vector<std::int32_t>& ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(std::int32_t)};
}

bool read(const fs::path& path, const std::string& key, TokenData& tokens) {
  const std::string file = read_file(path);
  if (file.size() < sizeof(Header) + kHashDigits) return false;
  Header found;
  std::memcpy(&found, file.data(), sizeof found);
  const std::uint64_t ids = (file.size() - sizeof found - kHashDigits) / sizeof(std::int32_t);
  if (found.train > ids || found.val > ids - found.train) return false;
  if (found.test != ids - found.train - found.val) return false;
  const std::string_view body(file.data(), file.size() - kHashDigits);
  if (sha256(body) != file.substr(body.size())) return false;
  tokens.train.resize(found.train);
  tokens.val.resize(found.val);
  tokens.test.resize(found.test);
  const Header expected = header_of(key, tokens);
  if (std::memcmp(&found, &expected, sizeof found) != 0) return false;
  const char* from = file.data() + sizeof found;
  for (std::vector<std::int32_t>* split : {&tokens.train, &tokens.val, &tokens.test}) {
    const std::size_t bytes = bytes_of(*split).size();
    if (bytes > 0) std::memcpy(split->data(), from, bytes);
    from += bytes;
    if (!ids_below(*split, tokens.vocab_size)) return false;
  }
  return true;
}

}  // namespace

bool read_token_cache(const fs::path& directory, const std::string& key, TokenData& tokens) {
  bool valid = false;
  try {
    const fs::path path = directory / (key + ".bin");
    valid = fs::exists(path) && read(path, key, tokens);
  } catch (const Error&) {
    valid = false;  // an unreadable cache is no cache
  } catch (const fs::filesystem_error&) {
    valid = false;
  }
  if (!valid) {
    tokens.train.clear();
    tokens.val.clear();
    tokens.test.clear();
  }
  return valid;
}

void write_token_cache(const fs::path& directory, const std::string& key, const TokenData& tokens) {
  const Header h = header_of(key, tokens);
  Sha256 hash;
  try {
    std::error_code ignored;
    fs::create_directories(directory, ignored);
    const std::string name = key + ".bin";
    remove_orphans(directory / name);  // another process may be writing the same
    FileWriter writer(directory / name);
    const auto put = [&](std::string_view bytes) {
      writer.write(bytes);
      hash.update(bytes);
    };
    put({reinterpret_cast<const char*>(&h), sizeof h});
    put(bytes_of(tokens.train));
    put(bytes_of(tokens.val));
    put(bytes_of(tokens.test));
    writer.write(hash.hex());
    writer.commit();
  } catch (const Error& e) {
    if (e.fault() != Fault::io) throw;
  }
}

}  // namespace notch::data
