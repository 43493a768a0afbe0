// With two_units_other.cpp: two translation units that use the header link to one program. Here the
// header comes first and alone: it includes all that it uses.
#include "little_raft.hpp"
//
#include "minimal.hpp"

int poll_other();

int poll_one() {
    minimal::Machine machine;
    minimal::Network<minimal::Machine> network;
    little_raft::Replica replica{{1}, {}, network, machine};
    return replica.poll(little_raft::Time{}) > little_raft::Time{} ? 0 : 1;
}

int main() { return poll_one() + poll_other(); }
