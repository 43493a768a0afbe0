// What is written when, and what a crash can take away: nothing that a message has promised.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::LogPosition;
using lr::Role;
using lr::TransitionState;
using Strings = std::vector<std::string>;

/// One call of the user's objects, and what would be found if the process ended right after it.
struct Event {
    std::string what;
    std::optional<Message> message;  // Of a send.
    lr::StoredState<Command> disk;
    std::optional<lr::Snapshot<std::string>> saved;
};

struct TracedDisk;
struct TracedMachine;

struct Trace {
    std::vector<Event> events;
    const TracedDisk* disk = nullptr;
    const TracedMachine* machine = nullptr;

    void note(std::string what, std::optional<Message> message = std::nullopt);
};

struct TracedDisk : Disk {
    Trace* trace = nullptr;

    void save_vote(Term term, std::optional<ReplicaId> voted_for) {
        Disk::save_vote(term, voted_for);
        trace->note("save_vote " + std::to_string(term.value) + " " +
                    std::to_string(voted_for ? voted_for->value : 0));
    }
    void append(Index first_index, const std::vector<Entry>& entries) {
        Disk::append(first_index, entries);
        trace->note("append " + std::to_string(first_index.value) + " x" +
                    std::to_string(entries.size()));
    }
    void compact(LogPosition last_included) {
        Disk::compact(last_included);
        trace->note("compact " + std::to_string(last_included.index.value));
    }
    bool sync() {
        bool synced = Disk::sync();
        trace->note("sync");
        return synced;
    }
};

struct TracedMachine : Machine {
    Trace* trace = nullptr;

    void register_transition_state(std::uint64_t id, TransitionState state) {
        Machine::register_transition_state(id, state);
        if (state == TransitionState::committed) trace->note("committed");
    }
    void apply_transition(const Command& command) {
        Machine::apply_transition(command);
        trace->note("apply");
    }
    std::string create_snapshot(Index index, Term term) {
        std::string data = Machine::create_snapshot(index, term);
        trace->note("create_snapshot");
        return data;
    }
    void set_snapshot(const lr::Snapshot<std::string>& snapshot) {
        Machine::set_snapshot(snapshot);
        trace->note("set_snapshot");
    }
};

struct TracedWire : Wire {
    Trace* trace = nullptr;

    void send_message(ReplicaId to, Message message) {
        static constexpr const char* kinds[] = {"vote request", "vote", "entries", "answer",
                                                "chunk"};
        trace->note(std::string(kinds[message.body.index()]) + " to " + std::to_string(to.value),
                    message);
        Wire::send_message(to, std::move(message));
    }
};

void Trace::note(std::string what, std::optional<Message> message) {
    events.push_back({std::move(what), std::move(message), disk->written, machine->saved});
}

using TracedOptions = lr::Options<TracedMachine>;

/// Replica 1 of {1, 2, 3}, or of {1} alone, all of whose calls are recorded.
struct TracedNode {
    Trace trace;
    TracedDisk disk;
    TracedMachine machine;
    TracedWire wire;
    TracedOptions options;
    lr::Time now{};
    std::unique_ptr<lr::Replica<TracedWire, TracedMachine, TracedDisk>> replica;

    explicit TracedNode(std::vector<ReplicaId> peers = {{2}, {3}}, TracedOptions chosen = {},
                        lr::StoredState<Command> stored = {},
                        std::optional<lr::Snapshot<std::string>> saved = std::nullopt)
        : options(std::move(chosen)) {
        trace.disk = &disk;
        trace.machine = &machine;
        disk.trace = machine.trace = wire.trace = &trace;
        disk.written = disk.durable = std::move(stored);
        machine.saved = std::move(saved);
        replica = std::make_unique<lr::Replica<TracedWire, TracedMachine, TracedDisk>>(
            ReplicaId{1}, peers, wire, machine, disk, options);
    }
    TracedNode(const TracedNode&) = delete;

    lr::Status status() const { return replica->status(); }

    /// What a poll calls, in that order.
    Strings poll(std::vector<Message> messages = {}) {
        std::size_t before = trace.events.size();
        for (Message& message : messages) wire.inbox.push_back(std::move(message));
        replica->poll(now);
        Strings result;
        for (std::size_t i = before; i < trace.events.size(); ++i) {
            result.push_back(trace.events[i].what);
        }
        return result;
    }

    Strings time_out() {
        now += options.election_timeout_range.max + 1ms;
        return poll();
    }

    void elect() {
        poll();
        time_out();
        std::uint64_t next = status().term.value + 1;
        poll({from(2, next - 1, lr::RequestVoteResponse{true, true})});
        poll({from(2, next, lr::RequestVoteResponse{false, true})});
        REQUIRE(status().role == Role::leader);
    }

    /// The peer has everything that the leader has.
    Message success(std::uint64_t peer) const {
        return from(peer, status().term.value,
                    lr::AppendEntriesResponse{true, status().last_log_index, {}});
    }

    template <class Body>
    static Message from(std::uint64_t peer, std::uint64_t term, Body body) {
        return {ReplicaId{peer}, ReplicaId{1}, Term{term}, std::move(body)};
    }
};

AppendEntries append(std::uint64_t prev, std::uint64_t prev_term, std::uint64_t commit,
                     const std::vector<std::uint64_t>& terms) {
    return {{{prev_term}, {prev}}, {commit}, entries_of_terms(terms, prev + 1)};
}

}  // namespace

// ----- Order and number of calls -----------------------------------------------------------------

TEST_CASE("all that a leader's poll takes in costs one write, one sync and one message a peer") {
    TracedNode node;
    node.elect();
    node.poll({node.success(2), node.success(3)});
    node.poll();
    for (std::uint64_t id = 1; id <= 1000; ++id) node.machine.pending.push_back({id, id});
    // What is sent before the sync promises nothing of this disk.
    CHECK(node.poll() == Strings{"entries to 2", "entries to 3", "append 2 x1000", "sync"});
    CHECK(node.status().commit_index == Index{1});
    Strings calls = node.poll({node.success(2)});
    CHECK(calls.front() == "entries to 2");  // The news of the commit; no write, no sync.
    CHECK(calls.back() == "apply");
    CHECK(node.status().last_applied == Index{1001});
}

TEST_CASE("all that a follower's poll takes in costs one write, one sync and then one answer") {
    TracedNode node;
    node.poll();
    std::vector<Message> messages;
    for (std::uint64_t i = 0; i < 100; ++i) {
        messages.push_back(node.from(2, 1, append(i, i == 0 ? 0 : 1, i, {1})));
    }
    Strings expected{"save_vote 1 0", "append 1 x100", "sync", "answer to 2"};
    for (int i = 0; i < 99; ++i) expected.push_back("apply");
    CHECK(node.poll(messages) == expected);
}

TEST_CASE("a vote is written with its term, in one call, before it is given") {
    TracedNode node;
    node.poll();
    Message request = node.from(3, 5, lr::RequestVote{});
    CHECK(node.poll({request}) == Strings{"save_vote 5 3", "sync", "vote to 3"});
    CHECK(node.poll({node.from(2, 6, lr::RequestVote{}), node.from(3, 6, lr::RequestVote{})}) ==
          Strings{"save_vote 6 2", "sync", "vote to 2", "vote to 3"});
}

TEST_CASE("a candidacy is written with its vote, in one call, before anybody is asked") {
    TracedNode node;
    node.poll();
    // A PreVote promises nothing.
    CHECK(node.time_out() == Strings{"vote request to 2", "vote request to 3"});
    CHECK(node.poll({node.from(2, 0, lr::RequestVoteResponse{true, true})}) ==
          Strings{"save_vote 1 1", "sync", "vote request to 2", "vote request to 3"});
    // The first entry leaves before it is written.
    CHECK(node.poll({node.from(2, 1, lr::RequestVoteResponse{false, true})}) ==
          Strings{"entries to 2", "entries to 3", "append 1 x1", "sync"});
}

TEST_CASE("a new term is durable before it is answered") {
    TracedNode node;
    node.poll();
    CHECK(node.poll({node.from(2, 4, append(9, 3, 0, {4}))}) ==
          Strings{"save_vote 4 0", "sync", "answer to 2"});
    CHECK(node.poll({node.from(3, 5, lr::AppendEntriesResponse{})}) ==
          Strings{"save_vote 5 0", "sync"});
}

TEST_CASE("a conflict costs one write, which replaces the rest of the log") {
    TracedNode node;
    node.poll({node.from(2, 1, append(0, 0, 0, {1, 1, 1, 1}))});
    CHECK(
        node.poll({node.from(3, 2, append(1, 1, 0, {2})), node.from(3, 2, append(2, 2, 0, {2}))}) ==
        Strings{"save_vote 2 0", "append 2 x2", "sync", "answer to 3"});
    CHECK(terms_of(node.disk.durable.entries) == std::vector<std::uint64_t>{1, 2, 2});
}

TEST_CASE("a snapshot is saved before the log goes, and the log goes before the answer") {
    TracedNode node;
    node.poll({node.from(2, 1, append(0, 0, 0, {1, 1}))});
    InstallSnapshot install{{Term{1}, Index{9}}, 0, std::string(8, '\1'), true};
    CHECK(node.poll({node.from(2, 1, install), node.from(2, 1, append(9, 1, 10, {1, 1}))}) ==
          Strings{"set_snapshot", "compact 9", "append 10 x2", "sync", "answer to 2", "apply"});
}

TEST_CASE("a chunk is answered without a write") {
    TracedNode node;
    node.poll({node.from(2, 1, append(0, 0, 0, {1, 1}))});
    InstallSnapshot chunk{{Term{1}, Index{9}}, 0, std::string(8, '\1'), false};
    CHECK(node.poll({node.from(2, 1, chunk)}) == Strings{"answer to 2"});
}

TEST_CASE("a snapshot of one's own is saved before the log goes") {
    TracedNode node({{2}, {3}}, {.snapshot_delta = 2, .snapshot_trailing = 1});
    CHECK(node.poll({node.from(2, 1, append(0, 0, 2, {1, 1}))}) ==
          Strings{"save_vote 1 0", "append 1 x2", "sync", "answer to 2", "apply", "apply",
                  "create_snapshot"});
    CHECK(node.poll() == Strings{"compact 1", "sync"});
    CHECK(node.poll().empty());
}

TEST_CASE("what changes nothing writes nothing") {
    TracedNode node;
    node.poll({node.from(2, 1, append(0, 0, 0, {1, 1}))});
    CHECK(node.poll().empty());
    // The same again, news of a commit, a heartbeat, a refusal.
    CHECK(node.poll({node.from(2, 1, append(0, 0, 0, {1, 1}))}) == Strings{"answer to 2"});
    AppendEntries news = append(2, 1, 1, {});
    news.read = lr::never;
    CHECK(node.poll({node.from(2, 1, news)}) == Strings{"apply"});
    CHECK(node.poll({node.from(2, 1, append(2, 1, 1, {}))}) == Strings{"answer to 2"});
    CHECK(node.poll({node.from(2, 1, append(7, 1, 1, {}))}) == Strings{"answer to 2"});
    // Requests for votes that it does not answer, and a PreVote that is granted.
    CHECK(node.poll({node.from(3, 1, lr::RequestVote{})}).empty());
    CHECK(node.poll({node.from(3, 2, lr::RequestVote{})}).empty());
    node.now += node.options.election_timeout_range.min;
    CHECK(node.poll({node.from(3, 1, lr::RequestVote{true, {Term{1}, Index{2}}})}).front() ==
          "vote to 3");
    CHECK(node.disk.written.term == Term{1});
}

TEST_CASE("a leader commits with its own copy only once that is durable") {
    // Alone, it commits in the poll that writes, but after the sync.
    TracedNode alone(std::vector<ReplicaId>{});
    alone.poll();
    alone.time_out();
    for (int i = 0; i < 3; ++i) alone.poll();
    REQUIRE(alone.status().role == Role::leader);
    alone.machine.pending = {{1, 1}};
    CHECK(alone.poll() == Strings{"append 2 x1", "sync", "committed", "apply"});
    alone.machine.pending = {{2, 2}};
    alone.disk.sync_fails = true;
    CHECK(alone.poll() == Strings{"append 3 x1", "sync"});
    CHECK(alone.status().commit_index == Index{2});
    CHECK(alone.machine.states_of(2) ==
          std::vector{TransitionState::queued, TransitionState::outcome_unknown});
}

TEST_CASE("a candidate counts its own vote only once that is durable") {
    TracedNode alone(std::vector<ReplicaId>{});
    alone.poll();
    alone.disk.sync_fails = true;
    alone.time_out();  // The PreVote, which it wins, needs no disk; the candidacy does.
    CHECK(alone.poll() == Strings{"save_vote 1 1", "sync"});
    CHECK(alone.status().last_log_index == Index{0});  // A leader would have begun its term.
    CHECK(alone.status().fault);
}

// ----- A disk that fails -------------------------------------------------------------------------

namespace {

/// The sync of the next poll, which takes these messages, fails.
void check_failed_sync(TracedNode& node, std::vector<Message> messages, const Strings& sent) {
    bool led = node.status().leader.has_value();
    node.disk.sync_fails = true;
    node.wire.sent.clear();
    node.wire.leaders.clear();
    node.poll(std::move(messages));
    REQUIRE(node.status().fault);
    CHECK(node.status().fault == "the storage failed to sync");
    CHECK(node.status().role == Role::follower);
    CHECK_FALSE(node.status().leader);
    if (led) CHECK(node.wire.leaders == std::vector<std::optional<ReplicaId>>{std::nullopt});
    Strings kinds;
    for (const Event& event : node.trace.events) {
        if (event.what == "sync") kinds.clear();  // Only what follows the last.
        if (event.message) kinds.push_back(event.what);
    }
    CHECK(kinds.empty());
    CHECK(node.wire.sent.size() == sent.size());

    // It never comes back, not even with a disk that seems to work again.
    node.disk.sync_fails = false;
    node.machine.pending = {{99, 99}};
    node.wire.sent.clear();
    for (int i = 0; i < 3; ++i) {
        CHECK(node.poll({node.from(2, 50, append(0, 0, 9, {1}))}).empty());
        node.now += 24h;
        CHECK(node.replica->poll(node.now) == lr::Time::max());
    }
    CHECK(node.machine.pending.size() == 1);
    CHECK(node.machine.states_of(99).empty());
    struct {
        TracedWire& wire;
        int waits = 0;
        void wait_until(lr::Time) { wire.halted = ++waits > 2; }
    } notifier{node.wire};
    node.replica->start(notifier);
    CHECK(notifier.waits == 0);
    CHECK(node.wire.sent.empty());
}

}  // namespace

TEST_CASE("a failed sync stops a leader, whose open transitions end in outcome_unknown") {
    TracedNode node;
    node.elect();
    node.machine.pending = {{1, 1}, {2, 2}};
    node.poll();
    node.poll({node.from(2, 1, lr::AppendEntriesResponse{true, Index{2}, {}})});
    REQUIRE(node.machine.applied == std::vector<std::uint64_t>{1});
    node.machine.pending = {{3, 3}};
    // Its entries went to replica 2 (3 still owes an answer) before the disk failed.
    check_failed_sync(node, {}, {"entries to 2"});
    using enum TransitionState;
    CHECK(node.machine.states_of(1) == std::vector{queued, committed, applied});
    CHECK(node.machine.states_of(2) == std::vector{queued, outcome_unknown});
    CHECK(node.machine.states_of(3) == std::vector{queued, outcome_unknown});
}

TEST_CASE("a failed sync stops a follower before it answers") {
    TracedNode node;
    node.poll({node.from(2, 1, append(0, 0, 0, {1}))});
    check_failed_sync(node, {node.from(2, 1, append(1, 1, 0, {1}))}, {});
    CHECK(node.disk.durable.entries.size() == 1);
}

TEST_CASE("a failed sync stops a voter before it votes") {
    TracedNode node;
    node.poll();
    check_failed_sync(node, {node.from(2, 1, lr::RequestVote{})}, {});
}

TEST_CASE("a failed sync stops a candidate before it asks") {
    TracedNode node;
    node.poll();
    node.time_out();
    check_failed_sync(node, {node.from(2, 0, lr::RequestVoteResponse{true, true})}, {});
}

TEST_CASE("a failed sync stops the taker of a snapshot before it answers") {
    TracedNode node;
    node.poll({node.from(2, 1, append(0, 0, 0, {1}))});
    InstallSnapshot install{{Term{1}, Index{9}}, 0, std::string(8, '\1'), true};
    check_failed_sync(node, {node.from(2, 1, install)}, {});
}

TEST_CASE("a failed sync after a snapshot of one's own stops the replica") {
    TracedNode node({{2}, {3}}, {.snapshot_delta = 2, .snapshot_trailing = 0});
    node.poll({node.from(2, 1, append(0, 0, 2, {1, 1}))});
    check_failed_sync(node, {}, {});
}

TEST_CASE("a deposed leader's open transitions end in outcome_unknown when the disk fails") {
    TracedNode node;
    node.elect();
    node.machine.pending = {{1, 1}};
    node.poll();
    check_failed_sync(node, {node.from(2, 7, append(0, 0, 0, {7}))}, {});
    using enum TransitionState;
    CHECK(node.machine.states_of(1) == std::vector{queued, outcome_unknown});
}

// ----- A crash at any moment ---------------------------------------------------------------------

namespace {

const TracedOptions small_options{
    .snapshot_delta = 3, .snapshot_trailing = 1, .snapshot_chunk_bytes = 8};

/// A life with everything that writes: votes, entries, conflicts, snapshots of its own and of
/// others, in chunks and whole, several of them in one poll, candidacy and leadership.
std::vector<Event> record_life() {
    TracedNode node({{2}, {3}}, small_options);
    auto snapshot = [](std::uint64_t index, std::uint64_t term, std::uint64_t offset, bool done) {
        return InstallSnapshot{{{term}, {index}}, offset, std::string(8, '\1'), done};
    };
    auto take = [&](std::vector<Message> messages) { node.poll(std::move(messages)); };
    take({});
    take({node.from(2, 1, lr::RequestVote{})});
    take({node.from(2, 1, append(0, 0, 0, {1, 1}))});
    take({node.from(2, 1, append(2, 1, 2, {}))});
    take({node.from(2, 1, append(2, 1, 3, {1, 1}))});  // Applies 3: a snapshot of its own.
    take({});
    node.now += 500ms;  // Replica 2 is not heard any more.
    take({node.from(3, 2, lr::RequestVote{false, {Term{1}, Index{9}}})});
    take({node.from(3, 2, append(3, 1, 3, {2, 2}))});  // A conflict.
    take({node.from(3, 2, append(5, 2, 5, {2}))});
    take({node.from(3, 2, snapshot(10, 2, 0, false))});
    take({node.from(3, 2, snapshot(10, 2, 8, true)), node.from(3, 2, append(10, 2, 10, {2}))});
    take({node.from(3, 2, append(11, 2, 11, {2, 2}))});
    // A term, a vote, a conflict and a commit in one poll.
    node.now += 500ms;
    take({node.from(2, 3, lr::RequestVote{false, {Term{3}, Index{12}}}),
          node.from(2, 3, append(11, 2, 12, {3, 3, 3}))});
    // A term, a snapshot and entries behind it in one poll.
    take({node.from(3, 4, snapshot(20, 4, 0, true)), node.from(3, 4, append(20, 4, 20, {4, 4}))});
    node.time_out();
    take({node.from(3, 4, lr::RequestVoteResponse{true, true})});
    take({node.from(3, 5, lr::RequestVoteResponse{false, true})});
    REQUIRE(node.status().role == Role::leader);
    node.machine.pending = {{101, 1}, {102, 1}, {103, 1}};
    take({node.success(3)});
    take({node.success(3)});  // Commits all: another snapshot of its own.
    node.machine.pending = {{104, 1}, {105, 1}};
    take({});
    take({});
    take({node.from(2, 6, append(node.status().commit_index.value, 5, 0, {6}))});
    take({node.from(2, 6, snapshot(40, 6, 0, true)), node.from(3, 7, lr::RequestVote{})});
    node.now += 500ms;
    take({node.from(3, 8, lr::RequestVote{false, {Term{7}, Index{41}}})});
    CHECK_FALSE(node.status().fault);
    return node.trace.events;
}

/// What messages have promised of a disk.
struct Promises {
    struct Held {
        LogPosition position;
        Term to;  // The term of the leader that counts on it.
    };
    Term term;
    std::vector<std::pair<Term, ReplicaId>> votes;
    std::vector<Held> held;

    void add(const Event& event) {
        const Message& message = *event.message;
        const auto* request = std::get_if<lr::RequestVote>(&message.body);
        const auto* vote = std::get_if<lr::RequestVoteResponse>(&message.body);
        const auto* answer = std::get_if<lr::AppendEntriesResponse>(&message.body);
        bool pre_vote = (request && request->pre_vote) || (vote && vote->pre_vote);
        if (pre_vote) return;
        term = std::max(term, message.term);
        if (request) votes.emplace_back(message.term, message.from);
        if (vote && vote->vote_granted) votes.emplace_back(message.term, message.to);
        if (answer && answer->success && answer->match_index > Index{}) {
            held.push_back(
                {{term_in(event.disk, answer->match_index), answer->match_index}, message.term});
        }
    }

    static Term term_in(const lr::StoredState<Command>& disk, Index index) {
        if (index <= disk.last_included.index) return disk.last_included.term;
        std::uint64_t place = index - disk.last_included.index - 1;
        REQUIRE(place < disk.entries.size());
        return disk.entries[static_cast<std::size_t>(place)].term;
    }
};

/// A replica that finds these must keep the promises.
void check_restart(const Event& disk, const Event& snapshot, const Promises& promises) {
    auto restart = [&] {
        return std::make_unique<TracedNode>(std::vector<ReplicaId>{{2}, {3}}, small_options,
                                            disk.disk, snapshot.saved);
    };
    auto node = restart();
    lr::Status found = node->status();
    REQUIRE_FALSE(found.fault);
    CHECK(found.term >= promises.term);
    CHECK(found.commit_index == found.snapshot.index);
    CHECK(node->machine.set_snapshot_calls == (snapshot.saved ? 1 : 0));
    if (snapshot.saved) CHECK(found.snapshot.index == snapshot.saved->last_included.index);

    for (const auto& vote : promises.votes) {
        const auto term = vote.first;  // clang 14 captures no structured binding.
        const auto candidate = vote.second;
        if (term < found.term) continue;
        CAPTURE(term.value);
        REQUIRE(term == found.term);
        ReplicaId rival = candidate == ReplicaId{2} ? ReplicaId{3} : ReplicaId{2};
        node = restart();
        node->poll({{rival, {1}, term, lr::RequestVote{false, {term, Index{999}}}}});
        REQUIRE(node->wire.sent.size() == 1);
        CHECK_FALSE(std::get<lr::RequestVoteResponse>(node->wire.sent[0].body).vote_granted);
    }
    for (const Promises::Held& held : promises.held) {
        if (held.to < found.term) continue;  // A newer leader may have replaced it.
        CAPTURE(held.position.index.value);
        node = restart();
        AppendEntries probe{held.position, {}, {}};
        node->poll({node->from(2, found.term.value + 1, probe)});
        REQUIRE(node->wire.sent.size() == 1);
        auto answer = std::get<lr::AppendEntriesResponse>(node->wire.sent[0].body);
        CHECK(answer.success);
        CHECK(answer.match_index >= held.position.index);
    }
    // It can go on: write, and be found again.
    node = restart();
    node->poll({node->from(2, found.term.value + 1, append(found.snapshot.index.value, 0, 0, {}))});
    node->poll();
    TracedNode again({{2}, {3}}, small_options, node->disk.durable, node->machine.saved);
    CHECK_FALSE(again.status().fault);
    CHECK(again.status().term == node->status().term);
    CHECK(again.status().last_log_index == node->status().last_log_index);
}

}  // namespace

TEST_CASE("whichever write is the last one, nothing that was promised is lost") {
    const std::vector<Event> life = record_life();
    // A crash comes after `end`; of the writes since the last sync, those up to `kept` survive.
    Promises promises;
    std::size_t synced = 0;
    std::size_t restarts = 0;
    std::size_t lost_writes = 0;
    Strings kinds;
    for (std::size_t end = 0; end < life.size(); ++end) {
        CAPTURE(end);
        CAPTURE(life[end].what);
        if (life[end].what == "sync") synced = end;
        if (life[end].message) promises.add(life[end]);
        for (std::size_t kept = synced; kept <= end; ++kept) {
            CAPTURE(kept);
            check_restart(life[kept], life[end], promises);
            ++restarts;
            if (kept < end) ++lost_writes;
        }
        kinds.push_back(life[end].what.substr(0, life[end].what.find(' ')));
    }
    for (const char* kind : {"save_vote", "append", "compact", "sync", "set_snapshot",
                             "create_snapshot", "vote", "answer", "entries"}) {
        CAPTURE(std::string(kind));
        CHECK(std::count(kinds.begin(), kinds.end(), kind) > 1);
    }
    CHECK(restarts > life.size());
    CHECK(lost_writes > 50);
    CHECK(promises.votes.size() >= 5);
    CHECK(promises.held.size() >= 10);
}

TEST_CASE("what was synced before a crash is all that a restarted replica knows") {
    Node node;
    node.poll({node.from(2, 1, AppendEntries{{}, Index{2}, entries_of_terms({1, 1, 1})})});
    node.disk.sync_fails = true;
    node.poll({node.from(2, 2, AppendEntries{{Term{1}, Index{3}}, {}, entries_of_terms({2}, 4)})});
    node.disk.sync_fails = false;
    node.restart();
    CHECK_FALSE(node.status().fault);
    CHECK(node.status().term == Term{1});
    CHECK(node.status().last_log_index == Index{3});
    // What is committed is not written down: it has to be told again.
    CHECK(node.status().commit_index == Index{});
    CHECK(node.machine.applied.empty());
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{3}}, Index{2}, {}})});
    CHECK(node.machine.applied == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("a restarted leader is a follower that reports no more on what it had queued") {
    Node node;
    node.elect();
    node.machine.pending = {{7, 7}};
    node.poll();
    node.restart();
    CHECK(node.status().role == Role::follower);
    CHECK(node.disk.written.voted_for == ReplicaId{1});
    node.poll({node.from(2, 2, AppendEntries{{Term{1}, Index{2}}, Index{2}, {}})});
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::applied});
}

// ----- What a disk can hold ----------------------------------------------------------------------

namespace {

struct Found {
    std::string name;
    lr::StoredState<Command> stored;
    std::optional<lr::Snapshot<std::string>> saved;
};

std::unique_ptr<Node> boot(const Found& found) {
    auto node = std::make_unique<Node>();
    node->disk.written = node->disk.durable = found.stored;
    node->machine.saved = found.saved;
    CHECK_NOTHROW(node->boot());
    return node;
}

lr::Snapshot<std::string> snapshot_at(std::uint64_t index, std::uint64_t term) {
    return {{{term}, {index}}, std::string(8, '\5')};
}

void check_fault(const Found& found, std::string_view text) {
    CAPTURE(found.name);
    auto node = boot(found);
    auto fault = node->status().fault;
    REQUIRE(fault);
    CHECK(fault == text);
    CHECK(node->poll({node->from(2, 99, lr::RequestVote{})}) == lr::Time::max());
    CHECK(node->sent().empty());
    CHECK(node->disk.calls.empty());
}

}  // namespace

TEST_CASE("a stored log whose terms make no sense is a fault") {
    auto bad = "the terms of the stored log make no sense";
    auto from_9 = snapshot_at(9, 4);
    check_fault({"falls", {{9}, {}, {}, entries_of_terms({2, 1})}, {}}, bad);
    check_fault({"falls at the end", {{9}, {}, {}, entries_of_terms({1, 5, 5, 4})}, {}}, bad);
    check_fault({"newer than the term", {{3}, {}, {}, entries_of_terms({3, 4})}, {}}, bad);
    check_fault({"entries without a term", {{}, {}, {}, entries_of_terms({1})}, {}}, bad);
    check_fault({"older than what was compacted",
                 {{9}, {}, {Term{4}, Index{9}}, entries_of_terms({3})},
                 from_9},
                bad);
}

TEST_CASE("a snapshot that says nothing of the log's beginning, or another thing, is a fault") {
    auto gap = "the machine's snapshot and the stored log do not meet";
    check_fault({"no snapshot", {{5}, {}, {Term{4}, Index{9}}, {}}, {}}, gap);
    check_fault(
        {"no snapshot, but entries", {{5}, {}, {Term{4}, Index{1}}, entries_of_terms({5})}, {}},
        gap);
    check_fault({"snapshot one too old",
                 {{5}, {}, {Term{4}, Index{9}}, entries_of_terms({5})},
                 snapshot_at(8, 4)},
                gap);
    // Such logs and snapshots never were of one replica.
    lr::StoredState<Command> from_9{{5}, {}, {Term{4}, Index{9}}, entries_of_terms({5})};
    check_fault({"an older term where the log begins", from_9, snapshot_at(9, 3)}, gap);
    check_fault({"a newer term where the log begins", from_9, snapshot_at(9, 5)}, gap);
    check_fault({"an older term in the log", from_9, snapshot_at(10, 3)}, gap);
    check_fault({"an older term behind the log", from_9, snapshot_at(11, 3)}, gap);
    check_fault({"an index without a term", {{5}, {}, {}, {}}, snapshot_at(3, 0)}, gap);
    check_fault({"a term without an index", {{5}, {}, {}, {}}, snapshot_at(0, 3)}, gap);
}

TEST_CASE("a snapshot and a log that meet are taken up") {
    struct Row {
        Found found;
        std::uint64_t first, last, snapshot;
        Strings first_calls;
    };
    Strings repair{"compact", "sync"};
    auto five = entries_of_terms({1, 1, 2, 2, 3});
    auto rest = entries_of_terms({2, 2, 3});
    LogPosition three{Term{2}, Index{3}};
    const std::vector<Row> table{
        {{"nothing at all", {}, {}}, 1, 0, 0, {}},
        {{"a log alone", {{3}, {}, {}, five}, {}}, 1, 5, 0, {}},
        {{"the log begins behind the snapshot", {{4}, {}, three, rest}, snapshot_at(3, 2)},
         4,
         6,
         3,
         {}},
        {{"the snapshot is in the log", {{3}, {}, {}, five}, snapshot_at(4, 2)}, 1, 5, 4, {}},
        {{"the snapshot is of the whole log", {{3}, {}, {}, five}, snapshot_at(5, 3)}, 1, 5, 5, {}},
        {{"the snapshot is newer than the log", {{3}, {}, {}, five}, snapshot_at(6, 3)},
         7,
         6,
         6,
         repair},
        {{"the snapshot is newer than an empty log", {{3}, {}, three, {}}, snapshot_at(9, 3)},
         10,
         9,
         9,
         repair},
        {{"the log conflicts with the snapshot", {{4}, {}, {}, five}, snapshot_at(4, 4)},
         5,
         4,
         4,
         repair},
    };
    for (const Row& row : table) {
        CAPTURE(row.found.name);
        auto node = boot(row.found);
        lr::Status status = node->status();
        REQUIRE_FALSE(status.fault);
        CHECK(status.first_log_index == Index{row.first});
        CHECK(status.last_log_index == Index{row.last});
        CHECK(status.snapshot.index == Index{row.snapshot});
        CHECK(status.commit_index == Index{row.snapshot});
        CHECK(status.last_applied == Index{row.snapshot});
        CHECK(node->machine.set_snapshot_calls == (row.found.saved ? 1 : 0));
        CHECK(node->disk.calls.empty());  // A constructor only reads.
        node->poll();
        CHECK(node->disk.calls == row.first_calls);
        // What was mended stays so.
        node->restart();
        CHECK(node->status().first_log_index == Index{row.first});
        CHECK(node->status().last_log_index == Index{row.last});
    }
}

TEST_CASE("a snapshot of a later term than the one stored brings its term along") {
    // The process ended after it saved the snapshot and before it wrote the term.
    auto node = boot({"", {{2}, ReplicaId{2}, {}, entries_of_terms({1, 2})}, snapshot_at(9, 5)});
    CHECK(node->status().term >= Term{5});
    node->poll();
    CHECK(node->disk.durable.term >= Term{5});
    node->poll({node->from(3, 5, lr::RequestVote{false, {Term{5}, Index{9}}})});
    CHECK_FALSE(node->status().fault);
}

TEST_CASE("term and vote are taken up") {
    auto node = boot({"", {{7}, ReplicaId{3}, {}, {}}, {}});
    CHECK(node->status().term == Term{7});
    node->poll({node->from(2, 7, lr::RequestVote{}), node->from(3, 7, lr::RequestVote{})});
    auto votes = node->sent_of<lr::RequestVoteResponse>();
    REQUIRE(votes.size() == 2);
    CHECK_FALSE(votes[0].vote_granted);
    CHECK(votes[1].vote_granted);
    node->time_out();
    node->poll({node->from(2, 7, lr::RequestVoteResponse{true, true})});
    CHECK(node->status().term == Term{8});
}

// ----- Without a disk ----------------------------------------------------------------------------

TEST_CASE("a replica without a Storage does its work from memory") {
    Wire wire;
    Machine machine;
    lr::Replica replica{ReplicaId{1},
                        {ReplicaId{2}, ReplicaId{3}},
                        wire,
                        machine,
                        Options{.snapshot_delta = 2, .snapshot_trailing = 0}};
    lr::Time now{};
    replica.poll(now);
    replica.poll(now += 2s);
    wire.inbox = {{{2}, {1}, {0}, lr::RequestVoteResponse{true, true}}};
    replica.poll(now);
    wire.inbox = {{{2}, {1}, {1}, lr::RequestVoteResponse{false, true}}};
    machine.pending = {{1, 1}, {2, 2}};
    replica.poll(now);
    wire.inbox = {{{2}, {1}, {1}, lr::AppendEntriesResponse{true, Index{3}, {}}}};
    replica.poll(now);
    CHECK(machine.applied == std::vector<std::uint64_t>{1, 2});
    CHECK(replica.status().snapshot.index == Index{3});
    CHECK(replica.status().first_log_index == Index{4});
    CHECK_FALSE(replica.status().fault);

    // It begins anew where its machine's snapshot is.
    Wire wire_again;
    lr::Replica again{ReplicaId{4}, {ReplicaId{2}, ReplicaId{3}}, wire_again, machine};
    CHECK_FALSE(again.status().fault);
    CHECK(again.status().last_applied == Index{3});
    CHECK(machine.applied == std::vector<std::uint64_t>{1, 2});
}
