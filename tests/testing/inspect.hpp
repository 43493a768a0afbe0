// The kit's window into a Replica's private state: for what no message, no call and no Status
// shows. Tests may look, to hash and to compare; only the explorer moves timers, which stand for
// clocks.
#pragma once

#include <memory>
#include <tuple>

#include "little_raft.hpp"

namespace little_raft {
inline namespace v0 {

struct Inspect {
    static auto& log(const auto& replica) { return replica.log_; }
    static Index stable_index(const auto& replica) { return replica.stable_index_; }
    static auto& own(const auto& replica) { return replica.own_; }
    /// The snapshot that it is sent, or sends; a null pointer: none.
    static auto* incoming(const auto& replica) { return snapshot(replica, false); }
    static auto* outgoing(const auto& replica) { return snapshot(replica, true); }
    static bool vote_changed(const auto& replica) { return replica.vote_changed_; }
    static bool compacted(const auto& replica) { return replica.compacted_; }
    static auto& transfer(const auto& replica) { return replica.duty_.transfer; }
    static bool unsent(const auto& replica) { return replica.duty_.unsent; }
    static std::uint64_t random(const auto& replica) { return replica.random_; }
    static bool waits_for_disk(const auto& replica) {
        return replica.syncing_ || !replica.duty_.owed.empty();
    }
    /// Messages that wait for the disk.
    static std::size_t waiting(const auto& replica) {
        return replica.duty_.owed.size() + replica.leaving_.size();
    }
    static std::size_t reads(const auto& replica) { return replica.reads_.size(); }
    static bool asks(const auto& replica) { return replica.question_ != Time{}; }
    static Index read_index(const auto& replica) { return replica.read_index_; }
    static bool round(const auto& replica) { return replica.duty_.asks; }
    /// In force, in force as of what is applied, and asked for here last.
    static auto memberships(const auto& replica) {
        return std::tie(replica.membership_, replica.applied_, replica.asked_);
    }
    static Index membership_index(const auto& replica) { return replica.membership_index_; }
    static Index left_at(const auto& replica) { return replica.left_at_; }
    static Index ahead(const auto& replica) { return replica.duty_.ahead; }
    static Time stamp(const auto& replica) { return replica.stamp_; }
    static Duration lease(const auto& replica) {
        return replica.lease() - replica.duty_.stamp_lead;
    }
    static Time now(const auto& replica) { return replica.now_; }
    static Time leader_contact(const auto& replica) { return replica.leader_contact_; }
    static Time election_deadline(const auto& replica) { return replica.election_deadline_; }
    static Time heartbeat_deadline(const auto& replica) { return replica.duty_.heartbeat_deadline; }

    static void campaign(auto& replica) { replica.campaign(Role::candidate); }
    static auto& progress(auto& replica) { return replica.status_.progress; }
    static Time& leader_contact(auto& replica) { return replica.leader_contact_; }
    static Time& election_deadline(auto& replica) { return replica.election_deadline_; }
    static Time& heartbeat_deadline(auto& replica) { return replica.duty_.heartbeat_deadline; }

    /// The consensus state of another replica on objects of its own, which must be equal copies of
    /// the other's: a test can branch from any state.
    template <class C, class M, class S>
    static auto branch(const Replica<C, M, S>& other, C& cluster, M& machine, S& storage) {
        std::unique_ptr<Replica<C, M, S>> copy(new Replica<C, M, S>(other));
        copy->cluster_ = &cluster;
        copy->machine_ = &machine;
        copy->storage_ = &storage;
        return copy;
    }

 private:
    static auto* snapshot(const auto& replica, bool of_leader) {
        const auto& found = replica.duty_.snapshot;
        bool leads = replica.status_.role == Role::leader;
        return found.last_included.index != Index{} && leads == of_leader ? &found : nullptr;
    }
};

}  // namespace v0

namespace testing {
using little_raft::Inspect;
}

}  // namespace little_raft
