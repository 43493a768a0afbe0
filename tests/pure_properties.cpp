// The pure parts against naive models, under generated inputs. Each property counts what it has
// seen, so that one that holds because nothing happened fails.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::LogPosition;
using lr::Progress;
using Log = lr::Log<lr::Entry<Command>, 3>;  // In small chunks, so that they matter.
using State = lr::Progress::State;

/// Runs a property, and reports its smallest counterexample through doctest. RC_PARAMS="seed=N"
/// repeats a run.
template <class Property>
void holds(Property&& property) {
    rc::detail::TestParams params = rc::detail::configuration().testParams;
    params.maxSuccess *= 10;
    const auto result = rc::detail::checkTestable(std::forward<Property>(property),
                                                  rc::detail::TestMetadata{}, params);
    std::ostringstream text;
    rc::detail::printResultMessage(result, text);
    INFO("RC_PARAMS=\"seed=" << params.seed << "\"\n" << text.str());
    CHECK(result.template is<rc::detail::SuccessResult>());
}

/// A number below `end`, all equally likely at any time in a run; rapidcheck's own begin small.
rc::Gen<std::uint64_t> below(std::uint64_t end) {
    return rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::uint64_t>(0, end));
}

/// One step of a schedule. Its numbers are taken modulo what there is when it runs, so that every
/// part of a schedule is a schedule too and can be shrunk to.
struct Op {
    std::uint64_t kind, a, b;
};

std::ostream& operator<<(std::ostream& out, const Op& op) {
    return out << op.kind << ":" << op.a << "," << op.b;
}

/// Between `least` and `most` steps.
rc::Gen<std::vector<Op>> schedules(std::size_t least, std::size_t most) {
    auto number = below(1'000'000);
    auto op = rc::gen::construct<Op>(number, number, number);
    return rc::gen::mapcat(below(most + 1 - least), [=](std::uint64_t count) {
        return rc::gen::container<std::vector<Op>>(least + count, op);
    });
}

// ----- Log ---------------------------------------------------------------------------------------

struct Sized {
    std::uint64_t id = 0, size = 0;
    std::uint64_t get_id() const { return id; }
    std::uint64_t get_size() const { return size; }
};
using SizedLog = lr::Log<lr::Entry<Sized>, 3>;

/// All that ever was in the log, by index: simple, wasteful and obvious.
struct NaiveLog {
    struct Item {
        std::uint64_t term, id, size;
    };
    LogPosition base;
    std::vector<Item> items;

    std::uint64_t last() const { return base.index.value + items.size(); }
    std::optional<std::uint64_t> term(std::uint64_t index) const {
        if (index == base.index.value) return base.term.value;
        if (index < base.index.value || index > last()) return std::nullopt;
        return items[index - base.index.value - 1].term;
    }
    LogPosition last_not_after(std::uint64_t index, std::uint64_t limit) const {
        for (std::uint64_t i = last(); i > base.index.value; --i) {
            if (i <= index && *term(i) <= limit) return {Term{*term(i)}, Index{i}};
        }
        return base;
    }
    std::pair<std::vector<Item>, std::uint64_t> slice(std::uint64_t first,
                                                      std::uint64_t max) const {
        std::vector<Item> taken;
        std::uint64_t bytes = 0;
        for (std::uint64_t i = first; i <= last(); ++i) {
            const Item& item = items[i - base.index.value - 1];
            std::uint64_t more = sizeof(lr::Entry<Sized>) + item.size;
            if (!taken.empty() && bytes + more > max) break;
            taken.push_back(item);
            bytes += more;
        }
        return {taken, bytes};
    }
};

void compare(const SizedLog& log, const NaiveLog& naive) {
    RC_ASSERT(log.base == naive.base);
    RC_ASSERT(log.base.index + 1 == naive.base.index + 1);
    RC_ASSERT(log.last.index == Index{naive.last()});
    RC_ASSERT(log.last.term == Term{*naive.term(naive.last())});
    for (std::uint64_t i = 0; i <= naive.last() + 2; ++i) {
        auto term = naive.term(i);
        if (term) RC_ASSERT(log[Index{i}].term == Term{*term});
        for (std::uint64_t t = 0; t < 4; ++t) {
            std::uint64_t near = naive.base.term.value + t;
            RC_ASSERT(log.holds({Term{near}, Index{i}}) == (term == near));
            RC_ASSERT(log.last_not_after({Term{near}, Index{i}}) == naive.last_not_after(i, near));
        }
    }
}

void compare_slice(const SizedLog& log, const NaiveLog& naive, std::uint64_t first,
                   std::uint64_t max) {
    auto [entries, bytes] = log.slice(Index{first}, max);
    auto [items, naive_bytes] = naive.slice(first, max);
    RC_ASSERT(bytes == naive_bytes);
    RC_ASSERT(entries.size() == items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        RC_ASSERT(entries[i].term == Term{items[i].term});
        RC_ASSERT(std::get<Sized>(entries[i].command).id == items[i].id);
    }
}

}  // namespace

TEST_CASE("a log is what a list of all entries would be") {
    struct {
        std::uint64_t truncated = 0, compacted = 0, replaced = 0, cut_slices = 0;
    } seen;
    holds([&seen] {
        SizedLog log;
        NaiveLog naive;
        std::uint64_t next_id = 1;
        for (const Op& op : *schedules(0, 40)) {
            std::uint64_t first = naive.base.index.value + 1;
            std::uint64_t count = naive.items.size();
            if (op.kind % 8 == 0 && count > 0) {
                std::uint64_t kept = op.a % count;
                log.truncate_from(Index{first + kept});
                naive.items.resize(kept);
                ++seen.truncated;
            } else if (op.kind % 8 == 1) {
                std::uint64_t index = naive.base.index.value + op.a % (count + 1);
                std::uint64_t term = *naive.term(index);
                log.compact({Term{term}, Index{index}});
                auto gone = static_cast<std::ptrdiff_t>(index - naive.base.index.value);
                naive.items.erase(naive.items.begin(), naive.items.begin() + gone);
                naive.base = {Term{term}, Index{index}};
                seen.compacted += gone > 0 && !naive.items.empty() ? 1 : 0;
            } else if (op.kind % 32 == 2) {
                // A snapshot that the log does not hold: past it, or of another term.
                std::uint64_t index = first + op.a % (count + 3);
                LogPosition to{Term{naive.term(index).value_or(0) + 1 + op.b % 2}, Index{index}};
                log.compact(to);
                naive = {to, {}};
                ++seen.replaced;
            } else {
                std::uint64_t term = *naive.term(naive.last()) + (op.a % 4 == 0 ? op.b % 3 : 0);
                std::uint64_t size = op.b % 50;
                log.append({Term{term}, Sized{next_id, size}});
                naive.items.push_back({term, next_id, size});
                ++next_id;
            }
            compare(log, naive);
            first = naive.base.index.value + 1;
            std::uint64_t from = first + op.b % (naive.items.size() + 1);
            std::uint64_t max = op.a % (8 * sizeof(lr::Entry<Sized>));
            compare_slice(log, naive, from, max);
            compare_slice(log, naive, from, ~std::uint64_t{0});
            seen.cut_slices += naive.slice(from, max).first.size() < naive.last() + 1 - from;
        }
    });
    CHECK(seen.truncated > 50);
    CHECK(seen.compacted > 50);
    CHECK(seen.replaced > 10);
    CHECK(seen.cut_slices > 50);
}

TEST_CASE("two logs find where they meet in one round a term that only one of them has") {
    struct {
        std::uint64_t rounds = 0, most = 0, skipped = 0;
    } seen;
    holds([&seen] {
        // A common beginning, then entries of terms that never fall; the leader's end is newer.
        auto terms = rc::gen::container<std::vector<std::uint64_t>>(below(12));
        auto grow = [](Log& log, const std::vector<std::uint64_t>& steps) {
            for (std::uint64_t step : steps) {
                std::uint64_t more = step < 8 ? 0 : 2 * (step - 7);
                log.append({Term{log.last.term.value + more}, lr::Noop{}});
            }
        };
        Log leader;
        leader.append({Term{1}, lr::Noop{}});
        grow(leader, *terms);
        Log follower = leader;
        std::uint64_t common = leader.last.index.value;
        // Behind it one has odd terms and the other even ones: no term has two leaders.
        std::uint64_t fork = leader.last.term.value;
        follower.append({Term{fork + 1}, lr::Noop{}});
        grow(follower, *terms);
        leader.append({Term{fork + 2}, lr::Noop{}});
        grow(leader, *terms);

        Index asked = leader.last.index;
        std::uint64_t rounds = 0;
        while (!follower.holds({leader[asked].term, asked})) {
            LogPosition hint = follower.last_not_after({leader[asked].term, asked});
            Index known = leader.last_not_after(hint).index;
            RC_ASSERT(known < asked);  // Progress in every round.
            seen.skipped += asked - known > 1 ? 1 : 0;
            asked = known;
            ++rounds;
        }
        RC_ASSERT(asked.value <= common);
        std::uint64_t terms_apart = 0;
        for (const Log* log : {&leader, &follower}) {
            for (Index i{common + 1}; i <= log->last.index; ++i) {
                terms_apart += (*log)[i].term != (*log)[i - 1].term ? 1 : 0;
            }
        }
        RC_ASSERT(rounds <= terms_apart + 1);
        seen.rounds += rounds;
        seen.most = std::max(seen.most, rounds);
    });
    CHECK(seen.rounds > 100);
    CHECK(seen.most > 1);
    CHECK(seen.skipped > 30);
}

// ----- Quorum ------------------------------------------------------------------------------------

namespace {

struct Voter {
    std::uint64_t reached;
    bool votes = true;
    bool votes_outgoing = false;
};

std::uint64_t quorum_of(const std::vector<std::uint64_t>& values, std::uint64_t unlimited) {
    std::vector<Voter> voters;
    for (std::uint64_t value : values) voters.push_back({value});
    return lr::quorum(voters, &Voter::reached, unlimited);
}

rc::Gen<std::vector<std::uint64_t>> voters() {
    // Few values, so that many are equal; and some that are far apart.
    auto value = rc::gen::oneOf(below(4), rc::gen::arbitrary<std::uint64_t>());
    return rc::gen::mapcat(below(10), [=](std::uint64_t count) {
        return rc::gen::container<std::vector<std::uint64_t>>(count, value);
    });
}

}  // namespace

TEST_CASE("a quorum is what sorting finds, in any order of the voters") {
    std::vector<std::uint64_t> sizes(10);
    holds([&sizes] {
        std::vector<std::uint64_t> values = *voters();
        ++sizes[values.size()];
        std::uint64_t unlimited = *rc::gen::arbitrary<std::uint64_t>();
        std::uint64_t found = quorum_of(values, unlimited);
        std::vector<std::uint64_t> sorted = values;
        std::sort(sorted.begin(), sorted.end(), std::greater<>());
        std::uint64_t reached = sorted.empty() ? unlimited : sorted[sorted.size() / 2];
        RC_ASSERT(found == std::min(reached, unlimited));
        RC_ASSERT(found == quorum_of(sorted, unlimited));
        std::reverse(sorted.begin(), sorted.end());
        RC_ASSERT(found == quorum_of(sorted, unlimited));
    });
    for (std::uint64_t count : sizes) CHECK(count > 0);
}

TEST_CASE("two quorums share a voter, and a voter that moves on never lowers one") {
    std::uint64_t raised = 0;
    std::uint64_t moved = 0;
    holds([&raised, &moved] {
        std::vector<std::uint64_t> values = *voters();
        if (values.empty()) return;
        std::uint64_t found = quorum_of(values, ~0ULL);
        auto reached = std::count_if(values.begin(), values.end(),
                                     [&](std::uint64_t value) { return value >= found; });
        auto beyond = std::count_if(values.begin(), values.end(),
                                    [&](std::uint64_t value) { return value > found; });
        RC_ASSERT(2 * static_cast<std::size_t>(reached) > values.size());
        RC_ASSERT(2 * static_cast<std::size_t>(beyond) <= values.size());
        std::size_t one = *rc::gen::inRange<std::size_t>(0, values.size());
        values[one] = std::max(values[one], *rc::gen::arbitrary<std::uint64_t>());
        std::uint64_t after = quorum_of(values, ~0ULL);
        RC_ASSERT(after >= found);
        ++moved;
        raised += after > found ? 1 : 0;
    });
    CHECK(moved > 50);
    CHECK(raised > 5);
}

// ----- Progress ----------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t messages_max = 4;
constexpr std::uint64_t bytes_max = 300;

/// A leader's view of one follower, with the follower's true state beside it, driven as Replica
/// drives it. Lengths stand for logs: the follower's is the leader's up to `has`.
struct Stream {
    Progress peer{.id = ReplicaId{2}, .next_index = Index{1}};
    std::uint64_t last = 0;      // The leader's log ends here
    std::uint64_t first = 1;     // and begins here;
    std::uint64_t snapshot = 0;  // its snapshot is of this.
    std::uint64_t has = 0;       // What the follower has; it never loses it.
    struct Sent {
        std::uint64_t prev, last;
        bool is_snapshot;
    };
    std::deque<Sent> there;  // On the way to the follower.
    struct Answer {
        bool success;
        std::uint64_t match, hint;
    };
    std::vector<Answer> back;  // On the way to the leader, or past: any may come (again).

    struct {
        std::uint64_t sent = 0, full = 0, successes = 0, refusals = 0, transfers = 0;
    } seen;

    void check() const {
        RC_ASSERT(peer.match_index < peer.next_index);
        RC_ASSERT(peer.match_index <= Index{has});
        RC_ASSERT(peer.next_index <= Index{last + 1});
        std::uint64_t bytes = 0;
        Index before = peer.match_index;
        for (const auto& message : peer.inflight) {
            RC_ASSERT(before < message.last_index);
            before = message.last_index;
            bytes += message.bytes;
        }
        RC_ASSERT(before < peer.next_index);
        RC_ASSERT(peer.inflight_bytes == bytes);
        RC_ASSERT(peer.inflight.size() <= messages_max);
        RC_ASSERT(bytes < bytes_max + 1000);  // All but the last message were below the limit.
        if (peer.state != State::replicate) RC_ASSERT(peer.inflight.empty());
        if (peer.state == State::replicate) RC_ASSERT(!peer.waiting);
    }

    /// As Replica::replicate_to, for one message. `size` is how many entries it may take.
    bool send_one(std::uint64_t size) {
        std::uint64_t next = peer.next_index.value;
        if (peer.waiting) return false;
        if (peer.state == State::snapshot || next < first) {
            if (peer.state != State::snapshot) {
                peer.become(State::snapshot, Index{snapshot + 1});
                ++seen.transfers;
            }
            peer.waiting = true;
            peer.overdue = false;
            there.push_back({0, peer.next_index.value - 1, true});
            return true;
        }
        if (peer.inflight.size() >= messages_max || peer.inflight_bytes >= bytes_max) {
            ++seen.full;
            return false;
        }
        if (peer.state != State::probe && next > last) return false;
        std::uint64_t end = std::min(last, next - 1 + size);
        there.push_back({next - 1, end, false});
        peer.on_sent(Index{end}, (end + 1 - next) * 50);
        ++seen.sent;
        return true;
    }

    void heartbeat() {
        peer.overdue = peer.waiting;
        if (peer.waiting && peer.state == State::probe) {
            peer.next_index = std::max(peer.next_index, Index{first});
        }
        std::uint64_t prev = std::max(peer.next_index.value, first) - 1;
        there.push_back({prev, prev, false});
    }

    /// The follower takes the oldest message, and tells the truth.
    void arrive() {
        if (there.empty()) return;
        Sent message = there.front();
        there.pop_front();
        if (message.is_snapshot || message.prev <= has) {
            has = std::max(has, message.last);
            back.push_back({true, message.last, 0});
        } else {
            back.push_back({false, message.prev, has});
        }
    }

    /// The leader takes an answer, which may be as old as can be.
    void answer(const Answer& what) {
        Index match = peer.match_index;
        if (what.success) {
            peer.on_success(Index{what.match}, Index{first});
            ++seen.successes;
        } else {
            peer.on_reject({false, Index{what.match}, {{}, Index{what.hint}}}, Shares{what.hint});
            ++seen.refusals;
        }
        RC_ASSERT(peer.match_index >= match);
    }

    void step(const Op& op) {
        switch (op.kind % 10) {
            case 0:
                last += op.a % 4;
                break;
            case 1:  // The log is compacted, below what the leader itself has.
                if (op.a % 4 == 0) {
                    snapshot += op.b % (last - snapshot + 1);
                    first = std::max(first, snapshot - std::min(snapshot, op.b % 3) + 1);
                }
                break;
            case 2:
            case 3:
                send_one(1 + op.a % 6);
                break;
            case 4:
                while (send_one(1 + op.a % 6)) {
                }
                break;
            case 5:
                if (op.a % 3 == 0) heartbeat();
                break;
            case 6:
                if (!there.empty() && op.a % 2 == 0) there.pop_front();  // Lost.
                arrive();
                break;
            case 7:
                if (there.size() > 1) std::swap(there.front(), there[op.a % there.size()]);
                arrive();
                break;
            case 8:
                if (!back.empty()) answer(back.back());
                break;
            default:
                if (!back.empty()) answer(back[op.a % back.size()]);
        }
    }

    /// Rounds without faults, with a heartbeat each, until the follower is known to have all.
    std::uint64_t rounds_until_level() {
        there.clear();
        for (std::uint64_t round = 0; round < 2 * last + 10; ++round) {
            if (peer.match_index == Index{last}) return round;
            heartbeat();
            while (send_one(3)) {
            }
            std::size_t old = back.size();
            while (!there.empty()) arrive();
            for (std::size_t i = old; i < back.size(); ++i) answer(back[i]);
            check();
        }
        RC_FAIL("it is stuck");
        return 0;
    }
};

}  // namespace

TEST_CASE("Progress keeps its books, and is never stuck, whatever was lost, repeated or late") {
    decltype(Stream::seen) seen;
    std::uint64_t longest = 0;
    holds([&] {
        Stream stream;
        for (const Op& op : *schedules(0, 120)) {
            stream.step(op);
            stream.check();
        }
        longest = std::max(longest, stream.rounds_until_level());
        seen.sent += stream.seen.sent;
        seen.full += stream.seen.full;
        seen.successes += stream.seen.successes;
        seen.refusals += stream.seen.refusals;
        seen.transfers += stream.seen.transfers;
    });
    CHECK(seen.sent > 500);
    CHECK(seen.full > 20);
    CHECK(seen.successes > 200);
    CHECK(seen.refusals > 50);
    CHECK(seen.transfers > 20);
    CHECK(longest > 1);
}

TEST_CASE("Progress keeps its books under answers that no follower would give") {
    std::uint64_t refusals = 0;
    std::uint64_t moved = 0;
    holds([&] {
        Stream stream;
        stream.last = 30;
        for (const Op& op : *schedules(10, 80)) {
            Index next = stream.peer.next_index;
            // What Replica lets through: a success within its log, a hint that is in its log.
            if (op.kind % 3 == 0) {
                stream.has = 30;  // It is believed.
                stream.peer.on_success(Index{op.a % 31}, Index{stream.first});
            } else if (op.kind % 3 == 1) {
                std::uint64_t rejected = op.a % 5 == 0 ? ~std::uint64_t{0} - op.b % 3 : op.a % 40;
                Index hint{op.b % 31};
                stream.peer.on_reject({false, Index{rejected}, {{}, hint}}, Shares{hint});
                ++refusals;
            } else {
                stream.send_one(1 + op.a % 6);
            }
            moved += next != stream.peer.next_index ? 1 : 0;
            stream.check();
        }
        stream.rounds_until_level();
    });
    CHECK(refusals > 500);
    CHECK(moved > 200);
}
