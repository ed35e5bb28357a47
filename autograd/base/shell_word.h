// Words of commands that are printed for the user to run.
#pragma once

#include <string>
#include <string_view>

namespace notch {

/// `word` as a POSIX shell reads it back: as it is where no character means anything to a shell,
/// else in single quotes, and a quote inside as '\'' (POSIX.1-2017, Shell Command Language, 2.2.2).
std::string shell_word(std::string_view word);

}  // namespace notch
