// Each law of the test kit can break: a ghost that is told of a cluster that misbehaves says so,
// and one that is told of the same cluster behaving does not.
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "testing/invariants.hpp"
#include "testing/subject.hpp"

using namespace little_raft::testing;
using little_raft::AppendEntries;
using little_raft::AppendEntriesResponse;
using little_raft::Entry;
using little_raft::Index;
using little_raft::LogPosition;
using little_raft::Member;
using little_raft::Membership;
using little_raft::Progress;
using little_raft::RequestVote;
using little_raft::RequestVoteResponse;
using little_raft::Role;
using little_raft::Status;
using little_raft::Term;
using little_raft::Time;
using little_raft::TransitionState;

namespace {
using Message = little_raft::MessageOf<DigestMachine>;

Limits small_limits() {
    Limits limits;
    limits.snapshot_delta = 4;
    limits.snapshot_trailing = 1;
    limits.entries_per_message = 1;
    limits.inflight_messages = 2;
    limits.inflight_bytes = 100;
    limits.bytes_per_message = 10;
    limits.uncommitted_entries = 3;
    return limits;
}

/// Three replicas that live, have empty disks and do only what a test makes up.
struct Cluster {
    Ghost ghost;
    std::vector<Status> statuses = std::vector<Status>(3);

    explicit Cluster(const Limits& limits = small_limits()) : ghost(3, limits) {
        for (std::size_t i = 0; i < 3; ++i) {
            statuses[i].id = id_of(i);
            statuses[i].first_log_index = Index{1};
            ghost.booted(i, statuses[i], LogPosition{});
        }
    }

    /// Its disk has that term and vote, synced.
    void enter(std::size_t i, std::uint64_t term, std::optional<std::size_t> vote = std::nullopt) {
        DiskImage& disk = ghost.disk(i);
        disk.term = statuses[i].term = Term{term};
        disk.voted_for = vote ? std::optional(id_of(*vote)) : std::nullopt;
        statuses[i].voted_for = disk.voted_for;
        ghost.synced(i);
    }
    /// Its disk has one entry more, synced.
    void append(std::size_t i, std::uint64_t term, std::uint64_t number = noop_number) {
        ghost.disk(i).log.push(Term{term}, number);
        ghost.log_changed(i);
        ghost.synced(i);
        statuses[i].last_log_index = ghost.disk(i).log.last_index();
    }
    void truncate(std::size_t i, std::uint64_t from) {
        ghost.cuts(i, Index{from});
        LogImage& log = ghost.disk(i).log;
        log.marks.resize(static_cast<std::size_t>(from - log.base.index.value - 1));
        ghost.log_changed(i);
        ghost.synced(i);
        statuses[i].last_log_index = log.last_index();
    }
    void poll(std::size_t i) { ghost.polled(i, statuses[i], Time{}, Time::max(), false); }
    void lead(std::size_t i) {
        statuses[i].role = Role::leader;
        statuses[i].leader = id_of(i);
        statuses[i].progress.clear();
        for (std::size_t k = 0; k < 3; ++k)
            statuses[i].progress.push_back({.id = id_of(k), .votes = true, .next_index = Index{1}});
    }
    void follow(std::size_t i) {
        statuses[i].role = Role::follower;
        statuses[i].leader.reset();
        statuses[i].progress.clear();
    }
    void commit(std::size_t i, std::uint64_t index) {
        statuses[i].commit_index = statuses[i].last_applied = Index{index};
    }
    template <class Body>
    void send(std::size_t from, std::size_t to, std::uint64_t term, Body body,
              const std::optional<RequestVote>& answered = std::nullopt) {
        Message message{id_of(from), id_of(to), Term{term}, std::move(body)};
        ghost.sent(from, message, answered);
    }

    /// Replica 0 leads term 1 and has a no-op committed, which 1 has too.
    void elect_and_commit() {
        enter(0, 1, 0);
        enter(1, 1, 0);
        lead(0);
        append(0, 1);
        poll(0);
        append(1, 1);
        poll(1);
        commit(0, 1);
        poll(0);
    }

    std::string broken() const {
        return ghost.failure() ? text_of(ghost.failure()->law).name : "nothing";
    }
};
}  // namespace

TEST_CASE("a cluster that behaves breaks no law") {
    Cluster cluster;
    cluster.elect_and_commit();
    std::uint64_t number = cluster.ghost.proposed(0);
    cluster.ghost.taken(number);
    cluster.ghost.reported(0, number, TransitionState::queued);
    cluster.append(0, 1, number);
    cluster.poll(0);
    cluster.append(1, 1, number);
    cluster.commit(1, 1);
    cluster.poll(1);
    cluster.ghost.reported(0, number, TransitionState::committed);
    cluster.ghost.reported(0, number, TransitionState::applied);
    cluster.commit(0, 2);
    cluster.poll(0);
    cluster.ghost.rested(0);
    CHECK(cluster.broken() == "nothing");
    CHECK(cluster.ghost.committed().size() == 2);
}

TEST_CASE("Election Safety: two leaders in a term, and one twice") {
    Cluster two;
    two.enter(0, 1, 0);
    two.lead(0);
    two.poll(0);
    two.enter(1, 1, 1);
    two.lead(1);
    two.poll(1);
    CHECK(two.broken() == "Election Safety");

    Cluster by_message;
    by_message.enter(0, 1, 0);
    by_message.enter(1, 1, 1);
    by_message.send(0, 2, 1, AppendEntries<Command>{});
    CHECK(by_message.broken() == "nothing");
    by_message.send(1, 2, 1, AppendEntries<Command>{});
    CHECK(by_message.broken() == "Election Safety");

    Cluster twice;
    twice.enter(0, 1, 0);
    twice.lead(0);
    twice.poll(0);
    twice.follow(0);
    twice.poll(0);
    CHECK(twice.broken() == "nothing");
    twice.lead(0);
    twice.poll(0);
    CHECK(twice.broken() == "Election Safety");
}

TEST_CASE("Vote Once: another vote in the same term, also after the first was forgotten") {
    Cluster other;
    other.enter(0, 1, 1);
    other.enter(0, 1, 2);
    CHECK(other.broken() == "Vote Once");

    Cluster forgotten;
    forgotten.enter(0, 1, 1);
    forgotten.enter(0, 1);
    CHECK(forgotten.broken() == "Vote Once");
}

TEST_CASE("Votes Are Earned: a vote for a log that is behind") {
    Cluster cluster;
    cluster.enter(0, 1);
    cluster.append(0, 1);
    cluster.enter(0, 2, 1);
    cluster.send(0, 1, 2, RequestVoteResponse{false, true},
                 RequestVote{false, {Term{1}, Index{1}}});
    CHECK(cluster.broken() == "nothing");
    cluster.send(0, 1, 2, RequestVoteResponse{true, true}, RequestVote{true, {Term{0}, Index{0}}});
    CHECK(cluster.broken() == "Votes Are Earned");
}

TEST_CASE("Votes Are Earned: a candidate that no majority would vote for") {
    Cluster preferred;
    preferred.send(1, 0, 0, RequestVoteResponse{true, true});
    preferred.enter(0, 1, 0);
    preferred.send(0, 1, 1, RequestVote{});
    CHECK(preferred.broken() == "nothing");
    preferred.enter(0, 2, 0);
    preferred.send(0, 1, 2, RequestVote{});
    CHECK(preferred.broken() == "Votes Are Earned");

    Cluster other;
    other.send(1, 2, 0, RequestVoteResponse{true, true});
    other.enter(0, 1, 0);
    other.send(0, 1, 1, RequestVote{});
    CHECK(other.broken() == "Votes Are Earned");
}

TEST_CASE("Terms Never Fall: in memory and on disk") {
    Cluster in_memory;
    in_memory.enter(0, 2);
    in_memory.poll(0);
    in_memory.statuses[0].term = Term{1};
    in_memory.poll(0);
    CHECK(in_memory.broken() == "Terms Never Fall");

    Cluster on_disk;
    on_disk.enter(0, 2);
    on_disk.enter(0, 1);
    CHECK(on_disk.broken() == "Terms Never Fall");
}

TEST_CASE("Leader Append-Only: a leader that cuts its log") {
    Cluster cluster;
    cluster.enter(0, 1, 0);
    cluster.lead(0);
    cluster.append(0, 1);
    cluster.append(0, 1);
    cluster.poll(0);
    cluster.truncate(0, 2);
    cluster.poll(0);
    CHECK(cluster.broken() == "Leader Append-Only");
}

TEST_CASE("Log Matching: equal index and term with different histories") {
    Cluster cluster;
    cluster.enter(0, 2);
    cluster.enter(1, 2);
    cluster.append(0, 1, cluster.ghost.proposed(0));
    cluster.append(1, 2, cluster.ghost.proposed(1));
    cluster.append(0, 2);
    cluster.poll(0);
    CHECK(cluster.broken() == "nothing");
    cluster.append(1, 2);
    cluster.poll(1);
    CHECK(cluster.broken() == "Log Matching");
}

TEST_CASE("Log Matching: terms that fall along a log, or behind what was compacted") {
    Cluster along;
    along.enter(0, 2);
    along.append(0, 2);
    along.poll(0);
    CHECK(along.broken() == "nothing");
    along.append(0, 1);
    along.poll(0);
    CHECK(along.broken() == "Log Matching");

    Cluster behind;
    behind.enter(0, 2);
    behind.ghost.disk(0).log.base = {Term{2}, Index{3}};
    behind.append(0, 1);
    behind.poll(0);
    CHECK(behind.broken() == "Log Matching");
}

TEST_CASE("Leader Completeness: a leader that lacks what was committed before its term") {
    Cluster cluster;
    cluster.elect_and_commit();
    cluster.enter(2, 2, 2);
    cluster.lead(2);
    cluster.poll(2);
    CHECK(cluster.broken() == "Leader Completeness");
}

TEST_CASE(
    "State Machine Safety: what is committed differs, was never proposed, or has another term") {
    Cluster differs;
    differs.elect_and_commit();
    differs.enter(2, 1);
    differs.append(2, 1, differs.ghost.proposed(2));
    differs.append(2, 1);
    differs.commit(2, 1);
    differs.poll(2);
    CHECK(differs.broken() == "State Machine Safety");

    Cluster unknown;
    unknown.elect_and_commit();
    unknown.append(0, 1, unknown_number);
    unknown.append(1, 1, unknown_number);
    unknown.commit(0, 2);
    unknown.poll(0);
    CHECK(unknown.broken() == "State Machine Safety");

    Cluster term;
    term.elect_and_commit();
    term.statuses[0].snapshot = {Term{9}, Index{1}};
    term.poll(0);
    CHECK(term.broken() == "State Machine Safety");
}

TEST_CASE(
    "Commit Rule: without a majority, by counting an older term, or first known to a follower") {
    Cluster alone;
    alone.enter(0, 1, 0);
    alone.lead(0);
    alone.append(0, 1);
    alone.poll(0);
    alone.commit(0, 1);
    alone.poll(0);
    CHECK(alone.broken() == "Commit Rule");

    Cluster by_message;
    by_message.enter(0, 1, 0);
    by_message.append(0, 1);
    by_message.send(0, 1, 1, AppendEntries<Command>{{}, Index{1}, {}});
    CHECK(by_message.broken() == "Commit Rule");

    Cluster old;
    old.enter(0, 1);
    old.append(0, 1);
    old.enter(1, 1);
    old.append(1, 1);
    old.enter(0, 2, 0);
    old.lead(0);
    old.poll(0);
    old.commit(0, 1);
    old.poll(0);
    CHECK(old.broken() == "Commit Rule");

    Cluster follower;
    follower.enter(1, 1);
    follower.append(1, 1);
    follower.commit(1, 1);
    follower.poll(1);
    CHECK(follower.broken() == "Commit Rule");
}

TEST_CASE("Order of Indexes: each pair, and a commit index that falls") {
    auto broken_by = [](auto change) {
        Cluster cluster;
        cluster.elect_and_commit();
        change(cluster.statuses[0]);
        cluster.poll(0);
        return cluster.broken();
    };
    CHECK(broken_by([](Status&) {}) == "nothing");
    CHECK(broken_by([](Status& s) { s.snapshot.index = Index{2}; }) == "Order of Indexes");
    CHECK(broken_by([](Status& s) { s.last_applied = Index{0}; }) == "Order of Indexes");
    CHECK(broken_by([](Status& s) { s.commit_index = s.last_applied = Index{0}; }) ==
          "Order of Indexes");
    CHECK(broken_by([](Status& s) { s.first_log_index = Index{3}; }) == "Order of Indexes");
}

TEST_CASE("Committed Is Never Cut: neither what it knows to be committed nor what others know") {
    Cluster knows;
    knows.elect_and_commit();
    knows.truncate(0, 1);
    CHECK(knows.broken() == "Committed Is Never Cut");

    Cluster others_know;
    others_know.elect_and_commit();
    others_know.truncate(1, 1);
    CHECK(others_know.broken() == "Committed Is Never Cut");

    Cluster majority_is_elsewhere;
    majority_is_elsewhere.elect_and_commit();
    majority_is_elsewhere.enter(2, 1);
    majority_is_elsewhere.append(2, 1);
    majority_is_elsewhere.truncate(2, 1);
    CHECK(majority_is_elsewhere.broken() == "nothing");
}

TEST_CASE("Persist Before Send: term, vote, own vote, entries, and another's name") {
    auto broken_by = [](std::uint64_t term, auto body) {
        Cluster cluster;
        cluster.enter(0, 2, 1);
        cluster.append(0, 2);
        cluster.send(0, 2, term, body);
        return cluster.broken();
    };
    CHECK(broken_by(2, AppendEntriesResponse{true, Index{1}, {}}) == "nothing");
    CHECK(broken_by(2, AppendEntriesResponse{true, Index{2}, {}}) == "Persist Before Send");
    CHECK(broken_by(3, AppendEntriesResponse{}) == "Persist Before Send");
    CHECK(broken_by(2, RequestVoteResponse{false, true}) == "Persist Before Send");
    CHECK(broken_by(1, RequestVoteResponse{false, true}) == "nothing");  // Overtaken by term 2.
    CHECK(broken_by(2, RequestVoteResponse{true, true}) == "nothing");   // It binds nobody.
    CHECK(broken_by(3, RequestVoteResponse{true, true}) == "Persist Before Send");
    CHECK(broken_by(2, RequestVote{}) == "Persist Before Send");

    Cluster name;
    name.enter(0, 1);
    name.ghost.sent(0, Message{id_of(1), id_of(2), Term{1}, AppendEntriesResponse{}});
    CHECK(name.broken() == "Persist Before Send");
}

TEST_CASE("Nothing Synced Is Lost: a restart with less than what is on disk") {
    auto broken_by = [](auto change) {
        Cluster cluster;
        cluster.enter(0, 2, 1);
        cluster.append(0, 2);
        cluster.poll(0);
        change(cluster.statuses[0]);
        cluster.ghost.booted(0, cluster.statuses[0], LogPosition{});
        return cluster.broken();
    };
    CHECK(broken_by([](Status&) {}) == "nothing");
    CHECK(broken_by([](Status& s) { s.term = Term{1}; }) == "Nothing Synced Is Lost");
    CHECK(broken_by([](Status& s) { s.last_log_index = Index{0}; }) == "Nothing Synced Is Lost");
    CHECK(broken_by([](Status& s) { s.commit_index = Index{1}; }) == "Nothing Synced Is Lost");
    CHECK(broken_by([](Status& s) { s.fault = ""; }) == "Faults Have Causes");
}

TEST_CASE("Reads See Commits: a read of an old state, one that ends twice, elsewhere or never") {
    const std::string law = "Reads See Commits";
    auto broken_by = [](auto change) {
        Cluster cluster;
        cluster.elect_and_commit();
        std::uint64_t number = cluster.ghost.asked(1);
        change(cluster, number);
        cluster.ghost.read_out(1);
        return cluster.broken();
    };
    auto taken = [&broken_by](auto change) {
        return broken_by([&](Cluster& cluster, std::uint64_t number) {
            cluster.ghost.read_taken(number);
            change(cluster.ghost, number);
        });
    };
    CHECK(taken([](Ghost& g, std::uint64_t n) { g.read_ended(1, n, Index{1}); }) == "nothing");
    CHECK(taken([](Ghost& g, std::uint64_t n) { g.read_ended(1, n, Index{2}); }) == "nothing");
    CHECK(taken([](Ghost& g, std::uint64_t n) { g.read_ended(1, n, std::nullopt); }) == "nothing");
    CHECK(taken([](Ghost& g, std::uint64_t n) { g.read_ended(1, n, Index{0}); }) == law);
    CHECK(taken([](Ghost& g, std::uint64_t n) { g.read_ended(0, n, Index{1}); }) == law);
    CHECK(taken([](Ghost& g, std::uint64_t n) {
              g.read_ended(1, n, Index{1});
              g.read_ended(1, n, std::nullopt);
          }) == law);
    CHECK(taken([](Ghost& g, std::uint64_t) { g.read_ended(1, 17, Index{1}); }) == law);
    CHECK(taken([](Ghost&, std::uint64_t) {}) == law);
    CHECK(broken_by([](Cluster&, std::uint64_t) {}) == "nothing");
    CHECK(broken_by([](Cluster& cluster, std::uint64_t number) {
              cluster.ghost.read_ended(1, number, Index{1});
          }) == law);
    // Whoever starts again has forgotten it.
    CHECK(broken_by([](Cluster& cluster, std::uint64_t number) {
              cluster.ghost.read_taken(number);
              Status status = cluster.statuses[1];
              cluster.ghost.booted(1, status, LogPosition{});
          }) == "nothing");
}

TEST_CASE("Leases Exclude: a leader beside one whose lease lasts") {
    constexpr auto lease = std::chrono::milliseconds(300);
    auto broken_by = [&](std::uint64_t term, std::chrono::milliseconds since_heard) {
        Cluster cluster;
        Time now{std::chrono::seconds(9)};
        cluster.enter(0, term, 0);
        cluster.lead(0);
        cluster.statuses[0].progress[0].last_contact = little_raft::never;
        cluster.statuses[0].progress[1].last_contact = now - since_heard;
        cluster.enter(2, 5, 2);
        cluster.lead(2);
        cluster.ghost.elected(2, cluster.statuses[2], cluster.statuses[0], lease, now);
        return cluster.broken();
    };
    CHECK(broken_by(4, lease) == "nothing");
    CHECK(broken_by(4, lease - std::chrono::milliseconds(1)) == "Leases Exclude");
    // One of a later term loses nothing by it: who is elected too late cannot commit.
    CHECK(broken_by(6, std::chrono::milliseconds(1)) == "nothing");
}

TEST_CASE("Exactly One Final State: every way to report wrongly") {
    using enum TransitionState;
    auto broken_by = [](std::vector<TransitionState> states, std::size_t reporter = 0) {
        Cluster cluster;
        std::uint64_t number = cluster.ghost.proposed(0);
        cluster.ghost.taken(number);
        for (TransitionState state : states) cluster.ghost.reported(reporter, number, state);
        if (!cluster.ghost.failure()) cluster.ghost.rested(0);
        return cluster.broken();
    };
    const std::string law = "Exactly One Final State";
    CHECK(broken_by({abandoned_not_leader}) == "nothing");
    CHECK(broken_by({abandoned_overloaded}) == "nothing");
    CHECK(broken_by({queued, abandoned_conflict_with_leader}) == "nothing");
    CHECK(broken_by({queued, committed, applied}) == "nothing");
    CHECK(broken_by({}) == law);
    CHECK(broken_by({queued}) == law);
    CHECK(broken_by({queued, committed}) == law);
    CHECK(broken_by({committed}) == law);
    CHECK(broken_by({applied}) == law);
    CHECK(broken_by({outcome_unknown}) == law);
    CHECK(broken_by({abandoned_conflict_with_leader}) == law);
    CHECK(broken_by({queued, applied}) == law);
    CHECK(broken_by({queued, abandoned_not_leader}) == law);
    CHECK(broken_by({queued, committed, outcome_unknown}) == law);
    CHECK(broken_by({queued, committed, applied, applied}) == law);
    CHECK(broken_by({abandoned_not_leader, abandoned_not_leader}) == law);
    CHECK(broken_by({queued, outcome_unknown, applied}) == law);
    CHECK(broken_by({committed}, 1) == law);
    CHECK(broken_by({abandoned_overloaded}, 1) == law);

    Cluster too_early;
    too_early.ghost.reported(0, too_early.ghost.proposed(0), queued);
    CHECK(too_early.broken() == law);

    Cluster of_nothing;
    of_nothing.ghost.reported(0, 17, queued);
    CHECK(of_nothing.broken() == law);

    Cluster unknown_without_cause;
    std::uint64_t number = unknown_without_cause.ghost.proposed(0);
    unknown_without_cause.ghost.taken(number);
    unknown_without_cause.ghost.reported(0, number, queued);
    unknown_without_cause.ghost.reported(0, number, outcome_unknown);
    CHECK(unknown_without_cause.broken() == "nothing");
    unknown_without_cause.poll(0);
    CHECK(unknown_without_cause.broken() == law);

    Cluster applied_elsewhere;
    number = applied_elsewhere.ghost.proposed(0);
    applied_elsewhere.ghost.taken(number);
    applied_elsewhere.ghost.reported(0, number, abandoned_not_leader);
    applied_elsewhere.ghost.reported(1, number, applied);
    CHECK(applied_elsewhere.broken() == law);
}

TEST_CASE("Exactly One Final State: what was abandoned is committed") {
    using enum TransitionState;
    for (TransitionState state : {abandoned_overloaded, abandoned_not_leader}) {
        Cluster cluster;
        cluster.elect_and_commit();
        std::uint64_t number = cluster.ghost.proposed(0);
        cluster.ghost.taken(number);
        cluster.ghost.reported(0, number, state);
        cluster.append(0, 1, number);
        cluster.append(1, 1, number);
        cluster.commit(0, 2);
        cluster.poll(0);
        CHECK(cluster.broken() == "Exactly One Final State");
    }
}

TEST_CASE("Committed Once: one transition in two places") {
    Cluster cluster;
    cluster.elect_and_commit();
    std::uint64_t number = cluster.ghost.proposed(0);
    for (int k = 0; k < 2; ++k) {
        cluster.append(0, 1, number);
        cluster.append(1, 1, number);
    }
    cluster.commit(0, 3);
    cluster.poll(0);
    CHECK(cluster.broken() == "Committed Once");
}

TEST_CASE("Bounded Memory: applied entries, uncommitted entries, the window, and the whole log") {
    Cluster applied;
    applied.elect_and_commit();
    for (int k = 0; k < 3; ++k) {
        applied.append(0, 1);
        applied.append(1, 1);
    }
    applied.commit(0, 4);
    applied.poll(0);
    CHECK(applied.broken() == "nothing");
    applied.append(0, 1);
    applied.append(1, 1);
    applied.commit(0, 5);
    applied.poll(0);
    CHECK(applied.broken() == "Bounded Memory");

    Cluster uncommitted;
    uncommitted.elect_and_commit();
    for (int k = 0; k < 3; ++k) uncommitted.append(0, 1, uncommitted.ghost.proposed(0));
    uncommitted.poll(0);
    CHECK(uncommitted.broken() == "nothing");
    uncommitted.append(0, 1, uncommitted.ghost.proposed(0));
    uncommitted.poll(0);
    CHECK(uncommitted.broken() == "Bounded Memory");

    Cluster window;
    window.elect_and_commit();
    window.statuses[0].progress[1].inflight.resize(2);
    window.poll(0);
    CHECK(window.broken() == "nothing");
    window.statuses[0].progress[1].inflight.resize(3);
    window.poll(0);
    CHECK(window.broken() == "Bounded Memory");

    Cluster bytes;
    bytes.elect_and_commit();
    bytes.statuses[0].progress[1].inflight_bytes = 110;
    bytes.poll(0);
    CHECK(bytes.broken() == "Bounded Memory");

    Cluster follower;
    follower.enter(2, 1);
    for (std::uint64_t k = 0; k < 4; ++k) follower.append(2, 1, follower.ghost.proposed(0));
    follower.poll(2);
    CHECK(follower.broken() == "nothing");
    for (int k = 0; k < 3; ++k) follower.append(2, 1);  // What leaders add for themselves.
    follower.poll(2);
    CHECK(follower.broken() == "nothing");
    follower.append(2, 1, follower.ghost.proposed(0));
    follower.poll(2);
    CHECK(follower.broken() == "Bounded Memory");

    // All of it is committed, but this one does not know. Whether its log breaks the law with the
    // entry after `fits`, and not before.
    auto breaks_after = [](std::uint64_t fits, bool limited, bool ends) {
        Cluster log;
        log.elect_and_commit();
        log.enter(2, 1);
        log.append(2, 1);
        for (std::uint64_t k = 2; k <= fits + 1; ++k) {
            std::uint64_t number = limited ? log.ghost.proposed(0) : noop_number;
            log.append(0, 1, number);
            log.append(1, 1, number);
            log.commit(0, k);
            log.statuses[0].first_log_index = Index{k};
            log.poll(0);
            CHECK(log.broken() == "nothing");
            log.append(2, 1, number);
            if (k > fits && !ends) log.ghost.booted(2, log.statuses[2], LogPosition{});
            log.poll(2);
            if (k <= fits) CHECK(log.broken() == "nothing");
        }
        return log.broken() == "Bounded Memory";
    };
    CHECK(breaks_after(22, true, true));
    // What leaders add for themselves is not limited, and many can follow each other before any of
    // it is committed.
    CHECK_FALSE(breaks_after(22, false, true));
    // What a poll took in that never came to its end is not applied, and comes on top.
    CHECK_FALSE(breaks_after(22, true, false));
}

TEST_CASE("Leader Bookkeeping: every untruth about a follower") {
    auto broken_by = [](auto change) {
        Cluster cluster;
        cluster.elect_and_commit();
        cluster.statuses[0].progress[1].match_index = Index{1};
        cluster.statuses[0].progress[1].next_index = Index{2};
        cluster.poll(0);
        change(cluster.statuses[0]);
        cluster.poll(0);
        return cluster.broken();
    };
    const std::string law = "Leader Bookkeeping";
    CHECK(broken_by([](Status&) {}) == "nothing");
    CHECK(broken_by([](Status& s) { s.progress[1].match_index = Index{2}; }) == law);
    CHECK(broken_by([](Status& s) { s.progress[1].match_index = Index{0}; }) == law);
    CHECK(broken_by([](Status& s) { s.progress[1].next_index = Index{1}; }) == law);
    CHECK(broken_by([](Status& s) { s.progress[0].match_index = Index{2}; }) == law);
    CHECK(broken_by([](Status& s) { s.progress[1].id = id_of(6); }) == law);
    CHECK(broken_by([](Status& s) { s.leader = id_of(1); }) == law);
    CHECK(broken_by([](Status& s) { s.progress[1].lost = true; }) == law);

    // Replica 2 is in the leader's term and has another entry at that index, or none.
    Cluster untrue;
    untrue.elect_and_commit();
    untrue.enter(2, 1);
    untrue.statuses[0].progress[2].match_index = Index{1};
    untrue.statuses[0].progress[2].next_index = Index{2};
    untrue.poll(0);
    CHECK(untrue.broken() == law);

    // Where its log ended when it was elected it may begin; of what follows it leaves out nothing.
    Cluster hole;
    hole.elect_and_commit();
    auto send = [&](std::uint64_t prev, std::size_t count) {
        hole.send(0, 2, 1,
                  AppendEntries<Command>{{Term{1}, Index{prev}},
                                         Index{1},
                                         std::vector<Entry<Command>>(count, {Term{1}, {}})});
    };
    send(1, 0);
    send(1, 2);
    send(0, 1);
    send(3, 1);
    CHECK(hole.broken() == "nothing");
    send(5, 0);
    CHECK(hole.broken() == law);
}

TEST_CASE("Calls as Promised: what a poll leaves unwritten, and a gap in the log") {
    auto broken_by = [](auto change) {
        Cluster cluster;
        cluster.enter(0, 2, 1);
        cluster.append(0, 2);
        change(cluster.statuses[0]);
        cluster.poll(0);
        return cluster.broken();
    };
    CHECK(broken_by([](Status&) {}) == "nothing");
    CHECK(broken_by([](Status& s) { s.term = Term{3}; }) == "Calls as Promised");
    CHECK(broken_by([](Status& s) { s.voted_for = id_of(2); }) == "Calls as Promised");
    CHECK(broken_by([](Status& s) { s.last_log_index = Index{2}; }) == "Calls as Promised");

    Cluster gap;
    CHECK(!gap.ghost.cuts(0, Index{2}));
    CHECK(gap.broken() == "Calls as Promised");
}

TEST_CASE("Faults Have Causes: a fault for nothing, and none where one is due") {
    Cluster for_nothing;
    for_nothing.statuses[0].fault = "";
    for_nothing.poll(0);
    CHECK(for_nothing.broken() == "Faults Have Causes");

    Cluster goes_on;
    goes_on.ghost.polled(0, goes_on.statuses[0], Time{}, Time::max(), true);
    CHECK(goes_on.broken() == "Faults Have Causes");
}

// ----- Laws of members that change ---------------------------------------------------------------

namespace {
/// Replicas 0 and 1 are the members, 2 is none. Where nothing else is said, 0 leads term 1, and
/// both have its first entry, which is committed.
struct ChangingCluster : Cluster {
    Membership founding = founders(3, 1);
    Membership wanted{{{id_of(1), "x"}, {id_of(2), "x"}}};
    Membership joint{wanted.members, founding.members};

    explicit ChangingCluster(bool is_elected = true) : Cluster(limits()) {
        for (std::size_t i = 0; i < 2; ++i) use(i, founding);
        if (!is_elected) return;
        elect();
        append(0, 1, founding);
        poll(0);
        append(1, 1, founding);
        poll(1);
        commit(0, 1);
        tell(0, founding, TransitionState::applied);
        poll(0);
    }
    static Limits limits() {
        Limits limits = small_limits();
        limits.members_change = true;
        limits.newcomers = 1;
        return limits;
    }
    void elect() {
        enter(0, 1, 0);
        enter(1, 1, 0);
        send(1, 0, 1, RequestVoteResponse{false, true});
        statuses[0].role = Role::leader;
        statuses[0].leader = id_of(0);
    }
    /// Its Status says so.
    void use(std::size_t i, const Membership& membership) {
        Electorate electorate = Electorate::of(membership);
        statuses[i].progress.clear();
        for (std::size_t k = 0; k < 3; ++k) {
            statuses[i].progress.push_back({.id = id_of(k),
                                            .votes = contains(electorate.voters, k),
                                            .votes_outgoing = contains(electorate.outgoing, k),
                                            .next_index = Index{1}});
        }
    }
    void tell(std::size_t i, const Membership& membership, TransitionState state) {
        Index end = ghost.disk(i).log.last_index();
        ghost.membership_reported(i, membership, state, statuses[i].last_applied, end);
    }
    using Cluster::append;
    void append(std::size_t i, std::uint64_t term, const Membership& membership) {
        ghost.know(membership);
        append(i, term, number_of(membership));
        tell(i, membership, TransitionState::queued);
        use(i, membership);
    }
    /// Replica 0 is asked, and takes it.
    void ask(const Membership& membership) {
        ghost.change_asked(0, membership);
        ghost.change_taken(0, membership);
    }
    void begin() {
        ask(wanted);
        append(0, 1, joint);
        poll(0);
    }
    /// As far as replica 0 is concerned.
    void end() {
        append(1, 1, joint);
        append(2, 1, founding);
        append(2, 1, joint);
        commit(0, 2);
        tell(0, joint, TransitionState::committed);
        tell(0, joint, TransitionState::applied);
        poll(0);
    }
};
}  // namespace

TEST_CASE("members that change as they should break no law") {
    ChangingCluster cluster;
    cluster.enter(2, 1);
    cluster.begin();
    cluster.end();
    cluster.append(0, 1, cluster.wanted);
    cluster.poll(0);
    cluster.ghost.rested(0);
    CHECK(cluster.broken() == "nothing");
    CHECK(cluster.ghost.coverage()[Event::change_begun] == 1);
    CHECK(cluster.ghost.coverage()[Event::change_committed] == 1);
    CHECK(cluster.ghost.coverage()[Event::joint_left] == 1);
    CHECK(cluster.ghost.coverage()[Event::leader_removed] > 0);
}

TEST_CASE("regression: a candidate was judged by the members as of when its request left") {
    // It stands as a member of `founding`, with the PreVote of 1, or with nobody's. Before its
    // request is on disk others are in force, of whom nobody has said anything.
    for (bool preferred : {true, false}) {
        for (bool in_one_poll : {true, false}) {
            CAPTURE(preferred);
            CAPTURE(in_one_poll);
            ChangingCluster cluster(false);
            for (std::size_t i : {0U, 1U}) cluster.enter(i, 1);
            cluster.append(0, 1, cluster.founding);
            cluster.poll(0);
            cluster.statuses[0].role = Role::pre_candidate;
            cluster.poll(0);
            if (preferred) cluster.send(1, 0, 1, RequestVoteResponse{true, true});
            cluster.enter(0, 2, 0);
            cluster.statuses[0].role = Role::candidate;
            if (!in_one_poll) cluster.poll(0);
            cluster.statuses[0].role = Role::follower;
            cluster.append(0, 2, Membership{{{id_of(2)}}});
            cluster.poll(0);
            REQUIRE(cluster.broken() == "nothing");
            cluster.send(0, 1, 2, RequestVote{false, {Term{1}, Index{1}}});
            CHECK(cluster.broken() == (preferred ? "nothing" : "Votes Are Earned"));
        }
    }
}

TEST_CASE("Votes Are Earned: a leader that no majority of the members elected") {
    ChangingCluster cluster(false);
    cluster.enter(0, 1, 0);
    cluster.enter(2, 1, 0);
    cluster.send(2, 0, 1, RequestVoteResponse{false, true});  // No member.
    cluster.statuses[0].role = Role::leader;
    cluster.statuses[0].leader = id_of(0);
    cluster.append(0, 1, cluster.founding);
    cluster.poll(0);
    CHECK(cluster.broken() == "Votes Are Earned");
}

TEST_CASE("Commit Rule: a majority of one half only of a joint membership, or of the union") {
    ChangingCluster cluster;
    cluster.enter(2, 1);
    cluster.begin();
    cluster.append(2, 1, cluster.founding);
    cluster.append(2, 1, cluster.joint);  // Two of three have it, and one of each half.
    cluster.commit(0, 2);
    cluster.poll(0);
    CHECK(cluster.broken() == "Commit Rule");
}

TEST_CASE("Last Membership In Force: another one, other votes, no vote at all, a false snapshot") {
    const std::string law = "Last Membership In Force";
    ChangingCluster other;
    other.ghost.know(other.joint);
    other.append(1, 1, number_of(other.joint));  // And nobody is told.
    other.poll(1);
    CHECK(other.broken() == law);

    ChangingCluster cut;
    cut.append(1, 1, cut.joint);
    cut.poll(1);
    CHECK(cut.broken() == "nothing");
    cut.truncate(1, 2);
    cut.poll(1);
    CHECK(cut.broken() == law);

    ChangingCluster votes;
    votes.statuses[1].progress[2].votes = true;
    votes.poll(1);
    CHECK(votes.broken() == law);
    ChangingCluster outgoing;
    outgoing.begin();
    outgoing.statuses[0].progress[1].votes_outgoing = false;
    outgoing.poll(0);
    CHECK(outgoing.broken() == law);

    ChangingCluster outsider;
    outsider.statuses[1].role = Role::candidate;
    outsider.poll(1);
    CHECK(outsider.broken() == "nothing");
    outsider.ghost.vote_asked(2);  // Somebody counts on it, ...
    outsider.statuses[2].role = Role::pre_candidate;
    outsider.poll(2);
    CHECK(outsider.broken() == "nothing");
    outsider.poll(2);
    outsider.tell(2, {}, TransitionState::queued);  // ... until it is told again who are members.
    outsider.poll(2);
    CHECK(outsider.broken() == law);

    ChangingCluster snapshot;
    snapshot.begin();
    snapshot.ghost.snapshot_taken(Index{1}, snapshot.founding);
    snapshot.poll(0);
    CHECK(snapshot.broken() == "nothing");
    snapshot.ghost.snapshot_taken(Index{1}, snapshot.joint);
    snapshot.poll(0);
    CHECK(snapshot.broken() == law);
}

TEST_CASE("Last Membership In Force: who was removed may stand until it knows that for committed") {
    ChangingCluster cluster;
    cluster.enter(2, 1);
    cluster.begin();
    cluster.end();
    for (std::size_t i = 0; i < 3; ++i) cluster.append(i, 1, cluster.wanted);
    ChangingCluster unaware = cluster;
    unaware.poll(0);
    unaware.statuses[0].role = Role::candidate;
    unaware.poll(0);
    CHECK(unaware.broken() == "nothing");
    cluster.commit(0, 3);
    cluster.poll(0);
    CHECK(cluster.ghost.committed().size() == 3);
    cluster.statuses[0].role = Role::candidate;
    cluster.poll(0);
    CHECK(cluster.broken() == "Last Membership In Force");
}

TEST_CASE("Members Change in Order: every step that is none") {
    const std::string law = "Members Change in Order";
    auto broken_by = [](const Membership& next, bool asks = true) {
        ChangingCluster cluster;
        if (asks) cluster.ask({next.members});
        cluster.append(0, 1, next);
        cluster.poll(0);
        return cluster.broken();
    };
    ChangingCluster good;
    CHECK(broken_by(good.joint) == "nothing");
    CHECK(broken_by(good.joint, false) == law);                                 // Nobody asked.
    CHECK(broken_by(good.wanted) == law);                                       // Not joint.
    CHECK(broken_by({good.wanted.members, good.wanted.members}) == law);        // From others.
    CHECK(broken_by({{{id_of(2), "x", true}}, good.founding.members}) == law);  // Nobody votes.

    ChangingCluster twice;
    twice.begin();
    twice.append(0, 1, twice.wanted);  // The joint one is not committed.
    twice.poll(0);
    CHECK(twice.broken() == law);

    ChangingCluster early(false);
    early.elect();
    early.append(0, 1, early.founding);
    early.poll(0);
    early.begin();  // Its first entry is not committed.
    CHECK(early.broken() == law);

    ChangingCluster strange(false);
    strange.elect();
    strange.append(0, 1);
    strange.poll(0);
    CHECK(strange.broken() == law);  // It begins with no membership,
    ChangingCluster own(false);
    own.elect();
    own.poll(0);
    own.append(0, 1, own.wanted);
    own.poll(0);
    CHECK(own.broken() == law);  // ... or with another.

    ChangingCluster astray;
    astray.enter(2, 1);
    astray.begin();
    astray.end();
    astray.append(0, 1, astray.founding);  // Not what the joint one leads to.
    astray.poll(0);
    CHECK(astray.broken() == law);
}

TEST_CASE("Changes End Once: twice, elsewhere, never, in a state that does not fit, or untrue") {
    using enum TransitionState;
    const std::string law = "Changes End Once";
    auto broken_by = [](auto change) {
        ChangingCluster cluster;
        cluster.enter(2, 1);
        cluster.begin();
        cluster.append(1, 1, cluster.joint);
        change(cluster);
        cluster.poll(0);
        return cluster.broken();
    };
    CHECK(broken_by([](ChangingCluster& c) {
              c.tell(0, c.joint, abandoned_conflict_with_leader);
          }) == "nothing");
    CHECK(broken_by([](ChangingCluster& c) { c.tell(0, c.joint, committed); }) == law);
    CHECK(broken_by([](ChangingCluster& c) { c.tell(0, c.joint, applied); }) == law);
    CHECK(broken_by([](ChangingCluster& c) { c.tell(0, c.joint, abandoned_not_leader); }) == law);
    CHECK(broken_by([](ChangingCluster& c) { c.tell(0, c.wanted, committed); }) == law);
    CHECK(broken_by([](ChangingCluster& c) { c.tell(0, c.wanted, abandoned_malformed); }) == law);
    CHECK(broken_by([](ChangingCluster& c) { c.tell(1, c.joint, committed); }) == law);
    CHECK(broken_by([](ChangingCluster& c) { c.tell(0, c.founding, abandoned_not_leader); }) ==
          law);
    CHECK(broken_by([](ChangingCluster& c) {
              for (int k = 0; k < 2; ++k) c.tell(0, c.joint, abandoned_conflict_with_leader);
          }) == law);
    CHECK(broken_by([](ChangingCluster& c) {
              c.end();
              c.ghost.rested(0);
          }) == "nothing");
    CHECK(broken_by([](ChangingCluster& c) { c.ghost.rested(0); }) == law);

    ChangingCluster untrue;
    untrue.enter(2, 1);
    untrue.begin();
    untrue.tell(0, untrue.joint, abandoned_conflict_with_leader);
    untrue.poll(0);
    untrue.append(1, 1, untrue.joint);
    untrue.append(2, 1, untrue.founding);
    untrue.append(2, 1, untrue.joint);
    untrue.commit(0, 2);
    untrue.poll(0);
    CHECK(untrue.broken() == law);
}
