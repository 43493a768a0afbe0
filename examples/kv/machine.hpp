// The state machine as little_raft sees it: the store, the writes and reads that wait for the
// replica, and what became of them. It knows no socket: whoever hands over a write or a read gets a
// ticket, and hears of it by that.
#ifndef KV_MACHINE_HPP
#define KV_MACHINE_HPP

#include <functional>

#include "commands.hpp"
#include "little_raft.hpp"
#include "storage.hpp"

namespace kv {

/// How a write or a read ended. `unknown`: it may have had its effect, or have it still.
enum class Outcome { done, not_leader, overloaded, unknown };

/// Satisfies little_raft's StateMachine, Snapshotting and LinearizableReads.
class Machine {
 public:
    using Transition = Command;
    using SnapshotData = std::string;
    struct Read {
        const CommandSpec* spec;
        std::uint64_t ticket;
        std::string body;  ///< The request's words, packed.
    };

    /// Called with a ticket once what it stands for has ended, and with the reply if that was done.
    using Ended = std::function<void(std::uint64_t ticket, Outcome, std::string_view reply)>;
    /// Called before a read is done. True: it has been taken back, and is not to be done now.
    using TakesBack = std::function<bool(const Read&)>;

    /// `process`: drawn at random when the process starts.
    Machine(Storage& storage, std::uint64_t process, Ended write_ended, Ended read_ended,
            TakesBack takes_read_back)
        : storage_(storage),
          process_(process),
          write_ended_(std::move(write_ended)),
          read_ended_(std::move(read_ended)),
          takes_read_back_(std::move(takes_read_back)) {}

    const Store& store() const { return store_; }

    void write(std::uint64_t ticket, std::uint64_t time, const Words& words) {
        auto body = std::make_shared<const std::string>(pack_command(time, words));
        writes_.push_back({{process_, ticket}, std::move(body)});
    }
    void read(std::uint64_t ticket, const CommandSpec& spec, const Words& words) {
        read({&spec, ticket, pack_command(0, words)});
    }
    void read(Read read) { reads_.push_back(std::move(read)); }

    /// Called with each membership that is applied, in its place among the commands.
    void note_members(const Membership& membership) {
        for (const auto* half : {&membership.members, &membership.outgoing})
            for (const auto& member : *half) store_.use_id(member.id.value);
    }

    bool has_pending_writes() const { return !writes_.empty(); }

    /// Ends the writes that the replica has not taken yet; none of them was proposed.
    void refuse_pending_writes() {
        for (const Command& write : take_all(writes_))
            write_ended_(write.id.number, Outcome::not_leader, {});
    }

    // ----- What the library calls ----------------------------------------------------------------

    std::vector<Command> get_pending_transitions() { return take_all(writes_); }

    /// The reply stands in reply_ until the library says, right afterwards, whose it is.
    void apply_transition(const Command& command) {
        reply_.clear();
        auto time = unpack_command(*command.body, words_);
        if (!time) return reply_error(reply_, "ERR the log holds what is no command");
        store_.advance(*time);
        if (words_.empty()) return;
        const CommandSpec* spec = find_command(words_[0]);
        bool known = spec && spec->kind == Kind::write && fits(*spec, words_.size());
        known ? spec->run(store_, words_, reply_) : reply_unknown_command(reply_, words_);
    }

    void register_transition_state(CommandId id, little_raft::TransitionState state) {
        using enum little_raft::TransitionState;
        if (id.process != process_) return;
        switch (state) {
            case queued:
            case committed:
            case abandoned_malformed:  // No transition is.
                return;
            case applied:
                return write_ended_(id.number, Outcome::done, reply_);
            case abandoned_not_leader:
            case abandoned_conflict_with_leader:
                return write_ended_(id.number, Outcome::not_leader, {});
            case abandoned_overloaded:
                return write_ended_(id.number, Outcome::overloaded, {});
            case outcome_unknown:
                return write_ended_(id.number, Outcome::unknown, {});
        }
    }

    std::vector<Read> get_pending_reads() { return take_all(reads_); }

    void apply_read(const Read& read) {
        if (takes_read_back_(read)) return;
        reply_.clear();
        unpack_command(read.body, words_);
        read.spec->run(store_, words_, reply_);
        read_ended_(read.ticket, Outcome::done, reply_);
    }
    void abandon_read(const Read& read) { read_ended_(read.ticket, Outcome::not_leader, {}); }

    /// The storage has it durable before it cuts the log that this replaces.
    std::string create_snapshot(little_raft::Index index, little_raft::Term term,
                                const Membership& membership) {
        std::string data = store_.save();
        storage_.save_snapshot({{term, index}, data, membership});
        return data;
    }

    /// One that cannot be read back is none, which stops the replica with a fault.
    std::optional<Snapshot> get_snapshot() {
        try {
            return storage_.snapshot();
        } catch (const DiskError& error) {
            error_ = error.what();
            return std::nullopt;
        }
    }

    void set_snapshot(const Snapshot& snapshot) {
        if (!store_.load(snapshot.data)) error_ = "the snapshot holds what is no state";
        // At the start it comes from the storage, which need not save it again.
        if (std::exchange(started_, true)) storage_.save_snapshot(snapshot);
    }
    /// The constructor of Replica has returned: the next snapshot is a leader's.
    void started() { started_ = true; }

    /// What is wrong with a snapshot; empty: nothing.
    const std::string& error() const { return error_; }

 private:
    /// As many will come again, likely.
    template <class T>
    static std::vector<T> take_all(std::vector<T>& pending) {
        std::vector<T> taken;
        if (pending.empty()) return taken;
        taken.reserve(pending.size());
        std::swap(taken, pending);
        return taken;
    }

    Storage& storage_;
    std::uint64_t process_;
    Ended write_ended_, read_ended_;
    TakesBack takes_read_back_;
    Store store_;
    std::vector<Command> writes_;
    std::vector<Read> reads_;
    Words words_;        // Of the command that runs, kept for its memory.
    std::string reply_;  // What that says.
    std::string error_;
    bool started_ = false;
};

}  // namespace kv

#endif  // KV_MACHINE_HPP
