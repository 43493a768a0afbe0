// The test kit as its users have it: it passes what is right, whatever a subject is made of, sees
// through what is broken, judges histories, and makes failures short and repeatable.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "kit_subjects.hpp"

using namespace little_raft::testing;
using kit::some;

namespace {
template <class S>
void passes(std::uint64_t schedules) {
    Result result = check<S>(some(schedules));
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.schedules == schedules);
}

/// The law that breaks; the failure must be short and repeat itself.
template <class S>
Law fails(kit::Bug bug, std::uint64_t schedules, std::size_t steps_max) {
    kit::Planted planted(bug);
    Result result = check<S>(some(schedules));
    REQUIRE(!result.passed);
    REQUIRE(result.failure.has_value());
    CHECK(result.shortest.schedule.size() <= steps_max);
    const LawText& law = text_of(result.failure->law);
    CHECK(result.text.find(law.name) != std::string::npos);
    CHECK(result.text.find(law.words) != std::string::npos);
    CHECK(result.text.find(law.source) != std::string::npos);
    CHECK(result.record.invariant == law.name);
    CHECK(!result.record.steps.empty());
    Result again = replay<S>(result.shortest.configuration.to_text(),
                             to_text(result.shortest.schedule), some(1));
    REQUIRE(!again.passed);
    CHECK(again.failure->law == result.failure->law);
    CHECK(again.failure->detail == result.failure->detail);
    return result.failure->law;
}
}  // namespace

// ----- What is right -----------------------------------------------------------------------------

TEST_CASE("a machine with text for ids, compared by equal, with answers and an invariant passes") {
    passes<kit::BankTest>(1'000);
}

TEST_CASE("a machine without snapshots that cannot be copied passes") {
    passes<kit::CounterTest>(1'000);
}

TEST_CASE("messages that are encoded and decoded pass") { passes<kit::TextTest>(300); }

TEST_CASE("a storage of files passes") { passes<kit::FileTest>(12); }

// ----- What is wrong -----------------------------------------------------------------------------

TEST_CASE("a machine that counts its own calls is seen through") {
    CHECK(fails<kit::TextTest>(kit::Bug::own_calls, 200, 20) == Law::state_machine_safety);
}

TEST_CASE("a machine that merges snapshots is seen through") {
    CHECK(fails<kit::BankTest>(kit::Bug::merging, 1'000, 60) == Law::state_machine_safety);
}

TEST_CASE("a machine that breaks its own invariant is seen through") {
    CHECK(fails<kit::BankTest>(kit::Bug::leaky, 100, 12) == Law::own_invariant);
}

TEST_CASE("regression: a law that was broken once and not again passed") {
    Result result;
    {
        kit::Planted planted(kit::Bug::unsteady);
        result = check<kit::BankTest>(some(200));
    }
    CHECK(!result.passed);
    CHECK(result.failed.has_value());
    REQUIRE(result.failure.has_value());
    std::string name = text_of(result.failure->law).name;
    CHECK(result.text.find(name + " is broken: ") == 0);
    CHECK(result.text.find("does not break it each time") != std::string::npos);
    // What does not break when it is repeated says why that may be.
    CHECK(repeat<kit::BankTest>(result.shortest, some(1)).text.find("a clock") !=
          std::string::npos);
}

TEST_CASE("answers that are not those of the state are seen through") {
    CHECK(fails<kit::BankTest>(kit::Bug::forgetful, 100, 12) == Law::linearizability);
}

TEST_CASE("answers from a stale cache are seen through, and told operation by operation") {
    CHECK(fails<kit::BankTest>(kit::Bug::caching, 300, 30) == Law::linearizability);
    kit::Planted planted(kit::Bug::caching);
    Result result = check<kit::BankTest>(some(300));
    CHECK(result.text.find("not linearizable: ") != std::string::npos);
    CHECK(result.text.find(": transfer ") != std::string::npos);
}

TEST_CASE("a machine that gives back an old snapshot is seen through") {
    CHECK(fails<kit::TextTest>(kit::Bug::old_snapshot, 100, 20) == Law::snapshots_come_back);
}

TEST_CASE("ids that are not unique are seen through") {
    CHECK(fails<kit::TextTest>(kit::Bug::same_id, 10, 2) == Law::committed_once);
}

TEST_CASE("messages that lose a field are seen through") {
    CHECK(fails<kit::TextTest>(kit::Bug::lossy, 10, 40) == Law::messages_survive);
}

TEST_CASE("a storage that says true without writing is seen through") {
    CHECK(fails<kit::FileTest>(kit::Bug::lazy, 20, 20) == Law::nothing_synced_is_lost);
}

TEST_CASE("a storage that forgets votes is seen through") {
    CHECK(fails<kit::FileTest>(kit::Bug::voteless, 20, 20) == Law::nothing_synced_is_lost);
}

TEST_CASE("a storage that fails by itself is told") {
    CHECK(fails<kit::FileTest>(kit::Bug::failing, 20, 20) == Law::faults_have_causes);
}

TEST_CASE("a cluster in which nobody is elected fails the liveness phase") {
    CHECK(fails<kit::TextTest>(kit::Bug::no_votes, 10, 1) == Law::liveness);
}

// ----- Histories ---------------------------------------------------------------------------------

TEST_CASE("histories of right answers are decided, and any answer made wrong is noticed") {
    Result result = check<kit::BankTest>(some(500));
    REQUIRE_MESSAGE(result.passed, result.text);
    std::uint64_t decided = result.coverage[Event::history_decided];
    MESSAGE(decided << " of 500 histories were decided");
    CHECK(decided > 450);
    CHECK(result.coverage[Event::history_undecided] < decided / 20);

    std::size_t doctored = 0;
    for (std::uint64_t index = 0; index < 40; ++index) {
        Case drawn = draw_case(1, index);
        Simulator<kit::BankTest> simulator(drawn.configuration);
        REQUIRE(simulator.run(drawn.schedule));
        auto history = simulator.history();
        CHECK(simulator.explain(history).verdict == Verdict::linearizable);
        for (auto& call : history) {
            if (!call.answered) continue;
            *call.answer += 1'000'000;  // No transfers come to that.
            CHECK(simulator.explain(history).verdict != Verdict::linearizable);
            *call.answer -= 1'000'000;
            ++doctored;
            break;
        }
    }
    CHECK(doctored > 30);
}

TEST_CASE("an equal that sees nothing does not make a history broken") {
    kit::Planted planted(kit::Bug::blind);
    Result result = check<kit::BankTest>(some(200));
    CHECK_MESSAGE(result.passed, result.text);
    CHECK(result.coverage[Event::history_undecided] > 0);
}

// ----- How it is told ----------------------------------------------------------------------------

TEST_CASE("the number of threads changes nothing that a failure says") {
    kit::Planted planted(kit::Bug::merging);
    Settings settings = some(200);
    Result one = check<kit::BankTest>(settings);
    settings.threads = 3;
    Result three = check<kit::BankTest>(settings);
    CHECK(!one.passed);
    CHECK(one.failed == three.failed);
    CHECK(one.text == three.text);
    CHECK(one.coverage.events == three.coverage.events);
}

TEST_CASE("the test case that a report gives compiles, and fails as the report says") {
    kit::Planted planted(kit::Bug::own_calls);
    Result result = check<kit::TextTest>(some(200));
    REQUIRE(!result.passed);
    auto root = std::filesystem::absolute(__FILE__).parent_path().parent_path();
    // Other builds may run this at the same time, so it takes the first name that is free.
    std::filesystem::path directory;
    for (int k = 0; directory.empty(); ++k) {
        auto name =
            std::filesystem::temp_directory_path() / ("little_raft_replay_" + std::to_string(k));
        if (std::filesystem::create_directory(name)) directory = name;
    }
    auto source = directory / "replay.cpp";
    auto program = directory / "replay";
    auto output = directory / "output.txt";
    std::ofstream(source) << "#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN\n"
                             "#include <doctest/doctest.h>\n"
                             "#include \"kit_subjects.hpp\"\n"
                             "kit::Planted planted(kit::Bug::own_calls);\n"
                          << result.record.replay;
#ifdef __clang__
    std::string compiler = "clang++";
#else
    std::string compiler = "g++";
#endif
    if (const char* other = std::getenv("CXX"); other && *other) compiler = other;
    std::string command = compiler + " -std=c++20 -O0 -pthread -I'" + root.string() + "' -I'" +
                          (root / "tests").string() + "' '" + source.string() + "' -o '" +
                          program.string() + "' >'" + output.string() + "' 2>&1";
    auto text_of_file = [](const std::filesystem::path& path) {
        std::ifstream in(path);
        return std::string(std::istreambuf_iterator<char>(in), {});
    };
    REQUIRE_MESSAGE(std::system(command.c_str()) == 0, text_of_file(output));
    command = "'" + program.string() + "' >'" + output.string() + "' 2>&1";
    CHECK(std::system(command.c_str()) != 0);
    std::string said = text_of_file(output);
    CHECK(said.find(result.record.invariant + " is broken") != std::string::npos);
    CHECK(said.find("1 failed") != std::string::npos);
    std::filesystem::remove_all(directory);
}
