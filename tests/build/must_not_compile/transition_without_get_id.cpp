// expect: Transition
// expect: \bget_id\b
// A Transition without get_id.
#include "minimal.hpp"

struct Put {
    int key;
#ifdef FIXED
    std::uint64_t get_id() const { return 0; }
#endif
};

struct Machine {
    using Transition = Put;
    void register_transition_state(std::uint64_t, little_raft::TransitionState);
    void apply_transition(const Put&);
    std::vector<Put> get_pending_transitions();
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
