// What an operator and the clients rely on besides: handing over, expiry, scans, snapshots.
#include <doctest/doctest.h>

#include <set>

#include "faults.hpp"

namespace kv_tests {

namespace {

std::vector<std::string> items_of(const std::string& shown) {
    std::vector<std::string> items;
    std::istringstream in(shown);
    for (std::string item; std::getline(in, item, ',');) {
        std::erase_if(item, [](char c) { return c == ' ' || c == '[' || c == ']' || c == '$'; });
        if (!item.empty()) items.push_back(item);
    }
    return items;
}

/// The keys that a whole SCAN shows.
std::set<std::string> scan(Cluster& cluster, std::size_t replica, const std::string& pattern) {
    std::set<std::string> keys;
    std::string cursor = "0";
    for (int calls = 0; calls < 100'000; ++calls) {
        Reply reply = ask(cluster, replica, {"SCAN", cursor, "COUNT", "50", "MATCH", pattern});
        std::vector<std::string> items = items_of(reply.text);
        REQUIRE_MESSAGE(!items.empty(), reply.show());
        cursor = items.front();
        keys.insert(items.begin() + 1, items.end());
        if (cursor == "0") return keys;
    }
    FAIL("SCAN does not end");
    return keys;
}

}  // namespace

TEST_CASE("handover") {
    Cluster cluster({});
    cluster.wait_for_leader();
    Workload workload(cluster, settings.seed);
    REQUIRE(workload.writes_go_on());
    Milliseconds longest{0};
    constexpr int rounds = 5;
    for (int i = 0; i < rounds; ++i) {
        std::size_t leader = cluster.wait_for_leader();
        Clock::time_point begin = Clock::now();
        cluster.process(leader).signal(SIGTERM);
        std::optional<Ended> ended = cluster.process(leader).reap(patience);
        REQUIRE_MESSAGE(ended, "it does not stop", cluster.logs());
        CHECK_MESSAGE(ended->code == 0, "it ended with ", ended->text(), cluster.logs());
        REQUIRE(workload.writes_go_on());
        longest = (std::max)(longest, workload.longest_write_stop(begin));
        cluster.start(leader);
        REQUIRE(wait_until([&] {
            return Client(cluster.client_address(leader), 1s).call({"GET", "nothing"}).is("nil");
        }));
    }
    CHECK_MESSAGE(longest < 2 * election_timeout_max, "writes stopped for ", longest.count(),
                  " ms");
    workload.finish_and_check();
    MESSAGE(rounds, " leaders told to stop, longest stop of writes ", longest.count(), " ms");
}

TEST_CASE("expiry") {
    Cluster cluster({});
    constexpr int count = 100;
    constexpr Milliseconds life{3'000};
    // The clocks of all replicas are one here; this is for the corrections it may have meanwhile.
    constexpr Milliseconds tolerance{100};
    std::vector<Clock::time_point> written;
    for (int i = 0; i < count; ++i) {
        written.push_back(Clock::now());
        Reply reply = write(
            cluster, {"SET", "short" + std::to_string(i), "1", "PX", std::to_string(life.count())});
        REQUIRE_MESSAGE(reply.is("+OK"), reply.show());
    }
    REQUIRE(write(cluster, {"SET", "long", "1", "EX", "100000"}).is("+OK"));
    REQUIRE(write(cluster, {"SET", "ever", "1", "EX", "100000"}).is("+OK"));
    REQUIRE(write(cluster, {"PERSIST", "ever"}).is(":1"));
    // The next leader, and all of them anew, agree on what the first one decided.
    std::size_t first = cluster.wait_for_leader();
    cluster.process(first).kill_now();
    cluster.start(first);
    int seen_alive = 0;
    for (int i = 0; i < count; ++i) {
        std::size_t replica = static_cast<std::size_t>(i) % cluster.size();
        Reply reply = ask(cluster, replica, {"GET", "short" + std::to_string(i)});
        bool must_live = Clock::now() < written[static_cast<std::size_t>(i)] + life - tolerance;
        seen_alive += reply.is("$1") ? 1 : 0;
        CHECK_MESSAGE((reply.is("$1") || !must_live), "short", i,
                      " expired too early: ", reply.show());
    }
    cluster.kill_and_restart_all();
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        CHECK(wait_until([&] { return ask(cluster, i, {"DBSIZE"}).is(":2"); }));
        CHECK(ask(cluster, i, {"TTL", "short0"}).is(":-2"));
        CHECK(ask(cluster, i, {"TTL", "ever"}).is(":-1"));
        long left = std::stol(ask(cluster, i, {"TTL", "long"}).text.substr(1));
        CHECK_MESSAGE((left > 99'000 && left <= 100'000), left);
    }
    MESSAGE(count, " keys expired on all replicas; ", seen_alive,
            " were read before, over a killed leader");
}

TEST_CASE("scan") {
    Cluster cluster({});
    constexpr int count = 2'000;
    std::size_t leader = cluster.wait_for_leader();
    std::set<std::string> stable;
    std::vector<std::string> command{"MSET"};
    for (int i = 0; i < count; ++i) {
        stable.insert("stable" + std::to_string(i));
        command.insert(command.end(), {"stable" + std::to_string(i), "1"});
    }
    REQUIRE(write(cluster, command).is("+OK"));
    std::atomic<bool> stop = false;
    std::thread disturbs([&] {
        Client client(cluster.client_address(leader));
        for (int i = 0; !stop; ++i) {
            client.call({i % 3 == 2 ? "DEL" : "SET", "passing" + std::to_string(i % 5'000), "1"});
        }
    });
    for (std::size_t replica = 0; replica < cluster.size(); ++replica) {
        CHECK(scan(cluster, replica, "stable*") == stable);
        std::set<std::string> all = scan(cluster, replica, "*");
        CHECK(std::includes(all.begin(), all.end(), stable.begin(), stable.end()));
    }
    stop = true;
    disturbs.join();
}

TEST_CASE("snapshots") {
    Cluster cluster({.arguments = {"--snapshot-every", "200"}});
    std::size_t leader = cluster.wait_for_leader();
    std::size_t away = (leader + 1) % cluster.size();
    cluster.process(away).kill_now();
    // More than one chunk of a snapshot holds, and more entries than are kept.
    constexpr int count = 1'000;
    auto value = [](int i) { return std::to_string(i) + std::string(20'000, 'x'); };
    for (int i = 0; i < count; ++i) {
        Reply reply = write(cluster, {"SET", "key" + std::to_string(i), value(i)});
        REQUIRE_MESSAGE(reply.is("+OK"), reply.show());
    }
    cluster.start(away);
    auto read_all_from = [&](std::size_t replica) {
        for (int i = 0; i < count; ++i) {
            REQUIRE(ask(cluster, replica, {"GET", "key" + std::to_string(i)}).text ==
                    "$" + value(i));
        }
    };
    read_all_from(away);
    // From its own snapshot file and the rest of its log.
    cluster.kill_and_restart_all();
    for (std::size_t i = 0; i < cluster.size(); ++i) read_all_from(i);
}

}  // namespace kv_tests
