#include "nn/manifest.h"

#include <bit>
#include <system_error>

#include "autograd/base/error.h"
#include "autograd/base/file_reader.h"
#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "autograd/kernels/sha256.h"

namespace notch::nn {
namespace {

constexpr std::int64_t kManifestVersion = 1;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 24;

/// Whether one name is the other with one bit flipped.
bool is_flipped(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  int bits = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    bits += std::popcount(static_cast<unsigned char>(a[i] ^ b[i]));
  return bits == 1;
}

/// The file in `dir` that has the size and the hash of `file`, or "".
std::string name_of_contents(const fs::path& dir, const ListedFile& file) {
  std::error_code error, ignored;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    if (!at->is_regular_file(ignored) || at->file_size(ignored) != file.bytes) continue;
    if (kernels::sha256_file(at->path()) == file.sha256) return at->path().filename().string();
  }
  return "";
}

}  // namespace

bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

namespace {

void require_plain(std::string_view name) {
  check(is_plain_name(name), "manifest", json_quote(name),
        " is no name of a file in the directory");
}

}  // namespace

ListedFile listed_file(const fs::path& dir, const std::string& name) {
  require_plain(name);
  return {name, FileReader(dir / name).bytes(), kernels::sha256_file(dir / name)};
}

void write_manifest(const fs::path& dir, const std::vector<std::string>& files) {
  std::vector<ListedFile> listed;
  for (const std::string& file : files) listed.push_back(listed_file(dir, file));
  write_manifest(dir, listed);
}

void write_manifest(const fs::path& dir, const std::vector<ListedFile>& files) {
  Json entries = Json::object();
  for (const ListedFile& file : files) {
    require_plain(file.name);
    Json entry = Json::object();
    entry.set("bytes", file.bytes).set("sha256", file.sha256);
    entries.set(file.name, std::move(entry));
  }
  Json manifest = Json::object();
  manifest.set("version", kManifestVersion).set("files", std::move(entries));
  write_file(dir / kManifestFile, manifest.dump(2) + "\n");
}

std::vector<ListedFile> read_manifest(const fs::path& dir) {
  const fs::path path = dir / kManifestFile;
  const std::string where = path.string();
  const Json manifest = Json::parse(read_file(path, kMaxBytes), where);
  const std::int64_t version = manifest.at("version", where).as_int(where + ": version");
  if (version != kManifestVersion) {
    refuse_file(path, "version", "unknown version", std::to_string(version),
                std::to_string(kManifestVersion));
  }
  const Json& files = manifest.at("files", where);
  if (manifest.as_object(where).size() != 2) {
    refuse_file(path, "", "has unknown members", "", "version and files alone");
  }
  std::vector<ListedFile> listed;
  for (const auto& [file, entry] : files.as_object(where + ": files")) {
    if (!is_plain_name(file)) refuse_file(path, file, "not a file's name", json_quote(file), "");
    const std::string entry_where = where + ": " + file;
    const std::int64_t bytes = entry.at("bytes", entry_where).as_int(entry_where);
    if (bytes < 0 || entry.as_object(entry_where).size() != 2) {
      refuse_file(path, file, "not a size and a hash", entry.dump(), "bytes and sha256");
    }
    const std::string& hash = entry.at("sha256", entry_where).as_string(entry_where);
    if (hash.size() != 64 || !is_hex(hash))
      refuse_file(path, file, "not a SHA-256", json_quote(hash), "64 hexadecimal digits");
    listed.push_back({file, static_cast<std::uint64_t>(bytes), hash});
  }
  return listed;
}

void check_listed(const fs::path& dir, const ListedFile& file) {
  const fs::path path = dir / file.name;
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (error) {
    const std::string other = name_of_contents(dir, file);
    if (is_flipped(file.name, other)) {
      refuse_file(dir / kManifestFile, file.name, "damaged: a name that no file has", file.name,
                  other + ", which has this size and hash");
    }
    throw Error({.fault = Fault::io,
                 .where = path.string(),
                 .what = error.message(),
                 .hint = other.empty() ? ""
                                       : str(other, " has its size and hash: if it was renamed, ",
                                             "give it its name back")});
  }
  if (size != file.bytes) {
    refuse_file(path, "", "damaged: the size differs from the manifest's", str(size, " bytes"),
                str(file.bytes, " bytes"));
  }
  const std::string actual = kernels::sha256_file(path);
  if (is_flipped(file.sha256, actual)) {
    refuse_file(dir / kManifestFile, file.name, "damaged: one bit of the file's SHA-256 differs",
                file.sha256, actual);
  }
  if (actual != file.sha256) {
    refuse_file(path, "", "damaged: SHA-256 differs from the manifest's", actual, file.sha256);
  }
}

}  // namespace notch::nn
