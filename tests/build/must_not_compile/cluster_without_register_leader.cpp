// expect: Cluster
// expect: \bregister_leader\b
// A Cluster without register_leader.
#include "minimal.hpp"

struct Network {
    using Message = little_raft::MessageOf<minimal::Machine>;
    void send_message(little_raft::ReplicaId, Message);
    std::vector<Message> receive_messages();
    bool halt() const;
#ifdef FIXED
    void register_leader(std::optional<little_raft::ReplicaId>);
#endif
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
