// Walks the real code through all interleavings within a bound: from each state every message in
// flight is delivered, repeated and lost, every timer fires, every replica dies (also between any
// two calls of its disk) and starts again, a leader is given a transition. Each branch goes on from
// a copy of the whole cluster. There is no time: what a clock could bring about, a step can.
//
// A state that was seen is not walked again; nor is one that differs only in which replica is
// called which, since Raft knows no order among them. So the walk ends, and then the laws hold in
// every state within the bound, not in many of them.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
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
    std::uint64_t in_flight = 1;    ///< Messages at a time.
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
    static constexpr std::array<Field, 10> fields() {
        return {{{"replicas", &Bounds::replicas},
                 {"terms", &Bounds::terms},
                 {"transitions", &Bounds::transitions},
                 {"crashes", &Bounds::crashes},
                 {"in_flight", &Bounds::in_flight},
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
    /// something else, or no number, or no replicas that a cluster can have.
    static std::optional<Bounds> of(const std::string& text) {
        Bounds bounds;
        std::istringstream in(text);
        for (std::string word; in >> word;) {
            bool known = false;
            for (const Field& field : fields()) {
                if (word.rfind(std::string(field.name) + '=', 0) != 0) continue;
                std::istringstream number(word.substr(word.find('=') + 1));
                known = (number >> bounds.*field.value) && number.peek() == EOF;
            }
            if (!known) return std::nullopt;
        }
        bool possible = bounds.replicas > 0 && bounds.replicas <= Configuration::replicas_max;
        return possible ? std::optional(bounds) : std::nullopt;
    }
};

struct Exploration {
    bool complete = false;          ///< All states within the bounds were walked, and no law broke.
    std::uint64_t states = 0;       ///< Distinct ones, replicas that can be exchanged counted once.
    std::uint64_t transitions = 0;  ///< Steps from one to another, or to one that was seen.
    std::uint64_t depth = 0;        ///< Steps in the longest path walked.
    Coverage coverage;
    std::optional<Failure> failure;
    Case counterexample;  ///< The shortest, if a law broke.
};

/// Numbers that were seen: a hash table of numbers that are hashes already, at most half full.
class SeenStates {
 public:
    /// Says whether it is new, or was reached before only by a longer way.
    bool insert(std::uint64_t fingerprint, std::uint16_t depth) {
        if (fingerprint == 0) fingerprint = 1;
        if (2 * (size_ + 1) > keys_.size()) grow();
        std::size_t at = find(fingerprint);
        if (keys_[at] == fingerprint && depths_[at] <= depth) return false;
        if (keys_[at] != fingerprint) ++size_;
        keys_[at] = fingerprint;
        depths_[at] = depth;
        return true;
    }
    std::uint64_t size() const { return size_; }

 private:
    std::size_t find(std::uint64_t fingerprint) const {
        std::size_t at = fingerprint & (keys_.size() - 1);
        while (keys_[at] != 0 && keys_[at] != fingerprint) at = (at + 1) & (keys_.size() - 1);
        return at;
    }
    void grow() {
        std::vector<std::uint64_t> keys(std::max<std::size_t>(1024, 2 * keys_.size()));
        std::vector<std::uint16_t> depths(keys.size());
        keys.swap(keys_);
        depths.swap(depths_);
        for (std::size_t k = 0; k < keys.size(); ++k) {
            if (keys[k] == 0) continue;
            std::size_t at = find(keys[k]);
            keys_[at] = keys[k];
            depths_[at] = depths[k];
        }
    }

    std::vector<std::uint64_t> keys_;  // 0: free.
    std::vector<std::uint16_t> depths_;
    std::uint64_t size_ = 0;
};

template <class S>
class Explorer {
 public:
    explicit Explorer(const Bounds& bounds) : bounds_(bounds) {
        Configuration& c = start_.configuration;
        c.replicas = bounds.replicas;
        c.snapshot_delta = bounds.snapshot_delta;
        c.snapshot_trailing = 0;
        c.chunk_bytes = 1000;
        c.entries_per_message = 8;
        c.inflight_messages = 2;
        c.flying_max = 1000;
        c.untimed = bounds.prevote != 0 ? 1 : 2;
        if (bounds.harvest_steps > 0) harvest();
    }

    /// Tells how it goes every million new states.
    template <class Tell>
    Exploration run(Tell tell, std::uint64_t threads = 1) {
        Exploration found = walk(unlimited, tell, threads);
        if (!found.failure) return found;
        // The first path found is seldom the shortest: look again, one step deeper at a time.
        auto silent = [](const Exploration&) {};
        std::size_t longest = found.counterexample.schedule.size();
        for (std::uint16_t limit = 1; limit < longest && found.states < 50'000'000; ++limit) {
            Exploration nearer = walk(limit, silent, 1);
            found.states += nearer.states;
            found.transitions += nearer.transitions;
            if (!nearer.failure) continue;
            found.failure = nearer.failure;
            found.counterexample = nearer.counterexample;
            break;
        }
        return found;
    }
    Exploration run() {
        return run([](const Exploration&) {});
    }

 private:
    using Cluster = Simulator<S>;
    using Node = typename Cluster::Node;
    static constexpr std::uint16_t unlimited = 0xffff;

    /// One step of the walk: an op, after another that says when the replica dies in it.
    struct Move {
        Op op;
        std::optional<Op> crash = std::nullopt;
    };

    struct Frame {
        std::unique_ptr<Cluster> cluster;
        std::vector<Move> moves;
        std::size_t next = 0;
        std::size_t taken = 0;  // The last move that was taken: the path goes on with it.
    };

    /// What the threads of one walk share. Each has a path of its own, and gives the rest of its
    /// lowest frame to whoever has nothing to do.
    struct Walk {
        struct Shard {
            std::mutex mutex;
            SeenStates seen;
        };
        struct Job {
            Frame frame;
            std::vector<Move> before;
        };

        std::uint16_t limit = unlimited;
        std::array<Shard, 256> shards;
        std::atomic<std::uint64_t> states{0};
        std::atomic<std::size_t> idle{0};
        std::atomic<bool> over{false};
        std::size_t threads = 1;
        std::mutex mutex;  // Of what follows.
        std::condition_variable changed;
        std::vector<Job> jobs;
        Exploration result;
    };

    /// Depth first; a state that was reached by a longer way before is walked again where the depth
    /// has a limit. The states and their number are the same, however many threads.
    template <class Tell>
    Exploration walk(std::uint16_t limit, Tell& tell, std::uint64_t threads) {
        Walk walk;
        walk.limit = limit;
        walk.threads = static_cast<std::size_t>(threads);
        auto start = std::make_unique<Cluster>(start_.configuration);
        for (const Op& op : start_.schedule) start->apply(op);
        base_ = bounds_.harvest_steps > 0 ? usage_of(*start) : Usage{};
        if (is_new(walk, *start, 0)) {
            std::vector<Move> moves = moves_of(*start);
            walk.jobs.push_back({{std::move(start), std::move(moves), 0, 0}, {}});
        }
        std::vector<std::thread> others;
        for (std::uint64_t k = 1; k < threads; ++k) others.emplace_back([&] { work(walk, tell); });
        work(walk, tell);
        for (std::thread& other : others) other.join();
        walk.result.states = walk.states;
        bool gave_up = bounds_.states_max > 0 && walk.states >= bounds_.states_max;
        walk.result.complete = !walk.result.failure && !gave_up;
        return std::move(walk.result);
    }

    bool is_new(Walk& walk, const Cluster& cluster, std::size_t depth) const {
        std::uint64_t hash = fingerprint(cluster);
        auto& shard = walk.shards[hash % walk.shards.size()];
        auto counted = static_cast<std::uint16_t>(walk.limit == unlimited ? 0 : depth);
        std::lock_guard lock(shard.mutex);
        std::uint64_t before = shard.seen.size();
        bool is_news = shard.seen.insert(hash / walk.shards.size(), counted);
        // Where too many messages are in flight, a step is not over before some are lost.
        bool is_over = cluster.messages_in_flight() <= bounds_.in_flight;
        if (is_over) walk.states += shard.seen.size() - before;
        return is_news;
    }

    template <class Tell>
    void work(Walk& walk, Tell& tell) {
        std::unique_lock lock(walk.mutex);
        while (true) {
            ++walk.idle;
            if (walk.idle == walk.threads && walk.jobs.empty()) walk.over = true;
            walk.changed.notify_all();
            walk.changed.wait(lock, [&] { return walk.over || !walk.jobs.empty(); });
            if (walk.over) return;
            --walk.idle;
            typename Walk::Job job = std::move(walk.jobs.back());
            walk.jobs.pop_back();
            lock.unlock();
            Exploration part = follow(walk, std::move(job), tell);
            lock.lock();
            walk.result.transitions += part.transitions;
            walk.result.depth = std::max(walk.result.depth, part.depth);
            merge(walk.result.coverage, part.coverage);
            if (part.failure && !walk.result.failure) {
                walk.result.failure = part.failure;
                walk.result.counterexample = std::move(part.counterexample);
            }
        }
    }

    template <class Tell>
    Exploration follow(Walk& walk, typename Walk::Job job, Tell& tell) {
        Exploration result;
        std::vector<Frame> path;
        path.push_back(std::move(job.frame));
        while (!path.empty() && !walk.over) {
            if (walk.idle > 0) give_away(walk, path, job.before);
            Frame& top = path.back();
            if (top.next == top.moves.size()) {
                path.pop_back();
                continue;
            }
            std::unique_ptr<Cluster> cluster = take(top);
            if (!cluster) continue;
            ++result.transitions;
            std::size_t depth = job.before.size() + path.size();
            if (cluster->failure() ||
                (bounds_.states_max > 0 && walk.states >= bounds_.states_max)) {
                walk.over = true;
                result.failure = cluster->failure();
                if (result.failure) result.counterexample = case_of(job.before, path);
            }
            merge(result.coverage, cluster->coverage());
            if (!is_within(*cluster) || !is_new(walk, *cluster, depth)) continue;
            result.depth = std::max<std::uint64_t>(result.depth, depth);
            if (walk.states % 1'000'000 == 0) {
                Exploration sofar = result;
                sofar.states = walk.states;
                tell(sofar);
            }
            std::vector<Move> moves;
            if (depth < walk.limit) moves = moves_of(*cluster);
            path.push_back({std::move(cluster), std::move(moves), 0, 0});
        }
        if (walk.over) {
            std::lock_guard lock(walk.mutex);
            walk.changed.notify_all();
        }
        return result;
    }

    /// A copy of the frame's cluster after its next move; nothing where that is no move.
    static std::unique_ptr<Cluster> take(Frame& frame) {
        frame.taken = frame.next++;
        const Move& move = frame.moves[frame.taken];
        auto cluster = std::make_unique<Cluster>(*frame.cluster);
        std::uint64_t crashes = cluster->coverage()[Event::crash];
        if (move.crash) cluster->apply(*move.crash);
        cluster->apply(move.op);
        if (!move.crash || cluster->coverage()[Event::crash] > crashes) return cluster;
        // It makes fewer calls of its disk than that.
        while (frame.next < frame.moves.size() && frame.moves[frame.next].op == move.op)
            ++frame.next;
        return nullptr;
    }

    static void give_away(Walk& walk, std::vector<Frame>& path, const std::vector<Move>& before) {
        std::lock_guard lock(walk.mutex);
        if (!walk.jobs.empty()) return;
        typename Walk::Job job{{}, before};
        for (std::size_t k = 0; k + 1 < path.size(); ++k) {
            Frame& frame = path[k];
            if (frame.next < frame.moves.size()) {
                job.frame = {std::make_unique<Cluster>(*frame.cluster), frame.moves, frame.next, 0};
                frame.next = frame.moves.size();
                walk.jobs.push_back(std::move(job));
                walk.changed.notify_one();
                return;
            }
            job.before.push_back(frame.moves[frame.taken]);
        }
    }

    /// What has been used up of the bounds.
    struct Usage {
        std::uint64_t term = 0, transitions = 0, crashes = 0;
    };
    Usage usage_of(const Cluster& cluster) const {
        Usage used;
        for (std::size_t i = 0; i < cluster.replicas(); ++i) {
            Term term = cluster.is_alive(i) ? cluster.status(i).term : cluster.ghost().disk(i).term;
            used.term = std::max(used.term, term.value);
        }
        used.transitions = cluster.ghost().fates().size() - 1;
        used.crashes = cluster.ghost().coverage()[Event::crash];
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

    Case case_of(const std::vector<Move>& before, const std::vector<Frame>& path) const {
        Case result = start_;
        auto add = [&](const Move& move) {
            if (move.crash) result.schedule.push_back(*move.crash);
            result.schedule.push_back(move.op);
        };
        for (const Move& move : before) add(move);
        for (const Frame& frame : path) add(frame.moves[frame.taken]);
        return result;
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
        // A message that stays in flight may arrive once, twice or never, so none is lost before
        // there are too many; then any may be.
        bool too_many = cluster.messages_in_flight() > bounds_.in_flight;
        for (std::size_t k = 0; k < cluster.messages_in_flight(); ++k) {
            std::size_t to = replica_of(cluster.message(k).to);
            if (too_many) {
                moves.push_back({Op{Step::drop, number(k), 0}});
            } else if (cluster.is_alive(to)) {
                add(Op{Step::duplicate, number(k), 0}, to);
            }
        }
        if (too_many) return moves;
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
            if (may_crash) moves.push_back({Op{Step::crash, number(i), 0}});
        }
        return moves;
    }

    /// Some moves at random, to begin in the middle of things.
    void harvest() {
        Random random(bounds_.seed);
        Bounds wanted = std::exchange(bounds_, Bounds{});
        bounds_.terms = ~std::uint64_t{0} / 2;
        bounds_.transitions = bounds_.crashes = 2 * wanted.harvest_steps;
        bounds_.in_flight = 2 * wanted.in_flight;
        Cluster cluster(start_.configuration);
        while (start_.schedule.size() < wanted.harvest_steps) {
            std::vector<Move> moves = moves_of(cluster);
            Op op = moves[random.below(moves.size())].op;
            bool too_many = cluster.messages_in_flight() > wanted.in_flight;
            if (too_many) op = {Step::drop, static_cast<std::uint32_t>(random.below(100)), 0};
            cluster.apply(op);
            start_.schedule.push_back(op);
        }
        bounds_ = wanted;
    }

    // ----- Fingerprints

    /// Equal for clusters that differ only in what their replicas are called: the least over all
    /// ways to call them. Those that are told apart by what they hold need no trying.
    std::uint64_t fingerprint(const Cluster& cluster) const {
        std::size_t count = cluster.replicas();
        std::array<std::pair<std::uint64_t, std::size_t>, Configuration::replicas_max> local;
        for (std::size_t i = 0; i < count; ++i) local[i] = {local_hash(cluster, i), i};
        auto end = local.begin() + static_cast<std::ptrdiff_t>(count);
        std::sort(local.begin(), end);
        std::uint64_t least = ~std::uint64_t{0};
        do {
            bool sorted = std::is_sorted(
                local.begin(), end, [](const auto& a, const auto& b) { return a.first < b.first; });
            if (sorted) least = std::min(least, fingerprint(cluster, local));
        } while (std::next_permutation(local.begin(), end));
        return least;
    }

    template <class Local>
    std::uint64_t fingerprint(const Cluster& cluster, const Local& local) const {
        std::array<std::uint8_t, Configuration::replicas_max> rank{};
        std::vector<std::size_t> order(cluster.replicas());
        for (std::size_t k = 0; k < order.size(); ++k) {
            order[k] = local[k].second;
            rank[order[k]] = static_cast<std::uint8_t>(k);
        }
        auto rank_of = [&](ReplicaId id) -> std::uint64_t { return rank[replica_of(id)]; };
        std::uint64_t hash = cluster.ghost_.fingerprint(order, rank_of);
        hash = mix(hash, cluster.ghost().coverage()[Event::crash]);
        for (std::size_t i : order) {
            const Node& node = cluster.nodes_[i];
            hash = mix(hash, local_hash(cluster, i));
            if (node.replica) hash = mix(hash, relations_of(*node.replica, order, rank_of));
        }
        std::uint64_t messages = 0;  // In any order.
        for (std::size_t k = 0; k < cluster.messages_in_flight(); ++k) {
            auto message = cluster.message(k);
            message.from = ReplicaId{rank_of(message.from)};
            message.to = ReplicaId{rank_of(message.to)};
            messages += cluster.hash_of(message);
        }
        return mix(hash, messages);
    }

    /// Of one replica, what does not speak of others by name.
    std::uint64_t local_hash(const Cluster& cluster, std::size_t i) const {
        const Node& node = cluster.nodes_[i];
        const DiskImage& disk = cluster.ghost().disk(i);
        std::uint64_t h = mix(disk.term.value, disk.log.last_index().value);
        h = mix(h, disk.log.marks.empty() ? disk.log.base_hash : disk.log.marks.back().hash);
        h = mix(h, disk.voted_for ? (*disk.voted_for == id_of(i) ? 2 : 1) : 0);
        h = mix(h, node.machine.applied_hash);
        h = mix(h, node.machine.saved ? node.machine.saved->last_included_index.value : 0);
        if (!node.replica) return h;
        const auto& replica = *node.replica;
        const Status& status = replica.status();
        h = mix(h, 8 + static_cast<std::uint64_t>(status.role));
        h = mix(h, status.term.value << 8 |
                       (status.leader ? (*status.leader == id_of(i) ? 2U : 1U) : 0U));
        h = mix(h, status.commit_index.value << 32 | status.snapshot.index.value);
        h = mix(h, Inspect::log(replica).base().index.value);
        for (const auto& own : Inspect::own(replica))
            h = mix(h, own.at.index.value << 16 | own.at.term.value);
        return h;
    }

    /// What it knows of others. A follower keeps no account of them, a candidate only of votes.
    template <class Replica, class Order, class RankOf>
    static std::uint64_t relations_of(const Replica& replica, const Order& order, RankOf rank_of) {
        const Status& status = replica.status();
        std::uint64_t h = status.leader ? rank_of(*status.leader) : ~0ULL;
        if (const auto& incoming = Inspect::incoming(replica))
            h = mix(h, incoming->last_included_index.value);
        if (const auto& outgoing = Inspect::outgoing(replica))
            h = mix(h, outgoing->last_included_index.value);
        if (status.role == Role::follower) return h;
        for (std::size_t i : order) {
            const Progress& peer =
                *std::find_if(status.progress.begin(), status.progress.end(),
                              [i](const Progress& p) { return p.id == id_of(i); });
            if (status.role != Role::leader) {
                h = mix(h, peer.vote_granted ? 1 : 0);
                continue;
            }
            h = mix(h, peer.match_index.value << 32 | peer.next_index.value);
            h = mix(h, peer.sent_commit.value << 32 | peer.offset << 8 |
                           static_cast<std::uint64_t>(peer.state) << 4 | (peer.waiting ? 2U : 0U) |
                           (peer.overdue ? 1U : 0U));
            for (const Progress::Inflight& message : peer.inflight)
                h = mix(h, message.last_index.value);
        }
        return h;
    }

    Bounds bounds_;
    Case start_;
    Usage base_;
};

}  // namespace little_raft::testing
