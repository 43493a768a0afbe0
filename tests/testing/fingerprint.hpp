// What decides how a replica, or a message, goes on, as one number: for a walk through all states,
// which must know one that it has seen before.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "inspect.hpp"
#include "little_raft.hpp"
#include "members.hpp"
#include "random.hpp"

namespace little_raft::testing {

/// Whatever is given as `number_of` tells entries apart.
struct Fingerprint {
    /// Of what the replica holds and knows. Of time only what decides: whether a leader or a
    /// follower counts as heard, and which timers are due. Where its log ends stands for the log,
    /// whose entries are on the disk.
    template <class C, class M, class S>
    static std::uint64_t hash(const Replica<C, M, S>& replica) {
        const Status& status = replica.status();
        std::uint64_t h = mix(status.term.value, static_cast<std::uint64_t>(status.role));
        h = mix(h, status.voted_for ? status.voted_for->value : 0);
        h = mix(h, status.leader ? status.leader->value : 0);
        h = mix(h, status.commit_index.value << 32 | status.last_applied.value);
        h = mix(h, status.snapshot.index.value << 32 | Inspect::stable_index(replica).value);
        h = mix(h, hash(Inspect::log(replica).base));
        h = mix(h, hash(Inspect::log(replica).last));
        h = mix(h, status.fault ? 1 : 0);
        if (const auto& target = Inspect::transfer(replica)) h = mix(h, target->value);
        const auto [min, max] = ElectionTimeoutRange{};
        Time now = Inspect::now(replica);
        bool heard = now - min < Inspect::leader_contact(replica);
        bool election_due = Inspect::election_deadline(replica) <= now;
        bool heartbeat_due = Inspect::heartbeat_deadline(replica) <= now;
        bool heartbeat_first =
            Inspect::heartbeat_deadline(replica) < Inspect::election_deadline(replica);
        h = mix(h, (heard ? 1U : 0U) + (election_due ? 2U : 0U) + (heartbeat_due ? 4U : 0U) +
                       (heartbeat_first ? 8U : 0U) + (Inspect::vote_changed(replica) ? 16U : 0U) +
                       (Inspect::compacted(replica) ? 32U : 0U) +
                       (Inspect::unsent(replica) ? 64U : 0U) +
                       (Inspect::round(replica) ? 128U : 0U));
        // Of reads, how many wait, for what, and whether a round of messages is on for them.
        if (std::size_t reads = Inspect::reads(replica)) {
            h = mix(h, reads << 1 | (Inspect::asks(replica) ? 1U : 0U));
            h = mix(h, Inspect::read_index(replica).value);
        }
        for (const Progress& peer : status.progress) {
            h = mix(h, peer.match_index.value << 32 | peer.next_index.value);
            // The leader itself is heard for ever, which cannot be added to.
            bool contact = peer.last_contact == never || now < peer.last_contact + max;
            h = mix(h, (peer.lost ? 1U : 0U) + (peer.read != Time{} ? 2U : 0U));
            h = mix(h, peer.sent_commit.value << 32 | peer.offset << 8 |
                           static_cast<std::uint64_t>(peer.state) << 4 | (peer.waiting ? 8U : 0U) |
                           (peer.overdue ? 4U : 0U) | (peer.vote_granted ? 2U : 0U) |
                           (contact ? 1U : 0U));
            for (const auto& [last_index, bytes] : peer.inflight) h = mix(h, last_index.value);
        }
        for (const auto& own : Inspect::own(replica)) h = mix(h, hash(own.at));
        if (const auto* incoming = Inspect::incoming(replica)) h = mix(h, hash(*incoming));
        if (const auto* outgoing = Inspect::outgoing(replica)) h = mix(h, hash(*outgoing));
        if constexpr (Reconfigurable<C>) h = mix(h, hash_of_members(replica));
        return h;
    }

    /// What it knows of who the members are, where these change.
    template <class C, class M, class S>
    static std::uint64_t hash_of_members(const Replica<C, M, S>& replica) {
        const auto& [in_force, applied, asked] = Inspect::memberships(replica);
        std::uint64_t h = mix(number_of(in_force), number_of(applied));
        h = mix(h, number_of(asked));
        h = mix(h, Inspect::membership_index(replica).value);
        h = mix(h, mix(Inspect::left_at(replica).value, Inspect::ahead(replica).value));
        if (const auto& target = Inspect::transfer(replica)) h = mix(h, target->value);
        for (const Progress& peer : replica.status().progress)
            h = mix(h, peer.id.value << 4 | (peer.member ? 8U : 0U) | (peer.votes ? 4U : 0U) |
                           (peer.votes_outgoing ? 2U : 0U) | (peer.lost ? 1U : 0U));
        return h;
    }

    /// Of a message, its senders and receivers by whatever number.
    static std::uint64_t hash(std::uint64_t from, std::uint64_t to, Term term, std::uint64_t body) {
        return mix(mix(from << 8 | to, term.value), body);
    }
    template <class T, class D, class Config, class NumberOf>
    static std::uint64_t hash_of_body(const Message<T, D, Config>& message, NumberOf number_of) {
        std::uint64_t h = message.body.index();
        if (const auto* request = std::get_if<RequestVote>(&message.body)) {
            h = mix(h, (request->pre_vote ? 1U : 0U) + (request->transfer ? 2U : 0U) +
                           (request->last_log.index.value << 2));
            return mix(h, request->last_log.term.value);
        }
        if (const auto* vote = std::get_if<RequestVoteResponse>(&message.body))
            return mix(h, (vote->pre_vote ? 1U : 0U) + (vote->vote_granted ? 2U : 0U));
        if (const auto* append = std::get_if<AppendEntries<T, Config>>(&message.body)) {
            h = mix(h, hash(append->prev_log));
            h = mix(h, append->leader_commit.value);
            h = mix(h, append->read == Time{} ? 0 : append->read == never ? 1 : 2);
            for (const Entry<T, Config>& entry : append->entries)
                h = mix(mix(h, entry.term.value), number_of(entry));
            return h;
        }
        if (const auto* response = std::get_if<AppendEntriesResponse>(&message.body)) {
            h = mix(h, (response->success ? 1U : 0U) + (response->read != Time{} ? 2U : 0U) +
                           (response->match_index.value << 2));
            return mix(mix(h, hash(response->hint)), response->snapshot_offset);
        }
        const auto* install = std::get_if<InstallSnapshot<D, Config>>(&message.body);
        if (!install) return h;  // TimeoutNow
        return mix(mix(h, hash(install->last_included)),
                   install->offset * 2 + (install->done ? 1 : 0));
    }

 private:
    static std::uint64_t hash(LogPosition at) { return mix(at.index.value, at.term.value); }
    template <class D, class Config>
    static std::uint64_t hash(const Snapshot<D, Config>& snapshot) {
        return mix(hash(snapshot.last_included),
                   little_raft::detail::size_in_chunks(snapshot.data));
    }
};

}  // namespace little_raft::testing
