// expect: Storage
// expect: \bsync\b
// A sync that returns a text of what went wrong: there is no telling which text means success.
#include "minimal.hpp"

struct SlowDisk : minimal::Disk {
#ifdef FIXED
    std::optional<bool> sync();
#else
    std::string sync();
#endif
};

using Network = minimal::Network<minimal::Machine>;

void use(minimal::Machine& machine, Network& network, SlowDisk& disk) {
    little_raft::Replica replica{{1}, {}, network, machine, disk};
}
