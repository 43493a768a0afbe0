// The commands that are about the server and not about keys: AUTH and HELLO, INFO and RAFT, and
// what tools ask for.
#ifndef KV_ADMIN_HPP
#define KV_ADMIN_HPP

#include "client.hpp"
#include "machine.hpp"

namespace kv {

using little_raft::Time;

struct ServerOptions {
    std::string bind = "127.0.0.1";
    std::uint16_t port = 6379;
    std::string password;  ///< Empty: none is asked for.
    std::size_t clients_max = 10'000;
    std::size_t request_bytes_max = 16 * 1024 * 1024;
    std::size_t pipeline_max = 100'000;                  ///< Unanswered requests of one client.
    std::size_t output_bytes_max = 256 * 1024 * 1024;    ///< Replies that one client has not read.
    std::size_t buffers_bytes_max = 1024 * 1024 * 1024;  ///< Of all clients together.
    std::uint64_t memory_max = 0;                        ///< Of keys and values; 0: no limit.
    std::chrono::milliseconds write_timeout{5000};       ///< Then a write's outcome is unknown.
    std::chrono::milliseconds change_timeout{60'000};  ///< ... and one of the members is given up.
    std::vector<little_raft::Member> bootstrap;  ///< Of a new cluster; none: RAFT ADD is awaited.
    little_raft::Options<Machine> raft;
};

/// What the server counts, for INFO.
struct ServerFigures {
    std::size_t clients = 0;            ///< Connected now.
    std::uint64_t clients_seen = 0;     ///< Connected so far: the last one's number.
    std::uint64_t clients_refused = 0;  ///< ... because there were too many.
    std::size_t buffered = 0;           ///< Bytes in all clients' buffers.
    std::size_t waiting_writes = 0, waiting_reads = 0;
    std::uint64_t writes_ended[4] = {};  ///< By Outcome.
    std::uint64_t reads_done = 0, reads_abandoned = 0;
};

/// To a client whose write was not carried out and will not be: where to send it.
inline void reply_not_leader(std::string& reply, ReplicaId id, const Transport& transport,
                             std::size_t key_slot) {
    auto leader = transport.leader();
    auto member = leader ? transport.members().find(*leader) : transport.members().end();
    if (leader == id)
        reply_error(reply, "TRYAGAIN the leader changed; nothing was written, try again");
    else if (member == transport.members().end())
        reply_error(reply, "CLUSTERDOWN no leader is known; nothing was written, try again");
    else
        reply_error(reply,
                    "MOVED " + std::to_string(key_slot) + " " + member->second.client_text());
}

class Admin {
 public:
    /// Replies go into `reply`. All of these outlive it.
    Admin(const ServerOptions& options, ReplicaId id, Transport& transport, const Machine& machine,
          Storage& storage, const little_raft::Status& status, const ServerFigures& figures,
          std::string& reply)
        : options_(options),
          id_(id),
          transport_(transport),
          machine_(machine),
          storage_(storage),
          status_(status),
          figures_(figures),
          reply_(reply) {}

    /// For those, too, who have not given the password.
    static bool is_for_all(std::string_view name) {
        return name == "auth" || name == "hello" || name == "quit" || name == "reset";
    }

    /// The reply goes into reply_.
    void serve(Client& client, std::string_view name, const Words& words) {
        using Handler = void (Admin::*)(Client&, const Words&);
        static constexpr std::pair<std::string_view, Handler> handlers[] = {
            {"auth", &Admin::on_auth},       {"client", &Admin::on_client},
            {"cluster", &Admin::on_cluster}, {"command", &Admin::on_command},
            {"config", &Admin::on_config},   {"echo", &Admin::on_echo},
            {"hello", &Admin::on_hello},     {"info", &Admin::on_info},
            {"ping", &Admin::on_ping},       {"quit", &Admin::on_quit},
            {"raft", &Admin::on_raft},       {"reset", &Admin::on_reset},
            {"select", &Admin::on_select},
        };
        for (const auto& [of, handler] : handlers)
            if (of == name) return (this->*handler)(client, words);
    }

    static std::optional<ReplicaId> to_replica(std::string_view text) {
        auto id = to_integer(text);
        return id && *id > 0 ? std::optional(ReplicaId{static_cast<std::uint64_t>(*id)})
                             : std::nullopt;
    }

 private:
    void on_ping(Client&, const Words& words) {
        if (words.size() > 2) return commands::reply_arity(reply_, words[0]);
        words.size() == 2 ? reply_bulk(reply_, words[1]) : reply_simple(reply_, "PONG");
    }

    void on_echo(Client&, const Words& words) { reply_bulk(reply_, words[1]); }

    void on_quit(Client& client, const Words&) {
        reply_ok(reply_);
        client.closes = true;
    }

    void on_reset(Client& client, const Words&) {
        client.name.clear();
        client.authenticated = options_.password.empty();
        reply_simple(reply_, "RESET");
    }

    void on_select(Client&, const Words& words) {
        auto index = to_integer(words[1]);
        if (!index) return reply_error(reply_, commands::not_an_integer);
        *index == 0 ? reply_ok(reply_) : reply_error(reply_, "ERR DB index is out of range");
    }

    bool is_password(std::string_view user, std::string_view password) const {
        return options_.password.empty()
                   ? user == "default"
                   : user == "default" && equals_secret(password, options_.password);
    }

    static constexpr std::string_view wrong_password =
        "WRONGPASS invalid username-password pair or user is disabled.";

    void on_auth(Client& client, const Words& words) {
        if (words.size() > 3) return reply_error(reply_, commands::syntax_error);
        if (words.size() == 2 && options_.password.empty())
            return reply_error(reply_,
                               "ERR AUTH <password> called without any password configured for "
                               "the default user. Are you sure your configuration is correct?");
        std::string_view user = words.size() == 3 ? words[1] : "default";
        if (!is_password(user, words.back())) return reply_error(reply_, wrong_password);
        client.authenticated = true;
        reply_ok(reply_);
    }

    void on_hello(Client& client, const Words& words) {
        std::size_t next = 1;
        if (words.size() > 1) {
            auto version = to_integer(words[next++]);
            if (!version)
                return reply_error(reply_,
                                   "ERR Protocol version is not an integer or out of range");
            if (*version != 2) return reply_error(reply_, "NOPROTO unsupported protocol version");
        }
        std::optional<std::string_view> name;
        while (next < words.size()) {
            if (equals_nocase(words[next], "auth") && next + 2 < words.size()) {
                if (!is_password(words[next + 1], words[next + 2]))
                    return reply_error(reply_, wrong_password);
                client.authenticated = true;
                next += 3;
            } else if (equals_nocase(words[next], "setname") && next + 1 < words.size()) {
                name = words[next + 1];
                next += 2;
            } else {
                return reply_error(
                    reply_, "ERR Syntax error in HELLO option '" + std::string(words[next]) + "'");
            }
        }
        if (!client.authenticated)
            return reply_error(
                reply_,
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
                "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client "
                "and select the RESP protocol version at the same time");
        if (name && !set_name(client, *name)) return;
        reply_hello(client);
    }

    void reply_hello(const Client& client) {
        reply_array(reply_, 14);
        reply_bulk(reply_, "server");
        reply_bulk(reply_, "redis");  // Clients look for that.
        reply_bulk(reply_, "version");
        reply_bulk(reply_, redis_version);
        reply_bulk(reply_, "proto");
        reply_integer(reply_, 2);
        reply_bulk(reply_, "id");
        reply_integer(reply_, static_cast<std::int64_t>(client.id));
        reply_bulk(reply_, "mode");
        reply_bulk(reply_, "standalone");
        reply_bulk(reply_, "role");
        reply_bulk(reply_, is_leader() ? "master" : "replica");
        reply_bulk(reply_, "modules");
        reply_array(reply_, 0);
    }

    void reply_unknown_subcommand(const Words& words) {
        reply_error(reply_, "ERR unknown subcommand '" + std::string(words[1].substr(0, 128)) +
                                "'. Try " + upper(words[0]) + " HELP.");
    }
    void reply_subcommand_arity(const Words& words) {
        reply_error(reply_, "ERR wrong number of arguments for '" + commands::lower(words[0]) +
                                "|" + commands::lower(words[1]) + "' command");
    }
    static std::string upper(std::string_view text) {
        std::string result(text);
        for (char& c : result)
            if (c >= 'a' && c <= 'z') c = static_cast<char>(c & ~0x20);
        return result;
    }

    bool set_name(Client& client, std::string_view name) {
        for (char c : name)
            if (c < '!' || c > '~') {
                reply_error(reply_,
                            "ERR Client names cannot contain spaces, newlines or special "
                            "characters.");
                return false;
            }
        client.name = name;
        return true;
    }

    void on_client(Client& client, const Words& words) {
        std::string_view what = words[1];
        if (equals_nocase(what, "id") && words.size() == 2)
            return reply_integer(reply_, static_cast<std::int64_t>(client.id));
        if (equals_nocase(what, "getname") && words.size() == 2)
            return client.name.empty() ? reply_nil(reply_) : reply_bulk(reply_, client.name);
        if (equals_nocase(what, "setname") && words.size() == 3) {
            if (set_name(client, words[2])) reply_ok(reply_);
            return;
        }
        if (equals_nocase(what, "setinfo") && words.size() == 4) return reply_ok(reply_);
        for (std::string_view known : {"id", "getname", "setname", "setinfo"})
            if (equals_nocase(what, known)) return reply_subcommand_arity(words);
        reply_unknown_subcommand(words);
    }

    /// What tools like redis-benchmark ask for.
    void on_config(Client&, const Words& words) {
        if (!equals_nocase(words[1], "get")) return reply_unknown_subcommand(words);
        if (words.size() < 3) return reply_subcommand_arity(words);
        const std::pair<std::string_view, std::string> values[] = {
            {"appendfsync", "always"},
            {"appendonly", "yes"},
            {"databases", "1"},
            {"maxclients", std::to_string(options_.clients_max)},
            {"maxmemory", std::to_string(options_.memory_max)},
            {"save", ""},
        };
        std::string found;
        std::size_t count = 0;
        for (const auto& [name, value] : values) {
            bool asked = false;
            for (std::size_t i = 2; i < words.size(); ++i)
                asked = asked || matches(commands::lower(words[i]), name);
            if (!asked) continue;
            reply_bulk(found, name);
            reply_bulk(found, value);
            count += 2;
        }
        reply_array(reply_, count);
        reply_ += found;
    }

    void on_command(Client&, const Words& words) {
        if (words.size() == 1) return reply_commands(nullptr);
        if (equals_nocase(words[1], "count"))
            return words.size() == 2 ? reply_integer(reply_, std::ssize(command_table))
                                     : reply_subcommand_arity(words);
        if (equals_nocase(words[1], "docs")) return reply_array(reply_, 0);
        if (equals_nocase(words[1], "info"))
            return reply_commands(words.size() > 2 ? &words : nullptr);
        if (equals_nocase(words[1], "list")) {
            reply_array(reply_, std::size(command_table));
            for (const CommandSpec& spec : command_table) reply_bulk(reply_, spec.name);
            return;
        }
        reply_unknown_subcommand(words);
    }

    void reply_commands(const Words* only) {
        reply_array(reply_, only ? only->size() - 2 : std::size(command_table));
        if (!only)
            for (const CommandSpec& spec : command_table) reply_command(spec);
        for (std::size_t i = 2; only && i < only->size(); ++i) {
            const CommandSpec* spec = find_command((*only)[i]);
            spec ? reply_command(*spec) : void(reply_ += "*-1\r\n");
        }
    }

    /// The six fields that COMMAND has had since Redis 2.8, and the four of Redis 7, left empty.
    void reply_command(const CommandSpec& spec) {
        reply_array(reply_, 10);
        reply_bulk(reply_, spec.name);
        reply_integer(reply_, spec.arity);
        bool denied = spec.grows;
        reply_array(reply_, denied ? 2 : 1);
        reply_simple(reply_, spec.kind == Kind::write  ? "write"
                             : spec.kind == Kind::read ? "readonly"
                                                       : "fast");
        if (denied) reply_simple(reply_, "denyoom");
        reply_integer(reply_, spec.first_key);
        reply_integer(reply_, spec.last_key);
        reply_integer(reply_, spec.key_step);
        for (int i = 0; i < 4; ++i) reply_array(reply_, 0);
    }

    /// Enough for clients that route by key: the leader has all slots.
    void on_cluster(Client&, const Words& words) {
        if (equals_nocase(words[1], "keyslot"))
            return words.size() == 3
                       ? reply_integer(reply_, static_cast<std::int64_t>(cluster_slot(words[2])))
                       : reply_subcommand_arity(words);
        if (!equals_nocase(words[1], "slots")) return reply_unknown_subcommand(words);
        if (words.size() != 2) return reply_subcommand_arity(words);
        auto leader = transport_.leader();
        const auto& members = transport_.members();
        if (!leader || !members.contains(*leader)) return reply_array(reply_, 0);
        reply_array(reply_, 1);
        reply_array(reply_, 2 + members.size());
        reply_integer(reply_, 0);
        reply_integer(reply_, slot_count - 1);
        reply_node(*leader, members.at(*leader));
        for (const auto& [id, address] : members)
            if (id != leader) reply_node(id, address);
    }

    void reply_node(ReplicaId id, const Address& address) {
        reply_array(reply_, 3);
        reply_bulk(reply_, address.host);
        reply_integer(reply_, address.port);
        std::string name = std::to_string(id.value);  // Redis' nodes have names of 40 characters.
        reply_bulk(reply_, std::string(40 - name.size(), '0') + name);
    }

    // ----- RAFT ----------------------------------------------------------------------------------

    void on_raft(Client&, const Words& words) {
        if (equals_nocase(words[1], "status"))
            return words.size() == 2 ? reply_status() : reply_subcommand_arity(words);
        if (equals_nocase(words[1], "transfer"))
            return words.size() == 3 ? transfer(words[2]) : reply_subcommand_arity(words);
        if (!equals_nocase(words[1], "help")) return reply_unknown_subcommand(words);
        static constexpr std::string_view lines[] = {
            "RAFT STATUS -- what this replica knows of the cluster",
            "RAFT TRANSFER id -- this leader hands over to that replica",
            "RAFT ADD id host:port@peer_port [LEARNER] -- it becomes a member once it has caught "
            "up",
            "RAFT REMOVE id -- it is no member any more",
        };
        reply_array(reply_, std::size(lines));
        for (std::string_view line : lines) reply_simple(reply_, line);
    }

    void transfer(std::string_view to) {
        auto id = to_replica(to);
        const little_raft::Member* member = id ? transport_.find_member(*id) : nullptr;
        if (!member) return reply_error(reply_, "ERR no member has that id");
        if (!is_leader()) return reply_not_leader(reply_, id_, transport_, 0);
        if (*id == id_) return reply_error(reply_, "ERR that replica leads already");
        if (member->learner) return reply_error(reply_, "ERR that replica is a learner");
        transport_.transfer_to(*id);
        reply_ok(reply_);
    }

    /// Pairs of a name and a value, as INFO raft has them.
    void reply_status() {
        auto fields = raft_fields();
        reply_array(reply_, 2 * fields.size());
        for (const auto& [name, value] : fields) {
            reply_bulk(reply_, name);
            reply_bulk(reply_, value);
        }
    }

    // ----- INFO ----------------------------------------------------------------------------------

    using Fields = std::vector<std::pair<std::string, std::string>>;

    void on_info(Client&, const Words& words) {
        using Section = std::pair<std::string_view, Fields (Admin::*)()>;
        static constexpr Section sections[] = {
            {"Server", &Admin::server_fields}, {"Clients", &Admin::client_fields},
            {"Memory", &Admin::memory_fields}, {"Persistence", &Admin::disk_fields},
            {"Stats", &Admin::stats_fields},   {"Replication", &Admin::replication_fields},
            {"Raft", &Admin::raft_fields},     {"Keyspace", &Admin::keyspace_fields},
        };
        std::string text;
        for (const auto& [title, fields] : sections) {
            bool asked = words.size() == 1;
            for (std::size_t i = 1; i < words.size(); ++i)
                asked = asked || equals_nocase(words[i], title) || equals_nocase(words[i], "all") ||
                        equals_nocase(words[i], "everything") || equals_nocase(words[i], "default");
            if (!asked) continue;
            text += (text.empty() ? "# " : "\r\n# ") + std::string(title) + "\r\n";
            for (const auto& [name, value] : (this->*fields)()) text += name + ":" + value + "\r\n";
        }
        reply_bulk(reply_, text);
    }

    static std::string to_text(std::uint64_t value) { return std::to_string(value); }

    Fields server_fields() {
        auto up = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - started_);
        return {{"redis_version", std::string(redis_version)},
                {"redis_mode", "standalone"},
                {"little_raft_version", LITTLE_RAFT_VERSION},
                {"process_id", std::to_string(::getpid())},
                {"tcp_port", to_text(options_.port)},
                {"uptime_in_seconds", std::to_string(up.count())}};
    }

    Fields client_fields() {
        return {{"connected_clients", to_text(figures_.clients)},
                {"maxclients", to_text(options_.clients_max)},
                {"rejected_connections", to_text(figures_.clients_refused)},
                {"client_buffers", to_text(figures_.buffered)},
                {"waiting_writes", to_text(figures_.waiting_writes)},
                {"waiting_reads", to_text(figures_.waiting_reads)}};
    }

    Fields memory_fields() {
        return {{"used_memory_dataset", to_text(machine_.store().used_bytes())},
                {"maxmemory", to_text(options_.memory_max)},
                {"maxmemory_policy", "noeviction"}};
    }

    Fields disk_fields() {
        auto figures = storage_.figures();
        return {{"syncs", to_text(figures.syncs)},
                {"last_sync_microseconds", std::to_string(figures.last.count())},
                {"usual_sync_microseconds", std::to_string(figures.usual.count())}};
    }

    Fields stats_fields() {
        const TransportCounters& peers = transport_.counters();
        return {{"total_connections_received", to_text(figures_.clients_seen)},
                {"writes_done", to_text(figures_.writes_ended[0])},
                {"writes_redirected", to_text(figures_.writes_ended[1])},
                {"writes_overloaded", to_text(figures_.writes_ended[2])},
                {"writes_unknown", to_text(figures_.writes_ended[3])},
                {"reads_done", to_text(figures_.reads_done)},
                {"reads_abandoned", to_text(figures_.reads_abandoned)},
                {"peer_connects", to_text(peers.connects)},
                {"peer_refused_cluster", to_text(peers.refused_cluster)},
                {"peer_refused_tls", to_text(peers.refused_tls)},
                {"peer_refused_secret", to_text(peers.refused_secret)},
                {"peer_refused_unknown", to_text(peers.refused_unknown)},
                {"peer_refused_garbage", to_text(peers.refused_garbage)},
                {"peer_guests", to_text(peers.guests)},
                {"peer_ignored", to_text(peers.ignored)},
                {"peer_malformed", to_text(peers.malformed)},
                {"peer_dropped", to_text(peers.dropped)}};
    }

    /// In the names of Redis, for tools that look for them.
    Fields replication_fields() {
        const auto& status = status_;
        Fields fields = {{"role", is_leader() ? "master" : "slave"}};
        auto leader = transport_.members().end();
        if (status.leader) leader = transport_.members().find(*status.leader);
        if (!is_leader()) {
            bool known = leader != transport_.members().end();
            fields.push_back({"master_host", known ? leader->second.host : ""});
            fields.push_back({"master_port", to_text(known ? leader->second.port : 0)});
            fields.push_back({"master_link_status", known ? "up" : "down"});
        }
        Fields followers;
        for (const auto& peer : status.progress) {
            auto member = transport_.members().find(peer.id);
            if (!is_leader() || peer.id == id_ || member == transport_.members().end()) continue;
            followers.push_back(
                {"slave" + to_text(followers.size()),
                 "ip=" + member->second.host + ",port=" + to_text(member->second.port) +
                     ",state=" + (transport_.is_connected(peer.id) ? "online" : "offline") +
                     ",offset=" + to_text(peer.match_index.value) + ",lag=0"});
        }
        fields.push_back({"connected_slaves", to_text(followers.size())});
        fields.insert(fields.end(), followers.begin(), followers.end());
        fields.push_back({"master_repl_offset", to_text(status.last_applied.value)});
        return fields;
    }

    Fields raft_fields() {
        const auto& status = status_;
        static constexpr std::string_view roles[] = {"follower", "pre_candidate", "candidate",
                                                     "leader"};
        Fields fields = {
            {"id", to_text(status.id.value)},
            {"role", std::string(roles[static_cast<std::size_t>(status.role)])},
            {"term", to_text(status.term.value)},
            {"voted_for", status.voted_for ? to_text(status.voted_for->value) : ""},
            {"leader", status.leader ? to_text(status.leader->value) : ""},
            {"commit_index", to_text(status.commit_index.value)},
            {"last_applied", to_text(status.last_applied.value)},
            {"snapshot_index", to_text(status.snapshot.index.value)},
            {"snapshot_term", to_text(status.snapshot.term.value)},
            {"first_log_index", to_text(status.first_log_index.value)},
            {"last_log_index", to_text(status.last_log_index.value)},
            {"elections_started", to_text(status.counters.elections_started)},
            {"members_change", transport_.membership().outgoing.empty() ? "no" : "yes"},
            {"messages_dropped", to_text(status.counters.dropped)},
            {"messages_malformed", to_text(status.counters.malformed)},
            {"snapshots_sent", to_text(status.counters.snapshots_sent)},
            {"sent", by_kind(status.counters.sent)},
            {"received", by_kind(status.counters.received)},
        };
        for (const auto& peer : status.progress) {
            auto member = transport_.members().find(peer.id);
            if (member == transport_.members().end()) continue;
            bool connected = peer.id == id_ || transport_.is_connected(peer.id);
            std::string text = "address=" + member->second.text() +
                               ",connected=" + (connected ? "yes" : "no") +
                               ",votes=" + (peer.votes ? "yes" : "no");
            if (peer.votes_outgoing) text += ",outgoing=yes";
            if (is_leader()) text += ",match_index=" + to_text(peer.match_index.value);
            if (peer.lost) text += ",lost_disk=yes";
            fields.push_back({"member_" + to_text(peer.id.value), text});
        }
        return fields;
    }

    static std::string by_kind(const std::uint64_t (&counts)[6]) {
        static constexpr std::string_view kinds[] = {
            "request_vote",    "vote_response",    "append_entries",
            "append_response", "install_snapshot", "timeout_now",
        };
        std::string text;
        for (std::size_t i = 0; i < std::size(kinds); ++i)
            text += (i > 0 ? "," : "") + std::string(kinds[i]) + "=" + to_text(counts[i]);
        return text;
    }

    Fields keyspace_fields() {
        const Store& store = machine_.store();
        if (store.size() == 0) return {};
        return {{"db0", "keys=" + to_text(store.size()) + ",expires=" + to_text(store.expiring()) +
                            ",avg_ttl=0"}};
    }

    static constexpr std::string_view redis_version = "7.0.0";  // Whose commands these are.

    using Clock = std::chrono::steady_clock;
    bool is_leader() const { return transport_.leader() == id_; }

    const ServerOptions& options_;
    ReplicaId id_;
    Transport& transport_;
    const Machine& machine_;
    Storage& storage_;
    const little_raft::Status& status_;
    const ServerFigures& figures_;
    std::string& reply_;
    Clock::time_point started_ = Clock::now();
};

}  // namespace kv

#endif  // KV_ADMIN_HPP
