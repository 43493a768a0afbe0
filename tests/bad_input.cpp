// What a network, a disk or a configuration file can hold but should not: it is dropped and
// counted, or it is a fault; it changes nothing else, and it never ends the process.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::LogPosition;
using lr::Role;

constexpr std::uint64_t max64 = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t absurd = std::uint64_t{1} << 62;
constexpr std::array all_roles{Role::follower, Role::pre_candidate, Role::candidate, Role::leader};

const char* name_of(Role role) {
    constexpr std::array names{"follower", "pre-candidate", "candidate", "leader"};
    return names[static_cast<std::size_t>(role)];
}

/// Replica 1 of {1, 2, 3} in that role. It knows entries of terms 1, 1, 2, the first two committed,
/// from replica 2, which led in term 3.
std::unique_ptr<Node> node_in(Role role) {
    auto node = std::make_unique<Node>();
    node->poll();
    node->poll({node->from(2, 3, AppendEntries{{}, Index{2}, entries_of_terms({1, 1, 2})})});
    if (role != Role::follower) node->time_out();
    if (role == Role::candidate || role == Role::leader) {
        node->poll({node->from(2, 3, lr::RequestVoteResponse{true, true})});
    }
    if (role == Role::leader) node->poll({node->from(2, 4, lr::RequestVoteResponse{false, true})});
    node->poll();
    node->sent();
    REQUIRE(node->status().role == role);
    REQUIRE(node->status().commit_index == Index{2});
    return node;
}

/// What a bad message must not change.
struct Observed {
    Role role;
    Term term;
    std::optional<ReplicaId> vote;
    std::optional<ReplicaId> leader;
    std::vector<std::uint64_t> log;
    std::array<Index, 5> indexes;
    std::vector<std::uint64_t> applied;
    std::size_t disk_calls;
    friend bool operator==(const Observed&, const Observed&) = default;
};

Observed observe(Node& node) {
    lr::Status s = node.status();
    return {s.role,
            s.term,
            node.disk.written.voted_for,
            s.leader,
            terms_of(node.disk.written.entries),
            {s.first_log_index, s.last_log_index, s.commit_index, s.last_applied, s.snapshot.index},
            node.machine.applied,
            node.disk.calls.size()};
}

struct Case {
    std::string name;
    Message message;
};

/// One well-formed body of each kind.
std::vector<decltype(Message::body)> bodies() {
    return {
        lr::RequestVote{false, {Term{3}, Index{9}}},
        lr::RequestVoteResponse{false, true},
        AppendEntries{{Term{2}, Index{3}}, Index{3}, {}},
        lr::AppendEntriesResponse{true, Index{3}, {}},
        InstallSnapshot{{Term{3}, Index{9}}, 0, "", true},
    };
}

/// The messages of the table must be counted as malformed, all of them and as nothing else.
void check_malformed(Node& node, const std::vector<Case>& table) {
    for (const Case& row : table) {
        CAPTURE(row.name);
        CAPTURE(row.message.body.index());
        Observed before = observe(node);
        lr::Counters counters = node.status().counters;
        lr::Time deadline = node.poll();
        CHECK(node.poll({row.message}) == deadline);
        CHECK(node.status().counters.malformed == counters.malformed + 1);
        CHECK(node.status().counters.dropped == counters.dropped);
        CHECK(node.sent().empty());
        CHECK(observe(node) == before);
    }
}

enum class Timer { untouched, restarted };

/// The messages of the table must be counted as dropped. They may be answered, and those of the
/// leader show that it lives.
void check_dropped(Node& node, const std::vector<Case>& table, Timer timer = Timer::untouched) {
    for (const Case& row : table) {
        CAPTURE(row.name);
        Observed before = observe(node);
        lr::Counters counters = node.status().counters;
        lr::Time deadline = node.poll();
        CHECK((node.poll({row.message}) == deadline || timer == Timer::restarted));
        CHECK(node.status().counters.malformed == counters.malformed);
        CHECK(node.status().counters.dropped == counters.dropped + 1);
        CHECK(observe(node) == before);
    }
}

}  // namespace

// ----- Malformed ---------------------------------------------------------------------------------

TEST_CASE("a message of an unknown sender, of oneself or for another is malformed") {
    for (Role role : all_roles) {
        CAPTURE(name_of(role));
        auto node = node_in(role);
        std::vector<Case> table;
        for (std::uint64_t term : std::vector<std::uint64_t>{
                 std::uint64_t{1}, node->status().term.value, std::uint64_t{9}}) {
            for (const auto& body : bodies()) {
                table.push_back({"unknown sender", {{77}, {1}, {term}, body}});
                table.push_back({"sender 0", {{0}, {1}, {term}, body}});
                table.push_back({"from itself", {{1}, {1}, {term}, body}});
                table.push_back({"to another member", {{2}, {3}, {term}, body}});
                table.push_back({"to its sender", {{2}, {2}, {term}, body}});
                table.push_back({"to a stranger", {{2}, {77}, {term}, body}});
            }
        }
        check_malformed(*node, table);
    }
}

TEST_CASE("a message of term 0 or of an absurd term is malformed") {
    for (Role role : all_roles) {
        CAPTURE(name_of(role));
        auto node = node_in(role);
        std::vector<Case> table;
        for (std::uint64_t term :
             std::vector<std::uint64_t>{std::uint64_t{0}, absurd, absurd + 1, max64 - 1, max64}) {
            for (const auto& body : bodies()) {
                // A replica that never took part asks in term 0 for PreVotes and is answered.
                bool answers = body.index() == 1 || body.index() == 3;
                if (term == 0 && answers) continue;
                table.push_back({"term " + std::to_string(term), {{2}, {1}, {term}, body}});
            }
        }
        check_malformed(*node, table);
        table.clear();
        for (std::size_t kind : {1U, 3U}) {
            table.push_back({"answer of term 0", {{2}, {1}, {}, bodies()[kind]}});
        }
        check_dropped(*node, table);
    }
}

TEST_CASE("entries that no leader can hold are malformed") {
    for (Role role : all_roles) {
        CAPTURE(name_of(role));
        auto node = node_in(role);
        auto append = [](std::uint64_t prev, std::uint64_t prev_term,
                         const std::vector<std::uint64_t>& terms) {
            return AppendEntries{{{prev_term}, {prev}}, Index{3}, entries_of_terms(terms, 50)};
        };
        std::vector<Case> table{
            {"terms fall", node->from(2, 6, append(3, 2, {5, 4}))},
            {"terms fall at the end", node->from(2, 6, append(3, 2, {5, 5, 5, 6, 5}))},
            {"first entry older than the one before", node->from(2, 6, append(3, 2, {1}))},
            {"entry newer than the message", node->from(2, 6, append(3, 2, {5, 7}))},
            {"previous entry newer than the message", node->from(2, 6, append(3, 7, {}))},
            {"entry of the last term there is", node->from(2, 6, append(3, 2, {max64}))},
            {"absurd place", node->from(2, 6, append(absurd, 2, {5}))},
            {"end of numbers", node->from(2, 6, append(max64, 2, {5, 5}))},
            {"end of numbers, no entries", node->from(2, 6, append(max64, 2, {}))},
        };
        check_malformed(*node, table);
    }
}

TEST_CASE("a request for a vote for a log that nobody can hold is malformed") {
    for (Role role : all_roles) {
        CAPTURE(name_of(role));
        auto node = node_in(role);
        for (bool pre_vote : {false, true}) {
            auto request = [&](std::uint64_t index, std::uint64_t term) {
                return node->from(2, 6, lr::RequestVote{pre_vote, {{term}, {index}}});
            };
            check_malformed(*node, {
                                       {"newer than the message", request(9, 7)},
                                       {"last term there is", request(9, max64)},
                                       {"absurd place", request(absurd, 3)},
                                       {"end of numbers", request(max64, 3)},
                                   });
        }
    }
}

TEST_CASE("a snapshot that no leader can hold is malformed") {
    for (Role role : all_roles) {
        CAPTURE(name_of(role));
        auto node = node_in(role);
        auto install = [](std::uint64_t index, std::uint64_t term) {
            return InstallSnapshot{{{term}, {index}}, 0, "12345678", true};
        };
        check_malformed(*node, {
                                   {"newer than the message", node->from(2, 6, install(9, 7))},
                                   {"last term there is", node->from(2, 6, install(9, max64))},
                                   {"absurd place", node->from(2, 6, install(absurd, 3))},
                                   {"end of numbers", node->from(2, 6, install(max64, 3))},
                               });
    }
}

TEST_CASE("entries and snapshots of term 0, which comes before every election, are malformed") {
    auto node = std::make_unique<Node>();
    node->poll();
    check_malformed(
        *node, {
                   {"entry", node->from(2, 1, AppendEntries{{}, {}, entries_of_terms({0})})},
                   {"snapshot", node->from(2, 1, InstallSnapshot{{{}, Index{5}}, 0, "", true})},
               });
}

namespace {

struct Plain {
    using Transition = Command;
    void register_transition_state(std::uint64_t, lr::TransitionState) {}
    void apply_transition(const Command&) {}
    std::vector<Command> get_pending_transitions() { return {}; }
};
using PlainMessage = lr::MessageOf<Plain>;
using PlainInstall = std::variant_alternative_t<4, decltype(PlainMessage::body)>;

struct PlainWire {
    std::vector<PlainMessage> inbox, sent;
    void send_message(ReplicaId, PlainMessage message) { sent.push_back(std::move(message)); }
    std::vector<PlainMessage> receive_messages() { return std::exchange(inbox, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
};

}  // namespace

TEST_CASE("a machine without snapshots never takes a part of one") {
    PlainWire wire;
    Plain machine;
    lr::Replica replica{ReplicaId{1}, {ReplicaId{2}, ReplicaId{3}}, wire, machine};
    lr::Time deadline = replica.poll(lr::Time{});
    wire.inbox.push_back({{2}, {1}, {7}, PlainInstall{{Term{3}, Index{5}}, 0, {}, true}});
    wire.inbox.push_back({{2}, {1}, {7}, PlainInstall{}});
    CHECK(replica.poll(lr::Time{}) == deadline);
    CHECK(replica.status().counters.malformed == 2);
    CHECK(replica.status().term == Term{});
    CHECK(replica.status().last_log_index == Index{});
    CHECK(wire.sent.empty());
    // The answer to a chunk is only out of place here.
    wire.inbox.push_back(
        {{2}, {1}, {1}, lr::AppendEntriesResponse{false, Index{max64}, {}, max64}});
    replica.poll(lr::Time{});
    CHECK(replica.status().counters.dropped == 1);
}

// ----- Out of date or out of place ---------------------------------------------------------------

TEST_CASE("a message of an older term changes nothing") {
    for (Role role : all_roles) {
        CAPTURE(name_of(role));
        auto node = node_in(role);
        std::vector<Case> table;
        for (std::uint64_t term = 1; term < node->status().term.value; ++term) {
            auto append = AppendEntries{{Term{1}, Index{2}}, Index{9}, {}};
            append.entries = entries_of_terms({term, term}, 60);
            table.push_back({"append", node->from(2, term, append)});
            table.push_back({"vote", node->from(3, term, lr::RequestVote{false, {{term}, {9}}})});
            table.push_back(
                {"pre-vote", node->from(3, term, lr::RequestVote{true, {{term}, {9}}})});
            for (bool pre_vote : {false, true}) {
                for (std::uint64_t voter : std::vector<std::uint64_t>{2, 3}) {
                    auto grant = lr::RequestVoteResponse{pre_vote, true};
                    table.push_back({"grant", node->from(voter, term, grant)});
                }
            }
            auto success = lr::AppendEntriesResponse{true, Index{3}, {}};
            table.push_back({"success", node->from(2, term, success)});
            table.push_back({"refusal", node->from(2, term, lr::AppendEntriesResponse{})});
            auto chunk = InstallSnapshot{{Term{term}, Index{9}}, 0, "12345678", true};
            table.push_back({"snapshot", node->from(2, term, chunk)});
            auto answer = lr::AppendEntriesResponse{false, Index{9}, {}, 4};
            table.push_back({"chunk's answer", node->from(2, term, answer)});
        }
        check_dropped(*node, table);
        CHECK(node->sent_of<lr::RequestVoteResponse>().size() ==
              2 * (node->status().term.value - 1));
    }
}

TEST_CASE("an answer to what was not asked is dropped") {
    for (Role role : all_roles) {
        CAPTURE(name_of(role));
        auto node = node_in(role);
        std::uint64_t now = node->status().term.value;
        std::vector<Case> table{
            {"refused vote", node->from(2, now, lr::RequestVoteResponse{false, false})},
            {"pre-vote of the past", node->from(2, now - 1, lr::RequestVoteResponse{true, true})},
        };
        if (role != Role::candidate) {
            table.push_back({"vote", node->from(2, now, lr::RequestVoteResponse{false, true})});
        }
        if (role != Role::pre_candidate) {
            table.push_back({"pre-vote", node->from(2, now, lr::RequestVoteResponse{true, true})});
        }
        if (role != Role::leader) {
            for (bool success : {false, true}) {
                auto answer = lr::AppendEntriesResponse{success, Index{3}, {}};
                table.push_back({"answer to no append", node->from(2, now, answer)});
            }
        }
        check_dropped(*node, table);
        CHECK(node->sent().empty());
    }
}

TEST_CASE("a second leader in one term is not followed") {
    std::vector<std::pair<Role, std::uint64_t>> claims{{Role::follower, 3}, {Role::leader, 2}};
    for (const auto& claim : claims) {
        Role role = claim.first;  // clang 14 captures no structured binding.
        std::uint64_t claimant = claim.second;
        CAPTURE(name_of(role));
        auto node = node_in(role);
        std::uint64_t now = node->status().term.value;
        AppendEntries append{{Term{2}, Index{3}}, Index{5}, {}};
        append.entries = entries_of_terms({now, now}, 70);
        InstallSnapshot install{{Term{now}, Index{9}}, 0, "12345678", true};
        check_dropped(*node, {
                                 {"append", node->from(claimant, now, append)},
                                 {"heartbeat", node->from(claimant, now, AppendEntries{})},
                                 {"snapshot", node->from(claimant, now, install)},
                             });
        CHECK(node->sent().empty());
    }
}

TEST_CASE("a success past the end of the log is dropped") {
    auto node = node_in(Role::leader);
    std::uint64_t now = node->status().term.value;
    std::uint64_t last = node->status().last_log_index.value;
    std::vector<Case> table;
    for (std::uint64_t match :
         std::vector<std::uint64_t>{last + 1, last + 2, absurd, max64 - 1, max64}) {
        for (std::uint64_t peer : std::vector<std::uint64_t>{2, 3}) {
            table.push_back({"match " + std::to_string(match),
                             node->from(peer, now, lr::AppendEntriesResponse{true, {match}, {}})});
        }
    }
    check_dropped(*node, table);
}

TEST_CASE("a refusal moves no bound, whatever it says") {
    for (std::uint64_t refused :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{3}, absurd, max64 - 1, max64}) {
        for (std::uint64_t hint :
             std::vector<std::uint64_t>{std::uint64_t{0}, std::uint64_t{2}, absurd, max64}) {
            for (std::uint64_t hint_term :
                 std::vector<std::uint64_t>{std::uint64_t{0}, std::uint64_t{2}, max64}) {
                CAPTURE(refused);
                CAPTURE(hint);
                CAPTURE(hint_term);
                auto node = node_in(Role::leader);
                Observed before = observe(*node);
                lr::AppendEntriesResponse no{false, {refused}, {{hint_term}, {hint}}};
                for (int i = 0; i < 3; ++i) node->poll({node->from(2, 4, no)});
                CHECK(observe(*node) == before);
                const lr::Progress peer = node->status().progress.at(1);
                CHECK(peer.match_index == Index{});
                CHECK(peer.next_index >= Index{1});
                CHECK(peer.next_index <= node->status().last_log_index + 1);
                // It is not lost: the truth is still believed.
                node->poll({node->from(2, 4, lr::AppendEntriesResponse{true, Index{4}, {}})});
                CHECK(node->status().commit_index == Index{4});
            }
        }
    }
}

TEST_CASE("a commit index commits no more than what the message verified") {
    for (std::uint64_t commit :
         std::vector<std::uint64_t>{std::uint64_t{0}, std::uint64_t{1}, absurd, max64}) {
        CAPTURE(commit);
        auto node = node_in(Role::follower);
        node->poll({node->from(2, 3, AppendEntries{{Term{1}, Index{2}}, {commit}, {}})});
        CHECK(node->status().commit_index == Index{2});
        CHECK(node->status().last_log_index == Index{3});
    }
}

TEST_CASE("a place that the log does not hold is refused, and nothing else") {
    struct Row {
        std::uint64_t index, term;
    };
    for (Row row : {Row{3, 0}, {3, 1}, {3, 3}, {4, 2}, {4, 3}, {1000, 3}, {absurd - 1, 3}}) {
        CAPTURE(row.index);
        CAPTURE(row.term);
        auto node = node_in(Role::follower);
        AppendEntries append{{{row.term}, {row.index}}, {max64}, entries_of_terms({3, 3}, 80)};
        node->poll({node->from(2, 3, append)});
        auto answers = node->sent_of<lr::AppendEntriesResponse>();
        REQUIRE(answers.size() == 1);
        CHECK_FALSE(answers[0].success);
        CHECK(answers[0].match_index == Index{row.index});
        CHECK(answers[0].hint.index <= Index{3});
        CHECK(terms_of(node->disk.written.entries) == std::vector<std::uint64_t>{1, 1, 2});
        CHECK(node->status().commit_index == Index{2});
    }
}

TEST_CASE("a place before the committed ones is answered with what is committed") {
    for (std::uint64_t index : std::vector<std::uint64_t>{0, 1}) {
        for (std::uint64_t term : std::vector<std::uint64_t>{0, 1, 3}) {
            CAPTURE(index);
            CAPTURE(term);
            auto node = node_in(Role::follower);
            AppendEntries append{{{term}, {index}}, {max64}, entries_of_terms({3, 3, 3, 3}, 80)};
            node->poll({node->from(2, 3, append)});
            auto answers = node->sent_of<lr::AppendEntriesResponse>();
            REQUIRE(answers.size() == 1);
            CHECK(answers[0].success);
            CHECK(answers[0].match_index == Index{2});
            CHECK(terms_of(node->disk.written.entries) == std::vector<std::uint64_t>{1, 1, 2});
            CHECK(node->status().commit_index == Index{2});
        }
    }
}

// ----- Repetitions -------------------------------------------------------------------------------

TEST_CASE("an append that comes twice, or late, cuts nothing off") {
    auto node = node_in(Role::follower);
    Message first =
        node->from(2, 3, AppendEntries{{Term{2}, Index{3}}, Index{2}, entries_of_terms({3}, 4)});
    Message second =
        node->from(2, 3, AppendEntries{{Term{3}, Index{4}}, Index{3}, entries_of_terms({3}, 5)});
    node->poll({first, second});
    node->sent();
    Observed before = observe(*node);
    node->poll({second});
    node->poll({first, first});
    CHECK(observe(*node) == before);
    std::vector<std::uint64_t> verified;
    for (const auto& answer : node->sent_of<lr::AppendEntriesResponse>()) {
        CHECK(answer.success);
        verified.push_back(answer.match_index.value);
    }
    CHECK(verified == std::vector<std::uint64_t>{5, 4});
}

TEST_CASE("a vote that comes twice counts once") {
    Node node(1, {2, 3, 4, 5});
    node.poll();
    node.time_out();
    Message pre_vote = node.from(2, 0, lr::RequestVoteResponse{true, true});
    node.poll({pre_vote, pre_vote, pre_vote});
    CHECK(node.status().role == Role::pre_candidate);
    node.poll({node.from(3, 0, lr::RequestVoteResponse{true, true})});
    REQUIRE(node.status().role == Role::candidate);
    Message vote = node.from(2, 1, lr::RequestVoteResponse{false, true});
    node.poll({vote, vote});
    node.poll({vote});
    CHECK(node.status().role == Role::candidate);
    node.poll({node.from(4, 1, lr::RequestVoteResponse{false, true})});
    CHECK(node.status().role == Role::leader);
}

TEST_CASE("a success that comes twice counts once") {
    Node node(1, {2, 3, 4, 5});
    node.elect();
    Message success = node.from(2, 1, lr::AppendEntriesResponse{true, Index{1}, {}});
    node.poll({success, success, success});
    CHECK(node.status().commit_index == Index{});
    node.poll({node.from(3, 1, lr::AppendEntriesResponse{true, Index{1}, {}})});
    CHECK(node.status().commit_index == Index{1});
}

TEST_CASE("a request for a vote that comes twice is granted to the same candidate twice") {
    Node node;
    node.poll();
    Message request = node.from(2, 5, lr::RequestVote{});
    Message rival = node.from(3, 5, lr::RequestVote{false, {Term{4}, Index{9}}});
    node.poll({request, rival, request});
    auto answers = node.sent_of<lr::RequestVoteResponse>();
    REQUIRE(answers.size() == 3);
    CHECK(answers[0].vote_granted);
    CHECK_FALSE(answers[1].vote_granted);
    CHECK(answers[2].vote_granted);
    CHECK(node.disk.durable.voted_for == ReplicaId{2});
}

// ----- Chunks ------------------------------------------------------------------------------------

TEST_CASE("chunks that do not follow each other are dropped, and answered with what is there") {
    auto node = node_in(Role::follower);
    auto chunk = [&](std::uint64_t index, std::uint64_t offset, std::string data, bool done) {
        InstallSnapshot body{{Term{3}, {index}}, offset, std::move(data), done};
        return node->from(2, 3, std::move(body));
    };
    auto offsets = [&] {
        std::vector<std::uint64_t> result;
        for (const auto& answer : node->sent_of<lr::AppendEntriesResponse>()) {
            CHECK_FALSE(answer.success);
            result.push_back(answer.snapshot_offset);
        }
        return result;
    };
    Observed before = observe(*node);
    for (std::uint64_t offset :
         std::vector<std::uint64_t>{std::uint64_t{1}, std::uint64_t{8}, max64 - 1, max64}) {
        check_dropped(*node, {{"nothing came before", chunk(9, offset, "12345678", true)}},
                      Timer::restarted);
    }
    CHECK(offsets() == std::vector<std::uint64_t>{0, 0, 0, 0});

    node->poll({chunk(9, 0, "12345678", false)});
    CHECK(offsets() == std::vector<std::uint64_t>{8});
    check_dropped(*node,
                  {
                      {"again", chunk(9, 0, "12345678", false)},
                      {"a gap", chunk(9, 9, "12345678", true)},
                      {"an overlap", chunk(9, 7, "12345678", true)},
                      {"end of numbers", chunk(9, max64, "12345678", true)},
                  },
                  Timer::restarted);
    CHECK(offsets() == std::vector<std::uint64_t>{8, 8, 8, 8});

    // A part of another snapshot is not joined to this one, and what is there is given up for it.
    check_dropped(*node, {{"of another snapshot", chunk(10, 8, "12345678", true)}},
                  Timer::restarted);
    CHECK(offsets() == std::vector<std::uint64_t>{0});
    check_dropped(*node, {{"of the one given up", chunk(9, 8, "12345678", true)}},
                  Timer::restarted);
    CHECK(offsets() == std::vector<std::uint64_t>{0});
    CHECK(observe(*node).indexes == before.indexes);
    CHECK(node->machine.set_snapshot_calls == 0);
}

TEST_CASE("a snapshot of what is committed already is not taken") {
    auto node = node_in(Role::follower);
    Observed before = observe(*node);
    for (std::uint64_t index : std::vector<std::uint64_t>{0, 1, 2}) {
        for (std::uint64_t offset :
             std::vector<std::uint64_t>{std::uint64_t{0}, std::uint64_t{8}, max64}) {
            InstallSnapshot install{{Term{3}, {index}}, offset, "12345678", true};
            node->poll({node->from(2, 3, install)});
            auto answers = node->sent_of<lr::AppendEntriesResponse>();
            REQUIRE(answers.size() == 1);
            CHECK(answers[0].success);
            CHECK(answers[0].match_index == Index{2});
        }
    }
    CHECK(observe(*node) == before);
    CHECK(node->machine.set_snapshot_calls == 0);
}

TEST_CASE("an absurd answer to a chunk makes the leader read nothing beyond the snapshot") {
    Node node(1, {2, 3});
    node.options.snapshot_chunk_bytes = 8;
    node.machine.saved = {{Term{1}, Index{4}}, std::string(32, 'x')};
    node.disk.written = {Term{1}, std::nullopt, {Term{1}, Index{4}}, {}};
    node.disk.durable = node.disk.written;
    node.elect();
    auto answer = [&](std::uint64_t offset) {
        return node.from(2, 2, lr::AppendEntriesResponse{false, Index{4}, {}, offset});
    };
    node.poll({answer(0)});
    REQUIRE(node.sent_of<InstallSnapshot>().size() == 1);
    node.poll({answer(0)});  // Nothing new.
    CHECK(node.sent().empty());
    for (std::uint64_t offset : std::vector<std::uint64_t>{32, 33, max64 - 1, max64}) {
        node.poll({answer(offset)});
        auto chunks = node.sent_of<InstallSnapshot>();
        REQUIRE(chunks.size() == 1);
        CHECK(chunks[0].offset == 32);
        CHECK(chunks[0].data.empty());
        CHECK(chunks[0].done);
        node.poll({answer(8)});  // What the follower says to that.
        chunks = node.sent_of<InstallSnapshot>();
        REQUIRE(chunks.size() == 1);
        CHECK(chunks[0].offset == 8);
        CHECK(chunks[0].data.size() == 8);
    }
}

// ----- Any message in any role -------------------------------------------------------------------

namespace {

/// The tests' own generator, so that a failure's seed means the same everywhere.
struct Random {
    std::uint64_t state;

    std::uint64_t next() {
        std::uint64_t z = (state += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    bool one_in(std::uint64_t chances) { return below(chances) == 0; }

    /// Near `center` as a rule, at an edge now and then.
    std::uint64_t near(std::uint64_t center) {
        const std::array edges{std::uint64_t{0}, std::uint64_t{1}, absurd - 1, absurd,
                               max64 / 2,        max64 - 1,        max64};
        if (one_in(12)) return edges[below(edges.size())];
        std::uint64_t moved = center + below(5);
        return moved < 2 ? 0 : moved - 2;
    }
};

struct Fuzz {
    Node& node;
    Random random;
    lr::Status status;
    std::uint64_t next_id = 1000;

    LogPosition position() {
        Index index{random.near(random.one_in(2) ? status.commit_index.value
                                                 : status.last_log_index.value)};
        return {{term_of_log()}, index};
    }
    std::uint64_t term_of_log() {
        const auto& entries = node.disk.written.entries;
        if (entries.empty() || random.one_in(3)) return random.near(status.term.value);
        return entries[random.below(entries.size())].term.value;
    }
    std::string bytes() { return std::string(random.below(20), 'z'); }

    decltype(Message::body) body() {
        switch (random.below(6)) {
            case 0:
                return lr::RequestVote{random.one_in(2), position()};
            case 1:
                return lr::RequestVoteResponse{random.one_in(2), !random.one_in(4)};
            case 2: {
                AppendEntries append{position(), position().index, {}};
                std::uint64_t term = append.prev_log.term.value;
                for (std::uint64_t left = random.below(4); left > 0; --left) {
                    if (random.one_in(8)) term = random.near(status.term.value);
                    ++next_id;
                    append.entries.push_back({Term{term}, Command{next_id, 0}});
                }
                return append;
            }
            case 3:
                return lr::AppendEntriesResponse{random.one_in(2), position().index, position(),
                                                 random.near(8)};
            default:
                return InstallSnapshot{position(), random.one_in(2) ? 0 : random.near(8), bytes(),
                                       random.one_in(2)};
        }
    }

    Message message() {
        return {{random.one_in(20) ? random.near(2) : 2 + random.below(2)},
                {random.one_in(20) ? random.near(1) : 1},
                {random.one_in(3) ? random.near(status.term.value) : status.term.value},
                body()};
    }

    /// Properties of any replica at any time, and of what it does in one step.
    void check(const lr::Status& after) const {
        CHECK_FALSE(after.fault);
        CHECK(after.term >= status.term);
        CHECK(after.commit_index >= status.commit_index);
        CHECK(after.last_applied >= status.last_applied);
        CHECK(after.first_log_index <= after.snapshot.index + 1);
        CHECK(after.snapshot.index <= after.last_applied);
        CHECK(after.last_applied == after.commit_index);
        CHECK(after.commit_index <= after.last_log_index);
        CHECK((after.role == Role::leader) == (after.leader == ReplicaId{1}));
        CHECK(node.disk.durable.term == after.term);
        CHECK(node.disk.written.last_included.index + node.disk.written.entries.size() ==
              after.last_log_index);
        if (after.role != Role::leader) return;
        for (const lr::Progress& peer : after.progress) {
            CHECK(peer.next_index <= after.last_log_index + 1);
            CHECK(peer.match_index <= after.last_log_index);
            if (peer.id != ReplicaId{1}) CHECK(peer.match_index < peer.next_index);
        }
    }
};

}  // namespace

TEST_CASE("no sequence of messages breaks a replica, or what it wrote") {
    std::array<std::uint64_t, 4> handled{};
    std::uint64_t installed = 0;
    std::uint64_t malformed = 0;
    for (Role role : all_roles) {
        for (std::uint64_t seed = 0; seed < 150; ++seed) {
            CAPTURE(name_of(role));
            CAPTURE(seed);
            auto node = node_in(role);
            Fuzz fuzz{*node, {seed * 4 + static_cast<std::uint64_t>(role)}, node->status()};
            for (int step = 0; step < 60; ++step) {
                CAPTURE(step);
                std::vector<Message> messages;
                for (std::uint64_t n = fuzz.random.below(4); n > 0; --n) {
                    messages.push_back(fuzz.message());
                }
                if (fuzz.random.one_in(4)) node->machine.pending = {{++fuzz.next_id, 0}};
                if (fuzz.random.one_in(3)) node->now += fuzz.random.below(400) * 1ms;
                auto vote = std::pair{node->disk.written.term, node->disk.written.voted_for};
                // A poll that wins an election has more to write and asks for another.
                if (node->poll(messages) == node->now) node->poll();
                node->sent();
                lr::Status after = node->status();
                fuzz.check(after);
                if (node->disk.written.term == vote.first && vote.second) {
                    CHECK(node->disk.written.voted_for == vote.second);
                }
                fuzz.status = after;
            }
            lr::Counters counters = fuzz.status.counters;
            handled[static_cast<std::size_t>(role)] += counters.received[2] + counters.received[3];
            installed += node->machine.set_snapshot_calls;
            malformed += counters.malformed;
            node->restart();
            CHECK_FALSE(node->status().fault);
            CHECK(node->status().term == fuzz.status.term);
            CHECK(node->status().last_log_index == fuzz.status.last_log_index);
        }
    }
    for (std::uint64_t count : handled) CHECK(count > 1000);
    CHECK(installed > 100);
    CHECK(malformed > 1000);
}

// ----- Options -----------------------------------------------------------------------------------

namespace {

struct BadOption {
    std::string field;
    std::function<void(Options&)> spoil;
};

void check_bad_options(const std::vector<BadOption>& table) {
    for (const BadOption& row : table) {
        CAPTURE(row.field);
        Node node;
        row.spoil(node.options);
        node.machine.pending = {{1, 1}};
        CHECK_NOTHROW(node.boot());
        auto fault = node.status().fault;
        REQUIRE(fault);
        CAPTURE(std::string(*fault));
        CHECK(fault->find(row.field) != std::string_view::npos);
        // It takes no part.
        node.wire.inbox.push_back(node.from(2, 1, lr::RequestVote{}));
        CHECK(node.poll() == lr::Time::max());
        CHECK(node.advance(24h) == lr::Time::max());
        CHECK(node.sent().empty());
        CHECK(node.disk.calls.empty());
        CHECK(node.machine.states.empty());
    }
}

}  // namespace

TEST_CASE("timeouts that cannot work are a fault whose text names the field") {
    constexpr lr::Duration least = lr::Duration::min();
    constexpr lr::Duration most = lr::Duration::max();
    check_bad_options({
        {"heartbeat_timeout", [](Options& o) { o.heartbeat_timeout = 0ms; }},
        {"heartbeat_timeout", [](Options& o) { o.heartbeat_timeout = -1ms; }},
        {"heartbeat_timeout", [=](Options& o) { o.heartbeat_timeout = least; }},
        {"election_timeout_range", [](Options& o) { o.heartbeat_timeout = 500ms; }},
        {"election_timeout_range", [=](Options& o) { o.heartbeat_timeout = most; }},
        {"election_timeout_range",
         [](Options& o) {
             o.election_timeout_range = {0ms, 0ms};
         }},
        {"election_timeout_range",
         [](Options& o) {
             o.election_timeout_range = {-9ms, 1s};
         }},
        {"election_timeout_range",
         [](Options& o) {
             o.election_timeout_range = {501ms, 500ms};
         }},
        {"election_timeout_range", [=](Options& o) { o.election_timeout_range.max = most; }},
        {"election_timeout_range",
         [=](Options& o) {
             o.election_timeout_range = {least, most};
         }},
    });
}

TEST_CASE("a limit of 0 is a fault whose text names the field") {
    check_bad_options({
        {"snapshot_chunk_bytes", [](Options& o) { o.snapshot_chunk_bytes = 0; }},
        {"inflight_messages_max", [](Options& o) { o.inflight_messages_max = 0; }},
        {"uncommitted_entries_max", [](Options& o) { o.uncommitted_entries_max = 0; }},
    });
}

TEST_CASE("the widest options are no fault") {
    for (std::uint64_t value : std::vector<std::uint64_t>{std::uint64_t{1}, max64}) {
        CAPTURE(value);
        Node node;
        node.options.heartbeat_timeout = lr::Duration(1);
        node.options.election_timeout_range = {lr::Duration(2), std::chrono::hours(9999)};
        node.options.snapshot_delta = value;
        node.options.snapshot_trailing = value;
        node.options.snapshot_chunk_bytes = value;
        node.options.append_bytes_max = value;
        node.options.inflight_messages_max = value;
        node.options.inflight_bytes_max = value;
        node.options.uncommitted_entries_max = value;
        node.options.uncommitted_bytes_max = value;
        node.options.seed = value;
        node.elect();
        CHECK_FALSE(node.status().fault);
        REQUIRE(node.status().role == Role::leader);
        node.poll({node.from(2, 1, lr::AppendEntriesResponse{true, Index{1}, {}})});
        node.machine.pending = {{7, 7}};
        node.poll();
        node.poll({node.from(2, 1, lr::AppendEntriesResponse{true, Index{2}, {}})});
        CHECK(node.machine.applied == std::vector<std::uint64_t>{7});
    }
}

TEST_CASE("a peer named twice is one peer, and the replica's own id among the peers is itself") {
    for (std::vector<std::uint64_t> peers : {std::vector<std::uint64_t>{2, 3, 4, 5},
                                             {2, 1, 3, 4, 5, 1},
                                             {2, 3, 4, 5, 2, 2},
                                             {5, 5, 5, 5, 4, 3, 2, 1}}) {
        CAPTURE(peers.size());
        Node node(1, peers);
        node.poll();
        CHECK_FALSE(node.status().fault);
        CHECK(node.status().progress.size() == 5);
        node.time_out();
        CHECK(node.sent_of<lr::RequestVote>().size() == 4);  // To the others, not to itself.
        // Two of five are no majority, three are.
        node.poll({node.from(2, 0, lr::RequestVoteResponse{true, true})});
        CHECK(node.status().role == Role::pre_candidate);
        node.poll({node.from(5, 0, lr::RequestVoteResponse{true, true})});
        CHECK(node.status().role == Role::candidate);
    }
}

TEST_CASE("a clock that falls does no harm") {
    auto node = node_in(Role::follower);
    lr::Time now = node->now;
    lr::Time deadline = node->poll();
    for (lr::Time fallen : {now - 24h, lr::Time{} - 24h, lr::Time::min()}) {
        node->now = fallen;
        CHECK(node->poll() == deadline);
        lr::Time next = node->poll({node->from(2, 3, AppendEntries{{Term{2}, Index{3}}, {}, {}})});
        CHECK(next >= now + node->options.election_timeout_range.min);
        deadline = next;
    }
}

// ----- Counted -----------------------------------------------------------------------------------

TEST_CASE("what is sent and received is counted by kind") {
    GroupOf<Node> group(3, {.snapshot_delta = 4, .snapshot_trailing = 0});
    std::map<std::uint64_t, std::array<std::uint64_t, 6>> sent;
    std::map<std::uint64_t, std::array<std::uint64_t, 6>> carried;
    group.on_sent = [&](Node& from, const Message& message) {
        ++sent[from.id.value][message.body.index()];
        if (!group.cut.contains({message.from.value, message.to.value}))
            ++carried[message.to.value][message.body.index()];
    };
    REQUIRE(group.elect(1));
    group.isolate(3);
    for (std::uint64_t id = 1; id <= 10; ++id) group[1].machine.pending.push_back({id, id});
    REQUIRE(group.settle());
    group.cut.clear();
    REQUIRE(group.advance(200ms));
    group[1].wire.transfer_to = ReplicaId{2};
    REQUIRE(group.settle());
    REQUIRE(group.leader() == 2);
    std::array<std::uint64_t, 6> all{};
    for (Node& node : group.nodes) {
        lr::Counters counters = node.status().counters;
        for (std::size_t kind = 0; kind < 6; ++kind) {
            CAPTURE(kind);
            CHECK(counters.sent[kind] == sent[node.id.value][kind]);
            CHECK(counters.received[kind] == carried[node.id.value][kind]);
            all[kind] += counters.sent[kind];
        }
    }
    for (std::uint64_t count : all) CHECK(count > 0);
}
