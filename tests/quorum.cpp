// quorum: the largest value that a majority has reached.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::quorum;

template <class Value>
struct Voter {
    Value reached;
    bool votes = true;
    bool votes_outgoing = false;
};

template <class Value>
Value quorum_of(const std::vector<Value>& values, Value unlimited) {
    std::vector<Voter<Value>> voters;
    for (Value value : values) voters.push_back({value});
    return quorum(voters, &Voter<Value>::reached, unlimited);
}

/// By the book: sorted from the largest, the one that completes a majority.
template <class Value>
Value by_sorting(std::vector<Value> values, Value unlimited) {
    if (values.empty()) return unlimited;
    std::sort(values.begin(), values.end(), std::greater<Value>());
    return values[values.size() / 2];
}

}  // namespace

TEST_CASE("what a majority has reached, by tables") {
    struct Row {
        std::vector<std::uint64_t> values;
        std::uint64_t expected;
    };
    const std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
    const std::vector<Row> table{
        {{}, unlimited},
        {{0}, 0},
        {{7}, 7},
        {{7, 0}, 0},  // Of two, both.
        {{7, 5}, 5},
        {{7, 7}, 7},
        {{7, 7, 0}, 7},
        {{0, 7, 7}, 7},
        {{7, 0, 7}, 7},
        {{7, 0, 0}, 0},
        {{1, 2, 3}, 2},
        {{3, 1, 2}, 2},
        {{9, 9, 0, 0}, 0},  // Half is no majority.
        {{9, 9, 9, 0}, 9},
        {{4, 3, 2, 1}, 2},
        {{1, 2, 3, 4, 5}, 3},
        {{9, 9, 1, 1, 1}, 1},
        {{9, 9, 9, 9, 1, 1, 1}, 9},
        {{1, 2, 3, 4, 5, 6}, 3},
        {{200, 1, 150, 1, 100, 1, 120}, 100},
        {{std::numeric_limits<std::uint64_t>::max(), 1}, 1},
    };
    for (const Row& row : table) {
        CAPTURE(row.values);
        CHECK(quorum_of(row.values, unlimited) == row.expected);
    }
}

TEST_CASE("for up to seven voters and three values, all of them, it is what sorting finds") {
    std::uint64_t checked = 0;
    for (std::size_t voters = 0; voters <= 7; ++voters) {
        std::vector<int> values(voters, 0);
        for (bool more = true; more;) {
            if (quorum_of(values, 99) != by_sorting(values, 99)) {
                CAPTURE(values);
                CHECK(quorum_of(values, 99) == by_sorting(values, 99));
            }
            ++checked;
            more = false;
            for (int& value : values) {
                value = (value + 1) % 3;
                if (value > 0) {
                    more = true;
                    break;
                }
            }
        }
    }
    CHECK(checked == 1 + 3 + 9 + 27 + 81 + 243 + 729 + 2187);
}

TEST_CASE("it is what both halves of a joint membership have reached, in all sets of up to five") {
    std::uint64_t checked = 0;
    for (std::size_t count = 0; count <= 5; ++count) {
        std::uint64_t cases = 1;
        for (std::size_t i = 0; i < count; ++i)
            cases *= 12;  // Three values, and four ways to vote.
        for (std::uint64_t code = 0; code < cases; ++code) {
            std::vector<lr::Progress> members;
            std::vector<Index> now;
            std::vector<Index> before;
            std::uint64_t rest = code;
            for (std::size_t i = 0; i < count; ++i, rest /= 12) {
                members.push_back({.id = ReplicaId{i}, .votes = rest % 2 == 1});
                members.back().votes_outgoing = rest / 2 % 2 == 1;
                members.back().match_index = Index{rest / 4 % 3};
                if (members.back().votes) now.push_back(members.back().match_index);
                if (members.back().votes_outgoing) before.push_back(members.back().match_index);
            }
            Index expected = std::min(by_sorting(now, Index{99}), by_sorting(before, Index{99}));
            ++checked;
            if (quorum(members, &lr::Progress::match_index, Index{99}) == expected) continue;
            CAPTURE(code);
            CHECK(quorum(members, &lr::Progress::match_index, Index{99}) == expected);
        }
    }
    CHECK(checked == 1 + 12 + 144 + 1728 + 20736 + 248832);
}

TEST_CASE("it is never more than what nobody would hold back") {
    std::vector<lr::Progress> members;
    for (std::uint64_t match : {4U, 9U, 2U})
        members.push_back({.id = ReplicaId{match}, .match_index = Index{match}});
    CHECK(quorum(members, &lr::Progress::match_index, Index{3}) == Index{3});
}

TEST_CASE("a vote is won by more than half") {
    for (std::size_t voters = 1; voters <= 9; ++voters) {
        for (std::size_t grants = 0; grants <= voters; ++grants) {
            CAPTURE(voters);
            CAPTURE(grants);
            std::vector<lr::Progress> members;
            for (std::size_t i = 0; i < voters; ++i) {
                members.push_back({.id = ReplicaId{i}, .votes = true});
                // The grants at the end, so that the first voters do not decide.
                members.back().vote_granted = i + grants >= voters;
            }
            CHECK(quorum(members, &lr::Progress::vote_granted, true) == (2 * grants > voters));
        }
    }
    CHECK(quorum(std::vector<lr::Progress>{}, &lr::Progress::vote_granted, true));
}

TEST_CASE("it works for indexes and for times") {
    std::vector<lr::Progress> members;
    const std::uint64_t matches[] = {4, 9, 2};
    for (std::uint64_t match : matches) {
        members.push_back(
            {.id = ReplicaId{match}, .votes = true, .last_contact = lr::Time{} + match * 1s});
        members.back().match_index = Index{match};
    }
    CHECK(quorum(members, &lr::Progress::match_index, Index{99}) == Index{4});
    CHECK(quorum(members, &lr::Progress::last_contact, lr::never) == lr::Time{} + 4s);
}

TEST_CASE("it is computed at compile time where the voters are known then") {
    constexpr std::array<Voter<int>, 4> voters{{{4}, {3}, {2}, {1}}};
    static_assert(quorum(voters, &Voter<int>::reached, 99) == 2);
}
