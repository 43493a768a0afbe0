// Whether what clients saw can be explained by one order of their operations, each at some moment
// between its call and its answer: linearizability [Herlihy, Wing 1990]. The search is that of Wing
// and Gong with Lowe's memoization: never twice from the same set of placed operations and the same
// state. Histories of many keys are told apart by key, since a history is linearizable exactly if
// that of each key is (Herlihy and Wing's locality).
//
//     struct Register {
//         struct Input { bool is_write; int value; };
//         using Output = int;
//         using State = int;
//         static Output apply(State& state, const Input& input) {
//             return input.is_write ? state = input.value : state;
//         }
//     };
//     std::vector<Operation<Register>> history = ...;
//     auto result = check_linearizability<Register>(history);
//     CHECK_MESSAGE(result.verdict == Verdict::linearizable, result.text);
//
// A model may also have, each found by its name:
// - `static State initial()`: where State{} is not the beginning;
// - `static K key_of(const Input&)`: operations of different keys do not touch each other; K is
//   ordered by `<`;
// - `static bool only_reads(const Input&)`: true: it changes no state whatever. It saves most of
//   the search;
// - `static bool equal(const State&, const State&)` in place of `==`, and `static std::uint64_t
//   digest(const State&)`, equal for equal states, which finds them faster. Of a state with
//   neither `equal` nor `==`, the digest is taken for the whole;
// - `static std::string show(...)` for an Input, an Output or a State.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "little_raft.hpp"  // Its inline namespace must be known before this one is opened.

namespace little_raft::testing {

/// One call by a client. Times count in any unit that never falls; two operations overlap unless
/// one was answered strictly before the other was invoked.
template <class Model>
struct Operation {
    std::uint64_t client = 0;
    typename Model::Input input;
    /// Nothing: it is not known what the answer said. Without `answered` it says nothing either
    /// way.
    std::optional<typename Model::Output> output = std::nullopt;
    std::uint64_t invoked = 0;
    /// Nothing: whether it took effect is not known, and it may still do so at any later time. That
    /// is also what a timeout is, and an "unknown" that the server answered.
    std::optional<std::uint64_t> answered = std::nullopt;
};

enum class Verdict { linearizable, not_linearizable, undecided };

struct Linearizability {
    Verdict verdict = Verdict::undecided;
    std::string text = {};  ///< In words for people.
    /// Positions in the history. Linearizable: an order that explains everything, one key after
    /// another; operations without an answer that need not have happened are left out. Otherwise:
    /// an order that explains the longest prefix of the history of one key.
    std::vector<std::size_t> order = {};
    /// The operation whose answer ends that prefix: nothing that was possible before can explain
    /// it.
    std::optional<std::size_t> culprit = std::nullopt;
    std::uint64_t steps = 0;  ///< Placements tried, the measure of work.
};

struct LinearizabilityLimits {
    /// Placements to try, for all keys together; then the verdict is `undecided`. Each that leads
    /// somewhere new costs the memory of a state.
    std::uint64_t steps = 2'000'000;
};

namespace detail {

template <class Model>
bool states_equal(const typename Model::State& a, const typename Model::State& b) {
    if constexpr (requires { Model::equal(a, b); }) {
        return Model::equal(a, b);
    } else if constexpr (std::equality_comparable<typename Model::State>) {
        return a == b;
    } else {
        return Model::digest(a) == Model::digest(b);
    }
}

template <class Model>
bool only_reads([[maybe_unused]] const typename Model::Input& input) {
    if constexpr (requires { Model::only_reads(input); }) {
        return Model::only_reads(input);
    } else {
        return false;
    }
}

template <class Model, class What>
std::string show_with(const What& what) {
    if constexpr (requires { std::string(Model::show(what)); }) {
        return Model::show(what);
    } else if constexpr (requires(std::ostream & out) { out << what; }) {
        std::ostringstream text;
        text << what;
        return text.str();
    } else {
        return "?";
    }
}

template <class Model>
std::string show_operation(const Operation<Model>& operation) {
    std::string text = "client " + std::to_string(operation.client) + ": " +
                       show_with<Model>(operation.input) + " -> " +
                       (operation.output ? show_with<Model>(*operation.output) : "unknown") +
                       ", from " + std::to_string(operation.invoked);
    return text + (operation.answered ? " to " + std::to_string(*operation.answered) : " on");
}

/// The search, in the history of one key.
///
/// Calls and returns stand in one list, in the order of time. What may come next in a linear order
/// is what was called before the first return in the list: placing an operation takes its call and
/// its return out. Operations without an answer have no return and stand in a list of their own,
/// for they are tried last: only what cannot be explained otherwise needs them.
template <class Model>
class Search {
 public:
    using State = typename Model::State;
    using History = std::vector<Operation<Model>>;

    /// `members` are positions in the history; of these, `heard` are those whose answers count, in
    /// the order in which they came. The others are open, and those that were called after the last
    /// answer can explain nothing.
    Search(const History& history, const std::vector<std::size_t>& members,
           const std::vector<std::size_t>& heard, std::uint64_t& steps, std::uint64_t steps_max)
        : history_(history), steps_(steps), steps_max_(steps_max) {
        constexpr std::size_t none = ~std::size_t{0};
        std::vector<std::size_t> ranks(history.size(), none);
        for (std::size_t i = 0; i < heard.size(); ++i) ranks[heard[i]] = i;
        for (std::size_t member : members) {
            const Operation<Model>& operation = history[member];
            if (heard.empty() || operation.invoked > *history[heard.back()].answered) continue;
            // An unanswered read explains nothing and disturbs nothing.
            bool is_open = ranks[member] == none;
            if (is_open && only_reads<Model>(operation.input)) continue;
            items_.push_back({member, is_open, ranks[member]});
        }
        auto before = [this](const Item& a, const Item& b) {
            if (a.open != b.open) return b.open;
            return history_[a.member].invoked < history_[b.member].invoked;
        };
        std::stable_sort(items_.begin(), items_.end(), before);
        link();
        placed_.resize(items_.size() / 64 + 1);
        open_word_ = answered_left_ / 64;
        if constexpr (requires { Model::initial(); }) {
            state_.emplace(Model::initial());
        } else {
            state_.emplace();
        }
    }

    Verdict run() {
        start_passes();
        while (answered_left_ > 0) {
            std::optional<std::size_t> item = next_candidate();
            bool is_dead_end = !item;
            if (!item) {
                note_how_far();
            } else if (steps_ >= steps_max_) {
                return Verdict::undecided;
            } else if (Placed placed = place(*item); placed == Placed::yes) {
                start_passes();
            } else {
                // A read that fits is never the wrong choice, so no other leads further either.
                is_dead_end = placed == Placed::seen_before && pass_ == reads;
            }
            if (is_dead_end && !backtrack()) return Verdict::not_linearizable;
        }
        furthest_order_ = order();
        furthest_state_ = state_;
        return Verdict::linearizable;
    }

    /// Up to where an order was found that explains all answers; what it is, and its state.
    const std::vector<std::size_t>& furthest_order() const { return furthest_order_; }
    const std::optional<State>& furthest_state() const { return furthest_state_; }
    /// The first operation whose answer was never explained, as a position in the history.
    std::size_t stuck_at() const { return items_[events_[furthest_].item].member; }

 private:
    struct Item {
        std::size_t member;
        bool open;
        std::size_t rank;                // Of its answer among all answers.
        std::size_t call = 0, back = 0;  // Its events.
    };
    struct Event {
        std::size_t item = 0;
        bool is_return = false;
        std::size_t previous = 0, next = 0;
    };
    /// Reads that fit are placed first and for good: whatever order has them later has an equal
    /// with them here. Then what was answered, then what was not.
    enum Pass { reads, answered, open };
    struct Frame {
        std::size_t item;
        State before;
        Pass pass;
        std::size_t first_return;
        std::size_t last_placed;
    };
    struct Seen {
        std::vector<std::uint64_t> placed;
        State state;
        std::uint64_t hash;
    };
    struct SeenHash {
        std::size_t operator()(const Seen& seen) const {
            return static_cast<std::size_t>(seen.hash);
        }
    };
    struct SeenEqual {
        bool operator()(const Seen& a, const Seen& b) const {
            return a.placed == b.placed && states_equal<Model>(a.state, b.state);
        }
    };

    // Events 0 and 1 are the ends of the list of those with an answer, and of the others.
    static constexpr std::size_t list = 0, open_list = 1;

    void link() {
        struct At {
            std::uint64_t time;
            bool is_return;  // At equal times calls come first: then operations overlap.
            std::size_t item;
        };
        std::vector<At> times;
        for (std::size_t i = 0; i < items_.size(); ++i) {
            const Operation<Model>& operation = history_[items_[i].member];
            times.push_back({operation.invoked, false, i});
            if (!items_[i].open) {
                times.push_back({*operation.answered, true, i});
                ++answered_left_;
            }
        }
        std::stable_sort(times.begin(), times.end(), [this](const At& a, const At& b) {
            if (a.time != b.time) return a.time < b.time;
            if (a.is_return != b.is_return) return b.is_return;
            return a.is_return && items_[a.item].rank < items_[b.item].rank;
        });
        events_.resize(2);
        events_[list] = {0, true, list, list};
        events_[open_list] = {0, true, open_list, open_list};
        for (const At& at : times) {
            std::size_t event = events_.size();
            std::size_t end = items_[at.item].open ? open_list : list;
            events_.push_back({at.item, at.is_return, events_[end].previous, end});
            events_[events_[end].previous].next = event;
            events_[end].previous = event;
            (at.is_return ? items_[at.item].back : items_[at.item].call) = event;
        }
    }

    void start_passes() {
        pass_ = reads;
        at_ = events_[list].next;
    }

    /// The next operation that may stand at this place of the order.
    std::optional<std::size_t> next_candidate() {
        for (;;) {
            if (pass_ == open) {
                // What was called after the first return cannot stand before it.
                if (at_ == open_list || at_ > first_return_) return std::nullopt;
            } else if (events_[at_].is_return) {
                first_return_ = at_;
                pass_ = pass_ == reads ? answered : open;
                at_ = events_[pass_ == answered ? list : open_list].next;
                continue;
            }
            std::size_t item = events_[std::exchange(at_, events_[at_].next)].item;
            bool is_read = only_reads<Model>(input_of(item));
            if (pass_ == open || (pass_ == reads) == is_read) return item;
        }
    }

    const typename Model::Input& input_of(std::size_t item) const {
        return history_[items_[item].member].input;
    }

    enum class Placed { yes, misfit, seen_before };

    Placed place(std::size_t item) {
        ++steps_;
        State state = *state_;
        auto output = Model::apply(state, input_of(item));
        const auto& expected = history_[items_[item].member].output;
        bool is_open = items_[item].open;
        // An open operation may answer whatever it likes, as long as nobody has heard it.
        bool heard = expected && !is_open;
        if (heard && !(output == *expected)) return Placed::misfit;
        // One that changes nothing might as well not have happened.
        if (is_open && states_equal<Model>(state, *state_)) return Placed::misfit;
        if (makes_last_useless(item, heard, state)) return Placed::misfit;
        std::size_t last = last_placed_;
        placed_[item / 64] ^= std::uint64_t{1} << (item % 64);
        unlink(items_[item].call);
        if (!is_open) {
            unlink(items_[item].back);
            --answered_left_;
            last_placed_ = (std::max)(last_placed_, item);
        }
        frames_.push_back({item, std::move(*state_), pass_, first_return_, last});
        state_.emplace(std::move(state));
        if (seen_.insert(fingerprint()).second) return Placed::yes;
        unplace();
        return Placed::seen_before;
    }

    /// Whether the operation before this one was open and need not have happened: all would be the
    /// same without it. Then the order without it leads at least as far, and is tried too.
    bool makes_last_useless(std::size_t item, bool heard, const State& state) {
        if (frames_.empty() || !items_[frames_.back().item].open) return false;
        State without = frames_.back().before;
        auto output = Model::apply(without, input_of(item));
        const auto& expected = history_[items_[item].member].output;
        return (!heard || output == *expected) && states_equal<Model>(without, state);
    }

    void unplace() {
        Frame& frame = frames_.back();
        const Item& item = items_[frame.item];
        placed_[frame.item / 64] ^= std::uint64_t{1} << (frame.item % 64);
        if (!item.open) {
            relink(item.back);
            ++answered_left_;
        }
        relink(item.call);
        state_.emplace(std::move(frame.before));
        pass_ = frame.pass;
        first_return_ = frame.first_return;
        last_placed_ = frame.last_placed;
        at_ = events_[item.call].next;
        frames_.pop_back();
    }

    /// To the last place where there is something else to try.
    bool backtrack() {
        while (!frames_.empty()) {
            bool forced = frames_.back().pass == reads;
            unplace();
            if (!forced) return true;
        }
        return false;
    }

    /// What was placed, without the beginning that is full and the end that is empty: histories are
    /// long, but few operations overlap.
    Seen fingerprint() const {
        std::size_t first = events_[events_[list].next].item / 64;
        Seen seen{{first}, *state_, 0};
        std::size_t end = (std::max)(first, last_placed_ / 64 + 1);
        for (std::size_t word = first; word < end; ++word) seen.placed.push_back(placed_[word]);
        // One word may belong to both parts, which does no harm.
        seen.placed.push_back(~std::uint64_t{0});
        for (std::size_t word = open_word_; word < placed_.size(); ++word) {
            seen.placed.push_back(placed_[word]);
        }
        std::uint64_t hash = 0x9e3779b97f4a7c15;
        for (std::uint64_t word : seen.placed) hash = stir(hash ^ word);
        if constexpr (requires { Model::digest(*state_); })
            hash = stir(hash ^ Model::digest(*state_));
        seen.hash = hash;
        return seen;
    }

    static std::uint64_t stir(std::uint64_t z) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    void unlink(std::size_t event) {
        events_[events_[event].previous].next = events_[event].next;
        events_[events_[event].next].previous = events_[event].previous;
    }
    void relink(std::size_t event) {
        events_[events_[event].previous].next = event;
        events_[events_[event].next].previous = event;
    }

    void note_how_far() {
        if (furthest_ != 0 && first_return_ <= furthest_) return;
        furthest_ = first_return_;
        furthest_order_ = order();
        furthest_state_ = state_;
    }

    std::vector<std::size_t> order() const {
        std::vector<std::size_t> members;
        for (const Frame& frame : frames_) members.push_back(items_[frame.item].member);
        return members;
    }

    const History& history_;
    std::uint64_t& steps_;
    std::uint64_t steps_max_;
    std::vector<Item> items_;  // With an answer, by their calls; then those without.
    std::vector<Event> events_;
    std::size_t answered_left_ = 0;
    std::vector<std::uint64_t> placed_;
    std::size_t open_word_ = 0;    // Where in placed_ those without an answer begin.
    std::size_t last_placed_ = 0;  // Of those with one.
    std::optional<State> state_;
    std::vector<Frame> frames_;
    std::unordered_set<Seen, SeenHash, SeenEqual> seen_;
    Pass pass_ = reads;
    std::size_t at_ = 0;            // The event to look at next.
    std::size_t first_return_ = 0;  // In the list, as found by the first pass.
    std::size_t furthest_ = 0;
    std::vector<std::size_t> furthest_order_;
    std::optional<State> furthest_state_;
};

/// What cannot be explained, and what can. Not exact: it may be that more can.
template <class Model>
std::string tell(const std::vector<Operation<Model>>& history,
                 const std::vector<std::size_t>& by_answer, std::size_t explained, bool exact,
                 const std::vector<std::size_t>& order,
                 const std::optional<typename Model::State>& state) {
    std::ostringstream text;
    text << "not linearizable: " << (exact ? "" : "at least ") << explained << " of "
         << by_answer.size() << " answers can be explained, but not "
         << (exact ? "the next, whatever else took effect:" : "all; the search got stuck at:")
         << "\n    " << show_operation(history[by_answer[explained]])
         << "\nAn order that explains all answers before it:\n";
    for (std::size_t member : order) text << "    " << show_operation(history[member]) << "\n";
    if (order.empty()) text << "    (there were none)\n";
    std::string shown = state ? show_with<Model>(*state) : "?";
    if (shown != "?") text << "which leaves the state " << shown << "\n";
    return text.str();
}

/// The history of one key; adds to the result.
template <class Model>
Verdict check_part(const std::vector<Operation<Model>>& history,
                   const std::vector<std::size_t>& members, std::uint64_t steps_max,
                   Linearizability& result) {
    std::vector<std::size_t> by_answer;
    for (std::size_t member : members) {
        if (history[member].answered) by_answer.push_back(member);
    }
    std::stable_sort(by_answer.begin(), by_answer.end(), [&](std::size_t a, std::size_t b) {
        return *history[a].answered < *history[b].answered;
    });
    Search<Model> whole(history, members, by_answer, result.steps, steps_max);
    Verdict verdict = whole.run();
    std::vector<std::size_t> order = whole.furthest_order();
    if (verdict == Verdict::linearizable) {
        result.order.insert(result.order.end(), order.begin(), order.end());
    }
    if (verdict != Verdict::not_linearizable) return verdict;

    // Up to any moment, what is not answered yet is free to answer anything, and what the search
    // got stuck at may be due to a later answer: so the longest prefix may be longer than it came.
    // Prefixes of what is linearizable are linearizable, so it is found by halving. Where that
    // takes too many steps, the prefix told is shorter, but never one that cannot be explained.
    auto stuck = std::find(by_answer.begin(), by_answer.end(), whole.stuck_at());
    auto good = static_cast<std::size_t>(stuck - by_answer.begin());  // So many can be explained,
    std::size_t bad = by_answer.size();                               // and so many cannot.
    std::optional<typename Model::State> state = whole.furthest_state();
    std::size_t middle = good + 1;
    while (good + 1 < bad) {
        std::vector<std::size_t> heard(by_answer.begin(),
                                       by_answer.begin() + static_cast<std::ptrdiff_t>(middle));
        Search<Model> prefix(history, members, heard, result.steps, steps_max);
        Verdict found = prefix.run();
        if (found == Verdict::undecided) break;
        (found == Verdict::linearizable ? good : bad) = middle;
        if (found == Verdict::linearizable) {
            order = prefix.furthest_order();
            state = prefix.furthest_state();
        }
        middle = good + (bad - good + 1) / 2;
    }
    result.culprit = by_answer[good];
    result.order = order;
    result.text = tell(history, by_answer, good, good + 1 == bad, order, state);
    return verdict;
}

}  // namespace detail

/// Whether the history can be explained by a model that does one operation after another.
template <class Model>
Linearizability check_linearizability(const std::vector<Operation<Model>>& history,
                                      LinearizabilityLimits limits = {}) {
    Linearizability result;
    for (const Operation<Model>& operation : history) {
        if (!operation.answered || *operation.answered >= operation.invoked) continue;
        result.text =
            "undecided: the history has an operation that was answered before its call: " +
            detail::show_operation(operation);
        return result;
    }
    auto check = [&](const std::vector<std::size_t>& members) {
        Verdict verdict = detail::check_part(history, members, limits.steps, result);
        if (verdict == Verdict::undecided) {
            result.text =
                "undecided: not settled within " + std::to_string(limits.steps) + " placements";
        }
        return verdict;
    };
    result.verdict = Verdict::linearizable;
    if constexpr (requires(const typename Model::Input& input) { Model::key_of(input); }) {
        using Key = std::decay_t<decltype(Model::key_of(history.front().input))>;
        std::map<Key, std::vector<std::size_t>> parts;
        for (std::size_t i = 0; i < history.size(); ++i) {
            parts[Model::key_of(history[i].input)].push_back(i);
        }
        for (const auto& part : parts) {
            Verdict verdict = check(part.second);
            if (verdict != Verdict::linearizable) result.verdict = verdict;
            if (verdict == Verdict::not_linearizable) {
                result.text = "of key " + detail::show_with<Model>(part.first) + ", " + result.text;
                break;
            }
        }
    } else {
        std::vector<std::size_t> all(history.size());
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
        result.verdict = check(all);
    }
    if (result.verdict == Verdict::linearizable) result.text = "linearizable";
    return result;
}

}  // namespace little_raft::testing
