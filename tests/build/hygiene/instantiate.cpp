// All that a Replica is made of, with the least types that satisfy the concepts: volatile, with a
// storage that waits and one that does not, with snapshots, with reads, with members that change. A
// cluster of one elects itself, applies what it is given and answers what it is asked.
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
    if constexpr (requires { machine.reads; }) machine.reads = {1, 2, 3};
    for (int step = 0; step < 10; ++step) now = replica.poll(now);
    if constexpr (requires { machine.reads; })
        if (std::exchange(machine.served, 0) != 3) std::abort();
    little_raft::Notifier notifier;
    replica.start(notifier);
    if (machine.value != before + 10 || replica.status().role != little_raft::Role::leader)
        std::abort();
}

template <class M>
void run() {
    M machine, durable_machine, async_machine;
    minimal::Network<M> network;
    minimal::Disk disk;
    minimal::AsyncDisk async_disk;
    Replica replica{{1}, {}, network, machine, options<M>()};
    expect_applied(replica, machine);
    Replica durable{{1}, {}, network, durable_machine, disk, options<M>()};
    expect_applied(durable, durable_machine);
    Replica async{{1}, {}, network, async_machine, async_disk, options<M>()};
    expect_applied(async, async_machine);

    Replica three{{1}, {{2}, {3}}, network, machine, options<M>()};
    three.poll(three.poll(little_raft::Time{}));
    if (network.sent.empty()) std::abort();
}

/// A cluster whose members change: it begins alone.
template <class M>
void run_members() {
    M machine, durable_machine;
    minimal::MemberNetwork<M> network;
    minimal::DiskOf<little_raft::Membership> disk;
    Replica replica{{1}, {{{1}, "one"}}, network, machine, options<M>()};
    expect_applied(replica, machine);
    Replica durable{{1}, {{{1}, "one"}}, network, durable_machine, disk, options<M>()};
    expect_applied(durable, durable_machine);
    network.wanted = little_raft::Membership{{{{2}, "two", true}, {{1}, "one"}}};
    expect_applied(durable, durable_machine);
    if (network.sent.empty()) std::abort();
}

}  // namespace

int main() {
    run<minimal::Machine>();
    run<minimal::SnapshotMachine>();
    run<minimal::ReadMachine>();
    run_members<minimal::Machine>();
    run_members<minimal::MemberMachine>();
}
