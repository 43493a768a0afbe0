// expect: Snapshotting
// expect: \bcreate_snapshot\b
// A machine that is to save the membership with its snapshots, and is not given it.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using SnapshotData = int;
    using Taken = little_raft::Snapshot<int, little_raft::Membership>;
    std::optional<Taken> get_snapshot();
#ifdef FIXED
    int create_snapshot(little_raft::Index, little_raft::Term, const little_raft::Membership&);
#else
    int create_snapshot(little_raft::Index, little_raft::Term);
#endif
    void set_snapshot(const Taken&);
};

void use(Machine& machine, minimal::MemberNetwork<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
    replica.poll({});
}
