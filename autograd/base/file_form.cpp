#include "autograd/base/file_form.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "autograd/base/error.h"

namespace notch {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kHead = 512;

struct Signature {
  std::size_t offset = 0;
  std::string_view magic{};
  FileForm form{};
};

constexpr std::string_view kOtherWeights =
    "save the weights as safetensors: in Python, transformers' "
    "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT)";

constexpr Signature kSignatures[] = {
    {0,
     "version https://git-lfs.github.com/spec/"sv,
     {"a pointer of Git LFS, not the file itself",
      "`git lfs pull` in the repository gets the file"}},
    {0,
     "# xet version"sv,
     {"a pointer of Xet, not the file itself", "`git xet` or `hf download` gets the file"}},
    {0,
     "/annex/objects/"sv,
     {"a pointer of git-annex, not the file itself", "`git annex get FILE` gets the file"}},
    {0, "\x1f\x8b"sv, {"gzip-compressed data", "unpack it: gunzip -c IN > OUT"}},
    {0, "\xfd\x37zXZ\0"sv, {"xz-compressed data", "unpack it: xz -dc IN > OUT"}},
    {0, "\x28\xb5\x2f\xfd"sv, {"zstd-compressed data", "unpack it: zstd -dc IN > OUT"}},
    {0, "\x04\x22\x4d\x18"sv, {"lz4-compressed data", "unpack it: lz4 -dc IN > OUT"}},
    {4, "1AY&SY"sv, {"bzip2-compressed data", "unpack it: bzip2 -dc IN > OUT", false}},
    {0, "7z\xbc\xaf\x27\x1c"sv, {"a 7z archive", "unpack it: 7z x IN"}},
    {257, "ustar\0"sv, {"a tar archive", "unpack it: tar -xf IN"}},
    {257, "ustar  \0"sv, {"a tar archive", "unpack it: tar -xf IN"}},
    {0, "\x80\x02"sv, {"a Python pickle, as torch.save writes", kOtherWeights}},
    {0, "\x80\x04\x95"sv, {"a Python pickle", kOtherWeights}},
    {0, "\x89HDF\r\n\x1a\n"sv, {"an HDF5 file, as Keras and TensorFlow write", kOtherWeights}},
    {0, "GGUF"sv, {"a GGUF file, as llama.cpp reads", kOtherWeights, false}},
    {0, "\x93NUMPY"sv, {"a NumPy array", kOtherWeights}},
    {0, "%PDF-"sv, {"a PDF", "extract its text: pdftotext IN OUT", false}},
    {0, "PAR1"sv, {"a Parquet table", "write its column of text to a file", false}},
};

/// A zip by what it holds: torch.save's has data.pkl first, np.savez's an array, an e-book or an
/// office document something else.
FileForm zip_form(std::string_view head) {
  if (head.find("data.pkl") != head.npos) {
    return {"a PyTorch checkpoint (a zip of a pickle)", kOtherWeights};
  }
  if (head.find(".npy") != head.npos) return {"NumPy arrays in a zip", kOtherWeights};
  return {"a zip archive", "unpack it: unzip IN"};
}

bool is_web_page(std::string_view head) {
  const std::size_t begin = head.find_first_not_of(" \t\r\n");
  if (begin == head.npos) return false;
  std::string start(head.substr(begin, 14));
  std::ranges::transform(start, start.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return start.starts_with("<!doctype html") || start.starts_with("<html");
}

}  // namespace

std::optional<FileForm> known_form(std::string_view head) {
  head = head.substr(0, kHead);
  if (head.starts_with("PK\x03\x04"sv)) return zip_form(head);
  for (const Signature& s : kSignatures) {
    if (head.size() >= s.offset && head.substr(s.offset).starts_with(s.magic)) return s.form;
  }
  if (!is_web_page(head)) return std::nullopt;
  return FileForm{"a web page", "download the file itself, not the page about it", false};
}

void refuse_known_form(std::string_view where, std::string_view bytes, std::string expected) {
  const std::optional<FileForm> form = known_form(bytes);
  if (!form) return;
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "another kind of file",
               .found = std::string(form->name),
               .expected = std::move(expected),
               .hint = std::string(form->remedy)});
}

}  // namespace notch
