// Progress: what a leader knows of one replica, and what it may send next. By tables.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::Progress;
using State = lr::Progress::State;
using Windows = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

Progress progress(State state, std::uint64_t match, std::uint64_t next) {
    Progress result{.id = ReplicaId{2}, .next_index = Index{next}};
    result.become(state, Index{next});
    result.match_index = Index{match};
    return result;
}

/// Streams, with these messages on their way: last index and bytes.
Progress streaming(std::uint64_t match, const Windows& messages) {
    Progress result = progress(State::replicate, match, match + 1);
    for (auto [last, bytes] : messages) result.on_sent(Index{last}, bytes);
    return result;
}

Windows window_of(const Progress& peer) {
    Windows result;
    for (const auto& [last_index, bytes] : peer.inflight) {
        result.emplace_back(last_index.value, bytes);
    }
    return result;
}

/// State, match and next.
void check(const Progress& peer, State state, std::uint64_t match, std::uint64_t next) {
    CHECK(peer.state == state);
    CHECK(peer.match_index == Index{match});
    CHECK(peer.next_index == Index{next});
    std::uint64_t bytes = 0;
    for (const auto& message : peer.inflight) bytes += message.bytes;
    CHECK(peer.inflight_bytes == bytes);
    if (state != State::replicate) CHECK(peer.inflight.empty());
}

}  // namespace

TEST_CASE("it begins by probing, with nothing known") {
    Progress peer{.id = ReplicaId{2}, .next_index = Index{8}, .last_contact = lr::Time{} + 3s};
    check(peer, State::probe, 0, 8);
    CHECK_FALSE(peer.waiting);
    CHECK_FALSE(peer.overdue);
    CHECK_FALSE(peer.vote_granted);
    CHECK(peer.last_contact == lr::Time{} + 3s);
}

TEST_CASE("a probe is one message, with entries or without, and then a wait") {
    for (std::uint64_t bytes : {0U, 100U}) {
        Progress peer = progress(State::probe, 0, 8);
        peer.on_sent(Index{9}, bytes);
        CHECK(peer.waiting);
        check(peer, State::probe, 0, 8);  // Nothing is assumed.
    }
}

TEST_CASE("entries are streamed without a wait, each message in the window") {
    Progress peer = streaming(4, {});
    peer.on_sent(Index{6}, 200);
    check(peer, State::replicate, 4, 7);
    peer.on_sent(Index{7}, 50);
    check(peer, State::replicate, 4, 8);
    CHECK_FALSE(peer.waiting);
    CHECK(window_of(peer) == Windows{{6, 200}, {7, 50}});
    // A message without entries is news alone and takes no room.
    peer.on_sent(Index{7}, 0);
    check(peer, State::replicate, 4, 8);
    CHECK(window_of(peer) == Windows{{6, 200}, {7, 50}});
}

TEST_CASE("a success while streaming frees the window up to its match") {
    struct Row {
        std::uint64_t success;
        std::uint64_t match, next;
        Windows left;
    };
    const Windows sent{{6, 10}, {8, 20}, {9, 40}};
    const std::vector<Row> table{
        {0, 4, 10, sent},
        {4, 4, 10, sent},
        {5, 5, 10, sent},
        {6, 6, 10, {{8, 20}, {9, 40}}},
        {7, 7, 10, {{8, 20}, {9, 40}}},
        {8, 8, 10, {{9, 40}}},
        {9, 9, 10, {}},
        {12, 12, 13, {}},  // More than was sent in this window: from before a probe.
    };
    for (const Row& row : table) {
        CAPTURE(row.success);
        Progress peer = streaming(4, sent);
        peer.on_success(Index{row.success}, Index{1});
        check(peer, State::replicate, row.match, row.next);
        CHECK(window_of(peer) == row.left);
    }
}

TEST_CASE("successes in disorder never lower the match") {
    Progress peer = streaming(4, {{6, 10}, {8, 20}, {9, 40}});
    peer.on_success(Index{8}, Index{1});
    peer.on_success(Index{6}, Index{1});
    peer.on_success(Index{0}, Index{1});
    check(peer, State::replicate, 8, 10);
    CHECK(window_of(peer) == Windows{{9, 40}});
}

TEST_CASE("a success ends the probing, at once behind what is known") {
    struct Row {
        std::uint64_t match, next, success, new_match, new_next;
    };
    for (Row row : {Row{0, 8, 7, 7, 8},
                    {0, 8, 0, 0, 1},
                    {3, 8, 5, 5, 6},
                    {3, 8, 2, 3, 4},
                    {0, 8, 11, 11, 12}}) {
        CAPTURE(row.success);
        Progress peer = progress(State::probe, row.match, row.next);
        peer.on_sent(Index{row.next}, 10);
        peer.on_success(Index{row.success}, Index{1});
        check(peer, State::replicate, row.new_match, row.new_next);
        CHECK_FALSE(peer.waiting);
    }
}

TEST_CASE("a success ends a transfer once the log, or the snapshot, reaches back to it") {
    struct Row {
        std::uint64_t success, log_first;
        bool ends;
    };
    // The snapshot is at 20.
    for (Row row : {Row{3, 15, false},
                    {13, 15, false},
                    {14, 15, true},
                    {16, 15, true},
                    {19, 30, false},
                    {20, 30, true},
                    {20, 15, true},
                    {25, 30, true}}) {
        CAPTURE(row.success);
        CAPTURE(row.log_first);
        Progress peer = progress(State::snapshot, 2, 21);
        peer.waiting = true;
        peer.offset = 8;
        peer.on_success(Index{row.success}, Index{row.log_first});
        if (row.ends) {
            check(peer, State::replicate, row.success, row.success + 1);
            CHECK_FALSE(peer.waiting);
            CHECK(peer.offset == 0);
        } else {
            check(peer, State::snapshot, row.success, 21);
            CHECK(peer.waiting);
            CHECK(peer.offset == 8);
        }
    }
}

TEST_CASE("a refusal while streaming goes back to probing, at the hint but above the match") {
    struct Row {
        std::uint64_t rejected, hint, next;
    };
    for (Row row : {Row{5, 0, 5},
                    {5, 4, 5},
                    {5, 6, 5},  // Below what was refused.
                    {7, 0, 5},
                    {7, 5, 6},  // It has more than it was heard to have.
                    {7, 6, 7},
                    {9, 4, 5},
                    {9, 6, 7},
                    {9, 1000, 9}}) {
        CAPTURE(row.rejected);
        CAPTURE(row.hint);
        Progress peer = streaming(4, {{6, 10}, {9, 40}});
        peer.on_reject({false, Index{row.rejected}, {{}, Index{row.hint}}}, Shares{{row.hint}});
        check(peer, State::probe, 4, row.next);
        CHECK_FALSE(peer.waiting);
    }
}

TEST_CASE("a refusal of what is known to match is out of date") {
    for (std::uint64_t rejected : {0U, 3U, 4U}) {
        CAPTURE(rejected);
        Progress streamed = streaming(4, {{6, 10}, {9, 40}});
        streamed.on_reject({false, Index{rejected}, {}}, Shares{{0}});
        check(streamed, State::replicate, 4, 10);
        CHECK(window_of(streamed) == Windows{{6, 10}, {9, 40}});
        Progress probing = progress(State::probe, 4, 5);
        probing.on_sent(Index{5}, 10);
        probing.on_reject({false, Index{rejected}, {}}, Shares{{0}});
        check(probing, State::probe, 4, 5);
        CHECK(probing.waiting);
    }
}

TEST_CASE("a refused probe moves to the hint, down by one at least and never below the match") {
    struct Row {
        std::uint64_t match, next, rejected, hint, new_next;
        bool answers_it;
    };
    const std::vector<Row> table{
        {0, 8, 7, 3, 4, true},     // To the hint.
        {0, 8, 7, 0, 1, true},     // To the beginning.
        {0, 8, 7, 6, 7, true},     // By one.
        {0, 8, 7, 7, 7, true},     // A hint that says nothing: by one.
        {0, 8, 7, 1000, 7, true},  // A hint past the end: by one.
        {4, 8, 7, 2, 5, true},     // Not below the match.
        {6, 8, 7, 0, 7, true},     // Nothing is left to ask.
        {0, 2, 1, 0, 1, true},     // Nor here.
        {0, 8, 6, 0, 8, false},    // Older probes' refusals.
        {0, 8, 1, 0, 8, false},    {0, 8, 8, 0, 8, false},
        {0, 8, 1000, 0, 8, false}, {0, 8, ~std::uint64_t{0}, 0, 8, false},
    };
    for (const Row& row : table) {
        CAPTURE(row.match);
        CAPTURE(row.rejected);
        CAPTURE(row.hint);
        Progress peer = progress(State::probe, row.match, row.next);
        peer.on_sent(Index{row.next}, 10);
        peer.on_reject({false, Index{row.rejected}, {{}, Index{row.hint}}}, Shares{{row.hint}});
        check(peer, State::probe, row.match, row.new_next);
        CHECK(peer.waiting == !row.answers_it);
    }
}

TEST_CASE("a refusal during a transfer calls for a chunk if it says something new or is overdue") {
    for (std::uint64_t offset : {0U, 8U, 16U, 24U}) {
        for (bool overdue : {false, true}) {
            CAPTURE(offset);
            CAPTURE(overdue);
            Progress peer = progress(State::snapshot, 2, 21);
            peer.waiting = true;
            peer.overdue = overdue;
            peer.offset = 16;
            peer.on_reject({false, Index{20}, {}, offset}, Shares{{0}});
            check(peer, State::snapshot, 2, 21);
            CHECK(peer.waiting == (offset == 16 && !overdue));
            CHECK_FALSE(peer.overdue);
            CHECK(peer.offset == offset);
        }
    }
}

TEST_CASE("a change of state starts with nothing on its way") {
    for (State state : {State::probe, State::replicate, State::snapshot}) {
        Progress peer = streaming(4, {{6, 10}, {9, 40}});
        peer.waiting = peer.overdue = true;
        peer.offset = 5;
        peer.become(state, Index{7});
        check(peer, state, 4, 7);
        CHECK(peer.inflight.empty());
        CHECK_FALSE(peer.waiting);
        CHECK_FALSE(peer.overdue);
        CHECK(peer.offset == 0);
    }
}
