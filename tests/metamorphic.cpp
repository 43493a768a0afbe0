// What must make no difference: that a message comes twice in a row, and which of two replicas is
// handed its message first. In states that random schedules of faults lead to.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>

#include "compiled/compiled.hpp"
#include "sanitized.hpp"

using namespace little_raft::testing;
namespace lr = little_raft;

namespace {

using Cluster = Simulator<DigestTest>;

/// Calls `use` with a cluster in many states, until it returns what is wrong. No message is lost
/// for want of room, so that each keeps its place; and what a replica has to do at once is a part
/// of the step that causes it.
template <class Use>
void in_many_states(Use use) {
    const std::uint64_t seed = Settings::from_environment().seed;
    for (std::uint64_t index = 0; index < 1'000 / one_in; ++index) {
        Case drawn = draw_case(seed, index);
        drawn.configuration.flying_max = 10'000;
        drawn.configuration.untimed = 1;
        drawn.configuration.long_polls = 0;
        // A replica that starts again where no time passes may ask the questions of its last life.
        std::erase_if(drawn.schedule, [](const Op& op) { return op.step == Step::read; });
        Cluster cluster(drawn.configuration);
        for (std::size_t i = 0; i < drawn.schedule.size(); ++i) {
            cluster.apply(drawn.schedule[i]);
            std::string wrong = cluster.failure() ? cluster.failure()->detail : "";
            if (wrong.empty() && i % 16 == 0) wrong = use(cluster);
            if (wrong.empty()) continue;
            drawn.schedule.resize(i + 1);
            CAPTURE(drawn.configuration.to_text());
            CAPTURE(to_text(drawn.schedule));
            FAIL("schedule ", index, " of seed ", seed, ": ", wrong);
        }
    }
}

using Message = Cluster::Message;

/// Which one it is, if it is still in flight. Copies of a cluster share their messages.
std::optional<std::uint32_t> place_of(const Cluster& cluster, const Message& message) {
    for (std::uint32_t at = 0; at < cluster.messages_in_flight(); ++at)
        if (&cluster.message(at) == &message) return at;
    return std::nullopt;
}

/// Unless it has arrived by now: what can change nothing any more does so by itself.
void deliver(Cluster& cluster, const Message& message) {
    if (auto at = place_of(cluster, message)) cluster.apply({Step::deliver, *at, 0});
}

std::size_t receiver(const Message& message) { return message.to.value - 1; }

/// What a crash of the replica would leave, and what it says of itself. What is in flight may
/// differ: one that is asked twice may answer twice.
std::string state_of(const Cluster& cluster, std::size_t i) {
    const DiskImage& disk = cluster.ghost().disk(i);
    std::ostringstream text;
    text << "disk: term " << disk.term.value;
    if (disk.voted_for) text << ", vote for " << disk.voted_for->value;
    text << ", log up to " << disk.log.last_index().value << " #"
         << disk.log.hash_at(disk.log.last_index()).value_or(0);
    if (!cluster.is_alive(i)) return text.str();
    const lr::Status& status = cluster.status(i);
    text << "; role " << static_cast<int>(status.role) << ", term " << status.term.value;
    if (status.leader) text << ", led by " << status.leader->value;
    text << ", snapshot " << status.snapshot.index.value << ", applied "
         << status.last_applied.value << ", commit " << status.commit_index.value << ", log ends "
         << status.last_log_index.value;
    return text.str();
}

/// What is wrong; empty: nothing.
std::string compare(const Cluster& one, const Cluster& other) {
    for (const Cluster* cluster : {&one, &other})
        if (cluster->failure()) return cluster->failure()->detail;
    for (std::size_t i = 0; i < one.replicas(); ++i) {
        std::string state = state_of(one, i), other_state = state_of(other, i);
        if (state != other_state)
            return "replica " + std::to_string(i + 1) + ": " + state + "\nis not: " + other_state;
    }
    return {};
}

bool lives(const Cluster& cluster, std::size_t i) {
    return cluster.is_alive(i) && !cluster.status(i).fault;
}

/// Whoever did still does. One whose next writes end it, or a failed sync, may be ended by another.
bool all_live(const Cluster& before, const Cluster& after) {
    for (std::size_t i = 0; i < before.replicas(); ++i)
        if (lives(before, i) != lives(after, i)) return false;
    return true;
}

bool changed(const Cluster& before, const Cluster& after, std::size_t i) {
    return state_of(before, i) != state_of(after, i);
}

/// How often messages of each kind were tried, and how often they mattered.
struct Seen {
    std::array<std::uint64_t, 6> kinds{};
    std::uint64_t mattered = 0, skipped = 0;

    void check(const std::string& what) const {
        std::uint64_t all = 0;
        for (std::uint64_t count : kinds) {
            CHECK(count > 0);
            all += count;
        }
        MESSAGE(all, " messages ", what, "; ", mattered, " times it mattered");
        CHECK(mattered > 200);
        CHECK(skipped < all / 5);
    }
};

}  // namespace

TEST_CASE("a message that comes twice in a row leaves all as it does when it comes once") {
    Seen seen;
    in_many_states([&](const Cluster& before) -> std::string {
        for (std::uint32_t at = 0; at < std::min<std::size_t>(before.messages_in_flight(), 10);
             ++at) {
            const Message& message = before.message(at);
            std::size_t to = receiver(message);
            if (before.is_paused(to)) continue;  // Both would wait there.
            Cluster once(before), twice(before);
            deliver(once, message);
            twice.apply({Step::duplicate, at, 0});
            deliver(twice, message);
            if (!all_live(before, once) || !all_live(before, twice)) {
                ++seen.skipped;
                continue;
            }
            ++seen.kinds[message.body.index()];
            seen.mattered += changed(before, once, to) ? 1 : 0;
            std::string wrong = compare(once, twice);
            if (!wrong.empty()) return kind_of(message) + (" came twice: " + wrong);
        }
        return {};
    });
    seen.check("came twice");
}

TEST_CASE("which of two replicas is handed its message first makes no difference") {
    Seen seen;
    in_many_states([&](const Cluster& before) -> std::string {
        auto count =
            static_cast<std::uint32_t>(std::min<std::size_t>(before.messages_in_flight(), 5));
        for (std::uint32_t b = 1; b < count; ++b) {
            for (std::uint32_t a = 0; a < b; ++a) {
                const Message &first = before.message(a), &second = before.message(b);
                // Nor is one the answer to what the other's receiver asked: some arrive at once.
                std::size_t i = receiver(first), k = receiver(second);
                if (i == k || first.from == second.to || second.from == first.to) continue;
                Cluster one(before), other(before);
                deliver(one, first);
                deliver(one, second);
                deliver(other, second);
                deliver(other, first);
                if (!all_live(before, one) || !all_live(before, other)) {
                    ++seen.skipped;
                    continue;
                }
                ++seen.kinds[first.body.index()];
                ++seen.kinds[second.body.index()];
                bool both = changed(before, one, i) && changed(before, one, k);
                seen.mattered += both ? 1 : 0;
                std::string wrong = compare(one, other);
                if (!wrong.empty())
                    return std::string(kind_of(first)) + " and " + kind_of(second) +
                           " changed places: " + wrong;
            }
        }
        return {};
    });
    seen.check("changed places");
}
