// What the steady path allocates: the entries' own storage, and one vector for each message that
// has entries. Nothing else.
#include <doctest/doctest.h>

#include <cstdlib>
#include <new>

#include "bench/cluster.hpp"

namespace {
std::uint64_t allocations = 0;
}

// Not inline: g++ would see new and free meet.
[[gnu::noinline]] void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size)) return memory;
    std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

/// How often so many batches allocate, once everything has the size that it needs.
std::uint64_t allocations_of(std::size_t replicas, std::uint64_t batches, std::uint64_t batch) {
    bench::Cluster<bench::Small> cluster(replicas);
    bench::replicate(cluster, 100 * batch, batch);
    std::uint64_t before = allocations;
    for (std::uint64_t i = 100; i < 100 + batches; ++i) {
        cluster.propose(i * batch, (i + 1) * batch);
        cluster.settle();
    }
    std::uint64_t after = allocations;
    REQUIRE(cluster.all_applied((100 + batches) * batch));
    return after - before;
}

}  // namespace

TEST_CASE("the steady path allocates the log, and a vector for each message with entries") {
    for (std::size_t replicas : {1U, 3U, 5U}) {
        for (std::uint64_t batch : {1U, 100U}) {
            CAPTURE(replicas);
            CAPTURE(batch);
            constexpr std::uint64_t batches = 1000;
            std::uint64_t counted = allocations_of(replicas, batches, batch);
            // Chunks of 256 entries, and the list of them, which doubles.
            std::uint64_t chunks = replicas * (batches * batch / 256 + 1);
            std::uint64_t lists = replicas * 10;
            std::uint64_t messages = (replicas - 1) * batches;
            CHECK(counted >= messages);
            CHECK(counted <= messages + chunks + lists);
        }
    }
}

TEST_CASE("a poll that has nothing to do allocates nothing") {
    bench::Cluster<bench::Small> cluster(3);
    bench::replicate(cluster, 1000, 10);
    std::uint64_t before = allocations;
    for (int i = 0; i < 1000; ++i) cluster.poll_idle();
    CHECK(allocations == before);
}
