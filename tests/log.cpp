// detail::Log, and what it is made with, against tables.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace support;
using lr::LogPosition;
using Log = lr::Log<lr::Entry<Command>, 3>;  // In small chunks, so that they matter.
using Terms = std::vector<std::uint64_t>;

LogPosition at(std::uint64_t index, std::uint64_t term) { return {Term{term}, Index{index}}; }

/// Entries of these terms behind that place; the ids are the indexes.
Log log_of(LogPosition base, const Terms& terms) {
    Log log;
    log.compact(base);
    for (const Entry& entry : entries_of_terms(terms, base.index.value + 1))
        log.append(Entry(entry));
    return log;
}

std::uint64_t id_of(const Entry& entry) { return std::get<Command>(entry.command).id; }

/// Base, terms and ids, which must be the indexes still.
void check_log(const Log& log, LogPosition base, const Terms& terms) {
    CHECK(log.base == base);
    CHECK(log.base.index + 1 == base.index + 1);
    CHECK(log.last.index == base.index + terms.size());
    CHECK(log.last.term == (terms.empty() ? base.term : Term{terms.back()}));
    for (std::size_t i = 0; i < terms.size(); ++i) {
        Index index = base.index + 1 + i;
        CHECK(log[index].term == Term{terms[i]});
        CHECK(id_of(log[index]) == index.value);
    }
}

const LogPosition start = at(0, 0);
const LogPosition late = at(10, 3);

}  // namespace

TEST_CASE("a log begins empty, at the place before the first entry") {
    Log log;
    check_log(log, start, {});
    CHECK(log.holds(start));
}

TEST_CASE("entries follow each other behind the base") {
    check_log(log_of(start, {1}), start, {1});
    check_log(log_of(start, {1, 1, 4}), start, {1, 1, 4});
    check_log(log_of(late, {}), late, {});
    check_log(log_of(late, {3, 4, 4, 7}), late, {3, 4, 4, 7});
}

TEST_CASE("the term of a place is known from the base to the end") {
    Log log = log_of(late, {3, 5, 5});
    struct Row {
        std::uint64_t index;
        std::optional<Term> term;
    };
    for (Row row : {Row{0, {}},
                    {9, {}},
                    {10, Term{3}},
                    {11, Term{3}},
                    {12, Term{5}},
                    {13, Term{5}},
                    {14, {}},
                    {1000, {}},
                    {~std::uint64_t{0}, {}}}) {
        CAPTURE(row.index);
        if (row.term) CHECK(log[Index{row.index}].term == *row.term);
        for (std::uint64_t term = 0; term < 7; ++term) {
            CHECK(log.holds(at(row.index, term)) == (row.term == Term{term}));
        }
    }
}

TEST_CASE("the last place not after an index, of a term not above another") {
    struct Row {
        LogPosition base;
        Terms terms;
        std::uint64_t index, term;
        LogPosition expected;
    };
    const Terms terms{1, 1, 1, 4, 4, 5, 5, 6};
    const std::vector<Row> table{
        {start, {}, 0, 0, start},
        {start, {}, 9, 9, start},
        {start, terms, 8, 6, at(8, 6)},
        {start, terms, 100, 100, at(8, 6)},  // Clamped to the end.
        {start, terms, 8, 5, at(7, 5)},      // Over a term at once.
        {start, terms, 8, 4, at(5, 4)},
        {start, terms, 8, 3, at(3, 1)},
        {start, terms, 8, 2, at(3, 1)},
        {start, terms, 8, 1, at(3, 1)},
        {start, terms, 8, 0, start},
        {start, terms, 4, 9, at(4, 4)},  // The index binds.
        {start, terms, 4, 4, at(4, 4)},
        {start, terms, 4, 3, at(3, 1)},
        {start, terms, 2, 1, at(2, 1)},
        {start, terms, 0, 9, start},
        {late, {3, 5, 5}, 13, 5, at(13, 5)},
        {late, {3, 5, 5}, 13, 4, at(11, 3)},
        {late, {3, 5, 5}, 13, 2, late},  // At worst the base, whatever its term.
        {late, {3, 5, 5}, 4, 9, late},   // Clamped to the base.
        {late, {}, 13, 9, late},
        {late, {}, 0, 0, late},
    };
    for (const Row& row : table) {
        CAPTURE(row.base.index.value);
        CAPTURE(row.index);
        CAPTURE(row.term);
        CHECK(log_of(row.base, row.terms).last_not_after({Term{row.term}, Index{row.index}}) ==
              row.expected);
    }
}

TEST_CASE("truncation drops an entry and all behind it") {
    for (LogPosition base : {start, late}) {
        Terms terms{3, 5, 5, 6};
        for (std::uint64_t kept = 0; kept <= 4; ++kept) {
            CAPTURE(base.index.value);
            CAPTURE(kept);
            Log log = log_of(base, terms);
            log.truncate_from(base.index + 1 + kept);
            Terms rest(terms.begin(), terms.begin() + static_cast<std::ptrdiff_t>(kept));
            check_log(log, base, rest);
        }
    }
}

TEST_CASE("compaction drops an entry that is held and all before it, or else everything") {
    struct Row {
        const char* name;
        LogPosition to;
        Terms rest;
    };
    const Terms terms{3, 5, 5, 6};
    for (const Row& row : {Row{"the base", at(10, 3), {3, 5, 5, 6}},
                           {"the first", at(11, 3), {5, 5, 6}},
                           {"in the middle", at(13, 5), {6}},
                           {"the last", at(14, 6), {}},
                           {"behind the last", at(15, 6), {}},
                           {"far behind the last", at(1000, 9), {}},
                           {"another term at the base", at(10, 2), {}},
                           {"an older term in the middle", at(13, 4), {}},
                           {"a newer term in the middle", at(12, 6), {}},
                           {"another term at the end", at(14, 7), {}}}) {
        CAPTURE(std::string(row.name));
        Log log = log_of(late, terms);
        log.compact(row.to);
        check_log(log, row.to, row.rest);
        log.append({Term{9}, Command{log.last.index.value + 1, 0}});
        Terms more = row.rest;
        more.push_back(9);
        check_log(log, row.to, more);
    }
}

TEST_CASE("regression: what was compacted was kept until its whole chunk could go") {
    struct Shared {
        std::shared_ptr<int> owned;
        std::uint64_t get_id() const { return 0; }
    };
    lr::Log<lr::Entry<Shared>> log;
    std::vector<std::shared_ptr<int>> payloads;
    for (int i = 0; i < 10; ++i) {
        payloads.push_back(std::make_shared<int>(i));
        log.append({Term{1}, Shared{payloads.back()}});
    }
    for (std::uint64_t base : {4U, 7U, 10U}) {
        log.compact(at(base, 1));
        for (std::uint64_t i = 1; i <= 10; ++i)
            CHECK(payloads[i - 1].use_count() == (i <= base ? 1 : 2));
    }
    CHECK(log.holds(at(10, 1)));
}

namespace {

struct Sized {
    std::uint64_t size = 0;
    std::uint64_t get_id() const { return size; }
    std::uint64_t get_size() const { return size; }
};
constexpr std::uint64_t head = sizeof(lr::Entry<Sized>);

}  // namespace

TEST_CASE("an entry has the bytes of its type and those that get_size() tells") {
    using lr::bytes_of;
    CHECK(bytes_of(lr::Entry<Sized>{Term{1}, Sized{0}}) == head);
    CHECK(bytes_of(lr::Entry<Sized>{Term{1}, Sized{77}}) == head + 77);
    CHECK(bytes_of(lr::Entry<Sized>{Term{1}, lr::Noop{}}) == head);
    CHECK(bytes_of(Entry{Term{1}, Command{77, 0}}) == sizeof(Entry));
    CHECK(bytes_of(Entry{Term{1}, lr::Noop{}}) == sizeof(Entry));
}

TEST_CASE("a slice has as many entries as fit, and at least one") {
    struct Row {
        std::uint64_t first, bytes_max, count, bytes;
    };
    // At 11, 12, 13 and 14.
    const std::uint64_t sizes[] = {10, 200, 30, 0};
    const std::uint64_t all = 4 * head + 240;
    const std::vector<Row> table{
        {11, 0, 1, head + 10},
        {11, 1, 1, head + 10},
        {11, head + 10, 1, head + 10},
        {11, 2 * head + 209, 1, head + 10},
        {11, 2 * head + 210, 2, 2 * head + 210},
        {11, all - 1, 3, 3 * head + 240},
        {11, all, 4, all},
        {11, ~std::uint64_t{0}, 4, all},
        {12, 1, 1, head + 200},
        {12, 2 * head + 229, 1, head + 200},
        {12, 2 * head + 230, 2, 2 * head + 230},
        {13, ~std::uint64_t{0}, 2, 2 * head + 30},
        {14, 1, 1, head},
        {15, 1, 0, 0},
        {15, ~std::uint64_t{0}, 0, 0},
    };
    lr::Log<lr::Entry<Sized>, 3> log;
    log.compact(late);
    for (std::uint64_t size : sizes) log.append({Term{3}, Sized{size}});
    for (const Row& row : table) {
        CAPTURE(row.first);
        CAPTURE(row.bytes_max);
        auto [entries, bytes] = log.slice(Index{row.first}, row.bytes_max);
        CHECK(bytes == row.bytes);
        REQUIRE(entries.size() == row.count);
        for (std::size_t i = 0; i < entries.size(); ++i) {
            CHECK(std::get<Sized>(entries[i].command).size == sizes[row.first - 11 + i]);
        }
    }
    CHECK(lr::Log<lr::Entry<Sized>, 3>{}.slice(Index{1}, 100).first.empty());
}

TEST_CASE("positions are in the order of their terms, then of their indexes") {
    const LogPosition ordered[] = {at(0, 0), at(5, 1), at(9, 1), at(2, 2), at(3, 2), at(1, 7)};
    for (std::size_t i = 0; i < 6; ++i) {
        for (std::size_t k = 0; k < 6; ++k) {
            CHECK((ordered[i] < ordered[k]) == (i < k));
            CHECK((ordered[i] >= ordered[k]) == (i >= k));
            CHECK((ordered[i] == ordered[k]) == (i == k));
        }
    }
}

TEST_CASE("data of single bytes are cut and joined, others are not") {
    using lr::detail::ByteString;
    static_assert(ByteString<std::string>);
    static_assert(ByteString<std::vector<char>>);
    static_assert(ByteString<std::vector<unsigned char>>);
    static_assert(ByteString<std::vector<std::byte>>);
    static_assert(!ByteString<std::vector<std::uint16_t>>);
    static_assert(!ByteString<std::u16string>);
    static_assert(!ByteString<int>);

    const std::string data = "0123456789";
    struct Row {
        std::uint64_t offset, max;
        const char* piece;
    };
    for (Row row : {Row{0, 4, "0123"},
                    {4, 4, "4567"},
                    {8, 4, "89"},
                    {8, 2, "89"},
                    {8, 1, "8"},
                    {0, 10, "0123456789"},
                    {0, ~std::uint64_t{0}, "0123456789"},
                    {10, 4, ""}}) {
        CAPTURE(row.offset);
        CAPTURE(row.max);
        std::string joined = "ab";
        lr::detail::add_chunk(joined, data, row.offset, row.max);
        CHECK(joined == "ab" + std::string(row.piece));
    }
    std::string joined;
    lr::detail::add_chunk(joined, std::string{}, 0, 4);
    CHECK(joined.empty());
    int whole = 1;
    lr::detail::add_chunk(whole, 7, 0, 1);
    CHECK(whole == 7);
    CHECK(lr::detail::size_in_chunks(data) == 10);
    CHECK(lr::detail::size_in_chunks(7) == 0);
}
