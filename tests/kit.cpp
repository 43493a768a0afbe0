// The parts of the test kit: the simulator does what a schedule says, and the swarm does the same
// however many threads it has.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compiled/compiled.hpp"
#include "kit_subjects.hpp"

using namespace little_raft::testing;
using kit::some;
using little_raft::Role;

// ----- The simulator -----------------------------------------------------------------------------

TEST_CASE("only a random majority is healed, and the least that can do in half the cases") {
    std::set<std::vector<bool>> cores;
    std::size_t least = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        Configuration configuration;
        configuration.replicas = 5;
        configuration.seed = seed;
        Simulator<DigestTest> simulator(configuration);
        REQUIRE(simulator.run({}));
        std::vector<bool> core;
        for (std::size_t i = 0; i < 5; ++i) core.push_back(simulator.is_alive(i));
        auto size = std::count(core.begin(), core.end(), true);
        CHECK(size >= 3);
        least += size == 3 ? 1 : 0;
        // They elected a leader, applied what it was given then, and answered a read.
        const Coverage& seen = simulator.coverage();
        CHECK(seen[Event::proposed] > 0);
        CHECK(seen[Event::apply] >= static_cast<std::uint64_t>(size));
        CHECK(seen[Event::read_on_leader] + seen[Event::read_on_follower] > 0);
        cores.insert(core);
    }
    CHECK(cores.size() == 16);  // All subsets of three, four and five of five.
    CHECK(least > 80);
    CHECK(least < 180);
}

TEST_CASE("what was lost before all healed may wait for a heartbeat, what comes after must not") {
    // The answers of replica 1 are lost, so the leader takes its window to it for full.
    Result result = replay<DigestTest>(
        "replicas=4 snapshot_delta=8 snapshot_trailing=2 chunk_bytes=7 entries_per_message=2 "
        "inflight_messages=3 "
        "inflight_entries=100 uncommitted_entries=20 "
        "flying_max=60 fifo=0 finale=0 untimed=0 seed=11138012298104308628",
        "time_out 0 7; advance 0 44196; deliver 0 0; run 0 15239; time_out 0 0; time_out "
        "0 0; advance 0 31456; deliver 0 0; advance 0 20107; run 0 42; run 0 61090; "
        "advance 0 20156; run 0 28773; time_out 0 0; advance 0 61006; run 0 42980; "
        "one_way 0 3; propose 3 0; slow_disk 3 51; time_out 0 0; propose 3 0; run 0 "
        "34669; propose 3 0; run 0 39922; run 0 34; ",
        some(1));
    CHECK_MESSAGE(result.passed, result.text);
}

TEST_CASE("seeds matter: no two of a hundred take the same course") {
    std::set<std::uint64_t> traces;
    for (std::uint64_t index = 0; index < 100; ++index) {
        Case drawn = draw_case(1, index);
        Simulator<DigestTest> simulator(drawn.configuration);
        simulator.run(drawn.schedule);
        traces.insert(simulator.trace());
    }
    CHECK(traces.size() == 100);
}

TEST_CASE("seeds matter: the same schedules of two seeds are not the same") {
    std::set<std::uint64_t> traces;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        Case drawn = draw_case(seed, 7);
        Simulator<DigestTest> simulator(drawn.configuration);
        simulator.run(drawn.schedule);
        traces.insert(simulator.trace());
    }
    CHECK(traces.size() == 100);
    Settings settings = some(20);
    Result one = check<DigestTest>(settings);
    settings.seed = 2;
    CHECK(check<DigestTest>(settings).coverage.to_text() != one.coverage.to_text());
}

TEST_CASE("regression: a number in the environment that is none was taken for 0") {
    for (const char* variable :
         {"LITTLE_RAFT_SEED", "LITTLE_RAFT_SCHEDULES", "LITTLE_RAFT_THREADS"}) {
        const char* set = std::getenv(variable);
        std::string before = set ? set : "";
        for (const char* text : {"1e6", "abc", "-1", " 1", "99999999999999999999", "0"}) {
            CAPTURE(text);
            setenv(variable, text, 1);
            if (std::string_view(text) == "0" && std::string_view(variable) == "LITTLE_RAFT_SEED")
                CHECK(Settings::from_environment().seed == 0);
            else
                CHECK_THROWS_AS(Settings::from_environment(), std::invalid_argument);
        }
        setenv(variable, "17", 1);
        CHECK_NOTHROW(Settings::from_environment());
        set ? setenv(variable, before.c_str(), 1) : unsetenv(variable);
    }
}

TEST_CASE("a copy of a simulator goes on as the original does, and independently") {
    for (std::uint64_t index = 0; index < 50; ++index) {
        Case drawn = draw_case(3, index);
        Simulator<DigestTest> original(drawn.configuration);
        std::size_t half = drawn.schedule.size() / 2;
        for (std::size_t k = 0; k < half; ++k) original.apply(drawn.schedule[k]);
        Simulator<DigestTest> copy(original);
        CHECK(copy.fingerprint() == original.fingerprint());
        std::uint64_t before = original.fingerprint();
        for (std::size_t k = half; k < drawn.schedule.size(); ++k) copy.apply(drawn.schedule[k]);
        copy.converge();
        CHECK(original.fingerprint() == before);
        for (std::size_t k = half; k < drawn.schedule.size(); ++k)
            original.apply(drawn.schedule[k]);
        original.converge();
        CHECK(copy.trace() == original.trace());
        CHECK(copy.fingerprint() == original.fingerprint());
        CHECK(!copy.failure());
    }
}

TEST_CASE("fingerprints tell states apart, and orders of independent steps together") {
    Configuration configuration;
    Simulator<DigestTest> first(configuration);
    std::uint64_t start = first.fingerprint();
    Simulator<DigestTest> second(first);
    first.apply({Step::time_out, 0, 2});
    CHECK(first.fingerprint() != start);
    REQUIRE(first.messages_in_flight() == 2);
    Simulator<DigestTest> third(first);
    first.apply({Step::drop, 0, 0});
    third.apply({Step::drop, 1, 0});
    CHECK(first.fingerprint() != third.fingerprint());
    first.apply({Step::drop, 0, 0});
    third.apply({Step::drop, 0, 0});
    CHECK(first.fingerprint() == third.fingerprint());
}

TEST_CASE("every step does what it says") {
    Configuration configuration;
    Simulator<DigestTest> simulator(configuration);
    simulator.apply({Step::time_out, 0, 2});
    CHECK(simulator.status(0).role == Role::pre_candidate);
    CHECK(simulator.messages_in_flight() == 2);
    simulator.apply({Step::drop, 0, 0});
    CHECK(simulator.messages_in_flight() == 1);
    simulator.apply({Step::duplicate, 0, 0});
    CHECK(simulator.messages_in_flight() == 2);
    simulator.apply({Step::pause, 0, 0});
    CHECK(simulator.is_paused(0));
    simulator.apply({Step::deliver, 1, 0});
    CHECK(simulator.status(0).role == Role::pre_candidate);
    simulator.apply({Step::resume, 0, 0});
    CHECK(simulator.status(0).role == Role::candidate);
    CHECK(simulator.status(0).term.value == 1);
    simulator.apply({Step::crash, 0, 0});
    CHECK(!simulator.is_alive(0));
    simulator.apply({Step::restart, 0, 0});
    REQUIRE(simulator.is_alive(0));
    for (int k = 0; k < 100; ++k) simulator.apply({Step::run, 0, 99});
    std::size_t leader = 0;
    while (leader < 2 && simulator.status(leader).role != Role::leader) ++leader;
    REQUIRE(simulator.status(leader).role == Role::leader);
    auto index = simulator.status(leader).commit_index;
    simulator.apply({Step::propose, static_cast<std::uint32_t>(leader), 0});
    CHECK(simulator.history().size() == 1);
    CHECK(!simulator.history()[0].answered.has_value());
    for (int k = 0; k < 5; ++k) simulator.apply({Step::run, 0, 99});
    CHECK(simulator.status(leader).commit_index > index);
    CHECK(simulator.history()[0].answered.has_value());
    simulator.apply({Step::fail_sync, static_cast<std::uint32_t>(leader), 0});
    simulator.apply({Step::propose, static_cast<std::uint32_t>(leader), 0});
    CHECK(simulator.status(leader).fault.has_value());
    simulator.apply({Step::restart, static_cast<std::uint32_t>(leader), 0});
    CHECK(!simulator.status(leader).fault.has_value());
    simulator.apply({Step::partition, 1U << leader, 0});
    for (int k = 0; k < 60; ++k) simulator.apply({Step::run, 0, 99});
    CHECK(simulator.status(leader).role != Role::leader);
    CHECK(!simulator.failure());
    CHECK(simulator.coverage()[Event::blocked] > 0);
}

TEST_CASE("a read is answered, on a leader and on a follower, or abandoned where none leads") {
    Simulator<DigestTest> simulator(Configuration{});
    simulator.apply({Step::read, 0, 4});
    CHECK(simulator.ghost().reads().size() == 1);
    CHECK(simulator.coverage()[Event::read_abandoned] == 1);
    for (int k = 0; k < 30; ++k) simulator.apply({Step::run, 0, 99});
    std::uint32_t leader = 0;
    while (leader < 2 && simulator.status(leader).role != Role::leader) ++leader;
    simulator.apply({Step::read, 0, 1});  // A leader, two reads.
    CHECK(simulator.ghost().reads().size() == 3);
    CHECK(simulator.coverage()[Event::read_on_leader] == 0);
    simulator.apply({Step::run, 0, 99});
    CHECK(simulator.coverage()[Event::read_on_leader] == 2);
    simulator.apply({Step::read, leader + 1, 4});
    simulator.apply({Step::run, 0, 99});
    CHECK(simulator.coverage()[Event::read_on_follower] == 1);
    CHECK(simulator.coverage()[Event::read_by_lease] == 0);
    CHECK(!simulator.failure());
}

TEST_CASE("with leases, leaders answer reads without asking anybody, while they last") {
    Configuration configuration;
    configuration.leases = 1;
    Simulator<DigestTest> simulator(configuration);
    for (int k = 0; k < 30; ++k) simulator.apply({Step::run, 0, 99});
    std::uint32_t leader = 0;
    while (leader < 2 && simulator.status(leader).role != Role::leader) ++leader;
    REQUIRE(simulator.status(leader).role == Role::leader);
    simulator.apply({Step::read, leader, 4});
    simulator.apply({Step::time_out, leader, 2});
    CHECK(simulator.coverage()[Event::read_by_lease] == 1);
    // While nobody is polled the lease ends.
    simulator.apply({Step::advance, 0, 699});
    simulator.apply({Step::read, leader, 4});
    CHECK(simulator.coverage()[Event::read_by_lease] == 1);
    CHECK(simulator.coverage()[Event::read_on_leader] == 0);
    CHECK(!simulator.failure());
}

TEST_CASE("on an asynchronous disk a vote leaves once its sync has ended, and a crash takes it") {
    using Cluster = Simulator<DigestTest>;
    std::size_t waited = 0;
    std::size_t forgotten = 0;
    std::size_t failed = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        Configuration configuration;
        configuration.seed = seed;
        configuration.async_disk = 1;
        Cluster cluster(configuration);
        cluster.apply({Step::time_out, 0, 2});
        while (cluster.messages_in_flight() > 0) cluster.apply({Step::deliver, 0, 0});
        REQUIRE(cluster.status(0).term.value == 1);
        if (cluster.messages_in_flight() > 0 || cluster.ghost().disk(0).synced_term.value == 1)
            continue;  // One sync in four ends at once.
        ++waited;
        Cluster other(cluster);
        Cluster third(cluster);
        cluster.apply({Step::end_sync, 0, 0});
        CHECK(cluster.ghost().disk(0).synced_term.value == 1);
        CHECK(cluster.messages_in_flight() == 2);
        other.apply({Step::crash, 0, 0});
        other.apply({Step::restart, 0, 0});
        forgotten += other.status(0).term.value == 0 ? 1 : 0;
        third.apply({Step::crash, 0, 0});
        third.apply({Step::restart, 0, 0});
        third.apply({Step::fail_sync, 0, 1});
        third.apply({Step::time_out, 0, 2});
        while (third.messages_in_flight() > 0) third.apply({Step::deliver, 0, 0});
        third.apply({Step::end_sync, 0, 0});
        failed += third.coverage()[Event::failed_sync];
        CHECK((third.coverage()[Event::failed_sync] == 0 || third.status(0).fault));
        CHECK(!cluster.failure());
        CHECK(!other.failure());
        CHECK(!third.failure());
    }
    CHECK(waited > 5);
    CHECK(forgotten == waited);
    CHECK(failed > 0);
}

// ----- The swarm ---------------------------------------------------------------------------------

TEST_CASE("the number of threads changes nothing") {
    Settings settings = some(200);
    Result one = check<DigestTest>(settings);
    settings.threads = 3;
    Result three = check<DigestTest>(settings);
    CHECK(one.passed);
    CHECK(one.text == three.text);
}

TEST_CASE("a suite that never saw something fails and names it") {
    Coverage coverage;
    for (auto& count : coverage.events) count = 1;
    for (auto& count : coverage.laws) count = 1;
    CHECK(coverage.missing().empty());
    coverage[Event::append_torn] = 0;
    coverage[Law::liveness] = 0;
    CHECK(coverage.missing() == std::vector<std::string>{"appends torn by a crash", "Liveness"});
    Coverage impossible;
    impossible[Event::append_torn] = 1;
    CHECK(coverage.missing(impossible) == std::vector<std::string>{"Liveness"});
}

TEST_CASE("schedules and configurations survive their texts; other texts are refused") {
    for (std::uint64_t index = 0; index < 50; ++index) {
        Case drawn = draw_case(5, index);
        CHECK(schedule_of(to_text(drawn.schedule)) == drawn.schedule);
        CHECK(Configuration::of(drawn.configuration.to_text()) == drawn.configuration);
    }
    CHECK(schedule_of("") == Schedule{});
    CHECK(!schedule_of("fly 1 2;"));
    CHECK(!schedule_of("deliver 1;"));
    CHECK(!schedule_of("deliver 1 2"));
    CHECK(Configuration::of("") == Configuration{});
    CHECK(!Configuration::of("replicas=0"));
    CHECK(!Configuration::of("replicas=8"));
    CHECK(!Configuration::of("replicas=three"));
    CHECK(!Configuration::of("replicas=3x"));
    CHECK(!Configuration::of("wheels=4"));
    CHECK(!replay<DigestTest>("wheels=4", "", some(1)).passed);
    CHECK(!replay<DigestTest>("replicas=3", "fly 1 2;", some(1)).passed);
    CHECK(replay<DigestTest>("replicas=3", "", some(1)).passed);
}
