// The checker of histories: against histories whose verdict is known, against one that tries all
// orders of small histories, and by how much work it does.
#include "testing/linearizability.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "sanitized.hpp"
#include "testing/random.hpp"

namespace {

using namespace little_raft::testing;

// ----- Models ------------------------------------------------------------------------------------

/// A register that holds 0 at first. What a write answers is its value.
struct Register {
    struct Input {
        bool is_write;
        int value = 0;
    };
    using Output = int;
    using State = int;
    static Output apply(State& state, const Input& input) {
        if (input.is_write) state = input.value;
        return state;
    }
    static bool only_reads(const Input& input) { return !input.is_write; }
    static std::string show(const Input& input) {
        return input.is_write ? "write " + std::to_string(input.value) : "read";
    }
    static std::string show(const int& value) { return std::to_string(value); }
};

/// The same without the hint that reads only read.
struct PlainRegister {
    using Input = Register::Input;
    using Output = int;
    using State = int;
    static Output apply(State& state, const Input& input) { return Register::apply(state, input); }
};

/// A queue. To take from an empty one answers 0.
struct Queue {
    struct Input {
        int put;  // 0: take.
    };
    using Output = int;
    using State = std::deque<int>;
    static Output apply(State& state, const Input& input) {
        if (input.put != 0) return state.push_back(input.put), input.put;
        if (state.empty()) return 0;
        int taken = state.front();
        state.pop_front();
        return taken;
    }
};

/// Adds one and answers what was there before.
struct Counter {
    struct Input {};
    using Output = int;
    /// Told apart by its digest alone.
    struct State {
        int value = 10;
    };
    static State initial() { return {0}; }
    static Output apply(State& state, const Input&) { return state.value++; }
    static std::uint64_t digest(const State& state) {
        return static_cast<std::uint64_t>(state.value);
    }
};

/// What a key-value server does; absent is the empty string.
struct KeyValue {
    enum Kind { get, set, del };
    struct Input {
        Kind kind;
        std::string key, value = {};
    };
    using Output = std::string;
    using State = std::string;
    static Output apply(State& state, const Input& input) {
        if (input.kind == get) return state;
        state = input.kind == set ? input.value : "";
        return "ok";
    }
    static const std::string& key_of(const Input& input) { return input.key; }
    static bool only_reads(const Input& input) { return input.kind == get; }
    static std::string show(const Input& input) {
        return input.kind == get   ? "get " + input.key
               : input.kind == set ? "set " + input.key + " " + input.value
                                   : "del " + input.key;
    }
    static std::string show(const std::string& text) { return "\"" + text + "\""; }
};

using Registers = std::vector<Operation<Register>>;
using Queues = std::vector<Operation<Queue>>;

Operation<Register> write(std::uint64_t client, int value, std::uint64_t from,
                          std::optional<std::uint64_t> to) {
    return {client, {true, value}, to ? std::optional(value) : std::nullopt, from, to};
}
Operation<Register> read(std::uint64_t client, int value, std::uint64_t from, std::uint64_t to) {
    return {client, {false}, value, from, to};
}
Operation<Queue> put(std::uint64_t client, int value, std::uint64_t from,
                     std::optional<std::uint64_t> to) {
    return {client, {value}, to ? std::optional(value) : std::nullopt, from, to};
}
Operation<Queue> take(std::uint64_t client, std::optional<int> value, std::uint64_t from,
                      std::optional<std::uint64_t> to) {
    return {client, {0}, value, from, to};
}

// ----- All orders --------------------------------------------------------------------------------

/// Tries every order of every choice of what took effect. `heard` says whose answers count.
template <class Model>
bool some_order_explains(const std::vector<Operation<Model>>& history,
                         const std::vector<bool>& heard, std::vector<bool>& placed,
                         typename Model::State state) {
    bool all = true;
    for (std::size_t i = 0; i < history.size(); ++i) all = all && (placed[i] || !heard[i]);
    if (all) return true;
    for (std::size_t i = 0; i < history.size(); ++i) {
        if (placed[i]) continue;
        bool allowed = true;
        for (std::size_t j = 0; j < history.size(); ++j) {
            bool before = heard[j] && *history[j].answered < history[i].invoked;
            allowed = allowed && (placed[j] || !before);
        }
        if (!allowed) continue;
        typename Model::State next = state;
        typename Model::Output output = Model::apply(next, history[i].input);
        if (heard[i] && history[i].output && output != *history[i].output) continue;
        placed[i] = true;
        bool explained = some_order_explains<Model>(history, heard, placed, next);
        placed[i] = false;
        if (explained) return true;
    }
    return false;
}

/// How many answers, in their order, can be explained; all: the history is linearizable.
template <class Model>
std::size_t explainable(const std::vector<Operation<Model>>& history,
                        std::vector<std::size_t>& by_answer) {
    by_answer.clear();
    for (std::size_t i = 0; i < history.size(); ++i) {
        if (history[i].answered) by_answer.push_back(i);
    }
    std::stable_sort(by_answer.begin(), by_answer.end(), [&](std::size_t a, std::size_t b) {
        return *history[a].answered < *history[b].answered;
    });
    std::vector<bool> heard(history.size());
    for (std::size_t count = 0; count < by_answer.size(); ++count) {
        heard[by_answer[count]] = true;
        // What was called later was not there yet.
        std::vector<bool> placed(history.size());
        std::vector<Operation<Model>> prefix;
        std::vector<bool> heard_of_prefix;
        for (std::size_t i = 0; i < history.size(); ++i) {
            if (history[i].invoked > *history[by_answer[count]].answered) continue;
            prefix.push_back(history[i]);
            heard_of_prefix.push_back(heard[i]);
        }
        placed.resize(prefix.size());
        typename Model::State state{};
        if constexpr (requires { Model::initial(); }) state = Model::initial();
        if (!some_order_explains<Model>(prefix, heard_of_prefix, placed, state)) return count;
    }
    return by_answer.size();
}

/// Whether the order that was found does what it should: each answer among the first `count` is in
/// it and right, and nothing comes before what was over when it began.
template <class Model>
bool is_explained_by(const std::vector<Operation<Model>>& history,
                     const std::vector<std::size_t>& by_answer, std::size_t count,
                     const std::vector<std::size_t>& order) {
    std::vector<bool> heard(history.size());
    std::vector<std::size_t> place(history.size(), history.size());
    for (std::size_t i = 0; i < count; ++i) heard[by_answer[i]] = true;
    typename Model::State state{};
    if constexpr (requires { Model::initial(); }) state = Model::initial();
    for (std::size_t at = 0; at < order.size(); ++at) {
        const Operation<Model>& operation = history[order[at]];
        if (place[order[at]] != history.size()) return false;
        place[order[at]] = at;
        auto output = Model::apply(state, operation.input);
        if (heard[order[at]] && operation.output && output != *operation.output) return false;
    }
    for (std::size_t i = 0; i < history.size(); ++i) {
        if (heard[i] && place[i] == history.size()) return false;
        for (std::size_t j = 0; j < history.size(); ++j) {
            bool before = heard[j] && *history[j].answered < history[i].invoked;
            if (before && place[i] < place[j]) return false;
        }
    }
    return true;
}

struct Seen {
    std::uint64_t histories = 0, good = 0, bad = 0, wrong = 0, freed = 0;
};

template <class Model>
void compare(const std::vector<Operation<Model>>& history, Seen& seen) {
    std::vector<std::size_t> by_answer;
    std::size_t count = explainable<Model>(history, by_answer);
    bool good = count == by_answer.size();
    Linearizability result = check_linearizability<Model>(history);
    ++seen.histories;
    ++(good ? seen.good : seen.bad);
    bool right = result.verdict == (good ? Verdict::linearizable : Verdict::not_linearizable) &&
                 result.culprit.has_value() != good &&
                 (good || *result.culprit == by_answer[count]) &&
                 is_explained_by<Model>(history, by_answer, count, result.order);
    seen.wrong += right ? 0 : 1;
    if (!right && seen.wrong <= 3) {
        CAPTURE(result.text);
        CAPTURE(count);
        CHECK(right);
    }
}

/// Every history of `size` operations, each of one of these kinds; every way in which their calls
/// and answers can follow each other. Operations are numbered in the order of their calls.
template <class Model>
void for_all_histories(std::size_t size, const std::vector<Operation<Model>>& kinds, Seen& seen) {
    std::vector<Operation<Model>> history;
    std::vector<bool> over;
    auto extend = [&](auto& self, std::uint64_t time) -> void {
        bool all_over = std::find(over.begin(), over.end(), false) == over.end();
        if (history.size() == size && all_over) return compare<Model>(history, seen);
        if (history.size() < size) {
            for (const Operation<Model>& kind : kinds) {
                history.push_back(kind);
                history.back().invoked = time;
                history.back().answered.reset();
                // One without an answer is over, as far as this goes, as soon as it is called.
                over.push_back(!kind.answered);
                self(self, time + 1);
                over.pop_back();
                history.pop_back();
            }
        }
        for (std::size_t i = 0; i < history.size(); ++i) {
            if (over[i]) continue;
            over[i] = true;
            history[i].answered = time;
            self(self, time + 1);
            history[i].answered.reset();
            over[i] = false;
        }
    };
    extend(extend, 0);
}

}  // namespace

TEST_CASE("histories of a register whose verdict is known") {
    struct Row {
        const char* what;
        Registers history;
        bool good;
        std::size_t culprit = 0;
    };
    const std::vector<Row> table{
        {"nothing happened", {}, true},
        {"one after another", {write(1, 1, 0, 1), read(1, 1, 2, 3)}, true},
        {"a stale read", {write(1, 1, 0, 1), write(1, 2, 2, 3), read(2, 1, 4, 5)}, false, 2},
        {"a read that overlaps a write sees the old value",
         {write(1, 1, 0, 1), write(1, 2, 2, 9), read(2, 1, 4, 5)},
         true},
        {"... or the new one", {write(1, 1, 0, 1), write(1, 2, 2, 9), read(2, 2, 4, 5)}, true},
        {"... but not the new one and then the old one",
         {write(1, 1, 0, 1), write(1, 2, 2, 9), read(2, 2, 3, 4), read(3, 1, 5, 6)},
         false,
         3},
        {"a lost write", {write(1, 1, 0, 1), read(2, 0, 2, 3)}, false, 1},
        {"a read of what nobody wrote", {write(1, 1, 0, 9), read(2, 7, 2, 3)}, false, 1},
        {"a read from the future", {read(1, 1, 0, 1), write(2, 1, 2, 3)}, false, 0},
        {"touching at one moment counts as overlapping",
         {write(1, 1, 0, 2), read(2, 0, 2, 3)},
         true},
        {"Herlihy and Wing, figure 1: the reads order the writes",
         {write(1, 0, 0, 1), write(2, 1, 2, 8), read(1, 1, 3, 4), write(3, 0, 5, 9),
          read(1, 0, 6, 10)},
         true},
        {"two readers that disagree about the order of two writes",
         {write(1, 1, 0, 9), write(2, 2, 0, 9), read(3, 1, 10, 11), read(4, 2, 12, 13)},
         false,
         3},
        {"a write without an answer took effect", {write(1, 1, 0, {}), read(2, 1, 8, 9)}, true},
        {"... or did not", {write(1, 1, 0, {}), read(2, 0, 8, 9)}, true},
        {"... or did so late",
         {write(1, 1, 0, {}), read(2, 0, 2, 3), write(2, 2, 4, 5), read(2, 1, 6, 7)},
         true},
        {"... but not twice",
         {write(1, 1, 0, {}), read(2, 1, 2, 3), write(2, 2, 4, 5), read(2, 1, 6, 7)},
         false,
         3},
        {"... nor before it was called",
         {read(2, 1, 0, 1), write(1, 1, 2, {}), read(2, 1, 8, 9)},
         false,
         0},
        {"an answer whose text got lost still ends the operation",
         {{1, {true, 1}, std::nullopt, 0, 1}, read(2, 0, 2, 3)},
         false,
         1},
        {"a write is needed before its own wrong answer",
         {{1, {true, 1}, 7, 0, 9}, read(2, 1, 2, 3)},
         false,
         0},
    };
    for (const Row& row : table) {
        CAPTURE(row.what);
        auto result = check_linearizability<Register>(row.history);
        CAPTURE(result.text);
        CHECK(result.verdict == (row.good ? Verdict::linearizable : Verdict::not_linearizable));
        CHECK(result.culprit.has_value() != row.good);
        if (result.culprit) CHECK(*result.culprit == row.culprit);
        std::vector<Operation<PlainRegister>> plain;
        for (const auto& o : row.history)
            plain.push_back({o.client, o.input, o.output, o.invoked, o.answered});
        auto same = check_linearizability<PlainRegister>(plain);
        CHECK(same.verdict == result.verdict);
        CHECK(same.culprit == result.culprit);
    }
}

TEST_CASE("histories of a queue whose verdict is known") {
    struct Row {
        const char* what;
        Queues history;
        bool good;
    };
    const std::vector<Row> table{
        {"Herlihy and Wing, figure 1a: concurrent puts may go either way",
         {put(1, 1, 0, 3), put(2, 2, 1, 4), take(2, 1, 5, 8), take(1, 2, 6, 9)},
         true},
        {"figure 1b: what was put first is taken first",
         {put(1, 1, 0, 1), put(2, 2, 2, 3), take(1, 2, 4, 5)},
         false},
        {"figure 1c: taken while it is put", {put(1, 1, 0, 9), take(2, 1, 1, 2)}, true},
        {"figure 1d: taken twice",
         {put(1, 1, 0, 3), put(2, 2, 1, 8), take(1, 2, 4, 6), take(2, 2, 9, 12)},
         false},
        {"an empty queue that is not", {put(1, 1, 0, 1), take(2, 0, 2, 3)}, false},
        {"a taker who never heard may have taken it",
         {put(1, 1, 0, 1), take(2, {}, 2, {}), take(3, 0, 4, 5)},
         true},
        {"... but only one",
         {put(1, 1, 0, 1), put(1, 2, 2, 3), take(2, {}, 4, {}), take(3, 0, 5, 6)},
         false},
        {"order is kept between two who put by turns",
         {put(1, 1, 0, 1), put(2, 2, 2, 3), put(1, 3, 4, 5), take(3, 1, 6, 7), take(3, 3, 8, 9)},
         false},
    };
    for (const Row& row : table) {
        CAPTURE(row.what);
        auto result = check_linearizability<Queue>(row.history);
        CAPTURE(result.text);
        CHECK(result.verdict == (row.good ? Verdict::linearizable : Verdict::not_linearizable));
    }
}

TEST_CASE("what cannot be explained is told in words") {
    std::vector<Operation<KeyValue>> history{
        {1, {KeyValue::set, "x", "1"}, "ok", 0, 10}, {1, {KeyValue::set, "x", "2"}, "ok", 20, 30},
        {2, {KeyValue::get, "y"}, "", 25, 35},       {2, {KeyValue::get, "x"}, "1", 40, 50},
        {3, {KeyValue::get, "x"}, "2", 60, 70},
    };
    auto result = check_linearizability<KeyValue>(history);
    CHECK(result.verdict == Verdict::not_linearizable);
    CHECK(result.culprit == 3);
    CHECK(result.order == std::vector<std::size_t>{0, 1});
    CHECK(result.text ==
          "of key \"x\", not linearizable: 2 of 4 answers can be explained, but not the next, "
          "whatever else took effect:\n"
          "    client 2: get x -> \"1\", from 40 to 50\n"
          "An order that explains all answers before it:\n"
          "    client 1: set x 1 -> \"ok\", from 0 to 10\n"
          "    client 1: set x 2 -> \"ok\", from 20 to 30\n"
          "which leaves the state \"2\"\n");
    history[0].answered.reset();
    history[0].output.reset();
    CHECK(check_linearizability<KeyValue>(history).verdict == Verdict::not_linearizable);
    history[4].output = "1";
    CHECK(check_linearizability<KeyValue>(history).verdict == Verdict::linearizable);
}

TEST_CASE("a history that cannot be is not judged") {
    auto result = check_linearizability<Register>({write(1, 1, 5, 4)});
    CHECK(result.verdict == Verdict::undecided);
    CHECK(result.text.find("answered before its call") != std::string::npos);
}

TEST_CASE("it agrees with trying all orders, on all small histories") {
    Seen seen;
    // Any `answered` marks what is answered at all; times are given by the enumeration.
    const Registers registers{write(0, 1, 0, 0), write(0, 2, 0, 0), read(0, 0, 0, 0),
                              read(0, 1, 0, 0),  read(0, 2, 0, 0),  write(0, 1, 0, {}),
                              write(0, 2, 0, {})};
    const Queues queues{put(0, 1, 0, 0),  put(0, 2, 0, 0),  take(0, 0, 0, 0),   take(0, 1, 0, 0),
                        take(0, 2, 0, 0), put(0, 1, 0, {}), take(0, {}, 0, {}), take(0, {}, 0, 0)};
    std::vector<Operation<Counter>> counters;
    for (int value = 0; value < 4; ++value) counters.push_back({0, {}, value, 0, 0});
    counters.push_back({0, {}, {}, 0, {}});
    SUBCASE("registers") {
        for (std::size_t size = 0; size <= (one_in == 1 ? 4 : 3); ++size) {
            for_all_histories<Register>(size, registers, seen);
        }
    }
    SUBCASE("registers, without the hint about reads") {
        std::vector<Operation<PlainRegister>> plain;
        for (const auto& o : registers)
            plain.push_back({o.client, o.input, o.output, o.invoked, o.answered});
        for (std::size_t size = 0; size <= 3; ++size) {
            for_all_histories<PlainRegister>(size, plain, seen);
        }
    }
    SUBCASE("queues") {
        for (std::size_t size = 0; size <= 3; ++size) {
            for_all_histories<Queue>(size, queues, seen);
        }
    }
    SUBCASE("counters") {
        for (std::size_t size = 0; size <= 4; ++size) {
            for_all_histories<Counter>(size, counters, seen);
        }
    }
    MESSAGE(seen.histories << " histories, " << seen.good << " linearizable, " << seen.bad
                           << " not");
    CHECK(seen.wrong == 0);
    CHECK(seen.good > 1000);
    CHECK(seen.bad > 1000);
}

namespace {

/// What honest clients of an honest register see: every operation takes effect at once at a moment
/// between call and answer. `open_in` of so many are never answered.
template <class Model, class Draw>
std::vector<Operation<Model>> honest(Random& random, std::size_t size, std::size_t clients,
                                     std::uint64_t open_in, Draw draw) {
    struct Point {
        std::uint64_t time;
        std::size_t operation;
    };
    std::vector<Operation<Model>> history;
    std::vector<Point> points;
    std::vector<std::uint64_t> free_at(clients);
    while (history.size() < size) {
        auto client = static_cast<std::size_t>(random.below(clients));
        std::uint64_t from = free_at[client] + random.below(4);
        std::uint64_t point = from + random.below(20);
        std::uint64_t to = point + random.below(20);
        free_at[client] = to + 1;
        bool open = open_in != 0 && random.below(open_in) == 0;
        bool lost = open && random.below(2) == 0;
        if (!lost) points.push_back({point + (open ? random.below(200) : 0), history.size()});
        history.push_back({client, draw(), {}, from, {}});
        if (!open) history.back().answered = to;
    }
    std::stable_sort(points.begin(), points.end(),
                     [](const Point& a, const Point& b) { return a.time < b.time; });
    std::map<std::string, typename Model::State> states;
    for (const Point& point : points) {
        Operation<Model>& operation = history[point.operation];
        std::string key;
        if constexpr (requires { Model::key_of(operation.input); }) {
            key = Model::key_of(operation.input);
        }
        auto output = Model::apply(states[key], operation.input);
        if (operation.answered) operation.output = output;
    }
    return history;
}

KeyValue::Input draw_request(Random& random, std::uint64_t keys, std::uint64_t& number) {
    std::string key = "k" + std::to_string(random.below(keys));
    std::uint64_t kind = random.below(10);
    if (kind < 4) return {KeyValue::get, key};
    if (kind < 9) return {KeyValue::set, key, std::to_string(++number)};
    return {KeyValue::del, key};
}

}  // namespace

TEST_CASE("random histories of five operations, as trying all orders judges them") {
    Seen seen;
    Random random(1);
    for (int round = 0; round < 4000; ++round) {
        auto history = honest<Register>(random, 5, 3, 4, [&] {
            return Register::Input{random.below(2) == 0, static_cast<int>(random.below(3))};
        });
        // Half of them with a lie.
        auto& lie = history[random.below(5)];
        if (round % 2 == 0 && lie.output) *lie.output = static_cast<int>(random.below(3));
        compare<Register>(history, seen);
    }
    CHECK(seen.wrong == 0);
    CHECK(seen.good > 1000);
    CHECK(seen.bad > 300);
}

TEST_CASE("tens of thousands of operations cost little more than one placement each") {
    Random random(7);
    std::uint64_t number = 0;
    auto history = honest<KeyValue>(random, 30'000, 100, 500,
                                    [&] { return draw_request(random, 150, number); });
    auto result = check_linearizability<KeyValue>(history);
    CHECK_MESSAGE(result.verdict == Verdict::linearizable, result.text);
    MESSAGE(history.size() << " operations, " << result.steps << " placements");
    CHECK(result.steps >= result.order.size());
    CHECK(result.steps < 10 * history.size());

    // A read of a value that was overwritten long before.
    std::size_t bad = history.size() - 1;
    std::size_t old = 0;
    while (!(history[bad].input.kind == KeyValue::get && history[bad].output)) --bad;
    while (!(history[old].input.kind == KeyValue::set && history[old].answered &&
             history[old].input.key == history[bad].input.key)) {
        ++old;
    }
    history[bad].output = history[old].input.value;
    result = check_linearizability<KeyValue>(history);
    MESSAGE("with a stale read: " << result.steps << " placements");
    CHECK(result.verdict == Verdict::not_linearizable);
    CHECK(result.culprit == bad);
    CHECK(result.steps < 20 * history.size());
}

TEST_CASE("one key under many clients at once") {
    Random random(3);
    std::uint64_t number = 0;
    std::uint64_t most = 0;
    for (int round = 0; round < 50; ++round) {
        auto history =
            honest<KeyValue>(random, 200, 8, 40, [&] { return draw_request(random, 1, number); });
        auto result = check_linearizability<KeyValue>(history);
        CHECK_MESSAGE(result.verdict == Verdict::linearizable, result.text);
        most = std::max(most, result.steps);
    }
    MESSAGE("200 operations by 8 clients: at most " << most << " placements");
    CHECK(most < 50'000);
}

TEST_CASE("writes whose fate is unknown cost little, also where nothing explains the history") {
    Random random(11);
    std::uint64_t number = 0;
    std::uint64_t most = 0;
    std::uint64_t bad = 0;
    for (int round = 0; round < 50; ++round) {
        // One in eight is never answered, so some twenty stay open to the end.
        auto history =
            honest<KeyValue>(random, 200, 5, 8, [&] { return draw_request(random, 1, number); });
        for (auto& operation : history) {
            bool is_late_read =
                operation.invoked > 300 && operation.output && operation.input.kind == 0;
            if (round % 2 == 0 || !is_late_read) continue;
            operation.output = "never written";
            break;
        }
        auto result = check_linearizability<KeyValue>(history);
        CHECK(result.verdict != Verdict::undecided);
        bad += result.verdict == Verdict::not_linearizable ? 1 : 0;
        most = std::max(most, result.steps);
    }
    MESSAGE("200 operations, 25 of them open: at most " << most << " placements");
    CHECK(bad == 25);
    CHECK(most < 100'000);
}

TEST_CASE("beyond the limit there is no verdict") {
    // Twenty writes at once and a read of what nobody wrote: every order has to be tried.
    Registers history;
    for (int i = 1; i <= 20; ++i) {
        history.push_back(write(static_cast<std::uint64_t>(i), i, 0, 100));
    }
    history.push_back(read(30, 99, 0, 100));
    auto result = check_linearizability<Register>(history, {.steps = 1000});
    CHECK(result.verdict == Verdict::undecided);
    CHECK(result.steps == 1000);
    CHECK(!result.culprit);
    CHECK(result.text == "undecided: not settled within 1000 placements");
    history.resize(10);
    history.push_back(read(30, 99, 0, 100));
    CHECK(check_linearizability<Register>(history).verdict == Verdict::not_linearizable);
}
