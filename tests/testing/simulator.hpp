// A deterministic cluster in one thread: real replicas, virtual clocks, a network and disks that a
// schedule of small steps moves. After every step it checks the five properties of Figure 3 of the
// Raft paper and what this library promises on top. No wall clock, no global, no randomness of its
// own: the same configuration and schedule give the same run everywhere.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "little_raft.hpp"

namespace little_raft::testing {

/// SplitMix64, for schedules: the same numbers with every standard library.
class Random {
 public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }

 private:
    std::uint64_t state_;
};

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    return Random(a * 0x9e3779b97f4a7c15 ^ (b + 0x2545f4914f6cdd1d)).next();
}

// ----- Schedules ---------------------------------------------------------------------------------

enum class Step : std::uint8_t {
    deliver,    ///< Message a of those in flight reaches its replica.
    duplicate,  ///< It does, and stays in flight.
    drop,       ///< It is lost.
    time_out,   ///< The clock of replica a, or for even b a leader's, reaches its next deadline.
    advance,    ///< Every clock moves on by b milliseconds; nobody is polled.
    propose,    ///< The machine of replica a, or mostly of a leader, has b more transitions.
    crash,      ///< Replica a dies after b more calls of its disk; what was not synced may be lost.
    restart,    ///< Replica a, if dead, comes back.
    partition,  ///< Replicas in the bit set a no longer talk to the others.
    one_way,    ///< Replica a no longer reaches replica b.
    heal,       ///< All links work.
};
inline constexpr std::size_t step_kinds = 11;

inline const char* name_of(Step step) {
    static constexpr std::array<const char*, step_kinds> names = {
        "deliver", "duplicate", "drop",      "time_out", "advance", "propose",
        "crash",   "restart",   "partition", "one_way",  "heal"};
    return names[static_cast<std::size_t>(step)];
}

/// One step. Its numbers are taken modulo what is there when it runs, so every part of a schedule
/// is a schedule: that is what makes shrinking work.
struct Op {
    Step step = Step::deliver;
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    friend bool operator==(const Op&, const Op&) = default;
};

using Schedule = std::vector<Op>;

inline std::string to_text(const Schedule& schedule) {
    std::ostringstream text;
    for (const Op& op : schedule) text << name_of(op.step) << ' ' << op.a << ' ' << op.b << "; ";
    return text.str();
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

// ----- Configuration and results -----------------------------------------------------------------

struct Configuration {
    std::uint64_t replicas = 3;
    std::uint64_t snapshot_delta = 8;
    std::uint64_t snapshot_trailing = 2;
    std::uint64_t chunk_bytes = 7;
    std::uint64_t entries_per_message = 2;
    std::uint64_t inflight_messages = 3;
    std::uint64_t uncommitted_entries = 20;
    bool fifo = false;  ///< Links keep the order of messages.
    std::uint64_t seed = 0;

    static Configuration draw(Random& random) {
        static constexpr std::array<std::uint64_t, 10> sizes = {1, 2, 3, 3, 3, 4, 5, 5, 6, 7};
        Configuration drawn;
        drawn.replicas = sizes[random.below(sizes.size())];
        drawn.snapshot_delta = random.below(4) == 0 ? 0 : 1 + random.below(12);
        drawn.snapshot_trailing = random.below(6);
        drawn.chunk_bytes = random.below(2) == 0 ? 5 + random.below(8) : 1000;
        drawn.entries_per_message = 1 + random.below(5);
        drawn.inflight_messages = 1 + random.below(5);
        drawn.uncommitted_entries = 2 + random.below(30);
        drawn.fifo = random.below(3) == 0;
        drawn.seed = random.next();
        return drawn;
    }

    std::string to_text() const {
        std::ostringstream text;
        text << replicas << ' ' << snapshot_delta << ' ' << snapshot_trailing << ' ' << chunk_bytes
             << ' ' << entries_per_message << ' ' << inflight_messages << ' ' << uncommitted_entries
             << ' ' << fifo << ' ' << seed;
        return text.str();
    }

    static std::optional<Configuration> of(const std::string& text) {
        Configuration c;
        std::istringstream in(text);
        in >> c.replicas >> c.snapshot_delta >> c.snapshot_trailing >> c.chunk_bytes >>
            c.entries_per_message >> c.inflight_messages >> c.uncommitted_entries >> c.fifo >>
            c.seed;
        return in ? std::optional(c) : std::nullopt;
    }
};

/// What a run saw: a property that was never put to the test proves nothing.
enum class Event : std::uint8_t {
    step,
    message,
    delivery,
    drop,
    duplicate,
    blocked,
    crash,
    crash_inside_poll,
    restart,
    unsynced_write_lost,
    election_started,
    election_won,
    leader_deposed_with_uncommitted,
    commit,
    apply,
    snapshot_created,
    snapshot_installed,
    log_compacted,
    entries_truncated,
    proposed,
    abandoned_not_leader,
    abandoned_overloaded,
    abandoned_conflict,
    outcome_unknown,
    healed,
};
inline constexpr std::size_t event_kinds = 25;

inline const char* name_of(Event event) {
    static constexpr std::array<const char*, event_kinds> names = {
        "steps",
        "messages",
        "deliveries",
        "drops",
        "duplicates",
        "messages blocked by partitions",
        "crashes",
        "crashes inside a poll",
        "restarts",
        "unsynced writes lost",
        "elections started",
        "elections won",
        "leaders deposed with uncommitted entries",
        "commits",
        "applies",
        "snapshots created",
        "snapshots installed",
        "logs compacted",
        "truncations of conflicting entries",
        "transitions proposed",
        "abandoned: not leader",
        "abandoned: overloaded",
        "abandoned: conflict with leader",
        "outcome unknown",
        "clusters healed and converged"};
    return names[static_cast<std::size_t>(event)];
}

struct Coverage {
    std::array<std::uint64_t, event_kinds> counts{};
    std::uint64_t& operator[](Event event) { return counts[static_cast<std::size_t>(event)]; }
    void add(const Coverage& other) {
        for (std::size_t i = 0; i < event_kinds; ++i) counts[i] += other.counts[i];
    }
    /// The first event that never happened, if any.
    const char* missing() const {
        for (std::size_t i = 0; i < event_kinds; ++i) {
            if (counts[i] == 0) return name_of(static_cast<Event>(i));
        }
        return nullptr;
    }
    std::string to_text() const {
        std::ostringstream text;
        for (std::size_t i = 0; i < event_kinds; ++i) {
            text << "  " << counts[i] << ' ' << name_of(static_cast<Event>(i)) << '\n';
        }
        return text.str();
    }
};

// ----- User types --------------------------------------------------------------------------------

struct Command {
    std::uint64_t id = 0;
    std::uint64_t get_id() const { return id; }
};

class Simulator;

/// Its state is a digest of everything applied, in order.
struct Machine {
    using Transition = Command;
    using SnapshotData = std::string;

    Simulator* simulator = nullptr;
    std::size_t node = 0;
    std::uint64_t digest = 0;
    std::vector<Command> pending;
    std::optional<Snapshot<std::string>> saved;  // On disk.

    void register_transition_state(std::uint64_t id, TransitionState state);
    void apply_transition(const Command& command);
    std::vector<Command> get_pending_transitions() { return std::exchange(pending, {}); }
    std::optional<Snapshot<std::string>> get_snapshot() { return saved; }
    std::string create_snapshot(Index last_included_index, Term last_included_term);
    void set_snapshot(const Snapshot<std::string>& snapshot);
};

using Message = MessageOf<Machine>;
using LogEntry = Entry<Command>;

struct Network {
    Simulator* simulator = nullptr;
    std::size_t node = 0;
    std::vector<Message> inbox;

    void send_message(ReplicaId to, Message message);
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
};

/// The log with a hash chain along it: equal hashes at an index mean equal logs up to there.
struct Image {
    Term term;
    std::optional<ReplicaId> voted_for;
    LogPosition base;
    std::uint64_t base_hash = 0;
    std::vector<LogEntry> entries;
    std::vector<std::uint64_t> hashes;

    Index last_index() const { return base.index + entries.size(); }
    std::optional<std::uint64_t> hash_at(Index index) const {
        if (index < base.index || index > last_index()) return std::nullopt;
        return index == base.index ? base_hash : hashes[index - base.index - 1];
    }
    Term term_at(Index index) const {
        return index == base.index ? base.term : entries[index - base.index - 1].term;
    }
};

/// Loses, in a crash, all writes after some moment since the last sync.
struct Disk {
    Simulator* simulator = nullptr;
    std::size_t node = 0;
    Image written;
    std::vector<Image> unsynced;  // What it would look like had it stopped before each write.
    std::optional<std::uint64_t> calls_left;  // Until the process dies.

    bool dies();
    StoredState<Command> load();
    void save_vote(Term term, std::optional<ReplicaId> voted_for);
    void append(Index first_index, const std::vector<LogEntry>& entries);
    void compact(LogPosition last_included);
    bool sync();
    const Image& durable() const { return unsynced.empty() ? written : unsynced.front(); }
};

// ----- Simulator ---------------------------------------------------------------------------------

class Simulator {
 public:
    using Replica = little_raft::Replica<Network, Machine, Disk>;

    explicit Simulator(const Configuration& configuration)
        : configuration_(configuration), random_(configuration.seed) {
        nodes_.resize(configuration.replicas);
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            Node& node = nodes_[i];
            node.machine.simulator = node.network.simulator = node.disk.simulator = this;
            node.machine.node = node.network.node = node.disk.node = i;
            boot(i);
        }
    }
    Simulator(const Simulator&) = delete;
    Simulator& operator=(const Simulator&) = delete;

    /// Runs a schedule, then heals a random majority and lets it converge. Empty: all was well.
    std::string run(const Schedule& schedule) {
        for (const Op& op : schedule) {
            apply(op);
            if (!failure_.empty()) return failure_;
        }
        converge();
        return failure_;
    }

    const std::string& failure() const { return failure_; }
    Coverage& coverage() { return coverage_; }
    /// Of all that was sent, applied and reported, in order.
    std::uint64_t trace() const { return trace_; }

    void apply(const Op& op) {
        ++coverage_[Event::step];
        std::size_t a = op.a % nodes_.size();
        switch (op.step) {
            case Step::deliver:
                return take_message(op, true, false);
            case Step::duplicate:
                return take_message(op, true, true);
            case Step::drop:
                return take_message(op, false, false);
            case Step::time_out:
                if (op.b % 2 == 0) a = leader_or(a);
                nodes_[a].now = std::max(nodes_[a].now, nodes_[a].deadline);
                return poll(a);
            case Step::advance:
                for (Node& node : nodes_) node.now += std::chrono::milliseconds(op.b % 700);
                return;
            case Step::propose:
                return propose(a, 1 + op.b % 4);
            case Step::crash:
                return crash(a, op.b % 6);
            case Step::restart:
                if (!nodes_[a].replica) boot(a);
                return;
            case Step::partition:
                for (std::size_t i = 0; i < nodes_.size(); ++i) {
                    bool inside = (op.a >> i) & 1;
                    nodes_[i].unreachable = inside ? ~op.a : op.a;
                }
                return;
            case Step::one_way:
                nodes_[a].unreachable |= 1U << (op.b % nodes_.size());
                return;
            case Step::heal:
                for (Node& node : nodes_) node.unreachable = 0;
                return;
        }
    }

 private:
    friend struct Machine;
    friend struct Network;
    friend struct Disk;

    struct Node {
        Network network;
        Machine machine;
        Disk disk;
        std::unique_ptr<Replica> replica;
        Time now{};
        Time deadline{};
        std::uint32_t unreachable = 0;  // Bit set of the replicas that its messages do not reach.
        bool dead = false;              // Died within the poll that is on.
        // Seen after its last poll.
        Term term;
        Term synced_term;
        Role role = Role::follower;
        Index commit_index;
        Index last_applied;
        Index last_log_index;
        Index last_index;  // On disk.
        std::uint64_t last_hash = 0;
        std::map<Term, ReplicaId> votes;
    };

    /// What is known to be committed, at its index - 1.
    struct Committed {
        std::uint64_t hash;
        std::uint64_t digest;  // Of a machine that applied everything up to here.
        Term known_in;         // The term of the first replica that knew.
    };

    static ReplicaId id_of(std::size_t node) { return ReplicaId{node + 1}; }
    static std::size_t node_of(ReplicaId id) { return static_cast<std::size_t>(id.value - 1); }

    void fail(const std::string& what) {
        if (failure_.empty()) failure_ = what;
    }
    void require(bool holds, const char* what, std::size_t node) {
        if (!holds) fail(std::string(what) + " (replica " + std::to_string(node + 1) + ")");
    }
    void trace(std::uint64_t what) { trace_ = mix(trace_, what); }

    std::uint64_t committed_hash(Index index) const {
        return index.value == 0 ? 0 : committed_[index.value - 1].hash;
    }

    /// Some replica that takes itself for the leader; a if there is none.
    std::size_t leader_or(std::size_t a) const {
        for (std::size_t k = 0; k < nodes_.size(); ++k) {
            std::size_t i = (a + k) % nodes_.size();
            if (nodes_[i].replica && nodes_[i].role == Role::leader) return i;
        }
        return a;
    }

    // ----- The life of a replica

    void boot(std::size_t i) {
        Node& node = nodes_[i];
        std::vector<ReplicaId> peers;
        for (std::size_t k = 0; k < nodes_.size(); ++k) peers.push_back(id_of(k));
        Options<Machine> options;
        options.snapshot_delta = configuration_.snapshot_delta;
        options.snapshot_trailing = configuration_.snapshot_trailing;
        options.snapshot_chunk_bytes = configuration_.chunk_bytes;
        options.append_bytes_max = configuration_.entries_per_message * sizeof(LogEntry);
        options.inflight_messages_max = configuration_.inflight_messages;
        options.uncommitted_entries_max = configuration_.uncommitted_entries;
        options.seed = configuration_.seed + boots_++;
        node.machine.digest = 0;
        node.machine.pending.clear();
        node.network.inbox.clear();
        node.replica = std::make_unique<Replica>(id_of(i), peers, node.network, node.machine,
                                                 node.disk, options);
        Status status = node.replica->status();
        require(!status.fault, "a correct disk was refused", i);
        require(status.term == node.disk.written.term, "the term on disk is taken up", i);
        require(status.term >= node.synced_term, "a synced term is not lost", i);
        node.term = status.term;
        node.role = Role::follower;
        node.commit_index = node.last_applied = status.last_applied;
        node.last_index = status.last_log_index;
        node.deadline = node.now;
        ++coverage_[Event::restart];
        poll(i);
    }

    void crash(std::size_t i, std::uint64_t calls) {
        Node& node = nodes_[i];
        if (!node.replica) return;
        if (calls > 0) {
            node.disk.calls_left = calls - 1;
        } else {
            bury(i);
        }
    }

    /// The process is gone; the disk keeps what it synced and, maybe, some of what it did not.
    void bury(std::size_t i) {
        Node& node = nodes_[i];
        ++coverage_[Event::crash];
        node.replica.reset();
        node.dead = false;
        node.disk.calls_left.reset();
        std::uint64_t kept = random_.below(node.disk.unsynced.size() + 1);
        if (kept < node.disk.unsynced.size()) {
            ++coverage_[Event::unsynced_write_lost];
            node.disk.written = node.disk.unsynced[kept];
        }
        node.disk.unsynced.clear();
        for (auto& [id, outcome] : outcomes_) {
            if (outcome.node == i && !outcome.is_final) outcome.is_final = true;  // It cannot tell.
        }
    }

    void poll(std::size_t i) {
        Node& node = nodes_[i];
        if (!node.replica) return;
        node.deadline = node.replica->poll(node.now);
        if (node.dead) {
            ++coverage_[Event::crash_inside_poll];
            bury(i);
        } else {
            check(i);
        }
    }

    void propose(std::size_t i, std::uint64_t count) {
        Node& node = nodes_[i];
        if (!node.replica) return;
        for (; count > 0; --count) {
            std::uint64_t id = next_id_++;
            outcomes_[id].node = i;
            node.machine.pending.push_back({id});
            ++coverage_[Event::proposed];
        }
        poll(i);
    }

    void take_message(const Op& op, bool deliver, bool keep) {
        if (flying_.empty()) return;
        std::size_t at = op.a % flying_.size();
        if (configuration_.fifo) {
            // The oldest on the same link.
            for (std::size_t k = 0; k < at; ++k) {
                if (flying_[k].from == flying_[at].from && flying_[k].to == flying_[at].to) at = k;
            }
        }
        Message message = flying_[at];
        if (!keep) flying_.erase(flying_.begin() + static_cast<std::ptrdiff_t>(at));
        if (keep) ++coverage_[Event::duplicate];
        if (!deliver) ++coverage_[Event::drop];
        if (deliver) hand_over(std::move(message));
    }

    void hand_over(Message message) {
        std::size_t from = node_of(message.from);
        std::size_t to = node_of(message.to);
        if ((nodes_[from].unreachable >> to) & 1) {
            ++coverage_[Event::blocked];
            return;
        }
        if (!nodes_[to].replica) return;
        ++coverage_[Event::delivery];
        nodes_[to].network.inbox.push_back(std::move(message));
        poll(to);
    }

    // ----- Safety

    /// After each poll of replica i.
    void check(std::size_t i) {
        Node& node = nodes_[i];
        Status status = node.replica->status();
        const Image& disk = node.disk.written;
        require(!status.fault, "no fault without a cause", i);
        require(node.disk.unsynced.empty(), "a poll ends with everything synced", i);
        require(status.term >= node.term, "terms never fall", i);
        bool goes_on = node.deadline <= node.now;  // It asked to be polled again at once.
        require(goes_on || status.term == disk.term, "the term is on disk", i);
        require(goes_on || status.last_log_index == disk.last_index(), "the log is on disk", i);
        check_commit(i, status);
        check_election(i, status);
        check_log_matching(i);
        require(status.snapshot.index <= status.last_applied, "snapshots are of what was applied",
                i);
        require(status.last_applied == status.commit_index, "what is committed is applied", i);
        require(status.commit_index <= status.last_log_index, "what is committed is in the log", i);
        require(status.commit_index >= node.commit_index, "the commit index never falls", i);
        std::uint64_t expected =
            status.last_applied.value == 0 ? 0 : committed_digest(status.last_applied);
        require(node.machine.digest == expected,
                "State Machine Safety: every machine applies the same entries in the same order",
                i);
        node.term = status.term;
        node.synced_term = disk.term;
        node.role = status.role;
        node.commit_index = status.commit_index;
        node.last_applied = status.last_applied;
        node.last_log_index = status.last_log_index;
        node.last_index = disk.last_index();
        node.last_hash = *disk.hash_at(disk.last_index());
    }

    std::uint64_t committed_digest(Index index) const {
        return index.value <= committed_.size() ? committed_[index.value - 1].digest : ~0ULL;
    }

    void check_commit(std::size_t i, const Status& status) {
        const Image& disk = nodes_[i].disk.written;
        while (committed_.size() < status.commit_index.value) {
            Index index{committed_.size() + 1};
            if (index <= disk.base.index || index > disk.last_index()) {
                return require(false, "a replica knows a commit that it does not hold", i);
            }
            const LogEntry& entry = disk.entries[index - disk.base.index - 1];
            std::uint64_t digest = committed_.empty() ? 0 : committed_.back().digest;
            if (auto* command = std::get_if<Command>(&entry.command)) {
                digest = mix(digest, command->id);
                require(entry_of_[command->id]++ == 0, "a transition is committed only once", i);
            }
            committed_.push_back({*disk.hash_at(index), digest, status.term});
            ++coverage_[Event::commit];
        }
        std::optional<std::uint64_t> hash = disk.hash_at(status.commit_index);
        require(hash == committed_hash(status.commit_index),
                "State Machine Safety: committed entries are the same everywhere", i);
        if (status.commit_index == nodes_[i].commit_index || status.role != Role::leader) return;
        // Safety of the commit itself: a majority holds it on disk, and it is of the leader's term.
        std::size_t holders = 0;
        for (const Node& other : nodes_) {
            const Image& image = other.disk.durable();
            bool holds = image.base.index >= status.commit_index ||
                         image.hash_at(status.commit_index) == hash;
            holders += holds ? 1 : 0;
        }
        require(2 * holders > nodes_.size(), "what is committed is on a majority of disks", i);
        require(status.commit_index == disk.base.index ||
                    disk.term_at(status.commit_index) == status.term,
                "a leader commits by counting only in its own term", i);
    }

    void check_election(std::size_t i, const Status& status) {
        Node& node = nodes_[i];
        const Image& disk = node.disk.written;
        bool stays = node.role == Role::leader && node.term == status.term;
        if (node.role == Role::leader && !(status.role == Role::leader && stays) &&
            node.last_index > node.commit_index) {
            ++coverage_[Event::leader_deposed_with_uncommitted];
        }
        if (status.role != Role::leader) return;
        if (stays) {
            require(disk.last_index() >= node.last_index &&
                        (node.last_index < disk.base.index ||
                         disk.hash_at(node.last_index) == node.last_hash),
                    "Leader Append-Only: a leader never overwrites or deletes entries", i);
            require(
                status.last_log_index == node.last_log_index ||
                    status.last_log_index - node.commit_index <= configuration_.uncommitted_entries,
                "uncommitted entries are bounded", i);
            return;
        }
        ++coverage_[Event::election_won];
        auto [leader, is_new] = leaders_.emplace(status.term, id_of(i));
        require(is_new, "Election Safety: at most one leader is elected in a term", i);
        Index complete{};
        for (std::size_t k = committed_.size(); k > 0 && complete.value == 0; --k) {
            if (committed_[k - 1].known_in < status.term) complete = Index{k};
        }
        require(complete <= disk.base.index || disk.hash_at(complete) == committed_hash(complete),
                "Leader Completeness: a leader has all that was committed in earlier terms", i);
    }

    void check_log_matching(std::size_t i) {
        const Image& mine = nodes_[i].disk.written;
        for (std::size_t k = 0; k < nodes_.size(); ++k) {
            if (k == i) continue;
            const Image& other = nodes_[k].disk.written;
            Index index = std::min(mine.last_index(), other.last_index());
            Index base = std::max(mine.base.index, other.base.index);
            while (index > base && mine.term_at(index) != other.term_at(index)) index = index - 1;
            if (index < base || mine.term_at(index) != other.term_at(index)) continue;
            require(mine.hash_at(index) == other.hash_at(index),
                    "Log Matching: equal index and term mean equal logs up to there", i);
        }
    }

    /// Everything that leaves a replica must be on its disk if it speaks of its disk.
    void check_message(std::size_t i, const Message& message) {
        const Image& durable = nodes_[i].disk.durable();
        auto* request = std::get_if<RequestVote>(&message.body);
        auto* vote = std::get_if<RequestVoteResponse>(&message.body);
        auto* response = std::get_if<AppendEntriesResponse>(&message.body);
        bool ahead =
            (request && request->pre_vote) || (vote && vote->pre_vote && vote->vote_granted);
        require(ahead || message.term <= durable.term, "no message is ahead of the term on disk",
                i);
        if (request && !request->pre_vote) {
            require(durable.term == message.term && durable.voted_for == message.from,
                    "a candidate's own vote is on disk before it asks for others", i);
        }
        if (vote && !vote->pre_vote && vote->vote_granted) {
            require(durable.term == message.term && durable.voted_for == message.to,
                    "a vote is on disk before it is told", i);
        }
        if (response && response->success) {
            require(response->match_index <= durable.last_index(),
                    "entries are on disk before they are acknowledged", i);
        }
    }

    // ----- Liveness

    /// Every fault ends; a majority is up, the rest stays dead. It must elect a leader, commit what
    /// the leader has without any new transition, then take one, and agree.
    void converge() {
        std::vector<std::size_t> core;
        while (2 * core.size() <= nodes_.size()) {
            std::size_t i = random_.below(nodes_.size());
            if (std::find(core.begin(), core.end(), i) == core.end()) core.push_back(i);
        }
        Time start{};
        for (const Node& node : nodes_) start = std::max(start, node.now);
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            nodes_[i].unreachable = 0;
            nodes_[i].disk.calls_left.reset();
            nodes_[i].now = start;
            bool lives = std::find(core.begin(), core.end(), i) != core.end();
            if (!lives && nodes_[i].replica) bury(i);
            if (lives && !nodes_[i].replica) boot(i);
        }
        Time limit = start + 20 * ElectionTimeoutRange{}.max;
        auto settled = [&] { return leader_of(core) < nodes_.size() && agree(core); };
        if (!run_until(core, limit, settled)) {
            return fail("Liveness: a healed majority elects a leader and commits its whole log");
        }
        std::size_t leader = leader_of(core);
        std::uint64_t id = next_id_;
        propose(leader, 1);
        auto applied = [&] {
            return outcomes_[id].last == TransitionState::applied && agree(core) &&
                   nodes_[leader].commit_index == nodes_[leader].last_index;
        };
        if (!run_until(core, limit, applied)) {
            return fail("Liveness: a healed majority replicates a new transition");
        }
        for (const auto& [who, outcome] : outcomes_) {
            bool lives = nodes_[outcome.node].replica != nullptr;
            require(!lives || outcome.is_final, "every transition ends in a final state",
                    outcome.node);
        }
        ++coverage_[Event::healed];
    }

    std::size_t leader_of(const std::vector<std::size_t>& core) const {
        std::size_t leader = nodes_.size();
        Term highest{};
        for (std::size_t i : core) highest = std::max(highest, nodes_[i].term);
        for (std::size_t i : core) {
            if (nodes_[i].role == Role::leader && nodes_[i].term == highest) leader = i;
        }
        return leader;
    }

    bool agree(const std::vector<std::size_t>& core) const {
        const Node& first = nodes_[core.front()];
        return std::all_of(core.begin(), core.end(), [&](std::size_t i) {
            return nodes_[i].term == first.term && nodes_[i].last_index == first.last_index &&
                   nodes_[i].commit_index == nodes_[i].last_index &&
                   nodes_[i].machine.digest == first.machine.digest;
        });
    }

    /// Clocks agree, messages take no time and arrive in order.
    template <class Done>
    bool run_until(const std::vector<std::size_t>& core, Time limit, Done done) {
        while (failure_.empty() && !done()) {
            if (!flying_.empty()) {
                Message message = std::move(flying_.front());
                flying_.erase(flying_.begin());
                hand_over(std::move(message));
                continue;
            }
            std::size_t next = core.front();
            for (std::size_t i : core) {
                if (nodes_[i].deadline < nodes_[next].deadline) next = i;
            }
            Time now = std::max(nodes_[next].now, nodes_[next].deadline);
            if (now > limit) return false;
            for (std::size_t i : core) nodes_[i].now = now;
            poll(next);
        }
        return failure_.empty();
    }

    struct Outcome {
        std::size_t node = 0;
        std::optional<TransitionState> last = std::nullopt;
        bool is_final = false;
    };

    Configuration configuration_;
    Random random_;
    std::vector<Node> nodes_;
    std::vector<Message> flying_;
    std::vector<Committed> committed_;
    std::map<Term, ReplicaId> leaders_;
    std::map<std::uint64_t, Outcome> outcomes_;
    std::map<std::uint64_t, int> entry_of_;
    std::uint64_t next_id_ = 1;
    std::uint64_t boots_ = 0;
    std::uint64_t trace_ = 0;
    std::string failure_;
    Coverage coverage_;
};

// ----- What the user types do --------------------------------------------------------------------

inline void Machine::register_transition_state(std::uint64_t id, TransitionState state) {
    Simulator& s = *simulator;
    if (s.nodes_[node].dead) return;
    s.trace(id * 16 + static_cast<std::uint64_t>(state));
    Simulator::Outcome& outcome = s.outcomes_[id];
    if (outcome.node != node) {
        return s.require(state == TransitionState::applied, "only `applied` is told to others",
                         node);
    }
    // After a restart the replica applies, as anyone, what it took before.
    if (outcome.is_final && state == TransitionState::applied && outcome.last != state) {
        return s.require(outcome.last != TransitionState::abandoned_conflict_with_leader &&
                             outcome.last != TransitionState::abandoned_not_leader &&
                             outcome.last != TransitionState::abandoned_overloaded,
                         "what was abandoned is never applied", node);
    }
    if (outcome.is_final && outcome.last == TransitionState::applied) {
        return;  // Applied again by a later incarnation of the same machine.
    }
    using enum TransitionState;
    bool legal =
        !outcome.is_final && (!outcome.last ? state != committed && state != applied
                              : *outcome.last == queued
                                  ? state == committed || state == abandoned_conflict_with_leader ||
                                        state == outcome_unknown
                                  : state == applied);
    s.require(legal, "a transition's states follow each other, and one is final", node);
    outcome.last = state;
    outcome.is_final = state != queued && state != committed;
    if (state == abandoned_not_leader) ++s.coverage_[Event::abandoned_not_leader];
    if (state == abandoned_overloaded) ++s.coverage_[Event::abandoned_overloaded];
    if (state == abandoned_conflict_with_leader) ++s.coverage_[Event::abandoned_conflict];
    if (state == outcome_unknown) ++s.coverage_[Event::outcome_unknown];
    if (state == abandoned_conflict_with_leader) {
        s.require(s.entry_of_[id] == 0, "what is committed is never abandoned", node);
        s.entry_of_[id] = 1;  // Nor committed later.
    }
}

inline void Machine::apply_transition(const Command& command) {
    if (simulator->nodes_[node].dead) return;
    digest = mix(digest, command.id);
    simulator->trace(command.id);
    ++simulator->coverage_[Event::apply];
}

inline std::string Machine::create_snapshot(Index last_included_index, Term last_included_term) {
    std::string data;
    for (unsigned shift = 0; shift < 64; shift += 8)
        data.push_back(static_cast<char>(digest >> shift));
    data.append(8, '.');
    if (simulator->nodes_[node].dead) return data;
    saved = {last_included_index, last_included_term, data};
    ++simulator->coverage_[Event::snapshot_created];
    return data;
}

inline void Machine::set_snapshot(const Snapshot<std::string>& snapshot) {
    if (simulator->nodes_[node].dead) return;
    if (!saved || snapshot.last_included_index != saved->last_included_index) {
        ++simulator->coverage_[Event::snapshot_installed];
    }
    saved = snapshot;
    digest = 0;
    for (unsigned i = 0; i < 8; ++i) {
        digest |= std::uint64_t{static_cast<unsigned char>(snapshot.data[i])} << (8 * i);
    }
    simulator->require(snapshot.data.size() == 16, "a snapshot arrives as it was sent", node);
}

inline void Network::send_message(ReplicaId, Message message) {
    Simulator& s = *simulator;
    if (s.nodes_[node].dead) return;
    ++s.coverage_[Event::message];
    auto* request = std::get_if<RequestVote>(&message.body);
    if (request && !request->pre_vote) ++s.coverage_[Event::election_started];
    s.check_message(node, message);
    s.trace(message.from.value << 40 | message.to.value << 32 | message.term.value << 8 |
            message.body.index());
    s.flying_.push_back(std::move(message));
    if (s.flying_.size() > 60) s.flying_.erase(s.flying_.begin());
}

inline bool Disk::dies() {
    if (calls_left && *calls_left == 0) simulator->nodes_[node].dead = true;
    if (calls_left && *calls_left > 0) --*calls_left;
    return simulator->nodes_[node].dead;
}

inline StoredState<Command> Disk::load() {
    return {written.term, written.voted_for, written.base, written.entries};
}

inline void Disk::save_vote(Term term, std::optional<ReplicaId> voted_for) {
    if (dies()) return;
    unsynced.push_back(written);
    simulator->require(term >= written.term, "a term on disk never falls", node);
    written.term = term;
    written.voted_for = voted_for;
}

inline void Disk::append(Index first_index, const std::vector<LogEntry>& entries) {
    if (dies()) return;
    unsynced.push_back(written);
    if (first_index <= written.base.index || first_index > written.last_index() + 1) {
        return simulator->require(false, "appended entries follow what is there", node);
    }
    auto kept = static_cast<std::size_t>(first_index - written.base.index - 1);
    if (kept < written.entries.size()) ++simulator->coverage_[Event::entries_truncated];
    written.entries.resize(kept);
    written.hashes.resize(kept);
    for (const LogEntry& entry : entries) {
        auto* command = std::get_if<Command>(&entry.command);
        std::uint64_t last =
            kept == 0 && written.hashes.empty() ? written.base_hash : written.hashes.back();
        written.hashes.push_back(mix(mix(last, entry.term.value), command ? command->id : ~0ULL));
        written.entries.push_back(entry);
    }
}

inline void Disk::compact(LogPosition last_included) {
    if (dies()) return;
    unsynced.push_back(written);
    ++simulator->coverage_[Event::log_compacted];
    Index index = last_included.index;
    bool held = index >= written.base.index && index <= written.last_index() &&
                written.term_at(index) == last_included.term;
    auto gone =
        static_cast<std::ptrdiff_t>(held ? index - written.base.index : written.entries.size());
    written.entries.erase(written.entries.begin(), written.entries.begin() + gone);
    written.hashes.erase(written.hashes.begin(), written.hashes.begin() + gone);
    written.base = last_included;
    if (index.value > simulator->committed_.size()) {
        return simulator->require(false, "a snapshot covers only what is committed", node);
    }
    written.base_hash = simulator->committed_hash(index);
}

inline bool Disk::sync() {
    if (dies()) return true;
    unsynced.clear();
    if (written.voted_for) {
        auto& votes = simulator->nodes_[node].votes;
        simulator->require(
            votes.emplace(written.term, *written.voted_for).first->second == *written.voted_for,
            "a replica votes once in a term", node);
    }
    return true;
}

// ----- Swarm and shrinking -----------------------------------------------------------------------

/// A schedule in which each kind of step has a weight of its own and faults may be missing.
inline Schedule draw_schedule(Random& random, std::size_t length) {
    std::array<std::uint64_t, step_kinds> weights = {30, 3, 3, 8, 3, 8, 2, 3, 1, 1, 1};
    for (std::size_t i = 0; i < step_kinds; ++i) {
        bool is_fault = i == 1 || i == 2 || i >= 6;
        weights[i] = is_fault && random.below(3) == 0 ? 0 : weights[i] * (1 + random.below(4));
    }
    if (weights[6] > 0 && weights[7] == 0) weights[7] = weights[6];
    std::uint64_t total = 0;
    for (std::uint64_t weight : weights) total += weight;
    Schedule schedule(length);
    for (Op& op : schedule) {
        std::uint64_t at = random.below(total);
        std::size_t kind = 0;
        while (at >= weights[kind]) at -= weights[kind++];
        op = {static_cast<Step>(kind), static_cast<std::uint32_t>(random.below(1U << 16)),
              static_cast<std::uint32_t>(random.below(1U << 16))};
    }
    return schedule;
}

/// The shortest schedule found that fails as this one does.
inline Schedule shrink(const Configuration& configuration, Schedule schedule) {
    auto fails = [&](const Schedule& candidate) {
        return !Simulator(configuration).run(candidate).empty();
    };
    for (std::size_t piece = schedule.size() / 2; piece > 0;) {
        bool progress = false;
        for (std::size_t at = 0; at + piece <= schedule.size();) {
            Schedule shorter = schedule;
            auto first = shorter.begin() + static_cast<std::ptrdiff_t>(at);
            shorter.erase(first, first + static_cast<std::ptrdiff_t>(piece));
            if (fails(shorter)) {
                schedule = std::move(shorter);
                progress = true;
            } else {
                at += piece;
            }
        }
        if (!progress || piece > 1) piece = piece == 1 ? (progress ? 1 : 0) : piece / 2;
    }
    return schedule;
}

/// What a person needs to see of a failure, and how to repeat it.
inline std::string report(const Configuration& configuration, const Schedule& schedule) {
    Schedule shortest = shrink(configuration, schedule);
    std::string what = Simulator(configuration).run(shortest);
    std::ostringstream text;
    text << what << "\nshrunk from " << schedule.size() << " to " << shortest.size()
         << " steps; to repeat it:\n  LITTLE_RAFT_CONFIGURATION='" << configuration.to_text()
         << "' \\\n  LITTLE_RAFT_SCHEDULE='" << to_text(shortest)
         << "' tests/run swarm -- -ns -tc='replay*'\n";
    return text.str();
}

}  // namespace little_raft::testing
