// The checks of users' own types: each passes what is right, and catches what is planted.
#include "testing/contracts.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace {

namespace lr = little_raft;
using namespace little_raft::testing;
using lr::Index;
using lr::ReplicaId;
using lr::Term;

// ----- Bytes -------------------------------------------------------------------------------------

struct Writer {
    std::string bytes;
    Writer& number(std::uint64_t n) {
        for (unsigned i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(n >> (8 * i)));
        return *this;
    }
    Writer& text(std::string_view t) {
        number(t.size());
        bytes += t;
        return *this;
    }
};

struct Reader {
    std::string_view bytes;
    bool good = true;
    std::uint64_t number() {
        if (bytes.size() < 8) return good = false, bytes = {}, 0;
        std::uint64_t n = 0;
        for (unsigned i = 0; i < 8; ++i) {
            n |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
        }
        bytes.remove_prefix(8);
        return n;
    }
    std::string text() {
        std::uint64_t size = number();
        if (size > bytes.size()) return good = false, bytes = {}, std::string();
        std::string t(bytes.substr(0, static_cast<std::size_t>(size)));
        bytes.remove_prefix(t.size());
        return t;
    }
};

// ----- A machine, and its flaws ------------------------------------------------------------------

enum class Flaw {
    none,
    // of machines
    counts_calls_of_the_process,
    listens_to_queued,
    looks_at_its_address,
    does_nothing,
    snapshots_disturb,
    // of snapshots
    merges,
    forgets_a_field,
    gives_the_present,
    does_not_keep_what_was_set,
    returns_other_data,
    // of pending transitions
    keeps_pending,
    keeps_one_back,
};

struct Put {
    std::uint64_t id = 0;
    std::string key = {};
    std::uint64_t value = 0;
    std::uint64_t get_id() const { return id; }
    friend bool operator==(const Put&, const Put&) = default;
};

/// It has the flaw that is switched on.
struct Store {
    using Transition = Put;
    using SnapshotData = std::string;

    static inline Flaw flaw = Flaw::none;

    std::map<std::string, std::uint64_t> values;
    std::uint64_t writes = 0;
    std::vector<Put> pending;
    std::optional<lr::Snapshot<std::string>> saved;

    void register_transition_state(std::uint64_t, lr::TransitionState state) {
        if (flaw == Flaw::listens_to_queued && state == lr::TransitionState::queued) ++writes;
    }
    void apply_transition(const Put& put) {
        if (flaw == Flaw::does_nothing) return;
        values[put.key] = put.value;
        ++writes;
        static std::uint64_t calls = 0;
        if (flaw == Flaw::counts_calls_of_the_process) values[put.key] += ++calls;
        if (flaw == Flaw::looks_at_its_address && put.key == "k3")
            values[put.key] += reinterpret_cast<std::uintptr_t>(this);
    }
    std::vector<Put> get_pending_transitions() {
        std::vector<Put> taken = std::exchange(pending, {});
        if (flaw == Flaw::keeps_pending) pending = taken;
        if (flaw == Flaw::keeps_one_back && taken.size() > 5) taken.pop_back();
        return taken;
    }

    std::string write() const {
        Writer out;
        if (flaw != Flaw::forgets_a_field) out.number(writes);
        for (const auto& value : values) out.text(value.first).number(value.second);
        return out.bytes;
    }
    std::optional<lr::Snapshot<std::string>> get_snapshot() {
        if (flaw == Flaw::gives_the_present && saved) saved->data = write();
        return saved;
    }
    std::string create_snapshot(Index index, Term term) {
        saved = {{term, index}, write()};
        if (flaw == Flaw::snapshots_disturb) ++writes;
        return flaw == Flaw::returns_other_data ? std::string("other") : saved->data;
    }
    void set_snapshot(const lr::Snapshot<std::string>& snapshot) {
        if (flaw != Flaw::does_not_keep_what_was_set) saved = snapshot;
        if (flaw != Flaw::merges) values.clear();
        Reader in{snapshot.data};
        if (flaw != Flaw::forgets_a_field) writes = in.number();
        while (!in.bytes.empty()) {
            std::string key = in.text();
            values[key] = in.number();
        }
    }
};

struct Sound : Subject<Store> {
    static Put transition(Random& random, std::uint64_t number) {
        return {number, "k" + std::to_string(random.below(5)), random.next()};
    }
    static bool equal(const Store& a, const Store& b) {
        return a.values == b.values && a.writes == b.writes;
    }
    static std::string show(const Put& put) { return put.key + "=" + std::to_string(put.id); }
};

/// What a check says of a machine with a flaw.
template <class Run>
Check with(Flaw flaw, Run run) {
    Store::flaw = flaw;
    Check check = run();
    Store::flaw = Flaw::none;
    return check;
}

/// Neither copyable nor movable, with a snapshot that is no string of bytes, transitions without
/// operator==, and a state that only a digest tells.
struct Odd {
    struct Transition {
        std::string name;
        const std::string& get_id() const { return name; }
    };
    struct SnapshotData {
        std::uint64_t digest = 0;
    };
    Odd() = default;
    Odd(const Odd&) = delete;
    Odd& operator=(const Odd&) = delete;

    void register_transition_state(const std::string&, lr::TransitionState) {}
    void apply_transition(const Transition& t) { digest = mix(digest, t.name.size()); }
    std::vector<Transition> get_pending_transitions() { return {}; }
    std::optional<lr::Snapshot<SnapshotData>> get_snapshot() { return saved; }
    SnapshotData create_snapshot(Index index, Term term) {
        saved = {{term, index}, {digest}};
        return {digest};
    }
    void set_snapshot(const lr::Snapshot<SnapshotData>& snapshot) {
        saved = snapshot;
        digest = snapshot.data.digest;
    }
    std::uint64_t digest = 0;
    std::optional<lr::Snapshot<SnapshotData>> saved;
};

struct OddTest : Subject<Odd> {
    static Odd::Transition transition(Random& random, std::uint64_t number) {
        return {std::string(random.below(9), 'x') + std::to_string(number)};
    }
    static std::uint64_t digest(const Odd& machine) { return machine.digest; }
};

/// One that takes no snapshots.
struct Plain {
    using Transition = Put;
    std::uint64_t sum = 0;
    void register_transition_state(std::uint64_t, lr::TransitionState) {}
    void apply_transition(const Put& put) { sum += put.value; }
    std::vector<Put> get_pending_transitions() { return {}; }
    friend bool operator==(const Plain&, const Plain&) = default;
};
struct PlainTest : Subject<Plain> {
    static Put transition(Random& random, std::uint64_t number) {
        return {number, "", random.next()};
    }
};

/// It must have failed, and have said so with these words.
void caught(const Check& check, const char* words) {
    CAPTURE(check.text);
    CHECK(!check.passed);
    CHECK(check.text.find(words) != std::string::npos);
}

std::size_t lines_of(const std::string& text) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("machines that follow from their transitions pass") {
    for (const Check& check :
         {check_machine<Sound>(), check_machine<OddTest>(), check_machine<PlainTest>()}) {
        CHECK_MESSAGE(check.passed, check.text);
        CHECK(check.text.find("transitions in 100 runs") != std::string::npos);
    }
    CHECK(check_machine<Sound>({.seed = 5, .rounds = 3}).text ==
          check_machine<Sound>({.seed = 5, .rounds = 3}).text);
    CHECK(check_machine<Sound>({.seed = 5, .rounds = 3}).text !=
          check_machine<Sound>({.seed = 6, .rounds = 3}).text);
}

TEST_CASE("machines that do not are caught, by as few transitions as will do") {
    Check check = with(Flaw::counts_calls_of_the_process, [] { return check_machine<Sound>(); });
    caught(check, "two machines differ");
    CHECK(lines_of(check.text) == 2);
    check = with(Flaw::looks_at_its_address, [] { return check_machine<Sound>(); });
    caught(check, "    k3=");
    CHECK(lines_of(check.text) == 2);
    caught(with(Flaw::listens_to_queued, [] { return check_machine<Sound>(); }),
           "one as a leader's");
    caught(with(Flaw::snapshots_disturb, [] { return check_machine<Sound>(); }),
           "one took snapshots");
    caught(with(Flaw::does_nothing, [] { return check_machine<Sound>(); }),
           "cannot tell machines apart");
}

TEST_CASE("snapshots that are the state pass") {
    Check check = check_snapshots<Sound>();
    CHECK_MESSAGE(check.passed, check.text);
    check = check_snapshots<OddTest>();
    CHECK_MESSAGE(check.passed, check.text);
}

TEST_CASE("snapshots that are not are caught") {
    Check check = with(Flaw::merges, [] { return check_snapshots<Sound>(); });
    caught(check, "a machine with a state of its own does not make it");
    CHECK(lines_of(check.text) == 2);
    CHECK(check.text.find("before set_snapshot: ") != std::string::npos);
    caught(with(Flaw::forgets_a_field, [] { return check_snapshots<Sound>(); }),
           "does not make it the machine");
    caught(with(Flaw::gives_the_present, [] { return check_snapshots<Sound>(); }),
           "after more transitions");
    caught(with(Flaw::does_not_keep_what_was_set, [] { return check_snapshots<Sound>(); }),
           "get_snapshot after set_snapshot on a new machine gives nothing");
    caught(with(Flaw::returns_other_data, [] { return check_snapshots<Sound>(); }),
           "other data than it returned");
    caught(with(Flaw::snapshots_disturb, [] { return check_snapshots<Sound>(); }),
           "create_snapshot changes the state");
}

TEST_CASE("pending transitions that are handed over once pass; others are caught") {
    auto submit = [](Store& machine, const Put& put) { machine.pending.push_back(put); };
    Check check = check_pending<Sound>(submit);
    CHECK_MESSAGE(check.passed, check.text);
    caught(with(Flaw::keeps_pending, [&] { return check_pending<Sound>(submit); }),
           "was handed over ");
    caught(with(Flaw::keeps_one_back, [&] { return check_pending<Sound>(submit); }),
           "was handed over 0 times");
    // A client that tries again under the same id.
    auto twice = [](Store& machine, const Put& put) {
        machine.pending.push_back(put);
        machine.pending.push_back(put);
    };
    caught(check_pending<Sound>(twice), "was handed over 2 times");
}

// ----- Messages ----------------------------------------------------------------------------------

namespace {

enum class Slip {
    none,
    cuts_terms_to_32_bits,
    forgets_a_vote,
    drops_noops,
    stops_at_a_zero_byte,
    believes_sizes,
    refuses_many,
};

/// It makes the slip that is switched on.
struct Encoded : Sound {
    using Message = lr::MessageOf<Store>;
    static inline Slip slip = Slip::none;

    static void put(Writer& out, const lr::Entry<Put>& entry) {
        out.number(entry.term.value).number(entry.command.index());
        if (const Put* p = std::get_if<Put>(&entry.command)) {
            out.number(p->id).text(p->key).number(p->value);
        }
    }
    static lr::Entry<Put> entry(Reader& in) {
        lr::Entry<Put> entry{Term{in.number()}, lr::Noop{}};
        if (in.number() % 2 == 1) {
            Put p;
            p.id = in.number();
            p.key = in.text();
            p.value = in.number();
            entry.command = p;
        }
        return entry;
    }

    static std::uint64_t ticks(lr::Time time) {
        return static_cast<std::uint64_t>(time.time_since_epoch().count());
    }
    static std::string encode(const Message& message) {
        Writer out;
        std::uint64_t term = message.term.value;
        if (slip == Slip::cuts_terms_to_32_bits) term &= 0xffffffff;
        out.number(message.from.value).number(message.to.value).number(term);
        out.number(message.body.index());
        if (auto* vote = std::get_if<lr::RequestVote>(&message.body)) {
            out.number(vote->pre_vote).number(vote->last_log.term.value);
            out.number(vote->last_log.index.value).number(vote->transfer);
        } else if (auto* answer = std::get_if<lr::RequestVoteResponse>(&message.body)) {
            out.number(answer->pre_vote);
            out.number(slip != Slip::forgets_a_vote && answer->vote_granted);
        } else if (auto* append = std::get_if<lr::AppendEntries<Put>>(&message.body)) {
            out.number(append->prev_log.term.value).number(append->prev_log.index.value);
            out.number(append->leader_commit.value);
            std::uint64_t count = 0;
            Writer entries;
            for (const auto& e : append->entries) {
                if (slip == Slip::drops_noops && e.command.index() == 0) continue;
                ++count;
                put(entries, e);
            }
            out.number(count).text(entries.bytes);
            out.number(ticks(append->sent)).number(ticks(append->read));
        } else if (auto* response = std::get_if<lr::AppendEntriesResponse>(&message.body)) {
            out.number(response->success).number(response->match_index.value);
            out.number(response->hint.term.value).number(response->hint.index.value);
            out.number(response->snapshot_offset);
            out.number(ticks(response->heard)).number(ticks(response->read));
        } else if (auto* install = std::get_if<lr::InstallSnapshot<std::string>>(&message.body)) {
            out.number(install->last_included.term.value);
            out.number(install->last_included.index.value).number(install->offset);
            std::string data = install->data;
            if (slip == Slip::stops_at_a_zero_byte) data = std::string(data.c_str());
            out.text(data).number(install->done).number(ticks(install->sent));
        }
        return out.bytes;
    }

    static std::optional<Message> decode(std::string_view text) {
        Reader in{text};
        Message message;
        message.from = {in.number()};
        message.to = {in.number()};
        message.term = {in.number()};
        auto number = [&] { return in.number(); };
        auto yes = [&] { return in.number() != 0; };
        auto time = [&] { return lr::Time(lr::Duration(static_cast<std::int64_t>(number()))); };
        switch (in.number()) {
            case 0: {
                bool pre_vote = yes();
                lr::LogPosition last{Term{number()}, Index{number()}};
                message.body = lr::RequestVote{pre_vote, last, yes()};
                break;
            }
            case 1: {
                bool pre_vote = yes();
                message.body = lr::RequestVoteResponse{pre_vote, yes()};
                break;
            }
            case 2: {
                lr::AppendEntries<Put> append{
                    {Term{number()}, Index{number()}}, Index{number()}, {}};
                std::uint64_t count = number();
                // As reserve does at some size, before a sanitizer ends the program for a smaller
                // one.
                if (slip == Slip::believes_sizes && count > 1'000'000) throw std::bad_alloc();
                if (slip == Slip::believes_sizes) append.entries.reserve(count);
                if (slip == Slip::refuses_many && count > 64) return std::nullopt;
                std::string bytes = in.text();
                Reader entries{bytes};
                for (; count > 0 && entries.good; --count) append.entries.push_back(entry(entries));
                if (!entries.good) return std::nullopt;
                append.sent = time();
                append.read = time();
                message.body = std::move(append);
                break;
            }
            case 3: {
                bool success = yes();
                Index match{number()};
                lr::LogPosition hint{Term{number()}, Index{number()}};
                message.body =
                    lr::AppendEntriesResponse{success, match, hint, number(), time(), time()};
                break;
            }
            case 4: {
                lr::LogPosition at{Term{number()}, Index{number()}};
                std::uint64_t offset = number();
                std::string data = in.text();
                message.body = lr::InstallSnapshot<std::string>{at, offset, data, yes(), time()};
                break;
            }
            case 5:
                message.body = lr::TimeoutNow{};
                break;
            default:
                return std::nullopt;
        }
        if (!in.good) return std::nullopt;
        return message;
    }
};

Check slipped(Slip slip) {
    Encoded::slip = slip;
    Check check = check_serialization<Encoded>();
    Encoded::slip = Slip::none;
    return check;
}

/// Where neither transitions nor snapshots can be compared by ==.
struct OddEncoded : OddTest {
    using Message = lr::MessageOf<Odd>;
    using Append = lr::AppendEntries<Odd::Transition>;
    using Install = lr::InstallSnapshot<Odd::SnapshotData>;
    /// Only entries and snapshots are encoded here; the rest is handed over behind the scenes.
    static inline Message rest;
    static inline bool loses_names = false;
    static std::string encode(const Message& message) {
        rest = message;
        Writer out;
        if (auto* append = std::get_if<Append>(&rest.body)) {
            for (auto& entry : append->entries) {
                if (auto* t = std::get_if<Odd::Transition>(&entry.command)) {
                    out.text(loses_names ? "" : std::exchange(t->name, ""));
                }
            }
        }
        if (auto* install = std::get_if<Install>(&rest.body)) {
            out.number(loses_names ? 0 : std::exchange(install->data.digest, 0));
        }
        return out.bytes;
    }
    static std::optional<Message> decode(std::string_view bytes) {
        Reader in{bytes};
        Message message = rest;
        if (auto* append = std::get_if<Append>(&message.body)) {
            for (auto& entry : append->entries) {
                if (auto* t = std::get_if<Odd::Transition>(&entry.command)) t->name = in.text();
            }
        }
        if (auto* install = std::get_if<Install>(&message.body)) {
            install->data.digest = in.number();
        }
        return message;
    }
};

}  // namespace

TEST_CASE("an encoding that keeps everything passes") {
    Check check = check_serialization<Encoded>();
    CHECK_MESSAGE(check.passed, check.text);
    CHECK(check.text == "100 messages of each kind, 5000 damaged ones");
    check = check_serialization<OddEncoded>();
    CHECK_MESSAGE(check.passed, check.text);
}

TEST_CASE("an encoding that loses something is caught") {
    caught(slipped(Slip::cuts_terms_to_32_bits), "these differ afterwards: term");
    caught(slipped(Slip::forgets_a_vote), "these differ afterwards: vote_granted");
    caught(slipped(Slip::drops_noops), "these differ afterwards: entries");
    caught(slipped(Slip::stops_at_a_zero_byte), "these differ afterwards: data");
    caught(slipped(Slip::refuses_many), "nothing is decoded");
    caught(slipped(Slip::believes_sizes), "threw an exception");
    OddEncoded::loses_names = true;
    caught(check_serialization<OddEncoded>(), "these differ afterwards: ");
    OddEncoded::loses_names = false;
}

// ----- Transport ---------------------------------------------------------------------------------

namespace {

enum class Fate { whole, lost, repeated, late, to_another, damaged, shortened, one_way };

/// A network in memory that does to some messages what it is told.
struct Air {
    using Message = lr::MessageOf<Store>;
    Fate fate = Fate::whole;
    Random random{1};
    std::map<std::uint64_t, std::vector<Message>> inboxes = {};
    std::vector<Message> held = {};

    void send(ReplicaId to, Message message) {
        std::uint64_t box = to.value;
        bool strikes = random.one_in(4);
        if (fate == Fate::one_way && message.from == ReplicaId{2}) return;
        if (fate == Fate::lost && strikes) return;
        if (fate == Fate::late && strikes) return held.push_back(message);
        if (fate == Fate::repeated && strikes) inboxes[box].push_back(message);
        if (fate == Fate::to_another && strikes) box = 1 + box % 3;
        if (fate == Fate::damaged && strikes) message.from = {9};
        auto* install = std::get_if<lr::InstallSnapshot<std::string>>(&message.body);
        if (fate == Fate::shortened && install && install->data.size() > 4000)
            install->data.resize(4000);
        inboxes[box].push_back(message);
    }
    void settle() {
        if (held.empty() || !random.one_in(30)) return;
        for (const Message& message : std::exchange(held, {})) {
            inboxes[message.to.value].push_back(message);
        }
    }
};

struct Endpoint {
    Air* air;
    ReplicaId self;
    void send_message(ReplicaId to, Air::Message message) { air->send(to, std::move(message)); }
    std::vector<Air::Message> receive_messages() {
        return std::exchange(air->inboxes[self.value], {});
    }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
};

Check check_air(Fate fate) {
    Air air{fate};
    std::array<Endpoint, 3> endpoints{
        {{&air, ReplicaId{1}}, {&air, ReplicaId{2}}, {&air, ReplicaId{3}}}};
    return check_cluster<Sound, Endpoint>({&endpoints[0], &endpoints[1], &endpoints[2]},
                                          [&] { air.settle(); }, {.rounds = 40});
}

}  // namespace

TEST_CASE("a transport may lose, repeat and reorder, but nothing else") {
    for (Fate fate : {Fate::whole, Fate::lost, Fate::repeated, Fate::late}) {
        Check check = check_air(fate);
        CHECK_MESSAGE(check.passed, check.text);
    }
    caught(check_air(Fate::to_another), "which was sent to replica ");
    caught(check_air(Fate::damaged), "which differs in from from what was sent");
    caught(check_air(Fate::shortened), "which differs in data from what was sent");
    caught(check_air(Fate::one_way), "messages from replica 2 to replica 1 none arrived");
}

// ----- Storage -----------------------------------------------------------------------------------

namespace {

enum class Leak {
    none,
    keeps_torn_tail,
    keeps_what_was_overruled,
    writes_vote_apart_from_term,
    lies_about_sync,
    forgets_to_sync,
    forgets_to_sync_what_it_loaded,
    tries_a_failed_sync_again,
    compact_takes_what_follows,
    compact_keeps_another_history,
    skips_what_is_damaged,
    does_not_check,
    cuts_at_damage,
    refuses_a_torn_tail,
};

/// A file on a real disk.
class RealFile {
 public:
    explicit RealFile(const std::filesystem::path& directory)
        : descriptor_(::open((directory / "journal").c_str(), O_RDWR | O_CREAT | O_APPEND, 0644)),
          directory_(::open(directory.c_str(), O_RDONLY)) {}
    RealFile(const RealFile&) = delete;
    RealFile& operator=(const RealFile&) = delete;
    ~RealFile() {
        ::close(descriptor_);
        ::close(directory_);
    }
    std::string read() const {
        std::string bytes(static_cast<std::size_t>(::lseek(descriptor_, 0, SEEK_END)), '\0');
        return ::pread(descriptor_, bytes.data(), bytes.size(), 0) < 0 ? std::string() : bytes;
    }
    void append(const std::string& bytes) {
        if (::write(descriptor_, bytes.data(), bytes.size()) < 0) failed_ = true;
    }
    void truncate(std::size_t size) {
        if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) failed_ = true;
    }
    bool sync() { return !failed_ && ::fdatasync(descriptor_) == 0 && ::fsync(directory_) == 0; }

 private:
    int descriptor_;
    int directory_;
    bool failed_ = false;
};

/// One on a MemoryDisk.
class MemoryFile {
 public:
    explicit MemoryFile(MemoryDisk& disk) : disk_(&disk) {}
    std::string read() const { return disk_->read("journal"); }
    void append(const std::string& bytes) { disk_->append("journal", bytes); }
    void truncate(std::size_t size) { disk_->truncate("journal", size); }
    bool sync() { return disk_->sync("journal") && disk_->sync_directory(); }

 private:
    MemoryDisk* disk_;
};

std::uint64_t sum(std::string_view bytes) {
    std::uint64_t hash = bytes.size();
    for (char byte : bytes) hash = mix(hash, static_cast<unsigned char>(byte));
    return hash;
}

/// A record in a file: with a checksum, and with how much of the file was synced when it was
/// written.
struct Record {
    std::string payload;
    std::size_t synced = 0, size = 0;

    static std::string bytes_of(std::size_t synced, const std::string& payload) {
        std::string body = Writer().number(synced).text(payload).bytes;
        return Writer().number(sum(body)).bytes + body;
    }
    static std::optional<Record> at(const std::string& bytes, std::size_t offset,
                                    bool checks = true) {
        Reader in{std::string_view(bytes).substr(offset)};
        std::uint64_t expected = in.number();
        std::string_view body = in.bytes;
        auto synced = static_cast<std::size_t>(in.number());
        std::string payload = in.text();
        if (!in.good) return std::nullopt;
        body = body.substr(0, 16 + payload.size());
        if (checks && sum(body) != expected) return std::nullopt;
        return Record{payload, synced, 8 + body.size()};
    }
    /// A later record says that the bad one at `offset` was synced: no crash did that.
    static bool is_damage(const std::string& bytes, std::size_t offset) {
        for (std::size_t i = offset + 1; i < bytes.size(); ++i) {
            auto later = at(bytes, i);
            if (later && later->synced > offset) return true;
        }
        return false;
    }
};

/// A storage in one file that is only ever appended to, a record for each entry and each call else.
/// A record that does not check out is a torn end and cut off, unless the file is damaged.
template <class File>
class Journal {
 public:
    using State = lr::StoredState<Put>;
    using E = Encoded;

    template <class Place>
    static std::unique_ptr<Journal> open(Place&& place, Leak leak = Leak::none) {
        std::unique_ptr<Journal> journal(new Journal(place, leak));
        return journal->replay() ? std::move(journal) : nullptr;
    }

    State load() { return state_; }
    void save_vote(Term term, std::optional<ReplicaId> voted_for) {
        std::uint64_t vote = voted_for ? voted_for->value + 1 : 0;
        if (leak_ == Leak::writes_vote_apart_from_term) {
            write(Writer().number(0).number(term.value).number(0).bytes);
        }
        write(Writer().number(0).number(term.value).number(vote).bytes);
    }
    void append(Index first_index, const std::vector<lr::Entry<Put>>& entries) {
        // A record each, so that a torn one takes no more than it must.
        for (const auto& entry : entries) {
            Writer out;
            out.number(1).number(first_index.value);
            ++first_index;
            E::put(out, entry);
            write(out.bytes);
        }
    }
    void compact(lr::LogPosition last) {
        write(Writer().number(2).number(last.term.value).number(last.index.value).bytes);
    }
    bool sync() {
        if (leak_ == Leak::lies_about_sync && held_.size() < 2000) return true;
        if (leak_ == Leak::forgets_to_sync) return true;
        file_.append(std::exchange(held_, ""));
        bool synced = file_.sync();
        if (!synced && leak_ == Leak::tries_a_failed_sync_again) synced = file_.sync();
        if (synced) synced_ = size_;
        return synced;
    }

 private:
    Journal(auto& place, Leak leak) : leak_(leak), file_(place) {}

    void write(const std::string& payload) {
        std::string record = Record::bytes_of(synced_, payload);
        size_ += record.size();
        if (leak_ == Leak::lies_about_sync) {
            held_ += record;
        } else {
            file_.append(record);
        }
    }

    bool replay() {
        std::string bytes = file_.read();
        std::size_t at = 0;
        while (at < bytes.size()) {
            bool checks = leak_ != Leak::does_not_check;
            std::optional<Record> record = Record::at(bytes, at, checks);
            while (!record && leak_ == Leak::skips_what_is_damaged && at + 1 < bytes.size()) {
                record = Record::at(bytes, ++at);
            }
            if (!record && leak_ != Leak::cuts_at_damage && Record::is_damage(bytes, at))
                return false;
            if (!record) break;
            apply(Reader{record->payload});
            at += record->size;
        }
        if (at < bytes.size() && leak_ == Leak::refuses_a_torn_tail) return false;
        if (at < bytes.size() && leak_ != Leak::keeps_torn_tail) file_.truncate(at);
        size_ = at;
        synced_ = at;
        // What is loaded will be acknowledged without another sync.
        return leak_ == Leak::forgets_to_sync_what_it_loaded || file_.sync();
    }

    void apply(Reader in) {
        std::uint64_t kind = in.number();
        auto& [term, vote, base, entries] = state_;
        if (kind == 0) {
            term = {in.number()};
            std::uint64_t stored = in.number();
            vote = stored > 0 ? std::optional(ReplicaId{stored - 1}) : std::nullopt;
        } else if (kind == 1) {
            auto place = static_cast<std::size_t>(Index{in.number()} - base.index - 1);
            lr::Entry<Put> entry = E::entry(in);
            bool keeps = leak_ == Leak::keeps_what_was_overruled && place < entries.size();
            if (!keeps) entries.resize(place);
            keeps ? void(entries[place] = entry) : entries.push_back(entry);
        } else {
            lr::LogPosition at{Term{in.number()}, Index{in.number()}};
            auto count = static_cast<std::size_t>(at.index - base.index);
            bool holds = count <= entries.size() && entries[count - 1].term == at.term;
            if (leak_ == Leak::compact_takes_what_follows) holds = false;
            if (leak_ == Leak::compact_keeps_another_history && count <= entries.size())
                holds = true;
            entries.erase(
                entries.begin(),
                holds ? entries.begin() + static_cast<std::ptrdiff_t>(count) : entries.end());
            base = at;
        }
    }

    Leak leak_;
    File file_;
    State state_;
    std::string held_;
    std::size_t size_ = 0, synced_ = 0;
};

/// What MemoryDisk does, on a real disk; what std::filesystem cannot sync is not synced.
class RealDisk {
 public:
    explicit RealDisk(const std::filesystem::path& directory) : directory_(directory) {}
    std::string read(const std::string& name) const {
        std::ifstream in(directory_ / name, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    }
    void append(const std::string& name, const std::string& bytes) {
        std::ofstream(directory_ / name, std::ios::binary | std::ios::app) << bytes;
    }
    void truncate(const std::string& name, std::size_t size) {
        append(name, "");
        std::filesystem::resize_file(directory_ / name, size);
    }
    void rename(const std::string& from, const std::string& to) {
        std::filesystem::rename(directory_ / from, directory_ / to);
    }
    bool sync(const std::string&) { return true; }
    bool sync_directory() { return true; }

 private:
    std::filesystem::path directory_;
};

enum class Gap {
    none,
    vote_and_term_in_two_files,
    renames_before_sync,
    forgets_the_directory,
    writes_the_vote_in_place,
    cuts_and_appends_in_one_sync,
};

/// A storage as many are: the vote in a small file that is replaced as a whole, the log in another
/// that is cut and appended to, and written anew by compact.
template <class Disk, class Handle = Disk>
class TwoFiles {
 public:
    using State = lr::StoredState<Put>;

    template <class Place>
    static std::unique_ptr<TwoFiles> open(Place&& place, Gap gap) {
        std::unique_ptr<TwoFiles> storage(new TwoFiles(place, gap));
        return storage->load_vote() && storage->load_log() ? std::move(storage) : nullptr;
    }

    State load() { return state_; }
    void save_vote(Term term, std::optional<ReplicaId> voted_for) {
        state_.term = term;
        state_.voted_for = voted_for;
        std::uint64_t vote = voted_for ? voted_for->value + 1 : 0;
        if (gap_ == Gap::vote_and_term_in_two_files) {
            replace("term", Record::bytes_of(0, Writer().number(term.value).bytes));
            replace("vote", Record::bytes_of(0, Writer().number(vote).bytes));
        } else {
            replace("vote", Record::bytes_of(0, Writer().number(term.value).number(vote).bytes));
        }
    }
    void append(Index first_index, const std::vector<lr::Entry<Put>>& entries) {
        auto kept = static_cast<std::size_t>(first_index - state_.last_included.index - 1);
        if (kept < state_.entries.size()) {
            state_.entries.resize(kept);
            ends_.resize(kept + 1);
            disk_.truncate("log", ends_.back());
            // Or what comes behind the cut might be there and the cut not.
            bool apart = gap_ != Gap::cuts_and_appends_in_one_sync;
            if (apart) good_ = disk_.sync("log") && good_;
            synced_ = std::min(synced_, ends_.back());
        }
        for (const auto& entry : entries) {
            disk_.append("log", record_of(entry));
            state_.entries.push_back(entry);
        }
    }
    void compact(lr::LogPosition last) {
        auto count = static_cast<std::size_t>(last.index - state_.last_included.index);
        bool holds = count <= state_.entries.size() && state_.entries[count - 1].term == last.term;
        auto end = holds ? state_.entries.begin() + static_cast<std::ptrdiff_t>(count)
                         : state_.entries.end();
        state_.entries.erase(state_.entries.begin(), end);
        state_.last_included = last;
        synced_ = 0;
        ends_.clear();
        std::string bytes =
            Record::bytes_of(0, Writer().number(last.term.value).number(last.index.value).bytes);
        ends_.push_back(bytes.size());
        for (const auto& entry : state_.entries) bytes += record_of(entry);
        replace("log", bytes);
        synced_ = bytes.size();
    }
    bool sync() {
        good_ = disk_.sync("log") && good_;
        synced_ = ends_.back();
        return disk_.sync_directory() && good_;
    }

 private:
    TwoFiles(auto& place, Gap gap) : disk_(place), gap_(gap) {}

    std::string record_of(const lr::Entry<Put>& entry) {
        Writer out;
        Encoded::put(out, entry);
        std::string record = Record::bytes_of(synced_, out.bytes);
        ends_.push_back(ends_.back() + record.size());
        return record;
    }

    void replace(const std::string& name, const std::string& bytes) {
        if (gap_ == Gap::writes_the_vote_in_place && name == "vote") {
            disk_.truncate(name, 0);
            disk_.append(name, bytes);
            good_ = disk_.sync(name) && disk_.sync_directory() && good_;
            return;
        }
        disk_.truncate("new", 0);
        disk_.append("new", bytes);
        bool before = gap_ != Gap::renames_before_sync;
        if (before) good_ = disk_.sync("new") && good_;
        disk_.rename("new", name);
        if (!before) good_ = disk_.sync(name) && good_;
        if (gap_ != Gap::forgets_the_directory) good_ = disk_.sync_directory() && good_;
    }

    bool load_vote() {
        bool apart = gap_ == Gap::vote_and_term_in_two_files;
        std::string bytes;
        for (const char* name : {"term", "vote"}) {
            std::string file = disk_.read(name);
            if (file.empty()) continue;
            auto record = Record::at(file, 0);
            if (!record) return false;
            bytes += record->payload;
        }
        if (bytes.empty()) return true;
        if (apart && bytes.size() < 16) bytes += Writer().number(0).bytes;
        Reader in{bytes};
        state_.term = {in.number()};
        std::uint64_t vote = in.number();
        if (vote > 0) state_.voted_for = ReplicaId{vote - 1};
        return true;
    }

    bool load_log() {
        std::string bytes = disk_.read("log");
        auto header = Record::at(bytes, 0);
        if (!header && Record::is_damage(bytes, 0)) return false;
        if (!header) {
            // Never written, or torn when it was.
            bytes = Record::bytes_of(0, Writer().number(0).number(0).bytes);
            replace("log", bytes);
            header = Record::at(bytes, 0);
        }
        Reader in{header->payload};
        state_.last_included = {Term{in.number()}, Index{in.number()}};
        ends_ = {header->size};
        while (auto record = Record::at(bytes, ends_.back())) {
            Reader entry{record->payload};
            state_.entries.push_back(Encoded::entry(entry));
            ends_.push_back(ends_.back() + record->size);
        }
        std::size_t end = ends_.back();
        if (end < bytes.size() && Record::is_damage(bytes, end)) return false;
        if (end < bytes.size()) disk_.truncate("log", end);
        synced_ = end;
        return disk_.sync("log") && disk_.sync_directory() && good_;
    }

    Handle disk_;
    Gap gap_;
    State state_;
    std::vector<std::size_t> ends_;  // In the log: of the header and of each entry.
    std::size_t synced_ = 0;
    bool good_ = true;
};

Check two_files_on_a_directory(Gap gap) {
    return check_storage<Sound>(
        [gap](const std::filesystem::path& place) { return TwoFiles<RealDisk>::open(place, gap); });
}

Check two_files_in_memory(Gap gap) {
    return check_storage_on_memory_disk<Sound>(
        [gap](MemoryDisk& disk) { return TwoFiles<MemoryDisk, MemoryDisk&>::open(disk, gap); });
}

Check on_a_directory(Leak leak) {
    return check_storage<Sound>([leak](const std::filesystem::path& place) {
        return Journal<RealFile>::open(place, leak);
    });
}

Check in_memory(Leak leak) {
    return check_storage_on_memory_disk<Sound>(
        [leak](MemoryDisk& disk) { return Journal<MemoryFile>::open(disk, leak); });
}

/// As a subject says it.
struct Stored : Sound {
    using Storage = Journal<RealFile>;
    static std::unique_ptr<Storage> open(const std::filesystem::path& place) {
        return Storage::open(place);
    }
};

}  // namespace

TEST_CASE("a storage that keeps its promises passes, on a real disk and on one in memory") {
    Check check = check_storage<Stored>();
    CHECK_MESSAGE(check.passed, check.text);
    MESSAGE("on a real disk: " << check.text);
    check = in_memory(Leak::none);
    CHECK_MESSAGE(check.passed, check.text);
    MESSAGE("in memory: " << check.text);
    check = two_files_on_a_directory(Gap::none);
    CHECK_MESSAGE(check.passed, check.text);
    check = two_files_in_memory(Gap::none);
    CHECK_MESSAGE(check.passed, check.text);
    MESSAGE("in two files in memory: " << check.text);
}

TEST_CASE("storages that do not are caught on a real disk") {
    caught(on_a_directory(Leak::keeps_torn_tail), "and then it ");
    caught(on_a_directory(Leak::keeps_what_was_overruled), "it loaded");
    caught(on_a_directory(Leak::writes_vote_apart_from_term), "it loaded");
    caught(on_a_directory(Leak::lies_about_sync), "sync\nand then it loaded");
    caught(on_a_directory(Leak::compact_takes_what_follows), "it loaded");
    caught(on_a_directory(Leak::compact_keeps_another_history), "it loaded");
    caught(on_a_directory(Leak::skips_what_is_damaged), "it loaded");
    caught(on_a_directory(Leak::does_not_check), "the power failed in it: of journal, ");
    caught(on_a_directory(Leak::cuts_at_damage), "which was synced long before, was damaged");
    caught(on_a_directory(Leak::refuses_a_torn_tail), "could not be opened");
}

TEST_CASE("storages that do not are caught in memory") {
    caught(in_memory(Leak::keeps_torn_tail), "it ");
    caught(in_memory(Leak::keeps_what_was_overruled), "it loaded");
    caught(in_memory(Leak::writes_vote_apart_from_term), "it loaded");
    caught(in_memory(Leak::lies_about_sync), "it loaded");
    caught(in_memory(Leak::forgets_to_sync), "it loaded");
    caught(in_memory(Leak::forgets_to_sync_what_it_loaded), "struck by a power loss");
    caught(in_memory(Leak::tries_a_failed_sync_again),
           "sync returned true although the disk's sync had failed");
    caught(in_memory(Leak::compact_takes_what_follows), "it loaded");
    caught(in_memory(Leak::compact_keeps_another_history), "it loaded");
    caught(in_memory(Leak::skips_what_is_damaged), "it loaded");
    caught(in_memory(Leak::does_not_check), "it loaded");
    caught(in_memory(Leak::cuts_at_damage), "which was synced long before, was damaged");
    caught(in_memory(Leak::refuses_a_torn_tail), "could not be opened");
}

TEST_CASE("storages of several files that do not keep them in step are caught in memory") {
    caught(two_files_in_memory(Gap::vote_and_term_in_two_files), "it loaded");
    caught(two_files_in_memory(Gap::renames_before_sync), "it ");
    caught(two_files_in_memory(Gap::forgets_the_directory), "it ");
    caught(two_files_in_memory(Gap::writes_the_vote_in_place), "it ");
    caught(two_files_in_memory(Gap::cuts_and_appends_in_one_sync), "it ");
    caught(two_files_on_a_directory(Gap::writes_the_vote_in_place), "of vote, the last bytes kept");
}

TEST_CASE("a disk in memory loses what was not synced, and nothing else") {
    MemoryDisk disk;
    disk.append("a", "one");
    CHECK(disk.sync("a"));
    CHECK(disk.sync_directory());
    std::uint64_t lost = 0, kept = 0, torn = 0, unnamed = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        MemoryDisk copy = disk;
        Random random(seed);
        copy.append("a", "two");
        copy.write("b", 2, "x");
        CHECK(copy.read("a") == "onetwo");
        CHECK(copy.read("b") == std::string("\0\0x", 3));
        copy.lose_power(random);
        std::string left = copy.read("a");
        CHECK(left.substr(0, 3) == "one");
        lost += left == "one" ? 1 : 0;
        kept += left == "onetwo" ? 1 : 0;
        torn += left.size() > 3 && left != "onetwo" ? 1 : 0;
        unnamed += copy.exists("b") ? 0 : 1;
    }
    CHECK(lost > 20);
    CHECK(kept > 20);
    CHECK(torn > 20);
    CHECK(unnamed > 20);

    // A file takes another's place at once, and for good once the directory is synced.
    disk.append("new", "whole");
    CHECK(disk.sync("new"));
    disk.rename("new", "a");
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        MemoryDisk copy = disk;
        Random random(seed);
        bool synced = seed % 2 == 0;
        if (synced) CHECK(copy.sync_directory());
        copy.lose_power(random);
        bool good = copy.read("a") == "whole" || (!synced && copy.read("a") == "one");
        CHECK(good);
    }

    // What a failed sync did not write stays unwritten.
    disk.append("a", "!");
    disk.fail_next_sync();
    CHECK(!disk.sync("a"));
    CHECK(disk.sync("a"));
    CHECK(disk.sync_directory());
    CHECK(disk.read("a") == "whole!");
    Random random(1);
    disk.lose_power(random);
    CHECK(disk.read("a") == "whole");
}
