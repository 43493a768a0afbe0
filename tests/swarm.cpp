// Clusters of one to seven replicas under random schedules of our own generator: volume.
#include <doctest/doctest.h>

#include <cstdlib>

#include "compiled/compiled.hpp"

using namespace little_raft::testing;

TEST_CASE("random schedules of faults break no law, and healed majorities converge") {
    Settings settings = Settings::from_environment({.schedules = 4'000, .title = "swarm"});
    MESSAGE("LITTLE_RAFT_SEED=" << settings.seed << ", " << settings.schedules << " schedules");
    Result result = check<DigestTest>(settings);
    INFO(result.text);
    CHECK(result.passed);
    CHECK(result.schedules == settings.schedules);
    MESSAGE(result.coverage.to_text());
}

TEST_CASE("a lease ends while a poll waits for its disk, and so do reads that came meanwhile") {
    // Replica 1 leads and waits 874 ms for its disk, in which the others elect replica 3. Then it
    // is asked for a read, in a poll for which no time has passed.
    Result result = replay<DigestTest>("replicas=3 leases=1 long_polls=1",
                                       "time_out 0 0; run 0 54; slow_disk 0 2873; propose 0 0;");
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.coverage[Event::long_poll] == 1);
    CHECK(result.coverage[Event::read_abandoned] == 1);
}

TEST_CASE(
    "regression: a healed network that held less than a round lost the same answer for ever") {
    // Where messages take no time: the leader's answer to replica 7's read was the oldest of seven
    // messages in flight, where there was room for six, each time that it was asked again.
    Result result = replay<DigestTest>(
        "replicas=7 entries_per_message=2 inflight_messages=3 flying_max=6 async_disk=1 "
        "seed=9946071804355985599",
        "time_out 0 3; deliver 0 0; deliver 0 0; pause 6 0; read 6 0; deliver 0 0; "
        "advance 0 11540; run 0 63563;");
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.coverage[Event::read_on_follower] > 0);
}

TEST_CASE("replay: the schedule in LITTLE_RAFT_SCHEDULE" * doctest::skip()) {
    const char* configuration = std::getenv("LITTLE_RAFT_CONFIGURATION");
    const char* schedule = std::getenv("LITTLE_RAFT_SCHEDULE");
    REQUIRE_MESSAGE((configuration && schedule),
                    "set LITTLE_RAFT_CONFIGURATION and LITTLE_RAFT_SCHEDULE");
    Result result = replay<DigestTest>(configuration, schedule);
    CHECK_MESSAGE(result.passed, result.text);
}
