// What each consumer of the test kit builds: a state machine of one's own, put to the laws of Raft.
#include <cstdint>
#include <cstdio>
#include <little_raft_testing.hpp>
#include <little_raft_testing/random.hpp>
#include <vector>

namespace {
struct Add {
    std::uint64_t id;
    std::uint64_t amount;
    std::uint64_t get_id() const { return id; }
};

struct Sum {
    using Transition = Add;
    std::uint64_t value = 0;
    void register_transition_state(std::uint64_t, little_raft::TransitionState) {}
    void apply_transition(const Add& add) { value = 3 * value + add.amount; }
    std::vector<Add> get_pending_transitions() { return {}; }
};

struct SumTest : little_raft::testing::Subject<Sum> {
    static Add transition(little_raft::testing::Random& random, std::uint64_t number) {
        return {number, random.next()};
    }
    static bool equal(const Sum& a, const Sum& b) { return a.value == b.value; }
};
}  // namespace

int main() {
    little_raft::testing::Result result = little_raft::testing::check<SumTest>({.schedules = 20});
    std::puts(result.passed && result.schedules == 20 ? LITTLE_RAFT_VERSION : result.text.c_str());
    return result.passed ? 0 : 1;
}
