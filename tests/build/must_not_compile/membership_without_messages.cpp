// expect: Cluster
// expect: \bsend_message\b
// A Cluster whose members change, of messages that cannot say so.
#include "minimal.hpp"

#ifdef FIXED
using Config = little_raft::Membership;
#else
using Config = little_raft::Noop;
#endif

struct Network : minimal::Network<minimal::Machine, Config> {
    std::optional<little_raft::Membership> get_pending_membership();
    void register_membership(const little_raft::Membership&, little_raft::MembershipState);
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
