// The laws of Raft and of this library, each put to the test after every step: the five properties
// of the paper's Figure 3 and what makes them hold, word for word where the paper has words.
//
// Ghost knows what no replica can: all disks, everything that was ever committed, every leader of
// every term. A hash chain along each log (a hash at an index stands for all entries up to it)
// makes most questions a single comparison. It knows nothing of the user's types, so it can be fed
// by hand: tests show for each law that it can break.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "little_raft.hpp"
#include "members.hpp"
#include "random.hpp"

namespace little_raft::testing {

// ----- Laws --------------------------------------------------------------------------------------

enum class Law : std::uint8_t {
    election_safety,
    vote_once,
    votes_are_earned,
    terms_never_fall,
    leader_append_only,
    log_matching,
    leader_completeness,
    state_machine_safety,
    commit_rule,
    order_of_indexes,
    committed_is_never_cut,
    persist_before_send,
    nothing_synced_is_lost,
    exactly_one_final_state,
    committed_once,
    bounded_memory,
    leader_bookkeeping,
    calls_as_promised,
    faults_have_causes,
    snapshots_come_back,
    messages_survive,
    linearizability,
    reads_see_commits,
    leases_exclude,
    last_membership_in_force,
    members_change_in_order,
    changes_end_once,
    liveness,
    stability,
    own_invariant,
};
inline constexpr std::size_t law_kinds = 30;

struct LawText {
    const char* name;
    const char* words;
    const char* source;
};

inline const LawText& text_of(Law law) {
    static constexpr std::array<LawText, law_kinds> texts = {{
        {"Election Safety", "At most one replica becomes leader in a term, and once.",
         "[Raft Figure 3, 5.2]"},
        {"Vote Once", "A replica votes for at most one candidate in a term, across restarts.",
         "[Raft 5.2, Figure 2: votedFor]"},
        {"Votes Are Earned",
         "A replica grants a vote, or a PreVote, only to a candidate whose log is at least as up "
         "to date as its own; and none is a candidate to whom no majority granted a PreVote, "
         "unless "
         "its leader told it so, whose log it has.",
         "[Raft 5.4.1, PhD 3.10, 9.6]"},
        {"Terms Never Fall", "A replica's term never falls, not even by a crash.", "[Raft 5.1]"},
        {"Leader Append-Only",
         "A leader never overwrites or deletes entries in its log; it only appends new ones.",
         "[Raft Figure 3, 5.3]"},
        {"Log Matching",
         "If two logs contain an entry with the same index and term, then the logs are identical "
         "in all entries up through the given index; and terms never fall along a log.",
         "[Raft Figure 3, 5.3]"},
        {"Leader Completeness",
         "If an entry is committed in a term, then it is in the logs of the leaders of all "
         "higher-numbered terms.",
         "[Raft Figure 3, 5.4]"},
        {"State Machine Safety",
         "If a machine has applied an entry at an index, no other machine ever applies a different "
         "one there; what is applied was proposed, and equal sequences make equal machines.",
         "[Raft Figure 3, 5.4.3]"},
        {"Commit Rule",
         "A leader commits an entry of its own term once a majority has it on disk, and nobody "
         "knows of a commit before a leader does.",
         "[Raft 5.3, 5.4.2]"},
        {"Order of Indexes",
         "Snapshot, applied, commit and last index never pass each other, and the commit index "
         "never falls while a process lives.",
         "[Raft Figure 2]"},
        {"Committed Is Never Cut",
         "An entry that is committed is never removed where it is known to be, nor from the "
         "majority that has it, but by a snapshot that covers it.",
         "[Raft 5.4.3]"},
        {"Persist Before Send",
         "Whatever a message promises of its sender's term, vote and log is on its disk before.",
         "[Raft Figure 2: persistent state]"},
        {"Nothing Synced Is Lost",
         "A replica restarts from what its disk had synced, or from that and some of what it wrote "
         "later.",
         "the Storage concept"},
        {"Exactly One Final State",
         "Each transition ends, on the replica that took it, in one final state, reached in order; "
         "what was abandoned is never committed.",
         "the enumeration TransitionState"},
        {"Committed Once", "A transition takes at most one place in the committed log.",
         "[PhD 6.3]"},
        {"Bounded Memory",
         "The log, what is uncommitted and what is on its way to a follower keep to the limits, "
         "across crashes too.",
         "Options"},
        {"Leader Bookkeeping",
         "What a leader believes a follower to have on disk, it has; it sends what comes next, "
         "what waits for an answer is answered, and no disk is taken for lost that lost nothing.",
         "[Raft Figure 2: nextIndex, matchIndex]"},
        {"Calls as Promised",
         "A poll writes term, snapshot place and entries at most once each and then syncs; entries "
         "follow each other; the log is cut only where a saved snapshot covers it.",
         "the Storage and Snapshotting concepts"},
        {"Faults Have Causes", "A replica stops itself only after its disk failed.",
         "the documentation of Status::fault"},
        {"Snapshots Come Back",
         "The machine gives back the snapshot that it saved or was given last, with the same data.",
         "the Snapshotting concept"},
        {"Messages Survive", "A message that was encoded and decoded is what it was.",
         "the subject's encode and decode"},
        {"Linearizability",
         "Every answer is the one of a single machine that applies all that is committed in order, "
         "which is an order in which each transition takes effect between its call and its answer.",
         "[PhD 6.3]"},
        {"Reads See Commits",
         "A read sees all that anybody knew to be committed when it came; and it ends once, "
         "answered or abandoned, as long as its replica lives.",
         "[PhD 6.4]"},
        {"Leases Exclude",
         "While clocks keep to the bound on their drift, nobody becomes leader before the leases "
         "of earlier leaders have ended.",
         "[PhD 6.4.1]"},
        {"Last Membership In Force",
         "The last membership in a replica's log, or else its snapshot's, is in force there at "
         "once, after truncation and restart too; and nobody stands for election who has no vote "
         "in any membership from the "
         "last that is known to be committed on, unless one asks it that counts on its vote.",
         "[PhD 4.1, 4.2.2]"},
        {"Members Change in Order",
         "A leader begins with the membership that it found. Then one change at a time follows, "
         "each when the last membership is committed: to one that is joint, and from that to the "
         "members that were asked for.",
         "[PhD 4.1, 4.3]"},
        {"Changes End Once",
         "Each change of the members that a replica takes ends there once, and what was abandoned "
         "is never committed; what is called committed or applied is.",
         "the alias MembershipState"},
        {"Liveness",
         "Once faults are over and a majority can talk, it elects a leader, commits the leader's "
         "whole log without a new transition, then commits a new one and answers reads on all "
         "replicas without waiting for a timer, and agrees. A transfer of leadership ends within "
         "an election timeout, and a leader that was removed makes way.",
         "[Raft 5.4.2, 5.6; PhD 3.10, 4.2, 6.2, 6.4]"},
        {"Stability",
         "While nothing fails, or only a minority does, the leader stays; a candidate makes way "
         "for it, who hears it helps nobody to depose it, and a PreVote brings about no term that "
         "nobody entered.",
         "[Raft 5.2; PhD 4.2.3, 9.6]"},
        {"Own Invariant", "The subject's own invariant of its machine.", "the subject's invariant"},
    }};
    return texts[static_cast<std::size_t>(law)];
}

/// The first law that broke in a run.
struct Failure {
    Law law = Law::election_safety;
    std::string detail;  ///< What was seen.
    std::size_t replica = 0;
    std::string explanation = {};  ///< More of it, in lines, where there is more to say.
};

// ----- Coverage ----------------------------------------------------------------------------------

/// What can happen in a run. A suite that never saw one of these has not tested what it means to.
enum class Event : std::uint8_t {
    long_schedule,
    step,
    message,
    delivery,
    overtaken,
    drop,
    corrupted,
    duplicate,
    blocked,
    crash,
    crash_inside_poll,
    restart,
    late_start,
    unsynced_write_lost,
    append_torn,
    paused,
    clock_changed,
    slow_sync,
    long_poll,
    failed_sync,
    sync_ended,
    sync_overtaken,
    election_started,
    election_won,
    even_election_won,
    leader_deposed_with_uncommitted,
    transfer_begun,
    transfer_done,
    commit,
    apply,
    snapshot_created,
    snapshot_installed,
    log_compacted,
    entries_truncated,
    proposed,
    read,
    read_on_leader,
    read_by_lease,
    read_on_follower,
    read_abandoned,
    abandoned_not_leader,
    abandoned_overloaded,
    abandoned_conflict,
    outcome_unknown,
    healed,
    calm,
    deaf_leader_replaced,
    bridge_led,
    slow_borne,
    outsider_ignored,
    cut_off_ignored,
    minority_asked,
    lease_outlasted_restarts,
    change_asked,
    change_begun,
    change_committed,
    change_refused,
    change_overruled,
    change_unknown,
    joint_left,
    membership_rolled_back,
    learner_promoted,
    leader_removed,
    removed_ignored,
    history_decided,
    history_undecided,
};
inline constexpr std::size_t event_kinds = 66;

inline const char* name_of(Event event) {
    static constexpr std::array<const char*, event_kinds> names = {
        "schedules of 1,000 steps and more",
        "steps",
        "messages",
        "deliveries",
        "messages that overtook others",
        "messages dropped",
        "messages damaged",
        "messages duplicated",
        "messages blocked by partitions",
        "crashes",
        "crashes inside a poll",
        "restarts",
        "replicas that were not there at first",
        "unsynced writes lost",
        "appends torn by a crash",
        "replicas paused",
        "clocks changed",
        "slow syncs",
        "polls meanwhile which others went on",
        "failed syncs",
        "syncs that ended while the replica went on",
        "syncs of entries that were cut off meanwhile",
        "elections started",
        "elections won",
        "elections won where replicas are even in number",
        "leaders deposed with uncommitted entries",
        "transfers of leadership begun",
        "votes asked for in a transfer",
        "commits",
        "applies",
        "snapshots created",
        "snapshots installed",
        "logs compacted",
        "truncations of conflicting entries",
        "transitions proposed",
        "reads asked for",
        "reads answered by leaders that asked a majority",
        "reads answered by leaders that have a lease",
        "reads answered by followers",
        "reads abandoned",
        "abandoned: not leader",
        "abandoned: overloaded",
        "abandoned: conflict with leader",
        "outcome unknown",
        "clusters healed and converged",
        "calm times without a new leader",
        "deaf leaders replaced",
        "bridges that led",
        "slow replicas that delayed nobody",
        "outsiders that disturbed nobody",
        "followers cut off from the leader alone that disturbed nobody",
        "leaders asked for reads after others had committed without them",
        "leases during which those who had granted them started again",
        "changes of the members asked for",
        "changes of the members begun",
        "changes of the members committed",
        "changes of the members refused",
        "changes of the members overruled by another leader",
        "changes of the members with an unknown outcome",
        "joint memberships left",
        "memberships rolled back",
        "learners given a vote",
        "polls of leaders that have no vote any more",
        "replicas outside that disturbed nobody",
        "histories of answers decided",
        "histories of answers too hard to decide"};
    return names[static_cast<std::size_t>(event)];
}

/// How often each event happened and each law was put to the test.
struct Coverage {
    std::array<std::uint64_t, event_kinds> events{};
    std::array<std::uint64_t, law_kinds> laws{};

    std::uint64_t& operator[](Event event) { return events[static_cast<std::size_t>(event)]; }
    std::uint64_t operator[](Event event) const { return events[static_cast<std::size_t>(event)]; }
    std::uint64_t& operator[](Law law) { return laws[static_cast<std::size_t>(law)]; }
    std::uint64_t operator[](Law law) const { return laws[static_cast<std::size_t>(law)]; }

    void add(const Coverage& other) {
        for (std::size_t i = 0; i < event_kinds; ++i) events[i] += other.events[i];
        for (std::size_t i = 0; i < law_kinds; ++i) laws[i] += other.laws[i];
    }
    /// The names of the events that never happened and of the laws never put to the test, less
    /// those that the subject cannot show.
    std::vector<std::string> missing(const Coverage& impossible) const {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < event_kinds; ++i) {
            if (events[i] + impossible.events[i] == 0)
                names.emplace_back(name_of(static_cast<Event>(i)));
        }
        for (std::size_t i = 0; i < law_kinds; ++i) {
            if (laws[i] + impossible.laws[i] == 0)
                names.emplace_back(text_of(static_cast<Law>(i)).name);
        }
        return names;
    }
    std::vector<std::string> missing() const { return missing(Coverage{}); }

    std::string to_text() const {
        std::string text = "What happened:\n";
        for (std::size_t i = 0; i < event_kinds; ++i) {
            text += "  " + std::to_string(events[i]) + ' ' + name_of(static_cast<Event>(i)) + '\n';
        }
        text += "How often each law was put to the test:\n";
        for (std::size_t i = 0; i < law_kinds; ++i) {
            text += "  " + std::to_string(laws[i]) + ' ' + text_of(static_cast<Law>(i)).name + '\n';
        }
        return text;
    }
};

// ----- What the ghost sees -----------------------------------------------------------------------

/// Transitions are numbered from 1 in the order in which they are proposed; 0 is the no-op.
/// Memberships have numbers of their own, which are far above.
inline constexpr std::uint64_t noop_number = 0;
/// Stands for one that nobody proposed.
inline constexpr std::uint64_t unknown_number = ~std::uint64_t{0};
/// Whether a number stands for what no state machine sees.
inline bool is_hidden(std::uint64_t number) {
    return number == noop_number || is_membership(number);
}

/// An entry of a log, with the hash of the whole log up to it.
struct Mark {
    Term term;
    std::uint64_t number = noop_number;
    std::uint64_t hash = 0;
};

/// The log as a disk has it.
struct LogImage {
    LogPosition base;
    std::uint64_t base_hash = 0;
    std::vector<Mark> marks;

    Index last_index() const { return base.index + marks.size(); }
    const Mark& operator[](Index index) const { return marks[index - base.index - 1]; }
    Term term_at(Index index) const {
        return index == base.index ? base.term : (*this)[index].term;
    }
    std::optional<std::uint64_t> hash_at(Index index) const {
        if (index < base.index || index > last_index()) return std::nullopt;
        return index == base.index ? base_hash : (*this)[index].hash;
    }
    bool holds(LogPosition at) const {
        return at.index >= base.index && at.index <= last_index() && term_at(at.index) == at.term;
    }
    void push(Term term, std::uint64_t number) {
        std::uint64_t before = marks.empty() ? base_hash : marks.back().hash;
        marks.push_back({term, number, mix(mix(before, term.value), number)});
    }
};

/// What was written to a disk, and how much of it a power loss would leave.
struct DiskImage {
    Term term;
    std::optional<ReplicaId> voted_for;
    LogImage log;
    Term synced_term;
    std::optional<ReplicaId> synced_vote;
    Index synced_index;  ///< The log as written is durable up to here.
    Index synced_last;   ///< Where the log ends that a power loss would leave.
};

/// What a sync makes durable: the disk as it was written when the sync began.
struct Synced {
    Term term;
    std::optional<ReplicaId> vote;
    Index index;  ///< So much of the log is still as it was.
    Index last;   ///< Where the log ended.
    static Synced of(const DiskImage& disk) {
        Index last = disk.log.last_index();
        return {disk.term, disk.voted_for, last, last};
    }
};

/// A transition on its way through the replica that took it.
struct Fate {
    std::size_t replica = 0;
    std::uint64_t incarnation = 0;
    std::optional<TransitionState> last = std::nullopt;
    bool taken = false;  ///< By get_pending_transitions.
    Index committed_at = {};

    bool is_final() const {
        return last && *last != TransitionState::queued && *last != TransitionState::committed;
    }
    bool is_abandoned() const {
        return last == TransitionState::abandoned_not_leader ||
               last == TransitionState::abandoned_overloaded ||
               last == TransitionState::abandoned_conflict_with_leader;
    }
};

/// What is known to be committed, at its index - 1.
struct Committed {
    Mark mark;
    std::uint64_t applied_hash = 0;  ///< Of the numbers of all transitions up to here.
    Term known_in = {};              ///< The term of the first leader that knew.
    std::size_t membership = 0;      ///< The last one up to here.
    std::size_t decided_by = 0;      ///< The one whose majority has it.
};

/// A change of the members on its way through the replica that was asked for it.
struct ChangeFate {
    std::size_t replica = 0;
    std::uint64_t incarnation = 0;
    std::vector<Member> wanted = {};
    bool taken = false;  ///< By get_pending_membership.
    std::optional<TransitionState> end = std::nullopt;
    bool committed = false;
};

/// A read on its way through the replica that was asked.
struct ReadFate {
    std::size_t replica = 0;
    std::uint64_t incarnation = 0;
    Index must_see = {};  ///< What was known to be committed when it came.
    bool taken = false;   ///< By get_pending_reads.
    bool ended = false;
};

struct Limits {
    std::uint64_t snapshot_delta = 0;
    std::uint64_t snapshot_trailing = 0;
    std::uint64_t entries_per_message = 1;
    std::uint64_t inflight_messages = 1;
    std::uint64_t inflight_bytes = 1;
    std::uint64_t bytes_per_message = 1;
    std::uint64_t uncommitted_entries = 1;
    bool prevote = true;  ///< Candidates asked before.
    bool members_change = false;
    std::size_t newcomers = 0;  ///< So many, the last ones, begin as no members.
};

// ----- Ghost -------------------------------------------------------------------------------------

/// Watches a cluster. It is told what happens in the order in which it happens: what disks do, what
/// is sent, what is reported, and, after every poll, the replica's Status.
class Ghost {
 public:
    Ghost(std::size_t replicas, const Limits& limits)
        : limits_(limits), disks_(replicas), seen_(replicas), fates_(1) {
        know(founders(replicas, limits.newcomers));
        know({});
        for (std::size_t i = 0; i < replicas; ++i) {
            seen_[i].first = contains(electorates_[0].members, i) ? 0 : 1;
            seen_[i].in_force = seen_[i].in_force_before = seen_[i].first;
        }
    }

    const std::optional<Failure>& failure() const { return failure_; }
    Coverage& coverage() { return coverage_; }
    const Coverage& coverage() const { return coverage_; }
    DiskImage& disk(std::size_t i) { return disks_[i]; }
    const DiskImage& disk(std::size_t i) const { return disks_[i]; }
    const std::vector<Committed>& committed() const { return committed_; }
    const std::vector<Fate>& fates() const { return fates_; }
    const std::vector<ReadFate>& reads() const { return reads_; }
    /// Which process of replica i is on, counted from 1.
    std::uint64_t incarnation(std::size_t i) const { return seen_[i].incarnation; }

    /// Counts that a law was put to the test; the first one that does not hold stays.
    bool require(Law law, bool holds, const char* what, std::size_t replica) {
        ++coverage_[law];
        if (!holds) fail(law, what, replica);
        return holds;
    }
    void fail(Law law, std::string what, std::size_t replica) {
        if (!failure_) failure_ = Failure{law, std::move(what), replica, {}};
    }
    /// Precondition: failure().
    void explain(std::string text) { failure_->explanation = std::move(text); }

    std::uint64_t committed_hash(Index index) const {
        return index.value == 0 ? 0 : committed_[index.value - 1].mark.hash;
    }
    std::uint64_t applied_hash(Index index) const {
        return index.value == 0 ? 0 : committed_[index.value - 1].applied_hash;
    }

    // ----- Transitions

    /// Returns its number.
    std::uint64_t proposed(std::size_t i) {
        fates_.push_back({i, seen_[i].incarnation, std::nullopt, false, {}});
        return fates_.size() - 1;
    }
    void taken(std::uint64_t number) { fates_[number].taken = true; }

    // ----- Members

    /// Must be told of each that gets into a log. Returns a number for who belongs to it.
    std::size_t know(const Membership& membership) {
        for (std::size_t k = memberships_.size(); k > 0; --k)
            if (same(memberships_[k - 1], membership)) return k - 1;
        memberships_.push_back(membership);
        electorates_.push_back(Electorate::of(membership));
        numbers_.push_back(number_of(membership));
        return memberships_.size() - 1;
    }
    /// What replica i was told to have in force.
    const Electorate& in_force(std::size_t i) const { return electorates_[seen_[i].in_force]; }
    const Membership& membership(std::size_t i) const { return memberships_[seen_[i].in_force]; }
    /// The last one that is committed.
    const Electorate& committed_electorate() const {
        return electorates_[committed_.empty() ? 0 : committed_.back().membership];
    }
    /// The one that an entry stands for.
    const Electorate& electorate_of(std::uint64_t number) const {
        return electorates_[known(number)];
    }

    void change_asked(std::size_t i, const Membership& wanted) {
        changes_.push_back({i, seen_[i].incarnation, wanted.members});
        ++coverage_[Event::change_asked];
    }
    void change_taken(std::size_t i, const Membership& wanted) {
        if (ChangeFate* change = change_to(wanted.members, i)) change->taken = true;
    }

    /// A request for a vote is about to arrive: where a poll is on, in the next.
    void vote_asked(std::size_t i) { seen_[i].asked_in_poll = seen_[i].polls + 1; }

    /// A snapshot of everything up to there is saved, with that membership.
    void snapshot_taken(Index index, const Membership& membership) {
        std::size_t which = know(membership);
        just_saved_.emplace_back(index, which);
    }

    /// As register_membership tells it. `applied` says up to where the machine has applied the log;
    /// `log_end`, where the log ends by now.
    void membership_reported(std::size_t i, const Membership& membership, TransitionState state,
                             Index applied, Index log_end) {
        Seen& seen = seen_[i];
        std::size_t which = know(membership);
        for (std::size_t k = 0; k < seen_.size() && k < replicas_max; ++k) {
            // Whoever was no member is taken to have what the leader has, until it says what.
            bool added = !contains(in_force(i).members, k);
            if (state == TransitionState::queued && added) seen.sent[k] = seen.added[k] = log_end;
            // Whoever is removed is forgotten.
            bool gone = state == TransitionState::applied && !contains(in_force(i).members, k);
            if (gone) seen.matches[k] = {};
        }
        if (state == TransitionState::queued) {
            // It may have stood in this poll, and ask others later.
            Term next{seen.term.value + 1};
            if (was_preferred(i, next)) seen.preferred_in_poll = next;
            seen.in_force_before = std::exchange(seen.in_force, which);
            seen.told_in_poll = seen.polls;
        } else if (state == TransitionState::applied) {
            just_applied_.emplace_back(applied, which);
        } else {
            change_ended(i, membership, state);
        }
    }

    // ----- Reads

    /// Returns its number. Whatever anybody knows to be committed by now it must see.
    std::uint64_t asked(std::size_t i) {
        reads_.push_back({i, seen_[i].incarnation, Index{committed_.size()}, false, false});
        ++coverage_[Event::read];
        return reads_.size() - 1;
    }
    void read_taken(std::uint64_t number) { reads_[number].taken = true; }

    /// `sees`: up to where the machine has applied the log; nothing: the read is abandoned.
    void read_ended(std::size_t i, std::uint64_t number, std::optional<Index> sees) {
        constexpr Law law = Law::reads_see_commits;
        if (number >= reads_.size()) {
            fail(law, "a read ends that nobody asked for", i);
            return;
        }
        ReadFate& read = reads_[number];
        bool own = read.replica == i && read.incarnation == seen_[i].incarnation;
        require(law, own && read.taken, "a read ends where it was not taken", i);
        require(law, !read.ended, "a read ends twice", i);
        read.ended = true;
        if (!sees) ++coverage_[Event::read_abandoned];
        if (!sees) return;
        require(law, *sees >= read.must_see, "a read does not see what was committed when it came",
                i);
    }

    void reported(std::size_t i, std::uint64_t number, TransitionState state) {
        using enum TransitionState;
        constexpr Law law = Law::exactly_one_final_state;
        if (number == noop_number || number >= fates_.size()) {
            fail(law, "a state is reported of a transition that nobody proposed", i);
            return;
        }
        Fate& fate = fates_[number];
        if (fate.replica != i || fate.incarnation != seen_[i].incarnation) {
            // Another replica, or a later process that knows nothing of having taken it.
            require(law, state == applied, "only `applied` is reported where it was not taken", i);
            require(law, !fate.is_abandoned(), "what was abandoned is applied", i);
            return;
        }
        require(law, fate.taken, "a state is reported of a transition before it was taken", i);
        bool legal = false;
        if (!fate.last) {
            legal =
                state == queued || state == abandoned_not_leader || state == abandoned_overloaded;
        } else if (*fate.last == queued) {
            legal = state == committed || state == abandoned_conflict_with_leader ||
                    state == outcome_unknown;
        } else {
            legal = *fate.last == committed && state == applied;
        }
        require(law, legal,
                fate.is_final() ? "a state is reported after a final one"
                                : "a transition's states do not follow each other",
                i);
        fate.last = state;
        if (state == applied) just_acked_.push_back(number);
        if (state == outcome_unknown) seen_[i].says_unknown = true;
        if (fate.is_abandoned()) {
            require(law, fate.committed_at == Index{}, "what is committed is called abandoned", i);
        }
        count(state);
    }

    // ----- Disks

    /// Before entries replace all from `first` on. False: they cannot.
    bool cuts(std::size_t i, Index first) {
        LogImage& log = disks_[i].log;
        bool follows = first > log.base.index && first <= log.last_index() + 1;
        if (!require(Law::calls_as_promised, follows,
                     "appended entries do not follow what is on disk", i))
            return false;
        if (first > log.last_index()) return true;
        ++coverage_[Event::entries_truncated];
        for (Index k = first; k <= log.last_index(); ++k)
            if (is_membership(log[k].number)) ++coverage_[Event::membership_rolled_back];
        require(Law::committed_is_never_cut, first > seen_[i].commit_index,
                "entries are cut off that the replica knows to be committed", i);
        if (first.value <= committed_.size() && log.hash_at(first) == committed_hash(first)) {
            // One that lags may lose it to a leader of the past, and gets it back; but those who
            // made it committed, a majority, never do.
            ReplicaSet others = holders(first, committed_hash(first)) & ~(ReplicaSet{1} << i);
            const Committed& entry = committed_[first.value - 1];
            require(Law::committed_is_never_cut, electorates_[entry.decided_by].is_majority(others),
                    "an entry that is committed is cut off where a majority needs it", i);
        }
        return true;
    }

    /// A sync ended well: of all that was written, or of what was when it began.
    void synced(std::size_t i) { synced(i, Synced::of(disks_[i])); }
    void synced(std::size_t i, const Synced& now) {
        DiskImage& disk = disks_[i];
        Seen& seen = seen_[i];
        require(Law::terms_never_fall, now.term >= disk.synced_term, "the term on disk falls", i);
        if (now.term == seen.vote_term && seen.vote) {
            require(Law::vote_once, now.vote == seen.vote, "the vote on disk changes within a term",
                    i);
        }
        if (now.vote && now.term >= seen.vote_term) {
            seen.vote_term = now.term;
            seen.vote = now.vote;
        }
        disk.synced_term = now.term;
        disk.synced_vote = now.vote;
        disk.synced_index = now.index;
        disk.synced_last = now.last;
    }

    // ----- Processes

    /// A process begins, and has loaded its disk. `saved` is its machine's snapshot.
    void booted(std::size_t i, const Status& status, LogPosition saved) {
        Seen& seen = seen_[i];
        const DiskImage& disk = disks_[i];
        constexpr Law law = Law::nothing_synced_is_lost;
        require(Law::faults_have_causes, !status.fault, "what a correct disk holds is refused", i);
        require(law, status.term == std::max(disk.term, saved.term),
                "the term on disk is not taken up", i);
        Index last = disk.log.holds(saved) || saved.index < disk.log.base.index
                         ? disk.log.last_index()
                         : saved.index;
        require(law, status.last_log_index == last, "the log on disk is not taken up", i);
        require(law, status.commit_index == saved.index, "the snapshot is not taken up", i);
        ++seen.incarnation;
        seen.term = status.term;
        seen.role = Role::follower;
        seen.commit_index = status.commit_index;
        seen.last_index = disk.log.last_index();
        if (last > seen.finished_index) seen.unfinished += last - seen.finished_index;
        seen.finished_index = last;
        seen.says_unknown = seen.installed = false;
        ++coverage_[Event::restart];
    }

    /// In the poll that is on, the machine's state was replaced.
    void installed(std::size_t i) { seen_[i].installed = true; }

    // ----- Messages

    /// As it leaves: what it says of its sender must be on the sender's disk. `answered`: the only
    /// request that its receiver sent here and that can have caused it, where there is one.
    template <class T, class D, class Config>
    void sent(std::size_t i, const Message<T, D, Config>& message,
              const std::optional<RequestVote>& answered = std::nullopt) {
        const DiskImage& disk = disks_[i];
        constexpr Law law = Law::persist_before_send;
        const auto* request = std::get_if<RequestVote>(&message.body);
        const auto* vote = std::get_if<RequestVoteResponse>(&message.body);
        const auto* response = std::get_if<AppendEntriesResponse>(&message.body);
        const auto* append = std::get_if<AppendEntries<T, Config>>(&message.body);
        // What a later term on disk has overtaken can no longer be contradicted.
        bool overtaken = message.term < disk.synced_term;
        require(law, message.from == id_of(i), "a message leaves under another's name", i);
        require(law, message.term <= disk.synced_term,
                "a message is ahead of the term on its sender's disk", i);
        if (request && !request->pre_vote) {
            ++coverage_[Event::election_started];
            require(law, overtaken || disk.synced_vote == message.from,
                    "a candidate asks for votes before its own is on disk", i);
            if (request->transfer) {
                ++coverage_[Event::transfer_done];
                require(Law::votes_are_earned, was_handed(i, message.term),
                        "a replica says that the leader asked for an election that it did not", i);
            } else {
                require(Law::votes_are_earned, !limits_.prevote || was_preferred(i, message.term),
                        "a replica stands for election without a majority's PreVotes", i);
            }
        }
        if (vote && !vote->pre_vote && vote->vote_granted) {
            require(law, overtaken || disk.synced_vote == message.to,
                    "a vote is told before it is on disk", i);
        }
        std::size_t to = replica_of(message.to);
        if (vote && vote->vote_granted && to < seen_.size())
            (vote->pre_vote ? seen_[to].prevotes : seen_[to].votes).add(i, message.term);
        if (std::holds_alternative<TimeoutNow>(message.body)) hand_over(i, message);
        if (vote && vote->vote_granted && answered) {
            const LogImage& log = disk.log;
            LogPosition own{log.term_at(log.last_index()), log.last_index()};
            require(Law::votes_are_earned, answered->last_log >= own,
                    "a vote is granted to a candidate whose log is behind", i);
        }
        if (response && response->success) {
            // A later leader's entries may have been written meanwhile, in place of those.
            Index durable = message.term < disk.term ? disk.synced_last : disk.synced_index;
            require(law, overtaken || response->match_index <= durable,
                    "entries are acknowledged before they are on disk", i);
        }
        if (append) {
            note_leader(i, message.term);
            Index end = append->prev_log.index + append->entries.size();
            require(Law::leader_bookkeeping, append->prev_log.index <= sent_up_to(i, message, end),
                    "a leader leaves out entries that it never sent", i);
            // A leader may die before anybody sees its Status.
            if (append->leader_commit.value > committed_.size())
                leader_commits(i, append->leader_commit, message.term);
        }
        if (const auto* install = std::get_if<InstallSnapshot<D, Config>>(&message.body)) {
            note_leader(i, message.term);
            Index end = install->last_included.index;
            sent_up_to(i, message, end);
        }
    }

    // ----- Leases

    /// Replica i has just been elected. `other` leads too, for all it knows, and has a lease of
    /// that length from when a majority heard it; `now` is by its clock.
    void elected(std::size_t i, const Status& status, const Status& other, Duration lease,
                 Time now) {
        if (other.term > status.term) return;
        // Times of polls in quick succession may run ahead of the clock.
        Time heard = little_raft::quorum(other.progress, &Progress::last_contact, now);
        require(Law::leases_exclude, std::min(heard, now) + lease <= now,
                "one becomes leader while another's lease lasts", i);
    }

    // ----- After each poll

    /// `now` is the time of that poll, `deadline` what it returned. `fault_is_due`: its disk
    /// failed.
    void polled(std::size_t i, const Status& status, Time now, Time deadline, bool fault_is_due) {
        Seen& seen = seen_[i];
        const DiskImage& disk = disks_[i];
        require(Law::faults_have_causes, fault_is_due == status.fault.has_value(),
                fault_is_due ? "a replica goes on though its disk failed"
                             : "a replica stops itself without a cause",
                i);
        if (seen.says_unknown) {
            require(Law::exactly_one_final_state, seen.installed || fault_is_due,
                    "an outcome is called unknown though no snapshot replaced the log", i);
        }
        seen.says_unknown = seen.installed = false;
        require(Law::terms_never_fall, status.term >= seen.term, "a term falls", i);
        if (!status.fault) {
            bool goes_on = deadline <= now;  // It asked to be polled again at once.
            require(Law::calls_as_promised, goes_on || status.term == disk.term,
                    "a poll ends without the term on disk", i);
            require(Law::calls_as_promised, goes_on || status.voted_for == disk.voted_for,
                    "a poll ends without the vote on disk", i);
            require(Law::calls_as_promised,
                    goes_on || status.last_log_index == disk.log.last_index(),
                    "a poll ends without the log on disk", i);
            check_commit(i, status);
            check_role(i, status);
            if (seen.log_changed) check_log_matching(i);
            // Its requests may leave when others are in force.
            if (status.role == Role::candidate && was_preferred(i, status.term))
                seen.preferred_in = status.term;
            if (limits_.members_change) check_members(i, status);
            if (status.role == Role::leader) check_bookkeeping(i, status);
            check_order(i, status);
            check_memory(i, status);
            seen.finished_index = status.last_log_index;
            settle_acks(i);
        }
        seen.in_force_before = seen.in_force;
        ++seen.polls;
        just_applied_.clear();
        just_saved_.clear();
        just_committed_.clear();
        seen.log_changed = false;
        seen.term = status.term;
        seen.role = status.role;
        seen.commit_index = status.commit_index;
        seen.last_index = disk.log.last_index();
        seen.last_hash = *disk.log.hash_at(disk.log.last_index());
    }

    /// To be called by whoever changes a disk's log.
    void log_changed(std::size_t i) { seen_[i].log_changed = true; }

    /// When the cluster has come to rest, for each replica that lives.
    void rested(std::size_t i) {
        for (std::size_t number = 1; number < fates_.size(); ++number) {
            const Fate& fate = fates_[number];
            if (fate.replica != i || fate.incarnation != seen_[i].incarnation) continue;
            require(Law::exactly_one_final_state, fate.is_final(),
                    "a transition is left without a final state", i);
        }
        for (const ChangeFate& change : changes_) {
            bool own = change.replica == i && change.incarnation == seen_[i].incarnation;
            if (!own || !change.taken) continue;
            require(Law::changes_end_once, change.end.has_value(),
                    "a change of the members is left without an end", i);
        }
    }

    /// When all reads that were taken should have ended, for a replica that lives.
    void read_out(std::size_t i) {
        for (const ReadFate& read : reads_) {
            bool own = read.replica == i && read.incarnation == seen_[i].incarnation;
            if (!own || !read.taken) continue;
            require(Law::reads_see_commits, read.ended, "a read is left without an end", i);
        }
    }

    /// Of all that decides what may still go wrong: disks, what is committed, who led, who voted,
    /// what is promised. Replica order[k] is taken for the k-th, and rank_of says which k an id
    /// stands for.
    template <class Order, class RankOf>
    std::uint64_t fingerprint(const Order& order, RankOf rank_of) const {
        std::uint64_t hash = committed_.empty() ? 0 : committed_.back().mark.hash;
        for (const Committed& entry : committed_) hash = mix(hash, entry.known_in.value);
        std::uint64_t leaders = 0;  // In any order.
        for (const auto& [term, replica] : leaders_)
            leaders += mix(term.value, rank_of(id_of(replica)));
        hash = mix(hash, leaders);
        for (const Fate& fate : fates_) {
            std::uint64_t last = fate.last ? 1 + static_cast<std::uint64_t>(*fate.last) : 0;
            bool lives = fate.incarnation == seen_[fate.replica].incarnation;
            hash = mix(hash, last * 4 + (fate.taken ? 2U : 0U) + (lives ? 1U : 0U));
            if (lives && !fate.is_final()) hash = mix(hash, rank_of(id_of(fate.replica)));
        }
        for (std::size_t i : order) {
            const DiskImage& disk = disks_[i];
            const Seen& seen = seen_[i];
            hash = mix(hash, disk.term.value);
            hash = mix(hash, disk.voted_for ? rank_of(*disk.voted_for) : ~0ULL);
            hash = mix(hash, disk.log.base.index.value);
            hash = mix(hash, disk.log.last_index().value);
            hash =
                mix(hash, disk.log.marks.empty() ? disk.log.base_hash : disk.log.marks.back().hash);
            hash = mix(hash, seen.vote_term.value << 32 | seen.led_in.value);
            hash = mix(hash, seen.vote ? rank_of(*seen.vote) : ~0ULL);
            if (limits_.members_change) hash = mix(hash, number_of(membership(i)));
        }
        for (const ChangeFate& change : changes_) {
            std::uint64_t end = change.end ? 1 + static_cast<std::uint64_t>(*change.end) : 0;
            bool lives = change.incarnation == seen_[change.replica].incarnation;
            hash = mix(hash, number_of(Membership{change.wanted, {}}));
            hash = mix(hash, end * 8 + (change.taken ? 4U : 0U) + (change.committed ? 2U : 0U) +
                                 (lives ? 1U : 0U));
            hash = mix(hash, rank_of(id_of(change.replica)));
        }
        return hash;
    }

 private:
    static constexpr std::size_t replicas_max = 7;

    /// Who granted a candidate the vote, or the PreVote, in the latest term in which anybody did.
    struct Grants {
        ReplicaSet from = 0;
        Term term = {};
        void add(std::size_t i, Term in_term) {
            if (in_term < term) return;
            if (in_term > term) from = 0;
            term = in_term;
            from |= ReplicaSet{1} << i;
        }
        ReplicaSet in(Term in_term) const { return term == in_term ? from : 0; }
    };

    /// Of one replica, after its last poll.
    struct Seen {
        std::uint64_t incarnation = 0;
        Term term;
        Role role = Role::follower;
        Index commit_index;
        Index finished_index;          // The same, but of the last poll that came to its end.
        std::uint64_t unfinished = 0;  // Entries on disk that polls took in which did not.
        Index last_index;              // On disk.
        std::uint64_t last_hash = 0;
        Term vote_term;  // Of the last vote on disk.
        std::optional<ReplicaId> vote;
        std::array<Index, replicas_max> matches{};  // As leader, of each follower.
        std::array<Index, replicas_max> sent{};     // As leader, to each follower, ...
        Term sent_in;                               // ... in this term, ...
        std::array<Index, replicas_max> added{};    // ... and where it began with each.
        Grants prevotes;
        Grants votes;
        std::size_t first = 0;  // The membership that it had before there was a log.
        std::size_t in_force = 0;
        std::size_t in_force_before = 0;  // Within this poll.
        std::uint64_t polls = 1;          // Which one is on.
        std::uint64_t told_in_poll = 1;   // In which it was told what is in force.
        std::uint64_t asked_in_poll = 0;  // In which it was asked for a vote, or a later one.
        Term preferred_in;                // In which it last stood with a majority's PreVotes, ...
        Term preferred_in_poll;           // ... or may have, before other members were in force.
        Term handed_in;                   // The term whose leader told it to stand for election.
        Term led_in;                      // The last term in which it was seen to become leader.
        bool says_unknown = false;
        bool installed = false;
        bool log_changed = false;
    };

    void count(TransitionState state) {
        using enum TransitionState;
        if (state == abandoned_not_leader) ++coverage_[Event::abandoned_not_leader];
        if (state == abandoned_overloaded) ++coverage_[Event::abandoned_overloaded];
        if (state == abandoned_conflict_with_leader) ++coverage_[Event::abandoned_conflict];
        if (state == outcome_unknown) ++coverage_[Event::outcome_unknown];
    }

    /// Whether anyone else led, or leads, in that term. True: it is the first word of it.
    bool note_leader(std::size_t i, Term term) {
        for (std::size_t k = leaders_.size(); k > 0; --k) {
            if (leaders_[k - 1].first != term) continue;
            require(Law::election_safety, leaders_[k - 1].second == i, "a term has two leaders", i);
            return false;
        }
        leaders_.emplace_back(term, i);
        ++coverage_[Event::election_won];
        if (disks_.size() % 2 == 0) ++coverage_[Event::even_election_won];
        check_completeness(i, term);
        if (limits_.members_change) {
            ReplicaSet own = disks_[i].synced_vote == id_of(i) ? ReplicaSet{1} << i : 0;
            require(Law::votes_are_earned, in_force(i).is_majority(seen_[i].votes.in(term) | own),
                    "one leads whom no majority elected", i);
        }
        return true;
    }

    void check_role(std::size_t i, const Status& status) {
        Seen& seen = seen_[i];
        const LogImage& log = disks_[i].log;
        bool stays = seen.role == Role::leader && seen.term == status.term;
        if (seen.role == Role::leader && !(status.role == Role::leader && stays) &&
            seen.last_index > seen.commit_index) {
            ++coverage_[Event::leader_deposed_with_uncommitted];
        }
        if (status.role != Role::leader) return;
        if (!contains(in_force(i).all_voters(), i)) ++coverage_[Event::leader_removed];
        if (stays) {
            require(Law::leader_append_only,
                    log.last_index() >= seen.last_index &&
                        (seen.last_index < log.base.index ||
                         log.hash_at(seen.last_index) == seen.last_hash),
                    "a leader overwrites or deletes entries of its log", i);
            Index last = log.last_index();  // Of the transitions; memberships need no room.
            while (last > std::max(seen.last_index, log.base.index) && is_hidden(log[last].number))
                last = last - 1;
            if (last > seen.last_index) {
                require(Law::bounded_memory,
                        last - seen.commit_index <= limits_.uncommitted_entries,
                        "a leader holds more uncommitted entries than it may", i);
            }
            return;
        }
        note_leader(i, status.term);
        require(Law::election_safety, seen.led_in < status.term,
                "a leader is elected again in its own term", i);
        seen.led_in = status.term;
        seen.matches = {};
    }

    void check_completeness(std::size_t i, Term term) {
        const LogImage& log = disks_[i].log;
        Index complete{};
        for (std::size_t k = committed_.size(); k > 0 && complete == Index{}; --k) {
            if (committed_[k - 1].known_in < term) complete = Index{k};
        }
        if (complete == Index{}) return;
        require(Law::leader_completeness,
                complete <= log.base.index || log.hash_at(complete) == committed_hash(complete),
                "a leader lacks what was committed in an earlier term", i);
    }

    void check_commit(std::size_t i, const Status& status) {
        Seen& seen = seen_[i];
        const LogImage& log = disks_[i].log;
        // Whoever needs no other's vote may hear of a commit and then lead, all in one poll.
        bool heard = seen.role != Role::leader && status.commit_index.value <= committed_.size();
        if (status.role == Role::leader && status.commit_index > seen.commit_index && !heard) {
            leader_commits(i, status.commit_index, status.term);
        }
        if (status.commit_index.value > committed_.size()) {
            fail(Law::commit_rule, "a follower knows of a commit before any leader does", i);
            return;
        }
        if (status.commit_index != seen.commit_index) {
            require(Law::state_machine_safety,
                    log.hash_at(status.commit_index) == committed_hash(status.commit_index),
                    "a replica takes for committed what others know not to be", i);
        }
    }

    /// Whose disks hold the log up to there, whatever happens.
    ReplicaSet holders(Index index, std::uint64_t hash) const {
        ReplicaSet found = 0;
        for (std::size_t k = 0; k < disks_.size(); ++k) {
            const DiskImage& disk = disks_[k];
            bool holds = disk.log.base.index >= index ||
                         (index <= disk.synced_index && disk.log.hash_at(index) == hash);
            if (holds) found |= ReplicaSet{1} << k;
        }
        return found;
    }

    /// Safety of the commit itself: a majority has it on disk, and it is of the leader's term.
    void leader_commits(std::size_t i, Index index, Term term) {
        const LogImage& log = disks_[i].log;
        std::optional<std::uint64_t> hash = log.hash_at(index);
        if (!require(Law::commit_rule, hash.has_value(),
                     "a leader commits what it does not have on disk", i))
            return;
        ReplicaSet have = holders(index, *hash);
        // A change begins at the end of a poll, when what that commits is committed.
        std::size_t by = seen_[i].in_force;
        if (!electorates_[by].is_majority(have)) by = seen_[i].in_force_before;
        require(Law::commit_rule, electorates_[by].is_majority(have),
                "a leader commits what no majority has on disk", i);
        if (index > log.base.index) {
            require(Law::commit_rule, log.term_at(index) == term,
                    "a leader commits an entry of an earlier term by counting", i);
        }
        while (committed_.size() < index.value) {
            Index next{committed_.size() + 1};
            if (next <= log.base.index) {
                fail(Law::commit_rule, "a snapshot covers what is not committed", i);
                return;
            }
            commit(i, log[next], next, term, by);
        }
    }

    void commit(std::size_t i, const Mark& mark, Index index, Term term, std::size_t by) {
        std::uint64_t before = committed_.empty() ? 0 : committed_.back().applied_hash;
        std::uint64_t applied = is_hidden(mark.number) ? before : mix(before, mark.number);
        std::size_t membership = committed_.empty() ? 0 : committed_.back().membership;
        if (is_membership(mark.number)) membership = known(mark.number);
        committed_.push_back({mark, applied, term, membership, by});
        ++coverage_[Event::commit];
        if (is_membership(mark.number)) change_committed(i, membership);
        if (is_hidden(mark.number)) return;
        if (mark.number >= fates_.size()) {
            fail(Law::state_machine_safety, "what is committed was never proposed", i);
            return;
        }
        Fate& fate = fates_[mark.number];
        require(Law::committed_once, fate.committed_at == Index{},
                "a transition is committed twice", i);
        require(Law::exactly_one_final_state, !fate.is_abandoned(),
                "what was abandoned is committed", i);
        fate.committed_at = index;
    }

    void settle_acks(std::size_t i) {
        for (std::uint64_t number : just_acked_) {
            Index at = fates_[number].committed_at;
            require(Law::state_machine_safety, at != Index{}, "what is applied is not committed",
                    i);
        }
        just_acked_.clear();
    }

    void check_log_matching(std::size_t i) {
        const LogImage& mine = disks_[i].log;
        bool falls = !mine.marks.empty() && mine.marks.front().term < mine.base.term;
        for (std::size_t k = 1; k < mine.marks.size(); ++k)
            falls = falls || mine.marks[k].term < mine.marks[k - 1].term;
        require(Law::log_matching, !falls, "the terms of a log fall", i);
        for (std::size_t k = 0; k < disks_.size(); ++k) {
            if (k == i) continue;
            const LogImage& other = disks_[k].log;
            Index index = std::min(mine.last_index(), other.last_index());
            Index base = std::max(mine.base.index, other.base.index);
            while (index > base && mine.term_at(index) != other.term_at(index)) index = index - 1;
            // The last place with one term for both says all of what is before.
            if (index < base || mine.term_at(index) != other.term_at(index)) continue;
            if (index == Index{}) continue;
            require(Law::log_matching, mine.hash_at(index) == other.hash_at(index),
                    "two logs have an entry of one index and term, and differ before", i);
        }
    }

    void check_order(std::size_t i, const Status& status) {
        constexpr Law law = Law::order_of_indexes;
        require(law, status.snapshot.index <= status.last_applied,
                "a snapshot is of more than was applied", i);
        require(law, status.last_applied == status.commit_index,
                "a poll ends without applying what is committed", i);
        require(law, status.commit_index <= status.last_log_index,
                "the commit index is beyond the log", i);
        require(law, status.commit_index >= seen_[i].commit_index, "the commit index falls", i);
        LogPosition snapshot = status.snapshot;
        if (snapshot.index != Index{} && snapshot.index.value <= committed_.size()) {
            require(Law::state_machine_safety,
                    committed_[snapshot.index.value - 1].mark.term == snapshot.term,
                    "a snapshot's term is not that of its last entry", i);
        }
        require(law, status.first_log_index <= status.last_log_index + 1,
                "the log begins after its end", i);
    }

    void check_memory(std::size_t i, const Status& status) {
        if (limits_.snapshot_delta == 0) return;
        constexpr Law law = Law::bounded_memory;
        std::uint64_t kept = limits_.snapshot_delta + limits_.snapshot_trailing;
        Index base = status.first_log_index - 1;
        require(law, status.last_applied < base + std::max<std::uint64_t>(kept, 1),
                "more applied entries stay in the log than delta and trailing allow", i);
        std::uint64_t limit = limits_.uncommitted_entries + limits_.entries_per_message;
        // A leader that restarted knows of commits no more than its snapshot, and tells no more: a
        // follower that hears of them late may hold a delta more for each who led in between.
        std::uint64_t unaware = limits_.snapshot_delta * disks_.size();
        bool is_short = status.last_log_index.value <= committed_.size() + limit &&
                        status.last_log_index - base <= kept + limit + unaware;
        if (is_short) {
            seen_[i].unfinished = 0;
            return;
        }
        // Each new leader adds one entry of its own, whatever the limit.
        const LogImage& log = disks_[i].log;
        auto limit_after = [&](Index known) {
            std::uint64_t entries = limit;
            for (Index k = std::max(log.base.index, known) + 1; k <= log.last_index(); ++k) {
                bool counts = log[k].number != noop_number && log[k].number < fates_.size();
                entries += counts ? 0 : 1;
            }
            return entries;
        };
        Index committed{committed_.size()};
        require(law, status.last_log_index <= committed + limit_after(committed),
                "a log holds more uncommitted entries than any leader may add", i);
        // Those of leaders that could not commit may all be committed before it hears of one. And
        // where a process ends within a poll, what that took in is neither applied nor compacted.
        require(law,
                status.last_log_index - base <=
                    kept + limit_after(status.commit_index) + unaware + seen_[i].unfinished,
                "the log is longer than snapshots and limits allow", i);
    }

    /// How far a leader had sent its log to this receiver, which it now sends up to `end`. It may
    /// begin with the end of the log with which it was elected, and what it has compacted is gone.
    template <class Message>
    Index sent_up_to(std::size_t i, const Message& message, Index end) {
        Seen& seen = seen_[i];
        if (seen.sent_in != message.term) {
            seen.sent_in = message.term;
            for (std::size_t k = 0; k < replicas_max; ++k)
                seen.sent[k] = std::max(disks_[i].log.last_index(), seen.added[k]);
        }
        Index& sent = seen.sent[replica_of(message.to) % replicas_max];
        Index before = std::max(sent, seen.commit_index);
        sent = std::max(sent, end);
        return before;
    }

    /// A leader tells nobody to lead whose log is not its own. What both have on disk may be more.
    template <class T, class D, class Config>
    void hand_over(std::size_t i, const Message<T, D, Config>& message) {
        std::size_t to = replica_of(message.to);
        if (to >= seen_.size()) return;                                     // A stranger.
        seen_[to].handed_in = std::max(seen_[to].handed_in, message.term);  // One may be late.
        if (disks_[to].term > message.term) return;  // It has heard of another, durably or not.
        const LogImage& own = disks_[i].log;
        const LogImage& other = disks_[to].log;
        Index last = own.last_index();
        require(Law::votes_are_earned,
                seen_[i].role == Role::leader && seen_[i].term == message.term,
                "one that does not lead hands over", i);
        require(Law::votes_are_earned,
                other.last_index() >= last && other.hash_at(last) == own.hash_at(last),
                "a leader hands over to one whose log is not its own", i);
    }
    bool was_handed(std::size_t i, Term term) const {
        return seen_[i].handed_in > Term{} && seen_[i].handed_in.value + 1 == term.value;
    }
    bool was_preferred(std::size_t i, Term term) const {
        ReplicaSet others = seen_[i].prevotes.in({term.value - 1});
        const Seen& seen = seen_[i];
        return seen.preferred_in == term || seen.preferred_in_poll == term ||
               in_force(i).is_majority(others | ReplicaSet{1} << i);
    }

    // ----- Members

    std::size_t known(std::uint64_t number) const {
        for (std::size_t k = memberships_.size(); k > 0; --k)
            if (numbers_[k - 1] == number) return k - 1;
        return 1;  // Nobody's.
    }

    /// Where the last one up to an index is; at or before the log's base, if it is not in the log.
    Index last_membership_at(std::size_t i, Index index) const {
        const LogImage& log = disks_[i].log;
        while (index > log.base.index && !is_membership(log[index].number)) index = index - 1;
        return index;
    }
    std::size_t membership_at(std::size_t i, Index index) const {
        const LogImage& log = disks_[i].log;
        if (index > log.base.index) return known(log[index].number);
        if (log.base.index == Index{}) return seen_[i].first;
        return committed_[log.base.index.value - 1].membership;
    }

    /// Whether replica i has a vote in a membership that it must take into account.
    bool may_stand(std::size_t i) const {
        const LogImage& log = disks_[i].log;
        Index commit = std::max(seen_[i].commit_index, log.base.index);
        for (Index k = last_membership_at(i, log.last_index());; k = last_membership_at(i, k - 1)) {
            if (contains(electorates_[membership_at(i, k)].all_voters(), i)) return true;
            if (k <= commit) return false;
        }
    }

    void check_members(std::size_t i, const Status& status) {
        constexpr Law law = Law::last_membership_in_force;
        const LogImage& log = disks_[i].log;
        // What it took in at the end of the poll it writes in the next.
        if (status.last_log_index == log.last_index()) {
            std::size_t last = membership_at(i, last_membership_at(i, log.last_index()));
            require(law, seen_[i].in_force == last,
                    "another membership is in force than the last one in the log", i);
        }
        Electorate used;
        for (const Progress& peer : status.progress) {
            ReplicaSet bit = ReplicaSet{1} << replica_of(peer.id) % 32;
            if (peer.votes) used.voters |= bit;
            if (peer.votes_outgoing) used.outgoing |= bit;
        }
        require(law, used.voters == in_force(i).voters && used.outgoing == in_force(i).outgoing,
                "votes are counted of others than the membership in force says", i);
        for (const auto& [index, which] : just_applied_) {
            bool right = index.value > 0 && index.value <= committed_.size() &&
                         committed_[index.value - 1].mark.number == numbers_[which];
            require(Law::changes_end_once, right, "a membership is called applied that is not", i);
        }
        for (const auto& [index, which] : just_saved_) {
            require(
                law,
                index.value <= committed_.size() && committed_[index.value - 1].membership == which,
                "a snapshot has another membership than the log up to there", i);
        }
        for (std::size_t change : just_committed_) {
            require(Law::changes_end_once, changes_[change].committed,
                    "a change of the members is called committed that is not", i);
        }
        bool stands = status.role == Role::pre_candidate || status.role == Role::candidate;
        // Whoever is asked for a vote since is a voter to somebody, and may be needed as a leader.
        bool asked = seen_[i].asked_in_poll >= seen_[i].told_in_poll;
        require(law, !stands || may_stand(i) || asked,
                "one stands for election who has no vote in any membership that may count", i);
        if (status.role == Role::leader) check_new_memberships(i, status);
    }

    void check_new_memberships(std::size_t i, const Status& status) {
        constexpr Law law = Law::members_change_in_order;
        const LogImage& log = disks_[i].log;
        for (Index k = std::max(seen_[i].last_index, log.base.index) + 1; k <= log.last_index();
             ++k) {
            if (log[k].term != status.term) continue;
            bool begins = log.term_at(k - 1) < status.term;
            require(law, !begins || is_membership(log[k].number),
                    "a leader begins with another entry than the membership", i);
            if (!is_membership(log[k].number)) continue;
            Index before = last_membership_at(i, k - 1);
            const Membership& last = memberships_[membership_at(i, before)];
            const Membership& next = memberships_[known(log[k].number)];
            if (begins) {
                require(law, same(last, next), "a leader begins with a membership of its own", i);
                continue;
            }
            require(law, before <= status.commit_index,
                    "the members change while the last change may still be overruled", i);
            if (!last.outgoing.empty()) {
                ++coverage_[Event::joint_left];
                require(law, same(next, Membership{last.members}),
                        "a joint membership is not left for its members", i);
                continue;
            }
            ++coverage_[Event::change_begun];
            if (promotes(last.members, next.members)) ++coverage_[Event::learner_promoted];
            require(law, same(next.outgoing, last.members),
                    "a change begins without those who are members", i);
            const ChangeFate* change = change_to(next.members, i);
            require(
                law,
                change && change->replica == i && change->taken &&
                    change->end.value_or(TransitionState::committed) == TransitionState::committed,
                "the members change though nobody asked for it here", i);
            require(law, Electorate::of(next).voters != 0, "nobody has a vote after a change", i);
        }
    }

    static bool promotes(const std::vector<Member>& from, const std::vector<Member>& to) {
        Electorate before = Electorate::of({from});
        return (before.members & ~before.voters & Electorate::of({to}).voters) != 0;
    }

    /// The latest that was asked of replica i, or else of another: but for that of nobody, no two
    /// ask for the same, to the letter.
    ChangeFate* change_to(const std::vector<Member>& members, std::size_t i) {
        ChangeFate* found = nullptr;
        for (ChangeFate& change : changes_) {
            if (same(change.wanted, members) &&
                (!found || found->replica != i || change.replica == i))
                found = &change;
        }
        return found;
    }

    void change_committed(std::size_t i, std::size_t membership) {
        ChangeFate* change = change_to(memberships_[membership].members, i);
        if (!change) return;  // The founders.
        require(Law::changes_end_once,
                !change->end || *change->end == TransitionState::committed ||
                    *change->end == TransitionState::outcome_unknown,
                "a change of the members that was abandoned is committed", i);
        change->committed = true;
    }

    void change_ended(std::size_t i, const Membership& membership, TransitionState state) {
        using enum TransitionState;
        constexpr Law law = Law::changes_end_once;
        ChangeFate* change = change_to(membership.members, i);
        if (!require(law, change != nullptr, "a change of the members ends that nobody wanted", i))
            return;
        bool own = change->replica == i && change->incarnation == seen_[i].incarnation;
        require(law, own && change->taken, "a change of the members ends where it was not taken",
                i);
        require(law, !change->end, "a change of the members ends twice", i);
        change->end = state;
        bool refused = state == abandoned_not_leader || state == abandoned_malformed;
        bool begun = state == committed || state == abandoned_conflict_with_leader ||
                     state == outcome_unknown;
        require(law, membership.outgoing.empty() ? refused : begun,
                "a change of the members ends in a state that does not fit", i);
        require(law,
                (Electorate::of(membership).voters == 0) == (state == abandoned_malformed) ||
                    state == abandoned_not_leader,
                "a change of the members is taken for malformed, or is and is not", i);
        require(law, !change->committed || state == committed || state == outcome_unknown,
                "what is committed is called abandoned", i);
        if (state == committed)
            just_committed_.push_back(static_cast<std::size_t>(change - changes_.data()));
        if (state == outcome_unknown) seen_[i].says_unknown = true;
        ++coverage_[refused                    ? Event::change_refused
                    : state == committed       ? Event::change_committed
                    : state == outcome_unknown ? Event::change_unknown
                                               : Event::change_overruled];
    }

    void check_bookkeeping(std::size_t i, const Status& status) {
        constexpr Law law = Law::leader_bookkeeping;
        const LogImage& log = disks_[i].log;
        require(law, status.leader == id_of(i), "a leader takes another for the leader", i);
        for (const Progress& peer : status.progress) {
            std::size_t k = replica_of(peer.id);
            if (k >= disks_.size()) {
                fail(law, "a leader knows a stranger", i);
                return;
            }
            const DiskImage& disk = disks_[k];
            require(law, !peer.lost, "a leader takes a disk for lost that lost nothing", i);
            require(law, peer.match_index <= status.last_log_index,
                    "a match index is beyond the leader's log", i);
            if (k == i) {
                // A snapshot of its own may be durable before the log that it covers is.
                require(law, peer.match_index <= std::max(disk.synced_index, status.snapshot.index),
                        "a leader counts what its own disk does not have", i);
                continue;
            }
            require(law, peer.next_index > peer.match_index,
                    "a leader sends again what is known to match", i);
            require(Law::bounded_memory, peer.inflight.size() <= limits_.inflight_messages,
                    "more messages are on their way to a follower than may be", i);
            require(Law::bounded_memory,
                    peer.inflight_bytes < limits_.inflight_bytes + limits_.bytes_per_message,
                    "more bytes are on their way to a follower than may be", i);
            Index& highest = seen_[i].matches[k % replicas_max];
            require(law, peer.match_index >= highest, "a match index falls", i);
            highest = peer.match_index;
            // One that went on to a later term may have replaced what it once acknowledged.
            if (disk.term != status.term || peer.match_index == Index{}) continue;
            Index match = peer.match_index;
            bool compacted = match <= disk.log.base.index || match < log.base.index;
            require(law,
                    compacted || (match <= disk.synced_index &&
                                  disk.log.hash_at(match) == log.hash_at(match)),
                    "a leader believes a follower to have what it has not", i);
        }
    }

    Limits limits_;
    std::vector<DiskImage> disks_;
    std::vector<Seen> seen_;
    std::vector<Fate> fates_;
    std::vector<ReadFate> reads_;
    std::vector<Committed> committed_;
    std::vector<std::pair<Term, std::size_t>> leaders_;
    std::vector<std::uint64_t> just_acked_;
    std::vector<Membership> memberships_;  // The founders', nobody's, and all that were seen;
    std::vector<Electorate> electorates_;  // ... and who is in them.
    std::vector<std::uint64_t> numbers_;
    std::vector<ChangeFate> changes_;
    std::vector<std::pair<Index, std::size_t>> just_applied_;  // In this poll, memberships,
    std::vector<std::pair<Index, std::size_t>> just_saved_;    // ... those of snapshots,
    std::vector<std::size_t> just_committed_;                  // ... and changes.
    std::optional<Failure> failure_;
    Coverage coverage_;
};

}  // namespace little_raft::testing
