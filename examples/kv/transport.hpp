// The way to the other replicas: TCP, by Asio, on the event loop of whoever owns this. It satisfies
// little_raft's Cluster.
//
// Each replica dials each other one, and sends its messages on the connection that it dialled: two
// connections for a pair, and nothing to decide when both dial at once. On each, before anything
// else, both sides prove that they belong to the cluster:
//
//     acceptor  challenge   a nonce                                                 --> dialer
//     dialer    hello       cluster, from, to, address, a nonce, proof              --> acceptor
//     acceptor  welcome     its proof, or why it refuses                            --> dialer
//     dialer    frames      one message each
//
// A proof is an HMAC with the shared secret of both nonces and of what the hello says. Without TLS
// each frame carries a tag, by a key that both derive from the secret and the nonces, so that
// nobody can change, repeat or insert one; but everybody on the way can read them. With TLS, both
// sides must have a certificate of the given authority, and it looks after the rest.
#ifndef KV_TRANSPORT_HPP
#define KV_TRANSPORT_HPP

#define ASIO_STANDALONE
#define ASIO_NO_DEPRECATED
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <asio.hpp>
#include <asio/ssl.hpp>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "wire.hpp"

namespace kv {

using asio::ip::tcp;
using little_raft::MembershipState, little_raft::ReplicaId;

// ===== Addresses =================================================================================

/// Where a replica is: written host:port@peer_port, as Redis Cluster does. Without @peer_port that
/// is port + 10000.
struct Address {
    std::string host;
    std::uint16_t port = 0;       ///< For clients.
    std::uint16_t peer_port = 0;  ///< For the other replicas.

    static std::optional<Address> parse(std::string_view text) {
        Address address;
        std::size_t at = text.rfind('@');
        std::string_view clients = text.substr(0, at);
        std::size_t colon = clients.rfind(':');
        if (colon == text.npos || colon == 0) return std::nullopt;
        std::string_view host = clients.substr(0, colon);
        if (host.size() > 2 && host.front() == '[' && host.back() == ']')
            host = host.substr(1, host.size() - 2);
        if (!is_host(host)) return std::nullopt;
        address.host = host;
        auto port = to_port(clients.substr(colon + 1));
        if (!port) return std::nullopt;
        address.port = *port;
        auto peer =
            at == text.npos ? to_port(std::to_string(*port + 10000)) : to_port(text.substr(at + 1));
        if (!peer || *peer == *port) return std::nullopt;
        address.peer_port = *peer;
        return address;
    }

    /// Whether two replicas would be in each other's way.
    bool overlaps(const Address& other) const {
        auto has = [&](std::uint16_t at) { return other.port == at || other.peer_port == at; };
        return host == other.host && (has(port) || has(peer_port));
    }

    std::string client_text() const { return bracketed() + ":" + std::to_string(port); }
    std::string text() const { return client_text() + "@" + std::to_string(peer_port); }

    friend bool operator==(const Address&, const Address&) = default;

 private:
    /// Safety: it stands in logs, in INFO and in replies, so nothing in it may look like these.
    static bool is_host(std::string_view host) {
        static constexpr std::string_view others = ".-_:%";
        for (char c : host)
            if (!is_alphanumeric(c) && others.find(c) == others.npos) return false;
        std::error_code error;
        if (host.find(':') != host.npos) asio::ip::make_address_v6(host, error);
        return !host.empty() && host.size() <= 255 && !error;
    }
    static bool is_alphanumeric(char c) {
        return ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z');
    }
    std::string bracketed() const { return host.find(':') == host.npos ? host : "[" + host + "]"; }
    static std::optional<std::uint16_t> to_port(std::string_view text) {
        auto value = to_integer(text);
        if (!value || *value < 1 || *value > 65535) return std::nullopt;
        return static_cast<std::uint16_t>(*value);
    }
};

// ===== Proofs ====================================================================================

inline std::string random_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1)
        throw std::runtime_error("OpenSSL has no random numbers");
    return bytes;
}

/// OpenSSL finds an algorithm by its name, which takes longer than to hash a short frame. So this
/// is made once, and only gets another key each time.
inline EVP_MAC_CTX* hmac_context() {
    using Context = std::unique_ptr<EVP_MAC_CTX, void (*)(EVP_MAC_CTX*)>;
    static thread_local const Context context = [] {
        EVP_MAC* algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
        Context made(algorithm ? EVP_MAC_CTX_new(algorithm) : nullptr, EVP_MAC_CTX_free);
        EVP_MAC_free(algorithm);  // The context has it.
        char digest[] = "SHA256";
        OSSL_PARAM params[] = {OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 6),
                               OSSL_PARAM_END};
        if (!made || EVP_MAC_CTX_set_params(made.get(), params) != 1)
            throw std::runtime_error("OpenSSL has no HMAC with SHA-256");
        return made;
    }();
    return context.get();
}

/// Safety: to OpenSSL, a key that is null is the last one again; a string's bytes never are.
inline std::string hmac(const std::string& key, std::string_view bytes) {
    auto at = [](std::string_view text) {
        return reinterpret_cast<const unsigned char*>(text.data());
    };
    unsigned char out[EVP_MAX_MD_SIZE];
    std::size_t size = 0;
    EVP_MAC_CTX* context = hmac_context();
    if (EVP_MAC_init(context, at(key), key.size(), nullptr) != 1 ||
        EVP_MAC_update(context, at(bytes), bytes.size()) != 1 ||
        EVP_MAC_final(context, out, &size, sizeof(out)) != 1)
        throw std::runtime_error("OpenSSL cannot compute an HMAC");
    return {reinterpret_cast<const char*>(out), size};
}

/// In a time that tells nothing about where they differ.
inline bool equals_secret(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

/// What both ends of a connection say about it, and what follows from that.
struct Handshake {
    std::string cluster;
    std::uint64_t from = 0, to = 0;
    std::string address;  ///< Of the dialer.
    std::string acceptor_nonce, dialer_nonce;

    std::string proof(const std::string& secret, std::string_view of_whom) const {
        std::string said;
        Writer(said)
            .bytes(of_whom)
            .bytes(cluster)
            .number(from)
            .number(to)
            .bytes(address)
            .bytes(acceptor_nonce)
            .bytes(dialer_nonce);
        return hmac(secret, said);
    }
};

// ===== Channel ===================================================================================

/// One connection that carries frames: four bytes for the length, then the frame and, once there is
/// a key, its tag. The owner hears of each frame that arrives, and once of the end.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
    static constexpr std::size_t tag_size = 16;
    using OnFrame = std::function<bool(std::string_view)>;  ///< False: close it.
    /// With what TLS has against the other side, or nothing.
    using OnEnd = std::function<void(std::string_view complaint)>;

    Channel(tcp::socket socket, asio::ssl::context& context, bool tls)
        : stream_(std::move(socket), context), tls_(tls) {}

    tcp::socket& socket() { return stream_.next_layer(); }
    bool is_open() const { return open_; }
    /// The bytes that wait to be sent.
    std::size_t queued() const { return out_.size() + writing_.size(); }

    /// Begins to read. `ended` is called once, when it closes for whatever reason.
    void start(bool dialled, std::size_t frame_max, OnFrame on_frame, OnEnd ended) {
        open_ = true;
        frame_max_ = frame_max;
        on_frame_ = std::move(on_frame);
        ended_ = std::move(ended);
        socket().set_option(tcp::no_delay(true));
        // A connection that is stuck is given up, so that a new one finds its way when it can. The
        // kernel's own patience is a quarter of an hour.
        set_option(TCP_USER_TIMEOUT, 3000);
        // Whoever only listens notices in this way that nobody is there any more.
        socket().set_option(asio::socket_base::keep_alive(true));
        set_option(TCP_KEEPIDLE, 3);
        set_option(TCP_KEEPINTVL, 1);
        set_option(TCP_KEEPCNT, 3);
        if (!tls_) return read();
        auto type = dialled ? asio::ssl::stream_base::client : asio::ssl::stream_base::server;
        stream_.async_handshake(type, [self = shared_from_this()](std::error_code error) {
            if (error) return self->fail(error);
            self->tls_ready_ = true;
            self->read();
            self->flush();
        });
    }

    /// From here on frames carry tags, and may be this long.
    void authenticated(std::string key, std::size_t frame_max) {
        key_ = tls_ ? std::string() : std::move(key);
        frame_max_ = frame_max;
    }

    /// Queues a frame; `write` appends it to the string it is given.
    void send(const std::function<void(std::string&)>& write) {
        std::size_t begin = out_.size();
        out_.append(4, '\0');
        write(out_);
        if (!key_.empty()) {
            std::string tag = tag_of(sent_++, std::string_view(out_).substr(begin + 4));
            out_ += tag;
        }
        std::size_t size = out_.size() - begin - 4;
        for (std::size_t i = 0; i < 4; ++i)
            out_[begin + i] = static_cast<char>(size >> (24 - 8 * i));
    }

    void flush() {
        if (!open_ || out_.empty() || !writing_.empty() || (tls_ && !tls_ready_)) return;
        std::swap(out_, writing_);
        with_stream([this](auto& stream) {
            asio::async_write(stream, asio::buffer(writing_),
                              [self = shared_from_this()](std::error_code error, std::size_t) {
                                  if (error) return self->fail(error);
                                  self->writing_.clear();
                                  self->flush();
                              });
        });
    }

    void close(std::string_view complaint = {}) {
        if (!std::exchange(open_, false)) return;
        std::error_code ignored;
        socket().close(ignored);
        on_frame_ = nullptr;
        if (auto ended = std::exchange(ended_, nullptr)) ended(complaint);
    }

 private:
    /// That a connection breaks is no news; what TLS finds wrong is. A dialer hears only when it
    /// reads that its own certificate was refused.
    void fail(std::error_code error) {
        if (error.category() != asio::error::get_ssl_category()) return close();
        long verdict = SSL_get_verify_result(stream_.native_handle());
        close(verdict == X509_V_OK ? "TLS: " + error.message()
                                   : std::string("TLS: its certificate is refused: ") +
                                         X509_verify_cert_error_string(verdict));
    }

    void set_option(int name, int value) {
        ::setsockopt(socket().native_handle(), IPPROTO_TCP, name, &value, sizeof(value));
    }

    void with_stream(auto use) { tls_ ? use(stream_) : use(stream_.next_layer()); }

    void read() {
        // It grows with what arrives, never by what a length claims.
        if (in_.size() < filled_ + chunk) in_.resize(filled_ + chunk);
        with_stream([this](auto& stream) {
            stream.async_read_some(
                asio::buffer(in_.data() + filled_, chunk),
                [self = shared_from_this()](std::error_code error, std::size_t count) {
                    if (error || !self->open_) return self->fail(error);
                    self->filled_ += count;
                    if (!self->take_frames()) return self->close();
                    self->read();
                });
        });
    }

    bool take_frames() {
        std::string_view rest(in_.data(), filled_);
        OnFrame on_frame =
            on_frame_;  // The owner may close this, and what is called must outlive it.
        while (rest.size() >= 4) {
            std::size_t size = 0;
            for (std::size_t i = 0; i < 4; ++i)
                size = size << 8 | static_cast<unsigned char>(rest[i]);
            if (size > frame_max_) return false;
            if (rest.size() - 4 < size) break;
            if (!verify(rest.substr(4, size)) || !open_) return false;
            std::string_view frame = rest.substr(4, size - (key_.empty() ? 0 : tag_size));
            if (!on_frame(frame)) return false;
            rest.remove_prefix(4 + size);
        }
        filled_ = rest.size();
        if (in_.size() > 16 * chunk && filled_ < chunk)
            in_ = std::string(rest);  // What one large frame took is not kept.
        else
            std::memmove(in_.data(), rest.data(), rest.size());
        return true;
    }

    bool verify(std::string_view frame) {
        if (key_.empty()) return true;
        if (frame.size() < tag_size) return false;
        std::string_view said = frame.substr(0, frame.size() - tag_size);
        return equals_secret(tag_of(received_++, said), frame.substr(said.size()));
    }

    /// The number makes a frame that is repeated or left out show.
    std::string tag_of(std::uint64_t number, std::string_view frame) const {
        return hmac(key_ + std::to_string(number), frame).substr(0, tag_size);
    }

    static constexpr std::size_t chunk = 64 * 1024;

    asio::ssl::stream<tcp::socket> stream_;
    bool tls_, tls_ready_ = false, open_ = false;
    std::size_t frame_max_ = 0;
    OnFrame on_frame_;
    OnEnd ended_;
    std::string key_;
    std::uint64_t sent_ = 0, received_ = 0;
    std::string in_;  // Of which filled_ bytes have arrived.
    std::size_t filled_ = 0;
    std::string out_, writing_;
};

// ===== Transport =================================================================================

struct TransportOptions {
    ReplicaId id;
    Address address;                               ///< Where others reach this replica.
    std::string bind;                              ///< The interface to listen on.
    std::string cluster, secret;                   ///< Both the same on all replicas.
    std::string tls_ca, tls_certificate, tls_key;  ///< Files; all or none.
    std::size_t frame_max = 64 * 1024 * 1024;      ///< Bytes of one message.
    std::size_t queue_max = 64 * 1024 * 1024;      ///< Bytes that wait to be sent to one replica.
    bool tls() const { return !tls_ca.empty(); }
};

/// Throws, and names the address, if that cannot be.
inline void listen_on(tcp::acceptor& acceptor, const std::string& bind, std::uint16_t port) {
    tcp::endpoint at(asio::ip::make_address(bind), port);
    try {
        acceptor.open(at.protocol());
        acceptor.set_option(tcp::acceptor::reuse_address(true));
        acceptor.bind(at);
        acceptor.listen();
    } catch (const std::system_error& error) {
        throw std::runtime_error("cannot listen on " + bind + ":" + std::to_string(port) + ": " +
                                 error.code().message());
    }
}

/// Throws, and names the file, if one is not what it should be.
inline asio::ssl::context make_tls_context(const TransportOptions& options) {
    asio::ssl::context context(asio::ssl::context::tls);
    if (!options.tls()) return context;
    using Context = asio::ssl::context;
    context.set_options(Context::default_workarounds | Context::no_tlsv1 | Context::no_tlsv1_1);
    const std::string* file = nullptr;
    try {
        context.load_verify_file(*(file = &options.tls_ca));
        context.use_certificate_chain_file(*(file = &options.tls_certificate));
        context.use_private_key_file(*(file = &options.tls_key), Context::pem);
    } catch (const std::system_error& error) {
        throw std::runtime_error(*file + ": " + error.code().message());
    }
    context.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
    return context;
}

/// What was refused or lost, for INFO.
struct TransportCounters {
    std::uint64_t connects = 0;         ///< Connections dialled that were welcomed.
    std::uint64_t refused_cluster = 0;  ///< Dialers of another cluster,
    std::uint64_t refused_tls = 0;      ///< ... without TLS or without a certificate for it,
    std::uint64_t refused_secret = 0;   ///< ... without the secret or with a wrong one,
    std::uint64_t refused_unknown = 0;  ///< ... that were removed, or meant somebody else,
    std::uint64_t refused_garbage = 0;  ///< ... that did not speak this protocol, or not in time.
    std::uint64_t guests = 0;           ///< Dialers let in that were no members, as far as known.
    std::uint64_t ignored = 0;          ///< Messages of theirs that would have deposed a leader.
    std::uint64_t malformed = 0;        ///< Frames that held no message of their sender.
    std::uint64_t dropped = 0;          ///< Messages that found no connection, or a full queue.
};

/// Satisfies little_raft's Cluster, LeadershipTransfer and Reconfigurable.
class Transport {
 public:
    Transport(asio::io_context& io, TransportOptions options)
        : io_(io),
          options_(std::move(options)),
          acceptor_(io),
          context_(make_tls_context(options_)) {}

    /// Throws what prevents it.
    void listen() {
        listen_on(acceptor_, options_.bind, options_.address.peer_port);
        accept();
    }

    void stop() {
        std::error_code ignored;
        acceptor_.close(ignored);
        stopped_ = true;
        removal_timer_.cancel();
        for (auto& [id, link] : links_) link->stop();
        for (const auto& session : std::exchange(sessions_, {})) session->channel->close();
    }

    /// Those in force, incoming and outgoing, and where they are.
    const std::map<ReplicaId, Address>& members() const { return members_; }
    const Membership& membership() const { return membership_; }
    /// Of those incoming.
    const little_raft::Member* find_member(ReplicaId id) const {
        for (const little_raft::Member& member : membership_.members)
            if (member.id == id) return &member;
        return nullptr;
    }
    /// Called when a change of the members can begin: who shall be members, if there is a wish.
    std::function<std::optional<Membership>()> on_change_possible = [] { return std::nullopt; };
    /// Called in a poll, with what became of a membership.
    std::function<void(const Membership&, MembershipState)> on_membership = [](const auto&, auto) {
    };

    bool has_received() const { return !received_.empty(); }
    bool is_connected(ReplicaId id) const {
        auto link = links_.find(id);
        return link != links_.end() && link->second->welcomed;
    }
    const TransportCounters& counters() const { return counters_; }
    std::optional<ReplicaId> leader() const { return leader_; }
    /// Asks the replica to hand over, if it leads.
    void transfer_to(ReplicaId id) { transfer_ = id; }
    /// Called at the end of a poll in which another leader, or none, became known.
    std::function<void()> on_leader = [] {};

    /// Sends what the last poll wanted sent.
    void flush() {
        for (auto& [id, link] : links_)
            if (link->welcomed) link->channel->flush();
    }

    // ----- What the library calls ----------------------------------------------------------------

    void send_message(ReplicaId to, const Message& message) {
        term_ = message.term;
        auto link = links_.find(to);
        bool possible = link != links_.end() && link->second->welcomed &&
                        link->second->channel->queued() < options_.queue_max;
        if (!possible) return void(++counters_.dropped);
        link->second->channel->send([&](std::string& out) { encode(message, out); });
    }
    std::vector<Message> receive_messages() { return std::exchange(received_, {}); }
    bool halt() const { return stopped_; }
    void register_leader(std::optional<ReplicaId> leader) {
        leader_ = leader;
        on_leader();
    }
    std::optional<ReplicaId> get_pending_transfer() {
        return std::exchange(transfer_, std::nullopt);
    }
    std::optional<Membership> get_pending_membership() { return on_change_possible(); }
    void register_membership(const Membership& membership, MembershipState state) {
        if (state == MembershipState::queued) enter(membership);
        if (state == MembershipState::applied) settle(membership);
        on_membership(membership, state);
    }
    void register_lost_disk(ReplicaId id) {
        spdlog::critical(
            "replica {} no longer has what it had acknowledged: its disk was lost or restored. "
            "Stop "
            "it, remove it, and add a new one under a new id",
            id.value);
    }

 private:
    static constexpr std::size_t handshake_frame_max = 1024;
    static constexpr std::size_t sessions_max = 256;
    static constexpr std::chrono::seconds handshake_timeout{2};
    static constexpr std::chrono::seconds farewell{2};  // Until whoever was removed is hung up on.
    static constexpr std::string_view protocol = "little_raft kv 3";

    // ----- Members -------------------------------------------------------------------------------

    void enter(const Membership& membership) {
        membership_ = membership;
        members_.clear();
        for (const auto* half : {&membership.outgoing, &membership.members})
            for (const little_raft::Member& member : *half) {
                auto address = Address::parse(member.address);
                if (address) members_.insert_or_assign(member.id, *address);
            }
        for (const auto& [id, address] : members_) {
            removed_.erase(id);
            if (id != options_.id) dial(id, address);
        }
        if (membership.outgoing.empty()) part_later();
    }

    /// This can no longer be lost, so whom it removes is let in no more.
    void settle(const Membership& membership) {
        for (const auto& member : membership.outgoing) leaving_.insert(member.id);
        if (!membership.outgoing.empty()) return;
        // Liveness: what is in force may have gone on from here, and come to nothing.
        for (const auto& member : membership.members) leaving_.erase(member.id);
        for (ReplicaId id : std::exchange(leaving_, {}))
            if (!members_.contains(id)) removed_.insert(id);
        part_later();
    }

    /// Hangs up on those who were removed when they have heard of it, as a rule; if that is this
    /// one, on all others.
    void part_later() {
        removal_timer_.expires_after(farewell);
        removal_timer_.async_wait([this](std::error_code cancelled) {
            if (cancelled || stopped_) return;
            bool removed = removed_.contains(options_.id);
            for (ReplicaId id : removed_) hang_up_on(id);
            for (const auto& [id, link] : std::map(links_))
                if (removed || (!members_.contains(id) && !is_guest(id))) forget(id);
        });
    }

    void forget(ReplicaId id) {
        auto link = links_.find(id);
        if (link == links_.end()) return;
        link->second->stop();
        links_.erase(link);
    }

    bool is_guest(ReplicaId id) const {
        return std::any_of(sessions_.begin(), sessions_.end(),
                           [&](const auto& session) { return session->from == id; });
    }

    // ----- Dialling ------------------------------------------------------------------------------

    /// The way to one other replica. It is dialled again, after a while, whenever it breaks.
    struct Link {
        Link(Transport& t, ReplicaId to, Address at)
            : transport(&t), id(to), address(std::move(at)), timer(t.io_), resolver(t.io_) {}

        void stop() {
            transport = nullptr;
            timer.cancel();
            resolver.cancel();
            if (channel) channel->close();
        }

        Transport* transport;  // None: it has stopped.
        ReplicaId id;
        Address address;
        asio::steady_timer timer;
        tcp::resolver resolver;
        std::shared_ptr<Channel> channel;
        Handshake handshake;
        bool welcomed = false;
        std::chrono::milliseconds backoff = backoff_min;
        std::string complaint;  // The last one that was logged.
    };
    static constexpr std::chrono::milliseconds backoff_min{50}, backoff_max{1000};

    void dial(ReplicaId id, const Address& address) {
        auto& link = links_[id];
        if (link && link->address == address) return;
        if (link) link->stop();
        link = std::make_shared<Link>(*this, id, address);
        connect(link);
    }

    void connect(std::shared_ptr<Link> link) {
        link->resolver.async_resolve(
            link->address.host, std::to_string(link->address.peer_port),
            [this, link](std::error_code error, const tcp::resolver::results_type& found) {
                if (!link->transport) return;
                if (error) return retry(link, error.message());
                link->channel =
                    std::make_shared<Channel>(tcp::socket(io_), context_, options_.tls());
                give_time(link);
                asio::async_connect(link->channel->socket(), found,
                                    [this, link](std::error_code failed, const tcp::endpoint&) {
                                        if (!link->transport) return;
                                        if (failed) return retry(link, failed.message());
                                        greet(link);
                                    });
            });
    }

    /// A connection that is not welcomed in time is given up.
    void give_time(const std::shared_ptr<Link>& link) {
        link->timer.expires_after(handshake_timeout);
        link->timer.async_wait([link, channel = link->channel](std::error_code cancelled) {
            if (cancelled || !link->transport || link->welcomed) return;
            std::error_code ignored;
            channel->is_open() ? channel->close() : void(channel->socket().close(ignored));
        });
    }

    void greet(const std::shared_ptr<Link>& link) {
        link->handshake = {
            options_.cluster, options_.id.value, link->id.value, options_.address.text(), {},
            random_bytes(32)};
        link->channel->start(
            true, handshake_frame_max,
            [this, link](std::string_view frame) { return link->transport && answer(link, frame); },
            [this, link](std::string_view complaint) {
                if (!link->transport) return;
                if (!complaint.empty()) complain(*link, std::string(complaint));
                retry(link, "the connection was closed");
            });
    }

    bool answer(const std::shared_ptr<Link>& link, std::string_view frame) {
        if (link->welcomed) return false;  // Nothing more is expected on this way.
        Reader reader(frame);
        Handshake& said = link->handshake;
        if (said.acceptor_nonce.empty()) {
            bool speaks = reader.bytes() == protocol;
            said.acceptor_nonce = reader.bytes();
            if (!speaks || !reader.complete() || said.acceptor_nonce.empty()) return false;
            link->channel->send([&](std::string& out) {
                Writer(out)
                    .bytes(said.cluster)
                    .number(said.from)
                    .number(said.to)
                    .bytes(said.address)
                    .bytes(said.dialer_nonce)
                    .bytes(said.proof(options_.secret, "dialer"));
            });
            link->channel->flush();
            return true;
        }
        std::string_view proof = reader.bytes();
        std::string_view refusal = reader.bytes();
        if (!reader.complete()) return false;
        if (!equals_secret(proof, said.proof(options_.secret, "acceptor"))) {
            complain(*link, refusal.empty() ? "it does not know the secret"
                                            : "it says: " + std::string(refusal.substr(0, 100)));
            return false;
        }
        link->channel->authenticated(said.proof(options_.secret, "key"), options_.frame_max);
        link->welcomed = true;
        link->timer.cancel();
        link->backoff = backoff_min;
        link->complaint.clear();
        ++counters_.connects;
        spdlog::info("connected to replica {} at {}", link->id.value, link->address.text());
        return true;
    }

    /// Logs it once, not each time it is tried again.
    void complain(Link& link, const std::string& text) {
        if (std::exchange(link.complaint, text) != text)
            spdlog::warn("replica {} at {}: {}", link.id.value, link.address.text(), text);
    }

    void retry(const std::shared_ptr<Link>& link, const std::string& why) {
        bool had = std::exchange(link->welcomed, false);
        if (had || link->complaint.empty()) complain(*link, why);
        // Half of it by chance, so that replicas that lost each other do not dial in step.
        std::uniform_int_distribution<std::int64_t> spread(link->backoff.count() / 2,
                                                           link->backoff.count());
        link->timer.expires_after(std::chrono::milliseconds(spread(random_)));
        link->backoff = std::min(2 * link->backoff, backoff_max);
        link->timer.async_wait([this, link](std::error_code cancelled) {
            if (!cancelled && link->transport) connect(link);
        });
    }

    // ----- Being dialled -------------------------------------------------------------------------

    struct Session {
        explicit Session(asio::io_context& io) : timer(io) {}
        std::shared_ptr<Channel> channel;
        asio::steady_timer timer;
        std::string remote;  // The machine that it comes from.
        Handshake handshake;
        std::optional<ReplicaId> from;  // Once it has proved that.
    };

    void accept() {
        acceptor_.async_accept([this](std::error_code error, tcp::socket socket) {
            if (stopped_) return;
            if (!error && sessions_.size() < sessions_max) welcome(std::move(socket));
            if (error) spdlog::warn("cannot accept a replica's connection: {}", error.message());
            // Out of file descriptors, most likely: to try at once would only burn the processor.
            if (!error) return accept();
            accept_timer_.expires_after(std::chrono::milliseconds(100));
            accept_timer_.async_wait([this](std::error_code) { accept(); });
        });
    }

    void welcome(tcp::socket socket) {
        auto session = std::make_shared<Session>(io_);
        std::error_code unknown;
        session->remote = socket.remote_endpoint(unknown).address().to_string();
        session->channel = std::make_shared<Channel>(std::move(socket), context_, options_.tls());
        session->handshake.acceptor_nonce = random_bytes(32);
        sessions_.push_back(session);
        // The channel holds these handlers, and through them the session, until it closes.
        session->channel->start(
            false, handshake_frame_max,
            [this, session](std::string_view frame) {
                return session->from ? take_message(*session, frame) : admit(*session, frame);
            },
            [this, session](std::string_view complaint) { end(session, complaint); });
        session->timer.expires_after(handshake_timeout);
        session->timer.async_wait([session](std::error_code cancelled) {
            if (!cancelled && !session->from) session->channel->close();
        });
        session->channel->send([&](std::string& out) {
            Writer(out).bytes(protocol).bytes(session->handshake.acceptor_nonce);
        });
        session->channel->flush();
    }

    void end(const std::shared_ptr<Session>& session, std::string_view complaint) {
        session->timer.cancel();
        if (!session->from && session->handshake.cluster.empty())
            ++(complaint.empty() ? counters_.refused_garbage : counters_.refused_tls);
        if (!complaint.empty())
            spdlog::warn("refused a connection from {}: {}", session->remote, complaint);
        std::erase(sessions_, session);
        // Whoever is no member is of interest as long as it talks to this replica: see admit().
        if (session->from && !members_.contains(*session->from) && !is_guest(*session->from))
            forget(*session->from);
    }

    bool admit(Session& session, std::string_view frame) {
        Reader reader(frame);
        Handshake& said = session.handshake;
        said.cluster = reader.bytes();
        said.from = reader.number();
        said.to = reader.number();
        said.address = reader.bytes();
        said.dialer_nonce = reader.bytes();
        std::string_view proof = reader.bytes();
        auto address = Address::parse(said.address);
        if (!reader.complete() || said.cluster.empty() || !address) {
            said.cluster.clear();  // end() counts it.
            return false;
        }
        if (said.cluster != options_.cluster)
            return refuse(session, counters_.refused_cluster, "this is another cluster");
        if (!equals_secret(proof, said.proof(options_.secret, "dialer")))
            return refuse(session, counters_.refused_secret, "the secret is wrong");
        if (said.to != options_.id.value || said.from == said.to)
            return refuse(session, counters_.refused_unknown, "that is another replica");
        if (removed_.contains({said.from}))
            return refuse(session, counters_.refused_unknown,
                          "replica " + std::to_string(said.from) + " was removed");
        session.channel->send([&](std::string& out) {
            Writer(out).bytes(said.proof(options_.secret, "acceptor")).bytes({});
        });
        session.channel->flush();
        session.channel->authenticated(said.proof(options_.secret, "key"), options_.frame_max);
        hang_up_on({said.from});
        session.from = ReplicaId{said.from};
        session.timer.cancel();
        // Who has proved to be of this cluster may be a member of which this replica has not heard:
        // it adds this one, or it was added while this one was away. It must have its answers.
        if (is_stranger(*session.from)) {
            ++counters_.guests;
            spdlog::warn("replica {} at {} is no member that this one knows of: let in as a guest",
                         said.from, address->text());
        }
        if (!links_.contains(*session.from)) dial(*session.from, *address);
        return true;
    }

    /// Whoever knows no members yet knows no strangers either.
    bool is_stranger(ReplicaId id) const { return !members_.empty() && !members_.contains(id); }

    /// A guest may have been elected by those who know it. Liveness: it is believed when this
    /// replica has lost sight of the leader that it knows, which takes no longer than before an
    /// election; till then who was never added deposes nobody. What is of the past goes on to the
    /// library, which answers it: a leader that was removed must hear that another leads. So do
    /// votes and requests for votes, which depose nobody unless they claim to be a leader's wish.
    bool usurps(const Message& message) const {
        bool known = !is_stranger(message.from) || leader_ == message.from;
        if (!leader_ || known || message.term <= term_) return false;
        if (const auto* request = std::get_if<little_raft::RequestVote>(&message.body))
            return request->transfer;
        return !std::holds_alternative<little_raft::RequestVoteResponse>(message.body) &&
               !std::holds_alternative<little_raft::AppendEntriesResponse>(message.body);
    }

    /// A replica that dials anew has no use for what it dialled before.
    void hang_up_on(ReplicaId id) {
        for (const auto& session : std::vector(sessions_))
            if (session->from == id) session->channel->close();
    }

    /// Says why, and closes once that has left.
    bool refuse(Session& session, std::uint64_t& counter, std::string_view why) {
        ++counter;
        spdlog::warn("refused replica {} of cluster '{}' from {}: {}", session.handshake.from,
                     session.handshake.cluster, session.remote, why);
        session.channel->send([&](std::string& out) { Writer(out).bytes({}).bytes(why); });
        session.channel->flush();
        return false;
    }

    /// Safety: who a message is from is what its connection has proved.
    bool take_message(const Session& session, std::string_view frame) {
        auto message = decode(frame);
        bool sound = message && message->from == session.from && message->to == options_.id;
        if (!sound) return ++counters_.malformed, false;
        if (usurps(*message)) return ++counters_.ignored, true;
        received_.push_back(std::move(*message));
        return true;
    }

    asio::io_context& io_;
    TransportOptions options_;
    tcp::acceptor acceptor_;
    asio::steady_timer accept_timer_{io_}, removal_timer_{io_};
    asio::ssl::context context_;
    std::minstd_rand random_{std::random_device()()};
    Membership membership_;                 // In force,
    std::map<ReplicaId, Address> members_;  // ... and who that is.
    // Those that go out when what is under way is settled, and those that have gone.
    std::set<ReplicaId> leaving_, removed_;
    std::map<ReplicaId, std::shared_ptr<Link>> links_;
    std::vector<std::shared_ptr<Session>> sessions_;
    std::vector<Message> received_;
    std::optional<ReplicaId> leader_, transfer_;
    little_raft::Term term_;  // Of what was sent last: this replica's, or one before.
    TransportCounters counters_;
    bool stopped_ = false;
};

}  // namespace kv

#endif  // KV_TRANSPORT_HPP
