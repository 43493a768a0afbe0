// What is replicated: keys, values, and when they expire; and what changes them.
#ifndef KV_STORE_HPP
#define KV_STORE_HPP

#include <tsl/robin_map.h>

#include <algorithm>
#include <array>
#include <boost/container/string.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "packed.hpp"
#include "resp.hpp"

namespace kv {

// ===== Slots =====================================================================================

/// Of Redis Cluster.
inline constexpr std::size_t slot_count = 16384;

/// CRC-16/XMODEM, by which Redis Cluster spreads keys.
inline std::uint16_t crc16(std::string_view bytes) {
    static constexpr auto table = [] {
        std::array<std::uint16_t, 256> result{};
        for (unsigned i = 0; i < 256; ++i) {
            unsigned crc = i << 8;
            for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ ((crc & 0x8000) ? 0x1021 : 0);
            result[i] = static_cast<std::uint16_t>(crc);
        }
        return result;
    }();
    unsigned crc = 0;
    for (char c : bytes)
        crc = (crc << 8) ^ table[((crc >> 8) ^ static_cast<unsigned char>(c)) & 0xff];
    return static_cast<std::uint16_t>(crc);
}

/// The slot that Redis Cluster's clients believe a key to be in: where a part of it is in braces,
/// that part decides.
inline std::size_t cluster_slot(std::string_view key) {
    std::size_t open = key.find('{');
    std::size_t close = open == key.npos ? key.npos : key.find('}', open + 1);
    if (close != key.npos && close > open + 1) key = key.substr(open + 1, close - open - 1);
    return crc16(key) % slot_count;
}

// ===== Commands ==================================================================================

/// Names a command: the process that proposed it, by a number drawn when it started, and its place
/// among those. So no replica takes another's command, or one of its last run, for its own.
struct CommandId {
    std::uint64_t process = 0;
    std::uint64_t number = 0;
    friend bool operator==(const CommandId&, const CommandId&) = default;
};

/// A write as the log holds it. The library copies commands freely, for each follower and for the
/// disk; what they say is shared, so a copy costs the count of a reference.
struct Command {
    CommandId id;
    std::shared_ptr<const std::string> body;

    CommandId get_id() const { return id; }
    std::uint64_t get_size() const { return sizeof(std::string) + 32 + body->size(); }
};

/// What a command says: the words of a request, and when it is, by the clock of the leader that
/// took it, in milliseconds since 1970. Without words it only tells the time.
inline std::string pack_command(std::uint64_t time, const Words& words) {
    std::string body;
    std::size_t size = 16;
    for (std::string_view word : words) size += word.size() + 5;
    body.reserve(size);
    Writer writer(body);
    writer.number(time);
    for (std::string_view word : words) writer.bytes(word);
    return body;
}

/// The other way; nothing if no pack_command wrote it. The words are views into the body.
inline std::optional<std::uint64_t> unpack_command(std::string_view body, Words& words) {
    Reader reader(body);
    std::uint64_t time = reader.number();
    words.clear();
    while (reader.remaining() > 0) words.push_back(reader.bytes());
    return reader.complete() ? std::optional(time) : std::nullopt;
}

// ===== Store =====================================================================================

/// The keys. It has a clock of its own, which moves only by what commands say, so that all replicas
/// see a key expire at the same place in the log, and reads on any of them agree.
///
/// Keys are kept by slots, each a small hash table. So no table is ever so large that to grow it
/// would hold up the replica, and SCAN has a cursor that means the same on all replicas. There are
/// as many as fit the processor's cache.
class Store {
 public:
    /// Up to 23 bytes lie in it: a std::string of g++ holds 15, and is larger by a third.
    using Text = boost::container::string;
    static std::string_view view(const Text& text) { return {text.data(), text.size()}; }

    struct Value {
        Text text;
        std::uint64_t expires = 0;  ///< In milliseconds since 1970; 0: never.
    };

    /// By this store's clock, in milliseconds since 1970.
    std::uint64_t time() const { return time_; }
    std::size_t size() const { return size_; }
    /// How many keys will expire.
    std::size_t expiring() const { return expiries_.size(); }
    /// An estimate of the memory that keys and values take.
    std::uint64_t used_bytes() const { return used_bytes_; }

    /// When the next key expires, if any does.
    std::optional<std::uint64_t> next_expiry() const {
        if (expiries_.empty()) return std::nullopt;
        return expiries_.begin()->first;
    }

    /// Moves the clock, never back, and drops what has expired by then.
    void advance(std::uint64_t time) {
        if (time > time_) time_ = time;
        while (!expiries_.empty() && expiries_.begin()->first <= time_)
            erase(std::string(expiries_.begin()->second));
    }

    /// Nothing if there is no such key. Valid until the next change.
    const Value* find(std::string_view key) const {
        const Slot& slot = slots_[crc16(key) % slots];
        auto found = slot.find(key);
        return found == slot.end() ? nullptr : &found.value();
    }

    void set(std::string_view key, std::string_view text, std::uint64_t expires) {
        Value& value = value_of(key);
        used_bytes_ += text.size() - value.text.size();
        value.text = Text(text.data(), text.size());
        expire(key, value, expires);
    }

    /// Returns how long the value is then. A key that there was not has no expiry.
    std::size_t append(std::string_view key, std::string_view text) {
        Value& value = value_of(key);
        used_bytes_ += text.size();
        value.text.append(text.data(), text.size());
        return value.text.size();
    }

    /// False if there is no such key. 0: it no longer expires.
    bool set_expiry(std::string_view key, std::uint64_t expires) {
        Slot& slot = slots_[crc16(key) % slots];
        auto found = slot.find(key);
        if (found == slot.end()) return false;
        expire(key, found.value(), expires);
        return true;
    }

    bool erase(std::string_view key) {
        Slot& slot = slots_[crc16(key) % slots];
        auto found = slot.find(key);
        if (found == slot.end()) return false;
        expire(key, found.value(), 0);
        used_bytes_ -= overhead + key.size() + found->second.text.size();
        --size_;
        slot.erase(found);
        return true;
    }

    /// Of all that ever were members of the cluster. They are here since all replicas have to agree
    /// on them, too; to clear the keys leaves them.
    void use_id(std::uint64_t replica) { used_ids_.insert(replica); }
    bool is_used(std::uint64_t replica) const { return used_ids_.contains(replica); }

    void clear() {
        expiries_.clear();
        for (Slot& slot : slots_) slot = {};
        size_ = 0;
        used_bytes_ = 0;
    }

    /// Shows the keys of whole slots, from slot `cursor` on, until at least `count` were seen.
    /// Returns where to go on, 0 at the end. A slot is seen at once, so whatever is there all the
    /// while is shown, whatever else comes and goes.
    std::size_t scan(std::size_t cursor, std::size_t count, auto show) const {
        std::size_t seen = 0;
        while (cursor < slots && seen < count)
            for (const auto& [key, value] : slots_[cursor++]) {
                show(view(key));
                ++seen;
            }
        return cursor < slots ? cursor : 0;
    }

    /// The whole state as bytes: a snapshot.
    std::string save() const {
        std::string out;
        out.reserve(used_bytes_);
        Writer writer(out);
        writer.number(time_).number(used_ids_.size());
        for (std::uint64_t replica : used_ids_) writer.number(replica);
        writer.number(size_);
        for (const Slot& slot : slots_)
            for (const auto& [key, value] : slot)
                writer.bytes(view(key)).bytes(view(value.text)).number(value.expires);
        return out;
    }

    /// Replaces the state by one that was saved. False, and an empty store, if these bytes are
    /// none.
    bool load(std::string_view saved) {
        *this = {};
        Reader reader(saved);
        time_ = reader.number();
        std::uint64_t ids = reader.number();
        for (; ids > 0 && !reader.failed(); --ids) use_id(reader.number());
        std::uint64_t count = reader.number();
        // Growing bit by bit would take half of the time. A key has five bytes at least.
        for (Slot& slot : slots_) slot.reserve(std::min(count, reader.remaining() / 5) / slots);
        for (; count > 0 && !reader.failed(); --count) {
            std::string_view key = reader.bytes();
            std::string_view text = reader.bytes();
            std::uint64_t expires = reader.number();
            if (!reader.failed()) set(key, text, expires);
        }
        if (reader.complete()) return true;
        *this = {};
        return false;
    }

 private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view key) const {
            return std::hash<std::string_view>()(key);
        }
        std::size_t operator()(const Text& key) const { return (*this)(view(key)); }
    };
    struct Equal {
        using is_transparent = void;
        bool operator()(const Text& key, const Text& other) const { return key == other; }
        bool operator()(const Text& key, std::string_view other) const {
            return view(key) == other;
        }
    };
    // Keys and values lie in the table itself, so to find one takes a miss of the processor's cache
    // or two, where a table of nodes takes four. A change may move all that is in its slot.
    struct Slot : tsl::robin_map<Text, Value, Hash, Equal, std::allocator<std::pair<Text, Value>>,
                                 /*StoreHash=*/true> {
        Slot() { max_load_factor(0.8F); }  // No slower here than half, and a quarter less memory.
    };
    static constexpr std::size_t slots = 4096;
    static constexpr std::uint64_t overhead = 140;  // Of a key, about, here and in expiries_.

    /// Made, and empty, if there is none.
    Value& value_of(std::string_view key) {
        Slot& slot = slots_[crc16(key) % slots];
        auto found = slot.find(key);
        if (found == slot.end()) {
            found = slot.emplace(Text(key.data(), key.size()), Value{}).first;
            ++size_;
            used_bytes_ += overhead + key.size();
        }
        return found.value();
    }

    void expire(std::string_view key, Value& value, std::uint64_t expires) {
        if (value.expires != 0) {
            expiries_.erase({value.expires, std::string(key)});
            used_bytes_ -= overhead + key.size();
        }
        value.expires = expires;
        if (expires == 0) return;
        expiries_.emplace(expires, key);
        used_bytes_ += overhead + key.size();
    }

    std::vector<Slot> slots_ = std::vector<Slot>(slots);
    std::set<std::pair<std::uint64_t, std::string>> expiries_;
    std::set<std::uint64_t> used_ids_;
    std::uint64_t time_ = 0;
    std::size_t size_ = 0;
    std::uint64_t used_bytes_ = 0;
};

}  // namespace kv

#endif  // KV_STORE_HPP
