// expect: Transition
// An id that is a view into the transition would outlive what it looks at.
#include <string_view>

#include "minimal.hpp"

struct Put {
    std::string name;
#ifdef FIXED
    std::string get_id() const { return name; }
#else
    std::string_view get_id() const { return name; }
#endif
};

struct Machine {
    using Transition = Put;
    void register_transition_state(std::string_view, little_raft::TransitionState);
    void apply_transition(const Put&);
    std::vector<Put> get_pending_transitions();
};

void use(Machine& machine, minimal::Network<Machine>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
