// expect: Storage
// expect: \bsync\b
// A sync that returns what fsync did: 0 is success there, and would be a failure here.
#include "minimal.hpp"

struct SlowDisk : minimal::Disk {
#ifdef FIXED
    std::optional<bool> sync();
#else
    int sync();
#endif
};

using Network = minimal::Network<minimal::Machine>;

void use(minimal::Machine& machine, Network& network, SlowDisk& disk) {
    little_raft::Replica replica{{1}, {}, network, machine, disk};
}
