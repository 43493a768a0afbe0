// Each case is named for what once went wrong here.
#include <doctest/doctest.h>

#include <deque>

#include "support.hpp"
#include "testing/inspect.hpp"

using namespace support;

namespace {
/// Moves all nodes through time, one millisecond a step, every message taking one.
template <class Nodes, class EachStep>
void run(Nodes& nodes, int milliseconds, EachStep each_step) {
    for (int ms = 0; ms < milliseconds; ++ms) {
        for (Node* node : nodes) {
            each_step(*node, ms);
            node->advance(1ms);
        }
        for (Node* node : nodes) {
            for (Message& message : node->sent()) {
                for (Node* to : nodes) {
                    if (to->id == message.to) to->wire.inbox.push_back(message);
                }
            }
        }
    }
}

std::size_t leaders_among(std::initializer_list<Node*> nodes) {
    std::size_t leaders = 0;
    for (Node* node : nodes) leaders += node->status().role == lr::Role::leader ? 1 : 0;
    return leaders;
}
}  // namespace

TEST_CASE("a transition is not abandoned while a third replica may still commit it") {
    Node node(1, {2, 3, 4, 5});
    node.elect();
    node.machine.pending.push_back({77, 0});
    node.poll();
    REQUIRE(node.machine.states_of(77) == std::vector{lr::TransitionState::queued});
    std::uint64_t term = node.status().term.value;
    Index at = node.status().last_log_index;
    Entry lost{Term{term}, Command{77, 0}};

    // The leader of the next term never saw it and replaces it ...
    Entry other{Term{term + 1}, lr::Noop{}};
    node.poll({node.from(3, term + 1, AppendEntries{{Term{term}, at - 1}, Index{0}, {other}})});
    CHECK(node.machine.states_of(77) == std::vector{lr::TransitionState::queued});

    SUBCASE("... but one after that has it, and commits it") {
        Entry own{Term{term + 2}, lr::Noop{}};
        node.poll(
            {node.from(2, term + 2, AppendEntries{{Term{term}, at - 1}, at + 1, {lost, own}})});
        CHECK(node.machine.states_of(77) == std::vector{lr::TransitionState::queued,
                                                        lr::TransitionState::committed,
                                                        lr::TransitionState::applied});
    }
    SUBCASE("... and commits what is there instead: now it is abandoned") {
        node.poll({node.from(3, term + 1, AppendEntries{{Term{term + 1}, at}, at, {}})});
        CHECK(node.machine.states_of(77) ==
              std::vector{lr::TransitionState::queued,
                          lr::TransitionState::abandoned_conflict_with_leader});
    }
}

TEST_CASE(
    "a snapshot of a term above the stored one raises the term, so that the log makes sense") {
    Node node(1, {});
    node.machine.saved = lr::Snapshot<std::string>{{{7}, {10}}, ""};
    node.elect();
    CHECK(node.status().role == lr::Role::leader);
    CHECK(node.status().term > Term{7});
    node.machine.pending.push_back({1, 1});
    node.poll();
    CHECK(node.machine.applied == std::vector<std::uint64_t>{1});
    node.restart();
    CHECK_FALSE(node.status().fault.has_value());
}

TEST_CASE("replicas whose ids differ only in their high bits draw different timeouts") {
    for (unsigned shift : {0U, 32U, 40U}) {
        CAPTURE(shift);
        std::vector<std::uint64_t> ids;
        for (std::uint64_t k = 1; k <= 3; ++k) ids.push_back(k << shift);
        Node first(ids[0], {ids[1], ids[2]});
        Node second(ids[1], {ids[0], ids[2]});
        Node third(ids[2], {ids[0], ids[1]});
        std::vector<Node*> nodes{&first, &second, &third};
        run(nodes, 5'000, [](Node&, int) {});
        CHECK(leaders_among({&first, &second, &third}) == 1);
    }
}

TEST_CASE(
    "a lost message among many is answered with one, not with the window for each rejection") {
    Node node;
    node.elect();
    std::uint64_t term = node.status().term.value;
    lr::AppendEntriesResponse has_first{true, Index{1}, {}};
    node.poll({node.from(2, term, has_first), node.from(3, term, has_first)});
    node.sent();
    std::vector<Index> asked;
    for (std::uint64_t round = 0; round < 50; ++round) {
        node.machine.pending = {{2 * round + 1, 0}, {2 * round + 2, 0}};
        node.poll();
        for (Message& message : node.sent()) {
            auto* append = std::get_if<AppendEntries>(&message.body);
            if (append && message.to == ReplicaId{2}) asked.push_back(append->prev_log.index);
        }
    }
    REQUIRE(asked.size() == 50);
    std::size_t resent = 0;
    for (std::size_t i = 1; i < asked.size(); ++i) {  // The first was lost.
        lr::AppendEntriesResponse refused{false, asked[i], {Term{term}, Index{1}}};
        node.poll({node.from(2, term, refused)});
        for (Message& message : node.sent()) {
            resent +=
                std::holds_alternative<AppendEntries>(message.body) && message.to == ReplicaId{2}
                    ? 1
                    : 0;
        }
    }
    CHECK(resent == 1);
}

TEST_CASE("a follower far behind catches up while writes and snapshots go on") {
    Options options;
    options.snapshot_delta = 100;
    options.snapshot_trailing = 20;
    options.snapshot_chunk_bytes = 256;
    Node first(1, {2, 3}, options);
    Node second(2, {1, 3}, options);
    Node third(3, {1, 2}, options);
    std::vector<Node*> two{&first, &second};
    std::uint64_t id = 0;
    auto write = [&](Node& node, int) {
        if (node.status().role != lr::Role::leader || id >= 4'000) return;
        node.machine.pending.push_back({++id, 0});
        node.machine.states.clear();
    };
    run(two, 3'000, write);
    REQUIRE(id > 1'000);
    third.now = first.now;
    std::vector<Node*> three{&first, &second, &third};
    run(three, 6'000, write);
    CHECK(third.machine.set_snapshot_calls > 0);
    CHECK(third.machine.applied == first.machine.applied);
    CHECK(third.machine.applied.size() == 4'000);
}

TEST_CASE("a transfer that ends behind the log's beginning is followed by another") {
    Options options;
    options.snapshot_delta = 4;
    options.snapshot_trailing = 0;
    options.snapshot_chunk_bytes = 8;
    Node node(1, {2, 3}, options);
    node.elect();
    std::uint64_t term = node.status().term.value;
    std::uint64_t id = 0;
    auto commit_some = [&] {
        for (int k = 0; k < 4; ++k) node.machine.pending.push_back({++id, 0});
        node.poll();
        Index last = node.status().last_log_index;
        node.poll({node.from(3, term, lr::AppendEntriesResponse{true, last, {}})});
    };
    commit_some();
    commit_some();
    node.sent();
    // Replica 2 says that it has nothing.
    lr::AppendEntriesResponse nothing{false, Index{0}, {}};
    node.advance(options.heartbeat_timeout);
    for (Message& message : node.sent()) {
        auto* append = std::get_if<AppendEntries>(&message.body);
        if (append && message.to == ReplicaId{2}) nothing.match_index = append->prev_log.index;
    }
    node.poll({node.from(2, term, nothing)});
    auto chunks = node.sent_of<InstallSnapshot>();
    REQUIRE(chunks.size() == 1);
    Index old_snapshot = chunks[0].last_included.index;
    commit_some();  // Snapshots and compaction go on meanwhile.
    commit_some();
    REQUIRE(node.status().first_log_index > old_snapshot + 1);
    node.sent();
    node.poll({node.from(2, term, lr::AppendEntriesResponse{true, old_snapshot, {}})});
    chunks = node.sent_of<InstallSnapshot>();
    REQUIRE(chunks.size() == 1);
    CHECK(chunks[0].last_included.index > old_snapshot);
}

TEST_CASE("a probe that waits while the log is compacted past it ends in a snapshot") {
    Options options;
    options.snapshot_delta = 4;
    options.snapshot_trailing = 0;
    Node node(1, {2, 3}, options);
    node.elect();
    std::uint64_t term = node.status().term.value;
    // Replica 2 never answers; its probe stands at the beginning of the log.
    for (std::uint64_t id = 1; id <= 8; ++id) {
        node.machine.pending.push_back({id, 0});
        node.poll();
        Index last = node.status().last_log_index;
        node.poll({node.from(3, term, lr::AppendEntriesResponse{true, last, {}})});
    }
    REQUIRE(node.status().first_log_index > Index{2});
    node.sent();
    node.advance(options.heartbeat_timeout);
    std::optional<Index> asked;
    for (Message& message : node.sent()) {
        auto* append = std::get_if<AppendEntries>(&message.body);
        if (append && message.to == ReplicaId{2}) asked = append->prev_log.index;
    }
    REQUIRE(asked.has_value());
    node.poll({node.from(2, term, lr::AppendEntriesResponse{false, *asked, {}})});
    CHECK(node.sent_of<InstallSnapshot>().size() == 1);
}

TEST_CASE("an own entry behind an installed snapshot of its term can still commit") {
    Node node(1, {2, 3});
    node.elect();
    std::uint64_t term = node.status().term.value;
    for (std::uint64_t id = 70; id < 73; ++id) node.machine.pending.push_back({id, 0});
    node.poll();  // At 2, 3 and 4.
    Entry other{Term{term + 1}, lr::Noop{}};
    node.poll({node.from(3, term + 1, AppendEntries{{Term{term}, Index{1}}, Index{0}, {other}})});
    InstallSnapshot snapshot{{Term{term}, Index{3}}, 0, std::string(16, '\0'), true};
    node.poll({node.from(2, term + 2, snapshot)});
    using enum lr::TransitionState;
    CHECK(node.machine.states_of(70) == std::vector{queued, outcome_unknown});
    CHECK(node.machine.states_of(71) == std::vector{queued, outcome_unknown});
    Entry own{Term{term}, Command{72, 0}};
    node.poll({node.from(2, term + 2, AppendEntries{{Term{term}, Index{3}}, Index{4}, {own}})});
    CHECK(node.machine.states_of(72) == std::vector{queued, committed, applied});
}

TEST_CASE("a snapshot of term 0 is refused where it is loaded, since no leader could send it") {
    Node node;
    node.machine.saved = lr::Snapshot<std::string>{{{0}, {10}}, ""};
    REQUIRE(node.status().fault.has_value());
    CHECK(node.status().fault == "the machine's snapshot and the stored log do not meet");
}

TEST_CASE("a copy on other objects goes on as the original would, and leaves it alone") {
    Node node;
    node.elect();
    Wire wire = node.wire;
    Machine machine = node.machine;
    Disk disk = node.disk;
    auto copy = lr::Inspect::branch(*node.replica, wire, machine, disk);
    machine.pending.push_back({5, 0});
    copy->poll(node.now);
    CHECK(copy->status().last_log_index == node.status().last_log_index + 1);
    CHECK(machine.states_of(5) == std::vector{lr::TransitionState::queued});
    CHECK(node.machine.states_of(5).empty());
    node.machine.pending.push_back({5, 0});
    node.poll();
    CHECK(node.status().last_log_index == copy->status().last_log_index);
    CHECK(node.wire.sent.size() == wire.sent.size());
}

TEST_CASE("a crash between saving a snapshot and cutting the log does not let the log grow") {
    Options options;
    options.snapshot_delta = 5;
    options.snapshot_trailing = 2;
    Node node(1, {2, 3}, options);
    node.poll();
    std::uint64_t id = 1;
    for (std::uint64_t life = 1; life <= 10; ++life) {
        // Five entries commit, which makes a snapshot due; the next poll would write the cut.
        Index last = node.status().last_log_index;
        Term last_term{last.value > 0 ? 1U : 0U};
        node.poll(
            {node.from(2, 1, AppendEntries{{last_term, last}, last, {}}),
             node.from(2, 1,
                       AppendEntries{
                           {last_term, last}, last + 5, entries_of_terms({1, 1, 1, 1, 1}, id)})});
        id += 5;
        REQUIRE(node.machine.saved->last_included.index == Index{5 * life});
        REQUIRE(node.disk.durable.entries.size() >= 5);
        node.restart();
        CHECK(node.status().first_log_index == Index{5 * life - 2 + 1});
        CHECK(node.status().last_log_index == Index{5 * life});
        node.poll();
        CHECK(node.disk.durable.last_included.index == Index{5 * life - 2});
        CHECK(node.disk.durable.entries.size() == 2);
    }
}

TEST_CASE("regression: heartbeats with news of a commit left a follower unheard") {
    // News of a commit is not answered. While a follower's window is full, or a probe is waited
    // for, it is not told at once; and where a slow follower made the commit index creep, each
    // heartbeat brought the other some news, and so was not answered either. Replica 3 is slow: it
    // acknowledges one entry for each heartbeat. Of 2 one answer is lost, and nothing after it.
    Options options;
    options.inflight_messages_max = 1;
    std::deque<Node> nodes;
    nodes.emplace_back(1, std::vector<std::uint64_t>{2, 3}, options);
    nodes.emplace_back(2, std::vector<std::uint64_t>{1, 3}, options);
    Node& leader = nodes[0];
    Node& follower = nodes[1];
    leader.elect();
    follower.poll();
    constexpr std::uint64_t count = 60;
    for (std::uint64_t id = 1; id <= count; ++id) leader.machine.pending.push_back({id, id});
    std::uint64_t term = leader.status().term.value;
    auto to_follower = [&] {
        for (Message& message : leader.sent()) {
            if (message.to == follower.id) follower.wire.inbox.push_back(std::move(message));
        }
        follower.poll();
    };
    auto to_leader = [&] {
        for (Message& message : follower.sent()) {
            if (message.to == leader.id) leader.wire.inbox.push_back(std::move(message));
        }
    };
    to_follower();  // The first entry of the term.
    to_leader();
    leader.poll();  // All the others, in one message,
    to_follower();
    follower.sent();  // ... the answer to which is lost.
    for (std::uint64_t beat = 1; beat <= 3; ++beat) {
        leader.poll({leader.from(3, term, lr::AppendEntriesResponse{true, Index{1 + beat}, {}})});
        leader.advance(options.heartbeat_timeout);
        to_follower();
        to_leader();
        leader.poll();
    }
    CHECK(follower.status().last_log_index == Index{count + 1});
    CHECK(leader.status().commit_index == Index{count + 1});
    for (const lr::Progress& peer : leader.status().progress) {
        if (peer.id == follower.id) CHECK(peer.match_index == Index{count + 1});
    }
}

TEST_CASE("a refusal of before a follower had an entry is no loss of its disk, however late") {
    Node node;
    node.elect();
    std::uint64_t term = node.status().term.value;
    lr::AppendEntriesResponse has_first{true, Index{1}, {}};
    node.poll({node.from(2, term, has_first), node.from(3, term, has_first)});
    node.machine.pending = {{1, 0}};
    node.poll();
    auto appended = node.sent_of<AppendEntries>();
    REQUIRE(appended.back().prev_log.index == Index{1});
    node.advance(node.options.heartbeat_timeout);
    auto beats = node.sent_of<AppendEntries>();
    REQUIRE(beats.back().prev_log.index == Index{2});
    // The heartbeat overtook the entry and was refused. Then the follower began anew, so that it
    // had heard only of the entry when it got that. Its two answers overtook each other too.
    lr::AppendEntriesResponse has_second{true, Index{2}, {}, 0, appended.back().sent};
    lr::AppendEntriesResponse refused{
        false, Index{2}, {Term{term}, Index{1}}, 0, beats.back().sent};
    node.advance(1ms);
    node.poll({node.from(2, term, has_second), node.from(2, term, refused)});
    for (const lr::Progress& peer : node.status().progress) CHECK_FALSE(peer.lost);

    SUBCASE("a refusal of what was sent after that is one") {
        node.advance(node.options.heartbeat_timeout);
        refused.heard = node.sent_of<AppendEntries>().back().sent;
        node.poll({node.from(2, term, refused)});
        CHECK(node.status().progress[1].lost);
    }
}

TEST_CASE("a higher term does not make a voter forget the leader that it hears") {
    Node node;
    node.poll({node.from(2, 1, AppendEntries{})});
    REQUIRE(node.status().leader == ReplicaId{2});
    node.sent();
    lr::RequestVote request{false, {Term{0}, Index{0}}};
    // It gets to know the term by an answer, and is then asked for a vote in it.
    node.advance(1ms);
    node.poll({node.from(3, 2, lr::RequestVoteResponse{}), node.from(3, 2, request)});
    for (const auto& response : node.sent_of<lr::RequestVoteResponse>())
        CHECK_FALSE(response.vote_granted);

    SUBCASE("unless the leader asked for it") {
        request.transfer = true;
        node.poll({node.from(3, 2, request)});
        CHECK(node.sent_of<lr::RequestVoteResponse>().back().vote_granted);
    }
    SUBCASE("or was not heard for the least timeout") {
        node.advance(node.options.election_timeout_range.min);
        node.sent();
        node.poll({node.from(3, node.status().term.value, request)});
        CHECK(node.sent_of<lr::RequestVoteResponse>().back().vote_granted);
    }
}

TEST_CASE("what a replica holds anew after its disk was lost does not count") {
    Node node;
    node.elect();
    std::uint64_t term = node.status().term.value;
    lr::AppendEntriesResponse has_first{true, Index{1}, {}};
    node.poll({node.from(2, term, has_first)});
    REQUIRE(node.status().commit_index == Index{1});
    node.advance(node.options.heartbeat_timeout);
    node.advance(node.options.heartbeat_timeout);
    node.poll({node.from(2, term, lr::AppendEntriesResponse{false, Index{1}, {}})});
    CHECK(node.status().progress[1].lost);
    CHECK(node.status().progress[1].match_index == Index{0});

    node.machine.pending = {{1, 0}};
    node.advance(1ms);
    lr::AppendEntriesResponse has_second{true, Index{2}, {}};
    node.poll({node.from(2, term, has_second)});
    CHECK(node.status().commit_index == Index{1});
    node.poll({node.from(3, term, has_second)});
    CHECK(node.status().commit_index == Index{2});
}

TEST_CASE("regression: a replica that was silent was sent a snapshot, of which a copy was kept") {
    GroupOf<Node> group(3,
                        {.snapshot_delta = 10, .snapshot_trailing = 0, .snapshot_chunk_bytes = 64});
    REQUIRE(group.elect(1));
    std::uint64_t id = 0;
    auto commit = [&] {
        ++id;
        group[1].machine.pending.push_back({id, id});
        REQUIRE(group.settle());
    };
    commit();
    REQUIRE(group.advance(200ms));
    group.down.insert(3);
    REQUIRE(group.advance(2s));
    std::uint64_t transfers = group[1].status().counters.snapshots_sent;
    for (int i = 0; i < 1'000; ++i) {
        commit();  // More than its window takes.
        if (i % 20 == 0) REQUIRE(group.advance(50ms));
    }
    REQUIRE(group[1].status().first_log_index > group[1].status().progress[2].next_index);
    CHECK(group[1].status().counters.snapshots_sent == transfers);
    CHECK(lr::Inspect::outgoing(*group[1].replica) == nullptr);
    group.down.clear();
    REQUIRE(group.advance(1s));
    CHECK(group[3].machine.applied == group[1].machine.applied);
    CHECK(group[3].machine.set_snapshot_calls == 1);
}
