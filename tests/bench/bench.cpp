// The benchmarks, each beside the limit in the same run, and the table of them. See README.md.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <functional>

#include "cluster.hpp"
#include "limit.hpp"

namespace bench {
namespace {

double seconds(const auto& work) {
    auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Bytes that are allocated now. What was freed goes back to the system, so that nobody is measured
/// on memory that another has brought in.
double allocated() {
    malloc_trim(0);
    struct mallinfo2 info = mallinfo2();
    return static_cast<double>(info.uordblks + info.hblkhd);
}

/// One run of a workload and of its limit, for each transition.
struct Pair {
    double ours = 0;
    double limit = 0;
    double messages = 0;
    double memory = 0;  ///< Ours at the end, in times of the limit's.
};

/// Batches of transitions on so many replicas, and the same data moved only.
template <class T, class Log>
Pair replication(std::size_t replicas, std::uint64_t count, std::uint64_t batch,
                 const auto& payload_of) {
    Pair pair;
    auto n = static_cast<double>(count);
    double before = allocated();
    {
        Cluster<T> cluster(replicas);
        pair.ours = seconds(
            [&] { pair.messages = static_cast<double>(replicate(cluster, count, batch)) / n; });
        pair.memory = allocated() - before;
    }
    before = allocated();
    std::vector<Log> logs(replicas);
    pair.limit = seconds([&] { move_only(logs, count, batch, payload_of); });
    pair.memory /= allocated() - before;
    pair.ours /= n;
    pair.limit /= n;
    return pair;
}

/// The limit takes a payload of 16 bytes from where it lies, without a string for each.
class SmallLog : public ChunkLog {
 public:
    void append(std::uint64_t number) {
        std::array<std::uint64_t, 2> bytes{number, 0};
        ChunkLog::append(reinterpret_cast<const char*>(bytes.data()), sizeof bytes);
    }
};

Pair small(std::size_t replicas, std::uint64_t count, std::uint64_t batch) {
    return replication<Small, SmallLog>(replicas, count, batch, [](std::uint64_t i) { return i; });
}

Pair owned() { return replication<Owned, HeapLog<std::string>>(3, 200'000, 64, kibibyte); }

Pair shared() {
    return replication<Shared, HeapLog<std::shared_ptr<const std::string>>>(
        3, 200'000, 64,
        [](std::uint64_t i) { return std::make_shared<const std::string>(kibibyte(i)); });
}

/// A follower that missed all catches up.
Pair missed_all() {
    constexpr std::uint64_t count = 1'000'000;
    auto n = static_cast<double>(count);
    Pair pair;
    {
        Cluster<Small> cluster(3);
        std::size_t late = (cluster.leader() + 1) % 3;
        cluster.cut_off(late, true);
        replicate(cluster, count, 100);
        std::uint64_t before = cluster.messages();
        malloc_trim(0);
        pair.ours = seconds([&] { bench::catch_up(cluster, late); });
        pair.messages = static_cast<double>(cluster.messages() - before) / n;
    }
    SmallLog log, copy;
    for (std::uint64_t i = 0; i < count; ++i) log.append(i);
    malloc_trim(0);
    pair.limit = seconds([&] {
        for (std::uint64_t i = 0; i < count; ++i) {
            copy.copy(log, i);
            if (i % 1024 == 1023) copy.apply();
        }
        copy.apply();
    });
    pair.ours /= n;
    pair.limit /= n;
    return pair;
}

/// Reads in batches of 100, beside a machine that is given them directly: nobody has to know
/// whether it may answer.
Pair reads(bool lease, bool on_follower) {
    constexpr std::uint64_t count = 1'000'000, batch = 100;
    auto n = static_cast<double>(count);
    Pair pair;
    auto options = Cluster<Small, ReadMachine>::no_snapshots();
    if (lease) options.lease_reads = 100ms;
    Cluster<Small, ReadMachine> cluster(3, options);
    std::size_t reader = (cluster.leader() + (on_follower ? 1 : 0)) % 3;
    pair.ours = seconds(
        [&] { pair.messages = static_cast<double>(read_all(cluster, reader, count, batch)) / n; });
    ReadMachine direct;
    pair.limit = seconds([&] {
        for (std::uint64_t i = 0; i < count;) {
            for (std::uint64_t end = i + batch; i < end; ++i) direct.reads.push_back(i);
            for (std::uint64_t read : direct.get_pending_reads()) direct.apply_read(read);
        }
    });
    require(direct.answered.count == cluster.answered(reader).count, "a read is missing");
    pair.ours /= n;
    pair.limit /= n;
    return pair;
}

/// What is measured, and what is wanted of it, in times of the limit; 0: nothing.
struct Workload {
    const char* name;
    const char* what;
    std::function<Pair()> run;
    double wanted;
};

const std::vector<Workload>& workloads() {
    static const std::vector<Workload> all{
        {"A", "3 replicas, 16 bytes, batches of 100", [] { return small(3, 1'000'000, 100); }, 1.7},
        {"B", "3 replicas, 16 bytes, one at a time", [] { return small(3, 200'000, 1); }, 3.4},
        {"C owned", "3 replicas, 1 KiB each its own, batches of 64", owned, 1.15},
        {"C shared", "3 replicas, 1 KiB for all, batches of 64", shared, 0},
        {"D", "5 replicas, 16 bytes, batches of 100", [] { return small(5, 1'000'000, 100); }, 1.7},
        {"E", "a follower catches up with 1,000,000 of 16 bytes", missed_all, 1.6},
        {"F round", "reads on the leader, batches of 100", [] { return reads(false, false); }, 0},
        {"F lease", "the same by lease", [] { return reads(true, false); }, 0},
        {"F follower", "reads on a follower, batches of 100", [] { return reads(false, true); }, 0},
        {"A 10^5", "A with a log of 100,000", [] { return small(3, 100'000, 100); }, 0},
        {"A 10^7", "A with a log of 10,000,000", [] { return small(3, 10'000'000, 100); }, 0},
        {"A 51", "A with 51 replicas, 50,000", [] { return small(51, 50'000, 100); }, 0},
    };
    return all;
}

/// 1,000 groups of 3 replicas in one thread, each polled when its deadline has come or it has mail.
class Groups {
 public:
    Groups() {
        double before = allocated();
        for (std::size_t i = 0; i < size; ++i)
            groups_.push_back(std::make_unique<Cluster<Small>>(3));
        bytes_a_group = (allocated() - before) / size;
    }
    /// One second of their time, in steps of a millisecond; one group in a hundred has a transition
    /// in each step.
    void live(bool active) {
        for (int step = 0; step < 1000; ++step) {
            for (std::size_t i = 0; i < size; ++i) {
                if (active && i % 100 == 0) groups_[i]->propose(number_, number_ + 1);
                if (active && i % 100 == 0) ++number_;
                groups_[i]->pass(1ms);
            }
        }
    }
    static constexpr std::size_t size = 1000;
    double bytes_a_group = 0;

 private:
    std::vector<std::unique_ptr<Cluster<Small>>> groups_;
    std::uint64_t number_ = 0;
};

void many_groups(benchmark::State& state) {
    Groups groups;
    for (auto _ : state) groups.live(state.range(0) != 0);
    state.counters["s_a_group_second"] = benchmark::Counter(
        static_cast<double>(Groups::size),
        benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    state.counters["bytes_a_group"] = groups.bytes_a_group;
}

void idle_poll(benchmark::State& state) {
    Cluster<Small> cluster(3);
    for (auto _ : state) cluster.poll_idle();
}

void measure(benchmark::State& state, const Workload& workload) {
    for (auto _ : state) {
        Pair pair = workload.run();
        state.SetIterationTime(pair.ours);
        state.counters["limit"] = pair.limit;
        state.counters["ratio"] = pair.ours / pair.limit;
        state.counters["messages"] = pair.messages;
        state.counters["memory"] = pair.memory;
    }
}

/// A row for each workload, of the medians.
class Table : public benchmark::BenchmarkReporter {
 public:
    bool ReportContext(const Context&) override {
        std::printf("%-10s %-50s %9s %9s %7s %7s %9s %7s\n", "workload", "what", "ours ns",
                    "limit ns", "ratio", "wanted", "messages", "memory");
        return true;
    }
    void ReportRuns(const std::vector<Run>& runs) override {
        for (const Run& run : runs) {
            if (run.run_type == Run::RT_Aggregate && run.aggregate_name == "median") row(run);
        }
        std::fflush(stdout);
    }

 private:
    static double counter(const Run& run, const char* name) {
        auto found = run.counters.find(name);
        return found == run.counters.end() ? 0 : found->second.value;
    }
    static void row(const Run& run) {
        std::string name = run.run_name.function_name;
        for (const Workload& workload : workloads()) {
            if (name != workload.name) continue;
            std::printf("%-10s %-50s %9.1f %9.1f %7.2f", workload.name, workload.what,
                        run.GetAdjustedRealTime(), 1e9 * counter(run, "limit"),
                        counter(run, "ratio"));
            if (workload.wanted > 0)
                std::printf(" %7.2f", workload.wanted);
            else
                std::printf(" %7s", "-");
            std::printf(" %9.3f %7.2f\n", counter(run, "messages"), counter(run, "memory"));
            return;
        }
        if (run.counters.contains("bytes_a_group"))
            std::printf("%-61s %.1f us a group and second, %.0f bytes a group\n", name.c_str(),
                        1e6 * counter(run, "s_a_group_second"), counter(run, "bytes_a_group"));
        else
            std::printf("%-61s %.1f ns\n", name.c_str(), run.GetAdjustedRealTime());
    }
};

}  // namespace
}  // namespace bench

int main(int count, char** arguments) {
    using namespace bench;
    for (const Workload& workload : workloads()) {
        benchmark::RegisterBenchmark(workload.name, measure, workload)
            ->UseManualTime()
            ->Iterations(1)
            ->Repetitions(5);
    }
    benchmark::RegisterBenchmark("G idle: 1,000 groups of 3 in one thread", many_groups)
        ->Arg(0)
        ->Unit(benchmark::kMillisecond)
        ->Repetitions(5);
    benchmark::RegisterBenchmark("G: the same, one in a hundred with 1,000 transitions a second",
                                 many_groups)
        ->Arg(1)
        ->Unit(benchmark::kMillisecond)
        ->Repetitions(5);
    benchmark::RegisterBenchmark("idle poll", idle_poll)->Repetitions(5);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);  // Set, it stays there, whatever is freed.
    benchmark::Initialize(&count, arguments);
    if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
    Table table;
    benchmark::RunSpecifiedBenchmarks(&table);
    return 0;
}
