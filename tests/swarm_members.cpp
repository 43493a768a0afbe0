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

TEST_CASE(
    "regression: a candidate was judged by the members as of when its request left, not as of when "
    "it stood") {
    // Replica 4 stands for election with the PreVotes of 2 and 3, its disk takes 788 ms, and before
    // its request leaves a leader of the same term overrules the change: 1 to 6 are members again.
    Result result = replay<MembersTest>(
        "replicas=7 newcomers=1 snapshot_delta=4 entries_per_message=3 flying_max=6 leases=1 "
        "async_disk=1 seed=4597834020376601087",
        "time_out 5 0; deliver 0 0; run 0 21322; advance 0 10415; run 0 25; slow_disk 5 65154; "
        "time_out 3 0; deliver 0 0; run 0 47; advance 0 15242; end_sync 0 0; deliver 4 0; "
        "deliver 0 0; deliver 83 0; deliver 0 0; time_out 3 0; run 0 49711; run 0 57731; "
        "time_out 0 0; advance 0 46557; run 0 4061; run 0 4675; run 0 43076; run 0 39511; "
        "run 0 61; propose 5 2; run 0 9463; transfer 0 1; run 0 52; run 0 9685; "
        "run 0 5088; time_out 0 0; run 0 21873; run 0 40173; run 0 42510; run 0 25528; "
        "transfer 0 3; run 0 22582; run 0 4990; read 0 5; run 0 43591; propose 3 0; "
        "deliver 0 0; deliver 0 0; time_out 6 6; deliver 5 0; read 0 0; deliver 2 0; "
        "run 0 49724; advance 0 16459; run 0 20479; run 0 7287; read 1 4; run 0 58416; "
        "duplicate 1 0; run 0 28920; run 0 37085; change 3 14; time_out 0 0; advance 0 46; "
        "deliver 50 1054312; deliver 0 0; deliver 3 0; deliver 18116 0; advance 0 30467; "
        "deliver 7 0; deliver 19 1089862; deliver 48 1077591; end_sync 0 0; deliver 52 1079712; "
        "deliver 0 0; deliver 19 1070596; deliver 35 1108287; advance 0 16006; "
        "advance 0 1343; deliver 0 0; advance 0 46342; slow_disk 3 33787; run 0 6; "
        "advance 0 52124; advance 0 5701; run 0 44789; run 0 37292; run 0 30; ");
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.coverage[Event::membership_rolled_back] > 0);
}
