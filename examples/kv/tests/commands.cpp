// Every command in all its forms, and what Redis answers to the same: commands.txt is sent to a
// replica and to a redis-server, one command at a time and then pipelined, and the replies are
// compared.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

#include "cluster.hpp"

namespace kv_tests {
namespace {

struct Line {
    int number = 0;
    std::string text;
    bool new_connection = false;
    bool closes = false;
    std::string bytes;
    std::string command;  // In capitals, to find its relation by.
};

struct Script {
    std::vector<Line> lines;
    std::map<std::string, std::string> relations;  // By command.
};

struct BadScript : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// What follows a backslash in quotes. Moves past it.
std::string escaped(std::string_view text, std::size_t& at) {
    char c = text.at(at++);
    if (c == 'x') {
        int value = std::stoi(std::string(text.substr(at, 2)), nullptr, 16);
        at += 2;
        return std::string(1, static_cast<char>(value));
    }
    if (c == '*') {
        std::size_t open = text.find('(', at), close = text.find(')', at);
        if (open == text.npos || close == text.npos) throw BadScript("\\*N(text) expected");
        std::string repeated;
        int times = std::stoi(std::string(text.substr(at, open - at)));
        for (int i = 0; i < times; ++i) repeated += text.substr(open + 1, close - open - 1);
        at = close + 1;
        return repeated;
    }
    std::size_t known = std::string_view("rnt\\\"").find(c);
    if (known == std::string_view::npos) throw BadScript(std::string("unknown escape \\") + c);
    return std::string(1, "\r\n\t\\\""[known]);
}

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    std::size_t at = 0;
    while ((at = text.find_first_not_of(' ', at)) != text.npos) {
        std::string word;
        if (text[at] == '"') {
            ++at;
            while (text.at(at) != '"') {
                char c = text[at++];
                word += c == '\\' ? escaped(text, at) : std::string(1, c);
            }
            ++at;
        } else {
            std::size_t end = (std::min)(text.find(' ', at), text.size());
            word = text.substr(at, end - at);
            at = end;
        }
        words.push_back(word);
    }
    return words;
}

Line parse_line(std::string text, int number) {
    Line line{number, text, text == "connection", false, {}, {}};
    if (line.new_connection) return line;
    line.closes = text.starts_with("closes ");
    std::vector<std::string> words = words_of(line.closes ? text.substr(7) : text);
    bool raw = words.front() == "raw";
    line.bytes = raw ? words.at(1) : encode(words);
    line.command = raw ? "raw" : words.front();
    std::transform(line.command.begin(), line.command.end(), line.command.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return line;
}

Script read_script(const std::filesystem::path& path) {
    std::ifstream in(path);
    if (!in) throw BadScript("cannot read " + path.string());
    Script script;
    std::string text;
    for (int number = 1; std::getline(in, text); ++number) {
        if (text.empty() || text[0] == '#') continue;
        std::istringstream words(text);
        std::string relation, command;
        words >> relation >> command;
        bool is_relation = relation == "kind" || relation == "error" || relation == "members" ||
                           relation == "near";
        if (is_relation) {
            script.relations[command.substr(0, command.find(':'))] = relation;
        } else {
            script.lines.push_back(parse_line(text, number));
        }
    }
    return script;
}

std::string members_of(const std::string& reply) {
    // [cursor, [member, ...]], of bulk strings.
    std::vector<std::string> parts;
    std::size_t at = reply.find('*', 1);
    at = at == reply.npos ? at : reply.find("\r\n", at);
    for (at = at == reply.npos ? reply.size() : at + 2; at < reply.size();) {
        std::size_t size = *reply_size(std::string_view(reply).substr(at));
        parts.push_back(reply.substr(at, size));
        at += size;
    }
    std::sort(parts.begin(), parts.end());
    std::string sorted = reply.substr(0, 4);
    for (const std::string& part : parts) sorted += part;
    return sorted;
}

bool agree(const std::string& relation, const std::string& a, const std::string& b) {
    if (a == b) return true;
    if (relation.empty() || a.empty() || b.empty() || a[0] != b[0]) return false;
    if (relation == "kind")
        return a[0] != '-' || a.substr(0, a.find(' ')) == b.substr(0, b.find(' '));
    if (relation == "error")
        return a[0] == '-' && a.substr(0, a.find(' ')) == b.substr(0, b.find(' '));
    if (relation == "members") return a[0] == '*' && members_of(a) == members_of(b);
    return a[0] == ':' && std::abs(std::stol(a.substr(1)) - std::stol(b.substr(1))) <= 5;
}

/// One reply a line of the script; all up to the end where the server closes.
std::vector<std::string> run_line_by_line(const Script& script, const Address& server) {
    std::vector<std::string> replies;
    auto connection = std::make_unique<RawConnection>(server);
    for (const Line& line : script.lines) {
        std::optional<std::string> reply = std::string();
        if (line.new_connection) {
            connection = std::make_unique<RawConnection>(server);
        } else {
            connection->send(line.bytes);
            reply = line.closes ? connection->receive_to_end(20s) : connection->receive_reply(20s);
        }
        replies.push_back(reply.value_or("(no reply)"));
    }
    return replies;
}

/// The same, with all that goes over one connection sent at once.
std::vector<std::string> run_pipelined(const Script& script, const Address& server) {
    std::vector<std::string> replies;
    for (std::size_t first = 0; first < script.lines.size();) {
        std::size_t end = first + 1;
        while (end < script.lines.size() && !script.lines[end].new_connection) ++end;
        RawConnection connection(server);
        std::string bytes;
        for (std::size_t i = first; i < end; ++i) bytes += script.lines[i].bytes;
        connection.send(bytes);
        for (std::size_t i = first; i < end; ++i) {
            const Line& line = script.lines[i];
            std::optional<std::string> reply = std::string();
            if (line.closes) {
                reply = connection.receive_to_end(20s);
            } else if (!line.new_connection) {
                reply = connection.receive_reply(20s);
            }
            replies.push_back(reply.value_or("(no reply)"));
        }
        first = end;
    }
    return replies;
}

int compare(const Script& script, const std::vector<std::string>& ours,
            const std::vector<std::string>& theirs) {
    int compared = 0;
    for (std::size_t i = 0; i < script.lines.size(); ++i) {
        const Line& line = script.lines[i];
        if (line.new_connection) continue;
        ++compared;
        auto relation = script.relations.find(line.command);
        bool same =
            agree(relation == script.relations.end() ? "" : relation->second, ours[i], theirs[i]);
        CHECK_MESSAGE(same, "commands.txt:", line.number, ": ", line.text.substr(0, 100),
                      "\n  kv_server: ", printable(ours[i]),
                      "\n  redis:     ", printable(theirs[i]));
    }
    return compared;
}

/// A redis-server of the test's own, that keeps nothing. Debian's redis-tools, which begins no
/// service when it is installed, holds the server under the name of another of its tools.
struct Redis {
    Redis() {
        Process::Start start{{"redis-server", "--port", std::to_string(address.port), "--save", "",
                              "--bind", "127.0.0.1", "--dir", directory.path().string()},
                             directory.path() / "log"};
        start.program = "redis-check-rdb";
        process = Process::start(start);
        REQUIRE_MESSAGE(wait_until([&] { return Client(address).call({"PING"}).is("+PONG"); }),
                        tail_of(directory.path() / "log"));
    }
    TemporaryDirectory directory;
    Address address{"127.0.0.1", free_port()};
    Process process;
};

/// Words of which many a command is made, most of them wrong. Nothing expires within the test.
std::vector<std::string> random_command(std::mt19937_64& random) {
    static const std::vector<std::string> names{
        "GET",    "SET",    "SET",  "SET",    "DEL",    "EXISTS", "INCR",    "INCRBY",
        "APPEND", "STRLEN", "MGET", "MSET",   "EXPIRE", "TTL",    "SCAN",    "PERSIST",
        "PING",   "DBSIZE", "ECHO", "EXPIRE", "GETS",   "DBSIZE", "FLUSHALL"};
    static const std::vector<std::string> others{
        "a",     "b",     "c",     "a",       "b",
        "1",     "-1",    "0",     "10000",   "9223372036854775807",
        "",      "NX",    "XX",    "GET",     "EX",
        "PX",    "gt",    "LT",    "KEEPTTL", "-9223372036854775808",
        "1.5",   "abc",   "+1",    "0x1",     "EXAT",
        "PXAT",  "MATCH", "COUNT", "*",       "33177117420000",
        "[a-",   "?",     "\\",    "^",       "\r\n",
        "ASYNC", "01",    "[^a]*", "1000000", "\xff"};
    auto pick = [&](const std::vector<std::string>& from) {
        return from[std::uniform_int_distribution<std::size_t>(0, from.size() - 1)(random)];
    };
    std::vector<std::string> words{pick(names)};
    if (words[0] == "SCAN") {
        // Of a whole scan alone the members are the same.
        words = {"SCAN",    "0",     "COUNT",
                 "1000000", "MATCH", pick(others) + pick(others) + pick(others)};
        return words;
    }
    // Most commands have two to four words.
    std::size_t more = std::binomial_distribution<std::size_t>(8, 0.3)(random);
    for (std::size_t i = 0; i < more; ++i) words.push_back(pick(others));
    return words;
}

}  // namespace

TEST_CASE("random_commands") {
    Redis redis;
    Cluster cluster({});
    Address leader = cluster.client_address(cluster.wait_for_leader());
    std::mt19937_64 random(settings.seed);
    Script script = read_script(KV_TESTS_DIRECTORY "/commands.txt");
    script.lines.clear();
    for (int i = 0; i < 20'000; ++i) {
        std::vector<std::string> words = random_command(random);
        std::string text;
        for (const std::string& word : words) text += (text.empty() ? "" : " ") + printable(word);
        script.lines.push_back({i, text, false, false, encode(words), words.front()});
    }
    RawConnection ours(leader), theirs(redis.address);
    std::size_t at_once = 50;
    for (std::size_t first = 0; first < script.lines.size(); first += at_once) {
        std::string bytes;
        for (std::size_t i = first; i < first + at_once; ++i) bytes += script.lines[i].bytes;
        REQUIRE(ours.send(bytes));
        REQUIRE(theirs.send(bytes));
        for (std::size_t i = first; i < first + at_once; ++i) {
            std::string our = ours.receive_reply().value_or("(no reply)");
            std::string their = theirs.receive_reply().value_or("(no reply)");
            const Line& line = script.lines[i];
            REQUIRE_MESSAGE(agree(script.relations[line.command], our, their), "command ", i, ": ",
                            line.text, "\n  kv_server: ", printable(our),
                            "\n  redis:     ", printable(their));
        }
    }
    MESSAGE(script.lines.size(), " random commands were answered as redis-server does");
}

TEST_CASE("commands") {
    Script script = read_script(KV_TESTS_DIRECTORY "/commands.txt");
    Redis redis;
    Cluster cluster({});
    Address leader = cluster.client_address(cluster.wait_for_leader());

    int one_by_one =
        compare(script, run_line_by_line(script, leader), run_line_by_line(script, redis.address));
    int pipelined =
        compare(script, run_pipelined(script, leader), run_pipelined(script, redis.address));
    MESSAGE(one_by_one, " replies compared with redis-server's one by one, ", pipelined,
            " pipelined");
}

}  // namespace kv_tests
