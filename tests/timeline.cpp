// The timeline of the test kit: what must be in the file that people look for a bug with.
#include "testing/timeline.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using little_raft::testing::Record;
using little_raft::testing::to_html;
using What = Record::What;

/// Tells a run by hand.
struct Story {
    Record record;
    std::vector<Record::State> states;

    explicit Story(std::size_t replicas) : states(replicas) {
        for (Record::State& state : states) state.role = "follower";
    }

    Record::State& of(std::size_t replica) { return states[replica - 1]; }

    void step(std::string text) {
        end_step();
        record.steps.push_back({std::move(text)});
    }
    void event(What what, std::size_t replica, std::string text = {}) {
        record.steps.back().events.push_back({what, replica - 1, std::nullopt, std::move(text)});
    }
    std::size_t send(std::size_t from, std::size_t to, std::string kind, std::string fields) {
        record.messages.push_back(
            {from - 1, to - 1, of(from).term, std::move(kind), std::move(fields)});
        record.steps.back().events.push_back({What::send, from - 1, record.messages.size() - 1});
        return record.messages.size() - 1;
    }
    void end(What what, std::size_t message) {
        record.steps.back().events.push_back({what, record.messages[message].to, message});
    }
    void end_step() {
        if (!record.steps.empty() && record.steps.back().states.empty()) {
            record.steps.back().states = states;
        }
    }

    // What replicas do, as far as Figure 8 needs it.

    /// The messages to the replicas 1, 2, ...; the candidate's own place is not used.
    std::vector<std::size_t> campaign(std::size_t replica, std::uint64_t term) {
        step("the timer of replica " + std::to_string(replica) + " runs out");
        event(What::time_out, replica);
        of(replica).role = "candidate";
        of(replica).term = term;
        of(replica).voted_for = replica;
        of(replica).leader.reset();
        event(What::role, replica, "is candidate in term " + std::to_string(term));
        const std::string last = std::to_string(of(replica).log_terms.size()) + " in term " +
                                 std::to_string(of(replica).log_terms.back());
        std::vector<std::size_t> requests;
        for (std::size_t to = 1; to <= states.size(); ++to) {
            requests.push_back(
                to == replica ? 0 : send(replica, to, "RequestVote", "log ends at " + last));
        }
        return requests;
    }
    std::size_t vote(std::size_t voter, std::size_t request) {
        const Record::Message asked = record.messages[request];
        step("RequestVote of replica " + std::to_string(asked.from + 1) + " arrives at replica " +
             std::to_string(voter));
        end(What::deliver, request);
        of(voter).term = asked.term;
        of(voter).voted_for = asked.from + 1;
        of(voter).role = "follower";
        event(What::term, voter, "term " + std::to_string(asked.term));
        event(What::vote, voter, "votes for " + std::to_string(asked.from + 1));
        return send(voter, asked.from + 1, "RequestVoteResponse", "granted");
    }
    void arrives(std::size_t message) {
        step(record.messages[message].kind + " of replica " +
             std::to_string(record.messages[message].from + 1) + " arrives at replica " +
             std::to_string(record.messages[message].to + 1));
        end(What::deliver, message);
    }
    void lead(std::size_t replica) {
        of(replica).role = "leader";
        of(replica).leader = replica;
        event(What::role, replica, "is leader in term " + std::to_string(of(replica).term));
        append(replica, of(replica).term, "no-op");
    }
    void append(std::size_t replica, std::uint64_t term, std::string content) {
        of(replica).log_terms.push_back(term);
        of(replica).log_texts.push_back(std::move(content));
        of(replica).durable_index = of(replica).log_terms.size();
        event(What::append, replica,
              "entry " + std::to_string(of(replica).log_terms.size()) + " of term " +
                  std::to_string(term));
    }
    void commit(std::size_t replica, std::uint64_t index) {
        of(replica).commit_index = of(replica).last_applied = index;
        event(What::commit, replica, "commits up to " + std::to_string(index));
        event(What::apply, replica, "entry " + std::to_string(index));
    }
    void crash(std::size_t replica) {
        step("replica " + std::to_string(replica) + " crashes");
        event(What::crash, replica);
        of(replica).alive = false;
    }
    void restart(std::size_t replica) {
        step("replica " + std::to_string(replica) + " restarts");
        event(What::restart, replica);
        of(replica).alive = true;
        of(replica).role = "follower";
        of(replica).commit_index = of(replica).last_applied = 0;
        of(replica).leader.reset();
    }
};

/// [Raft Figure 8], with the bug that its rule is there for: replica 1, leader again in term 4,
/// commits entry 2 of term 2 since three replicas hold it; replica 5 can still win an election.
Record figure_8() {
    Story story(5);
    for (Record::State& state : story.states) {
        state.term = 1;
        state.log_terms = {1};
        state.log_texts = {"x=1"};
        state.durable_index = state.commit_index = state.last_applied = 1;
    }
    story.step("all hold entry 1 of term 1, which is committed");
    std::vector<std::size_t> requests = story.campaign(1, 2);
    std::size_t from_2 = story.vote(2, requests[1]);
    std::size_t from_3 = story.vote(3, requests[2]);
    story.arrives(from_2);
    story.arrives(from_3);
    story.lead(1);
    const std::string entry_2 = "prev 1 in term 1, commit 1, 1 entry in term 2";
    std::size_t to_2 = story.send(1, 2, "AppendEntries", entry_2);
    std::size_t to_3 = story.send(1, 3, "AppendEntries", entry_2);
    story.arrives(to_2);
    story.append(2, 2, "no-op");
    story.of(2).leader = 1;
    std::size_t lost = story.send(2, 1, "AppendEntriesResponse", "success, match 2");
    story.step("AppendEntries of replica 1 to replica 3 is lost");
    story.end(What::drop, to_3);
    story.crash(1);
    story.step("the network blocks AppendEntriesResponse of replica 2, since replica 1 is down");
    story.end(What::blocked, lost);

    requests = story.campaign(5, 3);
    from_3 = story.vote(3, requests[2]);
    std::size_t from_4 = story.vote(4, requests[3]);
    story.arrives(from_3);
    story.arrives(from_4);
    story.lead(5);
    story.crash(5);

    story.restart(1);
    requests = story.campaign(1, 4);
    from_2 = story.vote(2, requests[1]);
    from_3 = story.vote(3, requests[2]);
    story.arrives(from_2);
    story.arrives(from_3);
    story.of(1).role = "leader";
    story.of(1).leader = 1;
    story.event(What::role, 1, "is leader in term 4");
    to_3 = story.send(1, 3, "AppendEntries", entry_2);
    story.arrives(to_3);
    story.append(3, 2, "no-op");
    story.of(3).leader = 1;
    from_3 = story.send(3, 1, "AppendEntriesResponse", "success, match 2");
    story.arrives(from_3);
    story.commit(1, 2);
    story.crash(1);

    story.restart(5);
    requests = story.campaign(5, 5);
    from_3 = story.vote(3, requests[2]);
    from_4 = story.vote(4, requests[3]);
    story.arrives(from_3);
    story.arrives(from_4);
    story.of(5).role = "leader";
    story.of(5).leader = 5;
    story.event(What::role, 5, "is leader in term 5");
    story.event(What::violation, 5, "its log lacks entry 2 of term 2");
    story.end_step();

    Record record = story.record;
    record.title = "swarm of the bank, schedule 4711";
    record.configuration = "5 replicas, snapshot every 8 entries, 2 entries a message";
    record.seed = 4711;
    record.invariant = "Leader Completeness";
    record.violation =
        "Replica 5 leads in term 5, but its log lacks entry 2 of term 2 (\"no-op\"), which replica "
        "1 committed in term 4. A leader must hold all that was committed in earlier terms.";
    record.source = "[Raft Figure 3]";
    record.violator = 4;
    record.replay =
        "TEST_CASE(\"replay\") {\n    auto result = replay<BankTest>(\"deliver 1 0;\");\n}\n";
    return record;
}

/// Any run, with everything that can happen to messages and replicas, in an order without sense.
Record busy(std::size_t replicas, std::size_t steps, std::uint64_t seed, std::string invariant) {
    Story story(replicas);
    auto below = [&seed](std::size_t bound) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        return static_cast<std::size_t>((seed >> 33) % bound);
    };
    std::vector<std::size_t> under_way;
    for (std::size_t i = 0; i < steps; ++i) {
        const std::size_t who = 1 + below(replicas);
        Record::State& state = story.of(who);
        const std::string name = "replica " + std::to_string(who);
        if (!state.alive) {
            story.restart(who);
        } else if (below(14) == 0) {
            story.crash(who);
        } else if (below(16) == 0) {
            state.paused = !state.paused;
            story.step(name + (state.paused ? " pauses" : " goes on"));
            story.event(state.paused ? What::pause : What::resume, who);
        } else if (below(6) == 0) {
            story.step("the timer of " + name + " runs out");
            story.event(What::time_out, who);
            state.role = below(2) == 0 ? "pre_candidate" : below(2) == 0 ? "candidate" : "leader";
            state.term += 1 + below(2);
            story.event(What::role, who, state.role);
            for (std::size_t to = 1; to <= replicas; ++to) {
                if (to != who) {
                    under_way.push_back(
                        story.send(who, to, "RequestVote", "log ends at 3 in term 2"));
                }
            }
        } else if (under_way.empty()) {
            story.step(name + " is given a transition");
            story.event(What::propose, who, "transition " + std::to_string(i));
            if (below(2) == 0) story.append(who, state.term, std::to_string(i));
        } else {
            const std::size_t which = below(under_way.size());
            const std::size_t message = under_way[which];
            const std::size_t to = story.record.messages[message].to + 1;
            const What what = static_cast<What>(1 + (below(3) == 0 ? below(5) : 0));
            story.step("message " + std::to_string(message) + " to replica " + std::to_string(to));
            story.end(what, message);
            if (what != What::duplicate) {
                under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(which));
            }
            Record::State& receiver = story.of(to);
            if (what > What::duplicate || !receiver.alive) continue;
            receiver.role = "follower";
            receiver.term = std::max(receiver.term, story.record.messages[message].term);
            if (below(8) == 0 && receiver.log_terms.size() > receiver.commit_index) {
                receiver.log_terms.pop_back();
                receiver.log_texts.pop_back();
                story.event(What::truncate, to);
            }
            story.append(to, receiver.term, std::to_string(i));
            receiver.durable_index -= below(2);
            if (below(3) == 0) story.commit(to, receiver.log_terms.size());
            if (below(9) == 0) {
                receiver.snapshot_index = receiver.last_applied;
                story.event(What::snapshot, to, "up to " + std::to_string(receiver.snapshot_index));
            }
            const std::size_t from = story.record.messages[message].from + 1;
            under_way.push_back(
                story.send(to, from, "AppendEntriesResponse",
                           "success, match " + std::to_string(receiver.durable_index)));
        }
        story.record.steps.back().healing = i + steps / 8 > steps;
    }
    story.end_step();
    story.record.title = "a busy run";
    story.record.configuration = std::to_string(replicas) + " replicas";
    if (!invariant.empty()) {
        story.record.violation = "What was seen.";
        story.record.source = "[Raft Figure 3]";
        story.record.violator = 0;
    }
    story.record.invariant = std::move(invariant);
    return story.record;
}

std::size_t count(std::string_view text, std::string_view what) {
    std::size_t result = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string_view::npos; ++at) ++result;
    return result;
}

bool contains(std::string_view text, std::string_view what) { return count(text, what) > 0; }

/// From the first `begin` behind `from` to the end of the next `end`; empty if there is none.
std::string_view part(std::string_view page, std::string_view begin, std::string_view end,
                      std::size_t from = 0) {
    const std::size_t first = page.find(begin, from);
    const std::size_t last = first == page.npos ? page.npos : page.find(end, first);
    return last == page.npos ? std::string_view() : page.substr(first, last + end.size() - first);
}

/// What is wrong with it as XML; nothing if it is well formed. Without comments, CDATA and
/// processing instructions, which a timeline has not.
std::string fault_in_xml(std::string_view text) {
    std::vector<std::string_view> open;
    bool had_root = false;
    std::size_t at = 0;
    auto fault = [&](const char* words) {
        return std::string(words) + ": " + std::string(text.substr(at, 60));
    };
    auto name = [&] {
        const std::size_t begin = at;
        auto belongs = [](char c) {
            return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == ':';
        };
        while (at < text.size() && belongs(text[at])) ++at;
        return text.substr(begin, at - begin);
    };
    auto is_entity = [&] {
        const std::size_t end = text.find(';', at);
        const std::string_view entity =
            end == text.npos ? std::string_view() : text.substr(at + 1, end - at - 1);
        if (entity == "amp" || entity == "lt" || entity == "gt") return true;
        return entity.size() > 1 && entity[0] == '#' &&
               entity.find_first_not_of("0123456789", 1) == entity.npos;
    };
    while (at < text.size()) {
        if (text[at] == '&' && !is_entity()) return fault("a bare ampersand");
        if (text[at] != '<') {
            if (open.empty() && text[at] != '\n') return fault("text outside the root");
            if (static_cast<unsigned char>(text[at]) < 0x20 && text[at] != '\n') {
                return fault("a control character");
            }
            ++at;
            continue;
        }
        ++at;
        if (text[at] == '/') {
            ++at;
            if (open.empty() || name() != open.back())
                return fault("a tag closed that is not open");
            open.pop_back();
        } else {
            const std::string_view tag = name();
            if (tag.empty()) return fault("a bare <");
            if (open.empty() && had_root) return fault("a second root");
            had_root = true;
            std::vector<std::string_view> attributes;
            while (at < text.size() && text[at] == ' ') {
                ++at;
                attributes.push_back(name());
                if (attributes.back().empty() || text.substr(at, 2) != "='") {
                    return fault("an attribute without a quoted value");
                }
                if (std::count(attributes.begin(), attributes.end(), attributes.back()) > 1) {
                    return fault("an attribute twice");
                }
                for (at += 2; at < text.size() && text[at] != '\''; ++at) {
                    if (text[at] == '<') return fault("a < in an attribute");
                    if (text[at] == '&' && !is_entity()) return fault("a bare ampersand");
                }
                ++at;
            }
            if (text.substr(at, 2) == "/>") {
                ++at;
            } else {
                open.push_back(tag);
            }
        }
        if (at >= text.size() || text[at] != '>') return fault("a tag that does not end");
        ++at;
    }
    return open.empty() && had_root ? "" : "it ends too early";
}

/// Whatever the record is, this holds for its page.
void check_page(const Record& record) {
    const std::string page = to_html(record);
    CHECK(page == to_html(record));
    CHECK(page.substr(0, 15) == "<!DOCTYPE html>");
    for (std::size_t at = 0; (at = page.find("<svg", at)) != page.npos; ++at) {
        CHECK(fault_in_xml(part(page, "<svg", "</svg>", at)) == "");
    }
    CHECK(count(page, "<svg") == 2);
    CHECK(fault_in_xml(part(page, "<header", "</header>")) == "");
    CHECK(fault_in_xml(part(page, "<main", "</main>")) == "");
    CHECK(fault_in_xml(part(page, "<template", "</template>")) == "");
    CHECK(count(page, "<script") == 1);
    CHECK(count(page, "</script") == 1);

    // Nothing is fetched: addresses are those of the SVG namespace and of steps in the page itself.
    CHECK(count(page, "http") == count(page, "xmlns='http://www.w3.org/2000/svg'"));
    CHECK(count(page, "href=") == count(page, "href='#s"));
    for (const char* word : {" src=", "url(", "@import", "<link", "<iframe", "<base", "fetch(",
                             "XMLHttpRequest", "import(", "sendBeacon"}) {
        CAPTURE(word);
        CHECK_FALSE(contains(page, word));
    }

    const bool failed = !record.invariant.empty();
    CHECK(count(page, "id='wrong'") == (failed && !record.steps.empty() ? 1 : 0));
    const std::size_t shown = std::min(record.steps.size(), little_raft::testing::timeline_steps);
    CHECK(count(page, "class='row") == shown);
    CHECK(count(page, "<section>") == shown);
    if (failed && shown > 0) {
        const std::string last = "id='s" + std::to_string(record.steps.size()) + "'";
        CHECK(contains(part(page, "<a " + last, ">"), "wrong"));
    }
}

TEST_CASE("the check for XML finds what is wrong") {
    CHECK(fault_in_xml("<a b='1'><c/>x &amp; &#8230;</a>") == "");
    for (const char* wrong :
         {"", "<a>", "<a></b>", "<a b=1></a>", "<a b='<'></a>", "<a>&</a>", "<a>&nbsp;</a>",
          "<a b='1' b='2'/>", "<a/><a/>", "<a><</a>", "<a", "<a>\x01</a>", "x"}) {
        CAPTURE(wrong);
        CHECK(fault_in_xml(wrong) != "");
    }
}

TEST_CASE("Figure 8 is told: every message has its arrow, every replica its life") {
    const Record record = figure_8();
    check_page(record);
    const std::string page = to_html(record);
    for (std::size_t m = 0; m < record.messages.size(); ++m) {
        CAPTURE(m);
        CHECK(contains(page, "' data-m='" + std::to_string(m) + "' data-s="));
    }
    const std::string_view picture = part(page, "<svg", "</svg>", page.find("</svg>"));
    CHECK(contains(picture, "<tspan>AE</tspan> lost"));
    CHECK(contains(picture, "<tspan>AER</tspan> blocked"));
    CHECK(count(picture, "&#10007; crash<") == 3);
    CHECK(count(picture, ">restart<") == 2);
    CHECK(count(picture, "class='lane dead'") == 3);
    for (const char* words :
         {"candidate T2", "&#9733; leader T2", "&#9733; leader T3", "votes 5", "&#9733; leader T4",
          "&#9733; leader T5", "+2", "&#10003;2", "&#9656;2", ">T5<"}) {
        CAPTURE(words);
        CHECK(contains(picture, words));
    }
    CHECK(contains(picture, "class='lane leader t4'"));
    CHECK(contains(picture, "class='lane candidate t3'"));

    const std::string_view header = part(page, "<header", "</header>");
    for (const char* words : {"Leader Completeness is broken", "step 31", "by replica 5",
                              "lacks entry 2 of term 2 (&#34;no-op&#34;)", "[Raft Figure 3]",
                              "seed 4711", "replay&lt;BankTest&gt;(&#34;deliver 1 0;&#34;)"}) {
        CAPTURE(words);
        CHECK(contains(header, words));
    }
    CHECK(count(header, "<li") == record.steps.size());
}

TEST_CASE("the panel has each state when it changes, and shows the last without a script") {
    const Record record = figure_8();
    const std::string page = to_html(record);
    const std::string_view panel = part(page, "<aside", "</aside>");
    CHECK(count(panel, "<div class='state") == 5);
    CHECK(count(panel, "<div class='state bad'") == 1);
    CHECK(count(panel, "<div class='state gone'") == 1);
    CHECK(contains(panel, "<i class='t2' style='--i:2'>2<small>no-op</small></i>"));
    CHECK(contains(panel, "<i class='t1 c' style='--i:1'>1<small>x=1</small></i>"));
    // In the step of the wrong commit, replica 1 changes, and nobody else.
    std::size_t at = 0;
    for (std::size_t i = 0; i < 24; ++i) at = page.find("<section>", at + 1);
    const std::string_view section = part(page, "<section>", "</section>", at);
    CHECK(contains(section, "Step 24 "));
    CHECK(count(section, "<div class='state") == 1);
    CHECK(contains(section, "data-r='0'"));
    CHECK(contains(section, "<em>commit 2</em> <em>applied 2</em>"));
    CHECK(contains(section, "<i class='t2 c' style='--i:2'>"));
}

TEST_CASE("what is cut off, not durable, copied or behind a snapshot is told apart") {
    Story story(2);
    story.step("replica 1 writes");
    story.append(1, 1, "a");
    story.append(1, 1, "b");
    story.append(1, 2, "c");
    story.of(1).durable_index = 1;
    story.of(1).commit_index = 1;  // And not applied yet.
    story.of(2).term = 3;
    std::size_t message = story.send(2, 1, "AppendEntries", "term 3, prev 1 in term 1");
    story.step("a copy arrives");
    story.end(What::duplicate, message);
    story.of(1).log_terms = {1, 3};
    story.of(1).log_texts = {"a", "d"};
    story.step("the other too");
    story.end(What::deliver, message);
    story.step("a snapshot is taken, which cuts nothing off");
    story.event(What::snapshot, 1);
    story.of(1).snapshot_index = 2;
    story.of(1).first_log_index = 2;
    story.of(1).log_terms = {3};
    story.of(1).log_texts = {"d"};
    story.end_step();
    check_page(story.record);
    const std::string page = to_html(story.record);
    const std::string_view picture = part(page, "<svg", "</svg>", page.find("</svg>"));
    CHECK(contains(picture, ">+1-2<"));
    CHECK(contains(picture, ">+3<"));
    CHECK(contains(picture, ">&#8722;2<"));
    CHECK(contains(picture, ">&#8722;3<"));
    CHECK(contains(picture, ">+2<"));
    CHECK(contains(picture, ">snapshot 2<"));
    CHECK(count(picture, "&#8722;") == 2);
    CHECK(contains(picture, "x2 prev 1 T1"));
    CHECK(count(picture, "class='m t3 copy'") == 1);
    CHECK(contains(page, "<i class='t1 u' style='--i:2'>1<small>b</small></i>"));
    CHECK(contains(page, "<i class='t1 c' style='--i:1'>1<small>a</small></i>"));
    CHECK(contains(page, "<i class='before' style='--i:1'"));
}

TEST_CASE("in a step of many events, what became of a replica stands behind what made it so") {
    Story story(3);
    story.step("the cluster runs");
    std::size_t request = story.send(1, 2, "RequestVote", "");
    story.event(What::role, 1, "is candidate");
    story.end(What::deliver, request);
    std::size_t grant = story.send(2, 1, "RequestVoteResponse", "vote granted");
    story.end(What::deliver, grant);
    story.of(1).term = 1;
    story.lead(1);
    story.end_step();
    check_page(story.record);
    const std::string page = to_html(story.record);
    const std::string_view picture = part(page, "<svg", "</svg>", page.find("</svg>"));
    auto y_of = [&](std::string_view chip) {
        const std::size_t label = picture.find(chip);
        REQUIRE(label != picture.npos);
        return std::stoi(std::string(picture.substr(picture.rfind(" y='", label) + 4, 8)));
    };
    CHECK(count(picture, ">is candidate<") == 1);
    CHECK(count(picture, ">is leader") == 0);
    CHECK(y_of("RVR") > y_of("is candidate"));
    CHECK(y_of("&#9733; leader T1") > y_of("RVR"));
    CHECK(y_of(">+1<") == y_of("&#9733; leader T1"));
}

TEST_CASE("text cannot become markup, whatever its bytes") {
    const std::string hostile =
        "</script><script>alert(1)</script>\"'><b onclick='x'>&amp;</template></svg><!--]]>";
    Record record = figure_8();
    auto spoil = [&](std::string& text) {
        text = hostile + text + "\x01\x7f\xff\xc0\xaf\xed\xa0\x80";
    };
    spoil(record.title);
    spoil(record.configuration);
    spoil(record.invariant);
    spoil(record.violation);
    spoil(record.source);
    spoil(record.replay);
    for (Record::Message& message : record.messages) {
        spoil(message.kind);
        spoil(message.fields);
    }
    for (Record::Step& step : record.steps) {
        spoil(step.text);
        for (Record::Event& event : step.events) spoil(event.text);
        for (Record::State& state : step.states) {
            for (std::string& text : state.log_texts) spoil(text);
        }
    }
    record.steps.back().states[1].fault = hostile;
    record.steps.back().states[2].role = hostile;
    check_page(record);
    const std::string page = to_html(record);
    CHECK_FALSE(contains(page, "<b onclick"));
    CHECK_FALSE(contains(page, "alert(1)</"));
    CHECK_FALSE(contains(page, "<!--"));
    CHECK(contains(page, "&lt;/script&gt;&lt;script&gt;alert(1)"));
    std::size_t at = 0;
    for (std::size_t length = 1; length > 0 && at < page.size(); at += length) {
        length = little_raft::testing::timeline::character_at(page, at);
    }
    CHECK(at == page.size());  // No byte that is not UTF-8 is left.
}

TEST_CASE("long text is cut between characters") {
    using little_raft::testing::timeline::escaped;
    CHECK(escaped("abc", 3) == "abc");
    CHECK(escaped("abcd", 3) == "ab&#8230;");
    CHECK(escaped("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 3) ==
          "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    CHECK(escaped("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 2) == "\xc3\xa9&#8230;");
    CHECK(escaped("\xe2\x82") == "&#65533;&#65533;");
    CHECK(escaped("\xed\xa0\x80") == "&#65533;&#65533;&#65533;");  // A surrogate.
    CHECK(escaped("\xc0\xaf") == "&#65533;&#65533;");              // A slash, too long.
    CHECK(escaped("\xe0\x9f\xbf") == "&#65533;&#65533;&#65533;");
    CHECK(escaped("\xf4\x90\x80\x80") == "&#65533;&#65533;&#65533;&#65533;");
    CHECK(escaped("a\x1b") == "a&#65533;");
    CHECK(escaped("<\">&'") == "&lt;&#34;&gt;&amp;&#39;");
    CHECK(escaped("") == "");
}

TEST_CASE("any size: nothing, a title alone, one replica, seven") {
    check_page(Record{});
    Record nothing_done;
    nothing_done.invariant = "Election Safety";
    nothing_done.violation = "It broke at once.";
    check_page(nothing_done);
    check_page(busy(1, 20, 1, ""));
    check_page(busy(3, 60, 2, "Log Matching"));
    check_page(busy(7, 200, 3, "Log Matching"));

    Record absurd = figure_8();  // Numbers that name nothing are no reason to fall over.
    absurd.violator = 99;
    absurd.messages[3].to = 99;
    absurd.steps[3].events.push_back({What::vote, 99, 9999, "votes"});
    absurd.steps[3].events.push_back({What::deliver, 99, 9999, "arrives"});
    absurd.steps[4].states.clear();
    check_page(absurd);
}

TEST_CASE("a long run is bounded: its last steps are shown, and a log's newest entries") {
    const Record record = busy(5, 3000, 4, "Log Matching");
    check_page(record);
    const std::string page = to_html(record);
    CHECK(page.size() < 8'000'000);
    CHECK(contains(page, "the last 1000 steps of 3000"));
    CHECK_FALSE(contains(page, "id='s2000'"));
    CHECK(contains(page, "id='s2001'"));
    CHECK(contains(page, "id='s3000'"));

    Story crowd(5);  // One step in which very much happens.
    crowd.step("everything at once");
    for (std::size_t i = 0; i < 5000; ++i) {
        crowd.event(What::state, 1 + i % 5, "transition " + std::to_string(i) + ": queued");
        crowd.end(What::deliver, crowd.send(1 + i % 5, 1 + (i + 1) % 5, "AppendEntries", "prev 0"));
        crowd.append(1, 1, std::string(10'000, 'x'));
    }
    crowd.end_step();
    check_page(crowd.record);
    CHECK(contains(to_html(crowd.record), "more</p>"));
    CHECK(to_html(crowd.record).size() < 100'000);
}

}  // namespace
