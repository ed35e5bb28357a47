// Building and judging a student's file: `notch lesson check`.
#pragma once

#include <filesystem>

#include "experiments/lessons/lesson.h"

namespace notch::lessons {

/// Throws Fault::usage for a lesson without an exercise, Fault::io where there is no `file`.
void require_exercise(const Lesson& lesson, const fs::path& file);

/// Compiles `file` with the compiler and flags of this build against its libraries, in a temporary
/// directory, and runs it: 0, or 6 when it does not pass. Throws as
/// require_exercise, and Fault::input for a file that does not compile or does not come to its end.
int check_exercise(const Lesson& lesson, const fs::path& file);

/// The skeleton in the repository that this program was built from.
fs::path skeleton(const Lesson& lesson);

}  // namespace notch::lessons
