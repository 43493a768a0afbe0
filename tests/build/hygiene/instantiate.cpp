// All that a Replica is made of, with the least types that satisfy the concepts: volatile, with a
// storage, with snapshots, with both. A cluster of one elects itself and applies what it is given.
#include <chrono>
#include <cstdlib>

#include "minimal.hpp"

namespace {

using namespace std::chrono_literals;
using little_raft::Replica;

template <class M>
little_raft::Options<M> options() {
    return {.heartbeat_timeout = 50ms,
            .election_timeout_range = {500ms, 1000ms},
            .snapshot_delta = 2,
            .snapshot_trailing = 0};
}

template <class R, class M>
void expect_applied(R& replica, M& machine) {
    const int before = machine.value;
    little_raft::Time now{};
    for (int step = 0; step < 10; ++step) now = replica.poll(now);
    for (std::uint64_t id = 1; id <= 5; ++id) machine.pending.push_back({id, 2});
    for (int step = 0; step < 10; ++step) now = replica.poll(now);
    little_raft::Notifier notifier;
    replica.start(notifier);
    if (machine.value != before + 10 || replica.status().role != little_raft::Role::leader)
        std::abort();
}

template <class M>
void run() {
    M machine, durable_machine;
    minimal::Network<M> network;
    minimal::Disk disk;
    Replica replica{{1}, {}, network, machine, options<M>()};
    expect_applied(replica, machine);
    Replica durable{{1}, {}, network, durable_machine, disk, options<M>()};
    expect_applied(durable, durable_machine);

    M other = machine;
    Replica copy{replica, network, other};
    expect_applied(copy, other);
    Replica three{{1}, {{2}, {3}}, network, machine, options<M>()};
    three.poll(three.poll(little_raft::Time{}));
    if (network.sent.empty()) std::abort();
}

}  // namespace

int main() {
    run<minimal::Machine>();
    run<minimal::SnapshotMachine>();
}
