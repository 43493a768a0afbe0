// All states within a bound, not many of them. What is walked when nothing else is asked for takes
// seconds; LITTLE_RAFT_EXPLORE="replicas=3 terms=2 transitions=1 crashes=0" walks that and no
// other.
#include "testing/explore.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

using namespace little_raft::testing;

namespace {
/// The bounds to walk; empty: those of each test.
std::string asked() {
    const char* text = std::getenv("LITTLE_RAFT_EXPLORE");
    return text ? text : "";
}

/// Says what it found and how fast; how fast decides nothing.
template <class S = DigestTest>
Exploration walk(const Bounds& bounds, bool aloud = false) {
    auto start = std::chrono::steady_clock::now();
    auto tell = [&](const Exploration& so_far, const char* after) {
        std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        double rate = static_cast<double>(so_far.states) / elapsed.count();
        std::cout << bounds.to_text() << ": " << so_far.states << " states, " << so_far.maximal
                  << " of them maximal, " << so_far.transitions << " transitions, depth "
                  << so_far.depth << ", " << static_cast<std::uint64_t>(rate) << " states a second"
                  << after << std::endl;
    };
    auto now_and_then = [&](const Exploration& so_far) {
        if (aloud) tell(so_far, " ...");
    };
    std::uint64_t threads = Settings::from_environment({.threads = 2}).threads;
    Exploration found = Explorer<S>(bounds).run(now_and_then, threads);
    tell(found, found.complete ? ", complete" : ", NOT complete");
    if (found.failure) {
        FAIL_CHECK(repeat<S>(found.counterexample, Settings::from_environment()).text);
    }
    return found;
}

Bounds bounds_of(const std::string& text) {
    auto bounds = Bounds::of(text);
    REQUIRE_MESSAGE(bounds.has_value(), "these are no bounds: " << text);
    return *bounds;
}
}  // namespace

TEST_CASE("two replicas: every state of two terms, two transitions and a crash keeps the laws") {
    Bounds bounds = asked().empty() ? Bounds{} : bounds_of(asked());
    bool aloud = !asked().empty();
    Exploration found = bounds.changes + bounds.newcomers > 0 ? walk<MembersTest>(bounds, aloud)
                                                              : walk(bounds, aloud);
    CHECK(found.complete);
    if (!asked().empty()) return;
    // Not vacuous: all this lies within the bound.
    CHECK(found.maximal > 10'000);
    for (Event event : {Event::election_won, Event::commit, Event::apply, Event::crash,
                        Event::crash_inside_poll, Event::restart, Event::duplicate,
                        Event::leader_deposed_with_uncommitted, Event::unsynced_write_lost}) {
        CHECK_MESSAGE(found.coverage[event] > 0, "never seen: " << std::string(name_of(event)));
    }
    for (Law law :
         {Law::election_safety, Law::vote_once, Law::log_matching, Law::leader_completeness,
          Law::state_machine_safety, Law::commit_rule, Law::persist_before_send}) {
        CHECK_MESSAGE(found.coverage[law] > 0,
                      "never put to the test: " << std::string(text_of(law).name));
    }
}

TEST_CASE("the walk finds the same states however many threads walk") {
    Bounds bounds = bounds_of("transitions=1 crashes=0");
    Exploration one = Explorer<DigestTest>(bounds).run([](const Exploration&) {}, 1);
    Exploration three = Explorer<DigestTest>(bounds).run([](const Exploration&) {}, 3);
    CHECK(one.complete);
    CHECK(one.maximal == three.maximal);
    CHECK(one.maximal > 500);
}

TEST_CASE("replicas that can be exchanged are walked once") {
    // Of three that all hold the same, the first to time out may be any. Who wins leaves the bound.
    Bounds bounds = bounds_of("replicas=3 terms=0 transitions=0 crashes=0 prevote=1");
    Exploration found = Explorer<DigestTest>(bounds).run();
    CHECK(found.complete);
    CHECK(found.maximal == 4);  // As many as there are numbers of pre-candidates among three.
}

TEST_CASE("PreVotes: every state of two terms keeps the laws" * doctest::skip(!asked().empty())) {
    CHECK(walk(bounds_of("transitions=1 crashes=0 prevote=1")).complete);
}

TEST_CASE("a snapshot instead of the log: every state keeps the laws" *
          doctest::skip(!asked().empty())) {
    Exploration found =
        walk(bounds_of("replicas=3 terms=1 transitions=1 crashes=0 snapshot_delta=1"));
    CHECK(found.complete);
    CHECK(found.coverage[Event::snapshot_created] > 0);
    CHECK(found.coverage[Event::snapshot_installed] > 0);
    CHECK(found.coverage[Event::log_compacted] > 0);
}

TEST_CASE("three replicas: every state of a term, a transition and a crash keeps the laws" *
          doctest::skip(!asked().empty())) {
    Exploration found = walk(bounds_of("replicas=3 terms=1 transitions=1 crashes=1"));
    CHECK(found.complete);
    CHECK(found.maximal > 10'000);
}

TEST_CASE("members change: every state of a small cluster keeps the laws" *
          doctest::skip(!asked().empty())) {
    for (const char* text : {"replicas=2 terms=2 transitions=0 crashes=0 changes=1",
                             "replicas=2 terms=2 transitions=0 crashes=1 newcomers=1 changes=1",
                             "replicas=2 terms=1 transitions=0 crashes=0 newcomers=1 changes=2",
                             "replicas=3 terms=1 transitions=0 crashes=0 newcomers=1 changes=1"}) {
        Exploration found = walk<MembersTest>(bounds_of(text));
        CHECK(found.complete);
        CHECK(found.coverage[Event::change_committed] > 0);
        for (Law law : {Law::members_change_in_order, Law::changes_end_once, Law::commit_rule,
                        Law::election_safety, Law::leader_completeness})
            CHECK_MESSAGE(found.coverage[law] > 0,
                          "never put to the test: " << std::string(text_of(law).name));
    }
}

TEST_CASE("every state around one in the middle of a random schedule keeps the laws" *
          doctest::skip(!asked().empty())) {
    std::uint64_t states = 0;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        Bounds bounds = bounds_of("replicas=3 terms=0 transitions=0 crashes=0 harvest_steps=40");
        bounds.seed = seed;
        Exploration found = walk(bounds);
        CHECK(found.complete);
        states += found.maximal;
    }
    CHECK(states > 1000);
}

namespace {
/// Breaks its own invariant where it has applied two transitions.
struct Count {
    using Transition = Command;
    std::uint64_t count = 0;
    void register_transition_state(std::uint64_t, little_raft::TransitionState) {}
    void apply_transition(const Command&) { ++count; }
    std::vector<Command> get_pending_transitions() { return {}; }
};
struct CountTest : Subject<Count> {
    static Command transition(Random&, std::uint64_t number) { return {number}; }
    static std::uint64_t digest(const Count& machine) { return machine.count; }
    static std::string invariant(const Count& machine) {
        return machine.count < 2 ? "" : "it counted to two";
    }
};
}  // namespace

TEST_CASE("what breaks is told by the shortest path, which can be repeated") {
    Bounds bounds = bounds_of("terms=1 transitions=2 crashes=0");
    for (std::uint64_t threads : {1U, 3U}) {
        auto found = Explorer<CountTest>(bounds).run([](const Exploration&) {}, threads);
        CHECK_FALSE(found.complete);
        REQUIRE(found.failure.has_value());
        CHECK(found.failure->law == Law::own_invariant);
        Result again = repeat<CountTest>(found.counterexample, Settings{});
        REQUIRE(again.failure.has_value());
        CHECK(again.failure->law == Law::own_invariant);
        // A timer; the request for a vote and its answer; the first append; two transitions; that
        // append's answer; both transitions in one append, and its answer.
        CHECK(found.counterexample.schedule.size() == 9);
    }
}

TEST_CASE("bounds are read from text, and nonsense is refused") {
    CHECK(bounds_of("replicas=3 terms=1").terms == 1);
    CHECK(Bounds::of(bounds_of("seed=7 terms=0").to_text())->terms == 0);
    CHECK(Bounds::of(bounds_of("seed=7 terms=0").to_text())->seed == 7);
    for (const char* text : {"replicas", "replicas=", "replicas=x", "replicas=0", "replicas=8",
                             "newcomers=2", "replica=3", "replicas=3,"}) {
        CHECK_FALSE_MESSAGE(Bounds::of(text).has_value(), text);
    }
}
