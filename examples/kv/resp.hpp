// RESP2, the protocol of Redis: requests that are parsed as their bytes arrive, and replies.
#ifndef KV_RESP_HPP
#define KV_RESP_HPP

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kv {

/// A request's words, its command first. Views into the bytes that were parsed.
using Words = std::vector<std::string_view>;

/// An integer as Redis takes one: nothing before or after it, no plus, no zeros that lead.
inline std::optional<std::int64_t> to_integer(std::string_view text) {
    std::int64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    std::string_view digits = text.substr(text.front() == '-' ? 1 : 0);
    bool canonical = digits.front() != '0' || text == "0";
    return canonical ? std::optional(value) : std::nullopt;
}

// ===== Replies ===================================================================================
// Each appends one reply, or the head of one, to a string.

inline void reply_line(std::string& out, char kind, std::string_view text) {
    out += kind;
    out += text;
    out += "\r\n";
}

inline void reply_number(std::string& out, char kind, std::int64_t value) {
    char digits[24];
    auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
    reply_line(out, kind, {digits, static_cast<std::size_t>(end - digits)});
}

inline void reply_simple(std::string& out, std::string_view text) { reply_line(out, '+', text); }
inline void reply_ok(std::string& out) { reply_simple(out, "OK"); }
inline void reply_integer(std::string& out, std::int64_t value) { reply_number(out, ':', value); }
inline void reply_nil(std::string& out) { out += "$-1\r\n"; }
inline void reply_array(std::string& out, std::size_t count) {
    reply_number(out, '*', static_cast<std::int64_t>(count));
}

inline void reply_bulk(std::string& out, std::string_view text) {
    reply_number(out, '$', static_cast<std::int64_t>(text.size()));
    out += text;
    out += "\r\n";
}

/// The text begins with the kind of error, as in "ERR syntax error". Line breaks in it, which a
/// client's own words may bring in, would end it early.
inline void reply_error(std::string& out, std::string_view text) {
    while (text.ends_with('\r') || text.ends_with('\n')) text.remove_suffix(1);
    std::size_t begin = out.size();
    reply_line(out, '-', text);
    for (std::size_t i = begin; i + 2 < out.size(); ++i)
        if (out[i] == '\r' || out[i] == '\n') out[i] = ' ';
}

// ===== Requests ==================================================================================

/// How large a request may be. What exceeds it is a protocol error, as in Redis.
struct RequestLimits {
    std::uint64_t words = 1024 * 1024;
    std::uint64_t word_bytes = 16 * 1024 * 1024;
    std::uint64_t bytes = 16 * 1024 * 1024;  ///< Of all words together.
};

/// Redis' limits for who has not given the password yet.
inline constexpr RequestLimits limits_before_auth{10, 16 * 1024, 64 * 1024};

/// Parses one request after the other out of bytes that arrive in pieces. It keeps its place within
/// a request, so that what arrived is looked at once, however small the pieces.
///
///     while (parser.parse(buffer, limits) == RequestParser::complete) {
///         ... parser.words() ...
///         drop the first parser.size() bytes of the buffer; parser.next();
///     }
///
/// The buffer may move and grow between two calls, but must begin with the same bytes until next().
class RequestParser {
 public:
    enum Result { incomplete, complete, failed };

    Result parse(std::string_view buffer, const RequestLimits& limits) {
        if (state_ == State::start && !begin(buffer)) return incomplete;
        if (state_ == State::line) return parse_line(buffer, limits);
        if (state_ == State::count && !parse_count(buffer, limits)) return result();
        while (places_.size() < count_)
            if (!parse_word(buffer, limits)) return result();
        words_.clear();
        for (const Place& place : places_) words_.push_back(buffer.substr(place.at, place.size));
        return complete;
    }

    /// Those of a complete request, none if it was blank. Views into the buffer of that call.
    const Words& words() const { return words_; }
    /// How many bytes it took.
    std::size_t size() const { return at_; }
    /// After `failed`, which is final: what is wrong, in Redis' words.
    const std::string& error() const { return error_; }

    /// Goes on to the next request.
    void next() {
        state_ = State::start;
        at_ = count_ = bytes_ = 0;
        length_.reset();
        places_.clear();
        words_.clear();
        line_.clear();
        if (bytes_kept() <= 16 * 1024) return;
        places_ = std::vector<Place>();
        words_ = Words();
    }

    /// The memory that it takes for the places of a request's words.
    std::size_t bytes_kept() const {
        return places_.capacity() * sizeof(Place) + words_.capacity() * sizeof(words_[0]);
    }

 private:
    enum class State { start, line, count, words };
    struct Place {
        std::size_t at, size;
    };
    static constexpr std::size_t line_max = 64 * 1024;

    Result result() const { return error_.empty() ? incomplete : failed; }

    bool fail(std::string_view text) {
        error_ = "ERR Protocol error: " + std::string(text);
        return false;
    }

    bool begin(std::string_view buffer) {
        if (buffer.empty()) return false;
        state_ = buffer[0] == '*' ? State::count : State::line;
        return true;
    }

    /// The line from `from` on, without its end, after which at_ stands then. Nothing while the
    /// rest of it has not arrived.
    std::optional<std::string_view> take_line(std::string_view buffer, std::size_t from,
                                              std::string_view too_long) {
        std::size_t end = buffer.find('\n', searched_ > from ? searched_ : from);
        searched_ = end == buffer.npos ? buffer.size() : 0;
        std::size_t length = (end == buffer.npos ? buffer.size() : end) - from;
        if (length > line_max) fail(too_long);
        if (end == buffer.npos || !error_.empty()) return std::nullopt;
        at_ = end + 1;
        std::string_view line = buffer.substr(from, length);
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        return line;
    }

    bool parse_count(std::string_view buffer, const RequestLimits& limits) {
        auto line = take_line(buffer, 1, "too big mbulk count string");
        if (!line) return false;
        auto count = to_integer(*line);
        if (!count || *count > std::numeric_limits<std::int32_t>::max())
            return fail("invalid multibulk length");
        std::uint64_t words = *count > 0 ? static_cast<std::uint64_t>(*count) : 0;
        if (words > limits.words)
            return fail(limits.words == limits_before_auth.words
                            ? "unauthenticated multibulk length"
                            : "invalid multibulk length");
        count_ = words;
        state_ = State::words;
        return true;
    }

    bool parse_word(std::string_view buffer, const RequestLimits& limits) {
        if (!length_ && !parse_length(buffer, limits)) return false;
        if (buffer.size() - at_ < *length_ + 2) return false;
        places_.push_back({at_, *length_});
        at_ += *length_ + 2;
        length_.reset();
        return true;
    }

    bool parse_length(std::string_view buffer, const RequestLimits& limits) {
        if (at_ == buffer.size()) return false;
        if (buffer[at_] != '$')
            return fail("expected '$', got '" + std::string(1, buffer[at_]) + "'");
        auto line = take_line(buffer, at_ + 1, "too big bulk count string");
        if (!line) return false;
        auto length = to_integer(*line);
        if (!length || *length < 0) return fail("invalid bulk length");
        auto bytes = static_cast<std::uint64_t>(*length);
        if (bytes > limits.word_bytes)
            return fail(limits.word_bytes == limits_before_auth.word_bytes
                            ? "unauthenticated bulk length"
                            : "invalid bulk length");
        bytes_ += bytes;
        if (bytes_ > limits.bytes) return fail("request is too large");
        length_ = bytes;
        return true;
    }

    // ----- Requests typed by hand: one line, words in quotes where they contain blanks
    // ------------

    Result parse_line(std::string_view buffer, const RequestLimits& limits) {
        auto line = take_line(buffer, 0, "too big inline request");
        if (!line) return result();
        line_.assign(*line);
        std::vector<Place> places;
        std::string text;
        if (!split(line_, text, places)) {
            fail("unbalanced quotes in request");
            return failed;
        }
        if (places.size() > limits.words) {
            fail("unauthenticated multibulk length");
            return failed;
        }
        line_ = std::move(text);
        words_.clear();
        for (const Place& place : places)
            words_.push_back(std::string_view(line_).substr(place.at, place.size));
        return complete;
    }

    static int hex(char c) {
        if (c >= '0' && c <= '9') return c - '0';
        c = static_cast<char>(c | 0x20);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    }

    static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f' || c == 0;
    }

    /// One character in double quotes, where a backslash may stand for another.
    static char unescape(std::string_view line, std::size_t& i) {
        char c = line[i++];
        if (c != '\\' || i == line.size()) return c;
        if (line[i] == 'x' && i + 2 < line.size() && hex(line[i + 1]) >= 0 &&
            hex(line[i + 2]) >= 0) {
            i += 3;
            return static_cast<char>(hex(line[i - 2]) * 16 + hex(line[i - 1]));
        }
        switch (c = line[i++]) {
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'b':
                return '\b';
            case 'a':
                return '\a';
            default:
                return c;
        }
    }

    /// What a quote at line[i] begins, up to the quote that ends it, behind which a blank must
    /// follow. False if it does not end well.
    static bool unquote(std::string_view line, std::size_t& i, std::string& text) {
        char quote = line[i++];
        while (i < line.size() && line[i] != quote) {
            bool escaped = quote == '\'' && line.substr(i, 2) == "\\'";
            if (escaped) ++i;
            text += quote == '"' ? unescape(line, i) : line[i++];
        }
        if (i >= line.size()) return false;
        ++i;
        return i == line.size() || is_blank(line[i]);
    }

    static bool split(std::string_view line, std::string& text, std::vector<Place>& places) {
        for (std::size_t i = 0;;) {
            while (i < line.size() && is_blank(line[i])) ++i;
            if (i == line.size()) return true;
            std::size_t begin = text.size();
            while (i < line.size() && !is_blank(line[i])) {
                if (line[i] != '"' && line[i] != '\'')
                    text += line[i++];
                else if (!unquote(line, i, text))
                    return false;
            }
            places.push_back({begin, text.size() - begin});
        }
    }

    State state_ = State::start;
    std::size_t at_ = 0;        // How far the request was parsed.
    std::size_t searched_ = 0;  // Before here there is no end of the line that is looked for.
    std::uint64_t count_ = 0;   // Words that the request announced.
    std::uint64_t bytes_ = 0;   // Of the words so far.
    std::optional<std::size_t> length_;  // Of the word that comes next.
    std::vector<Place> places_;
    Words words_;
    std::string line_;
    std::string error_;
};

}  // namespace kv

#endif  // KV_RESP_HPP
