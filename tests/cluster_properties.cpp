// Clusters of three and five under schedules that rapidcheck generates and shrinks.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "testing/simulator.hpp"

using namespace little_raft::testing;

namespace rc {
template <>
struct Arbitrary<Op> {
    static Gen<Op> arbitrary() {
        // Deliveries, time-outs and transitions make a cluster live; the rest are faults.
        auto step = gen::weightedElement<Step>({{30, Step::deliver},
                                                {3, Step::duplicate},
                                                {3, Step::drop},
                                                {9, Step::time_out},
                                                {3, Step::advance},
                                                {8, Step::propose},
                                                {2, Step::crash},
                                                {3, Step::restart},
                                                {1, Step::partition},
                                                {1, Step::one_way},
                                                {2, Step::heal}});
        return gen::build<Op>(gen::set(&Op::step, step),
                              gen::set(&Op::a, gen::resize(1000, gen::arbitrary<std::uint16_t>())),
                              gen::set(&Op::b, gen::resize(1000, gen::arbitrary<std::uint16_t>())));
    }
};
}  // namespace rc

namespace little_raft::testing {
inline void showValue(const Op& op, std::ostream& out) {
    out << name_of(op.step) << ' ' << op.a << ' ' << op.b;
}
}  // namespace little_raft::testing

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
        Simulator simulator(configuration);
        std::string failure = simulator.run(schedule);
        coverage.add(simulator.coverage());
        if (!failure.empty()) {
            RC_FAIL(failure + "\nto repeat it:\n  LITTLE_RAFT_CONFIGURATION='" +
                    configuration.to_text() + "' \\\n  LITTLE_RAFT_SCHEDULE='" + to_text(schedule) +
                    "' tests/run swarm -- -ns -tc='replay*'");
        }
    };
    check_property(description, property);
    MESSAGE("seen by " << replicas << " replicas:\n" << coverage.to_text());
    CHECK(coverage[Event::election_won] > 0);
    CHECK(coverage[Event::commit] > 0);
    CHECK(coverage[Event::drop] > 0);
    CHECK(coverage[Event::duplicate] > 0);
    CHECK(coverage[Event::crash_inside_poll] > 0);
    CHECK(coverage[Event::blocked] > 0);
    CHECK(coverage[Event::healed] > 0);
}
}  // namespace

TEST_CASE("three replicas keep Figure 3's properties under every schedule, and converge") {
    figure_3_holds(3, "three replicas keep Figure 3's properties under every schedule");
}

TEST_CASE("five replicas keep Figure 3's properties under every schedule, and converge") {
    figure_3_holds(5, "five replicas keep Figure 3's properties under every schedule");
}
