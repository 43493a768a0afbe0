// Subjects for the tests of the test kit: good ones that use all that a subject may have, and
// broken ones that the kit must see through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "testing/little_raft_testing.hpp"

namespace kit {

namespace lr = little_raft;
namespace lrt = little_raft::testing;

inline lrt::Settings some(std::uint64_t schedules) {
    lrt::Settings settings;
    settings.schedules = schedules;
    settings.timeline_directory = std::filesystem::temp_directory_path().string();
    return settings;
}

// ----- A bank: ids are text, snapshots travel whole, no digest -----------------------------------

struct Transfer {
    std::string id;
    std::size_t from = 0;
    std::size_t to = 0;
    int amount = 0;
    const std::string& get_id() const { return id; }
    friend bool operator==(const Transfer&, const Transfer&) = default;
};

struct Bank {
    using Transition = Transfer;
    using SnapshotData = std::map<std::size_t, int>;

    std::map<std::size_t, int> balances;
    std::optional<lr::Snapshot<SnapshotData>> saved;

    void register_transition_state(const std::string&, lr::TransitionState) {}
    void apply_transition(const Transfer& transfer) {
        balances[transfer.from] -= transfer.amount;
        balances[transfer.to] += transfer.amount;
    }
    std::vector<Transfer> get_pending_transitions() { return {}; }
    std::optional<lr::Snapshot<SnapshotData>> get_snapshot() { return saved; }
    SnapshotData create_snapshot(lr::Index index, lr::Term term) {
        saved = {index, term, balances};
        return balances;
    }
    void set_snapshot(const lr::Snapshot<SnapshotData>& snapshot) {
        saved = snapshot;
        balances = snapshot.data;
    }
};

struct BankTest : lrt::Subject<Bank> {
    static Transfer transition(lrt::Random& random, std::uint64_t number) {
        return {"transfer " + std::to_string(number), random.below(4), random.below(4),
                static_cast<int>(random.below(100))};
    }
    static bool equal(const Bank& a, const Bank& b) { return a.balances == b.balances; }
    static int observe(const Bank& bank, const Transfer& transfer) {
        return bank.balances.at(transfer.to);
    }
    static std::string invariant(const Bank& bank) {
        int sum = 0;
        for (const auto& [account, balance] : bank.balances) sum += balance;
        return sum == 0 ? "" : "the balances add up to " + std::to_string(sum);
    }
    static std::string show(const Transfer& transfer) { return transfer.id; }
};

/// Forgets to empty itself before it takes a snapshot in.
struct MergingBank : Bank {
    void set_snapshot(const lr::Snapshot<SnapshotData>& snapshot) {
        saved = snapshot;
        for (const auto& [account, balance] : snapshot.data) balances[account] += balance;
    }
};
struct MergingTest : lrt::Subject<MergingBank> {
    static Transfer transition(lrt::Random& random, std::uint64_t number) {
        return BankTest::transition(random, number);
    }
    static bool equal(const Bank& a, const Bank& b) { return a.balances == b.balances; }
};

/// Loses money.
struct LeakyBank : Bank {
    void apply_transition(const Transfer& transfer) {
        Bank::apply_transition(transfer);
        if (transfer.amount > 90) ++balances[0];
    }
};
struct LeakyTest : lrt::Subject<LeakyBank> {
    static Transfer transition(lrt::Random& random, std::uint64_t number) {
        return BankTest::transition(random, number);
    }
    static bool equal(const Bank& a, const Bank& b) { return a.balances == b.balances; }
    static std::string invariant(const Bank& bank) { return BankTest::invariant(bank); }
};

/// Answers from something that is no part of the state.
struct ForgetfulTest : BankTest {
    static std::size_t observe(const Bank& bank, const Transfer&) {
        return reinterpret_cast<std::uintptr_t>(&bank) % 4096;
    }
};

/// Answers from a cache that it forgets to empty when a snapshot takes the place of its state.
struct CachingBank : Bank {
    std::map<std::size_t, int> cache;

    void apply_transition(const Transfer& transfer) {
        Bank::apply_transition(transfer);
        for (std::size_t account : {transfer.from, transfer.to}) cache[account] = balances[account];
    }
};
struct CachingTest : lrt::Subject<CachingBank> {
    static Transfer transition(lrt::Random& random, std::uint64_t number) {
        return BankTest::transition(random, number);
    }
    static bool equal(const Bank& a, const Bank& b) { return a.balances == b.balances; }
    static int observe(const CachingBank& bank, const Transfer& transfer) {
        auto cached = bank.cache.find((transfer.to + 1) % 4);
        return cached == bank.cache.end() ? 0 : cached->second;
    }
    static std::string show(const Transfer& transfer) { return transfer.id; }
};

/// Its state is more than `equal` and `digest` see: whatever they are asked, states are equal.
struct BlindTest : BankTest {
    static bool equal(const Bank&, const Bank&) { return true; }
};

// ----- A machine without snapshots, without copies -----------------------------------------------

struct Counter {
    using Transition = lrt::Command;
    std::uint64_t sum = 0;

    Counter() = default;
    Counter(const Counter&) = delete;
    Counter& operator=(const Counter&) = delete;
    void register_transition_state(std::uint64_t, lr::TransitionState) {}
    void apply_transition(const lrt::Command& command) { sum += command.id; }
    std::vector<lrt::Command> get_pending_transitions() { return {}; }
};
struct CounterTest : lrt::Subject<Counter> {
    static lrt::Command transition(lrt::Random&, std::uint64_t number) { return {number}; }
    static std::uint64_t digest(const Counter& counter) { return counter.sum; }
};

/// Each machine counts by itself how often it was called.
struct NondeterministicMachine : lrt::DigestMachine {
    void apply_transition(const lrt::Command& command) {
        lrt::DigestMachine::apply_transition(command);
        if (calls == 7) ++digest;
    }
};
struct NondeterministicTest : lrt::Subject<NondeterministicMachine> {
    static lrt::Command transition(lrt::Random&, std::uint64_t number) { return {number}; }
    static std::uint64_t digest(const NondeterministicMachine& machine) { return machine.digest; }
};

/// Gives back an older snapshot than it saved last.
struct StaleSnapshotMachine : lrt::DigestMachine {
    std::optional<lr::Snapshot<std::string>> first;
    std::optional<lr::Snapshot<std::string>> get_snapshot() {
        if (!first) first = saved;
        return first;
    }
};
struct StaleSnapshotTest : lrt::Subject<StaleSnapshotMachine> {
    static lrt::Command transition(lrt::Random&, std::uint64_t number) { return {number}; }
    static std::uint64_t digest(const StaleSnapshotMachine& machine) { return machine.digest; }
};

/// Every client uses the same id.
struct SameIdTest : lrt::Subject<lrt::DigestMachine> {
    static lrt::Command transition(lrt::Random&, std::uint64_t) { return {7}; }
    static std::uint64_t digest(const lrt::DigestMachine& machine) { return machine.digest; }
};

// ----- Messages as text --------------------------------------------------------------------------

using Message = lr::MessageOf<lrt::DigestMachine>;

/// All fields as numbers in a row. A decoder that trusts nothing: it gives nothing for what it
/// cannot read.
struct TextTest : lrt::DigestTest {
    static std::string encode(const Message& message) {
        std::ostringstream out;
        out << message.from.value << ' ' << message.to.value << ' ' << message.term.value << ' '
            << message.body.index();
        std::visit([&](const auto& body) { write(out, body); }, message.body);
        return out.str();
    }
    static std::optional<Message> decode(std::string_view text) {
        std::istringstream in{std::string(text)};
        Message message{};
        std::size_t kind = 99;
        in >> message.from.value >> message.to.value >> message.term.value >> kind;
        if (kind == 0) message.body = read_request(in);
        if (kind == 1) message.body = read_vote(in);
        if (kind == 2) message.body = read_append(in);
        if (kind == 3) message.body = read_response(in);
        if (kind == 4) message.body = read_install(in);
        if (kind == 5) message.body = lr::TimeoutNow{};
        if (!in || kind > 5) return std::nullopt;
        return message;
    }

 private:
    static lr::Duration::rep number_of(lr::Time time) { return time.time_since_epoch().count(); }
    static lr::Time read_time(std::istream& in) {
        lr::Duration::rep number = 0;
        in >> number;
        return lr::Time(lr::Duration(number));
    }
    static void write(std::ostream& out, const lr::RequestVote& body) {
        out << ' ' << body.pre_vote << ' ' << body.last_log.index.value << ' '
            << body.last_log.term.value << ' ' << body.transfer;
    }
    static void write(std::ostream&, const lr::TimeoutNow&) {}
    static void write(std::ostream& out, const lr::RequestVoteResponse& body) {
        out << ' ' << body.pre_vote << ' ' << body.vote_granted;
    }
    static void write(std::ostream& out, const lr::AppendEntries<lrt::Command>& body) {
        out << ' ' << body.prev_log.index.value << ' ' << body.prev_log.term.value << ' '
            << body.leader_commit.value << ' ' << number_of(body.sent) << ' '
            << number_of(body.read) << ' ' << body.entries.size();
        for (const auto& entry : body.entries) {
            const auto* command = std::get_if<lrt::Command>(&entry.command);
            out << ' ' << entry.term.value << ' ' << (command ? command->id : 0);
        }
    }
    static void write(std::ostream& out, const lr::AppendEntriesResponse& body) {
        out << ' ' << body.success << ' ' << body.match_index.value << ' ' << body.hint.index.value
            << ' ' << body.hint.term.value << ' ' << body.snapshot_offset << ' '
            << number_of(body.heard) << ' ' << number_of(body.read);
    }
    static void write(std::ostream& out, const lr::InstallSnapshot<std::string>& body) {
        out << ' ' << body.last_included.index.value << ' ' << body.last_included.term.value << ' '
            << body.offset << ' ' << body.done << ' ' << number_of(body.sent) << ' '
            << body.data.size();
        for (char c : body.data) out << ' ' << static_cast<int>(static_cast<unsigned char>(c));
    }
    static lr::RequestVote read_request(std::istream& in) {
        lr::RequestVote body;
        in >> body.pre_vote >> body.last_log.index.value >> body.last_log.term.value >>
            body.transfer;
        return body;
    }
    static lr::RequestVoteResponse read_vote(std::istream& in) {
        lr::RequestVoteResponse body;
        in >> body.pre_vote >> body.vote_granted;
        return body;
    }
    static lr::AppendEntries<lrt::Command> read_append(std::istream& in) {
        lr::AppendEntries<lrt::Command> body{};
        std::size_t count = 0;
        in >> body.prev_log.index.value >> body.prev_log.term.value >> body.leader_commit.value;
        body.sent = read_time(in);
        body.read = read_time(in);
        in >> count;
        for (std::size_t k = 0; k < count && in; ++k) {
            lr::Entry<lrt::Command> entry{};
            std::uint64_t id = 0;
            in >> entry.term.value >> id;
            if (id != 0) entry.command = lrt::Command{id};
            body.entries.push_back(entry);
        }
        return body;
    }
    static lr::AppendEntriesResponse read_response(std::istream& in) {
        lr::AppendEntriesResponse body;
        in >> body.success >> body.match_index.value >> body.hint.index.value >>
            body.hint.term.value >> body.snapshot_offset;
        body.heard = read_time(in);
        body.read = read_time(in);
        return body;
    }
    static lr::InstallSnapshot<std::string> read_install(std::istream& in) {
        lr::InstallSnapshot<std::string> body{};
        std::size_t count = 0;
        in >> body.last_included.index.value >> body.last_included.term.value >> body.offset >>
            body.done;
        body.sent = read_time(in);
        in >> count;
        for (std::size_t k = 0; k < count && in; ++k) {
            int c = 0;
            in >> c;
            body.data.push_back(static_cast<char>(c));
        }
        return body;
    }
};

/// Loses the commit index on the way.
struct LossyTextTest : lrt::DigestTest {
    static std::string encode(const Message& message) { return TextTest::encode(message); }
    static std::optional<Message> decode(std::string_view text) {
        auto message = TextTest::decode(text);
        auto* append =
            message ? std::get_if<lr::AppendEntries<lrt::Command>>(&message->body) : nullptr;
        if (append) append->leader_commit = {};
        return message;
    }
};

/// Writes and reads every vote as refused: nothing contradicts that, but nobody is ever elected.
struct NoVotesTest : lrt::DigestTest {
    static std::string encode(const Message& message) {
        Message refused = message;
        if (auto* vote = std::get_if<lr::RequestVoteResponse>(&refused.body))
            vote->vote_granted = false;
        return TextTest::encode(refused);
    }
    static std::optional<Message> decode(std::string_view text) { return TextTest::decode(text); }
};

// ----- A disk of files ---------------------------------------------------------------------------

/// One file with all there is. Buffers what it is told and writes it at each sync.
class FileStorage {
 public:
    using Entry = lr::Entry<lrt::Command>;

    explicit FileStorage(std::filesystem::path directory) : path_(std::move(directory) / "state") {}

    lr::StoredState<lrt::Command> load() {
        std::ifstream in(path_);
        std::uint64_t voted = 0;
        in >> state_.term.value >> voted >> state_.last_included.index.value >>
            state_.last_included.term.value;
        if (!in) return state_ = {};
        if (voted > 0) state_.voted_for = lr::ReplicaId{voted};
        std::uint64_t id = 0;
        for (Entry entry{}; in >> entry.term.value >> id; entry = {}) {
            if (id > 0) entry.command = lrt::Command{id};
            state_.entries.push_back(entry);
        }
        return state_;
    }
    void save_vote(lr::Term term, std::optional<lr::ReplicaId> voted_for) {
        state_.term = term;
        state_.voted_for = voted_for;
    }
    void append(lr::Index first_index, const std::vector<Entry>& entries) {
        std::uint64_t kept = first_index - state_.last_included.index - 1;
        state_.entries.resize(static_cast<std::size_t>(kept));
        state_.entries.insert(state_.entries.end(), entries.begin(), entries.end());
    }
    void compact(lr::LogPosition last_included) {
        auto& entries = state_.entries;
        std::uint64_t count = last_included.index - state_.last_included.index;
        bool held = count == 0 ||
                    (count <= entries.size() && entries[count - 1].term == last_included.term);
        auto gone =
            held ? static_cast<std::ptrdiff_t>(count) : static_cast<std::ptrdiff_t>(entries.size());
        entries.erase(entries.begin(), entries.begin() + gone);
        state_.last_included = last_included;
    }
    bool sync() {
        std::ofstream out(path_);
        out << state_.term.value << ' ' << (state_.voted_for ? state_.voted_for->value : 0) << ' '
            << state_.last_included.index.value << ' ' << state_.last_included.term.value << '\n';
        for (const Entry& entry : state_.entries) {
            const auto* command = std::get_if<lrt::Command>(&entry.command);
            out << entry.term.value << ' ' << (command ? command->id : 0) << '\n';
        }
        return static_cast<bool>(out.flush());
    }

 protected:
    std::filesystem::path path_;
    lr::StoredState<lrt::Command> state_;
};

struct FileTest : lrt::DigestTest {
    using Storage = FileStorage;
    static std::unique_ptr<Storage> open(const std::filesystem::path& directory) {
        return std::make_unique<Storage>(directory);
    }
};

/// Says true and writes only every third time.
class LazyStorage : public FileStorage {
 public:
    using FileStorage::FileStorage;
    bool sync() { return ++calls_ % 3 != 0 || FileStorage::sync(); }

 private:
    std::uint64_t calls_ = 0;
};
struct LazyTest : lrt::DigestTest {
    using Storage = LazyStorage;
    static std::unique_ptr<Storage> open(const std::filesystem::path& directory) {
        return std::make_unique<Storage>(directory);
    }
};

/// Does not keep the vote.
class VotelessStorage : public FileStorage {
 public:
    using FileStorage::FileStorage;
    void save_vote(lr::Term term, std::optional<lr::ReplicaId>) {
        FileStorage::save_vote(term, std::nullopt);
    }
};
struct VotelessTest : lrt::DigestTest {
    using Storage = VotelessStorage;
    static std::unique_ptr<Storage> open(const std::filesystem::path& directory) {
        return std::make_unique<Storage>(directory);
    }
};

/// Fails to sync one day.
class FailingStorage : public FileStorage {
 public:
    using FileStorage::FileStorage;
    bool sync() { return FileStorage::sync() && ++calls_ < 5; }

 private:
    std::uint64_t calls_ = 0;
};
struct FailingTest : lrt::DigestTest {
    using Storage = FailingStorage;
    static std::unique_ptr<Storage> open(const std::filesystem::path& directory) {
        return std::make_unique<Storage>(directory);
    }
};

}  // namespace kit
