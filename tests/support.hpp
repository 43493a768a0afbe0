// What the tests of single replicas share: user types that record everything, and a Node that holds
// one replica whose messages, clock and disk the test moves by hand.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "little_raft.hpp"

namespace support {

namespace lr = little_raft;
using namespace std::chrono_literals;
using lr::Index;
using lr::ReplicaId;
using lr::Term;

struct Command {
    std::uint64_t id = 0;
    std::uint64_t payload = 0;
    std::uint64_t get_id() const { return id; }
    friend bool operator==(const Command&, const Command&) = default;
};

/// Its state is the sequence of what it applied, eight bytes of snapshot a command's id.
struct Machine {
    using Transition = Command;
    using SnapshotData = std::string;

    std::vector<Command> pending;
    std::vector<std::uint64_t> applied;
    std::vector<std::pair<std::uint64_t, lr::TransitionState>> states;
    std::optional<lr::Snapshot<std::string>> saved;  // Survives a restart of the node.
    std::uint64_t set_snapshot_calls = 0;
    std::uint64_t create_snapshot_calls = 0;

    void register_transition_state(std::uint64_t id, lr::TransitionState state) {
        states.emplace_back(id, state);
    }
    void apply_transition(const Command& command) { applied.push_back(command.id); }
    std::vector<Command> get_pending_transitions() { return std::exchange(pending, {}); }

    std::optional<lr::Snapshot<std::string>> get_snapshot() { return saved; }
    std::string create_snapshot(Index last_included_index, Term last_included_term) {
        ++create_snapshot_calls;
        saved = {{last_included_term, last_included_index}, serialize()};
        return saved->data;
    }
    void set_snapshot(const lr::Snapshot<std::string>& snapshot) {
        ++set_snapshot_calls;
        saved = snapshot;
        applied.clear();
        for (std::size_t i = 0; i + 8 <= snapshot.data.size(); i += 8) {
            std::uint64_t id = 0;
            for (std::size_t k = 0; k < 8; ++k) {
                id |= std::uint64_t{static_cast<unsigned char>(snapshot.data[i + k])} << (8 * k);
            }
            applied.push_back(id);
        }
    }

    std::string serialize() const {
        std::string bytes;
        for (std::uint64_t id : applied) {
            for (unsigned k = 0; k < 8; ++k) bytes.push_back(static_cast<char>(id >> (8 * k)));
        }
        return bytes;
    }

    /// The states of one transition, in the order in which they were reported.
    std::vector<lr::TransitionState> states_of(std::uint64_t id) const {
        std::vector<lr::TransitionState> result;
        for (const auto& [who, state] : states) {
            if (who == id) result.push_back(state);
        }
        return result;
    }
};

using Message = lr::MessageOf<Machine>;
using Entry = lr::Entry<Command>;
using AppendEntries = lr::AppendEntries<Command>;
using InstallSnapshot = lr::InstallSnapshot<std::string>;

struct Wire {
    std::vector<Message> inbox;
    std::vector<Message> sent;
    std::vector<std::optional<ReplicaId>> leaders;
    bool halted = false;
    std::optional<ReplicaId> transfer_to;

    void send_message(ReplicaId, Message message) { sent.push_back(std::move(message)); }
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return halted; }
    void register_leader(std::optional<ReplicaId> leader) { leaders.push_back(leader); }
    std::optional<ReplicaId> get_pending_transfer() { return std::exchange(transfer_to, {}); }
};

/// Keeps apart what was written and what is durable. crash() forgets the difference.
template <class Config>
struct DiskOf {
    lr::StoredState<Command, Config> written;
    lr::StoredState<Command, Config> durable;
    std::vector<std::string> calls;
    bool sync_fails = false;

    lr::StoredState<Command, Config> load() { return written; }
    void save_vote(Term term, std::optional<ReplicaId> voted_for) {
        calls.push_back("save_vote");
        written.term = term;
        written.voted_for = voted_for;
    }
    void append(Index first_index, const std::vector<lr::Entry<Command, Config>>& entries) {
        calls.push_back("append");
        auto kept = static_cast<std::ptrdiff_t>(first_index - written.last_included.index - 1);
        written.entries.erase(written.entries.begin() + kept, written.entries.end());
        written.entries.insert(written.entries.end(), entries.begin(), entries.end());
    }
    void compact(lr::LogPosition last_included) {
        calls.push_back("compact");
        auto& [term, vote, base, entries] = written;
        auto count = last_included.index.value - base.index.value;
        bool held = last_included.index > base.index && count <= entries.size() &&
                    entries[count - 1].term == last_included.term;
        if (held) {
            entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(count));
        } else if (!(last_included == base)) {
            entries.clear();
        }
        base = last_included;
    }
    bool sync() {
        calls.push_back("sync");
        if (!sync_fails) durable = written;
        return !sync_fails;
    }
    void crash() { written = durable; }
};

using Disk = DiskOf<lr::Noop>;

/// One replica under test, with its peers played by the test, of these types of the user's.
template <class M, class D = Disk, class W = Wire, class P = ReplicaId>
struct NodeOf {
    using Options = lr::Options<M>;
    using Replica = lr::Replica<W, M, D>;
    using Message = typename decltype(W::inbox)::value_type;

    ReplicaId id;
    std::vector<P> peers;
    Options options;
    W wire;
    M machine;
    D disk;
    lr::Time now{};
    std::unique_ptr<Replica> replica;

    explicit NodeOf(std::uint64_t self = 1, std::vector<std::uint64_t> others = {2, 3},
                    Options chosen = {})
        : id{self}, options(std::move(chosen)) {
        for (std::uint64_t other : others) peers.push_back({ReplicaId{other}});
    }

    /// Lets the test set `disk` and `machine` before the replica loads them.
    Replica& boot() {
        if (!replica) {
            replica = std::make_unique<Replica>(id, peers, wire, machine, disk, options);
        }
        return *replica;
    }

    lr::Status status() { return boot().status(); }

    /// Who has a vote beside it.
    std::vector<ReplicaId> others() const {
        std::vector<ReplicaId> ids;
        for (const P& peer : peers) {
            if constexpr (std::is_same_v<P, ReplicaId>)
                ids.push_back(peer);
            else if (peer.id != id && !peer.learner)
                ids.push_back(peer.id);
        }
        return ids;
    }

    /// Polls at the present time, after handing in these messages.
    lr::Time poll(std::vector<Message> messages = {}) {
        for (Message& message : messages) wire.inbox.push_back(std::move(message));
        return boot().poll(now);
    }

    lr::Time advance(lr::Duration by) {
        now += by;
        return poll();
    }

    /// Takes what was sent since the last call.
    std::vector<Message> sent() { return std::exchange(wire.sent, {}); }

    /// Takes what was sent since the last call, keeping the bodies of one kind.
    template <class Body>
    std::vector<Body> sent_of() {
        std::vector<Body> bodies;
        for (Message& message : sent()) {
            if (auto* body = std::get_if<Body>(&message.body)) bodies.push_back(std::move(*body));
        }
        return bodies;
    }

    /// A peer's answer has heard all that was sent, unless it says otherwise.
    template <class Body>
    Message from(std::uint64_t peer, std::uint64_t term, Body body) const {
        if constexpr (std::is_same_v<Body, lr::AppendEntriesResponse>)
            if (body.heard == lr::Time{}) body.heard = now;
        return {ReplicaId{peer}, id, Term{term}, std::move(body)};
    }

    /// Runs out the election timer; the replica becomes a pre-candidate (or, alone, the leader).
    void time_out() { advance(options.election_timeout_range.max + 1ms); }

    /// Makes it win an election: pre-votes and votes from every peer.
    void elect() {
        poll();
        time_out();
        std::uint64_t next = status().term.value + 1;
        std::vector<Message> grants;
        for (ReplicaId peer : others()) {
            grants.push_back(from(peer.value, next - 1, lr::RequestVoteResponse{true, true}));
        }
        poll(std::move(grants));
        grants.clear();
        for (ReplicaId peer : others()) {
            grants.push_back(from(peer.value, next, lr::RequestVoteResponse{false, true}));
        }
        poll(std::move(grants));
        for (int i = 0; i < 4; ++i) poll();  // A replica of one needs a poll for each step.
    }

    /// The process ends, with what was not durable lost, and comes back.
    void restart() {
        replica.reset();
        disk.crash();
        wire = W{};
        M fresh;
        fresh.saved = machine.saved;
        machine = fresh;
        boot();
    }
};

using Node = NodeOf<Machine>;
using Replica = Node::Replica;
using Options = Node::Options;

/// Keeps those of which it is told so, in their order. Each is asked about once; the others may be
/// moved from meanwhile, which a predicate of std::erase_if must not do.
template <class T>
void keep_if(std::vector<T>& all, auto keeps) {
    auto kept = all.begin();
    for (T& one : all) {
        if (!keeps(one)) continue;
        if (&*kept != &one) *kept = std::move(one);
        ++kept;
    }
    all.erase(kept, all.end());
}

/// Real replicas 1, 2, 3 ... in virtual time: each has a clock of its own, all of one pace. What
/// one sends reaches the other in its next poll, unless the way between them is cut or that one is
/// down.
template <class N>
struct GroupOf {
    using Message = typename N::Message;

    std::deque<N> nodes;
    std::set<std::pair<std::uint64_t, std::uint64_t>> cut;  // From, to.
    std::set<std::uint64_t> down;                           // Neither polled nor sent to.
    std::function<void(N&, const Message&)> on_sent = [](N&, const Message&) {};
    /// Whether a message stays on its way; it is asked again in each step, so others overtake it.
    std::function<bool(const Message&)> holds = [](const Message&) { return false; };
    std::vector<Message> flying;
    std::uint64_t carried = 0;  // Messages that arrived.

    explicit GroupOf(std::uint64_t count, typename N::Options options = {}) {
        for (std::uint64_t id = 1; id <= count; ++id) {
            std::vector<std::uint64_t> others;
            for (std::uint64_t other = 1; other <= count; ++other) {
                if (other != id) others.push_back(other);
            }
            nodes.emplace_back(id, others, options);
        }
    }

    N& operator[](std::uint64_t id) { return nodes[id - 1]; }

    /// Nobody hears the replica, nor does it hear anybody.
    void isolate(std::uint64_t id) {
        for (const N& other : nodes) {
            cut.emplace(id, other.id.value);
            cut.emplace(other.id.value, id);
        }
    }

    /// Each is polled once, in order. Says whether any has more to do, or was sent something.
    bool step() {
        bool more = false;
        for (N& node : nodes) {
            if (down.contains(node.id.value)) continue;
            lr::Time next = node.poll();
            more = more || next <= node.now;
            for (Message& message : node.sent()) {
                on_sent(node, message);
                flying.push_back(std::move(message));
            }
            more = deliver() || more;
        }
        return more || !flying.empty();
    }

    /// Brings what is not held to its receiver, or loses it on the way. Says whether any arrived.
    bool deliver() {
        bool any = false;
        keep_if(flying, [&](Message& message) {
            std::uint64_t to = message.to.value;
            if (holds(message)) return true;
            if (!cut.contains({message.from.value, to}) && !down.contains(to)) {
                (*this)[to].wire.inbox.push_back(std::move(message));
                ++carried;
                any = true;
            }
            return false;
        });
        return any;
    }

    /// Until nothing is on its way. False: it never ends.
    bool settle() {
        for (int steps = 0; steps < 10'000; ++steps) {
            if (!step()) return true;
        }
        return false;
    }

    /// Time passes for all, in steps of a heartbeat or less.
    bool advance(lr::Duration by) {
        for (lr::Duration step{}; by > lr::Duration{}; by -= step) {
            step = by < lr::Duration{10ms} ? by : lr::Duration{10ms};
            for (N& node : nodes) node.now += step;
            if (!settle()) return false;
        }
        return true;
    }

    /// The one that leads the highest term; its id, or 0.
    std::uint64_t leader() {
        std::uint64_t id = 0;
        Term term;
        for (N& node : nodes) {
            if (down.contains(node.id.value) || node.status().role != lr::Role::leader) continue;
            if (id != 0 && node.status().term < term) continue;
            id = node.id.value;
            term = node.status().term;
        }
        return id;
    }

    /// Lets this replica's timer run out before all others' do: their clocks have gone on less, and
    /// just so far that they no longer count on a leader.
    bool elect(std::uint64_t id) {
        if (!settle()) return false;
        for (N& node : nodes) {
            const auto& [min, max] = node.options.election_timeout_range;
            node.now += node.id.value == id ? max : min;
        }
        return settle() && leader() == id;
    }
};

/// Entries of the given terms, with ids counted from `first_id` on.
inline std::vector<Entry> entries_of_terms(const std::vector<std::uint64_t>& terms,
                                           std::uint64_t first_id = 1) {
    std::vector<Entry> entries;
    for (std::uint64_t term : terms) {
        entries.push_back({Term{term}, Command{first_id, first_id}});
        ++first_id;
    }
    return entries;
}

inline std::vector<std::uint64_t> terms_of(const std::vector<Entry>& entries) {
    std::vector<std::uint64_t> terms;
    for (const Entry& entry : entries) terms.push_back(entry.term.value);
    return terms;
}

/// A leader's log, of which only matters how far it shares what a follower hints at.
struct Shares {
    Index index;
    lr::LogPosition last_not_after(lr::LogPosition) const { return {{}, index}; }
};

}  // namespace support
