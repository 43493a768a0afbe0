// expect: Sessionable
// expect: \bget_pending_transitions\b
// What is handed over is neither a transition nor one of a session.
#include "examples/sessions.hpp"
#include "minimal.hpp"

struct Machine : minimal::Machine {
#ifdef FIXED
    std::vector<little_raft::Sessioned<minimal::Add>> get_pending_transitions();
#else
    std::vector<little_raft::Sessioned<int>> get_pending_transitions();
#endif
};

void use(little_raft::Sessions<Machine>& machine,
         minimal::Network<little_raft::Sessions<Machine>>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
