// Numbers and strings of bytes, one after the other: how commands, snapshots and messages are
// written, on the wire and on disk.
//
// The bytes are MessagePack, by msgpack-cxx. Of Debian's libraries it was chosen because its parser
// calls back with views into the bytes it is given: it allocates nothing, whatever lengths hostile
// bytes claim, and leaves it to the Reader below to admit the two kinds of token that exist here.
// So there is no nesting to exhaust a stack with and no array to reserve memory for. Protobuf and
// FlatBuffers are as robust, but want a code generator in the build; cereal and Boost.Serialization
// do not promise to survive bytes that somebody made up; JSON in binary copies each string into a
// tree first.
#ifndef KV_PACKED_HPP
#define KV_PACKED_HPP

#include <cstdint>
#include <string>
#include <string_view>

#define MSGPACK_NO_BOOST
#include <msgpack.hpp>

namespace kv {

/// Appends to a string that outlives it.
class Writer {
 public:
    explicit Writer(std::string& out) : sink_{&out}, packer_(sink_) {}

    Writer& number(std::uint64_t value) {
        packer_.pack_uint64(value);
        return *this;
    }

    /// Less than 4 GiB, which every limit of this program is far below.
    Writer& bytes(std::string_view value) {
        packer_.pack_bin(static_cast<std::uint32_t>(value.size()));
        packer_.pack_bin_body(value.data(), static_cast<std::uint32_t>(value.size()));
        return *this;
    }

 private:
    struct Sink {
        std::string* out;
        void write(const char* data, std::size_t size) { out->append(data, size); }
    };

    Sink sink_;
    msgpack::packer<Sink> packer_;
};

/// Reads what a Writer wrote, in the same order. The first token that is missing, torn or of
/// another kind makes it fail for good: from then on it gives zeros and empty strings, so a caller
/// may read on and ask once, at the end. It never throws and never reads past the bytes.
class Reader {
 public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}

    std::uint64_t number() {
        Token token = next();
        return token.kind == Token::is_number ? token.value : fail().value;
    }

    /// For numbers that stand for one of few things.
    std::uint64_t number_below(std::uint64_t bound) {
        std::uint64_t value = number();
        return value < bound ? value : fail().value;
    }

    /// A view into the bytes that are read. More than `max` of them make no sense.
    std::string_view bytes(std::size_t max = std::string_view::npos) {
        Token token = next();
        bool fits = token.kind == Token::is_bytes && token.view.size() <= max;
        return fits ? token.view : fail().view;
    }

    /// Each item takes a byte at least, so no more than this many can follow: what a count that was
    /// read must not exceed before anything is reserved for it.
    std::uint64_t remaining() const { return rest_.size(); }

    bool failed() const { return failed_; }
    /// All was read, and all made sense.
    bool complete() const { return !failed_ && rest_.empty(); }

 private:
    struct Token : msgpack::null_visitor {
        enum Kind { other, is_number, is_bytes } kind = other;
        std::uint64_t value = 0;
        std::string_view view = {};

        bool visit_positive_integer(std::uint64_t v) {
            kind = is_number;
            value = v;
            return true;
        }
        bool visit_bin(const char* v, std::uint32_t size) {
            kind = is_bytes;
            view = {v, size};
            return true;
        }
        bool start_array(std::uint32_t) { return false; }
        bool start_map(std::uint32_t) { return false; }
    };

    Token next() {
        Token token;
        std::size_t used = 0;
        if (failed_ || !msgpack::parse(rest_.data(), rest_.size(), used, token)) return fail();
        rest_.remove_prefix(used);
        return token;
    }

    Token fail() {
        failed_ = true;
        rest_ = {};
        return {};
    }

    std::string_view rest_;
    bool failed_ = false;
};

}  // namespace kv

#endif  // KV_PACKED_HPP
