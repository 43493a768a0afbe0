// What goes wrong, in an order that a seed decides, while clients work.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <iostream>

#include "history.hpp"

namespace kv_tests {

struct Fault {
    std::string name;
    std::function<void()> strike;  ///< Does harm,
    std::function<void()> heal;    ///< and undoes it.
    Milliseconds pause{0};         ///< At most so long a time lies between.
    unsigned weight = 1;           ///< How often it is chosen, beside the others.
};

class Nemesis {
 public:
    Nemesis(Cluster& cluster, Workload& workload, std::vector<Fault> faults, std::uint64_t seed)
        : cluster_(cluster), workload_(workload), faults_(std::move(faults)), random_(seed) {}

    /// Fault after fault; after each, writes must go on. Then tells what was done.
    void run(std::chrono::seconds length) {
        Clock::time_point end = Clock::now() + length;
        while (Clock::now() < end) {
            strike(choose());
            std::this_thread::sleep_for(Milliseconds(draw(500)));
        }
        for (const auto& [name, seen] : seen_) {
            MESSAGE(seen.times, " x ", name, ", longest stop of writes ", seen.longest_stop.count(),
                    " ms");
        }
    }

 private:
    struct Seen {
        std::size_t times = 0;
        Milliseconds longest_stop{0};
    };

    long draw(long most) { return std::uniform_int_distribution<long>(0, most)(random_); }

    const Fault& choose() {
        std::vector<double> weights;
        for (const Fault& fault : faults_) weights.push_back(fault.weight);
        return faults_[std::discrete_distribution<std::size_t>(weights.begin(),
                                                               weights.end())(random_)];
    }

    void strike(const Fault& fault) {
        Clock::time_point begin = Clock::now();
        if (settings.verbose) std::cerr << "    " << fault.name << "\n";
        fault.strike();
        std::this_thread::sleep_for(Milliseconds(draw(fault.pause.count())));
        fault.heal();
        REQUIRE_MESSAGE(workload_.writes_go_on(),
                        "no write is acknowledged any more after: ", fault.name, cluster_.logs());
        Seen& seen = seen_[fault.name];
        ++seen.times;
        seen.longest_stop = (std::max)(seen.longest_stop, workload_.longest_write_stop(begin));
    }

    Cluster& cluster_;
    Workload& workload_;
    std::vector<Fault> faults_;
    std::mt19937_64 random_;
    std::map<std::string, Seen> seen_;
};

/// One replica or several, killed with -9 and started again, or stopped in their tracks, or asked
/// to hand over.
std::vector<Fault> process_faults(Cluster& cluster, std::mt19937_64& random);

/// Links that fail: cut both ways or one, slow, or losing packets.
std::vector<Fault> network_faults(Cluster& cluster, Wire& wire, std::mt19937_64& random);

}  // namespace kv_tests
