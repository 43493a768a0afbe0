// The extended Raft paper, sentence by sentence: Figure 2, then sections 5 to 8, then where this
// library departs from the paper, then what other implementations got wrong. Each case is named by
// its section and the sentence in short; it prepares a replica, hands it messages, and looks.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::AppendEntriesResponse;
using lr::LogPosition;
using lr::RequestVote;
using lr::RequestVoteResponse;
using lr::Role;
using lr::TransitionState;
using Numbers = std::vector<std::uint64_t>;

// ----- Messages and logs in short ----------------------------------------------------------------

/// The entries at prev + 1 and on, of these terms. An entry's id tells its term and its index.
std::vector<Entry> entries_after(std::uint64_t prev, const Numbers& terms) {
    std::vector<Entry> entries;
    for (std::uint64_t term : terms) {
        std::uint64_t id = 100 * term + ++prev;
        entries.push_back({Term{term}, Command{id, id}});
    }
    return entries;
}

AppendEntries append(std::uint64_t prev, std::uint64_t prev_term, const Numbers& terms,
                     std::uint64_t leader_commit = 0) {
    return {{Term{prev_term}, Index{prev}}, Index{leader_commit}, entries_after(prev, terms)};
}

RequestVote vote(std::uint64_t last, std::uint64_t last_term) {
    return {false, {Term{last_term}, Index{last}}};
}

RequestVote pre_vote(std::uint64_t last, std::uint64_t last_term) {
    return {true, {Term{last_term}, Index{last}}};
}

AppendEntriesResponse success(std::uint64_t match) { return {true, Index{match}, {}}; }

AppendEntriesResponse reject(std::uint64_t prev, std::uint64_t hint, std::uint64_t hint_term) {
    return {false, Index{prev}, {Term{hint_term}, Index{hint}}};
}

LogPosition position(std::uint64_t index, std::uint64_t term) { return {Term{term}, Index{index}}; }

constexpr RequestVoteResponse granted{false, true};
constexpr RequestVoteResponse pre_granted{true, true};

/// The state of a Machine that applied these, as its snapshot's data.
std::string data_of(const Numbers& ids) {
    Machine machine;
    machine.applied = ids;
    return machine.serialize();
}

/// A whole snapshot in one chunk.
InstallSnapshot snapshot(std::uint64_t index, std::uint64_t term, const Numbers& ids) {
    return {position(index, term), 0, data_of(ids), true};
}

// ----- One replica -------------------------------------------------------------------------------

/// Election timeouts that are all the same, so that a test can tell when one ends.
Options sharp(Options options = {}) {
    options.election_timeout_range = {500ms, 500ms};
    return options;
}

/// Replica 1 as it comes back after a crash: with this log, term and vote.
Node with_log(const Numbers& terms, std::uint64_t term, std::vector<std::uint64_t> others = {2, 3},
              Options options = {}) {
    Node node{1, std::move(others), options};
    node.disk.written.term = Term{term};
    node.disk.written.entries = entries_after(0, terms);
    node.disk.durable = node.disk.written;
    return node;
}

/// The same behind a snapshot of the entries 1 to `base`, all of them of term 1.
Node with_snapshot(std::uint64_t base, const Numbers& terms, std::uint64_t term,
                   Options options = {}) {
    Node node{1, {2, 3}, options};
    Numbers ids;
    for (const Entry& entry : entries_after(0, Numbers(base, 1))) {
        ids.push_back(std::get<Command>(entry.command).id);
    }
    node.machine.saved = {{Term{1}, Index{base}}, data_of(ids)};
    node.disk.written = {Term{term}, std::nullopt, position(base, 1), entries_after(base, terms)};
    node.disk.durable = node.disk.written;
    return node;
}

/// The terms of the entries that its disk holds.
Numbers log_of(const Node& node) { return terms_of(node.disk.durable.entries); }

std::uint64_t term_of(Node& node) { return node.status().term.value; }
std::uint64_t commit_of(Node& node) { return node.status().commit_index.value; }
Role role_of(Node& node) { return node.status().role; }

std::uint64_t vote_of(const Node& node) {
    return node.disk.durable.voted_for.value_or(ReplicaId{0}).value;
}

std::uint64_t leader_of(Node& node) { return node.status().leader.value_or(ReplicaId{0}).value; }

const lr::Progress& progress_of(const lr::Status& status, std::uint64_t peer) {
    auto is_it = [peer](const lr::Progress& member) { return member.id == ReplicaId{peer}; };
    return *std::find_if(status.progress.begin(), status.progress.end(), is_it);
}

std::uint64_t match_of(Node& node, std::uint64_t peer) {
    return progress_of(node.status(), peer).match_index.value;
}

std::uint64_t next_of(Node& node, std::uint64_t peer) {
    return progress_of(node.status(), peer).next_index.value;
}

void propose(Node& node, std::uint64_t id) { node.machine.pending.push_back({id, id}); }

template <class Body>
struct Sent {
    std::uint64_t to;
    std::uint64_t term;
    Body body;
};

/// What was sent of one kind since the last look; the look ends for the other kinds too.
template <class Body>
std::vector<Sent<Body>> take(Node& node) {
    std::vector<Sent<Body>> result;
    for (Message& message : node.sent()) {
        auto* body = std::get_if<Body>(&message.body);
        if (body) result.push_back({message.to.value, message.term.value, std::move(*body)});
    }
    return result;
}

/// The same where it must be exactly one.
template <class Body>
Sent<Body> take_one(Node& node) {
    auto all = take<Body>(node);
    REQUIRE(all.size() == 1);
    return std::move(all.front());
}

/// The same, of what was sent to one peer.
template <class Body>
std::vector<Body> take_to(Node& node, std::uint64_t peer) {
    std::vector<Body> result;
    for (auto& sent : take<Body>(node)) {
        if (sent.to == peer) result.push_back(std::move(sent.body));
    }
    return result;
}

/// The same, and of these the first.
template <class Body>
Body take_first_to(Node& node, std::uint64_t peer) {
    auto all = take_to<Body>(node, peer);
    REQUIRE_FALSE(all.empty());
    return std::move(all.front());
}

/// Hands in one message and takes its answer.
template <class Answer, class Body>
Sent<Answer> ask(Node& node, std::uint64_t peer, std::uint64_t term, Body body) {
    node.sent();
    node.poll({node.from(peer, term, std::move(body))});
    return take_one<Answer>(node);
}

Sent<AppendEntriesResponse> ask_append(Node& node, std::uint64_t peer, std::uint64_t term,
                                       AppendEntries body) {
    return ask<AppendEntriesResponse>(node, peer, term, std::move(body));
}

/// Who hears a leader does not answer.
bool is_granted(Node& node, std::uint64_t peer, std::uint64_t term, RequestVote body) {
    node.sent();
    node.poll({node.from(peer, term, body)});
    auto answers = take<RequestVoteResponse>(node);
    REQUIRE(answers.size() <= 1);
    return !answers.empty() && answers.front().body.vote_granted;
}

/// Brings it to where it asks for votes in the next term.
void make_candidate(Node& node) {
    node.poll();
    node.time_out();
    std::vector<Message> grants;
    for (ReplicaId peer : node.peers) {
        grants.push_back(node.from(peer.value, term_of(node), pre_granted));
    }
    node.poll(std::move(grants));
    REQUIRE(role_of(node) == Role::candidate);
}

/// Makes it the leader of the next term. What it sends upon that is not taken yet.
void make_leader(Node& node) {
    make_candidate(node);
    node.sent();
    std::vector<Message> grants;
    for (ReplicaId peer : node.peers) {
        grants.push_back(node.from(peer.value, term_of(node), granted));
    }
    node.poll(std::move(grants));
    REQUIRE(role_of(node) == Role::leader);
}

/// Brings a replica to a role in the term after the one it is in.
void bring_to(Node& node, Role role) {
    node.poll();
    if (role == Role::pre_candidate) node.time_out();
    if (role == Role::candidate) make_candidate(node);
    if (role == Role::leader) make_leader(node);
    REQUIRE(role_of(node) == role);
    node.sent();
}

/// A leader whose peers answered that they hold all its log.
void make_followed_leader(Node& node) {
    make_leader(node);
    std::uint64_t last = node.status().last_log_index.value;
    for (ReplicaId peer : node.peers) {
        node.poll({node.from(peer.value, term_of(node), success(last))});
    }
    node.sent();
}

// ----- A group of replicas -----------------------------------------------------------------------

/// Replicas whose messages move when the test says so, between those that it names.
struct Group {
    std::deque<Node> nodes;

    explicit Group(std::uint64_t count, const Options& options = {}) {
        for (std::uint64_t id = 1; id <= count; ++id) {
            Numbers others;
            for (std::uint64_t other = 1; other <= count; ++other) {
                if (other != id) others.push_back(other);
            }
            nodes.emplace_back(id, others, options);
        }
    }

    Node& operator[](std::uint64_t id) { return nodes[id - 1]; }

    void set_log(std::uint64_t id, const Numbers& terms, std::uint64_t term) {
        Node other = with_log(terms, term);
        (*this)[id].disk = std::move(other.disk);
    }

    void boot() {
        for (Node& node : nodes) node.poll();
    }

    /// Moves messages between these replicas until none is left. All others are lost, and so are
    /// those that `passes` turns down.
    template <class Passes>
    void settle(const Numbers& connected, Passes passes) {
        auto is_in = [&](std::uint64_t id) {
            return std::find(connected.begin(), connected.end(), id) != connected.end();
        };
        for (int rounds = 0;; ++rounds) {
            REQUIRE(rounds < 200);
            bool moved = false;
            for (Node& node : nodes) {
                for (Message& message : node.sent()) {
                    if (!is_in(node.id.value) || !is_in(message.to.value)) continue;
                    if (!passes(message)) continue;
                    (*this)[message.to.value].wire.inbox.push_back(std::move(message));
                    moved = true;
                }
            }
            if (!moved) return;
            for (Node& node : nodes) {
                if (!node.wire.inbox.empty()) node.poll();
            }
        }
    }

    void settle(const Numbers& connected) {
        settle(connected, [](const Message&) { return true; });
    }

    /// Lets one campaign among these, up to four times, until it wins. What it sends as the leader
    /// is lost. Whether it won.
    bool elect(std::uint64_t id, const Numbers& voters) {
        auto is_about_votes = [](const Message& message) { return message.body.index() < 2; };
        for (Node& node : nodes) {
            if (node.status().leader) node.now += node.options.election_timeout_range.min;
            node.poll();
        }
        settle({});
        for (int tries = 0; tries < 4 && role_of((*this)[id]) != Role::leader; ++tries) {
            (*this)[id].time_out();
            settle(voters, is_about_votes);
        }
        return role_of((*this)[id]) == Role::leader;
    }

    /// A heartbeat, and all that follows from it.
    void beat(std::uint64_t leader, const Numbers& connected) {
        (*this)[leader].advance((*this)[leader].options.heartbeat_timeout);
        settle(connected);
    }

    /// The process ends and comes back, and remembers what was durable.
    void crash(std::uint64_t id) {
        (*this)[id].restart();
        (*this)[id].poll();
    }
};

}  // namespace

namespace doctest {
template <>
struct StringMaker<Numbers> {
    static String convert(const Numbers& numbers) {
        String text = "{";
        for (std::uint64_t number : numbers) text += toString(number) + " ";
        return text + "}";
    }
};

template <>
struct StringMaker<std::vector<TransitionState>> {
    static String convert(const std::vector<TransitionState>& states) {
        Numbers numbers;
        for (TransitionState state : states) numbers.push_back(static_cast<std::uint64_t>(state));
        return StringMaker<Numbers>::convert(numbers);
    }
};
}  // namespace doctest

// ===== Figure 2, State ===========================================================================

TEST_CASE("Figure 2, State: currentTerm is 0 at first boot and never falls, nor at a restart") {
    Node node;
    CHECK(term_of(node) == 0);
    node.poll({node.from(2, 5, append(0, 0, {}))});
    CHECK(term_of(node) == 5);
    node.poll({node.from(3, 3, append(0, 0, {1})), node.from(3, 4, granted),
               node.from(3, 4, vote(9, 4)), node.from(3, 3, success(0))});
    CHECK(term_of(node) == 5);
    node.restart();
    CHECK(term_of(node) == 5);
    node.poll({node.from(3, 6, vote(0, 0))});
    CHECK(term_of(node) == 6);
}

TEST_CASE("Figure 2, State: votedFor is who got the vote in the current term, or nobody") {
    Node node;
    node.poll();
    CHECK(vote_of(node) == 0);
    node.poll({node.from(2, 1, vote(0, 0))});
    CHECK(vote_of(node) == 2);
    node.poll({node.from(3, 2, append(0, 0, {}))});
    CHECK(term_of(node) == 2);
    CHECK(vote_of(node) == 0);
}

TEST_CASE("Figure 2, State: votedFor outlives a crash") {
    Node node;
    node.poll();
    REQUIRE(is_granted(node, 2, 1, vote(0, 0)));
    node.restart();
    CHECK_FALSE(is_granted(node, 3, 1, vote(0, 0)));
    CHECK(is_granted(node, 2, 1, vote(0, 0)));
}

TEST_CASE("Figure 2, State: a log entry holds a command and its term; the first index is 1") {
    Node node;
    make_leader(node);
    propose(node, 7);
    node.poll();
    CHECK(node.status().first_log_index == Index{1});
    CHECK(node.status().last_log_index == Index{2});
    REQUIRE(log_of(node) == Numbers{1, 1});
    CHECK(std::holds_alternative<lr::Noop>(node.disk.durable.entries[0].command));
    CHECK(std::get<Command>(node.disk.durable.entries[1].command) == Command{7, 7});
    CHECK(take_first_to<AppendEntries>(node, 2).prev_log.index == Index{0});
}

TEST_CASE("Figure 2, State: the log outlives a crash") {
    Node node;
    node.poll({node.from(2, 3, append(0, 0, {1, 1, 3}))});
    node.restart();
    CHECK(node.status().last_log_index == Index{3});
    CHECK(ask_append(node, 2, 3, append(3, 3, {})).body.success);
}

TEST_CASE("Figure 2, State: commitIndex and lastApplied are 0 at first and never fall") {
    Node node;
    CHECK(node.status().commit_index == Index{0});
    CHECK(node.status().last_applied == Index{0});
    node.poll({node.from(2, 1, append(0, 0, {1, 1, 1}, 2))});
    CHECK(node.status().commit_index == Index{2});
    CHECK(node.status().last_applied == Index{2});
    node.poll({node.from(2, 1, append(3, 1, {}, 1)), node.from(2, 1, append(0, 0, {1}, 1))});
    CHECK(node.status().commit_index == Index{2});
    CHECK(node.status().last_applied == Index{2});
}

TEST_CASE("Figure 2, State: commitIndex and lastApplied are volatile") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {1, 1}, 2))});
    REQUIRE(node.machine.applied == Numbers{101, 102});
    node.restart();
    node.poll();
    CHECK(commit_of(node) == 0);
    CHECK(node.machine.applied.empty());
    node.poll({node.from(2, 1, append(2, 1, {}, 2))});
    CHECK(node.machine.applied == Numbers{101, 102});
}

TEST_CASE("Figure 2, State: nextIndex begins after the leader's last entry, matchIndex at 0") {
    Node node = with_log({1, 1, 2}, 2);
    make_leader(node);
    for (std::uint64_t peer : Numbers{2, 3}) {
        CHECK(next_of(node, peer) == 4);
        CHECK(match_of(node, peer) == 0);
    }
    AppendEntries first = take_first_to<AppendEntries>(node, 2);
    CHECK(first.prev_log.index == Index{3});
    CHECK(first.prev_log.term == Term{2});
}

TEST_CASE("Figure 2, State: nextIndex and matchIndex are set anew after each election") {
    Node node;
    make_followed_leader(node);
    REQUIRE(match_of(node, 2) == 1);
    REQUIRE(next_of(node, 2) == 2);
    node.poll({node.from(3, 2, append(1, 1, {2, 2}))});
    make_leader(node);
    CHECK(match_of(node, 2) == 0);
    CHECK(next_of(node, 2) == 4);
}

TEST_CASE("Figure 2, State: a vote is durable before it is answered") {
    Node node;
    node.poll();
    SUBCASE("the disk works") {
        REQUIRE(is_granted(node, 2, 1, vote(0, 0)));
        CHECK(node.disk.durable.term == Term{1});
        CHECK(vote_of(node) == 2);
    }
    SUBCASE("the disk fails") {
        node.disk.sync_fails = true;
        node.poll({node.from(2, 1, vote(0, 0))});
        CHECK(node.sent().empty());
    }
}

TEST_CASE("Figure 2, State: entries are durable before they are acknowledged") {
    Node node;
    node.poll();
    SUBCASE("the disk works") {
        REQUIRE(ask_append(node, 2, 1, append(0, 0, {1, 1})).body.success);
        CHECK(log_of(node) == Numbers{1, 1});
    }
    SUBCASE("the disk fails") {
        node.disk.sync_fails = true;
        node.poll({node.from(2, 1, append(0, 0, {1, 1}))});
        CHECK(node.sent().empty());
    }
}

TEST_CASE("Figure 2, State: a term is durable before anything is said in it, a refusal too") {
    Node node = with_log({1}, 1);
    node.poll();
    SUBCASE("the disk works") {
        CHECK_FALSE(ask_append(node, 2, 4, append(3, 3, {})).body.success);
        CHECK(node.disk.durable.term == Term{4});
    }
    SUBCASE("the disk fails") {
        node.disk.sync_fails = true;
        node.poll({node.from(2, 4, append(3, 3, {})), node.from(3, 5, vote(0, 0))});
        CHECK(node.sent().empty());
    }
}

TEST_CASE("Figure 2, State: a candidate's own vote is durable before it asks for others") {
    Node node;
    node.poll();
    node.time_out();
    node.sent();
    SUBCASE("the disk works") {
        node.poll({node.from(2, 0, pre_granted)});
        CHECK(take<RequestVote>(node).size() == 2);
        CHECK(node.disk.durable.term == Term{1});
        CHECK(vote_of(node) == 1);
    }
    SUBCASE("the disk fails") {
        node.disk.sync_fails = true;
        node.poll({node.from(2, 0, pre_granted)});
        CHECK(node.sent().empty());
    }
}

// ===== Figure 2, AppendEntries RPC, receiver =====================================================

TEST_CASE("Figure 2, AppendEntries 1: false if term < currentTerm") {
    Node node = with_log({1, 3}, 5, {2, 3}, sharp());
    lr::Time deadline = node.poll();
    node.now += 100ms;
    auto answer = ask_append(node, 2, 4, append(2, 3, {4}, 2));
    CHECK_FALSE(answer.body.success);
    CHECK(answer.to == 2);
    CHECK(answer.term == 5);
    CHECK(log_of(node) == Numbers{1, 3});
    CHECK(commit_of(node) == 0);
    CHECK(leader_of(node) == 0);
    CHECK(node.poll() == deadline);
}

TEST_CASE("Figure 2, AppendEntries 2: false if the log has no entry at prevLogIndex") {
    Node node = with_log({1, 1}, 1);
    auto answer = ask_append(node, 2, 1, append(3, 1, {1}, 4));
    CHECK_FALSE(answer.body.success);
    CHECK(answer.body.match_index == Index{3});
    CHECK(log_of(node) == Numbers{1, 1});
    CHECK(commit_of(node) == 0);
}

TEST_CASE("Figure 2, AppendEntries 2: false if the entry at prevLogIndex is of another term") {
    for (std::uint64_t prev_term : Numbers{1, 3}) {
        CAPTURE(prev_term);
        Node node = with_log({1, 2}, 3);
        auto answer = ask_append(node, 2, 3, append(2, prev_term, {3}, 3));
        CHECK_FALSE(answer.body.success);
        CHECK(log_of(node) == Numbers{1, 2});
        CHECK(commit_of(node) == 0);
    }
}

TEST_CASE("Figure 2, AppendEntries 2: the place before the first entry is in every log") {
    Node node = with_log({1}, 1);
    CHECK(ask_append(node, 2, 1, append(0, 0, {})).body.success);
    CHECK_FALSE(ask_append(node, 2, 1, append(0, 1, {1})).body.success);
}

TEST_CASE("Figure 2, AppendEntries 3: a conflicting entry goes, and all that follow it") {
    Node node = with_log({1, 1, 2, 2, 2}, 2);
    auto answer = ask_append(node, 2, 3, append(1, 1, {1, 3}));
    CHECK(answer.body.success);
    CHECK(answer.body.match_index == Index{3});
    CHECK(log_of(node) == Numbers{1, 1, 3});
    CHECK(node.status().last_log_index == Index{3});
}

TEST_CASE("Figure 2, AppendEntries 3: a conflict with the first of the entries, and of the log") {
    Node node = with_log({1, 1}, 1);
    CHECK(ask_append(node, 2, 2, append(0, 0, {2, 2, 2})).body.success);
    CHECK(log_of(node) == Numbers{2, 2, 2});
}

TEST_CASE("Figure 2, AppendEntries 3: what was replaced is replaced on disk, and in the machine") {
    Node node = with_log({1, 2, 2}, 2);
    node.poll({node.from(2, 3, append(1, 1, {3, 3}, 3))});
    node.restart();
    node.poll({node.from(2, 3, append(3, 3, {}, 3))});
    CHECK(node.machine.applied == Numbers{101, 302, 303});
}

TEST_CASE("Figure 2, AppendEntries 4: new entries are appended, those in the log already are not") {
    Node node = with_log({1, 1}, 1);
    node.poll();
    CHECK(ask_append(node, 2, 1, append(1, 1, {1, 1, 1})).body.match_index == Index{4});
    CHECK(log_of(node) == Numbers{1, 1, 1, 1});
    CHECK(std::get<Command>(node.disk.durable.entries[3].command).id == 104);
    std::size_t calls = node.disk.calls.size();
    CHECK(ask_append(node, 2, 1, append(0, 0, {1, 1, 1, 1})).body.match_index == Index{4});
    CHECK(log_of(node) == Numbers{1, 1, 1, 1});
    CHECK(node.disk.calls.size() == calls);
}

TEST_CASE("Figure 2, AppendEntries 5: commitIndex follows leaderCommit") {
    Node node = with_log({1, 1, 1}, 1);
    node.poll({node.from(2, 1, append(3, 1, {}, 2))});
    CHECK(commit_of(node) == 2);
    node.poll({node.from(2, 1, append(3, 1, {1, 1}, 4))});
    CHECK(commit_of(node) == 4);
}

TEST_CASE("Figure 2, AppendEntries 5: commitIndex does not go beyond the last new entry") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {1, 1}, 9))});
    CHECK(commit_of(node) == 2);
    CHECK(node.machine.applied == Numbers{101, 102});
}

// ===== Figure 2, RequestVote RPC, receiver =======================================================

TEST_CASE("Figure 2, RequestVote 1: false if term < currentTerm, however good the log") {
    Node node = with_log({1}, 5);
    node.poll();
    auto answer = ask<RequestVoteResponse>(node, 2, 4, vote(9, 4));
    CHECK_FALSE(answer.body.vote_granted);
    CHECK(answer.term == 5);
    CHECK(vote_of(node) == 0);
    CHECK(is_granted(node, 3, 5, vote(9, 4)));
}

TEST_CASE("Figure 2, RequestVote 2: granted if votedFor is nobody and the log is up to date") {
    Node node = with_log({1}, 1);
    node.poll();
    auto answer = ask<RequestVoteResponse>(node, 2, 2, vote(1, 1));
    CHECK(answer.body.vote_granted);
    CHECK_FALSE(answer.body.pre_vote);
    CHECK(answer.to == 2);
    CHECK(answer.term == 2);
    CHECK(vote_of(node) == 2);
    CHECK(node.disk.durable.term == Term{2});
}

TEST_CASE("Figure 2, RequestVote 2: granted again to the candidate that has the vote") {
    Node node;
    node.poll();
    REQUIRE(is_granted(node, 2, 1, vote(0, 0)));
    CHECK(is_granted(node, 2, 1, vote(0, 0)));
    CHECK(vote_of(node) == 2);
}

TEST_CASE("Figure 2, RequestVote 2: not granted to one whose log is behind; no vote is used up") {
    Node node = with_log({1, 2}, 2);
    node.poll();
    auto answer = ask<RequestVoteResponse>(node, 2, 3, vote(1, 1));
    CHECK_FALSE(answer.body.vote_granted);
    CHECK(answer.term == 3);
    CHECK(vote_of(node) == 0);
    CHECK(is_granted(node, 3, 3, vote(2, 2)));
}

// ===== Figure 2, Rules for servers: all ==========================================================

TEST_CASE("Figure 2, All servers: if commitIndex > lastApplied, log[lastApplied] is applied") {
    Node node = with_log({1, 1, 1}, 1);
    node.poll();
    CHECK(node.machine.applied.empty());
    node.poll({node.from(2, 1, append(3, 1, {}, 1))});
    CHECK(node.machine.applied == Numbers{101});
    node.poll({node.from(2, 1, append(3, 1, {}, 3))});
    CHECK(node.machine.applied == Numbers{101, 102, 103});
    CHECK(node.status().last_applied == Index{3});
    CHECK(node.machine.states_of(103) == std::vector{TransitionState::applied});
}

TEST_CASE("Figure 2, All servers: a higher term in any RPC is adopted, and makes a follower") {
    const std::vector<decltype(Message::body)> bodies{
        vote(0, 0),      RequestVoteResponse{false, false}, append(9, 1, {}), success(0),
        reject(0, 0, 0), RequestVoteResponse{true, false},  granted,          snapshot(9, 1, {}),
        append(0, 0, {})};
    for (Role role : {Role::follower, Role::pre_candidate, Role::candidate, Role::leader}) {
        for (std::size_t i = 0; i < bodies.size(); ++i) {
            // A leader does not help to depose itself; see 4.2.3.
            if (role == Role::leader && i == 0) continue;
            CAPTURE(static_cast<int>(role));
            CAPTURE(i);
            Node node;
            bring_to(node, role);
            node.poll({node.from(2, 7, bodies[i])});
            CHECK(role_of(node) == Role::follower);
            CHECK(term_of(node) == 7);
            CHECK(node.disk.durable.term == Term{7});
            bool leads = i == 2 || i >= 7;
            CHECK(leader_of(node) == (leads ? 2 : 0));
        }
    }
}

TEST_CASE("Figure 2, All servers: a term that was adopted holds against those between") {
    Node node = with_log({1}, 1);
    node.poll({node.from(2, 4, append(1, 1, {4}))});
    CHECK_FALSE(ask_append(node, 3, 3, append(1, 1, {3})).body.success);
    CHECK(log_of(node) == Numbers{1, 4});
    CHECK_FALSE(is_granted(node, 3, 3, vote(9, 3)));
}

// ===== Figure 2, Rules for servers: followers ====================================================

TEST_CASE("Figure 2, Followers: they respond to candidates and leaders, and to nobody else") {
    Node node = with_log({1}, 1);
    node.poll();
    CHECK(ask<RequestVoteResponse>(node, 3, 2, vote(1, 1)).to == 3);
    CHECK(ask_append(node, 2, 2, append(1, 1, {})).to == 2);
    node.poll(
        {node.from(3, 2, granted), node.from(3, 2, success(1)), node.from(3, 2, reject(1, 0, 0))});
    CHECK(node.sent().empty());
    CHECK(role_of(node) == Role::follower);
    CHECK(leader_of(node) == 2);
}

TEST_CASE("Figure 2, Followers: an election timeout without word from a leader ends it") {
    Node node{1, {2, 3}, sharp()};
    node.poll();
    node.advance(499ms);
    CHECK(role_of(node) == Role::follower);
    CHECK(node.sent().empty());
    node.advance(1ms);
    CHECK(role_of(node) == Role::pre_candidate);
    CHECK(take<RequestVote>(node).size() == 2);
}

TEST_CASE("Figure 2, Followers: AppendEntries from the current leader begins the timeout anew") {
    for (std::uint64_t prev : Numbers{0, 5}) {  // Even one that is refused.
        CAPTURE(prev);
        Node node{1, {2, 3}, sharp()};
        node.poll();
        node.now += 400ms;
        node.poll({node.from(2, 1, append(prev, prev == 0 ? 0 : 1, {}))});
        node.advance(499ms);
        CHECK(role_of(node) == Role::follower);
        node.advance(1ms);
        CHECK(role_of(node) == Role::pre_candidate);
    }
}

TEST_CASE("Figure 2, Followers: a piece of a snapshot begins the timeout anew") {
    Node node{1, {2, 3}, sharp()};
    node.poll();
    node.now += 400ms;
    node.poll({node.from(2, 1, InstallSnapshot{position(4, 1), 0, "12345678", false})});
    node.advance(499ms);
    CHECK(role_of(node) == Role::follower);
    node.advance(1ms);
    CHECK(role_of(node) == Role::pre_candidate);
}

TEST_CASE("Figure 2, Followers: to grant a vote begins the timeout anew") {
    Node node{1, {2, 3}, sharp()};
    node.poll();
    node.now += 400ms;
    REQUIRE(is_granted(node, 2, 1, vote(0, 0)));
    node.advance(499ms);
    CHECK(role_of(node) == Role::follower);
    node.advance(1ms);
    CHECK(role_of(node) == Role::pre_candidate);
}

TEST_CASE("Figure 2, Followers: nothing else begins the timeout anew") {
    const std::vector<std::pair<std::uint64_t, decltype(Message::body)>> others{
        {4, append(0, 0, {})},    // Of a leader of the past.
        {4, snapshot(9, 1, {})},  // Of the same.
        {6, vote(0, 0)},          // Refused for its log.
        {5, vote(1, 1)},          // Refused, since the vote is given.
        {4, vote(9, 4)},          // Of the past.
        {6, pre_vote(9, 4)},      // Granted, but no vote.
        {5, granted},
        {6, pre_granted},
        {6, RequestVoteResponse{}},  // It brings a new term.
        {5, success(1)},
        {6, reject(1, 0, 0)},
    };
    for (std::size_t i = 0; i < others.size(); ++i) {
        CAPTURE(i);
        Node node = with_log({1}, 5, {2, 3}, sharp());
        node.disk.written.voted_for = ReplicaId{2};
        lr::Time deadline = node.poll();
        node.now += 400ms;
        node.poll({node.from(3, others[i].first, others[i].second)});
        CHECK(node.poll() == deadline);
        node.advance(100ms);
        CHECK(role_of(node) == Role::pre_candidate);
    }
}

// ===== Figure 2, Rules for servers: candidates ===================================================

TEST_CASE("Figure 2, Candidates: they raise currentTerm, vote for themselves, ask all others") {
    Node node = with_log({1, 2}, 4, {2, 3, 4, 5});
    make_candidate(node);
    CHECK(term_of(node) == 5);
    CHECK(vote_of(node) == 1);
    Numbers asked;
    for (const auto& sent : take<RequestVote>(node)) {
        if (sent.body.pre_vote) continue;
        asked.push_back(sent.to);
        CHECK(sent.term == 5);
        CHECK(sent.body.last_log.index == Index{2});
        CHECK(sent.body.last_log.term == Term{2});
    }
    CHECK(asked == Numbers{2, 3, 4, 5});
}

TEST_CASE("Figure 2, Candidates: they begin their election timeout anew") {
    Node node{1, {2, 3}, sharp()};
    node.poll();
    node.advance(500ms);
    node.now += 400ms;
    node.poll({node.from(2, 0, pre_granted)});
    REQUIRE(role_of(node) == Role::candidate);
    node.advance(499ms);
    CHECK(role_of(node) == Role::candidate);
    node.advance(1ms);
    CHECK(role_of(node) == Role::pre_candidate);
}

TEST_CASE("Figure 2, Candidates: votes from a majority of all servers make a leader") {
    for (std::uint64_t count = 2; count <= 8; ++count) {
        Numbers others;
        for (std::uint64_t id = 2; id <= count; ++id) others.push_back(id);
        Node node{1, others};
        make_candidate(node);
        std::uint64_t votes = 1;
        for (std::uint64_t id = 2; 2 * votes <= count; ++id, ++votes) {
            CAPTURE(count);
            CAPTURE(votes);
            CHECK(role_of(node) == Role::candidate);
            node.poll({node.from(id, 1, granted)});
        }
        node.poll();
        CHECK(role_of(node) == Role::leader);
        CHECK(leader_of(node) == 1);
    }
}

TEST_CASE("Figure 2, Candidates: AppendEntries from a new leader makes a follower") {
    for (Role role : {Role::pre_candidate, Role::candidate}) {
        Node node = with_log({1}, 1);
        bring_to(node, role);
        std::uint64_t term = term_of(node);
        auto answer = ask_append(node, 2, term, append(1, 1, {term}));
        CHECK(answer.body.success);
        CHECK(role_of(node) == Role::follower);
        CHECK(leader_of(node) == 2);
        CHECK(term_of(node) == term);
        CHECK(log_of(node) == Numbers{1, term});
    }
}

TEST_CASE("Figure 2, Candidates: after another election timeout they begin anew") {
    Node node{1, {2, 3, 4, 5}};
    make_candidate(node);
    node.poll({node.from(2, 1, granted)});
    node.sent();
    node.time_out();
    node.poll({node.from(3, 1, pre_granted), node.from(4, 1, pre_granted)});
    CHECK(role_of(node) == Role::candidate);
    CHECK(term_of(node) == 2);
    CHECK(vote_of(node) == 1);
    CHECK(take<RequestVote>(node).size() == 8);  // Four for each question.
    node.poll({node.from(3, 2, granted)});       // The vote of term 1 counts no more.
    CHECK(role_of(node) == Role::candidate);
}

// ===== Figure 2, Rules for servers: leaders ======================================================

TEST_CASE("Figure 2, Leaders: upon election they send AppendEntries to each server at once") {
    Node node = with_log({1}, 1, {2, 3, 4, 5});
    make_leader(node);
    Numbers told;
    for (const auto& sent : take<AppendEntries>(node)) {
        told.push_back(sent.to);
        CHECK(sent.term == 2);
        CHECK(sent.body.prev_log.index == Index{1});
        CHECK(sent.body.prev_log.term == Term{1});
    }
    CHECK(told == Numbers{2, 3, 4, 5});
}

TEST_CASE("Figure 2, Leaders: heartbeats go on during idle periods") {
    Node node;
    make_followed_leader(node);
    for (int beats = 0; beats < 5; ++beats) {
        node.advance(node.options.heartbeat_timeout - 1ms);
        CHECK(node.sent().empty());
        node.now += 1ms;
        CHECK(node.poll() == node.now + node.options.heartbeat_timeout);
        auto sent = take<AppendEntries>(node);
        REQUIRE(sent.size() == 2);
        CHECK(sent[0].body.entries.empty());
        CHECK(sent[1].body.entries.empty());
        node.poll({node.from(2, 1, success(1))});
        node.sent();
    }
}

TEST_CASE("Figure 2, Leaders: heartbeats go on to who is silent while another keeps them busy") {
    Node node;
    make_leader(node);
    node.poll({node.from(2, 1, success(1))});
    node.sent();
    std::size_t beats = 0;
    for (std::uint64_t id = 2; id <= 21; ++id) {
        node.now += node.options.heartbeat_timeout / 5;
        propose(node, id);
        node.poll();
        node.poll({node.from(2, 1, success(id))});
        beats += take_to<AppendEntries>(node, 3).size();
    }
    CHECK(beats == 4);
}

TEST_CASE("Figure 2, Leaders: a command is appended to the log, and answered once applied") {
    Node node;
    make_followed_leader(node);
    propose(node, 7);
    node.poll();
    CHECK(log_of(node) == Numbers{1, 1});
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued});
    CHECK(node.machine.applied.empty());
    node.poll({node.from(3, 1, success(2))});
    CHECK(node.machine.applied == Numbers{7});
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued,
                                                   TransitionState::committed,
                                                   TransitionState::applied});
}

TEST_CASE("Figure 2, Leaders: a follower gets the entries from its nextIndex on") {
    Node node = with_log({1, 1, 1, 1}, 1);
    make_leader(node);
    node.sent();
    node.poll({node.from(2, 2, reject(4, 2, 1))});
    CHECK(next_of(node, 2) == 3);
    auto sent = take_to<AppendEntries>(node, 2);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].prev_log.index == Index{2});
    CHECK(sent[0].prev_log.term == Term{1});
    CHECK(terms_of(sent[0].entries) == Numbers{1, 1, 2});
}

TEST_CASE("Figure 2, Leaders: success raises nextIndex and matchIndex") {
    Node node = with_log({1, 1}, 1);
    make_leader(node);
    node.poll({node.from(2, 2, success(2))});
    CHECK(match_of(node, 2) == 2);
    CHECK(next_of(node, 2) == 4);  // The third is on its way by now.
    node.poll({node.from(2, 2, success(3))});
    CHECK(match_of(node, 2) == 3);
    CHECK(next_of(node, 2) == 4);
    CHECK(match_of(node, 3) == 0);
}

TEST_CASE("Figure 2, Leaders: refused for inconsistency, nextIndex falls and it tries again") {
    Node node = with_log({1, 1, 1}, 1);
    make_leader(node);
    node.sent();
    for (std::uint64_t prev = 3; prev > 0; --prev) {
        CAPTURE(prev);
        node.poll({node.from(2, 2, reject(prev, 9, 9))});  // The hint helps nothing.
        auto sent = take_to<AppendEntries>(node, 2);
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].prev_log.index == Index{prev - 1});
        CHECK(sent[0].entries.size() == 5 - prev);
        CHECK(match_of(node, 2) == 0);
    }
}

TEST_CASE("Figure 2, Leaders: commitIndex is the highest N that a majority matches") {
    // Every order in which the acknowledgements of four followers may differ.
    std::array<std::uint64_t, 4> reached{2, 3, 4, 5};
    do {
        Node node{1, {2, 3, 4, 5}};
        make_leader(node);
        for (std::uint64_t id = 1; id <= 4; ++id) propose(node, id);
        node.poll();
        for (std::uint64_t peer = 2; peer <= 5; ++peer) {
            node.poll({node.from(peer, 1, success(reached[peer - 2]))});
        }
        // The leader has 5, so three have 4.
        CHECK(commit_of(node) == 4);
    } while (std::next_permutation(reached.begin(), reached.end()));
}

TEST_CASE("Figure 2, Leaders: half of the servers commit nothing") {
    for (std::uint64_t count = 2; count <= 8; ++count) {
        Numbers others;
        for (std::uint64_t id = 2; id <= count; ++id) others.push_back(id);
        Node node{1, others};
        make_leader(node);
        std::uint64_t copies = 1;
        for (std::uint64_t id = 2; 2 * copies <= count; ++id, ++copies) {
            CAPTURE(count);
            CAPTURE(copies);
            CHECK(commit_of(node) == 0);
            node.poll({node.from(id, 1, success(1))});
        }
        node.poll();
        CHECK(commit_of(node) == 1);
    }
}

TEST_CASE("Figure 2, Leaders: commitIndex moves to N only if log[N].term is currentTerm") {
    Node node = with_log({1, 1}, 1);
    make_leader(node);
    node.poll({node.from(2, 2, success(2)), node.from(3, 2, success(2))});
    CHECK(commit_of(node) == 0);
    node.poll({node.from(2, 2, success(3))});
    CHECK(commit_of(node) == 3);
}

// ===== 5.1 Raft basics ===========================================================================

TEST_CASE("5.1: followers issue no requests on their own") {
    Node node{1, {2, 3}, sharp()};
    node.poll();
    for (int i = 0; i < 20; ++i) {
        node.poll({node.from(2, 1, append(0, 0, {}))});
        CHECK(take_one<AppendEntriesResponse>(node).to == 2);
        node.advance(400ms);
        CHECK(node.sent().empty());
    }
}

TEST_CASE("5.1: the leader handles what clients ask; others say that they do not lead, and who") {
    for (Role role : {Role::follower, Role::pre_candidate, Role::candidate}) {
        Node node;
        bring_to(node, role);
        propose(node, 7);
        node.poll();
        CHECK(node.machine.states_of(7) == std::vector{TransitionState::abandoned_not_leader});
        CHECK(log_of(node).empty());
    }
    Node node;
    node.poll({node.from(3, 1, append(0, 0, {}))});
    REQUIRE(node.wire.leaders.size() == 1);
    CHECK(node.wire.leaders[0] == ReplicaId{3});
    node.poll({node.from(2, 2, append(0, 0, {}))});
    node.time_out();
    REQUIRE(node.wire.leaders.size() == 3);
    CHECK(node.wire.leaders[1] == ReplicaId{2});
    CHECK(node.wire.leaders[2] == std::nullopt);
}

TEST_CASE("5.1: a term has at most one leader; a split vote leaves it with none") {
    Group group(4);
    group.boot();
    for (Node& node : group.nodes) make_candidate(node);
    // All voted for themselves.
    group.settle({1, 2, 3, 4});
    for (Node& node : group.nodes) {
        CHECK(role_of(node) == Role::candidate);
        CHECK(term_of(node) == 1);
    }
    REQUIRE(group.elect(3, {1, 2, 3, 4}));
    CHECK(term_of(group[3]) == 2);
    group.beat(3, {1, 2, 3, 4});
    for (Node& node : group.nodes) CHECK(leader_of(node) == 3);
}

TEST_CASE("5.1: terms are exchanged whenever servers communicate; the smaller is raised") {
    Node node = with_log({}, 3);
    node.poll();
    CHECK(ask<RequestVoteResponse>(node, 2, 6, vote(0, 0)).term == 6);
    CHECK(ask_append(node, 2, 8, append(0, 0, {})).term == 8);
    CHECK(ask_append(node, 3, 7, append(0, 0, {})).term == 8);
    CHECK(ask<RequestVoteResponse>(node, 3, 7, vote(0, 0)).term == 8);
}

TEST_CASE("5.1: a candidate or leader whose term is out of date becomes a follower at once") {
    for (Role role : {Role::candidate, Role::leader}) {
        Node node;
        bring_to(node, role);
        node.poll({node.from(2, 2, reject(0, 0, 0)), node.from(2, 1, granted),
                   node.from(3, 1, granted), node.from(3, 1, success(1))});
        CHECK(role_of(node) == Role::follower);
        CHECK(term_of(node) == 2);
        CHECK(commit_of(node) == 0);
        node.advance(node.options.heartbeat_timeout);
        CHECK(take<AppendEntries>(node).empty());
    }
}

TEST_CASE("5.1: a request with a stale term is rejected, by every role") {
    for (Role role : {Role::follower, Role::pre_candidate, Role::candidate, Role::leader}) {
        CAPTURE(static_cast<int>(role));
        Node node = with_log({1}, 4);
        bring_to(node, role);
        std::uint64_t term = term_of(node);
        Numbers log = log_of(node);
        CHECK_FALSE(is_granted(node, 2, 3, vote(9, 3)));
        CHECK_FALSE(ask_append(node, 2, 3, append(1, 1, {3}, 2)).body.success);
        CHECK_FALSE(ask<AppendEntriesResponse>(node, 2, 3, snapshot(9, 3, {1})).body.success);
        CHECK(role_of(node) == role);
        CHECK(term_of(node) == term);
        CHECK(log_of(node) == log);
        CHECK(commit_of(node) == 0);
        CHECK(node.machine.applied.empty());
    }
}

TEST_CASE("5.1: requests are sent in parallel, and again when no response comes in time") {
    Node node{1, {2, 3, 4, 5}};
    node.poll();
    node.time_out();
    CHECK(take<RequestVote>(node).size() == 4);
    node.time_out();
    CHECK(take<RequestVote>(node).size() == 4);
    make_leader(node);
    CHECK(take<AppendEntries>(node).size() == 4);
    for (int beats = 0; beats < 5; ++beats) {
        node.advance(node.options.heartbeat_timeout);
        CHECK(take<AppendEntries>(node).size() == 4);
    }
}

// ===== 5.2 Leader election =======================================================================

TEST_CASE("5.2: servers start up as followers, whatever they were before") {
    Node node;
    CHECK(role_of(node) == Role::follower);
    make_followed_leader(node);
    node.restart();
    CHECK(role_of(node) == Role::follower);
    node.poll();
    CHECK(role_of(node) == Role::follower);
    CHECK(leader_of(node) == 0);
    CHECK(node.sent().empty());
}

TEST_CASE("5.2: a server stays a follower as long as it hears from a leader") {
    Node node{1, {2, 3}, sharp()};
    for (int i = 0; i < 50; ++i) {
        node.poll({node.from(2, 1, append(0, 0, {}))});
        node.advance(499ms);
        CHECK(role_of(node) == Role::follower);
    }
    CHECK(term_of(node) == 1);
}

TEST_CASE("5.2: the leader's heartbeats keep its followers from elections") {
    Group group(3);
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    for (int beats = 0; beats < 100; ++beats) {
        for (Node& node : group.nodes) node.now += node.options.heartbeat_timeout;
        group[1].poll();
        group.settle({1, 2, 3});
        for (Node& node : group.nodes) node.poll();
    }
    CHECK(role_of(group[1]) == Role::leader);
    for (Node& node : group.nodes) CHECK(term_of(node) == 1);
}

TEST_CASE("5.2: a server at which no leader is heard begins an election to choose one") {
    Group group(3);
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    group.beat(1, {1, 2, 3});
    REQUIRE(leader_of(group[2]) == 1);
    REQUIRE(group.elect(2, {2, 3}));
    CHECK(term_of(group[2]) == 2);
    group.beat(2, {2, 3});
    CHECK(leader_of(group[3]) == 2);
    CHECK(commit_of(group[3]) == 2);
}

TEST_CASE("5.2: a candidate wins with votes of a majority of the full cluster, not of the living") {
    Group group(5);
    group.boot();
    CHECK_FALSE(group.elect(1, {1, 2}));
    CHECK(group.elect(1, {1, 2, 3}));
}

TEST_CASE("5.2: half of an even cluster is no majority") {
    for (std::uint64_t count : Numbers{2, 4, 6}) {
        CAPTURE(count);
        Group group(count);
        group.boot();
        Numbers half;
        for (std::uint64_t id = 1; id <= count / 2; ++id) half.push_back(id);
        CHECK_FALSE(group.elect(1, half));
        half.push_back(count);
        CHECK(group.elect(1, half));
    }
}

TEST_CASE("5.2: votes count for the term that they are of") {
    Node node;
    make_candidate(node);
    node.time_out();
    node.poll({node.from(2, 1, pre_granted)});
    REQUIRE(role_of(node) == Role::candidate);
    REQUIRE(term_of(node) == 2);
    node.poll({node.from(2, 1, granted), node.from(3, 1, granted)});
    CHECK(role_of(node) == Role::candidate);
    node.poll({node.from(2, 2, granted)});
    CHECK(role_of(node) == Role::leader);
}

TEST_CASE("5.2: a refusal is no vote") {
    Node node;
    make_candidate(node);
    node.poll({node.from(2, 1, RequestVoteResponse{}), node.from(3, 1, RequestVoteResponse{})});
    CHECK(role_of(node) == Role::candidate);
}

TEST_CASE("5.2: a server grants at most one vote in a term, first come first served") {
    Node node;
    node.poll();
    std::vector<Message> both{node.from(3, 1, vote(0, 0)), node.from(2, 1, vote(0, 0))};
    node.poll(std::move(both));
    auto answers = take<RequestVoteResponse>(node);
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].to == 3);
    CHECK(answers[0].body.vote_granted);
    CHECK(answers[1].to == 2);
    CHECK_FALSE(answers[1].body.vote_granted);
    CHECK(vote_of(node) == 3);
    CHECK_FALSE(is_granted(node, 2, 1, vote(9, 1)));
    CHECK(is_granted(node, 2, 2, vote(0, 0)));
}

TEST_CASE("5.2: candidates and leaders gave their vote to themselves") {
    for (Role role : {Role::candidate, Role::leader}) {
        Node node;
        bring_to(node, role);
        CHECK_FALSE(is_granted(node, 2, 1, vote(9, 1)));
        CHECK(role_of(node) == role);
        CHECK(vote_of(node) == 1);
    }
}

TEST_CASE("5.2: who follows a leader grants no vote in its term") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {}))});
    CHECK_FALSE(is_granted(node, 3, 1, vote(9, 1)));
}

TEST_CASE("5.2: a second leader in one term cannot be, so none is followed") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {1}))});
    node.sent();
    node.poll({node.from(3, 1, append(0, 0, {1, 1}, 2)), node.from(3, 1, snapshot(5, 1, {7}))});
    CHECK(node.sent().empty());
    CHECK(leader_of(node) == 2);
    CHECK(log_of(node) == Numbers{1});
    CHECK(commit_of(node) == 0);
}

TEST_CASE("5.2: the majority rule lets at most one candidate win a term") {
    Group group(5);
    group.boot();
    make_candidate(group[1]);
    make_candidate(group[5]);
    group.settle({1, 2, 3, 4, 5});
    std::size_t leaders = 0;
    for (Node& node : group.nodes) {
        CHECK(term_of(node) == 1);
        leaders += role_of(node) == Role::leader ? 1u : 0u;
    }
    CHECK(leaders == 1);
}

TEST_CASE("5.2: a winner tells all others of its authority, which ends their candidacies") {
    Group group(3);
    group.boot();
    make_candidate(group[3]);
    REQUIRE(group.elect(1, {1, 2}));
    group.beat(1, {1, 2, 3});
    for (Node& node : group.nodes) CHECK(leader_of(node) == 1);
    CHECK(role_of(group[3]) == Role::follower);
}

TEST_CASE("5.2: a candidate accepts a leader of its term or above, and refuses one below") {
    for (std::uint64_t term : Numbers{3, 4, 5}) {
        CAPTURE(term);
        Node node = with_log({}, 3);
        make_candidate(node);
        CHECK(ask_append(node, 2, term, append(0, 0, {})).body.success == (term >= 4));
        CHECK(role_of(node) == (term >= 4 ? Role::follower : Role::candidate));
        CHECK(term_of(node) == std::max<std::uint64_t>(term, 4));
    }
}

TEST_CASE("5.2: after a split vote each candidate times out, and elections begin in a new term") {
    Group group(2);
    group.boot();
    make_candidate(group[1]);
    make_candidate(group[2]);
    group.settle({1, 2});
    CHECK(role_of(group[1]) == Role::candidate);
    CHECK(role_of(group[2]) == Role::candidate);
    CHECK(group.elect(2, {1, 2}));
    CHECK(term_of(group[2]) == 2);
}

TEST_CASE("5.2: election timeouts are drawn from an interval, for each election and server anew") {
    Numbers drawn;
    for (std::uint64_t id = 1; id <= 5; ++id) {
        Node node{id, {11, 12}};
        for (int i = 0; i < 200; ++i) {
            lr::Duration timeout = node.poll() - node.now;
            CHECK(timeout >= node.options.election_timeout_range.min);
            CHECK(timeout <= node.options.election_timeout_range.max);
            drawn.push_back(static_cast<std::uint64_t>(timeout.count()));
            node.advance(timeout);
        }
    }
    std::sort(drawn.begin(), drawn.end());
    CHECK(std::unique(drawn.begin(), drawn.end()) - drawn.begin() > 950);
    // Spread over all of the interval, which is 500 ms to 1 s.
    CHECK(drawn[100] < 600'000'000);
    CHECK(drawn[900] > 900'000'000);
}

// ===== 5.3 Log replication =======================================================================

TEST_CASE("5.3: a command is appended, and sent to all others in parallel") {
    Node node{1, {2, 3, 4, 5}};
    make_followed_leader(node);
    propose(node, 7);
    node.poll();
    auto sent = take<AppendEntries>(node);
    REQUIRE(sent.size() == 4);
    for (std::uint64_t i = 0; i < 4; ++i) {
        const AppendEntries& request = sent[i].body;
        CHECK(sent[i].to == i + 2);
        CHECK(sent[i].term == 1);
        CHECK(request.prev_log.index == Index{1});
        CHECK(request.prev_log.term == Term{1});
        REQUIRE(request.entries.size() == 1);
        CHECK(request.entries[0].term == Term{1});
        CHECK(std::get<Command>(request.entries[0].command).id == 7);
    }
    CHECK(log_of(node) == Numbers{1, 1});
}

TEST_CASE("5.3: a follower that is slow or lost a message is asked until it stores all") {
    Group group(3);
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    group.beat(1, {1, 2, 3});
    for (std::uint64_t id = 1; id <= 3; ++id) {
        propose(group[1], id);
        group.beat(1, {1, 2});
    }
    CHECK(commit_of(group[1]) == 4);
    CHECK(log_of(group[3]) == Numbers{1});
    group.beat(1, {1, 2, 3});
    CHECK(log_of(group[3]) == Numbers{1, 1, 1, 1});
    CHECK(group[3].machine.applied == Numbers{1, 2, 3});
}

TEST_CASE("5.3: even one message that is lost is noticed, with no new command to tell of it") {
    Node node;
    make_followed_leader(node);
    propose(node, 7);
    node.poll();
    node.sent();
    node.advance(node.options.heartbeat_timeout);
    AppendEntries beat = take_first_to<AppendEntries>(node, 2);
    CHECK(beat.prev_log.index == Index{2});
    node.poll({node.from(2, 1, reject(2, 1, 1))});
    auto again = take_to<AppendEntries>(node, 2);
    REQUIRE(again.size() == 1);
    CHECK(again[0].prev_log.index == Index{1});
    CHECK(again[0].entries.size() == 1);
}

TEST_CASE("5.3: an entry is committed once a majority stores it, and with it all before it") {
    Node node = with_log({1, 1, 2}, 2, {2, 3, 4, 5});
    make_leader(node);
    node.poll({node.from(2, 3, success(4))});
    CHECK(commit_of(node) == 0);
    node.poll({node.from(4, 3, success(4))});
    CHECK(commit_of(node) == 4);
    CHECK(node.machine.applied == Numbers{101, 102, 203});
}

TEST_CASE("5.3: the leader includes its commit index in what it sends, heartbeats too") {
    Node node;
    make_followed_leader(node);
    propose(node, 7);
    node.poll();
    CHECK(take_first_to<AppendEntries>(node, 2).leader_commit == Index{1});
    node.poll({node.from(2, 1, success(2))});
    // Whoever has the entry is told at once.
    CHECK(take_first_to<AppendEntries>(node, 2).leader_commit == Index{2});
    node.advance(node.options.heartbeat_timeout);
    CHECK(take_first_to<AppendEntries>(node, 3).leader_commit == Index{2});
}

TEST_CASE("5.3: a follower applies what it learns is committed, in the order of the log") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {1, 1, 1}))});
    CHECK(node.machine.applied.empty());
    node.poll({node.from(2, 1, append(3, 1, {1}, 2))});
    CHECK(node.machine.applied == Numbers{101, 102});
    node.poll({node.from(2, 1, append(4, 1, {}, 4))});
    CHECK(node.machine.applied == Numbers{101, 102, 103, 104});
    node.poll({node.from(2, 1, append(0, 0, {1, 1, 1, 1}, 4))});
    CHECK(node.machine.applied == Numbers{101, 102, 103, 104});
}

TEST_CASE("5.3, Leader Append-Only: a leader never overwrites or deletes its entries") {
    Node node = with_log({1, 1}, 1);
    make_followed_leader(node);
    propose(node, 7);
    node.poll();
    node.sent();
    node.poll({node.from(2, 2, append(0, 0, {2})), node.from(2, 2, append(1, 1, {2, 2}, 3)),
               node.from(2, 2, snapshot(9, 2, {1})), node.from(2, 2, reject(4, 0, 0)),
               node.from(2, 1, append(0, 0, {}))});
    CHECK(role_of(node) == Role::leader);
    CHECK(log_of(node) == Numbers{1, 1, 2, 2});
    CHECK(node.machine.set_snapshot_calls == 0);
}

TEST_CASE("5.3, Log Matching: one entry at an index in a term, and it never moves") {
    Node node;
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 5; ++id) {
        propose(node, id);
        node.poll();
        for (std::uint64_t older = 1; older <= id; ++older) {
            const Entry& entry = node.disk.durable.entries[older];
            CHECK(std::get<Command>(entry.command).id == older);
        }
    }
    CHECK(node.status().last_log_index == Index{6});
}

TEST_CASE("5.3, Log Matching: a success means that the logs are equal up to where it says") {
    Node node = with_log({1, 2, 2}, 3);
    CHECK(ask_append(node, 2, 3, append(0, 0, {})).body.match_index == Index{0});
    CHECK(ask_append(node, 2, 3, append(1, 1, {})).body.match_index == Index{1});
    CHECK(ask_append(node, 2, 3, append(0, 0, {1})).body.match_index == Index{1});
    CHECK(ask_append(node, 2, 3, append(1, 1, {2})).body.match_index == Index{2});
    CHECK(ask_append(node, 2, 3, append(3, 2, {3})).body.match_index == Index{4});
}

TEST_CASE("5.3: refusals walk back until the logs meet, then the follower's log is the leader's") {
    Group group(3);
    group.set_log(1, {1, 1, 1, 4, 4}, 4);
    group.set_log(2, {1, 1, 1, 4, 4}, 4);
    group.set_log(3, {1, 2, 2, 2, 3, 3, 3}, 4);
    group.boot();
    REQUIRE(group.elect(1, {1, 2}));
    group.beat(1, {1, 2, 3});
    CHECK(log_of(group[3]) == Numbers{1, 1, 1, 4, 4, 5});
    CHECK(match_of(group[1], 3) == 6);
    CHECK(group[3].machine.applied == group[1].machine.applied);
    CHECK(group[3].machine.applied == Numbers{101, 102, 103, 404, 405});
}

TEST_CASE("5.3: a refusal tells the term of the entry and where to look; one a term is enough") {
    Node node = with_log({1, 1, 1, 2, 2, 2}, 4);
    struct Row {
        std::uint64_t prev, prev_term, hint, hint_term;
    };
    for (const Row& row : {Row{9, 4, 6, 2}, Row{9, 2, 6, 2}, Row{9, 1, 3, 1}, Row{6, 4, 6, 2},
                           Row{5, 1, 3, 1}, Row{2, 3, 2, 1}}) {
        CAPTURE(row.prev);
        CAPTURE(row.prev_term);
        auto answer = ask_append(node, 2, 4, append(row.prev, row.prev_term, {}));
        CHECK_FALSE(answer.body.success);
        CHECK(answer.body.match_index == Index{row.prev});
        CHECK(answer.body.hint == position(row.hint, row.hint_term));
    }
}

TEST_CASE("5.3: the leader skips its entries of terms that the follower cannot have there") {
    struct Row {
        std::uint64_t hint, hint_term, prev;
    };
    for (const Row& row :
         {Row{7, 2, 3}, Row{5, 4, 5}, Row{3, 1, 3}, Row{2, 1, 2}, Row{0, 0, 0}, Row{6, 1, 3}}) {
        CAPTURE(row.hint);
        CAPTURE(row.hint_term);
        Node node = with_log({1, 1, 1, 4, 4, 5, 5, 5}, 5);
        make_leader(node);
        node.sent();
        node.poll({node.from(2, 6, reject(8, row.hint, row.hint_term))});
        auto sent = take_to<AppendEntries>(node, 2);
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].prev_log.index == Index{row.prev});
        CHECK(sent[0].entries.size() == 9 - row.prev);
    }
}

// ----- Figure 7 ----------------------------------------------------------------------------------

namespace {

/// The follower of that log beside the leader of figure 7 and another replica that has its log.
void check_figure_7(const Numbers& follower, bool grants, std::size_t refusals_max) {
    const Numbers leader{1, 1, 1, 4, 4, 5, 5, 6, 6, 6};
    Group group(3);
    group.set_log(1, leader, 7);
    group.set_log(2, leader, 7);
    group.set_log(3, follower, 7);
    group.boot();
    CHECK(is_granted(group[3], 1, 8, vote(10, 6)) == grants);
    REQUIRE(group.elect(1, {1, 2}));
    REQUIRE(term_of(group[1]) == 8);
    std::size_t refusals = 0;
    group[1].advance(group[1].options.heartbeat_timeout);
    group.settle({1, 2, 3}, [&](const Message& message) {
        auto* response = std::get_if<AppendEntriesResponse>(&message.body);
        if (response && message.from == ReplicaId{3} && !response->success) ++refusals;
        return true;
    });
    CHECK(refusals <= refusals_max);
    for (Node& node : group.nodes) {
        CHECK(log_of(node) == Numbers{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8});
        CHECK(commit_of(node) == 11);
        CHECK(node.machine.applied == Numbers{101, 102, 103, 404, 405, 506, 507, 608, 609, 610});
    }
}

}  // namespace

TEST_CASE("Figure 7 (a): a follower that lacks an entry") {
    check_figure_7({1, 1, 1, 4, 4, 5, 5, 6, 6}, true, 1);
}

TEST_CASE("Figure 7 (b): a follower that lacks entries of several terms") {
    check_figure_7({1, 1, 1, 4}, true, 1);
}

TEST_CASE("Figure 7 (c): a follower with one more entry of the leader's last term") {
    check_figure_7({1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}, false, 0);
}

TEST_CASE("Figure 7 (d): a follower with entries of a term that the leader never saw") {
    check_figure_7({1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, false, 0);
}

TEST_CASE("Figure 7 (e): a follower that lacks entries and has others") {
    check_figure_7({1, 1, 1, 4, 4, 4, 4}, true, 2);
}

TEST_CASE("Figure 7 (f): a follower that has others of two terms") {
    check_figure_7({1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}, true, 2);
}

TEST_CASE("Figure 7: all of them together, in a cluster of seven") {
    Group group(7);
    group.set_log(1, {1, 1, 1, 4, 4, 5, 5, 6, 6, 6}, 7);
    group.set_log(2, {1, 1, 1, 4, 4, 5, 5, 6, 6}, 6);
    group.set_log(3, {1, 1, 1, 4}, 4);
    group.set_log(4, {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}, 6);
    group.set_log(5, {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, 7);
    group.set_log(6, {1, 1, 1, 4, 4, 4, 4}, 4);
    group.set_log(7, {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}, 3);
    group.boot();
    const Numbers all{1, 2, 3, 4, 5, 6, 7};
    REQUIRE(group.elect(1, all));
    REQUIRE(term_of(group[1]) == 8);
    group.beat(1, all);
    for (Node& node : group.nodes) {
        CHECK(log_of(node) == Numbers{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8});
        CHECK(commit_of(node) == 11);
        CHECK(node.machine.applied == group[1].machine.applied);
    }
}

// ===== 5.4.1 Election restriction ================================================================

TEST_CASE("5.4.1: a candidate tells of its log's last index and term") {
    for (const Numbers& terms : {Numbers{}, Numbers{1}, Numbers{1, 1, 3}}) {
        Node node = with_log(terms, 4);
        make_candidate(node);
        auto asked = take<RequestVote>(node);
        REQUIRE(asked.size() == 4);
        for (const auto& request : asked) {
            CHECK(request.body.last_log.index == Index{terms.size()});
            CHECK(request.body.last_log.term == Term{terms.empty() ? 0 : terms.back()});
        }
    }
}

TEST_CASE("5.4.1: the later last term is more up to date; of equal ones, the longer log is") {
    // The voter's log is 1, 2, 2: each pair of a last index and a last term around it.
    for (std::uint64_t last_term = 0; last_term <= 4; ++last_term) {
        for (std::uint64_t last = 0; last <= 5; ++last) {
            CAPTURE(last_term);
            CAPTURE(last);
            bool expected = last_term > 2 || (last_term == 2 && last >= 3);
            Node node = with_log({1, 2, 2}, 4);
            node.poll();
            CHECK(is_granted(node, 2, 5, pre_vote(last, last_term)) == expected);
            CHECK(is_granted(node, 2, 5, vote(last, last_term)) == expected);
            CHECK(vote_of(node) == (expected ? 2 : 0));
        }
    }
}

TEST_CASE("5.4.1: behind a snapshot, its last entry stands for the log's") {
    Node node = with_snapshot(4, {}, 3);
    node.poll();
    CHECK_FALSE(is_granted(node, 2, 4, vote(3, 1)));
    CHECK(is_granted(node, 3, 4, vote(4, 1)));
    Node other = with_snapshot(4, {}, 3);
    make_candidate(other);
    auto asked = take<RequestVote>(other);
    REQUIRE(asked.size() == 4);
    CHECK(asked.back().body.last_log.index == Index{4});
    CHECK(asked.back().body.last_log.term == Term{1});
}

TEST_CASE("5.4.1: who lacks a committed entry is not elected, who holds all of them is") {
    Group group(5);
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3, 4, 5}));
    group.beat(1, {1, 2, 3, 4, 5});
    propose(group[1], 7);
    group.beat(1, {1, 2, 3});
    REQUIRE(group[1].machine.applied == Numbers{7});
    group.crash(1);
    CHECK_FALSE(group.elect(5, {1, 2, 3, 4, 5}));
    CHECK_FALSE(group.elect(4, {1, 2, 3, 4, 5}));
    CHECK(group.elect(3, {3, 4, 5}));
    group.beat(3, {3, 4, 5});
    CHECK(group[3].machine.applied == Numbers{7});
    CHECK(group[5].machine.applied == Numbers{7});
}

// ===== 5.4.2 Committing entries from previous terms ==============================================

namespace {

/// Figure 8 up to (c): replica 1 leads in term 4, and a majority holds its entry of term 2 at 2;
/// its entry of term 4 is on its own disk alone. Replica 5 has an entry of term 3 at 2.
void make_figure_8(Group& group) {
    auto without_own_entry = [](const Message& message) {
        auto* request = std::get_if<AppendEntries>(&message.body);
        if (!request) return true;
        return request->prev_log.index.value + request->entries.size() < 3;
    };
    for (Node& node : group.nodes) {
        node.options.append_bytes_max = 1;  // One entry a message.
        node.disk = std::move(with_log({1}, 1).disk);
    }
    group.boot();
    const Numbers all{1, 2, 3, 4, 5};
    REQUIRE(group.elect(1, all));  // (a)
    group.beat(1, {1, 2});
    REQUIRE(log_of(group[2]) == Numbers{1, 2});
    REQUIRE(log_of(group[3]) == Numbers{1});
    group.crash(1);
    REQUIRE(group.elect(5, {3, 4, 5}));  // (b)
    REQUIRE(term_of(group[5]) == 3);
    group.crash(5);
    REQUIRE(group.elect(1, {1, 2, 3, 4}));  // (c)
    REQUIRE(term_of(group[1]) == 4);
    group[1].advance(group[1].options.heartbeat_timeout);
    group.settle({1, 2, 3}, without_own_entry);
    REQUIRE(log_of(group[1]) == Numbers{1, 2, 4});
    REQUIRE(log_of(group[2]) == Numbers{1, 2});
    REQUIRE(log_of(group[3]) == Numbers{1, 2});
    REQUIRE(log_of(group[5]) == Numbers{1, 3});
    REQUIRE(match_of(group[1], 2) == 2);
    REQUIRE(match_of(group[1], 3) == 2);
}

}  // namespace

TEST_CASE("5.4.2, Figure 8 (c): an entry of an old term is not committed by counting replicas") {
    Group group(5);
    make_figure_8(group);
    CHECK(commit_of(group[1]) == 0);
    for (Node& node : group.nodes) CHECK(node.machine.applied.empty());
}

TEST_CASE("5.4.2, Figure 8 (d): so it may still be overwritten everywhere, and nothing is lost") {
    Group group(5);
    make_figure_8(group);
    group.crash(1);
    REQUIRE(group.elect(5, {2, 3, 4, 5}));
    group.beat(5, {1, 2, 3, 4, 5});
    for (Node& node : group.nodes) {
        CHECK(log_of(node) == Numbers{1, 3, 5});
        CHECK(node.machine.applied == Numbers{101});
    }
}

TEST_CASE("5.4.2, Figure 8 (e): once an entry of the leader's own term commits, it does too") {
    Group group(5);
    make_figure_8(group);
    group.beat(1, {1, 2, 3});
    CHECK(commit_of(group[1]) == 3);
    CHECK(commit_of(group[2]) == 3);
    group.crash(1);
    CHECK_FALSE(group.elect(5, {2, 3, 4, 5}));
    REQUIRE(group.elect(2, {2, 3, 4, 5}));
    group.beat(2, {2, 3, 4, 5});
    CHECK(commit_of(group[5]) == 4);
    CHECK(terms_of(group[5].disk.durable.entries)[1] == 2);
}

TEST_CASE("5.4.2: entries keep their original term when a later leader replicates them") {
    Node node = with_log({1, 2}, 5);
    make_leader(node);
    node.sent();
    node.poll({node.from(2, 6, reject(2, 0, 0))});
    CHECK(terms_of(take_first_to<AppendEntries>(node, 2).entries) == Numbers{1, 2, 6});
}

// ===== 5.4.3 Safety argument =====================================================================

TEST_CASE("5.4.3, Leader Completeness: what is committed is in every later leader's log") {
    Group group(5);
    group.boot();
    const Numbers all{1, 2, 3, 4, 5};
    // Each leader commits an entry on another majority, then fails; the next one is of it.
    Numbers proposed;
    for (std::uint64_t round = 0; round < 5; ++round) {
        std::uint64_t leader = round % 5 + 1;
        Numbers majority{leader, leader % 5 + 1, (leader + 1) % 5 + 1};
        REQUIRE(group.elect(leader, all));
        group.beat(leader, majority);
        propose(group[leader], 11 + round);
        proposed.push_back(11 + round);
        group.beat(leader, majority);
        CHECK(group[leader].machine.applied == proposed);
        group[leader].time_out();  // Nobody answered for long: it stands down.
        REQUIRE(role_of(group[leader]) == Role::follower);
    }
    REQUIRE(group.elect(5, all));
    group.beat(5, all);
    for (Node& node : group.nodes) CHECK(node.machine.applied == proposed);
}

TEST_CASE("5.4.3, State Machine Safety: no other entry is ever applied at the same index") {
    Group group(3);
    group.boot();
    const Numbers all{1, 2, 3};
    REQUIRE(group.elect(1, all));
    group.beat(1, all);
    propose(group[1], 7);  // It reaches nobody.
    group[1].poll();
    group.settle({1});
    REQUIRE(group.elect(2, {2, 3}));
    propose(group[2], 8);
    group.beat(2, {2, 3});
    CHECK(group[3].machine.applied == Numbers{8});
    group.beat(2, all);
    for (Node& node : group.nodes) CHECK(node.machine.applied == Numbers{8});
    CHECK(group[1].machine.states_of(7) ==
          std::vector{TransitionState::queued, TransitionState::abandoned_conflict_with_leader});
}

TEST_CASE("5.4.3: a leader commits past its log's old entries only with one of its term") {
    // The leader's log may hold entries of its own term behind those that a majority has.
    Node node = with_log({1, 2, 2}, 2);
    make_leader(node);
    propose(node, 7);
    node.poll();
    for (std::uint64_t match : Numbers{1, 2, 3}) {
        node.poll({node.from(2, 3, success(match))});
        CHECK(commit_of(node) == 0);
    }
    node.poll({node.from(2, 3, success(4))});
    CHECK(commit_of(node) == 4);
}

// ===== 5.5 Follower and candidate crashes ========================================================

TEST_CASE("5.5: requests are idempotent") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {1, 1}, 1))});
    auto first = ask_append(node, 2, 1, append(2, 1, {1}, 3));
    auto second = ask_append(node, 2, 1, append(2, 1, {1}, 3));
    CHECK(first.body.match_index == second.body.match_index);
    CHECK(second.body.success);
    CHECK(log_of(node) == Numbers{1, 1, 1});
    CHECK(node.machine.applied == Numbers{101, 102, 103});
}

TEST_CASE("5.5: a server that crashed after a request and before its answer gets it again") {
    Group group(3);
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    group.beat(1, {1, 2});
    propose(group[1], 7);
    group[1].poll();
    group.settle({1, 3}, [](const Message& message) { return message.from == ReplicaId{1}; });
    group.crash(3);
    group.beat(1, {1, 3});
    CHECK(log_of(group[3]) == Numbers{1, 1});
    CHECK(commit_of(group[1]) == 2);
    CHECK(group[3].machine.applied == Numbers{7});
}

// ===== 7 Log compaction ==========================================================================

namespace {

/// A snapshot after every second entry, nothing of the log behind it, two commands a chunk.
Options small_snapshots() {
    Options options;
    options.snapshot_delta = 2;
    options.snapshot_trailing = 0;
    options.snapshot_chunk_bytes = 16;
    return options;
}

/// One chunk of a snapshot.
InstallSnapshot chunk(std::uint64_t index, std::uint64_t term, std::uint64_t offset,
                      const Numbers& ids, bool done) {
    return {position(index, term), offset, data_of(ids), done};
}

/// A leader of term 2 whose log begins behind a snapshot of entries 101 to 104, and whose peer 2
/// turned out to lack all of it. The first chunk is not taken yet.
Node sending_snapshot(Options options = small_snapshots()) {
    options.snapshot_delta = 0;
    return with_snapshot(4, {1}, 1, options);
}

void begin_to_send(Node& node) {
    make_leader(node);
    node.sent();
    node.poll({node.from(2, 2, reject(5, 0, 0))});
    node.sent();
    node.poll({node.from(2, 2, reject(4, 0, 0))});
}

AppendEntriesResponse got(std::uint64_t index, std::uint64_t offset) {
    return {false, Index{index}, {}, offset};
}

}  // namespace

TEST_CASE("7: each server takes snapshots on its own, of what it applied, and cuts its log") {
    Node node{1, {2, 3}, small_snapshots()};
    node.poll({node.from(2, 4, append(0, 0, {1, 1, 2, 3, 4}, 3))});
    node.poll();
    CHECK(node.status().snapshot.index == Index{3});
    CHECK(node.status().first_log_index == Index{4});
    REQUIRE(node.machine.saved.has_value());
    CHECK(node.machine.saved->last_included.index == Index{3});
    CHECK(node.machine.saved->last_included.term == Term{2});
    CHECK(node.machine.saved->data == data_of({101, 102, 203}));
    CHECK(node.disk.durable.last_included == position(3, 2));
    CHECK(log_of(node) == Numbers{3, 4});
}

TEST_CASE("7: a snapshot covers committed entries only") {
    Node node{1, {2, 3}, small_snapshots()};
    node.poll({node.from(2, 1, append(0, 0, {1, 1, 1, 1}, 1))});
    CHECK(node.status().snapshot.index == Index{0});
    CHECK_FALSE(node.machine.saved.has_value());
}

TEST_CASE("7: the snapshot's last index and term let the next entry pass the consistency check") {
    Node node = with_snapshot(4, {}, 3);
    CHECK_FALSE(ask_append(node, 2, 3, append(4, 2, {3})).body.success);
    CHECK_FALSE(ask_append(node, 2, 3, append(5, 1, {3})).body.success);
    CHECK(log_of(node).empty());
    CHECK(ask_append(node, 2, 3, append(4, 1, {3})).body.match_index == Index{5});
    CHECK(log_of(node) == Numbers{3});
}

TEST_CASE("7: a server restarts from its snapshot and the log, and applies nothing twice") {
    for (std::uint64_t trailing : Numbers{0, 1}) {
        CAPTURE(trailing);
        Options options = small_snapshots();
        options.snapshot_trailing = trailing;
        Node node{1, {2, 3}, options};
        node.poll({node.from(2, 1, append(0, 0, {1, 1, 1, 1}, 3))});
        node.poll();
        node.restart();
        CHECK(node.machine.applied == Numbers{101, 102, 103});
        CHECK(node.status().first_log_index == Index{4 - trailing});
        CHECK(node.status().commit_index == Index{3});
        CHECK(node.status().last_applied == Index{3});
        CHECK(node.status().last_log_index == Index{4});
        node.poll({node.from(2, 1, append(4, 1, {}, 4))});
        CHECK(node.machine.applied == Numbers{101, 102, 103, 104});
    }
}

TEST_CASE("7: the leader sends its snapshot when it discarded the next entry to send") {
    Node node = sending_snapshot();
    make_leader(node);
    node.sent();
    node.poll({node.from(2, 2, reject(5, 4, 1))});
    // The log still has its base: that may do.
    auto probe = take_to<AppendEntries>(node, 2);
    REQUIRE(probe.size() == 1);
    CHECK(probe[0].prev_log.index == Index{4});
    CHECK(probe[0].prev_log.term == Term{1});
    node.poll({node.from(2, 2, reject(4, 0, 0))});
    auto sent = take_one<InstallSnapshot>(node);
    CHECK(sent.to == 2);
    CHECK(sent.term == 2);
    CHECK(sent.body.last_included == position(4, 1));
    CHECK(sent.body.offset == 0);
    CHECK(sent.body.data == data_of({101, 102}));
    CHECK_FALSE(sent.body.done);
}

TEST_CASE("7: a follower whose log ends before the leader's begins is sent the snapshot at once") {
    Node node = sending_snapshot();
    make_leader(node);
    node.sent();
    node.poll({node.from(2, 2, reject(5, 3, 1))});
    CHECK(take_one<InstallSnapshot>(node).body.last_included == position(4, 1));
}

TEST_CASE("7: chunks go in order, each as heartbeat and answer to the one before; then the log") {
    Node node = sending_snapshot();
    begin_to_send(node);
    node.sent();
    node.poll({node.from(2, 2, got(4, 16))});
    auto second = take_one<InstallSnapshot>(node);
    CHECK(second.body.offset == 16);
    CHECK(second.body.data == data_of({103, 104}));
    CHECK(second.body.done);
    node.poll({node.from(2, 2, success(4))});
    auto sent = take_to<AppendEntries>(node, 2);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].prev_log.index == Index{4});
    CHECK(terms_of(sent[0].entries) == Numbers{1, 2});
    CHECK(match_of(node, 2) == 4);
}

TEST_CASE("7: a chunk that got lost is sent again, one that was answered twice is not") {
    Node node = sending_snapshot();
    begin_to_send(node);
    node.sent();
    node.poll({node.from(2, 2, got(4, 16)), node.from(2, 2, got(4, 16))});
    CHECK(take<InstallSnapshot>(node).size() == 1);
    node.poll({node.from(2, 2, got(4, 16))});
    CHECK(take<InstallSnapshot>(node).empty());
    node.poll({node.from(2, 2, got(4, 16))});  // The answer to a heartbeat.
    CHECK(take<InstallSnapshot>(node).empty());
    node.advance(node.options.heartbeat_timeout);
    node.sent();
    node.poll({node.from(2, 2, got(4, 16))});
    auto again = take_one<InstallSnapshot>(node);
    CHECK(again.body.offset == 16);
    CHECK(again.body.done);
}

TEST_CASE("7: a follower that lags far behind catches up by a snapshot in chunks") {
    Group group(3, small_snapshots());
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    Numbers expected;
    for (std::uint64_t id = 1; id <= 9; ++id) {
        propose(group[1], id);
        group.beat(1, {1, 2});
        expected.push_back(id);
    }
    REQUIRE(group[1].status().first_log_index > Index{6});
    CHECK(group[3].machine.applied.empty());
    group.beat(1, {1, 2, 3});
    group.beat(1, {1, 2, 3});
    CHECK(group[3].machine.set_snapshot_calls == 1);
    CHECK(group[3].machine.applied == expected);
    propose(group[1], 10);
    group.beat(1, {1, 3});
    expected.push_back(10);
    CHECK(group[1].machine.applied == expected);
    group.beat(1, {1, 3});
    CHECK(group[3].machine.applied == expected);
}

// ----- Figure 13, InstallSnapshot RPC, receiver --------------------------------------------------

TEST_CASE("Figure 13, 1: answered at once if term < currentTerm") {
    Node node = with_log({1}, 5);
    auto answer = ask<AppendEntriesResponse>(node, 2, 4, snapshot(9, 4, {7, 8}));
    CHECK_FALSE(answer.body.success);
    CHECK(answer.term == 5);
    CHECK(node.machine.applied.empty());
    CHECK(log_of(node) == Numbers{1});
    CHECK(commit_of(node) == 0);
}

TEST_CASE("Figure 13, 2 to 4: chunks are joined by offset, each is answered, and more awaited") {
    Node node = with_log({1}, 1);
    auto first = ask<AppendEntriesResponse>(node, 2, 2, chunk(9, 2, 0, {7}, false));
    CHECK(first.to == 2);
    CHECK(first.term == 2);
    CHECK_FALSE(first.body.success);
    CHECK(first.body.match_index == Index{9});
    CHECK(first.body.snapshot_offset == 8);
    CHECK(node.machine.set_snapshot_calls == 0);
    CHECK(log_of(node) == Numbers{1});
    CHECK(commit_of(node) == 0);
    CHECK(leader_of(node) == 2);
    auto second = ask<AppendEntriesResponse>(node, 2, 2, chunk(9, 2, 8, {8, 9}, false));
    CHECK(second.body.snapshot_offset == 24);
    auto third = ask_append(node, 2, 2, AppendEntries{{Term{2}, Index{9}}, Index{0}, {}});
    CHECK_FALSE(third.body.success);
    CHECK(ask<AppendEntriesResponse>(node, 2, 2, chunk(9, 2, 24, {10}, true)).body.success);
    CHECK(node.machine.applied == Numbers{7, 8, 9, 10});
}

TEST_CASE("Figure 13, 3: a chunk that is not the next is answered with what is there") {
    Node node;
    CHECK(ask<AppendEntriesResponse>(node, 2, 1, chunk(9, 1, 8, {8}, true)).body.snapshot_offset ==
          0);
    CHECK(ask<AppendEntriesResponse>(node, 2, 1, chunk(9, 1, 0, {7}, false)).body.snapshot_offset ==
          8);
    CHECK(ask<AppendEntriesResponse>(node, 2, 1, chunk(9, 1, 0, {7}, false)).body.snapshot_offset ==
          8);
    CHECK(ask<AppendEntriesResponse>(node, 2, 1, chunk(9, 1, 16, {9}, true)).body.snapshot_offset ==
          8);
    CHECK(node.machine.set_snapshot_calls == 0);
    CHECK(ask<AppendEntriesResponse>(node, 2, 1, chunk(9, 1, 8, {8}, true)).body.success);
    CHECK(node.machine.applied == Numbers{7, 8});
}

TEST_CASE("Figure 13, 5: pieces of two snapshots, or of two leaders, are never joined") {
    Node node;
    node.poll({node.from(2, 1, chunk(9, 1, 0, {7}, false))});
    SUBCASE("another snapshot") {
        auto answer = ask<AppendEntriesResponse>(node, 2, 1, chunk(10, 1, 8, {8}, true));
        CHECK(answer.body.match_index == Index{10});
        CHECK(answer.body.snapshot_offset == 0);
    }
    SUBCASE("another leader") {
        auto answer = ask<AppendEntriesResponse>(node, 3, 2, chunk(9, 1, 8, {8}, true));
        CHECK(answer.body.snapshot_offset == 0);
    }
    CHECK(node.machine.set_snapshot_calls == 0);
    CHECK(commit_of(node) == 0);
}

TEST_CASE("Figure 13, 5: a snapshot older than what is there is never taken") {
    Node node = with_snapshot(4, {1, 1}, 1);
    node.poll({node.from(2, 1, append(6, 1, {}, 6))});
    REQUIRE(node.machine.set_snapshot_calls == 1);  // At start.
    for (std::uint64_t index : Numbers{2, 4, 5, 6}) {
        CAPTURE(index);
        auto answer = ask<AppendEntriesResponse>(node, 2, 1, snapshot(index, 1, {7}));
        CHECK(answer.body.success);
        CHECK(answer.body.match_index == Index{6});
        CHECK(commit_of(node) == 6);
        CHECK(log_of(node) == Numbers{1, 1});
        CHECK(node.machine.set_snapshot_calls == 1);
        CHECK(node.machine.applied == Numbers{101, 102, 103, 104, 105, 106});
    }
}

TEST_CASE("Figure 13, 5: a snapshot that contradicts what is committed is never taken") {
    Node node = with_snapshot(4, {1, 1}, 1);
    node.poll({node.from(2, 2, append(6, 1, {}, 6))});
    auto answer = ask<AppendEntriesResponse>(node, 2, 2, snapshot(5, 2, {7}));
    CHECK(answer.body.match_index == Index{6});
    CHECK(commit_of(node) == 6);
    CHECK(log_of(node) == Numbers{1, 1});
    CHECK(node.machine.set_snapshot_calls == 1);
}

TEST_CASE("Figure 13, 6: a log that holds the snapshot's last entry is kept") {
    Node node = with_log({1, 1, 2, 2}, 2);
    auto answer = ask<AppendEntriesResponse>(node, 2, 2, snapshot(3, 2, {101, 102, 203}));
    CHECK(answer.body.success);
    CHECK(answer.body.match_index == Index{3});
    CHECK(log_of(node) == Numbers{1, 1, 2, 2});
    CHECK(commit_of(node) == 3);
    CHECK(node.machine.applied == Numbers{101, 102, 203});
}

TEST_CASE("Figure 13, 7: otherwise the whole log goes, the entries behind the snapshot too") {
    Node node = with_log({1, 1, 1, 1, 1}, 2);
    auto answer = ask<AppendEntriesResponse>(node, 2, 3, snapshot(3, 2, {7, 8, 9}));
    CHECK(answer.body.success);
    CHECK(answer.body.match_index == Index{3});
    CHECK(log_of(node).empty());
    CHECK(node.disk.durable.last_included == position(3, 2));
    CHECK(node.status().last_log_index == Index{3});
    CHECK(node.status().first_log_index == Index{4});
    CHECK_FALSE(ask_append(node, 2, 3, append(5, 1, {})).body.success);
    CHECK(ask_append(node, 2, 3, append(3, 2, {3})).body.match_index == Index{4});
}

TEST_CASE("Figure 13, 8: the state machine is reset to the snapshot") {
    Node node = with_log({1, 1}, 1);
    node.poll({node.from(2, 1, append(2, 1, {}, 2))});
    REQUIRE(node.machine.applied == Numbers{101, 102});
    node.poll({node.from(2, 1, snapshot(5, 1, {7, 8, 9}))});
    CHECK(node.machine.applied == Numbers{7, 8, 9});
    CHECK(node.machine.set_snapshot_calls == 1);
    CHECK(commit_of(node) == 5);
    CHECK(node.status().last_applied == Index{5});
    CHECK(node.status().snapshot.index == Index{5});
    node.poll({node.from(2, 1, append(5, 1, {1}, 6))});
    CHECK(node.machine.applied == Numbers{7, 8, 9, 106});
}

TEST_CASE("Figure 13: a snapshot is durable before it is acknowledged, and outlives a crash") {
    Node node = with_log({1, 1}, 1);
    node.poll();
    SUBCASE("the disk works") {
        REQUIRE(ask<AppendEntriesResponse>(node, 2, 2, snapshot(5, 2, {7})).body.success);
        CHECK(node.disk.durable.last_included == position(5, 2));
        node.restart();
        CHECK(commit_of(node) == 5);
        CHECK(node.machine.applied == Numbers{7});
        CHECK(ask_append(node, 2, 2, append(5, 2, {2})).body.match_index == Index{6});
    }
    SUBCASE("the disk fails") {
        node.disk.sync_fails = true;
        node.poll({node.from(2, 2, snapshot(5, 2, {7}))});
        CHECK(node.sent().empty());
    }
}

TEST_CASE("Figure 13: a process that ended between snapshot and log goes on with the snapshot") {
    Node node = with_log({1, 1, 1, 1, 1}, 2);
    node.machine.saved = {{Term{2}, Index{3}}, data_of({7, 8, 9})};
    node.poll();
    CHECK_FALSE(node.status().fault.has_value());
    CHECK(node.machine.applied == Numbers{7, 8, 9});
    CHECK(node.status().last_log_index == Index{3});
    CHECK(node.disk.durable.last_included == position(3, 2));
    CHECK(log_of(node).empty());
}

// ===== 8 Client interaction ======================================================================

TEST_CASE("8: a leader begins its term with a no-op, which no state machine sees") {
    Node node = with_log({1}, 1);
    make_leader(node);
    REQUIRE(log_of(node) == Numbers{1, 2});
    CHECK(std::holds_alternative<lr::Noop>(node.disk.durable.entries[1].command));
    node.poll({node.from(2, 2, success(2))});
    CHECK(commit_of(node) == 2);
    CHECK(node.machine.applied == Numbers{101});
    CHECK(node.machine.states_of(101) == std::vector{TransitionState::applied});
    CHECK(node.machine.states.size() == 1);
}

TEST_CASE("8: a new leader learns what is committed with no new command from a client") {
    Group group(3);
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    group.beat(1, {1, 2, 3});
    propose(group[1], 7);
    group[1].poll();
    // Both have the entry, but the acknowledgements are lost with the leader.
    group.settle({1, 2, 3}, [](const Message& message) { return message.from == ReplicaId{1}; });
    group.crash(1);
    REQUIRE(group.elect(2, {2, 3}));
    group.beat(2, {2, 3});
    CHECK(group[2].machine.applied == Numbers{7});
    CHECK(group[3].machine.applied == Numbers{7});
}

TEST_CASE("8: a client's command ends in exactly one outcome, when leadership is lost too") {
    Node node;
    make_followed_leader(node);
    for (std::uint64_t id = 11; id <= 13; ++id) propose(node, id);
    node.poll();
    node.poll({node.from(2, 1, success(2))});
    // The next leader has the second of them, and another entry in place of the third.
    node.poll(
        {node.from(2, 2, AppendEntries{{Term{1}, Index{3}}, Index{4}, entries_after(3, {2})})});
    propose(node, 14);
    node.poll();
    using enum TransitionState;
    CHECK(node.machine.states_of(11) == std::vector{queued, committed, applied});
    CHECK(node.machine.states_of(12) == std::vector{queued, committed, applied});
    CHECK(node.machine.states_of(13) == std::vector{queued, abandoned_conflict_with_leader});
    CHECK(node.machine.states_of(14) == std::vector{abandoned_not_leader});
    CHECK(node.machine.applied == Numbers{11, 12, 204});
}

TEST_CASE("8: another command that commits in its place does not make a command committed") {
    Node node = with_log({1}, 1);
    make_leader(node);
    propose(node, 11);
    node.poll();
    // The next leader's log has older entries where this one's are.
    node.poll({node.from(2, 3, append(1, 1, {1, 1, 3}, 3))});
    CHECK(node.machine.applied == Numbers{101, 102, 103});
    CHECK(node.machine.states_of(11) == std::vector{TransitionState::queued});
    node.poll({node.from(2, 3, append(4, 3, {}, 4))});
    CHECK(node.machine.states_of(11) ==
          std::vector{TransitionState::queued, TransitionState::abandoned_conflict_with_leader});
}

// ===== Deviation: PreVote [PhD 9.6] ==============================================================

TEST_CASE("[PhD 9.6]: who times out first asks whether it would win; term and vote stay") {
    Node node = with_log({1, 2}, 4);
    node.poll({node.from(3, 4, append(2, 2, {}))});
    std::size_t calls = node.disk.calls.size();
    node.sent();
    node.time_out();
    auto asked = take<RequestVote>(node);
    REQUIRE(asked.size() == 2);
    for (const auto& request : asked) {
        CHECK(request.term == 4);
        CHECK(request.body.pre_vote);
        CHECK(request.body.last_log.index == Index{2});
        CHECK(request.body.last_log.term == Term{2});
    }
    CHECK(role_of(node) == Role::pre_candidate);
    CHECK(term_of(node) == 4);
    CHECK(leader_of(node) == 0);
    CHECK(node.disk.calls.size() == calls);
}

TEST_CASE("[PhD 9.6]: a replica that reaches no majority raises no term, however long") {
    Node node;
    node.poll();
    for (int i = 0; i < 50; ++i) node.time_out();
    CHECK(term_of(node) == 0);
    CHECK(node.status().counters.elections_started == 0);
    CHECK(node.disk.calls.empty());
}

TEST_CASE("[PhD 9.6]: a majority of grants makes a candidate of the next term") {
    Node node{1, {2, 3, 4, 5}};
    node.poll();
    node.time_out();
    node.poll({node.from(2, 0, pre_granted), node.from(2, 0, pre_granted)});
    CHECK(role_of(node) == Role::pre_candidate);
    node.poll({node.from(3, 1, RequestVoteResponse{true, false})});
    CHECK(role_of(node) == Role::follower);
    node.time_out();
    node.poll({node.from(2, 1, pre_granted), node.from(4, 1, pre_granted)});
    CHECK(role_of(node) == Role::candidate);
    CHECK(term_of(node) == 2);
}

TEST_CASE("[PhD 9.6]: a grant binds nobody, and the next term does not begin with it") {
    Node node = with_log({1}, 4);
    node.poll();
    for (std::uint64_t peer : Numbers{2, 3}) {
        auto answer = ask<RequestVoteResponse>(node, peer, 4, pre_vote(1, 1));
        CHECK(answer.body.vote_granted);
        CHECK(answer.body.pre_vote);
        CHECK(answer.term == 4);
    }
    CHECK(term_of(node) == 4);
    CHECK(vote_of(node) == 0);
    CHECK(node.disk.calls.empty());
    CHECK(is_granted(node, 3, 5, vote(1, 1)));
}

TEST_CASE("[PhD 9.6]: the log is checked") {
    Node node = with_log({1, 2}, 4);
    node.poll();
    auto answer = ask<RequestVoteResponse>(node, 2, 4, pre_vote(1, 1));
    CHECK_FALSE(answer.body.vote_granted);
    CHECK(answer.body.pre_vote);
    CHECK(answer.term == 4);
    CHECK(is_granted(node, 3, 4, pre_vote(2, 2)));
}

TEST_CASE("[PhD 9.6]: who asks brings its own term along, which somebody entered, and no other") {
    for (RequestVote request : {pre_vote(1, 1), pre_vote(2, 2)}) {
        Node node = with_log({1, 2}, 4);
        node.poll();
        bool up_to_date = request.last_log.index == Index{2};
        auto answer = ask<RequestVoteResponse>(node, 2, 9, request);
        CHECK(answer.body.vote_granted == up_to_date);
        CHECK(answer.term == 9);
        CHECK(term_of(node) == 9);
        CHECK(vote_of(node) == 0);
    }
}

TEST_CASE("[PhD 9.6]: one that never took part may ask, in term 0; nobody votes in it") {
    Node node;
    node.poll();
    CHECK(is_granted(node, 2, 0, pre_vote(0, 0)));
    CHECK(node.disk.calls.empty());
    node.poll({node.from(2, 0, vote(0, 0))});
    CHECK(node.sent().empty());
    CHECK(node.status().counters.malformed == 1);
}

TEST_CASE(
    "[PhD 9.6]: it is about the next term, so votes in this one do not count, its leader does") {
    Node node;
    node.poll();
    REQUIRE(is_granted(node, 2, 3, vote(0, 0)));
    CHECK(is_granted(node, 2, 3, pre_vote(0, 0)));
    CHECK(is_granted(node, 3, 3, pre_vote(0, 0)));
    Node other;
    other.poll({other.from(2, 3, append(0, 0, {}))});
    CHECK_FALSE(is_granted(other, 3, 3, pre_vote(0, 0)));
    other.now += other.options.election_timeout_range.min;
    CHECK(is_granted(other, 3, 3, pre_vote(0, 0)));
}

TEST_CASE("[PhD 9.6]: one who asks from a term of the past learns of the present") {
    Node node = with_log({1}, 7);
    node.poll();
    auto answer = ask<RequestVoteResponse>(node, 2, 5, pre_vote(9, 4));
    CHECK_FALSE(answer.body.vote_granted);
    CHECK(answer.term == 7);
    Node asker = with_log({1}, 4);
    bring_to(asker, Role::pre_candidate);
    asker.poll({asker.from(2, 7, RequestVoteResponse{true, false})});
    CHECK(role_of(asker) == Role::follower);
    CHECK(term_of(asker) == 7);
}

TEST_CASE("[PhD 9.6]: an answer counts for its own question and its own term") {
    Node node = with_log({1}, 4);
    bring_to(node, Role::pre_candidate);
    node.poll({node.from(2, 3, pre_granted), node.from(2, 4, granted), node.from(3, 4, granted)});
    CHECK(role_of(node) == Role::pre_candidate);
    CHECK(term_of(node) == 4);
    node.poll({node.from(2, 4, pre_granted)});
    REQUIRE(role_of(node) == Role::candidate);
    node.poll({node.from(2, 4, pre_granted), node.from(3, 4, pre_granted),
               node.from(2, 5, pre_granted), node.from(3, 5, pre_granted)});
    CHECK(role_of(node) == Role::candidate);
    CHECK(term_of(node) == 5);
    node.poll({node.from(2, 5, granted)});
    CHECK(role_of(node) == Role::leader);
}

TEST_CASE("[PhD 9.6]: a candidate that loses asks again first, so it burns one term, not many") {
    Node node;
    make_candidate(node);
    REQUIRE(term_of(node) == 1);
    for (int i = 0; i < 20; ++i) node.time_out();
    CHECK(term_of(node) == 1);
    CHECK(role_of(node) == Role::pre_candidate);
}

TEST_CASE("[PhD 9.6]: one that was cut off does not disturb the leader when it is back") {
    Group group(3);
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    group.beat(1, {1, 2, 3});
    for (int i = 0; i < 10; ++i) {
        group[3].time_out();
        group.beat(1, {1, 2});
    }
    group[3].time_out();
    group.settle({1, 2, 3});
    group.beat(1, {1, 2, 3});
    CHECK(role_of(group[1]) == Role::leader);
    for (Node& node : group.nodes) {
        CHECK(term_of(node) == 1);
        CHECK(leader_of(node) == 1);
    }
}

// ===== Deviation: stickiness [PhD 4.2.3] and CheckQuorum [PhD 6.2] ===============================

TEST_CASE("[PhD 4.2.3]: who heard from a leader within the minimum timeout helps nobody else") {
    for (RequestVote request : {vote(9, 9), pre_vote(9, 9)}) {
        Node node{1, {2, 3}};
        node.now += 300ms;
        node.poll({node.from(2, 1, append(0, 0, {}))});
        node.sent();
        node.now += node.options.election_timeout_range.min - 1ms;
        node.poll({node.from(3, 10, request)});
        CHECK(node.sent().empty());
        CHECK(term_of(node) == 1);
        CHECK(vote_of(node) == 0);
        CHECK(leader_of(node) == 2);
        node.now += 1ms;
        CHECK(is_granted(node, 3, 10, request));
    }
}

TEST_CASE("[PhD 4.2.3]: a leader is not deposed by a request for votes, but by a leader it is") {
    Node node;
    make_followed_leader(node);
    node.poll({node.from(3, 9, vote(9, 9)), node.from(3, 9, pre_vote(9, 9))});
    CHECK(node.sent().empty());
    CHECK(role_of(node) == Role::leader);
    CHECK(term_of(node) == 1);
    CHECK(ask_append(node, 3, 9, append(1, 1, {9})).body.success);
    CHECK(role_of(node) == Role::follower);
    CHECK(leader_of(node) == 3);
}

TEST_CASE("[PhD 6.4.1]: whoever heard a leader votes for no other for a while, whatever the term") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {})), node.from(2, 2, RequestVoteResponse{})});
    CHECK(term_of(node) == 2);
    CHECK(leader_of(node) == 0);
    node.advance(499ms);
    node.poll({node.from(3, 3, vote(0, 0))});
    CHECK(vote_of(node) == 0);
    CHECK(term_of(node) == 2);
    node.now += 1ms;
    node.poll({node.from(3, 3, vote(0, 0))});
    CHECK(vote_of(node) == 3);
}

TEST_CASE("[PhD 6.2]: who has just won has an election timeout to be heard in") {
    Node node;
    node.poll();
    node.time_out();
    node.poll({node.from(2, 0, lr::RequestVoteResponse{true, true})});
    node.advance(node.options.election_timeout_range.min - 1ms);
    node.poll({node.from(2, 1, lr::RequestVoteResponse{false, true})});
    REQUIRE(role_of(node) == Role::leader);
    node.advance(node.options.election_timeout_range.max - 1ms);
    CHECK(role_of(node) == Role::leader);
    node.advance(1ms);
    CHECK(role_of(node) == Role::follower);
}

TEST_CASE("[PhD 6.2]: a leader that no majority answers for an election timeout stands down") {
    Node node{1, {2, 3, 4, 5}};
    make_followed_leader(node);
    propose(node, 7);
    node.poll();
    node.now += 600ms;
    node.poll({node.from(2, 1, success(1))});
    node.advance(399ms);
    CHECK(role_of(node) == Role::leader);
    node.sent();
    node.advance(1ms);
    CHECK(role_of(node) == Role::follower);
    CHECK(leader_of(node) == 0);
    CHECK(term_of(node) == 1);
    CHECK(vote_of(node) == 1);
    // The entry stays: another leader may still commit it.
    CHECK(log_of(node) == Numbers{1, 1});
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued});
    node.sent();
    node.advance(node.options.heartbeat_timeout);
    CHECK(node.sent().empty());
}

TEST_CASE(
    "[PhD 6.2]: the timeout runs from when a majority was last heard, not from the last look") {
    Node node{1, {2, 3, 4, 5}};
    make_followed_leader(node);
    node.now += 600ms;
    node.poll({node.from(2, 1, success(1))});
    node.now += 100ms;
    node.poll({node.from(3, 1, success(1))});
    for (int i = 0; i < 8; ++i) {
        node.advance(100ms);
        CHECK(role_of(node) == Role::leader);
    }
    node.advance(99ms);
    CHECK(role_of(node) == Role::leader);
    node.advance(1ms);
    CHECK(role_of(node) == Role::follower);
}

TEST_CASE(
    "[PhD 6.2]: a leader that stood down waits an election timeout before it asks for votes") {
    Node node{1, {2, 3}, sharp()};
    make_followed_leader(node);
    node.advance(500ms);
    REQUIRE(role_of(node) == Role::follower);
    node.advance(499ms);
    CHECK(role_of(node) == Role::follower);
    node.advance(1ms);
    CHECK(role_of(node) == Role::pre_candidate);
}

TEST_CASE("[PhD 6.2]: a leader that a majority answers stays, for as long as it does") {
    Node node{1, {2, 3, 4, 5}};
    make_followed_leader(node);
    for (int i = 0; i < 20; ++i) {
        node.now += 900ms;
        // A refusal is an answer too.
        node.poll({node.from(2, 1, success(1)), node.from(3, 1, reject(1, 1, 1))});
        CHECK(role_of(node) == Role::leader);
    }
    node.advance(1000ms);
    CHECK(role_of(node) == Role::follower);
}

TEST_CASE("[PhD 6.2]: a cluster of one answers itself") {
    Node node{1, {}};
    node.elect();
    REQUIRE(role_of(node) == Role::leader);
    for (int i = 0; i < 10; ++i) node.advance(5s);
    CHECK(role_of(node) == Role::leader);
    CHECK(term_of(node) == 1);
}

// ===== Deviation: a request of a lower term is answered ==========================================

TEST_CASE("Deviates: an append or a snapshot of a lower term frees the leader that is behind") {
    Node node = with_log({}, 8);
    node.poll();
    for (auto body : {decltype(Message::body){append(0, 0, {})},
                      decltype(Message::body){snapshot(9, 1, {7})}}) {
        node.poll({node.from(2, 3, body)});
        auto answer = take_one<AppendEntriesResponse>(node);
        CHECK(answer.term == 8);
        CHECK_FALSE(answer.body.success);
        Node leader{2, {1, 3}};
        make_leader(leader);
        leader.poll({leader.from(1, answer.term, answer.body)});
        CHECK(role_of(leader) == Role::follower);
        CHECK(term_of(leader) == 8);
    }
}

TEST_CASE("Deviates: a replica of a higher term that no one follows comes back into the cluster") {
    Group group(3);
    group.set_log(3, {}, 9);
    group.boot();
    REQUIRE(group.elect(1, {1, 2}));
    REQUIRE(term_of(group[1]) == 1);
    propose(group[1], 7);
    group.beat(1, {1, 2});
    group.beat(1, {1, 2, 3});
    CHECK(role_of(group[1]) == Role::follower);
    CHECK(term_of(group[1]) == 9);
    REQUIRE(group.elect(1, {1, 2, 3}));
    group.beat(1, {1, 2, 3});
    for (Node& node : group.nodes) {
        CHECK(term_of(node) > 9);
        CHECK(node.machine.applied == Numbers{7});
    }
}

TEST_CASE("Deviates: an answer of a lower term is dropped, and answered by nothing") {
    Node node = with_log({1, 1}, 5);
    bring_to(node, Role::leader);
    std::uint64_t dropped = node.status().counters.dropped;
    node.poll({node.from(2, 5, success(3)), node.from(3, 5, success(3)),
               node.from(2, 4, reject(2, 0, 0)), node.from(3, 5, granted)});
    CHECK(node.sent().empty());
    CHECK(commit_of(node) == 0);
    CHECK(match_of(node, 2) == 0);
    CHECK(node.status().counters.dropped == dropped + 4);
}

// ===== Deviation: how entries are streamed [PhD 10.2] ============================================

TEST_CASE("Deviates: until the logs are known to meet, one append goes and an answer is awaited") {
    Node node;
    make_leader(node);
    CHECK(take_to<AppendEntries>(node, 2).size() == 1);
    for (std::uint64_t id = 1; id <= 3; ++id) {
        propose(node, id);
        node.poll();
        CHECK(take_to<AppendEntries>(node, 2).empty());
    }
    node.poll({node.from(2, 1, success(1))});
    auto sent = take_to<AppendEntries>(node, 2);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].prev_log.index == Index{1});
    CHECK(sent[0].entries.size() == 3);
}

TEST_CASE("[PhD 10.2.1]: then entries are streamed, with no answer to those before") {
    Node node;
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 3; ++id) {
        propose(node, id);
        node.poll();
        auto sent = take_to<AppendEntries>(node, 2);
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].prev_log.index == Index{id});
        CHECK(sent[0].entries.size() == 1);
    }
    CHECK(match_of(node, 2) == 1);
    CHECK(next_of(node, 2) == 5);
}

TEST_CASE("[PhD 10.2.1]: all that a window has room for goes at once, in several messages") {
    Options options;
    options.append_bytes_max = 2 * sizeof(Entry);
    Node node{1, {2, 3}, options};
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 5; ++id) propose(node, id);
    node.poll();
    auto sent = take_to<AppendEntries>(node, 2);
    REQUIRE(sent.size() == 3);
    CHECK(sent[0].entries.size() == 2);
    CHECK(sent[1].entries.size() == 2);
    CHECK(sent[2].entries.size() == 1);
    CHECK(sent[2].prev_log.index == Index{5});
}

TEST_CASE("[PhD 10.2.1]: entries go out while the leader writes; it counts itself only after") {
    SUBCASE("the appends of a leader do not wait for its disk") {
        Node node;
        make_followed_leader(node);
        node.disk.sync_fails = true;
        propose(node, 7);
        node.poll();
        CHECK(take<AppendEntries>(node).size() == 2);
    }
    SUBCASE("what is not durable is not committed") {
        Node node{1, {}};
        node.elect();
        REQUIRE(commit_of(node) == 1);
        node.disk.sync_fails = true;
        propose(node, 7);
        node.poll();
        CHECK(commit_of(node) == 1);
        CHECK(node.machine.applied.empty());
        CHECK(node.machine.states_of(7) ==
              std::vector{TransitionState::queued, TransitionState::outcome_unknown});
    }
    SUBCASE("nor is a vote counted") {
        Node node{1, {}};
        node.poll();
        node.time_out();
        node.disk.sync_fails = true;
        for (int i = 0; i < 4; ++i) node.poll();
        CHECK(node.status().last_log_index == Index{0});  // A leader would have begun its term.
    }
}

TEST_CASE("Deviates: a cluster of one has no path of its own: vote, write, lead, write, commit") {
    Node node{1, {}};
    node.poll();
    node.time_out();
    CHECK(role_of(node) == Role::candidate);
    node.poll();
    CHECK(vote_of(node) == 1);
    CHECK(role_of(node) == Role::leader);
    CHECK(commit_of(node) == 0);
    propose(node, 7);
    node.poll();
    CHECK(log_of(node) == Numbers{1, 1});
    CHECK(commit_of(node) == 2);
    CHECK(node.machine.applied == Numbers{7});
}

TEST_CASE("Deviates: when the window is full nothing new goes, but empty appends do") {
    Options options;
    options.inflight_messages_max = 2;
    Node node{1, {2, 3}, options};
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 4; ++id) {
        propose(node, id);
        node.poll();
    }
    CHECK(take_to<AppendEntries>(node, 2).size() == 2);
    node.advance(options.heartbeat_timeout);
    auto beats = take_to<AppendEntries>(node, 2);
    REQUIRE(beats.size() == 1);
    CHECK(beats[0].entries.empty());
    CHECK(beats[0].prev_log.index == Index{3});  // The last that was sent.
    // Both messages were lost.
    node.poll({node.from(2, 1, reject(3, 1, 1))});
    auto sent = take_to<AppendEntries>(node, 2);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].prev_log.index == Index{1});
    CHECK(sent[0].entries.size() == 4);
}

TEST_CASE("Deviates: an acknowledgement makes room in the window") {
    Options options;
    options.inflight_messages_max = 2;
    Node node{1, {2, 3}, options};
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 4; ++id) {
        propose(node, id);
        node.poll();
    }
    node.sent();
    node.poll({node.from(2, 1, success(2))});
    auto sent = take_to<AppendEntries>(node, 2);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].prev_log.index == Index{3});
    CHECK(sent[0].entries.size() == 2);
}

TEST_CASE("Deviates: a late refusal is ignored where the follower is known to have the entry") {
    Node node = with_log({1, 1, 1}, 1);
    make_followed_leader(node);
    REQUIRE(match_of(node, 2) == 4);
    for (std::uint64_t prev : Numbers{0, 1, 3, 4}) {
        node.poll({node.from(2, 2, reject(prev, 0, 0))});
        CHECK(match_of(node, 2) == 4);
        CHECK(next_of(node, 2) == 5);
        CHECK(node.sent().empty());
    }
}

TEST_CASE(
    "Deviates: a late refusal is ignored while the leader looks anew for where the logs meet") {
    Node node;
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 3; ++id) propose(node, id);
    node.poll();
    node.poll({node.from(2, 1, reject(4, 1, 1))});
    REQUIRE(next_of(node, 2) == 2);
    node.sent();
    node.poll({node.from(2, 1, reject(1, 0, 0))});
    CHECK(next_of(node, 2) == 2);
    CHECK(node.sent().empty());
}

TEST_CASE("Deviates: a refusal of a probe that is not the last is ignored") {
    Node node = with_log({1, 1, 1, 4, 4, 4}, 4);
    make_leader(node);
    node.sent();
    node.poll({node.from(2, 5, reject(6, 6, 3))});
    REQUIRE(take_to<AppendEntries>(node, 2).size() == 1);
    REQUIRE(next_of(node, 2) == 4);
    for (const AppendEntriesResponse& late :
         {reject(6, 6, 3), reject(6, 1, 1), reject(5, 1, 1), reject(2, 1, 1), reject(1, 0, 0)}) {
        node.poll({node.from(2, 5, late)});
        CHECK(node.sent().empty());
        CHECK(next_of(node, 2) == 4);
    }
    node.poll({node.from(2, 5, reject(3, 2, 1))});
    CHECK(next_of(node, 2) == 3);
}

TEST_CASE("Deviates: a refusal while entries are streamed begins again behind what is known") {
    Node node;
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 3; ++id) {
        propose(node, id);
        node.poll();
    }
    node.sent();
    node.poll({node.from(2, 1, reject(3, 1, 1))});
    auto sent = take_to<AppendEntries>(node, 2);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].prev_log.index == Index{1});
    CHECK(sent[0].entries.size() == 3);
    // Those behind the lost one are refused too; that says nothing new.
    node.poll({node.from(2, 1, reject(2, 1, 1))});
    CHECK(match_of(node, 2) == 1);
    CHECK(next_of(node, 2) >= 2);
}

TEST_CASE("Deviates: an append before what is committed is a success, with the commit index") {
    Node node = with_snapshot(4, {1, 1}, 2);
    node.poll({node.from(2, 2, append(6, 1, {}, 6))});
    // Of its log's past, of what its snapshot took, with entries, and past the end of its log.
    for (const AppendEntries& request :
         {append(5, 1, {}), append(2, 1, {1, 1}), append(0, 0, {1, 1, 1, 1, 1, 1}),
          append(3, 1, {1, 1, 1, 2, 2})}) {
        auto answer = ask_append(node, 2, 2, request);
        CHECK(answer.body.success);
        CHECK(answer.body.match_index == Index{6});
        CHECK(commit_of(node) == 6);
        CHECK(log_of(node) == Numbers{1, 1});
    }
}

// ===== What other implementations got wrong ======================================================

TEST_CASE("regression: a vote that comes twice is one vote") {
    Node node{1, {2, 3, 4, 5}};
    make_candidate(node);
    for (int i = 0; i < 5; ++i) node.poll({node.from(2, 1, granted), node.from(2, 1, granted)});
    CHECK(role_of(node) == Role::candidate);
    node.poll({node.from(5, 1, granted)});
    CHECK(role_of(node) == Role::leader);
}

TEST_CASE("regression: votes of an earlier election are gone in the next") {
    Node node{1, {2, 3, 4, 5}};
    make_candidate(node);
    node.poll({node.from(2, 1, granted)});
    node.time_out();
    node.poll({node.from(3, 1, pre_granted), node.from(4, 1, pre_granted)});
    REQUIRE(role_of(node) == Role::candidate);
    node.poll({node.from(3, 2, granted)});
    CHECK(role_of(node) == Role::candidate);
}

TEST_CASE("regression: votes that come after a step-down count for nothing") {
    Node node;
    make_candidate(node);
    node.poll({node.from(3, 1, append(0, 0, {1})), node.from(2, 1, granted)});
    CHECK(role_of(node) == Role::follower);
    CHECK(leader_of(node) == 3);
}

TEST_CASE("regression: a vote is kept through a step-down within its term") {
    SUBCASE("by another leader's append") {
        Node node;
        make_candidate(node);
        node.poll({node.from(2, 1, append(0, 0, {}))});
        REQUIRE(role_of(node) == Role::follower);
        CHECK(vote_of(node) == 1);
        CHECK_FALSE(is_granted(node, 3, 1, vote(9, 1)));
    }
    SUBCASE("by CheckQuorum") {
        Node node;
        make_followed_leader(node);
        node.advance(node.options.election_timeout_range.max);
        REQUIRE(role_of(node) == Role::follower);
        REQUIRE(term_of(node) == 1);
        CHECK(vote_of(node) == 1);
        CHECK_FALSE(is_granted(node, 3, 1, vote(9, 1)));
    }
    SUBCASE("by a time-out of its own, and a crash") {
        Node node;
        make_candidate(node);
        node.time_out();
        REQUIRE(role_of(node) == Role::pre_candidate);
        node.restart();
        CHECK(vote_of(node) == 1);
        CHECK_FALSE(is_granted(node, 3, 1, vote(9, 1)));
    }
}

TEST_CASE("regression: a success tells prev + count, not the follower's last index") {
    Node node = with_log({1, 1, 1, 1}, 2);
    CHECK(ask_append(node, 2, 2, append(0, 0, {})).body.match_index == Index{0});
    CHECK(ask_append(node, 2, 2, append(1, 1, {})).body.match_index == Index{1});
    CHECK(ask_append(node, 2, 2, append(1, 1, {1})).body.match_index == Index{2});
}

TEST_CASE("regression: the leader takes as matched what the answer says, not its own last index") {
    Node node;
    make_leader(node);
    propose(node, 7);
    node.poll();
    node.poll({node.from(2, 1, success(1))});
    CHECK(match_of(node, 2) == 1);
    CHECK(commit_of(node) == 1);
    CHECK(node.machine.applied.empty());
}

TEST_CASE("regression: the leader takes nothing as matched that its log does not have") {
    Node node;
    make_leader(node);
    node.poll({node.from(2, 1, success(2)), node.from(3, 1, success(9))});
    CHECK(match_of(node, 2) == 0);
    CHECK(match_of(node, 3) == 0);
    CHECK(commit_of(node) == 0);
}

TEST_CASE("regression: matchIndex never falls") {
    Node node{1, {2, 3, 4, 5}};
    make_followed_leader(node);
    for (std::uint64_t id = 1; id <= 3; ++id) propose(node, id);
    node.poll();
    node.poll({node.from(2, 1, success(4))});
    node.poll({node.from(2, 1, success(2))});
    CHECK(match_of(node, 2) == 4);
    CHECK(next_of(node, 2) == 5);
    node.poll({node.from(3, 1, success(4))});
    CHECK(commit_of(node) == 4);
}

TEST_CASE("regression: the follower's commit index is capped by what is verified, not by its log") {
    Node node = with_log({1, 1, 1, 1}, 2);
    node.poll({node.from(2, 2, append(1, 1, {}, 4))});
    CHECK(commit_of(node) == 1);
    node.poll({node.from(2, 2, append(1, 1, {2}, 9))});
    CHECK(commit_of(node) == 2);
    CHECK(node.machine.applied == Numbers{101, 202});
}

TEST_CASE("regression: an empty append never cuts off a suffix") {
    Node node = with_log({1, 1, 1}, 1);
    for (std::uint64_t prev = 0; prev <= 3; ++prev) {
        CHECK(ask_append(node, 2, 1, append(prev, prev == 0 ? 0 : 1, {})).body.success);
        CHECK(log_of(node) == Numbers{1, 1, 1});
    }
}

TEST_CASE("regression: a late append with fewer entries never cuts off what a newer one brought") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {1, 1, 1, 1}))});
    CHECK(ask_append(node, 2, 1, append(0, 0, {1})).body.match_index == Index{1});
    CHECK(ask_append(node, 2, 1, append(1, 1, {1, 1})).body.match_index == Index{3});
    CHECK(log_of(node) == Numbers{1, 1, 1, 1});
    CHECK(node.status().last_log_index == Index{4});
}

TEST_CASE("regression: a snapshot lowers neither term nor commit index") {
    Node node = with_log({1, 1}, 7);
    node.poll({node.from(2, 7, append(2, 1, {}, 2))});
    node.poll({node.from(2, 7, snapshot(1, 1, {9})), node.from(2, 7, snapshot(2, 1, {9}))});
    CHECK(commit_of(node) == 2);
    node.poll({node.from(2, 7, snapshot(5, 3, {1, 2, 3, 4, 5}))});
    CHECK(term_of(node) == 7);
    CHECK(node.disk.durable.term == Term{7});
    CHECK(commit_of(node) == 5);
    CHECK_FALSE(ask_append(node, 3, 4, append(5, 3, {4})).body.success);
}

TEST_CASE("regression: behind a snapshot, truncation cuts at the right place") {
    Node node = with_snapshot(4, {2, 2, 2}, 3);
    CHECK(ask_append(node, 2, 3, append(5, 2, {3})).body.match_index == Index{6});
    CHECK(log_of(node) == Numbers{2, 3});
    CHECK(node.status().last_log_index == Index{6});
    node.poll({node.from(2, 3, append(6, 3, {}, 6))});
    CHECK(node.machine.applied == Numbers{101, 102, 103, 104, 205, 306});
}

TEST_CASE(
    "regression: behind a snapshot, truncation gives up the right transitions, once it is sure") {
    Node node = with_snapshot(4, {}, 1);
    make_followed_leader(node);
    for (std::uint64_t id = 11; id <= 13; ++id) propose(node, id);
    node.poll();
    using enum TransitionState;
    node.poll({node.from(2, 3, append(7, 2, {3}))});
    CHECK(log_of(node) == Numbers{2, 2, 2, 3});
    // As long as nothing later is committed, each of them may still commit.
    for (std::uint64_t id = 11; id <= 13; ++id) {
        CHECK(node.machine.states_of(id) == std::vector{queued});
    }
    node.poll({node.from(2, 3, append(8, 3, {}, 8))});
    CHECK(node.machine.states_of(11) == std::vector{queued, committed, applied});
    CHECK(node.machine.states_of(12) == std::vector{queued, committed, applied});
    CHECK(node.machine.states_of(13) == std::vector{queued, abandoned_conflict_with_leader});
}

TEST_CASE("regression: a snapshot over own transitions ends them: unknown, or replaced") {
    Node node;
    make_leader(node);
    for (std::uint64_t id = 11; id <= 13; ++id) propose(node, id);
    node.poll();
    node.poll({node.from(2, 3, snapshot(3, 3, {1, 2}))});
    using enum TransitionState;
    CHECK(node.machine.states_of(11) == std::vector{queued, outcome_unknown});
    CHECK(node.machine.states_of(12) == std::vector{queued, outcome_unknown});
    CHECK(node.machine.states_of(13) == std::vector{queued, abandoned_conflict_with_leader});
}

TEST_CASE("regression: a snapshot leaves open what is of its term and behind it; it may commit") {
    Node node;
    make_followed_leader(node);
    for (std::uint64_t id = 11; id <= 13; ++id) propose(node, id);  // At 2 to 4, of term 1.
    node.poll();
    // Another leader's entry replaces them here; the next leader had them, and its snapshot's last
    // entry is the first of them.
    node.poll({node.from(3, 2, append(1, 1, {2}))});
    node.poll({node.from(2, 3, snapshot(2, 1, {11}))});
    using enum TransitionState;
    CHECK(node.machine.states_of(11) == std::vector{queued, outcome_unknown});
    CHECK(node.machine.states_of(12) == std::vector{queued});
    CHECK(node.machine.states_of(13) == std::vector{queued});
    AppendEntries rest{{Term{1}, Index{2}}, Index{5}, {}};
    for (std::uint64_t id : Numbers{12, 13}) rest.entries.push_back({Term{1}, Command{id, id}});
    rest.entries.push_back({Term{3}, lr::Noop{}});
    node.poll({node.from(2, 3, rest)});
    CHECK(node.machine.applied == Numbers{11, 12, 13});
    CHECK(node.machine.states_of(12) == std::vector{queued, committed, applied});
    CHECK(node.machine.states_of(13) == std::vector{queued, committed, applied});
}

TEST_CASE("regression: a snapshot leaves open what may commit, in a history of five replicas") {
    Options options;
    options.append_bytes_max = 2 * sizeof(Entry);
    Group group(5, options);
    group[4].options.snapshot_delta = 5;
    group[4].options.snapshot_trailing = 0;
    for (Node& node : group.nodes) node.disk = std::move(with_log({1, 1, 1}, 1).disk);
    group.boot();
    const Numbers all{1, 2, 3, 4, 5};
    REQUIRE(group.elect(1, all));
    for (std::uint64_t id = 11; id <= 13; ++id) propose(group[1], id);
    group.beat(1, {1, 2});
    REQUIRE(log_of(group[2]) == Numbers{1, 1, 1, 2, 2, 2, 2});
    group[1].time_out();
    REQUIRE(group.elect(3, {3, 4, 5}));
    group.beat(3, {1, 3});
    REQUIRE(log_of(group[1]) == Numbers{1, 1, 1, 3});
    group[3].time_out();
    REQUIRE(group.elect(2, {2, 4, 5}));
    group.beat(2, {2, 3, 5});
    REQUIRE(commit_of(group[2]) == 8);
    group.beat(2, {2, 4});
    REQUIRE(group[4].status().snapshot.index == Index{5});
    REQUIRE(group[4].status().last_applied == Index{8});
    group[2].time_out();
    REQUIRE(group.elect(4, {3, 4, 5}));
    group.beat(4, {1, 3, 4, 5});
    group.beat(4, {1, 3, 4, 5});
    CHECK(group[1].machine.set_snapshot_calls == 1);
    using enum TransitionState;
    CHECK(group[1].machine.applied == Numbers{101, 102, 103, 11, 12, 13});
    CHECK(group[1].machine.states_of(11) == std::vector{queued, outcome_unknown});
    CHECK(group[1].machine.states_of(12) == std::vector{queued, committed, applied});
    CHECK(group[1].machine.states_of(13) == std::vector{queued, committed, applied});
}

TEST_CASE("regression: term and vote are written together, and before the vote leaves") {
    Node node;
    node.poll();
    REQUIRE(is_granted(node, 2, 5, vote(0, 0)));
    CHECK(node.disk.calls == std::vector<std::string>{"save_vote", "sync"});
    CHECK(node.disk.durable.term == Term{5});
    CHECK(vote_of(node) == 2);
}

TEST_CASE("regression: nextIndex never falls below 1, however often the follower refuses") {
    Node node = with_log({1, 1}, 1);
    make_leader(node);
    for (int i = 0; i < 10; ++i) {
        for (std::uint64_t prev : Numbers{2, 1, 0}) {
            node.poll({node.from(2, 2, reject(prev, 0, 0)), node.from(2, 2, reject(prev, 0, 0))});
            CHECK(next_of(node, 2) >= 1);
            CHECK(next_of(node, 2) <= 4);
        }
    }
    for (const AppendEntries& request : take_to<AppendEntries>(node, 2)) {
        CHECK(request.prev_log.index <= Index{3});
    }
}

TEST_CASE("regression: nextIndex stays above matchIndex, whatever a refusal says") {
    Node node = with_log({1, 1, 1}, 1);
    make_leader(node);
    node.poll({node.from(2, 2, success(2)), node.from(2, 2, reject(3, 0, 0)),
               node.from(2, 2, reject(3, 0, 0)), node.from(2, 2, reject(3, 1, 1))});
    CHECK(match_of(node, 2) == 2);
    CHECK(next_of(node, 2) >= 3);
}

TEST_CASE("regression: a probe that waits while the log is cut past it ends up in a snapshot") {
    Node node{1, {2, 3}, small_snapshots()};
    make_leader(node);
    // Replica 3 answers, replica 2 does not: its probe waits.
    for (std::uint64_t id = 1; id <= 5; ++id) {
        propose(node, id);
        node.poll();
        node.poll({node.from(3, 1, success(id + 1))});
    }
    node.poll();
    REQUIRE(node.status().first_log_index > Index{next_of(node, 2)});
    node.sent();
    node.advance(node.options.heartbeat_timeout);
    auto beat = take_to<AppendEntries>(node, 2);
    REQUIRE(beat.size() == 1);
    CHECK(beat[0].entries.empty());
    CHECK(beat[0].prev_log.index == node.status().first_log_index - 1);
    node.poll({node.from(2, 1, reject(beat[0].prev_log.index.value, 0, 0))});
    CHECK(take_to<InstallSnapshot>(node, 2).size() == 1);
}

TEST_CASE("regression: a follower that comes back empty-handed ends up in a snapshot") {
    Group group(3, small_snapshots());
    group.boot();
    REQUIRE(group.elect(1, {1, 2, 3}));
    group.beat(1, {1, 2});
    for (std::uint64_t id = 1; id <= 7; ++id) {
        propose(group[1], id);
        group.beat(1, {1, 2});
    }
    REQUIRE(group[1].status().first_log_index > Index{4});
    REQUIRE(match_of(group[1], 3) == 0);
    group.crash(3);
    group.beat(1, {1, 3});
    group.beat(1, {1, 3});
    CHECK(group[3].machine.applied == Numbers{1, 2, 3, 4, 5, 6, 7});
    CHECK(group[3].machine.set_snapshot_calls == 1);
}

TEST_CASE("regression: a heartbeat does not undo what a refusal just taught about a probe") {
    Node node = sending_snapshot();
    make_leader(node);
    node.poll({node.from(2, 2, reject(5, 4, 1))});
    node.sent();
    node.now += node.options.heartbeat_timeout;
    node.poll({node.from(2, 2, reject(4, 0, 0))});
    CHECK(take_to<InstallSnapshot>(node, 2).size() == 1);
}

TEST_CASE("regression: an entry that was cut off is taken when a leader brings it again") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, {1, 1}))});
    node.poll({node.from(3, 2, append(1, 1, {2, 2}))});
    CHECK(ask_append(node, 2, 3, append(0, 0, {1, 1, 3})).body.match_index == Index{3});
    CHECK(log_of(node) == Numbers{1, 1, 3});
}
