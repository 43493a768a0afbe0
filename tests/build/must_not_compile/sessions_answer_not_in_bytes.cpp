// expect: EncodesAnswers
// expect: \bencode_answer\b
// The snapshots are bytes, and nobody says how an answer becomes some.
#include "examples/sessions.hpp"
#include "minimal.hpp"

struct Balance {
    int of_account;
};

struct Machine : minimal::SnapshotMachine {
    Balance apply_transition(const minimal::Add&);
#ifdef FIXED
    std::string encode_answer(const Balance&) const;
    std::optional<Balance> decode_answer(std::string_view) const;
#endif
};

void use(little_raft::Sessions<Machine>& machine,
         minimal::Network<little_raft::Sessions<Machine>>& network) {
    little_raft::Replica replica{{1}, {}, network, machine};
}
