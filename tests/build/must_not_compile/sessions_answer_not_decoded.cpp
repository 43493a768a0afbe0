// expect: EncodesAnswers
// expect: \bdecode_answer\b
// encode_answer without decode_answer.
#include "examples/sessions.hpp"
#include "minimal.hpp"

struct Machine : minimal::SnapshotMachine {
    int apply_transition(const minimal::Add&);
    std::string encode_answer(int) const;
#ifdef FIXED
    std::optional<int> decode_answer(std::string_view) const;
#endif
};

void use(little_raft::Sessions<Machine>& machine,
         minimal::Network<little_raft::Sessions<Machine>>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
