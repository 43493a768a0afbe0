// Many seeds, each with a cluster and a mix of faults of its own, since what one mix hides another
// shows; and what to do with one that fails: make it short, tell it, keep it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "invariants.hpp"
#include "random.hpp"
#include "record.hpp"
#include "report.hpp"
#include "schedule.hpp"
#include "simulator.hpp"
#include "subject.hpp"

namespace little_raft::testing {

// ----- Drawing -----------------------------------------------------------------------------------

/// How often each step comes, in 256ths.
class Mix {
 public:
    /// Faults are missing in a good share of all mixes; timers fire often or seldom; partitions
    /// last or do not; where time passes by itself, few messages are moved by hand.
    static Mix draw(Random& random, const Configuration& configuration,
                    bool members_change = false) {
        static constexpr std::array<std::uint64_t, step_kinds> usual = {
            200, 12, 12, 3, 28, 1, 24, 20, 6, 14, 4, 3, 10, 4, 8, 2, 3, 3, 2, 4, 8, 40, 10};
        std::array<std::uint64_t, step_kinds> weights = usual;
        if (!members_change) weights[static_cast<std::size_t>(Step::change)] = 0;
        for (std::size_t i = 0; i < step_kinds; ++i) {
            if (weights[i] == 0) continue;
            weights[i] *= 1 + random.below(4);
            if (is_fault(static_cast<Step>(i)) && random.one_in(2)) weights[i] = 0;
        }
        if (configuration.async_disk == 0) weights[static_cast<std::size_t>(Step::end_sync)] = 0;
        if (random.one_in(2)) weights[static_cast<std::size_t>(Step::end_sync)] /= 8;
        // Reads bring about messages that may stand in for others.
        if (random.one_in(3)) weights[static_cast<std::size_t>(Step::read)] = 0;
        auto scale = [&](Step step, std::uint64_t times, std::uint64_t parts) {
            auto& weight = weights[static_cast<std::size_t>(step)];
            weight = weight * times / parts;
        };
        switch (random.below(6)) {
            case 0:
                scale(Step::time_out, 4, 1);
                break;
            case 1:
                scale(Step::time_out, 1, 3);
                scale(Step::advance, 1, 3);
                break;
            case 2:
                scale(Step::deliver, 1, 3);
                break;
            case 3:
                scale(Step::propose, 3, 1);
                break;
            default:
                break;
        }
        if (random.one_in(4)) scale(Step::partition, 1, 4), scale(Step::heal, 1, 8);
        // What leases exclude takes a while by many clocks.
        if (random.one_in(configuration.leases != 0 ? 5 : 8)) {
            scale(Step::run, 40, 1);
            scale(Step::deliver, 1, 8);
            scale(Step::time_out, 1, 8);
        }
        // Whatever is dead or paused must have a way back, or nothing happens any more.
        auto need = [&](Step fault, Step way_back) {
            auto& back = weights[static_cast<std::size_t>(way_back)];
            back = std::max(back, weights[static_cast<std::size_t>(fault)]);
        };
        need(Step::crash, Step::restart);
        need(Step::fail_sync, Step::restart);
        need(Step::pause, Step::resume);
        return Mix(weights);
    }

    Op op(Random& random) const {
        std::uint64_t drawn = random.next();
        return {steps_[drawn % steps_.size()], static_cast<std::uint32_t>(drawn >> 16 & 0xffff),
                static_cast<std::uint32_t>(drawn >> 32 & 0xffff)};
    }

    static bool is_fault(Step step) {
        switch (step) {
            case Step::deliver:
            case Step::time_out:
            case Step::run:
            case Step::advance:
            case Step::propose:
            case Step::read:
            case Step::end_sync:
            case Step::restart:
            case Step::heal:
            case Step::resume:
                return false;
            default:
                return true;
        }
    }

 private:
    explicit Mix(const std::array<std::uint64_t, step_kinds>& weights) {
        std::uint64_t total = 0;
        for (std::uint64_t weight : weights) total += weight;
        std::size_t at = 0;
        for (std::size_t i = 0; i < step_kinds; ++i) {
            std::uint64_t places = weights[i] * steps_.size() / total;
            if (weights[i] > 0) places = std::max<std::uint64_t>(places, 1);
            for (; places > 0 && at < steps_.size(); --places) steps_[at++] = static_cast<Step>(i);
        }
        // What the divisions left over are deliveries, as constructed.
    }

    std::array<Step, 256> steps_{};
};

/// One of two mixes at a time, in turns of irregular length, or a single one.
inline Schedule draw_schedule(Random& random, std::size_t length,
                              const Configuration& configuration, bool members_change = false) {
    Mix mixes[2] = {Mix::draw(random, configuration, members_change),
                    Mix::draw(random, configuration, members_change)};
    bool bursts = random.one_in(3);
    std::size_t which = 0;
    Schedule schedule(length);
    for (Op& op : schedule) {
        op = mixes[which].op(random);
        if (bursts && random.one_in(40)) which = 1 - which;
    }
    return schedule;
}

/// A cluster and what is done to it.
struct Case {
    Configuration configuration;
    Schedule schedule;
};

/// Some bugs need a thousand steps and more.
inline Case draw_case(std::uint64_t seed, std::uint64_t index, bool members_change = false) {
    Random random(mix(seed, index));
    Case drawn;
    drawn.configuration = Configuration::draw(random, members_change);
    std::size_t length = random.one_in(300) ? 2'500 : random.one_in(12) ? 1'000 : 400;
    drawn.schedule = draw_schedule(random, length, drawn.configuration, members_change);
    return drawn;
}

// ----- Settings and results ----------------------------------------------------------------------

struct Settings {
    std::uint64_t seed = 1;
    std::uint64_t schedules = 2'000;
    std::uint64_t first = 0;    ///< The number of the first schedule of this seed.
    std::uint64_t threads = 1;  ///< They change how long it takes, and nothing else.
    /// Whether a run of 1,000 schedules and more fails if something was never seen.
    bool wants_all_events = true;
    std::string title = {};               ///< Of the timeline.
    std::string timeline_directory = {};  ///< Empty: the working directory.

    /// LITTLE_RAFT_SEED, LITTLE_RAFT_SCHEDULES, LITTLE_RAFT_THREADS and LITTLE_RAFT_TIMELINE_DIR,
    /// where they are set. Throws std::invalid_argument where a number is none, or 0 and not the
    /// seed.
    static Settings from_environment() { return from_environment(Settings{}); }
    static Settings from_environment(Settings otherwise) {
        number_from("LITTLE_RAFT_SEED", otherwise.seed);
        number_from("LITTLE_RAFT_SCHEDULES", otherwise.schedules);
        number_from("LITTLE_RAFT_THREADS", otherwise.threads);
        const char* directory = std::getenv("LITTLE_RAFT_TIMELINE_DIR");
        if (directory && *directory) otherwise.timeline_directory = directory;
        return otherwise;
    }

 private:
    static void number_from(const char* variable, std::uint64_t& number) {
        const char* text = std::getenv(variable);
        if (!text || !*text) return;
        const char* end = text + std::strlen(text);
        bool is_seed = variable == std::string_view("LITTLE_RAFT_SEED");
        auto [stopped, error] = std::from_chars(text, end, number);
        if (error == std::errc{} && stopped == end && (number > 0 || is_seed)) return;
        throw std::invalid_argument(std::string(variable) + " is '" + text +
                                    "', which is no number" + (is_seed ? "" : " above 0"));
    }
};

/// Why what is repeated may end in another way.
inline constexpr const char* unsteady =
    "Then something in the subject goes another way from run to run: a clock, a random number, an "
    "address, memory that was never set, or a thread.\n";

struct Result {
    bool passed = true;
    std::string text;  ///< For people: what was done and seen, or what went wrong.
    Coverage coverage;
    std::uint64_t schedules = 0;  ///< How many were run.

    // Of the first schedule that failed, if any did.
    std::optional<std::uint64_t> failed = std::nullopt;  ///< Its number.
    std::optional<Failure> failure = std::nullopt;
    Case shortest = {};
    Record record = {};
    std::string timeline = {};  ///< The path of a picture.
};

/// What a subject can never show, as counts that are not 0.
template <class S>
Coverage impossible_for() {
    using Traits = SubjectTraits<S>;
    Coverage coverage;
    if (!Traits::snapshotting) {
        for (Event event :
             {Event::snapshot_created, Event::snapshot_installed, Event::log_compacted})
            coverage[event] = 1;
        coverage[Law::snapshots_come_back] = coverage[Law::bounded_memory] = 1;
    }
    if (!Traits::encodes) coverage[Law::messages_survive] = 1;
    if (!Traits::observes) coverage[Law::linearizability] = 1;
    if (!MachineModel<S>::is_possible) coverage[Event::history_decided] = 1;
    coverage[Event::history_undecided] = 1;  // Better never.
    if (!Traits::has_invariant) coverage[Law::own_invariant] = 1;
    for (Event event : {Event::change_asked, Event::change_begun, Event::change_committed,
                        Event::change_refused, Event::change_overruled, Event::change_unknown,
                        Event::joint_left, Event::membership_rolled_back, Event::learner_promoted,
                        Event::leader_removed, Event::removed_ignored})
        coverage[event] = Traits::members_change ? 0 : 1;
    // These are for a cluster that has a size.
    for (Event event : {Event::deaf_leader_replaced, Event::bridge_led, Event::slow_borne,
                        Event::outsider_ignored, Event::cut_off_ignored, Event::minority_asked,
                        Event::calm, Event::lease_outlasted_restarts})
        coverage[event] = Traits::members_change ? 1 : 0;
    for (Law law :
         {Law::last_membership_in_force, Law::members_change_in_order, Law::changes_end_once})
        coverage[law] = Traits::members_change ? 0 : 1;
    if (!Traits::async_disk) coverage[Event::sync_ended] = coverage[Event::sync_overtaken] = 1;
    if (Traits::stores) coverage[Event::unsynced_write_lost] = coverage[Event::append_torn] = 1;
    return coverage;
}

// ----- Shrinking ---------------------------------------------------------------------------------

/// Looks for a shorter and simpler case that breaks the same law.
template <class S>
class Shrinker {
 public:
    Shrinker(Case found, Law law, std::uint64_t runs_max = 30'000)
        : best_(std::move(found)), law_(law), runs_left_(runs_max) {}

    Case shrink() {
        make_exact();
        for (bool progress = true; progress && runs_left_ > 0;) {
            progress = delete_pieces();
            progress = simplify_configuration() || progress;
            progress = simplify_steps() || progress;
        }
        return best_;
    }

 private:
    bool try_case(Case candidate) {
        if (runs_left_ == 0) return false;
        --runs_left_;
        Simulator<S> simulator(candidate.configuration);
        if (simulator.run(candidate.schedule) || simulator.failure()->law != law_) return false;
        // What was to come after the failure is of no use.
        if (simulator.steps() < candidate.schedule.size())
            candidate.schedule.resize(static_cast<std::size_t>(simulator.steps()));
        best_ = std::move(candidate);
        return true;
    }

    /// Steps that keep their meaning where others are taken out.
    void make_exact() {
        Case exact = best_;
        Simulator<S> simulator(exact.configuration);
        for (Op& op : exact.schedule) {
            op = simulator.resolve(op);
            simulator.apply(op);
            if (simulator.failure()) break;
        }
        try_case(std::move(exact));
    }

    /// Large pieces first, single steps last.
    bool delete_pieces() {
        bool progress = try_case(best_) && false;
        for (std::size_t piece = std::max<std::size_t>(best_.schedule.size() / 2, 1); piece > 0;
             piece /= 2) {
            for (std::size_t at = 0; at < best_.schedule.size() && runs_left_ > 0;) {
                Case shorter = best_;
                auto first = shorter.schedule.begin() + static_cast<std::ptrdiff_t>(at);
                std::size_t count = std::min(piece, shorter.schedule.size() - at);
                shorter.schedule.erase(first, first + static_cast<std::ptrdiff_t>(count));
                if (try_case(std::move(shorter))) {
                    progress = true;
                } else {
                    at += piece;
                }
            }
        }
        return progress;
    }

    /// Fewer replicas, and otherwise what a configuration is by default.
    bool simplify_configuration() {
        bool progress = false;
        for (std::uint64_t replicas = 1; replicas < best_.configuration.replicas; ++replicas) {
            Case smaller = best_;
            smaller.configuration.replicas = replicas;
            smaller.configuration.newcomers %= replicas;
            progress = try_case(std::move(smaller)) || progress;
        }
        for (const Configuration::Field& field : Configuration::fields()) {
            if (field.value == &Configuration::replicas) continue;
            Case simpler = best_;
            simpler.configuration.*field.value = Configuration{}.*field.value;
            if (simpler.configuration == best_.configuration) continue;
            progress = try_case(std::move(simpler)) || progress;
        }
        return progress;
    }

    /// Smaller numbers, and ordinary steps for rare ones.
    bool simplify_steps() {
        bool progress = false;
        for (std::size_t k = 0; k < best_.schedule.size(); ++k) {
            Op op = best_.schedule[k];
            bool crashes = op.step == Step::crash;
            for (const Op& simpler : {Op{op.step, 0, 0}, Op{op.step, 0, op.b}, Op{op.step, op.a, 0},
                                      Op{op.step, op.a % 8, op.b}, Op{op.step, op.a, op.b % 8},
                                      Op{op.step, op.a, op.b % 64},
                                      Op{crashes ? Step::crash : Step::deliver, op.a, op.b},
                                      Op{Step::time_out, op.a, op.b}}) {
                if (!is_simpler(simpler, best_.schedule[k]) || k >= best_.schedule.size()) continue;
                Case candidate = best_;
                candidate.schedule[k] = simpler;
                progress = try_case(std::move(candidate)) || progress;
                if (k >= best_.schedule.size()) break;
            }
        }
        return progress;
    }
    static bool is_simpler(const Op& a, const Op& b) {
        auto cost = [](const Op& op) {
            std::uint64_t rare = op.step == Step::deliver    ? 0
                                 : op.step == Step::time_out ? 1
                                 : Mix::is_fault(op.step)    ? 3
                                                             : 2;
            return rare << 40 | (std::uint64_t{op.a} + op.b);
        };
        return cost(a) < cost(b);
    }

    Case best_;
    Law law_;
    std::uint64_t runs_left_;
};

// ----- Running -----------------------------------------------------------------------------------

/// Repeats a case and tells all about it. `passed` where nothing breaks.
template <class S>
Result repeat(const Case& what, const Settings& settings, std::uint64_t index = 0) {
    Result result;
    result.schedules = 1;
    Record& record = result.record;
    Simulator<S> simulator(what.configuration, &record);
    bool passed = simulator.run(what.schedule);
    result.coverage = simulator.coverage();
    result.failure = simulator.failure();
    if (passed) {
        result.text = std::string("The schedule broke no law. Did it before? ") + unsteady;
        return result;
    }
    result.passed = false;
    result.failed = index;
    result.shortest = what;
    const LawText& law = text_of(result.failure->law);
    if (!record.steps.empty()) {
        record.steps.back().events.push_back({Record::What::violation, result.failure->replica,
                                              std::nullopt, result.failure->detail});
    }
    record.title = settings.title.empty() ? type_name<S>() : settings.title;
    record.configuration = what.configuration.to_text();
    record.seed = settings.seed;
    record.invariant = law.name;
    record.violation = result.failure->detail;
    record.explanation = result.failure->explanation;
    record.source = law.source;
    record.violator = result.failure->replica;
    record.replay = replay_test(type_name<S>(), what.configuration, what.schedule,
                                std::string(law.name) + ", schedule " + std::to_string(index) +
                                    " of seed " + std::to_string(settings.seed));
    result.text = report(record);
    std::string directory = settings.timeline_directory.empty() ? "." : settings.timeline_directory;
    result.timeline = write_timeline(record, directory);
    result.text += result.timeline.empty() ? "\nNo picture could be written to " + directory
                                           : "\nTo see it: " + result.timeline;
    result.text += '\n';
    return result;
}

/// Repeats a failure from its texts.
template <class S>
Result replay(const std::string& configuration_text, const std::string& schedule_text,
              const Settings& settings = Settings::from_environment()) {
    auto configuration = Configuration::of(configuration_text);
    auto schedule = schedule_of(schedule_text);
    if (configuration && schedule) return repeat<S>({*configuration, *schedule}, settings);
    Result result;
    result.passed = false;
    result.text = configuration ? "This is no schedule: " + schedule_text
                                : "This is no configuration: " + configuration_text;
    return result;
}

/// Looks for another case that breaks the same law, in a small cluster and within few steps: it is
/// easier to find one than to make a large one small.
template <class S>
std::optional<Case> find_simpler(const Case& found, Law law, std::uint64_t seed) {
    if constexpr (SubjectTraits<S>::stores) return std::nullopt;  // Files are slow.
    static constexpr std::array<std::uint64_t, 4> sizes = {3, 2, 3, 4};
    static constexpr std::array<std::size_t, 4> lengths = {15, 30, 60, 120};
    for (std::size_t length : lengths) {
        if (length >= found.schedule.size()) break;
        for (std::uint64_t k = 0; k < 5'000; ++k) {
            Case drawn = draw_case(mix(seed, length), k, SubjectTraits<S>::members_change);
            drawn.configuration.replicas = sizes[k % sizes.size()];
            drawn.configuration.newcomers %= drawn.configuration.replicas;
            drawn.configuration.finale = found.configuration.finale;
            drawn.configuration.leases = found.configuration.leases;
            drawn.configuration.async_disk = found.configuration.async_disk;
            drawn.configuration.long_polls = found.configuration.long_polls;
            drawn.schedule.resize(length);
            Simulator<S> simulator(drawn.configuration);
            if (!simulator.run(drawn.schedule) && simulator.failure()->law == law) return drawn;
        }
    }
    return std::nullopt;
}

/// Makes a failing case short, then tells it. One that does not fail each time has failed all the
/// same.
template <class S>
Result explain(const Case& found, const Failure& failure, const Settings& settings,
               std::uint64_t index = 0) {
    Law law = failure.law;
    Case shortest = Shrinker<S>(found, law).shrink();
    if (auto simpler = find_simpler<S>(found, law, settings.seed)) {
        Case other = Shrinker<S>(*simpler, law).shrink();
        auto cost = [](const Case& c) { return c.schedule.size() + 2 * c.configuration.replicas; };
        if (cost(other) < cost(shortest)) shortest = std::move(other);
    }
    Result result = repeat<S>(shortest, settings, index);
    result.text += "Shrunk from " + std::to_string(found.schedule.size()) + " steps to " +
                   std::to_string(shortest.schedule.size()) + ".\n";
    Simulator<S> again(shortest.configuration);
    if (!result.passed && !again.run(shortest.schedule) && again.failure()->law == law)
        return result;
    if (result.passed) {
        result.passed = false;
        result.failed = index;
        result.failure = failure;
        result.shortest = found;
        result.text = std::string(text_of(law).name) + " is broken: " + failure.detail +
                      " (replica " + std::to_string(failure.replica + 1) + ").\n" +
                      failure.explanation + "It was in schedule " + std::to_string(index) +
                      " of seed " + std::to_string(settings.seed) + ".\n";
    }
    result.text += std::string("The same schedule does not break it each time. ") + unsteady;
    return result;
}

namespace swarm_detail {
inline constexpr std::uint64_t block_size = 16;

/// Consecutive schedules, run by one thread up to the first that fails.
struct Block {
    Coverage coverage;
    std::uint64_t schedules = 0;
    std::optional<std::uint64_t> failed;
    Failure failure;
};

template <class S>
Block run_block(const Settings& settings, std::uint64_t first, std::uint64_t end) {
    Block block;
    for (std::uint64_t index = first; index < end && !block.failed; ++index) {
        Case drawn = draw_case(settings.seed, index, SubjectTraits<S>::members_change);
        ++block.schedules;
        Simulator<S> simulator(drawn.configuration);
        bool passed = simulator.run(drawn.schedule);
        block.coverage.add(simulator.coverage());
        if (passed) continue;
        block.failed = index;
        block.failure = *simulator.failure();
    }
    return block;
}
}  // namespace swarm_detail

/// Runs the schedules of a seed on clusters of the subject's machine, up to the first that breaks a
/// law. Same settings, same result, however many threads.
template <class S>
Result check(const Settings& settings = Settings::from_environment()) {
    using namespace swarm_detail;
    std::vector<Block> blocks(
        static_cast<std::size_t>((settings.schedules + block_size - 1) / block_size));
    std::atomic<std::size_t> next{0};
    std::atomic<std::size_t> last{blocks.size()};
    auto work = [&] {
        for (std::size_t k = next++; k < blocks.size() && k <= last; k = next++) {
            std::uint64_t first = settings.first + k * block_size;
            std::uint64_t end = settings.first + settings.schedules;
            blocks[k] = run_block<S>(settings, first, std::min(first + block_size, end));
            std::size_t before = last;
            while (blocks[k].failed && k < before && !last.compare_exchange_weak(before, k)) {
            }
        }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t k = 1; k < settings.threads; ++k) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();

    Result result;
    for (const Block& block : blocks) {
        result.coverage.add(block.coverage);
        result.schedules += block.schedules;
        if (!block.failed) continue;
        Case failed = draw_case(settings.seed, *block.failed, SubjectTraits<S>::members_change);
        Result told = explain<S>(failed, block.failure, settings, *block.failed);
        told.coverage = result.coverage;
        told.schedules = result.schedules;
        return told;
    }
    result.text = std::to_string(result.schedules) + " schedules of seed " +
                  std::to_string(settings.seed) + " broke no law.\n" + result.coverage.to_text();
    if (std::string absent = SubjectTraits<S>::absent(); !absent.empty())
        result.text += "Not checked, since the subject does not have them: " + absent + ".\n";
    if (!settings.wants_all_events || settings.schedules < 1'000) return result;
    for (const std::string& name : result.coverage.missing(impossible_for<S>())) {
        result.passed = false;
        result.text += "Never seen: " + name + ".\n";
    }
    return result;
}

}  // namespace little_raft::testing
