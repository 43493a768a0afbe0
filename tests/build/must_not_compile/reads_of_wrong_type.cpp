// expect: LinearizableReads
// expect: \bget_pending_reads\b
// All four are there, but what is pending is not of the type that is read.
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using Read = std::string;
#ifdef FIXED
    std::vector<std::string> get_pending_reads();
#else
    std::vector<int> get_pending_reads();
#endif
    void apply_read(const std::string&);
    void abandon_read(const std::string&);
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
