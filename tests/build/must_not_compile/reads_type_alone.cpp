// expect: LinearizableReads
// expect: \bget_pending_reads\b
// A Read and nothing that reads.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using Read = int;
#ifdef FIXED
    std::vector<int> get_pending_reads();
    void apply_read(const int&);
    void abandon_read(const int&);
#endif
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
