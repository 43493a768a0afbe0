// A replica that comes back without what it had acknowledged: how its leader notices, that it no
// longer counts, and how it is replaced.
#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::AppendEntriesResponse;
using lr::LogPosition;
using lr::Role;
using lr::Time;
using lr::TransitionState;
using Ids = std::vector<std::uint64_t>;

struct TellingWire : Wire {
    std::vector<ReplicaId> lost;
    void register_lost_disk(ReplicaId id) { lost.push_back(id); }
};

/// A read is a number.
struct ReadMachine : Machine {
    using Read = std::uint64_t;
    Ids reads;
    Ids served;
    Ids abandoned;
    Ids get_pending_reads() { return std::exchange(reads, {}); }
    void apply_read(std::uint64_t read) { served.push_back(read); }
    void abandon_read(std::uint64_t read) { abandoned.push_back(read); }
};

using Teller = NodeOf<ReadMachine, Disk, TellingWire>;
using Tellers = GroupOf<Teller>;

const lr::Progress& progress(const Teller& node, std::uint64_t peer) {
    for (const lr::Progress& member : node.replica->status().progress)
        if (member.id == ReplicaId{peer}) return member;
    FAIL("no such member");
    return node.replica->status().progress[0];
}

/// When the latest append or chunk to the peer was sent.
Time last_sent(const std::vector<Message>& sent, std::uint64_t peer) {
    Time last{};
    for (const Message& message : sent) {
        if (message.to != ReplicaId{peer}) continue;
        if (auto* append = std::get_if<AppendEntries>(&message.body)) last = append->sent;
        if (auto* chunk = std::get_if<InstallSnapshot>(&message.body)) last = chunk->sent;
    }
    REQUIRE(last != Time{});
    return last;
}

/// Replica 1, which leads the others in term 1 with three entries, which all have acknowledged.
Teller leading(std::vector<std::uint64_t> others = {2, 3}) {
    Teller node(1, others);
    node.elect();
    node.machine.pending = {{1, 1}, {2, 2}};
    node.poll();
    std::vector<Message> sent = node.sent();
    for (std::uint64_t other : others) {
        AppendEntriesResponse all{true, Index{3}, {}};
        all.heard = last_sent(sent, other);
        // The first entry was a probe; the rest follows its answer.
        node.poll({node.from(other, 1, AppendEntriesResponse{true, Index{1}, {}})});
        node.poll({node.from(other, 1, all)});
    }
    node.poll();
    node.sent();
    REQUIRE(node.status().commit_index == Index{3});
    return node;
}

/// The peer, whose log is empty, answers the latest heartbeat.
Message empty_handed(const Teller& node, std::uint64_t peer, Time heard) {
    AppendEntriesResponse refusal{false, Index{3}, {}};
    refusal.heard = heard;
    return node.from(peer, 1, refusal);
}

/// The stamp of the next heartbeat, as if the peer heard it though it may be sent none any more.
Time beat(Teller& node, std::uint64_t peer) {
    node.advance(node.options.heartbeat_timeout);
    return last_sent(node.sent(), progress(node, peer).lost ? peer ^ 1 : peer);
}

/// The process of this replica ends, and comes back with nothing of its disk.
void wipe(Teller& node) {
    node.replica.reset();
    node.disk = {};
    node.machine = {};
    node.wire = {};
    node.boot();
}

void propose(Tellers& group, std::uint64_t id) {
    group[group.leader()].machine.pending.push_back({id, id});
    REQUIRE(group.settle());
}

/// Replica 1 leads, five commands are committed, and it knows that 3 has lost its disk.
void lose_disk_of_3(Tellers& group) {
    REQUIRE(group.elect(1));
    for (std::uint64_t id = 1; id <= 5; ++id) propose(group, id);
    wipe(group[3]);
    REQUIRE(group.advance(500ms));
    REQUIRE(progress(group[1], 3).lost);
}

}  // namespace

// ----- How it is noticed -------------------------------------------------------------------------

TEST_CASE("a leader notices that what was acknowledged is gone, and tells once") {
    Teller node = leading();
    node.poll({empty_handed(node, 2, beat(node, 2))});
    CHECK(node.wire.lost == std::vector{ReplicaId{2}});
    CHECK(progress(node, 2).lost);
    CHECK(progress(node, 2).match_index == Index{0});
    CHECK_FALSE(progress(node, 3).lost);
    CHECK(node.status().role == Role::leader);
    for (int i = 0; i < 5; ++i) node.poll({empty_handed(node, 2, beat(node, 2))});
    CHECK(node.wire.lost.size() == 1);
    CHECK(node.status().commit_index == Index{3});  // What is committed stays so.
}

TEST_CASE("a part that is gone is noticed like the whole") {
    for (std::uint64_t left = 0; left <= 3; ++left) {
        CAPTURE(left);
        Teller node = leading();
        AppendEntriesResponse refusal{false, Index{3}, {Term{left > 0 ? 1U : 0U}, Index{left}}};
        refusal.heard = beat(node, 2);
        node.poll({node.from(2, 1, refusal)});
        CHECK(progress(node, 2).lost == (left < 3));
    }
}

TEST_CASE("a refusal that is late is not mistaken for it") {
    // It was given before the entries came which the peer has acknowledged since.
    Teller node(1, {2, 3});
    node.elect();
    node.machine.pending = {{1, 1}};
    node.poll();
    Time probe = last_sent(node.sent(), 2);
    Message refusal = node.from(2, 1, [&] {
        AppendEntriesResponse response{false, Index{1}, {}};
        response.heard = probe;
        return response;
    }());
    AppendEntriesResponse success{true, Index{2}, {}};
    SUBCASE("they were heard at the same time") { success.heard = probe; }
    SUBCASE("the success is of a later message") { success.heard = beat(node, 2); }
    node.poll({node.from(2, 1, success)});
    REQUIRE(progress(node, 2).match_index == Index{2});
    node.poll({refusal});
    node.poll({refusal});
    CHECK_FALSE(progress(node, 2).lost);
    CHECK(progress(node, 2).match_index == Index{2});
    CHECK(node.wire.lost.empty());
}

TEST_CASE("regression: a refusal from before a restart was taken for a lost disk") {
    // The peer has heard the second message, refuses it, and restarts, so that it knows no longer
    // what it has heard; then it acknowledges the first. The refusal is slow.
    Tellers group(3);
    REQUIRE(group.elect(1));
    REQUIRE(group.settle());
    auto sent_to = [&](std::uint64_t from, std::uint64_t to) {
        group[from].poll();
        std::optional<Message> last;
        for (Message& message : group[from].sent())
            if (message.to == ReplicaId{to}) last = std::move(message);
        REQUIRE(last);
        return *last;
    };
    group[1].machine.pending = {{1, 1}};
    Message first = sent_to(1, 3);
    group[1].now += 1ms;
    group[1].machine.pending = {{2, 2}};
    Message second = sent_to(1, 3);
    group[3].wire.inbox = {second};
    Message refusal = sent_to(3, 1);
    group[3].restart();
    group[3].wire.inbox = {first};
    Message success = sent_to(3, 1);
    auto& refused = std::get<AppendEntriesResponse>(refusal.body);
    auto& acknowledged = std::get<AppendEntriesResponse>(success.body);
    REQUIRE_FALSE(refused.success);
    REQUIRE(acknowledged.success);
    REQUIRE(acknowledged.match_index > refused.hint.index);
    REQUIRE(acknowledged.heard < refused.heard);
    // They may reach the leader in one poll.
    SUBCASE("apart") { group[1].poll({success}); }
    SUBCASE("together") { group[1].wire.inbox = {success}; }
    group[1].poll({refusal});
    CHECK_FALSE(progress(group[1], 3).lost);
    CHECK(progress(group[1], 3).match_index == acknowledged.match_index);
    REQUIRE(group.advance(200ms));
    CHECK(group[1].wire.lost.empty());
    CHECK(group[3].machine.applied == Ids{1, 2});
}

TEST_CASE("nor is a refusal of what the peer never had") {
    Teller node = leading();
    node.machine.pending = {{3, 3}};
    node.poll();  // On its way, and lost.
    AppendEntriesResponse refusal{false, Index{4}, {Term{1}, Index{3}}};
    refusal.heard = beat(node, 2);
    node.poll({node.from(2, 1, refusal)});
    CHECK_FALSE(progress(node, 2).lost);
    CHECK(progress(node, 2).match_index == Index{3});
    auto sent = node.sent_of<AppendEntries>();
    REQUIRE_FALSE(sent.empty());
    CHECK(sent[0].entries.size() == 1);  // It is simply sent again.
}

// ----- That it no longer counts ------------------------------------------------------------------

TEST_CASE("what it acknowledges from then on commits nothing") {
    Teller node = leading();
    node.poll({empty_handed(node, 2, beat(node, 2))});
    node.machine.pending = {{3, 3}};
    node.poll();
    AppendEntriesResponse success{true, Index{4}, {}};
    success.heard = last_sent(node.sent(), 3);
    node.poll({node.from(2, 1, success)});
    node.poll();
    CHECK(node.status().commit_index == Index{3});
    CHECK(node.machine.states_of(3) == std::vector{TransitionState::queued});
    node.poll({node.from(3, 1, success)});
    node.poll();
    CHECK(node.status().commit_index == Index{4});
}

TEST_CASE("that it hears the leader keeps none in office [PhD 6.2]") {
    for (bool lost : {true, false}) {
        CAPTURE(lost);
        Teller node = leading();
        if (lost) node.poll({empty_handed(node, 2, beat(node, 2))});
        for (int i = 0; i < 60; ++i) {  // Three seconds, in which replica 3 is silent.
            node.advance(node.options.heartbeat_timeout);
            AppendEntriesResponse heard{!lost, Index{3}, {}};
            heard.heard = node.now;
            node.poll({node.from(2, 1, heard)});
        }
        CHECK((node.status().role == Role::leader) == !lost);
    }
}

TEST_CASE("that it hears the leader serves no read") {
    for (bool lost : {true, false}) {
        CAPTURE(lost);
        Teller node = leading();
        if (lost) node.poll({empty_handed(node, 2, beat(node, 2))});
        node.machine.reads = {7};
        node.poll();
        node.poll();
        node.sent();
        node.advance(node.options.heartbeat_timeout);
        AppendEntriesResponse heard{!lost, Index{3}, {}};
        heard.heard = last_sent(node.sent(), lost ? 3 : 2);
        node.poll({node.from(2, 1, heard)});
        CHECK(node.machine.served.size() == (lost ? 0 : 1));
    }
}

TEST_CASE("it is not told to lead") {
    Teller node = leading();
    node.poll({empty_handed(node, 2, beat(node, 2))});
    node.wire.transfer_to = ReplicaId{2};
    node.poll();
    for (int i = 0; i < 5; ++i) {
        Time heard = beat(node, 3);
        AppendEntriesResponse all{true, Index{3}, {}};
        all.heard = heard;
        node.poll({empty_handed(node, 2, heard), node.from(3, 1, all)});
        CHECK(node.sent_of<lr::TimeoutNow>().empty());
    }
}

TEST_CASE("it is sent nothing more, so that it notices, too, and costs nothing") {
    Teller node = leading();
    node.poll({empty_handed(node, 2, beat(node, 2))});
    std::uint64_t messages = 0;
    std::uint64_t heartbeats = 200;
    for (std::uint64_t i = 0; i < heartbeats; ++i) {
        node.now += node.options.heartbeat_timeout;
        node.machine.pending = {{10 + i, 0}};
        node.poll();
        for (int polls = 0; polls < 4; ++polls) {
            std::vector<Message> answers;
            for (const Message& message : node.sent()) {
                auto* append = std::get_if<AppendEntries>(&message.body);
                REQUIRE(append);
                if (message.to == ReplicaId{2}) {
                    ++messages;
                    answers.push_back(empty_handed(node, 2, append->sent));
                } else {
                    AppendEntriesResponse all{true, append->prev_log.index, {}};
                    all.match_index = all.match_index + append->entries.size();
                    all.heard = append->sent;
                    answers.push_back(node.from(3, 1, all));
                }
            }
            node.poll(std::move(answers));
        }
    }
    CHECK(node.status().role == Role::leader);
    CHECK(node.status().commit_index == Index{3 + heartbeats});
    CHECK(messages == 0);
}

// ----- Real replicas -----------------------------------------------------------------------------

TEST_CASE("a cluster goes on without it, and neither side crashes") {
    for (std::uint64_t delta : {0U, 10U}) {
        for (std::uint64_t count : {1U, 5U, 40U}) {
            CAPTURE(delta);
            CAPTURE(count);
            Teller::Options options;
            options.snapshot_delta = delta;
            options.snapshot_trailing = 3;
            Tellers group(3, options);
            REQUIRE(group.elect(1));
            for (std::uint64_t id = 1; id <= count; ++id) propose(group, id);
            REQUIRE(group.settle());
            wipe(group[3]);
            REQUIRE(group.advance(500ms));
            CHECK(group[1].wire.lost == std::vector{ReplicaId{3}});
            CHECK(group.leader() == 1);
            std::uint64_t carried = group.carried;
            lr::Term term = group[1].status().term;
            REQUIRE(group.advance(10s));
            // One is sent a heartbeat, and answers; the other asks for PreVotes, in vain.
            CHECK(group.carried - carried <= 2 * (10s / options.heartbeat_timeout + 1) + 40);
            CHECK(group[1].status().term == term);
            CHECK(group[3].status().role == Role::pre_candidate);
            group[3].machine.reads = {7};
            REQUIRE(group.settle());
            CHECK(group[3].machine.abandoned == std::vector<std::uint64_t>{7});
            for (std::uint64_t id = count + 1; id <= count + 20; ++id) propose(group, id);
            CHECK(group[1].machine.applied.size() == count + 20);
            CHECK(group[2].machine.applied.size() == count + 20);
            CHECK(group[3].machine.applied.empty());
            CHECK_FALSE(group[3].status().fault);
            CHECK(group[1].wire.lost.size() == 1);
        }
    }
}

TEST_CASE("one whose process ends and whose disk does not is never taken for lost") {
    Teller::Options options;
    options.snapshot_delta = 5;
    options.snapshot_trailing = 0;
    Tellers group(3, options);
    REQUIRE(group.elect(1));
    std::uint64_t random = 1, restarts = 0, held = 0;
    group.holds = [&](const Message& message) {
        bool stays = (random >> 50) % 5 == message.body.index();
        random = random * 6364136223846793005 + 1442695040888963407;
        held += stays ? 1 : 0;
        return stays;
    };
    for (std::uint64_t id = 1; id <= 500; ++id) {
        group[group.leader()].machine.pending.push_back({id, id});
        random = random * 6364136223846793005 + 1442695040888963407;
        std::uint64_t which = 2 + (random >> 33) % 8;
        if (which <= 3) {
            group[which].restart();
            ++restarts;
        }
        if ((random >> 40) % 3 == 0) {
            group.step();
        } else {
            REQUIRE(group.advance(20ms));
        }
    }
    REQUIRE(group.advance(3s));
    CHECK(restarts > 50);
    CHECK(held > 500);
    for (Teller& node : group.nodes) CHECK(node.wire.lost.empty());
    CHECK(group[2].machine.applied == group[1].machine.applied);
    CHECK(group[3].machine.applied == group[1].machine.applied);
    CHECK(group[1].machine.applied.size() > 400);
}

TEST_CASE("what one leader noticed the next does not know: it brings the replica up to date") {
    // Nothing says so in the log. So a lost replica is to be stopped, not left running: it votes,
    // and what it acknowledges counts, though it may have helped to commit what it now lacks.
    Tellers group(3);
    lose_disk_of_3(group);
    group[1].wire.transfer_to = ReplicaId{2};
    REQUIRE(group.advance(500ms));
    REQUIRE(group.leader() == 2);
    CHECK_FALSE(progress(group[2], 3).lost);
    CHECK(group[2].wire.lost.empty());
    CHECK(group[3].machine.applied == group[1].machine.applied);
    // So has the one that noticed it, should it lead again.
    group[2].wire.transfer_to = ReplicaId{1};
    REQUIRE(group.advance(500ms));
    REQUIRE(group.leader() == 1);
    CHECK_FALSE(progress(group[1], 3).lost);
    CHECK(progress(group[1], 3).match_index == group[1].status().last_log_index);
}

TEST_CASE("it is replaced under another id when the cluster is started anew") {
    Tellers group(3);
    REQUIRE(group.elect(1));
    REQUIRE(group.settle());
    // The last is committed by 1 and by the one that is lost then.
    group.isolate(2);
    for (std::uint64_t id = 1; id <= 5; ++id) propose(group, id);
    REQUIRE(group[1].machine.applied.size() == 5);
    REQUIRE(group[2].status().last_log_index == Index{1});
    wipe(group[3]);
    REQUIRE(group.advance(100ms));
    REQUIRE(group[1].wire.lost == std::vector{ReplicaId{3}});
    // One more shows that the others have all of it: that one does not count.
    group[1].machine.pending = {{6, 6}};
    REQUIRE(group.advance(100ms));
    REQUIRE(group[1].machine.applied.size() == 5);
    group.cut.clear();
    REQUIRE(group.advance(200ms));
    REQUIRE(group[1].machine.applied.size() == 6);
    // All stop; the members are 1, 2 and 4 from now on, on the disks of 1 and 2.
    Tellers next(4);
    next.down.insert(3);
    for (std::uint64_t id : Ids{1, 2, 4}) {
        Teller& node = next[id];
        node.peers.clear();
        for (std::uint64_t other : Ids{1, 2, 4})
            if (other != id) node.peers.push_back({other});
        if (id == 4) continue;
        node.disk = group[id].disk;
        node.machine.saved = group[id].machine.saved;
    }
    // Those who had most of it are slow to come.
    next.down.insert(1);
    REQUIRE(next.advance(3s));
    REQUIRE(next.leader() != 0);
    propose(next, 7);
    CHECK(next[4].machine.applied == Ids{1, 2, 3, 4, 5, 6, 7});
    next.down.erase(1);
    REQUIRE(next.advance(1s));
    for (std::uint64_t id : Ids{1, 2, 4}) {
        CAPTURE(id);
        CHECK(next[id].machine.applied == Ids{1, 2, 3, 4, 5, 6, 7});
        CHECK(next[id].wire.lost.empty());
    }
    // The new one counts like any other: one of the old may fail.
    next.down.insert(next.leader() == 1 ? 2 : 1);
    REQUIRE(next.advance(3s));
    propose(next, 8);
    CHECK(next[4].machine.applied.size() == 8);
}

TEST_CASE("two of five may lose their disks, and the rest goes on") {
    Tellers group(5);
    REQUIRE(group.elect(1));
    for (std::uint64_t id = 1; id <= 5; ++id) propose(group, id);
    wipe(group[4]);
    wipe(group[5]);
    REQUIRE(group.advance(1s));
    CHECK(group[1].wire.lost.size() == 2);
    propose(group, 6);
    CHECK(group[1].machine.applied.size() == 6);
    // With one more gone there is no majority of those that count.
    group.down.insert(3);
    group[1].machine.pending.push_back({7, 7});
    group[1].machine.reads = {1};
    REQUIRE(group.advance(300ms));
    CHECK(group[1].machine.applied.size() == 6);
    CHECK(group[1].machine.served.empty());
}

TEST_CASE("a Cluster that does not ask is not told; Status shows it all the same") {
    GroupOf<Node> group(3);
    REQUIRE(group.elect(1));
    group[1].machine.pending = {{1, 1}};
    REQUIRE(group.settle());
    group[3].replica.reset();
    group[3].disk = {};
    group[3].machine = {};
    REQUIRE(group.advance(500ms));
    CHECK(group[1].status().progress[2].lost);
    CHECK_FALSE(group[1].status().progress[1].lost);
}

TEST_CASE("reads on a replica whose disk is lost end, too") {
    Tellers group(3);
    lose_disk_of_3(group);
    group[3].machine.reads = {7};
    REQUIRE(group.advance(10s));
    CHECK(group[3].machine.served.empty());
    CHECK(group[3].machine.abandoned == Ids{7});
}
