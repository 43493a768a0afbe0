// The test kit as its users have it: it passes what is right, whatever a subject is made of, sees
// through what is broken, and makes failures short and repeatable.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "kit_subjects.hpp"

using namespace little_raft::testing;
using kit::some;

namespace {
template <class S>
void passes(std::uint64_t schedules) {
    Result result = check<S>(some(schedules));
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.schedules == schedules);
}

/// The law that breaks; the failure must be short and repeat itself.
template <class S>
Law fails(kit::Bug bug, std::uint64_t schedules, std::size_t steps_max) {
    kit::Planted planted(bug);
    Result result = check<S>(some(schedules));
    REQUIRE(!result.passed);
    REQUIRE(result.failure.has_value());
    CHECK(result.shortest.schedule.size() <= steps_max);
    const LawText& law = text_of(result.failure->law);
    CHECK(result.text.find(law.name) != std::string::npos);
    CHECK(result.text.find(law.words) != std::string::npos);
    CHECK(result.text.find(law.source) != std::string::npos);
    CHECK(result.record.invariant == law.name);
    CHECK(!result.record.steps.empty());
    Result again = replay<S>(result.shortest.configuration.to_text(),
                             to_text(result.shortest.schedule), some(1));
    REQUIRE(!again.passed);
    CHECK(again.failure->law == result.failure->law);
    CHECK(again.failure->detail == result.failure->detail);
    return result.failure->law;
}
}  // namespace

// ----- What is right -----------------------------------------------------------------------------

TEST_CASE("a machine with text for ids, compared by equal, with answers and an invariant passes") {
    passes<kit::BankTest>(1'000);
}

TEST_CASE("a machine without snapshots that cannot be copied passes") {
    passes<kit::CounterTest>(1'000);
}

TEST_CASE("a machine that is compared by its digest passes") { passes<kit::DigestTest>(1'000); }

TEST_CASE("messages that are encoded and decoded pass") { passes<kit::TextTest>(300); }

TEST_CASE("a storage of files passes") { passes<kit::FileTest>(12); }

// ----- What is wrong -----------------------------------------------------------------------------

TEST_CASE("a machine that counts its own calls is seen through") {
    CHECK(fails<kit::DigestTest>(kit::Bug::own_calls, 200, 20) == Law::state_machine_safety);
}

TEST_CASE("a machine that merges snapshots is seen through") {
    CHECK(fails<kit::BankTest>(kit::Bug::merging, 1'000, 60) == Law::state_machine_safety);
}

TEST_CASE("a machine that breaks its own invariant is seen through") {
    CHECK(fails<kit::BankTest>(kit::Bug::leaky, 100, 12) == Law::own_invariant);
}

TEST_CASE("answers that are not those of the state are seen through") {
    CHECK(fails<kit::BankTest>(kit::Bug::forgetful, 100, 12) == Law::linearizability);
}

TEST_CASE("answers from a stale cache are seen through, and told operation by operation") {
    CHECK(fails<kit::BankTest>(kit::Bug::caching, 300, 30) == Law::linearizability);
    kit::Planted planted(kit::Bug::caching);
    Result result = check<kit::BankTest>(some(300));
    CHECK(result.text.find("not linearizable: ") != std::string::npos);
    CHECK(result.text.find(": transfer ") != std::string::npos);
}

TEST_CASE("a machine that gives back an old snapshot is seen through") {
    CHECK(fails<kit::DigestTest>(kit::Bug::old_snapshot, 100, 20) == Law::snapshots_come_back);
}

TEST_CASE("ids that are not unique are seen through") {
    CHECK(fails<kit::DigestTest>(kit::Bug::same_id, 10, 2) == Law::committed_once);
}

TEST_CASE("messages that lose a field are seen through") {
    CHECK(fails<kit::TextTest>(kit::Bug::lossy, 10, 40) == Law::messages_survive);
}

TEST_CASE("a storage that says true without writing is seen through") {
    CHECK(fails<kit::FileTest>(kit::Bug::lazy, 20, 20) == Law::nothing_synced_is_lost);
}

TEST_CASE("a storage that forgets votes is seen through") {
    CHECK(fails<kit::FileTest>(kit::Bug::voteless, 20, 20) == Law::nothing_synced_is_lost);
}

TEST_CASE("a storage that fails by itself is told") {
    CHECK(fails<kit::FileTest>(kit::Bug::failing, 20, 20) == Law::faults_have_causes);
}

TEST_CASE("a cluster in which nobody is elected fails the liveness phase") {
    CHECK(fails<kit::TextTest>(kit::Bug::no_votes, 10, 1) == Law::liveness);
}
