// expect: Reconfigurable
// expect: \bregister_membership\b
// get_pending_membership without register_membership.
#include "minimal.hpp"

struct Network : minimal::Network<minimal::Machine, little_raft::Membership> {
    std::optional<little_raft::Membership> get_pending_membership();
#ifdef FIXED
    void register_membership(const little_raft::Membership&, little_raft::MembershipState);
#endif
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
