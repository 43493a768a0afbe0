// expect: register_lost_disk
// A Cluster whose register_lost_disk takes something else: it would never be told.
#include "minimal.hpp"

struct Network : minimal::Network<minimal::Machine> {
#ifdef FIXED
    void register_lost_disk(little_raft::ReplicaId);
#else
    void register_lost_disk(std::string);
#endif
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
    replica.poll({});
}
