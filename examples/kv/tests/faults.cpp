#include "faults.hpp"

#include <doctest/doctest.h>

namespace kv_tests {

namespace {

std::size_t draw(std::mt19937_64& random, std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random);
}

/// Starts again whatever does not run.
void restart_all(Cluster& cluster) {
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        if (!cluster.process(i).is_running()) cluster.start(i);
    }
}

}  // namespace

std::vector<Fault> process_faults(Cluster& cluster, std::mt19937_64& random) {
    auto leader = [&cluster] { return cluster.wait_for_leader(); };
    auto any = [&cluster, &random] { return draw(random, cluster.size()); };
    auto kill = [&cluster](std::size_t i) {
        // It must still have been there: a replica that ends by itself is a mistake.
        REQUIRE_MESSAGE(cluster.process(i).is_running(), "replica ", i + 1, " has ended",
                        cluster.logs());
        cluster.process(i).kill_now();
    };
    auto restart = [&cluster] { restart_all(cluster); };
    auto paused = std::make_shared<std::size_t>(0);
    auto pause = [&cluster, paused](std::size_t i) {
        *paused = i;
        cluster.process(i).signal(SIGSTOP);
    };
    auto resume = [&cluster, paused] { cluster.process(*paused).signal(SIGCONT); };
    auto kill_all = [&cluster, kill] {
        for (std::size_t i = 0; i < cluster.size(); ++i) kill(i);
    };
    auto transfer = [&cluster, &random, leader] {
        std::size_t from = leader();
        std::size_t to = (from + 1 + draw(random, cluster.size() - 1)) % cluster.size();
        Client(cluster.client_address(from)).call({"RAFT", "TRANSFER", std::to_string(to + 1)});
    };
    return {{"kill -9 of the leader", [=] { kill(leader()); }, restart, 2s, 3},
            {"kill -9 of any replica", [=] { kill(any()); }, restart, 2s, 2},
            {"kill -9 of all replicas", kill_all, restart, 1s, 1},
            {"the leader stopped in its tracks", [=] { pause(leader()); }, resume, 3s, 1},
            {"any replica stopped in its tracks", [=] { pause(any()); }, resume, 3s, 1},
            {"leadership transferred", transfer, [] {}, 0ms, 2}};
}

namespace {

/// The links between replicas, which are nodes from 1 on. Node 0, the clients, is never cut off: so
/// they see what both sides of a partition answer.
struct Links {
    Wire& wire;
    std::size_t replicas;

    void set(std::size_t from, std::size_t to, const Link& link) const {
        wire.set(from + 1, to + 1, link);
    }
    void set_all(const Link& link) const {
        for (std::size_t i = 0; i < replicas; ++i) set_from_and_to(i, link, link);
    }
    void set_from_and_to(std::size_t i, const Link& out, const Link& in) const {
        for (std::size_t j = 0; j < replicas; ++j) {
            if (j == i) continue;
            set(i, j, out);
            set(j, i, in);
        }
    }
};

}  // namespace

std::vector<Fault> network_faults(Cluster& cluster, Wire& wire, std::mt19937_64& random) {
    Links links{wire, cluster.size()};
    Link cut{.cut = true}, whole, slow{false, 20ms, 80ms, 0}, lossy{false, 0ms, 10ms, 0.1};
    auto leader = [&cluster] { return cluster.wait_for_leader(); };
    auto any = [&cluster, &random] { return draw(random, cluster.size()); };
    auto cut_one_way = [=, &random] {
        std::size_t from = any(),
                    to = (from + 1 + draw(random, links.replicas - 1)) % links.replicas;
        links.set(from, to, cut);
    };
    auto heal = [&wire] { wire.heal(); };
    auto leader_is = [=](const Link& out, const Link& in) {
        return [=] { links.set_from_and_to(leader(), out, in); };
    };
    auto any_is = [=](const Link& out, const Link& in) {
        return [=] { links.set_from_and_to(any(), out, in); };
    };
    auto all_are = [=](const Link& link) { return [=] { links.set_all(link); }; };
    return {{"the leader cut off both ways", leader_is(cut, cut), heal, 4s, 2},
            {"the leader heard by none, hearing all", leader_is(cut, whole), heal, 4s, 2},
            {"the leader hearing none, heard by all", leader_is(whole, cut), heal, 4s, 2},
            {"any replica cut off both ways", any_is(cut, cut), heal, 4s, 1},
            {"any replica heard by none", any_is(cut, whole), heal, 4s, 1},
            {"one link cut one way", cut_one_way, heal, 4s, 1},
            {"all replicas apart", all_are(cut), heal, 3s, 1},
            {"slow links", all_are(slow), heal, 3s, 1},
            {"links that lose packets", all_are(lossy), heal, 3s, 1}};
}

namespace {

/// Snapshots and writes of which nobody knows the outcome come often here.
const std::vector<std::string> by_index{"--snapshot-every", "500", "--write-timeout", "400"};
/// A process that is stopped in its tracks breaks what a lease takes for granted, so this is for
/// faults of the network.
const std::vector<std::string> by_lease{"--lease-drift",   "100", "--snapshot-every", "500",
                                        "--write-timeout", "400"};

void run_partitions(const std::vector<std::string>& arguments) {
    enter_own_namespaces();
    Wire wire(3, settings.seed);
    Cluster cluster({.wire = &wire, .arguments = arguments});
    cluster.wait_for_leader();
    std::mt19937_64 random(settings.seed);
    Workload workload(cluster, settings.seed);
    Nemesis(cluster, workload, network_faults(cluster, wire, random), settings.seed)
        .run(settings.length);
    workload.finish_and_check();
    MESSAGE(wire.carried(), " packets carried, ", wire.dropped(), " dropped");
}

}  // namespace

TEST_CASE("kills") {
    Cluster cluster({.arguments = by_index});
    cluster.wait_for_leader();
    std::mt19937_64 random(settings.seed);
    Workload workload(cluster, settings.seed);
    Nemesis(cluster, workload, process_faults(cluster, random), settings.seed).run(settings.length);
    workload.finish_and_check();
}

TEST_CASE("partitions") { run_partitions(by_index); }

TEST_CASE("partitions_lease") { run_partitions(by_lease); }

namespace {

/// The links between replicas in one random state after the other, for as long as it lives; half of
/// the time they are as they should be.
class RestlessLinks {
 public:
    RestlessLinks(Wire& wire, std::size_t replicas, std::uint64_t seed)
        : thread_([this, &wire, replicas, seed] {
              std::mt19937_64 random(seed);
              while (!stop_) {
                  if (random() % 2 == 0) disturb(wire, replicas, random);
                  std::this_thread::sleep_for(Milliseconds(100 + random() % 1'000));
                  wire.heal();
                  ++changes_;
              }
          }) {}
    ~RestlessLinks() {
        stop_ = true;
        thread_.join();
    }
    std::uint64_t changes() const { return changes_; }

 private:
    static void disturb(Wire& wire, std::size_t replicas, std::mt19937_64& random) {
        for (std::size_t from = 1; from <= replicas; ++from) {
            for (std::size_t to = 1; to <= replicas; ++to) {
                Link link;
                link.cut = random() % 3 == 0;
                link.delay_max = Milliseconds(random() % 100);
                link.loss = random() % 4 == 0 ? 0.05 : 0;
                if (from != to) wire.set(from, to, link);
            }
        }
    }

    std::atomic<bool> stop_ = false;
    std::atomic<std::uint64_t> changes_ = 0;
    std::thread thread_;
};

}  // namespace

TEST_CASE("chaos") {
    enter_own_namespaces();
    Wire wire(3, settings.seed);
    Cluster cluster({.wire = &wire, .arguments = by_index});
    cluster.wait_for_leader();
    std::mt19937_64 random(settings.seed);
    Workload workload(cluster, settings.seed);
    {
        RestlessLinks links(wire, cluster.size(), settings.seed);
        Nemesis(cluster, workload, process_faults(cluster, random), settings.seed)
            .run(settings.length);
        MESSAGE("meanwhile the links between replicas changed ", links.changes(), " times");
    }
    workload.finish_and_check();
}

namespace {

/// To how many replicas this one has a connection of its own, itself included.
std::size_t connections_of(Cluster& cluster, std::size_t replica) {
    std::string info = Client(cluster.client_address(replica), 1s).call({"INFO", "raft"}).text;
    std::size_t count = 0;
    for (std::size_t at = 0; (at = info.find("connected=yes", at)) != info.npos; ++at) ++count;
    return count;
}

/// How many connections from others it has open.
std::size_t accepted_by(Cluster& cluster, std::size_t replica) {
    std::string pid = std::to_string(cluster.process(replica).pid());
    std::istringstream lines(read_file("/proc/" + pid + "/net/tcp"));
    char port[8];
    std::snprintf(port, sizeof port, ":%04X",
                  static_cast<unsigned>(cluster.peer_address(replica).port));
    std::size_t count = 0;
    for (std::string number, local, remote, state, rest;
         lines >> number >> local >> remote >> state;) {
        std::getline(lines, rest);
        constexpr const char* established = "01";
        count += local.ends_with(port) && state == established ? 1 : 0;
    }
    return count;
}

}  // namespace

TEST_CASE("half_open") {
    enter_own_namespaces();
    Wire wire(3, settings.seed);
    Cluster cluster({.wire = &wire});
    cluster.wait_for_leader();
    constexpr std::size_t away = 2, itself = 1, others = 2;
    Links links{wire, cluster.size()};
    auto is_connected_to = [&](std::size_t count) {
        return wait_until([&] { return connections_of(cluster, away) == count; });
    };
    // Its connections end without a word to the others: it gives them up while it is cut off.
    for (int round = 0; round < 3; ++round) {
        REQUIRE_MESSAGE(is_connected_to(itself + others), cluster.logs());
        links.set_from_and_to(away, {.cut = true}, {.cut = true});
        REQUIRE_MESSAGE(is_connected_to(itself), cluster.logs());
        wire.heal();
    }
    REQUIRE_MESSAGE(is_connected_to(itself + others), cluster.logs());
    // One connection comes from each of the others; what is left of those before is cleared away.
    for (std::size_t i = 0; i < away; ++i) {
        CHECK_MESSAGE(wait_until([&] { return accepted_by(cluster, i) <= others; }), "replica ",
                      i + 1, " still holds ", accepted_by(cluster, i),
                      " connections from two others");
    }
}

}  // namespace kv_tests
