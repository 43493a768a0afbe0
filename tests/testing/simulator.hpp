// A deterministic cluster in one thread: real replicas of the user's machine, virtual clocks, a
// network and disks that a schedule of small steps moves, watched by a Ghost. No wall clock, no
// global, no randomness but the configuration's seed: the same configuration and schedule give the
// same run everywhere.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "fingerprint.hpp"
#include "history.hpp"
#include "invariants.hpp"
#include "little_raft.hpp"
#include "random.hpp"
#include "record.hpp"
#include "schedule.hpp"
#include "subject.hpp"

namespace little_raft::testing {

template <class S>
class Simulator;
template <class S>
class Explorer;

// ----- What a replica is given -------------------------------------------------------------------

/// A read is known by its number alone: what it would see follows from when it is answered.
struct SimulatedRead {
    std::uint64_t number = 0;
};

/// Wraps the user's machine: keeps what it is to propose and to read, tells the ghost what it is
/// told.
template <class S>
struct SimulatedMachineBase {
    using Traits = SubjectTraits<S>;
    using Saved = typename Traits::Saved;
    using Transition = typename Traits::T;
    using Read = SimulatedRead;

    Simulator<S>* simulator = nullptr;
    std::size_t node = 0;
    std::unique_ptr<typename Traits::M> machine;  // Gone with its process.
    std::vector<std::uint64_t> pending;           // By their numbers.
    std::vector<Read> reads;                      // Not taken yet.
    Time reads_taken{};                           // When the last ones were, by stamps.
    std::uint64_t applied_hash = 0;               // Of the numbers of all that it applied.
    bool touched = false;                         // Its state changed since it was last compared.
    std::optional<Saved> saved;                   // On disk.

    void register_transition_state(const typename Traits::Id& id, TransitionState state);
    void apply_transition(const Transition& transition);
    std::vector<Transition> get_pending_transitions();
    std::vector<Read> get_pending_reads();
    void apply_read(const Read& read);
    void abandon_read(const Read& read);
};

template <class S, bool snapshotting = SubjectTraits<S>::snapshotting>
struct SimulatedMachine : SimulatedMachineBase<S> {};

template <class S>
struct SimulatedMachine<S, true> : SimulatedMachineBase<S> {
    using SnapshotData = typename SubjectTraits<S>::D;
    using Saved = typename SubjectTraits<S>::Saved;

    std::optional<Saved> get_snapshot() { return this->saved; }
    /// `membership` is there where members change.
    SnapshotData create_snapshot(Index last_included_index, Term last_included_term,
                                 const auto&... membership);
    void set_snapshot(const Saved& snapshot);
    void check_saved();
};

template <class S>
struct SimulatedClusterBase {
    using Message = typename SubjectTraits<S>::Message;

    Simulator<S>* simulator = nullptr;
    std::size_t node = 0;
    std::vector<Message> inbox;

    void send_message(ReplicaId to, Message message);
    std::vector<Message> receive_messages();
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
    std::optional<ReplicaId> get_pending_transfer() {
        wished = transfer_to.has_value();
        return std::exchange(transfer_to, {});
    }
    bool wished = false;  // In the latest poll.
    std::optional<ReplicaId> transfer_to;

    bool granted = false;  // A vote or a PreVote, in this poll.

    // Where a poll takes in a single message, what it answers is known.
    std::optional<RequestVote> request;
    ReplicaId asks;

    std::optional<Membership> wanted;  // Not taken yet.
};

template <class S, bool members_change = SubjectTraits<S>::members_change>
struct SimulatedCluster : SimulatedClusterBase<S> {};

template <class S>
struct SimulatedCluster<S, true> : SimulatedClusterBase<S> {
    std::optional<Membership> get_pending_membership();
    void register_membership(const Membership& membership, MembershipState state);
};

/// A disk that loses, in a crash, all writes after some moment since the last sync. With a Storage
/// of the subject's it passes everything on, and knows what that may have lost. Where the subject
/// says so a sync ends when a step or time says so.
template <class S>
struct SimulatedDisk {
    using T = typename SubjectTraits<S>::T;
    using Config = typename SubjectTraits<S>::Config;
    using LogEntry = Entry<T, Config>;
    using State = StoredState<T, Config>;

    /// What brings back the disk as it was before a write that no sync followed.
    struct Write {
        enum Kind : std::uint8_t { vote, append, compact } kind = vote;
        Term term = {};
        std::optional<ReplicaId> voted_for = std::nullopt;
        LogPosition base = {};
        std::uint64_t base_hash = 0;
        std::size_t kept = 0;          // append: entries before the new ones
        std::size_t added = 0;         // append
        std::vector<Mark> marks = {};  // What was cut off or compacted.
        std::vector<LogEntry> entries = {};
    };

    /// A sync that has not ended.
    struct Begun {
        Synced synced = {};
        std::size_t writes = 0;  // Of those in `unsynced`, the oldest.
        Time due = {};           // Where time passes by itself, ...
        bool slow = false;       // ... and where a step ends the others.
        bool fails = false;
    };

    Simulator<S>* simulator = nullptr;
    std::size_t node = 0;
    std::vector<LogEntry> entries;  // Of the log whose marks the ghost has.
    std::vector<Write> unsynced;
    std::optional<Begun> begun;               // One that is on,
    bool syncing = false;                     // ... or whose end the replica was not told.
    std::optional<std::uint64_t> calls_left;  // Until the process dies.
    std::uint64_t slow = 0;                   // Milliseconds that the next sync takes.
    bool fails = false;                       // The next sync does,
    bool fails_late = false;                  // ... or does so when it ends.
    bool failed = false;                      // One did, in this process.
    std::uint8_t called = 0;                  // In this poll, a bit for each kind of call.

    State load();
    void save_vote(Term term, std::optional<ReplicaId> voted_for);
    void append(Index first_index, const std::vector<LogEntry>& added);
    void compact(LogPosition last_included);
    std::conditional_t<SubjectTraits<S>::async_disk, std::optional<bool>, bool> sync();
    /// Some end at once, most later.
    void begin_sync();
    /// Precondition: one is on.
    void end_sync();
    /// What the replica holds back since a sync is or was on counts as written here, since the laws
    /// know its log by its disk. So in a crash more may survive than a real disk was given, which
    /// must do no harm either.
    void keep_up(const auto& replica);

    /// The process ended. `entropy` says how many of the writes since the last sync survived.
    void crash(std::uint64_t entropy);
    void undo();
    bool is_at(const State& state) const;

 private:
    bool dies(unsigned kind);
    void put_vote(Term term, std::optional<ReplicaId> voted_for);
    void put_entries(Index first_index, const std::vector<LogEntry>& all);
    void put_base(LogPosition last_included);
};

/// Where the subject's own Storage lives, if it has one: a directory for each replica, and a copy
/// of each as of its last sync.
template <class S, bool stores = SubjectTraits<S>::stores>
struct OwnStorage {
    void make(std::size_t) {}
};

template <class S>
struct OwnStorage<S, true> {
    std::filesystem::path root;
    std::vector<std::unique_ptr<typename S::Storage>> storages;
    std::vector<bool> power_lost;

    OwnStorage() = default;
    OwnStorage(const OwnStorage&) = delete;
    OwnStorage& operator=(const OwnStorage&) = delete;
    ~OwnStorage() {
        storages.clear();
        std::error_code ignored;
        if (!root.empty()) std::filesystem::remove_all(root, ignored);
    }
    /// The first name that nobody has taken.
    void make(std::size_t replicas) {
        for (std::uint64_t k = 0; root.empty(); ++k) {
            auto name = default_parent() / ("little_raft_testing_" + std::to_string(k));
            if (std::filesystem::create_directory(name)) root = name;
        }
        storages.resize(replicas);
        power_lost.resize(replicas);
        for (std::size_t i = 0; i < replicas; ++i) {
            std::filesystem::create_directory(live(i));
            std::filesystem::create_directory(synced(i));
        }
    }
    std::filesystem::path live(std::size_t i) const { return root / std::to_string(i + 1); }
    std::filesystem::path synced(std::size_t i) const {
        return root / (std::to_string(i + 1) + "_synced");
    }
    static void replace(const std::filesystem::path& to, const std::filesystem::path& from) {
        std::filesystem::remove_all(to);
        std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
    }
};

// ----- Simulator ---------------------------------------------------------------------------------

template <class S>
class Simulator {
 public:
    using Traits = SubjectTraits<S>;
    using T = typename Traits::T;
    using D = typename Traits::D;
    using Config = typename Traits::Config;
    using Entry = little_raft::Entry<T, Config>;
    using AppendEntries = little_raft::AppendEntries<T, Config>;
    using InstallSnapshot = little_raft::InstallSnapshot<D, Config>;
    using Machine = SimulatedMachine<S>;
    using Cluster = SimulatedCluster<S>;
    using Disk = SimulatedDisk<S>;
    using Message = typename Traits::Message;
    using Replica = little_raft::Replica<Cluster, Machine, Disk>;

    explicit Simulator(const Configuration& configuration, Record* record = nullptr)
        : configuration_(configuration),
          random_(configuration.seed),
          ghost_(configuration.replicas, limits_of(configuration)),
          nodes_(configuration.replicas),
          calls_(1),
          record_(record) {
        Traits::check();
        transitions_.push_back(T{draw_transition(0)});
        own_storage_.make(nodes_.size());
        if constexpr (Traits::digests) {
            model_.machine.reset(new typename Traits::M(Traits::machine()));
            model_.digests.push_back(S::digest(*model_.machine));
        } else {
            shadows_.resize(nodes_.size());
        }
        begin_step("All replicas start.");
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            bind(i);
            if (has_leases()) nodes_[i].rate = bounded_rate(mix(configuration.seed, i));
            if (configuration.late != i + 1) boot(i);
        }
        end_step();
    }

    /// A cluster in the same state that goes on independently, without a record. Only for machines
    /// that can be copied and the kit's own disk.
    Simulator(const Simulator& other)
        : configuration_(other.configuration_),
          random_(other.random_),
          ghost_(other.ghost_),
          nodes_(other.nodes_.size()),
          flying_(other.flying_),
          transitions_(other.transitions_),
          calls_(other.calls_),
          moment_(other.moment_),
          highest_id_(other.highest_id_),
          changes_(other.changes_),
          answered_now_(other.answered_now_),
          expected_(other.expected_),
          model_(other.model_),
          shadows_(other.shadows_),
          time_(other.time_),
          boots_(other.boots_),
          steps_(other.steps_),
          trace_(other.trace_) {
        static_assert(!Traits::stores, "little_raft: a subject's own Storage cannot be copied");
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            nodes_[i].take(other.nodes_[i]);
            bind(i);
            if (other.nodes_[i].replica) {
                nodes_[i].replica = Inspect::branch(*other.nodes_[i].replica, nodes_[i].cluster,
                                                    nodes_[i].machine, nodes_[i].disk);
            }
        }
    }
    Simulator& operator=(const Simulator&) = delete;

    /// Runs a schedule, then heals a random majority and lets it converge. True: all was well.
    bool run(const Schedule& schedule) {
        if (schedule.size() >= 1'000) ++coverage()[Event::long_schedule];
        for (const Op& op : schedule) {
            apply(op);
            if (failure()) break;
        }
        if (!failure()) converge();
        judge_history();
        return !failure();
    }

    /// The first law that broke.
    const std::optional<Failure>& failure() const { return ghost_.failure(); }
    Coverage& coverage() { return ghost_.coverage(); }
    const Ghost& ghost() const { return ghost_; }
    const Configuration& configuration() const { return configuration_; }
    /// Of all that was sent, applied and reported, in order.
    std::uint64_t trace() const { return trace_; }
    /// How many steps apply() took; where a run failed, the last one.
    std::uint64_t steps() const { return steps_; }

    std::size_t replicas() const { return nodes_.size(); }
    std::size_t messages_in_flight() const { return flying_.size(); }
    bool is_alive(std::size_t i) const { return nodes_[i].replica != nullptr; }
    bool is_paused(std::size_t i) const { return nodes_[i].paused; }
    /// Precondition: is_alive(i).
    const Status& status(std::size_t i) const { return nodes_[i].replica->status(); }
    /// Precondition: is_alive(i).
    const typename Traits::M& machine(std::size_t i) const { return *nodes_[i].machine.machine; }
    /// The message that deliver would take for this a; precondition: there are messages in flight.
    const Message& message(std::size_t a) const { return *flying_[pick(a)].message; }
    /// What the clients of all transitions saw, in the order of their calls.
    std::vector<ClientCall<S>> history() const { return {calls_.begin() + 1, calls_.end()}; }
    const T& transition(std::uint64_t number) const { return transitions_[number]; }
    /// Whether some order explains a history of this run, by the machine itself as the model.
    Linearizability explain(const std::vector<ClientCall<S>>& calls) const requires
        MachineModel<S>::is_possible {
        // Many times what is needed where answers are right: then hardly any choice is wrong.
        return check_history<S>(calls, transitions_, {.steps = 20'000});
    }

    /// The same step, but in terms that do not depend on what else is there: a schedule of such
    /// keeps its meaning where others of its steps are taken out.
    Op resolve(const Op& op) const {
        Op exact{op.step, static_cast<std::uint32_t>(op.a % nodes_.size()), op.b};
        switch (op.step) {
            case Step::deliver:
            case Step::duplicate:
            case Step::drop:
            case Step::corrupt: {
                std::optional<std::size_t> at = find(op);
                if (!at) return op;
                const Flying& found = flying_[*at];
                std::uint32_t place = 0;
                for (std::size_t k = 0; k < *at; ++k)
                    place += flying_[k].from == found.from && flying_[k].to == found.to ? 1 : 0;
                return {op.step, Op::on_link(found.from, found.to, place), op.b | Op::exact};
            }
            case Step::time_out:
                if (configuration_.untimed != 0 || op.b % 4 >= 2) return exact;
                return {op.step, static_cast<std::uint32_t>(leader_or(exact.a)), 2};
            case Step::propose:
                if (op.b / 4 % 4 != 0) exact.a = static_cast<std::uint32_t>(leader_or(exact.a));
                exact.b = op.b % 4;
                return exact;
            case Step::read:
                if (op.b / 4 % 4 == 0) exact.a = static_cast<std::uint32_t>(leader_or(exact.a));
                exact.b = 4 + op.b % 4;
                return exact;
            case Step::transfer:
                exact.a = static_cast<std::uint32_t>(leader_or(exact.a));
                [[fallthrough]];
            case Step::one_way:
                exact.b = static_cast<std::uint32_t>(op.b % nodes_.size());
                return exact;
            case Step::partition:
                return op;
            case Step::end_sync:
                exact.a = static_cast<std::uint32_t>(syncing_or(exact.a));
                return exact;
            case Step::change:
                exact.a = static_cast<std::uint32_t>(asked_to_change(op.a));
                exact.b = members_of(op.b, exact.a);
                return exact;
            default:
                return exact;
        }
    }

    void apply(const Op& op) {
        ++steps_;
        ++coverage()[Event::step];
        std::size_t a = op.a % nodes_.size();
        switch (op.step) {
            case Step::deliver:
                return take_message(op, Take::deliver);
            case Step::duplicate:
                return take_message(op, Take::duplicate);
            case Step::drop:
                return take_message(op, Take::drop);
            case Step::corrupt:
                return take_message(op, Take::corrupt);
            case Step::time_out:
                return time_out(a, op.b % 4);
            case Step::run:
                return run_for(std::chrono::milliseconds(op.b % 100));
            case Step::advance:
                return advance(std::chrono::milliseconds(op.b % 700));
            case Step::propose:
                return propose((op.b / 4) % 4 == 0 ? a : leader_or(a), 1 + op.b % 4);
            case Step::crash:
                return crash(a, op.b % 6, op.b / 6);
            case Step::restart:
                return restart(a);
            case Step::partition:
                return partition(op.a);
            case Step::one_way:
                return one_way(a, op.b % nodes_.size());
            case Step::heal:
                return heal();
            case Step::pause:
                return pause(a);
            case Step::resume:
                return resume(a);
            case Step::clock_rate:
                return clock_rate(a, op.b);
            case Step::clock_jump:
                return clock_jump(a, std::chrono::milliseconds(op.b % 1500));
            case Step::slow_disk:
                return slow_disk(a, 1 + op.b % 1000);
            case Step::fail_sync:
                return fail_sync(a, op.b % 2 == 1);
            case Step::transfer:
                return transfer(leader_or(a), op.b % nodes_.size());
            case Step::end_sync:
                return end_sync(syncing_or(a));
            case Step::change:
                return change(asked_to_change(op.a), op.b);
            case Step::read:
                return read((op.b / 4) % 4 == 0 ? leader_or(a) : a, 1 + op.b % 4);
        }
    }

    /// Every fault ends; a random majority is up, the rest stays dead. It must elect a leader,
    /// commit what the leader has without any new transition, then take one, and agree.
    void converge() {
        if (configuration_.untimed != 0) return;  // Only time can tell.
        healing_ = true;
        Random random(mix(configuration_.seed, 0xc0e));
        Set core = draw_core(random);
        bring_up(core);
        std::size_t leader = settle(core, nodes_.size());
        if (failure()) return;
        ++coverage()[Event::healed];
        finale(random, members_among(core), leader);
    }

    /// Of the complete state, less what is only history: equal for states from which the same can
    /// follow, as far as who holds what and what is in flight goes. Of time it knows whether a
    /// leader counts as heard and which timers are due, not how long ago. For machines of any kind,
    /// since their states follow from what they applied.
    std::uint64_t fingerprint() const {
        std::vector<std::size_t> order(nodes_.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::uint64_t hash = ghost_.fingerprint(order, [](ReplicaId id) { return id.value; });
        for (const Node& node : nodes_) {
            hash = mix(hash, node.machine.applied_hash);
            hash =
                mix(hash, node.machine.saved ? node.machine.saved->last_included.index.value : 0);
            hash = mix(hash, node.unreachable * 4U + (node.paused ? 2U : 0U) +
                                 (node.disk.fails ? 1U : 0U));
            hash = mix(hash, node.disk.calls_left ? *node.disk.calls_left + 1 : 0);
            for (std::uint64_t number : node.machine.pending) hash = mix(hash, number);
            hash = mix(hash, node.machine.reads.size());
            for (const Message& message : node.cluster.inbox) hash = mix(hash, hash_of(message));
            hash = mix(hash, node.replica ? Fingerprint::hash(*node.replica) : 0);
        }
        std::uint64_t messages = 0;  // In any order, unless links keep it.
        for (const Flying& flying : flying_) {
            std::uint64_t one = hash_of(*flying.message);
            messages = configuration_.fifo != 0 ? mix(messages, one) : messages + mix(one, 1);
        }
        return mix(hash, messages);
    }

 private:
    friend SimulatedMachineBase<S>;
    friend SimulatedMachine<S>;
    friend SimulatedClusterBase<S>;
    friend Cluster;
    friend Disk;
    friend Explorer<S>;

    enum class Timer : std::uint8_t { none, election, heartbeat };

    struct Node {
        Cluster cluster;
        Machine machine;
        Disk disk;
        std::unique_ptr<Replica> replica;
        Time now{};
        Time deadline{};
        std::optional<Time> transfer_since;
        std::optional<Time> removed_since;
        std::uint64_t rate = 100;       // Percent.
        Term led;                       // The term whose beginning was checked.
        std::uint32_t unreachable = 0;  // Bit set of the replicas that its messages do not reach.
        Duration delay{};               // Of what it sends in this poll, by a slow disk.
        std::uint64_t entropy = 0;      // Of the crash to come.
        Timer due = Timer::none;        // The one that the next poll fires, without time.
        bool has_lived = false;
        bool paused = false;
        bool busy = false;  // Its poll waits for its disk.
        bool booting = false;
        bool dead = false;  // Died within the poll that is on.

        /// All but the replica.
        void take(const Node& other) {
            cluster.inbox = other.cluster.inbox;
            cluster.transfer_to = other.cluster.transfer_to;
            cluster.wanted = other.cluster.wanted;
            machine.pending = other.machine.pending;
            machine.reads = other.machine.reads;
            machine.reads_taken = other.machine.reads_taken;
            machine.applied_hash = other.machine.applied_hash;
            machine.touched = other.machine.touched;
            machine.saved = other.machine.saved;
            if (other.machine.machine)
                machine.machine = std::make_unique<typename Traits::M>(*other.machine.machine);
            disk = other.disk;
            now = other.now;
            deadline = other.deadline;
            transfer_since = other.transfer_since;
            removed_since = other.removed_since;
            rate = other.rate;
            led = other.led;
            unreachable = other.unreachable;
            entropy = other.entropy;
            has_lived = other.has_lived;
            paused = other.paused;
        }
    };

    /// A message in flight, in the order of sending. Copies of a simulator share it.
    struct Flying {
        Time arrival;            // Where time passes by itself.
        std::uint64_t hash = 0;  // Where it does not: of the message's body.
        std::shared_ptr<Message> message;
        std::uint32_t record = 0;
        std::uint8_t from = 0;
        std::uint8_t to = 0;

        Message take() {
            return message.use_count() == 1 ? std::move(*message) : Message(*message);
        }
    };

    /// One machine that applies everything that commits; its digests tell what each state should
    /// be.
    struct Model {
        std::unique_ptr<typename Traits::M> machine;
        std::vector<std::uint64_t> digests;  // After each index.
        Model() = default;
        Model(const Model& other) : digests(other.digests) {
            if (other.machine) machine = std::make_unique<typename Traits::M>(*other.machine);
        }
    };

    /// Without digests: a machine beside each replica's.
    struct Shadow {
        std::unique_ptr<typename Traits::M> machine;
        Index index;
        Shadow() = default;
        Shadow(const Shadow& other) : index(other.index) {
            if (other.machine) machine = std::make_unique<typename Traits::M>(*other.machine);
        }
        Shadow(Shadow&&) = default;
    };

    enum class Take { deliver, duplicate, drop, corrupt };

    using HighestId = std::conditional_t<std::is_integral_v<typename Traits::Id>,
                                         typename Traits::Id, std::monostate>;

    static constexpr bool measures = requires { &T::get_size; };

    static Limits limits_of(const Configuration& configuration) {
        Limits limits;
        limits.snapshot_delta = Traits::snapshotting ? configuration.snapshot_delta : 0;
        limits.snapshot_trailing = configuration.snapshot_trailing;
        limits.entries_per_message = configuration.entries_per_message;
        limits.inflight_messages = configuration.inflight_messages;
        limits.inflight_bytes = configuration.inflight_entries * sizeof(Entry);
        // A single entry may exceed the limits, and only get_size knows by how much.
        limits.bytes_per_message =
            measures ? ~std::uint64_t{0} / 2 : configuration.entries_per_message * sizeof(Entry);
        limits.uncommitted_entries = configuration.uncommitted_entries;
        limits.prevote = configuration.untimed != 2;
        limits.members_change = Traits::members_change;
        if (Traits::members_change) limits.newcomers = configuration.newcomers;
        return limits;
    }

    void bind(std::size_t i) {
        Node& node = nodes_[i];
        node.machine.simulator = node.cluster.simulator = node.disk.simulator = this;
        node.machine.node = node.cluster.node = node.disk.node = i;
    }

    // ----- Leases
    //
    // A leader's lease ends, by its clock, before the least election timeout does by any other.
    // Between 80% and 120% two clocks drift apart by 167 ms while one of them counts 500.

    static constexpr Duration drift_max = std::chrono::milliseconds(170);
    static std::uint64_t bounded_rate(std::uint64_t drawn) { return 80 + drawn % 41; }
    bool has_leases() const { return configuration_.leases != 0 && configuration_.untimed == 0; }
    bool syncs_meanwhile() const {
        return Traits::async_disk && configuration_.async_disk != 0 && configuration_.untimed == 0;
    }

    /// Whoever is elected waited until no leader of the past may answer reads without asking.
    void check_leases(std::size_t i) {
        if (status(i).role != Role::leader || nodes_[i].led == status(i).term) return;
        nodes_[i].led = status(i).term;
        for (std::size_t k = 0; k < nodes_.size(); ++k) {
            if (k == i || !nodes_[k].replica || status(k).role != Role::leader) continue;
            ghost_.elected(i, status(i), status(k), Inspect::lease(*nodes_[k].replica),
                           nodes_[k].now);
        }
    }

    void trace(std::uint64_t what) { trace_ = mix(trace_, what); }

    /// Some replica that takes itself for the leader; a if there is none.
    std::size_t leader_or(std::size_t a) const {
        for (std::size_t k = 0; k < nodes_.size(); ++k) {
            std::size_t i = (a + k) % nodes_.size();
            if (nodes_[i].replica && status(i).role == Role::leader) return i;
        }
        return a;
    }

    bool may_end_sync(std::size_t i) const {
        const auto& begun = nodes_[i].disk.begun;
        return begun && (!begun->slow || begun->due <= time_);
    }
    /// The next replica from a on, a included, of which a sync may end; a if there is none.
    std::size_t syncing_or(std::size_t a) const {
        for (std::size_t k = 0; k < nodes_.size(); ++k) {
            std::size_t i = (a + k) % nodes_.size();
            if (nodes_[i].replica && may_end_sync(i)) return i;
        }
        return a;
    }

    // ----- Transitions

    T draw_transition(std::uint64_t number) {
        Random random(mix(configuration_.seed, number));
        return Traits::transition(random, number);
    }

    /// Returns its number.
    std::uint64_t new_transition(std::size_t i) {
        std::uint64_t number = ghost_.proposed(i);
        T transition = draw_transition(number);
        for (std::uint64_t k = 0; known(transition.get_id()) && k < 100; ++k) {
            transition = draw_transition(mix(number, k));  // An id that was seen before.
        }
        ghost_.require(Law::committed_once, !known(transition.get_id()),
                       "the subject draws the same id again and again", i);
        if constexpr (std::is_integral_v<typename Traits::Id>) {
            highest_id_ =
                number == 1 ? transition.get_id() : std::max(highest_id_, transition.get_id());
        }
        transitions_.push_back(std::move(transition));
        calls_.push_back({number, ++moment_, std::nullopt, std::nullopt, false, false});
        return number;
    }

    /// Ids that rise are all new: that is told without a search.
    bool known(const typename Traits::Id& id) const {
        if constexpr (std::is_integral_v<typename Traits::Id>) {
            if (transitions_.size() > 1 && id > highest_id_) return false;
        }
        return transitions_.size() > 1 && number_of(id) != unknown_number;
    }

    /// Most ids are the number itself, or lie at a fixed distance from it.
    std::uint64_t number_of(const typename Traits::Id& id) const {
        if constexpr (std::is_integral_v<typename Traits::Id>) {
            auto guess = static_cast<std::uint64_t>(id) -
                         static_cast<std::uint64_t>(transitions_[0].get_id());
            if (guess > 0 && guess < transitions_.size() && transitions_[guess].get_id() == id)
                return guess;
        }
        for (std::size_t k = transitions_.size(); k > 1; --k) {
            if (transitions_[k - 1].get_id() == id) return k - 1;
        }
        return unknown_number;
    }

    std::uint64_t number_of(const Entry& entry) const {
        if (const T* transition = std::get_if<T>(&entry.command))
            return number_of(transition->get_id());
        return number_of_config(*std::get_if<Config>(&entry.command));
    }
    static std::uint64_t number_of_config(const Noop&) { return noop_number; }
    static std::uint64_t number_of_config(const Membership& membership) {
        return testing::number_of(membership);
    }

    // ----- The life of a replica

    void boot(std::size_t i) {
        Node& node = nodes_[i];
        std::vector<std::conditional_t<Traits::members_change, Member, ReplicaId>> peers;
        if constexpr (Traits::members_change) {
            if (i + configuration_.newcomers < nodes_.size())
                peers = founders(nodes_.size(), configuration_.newcomers).members;
        } else {
            for (std::size_t k = 0; k < nodes_.size(); ++k) peers.push_back(id_of(k));
        }
        Options<Machine> options;
        options.snapshot_delta = configuration_.snapshot_delta;
        options.snapshot_trailing = configuration_.snapshot_trailing;
        options.snapshot_chunk_bytes = configuration_.chunk_bytes;
        options.append_bytes_max = configuration_.entries_per_message * sizeof(Entry);
        options.inflight_messages_max = configuration_.inflight_messages;
        options.inflight_bytes_max = configuration_.inflight_entries * sizeof(Entry);
        options.uncommitted_entries_max = configuration_.uncommitted_entries;
        options.seed = configuration_.seed + boots_++;
        if (has_leases()) options.lease_reads = drift_max;
        node.machine.machine.reset(new typename Traits::M(Traits::machine()));
        node.machine.pending.clear();
        node.machine.reads.clear();
        node.machine.applied_hash = 0;
        node.machine.touched = true;
        node.cluster.inbox.clear();
        node.cluster.wanted.reset();
        node.disk.failed = false;
        node.has_lived = true;
        node.booting = true;
        node.replica = std::make_unique<Replica>(id_of(i), peers, node.cluster, node.machine,
                                                 node.disk, std::move(options));
        node.booting = false;
        LogPosition saved = node.machine.saved ? node.machine.saved->last_included : LogPosition{};
        ghost_.booted(i, status(i), saved);
        node.deadline = node.now;
        poll(i);
    }

    /// The process is gone; the disk keeps what it synced and, maybe, some of what it did not.
    void bury(std::size_t i, std::uint64_t entropy) {
        Node& node = nodes_[i];
        ++coverage()[Event::crash];
        note(Record::What::crash, i, "dies");
        node.replica.reset();
        node.machine.machine.reset();
        node.dead = node.paused = false;
        node.disk.calls_left.reset();
        node.disk.slow = 0;
        node.disk.fails = node.disk.fails_late = node.disk.failed = false;
        node.disk.crash(entropy);
    }

    void poll(std::size_t i) {
        Node& node = nodes_[i];
        if (!node.replica || node.paused || node.busy) return;
        Time now = node.now;
        node.disk.called = 0;
        node.delay = {};
        if (record_) remember(i);
        if (configuration_.untimed != 0) set_timers(node);
        node.deadline = node.replica->poll(now);
        if (record_) tell_changes(i);
        if (node.dead) {
            ++coverage()[Event::crash_inside_poll];
            return bury(i, node.entropy);
        }
        if (syncs_meanwhile() && !node.disk.failed) node.disk.keep_up(*node.replica);
        ghost_.polled(i, status(i), now, node.deadline, node.disk.failed);
        if (node.disk.failed) return ghost_.read_out(i);
        // What its own snapshot covers may wait for the next poll, whenever that is.
        bool unsynced = !node.disk.unsynced.empty();
        if (syncs_meanwhile() && node.machine.saved) {
            bool covered = std::as_const(ghost_).disk(i).log.last_index() <=
                           node.machine.saved->last_included.index;
            using Write = typename SimulatedDisk<S>::Write;
            unsynced = std::any_of(
                node.disk.unsynced.begin(), node.disk.unsynced.end(), [&](const Write& write) {
                    return write.kind == Write::vote || (write.kind == Write::append && !covered);
                });
        }
        bool goes_on = node.deadline <= now;  // To begin the next sync.
        if (unsynced && !node.disk.begun && !goes_on) {
            ghost_.fail(Law::calls_as_promised, "a poll ends with writes that were not synced", i);
        }
        if (node.machine.touched && !failure()) check_machine(i);
        if (configuration_.untimed == 0 && !failure()) check_transfer(i, now);
        if (configuration_.untimed == 0 && !failure()) check_removed(i, now);
        if (has_leases() && !failure()) check_leases(i);
        // Without time, what it has to do at once is a part of the same step.
        if (configuration_.untimed == 0 || failure()) return;
        if (node.deadline <= now) poll(i);
    }

    /// Who answered a read, and how. Without a lease a majority has heard something that was sent
    /// in a later poll than the one that took the read.
    void count_read(std::size_t i) {
        const Status& now = status(i);
        Time heard = little_raft::quorum(now.progress, &Progress::last_contact, never);
        bool leads = now.role == Role::leader;
        bool asked = heard > nodes_[i].machine.reads_taken;
        ++coverage()[!leads  ? Event::read_on_follower
                     : asked ? Event::read_on_leader
                             : Event::read_by_lease];
    }

    /// News of a commit is not answered, so that nothing which waits for an answer may pass for it.
    void check_news(std::size_t i, const Message& message) {
        const auto* append = std::get_if<AppendEntries>(&message.body);
        if (!append || append->read != never) return;
        for (const Progress& peer : status(i).progress) {
            if (peer.id != message.to) continue;
            ghost_.require(Law::leader_bookkeeping, append->entries.empty() && !peer.waiting,
                           "what must be answered passes for news, which are not", i);
        }
    }

    /// A leader that hands over takes no transitions, so it must not do that for long.
    void check_transfer(std::size_t i, Time now) {
        Node& node = nodes_[i];
        if (!Inspect::transfer(*node.replica)) return node.transfer_since.reset();
        if (!node.transfer_since) node.transfer_since = now;
        Time end = *node.transfer_since + ElectionTimeoutRange{}.max;
        // It is another: one that it was asked for, or that of a leader which was removed.
        bool removed = !contains(ghost_.in_force(i).all_voters(), i);
        if ((node.cluster.wished || removed) && now >= end) node.transfer_since = now;
        ghost_.require(Law::liveness, now < end || node.transfer_since == now,
                       "a leader hands over for longer than an election timeout", i);
    }

    /// Nor may one lead for long that has no vote any more, once this is committed. Before another
    /// leads it may be asked to hand over, which takes as long once more.
    void check_removed(std::size_t i, Time now) {
        Node& node = nodes_[i];
        const Status& is = status(i);
        bool removed = is.role == Role::leader && !contains(ghost_.in_force(i).all_voters(), i) &&
                       is.commit_index == is.last_log_index;
        if (!removed) return node.removed_since.reset();
        if (!node.removed_since) node.removed_since = now;
        ghost_.require(Law::liveness, now < *node.removed_since + 3 * ElectionTimeoutRange{}.max,
                       "a leader without a vote goes on and on", i);
    }

    /// Where there is no time, a timer fires when its step says so and never otherwise, and nobody
    /// counts as heard: whatever a clock could make of it, a schedule can.
    void set_timers(Node& node) {
        auto& replica = *node.replica;
        constexpr Duration far = std::chrono::hours(1000);
        Timer due = std::exchange(node.due, Timer::none);
        Inspect::leader_contact(replica) = node.now - far;
        Inspect::election_deadline(replica) = due == Timer::election ? node.now : node.now + far;
        Time& heartbeat = Inspect::heartbeat_deadline(replica);
        if (heartbeat != never) heartbeat = due == Timer::heartbeat ? node.now : node.now + far;
        if (due != Timer::election) return;
        // A PreVote that fails changes nothing, so it is no loss of behaviour to take it for won.
        if (configuration_.untimed == 2 && replica.status().role != Role::leader) {
            Inspect::election_deadline(replica) = node.now + far;
            Inspect::campaign(replica);
        }
        for (Progress& peer : Inspect::progress(replica)) peer.last_contact = node.now - far;
    }

    /// Its state must be that of a machine that applied what is committed up to there.
    void check_machine(std::size_t i) {
        Machine& machine = nodes_[i].machine;
        machine.touched = false;
        Index index = status(i).last_applied;
        ghost_.require(Law::state_machine_safety,
                       machine.applied_hash == ghost_.applied_hash(index),
                       "a machine did not apply exactly what is committed, in order", i);
        if constexpr (Traits::digests) {
            while (model_.digests.size() <= ghost_.committed().size()) {
                apply_to(*model_.machine, Index{model_.digests.size()});
                model_.digests.push_back(S::digest(*model_.machine));
            }
            ghost_.require(Law::state_machine_safety,
                           S::digest(*machine.machine) == model_.digests[index.value],
                           "a machine's state is not what its transitions make", i);
        } else {
            Shadow& shadow = shadows_[i];
            if (!shadow.machine || shadow.index > index) {
                shadow.machine.reset(new typename Traits::M(Traits::machine()));
                shadow.index = {};
            }
            while (shadow.index < index) apply_to(*shadow.machine, ++shadow.index);
            ghost_.require(Law::state_machine_safety,
                           Traits::equal(*machine.machine, *shadow.machine),
                           "a machine's state is not what its transitions make", i);
        }
        if (record_ && failure()) show_states(i, index);
        if constexpr (Traits::observes) check_answers(i);
        if constexpr (Traits::has_invariant) {
            std::string broken = S::invariant(*machine.machine);
            ++coverage()[Law::own_invariant];
            if (!broken.empty()) {
                ghost_.fail(Law::own_invariant, std::move(broken), i);
                if (record_ && failure()->law == Law::own_invariant) show_states(i, index);
            }
        }
    }

    /// What the machine is, and what it should be.
    void show_states([[maybe_unused]] std::size_t i, [[maybe_unused]] Index index) {
        if constexpr (Traits::shows_machine) {
            std::unique_ptr<typename Traits::M> right(new typename Traits::M(Traits::machine()));
            for (Index k{1}; k <= index; ++k) {
                std::uint64_t number = ghost_.committed()[k.value - 1].mark.number;
                if (!is_hidden(number)) right->apply_transition(transitions_[number]);
            }
            ghost_.explain("The machine of " + name_of(i) + ": " + S::show(machine(i)) +
                           "\nOne that applied the same: " + S::show(std::as_const(*right)) + "\n");
        }
    }

    void apply_to(typename Traits::M& machine, Index index) {
        std::uint64_t number = ghost_.committed()[index.value - 1].mark.number;
        if (is_hidden(number)) return;
        machine.apply_transition(transitions_[number]);
        if constexpr (Traits::observes) {
            if (expected_.size() <= number) expected_.resize(number + 1);
            if (!expected_[number]) expected_[number] = S::observe(machine, transitions_[number]);
        }
    }

    void check_answers(std::size_t i) {
        for (std::uint64_t number : answered_now_) {
            if constexpr (std::equality_comparable<AnswerOf<S>>) {
                ghost_.require(Law::linearizability, calls_[number].answer == expected_[number],
                               "an answer is not that of one machine that applies all in order", i);
            }
        }
        answered_now_.clear();
    }

    /// The answers again, from the clients' side, which knows nothing of logs. It finds words for
    /// an answer that was seen to be wrong, too.
    void judge_history() {
        if constexpr (MachineModel<S>::is_possible) {
            bool wants_words = record_ && failure() && failure()->law == Law::linearizability;
            if (failure() && !wants_words) return;
            Linearizability found = explain(history());
            if (failure()) {
                if (found.verdict == Verdict::not_linearizable) ghost_.explain(found.text);
                return;
            }
            ++coverage()[Law::linearizability];
            // The search takes the word of the subject's `equal` and of copies for what a state is.
            // An order that holds without them refutes it.
            bool is_settled = found.verdict == Verdict::linearizable ||
                              (found.verdict == Verdict::not_linearizable && !log_explains());
            ++coverage()[is_settled ? Event::history_decided : Event::history_undecided];
            if (!is_settled || found.verdict == Verdict::linearizable) return;
            ghost_.fail(Law::linearizability, "no order explains all answers", 0);
            ghost_.explain(found.text);
        }
    }

    /// Whether the order of the committed log explains all answers.
    bool log_explains() const {
        std::unique_ptr<typename Traits::M> machine(new typename Traits::M(Traits::machine()));
        std::uint64_t latest_call = 0;
        std::size_t answers = 0;
        for (const Committed& entry : ghost_.committed()) {
            if (is_hidden(entry.mark.number)) continue;
            const ClientCall<S>& call = calls_[entry.mark.number];
            const T& transition = transitions_[entry.mark.number];
            machine->apply_transition(transition);
            latest_call = std::max(latest_call, call.invoked);
            if (call.refused) return false;
            if (!call.answered) continue;
            ++answers;
            bool is_right = Traits::observe(std::as_const(*machine), transition) == *call.answer;
            if (!is_right || *call.answered < latest_call) return false;
        }
        auto is_answered = [](const ClientCall<S>& call) { return call.answered.has_value(); };
        return answers == static_cast<std::size_t>(
                              std::count_if(calls_.begin() + 1, calls_.end(), is_answered));
    }

    // ----- Steps

    void take_message(const Op& op, Take how) {
        std::optional<std::size_t> found = find(op);
        if (!found) return;
        std::size_t at = *found;
        bool arrives = how == Take::deliver || how == Take::duplicate;
        if (arrives && oldest_beside(at) != at) ++coverage()[Event::overtaken];
        Flying flying = how == Take::duplicate ? flying_[at] : forget(at);
        Message message = flying.take();
        static constexpr std::array<Event, 4> events = {Event::delivery, Event::duplicate,
                                                        Event::drop, Event::corrupted};
        if (how != Take::deliver) ++coverage()[events[static_cast<std::size_t>(how)]];
        if (record_) {
            static constexpr std::array<const char*, 4> words = {
                "arrives", "arrives and stays on its way", "is lost", "is damaged and lost"};
            begin_step(name_of(flying) + ' ' + words[static_cast<std::size_t>(how)]);
            if (how == Take::drop) note(Record::What::drop, flying.to, "lost", flying.record);
            if (how == Take::corrupt)
                note(Record::What::corrupt, flying.to, "damaged", flying.record);
        }
        if (how == Take::corrupt) decode_damaged(message, op.b % Op::exact);
        if (arrives) hand_over(std::move(message), flying.record, how == Take::duplicate);
        end_step();
    }

    /// The message that a step is about, if there is one.
    std::optional<std::size_t> find(const Op& op) const {
        if (flying_.empty()) return std::nullopt;
        if (op.b < Op::exact) return pick(op.a);
        std::uint32_t place = op.a;
        for (std::size_t k = 0; k < flying_.size(); ++k) {
            if (Op::on_link(flying_[k].from, flying_[k].to, 0) != op.a % Op::links) continue;
            if (place < Op::links) return k;
            place -= Op::links;
        }
        return std::nullopt;
    }

    /// Where links keep the order, the oldest on the same link.
    std::size_t pick(std::size_t a) const {
        std::size_t at = a % flying_.size();
        return configuration_.fifo == 0 ? at : oldest_beside(at);
    }

    std::size_t oldest_beside(std::size_t at) const {
        for (std::size_t k = 0; k < at; ++k) {
            if (flying_[k].from == flying_[at].from && flying_[k].to == flying_[at].to) return k;
        }
        return at;
    }

    /// How many messages may be in flight. Of more the oldest is lost; where time stands still as
    /// long as messages move, that could be the same one again and again.
    std::uint64_t room() const {
        if (roomy_) return 1000;
        return healed_ ? std::max(configuration_.flying_max, std::uint64_t{3} * nodes_.size())
                       : configuration_.flying_max;
    }

    bool is_in_flight(const Message& message, std::uint64_t hash) const {
        return std::any_of(flying_.begin(), flying_.end(), [&](const Flying& flying) {
            return flying.hash == hash && flying.message->term == message.term &&
                   flying.message->from == message.from && flying.message->to == message.to;
        });
    }

    /// What changes nothing any more, whenever it arrives, arrives at once and is not kept: states
    /// that differ only in that are one. It does arrive, so that where it does change something,
    /// the laws see what comes of it.
    void deliver_spent() {
        for (std::size_t at = 0; at < flying_.size();) {
            if (!is_spent(*flying_[at].message)) {
                ++at;
                continue;
            }
            Flying flying = forget(at);
            hand_over(flying.take(), flying.record);
            at = 0;
        }
    }

    /// An answer of a past term, since terms never fall. Or, since within a term a replica goes
    /// from candidate to leader or to follower and never back, an answer that nobody waits for; and
    /// a request for a vote that was given already, if no candidate waits for the answer.
    bool is_spent(const Message& message) const {
        const auto* request = std::get_if<RequestVote>(&message.body);
        const auto* vote = std::get_if<RequestVoteResponse>(&message.body);
        bool appended = std::holds_alternative<AppendEntriesResponse>(message.body);
        auto [term, role, voted_for] = standing(replica_of(message.to));
        if (vote || appended) {
            if (message.term != term) return message.term < term;
            if (vote) return vote->pre_vote || !vote->vote_granted || role != Role::candidate;
            return role != Role::leader && role != Role::candidate;
        }
        // Where members change a request tells that somebody counts on this one's vote, too.
        if (Traits::members_change) return false;
        if (!request || request->pre_vote || message.term != term || !voted_for) return false;
        Standing asks = standing(replica_of(message.from));
        return voted_for != message.from || asks.term > term || asks.role != Role::candidate;
    }

    struct Standing {
        Term term;
        Role role = Role::follower;
        std::optional<ReplicaId> voted_for = {};
    };
    Standing standing(std::size_t i) const {
        const DiskImage& disk = ghost_.disk(i);
        if (!is_alive(i)) return {disk.term, Role::follower, disk.voted_for};
        return {status(i).term, status(i).role, status(i).voted_for};
    }

    Flying forget(std::size_t at) {
        Flying flying = std::move(flying_[at]);
        flying_.erase(flying_.begin() + static_cast<std::ptrdiff_t>(at));
        return flying;
    }

    void hand_over(Message message, std::uint32_t record, bool stays = false) {
        std::size_t from = replica_of(message.from);
        std::size_t to = replica_of(message.to);
        Node& node = nodes_[to];
        if (((nodes_[from].unreachable >> to) & 1U) != 0) {
            ++coverage()[Event::blocked];
            return note(Record::What::blocked, to, "cannot pass", record);
        }
        if (!node.replica) return note(Record::What::blocked, to, "finds nobody", record);
        ++coverage()[Event::delivery];
        note(stays ? Record::What::duplicate : Record::What::deliver, to, "arrives", record);
        const auto* request = std::get_if<RequestVote>(&message.body);
        if (request) ghost_.vote_asked(to);
        // Where nothing waits for a sync either, all that leaves in this poll comes of this.
        bool alone = node.cluster.inbox.empty() && !node.paused && !node.busy && is_quiet(to);
        // Whoever is a majority by itself needs nobody's vote.
        bool only_asks = alone && request && request->pre_vote &&
                         !ghost_.in_force(to).is_majority(ReplicaSet{1} << to);
        bool leads = alone && (std::holds_alternative<AppendEntries>(message.body) ||
                               std::holds_alternative<InstallSnapshot>(message.body));
        Term term = status(to).term;
        Term sent_in = message.term;
        bool unwelcome = alone && request && !request->transfer && hears_leader(to);
        node.cluster.granted = false;
        // What waits for one that is paused has its bounds too.
        if (node.cluster.inbox.size() < configuration_.flying_max)
            node.cluster.inbox.push_back(std::move(message));
        poll(to);
        if (failure() || node.busy || !is_alive(to) || status(to).fault) return;
        if (unwelcome) {
            ghost_.require(Law::stability, !node.cluster.granted,
                           "one that hears its leader helps another to depose it", to);
        }
        if (only_asks) {
            ghost_.require(Law::stability, status(to).term <= std::max(term, sent_in),
                           "a PreVote brings about a term that nobody entered", to);
        }
        if (leads && sent_in == term) {
            ghost_.require(Law::stability, status(to).role != Role::candidate,
                           "a candidate goes on in a term that has a leader", to);
        }
    }

    bool is_quiet(std::size_t i) const { return !Inspect::waits_for_disk(*nodes_[i].replica); }

    /// Of this term or an earlier one, since that one may count on it.
    bool hears_leader(std::size_t i) const {
        if (configuration_.untimed != 0) return false;
        Time contact = Inspect::leader_contact(*nodes_[i].replica);
        return status(i).role == Role::leader ||
               nodes_[i].now - ElectionTimeoutRange{}.min < contact;
    }

    /// A transport notices damage; but its decoder has seen the bytes.
    void decode_damaged([[maybe_unused]] const Message& message, [[maybe_unused]] std::uint32_t b) {
        if constexpr (Traits::encodes) {
            std::string text = S::encode(message);
            if (!text.empty()) {
                std::size_t at = b % text.size();
                text[at] = static_cast<char>(text[at] ^ (1 << (b / 7 % 8)));
                if (b % 3 == 0) text.resize(at);
            }
            static_cast<void>(S::decode(text));
        }
    }

    /// 0 and 1: a leader's next deadline; 2: that of a; 3: that of a, and all clocks move as far.
    void time_out(std::size_t a, std::uint32_t whose) {
        if (whose < 2 && configuration_.untimed == 0) a = leader_or(a);
        Node& node = nodes_[a];
        if (record_) begin_step("A timer of " + name_of(a) + " is due.");
        if (node.replica && node.deadline != never) {
            Duration ahead = std::max(node.deadline - node.now, Duration{});
            note(Record::What::time_out, a, "reaches its deadline");
            if (configuration_.untimed != 0) {
                ahead = {};
                node.due = whose == 0 ? Timer::election : Timer::heartbeat;
            } else if (has_leases()) {
                pass_for(node, ahead);
            } else if (whose == 3) {
                for (Node& each : nodes_) each.now += ahead;
                time_ += ahead;
            } else {
                node.now += ahead;
            }
            poll(a);
        }
        end_step();
    }

    void pass(Duration time) {
        time_ += time;
        for (Node& node : nodes_) node.now += local(node, time);
    }
    /// All clocks move, this one by so much at least.
    void pass_for(const Node& node, Duration time) {
        pass(time * 100 / static_cast<Duration::rep>(node.rate) + Duration{2});
    }
    static Duration local(const Node& node, Duration time) {
        return time * static_cast<Duration::rep>(node.rate) / 100;
    }

    void advance(std::chrono::milliseconds by) {
        if (record_) begin_step(std::to_string(by.count()) + " ms pass.");
        pass(by);
        end_step();
    }

    /// Ordinary operation: whatever comes first, a deadline or a message, comes.
    void run_for(Duration by) {
        if (record_) begin_step("The cluster runs.");
        go_on(by);
        end_step();
    }

    /// The others go on while a poll waits for its disk. What is sent to its replica waits, and a
    /// client asks it for a read: that is handed over in the same poll, whose time is long past.
    void meanwhile(std::size_t i, Duration time) {
        Node& node = nodes_[i];
        ++coverage()[Event::long_poll];
        node.busy = true;
        auto answered = std::exchange(answered_now_, {});
        Before before = before_;
        Time end = time_ + time;
        go_on(time);
        if (time_ < end) pass(end - time_);
        if (time % std::chrono::milliseconds(2) == Duration{}) ask(i);
        before_ = before;
        answered_now_ = std::move(answered);
        node.busy = false;
    }

    void go_on(Duration by) {
        Time end = time_ + by;
        for (int events = 0; events < 200 && time_ <= end && !failure(); ++events) {
            Time next = end;
            std::size_t who = nodes_.size();
            for (std::size_t i = 0; i < nodes_.size(); ++i) {
                const Node& node = nodes_[i];
                if (!node.replica || node.paused || node.busy || node.deadline == never) continue;
                Duration left = std::max(node.deadline - node.now, Duration{});
                Time due = time_ + left * 100 / static_cast<Duration::rep>(node.rate) +
                           Duration{left > Duration{} ? 2 : 0};  // What the divisions cut off.
                if (due < next) next = due, who = i;
            }
            std::size_t first = flying_.size();
            for (std::size_t k = 0; k < flying_.size(); ++k) {
                if (std::max(flying_[k].arrival, time_) < next) {
                    next = std::max(flying_[k].arrival, time_);
                    first = k;
                }
            }
            std::size_t syncs = nodes_.size();
            if (syncs_meanwhile()) {
                for (std::size_t i = 0; i < nodes_.size(); ++i) {
                    const auto& begun = nodes_[i].disk.begun;
                    if (!begun || std::max(begun->due, time_) >= next) continue;
                    next = std::max(begun->due, time_);
                    syncs = i;
                }
            }
            pass(next - time_);
            if (syncs < nodes_.size()) {
                nodes_[syncs].disk.end_sync();
                poll(syncs);
            } else if (first < flying_.size()) {
                first = configuration_.fifo != 0 ? pick(first) : first;
                Flying flying = forget(first);
                hand_over(flying.take(), flying.record);
            } else if (who < nodes_.size()) {
                note(Record::What::time_out, who, "reaches its deadline");
                poll(who);
            } else {
                break;
            }
        }
    }

    void transfer(std::size_t i, std::size_t to) {
        if (record_)
            begin_step("Leadership shall go from " + name_of(i) + " to " + name_of(to) + ".");
        if (nodes_[i].replica) {
            nodes_[i].cluster.transfer_to = id_of(to);
            poll(i);
            if (nodes_[i].replica && Inspect::transfer(*nodes_[i].replica))
                ++coverage()[Event::transfer_begun];
        }
        end_step();
    }

    /// Mostly a leader.
    std::size_t asked_to_change(std::uint32_t a) const {
        return a / 16 % 8 == 0 ? a % nodes_.size() : leader_or(a % nodes_.size());
    }

    // The bits of b are a set of members; above a set of those of them who are learners, which
    // counts from with_learners on. From twice that on, one replica comes or goes, with a vote;
    // from three times on, without one.
    static constexpr std::uint32_t learner_bits = Configuration::replicas_max;
    static constexpr std::uint32_t with_learners = 1U << 2 * Configuration::replicas_max;

    /// The same as two sets.
    std::uint32_t members_of(std::uint32_t b, std::size_t i) const {
        ReplicaSet all = (ReplicaSet{1} << nodes_.size()) - 1;
        if (b < with_learners) return with_learners | (b & all);
        if (b < 2 * with_learners) return with_learners | (b & (all | all << learner_bits));
        const Electorate& now = ghost_.in_force(i);
        std::size_t k = b % with_learners % nodes_.size();
        ReplicaSet one = ReplicaSet{1} << k;
        ReplicaSet members = now.members;
        ReplicaSet learners = now.members & ~now.all_voters();
        // Whoever is no member comes with or without a vote; who is one goes, or gets or loses it.
        bool votes = b < 3 * with_learners;
        if (contains(members, k)) {
            (votes ? members : learners) ^= one;
        } else {
            members |= one;
            if (!votes) learners |= one;
        }
        return with_learners | members | (learners & members) << learner_bits;
    }

    void change(std::size_t i, std::uint32_t b) {
        Membership wanted;
        b = members_of(b, i);
        std::string address = "change " + std::to_string(++changes_);
        for (std::size_t k = 0; k < nodes_.size(); ++k) {
            if (contains(b, k))
                wanted.members.push_back({id_of(k), address, contains(b, k + learner_bits)});
        }
        if (record_)
            begin_step(name_of(i) + " is asked to make these the members: " + to_text(wanted) +
                       '.');
        if (Traits::members_change && nodes_[i].replica) {
            ghost_.change_asked(i, wanted);
            nodes_[i].cluster.wanted = wanted;
            poll(i);
        }
        end_step();
    }

    void propose(std::size_t i, std::uint64_t count) {
        if (record_) {
            begin_step("The machine of " + name_of(i) + " is given " + std::to_string(count) +
                       (count == 1 ? " transition." : " transitions."));
        }
        if (nodes_[i].replica) {
            for (; count > 0; --count) {
                std::uint64_t number = new_transition(i);
                nodes_[i].machine.pending.push_back(number);
                ++coverage()[Event::proposed];
                if (record_) note(Record::What::propose, i, Traits::show(transitions_[number]));
            }
            poll(i);
        }
        end_step();
    }

    void read(std::size_t i, std::uint64_t count) {
        if (record_) {
            begin_step(name_of(i) + " is asked for " + std::to_string(count) +
                       (count == 1 ? " read." : " reads."));
        }
        if (nodes_[i].replica) {
            for (; count > 0; --count) ask(i);
            poll(i);
        }
        end_step();
    }

    /// Returns the number of the read.
    std::uint64_t ask(std::size_t i) {
        std::uint64_t number = ghost_.asked(i);
        nodes_[i].machine.reads.push_back({number});
        if (record_) note(Record::What::read, i, "read " + std::to_string(number) + " comes");
        return number;
    }

    void crash(std::size_t i, std::uint64_t calls, std::uint64_t entropy) {
        Node& node = nodes_[i];
        if (record_) {
            begin_step(calls > 0 ? name_of(i) + " will die after " + std::to_string(calls - 1) +
                                       " more calls of its disk."
                                 : name_of(i) + " dies.");
        }
        if (node.replica && calls > 0) {
            node.disk.calls_left = calls - 1;
            node.entropy = entropy;
        } else if (node.replica) {
            bury(i, entropy);
        }
        end_step();
    }

    void restart(std::size_t i) {
        if (record_) begin_step(name_of(i) + " is started again.");
        if (nodes_[i].replica && nodes_[i].disk.failed)
            bury(i, mix(configuration_.seed, coverage()[Event::crash]));
        if (!nodes_[i].replica) {
            note(Record::What::restart, i, "starts");
            if (!nodes_[i].has_lived) {  // So do the clocks of some.
                ++coverage()[Event::late_start];
                nodes_[i].now = Time{};
            }
            boot(i);
        }
        end_step();
    }

    void partition(std::uint32_t inside) {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            nodes_[i].unreachable = ((inside >> i) & 1U) != 0 ? ~inside : inside;
        }
        if (record_) {
            std::string names;
            for (std::size_t i = 0; i < nodes_.size(); ++i) {
                if (((inside >> i) & 1U) != 0) names += ' ' + std::to_string(i + 1);
            }
            begin_step("The network splits:" + names + " on one side, the rest on the other.");
            end_step();
        }
    }

    void one_way(std::size_t i, std::size_t k) {
        if (i != k) nodes_[i].unreachable |= 1U << k;
        if (record_) begin_step(name_of(i) + " no longer reaches " + name_of(k) + '.');
        end_step();
    }

    void heal() {
        for (Node& node : nodes_) node.unreachable = 0;
        if (record_) begin_step("All links work.");
        end_step();
    }

    void pause(std::size_t i) {
        if (record_) begin_step(name_of(i) + " stops running for a while.");
        if (nodes_[i].replica && !nodes_[i].paused) {
            nodes_[i].paused = true;
            ++coverage()[Event::paused];
            note(Record::What::pause, i, "is paused");
        }
        end_step();
    }

    void resume(std::size_t i) {
        if (record_) begin_step(name_of(i) + " runs again.");
        if (nodes_[i].paused) {
            nodes_[i].paused = false;
            note(Record::What::resume, i, "runs again");
            poll(i);
        }
        end_step();
    }

    void clock_rate(std::size_t i, std::uint64_t drawn) {
        std::uint64_t percent = has_leases() ? bounded_rate(drawn) : 50 + drawn % 151;
        nodes_[i].rate = percent;
        ++coverage()[Event::clock_changed];
        if (record_)
            begin_step("The clock of " + name_of(i) + " runs at " + std::to_string(percent) + "%.");
        end_step();
    }

    void clock_jump(std::size_t i, std::chrono::milliseconds by) {
        if (has_leases()) return advance(by);
        nodes_[i].now += by;
        ++coverage()[Event::clock_changed];
        if (record_) {
            begin_step("The clock of " + name_of(i) + " jumps by " + std::to_string(by.count()) +
                       " ms.");
        }
        end_step();
    }

    void slow_disk(std::size_t i, std::uint64_t milliseconds) {
        nodes_[i].disk.slow = milliseconds;
        if (record_) {
            begin_step("The next sync of " + name_of(i) + " will take " +
                       std::to_string(milliseconds) + " ms.");
        }
        end_step();
    }

    void fail_sync(std::size_t i, bool late) {
        Disk& disk = nodes_[i].disk;
        if (nodes_[i].replica && !disk.failed)
            (late && syncs_meanwhile() ? disk.fails_late : disk.fails) = true;
        if (record_) begin_step("The next sync of " + name_of(i) + " will fail.");
        end_step();
    }

    void end_sync(std::size_t i) {
        if (record_) begin_step("A sync of " + name_of(i) + " ends.");
        Node& node = nodes_[i];
        if (node.replica && may_end_sync(i)) {
            node.disk.end_sync();
            poll(i);
        }
        end_step();
    }

    // ----- Liveness

    using Set = std::vector<std::size_t>;

    /// Some of which every membership that may yet count has a majority. Often the least that can
    /// do, since then each of them is needed.
    Set draw_core(Random& random) const {
        if constexpr (Traits::members_change) return draw_members(random);
        Set core;
        std::size_t size = nodes_.size() / 2 + 1;
        if (random.one_in(2)) size += random.below(nodes_.size() - size + 1);
        while (core.size() < size) {
            std::size_t i = random.below(nodes_.size());
            if (std::find(core.begin(), core.end(), i) == core.end()) core.push_back(i);
        }
        std::sort(core.begin(), core.end());
        return core;
    }

    /// Those who are no members may be among them, too.
    Set draw_members(Random& random) const {
        std::vector<Electorate> electorates = {ghost_.committed_electorate()};
        Index committed{ghost_.committed().size()};
        auto add = [&](std::uint64_t number) {
            if (is_membership(number)) electorates.push_back(ghost_.electorate_of(number));
        };
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            const LogImage& log = ghost_.disk(i).log;
            for (Index k = std::max(committed, log.base.index) + 1; k <= log.last_index(); ++k)
                add(log[k].number);
            // What was cut off may come back with a crash.
            for (const auto& write : nodes_[i].disk.unsynced)
                if (write.kind == Disk::Write::append)
                    for (const Mark& mark : write.marks) add(mark.number);
            // What it took in at the end of a poll it writes in the next.
            if (is_alive(i) && status(i).last_log_index > log.last_index())
                electorates.push_back(ghost_.in_force(i));
            for (const Message& message : nodes_[i].cluster.inbox)
                each_entry(message, committed, add);
        }
        for (const Flying& flying : flying_) each_entry(*flying.message, committed, add);
        auto suffices = [&](ReplicaSet set) {
            return std::all_of(electorates.begin(), electorates.end(),
                               [&](const Electorate& each) { return each.is_majority(set); });
        };
        ReplicaSet core = (ReplicaSet{1} << nodes_.size()) - 1;
        std::uint64_t tries = random.one_in(2) ? 50 : random.below(10);
        for (; tries > 0; --tries) {
            ReplicaSet less = core & ~(ReplicaSet{1} << random.below(nodes_.size()));
            if (suffices(less)) core = less;
        }
        Set found;
        for (std::size_t i = 0; i < nodes_.size(); ++i)
            if (contains(core, i)) found.push_back(i);
        return found;
    }

    /// The numbers of what a message carries beyond an index.
    void each_entry(const Message& message, Index after, auto use) const {
        const auto* append = std::get_if<AppendEntries>(&message.body);
        if (!append) return;
        Index index = append->prev_log.index;
        for (const Entry& entry : append->entries)
            if (++index > after) use(number_of(entry));
    }

    /// As the leader among them has it; without one, all.
    Set members_among(const Set& core) const {
        std::size_t leader = leader_of(core);
        if (leader == nodes_.size() || !Traits::members_change) return core;
        Set members;
        for (std::size_t i : core)
            if (contains(ghost_.in_force(leader).members, i)) members.push_back(i);
        return members;
    }

    static constexpr Duration patience = 20 * ElectionTimeoutRange{}.max;
    static constexpr Duration slowness = 3 * Options<SimulatedMachine<S>>{}.heartbeat_timeout;

    /// These live, on equal clocks and links that work; the others are dead.
    void bring_up(const Set& core) {
        if (record_)
            begin_step(core.size() == nodes_.size() ? "The faults are over. All live."
                                                    : "The faults are over. The others stay dead.");
        healed_ = true;
        Time start{};
        for (const Node& node : nodes_) start = std::max(start, node.now);
        if (has_leases()) start += ElectionTimeoutRange{}.max;  // Leases do not outlast the jump.
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            Node& node = nodes_[i];
            bool lives = std::find(core.begin(), core.end(), i) != core.end();
            if (node.replica && (!lives || node.disk.failed))
                bury(i, mix(configuration_.seed, coverage()[Event::crash] * 8 + i));
            node.unreachable = 0;
            node.disk.calls_left.reset();
            node.disk.slow = 0;
            node.disk.fails = node.disk.fails_late = false;
            if (node.disk.begun) node.disk.begun->slow = node.disk.begun->fails = false;
            node.now = start;
            node.rate = 100;
            node.paused = false;
            node.cluster.wanted.reset();  // Nobody knows whether those would live.
        }
        for (std::size_t i : core) nodes_[i].replica ? poll(i) : boot(i);
        end_step();
    }

    /// Until a leader of these (`only`, if that is one) has committed all it had, and then one
    /// transition more, and all of them agree. Returns the leader.
    std::size_t settle(const Set& alive, std::size_t only, Set others = {}) {
        Time limit = nodes_[alive.front()].now + patience;
        Set core = alive;
        Set running = alive;
        running.insert(running.end(), others.begin(), others.end());
        std::size_t leader = nodes_.size();
        auto at_rest = [&] {
            core = members_among(alive);
            leader = leader_of(core);
            return leader < nodes_.size() && !ghost_.in_force(leader).joint && agree(core) &&
                   flying_.empty() && follow(core, leader) && knows(leader, core);
        };
        bool settled = run_until(
            running, limit, [&] { return at_rest() && (only >= nodes_.size() || leader == only); });
        if (!check_time(settled, running.front(),
                        "a healed majority does not elect a leader that commits its whole log"))
            return leader;
        std::uint64_t number = ghost_.fates().size();
        Time before = nodes_[leader].now;
        overflowed_ = false;
        propose(leader, 1);
        bool applied = run_until(running, limit, [&] {
            return ghost_.fates()[number].last == TransitionState::applied && at_rest();
        });
        if (!check_time(applied, running.front(),
                        "a healed majority does not replicate a new transition"))
            return leader;
        // Messages take no time here, so no timer may be what makes it go on, unless one was lost.
        ghost_.require(Law::liveness,
                       !others.empty() || overflowed_ || nodes_[leader].now == before,
                       "a transition waits for a timer, though nothing fails", leader);
        for (std::size_t i : Traits::members_change ? core : running) ghost_.rested(i);
        if (others.empty()) settle_reads(core, leader, limit);
        return leader;
    }

    /// Reads are answered without waiting for a timer: by all of these; by one of them alone, for
    /// whom nobody else brings about messages; by one whose question was lost, as soon as it
    /// answers anything else. What all ask at once is more than some networks hold.
    void settle_reads(const Set& core, std::size_t leader, Time limit) {
        Random random(mix(configuration_.seed, 0xead));
        if (core.size() > 1 && random.one_in(5)) return settle_echo(core, leader, limit, random);
        bool loses = core.size() > 1 && random.one_in(3);
        Set askers = core;
        if (loses || random.one_in(2)) askers = {core[random.below(core.size())]};
        while (loses && askers.front() == leader) askers = {core[random.below(core.size())]};
        bool idle = std::all_of(core.begin(), core.end(), [&](std::size_t i) {
            return nodes_[i].machine.reads.empty() && Inspect::reads(*nodes_[i].replica) == 0;
        });
        Time before = nodes_[leader].now;
        std::uint64_t abandoned = coverage()[Event::read_abandoned];
        std::uint64_t first = ghost_.reads().size();
        roomy_ = true;
        for (std::size_t i : askers) {
            if (record_) begin_step(name_of(i) + " is asked for a read.");
            ask(i);
            poll(i);
            // What it has to do at once it does before anything is lost.
            for (int k = 0; k < 3 && loses && nodes_[i].deadline <= nodes_[i].now; ++k) poll(i);
            while (loses && !flying_.empty()) {
                Flying lost = forget(0);
                note(Record::What::drop, lost.to, "lost", lost.record);
            }
            end_step();
        }
        if (loses && !failure()) propose(leader, 1);
        bool answered = run_until(core, limit, [&] {
            for (std::uint64_t number = first; number < ghost_.reads().size(); ++number)
                if (!ghost_.reads()[number].ended) return false;
            return agree(core) && flying_.empty();
        });
        roomy_ = false;
        if (!check_time(answered && coverage()[Event::read_abandoned] == abandoned, leader,
                        "a healed majority does not answer a read"))
            return;
        ghost_.require(Law::liveness, !idle || nodes_[leader].now == before,
                       "a read waits for a timer, though nothing fails", leader);
        for (std::size_t i : core) {
            ghost_.read_out(i);
            ghost_.require(Law::liveness, nodes_[i].machine.reads.empty(),
                           "reads are never taken from the machine", i);
        }
    }

    /// A question is answered once more when its follower has asked another, which that is no
    /// answer to.
    void settle_echo(const Set& core, std::size_t leader, Time limit, Random& random) {
        std::size_t i = leader;
        while (i == leader) i = core[random.below(core.size())];
        std::optional<std::pair<Message, std::uint32_t>> answer;
        auto asks = [&] {
            if (record_) begin_step(name_of(i) + " is asked for a read.");
            std::uint64_t number = ask(i);
            poll(i);
            for (int k = 0; k < 3 && nodes_[i].deadline <= nodes_[i].now; ++k) poll(i);
            end_step();
            return number;
        };
        auto is_answered = [&](std::uint64_t number) {
            for (const Flying& flying : flying_) {
                const auto* append = std::get_if<AppendEntries>(&flying.message->body);
                if (flying.to == i && append && append->read != Time{} && append->read != never)
                    answer = {*flying.message, flying.record};
            }
            return ghost_.reads()[number].ended;
        };
        roomy_ = true;
        std::uint64_t number = asks();
        bool answered = run_until(core, limit, [&] { return is_answered(number); });
        std::size_t known = ghost_.committed().size();
        if (answered) propose(leader, 1);
        answered = answered && answer && !failure() &&
                   run_until(core, limit, [&] { return ghost_.committed().size() > known; });
        if (!check_time(answered, i, "a healed majority does not answer a read")) return;
        number = asks();
        if (record_) begin_step(name_of(i) + " gets an answer once more.");
        hand_over(answer->first, answer->second);
        end_step();
        answered = run_until(core, limit, [&] { return is_answered(number) && agree(core); });
        roomy_ = false;
        check_time(answered, i, "a healed majority does not answer a read");
    }

    bool check_time(bool in_time, std::size_t i, const char* what) {
        return !failure() && ghost_.require(Law::liveness, in_time, what, i);
    }

    /// The latest of them, whatever terms others know.
    std::size_t leader_of(const Set& core) const {
        std::size_t leader = nodes_.size();
        Term highest{};
        for (std::size_t i : core) {
            if (status(i).role != Role::leader || status(i).term < highest) continue;
            highest = status(i).term;
            leader = i;
        }
        return leader;
    }

    /// Whether the leader hands over to nobody and knows that all of these have all it has: answers
    /// that were lost earlier it learns only from the next heartbeat.
    bool knows(std::size_t leader, const Set& core) const {
        const Node& node = nodes_[leader];
        if (Inspect::transfer(*node.replica) || !node.machine.pending.empty()) return false;
        const auto& progress = status(leader).progress;
        return std::all_of(progress.begin(), progress.end(), [&](const Progress& peer) {
            bool counts = std::find(core.begin(), core.end(), replica_of(peer.id)) != core.end();
            return !counts || (peer.match_index == status(leader).last_log_index &&
                               peer.inflight.empty() && !peer.waiting);
        });
    }

    bool agree(const Set& core) const {
        const Status& first = status(core.front());
        const Machine& machine = nodes_[core.front()].machine;
        return std::all_of(core.begin(), core.end(), [&](std::size_t i) {
            return status(i).term == first.term &&
                   status(i).last_log_index == first.last_log_index &&
                   status(i).commit_index == status(i).last_log_index &&
                   nodes_[i].machine.applied_hash == machine.applied_hash;
        });
    }

    /// Nobody is about to ask for votes.
    bool follow(const Set& core, std::size_t leader) const {
        return leader < nodes_.size() && std::all_of(core.begin(), core.end(), [&](std::size_t i) {
                   return status(i).leader == id_of(leader);
               });
    }

    /// Clocks agree, messages take no time and arrive in order. False: the time is over, or a law
    /// broke.
    template <class Done>
    bool run_until(const Set& running, Time limit, Done done) {
        std::uint64_t events = 0;
        while (!failure() && !done()) {
            // Nobody needs so many events in so little time: somebody asks to be polled for ever.
            if (++events > 400'000) return false;
            std::size_t syncing = syncing_or(0);
            bool syncs = may_end_sync(syncing);
            // A sync takes as long as some messages do.
            std::size_t first = first_to_arrive();
            if (first < flying_.size() && !(syncs && events % 4 == 0)) {
                Flying flying = forget(first);
                if (record_) begin_step(name_of(flying) + " arrives");
                hand_over(flying.take(), flying.record);
            } else if (syncs) {
                if (record_) begin_step("A sync of " + name_of(syncing) + " ends.");
                nodes_[syncing].disk.end_sync();
                poll(syncing);
            } else {
                std::size_t next = running.front();
                for (std::size_t other : running) {
                    if (nodes_[other].deadline < nodes_[next].deadline) next = other;
                }
                Time now = std::max(nodes_[next].now, nodes_[next].deadline);
                // What is slow comes before that; nothing that arrives at once is left.
                bool arrives = !flying_.empty() && flying_.front().arrival < now;
                if (arrives) now = flying_.front().arrival;
                if (now > limit) return false;
                for (std::size_t other : running) nodes_[other].now = now;
                if (arrives) continue;
                if (record_) begin_step("A timer of " + name_of(next) + " is due.");
                note(Record::What::time_out, next, "reaches its deadline");
                poll(next);
            }
            end_step();
        }
        return !failure();
    }

    bool is_slow(const Flying& flying) const {
        return slow_ && (flying.from == *slow_ || flying.to == *slow_);
    }

    /// The oldest whose time has come; those of a slow replica wait until then.
    std::size_t first_to_arrive() const {
        std::size_t k = 0;
        while (k < flying_.size() && is_slow(flying_[k]) &&
               flying_[k].arrival > nodes_[flying_[k].to].now)
            ++k;
        return k;
    }

    // ----- What follows

    void finale(Random& random, const Set& core, std::size_t leader) {
        if (Traits::members_change && configuration_.finale != 0) return bring_all();
        switch (static_cast<Finale>(configuration_.finale)) {
            case Finale::none:
                return;
            case Finale::calm:
                return stay_calm(core, leader, Event::calm, random.one_in(8) ? 50 : 10);
            case Finale::deaf:
                return make_deaf();
            case Finale::bridge:
                return build_bridge(random);
            case Finale::outsider:
                return bring_outsider(core, leader);
            case Finale::cut_off:
                return cut_off(random);
            case Finale::minority:
                return read_in_minority(random);
            case Finale::restarts:
                return start_others_again(random);
            case Finale::slow:
                return slow_down(random);
        }
    }

    /// Election timeouts pass in which nothing gives cause for an election.
    void stay_calm(const Set& running, std::size_t leader, Event event, int timeouts = 10) {
        Term term = status(leader).term;
        Time end = nodes_[leader].now + timeouts * ElectionTimeoutRange{}.max;
        bool changed = run_until(running, end, [&] {
            return status(leader).role != Role::leader || status(leader).term != term;
        });
        if (failure()) return;
        ghost_.require(Law::stability, !changed, "a leader is deposed without need", leader);
        ++coverage()[event];
    }

    Set everybody() const {
        Set all;
        for (std::size_t i = 0; i < nodes_.size(); ++i) all.push_back(i);
        return all;
    }

    std::size_t settle_all() {
        bring_up(everybody());
        return settle(everybody(), nodes_.size());
    }

    /// All are up, those who are no members any more among them: they must disturb nobody.
    void bring_all() {
        std::size_t leader = settle_all();
        if (failure()) return;
        stay_calm(everybody(), leader, Event::removed_ignored);
    }

    /// The leader is heard by all and hears nobody: it must make way.
    void make_deaf() {
        if (nodes_.size() < 3) return;
        std::size_t leader = settle_all();
        if (failure()) return;
        if (record_) begin_step("All links to " + name_of(leader) + " break, but none from it.");
        for (Node& node : nodes_) node.unreachable = 1U << leader;
        nodes_[leader].unreachable = 0;
        end_step();
        Set rest = everybody();
        rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(leader));
        settle(rest, nodes_.size(), {leader});
        if (!failure()) ++coverage()[Event::deaf_leader_replaced];
    }

    /// Nobody but one reaches a majority: that one must lead.
    void build_bridge(Random& random) {
        if (nodes_.size() < 4) return;
        std::size_t leader = settle_all();
        if (failure()) return;
        std::size_t bridge = (leader + 1 + random.below(nodes_.size() - 1)) % nodes_.size();
        if (record_) begin_step("All links break but those to and from " + name_of(bridge) + '.');
        for (Node& node : nodes_) node.unreachable = ~(1U << bridge);
        nodes_[bridge].unreachable = 0;
        end_step();
        settle(everybody(), bridge);
        if (!failure()) ++coverage()[Event::bridge_led];
    }

    /// What one sends and is sent takes three heartbeats. It must depose nobody, and it gets all
    /// that there is; where it is not needed for a majority, nobody waits for it.
    void slow_down(Random& random) {
        if (nodes_.size() < 2) return;
        std::size_t leader = settle_all();
        if (failure()) return;
        slow_ = random.below(nodes_.size());
        if (record_) begin_step("All that " + name_of(*slow_) + " sends and is sent takes 150 ms.");
        end_step();
        roomy_ = true;
        Term term = status(leader).term;
        Time before = nodes_[leader].now;
        for (int i = 0; i < 3 && !failure(); ++i) {
            std::uint64_t number = ghost_.fates().size();
            propose(leader, 1);
            Time limit = nodes_[leader].now + patience;
            bool applied = run_until(everybody(), limit, [&] {
                return ghost_.fates()[number].last == TransitionState::applied;
            });
            bool agreed = applied && (i < 2 || run_until(everybody(), limit,
                                                         [&] { return agree(everybody()); }));
            if (!check_time(agreed, leader, "with a slow replica a transition is not replicated"))
                return;
            bool waits = nodes_.size() < 3 || *slow_ == leader || i == 2;
            ghost_.require(Law::liveness, waits || nodes_[leader].now == before,
                           "a majority that is quick waits for a replica that is slow", leader);
            before = nodes_[leader].now;
        }
        bool stays = status(leader).role == Role::leader && status(leader).term == term;
        ghost_.require(Law::stability, stays, "a slow replica deposes a leader", leader);
        if (!failure()) stay_calm(everybody(), leader, Event::slow_borne);
        slow_.reset();
        roomy_ = false;
        if (!failure()) settle(everybody(), nodes_.size());
    }

    void break_links(std::size_t a, std::size_t b) {
        if (record_)
            begin_step("All links between " + name_of(a) + " and " + name_of(b) + " break.");
        nodes_[a].unreachable = 1U << b;
        nodes_[b].unreachable = 1U << a;
        end_step();
    }

    /// Who no longer hears the leader is helped by nobody who does.
    void cut_off(Random& random) {
        if (nodes_.size() < 3) return;
        std::size_t leader = settle_all();
        if (failure()) return;
        std::size_t other = (leader + 1 + random.below(nodes_.size() - 1)) % nodes_.size();
        break_links(leader, other);
        stay_calm(everybody(), leader, Event::cut_off_ignored);
    }

    /// The leader and as many others as are no majority do not notice that the rest goes on without
    /// them.
    void read_in_minority(Random& random) {
        if (nodes_.size() < 3) return;
        std::size_t leader = settle_all();
        if (failure()) return;
        Set few = {leader};
        while (few.size() < (nodes_.size() - 1) / 2) {
            std::size_t i = random.below(nodes_.size());
            if (std::find(few.begin(), few.end(), i) == few.end()) few.push_back(i);
        }
        std::uint32_t side = 0;
        for (std::size_t i : few) side |= 1U << i;
        partition(side);
        std::size_t known = ghost_.committed().size();
        Time limit = nodes_[leader].now + patience;
        bool elected =
            run_until(everybody(), limit, [&] { return ghost_.committed().size() > known; });
        if (!check_time(elected, leader, "a majority does not elect a leader of its own")) return;
        if (status(leader).role == Role::leader) ++coverage()[Event::minority_asked];
        std::uint64_t first = ghost_.reads().size();
        for (std::size_t i : few) {
            if (record_) begin_step(name_of(i) + " is asked for a read.");
            ask(i);
            poll(i);
            end_step();
        }
        bool ended = run_until(everybody(), limit, [&] {
            const auto& reads = ghost_.reads();
            return std::all_of(reads.begin() + static_cast<std::ptrdiff_t>(first), reads.end(),
                               [](const ReadFate& read) { return read.ended; });
        });
        if (!check_time(ended, leader, "reads in a minority are not abandoned")) return;
        heal();
        settle(everybody(), nodes_.size());
    }

    /// Those who granted a lease forget that when they start again, and may not vote before it
    /// ends.
    void start_others_again(Random& random) {
        if (nodes_.size() < 3 || !has_leases()) return;
        std::size_t leader = settle_all();
        if (failure()) return;
        std::size_t other = (leader + 1 + random.below(nodes_.size() - 1)) % nodes_.size();
        break_links(leader, other);
        run_until(everybody(), nodes_[leader].now + patience, [&] {
            return flying_.empty() &&
                   nodes_[other].deadline < nodes_[other].now + std::chrono::milliseconds(60);
        });
        if (failure()) return;
        if (record_) begin_step("All others start again, and its timer is due.");
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            if (i == leader || i == other) continue;
            bury(i, random.next());
            boot(i);
        }
        for (Node& node : nodes_) node.now = std::max(node.now, nodes_[other].deadline);
        poll(other);
        end_step();
        if (!failure()) stay_calm(everybody(), leader, Event::lease_outlasted_restarts);
    }

    /// One more comes back, which hears nobody. PreVote keeps it from raising terms.
    void bring_outsider(const Set& core, std::size_t leader) {
        std::size_t outsider = nodes_.size();
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            if (!nodes_[i].replica) outsider = i;
        }
        if (outsider == nodes_.size()) return;
        if (record_) begin_step(name_of(outsider) + " comes back, but hears nobody.");
        for (Node& node : nodes_) node.unreachable = 1U << outsider;
        nodes_[outsider].unreachable = 0;
        nodes_[outsider].now = nodes_[leader].now;
        boot(outsider);
        end_step();
        Term term = status(outsider).term;
        Set running = core;
        running.push_back(outsider);
        stay_calm(running, leader, Event::outsider_ignored);
        if (failure()) return;
        ghost_.require(Law::stability, status(outsider).term == term,
                       "a replica that nobody answers raises its term", outsider);
    }

    // ----- Fingerprints

    std::uint64_t hash_of(const Message& message) const {
        return Fingerprint::hash(message.from.value, message.to.value, message.term,
                                 hash_of_body(message));
    }
    std::uint64_t hash_of_body(const Message& message) const {
        return Fingerprint::hash_of_body(message,
                                         [this](const Entry& entry) { return number_of(entry); });
    }

    // ----- The record: only where somebody wants to read it

    std::string name_of(std::size_t i) const { return "replica " + std::to_string(i + 1); }
    std::string name_of(const Flying& flying) const {
        const Record::Message& message = record_->messages[flying.record];
        return message.kind + " from " + std::to_string(message.from + 1) + " to " +
               std::to_string(message.to + 1) + " (" + message.fields + ")";
    }

    void begin_step(std::string text) {
        if (!record_) return;
        if (!text.empty())
            text[0] =
                static_cast<char>(text[0] >= 'a' && text[0] <= 'z' ? text[0] - 'a' + 'A' : text[0]);
        record_->steps.push_back({});
        record_->steps.back().text = std::move(text);
        record_->steps.back().healing = healing_;
    }

    void end_step() {
        if (configuration_.untimed != 0 && !failure()) deliver_spent();
        if (!record_ || record_->steps.empty()) return;
        Record::Step& step = record_->steps.back();
        step.states.clear();
        for (std::size_t i = 0; i < nodes_.size(); ++i) step.states.push_back(state_of(i));
    }

    void note(Record::What what, std::size_t i, std::string text,
              std::optional<std::size_t> message = std::nullopt) {
        if (!record_ || record_->steps.empty()) return;
        record_->steps.back().events.push_back({what, i, message, std::move(text)});
    }
    void note(Record::What what, std::size_t i, const char* text,
              std::optional<std::size_t> message = std::nullopt) {
        if (record_) note(what, i, std::string(text), message);
    }

    void remember(std::size_t i) {
        const Status& now = status(i);
        before_ = {now.role, now.term, now.voted_for, now.commit_index, now.fault.has_value()};
    }

    void tell_changes(std::size_t i) {
        using enum Record::What;
        const Status& now = status(i);
        if (now.term != before_.term) note(term, i, "term " + std::to_string(now.term.value));
        if (now.voted_for && (now.term != before_.term || now.voted_for != before_.voted_for)) {
            note(vote, i, "votes for " + std::to_string(now.voted_for->value));
        }
        if (now.role != before_.role) note(role, i, std::string("is ") + name_of(now.role));
        if (now.commit_index != before_.commit_index) {
            note(commit, i, "commits up to " + std::to_string(now.commit_index.value));
        }
        if (now.fault && !before_.fault) note(fault, i, std::string(*now.fault));
    }

    static const char* name_of(TransitionState state) {
        static constexpr std::array<const char*, 8> names = {"queued",
                                                             "committed",
                                                             "applied",
                                                             "abandoned: not leader",
                                                             "abandoned: overloaded",
                                                             "abandoned: conflict with leader",
                                                             "outcome unknown",
                                                             "abandoned: malformed"};
        return names[static_cast<std::size_t>(state)];
    }

    static const char* name_of(Role role) {
        static constexpr std::array<const char*, 4> names = {"follower", "pre_candidate",
                                                             "candidate", "leader"};
        return names[static_cast<std::size_t>(role)];
    }

    std::string show(const Entry& entry) const {
        const T* transition = std::get_if<T>(&entry.command);
        return transition ? Traits::show(*transition) : show(*std::get_if<Config>(&entry.command));
    }
    static std::string show(const Noop&) { return "no-op"; }
    static std::string show(const Membership& membership) {
        return "members " + to_text(membership);
    }

    Record::State state_of(std::size_t i) const {
        const Node& node = nodes_[i];
        const DiskImage& disk = ghost_.disk(i);
        Record::State state;
        state.alive = node.replica != nullptr;
        state.paused = node.paused;
        state.clock_ms =
            std::chrono::duration_cast<std::chrono::milliseconds>(node.now.time_since_epoch())
                .count();
        state.durable_index = disk.synced_index.value;
        state.term = disk.term.value;
        if (disk.voted_for) state.voted_for = disk.voted_for->value;
        state.role = name_of(Role::follower);
        state.first_log_index = disk.log.base.index.value + 1;
        for (std::size_t k = 0; k < disk.log.marks.size(); ++k) {
            state.log_terms.push_back(disk.log.marks[k].term.value);
            state.log_texts.push_back(show(node.disk.entries[k]));
        }
        if (!node.replica) return state;
        const Status& now = status(i);
        state.role = name_of(now.role);
        state.term = now.term.value;
        state.voted_for.reset();
        if (now.voted_for) state.voted_for = now.voted_for->value;
        if (now.leader) state.leader = now.leader->value;
        state.commit_index = now.commit_index.value;
        state.last_applied = now.last_applied.value;
        state.snapshot_index = now.snapshot.index.value;
        if (now.fault) state.fault = std::string(*now.fault);
        return state;
    }

    std::uint32_t record_message(const Message& message) {
        Record::Message told;
        told.from = replica_of(message.from);
        told.to = replica_of(message.to);
        told.term = message.term.value;
        told.kind = kind_of(message);
        told.fields =
            "term " + std::to_string(message.term.value) + ", " +
            std::visit([this](const auto& body) { return this->describe(body); }, message.body);
        record_->messages.push_back(std::move(told));
        return static_cast<std::uint32_t>(record_->messages.size() - 1);
    }

    static std::string at(Index index, Term term) {
        return std::to_string(index.value) + " in term " + std::to_string(term.value);
    }
    std::string describe(const RequestVote& body) const {
        return std::string(body.pre_vote ? "PreVote, " : "") +
               (body.transfer ? "the leader asked for it, " : "") + "log ends at " +
               at(body.last_log.index, body.last_log.term);
    }
    std::string describe(const RequestVoteResponse& body) const {
        return std::string(body.pre_vote ? "PreVote " : "vote ") +
               (body.vote_granted ? "granted" : "refused");
    }
    std::string describe(const AppendEntries& body) const {
        std::string text = "after " + at(body.prev_log.index, body.prev_log.term) + ", commit " +
                           std::to_string(body.leader_commit.value) + ", ";
        if (body.entries.empty()) return text + "no entries";
        for (const Entry& entry : body.entries) {
            if (&entry != &body.entries.front()) text += ' ';
            text += show(entry);
            text += '@' + std::to_string(entry.term.value);
        }
        return text;
    }
    std::string describe(const AppendEntriesResponse& body) const {
        if (body.success) return "success up to " + std::to_string(body.match_index.value);
        return "refused " + std::to_string(body.match_index.value) + ", try " +
               at(body.hint.index, body.hint.term) + ", has " +
               std::to_string(body.snapshot_offset) + " bytes";
    }
    std::string describe(const TimeoutNow&) const { return "stand for election"; }
    std::string describe(const InstallSnapshot& body) const {
        return "up to " + at(body.last_included.index, body.last_included.term) + ", from byte " +
               std::to_string(body.offset) + (body.done ? ", the end" : "");
    }

    struct Before {
        Role role = Role::follower;
        Term term = {};
        std::optional<ReplicaId> voted_for = std::nullopt;
        Index commit_index = {};
        bool fault = false;
    };

    Configuration configuration_;
    Random random_;
    Ghost ghost_;
    OwnStorage<S> own_storage_;
    std::vector<Node> nodes_;
    std::vector<Flying> flying_;
    bool healed_ = false;               // The network holds what goes to all and comes back,
    bool roomy_ = false;                // ... as much as need be.
    std::optional<std::size_t> slow_;   // All that goes to this one or comes from it takes long.
    bool overflowed_ = false;           // The network lost one of them, since it holds no more.
    std::vector<T> transitions_;        // By number.
    std::vector<ClientCall<S>> calls_;  // By number.
    std::uint64_t moment_ = 0;          // Of the last call or answer.
    HighestId highest_id_{};
    std::uint64_t changes_ = 0;  // Of the members, that were asked for.
    std::vector<std::uint64_t> answered_now_;
    std::vector<std::optional<AnswerOf<S>>> expected_;
    Model model_;
    std::vector<Shadow> shadows_;
    Time time_{};
    std::uint64_t boots_ = 0;
    std::uint64_t steps_ = 0;
    std::uint64_t trace_ = 0;
    Record* record_ = nullptr;
    Before before_;
    bool healing_ = false;
};

// ----- What the machine, the network and the disk do ---------------------------------------------

template <class S>
void SimulatedMachineBase<S>::register_transition_state(const typename Traits::Id& id,
                                                        TransitionState state) {
    Simulator<S>& s = *simulator;
    if (s.nodes_[node].dead) return;
    machine->register_transition_state(id, state);
    std::uint64_t number = s.number_of(id);
    s.trace(number * 16 + static_cast<std::uint64_t>(state));
    s.ghost_.reported(node, number, state);
    if (s.record_) {
        s.note(Record::What::state, node,
               "transition " + std::to_string(number) + ": " + s.name_of(state));
    }
    if (number == noop_number || number >= s.calls_.size()) return;
    const Fate& fate = s.ghost_.fates()[number];
    if (fate.replica != node || fate.incarnation != s.ghost_.incarnation(node)) return;
    ClientCall<S>& call = s.calls_[number];
    call.refused = fate.is_abandoned();
    if (state == TransitionState::applied) {
        call.answered = ++s.moment_;
        if constexpr (Traits::observes) {
            call.answer = S::observe(*machine, s.transitions_[number]);
            s.answered_now_.push_back(number);
        }
    }
}

template <class S>
void SimulatedMachineBase<S>::apply_transition(const Transition& transition) {
    Simulator<S>& s = *simulator;
    if (s.nodes_[node].dead) return;
    machine->apply_transition(transition);
    std::uint64_t number = s.number_of(transition.get_id());
    if constexpr (std::equality_comparable<Transition>) {
        bool same = number != unknown_number && transition == s.transitions_[number];
        s.ghost_.require(Law::state_machine_safety, same,
                         "what is applied is not what was proposed", node);
    }
    applied_hash = mix(applied_hash, number);
    touched = true;
    s.trace(number);
    ++s.coverage()[Event::apply];
    if (s.record_) s.note(Record::What::apply, node, Traits::show(transition));
}

template <class S>
auto SimulatedMachineBase<S>::get_pending_transitions() -> std::vector<Transition> {
    std::vector<Transition> taken;
    if (pending.empty()) return taken;
    for (std::uint64_t number : pending) {
        taken.push_back(simulator->transitions_[number]);
        simulator->ghost_.taken(number);
        simulator->calls_[number].taken = true;
    }
    pending.clear();
    return taken;
}

template <class S>
auto SimulatedMachineBase<S>::get_pending_reads() -> std::vector<Read> {
    for (const Read& read : reads) simulator->ghost_.read_taken(read.number);
    if (!reads.empty()) reads_taken = Inspect::stamp(*simulator->nodes_[node].replica);
    return std::exchange(reads, {});
}

template <class S>
void SimulatedMachineBase<S>::apply_read(const Read& read) {
    Simulator<S>& s = *simulator;
    if (s.nodes_[node].dead) return;
    s.count_read(node);
    s.ghost_.read_ended(node, read.number, s.status(node).last_applied);
    s.trace(read.number * 16 + 8);
    if (s.record_) {
        s.note(Record::What::read, node,
               "read " + std::to_string(read.number) + " sees up to " +
                   std::to_string(s.status(node).last_applied.value));
    }
}

template <class S>
void SimulatedMachineBase<S>::abandon_read(const Read& read) {
    Simulator<S>& s = *simulator;
    if (s.nodes_[node].dead) return;
    s.ghost_.read_ended(node, read.number, std::nullopt);
    s.trace(read.number * 16 + 9);
    if (s.record_)
        s.note(Record::What::read, node, "read " + std::to_string(read.number) + " is abandoned");
}

template <class S>
auto SimulatedMachine<S, true>::create_snapshot(Index last_included_index, Term last_included_term,
                                                const auto&... membership) -> SnapshotData {
    Simulator<S>& s = *this->simulator;
    SnapshotData data;
    if constexpr (SubjectTraits<S>::keeps_membership) {
        data =
            this->machine->create_snapshot(last_included_index, last_included_term, membership...);
    } else {
        data = this->machine->create_snapshot(last_included_index, last_included_term);
    }
    if (s.nodes_[this->node].dead) return data;
    this->saved = Saved{{last_included_term, last_included_index}, data, membership...};
    (s.ghost_.snapshot_taken(last_included_index, membership), ...);
    check_saved();
    ++s.coverage()[Event::snapshot_created];
    if (s.record_) {
        s.note(Record::What::snapshot, this->node,
               "saves a snapshot up to " + std::to_string(last_included_index.value));
    }
    return data;
}

template <class S>
void SimulatedMachine<S, true>::set_snapshot(const Saved& snapshot) {
    Simulator<S>& s = *this->simulator;
    if (s.nodes_[this->node].dead) return;
    if constexpr (std::is_same_v<typename SubjectTraits<S>::Given, Saved>) {
        this->machine->set_snapshot(snapshot);
    } else {
        this->machine->set_snapshot({snapshot.last_included, snapshot.data});
    }
    this->touched = true;
    if (snapshot.last_included.index.value > s.ghost_.committed().size()) {
        return s.ghost_.fail(Law::state_machine_safety,
                             "a snapshot of what is not committed is installed", this->node);
    }
    this->applied_hash = s.ghost_.applied_hash(snapshot.last_included.index);
    this->saved = snapshot;
    check_saved();
    if (s.nodes_[this->node].booting) return;
    s.ghost_.installed(this->node);
    ++s.coverage()[Event::snapshot_installed];
    if (s.record_) {
        s.note(Record::What::install, this->node,
               "installs a snapshot up to " + std::to_string(snapshot.last_included.index.value));
    }
}

template <class S>
void SimulatedMachine<S, true>::check_saved() {
    auto given = this->machine->get_snapshot();
    bool same = given && given->last_included == this->saved->last_included;
    if constexpr (SubjectTraits<S>::keeps_membership)
        same = same && testing::same(given->membership, this->saved->membership);
    if constexpr (std::equality_comparable<SnapshotData>) {
        same = same && given->data == this->saved->data;
    }
    this->simulator->ghost_.require(Law::snapshots_come_back, same,
                                    "get_snapshot does not give what was saved last", this->node);
}

template <class S>
auto SimulatedClusterBase<S>::receive_messages() -> std::vector<Message> {
    request.reset();
    if (inbox.size() == 1 && simulator->is_quiet(node)) {
        if (auto* asked = std::get_if<RequestVote>(&inbox.front().body)) request = *asked;
        asks = inbox.front().from;
    }
    return std::exchange(inbox, {});
}

template <class S>
void SimulatedClusterBase<S>::send_message(ReplicaId to, Message message) {
    Simulator<S>& s = *simulator;
    auto& sender = s.nodes_[node];
    if (sender.dead) return;
    ++s.coverage()[Event::message];
    s.ghost_.sent(node, message, to == asks ? request : std::nullopt);
    if (auto* vote = std::get_if<RequestVoteResponse>(&message.body))
        granted = granted || vote->vote_granted;
    std::size_t receiver = replica_of(to);
    if (to != message.to || receiver >= s.nodes_.size()) {
        return s.ghost_.fail(Law::persist_before_send, "a message is sent to a stranger", node);
    }
    s.check_news(node, message);
    if constexpr (SubjectTraits<S>::encodes) {
        std::string text = S::encode(message);
        std::optional<Message> decoded = S::decode(text);
        bool same =
            decoded && S::encode(*decoded) == text && decoded->body.index() == message.body.index();
        if (!s.ghost_.require(Law::messages_survive, same,
                              "a message is not the same after encode and decode", node)) {
            return s.ghost_.explain("It is of kind " + std::string(kind_of(message)) +
                                    "; check_serialization tells what becomes of it.\n");
        }
        message = *std::move(decoded);
    }
    s.trace(message.from.value << 40 | message.to.value << 32 | message.term.value << 8 |
            message.body.index());
    // Without time, one copy of a message is as good as any number, since it can be repeated.
    std::uint64_t hash = s.configuration_.untimed != 0 ? s.hash_of_body(message) : 0;
    if (s.configuration_.untimed != 0 && s.is_in_flight(message, hash)) return;
    std::uint32_t record = s.record_ ? s.record_message(message) : 0;
    if (s.record_) s.note(Record::What::send, node, "sends", record);
    Duration travel = std::chrono::microseconds(200 + s.random_.below(20'000));
    Time arrival = s.time_ + sender.delay + travel;
    if (s.slow_)
        arrival = sender.now + (s.slow_ == node || s.slow_ == receiver ? s.slowness : Duration{});
    s.flying_.push_back({arrival, hash, std::make_shared<Message>(std::move(message)), record,
                         static_cast<std::uint8_t>(node), static_cast<std::uint8_t>(receiver)});
    if (s.flying_.size() <= s.room()) return;
    s.forget(0);
    s.overflowed_ = true;
}

template <class S>
auto SimulatedCluster<S, true>::get_pending_membership() -> std::optional<Membership> {
    if (this->wanted) this->simulator->ghost_.change_taken(this->node, *this->wanted);
    return std::exchange(this->wanted, {});
}

template <class S>
void SimulatedCluster<S, true>::register_membership(const Membership& membership,
                                                    MembershipState state) {
    Simulator<S>& s = *this->simulator;
    const auto& owner = s.nodes_[this->node];
    if (owner.dead) return;
    bool lives = owner.replica != nullptr;
    s.trace(testing::number_of(membership) * 16 + static_cast<std::uint64_t>(state));
    s.ghost_.membership_reported(this->node, membership, state,
                                 lives ? s.status(this->node).last_applied : Index{},
                                 lives ? Inspect::log(*owner.replica).last.index : Index{});
    if (s.record_) {
        s.note(Record::What::members, this->node,
               "members " + to_text(membership) + ": " + s.name_of(state));
    }
}

template <class S>
bool SimulatedDisk<S>::dies(unsigned kind) {
    auto& owner = simulator->nodes_[node];
    if (calls_left && *calls_left == 0) owner.dead = true;
    if (calls_left && *calls_left > 0) --*calls_left;
    if (owner.dead) return true;
    auto bit = static_cast<std::uint8_t>(1U << kind);
    constexpr unsigned synced = 8;
    simulator->ghost_.require(Law::calls_as_promised, (called & (bit | synced)) == 0,
                              "a poll calls the Storage more often than promised", node);
    called = static_cast<std::uint8_t>(called | bit);
    return false;
}

template <class S>
auto SimulatedDisk<S>::load() -> State {
    DiskImage& image = simulator->ghost_.disk(node);
    if constexpr (SubjectTraits<S>::stores) {
        auto& own = simulator->own_storage_;
        own.storages[node].reset();
        if (own.power_lost[node]) own.replace(own.live(node), own.synced(node));
        own.storages[node] = S::open(own.live(node));
        State state = own.storages[node]->load();
        // A power loss leaves what was synced, the end of a process that or something later.
        if (own.power_lost[node]) {
            while (!unsynced.empty()) undo();
        }
        while (!is_at(state) && !unsynced.empty()) {
            Write& last = unsynced.back();
            if (last.kind == Write::append && last.added > 0) {
                --last.added;
                entries.pop_back();
                image.log.marks.pop_back();
            } else {
                undo();
            }
        }
        if (!simulator->ghost_.require(Law::nothing_synced_is_lost, is_at(state),
                                       "the Storage does not load what was written to it", node)) {
            auto told = [](Term term, std::optional<ReplicaId> vote, LogPosition base,
                           const auto& log) {
                return "term " + std::to_string(term.value) + ", vote for " +
                       (vote ? std::to_string(vote->value) : "nobody") + ", " +
                       std::to_string(log.size()) + " entries behind index " +
                       std::to_string(base.index.value) + " of term " +
                       std::to_string(base.term.value);
            };
            simulator->ghost_.explain(
                "It loads " +
                told(state.term, state.voted_for, state.last_included, state.entries) +
                ";\nwhat was synced: " +
                told(image.term, image.voted_for, image.log.base, entries) + ".\n");
        }
        unsynced.clear();
        own.power_lost[node] = false;
    }
    image.synced_term = image.term;
    image.synced_vote = image.voted_for;
    image.synced_index = image.synced_last = image.log.last_index();
    begun.reset();
    syncing = false;
    return {image.term, image.voted_for, image.log.base, entries};
}

template <class S>
void SimulatedDisk<S>::save_vote(Term term, std::optional<ReplicaId> voted_for) {
    if (dies(0)) return;
    put_vote(term, voted_for);
    if constexpr (SubjectTraits<S>::stores)
        simulator->own_storage_.storages[node]->save_vote(term, voted_for);
}

template <class S>
void SimulatedDisk<S>::append(Index first_index, const std::vector<LogEntry>& added) {
    if (dies(1)) return;
    put_entries(first_index, added);
    if constexpr (SubjectTraits<S>::stores)
        simulator->own_storage_.storages[node]->append(first_index, added);
}

template <class S>
void SimulatedDisk<S>::compact(LogPosition last_included) {
    if (dies(2)) return;
    put_base(last_included);
    if constexpr (SubjectTraits<S>::stores)
        simulator->own_storage_.storages[node]->compact(last_included);
}

template <class S>
void SimulatedDisk<S>::keep_up(const auto& replica) {
    const Status& status = replica.status();
    const auto& log = Inspect::log(replica);
    put_vote(status.term, status.voted_for);
    // What a snapshot of its own covers may stay until the next poll writes.
    if (!simulator->ghost_.disk(node).log.holds(log.base)) put_base(log.base);
    Index first = std::max(log.base.index + 1, Inspect::stable_index(replica) + 1);
    put_entries(first, log.slice(first).first);
}

template <class S>
void SimulatedDisk<S>::put_vote(Term term, std::optional<ReplicaId> voted_for) {
    DiskImage& image = simulator->ghost_.disk(node);
    if (simulator->syncs_meanwhile() && image.term == term && image.voted_for == voted_for) return;
    unsynced.push_back({.kind = Write::vote, .term = image.term, .voted_for = image.voted_for});
    simulator->ghost_.require(Law::terms_never_fall, term >= image.term,
                              "a lower term is written to disk", node);
    image.term = term;
    image.voted_for = voted_for;
    simulator->note(Record::What::disk, node, "writes term and vote");
}

template <class S>
void SimulatedDisk<S>::put_entries(Index first_index, const std::vector<LogEntry>& all) {
    std::size_t held = 0;
    if (simulator->syncs_meanwhile()) {
        const LogImage& log = std::as_const(simulator->ghost_).disk(node).log;
        auto is_there = [&](Index index, const LogEntry& entry) {
            return index <= log.last_index() && log[index].term == entry.term &&
                   log[index].number == simulator->number_of(entry);
        };
        while (held < all.size() && is_there(first_index + held, all[held])) ++held;
        if (held == all.size() && log.last_index() + 1 == first_index + held) return;
    }
    const std::vector<LogEntry> added(all.begin() + static_cast<std::ptrdiff_t>(held), all.end());
    first_index = first_index + held;
    if (!simulator->ghost_.cuts(node, first_index)) return;
    DiskImage& image = simulator->ghost_.disk(node);
    LogImage& log = image.log;
    auto kept = static_cast<std::size_t>(first_index - log.base.index - 1);
    unsynced.push_back({.kind = Write::append, .kept = kept, .added = added.size()});
    if (kept < entries.size()) {
        auto cut = static_cast<std::ptrdiff_t>(kept);
        unsynced.back().marks.assign(log.marks.begin() + cut, log.marks.end());
        unsynced.back().entries.assign(entries.begin() + cut, entries.end());
        log.marks.erase(log.marks.begin() + cut, log.marks.end());
        entries.erase(entries.begin() + cut, entries.end());
        simulator->note(Record::What::truncate, node, "cuts its log");
    }
    image.synced_index = std::min(image.synced_index, first_index - 1);
    if (begun) begun->synced.index = std::min(begun->synced.index, first_index - 1);
    for (const LogEntry& entry : added) {
        if constexpr (SubjectTraits<S>::members_change)
            if (auto* membership = std::get_if<Config>(&entry.command))
                simulator->ghost_.know(*membership);
        std::uint64_t number = simulator->number_of(entry);
        log.push(entry.term, number);
        entries.push_back(entry);
        if (simulator->record_) {
            simulator->note(
                Record::What::append, node,
                simulator->show(entry) + " at " + std::to_string(log.last_index().value));
        }
    }
    simulator->ghost_.log_changed(node);
}

template <class S>
void SimulatedDisk<S>::put_base(LogPosition last_included) {
    Ghost& ghost = simulator->ghost_;
    DiskImage& image = ghost.disk(node);
    LogImage& log = image.log;
    if (simulator->syncs_meanwhile() && log.base == last_included) return;
    Index index = last_included.index;
    const auto& saved = simulator->nodes_[node].machine.saved;
    bool covered = saved && index <= saved->last_included.index;
    if (!ghost.require(Law::calls_as_promised, covered && index >= log.base.index,
                       "the log is cut where no saved snapshot covers it", node))
        return;
    if (!ghost.require(Law::commit_rule, index.value <= ghost.committed().size(),
                       "a snapshot covers what is not committed", node))
        return;
    ++ghost.coverage()[Event::log_compacted];
    bool holds = log.holds(last_included);
    auto gone = static_cast<std::ptrdiff_t>(holds ? index - log.base.index : log.marks.size());
    if (!holds) {
        image.synced_index = std::min(image.synced_index, index);
        if (begun) begun->synced.index = std::min(begun->synced.index, index);
    }
    unsynced.push_back({.kind = Write::compact, .base = log.base, .base_hash = log.base_hash});
    unsynced.back().marks.assign(log.marks.begin(), log.marks.begin() + gone);
    unsynced.back().entries.assign(entries.begin(), entries.begin() + gone);
    log.marks.erase(log.marks.begin(), log.marks.begin() + gone);
    entries.erase(entries.begin(), entries.begin() + gone);
    log.base = last_included;
    log.base_hash = ghost.committed_hash(index);
    ghost.log_changed(node);
    simulator->note(Record::What::disk, node, "compacts its log");
}

template <class S>
auto SimulatedDisk<S>::sync()
    -> std::conditional_t<SubjectTraits<S>::async_disk, std::optional<bool>, bool> {
    if constexpr (SubjectTraits<S>::async_disk) {
        if (syncing && begun) return std::nullopt;
        if (std::exchange(syncing, false)) return !failed;
    }
    if (dies(3)) return true;
    if (fails) {
        fails = false;
        failed = true;
        ++simulator->coverage()[Event::failed_sync];
        simulator->note(Record::What::disk, node, "fails to sync");
        return false;
    }
    if constexpr (SubjectTraits<S>::async_disk) {
        if (simulator->syncs_meanwhile()) {
            begin_sync();
            syncing = begun.has_value();
            if (syncing) return std::nullopt;
            return !failed;
        }
    }
    if (slow > 0) {
        auto& owner = simulator->nodes_[node];
        Duration time = std::chrono::milliseconds(std::exchange(slow, 0));
        if (simulator->configuration_.long_polls != 0) {
            simulator->meanwhile(node, time);
        } else if (simulator->has_leases()) {
            simulator->pass(time);
        } else {
            owner.delay = time;
            owner.now += time;
        }
        ++simulator->coverage()[Event::slow_sync];
        simulator->note(Record::What::disk, node, "is slow to sync");
    }
    if constexpr (SubjectTraits<S>::stores) {
        auto& own = simulator->own_storage_;
        if (!own.storages[node]->sync()) return false;
        own.replace(own.synced(node), own.live(node));
    }
    unsynced.clear();
    simulator->ghost_.synced(node);
    return true;
}

template <class S>
void SimulatedDisk<S>::begin_sync() {
    bool quick = slow == 0 && simulator->random_.one_in(4);
    auto takes = slow > 0 ? Duration(std::chrono::milliseconds(slow))
                          : std::chrono::microseconds(100 + simulator->random_.below(15'000));
    bool is_slow = std::exchange(slow, 0) > 0;
    if (is_slow) ++simulator->coverage()[Event::slow_sync];
    begun = {Synced::of(std::as_const(simulator->ghost_).disk(node)), unsynced.size(),
             simulator->time_ + takes, is_slow, std::exchange(fails_late, false)};
    if (quick) end_sync();
}

template <class S>
void SimulatedDisk<S>::end_sync() {
    Begun first = *std::exchange(begun, std::nullopt);
    if (first.fails || failed) {
        failed = true;
        ++simulator->coverage()[Event::failed_sync];
        return simulator->note(Record::What::disk, node, "fails to sync");
    }
    unsynced.erase(unsynced.begin(), unsynced.begin() + static_cast<std::ptrdiff_t>(first.writes));
    ++simulator->coverage()[Event::sync_ended];
    if (first.synced.index < first.synced.last) ++simulator->coverage()[Event::sync_overtaken];
    simulator->ghost_.synced(node, first.synced);
    simulator->note(Record::What::disk, node, "has synced what it began to");
}

template <class S>
void SimulatedDisk<S>::crash(std::uint64_t entropy) {
    if constexpr (SubjectTraits<S>::stores) {
        // What it lost shows when it is opened again.
        simulator->own_storage_.storages[node].reset();
        simulator->own_storage_.power_lost[node] = entropy % 2 == 0;
        return;
    }
    DiskImage& image = simulator->ghost_.disk(node);
    std::size_t kept = entropy % (unsynced.size() + 1);
    entropy /= unsynced.size() + 1;
    if (kept < unsynced.size()) ++simulator->coverage()[Event::unsynced_write_lost];
    while (unsynced.size() > kept + 1) undo();
    if (unsynced.size() > kept) {
        // Of the first write that was lost, some may be there.
        const Write& torn = unsynced.back();
        std::size_t survive = torn.kind == Write::append ? entropy % (torn.added + 1) : 0;
        if (survive > 0) {
            ++simulator->coverage()[Event::append_torn];
            entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(torn.kept + survive),
                          entries.end());
            image.log.marks.resize(torn.kept + survive);
        } else {
            undo();
        }
        simulator->ghost_.log_changed(node);
    }
    unsynced.clear();
    image.synced_term = image.term;
    image.synced_vote = image.voted_for;
    image.synced_index = image.synced_last = image.log.last_index();
    begun.reset();
    syncing = false;
}

template <class S>
void SimulatedDisk<S>::undo() {
    DiskImage& image = simulator->ghost_.disk(node);
    LogImage& log = image.log;
    Write& last = unsynced.back();
    switch (last.kind) {
        case Write::vote:
            image.term = last.term;
            image.voted_for = last.voted_for;
            break;
        case Write::append:
            log.marks.resize(last.kept);
            entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(last.kept), entries.end());
            log.marks.insert(log.marks.end(), last.marks.begin(), last.marks.end());
            entries.insert(entries.end(), last.entries.begin(), last.entries.end());
            break;
        case Write::compact:
            log.base = last.base;
            log.base_hash = last.base_hash;
            log.marks.insert(log.marks.begin(), last.marks.begin(), last.marks.end());
            entries.insert(entries.begin(), last.entries.begin(), last.entries.end());
            break;
    }
    unsynced.pop_back();
}

template <class S>
bool SimulatedDisk<S>::is_at(const State& state) const {
    const DiskImage& image = std::as_const(simulator->ghost_).disk(node);
    if (state.term != image.term || state.voted_for != image.voted_for ||
        !(state.last_included == image.log.base) || state.entries.size() != entries.size())
        return false;
    for (std::size_t k = 0; k < entries.size(); ++k) {
        if (state.entries[k].term != entries[k].term ||
            simulator->number_of(state.entries[k]) != image.log.marks[k].number)
            return false;
    }
    return true;
}

}  // namespace little_raft::testing
