// Your own state machine under the test kit: clusters of it, thousands of them, through crashes,
// partitions, lost messages and power losses, all in one thread and all repeatable.
//
//     bring_your_own_test          tests the bank: passes
//     bring_your_own_test --bug    tests it with a bug that no test of a single bank would show
//
// What you write is BankTest: `transition` and `equal` are needed, the other two help. The rest is
// a bank such as you may have. The bug is in create_snapshot.
#include <cstdint>
#include <cstring>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "little_raft_testing.hpp"

namespace {

bool has_bug = false;

struct Transfer {
    std::uint64_t id;
    int from, to;
    std::int64_t amount;
    std::uint64_t get_id() const { return id; }
};

/// Accounts may be overdrawn, but money is neither made nor lost. Every third transfer is free; the
/// others pay a fee of 1 to account 0.
struct Bank {
    using Transition = Transfer;
    using SnapshotData = std::string;

    std::map<int, std::int64_t> balances;
    std::uint64_t transfers = 0;
    std::vector<Transfer> pending;
    std::optional<little_raft::Snapshot<std::string>> saved;

    void apply_transition(const Transfer& transfer) {
        std::int64_t fee = ++transfers % 3 == 0 ? 0 : 1;
        balances[transfer.from] -= transfer.amount + fee;
        balances[transfer.to] += transfer.amount;
        balances[0] += fee;
    }
    std::vector<Transfer> get_pending_transitions() { return std::exchange(pending, {}); }
    void register_transition_state(std::uint64_t, little_raft::TransitionState) {}

    std::string create_snapshot(little_raft::Index index, little_raft::Term term) {
        std::ostringstream out;
        // The bug: how many transfers there were is a part of the state, and is left out.
        out << (has_bug ? 0 : transfers);
        for (const auto& account : balances) out << ' ' << account.first << ' ' << account.second;
        saved = {{term, index}, out.str()};
        return saved->data;
    }
    void set_snapshot(const little_raft::Snapshot<std::string>& snapshot) {
        saved = snapshot;
        balances.clear();
        std::istringstream in(snapshot.data);
        in >> transfers;
        for (int account; in >> account;) in >> balances[account];
    }
    std::optional<little_raft::Snapshot<std::string>> get_snapshot() { return saved; }
};

// ----- The test ----------------------------------------------------------------------------------

using little_raft::testing::Random;

struct BankTest : little_raft::testing::Subject<Bank> {
    static Transfer transition(Random& random, std::uint64_t number) {
        auto account = [&] { return static_cast<int>(1 + random.below(3)); };
        return {number, account(), account(), static_cast<std::int64_t>(random.below(100))};
    }
    static bool equal(const Bank& a, const Bank& b) { return a.balances == b.balances; }
    static std::string invariant(const Bank& bank) {
        std::int64_t sum = 0;
        for (const auto& account : bank.balances) sum += account.second;
        return sum == 0 ? "" : "money was made or lost: " + std::to_string(sum);
    }
    static std::string show(const Bank& bank) {
        std::string text = std::to_string(bank.transfers) + " transfers";
        for (const auto& account : bank.balances) {
            text += ", account " + std::to_string(account.first) + ": " +
                    std::to_string(account.second);
        }
        return text;
    }
};

}  // namespace

int main(int argc, char** argv) {
    has_bug = argc > 1 && std::strcmp(argv[1], "--bug") == 0;
    auto settings = little_raft::testing::Settings::from_environment();
    settings.title = "A bank";
    auto result = little_raft::testing::check<BankTest>(settings);
    std::cout << result.text;
    return result.passed ? 0 : 1;
}
