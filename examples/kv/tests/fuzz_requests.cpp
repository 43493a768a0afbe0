// Bytes from a client: the parser of requests, and every command that works on keys. The first
// byte says how the others arrive, in pieces of that size; each request that comes out is run.
//
// Besides what the sanitizers see: pieces make no difference to what is parsed; each command is
// answered with exactly one reply, which is whole; what the log holds of it says the same; and a
// snapshot of the state brings the same state back.
#include <algorithm>

#include "../commands.hpp"
#include "fuzz.hpp"

namespace {

using Request = std::vector<std::string>;

struct Parsed {
    std::vector<Request> requests;
    std::string error;
    bool operator==(const Parsed&) const = default;
};

constexpr kv::RequestLimits limits{1'000, 10'000, 20'000};

Parsed parse(std::string_view bytes, std::size_t piece) {
    Parsed parsed;
    kv::RequestParser parser;
    std::string buffer;
    while (!bytes.empty()) {
        std::size_t size = (std::min)(piece, bytes.size());
        buffer += bytes.substr(0, size);
        bytes.remove_prefix(size);
        kv::RequestParser::Result result;
        while ((result = parser.parse(buffer, limits)) == kv::RequestParser::complete) {
            parsed.requests.emplace_back(parser.words().begin(), parser.words().end());
            EXPECT(parser.size() > 0 && parser.size() <= buffer.size());
            buffer.erase(0, parser.size());
            parser.next();
            if (buffer.empty()) break;
        }
        if (result == kv::RequestParser::failed) {
            parsed.error = parser.error();
            return parsed;
        }
    }
    return parsed;
}

/// How long the one reply at the beginning is.
std::size_t reply_size(std::string_view bytes) {
    std::size_t end = bytes.find("\r\n");
    EXPECT(end != bytes.npos && std::string_view("+-:$*").find(bytes[0]) != bytes.npos);
    if (bytes[0] == '+' || bytes[0] == '-') return end + 2;
    auto number = kv::to_integer(bytes.substr(1, end - 1));
    EXPECT(number && (bytes[0] == ':' || *number >= -1));
    std::size_t size = end + 2;
    if (bytes[0] == '$' && *number >= 0) size += static_cast<std::size_t>(*number) + 2;
    for (std::int64_t i = 0; bytes[0] == '*' && i < *number; ++i) {
        EXPECT(size < bytes.size());
        size += reply_size(bytes.substr(size));
    }
    EXPECT(size <= bytes.size());
    return size;
}

void run(kv::Store& store, const Request& request, std::uint64_t time) {
    kv::Words words(request.begin(), request.end());
    if (words.empty()) return;
    std::string reply;
    const kv::CommandSpec* spec = kv::find_command(words[0]);
    if (!spec) {
        kv::reply_unknown_command(reply, words);
    } else if (!kv::fits(*spec, words.size())) {
        kv::commands::reply_arity(reply, spec->name);
    } else if (spec->run) {
        std::string body = kv::pack_command(time, words);
        kv::Words unpacked;
        EXPECT(kv::unpack_command(body, unpacked) == time && unpacked == words);
        store.advance(time);
        spec->run(store, unpacked, reply);
    } else {
        return;
    }
    EXPECT(reply_size(reply) == reply.size());
}

std::vector<std::string> entries_of(const kv::Store& store) {
    std::vector<std::string> entries;
    store.scan(0, ~std::size_t{0}, [&](std::string_view key) {
        const kv::Store::Value* value = store.find(key);
        EXPECT(value);
        entries.push_back(std::string(key) + "=" + std::string(kv::Store::view(value->text)) + "@" +
                          std::to_string(value->expires));
    });
    std::sort(entries.begin(), entries.end());
    EXPECT(entries.size() == store.size());
    return entries;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    Parsed parsed = parse(bytes, (std::max)(std::size_t{1}, std::size_t{data[0]}));
    EXPECT(parsed == parse(bytes, bytes.size()));
    if (parsed.requests.empty()) return 0;
    kv::Store store;
    std::uint64_t time = 1'700'000'000'000;
    for (const Request& request : parsed.requests) run(store, request, time += 1'000);
    if (store.size() == 0) return 0;
    kv::Store copy;
    EXPECT(copy.load(store.save()));
    EXPECT(entries_of(copy) == entries_of(store) && copy.time() == store.time());
    EXPECT(copy.used_bytes() == store.used_bytes() && copy.expiring() == store.expiring());
    return 0;
}
