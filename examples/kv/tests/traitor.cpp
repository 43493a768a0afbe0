// A replica that has the secret and has gone mad: it is let in, and then sends what no replica
// sends. It speaks the protocol of ../transport.hpp by itself, so that this is written down twice.
#include <doctest/doctest.h>
#include <openssl/hmac.h>

#include <random>

#include "../packed.hpp"
#include "cluster.hpp"

namespace kv_tests {

namespace {

std::string hmac(const std::string& key, const std::string& bytes) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const auto* in = reinterpret_cast<const unsigned char*>(bytes.data());
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), in, bytes.size(), out, &size);
    return {reinterpret_cast<const char*>(out), size};
}

std::string big_endian(std::size_t number) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift);
    return bytes;
}

/// A connection to a replica's port for others, on which the handshake has succeeded.
class Traitor {
 public:
    Traitor(const Address& to, std::uint64_t from_id, std::uint64_t to_id,
            const std::string& secret, const std::string& address)
        : connection_(to) {
        kv::Reader challenge(receive_frame());
        std::string protocol(challenge.bytes()), acceptor_nonce(challenge.bytes());
        const std::string cluster = "kv", dialer_nonce(32, 'n');
        auto proof = [&](std::string_view of_whom) {
            std::string said;
            kv::Writer writer(said);
            writer.bytes(of_whom).bytes(cluster).number(from_id).number(to_id).bytes(address);
            writer.bytes(acceptor_nonce).bytes(dialer_nonce);
            return hmac(secret, said);
        };
        std::string hello;
        kv::Writer writer(hello);
        writer.bytes(cluster).number(from_id).number(to_id).bytes(address);
        writer.bytes(dialer_nonce).bytes(proof("dialer"));
        connection_.send(big_endian(hello.size()) + hello);
        kv::Reader welcome(receive_frame());
        is_welcome_ = welcome.bytes() == proof("acceptor");
        key_ = proof("key");
    }

    bool is_welcome() const { return is_welcome_; }

    /// A frame with a tag that is right.
    void send(const std::string& bytes) {
        std::string tag = hmac(key_ + std::to_string(sent_++), bytes).substr(0, 16);
        send_raw(big_endian(bytes.size() + tag.size()) + bytes + tag);
    }
    void send_raw(const std::string& bytes) { connection_.send(bytes, 10s); }
    bool is_hung_up_on() { return connection_.closes_within(patience); }

 private:
    std::string_view receive_frame() {
        std::optional<std::string> head = connection_.receive_bytes(4);
        REQUIRE(head);
        std::size_t size = 0;
        for (char c : *head) size = size * 256 + static_cast<unsigned char>(c);
        std::optional<std::string> body = connection_.receive_bytes(size);
        REQUIRE(body);
        return frame_ = *body;
    }

    RawConnection connection_;
    std::string frame_, key_;
    bool is_welcome_ = false;
    std::uint64_t sent_ = 0;
};

/// A message that is sound as bytes, with the numbers that are given: its kind, from, to, term and
/// what the kind wants.
std::string message(const std::vector<std::uint64_t>& numbers) {
    std::string bytes;
    kv::Writer writer(bytes);
    for (std::uint64_t number : numbers) writer.number(number);
    return bytes;
}

constexpr std::uint64_t huge = ~std::uint64_t{0};

/// Who belongs to the cluster, as an entry that is appended has it: so many members are claimed,
/// and one is named.
std::string membership(std::uint64_t claimed, const std::string& address, std::uint64_t learner) {
    std::string bytes = message({2, 3, 1, 1, 0, 0, 0, 1, 1});
    kv::Writer writer(bytes);
    writer.bytes({}).number(claimed).number(4).bytes(address).number(learner);
    return bytes + message({0, 0, 0});
}

/// In the place of replica 3, towards replica 1.
constexpr std::size_t place = 2, victim = 0;

std::unique_ptr<Traitor> enter(const Cluster& cluster) {
    auto traitor = std::make_unique<Traitor>(cluster.peer_address(victim), place + 1, victim + 1,
                                             cluster.secret(), cluster.full_address(place));
    REQUIRE(traitor->is_welcome());
    return traitor;
}

/// Frames that hold no message, or one that this replica may not send.
std::vector<std::string> no_messages() {
    std::mt19937_64 random(settings.seed);
    std::string noise(1'000, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    return {"",
            "x",
            noise,
            message({99, 3, 1, 1}),
            message({0, 3, 1, 1}),
            message({0, 2, 1, 1, 0, 0, 0, 0}),
            message({0, 3, 2, 1, 0, 0, 0, 0}),
            message({0, 3, 1, 1, 2, 0, 0, 0}),
            message({2, 3, 1, 1, 0, 0, 0, huge}),
            message({2, 3, 1, 1, 0, 0, 0, 1'000'000, 1}),
            membership(2, "host:1@2", 0),
            membership(huge, "host:1@2", 0),
            membership(1, std::string(281, 'x'), 0),
            membership(1, "host:1@2", 2),
            membership(101, "host:1@2", 0) + std::string(100'000, '\0'),
            std::string(100'000, '\x92')};
}

/// Bytes that are no frame: lengths that are not meant, tags that are not right.
std::vector<std::string> no_frames() {
    return {big_endian(0xffffffff), big_endian(0x10000000) + "x", big_endian(3) + "abc",
            big_endian(20) + std::string(20, 'x')};
}

/// Messages that are sound as bytes, and absurd: each kind, with numbers that no replica gets to.
std::vector<std::string> absurd_messages() {
    const std::vector<std::vector<std::uint64_t>> by_kind{{0, huge, huge, 0},
                                                          {0, 1},
                                                          {huge, huge, huge, 0, huge, huge},
                                                          {1, huge, huge, huge, huge, huge, huge}};
    std::vector<std::string> all;
    for (std::uint64_t term : {huge, huge / 2, std::uint64_t{0}, std::uint64_t{1}}) {
        for (std::size_t kind = 0; kind < by_kind.size(); ++kind) {
            std::vector<std::uint64_t> numbers{kind, place + 1, victim + 1, term};
            numbers.insert(numbers.end(), by_kind[kind].begin(), by_kind[kind].end());
            all.push_back(message(numbers));
        }
    }
    return all;
}

void check_goes_on(Cluster& cluster) {
    bool wrote = wait_until([&] {
        Client client(cluster.client_address(cluster.wait_for_leader()), 2s);
        return client.call({"SET", "kept", "2"}).is("+OK");
    });
    CHECK_MESSAGE(wrote, cluster.logs());
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        Client client(cluster.client_address(i), 2s);
        CHECK_MESSAGE(wait_until([&] {
                          return client.call({"GET", "kept"}).is("$2");
                      }),
                      cluster.logs());
    }
}

}  // namespace

TEST_CASE("traitor") {
    Cluster cluster({});
    cluster.wait_for_leader();
    cluster.process(place).kill_now();
    cluster.wait_for_leader();
    std::size_t before = peak_bytes(cluster.process(victim));
    for (const std::string& bytes : no_messages()) {
        auto traitor = enter(cluster);
        traitor->send(bytes);
        CHECK_MESSAGE(traitor->is_hung_up_on(), "it is listened to after ", printable(bytes, 50));
    }
    for (const std::string& bytes : no_frames()) {
        auto traitor = enter(cluster);
        traitor->send_raw(bytes);
        CHECK_MESSAGE(traitor->is_hung_up_on(), "it is listened to after ", printable(bytes, 50));
    }
    {
        auto traitor = enter(cluster);
        for (const std::string& bytes : absurd_messages()) traitor->send(bytes);
        // That it was taken in shows by the end that this has.
        traitor->send("x");
        CHECK(traitor->is_hung_up_on());
    }
    cluster.start(place);
    check_goes_on(cluster);
    std::size_t after = peak_bytes(cluster.process(victim));
    CHECK_MESSAGE(after < before + 100'000'000, "it took ", (after - before) / 1'000'000,
                  " MB more");
}

namespace {

/// What only a leader says, or who is about to be one by its leader's wish, and what others answer.
std::vector<std::string> claims_to_lead(std::uint64_t from, std::uint64_t to, std::uint64_t term) {
    const std::vector<std::vector<std::uint64_t>> bodies{
        {0, from, to, term, 0, term, 1'000, 0},        // Asks for a vote,
        {0, from, to, term, 0, term, 1'000, 1},        // ... as if the leader had told it to.
        {1, from, to, term, 0, 1},                     // Votes.
        {2, from, to, term, 0, 0, 0, 0, 0, 0},         // A heartbeat.
        {3, from, to, term, 1, 1'000, 0, 0, 0, 1, 0},  // Has what nobody sent.
        {5, from, to, term}};                          // Tells it to stand for election.
    std::vector<std::string> all;
    for (const std::vector<std::uint64_t>& numbers : bodies) all.push_back(message(numbers));
    // The whole of a snapshot in which nobody is a member.
    std::string snapshot = message({4, from, to, term, term, 1'000, 0});
    kv::Writer(snapshot).bytes("keys").number(1).number(0).number(0).number(0);
    all.push_back(snapshot);
    return all;
}

}  // namespace

TEST_CASE("usurper") {
    Cluster cluster({});
    REQUIRE(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    std::size_t leader = cluster.wait_for_leader();
    const std::string term = raft_field(cluster, leader, "term");
    // Only those who know the leader stand by it.
    for (std::size_t i = 0; i < cluster.size(); ++i)
        REQUIRE(wait_until(
            [&] { return raft_field(cluster, i, "leader") == std::to_string(leader + 1); }));
    constexpr std::uint64_t never_member = 9;
    const std::string address = "127.0.0.1:" + std::to_string(free_port());
    for (std::uint64_t ahead : {0u, 1u, 10u}) {
        for (std::size_t i = 0; i < cluster.size(); ++i) {
            Traitor usurper(cluster.peer_address(i), never_member, i + 1, cluster.secret(),
                            address);
            REQUIRE(usurper.is_welcome());
            for (const std::string& bytes :
                 claims_to_lead(never_member, i + 1, std::stoull(term) + ahead))
                usurper.send(bytes);
            // That all was taken in shows by the end that this has.
            usurper.send("x");
            CHECK(usurper.is_hung_up_on());
        }
    }
    check_goes_on(cluster);
    CHECK_MESSAGE(cluster.leader() == leader, cluster.logs());
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        CHECK_MESSAGE(raft_field(cluster, i, "term") == term, cluster.logs());
        CHECK(counted(cluster, i, "peer_guests") == 3);
        // Of each later term four: to vote at the leader's wish, and whatever leaders say.
        CHECK(counted(cluster, i, "peer_ignored") == 8);
        std::string log = read_file(cluster.log(i));
        CHECK_MESSAGE(log.find("replica 9 at " + address) != log.npos, log);
        CHECK_MESSAGE(log.find("is no member that this one knows of") != log.npos, log);
    }
}

}  // namespace kv_tests
