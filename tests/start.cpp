// Replica::start and Notifier: the only tests with threads. What passes or fails is decided by what
// was counted, never by how long it took; the bound on each wait only ends a run that hangs.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::TransitionState;

/// Whether it comes true in a time that is beyond all doubt.
template <class Condition>
bool eventually(Condition condition) {
    auto bound = lr::Clock::now() + 120s;
    while (!condition()) {
        if (lr::Clock::now() > bound) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

/// A machine that other threads hand transitions to and look at.
struct Shared {
    using Transition = Command;

    mutable std::mutex mutex;
    std::vector<Command> pending;
    std::vector<std::uint64_t> applied;
    std::vector<std::pair<std::uint64_t, TransitionState>> states;
    std::atomic<std::uint64_t> polls = 0;

    void register_transition_state(std::uint64_t id, TransitionState state) {
        std::lock_guard lock(mutex);
        states.emplace_back(id, state);
    }
    void apply_transition(const Command& command) {
        std::lock_guard lock(mutex);
        applied.push_back(command.id);
    }
    std::vector<Command> get_pending_transitions() {
        ++polls;
        std::lock_guard lock(mutex);
        return std::exchange(pending, {});
    }

    void give(std::uint64_t id) {
        std::lock_guard lock(mutex);
        pending.push_back({id, id});
    }
    std::vector<std::uint64_t> get_applied() const {
        std::lock_guard lock(mutex);
        return applied;
    }
    /// The final state of the latest attempt with that id.
    std::optional<TransitionState> outcome_of(std::uint64_t id, std::size_t attempt) const {
        std::lock_guard lock(mutex);
        std::size_t ended = 0;
        for (const auto& [who, state] : states) {
            if (who != id || state == TransitionState::queued ||
                state == TransitionState::committed) {
                continue;
            }
            if (++ended == attempt) return state;
        }
        return std::nullopt;
    }
};

using SharedMessage = lr::MessageOf<Shared>;

/// For a replica that has no peers, or none that answer.
struct Alone {
    std::atomic<bool> halted = false;
    std::atomic<bool> leads = false;
    void send_message(ReplicaId, SharedMessage) {}
    std::vector<SharedMessage> receive_messages() { return {}; }
    bool halt() const { return halted; }
    void register_leader(std::optional<ReplicaId> leader) { leads = leader.has_value(); }
};

lr::Options<Shared> quick() {
    lr::Options<Shared> options;
    options.heartbeat_timeout = 1ms;
    options.election_timeout_range = {2ms, 4ms};
    return options;
}

struct WaitCounter {
    int waits = 0;
    void wait_until(lr::Time) { ++waits; }
};

/// Nothing is due for hours.
lr::Options<Shared> slow() {
    lr::Options<Shared> options;
    options.heartbeat_timeout = 1h;
    options.election_timeout_range = {2h, 3h};
    return options;
}

}  // namespace

// ----- start -------------------------------------------------------------------------------------

TEST_CASE("a notification wakes start, which takes in what there is and waits again") {
    Alone cluster;
    Shared machine;
    lr::Notifier notifier;
    lr::Replica replica{ReplicaId{1}, {ReplicaId{2}, ReplicaId{3}}, cluster, machine, slow()};
    std::thread thread([&] { replica.start(notifier); });
    REQUIRE(eventually([&] { return machine.polls >= 1; }));
    for (std::uint64_t id = 1; id <= 20; ++id) {
        machine.give(id);
        notifier.notify();
        REQUIRE(eventually([&] { return machine.outcome_of(id, 1).has_value(); }));
        CHECK(machine.outcome_of(id, 1) == TransitionState::abandoned_not_leader);
    }
    cluster.halted = true;
    notifier.notify();
    thread.join();
    // One at the beginning and at most one for each notification.
    CHECK(machine.polls <= 22);
    CHECK(machine.polls >= 20);
}

TEST_CASE("start ends when the cluster halts, without another wait") {
    WaitCounter notifier;
    Alone cluster;
    Shared machine;
    cluster.halted = true;
    lr::Replica replica{ReplicaId{1}, {ReplicaId{2}}, cluster, machine, slow()};
    replica.start(notifier);
    CHECK(notifier.waits == 0);
    CHECK(machine.polls == 1);
}

TEST_CASE("start waits until just the moment that poll asked for, with any notifier") {
    struct Recorder {
        Alone& cluster;
        std::vector<lr::Time> deadlines = {};
        void wait_until(lr::Time deadline) {
            deadlines.push_back(deadline);
            cluster.halted = deadlines.size() == 5;
        }
    };
    Alone cluster;
    Shared machine;
    Recorder recorder{cluster};
    lr::Replica replica{ReplicaId{1}, {ReplicaId{2}}, cluster, machine, slow()};
    lr::Time before = lr::Clock::now();
    replica.start(recorder);
    lr::Time after = lr::Clock::now();
    REQUIRE(recorder.deadlines.size() == 5);
    CHECK(machine.polls == 6);
    for (lr::Time deadline : recorder.deadlines) {
        CHECK(deadline == recorder.deadlines[0]);  // Nothing happened meanwhile.
        CHECK(deadline >= before + 2h);
        CHECK(deadline <= after + 3h);
    }
}

TEST_CASE("start returns at once when a fault has stopped the replica before") {
    WaitCounter notifier;
    Alone cluster;
    Shared machine;
    lr::Replica replica{ReplicaId{1}, {}, cluster, machine, {.heartbeat_timeout = 0ms}};
    replica.start(notifier);
    CHECK(replica.status().fault.has_value());
    CHECK(notifier.waits == 0);
    CHECK(machine.polls == 0);
}

namespace {

/// A disk that another thread breaks.
struct Breaking {
    lr::StoredState<Command> state;
    std::atomic<bool> broken = false;
    lr::StoredState<Command> load() { return state; }
    void save_vote(Term, std::optional<ReplicaId>) {}
    void append(Index, const std::vector<Entry>&) {}
    void compact(lr::LogPosition) {}
    bool sync() { return !broken; }
};

}  // namespace

TEST_CASE("a fault ends start while it runs, and leaves no transition open") {
    Alone cluster;
    Shared machine;
    Breaking disk;
    lr::Notifier notifier;
    lr::Replica replica{ReplicaId{1}, {}, cluster, machine, disk, quick()};
    std::thread thread([&] { replica.start(notifier); });
    REQUIRE(eventually([&] { return cluster.leads.load(); }));
    machine.give(1);
    notifier.notify();
    REQUIRE(eventually([&] { return machine.outcome_of(1, 1).has_value(); }));
    CHECK(machine.outcome_of(1, 1) == TransitionState::applied);
    disk.broken = true;
    machine.give(2);
    notifier.notify();
    thread.join();
    REQUIRE(replica.status().fault);
    CHECK(replica.status().fault == "the storage failed to sync");
    CHECK(machine.outcome_of(2, 1) == TransitionState::outcome_unknown);
    CHECK_FALSE(cluster.leads);
}

TEST_CASE("many threads hand in transitions, each of which ends in one final state") {
    Alone cluster;
    Shared machine;
    lr::Notifier notifier;
    lr::Replica replica{ReplicaId{1}, {}, cluster, machine, quick()};
    std::thread thread([&] { replica.start(notifier); });
    REQUIRE(eventually([&] { return cluster.leads.load(); }));
    std::vector<std::thread> clients;
    for (std::uint64_t client = 0; client < 4; ++client) {
        clients.emplace_back([&, client] {
            for (std::uint64_t i = 0; i < 100; ++i) {
                machine.give(client * 100 + i);
                notifier.notify();
            }
        });
    }
    for (std::thread& client : clients) client.join();
    CHECK(eventually([&] { return machine.get_applied().size() == 400; }));
    cluster.halted = true;
    notifier.notify();
    thread.join();
    for (std::uint64_t id = 0; id < 400; ++id) {
        CHECK(machine.outcome_of(id, 1) == TransitionState::applied);
        CHECK_FALSE(machine.outcome_of(id, 2));
    }
}

// ----- Three replicas, three threads -------------------------------------------------------------

namespace {

struct Post {
    std::mutex mutex;
    std::array<std::vector<SharedMessage>, 3> boxes;
    std::array<lr::Notifier, 3> notifiers;
    std::atomic<bool> halted = false;
};

struct Port {
    Post& post;
    std::size_t own;
    std::atomic<std::uint64_t> leader = 0;

    Port(Post& shared, std::size_t index) : post(shared), own(index) {}

    void send_message(ReplicaId to, SharedMessage message) {
        std::size_t box = to.value - 1;
        {
            std::lock_guard lock(post.mutex);
            post.boxes[box].push_back(std::move(message));
        }
        post.notifiers[box].notify();
    }
    std::vector<SharedMessage> receive_messages() {
        std::lock_guard lock(post.mutex);
        return std::exchange(post.boxes[own], {});
    }
    bool halt() const { return post.halted; }
    void register_leader(std::optional<ReplicaId> id) { leader = id ? id->value : 0; }
};

using PostReplica = lr::Replica<Port, Shared>;

}  // namespace

TEST_CASE("three replicas in three threads apply the same transitions in the same order") {
    const std::vector<ReplicaId> members{{1}, {2}, {3}};
    lr::Options<Shared> options;
    options.heartbeat_timeout = 20ms;
    options.election_timeout_range = {200ms, 400ms};
    Post post;
    std::array<Shared, 3> machines;
    std::vector<std::unique_ptr<Port>> ports;
    std::vector<std::unique_ptr<PostReplica>> replicas;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 3; ++i) {
        ports.push_back(std::make_unique<Port>(post, i));
        replicas.push_back(
            std::make_unique<PostReplica>(members[i], members, *ports[i], machines[i], options));
    }
    for (std::size_t i = 0; i < 3; ++i) {
        threads.emplace_back([&, i] { replicas[i]->start(post.notifiers[i]); });
    }

    // A transition goes to whom replica 1 takes for the leader, again and again until it is
    // applied.
    std::array<std::array<std::size_t, 51>, 3> attempts{};
    bool all_in_time = true;
    for (std::uint64_t id = 1; id <= 50 && all_in_time; ++id) {
        for (bool applied = false; !applied && all_in_time;) {
            std::uint64_t leader = 0;
            all_in_time = eventually([&] { return (leader = ports[0]->leader) != 0; });
            if (!all_in_time) break;
            std::size_t at = leader - 1;
            std::size_t attempt = ++attempts[at][id];
            machines[at].give(id);
            post.notifiers[at].notify();
            std::optional<TransitionState> outcome;
            all_in_time = eventually(
                [&] { return (outcome = machines[at].outcome_of(id, attempt)).has_value(); });
            applied = outcome == TransitionState::applied;
        }
    }
    CHECK(all_in_time);
    CHECK(eventually([&] {
        std::size_t level = 0;
        for (const Shared& machine : machines) level += machine.get_applied().size() == 50 ? 1 : 0;
        return level == 3;
    }));
    post.halted = true;
    for (lr::Notifier& notifier : post.notifiers) notifier.notify();
    for (std::thread& thread : threads) thread.join();
    std::vector<std::uint64_t> expected;
    for (std::uint64_t id = 1; id <= 50; ++id) expected.push_back(id);
    for (const Shared& machine : machines) CHECK(machine.get_applied() == expected);
    for (const auto& replica : replicas) CHECK(replica->status().counters.malformed == 0);
}

// ----- Notifier ----------------------------------------------------------------------------------

TEST_CASE("a notification that came before the wait is not lost") {
    lr::Notifier notifier;
    notifier.notify();
    notifier.wait_until(lr::Time::max());
    CHECK(true);  // It returned.
}

TEST_CASE("a wait for a moment that has passed returns at once") {
    lr::Notifier notifier;
    notifier.wait_until(lr::Time::min());
    notifier.wait_until(lr::Time{});
    notifier.wait_until(lr::Clock::now());
    CHECK(true);
}

TEST_CASE("notifications before a wait end that wait alone") {
    lr::Notifier notifier;
    notifier.notify();
    notifier.notify();
    notifier.wait_until(lr::Time::max());
    lr::Time deadline = lr::Clock::now() + 20ms;
    notifier.wait_until(deadline);
    CHECK(lr::Clock::now() >= deadline);
}

TEST_CASE("a notification ends a wait that is on, from whichever thread it comes") {
    lr::Notifier notifier;
    std::atomic<std::uint64_t> waits = 0;
    std::thread waiting([&] {
        for (int i = 0; i < 50; ++i) {
            notifier.wait_until(lr::Time::max());
            ++waits;
        }
    });
    for (std::uint64_t i = 0; i < 50; ++i) {
        std::thread([&] { notifier.notify(); }).join();
        REQUIRE(eventually([&] { return waits > i; }));
    }
    waiting.join();
    CHECK(waits == 50);
}
