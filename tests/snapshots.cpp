// Snapshots: when they are taken, and how they reach a follower that is too far behind, through a
// network that loses, repeats and reorders.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"
#include "testing/inspect.hpp"

namespace {

using namespace support;
using lr::LogPosition;
using lr::Progress;
using lr::Role;
using Ids = std::vector<std::uint64_t>;

Ids ids(std::uint64_t first, std::uint64_t last) {
    Ids result;
    for (std::uint64_t id = first; id <= last; ++id) result.push_back(id);
    return result;
}

AppendEntries append(std::uint64_t prev, std::uint64_t prev_term, std::uint64_t commit,
                     const std::vector<std::uint64_t>& terms) {
    return {{{prev_term}, {prev}}, {commit}, entries_of_terms(terms, prev + 1)};
}

/// What Machine would have saved after it applied the commands 1 to `last`.
std::string data_of(std::uint64_t last) {
    Machine machine;
    machine.applied = ids(1, last);
    return machine.serialize();
}

Options options_for_chunks(std::uint64_t bytes) {
    Options options;
    options.snapshot_chunk_bytes = bytes;
    return options;
}

/// Replica 1 leads in term 2. Its log begins behind the snapshot at 4, holds 5 and 6 of term 1 and
/// its own first entry at 7. Replica 2 has nothing and says so until it is sent a chunk.
struct Leader : Node {
    explicit Leader(std::string data, Options chosen = options_for_chunks(8))
        : Node(1, {2, 3}, std::move(chosen)) {
        machine.saved = {{Term{1}, Index{4}}, std::move(data)};
        disk.written = {Term{1}, {}, {Term{1}, Index{4}}, entries_of_terms({1, 1}, 5)};
        disk.durable = disk.written;
        elect();
        REQUIRE(status().role == Role::leader);
        poll({from(3, 2, lr::AppendEntriesResponse{true, Index{7}, {}})});
        for (int i = 0; i < 5 && progress().state != Progress::State::snapshot; ++i) {
            sent();
            poll({refusal()});
        }
        REQUIRE(progress().state == Progress::State::snapshot);
    }

    Progress progress() { return status().progress.at(1); }

    /// Replica 2's answer to whatever entries or heartbeat it was sent last.
    Message refusal() {
        return from(
            2, 2,
            lr::AppendEntriesResponse{false, progress().next_index - 1, {}, progress().offset});
    }
    Message got(std::uint64_t offset) const {
        return from(2, 2, lr::AppendEntriesResponse{false, Index{4}, {}, offset});
    }
    Message has(std::uint64_t index) const {
        return from(2, 2, lr::AppendEntriesResponse{true, Index{index}, {}});
    }

    void heartbeat() { advance(options.heartbeat_timeout); }
};

std::vector<std::uint64_t> offsets_of(const std::vector<InstallSnapshot>& chunks) {
    std::vector<std::uint64_t> offsets;
    for (const InstallSnapshot& chunk : chunks) offsets.push_back(chunk.offset);
    return offsets;
}

/// A leader, replica 1, and a follower, replica 2, between which the test moves the messages.
/// Replica 3 only acknowledges, so that the leader can commit what 2 has not seen.
struct Pair {
    Node leader;
    Node follower;
    std::uint64_t chunks = 0;

    explicit Pair(const Options& options)
        : leader(1, {2, 3}, options), follower(2, {1, 3}, options) {
        leader.elect();
        leader.sent();
        follower.poll();
    }

    /// Commits commands without the follower.
    void commit(const Ids& commands) {
        for (std::uint64_t id : commands) leader.machine.pending.push_back({id, id});
        for (int i = 0; i < 3; ++i) {
            auto all = lr::AppendEntriesResponse{true, leader.status().last_log_index, {}};
            leader.poll({leader.from(3, leader.status().term.value, all)});
        }
        leader.sent();
        REQUIRE(leader.status().last_applied == leader.status().last_log_index);
    }

    /// What one has for the other.
    std::vector<Message> take(Node& from, Node& to) {
        std::vector<Message> messages = from.sent();
        std::erase_if(messages, [&](const Message& message) { return message.to != to.id; });
        for (const Message& message : messages) chunks += message.body.index() == 4 ? 1 : 0;
        return messages;
    }

    /// One round trip, through filters that may take messages out or put more in.
    using Filter = std::function<void(std::vector<Message>&)>;
    void round(const Filter& there, const Filter& back) {
        std::vector<Message> messages = take(leader, follower);
        there(messages);
        follower.poll(std::move(messages));
        messages = take(follower, leader);
        back(messages);
        leader.poll(std::move(messages));
    }
    void round() {
        round([](auto&) {}, [](auto&) {});
    }

    void heartbeat() {
        follower.now += leader.options.heartbeat_timeout;
        leader.advance(leader.options.heartbeat_timeout);
    }

    bool is_level() {
        return follower.status().last_log_index == leader.status().last_log_index &&
               follower.status().last_applied == leader.status().last_applied;
    }

    /// Rounds without faults, a heartbeat each, until both are level.
    void settle() {
        for (int i = 0; i < 2000 && !is_level(); ++i) {
            heartbeat();
            round();
        }
        REQUIRE(is_level());
        CHECK(follower.machine.applied == leader.machine.applied);
    }
};

}  // namespace

// ----- Taking them -------------------------------------------------------------------------------

TEST_CASE("a snapshot is taken when snapshot_delta entries were applied since the last") {
    Node node(1, {2, 3}, {.snapshot_delta = 5, .snapshot_trailing = 2});
    std::vector<LogPosition> snapshots;
    for (std::uint64_t index = 1; index <= 12; ++index) {
        std::uint64_t term = (index + 3) / 4;  // 1 1 1 1 2 2 2 2 3 3 3 3
        node.poll({node.from(2, 9, append(index - 1, (index + 2) / 4, index, {term}))});
        CHECK(node.status().last_applied == Index{index});
        if (!node.machine.saved) continue;
        const auto& saved = *node.machine.saved;
        CHECK(node.status().snapshot.index == saved.last_included.index);
        CHECK(saved.data == data_of(saved.last_included.index.value));
        LogPosition at = saved.last_included;
        if (snapshots.empty() || snapshots.back() != at) snapshots.push_back(at);
    }
    CHECK(snapshots == std::vector<LogPosition>{{Term{2}, Index{5}}, {Term{3}, Index{10}}});
    CHECK(node.machine.create_snapshot_calls == 2);
}

TEST_CASE("a snapshot covers all that its poll applied") {
    Node node(1, {2, 3}, {.snapshot_delta = 5, .snapshot_trailing = 0});
    node.poll({node.from(2, 1, append(0, 0, 12, std::vector<std::uint64_t>(12, 1)))});
    CHECK(node.status().snapshot.index == Index{12});
    CHECK(node.machine.create_snapshot_calls == 1);
    CHECK(node.status().first_log_index == Index{13});
    CHECK(node.status().last_log_index == Index{12});
}

TEST_CASE("with a snapshot_delta of 0 none is taken") {
    Node node(1, {2, 3}, {.snapshot_delta = 0, .snapshot_trailing = 0});
    node.poll({node.from(2, 1, append(0, 0, 50, std::vector<std::uint64_t>(50, 1)))});
    CHECK(node.status().last_applied == Index{50});
    CHECK(node.machine.create_snapshot_calls == 0);
    CHECK(node.status().first_log_index == Index{1});
}

TEST_CASE("snapshot_trailing applied entries stay in the log, and all that are not applied") {
    struct Row {
        std::uint64_t trailing, commit, first;
    };
    for (Row row : {Row{0, 6, 7},
                    {1, 6, 6},
                    {5, 6, 2},
                    {6, 6, 1},
                    {7, 6, 1},
                    {1'000'000, 6, 1},
                    {0, 4, 5},
                    {2, 5, 4},
                    {0, 3, 1}}) {
        CAPTURE(row.trailing);
        CAPTURE(row.commit);
        Node node(1, {2, 3}, {.snapshot_delta = 4, .snapshot_trailing = row.trailing});
        node.poll({node.from(2, 1, append(0, 0, row.commit, {1, 1, 1, 1, 1, 1}))});
        node.poll();
        CHECK(node.status().first_log_index == Index{row.first});
        CHECK(node.status().last_log_index == Index{6});
        CHECK(node.disk.durable.last_included.index == Index{row.first - 1});
        CHECK(node.disk.durable.entries.size() == 7 - row.first);
        auto compactions = std::count(node.disk.calls.begin(), node.disk.calls.end(), "compact");
        CHECK(compactions == (row.first > 1 ? 1 : 0));
    }
}

TEST_CASE("a compacted log meets what its leader sends, in index and in term") {
    Node node(1, {2, 3}, {.snapshot_delta = 4, .snapshot_trailing = 1});
    node.poll({node.from(2, 3, append(0, 0, 4, {1, 2, 2, 3}))});
    REQUIRE(node.status().first_log_index == Index{4});
    struct Row {
        std::uint64_t prev, prev_term;
        bool success;
        std::uint64_t match;
    };
    for (Row row : {Row{0, 0, true, 4}, {3, 2, true, 4}, {4, 3, true, 4}, {4, 2, false, 4}}) {
        CAPTURE(row.prev);
        node.sent();
        node.poll({node.from(2, 3, append(row.prev, row.prev_term, 4, {}))});
        auto answers = node.sent_of<lr::AppendEntriesResponse>();
        REQUIRE(answers.size() == 1);
        CHECK(answers[0].success == row.success);
        CHECK(answers[0].match_index == Index{row.match});
    }
    // A conflict right behind the snapshot.
    node.poll({node.from(2, 3, append(4, 3, 4, {3, 3}))});
    node.poll({node.from(3, 5, append(4, 3, 5, {5}))});
    CHECK(node.status().last_log_index == Index{5});
    CHECK(terms_of(node.disk.durable.entries) == std::vector<std::uint64_t>{3, 5});
    CHECK(node.machine.applied == ids(1, 5));
}

TEST_CASE("a leader whose log begins late still names the entry before it rightly") {
    Leader leader("12345678");
    leader.heartbeat();
    for (const AppendEntries& heartbeat : leader.sent_of<AppendEntries>()) {
        if (heartbeat.prev_log.index == Index{4}) CHECK(heartbeat.prev_log.term == Term{1});
    }
    leader.sent();
    leader.poll({leader.has(4)});
    auto entries = leader.sent_of<AppendEntries>();
    REQUIRE(entries.size() == 1);
    CHECK(entries[0].prev_log.index == Index{4});
    CHECK(entries[0].prev_log.term == Term{1});
    CHECK(terms_of(entries[0].entries) == std::vector<std::uint64_t>{1, 1, 2});
}

TEST_CASE("a machine that lost the snapshot that a follower needs is a fault") {
    Node node(1, {2, 3});
    node.machine.saved = {{Term{1}, Index{4}}, "12345678"};
    node.disk.written = {Term{1}, {}, {Term{1}, Index{4}}, {}};
    node.disk.durable = node.disk.written;
    node.elect();
    node.machine.pending = {{9, 9}};
    node.poll();
    SUBCASE("there is none") { node.machine.saved.reset(); }
    SUBCASE("it is too old") { node.machine.saved->last_included.index = Index{3}; }
    node.sent();
    node.disk.calls.clear();
    node.machine.pending = {{10, 10}};
    // Neither the transition nor the answer to the stranded candidate leaves any more.
    CHECK(node.poll({node.from(3, 1, lr::RequestVote{}),
                     node.from(2, 2, lr::AppendEntriesResponse{false, Index{4}, {}})}) ==
          lr::Time::max());
    REQUIRE(node.status().fault);
    CHECK(node.status().fault == "the snapshot was lost");
    CHECK(node.sent().empty());
    CHECK(node.disk.calls.empty());
    for (std::uint64_t id : ids(9, 10)) {
        CHECK(node.machine.states_of(id) ==
              std::vector{lr::TransitionState::queued, lr::TransitionState::outcome_unknown});
    }
}

// ----- Sending -----------------------------------------------------------------------------------

TEST_CASE("chunks go one at a time, each once the one before has arrived") {
    for (std::uint64_t size : std::vector<std::uint64_t>{0, 1, 7, 8, 9, 15, 16, 17, 40}) {
        CAPTURE(size);
        std::string data;
        for (std::uint64_t i = 0; i < size; ++i) data.push_back(static_cast<char>('a' + i % 26));
        Leader leader(data);
        std::string joined;
        for (std::uint64_t offset = 0, count = 0; count <= 5; ++count) {
            auto chunks = leader.sent_of<InstallSnapshot>();
            REQUIRE(chunks.size() == 1);
            CHECK(chunks[0].last_included == LogPosition{Term{1}, Index{4}});
            CHECK(chunks[0].offset == offset);
            CHECK(chunks[0].data.size() <= 8);
            joined += chunks[0].data;
            offset += chunks[0].data.size();
            CHECK(chunks[0].done == (offset == size));
            leader.poll();
            CHECK(leader.sent().empty());
            if (chunks[0].done) break;
            leader.poll({leader.got(offset)});
        }
        CHECK(joined == data);
        leader.poll({leader.has(4)});
        CHECK(leader.progress().state == Progress::State::replicate);
        CHECK(leader.sent_of<AppendEntries>().size() == 1);
        CHECK(leader.status().counters.snapshots_sent == 1);
    }
}

TEST_CASE("a lost chunk is sent again after the next heartbeat, from the same place") {
    Leader leader(std::string(24, 'x'));
    leader.poll({leader.got(8)});
    CHECK(offsets_of(leader.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{0, 8});
    // Word of the follower alone does not mean a loss: the chunk may still be on its way.
    leader.poll({leader.refusal()});
    CHECK(leader.sent_of<InstallSnapshot>().empty());
    leader.heartbeat();
    CHECK(leader.sent_of<InstallSnapshot>().empty());
    leader.poll({leader.refusal()});
    CHECK(offsets_of(leader.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{8});
    // The refusal of the same heartbeat, repeated, says nothing of the chunk just sent.
    leader.poll({leader.refusal(), leader.refusal()});
    CHECK(leader.sent_of<InstallSnapshot>().empty());
    leader.poll({leader.got(16)});
    CHECK(offsets_of(leader.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{16});
    CHECK(leader.status().counters.snapshots_sent == 1);
}

TEST_CASE("after a lost answer the transfer goes on from what the follower has") {
    Leader leader(std::string(24, 'x'));
    leader.heartbeat();
    leader.sent();
    leader.poll({leader.refusal()});
    CHECK(offsets_of(leader.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{0});
    leader.poll({leader.got(8)});
    CHECK(offsets_of(leader.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{8});
}

TEST_CASE("an answer that comes twice does not double the traffic") {
    Leader leader(std::string(800, 'x'));
    std::uint64_t sent = leader.sent_of<InstallSnapshot>().size();
    for (std::uint64_t offset = 8; offset < 800; offset += 8) {
        Message answer = leader.got(offset);
        leader.poll({answer, answer});
        leader.poll({answer});
        sent += leader.sent_of<InstallSnapshot>().size();
    }
    CHECK(sent == 100);
}

TEST_CASE("late answers do not multiply the traffic") {
    Pair pair({.snapshot_delta = 20, .snapshot_trailing = 0, .snapshot_chunk_bytes = 8});
    pair.commit(ids(1, 49));
    std::vector<Message> late;
    for (int i = 0; i < 20; ++i) {
        pair.round([](auto&) {},
                   [&](auto& messages) {
                       // Each answer comes at once, and twice more one and two rounds later.
                       std::vector<Message> now = messages;
                       messages.insert(messages.end(), late.begin(), late.end());
                       late.insert(late.end(), now.begin(), now.end());
                       if (late.size() > 2) late.erase(late.begin());
                   });
        if (i == 0) pair.heartbeat();
    }
    pair.settle();
    CHECK(pair.chunks >= 40);
    CHECK(pair.chunks <= 100);
    CHECK(pair.follower.machine.set_snapshot_calls == 1);
}

TEST_CASE("a follower that lost what it had is sent the snapshot from the beginning") {
    Leader leader(std::string(24, 'x'));
    leader.poll({leader.got(8)});
    leader.poll({leader.got(16)});
    leader.sent();
    leader.poll({leader.got(0)});
    CHECK(offsets_of(leader.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{0});
    leader.poll({leader.got(8)});
    CHECK(offsets_of(leader.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{8});
}

TEST_CASE("the transfer ends when the follower has the position, however it got it") {
    Leader leader(std::string(24, 'x'));
    leader.poll({leader.got(8)});
    leader.sent();
    SUBCASE("the snapshot's own") { leader.poll({leader.has(4)}); }
    SUBCASE("one behind it") { leader.poll({leader.has(6)}); }
    CHECK(leader.progress().state == Progress::State::replicate);
    CHECK(leader.sent_of<AppendEntries>().size() == 1);
    // Answers to chunks that are under way come to nothing.
    leader.poll({leader.got(16)});
    CHECK(leader.sent().empty());
}

TEST_CASE("a late success that does not reach the log does not end a transfer") {
    Leader leader(std::string(24, 'x'));
    leader.poll({leader.got(8)});
    leader.sent();
    leader.poll({leader.has(2)});
    CHECK(leader.progress().state == Progress::State::snapshot);
    CHECK(leader.progress().offset == 8);
    CHECK(leader.sent_of<InstallSnapshot>().empty());
}

TEST_CASE("a second transfer to the same follower begins at the beginning") {
    Leader leader(std::string(24, 'x'),
                  {.snapshot_delta = 4, .snapshot_trailing = 0, .snapshot_chunk_bytes = 8});
    leader.poll({leader.got(8)});
    leader.poll({leader.got(16)});
    leader.poll({leader.has(4)});
    leader.machine.pending = {{1, 1}, {2, 2}, {3, 3}, {4, 4}};
    leader.poll();
    leader.poll({leader.from(3, 2, lr::AppendEntriesResponse{true, Index{11}, {}})});
    REQUIRE(leader.status().first_log_index == Index{12});
    leader.sent();
    leader.poll({leader.refusal()});
    auto chunks = leader.sent_of<InstallSnapshot>();
    REQUIRE(chunks.size() == 1);
    CHECK(chunks[0].last_included.index == Index{11});
    CHECK(chunks[0].offset == 0);
    CHECK(leader.status().counters.snapshots_sent == 2);
}

TEST_CASE("heartbeats go on during a transfer, and chunks' answers keep the leader in office") {
    Leader leader(std::string(2000, 'x'));
    leader.sent();
    for (std::uint64_t i = 1; i <= 100; ++i) {
        leader.heartbeat();
        int heartbeats = 0;
        for (const Message& message : leader.sent()) {
            heartbeats += message.to == ReplicaId{2} && message.body.index() == 2 ? 1 : 0;
        }
        CHECK(heartbeats == 1);
        leader.poll({leader.got(8 * i)});
    }
    CHECK(leader.status().role == Role::leader);
}

TEST_CASE("a transfer to one follower does not hold up another") {
    Leader leader(std::string(24, 'x'));
    leader.sent();
    leader.machine.pending = {{70, 70}};
    leader.poll();
    std::vector<Message> messages = leader.sent();
    REQUIRE(messages.size() == 1);
    CHECK(messages[0].to == ReplicaId{3});
    leader.poll({leader.from(3, 2, lr::AppendEntriesResponse{true, Index{8}, {}})});
    CHECK(leader.machine.states_of(70).back() == lr::TransitionState::applied);
}

TEST_CASE("two followers are sent the same snapshot, each at its own pace") {
    Leader leader(std::string(24, 'x'));
    leader.sent();
    Node& node = leader;
    // Replica 3 lost its place too: a refusal of what it was known to hold is out of date.
    node.poll({node.from(3, 2, lr::AppendEntriesResponse{false, Index{4}, {}})});
    CHECK(node.sent().empty());

    Node other(1, {2, 3}, options_for_chunks(8));
    other.machine.saved = {{Term{1}, Index{4}}, std::string(24, 'x')};
    other.disk.written = {Term{1}, {}, {Term{1}, Index{4}}, {}};
    other.disk.durable = other.disk.written;
    other.elect();
    other.sent();
    lr::AppendEntriesResponse no{false, Index{4}, {}};
    other.poll({other.from(2, 2, no), other.from(3, 2, no)});
    CHECK(offsets_of(other.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{0, 0});
    lr::AppendEntriesResponse got{false, Index{4}, {}, 8};
    other.poll({other.from(2, 2, got)});
    CHECK(offsets_of(other.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{8});
    got.snapshot_offset = 16;
    other.poll({other.from(2, 2, got)});
    CHECK(offsets_of(other.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{16});
    other.poll({other.from(2, 2, lr::AppendEntriesResponse{true, Index{4}, {}})});
    other.sent();
    got.snapshot_offset = 8;
    other.poll({other.from(3, 2, got)});
    CHECK(offsets_of(other.sent_of<InstallSnapshot>()) == std::vector<std::uint64_t>{8});
    CHECK(other.status().counters.snapshots_sent == 2);
}

// ----- Receiving ---------------------------------------------------------------------------------

namespace {

InstallSnapshot chunk(LogPosition at, std::uint64_t offset, std::string data, bool done) {
    return {at, offset, std::move(data), done};
}

constexpr LogPosition at_3{Term{1}, Index{3}};
constexpr LogPosition at_6{Term{1}, Index{6}};

/// The same snapshot in chunks of eight bytes, from that peer in that term.
std::vector<Message> chunks_of(const Node& node, std::uint64_t peer, std::uint64_t term,
                               LogPosition at, const std::string& data) {
    std::vector<Message> messages;
    for (std::size_t offset = 0; offset < data.size(); offset += 8) {
        messages.push_back(node.from(
            peer, term, chunk(at, offset, data.substr(offset, 8), offset + 8 >= data.size())));
    }
    return messages;
}

}  // namespace

TEST_CASE("a snapshot replaces log and state, and the log goes on behind it") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, 1, {1}))});
    node.sent();
    node.poll(chunks_of(node, 2, 1, at_3, data_of(3)));
    auto answers = node.sent_of<lr::AppendEntriesResponse>();
    REQUIRE(answers.size() == 2);
    CHECK_FALSE(answers[0].success);
    CHECK(answers[0].snapshot_offset == 16);  // The latest word of how far it has come.
    CHECK(answers[1].match_index == Index{3});
    CHECK(answers[1].success);
    lr::Status status = node.status();
    CHECK(status.commit_index == Index{3});
    CHECK(status.last_applied == Index{3});
    CHECK(status.snapshot.index == Index{3});
    CHECK(status.first_log_index == Index{4});
    CHECK(status.last_log_index == Index{3});
    CHECK(node.machine.applied == ids(1, 3));
    CHECK(node.machine.set_snapshot_calls == 1);
    node.poll({node.from(2, 1, append(3, 1, 5, {1, 1}))});
    CHECK(node.machine.applied == ids(1, 5));
    node.restart();
    CHECK(node.machine.applied == ids(1, 3));
    CHECK(node.status().last_log_index == Index{5});
}

TEST_CASE("a snapshot is of an older term than the one it comes in, which stays") {
    Node node;
    node.poll({node.from(2, 9, chunk(at_3, 0, data_of(3), true))});
    CHECK(node.status().term == Term{9});
    node.poll({node.from(3, 5, lr::RequestVote{false, {Term{4}, Index{9}}})});
    CHECK(node.status().term == Term{9});
    CHECK_FALSE(node.disk.durable.voted_for);
}

TEST_CASE("a log that conflicts with the snapshot, or ends before it, goes as a whole") {
    struct Row {
        std::vector<std::uint64_t> terms;
        std::uint64_t commit;
    };
    for (const Row& row : {Row{{2, 2, 2, 2, 2, 2, 2}, 0},
                           {{1, 1, 2, 2, 2, 2, 2, 2, 2}, 2},
                           {{1, 1}, 0},
                           {{1, 1, 1, 1, 1}, 3},
                           {{}, 0}}) {
        Node node;
        node.poll({node.from(2, 2, append(0, 0, row.commit, row.terms))});
        node.poll({node.from(3, 3, chunk(at_6, 0, data_of(6), true))});
        CHECK(node.status().first_log_index == Index{7});
        CHECK(node.status().last_log_index == Index{6});
        CHECK(node.machine.applied == ids(1, 6));
        CHECK(node.disk.durable.entries.empty());
        CHECK(node.disk.durable.last_included == at_6);
        CHECK(node.status().commit_index == Index{6});
    }
}

TEST_CASE("a follower that holds the position keeps its log and its state") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, 1, std::vector<std::uint64_t>(8, 1)))});
    node.sent();
    SUBCASE("whole") { node.poll({node.from(2, 1, chunk(at_6, 0, data_of(6), true))}); }
    SUBCASE("the first chunk of it") { node.poll({node.from(2, 1, chunk(at_6, 0, "x", false))}); }
    auto answers = node.sent_of<lr::AppendEntriesResponse>();
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].success);
    CHECK(answers[0].match_index == Index{6});
    CHECK(node.status().last_log_index == Index{8});
    CHECK(node.status().first_log_index == Index{1});
    CHECK(node.status().commit_index == Index{6});
    CHECK(node.machine.applied == ids(1, 6));
    CHECK(node.machine.set_snapshot_calls == 0);
}

TEST_CASE("chunks of two leaders are not joined") {
    Node node;
    std::string old_data = data_of(6);
    std::string new_data(48, '\7');
    node.poll({node.from(2, 1, chunk(at_6, 0, old_data.substr(0, 24), false))});
    node.sent();
    SUBCASE("the new leader begins at the beginning") {
        node.poll(chunks_of(node, 3, 2, at_6, new_data));
    }
    SUBCASE("the new leader's chunks come in disorder") {
        node.poll({node.from(3, 2, chunk(at_6, 24, new_data.substr(24), true))});
        auto answers = node.sent_of<lr::AppendEntriesResponse>();
        REQUIRE(answers.size() == 1);
        CHECK(answers[0].snapshot_offset == 0);
        CHECK(node.machine.set_snapshot_calls == 0);
        node.poll(chunks_of(node, 3, 2, at_6, new_data));
    }
    SUBCASE("the old leader goes on for a while") {
        node.poll({node.from(3, 2, chunk(at_6, 0, new_data.substr(0, 24), false)),
                   node.from(2, 1, chunk(at_6, 24, old_data.substr(24), true)),
                   node.from(3, 2, chunk(at_6, 24, new_data.substr(24), true))});
    }
    SUBCASE("the same leader in a new term begins anew") {
        node.poll({node.from(2, 2, chunk(at_6, 24, new_data.substr(24), true))});
        CHECK(node.machine.set_snapshot_calls == 0);
        node.poll(chunks_of(node, 2, 2, at_6, new_data));
    }
    REQUIRE(node.machine.set_snapshot_calls == 1);
    CHECK(node.machine.saved->data == new_data);
}

TEST_CASE("a newer snapshot takes the place of one that is half there") {
    Node node;
    node.poll({node.from(2, 1, chunk(at_3, 0, "12345678", false))});
    node.poll(chunks_of(node, 2, 1, at_6, data_of(6)));
    CHECK(node.machine.set_snapshot_calls == 1);
    CHECK(node.machine.saved->data == data_of(6));
    CHECK(node.status().snapshot.index == Index{6});
    // The rest of the old one is of no use any more.
    node.sent();
    node.poll({node.from(2, 1, chunk(at_3, 8, "12345678", true))});
    CHECK(node.machine.set_snapshot_calls == 1);
    auto answers = node.sent_of<lr::AppendEntriesResponse>();
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].match_index == Index{6});
}

TEST_CASE("a candidate that hears of a leader by a chunk follows it") {
    Node node;
    node.poll();
    node.time_out();
    REQUIRE(node.status().role == Role::pre_candidate);
    node.poll({node.from(2, 3, chunk(at_3, 0, data_of(3), true))});
    CHECK(node.status().role == Role::follower);
    CHECK(node.status().leader == ReplicaId{2});
    CHECK(node.status().snapshot.index == Index{3});
}

TEST_CASE("a chunk counts as word from the leader") {
    Node node;
    node.poll({node.from(2, 1, append(0, 0, 0, {}))});
    for (std::uint64_t i = 0; i < 20; ++i) {
        node.advance(node.options.election_timeout_range.min - 1ms);
        node.poll({node.from(2, 1, chunk(at_6, 8 * i, "12345678", false))});
        CHECK(node.status().role == Role::follower);
    }
}

// ----- From one to the other ---------------------------------------------------------------------

TEST_CASE("a follower far behind is brought level by one snapshot and the log behind it") {
    Pair pair({.snapshot_delta = 10, .snapshot_trailing = 3, .snapshot_chunk_bytes = 16});
    pair.commit(ids(1, 24));
    pair.settle();
    CHECK(pair.follower.machine.set_snapshot_calls == 1);
    CHECK(pair.leader.status().counters.snapshots_sent == 1);
    pair.leader.machine.pending = {{25, 25}};
    pair.leader.poll();
    pair.settle();
    CHECK(pair.follower.machine.applied.back() == 25);
}

TEST_CASE("a snapshot arrives through a network that loses, repeats and reorders") {
    std::array<std::uint64_t, 3> injected{};
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        std::uint64_t state = seed;
        auto one_in = [&](std::uint64_t chances) {
            state += 0x9e3779b97f4a7c15;
            std::uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
            z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
            return (z ^ (z >> 31)) % chances == 0;
        };
        Pair pair(
            {.snapshot_delta = 10, .snapshot_trailing = seed % 4, .snapshot_chunk_bytes = 16});
        pair.commit(ids(1, 19));
        std::vector<Message> held;
        auto faulty = [&](std::vector<Message>& messages) {
            std::vector<Message> arriving;
            for (const Message& message : messages) {
                if (one_in(5)) {
                    ++injected[0];
                    continue;
                }
                arriving.push_back(message);
                if (one_in(5)) {
                    ++injected[1];
                    arriving.push_back(message);
                }
                if (one_in(5)) held.push_back(message);
            }
            if (arriving.size() > 1 && one_in(2)) {
                ++injected[2];
                std::reverse(arriving.begin(), arriving.end());
            }
            messages = arriving;
        };
        for (int i = 0; i < 40; ++i) {
            if (one_in(2)) pair.heartbeat();
            if (one_in(30)) pair.follower.restart();
            if (one_in(20)) pair.commit({pair.leader.machine.applied.back() + 1});
            pair.round(faulty, faulty);
            // Some come again much later, whichever way they were going.
            if (held.size() > 3) {
                for (const Message& message : held) {
                    (message.to == ReplicaId{1} ? pair.leader : pair.follower).poll({message});
                }
                held.clear();
            }
        }
        CHECK(pair.leader.status().role == Role::leader);
        pair.settle();
    }
    for (std::uint64_t count : injected) CHECK(count > 100);
}

TEST_CASE("nobody keeps a copy of a snapshot that has arrived") {
    Pair pair({.snapshot_delta = 4, .snapshot_trailing = 0});
    pair.commit(ids(1, 10));
    pair.settle();
    CHECK(pair.follower.machine.set_snapshot_calls == 1);
    CHECK(lr::Inspect::incoming(*pair.follower.replica) == nullptr);
    CHECK(lr::Inspect::outgoing(*pair.leader.replica) == nullptr);
}

TEST_CASE("a loss costs one chunk, not the transfer") {
    Pair pair({.snapshot_delta = 10, .snapshot_trailing = 0, .snapshot_chunk_bytes = 8});
    pair.commit(ids(1, 49));
    auto pass = [](std::vector<Message>&) {};
    auto lose = [](std::vector<Message>& messages) { messages.clear(); };
    std::uint64_t lost = 0;
    for (int i = 0; i < 400 && !pair.is_level(); ++i) {
        if (i % 10 == 5) ++lost;
        pair.heartbeat();
        pair.round(i % 20 == 5 ? Pair::Filter(lose) : pass,
                   i % 20 == 15 ? Pair::Filter(lose) : pass);
    }
    REQUIRE(pair.is_level());
    CHECK(pair.chunks >= 49);
    CHECK(pair.chunks <= 49 + 3 * lost);
    CHECK(pair.leader.status().counters.snapshots_sent == 1);
    CHECK(pair.follower.machine.set_snapshot_calls == 1);
}

TEST_CASE("a leader that is polled only when a heartbeat is due brings a follower level, too") {
    Pair pair({.snapshot_delta = 10, .snapshot_trailing = 0});
    pair.commit(ids(1, 19));
    for (int i = 0; i < 20 && !pair.is_level(); ++i) {
        pair.heartbeat();
        pair.follower.poll(pair.take(pair.leader, pair.follower));
        pair.leader.wire.inbox = pair.take(pair.follower, pair.leader);
    }
    CHECK(pair.is_level());
}

TEST_CASE("a follower that restarts half way gets the whole snapshot") {
    Pair pair({.snapshot_delta = 10, .snapshot_trailing = 0, .snapshot_chunk_bytes = 8});
    pair.commit(ids(1, 29));
    pair.heartbeat();
    for (int i = 0; i < 10; ++i) pair.round();
    REQUIRE(pair.leader.status().progress.at(1).offset > 32);
    pair.follower.restart();
    CHECK(pair.follower.machine.applied.empty());
    pair.settle();
    CHECK(pair.follower.machine.set_snapshot_calls == 1);
    pair.follower.restart();
    CHECK(pair.follower.machine.set_snapshot_calls == 1);
    CHECK_FALSE(pair.follower.status().fault);
    CHECK(pair.follower.machine.applied.size() == pair.follower.status().snapshot.index.value - 1);
}

TEST_CASE("a transfer goes on though the leader takes a newer snapshot meanwhile") {
    Pair pair({.snapshot_delta = 10, .snapshot_trailing = 0, .snapshot_chunk_bytes = 8});
    pair.commit(ids(1, 29));
    pair.heartbeat();
    for (int i = 0; i < 10; ++i) pair.round();
    std::uint64_t first = pair.leader.status().snapshot.index.value;
    std::uint64_t offset = pair.leader.status().progress.at(1).offset;
    REQUIRE(offset > 32);
    std::vector<Message> in_flight = pair.take(pair.leader, pair.follower);
    pair.commit(ids(30, 59));
    REQUIRE(pair.leader.status().first_log_index.value > first + 1);
    pair.follower.poll(std::move(in_flight));
    for (int i = 0; i < 60 && pair.follower.machine.set_snapshot_calls == 0; ++i) {
        CHECK(pair.leader.status().progress.at(1).offset >= offset);
        pair.round();
    }
    // It has the old one, and now needs the newer one.
    CHECK(pair.follower.status().snapshot.index.value == first);
    pair.settle();
    CHECK(pair.leader.status().counters.snapshots_sent == 2);
}

TEST_CASE("transfers end though the leader's log moves on faster than they do") {
    Pair pair({.snapshot_delta = 2, .snapshot_trailing = 0, .snapshot_chunk_bytes = 8});
    std::uint64_t next = 1;
    auto more = [&] {
        // Keeps what is in flight between the two, which commit() would take.
        std::vector<Message> in_flight = pair.leader.sent();
        pair.commit(ids(next, next + 3));
        next += 4;
        pair.leader.wire.sent.insert(pair.leader.wire.sent.begin(), in_flight.begin(),
                                     in_flight.end());
    };
    for (int i = 0; i < 5; ++i) more();
    for (int i = 0; i < 100; ++i) {
        if (i % 2 == 0) pair.heartbeat();
        pair.round();
        more();
    }
    CHECK(pair.follower.machine.set_snapshot_calls >= 1);
    pair.settle();
}

// ----- Types of data -----------------------------------------------------------------------------

namespace {

struct Whole {
    Ids ids;
};

void encode(const Ids& from, Whole& to) { to.ids = from; }
Ids decode(const Whole& from) { return from.ids; }
std::size_t size_of(const Whole&) { return 0; }

template <class Bytes>
void encode(const Ids& from, Bytes& to) {
    for (std::uint64_t id : from) to.push_back(static_cast<typename Bytes::value_type>(id));
}
template <class Bytes>
Ids decode(const Bytes& from) {
    Ids result;
    for (auto byte : from) result.push_back(static_cast<std::uint64_t>(byte));
    return result;
}
template <class Bytes>
std::size_t size_of(const Bytes& bytes) {
    return bytes.size();
}

/// A machine whose snapshots are of that type.
template <class Data>
struct MachineOf {
    using Transition = Command;
    using SnapshotData = Data;
    std::vector<Command> pending;
    Ids applied;
    std::optional<lr::Snapshot<Data>> saved;
    int set_snapshot_calls = 0;

    void register_transition_state(std::uint64_t, lr::TransitionState) {}
    void apply_transition(const Command& command) { applied.push_back(command.id); }
    std::vector<Command> get_pending_transitions() { return std::exchange(pending, {}); }
    std::optional<lr::Snapshot<Data>> get_snapshot() { return saved; }
    Data create_snapshot(Index index, Term term) {
        saved = lr::Snapshot<Data>{{term, index}, {}};
        encode(applied, saved->data);
        return saved->data;
    }
    void set_snapshot(const lr::Snapshot<Data>& snapshot) {
        ++set_snapshot_calls;
        saved = snapshot;
        applied = decode(snapshot.data);
    }
};

template <class Data>
struct WireOf {
    using Message = lr::MessageOf<MachineOf<Data>>;
    std::vector<Message> inbox, sent;
    void send_message(ReplicaId, Message message) { sent.push_back(std::move(message)); }
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
};

/// Replica 1 applies ten commands before replica 2 is reachable. Returns the sizes of the chunks.
template <class Data>
std::vector<std::size_t> transfer() {
    lr::Options<MachineOf<Data>> options{
        .snapshot_delta = 10, .snapshot_trailing = 0, .snapshot_chunk_bytes = 4};
    MachineOf<Data> machines[2];
    WireOf<Data> wires[2];
    const std::vector<ReplicaId> members{{1}, {2}, {3}};
    lr::Replica leader{ReplicaId{1}, members, wires[0], machines[0], options};
    lr::Replica follower{ReplicaId{2}, members, wires[1], machines[1], options};
    lr::Time now{};
    leader.poll(now);
    follower.poll(now);
    leader.poll(now += 2s);
    auto from_3 = [&](auto body, std::uint64_t term = 1) {
        wires[0].inbox.push_back({{3}, {1}, {term}, body});
        leader.poll(now);
    };
    from_3(lr::RequestVoteResponse{true, true}, 0);
    from_3(lr::RequestVoteResponse{false, true});
    for (std::uint64_t id = 1; id <= 10; ++id) machines[0].pending.push_back({id, id});
    leader.poll(now);
    from_3(lr::AppendEntriesResponse{true, Index{1}, {}});
    from_3(lr::AppendEntriesResponse{true, Index{11}, {}});
    CHECK(machines[0].applied == ids(1, 10));
    CHECK(leader.status().first_log_index == Index{12});
    wires[0].sent.clear();

    std::vector<std::size_t> sizes;
    for (int round = 0; round < 20; ++round) {
        leader.poll(now += 50ms);
        for (auto& message : std::exchange(wires[0].sent, {})) {
            if (message.to != ReplicaId{2}) continue;
            using Install = std::variant_alternative_t<4, decltype(message.body)>;
            if (auto* install = std::get_if<Install>(&message.body)) {
                sizes.push_back(size_of(install->data));
            }
            wires[1].inbox.push_back(std::move(message));
        }
        follower.poll(now);
        wires[0].inbox = std::exchange(wires[1].sent, {});
        leader.poll(now);
    }
    CHECK(follower.status().last_applied == Index{11});
    CHECK(machines[1].applied == ids(1, 10));
    CHECK(machines[1].set_snapshot_calls == 1);
    return sizes;
}

}  // namespace

TEST_CASE("bytes travel in chunks, whatever contiguous type holds them") {
    const std::vector<std::size_t> expected{4, 4, 2};
    CHECK(transfer<std::string>() == expected);
    CHECK(transfer<std::vector<std::uint8_t>>() == expected);
    CHECK(transfer<std::vector<char>>() == expected);
    CHECK(transfer<std::vector<std::byte>>() == expected);
}

TEST_CASE("any other data travel whole") {
    CHECK(transfer<Whole>().size() == 1);
    CHECK(transfer<std::vector<std::uint64_t>>().size() == 1);
}
