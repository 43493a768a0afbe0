// expect: Cluster
// expect: \bsend_message\b
// A Cluster whose send_message takes some other type.
#include "minimal.hpp"

struct Network {
    using Message = little_raft::MessageOf<minimal::Machine>;
#ifdef FIXED
    void send_message(little_raft::ReplicaId, Message);
#else
    void send_message(little_raft::ReplicaId, std::string);
#endif
    std::vector<Message> receive_messages();
    bool halt() const;
    void register_leader(std::optional<little_raft::ReplicaId>);
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
