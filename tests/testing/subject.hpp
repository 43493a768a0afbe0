// What a user of the kit writes: a subject, which says how to test a state machine.
//
//     struct BankTest : little_raft::testing::Subject<Bank> {
//         static Transfer transition(little_raft::testing::Random& random, std::uint64_t number);
//         static bool equal(const Bank& a, const Bank& b) { return a.balances == b.balances; }
//     };
//
// Members of a subject; each but the first two may be left out, and a member of the wrong form does
// not compile:
// - `transition(random, number)`: one to propose. `number` is never the same twice in a run: make
//   get_id() from it. Left out, rc::Arbitrary is asked, if you include "rapidcheck.hpp".
// - `equal(a, b)`: whether two machines are in the same state. Left out, `operator==`.
// - `digest(machine)`: a number that differs where the states do; faster than `equal`, and the one
//   to have where the machine cannot be copied.
// - `machine()`: a new machine. Left out, `M{}`.
// - `observe(machine, transition)`: what a client is answered once its transition was applied.
// - `encode(message)` and `decode(text)`, an optional message: each message takes this way.
// - `using Storage` and `open(directory)`, a std::unique_ptr<Storage>: your own disk. It is opened
//   again after each crash; after a power loss the directory is as it was at the last sync.
// - `invariant(machine)`: a text that says what is wrong with it; empty: nothing.
// - `show(transition)`: for people. Left out, its id, if that can be shown.
// - `show(machine)`: for people, who then see which state is wrong, and how.
// - `static constexpr bool async_disk = true`: a share of the schedules runs on disks that sync
//   while their replicas go on, for who has an AsyncStorage. It costs another compilation, and has
//   no effect beside `open`.
// - `static constexpr bool members_change = true`: its replicas are those of a Cluster that is
//   Reconfigurable, and their members change. Messages, entries and a Storage of your own have a
//   Membership then; the machine's snapshots may have one.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "little_raft.hpp"
#include "random.hpp"

namespace little_raft::testing {

/// Where Storages have their directories: a file system in memory, if there is one. Syncs cost
/// nothing there, and power stays on.
inline std::filesystem::path default_parent() {
    std::error_code none;
    auto status = std::filesystem::status("/dev/shm", none);
    bool writable = (status.permissions() & std::filesystem::perms::others_write) !=
                    std::filesystem::perms::none;
    if (std::filesystem::is_directory(status) && writable) return "/dev/shm";
    return std::filesystem::temp_directory_path();
}

/// What a message is, by the name that the paper and the library give it.
const char* kind_of(const auto& message) {
    static constexpr const char* names[] = {"RequestVote",     "RequestVoteResponse",
                                            "AppendEntries",   "AppendEntriesResponse",
                                            "InstallSnapshot", "TimeoutNow"};
    return names[message.body.index()];
}

template <class M>
struct Subject {
    using Machine = M;
};

/// Draws transitions for subjects that do not; "rapidcheck.hpp" says how.
template <class T>
struct DrawTransition;

/// What a subject has, told by its members.
template <class S>
struct SubjectTraits {
    static_assert(
        requires { typename S::Machine; },
        "little_raft: a subject is a struct that derives from Subject<Machine>");
    static_assert(StateMachine<typename S::Machine>,
                  "little_raft: the subject's Machine is no StateMachine");
    using M = typename S::Machine;
    using T = typename M::Transition;
    using D = little_raft::detail::SnapshotDataOf<M>;
    static constexpr bool members_change = requires { requires S::members_change; };
    using Config = std::conditional_t<members_change, Membership, Noop>;
    using Id = std::decay_t<decltype(std::declval<const T&>().get_id())>;

    /// Whether the machine keeps the membership with its snapshots; otherwise the kit does.
    static constexpr bool keeps_membership = members_change && Snapshotting<M, Membership>;
    static constexpr bool snapshotting = Snapshotting<M> || keeps_membership;
    static constexpr bool draws = requires(Random & random, std::uint64_t number) {
        { S::transition(random, number) } -> std::convertible_to<T>;
    };
    static constexpr bool makes = requires {
        { S::machine() } -> std::same_as<M>;
    };
    static constexpr bool digests = requires(const M& machine) {
        { S::digest(machine) } -> std::convertible_to<std::uint64_t>;
    };
    static constexpr bool equals = requires(const M& machine) {
        { S::equal(machine, machine) } -> std::convertible_to<bool>;
    };
    static constexpr bool observes = requires(const M& machine, const T& transition) {
        requires !std::is_void_v<decltype(S::observe(machine, transition))>;
    };
    using Message = MessageOf<M, Config>;
    using LogEntry = Entry<T, Config>;
    using Saved = Snapshot<D, Config>;
    /// What the machine itself takes and gives.
    using Given = std::conditional_t<keeps_membership, Saved, Snapshot<D>>;
    static constexpr bool encodes = requires(const Message& message, std::string_view text) {
        { S::encode(message) } -> std::convertible_to<std::string>;
        { S::decode(text) } -> std::same_as<std::optional<Message>>;
    };
    static constexpr bool stores = requires(const std::filesystem::path& directory) {
        { S::open(directory) } -> std::same_as<std::unique_ptr<typename S::Storage>>;
    };
    /// Whether some schedules are run on disks that sync meanwhile.
    static constexpr bool async_disk = !stores && requires { requires S::async_disk; };
    static constexpr bool has_invariant = requires(const M& machine) {
        { S::invariant(machine) } -> std::convertible_to<std::string>;
    };
    static constexpr bool shows = requires(const T& transition) {
        { S::show(transition) } -> std::convertible_to<std::string>;
    };
    static constexpr bool shows_machine = requires(const M& machine) {
        { S::show(machine) } -> std::convertible_to<std::string>;
    };

    /// Says in words what is missing, or of the wrong form.
    static constexpr void check() {
        static_assert(
            members_change || !Snapshotting<M, Membership>,
            "little_raft: the machine's snapshots have a Membership, so the subject needs "
            "static constexpr bool members_change = true");
        if constexpr (requires { &S::transition; })
            static_assert(draws,
                          "little_raft: the subject's transition is not "
                          "static Transition transition(Random&, std::uint64_t number)");
        static_assert(
            draws || requires { sizeof(DrawTransition<T>); },
            "little_raft: the subject has no public transition(random, number); write it, or "
            "include little_raft_testing's rapidcheck.hpp for one by rc::Arbitrary");
        if constexpr (requires { &S::digest; })
            static_assert(digests,
                          "little_raft: the subject's digest is not "
                          "static std::uint64_t digest(const Machine&)");
        if constexpr (requires { &S::equal; })
            static_assert(equals,
                          "little_raft: the subject's equal is not "
                          "static bool equal(const Machine&, const Machine&)");
        static_assert(
            digests || equals || std::equality_comparable<M>,
            "little_raft: the subject has neither a public digest nor equal, and its Machine has "
            "no operator==");
        if constexpr (requires { &S::machine; })
            static_assert(makes,
                          "little_raft: the subject's machine is not static Machine machine()");
        static_assert(makes || std::default_initializable<M>,
                      "little_raft: the subject's Machine needs a Machine machine()");
        if constexpr (requires { &S::observe; })
            static_assert(observes,
                          "little_raft: the subject's observe is not "
                          "static Answer observe(const Machine&, const Transition&)");
        if constexpr (observes)
            static_assert(std::equality_comparable<decltype(observe(std::declval<const M&>(),
                                                                    std::declval<const T&>()))>,
                          "little_raft: what the subject's observe answers needs an operator==");
        if constexpr (
            requires { &S::encode; } || requires { &S::decode; })
            static_assert(
                encodes,
                "little_raft: the subject needs both static std::string encode(const Message&) "
                "and static std::optional<Message> decode(std::string_view)");
        if constexpr (
            requires { typename S::Storage; } || requires { &S::open; })
            static_assert(stores,
                          "little_raft: the subject needs both a type Storage and "
                          "static std::unique_ptr<Storage> open(const std::filesystem::path&)");
        if constexpr (requires { &S::invariant; })
            static_assert(has_invariant,
                          "little_raft: the subject's invariant is not "
                          "static std::string invariant(const Machine&)");
        if constexpr (requires { &S::show; })
            static_assert(shows || shows_machine,
                          "little_raft: the subject's show is not "
                          "static std::string show(const Transition&) nor show(const Machine&)");
    }

    /// The optional members that it does not have; a misspelled one is among them.
    static std::string absent() {
        std::string names;
        auto add = [&](bool has, const char* name) {
            if (!has) names += std::string(names.empty() ? "" : ", ") + name;
        };
        add(observes, "observe");
        add(has_invariant, "invariant");
        add(encodes, "encode and decode");
        add(stores, "Storage and open");
        add(async_disk || stores, "async_disk");
        add(snapshotting, "snapshots of the machine");
        add(members_change, "members_change");
        return names;
    }

    static M machine() {
        if constexpr (makes) {
            return S::machine();
        } else {
            return M{};
        }
    }

    static T transition(Random& random, std::uint64_t number) {
        if constexpr (draws) {
            return S::transition(random, number);
        } else {
            return DrawTransition<T>::draw(random);
        }
    }

    static bool equal(const M& a, const M& b) {
        if constexpr (digests) {
            return S::digest(a) == S::digest(b);
        } else if constexpr (equals) {
            return S::equal(a, b);
        } else {
            return a == b;
        }
    }

    static std::string show(const T& transition) {
        if constexpr (shows) {
            return S::show(transition);
        } else if constexpr (std::is_arithmetic_v<Id>) {
            return std::to_string(transition.get_id());
        } else if constexpr (std::convertible_to<Id, std::string>) {
            return transition.get_id();
        } else {
            return "a transition";
        }
    }

    /// What clients are answered; where the subject does not say, nothing of interest.
    static auto observe(const M& machine, const T& transition) {
        if constexpr (observes) {
            return S::observe(machine, transition);
        } else {
            return std::monostate{};
        }
    }
};

template <class S>
using AnswerOf =
    decltype(SubjectTraits<S>::observe(std::declval<const typename S::Machine&>(),
                                       std::declval<const typename S::Machine::Transition&>()));

// ----- The kit's own subject ---------------------------------------------------------------------

/// A transition that is nothing but a number.
struct Command {
    std::uint64_t id = 0;
    std::uint64_t get_id() const { return id; }
    friend bool operator==(const Command&, const Command&) = default;
};

/// Its state is a digest of everything applied, in order; so any slip shows at once. Snapshots of
/// one state differ from machine to machine, as those of a hash table would, so that pieces of two
/// do not fit together.
struct DigestMachine {
    using Transition = Command;
    using SnapshotData = std::string;

    std::uint64_t digest = 0;
    std::uint64_t calls = 0;  // Of this very machine.
    std::optional<Snapshot<std::string>> saved;

    void register_transition_state(std::uint64_t, TransitionState) {}
    void apply_transition(const Command& command) {
        digest = mix(digest, command.id);
        ++calls;
    }
    std::vector<Command> get_pending_transitions() { return {}; }
    std::optional<Snapshot<std::string>> get_snapshot() { return saved; }
    std::string create_snapshot(Index last_included_index, Term last_included_term) {
        auto salt = static_cast<unsigned char>(mix(digest, calls));
        std::string data(15, static_cast<char>(salt));
        for (unsigned i = 0; i < 8; ++i) {
            data[3 + i] = static_cast<char>(static_cast<unsigned char>(digest >> (8 * i)) ^ salt);
        }
        saved = {{last_included_term, last_included_index}, data};
        return data;
    }
    void set_snapshot(const Snapshot<std::string>& snapshot) {
        saved = snapshot;
        const std::string& data = snapshot.data;
        digest = ~std::uint64_t{0};  // What does not fit together is no state.
        if (data.size() != 15 || data.front() != data.back()) return;
        digest = 0;
        for (unsigned i = 0; i < 8; ++i) {
            digest |= std::uint64_t{static_cast<unsigned char>(data[3 + i] ^ data[0])} << (8 * i);
        }
    }
};

/// For volume: it costs next to nothing.
struct DigestTest : Subject<DigestMachine> {
    static constexpr bool async_disk = true;
    static Command transition(Random&, std::uint64_t number) { return {number}; }
    static std::uint64_t digest(const DigestMachine& machine) { return machine.digest; }
};

/// The same, of clusters whose members change.
struct MembersTest : DigestTest {
    static constexpr bool members_change = true;
};

}  // namespace little_raft::testing
