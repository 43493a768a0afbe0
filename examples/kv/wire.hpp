// The library's messages as bytes, and back. What comes back is a message or nothing, whatever the
// bytes were: every length is held against what has arrived before anything is reserved for it.
#ifndef KV_WIRE_HPP
#define KV_WIRE_HPP

#include <algorithm>
#include <span>

#include "little_raft.hpp"
#include "store.hpp"

namespace kv {

using little_raft::Membership;
using Message = little_raft::Message<Command, std::string, Membership>;
using Entry = little_raft::Entry<Command, Membership>;
using Entries = std::vector<Entry>;

/// More than any cluster needs; what names more is no membership.
inline constexpr std::size_t members_max = 100;
/// Of the text of an address: a name of 255 bytes, two ports, and what stands between.
inline constexpr std::size_t address_bytes_max = 280;

inline void put_membership(Writer& out, const Membership& membership) {
    for (const auto* half : {&membership.members, &membership.outgoing}) {
        out.number(half->size());
        for (const auto& [id, address, learner] : *half)
            out.number(id.value).bytes(address).number(learner);
    }
}

inline Membership take_membership(Reader& in) {
    Membership membership;
    for (auto* half : {&membership.members, &membership.outgoing})
        for (auto count = in.number_below(members_max + 1); count > 0 && !in.failed(); --count) {
            little_raft::Member member{{in.number()}, std::string(in.bytes(address_bytes_max))};
            member.learner = in.number_below(2) == 1;
            half->push_back(std::move(member));
        }
    return membership;
}

/// How many, and each one's term and what it says: a command or, behind an empty string, since no
/// command is packed as that, a membership.
inline void put_entries(Writer& out, std::span<const Entry> entries) {
    out.number(entries.size());
    for (const auto& [term, content] : entries) {
        out.number(term.value);
        if (const auto* command = std::get_if<Command>(&content))
            out.bytes(*command->body).number(command->id.process).number(command->id.number);
        else
            put_membership(out.bytes({}), *std::get_if<Membership>(&content));
    }
}

/// Those before the first that makes no sense, which the reader remembers.
inline Entries take_entries(Reader& in) {
    Entries entries;
    std::uint64_t count = in.number();
    entries.reserve(std::min({count, in.remaining(), std::uint64_t{4096}}));
    for (; count > 0 && !in.failed(); --count) {
        Entry entry{{in.number()}, {}};
        std::string_view body = in.bytes();
        if (body.empty())
            entry.command = take_membership(in);
        else
            entry.command =
                Command{{in.number(), in.number()}, std::make_shared<const std::string>(body)};
        entries.push_back(std::move(entry));
    }
    return entries;
}

namespace detail {
using little_raft::Duration, little_raft::Index, little_raft::LogPosition, little_raft::Term,
    little_raft::Time;
using Append = little_raft::AppendEntries<Command, Membership>;
using Install = little_raft::InstallSnapshot<std::string, Membership>;
using little_raft::AppendEntriesResponse, little_raft::RequestVote,
    little_raft::RequestVoteResponse, little_raft::TimeoutNow;

// One overload of put and one of take for each kind of message, the fields in the same order.

inline void put(Writer& out, LogPosition at) { out.number(at.term.value).number(at.index.value); }
inline void put(Writer& out, Time time) {
    out.number(static_cast<std::uint64_t>(time.time_since_epoch().count()));
}
inline LogPosition take_position(Reader& in) { return {{in.number()}, {in.number()}}; }
inline Time take_time(Reader& in) {
    return Time(Duration(static_cast<Duration::rep>(in.number())));
}
inline bool take_flag(Reader& in) { return in.number_below(2) == 1; }

inline void put(Writer& out, const RequestVote& request) {
    out.number(request.pre_vote);
    put(out, request.last_log);
    out.number(request.transfer);
}
inline void take(Reader& in, RequestVote& request) {
    request.pre_vote = take_flag(in);
    request.last_log = take_position(in);
    request.transfer = take_flag(in);
}

inline void put(Writer& out, const RequestVoteResponse& response) {
    out.number(response.pre_vote).number(response.vote_granted);
}
inline void take(Reader& in, RequestVoteResponse& response) {
    response.pre_vote = take_flag(in);
    response.vote_granted = take_flag(in);
}

inline void put(Writer& out, const Append& request) {
    put(out, request.prev_log);
    out.number(request.leader_commit.value);
    put_entries(out, request.entries);
    put(out, request.sent);
    put(out, request.read);
}
inline void take(Reader& in, Append& request) {
    request.prev_log = take_position(in);
    request.leader_commit = {in.number()};
    request.entries = take_entries(in);
    request.sent = take_time(in);
    request.read = take_time(in);
}

inline void put(Writer& out, const AppendEntriesResponse& response) {
    out.number(response.success).number(response.match_index.value);
    put(out, response.hint);
    out.number(response.snapshot_offset);
    put(out, response.heard);
    put(out, response.read);
}
inline void take(Reader& in, AppendEntriesResponse& response) {
    response.success = take_flag(in);
    response.match_index = {in.number()};
    response.hint = take_position(in);
    response.snapshot_offset = in.number();
    response.heard = take_time(in);
    response.read = take_time(in);
}

inline void put(Writer& out, const Install& request) {
    put(out, request.last_included);
    out.number(request.offset).bytes(request.data).number(request.done);
    put(out, request.sent);
    put_membership(out, request.membership);
}
inline void take(Reader& in, Install& request) {
    request.last_included = take_position(in);
    request.offset = in.number();
    request.data = in.bytes();
    request.done = take_flag(in);
    request.sent = take_time(in);
    request.membership = take_membership(in);
}

inline void put(Writer&, const TimeoutNow&) {}
inline void take(Reader&, TimeoutNow&) {}

/// Makes the body the one of its kinds that has this number.
template <std::size_t Kind = 0>
void take_kind(Reader& in, std::uint64_t kind, Message& message) {
    if constexpr (Kind < std::variant_size_v<decltype(message.body)>) {
        if (kind != Kind) return take_kind<Kind + 1>(in, kind, message);
        take(in, message.body.template emplace<Kind>());
    }
}
}  // namespace detail

inline void encode(const Message& message, std::string& out) {
    Writer writer(out);
    writer.number(message.body.index()).number(message.from.value).number(message.to.value);
    writer.number(message.term.value);
    std::visit([&](const auto& body) { detail::put(writer, body); }, message.body);
}

inline std::optional<Message> decode(std::string_view bytes) {
    Reader reader(bytes);
    Message message{};
    std::uint64_t kind = reader.number_below(std::variant_size_v<decltype(message.body)>);
    message.from = {reader.number()};
    message.to = {reader.number()};
    message.term = {reader.number()};
    detail::take_kind(reader, kind, message);
    return reader.complete() ? std::optional(std::move(message)) : std::nullopt;
}

}  // namespace kv

#endif  // KV_WIRE_HPP
