// Disks that fail, fill, hang, and lose what was not synced.
#include <doctest/doctest.h>

#include "faults.hpp"

namespace kv_tests {

namespace {

/// Their files are written, too, while the disk breaks.
const std::vector<std::string> many_snapshots{"--snapshot-every", "50"};

/// A replica whose disk does not take what must be kept has ended by itself, and has said why.
void check_stopped_with_a_word(Cluster& cluster, std::size_t replica,
                               const std::vector<std::string>& causes) {
    std::optional<Ended> ended = cluster.process(replica).reap(patience);
    REQUIRE_MESSAGE(ended, "replica ", replica + 1, " goes on with a broken disk", cluster.logs());
    CHECK_MESSAGE(ended->code.value_or(0) == exit_code_of_fault, "replica ", replica + 1,
                  " ended with ", ended->text(), cluster.logs());
    std::string said = tail_of(cluster.log(replica));
    bool names_cause = std::ranges::any_of(
        causes, [&](const std::string& cause) { return said.find(cause) != said.npos; });
    CHECK_MESSAGE(names_cause, "it does not say what is wrong with the disk:\n", said);
}

/// Breaks a replica's disk under load, mends it when the replica has ended, and starts it again.
void break_and_mend(Cluster& cluster, Workload& workload, std::size_t replica,
                    const std::function<void()>& do_break, const std::function<void()>& mend,
                    const std::vector<std::string>& causes) {
    do_break();
    check_stopped_with_a_word(cluster, replica, causes);
    REQUIRE_MESSAGE(workload.writes_go_on(), "the others do not go on", cluster.logs());
    // It does not come back before its disk does.
    mend();
    cluster.start(replica);
    REQUIRE(workload.writes_go_on());
    bool answers = wait_until([&] {
        return Client(cluster.client_address(replica), 1s).call({"GET", "nothing"}).is("nil");
    });
    REQUIRE_MESSAGE(answers, "replica ", replica + 1, " does not come back", cluster.logs());
}

}  // namespace

TEST_CASE("power") {
    Cluster cluster({.arguments = many_snapshots, .broken_disks = true});
    cluster.wait_for_leader();
    std::mt19937_64 random(settings.seed);
    Workload workload(cluster, settings.seed);
    std::size_t undone = 0;
    auto lose = [&](std::size_t replica) {
        REQUIRE_MESSAGE(cluster.process(replica).is_running(), cluster.logs());
        cluster.process(replica).kill_now();
        // All that was not synced, or half of it.
        undone += cluster.disk(replica).lose_power(random() % 2 == 0 ? 0 : 0.5);
    };
    auto all = [&](auto&& use) {
        for (std::size_t i = 0; i < cluster.size(); ++i) use(i);
    };
    auto restart = [&] {
        all([&](std::size_t i) {
            if (!cluster.process(i).is_running()) cluster.start(i);
        });
    };
    auto lose_leader = [&] { lose(cluster.wait_for_leader()); };
    auto lose_any = [&] { lose(random() % cluster.size()); };
    auto lose_all = [&] { all(lose); };
    Nemesis(cluster, workload,
            {{"power lost at the leader", lose_leader, restart, 2s, 2},
             {"power lost at any replica", lose_any, restart, 2s, 1},
             {"power lost everywhere", lose_all, restart, 500ms, 3}},
            settings.seed)
        .run(settings.length);
    workload.finish_and_check();
    MESSAGE(undone, " writes to files that were not synced were taken back");
}

TEST_CASE("syncs") {
    Cluster cluster({.broken_disks = true});
    std::size_t leader = cluster.wait_for_leader();
    auto followers = [&](auto&& use) {
        for (std::size_t i = 0; i < cluster.size(); ++i) {
            if (i != leader) use(cluster.disk(i));
        }
    };
    Client client(cluster.client_address(leader), 2s);
    REQUIRE(client.call({"SET", "synced", "before"}).is("+OK"));
    followers([](BrokenDisk& disk) { disk.hang(); });
    // Only the leader can sync: whatever it answers, it is not that the write is done.
    Reply reply = client.call({"SET", "synced", "after"});
    CHECK_MESSAGE((was_refused(reply) || is_unknown(reply)),
                  "acknowledged before a majority had synced: ", reply.show());
    followers([](BrokenDisk& disk) { disk.mend(); });

    leader = cluster.wait_for_leader();
    cluster.disk(leader).hang();
    bool goes_on = wait_until([&] {
        for (std::size_t i = 0; i < cluster.size(); ++i) {
            if (Client(cluster.client_address(i), 1s).call({"SET", "synced", "again"}).is("+OK"))
                return true;
        }
        return false;
    });
    CHECK_MESSAGE(goes_on, "one disk that hangs stops all", cluster.logs());
    cluster.disk(leader).mend();
    CHECK(Client(cluster.client_address(cluster.wait_for_leader()))
              .call({"GET", "synced"})
              .is("$again"));
}

TEST_CASE("disk_fails") {
    Cluster cluster({.arguments = many_snapshots, .broken_disks = true});
    cluster.wait_for_leader();
    Workload workload(cluster, settings.seed);
    for (int round = 0; round < 3; ++round) {
        std::size_t leader = cluster.wait_for_leader();
        std::size_t replica = round == 1 ? (leader + 1) % cluster.size() : leader;
        BrokenDisk& disk = cluster.disk(replica);
        std::string directory = cluster.directory(replica).string();
        std::vector<std::string> causes{directory + ": Input/output error"};
        // A disk that fails as a whole may first be noticed by the log, as SQLite has it, by a
        // snapshot's file, or when that was renamed.
        if (round < 2) causes.insert(causes.end(), {"disk I/O error", "snapshot.new: Input"});
        break_and_mend(
            cluster, workload, replica, [&] { round < 2 ? disk.fail() : disk.fail_directories(); },
            [&] { disk.mend(); }, causes);
    }
    workload.finish_and_check();
}

TEST_CASE("disk_fills") {
    enter_own_namespaces();
    Wire wire(3, settings.seed);
    auto mount_small = [](Cluster& created) {
        for (std::size_t i = 0; i < created.size(); ++i) {
            // Sizes that no two of them reach at once.
            std::string size = "size=" + std::to_string(2 << (3 * i)) + "m";
            if (mount("tmpfs", created.directory(i).c_str(), "tmpfs", 0, size.c_str()) != 0) {
                throw Skip("cannot mount a tmpfs: " + std::string(strerror(errno)));
            }
        }
    };
    Cluster cluster({.wire = &wire, .arguments = many_snapshots, .prepare = mount_small});
    cluster.wait_for_leader();
    Workload workload(cluster, settings.seed);
    auto fill = [&] {
        // Under the keys of nobody else, and never the same bytes, until the smallest disk is full.
        std::string value(50'000, 'x');
        for (int i = 0; i < 2'000 && cluster.process(0).is_running(); ++i) {
            std::size_t leader = cluster.wait_for_leader();
            Client(cluster.client_address(leader)).call({"SET", "fill" + std::to_string(i), value});
        }
    };
    auto give_space = [&] {
        const char* target = cluster.directory(0).c_str();
        REQUIRE(mount("tmpfs", target, "tmpfs", MS_REMOUNT, "size=512m") == 0);
    };
    break_and_mend(cluster, workload, 0, fill, give_space, {"full", "No space left"});
    workload.finish_and_check();
}

namespace {

/// Keys that one replica must serve as they were written, or not at all.
struct Written {
    Cluster& cluster;
    std::size_t replica;
    static constexpr int count = 120;

    static std::string key(int i) { return "key" + std::to_string(i); }
    static std::string value(int i) { return std::to_string(i) + std::string(500, 'x'); }

    void write() const {
        Client client(cluster.client_address(cluster.wait_for_leader()));
        for (int i = 0; i < count; ++i) REQUIRE(client.call({"SET", key(i), value(i)}).is("+OK"));
    }

    /// False while it does not serve.
    bool is_served() const {
        Client client(cluster.client_address(replica), 2s);
        for (int i = 0; i < count; ++i) {
            Reply reply = client.call({"GET", key(i)});
            if (!reply.starts_with("$") && !reply.is("nil")) return false;
            CHECK_MESSAGE(reply.is("$" + value(i)), key(i), " is read as ", reply.show());
        }
        return true;
    }
};

/// Stops a replica, flips a bit in one of its files, and starts it. It must either serve all that
/// was written, since that bit meant nothing, or not start and say what is damaged. Whether it
/// did serve.
bool starts_with_flipped_bit(const Written& written, const std::string& file,
                             std::mt19937_64& random) {
    Cluster& cluster = written.cluster;
    Process& process = cluster.process(written.replica);
    process.signal(SIGTERM);
    REQUIRE(process.reap(patience));
    std::filesystem::path path = cluster.directory(written.replica) / file;
    const std::string sound = read_file(path);
    REQUIRE(!sound.empty());
    std::string damaged = sound;
    damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
    std::ofstream(path, std::ios::binary) << damaged;
    cluster.start(written.replica);
    bool served = false;
    bool decided =
        wait_until([&] { return !process.is_running() || (served = written.is_served()); });
    REQUIRE_MESSAGE(decided, cluster.logs());
    if (served) return true;
    std::optional<Ended> ended = process.reap(0ms);
    CHECK_MESSAGE(ended->code == exit_code_of_fault, ended->text(), cluster.logs());
    std::string said = tail_of(cluster.log(written.replica), 3);
    bool tells = said.find("critical") != said.npos &&
                 (said.find("damaged") != said.npos || said.find(file) != said.npos);
    CHECK_MESSAGE(tells, "it does not say what is damaged:\n", said);
    std::ofstream(path, std::ios::binary) << sound;
    cluster.start(written.replica);
    return false;
}

}  // namespace

TEST_CASE("damage") {
    // Half of what is written is in the snapshot then, the other half in the log.
    Cluster cluster({.arguments = {"--snapshot-every", std::to_string(Written::count / 2 + 10)}});
    Written written{cluster, (cluster.wait_for_leader() + 1) % cluster.size()};
    written.write();
    std::mt19937_64 random(settings.seed);
    constexpr int rounds = 6;
    int in_log = 0, in_snapshot = 0;
    for (int round = 0; round < rounds; ++round) {
        REQUIRE_MESSAGE(wait_until([&] { return written.is_served(); }), cluster.logs());
        in_log += starts_with_flipped_bit(written, "raft.db", random) ? 0 : 1;
        REQUIRE_MESSAGE(wait_until([&] { return written.is_served(); }), cluster.logs());
        in_snapshot += starts_with_flipped_bit(written, "snapshot", random) ? 0 : 1;
    }
    REQUIRE_MESSAGE(wait_until([&] { return written.is_served(); }), cluster.logs());
    // In the database there is free space; of the snapshot's file every bit means something.
    CHECK(in_snapshot == rounds);
    MESSAGE("a bit flipped on disk was noticed at the start ", in_log, " of ", rounds,
            " times in the log, ", in_snapshot, " in the snapshot; otherwise it meant nothing");
}

}  // namespace kv_tests
