// expect: Snapshotting
// expect: \bSnapshotData\b
// The functions of snapshots without the type SnapshotData.
#include "minimal.hpp"

struct Machine : minimal::Machine {
#ifdef FIXED
    using SnapshotData = int;
#endif
    std::optional<little_raft::Snapshot<int>> get_snapshot();
    int create_snapshot(little_raft::Index, little_raft::Term);
    void set_snapshot(const little_raft::Snapshot<int>&);
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
    replica.poll({});
}
