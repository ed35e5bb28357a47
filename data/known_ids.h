// Vocabularies that callers put together themselves: checked before a file is made of one.
#pragma once

#include "data/vocabulary.h"

namespace notch::data {

/// Usage Error for a merge or an added token whose id is not one of the tokens.
void require_known_ids(const Vocabulary& vocabulary);

}  // namespace notch::data
