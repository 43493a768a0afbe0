// Replica::start and Notifier: the only tests with threads. What passes or fails is decided by what
// was counted, never by how long it took.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "support.hpp"

using namespace support;

namespace {
/// As support::Wire, for one replica, with a halt that another thread may ask for.
struct Alone {
    std::atomic<bool> halted = false;
    void send_message(ReplicaId, Message) {}
    std::vector<Message> receive_messages() { return {}; }
    bool halt() const { return halted; }
    void register_leader(std::optional<ReplicaId>) {}
};

struct Shared : Machine {
    std::mutex mutex;
    std::atomic<std::size_t> applied_count = 0;
    void give(std::uint64_t id) {
        std::lock_guard lock(mutex);
        pending.push_back({id, id});
    }
    std::vector<Command> get_pending_transitions() {
        std::lock_guard lock(mutex);
        return leads ? std::exchange(pending, {}) : std::vector<Command>{};
    }
    void register_transition_state(std::uint64_t, lr::TransitionState) {}
    void apply_transition(const Command&) { ++applied_count; }
    std::atomic<bool> leads = false;
};

struct Leading : Alone {
    Shared* machine = nullptr;
    void register_leader(std::optional<ReplicaId> leader) { machine->leads = leader.has_value(); }
};
}  // namespace

TEST_CASE("start replicates what other threads hand in, and ends when the cluster halts") {
    Leading cluster;
    Shared machine;
    cluster.machine = &machine;
    lr::Notifier notifier;
    lr::Options<Shared> options;
    options.heartbeat_timeout = 1ms;
    options.election_timeout_range = {2ms, 4ms};
    lr::Replica replica{ReplicaId{1}, {}, cluster, machine, options};
    std::thread thread([&] { replica.start(notifier); });
    std::thread other([&] {
        for (std::uint64_t id = 1; id <= 100; ++id) {
            machine.give(id);
            notifier.notify();
        }
    });
    other.join();
    while (machine.applied_count < 100) {
        notifier.notify();
        std::this_thread::yield();
    }
    cluster.halted = true;
    notifier.notify();
    thread.join();
    CHECK(machine.applied_count == 100);
}

TEST_CASE("start returns at once when a fault has stopped the replica") {
    Alone cluster;
    Machine machine;
    lr::Notifier notifier;
    lr::Replica replica{ReplicaId{1}, {}, cluster, machine, {.heartbeat_timeout = 0ms}};
    replica.start(notifier);
    CHECK(replica.status().fault.has_value());
}

TEST_CASE("a notification that came before the wait is not lost") {
    lr::Notifier notifier;
    notifier.notify();
    notifier.wait_until(lr::Time::max());
    CHECK(true);  // It returned.
}
