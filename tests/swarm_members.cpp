// The swarm of clusters whose members change, to any set and one at a time, beside all that
// swarm.cpp has: who is no member yet, learners, leaders that remove themselves, and who was
// removed.
#include <doctest/doctest.h>

#include "compiled/compiled.hpp"

using namespace little_raft::testing;

TEST_CASE("random schedules of changes and faults break no law, and healed majorities converge") {
    Settings settings = Settings::from_environment({.schedules = 4'000, .title = "swarm_members"});
    MESSAGE("LITTLE_RAFT_SEED=" << settings.seed << ", " << settings.schedules << " schedules");
    Result result = check<MembersTest>(settings);
    INFO(result.text);
    CHECK(result.passed);
    CHECK(result.schedules == settings.schedules);
    MESSAGE(result.coverage.to_text());
}
