// Prints a hash of everything that clusters send, apply and report under fixed schedules. The test
// runs it as built by several compilers, standard libraries and optimizations: all must agree.
#include <cinttypes>
#include <cstdint>
#include <cstdio>

#include "testing/little_raft_testing.hpp"

using namespace little_raft::testing;

namespace {
/// Adds to both what a hundred clusters do; false: something was wrong.
template <class S>
bool add_to(std::uint64_t& hash, Coverage& coverage) {
    for (std::uint64_t index = 0; index < 100; ++index) {
        Case drawn = draw_case(2014, index, SubjectTraits<S>::members_change);
        std::uint64_t traces[2] = {};
        for (std::uint64_t& trace : traces) {
            Simulator<S> simulator(drawn.configuration);
            bool holds = simulator.run(drawn.schedule);
            trace = mix(simulator.trace(), simulator.fingerprint());
            if (&trace == traces) coverage.add(simulator.coverage());
            if (!holds) {
                std::printf("schedule %" PRIu64 " failed: %s\n", index,
                            simulator.failure()->detail.c_str());
                return false;
            }
        }
        if (traces[0] != traces[1]) {
            std::printf("schedule %" PRIu64 " took two courses in one process\n", index);
            return false;
        }
        hash = mix(hash, traces[0]);
    }
    return true;
}
}  // namespace

int main() {
    std::uint64_t hash = 0;
    Coverage coverage;
    if (!add_to<DigestTest>(hash, coverage) || !add_to<MembersTest>(hash, coverage)) return 1;
    for (std::uint64_t count : coverage.events) hash = mix(hash, count);
    for (std::uint64_t count : coverage.laws) hash = mix(hash, count);
    for (Event event : {Event::election_won, Event::read_on_follower, Event::read_by_lease,
                        Event::sync_ended, Event::change_committed}) {
        if (coverage[event] > 0) continue;
        std::printf("never seen: %s\n", name_of(event));
        return 1;
    }
    std::printf("trace %016" PRIx64 "\n", hash);
    return 0;
}
