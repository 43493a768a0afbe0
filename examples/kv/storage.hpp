// What a replica keeps on disk: term, vote and log in SQLite, the snapshot in a file beside it. It
// satisfies little_raft's Storage, and syncs in a thread of its own, so that the replica goes on
// meanwhile.
//
//     raft.db    sqlite3 raft.db 'select first_index, last_index, length(entries) from log'
//     snapshot   written as snapshot.new, synced, and renamed, so that there always is a whole one
//     lock       held by the process that has the directory
#ifndef KV_STORAGE_HPP
#define KV_STORAGE_HPP

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "disk.hpp"

namespace kv {

// ===== The log's table ===========================================================================

/// Entries in runs: what one sync writes is a row or a few, since a row for each entry would cost
/// more than all else that a write does. A row has a checksum, since SQLite has none.
class LogTable {
 public:
    using Index = little_raft::Index;

    static constexpr const char* schema =
        "CREATE TABLE IF NOT EXISTS log (first_index INTEGER PRIMARY KEY,"
        " last_index INTEGER NOT NULL, sha256 BLOB NOT NULL, entries BLOB NOT NULL)";

    explicit LogTable(Database& db)
        : path_(db.path()),
          all_(db,
               "SELECT first_index, last_index, sha256, entries FROM log"
               " WHERE last_index > ? ORDER BY first_index"),
          run_at_(db,
                  "SELECT first_index, last_index, sha256, entries FROM log"
                  " WHERE first_index <= ? ORDER BY first_index DESC LIMIT 1"),
          first_(db, "SELECT min(first_index) FROM log"),
          cut_front_(db, "DELETE FROM log WHERE first_index <= ? AND last_index <= ?"),
          cut_back_(db, "DELETE FROM log WHERE first_index >= ?"),
          insert_(db, "INSERT INTO log VALUES (?, ?, ?, ?)") {}

    /// Called once, before all else: the entries behind `base`.
    Entries load(Index base) {
        Entries entries;
        last_ = compacted_ = cut_ = base;
        for (bool row = all_(base.value); row; row = all_.step()) {
            Run run = read(all_);
            bool first = last_ == base && run.first <= base + 1;
            if (!first && run.first != last_ + 1)
                throw DiskError(path_ + ": the log lacks an entry at " +
                                std::to_string(last_.value + 1));
            auto skip = static_cast<std::ptrdiff_t>(last_ + 1 - run.first);
            entries.insert(entries.end(), run.entries.begin() + skip, run.entries.end());
            last_ = run.last();
        }
        if (first_() && !first_.is_null(0)) cut_ = Index{first_.number(0) - 1};
        first_.reset();
        return entries;
    }

    /// The log ends with these, whatever was there from `first` on.
    void append(Index first, const Entries& entries) {
        if (first <= last_) cut_from(first);
        for (std::size_t i = 0; i < entries.size(); i += run_max) {
            std::size_t count = std::min(run_max, entries.size() - i);
            insert(first + i, std::span(entries).subspan(i, count));
        }
        last_ = first + entries.size() - 1;
    }

    /// A log that does not hold the entry was replaced by a snapshot as a whole: what follows that
    /// place may be another history.
    void compact(little_raft::LogPosition at) {
        compacted_ = at.index;
        bool held = false;
        if (run_at_(at.index.value)) {
            Run run = read(run_at_);
            held = at.index <= run.last() && run.entries[at.index - run.first].term == at.term;
        }
        run_at_.reset();
        if (held) return;
        cut_back_(std::uint64_t{0});
        last_ = cut_ = at.index;
    }

    /// What was compacted goes bit by bit, faster than new entries come, since to delete a hundred
    /// thousand rows at once would hold up a sync for as long.
    void cut_some(std::size_t added) {
        if (cut_ >= compacted_) return;
        cut_ = std::min(compacted_, cut_ + (1000 + 4 * added));
        cut_front_(cut_.value, cut_.value);
    }

 private:
    struct Run {
        Index first;
        Entries entries;
        Index last() const { return first + entries.size() - 1; }
    };
    static constexpr std::size_t run_max = 4096;

    Run read(Database::Statement& row) const {
        std::string bytes = row.bytes(3);
        Run run{{row.number(0)}, {}};
        Reader reader(bytes);
        run.entries = take_entries(reader);
        if (sha256({bytes}) != row.bytes(2) || !reader.complete() || run.entries.empty() ||
            run.last().value != row.number(1))
            throw DiskError(path_ + ": the log is damaged at " + std::to_string(run.first.value) +
                            "; if the other replicas are well, replace this one");
        return run;
    }

    void insert(Index first, std::span<const Entry> entries) {
        std::string bytes;
        Writer writer(bytes);
        put_entries(writer, entries);
        insert_(first.value, first.value + entries.size() - 1, std::string_view(sha256({bytes})),
                std::string_view(bytes));
    }

    void cut_from(Index at) {
        cut_back_(at.value);
        bool some = run_at_(at.value);
        Run run = some ? read(run_at_) : Run{};
        run_at_.reset();
        if (!some || run.last() < at) return;
        cut_back_(run.first.value);
        insert(run.first, std::span(run.entries).first(at - run.first));
    }

    std::string path_;
    Database::Statement all_, run_at_, first_, cut_front_, cut_back_, insert_;
    // The last entry in the table, up to where entries are to go, and up to where they have gone.
    Index last_, compacted_, cut_;
};

// ===== Storage ===================================================================================

/// Satisfies little_raft's Storage. What it is told is collected, and sync() gives it to a thread
/// that writes it in one transaction, hence with one sync, and then calls `ended`.
///
/// The snapshot is collected in the same way and written before that transaction. So it is durable
/// before the log that it replaces is cut on disk, and before an answer leaves that depends on it:
/// this is what the library wants of a snapshot, and the replica does not wait for it.
class Storage {
 public:
    /// Opens the directory, makes it if there is none, and reads what is there; throws DiskError if
    /// that cannot be, or if it is another replica's. `ended` is called in the storage's thread.
    Storage(const std::string& directory, std::string_view cluster, std::uint64_t replica,
            std::function<void()> ended)
        : ended_(std::move(ended)),
          directory_(make(directory)),
          lock_(directory + "/lock", O_RDWR | O_CREAT | O_CLOEXEC),
          file_(directory) {
        if (!lock_.lock()) throw DiskError(directory + " is in use by another process");
        db_.emplace(directory + "/raft.db");
        create_tables(cluster, replica);
        statements_.emplace(*db_);
        load_log();
        saved_snapshot_ = file_.read();
        has_snapshot_ = saved_snapshot_.has_value();
        thread_ = std::thread([this] { work(); });
    }

    /// Ends when the sync that is on has ended.
    ~Storage() {
        {
            std::lock_guard lock(mutex_);
            stops_ = true;
            wakes_.notify_one();
        }
        thread_.join();
    }

    // ----- What the library calls ----------------------------------------------------------------

    little_raft::StoredState<Command, Membership> load() { return std::move(stored_); }

    void save_vote(little_raft::Term term, std::optional<little_raft::ReplicaId> vote) {
        next_.vote = {term, vote};
    }
    void append(little_raft::Index first, const Entries& entries) {
        next_.first = first;
        next_.entries = entries;
    }
    void compact(little_raft::LogPosition last_included) { next_.compacted = last_included; }

    std::optional<bool> sync() {
        if (!busy_) begin();
        std::lock_guard lock(mutex_);
        if (works_) return std::nullopt;
        busy_ = false;
        job_ = {};
        return error_.empty();
    }

    // ----- What the machine calls ----------------------------------------------------------------

    /// With the next sync, before what that writes.
    void save_snapshot(Snapshot snapshot) {
        next_.snapshot = std::make_shared<const Snapshot>(std::move(snapshot));
        has_snapshot_ = true;
    }

    /// The last one saved, on disk or on its way there.
    std::optional<Snapshot> snapshot() {
        if (next_.snapshot) return *next_.snapshot;
        if (job_.snapshot) return *job_.snapshot;
        if (saved_snapshot_) return std::exchange(saved_snapshot_, std::nullopt);
        return has_snapshot_ ? file_.read() : std::nullopt;
    }

    // ----- What the server asks ------------------------------------------------------------------

    /// True once a sync has ended of which the replica has not heard yet.
    bool has_ended() const { return busy_ && !works_; }
    /// Why the last sync failed. Empty: it did not.
    const std::string& error() const { return error_; }

    struct Figures {
        std::uint64_t syncs = 0;
        std::chrono::microseconds last{};   ///< How long the last one took, its writes included,
        std::chrono::microseconds usual{};  ///< ... and how long they usually do.
    };
    Figures figures() {
        std::lock_guard lock(mutex_);
        return figures_;
    }

 private:
    /// Of what the log holds; a program reads its own alone.
    static constexpr std::uint64_t format = 3;

    /// What one sync writes.
    struct Job {
        std::shared_ptr<const Snapshot> snapshot;
        std::optional<std::pair<little_raft::Term, std::optional<little_raft::ReplicaId>>> vote;
        std::optional<little_raft::LogPosition> compacted;
        std::optional<little_raft::Index> first;
        Entries entries;
    };

    struct Statements {
        explicit Statements(Database& db)
            : begin(db, "BEGIN IMMEDIATE"),
              commit(db, "COMMIT"),
              vote(db, "UPDATE replica SET term = ?, voted_for = ?"),
              compacted(db, "UPDATE replica SET compacted_index = ?, compacted_term = ?"),
              log(db) {}
        Database::Statement begin, commit, vote, compacted;
        LogTable log;
    };

    static const std::string& make(const std::string& directory) {
        std::error_code error;
        std::filesystem::create_directories(directory, error);
        if (error) throw DiskError("cannot make " + directory + ": " + error.message());
        return directory;
    }

    void create_tables(std::string_view cluster, std::uint64_t replica) {
        // WAL and FULL: a transaction is appended to one file, and that is synced when it commits.
        // A page is two writes there, and one when it goes on to the database: large pages take
        // fewer. That is done each 4 MiB, since a sync waits for it.
        db_->run(
            "PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "PRAGMA wal_autocheckpoint = 250;");
        Database::Statement check(*db_, "PRAGMA quick_check");
        check();
        if (check.bytes(0) != "ok") throw DiskError(directory_ + "/raft.db: " + check.bytes(0));
        check.reset();
        db_->run(
            "CREATE TABLE IF NOT EXISTS replica (format INTEGER, cluster BLOB, id INTEGER,"
            " term INTEGER, voted_for INTEGER, compacted_index INTEGER, compacted_term INTEGER)");
        db_->run(LogTable::schema);
        Database::Statement select(*db_, "SELECT format, cluster, id FROM replica");
        if (!select()) {
            Database::Statement insert(*db_, "INSERT INTO replica VALUES (?, ?, ?, 0, NULL, 0, 0)");
            insert(format, cluster, replica);
        } else if (select.number(0) != format) {
            throw DiskError(directory_ + " is of another version of this program");
        } else if (select.bytes(1) != cluster || select.number(2) != replica) {
            throw DiskError(directory_ + " belongs to replica " + std::to_string(select.number(2)) +
                            " of cluster '" + select.bytes(1) + "'");
        } else {
            select.reset();
        }
        // What the last process wrote and did not sync becomes durable by a write that is synced,
        // since that syncs the whole file.
        db_->run("UPDATE replica SET format = format; PRAGMA wal_checkpoint(TRUNCATE)");
        File(directory_, O_RDONLY | O_DIRECTORY | O_CLOEXEC).sync();
    }

    void load_log() {
        Database::Statement select(
            *db_, "SELECT term, voted_for, compacted_index, compacted_term FROM replica");
        select();
        stored_.term = {select.number(0)};
        if (!select.is_null(1)) stored_.voted_for = {{select.number(1)}};
        stored_.last_included = {{select.number(3)}, {select.number(2)}};
        select.reset();
        stored_.entries = statements_->log.load(stored_.last_included.index);
    }

    void begin() {
        job_ = std::exchange(next_, {});
        busy_ = true;
        std::lock_guard lock(mutex_);
        works_ = true;
        wakes_.notify_one();
    }

    // ----- The thread ----------------------------------------------------------------------------

    void work() {
        for (std::unique_lock lock(mutex_);;) {
            wakes_.wait(lock, [this] { return works_ || stops_; });
            if (!works_) return;
            lock.unlock();
            auto began = std::chrono::steady_clock::now();
            std::string error;
            try {
                write();
            } catch (const DiskError& e) {
                error = e.what();
            }
            auto took = std::chrono::duration_cast<std::chrono::microseconds>(
                std::chrono::steady_clock::now() - began);
            lock.lock();
            // After a failure nobody knows what the disk holds, so no later sync may succeed.
            if (error_.empty()) error_ = std::move(error);
            ++figures_.syncs;
            figures_.last = took;
            figures_.usual += (took - figures_.usual) / 8;
            works_ = false;
            ended_();
        }
    }

    void write() {
        if (!error_.empty()) return;
        if (job_.snapshot) file_.write(*job_.snapshot);
        Statements& sql = *statements_;
        sql.begin();
        if (job_.vote) {
            auto [term, vote] = *job_.vote;
            vote ? sql.vote(term.value, vote->value) : sql.vote(term.value, std::nullopt);
        }
        if (job_.compacted) {
            sql.compacted(job_.compacted->index.value, job_.compacted->term.value);
            sql.log.compact(*job_.compacted);
        }
        if (job_.first) sql.log.append(*job_.first, job_.entries);
        sql.log.cut_some(job_.entries.size());
        sql.commit();
    }

    std::function<void()> ended_;
    std::string directory_;
    File lock_;
    SnapshotFile file_;
    std::optional<Database> db_;
    std::optional<Statements> statements_;  // Only the thread uses it, once that is there.
    little_raft::StoredState<Command, Membership> stored_;  // Until load() takes it.
    std::optional<Snapshot> saved_snapshot_;  // Until the library takes it, at its start.
    bool has_snapshot_ = false;

    Job next_;           // What was told since the last sync began.
    Job job_;            // What the thread writes; it is left alone while works_ is set.
    bool busy_ = false;  // The replica waits for a sync.

    std::mutex mutex_;  // Of those below.
    std::condition_variable wakes_;
    std::atomic<bool> works_ = false;
    bool stops_ = false;
    std::string error_;
    Figures figures_;
    std::thread thread_;
};

}  // namespace kv

#endif  // KV_STORAGE_HPP
