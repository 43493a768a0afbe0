// What the library asks of your types, checked of each type by itself: the state machine, its
// snapshots, the encoding of messages, the hand-over of transitions, the storage, the transport.
// Nothing here runs a cluster, so what fails is plainly told.
//
//     Check check = check_machine<BankTest>();   // BankTest: a subject, see subject.hpp
//     CHECK_MESSAGE(check.passed, check.text);
//
// The same settings check the same; what a failure shows has been made as short as can be.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "little_raft.hpp"
#include "members.hpp"
#include "memory_disk.hpp"
#include "random.hpp"
#include "subject.hpp"

namespace little_raft::testing {

struct Check {
    bool passed = true;
    std::string text = {};  ///< What is wrong; or, when it passed, how much was checked.
};

struct ContractSettings {
    std::uint64_t seed = 1;
    std::uint64_t rounds = 100;  ///< Cases to draw.
    std::uint64_t length = 30;   ///< The most transitions, messages or writes in one.
};

namespace detail {

/// What a user's function threw, in words; nothing if it returned.
template <class F>
std::optional<std::string> thrown_by(F&& function) {
#ifdef __cpp_exceptions
    try {
        function();
    } catch (const std::exception& error) {
        return std::string("it threw an exception: ") + error.what();
    } catch (...) {
        return std::string("it threw an exception");
    }
#else
    function();
#endif
    return std::nullopt;
}

/// Leaves out what is not needed for the failure. One that comes and goes is asked for more than
/// once.
template <class X, class Fails>
void shrink(std::vector<X>& items, int tries, Fails fails) {
    auto still = [&](const std::vector<X>& candidate) {
        for (int i = 0; i < tries; ++i) {
            if (fails(candidate)) return true;
        }
        return false;
    };
    for (std::size_t size = items.size(); size > 0; size /= 2) {
        bool again = true;
        while (std::exchange(again, false)) {
            for (std::size_t at = 0; at < items.size();) {
                std::size_t end = (std::min)(items.size(), at + size);
                std::vector<X> candidate(items.begin(),
                                         items.begin() + static_cast<std::ptrdiff_t>(at));
                candidate.insert(candidate.end(), items.begin() + static_cast<std::ptrdiff_t>(end),
                                 items.end());
                if (still(candidate)) {
                    items = std::move(candidate);
                    again = size == 1;
                } else {
                    at += size;
                }
            }
        }
    }
}

/// On the heap: a machine need be neither copyable nor movable, and each has its own address.
template <class S>
std::unique_ptr<typename S::Machine> new_machine() {
    return std::unique_ptr<typename S::Machine>(new
                                                typename S::Machine(SubjectTraits<S>::machine()));
}

/// As the library does on a follower.
template <class M, class T>
void apply_as_follower(M& machine, const T& transition) {
    machine.apply_transition(transition);
    machine.register_transition_state(transition.get_id(), TransitionState::applied);
}

template <class S>
bool same_data(const little_raft::detail::SnapshotDataOf<typename S::Machine>& a,
               const little_raft::detail::SnapshotDataOf<typename S::Machine>& b) {
    using D = little_raft::detail::SnapshotDataOf<typename S::Machine>;
    if constexpr (std::equality_comparable<D>) {
        return a == b;
    } else if constexpr (little_raft::detail::ByteString<D>) {
        return std::equal(a.data(), a.data() + a.size(), b.data(), b.data() + b.size());
    } else if constexpr (SubjectTraits<S>::snapshotting) {
        auto one = new_machine<S>();
        auto other = new_machine<S>();
        one->set_snapshot({{Term{1}, Index{1}}, a});
        other->set_snapshot({{Term{1}, Index{1}}, b});
        return SubjectTraits<S>::equal(*one, *other);
    } else {
        return true;
    }
}

/// Where transitions cannot be compared, by their ids and by what they do to a new machine.
template <class S>
bool same_transition(const typename SubjectTraits<S>::T& a, const typename SubjectTraits<S>::T& b) {
    if constexpr (std::equality_comparable<typename SubjectTraits<S>::T>) {
        return a == b;
    } else {
        if (!(a.get_id() == b.get_id())) return false;
        auto one = new_machine<S>();
        auto other = new_machine<S>();
        one->apply_transition(a);
        other->apply_transition(b);
        return SubjectTraits<S>::equal(*one, *other);
    }
}

inline bool same(const Noop&, const Noop&) { return true; }
using testing::same;

template <class S>
bool same_entry(const typename SubjectTraits<S>::LogEntry& a,
                const typename SubjectTraits<S>::LogEntry& b) {
    using T = typename SubjectTraits<S>::T;
    const T* one = std::get_if<T>(&a.command);
    const T* other = std::get_if<T>(&b.command);
    if (a.term != b.term || (one == nullptr) != (other == nullptr)) return false;
    if (one == nullptr) return same(std::get<0>(a.command), std::get<0>(b.command));
    return same_transition<S>(*one, *other);
}

template <class S>
bool same_entries(const std::vector<typename SubjectTraits<S>::LogEntry>& a,
                  const std::vector<typename SubjectTraits<S>::LogEntry>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_entry<S>);
}

inline std::string show_config(const Noop&) { return "no-op"; }
inline std::string show_config(const Membership& membership) {
    return "members " + to_text(membership);
}

inline std::string show_position(LogPosition at) {
    return std::to_string(at.index.value) + " of term " + std::to_string(at.term.value);
}

template <class S>
std::string show_entries(const std::vector<typename SubjectTraits<S>::LogEntry>& entries) {
    using T = typename SubjectTraits<S>::T;
    std::string text = "[";
    for (std::size_t i = 0; i < entries.size() && i < 12; ++i) {
        const T* transition = std::get_if<T>(&entries[i].command);
        text += (i > 0 ? ", " : "") +
                (transition ? SubjectTraits<S>::show(*transition)
                            : show_config(std::get<0>(entries[i].command))) +
                " in term " + std::to_string(entries[i].term.value);
    }
    return text + (entries.size() > 12 ? ", ... " + std::to_string(entries.size()) + "]" : "]");
}

}  // namespace detail

// ===== State machine =============================================================================

namespace detail {

/// For machines that keep the membership with it, and for those that do not.
template <class S>
auto create_snapshot(typename S::Machine& machine, LogPosition at, const Membership& membership) {
    if constexpr (SubjectTraits<S>::keeps_membership) {
        return machine.create_snapshot(at.index, at.term, membership);
    } else {
        return machine.create_snapshot(at.index, at.term);
    }
}

/// What differs between machines that are given the same transitions; empty: nothing.
template <class S>
std::string divergence(const std::vector<typename SubjectTraits<S>::T>& transitions) {
    using Traits = SubjectTraits<S>;
    auto plain = new_machine<S>();
    auto leader = new_machine<S>();
    auto busy = new_machine<S>();
    for (const auto& transition : transitions) {
        leader->register_transition_state(transition.get_id(), TransitionState::queued);
    }
    for (std::size_t i = 0; i < transitions.size(); ++i) {
        const auto& transition = transitions[i];
        std::string where = "after " + std::to_string(i + 1) + " of " +
                            std::to_string(transitions.size()) + " transitions ";
        leader->register_transition_state(transition.get_id(), TransitionState::committed);
        apply_as_follower(*plain, transition);
        apply_as_follower(*leader, transition);
        apply_as_follower(*busy, transition);
        static_cast<void>(leader->get_pending_transitions());
        if (!Traits::equal(*plain, *leader))
            return where +
                   "two machines differ that were given the same: one as a leader's, which "
                   "was also told `queued` and `committed`, one as a follower's";
        if constexpr (Traits::snapshotting) {
            if (i % 2 == 0) create_snapshot<S>(*busy, {Term{1}, Index{i + 1}}, {});
            if (i % 3 == 0) static_cast<void>(busy->get_snapshot());
        }
        if (!Traits::equal(*plain, *busy))
            return where +
                   (Traits::snapshotting
                        ? "two machines differ that were given the same: one took snapshots, one "
                          "did not"
                        : "two machines differ that were given the same");
    }
    auto late = new_machine<S>();
    for (const auto& transition : transitions) apply_as_follower(*late, transition);
    if (!Traits::equal(*plain, *late))
        return "a machine that was given the same transitions later, as one that restarts is, "
               "differs at their end";
    return {};
}

template <class S>
std::string show_transitions(const std::vector<typename SubjectTraits<S>::T>& transitions) {
    std::string text;
    for (const auto& transition : transitions) {
        text += "    " + SubjectTraits<S>::show(transition) + "\n";
    }
    return text;
}

}  // namespace detail

/// Equal transitions must make equal machines, whatever else happens: to a leader's and to a
/// follower's, with snapshots and without, at other addresses and at other times.
template <class S>
Check check_machine(ContractSettings settings = {}) {
    using Traits = SubjectTraits<S>;
    Traits::check();
    Random random(settings.seed);
    std::uint64_t number = 0;
    bool told_apart = false;
    for (std::uint64_t round = 0; round < settings.rounds; ++round) {
        std::vector<typename Traits::T> transitions;
        for (std::uint64_t left = 1 + random.below(settings.length); left > 0; --left) {
            transitions.push_back(Traits::transition(random, ++number));
        }
        if (std::string what = detail::divergence<S>(transitions); !what.empty()) {
            detail::shrink(transitions, 3, [&](const auto& candidate) {
                std::string found = detail::divergence<S>(candidate);
                if (!found.empty()) what = found;
                return !found.empty();
            });
            return {false, "The state does not follow from the transitions alone: " + what +
                               ". The transitions:\n" + detail::show_transitions<S>(transitions)};
        }
        auto machine = detail::new_machine<S>();
        for (const auto& transition : transitions) machine->apply_transition(transition);
        told_apart = told_apart || !Traits::equal(*machine, *detail::new_machine<S>());
    }
    if (!told_apart)
        return {false, "In " + std::to_string(settings.rounds) +
                           " runs no transition made a machine differ from a new one: either "
                           "apply_transition does nothing, or the subject cannot tell machines "
                           "apart, and then nothing can be checked"};
    return {true, std::to_string(number) + " transitions in " + std::to_string(settings.rounds) +
                      " runs"};
}

// ===== Snapshots =================================================================================

namespace detail {

/// A transition, and what it is for: before the snapshot, after it, or on the machine that the
/// snapshot will replace.
template <class T>
struct SnapshotStep {
    enum Part { before, after, other };
    Part part;
    T transition;
};

/// What is wrong with the machine's snapshots in this case; empty: nothing.
template <class S>
std::string snapshot_fault(const std::vector<SnapshotStep<typename SubjectTraits<S>::T>>& steps,
                           std::uint64_t chunk) {
    using Traits = SubjectTraits<S>;
    using T = typename Traits::T;
    using Step = SnapshotStep<T>;
    using D = typename Traits::D;
    using Held = std::optional<typename Traits::Given>;
    auto feed = [&](auto& machine, typename Step::Part part) {
        for (const Step& step : steps) {
            if (step.part == part) apply_as_follower(machine, step.transition);
        }
    };
    auto control = new_machine<S>();
    auto machine = new_machine<S>();
    feed(*control, Step::before);
    feed(*machine, Step::before);
    const LogPosition at{Term{3}, Index{7}};
    const Membership membership{{{ReplicaId{4}, "an address"}, {ReplicaId{5}, "", true}}};
    const D returned = create_snapshot<S>(*machine, at, membership);
    if (!Traits::equal(*machine, *control)) return "create_snapshot changes the state";

    auto lost = [&](const Held& held) -> std::string {
        if (!held) return "gives nothing";
        if (!(held->last_included == at))
            return "gives one of " + show_position(held->last_included) + " in place of " +
                   show_position(at);
        if constexpr (Traits::keeps_membership)
            if (!same(held->membership, membership))
                return "gives the membership " + to_text(held->membership) + " in place of " +
                       to_text(membership);
        return same_data<S>(held->data, returned) ? "" : "gives other data than it returned";
    };
    const Held snapshot = machine->get_snapshot();
    if (std::string what = lost(snapshot); !what.empty())
        return "get_snapshot after create_snapshot " + what;
    if (std::string what = lost(machine->get_snapshot()); !what.empty())
        return "get_snapshot, asked twice, " + what;
    feed(*machine, Step::after);
    if (std::string what = lost(machine->get_snapshot()); !what.empty())
        return "get_snapshot after more transitions " + what;

    // As it arrives: in pieces, joined to what a default-constructed value holds.
    D joined{};
    if constexpr (little_raft::detail::ByteString<D>) {
        if (joined.size() != 0) return "SnapshotData{} is not empty, so chunks cannot be joined";
        std::uint64_t size = little_raft::detail::size_in_chunks(returned);
        for (std::uint64_t from = 0; from < size; from += chunk) {
            D piece{};
            little_raft::detail::add_chunk(piece, returned, from, chunk);
            little_raft::detail::add_chunk(joined, piece, 0, chunk);
        }
        if (!same_data<S>(joined, returned))
            return "the data are others after they were cut and joined";
    } else {
        little_raft::detail::add_chunk(joined, returned, 0, chunk);
    }
    typename Traits::Given arrived{at, joined};
    if constexpr (Traits::keeps_membership) arrived.membership = membership;

    auto occupied = new_machine<S>();
    feed(*occupied, Step::other);
    auto with_older = new_machine<S>();
    feed(*with_older, Step::other);
    static_cast<void>(create_snapshot<S>(*with_older, {Term{1}, Index{2}}, {}));
    auto fresh = new_machine<S>();
    struct Target {
        typename S::Machine* machine;
        const char* name;
    };
    for (Target target : {Target{fresh.get(), "a new machine"},
                          Target{occupied.get(), "a machine with a state of its own"},
                          Target{with_older.get(), "a machine with a snapshot of its own"}}) {
        target.machine->set_snapshot(arrived);
        if (!Traits::equal(*target.machine, *control))
            return std::string("set_snapshot on ") + target.name +
                   " does not make it the machine that the snapshot was taken of";
        if (std::string what = lost(target.machine->get_snapshot()); !what.empty())
            return std::string("get_snapshot after set_snapshot on ") + target.name + " " + what;
    }
    feed(*control, Step::after);
    if (!Traits::equal(*machine, *control)) return "create_snapshot disturbs later transitions";
    for (auto* restored : {fresh.get(), occupied.get(), with_older.get()}) {
        feed(*restored, Step::after);
        if (!Traits::equal(*restored, *control))
            return "a restored machine goes another way under later transitions: the snapshot "
                   "lacks a part of the state";
    }
    return {};
}

}  // namespace detail

/// A snapshot must be the whole state: what is restored from it is equal, now and later; it
/// replaces and does not merge; and it stays the same until the next one.
template <class S>
Check check_snapshots(ContractSettings settings = {}) {
    using Traits = SubjectTraits<S>;
    using SnapshotStep = detail::SnapshotStep<typename Traits::T>;
    Traits::check();
    static_assert(Traits::snapshotting,
                  "little_raft: check_snapshots is for a state machine that takes snapshots");
    Random random(settings.seed);
    std::uint64_t number = 0;
    for (std::uint64_t round = 0; round < settings.rounds; ++round) {
        std::vector<SnapshotStep> steps;
        for (std::uint64_t left = random.below(settings.length + 1); left > 0; --left) {
            auto part = static_cast<typename SnapshotStep::Part>(random.below(3));
            steps.push_back({part, Traits::transition(random, ++number)});
        }
        std::uint64_t chunk = 1 + random.below(20);
        std::string what = detail::snapshot_fault<S>(steps, chunk);
        if (what.empty()) continue;
        detail::shrink(steps, 3, [&](const std::vector<SnapshotStep>& candidate) {
            std::string found = detail::snapshot_fault<S>(candidate, chunk);
            if (!found.empty()) what = found;
            return !found.empty();
        });
        std::string text = "A snapshot is not the state: " + what + ". The transitions:\n";
        for (const SnapshotStep& step : steps) {
            static constexpr const char* names[] = {
                "before the snapshot: ", "after it: ", "before set_snapshot: "};
            text += std::string("    ") + names[step.part] + Traits::show(step.transition) + "\n";
        }
        return {false, text + (steps.empty() ? "    (none)\n" : "")};
    }
    return {true, std::to_string(settings.rounds) + " snapshots"};
}

// ===== Messages ==================================================================================

namespace detail {

/// Small ones mostly; and the extremes, which encodings get wrong.
inline std::uint64_t draw_number(Random& random) {
    switch (random.below(8)) {
        case 0:
            return 0;
        case 1:
            return ~std::uint64_t{0};
        case 2:
            return std::uint64_t{1} << random.below(64);
        case 3:
            return (std::uint64_t{1} << random.below(64)) - 1;
        case 4:
            return random.next();
        default:
            return random.below(300);
    }
}

template <class S>
typename SubjectTraits<S>::D draw_data(Random& random, std::uint64_t& number) {
    using Traits = SubjectTraits<S>;
    using D = typename Traits::D;
    if constexpr (little_raft::detail::ByteString<D>) {
        static constexpr std::uint64_t sizes[] = {0, 1, 2, 7, 64, 1000, 5000};
        std::uint64_t size = random.one_in(50) ? 300'000 : sizes[random.below(7)];
        std::string bytes;
        for (std::uint64_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(random.next()));
        using Byte = std::remove_cv_t<std::remove_pointer_t<decltype(D{}.data())>>;
        D data{};
        for (char byte : bytes) data.insert(data.end(), static_cast<Byte>(byte));
        return data;
    } else if constexpr (Traits::snapshotting) {
        if (random.one_in(4)) return D{};
        auto machine = new_machine<S>();
        for (std::uint64_t left = random.below(20); left > 0; --left) {
            machine->apply_transition(Traits::transition(random, ++number));
        }
        return create_snapshot<S>(*machine, {Term{1}, Index{1}}, {});
    } else {
        return D{};
    }
}

/// What is no transition. Addresses are of any bytes.
template <class S>
typename SubjectTraits<S>::Config draw_config([[maybe_unused]] Random& random) {
    typename SubjectTraits<S>::Config config;
    if constexpr (SubjectTraits<S>::members_change) {
        for (auto* members : {&config.members, &config.outgoing}) {
            if (members == &config.outgoing && random.one_in(2)) break;
            for (std::uint64_t left = random.below(6); left > 0; --left) {
                members->push_back({ReplicaId{draw_number(random)}, {}, random.one_in(3)});
                std::uint64_t size = random.one_in(20) ? 1'000 : random.below(12);
                for (; size > 0; --size)
                    members->back().address.push_back(static_cast<char>(random.next()));
            }
        }
    }
    return config;
}

template <class S>
std::vector<typename SubjectTraits<S>::LogEntry> draw_entries(Random& random, std::uint64_t count,
                                                              std::uint64_t& number) {
    std::vector<typename SubjectTraits<S>::LogEntry> entries;
    for (std::uint64_t i = 0; i < count; ++i) {
        entries.push_back({Term{draw_number(random)}, draw_config<S>(random)});
        if (!random.one_in(4))
            entries.back().command = SubjectTraits<S>::transition(random, ++number);
    }
    return entries;
}

/// Its body is the one at `kind`. It is well-typed, not well-formed: a transport carries both.
template <class S>
typename SubjectTraits<S>::Message draw_message(Random& random, std::size_t kind,
                                                std::uint64_t& number) {
    using Traits = SubjectTraits<S>;
    auto n = [&] { return draw_number(random); };
    auto yes = [&] { return random.one_in(2); };
    auto time = [&] { return Time(Duration(static_cast<Duration::rep>(n() >> 1))); };
    typename SubjectTraits<S>::Message message{ReplicaId{n()}, ReplicaId{n()}, Term{n()}, {}};
    switch (kind) {
        case 0:
            message.body = RequestVote{yes(), {Term{n()}, Index{n()}}, yes()};
            break;
        case 1:
            message.body = RequestVoteResponse{yes(), yes()};
            break;
        case 2: {
            static constexpr std::uint64_t counts[] = {0, 1, 2, 5, 5, 100};
            auto entries = draw_entries<S>(random, counts[random.below(6)], number);
            message.body = AppendEntries<typename Traits::T, typename Traits::Config>{
                {Term{n()}, Index{n()}}, Index{n()}, std::move(entries), time(), time()};
            break;
        }
        case 3:
            message.body = AppendEntriesResponse{yes(), Index{n()}, {Term{n()}, Index{n()}},
                                                 n(),   time(),     time()};
            break;
        case 4:
            message.body = InstallSnapshot<typename Traits::D, typename Traits::Config>{
                {Term{n()}, Index{n()}}, n(), draw_data<S>(random, number), yes(), time(),
                draw_config<S>(random)};
            break;
        default:
            message.body = TimeoutNow{};
    }
    return message;
}

/// The fields in which two messages differ; empty: none.
template <class S>
class Differences {
 public:
    Differences(const typename SubjectTraits<S>::Message& a,
                const typename SubjectTraits<S>::Message& b) {
        field("the kind of body", a.body.index() == b.body.index());
        if (!text_.empty()) return;
        field("from", a.from == b.from);
        field("to", a.to == b.to);
        field("term", a.term == b.term);
        std::visit([&](const auto& x) { body(x, std::get<std::decay_t<decltype(x)>>(b.body)); },
                   a.body);
    }
    const std::string& text() const { return text_; }

 private:
    void field(const char* name, bool equal) {
        if (!equal) text_ += (text_.empty() ? "" : ", ") + std::string(name);
    }
    void body(const RequestVote& a, const RequestVote& b) {
        field("pre_vote", a.pre_vote == b.pre_vote);
        field("last_log_index", a.last_log.index == b.last_log.index);
        field("last_log_term", a.last_log.term == b.last_log.term);
        field("transfer", a.transfer == b.transfer);
    }
    void body(const RequestVoteResponse& a, const RequestVoteResponse& b) {
        field("pre_vote", a.pre_vote == b.pre_vote);
        field("vote_granted", a.vote_granted == b.vote_granted);
    }
    template <class T, class Config>
    void body(const AppendEntries<T, Config>& a, const AppendEntries<T, Config>& b) {
        field("prev_log_index", a.prev_log.index == b.prev_log.index);
        field("prev_log_term", a.prev_log.term == b.prev_log.term);
        field("leader_commit", a.leader_commit == b.leader_commit);
        field("entries", same_entries<S>(a.entries, b.entries));
        field("sent", a.sent == b.sent);
        field("read", a.read == b.read);
    }
    void body(const AppendEntriesResponse& a, const AppendEntriesResponse& b) {
        field("success", a.success == b.success);
        field("match_index", a.match_index == b.match_index);
        field("hint.index", a.hint.index == b.hint.index);
        field("hint.term", a.hint.term == b.hint.term);
        field("snapshot_offset", a.snapshot_offset == b.snapshot_offset);
        field("heard", a.heard == b.heard);
        field("read", a.read == b.read);
    }
    void body(const TimeoutNow&, const TimeoutNow&) {}
    template <class D, class Config>
    void body(const InstallSnapshot<D, Config>& a, const InstallSnapshot<D, Config>& b) {
        field("last_included.index", a.last_included.index == b.last_included.index);
        field("last_included.term", a.last_included.term == b.last_included.term);
        field("offset", a.offset == b.offset);
        field("data", same_data<S>(a.data, b.data));
        field("done", a.done == b.done);
        field("sent", a.sent == b.sent);
        field("membership", same(a.membership, b.membership));
    }

    std::string text_;
};

template <class S>
std::string difference(const typename SubjectTraits<S>::Message& a,
                       const typename SubjectTraits<S>::Message& b) {
    return Differences<S>(a, b).text();
}

inline Duration::rep show_time(Time time) { return time.time_since_epoch().count(); }

template <class S>
std::string show_message(const typename SubjectTraits<S>::Message& message) {
    using T = typename SubjectTraits<S>::T;
    using D = typename SubjectTraits<S>::D;
    using Config = typename SubjectTraits<S>::Config;
    std::ostringstream text;
    text << std::boolalpha << kind_of(message) << " from " << message.from.value << " to "
         << message.to.value << " in term " << message.term.value;
    if (auto* vote = std::get_if<RequestVote>(&message.body)) {
        text << ", pre_vote " << vote->pre_vote << ", last entry " << show_position(vote->last_log)
             << ", transfer " << vote->transfer;
    } else if (auto* answer = std::get_if<RequestVoteResponse>(&message.body)) {
        text << ", pre_vote " << answer->pre_vote << ", vote_granted " << answer->vote_granted;
    } else if (auto* append = std::get_if<AppendEntries<T, Config>>(&message.body)) {
        text << ", after entry " << show_position(append->prev_log) << ", leader_commit "
             << append->leader_commit.value << ", entries " << show_entries<S>(append->entries)
             << ", sent " << show_time(append->sent) << ", read " << show_time(append->read);
    } else if (auto* response = std::get_if<AppendEntriesResponse>(&message.body)) {
        text << ", success " << response->success << ", match_index " << response->match_index.value
             << ", hint " << show_position(response->hint) << ", snapshot_offset "
             << response->snapshot_offset << ", heard " << show_time(response->heard) << ", read "
             << show_time(response->read);
    } else if (auto* install = std::get_if<InstallSnapshot<D, Config>>(&message.body)) {
        text << ", last entry " << show_position(install->last_included) << ", offset "
             << install->offset << ", " << little_raft::detail::size_in_chunks(install->data)
             << " bytes, done " << install->done << ", sent " << show_time(install->sent);
        if constexpr (SubjectTraits<S>::members_change)
            text << ", " << show_config(install->membership);
    }
    return text.str();
}

/// From memory of just that size, so that a sanitizer sees a decoder that reads on.
template <class S>
std::optional<typename SubjectTraits<S>::Message> decode_exactly(const std::string& text) {
    auto copy = std::make_unique<char[]>(text.size());
    std::copy(text.begin(), text.end(), copy.get());
    return S::decode(std::string_view(copy.get(), text.size()));
}

/// A text that is nearly one that was encoded.
inline std::string damage(std::string text, Random& random) {
    switch (random.below(5)) {
        case 0:
            text.resize(static_cast<std::size_t>(random.below(text.size() + 1)));
            break;
        case 1:
            for (std::uint64_t left = 1 + random.below(16); left > 0; --left) {
                text.push_back(static_cast<char>(random.next()));
            }
            break;
        case 2: {
            std::string noise(static_cast<std::size_t>(random.below(80)), '\0');
            for (char& byte : noise) byte = static_cast<char>(random.next());
            text = noise;
            break;
        }
        case 3: {  // A piece is missing.
            auto at = static_cast<std::size_t>(random.below(text.size() + 1));
            text.erase(at, static_cast<std::size_t>(1 + random.below(8)));
            break;
        }
        default:
            for (std::uint64_t left = 1 + random.below(4); left > 0 && !text.empty(); --left) {
                char& byte = text[static_cast<std::size_t>(random.below(text.size()))];
                byte = random.one_in(4) ? static_cast<char>(255)
                                        : static_cast<char>(byte ^ (1 << random.below(8)));
            }
    }
    return text;
}

}  // namespace detail

/// Each message that is encoded and decoded must be the same; and whatever else is decoded may give
/// nothing or some message, but must do no harm. A crash ends the program: run it under a
/// sanitizer, where a read past the end is one.
template <class S>
Check check_serialization(ContractSettings settings = {}) {
    using Message = typename SubjectTraits<S>::Message;
    SubjectTraits<S>::check();
    static_assert(SubjectTraits<S>::encodes,
                  "little_raft: check_serialization is for a subject with encode and decode");
    Random random(settings.seed);
    std::uint64_t number = 0;
    std::uint64_t damaged = 0;
    for (std::uint64_t round = 0; round < settings.rounds; ++round) {
        for (std::size_t kind = 0; kind < 5; ++kind) {
            Message message = detail::draw_message<S>(random, kind, number);
            std::string text;
            std::optional<Message> decoded;
            auto error = detail::thrown_by([&] {
                text = S::encode(message);
                decoded = detail::decode_exactly<S>(text);
            });
            std::string what = error     ? *error
                               : decoded ? detail::difference<S>(message, *decoded)
                                         : "nothing is decoded";
            if (!error && decoded && !what.empty())
                what = "these differ afterwards: " + what + ". It became:\n    " +
                       detail::show_message<S>(*decoded);
            if (!what.empty())
                return {false, "A message does not survive encode and decode:\n    " +
                                   detail::show_message<S>(message) + "\n" + what + "\n"};
            for (int i = 0; i < 10; ++i) {
                std::string near = detail::damage(text, random);
                ++damaged;
                error = detail::thrown_by([&] {
                    // What is decoded is used, so that nothing of it can be left undefined.
                    if (auto other = detail::decode_exactly<S>(near)) {
                        static_cast<void>(S::encode(*other));
                    }
                });
                if (error)
                    return {false,
                            "decode must give nothing or a message, whatever it is given; "
                            "of " +
                                std::to_string(near.size()) +
                                " bytes made by damaging the encoding of\n    " +
                                detail::show_message<S>(message) + "\n" + *error + "\n"};
            }
        }
    }
    return {true, std::to_string(settings.rounds) + " messages of each kind, " +
                      std::to_string(damaged) + " damaged ones"};
}

// ===== Pending transitions =======================================================================

namespace detail {

/// The machine under a real replica, with an eye on what it is told. It takes no snapshots.
template <class M>
struct Watched {
    using Transition = typename M::Transition;
    using Id = std::decay_t<decltype(std::declval<const Transition&>().get_id())>;

    M* machine;
    std::vector<Id> taken = {};
    std::vector<Id> applied = {};
    std::vector<std::pair<Id, TransitionState>> states = {};

    template <class I>
    void register_transition_state(I&& id, TransitionState state) {
        states.push_back({id, state});
        machine->register_transition_state(std::forward<I>(id), state);
    }
    void apply_transition(const Transition& transition) {
        applied.push_back(transition.get_id());
        machine->apply_transition(transition);
    }
    std::vector<Transition> get_pending_transitions() {
        std::vector<Transition> pending = machine->get_pending_transitions();
        for (const Transition& transition : pending) taken.push_back(transition.get_id());
        return pending;
    }
};

/// The network of a cluster of one.
template <class M>
struct Alone {
    void send_message(ReplicaId, MessageOf<M>) {}
    std::vector<MessageOf<M>> receive_messages() { return {}; }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
};

/// What is wrong with what was handed over; empty: each was, once.
template <class S, class Id>
std::string hand_over_fault(const std::vector<typename SubjectTraits<S>::T>& submitted,
                            const std::vector<Id>& taken) {
    for (const auto& transition : submitted) {
        auto count = std::count(taken.begin(), taken.end(), transition.get_id());
        if (count != 1)
            return SubjectTraits<S>::show(transition) + " was handed over " +
                   std::to_string(count) + " times";
    }
    if (taken.size() != submitted.size())
        return "transitions were handed over that nobody had submitted";
    return {};
}

}  // namespace detail

/// get_pending_transitions must hand over each transition once, and in time. `submit(machine,
/// transition)` does what your clients' threads do. The machine is asked directly, and by a real
/// replica, a cluster of one, which applies what it is given.
template <class S, class Submit>
Check check_pending(Submit submit, ContractSettings settings = {}) {
    using Traits = SubjectTraits<S>;
    using T = typename Traits::T;
    using Watched = detail::Watched<typename S::Machine>;
    Traits::check();
    Random random(settings.seed);
    std::uint64_t number = 0;
    for (std::uint64_t round = 0; round < settings.rounds; ++round) {
        std::vector<T> submitted;
        auto machine = detail::new_machine<S>();
        Watched watched{machine.get()};
        auto give = [&](std::uint64_t most) {
            for (std::uint64_t left = random.below(most + 1); left > 0; --left) {
                submitted.push_back(Traits::transition(random, ++number));
                submit(*machine, submitted.back());
            }
        };
        for (std::uint64_t calls = 1 + random.below(4); calls > 0; --calls) {
            give(settings.length / 4);
            static_cast<void>(watched.get_pending_transitions());
            static_cast<void>(watched.get_pending_transitions());
        }
        std::string what = detail::hand_over_fault<S>(submitted, watched.taken);
        if (!what.empty())
            return {false, "get_pending_transitions, called again and again: " + what};

        submitted.clear();
        machine = detail::new_machine<S>();
        watched = Watched{machine.get()};
        detail::Alone<Watched> network;
        Options<Watched> options;
        Replica<detail::Alone<Watched>, Watched> replica(ReplicaId{1}, {}, network, watched,
                                                         options);
        Time now{};
        for (int poll = 0; poll < 12; ++poll) {
            if (random.one_in(2)) give(settings.length / 4);
            now += options.election_timeout_range.max;
            for (Time due = replica.poll(now); due <= now;) due = replica.poll(now);
        }
        replica.poll(now);
        what = detail::hand_over_fault<S>(submitted, watched.taken);
        if (!what.empty()) return {false, "A replica polled the machine: " + what};
        for (const T& transition : submitted) {
            std::int64_t finals = 0;
            for (const auto& reported : watched.states) {
                bool is_final = reported.second != TransitionState::queued &&
                                reported.second != TransitionState::committed;
                finals += is_final && reported.first == transition.get_id() ? 1 : 0;
            }
            if (finals != 1)
                return {false, "A replica reported " + std::to_string(finals) +
                                   " final states of " + Traits::show(transition) +
                                   ": the same id was used twice"};
        }
    }
    return {true, std::to_string(number) + " transitions"};
}

// ===== Transport =================================================================================

/// Messages must arrive whole and at the right replica, if they arrive. `endpoints[i]` is the
/// Cluster of the replica with id i + 1; `settle()` is called between sending and asking, and lets
/// the transport work: it waits a moment, or turns an event loop. Loss, repetition and another
/// order are allowed; but something must arrive on every way.
template <class S, class C, class Settle>
Check check_cluster(const std::vector<C*>& endpoints, Settle settle,
                    ContractSettings settings = {}) {
    using Message = typename SubjectTraits<S>::Message;
    SubjectTraits<S>::check();
    static_assert(Cluster<C, typename S::Machine, typename SubjectTraits<S>::Config>,
                  "little_raft: the cluster is no Cluster");
    struct Sent {
        Message message;
        bool arrived = false;
    };
    std::string fault;
    if (endpoints.size() < 2) return {false, "check_cluster needs two endpoints"};
    Random random(settings.seed);
    std::uint64_t number = 0;
    std::uint64_t received = 0;
    std::vector<Sent> all;  // Of all rounds: a message may be late.
    std::map<std::uint64_t, std::size_t> by_term;
    auto take = [&](ReplicaId self, const Message& message) {
        ++received;
        auto found = by_term.find(message.term.value);
        Sent* sent = found == by_term.end() ? nullptr : &all[found->second];
        std::string apart = sent ? detail::difference<S>(sent->message, message) : "";
        if (sent && apart.empty() && sent->message.to == self) return void(sent->arrived = true);
        fault = "Replica " + std::to_string(self.value) + " received\n    " +
                detail::show_message<S>(message) + "\n";
        if (!sent) {
            fault += "which nobody had sent: no message has that term.\n";
        } else if (apart.empty()) {
            fault += "which was sent to replica " + std::to_string(sent->message.to.value) + ".\n";
        } else {
            fault += "which differs in " + apart + " from what was sent:\n    " +
                     detail::show_message<S>(sent->message) + "\n";
        }
    };
    for (std::uint64_t round = 0; round < settings.rounds && fault.empty(); ++round) {
        std::size_t first = all.size();
        for (std::uint64_t left = 1 + random.below(settings.length); left > 0; --left) {
            std::uint64_t from = random.below(endpoints.size());
            std::uint64_t to = (from + 1 + random.below(endpoints.size() - 1)) % endpoints.size();
            auto kind = static_cast<std::size_t>(random.below(6));
            Message message = detail::draw_message<S>(random, kind, number);
            message.from = {from + 1};
            message.to = {to + 1};
            message.term = {mix(settings.seed, ++number)};  // It tells the message from all others.
            by_term[message.term.value] = all.size();
            all.push_back({message});
            endpoints[static_cast<std::size_t>(from)]->send_message(ReplicaId{to + 1}, message);
        }
        bool complete = false;
        for (int poll = 0; poll < 20 && fault.empty() && !complete; ++poll) {
            settle();
            for (std::size_t at = 0; at < endpoints.size(); ++at) {
                for (const Message& message : endpoints[at]->receive_messages()) {
                    if (fault.empty()) take(ReplicaId{at + 1}, message);
                }
            }
            complete = true;
            for (std::size_t i = first; i < all.size(); ++i) complete = complete && all[i].arrived;
        }
    }
    // A transport that delivers nothing would pass all of the above.
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::pair<std::uint64_t, bool>> ways;
    for (const Sent& sent : all) {
        auto& way = ways[{sent.message.from.value, sent.message.to.value}];
        ++way.first;
        way.second = way.second || sent.arrived;
    }
    for (const auto& way : ways) {
        if (!fault.empty() || way.second.second || way.second.first < 5) continue;
        fault = "Of " + std::to_string(way.second.first) + " messages from replica " +
                std::to_string(way.first.first) + " to replica " +
                std::to_string(way.first.second) + " none arrived\n";
    }
    if (!fault.empty()) return {false, fault};
    return {true, std::to_string(all.size()) + " messages sent, " + std::to_string(received) +
                      " received"};
}

// ===== Storage ===================================================================================

namespace detail {

template <class S>
using Stored = StoredState<typename SubjectTraits<S>::T, typename SubjectTraits<S>::Config>;

template <class S>
bool same_stored(const Stored<S>& a, const Stored<S>& b) {
    return a.term == b.term && a.voted_for == b.voted_for && a.last_included == b.last_included &&
           same_entries<S>(a.entries, b.entries);
}

template <class S>
std::string show_stored(const Stored<S>& stored) {
    return "    term " + std::to_string(stored.term.value) + ", vote " +
           (stored.voted_for ? std::to_string(stored.voted_for->value) : "none") + ", log behind " +
           show_position(stored.last_included) + ": " + show_entries<S>(stored.entries) + "\n";
}

/// One call of a Storage that changes it.
template <class S>
struct StorageCall {
    enum Kind { save_vote, append, compact };
    Kind kind;
    Term term = {};
    std::optional<ReplicaId> vote = {};
    Index first = {};
    std::vector<typename SubjectTraits<S>::LogEntry> entries = {};
    LogPosition last_included = {};

    void make(auto& storage) const {
        if (kind == save_vote) storage.save_vote(term, vote);
        if (kind == append) storage.append(first, entries);
        if (kind == compact) storage.compact(last_included);
    }

    std::string show() const {
        if (kind == append)
            return "append at " + std::to_string(first.value) + ": " + show_entries<S>(entries);
        if (kind == compact) return "compact up to " + show_position(last_included);
        return "save_vote: term " + std::to_string(term.value) + ", vote " +
               (vote ? std::to_string(vote->value) : "none");
    }

    /// What the disk may hold if this call is the last that reaches it, in whole or in part.
    void add_moments(std::vector<Stored<S>>& moments) const {
        Stored<S> state = moments.back();
        if (kind == save_vote) {
            state.term = term;
            state.voted_for = vote;
        } else if (kind == append) {
            // What it replaces is gone before any of it is there, or the log would be of two minds.
            std::uint64_t kept = first - state.last_included.index - 1;
            state.entries.resize(static_cast<std::size_t>(kept));
            for (const auto& entry : entries) {
                moments.push_back(state);
                state.entries.push_back(entry);
            }
        } else {
            std::uint64_t count = last_included.index - state.last_included.index;
            bool held =
                count <= state.entries.size() &&
                state.entries[static_cast<std::size_t>(count) - 1].term == last_included.term;
            auto end = held ? state.entries.begin() + static_cast<std::ptrdiff_t>(count)
                            : state.entries.end();
            state.entries.erase(state.entries.begin(), end);
            state.last_included = last_included;
        }
        moments.push_back(std::move(state));
    }
};

/// What a replica in this state may write in one poll.
template <class S>
std::vector<StorageCall<S>> draw_poll(const Stored<S>& before, Random& random,
                                      std::uint64_t& number) {
    using Call = StorageCall<S>;
    std::vector<Call> calls;
    std::vector<Stored<S>> states{before};
    auto add = [&](Call call) {
        call.add_moments(states);
        calls.push_back(std::move(call));
    };
    bool new_term = before.term == Term{} || random.one_in(3);
    if (new_term) {
        bool votes = random.one_in(2);
        add({.kind = Call::save_vote,
             .term = {before.term.value + 1 + random.below(2)},
             .vote = votes ? std::optional(ReplicaId{1 + random.below(3)}) : std::nullopt});
    } else if (!before.voted_for && random.one_in(3)) {
        add({.kind = Call::save_vote, .term = before.term, .vote = ReplicaId{1 + random.below(3)}});
    }
    Term term = states.back().term;
    const LogPosition base = before.last_included;
    std::uint64_t held = before.entries.size();
    if (random.one_in(4)) {
        // Of what the log holds; or, a leader's snapshot, of what it does not.
        LogPosition at{term, base.index + 1 + random.below(held + 4)};
        if (held > 0 && !random.one_in(4)) {
            std::uint64_t count = 1 + random.below(held);
            at = {before.entries[static_cast<std::size_t>(count - 1)].term, base.index + count};
        }
        add({.kind = Call::compact, .last_included = at});
    }
    if (calls.empty() || !random.one_in(4)) {
        const Stored<S>& now = states.back();
        std::uint64_t size = now.entries.size();
        // Only what an older term's leader appended is ever replaced.
        std::uint64_t kept = new_term && size > 0 && random.one_in(2) ? random.below(size) : size;
        Call call{.kind = Call::append, .first = now.last_included.index + kept + 1};
        for (std::uint64_t left = 1 + random.below(5); left > 0; --left) {
            call.entries.push_back({term, draw_config<S>(random)});
            if (!random.one_in(4)) {
                call.entries.back().command = SubjectTraits<S>::transition(random, ++number);
            }
        }
        add(std::move(call));
    }
    return calls;
}

using Files = std::map<std::string, std::string>;

/// Directories on a real disk. A crash of the process is a copy of the directory, so what an object
/// still holds in memory is lost; and where a call made a file longer, a power loss in that call
/// leaves a part of it.
template <class Open>
class DirectoryMedium {
 public:
    using Place = std::filesystem::path;
    using Image = Files;
    static constexpr bool loses_power = false;

    DirectoryMedium(Open open, const std::filesystem::path& parent) : open_(open) {
        for (std::uint64_t n = 0; root_.empty(); ++n) {
            auto candidate = parent / ("little_raft_contracts_" + std::to_string(n));
            if (std::filesystem::create_directory(candidate)) root_ = candidate;
        }
    }
    DirectoryMedium(const DirectoryMedium&) = delete;
    DirectoryMedium& operator=(const DirectoryMedium&) = delete;
    ~DirectoryMedium() {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }

    auto open(Place& place) { return open_(std::as_const(place)); }

    Place make(const Image& image) {
        Place place = root_ / std::to_string(++places_);
        std::filesystem::create_directory(place);
        for (const auto& [name, bytes] : image) {
            std::filesystem::create_directories((place / name).parent_path());
            std::ofstream(place / name, std::ios::binary) << bytes;
        }
        return place;
    }
    void drop(const Place& place) { std::filesystem::remove_all(place); }

    Image image(const Place& place) const {
        Image files;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(place)) {
            if (!entry.is_regular_file()) continue;
            std::ifstream in(entry.path(), std::ios::binary);
            std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
            files[std::filesystem::relative(entry.path(), place).string()] = std::move(bytes);
        }
        return files;
    }
    Image after_power_loss(const Place& place, Random&) const { return image(place); }
    void fail_next_sync(Place&) {}

    /// Links tell later whether a file was written to, or replaced by another of its name.
    void before_call(const Place& place) {
        before_ = image(place);
        links_ = root_ / "links";
        std::filesystem::remove_all(links_);
        std::filesystem::create_directory(links_);
        std::uint64_t n = 0;
        for (const auto& file : before_) {
            std::error_code failed;
            std::filesystem::create_hard_link(place / file.first, links_ / std::to_string(n++),
                                              failed);
        }
    }

    std::vector<std::pair<std::string, Image>> crashes(const Place& place, Random& random) const {
        Image after = image(place);
        std::vector<std::pair<std::string, Image>> all{{"the process died after it", after}};
        std::string changed;
        std::uint64_t changes = 0;
        std::uint64_t link = 0;
        for (const auto& [name, bytes] : before_) {
            std::error_code failed;
            bool same_file =
                std::filesystem::equivalent(links_ / std::to_string(link++), place / name, failed);
            auto found = after.find(name);
            if (found != after.end() && found->second == bytes) continue;
            ++changes;
            if (found != after.end() && same_file && !failed) changed = name;
        }
        for (const auto& file : after) changes += before_.count(file.first) == 0 ? 1 : 0;
        // With several files nobody can tell from outside in which order they were written.
        if (changes != 1 || changed.empty()) return all;
        for (auto& torn : tear(before_.at(changed), after.at(changed), random)) {
            after[changed] = std::move(torn.second);
            all.push_back({"the power failed in it: of " + changed + ", " + torn.first, after});
        }
        return all;
    }

    static Files files(const Image& image) { return image; }
    static void flip(Image& image, const std::string& name, std::size_t at, unsigned bit) {
        image[name][at] = static_cast<char>(image[name][at] ^ (1 << bit));
    }

 private:
    using Torn = std::vector<std::pair<std::string, std::string>>;

    static Torn tear(const std::string& before, const std::string& after, Random& random) {
        Torn all;
        if (after.empty()) return all;
        auto common = static_cast<std::size_t>(
            std::mismatch(before.begin(), before.end(), after.begin(), after.end()).first -
            before.begin());
        std::size_t end = after.size();
        if (common == end) return all;  // It was cut, which happens or does not.
        auto at = common + static_cast<std::size_t>(random.below(end - common));
        if (end < before.size()) {
            // It was cut to where it was written to, at least.
            all.push_back({"only the first bytes came", after.substr(0, at)});
            return all;
        }
        std::string front = after;
        std::string back = after;
        for (std::size_t i = common; i < end; ++i) {
            char old = i < before.size() ? before[i] : '\0';
            (i < at ? back : front)[i] = old;
        }
        if (common == before.size()) {
            all.push_back({"only the first bytes came", after.substr(0, at)});
            all.push_back({"the last bytes came as zeros", front});
            all.push_back({"the first bytes came as zeros", back});
            std::string garbage = after;
            garbage[at] = static_cast<char>(garbage[at] ^ 16);
            all.push_back({"a byte came as another", garbage});
        } else {
            all.push_back({"the last bytes kept their old values", front});
        }
        return all;
    }

    Open open_;
    std::filesystem::path root_;
    std::filesystem::path links_;
    Files before_;
    std::uint64_t places_ = 0;
};

/// MemoryDisk, which can do more: every moment inside a call, lost syncs, failing ones.
template <class Open>
class MemoryMedium {
 public:
    using Place = std::unique_ptr<MemoryDisk>;
    using Image = MemoryDisk;
    static constexpr bool loses_power = true;

    explicit MemoryMedium(Open open) : open_(open) {}

    auto open(Place& place) { return open_(*place); }
    Place make(const Image& image) { return std::make_unique<MemoryDisk>(image); }
    void drop(const Place&) {}
    Image image(const Place& place) const { return *place; }
    Image after_power_loss(const Place& place, Random& random) const {
        MemoryDisk disk = *place;
        disk.lose_power(random);
        return disk;
    }
    void fail_next_sync(Place& place) { place->fail_next_sync(); }
    void before_call(Place& place) { place->record(); }

    std::vector<std::pair<std::string, Image>> crashes(const Place& place, Random& random) const {
        std::vector<MemoryDisk> moments = place->stop_recording();
        std::vector<std::pair<std::string, Image>> all{{"the process died after it", *place}};
        moments.push_back(*place);
        for (int i = 0; i < 4; ++i) {
            MemoryDisk disk = moments[static_cast<std::size_t>(random.below(moments.size()))];
            bool dark = !random.one_in(4);
            if (dark) disk.lose_power(random);
            all.push_back({dark ? "the power failed in it" : "the process died in it", disk});
        }
        return all;
    }

    static Files files(const Image& image) {
        Files all;
        for (const std::string& name : image.names()) all[name] = image.read(name);
        return all;
    }
    static void flip(Image& image, const std::string& name, std::size_t at, unsigned bit) {
        image.flip(name, at, bit);
    }

 private:
    Open open_;
};

/// One storage, driven as a replica drives it, crashed in every way that its medium has, and
/// compared with what it must hold.
template <class S, class Medium>
class StorageTrial {
 public:
    using State = Stored<S>;
    using Place = typename Medium::Place;
    using Image = typename Medium::Image;
    using Pointer = decltype(std::declval<Medium&>().open(std::declval<Place&>()));

    explicit StorageTrial(Medium& medium) : medium_(medium) {}

    /// What is wrong; empty: nothing. Each seed is a poll.
    std::string run(const std::vector<std::uint64_t>& seeds) {
        trace_.clear();
        number_ = 0;
        Place place = medium_.make(Image{});
        std::string fault = drive(place, seeds);
        medium_.drop(place);
        return fault;
    }
    const std::string& trace() const { return trace_; }
    std::uint64_t crashes() const { return crashes_; }
    std::uint64_t damaged() const { return damaged_; }

 private:
    /// Opened and loaded, or why not.
    struct Loaded {
        Pointer storage = nullptr;
        std::optional<State> state = {};
        std::string refusal = {};
    };

    Loaded load(Place& place) {
        Loaded loaded;
        auto error = thrown_by([&] {
            loaded.storage = medium_.open(place);
            if (loaded.storage) loaded.state = loaded.storage->load();
        });
        if (!loaded.state) loaded.refusal = error.value_or("open gave nothing");
        return loaded;
    }

    /// Whether it holds one of these, and what to say if not.
    static std::string compare(const Loaded& loaded, const std::vector<State>& legal) {
        if (!loaded.state) return "it could not be opened: " + loaded.refusal + "\n";
        for (const State& state : legal) {
            if (same_stored<S>(*loaded.state, state)) return {};
        }
        std::string text = "it loaded\n" + show_stored<S>(*loaded.state) + "but must hold\n" +
                           show_stored<S>(legal.front());
        if (legal.size() > 1)
            text +=
                "as of the last sync, or what came later, up to\n" + show_stored<S>(legal.back());
        return text;
    }

    std::string drive(Place& place, const std::vector<std::uint64_t>& seeds) {
        Loaded live = load(place);
        std::vector<State> moments{State{}};
        std::string fault = compare(live, moments);
        if (!fault.empty()) return "on an empty disk " + fault;
        std::vector<Image> synced;
        for (std::uint64_t seed : seeds) {
            Random random(seed);
            for (const auto& call : draw_poll<S>(moments.back(), random, number_)) {
                fault = make_call(place, *live.storage, call, moments, random);
                if (!fault.empty()) return fault;
            }
            if (Medium::loses_power && random.one_in(12))
                return fail_a_sync(place, *live.storage, moments, random);
            if (random.one_in(6)) {
                note("it ends without sync, and is opened again");
                live.storage.reset();
                live = load(place);
                fault = compare(live, moments);
                if (!fault.empty()) return fault;
                moments = {*live.state};
                continue;
            }
            note("sync");
            if (!live.storage->sync()) return "sync returned false on a disk that works\n";
            moments = {moments.back()};
            fault = recover(medium_.after_power_loss(place, random), moments, random);
            if (!fault.empty()) return "after a power loss just after sync " + fault;
            fault = damage(synced, medium_.image(place), moments, random);
            if (!fault.empty()) return fault;
            synced.push_back(medium_.image(place));
        }
        return {};
    }

    std::string make_call(Place& place, auto& storage, const StorageCall<S>& call,
                          std::vector<State>& moments, Random& random) {
        note(call.show());
        medium_.before_call(place);
        call.make(storage);
        call.add_moments(moments);
        for (auto& crash : medium_.crashes(place, random)) {
            std::string fault = recover(crash.second, moments, random);
            if (!fault.empty()) return "when " + crash.first + ", " + fault;
        }
        return {};
    }

    /// The storage says so, and nothing that an earlier sync promised is lost.
    std::string fail_a_sync(Place& place, auto& storage, const std::vector<State>& moments,
                            Random& random) {
        note("sync, which the disk fails");
        medium_.fail_next_sync(place);
        if (storage.sync()) return "sync returned true although the disk's sync had failed\n";
        std::string fault = recover(medium_.after_power_loss(place, random), moments, random);
        return fault.empty() ? fault : "after a failed sync and a power loss " + fault;
    }

    /// Comes back from a crash, twice, and goes on: what was torn must not get between.
    std::string recover(const Image& image, const std::vector<State>& legal, Random& random) {
        ++crashes_;
        Place place = medium_.make(image);
        std::string fault = recover_in(place, legal, random);
        medium_.drop(place);
        return fault;
    }

    std::string recover_in(Place& place, const std::vector<State>& legal, Random& random) {
        Loaded first = load(place);
        std::string fault = compare(first, legal);
        if (!fault.empty()) return fault;
        const std::vector<State> found{*first.state};
        if (Medium::loses_power) {
            // A replica acknowledges what it loaded without another sync.
            fault = compare_image(medium_.after_power_loss(place, random), found);
            if (!fault.empty())
                return "opened, and struck by a power loss before any sync, " + fault;
        }
        first.storage.reset();
        Loaded again = load(place);
        fault = compare(again, found);
        if (!fault.empty()) return "opened a second time, " + fault;
        std::vector<State> moments = found;
        std::string calls;
        for (const auto& call : draw_poll<S>(found.back(), random, number_)) {
            call.make(*again.storage);
            call.add_moments(moments);
            calls += "    " + call.show() + "\n";
        }
        if (!again.storage->sync()) return "sync returned false on a disk that works\n";
        fault = compare_image(medium_.after_power_loss(place, random), {moments.back()});
        if (fault.empty()) return {};
        return "it recovered\n" + show_stored<S>(found.back()) + "then was given\n" + calls +
               "    sync\nand then" + (Medium::loses_power ? ", after a power loss, " : " ") +
               fault;
    }

    std::string compare_image(const Image& image, const std::vector<State>& legal) {
        Place place = medium_.make(image);
        std::string fault = compare(load(place), legal);
        medium_.drop(place);
        return fault;
    }

    /// A bit turns over in what was synced before the last sync: no crash does that, so to cut the
    /// log there would lose what was promised.
    std::string damage(const std::vector<Image>& synced, Image image,
                       const std::vector<State>& moments, Random& random) {
        if (synced.empty()) return {};
        Files files = Medium::files(image);
        Files old = Medium::files(synced[static_cast<std::size_t>(random.below(synced.size()))]);
        for (const auto& [name, bytes] : old) {
            // Only where a file went on behind these bytes can the storage know that they were
            // whole once.
            auto found = files.find(name);
            bool grew = found != files.end() && bytes.size() < found->second.size() &&
                        found->second.compare(0, bytes.size(), bytes) == 0;
            if (!grew || bytes.empty()) continue;
            auto at = static_cast<std::size_t>(random.below(bytes.size()));
            Medium::flip(image, name, at, static_cast<unsigned>(random.below(8)));
            ++damaged_;
            Place place = medium_.make(image);
            Loaded loaded = load(place);
            std::string fault = loaded.state ? compare(loaded, moments) : "";
            loaded.storage.reset();
            medium_.drop(place);
            if (fault.empty()) return {};
            return "byte " + std::to_string(at) + " of " + name +
                   ", which was synced long before, "
                   "was damaged; the storage may refuse, but " +
                   fault;
        }
        return {};
    }

    void note(const std::string& what) { trace_ += "    " + what + "\n"; }

    Medium& medium_;
    std::uint64_t number_ = 0;
    std::uint64_t crashes_ = 0;
    std::uint64_t damaged_ = 0;
    std::string trace_;
};

template <class S, class Medium>
Check check_storage_in(Medium& medium, ContractSettings settings) {
    SubjectTraits<S>::check();
    StorageTrial<S, Medium> trial(medium);
    Random random(settings.seed);
    for (std::uint64_t round = 0; round < settings.rounds; ++round) {
        std::vector<std::uint64_t> seeds;
        for (std::uint64_t left = 1 + random.below(settings.length); left > 0; --left) {
            seeds.push_back(random.next());
        }
        std::string fault = trial.run(seeds);
        if (fault.empty()) continue;
        shrink(seeds, 1, [&](const auto& candidate) { return !trial.run(candidate).empty(); });
        std::string least = trial.run(seeds);
        return {false, "The storage breaks its promise: " + (least.empty() ? fault : least) +
                           "It had been given:\n" + trial.trace()};
    }
    return {true, std::to_string(trial.crashes()) + " crashes, " + std::to_string(trial.damaged()) +
                      " damaged files"};
}

}  // namespace detail

/// Where check_storage has its directories, which it removes, and how much it does there.
struct StorageSettings {
    ContractSettings contract = {.rounds = 30, .length = 8};
    std::filesystem::path parent = default_parent();
};

/// A Storage must keep its promises through crashes: nothing synced is lost; what is loaded is what
/// the disk held at some moment since, with the last append there in part at most; torn ends are
/// cut, and what is written later is not lost behind them; and damage to what was synced is not
/// loaded as a shorter log. `open(directory)` gives a std::unique_ptr to your Storage; a null
/// pointer, or an exception from it or from load(), is a refusal, allowed for damaged files alone.
///
/// It sees from outside what a crash of the process leaves, and makes of it what a power loss may
/// leave of the call that was under way. It cannot see whether sync() reached the disk itself: see
/// check_storage_on_memory_disk.
template <class S, class Open>
Check check_storage(Open open, StorageSettings settings = {}) {
    detail::DirectoryMedium<Open> medium(open, settings.parent);
    return detail::check_storage_in<S>(medium, settings.contract);
}

/// The same of a subject with `open`.
template <class S>
Check check_storage(StorageSettings settings = {}) {
    static_assert(SubjectTraits<S>::stores,
                  "little_raft: check_storage is for a subject with Storage and open");
    return check_storage<S>([](const std::filesystem::path& place) { return S::open(place); },
                            settings);
}

/// The same for a storage that can be put on a MemoryDisk: `open(MemoryDisk&)`. It also finds syncs
/// that are missing, and what happens when one fails.
template <class S, class Open>
Check check_storage_on_memory_disk(Open open, ContractSettings settings = {.length = 8}) {
    detail::MemoryMedium<Open> medium(open);
    return detail::check_storage_in<S>(medium, settings);
}

}  // namespace little_raft::testing
