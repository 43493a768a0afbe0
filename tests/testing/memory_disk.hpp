// A small file system in memory that loses what a real one may lose: for storages that are written
// against an interface of their own, and so can be put on it. Real directories cannot tell a sync
// that was forgotten, since what is in the page cache comes back; this one can.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "little_raft.hpp"
#include "random.hpp"

namespace little_raft::testing {

/// Files in one directory, and what of them is durable. A value: a copy is another disk.
///
/// What was written to a file is durable after sync(name); that a name means this file, after
/// sync_directory(). Until then a power loss takes of the writes to a file any, in any order or in
/// part, as disks do; of changes to names the last ones, as journals do.
class MemoryDisk {
 public:
    // ----- What a storage calls ------------------------------------------------------------------

    bool exists(const std::string& name) const { return names_.count(name) != 0; }

    /// Empty, if there is no such file.
    std::string read(const std::string& name) const {
        auto found = names_.find(name);
        return found == names_.end() ? std::string() : files_[found->second].bytes;
    }

    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const auto& entry : names_) all.push_back(entry.first);
        return all;
    }

    /// Makes the file if there is none, and it longer if it must be; a gap is filled with zeros.
    void write(const std::string& name, std::size_t offset, std::string_view bytes) {
        change(name, {offset, std::string(bytes), false});
    }

    void append(const std::string& name, std::string_view bytes) {
        write(name, read(name).size(), bytes);
    }

    /// Cuts the file there, or fills it up with zeros.
    void truncate(const std::string& name, std::size_t size) { change(name, {size, {}, true}); }

    /// Atomic, and takes the place of what had the new name.
    void rename(const std::string& from, const std::string& to) {
        auto found = names_.find(from);
        if (found == names_.end()) return;
        std::size_t file = found->second;
        names_.erase(found);
        names_[to] = file;
        name_changed();
    }

    void remove(const std::string& name) {
        if (names_.erase(name) != 0) name_changed();
    }

    /// False: it failed, and what was to be synced never will be, whatever later syncs say.
    bool sync(const std::string& name) {
        if (std::exchange(failing_, false)) {
            for (File& file : files_) file.changes.clear();
            return false;
        }
        auto found = names_.find(name);
        if (found == names_.end()) return true;
        File& file = files_[found->second];
        // After a failed sync the bytes are those of the cache, but the disk lacks some of them.
        for (const Change& change : std::exchange(file.changes, {})) apply(change, file.durable);
        return true;
    }

    /// The same for what names mean, not for what is in the files.
    bool sync_directory() {
        if (std::exchange(failing_, false)) return false;
        durable_names_ = names_;
        unsynced_names_.clear();
        return true;
    }

    // ----- What a test calls ---------------------------------------------------------------------

    /// The machine goes dark and comes back. What was not synced is there whole, in part or not at
    /// all.
    void lose_power(Random& random) {
        std::size_t kept = static_cast<std::size_t>(random.below(unsynced_names_.size() + 1));
        if (kept > 0) durable_names_ = unsynced_names_[kept - 1];
        names_ = durable_names_;
        unsynced_names_.clear();
        for (File& file : files_) {
            std::vector<Change> changes = std::exchange(file.changes, {});
            bool in_order = random.one_in(2);
            std::size_t whole = static_cast<std::size_t>(random.below(changes.size() + 1));
            for (std::size_t i = 0; i < changes.size(); ++i) {
                bool keeps = in_order ? i < whole : random.one_in(2);
                bool tears = in_order ? i == whole : random.one_in(4);
                if (tears && !changes[i].cuts) {
                    tear(changes[i], file.durable, random);
                } else if (keeps) {
                    apply(changes[i], file.durable);
                }
            }
            file.bytes = file.durable;
        }
        moments_.clear();
    }

    /// The next sync, of whatever, returns false.
    void fail_next_sync() { failing_ = true; }

    /// Turns one bit over, durably: damage by age.
    void flip(const std::string& name, std::size_t offset, unsigned bit) {
        auto found = names_.find(name);
        if (found == names_.end()) return;
        for (std::string* bytes : {&files_[found->second].bytes, &files_[found->second].durable}) {
            if (offset < bytes->size()) {
                (*bytes)[offset] = static_cast<char>((*bytes)[offset] ^ (1 << (bit % 8)));
            }
        }
    }

    /// From now on keeps the disk as it was after each change, so that a test can take up any
    /// moment inside a call of a storage.
    void record() {
        moments_.clear();
        recording_ = true;
    }
    std::vector<MemoryDisk> stop_recording() {
        recording_ = false;
        return std::exchange(moments_, {});
    }

 private:
    struct Change {
        std::size_t at;
        std::string bytes;
        bool cuts;
    };
    struct File {
        std::string bytes;    // As a process sees it.
        std::string durable;  // After a power loss that takes all it may take.
        std::vector<Change> changes;
    };

    static void apply(const Change& change, std::string& bytes) {
        if (change.cuts) return bytes.resize(change.at);
        std::size_t end = change.at + change.bytes.size();
        if (bytes.size() < end) bytes.resize(end);
        std::copy(change.bytes.begin(), change.bytes.end(),
                  bytes.begin() + static_cast<std::ptrdiff_t>(change.at));
    }

    /// The file got longer, but not all the bytes reached it: the last ones did not, or the first
    /// ones, or some are garbage.
    static void tear(Change change, std::string& bytes, Random& random) {
        if (change.bytes.empty()) return;
        auto at = static_cast<std::size_t>(random.below(change.bytes.size()));
        std::uint64_t kind = random.below(4);
        std::string old(change.bytes.size(), '\0');
        for (std::size_t i = 0; i < old.size() && change.at + i < bytes.size(); ++i) {
            old[i] = bytes[change.at + i];
        }
        if (kind == 0) {
            change.bytes.resize(at);
        } else if (kind == 1) {
            std::copy(old.begin() + static_cast<std::ptrdiff_t>(at), old.end(),
                      change.bytes.begin() + static_cast<std::ptrdiff_t>(at));
        } else if (kind == 2) {
            std::copy(old.begin(), old.begin() + static_cast<std::ptrdiff_t>(at),
                      change.bytes.begin());
        } else {
            change.bytes[at] = static_cast<char>(change.bytes[at] ^ (1 << random.below(8)));
        }
        apply(change, bytes);
    }

    void change(const std::string& name, Change change) {
        auto found = names_.find(name);
        if (found == names_.end()) {
            found = names_.emplace(name, files_.size()).first;
            files_.push_back({});
            name_changed();
        }
        File& file = files_[found->second];
        apply(change, file.bytes);
        file.changes.push_back(std::move(change));
        note();
    }

    void name_changed() {
        unsynced_names_.push_back(names_);
        note();
    }

    void note() {
        if (!recording_) return;
        std::vector<MemoryDisk> moments = std::exchange(moments_, {});
        recording_ = false;
        moments.push_back(*this);
        recording_ = true;
        moments_ = std::move(moments);
    }

    using Names = std::map<std::string, std::size_t>;

    std::vector<File> files_;
    Names names_;
    Names durable_names_;
    std::vector<Names> unsynced_names_;  // After each change since the last sync_directory.
    bool failing_ = false;
    bool recording_ = false;
    std::vector<MemoryDisk> moments_;
};

}  // namespace little_raft::testing
