// Built with a header that has a planted bug: says in one line which law the swarm sees broken,
// after how many schedules, and in how many steps the shortest schedule found shows it.
//   hunt FIRST COUNT    so many schedules, from that number on
#include <cstdio>
#include <cstdlib>

#include "little_raft_testing.hpp"

using namespace little_raft::testing;

int main(int, char** arguments) {
    Settings settings = Settings::from_environment();
    settings.first = std::strtoull(arguments[1], nullptr, 10);
    settings.schedules = std::strtoull(arguments[2], nullptr, 10);
    settings.wants_all_events = false;
    Result result = check<SUBJECT>(settings);
    if (result.passed) {
        std::printf("survived|%llu\n", static_cast<unsigned long long>(result.schedules));
        return 0;
    }
    std::printf("caught|%s: %s|%llu|%zu\n", text_of(result.failure->law).name,
                result.failure->detail.c_str(), static_cast<unsigned long long>(*result.failed + 1),
                result.shortest.schedule.size());
    return 1;
}
