// Prints a hash of everything that clusters send, apply and report under fixed schedules. The test
// runs it as built by several compilers, standard libraries and optimizations: all must agree.
#include <cinttypes>
#include <cstdint>
#include <cstdio>

#include "testing/little_raft_testing.hpp"

using namespace little_raft::testing;

int main() {
    std::uint64_t hash = 0;
    Coverage coverage;
    for (std::uint64_t index = 0; index < 100; ++index) {
        Case drawn = draw_case(2014, index);
        std::uint64_t traces[2] = {};
        for (std::uint64_t& trace : traces) {
            bool passed = simulate<DigestTest>(drawn.configuration, nullptr, [&](auto& simulator) {
                bool holds = simulator.run(drawn.schedule);
                trace = mix(simulator.trace(), simulator.fingerprint());
                if (&trace == traces) coverage.add(simulator.coverage());
                if (!holds)
                    std::printf("schedule %" PRIu64 " failed: %s\n", index,
                                simulator.failure()->detail.c_str());
                return holds;
            });
            if (!passed) return 1;
        }
        if (traces[0] != traces[1]) {
            std::printf("schedule %" PRIu64 " took two courses in one process\n", index);
            return 1;
        }
        hash = mix(hash, traces[0]);
    }
    for (std::uint64_t count : coverage.events) hash = mix(hash, count);
    for (std::uint64_t count : coverage.laws) hash = mix(hash, count);
    if (coverage[Event::election_won] == 0 || coverage[Event::read_on_follower] == 0 ||
        coverage[Event::read_by_lease] == 0 || coverage[Event::sync_ended] == 0) {
        std::printf("nothing happened\n");
        return 1;
    }
    std::printf("trace %016" PRIx64 "\n", hash);
    return 0;
}
