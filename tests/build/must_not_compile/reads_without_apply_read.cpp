// expect: LinearizableReads
// expect: \bapply_read\b
// get_pending_reads and abandon_read without apply_read.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using Read = int;
    std::vector<int> get_pending_reads();
#ifdef FIXED
    void apply_read(const int&);
#endif
    void abandon_read(const int&);
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
