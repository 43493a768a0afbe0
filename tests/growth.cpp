// What a cluster holds does not grow while it is partitioned and a disk hangs, however long. (It is
// optimized, and warnings are errors: with such types g++ 12 once warned of what answer() moved.)
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "little_raft.hpp"
#include "sanitized.hpp"
#include "testing/inspect.hpp"

namespace {
std::size_t live_bytes = 0;
constexpr std::size_t head = alignof(std::max_align_t);
}  // namespace

// The size stands before each. Not inline: g++ would see new and free meet.
[[gnu::noinline]] void* operator new(std::size_t size) {
    void* memory = std::malloc(head + size);
    if (!memory) std::abort();
    live_bytes += *static_cast<std::size_t*>(memory) = size;
    return static_cast<char*>(memory) + head;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    if (!memory) return;
    void* whole = static_cast<char*>(memory) - head;
    live_bytes -= *static_cast<std::size_t*>(whole);
    std::free(whole);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    operator delete(memory);
}

namespace {

namespace lr = little_raft;
using namespace std::chrono_literals;
using lr::Index;
using lr::ReplicaId;
using lr::Role;
using lr::Term;

struct Put {
    std::uint64_t id = 0;
    std::string value;
    std::uint64_t get_id() const { return id; }
    std::size_t get_size() const { return value.size(); }
};

/// It keeps the sum of what it applied, and asks for a read in each poll.
struct Machine {
    using Transition = Put;
    using SnapshotData = std::string;
    using Read = std::uint64_t;

    std::vector<Put> pending;
    std::uint64_t sum = 0;
    std::uint64_t applied = 0, abandoned = 0, reads = 0, reads_abandoned = 0, snapshots = 0;
    std::optional<lr::Snapshot<std::string>> saved;

    void register_transition_state(std::uint64_t, lr::TransitionState state) {
        abandoned += state == lr::TransitionState::abandoned_not_leader ? 1 : 0;
    }
    void apply_transition(const Put& put) {
        ++applied;
        sum += put.id * put.value.size();
    }
    std::vector<Put> get_pending_transitions() { return std::exchange(pending, {}); }

    std::optional<lr::Snapshot<std::string>> get_snapshot() { return saved; }
    std::string create_snapshot(Index index, Term term) {
        ++snapshots;
        saved = {{term, index}, std::to_string(sum) + std::string(1'000, ' ')};
        return saved->data;
    }
    void set_snapshot(const lr::Snapshot<std::string>& snapshot) {
        saved = snapshot;
        sum = std::stoull(snapshot.data);
    }

    std::vector<Read> get_pending_reads() { return {0}; }
    void apply_read(Read) { ++reads; }
    void abandon_read(Read) { ++reads_abandoned; }
};

using Message = lr::MessageOf<Machine>;

struct Wire {
    std::vector<Message> inbox, outbox;
    void send_message(ReplicaId, Message message) { outbox.push_back(std::move(message)); }
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
};

/// It keeps nothing, since nobody starts again here.
struct Disk {
    bool hangs = false;
    std::uint64_t asked = 0;
    lr::StoredState<Put> load() { return {}; }
    void save_vote(Term, std::optional<ReplicaId>) {}
    void append(Index, const std::vector<lr::Entry<Put>>&) {}
    void compact(lr::LogPosition) {}
    std::optional<bool> sync() {
        ++asked;
        if (hangs) return std::nullopt;
        return true;
    }
};

using Replica = lr::Replica<Wire, Machine, Disk>;

constexpr std::size_t count = 5;
constexpr lr::Options<Machine> options{.snapshot_delta = 200,
                                       .snapshot_trailing = 50,
                                       .append_bytes_max = 4'000,
                                       .inflight_messages_max = 8,
                                       .inflight_bytes_max = 16'000,
                                       .uncommitted_entries_max = 300};

struct Cluster {
    lr::Time now{};
    std::array<Wire, count> wires;
    std::array<Machine, count> machines;
    std::array<Disk, count> disks;
    std::deque<Replica> replicas;  // They stay where they are.
    std::array<lr::Time, count> deadlines{};
    std::optional<std::size_t> cut_off;
    std::uint64_t proposed = 0;

    Cluster() {
        std::vector<ReplicaId> ids;
        for (std::size_t i = 0; i < count; ++i) ids.push_back({i});
        for (std::size_t i = 0; i < count; ++i)
            replicas.emplace_back(ids[i], ids, wires[i], machines[i], disks[i], options);
    }

    std::size_t leader() const {
        for (std::size_t i = 0; i < count; ++i)
            if (i != cut_off && replicas[i].status().role == Role::leader) return i;
        return count;
    }

    void poll(std::size_t i) {
        deadlines[i] = replicas[i].poll(now);
        for (Message& message : wires[i].outbox) {
            std::size_t to = message.to.value;
            if (i != cut_off && to != cut_off) wires[to].inbox.push_back(std::move(message));
        }
        wires[i].outbox.clear();
    }

    /// A millisecond, in which messages go back and forth a few times.
    void tick(bool proposes) {
        now += 1ms;
        for (std::size_t i = 0; proposes && i < count; ++i)
            machines[i].pending.push_back({++proposed, std::string(proposed % 100, 'x')});
        for (int round = 0; round < 4; ++round) {
            for (std::size_t i = 0; i < count; ++i) {
                bool due = deadlines[i] <= now || !wires[i].inbox.empty();
                if (due || (round == 0 && proposes)) poll(i);
            }
        }
    }

    bool agree() const {
        return std::all_of(machines.begin(), machines.end(),
                           [&](const Machine& machine) { return machine.sum == machines[0].sum; });
    }
};

}  // namespace

TEST_CASE("nothing grows in 10^6 ticks of a partition and of a disk that hangs") {
    constexpr std::uint64_t ticks = 1'000'000 / one_in;
    constexpr std::uint64_t samples = 20;
    Cluster cluster;
    while (cluster.leader() == count) cluster.tick(false);
    // The first leader is cut off for good, and another replica never gets to the end of a sync.
    std::size_t first = cluster.leader();
    std::size_t hung = (first + 1) % count;
    for (int i = 0; i < 100; ++i) cluster.tick(true);
    REQUIRE(cluster.agree());
    cluster.cut_off = first;
    cluster.disks[hung].hangs = true;
    for (int i = 0; i < 20'000; ++i) cluster.tick(true);
    std::size_t leader = cluster.leader();
    REQUIRE(leader != count);

    std::array<std::size_t, samples> most{};  // Bytes, at most in each part of the time.
    std::size_t waiting = 0, length = 0, inflight = 0;
    for (std::uint64_t tick = 0; tick < ticks; ++tick) {
        cluster.tick(true);
        std::size_t& part = most[tick * samples / ticks];
        part = std::max(part, live_bytes);
        for (const Replica& replica : cluster.replicas) {
            const lr::Status& status = replica.status();
            waiting = std::max(waiting, lr::Inspect::waiting(replica));
            length = std::max(length, status.last_log_index + 1 - status.first_log_index);
            for (const lr::Progress& peer : status.progress)
                inflight = std::max(inflight, peer.inflight.size());
        }
    }
    std::size_t early = *std::max_element(most.begin(), most.begin() + samples / 2);
    std::size_t late = *std::max_element(most.begin() + samples / 2, most.end());
    CAPTURE(early);
    CHECK(late <= early + early / 50);
    CHECK(waiting <= 10);
    CHECK(length <=
          options.snapshot_delta + options.snapshot_trailing + 2 * options.uncommitted_entries_max);
    CHECK(inflight <= options.inflight_messages_max);

    // It was not idle meanwhile, and what it held back was not lost.
    CHECK(cluster.leader() == leader);
    CHECK(cluster.machines[leader].applied > ticks);
    CHECK(cluster.machines[leader].snapshots > ticks / 300);
    CHECK(cluster.machines[leader].reads > ticks);
    CHECK(cluster.machines[first].abandoned > ticks);
    CHECK(cluster.machines[first].reads_abandoned > ticks);
    CHECK(cluster.disks[hung].asked > ticks / 50);
    CHECK_FALSE(cluster.agree());
    cluster.cut_off.reset();
    cluster.disks[hung].hangs = false;
    for (int i = 0; i < 20'000 && !cluster.agree(); ++i) cluster.tick(false);
    CHECK(cluster.agree());
    MESSAGE(cluster.proposed, " transitions proposed, ", cluster.machines[leader].applied,
            " applied, ", cluster.machines[leader].snapshots, " snapshots; at most ", early,
            " bytes in the first half and ", late, " in the second; at most ", waiting,
            " messages waited for a disk");
}
