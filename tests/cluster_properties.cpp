// Clusters of three and five under schedules that rapidcheck generates and shrinks.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <string>

#include "testing/little_raft_testing.hpp"
#include "testing/rapidcheck.hpp"

using namespace little_raft::testing;

namespace {
/// Runs a rapidcheck property inside a doctest test case; the message says how to repeat it.
template <class Property>
void check_property(const char* description, Property property) {
    CHECK_MESSAGE(rc::check(description, property), "falsified: see the output above");
}

void figure_3_holds(std::uint64_t replicas, const char* description) {
    Coverage coverage;
    auto property = [&](std::uint32_t seed) {
        auto schedule = *rc::gen::container<Schedule>(400, rc::gen::arbitrary<Op>());
        Configuration configuration;
        configuration.replicas = replicas;
        configuration.seed = seed;
        Simulator<DigestTest> simulator(configuration);
        bool passed = simulator.run(schedule);
        coverage.add(simulator.coverage());
        if (!passed) RC_FAIL(repeat<DigestTest>({configuration, schedule}, {}).text);
    };
    check_property(description, property);
    MESSAGE("seen by " << replicas << " replicas:\n" << coverage.to_text());
    for (Event event : {Event::election_won, Event::commit, Event::drop, Event::duplicate,
                        Event::crash_inside_poll, Event::blocked, Event::healed}) {
        CHECK_MESSAGE(coverage[event] > 0, "never seen: " << name_of(event));
    }
}
}  // namespace

TEST_CASE("three replicas keep Figure 3's properties under every schedule, and converge") {
    figure_3_holds(3, "three replicas keep Figure 3's properties under every schedule");
}

TEST_CASE("five replicas keep Figure 3's properties under every schedule, and converge") {
    figure_3_holds(5, "five replicas keep Figure 3's properties under every schedule");
}
