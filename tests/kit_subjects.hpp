// Subjects for the tests of the test kit: good ones that use all that a subject may have, each of
// which can be broken in ways that the kit must see through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
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

/// What is wrong with the subjects. It is asked for while they run, and not a type each, since the
/// whole kit is compiled anew for every subject.
enum class Bug {
    none,
    merging,       // Bank: does not empty itself before it takes a snapshot in.
    leaky,         // Bank: loses money.
    forgetful,     // Bank: answers from something that is no part of the state.
    caching,       // Bank: answers from a cache that a snapshot does not empty.
    unsteady,      // Bank: finds money, each so many transfers of the whole process.
    blind,         // Bank: whatever `equal` is asked, states are equal.
    own_calls,     // Digest: each machine counts by itself how often it was called.
    old_snapshot,  // Digest: gives back an older snapshot than it saved last.
    same_id,       // Digest: every client uses the same id.
    lossy,         // Text: loses the commit index on the way.
    promoting,     // Text: loses who is a learner on the way.
    unaware,       // Keeping: saves nobody as the members.
    no_votes,      // Text: writes every vote as refused; nothing contradicts that.
    lazy,          // Files: says true and writes only every third time.
    voteless,      // Files: does not keep the vote.
    failing,       // Files: fails to sync one day.
};
inline Bug bug = Bug::none;

/// As long as it lives, the bug is there.
struct Planted {
    explicit Planted(Bug planted) { bug = planted; }
    Planted(const Planted&) = delete;
    Planted& operator=(const Planted&) = delete;
    ~Planted() { bug = Bug::none; }
};

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
    std::map<std::size_t, int> cache;  // Of what was balanced here.
    std::optional<lr::Snapshot<SnapshotData>> saved;
    static inline std::uint64_t transfers_of_all = 0;

    void register_transition_state(const std::string&, lr::TransitionState) {}
    void apply_transition(const Transfer& transfer) {
        balances[transfer.from] -= transfer.amount;
        balances[transfer.to] += transfer.amount;
        for (std::size_t account : {transfer.from, transfer.to}) cache[account] = balances[account];
        if (bug == Bug::leaky && transfer.amount > 90) ++balances[0];
        if (bug == Bug::unsteady && ++transfers_of_all % 997 == 0) ++balances[0];
    }
    std::vector<Transfer> get_pending_transitions() { return {}; }
    std::optional<lr::Snapshot<SnapshotData>> get_snapshot() { return saved; }
    SnapshotData create_snapshot(lr::Index index, lr::Term term) {
        saved = {{term, index}, balances};
        return balances;
    }
    void set_snapshot(const lr::Snapshot<SnapshotData>& snapshot) {
        saved = snapshot;
        if (bug != Bug::merging) balances.clear();
        for (const auto& [account, balance] : snapshot.data) balances[account] += balance;
    }
};

struct BankTest : lrt::Subject<Bank> {
    static Transfer transition(lrt::Random& random, std::uint64_t number) {
        return {"transfer " + std::to_string(number), random.below(4), random.below(4),
                static_cast<int>(random.below(100))};
    }
    static bool equal(const Bank& a, const Bank& b) {
        return bug == Bug::blind || a.balances == b.balances;
    }
    static int observe(const Bank& bank, const Transfer& transfer) {
        if (bug == Bug::forgetful)
            return static_cast<int>(reinterpret_cast<std::uintptr_t>(&bank) % 4096);
        if (bug != Bug::caching) return bank.balances.at(transfer.to);
        auto cached = bank.cache.find((transfer.to + 1) % 4);
        return cached == bank.cache.end() ? 0 : cached->second;
    }
    static std::string invariant(const Bank& bank) {
        int sum = 0;
        for (const auto& [account, balance] : bank.balances) sum += balance;
        return sum == 0 ? "" : "the balances add up to " + std::to_string(sum);
    }
    static std::string show(const Transfer& transfer) { return transfer.id; }
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

// ----- A machine whose state is a digest of what it applied -------------------------------------

struct DigestMachine : lrt::DigestMachine {
    std::optional<lr::Snapshot<std::string>> first;

    void apply_transition(const lrt::Command& command) {
        lrt::DigestMachine::apply_transition(command);
        if (bug == Bug::own_calls && calls == 7) ++digest;
    }
    std::optional<lr::Snapshot<std::string>> get_snapshot() {
        if (!first) first = saved;
        return bug == Bug::old_snapshot ? first : saved;
    }
};
struct DigestTest : lrt::Subject<DigestMachine> {
    static constexpr bool async_disk = true;
    static lrt::Command transition(lrt::Random&, std::uint64_t number) {
        return {bug == Bug::same_id ? 7 : number};
    }
    static std::uint64_t digest(const DigestMachine& machine) { return machine.digest; }
};

// ----- Messages as text --------------------------------------------------------------------------

inline void write(std::ostream& out, const std::string& bytes) {
    out << ' ' << bytes.size();
    for (char c : bytes) out << ' ' << static_cast<int>(static_cast<unsigned char>(c));
}
inline void read(std::istream& in, std::string& bytes) {
    std::size_t count = 0;
    in >> count;
    for (std::size_t k = 0; k < count && in; ++k) {
        int c = 0;
        in >> c;
        bytes.push_back(static_cast<char>(c));
    }
}

// What is no transition.
inline void write(std::ostream&, const lr::Noop&) {}
inline void read(std::istream&, lr::Noop&) {}
inline void write(std::ostream& out, const lr::Membership& membership) {
    for (const auto* members : {&membership.members, &membership.outgoing}) {
        out << ' ' << members->size();
        for (const lr::Member& member : *members) {
            out << ' ' << member.id.value << ' ' << (member.learner && bug != Bug::promoting);
            write(out, member.address);
        }
    }
}
inline void read(std::istream& in, lr::Membership& membership) {
    for (auto* members : {&membership.members, &membership.outgoing}) {
        std::size_t count = 0;
        in >> count;
        for (std::size_t k = 0; k < count && in; ++k) {
            lr::Member member;
            in >> member.id.value >> member.learner;
            read(in, member.address);
            members->push_back(member);
        }
    }
}

/// With 0 for what is no transition, which follows then.
template <class Config>
void write(std::ostream& out, const lr::Entry<lrt::Command, Config>& entry) {
    const auto* command = std::get_if<lrt::Command>(&entry.command);
    out << ' ' << entry.term.value << ' ' << (command ? command->id : 0);
    if (!command) write(out, *std::get_if<Config>(&entry.command));
}
template <class Config>
void read(std::istream& in, lr::Entry<lrt::Command, Config>& entry) {
    std::uint64_t id = 0;
    in >> entry.term.value >> id;
    if (!in) return;
    if (id != 0) {
        entry.command = lrt::Command{id};
    } else {
        read(in, *std::get_if<Config>(&entry.command));
    }
}

/// All fields as numbers in a row. A decoder that trusts nothing: it gives nothing for what it
/// cannot read.
template <class Config>
struct Text {
    using Message = lr::MessageOf<lrt::DigestMachine, Config>;
    using AppendEntries = lr::AppendEntries<lrt::Command, Config>;
    using InstallSnapshot = lr::InstallSnapshot<std::string, Config>;

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
        out << ' ' << body.pre_vote << ' ' << (body.vote_granted && bug != Bug::no_votes);
    }
    static void write(std::ostream& out, const AppendEntries& body) {
        out << ' ' << body.prev_log.index.value << ' ' << body.prev_log.term.value << ' '
            << body.leader_commit.value << ' ' << number_of(body.sent) << ' '
            << number_of(body.read) << ' ' << body.entries.size();
        for (const auto& entry : body.entries) kit::write(out, entry);
    }
    static void write(std::ostream& out, const lr::AppendEntriesResponse& body) {
        out << ' ' << body.success << ' ' << body.match_index.value << ' ' << body.hint.index.value
            << ' ' << body.hint.term.value << ' ' << body.snapshot_offset << ' '
            << number_of(body.heard) << ' ' << number_of(body.read);
    }
    static void write(std::ostream& out, const InstallSnapshot& body) {
        out << ' ' << body.last_included.index.value << ' ' << body.last_included.term.value << ' '
            << body.offset << ' ' << body.done << ' ' << number_of(body.sent);
        kit::write(out, body.data);
        kit::write(out, body.membership);
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
    static AppendEntries read_append(std::istream& in) {
        AppendEntries body{};
        std::size_t count = 0;
        in >> body.prev_log.index.value >> body.prev_log.term.value >> body.leader_commit.value;
        body.sent = read_time(in);
        body.read = read_time(in);
        in >> count;
        for (std::size_t k = 0; k < count && in; ++k) {
            lr::Entry<lrt::Command, Config> entry{};
            kit::read(in, entry);
            body.entries.push_back(entry);
        }
        if (bug == Bug::lossy) body.leader_commit = {};
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
    static InstallSnapshot read_install(std::istream& in) {
        InstallSnapshot body{};
        in >> body.last_included.index.value >> body.last_included.term.value >> body.offset >>
            body.done;
        body.sent = read_time(in);
        kit::read(in, body.data);
        kit::read(in, body.membership);
        return body;
    }
};
struct TextTest : DigestTest, Text<lr::Noop> {};

// ----- A disk of files ---------------------------------------------------------------------------

/// One file with all there is and a hash of it. Buffers what it is told and writes it at each sync.
template <class Config>
class FileStorage {
 public:
    using Entry = lr::Entry<lrt::Command, Config>;

    explicit FileStorage(std::filesystem::path directory) : path_(std::move(directory) / "state") {}

    lr::StoredState<lrt::Command, Config> load() {
        std::ifstream file(path_);
        std::uint64_t hash = 0;
        std::uint64_t voted = 0;
        if (!(file >> hash)) return state_ = {};
        std::string text(std::istreambuf_iterator<char>(file), {});
        if (hash != hash_of(text)) throw std::runtime_error("the file is damaged");
        std::istringstream in(text);
        in >> state_.term.value >> voted >> state_.last_included.index.value >>
            state_.last_included.term.value;
        if (voted > 0) state_.voted_for = lr::ReplicaId{voted};
        for (Entry entry{}; read(in, entry), in; entry = {}) state_.entries.push_back(entry);
        return state_;
    }
    void save_vote(lr::Term term, std::optional<lr::ReplicaId> voted_for) {
        state_.term = term;
        state_.voted_for = bug == Bug::voteless ? std::nullopt : voted_for;
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
        ++syncs_;
        if (bug == Bug::lazy && syncs_ % 3 != 0) return true;
        std::ostringstream out;
        out << ' ' << state_.term.value << ' ' << (state_.voted_for ? state_.voted_for->value : 0)
            << ' ' << state_.last_included.index.value << ' ' << state_.last_included.term.value;
        for (const Entry& entry : state_.entries) write(out, entry);
        std::filesystem::path next = path_;
        next += ".new";
        std::ofstream file(next);
        file << hash_of(out.str()) << out.str();
        if (!file.flush()) return false;
        file.close();
        std::filesystem::rename(next, path_);
        return bug != Bug::failing || syncs_ < 5;
    }

 private:
    static std::uint64_t hash_of(const std::string& text) {
        std::uint64_t hash = 0;
        for (char c : text) hash = lrt::mix(hash, static_cast<unsigned char>(c));
        return hash;
    }

    std::filesystem::path path_;
    lr::StoredState<lrt::Command, Config> state_;
    std::uint64_t syncs_ = 0;
};

struct FileTest : lrt::DigestTest {
    using Storage = FileStorage<lr::Noop>;
    static std::unique_ptr<Storage> open(const std::filesystem::path& directory) {
        return std::make_unique<Storage>(directory);
    }
};

// ----- Members that change -----------------------------------------------------------------------

/// Keeps the membership with its snapshots.
struct KeepingMachine : lrt::DigestMachine {
    using Snapshot = lr::Snapshot<std::string, lr::Membership>;
    std::optional<Snapshot> kept;

    std::optional<Snapshot> get_snapshot() { return kept; }
    std::string create_snapshot(lr::Index index, lr::Term term, const lr::Membership& membership) {
        std::string data = lrt::DigestMachine::create_snapshot(index, term);
        kept = {{term, index}, data, bug == Bug::unaware ? lr::Membership{} : membership};
        return data;
    }
    void set_snapshot(const Snapshot& snapshot) {
        lrt::DigestMachine::set_snapshot({snapshot.last_included, snapshot.data});
        kept = snapshot;
    }
};

struct KeepingTest : lrt::Subject<KeepingMachine>, Text<lr::Membership> {
    static constexpr bool members_change = true;
    static lrt::Command transition(lrt::Random&, std::uint64_t number) { return {number}; }
    static std::uint64_t digest(const KeepingMachine& machine) { return machine.digest; }
};

struct FileMembersTest : KeepingTest {
    using Storage = FileStorage<lr::Membership>;
    static std::unique_ptr<Storage> open(const std::filesystem::path& directory) {
        return std::make_unique<Storage>(directory);
    }
};

}  // namespace kit
