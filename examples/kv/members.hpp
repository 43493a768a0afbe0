// RAFT ADD and RAFT REMOVE: what they want of the replica, and how that ends.
#ifndef KV_MEMBERS_HPP
#define KV_MEMBERS_HPP

#include "admin.hpp"

namespace kv {

/// One change of the members at a time, begun on the leader. RAFT ADD goes in two steps, so that a
/// replica that has everything to learn holds up nobody: it becomes a learner, and a voter when it
/// has caught up. Each step is a change of its own to the library; whoever asked is told when the
/// last one is over.
class MemberChanges {
 public:
    using Ended = std::function<void(std::string_view error)>;  ///< Empty: it is as was wanted.

    /// Transport, machine and status outlive this.
    MemberChanges(ReplicaId id, Transport& transport, Machine& machine,
                  const little_raft::Status& status, std::chrono::milliseconds patience)
        : id_(id), transport_(transport), machine_(machine), status_(status), patience_(patience) {
        was_member_ = transport_.find_member(id_) != nullptr;
        log_members();
        transport_.on_change_possible = [this] { return hand_over(); };
        transport_.on_membership = [this](const Membership& membership, MembershipState state) {
            on_membership(membership, state);
        };
    }

    /// Whether a RAFT command is one of these.
    static bool is_change(const Words& words) {
        return equals_nocase(words[1], "add") || equals_nocase(words[1], "remove");
    }

    /// Called on a leader. What is returned is why nothing was begun, and `ended` is not called
    /// then; else it is called once.
    std::string_view begin(const Words& words, Time now, Ended ended) {
        bool adds = equals_nocase(words[1], "add");
        bool learner = adds && words.size() == 5 && equals_nocase(words[4], "learner");
        if (words.size() != (adds ? 4u : 3u) && !learner)
            return "ERR usage: RAFT ADD id host:port@peer_port [LEARNER], or RAFT REMOVE id";
        auto id = Admin::to_replica(words[2]);
        auto address = adds ? Address::parse(words[3]) : std::nullopt;
        if (!id) return "ERR an id is a number from 1 on";
        if (adds && !address) return "ERR an address is host:port@peer_port";
        if (change_ || !transport_.membership().outgoing.empty())
            return "TRYAGAIN another change of the members is under way; nothing changed";
        std::string_view refusal =
            adds ? refuse_addition(*id, *address, learner) : refuse_removal(*id);
        if (!refusal.empty()) return refusal;
        Change change{Change::removal, *id, {}, learner, now + patience_, std::move(ended)};
        if (adds) {
            change.step = transport_.find_member(*id) ? Change::catching_up : Change::as_learner;
            change.address = address->text();
        }
        change_ = std::move(change);
        return {};
    }

    /// Called in each turn of the loop. True: there is news for the replica.
    bool advance(Time now) {
        if (!change_) return false;
        if (change_->step == Change::catching_up) {
            const little_raft::Member* member = transport_.find_member(change_->id);
            if (status_.leader != id_ || !member || !member->learner)
                return end("TRYAGAIN the leader changed; the replica is a learner at most"), false;
            if (has_caught_up()) return change_->step = Change::as_voter, true;
        }
        if (now >= change_->deadline) give_up();
        return false;
    }

    /// The change that is under way, if one is, has no time left: says what is known of it.
    void give_up() {
        if (!change_) return;
        if (change_->committed)
            return end("UNKNOWN when the members change is unknown; it is certain that they will");
        if (change_->asked) return end("UNKNOWN whether the members change is unknown");
        if (change_->step == Change::catching_up)
            return end("TRYAGAIN the replica has not caught up; it is a learner so far");
        end(change_->step == Change::as_voter
                ? "TRYAGAIN the change could not begin; the replica is a learner so far"
                : "TRYAGAIN the change could not begin; nothing changed");
    }

 private:
    struct Change {
        enum Step { removal, as_learner, catching_up, as_voter } step;
        ReplicaId id;
        std::string address;  // Of one that is added,
        bool learner;         // ... as that and no more.
        Time deadline;
        Ended ended;
        bool asked = false;      // The library has it,
        bool committed = false;  // ... and will make it.
    };
    /// So close to the end of the log a learner is as good as there.
    static constexpr std::uint64_t caught_up = 1000;

    std::string_view refuse_addition(ReplicaId id, const Address& address, bool learner) const {
        const little_raft::Member* member = transport_.find_member(id);
        if (member && (learner || !member->learner)) return "ERR it is a member already";
        if (member && member->address != address.text())
            return "ERR it is a learner already, at another address";
        for (const auto& [other, its] : transport_.members())
            if (other != id && its.overlaps(address)) return "ERR another member has that address";
        bool full = !member && transport_.membership().members.size() >= members_max;
        return full ? "ERR there are as many members as there can be" : "";
    }

    std::string_view refuse_removal(ReplicaId id) const {
        if (!transport_.find_member(id)) return "ERR no member has that id";
        for (const auto& other : transport_.membership().members)
            if (other.id != id && !other.learner) return "";
        return "ERR the cluster would be left without a voter";
    }

    bool has_caught_up() const {
        for (const auto& peer : status_.progress)
            if (peer.id == change_->id)
                return !peer.lost && peer.match_index > little_raft::Index{} &&
                       peer.match_index + caught_up >= status_.last_log_index;
        return false;
    }

    /// The members of now, and what the change's step makes of them.
    std::optional<Membership> hand_over() {
        if (!change_ || change_->asked || change_->step == Change::catching_up) return std::nullopt;
        // Safety: whoever had it may have voted or acknowledged what another does not know. All
        // that was committed before is applied by now.
        if (change_->step == Change::as_learner && machine_.store().is_used(change_->id.value)) {
            end("ERR that id was a member's before; a new replica needs a new one");
            return std::nullopt;
        }
        change_->asked = true;
        Membership wanted{transport_.membership().members};
        std::erase_if(wanted.members, [&](const auto& m) { return m.id == change_->id; });
        if (change_->step != Change::removal)
            wanted.members.push_back(
                {change_->id, change_->address, change_->step == Change::as_learner});
        return wanted;
    }

    void on_membership(const Membership& membership, MembershipState state) {
        using enum little_raft::TransitionState;
        bool settled = state == applied && membership.outgoing.empty();
        if (state == applied) machine_.note_members(membership);
        if (state == queued) log_members();
        if (settled) notice_removal();
        if (!change_ || !change_->asked) return;
        bool learns = change_->step == Change::as_voter;
        switch (state) {
            case queued:
            case abandoned_overloaded:  // No membership is.
                return;
            case committed:
                change_->committed = true;
                return;
            case applied:
                // The joint one was committed before, so this is what follows it.
                return settled && change_->committed ? on_changed() : void();
            case abandoned_malformed:
                return end("ERR the cluster would be left without a voter");
            case abandoned_not_leader:
            case abandoned_conflict_with_leader:
                return end(learns ? "TRYAGAIN the leader changed; the replica is a learner so far"
                                  : "TRYAGAIN the leader changed; the members did not");
            case outcome_unknown:
                return end("UNKNOWN whether the members change is unknown");
        }
    }

    void on_changed() {
        if (change_->step != Change::as_learner || change_->learner) return end({});
        change_->step = Change::catching_up;
        change_->asked = change_->committed = false;
    }

    void end(std::string_view error) {
        Change change = std::move(*change_);
        change_.reset();
        spdlog::info("RAFT {} {}: {}", change.step == Change::removal ? "REMOVE" : "ADD",
                     change.id.value, error.empty() ? "done" : error);
        change.ended(error);
    }

    void log_members() {
        const Membership& membership = transport_.membership();
        std::string text = membership.members.empty() ? " none known" : "";
        for (const auto& [id, address, learner] : membership.members)
            text += " " + std::to_string(id.value) + (learner ? " (learner)" : "");
        if (!membership.outgoing.empty()) text += ", not settled yet";
        bool is_member = transport_.find_member(id_) != nullptr;
        was_member_ = was_member_ || is_member;
        if (std::exchange(logged_, text) == text) return;
        spdlog::info("members:{}{}", text,
                     was_member_ ? "" : "; this replica is no member, and waits for RAFT ADD");
    }

    /// A membership is settled. One that was in force before this replica was added may be, too.
    void notice_removal() {
        if (!was_member_ || transport_.members().contains(id_)) return;
        was_member_ = false;
        spdlog::warn(
            "this replica was removed from the cluster: stop it; its id must not be used again");
    }

    ReplicaId id_;
    Transport& transport_;
    Machine& machine_;
    const little_raft::Status& status_;
    std::chrono::milliseconds patience_;
    std::optional<Change> change_;
    bool was_member_ = false;
    std::string logged_;  // The members that were logged last.
};

}  // namespace kv

#endif  // KV_MEMBERS_HPP
