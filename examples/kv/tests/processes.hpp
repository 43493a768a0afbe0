// Processes, ports, directories and time, as the tests need them: a program that is started with
// its output in a file, killed or asked to stop, and waited for; and conditions that are polled
// until a deadline. No test waits for a length of time where it can wait for a condition.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace kv_tests {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// What the tests were asked for on their command line.
struct Settings {
    std::string server = "kv_server";  ///< The program under test.
    std::string broken_disk = "";      ///< The library that makes a disk fail; see broken_disk.cpp.
    std::uint64_t seed = 1;
    std::chrono::seconds length{20};  ///< For how long a test that has no end of its own goes on.
    bool verbose = false;             ///< Tell of every fault as it happens.
};
inline Settings settings;

/// A test cannot be run on this machine; it is counted as skipped, with these words.
struct Skip : std::runtime_error {
    using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail_errno(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

/// Generous everywhere: it only bounds how long a broken server makes a test wait.
constexpr Milliseconds patience{60'000};

/// Whether a condition came to hold; it is asked every 10 ms.
template <class Condition>
bool wait_until(Condition&& condition, Milliseconds limit = patience) {
    Clock::time_point deadline = Clock::now() + limit;
    for (;;) {
        if (condition()) return true;
        if (Clock::now() >= deadline) return false;
        std::this_thread::sleep_for(10ms);
    }
}

/// A directory below the system's temporary one, removed at the end unless it is to be looked at.
class TemporaryDirectory {
 public:
    TemporaryDirectory() {
        std::string pattern = (std::filesystem::temp_directory_path() / "kv_test_XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) fail_errno("mkdtemp " + pattern);
        path_ = pattern;
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        if (!kept_) std::filesystem::remove_all(path_, ignored);
    }

    const std::filesystem::path& path() const { return path_; }
    void keep() { kept_ = true; }

 private:
    std::filesystem::path path_;
    bool kept_ = false;
};

inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

/// The last lines of a log, for a message.
inline std::string tail_of(const std::filesystem::path& path, std::size_t lines = 15) {
    std::string text = read_file(path);
    std::size_t at = text.size();
    for (std::size_t i = 0; i <= lines && at != std::string::npos && at > 0; ++i) {
        at = text.rfind('\n', at - 1);
    }
    return at == std::string::npos || at == 0 ? text : text.substr(at + 1);
}

/// A TCP port of the loopback interface that nobody listens on. It is below those that the system
/// gives to outgoing connections: one of these could take a replica's port while it is down. So
/// could another test, so that those of near process ids begin hundreds of ports apart.
inline int free_port() {
    static int next = 20'000 + static_cast<int>(getpid() * 7'919L % 12'000);
    for (int tries = 0; tries < 10'000; ++tries) {
        int port = next++;
        if (next >= 32'000) next = 20'000;
        int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int bound = bind(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
        close(socket_fd);
        if (bound == 0) return port;
    }
    throw std::runtime_error("no port between 20000 and 32000 is free");
}

/// How a process ended.
struct Ended {
    std::optional<int> code;    ///< Its exit code,
    std::optional<int> signal;  ///< or the signal that ended it.

    std::string text() const {
        return code ? "exit code " + std::to_string(*code)
                    : "signal " + std::to_string(signal.value_or(0));
    }
};

/// A program of its own. It dies with this object, and with the tests.
class Process {
 public:
    struct Start {
        std::vector<std::string> command;
        std::filesystem::path log = "/dev/null";    ///< Its output is added at the end.
        std::vector<std::string> environment = {};  ///< NAME=VALUE, added to that of the tests.
        int network = -1;          ///< The network namespace to run in, if not that of the tests.
        std::string program = {};  ///< What is executed, if not the first word of the command.
    };

    Process() = default;
    Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, -1)), ended_(other.ended_) {}
    Process& operator=(Process&& other) noexcept {
        if (this != &other) {
            kill_now();
            pid_ = std::exchange(other.pid_, -1);
            ended_ = other.ended_;
        }
        return *this;
    }
    ~Process() { kill_now(); }

    /// Called from the main thread only: the program dies with the thread that started it.
    static Process start(const Start& what) {
        std::vector<std::string> environment = what.environment;
        for (char** variable = environ; *variable != nullptr; ++variable) {
            environment.emplace_back(*variable);
        }
        // Everything is made ready before the fork: other threads may hold locks at that moment.
        std::vector<std::string> words = what.command;
        std::vector<char*> argv = pointers(words), envp = pointers(environment);
        pid_t parent = getpid();
        Process process;
        process.pid_ = fork();
        if (process.pid_ < 0) fail_errno("fork");
        if (process.pid_ == 0) become(what, argv.data(), envp.data(), parent);
        return process;
    }

    pid_t pid() const { return pid_; }
    bool is_running() { return pid_ > 0 && !reap(0ms); }

    void signal(int number) const {
        if (pid_ > 0) ::kill(pid_, number);
    }

    /// kill -9, and gone when this returns.
    void kill_now() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

    /// How it ended; nothing if it still runs when the time is over.
    std::optional<Ended> reap(Milliseconds limit) {
        int status = 0;
        auto has_ended = [&] { return waitpid(pid_, &status, WNOHANG) == pid_; };
        if (pid_ <= 0 || !wait_until(has_ended, limit)) return ended_;
        pid_ = -1;
        ended_ = WIFEXITED(status) ? Ended{WEXITSTATUS(status), std::nullopt}
                                   : Ended{std::nullopt, WTERMSIG(status)};
        return ended_;
    }

 private:
    static std::vector<char*> pointers(std::vector<std::string>& words) {
        std::vector<char*> result;
        for (std::string& word : words) result.push_back(word.data());
        result.push_back(nullptr);
        return result;
    }

    [[noreturn]] static void become(const Start& what, char** argv, char** envp, pid_t parent) {
        constexpr int cannot_start = 127;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(cannot_start);
        if (what.network >= 0 && setns(what.network, CLONE_NEWNET) != 0) _exit(cannot_start);
        int log = open(what.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        dup2(nothing, STDIN_FILENO);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execvpe(what.program.empty() ? argv[0] : what.program.c_str(), argv, envp);
        dprintf(STDERR_FILENO, "cannot start %s: %s\n", argv[0], strerror(errno));
        _exit(cannot_start);
    }

    pid_t pid_ = -1;
    std::optional<Ended> ended_;  // How it did, once that was seen.
};

/// The memory that a process has had in use, at most, in bytes.
inline std::size_t peak_bytes(const Process& process) {
    std::istringstream status(read_file("/proc/" + std::to_string(process.pid()) + "/status"));
    std::string word;
    std::size_t kilobytes = 0;
    while (status >> word) {
        if (word == "VmHWM:") status >> kilobytes;
    }
    return kilobytes * 1024;
}

/// What became of a short command: its exit code and all that it printed.
struct Ran {
    int code;
    std::string output;
};
inline Ran run_command(const std::vector<std::string>& command, Milliseconds limit = patience) {
    TemporaryDirectory directory;
    std::filesystem::path log = directory.path() / "output";
    Process process = Process::start({command, log});
    std::optional<Ended> ended = process.reap(limit);
    if (!ended) throw std::runtime_error(command.front() + " did not end in time");
    return {ended->code.value_or(128 + ended->signal.value_or(0)), read_file(log)};
}

}  // namespace kv_tests
