// One client's connection: what it asked and has not been told yet, in order.
#ifndef KV_CLIENT_HPP
#define KV_CLIENT_HPP

#include <deque>

#include "transport.hpp"

namespace kv {

/// Gives its memory back, which no assignment does.
inline void release(std::string& text) { std::string().swap(text); }

/// Replies leave in the order of the requests, whenever they are ready. A request takes a slot, and
/// the slot is filled when its reply is known.
class Client {
 public:
    Client(tcp::socket s, std::uint64_t number) : socket(std::move(s)), id(number) {}

    tcp::socket socket;
    std::uint64_t id;
    std::string name;
    bool authenticated = false;

    // ----- Requests ------------------------------------------------------------------------------

    RequestParser parser;
    std::string in;  ///< What arrived and was not taken yet; it begins with a request.
    /// Those under way. A write waits until no read is and a read until no write is, so that a
    /// client sees its own requests take effect in order.
    std::uint64_t writes = 0, reads = 0;
    std::uint64_t kept_bytes = 0;  ///< Of reads that wait until it takes the replies to others.
    bool waits = false;            ///< Its next request has to wait; meanwhile nothing is read.
    bool closes = false;           ///< Nothing more is taken; it is hung up on when all is said.
    bool is_open = true;

    // ----- Replies -------------------------------------------------------------------------------

    std::uint64_t open_slot() {
        slots_.emplace_back();
        return first_ + slots_.size() - 1;
    }

    void fill(std::uint64_t slot, std::string_view reply) {
        if (slot != first_) {
            Slot& later = slots_[slot - first_];
            later.reply = reply;
            later.filled = true;
            held_ += reply.size();
            return;
        }
        out += reply;
        pop();
        for (; !slots_.empty() && slots_.front().filled; pop()) {
            out += slots_.front().reply;
            held_ -= slots_.front().reply.size();
        }
    }

    std::size_t open_slots() const { return slots_.size(); }
    /// Whether the reply to all that was asked before is known.
    bool is_next(std::uint64_t slot) const { return slot == first_; }
    bool owes_nothing() const { return slots_.empty() && ready() == 0; }
    /// Bytes of replies that leave as soon as it takes them.
    std::size_t ready() const { return out.size() + leaving.size(); }
    /// ... and of those that wait for others.
    std::size_t unread() const { return ready() + held_; }
    /// What it takes in memory, about.
    std::size_t bytes() const {
        return in.capacity() + parser.bytes_kept() + name.capacity() + out.capacity() +
               leaving.capacity() + held_ + slots_.size() * sizeof(Slot) + kept_bytes;
    }

    /// Of one that is hung up on: requests of its that are under way may hold on to it for long.
    void forget() {
        release(in);
        release(out);
        slots_ = {};
        parser = RequestParser();
        held_ = 0;
    }

    std::string out;          ///< Replies that are to leave.
    std::string leaving;      ///< Those that the socket did not take at once, while it takes them.
    bool is_dirty = false;    ///< The server has it on its list of those to flush.
    std::size_t counted = 0;  ///< Its bytes in the server's sum of them.

 private:
    struct Slot {
        std::string reply;
        bool filled = false;
    };

    void pop() {
        slots_.pop_front();
        ++first_;
    }

    std::deque<Slot> slots_;
    std::uint64_t first_ = 0;
    std::size_t held_ = 0;  // Bytes of replies that wait for earlier ones.
};

}  // namespace kv

#endif  // KV_CLIENT_HPP
