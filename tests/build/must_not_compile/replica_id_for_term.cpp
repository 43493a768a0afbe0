// expect: \bReplicaId\b
// expect: \bTerm\b
// A ReplicaId where a Term is wanted.
#include "minimal.hpp"

void take(little_raft::Term);

void use(little_raft::ReplicaId id, little_raft::Term term) {
#ifdef FIXED
    static_cast<void>(id);
    take(term);
#else
    static_cast<void>(term);
    take(id);
#endif
}
