// Sessions on long logs that rapidcheck generates and shrinks, against a model that forgets
// nothing; and snapshots of them, damaged in any way.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "sessions_support.hpp"

namespace sessions {

void showValue(const Asked& asked, std::ostream& out) {
    constexpr const char* kinds[] = {"close", "open", "request"};
    out << kinds[asked.command.index()] << " by " << asked.client.value << ": " << asked.sequence
        << " of " << asked.first_unanswered << " and on";
    if (auto* limits = std::get_if<OpenSession>(&asked.command))
        out << ", at most " << limits->sessions_max << " sessions, " << limits->answers_max
            << " answers";
}

namespace {

/// All equally likely at any time in a run; rapidcheck's own begin small.
rc::Gen<std::uint64_t> below(std::uint64_t end) {
    return rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::uint64_t>(0, end));
}

/// Few clients and small numbers, so that they meet; now and then numbers from the other end.
/// Clients are counted from the one after the latest backwards; see `at`.
rc::Gen<std::vector<Asked>> logs(std::uint64_t length_max) {
    auto number = below(9);
    auto extreme = rc::gen::map(below(3), [](std::uint64_t n) { return ~n; });
    auto any = rc::gen::weightedOneOf<std::uint64_t>({{9, number}, {1, extreme}});
    auto acknowledges =
        rc::gen::weightedOneOf<std::uint64_t>({{300, below(3)}, {60, number}, {1, extreme}});
    auto opens = rc::gen::apply(
        [](std::uint64_t nonce, std::uint64_t sessions, std::uint64_t answers) {
            return opening(nonce, {sessions, answers});
        },
        number, any, any);
    auto back = rc::gen::map(below(8), [](std::uint64_t n) { return n + 1; });
    auto asks = rc::gen::apply([](std::uint64_t client, std::uint64_t sequence,
                                  std::uint64_t first) { return request(client, sequence, first); },
                               back, any, acknowledges);
    auto closes = rc::gen::map(back, [](std::uint64_t client) { return closing(client); });
    auto others = rc::gen::map(number, [](std::uint64_t amount) { return outside(amount); });
    auto asked = rc::gen::weightedOneOf<Asked>({{4, opens}, {60, asks}, {1, closes}, {2, others}});
    return rc::gen::mapcat(below(length_max), [=](std::uint64_t length) {
        return rc::gen::container<std::vector<Asked>>(length, asked);
    });
}

/// The same, when so many sessions were opened.
Asked at(const Asked& asked, std::uint64_t opened) {
    std::uint64_t back = asked.client.value;
    std::uint64_t client = back > opened + 1 ? 1 : opened + 2 - back;
    if (back == 0) return asked;
    if (std::holds_alternative<CloseSession>(asked.command)) return closing(client);
    return request(client, asked.sequence, asked.first_unanswered);
}

/// Runs a property inside a doctest test case; its smallest counterexample is printed.
template <class Property>
void holds(const char* description, Property property) {
    CHECK_MESSAGE(rc::check(description, property), "falsified: see the output above");
}

}  // namespace

TEST_CASE(
    "on any log, with snapshots anywhere, sessions are what a model that forgets nothing says") {
    std::array<std::uint64_t, 8> seen{};
    std::uint64_t snapshots = 0;
    holds("sessions are those of the model", [&](std::uint64_t seed) {
        const std::vector<Asked> log = *logs(1'500);
        Bank bank;
        Model model;
        for (std::size_t i = 0; i < log.size(); ++i) {
            std::size_t before = bank.machine().heard.size();
            RC_ASSERT(differs(bank, model, at(log[i], bank.sessions().opened)) == "");
            if (bank.machine().heard.size() > before)
                ++seen[static_cast<std::size_t>(bank.machine().heard.back().outcome)];
            seed = seed * 6364136223846793005 + 1442695040888963407;
            if (seed >> 60 != 0) continue;
            ++snapshots;
            Bank next;
            next.set_snapshot(
                {{Term{1}, Index{i + 1}}, bank.create_snapshot(Index{i + 1}, Term{1})});
            RC_ASSERT(!next.fault());
            RC_ASSERT(equal(bank, next));
            bank = next;
        }
    });
    MESSAGE(snapshots << " snapshots");
    CHECK(snapshots > 1'000);
    for (std::size_t i = 0; i < seen.size(); ++i) {
        INFO(Report{.outcome = static_cast<Outcome>(i)});
        CHECK((seen[i] > 300) == (static_cast<Outcome>(i) != Outcome::ask_again));
    }
}

TEST_CASE("a snapshot damaged in any way is refused, or taken for what it says") {
    std::uint64_t refused = 0, taken = 0;
    holds("damage does no harm", [&] {
        Bank bank;
        for (const Asked& asked : *logs(200))
            bank.apply_transition(at(asked, bank.sessions().opened));
        const std::string data = bank.create_snapshot(Index{1}, Term{1});
        for (int i = 0; i < 10; ++i) {
            std::string damaged = data;
            damaged.replace(
                *below(data.size() + 1), *below(12),
                *rc::gen::container<std::string>(*below(12), rc::gen::arbitrary<char>()));
            Bank other;
            other.set_snapshot({{Term{1}, Index{1}}, damaged});
            ++(other.fault() ? refused : taken);
            if (!other.fault()) RC_ASSERT(other.get_snapshot()->data == damaged);
            for (const Asked& asked : {opening(1), request(1, 1, 1), request(2, 3, 2)})
                other.apply_transition(asked);
            static_cast<void>(other.create_snapshot(Index{2}, Term{1}));
            RC_ASSERT(other.get_snapshot().has_value() == !other.fault());
        }
    });
    MESSAGE(refused << " refused, " << taken << " taken");
    CHECK(refused > 300);
    CHECK(taken > 50);
}

}  // namespace sessions
