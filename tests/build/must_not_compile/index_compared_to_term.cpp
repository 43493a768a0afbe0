// expect: \bIndex\b
// expect: \bTerm\b
// An Index and a Term have no order between them.
#include "minimal.hpp"

bool use(little_raft::Index index, [[maybe_unused]] little_raft::Term term) {
#ifdef FIXED
    return index < index;
#else
    return index < term;
#endif
}
