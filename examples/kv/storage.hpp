// What a replica keeps on disk: term, vote and log in SQLite, the snapshot in a file beside it. It
// satisfies little_raft's Storage, and syncs in a thread of its own, so that the replica goes on
// meanwhile.
//
//     raft.db    sqlite3 raft.db 'select log_index, term, length(body) from log' shows the log
//     snapshot   written as snapshot.new, synced, and renamed, so that there always is a whole one
//     lock       held by the process that has the directory
#ifndef KV_STORAGE_HPP
#define KV_STORAGE_HPP

#include <fcntl.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "little_raft.hpp"
#include "store.hpp"

namespace kv {

/// What the disk refused, or what it held that no replica wrote; in words for people.
struct DiskError : std::runtime_error {
    using runtime_error::runtime_error;
    static DiskError of_errno(const std::string& what) {
        return DiskError(what + ": " + std::strerror(errno));
    }
};

/// A file descriptor that closes itself.
class File {
 public:
    File(const std::string& path, int flags) : path_(path), fd_(::open(path.c_str(), flags, 0600)) {
        if (fd_ < 0) throw DiskError::of_errno("cannot open " + path);
    }
    File(const File&) = delete;
    ~File() { ::close(fd_); }

    void write(std::string_view bytes) {
        while (!bytes.empty()) {
            ssize_t written = ::write(fd_, bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) throw DiskError::of_errno("cannot write " + path_);
            bytes.remove_prefix(static_cast<std::size_t>(written));
        }
    }
    void sync() {
        if (::fsync(fd_) != 0) throw DiskError::of_errno("cannot sync " + path_);
    }
    bool lock() { return ::flock(fd_, LOCK_EX | LOCK_NB) == 0; }

 private:
    std::string path_;
    int fd_;
};

/// A SQLite database, and statements that are prepared once. Each throws what goes wrong.
class Database {
 public:
    explicit Database(const std::string& path) : path_(path) {
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
        check(sqlite3_open_v2(path.c_str(), &db_, flags, nullptr));
        sqlite3_busy_timeout(db_, 5000);  // Somebody may look at it with sqlite3.
    }
    Database(const Database&) = delete;
    ~Database() { sqlite3_close_v2(db_); }

    void run(const char* sql) { check(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr)); }

    class Statement {
     public:
        Statement(Database& db, const char* sql) : db_(db) {
            unsigned flags = SQLITE_PREPARE_PERSISTENT;
            db_.check(sqlite3_prepare_v3(db_.db_, sql, -1, flags, &statement_, nullptr));
        }
        Statement(const Statement&) = delete;
        ~Statement() { sqlite3_finalize(statement_); }

        /// Binds values to the statement's places and runs it. True: there is a row to read.
        bool operator()(auto... values) {
            sqlite3_reset(statement_);
            int place = 0;
            (bind(++place, values), ...);
            return step();
        }
        /// Goes on to the next row. A statement that is through lets go of the database.
        bool step() {
            int result = sqlite3_step(statement_);
            if (result == SQLITE_ROW) return true;
            if (result != SQLITE_DONE) db_.check(result);
            db_.check(sqlite3_reset(statement_));
            return false;
        }
        void reset() { sqlite3_reset(statement_); }
        bool is_null(int column) const {
            return sqlite3_column_type(statement_, column) == SQLITE_NULL;
        }
        std::uint64_t number(int column) const {
            return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
        }
        std::string bytes(int column) const {
            const void* data = sqlite3_column_blob(statement_, column);
            auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
            return data ? std::string(static_cast<const char*>(data), size) : std::string();
        }

     private:
        void bind(int place, std::uint64_t value) {
            db_.check(sqlite3_bind_int64(statement_, place, static_cast<sqlite3_int64>(value)));
        }
        void bind(int place, std::string_view bytes) {
            db_.check(sqlite3_bind_blob64(statement_, place, bytes.data(), bytes.size(), nullptr));
        }
        void bind(int place, std::nullopt_t) { db_.check(sqlite3_bind_null(statement_, place)); }

        Database& db_;
        sqlite3_stmt* statement_ = nullptr;
    };

 private:
    void check(int result) {
        if (result == SQLITE_OK) return;
        std::string text = path_ + ": " + (db_ ? sqlite3_errmsg(db_) : sqlite3_errstr(result));
        int cause = db_ ? sqlite3_system_errno(db_) : 0;
        if (cause != 0) text += std::string(" (") + std::strerror(cause) + ")";
        throw DiskError(text);
    }

    std::string path_;
    sqlite3* db_ = nullptr;
};

// ===== The snapshot's file =======================================================================
// A line that says what it is; index, term, and the data's size; the data; SHA-256 of all that.

using Snapshot = little_raft::Snapshot<std::string>;

class SnapshotFile {
 public:
    explicit SnapshotFile(std::string directory) : directory_(std::move(directory)) {}

    /// Nothing if there is none. One that is damaged is thrown about.
    std::optional<Snapshot> read() const {
        std::string path = directory_ + "/snapshot";
        if (!std::filesystem::exists(path)) return std::nullopt;
        std::string bytes(std::filesystem::file_size(path), '\0');
        std::ifstream(path, std::ios::binary)
            .read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        std::string_view rest = bytes;
        bool whole = rest.size() > magic.size() + digest_size && rest.starts_with(magic);
        if (whole) {
            std::string_view digest = rest.substr(rest.size() - digest_size);
            rest.remove_suffix(digest_size);
            whole = digest_of({rest}) == digest;
            rest.remove_prefix(magic.size());
        }
        Reader reader(whole ? rest : std::string_view());
        Snapshot snapshot{{reader.number()}, {reader.number()}, {}};
        std::uint64_t size = reader.number();
        if (reader.failed() || reader.remaining() != size)
            throw DiskError(path + " is damaged; if the other replicas are well, replace this one");
        snapshot.data = rest.substr(rest.size() - size);
        return snapshot;
    }

    /// It is there as a whole, and will be after a crash, or the old one still is.
    void write(const Snapshot& snapshot) const {
        std::string head(magic);
        Writer(head)
            .number(snapshot.last_included_index.value)
            .number(snapshot.last_included_term.value)
            .number(snapshot.data.size());
        std::string path = directory_ + "/snapshot";
        {
            File file(path + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
            file.write(head);
            file.write(snapshot.data);
            file.write(digest_of({head, snapshot.data}));
            file.sync();
        }
        if (::rename((path + ".new").c_str(), path.c_str()) != 0)
            throw DiskError::of_errno("cannot rename " + path + ".new");
        File(directory_, O_RDONLY | O_DIRECTORY | O_CLOEXEC).sync();
    }

 private:
    static constexpr std::string_view magic = "little_raft kv snapshot 1\n";
    static constexpr std::size_t digest_size = 32;

    static std::string digest_of(std::initializer_list<std::string_view> parts) {
        std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
        std::string digest(digest_size, '\0');
        auto* out = reinterpret_cast<unsigned char*>(digest.data());
        bool done = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
        for (std::string_view part : parts)
            done = done && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
        if (!done || EVP_DigestFinal_ex(context.get(), out, nullptr) != 1)
            throw DiskError("OpenSSL cannot compute SHA-256");
        return digest;
    }

    std::string directory_;
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
    using Entries = std::vector<little_raft::Entry<Command>>;

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
        load_log();
        saved_snapshot_ = file_.read();
        has_snapshot_ = saved_snapshot_.has_value();
        statements_.emplace(*db_);
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

    little_raft::StoredState<Command> load() { return std::move(stored_); }

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
              term_at(db, "SELECT term FROM log WHERE log_index = ?"),
              cut_front(db, "DELETE FROM log WHERE log_index <= ?"),
              cut_back(db, "DELETE FROM log WHERE log_index >= ?"),
              insert(db, "INSERT INTO log VALUES (?, ?, ?, ?, ?)") {}
        Database::Statement begin, commit, vote, compacted, term_at, cut_front, cut_back, insert;
    };

    static const std::string& make(const std::string& directory) {
        std::error_code error;
        std::filesystem::create_directories(directory, error);
        if (error) throw DiskError("cannot make " + directory + ": " + error.message());
        return directory;
    }

    void create_tables(std::string_view cluster, std::uint64_t replica) {
        // WAL and FULL: a transaction is appended to one file, and that is synced when it commits.
        db_->run(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "PRAGMA wal_autocheckpoint = 4000;");
        Database::Statement check(*db_, "PRAGMA quick_check");
        check();
        if (check.bytes(0) != "ok") throw DiskError(directory_ + "/raft.db: " + check.bytes(0));
        check.reset();
        db_->run(
            "BEGIN IMMEDIATE;"
            "CREATE TABLE IF NOT EXISTS replica (format INTEGER, cluster BLOB, id INTEGER,"
            " term INTEGER, voted_for INTEGER, compacted_index INTEGER, compacted_term INTEGER);"
            "CREATE TABLE IF NOT EXISTS log (log_index INTEGER PRIMARY KEY, term INTEGER NOT NULL,"
            " process INTEGER, number INTEGER, body BLOB);"
            "COMMIT");
        Database::Statement select(*db_, "SELECT format, cluster, id FROM replica");
        if (!select()) {
            Database::Statement insert(*db_, "INSERT INTO replica VALUES (1, ?, ?, 0, NULL, 0, 0)");
            insert(cluster, replica);
        } else if (select.number(0) != 1) {
            throw DiskError(directory_ + " is of another version of this program");
        } else if (select.bytes(1) != cluster || select.number(2) != replica) {
            throw DiskError(directory_ + " belongs to replica " + std::to_string(select.number(2)) +
                            " of cluster '" + select.bytes(1) + "'");
        } else {
            select.reset();
        }
        // What the last process wrote and did not sync becomes durable by a write that is synced,
        // since that syncs the whole file.
        db_->run("UPDATE replica SET format = 1; PRAGMA wal_checkpoint(TRUNCATE)");
        File(directory_, O_RDONLY | O_DIRECTORY | O_CLOEXEC).sync();
    }

    void load_log() {
        Database::Statement select(
            *db_, "SELECT term, voted_for, compacted_index, compacted_term FROM replica");
        select();
        stored_.term = {select.number(0)};
        if (!select.is_null(1)) stored_.voted_for = {{select.number(1)}};
        stored_.last_included = {{select.number(2)}, {select.number(3)}};
        select.reset();
        Database::Statement log(*db_,
                                "SELECT log_index, term, process, number, body FROM log"
                                " WHERE log_index > ? ORDER BY log_index");
        last_ = compacted_ = stored_.last_included.index;
        for (bool row = log(last_.value); row; row = log.step()) {
            if (log.number(0) != (++last_).value)
                throw DiskError(directory_ + "/raft.db: the log lacks an entry at " +
                                std::to_string(last_.value));
            little_raft::Entry<Command> entry{{log.number(1)}, little_raft::Noop{}};
            if (!log.is_null(4))
                entry.command = Command{{log.number(2), log.number(3)},
                                        std::make_shared<const std::string>(log.bytes(4))};
            stored_.entries.push_back(std::move(entry));
        }
        Database::Statement first(*db_, "SELECT min(log_index) FROM log");
        cut_ = first() && !first.is_null(0) ? little_raft::Index{first.number(0) - 1} : compacted_;
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
        if (job_.compacted) write_compacted();
        if (job_.first) write_entries();
        cut_some();
        sql.commit();
    }

    /// A log that does not hold the entry was replaced by a snapshot as a whole: what follows that
    /// place may be another history.
    void write_compacted() {
        auto [index, term] = *job_.compacted;
        Database::Statement& term_at = statements_->term_at;
        bool held = term_at(index.value) && term_at.number(0) == term.value;
        term_at.reset();
        statements_->compacted(index.value, term.value);
        compacted_ = index;
        if (held) return;
        statements_->cut_back(std::uint64_t{0});
        last_ = cut_ = index;
    }

    /// What was compacted goes bit by bit, faster than new entries come, since to delete a hundred
    /// thousand rows at once would hold up a sync for as long.
    void cut_some() {
        if (cut_ >= compacted_) return;
        cut_ = std::min(compacted_, cut_ + (500 + 4 * job_.entries.size()));
        statements_->cut_front(cut_.value);
    }

    void write_entries() {
        little_raft::Index at = *job_.first;
        if (at <= last_) statements_->cut_back(at.value);
        for (const auto& [term, command] : job_.entries) {
            if (auto* said = std::get_if<Command>(&command))
                statements_->insert(at.value, term.value, said->id.process, said->id.number,
                                    std::string_view(*said->body));
            else
                statements_->insert(at.value, term.value, std::nullopt, std::nullopt, std::nullopt);
            last_ = at;
            ++at;
        }
    }

    std::function<void()> ended_;
    std::string directory_;
    File lock_;
    SnapshotFile file_;
    std::optional<Database> db_;
    std::optional<Statements> statements_;  // Only the thread uses it, once that is there.
    // So long these are the thread's, too: the last entry in the table, up to where entries are to
    // go, and up to where they have gone.
    little_raft::Index last_, compacted_, cut_;
    little_raft::StoredState<Command> stored_;  // Until load() takes it.
    std::optional<Snapshot> saved_snapshot_;    // Until the library takes it, at its start.
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
