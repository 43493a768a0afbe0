// The least that a user can write: each type has what its concept asks for and nothing more.
#ifndef LITTLE_RAFT_TESTS_BUILD_MINIMAL_HPP
#define LITTLE_RAFT_TESTS_BUILD_MINIMAL_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "little_raft.hpp"

namespace minimal {

struct Add {
    std::uint64_t id = 0;
    int amount = 0;
    std::uint64_t get_id() const { return id; }
};

struct Machine {
    using Transition = Add;
    void register_transition_state(std::uint64_t, little_raft::TransitionState) {}
    void apply_transition(const Add& add) { value += add.amount; }
    std::vector<Add> get_pending_transitions() { return std::exchange(pending, {}); }

    std::vector<Add> pending = {};
    int value = 0;
};

struct SnapshotMachine : Machine {
    using SnapshotData = std::string;
    using Taken = little_raft::Snapshot<SnapshotData>;
    std::optional<Taken> get_snapshot() { return last; }
    std::string create_snapshot(little_raft::Index index, little_raft::Term term) {
        last = Taken{index, term, std::to_string(value)};
        return last->data;
    }
    void set_snapshot(const Taken& snapshot) {
        last = snapshot;
        value = std::atoi(snapshot.data.c_str());
    }

    std::optional<Taken> last = {};
};

struct ReadMachine : Machine {
    using Read = int;
    std::vector<int> get_pending_reads() { return std::exchange(reads, {}); }
    void apply_read(const int&) { ++served; }
    void abandon_read(const int&) {}

    std::vector<int> reads = {};
    int served = 0;
};

template <class M>
struct Network {
    using Message = little_raft::MessageOf<M>;
    void send_message(little_raft::ReplicaId, Message message) {
        sent.push_back(std::move(message));
    }
    std::vector<Message> receive_messages() { return {}; }
    bool halt() const { return true; }
    void register_leader(std::optional<little_raft::ReplicaId>) {}

    std::vector<Message> sent = {};
};

struct Disk {
    using Entries = std::vector<little_raft::Entry<Add>>;
    little_raft::StoredState<Add> load() { return {}; }
    void save_vote(little_raft::Term, std::optional<little_raft::ReplicaId>) {}
    void append(little_raft::Index, const Entries&) {}
    void compact(little_raft::LogPosition) {}
    bool sync() { return true; }
};

struct AsyncDisk : Disk {
    bool sync() { return ++begun > 0; }
    std::optional<std::uint64_t> get_synced() { return begun; }

    std::uint64_t begun = 0;
};

}  // namespace minimal

#endif
