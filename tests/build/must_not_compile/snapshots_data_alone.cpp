// expect: Snapshotting
// expect: \bget_snapshot\b
// SnapshotData alone: the functions are missing.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using SnapshotData = int;
#ifdef FIXED
    std::optional<little_raft::Snapshot<int>> get_snapshot();
#endif
#ifdef FIXED
    int create_snapshot(little_raft::Index, little_raft::Term);
#endif
#ifdef FIXED
    void set_snapshot(const little_raft::Snapshot<int>&);
#endif
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
    replica.poll({});
}
