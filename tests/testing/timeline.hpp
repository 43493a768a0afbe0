// What one run did, as one HTML file to look at: time runs downwards, a line for each replica, an
// arrow for each message, and beside it the state of all replicas at the step one points to. The
// picture is plain SVG, so it tells its story with scripts off too; they add the state of steps
// other than the last, keys and highlights. Nothing is fetched from anywhere.
//
// All text of a record may come from a user's types, so all of it is escaped, whatever its bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

// Before record.hpp: the namespace little_raft::testing is declared in the library's inline one.
#include "little_raft.hpp"
#include "record.hpp"

namespace little_raft::testing {

// A file stays of a size that a browser can open, however long the run was: it shows the last
// steps, since there it went wrong, and of a step, a text or a log so much. A step takes 1 to 5 kB
// as a rule, so 1,000 of them a few megabytes. The replay alone is never cut.
inline constexpr std::size_t timeline_steps = 1000;   ///< Shown, at most; those before are counted.
inline constexpr std::size_t timeline_lines = 30;     ///< Lines of one step in the picture.
inline constexpr std::size_t timeline_events = 100;   ///< Events of one step in the panel.
inline constexpr std::size_t timeline_letters = 400;  ///< Of one text.
inline constexpr std::size_t timeline_entries = 64;   ///< The newest of each log.

namespace timeline {

using What = Record::What;
using State = Record::State;
using Event = Record::Event;

inline const char* style();  // The two long texts stand at the end.
inline const char* script();

/// Puts strings and numbers together.
template <class... Parts>
std::string text_of(const Parts&... parts) {
    std::string text;
    auto add = [&text](const auto& part) {
        if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(part)>>) {
            text += std::to_string(part);
        } else {
            text += part;
        }
    };
    (add(parts), ...);
    return text;
}

/// How many bytes the UTF-8 character there has, 0 if it is none that HTML and XML may hold.
inline std::size_t character_at(std::string_view text, std::size_t at) {
    auto byte = [&](std::size_t i) -> unsigned {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
    };
    const unsigned first = byte(0);
    if (first < 0x80) return (first >= 0x20 && first != 0x7f) || first == '\n' ? 1 : 0;
    if (first < 0xc2 || first > 0xf4) return 0;
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    unsigned code = first & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
        code = code << 6 | (byte(i) & 0x3f);
    }
    const bool too_long = code < (length == 4 ? 0x10000U : length == 3 ? 0x800U : 0x80U);
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool control = code < 0xa0 || (code & 0xfffe) == 0xfffe;
    return too_long || surrogate || control || code > 0x10ffff ? 0 : length;
}

/// For element content and for attributes, in HTML and in XML. Text of more than `most` characters
/// ends in an ellipsis.
inline std::string escaped(std::string_view text, std::size_t most = timeline_letters) {
    static constexpr std::string_view special = "&<>\"'";
    static constexpr const char* instead[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    std::string result;
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) {
        const std::size_t length = character_at(text, at);
        if (count + 1 >= most && at + std::max<std::size_t>(length, 1) < text.size()) {
            return result + "&#8230;";
        }
        const std::size_t which = special.find(text[at]);
        if (length == 0) {
            result += "&#65533;";
        } else if (which != std::string_view::npos) {
            result += instead[which];
        } else {
            result += text.substr(at, length);
        }
        at += std::max<std::size_t>(length, 1);
    }
    return result;
}

/// The characters of a text, for its width.
inline std::size_t letters(std::string_view text) {
    auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; };
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins));
}

/// Breaks a text between words, if need be within them, into a few lines.
inline std::vector<std::string> wrapped(std::string_view text, std::size_t width,
                                        std::size_t most) {
    std::vector<std::string> lines;
    while (!text.empty() && lines.size() + 1 < most && letters(text) > width) {
        std::size_t end = 0;
        for (std::size_t count = 0; end < text.size() && count < width; ++count) {
            end += std::max<std::size_t>(character_at(text, end), 1);
        }
        const std::size_t space = text.rfind(' ', end);
        if (space != std::string_view::npos && space > end / 2) end = space;
        lines.push_back(escaped(text.substr(0, end)));
        text.remove_prefix(std::min(text.size(), end + (end < text.size() && text[end] == ' ')));
    }
    if (!text.empty()) lines.push_back(escaped(text, width));
    return lines;
}

/// "AppendEntriesResponse" is "AER" on an arrow.
inline std::string abbreviation(std::string_view kind) {
    std::string capitals;
    for (char c : kind) {
        if (c >= 'A' && c <= 'Z') capitals += c;
    }
    return capitals.size() >= 2 ? capitals.substr(0, 5) : std::string(kind.substr(0, 5));
}

/// Its fields without the message's own term, which is told beside them.
inline std::string_view fields_of(const Record::Message& message) {
    std::string_view fields = message.fields;
    const std::string own = text_of("term ", message.term);
    if (fields.substr(0, own.size() + 2) == own + ", ") fields.remove_prefix(own.size() + 2);
    return fields == own ? std::string_view() : fields;
}

/// "prev 3 in term 2" is "prev 3 T2" on an arrow.
inline std::string shorter(std::string_view fields) {
    static constexpr std::string_view words = " in term ";
    std::string text(fields);
    for (std::size_t at = 0; (at = text.find(words, at)) != std::string::npos;) {
        text.replace(at, words.size(), " T");
    }
    return text;
}

inline const char* words_of(What what) {
    static constexpr const char* words[] = {
        "sent",  "got",     "got a copy", "lost",      "damaged",   "blocked", "timer",  "proposed",
        "read",  "crashed", "restarted",  "paused",    "resumed",   "links",   "clock",  "disk",
        "fault", "role",    "term",       "vote",      "appended",  "cut off", "commit", "applied",
        "state", "members", "snapshot",   "installed", "broken law"};
    static_assert(std::size(words) == static_cast<std::size_t>(What::violation) + 1);
    return words[static_cast<std::size_t>(what)];
}

inline bool is_of_message(const Event& event) { return event.what <= What::blocked; }
inline bool is_seen_in_states(What what) {
    return what >= What::fault && what != What::state && what != What::members &&
           what != What::violation;
}

/// Terms have six colours in turn, and 0 is grey. The number always stands with the colour.
inline std::string colour(std::uint64_t term) {
    return text_of("t", term == 0 ? 0 : 1 + (term - 1) % 6);
}

/// Behind its last entry.
inline std::uint64_t log_end(const State& state) {
    return state.first_log_index + state.log_terms.size();
}
inline std::uint64_t term_at(const State& state, std::uint64_t index) {
    return state.log_terms[static_cast<std::size_t>(index - state.first_log_index)];
}
inline std::string content_at(const State& state, std::uint64_t index) {
    const auto at = static_cast<std::size_t>(index - state.first_log_index);
    return at < state.log_texts.size() ? state.log_texts[at] : std::string();
}
/// The first entry that is shown.
inline std::uint64_t first_shown(const State& state) {
    const std::size_t size = state.log_terms.size();
    return state.first_log_index + (size > timeline_entries ? size - timeline_entries : 0);
}

/// A word beside a replica's line, escaped already.
struct Chip {
    std::string css;
    std::string label;
    std::size_t letters = 0;
};

/// The sign, an entity of one character, stands before the label.
inline Chip chip(std::string css, std::string_view label, std::string_view sign = {}) {
    const std::size_t size = std::min<std::size_t>(letters(label), 18) + (sign.empty() ? 0 : 1);
    return {std::move(css), text_of(sign, escaped(label, 18)), size};
}

class Page {
 public:
    explicit Page(const Record& record) : record_(record) {
        if (record.steps.size() > timeline_steps) first_ = record.steps.size() - timeline_steps;
        for (const Record::Step& step : record.steps) {
            replicas_ = std::max(replicas_, step.states.size());
        }
        space_ = replicas_ <= 5 ? 130 : 96;  // Seven fit beside the panel on most screens.
        const int lanes = space_ * static_cast<int>(replicas_);
        text_width_ = std::clamp(900 - lanes, 252, 420);
        width_ = text_width_ + 30 + std::max(static_cast<int>(replicas_), 1) * space_ + 18;
        before_.resize(replicas_);
        for (std::size_t r = 0; r < replicas_; ++r) before_[r] = beginning(r);
        sent_.resize(record.messages.size());
    }

    std::string html() {
        for (std::size_t i = first_; i < record_.steps.size(); ++i) add_row(i);
        for (const Flight& flight : flights_) add_arrow(flight);
        for (std::size_t m = 0; m < sent_.size(); ++m) {
            if (sent_[m].there && !sent_[m].ended) add_underway(m);
        }
        for (std::size_t r = 0; r < replicas_; ++r) add_lane(r);
        std::string page = text_of(
            "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width'><title>",
            failed() ? text_of(escaped(record_.invariant), " is broken - ") : "",
            escaped(record_.title), "</title><style>", style(), "</style></head><body>\n",
            header());
        page += "<main><div id='run' tabindex='-1'>";
        page += text_of("<div id='names'>", svg(26), lane_names(), "</svg></div>");
        page += text_of(svg(top_ + 8), "<g>", rows_, "</g><g>", lanes_, "</g><g>", arrows_,
                        "</g><g>", chips_, "</g>", wrong_, "</svg></div>\n");
        page += text_of("<aside id='panel'>", panel(), legend(), "</aside></main>\n");
        page += text_of("<template id='steps'>", steps_, "</template><script>", script(),
                        "</script></body></html>\n");
        return page;
    }

 private:
    static constexpr int line_height = 16;

    struct Sent {
        bool there = false;
        bool ended = false;  ///< Or it is not shown that it did not.
        bool copied = false;
        int y = 0;
        std::size_t step = 0;
    };
    struct Flight {
        std::size_t message = 0;
        What what = What::deliver;
        std::size_t step = 0;
        int y = 0;
        bool copy = false;
    };
    /// A stretch of a replica's line, until the next one begins.
    struct Stretch {
        int y = 0;
        std::string css;
        std::string label;
    };

    bool failed() const { return !record_.violation.empty() || !record_.invariant.empty(); }
    bool is_wrong(std::size_t i) const { return failed() && i + 1 == record_.steps.size(); }

    const State& state(std::size_t i, std::size_t replica) const {
        static const State unknown{};
        const std::vector<State>& states = record_.steps[i].states;
        return replica < states.size() ? states[replica] : unknown;
    }
    /// Its state before the first step that is shown; nobody says what it was before step 1, so
    /// there it is as it is after it, unless something happened to it.
    State beginning(std::size_t replica) const {
        if (first_ > 0) return state(first_ - 1, replica);
        auto concerns = [&](const Event& event) { return event.replica == replica; };
        const std::vector<Event>& events = record_.steps[0].events;
        return std::any_of(events.begin(), events.end(), concerns) ? State{} : state(0, replica);
    }
    int x_of(std::size_t replica) const {
        return text_width_ + 34 + static_cast<int>(replica) * space_;
    }
    std::string svg(int height) const {
        return text_of("<svg xmlns='http://www.w3.org/2000/svg' width='", width_, "' height='",
                       height, "' viewBox='0 0 ", width_, " ", height, "'>");
    }

    // ----- The picture -----

    /// A place of `width` pixels from x on, in the current line or in the next where it is free.
    int place(int x, int width) {
        bool is_free = true;
        for (auto [from, to] : taken_) is_free = is_free && (x + width <= from || to <= x);
        if (!is_free) next_line();
        taken_.emplace_back(x, x + width);
        return line_y();
    }
    void next_line() {
        if (line_ == timeline_lines) return;
        ++line_;
        taken_.clear();
        cursors_.assign(replicas_, 0);
    }
    int line_y() const { return top_ + 5 + static_cast<int>(line_) * line_height; }

    void add_row(std::size_t i) {
        const Record::Step& step = record_.steps[i];
        line_ = 0;
        taken_.clear();
        cursors_.assign(replicas_, 0);
        changed_.assign(replicas_, 0);
        // What became of a replica is told after all that made it so, but a role that it only
        // passed through is told where it did.
        std::vector<std::size_t> last(replicas_, SIZE_MAX);
        std::vector<std::size_t> last_role(replicas_, SIZE_MAX);
        for (std::size_t k = 0; k < step.events.size(); ++k) {
            const Event& event = step.events[k];
            if (event.replica >= replicas_) continue;
            if (is_seen_in_states(event.what)) last[event.replica] = k;
            if (event.what == What::role) last_role[event.replica] = k;
        }
        for (std::size_t k = 0; k < step.events.size(); ++k) {
            const Event& event = step.events[k];
            if (is_of_message(event)) {
                if (event.message && *event.message < sent_.size()) add_end(i, event);
            } else if (event.replica < replicas_) {
                const bool passes = event.what == What::role && k != last_role[event.replica];
                const auto own = chip_of(event, step, passes);
                if (own && line_ < timeline_lines) add(event.replica, *own);
                if (k == last[event.replica]) add_changes(i, event.replica);
            }
        }
        for (std::size_t r = 0; r < replicas_; ++r) {
            if (last[r] == SIZE_MAX) add_changes(i, r);
            add_stretch(i, r);
        }
        const auto width = static_cast<std::size_t>(text_width_ - 54) / 6;
        std::vector<std::string> text = wrapped(step.text, width, 2);
        if (line_ == timeline_lines) text.push_back("(the rest: beside)");
        const std::size_t lines = std::max(line_ + 1, text.size() + (is_wrong(i) ? 1 : 0));
        const int height = 10 + line_height * static_cast<int>(lines);
        rows_ += text_of("<a id='s", i + 1, "' href='#s", i + 1, "' class='row",
                         is_wrong(i) ? " wrong" : "", "' data-y='", top_, "'><rect y='", top_,
                         "' width='", width_, "' height='", height, "'/>");
        if (step.healing) {
            rows_ += text_of("<path class='healing' d='M2 ", top_, "v", height, "'/>");
        }
        rows_ += text_of("<text class='n' x='40' y='", top_ + 17, "'>", i + 1, "</text>");
        for (std::size_t k = 0; k < text.size(); ++k) {
            rows_ += text_of("<text x='48' y='", top_ + 17 + static_cast<int>(k) * line_height,
                             "'>", text[k], "</text>");
        }
        rows_ += "</a>\n";
        if (is_wrong(i)) add_wrong(height);
        for (std::size_t r = 0; r < replicas_; ++r) {
            if (state(i, r).alive || before_[r].log_terms.empty()) before_[r] = state(i, r);
        }
        add_section(i);
        top_ += height;
    }

    void add_changes(std::size_t i, std::size_t replica) {
        const std::vector<Chip> chips = changes(i, replica);
        if (!chips.empty()) changed_[replica] = 0;
        for (const Chip& change : chips) add(replica, change);
    }

    void add_wrong(int height) {
        wrong_ +=
            text_of("<g id='wrong'><rect x='2' y='", top_ + 1, "' width='", width_ - 4,
                    "' height='", height - 2, "' rx='4'/><text class='law' x='48' y='",
                    top_ + height - 10, "'>&#10007; ", escaped(record_.invariant, 28), "</text>");
        if (record_.violator && *record_.violator < replicas_) {
            wrong_ += text_of("<circle cx='", x_of(*record_.violator), "' cy='",
                              changed_[*record_.violator] > 0 ? changed_[*record_.violator] + 7
                                                              : top_ + height / 2,
                              "' r='12'/>");
        }
        wrong_ += "</g>";
    }

    /// One end of a message's way: its sending, or how it arrived or did not.
    void add_end(std::size_t i, const Event& event) {
        const std::size_t m = *event.message;
        const Record::Message& message = record_.messages[m];
        if (message.from >= replicas_ || message.to >= replicas_) return;
        if (event.what == What::send) {
            sent_[m] = {true, line_ == timeline_lines, false, line_y() + line_height - 3, i};
            return;
        }
        if (!taken_.empty() || (sent_[m].there && sent_[m].step == i)) next_line();
        const bool rightwards = message.from < message.to;
        const int width = space_ - 14;
        const int x = x_of(message.to) - (rightwards ? width : 0);
        const int y = place(x, width);
        if (line_ < timeline_lines) flights_.push_back({m, event.what, i, y, sent_[m].copied});
        sent_[m].ended = true;
        sent_[m].copied = event.what == What::duplicate;
    }

    void add(std::size_t replica, const Chip& what) {
        const bool bold = what.css == "bad" || what.css == "commit";
        const int width = static_cast<int>(what.letters) * (bold ? 7 : 6) + 8;
        if (cursors_[replica] > 0 && cursors_[replica] + width > space_ - 10) next_line();
        const int x = x_of(replica) + 11;
        const int y = place(x + cursors_[replica], width);
        const int at = x + cursors_[replica];
        cursors_[replica] += width + 2;
        if (changed_[replica] == 0) changed_[replica] = y;  // Where its line changes.
        chips_ += text_of("<g class='chip ", what.css, "'><rect x='", at, "' y='", y, "' width='",
                          width, "' height='14' rx='3'/><text x='", at + width / 2, "' y='", y + 11,
                          "'>", what.label, "</text></g>");
    }

    /// What became of the replica in this step, by its states before and after.
    std::vector<Chip> changes(std::size_t i, std::size_t replica) const {
        const State& before = before_[replica];
        const State& after = state(i, replica);
        std::vector<Chip> chips;
        if (!after.alive) return chips;
        const bool back = i > 0 && !state(i - 1, replica).alive;  // Then it follows, of course.
        const bool began = before.role.empty() || back;
        if (before.role != after.role && !(began && after.role == "follower")) {
            const bool leads = after.role == "leader";
            std::string role = after.role == "pre_candidate" ? "pre-candidate" : after.role;
            std::string label = text_of(role, " T", after.term);
            chips.push_back(
                chip((leads ? "full " : "") + colour(after.term), label, leads ? "&#9733; " : ""));
        } else if (before.term != after.term) {
            chips.push_back(chip(colour(after.term), text_of("T", after.term)));
        }
        if (after.voted_for && *after.voted_for != replica + 1 &&
            (before.voted_for != after.voted_for || before.term != after.term)) {
            chips.push_back(chip("vote", text_of("votes ", *after.voted_for)));
        }
        add_log_changes(before, after, chips);
        if (after.snapshot_index > before.snapshot_index) {
            chips.push_back(chip("", text_of("snapshot ", after.snapshot_index)));
        }
        if (after.commit_index > before.commit_index) {
            chips.push_back(chip("commit", text_of(after.commit_index), "&#10003;"));
        }
        if (after.last_applied > before.last_applied) {
            chips.push_back(chip("apply", text_of(after.last_applied), "&#9656;"));
        }
        if (before.fault.empty() && !after.fault.empty()) chips.push_back(chip("bad", "fault"));
        return chips;
    }

    static void add_log_changes(const State& before, const State& after, std::vector<Chip>& chips) {
        const std::uint64_t old_end = log_end(before);
        const std::uint64_t end = log_end(after);
        std::uint64_t kept = std::max(before.first_log_index, after.first_log_index);
        while (kept < old_end && kept < end && term_at(before, kept) == term_at(after, kept) &&
               content_at(before, kept) == content_at(after, kept)) {
            ++kept;
        }
        auto add_range = [&](const State& of, const char* sign, const char* css, std::uint64_t from,
                             std::uint64_t behind) {
            while (from < behind && chips.size() < timeline_lines) {
                std::uint64_t to = from + 1;
                while (to < behind && term_at(of, to) == term_at(of, from)) ++to;
                const std::string range =
                    to == from + 1 ? text_of(from) : text_of(from, "-", to - 1);
                chips.push_back(chip(css + colour(term_at(of, from)), range, sign));
                from = to;
            }
        };
        // What a snapshot took away was not cut off.
        add_range(before, "&#8722;", "cut ", kept, old_end);
        add_range(after, "+", "full ", std::min(kept, end), end);
    }

    /// What is told by the event alone. The rest is seen in the states.
    static std::optional<Chip> chip_of(const Event& event, const Record::Step& step, bool passes) {
        switch (event.what) {
            case What::role:
                if (!passes || event.text.empty()) return std::nullopt;
                return chip("", event.text);
            case What::crash:
                return chip("bad", "crash", "&#10007; ");
            case What::restart:
                return chip("life", "restart");
            case What::pause:
                return chip("life", "pause");
            case What::resume:
                return chip("life", "resume");
            case What::time_out:
                return chip("", "timer");
            case What::propose:
                return chip("", text_of("new ", event.text));
            case What::read:
            case What::members:
                return chip("", event.text);
            case What::install:
                return chip("", "installs");
            case What::violation:
                return chip("bad", "here", "&#10007; ");
            case What::disk:  // Every write is told; a mark is for the step that is about one.
                if (step.events.size() > 1) return std::nullopt;
                [[fallthrough]];
            case What::link:
            case What::clock:
                return chip("", event.text.empty() ? words_of(event.what) : event.text);
            default:
                return std::nullopt;
        }
    }

    void add_stretch(std::size_t i, std::size_t replica) {
        const State& now = state(i, replica);
        Stretch next{changed_[replica] == 0 ? top_ : changed_[replica] + 7, {}, {}};
        if (!now.alive) {
            next.css = "dead";
        } else {
            const std::string role = now.role.empty() ? "follower" : now.role;
            next.css = text_of(escaped(role), " ", colour(now.term), now.paused ? " paused" : "");
            if (role == "leader") next.label = std::to_string(now.term);
        }
        lane_.resize(replicas_);
        std::vector<Stretch>& lane = lane_[replica];
        if (lane.empty()) next.y = top_;
        if (lane.empty() || lane.back().css != next.css || lane.back().label != next.label) {
            lane.push_back(next);
        }
    }

    void add_lane(std::size_t replica) {
        const std::vector<Stretch>& lane = lane_[replica];
        const int x = x_of(replica);
        for (std::size_t k = 0; k < lane.size(); ++k) {
            const int end = k + 1 < lane.size() ? lane[k + 1].y : top_ + 6;
            lanes_ += text_of("<path class='lane ", lane[k].css, "' d='M", x, " ", lane[k].y, "V",
                              end, "'/>");
            for (int y = lane[k].y + 14; y < end - 4 && !lane[k].label.empty(); y += 48) {
                lanes_ += text_of("<text class='of ", lane[k].css, "' x='", x, "' y='", y, "'>",
                                  escaped(lane[k].label, 3), "</text>");
            }
        }
    }

    std::string message_text(std::size_t m) const {
        const Record::Message& message = record_.messages[m];
        return text_of(escaped(message.kind), " from ", message.from + 1, " to ", message.to + 1,
                       ", term ", message.term, fields_of(message).empty() ? "" : ": ",
                       escaped(fields_of(message)));
    }

    /// A message that waits for long goes to its receiver at once and waits beside its line: so it
    /// does not cross all that happens meanwhile.
    void add_arrow(const Flight& flight) {
        const Record::Message& message = record_.messages[flight.message];
        const Sent& sent = sent_[flight.message];
        const int direction = message.from < message.to ? 1 : -1;
        const int from = x_of(message.from);
        const int to = x_of(message.to);
        const int y = flight.y + 2;
        const bool arrives = flight.what == What::deliver || flight.what == What::duplicate;
        int tip = to - direction * (arrives || flight.what == What::corrupt ? 3 : 14);
        if (flight.what == What::drop) tip = to - direction * space_ / 2;
        const bool known = sent.there;
        const int start = known ? sent.y : first_ > 0 ? -10 : y;
        const bool waits = y - start >= 170;
        std::string way;
        if (!known && first_ == 0) {
            way = text_of("M", to - direction * 60, " ", y, "L", tip, " ", y);
        } else if (!waits) {
            way = text_of("M", from, " ", start, "L", tip, " ", y);
        } else {
            const int slot = slot_for(message.to, direction, start, y);
            const int wait = to - direction * (14 + slot * 5);
            const int there = std::min(start + 60, y - 30);
            way = text_of("M", from, " ", start, "L", wait, " ", there, "M", wait, " ", y - 12, "L",
                          tip, " ", y);
            arrow(flight, "wait", text_of("M", wait, " ", there, "V", y - 12), {});
        }
        std::string end = text_of("<path class='head' d='M", tip + direction * 2, " ", y, "l",
                                  -direction * 8, " -5v9z'/>");
        if (flight.what == What::drop || flight.what == What::corrupt) {
            end = text_of("<path class='end' d='M", tip - 4, " ", y - 4, "l8 8m0 -8l-8 8'/>");
        } else if (flight.what == What::blocked) {
            end = text_of("<path class='end' d='M", tip, " ", y - 6, "v12'/>");
        }
        end += label(flight, direction, arrives ? to : tip, y, waits);
        arrow(flight, flight.copy ? "copy" : "", way, end);
    }

    std::string label(const Flight& flight, int direction, int x, int y, bool waits) const {
        const Record::Message& message = record_.messages[flight.message];
        std::string words = shorter(fields_of(message));
        if (waits) words = text_of("of ", message.from + 1, ", ", words);
        if (flight.what == What::drop) words = "lost";
        if (flight.what == What::corrupt) words = "damaged";
        if (flight.what == What::blocked) words = "blocked";
        if (flight.what == What::duplicate) words = "x2 " + words;
        const std::string kind = abbreviation(message.kind);
        const auto room = static_cast<std::size_t>(space_ - 30) / 6;
        return text_of("<text x='", x - direction * 11, "' y='", y + 12, "' class='",
                       direction > 0 ? "to" : "", "'><tspan>", escaped(kind), "</tspan> ",
                       escaped(words, room > kind.size() ? room - kind.size() : 1), "</text>");
    }

    void arrow(const Flight& flight, const char* css, const std::string& way,
               const std::string& end) {
        const Sent& sent = sent_[flight.message];
        arrows_ += text_of(
            "<g class='m ", colour(record_.messages[flight.message].term), " ", css, "' data-m='",
            flight.message, "' data-s='", sent.there ? sent.step + 1 : 0, " ", flight.step + 1,
            "'><title>", message_text(flight.message), " (", words_of(flight.what),
            ")</title><path class='hit' d='", way, "'/><path d='", way, "'/>", end, "</g>\n");
    }

    /// It was sent and is on its way still.
    void add_underway(std::size_t m) {
        const Record::Message& message = record_.messages[m];
        const int direction = message.from < message.to ? 1 : -1;
        const Sent& sent = sent_[m];
        arrow({m, What::send, sent.step, sent.y}, "way",
              text_of("M", x_of(message.from), " ", sent.y, "l", direction * 34, " 12"), {});
    }

    int slot_for(std::size_t replica, int direction, int from, int to) {
        slots_.resize(2 * replicas_);
        auto& slots = slots_[2 * replica + (direction > 0 ? 1 : 0)];
        int slot = 0;
        auto clashes = [&](const Slot& other) {
            return other.slot == slot && from < other.to && other.from < to;
        };
        while (slot < 7 && std::any_of(slots.begin(), slots.end(), clashes)) ++slot;
        slots.push_back({slot, from, to});
        return slot;
    }

    // ----- The panel -----

    /// What the panel shows of a step: its events, and those replicas that are no longer as they
    /// were shown last. The script finds the others in the steps before.
    void add_section(std::size_t i) {
        const Record::Step& step = record_.steps[i];
        section_ = text_of("<div id='what'><h2", is_wrong(i) ? " class='bad'" : "", ">Step ", i + 1,
                           " <small>of ", record_.steps.size(), "</small></h2><p>",
                           escaped(step.text), step.healing ? " <i>(faults are over)</i>" : "",
                           "</p>", is_wrong(i) ? violation() : "", "<ol>");
        for (std::size_t k = 0; k < step.events.size() && k < timeline_events; ++k) {
            section_ += item(step.events[k]);
        }
        section_ += "</ol>";
        if (step.events.size() > timeline_events) {
            section_ += text_of("<p>... and ", step.events.size() - timeline_events, " more</p>");
        }
        section_ += "</div>";
        steps_ += text_of("<section>", section_);
        panel_rows_.resize(replicas_ + 1);
        plain_rows_.resize(replicas_ + 1);
        shown_.resize(replicas_);
        const std::string numbers = indexes(i);
        show_row(replicas_, numbers, numbers);
        for (std::size_t r = 0; r < replicas_; ++r) {
            const State& now = state(i, r);
            show_row(r, row_of(r, now, now, is_wrong(i)), row_of(r, now, shown_[r], is_wrong(i)));
            shown_[r] = now;
        }
        steps_ += "</section>\n";
    }

    void show_row(std::size_t row, std::string plain, std::string marked) {
        if (plain == plain_rows_[row]) return;
        plain_rows_[row] = std::move(plain);
        steps_ += marked;
        panel_rows_[row] = std::move(marked);
    }

    std::string item(const Event& event) const {
        const bool known = event.message && *event.message < record_.messages.size();
        const bool is_plain = event.what == What::send || event.what == What::deliver;
        std::string text = escaped(event.text);
        std::string word;
        if (is_of_message(event) && known) {
            text = message_text(*event.message) +
                   (text.empty() || is_plain ? "" : text_of(" (", text, ")"));
        }
        // The text of these is a thing; of the others it is what was done.
        if (is_of_message(event) || event.what == What::propose || event.what == What::append ||
            event.what == What::apply || text.empty()) {
            word = text_of("<i>", words_of(event.what), "</i> ");
        }
        return text_of("<li", event.what == What::violation ? " class='bad'" : "",
                       known ? text_of(" data-m='", *event.message, "'") : "", "><b>",
                       event.replica + 1, "</b> ", word, text, "</li>");
    }

    std::string row_of(std::size_t replica, const State& now, const State& was, bool wrong) const {
        std::string role = now.role.empty() ? "follower" : now.role;
        if (role == "pre_candidate") role = "pre-candidate";
        if (!now.alive) role = "crashed";
        if (!now.fault.empty()) role = "stopped: " + now.fault;
        auto attribute = [](const char* name, auto value, auto before) {
            const char* tag = value != before ? "em" : "span";
            return text_of("<", tag, ">", name, " ", value ? *value : 0, "</", tag, "> ");
        };
        auto some = [](std::uint64_t value) { return std::optional<std::uint64_t>(value); };
        const bool bad = wrong && record_.violator == replica;
        std::string row = text_of(
            "<div class='state", bad ? " bad" : "", now.alive ? "" : " gone", "' data-r='", replica,
            "'><p><b>", bad ? "&#10007; " : "", replica + 1, "</b> <span class='role ",
            role == "leader" ? "full " : "", now.role != was.role ? "new " : "", colour(now.term),
            "'>", escaped(role), "</span> ", now.paused ? "<em>paused</em> " : "",
            attribute("term", some(now.term), some(was.term)),
            attribute("commit", some(now.commit_index), some(was.commit_index)),
            attribute("applied", some(now.last_applied), some(was.last_applied)));
        if (now.voted_for) row += attribute("vote", now.voted_for, was.voted_for);
        if (now.leader && role != "leader") row += attribute("follows", now.leader, was.leader);
        if (now.snapshot_index > 0) {
            row += attribute("snapshot", some(now.snapshot_index), some(was.snapshot_index));
        }
        row += "</p><div class='log'>";
        if (now.first_log_index > 1) {
            row += text_of("<i class='before' style='--i:", first_shown(now) - 1,
                           "' title='earlier'>...</i>");
        }
        for (std::uint64_t index = first_shown(now); index < log_end(now); ++index) {
            row += cell(now, index);
        }
        return row + "</div></div>";
    }

    static std::string cell(const State& state, std::uint64_t index) {
        const bool committed = index <= state.commit_index;
        const bool durable = index <= state.durable_index;
        const std::uint64_t term = term_at(state, index);
        const std::string content = content_at(state, index);
        const std::string whole =
            letters(content) > 5 ? text_of(" title='", escaped(content, 60), "'") : "";
        return text_of("<i class='", colour(term), committed ? " c" : "", durable ? "" : " u",
                       "' style='--i:", index, "'", whole, ">", term, "<small>",
                       escaped(content, 5), "</small></i>");
    }

    /// The row of indexes above the logs, which says too where the leftmost one stands.
    std::string indexes(std::size_t i) {
        std::uint64_t first = UINT64_MAX;
        std::uint64_t last = 0;
        for (std::size_t r = 0; r < replicas_; ++r) {
            const State& now = state(i, r);
            if (now.log_terms.empty()) continue;
            first = std::min(first, first_shown(now) - (now.first_log_index > 1 ? 1 : 0));
            last = std::max(last, log_end(now) - 1);
        }
        if (last >= first + 4 * timeline_entries) first = last - 4 * timeline_entries;
        if (last == 0) first = 1;
        first_index_ = first;
        index_count_ = last + 1 - first;
        std::string row = text_of("<div class='log index' data-r='", replicas_, "' data-b='", first,
                                  "' data-w='", index_count_, "'>");
        for (std::uint64_t index = first; index <= last; ++index) {
            row += text_of("<i style='--i:", index, "'>", index, "</i>");
        }
        return row + "</div>";
    }

    std::string panel() const {
        std::string rows = panel_rows_.empty() ? "" : panel_rows_.back();
        for (std::size_t r = 0; r < replicas_ && r < panel_rows_.size(); ++r)
            rows += panel_rows_[r];
        return text_of(
            "<p id='keys' class='dim' hidden='hidden'>Click a step or an arrow, or press &#8593; "
            "&#8595; ",
            "PgUp PgDn Home End.</p>", section_, "<div id='states' style='--b:", first_index_,
            ";--w:", index_count_, "'>", rows, "</div><p id='message' aria-live='polite'></p>");
    }

    std::string violation() const {
        return text_of("<p class='law'><b>", escaped(record_.invariant),
                       "</b>: ", escaped(record_.violation, 2000), "</p>");
    }

    std::string header() const {
        std::string text = failed() ? "<header class='bad'>" : "<header>";
        const std::size_t count = record_.steps.size();
        if (failed()) {
            text +=
                text_of("<h1>&#10007; ", escaped(record_.invariant), " is broken <small>",
                        count > 0 ? text_of("at <a href='#s", count, "'>step ", count, "</a>") : "",
                        record_.violator ? text_of(" by replica ", *record_.violator + 1) : "",
                        "</small></h1><p class='law'>", escaped(record_.violation, 2000), " <cite>",
                        escaped(record_.source), "</cite></p>");
            if (!record_.explanation.empty()) {
                text += text_of("<pre>", escaped(record_.explanation, 4000), "</pre>");
            }
        } else {
            text += text_of("<h1>", escaped(record_.title), "</h1><p>No law was broken in ", count,
                            " steps.</p>");
        }
        text += text_of("<p class='dim'>", failed() ? escaped(record_.title) + " | " : "", "seed ",
                        record_.seed, " | ", escaped(record_.configuration));
        if (first_ > 0) {
            text += text_of(" | shown are the last ", timeline_steps, " steps of ", count,
                            "; what was sent before comes from the upper edge");
        }
        text += text_of("</p><details><summary>Schedule</summary><ol start='", first_ + 1, "'>");
        for (std::size_t i = first_; i < count; ++i) {
            text += text_of("<li", is_wrong(i) ? " class='bad'" : "", ">",
                            escaped(record_.steps[i].text), "</li>");
        }
        text += "</ol></details>";
        if (!record_.replay.empty()) {
            text += text_of("<details><summary>C++ test that replays it</summary><pre>",
                            escaped(record_.replay, record_.replay.size() + 1), "</pre></details>");
        }
        return text + "</header>\n";
    }

    std::string legend() const {
        std::vector<std::string> kinds;
        for (const Record::Message& message : record_.messages) {
            if (std::find(kinds.begin(), kinds.end(), message.kind) == kinds.end() &&
                kinds.size() < 20) {
                kinds.push_back(message.kind);
            }
        }
        std::string text = "<h3>Signs</h3><ul class='legend'><li>Colours are terms: ";
        for (std::uint64_t term = 1; term <= 6; ++term) {
            text += text_of("<span class='role full ", colour(term), "'>", term, "</span> ");
        }
        text +=
            "and again.</li><li>A replica's line has the colour of its term; it is <b>broad</b> "
            "while it leads, dashed while it asks for votes, pale while it is paused, and not "
            "there "
            "while it is down.</li><li>An arrow has the colour of its message's term. &#10007;: "
            "lost "
            "or damaged; |: blocked; x2: a copy of it comes later, on a broken "
            "line; dotted beside a line: it "
            "waits to arrive; short, without a head: still on its way at the end.</li>"
            "<li>+3 appended entry 3, &#8722;3 cut it off, &#10003;3 commit index, &#9656;3 "
            "applied; "
            "T3: enters term 3.</li><li>Logs: <span class='sample'><i class='t1 "
            "c'>1<small>x</small>"
            "</i></span> the number is the entry's term, a thick lower edge: committed; <span "
            "class='sample'><i class='t1 u'>1<small>x</small></i></span> hatched: not "
            "durable.</li>";
        if (!kinds.empty()) text += "<li>Messages: ";
        for (std::size_t k = 0; k < kinds.size(); ++k) {
            text += text_of(k == 0 ? "" : ", ", "<b>", escaped(abbreviation(kinds[k])), "</b> ",
                            escaped(kinds[k], 40));
        }
        return text + (kinds.empty() ? "</ul>" : ".</li></ul>");
    }

    std::string lane_names() const {
        std::string names;
        for (std::size_t r = 0; r < replicas_; ++r) {
            const bool bad = failed() && record_.violator == r;
            names += text_of("<text class='name", bad ? " bad" : "", "' x='", x_of(r), "' y='18'>",
                             bad ? "&#10007; " : "", "replica ", r + 1, "</text>");
        }
        return names + "<text class='name' x='48' y='18' style='text-anchor:start'>step</text>";
    }

    const Record& record_;
    std::size_t first_ = 0;  ///< The first step that is shown.
    std::size_t replicas_ = 0;
    int text_width_ = 0;
    int space_ = 0;  ///< From line to line.
    int width_ = 0;
    int top_ = 0;
    std::vector<State> before_;  ///< Of each replica when it was last alive.
    std::vector<Sent> sent_;
    std::vector<Flight> flights_;
    std::vector<std::vector<Stretch>> lane_;
    struct Slot {
        int slot, from, to;
    };
    std::vector<std::vector<Slot>> slots_;

    // Of the row that is being made.
    std::size_t line_ = 0;
    std::vector<std::pair<int, int>> taken_;
    std::vector<int> cursors_;
    std::vector<int> changed_;

    std::string rows_, lanes_, arrows_, chips_, wrong_, steps_;

    // Of the panel: what it shows at the end, and the same without marks of what changed.
    std::vector<std::string> panel_rows_, plain_rows_;
    std::vector<State> shown_;
    std::string section_;
    std::uint64_t first_index_ = 1;
    std::uint64_t index_count_ = 0;
};

inline const char* style() {
    return R"(
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2128;--dim:#59636e;--edge:#d0d7de;--row:#f6f8fa;--now:#dcecff;--bad:#b8002e;
--badbg:#ffe3ea;--card:#fff}
.t0{--f:#b5bdc6;--k:#000;--l:#737d88}.t1{--f:#0072b2;--k:#fff;--l:#0072b2}.t2{--f:#e69f00;--k:#000;--l:#a87300}
.t3{--f:#cc79a7;--k:#000;--l:#a8477d}.t4{--f:#009e73;--k:#000;--l:#007d5a}.t5{--f:#56b4e9;--k:#000;--l:#2a83b6}
.t6{--f:#f0e442;--k:#000;--l:#857c00}
@media screen and (prefers-color-scheme:dark){:root{--bg:#12161c;--fg:#e6edf3;--dim:#9aa5b1;--edge:#343c46;--row:#191f27;--now:#1d3557;
--bad:#ff7b95;--badbg:#47101f;--card:#171c23}
.t0{--l:#8b95a1}.t1{--f:#2f6fd0;--l:#5c93f5}.t2{--l:#e69f00}.t3{--l:#dc8cb9}.t4{--l:#1fbd92}.t5{--l:#8fd6ff}.t6{--l:#f0e442}}
*{box-sizing:border-box}
body{margin:0;height:100vh;display:flex;flex-direction:column;background:var(--bg);color:var(--fg);font:13px/1.45 system-ui,sans-serif}
header{flex:none;max-height:45vh;overflow:auto;padding:10px 16px;border-bottom:1px solid var(--edge)}
header.bad{border-left:8px solid var(--bad);background:var(--badbg)}
h1{margin:0;font-size:20px}header.bad h1{color:var(--bad)}h1 small{font-size:15px;font-weight:600}h1 a{color:inherit}
header p{margin:3px 0}header .law{font-size:15px}cite{font-style:normal;color:var(--dim)}.dim{color:var(--dim)}
details{display:inline-block;vertical-align:top;margin-right:20px}details[open]{display:block}summary{cursor:pointer}
pre{margin:4px 0;padding:8px;max-height:30vh;background:var(--card);border:1px solid var(--edge);overflow:auto;user-select:all}
main{flex:1;min-height:0;display:grid;grid-template-columns:minmax(0,1fr) minmax(300px,33%)}
#run{overflow:auto;outline-offset:-2px}#names{position:sticky;top:0;width:max-content;min-width:100%;background:var(--bg);
border-bottom:1px solid var(--edge);z-index:1}
svg{display:block;font:12px system-ui,sans-serif}svg text{fill:var(--fg)}
.row{cursor:pointer}.row rect{fill:var(--bg);stroke:var(--edge);stroke-width:.5}.row:nth-child(even) rect{fill:var(--row)}
.row:target rect,.row.now rect{fill:var(--now)}.row.wrong rect,.row.wrong.now rect{fill:var(--badbg)}.row:hover rect{stroke:var(--fg);stroke-width:1}
.row .n{text-anchor:end;fill:var(--dim)}.row.now .n{font-weight:700;fill:var(--fg)}.healing{stroke:#009e73;stroke-width:4}
.name{text-anchor:middle;font-weight:700}.name.bad{fill:var(--bad)}
#wrong{pointer-events:none}#wrong rect{fill:none;stroke:var(--bad);stroke-width:3}
#wrong circle{fill:none;stroke:var(--bad);stroke-width:3}#wrong .law{fill:var(--bad);font-weight:700}
.lane{stroke:var(--l);stroke-width:2;fill:none;pointer-events:none}.lane.leader{stroke:var(--f);stroke-width:14}
.lane.candidate{stroke-width:7;stroke-dasharray:5 3}.lane.pre_candidate{stroke-width:5;stroke-dasharray:2 4}
.lane.paused{opacity:.3}.lane.dead{stroke:none}.of{text-anchor:middle;font-size:10px;font-weight:700;pointer-events:none}
svg .of.leader{fill:var(--k)}
.m path{stroke:var(--l);fill:none;stroke-width:1.4;opacity:.8}.m path.hit{stroke-width:9;opacity:0}.m .head{fill:var(--l);stroke:none}
.m .end{stroke-width:2.6;opacity:1}.m.wait path{stroke-dasharray:1 4}.m.copy path{stroke-dasharray:6 3}.m.way path{stroke-width:1}
.m text{text-anchor:start;font-size:11px;stroke:var(--bg);stroke-width:3px;paint-order:stroke;stroke-linejoin:round}
.m text.to{text-anchor:end}.m tspan{font-weight:700;fill:var(--l)}.m{cursor:pointer}
.m.on path:not(.hit),.m:hover path:not(.hit){stroke-width:2.6;opacity:1}.m.on text,.m:hover text{font-weight:700}
.chip{pointer-events:none}.chip rect{fill:var(--card);stroke:var(--l,var(--dim));stroke-width:1.2}
svg .chip text{text-anchor:middle;font-size:11px;fill:var(--fg)}.chip.full rect{fill:var(--f)}svg .chip.full text{fill:var(--k)}
svg .chip.cut text{text-decoration:line-through}.chip.cut rect{stroke-dasharray:3 2}.chip.commit rect{stroke:var(--fg);stroke-width:1.6}
svg .chip.commit text{font-weight:700}.chip.bad rect{fill:var(--bad);stroke:var(--bad)}svg .chip.bad text{fill:var(--bg);font-weight:700}
#panel{overflow:auto;padding:10px 14px;border-left:1px solid var(--edge);background:var(--card)}
#panel h2{margin:0;font-size:16px}#panel h3{margin:14px 0 2px;font-size:13px}#panel h2.bad,li.bad{color:var(--bad)}#panel p{margin:3px 0}
#what .law{border-left:4px solid var(--bad);padding:2px 8px;background:var(--badbg)}
#what ol{margin:4px 0;padding:0;list-style:none;max-height:32vh;overflow:auto}#what li{padding:0 4px}#what li b{display:inline-block;min-width:1.1em}
#what li i{color:var(--dim);font-style:normal}#what li[data-m]:hover{background:var(--now)}
#states{overflow-x:auto;margin:8px 0;padding-bottom:4px}
.state{border-left:4px solid transparent;padding-left:6px;margin-top:5px;width:calc(var(--w)*30px + 12px);min-width:100%}
#panel .state p{position:sticky;left:6px;width:max-content;max-width:calc(33vw - 60px)}.state.bad{border-color:var(--bad);background:var(--badbg)}.state.gone{opacity:.7}
.state em{font-style:normal}.fresh .new{outline:2px solid var(--fg)}.fresh em{font-weight:700;text-decoration:underline 2px;text-underline-offset:2px}.state span,.state em{margin-right:4px;white-space:nowrap}
.role{display:inline-block;padding:0 6px;border-radius:4px;border:1.5px solid var(--l)}.role.full{background:var(--f);color:var(--k);font-weight:700}
.log{position:relative;height:31px}.log.index{height:16px;color:var(--dim);margin-left:10px}
.log i{position:absolute;left:calc((var(--i) - var(--b))*30px)}.log i,.sample i{width:28px;height:29px;font:700 12px/15px system-ui,sans-serif;
text-align:center;background:var(--f);color:var(--k);border-bottom:4px solid transparent;background-clip:padding-box;overflow:hidden}
.sample i{display:inline-block;vertical-align:middle}.log.index i,.log .before{background:none;color:var(--dim);font-weight:400;height:16px}
.log small,.sample small{display:block;font:400 9px/10px system-ui,sans-serif;white-space:nowrap}
i.c{border-bottom-color:var(--fg)!important}
i.u{background-image:repeating-linear-gradient(45deg,transparent 0 3px,var(--card) 3px 4.5px)}
#message{min-height:1.5em;font-weight:600}.legend{margin:0;padding-left:16px;color:var(--dim)}.legend i{font-style:normal}
:focus-visible{outline:2px solid #0072b2}
@media (max-width:1000px){main{display:block;overflow:auto}#panel{border-left:0;border-top:1px solid var(--edge)}#run{max-height:60vh}#panel .state p{max-width:90vw}}
@media print{#run{break-before:page}:root{color-scheme:light}main{display:flex;flex-direction:column}#panel{order:-1;border:0}body,header{display:block;height:auto;max-height:none;overflow:visible}
main{overflow:visible}#run,#panel,#what ol{overflow:visible;max-height:none}#names{position:static}svg{max-width:100%;height:auto}#keys,#message{display:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";
}

inline const char* script() {
    return R"(
'use strict';
(() => {
const all = (what, where = document) => [...where.querySelectorAll(what)];
const id = (name) => document.getElementById(name);
const rows = all('.row'), marks = all('.m'), run = id('run'), states = id('states');
const sections = [...id('steps').content.children];
if (!rows.length) return;
const first = +rows[0].id.slice(1), versions = {};
let now = 0;
sections.forEach((section, at) => all('[data-r]', section).forEach((node) => {
    (versions[node.dataset.r] ||= []).push([at, node]);
}));
const stepOf = (hash) => /^#s[0-9]+$/.test(hash) ? +hash.slice(2) - first : NaN;
function show(at, focus) {
    at = Math.max(0, Math.min(rows.length - 1, at));
    rows[now].classList.remove('now');
    rows[now].tabIndex = -1;
    now = at;
    rows[at].classList.add('now');
    rows[at].tabIndex = 0;
    if (focus) rows[at].focus({preventScroll: true});
    id('what').replaceWith(sections[at].querySelector('#what').cloneNode(true));
    for (const row in versions) {
        let shown = null;
        for (const version of versions[row]) if (version[0] <= at) shown = version;
        const copy = shown[1].cloneNode(true);
        if (shown[0] === at) copy.classList.add('fresh');
        for (const name of ['b', 'w']) if (copy.dataset[name]) states.style.setProperty('--' + name, copy.dataset[name]);
        const old = states.querySelector('[data-r="' + row + '"]');
        if (old) old.replaceWith(copy);
    }
    states.scrollLeft = states.scrollWidth;
    const step = String(at + first);
    marks.forEach((mark) => mark.classList.toggle('on', mark.dataset.s.split(' ').includes(step)));
    const box = rows[at].querySelector('rect'), y = +rows[at].dataset.y, height = +box.getAttribute('height');
    const names = id('names').offsetHeight;
    if (y < run.scrollTop) run.scrollTop = y;
    const low = y + height + names + 8 - run.clientHeight;
    if (low > run.scrollTop) run.scrollTop = low;
}
function tell(number, on) {
    marks.forEach((mark) => { if (mark.dataset.m === number) mark.classList.toggle('on', on); });
    const mark = marks.find((other) => other.dataset.m === number);
    id('message').textContent = mark ? mark.querySelector('title').textContent : '';
}
run.addEventListener('click', (event) => {
    const row = event.target.closest('.row'), mark = event.target.closest('.m');
    if (row) { event.preventDefault(); show(rows.indexOf(row), true); }
    if (mark) { show(+mark.dataset.s.split(' ')[1] - first, true); tell(mark.dataset.m, true); }
});
run.addEventListener('mouseover', (event) => {
    const mark = event.target.closest('.m');
    if (mark) id('message').textContent = mark.querySelector('title').textContent;
});
for (const [name, on] of [['mouseover', true], ['mouseout', false]]) {
    id('panel').addEventListener(name, (event) => {
        const item = event.target.closest('li[data-m]');
        if (item) { tell(item.dataset.m, on); if (!on) show(now, false); }
    });
}
document.addEventListener('keydown', (event) => {
    const by = {ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -rows.length, End: rows.length}[event.key];
    if (by === undefined || event.ctrlKey || event.altKey || event.metaKey || event.target.closest('header,#panel')) return;
    event.preventDefault();
    show(now + by, true);
});
addEventListener('hashchange', () => { const at = stepOf(location.hash); if (at >= 0) show(at, true); });
rows.forEach((row) => { row.tabIndex = -1; });
id('keys').hidden = false;
const asked = stepOf(location.hash);
show(asked >= 0 ? asked : rows.length - 1, false);
})();
)";
}

}  // namespace timeline

/// The whole page. The same record gives the same bytes.
inline std::string to_html(const Record& record) { return timeline::Page(record).html(); }

}  // namespace little_raft::testing
