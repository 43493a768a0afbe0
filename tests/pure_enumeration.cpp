// The header's pure parts against naive oracles, on all small inputs: what is true of logs of five
// entries and of five voters has met every case that there is.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::LogPosition;
using Log = lr::Log<lr::Entry<Command>, 3>;  // In small chunks, so that they matter.

/// Calls `visit` with every vector of `size` values below `values`.
void for_all_vectors(std::size_t size, std::uint64_t values,
                     const std::function<void(const std::vector<std::uint64_t>&)>& visit) {
    std::vector<std::uint64_t> vector(size, 0);
    for (;;) {
        visit(vector);
        std::size_t i = 0;
        while (i < size && ++vector[i] == values) vector[i++] = 0;
        if (i == size) return;
    }
}

/// Terms of a log, the first entry's first: they never fall, and begin at 1.
using Terms = std::vector<std::uint64_t>;

/// All logs of up to `size` entries of the terms from `least` to `most`.
std::vector<Terms> all_logs(std::size_t size, std::uint64_t most, std::uint64_t least = 1) {
    std::vector<Terms> logs{{}};
    for (std::size_t begin = 0, length = 0; length < size; ++length) {
        std::size_t end = logs.size();
        for (; begin < end; ++begin) {
            std::uint64_t last = logs[begin].empty() ? least : logs[begin].back();
            for (std::uint64_t term = last; term <= most; ++term) {
                Terms longer = logs[begin];
                longer.push_back(term);
                logs.push_back(std::move(longer));
            }
        }
    }
    return logs;
}

/// The term at an index of an uncompacted log; 0 before its first entry.
std::optional<std::uint64_t> term_at(const Terms& terms, std::uint64_t index) {
    if (index > terms.size()) return std::nullopt;
    return index == 0 ? 0 : terms[static_cast<std::size_t>(index) - 1];
}

LogPosition position(std::uint64_t index, std::uint64_t term) { return {Term{term}, Index{index}}; }

/// The log, compacted up to the entry at `base`; ids are indexes.
Log log_of(const Terms& terms, std::uint64_t base) {
    Log log;
    log.compact(position(base, *term_at(terms, base)));
    for (std::uint64_t i = base + 1; i <= terms.size(); ++i) {
        log.append({Term{*term_at(terms, i)}, Command{i, i}});
    }
    return log;
}

/// Whether the log holds just these entries from `base` on.
bool is(const Log& log, const Terms& terms, std::uint64_t base) {
    if (log.base != position(base, *term_at(terms, base))) return false;
    if (log.last != position(terms.size(), *term_at(terms, terms.size()))) return false;
    if (log.base.index + 1 != Index{base + 1}) return false;
    for (std::uint64_t i = base + 1; i <= terms.size(); ++i) {
        if (log[Index{i}].term != Term{*term_at(terms, i)}) return false;
    }
    return true;
}

std::string show(const Terms& terms) {
    std::string text = "[";
    for (std::uint64_t term : terms) text += (text.size() > 1 ? " " : "") + std::to_string(term);
    return text + "]";
}

/// Counts cases; the first that goes wrong is shown: in numbers, logs as their terms.
struct Tally {
    std::uint64_t cases = 0;
    std::uint64_t wrong = 0;
    std::string first = {};

    void expect(bool right, const std::vector<Terms>& logs,
                const std::vector<std::uint64_t>& numbers) {
        ++cases;
        wrong += right ? 0 : 1;
        if (right || wrong > 1) return;
        for (const Terms& log : logs) first += show(log) + " ";
        for (std::uint64_t number : numbers) first += std::to_string(number) + " ";
    }
    void report(const std::string& what) const {
        MESSAGE(cases << " " << what);
        INFO("first wrong case: " << first);
        CHECK(wrong == 0);
    }
};

}  // namespace

// ----- Quorum ------------------------------------------------------------------------------------

namespace {

template <class Value>
struct Voter {
    Value reached;
    bool votes = true;
    bool votes_outgoing = false;
};

/// By definition: the largest value such that more than half of the voters reached it.
template <class Value>
void enumerate_quorums(Tally& tally, const std::vector<Value>& values, Value unlimited) {
    for (std::size_t voters = 0; voters <= 5; ++voters) {
        for_all_vectors(voters, values.size(), [&](const std::vector<std::uint64_t>& drawn) {
            std::vector<Voter<Value>> all;
            for (std::uint64_t i : drawn) all.push_back({values[static_cast<std::size_t>(i)]});
            std::optional<Value> best;
            for (Value candidate : values) {
                std::size_t reached = 0;
                for (const auto& voter : all) reached += voter.reached < candidate ? 0 : 1;
                bool majority = 2 * reached > voters && voters > 0;
                if (majority && (!best || *best < candidate)) best = candidate;
            }
            Value found = lr::quorum(all, &Voter<Value>::reached, unlimited);
            tally.expect(found == std::min(best.value_or(unlimited), unlimited), {drawn}, {});
        });
    }
}

}  // namespace

TEST_CASE("quorums of up to five voters") {
    Tally tally;
    enumerate_quorums<std::uint64_t>(tally, {0, 1, 2, 3}, 9);
    enumerate_quorums<Index>(tally, {Index{0}, Index{1}, Index{2}, Index{3}}, Index{9});
    lr::Time t{};
    enumerate_quorums<lr::Time>(tally, {t, t + 1ms, t + 2ms, t + 3ms}, t + 9ms);
    std::vector<lr::Time> extremes{(lr::Time::min)(), t, lr::never};
    enumerate_quorums<lr::Time>(tally, extremes, t + 9ms);
    CHECK(tally.cases == 3 * (1 + 4 + 16 + 64 + 256 + 1024) + (1 + 3 + 9 + 27 + 81 + 243));
    // Votes: std::vector<bool> is no container of bool, so by bits.
    for (std::uint64_t voters = 0; voters <= 5; ++voters) {
        for (std::uint64_t bits = 0; bits < (1U << voters); ++bits) {
            std::vector<Voter<bool>> all;
            std::uint64_t granted = 0;
            for (std::uint64_t i = 0; i < voters; ++i) {
                all.push_back({(bits >> i) % 2 == 1});
                granted += all.back().reached ? 1 : 0;
            }
            bool won = lr::quorum(all, &Voter<bool>::reached, true);
            tally.expect(won == (voters == 0 || 2 * granted > voters), {}, {voters, bits});
        }
    }
    tally.report("sets of voters");
}

// ----- Log ---------------------------------------------------------------------------------------

TEST_CASE("what a log of up to five entries holds, compacted anywhere") {
    Tally tally;
    for (const Terms& terms : all_logs(5, 3)) {
        for (std::uint64_t base = 0; base <= terms.size(); ++base) {
            Log log = log_of(terms, base);
            tally.expect(is(log, terms, base), {terms}, {base});
            for (std::uint64_t index = 0; index <= 7; ++index) {
                for (std::uint64_t term = 0; term <= 4; ++term) {
                    bool there = index >= base && term_at(terms, index) == term;
                    tally.expect(log.holds(position(index, term)) == there, {terms},
                                 {base, index, term});
                    // The last position that is not after this one, by index and by term; where the
                    // log does not reach back so far, its base.
                    std::uint64_t best = base;
                    for (std::uint64_t i = base; i <= terms.size(); ++i) {
                        if (i <= index && *term_at(terms, i) <= term) best = i;
                    }
                    tally.expect(log.last_not_after(position(index, term)) ==
                                     position(best, *term_at(terms, best)),
                                 {terms}, {base, index, term});
                }
            }
        }
    }
    tally.report("questions to logs");
}

TEST_CASE("a log is cut and compacted anywhere, by what it holds and by what it does not") {
    Tally tally;
    std::uint64_t kept = 0;
    std::uint64_t emptied = 0;
    for (const Terms& terms : all_logs(5, 3)) {
        for (std::uint64_t base = 0; base <= terms.size(); ++base) {
            for (std::uint64_t index = base + 1; index <= terms.size(); ++index) {
                Log log = log_of(terms, base);
                log.truncate_from(Index{index});
                Terms rest(terms.begin(), terms.begin() + static_cast<std::ptrdiff_t>(index - 1));
                tally.expect(is(log, rest, base), {terms}, {base, index});
            }
            for (std::uint64_t index = base; index <= 7; ++index) {
                for (std::uint64_t term = 0; term <= 4; ++term) {
                    Log log = log_of(terms, base);
                    log.compact(position(index, term));
                    bool held = term_at(terms, index) == term;
                    if (held) {
                        tally.expect(is(log, terms, index), {terms}, {base, index, term});
                        ++kept;
                    } else {
                        bool empty = log.base == position(index, term) && log.last == log.base &&
                                     log.base.index + 1 == Index{index + 1};
                        tally.expect(empty, {terms}, {base, index, term});
                        ++emptied;
                    }
                }
            }
        }
    }
    CHECK(kept > 100);
    CHECK(emptied > 100);
    tally.report("logs cut and compacted");
}

// ----- Where two logs meet -----------------------------------------------------------------------

namespace {

/// Two logs as Raft can make them: equal positions mean equal histories [Raft 5.3].
bool match(const Terms& a, const Terms& b) {
    bool equal = true;
    for (std::uint64_t i = 1; i <= std::min(a.size(), b.size()); ++i) {
        bool same = term_at(a, i) == term_at(b, i);
        if (same && !equal) return false;
        equal = same;
    }
    return true;
}

std::uint64_t meeting_point(const Terms& a, const Terms& b) {
    std::uint64_t i = 0;
    while (i < std::min(a.size(), b.size()) && term_at(a, i + 1) == term_at(b, i + 1)) ++i;
    return i;
}

}  // namespace

TEST_CASE("leader and follower find where their logs meet, whatever is compacted") {
    Tally tally;
    std::uint64_t snapshots = 0;
    std::uint64_t most_rounds = 0;
    const std::vector<Terms> logs = all_logs(5, 3);
    for (const Terms& leader_terms : logs) {
        for (const Terms& follower_terms : logs) {
            if (!match(leader_terms, follower_terms)) continue;
            std::uint64_t meet = meeting_point(leader_terms, follower_terms);
            // Each may have compacted what is committed, which both hold.
            for (std::uint64_t follower_base = 0; follower_base <= meet; ++follower_base) {
                for (std::uint64_t leader_base = 0; leader_base <= leader_terms.size();
                     ++leader_base) {
                    Log leader = log_of(leader_terms, leader_base);
                    Log follower = log_of(follower_terms, follower_base);
                    // As Replica and Progress do it: probe, refusal, hint, next probe. A follower
                    // answers a probe of what it has compacted with its commit index.
                    lr::Progress peer{.id = {2}, .next_index = leader.last.index + 1};
                    std::uint64_t rounds = 0;
                    bool lacks = false;
                    while (peer.state == lr::Progress::probe && rounds < 20) {
                        lacks = peer.next_index < leader.base.index + 1;
                        if (lacks) break;
                        Index prev = peer.next_index - 1;
                        LogPosition probe{leader[prev].term, prev};
                        ++rounds;
                        if (prev < follower.base.index) {
                            peer.on_success(follower.base.index, leader.base.index + 1);
                        } else if (follower.holds(probe)) {
                            peer.on_success(prev, leader.base.index + 1);
                        } else {
                            LogPosition hint = follower.last_not_after(probe);
                            peer.on_reject({false, prev, hint}, leader);
                        }
                    }
                    most_rounds = std::max(most_rounds, rounds);
                    // A snapshot goes to whoever misses what is compacted, and to nobody else.
                    bool right = lacks ? meet < leader_base
                                       : peer.state == lr::Progress::replicate &&
                                             peer.match_index == Index{meet};
                    tally.expect(right, {leader_terms, follower_terms},
                                 {leader_base, follower_base});
                    snapshots += lacks ? 1 : 0;
                }
            }
        }
    }
    CHECK(snapshots > 1000);
    // Each round skips a whole term; of three terms there are no more.
    CHECK(most_rounds <= 4);
    MESSAGE("at most " << most_rounds << " probes");
    tally.report("dialogues");
}

// ----- What a follower makes of a message --------------------------------------------------------

namespace {

/// Entries are told apart by their id, which is made of index and term: so equal positions are
/// equal entries, as in a cluster.
std::vector<Entry> entries_at(std::uint64_t first, const Terms& terms) {
    std::vector<Entry> entries;
    for (std::uint64_t term : terms) {
        std::uint64_t id = 100 * term + first++;
        entries.push_back({Term{term}, Command{id, id}});
    }
    return entries;
}

constexpr std::uint64_t present = 5;  // The term of the cluster, above those of all entries.

/// A follower that restarted with this log and snapshot.
struct Follower : Node {
    Follower(const Terms& terms, std::uint64_t base) {
        LogPosition at = position(base, *term_at(terms, base));
        Terms rest(terms.begin() + static_cast<std::ptrdiff_t>(base), terms.end());
        disk.written = {Term{present}, {}, at, entries_at(base + 1, rest)};
        disk.durable = disk.written;
        if (base > 0) machine.saved = {at, "snapshot"};
        boot();
    }
};

/// The rule of Figure 2, on lists: what the log becomes, or nothing if the message is refused.
/// What the snapshot covers counts as equal, since it is committed.
std::optional<Terms> spliced(Terms log, std::uint64_t base, std::uint64_t prev,
                             std::uint64_t prev_term, const Terms& entries) {
    if (prev < base) return log;
    if (term_at(log, prev) != prev_term) return std::nullopt;
    for (std::uint64_t i = 0; i < entries.size(); ++i) {
        auto there = term_at(log, prev + i + 1);
        if (there == entries[static_cast<std::size_t>(i)]) continue;
        log.resize(static_cast<std::size_t>(prev + i));
        log.insert(log.end(), entries.begin() + static_cast<std::ptrdiff_t>(i), entries.end());
        return log;
    }
    return log;
}

/// Whether a leader could have sent this to a follower with that log: equal positions are of equal
/// histories.
bool could_be_sent(const Terms& log, std::uint64_t prev, std::uint64_t prev_term,
                   const Terms& entries) {
    bool equal = prev > log.size() || term_at(log, prev) == prev_term;
    for (std::uint64_t i = 0; i < entries.size() && prev + i + 1 <= log.size(); ++i) {
        bool same = term_at(log, prev + i + 1) == entries[static_cast<std::size_t>(i)];
        if (same && !equal) return false;
        equal = same;
    }
    return true;
}

}  // namespace

TEST_CASE("a follower's log after any AppendEntries is that of Figure 2, in memory and on disk") {
    Tally tally;
    std::uint64_t refused = 0;
    std::uint64_t cut = 0;
    for (const Terms& log : all_logs(5, 3)) {
        for (std::uint64_t base = 0; base <= log.size(); ++base) {
            for (std::uint64_t prev = 0; prev <= 6; ++prev) {
                for (std::uint64_t prev_term = prev > 0 ? 1 : 0; prev_term <= (prev > 0 ? 3U : 0U);
                     ++prev_term) {
                    for (const Terms& entries :
                         all_logs(5, 3, std::max<std::uint64_t>(1, prev_term))) {
                        if (!could_be_sent(log, prev, prev_term, entries)) continue;
                        auto expected = spliced(log, base, prev, prev_term, entries);
                        // What a snapshot covers is committed, so no leader lacks it.
                        if (prev == base && prev > 0 && !expected) continue;
                        Follower follower(log, base);
                        follower.poll(
                            {follower.from(2, present,
                                           AppendEntries{{Term{prev_term}, Index{prev}},
                                                         Index{0},
                                                         entries_at(prev + 1, entries)})});
                        auto answers = follower.sent_of<lr::AppendEntriesResponse>();
                        bool right = answers.size() == 1 && !follower.status().fault;
                        if (!right) {
                            tally.expect(false, {log, entries}, {base, prev, prev_term});
                            continue;
                        }
                        const Terms& result = expected ? *expected : log;
                        std::uint64_t matched = prev < base ? base : prev + entries.size();
                        Terms rest(result.begin() + static_cast<std::ptrdiff_t>(base),
                                   result.end());
                        right = answers[0].success == expected.has_value() &&
                                answers[0].match_index == Index{expected ? matched : prev} &&
                                follower.status().last_log_index == Index{result.size()} &&
                                terms_of(follower.disk.durable.entries) == rest;
                        // Equal terms are equal entries: the ids say so.
                        for (std::size_t i = 0; right && i < rest.size(); ++i) {
                            std::uint64_t id = 100 * rest[i] + base + i + 1;
                            right =
                                std::get<Command>(follower.disk.durable.entries[i].command).id ==
                                id;
                        }
                        // A refusal tells a position that the follower has, not after the probe.
                        if (!expected) {
                            LogPosition hint = answers[0].hint;
                            right = right && hint.index <= Index{prev} &&
                                    term_at(log, hint.index.value) == hint.term.value;
                        }
                        tally.expect(right, {log, entries}, {base, prev, prev_term});
                        refused += expected ? 0 : 1;
                        cut += result.size() < log.size() ||
                                       !std::equal(log.begin(), log.end(), result.begin())
                                   ? 1
                                   : 0;
                    }
                }
            }
        }
    }
    CHECK(refused > 1000);
    CHECK(cut > 1000);
    tally.report("messages to followers");
}

TEST_CASE("a follower's log after any snapshot is what the snapshot does not contradict") {
    Tally tally;
    std::uint64_t kept = 0;
    std::uint64_t replaced = 0;
    std::uint64_t stale = 0;
    for (const Terms& log : all_logs(5, 3)) {
        for (std::uint64_t base = 0; base <= log.size(); ++base) {
            for (std::uint64_t at = 1; at <= 7; ++at) {
                for (std::uint64_t term = 1; term <= 4; ++term) {
                    // What both hold below the base is committed, so it does not differ.
                    bool below = at <= base;
                    if (below && term_at(log, at) != term) continue;
                    Follower follower(log, base);
                    follower.poll({follower.from(
                        2, present,
                        InstallSnapshot{position(at, term), 0, std::string(8, 'x'), true})});
                    auto answers = follower.sent_of<lr::AppendEntriesResponse>();
                    bool held = term_at(log, at) == term;
                    std::uint64_t left_base = below || held ? base : at;
                    Terms rest;
                    if (below || held)
                        rest.assign(log.begin() + static_cast<std::ptrdiff_t>(base), log.end());
                    bool installed = !below && !held;
                    bool right =
                        answers.size() == 1 && answers[0].success &&
                        answers[0].match_index == Index{std::max(base, at)} &&
                        !follower.status().fault &&
                        follower.status().commit_index == Index{std::max(base, at)} &&
                        follower.status().first_log_index == Index{left_base + 1} &&
                        follower.status().last_log_index == Index{left_base + rest.size()} &&
                        terms_of(follower.disk.durable.entries) == rest &&
                        (follower.machine.saved &&
                         follower.machine.saved->last_included == position(at, term)) ==
                            (installed || (base > 0 && at == base));
                    tally.expect(right, {log}, {base, at, term});
                    kept += held && !below ? 1 : 0;
                    replaced += installed ? 1 : 0;
                    stale += below ? 1 : 0;
                }
            }
        }
    }
    CHECK(kept > 100);
    CHECK(replaced > 100);
    CHECK(stale > 100);
    tally.report("snapshots to followers");
}

// ----- Which log may lead ------------------------------------------------------------------------

TEST_CASE("a vote goes to whoever has the later term at the end, or the longer log of it") {
    Tally tally;
    for (const Terms& log : all_logs(5, 3)) {
        for (std::uint64_t base = 0; base <= log.size(); ++base) {
            for (std::uint64_t index = 0; index <= 7; ++index) {
                for (std::uint64_t term = 0; term <= 4; ++term) {
                    if ((index == 0) != (term == 0)) continue;
                    for (bool pre_vote : {false, true}) {
                        Follower follower(log, base);
                        follower.poll(
                            {follower.from(2, present + 1,
                                           lr::RequestVote{pre_vote, {Term{term}, Index{index}}})});
                        auto answers = follower.sent_of<lr::RequestVoteResponse>();
                        std::uint64_t last = *term_at(log, log.size());
                        bool granted = term > last || (term == last && index >= log.size());
                        bool voted = granted && !pre_vote;
                        tally.expect(answers.size() == 1 && answers[0].vote_granted == granted &&
                                         answers[0].pre_vote == pre_vote &&
                                         follower.disk.durable.voted_for ==
                                             (voted ? std::optional(ReplicaId{2}) : std::nullopt),
                                     {log}, {base, index, term, pre_vote ? 1U : 0U});
                    }
                }
            }
        }
    }
    tally.report("requests for votes");
}
