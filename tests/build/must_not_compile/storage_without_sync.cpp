// expect: Storage
// expect: \bsync\b
// A Storage without sync.
#include "minimal.hpp"

struct Disk {
    little_raft::StoredState<minimal::Add> load();
    void save_vote(little_raft::Term, std::optional<little_raft::ReplicaId>);
    void append(little_raft::Index, const std::vector<little_raft::Entry<minimal::Add>>&);
    void compact(little_raft::LogPosition);
#ifdef FIXED
    bool sync();
#endif
};

void use(minimal::Machine& machine, minimal::Network<minimal::Machine>& network, Disk& disk) {
    little_raft::Replica replica{{1}, {}, network, machine, disk};
}
