// The test kit of little_raft: property tests for your own state machine, network format and disk.
//
//     struct BankTest : little_raft::testing::Subject<Bank> {
//         static Transfer transition(little_raft::testing::Random& random, std::uint64_t number);
//         static bool equal(const Bank& a, const Bank& b) { return a.balances == b.balances; }
//     };
//     TEST_CASE("bank") {
//         auto result = little_raft::testing::check<BankTest>();
//         CHECK_MESSAGE(result.passed, result.text);
//     }
//
// It needs no test framework and no library but the standard one. Where you have rapidcheck,
// include "rapidcheck.hpp" beside this header: transitions and schedules then come from it too.
#pragma once

#include "contracts.hpp"
#include "explore.hpp"
#include "history.hpp"
#include "invariants.hpp"
#include "linearizability.hpp"
#include "memory_disk.hpp"
#include "random.hpp"
#include "record.hpp"
#include "report.hpp"
#include "schedule.hpp"
#include "simulator.hpp"
#include "subject.hpp"
#include "swarm.hpp"
#include "timeline.hpp"
