// What the tests of single replicas share: user types that record everything, and a Node that holds
// one replica whose messages, clock and disk the test moves by hand.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
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
        saved = {last_included_index, last_included_term, serialize()};
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
struct Disk {
    lr::StoredState<Command> written;
    lr::StoredState<Command> durable;
    std::vector<std::string> calls;
    bool sync_fails = false;

    lr::StoredState<Command> load() { return written; }
    void save_vote(Term term, std::optional<ReplicaId> voted_for) {
        calls.push_back("save_vote");
        written.term = term;
        written.voted_for = voted_for;
    }
    void append(Index first_index, const std::vector<Entry>& entries) {
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

using Replica = lr::Replica<Wire, Machine, Disk>;
using Options = lr::Options<Machine>;

/// One replica under test, with its peers played by the test.
struct Node {
    ReplicaId id;
    std::vector<ReplicaId> peers;
    Options options;
    Wire wire;
    Machine machine;
    Disk disk;
    lr::Time now{};
    std::unique_ptr<Replica> replica;

    explicit Node(std::uint64_t self = 1, std::vector<std::uint64_t> others = {2, 3},
                  Options chosen = {})
        : id{self}, options(std::move(chosen)) {
        for (std::uint64_t other : others) peers.push_back({other});
    }

    /// Lets the test set `disk` and `machine` before the replica loads them.
    Replica& boot() {
        if (!replica) {
            replica = std::make_unique<Replica>(id, peers, wire, machine, disk, options);
        }
        return *replica;
    }

    lr::Status status() { return boot().status(); }

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

    template <class Body>
    Message from(std::uint64_t peer, std::uint64_t term, Body body) const {
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
        for (ReplicaId peer : peers) {
            grants.push_back(from(peer.value, next - 1, lr::RequestVoteResponse{true, true}));
        }
        poll(std::move(grants));
        grants.clear();
        for (ReplicaId peer : peers) {
            grants.push_back(from(peer.value, next, lr::RequestVoteResponse{false, true}));
        }
        poll(std::move(grants));
        for (int i = 0; i < 4; ++i) poll();  // A replica of one needs a poll for each step.
    }

    /// The process ends, with what was not durable lost, and comes back.
    void restart() {
        replica.reset();
        disk.crash();
        wire = Wire{};
        Machine fresh;
        fresh.saved = machine.saved;
        machine = fresh;
        boot();
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

}  // namespace support
