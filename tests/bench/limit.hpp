// The limit: what moving the data costs when nobody has to agree. Some number of append-only logs;
// the first is filled, the others are copied from it, and every entry is applied to each.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cluster.hpp"

namespace bench {

/// Payloads in chunks of 1 MiB, records in chunks of their own: nothing is ever moved.
class ChunkLog {
 public:
    void append(const char* bytes, std::uint32_t size) {
        if (left_ < size) {
            left_ = chunk_bytes;
            chunks_.push_back(std::unique_ptr<char[]>(new char[left_]));
            at_ = chunks_.back().get();
        }
        std::memcpy(at_, bytes, size);
        if (count_ % chunk_records == 0)
            records_.push_back(std::unique_ptr<Record[]>(new Record[chunk_records]));
        records_.back()[count_ % chunk_records] = {1, at_, size, 0};
        ++count_;
        at_ += size;
        left_ -= size;
    }
    void copy(const ChunkLog& other, std::uint64_t i) {
        const Record& record = other.record(i);
        append(record.bytes, record.size);
    }
    void apply() {
        for (; applied_ < count_; ++applied_) {
            std::uint64_t number = 0;
            std::memcpy(&number, record(applied_).bytes, sizeof number);
            sum.add(number, record(applied_).size);
        }
    }
    Sum sum;

 private:
    struct Record {
        std::uint64_t term;
        char* bytes;
        std::uint32_t size;
        std::uint32_t kind;
    };
    static constexpr std::uint32_t chunk_bytes = 1 << 20;
    static constexpr std::uint64_t chunk_records = 1 << 14;
    const Record& record(std::uint64_t i) const {
        return records_[i / chunk_records][i % chunk_records];
    }

    std::vector<std::unique_ptr<Record[]>> records_;
    std::vector<std::unique_ptr<char[]>> chunks_;
    std::uint32_t left_ = 0;
    char* at_ = nullptr;
    std::uint64_t count_ = 0;
    std::uint64_t applied_ = 0;
};

/// Each payload in memory of its own, or, as P says, in memory that all logs share.
template <class P>
class HeapLog {
 public:
    void append(P payload) { records_.push_back({1, std::move(payload)}); }
    void copy(const HeapLog& other, std::uint64_t i) { append(other.records_[i].payload); }
    void apply() {
        for (; applied_ < records_.size(); ++applied_) {
            const std::string& bytes = bytes_of(records_[applied_].payload);
            sum.add(number_of(bytes), bytes.size());
        }
    }
    Sum sum;

 private:
    struct Record {
        std::uint64_t term;
        P payload;
    };
    static const std::string& bytes_of(const std::string& payload) { return payload; }
    static const std::string& bytes_of(const std::shared_ptr<const std::string>& payload) {
        return *payload;
    }

    std::vector<Record> records_;
    std::uint64_t applied_ = 0;
};

/// Batch by batch: appended to the first, copied to the others, applied everywhere.
template <class Log>
void move_only(std::vector<Log>& logs, std::uint64_t count, std::uint64_t batch,
               const auto& payload_of) {
    for (std::uint64_t i = 0; i < count;) {
        std::uint64_t begin = i;
        std::uint64_t end = i + batch < count ? i + batch : count;
        for (; i < end; ++i) logs[0].append(payload_of(i));
        for (std::size_t follower = 1; follower < logs.size(); ++follower)
            for (std::uint64_t j = begin; j < end; ++j) logs[follower].copy(logs[0], j);
        for (Log& log : logs) log.apply();
    }
    for (const Log& log : logs)
        require(log.sum.count == count && log.sum == logs[0].sum, "a sum is wrong");
}

}  // namespace bench
