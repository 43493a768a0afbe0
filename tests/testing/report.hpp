// A failure as people want it: the law in words with its source, the shortest schedule found as
// steps one can read, how to repeat it, and where to see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "invariants.hpp"
#include "record.hpp"
#include "schedule.hpp"
#include "timeline.hpp"

namespace little_raft::testing {

/// The name of a type as one would write it, less namespaces that cannot be written.
template <class T>
std::string type_name() {
    // "... [with T = Name; ...]" or "... [T = Name]".
    std::string_view text = __PRETTY_FUNCTION__;
    text.remove_prefix(text.find("T = ") + 4);
    text = text.substr(0, text.find_first_of(";]"));
    std::string name(text);
    for (std::string_view hidden : {"{anonymous}::", "(anonymous namespace)::", "v0::"}) {
        for (auto at = name.find(hidden); at != std::string::npos; at = name.find(hidden))
            name.erase(at, hidden.size());
    }
    return name;
}

/// A test case, in doctest's and Catch2's words, that repeats a run.
inline std::string replay_test(const std::string& subject, const Configuration& configuration,
                               const Schedule& schedule, const std::string& title) {
    std::string text = "TEST_CASE(\"" + title +
                       "\") {\n    auto result = little_raft::testing::replay<" + subject +
                       ">(\n        \"" + configuration.to_text() + "\",\n";
    std::string line;
    for (std::size_t k = 0; k < schedule.size(); ++k) {
        line += to_text(schedule[k]) + ' ';
        if (line.size() < 70 && k + 1 < schedule.size()) continue;
        text += "        \"" + line + "\"\n";
        line.clear();
    }
    if (schedule.empty()) text += "        \"\"\n";
    text.insert(text.size() - 1, ");");
    return text + "    INFO(result.text);\n    CHECK(result.passed);\n}\n";
}

/// Whether an event is worth words. Messages are told by the step; what a replica is told of its
/// transitions, by what it does with them. Where faults are over, only what is out of the ordinary.
inline bool is_worth_telling(const Record::Event& event, bool is_ordinary) {
    using enum Record::What;
    switch (event.what) {
        case send:
        case deliver:
        case time_out:
        case propose:
            return false;
        case state:
            return event.text.find("abandoned") != std::string::npos ||
                   event.text.find("unknown") != std::string::npos;
        case blocked:
        case disk:
        case vote:
        case term:
        case append:
        case commit:
        case apply:
            return !is_ordinary;
        default:
            return true;
    }
}

/// "replica 1: votes for 2, is follower; replica 2: is leader". Nothing is said twice.
inline std::string words_of(const Record::Step& step, bool is_ordinary) {
    constexpr std::size_t told_max = 16;
    std::string line;
    const Record::Event* last = nullptr;
    std::size_t told = 0;
    for (const Record::Event& event : step.events) {
        if (!is_worth_telling(event, is_ordinary)) continue;
        if (last && last->replica == event.replica && last->text == event.text) continue;
        if (++told > told_max && event.what != Record::What::violation) continue;
        if (last && last->replica == event.replica) {
            line += ", ";
        } else {
            line += (last ? "; " : "") + ("replica " + std::to_string(event.replica + 1)) + ": ";
        }
        if (event.what == Record::What::append) line += "appends ";
        if (event.what == Record::What::apply) line += "applies ";
        line += event.text;
        last = &event;
    }
    if (told > told_max) line += "; and " + std::to_string(told - told_max) + " more events";
    return line;
}

/// The steps of a run with what came of each. After the faults, steps in which nothing happened
/// that one needs to know are only counted, but for the last ones.
inline std::string steps_of(const Record& record) {
    constexpr std::size_t shown_at_the_end = 6;
    std::string text;
    std::size_t quiet = 0;
    for (std::size_t k = 0; k < record.steps.size(); ++k) {
        const Record::Step& step = record.steps[k];
        bool is_ordinary = step.healing && k + shown_at_the_end < record.steps.size();
        std::string line = words_of(step, is_ordinary);
        bool is_first_of_healing = step.healing && (k == 0 || !record.steps[k - 1].healing);
        if (is_ordinary && line.empty() && !is_first_of_healing) {
            ++quiet;
            continue;
        }
        if (quiet > 0) {
            text += "         (" + std::to_string(quiet) +
                    (quiet == 1 ? " quiet step)\n" : " quiet steps)\n");
        }
        quiet = 0;
        std::string number = std::to_string(k + 1);  // As the timeline has it.
        text += std::string(number.size() < 5 ? 5 - number.size() : 0, ' ') + number + "  " +
                step.text + '\n';
        if (!line.empty()) text += "         " + line + '\n';
    }
    return text;
}

/// All that a person needs.
inline std::string report(const Record& record) {
    std::string text = record.invariant + " is broken: " + record.violation;
    if (record.violator) text += " (replica " + std::to_string(*record.violator + 1) + ")";
    text += ".\n";
    for (std::size_t k = 0; k < law_kinds; ++k) {
        const LawText& law = text_of(static_cast<Law>(k));
        if (law.name != record.invariant) continue;
        text += std::string("The law: ") + law.words + " See " + law.source + ".\n";
    }
    text += record.explanation;
    text += "Seed " + std::to_string(record.seed) + "; " + record.configuration + "\nThe steps:\n" +
            steps_of(record) + "To repeat it:\n\n" + record.replay;
    return text;
}

/// Writes the picture of a run into a directory, which is made if need be, under a name that says
/// what of, which law broke, and with which seed. Returns its path; empty where it could not be
/// written.
inline std::string write_timeline(const Record& record, const std::string& directory) {
    std::string name = "little_raft_";
    constexpr std::size_t title_max = 80;  // Names of files have a limit, those of types have none.
    for (char c : record.title.substr(0, title_max) + ' ' + record.invariant) {
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (plain || name.back() != '_') name += plain ? c : '_';
    }
    std::error_code ignored;  // What cannot be made cannot be written to, which shows below.
    std::filesystem::create_directories(directory, ignored);
    std::string path = directory + '/' + name + '_' + std::to_string(record.seed) + ".html";
    std::ofstream file(path);
    file << to_html(record);
    return file.flush() ? path : std::string();
}

}  // namespace little_raft::testing
