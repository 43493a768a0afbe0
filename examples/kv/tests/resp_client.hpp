// Redis' protocol from the side of a client: raw bytes, where a test compares them or sends what no
// client library would, and replies as text, where it asks what they say.
#pragma once

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <charconv>
#include <memory>
#include <mutex>

#include "processes.hpp"

namespace kv_tests {

struct Address {
    std::string host = "127.0.0.1";
    int port = 0;

    std::string text() const { return host + ":" + std::to_string(port); }
    bool operator==(const Address&) const = default;
};

/// A command as clients send it.
inline std::string encode(const std::vector<std::string>& words) {
    std::string bytes = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string& word : words) {
        bytes += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    }
    return bytes;
}

/// How many bytes the reply at the beginning has; nothing while it is not complete. RESP2 and what
/// of RESP3 `HELLO 3` answers.
inline std::optional<std::size_t> reply_size(std::string_view bytes) {
    std::size_t end = bytes.find("\r\n");
    if (end == std::string_view::npos) return std::nullopt;
    std::size_t size = end + 2;
    long count = 0;
    if (std::string_view("$*%~").find(bytes[0]) == std::string_view::npos) return size;
    std::from_chars(bytes.data() + 1, bytes.data() + end, count);
    if (count < 0) return size;
    if (bytes[0] == '$') {
        size += static_cast<std::size_t>(count) + 2;
        return size <= bytes.size() ? std::optional(size) : std::nullopt;
    }
    for (long i = 0; i < (bytes[0] == '%' ? 2 * count : count); ++i) {
        std::optional<std::size_t> part = reply_size(bytes.substr((std::min)(size, bytes.size())));
        if (!part) return std::nullopt;
        size += *part;
    }
    return size;
}

/// Bytes with what is not printable escaped, for messages.
inline std::string printable(std::string_view bytes, std::size_t limit = 300) {
    std::string text;
    for (char c : bytes.substr(0, limit)) {
        char escaped[5];
        std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(c));
        bool is_printable = c >= ' ' && c <= '~';
        text += c == '\r' ? "\\r" : c == '\n' ? "\\n" : is_printable ? std::string(1, c) : escaped;
    }
    return bytes.size() > limit ? text + "... (" + std::to_string(bytes.size()) + " bytes)" : text;
}

/// A connection that sends and receives bytes as they are.
class RawConnection {
 public:
    explicit RawConnection(const Address& to) {
        fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(to.port));
        inet_pton(AF_INET, to.host.c_str(), &address.sin_addr);
        int result = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
        connected_ = result == 0;
        int on = 1;
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    RawConnection(const RawConnection&) = delete;
    RawConnection& operator=(const RawConnection&) = delete;
    ~RawConnection() { close(fd_); }

    bool is_connected() const { return connected_; }
    int descriptor() const { return fd_; }

    /// Whether all of it was taken before the other side closed or the time was over.
    bool send(std::string_view bytes, Milliseconds limit = patience) {
        Clock::time_point deadline = Clock::now() + limit;
        while (!bytes.empty()) {
            // What the other side answers meanwhile is taken in, so that neither waits for ever.
            pollfd ready{fd_, POLLOUT | POLLIN, 0};
            ::poll(&ready, 1, 100);
            if (Clock::now() > deadline) return false;
            if ((ready.revents & POLLIN) != 0 && !receive_some(0ms)) return false;
            if ((ready.revents & POLLOUT) == 0) continue;
            ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && errno != EAGAIN) return false;
            if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }

    /// The next complete reply; nothing when the other side closed or the time is over.
    std::optional<std::string> receive_reply(Milliseconds limit = patience) {
        Clock::time_point deadline = Clock::now() + limit;
        for (;;) {
            if (std::optional<std::size_t> size = reply_size(received_)) {
                std::string reply = received_.substr(0, *size);
                received_.erase(0, *size);
                return reply;
            }
            if (!receive_some(left_until(deadline))) return std::nullopt;
        }
    }

    /// So many bytes; nothing when the other side closed or the time is over.
    std::optional<std::string> receive_bytes(std::size_t count, Milliseconds limit = patience) {
        Clock::time_point deadline = Clock::now() + limit;
        while (received_.size() < count) {
            if (!receive_some(left_until(deadline))) return std::nullopt;
        }
        std::string bytes = received_.substr(0, count);
        received_.erase(0, count);
        return bytes;
    }

    /// All that comes until the other side closes, which it must do in time.
    std::optional<std::string> receive_to_end(Milliseconds limit = patience) {
        Clock::time_point deadline = Clock::now() + limit;
        while (receive_some(left_until(deadline))) {
        }
        if (!closed_) return std::nullopt;
        return std::exchange(received_, {});
    }

    /// Whether the other side closed within the time.
    bool closes_within(Milliseconds limit) {
        Clock::time_point deadline = Clock::now() + limit;
        while (receive_some(left_until(deadline))) {
        }
        return closed_;
    }

    void finish_sending() { shutdown(fd_, SHUT_WR); }

 private:
    static Milliseconds left_until(Clock::time_point deadline) {
        auto left = std::chrono::duration_cast<Milliseconds>(deadline - Clock::now());
        return (std::max)(left, Milliseconds{0});
    }

    bool receive_some(Milliseconds limit) {
        pollfd ready{fd_, POLLIN, 0};
        if (closed_ || ::poll(&ready, 1, static_cast<int>(limit.count())) <= 0) return false;
        char bytes[65'536];
        ssize_t size = recv(fd_, bytes, sizeof bytes, 0);
        closed_ = size <= 0;
        if (!closed_) received_.append(bytes, static_cast<std::size_t>(size));
        return !closed_;
    }

    int fd_ = -1;
    bool connected_ = false;
    bool closed_ = false;
    std::string received_;
};

/// A connection that never reads what it is answered.
class DeafConnection {
 public:
    explicit DeafConnection(const Address& to) : connection_(to) {}

    /// Whether the other side closed before it had taken all of it many times over.
    bool send_until_hung_up(std::string_view bytes, Milliseconds limit) {
        Clock::time_point deadline = Clock::now() + limit;
        while (Clock::now() < deadline) {
            pollfd ready{connection_.descriptor(), POLLOUT, 0};
            ::poll(&ready, 1, 100);
            if ((ready.revents & (POLLERR | POLLHUP)) != 0) return true;
            if ((ready.revents & POLLOUT) == 0) continue;
            std::string_view rest = bytes.substr(at_);
            ssize_t sent = ::send(connection_.descriptor(), rest.data(), rest.size(),
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && errno != EAGAIN) return true;
            // A request that was cut goes on where it was cut.
            if (sent > 0) at_ = (at_ + static_cast<std::size_t>(sent)) % bytes.size();
        }
        return false;
    }

 private:
    RawConnection connection_;
    std::size_t at_ = 0;
};

/// A reply as text: `+OK`, `-ERR ...`, `:1`, `$value`, `nil`, `[$a, nil]`.
inline std::string show_reply(const redisReply& reply) {
    std::string text(reply.str == nullptr ? "" : std::string(reply.str, reply.len));
    switch (reply.type) {
        case REDIS_REPLY_STATUS:
            return "+" + text;
        case REDIS_REPLY_ERROR:
            return "-" + text;
        case REDIS_REPLY_INTEGER:
            return ":" + std::to_string(reply.integer);
        case REDIS_REPLY_STRING:
            return "$" + text;
        case REDIS_REPLY_NIL:
            return "nil";
        default:
            break;
    }
    for (std::size_t i = 0; i < reply.elements; ++i) {
        text += (i == 0 ? "" : ", ") + show_reply(*reply.element[i]);
    }
    return "[" + text + "]";
}

/// What a client knows after a call.
struct Reply {
    enum State {
        not_sent,  ///< There was no connection: the server never saw it.
        lost,      ///< It was sent, and no answer came.
        answered
    };
    State state = not_sent;
    std::string text = {};

    bool is(std::string_view expected) const { return state == answered && text == expected; }
    bool starts_with(std::string_view begin) const {
        return state == answered && text.starts_with(begin);
    }
    std::string show() const {
        return state == answered ? printable(text)
               : state == lost   ? "(no answer)"
                                 : "(no connection)";
    }
};

/// A client of one server by hiredis. It connects when it is needed and again after a failure.
class Client {
 public:
    explicit Client(Address address, Milliseconds limit = 5s, std::string password = {})
        : address_(std::move(address)), limit_(limit), password_(std::move(password)) {}

    Reply call(const std::vector<std::string>& words) {
        if (!connect()) return {};
        Reply reply = exchange(words);
        if (reply.state != Reply::answered) context_.reset();
        return reply;
    }

    const Address& address() const { return address_; }
    void disconnect() { context_.reset(); }

 private:
    struct Free {
        void operator()(redisContext* context) const { redisFree(context); }
        void operator()(redisReply* reply) const { freeReplyObject(reply); }
    };

    bool connect() {
        if (context_) return true;
        timeval limit{limit_.count() / 1'000, (limit_.count() % 1'000) * 1'000};
        context_.reset(redisConnectWithTimeout(address_.host.c_str(), address_.port, limit));
        if (!context_ || context_->err != 0 || redisSetTimeout(context_.get(), limit) != REDIS_OK) {
            context_.reset();
            return false;
        }
        if (!password_.empty() && !exchange({"AUTH", password_}).is("+OK")) context_.reset();
        return context_ != nullptr;
    }

    Reply exchange(const std::vector<std::string>& words) {
        std::vector<const char*> starts;
        std::vector<std::size_t> sizes;
        for (const std::string& word : words) {
            starts.push_back(word.data());
            sizes.push_back(word.size());
        }
        std::unique_ptr<redisReply, Free> reply(static_cast<redisReply*>(redisCommandArgv(
            context_.get(), static_cast<int>(words.size()), starts.data(), sizes.data())));
        if (!reply) return {Reply::lost, context_->errstr};
        return {Reply::answered, show_reply(*reply)};
    }

    Address address_;
    Milliseconds limit_;
    std::string password_;
    std::unique_ptr<redisContext, Free> context_;
};

}  // namespace kv_tests
