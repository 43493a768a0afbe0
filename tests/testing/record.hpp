// What one run did, step by step: the simulator fills it when it repeats a failure, and what is
// shown to people is made from it alone, be it text or a picture.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// It has a namespace `testing` within its inline one, which must be seen first.
#include "little_raft.hpp"

namespace little_raft::testing {

/// Replicas are counted from 0 here and called 1, 2, ... by whatever shows them; their ReplicaId is
/// that number too.
struct Record {
    enum class What : std::uint8_t {
        send,       ///< A message left; it is `message` in `messages`.
        deliver,    ///< It arrived.
        duplicate,  ///< It arrived, and a copy stays on its way.
        drop,       ///< It was lost.
        corrupt,    ///< It was damaged on its way, which the transport noticed.
        blocked,    ///< A partition or a dead receiver kept it from arriving.
        time_out,   ///< A timer was due.
        propose,    ///< The machine was given a transition.
        read,       ///< The machine was asked to read, did it, or gave it up.
        crash,
        restart,
        pause,
        resume,
        link,       ///< Partitions and healed links.
        clock,      ///< A clock jumped, or runs at another rate.
        disk,       ///< A write, a sync, or a failure of one.
        fault,      ///< The replica stopped itself.
        role,       ///< Its role changed.
        term,       ///< Its term changed.
        vote,       ///< It voted.
        append,     ///< Its log grew.
        truncate,   ///< Entries of its log were replaced.
        commit,     ///< Its commit index rose.
        apply,      ///< Its machine applied a transition.
        state,      ///< A transition's state was reported to its machine.
        members,    ///< A membership is in force, or was asked for, or its state was reported.
        snapshot,   ///< It took a snapshot.
        install,    ///< It was given one.
        violation,  ///< An invariant broke.
    };

    /// One thing that happened at one replica.
    struct Event {
        What what = What::send;
        std::size_t replica = 0;
        std::optional<std::size_t> message = std::nullopt;  ///< Which, for send to blocked.
        std::string text = {};                              ///< In words, without the replica.
    };

    struct Message {
        std::size_t from = 0;
        std::size_t to = 0;
        std::uint64_t term = 0;
        std::string kind = {};    ///< "AppendEntries", ...
        std::string fields = {};  ///< "prev 3 in term 2, commit 2, 1 entry in term 2"
    };

    /// One replica after a step, as far as it can be seen.
    struct State {
        bool alive = true;
        bool paused = false;
        std::string role = {};  ///< "follower", "pre_candidate", "candidate" or "leader".
        std::uint64_t term = 0;
        std::optional<std::uint64_t> voted_for = std::nullopt;
        std::optional<std::uint64_t> leader = std::nullopt;
        std::uint64_t commit_index = 0;
        std::uint64_t last_applied = 0;
        std::uint64_t snapshot_index = 0;
        std::uint64_t first_log_index = 1;
        std::vector<std::uint64_t> log_terms = {};  ///< Of the entries from first_log_index on.
        std::vector<std::string> log_texts = {};    ///< What they are: "no-op", "7".
        std::uint64_t durable_index = 0;            ///< What its disk has after a power loss.
        std::int64_t clock_ms = 0;
        std::string fault = {};
    };

    struct Step {
        std::string text = {};  ///< What was done, in words.
        std::vector<Event> events = {};
        std::vector<State> states = {};  ///< Of all replicas, afterwards.
        bool healing = false;            ///< Of the phase in which faults are over.
    };

    std::string title = {};          ///< Of the test.
    std::string configuration = {};  ///< For people.
    std::uint64_t seed = 0;
    std::vector<Message> messages = {};
    std::vector<Step> steps = {};  ///< The last one is where it went wrong, if it did.

    // What went wrong, if anything did.
    std::string invariant = {};                          ///< Its name: "Election Safety".
    std::string violation = {};                          ///< In words, with what was seen.
    std::string explanation = {};                        ///< More words, in lines, or empty.
    std::string source = {};                             ///< "[Raft Figure 3]"
    std::optional<std::size_t> violator = std::nullopt;  ///< Which replica.
    std::string replay = {};                             ///< A C++ test case that repeats it.
};

}  // namespace little_raft::testing
