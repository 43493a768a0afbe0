// The kit's window into a Replica's private state: for what no message, no call and no Status
// shows. Tests may look, to hash and to compare; only the explorer moves timers, which stand for
// clocks.
#pragma once

#include "little_raft.hpp"

namespace little_raft::testing {

struct Inspect {
    static auto& log(const auto& replica) { return replica.log_; }
    static Index stable_index(const auto& replica) { return replica.stable_index_; }
    static auto& own(const auto& replica) { return replica.own_; }
    static auto& incoming(const auto& replica) { return replica.incoming_; }
    static auto& outgoing(const auto& replica) { return replica.outgoing_; }
    static bool vote_changed(const auto& replica) { return replica.vote_changed_; }
    static bool compacted(const auto& replica) { return replica.compacted_; }
    static auto& transfer(const auto& replica) { return replica.transfer_; }
    static bool unsent(const auto& replica) { return replica.unsent_; }
    static std::uint64_t random(const auto& replica) { return replica.random_; }
    static Time now(const auto& replica) { return replica.now_; }
    static Time leader_contact(const auto& replica) { return replica.leader_contact_; }
    static Time election_deadline(const auto& replica) { return replica.election_deadline_; }
    static Time heartbeat_deadline(const auto& replica) { return replica.heartbeat_deadline_; }

    static void campaign(auto& replica) { replica.campaign(Role::candidate); }
    static auto& progress(auto& replica) { return replica.status_.progress; }
    static Time& leader_contact(auto& replica) { return replica.leader_contact_; }
    static Time& election_deadline(auto& replica) { return replica.election_deadline_; }
    static Time& heartbeat_deadline(auto& replica) { return replica.heartbeat_deadline_; }
};

}  // namespace little_raft::testing
