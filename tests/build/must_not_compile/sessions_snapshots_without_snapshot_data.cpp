// expect: Snapshotting
// expect: \bSnapshotData\b
// Sessions over a machine with a part of Snapshotting: the type is missing.
#include "examples/sessions.hpp"
#include "minimal.hpp"

struct Machine : minimal::Machine {
#ifdef FIXED
    using SnapshotData = std::string;
#endif
    std::optional<little_raft::Snapshot<std::string>> get_snapshot();
    std::string create_snapshot(little_raft::Index, little_raft::Term);
    void set_snapshot(const little_raft::Snapshot<std::string>&);
};

void use(little_raft::Sessions<Machine>& machine,
         minimal::Network<little_raft::Sessions<Machine>>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
