// expect: \bTerm\b
// expect: \bIndex\b
// A Term where an Index is wanted.
#include "minimal.hpp"

void take(little_raft::Index);

void use(little_raft::Term term, little_raft::Index index) {
#ifdef FIXED
    static_cast<void>(term);
    take(index);
#else
    static_cast<void>(index);
    take(term);
#endif
}
