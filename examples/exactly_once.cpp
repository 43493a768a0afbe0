// A deposit that is asked for twice, since the leader died before it could answer: first without
// sessions, then with them (sessions.hpp). Time is virtual, so it takes none, and all runs are
// alike.
//
// Exit status: 0 if the money was there twice without sessions, and with them once on both replicas
// that are left, and the client had its answer from either; 1 if not.
#include <cstdlib>
#include <iostream>

#include "sessions.hpp"

using little_raft::ReplicaId, little_raft::Sessioned, little_raft::SessionOutcome;

struct Deposit {
    std::uint64_t id;
    int amount;
    std::uint64_t get_id() const { return id; }
};

// What it hands over is Sessioned<Deposit>, or just Deposit; the rest is the same for both.
template <class Asked>
struct Account {
    using Transition = Deposit;
    int apply_transition(const Deposit& deposit) { return balance += deposit.amount; }
    std::vector<Asked> get_pending_transitions() { return std::exchange(pending, {}); }
    void register_transition_state(std::uint64_t, little_raft::TransitionState) {}

    // Here a server answers its client. Each replica can: all are told the same.
    void register_answer(const little_raft::SessionAnswer<int>& told) {
        if (told.outcome == SessionOutcome::opened) client = told.client;
        if (told.answer) answer = *told.answer;
        repeated = told.outcome == SessionOutcome::repeated;
    }

    std::vector<Asked> pending;
    little_raft::ClientId client;
    int balance = 0, answer = 0;
    bool repeated = false;
};

using Plain = Account<Deposit>;
using Exact = little_raft::Sessions<Account<Sessioned<Deposit>>>;

Plain& account_of(Plain& machine) { return machine; }
Account<Sessioned<Deposit>>& account_of(Exact& machine) { return machine.machine(); }

// A replica with its machine and its network, which is memory.
template <class Machine>
struct Node {
    using Message = little_raft::MessageOf<Machine>;
    void send_message(ReplicaId to, Message message) {
        nodes[to.value - 1].inbox.push_back(std::move(message));
    }
    std::vector<Message> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId> leader) { leads = leader == id; }

    ReplicaId id;
    Node* nodes;
    Machine machine = {};
    std::vector<Message> inbox = {};
    bool leads = false, dead = false;
    little_raft::Replica<Node, Machine> replica{id, {{1}, {2}, {3}}, *this, machine};
};

template <class Machine>
struct Bank {
    // Long enough for an election and all that follows.
    void run() {
        for (int ms = 0; ms < 3000; ++ms, now += std::chrono::milliseconds(1))
            for (auto& node : nodes)
                if (!node.dead) node.replica.poll(now);
    }

    // The client asks whoever leads.
    Node<Machine>& ask(const auto& transition) {
        run();
        for (auto& node : nodes) {
            if (node.dead || !node.leads) continue;
            account_of(node.machine).pending.push_back(transition);
            run();
            return node;
        }
        std::cerr << "nobody leads\n";
        std::exit(1);
    }

    // The leader makes the deposit and dies before the client hears of it; so the client asks the
    // next leader for the same.
    auto& deposit_twice(const auto& transition) {
        auto& leader = ask(transition);
        leader.dead = true;
        std::cout << "  replica " << leader.id.value << " makes the balance "
                  << account_of(leader.machine).balance << " and dies before it answers\n";
        return account_of(ask(transition).machine);
    }

    Node<Machine> nodes[3] = {{{1}, nodes}, {{2}, nodes}, {{3}, nodes}};
    little_raft::Time now = {};
};

int main() {
    std::cout << "Without sessions:\n";
    Bank<Plain> plain;
    int twice = plain.deposit_twice(Deposit{1, 10}).balance;
    std::cout << "  the client asks again, and the balance is " << twice << '\n';

    std::cout << "With sessions:\n";
    Bank<Exact> exact;
    constexpr std::uint64_t nonce = 4711;
    auto& server = account_of(
        exact.ask(Sessioned<Deposit>{.sequence = nonce, .command = little_raft::OpenSession{}})
            .machine);
    auto& heir = exact.deposit_twice(Sessioned<Deposit>{server.client, 1, 1, Deposit{1, 10}});
    std::cout << "  the client asks again, the balance is " << heir.balance << ", and the answer "
              << heir.answer << (heir.repeated ? ", as it was the first time\n" : "\n");

    bool holds = twice == 20;
    for (auto& node : exact.nodes) {
        const auto& account = account_of(node.machine);
        bool right = account.balance == 10 && account.answer == 10;
        holds = holds && right && (account.repeated || node.dead);
    }
    std::cout << (holds ? "Exactly once\n" : "It did not hold\n");
    return holds ? 0 : 1;
}
