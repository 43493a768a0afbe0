// What becomes of a transition: each one that a replica takes ends there in exactly one final
// state.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"
#include "testing/inspect.hpp"

namespace {

using namespace support;
using lr::Role;
using lr::TransitionState;
using enum lr::TransitionState;
using States = std::vector<TransitionState>;

const States all_the_way{queued, committed, applied};

AppendEntries append(std::uint64_t prev, std::uint64_t prev_term, std::uint64_t commit,
                     const std::vector<Entry>& entries) {
    return {{{prev_term}, {prev}}, {commit}, entries};
}

Entry noop(std::uint64_t term) { return {Term{term}, lr::Noop{}}; }
Entry entry(std::uint64_t term, std::uint64_t id) { return {Term{term}, Command{id, id}}; }

/// Replica 1 leads in term 1; its first entry, at 1, is committed.
struct Leading : Node {
    explicit Leading(Options chosen = {}) : Node(1, {2, 3}, std::move(chosen)) {
        elect();
        REQUIRE(status().role == Role::leader);
        acknowledge(1);
        REQUIRE(status().commit_index == Index{1});
        sent();
    }

    /// The first goes to index 2 if nothing was proposed before.
    void propose(const std::vector<std::uint64_t>& commands) {
        for (std::uint64_t command : commands) machine.pending.push_back({command, command});
        poll();
    }

    /// Replica 2 has everything up to there.
    void acknowledge(std::uint64_t index) {
        poll({from(2, status().term.value, lr::AppendEntriesResponse{true, Index{index}, {}})});
    }
};

bool is_final(TransitionState state) { return state != queued && state != committed; }

}  // namespace

// ----- The ordinary way --------------------------------------------------------------------------

TEST_CASE("a leader's transition is queued, then committed, then applied") {
    Leading node;
    node.propose({7});
    CHECK(node.machine.states_of(7) == States{queued});
    CHECK(node.machine.applied.empty());
    node.acknowledge(1);
    CHECK(node.machine.states_of(7) == States{queued});
    node.acknowledge(2);
    CHECK(node.machine.states_of(7) == all_the_way);
    CHECK(node.machine.applied == std::vector<std::uint64_t>{7});
    node.acknowledge(2);
    node.advance(node.options.heartbeat_timeout);
    CHECK(node.machine.states_of(7) == all_the_way);
}

TEST_CASE("alone, a replica takes a transition all the way in one poll") {
    Node node(1, {});
    node.elect();
    node.machine.pending = {{1, 1}, {2, 2}};
    node.poll();
    CHECK(node.machine.states_of(1) == all_the_way);
    CHECK(node.machine.states_of(2) == all_the_way);
}

namespace {

/// Writes down all calls in their order.
struct Journal : Machine {
    std::vector<std::string> calls;

    void note(const char* what, std::uint64_t id) {
        calls.emplace_back(what);
        calls.back() += ' ';
        calls.back() += std::to_string(id);
    }

    void register_transition_state(std::uint64_t id, TransitionState state) {
        static constexpr const char* names[] = {"queued",     "committed", "applied", "not leader",
                                                "overloaded", "conflict",  "unknown"};
        note(names[static_cast<std::size_t>(state)], id);
    }
    void apply_transition(const Command& applied_one) { note("apply", applied_one.id); }
};

}  // namespace

TEST_CASE("reports come in the log's order, all that are committed before the first is applied") {
    Wire wire;
    Journal machine;
    lr::Replica replica{ReplicaId{1}, {}, wire, machine};
    lr::Time now{};
    replica.poll(now);
    now += 2s;
    for (int i = 0; i < 5; ++i) replica.poll(now);
    REQUIRE(replica.status().role == Role::leader);
    machine.pending = {{9, 0}, {8, 0}, {7, 0}};
    replica.poll(now);
    CHECK(machine.calls == std::vector<std::string>{"queued 9", "queued 8", "queued 7",
                                                    "committed 9", "committed 8", "committed 7",
                                                    "apply 9", "applied 9", "apply 8", "applied 8",
                                                    "apply 7", "applied 7"});
}

TEST_CASE("every replica that applies a transition reports so, and no more than that") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, 2, {noop(1), entry(1, 5), entry(1, 6)}))});
    CHECK(node.machine.states_of(5) == States{applied});
    CHECK(node.machine.states_of(6).empty());
    node.poll({node.from(2, 1, append(3, 1, 3, {}))});
    CHECK(node.machine.states_of(6) == States{applied});
    CHECK(node.machine.states.size() == 2);
}

TEST_CASE("two transitions of one id are two transitions") {
    Leading node;
    node.propose({4, 4});
    node.acknowledge(3);
    CHECK(node.machine.states_of(4) ==
          States{queued, queued, committed, committed, applied, applied});
    CHECK(node.machine.applied == std::vector<std::uint64_t>{4, 4});
}

// ----- Never entered the log ---------------------------------------------------------------------

TEST_CASE("who does not lead abandons at once, in any role") {
    auto check = [](Node& node) {
        Index last = node.status().last_log_index;
        node.machine.pending = {{50, 1}, {51, 1}};
        node.poll();
        CHECK(node.machine.states_of(50) == States{abandoned_not_leader});
        CHECK(node.machine.states_of(51) == States{abandoned_not_leader});
        CHECK(node.status().last_log_index == last);
    };
    Node fresh;
    check(fresh);
    Node follower;
    follower.poll({follower.from(2, 1, append(0, 0, 0, {noop(1)}))});
    check(follower);
    Node candidate;
    candidate.poll();
    candidate.time_out();
    REQUIRE(candidate.status().role == Role::pre_candidate);
    check(candidate);
    candidate.machine.states.clear();
    candidate.poll({candidate.from(2, 0, lr::RequestVoteResponse{true, true})});
    REQUIRE(candidate.status().role == Role::candidate);
    check(candidate);
}

TEST_CASE("what counts is the role after the poll's messages") {
    Node winner;
    winner.poll();
    winner.time_out();
    winner.poll({winner.from(2, 0, lr::RequestVoteResponse{true, true})});
    winner.machine.pending = {{1, 1}};
    winner.poll({winner.from(2, 1, lr::RequestVoteResponse{false, true})});
    CHECK(winner.machine.states_of(1) == States{queued});

    Leading loser;
    loser.machine.pending = {{2, 2}};
    loser.poll({loser.from(3, 2, lr::AppendEntriesResponse{})});
    CHECK(loser.machine.states_of(2) == States{abandoned_not_leader});
}

TEST_CASE("a leader takes no more entries than may be uncommitted") {
    Options options;
    options.uncommitted_entries_max = 3;
    Leading node(options);
    node.propose({1, 2, 3, 4, 5});
    for (std::uint64_t id : {1U, 2U, 3U}) CHECK(node.machine.states_of(id) == States{queued});
    for (std::uint64_t id : {4U, 5U}) {
        CHECK(node.machine.states_of(id) == States{abandoned_overloaded});
    }
    CHECK(node.status().last_log_index == Index{4});
    node.acknowledge(2);
    node.propose({6, 7});
    CHECK(node.machine.states_of(6) == States{queued});
    CHECK(node.machine.states_of(7) == States{abandoned_overloaded});
    node.acknowledge(5);
    node.propose({8});
    CHECK(node.machine.states_of(8) == States{queued});
    CHECK(node.machine.applied == std::vector<std::uint64_t>{1, 2, 3, 6});
}

TEST_CASE("a new leader's first entry is never refused, and counts") {
    Options options;
    options.uncommitted_entries_max = 1;
    Node node(1, {2, 3}, options);
    node.poll({node.from(2, 1, append(0, 0, 0, {noop(1), noop(1), noop(1)}))});
    node.elect();
    CHECK(node.status().last_log_index == Index{4});
    node.machine.pending = {{1, 1}};
    node.poll();
    CHECK(node.machine.states_of(1) == States{abandoned_overloaded});
    node.poll({node.from(2, 2, lr::AppendEntriesResponse{true, Index{4}, {}})});
    node.machine.pending = {{2, 2}};
    node.poll();
    CHECK(node.machine.states_of(2) == States{queued});
}

namespace {

template <class M>
struct WireOf {
    using Message = lr::MessageOf<M>;
    std::vector<Message> inbox;
    void send_message(ReplicaId, Message) {}
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
};

template <class T>
struct MachineOf {
    using Transition = T;
    using Id = std::decay_t<decltype(std::declval<const T&>().get_id())>;
    std::vector<T> pending;
    std::vector<std::pair<Id, TransitionState>> states;
    void register_transition_state(const Id& id, TransitionState state) {
        states.emplace_back(id, state);
    }
    void apply_transition(const T&) {}
    std::vector<T> get_pending_transitions() { return std::exchange(pending, {}); }

    States states_of(const Id& id) const {
        States result;
        for (const auto& [who, state] : states) {
            if (who == id) result.push_back(state);
        }
        return result;
    }
};

/// As Leading, for any type of transition, without a disk.
template <class T>
struct LeadingOf {
    MachineOf<T> machine;
    WireOf<MachineOf<T>> wire;
    lr::Time now{};
    lr::Replica<WireOf<MachineOf<T>>, MachineOf<T>> replica;

    explicit LeadingOf(lr::Options<MachineOf<T>> options = {})
        : replica(ReplicaId{1}, {{2}, {3}}, wire, machine, std::move(options)) {
        replica.poll(now);
        replica.poll(now += 2s);
        take(0, lr::RequestVoteResponse{true, true});
        take(1, lr::RequestVoteResponse{false, true});
        acknowledge(1);
        REQUIRE(replica.status().commit_index == Index{1});
    }

    template <class Body>
    void take(std::uint64_t term, Body body) {
        wire.inbox.push_back({{2}, {1}, {term}, std::move(body)});
        replica.poll(now);
    }
    void acknowledge(std::uint64_t index) {
        take(1, lr::AppendEntriesResponse{true, Index{index}, {}});
    }
    void propose(std::vector<T> transitions) {
        machine.pending = std::move(transitions);
        replica.poll(now);
    }
};

struct Sized {
    std::uint64_t id = 0;
    std::uint64_t size = 0;
    std::uint64_t get_id() const { return id; }
    std::uint64_t get_size() const { return size; }
};
constexpr std::uint64_t head = sizeof(lr::Entry<Sized>);

lr::Options<MachineOf<Sized>> bytes_max(std::uint64_t bytes) {
    lr::Options<MachineOf<Sized>> options;
    options.uncommitted_bytes_max = bytes;
    return options;
}

}  // namespace

TEST_CASE("a leader takes no more bytes than may be uncommitted, get_size() included") {
    LeadingOf<Sized> exact(bytes_max(2 * head + 300));
    exact.propose({{1, 100}, {2, 200}, {3, 0}});
    CHECK(exact.machine.states_of(1) == States{queued});
    CHECK(exact.machine.states_of(2) == States{queued});  // To the byte.
    CHECK(exact.machine.states_of(3) == States{abandoned_overloaded});

    LeadingOf<Sized> over(bytes_max(2 * head + 299));
    over.propose({{1, 100}, {2, 200}, {3, 199}});
    CHECK(over.machine.states_of(1) == States{queued});
    CHECK(over.machine.states_of(2) == States{abandoned_overloaded});
    CHECK(over.machine.states_of(3) == States{queued});  // A smaller one still fits.
    // What was committed counts no more.
    over.acknowledge(2);
    over.propose({{4, 100}, {5, 0}});
    CHECK(over.machine.states_of(4) == States{queued});
    CHECK(over.machine.states_of(5) == States{abandoned_overloaded});
    over.acknowledge(4);
    over.propose({{6, 299}, {7, 0}});
    CHECK(over.machine.states_of(6) == States{queued});
    CHECK(over.machine.states_of(7) == States{queued});
}

TEST_CASE("a single transition may exceed the limit of bytes") {
    LeadingOf<Sized> node(bytes_max(1));
    node.propose({{1, 1'000'000}, {2, 0}});
    CHECK(node.machine.states_of(1) == States{queued});
    CHECK(node.machine.states_of(2) == States{abandoned_overloaded});
    node.acknowledge(2);
    node.propose({{3, 1'000'000}});
    CHECK(node.machine.states_of(3) == States{queued});
}

TEST_CASE("bytes count until the transition has a final state, whoever leads") {
    LeadingOf<Sized> node(bytes_max(head + 100));
    node.propose({{1, 100}});
    // Another leader replaces it in term 2; then this replica leads again, in term 3.
    using Append = lr::AppendEntries<Sized>;
    node.take(2, Append{{Term{1}, Index{1}}, Index{1}, {{Term{2}, lr::Noop{}}}});
    node.replica.poll(node.now += 2s);
    node.take(2, lr::RequestVoteResponse{true, true});
    node.take(3, lr::RequestVoteResponse{false, true});
    REQUIRE(node.replica.status().role == Role::leader);
    CHECK(node.machine.states_of(1) == States{queued});
    node.propose({{2, 100}});
    CHECK(node.machine.states_of(2) == States{abandoned_overloaded});
    node.take(3, lr::AppendEntriesResponse{true, Index{3}, {}});
    CHECK(node.machine.states_of(1) == States{queued, abandoned_conflict_with_leader});
    node.propose({{3, 100}});
    CHECK(node.machine.states_of(3) == States{queued});
}

// ----- Replaced ----------------------------------------------------------------------------------

TEST_CASE("a transition that another leader's committed entry replaced is in conflict") {
    Leading node;
    node.propose({1, 2, 3});  // At 2, 3 and 4.
    node.poll({node.from(3, 2, append(1, 1, 1, {noop(2)}))});
    CHECK(node.status().last_log_index == Index{2});
    node.poll({node.from(3, 2, append(2, 2, 2, {}))});
    for (std::uint64_t id : {1U, 2U, 3U}) {
        CHECK(node.machine.states_of(id) == States{queued, abandoned_conflict_with_leader});
    }
    CHECK(node.machine.applied.empty());
    // The oldest first.
    std::vector<std::uint64_t> order;
    for (const auto& [id, state] : node.machine.states) {
        if (state == abandoned_conflict_with_leader) order.push_back(id);
    }
    CHECK(order == std::vector<std::uint64_t>{1, 2, 3});
    // Whatever comes later, there is no second word on them.
    node.poll({node.from(3, 2, append(2, 2, 4, {noop(2), noop(2)}))});
    node.elect();
    CHECK(node.machine.states.size() == 6);
}

TEST_CASE("what the new leader keeps is committed and applied, what it replaces is not") {
    Leading node;
    node.propose({1, 2, 3});
    node.poll({node.from(3, 2, append(3, 1, 4, {entry(2, 30)}))});
    CHECK(node.machine.states_of(1) == all_the_way);
    CHECK(node.machine.states_of(2) == all_the_way);
    CHECK(node.machine.states_of(3) == States{queued, abandoned_conflict_with_leader});
    CHECK(node.machine.states_of(30) == States{applied});
    CHECK(node.machine.applied == std::vector<std::uint64_t>{1, 2, 30});
}

TEST_CASE("a deposed leader's transitions stay open until their fate is known") {
    Leading node;
    node.propose({1, 2});
    node.poll({node.from(3, 5, lr::RequestVoteResponse{})});
    REQUIRE(node.status().role == Role::follower);
    CHECK(node.machine.states_of(1) == States{queued});
    node.poll({node.from(3, 5, append(3, 1, 1, {}))});
    CHECK(node.machine.states_of(1) == States{queued});
    SUBCASE("the new leader commits them") {
        node.poll({node.from(3, 5, append(3, 1, 4, {noop(5)}))});
        CHECK(node.machine.states_of(1) == all_the_way);
        CHECK(node.machine.states_of(2) == all_the_way);
    }
    SUBCASE("the new leader commits one of them") {
        node.poll({node.from(3, 5, append(3, 1, 2, {noop(5)}))});
        CHECK(node.machine.states_of(1) == all_the_way);
        CHECK(node.machine.states_of(2) == States{queued});
    }
    SUBCASE("it leads again and commits them itself") {
        node.elect();
        REQUIRE(node.status().role == Role::leader);
        node.acknowledge(3);  // Not by counting replicas of an older term's entries.
        CHECK(node.machine.states_of(1) == States{queued});
        node.acknowledge(4);
        CHECK(node.machine.states_of(1) == all_the_way);
        CHECK(node.machine.states_of(2) == all_the_way);
    }
}

TEST_CASE("transitions of two terms of office are told apart") {
    Leading node;
    node.propose({1, 2});                                      // Term 1, at 2 and 3.
    node.poll({node.from(3, 2, append(2, 1, 1, {noop(2)}))});  // Replaces the one at 3.
    node.elect();                                              // Term 3: its first entry at 4.
    REQUIRE(node.status().role == Role::leader);
    node.propose({3});  // At 5.
    node.acknowledge(5);
    CHECK(node.machine.states_of(1) == all_the_way);
    CHECK(node.machine.states_of(2) == States{queued, abandoned_conflict_with_leader});
    CHECK(node.machine.states_of(3) == all_the_way);
    CHECK(node.machine.applied == std::vector<std::uint64_t>{1, 3});
}

TEST_CASE("a foreign transition of the same id at the same place is not one's own") {
    Leading node;
    node.propose({1});
    node.poll({node.from(3, 2, append(1, 1, 2, {entry(2, 1)}))});
    CHECK(node.machine.states_of(1) == States{queued, abandoned_conflict_with_leader, applied});
    CHECK(node.machine.applied == std::vector<std::uint64_t>{1});
}

// ----- Covered by a snapshot ---------------------------------------------------------------------

namespace {

InstallSnapshot snapshot_at(std::uint64_t index, std::uint64_t term) {
    return {{Term{term}, Index{index}}, 0, std::string(8, '\1'), true};
}

}  // namespace

TEST_CASE("a snapshot in place of the log that held a transition leaves its outcome unknown") {
    Leading node;
    node.propose({1, 2, 3});  // At 2, 3 and 4.
    node.poll({node.from(3, 7, snapshot_at(9, 6))});
    for (std::uint64_t id : {1U, 2U, 3U}) {
        CHECK(node.machine.states_of(id) == States{queued, outcome_unknown});
    }
    node.poll({node.from(3, 7, append(9, 6, 10, {noop(7)}))});
    CHECK(node.machine.states.size() == 6);
}

TEST_CASE("a transition behind the place of a later term's snapshot is in conflict") {
    Leading node;
    node.propose({1, 2, 3});
    node.poll({node.from(3, 7, snapshot_at(3, 6))});
    CHECK(node.machine.states_of(1) == States{queued, outcome_unknown});
    CHECK(node.machine.states_of(2) == States{queued, outcome_unknown});
    CHECK(node.machine.states_of(3) == States{queued, abandoned_conflict_with_leader});
}

TEST_CASE("a transition behind a snapshot of its own term stays open, since it may come back") {
    Leading node;
    node.propose({1, 2, 3});  // At 2, 3 and 4, in term 1.
    node.poll({node.from(3, 2, append(1, 1, 1, {noop(2)}))});
    node.poll({node.from(2, 3, snapshot_at(3, 1))});
    CHECK(node.machine.states_of(1) == States{queued, outcome_unknown});
    CHECK(node.machine.states_of(2) == States{queued, outcome_unknown});
    CHECK(node.machine.states_of(3) == States{queued});
    SUBCASE("it commits") {
        node.poll({node.from(2, 3, append(3, 1, 5, {entry(1, 3), noop(3)}))});
        CHECK(node.machine.states_of(3) == all_the_way);
    }
    SUBCASE("it does not") {
        node.poll({node.from(2, 3, append(3, 1, 4, {noop(3)}))});
        CHECK(node.machine.states_of(3) == States{queued, abandoned_conflict_with_leader});
    }
}

TEST_CASE("a snapshot of what the log holds leaves nothing open") {
    Leading node;
    node.propose({1, 2, 3});
    node.poll({node.from(3, 7, snapshot_at(3, 1))});
    CHECK(node.machine.states_of(1) == all_the_way);
    CHECK(node.machine.states_of(2) == all_the_way);
    CHECK(node.machine.states_of(3) == States{queued});
}

TEST_CASE("what was known as committed before the snapshot came is applied first") {
    Leading node;
    node.propose({1, 2});
    node.poll({node.from(3, 7, append(3, 1, 2, {})), node.from(3, 7, snapshot_at(9, 6))});
    CHECK(node.machine.states_of(1) == all_the_way);
    CHECK(node.machine.states_of(2) == States{queued, outcome_unknown});
}

// ----- A leader's first entry --------------------------------------------------------------------

TEST_CASE("the machine sees nothing of a leader's first entry") {
    Leading node;
    CHECK(node.status().last_log_index == Index{1});
    CHECK(node.status().last_applied == Index{1});
    CHECK(node.machine.states.empty());
    CHECK(node.machine.applied.empty());
}

// ----- Ids ---------------------------------------------------------------------------------------

namespace {

struct Named {
    std::string name;
    const std::string& get_id() const { return name; }
};

}  // namespace

TEST_CASE("an id may be any value, and outlives the entry that had it") {
    const std::string name = "a name too long for any small string optimisation to hold it";
    LeadingOf<Named> node;
    node.propose({{name}});
    using Append = lr::AppendEntries<Named>;
    node.take(2, Append{{Term{1}, Index{1}}, Index{2}, {{Term{2}, lr::Noop{}}}});
    CHECK(node.machine.states_of(name) == States{queued, abandoned_conflict_with_leader});
    node.propose({{name}});
    CHECK(node.machine.states_of(name).back() == abandoned_not_leader);
}

// ----- Exactly one -------------------------------------------------------------------------------

namespace {

/// Replicas 1 and 2, between which messages move by hand. Replica 3 votes, once a term and at
/// times, and stores nothing: only what 1 and 2 both have is committed.
struct Rivals {
    Node nodes[2];
    std::vector<std::uint64_t> taken[2];
    std::map<std::uint64_t, std::uint64_t> votes_of_3;
    std::uint64_t random;
    std::uint64_t next_id = 1;

    Rivals(const Options& options, std::uint64_t seed)
        : nodes{Node(1, {2, 3}, options), Node(2, {1, 3}, options)}, random(seed) {}

    std::uint64_t below(std::uint64_t bound) {
        random += 0x9e3779b97f4a7c15;
        std::uint64_t z = (random ^ (random >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return (z ^ (z >> 31)) % bound;
    }

    void propose(std::size_t i) {
        taken[i].push_back(next_id);
        nodes[i].machine.pending.push_back({next_id, 0});
        ++next_id;
    }

    void deliver(std::size_t i, bool lost) {
        Node& from = nodes[i];
        for (Message& message : from.sent()) {
            auto* request = std::get_if<lr::RequestVote>(&message.body);
            if (message.to != ReplicaId{3}) {
                if (!lost) nodes[1 - i].wire.inbox.push_back(std::move(message));
            } else if (request && below(2) == 0) {
                bool given =
                    request->pre_vote ||
                    votes_of_3.try_emplace(message.term.value, from.id.value).first->second ==
                        from.id.value;
                from.wire.inbox.push_back({{3},
                                           from.id,
                                           message.term,
                                           lr::RequestVoteResponse{request->pre_vote, given}});
            }
        }
    }

    /// One of them may be paused; then neither hears of the other.
    void run(int steps, bool in_peace) {
        std::size_t paused = 2;
        for (int step = 0; step < steps; ++step) {
            if (!in_peace && below(40) == 0) paused = below(4);
            if (in_peace) paused = 2;
            for (std::size_t i : {0U, 1U}) {
                if (!in_peace && below(3) == 0) propose(i);
                if (i != paused) nodes[i].advance((in_peace ? 20 : below(60)) * 1ms);
            }
            for (std::size_t i : {0U, 1U}) deliver(i, paused < 2);
        }
    }
};

}  // namespace

TEST_CASE("replicas that lead in turn leave no transition without its one final state") {
    std::vector<std::size_t> ends(7);
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        CAPTURE(seed);
        Options options;
        options.snapshot_delta = 3 + seed % 5;
        options.snapshot_trailing = seed % 3;
        options.uncommitted_entries_max = 6;
        Rivals rivals(options, seed);
        rivals.run(400, false);
        rivals.run(400, true);
        lr::Status status = rivals.nodes[0].status();
        REQUIRE(status.commit_index == status.last_log_index);
        REQUIRE(rivals.nodes[1].status().commit_index == status.commit_index);
        for (std::size_t i : {0U, 1U}) {
            for (std::uint64_t id : rivals.taken[i]) {
                CAPTURE(id);
                States states = rivals.nodes[i].machine.states_of(id);
                REQUIRE(std::count_if(states.begin(), states.end(), is_final) == 1);
                CHECK(is_final(states.back()));
                ++ends[static_cast<std::size_t>(states.back())];
                // What is applied is so everywhere, and anything else nowhere.
                States elsewhere = rivals.nodes[1 - i].machine.states_of(id);
                CHECK(elsewhere == (states.back() == applied ? States{applied} : States{}));
            }
        }
    }
    CHECK(ends[static_cast<std::size_t>(applied)] > 1000);
    CHECK(ends[static_cast<std::size_t>(abandoned_not_leader)] > 1000);
    CHECK(ends[static_cast<std::size_t>(abandoned_overloaded)] > 100);
    CHECK(ends[static_cast<std::size_t>(abandoned_conflict_with_leader)] > 100);
}

TEST_CASE("what is settled is forgotten") {
    Node node(1, {});
    node.elect();
    for (std::uint64_t id = 1; id <= 1000; ++id) {
        node.machine.pending = {{id, id}};
        node.poll();
        REQUIRE(node.machine.states_of(id) == all_the_way);
        REQUIRE(lr::Inspect::own(*node.replica).size() <= 2);
    }
}
