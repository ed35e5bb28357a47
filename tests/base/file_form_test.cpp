#include "autograd/base/file_form.h"

#include "tests/catch.h"

namespace file_form_test {

using namespace notch;
using namespace std::string_view_literals;

TEST_CASE("files of another kind are known by their first bytes") {
  // From the formats' own descriptions (RFC 1952, RFC 8878, APPNOTE 4.3.7, POSIX ustar, git-lfs).
  const std::string tar = std::string(257, '\0') + std::string("ustar\0", 6) + "00";
  const struct {
    std::string_view bytes, name;
  } cases[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"},
      {"\x1f\x8b\x08\0rest"sv, "gzip"},
      {"\xfd\x37\x7a\x58\x5a\0rest"sv, "xz"},
      {"\x28\xb5\x2f\xfdrest", "zstd"},
      {"BZh9\x31\x41\x59\x26\x53\x59rest", "bzip2"},
      {"PK\x03\x04rest", "zip"},
      {"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0archive/data.pkl"sv, "PyTorch"},
      {"GGUF\x03\0\0\0"sv, "GGUF"},
      {"\x89HDF\r\n\x1a\n", "HDF5"},
      {"\x80\x02}q", "pickle"},
      {" \n<!DOCTYPE html><html>", "web page"},
      {"<HTML><body>", "web page"},
      {tar, "tar"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.name);
    const std::optional<FileForm> form = known_form(c.bytes);
    REQUIRE(form);
    CHECK(form->name.find(c.name) != std::string_view::npos);
    CHECK_FALSE(form->remedy.empty());
    const ErrorParts e = test::error_of([&] { refuse_known_form("the file", c.bytes, "a model"); });
    CHECK(e.fault == Fault::input);
    CHECK(e.where == "the file");
    CHECK(e.found == form->name);
    CHECK(e.expected == "a model");
    CHECK(e.hint == form->remedy);
  }
}

TEST_CASE("texts and JSON are of no other form, whatever words they hold") {
  const std::string mustard = std::string(256, ' ') + "mustard is a plant";
  for (const std::string_view text :
       {std::string_view(""), "a"sv, "The version https://git-lfs.github.com/spec/v1"sv,
        "{\"a\": 1}"sv, "a page: <!DOCTYPE html>"sv, "PK, a name"sv, "BZh is not enough"sv,
        std::string_view(mustard)}) {
    CAPTURE(text);
    CHECK_FALSE(known_form(text));
    refuse_known_form("the text", text, "a text");
  }
}

}  // namespace file_form_test
