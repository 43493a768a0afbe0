// expect: LinearizableReads
// expect: \babandon_read\b
// Reads that nobody would hear of when they are abandoned.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using Read = int;
    std::vector<int> get_pending_reads();
    void apply_read(const int&);
#ifdef FIXED
    void abandon_read(const int&);
#endif
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
