// Work that several processes do at once.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "tests/catch.h"

namespace notch::test {

/// work(i) for i < n, each in a process of its own; all have to end without an exception.
template <class Work>
void in_processes(int n, const Work& work) {
  std::vector<pid_t> children;
  for (int i = 0; i < n; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      try {
        work(i);
        ::_exit(0);
      } catch (...) {
        ::_exit(1);
      }
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
}

}  // namespace notch::test
