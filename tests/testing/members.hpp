// Memberships as sets of replicas and as numbers, so that the laws can count and compare them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "little_raft.hpp"
#include "random.hpp"

namespace little_raft::testing {

/// Replicas are counted from 0, and called 1, 2, ... to themselves and to people.
inline ReplicaId id_of(std::size_t replica) { return ReplicaId{replica + 1}; }
inline std::size_t replica_of(ReplicaId id) { return static_cast<std::size_t>(id.value - 1); }

/// A bit for each replica.
using ReplicaSet = std::uint32_t;
inline bool contains(ReplicaSet set, std::size_t i) { return i < 32 && (set >> i & 1U) != 0; }

/// Who has a vote in a membership, and who belongs to it.
struct Electorate {
    ReplicaSet voters = 0;    ///< Among the members.
    ReplicaSet outgoing = 0;  ///< Among those of before.
    ReplicaSet members = 0;   ///< Of both, with a vote or without.
    bool joint = false;

    static Electorate of(const Membership& membership) {
        Electorate made;
        auto add = [&](const std::vector<Member>& half, ReplicaSet& with_vote) {
            for (const Member& member : half) {
                ReplicaSet bit = ReplicaSet{1} << replica_of(member.id) % 32;
                made.members |= bit;
                if (!member.learner) with_vote |= bit;
            }
        };
        add(membership.members, made.voters);
        add(membership.outgoing, made.outgoing);
        made.joint = !membership.outgoing.empty();
        return made;
    }
    ReplicaSet all_voters() const { return voters | outgoing; }
    /// A majority of each half that there is [PhD 4.3].
    bool is_majority(ReplicaSet of) const {
        auto half = [of](ReplicaSet set) {
            return 2 * std::popcount(set & of) > std::popcount(set);
        };
        return half(voters) && (!joint || half(outgoing));
    }
};

inline bool same(const std::vector<Member>& a, const std::vector<Member>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Member& x, const Member& y) {
        return x.id == y.id && x.address == y.address && x.learner == y.learner;
    });
}
inline bool same(const Membership& a, const Membership& b) {
    return same(a.members, b.members) && same(a.outgoing, b.outgoing);
}

/// Stands for a membership, to its last letter, in the place of a transition's number.
inline std::uint64_t number_of(const Membership& membership) {
    std::uint64_t hash = membership.members.size();
    for (const auto* members : {&membership.members, &membership.outgoing}) {
        for (const Member& member : *members) {
            hash = mix(hash, member.id.value * 2 + (member.learner ? 1 : 0));
            for (char c : member.address) hash = mix(hash, static_cast<unsigned char>(c));
        }
    }
    return std::uint64_t{1} << 62 | hash >> 2;
}
/// Whether a number stands for a membership.
inline bool is_membership(std::uint64_t number) { return number >> 62 == 1; }

/// "1 2 (3), from 1 2": learners are in parentheses.
inline std::string to_text(const Membership& membership) {
    auto names = [](const std::vector<Member>& members) {
        std::string text;
        for (const Member& member : members) {
            if (!text.empty()) text += ' ';
            std::string id = std::to_string(member.id.value);
            text += member.learner ? '(' + id + ')' : id;
        }
        return text.empty() ? std::string("nobody") : text;
    };
    std::string text = names(membership.members);
    if (!membership.outgoing.empty()) text += ", from " + names(membership.outgoing);
    return text;
}

/// That of a cluster as it is set up, less its last `newcomers` replicas.
inline Membership founders(std::size_t replicas, std::size_t newcomers) {
    Membership made;
    for (std::size_t i = 0; i + newcomers < replicas; ++i)
        made.members.push_back({id_of(i), "founder", false});
    return made;
}

}  // namespace little_raft::testing
