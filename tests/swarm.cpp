// Clusters of one to seven replicas under random schedules of our own generator: volume.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "testing/simulator.hpp"

using namespace little_raft::testing;

namespace {
std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}
}  // namespace

TEST_CASE("random schedules of faults never break safety, and healed majorities converge") {
    std::uint64_t seed = number_from("LITTLE_RAFT_SEED", 1);
    std::uint64_t schedules = number_from("LITTLE_RAFT_SCHEDULES", 2'000);
    MESSAGE("LITTLE_RAFT_SEED=" << seed << ", " << schedules << " schedules");
    Coverage coverage;
    for (std::uint64_t i = 0; i < schedules; ++i) {
        Random random(mix(seed, i));
        Configuration configuration = Configuration::draw(random);
        Schedule schedule = draw_schedule(random, i % 10 == 0 ? 1'000 : 400);
        Simulator simulator(configuration);
        std::string failure = simulator.run(schedule);
        coverage.add(simulator.coverage());
        if (failure.empty()) continue;
        FAIL_CHECK("schedule " << i << ": " << report(configuration, schedule));
        break;
    }
    MESSAGE("seen:\n" << coverage.to_text());
    CHECK_MESSAGE(coverage.missing() == nullptr, "never seen: " << coverage.missing());
}

TEST_CASE("replay: the schedule in LITTLE_RAFT_SCHEDULE" * doctest::skip()) {
    const char* configuration_text = std::getenv("LITTLE_RAFT_CONFIGURATION");
    const char* schedule_text = std::getenv("LITTLE_RAFT_SCHEDULE");
    REQUIRE_MESSAGE((configuration_text && schedule_text),
                    "set LITTLE_RAFT_CONFIGURATION and LITTLE_RAFT_SCHEDULE");
    auto configuration = Configuration::of(configuration_text);
    auto schedule = schedule_of(schedule_text);
    REQUIRE_MESSAGE(configuration.has_value(), "not a configuration: " << configuration_text);
    REQUIRE_MESSAGE(schedule.has_value(), "not a schedule: " << schedule_text);
    CHECK(Simulator(*configuration).run(*schedule) == "");
}
