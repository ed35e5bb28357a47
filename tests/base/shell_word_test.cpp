#include "autograd/base/shell_word.h"

#include <cstdio>
#include <string>

#include "tests/catch.h"

namespace shell_word_test {

using namespace notch;

/// What the system's shell makes of words: each one, ended by a NUL.
std::string as_read_by_sh(const std::string& words) {
  std::FILE* pipe = ::popen(("printf '%s\\0' " + words).c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) out += static_cast<char>(c);
  REQUIRE(::pclose(pipe) == 0);
  return out;
}

TEST_CASE("a shell reads a printed word back as it was") {
  std::string words, expected;
  for (int c = 1; c < 256; ++c) {
    for (const std::string& word :
         {std::string(1, static_cast<char>(c)), std::string("a") + static_cast<char>(c) + "b'c"}) {
      words += ' ' + shell_word(word);
      expected += word + '\0';
    }
  }
  CHECK(as_read_by_sh(words + ' ' + shell_word("")) == expected + '\0');
}

TEST_CASE("words without a meaning to a shell stay readable") {
  for (const char* word : {"runs/quick", "quant.bits=8,4", "../a_b-c.toml", "user@host:x%y+z"}) {
    CHECK(shell_word(word) == word);
  }
  CHECK(shell_word("my book.txt") == "'my book.txt'");
}

}  // namespace shell_word_test
