// What a file is that is not what was asked for: known by its first bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace notch {

struct FileForm {
  std::string_view name{};    ///< "gzip-compressed data"
  std::string_view remedy{};  ///< how to get from it what is wanted
  bool never_text = true;     ///< no text begins so
};

/// Pointers of Git LFS and its like, web pages, compressed files and archives, and the forms in
/// which other programs keep weights. `head`: the file's first 512 bytes or more.
std::optional<FileForm> known_form(std::string_view head);

/// Throws Fault::input when `bytes`, the beginning of the file `where`, are of a known form.
void refuse_known_form(std::string_view where, std::string_view bytes, std::string expected);

}  // namespace notch
