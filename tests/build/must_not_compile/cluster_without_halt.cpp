// expect: Cluster
// expect: \bhalt\b
// A Cluster without halt.
#include "minimal.hpp"

struct Network {
    using Message = little_raft::MessageOf<minimal::Machine>;
    void send_message(little_raft::ReplicaId, Message);
    std::vector<Message> receive_messages();
#ifdef FIXED
    bool halt() const;
#endif
    void register_leader(std::optional<little_raft::ReplicaId>);
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
