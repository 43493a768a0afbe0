// expect: Reconfigurable
// expect: \bget_pending_membership\b
// register_membership without get_pending_membership.
#include "minimal.hpp"

struct Network : minimal::Network<minimal::Machine, little_raft::Membership> {
#ifdef FIXED
    std::optional<little_raft::Membership> get_pending_membership();
#endif
    void register_membership(const little_raft::Membership&, little_raft::MembershipState);
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
