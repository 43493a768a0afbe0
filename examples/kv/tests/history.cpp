#include "history.hpp"

#include <doctest/doctest.h>

namespace kv_tests {

namespace {

/// Addresses of all replicas, one client each.
std::vector<Client> clients_of(const Cluster& cluster, Milliseconds limit) {
    std::vector<Client> clients;
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        clients.emplace_back(cluster.client_address(i), limit);
    }
    return clients;
}

std::size_t draw(std::mt19937_64& random, std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random);
}

std::string name_of(Outcome outcome) {
    constexpr std::array names{"acknowledged", "outcome unknown", "refused"};
    return names[outcome];
}

}  // namespace

PairModel::Input Workload::choose(std::mt19937_64& random, std::size_t client) {
    // Pairs come and go, which keeps the history of each short and its check fast; some commands go
    // to pairs of before, where what was lost would be missed.
    constexpr std::uint64_t pairs_at_once = 4;
    auto age = std::chrono::duration_cast<Milliseconds>(Clock::now() - begin_).count() / 500;
    auto generation = static_cast<std::uint64_t>(age);
    if (draw(random, 5) == 0) generation = draw(random, generation + 1);
    PairModel::Input input;
    input.kind = static_cast<PairModel::Kind>(draw(random, PairModel::del_both + 1));
    // Deleting twice as seldom, reading more often than it comes by itself.
    if (input.kind == PairModel::del_both && draw(random, 2) == 0) input.kind = PairModel::get;
    input.which = draw(random, 2);
    input.pair = generation * pairs_at_once + draw(random, pairs_at_once);
    // Small numbers let INCRBY follow a SET; the client's name makes most values unlike.
    std::string value = std::to_string(draw(random, 1'000));
    input.argument = input.kind == PairModel::incrby || draw(random, 3) == 0
                         ? value
                         : "c" + std::to_string(client) + "." + value + ";";
    input.other = "m" + value;
    return input;
}

/// One attempt, at one server: to send a write again after a lost answer would be another write.
Reply Workload::send(const std::vector<std::string>& command, bool is_read,
                     std::vector<Client>& servers, std::size_t& leader, std::mt19937_64& random) {
    std::size_t to = is_read ? draw(random, servers.size()) : leader;
    Reply reply = servers[to].call(command);
    for (int hops = 0; hops < 3; ++hops) {
        std::optional<std::size_t> moved = cluster_.moved_to(reply);
        if (!moved) break;
        leader = *moved;
        reply = servers[leader].call(command);
    }
    // Somebody else may know better, the next time.
    if (!is_read && (reply.state != Reply::answered || was_refused(reply) || is_unknown(reply))) {
        leader = draw(random, servers.size());
        std::this_thread::sleep_for(20ms);
    }
    return reply;
}

void Workload::note_write(const Reply& reply) {
    std::lock_guard lock(mutex_);
    Outcome outcome = outcome_of(reply);
    ++counts_.writes[outcome];
    if (reply.starts_with("-UNKNOWN ")) ++counts_.told_unknown;
    if (outcome != acknowledged) return;
    ++acknowledged_;
    write_times_.push_back(Clock::now());
}

void Workload::write_unique(std::size_t client, std::uint64_t number, std::vector<Client>& servers,
                            std::size_t& leader, std::mt19937_64& random) {
    std::string key = "unique." + std::to_string(client) + "." + std::to_string(number);
    std::string value = std::to_string(random());
    Reply reply = send({"SET", key, value}, false, servers, leader, random);
    note_write(reply);
    std::lock_guard lock(mutex_);
    if (!reply.is("+OK") && !was_refused(reply) && !is_unknown(reply)) {
        problem_ = "SET " + key + " was answered " + reply.show();
    }
    unique_.push_back({key, value, outcome_of(reply)});
}

void Workload::run(std::size_t client, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    // Short of what an election takes, so that clients meet the unknown.
    std::vector<Client> servers = clients_of(cluster_, 1s);
    std::size_t leader = client % servers.size();
    for (std::uint64_t number = 0; !stop_; ++number) {
        if (draw(random, 5) == 0) {
            write_unique(client, number, servers, leader, random);
            continue;
        }
        PairModel::Input input = choose(random, client);
        bool is_read = PairModel::only_reads(input);
        Operation<PairModel> operation{client, input, std::nullopt, time(), std::nullopt};
        Reply reply = send(PairModel::command(input), is_read, servers, leader, random);
        if (!is_unknown(reply)) {
            operation.answered = time();
            operation.output = reply.text;
        }
        if (!is_read) note_write(reply);
        std::lock_guard lock(mutex_);
        if (is_read && operation.output) ++counts_.reads;
        if (!was_refused(reply)) history_.push_back(operation);
        pairs_ = (std::max)(pairs_, input.pair + 1);
    }
}

void Workload::read_unique_back(std::size_t replica, Client& server) {
    constexpr std::size_t at_once = 200;
    for (std::size_t first = 0; first < unique_.size(); first += at_once) {
        std::size_t end = (std::min)(first + at_once, unique_.size());
        std::vector<std::string> command{"MGET"};
        for (std::size_t i = first; i < end; ++i) command.push_back(unique_[i].key);
        Reply reply;
        wait_until([&] { return (reply = server.call(command)).starts_with("["); });
        REQUIRE_MESSAGE(reply.starts_with("["), "replica ", replica + 1, " answers ", reply.show());
        std::istringstream values(reply.text.substr(1));
        for (std::size_t i = first; i < end; ++i) {
            const Unique& written = unique_[i];
            std::string value;
            std::getline(values, value, i + 1 == end ? ']' : ',');
            value.erase(0, value.find_first_not_of(' '));
            bool there = value == "$" + written.value, absent = value == "nil";
            bool right = written.outcome == acknowledged ? there
                         : written.outcome == refused    ? absent
                                                         : there || absent;
            REQUIRE_MESSAGE(right, "replica ", replica + 1, ": ", written.key, " was written as ",
                            written.value, ", ", name_of(written.outcome), ", and is read as ",
                            value);
        }
    }
}

/// The last reads of the history: each pair, from every replica.
void Workload::read_all_back() {
    std::vector<Client> servers = clients_of(cluster_, 5s);
    for (std::size_t replica = 0; replica < servers.size(); ++replica) {
        if (!cluster_.process(replica).is_running()) continue;
        for (std::uint64_t pair = 0; pair < pairs_; ++pair) {
            PairModel::Input input{PairModel::mget, 0, {}, {}, pair};
            Operation<PairModel> operation{1'000 + replica, input, std::nullopt, time(),
                                           std::nullopt};
            Reply reply;
            wait_until([&] {
                return (reply = servers[replica].call(PairModel::command(input))).starts_with("[");
            });
            REQUIRE_MESSAGE(reply.starts_with("["), "replica ", replica + 1, " answers ",
                            reply.show());
            operation.answered = time();
            operation.output = reply.text;
            history_.push_back(operation);
        }
        read_unique_back(replica, servers[replica]);
    }
}

Workload::Counts Workload::counts() {
    std::lock_guard lock(mutex_);
    return counts_;
}

void Workload::finish_and_check() {
    stop();
    CHECK_MESSAGE(problem_.empty(), problem_);
    CHECK(counts_.writes[acknowledged] > 0);
    read_all_back();
    Linearizability result = check_linearizability(history_, {.steps = 50'000'000});
    CHECK_MESSAGE(result.verdict == Verdict::linearizable, result.text);
    MESSAGE("writes: ", counts_.writes[acknowledged], " acknowledged, ", counts_.writes[unknown],
            " unknown, ", counts_.writes[refused], " refused; ", counts_.reads,
            " reads; history of ", history_.size(), " commands on ", 2 * pairs_, " keys: ",
            std::string(result.verdict == Verdict::linearizable ? "linearizable" : "NOT EXPLAINED"),
            " (", result.steps, " placements); ", unique_.size(),
            " unique keys read back from each replica");
}

}  // namespace kv_tests
