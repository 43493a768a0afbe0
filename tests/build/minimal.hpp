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
        last = Taken{{term, index}, std::to_string(value)};
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

struct MemberMachine : Machine {
    using SnapshotData = std::string;
    using Taken = little_raft::Snapshot<SnapshotData, little_raft::Membership>;
    std::optional<Taken> get_snapshot() { return last; }
    std::string create_snapshot(little_raft::Index index, little_raft::Term term,
                                const little_raft::Membership& membership) {
        last = Taken{{term, index}, std::to_string(value), membership};
        return last->data;
    }
    void set_snapshot(const Taken& snapshot) {
        last = snapshot;
        value = std::atoi(snapshot.data.c_str());
    }

    std::optional<Taken> last = {};
};

template <class M, class Config = little_raft::Noop>
struct Network {
    using Message = little_raft::MessageOf<M, Config>;
    void send_message(little_raft::ReplicaId, Message message) {
        sent.push_back(std::move(message));
    }
    std::vector<Message> receive_messages() { return {}; }
    bool halt() const { return true; }
    void register_leader(std::optional<little_raft::ReplicaId>) {}

    std::vector<Message> sent = {};
};

template <class M>
struct MemberNetwork : Network<M, little_raft::Membership> {
    std::optional<little_raft::Membership> get_pending_membership() {
        return std::exchange(wanted, {});
    }
    void register_membership(const little_raft::Membership&, little_raft::MembershipState) {}

    std::optional<little_raft::Membership> wanted = {};
};

template <class Config>
struct DiskOf {
    using Entries = std::vector<little_raft::Entry<Add, Config>>;
    little_raft::StoredState<Add, Config> load() { return {}; }
    void save_vote(little_raft::Term, std::optional<little_raft::ReplicaId>) {}
    void append(little_raft::Index, const Entries&) {}
    void compact(little_raft::LogPosition) {}
    bool sync() { return true; }
};

using Disk = DiskOf<little_raft::Noop>;

struct AsyncDisk : Disk {
    bool sync() { return ++begun > 0; }
    std::optional<std::uint64_t> get_synced() { return begun; }

    std::uint64_t begun = 0;
};

}  // namespace minimal

#endif
