// What killed processes left beside a path: temporaries of autograd/base/files.h whose writer is no more.
#pragma once

#include "autograd/base/files.h"

namespace notch {

/// Removes path.tmp-<pid> and path.tmp-<pid>-old of writers that have died; a directory that was renamed
/// aside comes back where there is no other. For paths that several processes may write at once, where
/// remove_stale_temporaries, which asks for no writer, would take a living one's: what a writer has begun
/// it holds locked (flock), so that those of another container or host, whose numbers mean nothing here,
/// stay as well. What cannot be removed stays. A DirectoryWriter does this when it begins; who writes a
/// file that a killed process may have begun asks for it.
void remove_orphans(const fs::path& path);

}  // namespace notch
