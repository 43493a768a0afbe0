// A cluster of kv_server processes. How one is started, and what its refusals are called, stands
// here and nowhere else in the tests.
#pragma once

#include <memory>

#include "broken_disk.hpp"
#include "network.hpp"
#include "resp_client.hpp"

namespace kv_tests {

/// Whether the server says that it did not do what was asked, and never will.
inline bool was_refused(const Reply& reply) {
    return reply.state == Reply::not_sent || reply.starts_with("-MOVED ") ||
           reply.starts_with("-CLUSTERDOWN ") || reply.starts_with("-TRYAGAIN ");
}

/// Whether it may or may not have been done.
inline bool is_unknown(const Reply& reply) {
    return reply.state == Reply::lost || reply.starts_with("-UNKNOWN ");
}

/// What a replica that cannot go on ends with.
constexpr int exit_code_of_fault = 1;

/// How long a follower waits for a leader, at most, before it wants to be one.
constexpr Milliseconds election_timeout_max{1'000};

class Cluster;

struct ClusterOptions {
    std::size_t replicas = 3;  ///< Its first members, which are started.
    std::size_t spares = 0;    ///< Those that may join later; they have ids and addresses.
    Wire* wire = nullptr;      ///< Replica 0 is node 1, and so on; without it, all are on loopback.
    std::vector<std::string> arguments = {};  ///< More of the server's options, for every replica.
    bool broken_disks = false;                ///< Each replica's disk can be broken by disk().
    std::function<void(Cluster&)> prepare = {};  ///< Called when directories are there.
};

class Cluster {
 public:
    using Options = ClusterOptions;

    explicit Cluster(Options options) : options_(std::move(options)) {
        std::ofstream(secret_) << secret() << "\n";
        for (std::size_t i = 0; i < options_.replicas + options_.spares; ++i) add_replica();
        if (options_.prepare) options_.prepare(*this);
        for (std::size_t i = 0; i < options_.replicas; ++i) start(i);
    }

    std::size_t size() const { return replicas_.size(); }
    const Address& client_address(std::size_t i) const { return replicas_[i]->client; }
    /// Where the other replicas reach it.
    const Address& peer_address(std::size_t i) const { return replicas_[i]->peer; }
    const std::filesystem::path& directory(std::size_t i) const { return replicas_[i]->directory; }
    std::filesystem::path log(std::size_t i) const { return replicas_[i]->log; }
    Process& process(std::size_t i) { return replicas_[i]->process; }
    BrokenDisk& disk(std::size_t i) { return *replicas_[i]->disk; }

    void start(std::size_t i);

    void kill_and_restart_all() {
        for (std::size_t i = 0; i < options_.replicas; ++i) process(i).kill_now();
        for (std::size_t i = 0; i < options_.replicas; ++i) start(i);
    }

    /// For those that are started from here on.
    void set_arguments(std::vector<std::string> arguments) {
        options_.arguments = std::move(arguments);
    }

    /// A server in a replica's place, at its address, with other options besides and a directory of
    /// its own.
    Process start_impostor(std::size_t i, const std::vector<std::string>& arguments) const;

    /// The replica that takes writes, if there is one. It is asked for what changes nothing.
    std::optional<std::size_t> leader() {
        for (std::size_t i = 0; i < size(); ++i) {
            Reply reply = Client(client_address(i), 1s).call({"DEL", "nothing"});
            if (reply.is(":0")) return i;
        }
        return std::nullopt;
    }

    std::size_t wait_for_leader() {
        std::optional<std::size_t> found;
        if (!wait_until([&] { return (found = leader()).has_value(); })) {
            throw std::runtime_error("no leader in time" + logs());
        }
        return *found;
    }

    /// Whom a `-MOVED slot host:port` names.
    std::optional<std::size_t> moved_to(const Reply& reply) const {
        if (!reply.starts_with("-MOVED ")) return std::nullopt;
        std::string where = reply.text.substr(reply.text.rfind(' ') + 1);
        for (std::size_t i = 0; i < size(); ++i) {
            if (client_address(i).text() == where) return i;
        }
        return std::nullopt;
    }

    /// What its replicas know each other by.
    std::string secret() const { return "what only these tests know"; }
    const std::filesystem::path& secret_file() const { return secret_; }

    const std::filesystem::path& files() const { return files_.path(); }

    std::string logs() const {
        std::string text;
        for (std::size_t i = 0; i < size(); ++i) {
            text += "\n--- log of replica " + std::to_string(i + 1) + ", at the end\n" +
                    tail_of(log(i));
        }
        return text;
    }

    /// Where clients and replicas reach it, as operators write it.
    std::string full_address(std::size_t i) const {
        return client_address(i).text() + "@" + std::to_string(peer_address(i).port);
    }

 private:
    void add_replica() {
        std::size_t i = size();
        auto replica = std::make_unique<Replica>();
        std::string name = std::to_string(i + 1);
        replica->directory = files_.path() / ("replica" + name);
        replica->log = files_.path() / ("replica" + name + ".log");
        std::string host = options_.wire ? options_.wire->address(i + 1) : "127.0.0.1";
        replica->client = {host, options_.wire ? 7'000 : free_port()};
        replica->peer = {host, options_.wire ? 8'000 : free_port()};
        std::filesystem::create_directories(replica->directory);
        replica->disk.emplace(replica->directory, files_.path() / ("disk" + name),
                              settings.broken_disk);
        replicas_.push_back(std::move(replica));
    }

    struct Replica {
        std::filesystem::path directory, log;
        Address client, peer;
        std::optional<BrokenDisk> disk;
        Process process;
    };

    std::vector<std::string> command_of(std::size_t i, const std::filesystem::path& files,
                                        const std::vector<std::string>& arguments) const;

    Options options_;
    TemporaryDirectory files_;
    std::filesystem::path secret_ = files_.path() / "secret";
    std::vector<std::unique_ptr<Replica>> replicas_;
};

/// What one replica answers once it answers at all.
Reply ask(Cluster& cluster, std::size_t replica, const std::vector<std::string>& command);

/// A write, by whoever leads. Only for writes that may be done twice.
Reply write(Cluster& cluster, const std::vector<std::string>& command);

/// What INFO says in a section; nothing while the replica does not answer.
std::string info(Cluster& cluster, std::size_t replica, const std::string& section);

/// The value of a field of INFO raft; empty if there is none.
std::string raft_field(Cluster& cluster, std::size_t replica, const std::string& name);

/// How often a replica has counted something, by INFO stats; 0 if it does not.
std::uint64_t counted(Cluster& cluster, std::size_t replica, const std::string& name);

}  // namespace kv_tests
