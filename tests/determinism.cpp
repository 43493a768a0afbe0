// Prints a hash of everything that clusters send, apply and report under fixed schedules. The test
// runs it as built by several compilers, standard libraries and optimizations: all must agree.
#include <cinttypes>
#include <cstdio>

#include "testing/simulator.hpp"

using namespace little_raft::testing;

int main() {
    std::uint64_t hash = 0;
    std::uint64_t elections = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        Random random(mix(seed, 2014));
        Configuration configuration = Configuration::draw(random);
        Schedule schedule = draw_schedule(random, 400);
        Simulator first(configuration);
        Simulator second(configuration);
        if (!first.run(schedule).empty() || !second.run(schedule).empty()) {
            std::printf("schedule %" PRIu64 " failed: %s\n", seed, first.failure().c_str());
            return 1;
        }
        if (first.trace() != second.trace()) {
            std::printf("schedule %" PRIu64 " took two courses in one process\n", seed);
            return 1;
        }
        hash = mix(hash, first.trace());
        elections += first.coverage()[Event::election_won];
    }
    if (elections == 0) {
        std::printf("nothing happened\n");
        return 1;
    }
    std::printf("trace %016" PRIx64 "\n", hash);
    return 0;
}
