// Membership [PhD 4]: any set of members changes into any other, while the cluster works.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "sanitized.hpp"
#include "support.hpp"
#include "testing/inspect.hpp"

using namespace support;
using lr::AppendEntriesResponse;
using lr::LogPosition;
using lr::Member;
using lr::Membership;
using lr::MembershipState;
using lr::RequestVote;
using lr::RequestVoteResponse;
using lr::Role;
using lr::TimeoutNow;
using lr::TransitionState;

namespace {

using Append = lr::AppendEntries<Command, Membership>;
using Install = lr::InstallSnapshot<std::string, Membership>;
using ConfigEntry = lr::Entry<Command, Membership>;
using Ids = std::vector<std::uint64_t>;

/// As support::Machine, but its snapshots say who the members are.
struct MemberMachine : Machine {
    using Taken = lr::Snapshot<std::string, Membership>;

    std::optional<Taken> saved;
    std::vector<std::uint64_t> read;
    std::vector<std::size_t> seen;  // How many transitions each read saw.
    std::vector<std::uint64_t> abandoned;
    std::vector<std::uint64_t> asked;

    std::optional<Taken> get_snapshot() { return saved; }
    std::string create_snapshot(Index index, Term term, const Membership& membership) {
        saved = {{term, index}, Machine::create_snapshot(index, term), membership};
        return saved->data;
    }
    void set_snapshot(const Taken& snapshot) {
        Machine::set_snapshot({snapshot.last_included, snapshot.data});
        saved = snapshot;
    }

    using Read = std::uint64_t;
    std::vector<Read> get_pending_reads() { return std::exchange(asked, {}); }
    void apply_read(const Read& id) {
        read.push_back(id);
        seen.push_back(applied.size());
    }
    void abandon_read(const Read& id) { abandoned.push_back(id); }
};

/// A sync ends when it was asked for so many more times, meanwhile the replica goes on.
struct MemberDisk : DiskOf<Membership> {
    std::uint64_t delay = 0;
    std::uint64_t asked = 0;

    std::optional<bool> sync() {
        if (asked++ < delay) return std::nullopt;
        asked = 0;
        return DiskOf::sync();
    }
    void crash() {
        asked = 0;
        DiskOf::crash();
    }
};

struct Told {
    Membership membership;
    MembershipState state;
};

struct MemberWire {
    using Message = lr::MessageOf<MemberMachine, Membership>;

    std::vector<Message> inbox;
    std::vector<Message> sent;
    std::vector<std::optional<ReplicaId>> leaders;
    std::optional<ReplicaId> transfer_to;
    std::optional<Membership> wanted;
    std::vector<Told> told;

    void send_message(ReplicaId, Message message) { sent.push_back(std::move(message)); }
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId> leader) { leaders.push_back(leader); }
    std::optional<ReplicaId> get_pending_transfer() { return std::exchange(transfer_to, {}); }
    std::optional<Membership> get_pending_membership() { return std::exchange(wanted, {}); }
    void register_membership(const Membership& membership, MembershipState state) {
        told.push_back({membership, state});
    }
};

std::vector<Member> members_of(const Ids& voters, const Ids& learners = {}) {
    std::vector<Member> members;
    for (std::uint64_t id : voters) members.push_back({{id}, "at " + std::to_string(id), false});
    for (std::uint64_t id : learners) members.push_back({{id}, "at " + std::to_string(id), true});
    return members;
}

/// Alone it is a newcomer.
struct MemberNode : NodeOf<MemberMachine, MemberDisk, MemberWire, Member> {
    explicit MemberNode(std::uint64_t self, const Ids& others, Options chosen = {})
        : NodeOf(self, {}, std::move(chosen)) {
        if (others.empty()) return;
        Ids ids{self};
        for (std::uint64_t other : others)
            if (other != self) ids.push_back(other);
        peers = members_of(ids);
    }
};

Membership of(const Ids& voters, const Ids& learners = {}) {
    return {members_of(voters, learners)};
}

/// "1 2 l3 <- 1 2": voters 1 and 2, 3 as a learner; going out: 1 and 2.
std::string text(const Membership& membership) {
    std::string words;
    for (const auto* half : {&membership.members, &membership.outgoing}) {
        if (half == &membership.outgoing && !half->empty()) words += " <-";
        for (const Member& member : *half) {
            if (!words.empty()) words += " ";
            words += (member.learner ? "l" : "") + std::to_string(member.id.value);
        }
    }
    return words;
}

const char* text(MembershipState state) {
    switch (state) {
        case MembershipState::queued:
            return "queued";
        case MembershipState::committed:
            return "committed";
        case MembershipState::applied:
            return "applied";
        case MembershipState::abandoned_not_leader:
            return "not leader";
        case MembershipState::abandoned_overloaded:
            return "overloaded";
        case MembershipState::abandoned_conflict_with_leader:
            return "abandoned";
        case MembershipState::abandoned_malformed:
            return "malformed";
        case MembershipState::outcome_unknown:
            return "unknown";
    }
    return "?";
}

/// What it was told of memberships since the last call.
std::vector<std::string> told(MemberNode& node) {
    std::vector<std::string> lines;
    for (const Told& line : std::exchange(node.wire.told, {}))
        lines.push_back(text(line.membership) + ": " + text(line.state));
    return lines;
}

using Lines = std::vector<std::string>;

/// Who votes now, and who votes in what goes out, as the replica sees it; its own id first.
std::string voters(MemberNode& node) {
    std::string now;
    std::string before;
    std::vector<lr::Progress> progress = node.status().progress;
    std::sort(progress.begin() + 1, progress.end(),
              [](const auto& a, const auto& b) { return a.id < b.id; });
    for (const lr::Progress& member : progress) {
        now += (member.votes ? " " : " l") + std::to_string(member.id.value);
        if (member.votes_outgoing) before += " " + std::to_string(member.id.value);
    }
    return now.substr(1) + (before.empty() ? "" : " <-" + before);
}

Index last(MemberNode& node) { return node.status().last_log_index; }

/// All that it has is answered by these.
void acknowledge(MemberNode& node, const Ids& ids) {
    std::vector<MemberWire::Message> answers;
    for (std::uint64_t id : ids) {
        answers.push_back(
            node.from(id, node.status().term.value, AppendEntriesResponse{true, last(node), {}}));
    }
    node.poll(std::move(answers));
    node.poll();
}

/// Replica 1, which leads the others in term 1, with its first entry committed.
MemberNode leading(const Ids& others = {2, 3}) {
    MemberNode node(1, others);
    node.elect();
    acknowledge(node, others);
    REQUIRE(node.status().role == Role::leader);
    REQUIRE(node.status().commit_index == Index{1});
    node.sent();
    told(node);
    return node;
}

/// It is taken at the end of a poll, and sent in the next.
void ask(MemberNode& node, const Membership& membership) {
    node.wire.wanted = membership;
    node.poll();
    node.poll();
}

ConfigEntry config(std::uint64_t term, Membership membership) {
    return {Term{term}, std::move(membership)};
}

ConfigEntry command(std::uint64_t term, std::uint64_t id) { return {Term{term}, Command{id, id}}; }

/// A follower of 2, in term 1, that has these entries, as many of them committed as that.
MemberNode following(const Ids& others, std::vector<ConfigEntry> entries, std::uint64_t commit = 0,
                     std::uint64_t id = 1) {
    MemberNode node(id, others);
    node.poll({node.from(2, 1, Append{{}, Index{commit}, std::move(entries)})});
    node.sent();
    return node;
}

/// Whether it asks others for their votes when it hears from nobody.
bool campaigns(MemberNode& node) {
    node.sent();
    node.time_out();
    node.poll();
    return !node.sent_of<RequestVote>().empty();
}

}  // namespace

// ----- When a membership takes effect ------------------------------------------------------------

TEST_CASE("[PhD 4.1]: a membership is in force as soon as it is appended, committed or not") {
    MemberNode node = leading();
    CHECK(voters(node) == "1 2 3");
    ask(node, of({1, 2, 3, 4}));
    CHECK(voters(node) == "1 2 3 4 <- 1 2 3");
    CHECK(node.status().commit_index == Index{1});
    CHECK(told(node) == Lines{"1 2 3 4 <- 1 2 3: queued"});
    std::set<std::uint64_t> to;
    for (const auto& message : node.sent()) to.insert(message.to.value);
    CHECK(to == std::set<std::uint64_t>{2, 3, 4});  // The new one too, at once.
    MemberNode follower =
        following({2, 3}, {config(1, {members_of({1, 4}), members_of({1, 2, 3})})});
    CHECK(voters(follower) == "1 l2 l3 4 <- 1 2 3");
}

TEST_CASE("[PhD 4.3]: an entry is committed by a majority of each set, whichever is first") {
    // From {1, 2, 3} to {1, 4, 5, 6}.
    struct Row {
        Ids acknowledged;
        bool committed;
    };
    const std::vector<Row> table{
        {{2}, false},       {{2, 3}, false},    {{4, 5}, false},
        {{4, 5, 6}, false}, {{2, 4}, false},    {{2, 4, 5}, true},
        {{3, 5, 6}, true},  {{2, 3, 4}, false}, {{2, 3, 4, 5}, true},
    };
    for (const Row& row : table) {
        CAPTURE(row.acknowledged);
        MemberNode node = leading();
        ask(node, of({1, 4, 5, 6}));
        acknowledge(node, row.acknowledged);
        CHECK((node.status().commit_index == Index{2} || last(node) == Index{3}) == row.committed);
    }
}

TEST_CASE("[PhD 4.3]: a leader is elected by a majority of each set") {
    for (bool pre_vote : {true, false}) {
        for (unsigned grants = 0; grants < 16; ++grants) {  // Of 2, 3, 4 and 5.
            MemberNode node =
                following({2, 3}, {config(1, {members_of({1, 4, 5}), members_of({1, 2, 3})})});
            REQUIRE(campaigns(node));
            auto grant = [&](bool pre, std::uint64_t term, unsigned who) {
                std::vector<MemberWire::Message> votes;
                for (unsigned i = 0; i < 4; ++i) {
                    if ((who >> i & 1) != 0)
                        votes.push_back(node.from(i + 2, term, RequestVoteResponse{pre, true}));
                }
                node.poll(std::move(votes));
                node.poll();
            };
            bool expected = (grants & 3) != 0 && (grants & 12) != 0;
            CAPTURE(grants);
            grant(true, 1, pre_vote ? grants : 15);
            CHECK((node.status().role != Role::pre_candidate) == (!pre_vote || expected));
            if (pre_vote) continue;
            grant(false, 2, grants);
            CHECK((node.status().role == Role::leader) == expected);
        }
    }
}

TEST_CASE("[PhD 4.3]: when the joint membership is committed, the leader goes on by itself") {
    MemberNode node = leading();
    ask(node, of({1, 2, 4}));
    told(node);
    for (int i = 0; i < 5; ++i) node.advance(10ms);
    CHECK(last(node) == Index{2});  // Not before.
    acknowledge(node, {2, 4});
    CHECK(last(node) == Index{3});
    CHECK(voters(node) == "1 2 l3 4");  // 3 is kept until it had word of its removal.
    CHECK(told(node) ==
          Lines{"1 2 4 <- 1 2 3: committed", "1 2 4 <- 1 2 3: applied", "1 2 4: queued"});
    acknowledge(node, {2});
    CHECK(told(node) == Lines{"1 2 4: applied"});
    CHECK(voters(node) == "1 2 4");
}

TEST_CASE(
    "regression: a new leader leaves the joint membership only when that is committed "
    "(camunda#60086)") {
    MemberNode node = following({2, 3}, {config(1, {members_of({1, 4}), members_of({1, 2, 3})})});
    REQUIRE(campaigns(node));
    for (bool pre_vote : {true, false}) {
        for (std::uint64_t id : Ids{2, 4}) {
            node.poll({node.from(id, pre_vote ? 1 : 2, RequestVoteResponse{pre_vote, true})});
        }
        node.poll();
    }
    REQUIRE(node.status().role == Role::leader);
    CHECK(last(node) == Index{2});
    CHECK(voters(node) == "1 l2 l3 4 <- 1 2 3");
    acknowledge(node, {2, 3});
    CHECK(last(node) == Index{2});
    acknowledge(node, {4});
    CHECK(last(node) == Index{3});
    CHECK(voters(node).find("<-") == std::string::npos);
}

TEST_CASE("a leader's first entry says again which membership is in force, with the addresses") {
    MemberNode node(1, {2, 3});
    node.peers = members_of({1, 2, 3}, {4});
    node.elect();
    auto appends = node.sent_of<Append>();
    REQUIRE(!appends.empty());
    REQUIRE(appends[0].entries.size() == 1);
    const auto* said = std::get_if<Membership>(&appends[0].entries[0].command);
    REQUIRE(said != nullptr);
    CHECK(text(*said) == "1 2 3 l4");
    CHECK(said->members[3].address == "at 4");
}

// ----- One at a time -----------------------------------------------------------------------------

TEST_CASE("[PhD 4.1]: the next change is not begun before the last one is committed") {
    MemberNode node = leading();
    ask(node, of({1, 2, 4}));
    ask(node, of({1, 5}));
    CHECK(node.wire.wanted);  // It was not even taken.
    acknowledge(node, {2, 4});
    CHECK(node.wire.wanted);
    CHECK(text(of({1, 2, 4})) == voters(node).substr(0, 3) + " 4");
    acknowledge(node, {2});
    node.poll();
    CHECK_FALSE(node.wire.wanted);
    CHECK(voters(node) == "1 l2 l4 5 <- 1 2 4");
}

TEST_CASE(
    "regression: a change before an entry of the leader's own term is committed "
    "(Ongaro, 2015)") {
    MemberNode node = following({2, 3}, {config(1, of({1, 2, 3})), command(1, 7)}, 2);
    node.elect();
    REQUIRE(node.status().role == Role::leader);
    ask(node, of({1, 2}));
    CHECK(node.wire.wanted);
    CHECK(last(node) == Index{3});
    acknowledge(node, {2});
    node.poll();
    CHECK_FALSE(node.wire.wanted);
    CHECK(voters(node) == "1 2 l3 <- 1 2 3");
}

TEST_CASE("a change is refused with the reason, and changes nothing") {
    MemberNode node = leading();
    for (const Membership& bad : {of({}), of({}, {1, 2, 3}), of({}, {1, 1})}) {
        ask(node, bad);
        CHECK(told(node) == Lines{text(bad) + ": malformed"});
        CHECK(last(node) == Index{1});
        CHECK(voters(node) == "1 2 3");
    }
    MemberNode follower = following({2, 3}, {});
    told(follower);
    ask(follower, of({1}));
    CHECK(told(follower) == Lines{"1: not leader"});
    CHECK(voters(follower) == "1 2 3");
    // What goes out is for the library to know.
    ask(node, {members_of({1, 2}), members_of({1, 8})});
    CHECK(voters(node) == "1 2 l3 <- 1 2 3");
}

TEST_CASE("whoever is named twice in a change is one member, and has a vote if either has") {
    MemberNode node = leading();
    ask(node, of({1, 4, 4, 5}, {4, 5, 6, 6}));
    CHECK(voters(node) == "1 l2 l3 4 5 l6 <- 1 2 3");
    acknowledge(node, {2});
    CHECK(node.status().commit_index == Index{1});
    acknowledge(node, {2, 4});  // Of 1 2 3 and of 1 4 5 two each.
    CHECK(node.status().commit_index == Index{2});
}

TEST_CASE(
    "a change waits for a transfer, and its leader does not leave the joint membership then") {
    MemberNode node = leading();
    ask(node, of({1, 2, 4}));
    node.wire.transfer_to = ReplicaId{3};  // Going out: it cannot lead.
    node.poll();
    CHECK(node.sent_of<TimeoutNow>().empty());
    node.machine.pending = {{7, 7}};
    node.poll();
    CHECK(node.machine.states_of(7) == std::vector{TransitionState::queued});
    node.wire.transfer_to = ReplicaId{2};
    node.poll();
    acknowledge(node, {3, 4});
    CHECK(node.status().commit_index == Index{3});
    CHECK(last(node) == Index{3});
    node.now += node.options.election_timeout_range.max - 1ms;
    node.poll({node.from(3, 1, AppendEntriesResponse{true, Index{3}, {}}),
               node.from(4, 1, AppendEntriesResponse{true, Index{3}, {}})});
    node.advance(1ms);  // The transfer ends.
    node.poll();
    CHECK(last(node) == Index{4});
    MemberNode busy = leading();
    busy.wire.transfer_to = ReplicaId{2};
    busy.poll();
    ask(busy, of({1, 2}));
    CHECK(busy.wire.wanted);
}

// ----- What happens to a change ------------------------------------------------------------------

TEST_CASE(
    "[PhD 4.1]: a membership that is cut off is in force no more; who asked hears for certain") {
    MemberNode node = leading();
    ask(node, of({1, 4, 5}));
    told(node);
    SUBCASE("and that of before is again") {
        node.poll({node.from(2, 2, Append{{Term{1}, Index{1}}, {}, {command(2, 7)}})});
        CHECK(voters(node).substr(0, 5) == "1 2 3");
        CHECK(voters(node).find("<-") == std::string::npos);
        // Until a later term commits, the entry may come back from a third replica.
        CHECK(told(node) == Lines{"1 2 3: queued"});
        node.poll({node.from(2, 2, Append{{Term{2}, Index{2}}, Index{2}, {}})});
        CHECK(told(node) == Lines{"1 4 5 <- 1 2 3: abandoned"});
    }
    SUBCASE("and another is, of the same message") {
        node.poll(
            {node.from(2, 2, Append{{Term{1}, Index{1}}, Index{2}, {config(2, of({1, 2}))}})});
        CHECK(voters(node) == "1 2");
        auto lines = told(node);
        CHECK(std::count(lines.begin(), lines.end(), "1 4 5 <- 1 2 3: abandoned") == 1);
        CHECK(std::count(lines.begin(), lines.end(), "1 2: applied") == 1);
    }
    SUBCASE("and it is not, where another leader goes on with it") {
        node.poll({node.from(4, 2,
                             Append{{Term{1}, Index{2}},
                                    Index{3},
                                    {config(2, {members_of({1, 4, 5}), members_of({1, 2, 3})})}})});
        CHECK(told(node) == Lines{"1 4 5 <- 1 2 3: queued", "1 4 5 <- 1 2 3: committed",
                                  "1 4 5 <- 1 2 3: applied", "1 4 5 <- 1 2 3: applied"});
    }
    SUBCASE("and if a snapshot covers it, nobody here knows") {
        node.poll({node.from(2, 2, Install{{Term{2}, Index{9}}, 0, "", true, {}, of({1, 2})})});
        CHECK(told(node) == Lines{"1 4 5 <- 1 2 3: unknown", "1 2: queued"});
    }
    SUBCASE("and after a fault neither") {
        node.disk.sync_fails = true;
        node.machine.pending = {{7, 7}};
        node.poll();
        CHECK(node.status().fault);
        CHECK(told(node) == Lines{"1 4 5 <- 1 2 3: unknown"});
    }
}

TEST_CASE("regression: a snapshot replaces the membership (openraft#1808)") {
    MemberNode node = following({2, 3}, {config(1, of({1, 2, 3})), config(1, of({1, 2, 3, 4}))}, 1);
    CHECK(voters(node) == "1 2 3 4");
    told(node);
    node.poll({node.from(2, 1, Install{{Term{1}, Index{5}}, 0, "", true, {}, of({1, 6})})});
    CHECK(told(node).back() == "1 6: queued");
    std::string now = voters(node);
    CHECK(now.find("6") != std::string::npos);
    for (const char* gone : {" 2", " 3", " 4"}) CHECK(now.find(gone) == std::string::npos);
    node.restart();
    CHECK(voters(node) == "1 6");
}

TEST_CASE("a snapshot says who the members are as of its last entry, though others are in force") {
    MemberNode node(1, {2, 3}, {.snapshot_delta = 2, .snapshot_trailing = 0});
    node.elect();
    node.machine.pending = {{7, 7}};
    node.poll();
    acknowledge(node, {2});  // Now it may begin a change,
    REQUIRE(node.machine.saved->last_included.index == Index{2});
    node.machine.pending = {{8, 8}, {9, 9}};
    node.poll();
    ask(node, of({1, 4}));
    REQUIRE(last(node) == Index{5});
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{4}, {}})});  // ... not committed
    node.poll();
    CHECK(voters(node) == "1 l2 l3 4 <- 1 2 3");
    CHECK(node.status().commit_index == Index{2});  // ... and so nothing of before, either.
    node.poll({node.from(4, 1, AppendEntriesResponse{true, Index{4}, {}})});
    node.poll();
    CHECK(node.machine.saved->last_included.index == Index{4});
    CHECK(text(node.machine.saved->membership) == "1 2 3");
    node.restart();
    CHECK(voters(node) == "1 l2 l3 4 <- 1 2 3");
}

TEST_CASE("a follower that needs a snapshot gets the members as of its last entry with it") {
    MemberNode node(1, {2, 3}, {.snapshot_delta = 2, .snapshot_trailing = 0});
    node.elect();
    acknowledge(node, {2, 3});
    ask(node, of({1, 2, 3, 4}));
    node.machine.pending = {{7, 7}};
    node.poll();
    REQUIRE_FALSE(node.machine.saved);
    acknowledge(node, {2, 4});  // Joint and command; what follows is not committed yet.
    REQUIRE(node.machine.saved);
    CHECK(node.machine.saved->last_included.index == Index{3});
    CHECK(text(node.machine.saved->membership) == "1 2 3 4 <- 1 2 3");
    CHECK(voters(node) == "1 2 3 4");
    // A follower that needs it gets it so.
    node.sent();
    node.poll({node.from(3, 1, AppendEntriesResponse{false, Index{3}, {Term{1}, Index{1}}})});
    auto chunks = node.sent_of<Install>();
    REQUIRE_FALSE(chunks.empty());
    CHECK(text(chunks[0].membership) == "1 2 3 4 <- 1 2 3");
}

TEST_CASE("after a restart the same membership is in force, wherever it was kept") {
    SUBCASE("in the log, not committed") {
        MemberNode node = leading();
        ask(node, of({1, 4}));
        std::string before = voters(node);
        node.restart();
        CHECK(voters(node) == before);
    }
    SUBCASE("in what the constructor is given") {
        MemberNode node(1, {2, 3});
        node.poll();
        node.restart();
        CHECK(voters(node) == "1 2 3");
    }
    SUBCASE("in the snapshot, its entry gone from the log") {
        MemberNode node(1, {2, 3}, {.snapshot_delta = 1, .snapshot_trailing = 0});
        node.elect();
        acknowledge(node, {2, 3});
        ask(node, of({1, 2, 4}));
        acknowledge(node, {2, 4});
        acknowledge(node, {2, 4});
        REQUIRE(node.status().first_log_index == Index{4});
        node.machine.pending = {{7, 7}};
        node.poll();
        node.peers = members_of({8, 9});  // Of no effect any more.
        node.restart();
        CHECK(voters(node) == "1 2 4");
    }
    SUBCASE("in the snapshot, the process having ended before the log was cut") {
        MemberNode node = following({2, 3}, {config(1, of({1, 2, 3})), command(1, 7)}, 1);
        node.machine.saved = {{Term{1}, Index{9}}, "", of({1, 6, 7})};
        node.restart();
        CHECK(voters(node).substr(0, 1) == "1");
        CHECK(told(node).back() == "1 6 7: queued");
        CHECK(node.status().last_log_index == Index{9});
    }
    SUBCASE("behind the snapshot, with older ones before it that the log still has") {
        MemberNode node(1, {2, 3}, {.snapshot_delta = 3, .snapshot_trailing = 10});
        node.elect();
        acknowledge(node, {2, 3});
        ask(node, of({1, 2, 4}));
        acknowledge(node, {2, 4});
        acknowledge(node, {2, 4});
        REQUIRE(node.machine.saved);
        node.restart();
        REQUIRE(node.status().first_log_index == Index{1});
        CHECK(node.status().commit_index == Index{3});
        CHECK(told(node).back() == "1 2 4: queued");
    }
}

// ----- Who may lead, and who may not -------------------------------------------------------------

TEST_CASE("a newcomer waits to be added: it asks for no votes, however long") {
    MemberNode node(4, {});
    node.poll();
    for (int i = 0; i < 20; ++i) CHECK_FALSE(campaigns(node));
    CHECK(node.status().role == Role::follower);
    CHECK(node.status().term == Term{});
    // It takes what a leader says that it never heard of.
    node.poll(
        {node.from(2, 1, Append{{}, {}, {config(1, {members_of({2, 4}), members_of({2})})}})});
    auto answers = node.sent_of<AppendEntriesResponse>();
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].success);
    CHECK(node.status().leader == ReplicaId{2});
    CHECK(campaigns(node));
}

TEST_CASE("a cluster begins with the peers, or as it is told, or of itself alone") {
    MemberNode one(1, {1});
    one.elect();
    CHECK(one.status().role == Role::leader);
    CHECK(one.status().commit_index == Index{1});
    MemberNode told_so(1, {});
    told_so.peers = members_of({1}, {2});
    told_so.elect();
    CHECK(told_so.status().role == Role::leader);
    CHECK(voters(told_so) == "1 l2");
    MemberNode other(3, {});
    other.peers = members_of({1, 2});  // It is none of them.
    other.poll();
    CHECK_FALSE(campaigns(other));
    MemberNode voiceless(1, {});
    voiceless.peers = members_of({}, {1, 2});  // Where nobody votes, nobody is elected.
    voiceless.poll();
    CHECK_FALSE(campaigns(voiceless));
    MemberNode twice(1, {});
    twice.peers = members_of({1, 1, 2}, {2, 3, 3});
    twice.elect();
    CHECK(voters(twice) == "1 2 l3");
}

TEST_CASE("[PhD 4.2.1]: a learner is sent everything, and neither counts nor campaigns") {
    MemberNode node = leading();
    ask(node, of({1, 2, 3}, {4}));
    acknowledge(node, {2, 3});
    acknowledge(node, {2, 3});
    CHECK(voters(node) == "1 2 3 l4");
    node.sent();
    node.machine.pending = {{7, 7}};
    node.poll();
    std::set<std::uint64_t> to;
    for (const auto& message : node.sent()) to.insert(message.to.value);
    CHECK(to.contains(2));
    Index commit = node.status().commit_index;
    acknowledge(node, {4});
    acknowledge(node, {4});
    CHECK(node.status().commit_index == commit);
    CHECK(node.sent_of<Append>().size() > 0);
    // Nor does it count as the majority that a leader must hear.
    while (node.status().role == Role::leader && node.now < lr::Time{} + 10s) {
        node.advance(50ms);
        node.poll({node.from(4, 1, AppendEntriesResponse{true, Index{}, {}})});
    }
    CHECK(node.status().role == Role::follower);
    MemberNode learner = following({2, 3}, {config(1, of({2, 3}, {1}))}, 1);
    CHECK_FALSE(campaigns(learner));
    learner.poll({learner.from(2, 1, Append{{Term{1}, Index{1}}, {}, {}})});
    learner.poll({learner.from(2, 1, TimeoutNow{})});
    CHECK(learner.status().role == Role::follower);
    CHECK(learner.sent_of<RequestVote>().empty());
}

TEST_CASE(
    "regression: a learner answers requests for votes, since it may have been promoted "
    "(etcd#10998)") {
    MemberNode node = following({2, 3}, {config(1, of({2, 3}, {1}))});
    node.advance(node.options.election_timeout_range.max);
    node.sent();
    node.poll({node.from(3, 2, RequestVote{false, {Term{1}, Index{2}}, false})});
    auto votes = node.sent_of<RequestVoteResponse>();
    REQUIRE(votes.size() == 1);
    CHECK(votes[0].vote_granted);
    CHECK(node.disk.durable.voted_for == ReplicaId{3});
}

TEST_CASE("[PhD 4.1]: a vote is given to a candidate that the voter does not know") {
    MemberNode node = following({2, 3}, {config(1, of({1, 2, 3}))});
    node.advance(node.options.election_timeout_range.max);
    node.sent();
    node.poll({node.from(9, 2, RequestVote{false, {Term{1}, Index{5}}, false})});
    auto votes = node.sent_of<RequestVoteResponse>();
    REQUIRE(votes.size() == 1);
    CHECK(votes[0].vote_granted);
}

TEST_CASE("what is no member has nothing to say: its votes and answers count for nothing") {
    MemberNode node(1, {2, 3, 4});
    node.poll();
    node.time_out();
    node.poll({node.from(8, 0, RequestVoteResponse{true, true}),
               node.from(9, 0, RequestVoteResponse{true, true})});
    CHECK(node.status().role == Role::pre_candidate);
    MemberNode leader = leading();
    leader.machine.pending = {{7, 7}};
    leader.poll();
    std::uint64_t dropped = leader.status().counters.dropped;
    leader.poll({leader.from(8, 1, AppendEntriesResponse{true, Index{2}, {}}),
                 leader.from(9, 1, AppendEntriesResponse{true, Index{2}, {}}),
                 leader.from(9, 5, AppendEntriesResponse{})});  // Not even its term.
    CHECK(leader.status().commit_index == Index{1});
    CHECK(leader.status().role == Role::leader);
    CHECK(leader.status().term == Term{1});
    CHECK(leader.status().counters.dropped == dropped + 3);
}

TEST_CASE("[PhD 4.2.2]: who had a vote in anything after what is committed may campaign") {
    // In force is a membership without it, that is not committed.
    ConfigEntry with = config(1, of({1, 2, 3}));
    ConfigEntry joint = config(1, {members_of({2, 3}), members_of({1, 2, 3})});
    ConfigEntry without = config(1, of({2, 3}));
    struct Row {
        std::vector<ConfigEntry> entries;
        std::uint64_t commit;
        bool may;
    };
    const std::vector<Row> table{
        {{with, joint}, 0, true},
        {{with, joint}, 2, true},  // By what goes out.
        {{with, joint, without}, 0, true},
        {{with, joint, without}, 1, true},
        {{with, joint, without}, 2, true},
        {{with, joint, without}, 3, false},
        {{with, joint, without, without}, 3, false},
        {{without}, 0, true},  // By what it was constructed with.
        {{without}, 1, false},
    };
    for (const Row& row : table) {
        CAPTURE(row.entries.size());
        CAPTURE(row.commit);
        MemberNode node = following({2, 3}, row.entries, row.commit);
        CHECK(campaigns(node) == row.may);
        // The commit index is volatile: after a restart it knows less, and must not do less.
        node.restart();
        node.poll();
        CHECK(campaigns(node));
    }
    MemberNode node = following({2, 3}, {with, joint, without}, 3);
    node.poll({node.from(2, 1, TimeoutNow{})});
    CHECK(node.status().role == Role::follower);
}

TEST_CASE(
    "regression: a learner stood for election once a vote that it was to get was rolled back") {
    ConfigEntry learns = config(1, of({1, 2}, {4}));
    ConfigEntry votes = config(1, {members_of({1, 2, 4}), members_of({1, 2}, {4})});
    MemberNode node(4, {});
    node.poll();
    node.poll({node.from(1, 1, Append{{}, {}, {learns, votes}})});
    REQUIRE(voters(node) == "4 1 2 <- 1 2");
    node.poll({node.from(2, 2, Append{{Term{1}, Index{1}}, {}, {config(2, of({1, 2}, {4}))}})});
    REQUIRE(voters(node) == "l4 1 2");
    CHECK_FALSE(campaigns(node));
    node.restart();
    node.poll();
    CHECK_FALSE(campaigns(node));
}

TEST_CASE(
    "regression: nobody could win where a learner's log is the latest and its vote is needed") {
    // Replica 4 has it for a voter, in a change that a later leader began to overrule, and for that
    // the learner has seen more.
    MemberNode node(2, {});
    node.poll();
    node.poll({node.from(3, 1, Append{{}, {}, {config(1, of({3, 4}, {2})), command(1, 7)}})});
    CHECK_FALSE(campaigns(node));
    node.sent();
    node.poll({node.from(4, 1, RequestVote{true, {Term{1}, Index{2}}})});
    CHECK_FALSE(campaigns(node));  // That one can win.
    node.poll({node.from(4, 1, RequestVote{true, {Term{1}, Index{1}}})});
    auto answers = node.sent_of<RequestVoteResponse>();
    REQUIRE(!answers.empty());
    CHECK_FALSE(answers.back().vote_granted);
    node.poll({node.from(3, 1, Append{{Term{1}, Index{2}}, {}, {}})});
    CHECK_FALSE(campaigns(node));  // Somebody led since.
    node.poll({node.from(4, 1, RequestVote{true, {Term{1}, Index{1}}})});
    CHECK(campaigns(node));
    node.poll({node.from(3, 1, RequestVoteResponse{true, true})});  // It does not count itself.
    CHECK(node.status().role == Role::pre_candidate);
    // Any leader puts an end to that.
    node.poll({node.from(3, 1, Append{{Term{1}, Index{2}}, {}, {}})});
    CHECK_FALSE(campaigns(node));
}

TEST_CASE("a late request of its own term does not keep a removed leader from handing over") {
    MemberNode node = leading();
    ask(node, of({2, 3}));
    node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{2}, {}}),
               node.from(3, 1, AppendEntriesResponse{true, Index{2}, {}})});
    REQUIRE(last(node) == Index{3});
    node.poll();
    node.sent();
    node.poll({node.from(2, 1, RequestVote{false, {}, true})});
    acknowledge(node, {2, 3});
    node.poll();
    CHECK(node.sent_of<TimeoutNow>().size() == 1);
}

TEST_CASE("whoever knows that it was removed waits, though one asks that does not know it") {
    ConfigEntry with = config(1, of({1, 2, 3}));
    ConfigEntry goes = config(1, {members_of({2, 3}), members_of({1, 2, 3})});
    ConfigEntry without = config(1, of({2, 3}));
    auto asked = [](MemberNode& node) {
        node.time_out();
        node.poll({node.from(3, 1, RequestVote{true, {Term{1}, Index{2}}})});
    };
    MemberNode knows = following({2, 3}, {with, goes, without}, 3);
    asked(knows);
    CHECK_FALSE(campaigns(knows));
    // It stands as long as it does not know it.
    MemberNode hears = following({2, 3}, {with, goes, without}, 2);
    asked(hears);
    REQUIRE(campaigns(hears));
    hears.poll({hears.from(2, 1, Append{{Term{1}, Index{3}}, Index{3}, {}})});
    CHECK_FALSE(campaigns(hears));
}

TEST_CASE(
    "who was a member long ago has nothing to say to a new leader, and is not sent anything") {
    ConfigEntry joint = config(1, {members_of({1, 2}), members_of({1, 2, 3})});
    MemberNode node = following({2, 3}, {config(1, of({1, 2, 3})), joint, config(1, of({1, 2}))});
    REQUIRE(campaigns(node));
    node.poll({node.from(2, 1, RequestVoteResponse{true, true})});
    node.poll();
    node.sent();
    node.poll({node.from(2, 2, RequestVoteResponse{false, true})});
    REQUIRE(node.status().role == Role::leader);
    for (const auto& message : node.sent()) CHECK(message.to == ReplicaId{2});
    node.poll({node.from(3, 7, AppendEntriesResponse{})});
    CHECK(node.status().role == Role::leader);
}

TEST_CASE("a follower that only gets snapshots does not remember all who ever were members") {
    MemberNode node(1, {2});
    node.poll();
    for (std::uint64_t k = 1; k <= 20; ++k) {
        Install install{{Term{1}, Index{k * 10}}, 0, "0", true, {}, of({1, 2, 100 + k})};
        node.poll({node.from(2, 1, install)});
        CHECK(node.status().progress.size() == 3);
    }
}

TEST_CASE("a candidate asks those who have a vote, and no others") {
    MemberNode node(1, {});
    node.peers = members_of({1, 2}, {3});
    node.poll();
    node.time_out();
    node.poll();
    std::vector<std::uint64_t> asked;
    for (const auto& message : node.sent()) asked.push_back(message.to.value);
    CHECK(asked == std::vector<std::uint64_t>{2});
}

TEST_CASE("[PhD 4.2.2]: whoever is to come back, and then is not, may campaign as before") {
    ConfigEntry with = config(1, of({1, 2, 3}));
    ConfigEntry goes = config(1, {members_of({2, 3}), members_of({1, 2, 3})});
    ConfigEntry without = config(1, of({2, 3}));
    ConfigEntry comes = config(1, {members_of({1, 2, 3}), members_of({2, 3})});
    for (std::uint64_t commit = 0; commit < 4; ++commit) {
        CAPTURE(commit);
        MemberNode node = following({2, 3}, {with, goes, without, comes}, commit);
        node.poll({node.from(2, 2, Append{{Term{1}, Index{3}}, {}, {config(2, of({2, 3}))}})});
        CHECK(campaigns(node) == (commit < 3));
    }
}

TEST_CASE("[PhD 4.2.2]: a candidate that is no member does not count its own vote") {
    MemberNode node = following({2, 3}, {config(1, of({2, 3}))});
    REQUIRE(campaigns(node));
    node.poll({node.from(2, 1, RequestVoteResponse{true, true})});
    CHECK(node.status().role == Role::pre_candidate);
    node.poll({node.from(3, 1, RequestVoteResponse{true, true})});
    CHECK(node.status().role == Role::candidate);
}

TEST_CASE(
    "[PhD 4.2.2]: a leader that is removed leads until that is committed, not counting itself") {
    MemberNode node = leading();
    ask(node, of({2, 3, 4}));
    acknowledge(node, {2, 3, 4});
    CHECK(voters(node) == "l1 2 3 4");
    CHECK(node.status().commit_index == Index{2});
    acknowledge(node, {2});
    CHECK(node.status().commit_index == Index{2});  // It and 2 are no majority.
    for (int i = 0; i < 100; ++i) {
        node.advance(50ms);
        for (std::uint64_t id : Ids{2, 3, 4})
            node.poll({node.from(id, 1, AppendEntriesResponse{true, Index{2}, {}})});
    }
    CHECK(node.status().role == Role::leader);
    node.machine.pending = {{7, 7}};
    node.poll();
    node.sent();
    SUBCASE("then the one takes over that has most") {
        node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{3}, {}}),
                   node.from(3, 1, AppendEntriesResponse{true, Index{4}, {}})});
        for (int i = 0; i < 3; ++i) node.poll();
        CHECK(node.status().commit_index == Index{3});
        CHECK(node.sent_of<TimeoutNow>().empty());  // It may never hear of its last entry, then.
        node.poll({node.from(4, 1, AppendEntriesResponse{true, Index{4}, {}})});
        for (int i = 0; i < 3; ++i) node.poll();
        CHECK(node.status().commit_index == Index{4});
        std::vector<std::uint64_t> leads;
        for (const auto& message : node.sent()) {
            if (std::holds_alternative<TimeoutNow>(message.body)) leads.push_back(message.to.value);
        }
        REQUIRE_FALSE(leads.empty());
        CHECK(leads.front() == 3);
        node.poll({node.from(3, 2, RequestVote{false, {Term{1}, Index{4}}, true})});
        CHECK(node.status().role == Role::follower);
        CHECK(node.sent_of<RequestVoteResponse>().at(0).vote_granted);
        CHECK_FALSE(campaigns(node));
    }
    SUBCASE("and until one has everything, it takes no more") {
        node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{3}, {}}),
                   node.from(3, 1, AppendEntriesResponse{true, Index{3}, {}})});
        REQUIRE(node.status().commit_index == Index{3});
        node.machine.pending = {{8, 8}};
        node.poll();
        CHECK(node.machine.pending.size() == 1);
        CHECK(node.sent_of<TimeoutNow>().empty());
    }
    SUBCASE("and it begins no further change") {
        node.wire.told.clear();
        node.wire.wanted = of({1, 2, 3, 4});
        acknowledge(node, {2, 3});
        acknowledge(node, {2, 3});
        node.poll();
        REQUIRE(node.status().commit_index == Index{4});
        CHECK(voters(node) == "l1 2 3 4");
        REQUIRE_FALSE(node.wire.told.empty());
        CHECK(node.wire.told.back().state == TransitionState::abandoned_not_leader);
        CHECK(text(node.wire.told.back().membership) == "1 2 3 4");
    }
    SUBCASE("and if nobody does, it stands down within an election timeout") {
        acknowledge(node, {2, 3});
        acknowledge(node, {2, 3});
        lr::Time committed = node.now;
        while (node.status().role == Role::leader && node.now < committed + 10s) {
            node.advance(10ms);
            node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{4}, {}}),
                       node.from(3, 1, AppendEntriesResponse{true, Index{4}, {}})});
        }
        CHECK(node.now <= committed + node.options.election_timeout_range.max);
        CHECK_FALSE(campaigns(node));
    }
}

TEST_CASE("a leader that becomes a learner makes way in the same way") {
    MemberNode node = leading();
    ask(node, of({2, 3}, {1}));
    acknowledge(node, {2, 3});
    node.sent();
    acknowledge(node, {2, 3});
    node.machine.pending = {{7, 7}};
    for (int i = 0; i < 3; ++i) node.advance(50ms);
    std::set<std::uint64_t> heirs;
    for (const auto& message : node.sent())
        if (std::holds_alternative<TimeoutNow>(message.body)) heirs.insert(message.to.value);
    CHECK(heirs == std::set<std::uint64_t>{2});  // Both have everything; two would split the votes.
    CHECK(node.machine.pending.size() == 1);     // It waits for whoever leads next.
    node.poll({node.from(2, 2, Append{{Term{1}, Index{3}}, Index{3}, {}})});
    CHECK(node.status().leader == ReplicaId{2});
    CHECK_FALSE(campaigns(node));
}

TEST_CASE("[PhD 4.2.3]: a removed replica that asks for votes disturbs nobody who hears a leader") {
    MemberNode node = following({2, 3}, {config(1, of({1, 2}))}, 1);
    node.poll({node.from(3, 1, RequestVote{true, {Term{1}, Index{1}}, false}),
               node.from(3, 7, RequestVote{false, {Term{1}, Index{1}}, false})});
    CHECK(node.sent().empty());
    CHECK(node.status().term == Term{1});
    CHECK(node.status().leader == ReplicaId{2});
}

TEST_CASE("a transfer to a learner, or to one going out, is not begun") {
    MemberNode node = leading();
    ask(node, of({1, 2}, {3, 4}));
    acknowledge(node, {2, 3, 4});
    acknowledge(node, {2, 3, 4});
    node.sent();
    for (std::uint64_t target : Ids{3, 4, 9}) {
        node.wire.transfer_to = ReplicaId{target};
        node.poll();
        CHECK(node.sent_of<TimeoutNow>().empty());
    }
    node.wire.transfer_to = ReplicaId{2};
    node.poll();
    CHECK(node.sent_of<TimeoutNow>().size() == 1);
}

// ----- What a change must not loosen -------------------------------------------------------------

TEST_CASE("a read in a joint membership is answered by a majority of each set") {
    for (unsigned heard = 0; heard < 16; ++heard) {  // Of 2, 3, 4 and 5.
        CAPTURE(heard);
        MemberNode node = leading();
        ask(node, of({1, 4, 5}));
        node.now += 10ms;
        node.machine.asked = {11};
        node.poll();
        node.poll();
        node.now += 10ms;
        std::vector<MemberWire::Message> answers;
        for (unsigned i = 0; i < 4; ++i) {
            if ((heard >> i & 1) != 0)
                answers.push_back(node.from(i + 2, 1, AppendEntriesResponse{i < 2, Index{1}, {}}));
        }
        node.poll(std::move(answers));
        node.poll();
        CHECK((node.machine.read == std::vector<std::uint64_t>{11}) ==
              ((heard & 3) != 0 && (heard & 12) != 0));
    }
}

namespace {

/// A leader with a lease answers a read, and the next one no more: it has added 4 and 5 meanwhile,
/// of whom it has heard nothing.
void read_and_add(MemberNode& node) {
    REQUIRE(node.status().role == Role::leader);
    acknowledge(node, {2, 3});
    node.machine.asked = {11};
    for (int polls = 0; polls < 2; ++polls) node.poll();
    REQUIRE(node.machine.read == std::vector<std::uint64_t>{11});
    ask(node, of({1, 4, 5}));
    node.machine.asked = {12};
    for (int polls = 0; polls < 3; ++polls) node.poll();
    CHECK(node.machine.read == std::vector<std::uint64_t>{11});
}

}  // namespace

TEST_CASE("a lease does not reach over a change: whoever was added has not been heard yet") {
    MemberNode node(1, {2, 3}, {.lease_reads = 10ms});
    node.elect();
    read_and_add(node);
    node.now += 1ms;
    node.poll({node.from(4, 1, AppendEntriesResponse{false, {}, {}})});
    node.poll();
    CHECK(node.machine.read == std::vector<std::uint64_t>{11, 12});
}

TEST_CASE("regression: soon after its clock began a leader took those whom it added for heard") {
    MemberNode node(1, {2, 3}, {.lease_reads = 10ms});
    node.now += 1ms;
    node.poll({node.from(2, 1, Append{{}, Index{1}, {config(1, of({1, 2, 3}))}}),
               node.from(2, 1, TimeoutNow{})});
    node.poll({node.from(2, 2, RequestVoteResponse{false, true})});
    read_and_add(node);
}

TEST_CASE("a leader gives those whom it adds an election timeout to be heard") {
    MemberNode node = leading();
    node.now += node.options.election_timeout_range.max - 10ms;
    acknowledge(node, {2, 3});
    ask(node, of({1, 4, 5}));
    lr::Time begun = node.now;
    while (node.status().role == Role::leader && node.now < begun + 10s) {
        node.advance(10ms);
        node.poll({node.from(2, 1, AppendEntriesResponse{true, Index{1}, {}})});
    }
    CHECK(node.now == begun + node.options.election_timeout_range.max);
}

TEST_CASE("what was known of those who stay is not forgotten") {
    MemberNode node = leading();
    acknowledge(node, {2, 3});
    ask(node, of({1, 2, 4}));
    for (const lr::Progress& member : node.status().progress) {
        CAPTURE(member.id.value);
        CHECK(member.match_index == Index{member.id.value == 4   ? 0U
                                          : member.id.value == 1 ? 2U
                                                                 : 1U});
    }
}

TEST_CASE("a voter whose disk was lost still counts as one that is missing") {
    MemberNode node = leading({2, 3, 4});
    node.now += 1ms;
    node.advance(50ms);
    node.now += 1ms;
    node.poll({node.from(2, 1, AppendEntriesResponse{false, Index{1}, {}})});
    REQUIRE(node.status().progress[1].lost);
    CHECK(voters(node) == "1 2 3 4");
    node.machine.pending = {{7, 7}};
    node.poll();
    acknowledge(node, {3});
    CHECK(node.status().commit_index == Index{1});  // Two of four.
    acknowledge(node, {4});
    CHECK(node.status().commit_index == Index{2});
}

TEST_CASE("a message or a disk with a membership that makes no sense does no harm") {
    // No correct replica makes one, and it is taken as it is: members without a voter need no
    // majority, so nobody is waited for, and who is named twice is what is said last.
    for (const Membership& bad :
         {Membership{}, of({}, {1}), of({1, 1}), of({1}, {1}),
          Membership{members_of({1}), members_of({}, {1})},
          Membership{members_of({1}), members_of({2, 2})}, Membership{{}, members_of({1, 1})}}) {
        CAPTURE(text(bad));
        auto outlives = [](MemberNode& node) {
            for (int i = 0; i < 200; ++i) {
                node.machine.pending = {{7, 7}};
                if (i % 50 == 0) node.wire.wanted = of({1, 2, 3});
                node.advance(50ms);
            }
            node.restart();
            for (int i = 0; i < 100; ++i) node.advance(50ms);
            CHECK_FALSE(node.status().fault);
            CHECK(node.status().progress[0].id == node.id);
            CHECK(node.status().progress.size() <= 3);
        };
        MemberNode node(1, {2, 3});
        node.poll({node.from(2, 1, Append{{}, {}, {config(1, bad)}})});
        outlives(node);
        MemberNode installs(1, {2, 3});
        installs.poll({installs.from(2, 1, Install{{Term{1}, Index{5}}, 0, "", true, {}, bad})});
        outlives(installs);
        MemberNode stored(1, {2, 3});
        stored.disk.written = {Term{1}, {}, {}, {config(1, bad)}};
        outlives(stored);
        MemberNode snapshot(1, {2, 3});
        snapshot.machine.saved = {{Term{1}, Index{5}}, "", bad};
        outlives(snapshot);
    }
}

// ----- Groups in virtual time --------------------------------------------------------------------

namespace {

/// Replicas 1, 2, 3 ..., the first of which begin as a cluster; the rest are newcomers.
struct MemberGroup : GroupOf<MemberNode> {
    std::uint64_t commands = 0;
    lr::Duration patience = 200ms;

    MemberGroup(std::uint64_t members, std::uint64_t newcomers, MemberNode::Options options = {})
        : GroupOf(0, options) {
        for (std::uint64_t id = 1; id <= members + newcomers; ++id) {
            nodes.emplace_back(id, Ids{}, options);
            if (id > members) continue;
            Ids ids;
            for (std::uint64_t other = 1; other <= members; ++other) ids.push_back(other);
            nodes.back().peers = members_of(ids);
        }
    }

    /// The one that leads: one that was cut off may think so, too, until its deadline.
    MemberNode& head() {
        REQUIRE(leader() != 0);
        return (*this)[leader()];
    }

    /// Asks the leader, and lets it take its course.
    void change(const Membership& membership) {
        head().wire.wanted = membership;
        REQUIRE(advance(patience / 2));
    }

    /// Whether all of these apply what the leader is given now.
    bool works(const Ids& ids) {
        std::uint64_t id = ++commands;
        head().machine.pending.push_back({id, id});
        if (!advance(patience)) return false;
        return std::all_of(ids.begin(), ids.end(), [&](std::uint64_t each) {
            const auto& applied = (*this)[each].machine.applied;
            return !applied.empty() && applied.back() == id;
        });
    }

    /// Whether all of these have this membership in force, and know that it is committed.
    bool agree(const Ids& ids, const std::string& expected) {
        return std::all_of(ids.begin(), ids.end(), [&](std::uint64_t id) {
            std::string queued;
            std::string applied;
            for (const Told& line : (*this)[id].wire.told) {
                if (line.state == MembershipState::queued) queued = text(line.membership);
                if (line.state == MembershipState::applied) applied = text(line.membership);
            }
            return queued == expected && applied == expected;
        });
    }
};

std::string lasting(MemberGroup& group, std::uint64_t id) {
    const auto& told = group[id].wire.told;
    return told.empty() ? "" : text(told.back().membership) + ": " + text(told.back().state);
}

/// All subsets of 1 to 4 with a voter, each id being no member, a voter or a learner.
std::vector<Membership> all_memberships() {
    std::vector<Membership> all;
    for (unsigned code = 0; code < 81; ++code) {
        Ids by_kind[3];
        unsigned rest = code;
        for (std::uint64_t id = 1; id <= 4; ++id, rest /= 3) by_kind[rest % 3].push_back(id);
        if (!by_kind[1].empty()) all.push_back(of(by_kind[1], by_kind[2]));
    }
    return all;
}

}  // namespace

TEST_CASE("[PhD 4.3]: any set changes into any other, in one step for who asks") {
    const auto all = all_memberships();
    std::uint64_t changes = 0;
    std::uint64_t handed_over = 0;
    for (const Membership& from : all) {
        for (std::size_t i = changes % 3; i < all.size(); i += 3) {  // A third of all pairs.
            const Membership& to = all[i];
            MemberGroup group(0, 4);
            std::uint64_t first = 0;
            Ids reached;
            for (const Member& member : from.members)
                if (!member.learner && first == 0) first = member.id.value;
            for (const Member& member : to.members) reached.push_back(member.id.value);
            for (const Member& member : from.members) group[member.id.value].peers = from.members;
            CAPTURE(text(from));
            CAPTURE(text(to));
            REQUIRE(group.elect(first));
            REQUIRE(group.works({first}));
            group.change(to);
            bool good = group.agree(reached, text(to)) && group.works(reached);
            CHECK(good);
            ++changes;
            handed_over += group.leader() == first ? 0 : 1;
            if (!good) return;
        }
    }
    CHECK(changes > 1000);
    CHECK(handed_over > 300);
}

TEST_CASE(
    "whoever joins learns of all others, addresses and all, and those removed that they are") {
    MemberGroup group(3, 2);
    REQUIRE(group.elect(1));
    REQUIRE(group.works({1, 2, 3}));
    CHECK(group[4].machine.applied.empty());
    group.change(of({1, 2, 4, 5}));
    CHECK(group.agree({1, 2, 3, 4, 5}, "1 2 4 5"));
    for (std::uint64_t id : Ids{1, 2, 3, 4, 5}) {
        for (const Member& member : group[id].wire.told.back().membership.members)
            CHECK(member.address == "at " + std::to_string(member.id.value));
    }
    CHECK(group.works({1, 2, 4, 5}));
    CHECK(voters(group[4]) == "4 1 2 5");
    CHECK(group.leader() == 1);
}

TEST_CASE("[PhD 4.2.1]: a new replica catches up as a learner, and is promoted then") {
    MemberGroup group(3, 1, {.snapshot_delta = 5, .snapshot_trailing = 0});
    REQUIRE(group.elect(1));
    for (int i = 0; i < 20; ++i) REQUIRE(group.works({1, 2, 3}));
    group.isolate(2);
    group.change(of({1, 2, 3}, {4}));
    CHECK(group.agree({1, 3, 4}, "1 2 3 l4"));
    CHECK(group.works({1, 3, 4}));
    CHECK(group[4].machine.set_snapshot_calls > 0);
    CHECK(group[4].machine.applied == group[1].machine.applied);
    group.isolate(3);
    CHECK_FALSE(group.works({1}));  // The learner does not stand in for a voter.
    group.cut.clear();
    REQUIRE(group.advance(3s));
    CHECK(group.works({1, 2, 3, 4}));
    group.change(of({1, 2, 3, 4}));
    CHECK(group.agree({1, 2, 3, 4}, "1 2 3 4"));
    group.isolate(2);
    CHECK(group.works({group.leader(), 3, 4}));
}

TEST_CASE("a voter becomes a learner, follows on, and elects nobody") {
    MemberGroup group(3, 0);
    REQUIRE(group.elect(1));
    group.change(of({1, 2}, {3}));
    CHECK(group.agree({1, 2, 3}, "1 2 l3"));
    CHECK(group.works({1, 2, 3}));
    group.down = {1};
    REQUIRE(group.advance(10s));
    CHECK(group[2].status().role != Role::leader);  // Of two voters one is left.
    CHECK(group[3].status().role == Role::follower);
    group.down.clear();
    REQUIRE(group.advance(5s));
    CHECK(group.works({1, 2, 3}));
}

TEST_CASE(
    "[PhD 4.2.2]: a leader that is removed hands over at once, and is no trouble afterwards") {
    MemberGroup group(3, 0);
    REQUIRE(group.elect(1));
    REQUIRE(group.works({1, 2, 3}));
    lr::Time before = group[1].now;
    group[1].wire.wanted = of({2, 3});
    REQUIRE(group.settle());
    std::uint64_t next = group.leader();
    CHECK(next != 1);
    CHECK(next != 0);
    CHECK(group[1].now == before);  // In no time.
    CHECK(group[next].status().term == Term{2});
    CHECK(lasting(group, 1) == "2 3: applied");
    REQUIRE(group.advance(20s));
    CHECK(group.leader() == next);
    CHECK(group[next].status().term == Term{2});
    CHECK(group[1].status().term <= Term{2});
    CHECK(group.works({2, 3}));
}

TEST_CASE(
    "regression: a removed leader handed over before it heard what became of its last entries") {
    MemberNode node = leading();
    ask(node, of({2, 3}));
    auto success = [&](std::uint64_t from, std::uint64_t index) {
        return node.from(from, 1, AppendEntriesResponse{true, Index{index}, {}});
    };
    node.poll({success(2, 2), success(3, 2)});
    REQUIRE(last(node) == Index{3});  // It leaves the joint membership.
    node.machine.pending = {{8, 8}};
    node.poll();
    node.sent();
    node.poll({success(2, 4), success(3, 3)});
    node.poll();
    REQUIRE(node.status().commit_index == Index{3});  // It is removed.
    CHECK(node.sent_of<lr::TimeoutNow>().empty());
    CHECK(node.machine.states_of(8) == std::vector{TransitionState::queued});
    node.poll({success(3, 4)});
    node.poll();
    CHECK(node.sent_of<lr::TimeoutNow>().size() == 1);
    CHECK(node.machine.states_of(8) == std::vector{TransitionState::queued,
                                                   TransitionState::committed,
                                                   TransitionState::applied});
}

TEST_CASE("regression: whoever came with no peers forgot in a restart that it may have to lead") {
    // The joint membership is in the snapshot alone, and what it leads to may not be committed.
    for (bool learner : {false, true}) {
        CAPTURE(learner);
        MemberNode node(2, {});
        Membership joint{members_of({3}), learner ? members_of({1}, {2}) : members_of({2})};
        node.machine.saved = {{Term{1}, Index{3}}, "", joint};
        node.disk.written = {Term{1}, std::nullopt, {Term{1}, Index{3}}, {config(1, of({3}))}};
        node.disk.durable = node.disk.written;
        node.poll();
        REQUIRE_FALSE(node.status().fault);
        CHECK(campaigns(node) == !learner);
    }
}

TEST_CASE("[PhD 4.2.3]: a removed follower that does not know it does not disturb the rest") {
    MemberGroup group(4, 0);
    REQUIRE(group.elect(1));
    REQUIRE(group.works({1, 2, 3, 4}));
    group.isolate(4);
    group.change(of({1, 2, 3}));
    CHECK(group.agree({1, 2, 3}, "1 2 3"));
    CHECK(lasting(group, 4).substr(0, 7) == "1 2 3 4");
    group.cut.clear();
    std::uint64_t asked = 0;
    group.on_sent = [&](MemberNode& node, const MemberWire::Message& message) {
        asked += node.id.value == 4 && std::holds_alternative<RequestVote>(message.body) ? 1 : 0;
    };
    REQUIRE(group.advance(20s));
    CHECK(asked > 10);  // It did try.
    CHECK(group.leader() == 1);
    CHECK(group[1].status().term == Term{1});
    CHECK(group[4].status().term == Term{1});
    CHECK(group.works({1, 2, 3}));
}

TEST_CASE("a leader that ends inside the joint membership leaves it to the next") {
    for (unsigned reached = 0; reached < 16; ++reached) {  // Of 2, 3, 4 and 5.
        CAPTURE(reached);
        MemberGroup group(3, 2);
        REQUIRE(group.elect(1));
        REQUIRE(group.works({1, 2, 3}));
        for (std::uint64_t id = 2; id <= 5; ++id) {
            if ((reached >> (id - 2) & 1) == 0) group.cut.emplace(1, id);
            group.cut.emplace(id, 1);  // Nothing is committed.
        }
        group[1].wire.wanted = of({1, 4, 5});
        REQUIRE(group.advance(50ms));
        group.isolate(1);
        group.down = {1};
        group.cut.clear();
        REQUIRE(group.advance(10s));
        group.down.clear();
        REQUIRE(group.advance(5s));
        std::uint64_t leads = group.leader();
        REQUIRE(leads != 0);
        bool joint = voters(group[leads]).find("<-") != std::string::npos;
        CHECK_FALSE(joint);
        bool changed = group.agree({1, 4, 5}, "1 4 5");
        CHECK((changed || group.agree({1, 2, 3}, "1 2 3")));
        CHECK(group.works(changed ? Ids{1, 4, 5} : Ids{1, 2, 3}));
    }
}

TEST_CASE("the process may end at any point of a change: what comes back goes on") {
    // In each run one more poll is made before all end at once.
    std::set<std::string> seen;
    for (int polls = 0; polls < 60; ++polls) {
        CAPTURE(polls);
        MemberGroup group(3, 1, {.snapshot_delta = 2, .snapshot_trailing = 0});
        REQUIRE(group.elect(1));
        REQUIRE(group.works({1, 2, 3}));
        group[1].wire.wanted = of({2, 4}, {3});
        for (int i = 0; i < polls; ++i) {
            MemberNode& node = group.nodes[static_cast<std::size_t>(i) % 4];
            node.poll();
            for (auto& message : node.sent()) group.flying.push_back(std::move(message));
            group.deliver();
        }
        for (MemberNode& node : group.nodes) {
            seen.insert(voters(node));
            node.restart();
        }
        group.flying.clear();
        REQUIRE(group.advance(10s));
        std::uint64_t leads = group.leader();
        REQUIRE(leads != 0);
        bool changed = group.works({2, 3, 4});
        CHECK((changed || group.works({1, 2, 3})));
        CHECK(voters(group[group.leader()]).find("<-") == std::string::npos);
    }
    CHECK(seen.size() > 5);
}

TEST_CASE("a disk that was lost is replaced by way of a change, under another id") {
    MemberGroup group(3, 1);
    REQUIRE(group.elect(1));
    for (int i = 0; i < 5; ++i) REQUIRE(group.works({1, 2, 3}));
    group[3].disk = {};
    group[3].machine.saved = {};
    group[3].restart();
    REQUIRE(group.advance(1s));
    bool lost = false;
    for (const lr::Progress& member : group[1].status().progress)
        lost = lost || (member.id == ReplicaId{3} && member.lost);
    CHECK(lost);
    group.down = {3};
    group.change(of({1, 2, 4}));
    CHECK(group.agree({1, 2, 4}, "1 2 4"));
    CHECK(group.works({1, 2, 4}));
    CHECK(group[4].machine.applied == group[1].machine.applied);
}

TEST_CASE("groups of even size and of one work, and a group that shrinks to one commits at once") {
    MemberGroup group(2, 2);
    REQUIRE(group.elect(1));
    group.change(of({1, 2, 3, 4}));
    CHECK(group.works({1, 2, 3, 4}));
    group.down = {3, 4};
    CHECK_FALSE(group.works({1, 2}));  // Half is no majority.
    group.down.clear();
    REQUIRE(group.advance(5s));
    CHECK(group.works({1, 2, 3, 4}));
    std::uint64_t leads = group.leader();
    group.change(of({leads}));
    CHECK(group.agree({leads}, std::to_string(leads)));
    for (std::uint64_t id = 1; id <= 4; ++id)
        if (id != leads) group.down.insert(id);
    CHECK(group.works({leads}));
}

TEST_CASE("reads go on through a change, and see all that was applied before they came") {
    for (lr::Duration lease : {(lr::Duration::max)(), lr::Duration(10ms)}) {
        MemberGroup group(3, 2, {.lease_reads = lease});
        REQUIRE(group.elect(1));
        std::vector<std::size_t> at_least{0};  // By read.
        for (const Membership& next : {of({1, 2, 3, 4, 5}), of({4, 5}, {1}), of({1, 2, 3})}) {
            group.head().wire.wanted = next;
            for (int i = 0; i < 20; ++i) {
                group.head().machine.pending.push_back({at_least.size(), 0});
                std::size_t applied = 0;
                for (MemberNode& node : group.nodes)
                    applied = std::max(applied, node.machine.applied.size());
                for (MemberNode& node : group.nodes) {
                    node.machine.asked.push_back(at_least.size());
                    at_least.push_back(applied);
                }
                REQUIRE(group.advance(5ms));
            }
        }
        std::uint64_t read = 0;
        std::uint64_t abandoned = 0;
        for (MemberNode& node : group.nodes) {
            for (std::size_t i = 0; i < node.machine.read.size(); ++i)
                CHECK(node.machine.seen[i] >= at_least[node.machine.read[i]]);
            read += node.machine.read.size();
            abandoned += node.machine.abandoned.size();
        }
        CHECK(read > at_least.size() / 2);
        CHECK(read + abandoned < at_least.size());
        CHECK(group.head().machine.applied.size() > 20);
    }
}

TEST_CASE("a change does not wait for disks that take their time, and is acknowledged after them") {
    MemberNode follower(1, {2, 3});
    follower.disk.delay = 3;
    follower.poll(
        {follower.from(2, 1, Append{{}, {}, {config(1, {members_of({1, 4}), members_of({1})})}})});
    CHECK(voters(follower) == "1 4 <- 1");  // In force.
    CHECK(follower.sent_of<AppendEntriesResponse>().empty());
    for (int i = 0; i < 4; ++i) follower.poll();
    REQUIRE(follower.disk.durable.entries.size() == 1);
    CHECK(follower.sent_of<AppendEntriesResponse>().size() == 1);
    MemberNode node = leading();
    node.disk.delay = 1000;
    ask(node, of({1, 2, 4}));
    acknowledge(node, {2, 3, 4});
    CHECK(node.disk.durable.entries.size() == 1);
    CHECK(last(node) == Index{3});  // Majorities without it have the joint one.
    CHECK(voters(node) == "1 2 l3 4");
    acknowledge(node, {2, 4});
    CHECK(told(node).back() == "1 2 4: applied");
}

TEST_CASE("any change is made though all disks take their time, and survives the end of all") {
    for (std::uint64_t delay : Ids{1, 3, 7}) {
        MemberGroup group(3, 2, {.snapshot_delta = 3, .snapshot_trailing = 0});
        REQUIRE(group.elect(1));
        for (MemberNode& node : group.nodes) node.disk.delay = delay;
        group.patience = 3s;
        REQUIRE(group.works({1, 2, 3}));
        group.change(of({2, 4}, {5}));
        CHECK(group.agree({2, 4, 5}, "2 4 l5"));
        CHECK(group.works({2, 4, 5}));
        for (MemberNode& node : group.nodes) node.restart();
        group.flying.clear();
        REQUIRE(group.advance(10s));
        CHECK(group.works({2, 4, 5}));
        group.change(of({1, 2, 3}));
        CHECK(group.agree({1, 2, 3}, "1 2 3"));
        CHECK(group.works({1, 2, 3}));
    }
}

// ----- At random ---------------------------------------------------------------------------------

namespace {

/// A group that is asked for changes all the time while messages are lost, repeated, delayed and
/// overtake each other, and replicas end and come back. After each poll it checks what must hold.
class Storm {
 public:
    struct Counts {
        std::uint64_t changes = 0;    // That were begun,
        std::uint64_t completed = 0;  // ... and known to be over where they were asked for.
        std::uint64_t abandoned = 0;
        std::uint64_t unknown = 0;
        std::uint64_t refused = 0;
        std::uint64_t rolled_back = 0;  // A log was cut before the membership in force.
        std::uint64_t installed = 0;    // Snapshots.
        std::uint64_t snapshots = 0;    // Looked at, after each poll.
        std::uint64_t terms = 0;        // That had a leader.
        std::uint64_t restarts = 0;
        std::uint64_t committed = 0;     // Entries, each as the first replica came to know it,
        std::uint64_t jointly = 0;       // ... by two majorities,
        std::uint64_t by_strangers = 0;  // ... by a leader that is no voter any more.
        std::uint64_t healed_in_part = 0;
        std::uint64_t elected_from_without = 0;  // By a vote from a membership not in force.
    };

    Storm(std::uint64_t seed, Counts& counts)
        : random_(seed), counts_(counts), group_(3, 3, options()), slow_(seed % 2 == 0) {
        for (MemberNode& node : group_.nodes) {
            node.options.seed = seed;
            node.disk.delay = slow_ ? below(4) : 0;
        }
    }

    /// False: something did not hold, and was reported.
    bool run(int steps) {
        for (int i = 0; i < steps && good_; ++i) step();
        return good_ && heal();
    }

 private:
    static constexpr std::uint64_t size = 6;

    struct Known {
        std::uint64_t term;
        std::string what;
        friend bool operator==(const Known&, const Known&) = default;
    };
    struct Flying {
        lr::Time due;
        MemberWire::Message message;
    };

    static MemberNode::Options options() { return {.snapshot_delta = 6, .snapshot_trailing = 2}; }

    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
    bool chance(std::uint64_t percent) { return below(100) < percent; }

    void expect(bool holds, const char* law) {
        if (holds || !good_) return;
        good_ = false;
        FAIL_CHECK(std::string(law));
    }

    void step() {
        now_ += lr::Duration(1ms) * static_cast<int>(below(20));
        std::uint64_t id = below(size) + 1;
        MemberNode& node = group_[id];
        if (chance(10)) node.machine.pending.push_back({++commands_, commands_});
        if (chance(2)) {
            node.wire.wanted = any_membership();
            if (chance(30)) cut_ = 1U << (id - 1);
        }
        if (chance(1)) node.wire.transfer_to = ReplicaId{below(size) + 1};
        if (below(1000) < 3) return restart(node);
        if (below(1000) < 5) cut_ = below(1U << size);
        if (below(1000) < 7) cut_ = 0;
        poll(node);
    }

    /// Between one side of the cut and the other, nothing passes.
    bool passes(const MemberWire::Message& message) const {
        return (cut_ >> (message.from.value - 1) & 1) == (cut_ >> (message.to.value - 1) & 1);
    }

    void poll(MemberNode& node) {
        support::keep_if(flying_, [&](Flying& flying) {
            if (flying.message.to != node.id || flying.due > now_) return true;
            if (passes(flying.message) && !dead_.contains(node.id.value))
                node.wire.inbox.push_back(std::move(flying.message));
            return false;
        });
        if (dead_.contains(node.id.value)) return;
        bool asks = node.wire.wanted.has_value();
        Membership asked = asks ? *node.wire.wanted : Membership{};
        lr::Index before = node.boot().status().commit_index;
        Membership in_force_before = in_force(node);
        Role role = node.boot().status().role;
        std::uint64_t installed = node.machine.set_snapshot_calls;
        node.now = now_;
        node.poll();
        for (auto& message : node.sent()) send(std::move(message));
        bool taken = asks && !node.wire.wanted;
        check(node, before, in_force_before, taken ? &asked : nullptr);
        const lr::Status& status = node.boot().status();
        if (role != Role::leader && status.role == Role::leader && !status.progress[0].votes)
            ++counts_.elected_from_without;
        counts_.installed += node.machine.set_snapshot_calls - installed;
    }

    void send(MemberWire::Message message) {
        if (!calm_ && chance(8)) return;
        int copies = !calm_ && chance(5) ? 2 : 1;
        for (int i = 0; i < copies; ++i) {
            std::uint64_t delay = !calm_ && chance(5) ? below(700) : below(15);
            flying_.push_back({now_ + lr::Duration(1ms) * static_cast<int>(delay), message});
        }
    }

    void restart(MemberNode& node) {
        ++counts_.restarts;
        pending_.erase(node.id.value);
        node.restart();
        check(node, {}, in_force(node), nullptr);
    }

    /// Each is another, so that a change is known by its text; nearly always small.
    Membership any_membership() {
        Membership membership;
        for (std::uint64_t id = 1; id <= size; ++id)
            if (chance(50)) membership.members.push_back({{id}, label(), chance(25)});
        return membership;
    }
    std::string label() { return std::to_string(++labels_); }

    static std::string exact(const Membership& membership) {
        std::string words;
        for (const auto* half : {&membership.members, &membership.outgoing}) {
            words += "/";
            for (const Member& member : *half)
                words += std::to_string(member.id.value) + (member.learner ? "l" : "v") +
                         member.address + " ";
        }
        return words;
    }

    /// What is in force by the book: the last one in the log, or that of the snapshot, or the
    /// first.
    static const Membership& in_force(const MemberNode& node) {
        const auto& log = lr::Inspect::log(*node.replica);
        for (Index i = log.last.index; i >= log.base.index + 1; i = i - 1)
            if (const auto* found = std::get_if<Membership>(&log[i].command)) return *found;
        if (node.machine.saved) return node.machine.saved->membership;
        static const Membership none;
        static const Membership first = of({1, 2, 3});
        return node.peers.empty() ? none : first;
    }

    static bool votes(const std::vector<Member>& members, std::uint64_t id) {
        return std::any_of(members.begin(), members.end(), [&](const Member& member) {
            return member.id.value == id && !member.learner;
        });
    }

    /// Whether more than half of the voters are among these; nobody is more than half of nobody.
    static bool majority(const std::vector<Member>& members, const std::set<std::uint64_t>& ids) {
        std::size_t all = 0;
        std::size_t among = 0;
        for (const Member& member : members) {
            if (member.learner) continue;
            ++all;
            among += ids.contains(member.id.value) ? 1 : 0;
        }
        return all == 0 || 2 * among > all;
    }

    /// Nothing, if it is on its disk but in the snapshot, or not there.
    static std::optional<Known> durable_entry(const MemberNode& node, std::uint64_t index) {
        const auto& log = node.disk.durable;
        if (index <= log.last_included.index.value) return std::nullopt;
        std::uint64_t offset = index - log.last_included.index.value - 1;
        if (offset >= log.entries.size()) return std::nullopt;
        return known(log.entries[offset]);
    }

    static std::optional<Known> entry_of(const MemberNode& node, std::uint64_t index) {
        const auto& log = lr::Inspect::log(*node.replica);
        if (index < (log.base.index + 1).value || index > log.last.index.value) return std::nullopt;
        return known(log[Index{index}]);
    }

    static Known known(const ConfigEntry& entry) {
        const auto* membership = std::get_if<Membership>(&entry.command);
        return Known{entry.term.value,
                     membership ? exact(*membership)
                                : std::to_string(std::get_if<Command>(&entry.command)->id)};
    }

    void check(MemberNode& node, Index committed_before, const Membership& in_force_before,
               const Membership* asked) {
        const lr::Status& status = node.boot().status();
        expect(!status.fault, "no replica has a fault");
        const Membership& now = in_force(node);
        for (const lr::Progress& member : status.progress) {
            expect(member.votes == votes(now.members, member.id.value) &&
                       member.votes_outgoing == votes(now.outgoing, member.id.value),
                   "the last membership in the log is in force");
        }
        for (const auto* half : {&now.members, &now.outgoing}) {
            for (const Member& member : *half) {
                bool known = false;
                for (const lr::Progress& each : status.progress)
                    known = known || each.id == member.id;
                expect(known, "the leader knows all members");
            }
        }
        if (status.role == Role::leader) {
            auto [place, first] = leaders_.emplace(status.term.value, node.id.value);
            expect(place->second == node.id.value, "Election Safety");
            counts_.terms += first ? 1 : 0;
        }
        std::uint64_t& end = ends_[node.id.value];
        bool grew = end != std::exchange(end, status.last_log_index.value);
        if (status.role == Role::leader && grew) check_leader(node);
        // A leader appends memberships at the end of a poll.
        check_commit(node, committed_before, in_force_before);
        if (node.machine.saved) check_snapshot(*node.machine.saved);
        check_told(node, asked);
    }

    /// How many memberships in its log, after what anybody knows to be committed, are not the one
    /// before them.
    int changes_in_flight(const MemberNode& node) const {
        const auto& log = lr::Inspect::log(*node.replica);
        std::uint64_t committed = committed_.empty() ? 0 : committed_.rbegin()->first;
        std::string last;
        if (node.machine.saved) last = exact(node.machine.saved->membership);
        if (last.empty()) last = exact({node.peers, {}});
        int changes = 0;
        for (Index i = log.base.index + 1; i <= log.last.index; ++i) {
            const auto* membership = std::get_if<Membership>(&log[i].command);
            if (!membership) continue;
            std::string text = exact(*membership);
            changes += i.value > committed && text != last ? 1 : 0;
            last = text;
        }
        return changes;
    }

    void check_commit(MemberNode& node, Index before, const Membership& now) {
        const lr::Status& status = node.boot().status();
        for (std::uint64_t i = before.value + 1; i <= status.commit_index.value; ++i) {
            std::optional<Known> entry = entry_of(node, i);
            if (!entry && node.disk.delay == 0) entry = durable_entry(node, i);
            if (!entry) continue;  // In the snapshot.
            auto [place, first] = committed_.emplace(i, *entry);
            expect(place->second == *entry, "State Machine Safety: one entry for each index");
            // What a leader commits before it has it on disk may be in its snapshot at once.
            if (!first || (status.role != Role::leader && slow_)) continue;
            ++counts_.committed;
            expect(status.role == Role::leader, "a leader knows first what is committed");
            std::set<std::uint64_t> holders;
            for (const MemberNode& each : group_.nodes) {
                std::optional<Known> held = durable_entry(each, i);
                bool covered = each.disk.durable.last_included.index.value >= i;
                if (covered || (held && *held == *entry)) holders.insert(each.id.value);
            }
            expect(majority(now.members, holders) && majority(now.outgoing, holders),
                   "what is committed is on the disks of both majorities");
            counts_.jointly += now.outgoing.empty() ? 0 : 1;
            counts_.by_strangers += votes(now.members, node.id.value) ? 0 : 1;
        }
    }

    /// Its membership is the last one up to its last entry, where all since then are known.
    void check_snapshot(const MemberMachine::Taken& snapshot) {
        std::uint64_t index = snapshot.last_included.index.value;
        for (auto known = committed_.find(index); known != committed_.end();
             known = committed_.find(--index)) {
            if (known->second.what[0] != '/') continue;
            ++counts_.snapshots;
            return expect(known->second.what == exact(snapshot.membership),
                          "a snapshot has the membership of its last entry");
        }
    }

    /// Leader Completeness: whoever led the last of the terms, so far, holds all that was
    /// committed.
    void check_leader(const MemberNode& node) {
        expect(changes_in_flight(node) <= 1, "one change at a time");
        if (leaders_.rbegin()->second != node.id.value) return;
        for (const auto& [index, known] : committed_) {
            std::optional<Known> entry = entry_of(node, index);
            bool covered = lr::Inspect::log(*node.replica).base.index.value >= index;
            expect(covered || (entry && *entry == known), "Leader Completeness");
        }
    }

    /// Each change that was taken ends in exactly one way.
    void check_told(MemberNode& node, const Membership* asked) {
        if (asked) {
            pending_[node.id.value].insert(exact({asked->members, {}}));
        }
        auto settle = [&](const Membership& membership) {
            return pending_[node.id.value].erase(exact({membership.members, {}})) == 1;
        };
        std::string& in_force_now = in_force_[node.id.value];
        for (const Told& line : std::exchange(node.wire.told, {})) {
            const auto& [membership, state] = line;
            switch (state) {
                case MembershipState::queued:
                    in_force_now = exact(membership);
                    break;
                case MembershipState::applied:
                    committed_memberships_.insert(exact(membership));
                    break;
                case MembershipState::committed:
                    ++counts_.completed;
                    expect(settle(membership), "only what was asked is committed, once");
                    committed_memberships_.insert(exact(membership));
                    break;
                case MembershipState::abandoned_not_leader:
                case MembershipState::abandoned_malformed:
                    ++counts_.refused;
                    expect(settle(membership), "only what was asked is refused");
                    break;
                case MembershipState::abandoned_conflict_with_leader:
                    ++counts_.abandoned;
                    expect(settle(membership), "only what was asked is abandoned, once");
                    abandoned_.insert(exact(membership));
                    break;
                case MembershipState::outcome_unknown:
                    ++counts_.unknown;
                    expect(settle(membership), "only what was asked is unknown, once");
                    break;
                case MembershipState::abandoned_overloaded:
                    expect(false, "memberships are not limited");
                    break;
            }
        }
        for (const std::string& gone : abandoned_)
            expect(!committed_memberships_.contains(gone), "what was abandoned is never committed");
        std::size_t open = pending_[node.id.value].size();
        counts_.changes += asked && open > 0 ? 1 : 0;
        expect(open < 2, "a change is taken when the last has ended");
        expect(in_force_now == exact(in_force(node)), "what is in force was told last");
        // By the index of the last membership in the log: it never falls but where that is cut.
        const auto& log = lr::Inspect::log(*node.replica);
        Index at = log.last.index;
        while (at > log.base.index && log[at].command.index() != 0) at = at - 1;
        auto& [last_at, last_text] = tails_[node.id.value];
        counts_.rolled_back += at < last_at || (at == last_at && last_text != in_force_now) ? 1 : 0;
        last_at = at;
        last_text = in_force_now;
    }

    /// All that is in any log from the last known commit on, for whoever must have majorities.
    std::vector<Membership> alive_memberships() const {
        std::vector<Membership> all;
        for (const MemberNode& node : group_.nodes) {
            const auto& log = lr::Inspect::log(*node.replica);
            const Membership* base = node.machine.saved ? &node.machine.saved->membership : nullptr;
            if (base) all.push_back(*base);
            if (!node.peers.empty() && !base) all.push_back({node.peers});
            for (Index i = log.base.index + 1; i <= log.last.index; ++i)
                if (const auto* membership = std::get_if<Membership>(&log[i].command))
                    all.push_back(*membership);
        }
        return all;
    }

    /// Faults end. Of the replicas, some never come back, but a majority of every membership does
    /// that may matter. Then one leads, commits, and changes the membership once more.
    bool heal() {
        calm_ = true;
        cut_ = 0;
        for (MemberNode& node : group_.nodes) node.wire.wanted.reset();
        std::vector<Membership> all = alive_memberships();
        std::set<std::uint64_t> core{1, 2, 3, 4, 5, 6};
        for (int tries = 0; tries < 6; ++tries) {
            std::set<std::uint64_t> less = core;
            less.erase(below(size) + 1);
            bool enough = std::all_of(all.begin(), all.end(), [&](const Membership& membership) {
                return majority(membership.members, less) && majority(membership.outgoing, less);
            });
            if (enough) core = less;
        }
        counts_.healed_in_part += core.size() < size ? 1 : 0;
        for (std::uint64_t id = 1; id <= size; ++id)
            if (!core.contains(id)) dead_.insert(id);
        std::uint64_t last = pass(core, 20);
        expect(last != 0, "Liveness: a majority elects a leader, and it commits");
        if (last == 0) return false;
        // Those who are there, all of them: it takes a majority of what was, and of these.
        Membership final;
        for (std::uint64_t id : core) final.members.push_back({{id}, label(), false});
        for (int tries = 0; tries < 20 && good_; ++tries) {
            MemberNode& leader = group_[last];
            if (exact(in_force(leader)) == exact(final)) break;
            leader.wire.wanted = final;
            last = pass(core, 2);
            if (last == 0) break;
        }
        expect(last != 0 && exact(in_force(group_[last])) == exact(final),
               "Liveness: a change that is possible is made");
        if (!good_) return false;
        expect(pass(core, 20) != 0, "Liveness: it goes on after that");
        for (std::uint64_t id : core)
            expect(group_[id].machine.applied == group_[*core.begin()].machine.applied,
                   "all have applied the same");
        for (std::uint64_t id : core) expect(pending_[id].empty(), "each change has ended");
        return good_;
    }

    /// Some election timeouts pass; the leader whose transition got applied by then, or 0.
    std::uint64_t pass(const std::set<std::uint64_t>& core, int timeouts) {
        std::uint64_t leader = 0;
        Term term;
        for (lr::Time end = now_ + timeouts * lr::Duration(1s); now_ < end && good_;) {
            now_ += 10ms;
            for (std::uint64_t id : core) poll(group_[id]);
            std::uint64_t leads = group_leader(core);
            if (leads == 0 || group_[leads].boot().status().term == term) continue;
            leader = leads;
            term = group_[leads].boot().status().term;
            group_[leads].machine.pending = {{++commands_, commands_}};
        }
        if (leader == 0 || group_leader(core) != leader) return 0;
        const auto& applied = group_[leader].machine.applied;
        return std::find(applied.begin(), applied.end(), commands_) != applied.end() ? leader : 0;
    }

    std::uint64_t group_leader(const std::set<std::uint64_t>& core) {
        std::uint64_t leader = 0;
        for (std::uint64_t id : core) {
            const lr::Status& status = group_[id].boot().status();
            if (status.role != Role::leader) continue;
            if (leader == 0 || status.term > group_[leader].boot().status().term) leader = id;
        }
        return leader;
    }

    std::mt19937_64 random_;
    Counts& counts_;
    MemberGroup group_;
    bool slow_;  // Disks take their time.
    lr::Time now_{};
    std::vector<Flying> flying_;
    std::uint64_t cut_ = 0;
    std::set<std::uint64_t> dead_;
    bool calm_ = false;
    bool good_ = true;
    std::uint64_t commands_ = 0;
    std::uint64_t labels_ = 0;
    std::map<std::uint64_t, std::uint64_t> leaders_;          // By term.
    std::map<std::uint64_t, Known> committed_;                // By index.
    std::map<std::uint64_t, std::set<std::string>> pending_;  // What a replica took, by its id.
    std::map<std::uint64_t, std::uint64_t> ends_;             // Of its log, by replica.
    std::map<std::uint64_t, std::pair<Index, std::string>> tails_;  // By replica: see rolled_back.
    std::map<std::uint64_t, std::string> in_force_;  // What was told last, by replica.
    std::set<std::string> abandoned_;
    std::set<std::string> committed_memberships_;
};

}  // namespace

TEST_CASE("in a storm of losses, repetitions, crashes and changes, all that must hold does") {
    const char* schedules = std::getenv("LITTLE_RAFT_SCHEDULES");
    const char* seeds = std::getenv("LITTLE_RAFT_SEED");
    std::uint64_t count = schedules ? std::strtoull(schedules, nullptr, 10) : 40 / one_in;
    std::uint64_t first = seeds ? std::strtoull(seeds, nullptr, 10) : 1;
    Storm::Counts counts;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        CAPTURE(seed);
        if (!Storm(seed, counts).run(3000)) return;
    }
    const std::pair<std::string, std::uint64_t> table[]{
        {"changes begun", counts.changes},
        {"changes made where they were asked for", counts.completed},
        {"changes abandoned", counts.abandoned},
        {"changes refused", counts.refused},
        {"memberships cut off", counts.rolled_back},
        {"snapshots installed", counts.installed},
        {"snapshots whose membership is known otherwise", counts.snapshots},
        {"terms with a leader", counts.terms},
        {"restarts", counts.restarts},
        {"entries committed", counts.committed},
        {"entries committed by two majorities", counts.jointly},
        {"entries committed by a leader that is no voter", counts.by_strangers},
        {"leaders that were elected without a vote of their own", counts.elected_from_without},
        {"healed with some who never came back", counts.healed_in_part},
    };
    for (const auto& row : table) {
        MESSAGE(row.first, ": ", row.second);
        CHECK_MESSAGE(row.second > count / 10, row.first);
    }
}
