// The swarm for as long as one likes, of clusters that stay as they are and of such whose members
// change, in turns:
//
//     soak [--minutes N] [--seed S] [--threads N]
//
// It prints its seed first, then how it gets on, and ends at the first law that breaks. Time
// decides only when it ends: a schedule is the same whenever it runs. Without arguments it runs one
// round.
#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include "compiled/compiled.hpp"

using namespace little_raft::testing;

namespace {
struct Arguments {
    double minutes = 0;
    Settings settings = Settings::from_environment(
        {.threads = std::max<std::uint64_t>(1, std::thread::hardware_concurrency()),
         .wants_all_events = false,
         .title = "soak"});
};

std::optional<Arguments> parse(int count, char** values) {
    Arguments arguments;
    for (int k = 1; k < count; k += 2) {
        if (k + 1 == count) return std::nullopt;
        std::string name = values[k];
        char* end = nullptr;
        if (name == "--minutes") {
            arguments.minutes = std::strtod(values[k + 1], &end);
        } else if (name == "--seed") {
            arguments.settings.seed = std::strtoull(values[k + 1], &end, 10);
        } else if (name == "--threads") {
            arguments.settings.threads = std::strtoull(values[k + 1], &end, 10);
        }
        if (!end || *end != '\0' || end == values[k + 1]) return std::nullopt;
    }
    return arguments;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void print_progress(const Coverage& coverage, std::uint64_t schedules, double seconds) {
    std::printf("%8.0f s: %" PRIu64 " schedules (%.0f/s), %" PRIu64 " steps, %" PRIu64
                " messages (%.0f/s), %" PRIu64 " elections won, %" PRIu64 " commits\n",
                seconds, schedules, static_cast<double>(schedules) / seconds, coverage[Event::step],
                coverage[Event::message], static_cast<double>(coverage[Event::message]) / seconds,
                coverage[Event::election_won], coverage[Event::commit]);
    std::fflush(stdout);
}
}  // namespace

int main(int count, char** values) {
    std::optional<Arguments> arguments = parse(count, values);
    if (!arguments) {
        std::fprintf(stderr, "usage: soak [--minutes N] [--seed S] [--threads N]\n");
        return 2;
    }
    Settings& settings = arguments->settings;
    std::printf("seed %" PRIu64 ", %" PRIu64 " threads\n", settings.seed, settings.threads);
    settings.schedules = 1'000 * (settings.threads > 0 ? settings.threads : 1);
    Coverage coverage;
    std::uint64_t schedules = 0;
    auto start = std::chrono::steady_clock::now();
    double told = 0;
    do {
        Result result = check<DigestTest>(settings);
        coverage.add(result.coverage);
        schedules += result.schedules;
        if (result.passed) {
            result = check<MembersTest>(settings);
            coverage.add(result.coverage);
            schedules += result.schedules;
        }
        settings.first += settings.schedules;
        double seconds = seconds_since(start);
        if (!result.passed || seconds - told >= 10) {
            print_progress(coverage, schedules, seconds);
            told = seconds;
        }
        if (!result.passed) {
            std::printf("%s", result.text.c_str());
            return 1;
        }
    } while (seconds_since(start) < 60 * arguments->minutes);
    print_progress(coverage, schedules, seconds_since(start));
    std::printf("%s", coverage.to_text().c_str());
    // What one of them cannot show the other can.
    Coverage impossible = impossible_for<DigestTest>();
    const Coverage other = impossible_for<MembersTest>();
    for (std::size_t i = 0; i < event_kinds; ++i)
        impossible.events[i] = std::min(impossible.events[i], other.events[i]);
    for (std::size_t i = 0; i < law_kinds; ++i)
        impossible.laws[i] = std::min(impossible.laws[i], other.laws[i]);
    for (const std::string& name : coverage.missing(impossible)) {
        std::printf("Never seen: %s.\n", name.c_str());
        return 1;
    }
    return 0;
}
