// expect: LeadershipTransfer
// expect: \bget_pending_transfer\b
// A Cluster whose get_pending_transfer always names somebody.
#include "minimal.hpp"

struct Network {
    using Message = little_raft::MessageOf<minimal::Machine>;
    void send_message(little_raft::ReplicaId, Message);
    std::vector<Message> receive_messages();
    bool halt() const;
    void register_leader(std::optional<little_raft::ReplicaId>);
#ifdef FIXED
    std::optional<little_raft::ReplicaId> get_pending_transfer();
#else
    little_raft::ReplicaId get_pending_transfer();
#endif
};

void use(minimal::Machine& machine, Network& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
    replica.poll({});
}
