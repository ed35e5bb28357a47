// What killed processes left beside a path: temporaries of autograd/base/files.h whose writer is no more.
#pragma once

#include "autograd/base/files.h"

namespace notch {

/// Removes the path's temporaries of writers that have died; a directory that was renamed aside
/// comes back where there is no other. For paths that several processes may write at once, where
/// the locks that remove_stale_temporaries asks for may not tell: what a writer has begun it holds
/// locked (flock), so that those of another container, whose numbers mean nothing here, stay as
/// well. Another host's (not another container's of this one) stay for a week after they were last
/// written to, locked or not, as do those of earlier builds, which do not say whose they are. What
/// cannot be removed stays. Writers that replace nothing do this when they commit, other
/// DirectoryWriters when they begin; who writes another file that a killed process may have begun
/// asks for it.
void remove_orphans(const fs::path& path);

}  // namespace notch
