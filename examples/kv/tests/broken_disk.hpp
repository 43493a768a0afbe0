// What broken_disk.cpp, in a replica, and the tests tell each other.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace kv_tests {

/// What a file was before it was written to. The old bytes from `offset` on follow.
struct UndoRecord {
    std::int64_t size;    ///< Of the file.
    std::int64_t offset;  ///< Where it was written,
    std::int64_t count;   ///< and how many bytes of it were there before.
};

/// The name of a file's journal: of its inode and its birth, since inodes are used again. Empty for
/// what is not a plain file.
inline std::string journal_name(int directory, const char* path, int flags) {
    struct statx status;
    if (statx(directory, path, flags, STATX_TYPE | STATX_INO | STATX_BTIME, &status) != 0)
        return {};
    if (!S_ISREG(status.stx_mode)) return {};
    return "undo." + std::to_string(status.stx_ino) + "." +
           std::to_string(status.stx_btime.tv_sec) + "." + std::to_string(status.stx_btime.tv_nsec);
}

/// One replica's disk, seen from the tests.
class BrokenDisk {
 public:
    BrokenDisk(std::filesystem::path disk, std::filesystem::path control, std::string library)
        : disk_(std::move(disk)), control_(std::move(control)), library_(std::move(library)) {
        std::filesystem::create_directories(control_);
    }

    std::vector<std::string> environment() const {
        return {"LD_PRELOAD=" + library_, "KV_BROKEN_DISK=" + disk_.string(),
                "KV_BROKEN_DISK_CONTROL=" + control_.string()};
    }

    void fail() { std::ofstream(control_ / "fail"); }
    /// Files can be synced, and that one was renamed cannot.
    void fail_directories() { std::ofstream(control_ / "fail_directories"); }
    void hang() { std::ofstream(control_ / "hang"); }
    void mend() {
        for (const char* name : {"fail", "fail_directories", "hang"})
            std::filesystem::remove(control_ / name);
    }

    /// Takes back what was not synced, of a replica that does not run; `kept` is the share of its
    /// writes to each file, oldest first, that reached the disk nevertheless. Gives how many were
    /// taken back.
    std::size_t lose_power(double kept) {
        std::size_t undone = 0;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(disk_)) {
            std::string name = journal_name(AT_FDCWD, entry.path().c_str(), 0);
            auto journal = control_ / name;
            if (!name.empty() && std::filesystem::exists(journal))
                undone += undo(entry.path(), journal, kept);
        }
        for (const auto& entry : std::filesystem::directory_iterator(control_)) {
            if (entry.path().filename().string().starts_with("undo."))
                std::filesystem::remove(entry.path());
        }
        return undone;
    }

 private:
    struct Undo {
        UndoRecord record;
        std::string bytes;
    };

    static std::size_t undo(const std::filesystem::path& path, const std::filesystem::path& journal,
                            double kept) {
        std::vector<Undo> undos;
        std::ifstream in(journal, std::ios::binary);
        Undo next;
        while (in.read(reinterpret_cast<char*>(&next.record), sizeof next.record)) {
            next.bytes.resize(static_cast<std::size_t>(next.record.count));
            in.read(next.bytes.data(), next.record.count);
            // A record that is torn stands for a write that never came to be.
            if (!in) break;
            undos.push_back(next);
        }
        auto first = static_cast<std::size_t>(static_cast<double>(undos.size()) * kept);
        for (std::size_t i = undos.size(); i-- > first;) {
            std::filesystem::resize_file(path, static_cast<std::uintmax_t>(undos[i].record.size));
            std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
            file.seekp(undos[i].record.offset);
            file.write(undos[i].bytes.data(), undos[i].record.count);
        }
        return undos.size() - first;
    }

    std::filesystem::path disk_, control_;
    std::string library_;
};

}  // namespace kv_tests
