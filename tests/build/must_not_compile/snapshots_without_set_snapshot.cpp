// expect: Snapshotting
// expect: \bset_snapshot\b
// get_snapshot without set_snapshot.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using SnapshotData = int;
    std::optional<little_raft::Snapshot<int>> get_snapshot();
    int create_snapshot(little_raft::Index, little_raft::Term);
#ifdef FIXED
    void set_snapshot(const little_raft::Snapshot<int>&);
#endif
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
    replica.poll({});
}
