// The server: clients' connections, the replica, and the event loop that drives both.
//
// One thread does all but the syncs. Each turn of the loop takes in what has arrived from clients
// and replicas, polls the replica once (or more often, while it says that more is due), and sends
// what came of it. So all that arrived in one turn shares one entry in each follower's queue and
// one sync, and no lock is needed anywhere.
#ifndef KV_SERVER_HPP
#define KV_SERVER_HPP

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
    std::size_t pipeline_max = 10'000;                   ///< Unanswered requests of one client.
    std::size_t output_bytes_max = 256 * 1024 * 1024;    ///< Replies that one client has not read.
    std::size_t buffers_bytes_max = 1024 * 1024 * 1024;  ///< Of all clients together.
    std::uint64_t memory_max = 0;                        ///< Of keys and values; 0: no limit.
    std::chrono::milliseconds write_timeout{5000};       ///< Then a write's outcome is unknown.
    little_raft::Options<Machine> raft;
};

class Server {
 public:
    using Replica = little_raft::Replica<Transport, Machine, Storage>;

    Server(asio::io_context& io, Storage& storage, TransportOptions transport,
           ServerOptions options, const std::map<ReplicaId, Address>& members)
        : io_(io),
          options_(std::move(options)),
          id_(transport.id),
          storage_(storage),
          transport_(io, std::move(transport)),
          machine_(
              storage, random_number(),
              [this](auto ticket, auto how, auto reply) { end_write(ticket, how, reply); },
              [this](auto ticket, auto how, auto reply) { end_read(ticket, how, reply); }),
          replica_(id_, ids_of(members), transport_, machine_, storage, options_.raft),
          acceptor_(io),
          timer_(io) {
        machine_.started();
        limits_.word_bytes = limits_.bytes = options_.request_bytes_max;
        transport_.set_members(members);
        transport_.on_leader = [this] { log_leader(); };
    }

    /// Serves until it is told to stop, or has to. Returns the process' exit status: 0 if it was
    /// told, 1 if a fault ended it.
    int run() {
        if (!is_sound()) return 1;
        listen();
        transport_.listen();
        stop_at_signals();
        while (!ended_) {
            io_.run_one();
            // Whatever else is ready, up to a limit, so that the replica is polled in time.
            for (int i = 0; i < 4096 && io_.poll_one() > 0; ++i) continue;
            turn();
        }
        return exit_status_;
    }

 private:
    using Clock = std::chrono::steady_clock;
    /// What waits for the replica: a request of a client, or, without one, the server's own.
    struct Waiter {
        std::shared_ptr<Client> client;
        std::uint64_t slot = 0;    // Of the client's, where the reply goes.
        std::size_t key_slot = 0;  // Of Redis Cluster's, which MOVED names.
        std::uint64_t bytes = 0;   // Of a write, about.
        Time deadline = {};
        bool waits = true;
    };
    /// Waiters by ticket, a number that counts up.
    struct Waiters {
        std::deque<Waiter> waiters;
        std::uint64_t first = 1;

        std::uint64_t add(Waiter waiter) {
            waiters.push_back(std::move(waiter));
            return first + waiters.size() - 1;
        }
        /// Nothing if it no longer waits.
        std::optional<Waiter> take(std::uint64_t ticket) {
            if (ticket < first || ticket - first >= waiters.size()) return std::nullopt;
            Waiter& waiter = waiters[ticket - first];
            if (!waiter.waits) return std::nullopt;
            waiter.waits = false;
            Waiter taken = std::move(waiter);
            while (!waiters.empty() && !waiters.front().waits) {
                waiters.pop_front();
                ++first;
            }
            return taken;
        }
    };

    static std::uint64_t random_number() {
        std::uint64_t number = 0;
        std::string bytes = random_bytes(sizeof(number));
        std::memcpy(&number, bytes.data(), sizeof(number));
        return number;
    }

    static std::vector<ReplicaId> ids_of(const std::map<ReplicaId, Address>& members) {
        std::vector<ReplicaId> ids;
        for (const auto& [id, address] : members) ids.push_back(id);
        return ids;
    }

    /// The leader's clock, as commands carry it.
    static std::uint64_t wall_clock() {
        using namespace std::chrono;
        auto now = system_clock::now().time_since_epoch();
        return static_cast<std::uint64_t>(duration_cast<milliseconds>(now).count());
    }

    // ===== The loop ==============================================================================

    void turn() {
        propose_expiry();
        resume_waiting();
        Time now = Clock::now();
        for (int polls = 0; is_due(now) && polls < 16; ++polls, now = Clock::now()) {
            due_ = replica_.poll(now);
            if (!is_sound()) return stop(1);
            resume_waiting();
        }
        expire_waiters(now);
        if (stopping_) maybe_stop(now);
        transport_.flush();
        flush_clients();
        arm_timer(now);
    }

    bool is_due(Time now) const {
        return now >= due_ || machine_.has_pending() || transport_.has_received() ||
               transport_.has_pending() || storage_.has_ended();
    }

    /// The loop wakes up when something is due. A timer that fires early does no harm, so it is set
    /// anew only when it would be late.
    void arm_timer(Time now) {
        Time wake = std::min(due_, now + std::chrono::milliseconds(100));
        if (auto next = machine_.store().next_expiry(); next && is_leader() && !expiry_proposed_) {
            std::uint64_t wall = wall_clock();
            std::uint64_t left = *next > wall ? std::min<std::uint64_t>(*next - wall, 100) : 0;
            wake = std::min(wake, now + std::chrono::milliseconds(left));
        }
        if (is_due(now)) wake = now;
        if (armed_ <= wake && armed_ > now) return;
        armed_ = wake;
        timer_.expires_at(wake);
        timer_.async_wait([this](std::error_code cancelled) {
            if (!cancelled) armed_ = Time::max();
        });
    }

    /// Keys expire by a command of their own, when nobody writes anything that would tell the time.
    void propose_expiry() {
        auto next = machine_.store().next_expiry();
        if (!next || expiry_proposed_ || !is_leader() || *next > wall_clock()) return;
        expiry_proposed_ = writes_.add({});
        machine_.write(*expiry_proposed_, wall_clock(), {});
    }

    bool is_leader() const { return transport_.leader() == id_; }

    /// False once something has stopped the replica for good. It has told all who waited by then.
    bool is_sound() {
        auto fault = replica_.status().fault;
        if (!fault) return true;
        spdlog::critical("this replica stops: {}", *fault);
        if (!storage_.error().empty()) spdlog::critical("{}", storage_.error());
        if (!machine_.error().empty()) spdlog::critical("{}", machine_.error());
        spdlog::critical("nothing that was acknowledged is lost while a majority has its disks");
        return false;
    }

    void log_leader() {
        auto leader = transport_.leader();
        std::uint64_t term = replica_.status().term.value;
        if (leader)
            spdlog::info("term {}: replica {} leads", term, leader->value);
        else
            spdlog::info("term {}: no leader is known", term);
    }

    // ===== Stopping ==============================================================================

    void stop_at_signals() {
        signals_.async_wait([this](std::error_code error, int) {
            if (error) return;
            if (stopping_) return stop(0);  // Told twice: at once.
            spdlog::info("told to stop");
            stopping_ = Clock::now() + 2 * options_.raft.election_timeout_range.max;
            std::error_code ignored;
            acceptor_.close(ignored);
            auto heir = is_leader() ? best_follower() : std::nullopt;
            if (heir) spdlog::info("handing over to replica {}", heir->value);
            if (heir) transport_.transfer_to(*heir);
            awaits_heir_ = heir.has_value();
            stop_at_signals();
        });
    }

    /// The one with the longest log, of those that can be reached.
    std::optional<ReplicaId> best_follower() const {
        std::optional<ReplicaId> best;
        little_raft::Index reached;
        for (const auto& peer : replica_.status().progress) {
            bool able = peer.id != id_ && !peer.lost && transport_.is_connected(peer.id);
            if (!able || (best && peer.match_index <= reached)) continue;
            best = peer.id;
            reached = peer.match_index;
        }
        return best;
    }

    /// Once another leads, and has told what became of the writes that were under way.
    void maybe_stop(Time now) {
        bool other_leads = transport_.leader() && !is_leader();
        if (other_leads) machine_.refuse_pending_writes();
        bool done = writes_.waiters.empty() && (other_leads || !awaits_heir_);
        if (done || now >= *stopping_) stop(0);
    }

    /// Nobody is left without an answer: what still waits has an unknown outcome.
    void stop(int status) {
        machine_.refuse_pending_writes();
        while (!writes_.waiters.empty()) end_write(writes_.first, Outcome::unknown, {});
        while (!reads_.waiters.empty()) end_read(reads_.first, Outcome::not_leader, {});
        flush_clients();
        transport_.stop();
        if (status == 0) spdlog::info("stopped");
        exit_status_ = status;
        ended_ = true;
    }

    // ===== Clients' connections ==================================================================

    void listen() {
        tcp::endpoint at(asio::ip::make_address(options_.bind), options_.port);
        acceptor_.open(at.protocol());
        acceptor_.set_option(tcp::acceptor::reuse_address(true));
        acceptor_.bind(at);
        acceptor_.listen();
        accept();
    }

    void accept() {
        acceptor_.async_accept([this](std::error_code error, tcp::socket socket) {
            if (error == asio::error::operation_aborted) return;
            if (!error) {
                admit(std::move(socket));
                return accept();
            }
            spdlog::warn("cannot accept a client: {}", error.message());
            accept_timer_.expires_after(std::chrono::milliseconds(100));
            accept_timer_.async_wait([this](std::error_code cancelled) {
                if (!cancelled && acceptor_.is_open()) accept();
            });
        });
    }

    void admit(tcp::socket socket) {
        std::error_code error;
        socket.non_blocking(true, error);
        if (!error) socket.set_option(tcp::no_delay(true), error);
        if (!error) socket.set_option(asio::socket_base::keep_alive(true), error);
        if (error) return;
        if (clients_.size() >= options_.clients_max) {
            socket.write_some(asio::buffer("-ERR max number of clients reached\r\n", 36), error);
            ++clients_refused_;
            return;
        }
        auto client = std::make_shared<Client>(std::move(socket), ++client_ids_);
        client->authenticated = options_.password.empty();
        clients_.emplace(client->id, client);
        wait_for(client);
    }

    /// No buffer is set aside for a client that says nothing: all share one.
    void wait_for(const std::shared_ptr<Client>& client) {
        client->socket.async_wait(tcp::socket::wait_read, [this, client](std::error_code error) {
            if (client->is_open) error ? hang_up(*client) : receive(client);
        });
    }

    void receive(const std::shared_ptr<Client>& client) {
        std::error_code error;
        std::size_t count = client->socket.read_some(asio::buffer(arrived_), error);
        if (error == asio::error::would_block) return wait_for(client);
        if (error) return hang_up(*client);
        std::string_view bytes(arrived_.data(), count);
        if (client->in.empty()) {
            std::size_t taken = take_requests(client, bytes);
            client->in = bytes.substr(taken);
        } else {
            client->in += bytes;
            take_requests_kept(client);
        }
        go_on(client);
    }

    /// After requests were taken: reads on, unless the next one has to wait or all is said.
    void go_on(const std::shared_ptr<Client>& client) {
        count_bytes(*client);
        if (client->is_open && !client->waits && !client->closes) wait_for(client);
    }

    void take_requests_kept(const std::shared_ptr<Client>& client) {
        std::size_t taken = take_requests(client, client->in);
        client->in.erase(0, taken);
        if (client->in.empty()) client->in = {};
    }

    /// Returns how many bytes were taken; what remains begins with a request, whole if it waits.
    std::size_t take_requests(const std::shared_ptr<Client>& client, std::string_view bytes) {
        std::size_t taken = 0;
        while (client->is_open && !client->closes) {
            const RequestLimits& limits = client->authenticated ? limits_ : limits_before_auth;
            auto result = client->parser.parse(bytes.substr(taken), limits);
            if (result == RequestParser::incomplete) return taken;
            if (result == RequestParser::failed) {
                answer_now(client, client->parser.error());
                client->closes = true;
                return bytes.size();
            }
            const Words& words = client->parser.words();
            client->waits = !words.empty() && !take_request(client, words);
            if (client->waits) {
                waiting_.push_back(client);
                return taken;
            }
            taken += client->parser.size();
            client->parser.next();
        }
        return bytes.size();
    }

    /// Those whose next request had to wait and no longer has to.
    void resume_waiting() {
        if (waiting_.empty()) return;
        for (const auto& client : std::exchange(waiting_, {})) {
            if (!client->is_open) continue;
            client->waits = false;
            take_requests_kept(client);
            go_on(client);
        }
    }

    void mark_dirty(const std::shared_ptr<Client>& client) {
        if (!std::exchange(client->is_dirty, true)) dirty_.push_back(client);
    }

    void flush_clients() {
        for (const auto& client : std::exchange(dirty_, {})) {
            client->is_dirty = false;
            if (client->is_open) flush(client);
        }
    }

    void flush(const std::shared_ptr<Client>& client) {
        if (!client->leaving.empty()) return;
        std::error_code error;
        std::size_t sent = 0;
        if (!client->out.empty())
            sent = client->socket.write_some(asio::buffer(client->out), error);
        if (error && error != asio::error::would_block) return hang_up(*client);
        if (sent == client->out.size()) {
            client->out.clear();
            if (client->closes && client->open_slots() == 0) hang_up(*client);
            return count_bytes(*client);
        }
        client->leaving = client->out.substr(sent);
        client->out = {};
        count_bytes(*client);
        asio::async_write(client->socket, asio::buffer(client->leaving),
                          [this, client](std::error_code failed, std::size_t) {
                              if (!client->is_open) return;
                              if (failed) return hang_up(*client);
                              client->leaving = {};
                              flush(client);
                          });
    }

    /// Keeps the sum of what all clients' buffers hold, and hangs up on who asks for too much.
    void count_bytes(Client& client) {
        std::size_t out = client.unread();
        std::size_t bytes = client.is_open ? client.in.capacity() + out : 0;
        buffered_ += bytes - client.counted;
        client.counted = bytes;
        if (!client.is_open) return;
        const char* why = out > options_.output_bytes_max ? "it does not read its replies"
                          : buffered_ > options_.buffers_bytes_max && bytes > 64 * 1024
                              ? "all clients together take too much memory"
                              : nullptr;
        if (!why) return;
        spdlog::warn("client {}: hung up on, because {}", client.id, why);
        std::error_code ignored;
        client.socket.write_some(asio::buffer("-ERR client buffers take too much memory\r\n", 42),
                                 ignored);
        hang_up(client);
    }

    void hang_up(Client& client) {
        if (!std::exchange(client.is_open, false)) return;
        std::error_code ignored;
        client.socket.close(ignored);
        client.in = client.out = {};
        count_bytes(client);
        clients_.erase(client.id);
    }

    // ===== Requests ==============================================================================

    /// Answers at once with an error.
    void answer_now(const std::shared_ptr<Client>& client, std::string_view error) {
        reply_.clear();
        reply_error(reply_, error);
        answer_now(client);
    }
    /// ... or with what stands in reply_.
    void answer_now(const std::shared_ptr<Client>& client) {
        client->fill(client->open_slot(), reply_);
        mark_dirty(client);
    }

    /// False: not yet. The order of the checks is that of Redis.
    bool take_request(const std::shared_ptr<Client>& client, const Words& words) {
        if (client->open_slots() >= options_.pipeline_max) return false;
        const CommandSpec* spec = find_command(words[0]);
        reply_.clear();
        if (!spec && is_http(words[0])) {
            client->closes = true;
            mark_dirty(client);
            return true;
        }
        if (!spec)
            reply_unknown_command(reply_, words);
        else if (!fits(*spec, words.size()))
            commands::reply_arity(reply_, words[0]);
        else if (!client->authenticated && !is_for_all(spec->name))
            reply_error(reply_, "NOAUTH Authentication required.");
        else if (spec->kind == Kind::write)
            return take_write(client, *spec, words);
        else if (spec->kind == Kind::read)
            return take_read(client, *spec, words);
        else
            serve(client, spec->name, words);
        answer_now(client);
        return true;
    }

    /// A browser that was lured into talking to this port: nothing that it goes on to say counts.
    bool is_http(std::string_view word) {
        bool http = equals_nocase(word, "post") || equals_nocase(word, "host:");
        if (http) spdlog::warn("a client that speaks HTTP was hung up on");
        return http;
    }

    bool take_write(const std::shared_ptr<Client>& client, const CommandSpec& spec,
                    const Words& words) {
        if (client->reads > 0) return false;
        // Writes wait here rather than be refused by the library's limits.
        if (writes_.waiters.size() >= options_.raft.uncommitted_entries_max / 2 ||
            write_bytes_ >= options_.raft.uncommitted_bytes_max / 2)
            return false;
        std::size_t key_slot = spec.first_key > 0 ? cluster_slot(words[1]) : 0;
        reply_.clear();
        if (!is_leader())
            reply_not_leader(key_slot);
        else if (spec.grows && is_full())
            reply_error(reply_, "OOM command not allowed when used memory > 'maxmemory'.");
        if (!reply_.empty()) return answer_now(client), true;
        std::uint64_t bytes = 128;
        for (std::string_view word : words) bytes += word.size();
        Time deadline = Clock::now() + options_.write_timeout;
        std::uint64_t ticket =
            writes_.add({client, client->open_slot(), key_slot, bytes, deadline});
        machine_.write(ticket, wall_clock(), words);
        write_bytes_ += bytes;
        ++client->writes;
        return true;
    }

    bool take_read(const std::shared_ptr<Client>& client, const CommandSpec& spec,
                   const Words& words) {
        // A client that is slow to read what it asked for is not given more before it has.
        if (client->writes > 0 || client->unread() > unread_max) return false;
        machine_.read(reads_.add({client, client->open_slot()}), spec, words);
        ++client->reads;
        return true;
    }

    bool is_full() const {
        return options_.memory_max > 0 && machine_.store().used_bytes() > options_.memory_max;
    }

    /// To a client whose write was not carried out and will not be: where to send it.
    void reply_not_leader(std::size_t key_slot) {
        auto leader = transport_.leader();
        auto member = leader ? transport_.members().find(*leader) : transport_.members().end();
        if (leader == id_)
            reply_error(reply_, "TRYAGAIN the leader changed; nothing was written, try again");
        else if (member == transport_.members().end())
            reply_error(reply_, "CLUSTERDOWN no leader is known; nothing was written, try again");
        else
            reply_error(reply_,
                        "MOVED " + std::to_string(key_slot) + " " + member->second.client_text());
    }

    void end_write(std::uint64_t ticket, Outcome how, std::string_view reply) {
        auto waiter = writes_.take(ticket);
        if (!waiter) return;
        if (ticket == expiry_proposed_) expiry_proposed_.reset();
        write_bytes_ -= waiter->bytes;
        if (!waiter->client || !waiter->client->is_open) return;
        --waiter->client->writes;
        ++writes_ended_[static_cast<std::size_t>(how)];
        reply_.clear();
        if (how == Outcome::not_leader) reply_not_leader(waiter->key_slot);
        if (how == Outcome::overloaded)
            reply_error(reply_, "TRYAGAIN too many writes wait; nothing was written, try again");
        if (how == Outcome::unknown)
            reply_error(reply_,
                        "UNKNOWN the outcome of this write is unknown: it may have been "
                        "carried out, or may be yet, or never");
        waiter->client->fill(waiter->slot, how == Outcome::done ? reply : reply_);
        mark_dirty(waiter->client);
        count_bytes(*waiter->client);
    }

    void end_read(std::uint64_t ticket, Outcome how, std::string_view reply) {
        auto waiter = reads_.take(ticket);
        if (!waiter || !waiter->client->is_open) return;
        --waiter->client->reads;
        ++(how == Outcome::done ? reads_done_ : reads_abandoned_);
        reply_.clear();
        if (how != Outcome::done)
            reply_error(reply_, "CLUSTERDOWN no leader is known; nothing was read, try again");
        waiter->client->fill(waiter->slot, how == Outcome::done ? reply : reply_);
        mark_dirty(waiter->client);
        count_bytes(*waiter->client);
    }

    /// Tells those who have waited too long that nobody knows. Looked at now and then.
    void expire_waiters(Time now) {
        if (now < expire_waiters_at_) return;
        expire_waiters_at_ = now + std::chrono::milliseconds(50);
        for (std::uint64_t i = 0; i < writes_.waiters.size(); ++i) {
            const Waiter& waiter = writes_.waiters[i];
            if (!waiter.waits || !waiter.client) continue;
            if (waiter.deadline > now) return;
            // Those that are through at the front go with it.
            std::size_t before = writes_.waiters.size();
            end_write(writes_.first + i, Outcome::unknown, {});
            i -= before - writes_.waiters.size();
        }
    }

    // ===== Commands about the server =============================================================

    /// For those, too, who have not given the password.
    static bool is_for_all(std::string_view name) {
        return name == "auth" || name == "hello" || name == "quit" || name == "reset";
    }

    /// The reply goes into reply_.
    void serve(const std::shared_ptr<Client>& client, std::string_view name, const Words& words) {
        using Handler = void (Server::*)(Client&, const Words&);
        static constexpr std::pair<std::string_view, Handler> handlers[] = {
            {"auth", &Server::on_auth},       {"client", &Server::on_client},
            {"cluster", &Server::on_cluster}, {"command", &Server::on_command},
            {"config", &Server::on_config},   {"echo", &Server::on_echo},
            {"hello", &Server::on_hello},     {"info", &Server::on_info},
            {"ping", &Server::on_ping},       {"quit", &Server::on_quit},
            {"raft", &Server::on_raft},       {"reset", &Server::on_reset},
            {"select", &Server::on_select},
        };
        for (const auto& [of, handler] : handlers)
            if (of == name) return (this->*handler)(*client, words);
    }

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
        };
        reply_array(reply_, std::size(lines));
        for (std::string_view line : lines) reply_simple(reply_, line);
    }

    static std::optional<ReplicaId> to_replica(std::string_view text) {
        auto id = to_integer(text);
        return id && *id > 0 ? std::optional(ReplicaId{static_cast<std::uint64_t>(*id)})
                             : std::nullopt;
    }

    void transfer(std::string_view to) {
        auto id = to_replica(to);
        if (!id || !transport_.members().contains(*id))
            return reply_error(reply_, "ERR no member has that id");
        if (!is_leader()) return reply_not_leader(0);
        if (*id == id_) return reply_error(reply_, "ERR that replica leads already");
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
        using Section = std::pair<std::string_view, Fields (Server::*)()>;
        static constexpr Section sections[] = {
            {"Server", &Server::server_fields}, {"Clients", &Server::client_fields},
            {"Memory", &Server::memory_fields}, {"Persistence", &Server::disk_fields},
            {"Stats", &Server::stats_fields},   {"Replication", &Server::replication_fields},
            {"Raft", &Server::raft_fields},     {"Keyspace", &Server::keyspace_fields},
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
        return {{"connected_clients", to_text(clients_.size())},
                {"maxclients", to_text(options_.clients_max)},
                {"rejected_connections", to_text(clients_refused_)},
                {"client_buffers", to_text(buffered_)},
                {"waiting_writes", to_text(writes_.waiters.size())},
                {"waiting_reads", to_text(reads_.waiters.size())}};
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
        return {{"total_connections_received", to_text(client_ids_)},
                {"writes_done", to_text(writes_ended_[0])},
                {"writes_redirected", to_text(writes_ended_[1])},
                {"writes_overloaded", to_text(writes_ended_[2])},
                {"writes_unknown", to_text(writes_ended_[3])},
                {"reads_done", to_text(reads_done_)},
                {"reads_abandoned", to_text(reads_abandoned_)},
                {"peer_connects", to_text(peers.connects)},
                {"peer_refused_cluster", to_text(peers.refused_cluster)},
                {"peer_refused_secret", to_text(peers.refused_secret)},
                {"peer_refused_unknown", to_text(peers.refused_unknown)},
                {"peer_refused_garbage", to_text(peers.refused_garbage)},
                {"peer_malformed", to_text(peers.malformed)},
                {"peer_dropped", to_text(peers.dropped)}};
    }

    /// In the names of Redis, for tools that look for them.
    Fields replication_fields() {
        const auto& status = replica_.status();
        Fields fields = {{"role", is_leader() ? "master" : "slave"}};
        auto leader = transport_.members().end();
        if (status.leader) leader = transport_.members().find(*status.leader);
        if (!is_leader()) {
            bool known = leader != transport_.members().end();
            fields.push_back({"master_host", known ? leader->second.host : ""});
            fields.push_back({"master_port", to_text(known ? leader->second.port : 0)});
            fields.push_back({"master_link_status", known ? "up" : "down"});
        }
        fields.push_back(
            {"connected_slaves", to_text(is_leader() ? status.progress.size() - 1 : 0)});
        for (std::size_t i = 1; is_leader() && i < status.progress.size(); ++i) {
            const auto& peer = status.progress[i];
            auto member = transport_.members().find(peer.id);
            if (member == transport_.members().end()) continue;
            fields.push_back(
                {"slave" + to_text(i - 1),
                 "ip=" + member->second.host + ",port=" + to_text(member->second.port) +
                     ",state=" + (transport_.is_connected(peer.id) ? "online" : "offline") +
                     ",offset=" + to_text(peer.match_index.value) + ",lag=0"});
        }
        fields.push_back({"master_repl_offset", to_text(status.last_applied.value)});
        return fields;
    }

    Fields raft_fields() {
        const auto& status = replica_.status();
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
            {"elections_won", to_text(status.counters.elections_won)},
            {"messages_dropped", to_text(status.counters.dropped)},
            {"messages_malformed", to_text(status.counters.malformed)},
            {"snapshots_sent", to_text(status.counters.snapshots_sent)},
            {"sent", by_kind(status.counters.sent)},
            {"received", by_kind(status.counters.received)},
        };
        for (const auto& peer : status.progress) {
            auto member = transport_.members().find(peer.id);
            std::string address = member == transport_.members().end() ? "" : member->second.text();
            bool connected = peer.id == id_ || transport_.is_connected(peer.id);
            std::string text = "address=" + address + ",connected=" + (connected ? "yes" : "no");
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

    // =============================================================================================

    static constexpr std::size_t unread_max = 1024 * 1024;
    static constexpr std::string_view redis_version = "7.0.0";  // Whose commands these are.

    asio::io_context& io_;
    ServerOptions options_;
    ReplicaId id_;
    Storage& storage_;
    Transport transport_;
    Machine machine_;
    Replica replica_;
    tcp::acceptor acceptor_;
    asio::steady_timer timer_, accept_timer_{io_};
    asio::signal_set signals_{io_, SIGTERM, SIGINT};

    Time started_ = Clock::now();
    Time due_ = {};             // When the replica wants to be polled.
    Time armed_ = Time::max();  // When the timer will fire.
    Time expire_waiters_at_ = {};
    std::optional<Time> stopping_;  // Told to stop: when that is to end.
    bool awaits_heir_ = false;      // It led then, and hands over.
    bool ended_ = false;
    int exit_status_ = 0;

    std::unordered_map<std::uint64_t, std::shared_ptr<Client>> clients_;
    std::vector<std::shared_ptr<Client>> dirty_;    // There is something to send to them.
    std::vector<std::shared_ptr<Client>> waiting_;  // Their next request has to wait.
    std::array<char, 64 * 1024> arrived_;           // What was read last, from whichever client.
    std::string reply_;
    RequestLimits limits_;
    Waiters writes_, reads_;
    std::uint64_t write_bytes_ = 0;  // Of the writes that wait.
    std::optional<std::uint64_t> expiry_proposed_;
    std::uint64_t client_ids_ = 0, clients_refused_ = 0;
    std::size_t buffered_ = 0;  // Bytes in all clients' buffers.
    std::uint64_t writes_ended_[4] = {}, reads_done_ = 0, reads_abandoned_ = 0;
};

}  // namespace kv

#endif  // KV_SERVER_HPP
