// What the tests of examples/sessions.hpp share: a machine that knows whether it was called twice
// for the same request, and a model of sessions that remembers everything.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "../examples/sessions.hpp"

namespace sessions {

namespace lr = little_raft;
using lr::ClientId;
using lr::CloseSession;
using lr::Index;
using lr::OpenSession;
using lr::Term;
using Outcome = lr::SessionOutcome;

/// It carries whose it is and its number, for the ledger to know: Sessions does not look at it.
struct Deposit {
    std::uint64_t id = 0;
    std::uint64_t client = 0;
    std::uint64_t sequence = 0;
    std::uint64_t amount = 1;
    std::uint64_t get_id() const { return id; }
    friend bool operator==(const Deposit&, const Deposit&) = default;
};

using Asked = lr::Sessioned<Deposit>;

inline Asked opening(std::uint64_t nonce, OpenSession limits = {}) {
    return {.sequence = nonce, .command = limits};
}
inline Asked closing(std::uint64_t client, std::uint64_t sequence = 0) {
    return {.client = {client}, .sequence = sequence, .command = CloseSession{}};
}
/// By a client that has all answers below `first`.
inline Asked request(std::uint64_t client, std::uint64_t sequence, std::uint64_t first,
                     std::uint64_t id = 0) {
    return {
        {client}, sequence, first, Deposit{id, client, sequence, 1 + (client * 7 + sequence) % 5}};
}
/// Without a session.
inline Asked outside(std::uint64_t amount, std::uint64_t id = 0) {
    return {.command = Deposit{id, 0, 0, amount}};
}

/// What a client is told.
struct Report {
    std::uint64_t client = 0;
    std::uint64_t sequence = 0;
    Outcome outcome = Outcome::ask_again;
    std::optional<std::uint64_t> answer = std::nullopt;
    friend bool operator==(const Report&, const Report&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Report& report) {
        constexpr const char* names[] = {"opened",    "closed",       "applied",       "repeated",
                                         "ask_again", "acknowledged", "too_far_ahead", "expired"};
        out << names[static_cast<int>(report.outcome)] << " (client " << report.client
            << ", sequence " << report.sequence << ')';
        if (report.answer) out << " = " << *report.answer;
        return out;
    }
};

/// A sum. What it answers is the sum after the deposit, so no two answers are alike. It knows what
/// it was called for, and notices what must not be.
struct Ledger {
    using Transition = Deposit;
    using SnapshotData = std::string;

    // State.
    std::uint64_t total = 0;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> done;  // Answers, by request.
    std::string wrong;

    // What it was told since it was made.
    std::vector<Report> heard;
    std::vector<std::pair<std::uint64_t, lr::TransitionState>> states;
    std::vector<Asked> pending;
    std::optional<lr::Snapshot<std::string>> saved;

    std::uint64_t apply_transition(const Deposit& deposit) {
        total += deposit.amount;
        bool in_session = deposit.client != 0;
        if (in_session && !done.emplace(std::pair(deposit.client, deposit.sequence), total).second)
            wrong = "a request was applied twice";
        return total;
    }
    void register_answer(const lr::SessionAnswer<std::uint64_t>& answer) {
        heard.push_back({answer.client.value, answer.sequence, answer.outcome, std::nullopt});
        if (answer.answer) heard.back().answer = *answer.answer;
        bool has_answer = answer.outcome == Outcome::applied || answer.outcome == Outcome::repeated;
        if (has_answer != (answer.answer != nullptr)) wrong = "an answer is missing or not due";
        if (!has_answer || !answer.answer) return;
        auto first = done.find({answer.client.value, answer.sequence});
        if (first == done.end() || first->second != *answer.answer)
            wrong = "an answer is not the first one of that request";
    }
    void register_transition_state(std::uint64_t id, lr::TransitionState state) {
        states.emplace_back(id, state);
    }
    std::vector<Asked> get_pending_transitions() { return std::exchange(pending, {}); }

    std::optional<lr::Snapshot<std::string>> get_snapshot() { return saved; }
    std::string create_snapshot(Index index, Term term) {
        std::string text = std::to_string(total);
        for (const auto& [request, answer] : done) {
            for (std::uint64_t number : {request.first, request.second, answer})
                text += ' ' + std::to_string(number);
        }
        saved = {{term, index}, text};
        return text;
    }
    void set_snapshot(const lr::Snapshot<std::string>& snapshot) {
        saved = snapshot;
        done.clear();
        std::vector<std::uint64_t> numbers(1);
        for (char c : snapshot.data) {
            if (c == ' ') numbers.push_back(0);
            if (c != ' ')
                numbers.back() = numbers.back() * 10 + static_cast<unsigned char>(c) - '0';
        }
        total = numbers[0];
        for (std::size_t i = 1; i + 2 < numbers.size(); i += 3)
            done[{numbers[i], numbers[i + 1]}] = numbers[i + 2];
    }
};

using Bank = lr::Sessions<Ledger>;

inline bool equal(const Bank& a, const Bank& b) {
    return a.sessions() == b.sessions() && a.machine().total == b.machine().total &&
           a.machine().done == b.machine().done && a.machine().wrong == b.machine().wrong;
}

/// What sessions are, in plain words: it forgets nothing and looks through all of it each time.
class Model {
 public:
    /// Nothing, if nobody is told anything.
    std::optional<Report> apply(const Asked& asked) {
        ++now_;
        std::uint64_t client = asked.client.value;
        if (auto* limits = std::get_if<OpenSession>(&asked.command)) {
            while (!living().empty() && living().size() >= limits->sessions_max)
                clients_[living().front()].gone = true;
            clients_.push_back(
                {.used = now_, .most = std::max<std::uint64_t>(limits->answers_max, 1)});
            return Report{clients_.size(), asked.sequence, Outcome::opened};
        }
        if (std::holds_alternative<CloseSession>(asked.command)) {
            if (lives(client)) clients_[client - 1].gone = true;
            return Report{client, asked.sequence, Outcome::closed};
        }
        const Deposit& deposit = std::get<Deposit>(asked.command);
        if (client == 0) {
            total_ += deposit.amount;
            return std::nullopt;
        }
        if (!lives(client)) return Report{client, asked.sequence, Outcome::expired};
        Client& own = clients_[client - 1];
        own.used = now_;
        own.first = std::max(own.first, asked.first_unanswered);
        Report report{client, asked.sequence, Outcome::applied};
        if (asked.sequence < own.first) {
            report.outcome = Outcome::acknowledged;
        } else if (own.all.contains(asked.sequence)) {
            report.outcome = Outcome::repeated;
            report.answer = own.all[asked.sequence];
        } else if (asked.sequence - own.first >= own.most) {
            report.outcome = Outcome::too_far_ahead;
        } else {
            report.answer = own.all[asked.sequence] = total_ += deposit.amount;
        }
        return report;
    }

    std::uint64_t total() const { return total_; }

    /// What Sessions must remember, and no more.
    lr::SessionState<std::uint64_t> state() const {
        lr::SessionState<std::uint64_t> state{clients_.size(), {}};
        for (std::size_t i : living()) {
            const Client& client = clients_[i];
            state.sessions.push_back({{i + 1}, client.first, client.most, {}});
            for (const auto& [sequence, answer] : client.all) {
                if (sequence >= client.first)
                    state.sessions.back().answers.push_back({sequence, answer});
            }
        }
        return state;
    }

 private:
    struct Client {
        std::uint64_t used = 0;
        std::uint64_t most = 1;
        std::uint64_t first = 0;
        std::map<std::uint64_t, std::uint64_t> all = {};
        bool gone = false;
    };

    bool lives(std::uint64_t client) const {
        return client > 0 && client <= clients_.size() && !clients_[client - 1].gone;
    }
    /// Those that have not expired, least recently used first.
    std::vector<std::size_t> living() const {
        std::vector<std::size_t> found;
        for (std::size_t i = 0; i < clients_.size(); ++i) {
            if (!clients_[i].gone) found.push_back(i);
        }
        std::sort(found.begin(), found.end(), [&](std::size_t a, std::size_t b) {
            return clients_[a].used < clients_[b].used;
        });
        return found;
    }

    std::vector<Client> clients_;
    std::uint64_t total_ = 0;
    std::uint64_t now_ = 0;
};

/// Applies to both, and says what is different.
inline std::string differs(Bank& bank, Model& model, const Asked& asked) {
    std::size_t before = bank.machine().heard.size();
    bank.apply_transition(asked);
    std::optional<Report> expected = model.apply(asked);
    const std::vector<Report>& heard = bank.machine().heard;
    if (heard.size() != before + (expected ? 1 : 0)) return "told once too often or too little";
    if (expected && !(heard.back() == *expected)) return "told something else";
    if (!bank.machine().wrong.empty()) return bank.machine().wrong;
    if (bank.machine().total != model.total()) return "another total";
    if (!(bank.sessions() == model.state())) return "other sessions";
    return "";
}

}  // namespace sessions
