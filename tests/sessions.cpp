// Exactly once, by examples/sessions.hpp [PhD 6.3]: sentence by sentence, against a model on all
// short logs, in snapshots whole and damaged, and in clusters whose clients ask again.
#include "../examples/sessions.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "sanitized.hpp"
#include "sessions_support.hpp"
#include "testing/little_raft_testing.hpp"

namespace {

using namespace sessions;
namespace lrt = little_raft::testing;
using lr::TransitionState;
using Numbers = std::vector<std::uint64_t>;

/// One replica's machine, which is asked in the log's order.
struct Server {
    Bank bank;

    Report ask(const Asked& asked) {
        std::size_t before = bank.machine().heard.size();
        bank.apply_transition(asked);
        REQUIRE(bank.machine().heard.size() == before + 1);
        CHECK(bank.machine().wrong == "");
        return bank.machine().heard.back();
    }
    std::uint64_t open(OpenSession limits = {}) {
        Report report = ask(opening(99, limits));
        REQUIRE(report.outcome == Outcome::opened);
        return report.client;
    }
    std::uint64_t total() const { return bank.machine().total; }
    Numbers clients() const {
        Numbers ids;
        for (const auto& session : bank.sessions().sessions) ids.push_back(session.client.value);
        return ids;
    }
    /// The sequences of the answers that are kept for the client used last.
    Numbers kept() const {
        Numbers sequences;
        auto sessions = bank.sessions().sessions;
        for (const auto& kept : sessions.back().answers) sequences.push_back(kept.sequence);
        return sequences;
    }
};
}  // namespace

// ----- [PhD 6.3], sentence by sentence -----------------------------------------------------------

TEST_CASE("[PhD 6.3] each client is given a unique identifier") {
    Server server;
    CHECK(server.ask(opening(7)) == Report{1, 7, Outcome::opened});
    CHECK(server.ask(opening(8)) == Report{2, 8, Outcome::opened});
    // Also if the same client asks twice: the one that it does not use expires in its time.
    CHECK(server.ask(opening(8)) == Report{3, 8, Outcome::opened});
    // Never one that was given before, whatever became of it.
    server.ask(closing(3));
    CHECK(server.ask(opening(9)) == Report{4, 9, Outcome::opened});
}

TEST_CASE("[PhD 6.3] a command whose serial number was executed is answered without executing it") {
    Server server;
    std::uint64_t client = server.open();
    Report first = server.ask(request(client, 1, 1));
    CHECK(first.outcome == Outcome::applied);
    CHECK(first.answer == server.total());
    std::uint64_t total = server.total();
    for (int i = 0; i < 3; ++i)
        CHECK(server.ask(request(client, 1, 1)) ==
              Report{client, 1, Outcome::repeated, first.answer});
    CHECK(server.total() == total);
}

TEST_CASE("[PhD 6.3] ... with the answer from then, whatever happened since") {
    Server server;
    std::uint64_t client = server.open();
    std::uint64_t other = server.open();
    Report first = server.ask(request(client, 1, 1));
    server.ask(request(other, 1, 1));
    server.bank.apply_transition(outside(1000));
    CHECK(server.ask(request(client, 1, 1)).answer == first.answer);
    CHECK(server.total() > 1000);
}

TEST_CASE("[PhD 6.3] the same serial number of another client is another command") {
    Server server;
    std::uint64_t client = server.open();
    std::uint64_t other = server.open();
    CHECK(server.ask(request(client, 1, 1)).outcome == Outcome::applied);
    CHECK(server.ask(request(other, 1, 1)).outcome == Outcome::applied);
}

TEST_CASE("[PhD 6.3] commands take effect according to their first appearance in the log") {
    Server server;
    std::uint64_t client = server.open();
    server.ask(request(client, 2, 1));
    server.ask(request(client, 1, 1));
    server.ask(request(client, 2, 1));
    CHECK(server.bank.machine().done.at({client, 2}) < server.bank.machine().done.at({client, 1}));
}

TEST_CASE("[PhD 6.3] concurrent requests: a set of sequence number and response pairs") {
    Server server;
    std::uint64_t client = server.open();
    std::map<std::uint64_t, Report> first;
    for (std::uint64_t sequence : Numbers{3, 1, 4, 2})
        first[sequence] = server.ask(request(client, sequence, 1));
    CHECK(server.kept() == Numbers{1, 2, 3, 4});
    std::set<std::uint64_t> different;
    for (std::uint64_t sequence : Numbers{1, 2, 3, 4}) {
        CHECK(server.ask(request(client, sequence, 1)) ==
              Report{client, sequence, Outcome::repeated, first[sequence].answer});
        different.insert(*first[sequence].answer);
    }
    CHECK(different.size() == 4);
}

TEST_CASE("[PhD 6.3] responses below the lowest number without response are discarded") {
    Server server;
    std::uint64_t client = server.open();
    for (std::uint64_t sequence : Numbers{1, 2, 3}) server.ask(request(client, sequence, 1));
    server.ask(request(client, 4, 3));
    CHECK(server.kept() == Numbers{3, 4});
    // A late message that says less brings nothing back.
    CHECK(server.ask(request(client, 3, 1)).outcome == Outcome::repeated);
    CHECK(server.kept() == Numbers{3, 4});
    server.ask(request(client, 9, 9));
    CHECK(server.kept() == Numbers{9});
}

TEST_CASE("[PhD 6.3] what was answered and discarded is never applied again") {
    Server server;
    std::uint64_t client = server.open();
    server.ask(request(client, 1, 1));
    server.ask(request(client, 2, 2));
    std::uint64_t total = server.total();
    CHECK(server.ask(request(client, 1, 1)) == Report{client, 1, Outcome::acknowledged});
    // Nor what the client says to have an answer to, although it was never seen here.
    server.ask(request(client, 7, 5));
    total = server.total();
    CHECK(server.ask(request(client, 4, 1)) == Report{client, 4, Outcome::acknowledged});
    CHECK(server.ask(request(client, 3, 9)) == Report{client, 3, Outcome::acknowledged});
    CHECK(server.total() == total);
}

TEST_CASE("[PhD 6.3] an upper bound on the number of sessions, least recently used go first") {
    Server server;
    OpenSession limits{.sessions_max = 3};
    for (std::uint64_t client : Numbers{1, 2, 3}) CHECK(server.open(limits) == client);
    CHECK(server.clients() == Numbers{1, 2, 3});
    server.ask(request(1, 1, 1));
    CHECK(server.clients() == Numbers{2, 3, 1});
    CHECK(server.open(limits) == 4);
    CHECK(server.clients() == Numbers{3, 1, 4});
    // Whatever comes of it, it is a sign of life.
    CHECK(server.ask(request(3, 500, 1)).outcome == Outcome::too_far_ahead);
    CHECK(server.ask(request(1, 1, 1)).outcome == Outcome::repeated);
    CHECK(server.open(limits) == 5);
    CHECK(server.clients() == Numbers{3, 1, 5});
    // A smaller bound puts an end to more than one.
    CHECK(server.open({.sessions_max = 2}) == 6);
    CHECK(server.clients() == Numbers{5, 6});
    CHECK(server.open({.sessions_max = 0}) == 7);
    CHECK(server.clients() == Numbers{7});
}

TEST_CASE("[PhD 6.3] a command with no record of the session is not processed, and answered so") {
    Server server;
    std::uint64_t client = server.open({.sessions_max = 1});
    server.ask(request(client, 1, 1));
    std::uint64_t total = server.total();
    std::uint64_t other = server.open({.sessions_max = 1});
    CHECK(server.ask(request(client, 1, 1)) == Report{client, 1, Outcome::expired});
    CHECK(server.ask(request(client, 2, 1)) == Report{client, 2, Outcome::expired});
    CHECK(server.ask(request(other + 1, 1, 1)) == Report{other + 1, 1, Outcome::expired});
    CHECK(server.total() == total);
}

TEST_CASE("[PhD 6.3] a new client and one whose session was expired are told apart") {
    Server server;
    std::uint64_t client = server.open({.sessions_max = 1});
    server.ask(request(client, 1, 1));
    std::uint64_t later = server.open({.sessions_max = 1});
    CHECK(later != client);
    CHECK(server.ask(request(later, 1, 1)).outcome == Outcome::applied);
    // What the old one sent and nobody saw until now does no harm.
    CHECK(server.ask(request(client, 1, 1)).outcome == Outcome::expired);
}

TEST_CASE("a session that is closed is gone, also if it was") {
    Server server;
    std::uint64_t client = server.open();
    server.ask(request(client, 1, 1));
    CHECK(server.ask(closing(client)) == Report{client, 0, Outcome::closed});
    CHECK(server.clients().empty());
    CHECK(server.ask(closing(client)) == Report{client, 0, Outcome::closed});
    CHECK(server.ask(closing(4711)) == Report{4711, 0, Outcome::closed});
    CHECK(server.ask(request(client, 1, 1)).outcome == Outcome::expired);
}

TEST_CASE("the answers kept for a client are bounded, and it can go on once it has some") {
    Server server;
    std::uint64_t client = server.open({.answers_max = 2});
    CHECK(server.ask(request(client, 5, 5)).outcome == Outcome::applied);
    CHECK(server.ask(request(client, 6, 5)).outcome == Outcome::applied);
    std::uint64_t total = server.total();
    CHECK(server.ask(request(client, 7, 5)) == Report{client, 7, Outcome::too_far_ahead});
    CHECK(server.ask(request(client, ~std::uint64_t{0}, 5)).outcome == Outcome::too_far_ahead);
    CHECK(server.total() == total);
    CHECK(server.kept() == Numbers{5, 6});
    CHECK(server.ask(request(client, 7, 6)).outcome == Outcome::applied);
    CHECK(server.kept() == Numbers{6, 7});
    // None would be of no use.
    std::uint64_t other = server.open({.answers_max = 0});
    CHECK(server.ask(request(other, 1, 1)).outcome == Outcome::applied);
}

TEST_CASE("numbers at the end of their range are numbers like any other") {
    Server server;
    std::uint64_t end = ~std::uint64_t{0};
    std::uint64_t client = server.open({.sessions_max = end, .answers_max = end});
    CHECK(server.ask(request(client, end - 1, 0)).outcome == Outcome::applied);
    CHECK(server.ask(request(client, end, 0)).outcome == Outcome::too_far_ahead);
    CHECK(server.ask(request(client, end, 1)).outcome == Outcome::applied);
    CHECK(server.ask(request(client, end, end)).outcome == Outcome::repeated);
    CHECK(server.kept() == Numbers{end});
    CHECK(server.ask(request(client, 0, 0)).outcome == Outcome::acknowledged);
}

TEST_CASE("what belongs to no session is applied as often as it comes, and nobody is told") {
    Server server;
    server.bank.apply_transition(outside(5));
    server.bank.apply_transition(outside(5));
    CHECK(server.total() == 10);
    CHECK(server.bank.machine().heard.empty());
    CHECK(server.clients().empty());
}

// ----- What the replica says ---------------------------------------------------------------------

TEST_CASE("whatever did not get through is to be asked for again, whatever became of it") {
    Server server;
    for (TransitionState state :
         {TransitionState::abandoned_not_leader, TransitionState::abandoned_overloaded,
          TransitionState::abandoned_conflict_with_leader, TransitionState::outcome_unknown}) {
        server.bank.machine().heard.clear();
        server.bank.register_transition_state(request(3, 4, 1, 10).get_id(), state);
        server.bank.register_transition_state(opening(77).get_id(), state);
        server.bank.register_transition_state(closing(5).get_id(), state);
        server.bank.register_transition_state(outside(1, 11).get_id(), state);
        CHECK(server.bank.machine().heard == std::vector<Report>{{3, 4, Outcome::ask_again},
                                                                 {0, 77, Outcome::ask_again},
                                                                 {5, 0, Outcome::ask_again}});
        // The states of transitions reach the machine as they would without sessions.
        using States = std::vector<std::pair<std::uint64_t, TransitionState>>;
        CHECK(server.bank.machine().states == States{{10, state}, {11, state}});
        server.bank.machine().states.clear();
    }
}

TEST_CASE("states that are not the end of it are no answers") {
    Server server;
    for (TransitionState state :
         {TransitionState::queued, TransitionState::committed, TransitionState::applied})
        server.bank.register_transition_state(request(3, 4, 1, 10).get_id(), state);
    CHECK(server.bank.machine().heard.empty());
    CHECK(server.bank.machine().states.size() == 3);
}

TEST_CASE("requests are told apart by all of what they are") {
    CHECK(request(1, 2, 1, 3).get_id() == request(1, 2, 2, 3).get_id());
    std::vector<Asked::Id> ids = {request(1, 2, 1, 3).get_id(), request(1, 2, 1, 4).get_id(),
                                  request(1, 3, 1, 3).get_id(), request(2, 2, 1, 3).get_id(),
                                  opening(2).get_id(),          opening(3).get_id(),
                                  closing(1).get_id(),          outside(1, 3).get_id()};
    for (std::size_t a = 0; a < ids.size(); ++a) {
        for (std::size_t b = 0; b < ids.size(); ++b) CHECK((ids[a] == ids[b]) == (a == b));
    }
}

// ----- Exactly what the machine is ---------------------------------------------------------------

namespace {
/// As little as can be: plain transitions, no answer, nobody who is told one.
struct Plain {
    using Transition = Deposit;
    std::uint64_t total = 0;
    std::vector<Deposit> pending;

    void apply_transition(const Deposit& deposit) { total += deposit.amount; }
    void register_transition_state(std::uint64_t, TransitionState) {}
    std::vector<Deposit>& get_pending_transitions() { return pending; }
};
static_assert(lr::StateMachine<Plain>);
static_assert(lr::StateMachine<lr::Sessions<Plain>>);
static_assert(!lr::Snapshotting<lr::Sessions<Plain>>);
static_assert(!lr::LinearizableReads<lr::Sessions<Plain>>);
static_assert(std::is_same_v<lr::Sessions<Plain>::Answer, lr::NoAnswer>);
static_assert(sizeof(lr::Session<lr::NoAnswer>::Kept) == sizeof(std::uint64_t));

struct Reading : Plain {
    using Read = int;
    Numbers applied, abandoned;
    std::vector<int> reads = {1, 2};
    std::vector<int>& get_pending_reads() { return reads; }
    void apply_read(int read) { applied.push_back(static_cast<std::uint64_t>(read)); }
    void abandon_read(int read) { abandoned.push_back(static_cast<std::uint64_t>(read)); }
};
static_assert(lr::StateMachine<lr::Sessions<Reading>>);
static_assert(!lr::Snapshotting<lr::Sessions<Reading>>);
static_assert(lr::LinearizableReads<lr::Sessions<Reading>>);

/// Its snapshots are no bytes.
template <class A>
struct Whole : Plain {
    using SnapshotData = std::map<int, std::uint64_t>;
    std::optional<lr::Snapshot<SnapshotData>> saved;

    A apply_transition(const Deposit& deposit) {
        total += deposit.amount;
        return A(deposit.amount % 2);
    }
    std::optional<lr::Snapshot<SnapshotData>> get_snapshot() { return saved; }
    SnapshotData create_snapshot(Index index, Term term) {
        saved = {{term, index}, {{1, total}}};
        return saved->data;
    }
    void set_snapshot(const lr::Snapshot<SnapshotData>& snapshot) {
        saved = snapshot;
        total = snapshot.data.at(1);
    }
};

/// An answer that can be copied and nothing else.
struct Opaque {
    explicit Opaque(std::uint64_t of) : value(of) {}
    std::uint64_t value;
};
static_assert(lr::Snapshotting<lr::Sessions<Whole<Opaque>>>);
static_assert(lr::Snapshotting<lr::Sessions<Whole<int>>>);
static_assert(lr::Snapshotting<Bank>);
static_assert(std::is_same_v<Bank::SnapshotData, std::string>);
static_assert(!lr::LinearizableReads<Bank>);
static_assert(lr::Transition<Asked>);

struct Sized {
    std::uint64_t get_id() const { return 1; }
    unsigned get_size() const { return 1234; }
};
template <class T>
concept HasSize = requires {
    &T::get_size;
};
static_assert(HasSize<lr::Sessioned<Sized>>);
static_assert(!HasSize<Asked>);

// Nothing can be compared of which a part cannot, and nothing else: the kit asks.
static_assert(std::equality_comparable<Asked>);
static_assert(!std::equality_comparable<lr::Sessioned<Sized>>);
static_assert(std::equality_comparable<lr::Sessions<Whole<int>>::SnapshotData>);
static_assert(!std::equality_comparable<lr::Sessions<Whole<Opaque>>::SnapshotData>);
static_assert(!std::equality_comparable<lr::SessionState<Opaque>>);
}  // namespace

TEST_CASE("plain transitions are handed over, outside of all sessions, and moved") {
    lr::Sessions<Plain> bank;
    bank.machine().pending = {Deposit{1, 0, 0, 5}, Deposit{2, 0, 0, 6}};
    std::vector<Asked> handed = bank.get_pending_transitions();
    CHECK(handed == std::vector<Asked>{outside(5, 1), outside(6, 2)});
    for (const Asked& asked : handed) bank.apply_transition(asked);
    CHECK(bank.machine().total == 11);
}

TEST_CASE("requests are handed over as they are, and a reference stays one") {
    struct Refers : Ledger {
        std::vector<Asked>& get_pending_transitions() { return pending; }
    };
    lr::Sessions<Refers> bank;
    CHECK(&bank.get_pending_transitions() == &bank.machine().pending);
    Bank other;
    other.machine().pending = {request(1, 2, 1)};
    CHECK(other.get_pending_transitions() == std::vector<Asked>{request(1, 2, 1)});
    CHECK(other.get_pending_transitions().empty());
}

TEST_CASE("a machine that answers nothing is applied once all the same") {
    lr::Sessions<Plain> bank;
    bank.apply_transition(opening(1));
    for (int i = 0; i < 3; ++i) bank.apply_transition(request(1, 1, 1));
    bank.apply_transition(request(1, 2, 1));
    CHECK(bank.machine().total == std::get<Deposit>(request(1, 1, 1).command).amount +
                                      std::get<Deposit>(request(1, 2, 1).command).amount);
    CHECK(bank.sessions().sessions[0].answers.size() == 2);
}

TEST_CASE("reads go to the machine") {
    lr::Sessions<Reading> bank;
    CHECK(&bank.get_pending_reads() == &bank.machine().reads);
    bank.apply_read(5);
    bank.abandon_read(6);
    CHECK(bank.machine().applied == Numbers{5});
    CHECK(bank.machine().abandoned == Numbers{6});
}

TEST_CASE("what a transition owns counts for the limits of Options") {
    lr::Sessioned<Sized> asked;
    CHECK(asked.get_size() == 0);
    asked.command = Sized{};
    CHECK(asked.get_size() == 1234);
}

TEST_CASE("a machine is made in place") {
    struct Fixed : Plain {
        explicit Fixed(std::uint64_t amount, std::unique_ptr<int> what) : own(std::move(what)) {
            total = amount;
        }
        Fixed(const Fixed&) = delete;
        std::unique_ptr<int> own;
    };
    lr::Sessions<Fixed> bank{std::in_place, 8U, std::make_unique<int>(9)};
    CHECK(std::as_const(bank).machine().total == 8);
    CHECK(*bank.machine().own == 9);
}

TEST_CASE("copies go on by themselves") {
    Bank bank;
    bank.apply_transition(opening(1, {.sessions_max = 2}));
    bank.apply_transition(opening(2, {.sessions_max = 2}));
    bank.apply_transition(request(1, 1, 1));
    Bank copy = bank;
    bank.apply_transition(request(2, 1, 1));
    bank.apply_transition(opening(3, {.sessions_max = 2}));
    Numbers clients;
    copy.apply_transition(request(1, 2, 1));
    for (const auto& session : copy.sessions().sessions) clients.push_back(session.client.value);
    CHECK(clients == Numbers{2, 1});
    copy = bank;
    CHECK(copy.sessions() == bank.sessions());
    copy = std::as_const(copy);
    CHECK(copy.sessions() == bank.sessions());
}

// ----- Snapshots ---------------------------------------------------------------------------------

namespace {
enum class Verdict : unsigned char { refused = 3, granted = 200 };

/// An answer that only its machine can write down.
struct Receipt {
    std::uint64_t number;
    bool valid;
    friend bool operator==(const Receipt&, const Receipt&) = default;
};

/// The n-th answer of a kind.
template <class A>
A answer_number(std::uint64_t n) {
    if constexpr (std::is_same_v<A, Receipt>) {
        return {n, n % 2 == 0};
    } else if constexpr (std::is_same_v<A, Verdict>) {
        return n % 2 == 0 ? Verdict::granted : Verdict::refused;
    } else if constexpr (std::is_same_v<A, bool>) {
        return n % 2 == 0;
    } else if constexpr (std::is_integral_v<A>) {
        return static_cast<A>(A{} - static_cast<A>(n));
    } else {
        A bytes{};
        for (std::uint64_t i = 0; i < n; ++i)
            bytes.push_back(static_cast<typename A::value_type>(i * 100));
        return bytes;
    }
}

/// Counts, in as many bytes of the type D, and gives answers of the type A.
template <class D, class A>
struct Keeper : Plain {
    using SnapshotData = D;
    std::optional<lr::Snapshot<D>> saved;
    std::optional<A> told;

    A apply_transition(const Deposit&) { return answer_number<A>(++total); }
    void register_answer(const lr::SessionAnswer<A>& answer) {
        told.reset();
        if (answer.answer) told = *answer.answer;
    }
    std::optional<lr::Snapshot<D>> get_snapshot() { return saved; }
    D create_snapshot(Index index, Term term) {
        saved = lr::Snapshot<D>{{term, index}, D(static_cast<std::size_t>(total), {})};
        return saved->data;
    }
    void set_snapshot(const lr::Snapshot<D>& snapshot) {
        saved = snapshot;
        total = snapshot.data.size();
    }
    std::string encode_answer(const Receipt& receipt) const requires std::same_as<A, Receipt> {
        return std::string(1, receipt.valid ? 'v' : 'w') + std::to_string(receipt.number);
    }
    std::optional<A> decode_answer(std::string_view text) const requires std::same_as<A, Receipt> {
        Receipt receipt{0, text.starts_with('v')};
        for (char digit : text.substr(text.empty() ? 0 : 1))
            receipt.number = receipt.number * 10 + static_cast<unsigned char>(digit) - '0';
        if (encode_answer(receipt) != text) return std::nullopt;
        return receipt;
    }
};

/// What happens to clients, in short.
std::vector<Asked> short_history() {
    return {opening(7, {.sessions_max = 3, .answers_max = 4}),
            opening(8, {.sessions_max = 3, .answers_max = 4}),
            request(1, 1, 1),
            request(1, 3, 1),
            request(2, 1, 1),
            request(1, 2, 1),
            opening(9, {.sessions_max = 3, .answers_max = 1}),
            request(2, 2, 2),
            request(1, 2, 2),
            opening(5, {.sessions_max = 3}),
            request(4, 9, 6),
            closing(4),
            request(2, 5, 4)};
}

/// Whoever goes on from a snapshot, taken anywhere, goes on like the one that it was taken of.
template <class M>
void goes_on_from_snapshots() {
    const std::vector<Asked> history = short_history();
    for (std::size_t cut = 0; cut <= history.size(); ++cut) {
        lr::Sessions<M> one, other;
        for (std::size_t i = 0; i < cut; ++i) one.apply_transition(history[i]);
        Index index{cut};
        const auto data = one.create_snapshot(index, Term{1});
        other.apply_transition(opening(1));  // Which a snapshot replaces.
        other.apply_transition(request(1, 60, 50));
        other.set_snapshot({{Term{1}, index}, data});
        CHECK(!other.fault());
        CHECK(other.sessions() == one.sessions());
        CHECK(other.machine().total == one.machine().total);
        for (auto* bank : {&one, &other}) {
            auto saved = bank->get_snapshot();
            REQUIRE(saved);
            CHECK(saved->last_included == lr::LogPosition{Term{1}, index});
            CHECK(saved->data == data);
        }
        CHECK(other.create_snapshot(index, Term{1}) == data);
        for (const Asked& asked : history) {
            one.apply_transition(asked);
            other.apply_transition(asked);
            CHECK(one.machine().told == other.machine().told);
        }
        CHECK(other.sessions() == one.sessions());
    }
}

using Bytes = std::vector<std::byte>;

/// One with something to remember.
template <class M = Ledger>
lr::Sessions<M> busy_bank() {
    lr::Sessions<M> bank;
    for (const Asked& asked : short_history()) bank.apply_transition(asked);
    return bank;
}
}  // namespace

TEST_CASE("sessions are a part of the snapshot, whatever bytes it is of, whatever the answer is") {
    goes_on_from_snapshots<Keeper<std::string, std::uint64_t>>();
    goes_on_from_snapshots<Keeper<std::string, std::int8_t>>();
    goes_on_from_snapshots<Keeper<std::vector<char>, bool>>();
    goes_on_from_snapshots<Keeper<std::vector<unsigned char>, Verdict>>();
    goes_on_from_snapshots<Keeper<Bytes, std::string>>();
    goes_on_from_snapshots<Keeper<Bytes, Bytes>>();
    goes_on_from_snapshots<Keeper<std::string, std::vector<unsigned char>>>();
    goes_on_from_snapshots<Keeper<std::string, Receipt>>();
}

TEST_CASE("sessions are a part of the snapshot where it is no string of bytes") {
    goes_on_from_snapshots<Keeper<std::vector<int>, Receipt>>();
    goes_on_from_snapshots<Keeper<std::vector<int>, std::string>>();
}

TEST_CASE("a snapshot of bytes stays one, so that it travels in chunks") {
    Bank bank = busy_bank();
    std::string own = Ledger(bank.machine()).create_snapshot(Index{1}, Term{1});
    std::string data = bank.create_snapshot(Index{1}, Term{1});
    CHECK(data.starts_with(own));
    CHECK(lr::detail::size_in_chunks(data) == data.size());
}

TEST_CASE("a snapshot holds no more than what must be remembered") {
    lr::Sessions<Keeper<std::string, std::uint64_t>> bank;
    for (std::uint64_t n = 1; n <= 1000; ++n) {
        bank.apply_transition(opening(n, {.sessions_max = 10, .answers_max = 4}));
        for (std::uint64_t sequence = 1; sequence <= 20; ++sequence)
            bank.apply_transition(request(n, sequence, sequence < 4 ? 1 : sequence - 3));
    }
    CHECK(bank.sessions().sessions.size() == 10);
    std::size_t own = static_cast<std::size_t>(bank.machine().total);
    CHECK(bank.create_snapshot(Index{1}, Term{1}).size() - own == 16 + 10 * (32 + 4 * 16) + 16);
}

namespace {
/// Offers bytes as a snapshot. They are refused as a whole, or taken for what they say, and then
/// they come back. Either way the machine is there. Says whether they were taken.
template <class M>
bool takes(const std::string& data) {
    lr::Sessions<M> bank = busy_bank<M>();
    std::uint64_t total = bank.machine().total;
    bank.set_snapshot({{Term{2}, Index{9}}, data});
    bool taken = !bank.fault();
    if (taken) {
        CHECK(bank.get_snapshot()->data == data);
    } else {
        CHECK(bank.machine().total == total);
        CHECK(bank.sessions().sessions.empty());
        CHECK(!bank.get_snapshot());
    }
    bank.apply_transition(opening(1));
    bank.apply_transition(request(1, 1, 1));
    bank.apply_transition(request(2, 8, 7));
    return taken;
}

template <class M>
void withstands_damage() {
    const std::string data = busy_bank<M>().create_snapshot(Index{9}, Term{2});
    M machine = busy_bank<M>().machine();
    const std::size_t own = machine.create_snapshot(Index{9}, Term{2}).size();
    REQUIRE(takes<M>(data));
    for (std::size_t size = 0; size < data.size(); ++size) CHECK(!takes<M>(data.substr(0, size)));
    CHECK(takes<M>(data.substr(own)));  // The machine's own part is for the machine to judge,
    CHECK(takes<M>("x" + data));        // ... and what it makes of it.
    CHECK(!takes<M>(data + "x"));
    std::size_t refused = 0, taken = 0;
    for (std::size_t at = own; at < data.size(); ++at) {
        for (unsigned flip : {0x01U, 0x80U, 0xffU}) {
            std::string damaged = data;
            damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ flip);
            ++(takes<M>(damaged) ? taken : refused);
        }
    }
    CHECK(refused > 200);
    CHECK(taken > 20);  // An answer is as good as any other.
    std::uint64_t end = ~std::uint64_t{0};
    for (std::size_t at = own; at + 8 <= data.size(); ++at) {
        for (std::uint64_t number : {std::uint64_t{0}, std::uint64_t{1}, end, end - 15, end / 2 + 1,
                                     std::uint64_t{1} << 40, std::uint64_t{data.size()}}) {
            std::string damaged = data;
            for (unsigned i = 0; i < 8; ++i) damaged[at + i] = static_cast<char>(number >> (8 * i));
            takes<M>(damaged);
        }
    }
    lrt::Random random(3);
    for (int i = 0; i < 2000; ++i) {
        std::string noise(random.below(200), '\0');
        for (char& c : noise) c = static_cast<char>(random.below(random.one_in(2) ? 2 : 256));
        CHECK(!takes<M>(noise));
        takes<M>(noise + data.substr(data.size() - 16));
    }
}
}  // namespace

TEST_CASE("a damaged snapshot is refused, or taken for what it says, and never does harm") {
    withstands_damage<Ledger>();
    withstands_damage<Keeper<std::string, std::string>>();
    withstands_damage<Keeper<std::string, Verdict>>();
    withstands_damage<Keeper<std::string, Receipt>>();
}

TEST_CASE("answers that are none are damage, too") {
    lr::Sessions<Keeper<std::string, Receipt>> receipts;
    lr::Sessions<Keeper<std::string, bool>> bools;
    auto fails = [](auto& bank, std::size_t from_end, char what) {
        for (const Asked& asked : short_history()) bank.apply_transition(asked);
        std::string data = bank.create_snapshot(Index{1}, Term{1});
        data[data.size() - 16 - from_end] = what;
        bank.set_snapshot({{Term{1}, Index{1}}, data});
        return bank.fault().has_value();
    };
    CHECK(!fails(receipts, 2, 'v'));
    CHECK(fails(receipts, 2, 'x'));
    CHECK(!fails(bools, 8, 1));
    CHECK(fails(bools, 8, 2));
}

TEST_CASE("sessions that cannot have been are refused where they come as they are, too") {
    using Session = lr::Session<int>;
    auto is_fault = [](const lr::SessionState<int>& state) {
        lr::Sessions<Whole<int>> bank;
        bank.set_snapshot({{Term{1}, Index{1}}, {{{1, 5}}, state}});
        CHECK(bank.machine().total == (bank.fault() ? 0 : 5));
        return bank.fault().has_value();
    };
    Session good{{2}, 3, 4, {{3, 0}, {6, 0}}};
    CHECK(!is_fault({2, {good}}));
    CHECK(!is_fault({9, {good, {{1}, 0, 1, {}}}}));
    CHECK(is_fault({1, {good}}));                           // One that was never opened.
    CHECK(is_fault({2, {good, good}}));                     // One twice.
    CHECK(is_fault({2, {{{0}, 3, 4, {}}}}));                // Nobody's.
    CHECK(is_fault({2, {{{2}, 3, 0, {}}}}));                // No answers at all,
    CHECK(is_fault({2, {{{2}, 3, 4, {{2, 0}}}}}));          // ... one that was discarded,
    CHECK(is_fault({2, {{{2}, 3, 4, {{7, 0}}}}}));          // ... one too far ahead,
    CHECK(is_fault({2, {{{2}, 3, 4, {{4, 0}, {4, 0}}}}}));  // ... one twice,
    CHECK(is_fault({2, {{{2}, 3, 4, {{5, 0}, {4, 0}}}}}));  // ... or out of order.
}

TEST_CASE("after a snapshot that cannot be read nothing is applied or answered until a good one") {
    Bank bank = busy_bank();
    std::string good = bank.create_snapshot(Index{9}, Term{2});
    std::uint64_t total = bank.machine().total;
    bank.set_snapshot({{Term{2}, Index{10}}, "nonsense"});
    REQUIRE(bank.fault());
    CHECK(bank.fault()->find("cannot be read") != std::string_view::npos);
    bank.machine().heard.clear();
    for (const Asked& asked : {opening(1), request(2, 6, 4), outside(3), closing(2)}) {
        std::size_t before = bank.machine().heard.size();
        bank.apply_transition(asked);
        CHECK(bank.machine().heard.size() == before);
        bank.register_transition_state(asked.get_id(), TransitionState::applied);
    }
    CHECK(bank.machine().total == total);
    CHECK(bank.machine().heard == std::vector<Report>{{0, 1, Outcome::ask_again},
                                                      {2, 6, Outcome::ask_again},
                                                      {2, 0, Outcome::ask_again}});
    for (const auto& [id, state] : bank.machine().states)
        CHECK(state == TransitionState::outcome_unknown);
    CHECK(bank.machine().states.size() == 2);
    // Nobody gets this for a snapshot.
    CHECK(!bank.get_snapshot());
    std::string created = bank.create_snapshot(Index{12}, Term{2});
    CHECK(!bank.get_snapshot());
    CHECK(!takes<Ledger>(created));
    bank.set_snapshot({{Term{2}, Index{9}}, good});
    CHECK(!bank.fault());
    CHECK(equal(bank, busy_bank()));
    CHECK(bank.get_snapshot()->data == good);
}

TEST_CASE("after a snapshot that cannot be read, reads go elsewhere") {
    struct Machine : Keeper<std::string, int> {
        using Read = int;
        Numbers applied, abandoned;
        std::vector<int> get_pending_reads() { return {}; }
        void apply_read(int read) { applied.push_back(static_cast<std::uint64_t>(read)); }
        void abandon_read(int read) { abandoned.push_back(static_cast<std::uint64_t>(read)); }
    };
    lr::Sessions<Machine> bank;
    bank.apply_read(1);
    bank.set_snapshot({{Term{2}, Index{10}}, "nonsense"});
    bank.apply_read(2);
    bank.abandon_read(3);
    CHECK(bank.machine().applied == Numbers{1});
    CHECK(bank.machine().abandoned == Numbers{2, 3});
}

TEST_CASE("a machine that saves its snapshots without the sessions is told so") {
    Bank bank;
    bank.machine().saved = {{Term{1}, Index{5}}, "17"};  // As if it came from a disk.
    CHECK(!bank.get_snapshot());
    REQUIRE(bank.fault());
    CHECK(bank.fault()->find("must save both") != std::string_view::npos);
    bank.apply_transition(outside(1));
    CHECK(bank.machine().total == 0);
    // Or others than Sessions knows.
    Bank other = busy_bank();
    static_cast<void>(other.create_snapshot(Index{9}, Term{2}));
    CHECK(other.get_snapshot());
    other.machine().saved->last_included.index = Index{8};
    CHECK(!other.get_snapshot());
    CHECK(other.fault());
}

namespace {
using File = std::optional<lr::Snapshot<std::string>>;

/// As sessions.hpp says: who saves stands above. The file outlives it.
struct Saved : Bank {
    explicit Saved(File& on_disk) : file(on_disk) {}
    std::optional<lr::Snapshot<std::string>> get_snapshot() { return file; }
    std::string create_snapshot(Index index, Term term) {
        file = {{term, index}, Bank::create_snapshot(index, term)};
        return file->data;
    }
    void set_snapshot(const lr::Snapshot<std::string>& snapshot) {
        file = snapshot;
        Bank::set_snapshot(snapshot);
    }
    File& file;
};
static_assert(lr::StateMachine<Saved> && lr::Snapshotting<Saved>);

/// A cluster of one, so nothing arrives.
struct Alone {
    using Message = lr::MessageOf<Saved>;
    void send_message(lr::ReplicaId, Message) {}
    std::vector<Message> receive_messages() { return {}; }
    bool halt() const { return false; }
    void register_leader(std::optional<lr::ReplicaId>) {}
};

/// The end of the process takes all but this.
struct LogOnDisk {
    lr::StoredState<Asked> state;
    lr::StoredState<Asked> load() { return state; }
    void save_vote(Term term, std::optional<lr::ReplicaId> vote) {
        state.term = term;
        state.voted_for = vote;
    }
    void append(Index, const std::vector<lr::Entry<Asked>>& entries) {
        state.entries.insert(state.entries.end(), entries.begin(), entries.end());
    }
    void compact(lr::LogPosition position) {
        auto count = static_cast<std::ptrdiff_t>(position.index - state.last_included.index);
        state.entries.erase(state.entries.begin(), state.entries.begin() + count);
        state.last_included = position;
    }
    bool sync() { return true; }
};
}  // namespace

TEST_CASE("sessions outlive the process, by the snapshot and by the log behind it") {
    File file;
    LogOnDisk disk;
    Alone network;
    auto run = [&](std::vector<Asked> asked) {
        Saved machine(file);
        lr::Options<Saved> options;
        options.snapshot_delta = 3;
        options.snapshot_trailing = 0;
        lr::Replica<Alone, Saved, LogOnDisk> replica{{1}, {}, network, machine, disk, options};
        lr::Time now{};
        auto poll = [&] { replica.poll(now += std::chrono::milliseconds(100)); };
        for (int i = 0; i < 30; ++i) poll();
        REQUIRE(replica.status().role == lr::Role::leader);
        machine.machine().heard.clear();
        machine.machine().pending = std::move(asked);
        for (int i = 0; i < 5; ++i) poll();
        CHECK(machine.machine().wrong == "");
        CHECK(!replica.status().fault);
        CHECK(!machine.fault());
        return machine.machine().heard;
    };
    std::vector<Report> first = run({opening(1), request(1, 1, 1)});
    REQUIRE(first.size() == 2);
    REQUIRE(file);
    CHECK(file->last_included.index == Index{3});
    std::vector<Report> second = run({request(1, 2, 1)});
    REQUIRE(second.size() == 1);
    CHECK(second[0].outcome == Outcome::applied);
    CHECK(file->last_included.index == Index{3});
    CHECK(run({request(1, 2, 1), request(1, 1, 1)}) ==
          std::vector<Report>{{1, 2, Outcome::repeated, second[0].answer},
                              {1, 1, Outcome::repeated, first[1].answer}});
}

// ----- All short logs ----------------------------------------------------------------------------

namespace {
/// Walks all logs of a length; returns how many, or fails with the first that differs.
std::uint64_t walk(const Bank& bank, const Model& model, const std::vector<Asked>& alphabet,
                   int length, std::array<std::uint64_t, 8>& seen) {
    if (length == 0) return 1;
    std::uint64_t logs = 0;
    for (const Asked& asked : alphabet) {
        Bank next = bank;
        Model after = model;
        std::string different = differs(next, after, asked);
        if (!different.empty()) FAIL_CHECK(different);
        if (!different.empty()) return logs;
        ++seen[static_cast<std::size_t>(next.machine().heard.back().outcome)];
        logs += walk(next, after, alphabet, length - 1, seen);
    }
    return logs;
}
}  // namespace

TEST_CASE("on all short logs, sessions are what a model that forgets nothing says") {
    std::vector<Asked> alphabet = {opening(1, {.sessions_max = 2, .answers_max = 2}),
                                   opening(2, {.sessions_max = 1, .answers_max = 1}), closing(1)};
    for (std::uint64_t client : Numbers{1, 2}) {
        for (std::uint64_t sequence : Numbers{1, 2, 3}) {
            for (std::uint64_t first : Numbers{1, 2})
                alphabet.push_back(request(client, sequence, first));
        }
    }
    std::array<std::uint64_t, 8> seen{};
    Bank bank;
    Model model;
    for (std::uint64_t nonce : Numbers{1, 2})
        REQUIRE(differs(bank, model, opening(nonce, {.sessions_max = 2, .answers_max = 2})) == "");
    CHECK(walk(bank, model, alphabet, 4, seen) == 15 * 15 * 15 * 15);
    for (Outcome outcome : {Outcome::opened, Outcome::closed, Outcome::applied, Outcome::repeated,
                            Outcome::acknowledged, Outcome::too_far_ahead, Outcome::expired})
        CHECK(seen[static_cast<std::size_t>(outcome)] > 500);
    CHECK(seen[static_cast<std::size_t>(Outcome::ask_again)] == 0);
}

// ----- Clusters ----------------------------------------------------------------------------------

namespace {
/// What clients were told, by all machines of all clusters.
std::array<std::atomic<std::uint64_t>, 8> told;

struct Counted : Ledger {
    void register_answer(const lr::SessionAnswer<std::uint64_t>& answer) {
        Ledger::register_answer(answer);
        ++told[static_cast<std::size_t>(answer.outcome)];
    }
    void register_transition_state(std::uint64_t, TransitionState) {}
};
using CountedBank = lr::Sessions<Counted>;

/// Clients as they should be: each asks until it has an answer, for several things at once.
class Clients {
 public:
    explicit Clients(std::uint64_t seed) : random_(seed), all_(4) {}

    /// What one of them sends now.
    Asked next(std::uint64_t number) {
        Client& client = all_[random_.below(all_.size())];
        if (client.id == 0) {
            client.nonces.insert(number);  // The kit wants different ids of all that is proposed.
            return opening(number, {.sessions_max = 6, .answers_max = 3});
        }
        if (random_.one_in(40)) return closing(std::exchange(client, {}).id, number);
        bool asks_again = client.waits_for.size() >= 3 || random_.one_in(2);
        std::uint64_t sequence = client.latest + 1;
        if (asks_again && !client.waits_for.empty()) {
            auto which = client.waits_for.begin();
            std::advance(which, random_.below(client.waits_for.size()));
            sequence = *which;
            ++asked_again;
        } else {
            client.waits_for.insert(++client.latest);
        }
        return request(client.id, sequence, *client.waits_for.begin(), number);
    }

    /// They hear of some of what this machine was told since the last time.
    void listen(std::size_t replica, const CountedBank& bank, bool to_all) {
        heard_.resize(std::max(heard_.size(), replica + 1));
        const std::vector<Report>& reports = bank.machine().heard;
        if (heard_[replica] > reports.size()) heard_[replica] = 0;  // It is another process.
        for (; heard_[replica] < reports.size(); ++heard_[replica]) {
            const Report& report = reports[heard_[replica]];
            if (report.answer) {
                auto [first, is_new] =
                    answers.emplace(std::pair(report.client, report.sequence), *report.answer);
                if (first->second != *report.answer) wrong = "two answers to one request";
            }
            if (!to_all && random_.one_in(2)) continue;
            for (Client& client : all_) hear(client, report);
        }
    }

    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> answers;
    std::string wrong;
    std::uint64_t asked_again = 0, answered = 0, expired = 0;

 private:
    struct Client {
        std::set<std::uint64_t> nonces = {};
        std::uint64_t id = 0;
        std::uint64_t latest = 0;
        std::set<std::uint64_t> waits_for = {};
    };

    void hear(Client& client, const Report& report) {
        if (client.id == 0) {
            bool own = report.outcome == Outcome::opened && client.nonces.contains(report.sequence);
            if (own) client.id = report.client;
            return;
        }
        if (report.client != client.id) return;
        if (report.answer && client.waits_for.erase(report.sequence) > 0) ++answered;
        if (report.outcome == Outcome::acknowledged && client.waits_for.contains(report.sequence))
            wrong = "told that an answer is known to one who waits for it";
        if (report.outcome != Outcome::expired) return;
        client = {};
        ++expired;
    }

    lrt::Random random_;
    std::vector<Client> all_;
    std::vector<std::size_t> heard_;
};

/// Those of the cluster that this thread runs.
thread_local Clients* asking = nullptr;

/// Without clients, anything is asked for at any time, so that all that can meet in a log does.
struct ClusterTest : lrt::Subject<CountedBank> {
    static Asked transition(lrt::Random& random, std::uint64_t number) {
        if (asking && number > 0) return asking->next(number);
        if (random.one_in(9)) return opening(number, {1 + random.below(5), 1 + random.below(5)});
        // One of those that were opened lately, or one that is to come.
        std::uint64_t latest = 1 + number / 25;
        std::uint64_t client = latest - random.below(std::min<std::uint64_t>(latest, 6));
        Asked asked = request(client, 1 + random.below(6), random.below(4), number);
        if (random.one_in(25)) asked = closing(client, number);
        if (random.one_in(25)) asked = outside(1 + random.below(9), number);
        return asked;
    }
    static std::uint64_t digest(const CountedBank& bank) {
        const Ledger& ledger = bank.machine();
        lr::SessionState<std::uint64_t> state = bank.sessions();
        std::uint64_t hash = lrt::mix(state.opened, ledger.total);
        for (const auto& session : state.sessions) {
            hash = lrt::mix(hash, session.client.value);
            hash = lrt::mix(lrt::mix(hash, session.first_unanswered), session.answers_max);
            for (const auto& kept : session.answers)
                hash = lrt::mix(lrt::mix(hash, kept.sequence), kept.answer);
        }
        for (const auto& [request, answer] : ledger.done)
            hash = lrt::mix(lrt::mix(lrt::mix(hash, request.first), request.second), answer);
        return hash;
    }
    static Report observe(const CountedBank& bank, const Asked& asked) {
        bool is_told = asked.client != ClientId{} || !asked.get_id().transition;
        is_told = is_told && !bank.machine().heard.empty();
        return is_told ? bank.machine().heard.back() : Report{.answer = bank.machine().total};
    }
    static std::string invariant(const CountedBank& bank) { return bank.machine().wrong; }
    static std::string show(const Asked& asked) {
        constexpr const char* kinds[] = {"close", "open", "request"};
        return kinds[asked.command.index()] + (" by " + std::to_string(asked.client.value)) + ": " +
               std::to_string(asked.sequence) + " of " + std::to_string(asked.first_unanswered) +
               " and on";
    }
};

/// What was answered was done, once, with that answer; and nothing else is in the sum.
std::string check_books(const Ledger& ledger, const Clients& clients) {
    std::uint64_t sum = 0;
    for (const auto& [asked, answer] : ledger.done)
        sum += std::get<Deposit>(request(asked.first, asked.second, 0).command).amount;
    if (ledger.total != sum) return "the total is not the sum of what was done";
    for (const auto& [asked, answer] : clients.answers) {
        auto done = ledger.done.find(asked);
        if (done == ledger.done.end() || done->second != answer)
            return "what a client was told is not in the books";
    }
    return clients.wrong + ledger.wrong;
}

/// A cluster and its clients, under one schedule of faults.
class ClientRun {
 public:
    explicit ClientRun(std::uint64_t index)
        : drawn_(lrt::draw_case(lrt::Settings::from_environment().seed + 1000, index)),
          clients(index) {
        asking = &clients;
        simulator_.emplace(drawn_.configuration);
    }
    ~ClientRun() { asking = nullptr; }

    /// What is wrong.
    std::string run() {
        for (const lrt::Op& step : drawn_.schedule) {
            simulator_->apply(step);
            listen(false);
            if (simulator_->failure()) break;
        }
        if (!simulator_->failure()) simulator_->converge();
        listen(true);
        count_requests();
        if (simulator_->failure()) return simulator_->failure()->detail;
        for (std::size_t i = 0; i < simulator_->replicas(); ++i) {
            bool knows_all = simulator_->is_alive(i) &&
                             simulator_->status(i).last_applied.value == committed().size();
            if (knows_all) return check_books(simulator_->machine(i).machine(), clients);
        }
        return "nobody has applied all that is committed";
    }
    const lrt::Coverage& coverage() { return simulator_->coverage(); }

    std::uint64_t different = 0;  // Requests in the log,
    std::uint64_t again = 0;      // ... and how often one of them is there again.

 private:
    const std::vector<lrt::Committed>& committed() const { return simulator_->ghost().committed(); }

    void listen(bool to_all) {
        for (std::size_t i = 0; i < simulator_->replicas(); ++i) {
            if (simulator_->is_alive(i)) clients.listen(i, simulator_->machine(i), to_all);
        }
    }

    void count_requests() {
        std::set<std::pair<std::uint64_t, std::uint64_t>> seen;
        for (const lrt::Committed& entry : committed()) {
            if (entry.mark.number == lrt::noop_number) continue;
            const Asked& asked = simulator_->transition(entry.mark.number);
            if (!std::holds_alternative<Deposit>(asked.command)) continue;
            bool is_new = seen.emplace(asked.client.value, asked.sequence).second;
            ++(is_new ? different : again);
        }
    }

    lrt::Case drawn_;
    std::optional<lrt::Simulator<ClusterTest>> simulator_;

 public:
    Clients clients;
};
}  // namespace

TEST_CASE("in clusters, whatever is asked for, all replicas answer alike") {
    lrt::Settings settings;
    settings.seed = lrt::Settings::from_environment().seed;
    settings.schedules = 1'000 / one_in;
    settings.timeline_directory = std::filesystem::temp_directory_path().string();
    for (auto& count : told) count = 0;
    lrt::Result result = lrt::check<ClusterTest>(settings);
    CHECK_MESSAGE(result.passed, result.text);
    for (std::size_t i = 0; i < told.size(); ++i) {
        INFO(Report{.outcome = static_cast<Outcome>(i)});
        CHECK(std::uint64_t{told[i]} > 2'000 / one_in);
    }
    CHECK(result.coverage[lrt::Event::snapshot_installed] > 100 / one_in);
}

TEST_CASE("clients that ask until they have an answer get one, and all is done exactly once") {
    lrt::Coverage coverage;
    std::uint64_t different = 0, again = 0, asked_again = 0, answered = 0, expired = 0;
    for (std::uint64_t index = 0; index < 500 / one_in; ++index) {
        ClientRun run(index);
        INFO("schedule " << index);
        std::string wrong = run.run();
        CHECK(wrong == "");
        if (!wrong.empty()) return;
        coverage.add(run.coverage());
        different += run.different;
        again += run.again;
        asked_again += run.clients.asked_again;
        answered += run.clients.answered;
        expired += run.clients.expired;
    }
    MESSAGE(different << " requests in logs, " << again << " times one of them again; asked again "
                      << asked_again << " times, " << answered << " answers, " << expired
                      << " sessions found expired; " << coverage[lrt::Event::election_won]
                      << " elections, " << coverage[lrt::Event::crash] << " crashes, "
                      << coverage[lrt::Event::snapshot_installed] << " snapshots installed");
    CHECK(again > 1'000 / one_in);
    CHECK(asked_again > again);
    CHECK(answered > 1'000 / one_in);
    CHECK(expired > 50 / one_in);
    CHECK(coverage[lrt::Event::snapshot_installed] > 50 / one_in);
    for (lrt::Event event :
         {lrt::Event::drop, lrt::Event::duplicate, lrt::Event::crash, lrt::Event::election_won})
        CHECK(coverage[event] > 500 / one_in);
}

TEST_CASE("a machine with sessions is what the library asks of every machine") {
    lrt::Check machine = lrt::check_machine<ClusterTest>();
    CHECK_MESSAGE(machine.passed, machine.text);
    lrt::Check snapshots = lrt::check_snapshots<ClusterTest>();
    CHECK_MESSAGE(snapshots.passed, snapshots.text);
}
