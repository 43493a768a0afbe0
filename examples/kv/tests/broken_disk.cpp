// A disk that fails, hangs, or forgets at power loss what was not synced: a library for LD_PRELOAD,
// between a replica and the system. A process that is killed loses nothing that it had written, for
// the system still has it; only so is it seen whether it synced what it acknowledged.
//
// KV_BROKEN_DISK names the replica's directory, and KV_BROKEN_DISK_CONTROL another, in which
// - a file `fail` makes every sync fail with EIO, `fail_directories` those of directories alone;
// - a file `hang` makes every sync wait until it is removed;
// - the files `undo.*` tell how to take back what was written to a file since its last sync.
//   Each is a list of records, struct UndoRecord and the old bytes; broken_disk.hpp takes it back.
#include "broken_disk.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace {

using kv_tests::UndoRecord;

std::mutex mutex;

std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

bool there(const char* name) {
    static const std::string directory = setting("KV_BROKEN_DISK_CONTROL");
    return access((directory + "/" + name).c_str(), F_OK) == 0;
}

/// The journal of a file, for one of the replica's own; empty for any other. SQLite makes its index
/// of shared memory anew after a crash, so it never syncs that.
std::string journal_of(int fd) {
    static const std::string disk = setting("KV_BROKEN_DISK") + "/";
    static const std::string control = setting("KV_BROKEN_DISK_CONTROL");
    char path[4096];
    ssize_t size = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
    std::string file(path, size > 0 ? static_cast<std::size_t>(size) : 0);
    if (!file.starts_with(disk) || file.ends_with("-shm")) return {};
    std::string name = kv_tests::journal_name(fd, "", AT_EMPTY_PATH);
    return name.empty() ? name : control + "/" + name;
}

void write_whole(int fd, const void* bytes, std::size_t size) {
    const char* from = static_cast<const char*>(bytes);
    while (size > 0) {
        long written = syscall(SYS_write, fd, from, size);
        if (written <= 0) std::abort();  // The tests' own disk is full: nothing would be shown.
        from += written;
        size -= static_cast<std::size_t>(written);
    }
}

/// Before the bytes from `offset` on are changed.
void remember(int fd, off_t offset, std::size_t count) {
    std::string journal = journal_of(fd);
    struct stat status;
    if (journal.empty() || fstat(fd, &status) != 0) return;
    off_t end = offset + static_cast<off_t>(count);
    off_t old_end = end < status.st_size ? end : status.st_size;
    std::vector<char> old(old_end > offset ? static_cast<std::size_t>(old_end - offset) : 0);
    // The file may be open for writing alone.
    int reader = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
    ssize_t read = old.empty() ? 0 : pread(reader, old.data(), old.size(), offset);
    close(reader);
    if (read != static_cast<ssize_t>(old.size())) std::abort();
    int out = open(journal.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    UndoRecord record{status.st_size, offset, static_cast<std::int64_t>(old.size())};
    write_whole(out, &record, sizeof record);
    write_whole(out, old.data(), old.size());
    close(out);
}

int sync_file(long call, int fd) {
    while (there("hang")) usleep(5'000);
    struct stat status;
    bool is_directory = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    if (there("fail") || (is_directory && there("fail_directories"))) {
        errno = EIO;
        return -1;
    }
    std::lock_guard lock(mutex);
    long result = syscall(call, fd);
    std::string journal = result == 0 ? journal_of(fd) : "";
    if (!journal.empty()) unlink(journal.c_str());
    return static_cast<int>(result);
}

ssize_t write_at(int fd, const void* bytes, std::size_t count, off_t offset) {
    std::lock_guard lock(mutex);
    remember(fd, offset, count);
    return syscall(SYS_pwrite64, fd, bytes, count, offset);
}

int truncate_file(int fd, off_t size) {
    std::lock_guard lock(mutex);
    struct stat status;
    if (fstat(fd, &status) == 0 && size < status.st_size) {
        remember(fd, size, static_cast<std::size_t>(status.st_size - size));
    } else {
        remember(fd, size, 0);
    }
    return static_cast<int>(syscall(SYS_ftruncate, fd, size));
}

}  // namespace

extern "C" {

int fsync(int fd) { return sync_file(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_file(SYS_fdatasync, fd); }
ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
    return write_at(fd, bytes, count, offset);
}
ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
    return write_at(fd, bytes, count, offset);
}
int ftruncate(int fd, off_t size) noexcept { return truncate_file(fd, size); }
int ftruncate64(int fd, off64_t size) noexcept { return truncate_file(fd, size); }

ssize_t write(int fd, const void* bytes, size_t count) {
    std::lock_guard lock(mutex);
    bool at_end = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
    off_t offset = lseek(fd, 0, at_end ? SEEK_END : SEEK_CUR);
    if (offset >= 0) remember(fd, offset, count);
    return syscall(SYS_write, fd, bytes, count);
}
}
