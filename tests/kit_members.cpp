// The test kit where members change: what its steps do, and users' types that carry memberships.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "compiled/compiled.hpp"
#include "kit_subjects.hpp"
#include "sanitized.hpp"

using namespace little_raft::testing;
using kit::some;
using little_raft::Role;

namespace {
/// In bits of a `change`: that learners are among them.
constexpr std::uint32_t with_learners = 1U << 14;

struct Cluster {
    Simulator<MembersTest> simulator;

    explicit Cluster(std::uint64_t newcomers) : simulator(configuration(newcomers)) { run(); }
    static Configuration configuration(std::uint64_t newcomers) {
        Configuration made;
        made.newcomers = newcomers;
        return made;
    }
    void run() {
        for (int k = 0; k < 30; ++k) simulator.apply({Step::run, 0, 99});
    }
    std::uint32_t leader() const {
        std::uint32_t i = 0;
        while (i < 3 && simulator.status(i).role != Role::leader) ++i;
        return i;
    }
    Electorate members() const { return simulator.ghost().in_force(leader()); }
};

/// A transport that loses nothing.
using Inboxes = std::vector<std::vector<SubjectTraits<kit::KeepingTest>::Message>>;
struct Endpoint {
    Inboxes* inboxes;
    std::size_t self;
    void send_message(little_raft::ReplicaId to, const Inboxes::value_type::value_type& message) {
        (*inboxes)[to.value - 1].push_back(message);
    }
    Inboxes::value_type receive_messages() { return std::exchange((*inboxes)[self], {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<little_raft::ReplicaId>) {}
    std::optional<little_raft::Membership> get_pending_membership() { return std::nullopt; }
    void register_membership(const little_raft::Membership&, little_raft::MembershipState) {}
};
}  // namespace

TEST_CASE("a newcomer waits, is added as a learner, is given a vote, and leads") {
    Cluster cluster(2);
    REQUIRE(cluster.leader() == 0);
    CHECK(cluster.members().members == 0b001);
    CHECK(cluster.simulator.status(1).role == Role::follower);
    CHECK(cluster.simulator.status(1).last_log_index.value == 0);

    cluster.simulator.apply({Step::change, 0, with_learners | 0b010 << 7 | 0b011});
    cluster.run();
    CHECK(cluster.members().members == 0b011);
    CHECK(cluster.members().voters == 0b001);
    CHECK(!cluster.members().joint);
    CHECK(cluster.simulator.status(1).last_log_index.value > 0);

    cluster.simulator.apply({Step::change, 0, 0b010});  // And the leader goes.
    cluster.run();
    CHECK(cluster.leader() == 1);
    CHECK(cluster.members().voters == 0b010);
    CHECK(cluster.simulator.coverage()[Event::change_committed] == 2);
    CHECK(cluster.simulator.coverage()[Event::learner_promoted] == 1);
    CHECK(cluster.simulator.coverage()[Event::leader_removed] > 0);
    CHECK(!cluster.simulator.failure());
}

TEST_CASE("a change by one is a change to a set: resolved, it means the same anywhere") {
    Cluster cluster(1);
    auto resolved = [&](std::uint32_t b) {
        return cluster.simulator.resolve({Step::change, 16, b}).b % with_learners;
    };
    constexpr std::uint32_t vote = 2 * with_learners;
    constexpr std::uint32_t learner = 3 * with_learners;
    CHECK(resolved(0b101) == 0b101);
    CHECK(resolved(vote + 2) == 0b111);                    // 3 comes,
    CHECK(resolved(learner + 2) == (0b111 | 0b100 << 7));  // ... or does without a vote.
    CHECK(resolved(vote + 1) == 0b001);                    // 2 goes,
    CHECK(resolved(learner + 1) == (0b011 | 0b010 << 7));  // ... or loses its vote.
    Op again = cluster.simulator.resolve({Step::change, 16, learner + 1});
    CHECK(cluster.simulator.resolve(again) == again);
    CHECK(again.a == cluster.leader());
}

TEST_CASE("a change that leaves nobody a vote, or asks one that does not lead, is refused") {
    Cluster cluster(0);
    cluster.simulator.apply({Step::change, cluster.leader(), 0});
    CHECK(cluster.simulator.coverage()[Event::change_refused] == 1);
    cluster.simulator.apply({Step::change, (cluster.leader() + 1) % 3, 0b111});
    CHECK(cluster.simulator.coverage()[Event::change_refused] == 2);
    CHECK(cluster.simulator.coverage()[Event::change_begun] == 0);
    CHECK(!cluster.simulator.failure());
}

TEST_CASE("the healed have a majority of every membership that may count, and often no more") {
    std::size_t least = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        Configuration configuration;
        configuration.replicas = 7;
        configuration.newcomers = 4;
        configuration.seed = seed;
        Simulator<MembersTest> simulator(configuration);
        for (int k = 0; k < 20; ++k) simulator.apply({Step::run, 0, 99});
        // To four others; whether it is committed before the faults end is left to chance.
        simulator.apply({Step::change, 0, 0b1111000});
        for (std::uint64_t k = 0; k < seed; ++k) simulator.apply({Step::deliver, 0, 0});
        bool changes = simulator.coverage()[Event::change_begun] > 0;
        bool committed = simulator.ghost().committed_electorate().voters == 0b1111000;
        simulator.converge();
        REQUIRE_MESSAGE(!simulator.failure(), simulator.failure()->detail);
        std::size_t old_ones = 0;
        std::size_t new_ones = 0;
        for (std::size_t i = 0; i < 7; ++i) (i < 3 ? old_ones : new_ones) += simulator.is_alive(i);
        if (committed) CHECK(new_ones >= 3);
        if (!changes) CHECK(old_ones >= 2);
        if (changes && !committed) CHECK((old_ones >= 2 && new_ones >= 3));
        least += changes && old_ones + new_ones <= 5 ? 1 : 0;
    }
    MESSAGE(least << " of 100 with the least that can do");
    CHECK(least > 10);
    CHECK(least < 100);
}

TEST_CASE("messages, snapshots and a storage of the user's own that carry memberships pass") {
    Result result = check<kit::KeepingTest>(some(300 / one_in));
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.coverage[Event::change_committed] > 0);
    result = check<kit::FileMembersTest>(some(12));
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.coverage[Event::change_committed] > 0);
    Check contract = check_serialization<kit::KeepingTest>();
    CHECK_MESSAGE(contract.passed, contract.text);
    contract = check_snapshots<kit::KeepingTest>();
    CHECK_MESSAGE(contract.passed, contract.text);
    contract = check_storage<kit::FileMembersTest>();
    CHECK_MESSAGE(contract.passed, contract.text);
    contract = check_machine<kit::KeepingTest>();
    CHECK_MESSAGE(contract.passed, contract.text);
    Inboxes inboxes(2);
    Endpoint one{&inboxes, 0};
    Endpoint two{&inboxes, 1};
    contract = check_cluster<kit::KeepingTest, Endpoint>({&one, &two}, [] {});
    CHECK_MESSAGE(contract.passed, contract.text);
}

TEST_CASE("a membership that is lost in a message, or with a snapshot, is seen through") {
    {
        kit::Planted planted(kit::Bug::promoting);
        Check contract = check_serialization<kit::KeepingTest>();
        CHECK(!contract.passed);
        CHECK(!check<kit::KeepingTest>(some(2'000)).passed);
    }
    kit::Planted planted(kit::Bug::unaware);
    Check contract = check_snapshots<kit::KeepingTest>();
    CHECK(!contract.passed);
    CHECK(contract.text.find("the membership nobody") != std::string::npos);
    Result result = check<kit::KeepingTest>(some(500));
    REQUIRE(!result.passed);
    CHECK(result.failure->law == Law::snapshots_come_back);
}
