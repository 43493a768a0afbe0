// expect: StateMachine
// expect: \bapply_transition\b
// A slip of the finger: apply_transition is missing all the same.
#include "minimal.hpp"

struct Machine {
    using Transition = minimal::Add;
    void register_transition_state(std::uint64_t, little_raft::TransitionState);
#ifdef FIXED
    void apply_transition(const minimal::Add&);
#else
    void aply_transition(const minimal::Add&);
#endif
    std::vector<minimal::Add> get_pending_transitions();
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
