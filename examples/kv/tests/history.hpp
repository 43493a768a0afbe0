// What several clients did to the store and were told, and whether that can be explained by one
// store that does one command after another.
//
// Keys come in pairs, and a pair is what the checker looks at by itself: so commands that touch
// both keys (MSET, MGET, DEL, EXISTS) are checked to do so at one moment.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <little_raft_testing/linearizability.hpp>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "cluster.hpp"

namespace kv_tests {

using little_raft::testing::check_linearizability;
using little_raft::testing::Linearizability;
using little_raft::testing::Operation;
using little_raft::testing::Verdict;

/// One pair of keys, and what Redis' commands do to it.
struct PairModel {
    enum Kind {
        get,
        set,
        set_nx,
        set_xx,
        set_get,
        del,
        incrby,
        append,
        strlen,
        mget,
        mset,
        del_both
    };
    struct Input {
        Kind kind = get;
        std::size_t which = 0;  // Of the two keys.
        std::string argument = {}, other = {};
        std::uint64_t pair = 0;
    };
    using Output = std::string;  // As show_reply() writes it.
    using State = std::array<std::optional<std::string>, 2>;

    static std::uint64_t key_of(const Input& input) { return input.pair; }
    static bool only_reads(const Input& input) {
        return input.kind == get || input.kind == strlen || input.kind == mget;
    }
    static std::string key(std::uint64_t pair, std::size_t which) {
        return "{pair" + std::to_string(pair) + "}" + (which == 0 ? "a" : "b");
    }
    static std::string show_value(const std::optional<std::string>& value) {
        return value ? "$" + *value : "nil";
    }

    static Output apply(State& state, const Input& input) {
        std::optional<std::string>& value = state[input.which];
        switch (input.kind) {
            case get:
                return show_value(value);
            case set:
                return value = input.argument, "+OK";
            case set_nx:
                return value ? "nil" : (value = input.argument, "+OK");
            case set_xx:
                return value ? (value = input.argument, "+OK") : "nil";
            case set_get:
                return show_value(std::exchange(value, input.argument));
            case del:
                return std::exchange(value, std::nullopt) ? ":1" : ":0";
            case incrby:
                return add(value, std::stoll(input.argument));
            case append:
                return ":" + std::to_string((value = value.value_or("") + input.argument)->size());
            case strlen:
                return ":" + std::to_string(value.value_or("").size());
            case mget:
                return "[" + show_value(state[0]) + ", " + show_value(state[1]) + "]";
            case mset:
                return state = {input.argument, input.other}, "+OK";
            case del_both: {
                int there = (state[0] ? 1 : 0) + (state[1] ? 1 : 0);
                state = {};
                return ":" + std::to_string(there);
            }
        }
        return "";
    }

    static std::string add(std::optional<std::string>& value, long long by) {
        long long number = 0;
        const std::string text = value.value_or("0");
        auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        // Redis takes a number only as it would write it.
        if (error != std::errc() || std::to_string(number) != text) {
            return "-ERR value is not an integer or out of range";
        }
        if (__builtin_add_overflow(number, by, &number)) {
            return "-ERR increment or decrement would overflow";
        }
        value = std::to_string(number);
        return ":" + *value;
    }

    static std::vector<std::string> command(const Input& input) {
        const std::string first = key(input.pair, 0), second = key(input.pair, 1);
        const std::string name = input.which == 0 ? first : second;
        switch (input.kind) {
            case get:
                return {"GET", name};
            case set:
                return {"SET", name, input.argument};
            case set_nx:
                return {"SET", name, input.argument, "NX"};
            case set_xx:
                return {"SET", name, input.argument, "XX"};
            case set_get:
                return {"SET", name, input.argument, "GET"};
            case del:
                return {"DEL", name};
            case incrby:
                return {"INCRBY", name, input.argument};
            case append:
                return {"APPEND", name, input.argument};
            case strlen:
                return {"STRLEN", name};
            case mget:
                return {"MGET", first, second};
            case mset:
                return {"MSET", first, input.argument, second, input.other};
            case del_both:
                return {"DEL", first, second};
        }
        return {};
    }

    static std::string show(const Input& input) {
        std::string text;
        for (const std::string& word : command(input)) text += (text.empty() ? "" : " ") + word;
        return text;
    }
    static std::string show(const Output& output) { return output; }
    static std::string show(std::uint64_t pair) { return "pair" + std::to_string(pair); }
    static std::string show(const State& state) {
        return show_value(state[0]) + ", " + show_value(state[1]);
    }
    static std::uint64_t digest(const State& state) {
        std::uint64_t hash = 0;
        for (const auto& value : state)
            hash = hash * 31 + std::hash<std::optional<std::string>>()(value);
        return hash;
    }
};

/// What a client knows of its write.
enum Outcome { acknowledged, unknown, refused };

inline Outcome outcome_of(const Reply& reply) {
    return was_refused(reply) ? refused : is_unknown(reply) ? unknown : acknowledged;
}

/// Several clients that use the store at once, until they are told to stop, and all that they saw.
class Workload {
 public:
    struct Counts {
        std::array<std::uint64_t, 3> writes = {};  ///< By Outcome.
        std::uint64_t told_unknown = 0;            ///< Of the unknown, those the server told so.
        std::uint64_t reads = 0;
    };

    Workload(Cluster& cluster, std::uint64_t seed, std::size_t clients = 6) : cluster_(cluster) {
        for (std::size_t i = 0; i < clients; ++i) {
            threads_.emplace_back([this, i, seed] { run(i, seed * 1'000 + i); });
        }
    }
    Workload(const Workload&) = delete;
    Workload& operator=(const Workload&) = delete;
    ~Workload() { stop(); }

    void stop() {
        stop_ = true;
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

    /// How long no write was acknowledged, at most, from one moment on until now. Waits until one
    /// is.
    Milliseconds longest_write_stop(Clock::time_point since) {
        std::lock_guard lock(mutex_);
        auto longest = Milliseconds{0};
        auto first = std::lower_bound(write_times_.begin(), write_times_.end(), since);
        for (Clock::time_point last = since; first != write_times_.end(); last = *first++) {
            longest = (std::max)(longest, std::chrono::duration_cast<Milliseconds>(*first - last));
        }
        return longest;
    }

    /// Whether a write that was sent after this moment is acknowledged.
    bool writes_go_on(Milliseconds limit = patience) {
        // Each client has one command under way, so one more than there are clients is new.
        std::uint64_t wanted = acknowledged_ + threads_.size() + 1;
        return wait_until([&] { return acknowledged_ >= wanted || !problem().empty(); }, limit);
    }

    /// Stops the clients, reads everything back from every replica, and checks the history.
    void finish_and_check();

    Counts counts();

 private:
    struct Unique {
        std::string key, value;
        Outcome outcome;
    };

    void run(std::size_t client, std::uint64_t seed);
    PairModel::Input choose(std::mt19937_64& random, std::size_t client);
    Reply send(const std::vector<std::string>& command, bool is_read, std::vector<Client>& servers,
               std::size_t& leader, std::mt19937_64& random);
    void write_unique(std::size_t client, std::uint64_t number, std::vector<Client>& servers,
                      std::size_t& leader, std::mt19937_64& random);
    void note_write(const Reply& reply);
    void read_all_back();
    void read_unique_back(std::size_t replica, Client& server);
    std::string problem() {
        std::lock_guard lock(mutex_);
        return problem_;
    }

    static std::uint64_t time() {
        return static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    }

    Cluster& cluster_;
    const Clock::time_point begin_ = Clock::now();
    std::atomic<bool> stop_ = false;
    std::atomic<std::uint64_t> acknowledged_ = 0;  // Writes.
    std::mutex mutex_;                             // Guards all that follows.
    std::vector<Operation<PairModel>> history_;
    std::vector<Unique> unique_;
    std::vector<Clock::time_point> write_times_;
    Counts counts_;
    std::uint64_t pairs_ = 0;
    std::string problem_;  // A reply that no replica may give.
    std::vector<std::thread> threads_;
};

}  // namespace kv_tests
