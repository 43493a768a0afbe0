// The server: clients' connections, the replica, and the event loop that drives both.
//
// One thread does all but the syncs. Each turn of the loop takes in what has arrived from clients
// and replicas, polls the replica once (or more often, while it says that more is due), and sends
// what came of it. So all that arrived in one turn shares one entry in each follower's queue and
// one sync, and no lock is needed anywhere.
#ifndef KV_SERVER_HPP
#define KV_SERVER_HPP

#include "members.hpp"

namespace kv {

class Server {
 public:
    using Replica = little_raft::Replica<Transport, Machine, Storage>;

    Server(asio::io_context& io, Storage& storage, TransportOptions transport,
           ServerOptions options)
        : io_(io),
          options_(std::move(options)),
          id_(transport.id),
          storage_(storage),
          transport_(io, std::move(transport)),
          machine_(
              storage, random_number(),
              [this](auto ticket, auto how, auto reply) { end_write(ticket, how, reply); },
              [this](auto ticket, auto how, auto reply) { end_read(ticket, how, reply); },
              [this](const auto& read) { return takes_back(read); }),
          replica_(id_, options_.bootstrap, transport_, machine_, storage, options_.raft),
          acceptor_(io),
          timer_(io) {
        machine_.started();
        limits_.word_bytes = limits_.bytes = options_.request_bytes_max;
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
            take_what_is_ready();
            // Others that wait for this processor may be about to send something, and what is here
            // before the poll shares its sync. Where nobody waits, this returns at once.
            if (machine_.has_pending_writes() || transport_.has_received()) {
                std::this_thread::yield();
                take_what_is_ready();
            }
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
        std::uint64_t bytes = 0;   // Of the request, about.
        Time deadline = {};
        bool waits = true;
    };
    struct KeptRead {
        Waiter waiter;
        Machine::Read read;
    };
    /// Waiters by ticket, a number that counts up.
    struct Waiters {
        std::deque<Waiter> waiters;
        std::uint64_t first = 1;
        std::uint64_t bytes = 0;  // Of all that wait.

        std::uint64_t add(Waiter waiter) {
            bytes += waiter.bytes;
            waiter.waits = true;
            waiters.push_back(std::move(waiter));
            return first + waiters.size() - 1;
        }
        /// Nobody if it no longer waits.
        const Waiter* find(std::uint64_t ticket) const {
            bool known = ticket >= first && ticket - first < waiters.size();
            return known && waiters[ticket - first].waits ? &waiters[ticket - first] : nullptr;
        }
        std::optional<Waiter> take(std::uint64_t ticket) {
            if (!find(ticket)) return std::nullopt;
            Waiter& waiter = waiters[ticket - first];
            waiter.waits = false;
            bytes -= waiter.bytes;
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

    /// The leader's clock, as commands carry it.
    static std::uint64_t wall_clock() {
        using namespace std::chrono;
        auto now = system_clock::now().time_since_epoch();
        return static_cast<std::uint64_t>(duration_cast<milliseconds>(now).count());
    }

    // ===== The loop ==============================================================================

    /// Up to a limit, so that the replica is polled in time.
    void take_what_is_ready() {
        for (int i = 0; i < 4096 && io_.poll_one() > 0; ++i) continue;
    }

    void turn() {
        propose_expiry();
        if (std::exchange(kept_reads_due_, false)) take_up_kept_reads();
        resume_waiting();
        Time now = Clock::now();
        for (int polls = 0; is_due(now) && polls < 16; ++polls, now = Clock::now()) {
            news_ = false;
            due_ = replica_.poll(now);
            if (!is_sound()) return stop(1);
            resume_waiting();
        }
        expire_waiters(now);
        news_ = member_changes_.advance(now) || news_;
        if (stopping_) maybe_stop(now);
        transport_.flush();
        flush_clients();
        arm_timer(now);
    }

    /// What the replica did not take in its last poll is no reason for another: it will ask for
    /// that when it can.
    bool is_due(Time now) const {
        return now >= due_ || news_ || transport_.has_received() || storage_.has_ended();
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
        expiry_proposed_ = writes_.add({{}, 0, 0, 0, Clock::now() + options_.write_timeout});
        machine_.write(*expiry_proposed_, wall_clock(), {});
        news_ = true;
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
            news_ = true;
            awaits_heir_ = heir.has_value();
            stop_at_signals();
        });
    }

    /// The one with the longest log, of those that can be reached.
    std::optional<ReplicaId> best_follower() const {
        std::optional<ReplicaId> best;
        little_raft::Index reached;
        for (const auto& peer : replica_.status().progress) {
            bool able =
                peer.id != id_ && peer.votes && !peer.lost && transport_.is_connected(peer.id);
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
        member_changes_.give_up();
        take_up_kept_reads();
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
        listen_on(acceptor_, options_.bind, options_.port);
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
            ++figures_.clients_refused;
            return;
        }
        auto client = std::make_shared<Client>(std::move(socket), ++figures_.clients_seen);
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
        // It may have closed its half alone, and wait for what it asked.
        client->closes = error == asio::error::eof && !client->owes_nothing();
        if (client->closes) return;
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
        if (client->in.empty()) release(client->in);
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
            client->out.capacity() > idle_max ? release(client->out) : client->out.clear();
            if (client->closes && client->open_slots() == 0) hang_up(*client);
            return count_bytes(*client);
        }
        client->leaving = client->out.substr(sent);
        release(client->out);
        count_bytes(*client);
        asio::async_write(client->socket, asio::buffer(client->leaving),
                          [this, client](std::error_code failed, std::size_t) {
                              if (!client->is_open) return;
                              if (failed) return hang_up(*client);
                              release(client->leaving);
                              flush(client);
                          });
    }

    /// Keeps the sum of what all clients' buffers hold, and hangs up on who asks for too much.
    void count_bytes(Client& client) {
        std::size_t bytes = client.is_open ? client.bytes() : 0;
        figures_.buffered += bytes - client.counted;
        client.counted = bytes;
        if (!client.is_open) return;
        if (client.kept_bytes > 0 && client.ready() <= unread_max) kept_reads_due_ = news_ = true;
        std::size_t most = client.authenticated ? options_.output_bytes_max : idle_max;
        const char* why = client.unread() > most ? "it does not read its replies"
                          : figures_.buffered > options_.buffers_bytes_max && bytes > idle_max
                              ? "all clients together take too much memory"
                              : nullptr;
        if (!why) return;
        spdlog::warn("client {}: hung up on, because {}", client.id, why);
        // Where a reply is due, it would be taken for that.
        std::error_code ignored;
        if (client.owes_nothing())
            client.socket.write_some(
                asio::buffer("-ERR client buffers take too much memory\r\n", 42), ignored);
        hang_up(client);
    }

    void hang_up(Client& client) {
        if (!std::exchange(client.is_open, false)) return;
        std::error_code ignored;
        client.socket.close(ignored);
        if (client.kept_bytes > 0) kept_reads_due_ = news_ = true;
        client.forget();
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
        if (client->open_slots() >= options_.pipeline_max) {
            answer_now(client, "ERR pipeline too deep: " + std::to_string(options_.pipeline_max) +
                                   " requests are unanswered; nothing was done from this one on");
            client->closes = true;
            return true;
        }
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
        else if (!client->authenticated && !Admin::is_for_all(spec->name))
            reply_error(reply_, "NOAUTH Authentication required.");
        else if (spec->kind == Kind::write)
            return take_write(client, *spec, words);
        else if (spec->kind == Kind::read)
            return take_read(client, *spec, words);
        else if (spec->name == "raft" && MemberChanges::is_change(words))
            return change_members(client, words), true;
        else
            ask_admin(*client, spec->name, words);
        answer_now(client);
        return true;
    }

    void ask_admin(Client& client, std::string_view name, const Words& words) {
        figures_.clients = clients_.size();
        figures_.waiting_writes = writes_.waiters.size();
        figures_.waiting_reads = reads_.waiters.size();
        admin_.serve(client, name, words);
        news_ = true;  // Perhaps it asked for another leader.
    }

    void change_members(const std::shared_ptr<Client>& client, const Words& words) {
        reply_.clear();
        if (!is_leader()) {
            reply_not_leader(reply_, id_, transport_, 0);
            return answer_now(client);
        }
        std::uint64_t slot = client->open_slot();
        auto ended = [this, client, slot](std::string_view error) {
            if (!client->is_open) return;
            reply_.clear();
            error.empty() ? reply_ok(reply_) : reply_error(reply_, error);
            client->fill(slot, reply_);
            mark_dirty(client);
        };
        std::string_view refusal = member_changes_.begin(words, Clock::now(), ended);
        if (!refusal.empty()) ended(refusal);
        news_ = true;
    }

    /// A browser that was lured into talking to this port: nothing that it goes on to say counts.
    bool is_http(std::string_view word) {
        bool http = equals_nocase(word, "post") || equals_nocase(word, "host:");
        if (http) spdlog::warn("a client that speaks HTTP was hung up on");
        return http;
    }

    bool take_write(const std::shared_ptr<Client>& client, const CommandSpec& spec,
                    const Words& words) {
        if (is_leader() && (client->reads > 0 || has_enough(writes_))) return false;
        std::size_t key_slot = spec.first_key > 0 ? cluster_slot(words[1]) : 0;
        reply_.clear();
        if (!is_leader())
            reply_not_leader(reply_, id_, transport_, key_slot);
        else if (spec.grows && is_full())
            reply_error(reply_, "OOM command not allowed when used memory > 'maxmemory'.");
        if (!reply_.empty()) return answer_now(client), true;
        Time deadline = Clock::now() + options_.write_timeout;
        std::uint64_t ticket =
            writes_.add({client, client->open_slot(), key_slot, bytes_of(words), deadline});
        machine_.write(ticket, wall_clock(), words);
        news_ = true;
        ++client->writes;
        return true;
    }

    bool take_read(const std::shared_ptr<Client>& client, const CommandSpec& spec,
                   const Words& words) {
        // A client that is slow to read what it asked for is not given more before it has.
        if (client->writes > 0 || client->kept_bytes > 0 || client->unread() > unread_max ||
            has_enough(reads_))
            return false;
        machine_.read(reads_.add({client, client->open_slot(), 0, bytes_of(words)}), spec, words);
        ++client->reads;
        news_ = true;
        return true;
    }

    /// A read that is due waits on if its client has not taken the replies to those before. In the
    /// order in which they were asked, whatever waits.
    bool takes_back(const Machine::Read& read) {
        const Waiter* found = reads_.find(read.ticket);
        if (!found) return true;
        const Client& client = *found->client;
        if (client.is_open && client.is_next(found->slot) && client.ready() <= unread_max)
            return false;
        Waiter waiter = *reads_.take(read.ticket);
        if (!waiter.client->is_open) return true;
        waiter.client->kept_bytes += waiter.bytes;
        kept_reads_.push_back({std::move(waiter), read});
        return true;
    }

    void take_up_kept_reads() {
        for (auto& [waiter, read] : std::exchange(kept_reads_, {})) {
            if (!waiter.client->is_open) continue;
            waiter.client->kept_bytes -= waiter.bytes;
            read.ticket = reads_.add(std::move(waiter));
            machine_.read(std::move(read));
        }
    }

    /// Requests wait with their clients rather than be refused by the library's limits.
    bool has_enough(const Waiters& under_way) const {
        return under_way.waiters.size() >= options_.raft.uncommitted_entries_max / 2 ||
               under_way.bytes >= options_.raft.uncommitted_bytes_max / 2;
    }

    static std::uint64_t bytes_of(const Words& words) {
        std::uint64_t bytes = 128;
        for (std::string_view word : words) bytes += word.size();
        return bytes;
    }

    bool is_full() const {
        return options_.memory_max > 0 && machine_.store().used_bytes() > options_.memory_max;
    }

    void end_write(std::uint64_t ticket, Outcome how, std::string_view reply) {
        auto waiter = writes_.take(ticket);
        if (!waiter) return;
        if (ticket == expiry_proposed_) expiry_proposed_.reset();
        if (!waiter->client || !waiter->client->is_open) return;
        --waiter->client->writes;
        ++figures_.writes_ended[static_cast<std::size_t>(how)];
        reply_.clear();
        if (how == Outcome::not_leader) reply_not_leader(reply_, id_, transport_, waiter->key_slot);
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
        ++(how == Outcome::done ? figures_.reads_done : figures_.reads_abandoned);
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
            if (!waiter.waits) continue;
            if (waiter.deadline > now) return;
            // Those that are through at the front go with it.
            std::size_t before = writes_.waiters.size();
            end_write(writes_.first + i, Outcome::unknown, {});
            i -= before - writes_.waiters.size();
        }
    }

    // =============================================================================================

    static constexpr std::size_t unread_max = 1024 * 1024;
    static constexpr std::size_t idle_max = 64 * 1024;  // Of a client that asks for nothing.

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

    Time due_ = {};             // When the replica wants to be polled,
    bool news_ = false;         // ... or sooner, since something was put where it looks.
    Time armed_ = Time::max();  // When the timer will fire.
    Time expire_waiters_at_ = {};
    std::optional<Time> stopping_;  // Told to stop: when that is to end.
    bool awaits_heir_ = false;      // It led then, and hands over.
    bool ended_ = false;
    int exit_status_ = 0;

    std::unordered_map<std::uint64_t, std::shared_ptr<Client>> clients_;
    std::vector<std::shared_ptr<Client>> dirty_;    // There is something to send to them.
    std::vector<std::shared_ptr<Client>> waiting_;  // Their next request has to wait.
    std::vector<KeptRead> kept_reads_;              // Their clients have not read enough.
    bool kept_reads_due_ = false;                   // One of those has, or has left.
    std::array<char, 64 * 1024> arrived_;           // What was read last, from whichever client.
    std::string reply_;
    RequestLimits limits_;
    ServerFigures figures_;
    Admin admin_{options_,          id_,      transport_, machine_, storage_,
                 replica_.status(), figures_, reply_};
    MemberChanges member_changes_{id_, transport_, machine_, replica_.status(),
                                  options_.change_timeout};
    Waiters writes_, reads_;
    std::optional<std::uint64_t> expiry_proposed_;
};

}  // namespace kv

#endif  // KV_SERVER_HPP
