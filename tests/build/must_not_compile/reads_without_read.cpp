// expect: LinearizableReads
// expect: \bRead\b
// All three members, but no type of what they read.
#include "minimal.hpp"

struct Machine : minimal::Machine {
#ifdef FIXED
    using Read = int;
#endif
    std::vector<int> get_pending_reads();
    void apply_read(const int&);
    void abandon_read(const int&);
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
