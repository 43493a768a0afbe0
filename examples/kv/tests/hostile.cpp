// Bytes that nobody sends in good faith, on both ports: the replicas take no harm, take no memory,
// and let nobody in who does not belong to them.
#include <doctest/doctest.h>

#include <random>

#include "certificates.hpp"
#include "cluster.hpp"

namespace kv_tests {

namespace {

std::string random_bytes(std::mt19937_64& random, std::size_t count) {
    std::string bytes(count, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    return bytes;
}

/// A frame as replicas send them: four bytes of length, then as much.
std::string frame(std::size_t claimed, const std::string& bytes) {
    std::string result;
    for (int shift = 24; shift >= 0; shift -= 8) result += static_cast<char>(claimed >> shift);
    return result + bytes;
}

/// What a stranger might send to the port for replicas.
std::vector<std::string> what_strangers_send(std::mt19937_64& random) {
    std::vector<std::string> all{
        "", "\r\n", "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", encode({"SET", "a", "1"}),
        // The beginning of a handshake by TLS 1.2.
        std::string("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", 11) + random_bytes(random, 200),
        frame(0xffffffff, ""), frame(0x7fffffff, std::string(100'000, 'x')),
        frame(64 << 20, std::string(1'000, 'x')), frame(3, "abc"), frame(0, "")};
    std::string many_empty;
    for (int i = 0; i < 1'000; ++i) many_empty += frame(0, "");
    all.push_back(many_empty);
    for (std::size_t size : {1u, 10u, 100u, 1'000u, 100'000u}) {
        all.push_back(random_bytes(random, size));
        all.push_back(frame(size, random_bytes(random, size)));
    }
    return all;
}

/// A write is taken, and read at every replica but perhaps one.
void check_serves(Cluster& cluster, const std::string& when, std::optional<std::size_t> but = {}) {
    std::size_t leader = cluster.wait_for_leader();
    bool wrote = wait_until([&] {
        return Client(cluster.client_address(leader), 2s).call({"SET", "served", when}).is("+OK") ||
               (leader = cluster.wait_for_leader(), false);
    });
    CHECK_MESSAGE(wrote, "no write is taken after ", when, cluster.logs());
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        if (i == but) continue;
        CHECK_MESSAGE(
            wait_until([&] {
                return Client(cluster.client_address(i), 2s).call({"GET", "served"}).is("$" + when);
            }),
            "replica ", i + 1, " does not serve after ", when, cluster.logs());
    }
}

std::size_t memory_of(Cluster& cluster) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < cluster.size(); ++i) bytes += peak_bytes(cluster.process(i));
    return bytes;
}

/// How many strangers the replicas, but for one, count that they refused.
std::uint64_t refusals(Cluster& cluster, std::size_t but) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        if (i == but) continue;
        std::string info = Client(cluster.client_address(i)).call({"INFO", "stats"}).text;
        const std::string_view counter = "peer_refused_";
        for (std::size_t at = 0; (at = info.find(counter, at)) != info.npos; ++at) {
            count += std::stoull(info.substr(info.find(':', at) + 1));
        }
    }
    return count;
}

constexpr std::size_t impostors_place = 2;

/// A server in the place of replica 3, which is down, with its address and other credentials.
void check_impostor_is_refused(Cluster& cluster, const std::vector<std::string>& credentials) {
    constexpr std::size_t place = impostors_place;
    std::uint64_t refused = refusals(cluster, place);
    cluster.process(place).kill_now();
    Process impostor = cluster.start_impostor(place, credentials);
    check_serves(cluster, "an impostor is there", place);
    // It hears of no leader and wins no vote, for as long as several elections take.
    Clock::time_point end = Clock::now() + 3 * election_timeout_max;
    while (Clock::now() < end) {
        Reply reply =
            Client(cluster.client_address(place), 1s).call({"SET", "served", "by an impostor"});
        CHECK_MESSAGE(!reply.is("+OK"), "an impostor leads", cluster.logs());
        reply = Client(cluster.client_address(place), 200ms).call({"GET", "served"});
        CHECK_MESSAGE(reply.text.find('$') != 0, "an impostor knows ", reply.show());
        std::this_thread::sleep_for(50ms);
    }
    CHECK_MESSAGE(impostor.is_running(), "the impostor has ended", cluster.logs());
    CHECK_MESSAGE(refusals(cluster, place) > refused, "nobody counts that it was refused");
    impostor.kill_now();
}

}  // namespace

TEST_CASE("strangers") {
    std::mt19937_64 random(settings.seed);
    Cluster cluster({});
    check_serves(cluster, "the beginning");
    std::size_t before = memory_of(cluster);
    const std::vector<std::string> sent = what_strangers_send(random);
    std::vector<std::unique_ptr<RawConnection>> connections;
    for (const std::string& bytes : sent) {
        for (std::size_t i = 0; i < cluster.size(); ++i) {
            connections.push_back(std::make_unique<RawConnection>(cluster.peer_address(i)));
            REQUIRE(connections.back()->is_connected());
            connections.back()->send(bytes, 10s);
        }
    }
    // Nobody who says nothing sound is waited for without end.
    for (std::size_t i = 0; i < connections.size(); ++i) {
        CHECK_MESSAGE(connections[i]->closes_within(patience),
                      "not hung up on: ", printable(sent[i / cluster.size()], 50));
    }
    std::size_t after = memory_of(cluster);
    CHECK_MESSAGE(after < before + 100'000'000, "they took ", (after - before) / 1'000'000,
                  " MB more");
    check_serves(cluster, "garbage");
}

TEST_CASE("idle_strangers") {
    Cluster cluster({});
    check_serves(cluster, "the beginning");
    // Connections that say nothing, and more than are let in at once, do not keep out a replica
    // that comes back.
    std::vector<std::unique_ptr<RawConnection>> idle;
    for (int i = 0; i < 900; ++i) {
        std::size_t replica = static_cast<std::size_t>(i) % cluster.size();
        idle.push_back(std::make_unique<RawConnection>(cluster.peer_address(replica)));
    }
    std::size_t leader = cluster.wait_for_leader();
    cluster.process(leader).kill_now();
    cluster.start(leader);
    check_serves(cluster, "idle strangers");
}

TEST_CASE("impostors") {
    Cluster cluster({});
    check_serves(cluster, "the beginning");
    check_impostor_is_refused(cluster, {"--cluster", "another cluster"});
    cluster.start(impostors_place);
    check_serves(cluster, "a replica of another cluster");
    std::filesystem::path secret = cluster.files() / "another_secret";
    std::ofstream(secret) << "what somebody else knows\n";
    check_impostor_is_refused(cluster, {"--secret-file", secret.string()});
    cluster.start(impostors_place);
    check_serves(cluster, "a replica without the secret");
}

TEST_CASE("tls") {
    Authority ours, theirs;
    Cluster cluster({.arguments = ours.certify()});
    check_serves(cluster, "the beginning");
    std::mt19937_64 random(settings.seed);
    for (const std::string& bytes : what_strangers_send(random)) {
        RawConnection connection(cluster.peer_address(0));
        connection.send(bytes, 10s);
        connection.finish_sending();
        std::optional<std::string> answer = connection.receive_to_end();
        REQUIRE_MESSAGE(answer, "not hung up on: ", printable(bytes, 50));
        // What is not TLS is told nothing but an alert.
        CHECK_MESSAGE(answer->find("little_raft") == std::string::npos, printable(*answer));
    }
    check_serves(cluster, "plain bytes");
    // The right secret does not help without a certificate, nor does one that somebody else gave.
    cluster.set_arguments({});
    check_impostor_is_refused(cluster, {});
    check_impostor_is_refused(cluster, theirs.certify());
    // ... even to one who believes ours.
    check_impostor_is_refused(cluster, theirs.certify("impostor", &ours));
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        if (i == impostors_place) continue;
        std::string log = read_file(cluster.log(i));
        CHECK_MESSAGE(
            log.find("refused a connection from 127.0.0.1: TLS: its certificate is refused: ") !=
                log.npos,
            log);
    }
}

namespace {

/// Requests, most of them broken somewhere.
std::string garbled_requests(std::mt19937_64& random) {
    static const std::vector<std::string> sound{encode({"SET", "a", "1"}),
                                                encode({"MGET", "a", "b", "c"}),
                                                encode({"SCAN", "0", "MATCH", "*[a-"}),
                                                "PING\r\n",
                                                encode({"SET", "a", "1", "EX", "10"}),
                                                "*3\r\n$3\r\nSET\r\n",
                                                encode({"INCRBY", "n", "1"}),
                                                "SET \"a\\x41\" 'b'\r\n"};
    std::string bytes;
    for (int i = 0; i < 50; ++i) bytes += sound[random() % sound.size()];
    for (std::size_t changes = random() % 5 + 1; changes > 0; --changes) {
        std::size_t at = random() % bytes.size();
        std::size_t kind = random() % 4;
        if (kind == 0) bytes[at] = static_cast<char>(random());
        if (kind == 1) bytes.erase(at, random() % 20);
        if (kind == 2) bytes.insert(at, random_bytes(random, random() % 20));
        if (kind == 3) bytes.insert(at, bytes.substr(at / 2, random() % 100));
    }
    return bytes;
}

}  // namespace

TEST_CASE("garbage") {
    Cluster cluster({});
    check_serves(cluster, "the beginning");
    std::size_t before = memory_of(cluster);
    std::mt19937_64 random(settings.seed);
    std::uint64_t sent = 0;
    Clock::time_point end = Clock::now() + settings.length;
    for (; Clock::now() < end; ++sent) {
        RawConnection connection(cluster.client_address(random() % cluster.size()));
        REQUIRE_MESSAGE(connection.is_connected(), cluster.logs());
        std::string bytes = garbled_requests(random);
        connection.send(bytes, 10s);
        connection.finish_sending();
        CHECK_MESSAGE(connection.closes_within(patience), "not hung up on: ", printable(bytes));
    }
    std::size_t after = memory_of(cluster);
    CHECK_MESSAGE(after < before + 100'000'000, "it took ", (after - before) / 1'000'000,
                  " MB more");
    check_serves(cluster, "garbage");
    MESSAGE(sent, " connections sent garbage");
}

}  // namespace kv_tests
