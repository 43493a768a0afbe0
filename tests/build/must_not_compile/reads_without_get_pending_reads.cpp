// expect: LinearizableReads
// expect: \bget_pending_reads\b
// apply_read and abandon_read without get_pending_reads.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using Read = int;
#ifdef FIXED
    std::vector<int> get_pending_reads();
#endif
    void apply_read(const int&);
    void abandon_read(const int&);
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
