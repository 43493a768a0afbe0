// A deposit that is asked for twice, since the leader died before it could answer: once without
// sessions, and once with them (sessions.hpp). Time is virtual, so it takes no time and does the
// same each time.
//
// Exit status: 0 if the deposit was made twice without sessions and once with them, on all replicas
// that are left, and the client got its answer; 1 if not.
#include <cstdint>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sessions.hpp"

using little_raft::ReplicaId, little_raft::SessionAnswer, little_raft::SessionOutcome;

struct Deposit {
    std::uint64_t id;
    int amount;
    std::uint64_t get_id() const { return id; }
};

// The same machine for both; only what it hands over tells them apart: T is Deposit, or
// Sessioned<Deposit>.
template <class T>
struct Account {
    using Transition = Deposit;

    int apply_transition(const Deposit& deposit) { return balance += deposit.amount; }
    void register_transition_state(std::uint64_t, little_raft::TransitionState) {}
    std::vector<T> get_pending_transitions() { return std::exchange(pending, {}); }

    // What a server would send to its client. On every replica, so whoever the client asks has it.
    void register_answer(const SessionAnswer<int>& told) {
        if (told.outcome == SessionOutcome::opened) client = told.client;
        if (told.answer) answer = *told.answer;
        repeated = told.outcome == SessionOutcome::repeated;
    }

    std::vector<T> pending;
    int balance = 0;
    little_raft::ClientId client;
    std::optional<int> answer;
    bool repeated = false;
};

using Unprotected = Account<Deposit>;
using Protected = little_raft::Sessions<Account<little_raft::Sessioned<Deposit>>>;

Unprotected& account_of(Unprotected& machine) { return machine; }
auto& account_of(Protected& machine) { return machine.machine(); }

// A replica, its machine, and its network, which is memory.
template <class M>
struct Node {
    using Message = little_raft::MessageOf<M>;

    void send_message(ReplicaId to, Message message) {
        nodes[to.value - 1].inbox.push_back(std::move(message));
    }
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId> leader) { leads = leader == id; }

    ReplicaId id;
    Node* nodes;
    M machine = {};
    std::vector<Message> inbox = {};
    bool leads = false, dead = false;
    little_raft::Replica<Node, M> replica{id, {{1}, {2}, {3}}, *this, machine};
};

template <class M>
struct Bank {
    // Three seconds are enough for an election and all that follows.
    void run() {
        for (auto end = now + std::chrono::seconds(3); now < end;
             now += std::chrono::milliseconds(1))
            for (Node<M>& node : nodes)
                if (!node.dead) node.replica.poll(now);
    }

    // The client asks whoever leads, and waits for an answer.
    Node<M>& ask(auto transition) {
        run();
        Node<M>* leader = nodes;
        while (leader->dead || !leader->leads) ++leader;
        account_of(leader->machine).pending.push_back(std::move(transition));
        run();
        return *leader;
    }

    // The deposit is applied, but the client never hears of it, and asks again.
    int deposit(auto transition) {
        Node<M>& leader = ask(transition);
        leader.dead = true;
        std::cout << "  replica " << leader.id.value << " leads, makes the balance "
                  << account_of(leader.machine).balance << ", and dies before it answers\n";
        auto& heir = account_of(ask(transition).machine);
        std::cout << "  the client asks again; the balance is " << heir.balance;
        if (heir.repeated)
            std::cout << ", and the answer is that of the first time: " << *heir.answer;
        std::cout << '\n';
        for (Node<M>& node : nodes)
            if (account_of(node.machine).balance != heir.balance && !node.dead) return -1;
        return heir.balance;
    }

    Node<M> nodes[3] = {{{1}, nodes}, {{2}, nodes}, {{3}, nodes}};
    little_raft::Time now = {};
};

int main() {
    std::cout << "Without sessions\n";
    Bank<Unprotected> unprotected;
    bool twice = unprotected.deposit(Deposit{1, 10}) == 20;

    std::cout << "With sessions\n";
    Bank<Protected> bank;
    constexpr std::uint64_t nonce = 4711;
    auto& server = account_of(
        bank.ask(Protected::Transition{.sequence = nonce, .command = little_raft::OpenSession{}})
            .machine);
    Protected::Transition first{server.client, 1, 1, Deposit{1, 10}};
    bool once = bank.deposit(first) == 10;
    for (auto& node : bank.nodes)
        once = once && (node.dead ||
                        (node.machine.machine().repeated && node.machine.machine().answer == 10));
    std::cout << (twice && once ? "Exactly once\n" : "It did not hold\n");
    return twice && once ? 0 : 1;
}
