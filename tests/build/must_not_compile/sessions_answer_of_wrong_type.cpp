// expect: RegistersAnswers
// expect: \bregister_answer\b
// The machine answers an int, and wants to be told of a string.
#include "examples/sessions.hpp"
#include "minimal.hpp"

struct Machine : minimal::Machine {
    int apply_transition(const minimal::Add&);
#ifdef FIXED
    void register_answer(const little_raft::SessionAnswer<int>&);
#else
    void register_answer(const little_raft::SessionAnswer<std::string>&);
#endif
};

void use(little_raft::Sessions<Machine>& machine,
         minimal::Network<little_raft::Sessions<Machine>>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
