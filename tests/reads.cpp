// Linearizable reads [PhD 6.4], by asking a majority and by lease [PhD 6.4.1]: what they wait for,
// what they cost, and that each ends once.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::AppendEntriesResponse;
using lr::Duration;
using lr::never;
using lr::RequestVote;
using lr::RequestVoteResponse;
using lr::Role;
using lr::Time;
using lr::TransitionState;
using Ids = std::vector<std::uint64_t>;

/// A read is a number, and sees how many commands had been applied.
struct ReadMachine : Machine {
    using Read = std::uint64_t;

    struct Served {
        std::uint64_t read = 0;
        std::uint64_t sees = 0;
        friend bool operator==(const Served&, const Served&) = default;
    };
    Ids reads;  // Not taken yet.
    std::vector<Served> served;
    Ids abandoned;
    std::uint64_t asked = 0;

    Ids get_pending_reads() {
        ++asked;
        return std::exchange(reads, {});
    }
    void apply_read(std::uint64_t read) { served.push_back({read, applied.size()}); }
    void abandon_read(std::uint64_t read) { abandoned.push_back(read); }

    /// Neither taken nor ended, or taken and not ended: nothing has happened to any.
    bool silent() const { return served.empty() && abandoned.empty(); }
};

/// Time passes while it syncs, and things happen.
struct LateDisk : Disk {
    std::function<void()> meanwhile;
    bool sync() {
        if (meanwhile) std::exchange(meanwhile, nullptr)();
        return Disk::sync();
    }
};

using Served = std::vector<ReadMachine::Served>;
using Reader = NodeOf<ReadMachine, LateDisk>;
using Readers = GroupOf<Reader>;

/// What was sent to one of its peers, less what does not concern the log.
std::vector<AppendEntries> appends(const std::vector<Message>& sent, std::uint64_t peer) {
    std::vector<AppendEntries> result;
    for (const Message& message : sent) {
        auto* append = std::get_if<AppendEntries>(&message.body);
        if (append && message.to.value == peer) result.push_back(*append);
    }
    return result;
}

/// What the peer says to the latest of these: it holds all that they brought.
Message answer(const Reader& node, const std::vector<Message>& sent, std::uint64_t peer,
               Time question = {}) {
    AppendEntriesResponse response{true, {}, {}};
    for (const AppendEntries& append : appends(sent, peer)) {
        Index last = append.prev_log.index + append.entries.size();
        response.match_index = std::max(response.match_index, last);
        response.heard = std::max(response.heard, append.sent);
    }
    REQUIRE(response.heard != Time{});
    response.read = question;
    return node.from(peer, node.replica->status().term.value, response);
}

/// Lets these peers answer all that is sent, until nothing is left to say.
void converse(Reader& node, const Ids& peers = {2, 3}) {
    for (int i = 0; i < 10; ++i) {
        std::vector<Message> sent = node.sent();
        std::vector<Message> answers;
        for (std::uint64_t peer : peers) {
            if (!appends(sent, peer).empty()) answers.push_back(answer(node, sent, peer));
        }
        if (answers.empty() && node.poll() > node.now) return;
        node.poll(std::move(answers));
    }
    FAIL("the conversation does not end");
}

/// Replica 1, which leads 2 and 3 in term 1; all have its first entry and know it committed.
Reader leading(Reader::Options options = {}) {
    Reader node(1, {2, 3}, options);
    node.elect();
    converse(node);
    REQUIRE(node.status().role == Role::leader);
    REQUIRE(node.status().commit_index == Index{1});
    return node;
}

Reader::Options leased(Duration drift = 100ms) {
    Reader::Options options;
    options.lease_reads = drift;
    return options;
}

/// Replica 1, which follows 2 in term 1 and holds `held` of its entries, of which so many are known
/// to be committed.
Reader following(std::uint64_t held = 2, std::uint64_t committed = 2,
                 Reader::Options options = {}) {
    Reader node(1, {2, 3}, options);
    node.now += 1ms;
    std::vector<std::uint64_t> terms(held, 1);
    node.poll({node.from(2, 1, AppendEntries{{}, Index{committed}, entries_of_terms(terms)})});
    node.poll();
    node.sent();
    REQUIRE(node.status().leader == ReplicaId{2});
    return node;
}

/// The question in what was sent last, or none.
Time question_in(const std::vector<Message>& sent) {
    Time question{};
    for (const Message& message : sent) {
        if (auto* response = std::get_if<AppendEntriesResponse>(&message.body))
            question = response->read;
    }
    return question;
}

/// Gives the replica a read and lets it ask.
Time ask(Reader& node, std::uint64_t read = 7) {
    node.machine.reads.push_back(read);
    node.poll();
    node.poll();
    Time question = question_in(node.sent());
    REQUIRE(question != Time{});
    return question;
}

}  // namespace

// ----- On a leader -------------------------------------------------------------------------------

TEST_CASE("[PhD 6.4]: a read is served once a majority has heard the leader since") {
    Reader node = leading();
    node.machine.reads = {7};
    node.poll();
    CHECK(node.machine.silent());
    node.poll();
    std::vector<Message> sent = node.sent();
    node.poll({answer(node, sent, 3)});
    CHECK(node.machine.served == Served{{7, 0}});
    node.poll({answer(node, sent, 2)});
    CHECK(node.machine.served.size() == 1);
    CHECK(node.machine.abandoned.empty());
}

TEST_CASE("[PhD 6.4]: any number of reads costs one round") {
    Reader node = leading();
    for (std::uint64_t read = 1; read <= 1000; ++read) node.machine.reads.push_back(read);
    CHECK(node.poll() == node.now);  // There is something to send.
    CHECK(node.poll() > node.now);
    std::vector<Message> sent = node.sent();
    CHECK(sent.size() == 2);
    node.poll({answer(node, sent, 2), answer(node, sent, 3)});
    REQUIRE(node.machine.served.size() == 1000);
    for (std::uint64_t read = 1; read <= 1000; ++read) {
        CHECK(node.machine.served[read - 1] == ReadMachine::Served{read, 0});
    }
    node.poll();
    CHECK(node.sent().empty());
    CHECK(node.status().last_log_index == Index{1});  // No entry was needed.
}

TEST_CASE("regression: what was sent before a read came tells nothing of it (etcd#20418)") {
    // It may all happen at one moment of the clock.
    for (Duration later : {Duration{}, Duration{1}, Duration{1ms}}) {
        CAPTURE(later.count());
        Reader node = leading();
        node.advance(node.options.heartbeat_timeout);
        std::vector<Message> before = node.sent();
        node.now += later;
        node.machine.reads = {7};
        SUBCASE("an answer to a heartbeat") {}
        SUBCASE("an answer to what left in the poll that took the read") {
            node.machine.pending = {{1, 1}};
            node.poll();
            before = node.sent();
            REQUIRE(appends(before, 2).size() == 1);
            REQUIRE(node.machine.reads.empty());
        }
        node.poll({answer(node, before, 2), answer(node, before, 3)});
        node.poll({answer(node, before, 2), answer(node, before, 3)});
        CHECK(node.machine.silent());
        std::vector<Message> round = node.sent();
        node.poll({answer(node, before, 2), answer(node, before, 3)});
        CHECK(node.machine.silent());
        node.poll({answer(node, round, 2)});
        CHECK(node.machine.served.size() == 1);
    }
}

TEST_CASE("[PhD 6.4]: a leader serves no read before it has committed in its term") {
    // What an earlier leader had committed is in its log, but it does not know that yet.
    Reader node;
    node.disk.written.term = node.disk.durable.term = Term{1};
    node.disk.written.entries = node.disk.durable.entries = entries_of_terms({1});
    node.elect();
    REQUIRE(node.status().role == Role::leader);
    REQUIRE(node.status().term == Term{2});
    node.machine.reads = {7};
    node.poll();
    node.poll();
    std::vector<Message> round = node.sent();
    for (std::uint64_t peer : Ids{2, 3}) {
        Message heard = answer(node, round, peer);
        std::get<AppendEntriesResponse>(heard.body).match_index = Index{1};
        node.poll({heard});
    }
    CHECK(node.status().commit_index == Index{0});
    CHECK(node.machine.silent());
    SUBCASE("and serves it then, with all that was committed before") {
        round = node.sent();
        node.poll({answer(node, round, 2)});
        CHECK(node.status().commit_index == Index{2});
        CHECK(node.machine.served == Served{{7, 1}});
    }
    SUBCASE("nor does a lease help") {
        Reader same(1, {2, 3}, leased());
        same.disk.written.term = same.disk.durable.term = Term{1};
        same.disk.written.entries = same.disk.durable.entries = entries_of_terms({1});
        same.elect();
        std::vector<Message> sent = same.sent();
        same.machine.reads = {7};
        Message heard = answer(same, sent, 2);
        std::get<AppendEntriesResponse>(heard.body).match_index = Index{1};
        same.poll({heard});
        same.poll();
        REQUIRE(same.status().role == Role::leader);
        CHECK(same.machine.silent());
        same.poll({answer(same, sent, 2)});
        CHECK(same.machine.served == Served{{7, 1}});
    }
}

TEST_CASE("regression: nor is a cluster of one exempt (etcd-io/raft#105)") {
    Reader node(1, {});
    node.disk.written.term = node.disk.durable.term = Term{1};
    node.disk.written.entries = node.disk.durable.entries = entries_of_terms({1, 1});
    node.poll();
    node.now += node.options.election_timeout_range.max;
    bool asked = false;
    bool led_without_commit = false;
    for (int i = 0; i < 10 && node.machine.served.empty(); ++i) {
        bool leads = node.status().role == Role::leader;
        if (leads && !std::exchange(asked, true)) node.machine.reads = {7};
        node.poll();
        leads = node.status().role == Role::leader;
        if (leads && node.status().commit_index < Index{3}) {
            led_without_commit = true;
            CHECK(node.machine.served.empty());
        }
    }
    CHECK(led_without_commit);
    CHECK(node.machine.served.front() == ReadMachine::Served{7, 2});
    CHECK(node.machine.abandoned.empty());
    // From then on it has nobody to ask.
    node.machine.served.clear();
    node.machine.reads = {8};
    CHECK(node.poll() <= node.now);
    node.poll();
    REQUIRE(node.machine.served.size() == 1);
    CHECK(node.machine.served[0].sees == 2);
    CHECK(node.sent().empty());
}

TEST_CASE("a cluster of two needs the other one") {
    Reader node(1, {2});
    node.elect();
    converse(node, {2});
    node.machine.reads = {7};
    node.poll();
    node.poll();
    CHECK(node.machine.silent());
    node.poll({answer(node, node.sent(), 2)});
    CHECK(node.machine.served == Served{{7, 0}});
}

TEST_CASE("a read sees what was committed when it came, and nothing that is not") {
    Reader node = leading();
    node.machine.pending = {{1, 1}, {2, 2}};
    node.poll();
    converse(node);
    REQUIRE(node.status().last_applied == Index{3});
    node.machine.pending = {{3, 3}};
    node.machine.reads = {7};
    node.poll();
    node.poll();
    // All have heard it, but nobody has written the third.
    Message heard = answer(node, node.sent(), 2);
    std::get<AppendEntriesResponse>(heard.body).match_index = Index{3};
    node.poll({heard});
    CHECK(node.machine.served == Served{{7, 2}});
}

TEST_CASE("while reads wait for their round, those that come later wait at the machine") {
    Reader node = leading();
    node.machine.reads = {1, 2};
    node.poll();
    node.machine.reads = {3};
    std::uint64_t asked = node.machine.asked;
    node.poll();
    std::vector<Message> round = node.sent();
    node.poll();
    CHECK(node.machine.reads == Ids{3});
    CHECK(node.machine.asked == asked);
    node.poll({answer(node, round, 2)});
    CHECK(node.machine.served == Served{{1, 0}, {2, 0}});
    // The answer to the first round is none to theirs.
    node.poll({answer(node, round, 3)});
    node.poll({answer(node, round, 2)});
    CHECK(node.machine.served.size() == 2);
    converse(node);
    CHECK(node.machine.served == Served{{1, 0}, {2, 0}, {3, 0}});
}

TEST_CASE("regression: reads that came while a batch was on waited for the next heartbeat") {
    // Whoever put them there has notified, and will not again: the poll that ends the batch takes
    // them, and the next is due at once.
    SUBCASE("on a leader") {
        Reader node = leading();
        node.machine.reads = {1};
        node.poll();
        node.poll();
        std::vector<Message> round = node.sent();
        node.machine.reads = {2, 3};
        CHECK(node.poll() > node.now);
        CHECK(node.poll({answer(node, round, 2)}) == node.now);
        REQUIRE(node.machine.served == Served{{1, 0}});
        CHECK(node.machine.reads.empty());
        CHECK(node.poll() > node.now);
        node.poll({answer(node, node.sent(), 3)});
        CHECK(node.machine.served == Served{{1, 0}, {2, 0}, {3, 0}});
    }
    SUBCASE("on a leader with a lease") {
        Reader node = leading(leased());
        node.machine.reads = {1};
        CHECK(node.poll() == node.now);
        node.machine.reads = {2, 3};
        CHECK(node.poll() == node.now);
        REQUIRE(node.machine.served == Served{{1, 0}});
        CHECK(node.machine.reads.empty());
        CHECK(node.poll() > node.now);
        CHECK(node.machine.served == Served{{1, 0}, {2, 0}, {3, 0}});
    }
    SUBCASE("on a follower, whose batch ends with an answer or with what it has to apply") {
        for (std::uint64_t lacks : {0U, 1U}) {
            CAPTURE(lacks);
            Reader node = following();
            AppendEntries reply{{Term{1}, Index{2}}, Index{2 + lacks}, {}};
            reply.read = ask(node, 1);
            node.machine.reads = {2, 3};
            node.poll();
            Time next = node.poll({node.from(2, 1, reply)});
            if (lacks > 0) {
                REQUIRE(node.machine.silent());
                reply.entries = entries_of_terms({1}, 3);
                reply.read = {};
                next = node.poll({node.from(2, 1, reply)});
            }
            REQUIRE(node.machine.served == Served{{1, 2 + lacks}});
            CHECK(node.machine.reads.empty());
            CHECK(next == node.now);
            CHECK(question_in(node.sent()) == Time{});
            CHECK(node.poll() > node.now);
            CHECK(question_in(node.sent()) != Time{});
        }
    }
}

TEST_CASE("a lost round is repeated with the next heartbeat") {
    Reader node = leading();
    node.machine.reads = {7};
    node.poll();
    node.poll();
    CHECK(node.sent().size() == 2);
    node.advance(node.options.heartbeat_timeout);
    node.poll({answer(node, node.sent(), 2)});
    CHECK(node.machine.served == Served{{7, 0}});
}

TEST_CASE("whoever is no member, or of another term, has not heard the leader") {
    Reader node = leading();
    node.machine.reads = {7};
    node.poll();
    node.poll();
    Message heard = answer(node, node.sent(), 2);
    Message stranger = heard;
    stranger.from = {9};
    Message past = heard;
    past.term = {0};
    Message itself = heard;
    itself.from = {1};
    node.poll({stranger, past, itself});
    CHECK(node.machine.silent());
    node.poll({heard});
    CHECK(node.machine.served.size() == 1);
}

TEST_CASE("a round asks each follower once, and says that it wants an answer") {
    Reader node = leading();
    node.machine.reads = {7};
    node.poll();
    node.advance(1ms);  // Whoever polls may well be later than it was told.
    std::vector<Message> sent = node.sent();
    for (std::uint64_t peer : Ids{2, 3}) {
        REQUIRE(appends(sent, peer).size() == 1);
        CHECK(appends(sent, peer)[0].read == Time{});
        CHECK(appends(sent, peer)[0].entries.empty());
    }
    for (int i = 0; i < 5; ++i) node.poll();
    CHECK(node.sent().empty());
}

TEST_CASE("what brings only news is answered all the same, if it belongs to a round") {
    for (bool round : {false, true}) {
        CAPTURE(round);
        Reader node = following(2, 0);
        AppendEntries news{{Term{1}, Index{2}}, Index{2}, {}};
        news.sent = Time{5ms};
        if (!round) news.read = never;
        node.poll({node.from(2, 1, news)});
        node.poll();
        CHECK(node.status().commit_index == Index{2});
        auto responses = node.sent_of<AppendEntriesResponse>();
        CHECK(responses.size() == (round ? 1 : 0));
        if (round) CHECK(responses.at(0).heard == Time{5ms});
    }
    // On the leader: a commit and a round that are due together make one message.
    Reader node = leading();
    node.machine.pending = {{1, 1}};
    node.machine.reads = {7};
    node.poll();
    node.poll({answer(node, node.sent(), 2)});
    REQUIRE(node.status().commit_index == Index{2});
    node.poll();
    auto news = appends(node.sent(), 2);
    REQUIRE(news.size() == 1);
    CHECK(news[0].leader_commit == Index{2});
    CHECK(news[0].read == Time{});
}

TEST_CASE("entries and a round that are due together make one message") {
    Reader node = leading();
    node.machine.reads = {7};
    node.poll();
    node.machine.pending = {{1, 1}};
    node.poll();
    std::vector<Message> sent = node.sent();
    for (std::uint64_t peer : Ids{2, 3}) {
        REQUIRE(appends(sent, peer).size() == 1);
        CHECK(appends(sent, peer)[0].entries.size() == 1);
    }
    node.poll({answer(node, sent, 2)});
    CHECK(node.machine.served == Served{{7, 1}});
}

namespace {
/// Replica 3, which answers nothing, is sent no round of reads, but heartbeats.
void spares_the_silent(Reader& node) {
    for (int i = 0; i < 20; ++i) {
        node.machine.reads = {7};
        node.poll();
        node.poll();
        std::vector<Message> sent = node.sent();
        REQUIRE(appends(sent, 2).size() == 1);
        CHECK(appends(sent, 3).empty());
        node.poll({answer(node, sent, 2)});
    }
    CHECK(node.machine.served.size() == 20);
    node.advance(node.options.heartbeat_timeout);
    CHECK(appends(node.sent(), 3).size() == 1);
}
}  // namespace

TEST_CASE("who does not answer is sent heartbeats, and not every round of reads") {
    Reader node(1, {2, 3});
    node.elect();
    converse(node, {2});  // Replica 3 is down.
    for (int i = 0; i < 2; ++i) {
        node.advance(node.options.heartbeat_timeout);
        converse(node, {2});
    }
    spares_the_silent(node);
}

TEST_CASE("regression: who fell silent while entries streamed to it was sent each round of reads") {
    Reader node = leading();
    lr::Duration silence = 2 * node.options.election_timeout_range.max;
    for (; silence > lr::Duration{}; silence -= node.options.heartbeat_timeout) {
        node.advance(node.options.heartbeat_timeout);
        converse(node, {2});
    }
    REQUIRE(node.status().progress[2].state == lr::Progress::replicate);
    spares_the_silent(node);
}

TEST_CASE("reads go on while a snapshot is sent, though its chunks are slow") {
    Reader::Options options;
    options.snapshot_delta = 2;
    options.snapshot_trailing = 0;
    options.snapshot_chunk_bytes = 8;
    Reader node = leading(options);
    for (std::uint64_t id = 1; id <= 8; ++id) {
        node.machine.pending = {{id, id}};
        node.poll();
        converse(node, {2});
    }
    // Replica 3 has missed all but the first, and 2 falls silent.
    node.advance(node.options.heartbeat_timeout);
    auto beat = appends(node.sent(), 3).back();
    AppendEntriesResponse refusal{false, beat.prev_log.index, {Term{1}, Index{1}}};
    refusal.heard = beat.sent;
    node.poll({node.from(3, 1, refusal)});
    std::vector<Message> sent = node.sent();
    auto chunk = std::find_if(sent.begin(), sent.end(), [](const Message& message) {
        return std::holds_alternative<InstallSnapshot>(message.body);
    });
    REQUIRE(chunk != sent.end());
    node.machine.reads = {7};
    node.poll();
    CHECK(node.machine.silent());
    SUBCASE("the answer to a chunk that left before does not serve it, but one after does") {
        auto offset = std::get<InstallSnapshot>(chunk->body).data.size();
        AppendEntriesResponse more{false, Index{9}, {Term{1}, Index{1}}, offset};
        more.heard = std::get<InstallSnapshot>(chunk->body).sent;
        node.poll({node.from(3, 1, more)});
        CHECK(node.machine.silent());
        auto chunks = node.sent_of<InstallSnapshot>();
        REQUIRE(chunks.size() == 1);
        more.snapshot_offset += chunks[0].data.size();
        more.heard = chunks[0].sent;
        node.poll({node.from(3, 1, more)});
    }
    SUBCASE("nor need it come: a heartbeat will do") {
        node.sent();
        node.advance(node.options.heartbeat_timeout);
        auto beats = appends(node.sent(), 3);
        REQUIRE(beats.size() == 1);
        AppendEntriesResponse heard{false, beats[0].prev_log.index, {Term{1}, Index{1}}};
        heard.heard = beats[0].sent;
        node.poll({node.from(3, 1, heard)});
    }
    CHECK(node.machine.served == Served{{7, 8}});
}

TEST_CASE("reads go on while a window is full") {
    Reader::Options options;
    options.inflight_messages_max = 1;
    Reader node = leading(options);
    node.machine.pending = {{1, 1}};
    node.poll();
    REQUIRE(node.sent().size() == 2);
    node.machine.pending = {{2, 2}};
    node.machine.reads = {7};
    node.poll();
    CHECK(node.sent().empty());  // Both windows are full.
    node.poll();
    auto round = appends(node.sent(), 2);
    REQUIRE(round.size() == 1);
    CHECK(round[0].entries.empty());
    // The entries before it are still on their way, so the round is refused; it was heard.
    AppendEntriesResponse refusal{false, round[0].prev_log.index, {Term{1}, Index{1}}};
    refusal.heard = round[0].sent;
    node.poll({node.from(2, 1, refusal)});
    CHECK(node.machine.served == Served{{7, 0}});
}

// ----- Reads end ---------------------------------------------------------------------------------

TEST_CASE("where no leader is known reads are abandoned at once") {
    Reader node;
    node.machine.reads = {1, 2};
    node.poll();
    CHECK(node.machine.abandoned == Ids{1, 2});
    node.time_out();
    REQUIRE(node.status().role == Role::pre_candidate);
    node.machine.reads = {3};
    node.poll();
    CHECK(node.machine.abandoned == Ids{1, 2, 3});
    node.poll({node.from(2, 0, RequestVoteResponse{true, true})});
    REQUIRE(node.status().role == Role::candidate);
    node.machine.reads = {4};
    node.poll();
    CHECK(node.machine.abandoned == Ids{1, 2, 3, 4});
    CHECK(node.machine.served.empty());
}

TEST_CASE("reads are abandoned when leadership is lost, once") {
    Reader node = leading();
    node.machine.reads = {1, 2};
    node.poll();
    node.poll();
    std::vector<Message> round = node.sent();
    REQUIRE(node.machine.silent());
    SUBCASE("to a higher term") {
        node.poll({node.from(3, 2, AppendEntries{{Term{1}, Index{1}}, Index{1}, {}})});
        CHECK(node.status().leader == ReplicaId{3});
    }
    SUBCASE("to a vote for a transfer") {
        node.poll({node.from(3, 2, RequestVote{false, {Term{1}, Index{1}}, true})});
    }
    SUBCASE("since nobody answers [PhD 6.2]") {
        node.advance(node.options.election_timeout_range.max);
        node.advance(node.options.election_timeout_range.max);
        CHECK(node.status().role != Role::leader);
    }
    CHECK(node.machine.abandoned == Ids{1, 2});
    for (std::uint64_t peer : Ids{2, 3}) {
        AppendEntriesResponse late{true, Index{1}, {}};
        late.heard = appends(round, peer).at(0).sent;
        node.poll({node.from(peer, 1, late)});
    }
    CHECK(node.machine.abandoned == Ids{1, 2});
    CHECK(node.machine.served.empty());
}

TEST_CASE("reads are abandoned at a fault, once, and no more are taken") {
    Reader node = leading();
    node.machine.reads = {1};
    node.poll();
    node.disk.sync_fails = true;
    node.machine.pending = {{1, 1}};
    node.machine.reads = {2};
    CHECK(node.poll() == never);
    REQUIRE(node.status().fault);
    CHECK(node.machine.abandoned == Ids{1});
    node.poll();
    CHECK(node.machine.abandoned == Ids{1});
    CHECK(node.machine.reads == Ids{2});
    CHECK(node.machine.served.empty());
}

TEST_CASE("a leader that lost its majority serves no read, however long it takes it to notice") {
    Readers group(3);
    REQUIRE(group.elect(1));
    group[1].machine.pending = {{1, 1}};
    REQUIRE(group.settle());
    group.isolate(1);
    // The others have a leader and a newer state before it has noticed.
    Time before = group[1].now;
    REQUIRE(group.elect(2));
    group[1].now = before;
    group[2].machine.pending = {{2, 2}};
    REQUIRE(group.settle());
    REQUIRE(group[2].machine.applied == Ids{1, 2});
    group[1].machine.reads = {7};
    REQUIRE(group.advance(100ms));
    REQUIRE(group[1].status().role == Role::leader);
    CHECK(group[1].machine.silent());
    REQUIRE(group.advance(2s));
    CHECK(group[1].status().role != Role::leader);
    CHECK(group[1].machine.abandoned == Ids{7});
    CHECK(group[1].machine.served.empty());
}

// ----- On a follower -----------------------------------------------------------------------------

TEST_CASE("[PhD 6.4]: a follower asks its leader, and serves the read once it has applied that") {
    Reader node = following(1, 1);
    node.machine.reads = {7, 8};
    CHECK(node.poll() == node.now);  // It has something to say.
    CHECK(node.poll() > node.now);
    std::vector<Message> sent = node.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].to == ReplicaId{2});
    Time question = question_in(sent);
    REQUIRE(question != Time{});
    AppendEntries reply{{Term{1}, Index{1}}, Index{3}, {}};
    reply.read = question;
    node.poll({node.from(2, 1, reply)});
    CHECK(node.machine.silent());  // It has not applied the third.
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{1}}, {3}, entries_of_terms({1}, 2)})});
    CHECK(node.status().last_applied == Index{2});
    CHECK(node.machine.silent());
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{2}}, {3}, entries_of_terms({1}, 3)})});
    CHECK(node.machine.served == Served{{7, 3}, {8, 3}});
    CHECK(node.machine.abandoned.empty());
}

TEST_CASE("what it says with its question it may say") {
    // It is an answer like any other: what it claims to hold is durable, and no more than is known.
    Reader node = following(2, 1);
    node.machine.reads = {7};
    node.poll();
    node.poll();
    auto responses = node.sent_of<AppendEntriesResponse>();
    REQUIRE(responses.size() == 1);
    CHECK(responses[0].success);
    CHECK(responses[0].match_index == Index{1});
}

TEST_CASE("the answer to another question is ignored") {
    Reader node = following(1, 1);
    Time first = ask(node, 7);
    AppendEntries reply{{Term{1}, Index{1}}, Index{1}, {}};
    for (Time other : {first - Duration{1}, first + Duration{1}, Time{}, never, (Time::min)()}) {
        reply.read = other;
        node.poll({node.from(2, 1, reply)});
        node.poll();
    }
    CHECK(node.machine.silent());
    reply.read = first;
    node.poll({node.from(2, 1, reply)});
    CHECK(node.machine.served == Served{{7, 1}});
    // Repeated, it is the answer to an earlier one.
    Time second = ask(node, 8);
    CHECK(second != first);
    node.poll({node.from(2, 1, reply)});
    CHECK(node.machine.served.size() == 1);
    reply.read = second;
    node.poll({node.from(2, 1, reply)});
    CHECK(node.machine.served == Served{{7, 1}, {8, 1}});
}

TEST_CASE("a question is repeated in each response until it is answered, and not after that") {
    Reader node = following(2, 2);
    Time question = ask(node);
    AppendEntries beat{{Term{1}, Index{2}}, Index{2}, {}};
    for (int i = 0; i < 3; ++i) {
        node.poll({node.from(2, 1, beat)});
        node.poll();
        CHECK(question_in(node.sent()) == question);
    }
    // A refusal repeats it, too.
    node.poll({node.from(2, 1, AppendEntries{{Term{1}, Index{9}}, Index{9}, {}})});
    node.poll();
    CHECK(question_in(node.sent()) == question);
    beat.read = question;
    node.poll({node.from(2, 1, beat)});
    CHECK(node.machine.served == Served{{7, 2}});
    // Or the leader would answer it again.
    CHECK(question_in(node.sent()) == Time{});
    beat.read = {};
    node.poll({node.from(2, 1, beat)});
    node.poll();
    auto responses = node.sent_of<AppendEntriesResponse>();
    REQUIRE(responses.size() == 1);
    CHECK(responses[0].read == Time{});
}

TEST_CASE("regression: a follower that lags under load never answered its reads") {
    // Had it asked on, each answer would have named a later state, ever ahead of its own.
    Reader node = following();
    std::uint64_t answers = 0, lag = 3, held = 2;
    Time question = ask(node);
    for (; held < 20 && node.machine.served.empty(); ++held) {
        AppendEntries next{{Term{1}, Index{held}}, Index{held + lag}, entries_of_terms({1}, held)};
        answers += question != Time{} ? 1 : 0;
        next.read = question;
        node.poll({node.from(2, 1, next)});
        std::vector<Message> sent = node.sent();
        REQUIRE(sent.size() == 1);
        question = question_in(sent);
    }
    CHECK(answers == 1);
    CHECK(node.machine.served == Served{{7, 2 + lag}});
    CHECK(question == Time{});
}

TEST_CASE("under load and over a slow way a lagging follower's reads end, and its questions, too") {
    for (bool lease : {false, true}) {
        CAPTURE(lease);
        // The way to replica 3 takes ten steps, and what fits into its window is less than what
        // comes: it falls ever further behind.
        Reader::Options options = lease ? leased() : Reader::Options{};
        options.append_bytes_max = 0;
        options.inflight_messages_max = 5;
        Readers group(3, options);
        REQUIRE(group.elect(1));
        REQUIRE(group.settle());
        group.cut.emplace(1, 3);
        std::deque<std::vector<Message>> under_way(10);
        std::uint64_t asking = 0, id = 0, reads = 0;
        group.on_sent = [&](Reader& node, const Message& message) {
            if (node.id != ReplicaId{1}) return;
            auto* append = std::get_if<AppendEntries>(&message.body);
            asking += append && append->read != Time{} ? 1 : 0;
            if (message.to == ReplicaId{3}) under_way.back().push_back(message);
        };
        auto step = [&] {
            for (Message& message : under_way.front())
                group[3].wire.inbox.push_back(std::move(message));
            under_way.pop_front();
            under_way.emplace_back();
            for (Reader& node : group.nodes) node.now += 1ms;
            ++id;
            group[1].machine.pending = {{id, id}};
            group.step();
        };
        for (int i = 0; i < 30; ++i) step();
        for (; reads < 4; ++reads) {
            std::uint64_t before = group[1].machine.applied.size();
            REQUIRE(group[3].machine.applied.size() + 10 < before);
            group[3].machine.reads = {reads};
            for (int i = 0; i < 1000 && group[3].machine.served.size() == reads; ++i) step();
            REQUIRE(group[3].machine.served.size() == reads + 1);
            CHECK(group[3].machine.served.back().sees >= before);
        }
        CHECK(asking > 0);
        for (int i = 0; i < 20; ++i) step();
        asking = 0;
        for (int i = 0; i < 100; ++i) step();
        CHECK(asking == 0);  // An answered question causes no round, and no answer.
    }
}

TEST_CASE("regression: an answer that came twice served the reads of the next question") {
    for (Duration later : {Duration{}, Duration{1}, Duration{1ms}}) {
        CAPTURE(later.count());
        Reader node = following();
        AppendEntries old{{Term{1}, Index{2}}, Index{2}, {}};
        old.read = ask(node, 7);
        node.poll({node.from(2, 1, old)});
        REQUIRE(node.machine.served == Served{{7, 2}});
        node.poll({node.from(2, 1, old)});  // While no question is on.
        // The third is committed without it, and only then the next read comes.
        node.now += later;
        AppendEntries reply{{Term{1}, Index{2}}, Index{3}, entries_of_terms({1}, 3)};
        reply.read = ask(node, 8);
        CHECK(reply.read > old.read);
        for (int i = 0; i < 3; ++i) node.poll({node.from(2, 1, old)});
        CHECK(node.machine.served.size() == 1);
        node.poll({node.from(2, 1, reply)});
        CHECK(node.machine.served == Served{{7, 2}, {8, 3}});
    }
}

TEST_CASE("a follower's reads are abandoned when its leader is lost, once") {
    Reader node = following();
    Time question = ask(node);
    AppendEntries reply{{Term{1}, Index{2}}, Index{2}, {}};
    reply.read = question;
    SUBCASE("since it is not heard") {
        node.time_out();
        CHECK(node.status().role == Role::pre_candidate);
    }
    SUBCASE("to another, of a higher term") {
        node.poll({node.from(3, 2, AppendEntries{{Term{1}, Index{2}}, Index{2}, {}})});
        CHECK(node.status().leader == ReplicaId{3});
        // What the new leader says with that number answers nothing that was asked of it.
        node.poll({node.from(3, 2, reply)});
    }
    SUBCASE("to nobody yet") {
        node.poll({node.from(3, 2, RequestVoteResponse{})});
        CHECK_FALSE(node.status().leader);
    }
    CHECK(node.machine.abandoned == Ids{7});
    node.poll({node.from(2, 1, reply)});
    CHECK(node.machine.abandoned == Ids{7});
    CHECK(node.machine.served.empty());
}

TEST_CASE("a leader answers a follower's question as it would its own machine") {
    Reader node = leading();
    node.advance(node.options.heartbeat_timeout);
    std::vector<Message> before = node.sent();
    Time question{77ns};
    node.poll({answer(node, before, 2, question)});
    std::vector<Message> round = node.sent();
    REQUIRE(appends(round, 2).size() == 1);
    REQUIRE(appends(round, 3).size() == 1);
    CHECK(appends(round, 2)[0].read == Time{});  // One question goes around for another.
    CHECK(appends(round, 3)[0].read == Time{});
    // The other's answer to what was sent before the question came does not count.
    node.poll({answer(node, before, 3)});
    node.poll();
    CHECK(node.sent().empty());
    SUBCASE("the other has heard") { node.poll({answer(node, round, 3)}); }
    SUBCASE("whoever asked has") { node.poll({answer(node, round, 2, question)}); }
    std::vector<Message> replies = node.sent();
    REQUIRE(appends(replies, 2).size() == 1);
    CHECK(appends(replies, 2)[0].read == question);
    CHECK(appends(replies, 2)[0].leader_commit == Index{1});
    CHECK(appends(replies, 3).empty());
    CHECK(node.machine.silent());  // It had none of its own.
}

TEST_CASE("a leader answers no question before it has committed in its term") {
    Reader node;
    node.elect();
    std::vector<Message> first = node.sent();
    Time question{77ns};
    Message asks = answer(node, first, 2, question);
    std::get<AppendEntriesResponse>(asks.body).match_index = Index{0};
    for (int i = 0; i < 5; ++i) {
        node.now += node.options.heartbeat_timeout;
        node.poll({asks});
        for (const Message& message : node.sent()) {
            if (auto* append = std::get_if<AppendEntries>(&message.body)) {
                CHECK(append->read != question);
                std::get<AppendEntriesResponse>(asks.body).heard = append->sent;
            }
        }
    }
    CHECK(node.status().commit_index == Index{0});
    std::get<AppendEntriesResponse>(asks.body).match_index = Index{1};
    node.poll({asks});
    node.poll();
    bool answered = false;
    for (const AppendEntries& append : appends(node.sent(), 2))
        answered = answered || (append.read == question && append.leader_commit == Index{1});
    CHECK(answered);
}

TEST_CASE("a leader that only a minority hears answers no question") {
    Reader node(1, {2, 3, 4, 5});
    node.elect();
    converse(node, {2, 3, 4, 5});
    node.advance(node.options.heartbeat_timeout);
    Message asks = answer(node, node.sent(), 2, Time{77ns});
    for (int i = 0; i < 5; ++i) {
        node.now += node.options.heartbeat_timeout;
        node.poll({asks});
        std::vector<Message> sent = node.sent();
        for (const AppendEntries& append : appends(sent, 2)) CHECK(append.read != Time{77ns});
        if (!appends(sent, 2).empty()) asks = answer(node, sent, 2, Time{77ns});
    }
    REQUIRE(node.status().role == Role::leader);
}

TEST_CASE("a question that was answered and comes again does no harm") {
    Reader node = leading(leased());
    node.advance(node.options.heartbeat_timeout);
    Message asks = answer(node, node.sent(), 2, Time{77ns});
    node.poll({asks});
    node.poll();
    CHECK(appends(node.sent(), 2).size() == 1);
    node.poll({asks, asks});
    node.poll();
    auto again = appends(node.sent(), 2);
    CHECK(again.size() <= 2);
    for (int i = 0; i < 5; ++i) node.poll();
    CHECK(node.sent().empty());
}

TEST_CASE("reads on all replicas see all that was applied anywhere before they came") {
    Readers group(3);
    REQUIRE(group.elect(1));
    std::uint64_t read = 0;
    for (std::uint64_t id = 1; id <= 50; ++id) {
        group[1].machine.pending = {{id, id}};
        // Only until the leader has it applied: the followers may not know of it yet.
        while (group[1].machine.applied.size() < id) group.step();
        for (Reader& node : group.nodes) {
            node.machine.reads = {++read};
            node.machine.served.clear();
        }
        if (id % 2 == 0) group.step();
        REQUIRE(group.settle());
        for (Reader& node : group.nodes) {
            CAPTURE(node.id.value);
            REQUIRE(node.machine.served.size() == 1);
            CHECK(node.machine.served[0].sees >= id);
        }
    }
}

TEST_CASE("a follower's reads cost its question, one round, and the answer") {
    for (bool lease : {false, true}) {
        CAPTURE(lease);
        Readers group(3, lease ? leased() : Reader::Options{});
        REQUIRE(group.elect(1));
        REQUIRE(group.settle());
        std::uint64_t before = group.carried;
        for (std::uint64_t read = 1; read <= 1000; ++read) group[2].machine.reads.push_back(read);
        REQUIRE(group.settle());
        CHECK(group[2].machine.served.size() == 1000);
        std::uint64_t messages = group.carried - before;
        // The question, its answer, and the word that this has come; a round of two and two.
        CHECK(messages == (lease ? 3 : 7));
    }
}

// ----- By lease ----------------------------------------------------------------------------------

TEST_CASE("[PhD 6.4.1]: while a lease lasts reads wait for the next poll, and nothing is sent") {
    Reader node = leading(leased());
    node.machine.reads = {7};
    CHECK(node.poll() <= node.now);  // Safety: the lease held when it began, so not when they came.
    CHECK(node.machine.silent());
    node.poll();
    CHECK(node.machine.served == Served{{7, 0}});
    CHECK(node.sent().empty());
}

TEST_CASE("regression: a sync that outlasts the lease served a stale read") {
    // The poll began within the lease. When the sync had ended others led, and had gone on.
    Reader node = leading(leased(100ms));
    node.machine.pending = {{1, 1}};
    Time began = node.now;
    bool came = false;
    auto comes_after = [&](Duration time) {
        node.disk.meanwhile = [&node, &came, time] {
            node.now += time;
            node.machine.reads = {7};
            came = true;
        };
    };
    SUBCASE("those that come while it lasts do not know the poll's time") {
        comes_after(450ms);
        CHECK(node.poll() == began);
        REQUIRE(came);
        CHECK(node.machine.reads.empty());
        CHECK(node.machine.silent());
        node.poll();  // With the time as it is now.
        CHECK(node.machine.silent());
        node.poll({answer(node, node.sent(), 2)});
        CHECK(node.machine.served.size() == 1);
    }
    SUBCASE("nor do those that came before it") {
        node.machine.reads = {6};
        CHECK(node.poll() == began);
        REQUIRE(node.machine.silent());
        node.machine.pending = {{2, 2}};
        comes_after(450ms);
        node.poll();
        REQUIRE(came);
        // That one may be answered: the lease held after it had come. The other may not.
        CHECK(node.machine.served == Served{{6, 0}});
        node.poll();
        CHECK(node.machine.served.size() == 1);
    }
    SUBCASE("one that is short costs no round") {
        comes_after(350ms);
        CHECK(node.poll() == began);
        REQUIRE(came);
        node.sent();
        CHECK(node.machine.silent());
        node.poll();
        CHECK(node.machine.served == Served{{7, 0}});
        for (const Message& message : node.sent())
            if (auto* append = std::get_if<AppendEntries>(&message.body))
                CHECK(append->read == Time{});
    }
}

TEST_CASE("regression: a question was answered by a lease that may have ended when it came") {
    // The clock was read, others led and went on while this process slept, and then it opened its
    // inbox.
    Reader node = leading(leased(100ms));
    node.advance(node.options.heartbeat_timeout);
    std::vector<Message> beat = node.sent();
    CHECK(node.poll({answer(node, beat, 2, Time{77ns})}) <= node.now);
    CHECK(node.sent().empty());
    SUBCASE("it lasts") {
        node.poll();
        auto sent = appends(node.sent(), 2);
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].read == Time{77ns});
    }
    SUBCASE("it has ended") {
        node.advance(450ms);
        std::vector<Message> round = node.sent();
        REQUIRE(appends(round, 2).size() == 1);
        CHECK(appends(round, 2)[0].read == Time{});
        node.poll({answer(node, round, 3)});
        auto sent = appends(node.sent(), 2);
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].read == Time{77ns});
    }
}

TEST_CASE("regression: where the clock stood still a lease outlasted what followers granted") {
    // Each poll has a stamp of its own, later than the clock while that stands; what was sent then
    // was heard no later than the clock says.
    Reader node = leading(leased(0ms));
    for (int polls = 0; polls < 1000; ++polls) node.poll();
    node.machine.pending = {{1, 1}};
    node.poll();
    converse(node);
    node.now += node.options.election_timeout_range.min;
    bool ended = true;
    SUBCASE("now the others may elect another") {}
    SUBCASE("now they may not yet") {
        node.now -= 10us;
        ended = false;
    }
    node.machine.reads = {7};
    node.poll();
    node.poll();
    CHECK(node.machine.silent() == ended);
}

TEST_CASE("regression: soon after its clock began a follower answered reads itself, unasked") {
    // It had heard nobody, as a leader hears: at 0, which was within a lease of now.
    for (Duration begin : {1ms, 100ms, 399ms, 400ms}) {
        Reader node(1, {2, 3}, leased(100ms));
        node.now += begin;
        node.poll({node.from(2, 1, AppendEntries{{}, Index{2}, entries_of_terms({1, 1})})});
        node.poll();
        node.sent();
        Time question = ask(node);
        for (int polls = 0; polls < 5; ++polls) node.poll();
        CHECK(node.machine.silent());
        AppendEntries late{{Term{1}, Index{2}}, Index{3}, entries_of_terms({1}, 3), node.now};
        late.read = question;
        node.poll({node.from(2, 1, late)});
        node.poll();
        CHECK(node.machine.served == Served{{7, 3}});
    }
}

TEST_CASE("regression: a follower that had stood still voted while a leader counted on it") {
    // It read its clock and stood still for 400 ms; then it answered what the leader had sent
    // meanwhile, who may count on that for longer than is left by the clock that was read.
    Reader::Options options = leased(100ms);
    Reader node = following(2, 0, options);
    const auto [min, max] = options.election_timeout_range;
    AppendEntries beat{{Term{1}, Index{2}}, Index{2}, {}};
    beat.sent = Time{5ms};
    CHECK(node.poll({node.from(2, 1, beat)}) == node.now);
    node.now += 400ms;
    node.poll();
    node.sent();
    Message request = node.from(3, 1, RequestVote{true, {Term{1}, Index{9}}});
    for (Duration passed = 0ms; passed < min; passed += 10ms) {
        node.poll({request});
        CHECK(node.sent().empty());
        CHECK(node.status().role == Role::follower);
        node.now += 10ms;
    }
    node.poll({request});
    CHECK(!node.sent().empty());
}

TEST_CASE("while a lease lasts reads cost no message later on, either") {
    Reader node = leading(leased());
    node.advance(node.options.heartbeat_timeout);
    std::vector<Message> beat = node.sent();
    node.machine.reads = {7};
    node.poll();
    node.poll();
    REQUIRE(node.machine.served.size() == 1);
    SUBCASE("what arrives then makes nobody ask") {
        node.poll({answer(node, beat, 2), answer(node, beat, 3)});
        node.poll();
        CHECK(node.sent().empty());
    }
    SUBCASE("a follower's question costs its answer alone") {
        node.poll({answer(node, beat, 2, Time{77ns})});
        node.poll();
        std::vector<Message> sent = node.sent();
        REQUIRE(appends(sent, 2).size() == 1);
        CHECK(appends(sent, 2)[0].read == Time{77ns});
        CHECK(appends(sent, 3).empty());
    }
}

TEST_CASE(
    "[PhD 6.4.1]: a lease counts from when a message was sent, not from when word of it came") {
    Reader node = leading(leased(100ms));
    node.advance(node.options.heartbeat_timeout);
    Time sent_at = node.now;
    std::vector<Message> beat = node.sent();
    node.now += 399ms;
    node.poll({answer(node, beat, 2)});
    node.sent();
    Duration lease = node.options.election_timeout_range.min - 100ms;
    SUBCASE("until just before its end") {
        node.now = sent_at + lease - 1us;  // Stamps were ahead of the clock by some ticks.
        node.machine.reads = {7};
        node.poll();
        node.poll();
        CHECK(node.machine.served.size() == 1);
    }
    SUBCASE("not at its end") {
        node.now = sent_at + lease;
        node.machine.reads = {7};
        node.poll();
        node.poll();
        CHECK(node.machine.silent());
        node.poll({answer(node, node.sent(), 3)});
        CHECK(node.machine.served.size() == 1);
    }
}

TEST_CASE("a lease counts from what a majority heard, not from what somebody did") {
    Reader node(1, {2, 3, 4, 5}, leased(100ms));
    node.elect();
    converse(node, {2, 3, 4, 5});
    Time all = node.now;
    node.now += 200ms;
    node.poll();
    node.poll({answer(node, node.sent(), 2)});  // It and 2 are no majority.
    node.now = all + 399ms;
    node.machine.reads = {7};
    node.poll();
    node.poll();
    CHECK(node.machine.served.size() == 1);
    node.now = all + 400ms + 1us;  // Each poll at one time counts as one tick later.
    node.machine.reads = {8};
    node.poll();
    node.poll();
    CHECK(node.machine.served.size() == 1);
}

TEST_CASE("leases are off by default, and where the clocks may drift too far for one") {
    Duration timeout = Reader::Options{}.election_timeout_range.min;
    for (Duration drift : {Reader::Options{}.lease_reads, timeout, timeout + 1ms,
                           timeout - Duration{1}, Duration{}}) {
        CAPTURE(drift.count());
        Reader node = leading(leased(drift));
        CHECK_FALSE(node.status().fault);
        // Of two leases one is over after a tick, and one not yet.
        node.now += drift == Duration{} ? timeout - 1ms : Duration{1ms};
        node.poll();
        converse(node, {});
        node.machine.reads = {7};
        node.poll();
        node.poll();
        CHECK(node.machine.served.size() == (drift == Duration{} ? 1 : 0));
        node.poll();
        converse(node);
        CHECK(node.machine.served.size() == 1);
    }
    CHECK(Reader::Options{}.lease_reads == (Duration::max)());
}

TEST_CASE("a bound that is negative is a fault") {
    for (Duration drift : {Duration{-1}, (Duration::min)()}) {
        Reader node(1, {2, 3}, leased(drift));
        REQUIRE(node.status().fault);
        CHECK(node.status().fault == "lease_reads is negative");
        CHECK(node.poll() == never);
        CHECK(node.sent().empty());
    }
}

TEST_CASE("[PhD 6.4.1]: a lease ends with TimeoutNow, for the rest of the term") {
    Reader node = leading(leased());
    node.machine.reads = {7};
    node.poll();
    node.poll();
    REQUIRE(node.machine.served.size() == 1);
    node.wire.transfer_to = ReplicaId{3};
    node.machine.reads = {8};
    node.poll();
    REQUIRE(node.sent_of<lr::TimeoutNow>().size() == 1);
    CHECK(node.machine.served.size() == 1);
    node.poll();
    converse(node);
    CHECK(node.machine.served.size() == 2);  // By asking.
    // The other never makes use of it, and the transfer is over.
    for (int i = 0; i < 60; ++i) {
        node.advance(node.options.heartbeat_timeout);
        converse(node);
        node.machine.reads = {std::uint64_t{100} + static_cast<std::uint64_t>(i)};
        node.poll();
        CHECK(node.machine.served.size() == 2 + static_cast<std::size_t>(i));
        node.poll();
        converse(node);
        CHECK(node.machine.served.size() == 3 + static_cast<std::size_t>(i));
    }
    REQUIRE(node.status().role == Role::leader);
    REQUIRE(node.status().term == Term{1});
    // In another term it has one again.
    node.poll({node.from(2, 2, AppendEntries{{Term{1}, Index{1}}, {}, {}})});
    node.elect();
    REQUIRE(node.status().role == Role::leader);
    converse(node);
    node.machine.served.clear();
    node.machine.reads = {9};
    node.poll();
    node.poll();
    CHECK(node.machine.served == Served{{9, 0}});
}

TEST_CASE("a wish to hand over that waits for the other's log does not end the lease yet") {
    Reader node = leading(leased());
    node.machine.pending = {{1, 1}};
    node.poll();
    converse(node, {2});
    node.wire.transfer_to = ReplicaId{3};
    node.machine.reads = {7};
    node.poll();
    node.poll();
    CHECK(node.sent_of<lr::TimeoutNow>().empty());
    CHECK(node.machine.served == Served{{7, 1}});
}

TEST_CASE("a replica that restarts helps nobody to depose the leader it may have heard") {
    for (bool leases : {true, false}) {
        CAPTURE(leases);
        Reader node(1, {2, 3}, leases ? leased() : Reader::Options{});
        node.disk.written.term = node.disk.durable.term = Term{1};
        node.now += 5s;
        node.poll();
        auto votes = [&](RequestVote request) {
            node.sent();
            std::uint64_t term = request.pre_vote ? 1 : 2;
            node.poll({node.from(3, term, request)});
            node.poll();
            for (const RequestVoteResponse& response : node.sent_of<RequestVoteResponse>())
                if (response.vote_granted) return true;
            return false;
        };
        CHECK(votes({true, {}}) == !leases);
        CHECK(votes({false, {}}) == !leases);
        if (!leases) continue;
        CHECK(node.status().term == Term{1});
        node.now += node.options.election_timeout_range.min - Duration{1};
        CHECK_FALSE(votes({true, {}}));
        CHECK_FALSE(votes({false, {}}));
        SUBCASE("unless that leader itself asks for it") {
            CHECK(votes({false, {}, true}));
            CHECK(node.disk.durable.voted_for == ReplicaId{3});
        }
        SUBCASE("and not longer than that leader may count on it") {
            node.now += Duration{1};
            CHECK(votes({true, {}}));
            CHECK(votes({false, {}}));
        }
    }
}

/// That replica 1, which heard the leader of term 1 at that time, votes for 3 in term 2 when the
/// least timeout has passed, and not before.
void holds_off(Reader& node, Time heard) {
    auto granted = [&] {
        node.poll({node.from(3, 2, RequestVote{false, {}})});
        node.poll();
        auto votes = node.sent_of<RequestVoteResponse>();
        return !votes.empty() && votes.back().vote_granted;
    };
    node.now = heard + node.options.election_timeout_range.min - Duration{1};
    CHECK_FALSE(granted());
    node.now = heard + node.options.election_timeout_range.min;
    CHECK(granted());
}

TEST_CASE("a replica that hears a leader votes for nobody for the least timeout") {
    Reader node = following(0, 0, leased());
    holds_off(node, node.now);
}

TEST_CASE("regression: a vote in a term learned meanwhile broke the hold-off") {
    // The term is then the replica's own, and it knows no leader of that: what counts is when it
    // heard one of any term.
    Reader node = following(0, 0, leased());
    Time heard = node.now;
    node.poll({node.from(3, 2, RequestVoteResponse{true, false})});
    REQUIRE(node.status().term == Term{2});
    REQUIRE_FALSE(node.status().leader);
    SUBCASE("at once") { node.now += 1ms; }
    SUBCASE("after it stopped and came back") {
        // The term is durable only now, and not when the leader was heard.
        node.restart();
        REQUIRE(node.status().term == Term{2});
        node.poll();
    }
    holds_off(node, heard);
}

TEST_CASE(
    "no read by lease is stale, though a vote request overtakes and follows the leader's word") {
    // Replica 3 does not hear its leader 1 for a while, and 2 says that it would vote for it; then
    // 2 hears the leader again, which so counts on it for a while. Only then does the rest arrive.
    Readers group(3, leased(100ms));
    REQUIRE(group.elect(1));
    REQUIRE(group.settle());
    std::vector<Message> held;  // Requests for votes are long on their way.
    auto poll = [&](std::uint64_t id, std::vector<std::uint64_t> reached) {
        group[id].poll();
        for (Message& message : group[id].sent()) {
            auto* request = std::get_if<RequestVote>(&message.body);
            bool slow = request && !request->pre_vote && message.to == ReplicaId{2};
            if (slow) held.push_back(message);
            for (std::uint64_t other : reached)
                if (message.to == ReplicaId{other} && !slow)
                    group[other].wire.inbox.push_back(message);
        }
    };
    const auto& [min, max] = group[1].options.election_timeout_range;
    group[2].now += min;
    group[3].now += max;
    poll(3, {2});
    poll(2, {3});
    poll(3, {});
    REQUIRE(group[3].status().role == Role::candidate);
    REQUIRE(held.size() == 1);
    REQUIRE(group[2].status().term == Term{1});
    // The leader's heartbeat reaches 2 after all, and the answer comes back: it has a lease.
    group[1].now += group[1].options.heartbeat_timeout;
    poll(1, {2});
    poll(2, {1});
    poll(1, {});
    group[1].machine.reads = {6};
    poll(1, {});
    poll(1, {});
    REQUIRE(group[1].machine.served.size() == 1);
    // A PreVote of 2's that was long on its way reaches 3, which says what term it is now.
    group[3].wire.inbox.push_back(
        {ReplicaId{2}, ReplicaId{3}, Term{1}, RequestVote{true, {Term{1}, {1}}}});
    poll(3, {2});
    poll(2, {3});
    group[2].wire.inbox = std::exchange(held, {});
    group[3].machine.pending = {{9, 9}};
    for (int i = 0; i < 20; ++i) {
        poll(2, {3});
        // Should 3 lead now, it commits with 2 what 1 does not hear of.
        if (group[3].status().role != Role::leader) group[3].machine.pending = {{9, 9}};
        poll(3, {2});
    }
    std::uint64_t applied = group[3].machine.applied.size();
    group[1].machine.reads = {7};
    group[1].poll();
    group[1].poll();
    REQUIRE(group[1].machine.served.size() == 2);  // By lease, as it may.
    CHECK(group[1].machine.served[1].sees >= applied);
}

// ----- All together ------------------------------------------------------------------------------

TEST_CASE("absurd stamps serve no read, and break nothing") {
    const Time stamps[] = {never,    never - Duration{1}, (Time::min)(), Time{Duration{-1}},
                           Time{1h}, Time{Duration{1}}};
    for (Time stamp : stamps) {
        CAPTURE(stamp.time_since_epoch().count());
        Reader node = leading();
        node.machine.reads = {7};
        node.poll();
        node.poll();
        node.poll();
        std::vector<Message> round = node.sent();
        for (std::uint64_t peer : Ids{2, 3}) {
            AppendEntriesResponse absurd{true, Index{1}, {}};
            absurd.heard = absurd.read = stamp;
            node.poll({node.from(peer, 1, absurd)});
            node.poll();
            absurd.success = false;
            node.poll({node.from(peer, 1, absurd)});
            node.poll();
        }
        CHECK(node.machine.silent());
        CHECK(node.status().role == Role::leader);
        CHECK_FALSE(node.status().progress[1].lost);
        node.poll({answer(node, round, 2)});
        CHECK(node.machine.served == Served{{7, 0}});

        Reader follower = following(1, 1);
        ask(follower);
        AppendEntries append{{Term{1}, Index{1}}, Index{1}, {}};
        append.sent = append.read = stamp;
        follower.poll({follower.from(2, 1, append)});
        InstallSnapshot chunk{{Term{1}, Index{1}}, 0, "", true, stamp};
        follower.poll({follower.from(2, 1, chunk)});
        follower.poll();
        CHECK(follower.machine.silent());
        CHECK(follower.status().leader == ReplicaId{2});
        // In the next term nothing is left of it.
        append.sent = Time{5ms};
        append.read = {};
        follower.poll({follower.from(3, 2, append)});
        follower.poll();
        CHECK(follower.machine.abandoned == Ids{7});
        auto responses = follower.sent_of<AppendEntriesResponse>();
        REQUIRE_FALSE(responses.empty());
        CHECK(responses.back().heard == Time{5ms});
        CHECK(responses.back().read == Time{});
    }
}

TEST_CASE("through losses and new leaders each read ends once, and none is stale") {
    std::uint64_t random = 1;
    auto below = [&](std::uint64_t limit) {
        random = random * 6364136223846793005 + 1442695040888963407;
        return (random >> 33) % limit;
    };
    std::uint64_t served = 0, abandoned = 0, on_followers = 0, held = 0;
    std::set<std::pair<int, std::uint64_t>> led;  // Terms, each with its round.
    for (int round = 0; round < 30; ++round) {
        CAPTURE(round);
        Reader::Options options = leased(round % 2 == 0 ? (Duration::max)() : Duration{10ms});
        options.seed = static_cast<std::uint64_t>(round);
        options.election_timeout_range = {100ms, 200ms};
        options.heartbeat_timeout = 20ms;
        options.snapshot_delta = round % 3 == 0 ? 4 : 0;
        options.snapshot_trailing = 0;
        Readers group(3, options);
        std::set<std::pair<std::uint64_t, std::uint64_t>>
            slow;  // Ways on which nothing arrives yet.
        group.holds = [&](const Message& message) {
            bool stays = slow.contains({message.from.value, message.to.value}) || below(4) == 0;
            held += stays ? 1 : 0;
            return stays;
        };
        std::map<std::uint64_t, std::uint64_t> must_see;  // Of each read: what was applied before.
        std::map<std::uint64_t, int> ends;
        std::uint64_t id = 0, read = 0, applied = 0;
        auto judge = [&] {
            for (Reader& node : group.nodes) {
                applied = std::max<std::uint64_t>(applied, node.machine.applied.size());
                if (node.status().role == Role::leader)
                    led.insert({round, node.status().term.value});
                for (const ReadMachine::Served& one : node.machine.served) {
                    ++ends[one.read];
                    ++served;
                    on_followers += node.status().role == Role::follower ? 1 : 0;
                    // A CHECK for each would take longer than all the rest.
                    if (one.sees < must_see.at(one.read)) FAIL_CHECK("stale: ", one.read);
                }
                for (std::uint64_t one : node.machine.abandoned) ++ends[one], ++abandoned;
                node.machine.served.clear();
                node.machine.abandoned.clear();
            }
        };
        for (int step = 0; step < 2000; ++step) {
            for (Reader& node : group.nodes) {
                node.now += 1ms;
                if (below(10) == 0) {
                    node.machine.reads.push_back(++read);
                    must_see[read] = applied;
                }
                if (below(10) == 0) node.machine.pending.push_back({++id, id});
            }
            if (below(400) == 0) group.isolate(1 + below(3));
            if (below(100) == 0) group.cut.clear();
            if (below(60) == 0) slow.emplace(1 + below(3), 1 + below(3));
            if (below(100) == 0) slow.clear();
            if (below(400) == 0) group.nodes[below(3)].wire.transfer_to = ReplicaId{1 + below(3)};
            group.step();
            judge();
        }
        group.cut.clear();
        slow.clear();
        for (int i = 0; i < 200; ++i) {
            REQUIRE(group.advance(10ms));
            judge();
        }
        CHECK(ends.size() == read);
        for (const auto& end : ends)
            if (end.second != 1) FAIL_CHECK("read ", end.first, " ended ", end.second, " times");
    }
    // It was worth something only if it saw all of that.
    CHECK(served > 10'000);
    CHECK(on_followers > 1000);
    CHECK(abandoned > 1000);
    CHECK(led.size() > 60);
    CHECK(held > 10'000);
}
