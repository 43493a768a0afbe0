// What a client may not do, and that it is told so: more of them than are allowed, requests that
// are too large, replies that are not read, the wrong password.
#include <doctest/doctest.h>

#include <algorithm>

#include "cluster.hpp"

namespace kv_tests {

namespace {

/// What a process listens at, as the kernel writes it: the address's bytes in hex, a colon, the
/// port.
std::vector<std::string> listening(const Process& process) {
    std::string proc = "/proc/" + std::to_string(process.pid());
    std::vector<std::string> result;
    for (const char* table : {"/net/tcp", "/net/tcp6"}) {
        std::istringstream lines(read_file(proc + table));
        std::string line, number, local, remote, state, word;
        std::getline(lines, line);
        while (std::getline(lines, line)) {
            std::istringstream words(line);
            words >> number >> local >> remote >> state;
            for (int i = 0; i < 6; ++i) words >> word;
            constexpr const char* listens = "0A";
            std::string socket = "socket:[" + word + "]";
            for (const auto& fd : std::filesystem::directory_iterator(proc + "/fd")) {
                std::error_code ignored;
                bool its_own = std::filesystem::read_symlink(fd.path(), ignored) == socket;
                if (state == listens && its_own) result.push_back(local);
            }
        }
    }
    return result;
}

std::string repeated(const std::string& bytes, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += bytes;
    return result;
}

struct Single {
    explicit Single(std::vector<std::string> arguments)
        : cluster({.replicas = 1, .arguments = std::move(arguments)}) {
        REQUIRE_MESSAGE(wait_until([&] {
                            Reply reply = Client(address, 1s).call({"PING"});
                            return reply.state == Reply::answered;
                        }),
                        cluster.logs());
    }
    Cluster cluster;
    Address address = cluster.client_address(0);
};

}  // namespace

TEST_CASE("limit_clients") {
    Single single({"--clients-max", "10"});
    single.cluster.wait_for_leader();
    std::vector<std::unique_ptr<RawConnection>> connections;
    auto open = [&] {
        connections.push_back(std::make_unique<RawConnection>(single.address));
        connections.back()->send(encode({"PING"}));
        return connections.back()->receive_reply().value_or("(no reply)");
    };
    // The clients of before may not have been seen to leave yet.
    REQUIRE(wait_until([&] {
        connections.clear();
        return std::ranges::all_of(std::array<int, 10>{},
                                   [&](int) { return open() == "+PONG\r\n"; });
    }));
    CHECK(open() == "-ERR max number of clients reached\r\n");
    CHECK(connections.back()->closes_within(patience));
    connections.erase(connections.begin());
    CHECK(wait_until([&] { return open() == "+PONG\r\n"; }));
}

TEST_CASE("limit_requests") {
    Single single({"--request-bytes-max", "1000000"});
    single.cluster.wait_for_leader();
    auto answer_to = [&](const std::string& bytes) {
        RawConnection connection(single.address);
        connection.send(bytes, 5s);
        return connection.receive_to_end().value_or("(it did not close)");
    };
    std::string largest(900'000, 'x');
    CHECK(Client(single.address).call({"SET", "large", largest}).is("+OK"));
    CHECK(Client(single.address).call({"STRLEN", "large"}).is(":900000"));
    // It is refused when it is announced, not when it has arrived.
    CHECK(answer_to("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000001\r\n") ==
          "-ERR Protocol error: invalid bulk length\r\n");
    std::string half = "$600000\r\n" + std::string(600'000, 'x') + "\r\n";
    CHECK(answer_to("*3\r\n$4\r\nMGET\r\n" + half + half).starts_with("-ERR Protocol error: "));
    CHECK(answer_to("*2147483647\r\n").starts_with("-ERR Protocol error: "));
    CHECK(Client(single.address).call({"PING"}).is("+PONG"));
}

TEST_CASE("limit_pipeline") {
    Single single({"--pipeline-max", "100"});
    single.cluster.wait_for_leader();
    // Reads wait for writes and writes for reads, whatever the limit: all is answered in order.
    constexpr int count = 1'000;
    std::string bytes;
    for (int i = 0; i < count; ++i) {
        bytes += encode({"INCR", "n"});
        bytes += encode({"GET", "n"});
    }
    RawConnection connection(single.address);
    REQUIRE(connection.send(bytes));
    for (int i = 1; i <= count; ++i) {
        std::string number = std::to_string(i);
        REQUIRE(connection.receive_reply() == ":" + number + "\r\n");
        REQUIRE(connection.receive_reply() ==
                "$" + std::to_string(number.size()) + "\r\n" + number + "\r\n");
    }
    // Of writes in a row, one is too many: neither it nor what follows is done.
    Client client(single.address);
    REQUIRE(client.call({"DEL", "n"}).is(":1"));
    RawConnection deep(single.address);
    deep.send(repeated(encode({"INCR", "n"}), 100'000));
    std::string replies = deep.receive_to_end().value_or("(it did not close)");
    int done = 0;
    std::string expected;
    auto next = [&] { return ":" + std::to_string(done + 1) + "\r\n"; };
    for (; replies.compare(expected.size(), next().size(), next()) == 0; ++done) expected += next();
    CHECK(replies.substr(expected.size()) ==
          "-ERR pipeline too deep: 100 requests are unanswered; nothing was done from this one "
          "on\r\n");
    CHECK(done >= 100);
    CHECK(client.call({"GET", "n"}).is("$" + std::to_string(done)));
}

TEST_CASE("limit_under_way") {
    // As one loads much at a time: more than the server lets wait, while its disk takes nothing. It
    // reads on when it can, and refuses none.
    Cluster cluster(
        {.replicas = 1, .arguments = {"--write-timeout", "60000"}, .broken_disks = true});
    cluster.wait_for_leader();
    constexpr int count = 200'000;
    RawConnection loads(cluster.client_address(0));
    cluster.disk(0).hang();
    bool sent = false;
    std::thread sender([&] { sent = loads.send(repeated(encode({"INCR", "n"}), count)); });
    auto holds_the_most = [&] {
        return info(cluster, 0, "clients").find("waiting_writes:50000\r\n") != std::string::npos;
    };
    CHECK(wait_until(holds_the_most));
    CHECK(holds_the_most());
    cluster.disk(0).mend();
    sender.join();
    CHECK(sent);
    std::string numbers;
    for (int i = 1; i <= count; ++i) numbers += ":" + std::to_string(i) + "\r\n";
    bool in_order = loads.receive_bytes(numbers.size()) == numbers;
    CHECK(in_order);
    CHECK(loads.send(repeated(encode({"GET", "n"}), count)));
    std::string same = repeated("$6\r\n200000\r\n", count);
    bool all_read = loads.receive_bytes(same.size()) == same;
    CHECK(all_read);
}

TEST_CASE("limit_reads") {
    // A leader without followers can answer no read, and must not keep all that is asked until
    // then.
    Cluster cluster({});
    std::size_t leader = cluster.wait_for_leader();
    std::size_t before = peak_bytes(cluster.process(leader));
    auto signal_followers = [&](int signal) {
        for (std::size_t i = 0; i < cluster.size(); ++i)
            if (i != leader) cluster.process(i).signal(signal);
    };
    signal_followers(SIGSTOP);
    {
        DeafConnection connection(cluster.client_address(leader));
        std::string get = encode({"GET", std::string(100'000, 'x')});
        CHECK_FALSE(connection.send_until_hung_up(get, 2s));
    }
    signal_followers(SIGCONT);
    std::size_t after = peak_bytes(cluster.process(leader));
    CHECK_MESSAGE(after < before + 100'000'000, "it took ", (after - before) / 1'000'000,
                  " MB more");
    cluster.wait_for_leader();
}

TEST_CASE("limit_output") {
    Single single({"--output-bytes-max", "2000000"});
    single.cluster.wait_for_leader();
    REQUIRE(Client(single.address).call({"SET", "large", std::string(100'000, 'x')}).is("+OK"));
    std::size_t before = peak_bytes(single.cluster.process(0));
    // 2 GB of replies, of which none is read. Reads wait until others were; what is answered at
    // once does not.
    std::string gets = repeated(encode({"GET", "large"}), 20'000);
    std::string echoes = encode({"ECHO", std::string(100'000, 'x')});
    int hung_up = 0;
    constexpr int clients = 4;
    for (int i = 0; i < clients; ++i) {
        DeafConnection reads(single.address), connection(single.address);
        CHECK_FALSE(reads.send_until_hung_up(gets, 500ms));
        hung_up += connection.send_until_hung_up(echoes, patience) ? 1 : 0;
    }
    CHECK(hung_up == clients);
    std::size_t after = peak_bytes(single.cluster.process(0));
    CHECK_MESSAGE(after < before + 100'000'000, "it took ", (after - before) / 1'000'000,
                  " MB more");
    CHECK(Client(single.address).call({"PING"}).is("+PONG"));
}

TEST_CASE("limit_output_of_many") {
    // Twice as much as a client may leave unread, to one that reads.
    Single single({"--output-bytes-max", "20000000"});
    single.cluster.wait_for_leader();
    constexpr std::size_t count = 40, size = 1'000'000;
    RawConnection connection(single.address);
    std::string large(size, 'x');
    REQUIRE(Client(single.address).call({"SET", "large", large}).is("+OK"));
    REQUIRE(connection.send(repeated(encode({"GET", "large"}) + encode({"ECHO", "and"}), count)));
    std::string replies = repeated("$1000000\r\n" + large + "\r\n$3\r\nand\r\n", count);
    bool all = connection.receive_bytes(replies.size()) == replies;
    CHECK(all);
    // One that does not is told nothing in the place of a reply: what was done was done.
    RawConnection deaf(single.address);
    deaf.send(encode({"SET", "a", "1"}) + repeated(encode({"GET", "large"}), 10 * count), 100ms);
    CHECK(wait_until([&] { return Client(single.address).call({"GET", "a"}).is("$1"); }));
    CHECK(deaf.receive_bytes(5) == "+OK\r\n");
}

TEST_CASE("idle_clients_hold_nothing") {
    Single single({});
    single.cluster.wait_for_leader();
    std::string large(8'000'000, 'x');
    std::vector<std::unique_ptr<Client>> idle;
    for (int i = 0; i < 10; ++i) {
        idle.push_back(std::make_unique<Client>(single.address));
        REQUIRE(idle.back()->call({"SET", "large", large}).is("+OK"));
        REQUIRE(idle.back()->call({"STRLEN", "large"}).is(":8000000"));
    }
    std::string text = info(single.cluster, 0, "clients");
    std::size_t held = std::stoull(text.substr(text.find("client_buffers:") + 15));
    CHECK_MESSAGE(held < 100'000, held, " bytes");
}

TEST_CASE("half_closed") {
    Single single({});
    single.cluster.wait_for_leader();
    RawConnection connection(single.address);
    REQUIRE(connection.send(encode({"SET", "a", "1"}) + encode({"GET", "a"})));
    shutdown(connection.descriptor(), SHUT_WR);
    CHECK(connection.receive_to_end() == "+OK\r\n$1\r\n1\r\n");
}

TEST_CASE("without_a_majority_all_are_told") {
    // A key expires meanwhile, and more is asked than can wait.
    Cluster cluster({.arguments = {"--write-timeout", "1000"}});
    std::size_t leader = cluster.wait_for_leader();
    Address address = cluster.client_address(leader);
    REQUIRE(Client(address).call({"SET", "short", "1", "PX", "200"}).is("+OK"));
    for (std::size_t i = 0; i < cluster.size(); ++i)
        if (i != leader) cluster.process(i).signal(SIGSTOP);
    constexpr int count = 60'000;
    RawConnection many(address);
    CHECK(many.send(repeated(encode({"SET", "a", "1"}), count)));
    int told = 0;
    for (; told < count; ++told) {
        auto reply = many.receive_reply();
        if (!reply || !reply->starts_with("-")) break;
    }
    CHECK(told == count);
    CHECK(Client(address, 5s).call({"SET", "a", "1"}).state == Reply::answered);
}

TEST_CASE("limit_memory") {
    Single single({"--maxmemory", "5000000"});
    single.cluster.wait_for_leader();
    Client client(single.address);
    std::string value(10'000, 'x');
    Reply reply;
    int taken = 0;
    while (taken < 2'000 &&
           (reply = client.call({"SET", "key" + std::to_string(taken), value})).is("+OK"))
        ++taken;
    CHECK_MESSAGE(reply.starts_with("-OOM "), reply.show());
    CHECK(taken > 100);
    CHECK(taken < 600);
    // What makes room is let through.
    CHECK(client.call({"DEL", "key0"}).is(":1"));
    CHECK(client.call({"FLUSHALL"}).is("+OK"));
    CHECK(client.call({"SET", "key", value}).is("+OK"));
    // When a key expires is kept with another copy of it.
    auto used = [&] {
        std::string text = info(single.cluster, 0, "memory");
        return std::stoull(text.substr(text.find("used_memory_dataset:") + 20));
    };
    std::string key(100'000, 'k');
    CHECK(client.call({"SET", key, ""}).is("+OK"));
    auto before = used();
    CHECK(client.call({"EXPIRE", key, "100"}).is(":1"));
    CHECK(used() >= before + key.size());
    CHECK(client.call({"PERSIST", key}).is(":1"));
    CHECK(used() == before);
}

TEST_CASE("password") {
    Single single({"--requirepass", "the secret"});
    Client stranger(single.address);
    for (const char* command : {"GET", "RAFT", "INFO", "DBSIZE"}) {
        Reply reply = stranger.call({command, "a"});
        CHECK_MESSAGE((reply.is("-NOAUTH Authentication required.") ||
                       reply.starts_with("-ERR wrong number")),
                      command, ": ", reply.show());
    }
    CHECK(stranger.call({"SET", "a", "1"}).is("-NOAUTH Authentication required."));
    CHECK(stranger.call({"AUTH", "the wrong one"})
              .is("-WRONGPASS invalid username-password pair or user is disabled."));
    CHECK(stranger.call({"AUTH", "nobody", "the secret"})
              .is("-WRONGPASS invalid username-password pair or user is disabled."));
    CHECK(stranger.call({"AUTH", ""}).starts_with("-WRONGPASS "));
    CHECK(stranger.call({"AUTH", std::string("the secret\0", 11)}).starts_with("-WRONGPASS "));
    CHECK(stranger.call({"SET", "a", "1"}).starts_with("-NOAUTH "));
    CHECK(stranger.call({"AUTH", "the secret"}).is("+OK"));
    CHECK(wait_until([&] { return stranger.call({"SET", "a", "1"}).is("+OK"); }));
    Client other(single.address);
    CHECK(other.call({"HELLO", "2", "AUTH", "default", "wrong"}).starts_with("-WRONGPASS "));
    CHECK(other.call({"HELLO", "2", "AUTH", "default", "the secret"}).starts_with("["));
    CHECK(other.call({"GET", "a"}).is("$1"));
    // Who has not said it yet may not send much.
    RawConnection large(single.address);
    large.send("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n");
    CHECK(large.receive_to_end().value_or("").find("unauthenticated") != std::string::npos);
}

TEST_CASE("loopback") {
    TemporaryDirectory directory;
    int port = free_port();
    std::string member = "1=127.0.0.1:" + std::to_string(port) + "@" + std::to_string(free_port());
    std::string secret = (directory.path() / "secret").string();
    std::ofstream(secret) << "what only these tests know\n";
    std::vector<std::string> command{
        settings.server, "--id", "1",           "--dir", (directory.path() / "data").string(),
        "--secret-file", secret, "--bootstrap", member};
    Process server = Process::start({command, directory.path() / "log"});
    REQUIRE(wait_until([&] { return Client({"127.0.0.1", port}).call({"PING"}).is("+PONG"); }));
    // Unless it is told otherwise, it can be reached from this machine alone.
    std::vector<std::string> all = listening(server);
    CHECK(all.size() == 2);
    for (const std::string& address : all) CHECK_MESSAGE(address.starts_with("0100007F:"), address);
}

namespace {

/// Options that cannot be right, what the server must end with, and what it must say, in part.
struct Mistake {
    std::vector<std::string> arguments;
    int code;
    std::string word;
};

std::vector<Mistake> mistakes_in(const std::filesystem::path& directory) {
    auto path = [&](const char* name) { return (directory / name).string(); };
    const std::string absent = path("absent");
    const std::string one = "1=127.0.0.1:" + std::to_string(free_port());
    const std::string two = "2=127.0.0.1:" + std::to_string(free_port());
    auto with = [&](std::vector<std::string> more) {
        const std::vector<std::string> sound{"--id",          "1",           "--dir", path("data"),
                                             "--secret-file", path("secret")};
        more.insert(more.begin(), sound.begin(), sound.end());
        return more;
    };
    return {
        {{}, 2, "--id"},
        {with({}), 2, "--bootstrap"},
        {with({"--join"}), 2, "--address"},
        {with({"--join", "--address", "nonsense"}), 2, "--address"},
        {with({"--join", "--bootstrap", one}), 2, "--join"},
        {with({"--bootstrap", one, "--nonsense"}), 2, "--nonsense"},
        {with({"--bootstrap", "nonsense"}), 2, "nonsense"},
        {with({"--bootstrap", "1=host"}), 2, "1=host"},
        {with({"--bootstrap", "1=127.0.0.1:99999"}), 2, "99999"},
        {with({"--bootstrap", "0=127.0.0.1:7000"}), 2, "0=127.0.0.1:7000"},
        {with({"--bootstrap", two}), 2, "replica 1"},
        {with({"--bootstrap", one, one}), 2, "twice"},
        {{"--id", "1", "--bootstrap", one, two}, 2, "--secret-file"},
        {{"--id", "1", "--secret-file", path("short"), "--bootstrap", one, two}, 2, "16 bytes"},
        {{"--id", "1", "--secret-file", absent, "--bootstrap", one, two}, 2, "absent"},
        {with({"--tls-ca", absent, "--bootstrap", one}), 2, "--tls-cert"},
        {with({"--tls-ca", absent, "--tls-cert", absent, "--tls-key", absent, "--bootstrap", one}),
         2, "absent"},
        {with({"--bind", "nowhere", "--bootstrap", one}), 2, "nowhere"},
        {with({"--election-timeout", "1", "--bootstrap", one}), 2, "--election-timeout"},
        {with({"--snapshot-every", "x", "--bootstrap", one}), 2, "--snapshot-every"},
        {{"--id", "1", "--dir", path("file"), "--secret-file", path("secret"), "--bootstrap", one},
         1,
         "file"},
        {with({"--heartbeat", "5000", "--bootstrap", one}), 2, "--election-timeout"},
        {with({"--lease-drift", "500", "--bootstrap", one}), 2, "--election-timeout"},
        {with({"--bind", "192.0.2.1", "--bootstrap", one}), 1, "assign"}};
}

}  // namespace

TEST_CASE("settings") {
    TemporaryDirectory directory;
    std::ofstream(directory.path() / "short") << "short\n";
    std::ofstream(directory.path() / "secret") << "what only these tests know\n";
    std::ofstream(directory.path() / "file") << "this is no directory\n";
    const std::vector<Mistake> mistakes = mistakes_in(directory.path());
    for (const Mistake& mistake : mistakes) {
        std::vector<std::string> command{settings.server};
        command.insert(command.end(), mistake.arguments.begin(), mistake.arguments.end());
        Ran ran = run_command(command, 10s);
        std::string shown;
        for (const std::string& word : mistake.arguments) shown += word + " ";
        CHECK_MESSAGE(ran.code == mistake.code, shown, "\n", ran.output);
        CHECK_MESSAGE(ran.output.find(mistake.word) != std::string::npos, shown, "\n", ran.output);
    }
    MESSAGE(mistakes.size(), " mistakes in the settings are told and end it");
}

}  // namespace kv_tests
