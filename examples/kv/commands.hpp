// The commands on keys: what each is called, how many words it takes, and what it does, with the
// replies and errors of Redis 7.
//
// A handler decides by the store and the words alone. So those that write may run as transitions,
// on every replica with the same result, and those that read wherever the library says that the
// state may be seen.
#ifndef KV_COMMANDS_HPP
#define KV_COMMANDS_HPP

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <limits>

#include "store.hpp"

namespace kv {

/// `write` changes the store, `read` looks at it, `server` is about this server or this connection.
enum class Kind { write, read, server };

/// One row of the table of commands.
struct CommandSpec {
    std::string_view name;
    int arity;  ///< Words, the name included; negative: at least so many.
    Kind kind;
    void (*run)(Store&, const Words&, std::string& reply) = nullptr;  ///< None for `server`.
    /// Which words are keys, as COMMAND tells: the first, the last (negative: from the end) and how
    /// far apart; 0 where there are none.
    int first_key = 0, last_key = 0, key_step = 0;
    bool grows = false;  ///< It may take more memory, so it is refused where there is none left.
};

// ===== Words =====================================================================================

inline bool equals_nocase(std::string_view a, std::string_view b) {
    auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                              [&](char x, char y) { return lower(x) == lower(y); });
}

/// Whether a text matches a pattern of Redis: * ? [abc] [^a] [a-z] and \ before what is meant as it
/// is. A star that does not fit is tried one character further on, and only the last star is, so
/// that no pattern takes more steps than its length times the text's.
inline bool matches(std::string_view pattern, std::string_view text) {
    auto one = [&](std::size_t& p, char c) {  // Whether what is at p matches c; p goes behind it.
        if (pattern[p] == '?') return ++p, true;
        if (pattern[p] != '[') {
            if (pattern[p] == '\\' && p + 1 < pattern.size()) ++p;
            return pattern[p++] == c;
        }
        bool inverted = ++p < pattern.size() && pattern[p] == '^';
        bool found = false;
        for (p += inverted ? 1 : 0; p < pattern.size() && pattern[p] != ']'; ++p) {
            if (pattern[p] == '\\' && p + 1 < pattern.size()) ++p;
            char low = pattern[p], high = low;
            if (p + 2 < pattern.size() && pattern[p + 1] == '-') high = pattern[p += 2];
            if (low > high) std::swap(low, high);
            found = found || (low <= c && c <= high);
        }
        p += p < pattern.size() ? 1 : 0;
        return found != inverted;
    };
    std::size_t p = 0, t = 0, star = pattern.npos, resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = ++p;
            resume = t;
        } else if (std::size_t next = p; p < pattern.size() && one(next, text[t])) {
            p = next;
            ++t;
        } else if (star != pattern.npos) {
            p = star;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

namespace commands {

inline constexpr std::string_view not_an_integer = "ERR value is not an integer or out of range";
inline constexpr std::string_view syntax_error = "ERR syntax error";
/// The longest value that APPEND makes, and the most values that MGET replies with; in Redis, the
/// first.
inline constexpr std::size_t value_bytes_max = 512 * 1024 * 1024;
inline constexpr std::size_t reply_bytes_max = 512 * 1024 * 1024;

inline std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    return result;
}

/// In the words that Redis uses for any command.
inline void reply_arity(std::string& reply, std::string_view name) {
    reply_error(reply, "ERR wrong number of arguments for '" + lower(name) + "' command");
}

inline void reply_value(std::string& reply, const Store::Value* value) {
    value ? reply_bulk(reply, Store::view(value->text)) : reply_nil(reply);
}

// ----- Expiry ------------------------------------------------------------------------------------

/// A unit of time in milliseconds, and from when on it counts.
struct Clock {
    std::int64_t unit;
    bool absolute;
    friend bool operator==(const Clock&, const Clock&) = default;
};

/// When it is that these words name, in milliseconds since 1970. Nothing, and an error in the
/// reply, if they name no time that there is.
inline std::optional<std::int64_t> to_expiry(const Store& store, std::string_view text, Clock clock,
                                             std::string_view command, std::string& reply) {
    auto value = to_integer(text);
    if (!value) {
        reply_error(reply, not_an_integer);
        return std::nullopt;
    }
    constexpr std::int64_t max = std::numeric_limits<std::int64_t>::max();
    std::int64_t now = clock.absolute ? 0 : static_cast<std::int64_t>(store.time());
    if (*value > max / clock.unit || *value < -(max / clock.unit) ||
        *value * clock.unit > max - now) {
        reply_error(reply, "ERR invalid expire time in '" + lower(command) + "' command");
        return std::nullopt;
    }
    return *value * clock.unit + now;
}

/// A key whose time has come is gone at once. 0 stands for never, so what lies before 1970 is 1.
inline void expire_at(Store& store, std::string_view key, std::int64_t when) {
    if (when <= static_cast<std::int64_t>(store.time()))
        store.erase(key);
    else
        store.set_expiry(key, static_cast<std::uint64_t>(when));
}

/// EXPIRE and its like: whether NX, XX, GT or LT forbid the new time. A key that never expires
/// counts as one that does so last.
struct ExpireConditions {
    bool nx = false, xx = false, gt = false, lt = false;

    bool parse(const Words& words, std::string& reply) {
        for (std::size_t i = 3; i < words.size(); ++i) {
            bool* flag = equals_nocase(words[i], "nx")   ? &nx
                         : equals_nocase(words[i], "xx") ? &xx
                         : equals_nocase(words[i], "gt") ? &gt
                         : equals_nocase(words[i], "lt") ? &lt
                                                         : nullptr;
            if (!flag) {
                reply_error(reply, "ERR Unsupported option " + std::string(words[i]));
                return false;
            }
            *flag = true;
        }
        if (nx && (xx || gt || lt))
            reply_error(reply,
                        "ERR NX and XX, GT or LT options at the same time are not compatible");
        else if (gt && lt)
            reply_error(reply, "ERR GT and LT options at the same time are not compatible");
        return !(nx && (xx || gt || lt)) && !(gt && lt);
    }

    bool allow(std::uint64_t old, std::int64_t when) const {
        auto current = static_cast<std::int64_t>(old);
        if ((nx && old != 0) || (xx && old == 0)) return false;
        if (gt && (old == 0 || when <= current)) return false;
        return !(lt && old != 0 && when >= current);
    }
};

inline void expire_with(Store& store, const Words& words, Clock clock, std::string& reply) {
    ExpireConditions conditions;
    if (!conditions.parse(words, reply)) return;
    auto when = to_expiry(store, words[2], clock, words[0], reply);
    if (!when) return;
    const Store::Value* value = store.find(words[1]);
    bool changes = value && conditions.allow(value->expires, *when);
    if (changes) expire_at(store, words[1], *when);
    reply_integer(reply, changes ? 1 : 0);
}

inline void expire(Store& store, const Words& words, std::string& reply) {
    expire_with(store, words, {1000, false}, reply);
}
inline void pexpire(Store& store, const Words& words, std::string& reply) {
    expire_with(store, words, {1, false}, reply);
}
inline void expireat(Store& store, const Words& words, std::string& reply) {
    expire_with(store, words, {1000, true}, reply);
}
inline void pexpireat(Store& store, const Words& words, std::string& reply) {
    expire_with(store, words, {1, true}, reply);
}

inline void persist(Store& store, const Words& words, std::string& reply) {
    const Store::Value* value = store.find(words[1]);
    bool changes = value && value->expires != 0;
    if (changes) store.set_expiry(words[1], 0);
    reply_integer(reply, changes ? 1 : 0);
}

/// How long a key has left. Whether it is there is for the store to say; how late it is, for the
/// clock of the replica that is asked, since the store's stands still while nobody writes.
inline std::int64_t time_to_live(const Store& store, std::string_view key) {
    const Store::Value* value = store.find(key);
    if (!value) return -2;
    if (value->expires == 0) return -1;
    using namespace std::chrono;
    auto wall = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
    auto now = std::max(wall, static_cast<std::int64_t>(store.time()));
    return std::max<std::int64_t>(static_cast<std::int64_t>(value->expires) - now, 0);
}

inline void ttl(Store& store, const Words& words, std::string& reply) {
    std::int64_t left = time_to_live(store, words[1]);
    reply_integer(reply, left < 0 ? left : (left + 500) / 1000);
}
inline void pttl(Store& store, const Words& words, std::string& reply) {
    reply_integer(reply, time_to_live(store, words[1]));
}

// ----- Values ------------------------------------------------------------------------------------

inline void get(Store& store, const Words& words, std::string& reply) {
    reply_value(reply, store.find(words[1]));
}

/// What follows the value in SET.
struct SetOptions {
    bool nx = false, xx = false, get = false, keep = false;
    std::optional<Clock> clock = std::nullopt;
    std::string_view when = {};

    bool parse(const Words& words) {
        for (std::size_t i = 3; i < words.size(); ++i) {
            std::string_view word = words[i];
            if (equals_nocase(word, "nx"))
                nx = true;
            else if (equals_nocase(word, "xx"))
                xx = true;
            else if (equals_nocase(word, "get"))
                get = true;
            else if (equals_nocase(word, "keepttl") && !clock)
                keep = true;
            else if (i + 1 == words.size() || keep || !set_clock(word))
                return false;
            else
                when = words[++i];
        }
        return !(nx && xx);
    }

    /// The same unit may come twice, and the last one counts; another may not.
    bool set_clock(std::string_view word) {
        std::optional<Clock> said;
        if (equals_nocase(word, "ex")) said = {1000, false};
        if (equals_nocase(word, "px")) said = {1, false};
        if (equals_nocase(word, "exat")) said = {1000, true};
        if (equals_nocase(word, "pxat")) said = {1, true};
        if (!said || (clock && *clock != *said)) return false;
        clock = said;
        return true;
    }
};

/// The time that a SET gives a key, which must lie after 1970 and, if it counts from now, after
/// now.
inline std::optional<std::int64_t> set_expiry(const Store& store, const SetOptions& options,
                                              std::string_view command, std::string& reply) {
    auto value = to_integer(options.when);
    if (value && *value <= 0) {
        reply_error(reply, "ERR invalid expire time in '" + lower(command) + "' command");
        return std::nullopt;
    }
    return to_expiry(store, options.when, *options.clock, command, reply);
}

inline void set(Store& store, const Words& words, std::string& reply) {
    SetOptions options;
    if (!options.parse(words)) return reply_error(reply, syntax_error);
    std::optional<std::int64_t> when;
    if (options.clock && !(when = set_expiry(store, options, words[0], reply))) return;
    bool looks = options.nx || options.xx || options.get || options.keep;
    const Store::Value* old = looks ? store.find(words[1]) : nullptr;
    bool sets = !(options.nx && old) && !(options.xx && !old);
    if (options.get)
        reply_value(reply, old);
    else
        sets ? reply_ok(reply) : reply_nil(reply);
    if (!sets) return;
    store.set(words[1], words[2], options.keep && old ? old->expires : 0);
    if (when) expire_at(store, words[1], *when);
}

inline void set_for(Store& store, const Words& words, Clock clock, std::string& reply) {
    SetOptions options{.clock = clock, .when = words[2]};
    auto when = set_expiry(store, options, words[0], reply);
    if (!when) return;
    store.set(words[1], words[3], 0);
    expire_at(store, words[1], *when);
    reply_ok(reply);
}
inline void setex(Store& store, const Words& words, std::string& reply) {
    set_for(store, words, {1000, false}, reply);
}
inline void psetex(Store& store, const Words& words, std::string& reply) {
    set_for(store, words, {1, false}, reply);
}

inline void setnx(Store& store, const Words& words, std::string& reply) {
    bool sets = !store.find(words[1]);
    if (sets) store.set(words[1], words[2], 0);
    reply_integer(reply, sets ? 1 : 0);
}

inline void getset(Store& store, const Words& words, std::string& reply) {
    reply_value(reply, store.find(words[1]));
    store.set(words[1], words[2], 0);
}

inline void getdel(Store& store, const Words& words, std::string& reply) {
    reply_value(reply, store.find(words[1]));
    store.erase(words[1]);
}

inline void del(Store& store, const Words& words, std::string& reply) {
    std::int64_t count = 0;
    for (std::size_t i = 1; i < words.size(); ++i) count += store.erase(words[i]) ? 1 : 0;
    reply_integer(reply, count);
}

inline void exists(Store& store, const Words& words, std::string& reply) {
    std::int64_t count = 0;
    for (std::size_t i = 1; i < words.size(); ++i) count += store.find(words[i]) ? 1 : 0;
    reply_integer(reply, count);
}

inline void type(Store& store, const Words& words, std::string& reply) {
    reply_simple(reply, store.find(words[1]) ? "string" : "none");
}

inline void add(Store& store, std::string_view key, std::int64_t summand, std::string& reply) {
    const Store::Value* old = store.find(key);
    auto value = old ? to_integer(Store::view(old->text)) : 0;
    if (!value) return reply_error(reply, not_an_integer);
    std::int64_t sum = 0;
    if (__builtin_add_overflow(*value, summand, &sum))
        return reply_error(reply, "ERR increment or decrement would overflow");
    store.set(key, std::to_string(sum), old ? old->expires : 0);
    reply_integer(reply, sum);
}

inline void incr(Store& store, const Words& words, std::string& reply) {
    add(store, words[1], 1, reply);
}
inline void decr(Store& store, const Words& words, std::string& reply) {
    add(store, words[1], -1, reply);
}
inline void incrby(Store& store, const Words& words, std::string& reply) {
    auto summand = to_integer(words[2]);
    summand ? add(store, words[1], *summand, reply) : reply_error(reply, not_an_integer);
}
inline void decrby(Store& store, const Words& words, std::string& reply) {
    auto summand = to_integer(words[2]);
    if (!summand) return reply_error(reply, not_an_integer);
    if (*summand == std::numeric_limits<std::int64_t>::min())
        return reply_error(reply, "ERR decrement would overflow");
    add(store, words[1], -*summand, reply);
}

inline void append(Store& store, const Words& words, std::string& reply) {
    const Store::Value* old = store.find(words[1]);
    if (old && old->text.size() + words[2].size() > value_bytes_max)
        return reply_error(reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    reply_integer(reply, static_cast<std::int64_t>(store.append(words[1], words[2])));
}

inline void strlen(Store& store, const Words& words, std::string& reply) {
    const Store::Value* value = store.find(words[1]);
    reply_integer(reply, value ? static_cast<std::int64_t>(value->text.size()) : 0);
}

inline void mget(Store& store, const Words& words, std::string& reply) {
    // A value may be asked for many times, so that a small request has a reply as large as you
    // like.
    std::size_t bytes = 0;
    for (std::size_t i = 1; i < words.size(); ++i)
        if (const Store::Value* value = store.find(words[i])) bytes += value->text.size();
    if (bytes > reply_bytes_max) return reply_error(reply, "ERR the reply would be too large");
    reply_array(reply, words.size() - 1);
    for (std::size_t i = 1; i < words.size(); ++i) reply_value(reply, store.find(words[i]));
}

inline void mset(Store& store, const Words& words, std::string& reply) {
    if (words.size() % 2 == 0) return reply_arity(reply, words[0]);
    for (std::size_t i = 1; i < words.size(); i += 2) store.set(words[i], words[i + 1], 0);
    reply_ok(reply);
}

inline void msetnx(Store& store, const Words& words, std::string& reply) {
    if (words.size() % 2 == 0) return reply_arity(reply, words[0]);
    for (std::size_t i = 1; i < words.size(); i += 2)
        if (store.find(words[i])) return reply_integer(reply, 0);
    for (std::size_t i = 1; i < words.size(); i += 2) store.set(words[i], words[i + 1], 0);
    reply_integer(reply, 1);
}

// ----- The whole store ---------------------------------------------------------------------------

inline void dbsize(Store& store, const Words&, std::string& reply) {
    reply_integer(reply, static_cast<std::int64_t>(store.size()));
}

inline void flushall(Store& store, const Words& words, std::string& reply) {
    bool mode =
        words.size() == 2 && (equals_nocase(words[1], "sync") || equals_nocase(words[1], "async"));
    if (words.size() > 1 && !mode) return reply_error(reply, syntax_error);
    store.clear();
    reply_ok(reply);
}

inline void reply_keys(std::string& reply, const std::vector<std::string_view>& keys) {
    reply_array(reply, keys.size());
    for (std::string_view key : keys) reply_bulk(reply, key);
}

inline void keys(Store& store, const Words& words, std::string& reply) {
    std::vector<std::string_view> found;
    store.scan(0, std::numeric_limits<std::size_t>::max(), [&](std::string_view key) {
        if (matches(words[1], key)) found.push_back(key);
    });
    reply_keys(reply, found);
}

inline void scan(Store& store, const Words& words, std::string& reply) {
    std::string text(words[1]);
    char* end = nullptr;
    errno = 0;
    std::uint64_t cursor = std::strtoull(text.c_str(), &end, 10);  // As Redis does; "" is 0.
    bool blank = std::isspace(static_cast<unsigned char>(text.c_str()[0])) != 0;
    if (blank || *end != 0 || errno == ERANGE) return reply_error(reply, "ERR invalid cursor");
    std::int64_t count = 10;
    std::string_view pattern = "*";
    bool strings = true;  // TYPE may ask for others, of which there are none.
    for (std::size_t i = 2; i < words.size(); i += 2) {
        if (i + 1 == words.size()) return reply_error(reply, syntax_error);
        if (equals_nocase(words[i], "count")) {
            auto value = to_integer(words[i + 1]);
            if (!value) return reply_error(reply, not_an_integer);
            if ((count = *value) < 1) return reply_error(reply, syntax_error);
        } else if (equals_nocase(words[i], "match")) {
            pattern = words[i + 1];
        } else if (equals_nocase(words[i], "type")) {
            strings = equals_nocase(words[i + 1], "string");
        } else {
            return reply_error(reply, syntax_error);
        }
    }
    std::vector<std::string_view> found;
    cursor = store.scan(cursor, static_cast<std::size_t>(count), [&](std::string_view key) {
        if (strings && matches(pattern, key)) found.push_back(key);
    });
    reply_array(reply, 2);
    reply_bulk(reply, std::to_string(cursor));
    reply_keys(reply, found);
}

}  // namespace commands

// ===== The table =================================================================================

/// Sorted by name, so that it can be searched.
inline constexpr CommandSpec command_table[] = {
    {"append", 3, Kind::write, commands::append, 1, 1, 1, true},
    {"auth", -2, Kind::server},
    {"client", -2, Kind::server},
    {"cluster", -2, Kind::server},
    {"command", -1, Kind::server},
    {"config", -2, Kind::server},
    {"dbsize", 1, Kind::read, commands::dbsize},
    {"decr", 2, Kind::write, commands::decr, 1, 1, 1, true},
    {"decrby", 3, Kind::write, commands::decrby, 1, 1, 1, true},
    {"del", -2, Kind::write, commands::del, 1, -1, 1},
    {"echo", 2, Kind::server},
    {"exists", -2, Kind::read, commands::exists, 1, -1, 1},
    {"expire", -3, Kind::write, commands::expire, 1, 1, 1},
    {"expireat", -3, Kind::write, commands::expireat, 1, 1, 1},
    {"flushall", -1, Kind::write, commands::flushall},
    {"flushdb", -1, Kind::write, commands::flushall},
    {"get", 2, Kind::read, commands::get, 1, 1, 1},
    {"getdel", 2, Kind::write, commands::getdel, 1, 1, 1},
    {"getset", 3, Kind::write, commands::getset, 1, 1, 1, true},
    {"hello", -1, Kind::server},
    {"incr", 2, Kind::write, commands::incr, 1, 1, 1, true},
    {"incrby", 3, Kind::write, commands::incrby, 1, 1, 1, true},
    {"info", -1, Kind::server},
    {"keys", 2, Kind::read, commands::keys},
    {"mget", -2, Kind::read, commands::mget, 1, -1, 1},
    {"mset", -3, Kind::write, commands::mset, 1, -1, 2, true},
    {"msetnx", -3, Kind::write, commands::msetnx, 1, -1, 2, true},
    {"persist", 2, Kind::write, commands::persist, 1, 1, 1},
    {"pexpire", -3, Kind::write, commands::pexpire, 1, 1, 1},
    {"pexpireat", -3, Kind::write, commands::pexpireat, 1, 1, 1},
    {"ping", -1, Kind::server},
    {"psetex", 4, Kind::write, commands::psetex, 1, 1, 1, true},
    {"pttl", 2, Kind::read, commands::pttl, 1, 1, 1},
    {"quit", -1, Kind::server},
    {"raft", -2, Kind::server},
    {"reset", 1, Kind::server},
    {"scan", -2, Kind::read, commands::scan},
    {"select", 2, Kind::server},
    {"set", -3, Kind::write, commands::set, 1, 1, 1, true},
    {"setex", 4, Kind::write, commands::setex, 1, 1, 1, true},
    {"setnx", 3, Kind::write, commands::setnx, 1, 1, 1, true},
    {"strlen", 2, Kind::read, commands::strlen, 1, 1, 1},
    {"ttl", 2, Kind::read, commands::ttl, 1, 1, 1},
    {"type", 2, Kind::read, commands::type, 1, 1, 1},
    {"unlink", -2, Kind::write, commands::del, 1, -1, 1},
};
static_assert(std::ranges::is_sorted(command_table, {}, &CommandSpec::name));

/// Nothing if there is no such command. However it is written, in capitals or not.
inline const CommandSpec* find_command(std::string_view name) {
    char text[16];
    if (name.size() > sizeof(text)) return nullptr;
    for (std::size_t i = 0; i < name.size(); ++i)
        text[i] = name[i] >= 'A' && name[i] <= 'Z' ? static_cast<char>(name[i] | 0x20) : name[i];
    std::string_view key(text, name.size());
    auto found = std::ranges::lower_bound(command_table, key, {}, &CommandSpec::name);
    return found != std::end(command_table) && found->name == key ? found : nullptr;
}

inline bool fits(const CommandSpec& spec, std::size_t words) {
    auto count = static_cast<int>(words);
    return spec.arity >= 0 ? count == spec.arity : count >= -spec.arity;
}

/// As Redis tells of a command that it does not know.
inline void reply_unknown_command(std::string& reply, const Words& words) {
    auto shown = [](std::string_view word, std::size_t max) {  // Up to a NUL byte, if it has one.
        return std::string(word.substr(0, std::min(max, word.find('\0'))));
    };
    std::string text =
        "ERR unknown command '" + shown(words[0], 128) + "', with args beginning with: ";
    std::size_t begin = text.size();
    for (std::size_t i = 1; i < words.size() && text.size() - begin < 128; ++i)
        text += "'" + shown(words[i], 128 - (text.size() - begin)) + "' ";
    reply_error(reply, text);
}

}  // namespace kv

#endif  // KV_COMMANDS_HPP
