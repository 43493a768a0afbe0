// A Storage that syncs while the replica goes on [PhD 10.2.1]: what waits for it, and what does
// not.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"
#include "testing/inspect.hpp"

namespace {

using namespace support;
using lr::AppendEntriesResponse;
using lr::LogPosition;
using lr::never;
using lr::RequestVote;
using lr::RequestVoteResponse;
using lr::Role;
using lr::Time;
using lr::TransitionState;
using Ids = std::vector<std::uint64_t>;

/// Its syncs end when the test says so; or before they return, with `at_once`.
struct SlowDisk : Disk {
    enum Sync { idle, at_it, ended };
    Sync state = idle;
    bool at_once = false;
    bool fails = false;                 // The sync that is on, or the next.
    std::uint64_t asked = 0;            // How often sync() was called.
    std::vector<std::size_t> appended;  // How many entries each append brought.

    lr::StoredState<Command> load() {
        state = idle;
        return Disk::load();
    }
    void save_vote(Term term, std::optional<ReplicaId> voted_for) {
        CHECK(state == idle);
        Disk::save_vote(term, voted_for);
    }
    void append(Index first_index, const std::vector<Entry>& entries) {
        CHECK(state == idle);
        // The log has no gap.
        REQUIRE(first_index > written.last_included.index);
        REQUIRE(first_index <= written.last_included.index + written.entries.size() + 1);
        REQUIRE_FALSE(entries.empty());
        Disk::append(first_index, entries);
        appended.push_back(entries.size());
    }
    void compact(lr::LogPosition last_included) {
        CHECK(state == idle);
        Disk::compact(last_included);
    }
    std::optional<bool> sync() {
        ++asked;
        if (state == idle) calls.push_back("sync"), state = at_it;
        if (fails) return false;
        if (at_once && state == at_it) end();
        if (state == at_it) return std::nullopt;
        state = idle;
        return true;
    }
    void end() {
        REQUIRE(state == at_it);
        durable = written;
        state = ended;
    }
};
static_assert(lr::Storage<SlowDisk, Command>);
static_assert(lr::Storage<Disk, Command> && std::same_as<decltype(Disk{}.sync()), bool>);

using Slow = NodeOf<Machine, SlowDisk>;
using SlowGroup = GroupOf<Slow>;

/// Polls until there is nothing more to do, which must not take long: to wait for a disk is not to
/// ask for it without end.
void rest(Slow& node) {
    int polls = 0;
    while (node.poll() <= node.now) REQUIRE(++polls < 10);
}

/// The polls of one who syncs at once.
void go_on(Slow& node) {
    rest(node);
    while (node.disk.state == SlowDisk::at_it) {
        node.disk.end();
        rest(node);
    }
}

/// Replica 1, which leads 2 and 3 in term 1; all have its first entry, and its disk has nothing to
/// do.
Slow leading() {
    Slow node;
    node.disk.at_once = true;
    node.elect();
    node.disk.at_once = false;
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{1}, {}}),
               node.from(3, 1, AppendEntriesResponse{true, Index{1}, {}})});
    go_on(node);
    REQUIRE(node.status().role == Role::leader);
    REQUIRE(node.status().commit_index == Index{1});
    node.sent();
    return node;
}

/// Replica 1, which follows 2 in term 1 and has so many of its entries, all durable.
Slow following(std::uint64_t entries) {
    Slow node;
    std::vector<std::uint64_t> terms(entries, 1);
    node.poll({node.from(2, 1, AppendEntries{{}, {}, entries_of_terms(terms)})});
    go_on(node);
    node.sent();
    return node;
}

std::vector<AppendEntriesResponse> responses(Slow& node) {
    return node.sent_of<AppendEntriesResponse>();
}

/// Of the entry there; nothing where this log does not reach, or no longer.
std::optional<Term> term_at(const lr::StoredState<Command>& log, Index index) {
    if (index == log.last_included.index) return log.last_included.term;
    if (index < log.last_included.index) return std::nullopt;
    std::uint64_t place = index - log.last_included.index - 1;
    if (place >= log.entries.size()) return std::nullopt;
    return log.entries[place].term;
}

/// Whether what the message promises is on this disk. `checked` counts those that promise anything.
bool kept(const Message& message, const lr::StoredState<Command>& disk, std::uint64_t& checked) {
    if (auto* vote = std::get_if<RequestVoteResponse>(&message.body)) {
        if (vote->pre_vote || !vote->vote_granted)
            return disk.term >= message.term || vote->pre_vote;
        ++checked;
        return disk.term > message.term ||
               (disk.term == message.term && disk.voted_for == message.to);
    }
    if (auto* request = std::get_if<RequestVote>(&message.body)) {
        if (request->pre_vote) return disk.term >= message.term;
        ++checked;
        return disk.term > message.term ||
               (disk.term == message.term && disk.voted_for == message.from);
    }
    if (auto* response = std::get_if<AppendEntriesResponse>(&message.body)) {
        if (!response->success) return disk.term >= message.term;
        ++checked;
        return disk.term >= message.term &&
               disk.last_included.index + disk.entries.size() >= response->match_index;
    }
    return true;
}

}  // namespace

// ----- What waits --------------------------------------------------------------------------------

TEST_CASE("an acknowledgement leaves when the entries are durable, not before") {
    Slow node;
    node.poll({node.from(2, 1, AppendEntries{{}, {}, entries_of_terms({1, 1})})});
    CHECK(node.disk.calls.back() == "sync");
    for (int i = 0; i < 3; ++i) {
        CHECK(node.poll() > node.now);  // Until something happens there is nothing to do.
        CHECK(node.sent().empty());
    }
    node.disk.end();
    CHECK(node.poll() > node.now);
    auto sent = responses(node);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].success);
    CHECK(sent[0].match_index == Index{2});
}

TEST_CASE("a vote leaves when it is durable, and nobody else gets one meanwhile") {
    Slow node;
    node.poll({node.from(2, 1, RequestVote{false, {}})});
    node.poll({node.from(3, 1, RequestVote{false, {}})});
    rest(node);
    CHECK(node.sent().empty());
    CHECK(node.status().voted_for == ReplicaId{2});
    node.disk.end();
    rest(node);
    std::vector<Message> sent = node.sent();
    REQUIRE(sent.size() == 2);
    for (const Message& message : sent) {
        bool granted = std::get<RequestVoteResponse>(message.body).vote_granted;
        CHECK(granted == (message.to == ReplicaId{2}));
    }
    CHECK(node.disk.durable.voted_for == ReplicaId{2});
}

TEST_CASE("a vote that a crash takes away was never given") {
    Slow node;
    node.poll({node.from(2, 1, RequestVote{false, {}})});
    rest(node);
    CHECK(node.sent().empty());
    node.restart();
    CHECK(node.status().term == Term{0});
    node.poll({node.from(3, 1, RequestVote{false, {}})});
    go_on(node);
    auto votes = node.sent_of<RequestVoteResponse>();
    REQUIRE(votes.size() == 1);
    CHECK(votes[0].vote_granted);
}

TEST_CASE("a candidate asks when its own vote is durable, and counts it no sooner") {
    Slow node;
    node.poll();
    node.time_out();
    go_on(node);
    node.sent();
    node.poll({node.from(2, 0, RequestVoteResponse{true, true})});
    CHECK(node.status().role == Role::candidate);
    rest(node);
    CHECK(node.sent().empty());
    // The others' votes alone would do, were they to come; one of them does not.
    node.poll({node.from(2, 1, RequestVoteResponse{false, true})});
    CHECK(node.status().role == Role::candidate);
    CHECK(node.disk.durable.term == Term{0});
    node.disk.end();
    node.poll();
    CHECK(node.status().role == Role::leader);
    CHECK(node.disk.durable.voted_for == ReplicaId{1});
}

TEST_CASE("refusals wait, too: they speak of a term that is not durable") {
    Slow node = following(1);
    node.now += node.options.election_timeout_range.min;
    node.poll({node.from(3, 5, RequestVote{false, {}}),
               node.from(2, 5, AppendEntries{{Term{4}, Index{3}}, {}, {}})});
    rest(node);
    CHECK(node.status().term == Term{5});
    CHECK(node.sent().empty());
    node.disk.end();
    node.poll();
    CHECK(node.sent().size() == 2);
}

TEST_CASE("what needs no write of its own waits for the writes before it") {
    Slow node = following(1);
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{2}}, {}, {}})});  // A heartbeat.
    rest(node);
    CHECK(responses(node).empty());
    node.disk.end();
    rest(node);
    CHECK(responses(node).size() == 2);
    CHECK(node.disk.state == SlowDisk::idle);  // There was nothing more to write.
    // With all of them on disk it leaves in the same poll.
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{2}}, {}, {}})});
    CHECK(responses(node).size() == 1);
}

TEST_CASE("the word that a snapshot is there waits for the log that begins behind it") {
    Slow node = following(1);
    node.poll(
        {node.from(2, 1, InstallSnapshot{{Term{1}, Index{5}}, 0, std::string(8, 'x'), true})});
    rest(node);
    CHECK(node.machine.set_snapshot_calls == 1);
    CHECK(node.sent().empty());
    node.disk.end();
    node.poll();
    auto sent = responses(node);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].success);
    CHECK(sent[0].match_index == Index{5});
    CHECK(node.disk.durable.last_included.index == Index{5});
}

// ----- One sync at a time ------------------------------------------------------------------------

TEST_CASE("while the Storage is at it, each poll asks it and calls nothing else") {
    Slow node;
    node.boot();
    CHECK(node.disk.asked == 0);
    node.poll();
    CHECK(node.disk.asked == 0);  // Nothing is written, so nothing is to be synced.
    node.poll({node.from(2, 1, AppendEntries{{}, {}, entries_of_terms({1})})});
    CHECK(node.disk.asked == 1);
    std::vector<std::string> calls = node.disk.calls;
    // A term, an entry, a snapshot: all that is written sooner or later.
    for (std::uint64_t term = 2; term <= 6; ++term) {
        LogPosition last{Term{term - 1}, Index{term - 1}};
        node.poll({node.from(2, term, AppendEntries{last, {}, entries_of_terms({term}, term)})});
        CHECK(node.disk.asked == term);
    }
    node.poll(
        {node.from(2, 6, InstallSnapshot{{Term{6}, Index{9}}, 0, std::string(8, 'x'), true})});
    CHECK(node.status().term == Term{6});
    CHECK(node.status().snapshot.index == Index{9});
    CHECK(node.disk.calls == calls);
    CHECK(node.sent().empty());
    node.disk.end();
    CHECK(node.poll() == node.now);  // Word of the first leaves, and there is more to write.
    CHECK(responses(node).size() == 1);
    CHECK(node.disk.calls == calls);
    CHECK(node.poll() > node.now);
    calls.insert(calls.end(), {"save_vote", "compact", "sync"});
    CHECK(node.disk.calls == calls);
    node.disk.end();
    rest(node);
    CHECK_FALSE(responses(node).empty());
    CHECK(node.disk.durable.term == Term{6});
    CHECK(node.disk.durable.last_included.index == Index{9});
    std::uint64_t asked = node.disk.asked;
    rest(node);
    CHECK(node.disk.asked == asked);
}

TEST_CASE("what comes to a leader while a sync is on is written together when it has ended") {
    Slow node = leading();
    node.disk.calls.clear();
    node.disk.appended.clear();
    node.machine.pending = {{1, 1}};
    node.poll();
    for (std::uint64_t id = 2; id <= 11; ++id) {
        node.machine.pending = {{id, id}};
        node.poll();
    }
    CHECK(node.disk.calls == std::vector<std::string>{"append", "sync"});
    CHECK(node.sent_of<AppendEntries>().size() == 2 * 11);  // The others do not wait for it.
    node.disk.end();
    CHECK(node.poll() == node.now);
    CHECK(node.status().progress[0].match_index == Index{2});
    CHECK(node.poll() > node.now);
    CHECK(node.disk.calls == std::vector<std::string>{"append", "sync", "append", "sync"});
    CHECK(node.disk.appended == std::vector<std::size_t>{1, 10});
    CHECK(node.status().progress[0].match_index == Index{2});
    node.disk.end();
    CHECK(node.poll() > node.now);
    CHECK(node.status().progress[0].match_index == Index{12});
    CHECK(node.disk.calls.size() == 4);
}

TEST_CASE("what comes to a follower while a sync is on is written together when it has ended") {
    Slow node = following(1);
    node.disk.calls.clear();
    node.disk.appended.clear();
    for (std::uint64_t i = 1; i <= 11; ++i) {
        AppendEntries append{{Term{1}, Index{i}}, {}, entries_of_terms({1}, i + 1)};
        node.poll({node.from(2, 1, append)});
    }
    CHECK(node.disk.appended == std::vector<std::size_t>{1});
    CHECK(responses(node).empty());
    node.disk.end();
    rest(node);
    // What the first covers, and nothing that was written later.
    auto acknowledged = responses(node);
    REQUIRE(acknowledged.size() == 1);
    CHECK(acknowledged[0].match_index == Index{2});
    CHECK(node.disk.calls == std::vector<std::string>{"append", "sync", "append", "sync"});
    CHECK(node.disk.appended == std::vector<std::size_t>{1, 10});
    node.disk.end();
    rest(node);
    acknowledged = responses(node);
    REQUIRE(acknowledged.size() == 1);  // It says all that one for each of the ten would.
    CHECK(acknowledged[0].match_index == Index{12});
    CHECK(node.disk.calls.size() == 4);
}

TEST_CASE("regression: while a disk hung, an answer to each heartbeat waited for it") {
    Slow node = following(1);
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    for (int i = 0; i < 1'000; ++i) {
        node.now += 50ms;
        node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{2}}, {}, {}, node.now}),
                   node.from(2, 1, AppendEntries{{Term{1}, Index{9}}, {}, {}, node.now})});
    }
    CHECK(node.sent().empty());
    CHECK(lr::Inspect::waiting(*node.replica) <= 3);
    node.disk.end();
    rest(node);
    auto sent = responses(node);
    REQUIRE(sent.size() <= 3);
    std::optional<AppendEntriesResponse> success, refusal;
    for (const AppendEntriesResponse& response : sent)
        (response.success ? success : refusal) = response;
    REQUIRE(success);
    CHECK(success->match_index == Index{2});
    CHECK(success->heard == node.now);  // The latest is what leaves.
    REQUIRE(refusal);
    CHECK(refusal->match_index == Index{9});
    CHECK(refusal->heard == node.now);
}

TEST_CASE("while a disk hangs and nobody leads, few messages wait for it") {
    Slow node = following(1);
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    node.now += 2s;
    node.poll({node.from(3, 5, RequestVote{false, {Term{1}, Index{1}}})});
    REQUIRE(node.status().term == Term{5});
    std::size_t most = 0;
    for (int i = 0; i < 2'000; ++i) {
        node.now += 500ms;  // Its own timer runs out every other time.
        std::uint64_t term = node.status().term.value;
        node.poll({node.from(3, term, RequestVote{true, {Term{1}, Index{1}}}),
                   node.from(3, term - 1, RequestVote{true, {Term{1}, Index{1}}}),
                   node.from(2, term - 1, AppendEntries{{Term{1}, Index{1}}, {}, {}})});
        most = std::max(most, lr::Inspect::waiting(*node.replica));
    }
    CHECK(node.sent().empty());
    CHECK(most <= 20);
    go_on(node);
    CHECK(node.sent_of<RequestVote>().size() == 2);  // It asks as it would have.
}

TEST_CASE("the answer to a message that comes late does not take the place of one that says more") {
    Slow node = following(1);
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1, 1}, 2)}),
               node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    node.disk.end();
    rest(node);
    Index most;
    for (const AppendEntriesResponse& response : responses(node))
        most = std::max(most, response.match_index);
    CHECK(most == Index{3});
}

TEST_CASE("what came while a sync was on and was not written is lost in a crash, and not missed") {
    Slow node = following(1);
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{2}}, {}, entries_of_terms({1}, 3)})});
    std::uint64_t left = 1;
    SUBCASE("before the sync has ended") {}
    SUBCASE("when it has, and nobody was told") { node.disk.end(), left = 2; }
    SUBCASE("when the rest is written and not synced") {
        node.disk.end();
        rest(node);
        REQUIRE(responses(node).size() == 1);
        REQUIRE(node.disk.written.entries.size() == 3);
        left = 2;
    }
    CHECK(node.sent().empty());
    node.restart();
    CHECK(node.status().last_log_index == Index{left});
    AppendEntries all{{}, {}, entries_of_terms({1, 1, 1})};
    node.poll({node.from(2, 1, all)});
    go_on(node);
    auto sent = responses(node);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].match_index == Index{3});
    CHECK(node.disk.durable.entries.size() == 3);
}

TEST_CASE("regression: written, overruled and written anew, it is not durable when the first is") {
    // A-B-A: what the first sync covers is not what the log holds by now.
    Slow node = following(1);
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    node.poll({node.from(3, 2, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({2}, 3)})});
    rest(node);
    CHECK(node.sent().empty());
    CHECK(terms_of(node.disk.written.entries) == std::vector<std::uint64_t>{1, 1});
    node.disk.end();
    rest(node);
    for (const Message& message : node.sent()) {
        // It holds what the leader of term 1 gave it, and may say so to that one.
        CHECK(message.to == ReplicaId{2});
        CHECK(message.term == Term{1});
    }
    CHECK(terms_of(node.disk.written.entries) == std::vector<std::uint64_t>{1, 2});
    node.disk.end();
    rest(node);
    std::vector<Message> sent = node.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].to == ReplicaId{3});
    CHECK(sent[0].term == Term{2});
    CHECK(std::get<AppendEntriesResponse>(sent[0].body).match_index == Index{2});
    CHECK(terms_of(node.disk.durable.entries) == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("what was overruled before it was ever written is not acknowledged to whoever did so") {
    Slow node = following(1);
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{2}}, {}, entries_of_terms({1}, 3)})});
    node.poll({node.from(3, 2, AppendEntries{{Term{1}, Index{2}}, {}, entries_of_terms({2}, 4)})});
    std::uint64_t acknowledged = 0;
    for (int syncs = 0; syncs < 2; ++syncs) {
        node.disk.end();
        rest(node);
        for (const Message& message : node.sent()) {
            auto& response = std::get<AppendEntriesResponse>(message.body);
            // To the leader of the past it may say what it would have kept: it voted for nobody
            // who lacks that, and that leader can commit nothing that another has overruled.
            if (message.to == ReplicaId{2}) {
                CHECK(message.term == Term{1});
                continue;
            }
            ++acknowledged;
            CHECK(response.match_index == Index{3});
            CHECK(term_at(node.disk.durable, Index{3}) == Term{2});
        }
        CHECK(acknowledged == (syncs == 0 ? 0 : 1));
    }
    CHECK(terms_of(node.disk.durable.entries) == std::vector<std::uint64_t>{1, 1, 2});
}

TEST_CASE("what a leader wrote and another overruled does not count when it leads again") {
    Slow node = leading();
    node.machine.pending = {{7, 7}};
    node.poll();  // Its second entry, of term 1, is being written.
    node.poll({node.from(3, 2, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({2}, 8)})});
    CHECK(node.status().role == Role::follower);
    node.time_out();
    node.disk.end();
    for (int i = 0; node.status().role != Role::leader; ++i) {
        REQUIRE(i < 10);
        // Until it leads its disk takes as long as it can.
        rest(node);
        if (node.disk.state == SlowDisk::at_it) node.disk.end();
        std::uint64_t term = node.status().term.value;
        node.poll({node.from(2, term, RequestVoteResponse{true, true}),
                   node.from(2, term, RequestVoteResponse{false, true})});
    }
    auto counted = [&] { return node.status().progress[0].match_index; };
    for (int i = 0; i < 4 && counted() < Index{3}; ++i) {
        rest(node);
        if (counted() > Index{1}) CHECK(term_at(node.disk.durable, Index{2}) == Term{2});
        CHECK(counted() <= Index{node.disk.durable.entries.size()});
        if (node.disk.state == SlowDisk::at_it) node.disk.end();
    }
    CHECK(counted() == Index{3});
    CHECK(terms_of(node.disk.durable.entries) == std::vector<std::uint64_t>{1, 2, 3});
}

/// A replica whose disk hangs, a leader or a follower, while so much is committed on the others'
/// disks that its snapshots get ahead of it.
void snapshot_ahead(std::uint64_t slow, std::uint64_t trailing, bool crashes) {
    CAPTURE(slow);
    CAPTURE(trailing);
    CAPTURE(crashes);
    Slow::Options options;
    options.snapshot_delta = 4;
    options.snapshot_trailing = trailing;
    SlowGroup group(3, options);
    for (Slow& node : group.nodes) node.disk.at_once = true;
    REQUIRE(group.elect(1));
    REQUIRE(group.settle());
    Slow& node = group[slow];
    node.disk.at_once = false;
    for (std::uint64_t id = 1; id <= 10; ++id) {
        group[1].machine.pending = {{id, id}};
        REQUIRE(group.settle());
    }
    REQUIRE(node.disk.state == SlowDisk::at_it);
    REQUIRE(node.machine.applied.size() == 10);
    CHECK(node.status().first_log_index > Index{node.disk.written.entries.size() + 1});
    if (crashes) {
        node.restart();
        CHECK(node.status().last_applied == node.status().snapshot.index);
    }
    node.disk.at_once = true;
    REQUIRE(group.advance(3s));
    CHECK(node.machine.applied == group[2].machine.applied);
    const auto& [term, vote, base, entries] = node.disk.durable;
    CHECK(base.index + entries.size() == group[2].status().last_log_index);
    node.restart();
    CHECK_FALSE(node.status().fault);
    REQUIRE(group.advance(3s));
    CHECK(node.machine.applied.size() == 10);
}

TEST_CASE("regression: a snapshot that got ahead of a disk that hangs left a gap in its log") {
    for (std::uint64_t slow : {1U, 3U})
        for (std::uint64_t trailing : {0U, 1U, 3U})
            for (bool crashes : {false, true}) snapshot_ahead(slow, trailing, crashes);
}

// ----- What goes on ------------------------------------------------------------------------------

TEST_CASE("a leader commits with its followers' disks before its own has ended") {
    Slow node = leading();
    node.machine.pending = {{7, 7}};
    node.poll();
    CHECK(node.sent_of<AppendEntries>().size() == 2);  // At once: they promise nothing.
    REQUIRE(node.disk.state == SlowDisk::at_it);
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{2}, {}})});
    rest(node);
    CHECK(node.status().commit_index == Index{1});  // One of three, its own not counted.
    SUBCASE("two others are a majority") {
        node.poll({node.from(3, 1, AppendEntriesResponse{true, Index{2}, {}})});
        CHECK(node.disk.state == SlowDisk::at_it);
    }
    SUBCASE("so is its own and one other") {
        node.disk.end();
        node.poll();
    }
    CHECK(node.status().commit_index == Index{2});
    CHECK(node.machine.applied == Ids{7});
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued,
                                                   TransitionState::committed,
                                                   TransitionState::applied});
}

TEST_CASE("its own disk alone commits nothing") {
    Slow node = leading();
    node.machine.pending = {{7, 7}};
    node.poll();
    node.disk.end();
    rest(node);
    CHECK(node.status().commit_index == Index{1});
    CHECK(node.machine.applied.empty());
}

TEST_CASE("a replica alone leads when its vote is durable, and commits when the entry is") {
    Slow node(1, {});
    node.poll();
    node.time_out();
    rest(node);
    for (int i = 0; node.status().role != Role::leader; ++i) {
        REQUIRE(i < 5);
        CHECK(node.disk.durable.term == Term{0});
        if (node.disk.state == SlowDisk::at_it) node.disk.end();
        node.poll();
    }
    CHECK(node.disk.durable.voted_for == ReplicaId{1});
    rest(node);
    node.machine.pending = {{7, 7}};
    rest(node);
    CHECK(node.status().commit_index == Index{0});
    while (node.disk.state == SlowDisk::at_it) {
        CHECK(node.machine.applied.empty());
        node.disk.end();
        rest(node);
    }
    CHECK(node.machine.applied == Ids{7});
}

TEST_CASE("a leader's heartbeats and entries go on while its disk hangs, and it goes on leading") {
    SlowGroup group(3);
    for (Slow& node : group.nodes) node.disk.at_once = true;
    REQUIRE(group.elect(1));
    REQUIRE(group.settle());
    group[1].disk.at_once = false;
    group[1].disk.appended.clear();
    Term term = group[1].status().term;
    for (std::uint64_t id = 1; id <= 100; ++id) {
        group[1].machine.pending = {{id, id}};
        REQUIRE(group.advance(100ms));
    }
    CHECK(group[1].disk.appended == std::vector<std::size_t>{1});
    CHECK(group.leader() == 1);
    CHECK(group[1].status().term == term);
    for (Slow& node : group.nodes) CHECK(node.machine.applied.size() == 100);
    group[1].disk.at_once = true;
    REQUIRE(group.settle());
    CHECK(group[1].disk.appended == std::vector<std::size_t>{1, 99});
    const lr::Status status = group[1].status();
    CHECK(status.progress[0].match_index == status.last_log_index);
}

TEST_CASE("elections go on while a replica's disk hangs") {
    SlowGroup group(3);
    for (Slow& node : group.nodes) node.disk.at_once = true;
    REQUIRE(group.elect(1));
    REQUIRE(group.settle());
    SUBCASE("a follower's: the others elect without it, however long it hangs") {
        group[3].disk.at_once = false;
        for (std::uint64_t next : {2U, 1U, 2U}) {
            group[3 - next].wire.transfer_to = ReplicaId{next};
            REQUIRE(group.advance(2s));
            CHECK(group.leader() == next);
        }
        CHECK(group[1].status().term == Term{4});
        CHECK(group[3].disk.durable.term == Term{1});
        group[3].disk.at_once = true;
        REQUIRE(group.advance(1s));
        CHECK(group[3].status().term == Term{4});
        CHECK(group.leader() == 2);
    }
    SUBCASE("a candidate's: it waits, tries again, and disturbs nobody") {
        group[2].disk.at_once = false;
        group.isolate(2);
        group.step();
        group[2].now += 10s;
        rest(group[2]);
        group.cut.clear();
        REQUIRE(group.advance(3s));
        CHECK(group.leader() == 1);
        CHECK(group[1].status().term == Term{1});
        group[2].disk.at_once = true;
        REQUIRE(group.advance(3s));
        CHECK(group.leader() == 1);
        CHECK(group[2].status().leader == ReplicaId{1});
    }
    SUBCASE("a leader's: those who no longer hear it elect another") {
        group[1].disk.at_once = false;
        group[1].machine.pending = {{7, 7}};
        group.isolate(1);
        REQUIRE(group.advance(5s));
        CHECK(group.leader() > 1);
        group.cut.clear();
        REQUIRE(group.advance(2s));
        CHECK(group[1].status().role == Role::follower);
        CHECK(group[1].status().leader);
    }
}

TEST_CASE("a candidate whose disk hangs asks anew when its timer runs out, and can still win") {
    Slow node;
    node.poll();
    for (int i = 0; i < 3; ++i) {
        node.time_out();
        go_on(node);
        node.sent();
        std::uint64_t term = node.status().term.value;
        node.poll({node.from(2, term, RequestVoteResponse{true, true})});
        rest(node);
        CHECK(node.status().role == Role::candidate);
        CHECK(node.sent().empty());
        node.time_out();
        rest(node);
        CHECK(node.status().role == Role::pre_candidate);
        // Nor does that leave: it would speak of a term that is not durable.
        CHECK(node.sent().empty());
        node.disk.end();
        rest(node);
        // The requests of the past leave, too; whoever answers them answers a candidacy that is
        // over.
        CHECK_FALSE(node.sent().empty());
        node.poll({node.from(3, node.status().term.value, RequestVoteResponse{false, true})});
        CHECK(node.status().role == Role::pre_candidate);
    }
    node.poll({node.from(2, node.status().term.value, RequestVoteResponse{true, true})});
    go_on(node);
    node.poll({node.from(2, node.status().term.value, RequestVoteResponse{false, true})});
    CHECK(node.status().role == Role::leader);
}

// ----- Failures ----------------------------------------------------------------------------------

TEST_CASE("a sync that failed is a Fault, and what was taken ends with its outcome unknown") {
    Slow node = leading();
    node.machine.pending = {{7, 7}};
    SUBCASE("it is known later") {
        node.poll();
        node.machine.pending = {{8, 8}};
        node.poll();
        node.machine.pending = {{9, 9}};
    }
    SUBCASE("it is known at once") { node.machine.pending = {{7, 7}, {8, 8}, {9, 9}}; }
    SUBCASE("the one before ended well") {
        node.poll();
        node.machine.pending = {{8, 8}};
        node.disk.end();
        CHECK(node.poll() == node.now);
        node.machine.pending = {{9, 9}};
    }
    node.disk.fails = true;
    CHECK(node.poll() == never);
    REQUIRE(node.status().fault);
    CHECK(node.status().fault == "the storage failed to sync");
    for (std::uint64_t id : {7U, 8U, 9U})
        CHECK(node.machine.states_of(id) ==
              std::vector{TransitionState::queued, TransitionState::outcome_unknown});
    node.sent();
    std::uint64_t asked = node.disk.asked;
    CHECK(node.advance(10s) == never);
    CHECK(node.sent().empty());
    CHECK(node.disk.asked == asked);  // It is final.
    CHECK(node.status().role == Role::follower);
}

TEST_CASE("what waits for a sync that fails never leaves") {
    Slow node;
    node.poll({node.from(2, 1, AppendEntries{{}, {}, entries_of_terms({1})})});
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {}, entries_of_terms({1}, 2)})});
    SUBCASE("the first") { node.disk.fails = true; }
    SUBCASE("the second") {
        node.disk.end();
        rest(node);
        CHECK(responses(node).size() == 1);
        node.disk.fails = true;
    }
    node.poll();
    REQUIRE(node.status().fault);
    CHECK(node.sent().empty());
}

// ----- Beside a storage that syncs at once -------------------------------------------------------

TEST_CASE("a storage that syncs at once is used as before") {
    // The same calls give the same messages, whether it returns a bool or may return nothing.
    auto run = [](auto node) {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> sent;  // Poll and kind of message.
        std::uint64_t polls = 0;
        auto poll = [&](std::vector<Message> messages) {
            node.poll(std::move(messages));
            ++polls;
            for (const Message& message : node.sent())
                sent.emplace_back(polls, message.body.index());
        };
        poll({node.from(2, 1, AppendEntries{{}, {}, entries_of_terms({1, 1})})});
        poll({node.from(3, 2, RequestVote{false, {Term{1}, Index{9}}, true})});
        node.now += 2s;
        poll({});
        poll({node.from(2, 2, RequestVoteResponse{true, true})});
        poll({node.from(2, 3, RequestVoteResponse{false, true})});
        node.machine.pending = {{7, 7}};
        for (int i = 0; i < 4; ++i) poll({});
        poll({node.from(2, 3, AppendEntriesResponse{true, Index{4}, {}})});
        for (int i = 0; i < 2; ++i) poll({});
        CHECK(node.status().commit_index == Index{4});
        return std::pair(sent, node.disk.calls);
    };
    Slow node;
    node.disk.at_once = true;
    auto expected = run(Node{});
    CHECK(expected.first.size() > 8);
    CHECK(run(std::move(node)) == expected);
}

// ----- All together ------------------------------------------------------------------------------

TEST_CASE("through slow disks, crashes and losses nothing leaves that is not durable") {
    std::uint64_t random = 1;
    auto below = [&](std::uint64_t limit) {
        random = random * 6364136223846793005 + 1442695040888963407;
        return (random >> 33) % limit;
    };
    std::uint64_t checked = 0, lost = 0, before_own = 0, applied = 0;
    std::set<std::array<std::uint64_t, 2>> led;  // Terms, each with its run.
    std::uint64_t compared = 0, syncs = 0, together = 0, ahead = 0;
    for (int round = 0; round < 60; ++round) {
        CAPTURE(round);
        Options options;
        options.seed = static_cast<std::uint64_t>(round);
        options.snapshot_delta = round % 3 == 0 ? 8 : 0;
        options.snapshot_trailing = below(4);
        SlowGroup group(3, options);
        group.on_sent = [&](Slow& node, const Message& message) {
            // The leader that is told believes it of its own entries: those must be there.
            auto* response = std::get_if<AppendEntriesResponse>(&message.body);
            Slow& leader = group[message.to.value];
            const lr::Status& its = leader.replica->status();
            if (response && response->success && its.role == Role::leader &&
                its.term == message.term) {
                // Either may have compacted it, and the leader's disk may not be so far.
                auto ours = term_at(node.disk.durable, response->match_index);
                auto theirs = term_at(leader.disk.written, response->match_index);
                compared += ours && theirs ? 1 : 0;
                if (ours && theirs) CHECK(*ours == *theirs);
            }
            CHECK_MESSAGE(kept(message, node.disk.durable, checked), "kind ", message.body.index(),
                          " of replica ", node.id.value);
        };
        std::uint64_t id = 0;
        for (int step = 0; step < 1500; ++step) {
            for (Slow& node : group.nodes) {
                node.now += 2ms;
                if (below(5) == 0) node.machine.pending.push_back({++id, id});
                bool at_it = node.disk.state == SlowDisk::at_it;
                if (at_it && below(4) == 0) node.disk.end();
                if (below(400) == 0) {
                    lost += at_it ? 1 : 0;
                    node.restart();
                }
            }
            if (below(300) == 0) group.isolate(1 + below(3));
            if (below(100) == 0) group.cut.clear();
            group.step();
            for (Slow& node : group.nodes) {
                const lr::Status& status = node.replica->status();
                bool leads = status.role == Role::leader;
                if (leads) led.insert({options.seed, status.term.value});
                before_own += leads && status.progress[0].match_index < status.commit_index ? 1 : 0;
                const auto& [term, vote, base, entries] = node.disk.written;
                ahead += status.snapshot.index > base.index + entries.size() ? 1 : 0;
            }
        }
        group.cut.clear();
        for (Slow& node : group.nodes) node.disk.at_once = true;
        REQUIRE(group.advance(5s));
        REQUIRE(group.leader() != 0);
        for (Slow& node : group.nodes) {
            for (std::size_t entries : node.disk.appended) together += entries > 1 ? 1 : 0;
            syncs += node.disk.appended.size();
            CHECK(node.machine.applied == group[1].machine.applied);
            CHECK(node.status().commit_index == node.status().last_log_index);
        }
        applied += group[1].machine.applied.size();
    }
    // It was worth something only if it saw all of that.
    CHECK(checked > 10'000);
    CHECK(compared > 10'000);
    CHECK(lost > 50);
    CHECK(before_own > 1000);
    CHECK(led.size() > 100);
    CHECK(applied > 1000);
    CHECK(syncs > 1000);
    CHECK(together > 1000);
    CHECK(ahead > 10);
}
