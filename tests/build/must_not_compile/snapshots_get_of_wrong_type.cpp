// expect: Snapshotting
// expect: \bget_snapshot\b
// All four are there, but get_snapshot gives a Snapshot, not an optional one.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using SnapshotData = int;
#ifdef FIXED
    std::optional<little_raft::Snapshot<int>> get_snapshot();
#else
    little_raft::Snapshot<int> get_snapshot();
#endif
    int create_snapshot(little_raft::Index, little_raft::Term);
    void set_snapshot(const little_raft::Snapshot<int>&);
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
    replica.poll({});
}
