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
        Simulator<DigestTest> first(drawn.configuration);
        Simulator<DigestTest> second(drawn.configuration);
        if (!first.run(drawn.schedule) || !second.run(drawn.schedule)) {
            const Failure& failure = first.failure() ? *first.failure() : *second.failure();
            std::printf("schedule %" PRIu64 " failed: %s\n", index, failure.detail.c_str());
            return 1;
        }
        if (first.trace() != second.trace() || first.fingerprint() != second.fingerprint()) {
            std::printf("schedule %" PRIu64 " took two courses in one process\n", index);
            return 1;
        }
        hash = mix(hash, first.trace());
        hash = mix(hash, first.fingerprint());
        coverage.add(first.coverage());
    }
    for (std::uint64_t count : coverage.events) hash = mix(hash, count);
    for (std::uint64_t count : coverage.laws) hash = mix(hash, count);
    if (coverage[Event::election_won] == 0) {
        std::printf("nothing happened\n");
        return 1;
    }
    std::printf("trace %016" PRIx64 "\n", hash);
    return 0;
}
