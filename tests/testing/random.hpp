// The kit's own random numbers: the distributions of <random> differ between standard libraries,
// and a seed must mean the same schedule everywhere.
#pragma once

#include <cstdint>

// It has a namespace `testing` within its inline one, which must be seen first.
#include "little_raft.hpp"

namespace little_raft::testing {

/// SplitMix64.
class Random {
 public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    /// One of 0 to bound - 1. Precondition: bound > 0.
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    /// True once in so many times.
    bool one_in(std::uint64_t times) { return below(times) == 0; }

 private:
    std::uint64_t state_;
};

/// A hash of two numbers, the same everywhere.
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    return Random(a * 0x9e3779b97f4a7c15 ^ (b + 0x2545f4914f6cdd1d)).next();
}

}  // namespace little_raft::testing
