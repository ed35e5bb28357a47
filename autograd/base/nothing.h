// Nothing: the alternative of a std::variant that has no value.
#pragma once

namespace notch {

/// std::monostate, but that its copy is not trivial. Of a variant whose alternatives are all strings,
/// vectors or trivial, libstdc++ (as of 12) thinks that it always holds one: where there is no memory for a
/// copy, it destroys what was not made yet, and the program crashes in place of std::bad_alloc. Beside
/// this one it does not think so.
struct Nothing {
  Nothing() = default;
  Nothing(const Nothing&) noexcept {}
  Nothing& operator=(const Nothing&) noexcept { return *this; }
  ~Nothing() = default;
};

}  // namespace notch
