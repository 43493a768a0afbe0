// Exactly once: clients of a replicated state machine that may ask again, as often as they like.
//
//     struct Bank {                               // a StateMachine; what it returns is the answer
//         using Transition = Transfer;
//         int apply_transition(const Transfer& transfer) { return balance += transfer.amount; }
//         void register_answer(const little_raft::SessionAnswer<int>& answer);  // tell the client
//         std::vector<little_raft::Sessioned<Transfer>> get_pending_transitions();
//         ...
//     };
//
//     little_raft::Sessions<Bank> bank;           // a StateMachine too
//     little_raft::Replica replica{id, peers, network, bank};
//
// Copy this file next to little_raft.hpp; it needs nothing else.
//
// Raft alone applies a transition once for each time that it is in the log, and whoever gets no
// answer (the leader died, the message was lost) can but ask again: so it may be there twice. Here
// each client has a session, which numbers what it asks for and keeps the answers [PhD 6.3]. What
// comes again is not applied again; it gets the answer that it got first. Sessions are a part of
// the state, so all replicas decide alike, and whoever leads next knows them.
//
// How a client goes about it:
// 1. It opens a session: {.sequence = nonce, .command = OpenSession{}}, where the nonce is a number
//    of its own, as good as random. The answer, `opened`, brings its ClientId.
// 2. It numbers what it asks for, rising from 1: {client, sequence, first_unanswered, transition}.
// 3. If no answer comes, or `ask_again`, it sends the same with the same number, to any replica.
// 4. With `first_unanswered` it says what it need not hear again: all answers below that number are
//    there. Who waits for each answer before it asks for more says its own sequence there.
// 5. It closes its session in the end, {.client = client, .command = CloseSession{}}, or is gone.
//
// When a session expires: a client that does not come back never says so, hence their number is
// bounded. Whoever opens one beyond `OpenSession::sessions_max` puts an end to the one that was
// used least recently. That follows from the log alone: no clock, so nothing to agree upon, and no
// messages that only keep a session alive. Who would rather go by time lets whoever watches the
// clock ask for CloseSession: then that is in the log too. A client whose session is gone is told
// `expired`, and what it asked for is not applied: nobody knows any more whether it was before.
// So a new client, which opens a session, and one that was forgotten are never confused.
//
// [PhD] D. Ongaro, "Consensus: Bridging Theory and Practice", 2014.
//
// SPDX-License-Identifier: MIT
#ifndef LITTLE_RAFT_SESSIONS_HPP
#define LITTLE_RAFT_SESSIONS_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "little_raft.hpp"

namespace little_raft {

// ===== What is replicated ========================================================================

/// Names a session. Deviates: [PhD 6.3] takes the index of the entry that opened it, here they are
/// counted, since a machine sees no index. Either way no two are alike, ever. 0 is none.
struct ClientId {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(const ClientId&, const ClientId&) = default;
};

/// Opens a session [PhD 6.3, RegisterClient]. The limits are in the log, not in a configuration: so
/// replicas that are configured differently, during an upgrade say, still decide alike. They are
/// for a server to choose, not for its clients; nor may a client use the session of another.
struct OpenSession {
    /// Sessions that there may be, this one included; those used least recently expire.
    std::uint64_t sessions_max = 10'000;
    /// How far this client may go ahead of its first answer that is missing, and so how many
    /// answers are kept for it; at least 1.
    std::uint64_t answers_max = 64;
    friend bool operator==(const OpenSession&, const OpenSession&) = default;
};

/// Ends a session, whether it is there or not.
struct CloseSession {
    friend bool operator==(const CloseSession&, const CloseSession&) = default;
};

/// A transition T of a client, or what concerns its session. Satisfies Transition.
template <class T>
struct Sessioned {
    /// Whose it is. To open a session: nobody's. A transition of nobody is outside of all sessions:
    /// applied as often as it is in the log, as without this header, and without an answer.
    ClientId client = {};
    /// Tells what the client asks for apart. To open a session: a nonce that tells whose `opened`
    /// it is. Each replica hears of it, so no two clients may have the same: draw it at random.
    std::uint64_t sequence = 0;
    /// The lowest sequence to which the client has no answer yet [PhD 6.3]; never falls.
    std::uint64_t first_unanswered = 0;
    std::variant<CloseSession, OpenSession, T> command = {};

    struct Id {
        ClientId client;
        std::uint64_t sequence;
        std::optional<std::decay_t<decltype(std::declval<const T&>().get_id())>> transition;
        friend bool operator==(const Id&, const Id&) = default;
    };
    Id get_id() const {
        if (const T* transition = std::get_if<T>(&command))
            return {client, sequence, transition->get_id()};
        return {client, sequence, std::nullopt};
    }

    std::uint64_t get_size() const requires requires(const T& transition) { transition.get_size(); }
    {
        const T* transition = std::get_if<T>(&command);
        return transition ? static_cast<std::uint64_t>(transition->get_size()) : 0;
    }

    bool operator==(const Sessioned&) const requires std::equality_comparable<T>
    = default;
};

// ===== What comes of it ==========================================================================

enum class SessionOutcome {
    opened,     ///< `client` is the new session.
    closed,     ///< There is no such session any more.
    applied,    ///< Just now; `answer` is what apply_transition returned.
    repeated,   ///< It was applied before, and not again; `answer` is the one from then.
    ask_again,  ///< It may be in the log or not: ask again, with the same number, there or
                ///< elsewhere.
    /// The client has said that it has the answer, so this is an echo; nothing was applied.
    /// Deviates: [PhD 6.3] calls this expired, too, but the session is well.
    acknowledged,
    /// Not applied: first_unanswered is answers_max behind or more. Raise it, and ask again.
    too_far_ahead,
    /// There is no such session, or no more: nothing was applied now, and nobody knows whether it
    /// was before. A client that goes on must open another and find out by itself.
    expired,
};

/// What became of something that a client asked for.
template <class A>
struct SessionAnswer {
    ClientId client;
    std::uint64_t sequence = 0;
    SessionOutcome outcome = SessionOutcome::ask_again;
    const A* answer = nullptr;  ///< If it is `applied` or `repeated`. Valid during the call.
};

/// The answer of an apply_transition that returns nothing.
struct NoAnswer {
    friend bool operator==(const NoAnswer&, const NoAnswer&) = default;
};

/// What is known of one client.
template <class A>
struct Session {
    struct Kept {
        std::uint64_t sequence;
        [[no_unique_address]] A answer;
        bool operator==(const Kept&) const requires std::equality_comparable<A>
        = default;
    };
    ClientId client = {};
    std::uint64_t first_unanswered = 0;
    std::uint64_t answers_max = 1;
    std::vector<Kept> answers = {};  ///< By sequence, all from first_unanswered on.
    bool operator==(const Session&) const requires std::equality_comparable<A>
    = default;
};

/// All that is known of clients.
template <class A>
struct SessionState {
    std::uint64_t opened = 0;               ///< Sessions that there ever were.
    std::vector<Session<A>> sessions = {};  ///< That used least recently comes first.
    bool operator==(const SessionState&) const requires std::equality_comparable<A>
    = default;
};

/// The SnapshotData of Sessions over a machine whose own are no string of bytes.
template <class D, class A>
struct SessionedSnapshot {
    D machine = {};
    SessionState<A> sessions = {};
    bool operator==(const SessionedSnapshot&)
        const requires std::equality_comparable<D> && std::equality_comparable<A>
    = default;
};

// ===== What you write ============================================================================

/// The machine below Sessions: any StateMachine, whose get_pending_transitions hands over
/// Sessioned<T> where clients have sessions. If it hands over T, those are outside of all sessions.
/// - apply_transition: may return an answer, of any type that can be copied.
/// - register_transition_state: as for any StateMachine. `applied` then means that it had its
///   turn; what came of it says register_answer, before.
template <class M, class T = typename M::Transition>
concept Sessionable = requires(M& machine, const T& transition, TransitionState state) {
    requires Transition<T>;
    machine.register_transition_state(transition.get_id(), state);
    machine.apply_transition(transition);
    machine.get_pending_transitions();
    requires detail::VectorOf<decltype(machine.get_pending_transitions()), T> ||
        detail::VectorOf<decltype(machine.get_pending_transitions()), Sessioned<T>>;
};

/// Optional for the machine: it is told what to tell its clients. Called on every replica that
/// applies the entry, in the same order; on the one that took it also with `ask_again`, when it did
/// not get into the log, or nobody knows.
template <class M, class A>
concept RegistersAnswers = requires(M& machine, const SessionAnswer<A>& answer) {
    machine.register_answer(answer);
};

/// For machines whose snapshots are bytes, since the answers go with them. Not needed where the
/// answer is an integer, a bool, an enum class, a string or vector of bytes, or nothing.
/// - decode_answer: nothing, if these bytes are no answer.
template <class M, class A>
concept EncodesAnswers = requires(const M& machine, const A& answer, std::string_view bytes) {
    { machine.encode_answer(answer) } -> std::convertible_to<std::string>;
    { machine.decode_answer(bytes) } -> std::same_as<std::optional<A>>;
};

namespace session_detail {

template <class M, class T = typename M::Transition>
auto answer_of(int)
    -> std::decay_t<decltype(std::declval<M&>().apply_transition(std::declval<const T&>()))>;
template <class M>
void answer_of(...);
template <class M, class A = decltype(answer_of<M>(0))>
using AnswerOf = std::conditional_t<std::is_void_v<A>, NoAnswer, A>;

// Types cannot be left out of a class by a condition, so they stand in bases of their own.
template <class M>
struct SnapshotType {};
template <class M>
requires requires { typename M::SnapshotData; }
struct SnapshotType<M> {
    using D = typename M::SnapshotData;
    using SnapshotData =
        std::conditional_t<detail::ByteString<D>, D, SessionedSnapshot<D, AnswerOf<M>>>;
};
template <class M>
struct ReadType {};
template <class M>
requires requires { typename M::Read; }
struct ReadType<M> {
    using Read = typename M::Read;
};

template <class A>
concept Number = std::is_integral_v<A> ||
    (std::is_enum_v<A> && !std::is_convertible_v<A, std::underlying_type_t<A>>);

// As in Replica: whoever has a part of a capability must have all of it.
template <class M>
inline constexpr bool has_part_of_snapshotting = (requires { typename M::SnapshotData; }) ||
                                                 (requires { &M::get_snapshot; }) ||
                                                 (requires { &M::create_snapshot; }) ||
                                                 (requires { &M::set_snapshot; });
template <class M>
inline constexpr bool has_part_of_reads = (requires { typename M::Read; }) ||
                                          (requires { &M::get_pending_reads; }) ||
                                          (requires { &M::apply_read; }) ||
                                          (requires { &M::abandon_read; });
template <class M>
inline constexpr bool has_part_of_encoding = (requires { &M::encode_answer; }) ||
                                             (requires { &M::decode_answer; });

/// Says what is missing.
template <class M>
constexpr bool check() {
    static_assert(Sessionable<M>, "little_raft: the machine below Sessions is no Sessionable");
    using A = AnswerOf<M>;
    if constexpr (has_part_of_snapshotting<M>)
        static_assert(Snapshotting<M>, "little_raft: part is missing");
    if constexpr (has_part_of_reads<M>)
        static_assert(LinearizableReads<M>, "little_raft: part is missing");
    if constexpr (requires { &M::register_answer; })
        static_assert(RegistersAnswers<M, A>, "little_raft: register_answer is amiss");
    constexpr bool in_bytes = detail::ByteString<detail::SnapshotDataOf<M>>;
    constexpr bool plain = Number<A> || detail::ByteString<A> || std::is_same_v<A, NoAnswer>;
    if constexpr (has_part_of_encoding<M> || (in_bytes && !plain))
        static_assert(EncodesAnswers<M, A>, "little_raft: how answers become bytes is not said");
    return true;
}

// Bytes come as char, unsigned char or std::byte, and all can be looked at as char; but not made
// from it in one way.
std::string_view view_of(const auto& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
template <class D>
void append(D& bytes, std::string_view more) {
    std::vector<std::remove_cvref_t<decltype(*bytes.data())>> copy(more.size());
    if (!more.empty()) std::memcpy(copy.data(), more.data(), more.size());
    bytes.insert(bytes.end(), copy.data(), copy.data() + copy.size());
}

/// The same on every machine.
inline void append_number(std::string& bytes, std::uint64_t number) {
    for (unsigned i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(number >> (8 * i)));
}

/// Takes from the front of a string of bytes. Trusts none of it: what is not there is 0 or empty,
/// and `good` no longer holds.
struct Reader {
    std::string_view left;
    bool good = true;

    std::string_view take(std::uint64_t size) {
        good = good && size <= left.size();
        if (!good) return {};
        std::string_view taken = left.substr(0, static_cast<std::size_t>(size));
        left.remove_prefix(taken.size());
        return taken;
    }
    std::uint64_t number() {
        std::uint64_t number = 0;
        std::string_view bytes = take(8);
        for (std::size_t i = bytes.size(); i > 0; --i)
            number = number << 8 | static_cast<unsigned char>(bytes[i - 1]);
        return number;
    }
};

/// The sessions of a machine, in the order of their last use, and where each is: so each step costs
/// the same, however many there are. Their order is a part of the state, since it decides who is
/// next to expire; where they are is not, and is found anew in a copy.
template <class A>
class Table {
 public:
    using Kept = typename Session<A>::Kept;

    Table() = default;
    Table(const Table& other) { load(other.save()); }
    Table& operator=(const Table& other) { return load(other.save()), *this; }

    ClientId open(const OpenSession& limits) {
        while (!by_use_.empty() && by_use_.size() >= limits.sessions_max)
            close(by_use_.front().client);
        by_use_.push_back(
            {ClientId{++opened_}, 0, detail::greatest(limits.answers_max, std::uint64_t{1})});
        places_[opened_] = std::prev(by_use_.end());
        return ClientId{opened_};
    }

    void close(ClientId client) {
        auto place = places_.find(client.value);
        if (place == places_.end()) return;
        by_use_.erase(place->second);
        places_.erase(place);
    }

    /// Nothing if there is none; otherwise it is the last to expire now.
    Session<A>* use(ClientId client) {
        auto place = places_.find(client.value);
        if (place == places_.end()) return nullptr;
        by_use_.splice(by_use_.end(), by_use_, place->second);
        return &by_use_.back();
    }

    SessionState<A> save() const { return {opened_, {by_use_.begin(), by_use_.end()}}; }

    /// False, and empty, if no table can have been like that.
    bool load(SessionState<A> state) {
        by_use_.assign(std::make_move_iterator(state.sessions.begin()),
                       std::make_move_iterator(state.sessions.end()));
        opened_ = state.opened;
        places_.clear();
        bool good = true;
        for (auto session = by_use_.begin(); session != by_use_.end(); ++session) {
            std::uint64_t client = session->client.value;
            good = good && 0 < client && client <= opened_ && is_sound(*session) &&
                   places_.emplace(client, session).second;
        }
        if (!good) *this = Table();
        return good;
    }

 private:
    static bool is_sound(const Session<A>& session) {
        const Kept* last = nullptr;
        for (const Kept& kept : session.answers) {
            bool rises =
                last ? last->sequence < kept.sequence : session.first_unanswered <= kept.sequence;
            bool fits = kept.sequence - session.first_unanswered < session.answers_max;
            if (!rises || !fits) return false;
            last = &kept;
        }
        return session.answers_max > 0;
    }

    std::uint64_t opened_ = 0;
    std::list<Session<A>> by_use_;
    std::unordered_map<std::uint64_t, typename std::list<Session<A>>::iterator> places_;
};

}  // namespace session_detail

// ===== Sessions ==================================================================================

/// The machine M, for clients that may ask again. A StateMachine; Snapshotting and
/// LinearizableReads exactly if M is. It has nothing to configure: all that it decides follows from
/// the log.
///
/// A snapshot is M's own and, behind it, the sessions: bytes if M's are bytes, a SessionedSnapshot
/// otherwise. M makes and takes in its own part, and may keep it in memory, as Sessions does.
/// Whoever saves snapshots, which is needed beside a Storage, must save both parts, so it stands
/// above: a class that derives from Sessions<M>, or has one, with functions like these (and
/// get_snapshot).
///
///     std::string create_snapshot(Index index, Term term) {
///         std::string data = Sessions<M>::create_snapshot(index, term);
///         save_durably(index, term, data);
///         return data;
///     }
///     void set_snapshot(const Snapshot<std::string>& snapshot) {
///         save_durably(snapshot.last_included.index, snapshot.last_included.term, snapshot.data);
///         Sessions<M>::set_snapshot(snapshot);
///     }
template <class M>
class Sessions : public session_detail::SnapshotType<M>, public session_detail::ReadType<M> {
    static_assert(session_detail::check<M>());

 public:
    /// What M's apply_transition returns.
    using Answer = session_detail::AnswerOf<M>;

 private:
    using T = typename M::Transition;
    using D = detail::SnapshotDataOf<M>;
    using Question = decltype(detail::read_of(static_cast<M*>(nullptr)));
    using Data = detail::SnapshotDataOf<session_detail::SnapshotType<M>>;
    static constexpr bool snapshotting = session_detail::has_part_of_snapshotting<M>;
    static constexpr bool reading = session_detail::has_part_of_reads<M>;
    static constexpr bool encoding = session_detail::has_part_of_encoding<M>;
    static constexpr bool in_bytes = snapshotting && detail::ByteString<D>;

 public:
    using Transition = Sessioned<T>;

    Sessions() = default;
    /// Makes M of these.
    template <class... Args>
    explicit Sessions(std::in_place_t, Args&&... args) : machine_(std::forward<Args>(args)...) {}

    M& machine() { return machine_; }
    const M& machine() const { return machine_; }

    /// A copy, for tests and for people. Equal on all replicas that have applied the same.
    SessionState<Answer> sessions() const { return table_.save(); }

    /// Set once a snapshot could not be read, with a text for people, until a good one comes. What
    /// the state is nobody knows then: nothing is applied, and whoever asks is told `ask_again`, or
    /// to read elsewhere. Look at it where you look at Status::fault, and stop the replica; another
    /// has the snapshot.
    std::optional<std::string_view> fault() const { return fault_; }

    // ----- StateMachine --------------------------------------------------------------------------

    /// What M hands over, as it is: a reference stays one, so that nothing is allocated.
    decltype(auto) get_pending_transitions() {
        if constexpr (detail::VectorOf<decltype(machine_.get_pending_transitions()), Transition>) {
            return machine_.get_pending_transitions();
        } else {
            std::vector<Transition> outside;
            for (T& transition : machine_.get_pending_transitions())
                outside.push_back({.command = std::move(transition)});
            return outside;
        }
    }

    /// Liveness: whoever waits is told of all ends but `applied`, of which apply_transition told.
    void register_transition_state(const typename Transition::Id& id, TransitionState state) {
        if (fault_ && state == TransitionState::applied) state = TransitionState::outcome_unknown;
        if (id.transition) machine_.register_transition_state(*id.transition, state);
        bool outside = id.transition && id.client == ClientId{};
        if (!outside && state > TransitionState::applied)
            report({id.client, id.sequence, SessionOutcome::ask_again});
    }

    /// Satisfies the receiver's part of RegisterClient and ClientRequest [PhD 6.3, Figure 6.1].
    void apply_transition(const Transition& asked) {
        const T* transition = std::get_if<T>(&asked.command);
        if (fault_) return;
        if (transition && asked.client == ClientId{})
            return static_cast<void>(machine_.apply_transition(*transition));
        if (transition) return apply_in_session(asked, *transition);
        SessionOutcome outcome = SessionOutcome::closed;
        ClientId client = asked.client;
        if (auto* open = std::get_if<OpenSession>(&asked.command)) {
            outcome = SessionOutcome::opened;
            client = table_.open(*open);
        } else {
            table_.close(client);
        }
        report({client, asked.sequence, outcome});
    }

    // ----- Snapshotting, if M is -----------------------------------------------------------------

    Data create_snapshot(Index last_included_index, Term last_included_term) requires snapshotting {
        if (fault_) return {};  // Nobody must take it for a state.
        D own = machine_.create_snapshot(last_included_index, last_included_term);
        saved_ = {{last_included_term, last_included_index}, table_.save()};
        return join(std::move(own), saved_->data);
    }

    std::optional<Snapshot<Data>> get_snapshot() requires snapshotting {
        std::optional<Snapshot<D>> own = machine_.get_snapshot();
        if (fault_ || !own) return std::nullopt;
        if (!saved_ || saved_->last_included != own->last_included) {
            fault_ = "the machine has a snapshot without sessions: who saves it must save both";
            return std::nullopt;
        }
        return Snapshot<Data>{own->last_included, join(std::move(own->data), saved_->data)};
    }

    void set_snapshot(const Snapshot<Data>& snapshot) requires snapshotting {
        auto parts = split(snapshot.data);
        fault_.reset();
        if (!parts || !table_.load(parts->second)) {
            table_ = {};
            saved_.reset();
            fault_ = "the sessions in a snapshot cannot be read";
            return;
        }
        saved_ = {snapshot.last_included, std::move(parts->second)};
        machine_.set_snapshot({snapshot.last_included, std::move(parts->first)});
    }

    // ----- LinearizableReads, if M does them -----------------------------------------------------

    decltype(auto) get_pending_reads() requires reading { return machine_.get_pending_reads(); }
    void apply_read(const Question& read) requires reading {
        fault_ ? void(machine_.abandon_read(read)) : void(machine_.apply_read(read));
    }
    void abandon_read(const Question& read) requires reading { machine_.abandon_read(read); }

 private:
    // "sessions", read backwards.
    static constexpr std::uint64_t magic = 0x73657373696f6e73;
    static constexpr std::size_t trailer = 16;

    void apply_in_session(const Transition& asked, const T& transition) {
        auto tell = [&](SessionOutcome outcome, const Answer* given = nullptr) {
            report({asked.client, asked.sequence, outcome, given});
        };
        Session<Answer>* session = table_.use(asked.client);
        // Safety: it may have been applied while there was a session, so not now.
        if (!session) return tell(SessionOutcome::expired);
        // What the client need not hear again is let go [PhD 6.3].
        std::uint64_t& first = session->first_unanswered;
        auto& kept = session->answers;
        first = detail::greatest(first, asked.first_unanswered);
        auto at = kept.begin();
        while (at != kept.end() && at->sequence < first) ++at;
        at = kept.erase(kept.begin(), at);
        // Safety: what is below was answered once, whatever is remembered of it.
        if (asked.sequence < first) return tell(SessionOutcome::acknowledged);
        while (at != kept.end() && at->sequence < asked.sequence) ++at;
        if (at != kept.end() && at->sequence == asked.sequence)
            return tell(SessionOutcome::repeated, &at->answer);
        if (asked.sequence - first >= session->answers_max)
            return tell(SessionOutcome::too_far_ahead);
        at = kept.insert(at, {asked.sequence, answer_of(transition)});
        tell(SessionOutcome::applied, &at->answer);
    }

    /// Calls the machine, and keeps what it returns.
    Answer answer_of(const T& transition) {
        if constexpr (std::is_void_v<decltype(machine_.apply_transition(transition))>) {
            machine_.apply_transition(transition);
            return {};
        } else {
            return machine_.apply_transition(transition);
        }
    }

    /// For whoever wants to know. Everybody is told the same, which replica the client asks or not.
    void report([[maybe_unused]] const SessionAnswer<Answer>& what) {
        if constexpr (RegistersAnswers<M, Answer>) machine_.register_answer(what);
    }

    // ----- Both parts of a snapshot --------------------------------------------------------------
    //
    // As bytes: M's own first, so that nothing of it has to be moved, then the sessions, then how
    // many bytes those are, so that they are found from the end. All numbers have 8 bytes, the
    // lowest first. Equal states make equal bytes.
    //
    //     M's own
    //     opened, how many sessions, of each:
    //         client, first_unanswered, answers_max, how many answers, of each:
    //             sequence, the answer (if it is no number: how many bytes, and these)
    //     how many bytes since M's own, magic

    Data join(D own, const SessionState<Answer>& state) const {
        if constexpr (in_bytes) {
            session_detail::append(own, encode(state));
            return own;
        } else {
            return {std::move(own), state};
        }
    }

    /// Nothing, if it cannot be read.
    std::optional<std::pair<D, SessionState<Answer>>> split(const Data& data) const {
        if constexpr (in_bytes) {
            std::string_view bytes = session_detail::view_of(data);
            if (bytes.size() < trailer) return std::nullopt;
            session_detail::Reader end{bytes.substr(bytes.size() - trailer)};
            bytes.remove_suffix(trailer);
            std::uint64_t size = end.number();
            if (end.number() != magic || size > bytes.size()) return std::nullopt;
            auto own = bytes.size() - static_cast<std::size_t>(size);
            auto state = decode({bytes.substr(own)});
            if (!state) return std::nullopt;
            return std::pair(D(data.data(), data.data() + own), *std::move(state));
        } else {
            return std::pair(data.machine, data.sessions);
        }
    }

    std::string encode(const SessionState<Answer>& state) const {
        std::string bytes;
        auto number = [&](std::uint64_t value) { session_detail::append_number(bytes, value); };
        number(state.opened);
        number(state.sessions.size());
        for (const Session<Answer>& session : state.sessions) {
            number(session.client.value);
            number(session.first_unanswered);
            number(session.answers_max);
            number(session.answers.size());
            for (const auto& [sequence, answer] : session.answers) {
                number(sequence);
                encode_to(bytes, answer);
            }
        }
        number(bytes.size());
        number(magic);
        return bytes;
    }

    /// Whatever numbers there are, no more is allocated than what there are bytes for.
    std::optional<SessionState<Answer>> decode(session_detail::Reader in) const {
        SessionState<Answer> state;
        state.opened = in.number();
        for (std::uint64_t i = in.number(); i > 0 && in.good; --i) {
            Session<Answer>& session = state.sessions.emplace_back();
            session.client = {in.number()};
            session.first_unanswered = in.number();
            session.answers_max = in.number();
            for (std::uint64_t k = in.number(); k > 0 && in.good; --k) {
                std::uint64_t sequence = in.number();
                std::optional<Answer> answer = decode_from(in);
                in.good = in.good && answer;
                if (in.good) session.answers.push_back({sequence, *std::move(answer)});
            }
        }
        if (!in.good || !in.left.empty()) return std::nullopt;
        return state;
    }

    void encode_to(std::string& bytes, const Answer& answer) const {
        auto text = [&](std::string_view value) {
            session_detail::append_number(bytes, value.size());
            bytes.append(value);
        };
        if constexpr (encoding)
            text(std::string(machine_.encode_answer(answer)));
        else if constexpr (detail::ByteString<Answer>)
            text(session_detail::view_of(answer));
        else if constexpr (session_detail::Number<Answer>)
            session_detail::append_number(bytes, static_cast<std::uint64_t>(answer));
    }

    std::optional<Answer> decode_from(session_detail::Reader& in) const {
        if constexpr (encoding) {
            return machine_.decode_answer(in.take(in.number()));
        } else if constexpr (session_detail::Number<Answer>) {
            std::uint64_t number = in.number();
            auto answer = static_cast<Answer>(number);
            if (static_cast<std::uint64_t>(answer) != number) return std::nullopt;
            return answer;
        } else {
            Answer answer{};
            if constexpr (detail::ByteString<Answer>)
                session_detail::append(answer, in.take(in.number()));
            return answer;
        }
    }

    M machine_;
    session_detail::Table<Answer> table_;
    std::optional<std::string_view> fault_;
    [[no_unique_address]] std::conditional_t<
        snapshotting, std::optional<Snapshot<SessionState<Answer>>>, NoAnswer>
        saved_;  // The sessions in the latest snapshot.
};

}  // namespace little_raft

#endif  // LITTLE_RAFT_SESSIONS_HPP
