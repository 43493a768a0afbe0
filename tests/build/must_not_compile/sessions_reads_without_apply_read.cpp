// expect: LinearizableReads
// expect: \bapply_read\b
// Sessions over a machine with a part of LinearizableReads: it must not quietly lose it.
#include "examples/sessions.hpp"
#include "minimal.hpp"

struct Machine : minimal::Machine {
    using Read = int;
    std::vector<int> get_pending_reads();
#ifdef FIXED
    void apply_read(const int&);
#endif
    void abandon_read(const int&);
};

void use(little_raft::Sessions<Machine>& machine,
         minimal::Network<little_raft::Sessions<Machine>>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
