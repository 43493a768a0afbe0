// A replicated key-value server that speaks Redis' protocol: one process for each replica. See
// README.md, and kv_server --help.
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>

#include "server.hpp"

namespace {

/// What the command line or the configuration file says.
struct Settings {
    std::uint64_t id = 0;
    std::string directory = "kv_data", cluster = "kv", bind = "127.0.0.1", secret_file;
    std::vector<std::string> bootstrap;
    bool join = false;
    std::string address;
    std::uint64_t election_ms = 500, heartbeat_ms = 50, write_timeout_ms = 5000,
                  change_timeout_ms = 60'000;
    std::optional<std::uint64_t> lease_drift_ms;
    std::string log_level = "info", log_file;
    kv::ServerOptions server;
    kv::TransportOptions transport;
};

constexpr const char* description =
    "A replica of a key-value store that speaks Redis' protocol (RESP2).\n"
    "An address is written host:port@peer_port: clients use the first port, the other replicas "
    "the\n"
    "second, which is port + 10000 if it is left out.\n"
    "Exit status: 0 stopped as told, 1 a fault or a failed disk ended it, 2 the settings are "
    "wrong.";

void add_members(CLI::App& app, Settings& s) {
    app.set_config("--config", "", "A file with these options, as name=value in lines");
    app.add_option("--id", s.id, "This replica's id, a number from 1 on that no other ever had")
        ->required()
        ->check(CLI::PositiveNumber);
    app.add_option("--bootstrap", s.bootstrap,
                   "Of a new cluster: its members as id=address, separated by blanks, the same on "
                   "all of them. Where there is a log already, that knows better");
    app.add_flag("--join", s.join, "A replica that waits until RAFT ADD makes it a member");
    app.add_option("--address", s.address,
                   "Where others reach this replica, if --bootstrap does not say it");
    app.add_option("--dir", s.directory, "Where log and snapshots are")->capture_default_str();
    app.add_option("--cluster", s.cluster, "The cluster's name; replicas of others are refused")
        ->capture_default_str();
    app.add_option("--bind", s.bind, "The interface to listen on, for clients and replicas")
        ->capture_default_str();
}

void add_security(CLI::App& app, Settings& s) {
    app.add_option("--secret-file", s.secret_file,
                   "A file with what all replicas of the cluster know and nobody else");
    app.add_option("--tls-ca", s.transport.tls_ca,
                   "The authority whose certificates other replicas must have (PEM)");
    app.add_option("--tls-cert", s.transport.tls_certificate, "This replica's certificate (PEM)");
    app.add_option("--tls-key", s.transport.tls_key, "... and its private key (PEM)");
    app.add_option("--requirepass", s.server.password, "The password that clients must give");
}

void add_limits(CLI::App& app, Settings& s) {
    kv::ServerOptions& server = s.server;
    app.add_option("--clients-max", server.clients_max, "Clients at a time")->capture_default_str();
    app.add_option("--request-bytes-max", server.request_bytes_max, "Bytes of one request")
        ->capture_default_str()
        ->check(CLI::Range(std::size_t{1024}, std::size_t{48} << 20));
    app.add_option("--pipeline-max", server.pipeline_max,
                   "Unanswered requests of one client; with more it is told so and hung up on")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--output-bytes-max", server.output_bytes_max,
                   "Bytes of replies that one client has not read; then it is hung up on")
        ->capture_default_str();
    app.add_option(
           "--buffers-bytes-max", server.buffers_bytes_max,
           "Bytes in the buffers of all clients together; then who takes more is hung up on")
        ->capture_default_str();
    app.add_option("--maxmemory", server.memory_max,
                   "Bytes of keys and values; then what needs more is refused. 0: no limit")
        ->capture_default_str();
}

void add_raft(CLI::App& app, Settings& s) {
    app.add_option("--election-timeout", s.election_ms,
                   "Milliseconds without a leader before an election, at least; at most twice that")
        ->capture_default_str()
        ->check(CLI::Range(10, 600'000));
    app.add_option("--heartbeat", s.heartbeat_ms, "Milliseconds between a leader's messages")
        ->capture_default_str()
        ->check(CLI::Range(1, 60'000));
    app.add_option("--lease-drift", s.lease_drift_ms,
                   "Reads by lease: a leader answers without asking the others, as long as clocks "
                   "drift apart by less than this many milliseconds in an election timeout");
    app.add_option("--snapshot-every", s.server.raft.snapshot_delta, "Writes between two snapshots")
        ->capture_default_str();
    app.add_option("--write-timeout", s.write_timeout_ms,
                   "Milliseconds after which a write is answered with -UNKNOWN")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--change-timeout", s.change_timeout_ms,
                   "Milliseconds after which RAFT ADD and RAFT REMOVE are answered, done or not")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--log-level", s.log_level, "debug, info, warn, error or critical")
        ->capture_default_str()
        ->check(CLI::IsMember({"debug", "info", "warn", "error", "critical"}));
    app.add_option("--log-file", s.log_file, "Where to log; otherwise to standard error");
}

[[noreturn]] void refuse(const std::string& text) {
    std::cerr << "kv_server: " << text << " (see kv_server --help)\n";
    std::exit(2);
}

std::map<kv::ReplicaId, kv::Address> parse_members(const std::vector<std::string>& texts) {
    std::map<kv::ReplicaId, kv::Address> members;
    for (const std::string& text : texts) {
        std::size_t equals = text.find('=');
        auto id = kv::to_integer(std::string_view(text).substr(0, equals));
        auto address = equals == text.npos
                           ? std::nullopt
                           : kv::Address::parse(std::string_view(text).substr(equals + 1));
        if (!id || *id < 1 || !address)
            refuse("'" + text + "' is no member: id=host:port@peer_port is expected");
        if (!members.emplace(kv::ReplicaId{static_cast<std::uint64_t>(*id)}, *address).second)
            refuse("replica " + std::to_string(*id) + " is named twice");
    }
    return members;
}

std::string read_secret(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string secret((std::istreambuf_iterator<char>(file)), {});
    while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
    if (secret.size() < 16) refuse(path + " holds no secret of 16 bytes or more");
    return secret;
}

void complete(Settings& s, const std::map<kv::ReplicaId, kv::Address>& members) {
    if (s.join == !s.bootstrap.empty()) refuse("either --bootstrap or --join is needed");
    if (members.size() > kv::members_max) refuse("--bootstrap names more than 100 members");
    auto self = members.find({s.id});
    if (!s.join && self == members.end())
        refuse("--bootstrap does not name replica " + std::to_string(s.id));
    auto address = s.address.empty() && !s.join ? self->second : kv::Address::parse(s.address);
    if (!address) refuse("--address takes host:port@peer_port, and --join needs it");
    s.transport.id = {s.id};
    s.transport.address = *address;
    s.transport.cluster = s.cluster;
    s.transport.bind = s.server.bind = s.bind;
    s.server.port = address->port;
    for (const auto& [id, where] : members) s.server.bootstrap.push_back({id, where.text()});
    std::error_code error;
    asio::ip::make_address(s.bind, error);
    if (error) refuse("'" + s.bind + "' is no address of an interface");
    bool some = !s.transport.tls_ca.empty() || !s.transport.tls_certificate.empty() ||
                !s.transport.tls_key.empty();
    bool all = !s.transport.tls_ca.empty() && !s.transport.tls_certificate.empty() &&
               !s.transport.tls_key.empty();
    if (some != all) refuse("--tls-ca, --tls-cert and --tls-key go together");
    try {
        kv::make_tls_context(s.transport);
    } catch (const std::exception& wrong) {
        refuse(wrong.what());
    }
    if (!s.secret_file.empty()) s.transport.secret = read_secret(s.secret_file);
    if (!all && s.secret_file.empty())
        refuse("the replicas have to know each other by --secret-file or by TLS");
    if (s.cluster.empty() || s.cluster.size() > 255) refuse("--cluster takes 1 to 255 bytes");
    s.transport.frame_max = s.server.request_bytes_max + (16u << 20);

    if (s.heartbeat_ms >= s.election_ms) refuse("--heartbeat must be below --election-timeout");
    if (s.lease_drift_ms && *s.lease_drift_ms >= s.election_ms)
        refuse("--lease-drift must be below --election-timeout");
    using std::chrono::milliseconds;
    auto& raft = s.server.raft;
    raft.heartbeat_timeout = milliseconds(s.heartbeat_ms);
    raft.election_timeout_range = {milliseconds(s.election_ms), milliseconds(2 * s.election_ms)};
    if (s.lease_drift_ms) raft.lease_reads = milliseconds(*s.lease_drift_ms);
    // Not all replicas at the same place in the log, so that most go on while one saves its state.
    raft.snapshot_delta += raft.snapshot_delta / 10 * (s.id % 5);
    raft.snapshot_trailing = raft.snapshot_delta / 10;
    s.server.write_timeout = milliseconds(s.write_timeout_ms);
    s.server.change_timeout = milliseconds(s.change_timeout_ms);
}

void start_log(const Settings& s) {
    auto logger = s.log_file.empty() ? spdlog::stderr_color_mt("kv")
                                     : spdlog::basic_logger_mt("kv", s.log_file);
    spdlog::set_default_logger(logger);
    spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e " + std::to_string(s.id) + " %^%l%$ %v");
    spdlog::set_level(spdlog::level::from_str(s.log_level));
    spdlog::flush_on(spdlog::level::info);
}

/// Each client takes a file descriptor, and some are left for replicas and files, or a snapshot
/// could not be written. What is written is for nobody else to read.
void prepare_process(Settings& s) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    std::size_t most = limit.rlim_cur - std::min<std::size_t>(limit.rlim_cur / 2, 400);
    if (s.server.clients_max > most)
        spdlog::warn("at most {} clients, since this process may open no more than {} files", most,
                     limit.rlim_cur);
    s.server.clients_max = std::min(s.server.clients_max, most);
    umask(077);
}

int serve(Settings& s) {
    asio::io_context io(1);
    auto forever = asio::make_work_guard(io);
    // A sync that has ended wakes the loop up, which then asks how it went.
    kv::Storage storage(s.directory, s.cluster, s.id, [&io] { asio::post(io, [] {}); });
    auto server = std::make_unique<kv::Server>(io, storage, s.transport, s.server);
    spdlog::info("replica {} of cluster '{}': clients at {}:{}, replicas at {}:{}, data in {}",
                 s.id, s.cluster, s.bind, s.server.port, s.bind, s.transport.address.peer_port,
                 s.directory);
    return server->run();
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    settings.server.raft.snapshot_delta = 250'000;
    CLI::App app(description, "kv_server");
    add_members(app, settings);
    add_security(app, settings);
    add_limits(app, settings);
    add_raft(app, settings);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    complete(settings, parse_members(settings.bootstrap));
    try {
        start_log(settings);
        prepare_process(settings);
        return serve(settings);
    } catch (const std::exception& error) {
        spdlog::critical("{}", error.what());
        return 1;
    }
}
