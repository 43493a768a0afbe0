// The options of the tests that run processes; examples/kv/tests/run gives them. Each test is a
// process of its own, so it may put itself into other namespaces.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>
#include <iostream>

#include "processes.hpp"

namespace {

constexpr int skipped = 77;

int usage() {
    std::cerr << "Usage: kv_tests --server PROGRAM [--broken-disk LIBRARY] [--seconds N] [--seed "
                 "S] [--verbose]\n"
                 "                (--list | TEST)\n"
                 "Exit code: 0 passed, 1 failed, 77 cannot be run on this machine.\n";
    return 2;
}

/// Takes the value of an option; false where the words are not understood.
bool take_option(const std::string& name, const std::string& value) {
    kv_tests::Settings& settings = kv_tests::settings;
    if (name == "--server") {
        settings.server = value;
    } else if (name == "--broken-disk") {
        settings.broken_disk = value;
    } else if (name == "--seconds") {
        settings.length = std::chrono::seconds(std::stoul(value));
    } else if (name == "--seed") {
        settings.seed = std::stoull(value);
    } else {
        return false;
    }
    return true;
}

}  // namespace

// Where a test that cannot be run says so; doctest knows nothing of it.
static std::string reason_to_skip;
REGISTER_EXCEPTION_TRANSLATOR(const kv_tests::Skip& skip) {
    reason_to_skip = skip.what();
    return doctest::String(("skipped: " + reason_to_skip).c_str());
}

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    doctest::Context context;
    context.setOption("no-intro", true);
    context.setOption("no-version", true);
    std::vector<std::string> words(argv + 1, argv + argc);
    std::string test;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--list") {
            context.setOption("list-test-cases", true);
            return context.run();
        } else if (words[i] == "--verbose") {
            kv_tests::settings.verbose = true;
        } else if (!words[i].starts_with("--") && test.empty()) {
            test = words[i];
        } else if (i + 1 == words.size() || !take_option(words[i], words[i + 1])) {
            return usage();
        } else {
            ++i;
        }
    }
    if (test.empty()) return usage();
    context.setOption("test-case", test.c_str());
    int result = context.run();
    return reason_to_skip.empty() ? result : skipped;
}
