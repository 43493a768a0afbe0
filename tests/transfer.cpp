// Leadership transfer [PhD 3.10]: how it begins, what it waits for, and that it always ends.
#include <doctest/doctest.h>

#include <deque>

#include "support.hpp"

using namespace support;
using lr::AppendEntriesResponse;
using lr::RequestVote;
using lr::RequestVoteResponse;
using lr::Role;
using lr::TimeoutNow;
using lr::TransitionState;

namespace {

/// Replica 1, which leads 2 and 3 in term 1. Both have its first entry.
Node leading() {
    Node node;
    node.elect();
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{1}, {}}),
               node.from(3, 1, AppendEntriesResponse{true, Index{1}, {}})});
    REQUIRE(node.status().role == Role::leader);
    REQUIRE(node.status().commit_index == Index{1});
    node.sent();
    return node;
}

/// To whom it said that they shall lead, since the last call.
std::vector<std::uint64_t> told(Node& node) {
    std::vector<std::uint64_t> ids;
    for (const Message& message : node.sent()) {
        if (std::holds_alternative<TimeoutNow>(message.body)) ids.push_back(message.to.value);
    }
    return ids;
}

std::vector<std::uint64_t> ask(Node& node, std::uint64_t target) {
    node.wire.transfer_to = ReplicaId{target};
    node.poll();
    return told(node);
}

void propose(Node& node, std::uint64_t id) {
    node.machine.pending.push_back({id, id});
    node.poll();
}

using Ids = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("[PhD 3.10]: one whose log is complete is told to stand for election at once") {
    Node node = leading();
    CHECK(ask(node, 3) == Ids{3});
    CHECK(node.status().role == Role::leader);  // Until it hears of the other's term.
}

TEST_CASE("[PhD 3.10]: one whose log is not is brought up to date first") {
    Node node = leading();
    propose(node, 7);
    node.sent();
    CHECK(ask(node, 3).empty());
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{2}, {}})});
    CHECK(told(node).empty());
    node.poll({node.from(3, 1, AppendEntriesResponse{true, Index{2}, {}})});
    CHECK(told(node) == Ids{3});
}

TEST_CASE("[PhD 3.10]: while it hands over it takes no transitions; they wait") {
    Node node = leading();
    ask(node, 3);
    propose(node, 7);
    CHECK(node.machine.pending.size() == 1);
    CHECK(node.machine.states_of(7).empty());
    CHECK(node.status().last_log_index == Index{1});
}

TEST_CASE("[PhD 3.10]: who is told stands for election without a PreVote, and says why") {
    Node node;
    node.poll({node.from(2, 1, AppendEntries{{}, Index{1}, entries_of_terms({1})})});
    node.sent();
    node.poll({node.from(2, 1, TimeoutNow{})});
    CHECK(node.status().role == Role::candidate);
    CHECK(node.status().term == Term{2});
    CHECK(node.disk.durable.voted_for == ReplicaId{1});
    auto requests = node.sent_of<RequestVote>();
    REQUIRE(requests.size() == 2);
    for (const RequestVote& request : requests) {
        CHECK_FALSE(request.pre_vote);
        CHECK(request.transfer);
        CHECK(request.last_log == lr::LogPosition{Term{1}, Index{1}});
    }
    // Where that fails, it goes on as all others do.
    node.time_out();
    CHECK(node.status().role == Role::pre_candidate);
    for (const RequestVote& request : node.sent_of<RequestVote>()) CHECK_FALSE(request.transfer);
}

TEST_CASE("[PhD 4.2.3]: those who hear the leader vote all the same, if the log is complete") {
    for (bool complete : {false, true}) {
        CAPTURE(complete);
        Node node;
        node.poll({node.from(2, 1, AppendEntries{{}, Index{1}, entries_of_terms({1})})});
        node.sent();
        lr::LogPosition last{Term{complete ? 1U : 0U}, Index{complete ? 1U : 0U}};
        node.poll({node.from(3, 2, RequestVote{false, last, false})});
        CHECK(node.sent().empty());
        CHECK(node.status().term == Term{1});
        node.poll({node.from(3, 2, RequestVote{false, last, true})});
        auto votes = node.sent_of<RequestVoteResponse>();
        REQUIRE(votes.size() == 1);
        CHECK(votes[0].vote_granted == complete);
        CHECK(node.status().term == Term{2});
    }
}

TEST_CASE("the leader itself makes way, and its transitions end") {
    Node node = leading();
    ask(node, 3);
    node.machine.pending = {{7, 7}};
    node.poll({node.from(3, 2, RequestVote{false, {Term{1}, Index{1}}, true})});
    CHECK(node.status().role == Role::follower);
    CHECK(node.sent_of<RequestVoteResponse>().at(0).vote_granted);
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::abandoned_not_leader});
}

TEST_CASE("only the leader's word counts, in its term, and only with a follower") {
    Node node;
    node.poll({node.from(2, 3, AppendEntries{{}, {}, {}})});
    node.poll({node.from(3, 3, TimeoutNow{})});  // It does not lead.
    CHECK(node.status().role == Role::follower);
    node.poll({node.from(2, 2, TimeoutNow{})});  // Of the past.
    CHECK(node.status().role == Role::follower);
    node.poll({node.from(2, 4, TimeoutNow{})});  // Nobody leads that term yet.
    CHECK(node.status().role == Role::follower);
    CHECK(node.status().term == Term{4});
    CHECK(node.status().counters.dropped == 3);
    Node leader = leading();
    leader.poll({leader.from(2, 1, TimeoutNow{})});
    CHECK(leader.status().role == Role::leader);
    Node asks;
    asks.poll();
    asks.time_out();
    asks.poll({asks.from(2, 0, RequestVoteResponse{true, true})});
    REQUIRE(asks.status().role == Role::candidate);
    asks.poll({asks.from(2, 1, TimeoutNow{})});
    CHECK(asks.status().term == Term{1});
}

TEST_CASE("what was lost is said again") {
    Node node = leading();
    CHECK(ask(node, 3) == Ids{3});
    node.advance(node.options.heartbeat_timeout);
    node.sent();
    node.poll({node.from(3, 1, AppendEntriesResponse{true, Index{1}, {}})});
    CHECK(told(node) == Ids{3});
}

TEST_CASE("regression: a transfer that gets nowhere ends after an election timeout (etcd#4916)") {
    Node node = leading();
    ask(node, 3);
    lr::Time end = node.now + node.options.election_timeout_range.max;
    node.machine.pending = {{7, 7}};
    while (node.now < end) {
        CHECK(node.machine.states_of(7).empty());
        node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{1}, {}})});
        node.now += node.options.heartbeat_timeout;
    }
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{1}, {}})});
    node.poll();
    CHECK(node.status().role == Role::leader);
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued});
    node.sent();
    node.poll({node.from(3, 1, AppendEntriesResponse{true, Index{2}, {}})});
    CHECK(told(node).empty());
}

TEST_CASE("regression: transitions that waited for a transfer waited on after its end") {
    Node node = leading();
    ask(node, 3);
    node.machine.pending = {{7, 7}};
    SUBCASE("the leader goes on") {
        node.now += node.options.election_timeout_range.max - 1ms;
        node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{1}, {}})});
        CHECK(node.machine.states_of(7).empty());
        node.advance(1ms);
        CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued});
    }
    SUBCASE("the leader stands down, since nobody answers") {
        node.advance(node.options.election_timeout_range.max);
        CHECK(node.machine.states_of(7) == std::vector{TransitionState::abandoned_not_leader});
    }
}

TEST_CASE("regression: a leader that is elected again takes transitions (hashicorp#696)") {
    Node node = leading();
    ask(node, 3);
    node.poll({node.from(2, 2, AppendEntries{{Term{1}, Index{1}}, {}, {}})});
    REQUIRE(node.status().role == Role::follower);
    node.elect();
    REQUIRE(node.status().role == Role::leader);
    propose(node, 7);
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued});
}

TEST_CASE("what cannot be done is not begun") {
    Node node = leading();
    for (std::uint64_t target : Ids{1, 9}) {  // Itself, and a stranger.
        CHECK(ask(node, target).empty());
        propose(node, target);
        CHECK(node.machine.states_of(target) == std::vector{TransitionState::queued});
    }
    Node follower;
    follower.poll({follower.from(2, 1, AppendEntries{{}, {}, {}})});
    follower.sent();
    CHECK(ask(follower, 3).empty());
    CHECK_FALSE(follower.wire.transfer_to);  // It was taken, and is not kept for later.
    follower.elect();
    CHECK(told(follower).empty());
    propose(follower, 5);
    CHECK(follower.machine.states_of(5) == std::vector{TransitionState::queued});
}

TEST_CASE("a second wish does not change the first") {
    Node node = leading();
    propose(node, 7);
    node.sent();
    ask(node, 3);
    CHECK(ask(node, 2).empty());
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{2}, {}})});
    CHECK(told(node).empty());
    node.poll({node.from(3, 1, AppendEntriesResponse{true, Index{2}, {}})});
    CHECK(told(node) == Ids{3});
}

TEST_CASE("a cluster of three hands over within no time, to each in turn") {
    std::deque<Node> nodes;
    for (std::uint64_t id = 1; id <= 3; ++id) {
        nodes.emplace_back(id, Ids{id % 3 + 1, (id + 1) % 3 + 1});
    }
    auto settle = [&] {
        for (bool any = true; any;) {
            any = false;
            for (Node& node : nodes) {
                node.poll();
                for (Message& message : node.sent()) {
                    nodes[message.to.value - 1].wire.inbox.push_back(std::move(message));
                    any = true;
                }
            }
        }
    };
    settle();
    nodes[0].time_out();
    settle();
    REQUIRE(nodes[0].status().role == Role::leader);
    for (std::uint64_t id = 1; id <= 6; ++id) {
        Node& leader = nodes[(id - 1) % 3];
        Node& next = nodes[id % 3];
        std::uint64_t before = next.status().counters.elections_started;
        leader.machine.pending = {{id, id}};
        leader.wire.transfer_to = next.id;
        settle();
        CHECK(leader.status().role == Role::follower);
        CHECK(next.status().role == Role::leader);
        CHECK(next.status().term == Term{id + 1});
        CHECK(next.status().counters.elections_started == before + 1);
    }
}
