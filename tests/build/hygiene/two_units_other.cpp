#include "minimal.hpp"

int poll_other();

int poll_other() {
    minimal::Machine machine;
    minimal::Network<minimal::Machine> network;
    little_raft::Replica replica{{1}, {}, network, machine};
    little_raft::Notifier notifier;
    notifier.notify();
    replica.start(notifier);
    return replica.status().fault ? 1 : 0;
}
