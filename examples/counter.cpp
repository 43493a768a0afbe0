// Three replicas of a counter, each in a thread of its own, agree on what a list of operations
// makes, although their leader stops half way.
//
//     counter +3 -1 '*2'          takes the operations from its arguments,
//     counter < operations.txt    or from standard input, one a line; blank lines do not count.
//
// Numbers have 64 bits and wrap around. Exit status: 0 if the two replicas that are left agree on
// the right value; 1 if they do not, or not in time; 2 if they do, but some line was no operation:
// it is reported, and the others are carried out all the same.
#include <atomic>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>

#include "little_raft.hpp"

using namespace std::chrono_literals;
using little_raft::Clock, little_raft::ReplicaId, little_raft::TransitionState;

// What is replicated: satisfies Transition. +3 is value * 1 + 3, and *2 is value * 2 + 0, unsigned
// because all replicas must come to the same result, even where it overflows.
struct Operation {
    std::uint64_t number, factor, summand;  // number: its place among the operations, from 1 on.
    std::string text;
    std::uint64_t get_id() const { return number; }
};

// Complete before the first thread starts.
std::vector<Operation> operations;
std::uint64_t expected = 0, bad_lines = 0;

// Whether a leader has stopped, and a bit for each replica that has not come to its end.
std::atomic<unsigned> stopped = 0, unfinished = 0b1110;

// What the operations change: satisfies StateMachine. Only its replica's thread touches it, so it
// needs no lock.
struct Counter {
    using Transition = Operation;

    // An operation may be in the log twice; see below. That it has its effect once is for the
    // machine to see to, by what it has applied: then all replicas decide alike.
    void apply_transition(const Operation& operation) {
        if (operation.number <= applied) return tell(operation.text + " was applied before");
        value = value * operation.factor + operation.summand;
        applied = operation.number;
    }

    // Each poll asks for what is new. The leader hands over the next operation once it has applied
    // the last; other replicas would only be told abandoned_not_leader.
    std::vector<Operation> get_pending_transitions() {
        if (!leads || next > applied || next == operations.size()) return {};
        return {operations[next++]};
    }

    void register_transition_state(std::uint64_t n, TransitionState state) {
        constexpr const char* names[] = {" queued", " committed", " applied", " given up"};
        tell(operations[n - 1].text + names[state > TransitionState::applied ? 3 : int(state)]);
    }

    void tell(const std::string& what) const {
        std::cout << "replica " + std::to_string(id.value) + ": " + what + ", value " +
                         std::to_string(std::int64_t(value)) + "\n";
    }

    ReplicaId id;
    std::uint64_t applied = 0, value = 0, next = 0;  // next: how many it has handed over.
    bool leads = false;
};

const little_raft::Options<Counter> timing{.election_timeout_range = {200ms, 400ms}};

// The way to the other replicas, here through memory: satisfies Cluster. The other threads touch
// the inbox, under its mutex, and the notifier.
struct Node {
    using Message = little_raft::MessageOf<Counter>;

    void send_message(ReplicaId to, Message message) {
        std::lock_guard lock(nodes[to.value - 1].mutex);
        nodes[to.value - 1].inbox.push_back(std::move(message));
        nodes[to.value - 1].notifier.notify();
    }

    std::vector<Message> receive_messages() {
        std::lock_guard lock(mutex);
        return std::exchange(inbox, {});
    }

    // A new leader begins with what it has not applied. The last leader may have handed that over
    // already, and whether that entry will be committed, nobody knows yet: so it may come twice.
    void register_leader(std::optional<ReplicaId> leader) {
        counter.leads = leader == counter.id;
        counter.next = counter.applied;
        counter.tell(leader ? "the leader is " + std::to_string(leader->value) : "no leader");
    }

    // Asked after each poll. Whoever leads half way stops there, with an operation under way; the
    // other two go on until both have applied all of them and have the right value.
    bool halt() const {
        bool stop = counter.leads && 2 * counter.next >= operations.size() && !stopped.exchange(1);
        bool right = stopped && counter.applied == operations.size() && counter.value == expected;
        if (stop || right) unfinished &= ~(1U << counter.id.value);
        return stop || unfinished == 0 || Clock::now() >= deadline;
    }

    void run() {
        little_raft::Replica replica{counter.id, {{1}, {2}, {3}}, *this, counter, timing};
        replica.start(notifier);
        counter.tell("stopped");
        for (int i = 0; i < 3; ++i) nodes[i].notifier.notify();  // Perhaps they can halt, too.
    }

    Counter counter;
    Node* nodes;
    std::mutex mutex = {};
    std::vector<Message> inbox = {};
    little_raft::Notifier notifier = {};
    little_raft::Time deadline = Clock::now() + 60s + operations.size() * 1ms;
    std::thread thread = {};
};

int main(int argc, char** argv) {
    std::vector<std::string> lines(argv + 1, argv + argc);
    for (std::string line; argc < 2 && std::getline(std::cin, line);) lines.push_back(line);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        lines[i].erase(lines[i].find_last_not_of(" \t\r") + 1);
        Operation next{operations.size() + 1, 1, 0, lines[i]};
        std::istringstream line(lines[i]);
        char symbol = 0;
        if (!(line >> symbol)) continue;
        if (symbol != '*') line.unget();  // + and - are read as the number's sign.
        if (symbol < '0' && line >> (symbol == '*' ? next.factor : next.summand) && line.eof()) {
            expected = expected * next.factor + next.summand;
            operations.push_back(next);
        } else {
            std::cerr << "line " << i + 1 << ": no operation (+, - or *, then a 64-bit number)\n";
            ++bad_lines;
        }
    }

    Node nodes[] = {{{{1}}, nodes}, {{{2}}, nodes}, {{{3}}, nodes}};
    for (Node& node : nodes) node.thread = std::thread(&Node::run, &node);
    for (Node& node : nodes) node.thread.join();
    std::cout << (unfinished ? "No agreement on " : "Agreed on ") << std::int64_t(expected) << '\n';
    return unfinished ? 1 : bad_lines > 0 ? 2 : 0;
}
