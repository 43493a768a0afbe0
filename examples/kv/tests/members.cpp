// Members that change while all goes on: replicas added, removed and replaced, and changes that are
// refused or come to nothing.
#include <doctest/doctest.h>

#include "certificates.hpp"
#include "faults.hpp"

namespace kv_tests {

namespace {

std::string id_of(std::size_t replica) { return std::to_string(replica + 1); }

/// Whether these, and no others, are the members as one replica has it, and no change is under way.
bool has_members(Cluster& cluster, std::size_t replica, const std::vector<std::size_t>& members) {
    if (raft_field(cluster, replica, "members_change") != "no") return false;
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        bool is_one = std::count(members.begin(), members.end(), i) > 0;
        std::string shown = raft_field(cluster, replica, "member_" + id_of(i));
        if (shown.empty() == is_one) return false;
        if (is_one && shown.find(cluster.full_address(i)) == std::string::npos) return false;
    }
    return true;
}

void check_members(Cluster& cluster, const std::vector<std::size_t>& members) {
    for (std::size_t i : members)
        CHECK_MESSAGE(wait_until([&] { return has_members(cluster, i, members); }), "replica ",
                      i + 1, ": ", info(cluster, i, "raft"), cluster.logs());
}

/// Asks whoever leads, whose answer has to be this.
void change(Cluster& cluster, const std::vector<std::string>& command, const std::string& answer) {
    Client client(cluster.client_address(cluster.wait_for_leader()), patience);
    Reply reply = client.call(command);
    CHECK_MESSAGE(reply.starts_with(answer), command.at(1), " is answered ", reply.show(),
                  cluster.logs());
}

/// Asks until the leader's list of members shows it: a leader that dies over a change may have made
/// it or not.
void change_anyhow(Cluster& cluster, const std::vector<std::string>& command) {
    bool adds = command.at(1) == "ADD";
    bool changed = wait_until([&] {
        std::size_t leader = cluster.wait_for_leader();
        Client(cluster.client_address(leader), 5s).call(command);
        std::string shown = raft_field(cluster, leader, "member_" + command.at(2));
        return raft_field(cluster, leader, "members_change") == "no" &&
               (shown.find("votes=yes") != std::string::npos) == adds;
    });
    REQUIRE_MESSAGE(changed, command.at(1), " ", command.at(2), " is not done in time",
                    cluster.logs());
}

/// Asks until it leads: whoever has just been added may not be connected to all yet, and then its
/// election comes to nothing.
void hand_over_to(Cluster& cluster, std::size_t replica) {
    bool leads = wait_until([&] {
        std::size_t leader = cluster.wait_for_leader();
        if (leader == replica) return true;
        Client(cluster.client_address(leader), 1s).call({"RAFT", "TRANSFER", id_of(replica)});
        return wait_until([&] { return cluster.leader() == replica; }, election_timeout_max);
    });
    REQUIRE_MESSAGE(leads, "replica ", replica + 1, " does not lead", cluster.logs());
}

/// A replica that is no member reads nothing, and raises no term, for as long as several elections
/// take.
void check_knows_nothing(Cluster& cluster, std::size_t replica) {
    std::size_t leader = cluster.wait_for_leader();
    std::string term = raft_field(cluster, leader, "term");
    Clock::time_point end = Clock::now() + 2 * election_timeout_max;
    while (Clock::now() < end) {
        Reply reply = Client(cluster.client_address(replica), 1s).call({"GET", "kept"});
        bool refused = was_refused(reply) || is_unknown(reply);
        CHECK_MESSAGE(refused, "replica ", replica + 1, " answers ", reply.show());
        std::this_thread::sleep_for(50ms);
    }
    CHECK_MESSAGE(raft_field(cluster, leader, "term") == term, "it disturbs", cluster.logs());
}

void check_refusals(Cluster& cluster, std::size_t newcomer) {
    const std::string id = id_of(newcomer), address = cluster.full_address(newcomer);
    const std::vector<std::pair<std::vector<std::string>, std::string>> refused{
        {{"RAFT", "ADD"}, "-ERR usage"},
        {{"RAFT", "ADD", id}, "-ERR usage"},
        {{"RAFT", "ADD", id, address, "nonsense"}, "-ERR usage"},
        {{"RAFT", "ADD", id, address, "LEARNER", "x"}, "-ERR usage"},
        {{"RAFT", "ADD", "0", address}, "-ERR an id is"},
        {{"RAFT", "ADD", "x", address}, "-ERR an id is"},
        {{"RAFT", "ADD", "-4", address}, "-ERR an id is"},
        {{"RAFT", "ADD", "04", address}, "-ERR an id is"},
        {{"RAFT", "ADD", "18446744073709551620", address}, "-ERR an id is"},
        {{"RAFT", "ADD", address, id}, "-ERR an id is"},
        {{"RAFT", "ADD", id, cluster.full_address(0)}, "-ERR another member has that address"},
        {{"RAFT", "ADD", "1", address}, "-ERR it is a member already"},
        {{"RAFT", "REMOVE"}, "-ERR usage"},
        {{"RAFT", "REMOVE", "1", "2"}, "-ERR usage"},
        {{"RAFT", "REMOVE", "0"}, "-ERR an id is"},
        {{"RAFT", "REMOVE", id}, "-ERR no member has that id"},
    };
    for (const auto& [command, answer] : refused) change(cluster, command, answer);
    // Whoever does not lead says who does, if it knows.
    std::size_t leader = cluster.wait_for_leader();
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"RAFT", "ADD", id, address}, {"RAFT", "REMOVE", "1"}}) {
        Reply reply = Client(cluster.client_address((leader + 1) % 3), 1s).call(command);
        CHECK_MESSAGE(cluster.moved_to(reply) == leader, reply.show());
        reply = Client(cluster.client_address(newcomer), 1s).call(command);
        CHECK_MESSAGE(reply.starts_with("-CLUSTERDOWN "), reply.show());
    }
}

/// What is no address becomes none: it would stand in logs, in INFO, and in the replies that tell
/// clients where to go.
void check_bad_addresses(Cluster& cluster, std::size_t newcomer) {
    const std::vector<std::string> bad{"",
                                       "nonsense",
                                       ":7000",
                                       "host:",
                                       "host:0",
                                       "host:99999",
                                       "host:-1",
                                       "host:07000",
                                       "host:60000",  // The other port is 70000.
                                       "host:7000@",
                                       "host:7000@0",
                                       "host:7000@99999",
                                       "host:7000@x",
                                       "host:7000@7001@7002",
                                       "host:7000@7000",  // It cannot listen twice at one port.
                                       "a host:7000",
                                       "host\r\nrole:master:7000",
                                       std::string("host\0:7000", 10),
                                       "a,b:7000",
                                       "[]:7000",
                                       "[::1:7000",
                                       "a:b:7000",
                                       "[fe80::1%x\r\ny]:7000",
                                       std::string(256, 'x') + ":7000"};
    for (const std::string& address : bad)
        change(cluster, {"RAFT", "ADD", id_of(newcomer), address}, "-ERR an address is");
    // One port of another is enough to be in its way, whichever it is there.
    for (const Address& taken : {cluster.client_address(1), cluster.peer_address(1)}) {
        const std::string free = std::to_string(free_port()), port = std::to_string(taken.port);
        for (const std::string& ports : {port + "@" + free, free + "@" + port})
            change(cluster, {"RAFT", "ADD", id_of(newcomer), taken.host + ":" + ports},
                   "-ERR another member has that address");
    }
}

/// It has no vote then, and reads as all do.
void add_as_learner(Cluster& cluster, std::size_t added) {
    const std::vector<std::string> command{"RAFT", "ADD", id_of(added), cluster.full_address(added),
                                           "LEARNER"};
    change(cluster, command, "+OK");
    check_members(cluster, {0, 1, 2, added});
    CHECK(ask(cluster, added, {"GET", "kept"}).is("$1"));
    std::size_t leader = cluster.wait_for_leader();
    std::string shown = raft_field(cluster, leader, "member_" + id_of(added));
    CHECK_MESSAGE(shown.find("votes=no") != std::string::npos, shown);
    change(cluster, {"RAFT", "TRANSFER", id_of(added)}, "-ERR that replica is a learner");
    change(cluster, command, "-ERR it is a member already");
    change(cluster, {"RAFT", "ADD", id_of(added), "elsewhere:1"}, "-ERR it is a learner already");
}

constexpr const char* used_up = "-ERR that id was a member's before";

bool log_says(Cluster& cluster, std::size_t replica, const std::string& text) {
    return wait_until(
        [&] { return read_file(cluster.log(replica)).find(text) != std::string::npos; });
}

}  // namespace

TEST_CASE("members") {
    Cluster cluster({.spares = 1});
    constexpr std::size_t added = 3;
    const std::vector<std::string> add{"RAFT", "ADD", id_of(added), cluster.full_address(added)};
    REQUIRE(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    cluster.start(added);
    check_knows_nothing(cluster, added);
    CHECK(raft_field(cluster, added, "term") == "0");
    check_refusals(cluster, added);
    check_bad_addresses(cluster, added);
    check_members(cluster, {0, 1, 2});

    add_as_learner(cluster, added);
    change(cluster, add, "+OK");
    check_members(cluster, {0, 1, 2, added});
    change(cluster, {"RAFT", "TRANSFER", id_of(added)}, "+OK");
    CHECK(wait_until([&] { return cluster.leader() == added; }));

    // What stands in the log counts, whatever they are started with.
    cluster.kill_and_restart_all();
    cluster.process(added).kill_now();
    cluster.start(added);
    check_members(cluster, {0, 1, 2, added});
    CHECK(ask(cluster, added, {"GET", "kept"}).is("$1"));

    change(cluster, {"RAFT", "REMOVE", id_of(added)}, "+OK");
    check_members(cluster, {0, 1, 2});
    // It hears of it as a rule, and if not, whoever it dials says so.
    CHECK_MESSAGE(log_says(cluster, added, "was removed"), cluster.logs());
    REQUIRE(write(cluster, {"SET", "kept", "2"}).is("+OK"));
    check_knows_nothing(cluster, added);
    // Its id is used up, whoever leads.
    change(cluster, add, used_up);
    cluster.kill_and_restart_all();
    change(cluster, add, used_up);
    CHECK(write(cluster, {"FLUSHALL"}).is("+OK"));
    change(cluster, add, used_up);
    check_members(cluster, {0, 1, 2});
}

TEST_CASE("removed_while_away") {
    Cluster cluster({.spares = 1});
    constexpr std::size_t away = 3;
    REQUIRE(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    cluster.start(away);
    change(cluster, {"RAFT", "ADD", id_of(away), cluster.full_address(away)}, "+OK");
    CHECK(ask(cluster, away, {"GET", "kept"}).is("$1"));
    cluster.process(away).kill_now();
    change(cluster, {"RAFT", "REMOVE", id_of(away)}, "+OK");
    check_members(cluster, {0, 1, 2});
    // It takes itself for a member, has the secret, and is refused by all who know better.
    std::string term = raft_field(cluster, cluster.wait_for_leader(), "term");
    cluster.start(away);
    CHECK_MESSAGE(log_says(cluster, away, "it says: replica 4 was removed"), cluster.logs());
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK_MESSAGE(log_says(cluster, i, "refused replica 4"), cluster.logs());
        CHECK(counted(cluster, i, "peer_refused_unknown") > 0);
    }
    check_knows_nothing(cluster, away);
    CHECK(raft_field(cluster, cluster.wait_for_leader(), "term") == term);
}

TEST_CASE("members_tls") {
    Authority ours, theirs;
    auto briefly = [](std::vector<std::string> arguments) {
        arguments.insert(arguments.end(), {"--change-timeout", "5000"});
        return arguments;
    };
    Cluster cluster({.spares = 2, .arguments = briefly(ours.certify())});
    constexpr std::size_t added = 3, foreign = 4, removed = 0;
    REQUIRE(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    // A certificate of its own, by the same authority.
    cluster.set_arguments(briefly(ours.certify("newcomer")));
    cluster.start(added);
    change(cluster, {"RAFT", "ADD", id_of(added), cluster.full_address(added)}, "+OK");
    check_members(cluster, {0, 1, 2, added});
    CHECK(ask(cluster, added, {"GET", "kept"}).is("$1"));
    hand_over_to(cluster, added);
    REQUIRE(write(cluster, {"SET", "kept", "2"}).is("+OK"));

    // One by another authority knows the secret and is added, and is told nothing all the same.
    cluster.set_arguments(theirs.certify("foreigner", &ours));
    cluster.start(foreign);
    std::size_t leader = cluster.wait_for_leader();
    std::string term = raft_field(cluster, leader, "term");
    change(cluster, {"RAFT", "ADD", id_of(foreign), cluster.full_address(foreign)},
           "-TRYAGAIN the replica has not caught up; it is a learner so far");
    std::string where = "replica " + id_of(foreign) + " at " + cluster.full_address(foreign);
    for (std::size_t i : {0u, 1u, 2u, 3u})
        CHECK_MESSAGE(log_says(cluster, i, where + ": TLS: its certificate is refused: "),
                      cluster.logs());
    CHECK_MESSAGE(counted(cluster, foreign, "peer_refused_tls") > 0, cluster.logs());
    CHECK(raft_field(cluster, foreign, "term") == "0");
    check_knows_nothing(cluster, foreign);
    CHECK(cluster.wait_for_leader() == leader);
    CHECK(raft_field(cluster, leader, "term") == term);
    REQUIRE(write(cluster, {"SET", "kept", "3"}).is("+OK"));
    change(cluster, {"RAFT", "REMOVE", id_of(foreign)}, "+OK");

    // A certificate that is still good does not help who was removed.
    change(cluster, {"RAFT", "REMOVE", id_of(removed)}, "+OK");
    check_members(cluster, {1, 2, added});
    CHECK_MESSAGE(log_says(cluster, removed, "was removed"), cluster.logs());
    cluster.set_arguments(ours.certify());
    cluster.process(removed).kill_now();
    cluster.start(removed);
    for (std::size_t i : {1u, 2u, 3u}) {
        CHECK_MESSAGE(log_says(cluster, i, "refused replica " + id_of(removed)), cluster.logs());
        CHECK_MESSAGE(counted(cluster, i, "peer_refused_unknown") > 0, cluster.logs());
    }
    check_knows_nothing(cluster, removed);
    CHECK(ask(cluster, added, {"GET", "kept"}).is("$3"));
}

namespace {

/// A replica that takes itself for a member, by what it was started with, and that nobody added.
Process start_uninvited(Cluster& cluster, std::size_t i) {
    std::vector<std::string> command{settings.server,
                                     "--id",
                                     id_of(i),
                                     "--dir",
                                     cluster.directory(i).string(),
                                     "--secret-file",
                                     cluster.secret_file().string(),
                                     "--election-timeout",
                                     "100",
                                     "--heartbeat",
                                     "10",
                                     "--bootstrap"};
    for (std::size_t j = 0; j <= i; ++j)
        command.push_back(id_of(j) + "=" + cluster.full_address(j));
    return Process::start({command, cluster.log(i)});
}

/// How many messages of one kind a replica has sent.
std::uint64_t sent(Cluster& cluster, std::size_t replica, const std::string& kind) {
    std::string text = raft_field(cluster, replica, "sent");
    std::size_t at = text.find(kind + "=");
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + kind.size() + 1));
}

}  // namespace

TEST_CASE("uninvited") {
    Cluster cluster({.spares = 1});
    constexpr std::size_t guest = 3;
    REQUIRE(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    std::size_t leader = cluster.wait_for_leader();
    std::string term = raft_field(cluster, leader, "term");
    Process process = start_uninvited(cluster, guest);
    // It asks again and again to be elected.
    auto asks_more = [&] {
        std::uint64_t before = sent(cluster, guest, "request_vote");
        return wait_until([&] { return sent(cluster, guest, "request_vote") >= before + 60; });
    };
    REQUIRE_MESSAGE(asks_more(), cluster.logs());
    REQUIRE(write(cluster, {"SET", "kept", "2"}).is("+OK"));
    CHECK(cluster.wait_for_leader() == leader);
    CHECK(raft_field(cluster, leader, "term") == term);
    for (std::size_t i : {0u, 1u, 2u}) {
        CHECK_MESSAGE(log_says(cluster, i, "is no member that this one knows of"), cluster.logs());
        CHECK_MESSAGE(counted(cluster, i, "peer_guests") > 0, info(cluster, i, "stats"));
    }
    // Nor is it elected when nobody leads.
    cluster.process(leader).kill_now();
    std::size_t next = cluster.wait_for_leader();
    CHECK(next != guest);
    REQUIRE(write(cluster, {"SET", "kept", "3"}).is("+OK"));
    term = raft_field(cluster, next, "term");
    REQUIRE_MESSAGE(asks_more(), cluster.logs());
    CHECK(cluster.wait_for_leader() == next);
    CHECK(raft_field(cluster, next, "term") == term);
    cluster.start(leader);
    check_members(cluster, {0, 1, 2});
    check_knows_nothing(cluster, guest);
}

TEST_CASE("led_by_newcomer") {
    Cluster cluster({.spares = 1});
    constexpr std::size_t added = 3;
    std::size_t away = (cluster.wait_for_leader() + 1) % 3;
    REQUIRE(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    cluster.process(away).kill_now();
    cluster.start(added);
    change(cluster, {"RAFT", "ADD", id_of(added), cluster.full_address(added)}, "+OK");
    hand_over_to(cluster, added);
    REQUIRE(write(cluster, {"SET", "kept", "2"}).is("+OK"));
    // Whoever leads is no member as far as this one knows, and the only one to tell it better.
    cluster.start(away);
    check_members(cluster, {0, 1, 2, added});
    CHECK_MESSAGE(counted(cluster, away, "peer_guests") > 0, cluster.logs());
    CHECK(ask(cluster, away, {"GET", "kept"}).is("$2"));
}

TEST_CASE("last_voter") {
    Cluster cluster({.replicas = 1, .spares = 1});
    REQUIRE(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    change(cluster, {"RAFT", "REMOVE", "1"}, "-ERR the cluster would be left without a voter");
    cluster.start(1);
    change(cluster, {"RAFT", "ADD", "2", cluster.full_address(1), "LEARNER"}, "+OK");
    change(cluster, {"RAFT", "REMOVE", "1"}, "-ERR the cluster would be left without a voter");
    change(cluster, {"RAFT", "ADD", "2", cluster.full_address(1)}, "+OK");
    change(cluster, {"RAFT", "REMOVE", "1"}, "+OK");
    cluster.process(0).kill_now();
    CHECK(write(cluster, {"SET", "kept", "2"}).is("+OK"));
    check_members(cluster, {1});
}

TEST_CASE("overruled") {
    Cluster cluster({});
    std::size_t leader = cluster.wait_for_leader(), one = (leader + 1) % 3,
                other = (leader + 2) % 3;
    cluster.process(one).kill_now();
    cluster.process(other).kill_now();
    RawConnection asks(cluster.client_address(leader));
    asks.send(encode({"RAFT", "REMOVE", id_of(other)}));
    REQUIRE(wait_until([&] { return raft_field(cluster, leader, "members_change") == "yes"; }));
    Reply second = Client(cluster.client_address(leader), 1s).call({"RAFT", "REMOVE", id_of(one)});
    // It may have noticed by now that nobody hears it.
    CHECK_MESSAGE(was_refused(second), second.show());
    // The others have not heard of it, and go on without whoever has.
    cluster.process(leader).signal(SIGSTOP);
    cluster.start(one);
    cluster.start(other);
    auto writes = [&] {
        for (std::size_t i : {one, other})
            if (Client(cluster.client_address(i), 1s).call({"SET", "kept", "1"}).is("+OK"))
                return true;
        return false;
    };
    REQUIRE_MESSAGE(wait_until(writes), cluster.logs());
    cluster.process(leader).signal(SIGCONT);
    std::optional<std::string> answer = asks.receive_reply();
    REQUIRE(answer);
    CHECK_MESSAGE(answer->starts_with("-TRYAGAIN the leader changed; the members did not"),
                  printable(*answer), cluster.logs());
    check_members(cluster, {0, 1, 2});
    CHECK(ask(cluster, leader, {"GET", "kept"}).is("$1"));
}

TEST_CASE("unreachable") {
    Cluster cluster({.spares = 1, .arguments = {"--change-timeout", "2000"}});
    constexpr std::size_t added = 3;
    const std::vector<std::string> add{"RAFT", "ADD", id_of(added), cluster.full_address(added)};
    const std::vector<std::string> remove{"RAFT", "REMOVE", id_of(added)};
    // Who is not there is a learner, which holds up nobody.
    std::size_t leader = cluster.wait_for_leader();
    RawConnection asks(cluster.client_address(leader));
    asks.send(encode(add));
    REQUIRE(wait_until([&] { return has_members(cluster, leader, {0, 1, 2, added}); }));
    change(cluster, remove, "-TRYAGAIN another change");
    CHECK(write(cluster, {"SET", "kept", "1"}).is("+OK"));
    std::string answer = asks.receive_reply().value_or("nothing");
    CHECK_MESSAGE(answer.starts_with("-TRYAGAIN the replica has not caught up; it is a learner"),
                  answer, cluster.logs());
    cluster.start(added);
    change(cluster, add, "+OK");
    check_members(cluster, {0, 1, 2, added});
    // Without a majority nobody knows what will become of a change.
    leader = cluster.wait_for_leader();
    for (std::size_t i : {0u, 1u, 2u, 3u})
        if (i != leader) cluster.process(i).kill_now();
    Client client(cluster.client_address(leader), patience);
    std::size_t other = leader == 0 ? 1 : 0;
    Reply reply = client.call({"RAFT", "REMOVE", id_of(other)});
    CHECK_MESSAGE(reply.starts_with("-UNKNOWN whether the members change"), reply.show());
    // It stands in this replica's log, and nobody else can be elected without its vote: it is made.
    for (std::size_t i : {0u, 1u, 2u, 3u})
        if (i != leader && i != other) cluster.start(i);
    std::vector<std::size_t> left{0, 1, 2, added};
    std::erase(left, other);
    check_members(cluster, left);
    CHECK(write(cluster, {"SET", "kept", "2"}).is("+OK"));
}

TEST_CASE("replace") {
    constexpr std::size_t spares = 4;
    Cluster cluster({.spares = spares, .arguments = {"--snapshot-every", "200"}});
    cluster.wait_for_leader();
    Workload workload(cluster, settings.seed);
    std::mt19937_64 random(settings.seed);
    std::vector<std::size_t> members{0, 1, 2};
    for (std::size_t next = 3; next < 3 + spares; ++next) {
        // One dies with its disk, and the leader dies while the change is under way.
        std::size_t at = random() % members.size();
        std::size_t dead = std::exchange(members[at], next);
        cluster.process(dead).kill_now();
        std::filesystem::remove_all(cluster.directory(dead));
        cluster.start(next);
        const std::vector<std::string> add{"RAFT", "ADD", id_of(next), cluster.full_address(next)};
        std::size_t leader = cluster.wait_for_leader();
        Client(cluster.client_address(leader), Milliseconds(random() % 300)).call(add);
        cluster.process(leader).kill_now();
        cluster.start(leader);
        change_anyhow(cluster, add);
        change_anyhow(cluster, {"RAFT", "REMOVE", id_of(dead)});
        REQUIRE_MESSAGE(workload.writes_go_on(), cluster.logs());
        CHECK(ask(cluster, next, {"GET", "nothing"}).is("nil"));
        check_members(cluster, members);
    }
    // From snapshots and logs of their own.
    for (std::size_t i : members) cluster.process(i).kill_now();
    for (std::size_t i : members) cluster.start(i);
    check_members(cluster, members);
    for (std::size_t i = 0; i < 3 + spares; ++i)
        if (std::count(members.begin(), members.end(), i) == 0)
            change(cluster, {"RAFT", "ADD", id_of(i), cluster.full_address(i)}, used_up);
    workload.finish_and_check();
    MESSAGE(spares, " dead replicas replaced; of the first members are left ",
            std::count_if(members.begin(), members.end(), [](std::size_t i) { return i < 3; }));
}

TEST_CASE("replace_leader") {
    constexpr std::size_t spares = 3;
    Cluster cluster({.spares = spares});
    cluster.wait_for_leader();
    Workload workload(cluster, settings.seed);
    std::vector<std::size_t> members{0, 1, 2}, removed;
    Milliseconds longest{0};
    for (std::size_t next = 3; next < 3 + spares; ++next) {
        cluster.start(next);
        change(cluster, {"RAFT", "ADD", id_of(next), cluster.full_address(next)}, "+OK");
        std::size_t leader = cluster.wait_for_leader();
        Clock::time_point begin = Clock::now();
        change(cluster, {"RAFT", "REMOVE", id_of(leader)}, "+OK");
        REQUIRE_MESSAGE(workload.writes_go_on(), cluster.logs());
        longest = (std::max)(longest, workload.longest_write_stop(begin));
        members.push_back(next);
        std::erase(members, leader);
        removed.push_back(leader);
        check_members(cluster, members);
    }
    CHECK_MESSAGE(longest < election_timeout_max / 2, "writes stopped for ", longest.count(),
                  " ms");
    // Until here those removed were asked, too; what they answered is in the history.
    for (std::size_t i : removed) {
        CHECK_MESSAGE(cluster.process(i).is_running(), "replica ", i + 1, " has ended");
        cluster.process(i).signal(SIGTERM);
        std::optional<Ended> ended = cluster.process(i).reap(patience);
        CHECK_MESSAGE((ended && ended->code == 0), "it does not stop", cluster.logs());
    }
    workload.finish_and_check();
    MESSAGE(spares, " leaders removed, longest stop of writes ", longest.count(), " ms");
}

}  // namespace kv_tests
