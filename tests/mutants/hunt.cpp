// Built with a header that has a planted bug: says in one line which law the swarm sees broken,
// after how many schedules, and in how many steps the shortest schedule found shows it.
#include <cstdio>

#include "little_raft_testing.hpp"

using namespace little_raft::testing;

int main() {
    Settings settings = Settings::from_environment();
    settings.wants_all_events = false;
    Result result = check<DigestTest>(settings);
    if (result.passed) {
        std::printf("survived|%llu\n", static_cast<unsigned long long>(result.schedules));
        return 0;
    }
    std::printf("caught|%s: %s|%llu|%zu\n", text_of(result.failure->law).name,
                result.failure->detail.c_str(), static_cast<unsigned long long>(*result.failed + 1),
                result.shortest.schedule.size());
    return 1;
}
