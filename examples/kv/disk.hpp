// What the storage is made of: files, a SQLite database, a snapshot's file, checksums. All of it
// throws DiskError when the disk refuses.
#ifndef KV_DISK_HPP
#define KV_DISK_HPP

#include <fcntl.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "wire.hpp"

namespace kv {

/// What the disk refused, or what it held that no replica wrote; in words for people.
struct DiskError : std::runtime_error {
    using runtime_error::runtime_error;
    static DiskError of_errno(const std::string& what) {
        return DiskError(what + ": " + std::strerror(errno));
    }
};

inline constexpr std::size_t sha256_size = 32;

/// Of the parts, one after the other. It tells what a disk has changed.
inline std::string sha256(std::initializer_list<std::string_view> parts) {
    static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    std::string digest(sha256_size, '\0');
    auto* out = reinterpret_cast<unsigned char*>(digest.data());
    bool done = context && algorithm && EVP_DigestInit_ex(context.get(), algorithm, nullptr) == 1;
    for (std::string_view part : parts)
        done = done && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
    if (!done || EVP_DigestFinal_ex(context.get(), out, nullptr) != 1)
        throw DiskError("OpenSSL cannot compute SHA-256");
    return digest;
}

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

    const std::string& path() const { return path_; }
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
// A line that says what it is; index, term, membership, and the data's size; the data; SHA-256 of
// all that.

using Snapshot = little_raft::Snapshot<std::string, Membership>;

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
        bool whole = rest.size() > magic.size() + sha256_size && rest.starts_with(magic);
        if (whole) {
            std::string_view digest = rest.substr(rest.size() - sha256_size);
            rest.remove_suffix(sha256_size);
            whole = sha256({rest}) == digest;
            rest.remove_prefix(magic.size());
        }
        Reader reader(whole ? rest : std::string_view());
        little_raft::Index index{reader.number()};
        little_raft::Term term{reader.number()};
        Snapshot snapshot{{term, index}, {}, take_membership(reader)};
        std::uint64_t size = reader.number();
        if (reader.failed() || reader.remaining() != size)
            throw DiskError(path + " is damaged; if the other replicas are well, replace this one");
        snapshot.data = rest.substr(rest.size() - size);
        return snapshot;
    }

    /// It is there as a whole, and will be after a crash, or the old one still is.
    void write(const Snapshot& snapshot) const {
        std::string head(magic);
        Writer writer(head);
        writer.number(snapshot.last_included.index.value);
        writer.number(snapshot.last_included.term.value);
        put_membership(writer, snapshot.membership);
        writer.number(snapshot.data.size());
        std::string path = directory_ + "/snapshot";
        {
            File file(path + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
            file.write(head);
            file.write(snapshot.data);
            file.write(sha256({head, snapshot.data}));
            file.sync();
        }
        if (::rename((path + ".new").c_str(), path.c_str()) != 0)
            throw DiskError::of_errno("cannot rename " + path + ".new");
        File(directory_, O_RDONLY | O_DIRECTORY | O_CLOEXEC).sync();
    }

 private:
    static constexpr std::string_view magic = "little_raft kv snapshot 3\n";

    std::string directory_;
};

}  // namespace kv

#endif  // KV_DISK_HPP
