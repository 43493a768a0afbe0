// expect: Sessionable
// expect: \bapply_transition\b
// Sessions over a machine that is none: apply_transition is missing.
#include "examples/sessions.hpp"
#include "minimal.hpp"

struct Machine {
    using Transition = minimal::Add;
    void register_transition_state(std::uint64_t, little_raft::TransitionState);
#ifdef FIXED
    int apply_transition(const minimal::Add&);
#endif
    std::vector<minimal::Add> get_pending_transitions();
};

void use(little_raft::Sessions<Machine>& machine,
         minimal::Network<little_raft::Sessions<Machine>>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
