// What the benchmarks run: replicas in one process and one thread, on a network that is a vector
// for each of them, without a Storage, of a machine that adds the size and the first eight bytes of
// each payload to two integers.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "little_raft.hpp"

namespace bench {

using namespace std::chrono_literals;

/// A benchmark that does not do the work it is measured by is worth nothing.
inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "bench: %s\n", what);
    std::exit(1);
}

/// The payloads: each begins with its number. Of 16 bytes, inside the transition.
struct Small {
    std::array<std::uint64_t, 2> bytes{};
    explicit Small(std::uint64_t number = 0) : bytes{number, 0} {}
    std::uint64_t get_id() const { return bytes[0]; }
    std::size_t size() const { return sizeof bytes; }
};

inline std::string kibibyte(std::uint64_t number) {
    std::string bytes(1024, '\0');
    std::memcpy(bytes.data(), &number, sizeof number);
    return bytes;
}

inline std::uint64_t number_of(const std::string& bytes) {
    std::uint64_t number = 0;
    std::memcpy(&number, bytes.data(), sizeof number);
    return number;
}

/// Of 1 KiB, which each copy owns.
struct Owned {
    std::string bytes;
    explicit Owned(std::uint64_t number = 0) : bytes(kibibyte(number)) {}
    std::uint64_t get_id() const { return number_of(bytes); }
    std::size_t get_size() const { return bytes.size(); }
    std::size_t size() const { return bytes.size(); }
};

/// Of 1 KiB, which all copies share.
struct Shared {
    std::shared_ptr<const std::string> bytes;
    explicit Shared(std::uint64_t number = 0)
        : bytes(std::make_shared<const std::string>(kibibyte(number))) {}
    std::uint64_t get_id() const { return number_of(*bytes); }
    std::size_t get_size() const { return bytes->size(); }
    std::size_t size() const { return bytes->size(); }
};

struct Sum {
    std::uint64_t sum = 0;
    std::uint64_t count = 0;
    void add(std::uint64_t number, std::uint64_t size) {
        sum += number + size;
        ++count;
    }
    friend bool operator==(const Sum&, const Sum&) = default;
};

template <class T>
class Machine {
 public:
    using Transition = T;
    Sum applied;
    std::vector<T> pending;

    void register_transition_state(std::uint64_t, little_raft::TransitionState) {}
    void apply_transition(const T& transition) {
        applied.add(transition.get_id(), transition.size());
    }
    std::vector<T>& get_pending_transitions() {
        taken_.clear();
        taken_.swap(pending);
        return taken_;
    }

 private:
    std::vector<T> taken_;
};

/// It answers each read with the sum of what it has applied.
class ReadMachine : public Machine<Small> {
 public:
    using Read = std::uint64_t;
    Sum answered;
    std::vector<Read> reads;

    std::vector<Read>& get_pending_reads() {
        taken_.clear();
        taken_.swap(reads);
        return taken_;
    }
    void apply_read(Read read) { answered.add(read, applied.sum); }
    void abandon_read(Read) { require(false, "a read was abandoned"); }

 private:
    std::vector<Read> taken_;
};

/// The way from one replica to all others. One that is cut off neither hears nor is heard.
template <class T>
struct Network {
    using Message = little_raft::MessageOf<Machine<T>>;
    std::vector<std::vector<Message>>* inboxes = nullptr;
    std::vector<Message> received;
    std::size_t self = 0;
    std::uint64_t sent = 0;
    bool leads = false;
    bool is_cut_off = false;

    void send_message(little_raft::ReplicaId to, Message&& message) {
        ++sent;
        if (!is_cut_off) (*inboxes)[to.value].push_back(std::move(message));
    }
    std::vector<Message>& receive_messages() {
        received.clear();
        received.swap((*inboxes)[self]);
        return received;
    }
    bool halt() const { return false; }
    void register_leader(std::optional<little_raft::ReplicaId> leader) {
        leads = leader && leader->value == self;
    }
};

template <class T, class M = Machine<T>>
class Cluster {
 public:
    using Options = little_raft::Options<M>;

    explicit Cluster(std::size_t size, Options options = no_snapshots())
        : inboxes_(size), machines_(size), networks_(size) {
        std::vector<little_raft::ReplicaId> ids;
        for (std::size_t i = 0; i < size; ++i) ids.push_back({i});
        replicas_.reserve(size);
        for (std::size_t i = 0; i < size; ++i) {
            networks_[i].inboxes = &inboxes_;
            networks_[i].self = i;
            replicas_.push_back(
                std::make_unique<Replica>(ids[i], ids, networks_[i], machines_[i], options));
        }
        while (!networks_[leader_].leads) {
            now_ += 1ms;
            for (std::size_t i = 0; i < size; ++i) {
                replicas_[i]->poll(now_);
                if (networks_[i].leads) leader_ = i;
            }
        }
        settle();
        deadlines_.resize(size, now_);
        for (Network<T>& network : networks_) network.sent = 0;
    }

    static Options no_snapshots() {
        Options options;
        options.snapshot_delta = 0;
        options.uncommitted_entries_max = 1'000'000'000;
        return options;
    }

    /// A batch of transitions is given to the leader, which is polled.
    void propose(std::uint64_t first, std::uint64_t end) {
        auto& pending = machines_[leader_].pending;
        pending.reserve(end - first);
        for (std::uint64_t i = first; i < end; ++i) pending.emplace_back(i);
        now_ += 1us;
        replicas_[leader_]->poll(now_);
    }

    /// A batch of reads is given to a replica, and all are polled until it has answered them.
    void read(std::size_t i, std::uint64_t first, std::uint64_t end) {
        M& machine = machines_[i];
        for (std::uint64_t read = first; read < end; ++read) machine.reads.push_back(read);
        now_ += 1us;
        for (int polls = 0; machine.answered.count < end; ++polls) {
            require(polls < 10, "the reads are not answered");
            while (machine.answered.count < end && replicas_[i]->poll(now_) <= now_) continue;
            while (machine.answered.count < end && deliver()) continue;
        }
    }
    const Sum& answered(std::size_t i) const { return machines_[i].answered; }

    /// Each follower that has mail is polled, then the leader if it has.
    bool deliver() {
        bool any = deliver_to_followers();
        any = deliver_to(leader_) || any;
        return any;
    }
    bool deliver_to_followers() {
        bool any = false;
        for (std::size_t i = 0; i < replicas_.size(); ++i)
            any = (i != leader_ && deliver_to(i)) || any;
        return any;
    }
    bool deliver_to(std::size_t i) {
        if (inboxes_[i].empty() || networks_[i].is_cut_off) return false;
        replicas_[i]->poll(now_);
        return true;
    }
    void settle() {
        while (deliver()) {
        }
    }

    bool all_applied(std::uint64_t count) const {
        for (std::size_t i = 0; i < machines_.size(); ++i)
            if (machines_[i].applied.count != count && !networks_[i].is_cut_off) return false;
        return true;
    }
    bool agrees() const {
        for (std::size_t i = 0; i < machines_.size(); ++i)
            if (machines_[i].applied != applied(leader_) && !networks_[i].is_cut_off) return false;
        return true;
    }
    std::uint64_t messages() const {
        std::uint64_t sum = 0;
        for (const Network<T>& network : networks_) sum += network.sent;
        return sum;
    }
    const Sum& applied(std::size_t i) const { return machines_[i].applied; }
    std::size_t size() const { return machines_.size(); }
    std::size_t leader() const { return leader_; }
    void cut_off(std::size_t i, bool cut) {
        networks_[i].is_cut_off = cut;
        inboxes_[i].clear();
    }
    /// Time passes: each is polled if its deadline has come or it has mail.
    void pass(little_raft::Duration time) {
        now_ += time;
        for (std::size_t i = 0; i < replicas_.size(); ++i) {
            if (now_ < deadlines_[i] && inboxes_[i].empty()) continue;
            deadlines_[i] = replicas_[i]->poll(now_);
        }
    }
    void poll_idle() { replicas_[leader_]->poll(now_); }
    /// The leader's heartbeat is due.
    void beat() {
        now_ += 60ms;
        replicas_[leader_]->poll(now_);
    }

 private:
    using Replica = little_raft::Replica<Network<T>, M>;
    std::vector<std::vector<typename Network<T>::Message>> inboxes_;
    std::vector<M> machines_;
    std::vector<Network<T>> networks_;
    std::vector<std::unique_ptr<Replica>> replicas_;
    std::vector<little_raft::Time> deadlines_;
    std::size_t leader_ = 0;
    little_raft::Time now_{};
};

/// One that was cut off comes back, and hears of what it missed with the next heartbeat.
template <class T>
void catch_up(Cluster<T>& cluster, std::size_t late) {
    cluster.cut_off(late, false);
    cluster.beat();
    cluster.settle();
    require(cluster.agrees(), "it has not caught up");
}

/// `count` reads in batches on one replica, each batch answered before the next. Says how many
/// messages were sent.
inline std::uint64_t read_all(Cluster<Small, ReadMachine>& cluster, std::size_t i,
                              std::uint64_t count, std::uint64_t batch) {
    std::uint64_t before = cluster.messages();
    for (std::uint64_t first = 0; first < count; first += batch)
        cluster.read(i, first, first + batch < count ? first + batch : count);
    require(cluster.answered(i).count == count, "a read was answered twice");
    return cluster.messages() - before;
}

/// `count` transitions in batches until all replicas have applied all; one at a time, each is
/// applied by all before the next. Says how many messages were sent.
template <class T>
std::uint64_t replicate(Cluster<T>& cluster, std::uint64_t count, std::uint64_t batch) {
    for (std::uint64_t i = 0; i < count; i += batch) {
        cluster.propose(i, i + batch < count ? i + batch : count);
        cluster.deliver_to_followers();
        while (batch == 1 && !cluster.all_applied(i + 1)) {
            cluster.deliver_to(cluster.leader());
            cluster.deliver_to_followers();
        }
    }
    cluster.settle();
    require(cluster.all_applied(count), "a replica has not applied all");
    require(cluster.agrees(), "the replicas do not agree");
    return cluster.messages();
}

}  // namespace bench
