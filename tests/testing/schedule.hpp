// What is done to a cluster, as plain data: steps in a list, and the cluster's configuration. Both
// have a text form, so that a failure can be kept, sent and repeated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "random.hpp"

namespace little_raft::testing {

// ----- Schedules ---------------------------------------------------------------------------------

/// What one step does. Its numbers a and b are taken modulo what is there when it runs.
enum class Step : std::uint8_t {
    deliver,    ///< Message a of those in flight reaches its replica, which is polled.
    duplicate,  ///< It does, and stays in flight.
    drop,       ///< It is lost.
    corrupt,    ///< It is damaged, which the transport notices: lost, after decode has seen it.
    time_out,   ///< The next deadline comes: a leader's, replica a's, or a's with all clocks.
    run,        ///< b milliseconds of ordinary operation: timers fire, messages take their time.
    advance,    ///< Every clock moves on by b milliseconds at its rate; nobody is polled.
    propose,    ///< The machine of replica a, or mostly of a leader, has some more transitions.
    crash,    ///< Replica a dies, b saying after how many more calls of its disk and what is lost.
    restart,  ///< Replica a, if it is dead or stopped by a fault, comes back.
    partition,   ///< Replicas in the bit set a no longer talk to the others.
    one_way,     ///< Replica a no longer reaches replica b.
    heal,        ///< All links work.
    pause,       ///< Replica a is not polled; what is sent to it waits.
    resume,      ///< It is polled again.
    clock_rate,  ///< The clock of a runs at 50% to 200%; with leases, at 80% to 120%.
    clock_jump,  ///< The clock of a jumps forward by b milliseconds; with leases, all advance.
    slow_disk,   ///< The next sync of a takes b milliseconds.
    fail_sync,   ///< The next sync of a fails, which stops it.
    transfer,    ///< A leader, or a where there is none, is asked to hand over to replica b.
    read,        ///< Replica a, or sometimes a leader, is asked for some reads.
    end_sync,    ///< The oldest sync that is on ends, on replica a or the next that has one.
    change,      ///< A leader, or sometimes replica a, is asked for the members that b says.
};
inline constexpr std::size_t step_kinds = 23;

inline const char* name_of(Step step) {
    static constexpr std::array<const char*, step_kinds> names = {
        "deliver",   "duplicate", "drop",   "corrupt",    "time_out",   "run",
        "advance",   "propose",   "crash",  "restart",    "partition",  "one_way",
        "heal",      "pause",     "resume", "clock_rate", "clock_jump", "slow_disk",
        "fail_sync", "transfer",  "read",   "end_sync",   "change"};
    return names[static_cast<std::size_t>(step)];
}

/// One step. Every part of a schedule is a schedule: that is what makes shrinking work.
struct Op {
    Step step = Step::deliver;
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    friend bool operator==(const Op&, const Op&) = default;

    /// Added to b where a says exactly which message is meant: by the link that it is on and its
    /// place there. Where there is none, nothing is done.
    static constexpr std::uint32_t exact = 1U << 20;
    static constexpr std::uint32_t links = 1U << 8;
    static constexpr std::uint32_t on_link(std::size_t from, std::size_t to, std::uint32_t place) {
        return static_cast<std::uint32_t>(from << 4 | to) + links * place;
    }
};

using Schedule = std::vector<Op>;

inline std::string to_text(const Op& op) {
    return name_of(op.step) + (' ' + std::to_string(op.a)) + ' ' + std::to_string(op.b) + ';';
}

inline std::string to_text(const Schedule& schedule) {
    std::string text;
    for (const Op& op : schedule) text += to_text(op) + ' ';
    return text;
}

/// The reverse of to_text. Nothing if the text is no schedule.
inline std::optional<Schedule> schedule_of(const std::string& text) {
    Schedule schedule;
    std::istringstream in(text);
    for (std::string name; in >> name;) {
        Op op;
        char end = 0;
        std::size_t kind = 0;
        while (kind < step_kinds && name != name_of(static_cast<Step>(kind))) ++kind;
        if (kind == step_kinds || !(in >> op.a >> op.b >> end) || end != ';') return std::nullopt;
        op.step = static_cast<Step>(kind);
        schedule.push_back(op);
    }
    return schedule;
}

// ----- Configurations ----------------------------------------------------------------------------

/// What follows when the faults are over and a random majority has converged.
enum class Finale : std::uint8_t {
    none,
    calm,      ///< Time passes; the leader must stay.
    deaf,      ///< The leader hears nobody any more, though all hear it: another must take over.
    bridge,    ///< One replica reaches all others, which reach only it: it must lead.
    outsider,  ///< One more replica comes back, which hears nobody: it must disturb nobody.
    cut_off,   ///< A follower and the leader lose each other alone: the leader must stay.
    minority,  ///< The leader and few others lose the rest: what they read must not be old.
    restarts,  ///< With leases, all but the leader and one that does not hear it start again.
    slow,      ///< All that one replica sends and is sent takes long: nobody else waits for it.
};
inline constexpr std::uint64_t finales = 9;

/// Of "NAME=NUMBER NAME=NUMBER ..."; what is not named keeps its default. Nothing if the text names
/// what is no field, or no number.
template <class T>
std::optional<T> read_fields(const std::string& text) {
    T read;
    std::istringstream in(text);
    for (std::string word; in >> word;) {
        bool known = false;
        for (const auto& field : T::fields()) {
            if (word.rfind(std::string(field.name) + '=', 0) != 0) continue;
            std::istringstream number(word.substr(word.find('=') + 1));
            known = (number >> read.*field.value) && number.peek() == EOF;
        }
        if (!known) return std::nullopt;
    }
    return read;
}

/// A cluster and its limits. All but the size are small, so that every limit is met soon. The
/// limits of bytes are given in entries of the subject's transition.
struct Configuration {
    static constexpr std::uint64_t replicas_max = 7;

    std::uint64_t replicas = 3;
    std::uint64_t newcomers = 0;       ///< So many, the last ones, begin as no members.
    std::uint64_t snapshot_delta = 8;  ///< 0: no snapshots.
    std::uint64_t snapshot_trailing = 2;
    std::uint64_t chunk_bytes = 7;
    std::uint64_t entries_per_message = 2;
    std::uint64_t inflight_messages = 3;
    std::uint64_t inflight_entries = 100;
    std::uint64_t uncommitted_entries = 20;
    std::uint64_t flying_max = 60;  ///< Messages in flight; the oldest are lost beyond.
    std::uint64_t fifo = 0;         ///< 1: links keep the order of messages.
    std::uint64_t finale = 0;       ///< See Finale.
    std::uint64_t leases = 0;       ///< 1: for reads; clocks keep to their bound.
    std::uint64_t async_disk = 0;   ///< 1: syncs end later, if the subject has async_disk.
    std::uint64_t long_polls = 0;   ///< 1: the others go on while a poll waits for its disk.
    std::uint64_t late = 0;         ///< Of replicas 1 to n, the one that is not there at first.
    std::uint64_t untimed = 0;      ///< 1: timers fire when a step says so; 2: and no PreVote.
    std::uint64_t seed = 0;         ///< Of the replicas, and of who is healed in the end.

    struct Field {
        const char* name;
        std::uint64_t Configuration::*value;
        std::uint64_t max;
    };
    static constexpr std::array<Field, 18> fields() {
        constexpr std::uint64_t many = 1'000'000;
        return {{{"replicas", &Configuration::replicas, replicas_max},
                 {"newcomers", &Configuration::newcomers, replicas_max - 1},
                 {"snapshot_delta", &Configuration::snapshot_delta, many},
                 {"snapshot_trailing", &Configuration::snapshot_trailing, many},
                 {"chunk_bytes", &Configuration::chunk_bytes, many},
                 {"entries_per_message", &Configuration::entries_per_message, many},
                 {"inflight_messages", &Configuration::inflight_messages, many},
                 {"inflight_entries", &Configuration::inflight_entries, many},
                 {"uncommitted_entries", &Configuration::uncommitted_entries, many},
                 {"flying_max", &Configuration::flying_max, many},
                 {"fifo", &Configuration::fifo, 1},
                 {"finale", &Configuration::finale, finales - 1},
                 {"leases", &Configuration::leases, 1},
                 {"async_disk", &Configuration::async_disk, 1},
                 {"long_polls", &Configuration::long_polls, 1},
                 {"late", &Configuration::late, replicas_max},
                 {"untimed", &Configuration::untimed, 2},
                 {"seed", &Configuration::seed, ~std::uint64_t{0}}}};
    }
    friend bool operator==(const Configuration&, const Configuration&) = default;

    /// Clusters of one to seven, of even sizes too: a wrong majority shows there alone. Where
    /// members change, there are some more that are none.
    static Configuration draw(Random& random, bool members_change = false) {
        static constexpr std::array<std::uint64_t, 12> sizes = {1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7};
        Configuration drawn;
        drawn.replicas = sizes[random.below(sizes.size())];
        drawn.snapshot_delta = random.one_in(4) ? 0 : 1 + random.below(12);
        drawn.snapshot_trailing = random.below(6);
        drawn.chunk_bytes = random.one_in(2) ? 5 + random.below(8) : 1000;
        drawn.entries_per_message = 1 + random.below(5);
        drawn.inflight_messages = 1 + random.below(5);
        drawn.inflight_entries = random.one_in(4) ? 1 + random.below(6) : 100;
        drawn.uncommitted_entries = 2 + random.below(30);
        static constexpr std::array<std::uint64_t, 4> flying = {6, 12, 25, 60};
        drawn.flying_max = flying[random.below(flying.size())];
        drawn.fifo = random.one_in(3) ? 1 : 0;
        drawn.finale = random.one_in(8) ? 1 + random.below(finales - 1) : 0;
        drawn.leases = random.one_in(4) ? 1 : 0;
        drawn.async_disk = random.one_in(3) ? 1 : 0;
        // An ending of its own, and of no use otherwise.
        auto restarts = static_cast<std::uint64_t>(Finale::restarts);
        if (drawn.finale != 0 && drawn.leases != 0 && random.one_in(3)) drawn.finale = restarts;
        if (drawn.finale == restarts && drawn.leases == 0) drawn.finale = 1;
        drawn.long_polls = random.one_in(2) ? 1 : 0;
        drawn.late = random.one_in(4) ? 1 + random.below(drawn.replicas) : 0;
        drawn.seed = random.next();
        if (members_change && random.one_in(4)) drawn.replicas = replicas_max;
        if (members_change) drawn.newcomers = random.below(drawn.replicas);
        return drawn;
    }

    std::string to_text() const {
        std::string text;
        for (const Field& field : fields()) {
            if (!text.empty()) text += ' ';
            text += field.name;
            text += '=' + std::to_string(this->*field.value);
        }
        return text;
    }

    /// The reverse of to_text; fields that are not named keep their defaults. Nothing if the text
    /// is no configuration.
    static std::optional<Configuration> of(const std::string& text) {
        std::optional<Configuration> read = read_fields<Configuration>(text);
        if (!read) return std::nullopt;
        const Configuration& configuration = *read;
        for (const Field& field : fields()) {
            if (configuration.*field.value > field.max) return std::nullopt;
        }
        bool positive = configuration.replicas > configuration.newcomers &&
                        configuration.chunk_bytes > 0 && configuration.entries_per_message > 0 &&
                        configuration.inflight_messages > 0 && configuration.inflight_entries > 0 &&
                        configuration.uncommitted_entries > 0 && configuration.flying_max > 0;
        return positive ? read : std::nullopt;
    }
};

}  // namespace little_raft::testing
