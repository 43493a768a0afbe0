// little_raft: Raft consensus in one C++20 header, with no dependency but the standard library.
//
//     struct Add { std::uint64_t id; int amount; std::uint64_t get_id() const { return id; } };
//
//     struct Counter {
//         using Transition = Add;
//         void register_transition_state(std::uint64_t id, little_raft::TransitionState state);
//         void apply_transition(const Add& add) { value += add.amount; }
//         std::vector<Add> get_pending_transitions() { return std::exchange(pending, {}); }
//         std::vector<Add> pending;
//         int value = 0;
//     };
//
//     little_raft::Replica replica{id, peer_ids, network, counter};  // network: a Cluster
//     replica.start(notifier);                // blocks until network.halt(), or drive it yourself:
//     auto deadline = replica.poll(now);
//
// Contents: 1 configuration, 2 vocabulary, 3 messages, 4 concepts (what you write), 5 options,
// 6 log, 7 quorum, 8 progress, 9 status and Notifier, 10 Replica: public face; start and stop;
// messages and terms; roles and elections; replication as leader; replication as follower; commit
// and apply; reads; membership; snapshots; durability; state.
//
// How to read it: sections 2 and 3 are Figure 2 of the paper. Sections 6 to 8 know nothing of
// Replica and can be read alone; but for Progress they are not meant to be used from outside. Then
// read Replica::poll, which names every step in its order, and follow one message through handle()
// and on().
//
// References: [Raft] D. Ongaro, J. Ousterhout, "In Search of an Understandable Consensus Algorithm
// (Extended Version)", 2014. [PhD] D. Ongaro, "Consensus: Bridging Theory and Practice", 2014.
// Wherever the code departs from them, the comment begins with "Deviates:". "Safety:" marks what
// would break correctness, "Liveness:" what would only slow or stop progress.
//
// What it does beyond the paper: PreVote, CheckQuorum and leader stickiness, so that a replica that
// cannot win disturbs nobody and a leader that cannot commit makes way; replication that does not
// wait for answers, in a window; hints that skip a whole term of conflicting entries; the leader's
// disk beside its followers', not before them, and disks that take their time; snapshots that go on
// after a loss; leadership handed over without a gap, by a leader that is removed, too;
// linearizable reads without entries, on every replica; word of a disk that lost what it had
// acknowledged.
//
// The core has no clock, thread, I/O, random device or global: the same calls with the same
// arguments give the same results on every compiler and standard library. It neither throws nor
// catches, and it needs no run-time type information.
//
// SPDX-License-Identifier: MIT
#ifndef LITTLE_RAFT_HPP
#define LITTLE_RAFT_HPP

#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

// ===== 1 Configuration ===========================================================================

/// The version, as "major.minor.patch"; the build systems read it from this line.
#define LITTLE_RAFT_VERSION "0.1.0"

/// Stops the process when something that must hold does not: an invariant of this library or a
/// promise of your types. It is never reached through what a network or a disk delivers. Active in
/// release builds too; define it before including this header to report in your own way.
#ifndef LITTLE_RAFT_ASSERT
#define LITTLE_RAFT_ASSERT(holds, why) \
    ((holds) ? void() : (std::fputs("little_raft: " why ": " #holds "\n", stderr), std::abort()))
#endif

namespace little_raft {
inline namespace v0 {

/// An entry that no state machine sees: a new leader's first one. It takes a place in the log like
/// any other. Where members change, a Membership stands in its stead.
struct Noop {};

namespace detail {
template <class M>
typename M::SnapshotData snapshot_data_of(M*);
Noop snapshot_data_of(...);
template <class M>
using SnapshotDataOf = decltype(snapshot_data_of(static_cast<M*>(nullptr)));

template <class M>
typename M::Read read_of(M*);
Noop read_of(...);

/// A vector, or a reference to one.
template <class V, class T>
concept VectorOf = std::same_as<std::remove_reference_t<V>, std::vector<T>>;

// <algorithm> costs more to include than the rest of this header, so these two stand here.
constexpr auto least(auto a, auto b) { return b < a ? b : a; }
constexpr auto greatest(auto a, auto b) { return a < b ? b : a; }

/// Data that can be cut into chunks and joined again: a string or vector of single bytes.
template <class D>
concept ByteString = requires(D& data, const D& chunk) {
    requires sizeof(*chunk.data()) == 1;
    data.insert(data.end(), chunk.data(), chunk.data() + chunk.size());
};

// Data of any other type have no size and travel whole.
constexpr std::uint64_t size_in_chunks(const auto&) { return 0; }
constexpr std::uint64_t size_in_chunks(const ByteString auto& data) { return data.size(); }

/// Puts at most `max` bytes of `from`, those at `offset` and after, behind what is in `to`.
void add_chunk(auto& to, const auto& from, std::uint64_t, std::uint64_t) { to = from; }
void add_chunk(ByteString auto& to, const auto& from, std::uint64_t offset, std::uint64_t max) {
    const auto* begin = from.data() + offset;
    to.insert(to.end(), begin, begin + least(from.size() - offset, max));
}
}  // namespace detail

// ===== 2 Vocabulary ==============================================================================
// ReplicaId, Term and Index are types of their own: none converts to another or to an integer. To
// take a term for an index is the classic slip in this field, and here it does not compile.

/// Names one replica of a cluster for as long as its memory lasts; you choose the values. A replica
/// that lost its disk, or that ran without a Storage and was restarted, needs a new one.
struct ReplicaId {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(const ReplicaId&, const ReplicaId&) = default;
};

/// A term, Raft's logical clock: each begins with an election and has at most one leader
/// [Raft 5.1]. 0 comes before every election; terms of 2^62 and above are taken for garbage.
struct Term {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(const Term&, const Term&) = default;
};

/// A position in the log. The first entry has index 1; 0 is the place before it. Indexes never
/// begin anew: a log that was cut by a snapshot goes on counting.
struct Index {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(const Index&, const Index&) = default;
    friend constexpr Index operator+(Index i, std::uint64_t count) { return {i.value + count}; }
    friend constexpr Index operator-(Index i, std::uint64_t count) { return {i.value - count}; }
    friend constexpr std::uint64_t operator-(Index a, Index b) { return a.value - b.value; }
    constexpr Index& operator++() { return ++value, *this; }
};

/// A place in the log together with the term of the entry there. Two logs that hold the same
/// position are equal up to it: the Log Matching Property [Raft 5.3]. So a position names a whole
/// history, and that is what replicas compare.
///
/// Of two logs the one whose last position is greater is more up to date: by the term first, then
/// by the index [Raft 5.4.1].
struct LogPosition {
    Term term;
    Index index;
    friend constexpr auto operator<=>(const LogPosition&, const LogPosition&) = default;
};

/// Time enters through Replica::poll alone. Any clock will do that never falls and is not negative;
/// start() has this.
///
/// A follower's question to its leader is known by when it was asked, so one that starts again must
/// not be given the readings of its last life, nor such as follow one of these by two ticks for
/// each poll that had it: nanoseconds since the machine started differ, frames counted since the
/// process did need not.
using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
using Duration = Clock::duration;
/// Time::max(), which poll() returns when nothing will ever be due.
inline constexpr Time never = (Time::max)();  // In parentheses, or Windows' macro would take it.

/// What became of a transition. Each one that was taken from get_pending_transitions ends, on the
/// replica that took it, in exactly one of the five from `applied` on, as long as it is polled and
/// hears of what is committed (who was removed may not); `applied` is also reported on every other
/// replica that applies it. A replica that restarts has forgotten what it took: whoever needs to
/// know asks the machine's state.
///
///     queued -> committed -> applied          abandoned_not_leader
///        |-> abandoned_conflict_with_leader   abandoned_overloaded
///        '-> outcome_unknown
enum class TransitionState {
    queued,                          ///< The leader appended it to its log. Not final.
    committed,                       ///< It can no longer be lost. Not final.
    applied,                         ///< apply_transition was called with it, just before this.
    abandoned_not_leader,            ///< It never entered the log: this replica is not the leader.
    abandoned_overloaded,            ///< It never entered the log: too much is uncommitted already.
    abandoned_conflict_with_leader,  ///< A new leader's entry replaced it: it will never commit.
    /// It may or may not have been applied: a snapshot took the place of the log that held it, or
    /// this replica stopped with a fault.
    outcome_unknown,
    abandoned_malformed,  ///< Of a Membership only: nobody has a vote in it.
};

/// One replica of a Membership.
struct Member {
    ReplicaId id;
    std::string address = {};  ///< How to reach it: replicated for your Cluster, never read here.
    bool learner = false;      ///< It is sent everything, and has no vote [PhD 4.2.1].
};

/// Who belongs to the cluster; whoever is named twice is one member, and has a vote if either has.
/// While one set changes into another it is joint: whatever takes a majority takes one of the
/// voters in `members` and one of those in `outgoing`, the members of before [PhD 4.3].
struct Membership {
    std::vector<Member> members;
    std::vector<Member> outgoing = {};  ///< Empty where no change is under way.
};

/// What became of a membership, in the words for transitions. Every replica is told of these:
/// - queued: it is in force here, since it was stored, appended or restored, or is the last one in
///   the log again. What a snapshot brings is told as this alone.
/// - applied: it can no longer be lost. If nothing is outgoing, no change is under way any more.
///
/// A change ends, on the replica that was asked for it, in exactly one of these, as long as that is
/// polled and hears of what is committed. But for a refusal they come with the joint membership.
/// - committed: it can no longer be lost, and so the change will be made.
/// - abandoned_not_leader, abandoned_malformed: it was refused.
/// - abandoned_conflict_with_leader: a new leader overruled it: it will never be made.
/// - outcome_unknown: as for transitions.
using MembershipState = TransitionState;

/// The state of a StateMachine after the entry at last_included.index [Raft 7]. It stands for that
/// entry and for all before it.
template <class D, class Config = Noop>
struct Snapshot {
    LogPosition last_included;
    D data;
    [[no_unique_address]] Config membership = {};  ///< In force at that entry.
};

/// A log entry [Raft Figure 2]. Its term is that of the leader that appended it, and stays, whoever
/// replicates it later: this is how logs are told apart. Its index is its place in the log or in
/// the message.
template <class T, class Config = Noop>
struct Entry {
    Term term;
    std::variant<Config, T> command;
};

// ===== 3 Messages ================================================================================
// Plain aggregates, so that any serialization library can write them. There is no request that
// waits for its response: each message stands for itself, may be lost, repeated or overtaken, and
// is told by its term and its indexes what it still means when it arrives. A Time in them is only
// ever compared by the replica whose clock it is of; it travels as time_since_epoch().count().
//
//     candidate   RequestVote ------------->  every other replica
//                 <----- RequestVoteResponse
//     leader      AppendEntries ----------->  follower
//                 <--- AppendEntriesResponse
//                 InstallSnapshot --------->  a follower that lacks what the log no longer has
//                 <--- AppendEntriesResponse
//                 TimeoutNow -------------->  the follower that is to lead

/// [Raft Figure 2, RequestVote RPC]. With pre_vote the question is only whether the vote would be
/// granted in the next term, which the sender has not entered yet [PhD 9.6].
struct RequestVote {
    bool pre_vote = false;
    LogPosition last_log;   ///< Where the candidate's log ends: it must not lack what is committed.
    bool transfer = false;  ///< The leader itself asked for this election, so it may be deposed.
};

struct RequestVoteResponse {
    bool pre_vote = false;  ///< Which question this answers.
    bool vote_granted = false;
};

/// [Raft Figure 2, AppendEntries RPC]. Without entries it is a heartbeat, a probe or news of a
/// commit: there is one path for all.
template <class T, class Config = Noop>
struct AppendEntries {
    LogPosition prev_log;  ///< The entry just before these: the follower must hold the same one.
    Index leader_commit;   ///< Not capped: the follower takes of it what it can verify.
    std::vector<Entry<T, Config>> entries;  ///< Those at prev_log.index + 1 and on.
    /// When it was sent, by the leader's clock. It rises from poll to poll, and whoever brings it
    /// back has heard that the sender leads at that time or later.
    Time sent = {};
    /// Answers a follower's question: its reads may see the state at leader_commit. Time{}: none is
    /// answered. `never`: this is mere news of a commit, which is not answered in its turn.
    Time read = {};
};

/// Answers AppendEntries. Deviates: InstallSnapshot too, since a follower that lacks the beginning
/// of the log has the same to say, whatever it is sent. A follower's question comes unasked.
struct AppendEntriesResponse {
    bool success = false;
    /// On success: the follower's durable log equals the leader's up to here. Otherwise: where it
    /// does not, the prev_log or last_included that was refused.
    Index match_index;
    /// When refused: the last entry that the leader might share, as far as the follower can tell.
    LogPosition hint;
    /// When refused: how many bytes of the leader's snapshot have arrived in order.
    std::uint64_t snapshot_offset = 0;
    Time heard = {};  ///< The latest `sent` of this leader that has arrived.
    /// Asks from where on reads on this follower are linearizable; a number of its own for the
    /// question, by its clock. Time{}: no question.
    Time read = {};
};

/// [Raft Figure 13, InstallSnapshot RPC]. Where the machine's data is a string of bytes, one chunk
/// of it: the next is sent when this one is answered. Other data come whole, with offset 0.
template <class D, class Config = Noop>
struct InstallSnapshot {
    LogPosition last_included;
    std::uint64_t offset = 0;  ///< Bytes before this chunk.
    D data;
    bool done = false;
    Time sent = {};                                ///< As in AppendEntries.
    [[no_unique_address]] Config membership = {};  ///< As in Snapshot.
};

/// From a leader that hands over, to whom it hands over: stand for election at once [PhD 3.10].
struct TimeoutNow {};

/// What a Cluster carries. It is trusted: who could have written it is for the transport to check.
/// `term` is the sender's current term [Raft 5.1].
template <class T, class D, class Config = Noop>
struct Message {
    ReplicaId from;
    ReplicaId to;
    Term term;
    std::variant<RequestVote, RequestVoteResponse, AppendEntries<T, Config>, AppendEntriesResponse,
                 InstallSnapshot<D, Config>, TimeoutNow>
        body;
};

/// The Message of replicas that run the state machine M: MessageOf<M, Membership> where the members
/// can change.
template <class M, class Config = Noop>
using MessageOf = Message<typename M::Transition, detail::SnapshotDataOf<M>, Config>;

// ===== 4 Concepts: what you write ================================================================
// A Replica calls these from the thread that polls it and from no other. None may block for long,
// throw, or call the Replica. A type that has only a part of an optional concept does not compile.
//
// The Replica pulls: other threads put their transitions and messages into your objects, under your
// locks, and wake it with Notifier::notify(). It holds no lock while it calls you.

/// What is replicated. It is copied freely. get_id() tells one transition from another in
/// register_transition_state; the library only keeps it and hands it on, so it is a value of its
/// own or a reference to one, not a view or a pointer into the transition. An optional `get_size()`
/// says how many bytes a transition owns beyond its sizeof, for the limits in Options.
template <class T>
concept Transition = std::copyable<T> && requires(const T& transition) {
    { transition.get_id() } -> std::equality_comparable;
    requires !std::same_as<decltype(transition.get_id()), std::string_view>;
};

/// The state that is replicated. Equal sequences of apply_transition must make equal machines.
/// - register_transition_state: tells what became of a transition; see TransitionState.
/// - apply_transition: called once for each committed transition, in the log's order [Raft 5.3].
///   Whatever it decides must follow from the state and the transition alone.
/// - get_pending_transitions: hands over, once, what is to be replicated; called in each poll
///   but while a leader hands over. A vector, or, so that nothing is allocated, a reference to one
///   that you clear and fill again; it must not change while states are registered.
template <class M, class T = typename M::Transition>
concept StateMachine = requires(M& machine, const T& transition, TransitionState state) {
    requires Transition<T>;
    machine.register_transition_state(transition.get_id(), state);
    machine.apply_transition(transition);
    { machine.get_pending_transitions() } -> detail::VectorOf<T>;
};

/// Optional for a StateMachine: the log stays short, and a follower that is far behind catches up
/// [Raft 7]. `SnapshotData` is your type; a string or vector of bytes travels in chunks, any other
/// type as a whole.
/// - create_snapshot: saves the present state under that index and term, durably where a Storage is
///   used, before it returns.
/// - get_snapshot: gives back the last one saved or set, always the same data for the same index;
///   called once at start, and when a follower needs it.
/// - set_snapshot: replaces the whole state, and saves the snapshot as create_snapshot does. Also
///   called at start, with what get_snapshot gave.
/// Where the Cluster is Reconfigurable, Config is Membership: a Snapshot has one then, and
/// create_snapshot gets it last, to save it with the state.
template <class M, class... Config>
concept Snapshotting = requires(M& machine, Config... config,
                                const Snapshot<typename M::SnapshotData, Config...>& taken) {
    requires std::semiregular<typename M::SnapshotData>;
    { machine.get_snapshot() } -> std::same_as<std::optional<std::decay_t<decltype(taken)>>>;
    { machine.create_snapshot(Index{}, Term{}, config...) } -> std::same_as<decltype(taken.data)>;
    machine.set_snapshot(taken);
};

/// Optional for a StateMachine: reads that see all that was committed before they came, on any
/// replica, without an entry in the log [PhD 6.4]. `Read` is your type. Each read ends in one of
/// the last two, as long as the replica is polled.
/// - get_pending_reads: hands over, once, what is to be read, as get_pending_transitions does.
///   Called in each poll, but while the last ones are not answered: so any number cost one round.
/// - apply_read: the state is now one that the read may see.
/// - abandon_read: no leader is known, or it was lost meanwhile. Try again, or elsewhere.
template <class M>
concept LinearizableReads = requires(M& machine, const typename M::Read& read) {
    requires std::copyable<typename M::Read>;
    { machine.get_pending_reads() } -> detail::VectorOf<typename M::Read>;
    machine.apply_read(read);
    machine.abandon_read(read);
};

/// The way to the other replicas. Messages may be lost, repeated, delayed and reordered; what
/// arrives must be what a replica sent, so a transport authenticates and checks its frames.
/// - send_message: must not block; may fail silently.
/// - receive_messages: hands over, once, what has arrived, in a vector or a reference to one, as
///   get_pending_transitions does; it must not change while messages are sent; must not block.
/// - halt: asked by start() after each poll; true ends it.
/// - register_leader: called when the leader known to this replica changes; nothing: none is.
/// - register_lost_disk(ReplicaId), optional: on a leader, when a replica turns out not to have
///   what it acknowledged; see Progress::lost.
template <class C, class M, class Config = Noop>
concept Cluster = requires(C& cluster, const C& asked, std::optional<ReplicaId> leader) {
    cluster.send_message(ReplicaId{}, std::declval<MessageOf<M, Config>>());
    { cluster.receive_messages() } -> detail::VectorOf<MessageOf<M, Config>>;
    { asked.halt() } -> std::convertible_to<bool>;
    cluster.register_leader(leader);
};

/// Optional for a Cluster: a leader hands over to another, for maintenance say [PhD 3.10].
/// - get_pending_transfer: hands over, once, who shall lead; called in each poll, and of no effect
///   but on a leader. It takes no transitions until the other leads, or for an election timeout at
///   most: then it goes on itself. A wish that comes meanwhile is of no effect. register_leader
///   tells when another leads.
template <class C>
concept LeadershipTransfer = requires(C& cluster) {
    { cluster.get_pending_transfer() } -> std::same_as<std::optional<ReplicaId>>;
};

/// Optional for a Cluster: its members change while it works, any set to any other [PhD 4].
/// - get_pending_membership: hands over, once, who shall be the members (`outgoing` is not read).
///   A leader asks only when a change can begin, so changes wait for each other, and for a new
///   leader to find its feet; who does not lead asks in each poll, and refuses.
/// - register_membership: tells what became of a membership; see MembershipState. Its addresses say
///   how to reach members that are new.
template <class C>
concept Reconfigurable = requires(C& cluster, const Membership& membership, MembershipState state) {
    { cluster.get_pending_membership() } -> std::same_as<std::optional<Membership>>;
    cluster.register_membership(membership, state);
};

/// What a Storage gives back at start. As constructed: a replica that never ran.
template <class T, class Config = Noop>
struct StoredState {
    Term term;
    std::optional<ReplicaId> voted_for;
    LogPosition last_included;              ///< As in the last compact().
    std::vector<Entry<T, Config>> entries;  ///< The log from last_included.index + 1 on.
};

/// In place of a Storage: nothing outlives the process. Safety: a replica that ran this way and
/// stopped has forgotten its vote and what it acknowledged, so it must never come back under the
/// same ReplicaId.
struct Volatile {};
inline Volatile volatile_storage;

/// Optional: keeps term, vote and log across restarts [Raft Figure 2, persistent state]. Each is
/// called at most once in a poll, and then one sync(). A write need not be durable before sync();
/// after a crash, the writes that survive must be all those up to some moment, not before the last
/// sync that returned true. A log that a crash tore is cut there; a log damaged elsewhere is for
/// the Storage to notice and not to load.
/// - load: called once, before anything else. Safety: what it returns is durable. Where the last
///   process ended between a write and its sync, load makes that write durable or drops it.
/// - save_vote: term and vote change together or not at all.
/// - append: the log now holds these entries at first_index and after, and nothing behind them. So
///   it also cuts off what a new leader overruled.
/// - compact: what is at or before last_included may go; if the log holds no entry with that index
///   and term, all of it must, since a snapshot has replaced it.
/// - sync: true once everything written is durable. False is final and stops the replica with a
///   fault, since a second fsync that succeeds proves nothing about the first. A Storage that syncs
///   beside the replica returns a std::optional, with nothing while it is at it: then each poll
///   asks again, and calls nothing else meanwhile. See that the replica is polled when it has
///   ended.
template <class S, class T, class Config = Noop>
concept Storage = requires(S& storage, std::optional<ReplicaId> vote) {
    { storage.load() } -> std::same_as<StoredState<T, Config>>;
    storage.save_vote(Term{}, vote);
    storage.append(Index{}, std::declval<const std::vector<Entry<T, Config>>&>());
    storage.compact(LogPosition{});
    { std::optional(storage.sync()) } -> std::same_as<std::optional<bool>>;
};

// ===== 5 Options =================================================================================

/// The bounds between which each election timeout is drawn, anew with each role and each term, so
/// that two replicas that asked for votes together do not do so again [Raft 5.2]. So they lie some
/// round trips apart: replicas that are polled in step and time out in step elect nobody.
struct ElectionTimeoutRange {
    Duration min = std::chrono::milliseconds(500);
    Duration max = std::chrono::milliseconds(1000);
};

/// How a Replica behaves. All replicas of a cluster should agree on the first two. Timeouts that
/// cannot work are a fault; so is 0 for a limit, but for a limit of bytes that a single entry may
/// exceed: then it is one at a time.
template <class M>
struct Options {
    /// A leader lets each follower hear from it at least this often. A few round trips.
    Duration heartbeat_timeout = std::chrono::milliseconds(50);
    /// A follower that hears nothing for this long asks for votes; a leader that no majority
    /// answers for the upper bound (from when it was asked to hand over, or began a change of the
    /// members, if that is later) stands down. Well above heartbeat_timeout [Raft 5.6].
    ElectionTimeoutRange election_timeout_range = {};
    /// A snapshot is taken when this many entries were applied since the last; 0: never.
    std::uint64_t snapshot_delta = 10'000;
    /// Applied entries that stay in the log behind a snapshot, so that slow followers rarely need
    /// it. Liveness: what is written while a snapshot travels should fit, or a follower on a slow
    /// link needs the next snapshot as soon as it has this one.
    std::uint64_t snapshot_trailing = 1'000;
    /// Bytes of a snapshot in one message. One is on its way to a follower at a time.
    std::uint64_t snapshot_chunk_bytes = 256 * 1024;
    /// Bytes of entries in one message; one entry may exceed it. Of larger ones allocators begin to
    /// ask the system for each, which costs more than their number.
    std::uint64_t append_bytes_max = 64 * 1024;
    /// Messages with entries that may be on their way to one follower.
    std::uint64_t inflight_messages_max = 256;
    /// Bytes of entries on their way to one follower; the last message may exceed it.
    std::uint64_t inflight_bytes_max = 16 * 1024 * 1024;
    /// Entries a leader holds uncommitted; what comes on top is abandoned_overloaded. So a leader
    /// that cannot commit does not fill its memory.
    std::uint64_t uncommitted_entries_max = 100'000;
    /// The same in bytes, of what was taken here; a single transition may exceed it.
    std::uint64_t uncommitted_bytes_max = 64 * 1024 * 1024;
    /// By how much two replicas' clocks may drift apart within election_timeout_range.min. A leader
    /// that a majority has heard answers reads without asking again for that long less this bound,
    /// in which nobody else can lead [PhD 6.4.1]. Safety: clocks that drift further let reads see
    /// an old state. The same on all replicas. Nothing below the timeout: each round of reads asks.
    Duration lease_reads = (Duration::max)();
    /// Where randomness comes from. The replica's id is mixed in, so one value will do for all; the
    /// same seed and the same calls give the same run.
    std::uint64_t seed = 0;
};

/// What an entry counts for in the limits of Options: its own size and what it says it owns. It is
/// an estimate of memory, not of what a transport makes of it.
constexpr std::uint64_t bytes_of(const auto& entry) {
    [[maybe_unused]] auto* transition = std::get_if<1>(&entry.command);
    if constexpr (requires { &std::remove_cvref_t<decltype(*transition)>::get_size; })
        if (transition) return sizeof(entry) + static_cast<std::uint64_t>(transition->get_size());
    return sizeof(entry);
}

// ===== 6 Log =====================================================================================

/// The entries that no snapshot covers yet, some that one does, and the position just before them:
///
///     base | base.index + 1 ... last
///
/// The base is all that is known of what was compacted. Its term answers for the entries that are
/// gone, so a follower whose log ends right there is recognized without them [Raft 7].
///
/// The log is kept in chunks of so many indexes each, and but for the first, which is small where
/// the log is short, nothing is moved when it grows or is cut. The first chunk is the base's, and
/// of what is in the base's place only the term counts.
template <class Entry, std::uint64_t chunk_size = 256>
struct Log {
    LogPosition base;  ///< The position just before the first entry.
    LogPosition last;  ///< The base, where it is empty.
    std::vector<std::vector<Entry>> chunks;

    /// Begins empty, behind `begin`.
    explicit Log(LogPosition begin = {}) : base(begin), last(begin) {
        chunks.emplace_back(begin.index.value % chunk_size + 1, Entry{begin.term, {}});
    }

    /// Precondition: base.index <= index <= last.index.
    const Entry& operator[](Index i) const { return chunks[chunk_of(i)][i.value % chunk_size]; }

    /// The one question that replication asks: are the logs equal up to here [Raft 5.3]? False
    /// where the log does not reach, or no longer.
    bool holds(LogPosition p) const {
        return p.index >= base.index && p.index <= last.index && (*this)[p.index].term == p.term;
    }

    /// The last position here that is not after this one, by index and by term: with it one round
    /// trip skips a whole term of conflicting entries [Raft 5.3]. At worst the base.
    LogPosition last_not_after(LogPosition position) const {
        Index index = detail::greatest(base.index, detail::least(position.index, last.index));
        while ((*this)[index].term > position.term && index > base.index) index = index - 1;
        return {(*this)[index].term, index};
    }

    /// True: it holds no transition.
    bool append(Entry&& entry) {
        last = {entry.term, last.index + 1};
        if (last.index.value % chunk_size == 0) chunks.emplace_back().reserve(chunk_size);
        return chunks.back().emplace_back(std::move(entry)).command.index() == 0;
    }

    /// Drops the entry at `index` and all that follow; only a follower does so. Precondition: index
    /// > base.index.
    void truncate_from(Index index) {
        last = {(*this)[index - 1].term, index - 1};
        chunks.resize(chunk_of(last.index) + 1);
        chunks.back().resize(last.index.value % chunk_size + 1);
    }

    /// Forgets what is at or before `begin`, be it in a chunk that stays; everything, if the log
    /// does not hold it: then what follows there belongs to another history.
    void compact(LogPosition begin) {
        if (!holds(begin)) *this = Log(begin);
        auto gone = static_cast<std::ptrdiff_t>(chunk_of(begin.index));
        chunks.erase(chunks.begin(), chunks.begin() + gone);
        for (auto i = begin.index.value % chunk_size + 1; i-- > 0;) chunks[0][i].command = {};
        base = begin;
    }

    /// Precondition: base.index < first <= last.index + 1.
    /// Copies the entries from `first` on, as many as have at most bytes_max bytes, and says how
    /// many bytes these are. The entry at `first`, if there is one, always fits.
    auto slice(Index first, std::uint64_t bytes_max = ~0ULL) const {
        std::uint64_t bytes = 0;
        Index end = first;
        for (; end <= last.index; ++end) {
            std::uint64_t more = bytes_of((*this)[end]);
            if (bytes + more > bytes_max && bytes > 0) break;
            bytes += more;
        }
        std::vector<Entry> entries;
        entries.reserve(end - first);
        for (Index stop; first < end; first = stop) {
            stop = detail::least(end, Index{(first.value / chunk_size + 1) * chunk_size});
            entries.insert(entries.end(), &(*this)[first], &(*this)[stop - 1] + 1);
        }
        return std::pair(std::move(entries), bytes);
    }

    auto chunk_of(Index i) const { return i.value / chunk_size - base.index.value / chunk_size; }
};

// ===== 7 Quorum ==================================================================================

/// The one question of Raft, asked of many things: how far has a majority come? Any two majorities
/// share a member, so what one has reached no other can miss [Raft 5.4.3].
///
/// The largest value that a majority has reached, `reached` being how far each voter got: of match
/// indexes, what is committed; of times of last contact, when a majority was last heard; of
/// ballots, whether the vote is won. In a joint membership it takes a majority of each half, and so
/// the smaller value [PhD 4.3]. No voters hold nothing back: then it is `unlimited`, as at most.
///
/// A voter holds the others back if no majority is ahead of it. Quadratic, but free of allocation;
/// there are few voters.
template <class Voters, class Voter, class Value>
constexpr Value quorum(const Voters& all, Value Voter::*reached, Value unlimited) {
    for (bool Voter::*votes : {&Voter::votes, &Voter::votes_outgoing})
        for (const Voter& voter : all) {
            if (!(voter.*votes) || voter.*reached >= unlimited) continue;
            int surplus = 0;  // How many more are ahead of this one than are not.
            for (const Voter& other : all)
                if (other.*votes) surplus += other.*reached > voter.*reached ? 1 : -1;
            if (surplus <= 0) unlimited = voter.*reached;
        }
    return unlimited;
}

// ===== 8 Progress ================================================================================

/// What a leader knows of one replica, and what a candidate knows of its vote.
/// - probe: where the logs meet is not known; one message, then wait for word.
/// - replicate: they meet; entries are streamed without waiting [PhD 10.2.1].
/// - snapshot: the log no longer reaches back far enough; chunks go one at a time.
///
///     probe --- success --> replicate --- refusal --> probe
///       '--- next_index compacted, from both --> snapshot --- success --> replicate
///
/// Messages overtake each other, so each answer is first asked whether it is news: a success never
/// lowers match_index, and a refusal of what is known to match is out of date.
struct Progress {
    enum State { probe, replicate, snapshot };

    ReplicaId id;
    bool votes = false;           ///< By the membership in force; learners do not,
    bool votes_outgoing = false;  ///< ... and by what goes out in a joint one.
    bool member = true;           ///< False: it was removed, and is yet to be sent that.
    /// Its disk lost what it had acknowledged. For the rest of the term it does not count and is
    /// sent nothing: it needs to be replaced under another id.
    bool lost = false;
    Index next_index = {1};  ///< The next entry to send; always above match_index.
    State state = probe;
    /// Known to be replicated and durable there. Never falls in a term, but to 0 where it is lost.
    Index match_index = {};
    Index sent_commit = {};     ///< The commit index that it was told, up to what it was sent.
    bool waiting = false;       ///< A probe or a chunk is not answered, or it fell silent,
    bool overdue = false;       ///< ... and that was so at the last heartbeat.
    bool vote_granted = false;  ///< In the election that is on.
    Time last_contact = {};    ///< When the latest message was sent that it is known to have heard.
    Time succeeded = {};       ///< When its latest success arrived.
    Time read = {};            ///< Its question that is not answered yet,
    Time read_since = {};      ///< ... and when that came.
    std::uint64_t offset = 0;  ///< snapshot: the bytes that it has.
    /// A message with entries, by the last of them and how many bytes they have.
    struct Sent {
        Index last_index;
        std::uint64_t bytes;
    };
    std::vector<Sent> inflight = {};  ///< replicate: those not answered yet, oldest first.
    std::uint64_t inflight_bytes = 0;

    /// Starts a state with nothing on its way.
    void become(State new_state, Index next) {
        state = new_state;
        next_index = next;
        waiting = overdue = false;
        offset = inflight_bytes = 0;
        inflight.clear();
    }

    /// Entries up to last_index left. What is streamed is taken to arrive, until an answer says
    /// otherwise, and the next message goes on behind it; the rest is waited for.
    // A template, so that only who calls it pays for compiling the vector's growth.
    void on_sent(auto last_index, std::uint64_t bytes) {
        waiting |= state != replicate;
        if (waiting || bytes == 0) return;
        next_index = last_index + 1;
        inflight.push_back({last_index, bytes});
        inflight_bytes += bytes;
    }

    /// The replica's log is the leader's up to `match`. Precondition: the leader's log reaches
    /// `match`. A transfer ends with whatever makes the log reach it, the snapshot or not.
    // A template, as on_sent is.
    void on_success(auto match, Index leader_first_index) {
        match_index = detail::greatest(match_index, match);
        for (; !inflight.empty() && inflight.front().last_index <= match;
             inflight.erase(inflight.begin()))
            inflight_bytes -= inflight.front().bytes;
        if (state == replicate) waiting = overdue = false;
        bool meets = match_index + 1 >= detail::least(next_index, leader_first_index);
        if (state == probe || (state == snapshot && meets)) become(replicate, match_index + 1);
        next_index = detail::greatest(next_index, match_index + 1);
    }

    /// The logs may share what the response hints at, as far as the leader's `log` agrees.
    void on_reject(const AppendEntriesResponse& response, const auto& log) {
        Index rejected = response.match_index;
        if (state == snapshot) {
            // What says nothing new is an echo; to answer it would double all the chunks to come.
            // Unless it was slow to come: then a chunk or its answer got lost.
            if (response.snapshot_offset == offset && !overdue) return;
            offset = response.snapshot_offset;
            waiting = overdue = false;
        } else if (rejected > match_index && (state == replicate || rejected + 1 == next_index)) {
            // Otherwise it is out of date, since that entry is there by now, or answers an older
            // probe.
            // Where the hint ends before that log begins, a probe would tell nothing.
            Index to = detail::least(response.hint.index, log.last_not_after(response.hint).index);
            become(probe, detail::greatest(match_index, detail::least(rejected - 1, to)) + 1);
        }
    }
};

// ===== 9 Status and Notifier =====================================================================

/// [Raft 5.1], with PreVote's step before candidacy [PhD 9.6].
enum class Role { follower, pre_candidate, candidate, leader };

/// What happened since this object was made, for dashboards and tests.
struct Counters {
    std::uint64_t elections_started = 0;  ///< Candidacies; PreVotes that failed do not count.
    std::uint64_t sent[6] = {};           ///< Messages by kind, in the order of Message::body.
    std::uint64_t received[6] = {};       ///< The same.
    std::uint64_t dropped = 0;            ///< Received, but out of date or of no use here.
    std::uint64_t malformed = 0;  ///< Received, but no correct replica would have sent it here.
    std::uint64_t snapshots_sent = 0;  ///< Transfers begun.
};

/// The state of a replica, less its log [Raft Figure 2].
struct Status {
    ReplicaId id;
    Role role = Role::follower;
    Term term;                           ///< Figure 2's currentTerm.
    std::optional<ReplicaId> voted_for;  ///< In this term.
    std::optional<ReplicaId> leader;     ///< Of this term; nothing: none known.
    Index commit_index;                  ///< The last entry known to be committed.
    Index last_applied;                  ///< The last entry whose transition the machine has seen.
    LogPosition snapshot;                ///< The last entry that the machine's snapshot covers.
    Index first_log_index;
    Index last_log_index;            ///< first_log_index - 1 when the log is empty.
    std::vector<Progress> progress;  ///< Each member's, its own first, and of who just was one.
    Counters counters;
    /// What stopped this replica for good, for people: options or peer ids that cannot work, a log
    /// from the Storage that cannot have been written, a snapshot and a log that do not meet, a
    /// failed sync. It takes no part any more and sends nothing; mend the cause and construct
    /// another.
    std::optional<std::string_view> fault;
};

/// Ends the wait of Replica::start early, from any thread: call notify() after you have given your
/// machine a transition or your network a message. Anything with `wait_until(Time)` can stand in.
/// A notification between two waits is not lost: the next wait ends at once. Several count as one,
/// since a single poll takes in all that is there.
class Notifier {
    std::mutex mutex_;
    std::condition_variable changed_;
    bool notified_ = false;

 public:
    void notify() {
        std::lock_guard lock(mutex_);
        notified_ = true;
        changed_.notify_one();
    }

    // A template, so that only who calls it pays for compiling the wait.
    void wait_until(auto deadline) {
        // Bounded, because standard libraries overflow on waits that are as good as endless.
        Time bounded = detail::least(deadline, Clock::now() + Duration(std::chrono::hours(1)));
        std::unique_lock lock(mutex_);
        changed_.wait_until(lock, bounded, [this] { return std::exchange(notified_, false); });
    }
};

// ===== 10 Replica ================================================================================

/// One member of a cluster. Single-threaded: poll it from one thread at a time. It keeps references
/// to the objects it was given, which must outlive it.
///
/// How a transition travels: the leader takes it from its machine and appends it (queued), sends it
/// to its followers in the same poll and writes it to its own disk meanwhile. Each follower appends
/// it, writes it, and only then answers. Once a majority has it on disk, the leader's commit index
/// passes it (committed) and the machine gets it (applied). The news of the commit goes out with
/// the next message, at once if there is none, and the followers' machines get it too.
///
/// Members are named as in Figure 2 where it names them. `become` changes the role, `on` handles
/// a message, `send_x` sends, `maybe_x` may do nothing.
template <class C, class M, class S = Volatile>
class Replica {
    // Whoever has a part of a capability must have all of it: a misspelled member must not quietly
    // turn it off. Conditions begin with these where that spares those without it the instructions.
    static constexpr bool snapshotting =
        (requires { typename M::SnapshotData; }) || (requires { &M::get_snapshot; }) ||
        (requires { &M::create_snapshot; }) || (requires { &M::set_snapshot; });
    static constexpr bool reading =
        (requires { typename M::Read; }) || (requires { &M::get_pending_reads; }) ||
        (requires { &M::apply_read; }) || (requires { &M::abandon_read; });
    static constexpr bool reconfigurable =
        (requires { &C::get_pending_membership; }) || (requires { &C::register_membership; });
    static constexpr bool durable = !std::is_same_v<S, Volatile>;

    // These two, and that of status_, are made to depend on S: whoever only includes this header
    // does not pay for compiling what is done with them then.
    using Time = std::conditional_t<durable, little_raft::Time, little_raft::Time>;
    using Progress = std::conditional_t<durable, little_raft::Progress, little_raft::Progress>;

    using T = typename M::Transition;
    using D = detail::SnapshotDataOf<M>;
    using Read = decltype(detail::read_of(static_cast<M*>(nullptr)));
    using Config = std::conditional_t<reconfigurable, Membership, Noop>;
    using Peer = std::conditional_t<reconfigurable, Member, ReplicaId>;
    using Entry = little_raft::Entry<T, Config>;
    using enum TransitionState;
    using Message = MessageOf<M, Config>;

 public:
    // ----- Public face ---------------------------------------------------------------------------

    /// A replica that goes on where `storage` and the machine's snapshot left off. `peers` are the
    /// other voters (its own id among them, or one twice, do no harm); with none it is a cluster of
    /// one. All must be given the same ones, since two sets could have majorities that do not meet.
    /// What is wrong with the arguments or with what was stored shows in status().fault.
    ///
    /// Where the Cluster is Reconfigurable, `peers` are a std::vector<Member>: all members of a new
    /// cluster, this one among them, the same for all. They are of no effect once there is a log.
    /// With none and no log it is a newcomer, which waits to be added.
    Replica(ReplicaId id, const std::vector<Peer>& peers, C& cluster, M& machine, S& storage,
            Options<M> options = {})
        : cluster_(&cluster), machine_(&machine), storage_(&storage), options_(std::move(options)) {
        static_assert(Transition<T> && StateMachine<M> && Cluster<C, M, Config>, "little_raft");
        if constexpr (durable) static_assert(Storage<S, T, Config>, "little_raft: no Storage");
        if constexpr (reading) static_assert(LinearizableReads<M>, "little_raft: part is missing");
        if constexpr (reconfigurable) static_assert(Reconfigurable<C>, "little_raft: part missing");
        const auto& [min, max] = options_.election_timeout_range;
        // The last keeps every deadline far from the end of time.
        require(Duration{} < options_.heartbeat_timeout && options_.heartbeat_timeout < min &&
                    min <= max && max <= std::chrono::hours(9999),
                "not 0 < heartbeat_timeout < election_timeout_range.min <= .max <= 9999 hours");
        require(options_.lease_reads >= Duration{}, "lease_reads is negative");
        require(options_.snapshot_chunk_bytes > 0, "snapshot_chunk_bytes is 0");
        require(options_.inflight_messages_max > 0, "inflight_messages_max is 0");
        require(options_.inflight_bytes_max > 0, "inflight_bytes_max is 0");
        require(options_.uncommitted_entries_max > 0, "uncommitted_entries_max is 0");
        random_ = options_.seed ^ (id.value * 0xd1342543de82ef95);
        status_.id = id;
        status_.progress.push_back({.id = id, .votes = !reconfigurable});
        if constexpr (reconfigurable)
            applied_.members = peers;
        else
            for (ReplicaId peer : peers) progress_of(peer).votes = true;
        if (!status_.fault) load();
        publish(status_.leader);
    }

    /// A volatile replica; see Volatile.
    Replica(ReplicaId id, const std::vector<Peer>& peers, C& cluster, M& machine,
            Options<M> options = {}) requires std::same_as<S, Volatile>
        : Replica(id, peers, cluster, machine, volatile_storage, std::move(options)) {}

    /// Takes in what is there, does what is due, and says when to be called next if nothing arrives
    /// before: at once, where that is `now`. `now` never falls; a smaller one counts as the last.
    /// After a fault: does nothing and returns Time::max().
    ///
    /// One poll is one group commit: however much it takes in, it costs one sync and, while windows
    /// last, one message to each follower.
    Time poll(Time now) {
        if (status_.fault) return never;
        std::optional<ReplicaId> leader_before = status_.leader;
        now_ = detail::greatest(now_, now);
        stamp_ = detail::greatest(now_, stamp_ + Duration(2));
        // Safety: a leader that was heard, or may have been just before this replica stopped, may
        // count on that from a moment after the last poll's clock was read, but before this one's.
        if (election_deadline_ == never || leader_contact_ == never) reset_election_timer();
        if (leader_contact_ == never) leader_contact_ = now_;
        for (Message& message : cluster_->receive_messages()) receive(message);
        fire_timers();
        if constexpr (requires { &C::get_pending_transfer; }) take_pending_transfer();
        // While it hands over, or is removed, they wait.
        if (!duty_.transfer && (!reconfigurable || status_.role != Role::leader || may_lead()))
            for (T& transition : machine_->get_pending_transitions()) take_transition(transition);
        // What is sent here promises nothing of this disk, so followers write while it does
        // [PhD 10.2.1].
        if (duty_.unsent || now_ >= duty_.heartbeat_deadline) replicate();
        // Without a Storage only what it tells itself waits until here.
        if (!status_.fault && (durable || !duty_.owed.empty())) persist();
        if (status_.fault) {  // Nothing more is sent, and nothing stays without a final state.
            become(Role::follower, status_.term);
            settle({{absurd}, {absurd}});
            publish(leader_before);
            return never;
        }
        if (status_.last_applied < status_.commit_index) apply_committed();
        if constexpr (reading) serve_reads();
        // As soon as one step of a change is committed, the next begins.
        if constexpr (reconfigurable) take_pending_membership();
        if constexpr (snapshotting && !reconfigurable) take_snapshot();
        if constexpr (snapshotting && reconfigurable) take_snapshot(applied_);
        publish(leader_before);
        // There may be more to do by now: a commit to tell, a term or entries to write.
        bool unwritten =
            !duty_.owed.empty() || (durable && (vote_changed_ || stable_index_ < log_.last.index));
        if (duty_.unsent || leader_contact_ == never || (unwritten && !syncing_)) return now_;
        return detail::least(duty_.heartbeat_deadline, election_deadline_);
    }

    /// Polls until the cluster says halt() or a fault stops the replica. Transitions that are on
    /// their way when it returns have no final state yet; another start() goes on with them.
    void start(auto& notifier) {
        auto end = [this] { return status_.fault || std::as_const(*cluster_).halt(); };
        for (Time at = poll(Clock::now()); !end(); at = poll(Clock::now())) notifier.wait_until(at);
    }

    /// As of the last poll, for the thread that polls. It is the replica's own state and costs
    /// nothing: copy it to keep it, or to show it to another thread.
    const Status& status() const { return status_; }

 private:
    friend struct Inspect;  // The test kit's window.

    /// What this replica took, a transition from its machine or (then it has no id) a change of the
    /// membership, and put into the log, kept until its fate is known. The entry itself may be gone
    /// from the log long before.
    struct Own {
        LogPosition at;
        std::optional<std::decay_t<decltype(std::declval<const T&>().get_id())>> id;
        std::uint64_t bytes;
    };

    /// What a replica is about in one role in one term; it ends with them.
    struct Duty {
        Time heartbeat_deadline = never;    // leader
        Snapshot<D, Config> snapshot = {};  // that a leader sends or a follower receives
        std::optional<ReplicaId> transfer;  // leader: who is to lead
        Time heard = {};                    // follower: the latest stamp of the leader
        Index ahead;               // follower: where its log kept it from a vote for another
        Duration stamp_lead = {};  // leader: how far its stamps were ahead of the clock, at most
        std::vector<Message> owed = {};  // all: what leaves once the disk holds what it promises
        bool unsent = false;             // leader: there may be something to send
        bool asks = false;               // leader: reads wait for word that it still leads
    };

    /// For the test kit, which lets the copy go on with objects of its own. Two that share them
    /// make no sense, so nobody else can copy one.
    Replica(const Replica&) = default;

    // ----- Start and stop ------------------------------------------------------------------------
    //
    // A replica is constructed in any state of its disk that a crash can leave, and in any state of
    // its arguments. What cannot work becomes a fault before it has said a word to anybody.

    /// The first fault stays: what follows from it is of no interest.
    void require(bool holds, std::string_view text) {
        if (!holds && !status_.fault) status_.fault = text;
    }

    /// Takes up where the last incarnation left off. The commit index is not stored [Raft Figure
    /// 2]: it begins at the snapshot and is learned anew from a leader.
    void load() {
        become(Role::follower, status_.term);  // Draws the first election timeout.
        StoredState<T, Config> stored;
        if constexpr (durable) stored = storage_->load();
        Snapshot<D, Config> snapshot = {{}, {}, applied_};
        if constexpr (snapshotting) snapshot = machine_->get_snapshot().value_or(snapshot);
        status_.term = stored.term;
        status_.voted_for = stored.voted_for;
        log_.compact(stored.last_included);
        for (Entry& entry : stored.entries) {
            require(entry.term >= log_.last.term && entry.term <= status_.term,
                    "the terms of the stored log make no sense");
            log_.append(std::move(entry));
        }
        stable_index_ = log_.last.index;
        LogPosition at = snapshot.last_included;
        // Else entries that nobody can apply would be missing, or these are of two replicas.
        bool behind = at.index > log_.base.index && at.term >= log_.base.term && at.term > Term{};
        require(behind || at == log_.base, "the machine's snapshot and the stored log do not meet");
        if (status_.fault) return;
        if (at.index == Index{}) return adopt_membership();
        restore(snapshot);
        // The process may have ended between saving a leader's snapshot and writing the term.
        if (at.term > status_.term) enter_term(at.term, std::nullopt);
    }

    /// Shows the outside what it may see: only at the end of a poll, when nothing changes any more.
    void publish(const std::optional<ReplicaId>& leader_before) {
        status_.first_log_index = log_.base.index + 1;
        status_.last_log_index = log_.last.index;
        if (status_.leader != leader_before) cluster_->register_leader(status_.leader);
    }

    // ----- Messages and terms --------------------------------------------------------------------
    //
    // What comes in is sifted twice, for sense and for its term, and then handled by an overload of
    // on() each. What a handler cannot use it drops and counts. What goes out takes one of two
    // ways: send() at once, or answer(), which waits for the disk.

    /// Safety: at once, so only for what promises nothing of this disk.
    void send(Message&& message) {
        ++status_.counters.sent[message.body.index()];
        cluster_->send_message(message.to, std::move(message));
    }

    /// Safety: what speaks of this replica's term, vote or log waits until they are durable;
    /// requests for votes, too, since a candidate's own vote is part of what they say. Without a
    /// Storage there is nothing to wait for.
    void answer(ReplicaId to, auto body) {
        Message out{status_.id, to, status_.term, std::move(body)};
        // Copied, since g++ 12 warns of what is moved here; an answer is small.
        durable || to == status_.id ? duty_.owed.push_back(out) : send(std::move(out));
    }

    void drop() { ++status_.counters.dropped; }

    /// Handles what a correct replica could have sent here: the members know each other (where they
    /// change, one may hear of the other by this message), terms never fall along a log and never
    /// exceed the sender's, and numbers leave room to count on. Safety: what fails this changes
    /// nothing.
    void receive(Message& message) {
        ++status_.counters.received[message.body.index()];
        bool possible = (reconfigurable || find(message.from)) && message.from != status_.id &&
                        message.to == status_.id && message.term.value < absurd;
        LogPosition last;  // Of those that it names.
        if (auto* sent = std::get_if<AppendEntries<T, Config>>(&message.body)) {
            last = {detail::greatest(sent->prev_log.term, Term{1}), sent->prev_log.index};
            for (auto& e : sent->entries) possible &= std::exchange(last.term, e.term) <= e.term;
        } else if (auto* request = std::get_if<RequestVote>(&message.body)) {
            last = request->last_log;
            possible &= request->pre_vote ? !request->transfer : message.term > Term{};
        } else if (auto* install = std::get_if<InstallSnapshot<D, Config>>(&message.body)) {
            last = install->last_included;
            possible &= snapshotting && last.term > Term{};
        }
        possible &= last.term <= message.term && last.index.value < absurd;
        possible ? handle(message) : void(++status_.counters.malformed);
    }

    /// The rule for terms, once for all messages, so that what handles them may take it that the
    /// message's term is this replica's own [Raft 5.1].
    ///
    /// A message of the past is answered, where it asks for something, so that its sender learns
    /// the term and is not stranded. While a leader is heard, nobody is helped to depose it
    /// [PhD 4.2.3]. Whoever claims to lead beside the leader that is known is not believed, and who
    /// is no member (any more) may ask, but has nothing to say.
    void handle(Message& message) {
        const auto* request = std::get_if<RequestVote>(&message.body);
        bool hears = request && (status_.role == Role::leader ||
                                 now_ - options_.election_timeout_range.min < leader_contact_);
        bool leads = message.body.index() == 2 || message.body.index() >= 4;
        bool stranger = reconfigurable && !request && !leads && !find(message.from);
        bool past = message.term < status_.term;
        if (past && request) answer(message.from, RequestVoteResponse{});
        if (past && leads) answer(message.from, AppendEntriesResponse{});
        if (past || stranger || (hears && !request->transfer)) return drop();
        if (message.term > status_.term) become(Role::follower, message.term);
        if (leads && status_.leader.value_or(message.from) != message.from) return drop();
        std::visit([&](auto& body) { on(message, body); }, message.body);
    }

    // ----- Roles and elections -------------------------------------------------------------------
    //
    // follower -- timeout --> pre_candidate -- majority --> candidate -- majority --> leader
    //         <--- word of a leader, or of a higher term, from any role; no majority heard ---'
    //          ---- TimeoutNow, from its leader ---> candidate
    //
    // A timeout leads to pre_candidate from candidate too: an election that failed is not repeated
    // before a majority would vote again.

    /// Nothing for a stranger. There are few members, so a look at each is the cheapest way.
    Progress* find(auto id) {
        for (Progress& member : status_.progress)
            if (member.id == id) return &member;
        return nullptr;
    }

    /// What belongs to one role in one term ends with it: the leader known, the votes, what is
    /// known of the followers [Raft Figure 2, reinitialized after election], snapshots under way, a
    /// transfer.
    ///
    /// The election timer of all but a leader, whose measured something else, goes on, so that a
    /// candidate that fails does not put off its next try.
    void become(Role role, Term term, std::optional<ReplicaId> vote = {}) {
        // Safety: a vote is forgotten only together with its term [Raft 5.1].
        if (term > status_.term) enter_term(term, vote);
        // Liveness: drawn anew with each, so that split votes do not repeat [Raft 5.2]. By a
        // generator of its own (Knuth's MMIX): those of <random> differ between standard libraries.
        const auto& [min, max] = options_.election_timeout_range;
        random_ = random_ * 6364136223846793005 + 1442695040888963407;
        election_timeout_ = min + Duration(random_ >> 16) % (max - min + Duration(1));
        if (status_.role == Role::leader) reset_election_timer();
        status_.role = role;
        status_.leader.reset();
        duty_ = {};
        end_reads();
        for (Progress& p : status_.progress)
            p = {p.id, p.votes, p.votes_outgoing, p.member, false, log_.last.index + 1};
    }

    void reset_election_timer() { election_deadline_ = now_ + election_timeout_; }

    /// Safety: term and vote change together, are written together, and nothing that follows from
    /// them leaves before that [Raft 5.2].
    void enter_term(Term term, std::optional<ReplicaId> vote) {
        status_.term = term;
        status_.voted_for = vote;
        vote_changed_ = true;
    }

    /// Asks for votes [Raft 5.2]. Liveness: first, as a pre-candidate, whether it could win them,
    /// so that a replica that cannot raises nobody's term [PhD 9.6].
    void campaign(Role role, bool transfer = false) {
        if (status_.role == Role::follower && !may_lead()) role = Role::follower;
        bool pre_vote = role != Role::candidate;
        become(role, {status_.term.value + (pre_vote ? 0 : 1)}, status_.id);
        reset_election_timer();
        status_.counters.elections_started += pre_vote ? 0 : 1;
        for (const Progress& p : status_.progress)
            if (role != Role::follower && (p.votes || p.votes_outgoing))
                p.id == status_.id ? answer(p.id, RequestVoteResponse{pre_vote, true})
                                   : answer(p.id, RequestVote{pre_vote, log_.last, transfer});
    }

    /// [Raft Figure 2, RequestVote RPC, receiver]. A PreVote asks about the next term, in which
    /// nobody has voted. It binds nobody: no vote is kept, and the election timer goes on.
    void on(const Message& message, const RequestVote& request) {
        bool free = request.pre_vote || status_.voted_for.value_or(message.from) == message.from;
        // Safety: the candidate's log must be at least as up to date as this one [Raft 5.4.1].
        bool granted = free && request.last_log >= log_.last;
        if (granted && !request.pre_vote) {
            enter_term(status_.term, message.from);
            reset_election_timer();
        }
        // Liveness: whoever asks may count on this vote, which its log forbids. So even one that
        // has none by its own log may have to lead, if all that it holds is not known to be
        // committed, until a leader is heard.
        if (request.last_log < log_.last) duty_.ahead = log_.last.index;
        answer(message.from, RequestVoteResponse{request.pre_vote, granted});
    }

    /// No PreVote: that would be refused by all who hear the leader.
    void on(const Message& message, const TimeoutNow&) {
        status_.leader == message.from ? campaign(Role::candidate, true) : drop();
    }

    /// A majority of PreVotes begins the election, a majority of votes ends it. A leader begins by
    /// probing all others for where their logs meet its own [Raft 5.3].
    void on(const Message& message, const RequestVoteResponse& response) {
        // Safety: an answer counts for the very question that is on.
        Role asking = response.pre_vote ? Role::pre_candidate : Role::candidate;
        if (status_.role != asking || !response.vote_granted) return drop();
        find(message.from)->vote_granted = true;
        if (!quorum(status_.progress, &Progress::vote_granted, true)) return;
        if (status_.role == Role::pre_candidate) return campaign(Role::candidate);
        become(Role::leader, status_.term);
        status_.leader = status_.id;
        duty_.heartbeat_deadline = now_ + options_.heartbeat_timeout;
        election_deadline_ = now_ + options_.election_timeout_range.max;
        status_.progress.front().last_contact = never;
        // Without an entry of its own term it could not commit those of others [Raft 5.4.2, 8].
        // The membership is said again, for those who have it from elsewhere than the log.
        append_as_leader({status_.term, membership_});
    }

    /// A timer that is overdue fires once: a replica that slept does not make up for lost beats.
    void fire_timers() {
        if (now_ < election_deadline_) return;
        if (status_.role != Role::leader) return campaign(Role::pre_candidate);
        // Liveness: a leader that a majority does not answer makes way for another [PhD 6.2].
        duty_.transfer.reset();
        Time heard = quorum(status_.progress, &Progress::last_contact, now_);
        election_deadline_ = detail::least(heard, now_) + options_.election_timeout_range.max;
        // So does one that is no voter any more, if nobody has taken over yet [PhD 4.2.2].
        if (now_ >= election_deadline_ || !may_lead()) become(Role::follower, status_.term);
    }

    // ----- Replication as leader -----------------------------------------------------------------
    //
    // duty_.unsent says that there may be something to send: a new entry, an answer that moved a
    // window, a commit. replicate() then looks at every follower once, so that all that one poll
    // took in leaves in one message each. Heartbeats only keep time and notice losses.

    /// The leader brings the other's log up to its own and then tells it [PhD 3.10]. Liveness: its
    /// timer, which begins anew, ends that.
    void take_pending_transfer() requires LeadershipTransfer<C> {
        const Progress* peer = find(cluster_->get_pending_transfer());
        bool possible = peer && peer->votes && peer->id != status_.id && !duty_.transfer;
        if (status_.role != Role::leader || !possible) return;
        duty_.transfer = peer->id;
        duty_.unsent = true;
        election_deadline_ = now_ + options_.election_timeout_range.max;
    }

    /// One that this replica cannot replicate gets its final state now. Entries are limited whoever
    /// appended them, bytes by what was taken here; and what is alone passes, or a large transition
    /// could never be replicated.
    void take_transition(T& transition) {
        Entry entry{status_.term, std::move(transition)};
        std::uint64_t bytes = bytes_of(entry);
        bool full = (own_bytes_ > 0 && own_bytes_ + bytes > options_.uncommitted_bytes_max) ||
                    log_.last.index - status_.commit_index >= options_.uncommitted_entries_max;
        bool leads = status_.role == Role::leader;
        auto state = !leads ? abandoned_not_leader : full ? abandoned_overloaded : queued;
        const T& taken = *std::get_if<T>(&entry.command);
        machine_->register_transition_state(taken.get_id(), state);
        if (state != queued) return;
        // Filled where it stays: a copy of what was only just written, part by part, would stall.
        Own& own = own_.emplace_back();
        own.at = {status_.term, log_.last.index + 1};
        own.id.emplace(taken.get_id());
        own_bytes_ += own.bytes = bytes;
        append_as_leader(std::move(entry));
    }

    /// [Raft 5.3]. A leader only ever appends: the Leader Append-Only Property.
    void append_as_leader(Entry&& entry) {
        if (log_.append(std::move(entry))) adopt_membership();
        // Without a disk there is nothing to wait for.
        if constexpr (!durable) status_.progress.front().match_index = log_.last.index;
        duty_.unsent = true;
    }

    /// Gives each follower what it lacks, as far as its window allows. A round of reads is a
    /// heartbeat that does not wait for its time.
    void replicate() {
        if (reading) duty_.stamp_lead = detail::greatest(duty_.stamp_lead, stamp_ - now_);
        bool beats = now_ >= duty_.heartbeat_deadline;
        if (beats) duty_.heartbeat_deadline = now_ + options_.heartbeat_timeout;
        maybe_commit();  // So that the news of a commit travels with what else there is.
        bool asks = reading && duty_.asks && led_until() < stamp_ - Duration(1);
        duty_.unsent = duty_.asks = false;
        bool sends_snapshot = false;
        for (Progress& peer : status_.progress) {
            if (peer.id == status_.id || peer.lost || status_.fault) continue;
            // Liveness: who does not answer is sent no more than heartbeats, be it reads, entries
            // or a snapshot, until it does.
            if (beats) peer.overdue = peer.waiting |= peer.last_contact + election_timeout_ < now_;
            replicate_to(peer, beats || (asks && !peer.overdue));
            // A lease can tell from now on.
            if (reading && peer.read_since == stamp_) duty_.unsent = true;
            sends_snapshot = sends_snapshot || peer.state == Progress::snapshot;
            // One that was removed hands over to whoever has everything first, and to no other.
            // What it took itself is settled by then: it may never hear of it later.
            bool heir = duty_.transfer ? duty_.transfer == peer.id : !may_lead() && peer.votes;
            if (!heir || detail::least(peer.match_index, status_.commit_index) < log_.last.index)
                continue;
            duty_.transfer = peer.id;
            // Safety: from here on another may lead at any time.
            duty_.stamp_lead = lease();
            send({status_.id, peer.id, status_.term, TimeoutNow{}});
        }
        if (snapshotting && !sends_snapshot) duty_.snapshot = {};
    }

    /// In replicate, message follows message without waiting for answers; in the other states there
    /// is one at a time. A follower that was sent all entries is told of a commit, too.
    ///
    /// Deviates: a heartbeat, which `asks` calls for, goes the way of all appends. It asks about
    /// the last entry sent, so that a window that got lost is noticed even when nothing more may be
    /// sent. Safety: where the log begins later, a probe moves there, and nothing is read that the
    /// log no longer has.
    void replicate_to(Progress& peer, bool asks) {
        bool behind = peer.state == Progress::snapshot || peer.next_index <= log_.base.index;
        if constexpr (snapshotting)
            if (behind && !peer.waiting) send_chunk(peer);
        for (; !status_.fault; asks = false) {
            bool full = peer.waiting || peer.inflight.size() >= options_.inflight_messages_max ||
                        peer.inflight_bytes >= options_.inflight_bytes_max;
            bool lacks = peer.state == Progress::probe || peer.next_index <= log_.last.index;
            bool news = peer.sent_commit < detail::least(status_.commit_index, peer.next_index - 1);
            bool knows = reading && peer.read != Time{} && led_until() >= peer.read_since;
            if (!asks && !knows && (full || !(lacks || news))) return;
            Index before = detail::greatest(peer.next_index - 1, log_.base.index);
            LogPosition prev{log_[before].term, before};
            if (peer.state == Progress::probe) peer.next_index = prev.index + 1;
            Index first = full ? log_.last.index + 1 : peer.next_index;
            auto [tail, bytes] = log_.slice(first, options_.append_bytes_max);
            Index last = prev.index + tail.size();
            peer.sent_commit = detail::least(status_.commit_index, last);
            Time read = knows ? std::exchange(peer.read, {}) : lacks || asks ? Time{} : never;
            AppendEntries<T, Config> out{prev, status_.commit_index, std::move(tail), stamp_, read};
            send({status_.id, peer.id, status_.term, std::move(out)});
            peer.on_sent(last, bytes);
            if (peer.next_index > log_.last.index) return;
        }
    }

    /// Safety: it counts for this term alone, which handle() saw to, and for no more than the
    /// follower verified, whatever the length of its log.
    void on(const Message& message, const AppendEntriesResponse& response) {
        bool beyond = response.heard > stamp_ || response.match_index > log_.last.index;
        if (status_.role != Role::leader || beyond) return drop();
        Progress& peer = *find(message.from);
        // It answers what was sent after its last success arrived, so it lost what that had
        // acknowledged. Safety: it may vote for whoever lacks that, too; so it needs a new id.
        bool loses = !response.success && response.heard > peer.succeeded &&
                     response.hint.index < peer.match_index;
        if (loses) peer = {peer.id, peer.votes, peer.votes_outgoing, peer.member, /*lost=*/true};
        if constexpr (requires { &C::register_lost_disk; })
            if (loses) cluster_->register_lost_disk(peer.id);
        if (peer.lost) return drop();
        peer.last_contact = detail::greatest(peer.last_contact, response.heard);
        if (reading && response.read != Time{} && response.read != peer.read) {
            peer.read = response.read;
            peer.read_since = stamp_;
            duty_.asks = true;
        }
        duty_.unsent = true;
        if (!response.success) return peer.on_reject(response, log_);
        peer.succeeded = stamp_;
        peer.on_success(response.match_index, log_.base.index + 1);
    }

    /// An entry is committed once a majority has it on disk; with it, all before it [Raft 5.3].
    void maybe_commit() {
        Index reached = quorum(status_.progress, &Progress::match_index, log_.last.index);
        // Safety: replicas are counted only for entries of the leader's own term; older ones are
        // committed along with these, since a majority may hold one and lose it again
        // [Raft 5.4.2, Figure 8].
        if (reached <= status_.commit_index || log_[reached].term != status_.term) return;
        status_.commit_index = reached;
        duty_.unsent = true;
    }

    // ----- Replication as follower ---------------------------------------------------------------
    //
    // A follower believes its leader, within its term, and checks only where the logs meet
    // [Raft 5.3]. Its answer says how far its log equals the leader's, or where they might.

    /// Whoever sends entries or a snapshot in this term leads it [Raft 5.2].
    void follow(ReplicaId leader, Time sent) {
        if (status_.role != Role::follower) become(Role::follower, status_.term);
        status_.leader = leader;
        duty_.ahead = {};
        leader_contact_ = lease() > Duration{} ? never : now_;
        duty_.heard = detail::greatest(duty_.heard, sent);
        reset_election_timer();
    }

    /// Tells the leader that the log here equals its own up to `match`, and will after a crash; or
    /// that it does not hold what the leader has there, and what to try instead.
    void respond(bool success, Index match, LogPosition hint = {}) {
        std::uint64_t size = detail::size_in_chunks(duty_.snapshot.data);
        // It says all that an earlier one would, so few wait, however long a disk takes.
        std::erase_if(duty_.owed, [&](const Message& waiting) {
            const auto* said = std::get_if<AppendEntriesResponse>(&waiting.body);
            return durable && said && said->success == success && said->match_index <= match;
        });
        answer(*status_.leader,
               AppendEntriesResponse{success, match, hint, size, duty_.heard, question_});
    }

    /// [Raft Figure 2, AppendEntries RPC, receiver 2 to 5].
    void on(const Message& message, AppendEntries<T, Config>& request) {
        follow(message.from, request.sent);
        auto& [prev, leader_commit, tail, sent, read] = request;
        if (reading && read != Time{} && read == question_) {
            read_index_ = leader_commit;
            question_ = {};
        }
        // What is committed is in the leader's log too [Raft 5.4.3], compacted here or not.
        if (prev.index < status_.commit_index) return respond(true, status_.commit_index);
        if (!log_.holds(prev)) return respond(false, prev.index, log_.last_not_after(prev));
        // Safety: a late message must not cut off what a newer one brought [Raft 5.3].
        std::uint64_t held = 0;
        while (held < tail.size() && log_.holds({tail[held].term, prev.index + held + 1})) ++held;
        if (held < tail.size() && prev.index + held < log_.last.index) {
            log_.truncate_from(prev.index + held + 1);
            stable_index_ = detail::least(stable_index_, prev.index + held);
        }
        bool changes = membership_index_ > log_.last.index;
        while (held < tail.size()) changes |= log_.append(std::move(tail[held++]));
        if (changes) adopt_membership();
        // Safety: only this much is known to equal the leader's log, however long this one is.
        Index commit = detail::least(leader_commit, prev.index + tail.size());
        status_.commit_index = detail::greatest(status_.commit_index, commit);
        // Deviates: mere news of a commit is not answered.
        if (read != never) respond(true, prev.index + tail.size());
    }

    // ----- Commit and apply ----------------------------------------------------------------------
    //
    // Whoever took a transition wants to know its fate, and only the committed log can tell it.
    // own_ has what was taken here, transitions and changes of the membership, in the order in
    // which it was appended, so terms never fall, and whatever is applied decides about the oldest
    // of it.

    /// Settles what a committed log that ends `at` decides: what was begun here up to there, by
    /// term and index. Where this replica does not see that log, since a snapshot stands for it,
    /// nobody here can tell what became of what is not applied.
    ///
    /// Safety: only what can no longer commit is called abandoned, since whoever hears that may ask
    /// again. An entry that another log replaced may come back from a third. It never commits only
    /// once a later term's entry has, since no log goes on from that with an older term.
    void settle(LogPosition at) {
        bool seen = log_.holds(at);
        for (; settled_ < own_.size() && own_[settled_].at <= at; ++settled_) {
            const auto& [own, id, bytes] = own_[settled_];
            bool gone = !seen && status_.last_applied < own.index && own.index <= at.index;
            bool held = seen && log_.holds(own);
            auto state = gone ? outcome_unknown : held ? committed : abandoned_conflict_with_leader;
            own_bytes_ -= bytes;
            if (id) machine_->register_transition_state(*id, state);
            if constexpr (reconfigurable)
                if (!id) cluster_->register_membership(asked_, state);
        }
        // Whenever half are settled those go, so that each is moved once on average.
        if (2 * settled_ < own_.size()) return;
        own_.erase(own_.begin(), own_.begin() + static_cast<std::ptrdiff_t>(settled_));
        settled_ = 0;
    }

    /// In the log's order, each entry once [Raft 5.3, Figure 2: rules for all servers]. It settles
    /// what this replica took itself on the way.
    void apply_committed() {
        LITTLE_RAFT_ASSERT(status_.commit_index <= log_.last.index, "what is committed is there");
        if (!own_.empty()) settle({log_[status_.commit_index].term, status_.commit_index});
        while (status_.last_applied < status_.commit_index) {
            const auto& command = log_[++status_.last_applied].command;
            if (auto* transition = std::get_if<T>(&command)) {
                machine_->apply_transition(*transition);
                machine_->register_transition_state(transition->get_id(), applied);
            } else if constexpr (reconfigurable) {
                applied_ = *std::get_if<0>(&command);
                cluster_->register_membership(applied_, applied);
                // Whoever it removed has been sent it by now, as a rule.
                std::erase_if(status_.progress, [](const Progress& peer) { return !peer.member; });
            }
        }
    }

    // ----- Reads ---------------------------------------------------------------------------------
    //
    // A read may see the state once that has all which was committed when the read came [PhD 6.4].
    // What was committed then is known to a leader that committed in its term, and that it still
    // led then, to one whom a majority has heard since. Rounds are told apart by when their
    // messages were sent, as the leader's clock has it; a follower asks its leader.

    /// For how long after a message nobody but its leader can lead. Not above zero: there are none.
    Duration lease() const { return options_.election_timeout_range.min - options_.lease_reads; }

    /// Until when this replica is known to have led. Safety: nothing is known before it committed
    /// in its own term, since until then it may not know all that is committed [Raft 8].
    Time led_until() const {
        if (log_[status_.commit_index].term != status_.term) return {};
        Time heard = quorum(status_.progress, &Progress::last_contact, never);
        // Whoever heard it votes for nobody else for a while, counted from when that was sent.
        // Safety: the clock was read before this poll took in what it did, and stamps may have been
        // ahead of it. Nobody heard anything at Time{}: that means not yet, or not from here.
        bool lasts = detail::least(heard, now_) + lease() > now_ + duty_.stamp_lead;
        return lasts && heard > Time{} ? detail::greatest(heard, stamp_ - Duration(1)) : heard;
    }

    /// One batch at a time, so that any number of reads costs one round. Safety: the next poll is
    /// the first that can answer, since what was known before they came tells nothing about them.
    void serve_reads() {
        if (question_ != Time{} ? led_until() >= question_ : read_index_ <= status_.last_applied)
            end_reads();
        if (!reads_.empty()) return;
        reads_ = machine_->get_pending_reads();
        if (reads_.empty()) return;
        if (!status_.leader) return end_reads();
        question_ = stamp_ + Duration(1);
        if (status_.role != Role::leader) return respond(true, status_.commit_index);
        duty_.asks = duty_.unsent = true;
    }

    void end_reads() {
        question_ = {};
        if constexpr (reading)
            for (const Read& r : std::exchange(reads_, {}))
                status_.leader ? void(machine_->apply_read(r)) : void(machine_->abandon_read(r));
    }

    // ----- Membership ----------------------------------------------------------------------------
    //
    // The last membership in the log is in force, committed or not [PhD 4.1]. Any set of members
    // changes into any other by way of a joint one [PhD 4.3], and when that is committed, whoever
    // leads goes on to the members alone. A leader that is none of them leads until this is
    // committed, too; then it hands over to the first voter that has everything [PhD 4.2.2].

    /// Called when the log, as it ends now, may have another one in force than before: goes through
    /// all that are not applied, the last of which it is. A leader keeps what it knows of those who
    /// stay, and of who goes until that is applied. Safety: whoever is added is not known to have
    /// heard anything.
    void adopt_membership() requires reconfigurable {
        bool leads = status_.role == Role::leader;  // Then it has just appended one.
        for (Index i = leads ? log_.last.index : status_.last_applied; i <= log_.last.index; ++i) {
            if (i > status_.last_applied && log_[i].command.index() != 0) continue;
            membership_index_ = i;
            membership_ = i > status_.last_applied ? *std::get_if<0>(&log_[i].command) : applied_;
            if (!leads) status_.progress.resize(1);
            for (Progress& p : status_.progress) p.votes = p.votes_outgoing = p.member = false;
            for (auto& m : membership_.members) progress_of(m.id).votes |= !m.learner;
            for (auto& m : membership_.outgoing) progress_of(m.id).votes_outgoing |= !m.learner;
            const Progress& own = progress_of(status_.id);
            left_at_ = own.votes || own.votes_outgoing ? Index{absurd} : detail::least(left_at_, i);
        }
        cluster_->register_membership(membership_, queued);
    }

    void adopt_membership() requires(!reconfigurable) {}

    /// Of a member; made where there is none yet.
    Progress& progress_of(ReplicaId id) {
        if (!find(id)) status_.progress.push_back({.id = id, .next_index = log_.last.index + 1});
        find(id)->member = true;
        return *find(id);
    }

    /// So may whoever has a vote in the membership in force, or had one in another that came after
    /// what is known to be committed. Liveness: a leader may be needed from among those
    /// [PhD 4.2.2]. Newcomers and learners wait, and whoever was removed, unless on(RequestVote)
    /// finds one of them needed.
    bool may_lead() const { return status_.commit_index < detail::greatest(left_at_, duty_.ahead); }

    /// One change at a time. Safety: each after an entry of the leader's own term is committed, or
    /// two leaders could begin with sets whose majorities do not meet. It is so as soon as the
    /// membership in force is, since a leader's first entry is one. Liveness: whoever is added has
    /// an election timeout to be heard.
    void take_pending_membership() {
        bool leads = status_.role == Role::leader && may_lead();
        if (leads && (membership_index_ > status_.last_applied || duty_.transfer)) return;
        if (leads && !membership_.outgoing.empty())
            return append_as_leader({status_.term, Config{membership_.members}});
        auto wanted = cluster_->get_pending_membership();
        if (!wanted) return;
        bool votes = false;
        for (const auto& member : wanted->members) votes |= !member.learner;
        MembershipState refused = leads ? abandoned_malformed : abandoned_not_leader;
        if (!leads || !votes) return cluster_->register_membership(*wanted, refused);
        election_deadline_ = now_ + options_.election_timeout_range.max;
        own_.push_back({{status_.term, log_.last.index + 1}, {}, 0});
        asked_ = {wanted->members, membership_.members};
        append_as_leader({status_.term, asked_});
    }

    // ----- Snapshots -----------------------------------------------------------------------------
    //
    // The machine keeps the snapshot, the library only its place in the log [Raft 7]. On the leader
    // a transfer is a state of Progress; on the follower it is duty_.snapshot, which dies with
    // the term.

    /// Each replica takes them on its own, of what it applied, and tells nobody [Raft 7]. Safety:
    /// the machine has it durable before the log is cut.
    void take_snapshot(const auto&... of) {
        static_assert(Snapshotting<M, std::decay_t<decltype(of)>...>);
        // A delta of 0, which means never, becomes the greatest number here.
        if (status_.last_applied - status_.snapshot.index <= options_.snapshot_delta - 1) return;
        LogPosition at{log_[status_.last_applied].term, status_.last_applied};
        static_cast<void>(machine_->create_snapshot(at.index, at.term, of...));
        compact_log(at);
    }

    /// Leaves of what the snapshot covers only what slow followers may still need. Safety: a log
    /// that does not hold its last entry goes as a whole, since what follows there may conflict.
    void compact_log(LogPosition at) {
        status_.snapshot = at;
        Index keeps = at.index - detail::least(options_.snapshot_trailing, at.index.value);
        if (log_.holds(at)) at = log_.last_not_after({at.term, keeps});
        compacted_ |= at != log_.base;
        log_.compact(at);
        // A sync may lag behind.
        stable_index_ = detail::least(detail::greatest(stable_index_, at.index), log_.last.index);
    }

    /// For a follower that lacks what the log no longer has [Raft 7]. One chunk is on its way at a
    /// time; the follower's answer says from where to go on. All followers are sent the same copy,
    /// which is let go once nobody needs it.
    void send_chunk(Progress& peer) requires snapshotting {
        bool begins = peer.state != Progress::snapshot;
        // Liveness: a transfer that is on goes on, however far the log has moved meanwhile, until
        // another begins. Where that is often, snapshot_trailing is too small.
        if (begins && duty_.snapshot.last_included.index < log_.base.index) {
            duty_.snapshot = machine_->get_snapshot().value_or(Snapshot<D, Config>{});
            require(duty_.snapshot.last_included == status_.snapshot, "the snapshot was lost");
            if (status_.fault) return;
        }
        const auto& [at, data, membership] = duty_.snapshot;
        // next_index stands behind the snapshot, whose place tells one transfer from another.
        if (begins || peer.next_index != at.index + 1) {
            peer.become(Progress::snapshot, at.index + 1);
            ++status_.counters.snapshots_sent;
        }
        peer.waiting = true;
        peer.offset = detail::least(peer.offset, detail::size_in_chunks(data));
        bool done = detail::size_in_chunks(data) - peer.offset <= options_.snapshot_chunk_bytes;
        InstallSnapshot<D, Config> chunk{at, peer.offset, {}, done, stamp_, membership};
        detail::add_chunk(chunk.data, data, peer.offset, options_.snapshot_chunk_bytes);
        send({status_.id, peer.id, status_.term, std::move(chunk)});
    }

    /// [Raft Figure 13]. Chunks are joined in order; one that is out of order is answered with how
    /// far it has come, from where the leader goes on.
    void on(const Message& message, InstallSnapshot<D, Config>& request) {
        follow(message.from, request.sent);
        LogPosition at = request.last_included;
        // Safety: never back to an older state. What the log holds needs no snapshot.
        if (at.index > status_.commit_index && !log_.holds(at)) {
            // Safety: pieces of two snapshots are never joined, nor, as become() sees to, of two
            // leaders.
            if (duty_.snapshot.last_included != at) duty_.snapshot = {at, {}, request.membership};
            bool is_next = request.offset == detail::size_in_chunks(duty_.snapshot.data);
            is_next ? detail::add_chunk(duty_.snapshot.data, request.data, 0, ~0ULL) : drop();
            if (!is_next || !request.done) return respond(false, at.index, log_.last_not_after(at));
            // The log holds neither the snapshot's last entry nor, behind that place, anything that
            // could commit.
            apply_committed();
            settle(at);
            restore(duty_.snapshot);
        }
        duty_.snapshot = {};
        status_.commit_index = detail::greatest(status_.commit_index, at.index);
        respond(true, status_.commit_index);
    }

    /// Makes the snapshot the state. The process may have ended after it was saved and before the
    /// log was cut.
    void restore(const Snapshot<D, Config>& snapshot) {
        if constexpr (snapshotting) machine_->set_snapshot(snapshot);
        status_.commit_index = status_.last_applied = snapshot.last_included.index;
        applied_ = snapshot.membership;
        compact_log(snapshot.last_included);
        adopt_membership();
    }

    // ----- Durability ----------------------------------------------------------------------------
    //
    // The log in memory runs ahead of the disk by what one poll took in, or came while a sync was
    // at it. stable_index_ is how far the log was written; once that is synced, a leader's own
    // match_index follows it, never the log's end.

    /// Writes what changed, unless a sync is at it, and syncs. After a failure the replica must
    /// stop, since nobody knows what the disk holds then.
    ///
    /// The order matters only where the process ends in between: a term before the entries of that
    /// term, and a snapshot's place in the log before the entries that follow it.
    void persist() {
        if (!syncing_) std::swap(duty_.owed, leaving_);
        if constexpr (durable) {
            if (!syncing_) {
                bool grew = stable_index_ < log_.last.index;
                syncing_ = vote_changed_ || compacted_ || grew;
                if (vote_changed_) storage_->save_vote(status_.term, status_.voted_for);
                if (compacted_) storage_->compact(log_.base);
                if (grew) storage_->append(stable_index_ + 1, log_.slice(stable_index_ + 1).first);
                vote_changed_ = compacted_ = false;
                stable_index_ = log_.last.index;
            }
            auto ended = syncing_ ? storage_->sync() : true;
            require(ended != false, "the storage failed to sync");
            if (ended != true) return;
            syncing_ = false;
            // Safety: what promises something of the disk leaves only now, and only now does a
            // leader count itself [PhD 10.2.1]. What was cut off meanwhile lowered stable_index_.
            Index before = std::exchange(status_.progress.front().match_index, stable_index_);
            if (status_.role == Role::leader && before < stable_index_) maybe_commit();
        }
        // What this replica tells itself may lead to answers that wait in their turn.
        for (Message& message : leaving_)
            message.to == status_.id ? handle(message) : send(std::move(message));
        leaving_.clear();
    }

    // ----- State ---------------------------------------------------------------------------------

    // From here on a term or an index is absurd; below, no sum overflows. At a million elections or
    // entries a second it would take more than a hundred thousand years to get there.
    static constexpr std::uint64_t absurd = std::uint64_t{1} << 62;

    C* cluster_;
    M* machine_;
    S* storage_;
    const Options<M> options_;

    // What is on disk [Raft Figure 2, persistent state] is status_.term, status_.voted_for and
    // log_; all else is volatile and found again after a restart.
    //
    // Invariants: status_.snapshot.index <= last_applied <= commit_index <= log_.last.index, and
    // the log's base is not after the snapshot. The Storage holds the log up to stable_index_.
    std::conditional_t<durable, Status, Status> status_;
    Log<Entry> log_;
    Index stable_index_;

    std::uint64_t random_ = 0;
    Time now_ = {};  // Of the latest poll.
    // The same, but later with each poll, which tells rounds of messages apart; and by two, so that
    // there is a time between two polls.
    Time stamp_ = {};
    // With a leader, the last; never: in the last poll, or maybe just before this replica stopped.
    Time leader_contact_ =
        options_.lease_reads < options_.election_timeout_range.min ? never : (Time::min)();
    /// When to ask for votes; on a leader, when to stand down if no majority is heard until then,
    /// and when a transfer ends.
    Time election_deadline_ = never;
    Duration election_timeout_ = {};  // Of this role in this term.

    Duty duty_;

    std::vector<Own> own_;          // What was taken here, oldest first,
    std::size_t settled_ = 0;       // ... of which so many are settled.
    std::uint64_t own_bytes_ = 0;   // What the others count for.
    std::vector<Read> reads_;       // Taken, and neither answered nor abandoned.
    Time question_ = {};            // What was sent before tells nothing of them; none: told
    Index read_index_;              // ... which state they may see.
    std::vector<Message> leaving_;  // Those of duty_.owed for which a sync is on.
    bool syncing_ = false;          // A sync has begun and not ended.
    bool vote_changed_ = false;     // Term or vote are not what the Storage has.
    bool compacted_ = false;        // The log's base is not.
    Index membership_index_;        // Of what is in force; last_applied or less: applied_.
    /// Of the first membership in which this replica has no vote any more; absurd: it has one.
    Index left_at_ = {absurd};
    [[no_unique_address]] Config membership_;  // In force.
    [[no_unique_address]] Config applied_;     // In force as of last_applied.
    [[no_unique_address]] Config asked_;       // The latest change that was begun here.
};

}  // namespace v0
}  // namespace little_raft

#endif  // LITTLE_RAFT_HPP
