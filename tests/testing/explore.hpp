// Walks the real code through all interleavings within a bound: from each state every message that
// was sent arrives, every timer fires, every replica dies (also between any two calls of its disk)
// and starts again, a leader is given a transition. Each branch goes on from a copy of the whole
// cluster. There is no time: what a clock could bring about, a step can.
//
// A message that was sent stays in flight for good. So it may arrive late, more than once, before
// others that were sent earlier, or never, and any number may be in flight. Whatever is possible
// with some messages is possible with more; so a state is not walked if another was that differs
// only in having more of them. Nor is one that differs from another only in which replica is called
// which, since Raft knows no order among them. So the walk ends, and then the laws hold in every
// state within the bound, not in many of them.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "fingerprint.hpp"
#include "inspect.hpp"
#include "invariants.hpp"
#include "random.hpp"
#include "schedule.hpp"
#include "simulator.hpp"
#include "subject.hpp"
#include "swarm.hpp"

namespace little_raft::testing {

/// How far a walk goes. What is beyond is not walked; all that is within is.
struct Bounds {
    std::uint64_t replicas = 2;
    std::uint64_t terms = 2;  ///< The highest, counted on from where the walk begins; so are ...
    std::uint64_t transitions = 2;  ///< ... what is proposed in all,
    std::uint64_t crashes = 1;      ///< ... and the crashes of all replicas together.
    std::uint64_t newcomers = 0;    ///< So many replicas, the last ones, begin as no members.
    std::uint64_t changes = 0;      ///< Of the members, to any other set of voters.
    /// 1: PreVotes are walked too. 0: they count as won, which hides nothing that could break a law
    /// of safety, and leaves far fewer states.
    std::uint64_t prevote = 0;
    std::uint64_t snapshot_delta = 0;
    std::uint64_t harvest_steps = 0;  ///< Random ones, after which the walk begins.
    std::uint64_t seed = 1;           ///< Of those.
    std::uint64_t states_max = 0;     ///< The walk gives up after so many states; 0: never.

    struct Field {
        const char* name;
        std::uint64_t Bounds::*value;
    };
    static constexpr std::array<Field, 11> fields() {
        return {{{"replicas", &Bounds::replicas},
                 {"terms", &Bounds::terms},
                 {"transitions", &Bounds::transitions},
                 {"crashes", &Bounds::crashes},
                 {"newcomers", &Bounds::newcomers},
                 {"changes", &Bounds::changes},
                 {"prevote", &Bounds::prevote},
                 {"snapshot_delta", &Bounds::snapshot_delta},
                 {"harvest_steps", &Bounds::harvest_steps},
                 {"seed", &Bounds::seed},
                 {"states_max", &Bounds::states_max}}};
    }
    /// What differs from the default, and the replicas.
    std::string to_text() const {
        std::string text;
        for (const Field& field : fields()) {
            if (this->*field.value == Bounds{}.*field.value && field.value != &Bounds::replicas)
                continue;
            text += std::string(text.empty() ? "" : " ") + field.name + '=' +
                    std::to_string(this->*field.value);
        }
        return text;
    }
    /// The reverse of to_text; what is not named keeps its default. Nothing if the text names
    /// something else, or no number, or replicas or newcomers that no cluster can have.
    static std::optional<Bounds> of(const std::string& text) {
        std::optional<Bounds> bounds = read_fields<Bounds>(text);
        bool possible = bounds && bounds->newcomers < bounds->replicas &&
                        bounds->replicas <= Configuration::replicas_max;
        return possible ? bounds : std::nullopt;
    }
};

struct Exploration {
    bool complete = false;      ///< All states within the bounds were walked, and no law broke.
    std::uint64_t states = 0;   ///< Distinct ones that were walked.
    std::uint64_t maximal = 0;  ///< Those of them that lack no message that the same might have.
    std::uint64_t transitions = 0;  ///< Steps from one to another, or to one that was seen.
    std::uint64_t depth = 0;        ///< Steps in the longest path walked.
    Coverage coverage;
    std::optional<Failure> failure;
    /// If a law broke: the shortest, unless it lies deeper than search_max states show.
    Case counterexample;
};

/// States that were seen: of those that differ only in their messages, the ones with the most.
class SeenStates {
 public:
    using Set = std::vector<std::uint32_t>;  // Sorted.

    /// Says whether neither it nor one with more messages was seen.
    bool insert(std::uint64_t local, const Set& messages) {
        std::vector<Seen>& all = seen_[local];
        Seen added{messages, bits_of(messages)};
        if (std::any_of(all.begin(), all.end(), [&](const Seen& s) { return covers(s, added); }))
            return false;
        size_ -= std::erase_if(all, [&](const Seen& s) { return covers(added, s); });
        all.push_back(std::move(added));
        ++size_;
        return true;
    }
    /// Whether one with more messages was seen since it was.
    bool is_covered(std::uint64_t local, const Set& messages) const {
        const std::vector<Seen>& all = seen_.at(local);
        return std::none_of(all.begin(), all.end(),
                            [&](const Seen& s) { return s.messages == messages; });
    }
    std::uint64_t size() const { return size_; }

 private:
    struct Seen {
        Set messages;
        std::uint64_t bits;  // One for each message: they tell most sets that don't include it.
    };
    static bool covers(const Seen& a, const Seen& b) {
        return (b.bits & ~a.bits) == 0 && std::includes(a.messages.begin(), a.messages.end(),
                                                        b.messages.begin(), b.messages.end());
    }
    static std::uint64_t bits_of(const Set& messages) {
        std::uint64_t bits = 0;
        for (std::uint32_t message : messages) bits |= std::uint64_t{1} << (message % 64);
        return bits;
    }

    std::unordered_map<std::uint64_t, std::vector<Seen>> seen_;
    std::uint64_t size_ = 0;
};

template <class S>
class Explorer {
 public:
    explicit Explorer(const Bounds& bounds) : bounds_(bounds) {
        Configuration& c = start_.configuration;
        c.replicas = bounds.replicas;
        c.newcomers = bounds.newcomers;
        c.snapshot_delta = bounds.snapshot_delta;
        c.snapshot_trailing = 0;
        c.chunk_bytes = 1000;
        c.entries_per_message = 8;
        c.inflight_messages = 2;
        c.flying_max = 10'000;
        c.untimed = bounds.prevote != 0 ? 1 : 2;
        if (bounds.harvest_steps > 0) harvest();
    }

    /// Tells how it goes every hundred thousand states.
    template <class Tell>
    Exploration run(Tell tell, std::uint64_t threads = 1) {
        Exploration found = Walk{*this, false, bounds_.states_max}.run(tell, threads);
        if (!found.failure) return found;
        // The first path found is seldom the shortest; by the length of the way, it is.
        Exploration nearest = Walk{*this, true, search_max}.run([](const Exploration&) {}, 1);
        if (nearest.failure) {
            found.failure = nearest.failure;
            found.counterexample = nearest.counterexample;
        }
        return found;
    }
    Exploration run() {
        return run([](const Exploration&) {});
    }

 private:
    using Traits = SubjectTraits<S>;
    using Cluster = Simulator<S>;
    using Node = typename Cluster::Node;
    static constexpr std::uint64_t search_max = 300'000;

    /// One step of the walk: an op, after another that says when the replica dies in it.
    struct Move {
        Op op;
        std::optional<Op> crash = std::nullopt;
    };

    /// A state as it is compared with others.
    struct Print {
        std::uint64_t local = 0;  // Of the replicas, and of what is remembered of the past.
        std::uint64_t all = 0;    // Of the messages too.
        std::vector<std::uint64_t> messages = {};
    };

    /// A state to go on from.
    struct State {
        std::unique_ptr<Cluster> cluster;
        std::uint64_t local = 0;  // As in Print; so is ...
        std::uint64_t all = 0;    // ... this.
        SeenStates::Set messages = {};
        std::uint64_t rank = 0;
        std::size_t link = 0;  // The last step of the way here.
        std::size_t depth = 0;

        /// The heap has the largest first: those that are least far on, among them those with the
        /// most messages. So most are met with all the messages that they can have.
        friend bool operator<(const State& a, const State& b) {
            return std::tuple(b.rank, a.messages.size(), b.link) <
                   std::tuple(a.rank, b.messages.size(), a.link);
        }
    };

    class Walk {
     public:
        Walk(const Explorer& explorer, bool shortest, std::uint64_t states_max)
            : explorer_(explorer), shortest_(shortest), states_max_(states_max) {}

        template <class Tell>
        Exploration run(Tell tell, std::uint64_t threads) {
            threads_ = threads;
            auto start = std::make_unique<Cluster>(explorer_.start_.configuration);
            for (const Op& op : explorer_.start_.schedule) start->apply(op);
            links_.push_back({});
            Print print = explorer_.print_of(*start);
            add({}, {std::move(start), {}, std::move(print)});
            std::vector<std::thread> others;
            for (std::uint64_t k = 1; k < threads; ++k) others.emplace_back([&] { work(tell); });
            work(tell);
            for (std::thread& other : others) other.join();
            result_.maximal = seen_.size();
            result_.complete = !result_.failure && heap_.empty();
            return std::move(result_);
        }

     private:
        struct Link {
            std::size_t before = 0;
            Move move = {};
        };
        struct Successor {
            std::unique_ptr<Cluster> cluster;
            Move move;
            Print print;
        };
        /// Messages that changed nothing, and brought about nothing that was not in flight, each
        /// with the state of its receiver and with what that had sent. They will not do so again.
        using Deliveries = std::unordered_set<std::uint64_t>;

        template <class Tell>
        void work(Tell& tell) {
            Deliveries without_effect;
            std::unique_lock lock(mutex_);
            while (std::optional<State> state = next(lock)) {
                lock.unlock();
                Exploration part;
                std::vector<Successor> successors = expand(*state, part, without_effect);
                lock.lock();
                result_.transitions += part.transitions;
                merge(result_.coverage, part.coverage);
                if (part.failure && !result_.failure) {
                    result_.failure = part.failure;
                    result_.counterexample = case_of(state->link, successors.back().move);
                    over_ = true;
                    changed_.notify_all();
                    return;
                }
                for (Successor& successor : successors) add(*state, std::move(successor));
                if (++result_.states % 100'000 == 0) {
                    result_.maximal = seen_.size();
                    tell(result_);
                }
            }
        }

        /// Nothing once all are walked.
        std::optional<State> next(std::unique_lock<std::mutex>& lock) {
            ++idle_;
            while (true) {
                changed_.wait(lock, [&] { return over_ || !heap_.empty() || idle_ == threads_; });
                bool gives_up = states_max_ > 0 && result_.states >= states_max_;
                over_ = over_ || heap_.empty() || gives_up;
                if (over_) {
                    changed_.notify_all();
                    return std::nullopt;
                }
                std::pop_heap(heap_.begin(), heap_.end());
                State state = std::move(heap_.back());
                heap_.pop_back();
                // But of two ways the shorter may lead to the state with fewer.
                if (!shortest_ && seen_.is_covered(state.local, state.messages)) continue;
                --idle_;
                return state;
            }
        }

        /// Where a step may lead. Of a failure, the step that led to it is the last.
        std::vector<Successor> expand(const State& state, Exploration& part,
                                      Deliveries& without_effect) const {
            std::vector<std::uint64_t> receivers = explorer_.receivers_of(*state.cluster);
            std::vector<Successor> successors;
            std::optional<Op> done;
            for (const Move& move : explorer_.moves_of(*state.cluster)) {
                if (move.crash && move.op == done) continue;
                std::uint64_t delivery = 0;
                if (move.op.step == Step::duplicate) {
                    const auto& flying = state.cluster->flying_[move.op.a];
                    delivery = mix(mix(receivers[flying.to], flying.from),
                                   mix(flying.message->term.value, flying.hash));
                    if (!move.crash && without_effect.contains(delivery)) {
                        ++part.transitions;
                        done = move.op;
                        continue;
                    }
                }
                auto cluster = std::make_unique<Cluster>(*state.cluster);
                std::uint64_t crashes = cluster->coverage()[Event::crash];
                if (move.crash) cluster->apply(*move.crash);
                cluster->apply(move.op);
                if (move.crash && cluster->coverage()[Event::crash] == crashes) {
                    done = move.op;  // It makes fewer calls of its disk than that.
                    continue;
                }
                ++part.transitions;
                merge(part.coverage, cluster->coverage());
                part.failure = cluster->failure();
                if (!part.failure && !explorer_.is_within(*cluster)) continue;
                Print after = part.failure ? Print{} : explorer_.print_of(*cluster);
                bool idle = !part.failure && !move.crash && after.local == state.local;
                if (idle) {
                    done = move.op;  // It calls no disk.
                    if (after.all == state.all) {
                        // If it was answered at all, the answer is still in flight.
                        std::uint64_t arrived = cluster->coverage()[Event::delivery] -
                                                state.cluster->coverage()[Event::delivery];
                        if (delivery != 0 && arrived == 1) without_effect.insert(delivery);
                        continue;
                    }
                    // What sends something new and changes nothing else can be done first: whatever
                    // was possible before is so after it. But of a shortest way no step is spared.
                    if (!shortest_) successors.clear();
                }
                successors.push_back({std::move(cluster), move, std::move(after)});
                if (part.failure || (idle && !shortest_)) break;
            }
            return successors;
        }

        void add(const State& from, Successor successor) {
            State state{std::move(successor.cluster), successor.print.local, successor.print.all};
            for (std::uint64_t message : successor.print.messages) {
                auto number = static_cast<std::uint32_t>(numbers_.size());
                state.messages.push_back(numbers_.try_emplace(message, number).first->second);
            }
            std::sort(state.messages.begin(), state.messages.end());
            if (!seen_.insert(state.local, state.messages)) return;
            state.depth = from.depth + 1;
            state.rank = shortest_ ? state.depth : explorer_.rank_of(*state.cluster);
            state.link = links_.size();
            links_.push_back({from.link, successor.move});
            result_.depth = std::max<std::uint64_t>(result_.depth, from.depth);
            heap_.push_back(std::move(state));
            std::push_heap(heap_.begin(), heap_.end());
            changed_.notify_one();
        }

        Case case_of(std::size_t link, const Move& last) const {
            std::vector<Move> moves = {last};
            for (; links_[link].before != 0; link = links_[link].before)
                moves.push_back(links_[link].move);
            Case result = explorer_.start_;
            for (std::size_t k = moves.size(); k > 0; --k) {
                if (moves[k - 1].crash) result.schedule.push_back(*moves[k - 1].crash);
                result.schedule.push_back(moves[k - 1].op);
            }
            return result;
        }

        const Explorer& explorer_;
        bool shortest_ = false;
        std::uint64_t states_max_ = 0;
        std::uint64_t threads_ = 1;
        std::mutex mutex_;  // Of what follows.
        std::condition_variable changed_;
        std::uint64_t idle_ = 0;
        bool over_ = false;
        std::vector<State> heap_;
        std::vector<Link> links_;
        SeenStates seen_;
        std::unordered_map<std::uint64_t, std::uint32_t> numbers_;  // Of messages.
        Exploration result_;
    };

    /// What has been used up of the bounds.
    struct Usage {
        std::uint64_t term = 0, transitions = 0, crashes = 0, changes = 0;
    };
    Usage usage_of(const Cluster& cluster) const {
        Usage used;
        for (std::size_t i = 0; i < cluster.replicas(); ++i) {
            Term term = cluster.is_alive(i) ? cluster.status(i).term : cluster.ghost().disk(i).term;
            used.term = std::max(used.term, term.value);
        }
        used.transitions = cluster.ghost().fates().size() - 1;
        used.crashes = cluster.ghost().coverage()[Event::crash];
        used.changes = cluster.changes_;
        return used;
    }
    bool is_within(const Cluster& cluster) const {
        Usage used = usage_of(cluster);
        return used.term <= base_.term + bounds_.terms;
    }

    /// Coverage counts from the start along a path, so the largest count stands for all.
    static void merge(Coverage& all, const Coverage& path) {
        for (std::size_t i = 0; i < event_kinds; ++i)
            all.events[i] = std::max(all.events[i], path.events[i]);
        for (std::size_t i = 0; i < law_kinds; ++i)
            all.laws[i] = std::max(all.laws[i], path.laws[i]);
    }

    // ----- Moves

    std::vector<Move> moves_of(const Cluster& cluster) const {
        std::vector<Move> moves;
        Usage used = usage_of(cluster);
        bool may_crash = used.crashes < base_.crashes + bounds_.crashes;
        auto number = [](std::size_t i) { return static_cast<std::uint32_t>(i); };
        // `replica` is the one that the op polls: it may die in that, before each call of its disk
        // or after the last, and of what it wrote since its last sync more or less may survive.
        auto add = [&](Op op, std::size_t replica) {
            moves.push_back({op});
            if (!may_crash || !cluster.is_alive(replica)) return;
            for (std::uint32_t calls = 1; calls <= 5; ++calls) {
                for (std::uint32_t kept = 0; kept < (calls == 1 ? 1 : 2 * calls); ++kept)
                    moves.push_back({op, Op{Step::crash, number(replica), calls % 6 + 6 * kept}});
            }
        };
        for (std::size_t k = 0; k < cluster.messages_in_flight(); ++k) {
            std::size_t to = replica_of(cluster.message(k).to);
            if (cluster.is_alive(to)) add(Op{Step::duplicate, number(k), 0}, to);
        }
        for (std::size_t i = 0; i < cluster.replicas(); ++i) {
            if (!cluster.is_alive(i)) {
                moves.push_back({Op{Step::restart, number(i), 0}});
                continue;
            }
            bool leads = cluster.status(i).role == Role::leader;
            add(Op{Step::time_out, number(i), 0}, i);
            if (leads) add(Op{Step::time_out, number(i), 1}, i);
            if (leads && used.transitions < base_.transitions + bounds_.transitions)
                add(Op{Step::propose, number(i), 0}, i);
            if (Traits::members_change && leads && used.changes < base_.changes + bounds_.changes) {
                const Electorate& now = cluster.ghost().in_force(i);
                for (std::uint32_t voters = 1; voters >> cluster.replicas() == 0; ++voters)
                    if (now.joint || voters != now.voters)
                        add(Op{Step::change, number(i), voters}, i);
            }
            if (may_crash) moves.push_back({Op{Step::crash, number(i), 0}});
        }
        return moves;
    }

    /// Some moves at random, with losses, to begin in the middle of things.
    void harvest() {
        constexpr std::size_t few = 4;  // Messages.
        Random random(bounds_.seed);
        Bounds wanted = std::exchange(bounds_, Bounds{});
        bounds_.transitions = bounds_.crashes = 2 * wanted.harvest_steps;
        bounds_.changes = wanted.changes > 0 ? 2 * wanted.harvest_steps : 0;
        Cluster cluster(start_.configuration);
        while (start_.schedule.size() < wanted.harvest_steps) {
            std::vector<Move> moves = moves_of(cluster);
            Op op = moves[random.below(moves.size())].op;
            if (cluster.messages_in_flight() > few)
                op = {Step::drop, static_cast<std::uint32_t>(random.below(100)), 0};
            cluster.apply(op);
            start_.schedule.push_back(op);
        }
        bounds_ = wanted;
        base_ = usage_of(cluster);
    }

    /// How far on a state is: it grows along most ways.
    std::uint64_t rank_of(const Cluster& cluster) const {
        std::uint64_t rank = 10'000 * cluster.ghost().coverage()[Event::crash];
        for (std::size_t i = 0; i < cluster.replicas(); ++i) {
            const DiskImage& disk = cluster.ghost().disk(i);
            rank += 500 * disk.term.value + 20 * disk.log.last_index().value;
            rank += disk.voted_for ? 5 : 0;
            if (!cluster.is_alive(i)) continue;
            const Status& status = cluster.status(i);
            rank += 5 + 20 * status.commit_index.value;
            if (status.role != Role::leader) continue;
            for (const Progress& peer : status.progress)
                rank += peer.match_index.value + peer.next_index.value + peer.sent_commit.value;
        }
        return rank;
    }

    // ----- Fingerprints

    /// Equal for clusters that differ only in what their replicas are called: the least over all
    /// ways to call them. Those that are told apart by what they hold need no trying, and where
    /// members change all are, since a membership names them.
    Print print_of(const Cluster& cluster) const {
        std::size_t count = cluster.replicas();
        std::array<std::pair<std::uint64_t, std::size_t>, Configuration::replicas_max> local;
        for (std::size_t i = 0; i < count; ++i) local[i] = {local_hash(cluster, i), i};
        auto end = local.begin() + static_cast<std::ptrdiff_t>(count);
        std::sort(local.begin(), end);
        std::optional<Print> least;
        do {
            bool sorted = std::is_sorted(
                local.begin(), end, [](const auto& a, const auto& b) { return a.first < b.first; });
            if (!sorted) continue;
            Print print = print_of(cluster, local);
            if (!least || std::tie(print.local, print.all) < std::tie(least->local, least->all))
                least = std::move(print);
        } while (std::next_permutation(local.begin(), end));
        return *least;
    }

    template <class Local>
    Print print_of(const Cluster& cluster, const Local& local) const {
        std::array<std::uint8_t, Configuration::replicas_max> rank{};
        std::vector<std::size_t> order(cluster.replicas());
        for (std::size_t k = 0; k < order.size(); ++k) {
            order[k] = local[k].second;
            rank[order[k]] = static_cast<std::uint8_t>(k);
        }
        auto rank_of = [&](ReplicaId id) -> std::uint64_t { return rank[replica_of(id)]; };
        Print print;
        print.local = cluster.ghost_.fingerprint(order, rank_of);
        print.local = mix(print.local, cluster.ghost().coverage()[Event::crash]);
        print.local = mix(print.local, cluster.changes_);
        for (std::size_t k = 0; k < order.size(); ++k) {
            const Node& node = cluster.nodes_[order[k]];
            print.local = mix(print.local, local[k].first);
            if (node.replica)
                print.local = mix(print.local, relations_of(*node.replica, order, rank_of));
        }
        std::uint64_t messages = 0;  // In any order.
        for (std::size_t k = 0; k < cluster.messages_in_flight(); ++k) {
            const auto& flying = cluster.flying_[k];
            print.messages.push_back(Fingerprint::hash(rank[flying.from], rank[flying.to],
                                                       flying.message->term, flying.hash));
            messages += print.messages.back();
        }
        print.all = mix(print.local, messages);
        return print;
    }

    /// Of each replica, all that decides what it makes of a message, and what it has in flight.
    std::vector<std::uint64_t> receivers_of(const Cluster& cluster) const {
        std::vector<std::uint64_t> hashes(cluster.replicas());
        for (const auto& flying : cluster.flying_)
            hashes[flying.from] +=
                Fingerprint::hash(flying.from, flying.to, flying.message->term, flying.hash);
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            const Node& node = cluster.nodes_[i];
            hashes[i] = mix(mix(hashes[i], i), local_hash(cluster, i));
            if (node.replica) hashes[i] = mix(hashes[i], Fingerprint::hash(*node.replica));
        }
        return hashes;
    }

    /// Of one replica, what does not speak of others by name.
    std::uint64_t local_hash(const Cluster& cluster, std::size_t i) const {
        const Node& node = cluster.nodes_[i];
        const DiskImage& disk = cluster.ghost().disk(i);
        std::uint64_t h = mix(disk.term.value, disk.log.last_index().value);
        if constexpr (Traits::members_change) {
            h = mix(h, i);
            h = mix(h, node.cluster.wanted ? number_of(*node.cluster.wanted) : 0);
        }
        h = mix(h, disk.log.marks.empty() ? disk.log.base_hash : disk.log.marks.back().hash);
        h = mix(h, disk.voted_for ? (*disk.voted_for == id_of(i) ? 2 : 1) : 0);
        h = mix(h, node.machine.applied_hash);
        h = mix(h, node.machine.saved ? node.machine.saved->last_included.index.value : 0);
        if (!node.replica) return h;
        const auto& replica = *node.replica;
        const Status& status = replica.status();
        h = mix(h, 8 + static_cast<std::uint64_t>(status.role));
        h = mix(h, status.term.value << 8 |
                       (status.leader ? (*status.leader == id_of(i) ? 2U : 1U) : 0U));
        h = mix(h, status.commit_index.value << 32 | status.snapshot.index.value);
        h = mix(h, Inspect::log(replica).base.index.value);
        for (const auto& own : Inspect::own(replica))
            h = mix(h, own.at.index.value << 16 | own.at.term.value);
        if constexpr (Traits::members_change) h = mix(h, Fingerprint::hash_of_members(replica));
        return h;
    }

    /// What it knows of others. A follower keeps no account of them, a candidate only of votes.
    template <class Replica, class Order, class RankOf>
    static std::uint64_t relations_of(const Replica& replica, const Order& order, RankOf rank_of) {
        const Status& status = replica.status();
        std::uint64_t h = status.leader ? rank_of(*status.leader) : ~0ULL;
        if (const auto* incoming = Inspect::incoming(replica))
            h = mix(h, incoming->last_included.index.value);
        if (const auto* outgoing = Inspect::outgoing(replica))
            h = mix(h, outgoing->last_included.index.value);
        if (status.role == Role::follower) return h;
        for (std::size_t i : order) {
            auto found = std::find_if(status.progress.begin(), status.progress.end(),
                                      [i](const Progress& p) { return p.id == id_of(i); });
            h = mix(h, found == status.progress.end() ? 0 : 1);
            if (found == status.progress.end()) continue;
            const Progress& peer = *found;
            if (status.role != Role::leader) {
                h = mix(h, peer.vote_granted ? 1 : 0);
                continue;
            }
            // Only of a chunk it matters that it is overdue.
            bool overdue = peer.overdue && peer.state == Progress::snapshot;
            h = mix(h, peer.match_index.value << 32 | peer.next_index.value);
            h = mix(h, peer.sent_commit.value << 32 | peer.offset << 8 |
                           static_cast<std::uint64_t>(peer.state) << 4 | (peer.waiting ? 2U : 0U) |
                           (overdue ? 1U : 0U));
            for (const auto& [last_index, bytes] : peer.inflight) h = mix(h, last_index.value);
        }
        return h;
    }

    Bounds bounds_;
    Case start_;
    Usage base_;
};

}  // namespace little_raft::testing
